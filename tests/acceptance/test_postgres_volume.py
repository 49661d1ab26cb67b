"""Acceptance of L3 for a PostgreSQL server: nobody is left on its volume, in no block of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from postgres_on_volume import PERSONS, OnVolume, ServerCase, server_on

import postgres_server
from cenotaph.scope import Selection
from cenotaph.store import Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.volume import blocks
from volume_images import LOOPS

postgres_server.need()
pytestmark = [LOOPS, pytest.mark.slow, pytest.mark.timeout(3600)]

KEEPS_WARDS = 'scope = { collections = ["public.patient", "public.visit"] }'


def test_a_server_that_stays_leaves_nobody_on_its_volume(tmp_path: Path) -> None:
    """Tables rewritten, log cycled, volume wiped beneath the running server: grep in the image finds nobody,
    the probe gives L3 and says what the server's memory may keep, and what stays is as it was."""
    with server_on() as on:
        case = ServerCase(tmp_path / "case").ask(on, KEEPS_WARDS)
        before = on.found()
        ran = case.upto("certify")
        (probed,) = ran["probe"].value["stores"]

        assert before == on.needles
        assert on.found() == set()
        assert probed["grade_reached"] == "L3", str(ran["probe"])
        assert any("memory of the server" in line for line in probed["unreachable"])
        assert ran["certify"].value["stores"][0]["grade_reached"] == "L3"
        case.verify()
        assert on.server.run("SELECT count(*) FROM ward", database=on.database) == [(5,)]
        assert ran["destroy"].value["records"] == PERSONS + 900


def test_a_restart_that_the_plan_has_is_looked_for(tmp_path: Path) -> None:
    """Whole tables overwritten, and the plan has the owner restart the server: a probe before that rejects,
    one after it grants L3 and has nothing to say of memory."""
    with server_on() as on:
        shared = ("statistics", "wal", "restart")
        case = ServerCase(tmp_path / "case").ask(on, KEEPS_WARDS, "online_overwrite = true", shared=shared)
        case.upto("destroy")
        early = case.stage("probe", code=3)
        on.server.stop_only()
        on.server.start()
        ran = case.stage("probe")
        (probed,) = ran.value["stores"]

        assert [store["grade_reached"] for store in early.value["stores"]] == ["L2"]
        assert "memory of the server" in early.out
        assert (probed["grade_reached"], probed["unreachable"]) == ("L3", []), str(ran)
        assert on.found() == set()


def test_tables_that_are_overwritten_leave_nobody_in_the_blocks_they_had(tmp_path: Path) -> None:
    """No volume is wiped here: in the blocks of rewritten tables their people are left, in those of
    overwritten ones nobody. (The log, not cycled here, would take those blocks again, and hide it.)"""
    left = {}
    for way in (False, True):
        with server_on() as on:
            on.server.run("DELETE FROM visit", "DELETE FROM patient", "CHECKPOINT", database=on.database)
            had = _blocks(on)
            assert _held(on, had)
            _reclaim(on, online_overwrite=way)
            left[way] = _held(on, had)
            assert on.server.run("SELECT count(*) FROM ward", database=on.database) == [(5,)]

    assert len(left[False]) > PERSONS // 3
    assert left[True] == set()


def _blocks(on: OnVolume) -> list[tuple[int, int]]:
    """Where on the device the files of the erased tables lie."""
    found = []
    for (path,) in on.server.run(
        "SELECT pg_relation_filepath(oid) FROM pg_class WHERE relname IN ('patient', 'visit')",
        database=on.database,
    ):
        with (on.server.data / path).open("rb") as file:
            found += [(run.physical, run.length) for run in blocks.extents(file.fileno())]
    return found


def _held(on: OnVolume, ranges: list[tuple[int, int]]) -> set[bytes]:
    """Which values are there, in the image."""
    on.image.drop_caches()
    with on.image.file.open("rb") as image:
        data = b"".join(os.pread(image.fileno(), length, at) for at, length in ranges)
    return {value for value in on.needles if value in data}


def _reclaim(on: OnVolume, *, online_overwrite: bool) -> None:
    around = Surroundings(str(on.server.data), online_overwrite=online_overwrite)
    selection = Selection(collections=("public.patient", "public.visit"))
    reader = open_reader(on.server.url(on.database), selection)
    chosen = [c for c in reader.collections() if selection.includes(c.name)]
    eraser = open_eraser(on.server.url(on.database), selection, frozenset(), around)
    try:
        eraser.reclaim(chosen)
    finally:
        eraser.close()
    on.server.run("CHECKPOINT")


def test_a_server_that_goes_leaves_nothing(tmp_path: Path) -> None:
    """Shut down, overwritten, removed, the volume wiped: no file, nobody in the image, L3 without a server to
    ask, and a certificate that verifies."""
    with server_on() as on:
        on.server.drop("app1")  # the bystander, whose rows would keep the server
        case = ServerCase(tmp_path / "case").ask(on, "retire_server = true", shared=())
        before = on.found()
        ran = case.upto("certify")
        (probed,) = ran["probe"].value["stores"]

        assert before == on.needles
        assert on.found() == set()
        assert not on.server.data.exists()
        assert on.server.process.wait(10) == 0
        assert (probed["grade_reached"], probed["unreachable"]) == ("L3", []), str(ran["probe"])
        assert ran["certify"].value["stores"][0]["grade_reached"] == "L3"
        case.verify()


def test_a_server_with_rows_of_others_does_not_go(tmp_path: Path) -> None:
    """A database that no store of the case names has rows: the server runs on, and it is said how many."""
    with server_on() as on:
        case = ServerCase(tmp_path / "case").ask(on, "retire_server = true", shared=())
        case.upto("approve")
        ran = case.stage("destroy", code=5)

        assert "1 of its databases have rows that stay" in ran.err
        assert on.server.run("SELECT count(*) FROM other", database="app1") == [(100,)]
