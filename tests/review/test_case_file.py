"""What a dishonest operator changes around the case file after everybody signed."""

from __future__ import annotations

import os
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
