"""A store is where the survey found it: not a link, not an unmounted folder, not another address."""

from __future__ import annotations

from pathlib import Path

from cenotaph.estate import anchor


def test_a_folder_put_in_the_place_of_another_has_another_anchor(tmp_path: Path) -> None:
    """Moved aside and replaced by its twin, or by a link, a folder is no longer the one surveyed."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "a.csv").write_text("id\n1\n")
    surveyed = anchor(folder)
    folder.rename(tmp_path / "aside")
    twin = tmp_path / "twin"
    twin.mkdir()
    folder.symlink_to(twin)

    assert surveyed is not None
    assert anchor(folder) not in (None, surveyed)
    assert anchor(tmp_path / "aside") == surveyed


def test_a_file_is_anchored_by_its_folder_and_outlived_by_it(tmp_path: Path) -> None:
    """What was destroyed leaves its folder behind, so the probe can tell gone from not mounted."""
    file = tmp_path / "app.db"
    file.write_bytes(b"x")
    before = anchor(file)
    file.unlink()

    assert before is not None
    assert anchor(file) == before
    assert anchor(tmp_path / "gone" / "app.db") is None
