"""What carrying out a plan will cost: time, bytes, room; from the seal's pace and a short look at the disk.

A destruction reads everything once more as sealing did, and compares it; then it writes over it. So it is
predicted from the seal's own pace and from how fast this disk is overwritten, and afterwards told how far
that was off (`compared`).
"""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cenotaph import pace
from cenotaph.estate import Estate, EstateStore
from cenotaph.store import Collection
from cenotaph_proof.statements import Plan

FILE = "predicted.json"  # in the case's folder: by the plan's digest
WORTH_IT = 256 << 20  # bytes of an estate, from which on the disk is looked at
SAMPLE = 64 << 20  # bytes written to look at it, to a file without a name, in the case's folder
_STEP = 4 << 20
WRITTEN = {"files": 1.0}  # bytes written for each byte erased, by kind of store; others keep a log as well
_WRITTEN_ELSE = 2.0
READ = {"files": 1.0}  # readings like the seal's; others are read again, empty, through their own interface
_READ_ELSE = 2.0
_BEGINNING = 1.0  # seconds until the first partition is begun


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes a second, directly, where the case lies."""

    read: float
    write: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of carrying out one plan."""

    seconds: float
    written: int  # bytes
    room: int  # bytes that must be free meanwhile, for what stays of files and tables that go in part
    disk: Disk | None = None  # None where the estate was too small to look at it


def predict(folder: Path, estate: Estate, plan: Plan, kinds: dict[str, str]) -> Prediction | None:
    """None before a seal of this version went to its end: there is nothing to go by.

    `kinds` are those of the stores, by name.
    """
    sealing = [run for run in pace.ended(folder, "seal") if run["records"]]
    if not sealing:
        return None
    rate = sum(run["records"] for run in sealing) / max(0.001, sum(run["seconds"] for run in sealing))
    planned = {store.name: set(store.destroy) for store in plan.stores}
    shares = [(store, planned.get(store.name, set()), kinds[store.name]) for store in estate.stores]
    size = sum(_size(store, ordinals) for store, ordinals, _ in shares)
    disk = look(folder) if size > WORTH_IT else None
    written = sum(int(_size(s, o) * WRITTEN.get(k, _WRITTEN_ELSE)) for s, o, k in shares)
    reading = sum(_records(s, o) * READ.get(k, _READ_ELSE) for s, o, k in shares) / rate
    return Prediction(
        seconds=_BEGINNING + reading + (written / disk.write if disk is not None else 0.0),
        written=written,
        room=max((_room(s, o) for s, o, _ in shares), default=0),
        disk=disk,
    )


def keep(folder: Path, digest: str, predicted: Prediction) -> None:
    """Remember what was predicted of a plan."""
    known = _known(folder) | {digest: asdict(predicted)}
    (folder / FILE).write_text(json.dumps(known))


def kept(folder: Path, digest: str) -> Prediction | None:
    """What was predicted of a plan; None where nothing was."""
    value = _known(folder).get(digest)
    if value is None:
        return None
    disk = Disk(**value["disk"]) if value["disk"] else None
    return Prediction(value["seconds"], value["written"], value["room"], disk)


def look(folder: Path) -> Disk:
    """Write a little where the case lies, past the page cache, and read it back: a fraction of a second.

    Where the file system takes no direct writes, through the cache and with an fsync.
    """
    with _nameless(folder) as fd, mmap.mmap(-1, _STEP) as block:
        began = time.monotonic()
        for at in range(0, SAMPLE, _STEP):
            os.pwrite(fd, block, at)
        os.fsync(fd)
        written = time.monotonic()
        for at in range(0, SAMPLE, _STEP):
            os.preadv(fd, [block], at)
        return Disk(SAMPLE / (time.monotonic() - written), SAMPLE / (written - began))


@contextmanager
def _nameless(folder: Path) -> Iterator[int]:
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        fd = os.open(folder, flags | os.O_DIRECT, 0o600)
    except OSError:  # tmpfs, some network file systems
        fd = os.open(folder, flags, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def lines(predicted: Prediction) -> Iterator[str]:
    """What is predicted, for a person."""
    yield f"It will take about {spoken(predicted.seconds)} and write about {predicted.written:,} bytes."
    if predicted.room:
        yield f"It needs at most {predicted.room:,} bytes of free room meanwhile, for what stays."
    if predicted.disk is not None:
        read, write = (rate / 1e6 for rate in (predicted.disk.read, predicted.disk.write))
        yield f"  (from the seal's pace, and the disk's: read {read:,.0f} MB/s, written {write:,.0f} MB/s)"


def compared(predicted: Prediction, seconds: float) -> str:
    """How far a prediction was off."""
    off = (seconds - predicted.seconds) / max(predicted.seconds, 0.001)
    how = "longer" if off > 0 else "shorter"
    took, said = spoken(seconds), spoken(predicted.seconds)
    return f"It took {took}, {abs(off):.0%} {how} than the plan had said ({said})."


def spoken(seconds: float) -> str:
    """A duration for a person."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 60 * 48 else f"{minutes / 60 / 24:.1f} days"


def _known(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / FILE).read_text()))
    except FileNotFoundError:
        return {}


def _records(store: EstateStore, ordinals: set[int]) -> int:
    return sum(item.collection.records for item in store.collections if item.ordinal in ordinals)


def _size(store: EstateStore, ordinals: set[int]) -> int:
    return sum(going(item.collection) for item in store.collections if item.ordinal in ordinals)


def _room(store: EstateStore, ordinals: set[int]) -> int:
    parts = (item.collection for item in store.collections if item.ordinal in ordinals)
    return max(map(staying, parts), default=0)


def going(collection: Collection) -> int:
    """Bytes of storage that go: by the share of its records."""
    every = collection.records + collection.held + collection.kept
    return collection.bytes * collection.records // every if every else 0


def staying(collection: Collection) -> int:
    """Bytes of a collection that goes in part: what stays is written anew before the old one goes."""
    return collection.bytes - going(collection) if collection.held or collection.kept else 0
