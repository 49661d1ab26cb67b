"""What a case takes of a server and of the role that it comes with, and what to run where that is missing.

Looks at catalogs and settings alone. A hint is what the server's administrator runs, with names in clear.

What surprised the author: whether rows are hidden, or a table may be rewritten, is no privilege that is
granted on it; and being a member of the owner's role is enough to rewrite its tables, which is why a hint
never names the role of a superuser for that.
"""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from cenotaph.scope import Selection
from cenotaph.store import OF_SERVER, Copy, Disposition, Finding, Grade, Surroundings
from cenotaph.stores.postgres import eraser
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.catalog import references, views
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS, Schema, Table
from cenotaph.stores.postgres.catalog.views import View
from cenotaph.stores.postgres.outside import subscriber
from cenotaph.stores.postgres.session import Session, literal
from cenotaph.stores.postgres.session import quoted as plainly
from cenotaph.stores.postgres.work import Outlook

_USERS_OWN = 16384  # catalogs, which large objects are in, have lower numbers (transam.h)
_PARAMETERS = 150000  # GRANT SET ON PARAMETER, and the role pg_checkpoint
_LONG = 60  # seconds after which an open transaction is told
_RELOAD = "SELECT pg_reload_conf();"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a case wants of one database, looked at in one session."""

    session: Session
    known: Schema
    tables: tuple[Table, ...] = field(repr=False)  # in scope
    selection: Selection = field(repr=False)
    copies: tuple[Copy, ...] = field(repr=False)  # of these tables
    asked: Grade
    shared: frozenset[str]
    around: Surroundings


def reading(scene: Scene) -> Iterator[Finding]:
    """What surveying, sealing and probing take."""
    yield Finding("version", True, f"PostgreSQL {scene.session.one('SHOW server_version')}")
    yield _encryption(scene.session)
    yield from _to_read(scene)
    yield from _large_objects(scene, gone=False)
    yield _monitoring(scene.session)
    yield _logging(scene.session)
    if scene.asked >= Grade.L2:
        yield _files(scene)
        yield _statements(scene.session)
        yield from _not_reached(scene)


def erasing(scene: Scene) -> Iterator[Finding]:
    """What destroying takes, of the role of `erase_url`."""
    yield from _to_read(scene)
    yield _logging(scene.session)
    yield from _large_objects(scene, gone=True)
    yield from _to_erase(scene)
    yield from _views(scene)
    yield from _cycles(scene)
    yield from _statistics(scene)
    yield from _log(scene)
    yield from _counted(scene)
    yield _transactions(scene.session)
    yield _room(scene)


def _finding(what: str, good: bool, yes: str, no: str, hint: str) -> Finding:
    """`yes` or `no` is what it says; a hint only where there is something to do."""
    return Finding(what, good, yes if good else no, "" if good else hint)


def quoted(name: str) -> str:
    """A name as SQL writes it, in one line and without anything that a terminal would obey (PostgreSQL
    manual, "Identifiers and Key Words": Unicode escapes)."""
    if name.isprintable():
        return plainly(name)
    return 'U&"' + "".join(c if c.isprintable() else f"\\+{ord(c):06X}" for c in _escaped(name)) + '"'


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '""')


# ── rights on tables ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Rights:
    schema: str = field(repr=False)
    relation: str = field(repr=False)
    usage: bool
    select: bool
    delete: bool
    owns: bool
    owner: str = field(repr=False)
    superuser: bool  # its owner
    hides: bool  # rows, by row-level security

    @property
    def sql(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.relation)}"


def _rights(session: Session, tables: Sequence[Table | View]) -> list[_Rights]:
    oids = [table.oid for table in tables if table.oid >= _USERS_OWN]
    return [_Rights(*row) for row in session.rows(_RIGHTS, oids)]


_RIGHTS = """
SELECT n.nspname::text, c.relname::text, has_schema_privilege(n.oid, 'USAGE'),
    has_table_privilege(c.oid, 'SELECT'), has_table_privilege(c.oid, 'DELETE'),
    pg_has_role(c.relowner, 'USAGE'), r.rolname::text, r.rolsuper, row_security_active(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
WHERE c.oid = ANY ($1::int8[]::oid[]) ORDER BY 1, 2
"""


def _to_read(scene: Scene) -> Iterator[Finding]:
    """Of all tables, since what stays is counted too."""
    role, found = _role(scene.session), _rights(scene.session, scene.known.tables)
    schemas = sorted({one.schema for one in found if not one.usage})
    yield _finding(
        "schemas",
        not schemas,
        "this role may use all that have tables",
        f"{len(schemas)} may not be used by this role",
        f"GRANT USAGE ON SCHEMA {', '.join(map(quoted, schemas))} TO {role};",
    )
    missing = [one.sql for one in found if not one.select]
    yield _finding(
        "tables to read",
        not missing,
        f"this role may read all {len(found)}, those that stay are counted",
        f"{len(missing)} of {len(found)} may not be read by this role, and those that stay are counted too",
        f"GRANT SELECT ON TABLE {', '.join(missing)} TO {role};",
    )
    hiding = sum(one.hides for one in found)
    yield _finding(
        "row-level security",
        not hiding,
        "no table hides rows from this role",
        f"{hiding} of {len(found)} tables may hide rows from this role",
        f"ALTER ROLE {role} BYPASSRLS;",
    )


def _large_objects(scene: Scene, *, gone: bool) -> Iterator[Finding]:
    """Only where they are in scope."""
    if all(table.oid != LARGE_OBJECTS for table in scene.tables):
        return
    name, role = "pg_catalog.pg_largeobject", _role(scene.session)
    yield _finding(
        "large objects",
        _superuser(scene.session)
        if gone
        else bool(scene.session.one("SELECT has_table_privilege($1, 'SELECT')", name)),
        "this role may unlink those of everybody" if gone else "this role may read those of everybody",
        "only a superuser may unlink those of others" if gone else "this role may not read those of others",
        f"ALTER ROLE {role} SUPERUSER; or name a superuser in erase_url"
        if gone
        else f"GRANT SELECT ON TABLE {name} TO {role};",
    )


def _to_erase(scene: Scene) -> Iterator[Finding]:
    role, found = _role(scene.session), _rights(scene.session, scene.tables)
    missing = [one.sql for one in found if not one.delete]
    yield _finding(
        "tables to erase from",
        not missing,
        f"this role may erase from all {len(found)} in scope",
        f"{len(missing)} of {len(found)} in scope may not be erased from by this role",
        f"GRANT DELETE ON TABLE {', '.join(missing)} TO {role};",
    )
    others = [one for one in found if not one.owns]
    yield _finding(
        "tables to rewrite",
        not others,
        f"all {len(found)} in scope are this role's",
        f"{len(others)} of {len(found)} in scope are not this role's: it can neither switch triggers off nor"
        " rewrite them",
        _to_own("TABLE", others, role),
    )


def _to_own(kind: str, others: Sequence[_Rights], role: str) -> str:
    """Its owner's rights for the role, but never a superuser's."""
    owners = sorted({one.owner for one in others if not one.superuser})
    statements = [f"GRANT {', '.join(map(quoted, owners))} TO {role};"] if owners else []
    statements += [f"ALTER {kind} {one.sql} OWNER TO {role};" for one in others if one.superuser]
    return " ".join(statements)


def _views(scene: Scene) -> Iterator[Finding]:
    """Only where some are refreshed."""
    outlook = Outlook(scene.session, scene.known, scene.tables, scene.selection, scene.around)
    due = views.due(outlook) + (views.due(outlook, mixed=True) if views.SHARED in scene.shared else ())
    found = _rights(scene.session, due)
    others = [one for one in found if not one.owns]
    if found:
        yield _finding(
            "materialized views to refresh",
            not others,
            f"all {len(found)} are this role's",
            f"{len(others)} of {len(found)} are not this role's, and only their owner may refresh them",
            _to_own("MATERIALIZED VIEW", others, _role(scene.session)),
        )


def _cycles(scene: Scene) -> Iterator[Finding]:
    """Only where tables of a cycle of foreign keys go."""
    found = references.read(scene.session)
    count = sum(bool(eraser.cycle_of(table, scene.known, found, scene.selection)) for table in scene.tables)
    if count:
        yield _finding(
            "cycles of foreign keys",
            _may_set(scene.session, "session_replication_role"),
            f"this role may suspend those that {count} tables in scope are in",
            f"this role may not suspend those that {count} tables in scope are in",
            _grant_set(scene.session, "session_replication_role"),
        )


# ── rights on the server ─────────────────────────────────────────────────────────────────────────


def _role(session: Session) -> str:
    return quoted(str(session.one("SELECT current_user::text")))


def _superuser(session: Session) -> bool:
    return bool(session.one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))


def _may_set(session: Session, parameter: str) -> bool:
    if session.version < _PARAMETERS:
        return _superuser(session)
    return bool(session.one("SELECT has_parameter_privilege($1, 'SET')", parameter))


def _grant_set(session: Session, parameter: str) -> str:
    if session.version < _PARAMETERS:
        return f"ALTER ROLE {_role(session)} SUPERUSER;"
    return f"GRANT SET ON PARAMETER {parameter} TO {_role(session)};"


def _monitoring(session: Session) -> Finding:
    what = "standbys, slots, settings and the size of the log"
    return _finding(
        "monitoring",
        bool(session.one("SELECT pg_has_role('pg_monitor', 'USAGE')")),
        f"this role is told of {what}",
        f"this role is not told of {what}",
        f"GRANT pg_monitor TO {_role(session)};",
    )


def _logging(session: Session) -> Finding:
    return _finding(
        "keys in the server's log",
        not session.logs_keys(),
        "none of this role's get there",
        "the server may write this role's bound values into its log",
        _grant_set(session, "log_parameter_max_length")
        if session.version >= _PARAMETERS
        else f"ALTER ROLE {_role(session)} SET log_parameter_max_length = 0;",
    )


def _statistics(scene: Scene) -> Iterator[Finding]:
    """Only where the case lists the shared action."""
    if "statistics" in scene.shared:
        yield _finding(
            "shared action statistics",
            _superuser(scene.session),
            "this role is a superuser",
            "only a superuser may rewrite statistics",
            f"ALTER ROLE {_role(scene.session)} SUPERUSER; or name a superuser in erase_url",
        )


def _log(scene: Scene) -> Iterator[Finding]:
    """Only where the case lists a shared action that switches it, or has tables overwritten."""
    switched = bool({"wal", "wal_archive"} & scene.shared) or scene.around.online_overwrite
    if not (switched or scene.around.sets_aside):
        return
    session, role = scene.session, _role(scene.session)
    missing = [what for query, what in _LOG_RIGHTS if switched and not session.one(query)]
    hint = " ".join(f"GRANT {what} TO {role};" for what in missing)
    able = _may_checkpoint(session)
    if not able and session.version >= _PARAMETERS:
        hint = f"GRANT pg_checkpoint TO {role}; {hint}".rstrip()
    elif not able:
        hint = f"ALTER ROLE {role} SUPERUSER;"
    yield _finding(
        "checkpoints and the log",
        able and not missing,
        f"this role may checkpoint{', and switch the write-ahead log' if switched else ''}",
        f"this role may not checkpoint{', or not switch the write-ahead log' if switched else ''}",
        hint,
    )
    for name, value, why in _LOG_SETTINGS if "wal" in scene.shared else ():
        now = str(session.one(_SETTING, name))
        yield _finding(name, now == value, f"it is {now}", f"it is {now}: {why}", _alter(name, value))


def _counted(scene: Scene) -> Iterator[Finding]:
    """Only where the case lists the shared action, and the database has what counts statements."""
    if "logs" in scene.shared:
        for signature, able in scene.session.rows(_RESETS):
            yield _finding(
                "texts of statements",
                bool(able),
                "this role may reset pg_stat_statements",
                "this role may not reset pg_stat_statements",
                f"GRANT EXECUTE ON FUNCTION {signature} TO {_role(scene.session)};",
            )


_RESETS = """
SELECT p.oid::regprocedure::text, has_function_privilege(p.oid, 'EXECUTE') FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'pg_stat_statements' AND p.proname = 'pg_stat_statements_reset'
"""
_LOG_SETTINGS = (
    ("wal_recycle", "on", "segments of the log are not written over, and go to free blocks as they are"),
    ("wal_keep_size", "0", "segments of the log are kept for standbys"),
)
_LOG_RIGHTS = (
    ("SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE')", "pg_monitor"),
    (
        "SELECT has_function_privilege('pg_switch_wal()', 'EXECUTE')",
        "EXECUTE ON FUNCTION pg_catalog.pg_switch_wal()",
    ),
)


def _may_checkpoint(session: Session) -> bool:
    if session.version < _PARAMETERS:
        return _superuser(session)
    return bool(session.one("SELECT pg_has_role('pg_checkpoint', 'USAGE')"))


def _alter(name: str, value: str) -> str:
    return f"ALTER SYSTEM SET {name} = {literal(value)}; {_RELOAD}"


# ── the server, and what is around it ────────────────────────────────────────────────────────────


def _encryption(session: Session) -> Finding:
    address = "add ?sslmode=verify-full to the store's address"
    certificate = "give the server a certificate (ssl_cert_file, ssl_key_file), then"
    return _finding(
        "encryption",
        session.local or session.encrypted(),
        "the server is on this machine" if session.local else "what is read is encrypted on its way",
        "what is read crosses the network in clear",
        address if session.one("SHOW ssl") == "on" else f"{certificate} {_alter('ssl', 'on')} and {address}",
    )


def _files(scene: Scene) -> Finding:
    session = scene.session
    place = raw.data_directory(session, scene.around)
    if not isinstance(place, raw.NoAccess):
        return Finding("files of the server", True, "they can be read from here")
    if not session.local:
        hint = "run destroy and probe on the server's own machine, with its address there"
    elif not session.one("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"):
        hint = f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {_role(session)};"
    elif not _data_directory(scene):
        hint = f"GRANT pg_monitor TO {_role(session)}; or say data_dir in case.toml"
    else:
        user = _owner_of(_data_directory(scene))
        hint = f"run as the user {user} (sudo -u {user} cenotaph …) or as root, on the server's machine"
    return Finding("files of the server", False, place.why, hint)


def _statements(session: Session) -> Finding:
    """A log of statements has what other sessions write into their texts."""
    found = [name for name, off in _LOGGED if session.one(_SETTING, name) != off]
    ends = [f"ALTER SYSTEM SET {name} = {literal(off)};" for name, off in _LOGGED if name in found]
    return _finding(
        "statements in the server's log",
        not found,
        "none are written there",
        f"the server writes them there ({', '.join(found)})",
        " ".join([*ends, _RELOAD]),
    )


_SETTING = "SELECT setting FROM pg_settings WHERE name = $1"
_LOGGED = (
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_duration_sample", "-1"),
    ("log_transaction_sample_rate", "0"),
)


def _data_directory(scene: Scene) -> str:
    """As the case or the server tells it; empty where neither does."""
    found = scene.session.rows("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    return scene.around.data_dir or (str(found[0][0]) if found else "")


def _owner_of(place: str) -> str:
    """Who owns the directory; the server's usual user where that cannot be seen."""
    try:
        return pwd.getpwuid(Path(place).stat().st_uid).pw_name
    except (OSError, KeyError):
        return "postgres"


def _not_reached(scene: Scene) -> Iterator[Finding]:
    """What keeps the grade down: shared actions that the case does not list, and copies that none reaches."""
    left = sorted(
        {(copy.kind, copy.place) for copy in scene.copies if copy.disposition is Disposition.REACH_NOT}
    )
    kinds = {kind: [place for _, place in group] for kind, group in groupby(left, lambda one: one[0])}
    for action, reached in OF_SERVER["postgresql"].items():
        if action not in scene.shared and (action in _ALWAYS or any(kind in kinds for kind in reached)):
            hint = f'add "{action}" to the store\'s shared in case.toml, and the owner who approves it'
            yield Finding(f"shared action {action}", False, "the case does not list it", hint)
    reachable = {kind for reached in OF_SERVER["postgresql"].values() for kind in reached}
    for kind, places in kinds.items():
        if kind not in reachable:
            yield Finding(f"copies: {kind}", False, f"{len(places)} are not reached", _hint(kind, places))


_ALWAYS = ("statistics", "wal")  # what a table that was deleted from leaves on every server


def _hint(kind: str, places: Sequence[str]) -> str:
    if kind == "replication slot":
        return " ".join(f"SELECT pg_drop_replication_slot({literal(place)});" for place in places)
    if kind == subscriber.OTHER:
        named = 'add each subscriber to case.toml ([[copy]] kind = "logical subscriber", url); or drop the'
        return f"{named} subscription there, then here: " + " ".join(
            f"DROP PUBLICATION {quoted(place)};" for place in places
        )
    if kind == "history table":
        names = "".join(c if c.isprintable() else "\ufffd" for c in ", ".join(places))
        return f"take {names} into the scope (collections in case.toml)"
    add = f'add a [[copy]] with kind = "{kind}" to case.toml, if this case may reach it'
    return HINTS.get(kind.partition(" (")[0], add)


HINTS = {
    "standby": 'add it to case.toml ([[copy]] kind = "standby", url), or take it out of service',
    "standby, not named in the case": 'add it to case.toml ([[copy]] kind = "standby", url), or take it out'
    " of service",
    "standby, not reached": "see that its url leads to a standby of this server, which answers",
    "standby, its files not reached": "run where its files are, as its user or root",
    "standby of a standby": "take it out of service, and make it anew afterwards",
    "wal archive of a standby": "on the standby: ALTER SYSTEM SET archive_mode = 'on'; restart it, and see to"
    " its archive",
    "logical subscriber, not reached": "see that its url leads to a database that subscribes here",
    "logical subscriber, its files not reached": "run where its files are, as its user or root",
    "dump, kept for a hold": "nothing: it goes once the hold has ended",
    "base backup, kept for a hold": "nothing: it goes once the hold has ended",
    "wal archive, place not known": 'add a [[copy]] with kind = "wal archive" and its path to case.toml; to'
    " archive no more: ALTER SYSTEM SET archive_mode = 'off'; and restart the server",
    "server log, place not known": 'add a [[copy]] with kind = "server log" and its path to case.toml',
    "foreign table": "put the server that it leads to into the case as a store",
    "materialized view": "take every table that it reads into the scope: then it is refreshed; or drop it",
    "large objects": "take them into the scope (collections), or remove them",
}
"""By kind of copy, for those that need no names."""


def _transactions(session: Session) -> Finding:
    """Those that may still see rows which are deleted: rewriting a table keeps such rows."""
    found = session.rows(_OPEN, _LONG)
    prepared = int(session.one("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"))
    ends = [f"SELECT pg_terminate_backend({pid});" for (pid,) in found]
    ends += ["SELECT gid FROM pg_prepared_xacts; then ROLLBACK PREPARED each of them"] if prepared else []
    return _finding(
        "open transactions",
        not found and not prepared,
        f"none has been open for more than {_LONG} s, and none is prepared",
        f"{len(found)} have been open for more than {_LONG} s, {prepared} are prepared: rows that are deleted"
        " would be kept for them",
        " ".join(ends),
    )


_OPEN = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
AND xact_start < now() - make_interval(secs => $1) AND backend_type <> 'walsender' ORDER BY pid
"""


def _room(scene: Scene) -> Finding:
    """A table is written anew beside the old one, with its indexes."""
    largest = max(scene.tables, key=lambda table: table.bytes, default=None)
    place = raw.data_directory(scene.session, scene.around)
    need = largest.bytes if largest is not None else 0
    what = f"rewriting the largest table takes {need:,} bytes"
    if largest is None or isinstance(place, raw.NoAccess):
        return Finding("room to rewrite", True, f"{what}; how many are free cannot be seen from here")
    found = scene.session.one("SELECT pg_relation_filepath($1::int8::oid::regclass)", largest.oid)
    free = shutil.disk_usage((Path(place) / str(found)).parent).free
    says = f"{what}, and {free:,} are free"
    return _finding("room to rewrite", free > need, says, says, f"make room for {need - free:,} bytes more")
