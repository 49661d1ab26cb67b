"""Materialized views of PostgreSQL: refreshed once what they read was erased, or said not to be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import pytest
from test_postgres_erasing import SHARED
from test_postgres_reading import Database

import postgres_server
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection, parse_predicate
from cenotaph.store import Grade, Reclamation
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.testing.contract import Log, Rows

postgres_server.need()

PATIENTS = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text)",
    "INSERT INTO patient SELECT n, 'name-' || md5(n::text) FROM generate_series(1, 300) n",
    "CREATE TABLE ward (id int8 PRIMARY KEY, name text)",
    "INSERT INTO ward SELECT n, 'ward-' || md5(n::text) FROM generate_series(1, 300) n",
)
VIEWS = (
    # made in an order in which names and numbers go the wrong way
    "CREATE MATERIALIZED VIEW z_below AS SELECT id, name FROM patient",
    "CREATE VIEW between AS SELECT * FROM z_below",
    "CREATE MATERIALIZED VIEW a_above AS SELECT name AS n FROM between",
    "CREATE UNIQUE INDEX ON a_above (n)",
    "CREATE MATERIALIZED VIEW never AS SELECT name FROM patient WITH NO DATA",
    "ANALYZE",
    "CHECKPOINT",
)
Make: TypeAlias = Callable[..., Database]


@pytest.fixture
def database() -> Iterator[Make]:
    with postgres_server.making(partial(Database, postgres_server.shared())) as make:
        yield make


def destroy(it: Database, selection: Selection, shared: frozenset[str] = SHARED) -> Reclamation:
    """Erase the selection, and reclaim."""
    reader = open_reader(it.url, selection)
    chosen = [c for c in reader.collections() if selection.includes(c.name)]
    sealed = [(p, Rows(reader.batches(p))) for c in chosen for p in reader.partitions(c)]
    eraser = open_eraser(it.url, selection, shared)
    try:
        for partition, rows in sealed:
            eraser.erase(partition, rows, Log(sealed=rows))
        return eraser.reclaim(chosen)
    finally:
        eraser.close()


def found(it: Database, table: str) -> int:
    """How many names of a table that was emptied can still be read in the server's files."""
    files = [path.read_bytes() for path in it.server.data.rglob("*") if path.is_file()]
    names = [
        row for (row,) in it.run(f"SELECT '{table}-' || md5(n::text) FROM generate_series(1, 300, 20) n")
    ]
    return sum(any(str(name).encode() in file for file in files) for name in names)


def test_views_are_refreshed_after_what_they_read(database: Make) -> None:
    """A view on a view after that one; indexes and statistics too; one without rows stays without."""
    it = database(*PATIENTS, *VIEWS)
    before = found(it, "name")

    reclaimed = destroy(it, Selection(collections=("public.patient",)))

    assert (before, found(it, "name"), reclaimed.reached) == (15, 0, Grade.L2)
    assert it.run("SELECT (SELECT count(*) FROM z_below), (SELECT count(*) FROM a_above)") == [(0, 0)]
    assert it.run("SELECT relispopulated FROM pg_class WHERE relname = 'never'") == [(False,)]


def test_rows_that_stay_are_in_the_refreshed_view(database: Make) -> None:
    """Of a table that partly goes, the view shows what is left."""
    it = database(*PATIENTS, *VIEWS)

    destroy(it, Selection(collections=("public.patient",), rows=parse_predicate("id > 10")))

    assert it.run("SELECT count(*) FROM a_above JOIN patient ON name = n") == [(10,)]


def test_a_view_that_reads_what_stays_is_not_touched(database: Make) -> None:
    """Its rows of the other table would change with a refresh: said, and the grade is down. With the shared
    action it is refreshed, and its statistics go."""
    it = database(
        *PATIENTS,
        "CREATE MATERIALIZED VIEW mixed AS SELECT p.name, w.name AS ward FROM patient p, ward w"
        " WHERE p.id = w.id",
        "CREATE MATERIALIZED VIEW wards AS SELECT name FROM ward",
        "DELETE FROM ward WHERE id = 1",
        "ANALYZE",
    )

    reclaimed = destroy(it, Selection(collections=("public.patient",)))

    assert reclaimed.reached is Grade.L1
    assert reclaimed.why_not_higher == "the case does not list the shared actions views for this store"
    assert it.run(COUNTS) == [(300, 300)]

    reclaimed = destroy(it, Selection(collections=("public.patient",)), SHARED | {"views"})

    assert reclaimed.reached is Grade.L2
    assert it.run(COUNTS) == [(0, 300)]
    assert it.run("SELECT count(*) FROM pg_stats WHERE tablename = 'mixed'") == [(0,)]


COUNTS = "SELECT (SELECT count(*) FROM mixed), (SELECT count(*) FROM wards)"


def test_functions_of_a_view_are_found(database: Make) -> None:
    """A function that names tables without their schema works as it does for the view's owner."""
    if postgres_server.shared().version >= 170000:
        pytest.skip("PostgreSQL 17 and later find functions of a view in pg_catalog alone, for everybody")
    it = database(
        *PATIENTS,
        "CREATE FUNCTION wards() RETURNS int8 LANGUAGE plpgsql AS"
        " 'BEGIN RETURN (SELECT count(*) FROM ward); END'",
        "CREATE MATERIALIZED VIEW counted AS SELECT name, wards() AS wards FROM patient",
    )

    destroy(it, Selection(collections=("public.patient",)))

    assert it.run("SELECT count(*) FROM counted") == [(0,)]


def test_a_view_that_cannot_be_refreshed_is_an_error(database: Make) -> None:
    """What its query divides by is gone: nothing is certified over it, and no value is quoted."""
    it = database(
        *PATIENTS,
        "CREATE MATERIALIZED VIEW share AS SELECT 100 / count(*) AS part FROM patient",
    )

    with pytest.raises(PermanentStoreError, match="materialized view"):
        destroy(it, Selection(collections=("public.patient",)))


def test_a_view_of_what_stays_is_kept_by_the_probe(database: Make) -> None:
    """A view that reads no table in scope stays with its tables: what is in its file is no residue."""
    it = database(
        *PATIENTS,
        "CREATE MATERIALIZED VIEW wards AS SELECT name FROM ward",
        "CREATE MATERIALIZED VIEW names AS SELECT name FROM patient",
    )
    reader = open_reader(it.url, Selection(collections=("public.patient",)))
    kept = {extent.place: extent.kept.size > 0 for extent in reader.raw() if extent.kind == "relation"}

    def file(name: str) -> str:
        return str(it.server.data / str(it.run(f"SELECT pg_relation_filepath('{name}')")[0][0]))

    assert (kept[file("ward")], kept[file("wards")]) == (True, True)
    assert (kept[file("patient")], kept[file("names")]) == (False, False)
