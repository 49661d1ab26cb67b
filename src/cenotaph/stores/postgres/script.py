"""What destroying would run in a database, command by command, for its administrator to read beforehand.

The texts are the eraser's own (`commands`), and so are their order and what they depend on: the triggers and
foreign keys that there are now. Looks at catalogs alone, in a session that cannot change anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import Collection, Command, Partition, Passage, Surroundings
from cenotaph.stores.postgres import commands, eraser, rows, whole, writing
from cenotaph.stores.postgres.catalog import references, schema
from cenotaph.stores.postgres.catalog.references import Reference
from cenotaph.stores.postgres.catalog.schema import Schema, Table
from cenotaph.stores.postgres.reclaiming import overwrite, reclaim
from cenotaph.stores.postgres.session import Session
from cenotaph.stores.postgres.work import Outlook


def passages(
    session: Session,
    selection: Selection,
    chosen: Sequence[tuple[Collection, Sequence[Partition]]],
    shared: frozenset[str],
    around: Surroundings,
) -> Iterator[Passage]:
    """As `store.Scripted.script`.

    Raises: PermanentStoreError where a table that is to be erased is not there.
    """
    yield Passage("The erasing session's own settings", (*writing.settings(), commands.ROLLBACK))
    known, found = schema.read(session), references.read(session)
    tables = {c.ordinal: _table(known, c) for c, _ in chosen}
    partitions = {c.ordinal: parts for c, parts in chosen}
    collections = {c.ordinal: c for c, _ in chosen}
    for ordinal in eraser.in_order(session, list(collections.values())):
        together = whole.group(session, collections[ordinal], known, found, selection)
        if together is None:
            yield from _erasing(session, selection, known, found, tables[ordinal], partitions[ordinal])
        else:
            yield _at_once(session, together, partitions[ordinal], around)
    outlook = Outlook(session, known, tuple(tables[c.ordinal] for c, _ in chosen), selection, around)
    for action, found_commands in reclaim.script(outlook, shared):
        if found_commands:
            says = f"Shared action {action}" if action else "Once the partitions of every table are done"
            yield Passage(says, found_commands, action)


def _table(known: Schema, collection: Collection) -> Table:
    table = known.table(collection.name)
    if table is None:
        raise PermanentStoreError(f"collection {collection.ordinal} is no longer there", hint="survey again")
    return table


def _at_once(
    session: Session, together: Sequence[Table], partitions: Sequence[Partition], around: Surroundings
) -> Passage:
    """A table that goes whole, of which every partition is compared with its seal between the locks."""
    records = sum(partition.records for partition in partitions)
    locks = map(commands.lock, together)
    says = f"Table {together[0].name}, all of it at once: {records:,} records go"
    if not records:
        return Passage(says, (commands.BEGIN, *locks, commands.COMMIT))
    truncated = overwrite.replacing(session, together, set_aside=around.sets_aside)
    shut = map(overwrite.lock, together)
    return Passage(says, (commands.BEGIN, *locks, *shut, *truncated, commands.COMMIT))


def _erasing(
    session: Session,
    selection: Selection,
    known: Schema,
    found: Sequence[Reference],
    table: Table,
    partitions: Sequence[Partition],
) -> Iterator[Passage]:
    """Partitions of one table in a row, those of which the same is run as one passage."""
    cycle = bool(eraser.cycle_of(table, known, found, selection))
    triggers = references.triggers(session, table)
    whole = selection.whole(table.name, table.names())

    def run(partition: Partition) -> tuple[Command, ...]:
        if not partition.records:
            return (commands.BEGIN, commands.lock(table), commands.COMMIT)
        bounds = rows.Bounds.load(partition.bounds)
        where = rows.condition(session, table, bounds) if whole else None
        removal = commands.Removal.of(table, where, triggers)
        return (
            commands.BEGIN,
            commands.lock(table),
            *((commands.REPLICA,) if cycle else ()),
            *removal.before,
            removal.deletion,
            *removal.after,
            commands.COMMIT,
        )

    for several, group in groupby(partitions, run):
        alike = list(group)
        records = sum(partition.records for partition in alike)
        numbers = f"{alike[0].index}" if len(alike) == 1 else f"{alike[0].index} to {alike[-1].index}"
        says = f"Table {table.name}, partition {numbers}: {records:,} records go"
        yield Passage(says, several, times=len(alike))
