"""A PostgreSQL database is read whole, in one state, without a trace; and what cannot be read is said."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pytest

import postgres_server
from cenotaph.errors import PermanentStoreError, StoreError, TransientStoreError, UsageError
from cenotaph.scope import EVERYTHING, Selection
from cenotaph.store import Collection, Grade, Partition
from cenotaph.stores.postgres import open_reader
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.session import Place, Session

postgres_server.need()

SECRET = "geheim-4711"


@pytest.fixture(scope="module")
def server() -> postgres_server.Server:
    return postgres_server.shared()


class Database:
    """A fresh database and its reader."""

    def __init__(self, server: postgres_server.Server, *statements: str, options: str = "") -> None:
        self.server = server
        self.name = server.database(*statements, options=options)
        self.url = server.url(self.name)

    def run(self, *statements: str) -> list[tuple[object, ...]]:
        return self.server.run(*statements, database=self.name)

    def collections(self, selection: Selection = EVERYTHING) -> dict[str, Collection]:
        return {c.name: c for c in open_reader(self.url, selection).collections()}

    def partitions(self, name: str) -> list[Partition]:
        return list(open_reader(self.url, EVERYTHING).partitions(self.collections()[name]))

    def read(self, name: str) -> list[dict[str, object]]:
        return [row for p in self.partitions(name) for row in rows(self.url, p)]


def rows(url: str, partition: Partition) -> list[dict[str, object]]:
    batches = list(open_reader(url, EVERYTHING).batches(partition))
    return pa.Table.from_batches(batches).to_pylist() if batches else []


Make: TypeAlias = Callable[..., Database]


@pytest.fixture
def make(server: postgres_server.Server) -> Iterator[Make]:
    """Databases that go after the test."""
    with postgres_server.making(partial(Database, server)) as new:
        yield new


# --- what is a collection ---


def test_tables_that_store_rows_are_collections_and_nothing_else(make: Make) -> None:
    """Leaf partitions and children by themselves; no view, no parent without rows, no temporary table."""
    database = make(
        "CREATE TABLE plain (a int)",
        "CREATE TABLE visits (day date, who text) PARTITION BY RANGE (day)",
        "CREATE TABLE visits_21 PARTITION OF visits FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
        "CREATE TABLE visits_rest PARTITION OF visits DEFAULT",
        "INSERT INTO visits VALUES ('2021-05-05', 'a'), ('1999-01-01', 'b')",
        "CREATE TABLE parent (a int)",
        "CREATE TABLE child (b int) INHERITS (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (2, 3)",
        "CREATE VIEW seen AS SELECT * FROM plain",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM seen",
        "CREATE UNLOGGED TABLE fast (a int)",
        "CREATE TEMPORARY TABLE gone (a int)",
    )

    found = database.collections()

    assert list(found) == [
        f"public.{n}" for n in ("child", "fast", "parent", "plain", "visits_21", "visits_rest")
    ]
    assert database.read("public.parent") == [{"a": 1}]
    assert database.read("public.child") == [{"a": 2, "b": 3}]
    assert database.read("public.visits_21")[0]["who"] == "a"
    copies = open_reader(database.url, EVERYTHING).copies(found["public.plain"])
    assert [c.place for c in copies if c.kind == "materialized view"] == ["public.kept"]


def test_columns_are_those_that_are_stored(make: Make) -> None:
    """Generated ones too, dropped ones not; rows without any column are rows."""
    database = make(
        "CREATE TABLE t (id int, gone text, twice int GENERATED ALWAYS AS (id * 2) STORED)",
        "ALTER TABLE t DROP COLUMN gone",
        "INSERT INTO t VALUES (3)",
        "CREATE TABLE bare ()",
        "INSERT INTO bare DEFAULT VALUES",
        "INSERT INTO bare DEFAULT VALUES",
        "CREATE TABLE empty (a int)",
    )

    assert database.read("public.t") == [{"id": 3, "twice": 6}]
    assert [
        len(b.columns)
        for b in open_reader(database.url, EVERYTHING).batches(database.partitions("public.bare")[0])
    ] == [0]
    assert database.collections()["public.bare"].records == 2
    assert database.read("public.empty") == []


def test_names_of_every_kind_are_read(make: Make) -> None:
    """Quotes, dots, percent signs, placeholders, spaces, other scripts: no name becomes a statement."""
    names = ['a"b', "x; DROP TABLE stay", "%s%(a)s", "$1", "姓名", "a'b\\", "dot.ted", "UPPER case"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    database = make(
        "CREATE TABLE stay (a int)",
        *(f"CREATE SCHEMA {name}" for name in quoted),
        *(f"CREATE TABLE {name}.{name} ({name} text PRIMARY KEY, n int)" for name in quoted),
        *(f"INSERT INTO {name}.{name} SELECT 'k' || n, n FROM generate_series(1, 9) n" for name in quoted),
    )

    found = database.collections()

    assert len(found) == 1 + len(names)
    assert '"dot.ted"."dot.ted"' in found
    for name in names:
        called = f"{name}.{name}" if "." not in name else f'"{name}"."{name}"'
        assert [row[name] for row in database.read(called)] == [f"k{n}" for n in range(1, 10)]


# --- partitions ---


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 7)


KEYS = {
    'text COLLATE "C"': "chr(200 - n) || n",
    'text COLLATE "und-x-icu"': "(ARRAY['a', 'B', 'ä', 'Z', ''])[1 + n % 5] || n",
    "char(9)": "'k' || n",
    "numeric": "n / 7.0",
    "float8": "(n / 7.0)::float8",
    "timestamptz": "'2020-01-01'::timestamptz + n * interval '0.000001 s'",
    "interval": "n * interval '1 month'",
    "date": "CASE n WHEN 30 THEN 'infinity' ELSE '2020-01-01'::date - n END",
    "uuid": "md5(n::text)::uuid",
    "bytea": "decode(md5(n::text), 'hex')",
    "int4[]": "ARRAY[n % 3, n]",
    '"char"': 'chr(64 + n)::"char"',
    "bool": "n % 2 = 1",
}


@pytest.fixture(scope="module")
def keyed(server: postgres_server.Server) -> Iterator[Database]:
    """A table for each type of key: 30 rows each."""
    there = {kind: made for kind, made in KEYS.items() if "icu" not in kind or server.has("icu")}
    tables = {kind: f"t{list(KEYS).index(kind):02}" for kind in there}
    database = Database(
        server,
        *(f"CREATE TABLE {tables[kind]} (k {kind}, n int, PRIMARY KEY (k, n))" for kind in there),
        *(
            f"INSERT INTO {tables[kind]} SELECT {made}, n FROM generate_series(1, 30) n"
            for kind, made in there.items()
        ),
    )
    yield database
    server.drop(database.name)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_type_part_a_table(keyed: Database, kind: str) -> None:
    """Every row is in one partition, in the key's order, also those that come later."""
    if "icu" in kind and not keyed.server.has("icu"):
        pytest.skip("this server was built without ICU")
    table = f"t{list(KEYS).index(kind):02}"
    reader = open_reader(keyed.url, Selection(collections=(f"public.{table}",)))
    (collection,) = [c for c in reader.collections() if c.name == f"public.{table}"]
    parts = reader.partitions(collection)
    expected = [n for (n,) in keyed.run(f"SELECT n FROM {table} ORDER BY k, n")]

    assert [p.records for p in parts] == [7, 7, 7, 7, 2]
    assert [row["n"] for p in parts for row in rows(keyed.url, p)] == expected
    keyed.run(f"INSERT INTO {table} SELECT {KEYS[kind]}, n + 100 FROM generate_series(1, 30) n")
    assert sorted(row["n"] for p in parts for row in rows(keyed.url, p)) == sorted(
        [*expected, *(n + 100 for n in expected)]
    )


@pytest.mark.usefixtures("_small")
def test_tables_without_a_key_are_parted_by_place(make: Make) -> None:
    """All rows, in order of their digests; an index with nulls, conditions or foreign operators is no key."""
    database = make(
        "CREATE EXTENSION citext",
        "CREATE TABLE bare (n int, filler text)",
        "INSERT INTO bare SELECT n, repeat('x', 500) FROM generate_series(1, 60) n",
        "CREATE TABLE nullable (n int UNIQUE)",
        "CREATE TABLE partial (n int NOT NULL)",
        "CREATE UNIQUE INDEX ON partial (n) WHERE n > 0",
        "CREATE TABLE caseless (n citext PRIMARY KEY)",
        "CREATE TABLE unique_index (n int NOT NULL UNIQUE)",
        "CREATE TABLE backwards (n int NOT NULL)",
        "CREATE UNIQUE INDEX ON backwards (n DESC)",
    )
    orders = {name.removeprefix("public."): c.order for name, c in database.collections().items()}
    parts = database.partitions("public.bare")

    assert {name for name, order in orders.items() if order == "key"} == {"unique_index"}
    assert len(parts) > 2
    assert sorted(row["n"] for p in parts for row in rows(database.url, p)) == list(range(1, 61))
    assert sum(p.records for p in parts) == 60


def test_reading_in_order_writes_no_temporary_files(make: Make) -> None:
    """A sort that spills leaves rows in free blocks; so keys are followed in their index."""
    database = make(
        "CREATE TABLE t (k text PRIMARY KEY, v text)",
        "INSERT INTO t SELECT md5(n::text), repeat('v', 100) FROM generate_series(1, 30000) n",
        "ANALYZE t",
    )
    database.run(f"ALTER DATABASE {database.name} SET work_mem = '64kB'")

    assert len(database.read("public.t")) == 30_000

    query = "SELECT temp_files FROM pg_stat_database WHERE datname = current_database()"
    told = "pg_stat_force_next_flush()" if database.server.version >= 150000 else "pg_sleep(1)"
    assert database.run(f"SELECT {told}", query) == [(0,)]
    assert len(database.run("SET enable_indexscan = off", "SELECT k, v FROM t ORDER BY k, v")) == 30_000
    assert database.run(f"SELECT {told}", query) != [(0,)], "nothing spills: nothing is tested"


# --- large values, other encodings, other ways ---


def test_values_out_of_line_are_read_whole(make: Make) -> None:
    """Compressed by either method, or stored apart; rows larger than a block and than a batch."""
    lz4 = "COMPRESSION lz4" if postgres_server.shared().has("lz4") else ""
    database = make(
        f"CREATE TABLE t (id int PRIMARY KEY, a text, b text {lz4}, c text)",
        "ALTER TABLE t ALTER c SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT n, repeat('a' || n, 200000), repeat('b', 300000), repeat('c', 6000000)"
        " FROM generate_series(1, 7) n",
    )

    (partition,) = database.partitions("public.t")
    batches = list(open_reader(database.url, EVERYTHING).batches(partition))

    assert max(b.nbytes for b in batches) < 40 << 20
    found = pa.Table.from_batches(batches)
    assert found["a"].to_pylist() == [f"a{n}" * 200_000 for n in range(1, 8)]
    assert {len(v) for v in found["c"].to_pylist()} == {6_000_000}


def test_other_encodings_become_utf8_and_none_is_bytes(make: Make) -> None:
    """The server converts what has an encoding; what has none is delivered as the bytes that it is."""
    latin = make("CREATE TABLE t (v text)", "INSERT INTO t VALUES (chr(233))", options=OTHER.format("LATIN1"))
    none = make(
        "CREATE TABLE t (v text)", r"INSERT INTO t VALUES (E'\xff')", options=OTHER.format("SQL_ASCII")
    )

    assert latin.read("public.t") == [{"v": "é"}]
    assert none.read("public.t") == [{"v": b"\xff"}]


OTHER = "ENCODING '{}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"


def test_an_encrypted_connection_gives_the_same_rows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the library hands over one row at a time."""
    database = make(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, repeat('v', n) FROM generate_series(1, 500) n",
    )
    plain = database.read("public.t")
    monkeypatch.setattr(Session, "encrypted", lambda _: True)

    assert database.read("public.t") == plain


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_query_that_fails_on_the_way_is_an_error(
    make: Make, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    """Never the rows as if they were all; and what the server says quotes a value, which goes no further."""
    monkeypatch.setattr(Session, "encrypted", lambda _: encrypted)
    database = make(f"CREATE TABLE t AS SELECT n AS id, '{SECRET}' AS v FROM generate_series(1, 500) n")
    session = Session(Place.of(database.url))

    with pytest.raises(PermanentStoreError, match="cannot be read") as failed:
        list(session.copy("SELECT (CASE id WHEN 400 THEN v ELSE '1' END)::int4 FROM public.t"))

    assert SECRET not in repr(failed.value)


# --- while others write ---


def test_a_partition_is_one_state_of_the_table(make: Make) -> None:
    """What is deleted while it is read is read to its end; the next reading sees it gone."""
    database = make(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, repeat('v', 1000) FROM generate_series(1, 20000) n",
    )
    (partition,) = database.partitions("public.t")
    batches = open_reader(database.url, EVERYTHING).batches(partition)
    first = next(batches).num_rows
    database.run("DELETE FROM t")

    assert first < 20_000
    assert first + sum(b.num_rows for b in batches) == 20_000
    assert rows(database.url, partition) == []


def test_a_reading_that_is_left_off_ends_on_the_server_too(make: Make) -> None:
    """No session stays, and no thread."""
    database = make(
        "CREATE TABLE t (v text)",
        "INSERT INTO t SELECT repeat('v', 1000) FROM generate_series(1, 40000) n",
    )
    (partition,) = database.partitions("public.t")
    batches = open_reader(database.url, EVERYTHING).batches(partition)
    next(batches)
    batches.close()

    assert "copy" not in {thread.name for thread in threading.enumerate()}
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cenotaph' AND datname = '{}'"
    for _ in range(100):
        if database.run("SELECT pg_sleep(0.02)", left.format(database.name)) == [(0,)]:
            break
    else:
        pytest.fail("a session stayed")


def test_a_server_that_breaks_off_is_worth_another_try(make: Make) -> None:
    """Ended by an administrator in the middle: never the rows so far as if they were all."""
    database = make(
        "CREATE TABLE t (v text)",
        "INSERT INTO t SELECT repeat('v', 1000) FROM generate_series(1, 40000) n",
    )
    (partition,) = database.partitions("public.t")
    batches = open_reader(database.url, EVERYTHING).batches(partition)
    next(batches)
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cenotaph'")

    with pytest.raises(TransientStoreError):
        list(batches)


def test_a_locked_table_is_waited_for_and_then_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the lock is not disturbed."""
    monkeypatch.setitem(Session.__init__.__globals__["SETTINGS"], "lock_timeout", "100ms")
    database = make("CREATE TABLE t (v text)")
    (partition,) = database.partitions("public.t")
    with database.server.connect(database.name) as link:
        link.autocommit = False
        link.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(TransientStoreError, match="another session has locked it"):
            list(open_reader(database.url, EVERYTHING).batches(partition))


def test_what_is_gone_has_no_rows_and_what_changed_has_others(make: Make) -> None:
    """A partition of a table that was dropped gives nothing."""
    database = make("CREATE TABLE t (v text)", "INSERT INTO t VALUES ('a')")
    (partition,) = database.partitions("public.t")
    database.run("ALTER TABLE t ADD w int")
    assert rows(database.url, partition) == [{"v": "a", "w": None}]
    database.run("DROP TABLE t")
    assert rows(database.url, partition) == []


# --- what is not permitted ---


@pytest.fixture
def reader_role(server: postgres_server.Server) -> Iterator[str]:
    server.run("CREATE ROLE looks LOGIN")
    yield "looks"
    server.run("DROP ROLE looks")


def test_hidden_rows_and_missing_rights_are_errors(make: Make, reader_role: str) -> None:
    """Row-level security would leave rows out in silence; the hint says what to grant."""
    database = make(
        "CREATE TABLE guarded (v text)",
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
        "CREATE TABLE closed (v text)",
        f"GRANT SELECT ON guarded TO {reader_role}",
    )
    url = database.server.url(database.name, user=reader_role)
    reader = open_reader(url, EVERYTHING)

    assert reader.capabilities.grade is Grade.L1
    assert "no file access" in reader.capabilities.why_not_higher
    assert list(reader.raw()) == []
    for name in ("guarded", "closed"):
        (partition,) = database.partitions(f"public.{name}")
        with pytest.raises(PermanentStoreError, match="may not be read") as refused:
            list(reader.batches(partition))
        assert "GRANT SELECT" in str(refused.value.hint)
        assert "BYPASSRLS" in str(refused.value.hint)
    database.run(f"REVOKE ALL ON guarded FROM {reader_role}")


def test_keys_do_not_reach_the_servers_log(
    make: Make, reader_role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A superuser's reading logs statements without values; any other role's collections carry a note."""
    monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 2)
    database = make(
        "CREATE TABLE t (k text PRIMARY KEY)",
        f"INSERT INTO t SELECT '{SECRET}-' || n FROM generate_series(1, 9) n",
        f"GRANT SELECT ON t TO {reader_role}",
    )
    database.run(
        f"ALTER DATABASE {database.name} SET log_statement = 'all'",
        f"ALTER DATABASE {database.name} SET log_min_messages = 'warning'",
    )
    log = database.server.folder / "output"
    before = len(log.read_bytes())

    assert len(database.read("public.t")) == 9
    said = log.read_bytes()[before:]
    url = database.server.url(database.name, user=reader_role)
    (noted,) = open_reader(url, EVERYTHING).collections()
    database.run(f"SELECT '{SECRET}'")

    assert b"set_config" in said
    assert SECRET.encode() not in said
    assert SECRET.encode() in log.read_bytes(), "nothing is logged: nothing is tested"
    assert any("log" in note for note in noted.notes)
    assert not database.collections()["public.t"].notes
    database.run(f"REVOKE ALL ON t FROM {reader_role}")


def test_a_session_cannot_write(make: Make) -> None:
    """Not by a statement, not by a function that a statement calls."""
    database = make("CREATE TABLE t (v text)")
    session = Session(Place.of(database.url))
    with pytest.raises(postgres_server.psycopg.errors.ReadOnlySqlTransaction):
        session.rows("WITH x AS (INSERT INTO public.t VALUES ('a') RETURNING 1) SELECT * FROM x")
    session.close()


# --- addresses ---


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://u@h/d", "does not begin with postgresql://"),
        ("postgresql://u@h/", "names no database"),
        ("postgresql://u@h1,h2/d", "more than one host"),
        (f"postgresql://u:{SECRET}@h:x/d?{SECRET}=1", "not one that libpq reads"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, says: str) -> None:
    """Without repeating it: it may hold a password."""
    with pytest.raises(UsageError, match=re.escape(says)) as refused:
        open_reader(url, EVERYTHING)
    assert SECRET not in repr(refused.value)


def test_a_server_or_database_that_is_not_there_is_said(
    server: postgres_server.Server, tmp_path: Path
) -> None:
    """What may come back is worth another try; a wrong name is not. Neither is repeated."""
    with pytest.raises(PermanentStoreError, match="no database of this name") as wrong:
        open_reader(server.url(SECRET), EVERYTHING)
    with pytest.raises(TransientStoreError, match="does not answer") as away:
        open_reader(f"postgresql://u@/{SECRET}?host={tmp_path}", EVERYTHING)
    for refused in (wrong, away):
        assert SECRET not in repr(refused.value)
        assert isinstance(refused.value, StoreError)


# --- its files ---


def test_files_of_another_server_are_not_taken_for_its_own(
    server: postgres_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby has its primary's identity; when it was started, and its port, tell them apart."""
    session = Session(Place.of(server.url()))
    place = raw.data_directory(session)
    assert place == str(server.data)
    pid = server.data / "postmaster.pid"
    lines = pid.read_text().splitlines(keepends=True)
    try:
        for number, other in ((2, "12345\n"), (3, "1\n")):
            pid.write_text("".join([*lines[:number], other, *lines[number + 1 :]]))
            found = raw.data_directory(session)
            assert isinstance(found, raw.NoAccess)
            assert "another server's" in found.why
    finally:
        pid.write_text("".join(lines))
    monkeypatch.setattr(Session, "host", "192.0.2.1")
    assert raw.data_directory(session) == raw.NoAccess("the server is on another machine")
    session.close()
