"""Acceptance: a case on a PostgreSQL server that fails half-way goes on to the same certificate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import postgres_server
from cenotaph.engines import local
from cenotaph.errors import DriftError, PartialError
from cenotaph.stores.postgres import writing
from cenotaph_proof.errors import OrderError
from cenotaph_proof.statements import Destruction
from small_case import Clock, SmallCase, people

pytestmark = pytest.mark.slow
postgres_server.need()

STORE = """\
[[store]]
name = "register"
url = "env:REGISTER_URL"
grade = "L1"
scope = { collections = ["public.visits", "public.tests"] }
subject = { "public.*" = "id_number" }

"""
PERSONS = 60
WARD = "SELECT md5(string_agg(ward::text, ',' ORDER BY id)) FROM ward"


@dataclass
class Register:
    """An approved case, its server, and its database."""

    case: SmallCase
    server: postgres_server.Server
    name: str
    ward: list[tuple[Any, ...]]

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.run(*statements, database=self.name)

    def left(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT (SELECT count(*) FROM visits), (SELECT count(*) FROM tests)")

    def goes_on(self) -> None:
        """The same command again: each record is destroyed once, as sealed, and no other."""
        said = self.case.destroy()
        assert said is not None
        (store,) = said.body(Destruction).stores
        assert sum(c.as_sealed for c in store.collections) == 2 * PERSONS
        assert self.left() == [(0, 0)]
        assert self.sql(WARD) == self.ward

    def to_certificate(self) -> None:
        """And everything after it."""
        self.case.go("destroy", "certify")
        said = self.case.certificate()
        assert (said.sealed, said.destroyed, said.as_sealed) == (2 * PERSONS, 2 * PERSONS, 2 * PERSONS)
        assert self.left() == [(0, 0)]
        assert self.sql(WARD) == self.ward
        assert self.case.verdict().exit_code == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[postgres_server.Server, str, Path]]:
    """The server with a database to copy, and the case about it, approved."""
    server = postgres_server.start()
    rows = ", ".join(str(p.row()) for p in people(0, PERSONS))
    name = server.database(
        "CREATE TABLE visits (id_number text PRIMARY KEY, phone text, day date)",
        f"INSERT INTO visits VALUES {rows}",
        "CREATE TABLE tests AS SELECT * FROM visits",
        "CREATE TABLE ward AS SELECT n AS id, 'ward ' || n AS name FROM generate_series(1, 50) n",
    )
    root = tmp_path_factory.mktemp("half-way")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGISTER_URL", server.url(name))
        clock = Clock()
        case = SmallCase.make(root, STORE, clock=clock)
        case.go("open", "approve-notary")
        case.admit()
    yield server, name, root
    server.stop()


@pytest.fixture
def register(
    made: tuple[postgres_server.Server, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Register]:
    """A copy of both, worked on in this process, so that a test can strike at a statement."""
    server, template, root = made
    shutil.copytree(root, tmp_path / "here", symlinks=True)
    name = server.database(options=f"TEMPLATE {template}")
    monkeypatch.setenv("REGISTER_URL", server.url(name))
    monkeypatch.setattr(local, "run", lambda f, tasks, workers=2: ((t, f(t)) for t in list(tasks)))
    found = Register(SmallCase(tmp_path / "here", Clock()), server, name, server.run(WARD, database=name))
    yield found
    server.drop(name)


def strike(monkeypatch: pytest.MonkeyPatch, statement: str, act: Callable[[], object]) -> None:
    """Act once, after the eraser ran a statement that begins so for the second time."""
    run, seen = writing.Writer.run, [0]

    def hooked(self: writing.Writer, command: Any, *values: object) -> int:
        count = run(self, command, *values)
        if getattr(command, "text", command).startswith(statement):
            seen[0] += 1
            if seen[0] == 2:
                act()
        return count

    monkeypatch.setattr(writing.Writer, "run", hooked)


@pytest.mark.slow
@pytest.mark.parametrize("statement", ["DELETE FROM ONLY", "VACUUM"])
def test_a_server_that_is_killed_in_the_middle_changes_no_certificate(
    register: Register, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """kill -9 of the postmaster, one table done and the next begun: exit 5; it recovers, and the same command
    goes on to a certificate of every record, once, as sealed."""
    strike(monkeypatch, statement, register.server.crash)

    with pytest.raises(PartialError) as partly:
        register.case.destroy()
    register.server.start()

    assert partly.value.exit_code == 5
    register.to_certificate()


def test_a_lock_is_waited_for_and_given_up_cleanly(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the case's lock timeout; then exit 5 with the process in the way; nothing changed."""
    monkeypatch.setitem(writing._WRITES, "lock_timeout", "500ms")
    with register.server.connect(register.name) as other:
        other.autocommit = False
        other.execute("LOCK TABLE visits, tests IN ROW EXCLUSIVE MODE")
        with pytest.raises(PartialError, match=rf"server process {other.info.backend_pid} ") as partly:
            register.case.destroy()
        assert partly.value.exit_code == 5
        assert register.left() == [(PERSONS, PERSONS)]
        other.rollback()

    register.goes_on()


def test_a_table_that_somebody_made_again_is_drift(register: Register) -> None:
    """Dropped and restored with somebody else in it, since it was sealed: exit 4, and it stays as it is."""
    register.sql("DROP TABLE visits", "CREATE TABLE visits AS SELECT * FROM tests")
    register.sql("UPDATE visits SET phone = '0' WHERE id_number = (SELECT min(id_number) FROM visits)")

    with pytest.raises(DriftError) as refused:
        register.case.destroy()

    assert refused.value.exit_code == 4
    assert register.sql("SELECT count(*) FROM visits") == [(PERSONS,)]


def test_a_clock_that_goes_back_opens_nothing(register: Register) -> None:
    """Set to before the approvals: refused, nothing gone. Set right again, it goes on."""
    clock = register.case.clock
    assert isinstance(clock, Clock)
    clock.pass_(-3 * 86_400)
    with pytest.raises(OrderError):
        register.case.destroy()
    assert register.left() == [(PERSONS, PERSONS)]
    assert register.case.now().all(Destruction) == []

    clock.pass_(3 * 86_400)
    register.goes_on()
