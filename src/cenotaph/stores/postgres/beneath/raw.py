"""The server's files, for the probe, where this process may read them.

What surprised the author: a standby and a restored base backup have their primary's system identifier, and
a port may be forwarded, so that a data directory of the right name and identity can be another server's;
what tells them apart is when the server that answers was started.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from cenotaph.durable import WIPED, Beneath, filesystem
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.scope import Selection
from cenotaph.store import NOTHING_AROUND, Capabilities, Extent, Grade, Ranges, Surroundings
from cenotaph.stores.postgres.beneath import staying
from cenotaph.stores.postgres.beneath.staying import OpenSession
from cenotaph.stores.postgres.catalog import views
from cenotaph.stores.postgres.catalog.schema import Schema
from cenotaph.stores.postgres.session import Session

_NONE: Ranges = np.zeros((0, 2), dtype=np.int64)
_LOOPBACK = ("127.", "::1")
_STARTS_WITHIN = 10  # seconds between the process's start, which it writes down, and the server's
_KINDS = {
    "base": "relation",
    "global": "relation",
    "pg_tblspc": "relation",
    "pg_wal": "wal",
    "pg_stat": "statistics",
    "pg_stat_tmp": "statistics",
    "pg_replslot": "replication slot",
    "pg_twophase": "prepared transaction",
    "pgsql_tmp": "temporary file",
    "log": "server log",
}


def capabilities(session: Session, around: Surroundings = NOTHING_AROUND) -> Capabilities:
    """What can be reached from here."""
    place = data_directory(session, around)
    if isinstance(place, NoAccess):
        return Capabilities(Grade.L1, f"no file access: {place.why}")
    able = of_folder(place)
    if able.grade < Grade.L3:
        return able
    if around.data_dir is None:
        return Capabilities(Grade.L2, "the case does not say where the server lies (data_dir)")
    with _files():
        if len({os.stat(top).st_dev for top, _ in _tops(place, session)}) > 1:
            return Capabilities(Grade.L2, "a part of the server lies on another volume")
    return able


def of_folder(place: str) -> Capabilities:
    """What can be reached where a folder lies."""
    with _files(), Beneath(os.fsencode(place)) as directory:
        kind = filesystem(directory.fd)
    if kind.layered:
        return Capabilities(Grade.L1, f"the file system {kind.kind} {kind.why_not}")
    if not kind.overwrites_in_place:
        return Capabilities(Grade.L2, f"the file system {kind.kind} {kind.why_not}")
    if kind.kind not in WIPED:
        return Capabilities(Grade.L2, f"free blocks of the file system {kind.kind} are not wiped")
    return Capabilities(Grade.L3, "the medium beneath the volume is not reached")


class NoAccess(NamedTuple):
    """Why the server's files cannot be read from here."""

    why: str


def data_directory(session: Session, around: Surroundings = NOTHING_AROUND) -> str | NoAccess:
    """The data directory of the server that answers, if it is certain and can be read: the one that the
    case names, or the one that the server does."""
    if not session.host.startswith(("/", "@", *_LOOPBACK)):
        return NoAccess("the server is on another machine")
    found = session.rows("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    if not session.one("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')") or not (
        found or around.data_dir
    ):
        return NoAccess("this role may not know where the files are (GRANT pg_monitor)")
    place = around.data_dir or str(found[0][0])
    identifier, port, started = session.rows(
        "SELECT system_identifier, current_setting('port'),"
        " extract(epoch FROM pg_postmaster_start_time())::int8 FROM pg_control_system()"
    )[0]
    try:
        with open(os.path.join(place, "global/pg_control"), "rb") as control:
            here = int.from_bytes(control.read(8), "little", signed=True)
        with open(os.path.join(place, "postmaster.pid"), encoding="ascii", errors="replace") as running:
            lines = running.read(4096).splitlines()
    except OSError:
        return NoAccess("the files are not on this machine, or may not be read by this user")
    born = lines[2] if len(lines) > 3 and lines[2].isdecimal() else "0"
    if here != identifier or lines[3:4] != [port] or not 0 <= started - int(born) <= _STARTS_WITHIN:
        return NoAccess("the files at the server's data directory are another server's")
    return place


def extents(
    session: Session,
    opened: OpenSession,
    schema: Schema,
    selection: Selection,
    around: Surroundings = NOTHING_AROUND,
) -> Iterator[Extent]:
    """Every file of the server, in the order of their paths; none without file access.

    `opened` gives more sessions like this one, which stays in its transaction.
    """
    place = data_directory(session, around)
    if isinstance(place, NoAccess):
        return
    kept = _Kept(session, schema, selection)
    with _files():
        parts = staying.ranges(session, opened, schema, selection, place)
        for path, name in sorted(_walk(place, session)):
            try:
                info = os.lstat(path)
            except FileNotFoundError:  # a segment was recycled, a table dropped
                continue
            if stat.S_ISREG(info.st_mode):
                ranges = _whole(info.st_size) if kept.covers(name) else parts.get(name, _NONE)
                yield Extent(_kind(name), path, info.st_size, functools.partial(_open, path), ranges)


def remains(around: Surroundings) -> Iterator[Extent]:
    """Every file that is left at the directory of a server that is gone."""
    with _files():
        for folder, _, names in os.walk(around.data_dir or "", onerror=_raise):
            for name in sorted(names):
                path = os.path.join(folder, name)
                info = os.lstat(path)
                if stat.S_ISREG(info.st_mode):
                    yield Extent("server file", path, info.st_size, functools.partial(_open, path), _NONE)


def _tops(place: str, session: Session) -> list[tuple[str, str]]:
    """The folders in which the server's files lie, each with what the server calls it."""
    links = [(place, "")]
    wal = os.path.join(place, "pg_wal")
    links += [(wal, "pg_wal")] if os.path.islink(wal) else []
    spaces = os.path.join(place, "pg_tblspc")
    links += [
        (path, f"pg_tblspc/{name}")
        for name in sorted(os.listdir(spaces))  # noqa: PTH208
        if os.path.islink(path := os.path.join(spaces, name))
    ]
    for (logs,) in session.rows("SELECT setting FROM pg_settings WHERE name = 'log_directory'"):
        if os.path.isabs(logs) and not logs.startswith(place.rstrip("/") + "/") and os.path.isdir(logs):
            links.append((logs, "log"))
    return links


def _walk(place: str, session: Session) -> Iterator[tuple[str, str]]:
    """Each file: its path, and its path as the server calls it, beneath the data directory."""
    for top, called in _tops(place, session):
        for folder, _, names in os.walk(os.path.realpath(top), onerror=_raise):
            beneath = os.path.join(called, os.path.relpath(folder, os.path.realpath(top)))
            for name in names:
                yield os.path.join(folder, name), os.path.normpath(os.path.join(beneath, name))


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _kind(name: str) -> str:
    parts = name.split("/")
    if "pgsql_tmp" in parts:
        return _KINDS["pgsql_tmp"]
    return _KINDS.get(parts[0], "server file")


def _open(path: str) -> BinaryIO:
    with _files():
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return os.fdopen(fd, "rb")


def _whole(length: int) -> Ranges:
    return np.array([[0, length]], dtype=np.int64) if length else _NONE


class _Kept:
    """Files that hold nothing but what stays: tables out of scope, and other databases."""

    def __init__(self, session: Session, schema: Schema, selection: Selection) -> None:
        self._database = str(
            session.one("SELECT oid::int8 FROM pg_database WHERE datname = current_database()")
        )
        staying = [table.oid for table in schema.tables if not selection.includes(table.name)]
        staying += views.apart(session, schema, selection)
        self._relations = {path for (path,) in session.rows(_PATHS, staying)}

    def covers(self, name: str) -> bool:
        parts = name.split("/")
        if parts[0] == "base" and len(parts) == 3:
            database = parts[1]
        elif parts[0] == "pg_tblspc" and len(parts) == 5:
            database = parts[3]
        else:
            return False
        if database.isdecimal() and database != self._database:
            return True
        relation = name.partition(".")[0]
        return relation.removesuffix("_fsm").removesuffix("_vm").removesuffix("_init") in self._relations


# A table, its indexes, its TOAST table and that one's index.
_PATHS = """
WITH heaps (oid) AS (
    SELECT unnest($1::int8[])::oid
    UNION ALL SELECT reltoastrelid FROM pg_class WHERE oid = ANY ($1::int8[]::oid[]) AND reltoastrelid <> 0
)
SELECT pg_relation_filepath(oid) FROM heaps
UNION ALL SELECT pg_relation_filepath(indexrelid) FROM pg_index JOIN heaps ON heaps.oid = indrelid
"""


@contextlib.contextmanager
def _files() -> Iterator[None]:
    """Errors of the system, without the path that they quote."""
    try:
        yield
    except FileNotFoundError:
        raise TransientStoreError("a file of the server went while it was read", hint="run again") from None
    except OSError:
        raise PermanentStoreError(
            "a file of the server cannot be read", hint="run as the server's user, or as root"
        ) from None
