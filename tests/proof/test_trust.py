"""The trust file is read strictly: a slip in it must not make a verdict weaker than its author meant."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from some_keys import a_key

from cenotaph_proof import note, trust
from cenotaph_proof.errors import FormatError, KeyFileError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.trust import Authority, Trust

AUDITOR = a_key("Audit Co", "auditor").public
PARTY = '[[party]]\norganisation = "Audit Co"\nrole = "auditor"\nkey = "audit.pub"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "audit.pub").write_text(AUDITOR.to_text(), "utf-8")
    return tmp_path


def load(folder: Path, text: str) -> Trust:
    (folder / "trust.toml").write_text(text, "utf-8")
    return trust.load(folder / "trust.toml")


def test_defaults(folder: Path) -> None:
    """One auditor, one notary, one witness, five minutes, and no bound of its own."""
    held = load(folder, PARTY)

    assert held == Trust((AUDITOR,), {"auditor": 1, "notary": 1}, 1, 300)
    assert held.holds(AUDITOR)
    assert not held.named_by_operator


def test_a_policy_is_taken(folder: Path) -> None:
    """Thresholds, skew and bound are the reader's."""
    policy = (
        "[policy]\napprove = { auditor = 2, owner = 1 }\nwitness = 3\nclock_skew = '90s'\n"
        "approval_lasts = '90d'\nchallenge = { bound = 0.01, confidence = 0.99 }\n"
    )
    held = load(folder, PARTY + policy)

    assert (held.approve, held.witness, held.clock_skew, held.chunks) == (
        {"auditor": 2, "owner": 1},
        3,
        90,
        459,
    )


def test_a_key_may_be_written_into_the_file(folder: Path) -> None:
    """A party's key can stand in the trust file itself."""
    text = PARTY.replace('"audit.pub"', "'''" + AUDITOR.to_text() + "'''")

    assert load(folder, text).parties == (AUDITOR,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"names no \[\[party\]\]"),
        ("party = 5", "one .policy. table"),
        ("= 1", "is not TOML"),
        (PARTY + "[polici]\n", "a key that is not known: polici"),
        (PARTY + "[policy]\nwitnes = 2\n", "a key that is not known: witnes"),
        (PARTY + "[policy]\nwitness = -1\n", "witness must be a number"),
        (PARTY + "[policy]\nwitness = true\n", "witness must be a number"),
        (PARTY + "[policy]\napprove = { auditor = 0.5 }\n", "a number for each role"),
        (PARTY + "[policy]\napprove = { king = 1 }\n", "a key that is not known: king"),
        (PARTY + "[policy]\nclock_skew = 300\n", "clock_skew must be a duration"),
        (PARTY + "[policy]\nclock_skew = '99999999999999999999d'\n", "clock_skew must be a duration"),
        (PARTY + "[policy]\nchallenge = { bound = 1.0 }\n", "lie between 0 and 1"),
        (PARTY + "[policy]\nchallenge = { bound = 'small' }\n", "lie between 0 and 1"),
        (PARTY + "[policy]\nchallenge = 459\n", "must give a bound and a confidence"),
        (PARTY + PARTY, "organisation Audit Co is named twice"),
        (PARTY + PARTY.replace("Audit Co", "Other"), "made for another party or role"),
        (PARTY.replace('"auditor"', '"notary"'), "made for another party or role"),
        (PARTY.replace('key = "audit.pub"', "key = 5"), "is a path, or the text"),
        (PARTY.replace('key = "audit.pub"\n', ""), "has no key"),
        (PARTY.replace('role = "auditor"\n', ""), "has no role"),
        (PARTY + 'colour = "red"\n', "a key that is not known: colour"),
    ],
)
def test_what_is_not_meant_is_refused(folder: Path, text: str, words: str) -> None:
    """Unknown words, wrong types and doubled parties are errors that name the key."""
    with pytest.raises(FormatError, match=words):
        load(folder, text)


def test_a_key_file_that_is_none(folder: Path) -> None:
    """Bytes that are no text, a missing file, another file: never a traceback."""
    (folder / "audit.pub").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="not UTF-8"):
        load(folder, PARTY)
    (folder / "audit.pub").unlink()
    with pytest.raises((OSError, KeyFileError)):
        load(folder, PARTY)


def test_a_large_file_is_refused(folder: Path) -> None:
    """A trust file is small."""
    with pytest.raises(FormatError, match="larger than 1 MiB"):
        load(folder, "#" * (1 << 20) + PARTY)


def test_a_key_is_held_for_one_organisation_in_one_role(folder: Path) -> None:
    """The trusted key of an auditor is nobody else's, and not a notary's."""
    held = load(folder, PARTY)

    assert not held.holds(PublicKey("Audit Co", "notary", AUDITOR.ed25519, AUDITOR.x25519))
    assert not held.holds(PublicKey("Other", "auditor", AUDITOR.ed25519, AUDITOR.x25519))
    assert not held.holds(a_key("Other", "auditor").public)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("72h", 259_200), ("90d", 7_776_000)]
)
def test_durations(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days."""
    assert trust.seconds(text, "notice") == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "٣m", "5w", "1e3s", 5, None])
def test_what_is_no_duration(text: object) -> None:
    """Digits of ASCII and one letter, nothing else."""
    with pytest.raises(FormatError, match="notice must be a duration"):
        trust.seconds(text, "notice")


# Which log witnesses are enough, who runs them, and whose time stamps count.

PAPER = dataclasses.replace(a_key("Daily Paper", "log-witness"), mldsa44_seed=bytes(32)).public
LIBRARY = a_key("City Library", "log-witness").public
BUREAU = a_key("Big Data Bureau", "operator").public


def _table(party: PublicKey, **more: str) -> str:
    lines = {"organisation": party.organisation, "role": party.role, **more}
    text = "".join(f'{name} = "{value}"\n' for name, value in lines.items())
    return f"[[party]]\n{text}key = '''{party.to_text()}'''\n"


def _witness(name: str, party: PublicKey, key: int = 0) -> str:
    return f"witness {name} {note.note_keys(party)[key].to_text()}\n"


PARTIES = _table(BUREAU) + _table(PAPER) + _table(LIBRARY)
BOTH = _witness("paper", PAPER) + _witness("library", LIBRARY) + "group two all paper library\nquorum two\n"


def _with_quorum(policy: str) -> str:
    return f"{PARTIES}[policy]\nquorum = '''{policy}'''\n"


def test_a_policy_in_the_file_or_beside_it(folder: Path) -> None:
    """Its keys are those of the file's own parties."""
    held = load(folder, _with_quorum(BOTH))
    (folder / "two.policy").write_text(BOTH, "utf-8")
    beside = load(folder, PARTIES + '[policy]\nquorum = "two.policy"\n')

    assert held == beside
    assert held.quorum is not None
    paper, library = (note.witness_note_key(party) for party in (PAPER, LIBRARY))
    assert held.quorum.time({paper: 5, library: 9}) == 9
    assert held.quorum.time({paper: 5}) is None


def test_a_witness_may_stand_in_a_policy_by_its_second_key(folder: Path) -> None:
    """Either key means the witness; both would let it count twice."""
    second = _witness("paper", PAPER, 1)
    held = load(folder, _with_quorum(second + "quorum paper\n"))
    assert held.quorum is not None
    assert held.quorum.witnesses[0].key.kind == note.COSIGNATURE_MLDSA44
    with pytest.raises(FormatError, match="by both its keys"):
        load(folder, _with_quorum(second + _witness("p", PAPER) + "quorum p\n"))


def test_the_logs_of_a_policy_are_those_of_the_operators(folder: Path) -> None:
    """A policy may leave them out; naming others would make nothing of them valid."""
    log = f"log {note.operator_note_key(BUREAU).to_text()}\n"
    assert load(folder, _with_quorum(log + BOTH)).quorum is not None
    other = f"log {note.operator_note_key(a_key('Other', 'operator').public).to_text()}\n"
    for logs in (other, log + other):
        with pytest.raises(FormatError, match="not just those of this file"):
            load(folder, _with_quorum(logs + BOTH))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_with_quorum(_witness("x", a_key("X", "log-witness").public) + "quorum x\n"), "no log witness's"),
        (_with_quorum("quorum\n"), "line 1 of the policy"),
        (PARTIES + "[policy]\nquorum = 2\n", "quorum is a path, or the text"),
        (_table(AUDITOR, operated_by="City Council"), "operated_by names"),
        (_table(LIBRARY, operated_by="City Library"), "operated_by names"),
        (_table(LIBRARY, operated_by=" City"), "begins or ends with a space"),
        (_table(LIBRARY) .replace("key =", "operated_by = 5\nkey ="), "operated_by names"),
        (PARTIES + "[[authority]]\nname = 'T'\n", "a name and a certificate"),
        (PARTIES + "[[authority]]\nname = 5\ncertificate = 'x'\n", "is a text"),
        (PARTIES + "[[authority]]\nname = 'T'\ncertificate = '-----BEGIN EC-----'\n", "not in PEM"),
        (PARTIES + "[[authority]]\nname = 'T'\ncertificate = 5\n", "is a path, or the text"),
        (PARTIES + "[authority]\nname = 'T'\n", r"\[\[authority\]\] tables"),
        (PARTIES + "[[authority]]\nname = 'T'\ncertificate = '-----BEGIN CERTIFICATE-----'\n" * 2, "once"),
    ],
)  # fmt: skip
def test_a_slip_in_the_new_tables_is_refused(folder: Path, text: str, words: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(FormatError, match=words):
        load(folder, text)


def test_who_runs_a_witness(folder: Path) -> None:
    """Itself, or through one that it runs; going round in circles ends."""
    office, cellar = (a_key(name, "log-witness").public for name in ("Office", "Cellar"))
    tables = [
        _table(BUREAU),
        _table(office, operated_by="Big Data Bureau"),
        _table(cellar, operated_by="Office"),
        _table(LIBRARY, operated_by="City Council"),
    ]
    held = load(folder, "".join(tables))

    assert held.run_by("Big Data Bureau") >= {"Office", "Cellar"}
    assert "City Library" not in held.run_by("Big Data Bureau")
    assert "City Library" in held.run_by("City Council")
    circle = dataclasses.replace(held, operated_by={"A": "B", "B": "A"})
    assert circle.run_by("A") == {"A", "B"}


def test_authorities_are_read_as_they_came(folder: Path) -> None:
    """In the file or beside it; nobody parses the certificate here."""
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (folder / "tsa.pem").write_text(pem, "utf-8")
    one, two = "'tsa.pem'", f"'''{pem}'''"
    tables = "".join(
        f"[[authority]]\nname = '{name}'\ncertificate = {given}\n"
        for name, given in {"One": one, "Two": two}.items()
    )
    held = load(folder, PARTIES + tables)
    assert held.authorities == (Authority("One", pem.encode()), Authority("Two", pem.encode()))


def test_a_witness_without_its_second_key_is_not_the_one_that_is_trusted(folder: Path) -> None:
    """A charter must not take a key away; one that adds a key only asks for more."""
    older = dataclasses.replace(PAPER, mldsa44=None)
    assert load(folder, _table(PAPER)).holds(PAPER)
    assert not load(folder, _table(PAPER)).holds(older)
    assert load(folder, _table(older)).holds(PAPER)
    other = dataclasses.replace(a_key("Daily Paper", "log-witness"), mldsa44_seed=bytes([1]) * 32).public
    assert not load(folder, _table(PAPER)).holds(other)


def test_two_witnesses_do_not_share_a_second_key(folder: Path) -> None:
    """One key is one organisation's, of either kind."""
    twin = dataclasses.replace(LIBRARY, mldsa44=PAPER.mldsa44)
    with pytest.raises(FormatError, match="have the same key"):
        load(folder, _table(PAPER) + _table(twin))
