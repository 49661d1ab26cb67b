"""Acceptance: schemas as they are in the field, on PostgreSQL: all persons go, and nothing else changes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import real_schemas

import postgres_server
from by_command import grep
from cenotaph_proof.statements import Inventory
from small_case import PARTIES, POLICY, SmallCase

pytestmark = pytest.mark.slow
postgres_server.need()
if not real_schemas.SHARED.is_dir():
    pytest.skip("the folder of test inputs beside the repository is absent", allow_module_level=True)

OWNER = ("Host Co", "owner", "host")
STAFF = ("person", "person_name", "person_address", "person_attribute")
"""Whose rows of people with an account stay: every reference table says which account made its rows."""
CASE = """\
[[store]]
name = "hospital"
url = "{url}"
scope = {{ collections = {scope} }}
shared = ["statistics", "wal"]
"""
HELD = """\
subject = {{ {subject} }}

[[hold]]
by = "Personnel office"
reference = "staff records"
collections = {held}
subjects = "file:../staff.txt"
"""


@dataclass
class Hospital:
    """The database, and what was there before."""

    server: postgres_server.Server
    name: str
    case: SmallCase
    staff: tuple[str, ...]  # tables whose rows of staff stay
    tables: dict[str, str]  # such a name: as SQL writes it
    needles: set[bytes]
    records: int  # of the scope, that go
    before: dict[str, Any]
    found: set[bytes]  # before, in the server's files
    dumped: set[bytes]  # before, in a dump

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.run(*statements, database=self.name)


def make(root: Path, server: postgres_server.Server, openmrs: bool, rows: int) -> Hospital:
    """The schemas in one database, filled and then worked with, and a case about their people."""
    name = server.database()
    inside = [(schema, table) for schema, tables in real_schemas.OURS.items() for table in tables]
    with server.connect(name) as link:
        if openmrs:
            for statement in real_schemas.from_mariadb(real_schemas.OPENMRS.read_text("utf-8"), "openmrs"):
                link.execute(statement.encode())
        for own in (real_schemas.HISTORY, real_schemas.EAV, real_schemas.QUOTED):
            link.execute(own.encode())
        planted = real_schemas.fill(
            f"host={server.folder} port={server.port} dbname={name} user=postgres", root, rows
        )
        for statement in real_schemas.LATER:
            link.execute(statement.encode())
        link.execute("ANALYZE")
        link.execute("CHECKPOINT")
        if openmrs:
            references = link.execute(
                "SELECT c.relname::text, p.relname::text FROM pg_constraint"
                " JOIN pg_class c ON c.oid = conrelid JOIN pg_class p ON p.oid = confrelid"
                " WHERE contype = 'f'"
                " AND connamespace = 'openmrs'::regnamespace"
            ).fetchall()
            people = real_schemas.closure(references, "person", never="users")
            inside += [("openmrs", table) for table in sorted(people)]
            staff = link.execute("SELECT DISTINCT person_id FROM openmrs.users").fetchall()
            (root / "staff.txt").write_text("".join(f"{one}\n" for (one,) in staff))
    hold = HELD.format(
        held=json.dumps([f"openmrs.{table}" for table in STAFF]),
        subject=", ".join(f'"openmrs.{table}" = "person_id"' for table in STAFF),
    )
    tables = {_called(*one): '"{}"."{}"'.format(*one) for one in inside}
    case = SmallCase.make(
        root,
        CASE.format(url=server.url(name), scope=json.dumps(list(tables), ensure_ascii=False))
        + (hold if openmrs else ""),
        parties=(*PARTIES, OWNER),
        policy=POLICY,
    )
    made = Hospital(server, name, case, STAFF if openmrs else (), tables, set(), 0, {}, set(), set())
    made.before = state(made)
    staying = "\n".join(made.before["kept rows"])
    short = {table for _, table in inside}
    made.needles = {
        value.encode()
        for table, _, value in planted
        if table in short and "\\" not in value and value not in staying
    }
    made.records = sum(made.sql(f"SELECT count(*) FROM ONLY {t}")[0][0] for t in tables.values()) - len(
        [row for table in made.staff for row in made.sql(held(table))]
    )
    made.found, made.dumped = grep(made.needles, server.data), in_dump(made)
    return made


def _called(schema: str, table: str) -> str:
    """A collection's name, as docs/stores/postgres.md says."""
    return f'"{schema}"."{table}"' if "." in schema + table else f"{schema}.{table}"


def held(table: str) -> str:
    return (
        f"SELECT t::text FROM openmrs.{table} t WHERE person_id IN (SELECT person_id FROM openmrs.users)"
        " ORDER BY 1"
    )


def state(hospital: Hospital) -> dict[str, Any]:
    """Everything that must be the same afterwards, as the server's own tools tell it."""
    names = hospital.sql(
        "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname !~ '^pg_|information_schema' ORDER BY 1"
    )
    gone = {sql.replace('"', "") for sql in hospital.tables.values()}
    kept = [name for (name,) in names if name.replace('"', "") not in gone]
    rows = {name: hospital.sql(f"SELECT t::text FROM ONLY {name} t ORDER BY 1") for name in kept}
    rows |= {f"held {table}": hospital.sql(held(table)) for table in hospital.staff}
    return {
        "kept": rows,
        "kept rows": [row for found in rows.values() for (row,) in found],
        "schema": [line for line in dump(hospital, "--schema-only") if "restrict" not in line],
        "sequences": hospital.sql(
            "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
        ),
    }


def dump(hospital: Hospital, *options: str) -> Sequence[str]:
    line = [str(postgres_server.need() / "pg_dump"), *options, hospital.server.url(hospital.name)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()


def in_dump(hospital: Hospital) -> set[bytes]:
    """Needles in what the server decodes for anybody: all rows, and what its statistics remember."""
    text = "\n".join(dump(hospital)).encode()
    for catalog in ("pg_stats", "pg_stats_ext"):
        text += "\n".join(row for (row,) in hospital.sql(f"SELECT s::text FROM {catalog} s")).encode()
    return {needle for needle in hospital.needles if needle in text}


@pytest.fixture(
    scope="module",
    params=[
        (False, 12),
        (True, 12),
        (True, 200),
    ],
    ids=["our own", "with OpenMRS", "more people"],
)
def hospital(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Destroyed, probed and certified."""
    server = postgres_server.start()
    try:
        made = make(tmp_path_factory.mktemp("hospital"), server, *request.param)
        case = made.case
        case.open()
        for key in ("audit", "zhao", "host"):
            case.countersign(key)
        case.go("survey", "approve-notary")
        case.approve("host")
        case.go("destroy", "certify")
        yield made
    finally:
        server.stop()


def test_every_person_goes_and_is_counted(hospital: Hospital) -> None:
    """History twins, superseded versions, partitions, children of tables, cycles and deferrable keys: what
    was sealed, held and destroyed adds up to what was there."""
    said = hospital.case.certificate()

    assert (said.sealed, said.destroyed, said.as_sealed) == (hospital.records,) * 3
    assert said.held == sum(len(hospital.before["kept"][f"held {table}"]) for table in hospital.staff)
    left = [
        hospital.sql(f"SELECT count(*) FROM ONLY {sql}")[0][0]
        for name, sql in hospital.tables.items()
        if name.partition(".")[2] not in STAFF
    ]
    assert left == [0] * len(left)


def test_nothing_else_changed(hospital: Hospital) -> None:
    """Every row of every other table, the staff's own, sequences, and the schema as pg_dump writes it."""
    after = state(hospital)

    assert after["schema"] == hospital.before["schema"]
    assert after["sequences"] == hospital.before["sequences"]
    assert after["kept"] == hospital.before["kept"]


def test_grep_finds_none_of_them(hospital: Hospital) -> None:
    """GNU grep in the server's files, and in what it decodes: rows, and statistics. All were found before."""
    assert len(hospital.needles) > 80
    assert hospital.dumped == hospital.needles
    assert len(hospital.found) > 0.8 * len(hospital.needles)  # not what is compressed, and no times

    assert grep(hospital.needles, hospital.server.data) == set()
    assert in_dump(hospital) == set()


def test_the_probe_grants_what_was_asked(hospital: Hospital) -> None:
    """L2, and a verdict that verifies."""
    (store,) = hospital.case.certificate().stores

    assert (store.reached, store.why_not_higher) == ("L2", "")
    assert hospital.case.verdict().exit_code == 0


def test_the_survey_knows_the_persons(hospital: Hospital) -> None:
    """Columns with identity numbers and telephones of invented people are found, in every schema."""
    inventory = hospital.case.now().require(Inventory).body(Inventory).stores[0]
    found = {c.name for c in inventory.collections if {p.kind for p in c.personal} & {"resident-id", "phone"}}

    assert {str(name).partition(".")[0].strip('"') for name in found} >= {"history", "eav", "Register"}
