"""Asking log witnesses on the network for their cosignatures (C2SP tlog-witness), and believing none of them.

A witness says which size it knows, and is sent the proof from there. What it answers is verified before it is
used. One that knows a longer log, or another root for a size, has seen another history: that is told apart
from one that is merely down.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cenotaph_proof import note
from cenotaph_proof.errors import (
    CallError,
    FormatError,
    HistoryError,
    ProofError,
    SignatureError,
    WitnessError,
)
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.calling import Reply, call
from cenotaph_proof.note import Checkpoint, NoteSignature
from cenotaph_proof.witness import Request

MAX_ANSWER = 64 << 10
TRIES = 3
ROUNDS = 4  # a 409 each: other commands of the operator may be cosigning too
PAUSE = 0.5  # seconds before the second try; three times as long before each further one
SIZE = "text/x.tlog.size"


@dataclass(frozen=True, slots=True)
class RemoteWitness:
    """A log witness at an address. `ca` is the authority to believe for it, if not one of the system's."""

    key: PublicKey
    address: Address
    ca: Path | None = None
    seconds: float = 10.0  # for one call
    tries: int = TRIES


@dataclass(frozen=True, slots=True)
class Shown:
    """What witnesses are shown: a signed checkpoint, and how to prove its growth from a smaller size."""

    note: bytes
    operator: PublicKey
    prove: Callable[[int], Sequence[bytes]]
    clock: Callable[[], int]
    clock_skew: int  # seconds by which a witness's clock may differ from ours


def cosignature(witness: RemoteWitness, shown: Shown, old: int) -> bytes:
    """The witness's lines over the checkpoint, verified. `old` is the size that it is believed to know.

    Raises:
        HistoryError: it has seen another history.
        CallError: it does not answer, or not as C2SP tlog-witness says.
        WitnessError: it refuses.
        SignatureError: what it answers does not verify, or its clock is wrong.
    """
    size = Checkpoint.parse(note.parse_note(shown.note).body).size
    for _ in range(ROUNDS):
        body = Request(old, tuple(shown.prove(old)) if old else (), shown.note).to_bytes()
        reply = _patiently(witness, body)
        if reply.status == 200:
            return _verified(witness, shown, reply.body)
        if reply.status != 409:
            raise _refusal(witness, reply)
        known = _known_size(witness, reply)
        if known > size:
            raise _other_history(witness, f"it has seen {known} statements, and this log has {size}")
        if known == old == size:
            raise _other_history(witness, f"it cosigned another root for {size} statements")
        old = known
    raise WitnessError(f"log witness {witness.key.organisation} says another size each time", status=409)


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of asking one witness: its lines, or why there are none."""

    organisation: str
    lines: bytes | None
    why: ProofError | None = None


def ask(
    asks: Sequence[tuple[str, Callable[[], bytes]]], enough: int, *, patience: float, grace: float
) -> list[Answered]:
    """Ask witnesses at once; each of `asks` is an organisation and the call that brings its lines.

    Waits at most `patience` seconds in all, and once there are `enough` lines only `grace` seconds more.
    """
    came: queue.SimpleQueue[Answered] = queue.SimpleQueue()
    for organisation, asked in asks:
        threading.Thread(target=_put, args=(came, organisation, asked), daemon=True).start()
    ends, answers = time.monotonic() + patience, dict[str, Answered]()
    while len(answers) < len(asks):
        try:
            answer = came.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        answers[answer.organisation] = answer
        if sum(a.lines is not None for a in answers.values()) >= enough:
            ends = min(ends, time.monotonic() + grace)
    late = CallError("it has not answered yet", transient=True)
    return [answers.get(name, Answered(name, None, late)) for name, _ in asks]


def _put(came: queue.SimpleQueue[Answered], organisation: str, asked: Callable[[], bytes]) -> None:
    try:
        came.put(Answered(organisation, asked()))
    except ProofError as error:
        came.put(Answered(organisation, None, error))


def _patiently(witness: RemoteWitness, body: bytes) -> Reply:
    """Ask, and ask again after a short while where the network or the server may just have stumbled."""
    pause = PAUSE
    for last in (False,) * (witness.tries - 1) + (True,):
        try:
            reply = _once(witness, body)
            if last or reply.status not in (429, 500, 502, 503, 504):
                return reply
        except CallError as error:
            if last or not error.transient:
                raise
        time.sleep(pause)
        pause *= 3
    raise AssertionError("the last try returns or raises")


def _once(witness: RemoteWitness, body: bytes) -> Reply:
    return call(
        witness.address,
        "POST",
        "add-checkpoint",
        limit=MAX_ANSWER,
        seconds=witness.seconds,
        body=body,
        ca=witness.ca,
    )


def _known_size(witness: RemoteWitness, reply: Reply) -> int:
    try:
        if not reply.body.endswith(b"\n"):
            raise FormatError("no line")
        return note.parse_number(reply.body[:-1].decode("ascii"))
    except (FormatError, UnicodeDecodeError):
        raise CallError(
            f"log witness {witness.key.organisation} answers a conflict without saying which size it knows",
            transient=False,
        ) from None


def _refusal(witness: RemoteWitness, reply: Reply) -> ProofError:
    who = f"log witness {witness.key.organisation}"
    if reply.status == 422:
        return _other_history(witness, "it refuses the proof that this log grew from what it saw before")
    if reply.status == 404:
        return WitnessError(
            f"{who} does not watch this operator's log",
            status=404,
            hint="send them the operator's .pub file, and check the address in case.toml",
        )
    if reply.status == 403:
        return WitnessError(f"{who} knows another key for this log", status=403)
    return WitnessError(f"{who} refuses with status {reply.status}", status=reply.status)


def _other_history(witness: RemoteWitness, why: str) -> HistoryError:
    return HistoryError(
        f"log witness {witness.key.organisation} has seen another history of this log: {why}",
        hint="was the log restored from an older copy? Bring back the newest; never go on with an older one",
    )


def _verified(witness: RemoteWitness, shown: Shown, answer: bytes) -> bytes:
    """The witness's own lines of its answer; lines by unknown keys are ignored, as C2SP tlog-witness says."""
    keys = note.witness_note_keys(witness.key)
    who = f"log witness {witness.key.organisation}"
    try:
        found = [NoteSignature.parse(line) for line in answer.splitlines(keepends=True)]
        lines = b"".join(line.to_bytes() for line in found if any(key.names(line) for key in keys))
        seen = note.verify_checkpoint(shown.note + lines, shown.operator, [witness.key]).cosignatures
    except ProofError as error:
        raise SignatureError(f"the cosignature of {who} does not verify: {error.message}") from None
    if not seen:
        raise SignatureError(f"{who} answers without a cosignature by the key that case.toml names")
    if abs(seen[0][1] - shown.clock()) > shown.clock_skew:
        raise SignatureError(
            f"the clock of {who} differs from ours by more than {shown.clock_skew} seconds",
            hint="see which of the two is wrong",
        )
    return lines
