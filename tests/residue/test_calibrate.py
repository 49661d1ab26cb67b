"""Calibration: on a scratch volume, what was planted is found; a search that is blind is shown to be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cenotaph.discovery.identity import resident_id
from cenotaph.residue import calibrate, outside
from cenotaph.volume.model import Place
from volume_images import LOOPS, tool

PLACES = {Place.FREE, Place.JOURNAL, Place.FOLDERS, Place.TAILS, Place.UNWRITTEN, Place.OTHER}


def loops(folder: Path) -> list[str]:
    listed = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def mounts_and_loops(folder: Path) -> list[str]:
    """What is mounted or attached from within a folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(folder) in line] + loops(folder)


@LOOPS
@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=tool("mkfs.xfs"))])
def test_what_is_planted_is_found_in_every_place_and_encoding(tmp_path, kind):
    """All of it in free blocks, tails and preallocated blocks; nothing stays mounted, attached or on disk."""
    recalls, why = calibrate.calibrate(kind, tmp_path, "retired")

    assert why == ""
    assert {recall.place for recall in recalls} == {place.value for place in PLACES}
    assert {recall.store for recall in recalls} == {"retired"}
    assert len({(r.place, r.encoding) for r in recalls}) == len(recalls) >= 18
    for recall in recalls:
        least = 1 if recall.place == Place.JOURNAL else calibrate.SAMPLED  # a log goes round
        assert (recall.sampled, recall.found) >= (calibrate.SAMPLED, least)
    assert list(tmp_path.iterdir()) == []
    assert mounts_and_loops(tmp_path) == []


@LOOPS
def test_a_search_that_is_blind_to_a_place_is_shown_to_be(tmp_path, monkeypatch):
    """Nothing found by the search is nothing recalled: the figures are the search's, not the planter's."""
    monkeypatch.setattr(calibrate, "search", lambda *_, **__: SimpleNamespace(residue=set()))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    assert calibrate.main(["ext4", str(tmp_path)]) == 0

    counted = (tmp_path / "recall").read_text()
    assert '"free blocks", "utf-8", 0]' in counted
    assert mounts_and_loops(tmp_path) == []


def test_what_cannot_be_calibrated_is_said(tmp_path, monkeypatch):
    """Another kind of file system, no root, no tool: no figures, and the reason."""
    assert calibrate.calibrate("btrfs", tmp_path, "retired") == (
        [],
        "this kind of file system is not one that can be calibrated for",
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert calibrate.calibrate("ext4", tmp_path, "retired")[1] == "scratch volumes are mounted by root alone"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert calibrate.calibrate("ext4", tmp_path, "retired")[1] == "mkfs.ext4 is not installed"


@LOOPS
def test_where_nothing_can_be_mounted_the_reason_is_told(tmp_path, monkeypatch):
    """The child fails; it is no error of the probe."""
    monkeypatch.setitem(calibrate._MAKE, "ext4", ("mkfs.ext4", "-q"))
    monkeypatch.setattr(calibrate, "_ALONE", ("false", "--"))

    recalls, why = calibrate.calibrate("ext4", tmp_path, "retired")

    assert (recalls, why) == ([], "no scratch volume could be mounted (status 1)")
    assert list(tmp_path.iterdir()) == []


CALIBRATE = """
import sys
from pathlib import Path
from cenotaph.residue import calibrate
calibrate.calibrate("ext4", Path(sys.argv[1]), "retired")
"""


@LOOPS
def test_killed_it_leaves_nothing_mounted(tmp_path):
    """SIGKILL while the volume is mounted: the kernel takes it down; the next run removes the rest."""
    process = subprocess.Popen([sys.executable, "-c", CALIBRATE, str(tmp_path)])
    try:
        until = time.monotonic() + 60
        while not loops(tmp_path) and time.monotonic() < until:
            time.sleep(0.02)
        assert loops(tmp_path)
    finally:
        process.kill()
        process.wait()
    until = time.monotonic() + 60
    while loops(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)

    assert mounts_and_loops(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1
    with outside.scratch_folder(tmp_path, -1):
        pass
    assert list(tmp_path.iterdir()) == []


def test_people_who_are_planted_have_valid_numbers_and_do_not_exist():
    """Check digits hold, so that what looks at them takes them for people; the region is nobody's."""
    planted = list(calibrate._plants(calibrate.random.Random(1)))
    numbers = [v for plant in planted for v in plant.values if v.isdigit()]
    check = "10X98765432"

    assert len(set(numbers)) == len(numbers) > 500
    for number in numbers:
        assert (
            number[-1]
            == check[sum(w * int(d) for w, d in zip(calibrate._WEIGHTS, number, strict=False)) % 11]
        )
        assert not resident_id(number)
