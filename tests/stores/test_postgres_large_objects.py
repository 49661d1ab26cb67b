"""Large objects of PostgreSQL go as rows do: as sealed, under a lock, and their bytes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from test_postgres_erasing import SHARED
from test_postgres_reading import Database

import postgres_server
from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.scope import EVERYTHING, Selection
from cenotaph.store import Eraser, Erasure, Grade, Reader
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.stores.postgres.catalog import large_objects
from cenotaph.testing.contract import Estate, Log, Rows, StoreContract

postgres_server.need()

OBJECTS = Selection(collections=(large_objects.NAME,))
GONE = [f"scan-{number:04}-{number * 7919:08}" for number in range(400)]
WRITTEN = (
    "SELECT lo_from_bytea((9000 + n)::oid, convert_to(format('scan-%s-%s ', lpad(n::text, 4, '0'),"
    " lpad((n * 7919)::text, 8, '0')) || repeat(md5(n::text), n % 50 * 7), 'UTF8'))"
    " FROM generate_series(0, 399) n"
)


class ObjectsEstate(Estate):
    """A database of 400 large objects of up to 11 KiB, and a table that stays."""

    lives_in = ("cenotaph/stores/postgres/eraser.py", "cenotaph/stores/postgres/writing.py")
    selection = OBJECTS

    def __init__(self) -> None:
        self.server = postgres_server.shared()
        self.name = self.server.database(
            WRITTEN,
            "CREATE TABLE stay AS SELECT n AS id, format('stay-%s-%s', n, n * 7919) AS note"
            " FROM generate_series(1000, 1400) n",
            "VACUUM FREEZE",
            "CHECKPOINT",
        )
        self.needles = [needle.encode() for needle in GONE[:400:50]]  # whose pages are not compressed
        self.bystanders = [f"stay-{n}-{n * 7919}".encode() for n in range(1000, 1010)]

    def open_reader(self) -> Reader:
        return open_reader(self.server.url(self.name), self.selection)

    def open_eraser(self) -> Eraser:
        return open_eraser(self.server.url(self.name), self.selection, SHARED)

    def kept(self) -> object:
        return self.server.run("SELECT * FROM stay ORDER BY id", database=self.name)

    def change_one(self) -> None:
        self.server.run("SELECT lo_put(9003, 0, 'changed')", database=self.name)


@pytest.mark.slow
class TestLargeObjects(StoreContract):
    """Objects that go while the tables stay; in several partitions."""

    kills = 6

    @pytest.fixture(autouse=True)
    def _small_partitions(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(large_objects, "OBJECTS_AT_ONCE", 150)
        self.made: ObjectsEstate | None = None
        yield
        if self.made is not None:
            self.made.server.drop(self.made.name)

    def make(self, folder: Path) -> Estate:
        """One at a time: files of another database are the same server's, with the same needles."""
        if self.made is not None:
            self.made.server.drop(self.made.name)
        self.made = ObjectsEstate()
        return self.made


Make: TypeAlias = Callable[..., Database]


@pytest.fixture
def database() -> Iterator[Make]:
    with postgres_server.making(partial(Database, postgres_server.shared())) as make:
        yield make


def erase(it: Database, between: Callable[[], object] = list, user: str = "postgres") -> list[Erasure]:
    """Erase all large objects as they were sealed before `between`."""
    reader = open_reader(it.url, OBJECTS)
    (found,) = [c for c in reader.collections() if c.records]
    sealed = [(partition, Rows(reader.batches(partition))) for partition in reader.partitions(found)]
    between()
    eraser = open_eraser(it.server.url(it.name, user), OBJECTS)
    try:
        return [eraser.erase(partition, rows, Log(sealed=rows)) for partition, rows in sealed]
    finally:
        eraser.close()


COUNT = "SELECT count(*) FROM pg_largeobject_metadata"


def test_objects_go_with_every_page(database: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several partitions, whoever owns them; an object without a page holds nothing, and stays."""
    monkeypatch.setattr(large_objects, "OBJECTS_AT_ONCE", 150)
    it = database(WRITTEN, "SELECT lo_create(17)", "DROP ROLE IF EXISTS draws", "CREATE ROLE draws")
    it.run("ALTER LARGE OBJECT 9003 OWNER TO draws")
    pages = it.run("SELECT count(*) FROM pg_largeobject")[0][0]

    erasures = erase(it)

    assert len(erasures) == 3
    assert sum(e.records for e in erasures) == pages
    assert it.run(
        "SELECT (SELECT count(*) FROM pg_largeobject), (SELECT count(*) FROM pg_largeobject_metadata)"
    ) == [(0, 1)]
    it.run("DROP ROLE draws")


@pytest.mark.parametrize(
    "change",
    [
        "SELECT lo_put(9003, 0, 'changed')",
        "SELECT lo_put(9003, 2097152, 'more')",
        "SELECT lo_from_bytea(9999, 'an object of later days')",
        "SELECT lo_from_bytea(17, 'a smaller number')",
        "SELECT lo_unlink(9003)",
        "SELECT lo_truncate(lo_open(9049, 131072), 5)",
    ],
    ids=["written", "grown", "new, above", "new, below", "gone", "cut"],
)
def test_an_object_that_changed_is_drift(database: Make, change: str) -> None:
    """Changed, made, or gone since it was sealed: the partition stays as it is."""
    it = database(WRITTEN)

    with pytest.raises(DriftError):
        erase(it, lambda: it.run(change))

    assert it.run(COUNT)[0][0] >= 399


def test_a_role_that_is_no_superuser_is_refused(database: Make) -> None:
    """The catalog of large objects belongs to the server: who may not lock it erases none of them."""
    it = database(WRITTEN, "DROP ROLE IF EXISTS reads", "CREATE ROLE reads LOGIN")
    it.run("GRANT SELECT ON pg_largeobject TO reads")

    with pytest.raises(PermanentStoreError):
        erase(it, user="reads")

    assert it.run(COUNT) == [(400,)]
    it.run("DROP OWNED BY reads", "DROP ROLE reads")


def test_the_bytes_of_objects_go_with_their_catalog(database: Make) -> None:
    """Pages, and what somebody said of an object, are in files before, and in none of the server's after."""
    it = database(WRITTEN, "COMMENT ON LARGE OBJECT 9003 IS 'said of somebody'", "CHECKPOINT")
    sought = [*GONE[::50], "said of somebody"]
    before = _found(it, sought)
    collections = open_reader(it.url, OBJECTS).collections()
    erase(it)
    eraser = open_eraser(it.url, EVERYTHING, SHARED)
    reclaimed = eraser.reclaim(collections)
    eraser.close()

    assert before == len(sought)
    assert _found(it, sought) == 0
    assert (reclaimed.reached, it.run("SELECT pg_relation_size('pg_largeobject')")) == (Grade.L2, [(0,)])


def _found(it: Database, needles: list[str]) -> int:
    files = [path.read_bytes() for path in it.server.data.rglob("*") if path.is_file()]
    return sum(any(needle.encode() in file for file in files) for needle in needles)
