"""Reads a file past the page cache, in blocks that stay a while.

What surprised the author: of sealing a billion records, a sixth was the system's, to put bytes into the page
cache and to copy them out of it, twice, since their digest is wanted too. Here they are read once, into
memory that is used again, and whoever wants each byte is shown them as they come.
"""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Callable, Sequence

from cenotaph import durable

BLOCK = 4 << 20
KEPT = 16  # blocks


class Direct(io.RawIOBase):
    """A file that is open for reading, at least a byte long. `came` is told where each block lies that is
    read, and shown what is in it; a block that was let go of is read once more. Closing it closes `fd`.

    Raises: OSError; ValueError where it becomes shorter.
    """

    def __init__(self, fd: int, came: Callable[[int, memoryview], None]) -> None:
        super().__init__()
        self._fd, self._came = fd, came
        self._size = os.fstat(fd).st_size
        self._at = 0
        self._cached = False
        self._blocks: dict[int, mmap.mmap] = {}  # the one that was used last is the last
        self._free: list[mmap.mmap] = []

    def want(self, first: int, end: int) -> None:
        """Read these bytes at once: they are asked for next, in whatever order. Where they are more than is
        kept, they come through the page cache, and not to `came`."""
        blocks = range(first // BLOCK, -(-min(end, self._size) // BLOCK))
        self._cached = len(blocks) > KEPT
        if not self._cached:
            self._have(blocks)

    def view(self, at: int, size: int) -> memoryview:
        """So many bytes at a place, as far as there are; good until something else is asked for."""
        if self._cached:
            return memoryview(os.pread(self._fd, size, at))
        end = max(at, min(at + size, self._size))
        if at // BLOCK == (end - 1) // BLOCK and end > at:
            return self._part(at, end)
        whole = bytearray()
        while at < end:
            step = min(end, (at // BLOCK + 1) * BLOCK)
            whole += self._part(at, step)
            at = step
        return memoryview(whole)

    def peek(self, at: int, size: int) -> memoryview:
        """As `view`, of few bytes: a block that is not there is not read for them."""
        last = max(at, min(at + size, self._size) - 1)
        if {at // BLOCK, last // BLOCK} <= self._blocks.keys():
            return self.view(at, size)
        return memoryview(os.pread(self._fd, size, at))

    # ── a stream, for whoever knows no more of it ────────────────────────────────────────────────

    def readinto(self, into: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        some = self.view(self._at, min(len(into), BLOCK))
        into[: len(some)] = some
        self._at += len(some)
        return len(some)

    def read(self, size: int = -1, /) -> bytes:
        """All of it, unlike a raw stream's."""
        some = bytes(self.view(self._at, self._size if size < 0 else size))
        self._at += len(some)
        return some

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError("a place before the beginning of the file")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────

    def _part(self, at: int, end: int) -> memoryview:
        """Bytes of one block."""
        block = at // BLOCK
        self._have([block])
        return memoryview(self._blocks[block])[at - block * BLOCK : end - block * BLOCK]

    def _have(self, blocks: Sequence[int]) -> None:
        """Read those that are not there, runs of them at once."""
        for block in blocks:
            if block in self._blocks:
                self._blocks[block] = self._blocks.pop(block)
        run: list[int] = []
        for block in blocks:
            if block in self._blocks or (run and block != run[-1] + 1):
                self._read(run)
                run = []
            if block not in self._blocks:
                run.append(block)
        self._read(run)

    def _read(self, blocks: Sequence[int]) -> None:
        """Some that follow each other and are not there."""
        if not blocks:
            return
        while len(self._blocks) + len(blocks) > KEPT:
            self._free.append(self._blocks.pop(next(iter(self._blocks))))
        rooms = [self._free.pop() if self._free else durable.room(BLOCK) for _ in blocks]
        first, end = blocks[0] * BLOCK, min((blocks[-1] + 1) * BLOCK, self._size)
        views, done = [memoryview(room) for room in rooms], 0
        with durable.directly(self._fd):
            done = durable.read_into(self._fd, views, first, end - first)
        if done < end - first:  # where the file system does not
            done = durable.read_into(self._fd, views, first, end - first)
        if done < end - first:
            raise ValueError("a file became shorter while it was read")
        self._blocks.update(zip(blocks, rooms, strict=True))
        for block, view in zip(blocks, views, strict=True):
            self._came(block * BLOCK, view[: end - block * BLOCK])
