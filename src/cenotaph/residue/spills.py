"""Values that SQLite cuts in pieces: where a value goes on in an overflow page, the search goes with it.

What surprised the author: the pointer of a deleted value is still there when everything that described it is
gone. So no b-tree is needed: wherever four bytes name a page that looks like an overflow page (its own
first four bytes name a page, or none), the bytes before them are joined with the beginning of that page.
That holds for live and freed cells, for freed pages, for frames of a write-ahead log and of a journal.

Format: https://www.sqlite.org/fileformat2.html § 1.7 (overflow), § 3 (rollback journal), § 4 (WAL).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph.errors import PermanentStoreError
from cenotaph.residue import lanes, sqlite_pages
from cenotaph.residue.columns import Window
from cenotaph.residue.sqlite_pages import MAGIC, Ranges

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Count = Callable[[str], None]

_WAL = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_PAGES = 64
_MOST_POINTERS = 256  # per page, on average over a batch
_MOST_OVERLAP = 4
_MOST_COPIES = 8  # of one page in a log
_MOST_NUMBER = 1 << 24  # of a page; more would be a database of 64 GiB


@dataclass(frozen=True, slots=True)
class Joints:
    """Ends and beginnings of pages, joined: one buffer, each joint at `begin`, its seam at `seam`."""

    data: _Bytes = field(repr=False)
    begin: _Ints
    seam: _Ints
    before: _Ints  # offset in the source of the byte at `begin`
    after: _Ints  # offset in the source of the byte at `seam`

    def crossing(self, start: _Ints, length: _Ints) -> npt.NDArray[np.bool_]:
        """Which matches lie on both sides of a seam."""
        if not len(self.begin):
            return np.zeros(len(start), dtype=bool)
        row = self._row(start)
        return np.asarray((start < self.seam[row]) & (start + length > self.seam[row]), dtype=bool)

    def places(self, start: _Ints, length: _Ints) -> tuple[Ranges, Ranges]:
        """The bytes of the source that hold the two parts of each crossing match."""
        row = self._row(start)
        left = self.before[row] + start - self.begin[row]
        right = self.after[row]
        over = start + length - self.seam[row]
        return (
            np.stack([left, left + self.seam[row] - start], axis=1),
            np.stack([right, right + over], axis=1),
        )

    def _row(self, start: _Ints) -> _Ints:
        return np.searchsorted(self.begin, start, side="right") - 1


@dataclass(frozen=True, slots=True)
class Store:
    """The page images in one database, log or journal: which page, and where in the source."""

    source: BinaryIO = field(repr=False)
    start: int  # of the database in the source
    page_size: int
    usable: int
    number: _Ints
    offset: _Ints
    count: _Count = field(repr=False)
    db: sqlite_pages.Database | None = None
    trees: _Ints | None = None  # numbers of the pages in which values may begin; all, if None

    def joints(self, longest: int) -> Iterator[Joints]:
        """All places where a value may go on in another page, in batches."""
        chained = self._chained()
        reach = min(longest - 1, self.usable - 4)
        copies: dict[int, list[int]] = defaultdict(list)
        for number, offset in zip(self.number[chained].tolist(), self.offset[chained].tolist(), strict=True):
            copies[number] = [*copies[number][1 - _MOST_COPIES :], offset]
        chains = np.array(sorted(copies), dtype=np.int64)
        for at in range(0, len(self.offset), _PAGES):
            offsets = self.offset[at : at + _PAGES]
            yield self._joined(offsets, chained[at : at + _PAGES], chains, copies, reach)

    def payloads(self) -> Iterator[tuple[bytes, Ranges]]:
        """Values across pages in which something compressed begins, and the bytes that hold them."""
        if self.db is None:
            return
        for payload, places in sqlite_pages.spilled(self.db, self.trees):
            data = np.frombuffer(payload, dtype=np.uint8)
            if lanes.find_magics(data, len(data)):
                yield payload, places + self.start
        for problem in self.db.counted:
            self.count(f"sqlite: {problem}")

    def _chained(self) -> npt.NDArray[np.bool_]:
        """Which images look like overflow pages: they begin with the number of a page, or zero."""
        highest = int(self.number.max()) if len(self.number) else 0
        return np.array([self._word(offset) <= highest for offset in self.offset.tolist()], dtype=bool)

    def _word(self, offset: int) -> int:
        self.source.seek(offset)
        return int.from_bytes(self.source.read(4), "big")

    def _joined(
        self,
        offsets: _Ints,
        chained: npt.NDArray[np.bool_],
        chains: _Ints,
        copies: dict[int, list[int]],
        reach: int,
    ) -> Joints:
        pages = np.stack([self._image(offset) for offset in offsets.tolist()])
        tails: list[tuple[int, int, int]] = []  # row, end of the value's part, page it goes on in
        linked = _be(pages, 0)
        for row in np.flatnonzero(chained).tolist():
            if int(linked[row]) in copies:
                tails.append((row, self.usable, int(linked[row])))
        tails.extend(self._pointers(pages, chained, chains))
        return self._assembled(pages, offsets, tails, copies, reach)

    def _pointers(
        self, pages: _Bytes, chained: npt.NDArray[np.bool_], chains: _Ints
    ) -> list[tuple[int, int, int]]:
        if not len(chains):
            return []
        rows = np.flatnonzero(~chained)
        cells = pages[rows]
        words = np.zeros((len(rows), self.usable - 3), dtype=np.int64)
        for nth in range(4):
            words = words << 8 | cells[:, nth : nth + self.usable - 3]
        row, at = np.nonzero((words > 0) & (words <= chains[-1]))
        target = words[row, at]
        real = (chains[np.searchsorted(chains, target)] == target) & (at >= 8)
        row, at, target = row[real], at[real], target[real]
        if len(row) > _MOST_POINTERS * _PAGES:
            self.count("sqlite: more possible overflow pointers than are followed")
            row, at, target = (column[: _MOST_POINTERS * _PAGES] for column in (row, at, target))
        return list(zip(rows[row].tolist(), at.tolist(), target.tolist(), strict=True))

    def _assembled(
        self,
        pages: _Bytes,
        offsets: _Ints,
        tails: list[tuple[int, int, int]],
        copies: dict[int, list[int]],
        reach: int,
    ) -> Joints:
        parts, columns = [], []
        size = 0
        for row, end, target in tails:
            tail = pages[row, max(0, end - reach) : end].tobytes()
            for copy in copies[target]:
                self.source.seek(copy + 4)
                head = self.source.read(reach)
                parts += [tail, head, b"\x00"]
                columns.append((size, size + len(tail), int(offsets[row]) + end - len(tail), copy + 4))
                size += len(tail) + len(head) + 1
        table = np.array(columns, dtype=np.int64).reshape(-1, 4)
        return Joints(np.frombuffer(b"".join(parts), dtype=np.uint8), *table.T)

    def _image(self, offset: int) -> _Bytes:
        self.source.seek(offset)
        data = self.source.read(self.page_size).ljust(self.page_size, b"\x00")
        return np.frombuffer(data, dtype=np.uint8)


def stores(
    source: BinaryIO, length: int, marks: list[tuple[int, bytes]], count: _Count, fresh: int, most: int
) -> Iterator[Store]:
    """The databases, write-ahead logs and rollback journals that begin at marks.

    No database is read farther than `most` bytes, and all together no more than four times `fresh`.
    """
    left = _MOST_OVERLAP * fresh  # files that claim each other's bytes must not cost a square
    for at, magic in marks:
        if magic == MAGIC:
            store = _database(source, length, at, count, most)
        elif magic in _WAL or magic == _JOURNAL:
            store = _log(source, length, at, count, min(most, left))
        else:
            continue
        if store is None:
            continue
        left -= len(store.number) * store.page_size
        if left < 0:
            count("sqlite: more databases than the bytes they lie in can hold")
            break
        yield store


def _database(source: BinaryIO, length: int, at: int, count: _Count, most: int) -> Store | None:
    size = min(most, length if at == 0 else _stated(source, at, length))
    try:
        db = sqlite_pages.parse(Window(source, at, size), size)  # type: ignore[arg-type]  # enough of a stream
    except PermanentStoreError:
        return None  # the magic alone: a word in a text, or a page of something else
    numbers = np.arange(1, db.pages + 1, dtype=np.int64)
    return Store(source, at, db.page_size, db.usable, numbers, at + (numbers - 1) * db.page_size, count, db)


def _stated(source: BinaryIO, at: int, length: int) -> int:
    """§ 1.3: how long a database says it is; for one inside something else, all we know of its end."""
    source.seek(at)
    head = source.read(32)
    page_size = int.from_bytes(head[16:18], "big")
    stated = int.from_bytes(head[28:32], "big") * (65536 if page_size == 1 else page_size)
    return min(length - at, stated) if stated else length - at


def _log(source: BinaryIO, length: int, at: int, count: _Count, most: int) -> Store | None:
    """A write-ahead log (§ 4.1, § 4.2), or a rollback journal (§ 3). All frames, old ones too.

    One that begins inside something else ends where a frame has no possible page number.
    """
    source.seek(at)
    head = source.read(32)
    if head[:4] in _WAL:
        sector, size, before, step = 32, int.from_bytes(head[8:12], "big"), 24, 24
    else:
        sector, size = (int.from_bytes(head[nth : nth + 4], "big") for nth in (20, 24))
        before, step = 4, 8
    if not _sane(size) or not 32 <= sector <= 65536:
        if at == 0:
            count("sqlite: log or journal with an impossible page size")
        return None
    end = length if at == 0 else min(length, at + most)
    numbers = []
    for frame in range(at + sector, end - before - size + 1, step + size):
        source.seek(frame)
        numbers.append(int.from_bytes(source.read(4), "big"))
        if at and not 0 < numbers[-1] <= _MOST_NUMBER:
            break
    number = np.array(numbers, dtype=np.int64)
    offset = np.arange(len(numbers), dtype=np.int64) * (step + size) + at + sector + before
    sound = number > 0
    return Store(source, 0, size, size, number[sound], offset[sound], count) if sound.any() else None


def _sane(size: int) -> bool:
    return 512 <= size <= 65536 and not size & (size - 1)


def _be(pages: _Bytes, at: int) -> _Ints:
    value = np.zeros(len(pages), dtype=np.int64)
    for nth in range(4):
        value = value << 8 | pages[:, at + nth]
    return value
