"""Chunks of PostgreSQL's TOAST tables: found by what each says of itself, and joined by number.

What surprised the author: a long value is cut every 1,996 bytes, compressed or not, and the chunks of a page
lie in it backwards. So a plain search loses what lies across two chunks, and all of what is compressed. But
each chunk says whose it is and the how-manieth: its row has three columns that are never null, and looks the
same in a page, live or dead, as in the log of writes. No page header, no line pointer is needed.

Format: PostgreSQL, src/include/access/heaptoast.h, src/include/access/htup_details.h (`HeapTupleHeaderData`),
src/backend/access/common/toast_internals.c (`toast_save_datum`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph.residue.postgres_values import matching

SPAN = 16  # bytes from where a chunk is recognized to its length
LONGEST = 1 << 15  # bytes of a chunk: the largest page
_MOST_COPIES = 64  # of one chunk, that are joined to others
_HIGHEST = (1 << 30) // 500  # number of a chunk: a value has a gigabyte at most
# The last eight bytes of a row's header: three columns, none of them null, one of varying length and none
# kept elsewhere; the header is 24 bytes long.
_MASK, _ROW = np.uint64(0xFFFF_0007_07FF_0000), np.uint64(0x0018_0002_0003_0000)

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]

_NONE: _Ints = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Where chunks lie: `at` is where one was recognized, its bytes are from `begin` to `end`."""

    at: _Ints
    value: _Ints
    number: _Ints
    begin: _Ints
    end: _Ints


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a value, and the bytes of a stream that hold it: (start, end), in order."""

    data: bytes = field(repr=False)
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Chunks of one value in order. It is `headed` where its first one is there."""

    chunks: tuple[Chunk, ...]
    headed: bool

    @property
    def whole(self) -> bool:
        """Whether the last chunk looks like the value's last: all others are of one length."""
        return len(self.chunks[-1].data) < max(len(chunk.data) for chunk in self.chunks) or (
            len(self.chunks) == 1 and len(self.chunks[0].data) < 1996
        )


def candidates(data: _Bytes, phases: tuple[int, ...] = (0,)) -> Candidates:
    """Chunks at these offsets modulo eight. They may reach behind the end of the data."""
    found = [_at_phase(data, phase) for phase in phases]
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Candidates(*(column[order] for column in columns))


def likely(data: _Bytes, first: int) -> _Ints:
    """Offsets at `first`, and every eight bytes from there, where a chunk may be recognized."""
    words = data[first : first + (len(data) - first) // 8 * 8].view("<u8")
    return matching(words, _MASK, _ROW) * 8 + first


class Chunks:
    """Chunks as a stream brings them, and the values they make."""

    def __init__(self) -> None:
        self.held = 0  # bytes
        self._found: list[tuple[int, int, Chunk]] = []

    def add(self, value: int, number: int, chunk: Chunk) -> None:
        self._found.append((value, number, chunk))
        self.held += len(chunk.data)

    def chains(self) -> Iterator[Chain]:
        """Every chunk once: joined to the one with the next number that lies nearest in the stream.

        Values of several tables, and copies of one value, may have the same number.
        """
        free: dict[tuple[int, int], list[int]] = defaultdict(list)
        for nth, (value, number, chunk) in enumerate(self._found):
            if len(free[value, number]) < _MOST_COPIES:
                free[value, number].append(nth)
            else:
                yield Chain((chunk,), number == 0)
        for nth in sorted(range(len(self._found)), key=lambda nth: (self._found[nth][1], nth)):
            value, number, _ = self._found[nth]
            if nth not in free[value, number]:
                continue
            chain = []
            near = nth
            while near >= 0:
                free[value, number].remove(near)
                chain.append(self._found[near][2])
                number += 1
                near = _nearest(free.get((value, number)), near)
            yield Chain(tuple(chain), self._found[nth][1] == 0)
        self._found, self.held = [], 0


def _nearest(free: list[int] | None, near: int) -> int:
    return min(free, key=lambda nth: abs(nth - near)) if free else -1


def _at_phase(data: _Bytes, phase: int) -> tuple[_Ints, ...]:
    count = (len(data) - phase) // 8
    aligned = data[phase : phase + 8 * count]
    if phase:
        aligned = aligned.copy()  # numpy compares what is aligned several times faster
    words = aligned.view("<u8")
    nth = matching(words[: max(0, count - 2)], _MASK, _ROW)
    if not len(nth):
        return (_NONE,) * 5
    key = words[nth + 1]
    value, number = (key & np.uint64(0xFFFFFFFF)).astype(np.int64), (key >> np.uint64(32)).astype(np.int64)
    told = (words[nth + 2] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    at = nth * 8 + phase
    short = (told & 1) == 1  # a length of one byte, or of four
    begin = at + SPAN + np.where(short, 1, 4)
    size = np.where(short, (told >> 1 & 127) - 1, (told >> 2) - 4)
    good = (value > 0) & (number <= _HIGHEST) & (size > 0) & (size <= LONGEST) & (short | ((told & 3) == 0))
    at, value, number, begin, size = (column[good] for column in (at, value, number, begin, size))
    return at, value, number, begin, begin + size
