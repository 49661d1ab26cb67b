"""Restoring a dump on a scratch server, by a role that has no rights there but over what it restores.

What surprised the author: a dump is a program. Checks of tables, expressions of indexes and casts call the
database's functions while it is restored, and whoever owned a table there may have put some into it that
obey the role that calls them: as a superuser they start programs and read files. Even planning a query of
a restored table calls some of them, for an index on an expression, so that comparing takes that role too.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cenotaph import durable
from cenotaph.durable import Beneath
from cenotaph.errors import PermanentStoreError
from cenotaph.residue import outside
from cenotaph.store import Command
from cenotaph.stores.postgres.outside.programs import Programs, Scratch
from cenotaph.stores.postgres.session import Place, Session, driver_errors, quoted
from cenotaph.stores.postgres.writing import Writer

DATABASE = "restored"


@dataclass(frozen=True, slots=True)
class Makings:
    """What a database's dump takes before it can be restored, as the database has it."""

    roles: tuple[str, ...]  # owners and members named in policies
    schemas: tuple[str, ...]
    extensions: tuple[tuple[str, str], ...]  # each with its schema, in an order in which they can be made
    rightful: frozenset[tuple[int, int]]  # what only a superuser may make, and what depends on it

    @classmethod
    def of(cls, session: Session) -> Makings:
        return cls(
            tuple(str(name) for (name,) in session.rows(_ROLES)),
            tuple(str(name) for (name,) in session.rows(_SCHEMAS)),
            tuple((str(name), str(schema)) for name, schema in session.rows(_EXTENSIONS)),
            frozenset((int(kind), int(number)) for kind, number in session.rows(_RIGHTFUL)),
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """A dump that was restored."""

    place: Place  # as the role that restored it
    left_out: int  # what it has and that role may not make


def restore(
    programs: Programs, scratch: Scratch, makings: Makings, path: str, inner: Path, *, strictly: bool = True
) -> Restored:
    """Restore a dump that pg_restore reads. Of extensions the server's own scripts make what there is;
    nothing of the dump runs as anybody else than a role without rights.

    What reaches beyond the database is left out (publications, subscriptions, foreign servers), and what
    only a superuser may make. Raises: PermanentStoreError where the rest cannot be restored whole; not
    `strictly`, whatever can be is.
    """
    role = f"cenotaph-{secrets.token_hex(8)}"
    _prepare(scratch, makings, role, strictly)
    place = scratch.place(DATABASE, role)
    with tempfile.NamedTemporaryFile(dir=inner) as listed:
        programs.run("pg_restore", "-l", path, into=Path(listed.name))
        lines = Path(listed.name).read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not _is_left_out(line, makings)]
        Path(listed.name).write_bytes(b"".join(kept))
        try:
            programs.run(
                "pg_restore",
                *(("--exit-on-error",) if strictly else ()),
                "--no-owner",
                "--no-privileges",
                "--no-tablespaces",
                "-L",
                listed.name,
                "-d",
                place.without_password()[0],
                path,
            )
        except PermanentStoreError:
            if strictly:
                raise PermanentStoreError(
                    "it cannot be restored by a role without rights, which alone may run what is in a dump"
                ) from None
    passed_over = sum(
        _ENTRY.match(line) is not None for line in lines if _is_left_out(line, makings, _BEYOND)
    )
    return Restored(place, passed_over)


@contextlib.contextmanager
def workplace(parent: Path, user: int | None, volume: int = -1) -> Iterator[Path]:
    """A folder in `parent` in which a scratch server can run as its user; everything in it is overwritten in
    the end. Raises: UsageError where it would lie on the device `volume`."""
    with outside.scratch_folder(parent, volume) as folder:
        folder.chmod(0o711)
        inner = folder / "server"
        inner.mkdir(mode=0o700)
        if user is not None:
            os.chown(inner, user, -1)
        try:
            yield inner
        finally:
            _wipe(inner)


def make_startable(copy: Path, user: int | None) -> None:
    """Of a copy of a base backup: nothing that it was told to follow or archive to, and its user's."""
    for signal in ("standby.signal", "recovery.signal"):
        (copy / signal).unlink(missing_ok=True)
    (copy / "postgresql.auto.conf").write_text("")
    give(copy, user)


def give(top: Path, user: int | None) -> None:
    """Have the user that a scratch server runs as own it all."""
    if user is None:
        return
    os.chown(top, user, -1)
    for here, folders, names in os.walk(top):
        for name in (*folders, *names):
            os.chown(os.path.join(here, name), user, -1, follow_symlinks=False)


def _wipe(top: Path) -> None:
    """Overwrite what a scratch server had, all of it before any of it is waited for."""
    files = [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in files:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            durable.overwrite(fd, os.fstat(fd).st_size, sync=False)
        finally:
            os.close(fd)
    with Beneath(top) as place:
        durable.syncfs(place.fd)
    for path in files:
        path.unlink()


def reader(scratch: Scratch, version: int) -> str:
    """A role of a server that was started on a copy of another, which may read everything and do nothing
    besides: planning a query runs what its tables' owners wrote. Before PostgreSQL 14 there is none."""
    if version < 14:
        return scratch.user
    role = f"cenotaph-{secrets.token_hex(8)}"
    with closing(Writer(scratch.place("template1"))) as made, driver_errors("the restored copy"):
        made.run(Command(f"CREATE ROLE {quoted(role)} LOGIN BYPASSRLS", "Reads what was restored."))
        made.run(Command(f"GRANT pg_read_all_data TO {quoted(role)}", "Everything of it."))
    return role


def _prepare(scratch: Scratch, makings: Makings, role: str, strictly: bool) -> None:
    """Make what only a superuser may, before anything of the dump is there."""
    mine = quoted(role)
    with closing(Writer(scratch.place("template1"))) as made, driver_errors("a scratch server"):
        for name in makings.roles:
            if name != scratch.user:
                made.run(Command(f"CREATE ROLE {quoted(name)}", "Has owners of policies."))
        made.run(Command(f"CREATE ROLE {mine} LOGIN BYPASSRLS", "Restores, and compares."))
        made.run(Command(f"CREATE DATABASE {DATABASE} OWNER {mine} TEMPLATE template0", "Is restored into."))
    with closing(Writer(scratch.place(DATABASE))) as made, driver_errors("a scratch server"):
        made.run(Command("DROP SCHEMA public", "The dump's own comes in its place."))
        for name in makings.schemas:
            made.run(Command(f"CREATE SCHEMA {quoted(name)} AUTHORIZATION {mine}", "Is restored into."))
        for name, schema in makings.extensions:
            _extend(made, name, schema, strictly)
        made.run(Command(f"GRANT SELECT ON pg_largeobject TO {mine}", "Is compared."))
        for (name,) in made.rows(_SCHEMAS_THERE):
            schema = quoted(str(name))
            for what in ("", "ALL TABLES IN ", "ALL SEQUENCES IN "):  # extensions' own, which have rows too
                made.run(Command(f"GRANT ALL ON {what}SCHEMA {schema} TO {mine}", "Is restored into."))


def _extend(made: Writer, name: str, schema: str, strictly: bool) -> None:
    command = Command(
        f"CREATE EXTENSION IF NOT EXISTS {quoted(name)} SCHEMA {quoted(schema)}",
        "By the server's own script.",
    )
    try:
        with driver_errors("an extension"):
            made.run(command)
    except PermanentStoreError:
        if strictly:
            raise PermanentStoreError(
                "the database has an extension that cannot be made on a scratch server"
            ) from None


def _is_left_out(line: bytes, makings: Makings, kinds: re.Pattern[bytes] | None = None) -> bool:
    """Whether a line of `pg_restore -l` (number; catalog, number in it, kind, schema, name) is not taken."""
    entry = _ENTRY.match(line)
    if entry is None:
        return False
    rightful = (int(entry[1]), int(entry[2])) in makings.rightful
    return rightful or (kinds or _LEFT_OUT).match(entry[3]) is not None


_ENTRY = re.compile(rb"[0-9]+; ([0-9]+) ([0-9]+) (.+)", re.DOTALL)
_KINDS = rb"PUBLICATION|SUBSCRIPTION|EVENT TRIGGER|SERVER|USER MAPPING|FOREIGN |ACCESS METHOD|SECURITY LABEL"
_BEYOND = re.compile(rb"(?:" + _KINDS + rb"|PROCEDURAL LANGUAGE|OPERATOR (?:CLASS|FAMILY))")
_LEFT_OUT = re.compile(_BEYOND.pattern + rb"|MATERIALIZED VIEW DATA |SCHEMA - |EXTENSION - |COMMENT ")

_ROLES = "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY oid"
_SCHEMAS_THERE = """
SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""
_SCHEMAS = f"""
{_SCHEMAS_THERE} AND NOT EXISTS (
    SELECT FROM pg_depend d
    WHERE d.classid = 'pg_namespace'::regclass AND d.objid = pg_namespace.oid AND d.deptype = 'e')
"""
_EXTENSIONS = """
SELECT extname::text, nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname <> 'plpgsql' ORDER BY e.oid
"""
# What takes a superuser to make, where no extension did; and what cannot be without it.
_RIGHTFUL = """
WITH RECURSIVE made (classid, objid) AS (
    SELECT 'pg_proc'::regclass::oid, p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE NOT l.lanpltrusted OR p.proleakproof
    UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
    UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
    UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast WHERE castmethod = 'b'
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
    UNION ALL SELECT 'pg_class'::regclass, ftrelid FROM pg_foreign_table
), gone (classid, objid) AS (
    SELECT classid, objid FROM made WHERE objid >= 16384 AND NOT EXISTS (
        SELECT FROM pg_depend e WHERE e.classid = made.classid AND e.objid = made.objid AND e.deptype = 'e')
    UNION
    SELECT d.classid, d.objid FROM gone JOIN LATERAL (
        SELECT classid, objid FROM pg_depend
        WHERE refclassid = gone.classid AND refobjid = gone.objid AND deptype IN ('n', 'a', 'i')
        UNION ALL SELECT refclassid, refobjid FROM pg_depend
        WHERE classid = gone.classid AND objid = gone.objid AND deptype = 'i'
    ) d ON true
)
SELECT classid::int8, objid::int8 FROM gone
"""
