"""What a survey of PostgreSQL tells beside tables: large objects, views, histories, triggers, exposure."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import postgres_server
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import EVERYTHING, Hold, Selection, parse_predicate
from cenotaph.store import Collection
from cenotaph.stores.postgres import open_reader
from cenotaph.stores.postgres.catalog import exposure, large_objects, schema
from cenotaph.stores.postgres.session import Place, Session

postgres_server.need()

OBJECTS = "pg_catalog.pg_largeobject"
PATIENTS = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text, phone text, born date)",
    "INSERT INTO patient SELECT n, 'name ' || n, '139' || n, '1990-01-01' FROM generate_series(1, 30) n",
)


class Database(postgres_server.Database):
    """With what a reader says of it."""

    def collections(self, selection: Selection = EVERYTHING) -> dict[str, Collection]:
        return {c.name: c for c in open_reader(self.url, selection).collections()}

    def copies(self, name: str, selection: Selection = EVERYTHING) -> set[tuple[str, str, str]]:
        """Kind, place and what becomes of it, of copies within the database."""
        reader = open_reader(self.url, selection)
        of_server = {"wal", "statistics"}
        return {
            (c.kind, c.place, str(c.disposition))
            for c in reader.copies(self.collections(selection)[name])
            if c.kind not in of_server
        }


@pytest.fixture
def database() -> Iterator[Any]:
    with postgres_server.making(Database) as make:
        yield make


# ── large objects ────────────────────────────────────────────────────────────────────────────────


def test_large_objects_are_read_page_by_page(database: Any) -> None:
    """All of an object's bytes, in order, and none where the database has none."""
    it = database(*PATIENTS)
    assert OBJECTS not in it.collections()
    it.sql(
        "SELECT lo_from_bytea(7001, convert_to(repeat('scan of somebody ', 500), 'UTF8'))",
        "SELECT lo_create(7002)",
    )

    found = it.collections()[OBJECTS]
    (partition,) = open_reader(it.url, EVERYTHING).partitions(found)
    read = [row for b in open_reader(it.url, EVERYTHING).batches(partition) for row in b.to_pylist()]

    assert (found.format, found.order, found.records) == ("large object", "key", 5)
    assert [(row["loid"], row["pageno"]) for row in read] == [(7001, n) for n in range(5)]
    assert b"".join(row["data"] for row in read) == b"scan of somebody " * 500


def test_an_object_is_never_cut(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions end where objects do, whatever their size, and take at most so many objects."""
    monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 6)
    monkeypatch.setattr(large_objects, "OBJECTS_AT_ONCE", 4)
    it = database(
        *(
            f"SELECT lo_from_bytea({7000 + n}, decode(repeat('00ff', {1024 * n}), 'hex'))"
            for n in (1, 4, 9, 2)
        ),
        *(f"SELECT lo_from_bytea({7100 + n}, 'short')" for n in range(9)),
    )
    reader = open_reader(it.url, EVERYTHING)

    parts = reader.partitions(it.collections()[OBJECTS])
    numbers = [{row for b in reader.batches(p) for row in b.column("loid").to_pylist()} for p in parts]

    assert sum(map(len, numbers)) == len(set.union(*numbers)) == 13
    assert sum(p.records for p in parts) == 1 + 4 + 9 + 2 + 9
    assert max(map(len, numbers)) <= 4
    assert len(parts) > 3


@pytest.mark.parametrize(
    ("selection", "copies"),
    [
        (EVERYTHING, {"patient": None, "letter": None}),
        (Selection(collections=("public.*",)), {"patient": "keep", "letter": "not reached"}),
        (Selection(rows=parse_predicate("id < 9")), {"patient": "not reached", "letter": "not reached"}),
        (
            Selection(holds=(Hold(rows=parse_predicate("id < 9")),)),
            {"patient": "not reached", "letter": "not reached"},
        ),
        (Selection(holds=(Hold(collections=("public.patient",)),)), {"patient": None, "letter": None}),
    ],
    ids=["everything", "by name", "by rows", "rows held", "a table held"],
)
def test_large_objects_that_are_not_in_scope_are_a_copy(
    database: Any, selection: Selection, copies: dict[str, str | None]
) -> None:
    """What chooses or holds rows cannot choose objects; and a column may name objects that nobody named."""
    it = database(
        *PATIENTS, "CREATE TABLE letter (id int8 PRIMARY KEY, content oid)", "SELECT lo_from_bytea(7001, 'x')"
    )

    for table, becomes in copies.items():
        expected = set() if becomes is None else {("large objects", OBJECTS, becomes)}
        assert it.copies(f"public.{table}", selection) == expected
    assert (OBJECTS in it.collections(selection)) == (set(copies.values()) == {None})


def test_large_objects_that_may_not_be_read_are_refused(database: Any) -> None:
    """A role that cannot see objects which are in scope is told so: nothing is left out in silence."""
    it = database(
        *PATIENTS, "SELECT lo_from_bytea(7001, 'x')", "DROP ROLE IF EXISTS reads", "CREATE ROLE reads LOGIN"
    )
    it.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reads")
    url = it.server.url(it.name, "reads")

    with pytest.raises(PermanentStoreError, match="large objects"):
        open_reader(url, EVERYTHING).collections()
    named = open_reader(url, Selection(collections=("public.*",)))

    assert [c.name for c in named.collections()] == ["public.patient"]
    assert {c.kind for c in named.copies(named.collections()[0])} >= {"large objects"}
    it.sql("DROP OWNED BY reads", "DROP ROLE reads")


# ── views and foreign tables ─────────────────────────────────────────────────────────────────────

VIEWS = (
    *PATIENTS,
    "CREATE TABLE ward (id int8 PRIMARY KEY, name text)",
    "CREATE VIEW plain AS SELECT name, phone FROM patient",
    "CREATE MATERIALIZED VIEW of_patients AS SELECT name FROM plain",
    "CREATE MATERIALIZED VIEW above AS SELECT upper(name) AS name FROM of_patients",
    "CREATE MATERIALIZED VIEW mixed AS SELECT p.name, w.name AS ward FROM patient p, ward w",
    "CREATE MATERIALIZED VIEW never AS SELECT name FROM patient WITH NO DATA",
    "CREATE MATERIALIZED VIEW wards AS SELECT * FROM ward",
)


def test_a_view_is_destroyed_with_the_tables_that_it_reads(database: Any) -> None:
    """Through plain views and other materialized views; one that also reads what stays is not reached."""
    it = database(*VIEWS)

    views = it.copies("public.patient", Selection(collections=("public.patient",)))
    all_of_them = it.copies("public.patient")

    assert views == {
        ("materialized view", "public.of_patients", "destroy"),
        ("materialized view", "public.above", "destroy"),
        ("mixed materialized view", "public.mixed", "not reached"),
    }
    assert {disposition for _, _, disposition in all_of_them} == {"destroy"}
    assert it.copies("public.ward", Selection(collections=("public.patient",))) == {
        ("mixed materialized view", "public.mixed", "keep"),
        ("materialized view", "public.wards", "keep"),
    }


def test_a_view_of_a_partitioned_table_reads_every_partition(database: Any) -> None:
    """A view names the parent, and its rows come from the children."""
    it = database(
        "CREATE TABLE visit (id int8, name text) PARTITION BY LIST (id)",
        "CREATE TABLE visit_1 PARTITION OF visit FOR VALUES IN (1)",
        "CREATE TABLE visit_2 PARTITION OF visit FOR VALUES IN (2)",
        "CREATE MATERIALIZED VIEW names AS SELECT name FROM visit",
    )

    assert it.copies("public.visit_1") == {("materialized view", "public.names", "destroy")}
    assert it.copies("public.visit_1", Selection(collections=("public.visit_1",))) == {
        ("mixed materialized view", "public.names", "not reached")
    }


def test_foreign_tables_are_told_with_their_kind(database: Any) -> None:
    """Never read: a view on one is not refreshed, and out of scope by name it is no concern of the case."""
    it = database(
        *PATIENTS,
        "CREATE FOREIGN DATA WRAPPER wrapper",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER wrapper",
        "CREATE FOREIGN TABLE archive (name text) SERVER elsewhere",
    )

    assert it.copies("public.patient") == {("foreign table (wrapper)", "public.archive", "not reached")}
    assert it.copies("public.patient", Selection(collections=("public.patient",))) == {
        ("foreign table (wrapper)", "public.archive", "keep")
    }


# ── histories ────────────────────────────────────────────────────────────────────────────────────

ONLY = Selection(collections=("public.patient",))


@pytest.mark.parametrize(
    ("twin", "more"),
    [
        ("CREATE TABLE patient_history (old jsonb)", ()),
        ("CREATE TABLE patient_20210301 AS SELECT * FROM patient", ()),
        ("CREATE TABLE audit_patient (old jsonb)", ()),
        ("CREATE SCHEMA audit CREATE TABLE patient (old jsonb)", ()),
        ("CREATE TABLE elder AS SELECT *, now() AS at FROM patient", ()),
        (
            'CREATE TABLE "Kept Rows" (old text)',
            (
                "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO public.\"Kept Rows\" VALUES (OLD.name); RETURN OLD; END'",
                "CREATE TRIGGER keep BEFORE DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep()",
            ),
        ),
        (
            "CREATE TABLE told (old text)",
            (
                "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN EXECUTE format(''INSERT INTO %I VALUES ($1)'', TG_ARGV[0]) USING OLD.name;"
                " RETURN OLD; END'",
                "CREATE TRIGGER keep BEFORE DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep('told')",
            ),
        ),
        (
            "CREATE TABLE ruled (old text)",
            ("CREATE RULE keep AS ON UPDATE TO patient DO ALSO INSERT INTO ruled VALUES (OLD.name)",),
        ),
    ],
    ids=["name", "date", "prefix", "schema", "columns", "trigger", "argument", "rule"],
)
def test_a_history_out_of_scope_is_a_copy(database: Any, twin: str, more: tuple[str, ...]) -> None:
    """By its name, its columns, or what fills it; while it has a row, and is not itself in the scope."""
    it = database(*PATIENTS, twin, *more)
    (name,) = {c for c in it.collections() if c != "public.patient"}
    kinds = {kind for kind, place, _ in it.copies("public.patient", ONLY) if place == name}
    it.sql(f"INSERT INTO {quoted(name)} VALUES (DEFAULT)")

    assert kinds == (set() if " AS SELECT" not in twin else {"history table"})
    assert it.copies("public.patient", ONLY) == {("history table", name, "not reached")}
    assert it.copies("public.patient") == set()


def quoted(name: str) -> str:
    schema, _, relation = name.partition(".")
    return f'"{schema}"."{relation}"'


def test_the_history_of_a_parent_is_that_of_its_partitions(database: Any) -> None:
    """By the parent's name, and by a trigger of the parent that the partitions do not have."""
    it = database(
        "CREATE TABLE visit (id int8, name text) PARTITION BY LIST (id)",
        "CREATE TABLE visit_of_2020 PARTITION OF visit FOR VALUES IN (1)",
        "CREATE TABLE visit_log AS SELECT 1 AS id",
        "CREATE TABLE told AS SELECT 1 AS id",
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO told SELECT id FROM gone; RETURN NULL; END'",
        "CREATE TRIGGER tell AFTER DELETE ON visit REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION tell()",
    )

    assert it.copies("public.visit_of_2020", Selection(collections=("public.visit_of_2020",))) == {
        ("history table", "public.visit_log", "not reached"),
        ("history table", "public.told", "not reached"),
    }


def test_what_only_looks_like_another_table_is_no_history(database: Any) -> None:
    """Tables of the same shape with a key of their own, partitions, what a trigger reads, and others."""
    it = database(
        "CREATE TABLE address (id int8 PRIMARY KEY, street text, city text, zip text)",
        "INSERT INTO address VALUES (1, 'a', 'b', 'c')",
        "CREATE TABLE supplier_address (id int8 PRIMARY KEY, street text, city text, zip text, of int8)",
        "INSERT INTO supplier_address VALUES (1, 'a', 'b', 'c', 1)",
        "CREATE TABLE logo AS SELECT 1 AS id",
        "CREATE TABLE log AS SELECT 1 AS id",
        "CREATE TABLE rate AS SELECT 1 AS id",
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM id FROM rate; RETURN NEW; END'",
        "CREATE TRIGGER look BEFORE INSERT ON address FOR EACH ROW EXECUTE FUNCTION look()",
        "CREATE TABLE visit (id int8 PRIMARY KEY, a int4, b int4, c int4) PARTITION BY RANGE (id)",
        "CREATE TABLE visit_2021 PARTITION OF visit FOR VALUES FROM (1) TO (9)",
        "CREATE TABLE visit_2021_old PARTITION OF visit FOR VALUES FROM (9) TO (99)",
        "INSERT INTO visit VALUES (1), (10)",
    )

    for name in it.collections():
        assert it.copies(name, Selection(collections=(name,))) == set()


def test_notes_say_what_matters_when_rows_go(database: Any) -> None:
    """Triggers, links by a column's name alone, no key, attributes, second copies; counts, and no names."""
    it = database(
        *PATIENTS,
        "CREATE TABLE audit (row jsonb)",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO audit VALUES (to_jsonb(OLD)); RETURN OLD; END'",
        "CREATE TRIGGER keep BEFORE DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep()",
        "CREATE TABLE visit (id int8 PRIMARY KEY, patient_id int8)",
        "CREATE TABLE bill (id int8 PRIMARY KEY, patient_id int8 REFERENCES patient)",
        "CREATE TABLE patient_attribute (patient_id int8, attribute_type int4, value text)",
        "CREATE TABLE document (id int8 PRIMARY KEY, body text,"
        " words tsvector GENERATED ALWAYS AS (to_tsvector('simple', body)) STORED)",
        "ALTER TABLE document ENABLE ROW LEVEL SECURITY",
        "CREATE TABLE person (id int8 PRIMARY KEY)",
        "CREATE TABLE employee () INHERITS (person)",
    )

    notes = {name.partition(".")[2]: c.notes for name, c in it.collections().items()}
    scoped = it.collections(Selection(collections=("public.patient", "public.visit")))

    assert notes["patient"] == (
        "triggers: 1; tables that they seem to write to: 1, 0 out of scope",
        "tables that seem to name its records without a foreign key: 2, 0 out of scope",
    )
    assert scoped["public.patient"].notes == (
        "triggers: 1; tables that they seem to write to: 1, 1 out of scope",
        "tables that seem to name its records without a foreign key: 2, 1 out of scope",
    )
    assert [note.split(":")[0] for note in notes["patient_attribute"]] == [
        "no key without nulls",
        "entity, attribute and value",
    ]
    assert [note.split(":")[0] for note in notes["document"]] == [
        "copies in the row itself",
        "row-level security is on",
    ]
    assert [note.split(":")[0] for note in notes["employee"]] == [
        "no key without nulls",
        "inherits, or is inherited from",
    ]
    assert notes["visit"] == notes["bill"] == scoped["public.audit"].notes == ()


# ── who can get at it ────────────────────────────────────────────────────────────────────────────


def test_a_server_open_to_all_is_told() -> None:
    """Trust from anywhere, no TLS, every address, passwords in clear text, superusers, grants to everybody.

    The rules are those of the file as it stands: the server did not load them, and lets nobody else in."""
    server = postgres_server.start(port=_free_port(), listen_addresses="*", track_commit_timestamp="on")
    try:
        (server.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 0.0.0.0/0 trust\n"
            "host replication all 10.1.0.0/16 trust\nhost all all 10.2.0.0/16 password\n"
        )
        name = server.database(*PATIENTS, "CREATE TABLE mine (id int8)", "GRANT SELECT ON patient TO PUBLIC")
        server.run(
            "CREATE ROLE second SUPERUSER LOGIN PASSWORD NULL",
            "SET password_encryption = 'md5'",
            "CREATE ROLE third LOGIN PASSWORD 'x'",
        )
        reader = open_reader(server.url(name), EVERYTHING)

        assert reader.exposures() == [
            "the server listens on every address of its machine",
            "connections from other machines are not encrypted: TLS is off",
            "without a password: every user of its machine may connect (rules of pg_hba.conf: 2)",
            "without a password: other machines may connect (rules of pg_hba.conf: 2, from any address: 1)",
            "passwords may cross the network in clear text (rules of pg_hba.conf: 1)",
            "superusers that may log in: 2",
            "roles that may log in and have no password: 2",
            "passwords that are stored as MD5: 1",
            "tables in scope that every role of the database can read: 1",
        ]
        assert reader.last_write() == f"{datetime.datetime.now(datetime.UTC):%Y-%m}"
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_a_role_may_not_see_is_said(database: Any) -> None:
    """Without rights on the rules of access, that they are not told is the finding."""
    it = database(*PATIENTS, "DROP ROLE IF EXISTS reads", "CREATE ROLE reads LOGIN")
    it.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reads")

    reader = open_reader(it.server.url(it.name, "reads"), EVERYTHING)

    assert any("not told to this role" in sentence for sentence in reader.exposures())
    assert reader.last_write() is None
    it.sql("DROP OWNED BY reads", "DROP ROLE reads")


def test_a_database_that_nobody_writes_is_dormant(database: Any) -> None:
    """By the times of its files, and only so long after the last of them."""
    it = database(*PATIENTS)
    session = Session(Place.of(it.url))
    now = datetime.datetime.now(datetime.UTC).date()
    tables = [t for t in schema.read(session).tables if t.relation == "patient"]

    young = list(exposure.exposures(session, tables, now))
    old = list(exposure.exposures(session, tables, now + datetime.timedelta(days=800)))
    session.close()

    assert not [sentence for sentence in young if "dormant" in sentence]
    assert [sentence for sentence in old if "dormant for 26 months" in sentence]
