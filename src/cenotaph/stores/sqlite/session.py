"""The one connection that changes a database: alone, leaving nothing behind in journals and logs.

What surprised the author: deleting writes what it deletes into the rollback journal, so that
`secure_delete` alone cleans the database and leaves every row beside it; and a database in WAL mode
needs no change of mode, since its log holds pages as they became, not as they were: after a
checkpoint the log is overwritten while the lock still keeps everybody out.
"""

from __future__ import annotations

import os
import stat

from cenotaph.durable import overwrite
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.stores.sqlite.database import Connection, Place, driver_errors, in_wal_mode

JOURNAL, LOG = b"-journal", b"-wal"


class Session:
    """An exclusive connection. Opening it changes nothing but what SQLite's own recovery does."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.overwritten = 0
        self._locked = False
        if not place.exists():
            raise PermanentStoreError("the database is not there")
        if os.lstat(place.beside()).st_nlink > 1:
            raise PermanentStoreError(
                "the database has a second name (a hard link), whose owner did not ask for this",
                hint="remove the other name, or make it a copy of its own",
            )
        # held from before SQLite can recover a journal or log, and unlink it with its content
        self._kept = [fd for suffix in (JOURNAL, LOG) if (fd := _open(place.beside(suffix))) is not None]
        try:
            self.wal = in_wal_mode(place)
            self._link = Connection(place, "mode=rw")
        except BaseException:
            self._drop_kept()
            raise
        self.db = self._link.db
        try:
            with driver_errors("the database"):
                self._settings()
        except BaseException:
            self._link.close()
            self._drop_kept()
            raise

    def lock(self) -> None:
        """Begin a transaction that nobody else can read or write beside.

        Raises:
            TransientStoreError: somebody else uses the database.
        """
        with driver_errors("the database"):
            self.db.execute("BEGIN EXCLUSIVE")
        self._locked = True

    def commit(self) -> None:
        """End the transaction; the lock stays until `close` (locking_mode=EXCLUSIVE)."""
        with driver_errors("the database"):
            self.db.execute("COMMIT")

    def abandon(self) -> None:
        """Undo whatever the open transaction did, if one is open."""
        if self.db.in_transaction:
            with driver_errors("the database"):
                self.db.execute("ROLLBACK")

    def settle(self) -> None:
        """Overwrite what journals and logs keep of committed changes. Between transactions only."""
        with driver_errors("the database"):
            if self.wal:
                self._checkpoint()
            for fd in self._kept:
                self.overwritten += overwrite(fd, os.fstat(fd).st_size)
            self._drop_kept()
            self._overwrite(LOG if self.wal else JOURNAL)
            if self.wal:  # the next frame must start the log anew, not follow on zeros
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Give the lock back. The journal, by now nothing but zeros, goes with it."""
        try:
            self.abandon()
            if self._locked and not self.wal:
                _unlink_zeros(self.place.beside(JOURNAL))
        finally:
            self._link.close()
            self._drop_kept()

    def _settings(self) -> None:
        """None of these reads the database, but `wal_autocheckpoint` and `journal_mode` where they say."""
        for setting in (
            "locking_mode=EXCLUSIVE",  # before the first read: the index of a log then stays in memory
            "temp_store=MEMORY",  # sorting must not write rows to temporary files
            "trusted_schema=OFF",
            "foreign_keys=OFF",  # a cascade would delete, or copy, what nobody approved
            "synchronous=FULL",
            "secure_delete=ON",
            "wal_autocheckpoint=0",
        ):
            self.db.execute(f"PRAGMA {setting}").fetchall()
        if not self.wal:  # a journal is then never unlinked with its content, but ended by a zeroed header
            self.db.execute("PRAGMA journal_mode=PERSIST").fetchall()

    def _checkpoint(self) -> None:
        busy, frames, moved = self.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        if busy or frames != moved:
            raise TransientStoreError("the database's log is in use by another process", hint="run again")

    def _overwrite(self, suffix: bytes) -> None:
        fd = _open(self.place.beside(suffix))
        if fd is None:
            return
        try:
            self.overwritten += overwrite(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def _drop_kept(self) -> None:
        while self._kept:
            os.close(self._kept.pop())


def _open(path: bytes) -> int | None:
    """A journal or log for writing. SQLite locks neither, so closing it drops no lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise PermanentStoreError("the database's journal or log is not a regular file")


def _unlink_zeros(path: bytes) -> None:
    """Remove an ended journal that was overwritten; leave any other to SQLite."""
    fd = _open(path)
    if fd is None:
        return
    try:
        while block := os.read(fd, 1 << 20):
            if block.count(0) != len(block):
                return
    finally:
        os.close(fd)
    os.unlink(path)
