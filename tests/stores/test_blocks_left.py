"""What erasers give back to the file system holds nothing: searched in the raw volume, which nobody wipes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import sqlite_case
from sqlite_case import GONE, two_tables

from cenotaph import durable
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.stores.files import open_eraser, open_reader, survivors
from cenotaph.testing.contract import Log, Rows
from cenotaph.volume import raw
from cenotaph.volume.identify import identify
from cenotaph.volume.model import Place
from volume_images import LOOPS, Image, image

pytestmark = LOOPS

MiB = 1 << 20
PEOPLE = [f"Person-{n:04d}" for n in range(500)]
ROWS = b"id,name,city\n" + b"".join(
    b"%d,%s,%s\n" % (n, name.encode(), b"Wuxi" if n % 2 else b"Suzhou") for n, name in enumerate(PEOPLE)
)
GOING, STAYING = PEOPLE[1::2], PEOPLE[0::2]


def _sync(scratch: Image) -> None:
    """All of the volume to its device, in whose file it can then be read; other disks are left alone."""
    fd = os.open(scratch.mount, os.O_RDONLY)
    try:
        durable.syncfs(fd)
    finally:
        os.close(fd)


def in_place(scratch: Image, place: Place, wanted: Iterable[str]) -> int:
    """How many of these are in blocks of this place, on the device."""
    _sync(scratch)
    with raw.opened(identify(scratch.mount), freeze=False) as device:
        parts = [bytes(device.pread(int(s), int(e - s))) for s, e in device.map.of(place)]
    return _found(b"\0".join(parts), wanted)


def anywhere(scratch: Image, wanted: Iterable[str]) -> int:
    _sync(scratch)
    return _found(scratch.file.read_bytes(), wanted)


def _found(data: bytes, wanted: Iterable[str]) -> int:
    """How many of these are in the data; one pass, since most of it is zeros."""
    texts = [text.encode() for text in wanted]
    return len(set(re.findall(b"|".join(map(re.escape, texts)), data)))


@pytest.mark.parametrize("selection", [EVERYTHING, Selection(collections=("gone",))], ids=["whole", "table"])
@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "wal"])
def test_a_database_leaves_no_row_in_any_block(tmp_path, mode, selection):
    """Main file, journal or log, and the file that was rebuilt were overwritten before they were freed."""
    with image(tmp_path, "ext4", 32 * MiB) as scratch:
        path = tmp_path / "app.db"
        writer = two_tables(path, journal=mode)  # the copy has a journal or log as a killed program leaves it
        for suffix in ("", "-journal", "-wal"):
            if Path(f"{path}{suffix}").exists():
                shutil.copyfile(f"{path}{suffix}", scratch.mount / f"app.db{suffix}")
        writer.close()
        assert anywhere(scratch, GONE) == len(GONE)  # positive control
        assert in_place(scratch, Place.FREE, GONE) == 0

        sqlite_case.destroy(scratch.mount / "app.db", selection)

        assert in_place(scratch, Place.FREE, GONE) == 0
        assert anywhere(scratch, GONE) == 0


def test_the_search_would_find_what_a_plain_delete_leaves(tmp_path):
    """The control of the test above: SQLite alone leaves its rows in free blocks."""
    with image(tmp_path, "ext4", 32 * MiB) as scratch:
        path = scratch.mount / "app.db"
        db = two_tables(path)
        _sync(scratch)
        db.execute("DELETE FROM gone")
        db.execute("VACUUM")
        db.close()
        path.unlink()

        assert in_place(scratch, Place.FREE, GONE) > 0


def files_store(root: Path) -> None:
    root.mkdir()
    (root / "a.csv").write_bytes(ROWS)
    (root / "b.txt").write_bytes(ROWS * 3)
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        archive.writestr("x.csv", ROWS)
    os.setxattr(root / "a.csv", "user.origin", b"Person-0001 Person-0002" * 8)


def erase(root: Path, selection: Selection) -> None:
    reader = open_reader(f"files:{root}", selection)
    sealed = [
        (partition, Rows(reader.batches(partition)))
        for collection in reader.collections()
        for partition in reader.partitions(collection)
    ]
    reader.close()
    eraser = open_eraser(f"files:{root}", selection)
    try:
        for partition, rows in sealed:
            if rows.records:
                eraser.erase(partition, rows, Log())
    finally:
        eraser.close()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_files_leave_no_content_in_any_block(tmp_path, kind):
    """Whole files, their last blocks and their attributes."""
    with image(tmp_path, kind, 32 * MiB) as scratch:
        files_store(scratch.mount / "root")
        assert anywhere(scratch, PEOPLE) == len(PEOPLE)

        erase(scratch.mount / "root", EVERYTHING)

        assert in_place(scratch, Place.FREE, PEOPLE) == 0
        assert in_place(scratch, Place.METADATA, PEOPLE) == 0


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_rewritten_files_leave_no_row_in_any_block(tmp_path, kind):
    """What stays is in its files and nowhere else; what goes is nowhere."""
    with image(tmp_path, kind, 32 * MiB) as scratch:
        root = scratch.mount / "root"
        root.mkdir()
        (root / "a.csv").write_bytes(ROWS)
        _sync(scratch)
        assert anywhere(scratch, GOING) == len(GOING)

        erase(root, Selection(rows=parse_predicate("city = 'Wuxi'")))

        assert anywhere(scratch, GOING) == 0
        assert in_place(scratch, Place.FREE, STAYING) == 0
        assert anywhere(scratch, STAYING) == len(STAYING)


def test_survivors_whose_writing_failed_are_overwritten(tmp_path, monkeypatch):
    """The half-written file beside the old one is a copy of what stays: it is not freed as it is."""
    with image(tmp_path, "ext4", 32 * MiB) as scratch:
        root = scratch.mount / "root"
        root.mkdir()
        (root / "a.csv").write_bytes(ROWS)

        def full(*_: object) -> None:
            _sync(scratch)  # what was written of it is on the device by now
            assert in_place(scratch, Place.OTHER, STAYING) == len(STAYING)
            raise PermanentStoreError("no space left")

        monkeypatch.setattr(survivors, "check", full)
        with pytest.raises(PermanentStoreError):
            erase(root, Selection(rows=parse_predicate("city = 'Wuxi'")))

        assert (root / "a.csv").read_bytes() == ROWS
        assert [path.name for path in root.iterdir()] == ["a.csv"]
        assert in_place(scratch, Place.FREE, STAYING) == 0


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_preallocated_blocks_are_overwritten_before_they_are_freed(tmp_path, kind):
    """A file that reserved blocks and never wrote them holds what was in them before."""
    with image(tmp_path, kind, 32 * MiB) as scratch:
        with contextlib.suppress(OSError), (scratch.mount / "before").open("wb", buffering=0) as handle:
            while True:  # until it is full
                handle.write(b"Person-0001".ljust(4096, b".") * 256)
        _sync(scratch)
        (scratch.mount / "before").unlink()
        _sync(scratch)
        free = os.statvfs(scratch.mount)
        root = scratch.mount / "root"
        root.mkdir()
        (root / "a.bin").write_bytes(bytes(range(256)) * 10)
        size = free.f_bavail * free.f_frsize * 3 // 4
        subprocess.run(["fallocate", "-n", "-l", str(size), str(root / "a.bin")], check=True)
        _sync(scratch)
        assert in_place(scratch, Place.FREE, ["Person-0001"]) == 1
        left = _blocks_with(scratch, b"Person-0001")

        erase(root, EVERYTHING)

        assert not list(root.iterdir())
        assert _blocks_with(scratch, b"Person-0001") <= left - size // 4096 * 9 // 10


def _blocks_with(scratch: Image, text: bytes) -> int:
    _sync(scratch)
    return scratch.file.read_bytes().count(text)


def test_attributes_are_overwritten_before_they_are_removed(tmp_path):
    """A value that is only removed stays in its inode or its block."""
    with image(tmp_path, "ext4", 32 * MiB) as scratch:
        path = scratch.mount / "file"
        path.write_bytes(b"x")
        os.setxattr(path, "user.origin", b"Person-0001" * 100)
        _sync(scratch)
        assert anywhere(scratch, ["Person-0001Person-0001"]) == 1

        with path.open("r+b") as handle:
            assert durable.overwrite_user_xattrs(handle.fileno())
            durable.syncfs(handle.fileno())
            durable.drop_user_xattrs(handle.fileno())
            os.fsync(handle.fileno())

        assert os.listxattr(path) == []
        assert in_place(scratch, Place.FREE, ["Person-0001Person-0001"]) == 0
