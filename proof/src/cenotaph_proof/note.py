"""Signed notes, checkpoints, cosignatures: C2SP signed-note, tlog-checkpoint, tlog-cosignature (spec/log.md).

A checkpoint says: this log had this many entries under this root. The operator signs it; log witnesses
cosign it with the time at which they saw it grow from what they saw before.

There are two ways to read one. `verify_checkpoint` is for proofs: our own logs, nothing unknown in them.
`read_checkpoint` is for anybody's log, as C2SP asks of readers: lines by unknown keys are passed over.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cenotaph_proof.canonical import MAX_INTEGER
from cenotaph_proof.envelope import decode_base64, encode_base64
from cenotaph_proof.errors import FormatError, LogError, SignatureError
from cenotaph_proof.keys import (
    MLDSA44_KEY,
    MLDSA44_SIGNATURE,
    PublicKey,
    SecretKey,
    verify_ed25519,
    verify_mldsa44,
)
from cenotaph_proof.merkle import EMPTY_ROOT, HASH_BYTES

ED25519 = 0x01
COSIGNATURE = 0x04
COSIGNATURE_MLDSA44 = 0x06
MAX_NOTE = 1_000_000
MAX_SIGNATURES = 100


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the name of a key, the first bytes of its hash, and what it signed with."""

    name: str
    key_hash: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """The line, with its line feed."""
        return f"— {self.name} {encode_base64(self.key_hash + self.signature)}\n".encode()

    @classmethod
    def parse(cls, line: bytes) -> NoteSignature:
        """Read one signature line with its line feed.

        Raises:
            FormatError: it is anything else.
        """
        try:
            match = _SIGNATURE_LINE.fullmatch(line.decode())
        except UnicodeDecodeError:
            raise FormatError("a signature line is not UTF-8") from None
        if not match:
            raise FormatError("a line after the text of a note is not a signature line")
        _check_name(match[1])
        raw = decode_base64(match[2])
        if len(raw) <= 4:
            raise FormatError("a signature line of a note holds no signature")
        return cls(match[1], raw[:4], raw[4:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signature lines, as read: nothing is verified yet."""

    body: bytes
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """The note as it was read."""
        return self.body + b"\n" + b"".join(line.to_bytes() for line in self.signatures)


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that signs notes: its name, its raw public key, and how it signs.

    `kind` is 0x01 (Ed25519, plainly), 0x04 (Ed25519, with a time) or 0x06 (ML-DSA-44, with a time).
    """

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in _KEY_BYTES or len(self.public) != _KEY_BYTES[self.kind]:
            raise FormatError(
                "the key of a note is neither Ed25519 of type 0x01 or 0x04 nor ML-DSA-44 of type 0x06"
            )

    @property
    def key_hash(self) -> bytes:
        """The four bytes that stand for the key in a signature line."""
        return _key_hash(self.name, self._encoded)

    @property
    def _encoded(self) -> bytes:
        return bytes([self.kind]) + self.public

    def to_text(self) -> str:
        """The key in the form that logs and witnesses publish: name+hash+base64."""
        return f"{self.name}+{self.key_hash.hex()}+{encode_base64(self._encoded)}"

    @classmethod
    def from_text(cls, text: str) -> NoteKey:
        """Read what `to_text` wrote.

        Raises:
            FormatError: malformed, a hash that does not belong to the key, or another type of key.
        """
        match = _VERIFIER_KEY.fullmatch(text)
        if not match:
            raise FormatError("a note key is not written as name+hash+key")
        encoded = decode_base64(match[3])
        key = cls(match[1], encoded[0] if encoded else 0, encoded[1:])
        if key.key_hash.hex() != match[2]:
            raise FormatError("the hash in a note key does not belong to the key")
        return key

    def names(self, line: NoteSignature) -> bool:
        """Whether a signature line says that it is by this key."""
        return line.name == self.name and line.key_hash == self.key_hash

    def verify(self, body: bytes, line: NoteSignature) -> int | None:
        """Check a signature line over a note's text; returns the time that a cosignature carries.

        Raises:
            SignatureError: it is by another key, or does not verify.
            FormatError: an ML-DSA-44 key signs checkpoints alone, and this text is none.
        """
        if not self.names(line):
            raise SignatureError("a signature line is by another key")
        if self.kind == ED25519:
            verify_ed25519(self.public, line.signature, body)
            return None
        if len(line.signature) != 8 + _SIGNATURE_BYTES[self.kind]:
            raise SignatureError(f"a cosignature does not have {8 + _SIGNATURE_BYTES[self.kind]} bytes")
        time, signature = int.from_bytes(line.signature[:8], "big"), line.signature[8:]
        if self.kind == COSIGNATURE:
            verify_ed25519(self.public, signature, _cosigned_message(time, body))
        else:
            verify_mldsa44(self.public, signature, _subtree_message(self.name, time, body))
        return time


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: its origin, its number of entries, and the RFC 6962 root over them."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or _CONTROL.search(self.origin):
            raise FormatError("the origin of a checkpoint is one non-empty line")
        if not 0 <= self.size <= MAX_INTEGER:
            raise FormatError("the size of a checkpoint is not a number from 0 to 2^53 - 1")
        if len(self.root) != HASH_BYTES:
            raise FormatError(f"the root of a checkpoint does not have {HASH_BYTES} bytes")

    def body(self) -> bytes:
        """The text that is signed: three lines."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n".encode()

    @classmethod
    def parse(cls, body: bytes) -> Checkpoint:
        """Read the text of a checkpoint; `parse(x).body() == x`. Extension lines are refused.

        Raises:
            FormatError: it is anything else.
        """
        checkpoint = cls.read(body)
        if checkpoint.body() != body:
            raise FormatError("a checkpoint has three lines: origin, size, root")
        return checkpoint

    @classmethod
    def read(cls, body: bytes) -> Checkpoint:
        """Read the text of any log's checkpoint; extension lines, which say nothing to us, are passed over.

        Raises:
            FormatError: not a checkpoint (C2SP tlog-checkpoint), or its size is above 2^53 - 1.
        """
        try:
            lines = body.decode().split("\n")
        except UnicodeDecodeError:
            raise FormatError("a checkpoint is not UTF-8") from None
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise FormatError("a checkpoint has at least three lines, none of them empty: origin, size, root")
        return cls(lines[0], parse_number(lines[1]), decode_base64(lines[2]))


@dataclass(frozen=True, slots=True)
class CosignedCheckpoint:
    """A verified checkpoint, and who cosigned it when: pairs of key id and Unix time in seconds.

    A witness with two keys is among them only if it signed with both, at one time.
    """

    checkpoint: Checkpoint
    cosignatures: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ReadCheckpoint:
    """Any log's checkpoint, signed by that log, and the time of each cosignature by a key that was given.

    A time is None where the key signs without one (type 0x01, as older witnesses do), and may be 0.
    """

    checkpoint: Checkpoint
    times: Mapping[NoteKey, int | None]


def log_origin(operator: PublicKey) -> str:
    """The name of an operator's one log; fixed by the key, so that a trust file fixes it too."""
    return f"cenotaph.log/{operator.key_id[:16]}"


def operator_note_key(operator: PublicKey) -> NoteKey:
    """The key that signs the operator's checkpoints."""
    return NoteKey(log_origin(operator), ED25519, operator.ed25519)


def witness_note_key(witness: PublicKey) -> NoteKey:
    """The Ed25519 key that a log witness cosigns with."""
    return NoteKey(_witness_name(witness), COSIGNATURE, witness.ed25519)


def witness_note_keys(witness: PublicKey) -> tuple[NoteKey, ...]:
    """All keys that a log witness cosigns with: the Ed25519 one, then the ML-DSA-44 one if it has one."""
    first = witness_note_key(witness)
    if witness.mldsa44 is None:
        return (first,)
    return first, NoteKey(first.name, COSIGNATURE_MLDSA44, witness.mldsa44)


def note_keys(party: PublicKey) -> tuple[NoteKey, ...]:
    """The keys with which an operator signs, or a log witness cosigns, in the form that others know them by.

    Raises:
        LogError: another role, which signs no notes.
    """
    if party.role == "operator":
        return (operator_note_key(party),)
    if party.role == "log-witness":
        return witness_note_keys(party)
    raise LogError(f"a key of role {party.role} signs no checkpoints", hint="operators and log witnesses do")


def parse_note(data: bytes) -> Note:
    """Read a signed note; `parse_note(x).to_bytes() == x`.

    Raises:
        FormatError: not a note, more than 1,000,000 bytes, or more than 100 signature lines.
    """
    if len(data) > MAX_NOTE:
        raise FormatError(f"a note has {len(data)} bytes; at most {MAX_NOTE} are read")
    _check_text(data)
    # The text may hold empty lines of its own; the last one ends it.
    end = data.rfind(b"\n\n")
    if end < 0 or not data.endswith(b"\n") or end + 2 == len(data):
        raise FormatError("a note is a text, an empty line and at least one signature line")
    lines = data[end + 2 :].splitlines(keepends=True)
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"a note has {len(lines)} signatures; at most {MAX_SIGNATURES} are read")
    return Note(data[: end + 1], tuple(NoteSignature.parse(line) for line in lines))


def sign_checkpoint(checkpoint: Checkpoint, key: SecretKey) -> bytes:
    """The operator's signed note of a checkpoint. The caller has made sure that it signs one root a size.

    Raises:
        LogError: the checkpoint is of another operator's log, or the key is not an operator's.
    """
    signer = operator_note_key(key.public)
    if checkpoint.origin != signer.name:
        raise LogError("the checkpoint is of another operator's log")
    _check_role(key, "operator")
    body = checkpoint.body()
    return Note(body, (NoteSignature(signer.name, signer.key_hash, key.sign(body)),)).to_bytes()


def cosign(note: bytes, key: SecretKey, time: int) -> bytes:
    """A witness's signature lines over the checkpoint in `note` at Unix time `time`: one for each key.

    Checks no history: `cenotaph_proof.witness.Witness` decides whether to cosign.

    Raises:
        FormatError: the note is not a checkpoint, or the time is not from 1 to 2^53 - 1.
        LogError: the key is not a log witness's.
    """
    _check_role(key, "log-witness")
    body = parse_note(note).body
    Checkpoint.parse(body)
    if not 1 <= time <= MAX_INTEGER:
        raise FormatError("the time of a cosignature is not from 1 to 2^53 - 1")
    return b"".join(_cosign_with(signer, key, body, time) for signer in witness_note_keys(key.public))


def add_signatures(note: bytes, lines: Iterable[bytes]) -> bytes:
    """The note with further signature lines, each of `lines` being one or several.

    A line by a key that has signed already is left out: the older one stays, and so does the time it carries.

    Raises:
        FormatError: the note or a line is malformed.
    """
    parsed = parse_note(note)
    signatures = {(line.name, line.key_hash): line for line in parsed.signatures}
    for line in (line for given in lines for line in given.splitlines(keepends=True)):
        read = NoteSignature.parse(line)
        signatures.setdefault((read.name, read.key_hash), read)
    return Note(parsed.body, tuple(signatures.values())).to_bytes()


def verify_checkpoint(
    note: bytes, operator: PublicKey, witnesses: Sequence[PublicKey] = ()
) -> CosignedCheckpoint:
    """Check a checkpoint: signed by this operator first, then by any of these witnesses, and by nobody else.

    How many cosignatures are enough is the caller's to say.

    Raises:
        FormatError: not a note, or not a checkpoint.
        LogError: of another log, or a signature line is unknown or there twice.
        SignatureError: a signature does not verify.
    """
    parsed = parse_note(note)
    # (1) The checkpoint is of this operator's log, and an empty log has the empty root.
    checkpoint = Checkpoint.parse(parsed.body)
    if checkpoint.origin != log_origin(operator):
        raise LogError("the checkpoint is of another operator's log")
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise LogError("the checkpoint of an empty log does not have the empty root")
    # (2) The first line is the operator's and verifies.
    operator_note_key(operator).verify(parsed.body, parsed.signatures[0])
    # (3) Every further line is by a known witness, once a key, and verifies.
    return CosignedCheckpoint(checkpoint, _cosignatures(parsed, witnesses))


def read_checkpoint(
    note: bytes, log: NoteKey, witnesses: Iterable[NoteKey] = (), *, origin: str | None = None
) -> ReadCheckpoint:
    """Check any log's checkpoint as C2SP tlog-checkpoint asks of readers: lines by unknown keys are ignored.

    `origin` is the log's; left out, it is the name of the log's key, as the specification recommends.

    Raises:
        FormatError: not a note, or not a checkpoint.
        LogError: of another log, not signed by it, or signed twice with one key.
        SignatureError: a signature by a key that was given does not verify.
    """
    parsed = parse_note(note)
    checkpoint = Checkpoint.read(parsed.body)
    if checkpoint.origin != (log.name if origin is None else origin):
        raise LogError("the checkpoint is of another log")
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise LogError("the checkpoint of an empty log does not have the empty root")
    times = _verified(parsed.body, parsed.signatures, (log, *witnesses))
    if log not in times:
        raise LogError("the checkpoint is not signed by its log")
    del times[log]
    return ReadCheckpoint(checkpoint, times)


def cosigned_at(seen: Mapping[NoteKey, int | None], witnesses: Iterable[PublicKey]) -> dict[PublicKey, int]:
    """When each of these witnesses cosigned, given the times of verified lines by their keys.

    A witness that left one of its keys out, signed at two times or at none has not said when it saw what.
    """
    found = {w.key_id: (w, {seen.get(key) for key in witness_note_keys(w)}) for w in witnesses}
    whole = ((witness, times.pop()) for witness, times in found.values() if len(times) == 1)
    return {witness: time for witness, time in whole if time is not None and 1 <= time <= MAX_INTEGER}


def parse_number(text: str) -> int:
    """Read a decimal number in ASCII digits, without sign, space or leading zero, of at most 2^53 - 1.

    Raises:
        FormatError: it is anything else.
    """
    if not _NUMBER.fullmatch(text) or int(text) > MAX_INTEGER:
        raise FormatError("not a plain decimal number from 0 to 2^53 - 1")
    return int(text)


@functools.lru_cache(1024)  # of the few keys of a log, asked for with every line
def _key_hash(name: str, encoded: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + encoded).digest()[:4]


_CONTROL = re.compile("[\x00-\x1f]")
_SPACE = re.compile(r"\s")  # what `str.isspace` says of each character
_NUMBER = re.compile("0|[1-9][0-9]{0,15}")
_SIGNATURE_LINE = re.compile("— ([^ \n]+) ([A-Za-z0-9+/=]+)\n")
_KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, COSIGNATURE_MLDSA44: MLDSA44_KEY}
_SIGNATURE_BYTES = {COSIGNATURE: 64, COSIGNATURE_MLDSA44: MLDSA44_SIGNATURE}
_VERIFIER_KEY = re.compile(r"([^+\n]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


def _cosignatures(note: Note, witnesses: Sequence[PublicKey]) -> tuple[tuple[str, int], ...]:
    known = {key: witness for witness in witnesses for key in witness_note_keys(witness)}
    for line in note.signatures[1:]:
        if not any(key.names(line) for key in known):
            raise LogError("a signature line of the checkpoint is by nobody in the trust file")
    times = _verified(note.body, note.signatures[1:], known)
    if not all(time is not None and 1 <= time <= MAX_INTEGER for time in times.values()):
        raise LogError("a cosignature of the checkpoint carries no time")
    in_order = dict.fromkeys(known[key] for key in times)
    return tuple((witness.key_id, time) for witness, time in cosigned_at(times, in_order).items())


def _verified(
    body: bytes, lines: Iterable[NoteSignature], keys: Iterable[NoteKey]
) -> dict[NoteKey, int | None]:
    """The time of each line that is by one of the keys; lines by others are passed over."""
    known = {(key.name, key.key_hash): key for key in keys}
    times: dict[NoteKey, int | None] = {}
    for line in lines:
        key = known.get((line.name, line.key_hash))
        if key in times:
            raise LogError("a witness signed the checkpoint twice with one key")
        if key is not None:
            times[key] = key.verify(body, line)
    return times


def _cosign_with(signer: NoteKey, key: SecretKey, body: bytes, time: int) -> bytes:
    if signer.kind == COSIGNATURE:
        signature = key.sign(_cosigned_message(time, body))
    else:
        signature = key.sign_mldsa44(_subtree_message(signer.name, time, body))
    return NoteSignature(signer.name, signer.key_hash, time.to_bytes(8, "big") + signature).to_bytes()


def _cosigned_message(time: int, body: bytes) -> bytes:
    # C2SP tlog-cosignature: the header keeps a cosignature from being read as a log's own signature.
    return b"cosignature/v1\ntime %d\n%b" % (time, body)


def _subtree_message(name: str, time: int, body: bytes) -> bytes:
    # C2SP tlog-cosignature, "ML-DSA-44 signed message": the tree from leaf 0 to its size, not the text.
    checkpoint = Checkpoint.read(body)
    return b"".join(
        [
            b"subtree/v1\n\0",
            _short(name),
            time.to_bytes(8, "big"),
            _short(checkpoint.origin),
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        ]
    )


def _short(text: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= 255:
        raise SignatureError("an ML-DSA-44 cosignature names its signer and its log in 1 to 255 bytes each")
    return bytes([len(data)]) + data


def _witness_name(witness: PublicKey) -> str:
    return f"cenotaph.witness/{witness.key_id[:16]}"


def _check_role(key: SecretKey, role: str) -> None:
    if key.role != role:
        raise LogError(f"the key of {key.organisation} has the role {key.role}; this takes the role {role}")


def _check_name(name: str) -> None:
    if not name or "+" in name or _SPACE.search(name) or _CONTROL.search(name):
        raise FormatError("the name of a note key is empty, or holds a space, a plus or a control character")


def _check_text(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise FormatError("a note is not UTF-8") from None
    if _CONTROL.search(text.replace("\n", "")):
        raise FormatError("a note holds a control character")
