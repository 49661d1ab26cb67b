"""Segments of the log that the server has removed, and one of its processes still has open.

What surprised the author: a session keeps the last segment that it wrote to open until it writes again, also
when the server has long unlinked it. Its blocks, with everybody in them, are in no folder and not free: they
become free when the session ends, after free blocks were wiped.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from cenotaph.durable import overwrite
from cenotaph.stores.postgres.beneath.underneath import identity, processes_in

_GONE = " (deleted)"  # proc(5)
_SEGMENT = re.compile(r"[0-9A-F]{24}")


def overwrite_segments(place: str) -> tuple[int, int]:
    """Write zeros over them: bytes written, and how many of the server's processes could not be looked into.

    `place`: the data directory, in which the server's processes stand. Nobody reads these segments again: a
    server removes one when nothing before its last checkpoint needs it, and opens it by its name.
    """
    folder = os.path.realpath(os.path.join(place, "pg_wal"))
    written = unseen = 0
    done = set[tuple[int, int]]()
    for process in processes_in(identity(os.stat(place))):
        try:
            for fd in _open_in(f"/proc/{process}/fd", folder):
                try:
                    info = os.fstat(fd)
                    if identity(info) not in done and _is_gone(fd, folder):
                        done.add(identity(info))
                        written += overwrite(fd, info.st_size)
                finally:
                    os.close(fd)
        except FileNotFoundError:  # it has ended
            continue
        except PermissionError:
            unseen += 1
    return written, unseen


def _open_in(files: str, folder: str) -> Iterator[int]:
    for number in os.listdir(files):  # noqa: PTH208 (names alone)
        path = f"{files}/{number}"
        try:
            if _names_one(os.readlink(path), folder):
                yield os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:  # closed meanwhile
            continue


def _is_gone(fd: int, folder: str) -> bool:
    """Once more, of what was opened: a process may have opened something else by this number."""
    info = os.fstat(fd)
    return (
        stat.S_ISREG(info.st_mode)
        and info.st_nlink == 0
        and _names_one(os.readlink(f"/proc/self/fd/{fd}"), folder)
    )


def _names_one(link: str, folder: str) -> bool:
    where, _, name = link.removesuffix(_GONE).rpartition("/")
    return link.endswith(_GONE) and where == folder and _SEGMENT.fullmatch(name) is not None
