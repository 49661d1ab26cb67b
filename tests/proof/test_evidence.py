"""Evidence: what is signed is a digest that nobody can guess, of a file that stays with its witness."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import NOTARY, SEEN, Ceremony
from cenotaph_proof import evidence
from cenotaph_proof.case import Case
from cenotaph_proof.errors import FormatError

PHOTOGRAPH = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 9_000  # longer than one block


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "shredder.jpg"
    path.write_bytes(PHOTOGRAPH)
    return path


def test_a_file_gets_random_bytes_in_front(photograph: Path) -> None:
    """The digest is that of 32 random bytes and the file; the file itself stays as it was."""
    made = evidence.prepare(photograph)

    data = made.path.read_bytes()
    assert made.made
    assert made.path == photograph.with_name("shredder.jpg.evidence")
    assert data[32:] == PHOTOGRAPH == photograph.read_bytes()
    assert made.digest == hashlib.sha256(data).hexdigest()
    assert made.digest != hashlib.sha256(PHOTOGRAPH).hexdigest()
    assert [p.name for p in photograph.parent.iterdir() if p.name.startswith(".")] == []


def test_nobody_can_guess_the_digest_of_a_known_file(photograph: Path, tmp_path: Path) -> None:
    """The same photograph prepared twice has two digests: its digest tells nothing about it."""
    first = evidence.prepare(photograph)
    first.path.rename(tmp_path / "elsewhere")

    assert evidence.prepare(photograph).digest != first.digest


def test_a_prepared_file_is_taken_as_it_is(photograph: Path) -> None:
    """Running a command again names the same digest, by either name."""
    made = evidence.prepare(photograph)

    assert evidence.prepare(photograph) == evidence.Evidence(made.path, made.digest, made=False)
    assert evidence.prepare(made.path) == evidence.Evidence(made.path, made.digest, made=False)


def test_another_file_in_the_way_is_not_overwritten(photograph: Path) -> None:
    """FILE.evidence may be what another testimony names."""
    made = evidence.prepare(photograph)
    photograph.write_bytes(PHOTOGRAPH[:-1])

    with pytest.raises(FormatError, match="holds another file"):
        evidence.prepare(photograph)

    assert made.path.read_bytes()[32:] == PHOTOGRAPH


def test_what_follows_the_random_bytes_can_be_taken_out(photograph: Path, tmp_path: Path) -> None:
    """Whoever is shown the file gets the photograph back, and overwrites nothing with it."""
    made = evidence.prepare(photograph)
    evidence.take(made.path, tmp_path / "out.jpg")

    assert (tmp_path / "out.jpg").read_bytes() == PHOTOGRAPH
    with pytest.raises(FileExistsError):
        evidence.take(made.path, photograph)


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe would stop the command for ever, a folder is no evidence, an empty file has no random bytes."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "short.evidence").write_bytes(b"x" * 31)

    for name in ("pipe", "short.evidence"):
        with pytest.raises(FormatError):
            evidence.prepare(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        evidence.prepare(tmp_path)


def told(*digests: str) -> Case:
    c = Ceremony(steps=SEEN).run(last="destroy")
    c.testify(NOTARY, "medium destroyed", "tape library 3", evidence=digests)
    return c.replay(Case)


def test_only_what_a_testimony_names_is_published(photograph: Path, tmp_path: Path) -> None:
    """The operator's folder may hold anything; what nobody named, or is no file of its own, stays there."""
    made = evidence.prepare(photograph)
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "shown").write_bytes(made.path.read_bytes())
    (folder / "report.json").write_bytes(b"{}")
    (folder / "link").symlink_to(made.path)
    (folder / "deeper").mkdir()

    assert evidence.published(told(made.digest), folder) == [(made.digest, folder / "shown")]
    assert evidence.published(told("ab" * 32), folder) == []
    assert evidence.published(told(made.digest), tmp_path / "nowhere") == []


def test_each_testimony_that_names_a_file_is_known() -> None:
    """A reader of a file asks who named it."""
    assert [e.signer.organisation for e in evidence.named(told("ab" * 32))["ab" * 32]] == [NOTARY]
