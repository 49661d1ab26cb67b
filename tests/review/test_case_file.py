"""What a dishonest operator changes around the case file after everybody signed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from cenotaph import config
from cenotaph.errors import RefusedError, UsageError
from small_case import SmallCase, people, person, table

HELD = '[[hold]]\nby = "District court"\nsubjects = "file:../held.txt"\n\n'
STORE = '[[store]]\nname = "health"\nurl = "sqlite:../estate/health.db"\nsubject = { "*" = "id_number" }\n\n'


def test_a_list_of_held_subjects_cannot_grow_after_the_charter_was_signed(tmp_path: Path) -> None:
    """Whoever is on the list counts as kept: with everybody on it, a probe would find nothing destroyed
    and nothing left, although every record is there."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 20))
    (tmp_path / "held.txt").write_text(person(1).identity + "\n")
    case = SmallCase.make(tmp_path, STORE + HELD)
    case.go(last="approve-notary")
    shutil.copy(tmp_path / "estate" / "health.db", tmp_path / "kept back.db")
    case.destroy()
    shutil.copy(tmp_path / "kept back.db", tmp_path / "estate" / "health.db")

    (tmp_path / "held.txt").write_text("\n".join(p.identity for p in people(0, 20)))

    with pytest.raises(RefusedError, match="charter was signed for"):
        case.probe()


def test_a_list_that_is_missing_is_told_without_its_content(tmp_path: Path) -> None:
    """The lists are read with the case file wherever what the charter fixes is compared."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 4))
    case = SmallCase.make(tmp_path, STORE + HELD)

    with pytest.raises(UsageError, match="list of subjects cannot be read"):
        case.open()


def test_a_store_cannot_hold_a_list_of_subjects(tmp_path: Path) -> None:
    """Destroying would take the list with it, and no later stage could tell who is held."""
    (tmp_path / "estate").mkdir()
    (tmp_path / "estate" / "held.txt").write_text(person(1).identity + "\n")
    stores = '[[store]]\nname = "export"\nurl = "files:../estate"\n\n'
    case = SmallCase.make(tmp_path, stores + HELD.replace("../held.txt", "../estate/held.txt"))

    with pytest.raises(UsageError, match="export contains a list of subjects"):
        config.load(case.path / "case.toml")


def test_two_names_of_one_database_are_not_two_stores(tmp_path: Path) -> None:
    """A hard link, as a bind mount, gives a place a second path; a place is destroyed once."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 4))
    os.link(tmp_path / "estate" / "health.db", tmp_path / "estate" / "other.db")
    again = STORE.replace('"health"', '"other"').replace("health.db", "other.db")
    case = SmallCase.make(tmp_path, STORE + again)

    with pytest.raises(UsageError, match="name each place once"):
        config.load(case.path / "case.toml")


SERVED = '[[store]]\nname = "clinic"\nurl = "env:CLINIC"\n\n'


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[[copy]]\nstore = "health"\nkind = "dump"\npath = "../d"\n', "no store of the case that a server"),
        ('[[copy]]\nstore = "clinc"\nkind = "dump"\npath = "../d"\n', "no store of the case that a server"),
        ('[[copy]]\nstore = "clinic"\nkind = "tape"\npath = "../d"\n', "copy.0.kind"),
        ('[[copy]]\nstore = "clinic"\nkind = "dump"\n', "every other copy a path"),
        ('[[copy]]\nstore = "clinic"\nkind = "standby"\npath = "../d"\n', "subscriber has a url"),
        ('[[copy]]\nstore = "clinic"\nkind = "dump"\nurl = "postgresql://a/b"\n', "every other copy a path"),
        (
            '[[copy]]\nstore = "clinic"\nkind = "standby"\nurl = "postgresql://u:secret@a/b"\n',
            "a password stands in its url",
        ),
        (
            '[[copy]]\nstore = "clinic"\nkind = "wal archive"\npath = "../d"\nrenew = "../e"\n',
            "only a dump or a base backup",
        ),
        ('[[copy]]\nstore = "clinic"\nkind = "dump"\npath = "."\n', "contains the case directory"),
        ('[[copy]]\nstore = "clinic"\nkind = "dump"\npath = "../estate"\n', "lie in each other"),
    ],
)
def test_a_copy_that_cannot_be_meant_is_refused(tmp_path: Path, more: str, says: str) -> None:
    """Copies are destroyed with their store: a line that could mean another place stops the case."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 4))
    case = SmallCase.make(tmp_path, STORE + SERVED + more)

    with pytest.raises(UsageError, match=re.escape(says)) as refused:
        config.load(case.path / "case.toml")

    assert "secret" not in str(refused.value)


def test_a_copy_has_the_place_that_the_case_file_means(tmp_path: Path) -> None:
    """Paths are relative to the file that names them; a standby's address may be a reference."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 4))
    more = (
        '[[copy]]\nstore = "clinic"\nkind = "dump"\npath = "../old.dump"\nrenew = "../new.dump"\n\n'
        '[[copy]]\nstore = "clinic"\nkind = "standby"\nurl = "file:../standby.txt"\n'
    )
    (tmp_path / "standby.txt").write_text("postgresql://reader@standby/clinic\n")
    case = SmallCase.make(tmp_path, STORE + SERVED + more)

    read = config.load(case.path / "case.toml")
    dump, standby = read.surroundings(read.find("clinic")).copies

    assert Path(dump.place).resolve() == tmp_path / "old.dump"
    assert dump.renew is not None
    assert Path(dump.renew).resolve() == tmp_path / "new.dump"
    assert standby.place == "postgresql://reader@standby/clinic"
    assert read.surroundings(read.find("health")).copies == ()


def test_what_only_a_server_has_is_not_said_of_a_file(tmp_path: Path) -> None:
    """A directory beside a SQLite database would be read as its server's, and overwritten with it."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 4))
    case = SmallCase.make(tmp_path, STORE.rstrip() + '\ndata_dir = "../estate"\n\n')

    with pytest.raises(UsageError, match="are said of servers"):
        config.load(case.path / "case.toml")


def test_a_database_is_named_once(tmp_path: Path) -> None:
    """Two stores of one database would destroy, and count, each other's records."""
    case = SmallCase.make(tmp_path, SERVED + SERVED.replace("clinic", "ward"))

    with pytest.raises(UsageError, match="name each database once"):
        config.load(case.path / "case.toml")
