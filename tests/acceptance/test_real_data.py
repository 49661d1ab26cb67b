"""Acceptance: real and de-identified data sets as one case, counted by independent readers."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from by_command import Ground, Ran, grep, store

pytestmark = pytest.mark.slow

SHARED = Path(__file__).resolve().parents[3] / "shared"
FOLDERS = ("korea_ds4c", "ebola_sl", "sormas_generator", "synthea", "godata_sandbox")
OWN = "sqlite_sequence"  # SQLite's own bookkeeping is no table of the user's


@pytest.fixture(scope="module")
def data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared folder with data sets is not beside the repository")
    return SHARED / "data"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, keys: Path, data: Path) -> tuple[Ground, dict[str, Ran]]:
    """Copies of the data sets, destroyed and certified in one case of seven stores."""
    ground = Ground(tmp_path_factory.mktemp("real") / "ground")
    stores = [store(name, f"files:../estate/{name}", "publish_names = true") for name in FOLDERS]
    stores.append(store("geolife_csv", "files:../estate/geolife/geolife_small.csv", "publish_names = true"))
    stores.append(store("geolife_gpkg", "sqlite:../estate/geolife/geolife_small.gpkg"))
    ground.lay(keys, "".join(stores))
    for name in (*FOLDERS, "geolife"):
        shutil.copytree(data / name, ground.estate / name, ignore=shutil.ignore_patterns("NOTE"))
    return ground, ground.upto("certify")


def rows(path: Path) -> int:
    """Records of a CSV file, its heading not counted, as Python's csv module reads it."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return sum(1 for row in csv.reader(stream) if row) - 1


@pytest.mark.parametrize("name", [*FOLDERS, "geolife_csv"])
def test_counts_of_csv_files_are_those_of_the_csv_module(
    case: tuple[Ground, dict[str, Ran]], data: Path, name: str
) -> None:
    """Files of one heading are one collection, with as many records as Python's csv module counts."""
    files = sorted((data / name.removesuffix("_csv")).glob("*.csv"))
    counted: Counter[bytes] = Counter()
    for file in files:
        counted[file.read_bytes().splitlines()[0]] += rows(file)
    sealed = {s["name"]: s for s in case[1]["seal"].value["stores"]}[name]

    assert files
    assert sorted(c["records"] for c in sealed["collections"]) == sorted(counted.values())
    assert sealed["records"] == counted.total()


def test_counts_of_the_geopackage_are_those_of_sqlite(
    case: tuple[Ground, dict[str, Ran]], data: Path
) -> None:
    """Each table has as many records as SQLite counts; the R-tree's own tables are no collections."""
    with sqlite3.connect(f"file:{data / 'geolife/geolife_small.gpkg'}?mode=ro", uri=True) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counted = {n: db.execute(f'SELECT count(*) FROM "{n}"').fetchone()[0] for n in names}
    sealed = {s["name"]: s for s in case[1]["seal"].value["stores"]}["geolife_gpkg"]
    told = {c["name"]: c["records"] for c in sealed["collections"]}

    assert told == {n: counted[n] for n in told}
    assert told["testdata_geolife2"] == 5_908
    assert set(counted) - set(told) <= {OWN, *(n for n in counted if n.startswith("rtree_"))}


def test_they_are_destroyed_probed_certified_and_verified(case: tuple[Ground, dict[str, Ran]]) -> None:
    """Everything sealed was destroyed, no store is below L2, and the proof file verifies."""
    ground, ran = case

    assert ran["destroy"].value["records"] == ran["seal"].value["records"] > 60_000
    assert [s["grade_reached"] for s in ran["probe"].value["stores"]] == ["L2"] * 7
    assert [s["grade_reached"] for s in ran["certify"].value["stores"]] == ["L2"] * 7
    assert ground.verify().value["verdict"] == "verified"


def test_nothing_of_them_is_left(case: tuple[Ground, dict[str, Ran]], data: Path) -> None:
    """GNU grep finds values in the original sets, and none where they were destroyed or in the case."""
    with (data / "synthea/patients.csv").open(encoding="utf-8", newline="") as stream:
        needles = {row["SSN"].encode() for row in csv.DictReader(stream)}
    with (data / "sormas_generator/persons_df.csv").open(encoding="utf-8", newline="") as stream:
        people = list(csv.DictReader(stream))
        needles |= {row["uuid"].encode() for row in people[:500] if row.get("uuid")}
    with (data / "korea_ds4c/PatientInfo.csv").open(encoding="utf-8", newline="") as stream:
        needles |= {row["patient_id"].encode() for row in csv.DictReader(stream)}

    assert grep(needles, data / "synthea", data / "sormas_generator", data / "korea_ds4c") == needles
    assert grep(needles, case[0].root) == set()
