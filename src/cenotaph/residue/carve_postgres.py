"""What PostgreSQL hides from a plain search, wherever its bytes lie: in files, archives, free blocks.

Values that it compressed (rows, indexes, statistics), values that it cut into TOAST chunks, and the
write-ahead log, whose page headers cut through values and whose images of pages may be compressed. All of
these are known by their own bytes; no file has to be whole. What lies open is left to the plain search, and
not counted twice.

Bytes go by once, in pieces; what must wait for its end waits in bounded memory. See `postgres_values`,
`postgres_toast` and `postgres_wal` for the formats.

Not joined: chunks of one value further than `_HELD` bytes of chunks apart. Not decoded: a stream whose
beginning is lost; values of a big-endian server; log pages of another size than 8,192 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph.residue import postgres_toast, postgres_values, postgres_wal, zeros
from cenotaph.residue.lots import NEVER, Piece

UNTRIED = "postgres: more that begins like a compressed or a cut value than is tried"

_Ints: TypeAlias = npt.NDArray[np.int64]
_Flags: TypeAlias = npt.NDArray[np.bool_]

_WAITS = postgres_values.LONGEST + postgres_wal.PAGE  # bytes: what begins further from the end is all there
_HELD = 16 << 20  # bytes of chunks that wait for the rest of their value
_LOG = 2 << 20  # bytes of log pages that are followed at once
_MOST_RECORD = 4 << 20  # bytes of a log record that goes on
_FREE, _PER_BYTE = 4 << 20, 2  # bytes that may be tried: so many, and so many for each one fed
_ZEROS = 2 * postgres_wal.PAGE  # bytes: so many zeros hold a whole page of each size but the largest
_FEW_PARTS = 2
_UNALIGNED = tuple(range(8))


class Carver:
    """Finds in a stream that goes by what PostgreSQL compressed or cut."""

    def __init__(self, longest: int, count: Callable[[str], None]) -> None:
        """`longest` is what a match has at most; `count` is told of what was left out."""
        self._reach, self._count = max(1, longest - 1), count
        self._rest = b""
        self._start = 0  # of `_rest` in the stream, a multiple of `GRID`
        self._budget = _FREE
        self._behind = 0  # the last value that was decoded whole
        self._log_until = -1  # where the last log page ends, if it is whole
        self._run = postgres_wal.Run()
        self._joined = 0  # how much of the run's `body` is done
        self._chunks = postgres_toast.Chunks()

    def feed(self, piece: bytes | memoryview, at: int, *, last: bool = False) -> Iterator[Piece]:
        """What became known by the bytes at this offset; with `last` all that waits."""
        self._budget += _PER_BYTE * len(piece)
        parts = list(_without_zeros(piece))
        likely = _likely(piece, at) if len(parts) > _FEW_PARTS else None
        for begin, end in parts:
            if likely is None or begin == 0 or end == len(piece) or likely.any_in(begin, end):
                yield from self._take(piece[begin:end], at + begin)
        if last:
            yield from self._left()
            yield from self._joined_chunks()

    def _take(self, piece: bytes | memoryview, at: int) -> Iterator[Piece]:
        if at != self._start + len(self._rest):
            yield from self._left()
            self._start = at // postgres_wal.GRID * postgres_wal.GRID
            self._rest = bytes(at - self._start)
        self._rest += piece
        if len(self._rest) >= 2 * _WAITS:
            yield from self._read((len(self._rest) - _WAITS) // postgres_wal.GRID * postgres_wal.GRID)

    def _left(self) -> Iterator[Piece]:
        """All that waits for the next byte, which does not come. A value's chunks go on behind zeros."""
        yield from self._read(len(self._rest))
        yield from self._logged(last=True)

    def _read(self, end: int) -> Iterator[Piece]:
        """All that begins in the first `end` bytes that wait."""
        block = self._rest
        data = np.frombuffer(block, dtype=np.uint8)
        outside = np.ones(end // postgres_wal.GRID + 1, dtype=bool)
        yield from self._log(data, block, end, outside)
        yield from self._values(data, block, end, outside)
        yield from self._pieces(data, block, end, outside)
        self._rest, self._start = block[end:], self._start + end

    def _spend(self, size: int) -> bool:
        """Whether so many bytes may be tried, too."""
        if self._budget < size:
            self._count(UNTRIED)
            return False
        self._budget -= size
        return True

    # --- in pages

    def _values(
        self, data: npt.NDArray[np.uint8], block: bytes, end: int, outside: _Flags
    ) -> Iterator[Piece]:
        found = postgres_values.candidates(data)
        chosen = found.at < end
        chosen[chosen] = outside[found.at[chosen] // postgres_wal.GRID]
        for at, length, size, method in _rows(chosen, found.at, found.length, found.size, found.method):
            if self._start + at < self._behind:
                continue
            begin = at + postgres_values.HEADER
            decoded = postgres_values.decode(block[begin : at + length], size, method)
            if not self._spend(decoded.used if decoded else postgres_values.HEADER):
                return
            if decoded is None:
                continue
            if decoded.whole:
                self._behind = self._start + at + length
            place = (self._start + at, self._start + begin + decoded.used)
            yield Piece(postgres_values.LANES[method], decoded.data, (place,))

    def _pieces(
        self, data: npt.NDArray[np.uint8], block: bytes, end: int, outside: _Flags
    ) -> Iterator[Piece]:
        found = postgres_toast.candidates(data)
        chosen = found.at < end
        chosen[chosen] = outside[found.at[chosen] // postgres_wal.GRID]
        for value, number, begin, stop in _rows(chosen, found.value, found.number, found.begin, found.end):
            content = block[begin:stop]
            if not self._spend(len(content)):
                return
            place = (self._start + begin, self._start + begin + len(content))
            self._chunks.add(value, number, postgres_toast.Chunk(content, (place,)))
            if self._chunks.held > _HELD:
                yield from self._joined_chunks()

    def _joined_chunks(self) -> Iterator[Piece]:
        for chain in self._chunks.chains():
            yield from _value(chain, self._reach)

    # --- in the log

    def _log(self, data: npt.NDArray[np.uint8], block: bytes, end: int, outside: _Flags) -> Iterator[Piece]:
        """Joins log pages, and marks where they lie: what lies in them is found there, joined."""
        grid = postgres_wal.GRID
        outside[: max(0, self._log_until - self._start) // grid] = False
        found = [(at, postgres_wal.page(block[at : at + 40])) for at in _likely_log(data)]
        pages = [(at, page) for at, page in found if page is not None]
        for nth, (at, page) in enumerate(pages):
            if at >= end:
                break
            stop = min(at + postgres_wal.PAGE, pages[nth + 1][0] if nth + 1 < len(pages) else len(block))
            if self._start + at != self._log_until or not self._run.continues(page):
                yield from self._logged(last=True)
            self._run.append(page, self._start + at, block[at + page.header : stop])
            self._log_until = self._start + at + postgres_wal.PAGE if stop - at == postgres_wal.PAGE else -1
            outside[at // grid : -(-stop // grid)] = False
            if len(self._run.body) >= _LOG + self._joined:
                yield from self._logged(last=False)

    def _logged(self, last: bool) -> Iterator[Piece]:
        """What the log pages joined so far hold; with `last` none goes on."""
        run, begin = self._run, self._joined
        if not len(run):
            return
        end = len(run.body) if last else len(run.body) - _WAITS
        body = bytes(run.body)
        for seam in run.begins[1:]:
            if begin <= seam < end:
                left, right = max(0, seam - self._reach), min(len(body), seam + self._reach)
                yield Piece("wal", body[left:right], run.places(left, right), seam - left)
        data = np.frombuffer(body, dtype=np.uint8)[begin:]
        yield from self._log_values(run, data, body, begin, end)
        self._log_chunks(run, data, body, begin, end)
        for image in run.images(last):
            if not self._spend(image.end - image.start):
                break
            yield Piece("wal", image.data, run.places(image.start, image.end))
        if last:
            self._run, self._joined = postgres_wal.Run(), 0
        else:
            self._joined = end - run.keep(end, _MOST_RECORD)

    def _log_values(
        self, run: postgres_wal.Run, data: npt.NDArray[np.uint8], body: bytes, begin: int, end: int
    ) -> Iterator[Piece]:
        """Compressed values in records and in images of pages that are not compressed: at any place."""
        found = postgres_values.candidates(data, _UNALIGNED[:4])
        behind = 0
        for at, length, size, method in _rows(
            found.at < end - begin, found.at + begin, found.length, found.size, found.method
        ):
            if at < behind:
                continue
            first = at + postgres_values.HEADER
            decoded = postgres_values.decode(body[first : at + length], size, method)
            if not self._spend(decoded.used if decoded else postgres_values.HEADER):
                return
            if decoded is not None:
                behind = at + length if decoded.whole else behind
                yield Piece("wal", decoded.data, run.places(at, first + decoded.used))

    def _log_chunks(
        self, run: postgres_wal.Run, data: npt.NDArray[np.uint8], body: bytes, begin: int, end: int
    ) -> None:
        found = postgres_toast.candidates(data, _UNALIGNED)
        chosen = found.at < end - begin
        stops = np.minimum(found.end + begin, len(body))
        for value, number, first, stop in _rows(
            chosen, found.value, found.number, found.begin + begin, stops
        ):
            if not self._spend(stop - first):
                return
            places = run.places(first, stop)
            self._chunks.add(value, number, postgres_toast.Chunk(body[first:stop], places))


def _value(chain: postgres_toast.Chain, reach: int) -> Iterator[Piece]:
    """What the joined chunks of a value show that each of them did not."""
    payload = b"".join(chunk.data for chunk in chain.chunks)
    places = tuple(place for chunk in chain.chunks for place in chunk.places)
    decoded = postgres_values.external(payload, chain.whole) if chain.headed else None
    if decoded is not None:
        yield Piece("toast", decoded.data, places)
    if decoded is None or not decoded.whole:
        for first, second in zip(chain.chunks, chain.chunks[1:], strict=False):
            left, right = first.data[-reach:], second.data[:reach]
            yield Piece("toast", left + right, first.places + second.places, len(left))
        if len(chain.chunks) > 1:
            yield Piece("toast", payload, places, NEVER)


@dataclass(frozen=True, slots=True)
class _Likely:
    """Where in a piece something of PostgreSQL's may begin."""

    at: _Ints

    def any_in(self, begin: int, end: int) -> bool:
        first, behind = np.searchsorted(self.at, [begin, end]).tolist()
        return bool(first < behind)


def _likely(piece: bytes | memoryview, at: int) -> _Likely:
    """A look at all of a piece at once takes less than one at each part between its zeros."""
    data = np.frombuffer(piece, dtype=np.uint8)
    found = (
        postgres_values.likely(data, -at % 4),
        postgres_toast.likely(data, -at % 8),
        postgres_wal.likely_pages(data, -at % postgres_wal.GRID, len(data)),
    )
    return _Likely(np.sort(np.concatenate(found)))


def _without_zeros(piece: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """The parts of a piece between zeros, of which there are too many for anything to go on behind them."""
    count = len(piece) // _ZEROS
    if count < 2:
        yield 0, len(piece)
        return
    tiles = zeros.full(np.frombuffer(piece, dtype=np.uint8), _ZEROS)
    some = np.concatenate([[False], tiles, [True]])  # what is behind the last whole tile stays
    edges = np.flatnonzero(some[1:] != some[:-1]).tolist()
    for begin, end in zip(edges, [*edges[1:], count + 1], strict=True):
        if some[begin + 1] and begin * _ZEROS < len(piece):
            yield begin * _ZEROS, min(end * _ZEROS, len(piece))


def _likely_log(data: npt.NDArray[np.uint8]) -> list[int]:
    found: list[int] = postgres_wal.likely_pages(data, 0, len(data)).tolist()
    return found


def _rows(chosen: _Flags, *columns: _Ints) -> Iterator[tuple[int, ...]]:
    return zip(*(column[chosen].tolist() for column in columns), strict=True)
