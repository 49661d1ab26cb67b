# ruff: noqa: S608 (names cannot be bound; `quoted` quotes them)
"""Erasing from a PostgreSQL database: a table at once or in one transaction a partition, then the bytes left.

What surprised the author: ON DELETE CASCADE and SET NULL change rows of tables that nobody named, as the
owner of the table and silently, so that such rows have to be looked for before the first one goes; and in a
cycle of foreign keys no order is right, which leaves a session that acts as a replica, where none is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import (
    AT_ONCE,
    AWAITS_RETIREMENT,
    NOTHING_AROUND,
    Assignment,
    Class,
    Collection,
    Column,
    Command,
    Erasure,
    Grade,
    Partition,
    PartitionSeal,
    Progress,
    Reclamation,
    State,
    Surroundings,
)
from cenotaph.stores.postgres import commands, rows, whole
from cenotaph.stores.postgres.catalog import identity, large_objects, publications, references, schema
from cenotaph.stores.postgres.catalog.schema import Schema, Table
from cenotaph.stores.postgres.reclaiming import overwrite, reclaim, retire
from cenotaph.stores.postgres.session import TID, Denied, Place, Referred, Session, Tids, driver_errors
from cenotaph.stores.postgres.wire import types
from cenotaph.stores.postgres.writing import Writer

_LOGGED = "the server may have logged statements of the erasing session, without values"
PLACES_AT_ONCE = 1 << 18  # one statement a partition: each may read a small table anew


def open_eraser(
    url: str,
    selection: Selection,
    shared: frozenset[str] = frozenset(),
    around: Surroundings = NOTHING_AROUND,
) -> PostgresEraser:
    """Erase from the database at `postgresql://user@host:port/dbname`.

    Raises:
        UsageError: the URL is not one.
        StoreError: the server does not answer, or refuses.
    """
    return PostgresEraser(Place.of(url), selection, shared, around)


class PostgresEraser:
    """`store.Eraser`, `Ordered`, `Wholesale` and `Retiring` for one database of a server."""

    def __init__(
        self, place: Place, selection: Selection, shared: frozenset[str], around: Surroundings
    ) -> None:
        self._place, self._selection = place, large_objects.fitting(selection)
        self._shared, self._around = shared, around
        self._writer: Writer | None = None
        self._mended = False
        self._ask: Callable[[], None] = lambda: None

    def order(self, collections: Sequence[Collection]) -> list[int]:
        """Ordinals: tables that refer to others before those."""
        return in_order(self._open(), collections)

    def erase(self, partition: Partition, sealed: PartitionSeal, progress: Progress) -> Erasure:
        """As `store.Eraser.erase`. All of a partition goes in one transaction, or nothing of it."""
        writer, what = self._open(), f"collection {partition.collection}"
        bounds = rows.Bounds.load(partition.bounds)
        with driver_errors(what):
            with writer.transaction():
                name = schema.collection_name(bounds.schema, bounds.relation)
                writer.lock(_found(schema.read(writer, name), bounds, what), what)
                known = schema.read(writer)  # once more: beneath the lock nobody can alter the table
                table = _found(known, bounds, what)
                rest = _Rest(writer, table, bounds, self._selection, what)
                with closing(Session(self._place)) as session:
                    remaining = rest.check(session, sealed, progress)
                if remaining:
                    rest.clear_the_way(known)
                if progress.begun is None:
                    progress.begin({"records": sealed.records})
                notes = rest.delete() if remaining else ()
            self._read_empty(table, bounds, what)
        progress.advance(sealed.records, 0)
        return _erased(sealed.records, remaining, remaining, notes)

    def mend(self) -> None:
        """As `store.Wholesale.mend`: what `_open` does first."""
        if not retire.gone(self._around):
            self._open()

    def erase_whole(self, collection: Collection, parts: Iterable[Assignment]) -> Sequence[Erasure] | None:
        """As `store.Wholesale.erase_whole`: one TRUNCATE, which nobody sees before all of it is compared."""
        writer, what = self._open(), f"collection {collection.ordinal}"
        with driver_errors(what):
            group = self._goes_at_once(collection)
            if group is None:
                return None
            where = overwrite.place(writer, self._around)  # else the refusal would come once it was read
            overwrite.refuse_lasting(writer, group)
            with writer.transaction():
                group = self._locked(collection, group, what)
                if group is None:
                    return None
                table = group[0]
                compared = [(one, self._compare(table, one, what)) for one in parts]
                remaining = sum(count for _, count in compared)
                if remaining != rows.count(writer, table, rows.Bounds.of(table)):
                    raise DriftError(
                        f"{what} has rows in none of its partitions", hint="survey and seal again"
                    )
                for each in group if remaining else ():
                    overwrite.shut(writer, each)
                for one, _ in compared:
                    if one.progress.begun is None:
                        one.progress.begin({"records": one.sealed.records, AT_ONCE: 1})
                if remaining:
                    self._mended = False  # until the commit
                    overwrite.replace(writer, self._around, where, group)
            self._mended = True
            self._read_empty(table, rows.Bounds.of(table), what)
        for one, _ in compared:
            one.progress.advance(one.sealed.records, 0)
        silent = () if writer.silent else (_LOGGED,)
        return [_erased(one.sealed.records, count, remaining, silent) for one, count in compared]

    def _goes_at_once(self, collection: Collection) -> list[Table] | None:
        """The table and those that have to be truncated with it; None where it has to be deleted from."""
        writer = self._open()
        known, found = schema.read(writer), references.read(writer)
        return whole.group(writer, collection, known, found, self._selection)

    def _locked(self, collection: Collection, group: Sequence[Table], what: str) -> list[Table] | None:
        """The tables of a group as they are once nobody can alter or write them; None where they are others
        by now, or one that refers to the first still has rows."""
        writer = self._open()
        for table in group:
            writer.lock(table, what)
        now = self._goes_at_once(collection)
        if now is None or {table.oid for table in now} != {table.oid for table in group}:
            return None
        return now if all(overwrite.is_empty(writer, child) for child in now[1:]) else None

    def _compare(self, table: Table, one: Assignment, what: str) -> int:
        bounds = rows.Bounds.load(one.partition.bounds)
        rest = _Rest(self._open(), table, bounds, self._selection, what)
        with closing(Session(self._place)) as session:
            return rest.check(session, one.sealed, one.progress)

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        """As `store.Eraser.reclaim`: rewrites the tables, and what of the server the case shares."""
        if retire.gone(self._around):
            return Reclamation(Grade.L1, AWAITS_RETIREMENT, 0, 0)  # as far as this session can tell
        with driver_errors("the server"):
            names = [collection.name for collection in collections]
            writer, self._mended = self._open(), False
            done = reclaim.run(writer, names, self._selection, self._shared, self._around, self._ask)
            self._mended = True
            return done

    def heed(self, ask: Callable[[], None]) -> None:
        """As `store.Heeding.heed`."""
        self._ask = ask

    def retire(self, known: State | None, begin: Callable[[State], None]) -> Reclamation:
        """As `store.Retiring.retire`."""
        self.close()
        return retire.run(self._place, self._around, known, begin)

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _open(self) -> Writer:
        if self._writer is None or self._writer.lost:
            self._writer, self._mended = _known(self._place, self._around), False
        if not self._mended:
            with driver_errors("the server"):
                overwrite.mend(self._writer, self._around)
            self._mended = True
        return self._writer

    def _read_empty(self, table: Table, bounds: rows.Bounds, what: str) -> None:
        with closing(Session(self._place)) as session:
            left = rows.deciding(session, table, bounds, self._selection)
            if self._selection.count(table.name, left).selected:
                raise PermanentStoreError(
                    f"{what} still has records after they were deleted", hint="see who writes to it"
                )


def in_order(session: Session, collections: Sequence[Collection]) -> list[int]:
    """Ordinals: tables that are gone, then those that refer to others before those."""
    found = schema.read(session)
    ordinals = {
        table.oid: collection.ordinal
        for collection in collections
        if (table := found.table(collection.name)) is not None
    }
    gone = [c.ordinal for c in collections if c.ordinal not in ordinals.values()]
    ordered = references.order(list(ordinals), references.read(session))
    return [*gone, *(ordinals[oid] for oid in ordered)]


def cycle_of(
    table: Table, known: Schema, found: Sequence[references.Reference], selection: Selection
) -> frozenset[int]:
    """The tables of a cycle of foreign keys that this one is in, where all of them go whole: then none of
    these keys is checked on the way. Else nothing."""
    cycle = references.in_cycles(found).get(table.oid, frozenset())
    tables = {one.oid: one for one in known.tables}
    whole = all(selection.whole(tables[oid].name, tables[oid].names()) for oid in cycle)
    return cycle if whole else frozenset()


def _erased(sealed: int, found: int, remaining: int, notes: tuple[str, ...]) -> Erasure:
    """Of a partition of which `found` were there, and `remaining` of all that went with it. Of one of which
    some, or none while others still had rows, were missing, nobody knows who took them."""
    if found == sealed or not remaining:
        return Erasure(sealed, Class.AS_SEALED, 0, 0, notes)
    gone = f"{sealed - found} records had gone before they could be erased"
    return Erasure(sealed, Class.UNKNOWN, 0, 0, (*notes, gone))


def _found(known: Schema, bounds: rows.Bounds, what: str) -> Table:
    table = known.table(schema.collection_name(bounds.schema, bounds.relation))
    if table is None:
        raise DriftError(f"{what} is no longer there", hint="survey and seal again")
    return table


class _Rest:
    """The selected rows of one partition, as they are found beneath the lock."""

    def __init__(
        self, writer: Writer, table: Table, bounds: rows.Bounds, selection: Selection, what: str
    ) -> None:
        self._writer, self._table, self._bounds = writer, table, bounds
        self._selection, self._what = selection, what
        self._whole = selection.whole(table.name, table.names())
        self._places: list[_PlaceArray] = []
        self._found = 0

    def check(self, session: Session, sealed: PartitionSeal, progress: Progress) -> int:
        """Show the rows to the seal; how many there are."""
        begun = progress.begun
        if begun is not None and not begun.get(AT_ONCE):
            return sealed.check_remaining(self._batches(session))
        found = self._batches(session)
        first = next(found, None)
        if first is None and begun is not None:  # what went at once went whole
            return 0
        sealed.check(chain([] if first is None else [first], found))
        return sealed.records

    def clear_the_way(self, known: Schema) -> None:
        """Look for what would change with the rows, before anything has begun.

        Raises:
            PermanentStoreError: something would.
        """
        self._refuse_rules()
        if publications.refuses_deletion(self._writer, self._table.oid):
            raise PermanentStoreError(
                f"{self._what} is published, and has no key by which subscribers could tell what was deleted",
                hint="its owner can say: ALTER TABLE … REPLICA IDENTITY FULL; or drop the publication",
            )
        found = references.read(self._writer)
        if not self._goes_without_checks(known, found):
            self._refuse_referring([r for r in found if r.parent == self._table.oid and r.follows])

    def delete(self) -> tuple[str, ...]:
        """Delete what was checked, once the way is clear; what there is to note.

        Raises:
            DriftError: another number of rows went than was checked; the caller rolls back.
            PermanentStoreError: rows that stay refer to some of these.
        """
        suspended = references.triggers(self._writer, self._table)
        where = rows.condition(self._writer, self._table, self._bounds) if self._whole else None
        removal = commands.Removal.of(self._table, where, suspended)
        for command in removal.before:
            self._writer.run(command)
        try:
            gone = self._delete(removal.deletion)
            for command in removal.after:
                self._writer.run(command)
        except Referred:
            raise PermanentStoreError(
                f"{self._what}: records that stay refer to some of these",
                hint="take the tables that refer to it into the scope, or leave it out of the plan",
            ) from None
        if gone != self._found:
            raise DriftError(f"{self._what} changed while it was locked: {gone} rows for {self._found}")
        notes: tuple[str, ...] = ()
        if suspended:
            notes += (
                f"{len(suspended)} triggers did not run: what they maintain is erased where it is in scope",
            )
        if not self._writer.silent:
            notes += (_LOGGED,)
        return notes

    def _batches(self, session: Session) -> Iterator[pa.RecordBatch]:
        if self._whole:
            for piece in rows.selected(session, self._table, self._bounds, self._selection):
                self._found += piece.num_rows
                yield piece
            return
        for piece in rows.selected(session, _located(self._table), self._bounds, self._selection):
            self._found += piece.num_rows
            self._places.append(_places(piece.column(0)))
            yield piece.select(range(1, piece.num_columns))

    def _refuse_rules(self) -> None:
        if self._writer.rows(
            "SELECT 1 FROM pg_rewrite WHERE ev_class = $1::int8 AND ev_type = '4' AND ev_enabled <> 'D'",
            self._table.oid,
        ):
            raise PermanentStoreError(
                f"{self._what} has a rule that rewrites deletions", hint="its owner can disable the rule"
            )

    def _goes_without_checks(self, known: Schema, found: Sequence[references.Reference]) -> bool:
        """In a cycle of foreign keys whose tables all go whole, no foreign key is checked on the way."""
        cycle = cycle_of(self._table, known, found, self._selection)
        if not cycle:
            return False
        outside = [r for r in found if r.parent == self._table.oid and r.child not in cycle]
        self._refuse_referring(outside)
        try:
            self._writer.run(commands.REPLICA)
        except Denied:
            raise PermanentStoreError(
                f"{self._what} is in a cycle of foreign keys, which this role cannot suspend",
                hint="GRANT SET ON PARAMETER session_replication_role TO it (PostgreSQL 15), or a superuser",
            ) from None
        return True

    def _refuse_referring(self, found: Sequence[references.Reference]) -> None:
        for reference in found:
            if self._is_referred_to(reference):
                raise PermanentStoreError(
                    f"{self._what}: records of another table refer to some of these, and would change with"
                    " them, or be left without them",
                    hint="take that table into the scope, or leave this one out of the plan",
                )

    def _is_referred_to(self, reference: references.Reference) -> bool:
        """Whether a row that stays refers to one that goes."""
        on = reference.joined("c", "p")
        mine = reference.child == self._table.oid
        if self._whole:
            where = rows.condition(self._writer, self._table, self._bounds)
            gone = f"(SELECT * FROM {self._table.sql()} WHERE {where})"
            return bool(
                self._writer.rows(f"SELECT 1 FROM {gone} p JOIN ONLY {reference.name} c ON {on} LIMIT 1")
            )
        stays = "AND c.ctid <> ALL ($2::tid[])" if mine else ""
        all_of_them = [tids(np.concatenate(self._places))] if mine and self._places else []
        return any(
            self._writer.rows(
                f"SELECT 1 FROM {self._table.sql()} p JOIN ONLY {reference.name} c ON {on}"
                f" WHERE p.ctid = ANY ($1::tid[]) {stays} LIMIT 1",
                some,
                *all_of_them,
            )
            for some in self._some_places()
        )

    def _delete(self, deletion: Command) -> int:
        if self._whole:
            return self._writer.run(deletion)
        return sum(self._writer.run(deletion, some) for some in self._some_places())

    def _some_places(self) -> Iterator[Tids]:
        if self._places:
            places = np.concatenate(self._places)
            for start in range(0, len(places), PLACES_AT_ONCE):
                yield tids(places[start : start + PLACES_AT_ONCE])


def _known(place: Place, around: Surroundings) -> Writer:
    """A session with the database that was surveyed, and with no other. Raises: PermanentStoreError."""
    writer = Writer(place)
    try:
        with driver_errors("the server"):
            identity.check(writer, around.keeper)
    except BaseException:
        writer.close()
        raise
    return writer


def _located(table: Table) -> Table:
    """The table with the place of each row before its columns."""
    return replace(
        table,
        columns=(Column("ctid", "tid"), *table.columns),
        values=("ctid", *table.values),
        decoders=(types.tagged("postgresql:tid"), *table.decoders),
    )


_PlaceArray: TypeAlias = npt.NDArray[np.void]


def _places(column: pa.Array) -> _PlaceArray:
    """Block and line of each row, as the wire has them: six bytes that may end in zeros."""
    fixed = column.storage.cast(pa.binary(6))
    raw = np.frombuffer(fixed.buffers()[1], np.dtype("V6"))
    return raw[fixed.offset : fixed.offset + len(fixed)].copy()


def tids(places: _PlaceArray) -> Tids:
    """An array of type tid in its binary form: dimensions, nulls, type, length, first index, and each value
    behind its length (array_send). As text it took longer to write than the rows to delete."""
    values = np.empty(len(places), np.dtype([("bytes", ">i4"), ("place", "V6")]))
    values["bytes"], values["place"] = 6, places
    return Tids(np.array([1, 0, TID, len(places), 1], ">i4").tobytes() + values.tobytes())
