# ruff: noqa: S608 (names cannot be bound; `quoted` quotes them)
"""Reading a PostgreSQL database: what it holds, where copies are, and its records. Changes nothing.

Each call opens its own session and reads in one transaction, so that a partition is one state of the
database.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.scope import Counts, Selection
from cenotaph.store import (
    NOTHING_AROUND,
    Collection,
    Copy,
    Extent,
    Finding,
    Grade,
    Keeper,
    Partition,
    Passage,
    Restoration,
    Surroundings,
    Watermark,
)
from cenotaph.stores.postgres import privileges, rows, script
from cenotaph.stores.postgres.beneath import pages, raw
from cenotaph.stores.postgres.catalog import exposure, history, identity, large_objects, schema
from cenotaph.stores.postgres.catalog.within import Within
from cenotaph.stores.postgres.outside import attempts, copies
from cenotaph.stores.postgres.reclaiming import retire
from cenotaph.stores.postgres.session import Place, Session, driver_errors

KEYS_LOGGED = "the server may write bounds of partitions, which are keys, into its log: read as a superuser"

FROM_PAGES = "read from its pages: ordered by digest, and a row that is written again counts as drift"


def open_reader(
    url: str, selection: Selection, around: Surroundings = NOTHING_AROUND
) -> PostgresReader | Retired:
    """Read the database at `postgresql://user@host:port/dbname`, or what is left of a retired one.

    Raises:
        UsageError: the URL is not one.
        StoreError: the server does not answer, or refuses.
    """
    place = Place.of(url)
    try:
        return PostgresReader(place, selection, around)
    except TransientStoreError:
        if retire.gone(around):  # what does not answer, and has nothing left to be started with
            return Retired(around)
        raise


class PostgresReader:
    """`store.Reader` for one database of a server."""

    def __init__(self, place: Place, selection: Selection, around: Surroundings) -> None:
        self._place = place
        self._selection = large_objects.fitting(selection)
        self._around = around
        self._beside: Within | None = None
        self._of_server: tuple[Copy, ...] | None = None
        with self._session() as session:
            self.capabilities = copies.capabilities(session, around)

    def collections(self) -> Sequence[Collection]:
        with self._reading() as view:
            listed = large_objects.listed(view.session, view.schema, self._selection)
            self._beside = self._of_server = None
            return [self._collection(view, ordinal, table) for ordinal, table in enumerate(listed.tables)]

    def copies(self, collection: Collection) -> Sequence[Copy]:
        """Other places, in the database and around it, that may hold rows of the collection."""
        with self._reading(None if self._beside is None else collection.name) as view:
            return self._copies(view, _named(view, collection))

    def partitions(self, collection: Collection) -> Sequence[Partition]:
        with self._reading(collection.name) as view:
            table = _named(view, collection)
            with driver_errors(f"collection {collection.ordinal}"):
                by_block = 0 if self._why_by_copy(view, table) else pages.PARTITION_RECORDS
                return [
                    Partition(
                        collection.ordinal, index, self._count(view, table, bounds).selected, bounds.dump()
                    )
                    for index, bounds in enumerate(rows.boundaries(view.session, table, by_block))
                ]

    def batches(self, partition: Partition) -> Iterator[pa.RecordBatch]:
        """As `store.Reader.batches`; nothing where the table is gone."""
        bounds = rows.Bounds.load(partition.bounds)
        name = schema.collection_name(bounds.schema, bounds.relation)
        with self._reading(name) as view, driver_errors(f"collection {partition.collection}"):
            table = view.schema.table(name)
            if table is not None and (bounds.by_key or self._why_by_copy(view, table)):
                yield from rows.selected(view.session, table, bounds, self._selection)
            elif table is not None:
                yield from self._from_pages(view.session, table, bounds, partition.records)

    def watermark(self, collection: Collection) -> Watermark:
        """The number of rows of the table, and the sum of the transactions that wrote them."""
        with self._reading(collection.name) as view:
            table = _named(view, collection)
            with driver_errors(f"collection {collection.ordinal}"):
                found = view.session.rows(
                    f"SELECT count(*), coalesce(sum(xmin::text::int8), 0) FROM {table.sql()}"
                )
        return Watermark("rows {} transactions {}".format(*found[0]))

    def exposures(self) -> Sequence[str]:
        """As `store.Served.exposures`."""
        with self._reading() as view:
            today = datetime.datetime.now(datetime.UTC).date()
            return list(exposure.exposures(view.session, self._in_scope(view), today))

    def last_write(self) -> str | None:
        """As `store.Served.last_write`."""
        with self._reading() as view:
            return exposure.last_write(view.session, self._in_scope(view))

    def raw(self) -> Iterator[Extent]:
        with self._session() as session:
            known = schema.read(session)
            found = list(raw.extents(session, self._session, known, self._selection, self._around))
            found += copies.extents(session, self._selection, self._around)
        yield from found

    def keeper(self) -> Keeper | None:
        """As `store.Served.keeper`. A standby that is promoted, as any recovery, begins a timeline."""
        with self._session() as session:
            known = identity.read(session)
            if known is None:
                return None
            return Keeper(known, frozenset(str(number) for (number,) in session.rows(raw.OTHERS)))

    def restorations(
        self, erased: frozenset[str], scratch: Path, volume: int
    ) -> tuple[Sequence[Restoration], Sequence[str]]:
        """As `store.Restorable.restorations`."""

        def count(place: Place) -> tuple[int, int]:
            found = PostgresReader(place, self._selection, NOTHING_AROUND).collections()
            rows = sum(one.records + one.held + one.kept for one in found)
            return rows, sum(one.records for one in found if one.name in erased)

        with self._session() as session:
            return attempts.attempt(session, self._around, count, scratch, volume)

    def started(self) -> int:
        """As `store.Served.started`."""
        with self._session() as session:
            return int(session.one("SELECT extract(epoch FROM pg_postmaster_start_time())::int8"))

    def script(
        self, chosen: Sequence[tuple[Collection, Sequence[Partition]]], shared: frozenset[str]
    ) -> Iterable[Passage]:
        """As `store.Scripted.script`."""
        with self._session() as session:
            return list(script.passages(session, self._selection, chosen, shared, self._around))

    def checks(self, asked: Grade, shared: frozenset[str], *, erasing: bool) -> Iterable[Finding]:
        """As `store.Checked.checks`."""
        with self._reading() as view:
            absent = schema.LARGE_OBJECTS if self._within(view).objects is None else None
            tables = tuple(
                table
                for table in view.schema.tables
                if self._selection.includes(table.name) and table.oid != absent
            )
            found = tuple(copy for table in tables for copy in self._copies(view, table))
            scene = privileges.Scene(
                view.session, view.schema, tables, self._selection, found, asked, shared, self._around
            )
            return list(privileges.erasing(scene) if erasing else privileges.reading(scene))

    def close(self) -> None:
        """Nothing stays open between calls."""

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = Session(self._place)
        try:
            with driver_errors("the database"):
                yield session
        finally:
            session.close()

    @contextmanager
    def _reading(self, only: str | None = None) -> Iterator[_View]:
        """One state of the database: all of its tables, or the one of this name."""
        with self._session() as session:
            yield _View(session, schema.read(session, only))

    def _copies(self, view: _View, table: schema.Table) -> list[Copy]:
        return [
            *self._within(view).copies(table, self._selection),
            *copies.of_table(view.session, table),
            *self._outside(view),
        ]

    def _outside(self, view: _View) -> tuple[Copy, ...]:
        """What the whole server has of copies, as it was when collections were last asked for."""
        if self._of_server is None:
            self._of_server = tuple(copies.of_server(view.session, self._selection, self._around))
        return self._of_server

    def _in_scope(self, view: _View) -> list[schema.Table]:
        listed = large_objects.listed(view.session, view.schema, self._selection)
        return [table for table in listed.tables if self._selection.includes(table.name)]

    def _within(self, view: _View) -> Within:
        """What is beside the tables, as it was when collections were last asked for."""
        if self._beside is None:
            self._beside = Within.read(view.session, view.schema)
        return self._beside

    def _why_by_copy(self, view: _View, table: schema.Table) -> str:
        """Why a table is read by COPY; empty where its pages are read."""
        if not self._around.pages:
            return "the case does not say otherwise"
        return pages.why_not(view.session, self._around, table)

    def _from_pages(
        self, session: Session, table: schema.Table, bounds: rows.Bounds, surveyed: int
    ) -> Iterator[pa.RecordBatch]:
        reading = pages.Reading(session, pages.lay_out(session, self._around, table))
        selected = 0
        for piece in rows.of_these(reading.batches(bounds), table, self._selection):
            selected += piece.num_rows
            yield piece
        if selected != surveyed:  # the server counted those
            reading.agree(bounds)

    def _collection(self, view: _View, ordinal: int, table: schema.Table) -> Collection:
        with driver_errors(f"collection {ordinal}"):
            counts = self._count(view, table, rows.Bounds.of(table))
            why = self._why_by_copy(view, table)
        notes = [KEYS_LOGGED] if why and table.key and view.session.logs_keys() else []
        if self._around.pages:
            notes.append(f"read by COPY, not from its pages: {why}" if why else FROM_PAGES)
        if counts.unconverted:
            notes.append(f"{counts.unconverted} values could not be compared with the row condition")
        notes += history.notes(self._within(view).history, table, self._selection)
        return Collection(
            ordinal,
            table.name,
            table.format,
            table.columns,
            counts.selected,
            counts.held,
            counts.kept,
            table.bytes,
            table.order if why else "digest",  # what lies in a file is in no order
            tuple(notes),
        )

    def _count(self, view: _View, table: schema.Table, bounds: rows.Bounds) -> Counts:
        whole = self._selection.whole(table.name, table.names())
        if whole or not self._selection.includes(table.name):
            count = rows.count(view.session, table, bounds)
            return Counts(count, 0, 0, 0) if whole else Counts(0, 0, count, 0)
        with self._session() as session:  # reading rows ends the session that reads them
            return self._selection.count(table.name, rows.deciding(session, table, bounds, self._selection))


class Retired:
    """`store.Reader` where a server was: nothing, and whatever is left in its directory."""

    def __init__(self, around: Surroundings) -> None:
        self.capabilities = retire.reachable(around)
        self._around = around

    def collections(self) -> Sequence[Collection]:
        return []

    def copies(self, collection: Collection) -> Sequence[Copy]:
        return []

    def partitions(self, collection: Collection) -> Sequence[Partition]:
        return []

    def batches(self, partition: Partition) -> Iterator[pa.RecordBatch]:
        return iter(())

    def watermark(self, collection: Collection) -> Watermark:
        return Watermark("gone")

    def raw(self) -> Iterator[Extent]:
        yield from raw.remains(self._around)
        yield from copies.remains(self._around)

    def keeper(self) -> None:
        """As `store.Served.keeper`."""

    def started(self) -> None:
        """As `store.Served.started`."""

    def exposures(self) -> Sequence[str]:
        """As `store.Served.exposures`: nobody can connect."""
        return []

    def last_write(self) -> None:
        """As `store.Served.last_write`."""

    def close(self) -> None:
        """Nothing was opened."""


class _View(NamedTuple):
    session: Session
    schema: schema.Schema


def _named(view: _View, collection: Collection) -> schema.Table:
    table = view.schema.table(collection.name)
    if table is None:
        raise PermanentStoreError(f"collection {collection.ordinal} is no longer there", hint="survey again")
    return table
