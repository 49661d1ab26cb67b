"""What a plan says that will run on a server is what runs: no more, no less, and in that order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby

import pytest

import postgres_recorder
import postgres_server
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Hold, Selection, parse_predicate
from cenotaph.store import (
    NOTHING_AROUND,
    Assignment,
    Collection,
    Partition,
    Passage,
    Scripted,
    Surroundings,
    Wholesale,
)
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.testing.contract import Log, Rows

postgres_server.need()

SHARED = frozenset(("views", "statistics", "wal", "wal_archive", "logs", "restart"))
BINDING = "SELECT set_config($1, $2, false) IS NULL"  # of settings that hold keys: told where they are used
TABLES = (
    "CREATE TABLE doctor (id int8 PRIMARY KEY, deputy int8 REFERENCES doctor, name text)",
    "CREATE TABLE patient (id int8 PRIMARY KEY, doctor int8 REFERENCES doctor, name text)",
    'CREATE TABLE "a ""visit"";\n--" (id int8 PRIMARY KEY, patient int8 REFERENCES patient, note text)',
    "CREATE TABLE log (line text)",
    "CREATE TABLE empty (line text)",
    "CREATE TABLE stays (line text)",
    "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN INSERT INTO stays VALUES (OLD.name); RETURN OLD; END'",
    "CREATE TRIGGER one BEFORE DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep()",
    'CREATE TRIGGER "tw""o" AFTER DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep()',
    'ALTER TABLE patient ENABLE ALWAYS TRIGGER "tw""o"',
    "INSERT INTO doctor SELECT n, 1, 'doctor ' || n FROM generate_series(1, 50) n",
    "INSERT INTO patient SELECT 7654000 + n, n % 50 + 1, 'patient ' || n FROM generate_series(1, 450) n",
    'INSERT INTO "a ""visit"";\n--" SELECT n, 7654001 + n, \'note\' FROM generate_series(1, 300) n',
    "INSERT INTO log SELECT 'line ' || n FROM generate_series(1, 250) n",
    "CREATE MATERIALIZED VIEW names AS SELECT name FROM patient",
    "SELECT lo_from_bytea((9000 + n)::oid, 'scan') FROM generate_series(1, 250) n",
    "CREATE MATERIALIZED VIEW seen AS SELECT name FROM patient",
    "CREATE MATERIALIZED VIEW mixed AS SELECT name FROM patient UNION ALL SELECT line FROM stays",
    "CREATE EXTENSION pg_stat_statements",
    "SELECT lo_from_bytea(0, 'scan')",
    "ANALYZE",
)
SELECTION = Selection(
    collections=("public.[!s]*", "*visit*", "pg_catalog.pg_largeobject"),
    holds=(Hold(collections=("public.log",), rows=parse_predicate("line = 'line 7'")),),
)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.Server]:
    """A server of its own: its log is emptied, and it counts statements."""
    made = postgres_server.start(
        shared_preload_libraries="pg_stat_statements",
        wal_level="replica",
        archive_mode="on",
        archive_command="cp %p ../archive/%f",
    )
    try:
        (made.folder / "archive").mkdir()
        if os.geteuid() == 0:
            shutil.chown(made.folder / "archive", postgres_server.USER)
        yield made
    finally:
        made.stop()


@pytest.fixture
def database(server: postgres_server.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 100)
    name = server.database(*TABLES)
    yield name
    server.drop(name)


def planned(
    url: str, around: Surroundings = NOTHING_AROUND
) -> tuple[list[tuple[Collection, Sequence[Partition]]], list[Passage]]:
    reader = open_reader(url, SELECTION, around)
    chosen = [
        (c, reader.partitions(c)) for c in reader.collections() if c.records or c.name == "public.empty"
    ]
    assert isinstance(reader, Scripted)
    return chosen, list(reader.script(chosen, SHARED))


def carried_out(
    url: str, chosen: Sequence[tuple[Collection, Sequence[Partition]]], around: Surroundings
) -> None:
    """As `destroy` does."""
    reader, eraser = open_reader(url, SELECTION, around), open_eraser(url, SELECTION, SHARED, around)
    tables = {c.ordinal: (c, p) for c, p in chosen}
    sealed = {p: Rows(reader.batches(p)) for _, several in chosen for p in several}
    assert isinstance(eraser, Wholesale)
    try:
        for ordinal in eraser.order([c for c, _ in chosen]):
            table, partitions = tables[ordinal]
            parts = [Assignment(p, sealed[p], Log(sealed=sealed[p])) for p in partitions]
            if eraser.erase_whole(table, parts) is None:
                for part in parts:
                    eraser.erase(*part)
        eraser.reclaim([c for c, _ in chosen])
    finally:
        eraser.close()


def test_what_is_shown_is_what_runs(server: postgres_server.Server, database: str) -> None:
    """A cycle of foreign keys, triggers, partitions, rows that stay, an empty table, a view, large objects,
    shared actions, overwriting beneath the server: whatever changed anything was shown, and all that was
    shown ran, in the order in which it was."""
    around = Surroundings(data_dir=str(server.data), online_overwrite=True)
    with postgres_recorder.recording(server) as recorder:
        chosen, passages = planned(recorder.url(database), around)
        assert recorder.changing(database) == []  # looking changed nothing

        carried_out(recorder.url(database), chosen, around)
        (ran,) = recorder.changing(database)

    shown = [c.text for p in passages for _ in range(p.times) for c in p.commands if c.text]
    assert set(ran) - {BINDING} == set(shown)
    assert _once(ran) == _once(shown)
    assert any("TRUNCATE" in text for text in ran)
    assert server.run("SELECT count(*) FROM log", database=database) == [(1,)]


def test_no_value_is_in_what_is_shown(server: postgres_server.Server, database: str) -> None:
    """Keys at which partitions end, and what a hold compares with, are bound: the text has none of them."""
    _, passages = planned(server.url(database))

    told = "".join(f"{p.says}{c}{c.text}" for p in passages for c in p.commands)
    assert "cenotaph.bound_0" in told
    assert not [value for value in ("7654", "line 7") if value in told]


def test_a_table_that_is_gone_is_told(server: postgres_server.Server, database: str) -> None:
    """Nothing is shown for a table that cannot be looked at: survey again."""
    chosen, _ = planned(server.url(database))
    server.run("DROP TABLE log", database=database)
    reader = open_reader(server.url(database), SELECTION)
    assert isinstance(reader, Scripted)

    with pytest.raises(PermanentStoreError, match="no longer there"):
        reader.script(chosen, SHARED)


def _once(texts: Sequence[str]) -> list[str]:
    """In order, what is repeated (vacuum again, each segment of the log) once, and without settings."""
    kept = [text for text in texts if not text.startswith("SELECT set_config(")]
    seen: dict[str, None] = dict.fromkeys(text for text, _ in groupby(kept))
    return [text for text in seen if text not in ("BEGIN", "COMMIT", "ROLLBACK")]
