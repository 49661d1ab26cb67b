"""The PostgreSQL store passes the reading half of the contract: databases, rows by predicate, no keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres_server
from cenotaph.scope import EVERYTHING, Hold, Selection, parse_predicate
from cenotaph.store import Eraser, Reader
from cenotaph.stores.postgres import open_reader
from cenotaph.testing.contract import Estate, ReaderContract

postgres_server.need()

GONE = [f"gone-{number:04}-{number * 7919:08}" for number in range(400)]
STAY = [f"stay-{number:04}-{number * 7919:08}" for number in range(400)]


class PostgresEstate(Estate):
    """A database of two tables; what stays is seen through the driver itself."""

    changed = False

    def __init__(self, selection: Selection, gone: list[str], bystanders: list[str], key: str) -> None:
        self.server, self.selection = postgres_server.shared(), selection
        self.name = self.server.database(
            f"CREATE TABLE gone (id int8 {key}, note text)",
            f"CREATE TABLE stay (id int8 {key}, note text)",
            *(
                f"INSERT INTO {table} SELECT n, format('{table}-%s-%s', lpad(n::text, 4, '0'),"
                " lpad((n * 7919)::text, 8, '0')) FROM generate_series(0, 399) n"
                for table in ("gone", "stay")
            ),
            "VACUUM FREEZE",
            "CHECKPOINT",
        )
        self.needles = [needle.encode() for needle in gone]
        self.bystanders = [needle.encode() for needle in bystanders]

    def open_reader(self) -> Reader:
        return open_reader(self.server.url(self.name), self.selection)

    def open_eraser(self) -> Eraser:
        raise AssertionError("reading erases nothing")

    def kept(self) -> object:
        return self.server.run("SELECT * FROM stay ORDER BY id", database=self.name)

    def change_one(self) -> None:
        self.changed = True
        self.server.run("UPDATE gone SET note = 'changed' WHERE id = 3", database=self.name)


class _OnServer(ReaderContract):
    """One database a class: a new one after a test that changed it."""

    made: PostgresEstate | None = None

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _no_database_of_another_class(cls) -> Iterator[None]:
        yield
        _drop(cls)

    @pytest.fixture
    def estate(self, tmp_path: Path) -> Iterator[Estate]:
        kind = type(self)
        if kind.made is None:
            kind.made = self.make(tmp_path)
        yield kind.made
        if kind.made.changed:
            _drop(kind)

    def make(self, folder: Path) -> PostgresEstate:
        raise NotImplementedError


def _drop(kind: type[_OnServer]) -> None:
    if kind.made is not None:
        kind.made.server.drop(kind.made.name)
        kind.made = None


class TestSomeRows(_OnServer):
    """Rows of one table by predicate, some of them held; in several partitions."""

    @pytest.fixture(autouse=True)
    def _small_partitions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 150)

    def make(self, folder: Path) -> PostgresEstate:
        held = Hold(collections=("public.gone",), rows=parse_predicate("id BETWEEN 30 AND 59"))
        selection = Selection(collections=("public.gone",), rows=parse_predicate("id < 360"), holds=(held,))
        return PostgresEstate(selection, GONE[:10] + GONE[60:70], [*STAY[:9], *GONE[30:40]], "PRIMARY KEY")


class TestWholeDatabaseWithoutKeys(_OnServer):
    """Everything is in scope, of tables that no key orders; in several partitions."""

    @pytest.fixture(autouse=True)
    def _small_partitions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 150)

    def make(self, folder: Path) -> PostgresEstate:
        return PostgresEstate(EVERYTHING, GONE[:20] + STAY[:20], [], "NOT NULL")
