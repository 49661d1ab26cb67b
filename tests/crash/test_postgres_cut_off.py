"""A case killed in the moment that only PostgreSQL's catalog can tell: files set aside, nothing committed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import killing
import pytest
from test_postgres_killed import ServerCase

import postgres_server
from by_command import grep
from cenotaph.scope import Selection
from cenotaph.stages.destroy import _Run
from cenotaph.store import Surroundings
from cenotaph.stores.postgres import open_eraser, writing
from cenotaph.stores.postgres.beneath import aside, underneath
from cenotaph.stores.postgres.catalog import schema
from cenotaph.stores.postgres.reclaiming import overwrite
from cenotaph.stores.postgres.session import Place
from cenotaph.stores.postgres.writing import Writer
from postgres_server import Server
from small_case import PARTIES, people, values

pytestmark = pytest.mark.timeout(600)


def _case(server: Server, root: Path) -> tuple[str, ServerCase]:
    """A database, and a case on it that overwrites beneath the server."""
    database = server.database(
        "CREATE TABLE people (id int4 PRIMARY KEY, id_number text, phone text)",
        "CREATE TABLE visit (id int4 PRIMARY KEY, who int4 REFERENCES people, note text)",
        "INSERT INTO people VALUES "
        + ", ".join(f"({n}, '{p.identity}', '{p.phone}')" for n, p in enumerate(people(0, 200))),
        "INSERT INTO visit SELECT n, n % 200, 'visit ' || n FROM generate_series(1, 400) n",
    )
    store = (
        f'[[store]]\nname = "clinic"\nurl = "{server.url(database)}"\n'
        f'data_dir = "{server.data}"\nonline_overwrite = true\nshared = ["statistics", "wal"]\n\n'
    )
    owner = ("Host Co", "owner", "host")
    return database, ServerCase.make(root, store, parties=(*PARTIES, owner))


@pytest.mark.slow
def test_a_case_killed_before_its_commit_has_every_row_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL to all of it once the files of a table are set aside: nothing is lost, and the next run waits
    for who reads the table, finds it as sealed and destroys it as that."""
    monkeypatch.setitem(writing._WRITES, "lock_timeout", "500ms")
    server = postgres_server.start()
    plain = aside.set_aside

    def killed(files: Sequence[underneath.File]) -> None:
        plain(files)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    try:
        database, case = _case(server, tmp_path)
        case.go("open", "approve-owner")
        with monkeypatch.context() as here:
            here.setattr(aside, "set_aside", killed)
            assert killing.run(case.destroy).killed
        folder = server.data / "base"
        assert len(list(folder.glob("*/cenotaph-*"))) > 2
        assert server.run("SELECT count(*) FROM visit", database=database) == [(0,)]

        reading = server.connect(database)
        reading.autocommit = False
        reading.execute(b"SELECT count(*) FROM visit")
        leaving = threading.Timer(2, reading.close)
        leaving.start()
        ended = killing.run(case.destroy)
        leaving.join()

        assert (ended.code, ended.said) == (0, "")
        case.go("probe", "certify")
        body = case.certificate()
        assert [s.reached for s in body.stores] == ["L2"]
        assert sum(c.as_sealed for s in body.stores for c in s.collections) == 600
        assert list(folder.glob("*/cenotaph-*")) == []
        assert grep(values(people(0, 200)), server.data) == set()
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("logged", [True, False])
def test_a_run_killed_while_it_puts_files_back_is_followed_by_one_that_does(
    monkeypatch: pytest.MonkeyPatch, logged: bool, record_property: pytest.RecordProperty
) -> None:
    """SIGKILL before every name that is given or taken: all rows are there in the end, by index too."""
    server = postgres_server.start()
    by_index = ("SET enable_seqscan = off", "SELECT name FROM people WHERE id = 7")
    plain, kills = aside.set_aside, 0

    def killed(files: Sequence[underneath.File]) -> None:
        plain(files)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    def mend(database: str) -> None:
        around = Surroundings(str(server.data), online_overwrite=True)
        with closing(open_eraser(server.url(database), Selection(), frozenset(), around)) as eraser:
            eraser.mend()

    def cut_off(database: str) -> None:
        around = Surroundings(str(server.data), online_overwrite=True)
        writer = Writer(Place.of(server.url(database)))
        where = overwrite.place(writer, around)
        with writer.transaction():
            tables = schema.read(writer, "public.people").tables
            overwrite.shut(writer, tables[0])
            overwrite.replace(writer, around, where, tables)

    try:
        while True:
            database = server.database(
                f"CREATE {'' if logged else 'UNLOGGED'} TABLE people (id int4 PRIMARY KEY, name text)",
                "INSERT INTO people SELECT n, 'person ' || n FROM generate_series(1, 400) n",
                "VACUUM people",
            )
            with monkeypatch.context() as here:
                here.setattr(aside, "set_aside", killed)
                assert killing.run(lambda at=database: cut_off(at)).killed  # type: ignore[misc]
            ended = killing.run(lambda at=database: mend(at), kills)  # type: ignore[misc]
            mend(database)
            assert server.run("SELECT count(name) FROM people", database=database) == [(400,)]
            assert server.run(*by_index, database=database) == [("person 7",)]
            assert list((server.data / "base").glob("*/cenotaph-*")) == []
            server.drop(database)
            if not ended.killed:
                break
            kills += 1
    finally:
        server.stop()
    record_property("kill points", kills)
    record_property("survived", kills)
    assert (ended.code, ended.said) == (0, "")
    assert kills > 10


@pytest.mark.parametrize(
    ("kinds", "cut_off"),
    [
        pytest.param(["begun"], True, id="begun"),
        pytest.param(["done", "reclaimed", "begun", "failed"], True, id="begun since it was reclaimed"),
        pytest.param(["begun", "done"], False, id="done"),
        pytest.param(["begun", "reclaimed"], False, id="reclaimed since, which mends"),
    ],
)
def test_a_run_with_nothing_left_still_mends_what_was_cut_off(kinds: Sequence[str], cut_off: bool) -> None:
    """The plan was changed since, and leaves the table out that was begun: it has to have its rows."""
    run = object.__new__(_Run)
    lines = [
        SimpleNamespace(kind=k, store="clinic", collection=0, partition=0, seq=n) for n, k in enumerate(kinds)
    ]
    run.task = SimpleNamespace(estate=SimpleNamespace(name="clinic"))  # type: ignore[assignment]
    run.journal = SimpleNamespace(entries=lambda: lines)  # type: ignore[assignment]

    assert run._cut_off() is cut_off
