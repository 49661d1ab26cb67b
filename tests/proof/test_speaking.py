"""Testimony signed from any machine, on a copy of the case; evidence checked by whoever is shown it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, SEEN, WITNESSES, Ceremony
from cenotaph_proof import acts, envelope, statements
from cenotaph_proof.__main__ import main
from cenotaph_proof.acts import Words
from cenotaph_proof.case import Case
from cenotaph_proof.errors import FormatError, KeyFileError, OrderError
from cenotaph_proof.folder import SO_FAR, CaseFolder
from cenotaph_proof.statements import Statement

AUDITOR, PAPER = AUDITORS[0], WITNESSES[0]


class Copy:
    """A copy of a case, with the keys of all its parties beside it."""

    def __init__(self, folder: Path, c: Ceremony) -> None:
        self.c, self.root = c, folder
        self.folder = CaseFolder(folder / "case")
        (folder / "keys").mkdir()
        self.receive()

    def receive(self) -> None:
        self.folder.statements.mkdir(parents=True, exist_ok=True)
        (self.folder.statements / SO_FAR).write_bytes(self.c.proof())

    def key(self, name: str) -> Path:
        path = self.root / "keys" / name.replace(" ", "")
        if not path.exists():
            self.c.key(name).save(path)
        return path

    def testify(self, by: str, *words: str, **more: object) -> Path:
        said = Words(*words, **more)  # type: ignore[arg-type]  # fields of Words
        return acts.testify(self.folder, self.key(by), said, self.c.now)

    def read(self, path: Path) -> Statement:
        return statements.parse(envelope.open_(path.read_bytes()).payload, {})

    def log(self, path: Path) -> None:
        """The operator logs it; the rules take it."""
        self.c.log(path.read_bytes())
        path.unlink()
        self.c.replay(Case)
        self.receive()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path, Ceremony(steps=SEEN).run(last="plan"))


@pytest.mark.parametrize("name", [OPERATOR, AUDITOR, NOTARY, PAPER])
def test_every_party_may_speak(copy: Copy, name: str) -> None:
    """Whatever its role: what is signed is in its own name, and the case takes it."""
    path = copy.testify(name, "witnessed", "the first day", why="it rained")

    body = copy.read(path).body
    assert isinstance(body, statements.Testimony)
    assert (body.organisation, body.why) == (name, "it rained")
    copy.log(path)


def test_a_testimony_to_a_step_cites_the_plan(copy: Copy) -> None:
    """So that nobody can have said it before the plan was there; other words cite the charter alone."""
    step = copy.read(copy.testify(NOTARY, "switched off", "health code", evidence=("ab" * 32,)))
    other = copy.read(copy.testify(NOTARY, "switched off", "another app"))

    assert [c.kind for c in step.cites] == ["charter", "plan"]
    assert [c.kind for c in other.cites] == ["charter"]


def by_digest(copy: Copy, path: Path) -> str:
    copy.log(path)
    return copy.folder.replay().entries[-1].digest


def by_first_digits(copy: Copy, path: Path) -> str:
    return by_digest(copy, path)[:8]


def by_file(_: Copy, path: Path) -> str:
    return str(path)  # nobody logged it yet


@pytest.mark.parametrize("name", [by_digest, by_first_digits, by_file])
def test_an_objection_is_answered_by_its_digest_or_its_file(
    copy: Copy, name: Callable[[Copy, Path], str]
) -> None:
    """The answer says "answers", about the same, and cites it."""
    reference = name(copy, copy.testify(PAPER, "objects", "the scope", why="an app is missing"))

    told = copy.read(copy.testify(OPERATOR, answers=reference, why="it never held records"))

    body = told.body
    assert isinstance(body, statements.Testimony)
    assert (body.says, body.about) == ("answers", "the scope")
    assert [c.kind for c in told.cites] == ["charter", "testimony"]


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (Words("witnessed"), FormatError, "says one of"),
        (Words(about="the erasing"), FormatError, "says one of"),
        (Words("forgives", "the scope"), FormatError, "says one of"),
        (Words("answers", "the scope"), OrderError, "cites no objection"),
        (Words("switched off", "health code", "because"), FormatError, "reason where there is none"),
        (Words("witnessed", "x" * 201), FormatError, "about is not of the form"),
        (Words("witnessed", "the erasing", evidence=("ab",)), FormatError, "evidence"),
        (Words(answers="0123456789abcdef"), OrderError, "no one objection"),
        (Words(answers="0"), OrderError, "no one objection"),
    ],
)
def test_what_the_case_would_refuse_is_not_signed(
    copy: Copy, words: Words, error: type[Exception], message: str
) -> None:
    """The person is told at once; nothing is left for the operator to refuse."""
    with pytest.raises(error, match=message):
        acts.testify(copy.folder, copy.key(NOTARY), words, copy.c.now)

    assert not copy.folder.incoming.exists()


def test_a_log_witness_answers_nothing(copy: Copy) -> None:
    """It may object; to answer is for those who act in the case."""
    path = copy.testify(NOTARY, "objects", "the scope")

    with pytest.raises(OrderError, match="answered by Daily Paper"):
        copy.testify(PAPER, answers=str(path))


def test_a_stranger_does_not_speak(copy: Copy) -> None:
    """A key that the charter does not name signs nothing here."""
    with pytest.raises(KeyFileError, match="Second Audit Co is not"):
        copy.testify(AUDITORS[1], "witnessed", "the erasing")


def test_after_the_certificate_nothing_is_said(tmp_path: Path) -> None:
    """What is said later belongs elsewhere: the case is closed."""
    copy = Copy(tmp_path, Ceremony(steps=SEEN).run())

    with pytest.raises(OrderError, match="the case is closed"):
        copy.testify(NOTARY, "switched off", "health code")


# ── the small command ────────────────────────────────────────────────────────────────────────────


def said(capsys: pytest.CaptureFixture[str], *line: str | Path, code: int = 0) -> dict[str, object]:
    assert main([str(word) for word in line]) == code
    value: dict[str, object] = json.loads(capsys.readouterr().out or "{}")
    return value


def test_the_small_command_signs_names_evidence_and_lists_what_is_missing(
    copy: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    """A notary with the small package alone: a photograph, a testimony, and the steps that still lack one.
    Then a reader checks the file; another file is refused by exit code."""
    copy.c.wait(int(time.time()) - copy.c.now)  # the command has the machine's clock
    photograph = copy.root / "li wei.jpg"
    photograph.write_bytes(b"a photograph")
    key = copy.key(NOTARY)
    words = ("--says", "medium destroyed", "--about", "tape library 3", "--evidence", photograph)

    told = said(capsys, "testify", "--case", copy.folder.path, "--key", key, *words)

    assert told["to_testify"] == [
        "health code: switched off (notary has not testified)",
        "Statistics Office: copy gone (auditor, notary has not testified)",
    ]
    path = Path(str(told["statement"]))
    assert b"li wei" not in envelope.open_(path.read_bytes()).payload
    shown = photograph.with_name("li wei.jpg.evidence")
    alone = said(capsys, "evidence", shown, "--statement", path)
    assert alone["signature_checked"] is False
    copy.log(path)
    proof = copy.folder.statements / SO_FAR
    out = copy.root / "out.jpg"
    for where in (("--case", copy.folder.path), ("--proof", proof)):
        found = said(capsys, "evidence", shown, *where)
        assert found["signature_checked"] is True
        assert found["named_by"] == alone["named_by"]
    said(capsys, "evidence", shown, "--proof", proof, "--take", out)
    assert out.read_bytes() == b"a photograph"

    shown.write_bytes(shown.read_bytes() + b" ")
    assert said(capsys, "evidence", shown, "--proof", proof, code=3)["named_by"] == []


def test_the_small_command_says_why_not(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    """What was typed wrong, and what the case refuses, end with a sentence and an exit code."""
    line = ("testify", "--case", str(copy.folder.path), "--key", str(copy.key(NOTARY)))

    assert main([*line, "--says", "witnessed"]) == 1
    assert "a testimony says one of" in capsys.readouterr().err
    assert main([*line, "--says", "answers", "--about", "the scope"]) == 4
    assert "an answer cites no objection" in capsys.readouterr().err
