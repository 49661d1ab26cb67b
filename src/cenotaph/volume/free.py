"""Free blocks: trimmed where the device really drops them, else filled with zeros and given back.

What surprised the author: a trim is advice, so what it did is read back; and a file system keeps blocks from
everybody (`cenotaph.volume.settings`), so that a fill to the last byte a user may write is not complete.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cenotaph.volume.model import Map, Place
from cenotaph.volume.terms import Mounted

STEP = 8 << 20
MARGIN = 64 << 20  # beyond the headroom: what others may write while one step of ours is under way
_QUICK = 0.02  # seconds that a step may take: so long others wait for what we give back
_CRUMBS = 4096  # files at most that take what the large one could not
_READ = 8 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Blank:
    """Bytes of free blocks; how many of them lie in blocks of nothing but zeros, and how many in blocks in
    which the file system had written where a fill's blocks lay."""

    free: int
    blank: int
    own: int

    @property
    def left(self) -> int:
        """Bytes that may be anybody's."""
        return self.free - self.blank - self.own


def read_blank(
    pread: Callable[[int, int], bytes | memoryview], places: Map, block: int, check: Callable[[], None]
) -> Blank:
    """Read every free block from the device."""
    free = blank = own = 0
    for start, end in places.of(Place.FREE):
        for at in range(int(start), int(end), _READ):
            check()
            size = min(_READ, int(end) - at)
            data = np.frombuffer(pread(at, size), dtype=np.uint8)
            free += size
            if not data.any():
                blank += size
            else:
                rows = data[: size - size % block].reshape(-1, block)
                dirty = rows[rows.any(axis=1)]
                blank += (len(rows) - len(dirty)) * block
                own += sum(_extent_block(row.tobytes()) for row in dirty) * block
    return Blank(free, blank, own)


def _extent_block(data: bytes) -> bool:
    """Whether a block is one in which ext4 keeps a file's extents, and nothing else: a header, as many
    entries as it says, a checksum, else zeros (kernel Documentation/filesystems/ext4/ifork.rst)."""
    magic, entries, most, depth = struct.unpack_from("<4H", data)
    end = 12 + 12 * most
    if magic != 0xF30A or entries > most or depth > 5 or end + 4 > len(data):
        return False
    return not any(data[12 + 12 * entries : end]) and not any(data[end + 4 :])


class Fill:
    """Files without a name that take the free blocks. They give them back when closed, or when we die."""

    def __init__(self, mounted: Mounted, folder: int) -> None:
        self._mounted, self._folder = mounted, folder
        self._fds: list[int] = []
        self._zeros = mmap.mmap(-1, STEP)
        self.bytes = 0

    def hold(self) -> None:
        """Reserve what is free without writing it, so that nothing can grow meanwhile."""
        fd = self._open()
        at, step = 0, 1 << 40
        while step >= 512:
            self._mounted.check()
            try:
                os.posix_fallocate(fd, at, step)
                at += step
            except OSError as error:
                if error.errno not in (*_FULL, errno.EFBIG):
                    raise
                step //= 2

    def write_all(self, tell: Callable[[int], None]) -> None:
        """Write zeros until there is no free block left."""
        for _ in range(_CRUMBS):
            if not self._write_one(tell):
                break
        self._mounted.sync()  # also what the file system wrote to find the files' blocks: it is free soon

    def _write_one(self, tell: Callable[[int], None]) -> int:
        """One file, as large as it can be; its size."""
        try:
            fd, at, step = self._open(), 0, STEP
        except OSError as error:
            if error.errno not in (*_FULL, errno.EMFILE):
                raise
            return 0
        block = os.fstatvfs(fd).f_bsize
        while step >= block:
            self._mounted.check()
            try:
                wrote = os.pwrite(fd, memoryview(self._zeros)[:step], at)
            except OSError as error:
                if error.errno == errno.EFBIG:  # the largest file this file system can have
                    break
                if error.errno not in _FULL:
                    raise
                wrote = 0
            if wrote < step:
                step //= 2
            at += wrote
            self._wrote(fd, wrote, tell)
        os.fsync(fd)
        return at

    def write_to_headroom(self, tell: Callable[[int], None]) -> bool:
        """Write zeros while more than the headroom and a margin is free, and give back at once when others
        need it. False where others wrote so much that it ended early."""
        fd, at, step = self._open(), 0, 1 << 20
        floor = self._mounted.headroom() + MARGIN
        while True:
            spare = self._mounted.free() - floor
            if at and spare < -MARGIN // 2:
                os.ftruncate(fd, 0)
                return False
            if spare < STEP:
                os.fsync(fd)
                return True
            self._mounted.check()
            begun = time.monotonic()
            wrote = os.pwrite(fd, memoryview(self._zeros)[:step], at)
            at += wrote
            step = min(STEP, 2 * step) if time.monotonic() - begun < _QUICK else max(1 << 20, step // 2)
            self._wrote(fd, wrote, tell)

    def _wrote(self, fd: int, count: int, tell: Callable[[int], None]) -> None:
        self.bytes += count
        tell(self.bytes)
        self._mounted.paced(count)

    def _open(self) -> int:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        try:
            fd = os.open(".", flags | os.O_DIRECT, 0o600, dir_fd=self._folder)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = os.open(".", flags | os.O_SYNC, 0o600, dir_fd=self._folder)
        self._fds.append(fd)
        return fd

    def close(self) -> None:
        """Give the blocks back, at once: xfs does it later for a file that is only closed."""
        while self._fds:
            fd = self._fds.pop()
            with contextlib.suppress(OSError):  # a device that failed: what is left is the kernel's to free
                os.ftruncate(fd, 0)
            os.close(fd)


@contextlib.contextmanager
def filling(mounted: Mounted, folder: int) -> Iterator[Fill]:
    """A fill whose blocks are free again afterwards, durably."""
    fill = Fill(mounted, folder)
    try:
        yield fill
    finally:
        fill.close()
        mounted.sync()
