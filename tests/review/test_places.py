"""A store is where the survey found it: not a link, not an unmounted folder, not another address."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cenotaph.estate import anchor


def test_a_link_in_the_place_of_a_folder_has_another_anchor(tmp_path: Path) -> None:
    """Moved aside and replaced by a link to its twin, a store is no longer where it was surveyed."""
    store = tmp_path / "store"
    store.mkdir()
    surveyed = anchor(store, tmp_path)
    store.rename(tmp_path / "aside")
    (tmp_path / "twin").mkdir()
    store.symlink_to(tmp_path / "twin")

    assert surveyed is not None
    assert anchor(store, tmp_path) not in (None, surveyed)


def test_another_file_system_in_the_same_place_has_another_anchor(tmp_path: Path) -> None:
    """A volume that is not mounted leaves a folder of the same name on another file system."""
    if os.statvfs("/dev/shm").f_fsid == os.statvfs(tmp_path).f_fsid:
        pytest.skip("there is no second file system here")
    here = anchor(tmp_path, tmp_path)
    there = anchor(Path("/dev/shm"), Path("/dev/shm"))

    assert here is not None
    assert there is not None
    assert here[1] == there[1]
    assert here != there


def test_a_file_is_anchored_by_its_folder_and_outlived_by_it(tmp_path: Path) -> None:
    """What was destroyed leaves its folder behind, so the probe can tell gone from not mounted."""
    file = tmp_path / "app.db"
    file.write_bytes(b"x")
    before = anchor(file, tmp_path)
    file.unlink()

    assert before is not None
    assert anchor(file, tmp_path) == before
    assert anchor(tmp_path / "gone" / "app.db", tmp_path) is None
