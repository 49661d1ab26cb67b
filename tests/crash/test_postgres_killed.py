"""Killed while it overwrites tables beneath a running server, cenotaph or the server: both come to one end.

The quick suite kills at a few moments; `make crash` before every write and every command.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killing
import pytest

import postgres_server
from by_command import grep
from cenotaph import durable
from cenotaph.errors import TransientStoreError
from cenotaph.scope import Selection
from cenotaph.store import Collection, Reclamation, Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.stores.postgres.reclaiming import overwrite, reclaim
from cenotaph.stores.postgres.writing import Writer
from postgres_server import Server
from small_case import PARTIES, SmallCase, people, values

postgres_server.need()
EVERY = os.environ.get("CENOTAPH_CRASH") == "every"
SAMPLE = 1
pytestmark = pytest.mark.timeout(3600)

TEMPLATE = (
    "CREATE EXTENSION amcheck",
    "CREATE TABLE people (id serial PRIMARY KEY, name text, scan text)",
    "CREATE INDEX ON people (name)",
    "CREATE TABLE visit (id int4 PRIMARY KEY, who int4 REFERENCES people, note text)",
    "CREATE UNLOGGED TABLE session (id int4 PRIMARY KEY, name text)",
    "CREATE TABLE stays (id int4 PRIMARY KEY, name text, scan text)",
    "CREATE INDEX ON stays USING gin (string_to_array(name, ' '))",
    "INSERT INTO people (name, scan) SELECT 'Person-' || md5(n::text),"
    " (SELECT string_agg(md5((n * k)::text), '') FROM generate_series(1, 150) k)"
    " FROM generate_series(1, 400) n",
    "INSERT INTO visit SELECT n, n, 'Person-' || md5(n::text) FROM generate_series(1, 400) n",
    "INSERT INTO session SELECT n, 'Person-' || md5(n::text) FROM generate_series(1, 200) n",
    "INSERT INTO stays SELECT id, 'Stays ' || id, scan FROM people",
    "DELETE FROM visit",
    "DELETE FROM people",
    "DELETE FROM session",
)
GONE = ("public.people", "public.session", "public.visit")
PERSON = b"Person-"
DIGEST = "SELECT md5(string_agg(s::text, ',' ORDER BY id)) FROM stays s"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = postgres_server.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def template(server: Server) -> str:
    return server.database(*TEMPLATE)


@pytest.fixture(scope="module")
def gone(server: Server, template: str) -> list[Collection]:
    """As the inventory of a case has them: after a kill, not even counting rows may work."""
    reader = open_reader(server.url(template), Selection())
    return [c for c in reader.collections() if c.name in GONE]


def _reclaim(server: Server, database: str, gone: list[Collection]) -> Reclamation:
    around = Surroundings(str(server.data), online_overwrite=True)
    eraser = open_eraser(server.url(database), Selection(), frozenset(), around)
    try:
        return eraser.reclaim(gone)
    finally:
        eraser.close()


def _check(server: Server, database: str, stays: object) -> None:
    """The tables are empty and work, nobody is in the database's files, and all that stays is as it was."""

    def sql(*statements: str) -> Any:
        return server.run(*statements, database=database)

    sql("CHECKPOINT")
    (oid,) = sql("SELECT oid FROM pg_database WHERE datname = current_database()")[0]
    assert sql(DIGEST) == stays
    assert grep([PERSON], server.data / "base" / str(oid)) == set()
    for table, kind in sql(
        "SELECT c.oid::int8, c.relkind::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
        " WHERE c.relkind IN ('r', 't') OR c.relkind = 'i' AND a.amname = 'btree'"
        " AND EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND i.indisvalid)"
    ):
        if kind == "i":
            sql(f"SELECT bt_index_check({table}::oid::regclass, true)")
        elif server.version >= 140000:
            assert sql(f"SELECT * FROM verify_heapam({table}::oid::regclass)") == []
    sql(
        "INSERT INTO people (id, name) VALUES (1, 'new')",
        "INSERT INTO visit VALUES (1, 1, 'new')",
        "INSERT INTO session VALUES (1, 'new')",
    )
    assert sql("SELECT count(*) FROM people JOIN visit ON visit.who = people.id") == [(1,)]
    assert sql("SELECT count(*) FROM session WHERE id = 1") == [(1,)]


def _points(count: int) -> list[int]:
    if EVERY:
        return list(range(count))
    return sorted({round(count * (2 * i + 1) / (2 * SAMPLE)) for i in range(SAMPLE)} - {count})


def _later(at: int) -> int:
    return at + (max(1, at // 4) if EVERY else max(1, 4 * at))


def _only_overwriting(event: Any) -> None:
    """What follows it is VACUUM's, and the server's own to survive."""
    plain_run, plain_overwrite = Writer.run, overwrite.run
    inside = [False]

    def run(self: Writer, command: Any, *values: object) -> int:
        if inside[0]:
            event("command")
        return plain_run(self, command, *values)

    def overwriting(work: Any) -> None:
        inside[0] = True
        try:
            plain_overwrite(work)
        finally:
            inside[0] = False

    Writer.run = run  # type: ignore[method-assign]
    overwrite.run = overwriting


@pytest.mark.slow
def test_cenotaph_killed_at_any_write_comes_to_the_same_end(
    server: Server,
    template: str,
    gone: list[Collection],
    monkeypatch: pytest.MonkeyPatch,
    record_property: pytest.RecordProperty,
) -> None:
    """SIGKILL before any write over a table's file, and before any command around it: run again, the tables
    are empty and work, nothing of anybody is in the database's files, amcheck finds what stays in order."""
    stays = server.run(DIGEST, database=template)
    wrap = killing._wrap

    def all_of_them(event: Any) -> None:
        wrap(event)
        _only_overwriting(event)
        first_step, *others = reclaim._OWN
        reclaim._OWN = (first_step._replace(run=overwrite.run), *others)

    monkeypatch.setattr(killing, "_wrap", all_of_them)
    first = server.database(options=f"TEMPLATE {template}")
    reference = killing.run(lambda: _reclaim(server, first, gone))
    assert (reference.code, reference.said) == (0, "")
    assert reference.events.count("pwrite") > 8
    _check(server, first, stays)
    server.drop(first)
    points = _points(len(reference.events))
    for point in points:
        database = server.database(options=f"TEMPLATE {template}")
        ended = killing.run(lambda at=database: _reclaim(server, at, gone), point)  # type: ignore[misc]
        assert ended.killed, f"{point}: {ended.said}"
        _reclaim(server, database, gone)
        _check(server, database, stays)
        server.drop(database)
    record_property("kill points", len(points))
    record_property("survived", len(points))


@pytest.mark.slow
def test_a_server_killed_at_any_write_comes_to_the_same_end(
    server: Server,
    template: str,
    gone: list[Collection],
    monkeypatch: pytest.MonkeyPatch,
    record_property: pytest.RecordProperty,
) -> None:
    """SIGKILL to the postmaster before any write over a table's file: it recovers, the next run finishes."""
    stays = server.run(DIGEST, database=template)
    server.run("CHECKPOINT")
    plain = durable.os.pwrite
    left = [killing.NEVER]
    seen = [0]

    def pwrite(*args: Any) -> int:
        seen[0] += 1
        if left[0] == 0:
            server.crash()
        left[0] -= 1
        return plain(*args)

    monkeypatch.setattr(os, "pwrite", pwrite)
    first = server.database(options=f"TEMPLATE {template}")
    _reclaim(server, first, gone)
    points = _points(seen[0] - 2)  # how many maps of free space a table has is not the same each time
    for point in points:
        database = server.database(options=f"TEMPLATE {template}")
        left[0] = point
        with pytest.raises(TransientStoreError):
            _reclaim(server, database, gone)
        left[0] = killing.NEVER
        server.start()
        _reclaim(server, database, gone)
        _check(server, database, stays)
        server.drop(database)
    record_property("kill points", len(points))
    record_property("survived", len(points))


def _retire(server: Server, states: Path) -> None:
    """As `retiring` does, with a file for a journal."""
    around = Surroundings(str(server.data), retire_server=True)
    eraser = open_eraser(server.url(), Selection(), frozenset(), around)
    known = json.loads(states.read_text()) if states.exists() else None
    eraser.retire(known, lambda state: durable.write_file(states, json.dumps(dict(state)).encode()))


@pytest.mark.slow
def test_a_retirement_killed_anywhere_comes_to_its_end(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """SIGKILL at ever later changes, from the note that it begins to the last folder: the server runs on or
    is down, never without the note, and at the end nothing is there."""
    server = postgres_server.start()
    try:
        server.run("CREATE TABLE people (name text)", "INSERT INTO people VALUES ('Person-1')")
        server.run("DELETE FROM people", "CHECKPOINT")
        states, kills, at = tmp_path / "states", 0, 0
        while (ended := killing.run(lambda: _retire(server, states), at)).killed:
            kills, at = kills + 1, _later(at)
            stopped = server.process.poll() is not None
            assert stopped == (not (server.data / "postmaster.pid").exists())
            assert not stopped or states.exists()
        assert (ended.code, ended.said) == (0, "")
        record_property("kill points", kills)
        record_property("survived", kills)

        assert kills > 4
        assert not server.data.exists()
        assert grep([PERSON], server.folder) == set()
    finally:
        server.stop()


class ServerCase(SmallCase):
    """A small case on a database of a server, whose owner agrees to what is shared."""

    def steps(self) -> dict[str, Any]:
        steps = {
            **super().steps(),
            "countersign-owner": lambda: self.countersign("host"),
            "approve-owner": lambda: self.approve("host"),
        }
        order = ["open", "countersign-auditor", "countersign-notary", "countersign-owner", "survey", "seal"]
        order += ["plan", "challenge", "admit", "approve-auditor", "approve-notary", "approve-owner"]
        return {name: steps[name] for name in (*order, "destroy", "probe", "certify")}


def _clinic(server: Server) -> str:
    """A database of 200 people and their visits."""
    return server.database(
        "CREATE TABLE people (id int4 PRIMARY KEY, id_number text, phone text)",
        "CREATE TABLE visit (id int4 PRIMARY KEY, who int4 REFERENCES people, note text)",
        "INSERT INTO people VALUES "
        + ", ".join(f"({n}, '{p.identity}', '{p.phone}')" for n, p in enumerate(people(0, 200))),
        "INSERT INTO visit SELECT n, n % 200, 'visit ' || n FROM generate_series(1, 400) n",
    )


def _approved(server: Server, database: str, root: Path, more: str) -> ServerCase:
    """A case on it that is approved, and has not begun."""
    root.mkdir()
    store = (
        f'[[store]]\nname = "clinic"\nurl = "{server.url(database)}"\ndata_dir = "{server.data}"\n{more}\n\n'
    )
    case = ServerCase.make(root, store, parties=(*PARTIES, ("Host Co", "owner", "host")))
    case.go("open", "approve-owner")
    return case


ONLINE = 'online_overwrite = true\nshared = ["statistics", "wal"]'


@pytest.mark.slow
@pytest.mark.parametrize("by", list(killing.By), ids=["ever later", "before each line", "after each line"])
def test_a_case_killed_anywhere_comes_to_the_same_certificate(
    tmp_path: Path, record_property: pytest.RecordProperty, by: killing.By
) -> None:
    """SIGKILL at ever later changes of a destruction that overwrites beneath the server, before every line of
    its journal, and right after every line. The certificate is that of a case that nobody disturbed."""
    if by is not killing.By.CHANGE and not EVERY:
        pytest.skip("make crash kills at every line of the journal")
    server = postgres_server.start()
    certified = []
    try:
        for disturbed in (False, True):
            database = _clinic(server)
            case = _approved(server, database, tmp_path / str(disturbed), ONLINE)
            kills = _destroyed(case, by) if disturbed else _destroyed(case, None)
            case.go("probe", "certify")
            body = case.certificate()
            certified.append([(s.sealed, s.reached, s.collections) for s in body.stores])
            assert case.verdict().exit_code == 0
            assert grep(values(people(0, 200)), server.data) == set()
            server.drop(database)
    finally:
        server.stop()
    record_property("kill points", kills)
    record_property("survived", kills)

    assert kills > 3
    assert certified[0] == certified[1]
    assert [reached for _, reached, _ in certified[0]] == ["L2"]


@pytest.mark.slow
@pytest.mark.skipif(not EVERY, reason="make crash does this")
@pytest.mark.parametrize(
    "by", [killing.By.LINE, killing.By.AFTER], ids=["before each line", "after each line"]
)
def test_a_case_that_retires_its_server_killed_at_every_line_comes_to_its_end(
    tmp_path: Path, record_property: pytest.RecordProperty, by: killing.By
) -> None:
    """From the first partition to the note that the server is gone: its directory goes whole, the certificate
    is that of a case that nobody disturbed."""
    certified = []
    for disturbed in (False, True):
        server = postgres_server.start()
        try:
            case = _approved(server, _clinic(server), tmp_path / str(disturbed), "retire_server = true")
            kills = _destroyed(case, by if disturbed else None)
            assert not server.data.exists()
            case.go("probe", "certify")
            certified.append([(s.sealed, s.reached, s.collections) for s in case.certificate().stores])
            assert grep(values(people(0, 200)), server.folder) == set()
        finally:
            server.stop()
    record_property("kill points", kills)
    record_property("survived", kills)

    assert kills > 3
    assert certified[0] == certified[1]


def _destroyed(case: ServerCase, by: killing.By | None) -> int:
    """Destroy, and run it again after each kill until it ends well; how often it was killed. At lines of the
    journal each run leaves one line behind; and one more where a run before did as much."""
    at = killing.NEVER if by is None else int(by is not killing.By.CHANGE)
    kills, seen = 0, set()
    while (ended := killing.run(case.destroy, at, by=by or killing.By.CHANGE)).killed:
        kills += 1
        lines = tuple(name for name in ended.events if name.startswith("journal"))
        if by is killing.By.CHANGE:
            at = _later(at)
        else:
            at = at + 1 if lines in seen else 1
            seen.add(lines)
    assert (ended.code, ended.said) == (0, "")
    return kills
