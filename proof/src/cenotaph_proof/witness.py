"""A log witness: cosigns a log's checkpoints only where each grows from the one before (C2SP tlog-witness).

A witness remembers one head for each log and never goes back. It writes the new head down, durably, before
the cosignature leaves it; so two heads of one size never both carry its name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cenotaph_proof import canonical, merkle
from cenotaph_proof._durable import locked, write_file
from cenotaph_proof.envelope import decode_base64, encode_base64
from cenotaph_proof.errors import FormatError, SignatureError, TreeError, WitnessError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.note import (
    Checkpoint,
    cosign,
    log_origin,
    operator_note_key,
    parse_note,
    parse_number,
)

STATE_FORMAT = "cenotaph-witness-state/v1"
MAX_PROOF = 63
MAX_REFUSED = 100  # heads kept as evidence, and as many that may become it
OPEN, EVIDENCE, SEEN = ".open", ".refused", ".seen"  # files of heads, by what they show
MAX_STATE = 64 << 20  # bytes: some hundred thousand logs


class Witness:
    """One witness: its key, the operators whose logs it watches, and the file that holds what it has seen.

    Never delete the state file: a witness that forgot would cosign a second history.
    """

    def __init__(self, state_path: Path, key: SecretKey, operators: Sequence[PublicKey]) -> None:
        self._path = state_path
        self._key = key
        self._operators = {log_origin(operator): operator for operator in operators}

    def size(self, operator: PublicKey) -> int:
        """The size that this witness last cosigned of an operator's log; 0 before the first."""
        return _load(self._path).get(log_origin(operator), _UNSEEN).size

    def seen(self) -> dict[str, Head]:
        """What was last cosigned of each log, by origin."""
        return _load(self._path)

    def newest(self, origin: str) -> bytes | None:
        """The checkpoint that was last cosigned of a log, as the operator and this witness signed it; for
        monitors. None before the first, and where it was cosigned by a version that did not keep it."""
        head = _load(self._path).get(origin)
        if head is None or head.signed is None:
            return None
        note = _note(origin, head)
        return note + cosign(note, self._key, head.time)

    def add_checkpoint(
        self, old_size: int, consistency_proof: Sequence[bytes], note: bytes, *, now: int
    ) -> bytes:
        """Check a checkpoint against the last one, remember it, and return a cosignature line for each key.

        `now` is Unix time in seconds. Asking again for the same checkpoint is answered again.

        Raises:
            WitnessError: refused, with the status of C2SP tlog-witness: 400 malformed, 404 unknown log,
                403 not signed by its operator, 409 `old_size` is not the size last cosigned (`size` is) or
                another root was cosigned for it, 422 not an extension of it, 503 the clock went back.
            FormatError: the witness's own state file is damaged.
        """
        checkpoint, signed = self._signed(old_size, consistency_proof, note)
        with locked(self._path.with_name(f".{self._path.name}.lock")):
            heads = _load(self._path)
            last = heads.get(checkpoint.origin, _UNSEEN)
            try:
                _check_growth(last, old_size, consistency_proof, checkpoint)
            except WitnessError:
                if old_size == last.size:
                    self._keep_refused(
                        last, Head(checkpoint.size, checkpoint.root, 0, signed), checkpoint.origin
                    )
                raise
            if now < last.time:
                raise WitnessError("the witness's clock is behind its last cosignature", status=503)
            lines = cosign(note, self._key, now)
            seen = heads[checkpoint.origin] = Head(checkpoint.size, checkpoint.root, now, signed)
            _save(self._path, heads)
            self._settle(seen, checkpoint.origin)
        return lines

    def refused(self) -> int:
        """How many heads were kept of which this witness has seen another root for their size: each, with the
        head beside it, is the operator's own proof of two histories."""
        return len(self._kept(EVIDENCE))

    def _keep_refused(self, last: Head, refused: Head, origin: str) -> None:
        """Keep a head that its operator signed.

        Of the size that was seen, it is evidence. A larger one shows nothing yet: whoever brought it, and
        anybody may, left out the proof that it grew. Only so many of either are kept: an operator must not be
        able to fill the disk, nor a stranger to crowd out evidence. Each is kept once, without lines that a
        stranger added, and never the one seen.
        """
        if (refused.size, refused.root) == (last.size, last.root):
            return
        note = _note(origin, refused)
        if refused.size == last.size:
            self._accuse(note, last, origin)
        elif len(self._kept(OPEN)) < MAX_REFUSED:
            write_file(self._place(note, refused.size, OPEN), note)

    def _accuse(self, note: bytes, seen: Head, origin: str) -> None:
        if len(self._kept(EVIDENCE)) >= MAX_REFUSED:
            return
        write_file(self._place(note, seen.size, EVIDENCE), note)
        if seen.signed is not None:
            write_file(self._place(note, seen.size, SEEN), _note(origin, seen))

    def _settle(self, seen: Head, origin: str) -> None:
        """Heads of the size that is now cosigned, refused before: each is the one that is, or evidence."""
        body = Checkpoint(origin, seen.size, seen.root).body()
        for path in self._kept(OPEN):
            if not path.name.startswith(f"{seen.size}-"):
                continue
            refused = path.read_bytes()
            if refused.startswith(f"{origin}\n".encode()):
                if not refused.startswith(body):
                    self._accuse(refused, seen, origin)
                path.unlink()

    def _kept(self, suffix: str) -> list[Path]:
        folder = self._refused_folder()
        return [path for path in folder.iterdir() if path.suffix == suffix] if folder.is_dir() else []

    def _place(self, note: bytes, size: int, suffix: str) -> Path:
        return self._refused_folder() / f"{size}-{hashlib.sha256(note).hexdigest()[:16]}{suffix}"

    def _refused_folder(self) -> Path:
        return self._path.with_name(f"{self._path.name}.refused")

    def _signed(self, old_size: int, proof: Sequence[bytes], note: bytes) -> tuple[Checkpoint, str]:
        try:
            parsed = parse_note(note)
            checkpoint = Checkpoint.parse(parsed.body)
        except FormatError as error:
            raise WitnessError(f"the witness cannot read the checkpoint: {error}", status=400) from error
        if not 0 <= old_size <= checkpoint.size or len(proof) > MAX_PROOF:
            raise WitnessError("the old size is beyond the checkpoint, or the proof is too long", status=400)
        operator = self._operators.get(checkpoint.origin)
        if operator is None:
            raise WitnessError("the witness does not know this log", status=404)
        # Signatures by unknown keys are ignored: a checkpoint may come with other witnesses' cosignatures.
        signer = operator_note_key(operator)
        own = [line for line in parsed.signatures if signer.names(line)]
        try:
            for line in own:
                signer.verify(parsed.body, line)
        except SignatureError:
            own = []
        if not own:
            raise WitnessError("the checkpoint is not signed by the log's operator", status=403)
        return checkpoint, own[0].to_bytes().decode()


@dataclass(frozen=True, slots=True)
class Head:
    """The checkpoint that a witness last cosigned of a log, when, and the operator's signature line on it."""

    size: int
    root: bytes
    time: int
    signed: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """The body of an `add-checkpoint` request (C2SP tlog-witness)."""

    old_size: int
    consistency_proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The body as it is sent."""
        lines = [f"old {self.old_size}\n", *(f"{encode_base64(value)}\n" for value in self.consistency_proof)]
        return "".join(lines).encode() + b"\n" + self.note

    @classmethod
    def parse(cls, body: bytes) -> Request:
        """Read a body; the note in it is read by the witness.

        Raises:
            FormatError: it is anything else.
        """
        head, gap, note = body.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise FormatError("the head of the request is not ASCII") from None
        if not gap or not first.startswith("old ") or len(lines) > MAX_PROOF:
            raise FormatError(
                "a request is an old size line, at most 63 hashes, an empty line and a checkpoint"
            )
        proof = tuple(decode_base64(line) for line in lines)
        if any(len(value) != merkle.HASH_BYTES for value in proof):
            raise FormatError("a hash of the request's consistency proof does not have 32 bytes")
        return cls(parse_number(first.removeprefix("old ")), proof, note)


def _note(origin: str, head: Head) -> bytes:
    """The head as its operator signed it."""
    assert head.signed is not None
    return Checkpoint(origin, head.size, head.root).body() + b"\n" + head.signed.encode()


_UNSEEN = Head(0, merkle.EMPTY_ROOT, 0)


def _check_growth(last: Head, old_size: int, proof: Sequence[bytes], new: Checkpoint) -> None:
    if old_size != last.size:
        raise WitnessError(
            f"the witness last cosigned size {last.size}, not {old_size}", status=409, size=last.size
        )
    if new.size == 0 and new.root != merkle.EMPTY_ROOT:
        raise WitnessError("an empty log does not have this root", status=422)
    if new.size == last.size and new.root != last.root:
        raise WitnessError(
            f"the witness has cosigned another root for size {last.size}: the log has two histories",
            status=409,
            size=last.size,
        )
    try:
        merkle.verify_consistency(last.size, new.size, last.root, new.root, proof)
    except TreeError as error:
        raise WitnessError(f"the checkpoint does not extend the last one: {error}", status=422) from error


def _load(path: Path) -> dict[str, Head]:
    try:
        value = canonical.loads(path.read_bytes(), limit=MAX_STATE, depth=3)
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict) or value.keys() != {"format", "logs"} or value["format"] != STATE_FORMAT:
        raise FormatError("this is not the state of a witness", hint=_NEWEST)
    logs = value["logs"]
    if not isinstance(logs, dict):
        raise FormatError(_DAMAGED, hint=_NEWEST)
    return {origin: _head(head) for origin, head in logs.items()}


def _head(value: canonical.Json) -> Head:
    # States of the first version have no signature line.
    if isinstance(value, dict) and value.keys() - {"signed"} == {"root", "size", "time"}:
        root, signed = value["root"], value.get("signed")
        if isinstance(root, str) and re.fullmatch("[0-9a-f]{64}", root) and isinstance(signed, str | None):
            return Head(_count(value["size"]), bytes.fromhex(root), _count(value["time"]), signed)
    raise FormatError(_DAMAGED, hint=_NEWEST)


def _count(value: canonical.Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError(_DAMAGED, hint=_NEWEST)
    return value


_DAMAGED = "the state of the witness is damaged"
_NEWEST = "restore its newest copy, never an older one"


def _save(path: Path, heads: dict[str, Head]) -> None:
    logs: canonical.JsonLike = {origin: _to_json(head) for origin, head in heads.items()}
    write_file(path, canonical.dumps({"format": STATE_FORMAT, "logs": logs}), mode=0o600)


def _to_json(head: Head) -> canonical.JsonLike:
    value: dict[str, canonical.JsonLike] = {"root": head.root.hex(), "size": head.size, "time": head.time}
    return value if head.signed is None else {**value, "signed": head.signed}
