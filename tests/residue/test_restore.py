"""Restoring: what comes back while it is there, and that nothing does when it is gone."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from volume_bytes import identities, needles_of, volume_file, volume_of

from cenotaph.errors import UsageError
from cenotaph.residue import restore
from cenotaph.residue.needles import Needles
from cenotaph.volume import raw
from cenotaph.volume.identify import identify
from cenotaph.volume.raw import Raw
from cenotaph_proof.statements import RestoreAttempt
from volume_images import LOOPS, image, tool

PEOPLE = identities(1, 200)
OTHERS = identities(2, 50)


def attempts(
    volume: Raw, scratch: Path, needles: Needles, stores: Sequence[tuple[str, Path]] = ()
) -> tuple[dict[str, RestoreAttempt], tuple[str, ...]]:
    """By tool and method. The scratch folder is made, and must be empty in the end."""
    scratch.mkdir(exist_ok=True)
    made, missing = restore.attempt(volume, stores, scratch, needles)
    assert list(scratch.iterdir()) == []
    return {f"{a.tool}: {a.method}": a for a in made}, missing


def database(path: Path, *, secure_delete: str, gone: Sequence[str] = PEOPLE) -> Path:
    """Rows of `OTHERS`, and those of `gone`, which were deleted."""
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute(f"PRAGMA secure_delete = {secure_delete}")
        made.execute("CREATE TABLE people (id TEXT, note TEXT)")
        made.executemany("INSERT INTO people VALUES (?, ?)", [(value, "kept" * 9) for value in OTHERS])
        made.executemany("INSERT INTO people VALUES (?, ?)", [(value, "gone" * 40) for value in gone])
        made.commit()
        made.execute("DELETE FROM people WHERE note LIKE 'gone%'")
        made.commit()
    return path


def whole_database(path: Path, values: Sequence[str]) -> bytes:
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE people (id TEXT, note TEXT)")
        made.executemany("INSERT INTO people VALUES (?, 'seen')", [(value,) for value in values])
        made.commit()
    return path.read_bytes()


@tool("sqlite3")
def test_a_database_in_free_blocks_opens_as_the_file_that_it_was(tmp_path):
    """Its rows come back by SQLite itself, until its blocks are zeros."""
    data = whole_database(tmp_path / "a.db", PEOPLE)
    file = volume_file(tmp_path / "volume", (1 << 20, data))
    needles = needles_of(PEOPLE)

    with volume_of(file) as volume:
        before, _ = attempts(volume, tmp_path / "scratch", needles)
        os.truncate(file, 0)
        os.truncate(file, volume.size)
        after, _ = attempts(volume, tmp_path / "scratch", needles)

    found = before["sqlite3: sqlite image in free blocks"]
    assert (found.recovered, found.values, found.note) == (len(PEOPLE), len(PEOPLE), "1 images")
    gone = after["sqlite3: sqlite image in free blocks"]
    assert (gone.recovered, gone.values, gone.note) == (0, 0, "0 images")
    assert all(a.values == 0 and a.recovered == 0 for a in after.values())


def test_rows_come_back_from_pages_whose_database_is_gone(tmp_path):
    """The first two pages are overwritten: no header, no schema, no tree; the leaves are still rows."""
    data = whole_database(tmp_path / "a.db", PEOPLE)
    file = volume_file(tmp_path / "volume", (1 << 20, bytes(8192) + data[8192:]))

    with volume_of(file) as volume:
        found, _ = attempts(volume, tmp_path / "scratch", needles_of(PEOPLE))

    rows = found["cenotaph: carving of rows"]
    assert rows.recovered == rows.values == len(PEOPLE)


def test_what_is_compressed_in_free_blocks_comes_back(tmp_path):
    """A deleted gzip file, at no particular offset."""
    packed = gzip.compress("\n".join(PEOPLE).encode())
    file = volume_file(tmp_path / "volume", ((2 << 20) - 700, packed))

    with volume_of(file) as volume:
        found, _ = attempts(volume, tmp_path / "scratch", needles_of(PEOPLE))

    containers = found["cenotaph: carving of containers"]
    assert containers.values == len(PEOPLE)
    assert containers.recovered > 0


def test_rows_that_a_database_freed_come_back_until_they_are_overwritten(tmp_path):
    """`secure_delete` off leaves rows on its free list; live rows are no restoring."""
    file = volume_file(tmp_path / "volume", (0, b""))
    needles = needles_of(PEOPLE, OTHERS)
    weak = database(tmp_path / "weak.db", secure_delete="OFF")
    strong = database(tmp_path / "strong.db", secure_delete="ON")

    with volume_of(file) as volume:
        before, _ = attempts(volume, tmp_path / "scratch", needles, [("sqlite", weak)])
        after, _ = attempts(volume, tmp_path / "scratch", needles, [("sqlite", strong)])

    assert 0 < before["cenotaph: sqlite freed pages"].values <= len(PEOPLE)
    assert after["cenotaph: sqlite freed pages"].values == 0


FAKE = """#!{python}
import sys
rows = {{".dump": {alive!r}, ".recover": {alive!r} + {gone!r}}}
if sys.argv[1:] == ["-version"]:
    print("3.99.1 fake")
elif sys.argv[-1].startswith("SELECT"):
    print({dbpage!r})
else:
    print("BEGIN;")
    print("\\n".join(f"INSERT INTO t VALUES('{{value}}');" for value in rows[sys.argv[-1]]))
    sys.stderr.write("a name that nobody may see")
"""


def fake_sqlite(folder: Path, monkeypatch: pytest.MonkeyPatch, dbpage: str) -> None:
    folder.mkdir()
    script = FAKE.format(python=sys.executable, alive=OTHERS, gone=PEOPLE, dbpage=dbpage)
    (folder / "sqlite3").write_text(script)
    (folder / "sqlite3").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_what_recover_returns_beyond_the_living_rows_is_counted(tmp_path, monkeypatch, capfd):
    """`.recover` prints live rows too; they are no residue. Nothing of it is seen by anybody."""
    fake_sqlite(tmp_path / "bin", monkeypatch, "0")
    store = database(tmp_path / "store.db", secure_delete="ON")
    file = volume_file(tmp_path / "volume", (0, b""))

    with volume_of(file) as volume:
        found, _ = attempts(
            volume, tmp_path / "scratch", needles_of(PEOPLE, OTHERS), [("sqlite", store), ("files", tmp_path)]
        )

    recovered = found["sqlite3: sqlite recover"]
    assert (recovered.version, recovered.recovered, recovered.values) == ("3.99.1", len(PEOPLE), len(PEOPLE))
    assert capfd.readouterr() == ("", "")


def test_a_sqlite3_that_cannot_recover_is_no_attempt(tmp_path, monkeypatch):
    """Debian 12's fails on every database. That is said, and not counted as nothing recovered."""
    fake_sqlite(tmp_path / "bin", monkeypatch, "Error: no such table: sqlite_dbpage")
    store = database(tmp_path / "store.db", secure_delete="ON")
    file = volume_file(tmp_path / "volume", (0, b""))

    with volume_of(file) as volume:
        found, missing = attempts(volume, tmp_path / "scratch", needles_of(PEOPLE), [("sqlite", store)])

    assert "sqlite3: sqlite recover" not in found
    assert any("built without it" in line for line in missing)


def test_a_store_that_is_gone_or_no_database_is_passed_over(tmp_path):
    """A database that was destroyed whole, an empty one, a text in its place, a link: no error, no claim."""
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database at all")
    (tmp_path / "link.db").symlink_to(tmp_path / "text.db")
    stores = [("sqlite", tmp_path / f"{name}.db") for name in ("gone", "empty", "text", "link")]
    file = volume_file(tmp_path / "volume", (0, b""))

    with volume_of(file) as volume:
        found, missing = attempts(volume, tmp_path / "scratch", needles_of(PEOPLE), stores)

    assert found["cenotaph: sqlite freed pages"].note == "4 databases; 1 could not be parsed"
    assert any("could not be opened" in line for line in missing)


def test_a_tool_that_is_not_installed_is_named(tmp_path, monkeypatch):
    """An empty PATH: no tool runs, each is listed, and our own carving still is an attempt."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    file = volume_file(tmp_path / "volume", (0, b""))

    with volume_of(file, kind="ext4") as volume:
        found, missing = attempts(volume, tmp_path / "scratch", needles_of(PEOPLE))

    assert {attempt.tool for attempt in found.values()} == {"cenotaph"}
    for name in ("sqlite3", "ext4magic", "extundelete", "tsk_recover", "fls", "debugfs"):
        assert any(f"{name} is not installed" in line for line in missing)


@tool("fls")
def test_a_device_that_we_may_not_open_is_said(tmp_path):
    """Tools that need the device are listed as not run where it cannot be opened."""
    file = volume_file(tmp_path / "volume", (0, b""))

    with volume_of(file, kind="ext4", device=tmp_path / "nowhere") as volume:
        _, missing = attempts(volume, tmp_path / "scratch", needles_of(PEOPLE))

    assert any("fls was not run" in line for line in missing)


def test_no_scratch_on_the_volume_that_is_searched(tmp_path):
    """What tools bring back must not be written to the very volume."""
    file = volume_file(tmp_path / "volume", (0, b""))
    with volume_of(file) as volume:
        object.__setattr__(volume.volume, "number", tmp_path.stat().st_dev)
        with pytest.raises(UsageError, match="lies on the volume"):
            restore.attempt(volume, [], tmp_path, needles_of(PEOPLE))


@LOOPS
def test_undelete_tools_bring_back_what_was_removed_until_it_is_trimmed(tmp_path):
    """On a real ext4, frozen: files and names come back after rm, no content after fstrim."""
    scratch = tmp_path / "scratch"
    with image(tmp_path, "ext4", 64 << 20) as made:
        (made.mount / "list.csv").write_text("\n".join(PEOPLE))
        whole_database(made.mount / "app.db", PEOPLE)
        (made.mount / f"{PEOPLE[0]}.txt").touch()
        os.sync()
        for name in ("list.csv", "app.db", f"{PEOPLE[0]}.txt"):
            (made.mount / name).unlink()
        found = []
        for step in ("removed", "trimmed"):
            if step == "trimmed":
                subprocess.run(["fstrim", str(made.mount)], check=True)
            with raw.opened(identify(made.mount), freeze=True) as volume:
                assert volume.state == "frozen"
                found.append(attempts(volume, scratch, needles_of(PEOPLE))[0])
                assert not volume.moved()
        before, after = found

    assert before["fls: deleted names"].recovered >= 1
    assert before["cenotaph: carving of rows"].values == len(PEOPLE)
    assert before["cenotaph: carving of containers"].values == len(PEOPLE)
    for name in ("ext4magic: undelete", "extundelete: undelete", "cenotaph: carving of containers"):
        assert after[name].values == 0


@LOOPS
def test_on_xfs_what_is_deleted_is_carved(tmp_path):
    """There is no undelete tool in Debian; that is said, and what is left comes back by carving."""
    with image(tmp_path, "xfs") as made:
        (made.mount / "app.db").write_bytes(whole_database(tmp_path / "app.db", PEOPLE))
        os.sync()
        (made.mount / "app.db").unlink()
        with raw.opened(identify(made.mount), freeze=True) as volume:
            found, missing = attempts(volume, tmp_path / "scratch", needles_of(PEOPLE))

    assert found["cenotaph: carving of rows"].values == len(PEOPLE)
    assert found["sqlite3: sqlite image in free blocks"].recovered == len(PEOPLE)
    assert any("xfs_undelete" in line for line in missing)
