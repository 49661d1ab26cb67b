"""Durable, careful changes to files, done once and correctly for every part that needs them.

What surprised its author: a lease break sends SIGIO, whose default action ends the process, so a
lease is told to use SIGURG; a rename is durable only after fsync of the *directory*; file
names are bytes, and some are not UTF-8.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import secrets
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cenotaph.errors import DriftError, TransientStoreError

TOMBSTONE_PREFIX = b".cenotaph-"

_libc = ctypes.CDLL(None, use_errno=True)
_STEP, _BLOCK = 1 << 20, 4096
_ZEROS = memoryview(mmap.mmap(-1, _STEP, prot=mmap.PROT_READ))  # on a page's border, as O_DIRECT wants it


# --- writing and naming ---------------------------------------------------------------------


def write_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` at `path`, whole or not at all, and durable on return."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = tombstone_name().encode()
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=directory)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(directory)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data` at the descriptor's position; a short write is continued."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def syncfs(fd: int) -> None:
    """Write everything of the file system that `fd` lies on to its device (syncfs(2))."""
    if _libc.syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def tombstone_name() -> str:
    """A fresh name that says nothing about the file that will carry it until it is gone."""
    return TOMBSTONE_PREFIX.decode() + letters(secrets.token_hex(12))


def letters(digits: str) -> str:
    """Hexadecimal digits as the letters a to p: a run of decimal ones can pass for somebody's number."""
    return digits.translate(_LETTERS)


_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def is_tombstone(name: bytes) -> bool:
    """Whether a file name is one that `tombstone_name` could have made."""
    rest = name[len(TOMBSTONE_PREFIX) :]
    return name.startswith(TOMBSTONE_PREFIX) and len(rest) == 24 and not rest.strip(b"abcdefghijklmnop")


# --- paths that cannot leave their root -----------------------------------------------------


class Beneath:
    """A directory beneath which paths are opened, and nowhere else.

    Uses openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS; on
    kernels before 5.6 it walks component by component with O_NOFOLLOW. Paths are bytes, relative,
    separated by b"/". Every failure is an `OSError` (ELOOP: a symlink, EXDEV: leads outside).
    """

    __slots__ = ("fd",)

    def __init__(self, root: str | bytes | os.PathLike[str]) -> None:
        self.fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, rel: bytes, flags: int, mode: int = 0) -> int:
        """Open `rel`; the descriptor is close-on-exec. `b"."` is the root itself."""
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return _openat2(self.fd, rel, flags, mode)
        except OSError as error:
            # ENOSYS: kernel before 5.6; EPERM: a seccomp filter that does not know the call
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
        return self._walk(rel, flags, mode)

    def parent(self, rel: bytes) -> tuple[int, bytes]:
        """A descriptor of the directory that holds `rel` (the caller closes it), and the last name."""
        head, _, name = rel.rpartition(b"/")
        if name in (b"", b".", b".."):
            raise OSError(errno.EINVAL, "the path has no last name")
        return self.open(head or b".", os.O_RDONLY | os.O_DIRECTORY), name

    def stat(self, rel: bytes) -> os.stat_result:
        """lstat beneath the root."""
        fd = self.open(rel, os.O_PATH)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Beneath:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _walk(self, rel: bytes, flags: int, mode: int) -> int:
        parts = [part for part in rel.split(b"/") if part not in (b"", b".")]
        if rel.startswith(b"/") or b".." in parts:
            raise OSError(errno.EXDEV, "the path leads outside its root")
        here = os.dup(self.fd)
        try:
            for part in parts[:-1]:
                deeper = os.open(
                    part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here
                )
                os.close(here)
                here = deeper
            return os.open(parts[-1] if parts else b".", flags, mode, dir_fd=here)
        finally:
            os.close(here)


_SYS_OPENAT2 = 437  # the same number on every architecture (kernel 5.6)
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08


def _openat2(directory: int, rel: bytes, flags: int, mode: int) -> int:
    if b"\0" in rel:
        raise OSError(errno.EINVAL, "a path cannot contain NUL")
    how = struct.pack("=QQQ", flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    while True:
        fd = int(_libc.syscall(_SYS_OPENAT2, directory, ctypes.c_char_p(rel), how, len(how)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (errno.EINTR, errno.EAGAIN):
            raise OSError(code, os.strerror(code))
        if code == errno.EAGAIN and flags & os.O_NONBLOCK:
            raise OSError(code, "the file is leased by another process")


def room(size: int) -> mmap.mmap:
    """Memory to read into past the page cache: on a page's border, and no child's (open(2), "O_DIRECT")."""
    made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    made.madvise(mmap.MADV_DONTFORK)
    return made


def read_into(fd: int, rooms: Sequence[memoryview], at: int, size: int) -> int:
    """Fill these one after the other with the bytes at a place of a file. Returns how many there were: fewer
    than `size` only where the file ends."""
    left, done = list(rooms), 0
    while done < size and (step := os.preadv(fd, left, at + done)):
        done += step
        while left and step >= len(left[0]):
            step -= len(left.pop(0))
        if step:
            left[0] = left[0][step:]
    return min(done, size)


# --- overwriting and removing ---------------------------------------------------------------


def overwrite(
    fd: int,
    length: int,
    *,
    start: int = 0,
    on_bytes: Callable[[int], None] | None = None,
    sync: bool = True,
) -> int:
    """Write zeros over [start, start + length) in place, fsync, and return how many were written.

    `sync=False` where the caller does the fsync, for many files together. Holes of a sparse file hold
    nothing and are skipped. `on_bytes` is told the size of each step (at most 1 MiB) after it; it may
    sleep or raise.
    """
    written = 0

    def told(step: int) -> None:
        nonlocal written
        written += step
        if on_bytes is not None:
            on_bytes(step)

    for low, high in _data_ranges(fd, start, start + length):
        _write_zeros(fd, low, high, told)
    if sync:
        os.fsync(fd)
    return written


def _write_zeros(fd: int, low: int, high: int, told: Callable[[int], None]) -> None:
    """What is large goes past the page cache, in whole blocks: that takes half the time and a quarter of the
    processor's."""
    at, last = -(-low // _BLOCK) * _BLOCK, high // _BLOCK * _BLOCK
    if last - at < _STEP:
        _zero_steps(fd, low, high, told)
        return
    _zero_steps(fd, low, at, told)
    with directly(fd):
        at = _zero_steps(fd, at, last, told)
    _zero_steps(fd, at, high, told)


def _zero_steps(fd: int, at: int, end: int, told: Callable[[int], None]) -> int:
    while at < end:
        step = os.pwrite(fd, _ZEROS[: min(_STEP, end - at)], at)
        at += step
        told(step)
    return at


@contextlib.contextmanager
def directly(fd: int) -> Iterator[None]:
    """Read and write past the page cache while the block runs (open(2), O_DIRECT), where the file system does
    that; a block of which it refuses a step (EINVAL) ends there, to go on in the other way."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        with contextlib.suppress(OSError):  # tmpfs of older kernels does not
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def flush_overwritten(fds: Sequence[int]) -> None:
    """Put the zeros that `overwrite` wrote over files, in place, on their devices.

    On ext4 the writes of all are begun, then waited for, and the device's own cache is flushed once, not
    once a file: a flush takes as long as zeros over a megabyte. sync_file_range(2) puts content alone on the
    device, which is all where a file had its blocks before.
    """
    by_device: dict[int, list[int]] = {}
    for fd in fds:
        by_device.setdefault(os.fstat(fd).st_dev, []).append(fd)
    for same in by_device.values():
        alone = same
        if filesystem(same[0]).kind == "ext4":
            for how in (_RANGE_WRITE, _RANGE_WRITE | _RANGE_WAIT_BEFORE | _RANGE_WAIT_AFTER):
                for fd in same:
                    _sync_content(fd, how)
            alone = same[-1:]
        for fd in alone:
            os.fdatasync(fd)  # the times do not matter


_RANGE_WAIT_BEFORE, _RANGE_WRITE, _RANGE_WAIT_AFTER = 1, 2, 4  # uapi/linux/fs.h


def _sync_content(fd: int, how: int) -> None:
    if _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), how) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _data_ranges(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of [start, end) that are not holes (lseek(2), SEEK_DATA)."""
    end = min(end, os.fstat(fd).st_size)
    while start < end:
        try:
            low = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            if error.errno != errno.EINVAL:
                raise
            low, high = start, end
        else:
            high = os.lseek(fd, low, os.SEEK_HOLE)
        if low >= end:
            return
        yield low, min(high, end)
        start = high


def overwrite_rest(fd: int, *, on_bytes: Callable[[int], None] | None = None) -> int:
    """Write zeros over what `overwrite` leaves of a file's blocks, and return how many.

    That is what was preallocated and never written, in the file and behind its end, and the rest of its last
    block: the blocks hold what was in them before the file had them. The file may grow by it, so this is
    for one that is about to be unlinked. Nothing is done where the file system cannot say what blocks it has.
    """
    written = 0
    for low, high in list(_unwritten_ranges(fd, os.fstat(fd).st_size)):
        for at in range(low, high, _STEP):
            size = min(_STEP, high - at)
            _pwrite_all(fd, size, at)
            written += size
            if on_bytes is not None:
                on_bytes(size)
    return written


def _pwrite_all(fd: int, size: int, at: int) -> None:
    while size:
        step = os.pwrite(fd, _ZEROS[:size], at)
        size, at = size - step, at + step


def _unwritten_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    for start, length, flags in _mapped(fd, 0):
        if flags & _EXTENT_IN_METADATA:
            continue
        low = start if flags & _EXTENT_UNWRITTEN else max(start, size)
        if low < start + length:
            yield low, start + length


def discard_file(dirfd: int, name: bytes) -> None:
    """Overwrite and unlink a file of our own making, which nobody else knows, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd)
        try:
            overwrite(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
            os.unlink(name, dir_fd=dirfd)


def destroy_file(
    dirfd: int,
    name: bytes,
    fd: int,
    *,
    tombstone: str,
    on_bytes: Callable[[int], None] | None = None,
    zero: bool = True,
) -> int:
    """Rename to `tombstone`, overwrite with zeros, unlink; durable after each step.

    `fd` is the file opened for writing. Safe to repeat after a kill with the same `tombstone` (give
    the tombstone as `name` where the rename has happened). `zero=False` where zeros would land elsewhere
    than on the content (copy on write), and only cost space. Returns the bytes given back
    (st_blocks · 512). Raises `DriftError`, with nothing changed, where `name` is no longer this file.
    """
    info = os.fstat(fd)
    if bury(dirfd, name, fd, tombstone):
        os.fsync(dirfd)
    if zero:
        overwrite(fd, info.st_size, on_bytes=on_bytes)
        overwrite_rest(fd, on_bytes=on_bytes)
        os.fsync(fd)
    if overwrite_user_xattrs(fd):
        syncfs(fd)
    drop_user_xattrs(fd)
    os.unlink(tombstone.encode(), dir_fd=dirfd)
    os.fsync(dirfd)
    return int(info.st_blocks) * 512 if info.st_nlink == 1 else 0


def bury(dirfd: int, name: bytes, fd: int, tombstone: str) -> bool:
    """Rename an open file to its tombstone, if it is not yet; whether it was renamed (fsync `dirfd` then).

    Raises:
        DriftError: `name` is no longer this file; nothing was changed.
    """
    info, at = os.fstat(fd), os.stat(name, dir_fd=dirfd, follow_symlinks=False)
    if (at.st_dev, at.st_ino) != (info.st_dev, info.st_ino):
        raise DriftError("a file was replaced by another while it was being erased", hint="seal again")
    if name == tombstone.encode():
        return False
    rename_new(dirfd, name, tombstone.encode())
    return True


def overwrite_user_xattrs(fd: int) -> bool:
    """Put zeros into extended attributes of the user namespace; whether there are any.

    They can name people or where a file came from, and what is only removed stays in its block. That
    block must be on its device before it is freed, which takes a `syncfs`: fsync only writes the journal.
    """
    names = _user_xattrs(fd)
    for name in names:
        with contextlib.suppress(
            OSError
        ):  # no room for a second value for a moment: it is removed all the same
            os.setxattr(fd, name, bytes(len(os.getxattr(fd, name))), os.XATTR_REPLACE)
    return bool(names)


def drop_user_xattrs(fd: int) -> None:
    """Remove extended attributes in the user namespace."""
    for name in _user_xattrs(fd):
        os.removexattr(fd, name)


def _user_xattrs(fd: int) -> list[str]:
    try:
        return [name for name in os.listxattr(fd) if name.startswith("user.")]
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return []


_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2


def exchange(dirfd: int, a: bytes, b: bytes) -> None:
    """Swap two names of one directory atomically (renameat2(2), RENAME_EXCHANGE)."""
    _renameat2(dirfd, a, b, _RENAME_EXCHANGE)


def rename_new(dirfd: int, old: bytes, new: bytes) -> None:
    """Rename within one directory; `FileExistsError` where `new` is taken, and nothing changes."""
    try:
        _renameat2(dirfd, old, new, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):  # not every file system knows the flag
            raise
        _absent(dirfd, new)
        os.rename(old, new, src_dir_fd=dirfd, dst_dir_fd=dirfd)


def _absent(dirfd: int, name: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=dirfd, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, "the new name is taken")


def _renameat2(dirfd: int, old: bytes, new: bytes, flags: int) -> None:
    if _libc.renameat2(dirfd, ctypes.c_char_p(old), dirfd, ctypes.c_char_p(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


# --- who else has it ------------------------------------------------------------------------


class Lease:
    """A write lease on an open file; true while nobody else has the file open or tries to."""

    __slots__ = ("_fd", "_taken")

    def __init__(self, fd: int, taken: bool) -> None:
        self._fd = fd
        self._taken = taken

    def __bool__(self) -> bool:
        return self._taken and fcntl.fcntl(self._fd, fcntl.F_GETLEASE) == fcntl.F_WRLCK


@contextlib.contextmanager
def write_lease(fd: int) -> Iterator[Lease]:
    """Keep others from opening a file while the block runs (fcntl(2), F_SETLEASE).

    Yields a `Lease`: false where the file system has no leases or the file is another user's, and
    false from the moment somebody tried to open it (they wait, at most /proc/sys/fs/lease-break-time
    seconds). `fd` must be the only open description of the file. Do not open the file again inside.

    Raises:
        TransientStoreError: the file is open by another process.
    """
    lease = Lease(fd, _take_lease(fd))
    try:
        yield lease
    finally:
        if lease._taken:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


_F_SETSIG = 10


def _take_lease(fd: int) -> bool:
    try:
        _set_lease(fd, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise TransientStoreError(
                "a file is open by another process", hint="stop the program that uses it, then run again"
            ) from None
        if error.errno in _NO_LEASES:
            return False
        raise
    return True


def unwritten(fd: int) -> bool:
    """Whether nobody has a file open for writing at this moment, or mapped for it: a read lease is had only
    then (fcntl(2), F_SETLEASE), and given back at once. False too where that cannot be known: another user's
    file, a file system without leases. `fd` must be open for reading alone."""
    try:
        _set_lease(fd, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, *_NO_LEASES):
            return False
        raise
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


_NO_LEASES = (errno.EINVAL, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def _set_lease(fd: int, kind: int) -> None:
    fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)  # ignored by default, unlike SIGIO
    fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)


_FS_IOC_FIEMAP = 0xC020660B
_FIEMAP_FLAG_SYNC = 1
_EXTENT_LAST, _EXTENT_SHARED, _EXTENT_UNWRITTEN = 0x0001, 0x2000, 0x0800
_EXTENT_IN_METADATA = 0x0200 | 0x0002 | 0x0004  # inline, unknown, not yet allocated: no block to write to
_FIEMAP_HEADER, _FIEMAP_EXTENT = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL")
_EXTENTS_A_CALL = 128


def reflinked(fd: int) -> bool:
    """Whether blocks of the file are shared with another file or a snapshot. False where the file system
    cannot say."""
    return any(flags & _EXTENT_SHARED for _, _, flags in _mapped(fd, _FIEMAP_FLAG_SYNC))


def _mapped(fd: int, how: int) -> Iterator[tuple[int, int, int]]:
    """(start, length, flags) of the extents of a file; none where the file system cannot say."""
    try:
        for logical, _, length, flags in fiemap(fd, how):
            yield logical, length, flags
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def fiemap(fd: int, how: int = _FIEMAP_FLAG_SYNC) -> Iterator[tuple[int, int, int, int]]:
    """(logical, physical, length, flags) of the extents of an open file, in bytes and order of the file.

    FIEMAP, kernel Documentation/filesystems/fiemap.rst. Raises `OSError` (EOPNOTSUPP, ENOTTY) where the file
    system does not say.
    """
    start = 0
    while True:
        header = _FIEMAP_HEADER.pack(start, (1 << 64) - 1 - start, how, 0, _EXTENTS_A_CALL, 0)
        buffer = bytearray(header + bytes(_FIEMAP_EXTENT.size * _EXTENTS_A_CALL))
        fcntl.ioctl(fd, _FS_IOC_FIEMAP, buffer)
        mapped = _FIEMAP_HEADER.unpack_from(buffer)[3]
        for index in range(mapped):
            extent = _FIEMAP_EXTENT.unpack_from(buffer, _FIEMAP_HEADER.size + index * _FIEMAP_EXTENT.size)
            yield extent[0], extent[1], extent[2], extent[5]
            if extent[5] & _EXTENT_LAST:
                return
            start = extent[0] + extent[2]
        if mapped < _EXTENTS_A_CALL:
            return


# --- what the file system does with a change ------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What overwriting and unlinking mean where a file lives.

    `overwrites_in_place`: zeros written over a file land on the blocks that held its content.
    `layered`: a file of a lower layer, or of whatever serves the mount, can live on unseen after unlink,
    so that unlinking makes content unreachable but shows nothing more. `why_not` is empty or a
    clause that explains a false `overwrites_in_place`.
    """

    kind: str
    overwrites_in_place: bool
    why_not: str = ""
    layered: bool = False


NOTING = ("ext2", "ext3", "ext4", "xfs", "btrfs")
"""Kinds on which whoever changes a file moves its times, also through a mapping that was read first, and on
which a lease speaks for everybody: tmpfs does not, and a server's or another machine's files do not."""

WIPED = ("ext4", "xfs")
"""Kinds whose free blocks, names and journals can be wiped as well (docs/stores/volumes.md)."""

_COW = "copies on write, so that old blocks and snapshots keep the content"
_NETWORK = "is served over a network, and the server decides where bytes go"
_KINDS = {
    0xEF53: FileSystem("ext4", True),
    0x58465342: FileSystem("xfs", True),
    0x4D44: FileSystem("vfat", True),
    0x2011BAB0: FileSystem("exfat", True),
    0x01021994: FileSystem("tmpfs", False, "lives in memory, whose pages may have been swapped out"),
    0x858458F6: FileSystem("ramfs", True),
    0x9123683E: FileSystem("btrfs", False, _COW),
    0x2FC12FC1: FileSystem("zfs", False, _COW),
    0xCA451A4E: FileSystem("bcachefs", False, _COW),
    0xF2F52010: FileSystem("f2fs", False, "writes to a log, so that old blocks keep the content"),
    0x3434: FileSystem("nilfs2", False, _COW),
    0x6969: FileSystem("nfs", False, _NETWORK),
    0xFF534D42: FileSystem("cifs", False, _NETWORK),
    0xFE534D42: FileSystem("smb2", False, _NETWORK),
    0x00C36400: FileSystem("ceph", False, _NETWORK),
    0x01021997: FileSystem("9p", False, _NETWORK, layered=True),
    0x794C7630: FileSystem("overlay", False, "keeps files of its lower layers unchanged", layered=True),
    0x61756673: FileSystem("aufs", False, "keeps files of its lower layers unchanged", layered=True),
    0x65735546: FileSystem("fuse", False, "is served by a program that decides where bytes go", layered=True),
}


def filesystem(fd: int) -> FileSystem:
    """The file system of an open file, by its magic number (statfs(2)) and its mount options."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(fd, buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    magic = struct.unpack_from("=L", buffer.raw)[0]
    kind, options = _mount(os.fstat(fd).st_dev)
    found = _KINDS.get(magic)
    if found is None:
        name = kind or f"0x{magic:x}"
        return FileSystem(name, False, "is not one whose writes in place are known", layered=True)
    if magic == 0xEF53 and "data=journal" in options:
        return FileSystem(kind or "ext4", False, "journals data, so that its journal keeps older content")
    if magic == 0xEF53 and kind in ("ext2", "ext3"):
        return FileSystem(kind, True)
    return found


def _mount(device: int) -> tuple[str, frozenset[str]]:
    """Type and super-block options of the mount with this device (proc(5), mountinfo)."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", frozenset()
    for line in lines:
        fields = line.split(" ")
        if len(fields) > 6 and fields[2] == wanted and "-" in fields:
            kind, _, options = fields[fields.index("-") + 1 :][:3]
            return kind, frozenset(options.split(","))
    return "", frozenset()
