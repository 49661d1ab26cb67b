# ruff: noqa: S608 (names cannot be bound; `quoted` quotes them)
"""Every SQL command by which rows go from a database, with what its administrator is told beforehand.

What runs is what `plan --emit-sql` shows, since both take it from here. Locks are named as the manual does
("Explicit Locking"). Values are bound: no text has any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cenotaph.store import Command
from cenotaph.stores.postgres.catalog import large_objects
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS, Table
from cenotaph.stores.postgres.session import quoted

BEGIN = Command("BEGIN", "Begins the transaction of one partition: all of it goes, or nothing.")
BEGIN_STATISTICS = Command("BEGIN", "Begins a transaction for both catalogs.")
COMMIT = Command("COMMIT", "Ends the transaction, and with it every lock that it took.")
ROLLBACK = Command("ROLLBACK", "Ends a transaction that changed nothing, or undoes what it changed.")
REPLICA = Command(
    "SET LOCAL session_replication_role = replica",
    "Has no foreign key checked in this transaction: the table is in a cycle of them, in which no order is"
    " right. All its tables go whole, and rows of others that refer to it were looked for before.",
)
IMMEDIATE = Command(
    "SET CONSTRAINTS ALL IMMEDIATE",
    "Checks foreign keys that were put off to the transaction's end: if one does not hold, nothing goes.",
)
CATALOGS_MAY_CHANGE = Command(
    "SET LOCAL allow_system_table_mods = on", "Lets a superuser delete from catalogs in this transaction."
)
_FORGET = Command(
    "DELETE FROM pg_statistic WHERE starelid = ANY ($1::int8[]::oid[])",
    "Deletes what the planner remembers of the tables: their commonest values, names of people included.",
    "ROW EXCLUSIVE on pg_statistic: nobody waits.",
    "Statistics of the tables, of their partitioned parents, and of indexes on expressions.",
    "$1: their numbers (oid)",
)
_EXTENDED = "stxoid IN (SELECT oid FROM pg_statistic_ext WHERE stxrelid = ANY ($1::int8[]::oid[]))"
_FORGET_EXTENDED = Command(
    f"DELETE FROM pg_statistic_ext_data WHERE {_EXTENDED}",
    "Deletes what extended statistics remember of the tables.",
    "ROW EXCLUSIVE on pg_statistic_ext_data: nobody waits.",
    "Extended statistics of the tables.",
    "$1: as above",
)


def forget(version: int) -> tuple[Command, ...]:
    """Before PostgreSQL 15 the row of extended statistics has to stay: without it nobody can even read the
    table, or drop it (cache lookup failed for statistics object)."""
    if version >= 150000:
        return _FORGET, _FORGET_EXTENDED
    columns = ["stxdndistinct", "stxddependencies", "stxdmcv", *(["stxdexpr"] if version >= 140000 else [])]
    nothing = ", ".join(f"{column} = NULL" for column in columns)
    text = f"UPDATE pg_statistic_ext_data SET {nothing} WHERE {_EXTENDED}"
    return _FORGET, replace(_FORGET_EXTENDED, text=text)


REWRITE_CATALOGS = tuple(
    Command(
        f"VACUUM (FULL, VERBOSE) {name}",
        "Writes the catalog anew, without what was deleted.",
        "ACCESS EXCLUSIVE on the catalog while it runs: who plans a query anew waits.",
        "The catalog's own file, where deleted statistics still are.",
    )
    for name in ("pg_statistic", "pg_statistic_ext_data")
)
CHECKPOINT = Command(
    "CHECKPOINT", "Writes changed pages to their files, so that older segments of the log can be used again."
)
SWITCH = Command("SELECT pg_switch_wal()", "Ends the segment of the write-ahead log at hand.")


def lock(table: Table) -> Command:
    return Command(
        f"LOCK TABLE {table.sql()} IN EXCLUSIVE MODE",
        "Keeps everybody who writes out of the table, so that what goes is what was sealed.",
        "EXCLUSIVE until the transaction ends: who writes waits, who reads does not.",
    )


def suspend_trigger(table: Table, name: str) -> Command:
    return Command(
        f"ALTER TABLE {table.sql()} DISABLE TRIGGER {quoted(name)}",
        "Switches one of the table's own triggers off, which could write deleted rows elsewhere.",
        "SHARE ROW EXCLUSIVE, beneath the lock that is held.",
    )


def resume_trigger(table: Table, name: str, state: str) -> Command:
    """Give a trigger the state back that it had (pg_trigger.tgenabled)."""
    how = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}[state]
    return Command(
        f"ALTER TABLE {table.sql()} {how} TRIGGER {quoted(name)}", "Gives the trigger the state that it had."
    )


def delete(table: Table, where: str) -> Command:
    """Delete the rows of a partition that goes whole."""
    if table.oid == LARGE_OBJECTS:
        return large_objects.unlink(where)
    return Command(
        f"DELETE FROM {table.sql()} WHERE {where}",
        "Deletes every row of the partition.",
        "ROW EXCLUSIVE, beneath the lock that is held.",
        "Rows are marked as deleted; their bytes stay until the table is rewritten, and go into the log.",
        "cenotaph.bound_0 …: settings of this session alone, which hold the keys between which it lies"
        if "cenotaph.bound_" in where
        else "",
    )


def delete_places(table: Table) -> Command:
    """Delete the chosen rows of a partition of which some stay."""
    return Command(
        f"DELETE FROM {table.sql()} WHERE ctid = ANY ($1::tid[])",
        "Deletes rows of the partition that were read and chosen beneath the lock.",
        "ROW EXCLUSIVE, beneath the lock that is held.",
        "Rows are marked as deleted; their bytes stay until the table is rewritten, and go into the log.",
        "$1: their places in the table's file",
        "once for every 262,144 rows",
    )


@dataclass(frozen=True, slots=True)
class Removal:
    """How the rows of one partition go, beneath the table's lock."""

    before: tuple[Command, ...]
    deletion: Command
    after: tuple[Command, ...]

    @classmethod
    def of(cls, table: Table, where: str | None, triggers: Sequence[tuple[str, str]]) -> Removal:
        """`where`: the condition of a partition that goes whole; None where some of its rows stay.
        `triggers`: names and states of those that would run."""
        return cls(
            tuple(suspend_trigger(table, name) for name, _ in triggers),
            delete_places(table) if where is None else delete(table, where),
            (IMMEDIATE, *(resume_trigger(table, name, state) for name, state in triggers)),
        )


def rewrite(table: Table) -> Command:
    return Command(
        f"VACUUM (FULL, VERBOSE) {table.sql().removeprefix('ONLY ')}",
        "Writes the table anew, with its indexes and TOAST, of the rows that stay. Needs as much room again.",
        "ACCESS EXCLUSIVE while it runs: nobody reads or writes the table.",
        "Table, indexes, TOAST, free space map. The old files go to free blocks as they are.",
    )


def analyse(table: Table) -> Command:
    return Command(
        f"ANALYZE {table.sql().removeprefix('ONLY ')}",
        "Has the planner look anew at what stays.",
        "SHARE UPDATE EXCLUSIVE while it runs: who reads and writes does not wait.",
    )
