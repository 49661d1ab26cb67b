"""What `doctor` says of a server: found with a role that may do little, and mended by what it says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import postgres_server
from by_command import store
from cenotaph.cli import checks
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import Checked, Finding, Grade, Surroundings
from cenotaph.stores import open_reader
from cenotaph.stores.postgres import open_eraser, privileges
from cenotaph.testing.contract import Log, Rows
from small_case import SmallCase

postgres_server.need()

SETTLED = 0.3  # seconds in which a server has read its settings again
SHARED = frozenset(("views", "statistics", "wal", "logs"))
SELECTION = Selection(collections=("*.patient", "*.doctor", "*odd*"))
TABLES = (
    "CREATE ROLE app",
    'CREATE ROLE "fe""w" LOGIN',
    'CREATE SCHEMA "o.dd" AUTHORIZATION app',
    "CREATE TABLE doctor (id int8 PRIMARY KEY, deputy int8 REFERENCES doctor)",
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text)",
    'CREATE TABLE "o.dd"."odd ""name""" (id int8 PRIMARY KEY, name text)',
    'ALTER TABLE "o.dd"."odd ""name""" OWNER TO app',
    "ALTER TABLE doctor OWNER TO app",
    "CREATE TABLE apart AS SELECT 1 AS id",
    "INSERT INTO doctor VALUES (1, 1)",
    "CREATE EXTENSION pg_stat_statements",
    "CREATE MATERIALIZED VIEW seen AS SELECT name FROM patient",
    "CREATE MATERIALIZED VIEW mixed AS SELECT doctor.id FROM doctor, apart",
    "ALTER MATERIALIZED VIEW mixed OWNER TO app",
    "GRANT SELECT ON apart TO app",
    "ALTER TABLE patient ENABLE ROW LEVEL SECURITY",
    "INSERT INTO patient SELECT n, 'Patient' FROM generate_series(1, 1000) n",
)


class Place(NamedTuple):
    server: postgres_server.Server
    database: str

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.run(*statements, database=self.database)

    def look(
        self,
        *,
        erasing: bool,
        asked: Grade = Grade.L2,
        user: str = "fe%22w",
        selection: Selection = SELECTION,
    ) -> dict[str, Finding]:
        reader = open_reader(self.server.url(self.database, user), selection)
        assert isinstance(reader, Checked)
        return {one.what: one for one in reader.checks(asked, SHARED, erasing=erasing)}

    def bad(self, **how: Any) -> dict[str, Finding]:
        return {what: one for what, one in self.look(**how).items() if not one.good}

    def heed(self, findings: dict[str, Finding]) -> None:
        """Run what the hints say, as the server's administrator would."""
        for finding in findings.values():
            self.sql("SELECT 1", *re.findall(r"(?:GRANT|ALTER|SELECT pg_|DROP)[^;]*;", finding.hint))
        time.sleep(SETTLED)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.Server]:
    """A server of its own: its settings change."""
    made = postgres_server.start(
        wal_level="replica",
        max_wal_senders="2",
        max_prepared_transactions="2",
        min_wal_size="4MB",
        shared_preload_libraries="pg_stat_statements",
    )
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def place(server: postgres_server.Server) -> Iterator[Place]:
    made = Place(server, server.database(*TABLES))
    yield made
    server.drop(made.database)
    server.run('DROP OWNED BY app, "fe""w"', 'DROP ROLE app, "fe""w"')
    server.run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    time.sleep(SETTLED)


def test_a_role_with_few_rights_is_told_what_to_grant_and_then_may(place: Place) -> None:
    """Every check of rights is bad first, says exactly what to run, and is good once that was run."""
    reading, erasing = place.bad(erasing=False), place.bad(erasing=True)

    assert reading["schemas"].hint == 'GRANT USAGE ON SCHEMA "o.dd" TO "fe""w";'
    assert reading["tables to read"].says.startswith("4 of 4 may not be read by this role")
    assert reading["tables to read"].hint == (
        'GRANT SELECT ON TABLE "o.dd"."odd ""name""", "public"."apart", "public"."doctor", "public"."patient"'
        ' TO "fe""w";'
    )
    assert reading["row-level security"].hint == 'ALTER ROLE "fe""w" BYPASSRLS;'
    assert reading["monitoring"].hint == 'GRANT pg_monitor TO "fe""w";'
    assert "GRANT pg_monitor" in reading["files of the server"].hint
    assert erasing["tables to rewrite"].hint == (
        'GRANT "app" TO "fe""w"; ALTER TABLE "public"."patient" OWNER TO "fe""w";'
    )
    assert erasing["materialized views to refresh"].hint == (
        'GRANT "app" TO "fe""w"; ALTER MATERIALIZED VIEW "public"."seen" OWNER TO "fe""w";'
    )
    takes = "oid,oid,bigint,boolean" if place.server.version >= 170000 else "oid,oid,bigint"
    assert erasing["texts of statements"].hint == (
        f'GRANT EXECUTE ON FUNCTION public.pg_stat_statements_reset({takes}) TO "fe""w";'
    )
    if place.server.version < 150000:  # these rights cannot be granted there
        for what in ("cycles of foreign keys", "checkpoints and the log"):
            assert erasing[what].hint == 'ALTER ROLE "fe""w" SUPERUSER;'
        place.heed({**reading, **erasing})
        assert place.bad(erasing=True) == {}
        return
    assert erasing["cycles of foreign keys"].hint == (
        'GRANT SET ON PARAMETER session_replication_role TO "fe""w";'
    )
    assert erasing["checkpoints and the log"].hint == (
        'GRANT pg_checkpoint TO "fe""w"; GRANT pg_monitor TO "fe""w";'
        ' GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO "fe""w";'
    )
    place.heed(reading)
    assert place.bad(erasing=False) == {}
    superuser = erasing.pop("shared action statistics")
    place.heed(erasing)
    assert set(place.bad(erasing=True)) == {"shared action statistics"}
    destroyed(place.server.url(place.database, "fe%22w"))  # those rights are enough
    assert place.sql("SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM apart)") == [(0, 1)]
    place.heed({"": superuser})
    assert place.bad(erasing=True) == {}


def destroyed(url: str) -> None:
    """Erase what is in scope, and have the write-ahead log written over."""
    reader, eraser = (
        open_reader(url, SELECTION),
        open_eraser(url, SELECTION, frozenset(("views", "wal", "logs"))),
    )
    chosen = [c for c in reader.collections() if c.records]
    for ordinal in eraser.order(chosen):
        (partition,) = reader.partitions(next(c for c in chosen if c.ordinal == ordinal))
        sealed = Rows(reader.batches(partition))
        eraser.erase(partition, sealed, Log(sealed=sealed))
    eraser.reclaim(chosen)
    eraser.close()


def test_settings_and_copies_that_hold_the_grade_down_are_told(place: Place) -> None:
    """What logs, keeps segments back, or makes copies, with what switches it off; nothing of that for L1."""
    place.sql(
        "ALTER SYSTEM SET log_statement = 'all'",
        "ALTER SYSTEM SET wal_recycle = off",
        "ALTER SYSTEM SET wal_keep_size = '2MB'",
        "SELECT pg_create_physical_replication_slot('kept', true)",
        "CREATE PUBLICATION everything FOR TABLE patient",
        'GRANT pg_monitor TO "fe""w"',
        "SELECT pg_reload_conf()",
    )
    time.sleep(SETTLED)
    reading, erasing = place.bad(erasing=False), place.bad(erasing=True)

    granted = 'GRANT SET ON PARAMETER log_parameter_max_length TO "fe""w";'
    if place.server.version < 150000:
        granted = 'ALTER ROLE "fe""w" SET log_parameter_max_length = 0;'
    assert reading["keys in the server's log"].hint == granted
    assert reading["statements in the server's log"].hint == (
        "ALTER SYSTEM SET log_statement = 'none'; SELECT pg_reload_conf();"
    )
    assert reading["copies: replication slot"].hint == "SELECT pg_drop_replication_slot('kept');"
    told = reading["copies: logical subscriber, not named in the case"].hint
    assert 'DROP PUBLICATION "everything";' in told
    assert erasing["wal_recycle"].hint == "ALTER SYSTEM SET wal_recycle = 'on'; SELECT pg_reload_conf();"
    assert erasing["wal_keep_size"].says == "it is 2: segments of the log are kept for standbys"
    assert not [what for what in place.bad(erasing=False, asked=Grade.L1) if what.startswith("copies")]
    place.heed({**reading, **erasing})
    assert place.bad(erasing=False) == {}


def test_large_objects_take_rights_of_their_own(place: Place) -> None:
    """Where they are in scope, and there are any: a GRANT to read them, a superuser to unlink others' too."""
    everything = Selection(collections=("pg_catalog.*", "public.apart"))
    assert "large objects" not in place.look(erasing=False, selection=everything)
    place.sql("SELECT lo_from_bytea(0, 'scan')")

    reading = place.look(erasing=False, selection=everything)["large objects"]
    erasing = place.look(erasing=True, selection=everything)["large objects"]
    place.heed({"reading": reading, "erasing": erasing})

    assert reading.hint == 'GRANT SELECT ON TABLE pg_catalog.pg_largeobject TO "fe""w";'
    assert erasing.hint == 'ALTER ROLE "fe""w" SUPERUSER; or name a superuser in erase_url'
    assert place.look(erasing=False, selection=everything)["large objects"].good
    assert place.look(erasing=True, selection=everything)["large objects"].good


def test_the_right_to_checkpoint_is_told_where_the_server_is_to_go(place: Place) -> None:
    """Tables that go whole are kept from it until then, which takes one; the log is not switched."""
    here = Surroundings(str(place.server.data), retire_server=True)
    reader = open_reader(place.server.url(place.database, "fe%22w"), SELECTION, here)
    assert isinstance(reader, Checked)

    found = {one.what: one for one in reader.checks(Grade.L2, frozenset(), erasing=True)}

    (told,) = [one for what, one in found.items() if what == "checkpoints and the log"]
    assert not told.good
    as_role = 'GRANT pg_checkpoint TO "fe""w";'
    assert told.hint == (as_role if place.server.version >= 150000 else 'ALTER ROLE "fe""w" SUPERUSER;')


def test_a_name_in_a_hint_is_harmless_and_exact(place: Place) -> None:
    """Controls of a terminal are written as SQL escapes them, and the hint still means the table."""
    name = 'a\x1b[31m "b" \\c\nd\u202e'
    quoted = '"' + name.replace('"', '""') + '"'
    place.sql(f"CREATE SCHEMA {quoted}", f"CREATE TABLE {quoted}.{quoted} (n int)")

    found = {what: place.look(erasing=False)[what] for what in ("schemas", "tables to read")}
    place.heed(found)

    assert r'U&"a\+00001B[31m ""b"" \\c\+00000Ad\+00202E"' in found["schemas"].hint
    assert all(one.hint.isprintable() for one in found.values())
    assert place.look(erasing=False)["tables to read"].good


def test_a_table_that_keeps_a_history_is_told_by_name(place: Place) -> None:
    """What a trigger fills with what goes is to be taken into the scope, under its name."""
    place.sql(
        "CREATE TABLE was AS SELECT * FROM patient",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO was VALUES (OLD.id, OLD.name); RETURN OLD; END'",
        "CREATE TRIGGER keeps BEFORE DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep()",
    )

    found = place.look(erasing=False, user="postgres")["copies: history table"]

    assert found.hint.startswith("take public.was into the scope")


def test_transactions_that_keep_deleted_rows_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is open is ended by what is said; one that was prepared is counted."""
    monkeypatch.setattr(privileges, "_LONG", 0)
    place.sql("BEGIN", "CREATE TABLE later (n int)", "PREPARE TRANSACTION 'later'")
    with place.server.connect(place.database) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM patient")
        pid = other.info.backend_pid
        found = place.look(erasing=True, user="postgres")["open transactions"]

        assert found.hint.startswith(
            f"SELECT pg_terminate_backend({pid}); SELECT gid FROM pg_prepared_xacts;"
        )
        place.heed({"": found})
        other.close()
    place.sql("ROLLBACK PREPARED 'later'")

    assert place.look(erasing=True, user="postgres")["open transactions"].good


def test_a_table_that_does_not_fit_beside_itself_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewriting takes as much room again, where the largest table in scope lies."""
    place.sql("CREATE TABLE larger AS SELECT n FROM generate_series(1, 10000) n")  # is not in scope
    asked: list[Path] = []

    def usage(path: Path) -> Any:
        asked.append(path)
        return type("Usage", (), {"free": 1000})

    monkeypatch.setattr(privileges.shutil, "disk_usage", usage)
    found = place.look(erasing=True, user="postgres")["room to rewrite"]
    size = place.sql("SELECT pg_total_relation_size('patient')")[0][0]

    assert found.hint == f"make room for {size - 1000:,} bytes more"
    assert [path.parent for path in asked] == [place.server.data / "base"]


def test_files_that_this_user_may_not_read_name_the_user_who_may(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the data directory, or root."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("cenotaph.stores.postgres.beneath.raw.open", denied, raising=False)
    reader = open_reader(place.server.url(place.database), SELECTION)
    assert isinstance(reader, Checked)
    found = {one.what: one for one in reader.checks(Grade.L2, SHARED, erasing=False)}["files of the server"]

    assert "may not be read by this user" in found.says
    assert "run as the user postgres (sudo -u postgres cenotaph …)" in found.hint


class Far:
    """A session with a server on another machine, and an older one."""

    local, version = False, 130000

    def __init__(self, *, tls: str) -> None:
        self._tls = tls

    def encrypted(self) -> bool:
        return False

    def logs_keys(self) -> bool:
        return True

    def one(self, query: str, *_: object) -> object:
        return {"SHOW ssl": self._tls, "SELECT current_user::text": "few"}[query]


def test_what_crosses_the_network_in_clear_is_told() -> None:
    """With what the server lacks, where it is the server that lacks it."""
    able: Any = Far(tls="on")
    unable: Any = Far(tls="off")

    assert not privileges._encryption(able).good
    assert privileges._encryption(able).hint == "add ?sslmode=verify-full to the store's address"
    assert "ALTER SYSTEM SET ssl = 'on'; SELECT pg_reload_conf();" in privileges._encryption(unable).hint


def test_older_servers_are_told_what_they_know() -> None:
    """Before 15 no parameter could be granted: a superuser sets it for the role."""
    older: Any = Far(tls="on")

    assert privileges._logging(older).hint == 'ALTER ROLE "few" SET log_parameter_max_length = 0;'
    assert privileges._grant_set(older, "session_replication_role") == 'ALTER ROLE "few" SUPERUSER;'


def test_a_parameter_that_a_superuser_set_for_the_role_counts(place: Place) -> None:
    """It is what the session has that matters, not who set it."""
    place.sql("ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()")
    place.sql('ALTER ROLE "fe""w" SET log_parameter_max_length = 0')
    time.sleep(SETTLED)

    assert place.look(erasing=False)["keys in the server's log"].good


def test_doctor_looks_with_both_roles(place: Place, tmp_path: Path) -> None:
    """The role that reads and the one that erases, each for what it is to do, under the store's name."""
    place.sql('GRANT pg_read_all_data TO "fe""w"', 'ALTER ROLE "fe""w" BYPASSRLS')
    text = store(
        "clinic",
        place.server.url(place.database, "fe%22w"),
        f'erase_url = "{place.server.url(place.database)}"',
        'shared = ["statistics", "wal"]',
        'owner = "Host Co"',
    )
    made = SmallCase.make(tmp_path, text)

    found = {one.what: one for one in checks.run(made.path, open_reader)}

    assert found["store clinic, reading: tables to read"].good
    assert not found["store clinic, reading: monitoring"].good
    assert found["store clinic, erasing: tables to rewrite"].good
    assert "store clinic, reading: tables to rewrite" not in found
    assert "4 collections, can reach L1" in found["store clinic"].says


def test_a_connection_that_is_refused_says_why(place: Place) -> None:
    """No such role, no such database, a role that may not connect: and what to run."""
    place.sql(f"REVOKE CONNECT ON DATABASE {place.database} FROM PUBLIC")
    for user, database, why, hint in (
        ("nobody", place.database, "no role of this name", "CREATE ROLE"),
        ("app", place.database, "none that logs in", "ALTER ROLE"),
        ("postgres", "nowhere", "no database of this name", "url"),
        ("fe%22w", place.database, "may not connect to the database", "GRANT CONNECT ON DATABASE"),
    ):
        with pytest.raises(PermanentStoreError, match=why) as refused:
            open_reader(place.server.url(database, user), SELECTION)
        assert hint in str(refused.value.hint)
        assert not [name for name in (user, database) if name in repr(refused.value) and name != "postgres"]
