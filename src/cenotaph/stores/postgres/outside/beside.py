"""Files that lie beside the server, opened strictly and destroyed one by one.

Nothing is followed: no symlink, no name that leads out of its folder, no file that has another name
elsewhere. Each is renamed to a tombstone first, so that a run which was killed can tell what it had begun.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from cenotaph import durable
from cenotaph.durable import Beneath
from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.store import Extent, Ranges
from cenotaph.stores.postgres.work import Work

_NONE: Ranges = np.zeros((0, 2), dtype=np.int64)


@dataclass(slots=True)
class Tally:
    """What was destroyed."""

    files: int = 0
    overwritten: int = 0  # bytes
    freed: int = 0
    left_open: int = 0  # files unlinked where zeros would not have landed on their content


def report(work: Work, tally: Tally, went: str, kept: str) -> None:
    """Add what was destroyed to a reclamation's account. `went` and `kept` follow numbers of files: all that
    were destroyed, and those of them whose content was not overwritten."""
    work.overwritten += tally.overwritten
    work.freed += tally.freed
    if tally.files:
        work.notes.append(f"{tally.files} {went}")
    if tally.left_open:
        work.notes.append(f"{tally.left_open} {kept}")


@dataclass(frozen=True, slots=True)
class Found:
    """A file beneath a folder, as it was listed."""

    name: bytes  # its path beneath the folder
    size: int


@contextlib.contextmanager
def folder(path: str) -> Iterator[Beneath]:
    """The folder at `path`. Raises: PermanentStoreError where there is none, or it may not be read."""
    try:
        opened = Beneath(os.fsencode(path))
    except OSError:
        raise PermanentStoreError("its folder is not there, or may not be read") from None
    with opened:
        yield opened


def listed(place: Beneath, wanted: Callable[[bytes], bool]) -> Iterator[Found]:
    """The regular files directly in a folder whose names are wanted, in the order of their names."""
    for name in sorted(os.fsencode(entry) for entry in os.listdir(place.fd)):  # noqa: PTH208 (a descriptor)
        if not wanted(name):
            continue
        with contextlib.suppress(FileNotFoundError):
            info = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode):
                yield Found(name, info.st_size)


def walked(place: Beneath, top: bytes = b"") -> Iterator[Found]:
    """Every regular file beneath a folder, the deepest first.

    Raises: PermanentStoreError for anything else that is no folder, symlinks included.
    """
    fd = place.open(top or b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(os.fsencode(entry) for entry in os.listdir(fd))  # noqa: PTH208 (a descriptor)
        kinds = [os.stat(name, dir_fd=fd, follow_symlinks=False) for name in names]
    finally:
        os.close(fd)
    for name, info in zip(names, kinds, strict=True):
        path = top + b"/" + name if top else name
        if stat.S_ISDIR(info.st_mode):
            yield from walked(place, path)
        elif stat.S_ISREG(info.st_mode):
            yield Found(path, info.st_size)
        else:
            raise PermanentStoreError("it has links or special files in it, which are not followed")


@contextlib.contextmanager
def opened(place: Beneath, name: bytes, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor of a regular file that has no other name.

    Raises: PermanentStoreError where it is something else; FileNotFoundError.
    """
    try:
        fd = place.open(name, flags | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "is a symlink" if error.errno == errno.ELOOP else "cannot be opened"
        raise PermanentStoreError(f"a file of it {why}: nothing is done to it") from None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise PermanentStoreError("a file of it is no regular file: nothing is done to it")
        if info.st_nlink > 1:
            raise PermanentStoreError("a file of it has another name elsewhere (hard link)")
        yield fd
    finally:
        os.close(fd)


def destroy(place: Beneath, name: bytes, tally: Tally, *, begun: bool = False) -> None:
    """Overwrite and unlink one file, durably. Nothing to do where it is gone. `begun`: its name says already
    that it is being destroyed.

    Raises: PermanentStoreError, with nothing changed, where it is no plain file with one name.
    """
    with contextlib.suppress(FileNotFoundError), opened(place, name, os.O_RDWR) as fd:
        directory, last = place.parent(name)
        try:
            in_place = overwrites(fd)
            size = min(os.fstat(fd).st_size, os.fstat(fd).st_blocks * 512)
            kept = begun or durable.is_tombstone(last)
            tombstone = os.fsdecode(last) if kept else durable.tombstone_name()
            tally.freed += durable.destroy_file(directory, last, fd, tombstone=tombstone, zero=in_place)
        except DriftError:
            raise PermanentStoreError("a file of it was replaced while it was being destroyed") from None
        except OSError:
            raise PermanentStoreError("a file of it cannot be overwritten or unlinked") from None
        finally:
            os.close(directory)
        tally.files += 1
        tally.overwritten += size if in_place else 0
        tally.left_open += not in_place


def empty(place: Beneath, name: bytes, tally: Tally) -> None:
    """Overwrite what is in a file and cut it to nothing, in place: another process writes to it."""
    with contextlib.suppress(FileNotFoundError), opened(place, name, os.O_RDWR) as fd:
        done = 0
        while done < (size := os.fstat(fd).st_size):
            durable.overwrite(fd, size - done, start=done)
            done = size
        os.ftruncate(fd, 0)
        os.fsync(fd)
        tally.files += 1
        tally.overwritten += done if overwrites(fd) else 0
        tally.left_open += not overwrites(fd)
        tally.freed += done


def destroy_folder(parent: Beneath, name: bytes, tally: Tally) -> None:
    """Destroy every file beneath a folder, then the folder. Nothing to do where it is gone.

    All are overwritten before the disk is waited for: base backups have thousands of small ones.

    Raises: PermanentStoreError, with nothing changed, where there is anything in it that is no plain file.
    """
    try:
        found = list(walked(parent, name))
    except FileNotFoundError:
        return
    for file in found:
        with opened(parent, file.name):
            pass
    for file in found:
        with opened(parent, file.name, os.O_RDWR) as fd:
            _overwrite(fd, tally)
    durable.syncfs(parent.fd)
    for file in found:
        directory, last = parent.parent(file.name)
        try:
            os.unlink(last, dir_fd=directory)
        finally:
            os.close(directory)
    _remove_folders(parent, name)


def _overwrite(fd: int, tally: Tally) -> None:
    """Not yet durable."""
    info, in_place = os.fstat(fd), overwrites(fd)
    if in_place:
        tally.overwritten += durable.overwrite(fd, info.st_size, sync=False)
        durable.overwrite_rest(fd)
    durable.overwrite_user_xattrs(fd)
    tally.files += 1
    tally.left_open += not in_place
    tally.freed += info.st_blocks * 512


def begin(place: Beneath, name: bytes, begun: bytes) -> None:
    """Give what is to be destroyed the name that says so to a run that comes after a kill, durably."""
    try:
        durable.rename_new(place.fd, name, begun)
        os.fsync(place.fd)
    except OSError:
        raise PermanentStoreError("it cannot be renamed") from None


def _remove_folders(parent: Beneath, name: bytes) -> None:
    fd = parent.open(name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        inner = [os.fsencode(entry) for entry in os.listdir(fd)]  # noqa: PTH208 (a descriptor)
    finally:
        os.close(fd)
    for one in inner:
        _remove_folders(parent, name + b"/" + one)
    directory, last = parent.parent(name)
    try:
        os.rmdir(last, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)


def written_elsewhere(top: str) -> set[tuple[int, int]]:
    """Device and inode of every file that a process which does not stand in the directory `top` has open for
    writing, as far as this user may see (proc(5))."""
    here, found = _identity(os.stat(top)), set()
    for process in (f"/proc/{name}" for name in os.listdir("/proc") if name.isdecimal()):  # noqa: PTH208
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if process == f"/proc/{os.getpid()}" or _identity(os.stat(f"{process}/cwd")) == here:
                continue
            for number in os.listdir(f"{process}/fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    info = os.stat(f"{process}/fd/{number}")
                    if stat.S_ISREG(info.st_mode) and _writes(f"{process}/fdinfo/{number}"):
                        found.add(_identity(info))
    return found


def at(path: str) -> tuple[int, int] | None:
    """Device and inode of what is there."""
    with contextlib.suppress(FileNotFoundError):
        return _identity(os.lstat(path))
    return None


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _writes(told: str) -> bool:
    with open(told, encoding="ascii") as lines:
        flags = next((line.split()[1] for line in lines if line.startswith("flags:")), "0")
    return bool(int(flags, 8) & os.O_ACCMODE)


def overwrites(fd: int) -> bool:
    """Whether zeros written over the file land on its content."""
    return durable.filesystem(fd).overwrites_in_place and not durable.reflinked(fd)


def split(path: str) -> tuple[str, bytes]:
    """The folder of a file or folder, and its name in there."""
    parent, name = os.path.split(os.path.abspath(path))
    return parent, os.fsencode(name)


def extent(kind: str, path: str, size: int) -> Extent:
    """A file for the probe, of which nothing is known to stay."""
    return Extent(kind, path, size, functools.partial(_open, path), _NONE)


def _open(path: str) -> BinaryIO:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        raise PermanentStoreError(
            "a file of a copy cannot be read", hint="run as its owner, or as root"
        ) from None
    return os.fdopen(fd, "rb")
