"""Acceptance: values that a kept table shares with a destroyed one are excused where they are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from by_command import Ground, grep, store

pytestmark = pytest.mark.slow

SHARED = 1_000
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
HOLD = '[[hold]]\nby = "District court"\nreference = "21-443"\ncollections = ["residents"]\n'


def identity(number: int) -> str:
    """An identity number with its check digit (GB 11643-1999)."""
    born = 19400101 + number % 28 + number // 28 % 12 * 100 + number // 336 * 10_000
    first = f"320200{born}{number % 1000:03d}"
    return first + "10X98765432"[sum(int(d) * w for d, w in zip(first, WEIGHTS, strict=True)) % 11]


IDS = [identity(n) for n in range(SHARED)]


@pytest.fixture(scope="module")
def destroyed(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Ground:
    """A database of which one table is held and shares every identity number with the destroyed one."""
    ground = Ground(tmp_path_factory.mktemp("shared") / "ground")
    ground.lay(keys, store("register", "sqlite:../estate/register.db") + HOLD)
    db = sqlite3.connect(ground.estate / "register.db")
    db.execute("PRAGMA secure_delete = OFF")
    db.execute("CREATE TABLE residents (id_number TEXT PRIMARY KEY, town TEXT)")
    db.execute("CREATE TABLE visits (serial INTEGER PRIMARY KEY, id_number TEXT, gate TEXT)")
    db.execute("CREATE INDEX by_number ON visits (id_number)")
    db.executemany("INSERT INTO residents VALUES (?, 'Wuxi')", [(i,) for i in IDS])
    db.executemany("INSERT INTO visits (id_number, gate) VALUES (?, 'north')", [(i,) for i in IDS])
    db.commit()
    db.close()
    ground.upto("destroy")
    return ground


def test_kept_values_do_not_stand_in_the_way(destroyed: Ground, tmp_path: Path) -> None:
    """All 1,000 shared values are still in the held table, none is residue, and L2 is certified."""
    ground = destroyed.copy(tmp_path / "ground")
    with sqlite3.connect(ground.estate / "register.db") as db:
        assert sorted(row[0] for row in db.execute("SELECT id_number FROM residents")) == sorted(IDS)
        assert db.execute("SELECT count(*) FROM visits").fetchone() == (0,)
    assert len(grep([i.encode() for i in IDS], ground.estate)) == SHARED

    probe = ground.stage("probe")
    certify = ground.stage("certify")

    assert [s["grade_reached"] for s in probe.value["stores"]] == ["L2"]
    assert [s["grade_reached"] for s in certify.value["stores"]] == ["L2"]


def _in_slack(path: Path) -> None:
    """Write one number between the cell pointers and the cells of a live leaf page."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    number = IDS[17].encode()
    for start in range(size, len(data), size):
        cells, content = (int.from_bytes(data[start + at : start + at + 2], "big") for at in (3, 5))
        if data[start] in (0x0A, 0x0D) and content - (8 + 2 * cells) >= len(number) + 2:
            at = start + content - len(number) - 1
            data[at : at + len(number)] = number
            path.write_bytes(data)
            return
    raise AssertionError("no leaf page has room")


def _in_a_free_page(path: Path) -> None:
    """Let SQLite itself leave one number in a page of its freelist."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("CREATE TABLE scratch (value TEXT)")
        db.execute("INSERT INTO scratch VALUES (?)", (IDS[17],))
        db.commit()
        db.execute("DROP TABLE scratch")
        db.commit()
        assert db.execute("PRAGMA freelist_count").fetchone()[0] > 0


def _in_a_copy(path: Path) -> None:
    """Leave one number in a journal that SQLite would not even look at."""
    path.with_name(path.name + "-journal").write_bytes(b"\0" * 512 + IDS[17].encode() + b"\0" * 100)


@pytest.mark.parametrize("plant", [_in_slack, _in_a_free_page, _in_a_copy])
def test_one_extra_copy_is_residue(destroyed: Ground, tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """A single further copy of one kept number, outside its live row, is residue: exit 3, below L2."""
    ground = destroyed.copy(tmp_path / "ground")
    plant(ground.estate / "register.db")
    assert (ground.estate / "register.db").read_bytes().count(IDS[17].encode()) >= 2 or plant is _in_a_copy

    probe = ground.stage("probe", code=3)

    assert [s["grade_reached"] for s in probe.value["stores"]] == ["L1"]
    assert probe.value["decision"] == "reject"
    assert ground.stage("certify", code=4).out == ""


@pytest.mark.parametrize("plant", [_in_slack, _in_a_free_page])
def test_destroying_again_after_a_rejecting_probe_reaches_the_grade(
    destroyed: Ground, tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    """A probe that found residue sends the case back: destroy reclaims anew, and the next probe accepts."""
    ground = destroyed.copy(tmp_path / "ground")
    plant(ground.estate / "register.db")
    ground.stage("probe", code=3)
    status = ground.run("status").out

    again = ground.stage("destroy")
    probe = ground.stage("probe")
    certificate = ground.stage("certify")

    assert "cenotaph destroy" in status
    assert again.value["records"] == 0
    assert [s["grade_reached"] for s in probe.value["stores"]] == ["L2"]
    assert [s["grade_reached"] for s in certificate.value["stores"]] == ["L2"]
    ground.verify()
    assert len(grep([i.encode() for i in IDS], ground.estate)) == SHARED
