"""A case killed in the moment that only PostgreSQL's catalog can tell: files set aside, nothing committed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import killing
import pytest
from test_postgres_killed import ServerCase

import postgres_server
from by_command import grep
from cenotaph.stores.postgres.beneath import aside, underneath
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
    """SIGKILL to all of it once the files of a table are set aside: nothing is lost, and the next run finds
    the table as sealed and destroys it as that."""
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

        ended = killing.run(case.destroy)

        assert (ended.code, ended.said) == (0, "")
        case.go("probe", "certify")
        body = case.certificate()
        assert [s.reached for s in body.stores] == ["L2"]
        assert sum(c.as_sealed for s in body.stores for c in s.collections) == 600
        assert list(folder.glob("*/cenotaph-*")) == []
        assert grep(values(people(0, 200)), server.data) == set()
    finally:
        server.stop()
