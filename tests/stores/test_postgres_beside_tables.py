"""A case on a database whose people are in more than its tables: from the survey to a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres_server
from cenotaph_proof.statements import Inventory, Probe
from small_case import PARTIES, Clock, Person, SmallCase, grep, people, values

postgres_server.need()

WHO = people(0, 60)
STORE = """\
[[store]]
name = "register"
url = "env:REGISTER_URL"
owner = "Host Co"
shared = ["statistics", "wal"]
scope = {{ collections = [{}] }}
"""
OWNER = ("Host Co", "owner", "owner")


def scan(person: Person) -> str:
    return (
        f"name: {person.identity}\\ntelephone: {person.phone}\\n" + "a line that can be compressed\\n" * 400
    )


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[postgres_server.Server, str]]:
    server = postgres_server.shared()
    rows = ", ".join(f"({n}, '{p.identity}', '{p.phone}')" for n, p in enumerate(WHO))
    name = server.database(
        "CREATE TABLE patient (id int8 PRIMARY KEY, id_number text, phone text, scan oid)",
        "CREATE TABLE patient_history (at timestamptz DEFAULT now(), old jsonb)",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO patient_history (old) VALUES (to_jsonb(OLD)); RETURN NEW; END'",
        "CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON patient FOR EACH ROW EXECUTE FUNCTION keep()",
        f"INSERT INTO patient (id, id_number, phone) VALUES {rows}",
        *(
            f"UPDATE patient SET scan = lo_from_bytea(0, E'{scan(p)}') WHERE id = {n}"
            for n, p in enumerate(WHO)
        ),
        "CREATE MATERIALIZED VIEW by_phone AS SELECT phone, id_number FROM patient",
        "CREATE INDEX ON by_phone (phone)",
        "CREATE MATERIALIZED VIEW telephones AS SELECT phone FROM by_phone",
        "CREATE TABLE codes AS SELECT n AS id, 'code ' || n AS says FROM generate_series(1, 50) n",
        "CREATE MATERIALIZED VIEW all_codes AS SELECT * FROM codes",
        "ANALYZE",
        "CHECKPOINT",
    )
    monkeypatch.setenv("REGISTER_URL", server.url(name))
    yield server, name
    server.drop(name)


def make(root: Path, *collections: str) -> SmallCase:
    text = STORE.format(", ".join(f'"{name}"' for name in collections))
    return SmallCase.make(root, text, clock=Clock(), parties=(*PARTIES, OWNER))


@pytest.mark.slow
def test_a_case_reaches_all_of_them(tmp_path: Path, database: tuple[postgres_server.Server, str]) -> None:
    """Large objects, views upon views, a history: everybody is found before, nobody after, at L2; and what
    was not named stays as it was."""
    server, name = database
    stays = "SELECT array_agg(c ORDER BY c) FROM all_codes c"
    before, codes = grep(server.data, values(WHO)), server.run(stays, database=name)
    case = make(tmp_path, "public.patient*", "pg_catalog.pg_largeobject")

    case.go("open", "countersign-notary")
    case.approve("owner", charter=True)
    case.go("survey", "approve-notary")
    case.approve("owner")
    case.go("destroy", "certify")

    inventory = case.now().require(Inventory).body(Inventory).stores[0]
    (searched,) = case.now().require(Probe).body(Probe).stores
    (certified,) = case.certificate().stores
    assert len(before) > 3
    assert {c.name: c.format for c in inventory.collections if c.records} == {
        "pg_catalog.pg_largeobject": "large object",
        "public.patient": "table",
        "public.patient_history": "table",
    }
    assert (searched.reached, searched.residue, searched.strangers) == ("L2", 0, 0)
    assert (certified.reached, certified.unreachable) == ("L2", ())
    assert grep(server.data, values(WHO)) == []
    assert server.run(stays, database=name) == codes
    assert server.run("SELECT count(*) FROM pg_largeobject_metadata", database=name) == [(0,)]
    assert case.verdict().exit_code == 0


def test_a_history_that_nobody_named_is_in_the_inventory(
    tmp_path: Path, database: tuple[postgres_server.Server, str]
) -> None:
    """The table that the trigger fills, and the objects that a column names: copies that are not reached."""
    case = make(tmp_path, "public.patient")

    case.go("open", "countersign-notary")
    case.approve("owner", charter=True)
    case.survey()

    inventory = case.now().require(Inventory).body(Inventory).stores[0]
    (patient,) = [c for c in inventory.collections if c.name == "public.patient"]
    copies = {(line.kind, line.disposition) for line in patient.copies}
    assert {("history table", "not reached"), ("large objects", "not reached")} <= copies
    assert ("materialized view", "destroy") in copies
    assert "triggers: 1; tables that they seem to write to: 1, 1 out of scope" in patient.notes
    assert inventory.exposures
    assert inventory.last_write
