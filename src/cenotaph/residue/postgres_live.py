"""Which bytes of a PostgreSQL table's files, and of its indexes' files, belong to rows that are there.

What surprised the author: a page on disk is older than what the server says. A place (`ctid`) that it names
for a row may hold, in the file, another row that went long ago; and a key of an index may still lead to a
place that was given to another row since. So a row counts as there only where the file has the transaction
that wrote it, too (`xmin`; the two together never come twice); and a key only where it leads to a row that is
so old that the checkpoint before this reading wrote out whatever was removed from the index before the row
came. A tree also copies keys of rows to find its way: such a copy counts as there only where the row's own
key is, beside it, byte by byte the same.

Format: as in `postgres_pages`; src/include/access/nbtree.h, ginblock.h, ginpostinglist.c, README.HOT.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph.residue.postgres_pages import AT_ONCE, SIZE, Items, Pages, Ranges, parse, tids

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Flags: TypeAlias = npt.NDArray[np.bool_]

_NONE: _Ints = np.zeros(0, dtype=np.int64)
_ROW_HEADER, _KEY_HEADER = 23, 8
_FROZEN = 0x0300  # in a row's first mask
_UPDATED_HOT, _HEAP_ONLY = 0x4000, 0x8000  # in its second
_MOST_VERSIONS = 300  # of a row in one page
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that the server named: their places (`tids`), sorted, and the transaction that wrote each."""

    place: _Ints
    writer: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, place: _Ints, writer: npt.NDArray[np.uint32]) -> Rows:
        """In any order."""
        order = np.argsort(place, kind="stable")
        return cls(place[order], writer[order])


@dataclass(frozen=True, slots=True)
class Settled:
    """The last checkpoint: where in the log it began, and before which transaction all had ended; 0 where
    the server does not say."""

    redo: int
    oldest: int


class Index(Protocol):
    """An index whose files are added one after the other."""

    def add(self, stream: BinaryIO, length: int, first: int = 0) -> None:
        """A file of so many bytes; `first` is its first block."""

    def ranges(self) -> list[Ranges]:
        """Of each file, the bytes of keys that lead to rows that are there."""


def heap(
    stream: BinaryIO, length: int, rows: Rows, settled: Settled, first: int = 0, size: int = SIZE
) -> tuple[Ranges, _Ints]:
    """The bytes of these rows in a table's file; and the places, sorted, by which indexes lead to them, of
    those that are older than the checkpoint.

    `first` is the block number at the file's beginning: a relation is cut every gigabyte.
    """
    found, leads = [np.zeros((0, 2), dtype=np.int64)], [_NONE]
    for at, data in _batches(stream, length, size):
        pages = parse(data, first + at // size, size)
        heads = _Heads.of(pages)
        here = heads.match(rows)
        items = heads.items.only(here)
        found.append(np.stack([items.start, items.end], axis=1) + at)
        leads.append(heads.roots(pages, here & heads.are_settled(pages, settled)))
    return _merged(np.concatenate(found)), np.unique(np.concatenate(leads))


@dataclass(frozen=True, slots=True)
class _Heads:
    """What the headers of rows in pages say."""

    items: Items
    writer: _Ints
    remover: _Ints
    following: _Ints  # place of the next version
    first: _Ints  # masks
    second: _Ints

    @classmethod
    def of(cls, pages: Pages) -> _Heads:
        items = pages.items.only(pages.items.end - pages.items.start >= _ROW_HEADER)
        flat = pages.data.reshape(-1)
        words = flat[items.start[:, None] + np.arange(22)].view("<u2").astype(np.int64)
        following = tids(words[:, 6] << 16 | words[:, 7], words[:, 8])
        writer, remover = words[:, 0] | words[:, 1] << 16, words[:, 2] | words[:, 3] << 16
        return cls(items, writer, remover, following, words[:, 10], words[:, 9])

    def match(self, rows: Rows) -> _Flags:
        """Which are the rows that the server named."""
        if not len(rows.place):
            return np.zeros(len(self.writer), dtype=bool)
        row = np.minimum(np.searchsorted(rows.place, self.items.tid), len(rows.place) - 1)
        return np.asarray((rows.place[row] == self.items.tid) & (rows.writer[row] == self.writer), dtype=bool)

    def are_settled(self, pages: Pages, settled: Settled) -> _Flags:
        """Which were there before the checkpoint began, for certain."""
        words = pages.data[:, :8].copy().view("<u4").astype(np.int64)
        address = words[:, 0] << 32 | words[:, 1]
        old = (address <= settled.redo)[self.items.start // pages.data.shape[1]]
        if settled.oldest:
            since = (self.writer - settled.oldest).astype(np.uint32).view(np.int32)  # numbers come round
            old |= ((self.first & _FROZEN) == _FROZEN) | (since < 0)
        return np.asarray(old, dtype=bool)

    def roots(self, pages: Pages, chosen: _Flags) -> _Ints:
        """Where indexes point to for these rows: to the first version of each, in the same page."""
        place, writer = self.items.tid[chosen], self.writer[chosen]
        alone = (self.second[chosen] & _HEAP_ONLY) == 0
        found, place, writer = [place[alone]], place[~alone], writer[~alone]
        sources, targets = pages.moved
        order = np.argsort(targets, kind="stable")
        sources, targets = sources[order], targets[order]
        updated = np.flatnonzero((self.second & _UPDATED_HOT) != 0)
        names = _named(self.following[updated], self.remover[updated])
        order = np.argsort(names, kind="stable")
        updated, names = updated[order], names[order]
        for _ in range(_MOST_VERSIONS):
            if not len(place):
                break
            at = _at(targets, place)
            found.append(sources[at[at >= 0]])
            place, writer = place[at < 0], writer[at < 0]
            at = _at(names, _named(place, writer))
            before, place, writer = updated[at[at >= 0]], place[at >= 0], writer[at >= 0]
            same = (self.following[before] == place) & (self.remover[before] == writer)
            before = before[same]
            only = (self.second[before] & _HEAP_ONLY) != 0
            found.append(self.items.tid[before[~only]])
            place, writer = self.items.tid[before[only]], self.writer[before[only]]
        return np.concatenate(found)


# --- indexes


@dataclass(frozen=True, slots=True)
class _Copy:
    """A key that leads to another page of an index: where it lies, and what it is a copy of."""

    file: int
    start: int
    end: int
    key: bytes = field(repr=False)
    beside: int = -1  # block of the page whose first key it copies


class _Walked:
    """What was found in the files of an index so far."""

    def __init__(self, leads: _Ints, size: int) -> None:
        self._leads, self._size = leads, size
        self._found: list[list[Ranges]] = []

    def add(self, stream: BinaryIO, length: int, first: int = 0) -> None:
        self._found.append([np.zeros((0, 2), dtype=np.int64)])
        for at, data in _batches(stream, length, self._size):
            self._take(parse(data, first + at // self._size, self._size), at)

    def ranges(self) -> list[Ranges]:
        for copy in self._copies():
            self._found[copy.file].append(np.array([[copy.start, copy.end]], dtype=np.int64))
        return [_merged(np.concatenate(found)) for found in self._found]

    def _take(self, pages: Pages, at: int) -> None:
        raise NotImplementedError

    def _copies(self) -> Iterator[_Copy]:
        raise NotImplementedError

    def _keep(self, items: Items, at: int) -> None:
        self._found[-1].append(np.stack([items.start, items.end], axis=1) + at)


class Tree(_Walked):
    """A b-tree. Of keys that lead to several rows it is enough that one is there."""

    def __init__(self, leads: _Ints, size: int = SIZE) -> None:
        """`leads` are places, sorted, as `heap` gives them."""
        super().__init__(leads, size)
        self._firsts: dict[int, bytes] = {}  # block → the first key in it of a row that is there
        self._ends: list[_Copy] = []  # the keys at which the pages with rows end
        self._ways: list[_Copy] = []  # the keys of the pages above them

    def _take(self, pages: Pages, at: int) -> None:
        items, special = pages.items, pages.special
        page = items.start // self._size
        mine = special == self._size - _TREE_TAIL
        tail, nth = np.where(mine, special, 0), np.arange(len(special))
        kind = _pair(pages.data, nth, tail + 12)
        mine &= (kind & _TREE_NO_ROWS) == 0
        following = _pair(pages.data, nth, tail + 4) | _pair(pages.data, nth, tail + 6) << 16
        leaf, inner = mine & ((kind & _TREE_LEAF) != 0), mine & ((kind & _TREE_LEAF) == 0)
        end = (items.item == 1) & (following[page] != 0)
        keyed = items.end - items.start >= _KEY_HEADER
        self._rows(pages, at, items.only(keyed & leaf[page] & ~end))
        ends = items.only(keyed & leaf[page] & end)
        self._ends += self._pivots(pages, at, ends, following[ends.start // self._size])
        ways = items.only(keyed & inner[page])
        self._ways += self._pivots(pages, at, ways, np.full(len(ways.start), -1))

    def _rows(self, pages: Pages, at: int, items: Items) -> None:
        block, item, info = _key_headers(pages, items)
        chosen = _in_sorted(self._leads, tids(block, item)) & ((info & _OTHER_TID) == 0)
        flat = pages.data.reshape(-1)
        for nth in np.flatnonzero((info & _OTHER_TID) != 0).tolist():
            key = flat[items.start[nth] : items.end[nth]]
            chosen[nth] = bool(_in_sorted(self._leads, _posting(key, int(block[nth]), int(item[nth]))).any())
        self._keep(items.only(chosen), at)
        rows = np.flatnonzero(chosen)
        blocks, firsts = np.unique(items.block[rows], return_index=True)
        for number, nth in zip(blocks.tolist(), rows[firsts].tolist(), strict=True):
            start, end = int(items.start[nth]), int(items.end[nth])
            if info[nth] & _OTHER_TID:
                end = min(end, start + int(block[nth]))
            self._firsts[number] = flat[start + _KEY_HEADER : end].tobytes()

    def _pivots(self, pages: Pages, at: int, items: Items, beside: _Ints) -> Iterator[_Copy]:
        _, item, info = _key_headers(pages, items)
        placed = ((info & _OTHER_TID) != 0) & ((item & _PIVOT_TID) != 0)
        flat = pages.data.reshape(-1)
        for start, end, has_place, block in zip(
            items.start.tolist(), items.end.tolist(), placed.tolist(), beside.tolist(), strict=True
        ):
            key = flat[start + _KEY_HEADER : end - (8 if has_place else 0)].tobytes()
            yield _Copy(len(self._found) - 1, start + at, end + at, key, block)

    def _copies(self) -> Iterator[_Copy]:
        known = set()
        for copy in self._ends:
            key = _bare(copy.key)
            if key and self._firsts.get(copy.beside, b"").startswith(key):
                known.add(key)
                yield copy
        yield from (copy for copy in self._ways if _bare(copy.key) in known)


class Inverted(_Walked):
    """A GIN. Of the rows that have a key the first one is looked at; keys are never removed from it."""

    def __init__(self, leads: _Ints, size: int = SIZE) -> None:
        """`leads` as in `Tree`."""
        super().__init__(leads, size)
        self._ways: list[_Copy] = []
        self._known = array("q")  # hashes of the keys of rows that are there
        self._listed: list[tuple[_Copy, int]] = []  # keys with a tree of places, and its root
        self._below: dict[int, int] = {}  # block of such a tree → its first child
        self._place: dict[int, int] = {}  # block of such a tree → the first place in it

    def _take(self, pages: Pages, at: int) -> None:
        data, items = pages.data, pages.items
        mine = pages.special == self._size - _GIN_TAIL
        kind = np.where(
            mine, _pair(data, np.arange(len(data)), np.full(len(data), self._size - 2)), _GIN_META
        )
        page = items.start // self._size
        items = items.only(items.end - items.start >= _KEY_HEADER)
        page = items.start // self._size
        waiting = items.only((kind[page] & _GIN_KINDS) == _GIN_LIST)
        block, item, _ = _key_headers(pages, waiting)
        self._keep(waiting.only(_in_sorted(self._leads, tids(block, item))), at)
        self._keys(pages, at, items.only((kind[page] & _GIN_KINDS) == _GIN_LEAF))
        ways = items.only((kind[page] & _GIN_KINDS) == 0)
        flat = data.reshape(-1)
        for start, end in zip(ways.start.tolist(), ways.end.tolist(), strict=True):
            key = flat[start + _KEY_HEADER : end].tobytes()
            self._ways.append(_Copy(len(self._found) - 1, start + at, end + at, key))
        self._places(data, kind, at // self._size + self._first)

    def add(self, stream: BinaryIO, length: int, first: int = 0) -> None:
        self._first = first
        super().add(stream, length, first)

    def _keys(self, pages: Pages, at: int, items: Items) -> None:
        block, item, _ = _key_headers(pages, items)
        flat = pages.data.reshape(-1)
        offset = block & 0x7FFFFFFF
        width = items.end - items.start
        inline = (item > 0) & (item != _GIN_ROOT) & (offset >= _KEY_HEADER) & (offset + 6 <= width)
        where = np.where(inline, items.start + offset, 0)
        words = flat[where[:, None] + np.arange(6)].view("<u2").astype(np.int64)
        place = tids(words[:, 0] << 16 | words[:, 1], words[:, 2])
        chosen = inline & _in_sorted(self._leads, place)
        self._keep(items.only(chosen), at)
        ends = np.where(inline, items.start + offset, items.end)
        keys = zip((items.start[chosen] + _KEY_HEADER).tolist(), ends[chosen].tolist(), strict=True)
        self._known.extend(hash(_bare(flat[start:end].tobytes())) for start, end in keys)
        for nth in np.flatnonzero(item == _GIN_ROOT).tolist():
            start, end = int(items.start[nth]), int(items.end[nth])
            key = flat[start + _KEY_HEADER : end].tobytes()
            self._listed.append((_Copy(len(self._found) - 1, start + at, end + at, key), int(block[nth])))

    def _places(self, data: _Bytes, kind: _Ints, first: int) -> None:
        """Of pages with places alone, the first one of each, or the page below."""
        for nth in np.flatnonzero((kind & (_GIN_DATA | _GIN_DELETED | _GIN_META)) == _GIN_DATA).tolist():
            if int(data[nth, 12]) | int(data[nth, 13]) << 8 <= 32:
                continue
            words = data[nth, 32:38].copy().view("<u2").astype(np.int64)
            number = int(words[0]) << 16 | int(words[1])
            if kind[nth] & _GIN_LEAF:
                self._place[first + nth] = int(tids(number, words[2]))
            else:
                self._below[first + nth] = number

    def _copies(self) -> Iterator[_Copy]:
        for copy, root in self._listed:
            leaf = root
            for _ in range(_MOST_LEVELS):
                leaf = self._below.get(leaf, leaf)
            if _in_sorted(self._leads, np.array([self._place.get(leaf, -1)]))[0]:
                self._known.append(hash(_bare(copy.key)))
                yield copy
        known = np.unique(np.frombuffer(self._known, np.int64))
        ways = np.array([hash(_bare(copy.key)) for copy in self._ways], np.int64)
        yield from (self._ways[nth] for nth in np.flatnonzero(_in_sorted(known, ways)).tolist())


_TREE_TAIL, _TREE_LEAF, _TREE_NO_ROWS = 16, 1, 4 | 8 | 16  # deleted, meta, half-dead
_OTHER_TID, _POSTING, _POSTING_COUNT, _PIVOT_TID = 0x2000, 0x2000, 0x0FFF, 0x1000
_GIN_TAIL, _GIN_ROOT = 8, 0xFFFF
_GIN_DATA, _GIN_LEAF, _GIN_DELETED, _GIN_META, _GIN_LIST = 1, 2, 4, 8, 16
_GIN_KINDS = _GIN_DATA | _GIN_LEAF | _GIN_DELETED | _GIN_META | _GIN_LIST
_MOST_LEVELS = 8


def _key_headers(pages: Pages, items: Items) -> tuple[_Ints, _Ints, _Ints]:
    """Block and item that each key leads to, and its flags."""
    flat = pages.data.reshape(-1)[items.start[:, None] + np.arange(_KEY_HEADER)].view("<u2").astype(np.int64)
    return flat[:, 0] << 16 | flat[:, 1], flat[:, 2], flat[:, 3]


def _posting(key: _Bytes, block: int, item: int) -> _Ints:
    """The places to which one key with many rows leads: its own says how many, and where they stand."""
    count, at = item & _POSTING_COUNT, block
    if not item & _POSTING or at + 6 * count > len(key):
        return _NONE
    words = key[at : at + 6 * count].copy().view("<u2").astype(np.int64).reshape(count, 3)
    return tids(words[:, 0] << 16 | words[:, 1], words[:, 2])


def _bare(key: bytes) -> bytes:
    """Without the zeros that fill it up."""
    return key[: max(0, len(key) - 7)] + key[max(0, len(key) - 7) :].rstrip(b"\x00")


# --- parts


def _batches(stream: BinaryIO, length: int, size: int) -> Iterator[tuple[int, bytes]]:
    for at in range(0, length, AT_ONCE * size):
        stream.seek(at)
        yield at, stream.read(min(AT_ONCE * size, length - at))


def _named(place: _Ints, writer: _Ints) -> npt.NDArray[np.uint64]:
    """One number for a place and a transaction; others may have the same, seldom."""
    return np.asarray(place.astype(np.uint64) * _MIX[0] + writer.astype(np.uint64) * _MIX[1])


def _at(known: npt.NDArray[np.generic], sought: npt.NDArray[np.generic]) -> _Ints:
    """Where each stands among the known, which are sorted; -1 where it does not."""
    if not len(known):
        return np.full(len(sought), -1)
    row = np.minimum(np.searchsorted(known, sought), len(known) - 1)
    return np.where(known[row] == sought, row, -1)


def _in_sorted(known: _Ints, sought: _Ints) -> _Flags:
    return np.asarray(_at(known, sought) >= 0, dtype=bool)


def _pair(pages: _Bytes, row: _Ints, at: _Ints) -> _Ints:
    return pages[row, at].astype(np.int64) | pages[row, at + 1].astype(np.int64) << 8


def _merged(ranges: Ranges) -> Ranges:
    """Sorted, and joined where they touch or overlap."""
    if not len(ranges):
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    begins = np.flatnonzero(np.concatenate([[True], ranges[1:, 0] > reach[:-1]]))
    ends = np.append(begins[1:] - 1, len(ranges) - 1)
    return np.stack([ranges[begins, 0], reach[ends]], axis=1)
