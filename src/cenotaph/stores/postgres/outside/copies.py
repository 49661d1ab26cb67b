"""Where rows of a table may be outside its database, as far as the server's catalogs tell.

What is not told is not absent: a role without rights sees no slots, standbys or settings. No value is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cenotaph.scope import Selection
from cenotaph.store import Capabilities, Copy, Disposition, Extent, Grade, Surroundings
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.outside import archive, backups, logs, standby, subscriber
from cenotaph.stores.postgres.session import Session
from cenotaph.stores.postgres.work import Step

STEPS: Mapping[str, Step] = {
    "wal_archive": Step(archive.destroy, archive.destroying),
    "logs": Step(logs.forget, logs.forgetting),
    "backups": Step(backups.destroy, backups.destroying),
}
"""By shared action, what is done to copies outside the server."""


def capabilities(session: Session, around: Surroundings) -> Capabilities:
    """As `raw.capabilities`, and no higher than what lies beside the server allows."""
    if session.one("SELECT pg_is_in_recovery()"):  # an auditor's own address may lead there
        return Capabilities(Grade.L1, "the server is a standby: its primary's files are not searched")
    able = raw.capabilities(session, around)
    if able.grade <= Grade.L2:
        return able
    why = standby.why_not_wiped(session, around) or backups.why_not_overwritten(around)
    return Capabilities(Grade.L2, why) if why else able


def of_table(session: Session, table: Table) -> Iterator[Copy]:
    """Places that have to do with this table."""
    for kind, query in _OF_TABLE.items():
        for place, size in session.rows(query, table.oid):
            yield _not_reached(kind, place, size)


def of_server(session: Session, selection: Selection, around: Surroundings) -> Iterator[Copy]:
    """Places that may hold rows of any table of the server. Standbys and subscribers are asked, backups are
    looked into."""
    yield _not_reached("wal", "pg_wal", _wal_bytes(session))
    yield from archive.found(session, around)
    yield from logs.found(session, around)
    subscribers = subscriber.look(session, around)
    yield from subscriber.found(session, selection, subscribers)
    yield from standby.found(session, around, frozenset(slot for one in subscribers for slot in one.slots))
    yield from backups.found(session, selection, around)


def extents(session: Session, selection: Selection, around: Surroundings) -> Iterator[Extent]:
    """The files of copies outside the server that are known, and can be read here."""
    yield from archive.extents(session, around)
    yield from logs.extents(session, around)
    yield from standby.extents(session, selection, around)
    yield from subscriber.extents(session, selection, around)
    yield from backups.extents(around)


def remains(around: Surroundings) -> Iterator[Extent]:
    """Those of copies that the case names, where the server itself is gone."""
    yield from archive.remains(around)
    yield from logs.remains(around)
    yield from backups.extents(around)


def _not_reached(kind: str, place: str, size: int) -> Copy:
    return Copy(kind, place, size, Disposition.REACH_NOT)


def _wal_bytes(session: Session) -> int:
    """0 where this role may not look (pg_monitor may)."""
    if not session.one("SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE')"):
        return 0
    return int(session.one("SELECT coalesce(sum(size), 0)::int8 FROM pg_ls_waldir()"))


_OF_TABLE = {
    "statistics": """
        SELECT 'pg_statistic', pg_total_relation_size('pg_statistic') WHERE EXISTS (
            SELECT FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename JOIN pg_namespace n
            ON n.oid = c.relnamespace AND n.nspname = s.schemaname WHERE c.oid = $1::int8)""",
    "extended statistics": """
        SELECT 'pg_statistic_ext_data', pg_total_relation_size('pg_statistic_ext_data')
        WHERE EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = $1::int8)""",
}
