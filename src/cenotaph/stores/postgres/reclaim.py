"""The bytes that deleted rows leave: in the tables themselves, in statistics, in the write-ahead log.

What surprised the author: statistics hold names and identity numbers of people, and stay when a table is
emptied, analysed or dropped, also those of its partitioned parents and of indexes on expressions; and a
switch of the log does nothing where nothing was written since the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cenotaph.errors import PermanentStoreError
from cenotaph.store import OF_SERVER, Grade, Reclamation
from cenotaph.stores.postgres import copies, raw, schema
from cenotaph.stores.postgres.schema import Table
from cenotaph.stores.postgres.session import Denied
from cenotaph.stores.postgres.writing import Writer

STATISTICS, WAL = "statistics", "wal"  # shared actions, as case.toml and plans name them
_OFFERED = OF_SERVER["postgresql"]


def run(writer: Writer, names: Sequence[str], shared: frozenset[str]) -> Reclamation:
    """Rewrite the tables from which was erased, then what the case shares of the server."""
    known = schema.read(writer)
    tables = [table for name in names if (table := known.table(name)) is not None]
    before = sum(table.bytes for table in tables)
    writer.attempt({"temp_file_limit": "-1"})  # indexes are built anew, of what stays
    for table in tables:
        writer.run(f"VACUUM (FULL) {table.sql().removeprefix('ONLY ')}")
    if STATISTICS in shared:
        _forget_statistics(writer, tables)
    if WAL in shared:
        _cycle_log(writer)
    after = sum(table.bytes for table in schema.read(writer).tables if table.name in set(names))
    limits = list(_limits(writer, names, tables, shared))
    return Reclamation(
        Grade.L1 if limits else Grade.L2,
        limits[0] if limits else "free blocks beneath a running server are not overwritten",
        0,
        max(0, before - after),
        tuple(limits[1:]),
    )


def _forget_statistics(writer: Writer, tables: Sequence[Table]) -> None:
    """What the planner remembers of the tables, and of what they are parts of; then what stays, anew."""
    found = [oid for (oid,) in writer.rows(_RELATED, [table.oid for table in tables])]
    try:
        with writer.transaction():
            writer.run("SET LOCAL allow_system_table_mods = on")
            writer.run("DELETE FROM pg_statistic WHERE starelid = ANY ($1::int8[]::oid[])", found)
            writer.run(
                "DELETE FROM pg_statistic_ext_data WHERE stxoid IN"
                " (SELECT oid FROM pg_statistic_ext WHERE stxrelid = ANY ($1::int8[]::oid[]))",
                found,
            )
    except Denied:
        raise PermanentStoreError(
            "the shared action statistics takes a superuser of the server",
            hint="name one in erase_url, or leave statistics out of the store's shared actions",
        ) from None
    for catalog in ("pg_statistic", "pg_statistic_ext_data"):
        writer.run(f"VACUUM (FULL) {catalog}")
    for table in tables:
        writer.run(f"ANALYZE {table.sql().removeprefix('ONLY ')}")


# The tables, what they are partitions or children of, and the indexes of all of them.
_RELATED = """
WITH RECURSIVE related (oid) AS (
    SELECT unnest($1::int8[]::oid[])
    UNION SELECT inhparent FROM pg_inherits JOIN related ON inhrelid = related.oid
)
SELECT oid::int8 FROM related
UNION SELECT indexrelid::int8 FROM pg_index JOIN related ON indrelid = related.oid
"""


def _cycle_log(writer: Writer) -> None:
    """Have every segment of the write-ahead log written over: segments are used again, in turn."""
    try:
        segments = int(writer.one("SELECT count(*) FROM pg_ls_waldir()"))
        for _ in range(segments + 2):
            writer.run("CHECKPOINT")  # which writes a record, without which the switch would do nothing
            writer.rows("SELECT pg_switch_wal()")
        writer.run("CHECKPOINT")
    except Denied:
        raise PermanentStoreError(
            "the shared action wal takes the right to checkpoint and to switch the log",
            hint="GRANT it pg_checkpoint, pg_monitor and EXECUTE ON FUNCTION pg_switch_wal()",
        ) from None


def _limits(
    writer: Writer, names: Sequence[str], tables: Sequence[Table], shared: frozenset[str]
) -> Iterator[str]:
    """Why the store's own means do not reach L2, the weightiest first."""
    able = raw.capabilities(writer)
    if able.grade < Grade.L2:
        yield able.why_not_higher
    if len(tables) < len(names):
        yield "a table from which was erased is gone, and was not rewritten"
    missing = [action for action in _OFFERED if action not in shared]
    if missing:
        yield f"the case does not list the shared actions {' and '.join(missing)} for this store"
    kinds = dict.fromkeys(copy.kind for table in tables for copy in copies.found(writer, table))
    left = [kind for kind in kinds if not any(kind in reached for reached in _OFFERED.values())]
    if left:
        yield f"not reached: {', '.join(left)}"
