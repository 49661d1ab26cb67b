"""Tables of which some rows stay: their bytes are kept, wherever they are; nothing of a row that went is."""

from __future__ import annotations

import base64
import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest

import postgres_server
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.scan import Findings, scan
from cenotaph.scope import Hold, Selection, parse_predicate
from cenotaph.stores.postgres import open_reader

postgres_server.need()

EACH = 100  # rows that stay, and rows that go
DRAW = random.Random(5)
SHARED = [f"139{number:08d}" for number in DRAW.sample(range(10**8), EACH)]  # telephones that both have
GOING = [f"Gone-{DRAW.randrange(16**12):012x}" for _ in range(EACH)]
ZIPPED = gzip.compress("\n".join(SHARED).encode())
ROWS = Selection(collections=("public.visit",), rows=parse_predicate("stays = FALSE"))
CATALOGS = ("pg_statistic", "pg_toast_2619", "pg_statistic_ext_data", "pg_toast_3429")
PACKED = "repeat('abcdefgh ', 250)"  # so much is compressed


def quoted(values: list[str]) -> str:
    return ",".join(values)


TABLE = (
    "CREATE TABLE visit (id int8 PRIMARY KEY, stays bool, phone text, own text, number numeric, doc jsonb,"
    " packed text, long text, big text, file bytea, tags text[])",
    "ALTER TABLE visit ALTER long SET STORAGE EXTERNAL",
    f"INSERT INTO visit SELECT n + s * 1000, s = 0, p, CASE s WHEN 0 THEN 'Stay-' || md5(p) ELSE g END,"
    f" p::numeric, jsonb_build_object('phone', p), {PACKED} || p, repeat(md5(g) || p, 60),"
    " (SELECT string_agg(md5(i || p) || ' lorem ipsum dolor sit amet ' || p, ' ')"
    " FROM generate_series(1, 60) i),"
    f" CASE n WHEN 1 THEN decode('{base64.b64encode(ZIPPED).decode()}', 'base64') END, ARRAY['x', p]"
    f" FROM unnest('{{{quoted(SHARED)}}}'::text[], '{{{quoted(GOING)}}}'::text[]) WITH ORDINALITY"
    " AS u (p, g, n), generate_series(0, 1) AS s",
    "CREATE INDEX by_phone ON visit (phone)",
    "CREATE INDEX by_several ON visit (stays, phone, id)",
    "CREATE INDEX by_number ON visit (number)",
    "CREATE INDEX by_doc ON visit USING gin (doc)",
    "CREATE INDEX by_tags ON visit USING gin (tags)",
    "CREATE STATISTICS together (mcv) ON stays, phone FROM visit",
    "ALTER TABLE visit ALTER phone SET STATISTICS 400",
    "ANALYZE visit",
)
GONE = ("DELETE FROM visit WHERE NOT stays", "VACUUM FULL visit")
FORGOTTEN = ("VACUUM FULL pg_statistic", "VACUUM FULL pg_statistic_ext_data", "ANALYZE visit")


def nothing_known() -> tuple[str, str]:
    """Statistics as they are before the first ANALYZE."""
    if postgres_server.shared().version >= 150000:
        return "DELETE FROM pg_statistic", "DELETE FROM pg_statistic_ext_data"
    empty = "stxdndistinct = NULL, stxddependencies = NULL, stxdmcv = NULL"
    return "DELETE FROM pg_statistic", f"UPDATE pg_statistic_ext_data SET {empty}"


@dataclass(frozen=True)
class Seen:
    """What a search found in each relation, by name: of telephones, and of what only rows that go have."""

    findings: dict[str, Findings]
    going: dict[str, Findings]

    def kept(self, *names: str) -> int:
        return len(set().union(*(self.findings[name].kept for name in names)))

    def residue(self) -> dict[str, int]:
        return {name: len(found.residue) for name, found in self.findings.items() if found.residue}


@pytest.fixture
def database() -> Iterator[str]:
    server = postgres_server.shared()
    name = server.database(*TABLE)
    yield name
    server.drop(name)


def run(database: str, *statements: str) -> None:
    postgres_server.shared().run(*statements, database=database)


def look(database: str, selection: Selection = ROWS, *, user: str = "postgres") -> Seen:
    """Search the database's files after a checkpoint, as a probe would."""
    server = postgres_server.shared()
    server.run("CHECKPOINT")
    names = dict(
        server.run(
            "SELECT pg_relation_filepath(c.oid), coalesce('toast of ' || t.relname, c.relname)"
            " FROM pg_class c"
            " LEFT JOIN pg_class t ON t.reltoastrelid = c.oid AND t.oid >= 16384"
            " WHERE c.relkind IN ('r', 'i', 't') AND (c.oid >= 16384 OR c.relname IN ('"
            + "', '".join(CATALOGS)
            + "'))",
            database=database,
        )
    )
    found = [{}, {}]
    sought = []
    for values in (SHARED, GOING):
        builder = NeedleBuilder(bytes(32), ("postgresql",))
        builder.add(pa.array(values), "phone")
        sought.append(builder.finish())
    reader = open_reader(server.url(database, user), selection)
    for extent in reader.raw():
        name = names.get(extent.place.removeprefix(f"{server.data}/"))
        if name is None:
            continue
        for findings, needles in zip(found, sought, strict=True):
            with extent.open() as stream:
                findings[name] = scan(stream, extent.length, needles, extent.kept)
    reader.close()
    return Seen(*found)


PLACES = ("visit", "by_phone", "by_several", "by_number", "by_doc", "by_tags", "toast of visit")
MEMORIES = ("pg_statistic", "pg_toast_2619", "pg_statistic_ext_data", "pg_toast_3429")


def test_what_stays_is_kept_once_the_others_are_gone(database: str) -> None:
    """A hundred telephones that as many rows share with as many that went: in the table, in five indexes and
    the keys that lead through them, in values compressed and out of line, in statistics."""
    run(database, *nothing_known(), *GONE, *FORGOTTEN)

    seen = look(database)

    assert seen.residue() == {}
    assert {name: seen.kept(name) for name in PLACES} == dict.fromkeys(PLACES, EACH)
    assert seen.kept(*MEMORIES) == EACH
    lanes = {lane for found in seen.findings.values() for lane, _, _, kept in found.counts if kept}
    assert {"raw", "pglz", "toast"} <= lanes
    assert not any(found.kept or found.residue for found in seen.going.values())


def test_rows_that_will_go_are_not_kept_before(database: str) -> None:
    """While they are there, what they alone have is found and is residue; and values out of line are."""
    seen = look(database)

    assert len(seen.going["visit"].residue) == EACH
    assert not any(found.kept for found in seen.going.values())
    assert seen.kept("visit") == seen.kept("by_phone") == EACH
    assert not seen.findings["toast of visit"].kept


def test_a_copy_in_a_deleted_row_is_residue(database: str) -> None:
    """Deleted and not vacuumed: its values, though rows have them that stay. A key that an index has once
    for a row that stays and one that went is the one's that stays."""
    run(database, "DELETE FROM visit WHERE NOT stays")

    seen = look(database)

    apart = ("visit", "by_several", "by_number", "toast of visit")
    assert {name: count for name, count in seen.residue().items() if name in PLACES} == dict.fromkeys(
        apart, EACH
    )
    assert len(seen.going["visit"].residue) == EACH
    assert not any(found.kept for found in seen.going.values())


def test_what_the_server_remembers_of_rows_that_went_is_not_kept(database: str) -> None:
    """Statistics from before: live rows of a catalog, of a table that stays in part, and of nobody there."""
    run(database, "UPDATE visit SET phone = own WHERE NOT stays", "ANALYZE visit", *GONE)

    seen = look(database)

    remembered = set().union(*(seen.going[name].residue for name in MEMORIES))
    assert len(remembered) > EACH / 2
    assert not any(found.kept for found in seen.going.values())


def test_one_row_put_back_and_deleted_is_found(database: str) -> None:
    """After all else was done: one telephone that stays, in a row that does not."""
    run(database, *nothing_known(), *GONE, *FORGOTTEN)
    run(
        database,
        f"INSERT INTO visit (id, stays, phone) VALUES (5000, false, '{SHARED[7]}')",
        "DELETE FROM visit WHERE id = 5000",
    )

    seen = look(database)

    assert seen.residue() == {"visit": 1, "by_phone": 1, "by_several": 1}


def test_hint_bits_change_nothing(database: str) -> None:
    """Rows that came in before the search, and are looked at for the first time during it."""
    run(database, *nothing_known(), *GONE, *FORGOTTEN)
    run(
        database,
        f"INSERT INTO visit (id, stays, phone) SELECT 5000 + n, true, '{SHARED[7]}'"
        " FROM generate_series(1, 50) n",
    )
    first = look(database)
    run(database, "SELECT sum(id) FROM visit")

    seen = look(database)

    assert first.residue() == seen.residue() == {}
    assert seen.findings["visit"].counts == first.findings["visit"].counts


@pytest.mark.slow
def test_a_row_that_moved_within_its_page_keeps_its_keys(database: str) -> None:
    """An index leads to the place of a row's first version; the one that is there stands behind it."""
    run(
        database,
        *nothing_known(),
        "ALTER TABLE visit SET (fillfactor = 10)",
        *GONE,
        "UPDATE visit SET own = 'first'",
        "UPDATE visit SET own = 'second'",
        "VACUUM visit",
        "UPDATE visit SET own = 'third'",
        *FORGOTTEN,
    )

    seen = look(database)

    assert {name: seen.kept(name) for name in PLACES} == dict.fromkeys(PLACES, EACH)
    assert set(seen.residue()) == {"visit"}  # the versions before


@pytest.mark.slow
def test_holds_and_lists_stay_as_conditions_do(database: str) -> None:
    """A hold over the rows of a table in scope; a list of people in it, of whom nobody else goes."""
    run(database, *nothing_known(), *GONE, *FORGOTTEN)
    hold = Hold(collections=("public.visit",), rows=parse_predicate("stays = TRUE"))
    held = Selection(collections=("public.visit",), holds=(hold,))
    listed = Selection(
        collections=("public.visit",), subjects=frozenset(GOING), subject_columns={"public.visit": "own"}
    )

    for selection in (held, listed):
        seen = look(database, selection)

        assert seen.residue() == {}
        assert {name: seen.kept(name) for name in PLACES} == dict.fromkeys(PLACES, EACH)


@pytest.mark.slow
def test_a_role_that_sees_less_has_less_kept(database: str) -> None:
    """Values out of line and statistics are shown to a superuser alone: without one they count as residue."""
    run(database, *nothing_known(), *GONE, *FORGOTTEN)
    server = postgres_server.shared()
    if not server.run("SELECT 1 FROM pg_roles WHERE rolname = 'auditor'"):
        server.run("CREATE ROLE auditor LOGIN", "GRANT pg_monitor TO auditor")
    run(database, "GRANT SELECT ON visit TO auditor")

    seen = look(database, user="auditor")

    assert {name: seen.kept(name) for name in PLACES[:-1]} == dict.fromkeys(PLACES[:-1], EACH)
    assert "toast of visit" in seen.residue()
    assert set(seen.residue()) & set(MEMORIES)
    run(database, "REVOKE ALL ON visit FROM auditor")


@pytest.mark.slow
def test_keys_of_an_unlogged_table_are_not_kept(database: str) -> None:
    """No checkpoint writes its pages out, so that a key may lead to where another row is now."""
    run(database, "DELETE FROM pg_statistic", "ALTER TABLE visit SET UNLOGGED", *GONE)

    seen = look(database)

    assert seen.kept("visit") == EACH
    assert seen.residue()["by_phone"] == EACH


@pytest.mark.slow
def test_statistics_of_a_parent_stay_where_all_its_parts_are_read(database: str) -> None:
    """A partitioned table has statistics over its parts, which are tables of their own."""
    run(
        database,
        "CREATE TABLE whole (id int8, stays bool, phone text) PARTITION BY RANGE (id)",
        "CREATE TABLE part0 PARTITION OF whole FOR VALUES FROM (0) TO (1000)",
        "CREATE TABLE part1 PARTITION OF whole FOR VALUES FROM (1000) TO (9000)",
        "INSERT INTO whole SELECT id, stays, phone FROM visit",
        "DROP TABLE visit",
        "DELETE FROM whole WHERE NOT stays AND id < 9000",
        "VACUUM FULL part0",
        "VACUUM FULL part1",
        "ALTER TABLE whole ALTER phone SET STATISTICS 400",
        "ANALYZE",
        "VACUUM FULL pg_statistic",
        "VACUUM FULL pg_statistic_ext_data",
    )
    inside = Selection(collections=("public.part*",), rows=parse_predicate("stays = FALSE"))
    partly = Selection(collections=("public.part1",), rows=parse_predicate("stays = FALSE"))

    seen, less = look(database, inside), look(database, partly)

    assert seen.residue() == {}
    assert seen.kept(*MEMORIES[:2]) == EACH
    assert set(less.residue()) <= set(MEMORIES)
    assert less.residue()
