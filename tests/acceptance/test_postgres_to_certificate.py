"""Acceptance: a whole case on a PostgreSQL server, from opening to a certificate that verifies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import postgres_recorder
import postgres_server
from by_command import Ground, Ran, command, grep, store

postgres_server.need()

PERSONS = 400
TABLES = (
    "CREATE TABLE ward (id int4 PRIMARY KEY, name text)",
    "CREATE TABLE patient (id int8 PRIMARY KEY, id_number text UNIQUE, name text, ward int4 REFERENCES ward,"
    " note jsonb, scan text)",
    "CREATE TABLE visit (id int8 PRIMARY KEY, patient int8 NOT NULL REFERENCES patient ON DELETE CASCADE,"
    " seen timestamptz, doctor int8)",
    "CREATE TABLE doctor (id int8 PRIMARY KEY, name text, deputy int8 REFERENCES doctor)",
    "ALTER TABLE visit ADD FOREIGN KEY (doctor) REFERENCES doctor",
    "INSERT INTO ward SELECT n, 'ward ' || n FROM generate_series(1, 5) n",
    "INSERT INTO doctor SELECT n, 'Doctor-' || n, 1 FROM generate_series(1, 5) n",
    "INSERT INTO patient SELECT n, '32028219' || (70000000 + n * 7) || '12', 'Patient-' || md5(n::text),"
    " n % 5 + 1, jsonb_build_object('phone', '1380000' || lpad(n::text, 4, '0')),"
    f" repeat('Scan-' || md5((n * 3)::text) || ' ', 200) FROM generate_series(1, {PERSONS}) n",
    "INSERT INTO visit SELECT n, n % 400 + 1, now(), n % 5 + 1 FROM generate_series(1, 1000) n",
    "UPDATE patient SET name = name || '!' WHERE id % 3 = 0",
    "ANALYZE",
    "CHECKPOINT",
)


@dataclass(frozen=True)
class Clinic:
    """The server, its database, and what each stage said."""

    server: postgres_server.Server
    database: str
    ground: Ground
    before: set[bytes]
    needles: set[bytes]
    ran: dict[str, Ran]
    recorded: list[list[str]]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Clinic]:
    server = postgres_server.start()
    try:
        with postgres_recorder.recording(server) as recorder:
            yield _taken(server, recorder, tmp_path_factory.mktemp("clinic") / "ground", keys)
    finally:
        server.stop()


def _taken(
    server: postgres_server.Server, recorder: postgres_recorder.Recorder, root: Path, keys: Path
) -> Clinic:
    """Through every stage; the erasing session is listened to."""
    database = server.database(*TABLES)
    bystander = server.database("CREATE TABLE other AS SELECT n FROM generate_series(1, 100) n")
    text = store(
        "clinic",
        server.url(database),
        f'erase_url = "{recorder.url(database)}"',
        'scope = { collections = ["public.patient", "public.visit", "public.doctor"] }',
        'shared = ["statistics", "wal"]',
        'subject = { "public.patient" = "id_number" }',
    )
    owner = '[[party]]\norganisation = "Host Co"\nrole = "owner"\nkey = "../keys/owner.pub"\n'
    ground = Ground(root).lay(keys, text + owner)
    key = ground.keys / "owner"
    command("cenotaph", "keygen", "--role", "owner", "--organisation", "Host Co", "--out", key)
    needles = {
        str(value).encode()
        for row in server.run("SELECT id_number, name FROM patient WHERE id % 3 = 0", database=database)
        for value in row
    }
    before = grep(needles, server.data)
    ran = {stage: ground.stage(stage) for stage in ("open", "charter")}
    ground.run("approve", "--charter", "--key", key)
    ran |= {stage: ground.stage(stage) for stage in ("survey", "seal", "plan", "challenge", "approve")}
    ran["sql"] = ground.run("plan", "--show", "--emit-sql", root / "sql")
    refused = ground.stage("destroy", code=4)
    ground.run("approve", "--key", key)
    ran |= {stage: ground.stage(stage) for stage in ("destroy", "probe", "certify")}
    assert server.run("SELECT count(*) FROM other", database=bystander) == [(100,)]
    recorded = recorder.changing(database)
    return Clinic(server, database, ground, before, needles, {**ran, "refused": refused}, recorded)


def test_nothing_goes_before_the_servers_owner_agreed(clinic: Clinic) -> None:
    """The log and the statistics are everybody's on that server: its owner is asked."""
    assert "Host Co" in clinic.ran["refused"].err


def test_the_servers_administrator_saw_what_ran(clinic: Clinic) -> None:
    """What a recorder before the server heard of the session that erased is what stood in the files."""
    value = clinic.ran["sql"].value
    lines = [line for path in value["sql"] for line in Path(path).read_text().splitlines()]
    shown = {line.removesuffix(";") for line in lines if line.endswith(";") and not line.startswith("-- ")}
    (heard,) = clinic.recorded

    assert [Path(path).name for path in value["sql"]] == ["01-clinic-own.sql", "01-clinic-shared.sql"]
    assert set(heard) == shown


def test_what_was_approved_is_gone_and_the_rest_is_there(clinic: Clinic) -> None:
    """Children before parents, a table that refers to itself, ON DELETE CASCADE: as sealed, and no more."""
    count = "SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM visit), (SELECT count(*) FROM ward)"

    assert clinic.ran["destroy"].value["records"] == PERSONS + 1000 + 5
    assert clinic.server.run(count, database=clinic.database) == [(0, 0, 5)]


def test_grep_finds_nobody_in_the_servers_files(clinic: Clinic) -> None:
    """GNU grep in the whole data directory, log and statistics included: all before, none afterwards."""
    assert clinic.before == clinic.needles
    assert grep(clinic.needles, clinic.server.data) == set()


def test_the_probe_reads_the_servers_files_and_grants_l2(clinic: Clinic) -> None:
    """An auditor with file access searched every file; nothing is listed as not reached."""
    (found,) = clinic.ran["probe"].value["stores"]

    assert (found["grade_asked"], found["grade_reached"], found["unreachable"]) == ("L2", "L2", [])


def test_the_certificate_verifies(clinic: Clinic) -> None:
    """With the trust file of the parties: verified, all as sealed."""
    trust = clinic.ground.root / "trust.toml"
    trust.write_text(
        trust.read_text() + '\n[[party]]\norganisation = "Host Co"\nrole = "owner"\nkey = "keys/owner.pub"\n'
    )

    verdict = command("cenotaph-verify", clinic.ground.case / "city.cenotaph", "--trust", trust).out

    assert "VERIFIED" in verdict
    assert "1,405 of 1,405 sealed records destroyed (1,405 as sealed" in verdict


def test_who_comes_back_is_noticed(clinic: Clinic) -> None:
    """Nobody at first. Then one patient is there again, as after a restored backup, and another in a table
    that no survey saw: counted without a list, and found with one that is brought."""
    assert clinic.ground.run("check").value["came_back"] is False
    number = "32028219{}12"
    clinic.server.run(
        f"INSERT INTO patient (id, id_number) VALUES (1, '{number.format(70000007)}')",
        f"CREATE TABLE queue AS SELECT '{number.format(70000014)}' AS who",
        database=clinic.database,
    )

    (counted,) = clinic.ground.run("check", code=3).value["stores"]
    listed = "\n".join(number.format(70000000 + n * 7) for n in range(1, 5))
    (found,) = clinic.ground.run("check", "--subjects", "-", stdin=listed, code=3).value["stores"]

    assert (counted["records"], counted["collections"]) == (1, 1)
    assert (found["state"], found["people"], found["people_kept"]) == ("came back", 2, 0)
