"""A volume made of a plain file, for tests that need bytes and a map, no kernel; and people to look for."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.volume.model import Map, Place, Volume
from cenotaph.volume.raw import Raw

KEY = bytes(range(32))


def identities(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [f"{draw.randrange(10**16, 6 * 10**16)}{nth % 10}" for nth in range(count)]


def needles_of(*values: Sequence[str]) -> Needles:
    builder = NeedleBuilder(KEY)
    for some in values:
        builder.add(pa.array(some), "id")
    return builder.finish()


def mapped(size: int, *ranges: tuple[int, int, Place]) -> Map:
    """A map of free blocks but for these sorted ranges."""
    starts, ends, places, at = [], [], [], 0
    for start, end, place in (*ranges, (size, size, Place.FREE)):
        if at < start:
            starts, ends, places = [*starts, at], [*ends, start], [*places, Place.FREE]
        if start < end:
            starts, ends, places = [*starts, start], [*ends, end], [*places, place]
        at = end
    return Map(np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), tuple(places))


def volume_file(path: Path, *parts: tuple[int, bytes], size: int = 8 << 20) -> Path:
    """A sparse file with some bytes at some offsets."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
    return path


class FileVolume:
    """As much of `volume.raw.Raw` as restoring and referees ask for, over a plain file."""

    def __init__(self, path: Path, map_: Map, kind: str, device: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self.size = path.stat().st_size
        self.map = map_
        self.volume = Volume(
            Path("/nowhere"), device, -2, kind, frozenset(), self.size, 4096, discards=True, refusal=""
        )

    def pread(self, offset: int, length: int) -> bytes:
        return os.pread(self.fd, length, offset)


@contextlib.contextmanager
def volume_of(
    path: Path, *ranges: tuple[int, int, Place], kind: str = "none", device: Path | None = None
) -> Iterator[Raw]:
    """A file as a volume; `device` is where its device is said to be, by default the file itself."""
    made = FileVolume(path, mapped(path.stat().st_size, *ranges), kind, device or path)
    try:
        yield cast(Raw, made)
    finally:
        os.close(made.fd)
