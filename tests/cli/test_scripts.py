"""`cenotaph plan --emit-sql DIR`: a folder for who administers the servers."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

import postgres_server
from by_command import Whole, command, store
from cenotaph.cli import scripts
from cenotaph.desk import Desk
from cenotaph.errors import StoreError, UsageError
from cenotaph.store import Command, Passage
from cenotaph.stores import open_reader
from cenotaph_proof.statements import Plan
from small_case import PARTIES, SmallCase, people, table

postgres_server.need()

OWNER = ("Host Co", "owner", "host")


TABLE = '"visits\n; DROP TABLE kept; --"'


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SmallCase:
    """Planned: a database on a server, under a name that is no file name, and one in a file."""
    root = tmp_path_factory.mktemp("scripts")
    rows = ", ".join(str((n, *p.row())) for n, p in enumerate(people(0, 20)))
    name = postgres_server.shared().database(
        f"CREATE TABLE {TABLE} (id int8 PRIMARY KEY, id_number text, phone text, day date)",
        "CREATE TABLE kept (n int)",
        f"INSERT INTO {TABLE} VALUES {rows}",
    )
    table(root / "estate/health.db", "visits", people(50, 5))
    text = store("../city/*", postgres_server.shared().url(name), 'shared = ["statistics", "wal"]')
    text += store("health", "sqlite:../estate/health.db")
    made = SmallCase.make(root, text, parties=(*PARTIES, OWNER))
    made.go("open", "countersign-notary")
    made.countersign("host")
    made.go("survey", "plan")
    return made


def test_files_are_for_the_administrator_alone(case: SmallCase, tmp_path: Path) -> None:
    """A new folder, own and shared apart, nobody else may read them; the other store is told in one line."""
    written = scripts.write(case.desk(), open_reader, tmp_path / "sql")

    assert [path.name for path in written.files] == ["01-city-own.sql", "01-city-shared.sql"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written.files} == {0o600}
    assert stat.S_IMODE((tmp_path / "sql").stat().st_mode) == 0o700
    assert written.without == ("health",)
    own, shared = (path.read_text() for path in written.files)
    assert case.now().require(Plan).digest in own
    assert ("VACUUM (FULL" in own, "pg_statistic" in own) == (True, False)
    assert [text in shared for text in ("DELETE FROM pg_statistic", "pg_switch_wal", "visits")] == [True] * 3
    assert not [p for p in people(0, 20) for value in (p.identity, p.phone) if value in own + shared]


def test_run_by_mistake_it_does_nothing(case: SmallCase, tmp_path: Path) -> None:
    """psql stops reading before the first command, whatever a table's name has in it."""
    url = case.desk().config.store[0].url
    psql = [str(postgres_server.need() / "psql"), "-v", "ON_ERROR_STOP=1", "-f"]

    for path in scripts.write(case.desk(), open_reader, tmp_path / "sql").files:
        done = subprocess.run([*psql, str(path), url], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    database = url.split("@/")[1].split("?")[0]
    assert postgres_server.shared().run(f"SELECT count(*) FROM {TABLE}", database=database) == [(20,)]


def test_a_name_cannot_leave_its_comment(tmp_path: Path) -> None:
    """Line ends of every kind in the name of a table or a store stay within the comment."""
    passage = Passage("Table a\nDROP\r\x85\u2028x", (Command('DELETE FROM "a"', "Deletes."),))

    lines = scripts.render(["Store a\nb"], [passage]).splitlines()

    assert [line for line in lines if line and not line.startswith("-- ")] == ["\\quit", 'DELETE FROM "a";']
    assert lines[0] == "-- Store a\ufffdb"


def test_what_is_there_is_not_overwritten(case: SmallCase, tmp_path: Path) -> None:
    """Not a folder, not a link to one that is to come."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "later")

    for folder in (tmp_path / "there", tmp_path / "link"):
        with pytest.raises(UsageError, match="is there already"):
            scripts.write(case.desk(), open_reader, folder)

    assert not list((tmp_path / "there").iterdir())


def test_a_server_that_does_not_answer_leaves_nothing(case: SmallCase, tmp_path: Path) -> None:
    """The error names the store, and no folder is made."""
    desk = Desk(case.path)

    def gone(*_: object) -> None:
        raise StoreError("the server does not answer")

    with pytest.raises(StoreError, match=r"store \.\./city/\*: the server does not answer"):
        scripts.write(desk, gone, tmp_path / "sql")  # type: ignore[arg-type]  # it raises

    assert not (tmp_path / "sql").exists()


def test_the_plan_stands_although_its_server_does_not_answer(case: SmallCase, tmp_path: Path) -> None:
    """The command says that it is signed, then fails; a server's address is told nowhere."""
    shutil.copytree(case.root, tmp_path / "copy")
    told = tmp_path / "copy/case/case.toml"
    told.write_text(told.read_text().replace(str(postgres_server.shared().folder), str(tmp_path)))

    ran = command(
        *("cenotaph", "plan", "--show", "--emit-sql", tmp_path / "sql", "--case", told.parent, "--json"),
        code=1,
    )

    assert ran.value["stage"] == "plan"
    assert "sql" not in ran.value
    assert "store ../city/*: the server does not answer" in ran.err
    assert not (tmp_path / "sql").exists()


def test_the_command_tells_what_it_wrote(halfway: Whole, tmp_path: Path) -> None:
    """Of stores in files there is nothing to write; a folder that is there is wrong usage from the start."""
    ran = halfway.ground.run("plan", "--show", "--emit-sql", tmp_path / "sql")

    assert (ran.value["sql"], ran.value["without_sql"]) == ([], ["register", "list"])
    assert not (tmp_path / "sql").exists()
    refused = halfway.ground.run("plan", "--show", "--emit-sql", tmp_path, code=2)
    assert "is there already" in refused.err
    assert not refused.out
