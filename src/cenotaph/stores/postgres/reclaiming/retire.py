"""A server that goes with its databases: shut down cleanly, every file overwritten, the cluster removed.

What surprised the author: a backend, a standby's sender and the archiver all stand in the data directory, so
that whoever has it as working directory tells whether the server is down, whatever postmaster.pid says; and
folders of tablespaces are shared by clusters of other versions, each with a folder of its own in them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import time
from collections.abc import Callable, Iterator, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cenotaph.durable import Beneath, filesystem, overwrite, overwrite_rest, syncfs
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.store import Capabilities, Command, Grade, Reclamation, State, Surroundings
from cenotaph.stores.postgres.beneath import raw, underneath
from cenotaph.stores.postgres.catalog import identity, schema
from cenotaph.stores.postgres.outside import beside
from cenotaph.stores.postgres.session import Place, Session, driver_errors

STOPS = 60.0  # seconds for a fast shutdown, which waits for its checkpoint and for standbys to be told
COMMAND = Command(
    "",
    "Once all stores of the server are erased: shuts it down (as pg_ctl stop -m fast), writes zeros over"
    " every file of it, and removes it.",
    "Nobody is served any more.",
    "Everything that is in the data directory, in tablespaces and in pg_wal.",
)
_CONTROL = "global/pg_control"
_NO = "the server is not retired: "
_SERVERS = ("standby", "logical subscriber")  # copies that do not go with it


def gone(around: Surroundings) -> bool:
    """Whether the case retires the server and nothing is left at its directory that could be started."""
    return (
        around.retire_server
        and around.data_dir is not None
        and not os.path.lexists(os.path.join(around.data_dir, _CONTROL))
    )


def reachable(around: Surroundings) -> Capabilities:
    """What can be reached where the server was."""
    if others := [copy.kind for copy in around.copies if copy.kind in _SERVERS]:
        return Capabilities(Grade.L1, f"a {others[0]} outlives the server, and is not searched")
    place = Path(around.data_dir or "/")
    while not place.is_dir():
        place = place.parent
    return raw.of_folder(str(place))


def run(
    place: Place, around: Surroundings, known: State | None, begin: Callable[[State], None]
) -> Reclamation:
    """Retire the server at `place`. `begin` is told what `known` has to be after a kill.

    Raises:
        TransientStoreError: somebody copies it, or it does not stop.
        PermanentStoreError: rows are left that no store of the case had; it is not certain that these are
            the server's files.
    """
    assert around.data_dir is not None
    top = os.path.normpath(around.data_dir)
    if gone(around) and not os.path.isdir(top):
        return _said(reachable(around), _Done(), "the server's directory had gone already")
    with _files():
        if known is None:
            known = _look(place, around)
            begin(known)
        else:
            _check_same(top, known)
            _look_anew(place, around, top, known)
        _check_same(top, known)
        _lock_out(top)  # first: else whoever supervises it may start it again, for people to go on
        _stop(top, known)
        done, able = _Done(), reachable(around)
        folders = [*_elsewhere(top, str(known["version"])), top]
        for folder in folders:
            _check_files(folder)
        _check_alone(top, str(known["version"]))
        for folder in folders:
            _overwrite(folder, done)
        for folder in folders:
            _remove(folder, keep="pg_control" if folder == top else "")
        _remove(top)
    why = str(known["why"])
    return _said(Capabilities(Grade.L1, why) if why else able, done, "the server was shut down and removed")


@contextlib.contextmanager
def _files() -> Iterator[None]:
    """Errors of the system, without the path that they quote."""
    try:
        yield
    except OSError as error:
        raise PermanentStoreError(
            f"a file of the server cannot be destroyed ({error.strerror})",
            hint="run as the server's user, or as root, then run again",
        ) from None


@dataclass(slots=True)
class _Done:
    overwritten: int = 0
    freed: int = 0


def _said(able: Capabilities, done: _Done, what: str) -> Reclamation:
    return Reclamation(able.grade, able.why_not_higher, done.overwritten, done.freed, (what,))


# ── before anything is done ──────────────────────────────────────────────────────────────────────


def _look_anew(place: Place, around: Surroundings, top: str, known: State) -> None:
    """Where a run that had begun did not come to its end: a server that runs, or was started since, may have
    been given rows by people who need it.

    Raises: StoreError: something speaks against retiring it now.
    """
    locked_out = not os.path.lexists(os.path.join(top, "PG_VERSION"))
    if _answers(place, top, known):
        _look(place, around, str(known["version"]))
    elif not locked_out:
        raise PermanentStoreError(
            f"{_NO}it was stopped before it was locked out, and may have been used since it was looked at",
            hint="start it, then run again",
        )


def _answers(place: Place, top: str, known: State) -> bool:
    """Whether it runs; false once it has stopped, which may have been asked of it just now.

    Raises: StoreError: it runs, and does not answer.
    """
    deadline = time.monotonic() + STOPS
    while _postmaster(top, _directory(known)) is not None:
        try:
            Session(place).close()
        except TransientStoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return True
    return False


def _look(place: Place, around: Surroundings, version: str = "") -> State:
    """What tells the server and its directory from any other, once nothing speaks against retiring it.
    `version`: where its file is gone already."""
    with driver_errors("the server"), closing(Session(place)) as session:
        identity.check(session, around.keeper)
        where = underneath.directory(session, around)
        if why := underneath.copied_now(session, around):
            raise TransientStoreError(
                f"{_NO}{why}", hint="end that, or name the standby in a [[copy]], then run again"
            )
        names = [str(name) for (name,) in session.rows(_DATABASES)]
        identifier = int(session.one("SELECT system_identifier FROM pg_control_system()"))
        outside = _logs_outside(session, where.path)
        tablespaces = {str(number) for (number,) in session.rows(_TABLESPACES)}
    # views of a store show its tables, which are empty, as they were; its files go all the same
    stores = {place.database, *(Place.of(url).database for url in around.retired_with)}
    left = sum(schema.has_rows(place.other(name), views=name not in stores) for name in names)
    if left:
        raise PermanentStoreError(
            f"{_NO}{left} of its databases have rows that stay",
            hint="make each of them a store of a case, or leave retire_server out",
        )
    version = version or (Path(where.path) / "PG_VERSION").read_text("ascii").strip()
    _check_links(where.path, tablespaces)
    for folder in (*_elsewhere(where.path, version), where.path):
        _check_files(folder)
    _check_alone(where.path, version)
    device, inode = where.identity
    return {
        "identifier": str(identifier),
        "device": device,
        "inode": inode,
        "version": version,
        "why": "the server's log lies outside of its directory, and stays" if outside else "",
    }


_TABLESPACES = "SELECT oid::int8 FROM pg_tablespace WHERE oid >= 16384"
_DATABASES = "SELECT datname::text FROM pg_database WHERE datname <> 'template0' ORDER BY 1"


def _logs_outside(session: Session, top: str) -> bool:
    found = session.rows(
        "SELECT setting FROM pg_settings WHERE name = 'log_directory'"
        " AND current_setting('logging_collector') = 'on'"
    )
    return any(os.path.isabs(logs) and not f"{logs}/".startswith(f"{top}/") for (logs,) in found)


def _check_same(top: str, known: State) -> None:
    """Raises: PermanentStoreError: another directory, or another cluster, is there now."""
    here = underneath.identity(os.stat(top, follow_symlinks=False))
    same = here == _directory(known)
    with contextlib.suppress(FileNotFoundError), open(os.path.join(top, _CONTROL), "rb") as control:
        found = int.from_bytes(control.read(8), "little", signed=True)
        # one that is all zeros was overwritten by a run that was killed then
        same = same and (found == 0 or str(found) == known["identifier"])
    if not same:
        raise PermanentStoreError(
            f"{_NO}another directory or another cluster lies at data_dir than when it began",
            hint="see what was put there",
        )


# ── the shutdown ─────────────────────────────────────────────────────────────────────────────────


def _stop(top: str, known: State) -> None:
    """A fast shutdown, as `pg_ctl stop -m fast` asks for it, until nobody stands in the directory.

    Raises: TransientStoreError: it does not end.
    """
    identity = _directory(known)
    deadline = time.monotonic() + STOPS
    if (postmaster := _postmaster(top, identity)) is not None:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(postmaster)
            try:
                if underneath.stands_in(postmaster, identity):  # still: numbers of processes are used again
                    signal.pidfd_send_signal(fd, signal.SIGINT)
                    select.select([fd], [], [], STOPS)
            finally:
                os.close(fd)
    while any(underneath.processes_in(identity)):
        if time.monotonic() > deadline:
            raise TransientStoreError(
                f"{_NO}it did not stop within {STOPS:.0f} s", hint="see the server's log, then run again"
            )
        time.sleep(0.1)


def _directory(known: State) -> underneath.Identity:
    """The data directory, as it was when the retirement began."""
    return int(str(known["device"])), int(str(known["inode"]))


def _postmaster(top: str, identity: underneath.Identity) -> int | None:
    """The process that postmaster.pid names, if it stands in the directory."""
    try:
        with open(os.path.join(top, "postmaster.pid"), encoding="ascii", errors="replace") as running:
            first = running.readline().strip()
    except FileNotFoundError:
        return None
    return int(first) if first.isdecimal() and underneath.stands_in(int(first), identity) else None


# ── the files ────────────────────────────────────────────────────────────────────────────────────


def _lock_out(top: str) -> None:
    """Nobody can start it any more, whatever supervises it."""
    with Beneath(top) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("PG_VERSION", dir_fd=folder.fd)
        os.fsync(folder.fd)


def _elsewhere(top: str, version: str) -> list[str]:
    """Folders of the cluster that links in its directory lead to: the log's, and its own in tablespaces."""
    found = []
    if os.path.islink(wal := os.path.join(top, "pg_wal")) and os.path.isdir(wal):
        found.append(os.path.realpath(wal))
    with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(top, "pg_tblspc")) as links:
        for link in sorted(links, key=lambda entry: entry.name):
            if link.is_symlink() and link.is_dir():
                place = Path(link.path).resolve()
                found += sorted(str(own) for own in place.glob(f"PG_{version}_*"))
    return found


def _entries(top: str) -> Iterator[tuple[int, str, os.stat_result]]:
    """Everything beneath a folder, what is inside a folder before it: (its folder, name, what it is)."""
    device = os.stat(top).st_dev
    for _, folders, files, fd in os.fwalk(top, topdown=False, follow_symlinks=False):
        for name in (*files, *folders):
            try:
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:  # a temporary one of a server that still runs
                continue
            if info.st_dev != device:
                raise PermanentStoreError(
                    f"{_NO}another volume is mounted inside its directory", hint="unmount it, or move it"
                )
            yield fd, name, info


def _check_links(top: str, tablespaces: Set[str]) -> None:
    """Raises: PermanentStoreError: a link to a tablespace that the server does not know, or which leads where
    another user's files are."""
    owner = os.stat(top).st_uid
    with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(top, "pg_tblspc")) as links:
        for link in links:
            if link.name not in tablespaces or (link.is_dir() and os.stat(link.path).st_uid != owner):
                raise PermanentStoreError(
                    f"{_NO}a link in pg_tblspc is none of its tablespaces, or leads to another user's folder",
                    hint="see what it leads to, and remove the link if it is nobody's",
                )


def _check_alone(top: str, version: str) -> None:
    """Raises: PermanentStoreError: another server works on files in one of its folders, as where its
    directory was copied together with links that lead to the other's tablespaces."""
    others = beside.written_elsewhere(top)
    for folder in (*_elsewhere(top, version), top):
        if any(underneath.identity(info) in others for _, _, info in _entries(folder)):
            raise PermanentStoreError(
                f"{_NO}another program has files open there for writing: they may be another server's",
                hint="end it, or see to whom the folder belongs that a link in pg_tblspc or pg_wal leads to",
            )


def _check_files(top: str) -> None:
    """Raises: PermanentStoreError: a file is also somebody else's."""
    own = os.path.join(top, _CONTROL)
    for here, _, files in os.walk(top):
        if "pg_control" in files and os.path.join(here, "pg_control") != own:
            raise PermanentStoreError(
                f"{_NO}another cluster, or a base backup, lies inside its directory", hint="move it elsewhere"
            )
    if any(stat.S_ISREG(info.st_mode) and info.st_nlink > 1 for _, _, info in _entries(top)):
        raise PermanentStoreError(
            f"{_NO}a file in its directory has another name elsewhere (pg_upgrade --link leaves such)",
            hint="remove that cluster, or copy the file, first",
        )


def _overwrite(top: str, done: _Done) -> None:
    """Zeros over every file, on the device on return. That which tells which cluster this is goes last."""
    with Beneath(top) as folder:
        zero = filesystem(folder.fd).overwrites_in_place  # else zeros would land elsewhere
    last = None
    for parent, name, info in _entries(top):
        if not stat.S_ISREG(info.st_mode):
            continue
        done.freed += info.st_blocks * 512
        if name == "pg_control":
            last = os.dup(parent)
        elif zero:
            done.overwritten += _zero(parent, name)
    _sync(top)
    if last is not None:
        done.overwritten += _zero(last, "pg_control") if zero else 0
        os.close(last)
        _sync(top)


def _zero(folder: int, name: str) -> int:
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        size = os.fstat(fd).st_size
        return overwrite(fd, size, sync=False) + overwrite_rest(fd)
    finally:
        os.close(fd)


def _sync(top: str) -> None:
    with Beneath(top) as folder:
        syncfs(folder.fd)


def _remove(top: str, *, keep: str = "") -> None:
    """Unlink everything beneath, and the folder itself where nothing is to be kept. A mount point stays."""
    for folder, name, info in _entries(top):
        if stat.S_ISDIR(info.st_mode):
            with contextlib.suppress(OSError):  # lost+found, or the folder of what is kept
                os.rmdir(name, dir_fd=folder)
        elif name != keep:
            os.unlink(name, dir_fd=folder)
    _sync(top)
    if not keep:
        with contextlib.suppress(OSError):  # the mount point of the volume
            os.rmdir(top)
