"""Directory blocks: old names in the slack of folders that stay, overwritten by names that say nothing.

What surprised the author: removing a name leaves it (xfs, older ext4), or leaves copies of it in blocks that
were split (ext4). So every free slot of a folder is taken by a hard link to an empty file of ours, long names
first, then shorter ones for what is left, and the links are removed. No entry, inode or time that was there
before changes. ext4 never makes a folder smaller again: it is filled while no block of the volume is free, so
that it cannot grow. xfs gives blocks back, and stops where the folder would grow.

A killed run leaves links to an empty file that lies in a folder with a tombstone's name; the next run knows
them by its inode.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cenotaph.durable import is_tombstone, tombstone_name

LENGTHS = (255, 128, 64, 40, 24, 16, 8, 4)  # of the names: each takes what the longer ones left
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONGEST_PATH = 4096 - 64  # bytes; a name of ours comes behind it
_IN_INODE = 4096  # smaller folders lie in their inode (xfs), and grow name by name
_HOME_MODE = 0o700
_MEMO = b"."  # in the file of a home that has the times of the folder it is in; the other files are empty
_LETTERS = str.maketrans("0123456789", "ghijklmnop")  # eleven digits in a row would pass for a mobile number


@dataclass(slots=True)
class Rinsed:
    """What was done to folders."""

    folders: int = 0
    bytes: int = 0  # of names written into free slots
    refused: int = 0

    def why_not(self) -> str:
        return f"{self.refused} folders may not be changed, and keep old names" if self.refused else ""


def around(folders: Iterable[Path], mount: Path, device: int) -> list[Path]:
    """The folders themselves, all beneath them, and all above them up to the mount point; each once.

    Of a file, and of one that is gone, those above it. Links are not followed, other mounts not entered.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        here = folder
        while not here.is_dir() or here.is_symlink():
            here = here.parent
        if here == folder:
            found |= dict.fromkeys(_beneath(folder, device))
        else:  # a lone file, or what is gone: the folder that had its name
            found[here] = None
        while here != mount and mount in here.parents:
            here = here.parent
            found[here] = None
    return list(found)


def _beneath(folder: Path, device: int) -> Iterator[Path]:
    for path, _, _, fd in os.fwalk(folder, follow_symlinks=False):
        if os.fstat(fd).st_dev == device:
            yield Path(path)


def rinse(folder: Path, home: Home, *, may_grow: bool, check: Callable[[], None]) -> int:
    """Overwrite every free slot of a folder; bytes of names written.

    `may_grow` where the file system gives a folder's blocks back (xfs): a length of names is done when the
    folder grows. Else the volume must have no free block: a length is done when no name fits any more.
    Raises: OSError, with the folder as it was.
    """
    if _too_deep(folder):
        raise PermissionError(errno.ENAMETOOLONG, "the folder lies too deep")
    with _opened(folder) as fd:
        _check_unlinks(fd)
        before = os.fstat(fd)
        try:
            home.begin(before)
            return _fill(fd, home, may_grow=may_grow, check=check)
        finally:
            home.remove_links(fd)
            _restore(fd, before)
            os.fsync(fd)


_GETFLAGS = 0x80086601  # FS_IOC_GETFLAGS, linux/fs.h
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


def _check_unlinks(fd: int) -> None:
    """Raises: PermissionError where names put into a folder cannot be taken out again (chattr(1), a)."""
    buffer = bytearray(8)
    try:
        fcntl.ioctl(fd, _GETFLAGS, buffer)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
    if int.from_bytes(buffer[:4], sys.byteorder) & (_IMMUTABLE | _APPEND_ONLY):
        raise PermissionError(errno.EPERM, "the folder only grows")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def _fill(fd: int, home: Home, *, may_grow: bool, check: Callable[[], None]) -> int:
    written = 0
    for length in LENGTHS:
        misses, size = 0, os.fstat(fd).st_size
        while misses < _enough(size):
            check()
            if home.link_into(fd, secrets.token_hex(128).translate(_LETTERS)[:length]):
                written += length
            else:
                misses += 1
            now = os.fstat(fd).st_size
            if now > size and now >= _IN_INODE:
                if may_grow:
                    break
                raise PermissionError(errno.EBUSY, "a folder grew although no block was free")  # bigalloc
            size = max(size, now)
    return written


def _enough(size: int) -> int:
    """How many names in a row must find no room until, all but surely, no block has any: ext4 puts each
    name into the one block that its hash says. The chance that one of n blocks was missed is n·exp(-m/n)."""
    blocks = max(1, size // 1024)
    return int(blocks * (blocks.bit_length() + 9))


class Home:
    """A folder of ours on the volume: what wiping needs beside the case's folders lies in it.

    Only this user can enter it; its name and its files' names are tombstones. `close` removes it;
    `remove_leftovers` removes what a killed run left.
    """

    def __init__(self, candidates: Iterable[Path]) -> None:
        """In the first of the folders that takes it. Raises: OSError, of the last."""
        failed: OSError = OSError(errno.ENOENT, "no folder to work in")
        for parent in candidates:
            path = parent / tombstone_name()
            try:
                with _opened(parent) as fd:
                    _check_unlinks(fd)
                before = os.stat(parent)
                path.mkdir(mode=_HOME_MODE)
            except OSError as error:
                failed = error
                continue
            self._parent, self.path, self._before = parent, path, before
            break
        else:
            raise failed
        self.fd = os.open(path, _FOLDER)
        self._anchor: str | None = None
        self._inodes: set[int] = set()
        _file(self.fd, _MEMO, self._before)

    def link_into(self, fd: int, name: str) -> bool:
        """Give an empty file of ours one more name, in the folder `fd`; False where that has no room."""
        if self._anchor is None:
            self._new_anchor()
        try:
            os.link(str(self._anchor), name, src_dir_fd=self.fd, dst_dir_fd=fd, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno == errno.EMLINK:
                self._anchor = None
                return self.link_into(fd, name)
            if error.errno in _FULL:
                return False
            if error.errno == errno.EXDEV:  # a folder of another project (xfs_quota(8)), or one encrypted
                raise PermissionError(errno.EXDEV, "the folder takes no links from others") from None
            raise
        return True

    def remove_links(self, fd: int) -> int:
        """Remove every name of our empty files from a folder; how many that were."""
        return _remove_names(fd, self._inodes)

    def begin(self, times: os.stat_result) -> None:
        """Before the first link into a folder: the next run restores its times, should we be killed."""
        if self._anchor is None:
            self._new_anchor()
        os.utime(str(self._anchor), ns=(times.st_atime_ns, times.st_mtime_ns), dir_fd=self.fd)

    def close(self) -> None:
        """Remove the folder, and restore the times of the one it was in."""
        try:
            _remove_home(self.fd, self.path)
        finally:
            os.close(self.fd)
        _restore(self._parent, self._before)

    def _new_anchor(self) -> None:
        self._anchor = _file(self.fd, b"")
        self._inodes.add(os.stat(self._anchor, dir_fd=self.fd).st_ino)


def _file(folder: int, content: bytes, times: os.stat_result | None = None) -> str:
    """A new file with a tombstone's name; its name."""
    name = tombstone_name()
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.write(fd, content)
        if times is not None:
            os.utime(fd, ns=(times.st_atime_ns, times.st_mtime_ns))
    finally:
        os.close(fd)
    return name


def remove_leftovers(folders: Iterable[Path]) -> int:
    """Remove what a killed run left in these folders and beneath its own; how many names that were."""
    places = list(folders)
    homes = [home for folder in places for home in _homes(folder)]
    if not homes:
        return 0
    inodes = {inode for home in homes for inode in _anchors(home)}
    removed = 0
    for folder in places:
        if _too_deep(folder):
            continue
        fd = os.open(folder, _FOLDER)
        try:
            removed += _remove_names(fd, inodes, restore=True)
        finally:
            os.close(fd)
    for home in homes:
        times = _memo(home)
        fd = os.open(home, _FOLDER)
        try:
            removed += _remove_home(fd, home)
        finally:
            os.close(fd)
        if times is not None:
            _restore(home.parent, times)
    return removed


def _too_deep(folder: Path) -> bool:
    """Whether a folder lies too deep to be named whole (PATH_MAX, limits.h): nothing was put into it."""
    return len(os.fsencode(folder)) >= _LONGEST_PATH


def _homes(folder: Path) -> list[Path]:
    if _too_deep(folder):
        return []
    with os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if _is_home(e)]


def _anchors(home: Path) -> set[int]:
    with os.scandir(home) as entries:
        return {e.inode() for e in entries if is_tombstone(os.fsencode(e.name)) and not e.stat().st_size}


def _memo(home: Path) -> os.stat_result | None:
    with os.scandir(home) as entries:
        found = [e.stat() for e in entries if is_tombstone(os.fsencode(e.name))]
    return next((info for info in found if info.st_size == len(_MEMO)), None)


def _restore(folder: int | Path, times: os.stat_result) -> None:
    with contextlib.suppress(PermissionError):  # somebody else's folder, in which we may write
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))


def _is_home(entry: os.DirEntry[str]) -> bool:
    if not is_tombstone(os.fsencode(entry.name)) or not entry.is_dir(follow_symlinks=False):
        return False
    info = entry.stat(follow_symlinks=False)
    return info.st_uid == os.geteuid() and info.st_mode & 0o777 == _HOME_MODE  # it may inherit setgid


def _remove_names(fd: int, inodes: set[int], *, restore: bool = False) -> int:
    """`restore`: also the times that the folder had, which the file behind the names has."""
    if not inodes:
        return 0
    with os.scandir(fd) as entries:
        names = [os.fsencode(entry.name) for entry in entries if entry.inode() in inodes]
    times = os.stat(names[0], dir_fd=fd) if names else None
    for name in names:
        os.unlink(name, dir_fd=fd)
    if restore and times is not None:
        _restore(fd, times)
    return len(names)


def _remove_home(fd: int, path: Path) -> int:
    """Remove the files in it that have a tombstone's name, and the folder itself if that was all."""
    removed = _remove_files(fd)
    with contextlib.suppress(OSError):  # somebody put something into it: theirs, and it stays
        path.rmdir()
    return removed + 1


def _remove_files(fd: int) -> int:
    with os.scandir(fd) as entries:
        names = [e.name for e in entries if is_tombstone(os.fsencode(e.name)) and e.is_file()]
    for name in names:
        os.unlink(name, dir_fd=fd)
    return len(names)
