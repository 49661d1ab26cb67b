"""Erasing from PostgreSQL: the contract, and what else would change with the rows that go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from test_postgres_contract import GONE, STAY, PostgresEstate

import postgres_server
from cenotaph import stores
from cenotaph.errors import DriftError, PermanentStoreError, TransientStoreError, UsageError
from cenotaph.scope import Hold, Selection, parse_predicate
from cenotaph.store import Eraser, Erasure, Grade
from cenotaph.stores.postgres import commands, open_eraser, open_reader, writing
from cenotaph.stores.postgres.session import Place
from cenotaph.testing.contract import Log, Rows, StoreContract

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


@pytest.mark.slow
class TestWholeTable(_OnServer):
    """A table goes whole, another one stays."""

    def make(self, folder: Path) -> ErasableEstate:
        return self.estate_of(Selection(collections=("*.gone",)), GONE[:20], STAY[:20], "PRIMARY KEY")


class TestSomeRows(_OnServer):
    """Rows by predicate, some of them held, from a table with a key."""

    kills_at_least = 2

    @pytest.mark.slow
    def test_a_run_that_stops_anywhere_is_resumed(self, tmp_path: Path) -> None:
        super().test_a_run_that_stops_anywhere_is_resumed(tmp_path)

    def make(self, folder: Path) -> ErasableEstate:
        selection = Selection(
            collections=("public.gone",), rows=parse_predicate("id < 360"), holds=(self.held,)
        )
        return self.estate_of(selection, GONE[:10] + GONE[60:70], [*STAY[:9], *GONE[30:40]], "PRIMARY KEY")


@pytest.mark.slow
class TestSomeRowsWithoutAKey(_OnServer):
    """Rows by predicate from a table that no key orders. In one partition: a row that is changed moves, and
    would be missed in one and new in another."""

    partition = 1000

    def make(self, folder: Path) -> ErasableEstate:
        selection = Selection(collections=("public.gone",), rows=parse_predicate("id < 360"))
        return self.estate_of(selection, GONE[:10], [*STAY[:9], *GONE[360:370]], "NOT NULL")


# ── what else would change ───────────────────────────────────────────────────────────────────────


class Clinic(postgres_server.Database):
    """Erasing goes by ordinal in the store's own order, as `destroy` does."""

    def erase(self, *collections: str, user: str = postgres_server.USER, **more: Any) -> list[Erasure]:
        """Erase whole collections, or rows of them, and leave what was sealed before anything went."""
        selection = Selection(collections=collections, **more)
        reader = open_reader(self.url, selection)
        chosen = [c for c in reader.collections() if c.records]
        sealed = {c.ordinal: [(p, Rows(reader.batches(p))) for p in reader.partitions(c)] for c in chosen}
        eraser = open_eraser(self.server.url(self.name, user), selection)
        try:
            return [
                eraser.erase(partition, rows, Log(sealed=rows))
                for ordinal in eraser.order(chosen)
                for partition, rows in sealed[ordinal]
            ]
        finally:
            eraser.close()
            reader.close()


@pytest.fixture
def clinic() -> Iterator[Callable[..., Clinic]]:
    with postgres_server.making(Clinic) as make:
        yield make


PATIENTS = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text)",
    "INSERT INTO patient SELECT n, 'name ' || n FROM generate_series(1, 300) n",
)
MakeClinic: TypeAlias = Callable[..., Clinic]


def test_tables_that_refer_go_first(clinic: MakeClinic) -> None:
    """By name the parent stands first; by foreign key it goes last, and nothing is left."""
    it = clinic(
        *PATIENTS,
        "CREATE TABLE visit (id serial PRIMARY KEY, patient int8 NOT NULL REFERENCES patient)",
        "CREATE TABLE visit_note (visit int4 REFERENCES visit ON DELETE RESTRICT, note text)",
        "INSERT INTO visit (patient) SELECT n FROM generate_series(1, 300) n",
        "INSERT INTO visit_note SELECT n, 'note' FROM generate_series(1, 300) n",
    )

    it.erase("*")

    assert it.sql("SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM visit)") == [(0, 0)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT", "NO ACTION", "RESTRICT"])
def test_rows_of_a_table_that_nobody_named_do_not_change(clinic: MakeClinic, action: str) -> None:
    """Rows that stay refer to some that would go: nothing goes, whatever the foreign key would do to them."""
    it = clinic(
        *PATIENTS,
        f"CREATE TABLE bill (id int8, patient int8 DEFAULT 1 REFERENCES patient ON DELETE {action})",
        "INSERT INTO bill VALUES (1, 17)",
    )

    with pytest.raises(PermanentStoreError, match="refer to some of these"):
        it.erase("public.patient")

    assert it.sql("SELECT (SELECT count(*) FROM patient), patient FROM bill") == [(300, 17)]


def test_settings_that_a_database_has_of_its_own_do_not_weaken_what_is_erased_with(
    clinic: MakeClinic,
) -> None:
    """With these, sessions on it check no foreign keys, and a commit may not outlive a crash: rows that refer
    to others would be left without them, and rows that the journal has as done would be back."""
    it = clinic(
        *PATIENTS,
        "CREATE TABLE bill (id int8, patient int8 REFERENCES patient)",
        "INSERT INTO bill VALUES (1, 17)",
    )
    it.sql(
        f"ALTER DATABASE {it.name} SET session_replication_role = replica",
        f"ALTER DATABASE {it.name} SET synchronous_commit = off",
    )

    with pytest.raises(PermanentStoreError, match="refer to some of these"):
        it.erase("public.patient")

    assert it.sql("SELECT count(*) FROM patient") == [(300,)]
    with closing(writing.Writer(Place.of(it.url))) as writer:
        assert writer.one("SHOW synchronous_commit") == "local"


def test_nothing_begins_that_would_be_refused(clinic: MakeClinic) -> None:
    """Rows that would change are looked for before the journal says that anything has begun."""
    it = clinic(
        *PATIENTS,
        "CREATE TABLE bill (id int8, patient int8 REFERENCES patient ON DELETE CASCADE)",
        "INSERT INTO bill VALUES (1, 17)",
    )
    selection = Selection(collections=("public.patient",))
    reader, eraser, log = open_reader(it.url, selection), open_eraser(it.url, selection), Log()
    (patient,) = [c for c in reader.collections() if c.records]
    (partition,) = reader.partitions(patient)

    with pytest.raises(PermanentStoreError, match="refer to some of these"):
        eraser.erase(partition, Rows(reader.batches(partition)), log)
    eraser.close()

    assert log.events == []


def test_a_table_that_is_altered_before_the_lock_is_drift(
    clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compared with the seal is the table as the lock found it, a new column included."""
    it = clinic(*PATIENTS)
    lock = writing.Writer.lock

    def altered(self: writing.Writer, table: Any, what: str) -> None:
        it.sql("ALTER TABLE patient ADD extra text DEFAULT 'not sealed'")
        lock(self, table, what)

    monkeypatch.setattr(writing.Writer, "lock", altered)
    with pytest.raises(DriftError):
        it.erase("public.patient")

    assert it.sql("SELECT count(*) FROM patient WHERE extra = 'not sealed'") == [(300,)]


def test_rows_that_nobody_refers_to_can_go(clinic: MakeClinic) -> None:
    """What refers to rows that stay is no hindrance, and is not touched."""
    it = clinic(
        *PATIENTS,
        "CREATE TABLE bill (id int8, patient int8 REFERENCES patient ON DELETE CASCADE)",
        "INSERT INTO bill VALUES (1, 17)",
    )

    it.erase("public.patient", rows=parse_predicate("id <> 17"))

    assert it.sql("SELECT p.id, b.id FROM patient p, bill b") == [(17, 1)]


def test_a_cycle_of_foreign_keys_goes_whole(clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables that refer to each other, and one to itself, in several partitions: no order is right."""
    monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 100)
    it = clinic(
        *PATIENTS,
        "CREATE TABLE doctor (id int8 PRIMARY KEY, deputy int8 REFERENCES doctor ON DELETE CASCADE,"
        " patient int8 REFERENCES patient)",
        "INSERT INTO doctor SELECT n, 1, n FROM generate_series(1, 300) n",
        "ALTER TABLE patient ADD doctor int8 REFERENCES doctor",
        "UPDATE patient SET doctor = id",
    )

    erasures = it.erase("*")

    assert [e.records for e in erasures] == [100] * 6
    assert it.sql("SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM doctor)") == [(0, 0)]
    assert it.sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == [(3,)]


def test_triggers_that_copy_do_not_run_and_stay_as_they_were(clinic: MakeClinic) -> None:
    """A history trigger would write every deleted person again; each keeps the state that it had."""
    it = clinic(
        *PATIENTS,
        "CREATE TABLE history (was text)",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO history VALUES (OLD.name); RETURN OLD; END'",
        *(
            f"CREATE TRIGGER {name} BEFORE DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep()"
            for name in ("plain", '"al""ways"', "never", "replica")
        ),
        'ALTER TABLE patient ENABLE ALWAYS TRIGGER "al""ways"',
        "ALTER TABLE patient DISABLE TRIGGER never",
        "ALTER TABLE patient ENABLE REPLICA TRIGGER replica",
    )
    states = "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    before = it.sql(states)

    (erasure,) = it.erase("public.patient")

    assert it.sql("SELECT count(*) FROM history") == [(0,)]
    assert it.sql(states) == before
    assert any("3 triggers did not run" in note for note in erasure.notes)


def test_a_trigger_that_a_partition_has_of_its_parent_does_not_run_either(clinic: MakeClinic) -> None:
    """Before PostgreSQL 15 it counts as internal, and DISABLE TRIGGER USER passes over it; made so here."""
    it = clinic(
        "CREATE TABLE visit (id int PRIMARY KEY, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (1000)",
        "INSERT INTO visit SELECT g, 'person ' || g FROM generate_series(1, 50) g",
        "CREATE TABLE history (was text)",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO history VALUES (OLD.name); RETURN OLD; END'",
        "CREATE TRIGGER kept BEFORE DELETE ON visit FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    with it.server.connect(it.name) as link:
        link.execute("SET allow_system_table_mods = on")
        link.execute("UPDATE pg_trigger SET tgisinternal = true WHERE tgparentid <> 0")

    it.erase("public.visit_1")

    assert it.sql("SELECT count(*) FROM visit") == [(0,)]
    assert it.sql("SELECT count(*) FROM history") == [(0,)]
    assert it.sql("SELECT DISTINCT tgenabled::text FROM pg_trigger WHERE tgname = 'kept'") == [("O",)]


def test_a_rule_that_rewrites_deletions_is_refused(clinic: MakeClinic) -> None:
    """DELETE would be another statement: nothing is done, and the rule is named as the reason."""
    it = clinic(*PATIENTS, "CREATE RULE keep AS ON DELETE TO patient DO INSTEAD NOTHING")

    with pytest.raises(PermanentStoreError, match="rule"):
        it.erase("public.patient")

    assert it.sql("SELECT count(*) FROM patient") == [(300,)]


def test_a_lock_of_another_session_is_waited_for_and_told(
    clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes is in the way: said with the number of the process, and nothing has gone."""
    monkeypatch.setitem(writing._WRITES, "lock_timeout", "100ms")
    it = clinic(*PATIENTS)
    with it.server.connect(it.name) as other:
        other.autocommit = False
        other.execute("UPDATE patient SET name = name WHERE id = 1")
        with pytest.raises(TransientStoreError, match=rf"server process {other.info.backend_pid} "):
            it.erase("public.patient")
        other.rollback()

    assert it.sql("SELECT count(*) FROM patient") == [(300,)]


def test_a_role_that_may_only_read_is_refused(clinic: MakeClinic) -> None:
    """Without the right to delete: the right is named, and nothing has gone."""
    it = clinic(*PATIENTS, "DROP ROLE IF EXISTS reads", "CREATE ROLE reads LOGIN")
    it.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reads")

    with pytest.raises(PermanentStoreError, match="may not be"):
        it.erase("public.patient", user="reads")

    assert it.sql("SELECT count(*) FROM patient") == [(300,)]
    it.sql("DROP OWNED BY reads", "DROP ROLE reads")


def test_statistics_of_parents_and_expressions_are_forgotten(clinic: MakeClinic) -> None:
    """A partitioned table and an index on an expression remember people of their own."""
    it = clinic(
        "CREATE TABLE patient (id int8, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE patient_1 PARTITION OF patient FOR VALUES FROM (0) TO (1000)",
        "CREATE INDEX ON patient_1 (upper(name))",
        "CREATE STATISTICS pairs (mcv) ON id, name FROM patient_1",
        "INSERT INTO patient SELECT n % 9, 'name ' || n % 9 FROM generate_series(1, 300) n",
        "ANALYZE",
    )
    remembered = (
        "SELECT (SELECT count(*) FROM pg_statistic s JOIN pg_class c ON c.oid = starelid"
        " WHERE relname LIKE 'patient%'), (SELECT count(*) FROM pg_statistic_ext_data"
        " WHERE num_nonnulls(stxdndistinct, stxddependencies, stxdmcv) > 0)"
    )
    assert it.sql(remembered) == [(5, 1)]
    selection = Selection(collections=("*",))
    it.erase("*")
    eraser = open_eraser(it.url, selection, SHARED)

    reclaimed = eraser.reclaim(open_reader(it.url, selection).collections())
    eraser.close()

    assert it.sql(remembered) == [(0, 0)]
    assert reclaimed.freed_bytes > 0
    assert it.sql("SELECT * FROM patient WHERE id = 1 AND name = 'a'") == []  # can be planned
    it.sql("ANALYZE", "DROP TABLE patient")


def test_servers_before_15_keep_an_empty_row_of_extended_statistics() -> None:
    """Without that row nobody can read, analyse or drop the table any more."""
    (_, before), (_, since) = commands.forget(140000), commands.forget(150000)

    assert before.text.startswith("UPDATE pg_statistic_ext_data SET stxdndistinct = NULL")
    assert "stxdexpr" in before.text
    assert "stxdexpr" not in commands.forget(130000)[1].text
    assert since.text.startswith("DELETE FROM pg_statistic_ext_data")


def test_without_the_shared_actions_the_grade_says_so(clinic: MakeClinic) -> None:
    """Rewriting the tables alone leaves the log and the statistics: L1, with the reason."""
    it = clinic(*PATIENTS)
    it.erase("*")
    eraser = open_eraser(it.url, Selection(collections=("*",)))

    reclaimed = eraser.reclaim(open_reader(it.url, Selection(collections=("*",))).collections())
    eraser.close()

    assert reclaimed.reached is Grade.L1
    assert "statistics and wal" in reclaimed.why_not_higher


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool installed without psycopg says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("cenotaph.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(UsageError, match="psycopg") as caught:
        stores.open_reader("postgresql://nobody@127.0.0.1:1/none", Selection())

    assert "cenotaph[postgres]" in (caught.value.hint or "")


def test_a_table_that_somebody_dropped_keeps_the_grade_down(clinic: MakeClinic) -> None:
    """Its files were freed as they were: nothing here rewrote them."""
    it = clinic(*PATIENTS)
    it.erase("*")
    collections = open_reader(it.url, Selection(collections=("*",))).collections()
    it.sql("DROP TABLE patient")
    eraser = open_eraser(it.url, Selection(collections=("*",)), SHARED)

    reclaimed = eraser.reclaim(collections)
    eraser.close()

    assert reclaimed.reached is Grade.L1
    assert "is gone" in reclaimed.why_not_higher


def test_what_no_step_reaches_keeps_the_grade_down(clinic: MakeClinic) -> None:
    """With every shared action, large objects that no condition on rows can choose are a place left over."""
    it = clinic(*PATIENTS, "SELECT lo_from_bytea(17, 'somebody')")
    some = Selection(rows=parse_predicate("id > 0"))
    it.erase("*", rows=some.rows)
    eraser = open_eraser(it.url, some, SHARED)

    reclaimed = eraser.reclaim(open_reader(it.url, some).collections())
    eraser.close()

    assert reclaimed.reached is Grade.L1
    assert "large objects" in reclaimed.why_not_higher
