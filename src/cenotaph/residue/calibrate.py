"""Calibration: people who never were, planted in a scratch volume in every place and encoding, and sought.

A search that finds nothing shows something only if it would have found what was there. Recall of real records
is measured before they are destroyed (spec/challenge.md); what a live store does not have, such as a deleted
Parquet file or a name in a file system's journal, is planted here: a small volume of the same kind is made
in a file, filled, its files deleted, and searched by the same code as the real one.

The numbers have a region that does not exist and valid check digits, so nobody has them. Needs root, `mkfs`
and loop devices. The work is done by a child process in a mount namespace of its own (unshare(1)), so that
however it ends, also by SIGKILL, the kernel unmounts the volume and frees its loop device.

What surprised its author: bytes behind the end of a file cannot be planted through the file system, which
writes zeros there; so these, and the bytes of preallocated blocks, are written into the image beneath it.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import zstandard

from cenotaph.residue import outside
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.volume import search
from cenotaph.volume import blocks, raw
from cenotaph.volume.identify import identify
from cenotaph.volume.model import Place
from cenotaph_proof.statements import Recall

SAMPLED = 32  # values planted for each place and encoding
SECONDS = 60
_SIZES = {"ext4": 64 << 20, "xfs": 300 << 20}  # mkfs.xfs(8) makes nothing smaller
_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
_ALONE = ("setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private", "--")
_TOOLS = ("mount", "umount", "unshare", "setpriv")


def calibrate(kind: str, scratch: Path, volume: str) -> tuple[list[Recall], str]:
    """Recall of the search on a scratch volume of this kind, by place and encoding; a few seconds.

    `volume` is the name that stands in `Recall.store`; `scratch` a folder with some 100 MB free. Where it
    cannot be done, no recall and a clause that says why.
    """
    why = _why_not(kind)
    if why:
        return [], why
    with outside.scratch_folder(scratch, -1) as folder:
        why = _run(kind, folder)
        if why:
            return [], why
        counted = json.loads((folder / "recall").read_bytes())
    return [Recall(volume, place, encoding, SAMPLED, found) for place, encoding, found in counted], ""


def _run(kind: str, folder: Path) -> str:
    """Have a child do it; why it could not, or empty."""
    try:
        done = subprocess.run(  # noqa: S603
            [*_ALONE, sys.executable, "-m", "cenotaph.residue.calibrate", kind, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(folder)},
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the scratch volume was not searched within {SECONDS} s"
    return f"no scratch volume could be mounted (status {done.returncode})" if done.returncode else ""


def _why_not(kind: str) -> str:
    if kind not in _MAKE:
        return "this kind of file system is not one that can be calibrated for"
    if os.geteuid() != 0:
        return "scratch volumes are mounted by root alone"
    missing = [name for name in (_MAKE[kind][0], *_TOOLS) if shutil.which(name) is None]
    return f"{missing[0]} is not installed" if missing else ""


# --- in the child ---------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Make, fill, search and unmount one volume; write what was found to `recall` in the folder."""
    kind, folder = arguments[0], Path(arguments[1])
    planted = list(_plants(random.Random()))  # noqa: S311  # nobody gains by guessing these
    needles = _needles(planted)
    with _mounted(kind, folder) as (image, mount):
        _plant(planted, image, mount)
        volume = identify(mount)
        with raw.opened(volume, freeze=True) as disk:
            map_ = blocks.refine(
                disk.map, volume, stores=[], kept=[mount / "kept"], folders=[mount / "kept", mount / "names"]
            )
            found = search(disk, map_, needles, bytes(32)).residue
    counted = [
        (plant.place.value, plant.encoding, sum(_ordinal(needles, value) in found for value in plant.values))
        for plant in planted
    ]
    (folder / "recall").write_bytes(json.dumps(counted).encode())
    return 0


@contextlib.contextmanager
def _mounted(kind: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZES[kind])
    subprocess.run([*_MAKE[kind], str(image)], check=True)  # noqa: S603
    subprocess.run(["mount", "-o", "loop,noatime", str(image), str(mount)], check=True)  # noqa: S603, S607
    try:
        yield image, mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)  # noqa: S603, S607


@dataclass(frozen=True, slots=True)
class _Plant:
    """Values in one place and encoding. `content` makes the bytes; where they go, `place` says."""

    place: Place
    encoding: str
    values: tuple[str, ...] = field(repr=False)
    content: Callable[[Sequence[str]], bytes]


def _plant(planted: Sequence[_Plant], image: Path, mount: Path) -> None:
    """Fill the volume, delete what is to be found in free blocks, and have everything on the device."""
    for name in ("kept", "names", "gone", "free"):
        (mount / name).mkdir()
    os.sync()  # the folders are older than the names in them, as they are in life
    beneath: list[tuple[int, bytes]] = []
    for nth, plant in enumerate(planted):
        data = plant.content(plant.values)
        if plant.place is Place.FREE:
            (mount / "free" / f"{nth}").write_bytes(data)
        elif plant.place is Place.OTHER:
            (mount / f"live-{nth}").write_bytes(data)
        elif plant.place in (Place.FOLDERS, Place.JOURNAL):
            _name_files(mount / ("names" if plant.place is Place.FOLDERS else "gone"), plant.values)
        else:
            beneath.append((_reserved(mount / "kept" / f"{nth}", plant.place), data))
    _rollback_journal(planted, mount)
    os.sync()
    for folder in ("names", "gone", "free"):
        for path in sorted((mount / folder).iterdir()):
            if path != mount / "names" / "stays":
                path.unlink()
    (mount / "gone").rmdir()
    os.sync()
    with image.open("r+b") as file:
        for offset, data in beneath:
            file.seek(offset)
            file.write(data)


def _name_files(folder: Path, values: Sequence[str]) -> None:
    (folder / "stays").touch()
    for value in values:
        (folder / f"{value}.txt").touch()


_TAIL = 100  # bytes of a file with a tail


def _reserved(path: Path, place: Place) -> int:
    """Where on the volume the tail of a new file, or its block that was never written, begins."""
    with path.open("wb") as file:
        if place is Place.TAILS:
            file.write(b"x" * _TAIL)
        else:
            os.posix_fallocate(file.fileno(), 0, 4096)
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        physical = blocks.extents(file.fileno())[0].physical
    return physical + (_TAIL if place is Place.TAILS else 0)


# --- who is planted, and how ----------------------------------------------------------------

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999, ISO 7064 MOD 11-2
_CHARACTERS = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻"


def _identity(draw: random.Random) -> str:
    """A number with a valid check digit, of a region that there is not; never ends in X."""
    while True:
        body = f"990000{draw.randrange(1900, 2020)}{draw.randrange(1, 13):02}{draw.randrange(1, 29):02}"
        body += f"{draw.randrange(1000):03}"
        check = "10X98765432"[sum(w * int(d) for w, d in zip(_WEIGHTS, body, strict=True)) % 11]
        if check != "X":
            return body + check


def _name(draw: random.Random) -> str:
    return "".join(draw.choices(_CHARACTERS, k=6))


def _plants(draw: random.Random) -> Iterator[_Plant]:
    """Each place and encoding, with values that are nowhere else."""

    def values(make: Callable[[random.Random], str]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        while len(found) < SAMPLED:
            found[make(draw)] = None
        return tuple(found)

    for encoding, content in _CONTENTS.items():
        make = _name if encoding == "gb18030" else _identity
        yield _Plant(Place.FREE, encoding, values(make), content)
    yield _Plant(Place.FREE, _JOURNALLED, values(_identity), lambda _: b"")
    yield _Plant(Place.FOLDERS, "file name", values(_identity), lambda _: b"")
    yield _Plant(Place.JOURNAL, "file name", values(_identity), lambda _: b"")
    for place in (Place.TAILS, Place.UNWRITTEN, Place.OTHER):
        yield _Plant(place, "utf-8", values(_identity), _lines)


_JOURNALLED = "sqlite rollback journal"


def _rollback_journal(planted: Sequence[_Plant], mount: Path) -> None:
    """Rows that SQLite copies into its journal before it overwrites them; it then deletes the journal."""
    plant = next(p for p in planted if p.encoding == _JOURNALLED)
    path = mount / "kept" / "database"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA secure_delete = ON")
        database.execute("CREATE TABLE people (id TEXT)")
        database.executemany("INSERT INTO people VALUES (?)", [(value,) for value in plant.values])
        database.commit()
        database.execute("DELETE FROM people")
        database.commit()


def _lines(values: Sequence[str]) -> bytes:
    return "".join(f"{value},seen\n" for value in values).encode()


def _zipped(values: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export.csv", _lines(values))
    return buffer.getvalue()


def _table(values: Sequence[str]) -> pa.Table:
    return pa.table({"id": list(values), "note": ["seen"] * len(values)})


def _parquet(values: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(_table(values), buffer, compression="zstd")
    return buffer.getvalue()


def _arrow(values: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    feather.write_feather(_table(values), buffer, compression="lz4")
    return buffer.getvalue()


def _database(values: Sequence[str]) -> bytes:
    """Identity numbers as integers, which SQLite stores as eight bytes, most significant first."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE people (id INTEGER)")
        database.executemany("INSERT INTO people VALUES (?)", [(int(value),) for value in values])
        database.commit()
        return database.serialize()


_CONTENTS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "utf-8": _lines,
    "utf-16le": lambda values: _lines(values).decode().encode("utf-16-le"),
    "utf-16be": lambda values: _lines(values).decode().encode("utf-16-be"),
    "gb18030": lambda values: _lines(values).decode().encode("gb18030"),
    "int64le": lambda values: struct.pack(f"<{len(values)}q", *map(int, values)),
    "sqlite int64be": _database,
    "gzip": lambda values: gzip.compress(_lines(values)),
    "zip": _zipped,
    "zstd": lambda values: zstandard.compress(_lines(values)),
    "lz4": lambda values: lz4.frame.compress(_lines(values)),
    "bz2": lambda values: bz2.compress(_lines(values)),
    "xz": lambda values: lzma.compress(_lines(values)),
    "parquet": _parquet,
    "arrow": _arrow,
}


def _needles(planted: Sequence[_Plant]) -> Needles:
    builder = NeedleBuilder(os.urandom(32))
    builder.add(pa.array([value for plant in planted for value in plant.values]), "id")
    return builder.finish()


def _ordinal(needles: Needles, value: str) -> int:
    """The needle of a value, by finding it in itself."""
    data = np.frombuffer(value.encode(), dtype=np.uint8)
    return int(needles.find(data, len(data)).what[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
