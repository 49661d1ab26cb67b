"""Erasing from PostgreSQL: the contract, and what else would change with the rows that go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_postgres_contract import GONE, STAY, PostgresEstate

from cenotaph.scope import Hold, Selection, parse_predicate
from cenotaph.store import Eraser
from cenotaph.stores.postgres import open_eraser
from cenotaph.testing.contract import StoreContract

SHARED = frozenset(("statistics", "wal"))


class ErasableEstate(PostgresEstate):
    """The estate that the reader is tested with, and its eraser."""

    lives_in = ("cenotaph/stores/postgres/eraser.py", "cenotaph/stores/postgres/writing.py")

    def open_eraser(self) -> Eraser:
        return open_eraser(self.server.url(self.name), self.selection, SHARED)


class _OnServer(StoreContract):
    kills = 6
    partition = 150  # records
    held = Hold(collections=("public.gone",), rows=parse_predicate("id BETWEEN 30 AND 59"))

    @pytest.fixture(autouse=True)
    def _several_partitions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", self.partition)

    @pytest.fixture(autouse=True)
    def _dropped(self) -> Iterator[None]:
        """One estate at a time: files of another database are the same server's, with the same needles."""
        self.made: ErasableEstate | None = None
        yield
        self._drop()

    def estate_of(self, selection: Selection, gone: list[str], stay: list[str], key: str) -> ErasableEstate:
        self._drop()
        self.made = ErasableEstate(selection, gone, stay, key)
        return self.made

    def _drop(self) -> None:
        if self.made is not None:
            self.made.server.drop(self.made.name)
            self.made = None


class TestWholeTable(_OnServer):
    """A table goes whole, another one stays."""

    def make(self, folder: Path) -> ErasableEstate:
        return self.estate_of(Selection(collections=("*.gone",)), GONE[:20], STAY[:20], "PRIMARY KEY")


class TestSomeRows(_OnServer):
    """Rows by predicate, some of them held, from a table with a key."""

    def make(self, folder: Path) -> ErasableEstate:
        selection = Selection(
            collections=("public.gone",), rows=parse_predicate("id < 360"), holds=(self.held,)
        )
        return self.estate_of(selection, GONE[:10] + GONE[60:70], [*STAY[:9], *GONE[30:40]], "PRIMARY KEY")


class TestSomeRowsWithoutAKey(_OnServer):
    """Rows by predicate from a table that no key orders. In one partition: a row that is changed moves, and
    would be missed in one and new in another."""

    partition = 1000

    def make(self, folder: Path) -> ErasableEstate:
        selection = Selection(collections=("public.gone",), rows=parse_predicate("id < 360"))
        return self.estate_of(selection, GONE[:10], [*STAY[:9], *GONE[360:370]], "NOT NULL")
