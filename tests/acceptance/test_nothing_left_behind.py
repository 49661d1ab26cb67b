"""Acceptance: nothing that the tool wrote holds a person's data, during the case or after it."""

from __future__ import annotations

import csv
import os
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from by_command import BIN, CityCase, bytes_in, grep, numbers, spelled

FORBIDDEN = "Max core file size 0 0 bytes"
SHORTEST = 6  # bytes; a four-byte name in GB 18030 turns up in random bytes by chance


@pytest.fixture(scope="session")
def planted(approved: CityCase) -> tuple[set[bytes], set[bytes]]:
    """What is personal in the city, read by sqlite3 and the csv module: texts, and numbers as integers."""
    estate = approved.ground.estate
    texts: set[str] = set()
    mobiles: set[int] = set()
    with sqlite3.connect(f"file:{estate / 'apps/health/health.db'}?mode=ro", uri=True) as db:
        texts |= {v for row in db.execute("SELECT id_number, name, mobile, passport FROM codes") for v in row}
    with sqlite3.connect(f"file:{estate / 'apps/nucleic/tests.db'}?mode=ro", uri=True) as db:
        mobiles |= {row[0] for row in db.execute("SELECT mobile FROM tests")}
    with (estate / "apps/vaccination/doses.csv").open(encoding="gb18030", newline="") as stream:
        texts |= {row["住址"] for row in csv.DictReader(stream)}
    with (estate / "apps/hotline/calls.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
        texts |= {row[c] for row in rows for c in ("caller", "email", "id_number", "call")}
    texts |= set(approved.city.held_ids) | set(approved.city.deleted_ids)
    assert len(texts) > 350
    assert len(mobiles) > 50
    wanted = {b for text in texts for b in spelled(text) if len(b) >= SHORTEST}
    wanted |= {n for needles in approved.city.needles.values() for n in needles}
    return wanted, {n for mobile in mobiles for n in numbers(mobile)}


def test_what_is_sought_can_be_found(approved: CityCase, planted: tuple[set[bytes], set[bytes]]) -> None:
    """The control: the same search finds the values in the estate, as text and as integers."""
    texts, integers = planted

    found = grep({t for t in texts if b"\0" not in t and b"\n" not in t}, approved.ground.estate)

    assert len(found) > 300
    assert bytes_in(integers, approved.ground.estate / "apps")


@pytest.mark.parametrize("when", ["approved", "destroyed", "finished"])
def test_nothing_the_tool_wrote_holds_a_planted_value(
    approved: CityCase, finished: CityCase, planted: tuple[set[bytes], set[bytes]], when: str
) -> None:
    """Case, annex, journal, log, site, keys, temporary files, output: not one value, in any encoding."""
    places = {
        "approved": approved.ground.written_by_the_tool(),
        "destroyed": [finished.ground.root.parent / "case after destroying"],
        "finished": finished.ground.written_by_the_tool(),
    }[when]
    texts, integers = planted
    lines = {t for t in texts if b"\0" not in t and b"\n" not in t}

    assert any(p.is_file() for place in places for p in place.rglob("*"))
    assert grep(lines, *places) == set()
    assert bytes_in((texts - lines) | integers, *places) == set()


@pytest.mark.parametrize("when", ["approved", "destroyed", "finished"])
def test_nothing_the_tool_wrote_names_a_file_or_folder_of_the_estate(
    approved: CityCase, finished: CityCase, when: str
) -> None:
    """Only the operator's own case.toml says where stores lie; nothing says what files are called."""
    places = {
        "approved": approved.ground.written_by_the_tool(),
        "destroyed": [finished.ground.root.parent / "case after destroying"],
        "finished": finished.ground.written_by_the_tool(),
    }[when]
    estate = approved.ground.estate
    declared = (approved.ground.case / "case.toml").read_text("utf-8")
    files = [p for p in estate.rglob("*") if not _told(p.name, declared)]
    names = {b for p in files for b in spelled(p.name) if len(p.name) > 5}
    ours = ("case.toml", "verify.html")  # the page that checks is the same for every case (tests/site)
    written = [p for place in places for p in place.rglob("*") if p.is_file() and p.name not in ours]
    lines = {n for n in names if b"\0" not in n}

    assert len(names) > 200
    assert {n for n in lines if grep([n], *written)} == set()
    assert bytes_in(names - lines, *written) == set()


def _told(name: str, case_toml: str) -> bool:
    """Whether the case tells this word as the name of an app or store, or it is the page's own name."""
    told = [line for line in case_toml.splitlines() if line.startswith(("name =", "purpose ="))]
    return name == "index.html" or any(name in line for line in told)


def test_temporary_files_are_gone(finished: CityCase) -> None:
    """TMPDIR and HOME of a whole case are empty afterwards, and no core was dumped anywhere."""
    root = finished.ground.root

    assert [p for p in (root / "tmp").rglob("*") if p.is_file()] == []
    assert [p for p in (root / "home").rglob("*") if p.is_file()] == []
    assert [p for p in root.rglob("core*") if p.is_file()] == []


def test_the_annex_and_the_shares_are_gone(finished: CityCase) -> None:
    """After certifying the annex is empty, and the auditor's key share is no longer beside their key."""
    annex, secrets = finished.ground.case / "annex", finished.ground.keys / "auditor.cases"

    assert not annex.exists() or list(annex.rglob("*")) == []
    assert grep([b'"share"'], secrets) == set()


def test_no_command_may_dump_core(approved: CityCase, tmp_path: Path) -> None:
    """A command started where core dumps are allowed forbids them to itself before it reads anything."""
    ground = approved.ground.copy(tmp_path / "ground")
    allow = 'ulimit -S -c "$(ulimit -H -c)" && exec "$@"'
    line = ["sh", "-c", allow, "sh", str(BIN / "cenotaph"), "challenge", "--case", str(ground.case)]
    seen: set[str] = set()
    with subprocess.Popen(
        [*line, "--key", str(ground.keys / "auditor")],
        env={**os.environ, **ground.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        while running.poll() is None and FORBIDDEN not in seen:
            seen |= _core_limit(running.pid)
            time.sleep(0.02)
        running.terminate()

    assert seen - {FORBIDDEN}  # allowed at first, which is the control
    assert FORBIDDEN in seen


def _core_limit(process: int) -> set[str]:
    try:
        text = Path(f"/proc/{process}/limits").read_text("ascii")
    except OSError:
        return set()
    return {" ".join(line.split()) for line in text.splitlines() if "core" in line}
