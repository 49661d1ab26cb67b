"""Erasing from a SQLite database: rows in one transaction, then the bytes they leave.

What surprised the author: a DELETE may run the application's own triggers, which copy rows into
other tables; Python before 3.12 cannot switch triggers off. They are dropped and created again, from
the text the schema stored, in the transaction that deletes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import (
    NOTHING_AROUND,
    Class,
    Collection,
    Erasure,
    Partition,
    PartitionSeal,
    Progress,
    Reclamation,
    Surroundings,
)
from cenotaph.stores.sqlite import reclaim, rows, schema
from cenotaph.stores.sqlite.database import Place, driver_errors, quoted
from cenotaph.stores.sqlite.session import Session

Step = Callable[[str], None]
"""Told the name of each step before it is taken. Tests end the process there."""


def open_eraser(
    url: str,
    selection: Selection,
    shared: frozenset[str] = frozenset(),
    around: Surroundings = NOTHING_AROUND,
    *,
    step: Step = lambda _: None,
) -> SqliteEraser:
    """Erase from the database at `sqlite:/abs/path.db`. One process at a time can have one open:
    the database is locked from the first partition to `close`."""
    return SqliteEraser(Place.of(url), selection, step)


class SqliteEraser:
    """`store.Eraser` for one database file."""

    def __init__(self, place: Place, selection: Selection, step: Step) -> None:
        self._place = place
        self._selection = selection
        self._step = step
        self._session: Session | None = None

    def erase(self, partition: Partition, sealed: PartitionSeal, progress: Progress) -> Erasure:
        """As `store.Eraser.erase`. All of a partition goes in one transaction, or nothing of it."""
        session = self._open()
        before = session.overwritten
        session.lock()
        try:
            with driver_errors(f"collection {partition.collection}"):
                rest = _Rest(session.db, partition, self._selection)
            remaining = rest.check(sealed, progress)
            session.commit()  # nothing was changed, and the lock stays
        except BaseException:
            session.abandon()
            raise
        if progress.begun is None:
            self._step("begin")
            progress.begin({"records": sealed.records})
        notes = self._delete(session, rest) if remaining else self._done_before(session)
        progress.advance(sealed.records, session.overwritten - before)
        if remaining not in (0, sealed.records):
            notes += (f"{sealed.records - remaining} records had gone before they could be erased",)
        return Erasure(
            sealed.records,
            Class.AS_SEALED if remaining in (0, sealed.records) else Class.UNKNOWN,
            session.overwritten - before,
            0,
            notes,
        )

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        """As `store.Eraser.reclaim`: destroys the file if nothing in it stays, else rebuilds it."""
        erased = [collection.name for collection in collections]
        with driver_errors("the database"):
            if not self._place.exists():
                return reclaim.leftovers(self._place, self._step)
            if not erased:
                return reclaim.nothing(self._place)
            session = self._open()
            self._session = None  # the session ends inside: its file does
            return reclaim.run(session, erased, self._selection, self._step)

    def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()

    def _open(self) -> Session:
        if self._session is None:
            with driver_errors("the database"):
                self._session = Session(self._place)
        return self._session

    def _done_before(self, session: Session) -> tuple[str, ...]:
        """A run that was killed after its commit may not have come to overwrite the journal."""
        session.settle()
        return ()

    def _delete(self, session: Session, rest: _Rest) -> tuple[str, ...]:
        self._step("settle before")
        session.settle()
        session.lock()
        try:
            with driver_errors(f"collection {rest.ordinal}"):
                self._step("delete")
                suspended = rest.delete()
            self._step("commit")
            session.commit()
        except BaseException:
            session.abandon()
            raise
        self._step("settle after")
        session.settle()
        self._step("read empty")
        session.lock()
        try:
            with driver_errors(f"collection {rest.ordinal}"):
                rest.read_empty()
        finally:
            session.abandon()
        if not suspended:
            return ()
        return (
            f"{suspended} triggers did not run: what they maintain is erased where it is in scope itself",
        )


class _Rest:
    """The selected rows of one partition, as they are found under the lock."""

    def __init__(self, db: sqlite3.Connection, partition: Partition, selection: Selection) -> None:
        self.ordinal = partition.collection
        self._db = db
        self._selection = selection
        self._bounds = rows.Bounds.load(partition.bounds)
        table = schema.read(db).table(self._bounds.table)
        if table is None:
            raise DriftError(f"collection {self.ordinal} is no longer there", hint="survey and seal again")
        schema.needs_key(table, self.ordinal)
        self._table = table
        self._whole = selection.whole(table.name, table.names())
        self._keys: list[rows.Key] = []
        self._found = 0

    def check(self, sealed: PartitionSeal, progress: Progress) -> int:
        """Show the rows to the seal; how many there are."""
        if progress.begun is None:
            sealed.check(self._batches())
            return sealed.records
        return sealed.check_remaining(self._batches())

    def delete(self) -> int:
        """Delete what was checked, and count the triggers that did not run.

        Raises:
            DriftError: another number of rows went than was checked; the caller rolls back.
        """
        triggers = _triggers(self._db, self._table.name)
        for name, _ in triggers:
            self._db.execute(f"DROP TRIGGER {quoted(name)}")
        gone = self._delete_all() if self._whole else self._delete_each()
        if gone != self._found:
            raise DriftError(
                f"collection {self.ordinal} changed while it was locked: {gone} rows for {self._found}"
            )
        for _, sql in triggers:
            self._db.execute(sql)
        if _triggers(self._db, self._table.name) != triggers:
            raise PermanentStoreError(f"the triggers of collection {self.ordinal} could not be restored")
        return len(triggers)

    def read_empty(self) -> None:
        """Raises:
        PermanentStoreError: selected rows are still there after the commit.
        """
        if next(rows.selected(self._db, self._table, self._bounds, self._selection), None) is not None:
            raise PermanentStoreError(f"collection {self.ordinal} still has rows after they were deleted")

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with driver_errors(f"collection {self.ordinal}"):
            for piece in rows.selected(self._db, self._table, self._bounds, self._selection):
                self._found += piece.batch.num_rows
                if not self._whole:
                    self._keys += piece.each_key()
                yield piece.batch

    def _delete_all(self) -> int:
        where, values = rows.condition(self._table, self._bounds)
        # without a condition SQLite frees whole pages: https://www.sqlite.org/lang_delete.html, § 4
        tail = "" if self._bounds.after is None and self._bounds.upto is None else f" WHERE {where}"
        return self._db.execute(f"DELETE FROM {quoted(self._table.name)}{tail}", values).rowcount

    def _delete_each(self) -> int:
        gone = 0
        for key in self._keys:
            where = " AND ".join(
                f"{part} = {rows.placeholder(value)}"
                for part, value in zip(self._table.key, key, strict=True)
            )
            values = [rows.parameter(value) for value in key]
            gone += self._db.execute(f"DELETE FROM {quoted(self._table.name)} WHERE {where}", values).rowcount
        return gone


def _triggers(db: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    return db.execute(
        "SELECT name, sql FROM sqlite_schema"
        " WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY name",
        (table,),
    ).fetchall()
