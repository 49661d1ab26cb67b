"""The trust file is read strictly: a slip in it must not make a verdict weaker than its author meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from some_keys import a_key

from cenotaph_proof import trust
from cenotaph_proof.errors import FormatError, KeyFileError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.trust import Trust

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
