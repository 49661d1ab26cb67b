"""COPY BINARY, cut into the values of its columns without a loop over rows.

A block holds whole messages of the protocol, one row each: 'd', u32 length, and the row: i16 number of
fields, and for each an i32 length, −1 for null, and the value (PostgreSQL, COPY, "Binary Format"). A row
begins where the one before ends, which is a chain; it is guessed for all rows at once and then checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph import kernel
from cenotaph.errors import PermanentStoreError

Longs: TypeAlias = npt.NDArray[np.int64]
Octets: TypeAlias = npt.NDArray[np.uint8]

Piece: TypeAlias = "bytes | memoryview"

BLOCK_BYTES = 2 << 20
BLOCK_ROWS = 65_536
READY_BYTES = 6
MALFORMED = "the server's rows do not have the form that COPY BINARY prescribes"

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_PADDING = 16  # so that a number can be read at every place where a value may begin


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows: their bytes, and where each begins and ends in them."""

    octets: Octets  # with some bytes behind the last row
    starts: Longs
    ends: Longs

    def columns(self, width: int) -> list[Fields]:
        """The values of each column.

        Raises:
            PermanentStoreError: a row does not have this many fields, or they do not fill it.
        """
        if (by := kernel.found()) is not None:
            cut = by.copied_fields(self.octets, self.starts, self.ends, width)
            if cut is None:
                raise PermanentStoreError(MALFORMED)
            return [Fields(self.octets, *column) for column in zip(*cut, strict=True)]
        at, short, long = self.starts, view(self.octets, ">i2"), view(self.octets, ">i4")
        if (at + 2 > self.ends).any() or (short[at] != width).any():
            raise PermanentStoreError(MALFORMED)
        at, found = at + 2, []
        for _ in range(width):
            if (at + 4 > self.ends).any():
                raise PermanentStoreError(MALFORMED)
            lengths = long[at].astype(np.int64)
            found.append(Fields(self.octets, at + 4, lengths))
            if (lengths < -1).any():
                raise PermanentStoreError(MALFORMED)
            at = at + 4 + np.maximum(lengths, 0)
        if (at != self.ends).any():
            raise PermanentStoreError(MALFORMED)
        return found

    def slices(self, rows: int, size: int) -> Iterator[Block]:
        """The same rows, at most so many at a time and, but for single rows, so many bytes."""
        start = 0
        while start < len(self.starts):
            fits = int(np.searchsorted(self.ends, self.starts[start] + size, "right"))
            end = min(start + rows, max(fits, start + 1))
            yield Block(self.octets, self.starts[start:end], self.ends[start:end])
            start = end


@dataclass(frozen=True, slots=True)
class Fields:
    """Values on the wire: where each begins in the bytes, and its length; −1 is null."""

    octets: Octets
    starts: Longs
    lengths: Longs

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: npt.NDArray[Any]) -> Fields:
        return Fields(self.octets, self.starts[rows], self.lengths[rows])


@dataclass(frozen=True, slots=True)
class Numbers(Fields):
    """Values that are numbers already, read from a table's pages: some number where the length is −1."""

    values: npt.NDArray[Any]
    valid: Octets | None  # a bit each; None where nothing is null

    @classmethod
    def of(cls, values: npt.NDArray[Any], there: npt.NDArray[Any], valid: Octets | None = None) -> Numbers:
        return cls(_NO_OCTETS, _NONE, there, values, valid)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[Any]) -> Fields:
        """As the wire has them."""
        values, size = self.values[rows], self.values.dtype.itemsize
        lengths = np.where(self.lengths[rows] < 0, -1, size)
        octets = values.astype(values.dtype.newbyteorder(">")).view(np.uint8)
        return Fields(octets, np.arange(len(values)) * size, lengths)


@dataclass(frozen=True, slots=True)
class Texts(Fields):
    """Values one after the other, as Arrow has them, read from a table's pages."""

    offsets: npt.NDArray[np.int32]
    valid: Octets | None  # a bit each; None where nothing is null
    ascii: bool

    @classmethod
    def of(cls, data: Octets, offsets: npt.NDArray[np.int32], valid: Octets | None, *, ascii: bool) -> Texts:
        return cls(data, _NONE, _NONE, offsets, valid, ascii)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def plain(self) -> Fields:
        """With a place and a length each."""
        lengths = np.diff(self.offsets).astype(np.int64)
        if self.valid is not None:
            there = np.unpackbits(self.valid, count=len(self), bitorder="little")
            lengths = np.where(there == 0, -1, lengths)
        return Fields(self.octets, self.offsets[:-1].astype(np.int64), lengths)


def view(octets: Octets, kind: str) -> npt.NDArray[Any]:
    """The number of this type that begins at each byte."""
    size = np.dtype(kind).itemsize
    return np.ndarray((len(octets) - size + 1,), kind, octets, strides=(1,))


class Stream:
    """The server's messages, from pieces of any length to blocks of whole rows."""

    def __init__(self) -> None:
        self._waiting: list[Piece] = []
        self._size = 0
        self._tail = b""
        self._needed = BLOCK_BYTES  # bytes before it is worth looking
        self._begun = self._complete = False
        self.ended = False  # the server is ready for another query
        self.failed: str | None = None  # SQLSTATE

    def feed(self, piece: Piece) -> Iterator[Block]:
        """Take the next bytes, which nobody changes any more, and give what rows they complete."""
        self._waiting.append(piece)
        self._size += len(piece)
        self._tail = (self._tail + bytes(piece[-READY_BYTES:]))[-READY_BYTES:]
        if self._size >= self._needed or may_be_answered(self._tail):
            yield from self._cut()

    def finish(self) -> Iterator[Block]:
        """The last rows. Raises: PermanentStoreError where the stream has no end."""
        yield from self._cut()
        if self._size or not self._complete:
            raise PermanentStoreError(MALFORMED)

    def _cut(self) -> Iterator[Block]:
        size = self._size
        octets = self._joined()
        starts, ends, at = self._messages(octets, size)
        missing = _length(octets, at) if at + 5 <= size else 0
        self._needed = max(BLOCK_BYTES, missing + 1)
        self._waiting, self._size = [octets[at:size].tobytes()], size - at
        if len(starts):
            yield Block(octets, starts, ends)

    def _joined(self) -> Octets:
        octets = np.empty(self._size + _PADDING, np.uint8)
        octets[self._size :] = 0
        at = 0
        for piece in self._waiting:
            octets[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        return octets

    def _messages(self, octets: Octets, size: int) -> tuple[Longs, Longs, int]:
        """Where the rows begin and end, and where the first message that is not complete begins."""
        starts, ends, at = [_NONE], [_NONE], 0
        while at + 5 <= size:
            end = at + 1 + _length(octets, at)
            if not at + 5 <= end <= at + _MOST_MESSAGE:
                raise PermanentStoreError(MALFORMED)
            if end > size:
                break
            begin = at + 5
            if octets[at] != _DATA:
                self._other(octets[at:end].tobytes())
                at = end
                continue
            headed = not self._begun
            if headed:  # what is sent first travels with it: a row, or the trailer
                begin = self._header(octets, begin, end)
            if octets[begin:end].tobytes() == _TRAILER:
                self._complete = True
            elif headed and begin == end:
                pass
            elif end - begin < 2:
                raise PermanentStoreError(MALFORMED)
            elif headed:
                starts.append(np.array([begin]))
                ends.append(np.array([end]))
            else:
                found, end = _chain(octets, at, size)
                starts.append(found + 5)
                ends.append(np.append(found[1:], end))
            at = end
        return np.concatenate(starts), np.concatenate(ends), at

    def _header(self, octets: Octets, begin: int, end: int) -> int:
        """Where the header ends."""
        head = octets[begin:end][:_HEADER].tobytes()
        if len(head) < _HEADER or not head.startswith(_SIGNATURE) or any(head[len(_SIGNATURE) :]):
            raise PermanentStoreError(MALFORMED)
        self._begun = True
        return begin + _HEADER

    def _other(self, message: bytes) -> None:
        match message[:1]:
            case b"E":
                fields = message[5:].split(b"\0")
                state = next((f[1:] for f in fields if f[:1] == b"C"), b"")
                self.failed = state.decode("ascii", "replace")
            case b"Z":
                self.ended = True


def may_be_answered(tail: bytes | bytearray) -> bool:
    """Whether these last bytes of a stream look like the server's "ready for query"; a value may too."""
    return tail[:-1] == _READY


_DATA = ord("d")
_READY = b"Z\0\0\0\x05"
_TRAILER = b"\xff\xff"
_HEADER = 19
_MOST_MESSAGE = 1 << 31  # the protocol's lengths are signed
_NONE: Longs = np.zeros(0, np.int64)
_NO_OCTETS: Octets = np.zeros(0, np.uint8)


def _length(octets: Octets, at: int) -> int:
    return int.from_bytes(octets[at + 1 : at + 5].tobytes(), "big")


def _chain(octets: Octets, first: int, size: int) -> tuple[Longs, int]:
    """The messages from the first on that follow each other and look like it, and where the last ends.

    Every byte that could begin one is taken; one that does not follow another is part of a value. The kernel
    goes from one to the next.
    """
    if (by := kernel.found()) is not None:
        return by.copied_rows(octets, first, size)
    part = octets[first : max(first + 1, size - 7)]
    begins = part[:-1] == _DATA
    begins &= part[1:] == 0  # of its length; a row of 16 MiB and more begins a chain of its own
    begins[:1] = True
    maybe = np.flatnonzero(begins) + first if len(begins) else np.array([first])
    widths = view(octets, ">i2")
    maybe = maybe[widths[maybe + 5] == widths[first + 5]]
    after = maybe + 1 + view(octets, ">u4")[maybe + 1].astype(np.int64)
    fits = (after <= size) & (after >= maybe + 7)
    maybe, after = maybe[fits], after[fits]
    if (after[:-1] != maybe[1:]).any():
        real = _followed(maybe, after)
        maybe, after = maybe[real], after[real]
    return maybe, int(after[-1])


def _followed(maybe: Longs, after: Longs) -> list[int]:
    next_one = np.searchsorted(maybe, after)
    there = np.append(maybe, -1)[next_one] == after
    follows = np.where(there, next_one, -1).tolist()
    real, at = [], 0
    while at >= 0:
        real.append(at)
        at = follows[at]
    return real
