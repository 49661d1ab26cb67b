"""Files of a relation set aside: out of the server's reach, until they are overwritten or put back.

A file that is set aside has a second name in its folder, and an empty file has its first. Where the TRUNCATE
in which that happened is committed, the server removes the empty file; where it is undone, the file gets its
name back (`put_back`). The server's catalog tells which (ADR 14). The empty file has a second name too, so
that it can be told from one that the server made: after a crash it makes unlogged tables anew.

What surprised the author: the server cuts a file to nothing before it unlinks it, so that a second name alone
saves nothing; and renaming one file onto another name of the same file does nothing at all (rename(2)).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from cenotaph.durable import Beneath, overwrite, overwrite_rest, reflinked
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.stores.postgres.beneath.underneath import Directory, File, Identity, identity
from cenotaph.stores.postgres.session import Session

_PREFIX = "cenotaph-"
_EMPTY = "cenotaph-empty-"
_NEW = "cenotaph-new-"
_NAME = re.compile(rf"{_PREFIX}(([0-9]+)(?:_fsm|_vm)?(?:\.[0-9]+)?)")
_BESIDE = re.compile(rf"{_PREFIX}(?:empty|new)-(.+)")
_OTHERS = "a file that was set aside in the server's directory is not what it was"


def set_aside(files: Sequence[File]) -> None:
    """Take files out of the server's reach, in this order; durable on return. The caller has the transaction
    in which they were replaced, and commits it. Whatever fails, they have their names again.

    Raises: StoreError: a file is not the one that was looked at, or the folder may not be written.
    """
    try:
        with of_files():
            for step in (
                _keep,
                _exchange,
            ):  # a crash may lose the newer of two changes, never the older alone
                for file in files:
                    step(file)
                _sync(file.folder for file in files)
    except BaseException:
        with of_files():
            for file in reversed(files):
                _take_back(file)
            _sync(file.folder for file in files)
        raise


def _keep(file: File) -> None:
    kept = _PREFIX + file.name
    os.link(file.name, kept, src_dir_fd=file.folder, dst_dir_fd=file.folder, follow_symlinks=False)
    if _at(kept, file.folder) != file.identity:
        os.unlink(kept, dir_fd=file.folder)
        raise TransientStoreError("a file of the table was exchanged just now", hint="run again")


def _exchange(file: File) -> None:
    empty, new = _EMPTY + file.name, _NEW + file.name
    _make_empty(file, empty)
    _unlink(new, file.folder)
    os.link(empty, new, src_dir_fd=file.folder, dst_dir_fd=file.folder, follow_symlinks=False)
    os.replace(new, file.name, src_dir_fd=file.folder, dst_dir_fd=file.folder)


def take_in(files: Sequence[File], page: int) -> None:
    """Move pages that the server wrote into the empty files to the files that were set aside, as long as
    nobody is let into the table: no checkpoint writes those of unlogged tables, so that it has some in
    memory. The commit would free them as they are.
    """
    with of_files():
        for file in files:
            if _stat(_EMPTY + file.name, file.folder).st_size:
                fd = os.open(_EMPTY + file.name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=file.folder)
                try:
                    _move(fd, file.fd, page)
                finally:
                    os.close(fd)


def _move(source: int, target: int, page: int) -> None:
    size = os.fstat(source).st_size
    for at in range(0, size, page):
        if any(data := os.pread(source, page, at)):  # else a hole: it wrote another page
            os.pwrite(target, data, at)
    os.fsync(target)
    overwrite(source, size)
    os.ftruncate(source, 0)


def _make_empty(file: File, name: str) -> None:
    info = os.fstat(file.fd)
    _unlink(name, file.folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, stat.S_IMODE(info.st_mode), dir_fd=file.folder)
    try:
        if (info.st_uid, info.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, info.st_uid, info.st_gid)
    finally:
        os.close(fd)


def _take_back(file: File) -> None:
    """Undo `_keep` and `_exchange`, however far they came. What they did not make keeps its name."""
    kept = _PREFIX + file.name
    if _at(kept, file.folder) == file.identity:
        _over(file.folder, kept, file.name)
        _drop_empty(file.folder, file.name)


def _over(folder: int, kept: str, name: str) -> None:
    """Give a file that has one name, or both, the second alone."""
    if _at(name, folder) == _at(kept, folder):
        os.unlink(kept, dir_fd=folder)
    else:
        os.replace(kept, name, src_dir_fd=folder, dst_dir_fd=folder)


def _drop_empty(folder: int, name: str) -> None:
    for prefix in (_NEW, _EMPTY):
        _unlink(prefix + name, folder)


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _sync(folders: Iterable[int]) -> None:
    for folder in {identity(os.fstat(folder)): folder for folder in folders}.values():
        os.fsync(folder)


@contextmanager
def of_files() -> Iterator[None]:
    """An error of the system is one of the server's folders, whose names stay unsaid."""
    try:
        yield
    except OSError as error:
        raise PermanentStoreError(
            f"a file of the server cannot be set aside, put back or removed ({error.strerror})",
            hint="run as the server's user, or as root: its folders are written too",
        ) from None


@dataclass(frozen=True, slots=True)
class Aside:
    """A file that was set aside."""

    folder: int
    space: int  # its tablespace's oid
    number: int  # of the relation's file, as the server had it (relfilenode)
    name: str  # the server's

    @property
    def kept(self) -> str:
        return _PREFIX + self.name

    def made_anew(self) -> bool:
        """Whether the server made the relation's first file anew, as it does after a crash where the table is
        unlogged: what was set aside is then no part of it any more."""
        name = str(self.number)
        now = _at(name, self.folder)
        ours = (_at(_EMPTY + name, self.folder), _at(_PREFIX + name, self.folder))
        return now is not None and now not in ours and _at(f"{name}_init", self.folder) is not None

    def check_unused(self) -> None:
        """Raises: PermanentStoreError: somebody wrote into the empty file that has its name."""
        with suppress(FileNotFoundError):
            now = _stat(self.name, self.folder)
            if now.st_size and identity(now) != identity(_stat(self.kept, self.folder)):
                raise PermanentStoreError(
                    "rows were written into a table while its erasing was cut off",
                    hint="copy out of it whatever it shows, TRUNCATE it, and run again: its own files lie"
                    " beside it, as cenotaph-…, and are overwritten then",
                )

    def put_back(self) -> None:
        _over(self.folder, self.kept, self.name)
        _drop_empty(self.folder, self.name)

    def destroy(self, on_bytes: Callable[[int], None] | None = None) -> int:
        """Overwrite and unlink it; how many bytes were written."""
        fd = os.open(self.kept, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                raise PermanentStoreError(f"{_OTHERS}: it has another name too", hint="see who put it there")
            if reflinked(fd):
                raise PermanentStoreError(
                    f"{_OTHERS}: it shares blocks with a copy, which keeps the content",
                    hint="see who copied it",
                )
            written = overwrite(fd, info.st_size, sync=False, on_bytes=on_bytes)
            written += overwrite_rest(fd, on_bytes=on_bytes)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.unlink(self.kept, dir_fd=self.folder)
        _drop_empty(self.folder, self.name)
        return written


@contextmanager
def found(session: Session, where: Directory) -> Iterator[tuple[Aside, ...]]:
    """What is set aside in the folders of this session's database.

    Raises: PermanentStoreError: it belongs to somebody else.
    """
    owner = os.stat(where.path).st_uid
    with ExitStack() as stack:
        yield tuple(one for space, path in _folders(session, where) for one in _in(path, space, owner, stack))


def _in(path: str, space: int, owner: int, stack: ExitStack) -> Iterator[Aside]:
    folder = stack.enter_context(Beneath(path)).fd
    for entry in sorted(os.listdir(folder)):  # noqa: PTH208 (of a descriptor)
        if match := _NAME.fullmatch(entry):
            if _stat(entry, folder).st_uid != owner:
                raise PermanentStoreError(f"{_OTHERS}: it has another owner", hint="see who put it there")
            yield Aside(folder, space, int(match[2]), match[1])
        elif (match := _BESIDE.fullmatch(entry)) and _at(_PREFIX + match[1], folder) is None:
            _unlink(entry, folder)  # of one that was put back, or destroyed


def sync(files: Sequence[Aside]) -> None:
    """Make names durable."""
    _sync(file.folder for file in files)


def owners(session: Session, files: Sequence[Aside]) -> dict[Aside, int]:
    """Whose they are: the table's oid, for those of which the TRUNCATE was undone."""
    told = {file: session.rows(_OWNER, file.space, file.number) for file in files}
    return {file: oid for file, rows in told.items() for (oid,) in rows}


# A file's relation: a table, or its index, or its TOAST table, or that one's index.
_OWNER = """
WITH found (oid) AS (SELECT pg_filenode_relation($1::int8::oid, $2::int8::oid)::oid),
heap (oid) AS (
    SELECT coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = found.oid), found.oid) FROM found
)
SELECT coalesce((SELECT c.oid FROM pg_class c WHERE c.reltoastrelid = heap.oid), heap.oid)::int8
FROM heap WHERE heap.oid IS NOT NULL
"""


def _folders(session: Session, where: Directory) -> Iterator[tuple[int, str]]:
    for space, location, database, version in session.rows(_SPACES):
        parts = (where.path, "base") if not location else (location, version)
        path = os.path.join(*parts, str(database))
        if os.path.isdir(path):
            yield space, path  # also the database's own, which need not be pg_default


_SPACES = """
SELECT t.oid::int8, pg_tablespace_location(t.oid), d.oid::int8, format('PG_%s_%s',
    current_setting('server_version_num')::int4 / 10000, (SELECT catalog_version_no FROM pg_control_system()))
FROM pg_tablespace t, pg_database d WHERE t.spcname <> 'pg_global' AND d.datname = current_database()
ORDER BY 1
"""


def _at(name: str, folder: int) -> Identity | None:
    try:
        return identity(_stat(name, folder))
    except FileNotFoundError:
        return None


def _stat(name: str, folder: int) -> os.stat_result:
    return os.stat(name, dir_fd=folder, follow_symlinks=False)
