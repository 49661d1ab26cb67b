"""Opening a SQLite database without disturbing it, and what its errors mean.

What surprised the author: closing *any* descriptor of a file drops all POSIX locks that the process
has on it, those of SQLite's own connections included (https://www.sqlite.org/howtocorrupt.html, § 2.2),
so descriptors opened beside a live connection are parked until it closes; and a read-only connection
still creates -wal and -shm files beside a database in WAL mode.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import quote as quote_uri

from cenotaph.durable import TOMBSTONE_PREFIX, is_tombstone, letters, tombstone_name
from cenotaph.errors import PermanentStoreError, StoreError, TransientStoreError, UsageError

BUSY_SECONDS = 5.0
SUFFIXES = (b"-journal", b"-wal", b"-shm")
"""Of the files that SQLite itself puts beside a database (https://www.sqlite.org/tempfiles.html)."""

_NEEDED = (3, 37, 0)  # pragma_table_list, which tells shadow tables from tables


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database lives: its directory and its name there, as bytes."""

    directory: bytes = field(repr=False)
    name: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Place:
        """From `sqlite:/abs/path.db`.

        Raises:
            UsageError: another scheme, a path that is not absolute, or a SQLite too old to read with.
        """
        scheme, _, path = url.partition(":")
        if scheme != "sqlite" or not path.startswith("/") or path.endswith("/"):
            raise UsageError("the store's URL is not sqlite: and the absolute path of a file")
        if sqlite3.sqlite_version_info < _NEEDED:
            raise UsageError(
                f"SQLite {sqlite3.sqlite_version} is too old", hint="SQLite 3.37 or later is needed"
            )
        directory, _, name = os.fsencode(path).rpartition(b"/")
        return cls(os.path.realpath(directory or b"/"), name)

    def beside(self, suffix: bytes = b"") -> bytes:
        """The path of the database, or of a file that has its name and a suffix."""
        return os.path.join(self.directory, self.name + suffix)

    def uri(self, parameters: str) -> str:
        return f"file:{quote_uri(self.beside())}?{parameters}"

    def exists(self) -> bool:
        """Whether the database is there.

        Raises:
            PermanentStoreError: something is there that is not a regular file.
        """
        try:
            info = os.lstat(self.beside())
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(info.st_mode):
            raise PermanentStoreError("the database is a symbolic link or not a file; name the file itself")
        return True

    def holds(self, suffix: bytes) -> bool:
        """Whether a file with this suffix is there and not empty."""
        try:
            return os.lstat(self.beside(suffix)).st_size > 0
        except FileNotFoundError:
            return False

    def siblings(self) -> list[bytes]:
        """Names of other regular files that begin with the database's name: copies, most likely."""
        own = {self.name, *(self.name + suffix for suffix in SUFFIXES)}
        with os.scandir(self.directory) as entries:
            found = [
                e.name for e in entries if e.name.startswith(self.name) and e.is_file(follow_symlinks=False)
            ]
        return sorted(name for name in found if name not in own)

    def tombstone(self) -> str:
        """A fresh tombstone name that a later run can tell from those of other databases."""
        return TOMBSTONE_PREFIX.decode() + self._mark() + tombstone_name()[-12:]

    def tombstones(self) -> list[bytes]:
        """What a killed run on this database left: half-made rebuilds, files half overwritten."""
        mark = TOMBSTONE_PREFIX + self._mark().encode()
        with os.scandir(self.directory) as entries:
            return sorted(e.name for e in entries if is_tombstone(e.name) and e.name.startswith(mark))

    def _mark(self) -> str:
        # keyed with the directory, so that the same name elsewhere gets another mark
        info = os.stat(self.directory)
        key = b"%d %d" % (info.st_dev, info.st_ino)
        return letters(hashlib.blake2b(self.name, key=key, digest_size=6).hexdigest())


def in_wal_mode(place: Place) -> bool:
    """By the file's header (file format, § 1.3.3); false for an empty or a short file."""
    with open_apart(place.beside()) as stream:
        return stream.read(20)[18:20] == b"\x02\x02"


def connect_reader(place: Place) -> tuple[Connection, bool]:
    """A connection that cannot change the database, in a read transaction; and whether it takes no locks.

    A database in WAL mode that has no -wal file is complete in itself and is opened as immutable,
    since any other way of opening it creates files. The caller compares `fingerprint`s.
    """
    immutable = in_wal_mode(place) and not place.holds(b"-wal") and not place.holds(b"-shm")
    link = Connection(place, "mode=ro&immutable=1" if immutable else "mode=ro")
    try:
        with driver_errors("the database"):
            link.db.execute("PRAGMA trusted_schema=OFF")
            link.db.execute("PRAGMA query_only=ON")
            link.db.execute("PRAGMA temp_store=MEMORY")  # sorting must not write rows to temporary files
            link.db.execute("BEGIN")
            link.db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        link.close()
        raise
    return link, immutable


class Connection:
    """A `sqlite3.Connection` that is counted, so that descriptors beside it are closed after it."""

    def __init__(self, place: Place, parameters: str) -> None:
        self._file = _identity(os.lstat(place.beside()))
        with _guard:
            _live[self._file] = _live.get(self._file, 0) + 1
        try:
            with driver_errors("the database"):
                self.db = sqlite3.connect(
                    place.uri(parameters), uri=True, timeout=BUSY_SECONDS, isolation_level=None
                )
        except BaseException:
            self._gone()
            raise
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            self.db.close()
            self._gone()

    def _gone(self) -> None:
        with _guard:
            _live[self._file] -= 1
            if not _live[self._file]:
                del _live[self._file]
                for fd in _parked.pop(self._file, []):
                    os.close(fd)


def open_apart(path: bytes) -> BinaryIO:
    """Open a file for reading beside whatever connections this process has to it."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return io.BufferedReader(_Apart(fd))


def close_apart(fd: int) -> None:
    """Close a descriptor now, or when the last connection of this process to its file closes."""
    file = _identity(os.fstat(fd))
    with _guard:
        if file in _live:
            _parked.setdefault(file, []).append(fd)
            return
    os.close(fd)


def fingerprint(fd: int) -> tuple[int | bytes, ...]:
    """What moves when somebody writes: size, times and the file change counter (§ 1.3.5)."""
    info = os.fstat(fd)
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, os.pread(fd, 4, 24))


def last_write(place: Place) -> str:
    """The file change counter and the times and sizes of the database and its log."""
    with open_apart(place.beside()) as stream:
        info, counter = os.fstat(stream.fileno()), int.from_bytes(stream.read(28)[24:28], "big")
    text = f"change {counter} size {info.st_size} time {info.st_mtime_ns}"
    if place.holds(b"-wal"):
        log = os.lstat(place.beside(b"-wal"))
        text += f" log {log.st_size} time {log.st_mtime_ns}"
    return text


@contextlib.contextmanager
def driver_errors(what: str) -> Iterator[None]:
    """Give an error of the driver or the system its meaning; its text may quote data, or a path, and
    goes no further."""
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, what) from None
    except OSError as error:
        raise _system_meaning(error, what) from None


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


_guard = threading.Lock()
_live: dict[tuple[int, int], int] = {}
_parked: dict[tuple[int, int], list[int]] = {}


class _Apart(io.FileIO):
    def __init__(self, fd: int) -> None:
        super().__init__(fd, "rb", closefd=False)

    def close(self) -> None:
        if not self.closed:
            fd = self.fileno()
            super().close()
            close_apart(fd)


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


_READONLY_ROLLBACK, _READONLY_RECOVERY, _READONLY_CANTINIT = 776, 264, 1288
_CUT_OFF = (_READONLY_ROLLBACK, _READONLY_RECOVERY, _READONLY_CANTINIT)


def _system_meaning(error: OSError, what: str) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TransientStoreError(
            f"{what} could not be changed: no space left on the volume", hint="make room, then run again"
        )
    if error.errno in (errno.EIO, errno.EINTR, errno.EAGAIN):
        return TransientStoreError(f"{what} could not be read or written ({os.strerror(error.errno)})")
    reason = os.strerror(error.errno) if error.errno else "no reason given"
    return PermanentStoreError(f"{what} cannot be opened or written ({reason})")


def _meaning(error: sqlite3.Error, what: str) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return PermanentStoreError(f"{what} cannot be read: {type(error).__name__}")
    if code in _CUT_OFF:
        return TransientStoreError(
            f"{what} has a transaction that was cut off, and reading must not change it",
            hint="open it once with its own application, so that it recovers; then run again",
        )
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return TransientStoreError(
                f"{what} is locked by another process",
                hint="stop the application that uses it, then run again",
            )
        case sqlite3.SQLITE_CORRUPT:
            return PermanentStoreError(f"{what} is corrupt: SQLite cannot read all of it")
        case sqlite3.SQLITE_NOTADB:
            return PermanentStoreError("the file is not a SQLite database, or it is encrypted")
        case sqlite3.SQLITE_FULL:
            return TransientStoreError(
                f"{what} could not be changed: no space left on the volume", hint="make room, then run again"
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM:
            return TransientStoreError(f"{what} could not be read or written ({error.sqlite_errorname})")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH | sqlite3.SQLITE_READONLY:
            return PermanentStoreError(f"{what} cannot be opened or written ({error.sqlite_errorname})")
    return PermanentStoreError(f"{what} cannot be processed by this SQLite ({error.sqlite_errorname})")
