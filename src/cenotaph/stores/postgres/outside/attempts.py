"""Attempts to restore what is left of a server's copies, by whoever probes it.

Dumps are restored on a scratch server, base backups recovered as far as the archive goes. What comes back is
counted, and overwritten.

What surprised the author: where dumps and base backups are destroyed as they should be, what is left to be
restored is what was made anew; that none of the scope comes back from it is then seen by somebody else than
who made it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cenotaph.errors import CenotaphError, PermanentStoreError
from cenotaph.store import GivenCopy, Restoration, Surroundings
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.outside import archive, backups, programs, renewal, restoring
from cenotaph.stores.postgres.outside.backups import BASE, DUMP, Backup
from cenotaph.stores.postgres.outside.programs import Programs
from cenotaph.stores.postgres.session import Place, Session

Count: TypeAlias = Callable[[Place], tuple[int, int]]
"""Rows of a database, and of those the records of the scope."""

_ROOM = {DUMP: 20, BASE: 3}  # times its bytes, that must be free
_SCRIPT = "it is a script, which nobody should run; its bytes were searched"


class Tried(NamedTuple):
    """What came back, and what was not tried, with the reason."""

    restored: tuple[Restoration, ...]
    untried: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Scene:
    session: Session
    around: Surroundings
    count: Count
    found: Programs
    user: int | None
    inner: Path


def attempt(session: Session, around: Surroundings, count: Count, parent: Path, volume: int) -> Tried:
    """Restore each dump and base backup that is left, and each that was made anew, one after the other, in a
    folder of `parent`, which may not lie on the device `volume`."""
    restored, untried = [], list(_not_tried(session, around))
    for backup in _left(around):
        try:
            if shutil.disk_usage(parent).free < _ROOM[backup.kind] * backup.bytes:
                raise PermanentStoreError("there is no room for it in the folder for temporary files")
            found = programs.find(session)
            data = raw.data_directory(session, around)
            user = programs.server_user(None if isinstance(data, raw.NoAccess) else data)
            with restoring.workplace(parent, user, volume) as inner:
                scene = _Scene(session, around, count, found, user, inner)
                restored.append((_dump if backup.kind == DUMP else _base)(scene, backup))
        except CenotaphError as error:
            untried.append(f"restoring a {backup.kind}: not tried, or not to its end: {error.message}")
        except OSError as error:
            untried.append(f"restoring a {backup.kind}: not tried, or not to its end: {error.strerror}")
    return Tried(tuple(restored), tuple(untried))


def _left(around: Surroundings) -> Iterator[Backup]:
    anew = [GivenCopy(copy.kind, copy.renew) for copy in around.copies if copy.renew]
    yield from backups.given(around)
    yield from backups.given(Surroundings(copies=tuple(anew)))


def _not_tried(session: Session, around: Surroundings) -> Iterator[str]:
    if session.rows("SELECT 1 FROM pg_extension WHERE extname = 'pg_dirtyread'"):
        yield "pg_dirtyread: not tried, although it is installed: pages of tables were parsed"
    segments = any(archive.files(top) for top in archive.places(session, around) if top)
    if segments and not any(backup.kind == BASE for backup in _left(around)):
        yield "recovery from the wal archive: not tried: no base backup is left that is known here"


def _dump(scene: _Scene, backup: Backup) -> Restoration:
    what = backups.what(scene.session, backup)
    if what != backups.CUSTOM:
        raise PermanentStoreError(_SCRIPT)
    options = ["--locale=C", f"--encoding={scene.session.encoding}"]
    makings = restoring.Makings.of(scene.session)
    with programs.fresh(scene.found, scene.inner, scene.user, options) as scratch:
        done = restoring.restore(scene.found, scratch, makings, backup.path, scene.inner, strictly=False)
        rows, records = scene.count(done.place)
    return Restoration("a dump restored", "pg_restore", str(scene.found.version), rows, records)


def _base(scene: _Scene, backup: Backup) -> Restoration:
    data, staged = scene.inner / "data", scene.inner / "archive"
    _unpack(backup, data)
    restoring.make_startable(data, scene.user)
    (data / "recovery.signal").touch()
    staged.mkdir()
    segments = _stage(scene, staged)
    for path in (data / "recovery.signal", staged, *staged.iterdir()):
        if scene.user is not None:
            os.chown(path, scene.user, -1)
    place = shlex.quote(str(staged)).replace("%", "%%")
    settings = {
        "restore_command": f"cp {place}/%f %p",
        "recovery_target_timeline": "latest",
        "max_prepared_transactions": str(
            scene.session.one("SELECT current_setting('max_prepared_transactions')")
        ),
    }
    owner = str(scene.session.one("SELECT rolname::text FROM pg_roles WHERE oid = 10"))
    database = str(scene.session.one("SELECT current_database()::text"))
    with programs.started(scene.found, data, scene.user, owner, settings) as scratch:
        rows, records = scene.count(scratch.place(database, restoring.reader(scratch, scene.found.version)))
    note = f"with {segments} segments of the wal archive" if segments else ""
    return Restoration("a base backup recovered", "postgres", str(scene.found.version), rows, records, note)


def _unpack(backup: Backup, data: Path) -> None:
    """A base backup as files, wherever it lies packed. Raises: PermanentStoreError for links in it."""
    if os.path.isfile(os.path.join(backup.path, "global", "pg_control")):
        renewal.refuse_links(backup.path)
        shutil.copytree(backup.path, data, symlinks=True)
        return
    data.mkdir(mode=0o700)
    names = [os.fsdecode(file.name) for file in backup.files] if backup.folder else [""]
    for name in names:
        if ".tar" not in name and name:
            continue
        if name[:1].isdigit():
            raise PermanentStoreError("it has tablespaces of its own, which are not restored here")
        with (
            backups.unpacked(os.path.join(backup.path, name).rstrip("/")) as stream,
            tarfile.open(fileobj=stream, mode="r|") as packed,
        ):
            top = data / "pg_wal" if name.startswith("pg_wal") else data
            packed.extractall(top, filter=_plain)  # noqa: S202 (which lets nothing lead out of it)


def _plain(member: tarfile.TarInfo, top: str) -> tarfile.TarInfo | None:
    if not (member.isreg() or member.isdir()):
        raise PermanentStoreError("it has links or special files in it, which are not followed")
    return tarfile.data_filter(member, top)


def _stage(scene: _Scene, staged: Path) -> int:
    """What the archives have, unpacked, where the scratch server's user may read it; how many segments."""
    copied = 0
    for top in filter(None, archive.places(scene.session, scene.around)):
        for file in archive.files(top):
            name = archive.restored_name(file.name)
            if name is None:
                continue
            with (
                backups.unpacked(os.path.join(top, os.fsdecode(file.name))) as stream,
                (staged / name).open("wb") as copy,
            ):
                shutil.copyfileobj(stream, copy, 1 << 20)
            copied += not name.endswith(".history")
    return copied
