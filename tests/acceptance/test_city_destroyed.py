"""Acceptance: what an independent search finds of a city before and after its destruction."""

from __future__ import annotations

import gzip
import sqlite3
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from by_command import CityCase, bytes_in, fingerprints, grep

PACKED = {"gzip", "zip", "parquet"}  # grep is blind to these: they are unpacked before
BINARY = {"sqlite integer", "sqlite utf-16"}  # needles that are no lines of text
KEPT = {"sqlite held", "bystander"}


def greppable(case: CityCase) -> dict[str, set[bytes]]:
    return {k: set(v) for k, v in case.city.needles.items() if k not in PACKED | BINARY}


@pytest.mark.parametrize("kind", ["gzip", "zip", "parquet"])
def test_packed_values_are_there_before(approved: CityCase, kind: str) -> None:
    """Python's gzip and zipfile, and pyarrow, find every planted value of a packed place before."""
    place = approved.ground.estate / approved.city.places[kind]

    unpacked = b"\n".join(_unpack(kind, path) for path in ([place] if place.is_file() else place.iterdir()))

    assert approved.city.needles[kind]
    assert [n for n in approved.city.needles[kind] if n not in unpacked] == []


def test_grep_finds_everything_before(approved: CityCase) -> None:
    """GNU grep, and find for names, see every planted value of every place that can be grepped."""
    for kind, needles in greppable(approved).items():
        missing = needles - grep(needles, approved.ground.estate / approved.city.places[kind])
        assert (kind, missing) == (kind, set())
    for kind in BINARY:
        needles = set(approved.city.needles[kind])
        assert bytes_in(needles, approved.ground.estate / approved.city.places[kind]) == needles


def test_grep_finds_only_what_is_held_afterwards(finished: CityCase) -> None:
    """Over every file and name of the estate, only held and bystanding values are left."""
    found = {kind: grep(needles, finished.ground.estate) for kind, needles in greppable(finished).items()}
    binary = {n for kind in BINARY for n in finished.city.needles[kind]}
    packed = {n for kind in PACKED for n in finished.city.needles[kind]}

    assert {kind for kind, hits in found.items() if hits} == KEPT
    for kind in KEPT:
        assert found[kind] == set(finished.city.needles[kind])
    assert bytes_in(binary, finished.ground.estate) == set()
    assert grep(packed, finished.ground.estate) == set()


def test_no_identity_number_but_those_kept_is_left(approved: CityCase, finished: CityCase) -> None:
    """Every identity number that SQLite itself read in the health codes is gone, except of held persons."""
    with _live(approved.ground.estate / "apps/health/health.db") as db:
        numbers = {row[0].encode() for row in db.execute("SELECT id_number FROM codes")}
    held = {h.encode() for h in finished.city.held_ids}

    assert len(numbers) == approved.city.residents
    assert grep(numbers, approved.ground.estate) == numbers
    assert grep(numbers, finished.ground.estate) == held


def test_bystanders_are_byte_identical(approved: CityCase, finished: CityCase) -> None:
    """Files outside every store have the same SHA-256 before and after."""
    for name in finished.city.bystanders:
        before, after = approved.ground.estate / name, finished.ground.estate / name
        assert list(fingerprints(after).values()) == list(fingerprints(before).values())


def test_nothing_but_bystanders_and_the_held_database_is_left(finished: CityCase) -> None:
    """No file of a destroyed store is left, nor a journal, a tombstone or a temporary copy."""
    estate = finished.ground.estate
    left = {str(p.relative_to(estate)) for p in estate.rglob("*") if p.is_file()}

    assert left == {*finished.city.bystanders, "apps/quarantine/quarantine.db"}


def test_held_rows_are_identical_in_value(approved: CityCase, finished: CityCase) -> None:
    """sqlite3 reads the held rows, all columns, exactly as before, and no other row; the file is sound."""
    query = "SELECT rowid, * FROM quarantine_stays"
    with _live(approved.ground.estate / "apps/quarantine/quarantine.db") as before:
        every = before.execute(query).fetchall()
        columns = [c[0] for c in before.execute(query).description]
    with _live(finished.ground.estate / "apps/quarantine/quarantine.db") as after:
        left = after.execute(query).fetchall()
        assert after.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert after.execute("SELECT count(*) FROM door_alarms").fetchone() == (0,)
    who = columns.index("id_number")

    assert sorted(left) == sorted(row for row in every if row[who] in finished.city.held_ids)
    assert 0 < len(left) < len(every)


def test_every_store_reached_the_grade_asked_for(finished: CityCase) -> None:
    """Probe and certificate give L2 for each store, the verifier agrees, and the counts are the city's."""
    certified = finished.ran["certify"].value
    held = len(finished.city.held_ids)
    verdict = finished.ground.verify().value

    assert {(s["grade_asked"], s["grade_reached"]) for s in certified["stores"]} == {("L2", "L2")}
    assert {(s["grade_asked"], s["grade_reached"]) for s in finished.ran["probe"].value["stores"]} == {
        ("L2", "L2")
    }
    assert finished.ran["destroy"].value["records"] == finished.city.total - _rows_of_held(finished)
    assert held == 3
    assert verdict["verdict"] == "verified"


def _rows_of_held(case: CityCase) -> int:
    with _live(case.ground.estate / "apps/quarantine/quarantine.db") as db:
        return int(db.execute("SELECT count(*) FROM quarantine_stays").fetchone()[0])


def _live(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def _unpack(kind: str, path: Path) -> bytes:
    if kind == "gzip":
        return gzip.decompress(path.read_bytes())
    if kind == "parquet":
        return str(pq.read_table(path).to_pydict()).encode()
    with zipfile.ZipFile(path) as archive:
        return b"\n".join(archive.read(name) for name in archive.namelist())
