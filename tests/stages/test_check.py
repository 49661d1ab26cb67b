"""After a certificate: people who come back are noticed, by a list that somebody brings or by counting."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
from pathlib import Path

import pytest

from by_command import command
from cenotaph.config import subjects_of
from cenotaph.errors import RefusedError, UsageError
from cenotaph.stores import open_reader
from cenotaph.suppression import Looked, check
from small_case import STORES, SmallCase, csv, grep, people, put, table, values

KNOWN = people(0, 20)  # of the database's table visits
LIST = frozenset(p.identity for p in KNOWN)
STAYING = people(500, 5)


@pytest.fixture(scope="module")
def certified_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database and a folder are certified empty; a table of staff stays. A backup was forgotten."""
    root = tmp_path_factory.mktemp("certified")
    table(root / "estate/health.db", "visits", KNOWN)
    table(root / "estate/health.db", "staff", STAYING)
    put(root / "estate/export/a.csv", csv(people(200, 12)))
    shutil.copyfile(root / "estate/health.db", root / "backup.db")
    scope = 'name = "health"\nscope = { collections = ["visits"] }\n'
    case = SmallCase.make(root, STORES.replace('name = "health"\n', scope))
    case.go("open", "certify")
    return root


@pytest.fixture
def case(certified_root: Path, tmp_path: Path) -> SmallCase:
    shutil.copytree(certified_root, tmp_path / "here", symlinks=True)
    return SmallCase(tmp_path / "here")


def look(case: SmallCase, who: frozenset[str] | None = None, **addresses: str) -> dict[str, Looked]:
    return {found.store: found for found in check(case.path, open_reader, who, addresses)}


def states(found: dict[str, Looked]) -> list[str]:
    return [looked.state for looked in found.values()]


def test_nobody_came_back_right_after_the_certificate(case: SmallCase) -> None:
    """With a list of all who were destroyed, and without one: every store is empty of them."""
    for who in (None, LIST | {p.identity for p in people(200, 12)}):
        assert states(look(case, who)) == ["empty", "empty"]


def test_there_is_nothing_to_check_before_the_certificate(tmp_path: Path) -> None:
    """Nothing is certified to be gone: exit 4."""
    put(tmp_path / "estate/export/a.csv", csv(KNOWN))
    table(tmp_path / "estate/health.db", "visits", KNOWN)
    made = SmallCase.make(tmp_path, STORES)
    made.go("open", "probe")

    with pytest.raises(RefusedError, match="no certificate") as refused:
        look(made)

    assert refused.value.exit_code == 4


def test_a_restored_backup_brings_them_back(case: SmallCase) -> None:
    """Somebody restored last week's database: told without any list, and with one whom it brought."""
    shutil.copyfile(case.root / "backup.db", case.root / "estate/health.db")

    counted = look(case)["health"]
    found = look(case, LIST | {"nobody"})["health"]

    assert (counted.state, counted.records, counted.collections) == ("came back", 20, 1)
    assert (found.state, found.people, found.people_kept) == ("came back", 20, 0)
    assert found.people_in_bytes == 20
    assert look(case)["export"].state == "empty"


def test_a_backup_restored_elsewhere_is_looked_at_where_it_is(case: SmallCase) -> None:
    """The store is clean; at another address, of the same kind, they are all there."""
    backup = f"sqlite:{case.root / 'backup.db'}"

    assert look(case, LIST)["health"].people == 0
    assert look(case, LIST, health=backup)["health"].people == 20
    assert look(case, LIST, health="files:/")["health"].state == "not read"  # another kind of store


def test_a_replayed_queue_brings_some_back_under_another_name(case: SmallCase) -> None:
    """Three messages are delivered again, into a table that no survey saw and no scope names: a list finds
    them; that somebody on it works here does not count."""
    with sqlite3.connect(case.root / "estate/health.db") as db:
        db.execute("CREATE TABLE incoming (at TEXT, id_number TEXT, phone TEXT)")
        db.executemany("INSERT INTO incoming VALUES ('now', ?, ?)", [p.row()[:2] for p in KNOWN[3:6]])
    db.close()

    found = look(case, LIST | {STAYING[0].identity})["health"]

    assert (found.state, found.people, found.people_kept) == ("came back", 3, 1)


def test_a_file_that_comes_back_is_found_inside_and_out(case: SmallCase) -> None:
    """A gzipped export that a job wrote again: by its records, and by its bytes."""
    who = frozenset(p.phone for p in people(200, 2))
    put(case.root / "estate/export/again.csv.gz", gzip.compress(csv(people(200, 2))))

    found = look(case, who)["export"]

    assert (found.state, found.records, found.people, found.people_in_bytes) == ("came back", 2, 2, 2)


def test_people_inside_longer_values_are_found_by_their_bytes(case: SmallCase) -> None:
    """A note that quotes a number is no record of that number: the bytes show it."""
    with sqlite3.connect(case.root / "estate/health.db") as db:
        db.execute(
            "INSERT INTO visits (id_number, phone, day) VALUES ('', '', ?)", [f"see {KNOWN[0].identity} too"]
        )
    db.close()

    found = look(case, LIST)["health"]

    assert (found.state, found.people, found.people_in_bytes) == ("came back", 0, 1)


def test_a_store_that_cannot_be_read_is_not_called_empty(case: SmallCase) -> None:
    """There is nothing at its place: nothing is said of it."""
    shutil.rmtree(case.root / "estate/export")

    assert look(case)["export"].state == "not read"


def test_nothing_of_the_list_is_written(case: SmallCase) -> None:
    """Looked for and found, and no file of the case has any of it."""
    shutil.copyfile(case.root / "backup.db", case.root / "estate/health.db")
    before = sorted(str(p) for p in case.path.rglob("*"))

    look(case, LIST)

    assert grep(case.path, values(KNOWN)) == []
    assert grep(case.root / "log", values(KNOWN)) == []
    assert sorted(str(p) for p in case.path.rglob("*")) == before


def test_the_command_tells_counts_and_exits_with_3(case: SmallCase) -> None:
    """A list on standard input; no person in what it says; 0 while nobody is there."""
    line = ("cenotaph", "check", "--case", case.path, "--json", "--subjects", "-")
    assert command(*line, stdin="\n".join(LIST)).value["came_back"] is False
    shutil.copyfile(case.root / "backup.db", case.root / "estate/health.db")

    ran = command(*line, stdin="\n".join(LIST), code=3)

    assert (ran.value["subjects"], ran.value["stores"][0]["people"]) == (20, 20)
    assert not any(value.decode() in ran.out + ran.err for value in values(KNOWN))


def test_a_list_is_text_one_a_line() -> None:
    """White space around is nothing, empty lines neither; bytes that are no text are refused."""
    assert subjects_of(b" a \n\nb\n") == {"a", "b"}
    with pytest.raises(UsageError, match="UTF-8"):
        subjects_of(b"\xff")
