"""Overwriting tables that were erased whole beneath the running server, before their blocks are freed.

One transaction a group of tables that refer to each other: ACCESS EXCLUSIVE, TRUNCATE, which gives them new
files and keeps the old ones until its commit, a checkpoint, zeros over the old files, commit. Until then the
server has the old files and nobody else may look into them, so that a rollback, whoever causes it, leaves
tables as empty as they were, and the next run does all of it again.

What surprised the author: TRUNCATE first is what makes a refusal harmless (a table that others refer to has
none), and what keeps everybody from the server's own copies of the pages: those of a file that is to go are
never written again, while reading a page is enough to have it written. And where a run was killed, not even
counting the rows works, since planning looks at the first page of each index: COPY does without a plan.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from cenotaph.durable import overwrite, overwrite_rest
from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.scope import Selection
from cenotaph.store import Command
from cenotaph.stores.postgres import commands
from cenotaph.stores.postgres.beneath import underneath
from cenotaph.stores.postgres.beneath.underneath import Directory, File
from cenotaph.stores.postgres.catalog import references
from cenotaph.stores.postgres.catalog.references import Reference
from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.session import Damaged, Denied, Locked
from cenotaph.stores.postgres.work import Outlook, Work
from cenotaph.stores.postgres.writing import Writer

_USERS = 16384  # FirstNormalObjectId: below it are catalogs (large objects), which are never overwritten
_MARK = Command("SAVEPOINT looking", "Marks where the transaction goes on if a table cannot be looked at.")
_BACK = Command("ROLLBACK TO looking", "Goes on from there.")
_ZEROS = Command(
    "",
    "Writes zeros over the old files of the tables, of their indexes and TOAST, and waits for the disk."
    " Before that, all is looked at once more: the server, the files, who copies them.",
    reaches="Tables, indexes, TOAST, free space and visibility maps, before their blocks are freed.",
)


def run(work: Work) -> None:
    """Overwrite the tables of which nothing stays, where the case allows it. The others are rewritten.

    Raises:
        TransientStoreError: a table is in use; somebody is copying the server; a file moved meanwhile.
        PermanentStoreError: it is not certain that these are the server's files.
    """
    if not work.around.online_overwrite:
        return
    writer = work.writer
    where = underneath.directory(writer, work.around)
    _refuse_copies(work)
    if why := underneath.keeps_old(where.path):
        work.notes.append(f"no table was overwritten beneath the server: {why}")
        return
    left = len(work.tables)
    for group in groups(_whole(work.tables, work.selection), references.read(writer)):
        written = _together(work, where, group)
        work.overwritten += written or 0
        left -= 0 if written is None else len(group)
    _checkpoint(writer)  # the server keeps the first file of each until then, cut to nothing
    if left:
        work.notes.append(
            f"{left} tables were rewritten and not overwritten: rows stay, or others refer to them"
        )


def telling(outlook: Outlook) -> Iterator[Command]:
    """What `run` runs; of which tables nothing stays shows only then."""
    if not outlook.around.online_overwrite:
        return
    for group in groups(_whole(outlook.tables, outlook.selection), references.read(outlook.session)):
        stopped = [(table, references.triggers(outlook.session, table)) for table in group]
        yield commands.BEGIN
        yield from map(lock, group)
        yield from (_MARK for _ in group)
        yield from _truncating(group, stopped)
        yield from (commands.CHECKPOINT, _ZEROS, commands.COMMIT)
    yield commands.CHECKPOINT


def _whole(tables: Sequence[Table], selection: Selection) -> list[Table]:
    return [t for t in tables if t.oid >= _USERS and selection.whole(t.name, t.names())]


def lock(table: Table) -> Command:
    return Command(
        f"LOCK TABLE {table.sql()} IN ACCESS EXCLUSIVE MODE",
        "Keeps everybody out of the table, which is empty, while its files are overwritten.",
        "ACCESS EXCLUSIVE until the transaction ends: nobody reads or writes the table.",
    )


def truncate(group: Sequence[Table]) -> Command:
    return Command(
        f"TRUNCATE TABLE {', '.join(table.sql() for table in group)} CONTINUE IDENTITY RESTRICT",
        "Gives the empty tables new files. The old ones stay until the transaction ends.",
        "ACCESS EXCLUSIVE, which is held.",
    )


def groups(empty: Sequence[Table], found: Sequence[Reference]) -> list[list[Table]]:
    """Tables that can be truncated: those that refer to each other together, and none to which a table
    refers that is not among them."""
    tables = {table.oid: table for table in empty}
    between = [r for r in found if r.child != r.parent]
    while outside := {r.parent for r in between if r.parent in tables and r.child not in tables}:
        for oid in outside:
            del tables[oid]
    heads = {oid: oid for oid in tables}
    for reference in between:
        if reference.child in tables and reference.parent in tables:
            one, other = _head(heads, reference.child), _head(heads, reference.parent)
            heads[max(one, other)] = min(one, other)
    joined: dict[int, list[Table]] = {}
    for oid in sorted(tables):
        joined.setdefault(_head(heads, oid), []).append(tables[oid])
    return list(joined.values())


def _head(heads: dict[int, int], oid: int) -> int:
    while heads[oid] != oid:
        oid = heads[oid]
    return oid


def _together(work: Work, where: Directory, group: Sequence[Table]) -> int | None:
    """Overwrite the files of a group; how many bytes. None where one of them has rows again."""
    writer = work.writer
    block = int(writer.one("SHOW block_size"))
    expected = underneath.relations(writer, group)
    with writer.transaction():
        for table in group:
            _lock(writer, table)
        if not all(_is_empty(writer, table) for table in group):
            return None
        found = underneath.relations(writer, group)
        if found != expected:
            raise TransientStoreError(
                "a table was rewritten while it was about to be overwritten", hint="run again"
            )
        with underneath.files(where, found, block) as files:
            _truncate(writer, group)
            _checkpoint(writer)
            _look_again(work, where, files)
            written = sum(_overwrite(file, writer.check_alive) for file in files)
    return written


def _is_empty(writer: Writer, table: Table) -> bool:
    """Whether the table has no row, also where its indexes are no longer ones."""
    writer.run(_MARK)
    try:
        return not writer.rows(f"SELECT 1 FROM {table.sql()} LIMIT 1")  # noqa: S608 (quoted)
    except Damaged:
        writer.run(_BACK)
        return writer.copies_nothing(table)


def _lock(writer: Writer, table: Table) -> None:
    try:
        writer.run(lock(table))
    except Locked:
        raise TransientStoreError(
            f"a table cannot be overwritten now: {writer.in_the_way(table.oid)} would have to end first",
            hint="end them, or run again later",
        ) from None


def _truncate(writer: Writer, group: Sequence[Table]) -> None:
    """Without the triggers that this would run: they could write elsewhere."""
    stopped = [(table, references.triggers(writer, table)) for table in group]
    for command in _truncating(group, stopped):
        writer.run(command)


def _truncating(
    group: Sequence[Table], stopped: Sequence[tuple[Table, Sequence[tuple[str, str]]]]
) -> Iterator[Command]:
    yield from (commands.suspend_trigger(table, name) for table, triggers in stopped for name, _ in triggers)
    yield truncate(group)
    yield from (
        commands.resume_trigger(table, *trigger) for table, triggers in stopped for trigger in triggers
    )


def _look_again(work: Work, where: Directory, files: Sequence[File]) -> None:
    """At the last moment before the first write: the same server, directory and files, and nobody copies."""
    if underneath.directory(work.writer, work.around) != where:
        raise PermanentStoreError("data_dir leads to another directory than a moment ago")
    _refuse_copies(work)
    for file in files:
        file.check()


def _refuse_copies(work: Work) -> None:
    if why := underneath.copied_now(work.writer, work.around):
        raise TransientStoreError(
            f"no table is overwritten beneath the server while {why}",
            hint="end that, or name the standby in a [[copy]], then run again",
        )


def _overwrite(file: File, check_alive: Callable[[], None]) -> int:
    """`check_alive` before each piece: where the session ends, the server gives the table its old files back,
    and people write into them."""
    check_alive()
    written = overwrite(file.fd, file.size, sync=False, on_bytes=lambda _: check_alive())
    written += overwrite_rest(file.fd, on_bytes=lambda _: check_alive())
    os.fsync(file.fd)
    return written


def _checkpoint(writer: Writer) -> None:
    try:
        writer.run(commands.CHECKPOINT)
    except Denied:
        raise PermanentStoreError(
            "overwriting beneath the server takes the right to checkpoint",
            hint="GRANT pg_checkpoint TO it (PostgreSQL 15), or a superuser",
        ) from None
