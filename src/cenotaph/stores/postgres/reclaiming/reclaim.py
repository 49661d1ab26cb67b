"""The bytes that deleted rows leave: in the tables themselves, in statistics, in the write-ahead log.

What surprised the author: statistics hold names and identity numbers of people, and stay when a table is
emptied, analysed or dropped, also those of its partitioned parents and of indexes on expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import (
    AWAITS_RETIREMENT,
    OF_SERVER,
    WITH_SERVER,
    Command,
    Disposition,
    Grade,
    Reclamation,
    Surroundings,
)
from cenotaph.stores.postgres import commands
from cenotaph.stores.postgres.catalog import large_objects, schema, views
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS
from cenotaph.stores.postgres.catalog.within import Within
from cenotaph.stores.postgres.outside import copies
from cenotaph.stores.postgres.reclaiming import overwrite, restart, retire, wal
from cenotaph.stores.postgres.reclaiming.rewriting import rewrite
from cenotaph.stores.postgres.session import Denied
from cenotaph.stores.postgres.work import Outlook, Step, Work
from cenotaph.stores.postgres.writing import Writer

_OFFERED = OF_SERVER["postgresql"]
_IN_SERVER = (views.SHARED, "statistics", "wal", "restart")
_ALWAYS = ("statistics", "wal")  # of a table that was deleted from, whatever the catalogs still show


def run(
    writer: Writer,
    names: Sequence[str],
    selection: Selection,
    shared: frozenset[str],
    around: Surroundings,
    ask: Callable[[], None] = lambda: None,
) -> Reclamation:
    """Rewrite the tables from which was erased, then what the case shares of the server. `ask` is called
    before each step; what it raises ends it."""
    known = schema.read(writer)
    tables = tuple(table for name in names if (table := known.table(name)) is not None)
    before = sum(table.bytes for table in tables)
    work = Work(writer, known, tables, selection, shared, around, ask)
    for _, step in _steps(shared, around):
        ask()
        step.run(work)
    after = sum(table.bytes for table in schema.read(writer).tables if table.name in set(names))
    limits = [*_limits(work, len(names)), *work.limits]
    able = copies.capabilities(writer, around)
    if around.retire_server:
        limits.append(AWAITS_RETIREMENT)
    return Reclamation(
        Grade.L1 if limits else able.grade,
        limits[0] if limits else able.why_not_higher,
        work.overwritten,
        work.freed + max(0, before - after),
        (*limits[1:], *work.notes),
    )


def script(outlook: Outlook, shared: frozenset[str]) -> Iterator[tuple[str, tuple[Command, ...]]]:
    """What `run` runs, in its order: the shared action, empty where it is the store's own, and commands."""
    for action, step in _steps(shared, outlook.around):
        yield action, tuple(step.commands(outlook))
    if outlook.around.retire_server:
        yield "", (retire.COMMAND,)


def _steps(shared: frozenset[str], around: Surroundings) -> Iterator[tuple[str, Step]]:
    """Which steps are taken, in order, each with the shared action that it is. Of a server that goes, what is
    in it is left as it is: its blocks are overwritten before they are freed."""
    for step in () if around.retire_server else _OWN:
        yield "", step
    for action in _OFFERED:
        if action in shared and not (around.retire_server and action in _IN_SERVER):
            yield action, _SHARED[action]


def _rewrite(work: Work) -> None:
    """Tables, indexes and TOAST anew, of what stays."""
    work.writer.attempt({"temp_file_limit": "-1"})  # indexes are sorted
    for table in work.tables:
        work.ask()
        rewrite(work.writer, commands.rewrite(table), table.oid)
        for command, oid in large_objects.REWRITES if table.oid == LARGE_OBJECTS else ():
            rewrite(work.writer, command, oid)


def _rewriting(outlook: Outlook) -> Iterator[Command]:
    for table in outlook.tables:
        yield commands.rewrite(table)
        if table.oid == LARGE_OBJECTS:
            yield from (command for command, _ in large_objects.REWRITES)


def _forget_statistics(work: Work) -> None:
    """What the planner remembers of the tables, and of what they are parts of; then what stays, anew."""
    writer, tables, refreshed = work.writer, work.tables, views.due(work)
    mixed = views.due(work, mixed=True) if views.SHARED in work.shared else ()
    oids = [*(table.oid for table in tables), *(view.oid for view in (*refreshed, *mixed))]
    found = [oid for (oid,) in writer.rows(_RELATED, oids)]
    try:
        with writer.transaction():
            writer.run(commands.CATALOGS_MAY_CHANGE)
            for command in commands.forget(writer.version):
                writer.run(command, found)
    except Denied:
        raise PermanentStoreError(
            "the shared action statistics takes a superuser of the server",
            hint="name one in erase_url, or leave statistics out of the store's shared actions",
        ) from None
    anew = (*map(commands.analyse, tables), *map(views.analyse, refreshed))
    for command in (*commands.REWRITE_CATALOGS, *anew):
        writer.run(command)


def _forgetting(outlook: Outlook) -> Iterator[Command]:
    yield from (commands.BEGIN_STATISTICS, commands.CATALOGS_MAY_CHANGE)
    yield from (*commands.forget(outlook.session.version), commands.COMMIT)
    yield from (*commands.REWRITE_CATALOGS, *map(commands.analyse, outlook.tables))
    yield from map(views.analyse, views.due(outlook))


# The tables, what they are partitions or children of, and the indexes of all of them.
_RELATED = """
WITH RECURSIVE related (oid) AS (
    SELECT unnest($1::int8[]::oid[])
    UNION SELECT inhparent FROM pg_inherits JOIN related ON inhrelid = related.oid
)
SELECT oid::int8 FROM related
UNION SELECT indexrelid::int8 FROM pg_index JOIN related ON indrelid = related.oid
"""


_OWN: tuple[Step, ...] = (
    Step(overwrite.run, overwrite.telling),
    Step(_rewrite, _rewriting),
    Step(views.refresh, views.refreshing),
)
_SHARED: Mapping[str, Step] = {
    views.SHARED: Step(views.refresh_mixed, views.refreshing_mixed),
    "statistics": Step(_forget_statistics, _forgetting),
    "wal": Step(wal.cycle, wal.cycling),
    **copies.STEPS,
    "restart": Step(restart.ask, restart.asking),
}


def _limits(work: Work, asked: int) -> Iterator[str]:
    """Why the store's own means do not reach L2, the weightiest first."""
    able = copies.capabilities(work.writer, work.around)
    if able.grade < Grade.L2:
        yield able.why_not_higher
    if len(work.tables) < asked:
        yield "a table from which was erased is gone, and was not rewritten"
    beside = Within.read(work.writer, work.known)
    of_server = tuple(copies.of_server(work.writer, work.selection, work.around))
    kinds = dict.fromkeys(
        copy.kind
        for table in work.tables
        for copy in (
            *beside.copies(table, work.selection),
            *copies.of_table(work.writer, table),
            *of_server,
        )
        if copy.disposition is Disposition.REACH_NOT
    )
    always: Sequence[str] = _ALWAYS
    if work.around.retire_server:
        always, kinds = (), {kind: None for kind in kinds if kind not in WITH_SERVER["postgresql"]}
    reached = {kind: action for action, found in _OFFERED.items() for kind in found}
    needed = {*always, *(reached[kind] for kind in kinds if kind in reached)}
    missing = [action for action in _OFFERED if action in needed - work.shared]
    if missing:
        yield f"the case does not list the shared actions {' and '.join(missing)} for this store"
    left = [kind for kind in kinds if kind not in reached]
    if left:
        yield f"not reached: {', '.join(left)}"
