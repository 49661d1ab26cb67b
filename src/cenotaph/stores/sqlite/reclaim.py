"""The bytes of a SQLite database after its rows: the whole file goes, or what stays moves to a new file.

What surprised the author: VACUUM gives new rowids to tables without an INTEGER PRIMARY KEY and leaves
its copy in a temporary file; VACUUM INTO keeps rowids and writes where it is told
(https://www.sqlite.org/lang_vacuum.html, § 2; a test holds it to that). The old file, with pages freed
years ago, is overwritten after the new one has taken its name.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from cenotaph.durable import Beneath, destroy_file, exchange, write_lease
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.scope import Selection
from cenotaph.store import Reclamation
from cenotaph.stores.sqlite import rows, schema
from cenotaph.stores.sqlite.database import (
    SUFFIXES,
    Connection,
    Place,
    close_apart,
    driver_errors,
    fingerprint,
    quoted,
)
from cenotaph.stores.sqlite.reader import capabilities
from cenotaph.stores.sqlite.session import Session

Step = Callable[[str], None]

STATISTICS = ("sqlite_stat1", "sqlite_stat3", "sqlite_stat4")


def run(session: Session, erased: Sequence[str], selection: Selection, step: Step) -> Reclamation:
    """Reclaim, and end the session."""
    place, reach = session.place, capabilities(session.place)
    done = _Done()
    fd = os.open(place.beside(), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            session.lock()
            with driver_errors("the database"):
                found = schema.read(session.db)
                _read_empty(session.db, found, erased, selection)
            session.commit()
            step("settle")
            session.settle()
            _destroy_tombstones(place, done)
            new = (
                None
                if _nothing_stays(found, erased, selection)
                else _rebuild(session, found, erased, selection, step)
            )
            before = fingerprint(fd)
            done.overwritten += session.overwritten
        finally:
            session.close()
        try:
            _replace(place, fd, before, new, done, step)
        finally:
            if new is not None:
                os.close(new.fd)
    finally:
        close_apart(fd)
    notes = ("rebuilt without the erased rows" if new else "destroyed the whole file",)
    return Reclamation(reach.grade, reach.why_not_higher, done.overwritten, done.freed, notes)


def leftovers(place: Place, step: Step) -> Reclamation:
    """Finish a run that was killed after it had destroyed the database itself."""
    reach, done = capabilities(place), _Done()
    step("leftovers")
    _destroy_tombstones(place, done)
    _destroy_beside(place, done)
    notes = ("the database was already gone",)
    return Reclamation(reach.grade, reach.why_not_higher, done.overwritten, done.freed, notes)


def nothing(place: Place) -> Reclamation:
    """No collection was erased: the file is left alone."""
    reach = capabilities(place)
    return Reclamation(reach.grade, reach.why_not_higher, 0, 0, ("nothing was erased",))


class _Done:
    """What was overwritten and given back so far."""

    def __init__(self) -> None:
        self.overwritten = 0
        self.freed = 0

    def overwrote(self, count: int) -> None:
        self.overwritten += count


class _New(NamedTuple):
    """The rebuilt database, complete and durable, under a tombstone's name. `fd` holds it against
    other runs, which destroy tombstones that nobody holds."""

    name: str
    fd: int


def _read_empty(
    db: sqlite3.Connection, found: schema.Schema, erased: Sequence[str], selection: Selection
) -> None:
    for name in erased:
        table = found.table(name)
        if table is None:
            continue
        if next(rows.selected(db, table, rows.Bounds(name), selection), None) is not None:
            raise PermanentStoreError(
                f"collection {found.ordinal(name)} has records again that were erased",
                hint="stop the application that writes them, seal again, and destroy again",
            )


def _nothing_stays(found: schema.Schema, erased: Sequence[str], selection: Selection) -> bool:
    """Whether every collection was erased whole; an index without text of its own must be in scope too."""
    whole = all(table.name in erased and selection.whole(table.name, table.names()) for table in found.tables)
    return (
        bool(found.tables)
        and whole
        and all(index.content or _covers(selection, index.name) for index in found.indexes)
    )


def _covers(selection: Selection, name: str) -> bool:
    """Whether a thing that has no rows to choose from is in scope, and nothing of it held."""
    return (
        selection.includes(name)
        and selection.rows is None
        and selection.subjects is None
        and not selection.holds
    )


# --- the rebuild


def _rebuild(
    session: Session, found: schema.Schema, erased: Sequence[str], selection: Selection, step: Step
) -> _New:
    step("clean")
    _clean(session, found, erased, selection)
    step("vacuum")
    name = session.place.tombstone()
    fd = os.open(
        os.path.join(session.place.directory, name.encode()),
        os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
        0o600,
    )
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        copy = Place(session.place.directory, name.encode())
        with driver_errors("the database"):
            session.db.execute("VACUUM INTO ?", (copy.uri("mode=rw"),))
        step("compare")
        _compare(session, copy)
        _finish(session, fd)
        step("rebuilt")
    except BaseException:
        os.close(fd)  # the next run destroys the file
        raise
    return _New(name, fd)


def _clean(session: Session, found: schema.Schema, erased: Sequence[str], selection: Selection) -> None:
    """Statistics and full-text indexes must not remember what is gone."""
    gone = [table for name in erased if (table := found.table(name)) is not None]
    session.lock()
    try:
        with driver_errors("the database"):
            present = {
                name for (name,) in session.db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            }
            for statistics in STATISTICS:
                if statistics in present:
                    described = [(part,) for table in gone for part in table.storage()]
                    session.db.executemany(
                        f"DELETE FROM {statistics} WHERE tbl = ? COLLATE NOCASE", described
                    )
            for name, command in _index_commands(found, gone, selection):
                session.db.execute(f"INSERT INTO {quoted(name)}({quoted(name)}) VALUES (?)", (command,))
        session.commit()
    except BaseException:
        session.abandon()
        raise
    session.settle()


def _index_commands(
    found: schema.Schema, gone: Sequence[schema.Table], selection: Selection
) -> Iterator[tuple[str, str]]:
    names = {table.name.lower() for table in gone}
    for table in gone:
        if table.full_text:
            yield table.name, "rebuild"
    for index in found.indexes:
        if index.content is None:
            if _covers(selection, index.name):
                yield index.name, "delete-all"
        elif index.content.lower() in names or index.content in found.views:
            yield index.name, "rebuild"


def _compare(session: Session, copy: Place) -> None:
    """Raises:
    PermanentStoreError: the rebuilt database does not hold exactly what the old one does.
    """
    other = Connection(copy, "mode=ro&immutable=1")
    try:
        with driver_errors("the rebuilt database"):
            for db in (session.db, other.db):
                db.text_factory = _Text  # bytes as stored, yet told apart from blobs
            if other.db.execute("PRAGMA integrity_check(1)").fetchone()[0] != b"ok":
                raise _differs()
            everything = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
            _same(session.db, other.db, everything)
            for pragma in ("application_id", "user_version", "encoding", "page_size", "auto_vacuum"):
                _same(session.db, other.db, f"PRAGMA {pragma}")
            for name in _stored_tables(session.db):
                _same(session.db, other.db, _every_row(session.db, name))
    finally:
        session.db.text_factory = str
        other.close()


class _Text(bytes):
    """Text as it is stored."""


def _same(one: sqlite3.Connection, other: sqlite3.Connection, sql: str) -> None:
    left, right = one.execute(sql), other.execute(sql)
    while True:
        ours, theirs = left.fetchmany(1000), right.fetchmany(1000)
        if ours != theirs or [[*map(type, row)] for row in ours] != [[*map(type, row)] for row in theirs]:
            raise _differs()
        if not ours:
            return


def _differs() -> PermanentStoreError:
    return PermanentStoreError(
        "the rebuilt database differs from the old one, which stays as it is",
        hint="run PRAGMA integrity_check on the database: its indexes may be damaged",
    )


def _stored_tables(db: sqlite3.Connection) -> list[str]:
    found = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name")
    return [bytes(name).decode() for (name,) in found]


def _every_row(db: sqlite3.Connection, name: str) -> str:
    """All stored columns with the rowid, in key order."""
    db.text_factory = str
    columns = schema.stored_columns(db, name)
    flag = db.execute(
        "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", (name,)
    ).fetchone()
    key = schema.key_of(db, name, columns, bool(flag and flag[0]))
    db.text_factory = _Text
    listed = ", ".join([*key, *(quoted(column.name) for column in columns)])
    return f"SELECT {listed} FROM {quoted(name)}" + (f" ORDER BY {', '.join(key)}" if key else "")


def _finish(session: Session, fd: int) -> None:
    """Mode, owner and journal mode of the old file; durable."""
    old = os.lstat(session.place.beside())
    if (old.st_uid, old.st_gid) != (os.fstat(fd).st_uid, os.fstat(fd).st_gid):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, old.st_mode & 0o7777)
    if session.wal:
        os.pwrite(fd, b"\x02\x02", 18)  # file format, § 1.3.3
    os.fsync(fd)


# --- names


def _replace(
    place: Place, fd: int, before: tuple[int | bytes, ...], new: _New | None, done: _Done, step: Step
) -> None:
    """Give the new file the name, if there is one, and destroy the old one while nobody has it open."""
    with Beneath(place.directory) as directory, write_lease(fd):
        if fingerprint(fd) != before or any(place.holds(suffix) for suffix in (b"-wal", b"-journal")):
            raise TransientStoreError(
                "the database was changed by another process just before it was replaced",
                hint="stop the application that uses it, then run again",
            )
        step("replace")
        if new is None:
            _destroy_beside(place, done)
            name, tombstone = place.name, place.tombstone()
        else:
            exchange(directory.fd, place.name, new.name.encode())
            os.fsync(directory.fd)
            name, tombstone = new.name.encode(), new.name
        step("destroy")
        done.freed += destroy_file(directory.fd, name, fd, tombstone=tombstone, on_bytes=done.overwrote)
        if new is not None:
            done.freed -= os.fstat(new.fd).st_blocks * 512


def _destroy_tombstones(place: Place, done: _Done) -> None:
    for name in place.tombstones():
        _destroy(place, name, name.decode(), done)


def _destroy_beside(place: Place, done: _Done) -> None:
    for suffix in SUFFIXES:
        _destroy(place, place.name + suffix, place.tombstone(), done)


def _destroy(place: Place, name: bytes, tombstone: str, done: _Done) -> None:
    with Beneath(place.directory) as directory:
        try:
            fd = directory.open(name, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            with _alone(fd):
                done.freed += destroy_file(
                    directory.fd, name, fd, tombstone=tombstone, on_bytes=done.overwrote
                )
        finally:
            os.close(fd)


@contextmanager
def _alone(fd: int) -> Iterator[None]:
    """Raises:
    TransientStoreError: another run holds the file.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TransientStoreError(
            "another run is at work on this database", hint="wait for it to end"
        ) from None
    with write_lease(fd):
        yield
