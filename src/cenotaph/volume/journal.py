"""The file system's own journal, which holds names and old metadata long after they are gone.

ext4 zeroes its journal when asked (kernel 5.14). xfs cannot be asked while it is mounted, so its log, a ring,
is written round with changes that say nothing: extended attributes that just fit into a block of metadata.
What surprised the author: a change that is made again before it was written out is logged once, so each round
ends with a sync; and only reading the log shows that the ring was closed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cenotaph.durable import tombstone_name
from cenotaph.volume import kernel
from cenotaph.volume.directories import Home
from cenotaph.volume.model import Map, Place
from cenotaph.volume.terms import Mounted

FILES = 768  # a round changes so many, about 3 KiB each
TIMES = 4  # the log's size is written at most so often before it counts as not reached
BLIND_TIMES = 2  # and at least so often where it cannot be read
Bytes = npt.NDArray[np.uint8]
_SECTOR = 512  # what xfs stamps with a cycle number, and so changes whenever it is written


@dataclass(frozen=True, slots=True)
class Cycled:
    """How a log was written round: bytes of changes, and why not all of it was reached."""

    bytes: int
    why_not: str = ""


def read(pread: Callable[[int, int], bytes | memoryview], places: Map) -> Bytes:
    """The journal's bytes, from the device."""
    parts = [bytes(pread(int(s), int(e - s))) for s, e in places.of(Place.JOURNAL)]
    return np.frombuffer(b"".join(parts), dtype=np.uint8)


def cycle(
    mounted: Mounted, home: Home, size: int, look: Callable[[], Bytes | None], tell: Callable[[int], None]
) -> Cycled:
    """Write a journal of `size` bytes round until nothing in it is what was in it before.

    `look` reads it; where it gives None, twice the size is written and not believed.
    """
    before, written = look(), 0
    for count in _rounds(mounted, home):
        written += count
        tell(written)
        if before is None and written >= BLIND_TIMES * size:
            return Cycled(written, "the file system's journal was written round, but may not be read")
        if before is not None and written * 4 >= size:
            now = look()
            if now is None or not _left(before, now):
                return Cycled(written)
            if written >= TIMES * size:
                break
    return Cycled(written, "parts of the file system's journal were not reached by writing it round")


def _left(before: Bytes, now: Bytes) -> bool:
    """Whether any sector that held something is as it was."""
    if len(before) != len(now):
        return True
    one, two = before.reshape(-1, _SECTOR), now.reshape(-1, _SECTOR)
    return bool(((one == two).all(axis=1) & one.any(axis=1)).any())


def _rounds(mounted: Mounted, home: Home) -> Iterator[int]:
    """Change every file's attribute, sync, and yield the bytes; the files are gone afterwards."""
    block = os.fstatvfs(home.fd).f_bsize
    size = min(block * 3 // 4 - 72, 60_000)  # a larger value would get a block of its own, past the log
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    names, turn = [tombstone_name() for _ in range(FILES)], 0
    try:
        for name in names:
            mounted.check()
            os.close(os.open(name, flags, 0o600, dir_fd=home.fd))
        while True:
            for number, name in enumerate(names):
                mounted.check()
                _change(home.fd, name, size - turn % 2, turn * FILES + number)
            mounted.sync()
            mounted.paced(FILES * size)
            turn += 1
            yield FILES * size
    finally:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=home.fd)
        mounted.sync()


def _change(folder: int, name: str, size: int, number: int) -> None:
    """Give a file an attribute; each value differs, since ext4 shares equal ones."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.setxattr(fd, "user.cenotaph", number.to_bytes(8, "big") + bytes(size - 8))
    finally:
        os.close(fd)


def checkpoint(mounted: Mounted) -> bool | None:
    """Empty ext4's journal: see `kernel.checkpoint`."""
    mounted.sync()
    return kernel.checkpoint(mounted.fd)
