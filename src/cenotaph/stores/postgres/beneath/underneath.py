"""The files of a running server's tables, opened for writing, and only where it is certain that they are.

What surprised the author: a server's data directory can be named by a path that leads to another one
tomorrow, and so can a table's file by VACUUM FULL in between. So nothing is believed by name alone: the
process that answers stands in its data directory (/proc, proc(5)), and every file is looked at again, by
name and by inode, at the last moment.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from cenotaph.durable import Beneath, filesystem, reflinked
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.store import Surroundings
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.session import Session
from cenotaph.volume import identify

Identity: TypeAlias = tuple[int, int]  # device and inode
_TABLESPACES = "pg_tblspc"
_NO = "nothing is overwritten: "


class Directory(NamedTuple):
    """A data directory in which the server that answers stands."""

    path: str
    identity: Identity


def directory(session: Session, around: Surroundings) -> Directory:
    """The data directory that the case names, if it is the server's beyond doubt.

    Raises: PermanentStoreError: it is not, or nobody can tell.
    """
    if around.data_dir is None:
        raise PermanentStoreError(
            f"{_NO}the case does not say where the server's files lie", hint="give the store a data_dir"
        )
    path = os.path.normpath(around.data_dir)
    if os.path.realpath(path) != path:
        raise PermanentStoreError(
            f"{_NO}data_dir is a symbolic link, or leads through one", hint="name the folder itself"
        )
    found = raw.data_directory(session, around)
    if isinstance(found, raw.NoAccess):
        raise PermanentStoreError(f"{_NO}{found.why}", hint="see data_dir of the store")
    here = identity(os.stat(path))
    if not stands_in(int(session.one("SELECT pg_backend_pid()")), here):
        raise PermanentStoreError(
            f"{_NO}the process that answers does not stand in data_dir, or that cannot be seen",
            hint="run on the server's machine, outside of containers, as the server's user or as root",
        )
    return Directory(path, here)


def identity(info: os.stat_result) -> Identity:
    return info.st_dev, info.st_ino


def stands_in(pid: int, here: Identity) -> bool:
    """Whether it is a process's working directory. False where that cannot be seen, or it has ended."""
    try:
        return identity(os.stat(f"/proc/{pid}/cwd")) == here
    except OSError:
        return False


def processes_in(here: Identity) -> Iterator[int]:
    """The processes that stand in a directory."""
    for name in os.listdir("/proc"):  # noqa: PTH208 (names alone)
        if name.isdecimal() and stands_in(int(name), here):
            yield int(name)


def keeps_old(path: str) -> str:
    """Why zeros written over a file beneath `path` may leave what it held; empty where they do not."""
    with Beneath(path) as folder:
        kind = filesystem(folder.fd)
    if not kind.overwrites_in_place:
        return f"the file system {kind.kind} {kind.why_not}"
    return identify.keeps_old(os.stat(path).st_dev)


def copied_now(session: Session, around: Surroundings) -> str:
    """Who would have, or be left with, a copy of what is overwritten; empty where nobody."""
    listed = sum(copy.kind == "standby" for copy in around.copies)
    backups, prepared, standbys = session.rows(_COPIED)[0]
    if backups:
        return "a base backup is running"
    if prepared:
        return f"{prepared} transactions are prepared and not yet ended"
    if standbys > listed:
        return f"{standbys} standbys receive the server's log, and the case lists {listed}"
    return ""


# A backup by pg_backup_start leaves no trace that SQL shows but the query of the session that runs it.
_COPIED = """
SELECT (SELECT count(*) FROM pg_stat_progress_basebackup)
     + (SELECT count(*) FROM pg_stat_replication WHERE state = 'backup')
     + (SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
        AND query ~* '(pg_backup_start|pg_start_backup)[[:space:]]*\\('),
    (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()),
    (SELECT count(*) FROM pg_stat_replication WHERE state <> 'backup')
     + (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active)
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, an index or what is out of line, as the server names its file."""

    path: str  # beneath the data directory
    space: str = field(repr=False)  # where its tablespace lies; empty: in the data directory


@dataclass(frozen=True, slots=True)
class File:
    """An open file of a relation."""

    fd: int
    folder: int
    name: str
    identity: Identity
    size: int

    def check(self) -> None:
        """Raises: TransientStoreError: its name leads to another file, or it is not as it was."""
        try:
            now = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            now = None
        if now is None or identity(now) != self.identity or now.st_size != self.size or now.st_nlink != 1:
            raise TransientStoreError(
                f"{_NO}a file of the table is not the one that was looked at", hint="run again"
            )


def relations(session: Session, tables: Sequence[Table]) -> tuple[Relation, ...]:
    """Tables with their indexes and TOAST, as their files are called now. Indexes before what they are of."""
    oids = [table.oid for table in tables]
    return tuple(Relation(path, space) for path, space in session.rows(_RELATIONS, oids))


_RELATIONS = """
WITH heaps (oid) AS (
    SELECT unnest($1::int8[])::oid
    UNION ALL SELECT reltoastrelid FROM pg_class WHERE oid = ANY ($1::int8[]::oid[]) AND reltoastrelid <> 0
), every (oid) AS (
    SELECT oid FROM heaps UNION ALL SELECT indexrelid FROM pg_index JOIN heaps ON heaps.oid = indrelid
)
SELECT pg_relation_filepath(oid), CASE WHEN pg_relation_filepath(oid) LIKE 'pg\\_tblspc/%'
    THEN pg_tablespace_location(split_part(pg_relation_filepath(oid), '/', 2)::oid) ELSE '' END
FROM every JOIN pg_class USING (oid) ORDER BY relkind = 'r', relkind = 't', 1
"""


@contextmanager
def files(where: Directory, found: Sequence[Relation], block: int) -> Iterator[tuple[File, ...]]:
    """Every segment of these relations and of their maps, open for writing. Not what an unlogged table is
    made anew from after a crash (`_init`): it holds no row.

    Raises: PermanentStoreError: one of them is not what a server of this directory would have.
    """
    with ExitStack() as stack:
        owner = os.stat(where.path).st_uid
        yield tuple(file for relation in found for file in _opened(where, relation, stack, owner, block))


_SEGMENT = re.compile(r"(_fsm|_vm)?(\.[0-9]+)?")


def _opened(where: Directory, relation: Relation, stack: ExitStack, owner: int, block: int) -> Iterator[File]:
    root, path = _root(where, relation)
    try:
        beneath = stack.enter_context(Beneath(root))
        folder, last = beneath.parent(path.encode())
        stack.callback(os.close, folder)
        name = last.decode()
        segments = [
            entry
            for entry in os.listdir(folder)  # noqa: PTH208 (of a descriptor)
            if entry.startswith(name) and _SEGMENT.fullmatch(entry[len(name) :])
        ]
        for segment in sorted(segments):
            fd = os.open(segment, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            stack.callback(os.close, fd)
            info = os.fstat(fd)
            ours = stat.S_ISREG(info.st_mode) and info.st_uid == owner and info.st_nlink == 1
            if not ours or info.st_size % block:
                raise PermanentStoreError(
                    f"{_NO}a file of the table has another owner, another name too, or no whole pages",
                    hint="see who put it there",
                )
            if reflinked(fd):
                raise PermanentStoreError(
                    f"{_NO}a file of the table shares blocks with a copy, which keeps the content",
                    hint="see who copied it",
                )
            yield File(fd, folder, segment, identity(info), info.st_size)
    except OSError as error:
        raise PermanentStoreError(
            f"{_NO}a file of the table cannot be opened for writing ({error.strerror})",
            hint="run as the server's user, or as root",
        ) from None


def _root(where: Directory, relation: Relation) -> tuple[str, str]:
    """A folder without links in it, and the relation's path beneath it."""
    if not relation.space:
        return where.path, relation.path
    top, number, rest = relation.path.split("/", 2)
    link = os.path.join(where.path, top, number)
    if os.path.realpath(link) != os.path.normpath(relation.space):
        raise PermanentStoreError(
            f"{_NO}a tablespace lies elsewhere than its link in data_dir says", hint="see pg_tblspc"
        )
    return relation.space, rest
