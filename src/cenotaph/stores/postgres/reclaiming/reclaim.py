"""The bytes that deleted rows leave: in the tables themselves, in statistics, in the write-ahead log.

What surprised the author: statistics hold names and identity numbers of people, and stay when a table is
emptied, analysed or dropped, also those of its partitioned parents and of indexes on expressions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from cenotaph.errors import PermanentStoreError, StoreError, TransientStoreError
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
from cenotaph.stores.postgres.catalog import large_objects, publications, schema, views
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS
from cenotaph.stores.postgres.catalog.within import Within
from cenotaph.stores.postgres.outside import copies, standby, subscriber
from cenotaph.stores.postgres.reclaiming import overwrite, restart, retire, wal
from cenotaph.stores.postgres.reclaiming.rewriting import DECODED, rewrite
from cenotaph.stores.postgres.session import Denied, Session
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
    for command, oid in zip(commands.REWRITE_CATALOGS, _STATISTICS, strict=True):
        try:
            rewrite(writer, command, oid)
        except TransientStoreError as error:
            if not writer.rows(DECODED):
                raise
            work.limits.append(f"statistics: {error.message}")  # a subscriber lags
    for command in (*map(commands.analyse, tables), *map(views.analyse, refreshed)):
        writer.run(command)


def _forgetting(outlook: Outlook) -> Iterator[Command]:
    yield from (commands.BEGIN_STATISTICS, commands.CATALOGS_MAY_CHANGE)
    yield from (*commands.forget(outlook.session.version), commands.COMMIT)
    yield from (*commands.REWRITE_CATALOGS, *map(commands.analyse, outlook.tables))
    yield from map(views.analyse, views.due(outlook))


_STATISTICS = (2619, 3429)  # pg_statistic and pg_statistic_ext_data, as in `REWRITE_CATALOGS`
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


def _replicate(work: Work) -> None:
    """Standbys follow. What subscribers have of the tables is reclaimed there as it is here, once they have
    applied everything."""
    standby.follow(work)
    for copy in work.around.copies:
        if copy.kind == subscriber.KIND:
            work.ask()
            try:
                _at_subscriber(work, copy.place)
            except StoreError as error:
                work.limits.append(f"a logical subscriber: {error.message}")


def _at_subscriber(work: Work, url: str) -> None:
    here = [table.oid for table in work.tables]
    with subscriber.opened(work.writer, url, Writer) as there:
        subscriber.catch_up(work.writer, there)
        known = schema.read(there)
        tables = [found for table in work.tables if (found := known.table(table.name)) is not None]
        if publications.as_parents(work.writer, here) or subscriber.has_partitions(there):
            raise PermanentStoreError("it has rows under other names: of partitions, or of their parent")
        if left := subscriber.left(url, tables, work.selection):
            raise PermanentStoreError(f"{left} rows that went here are still there")
        names, may = [table.name for table in tables], work.shared & _AT_SUBSCRIBERS
        said = run(there, names, work.selection, may, Surroundings(), work.ask)
    work.overwritten += said.overwritten_bytes
    work.freed += said.freed_bytes
    if said.reached < Grade.L2:
        work.limits.append(
            f"a logical subscriber, which should be a store of its own then: {said.why_not_higher}"
        )


def _replicating(outlook: Outlook) -> Iterator[Command]:
    yield from standby.following(outlook)
    for copy in outlook.around.copies:
        if copy.kind == subscriber.KIND:
            with contextlib.suppress(StoreError):  # doctor tells
                yield from _telling_of(outlook, copy.place)


def _telling_of(outlook: Outlook, url: str) -> Iterator[Command]:
    with subscriber.opened(outlook.session, url, Session) as there:
        known = schema.read(there)
        tables = tuple(found for table in outlook.tables if (found := known.table(table.name)) is not None)
        its = Outlook(there, known, tables, outlook.selection, Surroundings())
        for _, told in script(its, _AT_SUBSCRIBERS):
            yield from (replace(one, does=f"At the logical subscriber: {one.does}") for one in told)


_AT_SUBSCRIBERS = frozenset((views.SHARED, "statistics", "wal", "logs"))  # as far as the plan has them


_SHARED: Mapping[str, Step] = {
    views.SHARED: Step(views.refresh_mixed, views.refreshing_mixed),
    "statistics": Step(_forget_statistics, _forgetting),
    "wal": Step(wal.cycle, wal.cycling),
    **copies.STEPS,
    "replicas": Step(_replicate, _replicating),
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
