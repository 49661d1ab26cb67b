"""The proof file is read strictly, and carries no more and no less than the log's part it speaks of."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from cenotaph.testing import ceremony
from cenotaph.testing.ceremony import Ceremony, Estate, as_stream
from cenotaph_proof import bundle as bundles
from cenotaph_proof import history
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.errors import FormatError, LogError, OrderError, ProofError


@pytest.fixture(scope="module")
def honest() -> Bundle:
    return Ceremony(estate=(Estate("health", (20,) * 400),)).run().bundle()


def test_what_is_read_is_written_again(honest: Bundle) -> None:
    """`write(read(x)) == x`, with detached parts."""
    proof = bundles.write(honest)

    assert honest.attachments
    assert bundles.read(as_stream(proof)) == honest
    assert bundles.write(bundles.read(as_stream(proof))) == proof


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"", b"", None),
        (b"cenotaph-proof/v1", b"cenotaph-proof/v2", "a format this version does not know"),
        (b'"entries":12', b'"entries":13', "entry 13 of 13 is missing"),
        (b'"entries":12', b'"entries":11', "checkpoint 1 of 12 is missing"),
        (b'"entries":12', b'"entries":-1', "first line is malformed"),
        (b'"entries":12', b'"entries":true', "first line is malformed"),
        (b'{"entry":', b'{"entri":', "is missing"),
        (b'"case":"', b'"case" :"', "canonical"),
        (b"\n", b"\r\n", "canonical"),
        (b"\n", b"\n\n", "entry 1 of 12 is missing or malformed"),
    ],
)
def test_a_departure_is_refused(honest: Bundle, before: bytes, after: bytes, words: str | None) -> None:
    """Each is refused at step 1, and says what is wrong."""
    proof = bundles.write(honest)
    assert before in proof
    if words is None:
        assert bundles.read(as_stream(proof)) == honest
        return

    with pytest.raises(FormatError, match=words):
        bundles.read(as_stream(proof.replace(before, after, 1)))


@pytest.mark.parametrize(
    "proof", [b"", b"\n", b"{}\n", b"[]\n", b"null\n", b"PK\x03\x04", b"\xff\n", b"[" * 5000]
)
def test_what_is_no_proof_file_is_refused(proof: bytes) -> None:
    """Any bytes at all: an error of ours, never a traceback."""
    with pytest.raises(FormatError):
        bundles.read(as_stream(proof))


def test_what_nobody_names_is_refused(honest: Bundle) -> None:
    """A proof file cannot carry a part that no statement of the case names."""
    more = {**honest.attachments, hashlib.sha256(b"{}").hexdigest(): b"{}"}

    with pytest.raises(FormatError, match="no statement names"):
        bundles.replay(replace(honest, attachments=more))


def test_checkpoints_ascend_and_cover_the_case(honest: Bundle) -> None:
    """In order of size, and none beyond the entries."""
    swapped = (honest.checkpoints[1], honest.checkpoints[0], *honest.checkpoints[2:])
    with pytest.raises(FormatError, match="ascending"):
        bundles.replay(replace(honest, checkpoints=swapped))
    with pytest.raises(FormatError, match="something other than this case"):
        bundles.replay(replace(honest, entries=honest.entries[:-1]))


def test_the_case_is_in_the_log_once(honest: Bundle) -> None:
    """A proof file that names another case has no charter for it."""
    with pytest.raises(OrderError, match="0 charters of this case"):
        bundles.replay(replace(honest, case="00" * 32))


def test_logs_of_two_operators_are_not_compared(honest: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operators have two logs: that they differ shows nothing."""
    monkeypatch.setattr(ceremony, "OPERATOR", "Other Bureau")
    monkeypatch.setitem(ceremony.ROLES, "Other Bureau", "operator")
    other = Ceremony().run(last="survey").bundle()

    with pytest.raises(LogError, match="two operators"):
        history.compare(honest, other)


def test_a_hostile_entry_is_an_error_of_ours(honest: Bundle) -> None:
    """An entry that is no envelope is refused, whatever it is."""
    for junk in (b"", b"{}", b"\x00" * 100, b"[]"):
        with pytest.raises(ProofError):
            bundles.replay(replace(honest, entries=(junk, *honest.entries[1:])))
