"""File tails: the bytes between a file's end and the end of its last block, and what was preallocated there.

What surprised the author: cutting a file to the size it has makes ext4 and xfs write zeros behind its end
and give back whole blocks there, and changes nothing a reader sees (measured, docs/stores/volumes.md).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cenotaph.durable import write_lease
from cenotaph.errors import TransientStoreError

_READ = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Cleared:
    """What was done to tails. `open` files belong to a running program, `refused` ones may not be changed."""

    files: int = 0
    bytes: int = 0
    open: int = 0
    refused: int = 0

    def why_not(self) -> str:
        """A clause where some tails are as they were, else empty."""
        parts = [
            f"{self.open} files are open in other programs" if self.open else "",
            f"{self.refused} files may not be changed" if self.refused else "",
        ]
        found = " and ".join(part for part in parts if part)
        return f"{found}, and what lies behind their ends was left" if found else ""


def clear(
    folders: Iterable[Path], device: int, block: int, check: Callable[[], None], said: Callable[[int], None]
) -> Cleared:
    """Zero the tails of all regular files in and beneath `folders` that lie on `device`.

    Content, size and times stay. `said` is told how many files were looked at. Durable after a sync of
    the file system.
    """
    done, seen = Cleared(), set[tuple[int, int]]()
    for count, (parent, name) in enumerate(_files(folders, device), 1):
        check()
        try:
            fd = os.open(name, _READ, dir_fd=parent)
        except FileNotFoundError:
            continue
        except OSError:  # not ours, immutable, a program that runs, a link
            done.refused += 1
            continue
        try:
            info = os.fstat(fd)
            if stat.S_ISREG(info.st_mode) and info.st_dev == device and (0, info.st_ino) not in seen:
                seen.add((0, info.st_ino))
                _clear(fd, info, block, done)
        finally:
            os.close(fd)
        said(count)
    return done


def _clear(fd: int, info: os.stat_result, block: int, done: Cleared) -> None:
    blocks = -(-info.st_size // block)
    if info.st_size % block == 0 and info.st_blocks * 512 <= blocks * block:
        return
    try:
        with write_lease(fd) as lease:
            if not lease:
                done.refused += 1
                return
            now = os.fstat(fd)
            os.ftruncate(fd, now.st_size)
            os.utime(fd, ns=(now.st_atime_ns, now.st_mtime_ns))
    except TransientStoreError:
        done.open += 1
    except PermissionError:
        done.refused += 1
    else:
        done.files += 1
        done.bytes += -info.st_size % block


def _files(folders: Iterable[Path], device: int) -> Iterator[tuple[int, bytes]]:
    """(descriptor of a folder, name) of each regular file; links are not followed, mounts not entered."""
    for folder in folders:
        try:
            info = os.lstat(folder)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(info.st_mode):
            parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield parent, os.fsencode(folder.name)
            finally:
                os.close(parent)
        elif stat.S_ISDIR(info.st_mode):
            for _, _, names, fd in os.fwalk(os.fsencode(folder), follow_symlinks=False):
                if os.fstat(fd).st_dev == device:
                    yield from ((fd, name) for name in names if _regular(name, fd))


def _regular(name: bytes, parent: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
