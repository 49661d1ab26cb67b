"""Half-way failures of a PostgreSQL server: nothing is lost, nothing unsealed goes, the work goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pytest

import postgres_server
from cenotaph.errors import DriftError, PermanentStoreError, StoreError, TransientStoreError
from cenotaph.scope import Selection, parse_predicate
from cenotaph.store import Grade, Partition, Reclamation
from cenotaph.stores.postgres import open_eraser, open_reader, writing
from cenotaph.stores.postgres.reclaiming import rewriting, wal
from cenotaph.testing.contract import Log, Rows

postgres_server.need()

SHARED = frozenset(("statistics", "wal"))
RECORDS = 300
TABLES = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text, note text)",
    f"INSERT INTO patient SELECT n, 'Name-' || md5(n::text), repeat(md5((n * 7)::text), 20)"
    f" FROM generate_series(1, {RECORDS}) n",
    "CREATE TABLE visit (id int8 PRIMARY KEY, patient int8 NOT NULL REFERENCES patient)",
    f"INSERT INTO visit SELECT n, n FROM generate_series(1, {RECORDS}) n",
    "CREATE TABLE ward AS SELECT n AS id, 'ward ' || n AS name FROM generate_series(1, 50) n",
    "ANALYZE",
)
LEFT = "SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM visit)"
WARD = "SELECT md5(string_agg(ward::text, ',' ORDER BY id)) FROM ward"
Act: TypeAlias = Callable[[], object]


class Half:
    """A sealed database. `destroy` is what the command does: run again, it goes on."""

    def __init__(self, server: postgres_server.Server, *more: str, user: str = "postgres") -> None:
        self.server, self.name = server, server.database(*TABLES, *more)
        self.url = server.url(self.name, user)
        self.selection = Selection(collections=("public.patient", "public.visit"))
        self.sealed: list[tuple[Partition, Rows, Log]] = []
        self.done: dict[int, int] = {}
        self.ward = self.sql(WARD)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.run(*statements, database=self.name)

    def seal(self, rows: type[Rows] = Rows) -> Half:
        reader = open_reader(self.server.url(self.name), self.selection)
        for collection in reader.collections():
            for partition in reader.partitions(collection) if collection.records else ():
                sealed = rows(reader.batches(partition))
                self.sealed.append((partition, sealed, Log(sealed=sealed)))
        return self

    def destroy(self) -> Reclamation:
        """Each partition once, then the bytes."""
        reader = open_reader(self.url, self.selection)
        chosen = {p.collection for p, _, _ in self.sealed}
        collections = [c for c in reader.collections() if c.ordinal in chosen]
        eraser = open_eraser(self.url, self.selection, SHARED)
        try:
            rank = eraser.order(collections).index
            for partition, rows, log in sorted(self.sealed, key=lambda one: rank(one[0].collection)):
                if partition.collection not in self.done:
                    erasure = eraser.erase(partition, rows, log)
                    self.done[partition.collection] = erasure.records
            return eraser.reclaim(collections)
        finally:
            eraser.close()

    def goes_on(self) -> Reclamation:
        """Run again: everything has gone, as often as it was sealed, and what stays is as it was."""
        reclaimed = self.destroy()
        assert list(self.done.values()) == [RECORDS, RECORDS]
        assert self.sql(LEFT) == [(0, 0)]
        assert self.sql(WARD) == self.ward
        return reclaimed

    def untouched(self) -> None:
        assert self.sql(LEFT) == [(RECORDS, RECORDS)]
        assert [log.events for _, _, log in self.sealed] == [[], []]

    def hit(self, act: str) -> int:
        """Act on every session of ours in this database; how many there were."""
        with self.server.connect(self.name) as link:
            ended = link.execute(
                f"SELECT {act} FROM pg_stat_activity WHERE application_name = 'cenotaph'"
                f" AND datname = '{self.name}'"
            ).fetchall()
        return len(ended)

    def hang_up(self) -> None:
        assert self.hit("pg_terminate_backend(pid)")
        deadline = time.monotonic() + 10
        while self.hit("pid"):
            assert time.monotonic() < deadline, "a session does not end"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.Server]:
    """With all that can hold a destruction back: an archive, slots, prepared transactions."""
    made = postgres_server.start(
        wal_level="replica", max_wal_senders="4", archive_mode="on", max_prepared_transactions="4"
    )
    made.run("ALTER SYSTEM SET archive_command = 'true'", "SELECT pg_reload_conf()")
    yield made
    made.stop()


@pytest.fixture
def half(server: postgres_server.Server) -> Iterator[Half]:
    made = Half(server)
    yield made
    server.drop(made.name)


def at(monkeypatch: pytest.MonkeyPatch, statement: str, act: Act, *, after: bool = False) -> None:
    """Act once, when the eraser comes to a statement that begins so."""
    run = writing.Writer.run
    armed = [True]

    def hooked(self: writing.Writer, command: Any, *values: object) -> int:
        now = bool(armed) and getattr(command, "text", command).startswith(statement)
        if now:
            armed.clear()
        if now and not after:
            act()
        count = run(self, command, *values)
        if now and after:
            act()
        return count

    monkeypatch.setattr(writing.Writer, "run", hooked)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store waits for by itself, before the case's own patience counts: a tenth of a second."""
    monkeypatch.setitem(writing._WRITES, "lock_timeout", "100ms")
    monkeypatch.setattr(rewriting, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(wal, "ARCHIVED_WITHIN", 1.0)


# ── connections ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("statement", ["LOCK TABLE", "DELETE", "COMMIT", "VACUUM"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_that_the_server_ends_is_no_loss(
    half: Half, monkeypatch: pytest.MonkeyPatch, statement: str, after: bool
) -> None:
    """The eraser's session ends at a statement: told as worth another try; the next run does the rest."""
    half.seal()
    at(monkeypatch, statement, half.hang_up, after=after)

    with pytest.raises(TransientStoreError):
        half.destroy()

    half.goes_on()


def test_the_same_eraser_connects_again(half: Half, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is patient with one eraser: what comes after a lost connection has a new one."""
    half.seal()
    at(monkeypatch, "LOCK TABLE", half.hang_up)
    eraser = open_eraser(half.url, half.selection)
    visit = half.sealed[1]

    with pytest.raises(TransientStoreError):
        eraser.erase(*visit)
    erased = eraser.erase(*visit)
    eraser.close()

    assert erased.records == RECORDS


class HungUp(Rows):
    """Loses the session that reads for it, once."""

    hang_up: Act | None = None

    def check(self, batches: Iterable[pa.RecordBatch]) -> None:
        if (act := HungUp.hang_up) is not None:
            HungUp.hang_up = None
            act()
        super().check(batches)


def test_a_session_that_reads_beneath_the_lock_may_end_too(half: Half) -> None:
    """Both sessions are ended before anything has begun: nothing was changed."""
    half.seal(HungUp)
    HungUp.hang_up = half.hang_up

    with pytest.raises(TransientStoreError):
        half.destroy()

    half.untouched()
    half.goes_on()


def test_a_reading_that_breaks_off_is_told_and_repeated(half: Half) -> None:
    """While sealing: never a shorter table, always an error; the next reading gives what the first began."""
    half.sql(
        "INSERT INTO patient SELECT n, 'Name-' || n, repeat(md5(n::text), 20)"
        " FROM generate_series(1000, 21000) n"
    )
    reader = open_reader(half.url, half.selection)
    patient = next(c for c in reader.collections() if c.name == "public.patient")
    (partition,) = reader.partitions(patient)
    begun = reader.batches(partition)
    first = next(begun)
    half.hang_up()

    with pytest.raises(TransientStoreError):
        sum(batch.num_rows for batch in begun)

    again = pa.Table.from_batches(reader.batches(partition))
    assert again.slice(0, first.num_rows).equals(pa.Table.from_batches([first]))
    assert again.num_rows == partition.records


# ── rights ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def owned(server: postgres_server.Server) -> Iterator[Half]:
    """Erased by a role that owns the tables and is no superuser."""
    made = Half(server, "DROP ROLE IF EXISTS bureau", "CREATE ROLE bureau LOGIN", user="bureau")
    made.sql("ALTER TABLE patient OWNER TO bureau", "ALTER TABLE visit OWNER TO bureau")
    made.sql("GRANT SELECT ON ward TO bureau", "GRANT pg_monitor TO bureau")
    made.selection = Selection(collections=("public.patient", "public.visit"))
    yield made
    server.drop(made.name)
    server.run("DROP ROLE bureau")


@pytest.mark.parametrize("when", ["before", "LOCK TABLE", "DELETE"])
def test_a_right_that_is_taken_away_stops_it_and_nothing_is_lost(
    owned: Half, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Between seal and destruction, or in the middle of a table: nothing of it goes; given back, it does."""
    owned.seal()

    def revoke() -> None:
        owned.sql("REVOKE DELETE, UPDATE, TRUNCATE ON patient, visit FROM bureau")

    if when == "before":
        revoke()
    else:
        at(monkeypatch, when, revoke)

    with pytest.raises(PermanentStoreError, match="may not be"):
        owned.destroy()
    assert owned.sql(LEFT) == [(RECORDS, RECORDS)]

    owned.sql("GRANT DELETE, UPDATE, TRUNCATE ON patient, visit TO bureau")
    with pytest.raises(PermanentStoreError, match="shared action"):  # a superuser's, all the same
        owned.destroy()
    assert owned.sql(LEFT) == [(0, 0)]


def test_a_table_that_the_role_may_not_rewrite_is_noticed(
    owned: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VACUUM passes over it with a warning and succeeds: its bytes are all there, and the run says so."""
    owned.seal()
    at(monkeypatch, "VACUUM", lambda: owned.sql("ALTER TABLE patient OWNER TO postgres"))

    with pytest.raises(PermanentStoreError, match="not rewritten"):
        owned.destroy()


# ── who still sees the rows ──────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("hasty")
def test_a_snapshot_that_still_sees_the_rows_is_noticed(half: Half) -> None:
    """Somebody reads another table in a transaction, and waits: VACUUM FULL would keep every deleted row, and
    succeed. Said with the number of the process; once it ends, the same work goes on."""
    half.seal()
    with half.server.connect(half.name) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM ward")
        with pytest.raises(TransientStoreError, match=rf"server process {other.info.backend_pid}\b"):
            half.destroy()
        assert half.sql(LEFT) == [(0, 0)]
        other.execute("ROLLBACK")

    assert half.goes_on().reached is Grade.L1  # the archive is listed


@pytest.mark.usefixtures("hasty")
def test_rows_that_were_kept_are_noticed_by_who_may_not_look(
    half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that is not told of other sessions' snapshots: the rewriting itself says what it kept."""
    half.seal()
    monkeypatch.setattr(rewriting, "_older", lambda writer, now, catalog: [])
    with half.server.connect(half.name) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM ward")
        with pytest.raises(TransientStoreError, match=rf"kept {RECORDS} deleted rows"):
            half.destroy()

    half.goes_on()


@pytest.mark.usefixtures("hasty")
def test_a_prepared_transaction_is_noticed(half: Half) -> None:
    """One that holds the table is in the way of the lock; one elsewhere, of the bytes. No session has it."""
    half.seal()
    half.sql("BEGIN; UPDATE patient SET name = '' WHERE id = 1; PREPARE TRANSACTION 'one'")
    with pytest.raises(TransientStoreError, match="a transaction that was prepared"):
        half.destroy()
    assert half.sql("SELECT count(*) FROM patient") == [(RECORDS,)]
    half.sql("ROLLBACK PREPARED 'one'")

    half.sql("BEGIN; UPDATE ward SET name = '' WHERE id = 1; PREPARE TRANSACTION 'two'")
    with pytest.raises(TransientStoreError, match="a prepared transaction may still see them"):
        half.destroy()
    half.sql("ROLLBACK PREPARED 'two'")

    half.goes_on()


@pytest.mark.usefixtures("hasty")
def test_a_lock_on_a_table_that_is_rewritten_is_told(half: Half, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads the table keeps it from being rewritten, and is named."""
    half.seal()
    with half.server.connect(half.name) as other:
        other.autocommit = False
        at(monkeypatch, "VACUUM", lambda: other.execute("LOCK TABLE patient IN ACCESS SHARE MODE"))
        with pytest.raises(TransientStoreError, match=rf"server process {other.info.backend_pid}\b"):
            half.destroy()
        other.rollback()

    half.goes_on()


# ── the log ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def archiving(server: postgres_server.Server, command: str) -> Iterator[None]:
    def tell(text: str) -> None:
        server.run(f"ALTER SYSTEM SET archive_command = '{text}'", "SELECT pg_reload_conf()")

    tell(command)
    yield
    tell("true")
    server.run("SELECT pg_stat_reset_shared('archiver')")


@pytest.mark.usefixtures("hasty")
def test_an_archive_command_that_fails_holds_the_log_back(half: Half) -> None:
    """No segment is used again, whatever is switched: said, at L1, and not one segment more than needed."""
    half.seal()
    segments = "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"
    with archiving(half.server, "false"):
        before = half.sql(segments)[0][0]
        reclaimed = half.destroy()
        assert half.sql(segments)[0][0] <= before + 4
    half.server.run("SELECT pg_switch_wal()")

    assert reclaimed.reached is Grade.L1
    said = [reclaimed.why_not_higher, *reclaimed.notes]
    assert any("could not be written over: the archive command fails" in words for words in said)


@pytest.mark.usefixtures("hasty")
def test_a_slot_holds_the_log_back(half: Half) -> None:
    """A standby that went away and left its slot: the log is kept for it, and the reason is told."""
    half.seal()
    half.sql("SELECT pg_create_physical_replication_slot('gone', true)")
    try:
        reclaimed = half.destroy()
    finally:
        half.sql("SELECT pg_drop_replication_slot('gone')")

    assert any("a replication slot wants them" in w for w in (reclaimed.why_not_higher, *reclaimed.notes))


# ── drift ────────────────────────────────────────────────────────────────────────────────────────

DRIFTS = {
    "a column more": "ALTER TABLE patient ADD extra text",
    "a column less": "ALTER TABLE patient DROP note",
    "another type": "ALTER TABLE patient ALTER name TYPE bytea USING convert_to(name, 'UTF8')",
    "another name": "ALTER TABLE patient RENAME name TO nom",
    "a row more": "INSERT INTO patient VALUES (9999, 'new', '')",
    "a row changed": "UPDATE patient SET name = 'other' WHERE id = 7",
    "another key": "ALTER TABLE visit DROP CONSTRAINT visit_patient_fkey; ALTER TABLE patient"
    " DROP CONSTRAINT patient_pkey; ALTER TABLE patient ADD PRIMARY KEY (name, id)",
    "dropped": "DROP TABLE patient CASCADE",
    "dropped, and there again": "DROP TABLE patient CASCADE; CREATE TABLE patient (id int8 PRIMARY KEY,"
    " name text, note text); INSERT INTO patient VALUES (1, 'somebody else', '')",
    "a view in its place": "ALTER TABLE patient RENAME TO hidden; CREATE VIEW patient AS TABLE hidden",
}


@pytest.mark.parametrize("change", DRIFTS)
def test_what_changed_since_the_seal_stays(half: Half, change: str) -> None:
    """The table altered, grown, dropped, made again: drift, before anything of it has begun."""
    half.seal()
    half.sql(DRIFTS[change])
    left = patients(half)

    with pytest.raises(DriftError):
        half.destroy()

    assert patients(half) == left
    assert half.sealed[0][2].events == []


def patients(half: Half) -> list[tuple[Any, ...]]:
    """A digest of what is there by the names that these changes leave."""
    names = half.sql("SELECT relname FROM pg_class WHERE relname IN ('patient', 'hidden') ORDER BY 1")
    digest = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t"
    return [row for (name,) in names for row in half.sql(digest.format(name))]


# ── room ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_room(server: postgres_server.Server, mebibytes: int) -> Iterator[Path]:
    """A file system of this size that the server may write to."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    place = server.folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=777", "tmpfs", place], check=True)
    try:
        inside = place / "space"
        inside.mkdir()
        if os.geteuid() == 0:
            subprocess.run(["chown", postgres_server.USER, str(inside)], check=True)
        yield inside
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


def test_a_full_disk_stops_the_rewriting_and_room_lets_it_go_on(half: Half) -> None:
    """No room for the table's new file beside its old one: said, nothing lost; with room, it is done."""
    with small_room(half.server, 3) as place:
        half.server.run(f"CREATE TABLESPACE small LOCATION '{place}'")
        half.sql(
            "CREATE TABLE big (id int8 PRIMARY KEY, name text) TABLESPACE small",
            "INSERT INTO big SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 6000) n",
        )
        half.selection = Selection(collections=("public.big",), rows=parse_predicate("id > 5500"))
        half.seal()
        with pytest.raises(TransientStoreError, match="no room"):
            half.destroy()
        assert half.sql("SELECT count(*), max(id) FROM big") == [(5500, 5500)]

        subprocess.run(["mount", "-o", "remount,size=20m", place.parent], check=True)
        half.destroy()
        assert list(half.done.values()) == [500]
        assert half.sql("SELECT count(*), max(id) FROM big") == [(5500, 5500)]
        half.sql("DROP TABLE big")
        half.server.run("DROP TABLESPACE small")


# ── the server itself ────────────────────────────────────────────────────────────────────────────


def dies(server: postgres_server.Server, how: str) -> Act:
    if how == "kill -9":
        return server.crash
    return lambda: server.stop_only(signal.SIGINT if how == "restart" else signal.SIGQUIT)


@pytest.mark.parametrize(
    ("how", "statement", "after"),
    [
        ("kill -9", "DELETE", True),
        ("kill -9", "COMMIT", True),
        ("kill -9", "VACUUM", True),
        *(
            pytest.param(how, statement, after, marks=pytest.mark.slow)
            for how in ("kill -9", "immediate", "restart")
            for statement in ("LOCK TABLE", "DELETE", "COMMIT", "VACUUM")
            for after in (False, True)
        ),
    ],
)
def test_a_server_that_dies_is_no_loss(
    half: Half, monkeypatch: pytest.MonkeyPatch, how: str, statement: str, after: bool
) -> None:
    """At a statement, its effect undone or there after recovery: the next run does the rest, counted once."""
    half.seal()
    at(monkeypatch, statement, dies(half.server, how), after=after)

    with pytest.raises(StoreError):
        half.destroy()
    half.server.start()

    half.goes_on()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.002, 0.01, 0.03, 0.06])
def test_a_server_that_dies_while_it_rewrites_is_no_loss(
    half: Half, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """Somewhere inside VACUUM FULL, of a table that takes a while."""
    half.sql(
        "INSERT INTO ward SELECT n, repeat(md5(n::text), 20) FROM generate_series(100, 30000) n",
    )
    half.ward = half.sql("SELECT md5(string_agg(ward::text, ',' ORDER BY id)) FROM ward WHERE id > 90")
    half.selection = Selection(collections=("public.ward",), rows=parse_predicate("id <= 90"))
    half.seal()
    killer = threading.Timer(delay, half.server.crash)
    at(monkeypatch, "VACUUM", killer.start)

    try:
        half.destroy()
    except StoreError:
        pass
    killer.join()
    half.server.start()
    half.destroy()

    assert half.sql("SELECT count(*) FROM ward WHERE id <= 90") == [(0,)]
    assert half.sql("SELECT md5(string_agg(ward::text, ',' ORDER BY id)) FROM ward") == half.ward


def fill_up(ballast: Path, half: Half) -> None:
    """Leave no room beside the log, and use up the segments that it has."""
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(65536))
    with contextlib.suppress(postgres_server.psycopg.OperationalError):
        while True:
            half.sql("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")


@pytest.mark.slow
def test_a_server_without_room_for_its_log_goes_on_when_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's disk is full: the server ends itself in the middle; with room it recovers, and goes on."""
    server = postgres_server.start(wal_level="replica", wal_keep_size="100MB")
    try:
        with small_room(server, 24) as place:
            server.stop_only()
            wal_at = server.data / "pg_wal"
            subprocess.run(["cp", "-a", f"{wal_at}/.", str(place)], check=True)
            subprocess.run(["rm", "-r", str(wal_at)], check=True)
            wal_at.symlink_to(place)
            server.start()
            half = Half(server).seal()
            ballast = place.parent / "ballast"

            at(monkeypatch, "DELETE", lambda: fill_up(ballast, half), after=True)
            with pytest.raises(TransientStoreError):
                half.destroy()
            ballast.unlink()
            server.recover()

            half.goes_on()
            server.stop_only()
    finally:
        server.stop()
