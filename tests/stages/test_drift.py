"""What changed since it was sealed is not destroyed; the rest is, and the certificate says which is which."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cenotaph.errors import DriftError
from cenotaph_proof.statements import Destruction, Plan, Probe
from small_case import STORES, SmallCase, csv, jsonl, people, person, put, table


def sql(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def count(path: Path, name: str) -> int:
    with sqlite3.connect(path) as db:
        (found,) = db.execute(f"SELECT count(*) FROM {name}").fetchone()
    db.close()
    return int(found)


def add(estate: Path) -> None:
    sql(estate / "health.db", "INSERT INTO visits (id_number, phone, day) VALUES ('x', 'y', 'z')")


def change(estate: Path) -> None:
    sql(estate / "health.db", "UPDATE visits SET phone = '13900000001' WHERE id = 3")


def remove(estate: Path) -> None:
    sql(estate / "health.db", "DELETE FROM visits WHERE id = 3")


@pytest.mark.parametrize(("drift", "rows"), [(add, 21), (change, 20), (remove, 19)])
def test_a_table_that_drifted_stays_and_the_rest_goes_on(
    approved: SmallCase, drift: Callable[[Path], None], rows: int
) -> None:
    """A row added, changed or removed since the seal: exit 4, the table stays whole; what else was destroyed
    is signed; a plan leaves the table out without new approvals, and the certificate says so."""
    estate = approved.root / "estate"
    drift(estate)

    with pytest.raises(DriftError) as refused:
        approved.destroy()

    assert refused.value.exit_code == 4
    assert count(estate / "health.db", "visits") == rows
    assert not (estate / "export" / "a.csv").exists()
    said = approved.now().require(Destruction).body(Destruction)
    assert sum(c.records for s in said.stores for c in s.collections if s.name == "export") == 20
    assert not said.complete

    amended = approved.plan().body(Plan)
    assert [(o.ordinal, o.reason) for o in amended.stores[0].left_out] == [(1, "drifted")]
    approved.go("destroy", "certify")
    assert count(estate / "health.db", "visits") == rows
    health = approved.certificate().stores[0]
    assert {c.ordinals: c.outcome for c in health.collections} == {(0,): "destroyed", (1,): "left out"}
    assert approved.verdict().exit_code == 0


def append_line(export: Path) -> None:
    with (export / "a.csv").open("ab") as stream:
        stream.write(person(999).line().encode() + b"\n")


def add_file(export: Path) -> None:
    put(export / "new.csv", csv(people(900, 3)))


@pytest.mark.parametrize("drift", [append_line, add_file])
def test_a_folder_that_grew_stays_whole(approved: SmallCase, drift: Callable[[Path], None]) -> None:
    """A line added to a file, or a file added to a folder, since the survey: nothing of that collection is
    destroyed, not even the files that are as they were sealed."""
    export = approved.root / "estate" / "export"
    drift(export)
    before = {p.name: p.read_bytes() for p in export.glob("*.csv")}

    with pytest.raises(DriftError):
        approved.destroy()

    assert {p.name: p.read_bytes() for p in export.glob("*.csv")} == before
    approved.plan()
    approved.go("destroy", "certify")
    assert {p.name: p.read_bytes() for p in export.glob("*.csv")} == before
    assert not (export / "old").exists()
    assert approved.verdict().exit_code == 0


def test_a_collection_that_appeared_is_told_and_stays(approved: SmallCase) -> None:
    """A table and a file of another kind that came after the survey are in no plan: they stay, the
    destruction says that they appeared, and the auditor does not accept it."""
    estate = approved.root / "estate"
    table(estate / "health.db", "later", people(700, 4))
    put(estate / "export" / "later" / "x.jsonl", jsonl(people(800, 5)))

    done = approved.destroy()

    assert done is not None
    notes = [note for s in done.body(Destruction).stores for note in s.notes]
    assert any("1 collections with 4 records appeared" in note for note in notes)
    assert any("1 collections with 5 records appeared" in note for note in notes)
    assert count(estate / "health.db", "later") == 4
    assert (estate / "export" / "later" / "x.jsonl").exists()
    approved.probe()
    approved.admit()
    assert approved.now().require(Probe).body(Probe).decision == "reject"


def test_what_sqlite_does_by_itself_is_no_drift(approved: SmallCase) -> None:
    """A checkpoint, another journal mode, another time of the file: no record changed, nothing is refused."""
    database = approved.root / "estate" / "health.db"
    db = sqlite3.connect(database)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA user_version=7")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA journal_mode=DELETE")
    db.close()
    os.utime(database, (1, 1))

    done = approved.destroy()

    assert done is not None
    assert done.body(Destruction).complete


@pytest.mark.slow
def test_a_collection_destroyed_in_part_is_certified_in_part(tmp_path: Path) -> None:
    """A file that changed after the first 256 of its folder were destroyed: the certificate says *partly
    destroyed*, with the right count, and the grade of what was destroyed stands."""
    export = tmp_path / "estate" / "export"
    for number in range(258):
        put(export / f"{number:03d}.csv", csv([person(number)]))
    case = SmallCase.make(tmp_path, STORES.split("\n\n")[1] + "\n\n")
    case.go("open", "approve-notary")
    last = export / "257.csv"
    last.write_bytes(last.read_bytes().replace(b"139", b"138"))

    with pytest.raises(DriftError):
        case.destroy()

    assert sorted(p.name for p in export.iterdir()) == ["256.csv", "257.csv"]
    case.plan()
    case.go("destroy", "certify")
    (store,) = case.certificate().stores
    assert store.reached == "L2"
    assert [(c.sealed, c.destroyed, c.outcome) for c in store.collections] == [(258, 256, "partly destroyed")]
    assert sorted(p.name for p in export.iterdir()) == ["256.csv", "257.csv"]
    assert case.verdict().exit_code == 0
