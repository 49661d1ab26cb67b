# ruff: noqa: S608 (names cannot be bound; `quoted` quotes them)
"""New dumps and base backups of what stays: made, restored on a private server, compared, put in place.

A dump is compared with the very snapshot that it was made of, so that writers are in nobody's way. A base
backup is compared with the database as it is right afterwards: where somebody wrote meanwhile, it is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cenotaph.durable import Beneath, rename_new
from cenotaph.errors import PermanentStoreError
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.catalog import schema
from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.outside import beside, programs, restoring
from cenotaph.stores.postgres.outside.programs import Programs
from cenotaph.stores.postgres.session import Place, Session, driver_errors
from cenotaph.stores.postgres.work import Work


def renew(work: Work, kind: str, path: str) -> None:
    """Have a copy of what stays at `path`, which restores. What an earlier run put there is looked at again.

    Raises: PermanentStoreError, with the old copy as it was.
    """
    found = programs.find(work.writer)
    data = raw.data_directory(work.writer, work.around)
    user = programs.server_user(None if isinstance(data, raw.NoAccess) else data)
    parent = Path(path).parent
    if not parent.is_dir():
        raise PermanentStoreError("the folder of the place for a new one is not there")
    with restoring.workplace(parent, user) as inner:
        (_dump if kind == "dump" else _base_backup)(work, found, path, inner, user)


def _dump(work: Work, found: Programs, path: str, inner: Path, user: int | None) -> None:
    with closing(Session(work.writer.place)) as session, driver_errors("the database"):
        new = path
        if not os.path.lexists(path):
            new = str(inner.with_name(_NEW))
            told, secrets = session.place.without_password()
            snapshot = str(session.one("SELECT pg_export_snapshot()"))
            found.run(
                "pg_dump", "-Fc", "-w", f"--snapshot={snapshot}", "-f", new, "-d", told, secrets=secrets
            )
        expected = figures(session)
        options = ["--locale=C", f"--encoding={session.encoding}"]
        makings = restoring.Makings.of(session)
        with programs.fresh(found, inner, user, options) as scratch:
            restored = restoring.restore(found, scratch, makings, new, inner)
            _compare(expected, restored.place)
    if restored.left_out:
        work.notes.append(
            f"{restored.left_out} definitions of a new dump were not restored to be compared: they take a"
            " superuser, or reach beyond the database"
        )
    if new != path:
        _put(new, path)


_NEW = "new"  # in our own folder: another store of the case may make one at the same time


def _base_backup(work: Work, found: Programs, path: str, inner: Path, user: int | None) -> None:
    writer = work.writer
    if writer.rows("SELECT 1 FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')"):
        raise PermanentStoreError("the server has tablespaces of its own, which is not restored here")
    new = path
    if not os.path.lexists(path):
        new = str(inner.with_name(_NEW))
        told, secrets = writer.place.without_password()
        line = ("-D", new, "-X", "stream", "-c", "fast", "-w", "-d", told)
        found.run("pg_basebackup", *line, secrets=secrets)
    with closing(Session(writer.place)) as session, driver_errors("the database"):
        expected = figures(session)
        databases = session.rows(_DATABASES)
        (owner,) = session.rows("SELECT rolname::text FROM pg_roles WHERE oid = 10")[0]
        prepared = str(session.one("SELECT current_setting('max_prepared_transactions')"))
    refuse_links(new)
    copy = inner / "data"
    shutil.copytree(new, copy, symlinks=True)
    restoring.make_startable(copy, user)
    settings = {"max_prepared_transactions": prepared}
    with programs.started(found, copy, user, str(owner), settings) as scratch:
        with closing(Session(scratch.place("template1"))) as made, driver_errors("the restored copy"):
            if made.rows(_DATABASES) != databases:
                raise PermanentStoreError("a new base backup has other databases than the server")
        role = restoring.reader(scratch, found.version)
        _compare(expected, scratch.place(str(writer.one("SELECT current_database()::text")), role))
    if new != path:
        _put(new, path)


def refuse_links(path: str) -> None:
    """A server that is started on a copy of it would write where they lead: into a running one's log.

    Raises: PermanentStoreError.
    """
    parent, name = beside.split(path)
    with beside.folder(parent) as place:
        for _ in beside.walked(place, name):
            pass


def figures(session: Session) -> dict[str, tuple[object, ...]]:
    """For each table, how many rows it has, and a digest of all of them in any order."""
    return {table.name: session.rows(_figures(table))[0] for table in schema.read(session).tables}


def _figures(table: Table) -> str:
    parts = ", ".join(
        f"coalesce(sum(('x' || substr(digest, {at}, 15))::bit(60)::int8), 0)::text" for at in (1, 16, 31, 46)
    )
    return (
        f"SELECT count(*), {parts} FROM (SELECT encode(sha256(textsend(ROW(kept.*)::text)), 'hex') AS digest"
        f" FROM {table.sql()} AS kept) AS digests"
    )


def _compare(expected: dict[str, tuple[object, ...]], place: Place) -> None:
    with closing(Session(place)) as session, driver_errors("the restored copy"):
        restored = figures(session)
    if restored.keys() != expected.keys():
        raise PermanentStoreError("a new one has other tables than the database once it is restored")
    other = sum(restored[name] != expected[name] for name in expected)
    if other:
        raise PermanentStoreError(
            f"{other} tables of a new one are not as in the database once it is restored: somebody wrote"
            " meanwhile, or something else lies at its place"
        )


def _put(new: str, path: str) -> None:
    """Rename, durably, what is whole and was compared."""
    for file in _all(new):
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    parent, name = beside.split(path)
    with Beneath(os.fsencode(parent)) as place, contextlib.suppress(FileExistsError):
        rename_new(place.fd, os.fsencode(os.path.relpath(new, parent)), name)
        os.fsync(place.fd)
        return
    raise PermanentStoreError("something else came to lie at the place of the new one")


def _all(path: str) -> Iterator[str]:
    yield path
    for here, folders, names in os.walk(path):
        yield from (os.path.join(here, name) for name in (*folders, *names))


_DATABASES = "SELECT datname::text FROM pg_database ORDER BY 1"
