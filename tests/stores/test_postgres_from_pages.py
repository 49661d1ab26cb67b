"""A table's rows come out of its pages as COPY sends them, whatever became of them; or nothing comes out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import postgres_server
from cenotaph import kernel
from cenotaph.errors import PermanentStoreError, StoreError, TransientStoreError
from cenotaph.records import Digester
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Collection, Reader, Surroundings
from cenotaph.stores.postgres import open_reader
from cenotaph.stores.postgres.beneath import pages
from cenotaph.stores.postgres.catalog import schema
from cenotaph.stores.postgres.reader import FROM_PAGES
from cenotaph.stores.postgres.session import Place, Session
from cenotaph.stores.postgres.wire import heap
from cenotaph.stores.postgres.wire.copy import Octets

postgres_server.need()

TYPES = {
    "a_bool": "n % 3 = 0",
    "b_int8": "n::int8 * 7919",
    "c_text": "repeat(md5(n::text), n % 5)",
    "d_int2": "(n % 30000)::int2",
    "e_numeric": "(n * 1.37 - 500)::numeric(20,4)",
    "f_numeric": "CASE n % 7 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' ELSE 10 ^ (n % 30) END::numeric",
    "g_date": "CASE WHEN n % 50 = 0 THEN 'infinity' ELSE date '1950-03-01' + n END",
    "h_stamp": "timestamp '2022-01-01' + n * interval '1 minute'",
    "i_instant": "CASE WHEN n % 40 = 0 THEN '-infinity' ELSE timestamptz '2022-01-01 UTC' END",
    "j_time": "time '10:00' + n * interval '1 second'",
    "k_interval": "n * interval '1 day 3 seconds'",
    "l_uuid": "md5(n::text)::uuid",
    "m_bytea": "decode(md5(n::text), 'hex')",
    "n_float4": "(n / 7.0)::float4",
    "o_float8": "n / 3.0::float8",
    "p_oid": "(n + 4000000000)::oid",
    "q_bpchar": "(n % 100)::text::char(7)",
    "r_varchar": "('名' || n)::varchar(20)",
    "s_json": "json_build_object('n', n)",
    "t_name": "('name' || n)::name",
    "u_mood": "CASE n % 3 WHEN 0 THEN 'happy' ELSE 'sad' END::mood",
    "v_email": "('a' || n || '@b')::email",
    "w_char": "'x'::\"char\"",
    "x_packed": "repeat('packed ' || n, 500)",
    "y_elsewhere": "CASE WHEN n % 20 = 0 THEN (SELECT string_agg(md5((n * i)::text), '')"
    " FROM generate_series(1, 200) i) END",
    "z_both": "CASE WHEN n % 25 = 0 THEN (SELECT string_agg(md5(i::text) || repeat('=', 40), '')"
    " FROM generate_series(1, 400) i) END",
}
ROWS = 300


def every_type() -> str:
    columns = [
        # a null in every column, in no two rows of the same ones
        f"CASE WHEN n % {11 + nth} <> 0 THEN {value} END AS {name}"
        for nth, (name, value) in enumerate(TYPES.items())
    ]
    return f"CREATE TABLE t AS SELECT n AS id, {', '.join(columns)} FROM generate_series(1, {ROWS}) n"


def reader(name: str, selection: Selection = EVERYTHING, *, by_pages: bool = True) -> Reader:
    server = postgres_server.shared()
    around = Surroundings(data_dir=str(server.data), pages=by_pages)
    return open_reader(server.url(name), selection, around)


def digests(one: Reader, collection: Collection) -> list[bytes]:
    found = []
    for partition in one.partitions(collection):
        before = len(found)
        for batch in one.batches(partition):
            found += [bytes(row) for row in Digester(bytes(64)).digests(batch)[0]]
        assert len(found) - before == partition.records
    return sorted(found)


def same(name: str, selection: Selection = EVERYTHING) -> int:
    """How many rows come out of the first table's pages, which are those that COPY sends."""
    ours, theirs = reader(name, selection), reader(name, selection, by_pages=False)
    collection = ours.collections()[0]
    assert FROM_PAGES in collection.notes
    assert collection.order == "digest"
    found = digests(ours, collection)
    assert found == digests(theirs, theirs.collections()[0])
    return len(found)


@pytest.fixture(params=["kernel", "python"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(kernel, "found", lambda: None)


@pytest.fixture(scope="module")
def typed() -> Iterator[str]:
    server = postgres_server.shared()
    name = server.database(
        "CREATE TYPE mood AS ENUM ('happy', 'sad')",
        "CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%')",
        every_type(),
        "ALTER TABLE t ADD PRIMARY KEY (id)",
    )
    yield name
    server.drop(name)


@pytest.fixture
def plain() -> Iterator[str]:
    server = postgres_server.shared()
    name = server.database(
        "CREATE TABLE t (id int8 PRIMARY KEY, note text)",
        "INSERT INTO t SELECT n, 'note ' || n FROM generate_series(1, 400) n",
    )
    yield name
    server.drop(name)


@pytest.mark.usefixtures("by")
def test_every_type_is_read(typed: str) -> None:
    """Packed, and in the TOAST table, and null; NaN and the infinite ones too."""
    assert same(typed) == ROWS


def test_rows_are_selected_as_elsewhere(typed: str) -> None:
    """Of the rows that the pages have, those in scope."""
    some = Selection(rows=parse_predicate("b_int8 > 1000000"))
    assert 0 < same(typed, some) < ROWS


@pytest.mark.skipif(not postgres_server.shared().has("lz4"), reason="the server was built without lz4")
def test_lz4_is_unpacked() -> None:
    """In the row, and in the TOAST table."""
    server = postgres_server.shared()
    name = server.database(
        "CREATE TABLE t (n text COMPRESSION lz4, m text COMPRESSION lz4)",
        "INSERT INTO t SELECT repeat('packed ' || n, 500),"
        " (SELECT string_agg(md5((i * n)::text) || repeat('=', 20), '') FROM generate_series(1, 300) i)"
        " FROM generate_series(1, 20) n",
    )
    assert same(name) == 20
    server.drop(name)


def test_only_rows_that_are_there_are_read(plain: str) -> None:
    """Not those that were deleted, updated, or undone; those that somebody locks, or updates while another
    had them locked, once. Before anybody left a hint in the page, and after."""
    server = postgres_server.shared()
    with server.connect(plain) as one, server.connect(plain) as other:
        one.execute("DELETE FROM t WHERE id % 10 = 1")
        one.execute("UPDATE t SET note = 'changed' WHERE id % 10 = 2")
        one.execute("BEGIN; DELETE FROM t WHERE id % 10 = 3; ROLLBACK")
        one.execute("BEGIN; INSERT INTO t SELECT n, 'undone' FROM generate_series(1000, 1040) n; ROLLBACK")
        one.execute("BEGIN; SAVEPOINT s; DELETE FROM t WHERE id = 4; ROLLBACK TO s")
        one.execute("DELETE FROM t WHERE id = 14; COMMIT")
        # several at one row: a number that stands for all of them
        one.execute("BEGIN; SELECT FROM t WHERE id % 10 = 5 FOR KEY SHARE")
        other.execute("BEGIN; UPDATE t SET note = 'shared' WHERE id % 20 = 5; COMMIT")
        other.execute("BEGIN; UPDATE t SET note = 'undone' WHERE id % 20 = 15; ROLLBACK")
        one.execute("COMMIT; BEGIN; SELECT FROM t WHERE id % 10 = 6 FOR SHARE")
        other.execute("BEGIN; SELECT FROM t WHERE id % 10 = 6 FOR SHARE; COMMIT")
        one.execute("COMMIT; BEGIN; SELECT FROM t WHERE id % 10 = 7 FOR UPDATE")
        assert same(plain) == 359  # while it holds them: a locker does not keep readers out
        one.execute("ROLLBACK")
    assert same(plain) == 359
    server.run("VACUUM FREEZE t", database=plain)
    assert same(plain) == 359


def test_columns_that_came_and_went_are_read(plain: str) -> None:
    """Dropped ones are passed over, in old rows too; later ones have their default in old rows."""
    postgres_server.shared().run(
        "ALTER TABLE t ADD gone numeric, ADD number int4 DEFAULT -7, ADD word text DEFAULT 'later'",
        "ALTER TABLE t ADD price numeric DEFAULT 12.50, ADD day date DEFAULT '2020-02-02', ADD empty text",
        "INSERT INTO t (id, gone, number) SELECT n, n, n FROM generate_series(1001, 1050) n",
        "ALTER TABLE t DROP gone, DROP note, ADD last bool DEFAULT true",
        "ALTER TABLE t ADD made int8 GENERATED ALWAYS AS (id * 2) STORED",
        "INSERT INTO t (id) VALUES (2000)",
        database=plain,
    )
    assert same(plain) == 451
    postgres_server.shared().run("ALTER TABLE t ADD tail text DEFAULT 'end'", database=plain)
    assert same(plain) == 451


def test_a_table_of_several_partitions_is_read(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each partition is a range of blocks, which the eraser finds by the places of rows."""
    postgres_server.shared().run(
        "INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1001, 1600) n", database=plain
    )
    monkeypatch.setattr(pages, "PARTITION_RECORDS", 300)
    monkeypatch.setattr(pages, "READ_BYTES", 2 * 8192)
    one = reader(plain)
    assert len(one.partitions(one.collections()[0])) > 2
    assert same(plain) == 1000


def test_a_table_of_several_files_is_one(plain: str, tmp_path: Path) -> None:
    """A server begins another file where one has a gigabyte; here, two pages."""
    server = postgres_server.shared()
    with closing(Session(Place.of(server.url(plain)))) as session:
        table = schema.read(session).tables[0]
        layout = pages.lay_out(session, Surroundings(data_dir=str(server.data)), table)
    data = bytes(range(256)) * (5 * 8192 // 256)
    for number in range(3):
        name = tmp_path / ("t" + (f".{number}" if number else ""))
        name.write_bytes(data[number * 16384 : number * 16384 + 16384])
    split = replace(layout, files=str(tmp_path / "t"), segment=2, pages=5, newest=2**63)

    with pages._File(split) as file:
        octets = file.read(1, 4)
        assert octets.tobytes() == data[8192:]
        assert file.unchanged(octets, 1, split.newest)
        octets[2 * 8192] ^= 1
        assert not file.unchanged(octets, 1, split.newest)
        with pytest.raises(heap.UnreadableError, match="shorter"):
            file.read(4, 2)


def test_without_rows_or_pages_nothing_is_read() -> None:
    """Of an empty table, and one without columns."""
    server = postgres_server.shared()
    empty = server.database("CREATE TABLE t (id int8 PRIMARY KEY, note text)")
    assert same(empty) == 0
    none = server.database("CREATE TABLE t ()", "INSERT INTO t SELECT FROM generate_series(1, 30)")
    assert same(none) == 30
    for name in (empty, none):
        server.drop(name)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("ALTER TABLE t ADD more jsonb", "1 of its columns have types that are read by COPY alone"),
        ("ALTER TABLE t SET UNLOGGED", "the table is unlogged, and no checkpoint writes its pages"),
    ],
)
def test_what_copy_alone_reads_is_said(plain: str, made: str, why: str) -> None:
    """The inventory says so, and the table is read as if nobody had asked for its pages."""
    postgres_server.shared().run(made, database=plain)
    one = reader(plain)
    collection = one.collections()[0]
    assert f"read by COPY, not from its pages: {why}" in collection.notes
    assert collection.order == "key"
    theirs = reader(plain, by_pages=False)
    assert digests(one, collection) == digests(theirs, theirs.collections()[0])


def test_a_role_that_may_not_lock_reads_by_copy(plain: str) -> None:
    """Said as well: it takes more than SELECT."""
    server = postgres_server.shared()
    server.run("CREATE ROLE only_reads LOGIN", "GRANT pg_monitor TO only_reads")
    server.run("GRANT SELECT ON t TO only_reads", database=plain)
    around = Surroundings(data_dir=str(server.data), pages=True)
    notes = open_reader(server.url(plain, "only_reads"), EVERYTHING, around).collections()[0].notes
    server.run("REVOKE ALL ON t FROM only_reads", database=plain)
    server.run("DROP ROLE only_reads")
    assert any("may not lock the table" in note for note in notes)


def test_writers_wait_while_pages_are_read(plain: str) -> None:
    """From before the checkpoint until the partition is read."""
    one = reader(plain)
    partition = one.partitions(one.collections()[0])[0]
    found = one.batches(partition)
    next(found)
    server = postgres_server.shared()
    with server.connect(plain) as link:
        link.execute("SET lock_timeout = '20ms'")
        with pytest.raises(postgres_server.psycopg.errors.LockNotAvailable):
            link.execute("INSERT INTO t VALUES (0, '')")
        list(found)
        link.execute("INSERT INTO t VALUES (0, '')")


def test_pages_that_say_something_else_are_refused(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is asked for some of them, too: one letter is enough."""
    read = pages._File.read

    def lying(self: pages._File, first: int, count: int) -> Octets:
        octets = read(self, first, count)
        octets[np.flatnonzero(octets == ord("n"))[-1]] = ord("m")
        return octets

    monkeypatch.setattr(pages._File, "read", lying)
    monkeypatch.setattr(pages, "SAMPLES", 64)
    refused(plain, PermanentStoreError, "do not say what the server says")


def test_another_number_of_rows_is_refused(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no page was compared."""
    read = pages._File.read

    def lying(self: pages._File, first: int, count: int) -> Octets:
        octets = read(self, first, count)
        octets[25] &= 0x7F  # a line pointer that is used no more
        octets[26] &= 0xFE
        return octets

    monkeypatch.setattr(pages._File, "read", lying)
    monkeypatch.setattr(pages, "SAMPLES", 0)
    refused(plain, PermanentStoreError, "do not say what the server says")


def test_pages_that_are_written_meanwhile_are_read_again(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merely reading a table has the server clear its pages: what is newer than the lock is not believed."""
    ends = iter([0, 1, None])
    real = pages._log_end
    turns: list[int] = []

    def late(session: pages.Session) -> int:
        turns.append(1)
        end = next(ends, None)
        return real(session) if end is None else end

    monkeypatch.setattr(pages, "_log_end", late)
    assert same(plain) == 400
    assert len(turns) == 3
    monkeypatch.setattr(pages, "_log_end", lambda _: 0)
    refused(plain, TransientStoreError, "goes on writing")


def test_a_page_that_is_half_written_is_not_believed(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head is another one after it was read."""
    mapped = pages._File._map
    turns: list[int] = []

    def late(self: pages._File, number: int) -> Octets:
        turns.append(number)
        now = mapped(self, number).copy()
        now[:, 0] ^= len(turns) < 3
        return now

    monkeypatch.setattr(pages._File, "_map", late)
    monkeypatch.setattr(pages, "SAMPLES", 0)
    assert same(plain) == 400
    assert len(turns) == 3


def refused(name: str, kind: type[StoreError], says: str) -> None:
    one = reader(name)
    partition = one.partitions(one.collections()[0])[0]
    with pytest.raises(kind, match=says):
        list(one.batches(partition))


@pytest.mark.slow
def test_checksums_of_a_server_that_has_them_are_looked_at() -> None:
    """They are right as it is, and a page that somebody damaged is refused."""
    server = postgres_server.start(initdb=["--data-checksums"])
    try:
        name = server.database("CREATE TABLE t AS SELECT n, 'note' AS x FROM generate_series(1, 4000) n")
        around = Surroundings(data_dir=str(server.data), pages=True)
        one = open_reader(server.url(name), EVERYTHING, around)
        partition = one.partitions(one.collections()[0])[0]
        assert sum(batch.num_rows for batch in one.batches(partition)) == 4000
        path = server.data / server.run("SELECT pg_relation_filepath('t')", database=name)[0][0]
        with path.open("r+b") as file:
            file.seek(3 * 8192 + 8000)
            was = file.read(1)
            file.seek(3 * 8192 + 8000)
            file.write(bytes([was[0] ^ 1]))
        with pytest.raises(PermanentStoreError, match="another checksum"):
            list(one.batches(partition))
    finally:
        server.stop()
