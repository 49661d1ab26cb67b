"""SQLite database files, read page by page below SQLite itself: which bytes are live, and which are dead.

What surprised the author: an index keeps rows in its *interior* pages too, a table does not; the cells of
a page may leave gaps that no list of free blocks mentions; and a file may be longer than its header says.
So nothing here trusts a free list: bytes are live because a cell reached from a root covers them, and all
other bytes of the file are not.

The format is that of "Database File Format", https://www.sqlite.org/fileformat2.html; sections are cited
where they are used. Every number in the file is taken as hostile: a page is visited once, a length is
checked against what holds it, and what does not fit is counted in `Database.problems`.
The file must be complete: checkpoint a write-ahead log, and roll back a hot journal, before parsing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph.errors import PermanentStoreError

Ranges: TypeAlias = npt.NDArray[np.int64]
"""As `cenotaph.store.Ranges`, which this layer must not import."""

Value: TypeAlias = int | float | str | bytes | None
RowFilter: TypeAlias = Callable[[Any], bool]
"""Chooses rows: by rowid (int); in a WITHOUT ROWID tree by the stored columns (tuple of `Value`)."""

MAGIC = b"SQLite format 3\x00"
SCHEMA = "sqlite_schema"
PAGES_AT_A_TIME = 128
MOST_PAYLOAD = 64 << 20  # a longer record is counted as a problem, not decoded

_Ints: TypeAlias = npt.NDArray[np.int64]
_Flags: TypeAlias = npt.NDArray[np.bool_]
_Bytes: TypeAlias = npt.NDArray[np.uint8]

_INDEX_INTERIOR, _TABLE_INTERIOR, _INDEX_LEAF, _TABLE_LEAF = 2, 5, 10, 13  # § 1.6
_ENCODINGS = {1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}  # § 1.3.13
_NO_RANGES: Ranges = np.zeros((0, 2), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the schema that owns a b-tree (§ 2.6): a table, or an index of a table."""

    type: str  # "table" or "index"
    name: str = field(repr=False)
    table: str = field(repr=False)  # the table an index belongs to; a table's own name
    root: int
    sql: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Record:
    """A row as one b-tree holds it, and the bytes of the file that hold it."""

    entry: Entry
    rowid: int | None  # None in the b-tree of an index or of a WITHOUT ROWID table
    values: tuple[Value, ...] = field(repr=False)
    places: Ranges = field(repr=False)


_FREED = Entry("freed", "", "", 0, "")


@dataclass(frozen=True, slots=True)
class Database:
    """The header and the schema of one database file; reads pages on demand from its stream."""

    stream: BinaryIO = field(repr=False)
    length: int
    page_size: int
    usable: int  # page size without the reserved space at the end of each page (§ 1.3.4)
    pages: int  # whole pages in the file, whatever the header says
    encoding: str
    auto_vacuum: bool
    freelist: tuple[int, int]  # first trunk page and number of free pages, as the header says
    tables: tuple[Entry, ...] = ()
    counted: Counter[str] = field(default_factory=Counter, repr=False)

    @property
    def problems(self) -> tuple[str, ...]:
        """What did not fit the format so far, each with how often; never with data."""
        return tuple(f"{what} ({count} times)" for what, count in sorted(self.counted.items()))


def parse(stream: BinaryIO, length: int) -> Database:
    """Read the header and the schema of the database that fills `stream`, `length` bytes from its start.

    The schema itself is listed first, as the table `SCHEMA`. An empty file is an empty database.

    Raises:
        PermanentStoreError: this is no SQLite database, or its header is not one that SQLite would read.
    """
    if length == 0:
        return Database(stream, 0, 0, 0, 0, "utf-8", False, (0, 0))
    db = _header(stream, length)
    schema = Entry("table", SCHEMA, SCHEMA, 1, "")
    entries = [schema]
    seen = np.zeros(db.pages + 1, dtype=bool)
    for record in _records(db, schema, seen):
        entry = _entry(record.values, db)
        if entry is not None:
            entries.append(entry)
    return Database(
        db.stream,
        db.length,
        db.page_size,
        db.usable,
        db.pages,
        db.encoding,
        db.auto_vacuum,
        db.freelist,
        tuple(entries),
        db.counted,
    )


def live_ranges(
    db: Database, names: Collection[str] | None = None, rows: Mapping[str, RowFilter] | None = None
) -> Ranges:
    """The bytes that hold live rows of the named tables and of their indexes; of all trees if None.

    Covers page headers, cell pointers, interior pages, live cells and their overflow pages; not free
    blocks, gaps between cells, reserved space, the free list or pages that no tree reaches.

    `rows` restricts a table to chosen rows: its cells, and the cells of its indexes, are live only where
    the filter holds. The filter of a rowid table is given the rowid, also for index cells, whose last
    column it is (§ 2.5). The filter of a WITHOUT ROWID table is given the stored columns, primary key
    first (§ 2.4); its secondary indexes hold no row unless `rows` has a filter under the index's name,
    which is given the columns of the index.
    """
    filters = rows or {}
    seen = np.zeros(db.pages + 1, dtype=bool)
    without_rowid = _without_rowid(db)
    parts: list[Ranges] = []
    for entry in db.tables:
        if names is None or entry.table in names or entry.name in names:
            parts.extend(_tree_ranges(db, _tree(entry, filters, entry.table in without_rowid), seen))
    return merge_ranges(parts)


def records(db: Database, names: Collection[str] | None = None) -> Iterator[Record]:
    """The live records of the named tables and indexes (all, if None), overflow chains reassembled.

    Tables are named by table, indexes by their own name. What cannot be decoded is counted in `problems`.
    An INTEGER PRIMARY KEY column reads as None: its value is the rowid (§ 2.3).
    """
    seen = np.zeros(db.pages + 1, dtype=bool)
    for entry in db.tables:
        if names is None or entry.name in names:
            yield from _records(db, entry, seen)


def remnants(db: Database) -> Iterator[Record]:
    """Records that still decode on pages of the free list, under an entry without a name.

    The free list overwrites the beginning of its trunk pages only, so its leaves keep the rows they had.
    Rows freed inside a live page have lost the first bytes of their cells and are not decoded here: the
    search finds their values, this finds whole rows.
    """
    quiet = replace(db, counted=Counter())
    pages = np.array(free_pages(db), dtype=np.int64)
    read = np.zeros(db.pages + 1, dtype=bool)
    for at in range(0, len(pages), PAGES_AT_A_TIME):
        for cells in decoded(quiet, pages[at : at + PAGES_AT_A_TIME]):
            if cells.kind == _TABLE_INTERIOR:
                continue
            for nth in range(len(cells.start)):
                record = _record(db, _FREED, cells, nth, read)
                if record is not None:
                    yield record


def spilled(db: Database, pages: _Ints | None = None) -> Iterator[tuple[bytes, Ranges]]:
    """Payloads that go on in overflow pages, and where they lie; from any page that looks like a b-tree's.

    All pages are looked at, or those given.

    So also from freed pages; their chains may by now run through pages of others. In all, no more than
    twice the file is read; what is beyond is counted as a problem.
    """
    left = 2 * db.length
    quiet = replace(db, counted=Counter())  # a page that only looks like one of a b-tree is no problem
    some = np.arange(1, db.pages + 1, dtype=np.int64) if pages is None else pages
    for at in range(0, len(some), PAGES_AT_A_TIME):
        for cells in decoded(quiet, some[at : at + PAGES_AT_A_TIME]):
            for nth in np.flatnonzero(cells.overflow).tolist():
                left -= min(int(cells.payload[nth]), db.length)
                if left < 0:
                    db.counted["more overflow chains than the file can hold"] += 1
                    return
                payload = _payload(db, cells, nth, None)
                if payload is not None:
                    yield payload


def free_pages(db: Database) -> list[int]:
    """The pages on the free list (§ 1.5), trunks and leaves, as far as the list holds together."""
    found: list[int] = []
    seen: set[int] = set()
    trunk = db.freelist[0]
    while trunk and _page_exists(db, trunk) and trunk not in seen:
        seen.add(trunk)
        found.append(trunk)
        words = np.frombuffer(_page(db, trunk), dtype=">u4")[: db.usable // 4].astype(np.int64)
        leaves = words[2 : 2 + min(int(words[1]), len(words) - 2)].tolist()
        fresh = [page for page in dict.fromkeys(leaves) if _page_exists(db, page) and page not in seen]
        if len(fresh) < words[1]:
            db.counted["free list names a page twice or one that does not exist"] += 1
        seen.update(fresh)
        found.extend(fresh)
        trunk = int(words[0])
    if trunk:
        db.counted["free list is cut off or turns back on itself"] += 1
    elif len(found) != db.freelist[1]:
        db.counted["free list is not as long as the header says"] += 1
    return found


def merge_ranges(parts: list[Ranges]) -> Ranges:
    """Ranges sorted and disjoint; touching ranges become one."""
    every = np.concatenate([part for part in parts if len(part)] or [_NO_RANGES])
    every = every[every[:, 1] > every[:, 0]]
    if not len(every):
        return _NO_RANGES.copy()
    every = every[np.argsort(every[:, 0], kind="stable")]
    reach = np.maximum.accumulate(every[:, 1])
    first = np.concatenate([[True], every[1:, 0] > reach[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.stack([every[first, 0], reach[last]], axis=1)


# --- header, schema, pages


def _header(stream: BinaryIO, length: int) -> Database:
    """§ 1.3, the first 100 bytes."""
    stream.seek(0)
    head = stream.read(100)
    if len(head) < 100 or not head.startswith(MAGIC):
        raise PermanentStoreError("not a SQLite database: the file does not begin as one")
    stored = int.from_bytes(head[16:18], "big")
    page_size = 65536 if stored == 1 else stored
    usable = page_size - head[20]
    if page_size < 512 or page_size & (page_size - 1) or usable < 480:
        raise PermanentStoreError("not a SQLite database: its header gives an impossible page size")
    code = int.from_bytes(head[56:60], "big")
    words = [int.from_bytes(head[at : at + 4], "big") for at in (28, 32, 36, 52)]
    db = Database(
        stream,
        length,
        page_size,
        usable,
        length // page_size,
        _ENCODINGS.get(code, "utf-8"),
        words[3] != 0,
        (words[1], words[2]),
    )
    if code > 3:
        db.counted["unknown text encoding, read as UTF-8"] += 1
    if length % page_size:
        db.counted["last page is cut off"] += 1
    if head[24:28] == head[92:96] and words[0] != db.pages:
        db.counted["file is not as long as the header says"] += 1
    return db


def _entry(values: tuple[Value, ...], db: Database) -> Entry | None:
    """§ 2.6. Views, triggers and virtual tables have no b-tree of their own."""
    if len(values) != 5:
        db.counted["schema row without five columns"] += 1
        return None
    kind, name, table, root, sql = values
    if kind not in ("table", "index") or not root:
        return None
    if not isinstance(name, str) or not isinstance(table, str) or not isinstance(root, int):
        db.counted["schema row with columns of other types"] += 1
        return None
    if not _page_exists(db, root):
        db.counted["root page outside the file"] += 1
        return None
    return Entry(str(kind), name, table, root, sql if isinstance(sql, str) else "")


def _without_rowid(db: Database) -> frozenset[str]:
    """The names of tables whose root is a page of an index b-tree (§ 2.4)."""
    return frozenset(
        entry.name
        for entry in db.tables
        if entry.type == "table" and _page(db, entry.root)[100 if entry.root == 1 else 0] in (2, 10)
    )


def _page_exists(db: Database, page: int) -> bool:
    return 1 <= page <= db.pages


def _page(db: Database, page: int) -> bytes:
    """One page, filled up with zeros where the file was cut meanwhile."""
    db.stream.seek((page - 1) * db.page_size)
    return db.stream.read(db.page_size).ljust(db.page_size, b"\x00")


def _matrix(db: Database, pages: _Ints) -> _Bytes:
    """These pages as rows of bytes, with 16 zero bytes after each so that no gather leaves its row."""
    out = np.zeros((len(pages), db.page_size + 16), dtype=np.uint8)
    for row, page in enumerate(pages.tolist()):
        out[row, : db.page_size] = np.frombuffer(_page(db, page), dtype=np.uint8)
    return out


# --- b-trees (§ 1.6)


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of one batch of pages that have the same kind, as columns; offsets are in the file."""

    kind: int
    pages: _Ints
    frame: Ranges  # page headers and cell pointers
    children: _Ints  # in key order; empty on leaves
    start: _Ints
    body: _Ints  # where the payload begins
    end: _Ints  # where the cell ends, first overflow page number included
    local: _Ints  # payload bytes inside the cell
    payload: _Ints  # payload bytes in all
    rowid: _Ints
    overflow: _Ints  # first overflow page, or 0


def _walk(db: Database, root: int, seen: _Flags) -> Iterator[Cells]:
    """All pages of a b-tree, level by level, each page of the file at most once."""
    level = _unseen(db, np.array([root], dtype=np.int64), seen)
    while len(level):
        below: list[_Ints] = []
        for at in range(0, len(level), PAGES_AT_A_TIME):
            for cells in decoded(db, level[at : at + PAGES_AT_A_TIME]):
                below.append(cells.children)
                yield cells
        level = _unseen(db, np.concatenate(below) if below else level[:0], seen)


def _unseen(db: Database, pages: _Ints, seen: _Flags) -> _Ints:
    """Those that exist and that no tree has had so far; marks them."""
    inside = (pages >= 1) & (pages <= db.pages)
    existing = pages[inside]
    _, first = np.unique(existing, return_index=True)
    fresh = existing[np.sort(first)]
    fresh = fresh[~seen[fresh]]
    _count(db, "pointer to a page outside the file", len(pages) - len(existing))
    _count(db, "page reached twice", len(existing) - len(fresh))
    seen[fresh] = True
    return fresh


def decoded(db: Database, pages: _Ints) -> Iterator[Cells]:
    """The cells of these pages, page by page of one kind together."""
    data = _matrix(db, pages)
    head = np.where(pages == 1, 100, 0)  # § 1.6: page 1 begins with the file header
    kinds = data[np.arange(len(pages)), head]
    known = np.isin(kinds, (_INDEX_INTERIOR, _TABLE_INTERIOR, _INDEX_LEAF, _TABLE_LEAF))
    _count(db, "page of a tree that is not a b-tree page", int((~known).sum()))
    for kind in (_INDEX_INTERIOR, _TABLE_INTERIOR, _INDEX_LEAF, _TABLE_LEAF):
        chosen = np.flatnonzero(kinds == kind)
        if len(chosen):
            yield _cells(db, kind, pages[chosen], data[chosen], head[chosen])


def _cells(db: Database, kind: int, pages: _Ints, data: _Bytes, head: _Ints) -> Cells:
    interior = kind in (_INDEX_INTERIOR, _TABLE_INTERIOR)
    row = np.arange(len(pages))
    count = _be(data, row, head + 3, 2)
    pointers = head + (12 if interior else 8)
    fits = (db.usable - pointers) // 2
    _count(db, "page with more cells than fit", int((count > fits).sum()))
    count = np.clip(count, 0, fits)
    base = (pages - 1) * db.page_size
    frame = np.stack([base + head, base + pointers + 2 * count], axis=1)

    owner = np.repeat(row, count)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    at = _be(data, owner, pointers[owner] + 2 * nth, 2)
    sound = (at >= (pointers + 2 * count)[owner]) & (at <= db.usable - 2)
    _count(db, "cell pointer outside its page", int((~sound).sum()))
    cells = _cell_columns(db, kind, data, owner[sound], at[sound])
    children = _children(data, head, owner[sound], at[sound], row) if interior else pages[:0]
    start, body, end, local, payload, rowid, overflow, valid = cells
    shift = base[owner[sound]]
    _count(db, "cell that does not fit its page", int((~valid).sum()))
    _count(db, "cells that overlap", _overlaps((start + shift)[valid], (end + shift)[valid]))
    return Cells(
        kind,
        pages,
        frame,
        children,
        *((column + shift)[valid] for column in (start, body, end)),
        *(column[valid] for column in (local, payload, rowid, overflow)),
    )


def _children(data: _Bytes, head: _Ints, owner: _Ints, at: _Ints, row: _Ints) -> _Ints:
    """Left children in cell order, then the right-most one of each page."""
    left = _be(data, owner, at, 4)
    right = _be(data, row, head + 8, 4)
    order = np.argsort(np.concatenate([owner, row]), kind="stable")
    return np.concatenate([left, right])[order]


def _cell_columns(
    db: Database, kind: int, data: _Bytes, owner: _Ints, at: _Ints
) -> tuple[_Ints, _Ints, _Ints, _Ints, _Ints, _Ints, _Ints, _Flags]:
    """§ 1.6, "B-tree Cell Format", and § 1.7 for how much of a payload stays in the cell."""
    zero = np.zeros_like(at)
    cursor = at + (4 if kind in (_INDEX_INTERIOR, _TABLE_INTERIOR) else 0)
    payload, rowid = zero, zero
    if kind != _TABLE_INTERIOR:
        payload, cursor = _varints(data, owner, cursor)
    if kind in (_TABLE_LEAF, _TABLE_INTERIOR):
        rowid, cursor = _varints(data, owner, cursor)
    local = np.where(payload >= 0, local_size(db.usable, kind, np.maximum(payload, 0)), 0)
    spilled = payload > local
    end = cursor + local + np.where(spilled, 4, 0)
    valid = (payload >= 0) & (end <= db.usable)
    pointer = _be(data, owner, np.where(spilled & valid, cursor + local, 0), 4)
    overflow = np.where(spilled & valid, pointer, 0)
    return at, cursor, end, local, payload, rowid, overflow, valid


def local_size(usable: int, kind: int, payload: _Ints) -> _Ints:
    """Bytes of payloads that stay in a cell of this kind of page (§ 1.7)."""
    most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    least = (usable - 12) * 32 // 255 - 23
    part = least + (payload - least) % (usable - 4)
    return np.where(payload <= most, payload, np.where(part <= most, part, least))


def _varints(data: _Bytes, owner: _Ints, at: _Ints) -> tuple[_Ints, _Ints]:
    """§ 1.6, "A variable-length integer": up to nine bytes, the ninth with all its eight bits."""
    value = np.zeros(len(at), dtype=np.uint64)
    cursor = np.minimum(at, data.shape[1] - 9)
    going = np.ones(len(at), dtype=bool)
    for nth in range(9):
        byte = data[owner, cursor].astype(np.uint64)
        longer = (
            value << np.uint64(8) | byte if nth == 8 else value << np.uint64(7) | (byte & np.uint64(0x7F))
        )
        value = np.where(going, longer, value)
        cursor = cursor + going
        going = going & (byte >= 0x80)
        if not going.any():
            break
    return value.view(np.int64), cursor


def _be(data: _Bytes, row: _Ints, at: _Ints, width: int) -> _Ints:
    value = np.zeros(len(at), dtype=np.int64)
    for nth in range(width):
        value = value << 8 | data[row, at + nth]
    return value


def _overlaps(start: _Ints, end: _Ints) -> int:
    order = np.argsort(start, kind="stable")
    return int((start[order][1:] < end[order][:-1]).sum())


def _count(db: Database, what: str, times: int) -> None:
    if times:
        db.counted[what] += times


# --- live bytes


@dataclass(frozen=True, slots=True)
class _Tree:
    root: int
    keep: RowFilter | None
    clustered: bool  # the filter is given all columns, not the rowid


def _tree(entry: Entry, filters: Mapping[str, RowFilter], clustered: bool) -> _Tree:
    keep = filters.get(entry.name, filters.get(entry.table))
    if entry.type == "index" and clustered and entry.name not in filters and keep is not None:
        keep = _nothing  # the columns of this index are not those that the table's filter knows
    return _Tree(entry.root, keep, clustered)


def _nothing(_: object) -> bool:
    return False


def _tree_ranges(db: Database, tree: _Tree, seen: _Flags) -> Iterator[Ranges]:
    read = np.zeros(db.pages + 1, dtype=bool)  # decoding must not claim what only the chosen cells may
    for cells in _walk(db, tree.root, seen):
        yield cells.frame
        chosen = _chosen(db, tree, cells, read)
        yield np.stack([cells.start[chosen], cells.end[chosen]], axis=1)
        if cells.kind == _INDEX_INTERIOR:
            yield np.stack([cells.start, cells.start + 4], axis=1)
        yield from _overflow_ranges(db, cells, chosen, seen)


def _chosen(db: Database, tree: _Tree, cells: Cells, read: _Flags) -> _Ints:
    """The cells whose row the filter keeps. Interior cells of a table hold a key and a pointer, no row."""
    keep = tree.keep
    if keep is None or cells.kind == _TABLE_INTERIOR:
        return np.arange(len(cells.start))
    if cells.kind == _TABLE_LEAF:
        return np.flatnonzero([keep(rowid) for rowid in cells.rowid.tolist()])
    found = []
    for nth in range(len(cells.start)):
        values = _values(db, cells, nth, read)
        if values and keep(values if tree.clustered else values[-1]):
            found.append(nth)
    return np.array(found, dtype=np.int64)


def _overflow_ranges(db: Database, cells: Cells, chosen: _Ints, seen: _Flags) -> Iterator[Ranges]:
    """§ 1.7: the chains of the chosen cells, link by link, all cells at once."""
    some = chosen[cells.overflow[chosen] != 0]
    page = cells.overflow[some]
    left = (cells.payload - cells.local)[some]
    while len(page):
        going = _claim(db, page, seen)
        page, left = page[going], left[going]
        base = (page - 1) * db.page_size
        take = np.minimum(left, db.usable - 4)
        yield np.stack([base, base + 4 + take], axis=1)
        left = left - take
        following = _links(db, page)
        _count(db, "overflow chain that is too short", int(((following == 0) & (left > 0)).sum()))
        more = (left > 0) & (following != 0)
        page, left = following[more], left[more]


def _claim(db: Database, pages: _Ints, seen: _Flags) -> _Ints:
    """Which of these pages exist and are claimed now for the first time; marks them."""
    inside = np.flatnonzero((pages >= 1) & (pages <= db.pages))
    _count(db, "pointer to a page outside the file", len(pages) - len(inside))
    _, first = np.unique(pages[inside], return_index=True)
    fresh = inside[np.sort(first)]
    fresh = fresh[~seen[pages[fresh]]]
    _count(db, "page reached twice", len(inside) - len(fresh))
    seen[pages[fresh]] = True
    return fresh


def _links(db: Database, pages: _Ints) -> _Ints:
    out = np.zeros(len(pages), dtype=np.int64)
    for nth, page in enumerate(pages.tolist()):
        db.stream.seek((page - 1) * db.page_size)
        out[nth] = int.from_bytes(db.stream.read(4), "big")
    return out


# --- records (§ 2.1)


def _records(db: Database, entry: Entry, seen: _Flags) -> Iterator[Record]:
    for cells in _walk(db, entry.root, seen):
        if cells.kind == _TABLE_INTERIOR:
            continue
        for nth in range(len(cells.start)):
            record = _record(db, entry, cells, nth, seen)
            if record is None:
                db.counted["record that does not decode"] += 1
            else:
                yield record


def _record(db: Database, entry: Entry, cells: Cells, nth: int, seen: _Flags) -> Record | None:
    payload = _payload(db, cells, nth, seen)
    values = None if payload is None else decode_record(payload[0], db.encoding)
    if payload is None or values is None:
        return None
    rowid = int(cells.rowid[nth]) if cells.kind == _TABLE_LEAF else None
    return Record(entry, rowid, values, payload[1])


def _values(db: Database, cells: Cells, nth: int, seen: _Flags) -> tuple[Value, ...] | None:
    payload = _payload(db, cells, nth, seen)
    return None if payload is None else decode_record(payload[0], db.encoding)


def _payload(db: Database, cells: Cells, nth: int, seen: _Flags | None) -> tuple[bytes, Ranges] | None:
    """A cell's payload and the bytes of the file that hold it."""
    start, body, end = int(cells.start[nth]), int(cells.body[nth]), int(cells.end[nth])
    total, local = int(cells.payload[nth]), int(cells.local[nth])
    if total > min(MOST_PAYLOAD, db.length):
        return None
    db.stream.seek(body)
    data = bytearray(db.stream.read(local))
    places = [(start, end)]
    page = int(cells.overflow[nth])
    while len(data) < total:
        if not _page_exists(db, page) or (seen is not None and seen[page]):
            return None
        if seen is not None:
            seen[page] = True
        link = _page(db, page)
        take = min(total - len(data), db.usable - 4)
        data += link[4 : 4 + take]
        places.append(((page - 1) * db.page_size, (page - 1) * db.page_size + 4 + take))
        page = int.from_bytes(link[:4], "big")
    return bytes(data), np.array(places, dtype=np.int64)


def decode_record(payload: bytes, encoding: str) -> tuple[Value, ...] | None:
    """The values of a record in the record format (§ 2.1), or None where it is none."""
    header, at = varint(payload, 0)
    if not at <= header <= len(payload):
        return None
    values: list[Value] = []
    body = header
    while at < header:
        serial, at = varint(payload, at)
        size = serial_size(serial)
        if size is None or at > header or body + size > len(payload):
            return None
        values.append(_value(serial, payload[body : body + size], encoding))
        body += size
    return tuple(values)


def serial_size(serial: int) -> int | None:
    """How many bytes a value of this serial type takes; None for the two reserved types."""
    if serial >= 12:
        return (serial - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, None, None)[serial] if serial >= 0 else None


def _value(serial: int, data: bytes, encoding: str) -> Value:
    if serial == 0:
        return None
    if serial <= 6:
        return int.from_bytes(data, "big", signed=True)
    if serial == 7:
        return float(np.frombuffer(data, dtype=">f8")[0])
    if serial <= 9:
        return serial - 8
    if serial % 2 == 0:
        return data
    return data.decode(encoding, errors="replace")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends; ends behind the data if it is cut off."""
    value = 0
    for nth in range(9):
        if at >= len(data):
            return 0, len(data) + 1
        byte = data[at]
        at += 1
        if nth == 8:
            return (value << 8 | byte) - (1 << 64 if value >> 55 else 0), at
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, at
