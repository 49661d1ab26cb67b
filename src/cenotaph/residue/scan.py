"""The scan: needles in a stream of bytes and in what can be decoded of it, each hit attributed.

A stream is read once, in blocks; decoders that began in it are fed along. What is read as a whole
(Parquet, Arrow, SQLite) is read afterwards. A hit wholly inside `kept` bytes is *kept*: live data of others
or under a hold. Any other hit is *residue*. A hit inside a container is kept only if all bytes of the
container are.

A scan shows what it found. What it could not decode is counted in `Findings.problems`, never hidden.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from cenotaph.residue import (
    carve_ext4,
    carve_parquet,
    carve_postgres,
    carve_sqlite,
    columns,
    hexadecimal,
    lanes,
    lots,
    spills,
    zeros,
)
from cenotaph.residue.needles import ENCODINGS, LABELS, Matches
from cenotaph.residue.sqlite_pages import Ranges

BLOCK = 4 << 20
SPLIT = 1 << 18  # bytes: so that zeros are noticed between what is not
MOST_HITS = 1000
SPENT = "containers decode to more than is read of them all"
CROWDED = "more streams at once than are decoded"
UNREAD = "more files in a stream than are read"
UNCARVED = "more pages and inodes than the bytes they lie in can hold"
UNJOINED = "sqlite: more possible overflow pointers than are followed"
_TOO_MUCH = "stream decodes to more than is read of it"
LEFT_OUT = (SPENT, CROWDED, UNREAD, UNCARVED, UNJOINED, carve_postgres.UNTRIED)
"""Problems that are no container's own: a limit was reached, and what came later was not decoded."""

_LEAD = 2  # bytes before a match that a finder may look at
_HEAD = 64  # bytes that a decoder wants to see before it opens
_MOST_AT_ONCE = 32  # decoders fed at once from one stream
_MOST_MARKS = 4096  # beginnings of files that are read as a whole, per stream
_MOST_TRIES = 1 << 15  # beginnings of containers in one block
_WINDOW = 64 << 20  # bytes in which pages of SQLite are looked for their kin
_MOST_PAGES = 1 << 16  # possible headers of pages that wait for a carver
_TILE = 512  # zeros are left out of the search in pieces of this size
_FAIR = 32  # what honest containers decode to, many times over, per byte read
_SMALL = 1 << 17  # a Parquet or Arrow file of fewer bytes may decode to as much as one of so many
_MANY = 1024  # matches
_NOTHING_KEPT: Ranges = np.zeros((0, 2), dtype=np.int64)
_RUN = 1 << 16  # from this size on, zeros are looked for in what is fed


@dataclass(frozen=True, slots=True)
class Limits:
    """What a scan may spend on a stream that lies about itself. Reaching one is a problem, counted."""

    ratio: int = 2000  # decoded bytes per byte of a container, nested ones included
    decoded: int = 1 << 36  # decoded bytes of one container
    collected: int = 64 << 20  # bytes of a Parquet, Arrow or SQLite file inside a compressed stream
    database: int = 1 << 62  # bytes of a SQLite database in a stream, whatever it says of itself
    zeros: int = 1 << 62  # in a row, until decoders at work are closed and zeros are no longer read
    total: int = 1 << 62  # decoded bytes of all containers together, beside `_FAIR` times what was read


@dataclass(frozen=True, slots=True)
class Hit:
    """One place of one needle. In a lane, `offset` is where the outermost container begins."""

    offset: int
    length: int
    lane: str  # "raw", "gzip", "zip", "zstd", "lz4", "bz2", "xz", "parquet", "arrow", "sqlite", "inode",
    # "pg_dump", "pglz", "toast", "wal", "hex"
    encoding: str
    kind: str
    needle: int
    kept: bool


@dataclass(slots=True)
class Findings:
    """What a scan found. `merge` adds the findings of another stream."""

    counts: Counter[tuple[str, str, str, bool]] = field(default_factory=Counter)
    """(lane, encoding, kind, kept) → hits"""
    kept: set[int] = field(default_factory=set, repr=False)  # distinct needles hit in kept bytes
    residue: set[int] = field(default_factory=set, repr=False)  # distinct needles hit elsewhere
    hits: list[Hit] = field(default_factory=list, repr=False)  # the first MOST_HITS of residue and of kept
    scanned: int = 0  # bytes read from the stream
    decoded: int = 0  # bytes that came out of containers
    counted: Counter[str] = field(default_factory=Counter)
    _stored: list[int] = field(default_factory=lambda: [0, 0], repr=False, compare=False)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, with how often; never with data."""
        return tuple(f"{what} ({times} times)" for what, times in sorted(self.counted.items()))

    def room(self, kept: bool) -> int:
        """How many more hits are stored; kept ones never take the place of residue."""
        for hit in self.hits[sum(self._stored) :]:  # since this was last asked
            self._stored[hit.kept] += 1
        return MOST_HITS - self._stored[kept]

    def merge(self, other: Findings) -> None:
        self.counts += other.counts
        self.kept |= other.kept
        self.residue |= other.residue
        for kept in (False, True):
            self.hits.extend([hit for hit in other.hits if hit.kept is kept][: self.room(kept)])
        self.scanned += other.scanned
        self.decoded += other.decoded
        self.counted += other.counted


class Finder(Protocol):
    """What is searched for: `Needles`, `shapes.Shapes`, or both at once (`shapes.Together`)."""

    @property
    def longest(self) -> int:
        """Bytes of the longest match."""

    def find(self, data: npt.NDArray[np.uint8], core: int, lead: int = 0) -> Matches:
        """Matches that begin at `lead` or later, before `core`, and lie wholly in `data`."""


def scan(
    stream: BinaryIO,
    length: int,
    needles: Finder,
    kept: Ranges,
    *,
    depth: int = 3,
    limits: Limits | None = None,
    carve: bool = False,
    enough: Callable[[Findings], bool] | None = None,
) -> Findings:
    """Search `length` bytes of a readable, seekable stream, and what can be decoded of them; where `enough`
    says so of what was found, no further. `carve` as of `Scanner`.

    Containers in containers are followed `depth` deep. Memory stays bounded whatever the stream says of
    itself: some blocks, plus at most `Limits.collected` for each level.
    """
    scanner = Scanner(needles, kept, stream, depth=depth, limits=limits, carve=carve)
    stream.seek(0)
    while scanner.position < length:
        piece = stream.read(min(BLOCK, length - scanner.position))
        if not piece:
            scanner.findings.counted["stream ends before its length"] += 1
            break
        if scanner.feed(piece):
            stream.seek(scanner.position)
        if enough is not None and enough(scanner.findings):
            scanner.findings.scanned += scanner.position
            return scanner.findings
    return scanner.finish()


class Scanner:
    """A scan whose bytes come from whoever reads them: fed piece by piece, in order."""

    def __init__(
        self,
        finder: Finder,
        kept: Ranges,
        source: BinaryIO,
        *,
        depth: int = 3,
        limits: Limits | None = None,
        carve: bool = False,
    ) -> None:
        """`source` holds the same bytes, and is sought in for what is read as a whole.

        With `carve` also what is left of a file without its beginning or end is decoded, where it has pages.
        """
        self._search = _Search(finder, limits or Limits(), Findings())
        self._root = _Stream(self._search, "raw", depth, _Attribution(kept), carved=carve)
        self._source = source
        self._carver = _Carver(self._search, source, self._root) if carve else None
        self._settled = 0

    @property
    def findings(self) -> Findings:
        """What was found so far."""
        return self._search.findings

    @property
    def position(self) -> int:
        """Bytes fed so far."""
        return self._root.position

    def feed(self, piece: bytes | memoryview, blank: Sequence[bool] = ()) -> bool:
        """The next bytes. True if the source was read meanwhile, so that it stands elsewhere.

        `blank` says of the first pieces of `SPLIT` bytes, for whom it is known, whether they are all zeros.
        """
        self._search.fed += len(piece)
        view = memoryview(piece)
        for nth, at in enumerate(range(0, len(piece), SPLIT)):
            part = view[at : at + SPLIT]
            self._root.feed(part, blank[nth] if nth < len(blank) else _is_blank(part))
        self._root.hold()
        carved = self._carver is not None and self._carver.carve()
        if len(self._root.marks) < _MOST_MARKS // 2:
            return carved
        self._read_marked()
        return True

    def finish(self) -> Findings:
        """The stream is over."""
        self._root.finish()
        if self._carver is not None:
            self._carver.carve(last=True)
        self.findings.scanned += self.position
        self._read_marked()
        return self.findings

    def _read_marked(self) -> None:
        root = self._root
        _read_whole(self._search, self._source, root.position, root, root.position - self._settled)
        self._settled = root.position
        root.marks = []


# --- attribution


@dataclass(slots=True)
class _Search:
    """What all parts of one scan share."""

    finder: Finder
    limits: Limits
    findings: Findings
    fed: int = 0  # bytes of the root stream so far

    def check_spent(self) -> None:
        """Raises `lanes.Stop` when all containers together decoded to more than is read of them."""
        if self.findings.decoded > self.limits.total + _FAIR * self.fed:
            raise lanes.Stop(SPENT)


class _Attribution:
    """Writes matches into the findings of the scan, attributed by their bytes in the root stream."""

    def __init__(self, kept: Ranges) -> None:
        self.kept = kept

    def inside(self, start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these byte ranges lie wholly in one kept range."""
        if not len(self.kept):
            return np.zeros(len(start), dtype=bool)
        row = np.searchsorted(self.kept[:, 0], start, side="right") - 1
        return np.asarray((row >= 0) & (end <= self.kept[np.maximum(row, 0), 1]), dtype=bool)


@dataclass(slots=True)
class _Tally:
    """Matches inside one container, waiting for its end: only then are its bytes known."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    what: set[int] = field(default_factory=set)
    hits: list[tuple[int, str, str, str, int]] = field(default_factory=list)  # length, lane, …, needle

    def add(self, lane: str, matches: Matches) -> None:
        for (encoding, kind, _), times in _labels(matches, np.zeros(len(matches.start), np.bool_)):
            self.counts[lane, encoding, kind] += times
        self.what.update(_each_once(matches.what))
        few = matches.only(np.arange(len(matches.start)) < MOST_HITS - len(self.hits))
        columns = few.length.tolist(), few.encoding, few.kind, few.what.tolist()
        for length, encoding, kind, what in zip(*columns, strict=True):
            self.hits.append((length, lane, encoding, kind, what))

    def merge(self, other: _Tally) -> None:
        self.counts += other.counts
        self.what |= other.what
        self.hits.extend(other.hits[: MOST_HITS - len(self.hits)])

    def settle(self, findings: Findings, offset: int, kept: bool) -> None:
        for (lane, encoding, kind), times in self.counts.items():
            findings.counts[lane, encoding, kind, kept] += times
        (findings.kept if kept else findings.residue).update(self.what)
        for length, lane, encoding, kind, needle in self.hits[: findings.room(kept)]:
            findings.hits.append(Hit(offset, length, lane, encoding, kind, needle, kept))


def _attribute(
    findings: Findings,
    lane: str,
    matches: Matches,
    offsets: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
) -> None:
    for (encoding, kind, flag), times in _labels(matches, kept):
        findings.counts[lane, encoding, kind, flag] += times
    findings.kept.update(_each_once(matches.what[kept]))
    findings.residue.update(_each_once(matches.what[~kept]))
    some = np.zeros(len(kept), np.bool_)
    for flag in (False, True):
        nth = np.flatnonzero(kept == flag)
        some[nth[: findings.room(flag) if len(nth) else 0]] = True
    few = matches.only(some)
    columns = offsets[some], few.length, few.what, kept[some]
    rows = zip(few.encoding, few.kind, *(column.tolist() for column in columns), strict=True)
    for encoding, kind, offset, length, what, flag in rows:
        findings.hits.append(Hit(offset, length, lane, encoding, kind, what, flag))


def _labels(matches: Matches, kept: npt.NDArray[np.bool_]) -> Iterator[tuple[tuple[str, str, bool], int]]:
    """(encoding, kind, kept) → how often."""
    codes = (matches.encodings.astype(np.int64) * len(LABELS) + matches.kinds) * 2 + kept
    for code, times in enumerate(np.bincount(codes).tolist()):
        if times:
            encoding, kind = divmod(code // 2, len(LABELS))
            yield (ENCODINGS[encoding], LABELS[kind], bool(code % 2)), times


def _each_once(what: npt.NDArray[np.int64]) -> list[int]:
    """Less to make Python's integers of, where the same was found many times."""
    if len(what) < _MANY:
        return list(what.tolist())
    what = np.sort(what)
    return list(what[np.concatenate([[True], what[1:] != what[:-1]])].tolist())


# --- streams


class _Stream:
    """A stream of bytes that is searched as it goes by, with the decoders that began in it.

    The root stream attributes each match by its own bytes; a decoded one keeps them in its tally.
    """

    def __init__(
        self,
        search: _Search,
        lane: str,
        depth: int,
        attribution: _Attribution | None = None,
        meter: _Meter | None = None,
        quiet: bool = False,
        carved: bool = False,
    ) -> None:
        self.carved = carved
        self.search, self.lane, self.depth = search, lane, depth
        self.attribution, self.meter, self.quiet = attribution, meter, quiet
        self.tally = _Tally()
        self.position = 0  # bytes fed
        self.marks: list[tuple[int, bytes]] = []
        self.pages: list[int] = []  # where headers of Parquet pages may lie, for a carver
        self.inodes: list[int] = []  # where small files lie in inodes, for a carver
        self.trees: list[npt.NDArray[np.int64]] = []  # where pages of SQLite may lie, for a carver
        self.collected = bytearray()  # of a decoded stream, from its first mark on
        self._done = 0  # where `_rest` begins in this stream
        self._lead = 0  # bytes at the beginning of `_rest` that were searched before
        self._rest: list[bytes | bytearray | memoryview] = []  # joined when searched: bytes are copied once
        self._waiting = 0  # bytes of it
        self._children: list[_Child] = []
        self._overlap = max(search.finder.longest, _HEAD)
        self._postgres = carve_postgres.Carver(search.finder.longest, self._told) if depth else None
        self._zeros = 0  # fed last, in a row
        self._passed = False  # the last of these zeros

    def feed(self, piece: bytes | memoryview, blank: bool | None = None) -> None:
        """The next bytes, which stay as they are until `hold`. `blank`: whether all are zeros, if known."""
        if _is_blank(piece) if blank is None else blank:
            wanted = max(0, self.search.limits.zeros - self._zeros)
            self._zeros += len(piece)
            if wanted < len(piece) and not self.collected:
                if wanted:
                    self._feed(piece[:wanted])
                self._pass(len(piece) - wanted)
                return
        else:
            self._zeros = 0
        self._feed(piece)

    def hold(self) -> None:
        """Keep what was fed and is not searched yet: whoever fed it may use its memory again."""
        self._rest = [bytes(piece) if isinstance(piece, memoryview) else piece for piece in self._rest]

    def _feed(self, piece: bytes | memoryview) -> None:
        self._passed = False
        self.position += len(piece)
        if len(piece) >= _RUN:
            self._rest.append(piece)
        elif self._rest and isinstance(small := self._rest[-1], bytearray):
            small += piece
        else:
            self._rest.append(bytearray(piece))
        self._waiting += len(piece)
        if self._waiting >= BLOCK:
            self._search((self._waiting - self._overlap) & ~1)  # UTF-16 keeps its alignment

    def _pass(self, size: int) -> None:
        """Zeros behind as many zeros as are searched: nothing lies in them, and no decoder goes on."""
        if not self._passed:
            self._search(self._waiting)
            self._cut_off()
        self._passed = True
        self.position += size
        self._done = (self.position - self._overlap) & ~1
        self._waiting = self.position - self._done
        self._rest = [bytes(self._waiting)]
        self._lead = 0

    def finish(self) -> None:
        """The stream is over: search what is left, and close what it cuts off."""
        if not self.position:
            return
        self._search(self._waiting)
        self._cut_off()
        self._carve(b"", self.position, last=True)
        if self.collected:
            _read_whole(
                self.search, io.BytesIO(bytes(self.collected)), len(self.collected), self, len(self.collected)
            )
            self.collected = bytearray()

    def _trees(self, data: npt.NDArray[np.uint8], core: int) -> None:
        grid = carve_sqlite.GRID
        first = self._lead + -(self._done + self._lead) % grid
        self.trees.append(carve_sqlite.likely_pages(data, first, core) + self._done)

    def _cut_off(self) -> None:
        for child in self._children:
            lane = child.decoder.lane
            self._close(child, "" if lane == hexadecimal.LANE else f"{lane} stream is cut off")
        self._children = []

    def _search(self, core: int) -> None:
        block = b"".join(self._rest)
        data = np.frombuffer(block, dtype=np.uint8)
        packed = _packed(data, self._overlap)
        lead = self._lead
        spelled = None
        if self.depth:
            core, spelled = self._spelled(block, core)
        if self.carved:
            self._trees(data, core)
        if not self.quiet:
            self._match(packed, core)
        self._collect(memoryview(block)[lead:core])
        children, self._children = self._children, []
        for child in children:
            self._feed_child(child, memoryview(block)[lead:core], self._done + lead)
        magics = [(at, magic) for at, magic in packed.magics() if lead <= at < core] if self.depth else []
        if len(magics) > _MOST_TRIES:
            self.search.findings.counted[CROWDED] += len(magics) - _MOST_TRIES
        for at, magic in magics[:_MOST_TRIES]:
            self._begin(magic, block, at, core)
        if spelled is not None:
            self._open(lanes.Hexadecimal(), block, spelled, core)
        self._carve(memoryview(block)[lead:core], self._done + lead)
        self._lead = min(core, _LEAD)
        self._done += core - self._lead
        left = block[core - self._lead :]
        self._rest, self._waiting = [left], len(left)

    def _spelled(self, block: bytes, core: int) -> tuple[int, int | None]:
        """Search what this block spells in digits. A value that goes on behind it is left to the next one, by
        an earlier `core`; the second is where one begins that is too long for that."""
        found = hexadecimal.read(block, self._done, self._lead, core, self.search.finder.longest)
        for lot in lots.lots(found.pieces):
            _read_lot(self.search, lot, self)
        if found.open is None or found.open <= core // 2:
            return core, found.open
        return found.open & ~1, None

    def _match(self, packed: _Packed, core: int) -> None:
        matches = packed.find(self.search.finder, core, self._lead)
        if not len(matches.start):
            return
        if self.attribution is None:
            self.tally.add(self.lane, matches)
        else:
            start = matches.start + self._done
            kept = self.attribution.inside(start, start + matches.length)
            _attribute(self.search.findings, self.lane, matches, start, kept)

    def _told(self, problem: str) -> None:
        self.search.findings.counted[problem] += 1

    def _carve(self, piece: bytes | memoryview, at: int, *, last: bool = False) -> None:
        """What PostgreSQL compressed or cut."""
        if self._postgres is not None:
            for lot in lots.lots(self._postgres.feed(piece, at, last=last)):
                _read_lot(self.search, lot, self)

    def _begin(self, magic: bytes, block: bytes, at: int, core: int) -> None:
        if magic in lanes.STRUCTURED:
            self._mark(magic, block, at, core)
            return
        if magic == carve_ext4.MAGIC:
            if self.carved and carve_ext4.begins(block[at : at + _HEAD]) and len(self.inodes) < _MOST_PAGES:
                self.inodes.append(self._done + at)
            return
        if magic in carve_parquet.MAGICS:
            if self.carved and len(self.pages) < _MOST_PAGES:
                self.pages.append(self._done + at)
            return
        decoder = lanes.open_decoder(magic, block[at : at + _HEAD])
        if isinstance(decoder, str):
            self.search.findings.counted[decoder] += 1
        elif decoder is not None:
            self._open(decoder, block, at, core)

    def _open(self, decoder: lanes.Decoder, block: bytes, at: int, core: int) -> None:
        if len(self._children) >= _MOST_AT_ONCE:
            self.search.findings.counted[CROWDED] += 1
            return
        meter = _Meter(self.search, self.meter)
        inner = _Stream(self.search, decoder.lane, self.depth - 1, None, meter)
        child = _Child(decoder, inner, meter, self._done + at)
        self._feed_child(child, memoryview(block)[at:core], self._done + at)

    def _mark(self, magic: bytes, block: bytes, at: int, core: int) -> None:
        if len(self.marks) >= _MOST_MARKS:
            self.search.findings.counted[UNREAD] += 1
            return
        if self.attribution is not None:
            self.marks.append((self._done + at, magic))
            return
        if not self.marks:
            self._begun = self._done + at
            self.collected += block[at:core]
        self.marks.append((self._done + at - self._begun, magic))

    def _collect(self, piece: memoryview) -> None:
        if not self.collected:
            return
        room = self.search.limits.collected - len(self.collected)
        self.collected += piece[:room]
        if room < len(piece) and room >= 0:
            self.search.findings.counted["file in a compressed stream is longer than is collected"] += 1
            self.collected += b"\x00"  # one byte over the limit: told once

    def _feed_child(self, child: _Child, data: memoryview, offset: int) -> None:
        try:
            child.feed(data)
        except lanes.Stop as stop:
            child.end = offset + len(data) - stop.unused
            self._close(child, stop.problem)
        else:
            child.end = offset + len(data)
            self._children.append(child)

    def _close(self, child: _Child, problem: str) -> None:
        child.stream.finish()
        if problem and child.meter.decoded:
            self.search.findings.counted[problem] += 1
        self.take(child.stream.tally, child.start, child.end)

    def take(self, tally: _Tally, start: int, end: int) -> None:
        """Take over the matches of a container that lay in these bytes of this stream."""
        if self.attribution is None:
            self.tally.merge(tally)
            return
        kept = bool(self.attribution.inside(np.array([start]), np.array([end]))[0])
        tally.settle(self.search.findings, start, kept)


def _is_blank(piece: bytes | memoryview) -> bool:
    """Whether it is a long piece, and all zeros."""
    return len(piece) >= _RUN and zeros.is_blank(np.frombuffer(piece, dtype=np.uint8))


@dataclass(frozen=True, slots=True)
class _Packed:
    """A block without most of its zeros; `tiles` are those it kept, or None where it has all."""

    data: npt.NDArray[np.uint8]
    tiles: npt.NDArray[np.int64] | None

    def find(self, finder: Finder, core: int, lead: int) -> Matches:
        """As a finder finds in the whole block."""
        if self.tiles is None:
            return finder.find(self.data, core, lead)
        matches = finder.find(self.data, len(self.data))
        start = self._places(matches.start, self.tiles)
        return replace(matches, start=start).only((start >= lead) & (start < core))

    def magics(self) -> list[tuple[int, bytes]]:
        """As `lanes.find_magics` of the whole block."""
        found = lanes.find_magics(self.data, len(self.data))
        if self.tiles is None or not found:
            return found
        places = self._places(np.array([at for at, _ in found]), self.tiles)
        return [(at, magic) for at, (_, magic) in zip(places.tolist(), found, strict=True)]

    def _places(self, at: npt.NDArray[np.int64], tiles: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.asarray(tiles[at // _TILE] * _TILE + at % _TILE, dtype=np.int64)


def _packed(data: npt.NDArray[np.uint8], reach: int) -> _Packed:
    """Leaves tiles of zeros out, unless within `reach` of others: no match joins what lay apart."""
    count = len(data) // _TILE
    full = zeros.full(data, _TILE)
    if 2 * full.sum() >= count:
        return _Packed(data, None)
    near = np.ones(count + 1, dtype=bool)  # what is behind the last whole tile stays
    near[:count] = full
    for _ in range(-(-reach // _TILE)):
        near[1:] |= near[:-1].copy()
        near[:-1] |= near[1:].copy()
    tiles = np.flatnonzero(near)
    kept = data[: count * _TILE].reshape(count, _TILE)[near[:count]].reshape(-1)
    return _Packed(np.concatenate([kept, data[count * _TILE :]]), tiles)


@dataclass(slots=True)
class _Meter:
    """Counts what comes out of a container and of those in it, against what went in."""

    search: _Search
    outer: _Meter | None
    fed: int = 0
    decoded: int = 0

    def add(self, size: int) -> None:
        """Raises `lanes.Stop` where a limit is reached."""
        limits = self.search.limits
        self.search.check_spent()
        self.decoded += size
        if self.decoded > limits.decoded or self.decoded > limits.ratio * max(self.fed, 4096):
            raise lanes.Stop(_TOO_MUCH)
        if self.outer is not None:
            self.outer.add(size)


@dataclass(slots=True)
class _Child:
    """A decoder at work in a stream."""

    decoder: lanes.Decoder
    stream: _Stream
    meter: _Meter
    start: int
    end: int = 0
    step: int = 256  # bytes fed next

    def feed(self, data: memoryview) -> None:
        """Small pieces at first: most that begins like a container is none, and says so at once."""
        at = 0
        while at < len(data):
            piece = data[at : at + self.step]
            self.step = min(4 * self.step, lanes.PIECE)
            self.meter.fed += len(piece)
            at += len(piece)
            try:
                self._decode(piece)
            except lanes.Stop as stop:
                behind = len(data) - at
                raise lanes.Stop(stop.problem, min(len(piece), stop.unused) + behind) from None

    def _decode(self, piece: memoryview) -> None:
        for out in self.decoder.feed(piece):
            self.meter.search.findings.decoded += len(out)
            self.meter.add(len(out))
            self.stream.feed(out)


# --- pages of files that are not whole


class _Carver:
    """Decodes pages of Parquet and SQLite files, where their file no longer says where they are."""

    def __init__(self, search: _Search, source: BinaryIO, root: _Stream) -> None:
        self.search, self.source, self.root = search, source, root
        self._tried = 0  # bytes of Parquet pages
        self._behind = 0  # the last of them that was decoded
        self._inner: _Stream | None = None  # what pages decoded to
        self._first = 0  # of these pages
        self._window = 0  # where the stream stood when SQLite pages were last looked at

    def carve(self, last: bool = False) -> bool:
        """Decode what the stream met since the last time. True if the source was read."""
        pages, self.root.pages = self.root.pages, []
        if len(pages) == _MOST_PAGES:
            self.search.findings.counted[UNCARVED] += 1
        for at in pages:
            if self._tried > _FAIR * (1 << 20) + _FAIR // 8 * self.search.fed:
                self.search.findings.counted[UNCARVED] += 1
                break
            if at >= self._behind:
                self._page(at)
        self._settle(self._behind)
        inodes = self._inodes()
        if last or self.root.position - self._window >= _WINDOW:
            return self._databases() or bool(pages) or inodes
        return bool(pages) or inodes

    def _inodes(self) -> bool:
        found, self.root.inodes = self.root.inodes, []
        if len(found) == _MOST_PAGES:
            self.search.findings.counted[UNCARVED] += 1
        for first in range(0, len(found), _TILE):
            inner = _Stream(self.search, "inode", self.root.depth - 1)
            for at in found[first : first + _TILE]:
                content = carve_ext4.read(self.source, at)
                if content is not None:
                    inner.feed(content + bytes(_HEAD))
            inner.finish()
            self.root.take(inner.tally, found[first], found[first] + 1)
        return bool(found)

    def _databases(self) -> bool:
        likely = np.concatenate([*self.root.trees, np.zeros(0, dtype=np.int64)])
        start, end = max(0, self._window - _WINDOW // 8), self.root.position
        self._window, self.root.trees = end, [likely[likely >= end - _WINDOW // 8]]
        if not len(likely):
            return False

        def count(problem: str) -> None:
            self.search.findings.counted[problem] += 1

        for store in carve_sqlite.stores(self.source, start, end, likely, count):
            _read_spills(self.search, store, self.root, most=_FAIR // 8 * (end - start))
        return True

    def _page(self, at: int) -> None:
        found = carve_parquet.read(self.source, at)
        if found is None:
            self._tried += carve_parquet.MOST_HEADER // 8
            return
        page, decoded = found
        self._tried += page.header + page.compressed
        self.search.findings.decoded += len(decoded)
        try:
            _Meter(self.search, None, page.compressed).add(len(decoded))
        except lanes.Stop as stop:
            self.search.findings.counted[stop.problem] += 1
            return
        end = at + page.header + page.compressed
        if len(decoded) == page.decoded - page.levels:
            self._behind = end
        if self._inner is None:
            self._inner, self._first = _Stream(self.search, "parquet", self.root.depth - 1), at
        self._inner.feed(decoded + bytes(_HEAD))
        if self._inner.position >= BLOCK:
            self._settle(end)

    def _settle(self, end: int) -> None:
        """Small pages are searched together: a search of few bytes takes as long as one of many."""
        if self._inner is not None:
            self._inner.finish()
            self.root.take(self._inner.tally, self._first, end)
            self._inner = None


# --- files that are read as a whole


def _read_whole(search: _Search, source: BinaryIO, length: int, stream: _Stream, fresh: int) -> None:
    """Read the Parquet, Arrow and SQLite files that were marked in the last `fresh` bytes of a stream.

    `source` is seekable, and the stream has `length` bytes so far.
    """
    if not stream.depth:
        return

    def count(problem: str) -> None:
        search.findings.counted[problem] += 1

    for lane, start, end, pieces in columns.files(source, length, stream.marks, count):
        inner = _Stream(search, lane, stream.depth - 1)
        try:
            for piece in pieces:
                _feed_metered(search, inner, piece, max(_SMALL, end() - start))
        except lanes.Stop as stop:
            count(stop.problem)
        inner.finish()
        stream.take(inner.tally, start, end())
    for store in spills.stores(source, length, stream.marks, count, fresh, search.limits.database):
        _read_spills(search, store, stream)


def _feed_metered(search: _Search, inner: _Stream, piece: bytes | memoryview, size: int) -> None:
    """Search a piece of what a file of so many bytes decodes to. Raises `lanes.Stop` when it is too much."""
    for at in range(0, len(piece), BLOCK):
        part = piece[at : at + BLOCK]
        search.findings.decoded += len(part)
        search.check_spent()
        if inner.position + len(part) > search.limits.ratio * size:
            raise lanes.Stop(_TOO_MUCH)
        inner.feed(bytes(part))


def _read_spills(search: _Search, store: spills.Store, stream: _Stream, most: int = 1 << 62) -> None:
    """What lies across pages of a database; `most` bytes of pages joined at their ends are searched."""
    for joints in store.joints(search.finder.longest):
        most -= len(joints.data)
        if most < 0:
            search.findings.counted[UNJOINED] += 1
            break
        matches = search.finder.find(joints.data, len(joints.data))
        crossing = joints.crossing(matches.start, matches.length)
        if not crossing.any():
            continue
        some = matches.only(crossing)
        if stream.attribution is None:
            stream.tally.add("sqlite", some)
            continue
        left, right = joints.places(some.start, some.length)
        kept = stream.attribution.inside(left[:, 0], left[:, 1])
        kept &= stream.attribution.inside(right[:, 0], right[:, 1])
        _attribute(search.findings, "sqlite", some, left[:, 0], kept)
    for payload, places in store.payloads():
        _read_payload(search, payload, places, stream)


def _read_lot(search: _Search, lot: lots.Lot, stream: _Stream) -> None:
    """What was compressed or cut by PostgreSQL, and what is compressed in that."""
    search.findings.decoded += len(lot.data)
    start, end = lot.span
    try:
        _Meter(search, stream.meter, end - start).add(len(lot.data))
    except lanes.Stop as stop:
        search.findings.counted[stop.problem] += 1
        return
    matches = search.finder.find(np.frombuffer(lot.data, dtype=np.uint8), len(lot.data))
    matches = matches.only(lot.counts(matches.start, matches.length))
    attribution = stream.attribution or _Attribution(_NOTHING_KEPT)
    if stream.attribution is None:
        stream.tally.add(lot.lane, matches)
    elif len(matches.start):
        kept = lot.inside(matches.start, attribution.inside)
        _attribute(search.findings, lot.lane, matches, lot.offsets(matches.start), kept)
    for is_kept, pieces in lot.nested(attribution.inside):
        inner = _Stream(search, lot.lane, stream.depth - 1, quiet=True)
        inner.feed(b"".join(p.data.ljust(-(-len(p.data) // 8) * 8 + _HEAD, b"\x00") for p in pieces))
        inner.finish()
        if stream.attribution is None:
            stream.tally.merge(inner.tally)
        else:
            inner.tally.settle(search.findings, start, is_kept)


def _read_payload(search: _Search, payload: bytes, places: Ranges, stream: _Stream) -> None:
    """What is compressed in a value that lies across pages. Its plain text was searched before."""
    inner = _Stream(search, "sqlite", stream.depth - 1, quiet=True)
    inner.feed(payload)
    inner.finish()
    if stream.attribution is None:
        stream.tally.merge(inner.tally)
    else:
        kept = bool(stream.attribution.inside(places[:, 0], places[:, 1]).all())
        inner.tally.settle(search.findings, int(places[0, 0]), kept)
