"""Reading a SQLite database: what it holds, where copies are, and its records. Changes nothing.

Each call opens its own connection and reads in one transaction, so that a partition is one state
of the database. Rows are addressed by rowid, or by primary key in WITHOUT ROWID tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa

from cenotaph.durable import WIPED, Beneath, filesystem, reflinked
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.scope import Counts, Selection
from cenotaph.store import (
    NOTHING_AROUND,
    Capabilities,
    Collection,
    Copy,
    Disposition,
    Extent,
    Grade,
    Partition,
    Surroundings,
    Watermark,
)
from cenotaph.stores.sqlite import raw, rows, schema
from cenotaph.stores.sqlite.database import (
    SUFFIXES,
    Connection,
    Place,
    close_apart,
    connect_reader,
    driver_errors,
    fingerprint,
    last_write,
    quoted,
)

WITHOUT_LOCKS = "write-ahead mode without a log: read without locks, the file's times compared afterwards"


def open_reader(url: str, selection: Selection, around: Surroundings = NOTHING_AROUND) -> SqliteReader:
    """Read the database at `sqlite:/abs/path.db`.

    A database that is not there can be opened: it has no records and its copies may be left.
    """
    return SqliteReader(Place.of(url), selection)


class SqliteReader:
    """`store.Reader` for one database file."""

    def __init__(self, place: Place, selection: Selection) -> None:
        self._place = place
        self._selection = selection
        with driver_errors("the database"):
            self.capabilities = capabilities(place)

    def collections(self) -> Sequence[Collection]:
        """None where the database is gone.

        Raises:
            PermanentStoreError: it is corrupt, encrypted or no database.
            TransientStoreError: it is locked, changed meanwhile, or must first recover from a crash.
        """
        if not self._place.exists():
            return []
        with self._reading() as view:
            sizes = _sizes(view)
            return [self._collection(view, ordinal, sizes) for ordinal in range(len(view.schema.tables))]

    def copies(self, collection: Collection) -> Sequence[Copy]:
        """Files beside the database, and places inside it, that may hold rows of the collection."""
        with driver_errors("the database"):
            found = [*self._files()]
        if not self._place.exists():
            return found
        with self._reading() as view:
            found += _inside(view, _named(view, collection))
        return found

    def partitions(self, collection: Collection) -> Sequence[Partition]:
        if not self._place.exists():
            return []
        with self._reading() as view:
            table = _named(view, collection)
            schema.needs_key(table, collection.ordinal)
            whole = self._selection.whole(table.name, table.names())
            with driver_errors(f"collection {collection.ordinal}"):
                return [
                    Partition(
                        collection.ordinal,
                        index,
                        self._count(view, table, bounds, whole).selected,
                        bounds.dump(),
                    )
                    for index, bounds in enumerate(list(rows.boundaries(view.link.db, table)))
                ]

    def batches(self, partition: Partition) -> Iterator[pa.RecordBatch]:
        """As `store.Reader.batches`; nothing where the database, or the table, is gone."""
        if not self._place.exists():
            return
        bounds = rows.Bounds.load(partition.bounds)
        with self._reading() as view, driver_errors(f"collection {partition.collection}"):
            table = view.schema.table(bounds.table)
            if table is not None:
                for piece in rows.selected(view.link.db, table, bounds, self._selection):
                    yield piece.batch

    def watermark(self, collection: Collection) -> Watermark:
        """The number of rows of the table, and what moves when anything in the file is written."""
        if not self._place.exists():
            return Watermark("gone")
        with self._reading() as view:
            table = _named(view, collection)
            with driver_errors(f"collection {collection.ordinal}"):
                count = _count_rows(view, table, rows.Bounds(table.name))
        return Watermark(f"rows {count} {last_write(self._place)}")

    def raw(self) -> Iterator[Extent]:
        with driver_errors("the database"):
            yield from raw.extents(self._place, self._selection)

    def close(self) -> None:
        """Nothing stays open between calls."""

    @contextmanager
    def _reading(self) -> Iterator[_View]:
        if not self._place.exists():
            raise PermanentStoreError("the database is not there")
        with driver_errors("the database"), reading(self._place) as (link, immutable):
            yield _View(link, schema.read(link.db), immutable)

    def _collection(self, view: _View, ordinal: int, sizes: dict[str, int]) -> Collection:
        table = view.schema.tables[ordinal]
        whole = self._selection.whole(table.name, table.names())
        with driver_errors(f"collection {ordinal}"):
            counts = self._count(view, table, rows.Bounds(table.name), whole)
        notes = [WITHOUT_LOCKS] if view.immutable else []
        if counts.unconverted:
            notes.append(f"{counts.unconverted} values could not be compared with the row condition")
        if not sizes:
            notes.append("bytes not measured: this SQLite has no dbstat")
        return Collection(
            ordinal,
            table.name,
            table.format,
            table.columns,
            counts.selected,
            counts.held,
            counts.kept,
            sum(sizes.get(name, 0) for name in _storage(view, table)),
            "key",
            tuple(notes),
        )

    def _count(self, view: _View, table: schema.Table, bounds: rows.Bounds, whole: bool) -> Counts:
        if whole or not self._selection.includes(table.name):
            count = _count_rows(view, table, bounds)
            return Counts(count, 0, 0, 0) if whole else Counts(0, 0, count, 0)
        pieces = rows.slices(view.link.db, table, bounds)
        return self._selection.count(table.name, (piece.batch for piece in pieces))

    def _files(self) -> Iterator[Copy]:
        for suffix, kind in zip(SUFFIXES, raw.KINDS, strict=True):
            if self._place.holds(suffix):
                path = self._place.beside(suffix)
                yield Copy(kind, os.fsdecode(path), os.lstat(path).st_size, Disposition.DESTROY)
        for name in self._place.siblings():
            path = os.path.join(self._place.directory, name)
            yield Copy("backup sibling", os.fsdecode(path), os.lstat(path).st_size, Disposition.REACH_NOT)
        if self._place.exists() and os.lstat(self._place.beside()).st_nlink > 1:
            yield Copy("hard link", "", 0, Disposition.REACH_NOT)


@contextmanager
def reading(place: Place) -> Iterator[tuple[Connection, bool]]:
    """A read transaction.

    Raises:
        TransientStoreError: the file was changed while it was read without locks.
    """
    link, immutable = connect_reader(place)
    fd = os.open(place.beside(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    before = fingerprint(fd)
    try:
        yield link, immutable
        if immutable and (fingerprint(fd) != before or place.holds(b"-wal")):
            raise TransientStoreError("the database was changed while it was read", hint="run again")
    finally:
        close_apart(fd)
        link.close()


def capabilities(place: Place) -> Capabilities:
    """What overwriting and unlinking mean where the database lives."""
    with Beneath(place.directory) as directory:
        kind = filesystem(directory.fd)
        if kind.layered:
            return Capabilities(Grade.L1, f"the file system {kind.kind} {kind.why_not}")
        if place.exists():
            fd = directory.open(place.name, os.O_RDONLY)
            try:
                shared = reflinked(fd)
            finally:
                close_apart(fd)
            if shared:
                return Capabilities(Grade.L2, "another file or a snapshot shares blocks with the database")
        if not kind.overwrites_in_place:
            return Capabilities(Grade.L2, f"the file system {kind.kind} {kind.why_not}")
        if kind.kind not in WIPED:
            return Capabilities(Grade.L2, f"free blocks of the file system {kind.kind} are not wiped")
        return Capabilities(Grade.L3, "the medium beneath the volume is not reached")


class _View(NamedTuple):
    link: Connection
    schema: schema.Schema
    immutable: bool


def _named(view: _View, collection: Collection) -> schema.Table:
    table = view.schema.table(collection.name)
    if table is None:
        raise PermanentStoreError(f"collection {collection.ordinal} is no longer there", hint="survey again")
    return table


def _count_rows(view: _View, table: schema.Table, bounds: rows.Bounds) -> int:
    where, values = rows.condition(table, bounds)
    return int(
        view.link.db.execute(f"SELECT count(*) FROM {quoted(table.name)} WHERE {where}", values).fetchone()[0]
    )


def _storage(view: _View, table: schema.Table) -> list[str]:
    """The b-trees that belong to a table, by name."""
    indexes = view.link.db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?", (table.name,)
    )
    return [table.name, *table.shadows, *(name for (name,) in indexes)]


def _sizes(view: _View) -> dict[str, int]:
    """Bytes of each b-tree's pages; empty where this SQLite cannot tell (dbstat is a compile option)."""
    if not view.link.db.execute("SELECT 1 FROM pragma_module_list WHERE name = 'dbstat'").fetchone():
        return {}
    return dict(view.link.db.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE"))


def _inside(view: _View, table: schema.Table) -> Iterator[Copy]:
    db, sizes = view.link.db, _sizes(view)
    free = db.execute("PRAGMA freelist_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]
    if free:
        yield Copy("freed pages", "", free, Disposition.DESTROY)
    if table.shadows:
        kind = "fts shadow" if table.full_text else "r-tree shadow"
        yield Copy(kind, table.name, sum(sizes.get(name, 0) for name in table.shadows), Disposition.DESTROY)
    for index in view.schema.indexes:
        if index.content == table.name:
            size = sum(sizes.get(name, 0) for name in index.shadows)
            yield Copy("fts shadow", index.name, size, Disposition.DESTROY)
    for name in statistics(view.link):
        if db.execute(f"SELECT 1 FROM {name} WHERE tbl = ? LIMIT 1", (table.name,)).fetchone():
            yield Copy("statistics", name, sizes.get(name, 0), Disposition.DESTROY)


def statistics(link: Connection) -> list[str]:
    """The statistics tables there are; sqlite_stat4 holds values of indexed columns."""
    found = link.db.execute(
        "SELECT name FROM sqlite_schema WHERE name IN ('sqlite_stat1', 'sqlite_stat3', 'sqlite_stat4')"
    )
    return [name for (name,) in found]
