"""The bytes of a SQLite database and of the files around it, for the probe.

Inside the database, bytes are *kept* where a live b-tree cell of a record that stays covers them
(`residue.sqlite_pages`). Everything else of the file, and every other file, is nobody's: a hit
there is residue.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterator, Set
from typing import Any

import numpy as np

from cenotaph.errors import PermanentStoreError, StoreError
from cenotaph.residue import sqlite_pages
from cenotaph.scope import Selection
from cenotaph.store import Extent, Ranges
from cenotaph.stores.sqlite import rows, schema
from cenotaph.stores.sqlite.database import SUFFIXES, Place, connect_reader, driver_errors, open_apart

KINDS = ("rollback journal", "wal", "shm")

_NONE: Ranges = np.zeros((0, 2), dtype=np.int64)


def extents(place: Place, selection: Selection) -> Iterator[Extent]:
    """The database, SQLite's files beside it, what a killed run left, and copies named after it."""
    if place.exists():
        yield _extent("database", place.beside(), kept_ranges(place, selection))
    for suffix, kind in zip(SUFFIXES, KINDS, strict=True):
        if place.holds(suffix):
            yield _extent(kind, place.beside(suffix), _NONE)
    for name in place.tombstones():
        yield _extent("tombstone", os.path.join(place.directory, name), _NONE)
    for name in place.siblings():
        yield _extent("backup sibling", os.path.join(place.directory, name), _NONE)


def kept_ranges(place: Place, selection: Selection) -> Ranges:
    """The bytes of live records that are held or out of scope; none where that cannot be told.

    It cannot while a log or a hot journal holds newer pages than the file, nor in a database that
    SQLite itself does not read. Finding too much is then the honest mistake.
    """
    if place.holds(b"-wal"):
        return _NONE
    try:
        kept = _kept(place, selection)
    except StoreError:
        return _NONE
    with open_apart(place.beside()) as stream:
        length = os.fstat(stream.fileno()).st_size
        try:
            return sqlite_pages.live_ranges(sqlite_pages.parse(stream, length), *kept)
        except PermanentStoreError:
            return _NONE


_Kept = tuple[set[str], dict[str, sqlite_pages.RowFilter]]


def _extent(kind: str, path: bytes, kept: Ranges) -> Extent:
    return Extent(kind, os.fsdecode(path), os.lstat(path).st_size, functools.partial(open_apart, path), kept)


def _kept(place: Place, selection: Selection) -> _Kept:
    """Names of tables that stay, and for those of which some rows go, a filter of the rows that stay."""
    link, _ = connect_reader(place)
    try:
        with driver_errors("the database"):
            found = schema.read(link.db)
            names = {sqlite_pages.SCHEMA, "sqlite_sequence"}
            filters: dict[str, sqlite_pages.RowFilter] = {}
            for table in found.tables:
                if selection.whole(table.name, table.names()):
                    continue
                going = _going(link.db, table, selection)
                names.add(table.name)
                names.update(_shadow_names(table, bool(going)))
                if going:
                    filters.update(_filters(table, going))
            names.update(_kept_indexes(found, names, filters))
            for name in ("sqlite_stat1", "sqlite_stat3", "sqlite_stat4"):
                names.add(name)
                filters[name] = functools.partial(_stays, _statistics_of(link.db, name, found, selection))
            return names, filters
    finally:
        link.close()


def _going(db: sqlite3.Connection, table: schema.Table, selection: Selection) -> set[rows.Key]:
    """The keys of the selected records."""
    if not selection.includes(table.name) or not table.key:
        return set()
    bounds = rows.Bounds(table.name)
    return {key for piece in rows.selected(db, table, bounds, selection) for key in piece.each_key()}


def _shadow_names(table: schema.Table, some_go: bool) -> Iterator[str]:
    """While some rows of a virtual table are to go, only its rows can be told apart, not its index."""
    for shadow in table.shadows:
        if not some_go or shadow.lower().endswith("_content"):
            yield shadow


def _filters(table: schema.Table, going: set[rows.Key]) -> Iterator[tuple[str, sqlite_pages.RowFilter]]:
    if table.format == "without rowid":
        yield table.name, functools.partial(_key_stays, going, len(table.key))
        return
    rowids = {key[0] for key in going}
    for name in (table.name, *(s for s in table.shadows if s.lower().endswith("_content"))):
        yield name, functools.partial(_stays, rowids)


def _stays(going: Set[Any], rowid: Any) -> bool:
    return rowid not in going


def _key_stays(going: Set[Any], width: int, values: Any) -> bool:
    return tuple(values[:width]) not in going


def _kept_indexes(
    found: schema.Schema, names: set[str], filters: dict[str, sqlite_pages.RowFilter]
) -> Iterator[str]:
    """Shadows of full-text indexes whose text stays, all of it."""
    for index in found.indexes:
        if index.content in names and index.content not in filters:
            yield from index.shadows


def _statistics_of(db: sqlite3.Connection, name: str, found: schema.Schema, selection: Selection) -> set[int]:
    """Rows of a statistics table that describe a table in scope."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone():
        return set()
    going = {part for table in found.tables if selection.includes(table.name) for part in table.storage()}
    return {rowid for rowid, table in db.execute(f"SELECT rowid, tbl FROM {name}") if table in going}
