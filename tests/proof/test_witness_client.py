"""Asking log witnesses that are slow, wrong, hostile, or have seen another history."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from asked_witness import FORKED, LEAVES, OPERATOR, PAPER, a_key, head
from cenotaph_proof import merkle, note
from cenotaph_proof.errors import CallError, HistoryError, ProofError, SignatureError, WitnessError
from cenotaph_proof.network import witness_client
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.witness_client import Answered, RemoteWitness, Shown, ask, cosignature
from cenotaph_proof.witness import Request, Witness
from servers import Said, lying

NOW, TEXT = 1_790_000_000, "text/plain"
LIBRARY = a_key("City Library", "log-witness")
Answer = Callable[[str, bytes], Said]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Tries follow each other at once."""
    monkeypatch.setattr(witness_client, "PAUSE", 0.01)


def shown(size: int = 9, leaves=LEAVES) -> Shown:
    return Shown(
        note=head(size, leaves),
        operator=OPERATOR.public,
        prove=partial(merkle.consistency_proof, leaves[:size]),
        clock=lambda: NOW,
        clock_skew=300,
    )


def asking(answer: Answer, old: int = 0, size: int = 9, leaves=LEAVES) -> bytes:
    """What comes of asking a witness that answers so."""
    with lying(answer) as url:
        witness = RemoteWitness(PAPER.public, Address.parse(url), seconds=5.0)
        return cosignature(witness, shown(size, leaves), old)


def honest(tmp_path, now: int = NOW) -> Answer:
    """An honest witness's answers, by the class that decides them."""
    witness = Witness(tmp_path / "state", PAPER, [OPERATOR.public])

    def answer(path: str, body: bytes) -> Said:
        assert path == "/add-checkpoint"
        asked = Request.parse(body)
        try:
            lines = witness.add_checkpoint(asked.old_size, asked.consistency_proof, asked.note, now=now)
        except WitnessError as refused:
            if refused.status == 409:
                return 409, "text/x.tlog.size", b"%d\n" % (refused.size or 0)
            return refused.status, TEXT, refused.message.encode()
        return 200, TEXT, lines

    return answer


def test_a_witness_is_sent_the_proof_from_where_it_stands(tmp_path):
    """Whatever the operator believed that it knows: too little, too much, or nothing."""
    answer = honest(tmp_path)
    for size, believed in ((3, 0), (5, 0), (9, 7), (12, 9)):
        lines = asking(answer, min(believed, size), size)
        ((_, when),) = note.verify_checkpoint(
            head(size) + lines, OPERATOR.public, [PAPER.public]
        ).cosignatures
        assert when == NOW


def test_a_longer_history_is_told_as_such(tmp_path):
    """The witness has seen more than this log has: it was restored from an older copy, or forked."""
    answer = honest(tmp_path)
    asking(answer, 0, 12)

    with pytest.raises(HistoryError, match=r"Daily Paper has seen another history.*seen 12 .* has 9"):
        asking(answer, 9, 9)


@pytest.mark.parametrize("size", [5, 9])
def test_a_fork_is_told_as_such(tmp_path, size):
    """Another root for the size that it knows, and a growth that does not grow from it."""
    answer = honest(tmp_path)
    asking(answer, 0, 5)

    for believed in (0, 5):
        with pytest.raises(HistoryError, match="Daily Paper has seen another history"):
            asking(answer, believed, size, FORKED)


def lines_by(key, checkpoint: bytes, now: int = NOW) -> bytes:
    return note.cosign(checkpoint, key, now)


LIES: dict[str, tuple[Said, type[ProofError], str]] = {
    "another's line": (
        (200, TEXT, lines_by(LIBRARY, head(9))),
        SignatureError,
        "without a cosignature by the key",
    ),
    "no line": ((200, TEXT, b""), SignatureError, "without a cosignature"),
    "another head": ((200, TEXT, lines_by(PAPER, head(8))), SignatureError, "does not verify"),
    "no lines at all": ((200, TEXT, b"<html>welcome</html>\n"), SignatureError, "does not verify"),
    "noise": ((200, TEXT, bytes(range(256))), SignatureError, "does not verify"),
    "a line twice": ((200, TEXT, lines_by(PAPER, head(9)) * 2), SignatureError, "does not verify"),
    "tomorrow": ((200, TEXT, lines_by(PAPER, head(9), NOW + 86_400)), SignatureError, "clock of log witness"),
    "yesterday": (
        (200, TEXT, lines_by(PAPER, head(9), NOW - 86_400)),
        SignatureError,
        "clock of log witness",
    ),
    "too much": ((200, TEXT, b"x" * 70_000), CallError, "more than 65536 bytes"),
    "elsewhere": ((302, TEXT, b""), CallError, "sends us elsewhere"),
    "no size": ((409, TEXT, b"no\n"), CallError, "which size it knows"),
    "no line feed": ((409, TEXT, b"5"), CallError, "which size it knows"),
    "signed size": ((409, TEXT, b"+5\n"), CallError, "which size it knows"),
    "padded size": ((409, TEXT, b"05\n"), CallError, "which size it knows"),
    "other digits": ((409, TEXT, "٥\n".encode()), CallError, "which size it knows"),
    "a huge size": ((409, TEXT, b"9" * 15 + b"\n"), HistoryError, "another history"),
    "the same size for ever": ((409, TEXT, b"4\n"), WitnessError, "another size each time"),
    "unknown log": ((404, TEXT, b""), WitnessError, "does not watch this operator's log"),
    "unknown key": ((403, TEXT, b""), WitnessError, "knows another key"),
    "teapot": ((418, TEXT, b""), WitnessError, "refuses with status 418"),
    "down": ((503, TEXT, b""), WitnessError, "refuses with status 503"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_witness_that_lies_is_not_believed(lie):
    """Whatever it answers, nothing of it is used, and the error names the witness or its host."""
    said, kind, message = LIES[lie]

    with pytest.raises(kind, match=message):
        asking(lambda path, body: said)


def test_lines_by_other_keys_are_left_out():
    """As C2SP tlog-witness asks of clients: they would make the proof unreadable for others."""
    own = lines_by(PAPER, head(9))
    answer = lines_by(LIBRARY, head(9)) + own + lines_by(LIBRARY, head(8))

    assert asking(lambda path, body: (200, TEXT, answer)) == own


def test_a_witness_that_stumbles_is_asked_again():
    """A proxy that is just being restarted costs a moment, not a command."""
    answers = [(502, TEXT, b""), (503, TEXT, b""), (200, TEXT, lines_by(PAPER, head(9)))]

    assert asking(lambda path, body: answers.pop(0)) == lines_by(PAPER, head(9))
    assert not answers


def test_a_witness_that_is_down_is_told_at_once():
    """Nobody listens there: after its tries, an error that names the host alone."""
    with lying(lambda path, body: (200, TEXT, b"")) as url:
        address = Address.parse(url)

    with pytest.raises(CallError, match=r"127\.0\.0\.1 cannot be reached"):
        cosignature(RemoteWitness(PAPER.public, address), shown(), 0)


# ── several at once ──────────────────────────────────────────────────────────────────────────────


def slow(seconds: float) -> Callable[[], bytes]:
    def asked() -> bytes:
        time.sleep(seconds)
        return b"late"

    return asked


def broken() -> bytes:
    raise CallError("it is down", transient=True)


def test_witnesses_are_asked_at_once_and_enough_are_enough():
    """Two of four answer: the slow one is not waited for, and why each of the others is missing is known."""
    began = time.monotonic()
    asks = [("a", slow(30)), ("b", lambda: b"1"), ("c", broken), ("d", lambda: b"2")]
    answers = ask(asks, 2, patience=20, grace=0.2)

    assert time.monotonic() - began < 10
    assert [a.organisation for a in answers] == ["a", "b", "c", "d"]
    assert [a.lines for a in answers] == [None, b"1", None, b"2"]
    assert [a.why and a.why.message for a in answers] == ["it has not answered yet", None, "it is down", None]


def test_others_have_a_moment_once_enough_answered():
    """A second later they count too: more cosignatures are better than enough."""
    answers = ask([("a", lambda: b"1"), ("b", slow(0.2))], 1, patience=20, grace=10)

    assert [a.lines for a in answers] == [b"1", b"late"]


def test_too_few_are_waited_for_no_longer_than_patience_lasts():
    """A witness that hangs does not hang the operator."""
    began = time.monotonic()
    answers = ask([("a", lambda: b"1"), ("b", slow(30))], 2, patience=0.3, grace=0.1)

    assert time.monotonic() - began < 10
    assert answers[0] == Answered("a", b"1")
    assert answers[1].lines is None
