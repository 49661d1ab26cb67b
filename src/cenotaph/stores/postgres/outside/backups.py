"""Dumps and base backups that the case names: destroyed where nothing of them is to stay, or made anew.

A new one is made of what is left, restored on a private server and compared with the database, table by
table; only then does the old one go. Anything that is not as expected leaves the old one where it is, and
holds the grade down. Each step can be repeated after a kill.

What surprised the author: a base backup and the data directory of a running standby look alike but for one
file, and both have the primary's identity.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

import lz4.frame
import zstandard

from cenotaph import durable
from cenotaph.errors import PermanentStoreError, StoreError
from cenotaph.residue import pg_dump
from cenotaph.scope import Selection
from cenotaph.store import Command, Copy, Disposition, Extent, GivenCopy, Surroundings
from cenotaph.stores.postgres.catalog import schema
from cenotaph.stores.postgres.outside import beside, renewal
from cenotaph.stores.postgres.session import Place, Session, driver_errors
from cenotaph.stores.postgres.work import Outlook, Work

DUMP, BASE = "dump", "base backup"
HELD = "kept for a hold"
_HELD = "it may hold records that are held"
_BEGUN = ".cenotaph-old"  # behind the name of what is being destroyed
CUSTOM, _PLAIN, _CLUSTER = "custom", "plain", "of all databases"


@dataclass(frozen=True, slots=True)
class Backup:
    """One given copy, as it lies there."""

    kind: str  # DUMP or BASE
    path: str = field(repr=False)
    folder: bool
    files: tuple[beside.Found, ...] = field(repr=False)  # beneath the folder, or in the folder of the file
    renew: str | None = field(repr=False)
    begun: bool = False  # an earlier run had found that it may go, and began

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def found(session: Session, selection: Selection, around: Surroundings) -> Iterator[Copy]:
    """What of the given copies is there. One that may hold records under a hold is kept."""
    for backup in given(around):
        kind = f"{backup.kind}, {HELD}" if selection.holds else backup.kind
        yield Copy(kind, backup.path, backup.bytes, Disposition.REACH_NOT)


def extents(around: Surroundings) -> Iterator[Extent]:
    """Every file of them, and of what was made anew."""
    renewed = [GivenCopy(c.kind, c.renew) for c in around.copies if c.renew and c.kind in (DUMP, BASE)]
    for copies, anew in ((around, False), (Surroundings(copies=tuple(renewed)), True)):
        for backup in given(copies):
            top = backup.path if backup.folder else os.path.dirname(backup.path)
            for file in backup.files:
                path = os.path.join(top, os.fsdecode(file.name))
                yield replace(beside.extent(backup.kind, path, file.size), anew=anew)


def given(around: Surroundings) -> Iterator[Backup]:
    """Those that are there."""
    for copy in around.copies:
        for path in (copy.place.rstrip("/"), copy.place.rstrip("/") + _BEGUN):
            if copy.kind in (DUMP, BASE) and os.path.lexists(path):
                folder = os.path.isdir(path) and not os.path.islink(path)
                files = tuple(_files(path, folder))
                yield Backup(copy.kind, path, folder, files, copy.renew, path.endswith(_BEGUN))


def why_not_overwritten(around: Surroundings) -> str:
    """Why zeros would not land on the content of a given copy; empty where they do."""
    for copy in around.copies:
        if copy.kind != "standby" and os.path.exists(copy.place):
            folder = copy.place if os.path.isdir(copy.place) else os.path.dirname(copy.place)
            with beside.folder(folder) as place:
                kind = durable.filesystem(place.fd)
            if not kind.overwrites_in_place:
                return f"a {copy.kind} lies on the file system {kind.kind}, which {kind.why_not}"
    return ""


def kept_for_holds(session: Session, selection: Selection, around: Surroundings) -> bool:
    """Whether a base backup stays because of a hold: it may need the log's archive to be of any use."""
    mine = bool(selection.holds) and any(backup.kind == BASE for backup in given(around))
    return mine or any(held.base_backup and _same_server(session, held.url) for held in around.held_beside)


def _held(work: Work, what: str) -> bool:
    """Whether such a copy may hold records under a hold: of this store, or of another of its server."""
    if work.selection.holds:
        return True
    others = work.around.held_beside if what in (BASE, _CLUSTER) else ()
    return any(_same_server(work.writer, held.url) for held in others)


def _same_server(session: Session, url: str) -> bool:
    """Whether this is an address of the same server; true where nobody answers to tell."""
    try:
        with driver_errors("another store"), closing(Session(Place.of(url))) as other:
            return bool(other.one(_IDENTIFIER) == session.one(_IDENTIFIER))
    except StoreError:
        return True


def destroy(work: Work) -> None:
    """Destroy what may go, after it was made anew where something of it stays."""
    tally = beside.Tally()
    for backup in given(work.around):
        work.ask()
        try:
            _go(work, backup, tally)
        except StoreError as error:
            work.limits.append(f"a {backup.kind} stays: {error.message}")
    beside.report(
        work,
        tally,
        "files of dumps and base backups were destroyed",
        "of these files were unlinked, and not overwritten",
    )


def destroying(outlook: Outlook) -> Iterator[Command]:
    """What `destroy` does."""
    for backup in given(outlook.around):
        if outlook.selection.holds:
            does = f"Leaves a {backup.kind} where it is: it may hold records that are held."
        elif backup.renew is not None:
            does = (
                f"Makes a new {backup.kind} of what stays, restores it on a private server, compares every"
                " table with the database, and only then overwrites and unlinks the old one."
            )
        else:
            does = f"Overwrites and unlinks a {backup.kind}, if nothing of the database stays."
        yield Command("", does, reaches="Dumps and base backups that the case names.")


def _go(work: Work, backup: Backup, tally: beside.Tally) -> None:
    parent, name = beside.split(backup.path)
    begun = name if backup.begun else name + os.fsencode(_BEGUN)
    if _held(work, backup.kind):  # also of what was begun: the hold may be newer
        raise PermanentStoreError(_HELD)
    if not backup.begun:
        seen = _seen(backup.path)
        _make_dispensable(work, backup)
    with beside.folder(parent) as place:
        if not backup.begun:
            beside.begin(place, name, begun)
            if _seen(backup.path + _BEGUN) != seen:  # making a new one may have taken hours
                beside.begin(place, begun, name)
                raise PermanentStoreError(
                    "something else came to lie at its place, or in it, since it was looked at"
                )
        if backup.folder:
            beside.destroy_folder(place, begun, tally)
        else:
            beside.destroy(place, begun, tally, begun=True)


def _seen(path: str) -> frozenset[tuple[object, ...]]:
    """What lies there, as it is: every file and folder of it by inode, size and time of change."""
    return frozenset(_marks(path))


def _marks(path: str) -> Iterator[tuple[object, ...]]:
    top = os.lstat(path)
    yield (stat.S_IFMT(top.st_mode), top.st_dev, top.st_ino, top.st_size, top.st_mtime_ns)
    for here, folders, files in os.walk(path):
        for name in (*folders, *files):
            info = os.lstat(os.path.join(here, name))
            place = os.path.relpath(os.path.join(here, name), path)
            yield (place, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)


def _make_dispensable(work: Work, backup: Backup) -> None:
    """See that nothing of it has to stay, or have that in a new one.

    Raises: PermanentStoreError where it has to stay.
    """
    parent, name = beside.split(backup.path)
    with beside.folder(parent) as place:
        for file in backup.files:
            with beside.opened(place, name + b"/" + file.name if backup.folder else file.name):
                pass
    if os.path.islink(backup.path):
        raise PermanentStoreError("it is a symlink: nothing is done to it")
    found = what(work.writer, backup)
    if _held(work, found):
        raise PermanentStoreError(_HELD)
    if found == _CLUSTER and _stays(work, others=True):
        raise PermanentStoreError("it is a dump of all databases, of which parts stay, and is not made anew")
    if backup.renew is not None:
        if os.path.realpath(backup.renew).startswith(os.path.realpath(backup.path) + "/"):
            raise PermanentStoreError("the place of the new one lies inside it")
        renewal.renew(work, backup.kind, backup.renew)
    elif stays := _stays(work, others=found in (BASE, _CLUSTER)):
        raise PermanentStoreError(f"{stays}, and the case names no place for a new one (renew)")


def _stays(work: Work, *, others: bool) -> str:
    """What of a copy of the database, or of the server, is to stay; empty where nothing is."""
    tables = schema.read(work.writer).tables
    if not all(work.selection.whole(table.name, table.names()) for table in tables):
        return "a part of the database stays"
    place = work.writer.place
    if schema.has_rows(place):  # not yet erased, or come since
        return "the database has rows"
    databases = [str(name) for (name,) in work.writer.rows(_OTHER_DATABASES)] if others else []
    if any(name not in _SERVERS_OWN or schema.has_rows(place.other(name)) for name in databases):
        return "other databases of the server stay"
    return ""


def _files(path: str, folder: bool) -> Iterator[beside.Found]:
    with contextlib.suppress(PermanentStoreError, OSError):
        if folder:
            with beside.folder(path) as place:
                yield from beside.walked(place)
        else:
            parent, name = beside.split(path)
            with beside.folder(parent) as place:
                yield from beside.listed(place, lambda found: found == name)


# --- what a given copy is --------------------------------------------------------------------


def what(session: Session, backup: Backup) -> str:
    """Which kind of dump it is (`CUSTOM`: one that pg_restore reads), or that it is a base backup.

    Raises: PermanentStoreError where it is none, or one of another database or server.
    """
    return _base(session, backup) if backup.kind == BASE else _dump(session, backup)


def _dump(session: Session, backup: Backup) -> str:
    """Which kind of dump it is.

    Raises: PermanentStoreError where it is none, or one of another database.
    """
    if backup.folder:
        tables = os.path.join(backup.path, "toc.dat")
        if not os.path.isfile(tables):
            raise PermanentStoreError("its folder is no dump (it has no toc.dat): name each dump by itself")
        _only(backup, _OF_A_DUMP)
        path = tables
    else:
        path = backup.path
    with unpacked(path) as stream:
        begin = stream.read(512)
        if begin[257:262] == b"ustar" and begin.startswith(b"toc.dat\0"):
            begin = b""
        begin += stream.read(pg_dump.MOST_HEAD)
    if begin.startswith(pg_dump.MAGIC):
        return _of_this_database(session, begin)
    text = begin[:4096]
    if b"-- PostgreSQL database cluster dump" in text:
        return _CLUSTER
    if b"-- PostgreSQL database dump" in text:
        _has_tables_of(session, {_unquoted(found) for found in _TABLES.findall(begin)})
        return _PLAIN
    raise PermanentStoreError("it is no dump that pg_dump wrote")


def _of_this_database(session: Session, begin: bytes) -> str:
    try:
        told = pg_dump.head(begin)
    except pg_dump.DumpError as error:
        raise PermanentStoreError(f"it {error.args[0]}") from None
    if told is None:
        raise PermanentStoreError("it is broken off")
    if told.database != str(session.one("SELECT current_database()::text")):
        raise PermanentStoreError("it is a dump of another database")
    _has_tables_of(session, told.tables)  # another server may have one of that name
    return CUSTOM


def _base(session: Session, backup: Backup) -> str:
    """Raises: PermanentStoreError where it is no base backup of this server, or a server runs on it."""
    here = session.one(_IDENTIFIER)
    if backup.folder and os.path.isfile(os.path.join(backup.path, "global", "pg_control")):
        names = {file.name for file in backup.files}
        if b"backup_label" not in names or b"postmaster.pid" in names:
            raise PermanentStoreError("it is a server's data directory, or was one: it is no base backup")
        _only_of_a_cluster(backup)
        with open(os.path.join(backup.path, "global", "pg_control"), "rb") as control:
            identifier: int | None = _identifier(control.read(8))
    else:
        archives = (
            [file.name for file in backup.files if b"base.tar" in file.name] if backup.folder else [b""]
        )
        if len(archives) != 1:
            raise PermanentStoreError("it is no base backup that pg_basebackup wrote")
        if backup.folder:
            _only(backup, _OF_A_BASE)
        identifier = _packed_identifier(os.path.join(backup.path, os.fsdecode(archives[0])).rstrip("/"))
    if identifier != here:
        raise PermanentStoreError("it is a base backup of another server")
    return BASE


def _only(backup: Backup, names: re.Pattern[bytes]) -> None:
    """Raises: PermanentStoreError where somebody else keeps files in its folder."""
    if not all(names.fullmatch(file.name) for file in backup.files):
        raise PermanentStoreError("its folder has files in it that are not of it: move them elsewhere")


def _only_of_a_cluster(backup: Backup) -> None:
    """As `_only`, of a base backup in files: by its list of them, where it has one, and else by their names.
    The log's files are in no list."""
    try:
        with open(os.path.join(backup.path, "backup_manifest"), "rb") as stream:
            listed = json.load(stream)["Files"]
        known = {
            bytes.fromhex(one["Encoded-Path"]) if "Encoded-Path" in one else os.fsencode(one["Path"])
            for one in listed
        }
    except FileNotFoundError:
        _only(backup, _OF_A_CLUSTER)  # it was made without
        return
    except (OSError, ValueError, KeyError, TypeError):
        raise PermanentStoreError("its backup_manifest cannot be read") from None
    if any(
        file.name not in known and file.name != b"backup_manifest" and not _OF_ITS_LOG.fullmatch(file.name)
        for file in backup.files
    ):
        raise PermanentStoreError("it has files that its backup_manifest does not know: move them elsewhere")


def _has_tables_of(session: Session, told: Set[tuple[bytes, bytes]]) -> None:
    """A dump does not say which server it is of, a plain one not even which database; its tables do,
    somewhat: one has to be here, and most of them, since tables come and go."""
    here = {(str(schema).encode(), str(name).encode()) for schema, name in session.rows(_NAMES)}
    if not told & here or 2 * len(told & here) < len(told):
        what = "no table of this database, or more that are of another one" if told else "no table at all"
        raise PermanentStoreError(f"it has {what}")


def _unquoted(found: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Schema and name of a table as SQL has them."""
    words = _WORD.findall(b"".join(found))
    schema, name = (word[1:-1].replace(b'""', b'"') if word[:1] == b'"' else word for word in words)
    return schema, name


def _packed_identifier(path: str) -> int | None:
    """In the tar file of a base backup; its control file comes last."""
    try:
        with unpacked(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.name.removeprefix("./") == "global/pg_control" and member.isreg():
                    content = archive.extractfile(member)
                    return _identifier(content.read(8)) if content is not None else None
    except (tarfile.TarError, EOFError, ValueError):
        pass
    return None


def _identifier(control: bytes) -> int:
    return int.from_bytes(control, "little", signed=True)


@contextlib.contextmanager
def unpacked(path: str) -> Iterator[BinaryIO]:
    """A file's bytes, decompressed as they begin."""
    try:
        with open(path, "rb") as file:
            begin = file.read(4)
            file.seek(0)
            if begin[:3] == b"\x1f\x8b\x08":
                stream: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=file))
            elif begin == b"\x28\xb5\x2f\xfd":
                stream = cast(BinaryIO, io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file)))
            elif begin == b"\x04\x22\x4d\x18":
                stream = cast(BinaryIO, lz4.frame.open(file))
            else:
                stream = file
            yield stream
    except (OSError, EOFError, RuntimeError, zstandard.ZstdError):
        raise PermanentStoreError("it cannot be read to its end") from None


_IDENTIFIER = "SELECT system_identifier FROM pg_control_system()"
_PACKED = rb"(?:\.(?:gz|zst|lz4))?"
_OF_A_DUMP = re.compile(rb"toc\.dat|(?:[0-9]+|blob_[0-9]+)\.dat" + _PACKED + rb"|blobs(?:_[0-9]+)?\.toc")
_OF_A_BASE = re.compile(rb"(?:base|pg_wal|[0-9]+)\.tar" + _PACKED + rb"|backup_manifest")
_LOG_NAMES = (
    rb"pg_wal/(?:(?:archive_status/)?(?:[0-9A-F]{24}(?:\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history)"
    rb"(?:\.ready|\.done)?|summaries/[0-9A-F]{40}\.summary)"
)
_OF_ITS_LOG = re.compile(_LOG_NAMES)
_OF_A_CLUSTER = re.compile(  # "Database File Layout", and what administrators keep there
    _LOG_NAMES + rb"|(?:base/[0-9]+|global)/(?:(?:t[0-9]+_)?[0-9]+(?:_(?:fsm|vm|init))?(?:\.[0-9]+)?"
    rb"|PG_VERSION|pg_filenode\.map|pg_internal\.init|pg_control)"
    rb"|pg_(?:xact|commit_ts|subtrans|serial|notify|twophase|multixact/(?:members|offsets))/[0-9A-F]+"
    rb"|pg_logical/(?:replorigin_checkpoint|(?:snapshots|mappings)/[-0-9A-Fa-f]+(?:\.snap)?)"
    rb"|pg_replslot/[^/]+/(?:state|xid-[^/]+)|pg_snapshots/[-0-9A-F]+|pg_stat(?:_tmp)?/[^/]+\.stat"
    rb"|(?:pg_)?log/[^/]+\.(?:log|csv|json)"
    rb"|PG_VERSION|backup_label(?:\.old)?|tablespace_map(?:\.old)?|(?:standby|recovery)\.signal"
    rb"|postgresql(?:\.auto)?\.conf|pg_(?:hba|ident)\.conf|postmaster\.opts|current_logfiles"
    rb"|(?:server|root)\.(?:crt|key|crl)"
)
_IDENTIFIER_TEXT = rb"(?:\"(?:[^\"]|\"\")+\"|[^\s\".(]+)"
_WORD = re.compile(_IDENTIFIER_TEXT)
_TABLE = rb"(" + _IDENTIFIER_TEXT + rb"\." + _IDENTIFIER_TEXT + rb")"
_TABLES = re.compile(
    rb"^(?:CREATE (?:UNLOGGED )?TABLE " + _TABLE + rb" \($|COPY " + _TABLE + rb" \(.*\) FROM stdin;$"
    rb"|INSERT INTO " + _TABLE + rb" VALUES )",
    re.MULTILINE,
)
_NAMES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
"""
_SERVERS_OWN = ("postgres", "template1")  # every server has them; people keep tables in them all the same
_OTHER_DATABASES = """
SELECT datname::text FROM pg_database WHERE datname NOT IN (current_database(), 'template0')
"""
