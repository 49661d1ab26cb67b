"""SQLite pages without the beginning of their file: which belong together, and where a value goes on.

What surprised the author: nothing in a page says how long it is or which number it has. But its last cell
ends where the page does, which gives the size; and a page that goes on in the next one says that one's
number. So each such pair, and each cell that points to where its value goes on, votes for the place where
page 1 once was.

A value inside one page needs none of this: a plain search finds it. Format:
https://www.sqlite.org/fileformat2.html § 1.6 (b-tree pages), § 1.7 (overflow).
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from cenotaph.residue import spills, sqlite_pages
from cenotaph.residue.sqlite_pages import Database

GRID = 512  # pages begin at multiples of it
MOST_PAGES = 16384  # b-tree pages of one window that are looked at

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]

_SIZES = (4096, 1024, 2048, 512, 8192, 16384, 32768, 65536)  # the usual ones first
_KINDS = np.zeros(256, dtype=bool)
_KINDS[[2, 5, 10, 13]] = True
_INTERIOR = (2, 5)
_MOST_GROUPS = 3  # sizes of pages in one window
_MOST_BASES = 4  # databases of one size of pages in one window
_MOST_VOTERS = 256
_AROUND = 32  # bases that are compared with one
_CROWD = 1024  # bases with votes, of which some have several by chance
_HIGHEST = 1 << 24


def likely_pages(data: _Bytes, first: int, end: int) -> _Ints:
    """Offsets at `first`, and every `GRID` bytes from there, where pages of a database may begin.

    B-tree pages with cells (§ 1.6: the kind, at most 60 fragmented bytes, cells behind their pointers, and
    the pointers to them), and the first of overflow pages that lie one behind the other (§ 1.7: each says
    which is next).
    """
    at = np.arange(first, min(end, len(data) - 13), GRID, dtype=np.int64)
    if not len(at):
        return at
    trees, chains = _trees(data, at), at[_chains(data, at)]
    return np.union1d(trees, chains) if len(chains) else trees


def _trees(data: _Bytes, at: _Ints) -> _Ints:
    at = at[_KINDS[data[at[0] :: GRID][: len(at)]]]
    at = at[data[at + 7] <= 60]
    cells = _be(data, at + 3)
    content = _be(data, at + 5)
    content[content == 0] = 65536
    head = np.where(np.isin(data[at], _INTERIOR), 12, 8)
    pointer = _be(data, at + head)
    return at[(cells > 0) & (content >= head + 2 * cells) & (pointer >= content)]


def _chains(data: _Bytes, at: _Ints) -> npt.NDArray[np.bool_]:
    words = np.ndarray((len(at),), ">u4", data.data, int(at[0]), (GRID,)).astype(np.int64)
    begin = np.zeros(len(at), dtype=bool)
    possible = (words > 1) & (words < _HIGHEST)
    for size in _SIZES:
        step = size // GRID
        if step < len(at):
            on = np.zeros(len(at), dtype=bool)
            on[:-step] = possible[:-step] & (words[step:] == words[:-step] + 1)
            on[step:] &= ~on[:-step].copy()
            begin |= on
    return begin


def stores(
    source: BinaryIO, start: int, end: int, likely: _Ints, count: Callable[[str], None]
) -> Iterator[spills.Store]:
    """Pages between two offsets of a stream, as parts of databases whose first page may be gone.

    `likely` are offsets that `likely_pages` gave.
    """
    if len(likely) > MOST_PAGES:
        count("sqlite: more pages without their file than are looked at")
    groups: dict[tuple[int, int], list[int]] = {}
    for at in likely[:MOST_PAGES].tolist():
        size = _size(source, at)
        if size:
            groups.setdefault((size, at % size), []).append(at)
    largest = sorted(groups, key=lambda group: -len(groups[group]))
    for size, phase in largest[:_MOST_GROUPS]:
        begin = start + (phase - start) % size
        slots = np.arange(begin, end - size + 1, size, dtype=np.int64)
        trees = np.array([at for at in groups[size, phase] if _begins(source, at)], dtype=np.int64)
        yield from _databases(source, size, slots, trees, count)


def _size(source: BinaryIO, at: int) -> int:
    """How long a b-tree page is: as long as its last cell reaches. 0 where no size fits."""
    source.seek(at)
    head = source.read(4096)
    kind = head[0]
    if not _KINDS[kind]:
        return _chain_size(source, at, int.from_bytes(head[:4], "big"))
    begin = 12 if kind in _INTERIOR else 8
    cells = int.from_bytes(head[3:5], "big")
    pointers = np.frombuffer(head[begin : begin + 2 * cells][: (len(head) - begin) // 2 * 2], dtype=">u2")
    last = int(pointers.max(initial=0))
    source.seek(at + last)
    cell = source.read(24)
    place = 4 if kind in _INTERIOR else 0
    payload = 0
    if kind != 5:
        payload, place = sqlite_pages.varint(cell, place)
    if kind in (5, 13):
        _, place = sqlite_pages.varint(cell, place)
    if payload < 0 or place > len(cell):
        return 0
    for size in _SIZES:
        local = int(sqlite_pages.local_size(size, kind, np.array([payload]))[0]) if kind != 5 else 0
        if last + place + local + (4 if payload > local else 0) == size:
            return size
    return 0


def _begins(source: BinaryIO, at: int) -> bool:
    """Whether a b-tree page begins here."""
    source.seek(at)
    return bool(_KINDS[source.read(1)[0]])


def _chain_size(source: BinaryIO, at: int, word: int) -> int:
    """How long an overflow page is, where the next one follows it."""
    for size in _SIZES:
        source.seek(at + size)
        if int.from_bytes(source.read(4), "big") == word + 1:
            return size
    return 0


def _databases(
    source: BinaryIO, size: int, slots: _Ints, trees: _Ints, count: Callable[[str], None]
) -> Iterator[spills.Store]:
    """Groups of pages of one size that number each other alike."""
    words = np.full(len(slots), -1, dtype=np.int64)
    tree = np.isin(slots, trees)
    for nth in np.flatnonzero(~tree).tolist():
        source.seek(int(slots[nth]))
        head = source.read(32)
        if any(head):
            words[nth] = int.from_bytes(head[:4], "big")
    chained = tree | ((words >= 0) & (words < _HIGHEST))
    for base in _bases(source, size, slots, trees, words):
        number = np.arange(len(slots), dtype=np.int64) - base + 1
        chosen = chained & (number >= 1)
        origin = int(slots[0]) + base * size if len(slots) else 0
        length = int(slots[-1]) + size - int(slots[0])
        db = Database(
            cast(BinaryIO, _Pages(source, origin, int(slots[0]), int(slots[-1]) + size)),
            length,
            size,
            size,
            int(number[-1]),
            "utf-8",
            False,
            (0, 0),
            counted=Counter(),
        )
        looked = number[tree & (number >= 2)]
        yield spills.Store(source, origin, size, size, number[chosen], slots[chosen], count, db, looked)


def _bases(source: BinaryIO, size: int, slots: _Ints, trees: _Ints, words: _Ints) -> list[int]:
    """Which slots may have been page 1 (they may lie before the first slot), best first."""
    chain = np.flatnonzero((words > 1) & (words < _HIGHEST))
    votes = [chain + 2 - words[chain]]  # most pages that go on do so in the next one
    ends = np.flatnonzero((words >= 0) & (words < _HIGHEST))
    pointers = _pointers(source, size, trees)
    for nth in range(0, len(pointers), max(1, len(pointers) // _MOST_VOTERS)):
        votes.append(ends - int(pointers[nth]) + 1)
    bases, counts = np.unique(np.concatenate(votes), return_counts=True)
    order = np.argsort(-counts, kind="stable")[: _MOST_BASES + 1]
    few = len(pointers) == 1 or len(chain) == 1
    best = [nth for nth in order[:_MOST_BASES].tolist() if counts[nth] > 1 or few]
    by_chance = int(counts[order[_MOST_BASES]]) if len(bases) > _CROWD else 0
    return [
        int(bases[nth])
        for nth in best
        if _stands_out(bases, counts, nth) and counts[nth] >= _more_than(by_chance)
    ]


def _stands_out(bases: _Ints, counts: _Ints, nth: int) -> bool:
    """Whether a base has clearly more votes than those around it. Where most slots begin with zeros, as pages
    of PostgreSQL do, every base has about as many as the next."""
    around = np.abs(bases - bases[nth]) <= _AROUND
    around[nth] = False
    return bool(counts[nth] >= _more_than(int(counts[around].max(initial=0))))


def _more_than(votes: int) -> float:
    """How many votes are clearly more than so many that come by chance."""
    return votes + 2 * math.sqrt(votes)


def _pointers(source: BinaryIO, size: int, trees: _Ints) -> _Ints:
    """The numbers of the pages in which values of these b-tree pages go on."""
    if not len(trees):
        return trees
    origin = int(trees[0]) - size  # so that none of them counts as page 1, which begins otherwise
    pages = (trees - origin) // size + 1
    view = cast(BinaryIO, _Pages(source, origin, int(trees[0]), int(trees[-1]) + size))
    db = Database(view, 1 << 62, size, size, int(pages[-1]), "utf-8", False, (0, 0), counted=Counter())
    found = [cells.overflow for cells in sqlite_pages.decoded(db, pages)]
    every = np.concatenate([*found, np.zeros(0, dtype=np.int64)])
    return every[(every > 0) & (every < _HIGHEST)]


class _Pages(io.RawIOBase):
    """A stream as a database sees it whose page 1 was at `origin`: zeros where the window does not reach."""

    def __init__(self, source: BinaryIO, origin: int, start: int, end: int) -> None:
        super().__init__()
        self._source, self._origin, self._start, self._end, self._at = source, origin, start, end, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (self._at if whence == 1 else 0)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        wanted = 0 if size is None else max(0, size)
        begin = self._origin + self._at
        self._at += wanted
        low, high = max(begin, self._start), min(begin + wanted, self._end)
        if low >= high:
            return bytes(wanted)
        self._source.seek(low)
        data = self._source.read(high - low)
        return (bytes(low - begin) + data).ljust(wanted, b"\x00")


def _be(data: _Bytes, at: _Ints) -> _Ints:
    return data[at].astype(np.int64) << 8 | data[at + 1]
