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
        parts = {os.stat(top).st_dev for top, name in _tops(place, session) if _has_rows(top, name)}
        if len(parts) > 1:
            return Capabilities(Grade.L2, "a part of the server lies on another volume")
    return able


def _has_rows(top: str, name: str) -> bool:
    """Not a file that lies beside the server's folders, such as a certificate or settings."""
    return os.path.isdir(top) or "/" in name


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
    told = [str(path) for (path,) in found]
    place = around.data_dir or told[0]
    server = _Running(
        *session.rows(
            "SELECT system_identifier, current_setting('port'),"
            " extract(epoch FROM pg_postmaster_start_time())::int8 FROM pg_control_system()"
        )[0]
    )
    try:
        its = server.has(place)
    except OSError:
        return NoAccess("the files are not on this machine, or may not be read by this user")
    if not its:
        return NoAccess("the files at the server's data directory are another server's")
    for other in (*told, f"/proc/{session.one('SELECT pg_backend_pid()')}/cwd"):
        # in a container the server may call it otherwise: what is there by that name need not be its own
        with contextlib.suppress(OSError):
            if not os.path.samefile(place, other) and server.has(other):
                return NoAccess("data_dir is a copy of the server's data directory")
    return place


class _Running(NamedTuple):
    """The server that answers."""

    identifier: int
    port: str
    started: int

    def has(self, place: str) -> bool:
        """Whether the files at a place are its own, or a copy of them. Raises: OSError."""
        with open(os.path.join(place, "global/pg_control"), "rb") as control:
            here = int.from_bytes(control.read(8), "little", signed=True)
        with open(os.path.join(place, "postmaster.pid"), encoding="ascii", errors="replace") as running:
            lines = running.read(4096).splitlines()
        born = lines[2] if len(lines) > 3 and lines[2].isdecimal() else "0"
        since = self.started - int(born)
        return here == self.identifier and lines[3:4] == [self.port] and 0 <= since <= _STARTS_WITHIN


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
    kept = _Kept(session, schema, selection, around.beside)
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
    """Where the server's files lie, each with what the server calls it: its data directory, its log's folder,
    and whatever links in them lead to. The server follows any link: to a tablespace, a log, or a folder or a
    file that somebody moved to a larger disk."""
    tops = [(os.path.realpath(place), "")]
    for (logs,) in session.rows("SELECT setting FROM pg_settings WHERE name = 'log_directory'"):
        if os.path.isabs(logs) and os.path.isdir(logs):
            folder = os.path.realpath(logs)
            tops += [(folder, "log")] if not _is_beneath(folder, tops[0][0]) else []
    for top, called in tops:  # which grows meanwhile
        for path, name in _links(top, called) if called != "log" else ():  # others' logs may lie there
            with contextlib.suppress(FileNotFoundError):
                target = os.path.realpath(path)
                os.stat(target)
                known = any(_is_beneath(target, other) for other, _ in tops)
                if not known and not _is_beneath(tops[0][0], target):  # upwards is nothing of the server's
                    tops.append((target, name))
    return tops


def _is_beneath(path: str, top: str) -> bool:
    return f"{path}/".startswith(top.rstrip("/") + "/")


def _links(top: str, called: str) -> Iterator[tuple[str, str]]:
    for folder, folders, names in os.walk(top, onerror=_raise) if os.path.isdir(top) else ():
        for name in sorted((*folders, *names)):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                yield path, os.path.normpath(os.path.join(called, os.path.relpath(path, top)))


def _walk(place: str, session: Session) -> Iterator[tuple[str, str]]:
    """Each file: its path, and its path as the server calls it, beneath the data directory."""
    for top, called in _tops(place, session):
        if not os.path.isdir(top):
            yield top, called
            continue
        for folder, _, names in os.walk(top, onerror=_raise):
            beneath = os.path.join(called, os.path.relpath(folder, top))
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

    def __init__(
        self, session: Session, schema: Schema, selection: Selection, beside: frozenset[str] | None
    ) -> None:
        self._others = {str(oid) for (oid,) in session.rows(OTHERS)}
        if beside is not None:
            self._others &= beside
        self._version = str(session.one(_VERSION))
        staying = [table.oid for table in schema.tables if not selection.includes(table.name)]
        staying += views.apart(session, schema, selection)
        self._relations = {path for (path,) in session.rows(_PATHS, staying)}

    def covers(self, name: str) -> bool:
        parts = name.split("/")
        if parts[0] == "base" and len(parts) == 3:
            database = parts[1]
        elif parts[0] == "pg_tblspc" and len(parts) == 5 and parts[2] == self._version:
            database = parts[3]
        else:
            return False
        if database in self._others:
            return True
        relation = name.partition(".")[0]
        return relation.removesuffix("_fsm").removesuffix("_vm").removesuffix("_init") in self._relations


# A folder without a database was left by a server that was killed, or by an older version (pg_upgrade).
OTHERS = "SELECT oid::int8 FROM pg_database WHERE datname <> current_database()"
_VERSION = """
SELECT format('PG_%s_%s', current_setting('server_version_num')::int4 / 10000, catalog_version_no)
FROM pg_control_system()
"""
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
