"""Rewriting a table so that nothing deleted is left in it, and noticing where the server did not.

What surprised the author: VACUUM passes over a table that its role does not own with a warning, and keeps
deleted rows that any transaction still open in the database might want to see. Both end as a success. A
logical slot keeps those of catalogs, however far its subscriber is, until a newer transaction has a number.
"""

from __future__ import annotations

import re
import time

from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.store import Command
from cenotaph.stores.postgres.commands import CHECKPOINT
from cenotaph.stores.postgres.session import Locked
from cenotaph.stores.postgres.writing import LOCK_SECONDS, Writer

NUMBER = Command(
    "SELECT pg_current_xact_id()",
    "Gives a transaction its number: a logical slot lets go of the log, and of deleted rows of catalogs, only"
    " when a newer one was seen.",
)
DECODED = "SELECT FROM pg_replication_slots WHERE slot_type = 'logical'"
_USERS = 16384  # FirstNormalObjectId: below it are catalogs
_PAUSE = 0.1
_COUNT = re.compile(r"\d+")


def rewrite(writer: Writer, command: Command, oid: int) -> None:
    """Run a `VACUUM (FULL, VERBOSE)`, after which the table's file holds rows that stay and no others.

    Raises:
        TransientStoreError: transactions that may still see deleted rows do not end; who they are.
        PermanentStoreError: this role may not.
    """
    now = str(writer.one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))
    deadline = time.monotonic() + LOCK_SECONDS
    catalog = oid < _USERS
    _wait(writer, now, deadline, catalog)
    while kept := _vacuumed(writer, command, oid):
        if time.monotonic() > deadline:
            seen = f" ({', '.join(who)})" if (who := _older(writer, now, catalog)) else ""
            raise TransientStoreError(
                f"the server kept {kept} deleted rows for transactions that may still see them{seen}",
                hint="end these transactions, or run again later",
            )
        time.sleep(_PAUSE)


def let_slots_go(writer: Writer) -> None:
    """Have logical slots need no more than what their subscribers have not confirmed."""
    if writer.rows(DECODED):
        writer.run(NUMBER)
        writer.run(CHECKPOINT)


def _wait(writer: Writer, now: str, deadline: float, catalog: bool) -> None:
    """For every transaction older than the transaction number `now`: a snapshot elsewhere keeps deleted
    rows, without any lock on the table."""
    while who := _older(writer, now, catalog):
        if time.monotonic() > deadline:
            raise TransientStoreError(
                f"deleted rows stay in the file while {', '.join(who)} may still see them",
                hint="end these transactions, or run again later",
            )
        if catalog:
            let_slots_go(writer)
        time.sleep(_PAUSE)


def _vacuumed(writer: Writer, command: Command, oid: int) -> int:
    """How many deleted rows are in the new file."""
    before = _file(writer, oid)
    with writer.remarks() as remarks:
        try:
            writer.run(command)
        except Locked:
            raise TransientStoreError(
                f"a table cannot be rewritten now: {writer.in_the_way(oid)} would have to end first",
                hint="end them, or run again later",
            ) from None
    if _file(writer, oid) == before:
        raise PermanentStoreError(
            "a table from which was erased was not rewritten: this role may not vacuum it",
            hint="name its owner, or a superuser, in erase_url",
        )
    # "N dead row versions cannot be removed yet.", in whatever language the server speaks (cluster.c)
    return max((int(found[0]) for remark in remarks if (found := _COUNT.search(remark))), default=0)


def _file(writer: Writer, oid: int) -> int | None:
    found = writer.rows("SELECT pg_relation_filenode($1::int8::oid)::int8", oid)
    return None if found[0][0] is None else int(found[0][0])


def _older(writer: Writer, now: str, catalog: bool) -> list[str]:
    """Who holds a snapshot or a transaction from before `now`, as far as this role is told. No names."""
    return [str(who) for (who,) in writer.rows(_OLDER, now, catalog)]


# Only the horizon of this database counts, and that of standbys, which have none (ComputeXidHorizons).
_OLDER = """
WITH mark AS (SELECT age($1::text::xid8::xid) AS now)
SELECT who FROM mark, (
    SELECT 'server process ' || pid, greatest(age(backend_xid), age(backend_xmin)) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
        AND (datname = current_database() OR datname IS NULL)
    UNION ALL SELECT 'a prepared transaction', age(transaction) FROM pg_prepared_xacts
    WHERE database = current_database()
    UNION ALL SELECT 'a replication slot',
        CASE WHEN $2 THEN greatest(age(xmin), age(catalog_xmin)) ELSE age(xmin) END FROM pg_replication_slots
) AS held (who, age) WHERE held.age > mark.now ORDER BY 1
"""
