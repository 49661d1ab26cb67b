"""Looking at an operator's public place: a site that `publish` wrote, or a bare log; on a disk or over HTTPS.

What is found there is somebody else's: every answer is bounded in bytes and in time, nothing leads elsewhere,
and what does not hold together is an error with its step, never half a picture.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cenotaph.errors import UsageError
from cenotaph_proof import bundle as bundles
from cenotaph_proof import envelope, log, merkle, note, statements
from cenotaph_proof import trust as trusts
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.errors import CallError, FormatError, LogError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.network import calling
from cenotaph_proof.network.address import Address
from cenotaph_proof.statements import Charter
from cenotaph_proof.trust import Trust

PROOF = "proof.cenotaph"
MOST_PROOF = 128 << 20
MOST_ENTRIES = 20_000  # of a bare log, which takes a request for each cosigned checkpoint
MOST_WORK = 4_000_000  # entries of a log times its cases: each case is replayed over all of them
MOST_BUNDLE = log.TILE_WIDTH * (2 + envelope.MAX_BYTES)


class Place(Protocol):
    """Where an operator publishes."""

    def read(self, name: str, limit: int) -> bytes | None:
        """A file, or None where there is none. Raises: CallError, LogError where it is too long."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on this machine."""

    path: Path

    def read(self, name: str, limit: int) -> bytes | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise CallError(f"a file cannot be read: {error.strerror}", transient=True) from None
        return _bounded(name, data, limit)


class Web:
    """A web server. All that is read from it together takes at most `seconds`."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        self._ends = time.monotonic() + seconds

    def read(self, name: str, limit: int) -> bytes | None:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise CallError(f"{self._address.host} takes too long", transient=True)
        reply = calling.call(self._address, "GET", name, limit=limit, seconds=left)
        if reply.status in (404, 410):
            return None
        if reply.status != 200:
            raise CallError(f"{self._address.host} answers with status {reply.status}", transient=True)
        return _bounded(name, reply.body, limit)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found: the newest checkpoint, and what is there of each case of the log.

    `own` is the case whose site it is, of which everything is there; None for a bare log, of which detached
    parts alone are missing.
    """

    checkpoint: bytes
    cases: tuple[Bundle, ...]
    own: str | None

    @property
    def entries(self) -> tuple[bytes, ...]:
        return tuple(self.cases[0].entries) if self.cases else ()


def place(text: str, base: Path, seconds: float) -> Place:
    """Where an address or a path leads. Raises: UsageError."""
    if text.startswith(("https://", "http://")):
        try:
            return Web(Address.parse(text), seconds)
        except FormatError as error:
            raise UsageError(error.message, hint=error.hint) from None
    return Folder(base / text)


def look(at: Place) -> Seen:
    """Read a place. Raises: CallError where it cannot be reached; FormatError, LogError."""
    proof = at.read(PROOF, MOST_PROOF)
    if proof is None:
        return _log(at)
    checkpoint = at.read("log/checkpoint", note.MAX_NOTE)
    if checkpoint is None:
        raise LogError("the site holds a proof file and no log/checkpoint")
    own = _held(bundles.read(io.BytesIO(proof)))
    _check_covers(checkpoint, own.entries)
    others = (c for c in _charters(own.entries) if c != own.case)
    return Seen(checkpoint, (own, *(_of(own, case) for case in others)), own.case)


def operator_of(seen: Seen, held: Trust | None) -> PublicKey:
    """The key that signs this log: of the trust file, or as a charter in it names it. Raises: LogError."""
    origin = note.Checkpoint.parse(note.parse_note(seen.checkpoint).body).origin
    named = list(held.parties) if held is not None else []
    for bundle in seen.cases:
        charter = next(e for e in bundle.entries if _case_of(e) == bundle.case)
        body = statements.parse(envelope.open_(charter).payload, bundle.attachments).body
        assert isinstance(body, Charter)
        named += trusts.from_charter(body).parties
    found = next((p for p in named if p.role == "operator" and note.log_origin(p) == origin), None)
    if found is None:
        raise LogError("the log is of an operator whom neither the trust file nor a charter names")
    return found


def charter_after(bundle: Bundle, index: int) -> bool:
    """Whether another case was opened after this entry."""
    return any(_case_of(entry) is not None for entry in bundle.entries[index + 1 :])


def _held(bundle: Bundle) -> Bundle:
    """The same with its parts in memory."""
    return replace(
        bundle,
        entries=tuple(bundle.entries),
        checkpoints=tuple(bundle.checkpoints),
        attachments=dict(bundle.attachments),
    )


def _of(bundle: Bundle, case: str) -> Bundle:
    """What a proof file shows of another case of its log: no detached parts, and perhaps few checkpoints."""
    start = next(i for i, entry in enumerate(bundle.entries) if _case_of(entry) == case)
    later = tuple(n for n in bundle.checkpoints if _size(n) > start)
    return Bundle(case, bundle.entries, later, {})


def _charters(entries: Sequence[bytes]) -> list[str]:
    """The cases of a log. Raises: LogError where there are so many that checking them would take hours."""
    found = [case for case in map(_case_of, entries) if case is not None]
    if len(found) * len(entries) > MOST_WORK:
        raise LogError(f"the log opens {len(found)} cases in {len(entries)} entries: too many to check here")
    return found


def _case_of(entry: bytes) -> str | None:
    return statements.outline(envelope.open_(entry).payload).case


def _size(checkpoint: bytes) -> int:
    return note.Checkpoint.parse(note.parse_note(checkpoint).body).size


def _check_covers(checkpoint: bytes, entries: Sequence[bytes]) -> None:
    """The published checkpoint is of the proof file's log. Raises: LogError."""
    head = note.Checkpoint.parse(note.parse_note(checkpoint).body)
    if head.size != len(entries):
        raise LogError(
            f"the log's checkpoint covers {head.size} entries, the proof file holds {len(entries)}"
        )
    if merkle.root(map(merkle.leaf_hash, entries)) != head.root:
        raise LogError("the log's checkpoint is not of the proof file's entries")


def _log(at: Place) -> Seen:
    """A bare log, brought here file by file and read as ours is."""
    checkpoint = at.read("checkpoint", note.MAX_NOTE)
    if checkpoint is None:
        raise CallError("there is neither a site nor a log at this place", transient=True)
    size = _size(checkpoint)
    if size > MOST_ENTRIES:
        raise LogError(f"the log has {size} entries; without its site at most {MOST_ENTRIES} are read")
    with tempfile.TemporaryDirectory() as folder:
        for name, data in _files(at, size):
            (path := Path(folder, name)).parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        Path(folder, "checkpoint").write_bytes(checkpoint)
        copy = log.Log.open(Path(folder))
        entries, cosigned = tuple(copy.entries()), tuple(copy.cosigned().values())
    whole = Bundle("", entries, cosigned, {})
    return Seen(checkpoint, tuple(_of(whole, case) for case in _charters(entries)), None)


def _files(at: Place, size: int) -> Iterator[tuple[str, bytes]]:
    """Tiles, entries and cosigned checkpoints of a log of this size."""
    for level, limit in (("0", log.TILE_WIDTH * merkle.HASH_BYTES), ("entries", MOST_BUNDLE)):
        for tile in range(-(-size // log.TILE_WIDTH)):
            yield _tile(at, level, tile, min(log.TILE_WIDTH, size - tile * log.TILE_WIDTH), limit)
    for number in range(1, size + 1):
        data = at.read(f"cosigned/{number}", note.MAX_NOTE)
        if data is not None:
            yield f"cosigned/{number}", data


def _tile(at: Place, level: str, tile: int, width: int, limit: int) -> tuple[str, bytes]:
    for wanted in (width, log.TILE_WIDTH):  # a full tile may have taken the place of a partial one
        name = f"tile/{log.tile_path(level, tile, wanted).as_posix()}"
        data = at.read(name, limit)
        if data is not None:
            return name, data
    raise LogError(f"tile {tile} of the log (level {level}) is missing")


def _bounded(name: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise LogError(f"{name} is longer than the {limit} bytes that it can have")
    return data
