"""Pages of PostgreSQL's tables and indexes: what their line pointers name, and what hint bits say of rows.

What surprised the author: a page cannot say which of its rows are there; that stands in the log of
transactions, and its hint bits are only hints. So whoever wants to know what is kept asks the server for the
places of its rows (`ctid`), and `postgres_live` says which bytes these are.

Nothing in a page is trusted: what points outside of it is left out, and counted by `Pages.refused`.

Format: PostgreSQL, src/include/storage/bufpage.h, itemid.h, itup.h, access/htup_details.h,
storage/checksum_impl.h; its manual, "Database Page Layout".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ranges: TypeAlias = npt.NDArray[np.int64]
"""Sorted, disjoint (start, end) rows."""

SIZE = 8192  # bytes of a page, unless the server was built otherwise
AT_ONCE = 256  # pages that are read at once

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Flags: TypeAlias = npt.NDArray[np.bool_]

_HEADER, _ROW_HEADER = 24, 23
_NORMAL, _REDIRECT, _DEAD = 1, 2, 3  # of a line pointer
_XMIN_COMMITTED, _XMIN_INVALID = 0x0100, 0x0200
_XMAX_COMMITTED, _XMAX_INVALID, _XMAX_LOCKS = 0x0400, 0x0800, 0x0080
_PRIME = np.uint32(16777619)
# fmt: off
_SEEDS = np.array([
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
], dtype=np.uint32)
# fmt: on


class State(IntEnum):
    """What a row's hint bits say of it. Only the server knows of those that they leave open."""

    OPEN, THERE, GONE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Items:
    """What line pointers of pages name: columns, in the order of the pages."""

    block: _Ints
    item: _Ints  # counted from 1, as in a `ctid`
    start: _Ints  # in the bytes that were read
    end: _Ints

    @property
    def tid(self) -> _Ints:
        """Place of each in one number, `tids` makes the same of what a server says."""
        return tids(self.block, self.item)

    def only(self, chosen: _Flags) -> Items:
        return Items(self.block[chosen], self.item[chosen], self.start[chosen], self.end[chosen])


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages that lie one behind the other. `items` are what they name inside of themselves."""

    data: _Bytes = field(repr=False)  # one row a page
    items: Items
    special: _Ints  # of each page: where the part of the index begins
    refused: int  # pages and line pointers that contradict themselves
    moved: tuple[_Ints, _Ints]  # places (`tids`) of line pointers that lead to others, and of those


def tids(block: npt.ArrayLike, item: npt.ArrayLike) -> _Ints:
    """A `ctid`, (block,item), as one number."""
    return np.asarray(block, dtype=np.int64) << 16 | np.asarray(item, dtype=np.int64)


def parse(data: bytes, first: int = 0, size: int = SIZE) -> Pages:
    """Whole pages; `first` is the block number of the first one. A rest at the end is left out."""
    count = len(data) // size
    pages = np.frombuffer(data, dtype=np.uint8, count=count * size).reshape(count, size)
    lower, upper, special = (_word(pages, at) for at in (12, 14, 16))
    layout = _word(pages, 18)
    sound = (lower >= _HEADER) & (lower <= upper) & (upper <= special) & (special <= size)
    sound &= (layout == (size & 0xFF00 | 4)) & ((lower - _HEADER) % 4 == 0)
    empty = ~pages.any(axis=1)
    items = np.where(sound, (lower - _HEADER) // 4, 0)
    page = np.repeat(np.arange(count), items)
    item = np.arange(len(page)) - np.repeat(np.cumsum(items) - items, items)
    pointer = pages.reshape(-1)[(page * size + _HEADER + 4 * item)[:, None] + np.arange(4)].view("<u4")[:, 0]
    offset, flags = (pointer & 0x7FFF).astype(np.int64), (pointer >> 15 & 3).astype(np.int64)
    length = (pointer >> 17).astype(np.int64)
    named = ((flags == _NORMAL) | (flags == _DEAD)) & (length > 0)
    inside = named & (offset >= lower[page]) & (offset + length <= special[page])
    start = page * size + offset
    found = Items(page + first, item + 1, start, start + length).only(inside)
    refused = int((~sound & ~empty).sum()) + int((named & ~inside).sum())
    leads = (flags == _REDIRECT) & (offset > 0) & (offset <= items[page])
    moved = (tids(page + first, item + 1)[leads], tids(page + first, offset)[leads])
    return Pages(pages, found, special, refused, moved)


def states(pages: Pages) -> npt.NDArray[np.int8]:
    """For each item of pages of a table, as a `State`, what its hint bits say."""
    items = pages.items
    flat = pages.data.reshape(-1)
    row = items.end - items.start >= _ROW_HEADER
    at = np.where(row, items.start, 0)
    mask = flat[at + 20].astype(np.int64) | flat[at + 21].astype(np.int64) << 8 if len(at) else at
    born = (mask & _XMIN_COMMITTED) != 0
    never = (mask & (_XMIN_COMMITTED | _XMIN_INVALID)) == _XMIN_INVALID
    stays = (mask & (_XMAX_INVALID | _XMAX_LOCKS)) != 0
    left = ~stays & ((mask & _XMAX_COMMITTED) != 0)
    found = np.select([never | left | ~row, born & stays], [State.GONE, State.THERE], State.OPEN)
    return found.astype(np.int8)


def checksums(pages: Pages, first: int = 0) -> npt.NDArray[np.uint16]:
    """What each page's checksum is where the server computes them; the page says its own in bytes 8 and 9."""
    data = pages.data.copy()
    data[:, 8:10] = 0
    words = data.view("<u4").reshape(len(data), -1, len(_SEEDS))
    sums = np.tile(_SEEDS, (len(data), 1))
    for row in range(words.shape[1]):
        sums = _mixed(sums, words[:, row])
    for _ in range(2):
        sums = _mixed(sums, np.uint32(0))
    folded = np.bitwise_xor.reduce(sums, axis=1).astype(np.int64) ^ (np.arange(len(data)) + first)
    return np.asarray(folded % 65535 + 1, dtype=np.uint16)


def _mixed(sums: npt.NDArray[np.uint32], words: npt.NDArray[np.uint32] | np.uint32) -> npt.NDArray[np.uint32]:
    mixed = sums ^ words
    return np.asarray(mixed * _PRIME ^ mixed >> np.uint32(17), dtype=np.uint32)


def _word(pages: _Bytes, at: int) -> _Ints:
    return pages[:, at].astype(np.int64) | pages[:, at + 1].astype(np.int64) << 8
