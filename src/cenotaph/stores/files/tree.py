"""The files beneath a root: listed in byte order, opened without following links."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cenotaph.durable import Beneath
from cenotaph.errors import PermanentStoreError, TransientStoreError, UsageError


class Stamp(NamedTuple):
    """Changes whenever a file is replaced or written to through the file system."""

    device: int
    inode: int
    size: int
    written: int  # nanoseconds
    changed: int


def stamp(info: os.stat_result) -> Stamp:
    return Stamp(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Entry:
    """A name beneath the root and what it stands for."""

    path: bytes = field(repr=False)
    info: os.stat_result = field(repr=False)

    @property
    def folder(self) -> bytes:
        return self.path.rpartition(b"/")[0]

    @property
    def name(self) -> bytes:
        return self.path.rpartition(b"/")[2]

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.info.st_mode)

    @property
    def stamp(self) -> Stamp:
        return stamp(self.info)


class Tree:
    """A directory, or one file of it, as `files:PATH` names it."""

    def __init__(self, url: str) -> None:
        scheme, _, place = url.partition(":")
        if scheme != "files" or not place.startswith("/"):
            raise UsageError("a files store is named files: and an absolute path")
        path = Path(os.path.normpath(place))
        self.only: bytes | None = None
        try:
            if not path.is_dir():
                self.only = os.fsencode(path.name)
                path = path.parent
            self.beneath = Beneath(path)
        except OSError as error:
            raise failure(error, "the root of a files store") from None
        if self.only is not None and not self._there(self.only):
            self.beneath.close()
            raise UsageError("the path of a files store does not exist, or is not a directory or plain file")

    def _there(self, name: bytes) -> bool:
        # a file that was destroyed by an earlier run leaves its folder: nothing left is no error there
        try:
            return stat.S_ISREG(self.beneath.stat(name).st_mode)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def entries(self, folder: bytes = b"") -> Iterator[Entry]:
        """Everything beneath, directories before what is in them, siblings in byte order of names.

        A directory on another device is listed like any other. What vanishes meanwhile is left out.
        """
        if self.only is not None:
            with contextlib.suppress(FileNotFoundError):
                yield Entry(self.only, self.beneath.stat(self.only))
            return
        stack = [folder]
        while stack:
            here = stack.pop()
            inside = []
            for entry in self.listing(here):
                yield entry
                if entry.is_dir:
                    inside.append(entry.path)
            stack.extend(reversed(inside))

    def listing(self, folder: bytes) -> list[Entry]:
        """What is directly in a folder, in byte order; none where it is gone."""
        try:
            fd = self.beneath.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise failure(error, "a folder") from None
        try:
            entries = []
            with os.scandir(fd) as inside:
                names = sorted(os.fsencode(found.name) for found in inside)
            for name in names:
                if folder == b"" and self.only not in (None, name):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    entries.append(Entry(folder + b"/" + name if folder else name, info))
            return entries
        finally:
            os.close(fd)

    def open_read(self, path: bytes) -> BinaryIO:
        """Open a regular file for reading, from its start. `FileNotFoundError` where it is gone."""
        try:
            # O_NONBLOCK: a pipe of that name must not stop the run; plain files ignore it
            fd = self.beneath.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise failure(error, "a file") from None
        stream = os.fdopen(fd, "rb", buffering=1 << 18)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            stream.close()
            raise PermanentStoreError("a name that was a plain file is something else now")
        return stream

    def close(self) -> None:
        self.beneath.close()


def failure(error: OSError, what: str) -> Exception:
    """The class and sentence for an error of the file system; never the name it happened to."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermanentStoreError(f"{what} cannot be opened: permission denied", hint="run as its owner")
    if error.errno == errno.EROFS:
        return PermanentStoreError(f"{what} is on a file system mounted read-only")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return PermanentStoreError(
            "no space left to write what stays of a file; nothing of it was changed",
            hint="free some space on its file system, then run again",
        )
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return PermanentStoreError(f"{what} is a symbolic link, or leads outside the store")
    if error.errno in (errno.EAGAIN, errno.ETXTBSY, errno.EBUSY):
        return TransientStoreError(f"{what} is in use by another process")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return PermanentStoreError(f"{what} does not exist")
    return PermanentStoreError(f"{what} cannot be read or written: {os.strerror(error.errno or 0)}")
