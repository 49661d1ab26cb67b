"""Pages of PostgreSQL's tables and b-tree indexes: which bytes belong to a row that is there, which are left.

What surprised the author: a page cannot say which of its rows are there; that stands in the log of
transactions, and its hint bits are only hints. So whoever wants to know what is kept asks the server for the
places of its rows (`ctid`), and this says which bytes these are. A page's free middle, dead rows, the copies
of keys that a b-tree keeps to find its way: none of it is ever a row's that is there.

Nothing in a page is trusted: what points outside of it is left out, and counted by `Pages.refused`.

Format: PostgreSQL, src/include/storage/bufpage.h, itemid.h, itup.h, access/htup_details.h, access/nbtree.h,
storage/checksum_impl.h; its manual, "Database Page Layout".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

Ranges: TypeAlias = npt.NDArray[np.int64]
"""Sorted, disjoint (start, end) rows."""

SIZE = 8192  # bytes of a page, unless the server was built otherwise
AT_ONCE = 256  # pages that are read at once

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Flags: TypeAlias = npt.NDArray[np.bool_]

_HEADER, _ROW_HEADER, _KEY_HEADER = 24, 23, 8
_NORMAL, _DEAD = 1, 3  # of a line pointer
_XMIN_COMMITTED, _XMIN_INVALID = 0x0100, 0x0200
_XMAX_COMMITTED, _XMAX_INVALID, _XMAX_LOCKS = 0x0400, 0x0800, 0x0080
_BTREE_SPECIAL, _LEAF, _BTREE_NO_ROWS = 16, 1, 4 | 8 | 16  # deleted, meta, half-dead
_OTHER_TID, _POSTING, _POSTING_COUNT = 0x2000, 0x2000, 0x0FFF
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
    return Pages(pages, found, special, refused)


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


def rows_there(pages: Pages, there: _Ints) -> Items:
    """The items of pages of a table whose places (`tids`, sorted) the server named."""
    return pages.items.only(_in_sorted(there, pages.items.tid))


def keys_there(pages: Pages, there: _Ints) -> Items:
    """The items of pages of a b-tree that lead to rows whose places (`tids`, sorted) the server named.

    Of keys that lead to several rows it is enough that one is there. Keys that only lead to other pages of
    the index are copies, and never there.
    """
    items, size = pages.items, pages.data.shape[1]
    page = items.start // size
    special = pages.special
    is_tree = special == size - _BTREE_SPECIAL
    tail = np.where(is_tree, special, 0)
    rows = np.arange(len(special))
    kind = _pair(pages.data, rows, tail + 12)
    following = _pair(pages.data, rows, tail + 4) | _pair(pages.data, rows, tail + 6) << 16
    leaf = is_tree & ((kind & _LEAF) != 0) & ((kind & _BTREE_NO_ROWS) == 0)
    high_key = (items.item == 1) & (following[page] != 0)
    items = items.only(leaf[page] & ~high_key & (items.end - items.start >= _KEY_HEADER))
    if not len(items.start):
        return items
    flat = pages.data.reshape(-1)[items.start[:, None] + np.arange(_KEY_HEADER)].view("<u2").astype(np.int64)
    block, item, info = flat[:, 0] << 16 | flat[:, 1], flat[:, 2], flat[:, 3]
    chosen = _in_sorted(there, tids(block, item)) & ((info & _OTHER_TID) == 0)
    for nth in np.flatnonzero((info & _OTHER_TID) != 0).tolist():
        key = pages.data.reshape(-1)[items.start[nth] : items.end[nth]]
        chosen[nth] = bool(_in_sorted(there, _posting(key, int(block[nth]), int(item[nth]))).any())
    return items.only(chosen)


def live_ranges(
    stream: BinaryIO, length: int, there: _Ints, *, index: bool = False, first: int = 0, size: int = SIZE
) -> tuple[Ranges, int]:
    """Bytes of a relation's file that belong to rows which the server named, and how much was refused.

    `there` are their places (`tids`), sorted. With `index` the file is a b-tree's over that table. `first` is
    the block number at the file's beginning: a relation is cut every gigabyte.
    """
    found = [np.zeros((0, 2), dtype=np.int64)]
    refused = 0
    for at, data in _batches(stream, length, size):
        pages = parse(data, first + at // size, size)
        items = keys_there(pages, there) if index else rows_there(pages, there)
        found.append(np.stack([items.start, items.end], axis=1) + at)
        refused += pages.refused
    return _merged(np.concatenate(found)), refused


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


def _batches(stream: BinaryIO, length: int, size: int) -> Iterator[tuple[int, bytes]]:
    for at in range(0, length, AT_ONCE * size):
        stream.seek(at)
        yield at, stream.read(min(AT_ONCE * size, length - at))


def _posting(key: _Bytes, block: int, item: int) -> _Ints:
    """The places to which one key with many rows leads: its own says how many, and where they stand."""
    count, at = item & _POSTING_COUNT, block
    if not item & _POSTING or at + 6 * count > len(key):
        return np.zeros(0, dtype=np.int64)
    words = key[at : at + 6 * count].copy().view("<u2").astype(np.int64).reshape(count, 3)
    return tids(words[:, 0] << 16 | words[:, 1], words[:, 2])


def _word(pages: _Bytes, at: int) -> _Ints:
    return pages[:, at].astype(np.int64) | pages[:, at + 1].astype(np.int64) << 8


def _pair(pages: _Bytes, row: _Ints, at: _Ints) -> _Ints:
    return pages[row, at].astype(np.int64) | pages[row, at + 1].astype(np.int64) << 8


def _in_sorted(known: _Ints, sought: _Ints) -> _Flags:
    if not len(known):
        return np.zeros(len(sought), dtype=bool)
    return np.equal(known[np.minimum(np.searchsorted(known, sought), len(known) - 1)], sought)


def _merged(ranges: Ranges) -> Ranges:
    """Sorted, and joined where they touch or overlap."""
    if not len(ranges):
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    begins = np.flatnonzero(np.concatenate([[True], ranges[1:, 0] > reach[:-1]]))
    ends = np.append(begins[1:] - 1, len(ranges) - 1)
    return np.stack([ranges[begins, 0], reach[ends]], axis=1)
