"""One statement's place in the log, for whoever holds nothing else: C2SP tlog-proof (spec/log.md, part 7).

A proof file shows a whole case. This shows one thing: that these very bytes were in the operator's log under
a checkpoint that its witnesses cosigned. It says nothing of what the statement claims, or of any rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cenotaph_proof import merkle, quorum
from cenotaph_proof.envelope import decode_base64, digest, encode_base64
from cenotaph_proof.errors import FormatError, LogError, SignatureError, ThresholdError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.note import (
    MAX_NOTE,
    Checkpoint,
    cosigned_at,
    operator_note_key,
    parse_note,
    parse_number,
    read_checkpoint,
    witness_note_keys,
)
from cenotaph_proof.trust import Trust

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63
MAX_EXTRA = 100_000


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """An index, the path from its leaf to the root, and the checkpoint as a signed note: nothing is verified.

    `extra` is whatever somebody put there. It is signed by nobody, and we neither write nor use it.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def to_bytes(self) -> bytes:
        """The one way to write it."""
        head = [HEADER]
        if self.extra is not None:
            head.append(f"extra {encode_base64(self.extra)}")
        head += [f"index {self.index}", *map(encode_base64, self.path)]
        return "".join(f"{line}\n" for line in head).encode() + b"\n" + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> InclusionProof:
        """Read what `to_bytes` wrote; the checkpoint in it is any log's.

        Raises:
            FormatError: it is anything else.
        """
        if len(data) > 2 * MAX_NOTE:
            raise FormatError(f"an inclusion proof has {len(data)} bytes; at most {2 * MAX_NOTE} are read")
        head, gap, checkpoint = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise FormatError("the head of an inclusion proof is not ASCII") from None
        if not gap or first != HEADER:
            raise FormatError(f"this is not an inclusion proof: its first line is not {HEADER}")
        extra = _extra(lines.pop(0)) if lines and lines[0].startswith("extra ") else None
        if not lines or not lines[0].startswith("index "):
            raise FormatError("an inclusion proof has an index line")
        Checkpoint.read(parse_note(checkpoint).body)
        return cls(parse_number(lines[0].removeprefix("index ")), _path(lines[1:]), checkpoint, extra)


@dataclass(frozen=True, slots=True)
class Included:
    """What an inclusion proof has shown: an entry's place, under which head, and who cosigned that when.

    `complete` is by when the trust file's quorum had cosigned, in seconds since the epoch; None without one.
    """

    index: int
    checkpoint: Checkpoint
    cosigned: Mapping[str, int]
    complete: int | None


def prove(entries: Sequence[bytes], checkpoints: Iterable[bytes], statement: str) -> InclusionProof:
    """The proof of one statement, by its digest, under the first of a log's checkpoints that covers it.

    The first, since its cosignatures are those with the earliest time by which the statement was seen.

    Raises:
        FormatError: the digest is not one, or a checkpoint is malformed.
        LogError: the log holds no such statement, or no checkpoint that covers it.
    """
    if not re.fullmatch("[0-9a-f]{64}", statement):
        raise FormatError("a statement's digest has 64 lower-case hexadecimal digits")
    index = next((i for i, data in enumerate(entries) if digest(data).hex() == statement), None)
    if index is None:
        raise LogError("the log holds no statement with this digest", hint=_WHICH)
    sizes = {Checkpoint.parse(parse_note(note).body).size: note for note in checkpoints}
    size = min((size for size in sizes if index < size <= len(entries)), default=None)
    if size is None:
        raise LogError("no cosigned checkpoint covers this statement yet", hint="cosign the log first")
    leaves = [merkle.leaf_hash(entry) for entry in entries[:size]]
    return InclusionProof(index, tuple(merkle.inclusion_proof(leaves, index)), sizes[size])


def check(proof: InclusionProof, entry: bytes, operator: PublicKey, trust: Trust | None = None) -> Included:
    """Check that `entry` is in this operator's log; with a trust file, also that enough witnesses saw it.

    Lines by unknown keys are passed over, as tlog-proof asks: without a trust file all witnesses are unknown.

    Raises:
        LogError: the checkpoint is of another log or is not signed by its operator.
        SignatureError: a signature by a known key does not verify, or the trust file lacks this operator.
        TreeError: the entry is not where the proof says.
        ThresholdError: too few of the trust file's witnesses cosigned.
        FormatError: an ML-DSA-44 cosignature is over no checkpoint.
    """
    known = [] if trust is None else [p for p in trust.parties if p.role == "log-witness"]
    # (1) The checkpoint is the operator's; every line by a known key verifies.
    keys = [key for witness in known for key in witness_note_keys(witness)]
    seen = read_checkpoint(proof.checkpoint, operator_note_key(operator), keys)
    # (2) The path leads from the entry to the root.
    head = seen.checkpoint
    merkle.verify_inclusion(proof.index, head.size, merkle.leaf_hash(entry), proof.path, head.root)
    # (3) With a trust file: it holds the operator, and its quorum had cosigned.
    times = cosigned_at(seen.times, known)
    complete = None if trust is None else _complete(times, operator, trust)
    return Included(proof.index, head, {p.organisation: time for p, time in times.items()}, complete)


_WHICH = "the digest of a statement is the SHA-256 of its file in statements/"


def _complete(times: Mapping[PublicKey, int], operator: PublicKey, trust: Trust) -> int:
    if not trust.holds(operator):
        raise SignatureError("the trust file does not hold this operator's key")
    own = trust.run_by(operator.organisation)
    when = quorum.complete(times, trust.witness, trust.quorum, own)
    if when is None:
        names = ", ".join(sorted(witness.organisation for witness in times)) or "nobody it names"
        raise ThresholdError(f"the checkpoint lacks the trust file's quorum: cosigned by {names}")
    return when


def _extra(line: str) -> bytes:
    data = decode_base64(line.removeprefix("extra "))
    if not 1 <= len(data) <= MAX_EXTRA:
        raise FormatError(f"the extra line of an inclusion proof has no data, or more than {MAX_EXTRA} bytes")
    return data


def _path(lines: list[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PATH:
        raise FormatError(f"an inclusion proof has {len(lines)} hashes; no tree is higher than {MAX_PATH}")
    path = tuple(map(decode_base64, lines))
    if any(len(value) != merkle.HASH_BYTES for value in path):
        raise FormatError("a hash of an inclusion proof does not have 32 bytes")
    return path
