"""Which server, of which history, and which database of it answers.

The system identifier is drawn when a cluster is made, and goes into every copy of its files; a timeline
begins with each promotion and each recovery to a point in time; a database keeps its number until it is
dropped. A file copy of a server that was stopped, started elsewhere, has all three.
"""

from __future__ import annotations

from cenotaph.errors import PermanentStoreError
from cenotaph.stores.postgres.session import Session


def read(session: Session) -> str | None:
    """None of a standby, and where this role may not see it."""
    if not session.one(_MAY_IDENTIFY):
        return None
    return str(session.one(_IDENTITY))


def check(session: Session, known: str | None) -> None:
    """See that the database is the one that was known; nothing where none was.

    Raises: PermanentStoreError.
    """
    if known is not None and read(session) != known:
        raise PermanentStoreError(
            "the server or the database that answers is not the one that was surveyed: nothing of it is"
            " touched",
            hint="correct erase_url; after a failover, or from a restored backup, survey and seal again",
        )


_MAY_IDENTIFY = """
SELECT NOT pg_is_in_recovery() AND has_function_privilege('pg_control_system()', 'EXECUTE')
"""
_IDENTITY = """
SELECT format('%s, timeline %s, database %s', system_identifier,
    left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), d.oid)
FROM pg_control_system(), pg_database d WHERE d.datname = current_database()
"""
