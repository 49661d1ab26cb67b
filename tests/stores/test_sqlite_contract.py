"""The SQLite store passes the contract: whole databases, some tables, some rows, in both kinds of journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlite_case import GONE, STAY, two_tables, url

from cenotaph.scope import EVERYTHING, Hold, Selection, parse_predicate
from cenotaph.store import Eraser, Reader
from cenotaph.stores.sqlite import open_eraser, open_reader
from cenotaph.testing.contract import Estate, StoreContract

STAYING = "SELECT rowid, * FROM stay ORDER BY rowid"


class SqliteEstate(Estate):
    """A database of two tables; what stays is seen through SQLite itself."""

    def __init__(
        self, path: Path, selection: Selection, gone: list[str], bystanders: list[str], kept: str
    ) -> None:
        self.path, self.selection, self.query = path, selection, kept
        self.needles = [needle.encode() for needle in gone]
        self.bystanders = [needle.encode() for needle in bystanders]

    def open_reader(self) -> Reader:
        return open_reader(url(self.path), self.selection)

    def open_eraser(self) -> Eraser:
        return open_eraser(url(self.path), self.selection)

    def kept(self) -> object:
        if not self.query:
            return None
        db = sqlite3.connect(self.path)
        try:
            return [db.execute(part).fetchall() for part in self.query.split(";")]
        finally:
            db.close()

    def change_one(self) -> None:
        db = sqlite3.connect(self.path)
        db.execute("UPDATE gone SET note = 'changed' WHERE id = 3")
        db.commit()
        db.close()


class TestWholeDatabase(StoreContract):
    """Everything is in scope, and the file goes."""

    kills = 15

    def make(self, folder: Path) -> Estate:
        path = folder / "app.db"
        two_tables(path).close()
        return SqliteEstate(path, EVERYTHING, GONE[:20] + STAY[:20], [], "")


class TestOneTable(StoreContract):
    """One table goes, one stays, and the database is rebuilt."""

    kills = 15

    def make(self, folder: Path) -> Estate:
        path = folder / "app.db"
        two_tables(path).close()
        kept = f"{STAYING}; SELECT type, name, sql FROM sqlite_schema ORDER BY name"
        return SqliteEstate(path, Selection(collections=("gone",)), GONE[:20], STAY[:20], kept)


class TestSomeRowsInWriteAheadMode(StoreContract):
    """Rows by predicate, some of them held, of a database with a log; in several partitions."""

    kills = 15

    @pytest.fixture(autouse=True)
    def _small_partitions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cenotaph.stores.sqlite.rows.PARTITION_RECORDS", 150)

    def make(self, folder: Path) -> Estate:
        path = folder / "app.db"
        two_tables(path, journal="wal").close()
        held = Hold(collections=("gone",), rows=parse_predicate("id BETWEEN 30 AND 59"))
        selection = Selection(collections=("gone",), rows=parse_predicate("id < 600"), holds=(held,))
        kept = f"{STAYING}; SELECT * FROM gone WHERE id >= 600 OR id BETWEEN 30 AND 59"
        return SqliteEstate(
            path, selection, GONE[:10] + GONE[20:40], [*STAY[:9], *GONE[10:20], GONE[399]], kept
        )
