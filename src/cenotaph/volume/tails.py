"""File tails: the bytes between a file's end and the end of its last block, and what was preallocated there.

What surprised the author: cutting a file to the size it has makes ext4 and xfs write zeros behind its end
and give back whole blocks there, and changes nothing a reader sees (measured, docs/stores/volumes.md). And
what a running program only appends to, as servers do to logs, has zeros there: a look at the device shows it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cenotaph.durable import write_lease
from cenotaph.errors import TransientStoreError
from cenotaph.volume import blocks

MOST_HELD = 128  # files of running programs that are looked behind: each takes a descriptor
_Pread: TypeAlias = Callable[[int, int], bytes]

_READ = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Cleared:
    """What was done to tails. `open` files belong to a running program, `refused` ones may not be changed."""

    files: int = 0
    bytes: int = 0
    open: int = 0
    refused: int = 0
    held: list[int] = field(default_factory=list)  # descriptors of files of running programs: to be looked at

    def look(self, pread: _Pread | None) -> None:
        """See behind the ends of what running programs have open: those are left in which there is anything.

        `pread` reads the device past the kernel's memory; None where nobody may.
        """
        while self.held:
            fd = self.held.pop()
            try:
                blank = pread is not None and _is_blank(fd, pread)
            except OSError:
                blank = False
            finally:
                os.close(fd)
            self.open += not blank

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
    the file system. What is `held` in the end is for the caller to `look` at.
    """
    done = Cleared()
    try:
        _clear_all(folders, device, block, check, said, done)
    except BaseException:
        done.look(None)
        raise
    return done


def _clear_all(
    folders: Iterable[Path],
    device: int,
    block: int,
    check: Callable[[], None],
    said: Callable[[int], None],
    done: Cleared,
) -> None:
    seen = set[tuple[int, int]]()
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
        if len(done.held) < MOST_HELD:
            done.held.append(os.dup(fd))
        else:
            done.open += 1
    except PermissionError:
        done.refused += 1
    else:
        done.files += 1
        done.bytes += -info.st_size % block


def _is_blank(fd: int, pread: _Pread) -> bool:
    """Whether there is nothing but zeros behind a file's end, as far as it has blocks. Raises: OSError."""
    size = os.fstat(fd).st_size  # what is written behind it from now on counts as something
    for extent in blocks.extents(fd):
        behind = min(max(0, size - extent.logical), extent.length)
        if behind < extent.length and (
            extent.inline or any(pread(extent.physical + behind, extent.length - behind))
        ):
            return False
    return True


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
