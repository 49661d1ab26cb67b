"""A tiny case, taken through every stage once; after each stage `status` was asked."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

import pytest

from by_command import CSV_ROWS, PEOPLE, UPTO, Ground, Ran, Whole, make_keys, store


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="session")
def laid(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Ground:
    """Two stores, one database and one CSV file; the case is not opened."""
    ground = Ground(tmp_path_factory.mktemp("tiny") / "ground")
    ground.lay(
        keys, store("register", "sqlite:../estate/register.db") + store("list", "files:../estate/list")
    )
    with sqlite3.connect(ground.estate / "register.db") as db:
        db.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, phone TEXT)")
        rows = [(f"Resident {n:04d} of Wuxi", f"1390000{n:04d}") for n in range(PEOPLE)]
        db.executemany("INSERT INTO people (name, phone) VALUES (?, ?)", rows)
    db.close()
    (ground.estate / "list").mkdir()
    with (ground.estate / "list/list.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["name", "phone"])
        out.writerows((f"Visitor {n:04d} of Wuxi", f"1380000{n:04d}") for n in range(CSV_ROWS))
    return ground


@pytest.fixture(scope="session")
def halfway(tmp_path_factory: pytest.TempPathFactory, laid: Ground) -> Whole:
    """Approved, and nothing destroyed. Tests that go on take a copy."""
    ground = laid.copy(tmp_path_factory.mktemp("halfway") / "ground")
    return Whole(ground, *_take(ground, UPTO[:7]))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, halfway: Whole) -> Whole:
    ground = halfway.ground.copy(tmp_path_factory.mktemp("whole") / "ground")
    ran, status = _take(ground, UPTO[7:])
    ran["publish"] = ground.run("publish")
    return Whole(ground, {**halfway.ran, **ran}, {**halfway.status, **status})


def _take(ground: Ground, stages: tuple[str, ...]) -> tuple[dict[str, Ran], dict[str, Ran]]:
    ran: dict[str, Ran] = {}
    status: dict[str, Ran] = {}
    for stage in stages:
        ran[stage] = ground.stage(stage)
        status[stage] = ground.run("status")
    return ran, status
