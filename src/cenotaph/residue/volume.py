"""A whole volume, searched in one pass: every byte is read once, in order, and belongs to one place.

What surprised the author: what was one file is often two pieces of free space with a live file between
them. So the bytes of a place are searched as one stream, pieces joined in the order in which they lie on the
device: a value, or a compressed file, that goes on behind somebody else's blocks is found as if nothing lay
between.

Not found: what is compressed and lost its beginning (raw deflate has no mark to begin at); columns of
Parquet in delta encodings without their footer; values cut by the end of a page in a SQLite journal whose
header was wiped.

Free blocks are the most hostile input there is. What a limit left out is told (`Searched.left_out`), and what
could not be read is not counted as read.
"""

from __future__ import annotations

import bisect
import io
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

from cenotaph import durable
from cenotaph.progress import Tell, quiet
from cenotaph.residue import zeros
from cenotaph.residue.needles import Needles
from cenotaph.residue.scan import LEFT_OUT, SPLIT, Findings, Limits, Scanner, scan
from cenotaph.residue.shapes import Together
from cenotaph.volume.model import Map, Place
from cenotaph_proof import draw

STEP = 8 << 20  # bytes read at once
BLOCK = 4096
READ_TWICE = 16  # pieces that draw 2 picks, read before the search and again after it
PIECE = 1 << 20
LIMITS = Limits(decoded=1 << 34, database=1 << 30, zeros=1 << 18, total=1 << 30)

_MIB = 1 << 20
_AHEAD = 2  # reads under way while one is searched
_CACHED = 80  # chunks of `_CHUNK` bytes that a place's stream remembers: pages of SQLite look back 72 MiB
_CHUNK = 1 << 20
_MOST_OWNED = 8  # hits of a place whose owners are asked for
_NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
_SEAM, _APART = 96, bytes(16)  # bytes on each side of a border; what lies between two borders
_STAYS = (Place.KEPT, Place.STORES)
_LIVE_OF_OTHERS = (Place.OTHER, Place.KEPT, Place.STORES)  # may hold numbers of people of their own


class Readable(Protocol):
    """The device of a volume, as `volume.raw.Raw` gives it."""

    @property
    def size(self) -> int:
        """Bytes of the device."""

    @property
    def unread(self) -> Sequence[tuple[int, int]]:
        """(offset, length) of what could not be read so far, sorted and disjoint."""

    def pread(self, offset: int, length: int) -> bytes:
        """These bytes; zeros for what cannot be read. May be called by two threads at once."""

    def readinto(self, offset: int, into: memoryview) -> int:
        """The same, into memory that begins where a page does, as `offset` does; bytes read, fewer where the
        device ends."""

    def owners(self, offsets: Sequence[int]) -> list[str]:
        """What owns each of these bytes, in words without names; empty where nobody knows."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search of a volume found. Needles are ordinals; strangers fingerprints of people by shape."""

    read: int  # bytes, without those that could not be read
    free: int  # bytes of free blocks
    blank: int  # of those, bytes in blocks of nothing but zeros
    residue: set[int] = field(repr=False)  # found outside what is kept
    kept: set[int] = field(repr=False)
    strangers: set[int] = field(repr=False)
    by_place: Counter[tuple[str, str, str]]  # (place, lane, kind) → hits outside what is kept
    unreachable: tuple[str, ...]  # what was not read, or not decoded to its end
    left_out: tuple[str, ...]  # of those, what a limit of the search left out
    owners: tuple[str, ...]  # of blocks in use in which something was found
    moved: bool  # a piece read before and after the search had changed


def search(
    raw: Readable,
    map: Map,
    needles: Needles,
    seed: bytes,
    tell: Tell = quiet,
    *,
    name: str = "",
    block: int = BLOCK,
    including: Collection[Place] = (),
    limits: Limits = LIMITS,
) -> Searched:
    """Read the whole device once and search each byte according to its place.

    Needles are searched everywhere but in the stores' files, which each store's own search reads; people whom
    no seal knows (by shape) only where nothing of others lives. `including=(Place.STORES,)` searches those
    files too. Draw 2 (spec/probe.md) picks pieces by `seed` and the volume's `name`. Memory does not grow
    with the volume.
    """
    first = _drawn(raw, seed, name)
    streams = {place: _Stream(raw, map, place, needles, limits) for place in _searched(map, including)}
    seams = _Seams(needles)
    blank = 0
    for offset, data in _pieces(raw):
        for start, end, place in _parts(map, offset, offset + len(data)):
            part = data[start - offset : end - offset]
            known: list[bool] = []
            if place is Place.FREE:
                zero, known = _blank(part, block)
                blank += zero
            if place in streams:
                streams[place].scanner.feed(part, known)
            seams.feed(start, part, place)
        tell("volume searched, MiB", (offset + len(data)) // _MIB, -(-raw.size // _MIB))
    found = {place: stream.scanner.finish() for place, stream in streams.items()}
    owners = _owners(raw, streams, found)
    before = set().union(*(findings.residue for place, findings in found.items() if place not in _STAYS))
    for place, findings in seams.finish().items():
        if findings.residue - before:  # else found on one side already, and counted there
            found[place].merge(findings)
    moved = _drawn(raw, seed, name) != first
    return _result(raw, map, found, blank, owners, moved)


def _searched(map_: Map, including: Collection[Place]) -> list[Place]:
    return [p for p in Place if p in map_.places and (p is not Place.STORES or p in including)]


def _parts(map_: Map, start: int, end: int) -> Iterator[tuple[int, int, Place]]:
    """The map's rows between two offsets, cut at them. What the map does not know is in use by others."""
    row = max(0, int(np.searchsorted(map_.ends, start, side="right")))
    at = start
    while at < end:
        if row < len(map_.places) and map_.starts[row] <= at:
            until, place = min(end, int(map_.ends[row])), map_.places[row]
            row += 1
        else:
            until = min(end, int(map_.starts[row])) if row < len(map_.places) else end
            place = Place.OTHER
        yield at, until, place
        at = until


def _blank(part: memoryview, block: int) -> tuple[int, list[bool]]:
    """Bytes of the blocks of a part that are nothing but zeros; and whether each whole piece of SPLIT bytes
    is, as far as blocks tell."""
    data = np.frombuffer(part, dtype=np.uint8)
    if not len(data):
        return 0, []
    full = zeros.full(data, block)
    whole = len(full) * block
    rest = len(data) - whole
    zero = whole - int(np.count_nonzero(full)) * block + (rest if zeros.is_blank(data[whole:]) else 0)
    if SPLIT % block:
        return zero, []
    each = SPLIT // block
    pieces = full[: len(full) // each * each].reshape(-1, each)
    return zero, [not np.any(piece) for piece in pieces]


def _drawn(raw: Readable, seed: bytes, name: str) -> list[bytes]:
    """The pieces themselves, which are compared faster than hashed."""
    count = -(-raw.size // PIECE)
    picked = draw.sample(seed, name, count, READ_TWICE)
    return [raw.pread(nth * PIECE, min(PIECE, raw.size - nth * PIECE)) for nth in picked]


# --- what was found


def _result(
    raw: Readable,
    map_: Map,
    found: dict[Place, Findings],
    blank: int,
    owners: tuple[str, ...],
    moved: bool,
) -> Searched:
    elsewhere = [findings for place, findings in found.items() if place is not Place.KEPT]
    every = set().union(*(findings.residue for findings in elsewhere))
    kept = found[Place.KEPT].residue if Place.KEPT in found else set()
    by_place: Counter[tuple[str, str, str]] = Counter()
    problems: list[tuple[str, str]] = []
    for place, findings in found.items():
        for (lane, _, kind, _), hits in findings.counts.items():
            if place is not Place.KEPT:
                by_place[place.value, lane, kind] += hits
        problems += [
            (what, f"{place}: {what} ({times} times)") for what, times in sorted(findings.counted.items())
        ]
    unread = raw.unread
    lost = sum(length for _, length in unread)
    lines = [f"{lost} bytes in {len(unread)} ranges of the device could not be read"] if unread else []
    return Searched(
        read=raw.size - lost,
        free=map_.size(Place.FREE),
        blank=blank,
        residue={what for what in every if what >= 0},
        kept={what for what in kept if what >= 0},
        strangers={what for what in every if what < 0},
        by_place=by_place,
        unreachable=(*lines, *(line for _, line in problems)),
        left_out=tuple(line for what, line in problems if what in LEFT_OUT),
        owners=owners,
        moved=moved,
    )


def _owners(raw: Readable, streams: dict[Place, _Stream], found: dict[Place, Findings]) -> tuple[str, ...]:
    """What owns the first hits in blocks that are in use, where the file system's tools can say."""
    lines: Counter[str] = Counter()
    for place in (Place.OTHER, Place.METADATA, Place.FOLDERS):
        hits = found[place].hits if place in found else []
        spread = hits[:: max(1, len(hits) // _MOST_OWNED)][:_MOST_OWNED]
        offsets = [streams[place].source.physical(hit.offset) for hit in spread]
        for owner in raw.owners(offsets) if offsets else ():
            if owner:
                lines[f"{place}: {owner}"] += 1
    return tuple(lines)


# --- reading


def _pieces(raw: Readable) -> Iterator[tuple[int, memoryview]]:
    """The whole device in order; the next pieces are read while one is searched.

    A piece's memory is used again when the next one is asked for: new memory costs as much as a search of
    zeros.
    """
    rooms = [memoryview(durable.room(STEP)) for _ in range(_AHEAD + 1)]
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        ahead: deque[tuple[int, memoryview, Future[int]]] = deque()
        for nth, offset in enumerate(range(0, raw.size, STEP)):
            room = rooms[nth % len(rooms)]
            ahead.append((offset, room, pool.submit(raw.readinto, offset, room)))
            if len(ahead) > _AHEAD:
                at, piece, read = ahead.popleft()
                yield at, piece[: read.result()]
        for at, piece, read in ahead:
            yield at, piece[: read.result()]


class _Source(io.RawIOBase):
    """The bytes of one place as one stream, for decoders that look back into it."""

    def __init__(self, raw: Readable, ranges: npt.NDArray[np.int64]) -> None:
        super().__init__()
        self._raw = raw
        self._starts = ranges[:, 0].tolist()
        sizes = ranges[:, 1] - ranges[:, 0]
        self._begins = np.concatenate(
            [[0], np.cumsum(sizes)]
        ).tolist()  # of each range in the stream, and its end
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._begins[-1])[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._begins[-1] - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        parts = []
        while wanted:
            row = bisect.bisect_right(self._begins, self._at) - 1
            inside = self._at - self._begins[row]
            length = min(wanted, self._begins[row + 1] - self._at)
            part = self._chunked(self._starts[row] + inside, length)
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def physical(self, at: int) -> int:
        """Where on the device this byte of the stream lies."""
        row = min(bisect.bisect_right(self._begins, at), len(self._starts)) - 1
        return int(self._starts[row] + at - self._begins[row])

    def _chunked(self, offset: int, length: int) -> bytes:
        """Some of these bytes, at least one."""
        base = offset // _CHUNK * _CHUNK
        chunk = self._chunks.pop(base, None)
        if chunk is None:
            chunk = self._raw.pread(base, min(_CHUNK, self._raw.size - base))
            if len(self._chunks) >= _CACHED:
                self._chunks.popitem(last=False)
        self._chunks[base] = chunk
        return chunk[offset - base : offset - base + length]


class _Seams:
    """Both sides of each border between two places in which nothing may be left."""

    def __init__(self, needles: Needles) -> None:
        self._needles = needles
        self._found: dict[Place, Findings] = {}
        self._waiting: dict[Place, bytearray] = {}
        self._before: tuple[int, bytes, Place] = (-1, b"", Place.STORES)  # where a part ended, its end, place

    def feed(self, start: int, part: memoryview, place: Place) -> None:
        """The next part of the device. Parts come in their order."""
        end, last, other = self._before
        if end == start and place is not other and not {place, other} & set(_STAYS):
            seams = self._waiting.setdefault(other, bytearray())
            seams += last + part[:_SEAM] + _APART
            if len(seams) > STEP:
                self._search(other)
        joined = last if end == start and place is other else b""
        self._before = start + len(part), (joined + bytes(part[-_SEAM:]))[-_SEAM:], place

    def finish(self) -> dict[Place, Findings]:
        """What was found, by the place before the border."""
        for place in list(self._waiting):
            self._search(place)
        return self._found

    def _search(self, place: Place) -> None:
        data = bytes(self._waiting.pop(place))
        findings = scan(io.BytesIO(data), len(data), self._needles, _NOTHING_KEPT)
        self._found.setdefault(place, Findings()).merge(findings)


class _Stream:
    """One place: its bytes as a stream, and the scan of it."""

    def __init__(self, raw: Readable, map_: Map, place: Place, needles: Needles, limits: Limits) -> None:
        self.source = _Source(raw, map_.of(place))
        source = cast(BinaryIO, self.source)  # as much of one as the scan uses
        finder = needles if place in _LIVE_OF_OTHERS else Together(needles)
        self.scanner = Scanner(finder, _NOTHING_KEPT, source, limits=limits, carve=True)
