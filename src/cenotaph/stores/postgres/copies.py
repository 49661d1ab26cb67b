# ruff: noqa: S608 (only the conditions of other constants are put in)
"""Where rows of a table may be besides its own files, as far as the server's catalogs tell.

What is not told is not absent: a role without rights sees no slots, standbys or settings. No value is read.
"""

from __future__ import annotations

from collections.abc import Iterator

from cenotaph.store import NOTHING_AROUND, Copy, Disposition, Surroundings
from cenotaph.stores.postgres.schema import USERS_OWN, Table, collection_name
from cenotaph.stores.postgres.session import Session


def found(session: Session, table: Table, around: Surroundings = NOTHING_AROUND) -> Iterator[Copy]:
    """Places in the database that depend on the table first, then those of the whole server."""
    for schema, relation, size in session.rows(_VIEWS, table.oid):
        yield _not_reached("materialized view", collection_name(schema, relation), size)
    for kind, query in _OF_TABLE.items():
        for place, size in session.rows(query, table.oid):
            yield _not_reached(kind, place, size)
    for kind, query in _OF_SERVER.items():
        for place, size in session.rows(query):
            yield _not_reached(kind, place, size)
    yield _not_reached("wal", "pg_wal", _wal_bytes(session))


def _not_reached(kind: str, place: str, size: int) -> Copy:
    return Copy(kind, place, size, Disposition.REACH_NOT)


def _wal_bytes(session: Session) -> int:
    """0 where this role may not look (pg_monitor may)."""
    if not session.one("SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE')"):
        return 0
    return int(session.one("SELECT coalesce(sum(size), 0)::int8 FROM pg_ls_waldir()"))


# A view depends on what its rewrite rule names; what it reads inside functions is not recorded anywhere.
_VIEWS = """
WITH RECURSIVE edges (above, below) AS (
    SELECT DISTINCT r.ev_class, d.refobjid FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
), reached (oid) AS (
    SELECT above FROM edges WHERE below IN (
        SELECT $1::int8::oid UNION ALL SELECT inhparent FROM pg_inherits WHERE inhrelid = $1::int8::oid
    )
    UNION SELECT above FROM edges JOIN reached ON below = reached.oid
)
SELECT n.nspname::text, c.relname::text, pg_total_relation_size(c.oid)
FROM reached JOIN pg_class c ON c.oid = reached.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' ORDER BY 1, 2
"""
_OF_TABLE = {
    "statistics": """
        SELECT 'pg_statistic', pg_total_relation_size('pg_statistic') WHERE EXISTS (
            SELECT FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename JOIN pg_namespace n
            ON n.oid = c.relnamespace AND n.nspname = s.schemaname WHERE c.oid = $1::int8)""",
    "extended statistics": """
        SELECT 'pg_statistic_ext_data', pg_total_relation_size('pg_statistic_ext_data')
        WHERE EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = $1::int8)""",
    "logical subscriber": """
        SELECT p.pubname::text, 0::int8 FROM pg_publication_tables p
        JOIN pg_class c ON c.relname = p.tablename
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname
        WHERE c.oid = $1::int8 ORDER BY 1""",
}
_OF_SERVER = {
    "foreign table": f"""
        SELECT n.nspname || '.' || c.relname, 0::int8
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'f' AND {USERS_OWN} ORDER BY 1""",
    "large objects": """
        SELECT 'pg_largeobject', pg_total_relation_size('pg_largeobject')
        WHERE EXISTS (SELECT FROM pg_largeobject_metadata)""",
    "standby": "SELECT coalesce(application_name, ''), 0::int8 FROM pg_stat_replication ORDER BY 1",
    "replication slot": "SELECT slot_name::text, 0::int8 FROM pg_replication_slots ORDER BY 1",
    "wal archive": "SELECT 'archive_command', 0::int8 WHERE current_setting('archive_mode') <> 'off'",
    "server log": """
        SELECT 'log', 0::int8 WHERE current_setting('log_statement') <> 'none'
        OR current_setting('log_min_duration_statement') <> '-1'""",
    "statement statistics": """
        SELECT 'pg_stat_statements', 0::int8 FROM pg_extension WHERE extname = 'pg_stat_statements'""",
}
