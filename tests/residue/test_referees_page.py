"""The examiners' page runs: each of its commands finds before a wipe, and nothing after it."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sqlite3
import struct
import subprocess
from pathlib import Path

import pytest
from volume_bytes import identities

from cenotaph.volume.identify import identify
from cenotaph.volume.terms import Terms
from cenotaph.volume.wipe import wipe
from volume_images import LOOPS, Image, image

PAGE = (Path(__file__).resolve().parents[2] / "docs/verify/examiners.md").read_text("utf-8")
BLOCK = re.compile(r"^```sh (?P<name>[\w-]+)(?: (?P<kind>\w+))?\n(?P<text>.*?)^```$", re.M | re.S)
PROGRAMS = sorted(
    set(re.findall(r"\b(photorec|scalpel|strings|blkls|icat|fls|ext4magic|extundelete|tsk_recover)\b", PAGE))
)
MISSING = [name for name in (*PROGRAMS, "unzip", "zstd", "lz4", "xfs_db") if not shutil.which(name)]
PEOPLE = identities(7, 120)
STAYS = identities(8, 10)
NAMES = [chr(0x4E01 + 17 * n) + chr(0x5003 + 31 * n) + chr(0x6005 + 47 * n) + "村" for n in range(60)]


def blocks(kind: str) -> dict[str, str]:
    """The page's commands for a kind of file system, by name."""
    return {f["name"]: f["text"] for f in BLOCK.finditer(PAGE) if f["kind"] in (None, kind)}


def plant(made: Image) -> None:
    """Everything the page looks for, removed; and a list of those who stay."""
    (made.mount / "stays.csv").write_text("\n".join(STAYS))
    gone = made.mount / "gone"
    gone.mkdir()
    os.sync()
    text = "\n".join([*PEOPLE, *NAMES])
    contents = {
        "a.csv": text.encode(),
        "b.txt": text.encode("utf-16-le"),
        "c.txt": text.encode("gb18030"),
        "d.gz": gzip.compress(text.encode()),
        "e.bin": struct.pack(f">{len(PEOPLE)}q", *map(int, PEOPLE)),
    }
    for name, data in contents.items():
        (gone / name).write_bytes(data)
    for value in PEOPLE:
        (gone / f"{value}.pdf").write_bytes(b"%PDF-1.4 nothing" * 400)
        (made.mount / f"{value}.txt").touch()
    database = sqlite3.connect(gone / "app.db")
    database.execute("PRAGMA secure_delete = OFF")
    database.execute("CREATE TABLE people (id TEXT)")
    database.executemany("INSERT INTO people VALUES (?)", [(value,) for value in PEOPLE])
    database.commit()
    database.close()
    os.sync()
    shutil.rmtree(gone)
    for value in PEOPLE:
        (made.mount / f"{value}.txt").unlink()
    os.sync()


def replay(kind: str, made: Image, work: Path, file: Path) -> dict[str, int]:
    """What each command of the page prints last: a count."""
    work.mkdir()
    counts = {}
    skip = {"utf16"} if kind == "xfs" else set()  # half a minute on an image of 300 MiB
    environment = {
        **os.environ,
        "MOUNT": str(made.mount),
        "DEVICE": str(made.device),
        "IMAGE": str(file),
        "WORK": str(work),
        "LC_ALL": "C",
    }
    (work / "people.txt").write_text("\n".join([*PEOPLE, *NAMES, ""]), "utf-8")
    for name, text in blocks(kind).items():
        if name in skip:
            continue
        done = subprocess.run(
            ["bash", "-c", text], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        last = done.stdout.strip().splitlines()[-1:] or ["0"]
        assert last[0].isdigit(), f"{name}: {done.stdout}{done.stderr}"
        counts[name] = int(last[0])
    shutil.rmtree(work)
    file.unlink()
    return counts


@LOOPS
@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_each_command_finds_before_and_nothing_after(tmp_path, kind):
    """Before: every command that searches finds. After a wipe of the volume: 0 for each of them."""
    with image(tmp_path, kind) as made:
        plant(made)
        before = replay(kind, made, tmp_path / "work", tmp_path / "before.img")
        wiped = wipe(identify(made.mount), [made.mount], Terms(quiesced=True))
        after = replay(kind, made, tmp_path / "work", tmp_path / "after.img")
        assert (made.mount / "stays.csv").read_text() == "\n".join(STAYS)

    size = before.pop("image")
    assert size == after.pop("image") > 0
    assert before.pop("setup") == after.pop("setup") == 0  # they prepare, and print nothing
    weak = {"undelete", "deleted-names"}  # may bring back nothing, as the page says
    assert {name for name, count in before.items() if not count} <= weak
    assert wiped.reached.name == "L3", wiped.why_not_higher
    assert {name: count for name, count in after.items() if count} == {}


def test_every_command_of_the_page_is_run():
    """No block but the installation is outside of what is replayed."""
    every = re.findall(r"^```sh.*$", PAGE, re.M)

    assert len(every) == len(set(every)) == len(blocks("ext4") | blocks("xfs")) + 1
