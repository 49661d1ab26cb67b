"""Acceptance: tables of a PostgreSQL server of which some rows stay, and share values with those that go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import postgres_server
from by_command import Ground, command, grep, store

postgres_server.need()
pytestmark = pytest.mark.slow

EACH = 1_000  # rows that stay, and rows that go; each telephone is in one of both
PHONE = "'139' || lpad((7 * (n % 1000))::text, 8, '0')"
COLUMNS = {  # a telephone in every form that a column can have it in
    "id int8 PRIMARY KEY": "n",
    "stays bool NOT NULL": "n <= 1000",
    "id_number text UNIQUE": "'32028219' || (70000000 + n * 7) || '12'",
    "phone text": "p",
    "number numeric": "p::numeric",
    "person uuid": "md5('person ' || n % 1000)::uuid",
    "address inet": "('10.' || n % 200 || '.' || n / 200 || '.' || n % 90)::inet",
    "doc jsonb": "jsonb_build_object('phone', p::int8, 'text', repeat('abcdefgh ', 250))",
    "tags text[]": "ARRAY['seen', p]",
    "words tsvector": "to_tsvector('simple', p)",
    "kin relative": "ROW('mother', p)::relative",
    "numbers numrange": "numrange(p::numeric, NULL)",
    "upper text GENERATED ALWAYS AS (upper('p' || phone)) STORED": "DEFAULT",
    "scan text": (
        "(SELECT string_agg(md5(i || p) || repeat('.', 40) || p, ' ') FROM generate_series(1, 50) i)"
    ),
}
FILLED = {name.split()[0]: value for name, value in COLUMNS.items() if value != "DEFAULT"}
TABLES = (
    "CREATE TYPE relative AS (kind text, phone text)",
    f"CREATE TABLE visit ({', '.join(COLUMNS)})",
    f"INSERT INTO visit ({', '.join(FILLED)}) SELECT {', '.join(FILLED.values())}"
    f" FROM (SELECT n, {PHONE} AS p FROM generate_series(1, 2000) n) AS people",
    "CREATE INDEX ON visit (phone)",
    "CREATE INDEX ON visit (number, person)",
    "CREATE INDEX ON visit USING gin (tags)",
    "CREATE INDEX ON visit USING gin (words)",
    "CREATE STATISTICS together (mcv) ON stays, phone FROM visit",
    "CREATE TABLE other AS SELECT phone FROM visit",
    "ANALYZE",
    "CHECKPOINT",
)
SCOPES = {
    "rows": 'scope = { collections = ["public.visit"], rows = "stays = FALSE" }',
    "subjects": 'scope = { collections = ["public.visit"], subjects = "file:../people.txt" }',
    "hold": 'scope = { collections = ["public.visit"] }',
}
HOLD = """\
[[hold]]
by = "District court"
reference = "21-443"
collections = ["public.visit"]
rows = "stays = TRUE"
"""
OWNER = '[[party]]\norganisation = "Host Co"\nrole = "owner"\nkey = "../keys/owner.pub"\n'


class Case:
    """One scope on a server of its own, taken as far as it is wanted."""

    def __init__(self, root: Path, keys: Path, server: postgres_server.Server, scope: str) -> None:
        self.server, self.database = server, server.database(*TABLES)
        self.going = {str(v) for (v,) in self.rows("SELECT id_number FROM visit WHERE NOT stays")}
        text = store(
            "visits",
            server.url(self.database),
            SCOPES[scope],
            'shared = ["statistics", "wal"]',
            'subject = { "public.visit" = "id_number" }',
        )
        self.ground = Ground(root / "ground").lay(keys, text + OWNER + (HOLD if scope == "hold" else ""))
        (self.ground.root / "people.txt").write_text("".join(f"{who}\n" for who in sorted(self.going)))
        owner = self.ground.keys / "owner"
        command("cenotaph", "keygen", "--role", "owner", "--organisation", "Host Co", "--out", owner)
        for stage in ("open", "charter"):
            self.ground.stage(stage)
        self.ground.run("approve", "--charter", "--key", owner)
        for stage in ("survey", "seal", "plan"):
            self.ground.stage(stage)
        self.challenge = self.ground.stage("challenge").value
        self.ground.stage("approve")
        self.ground.run("approve", "--key", owner)
        self.ground.stage("destroy")

    def rows(self, *statements: str) -> list[tuple[object, ...]]:
        return self.server.run(*statements, database=self.database)

    def probe(self, code: int = 0) -> dict[str, object]:
        (found,) = self.ground.stage("probe", code=code).value["stores"]
        return dict(found)


@pytest.fixture(params=SCOPES)
def case(request: pytest.FixtureRequest, tmp_path: Path, keys: Path) -> Iterator[Case]:
    server = postgres_server.start()
    try:
        yield Case(tmp_path, keys, server, request.param)
    finally:
        server.stop()


def test_what_stays_stands_in_no_ones_way(case: Case) -> None:
    """1,000 records go from a table of 2,000, by condition, by list and but for a hold: certified at L2,
    while all telephones that they had are still there with those that stay."""
    assert case.rows("SELECT stays, count(*) FROM visit GROUP BY 1") == [(True, EACH)]
    assert grep([who.encode() for who in case.going], case.server.data) == set()

    found = case.probe()
    (certified,) = case.ground.stage("certify").value["stores"]

    assert (found["grade_reached"], found["unreachable"]) == ("L2", [])
    assert certified["grade_reached"] == "L2"


def _deleted(case: Case) -> None:
    """A row of the scope comes back with one telephone that stays, and is deleted, and not vacuumed away."""
    case.rows(
        "INSERT INTO visit (id, stays, phone) SELECT 9000, false, phone FROM visit WHERE id = 7",
        "DELETE FROM visit WHERE id = 9000",
        "CHECKPOINT",
    )


def _remembered(case: Case) -> None:
    """The server remembers a number that no row has any more."""
    case.rows(
        "INSERT INTO visit (id, stays, id_number) SELECT n, false, phone || '!' FROM"
        f" (SELECT n, {PHONE} AS phone FROM generate_series(8001, 8500) n) AS people",
        "ANALYZE visit",
        "DELETE FROM visit WHERE id > 8000",
        "VACUUM FULL visit",
        "CHECKPOINT",
    )


@pytest.mark.parametrize("plant", [_deleted, _remembered])
def test_one_more_copy_is_refused_and_a_second_run_clears_it(
    tmp_path: Path, keys: Path, plant: Callable[[Case], None]
) -> None:
    """Below L2, and no certificate; destroyed again, L2."""
    server = postgres_server.start()
    try:
        case = Case(tmp_path, keys, server, "rows")
        plant(case)

        refused = case.probe(code=3)

        assert refused["grade_reached"] == "L1"
        assert case.ground.stage("certify", code=4).out == ""
        case.ground.stage("destroy")
        assert case.probe()["grade_reached"] == "L2"
    finally:
        server.stop()
