"""Overwriting tables that go whole beneath the running server, before their blocks are freed.

In one transaction a group of tables that refer to each other: ACCESS EXCLUSIVE, TRUNCATE, which gives them
new files and keeps the old ones until its commit, a checkpoint, the old files set aside, commit. They are
overwritten after it, when the server no longer knows them (ADR 14).

What surprised the author: TRUNCATE first is what keeps everybody from the server's own copies of the pages:
those of a file that is to go are never written again, while reading a page is enough to have it written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cenotaph.errors import PermanentStoreError, TransientStoreError
from cenotaph.scope import Selection
from cenotaph.store import Command, Surroundings
from cenotaph.stores.postgres import commands, writing
from cenotaph.stores.postgres.beneath import aside, underneath
from cenotaph.stores.postgres.beneath.aside import Aside
from cenotaph.stores.postgres.beneath.underneath import Directory, File
from cenotaph.stores.postgres.catalog import references, schema
from cenotaph.stores.postgres.catalog.publications import published
from cenotaph.stores.postgres.catalog.references import Reference
from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.session import Denied, Locked, Session
from cenotaph.stores.postgres.work import Outlook, Work
from cenotaph.stores.postgres.writing import Writer

_USERS = 16384  # FirstNormalObjectId: below it are catalogs (large objects), which are never overwritten
_ASIDE = Command(
    "",
    "Gives the old files of the tables, of their indexes and TOAST other names, out of the server's reach."
    " Before that, all is looked at once more: the server, the files, who copies them.",
)
_ZEROS = Command(
    "",
    "Writes zeros over the files that were set aside, waits for the disk, and removes them.",
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
    where = place(writer, work.around)
    if where is None:
        why = underneath.keeps_old(underneath.directory(writer, work.around).path)
        work.notes.append(f"no table was overwritten beneath the server: {why}")
        return
    left = len(work.tables)
    for group in groups(_whole(writer, work.tables, work.selection), references.read(writer)):
        work.ask()
        left -= len(group) if _together(work, where, group) else 0
    mend(writer, work.around)
    with aside.of_files(), aside.found(writer, where) as files:
        known = aside.owners(writer, files)  # set aside just now by another run, which may yet be undone
        for file in files:
            if file not in known:
                work.ask()
                work.overwritten += file.destroy()
    _checkpoint(writer)  # the server keeps the first file of each until then, cut to nothing
    if left:
        work.notes.append(
            f"{left} tables were rewritten and not overwritten: rows stay, others refer to them, or they are"
            " published"
        )


def telling(outlook: Outlook) -> Iterator[Command]:
    """What `run` runs; of which tables nothing stays shows only then."""
    if not outlook.around.online_overwrite:
        return
    session = outlook.session
    for group in groups(_whole(session, outlook.tables, outlook.selection), references.read(session)):
        yield commands.BEGIN
        yield from map(lock, group)
        yield from replacing(session, group, set_aside=True)
        yield commands.COMMIT
    yield _ZEROS
    yield commands.CHECKPOINT


def place(writer: Writer, around: Surroundings) -> Directory | None:
    """Where old files are set aside; None where they are not: the case does not ask for it, or zeros over
    them would leave what they held.

    Raises: StoreError: it does, and nothing may be set aside now, or it is not certain where.
    """
    if not around.sets_aside:
        return None
    where = underneath.directory(writer, around)
    _refuse_copies(writer, around)
    return None if underneath.keeps_old(where.path) else where


def replace(writer: Writer, around: Surroundings, where: Directory | None, group: Sequence[Table]) -> None:
    """Give tables that nobody else is let into new files, without a row, in the transaction at hand; the old
    ones are set aside where `place` says so, and the commit has to be next.

    Raises: StoreError: something is not as it has to be; the caller rolls back.
    """
    if where is None:
        _run(writer, replacing(writer, group, set_aside=False))
        return
    block = int(writer.one("SHOW block_size"))
    with underneath.files(where, underneath.relations(writer, group), block) as files:
        _run(writer, _truncating(writer, group))
        _checkpoint(writer)
        _look_again(writer, around, where, files)
        aside.set_aside(files)
        aside.take_in(files, block)


def replacing(session: Session, group: Sequence[Table], *, set_aside: bool) -> Iterator[Command]:
    """The commands of `replace`."""
    yield from _truncating(session, group)
    if set_aside:
        yield from (commands.CHECKPOINT, _ASIDE)


def mend(writer: Writer, around: Surroundings) -> None:
    """Put files back that were set aside in a transaction which was undone, before anything is read.

    Raises:
        TransientStoreError: a table is in use.
        PermanentStoreError: somebody wrote into one meanwhile; it is not certain that these are its files.
    """
    if not around.sets_aside:
        return
    where = underneath.directory(writer, around)
    with aside.of_files(), aside.found(writer, where) as files:
        whose = aside.owners(writer, files)
        if not whose:
            return
        tables = [table for table in schema.read(writer).tables if table.oid in set(whose.values())]
        with writer.transaction():
            for table in tables:
                shut(writer, table)
            undone = aside.owners(writer, files)
            _put_back(list(undone))
            _have_reopened(writer, list(undone.values()), [file.number for file in undone])


def _put_back(undone: Sequence[Aside]) -> None:
    """All of them, or none; but a table that the server has emptied since stays as it made it."""
    anew = [file for file in undone if file.made_anew()]
    back = [file for file in undone if file not in anew]
    for file in back:
        file.check_unused()
    for file in reversed(back):  # the first file of a relation last: by it, `made_anew` knows
        file.put_back()
    aside.sync(back)
    for file in anew:
        file.destroy()


def _have_reopened(writer: Writer, tables: Sequence[int], numbers: Sequence[int]) -> None:
    """Sessions that opened an empty file meanwhile would keep to it, and see, or write, no row of the table.
    An index that somebody made anew meanwhile knows of no row."""
    for (text,) in writer.rows(_REOPENING, list(tables)):
        writer.run(Command(str(text), "Has every session open the files of the table, or index, again."))
    for (text,) in writer.rows(_REBUILDING, list(tables), list(numbers)):
        writer.run(Command(str(text), "Makes an index anew that was made while the table had no file."))


# A parameter that none has: nothing is changed, and every session is told that the relation was.
_REOPENING = """
SELECT format(CASE WHEN c.relkind = 'r' THEN 'ALTER TABLE ONLY %I.%I RESET (cenotaph)'
    ELSE 'ALTER INDEX %I.%I RESET (cenotaph)' END, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE pg_has_role(c.relowner, 'USAGE') AND (c.oid = ANY ($1::int8[]::oid[]) OR c.oid IN (
    SELECT indexrelid FROM pg_index WHERE indrelid = ANY ($1::int8[]::oid[])))
"""
# Tables are set aside after their indexes: where the table was and an index was not, that one is newer.
_REBUILDING = """
WITH heaps (oid) AS (
    SELECT unnest($1::int8[])::oid
    UNION SELECT reltoastrelid FROM pg_class WHERE oid = ANY ($1::int8[]::oid[])
)
SELECT format('REINDEX INDEX %I.%I', n.nspname, c.relname)
FROM heaps JOIN pg_index i ON i.indrelid = heaps.oid JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE pg_relation_filenode(heaps.oid) = ANY ($2::int8[]::oid[])
    AND pg_relation_filenode(c.oid) <> ALL ($2::int8[]::oid[])
"""


def goes_whole(table: Table, selection: Selection) -> bool:
    """Whether nothing of a table stays, and it is no catalog."""
    return table.oid >= _USERS and selection.whole(table.name, table.names())


def _whole(session: Session, tables: Sequence[Table], selection: Selection) -> list[Table]:
    """Not what is published: a subscriber would empty its own table, with rows that it has of others."""
    found = [table for table in tables if goes_whole(table, selection)]
    sent = published(session, [table.oid for table in found])
    return [table for table in found if table.oid not in sent]


def lock(table: Table) -> Command:
    return Command(
        f"LOCK TABLE {table.sql()} IN ACCESS EXCLUSIVE MODE",
        "Keeps everybody out of the table while it gets new files.",
        "ACCESS EXCLUSIVE until the transaction ends: nobody reads or writes the table.",
    )


def truncate(group: Sequence[Table]) -> Command:
    return Command(
        f"TRUNCATE TABLE {', '.join(table.sql() for table in group)} CONTINUE IDENTITY RESTRICT",
        "Gives the table, and empty ones that refer to it, new files without a row. The old ones stay until"
        " the transaction ends.",
        "ACCESS EXCLUSIVE, which is held.",
        "All rows go; the blocks of the old files are free after the transaction, with what is in them.",
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


def _together(work: Work, where: Directory, group: Sequence[Table]) -> bool:
    """Set the files of a group aside; false where one of them has rows again."""
    writer = work.writer
    with writer.transaction():
        for table in group:
            shut(writer, table)
        if not all(is_empty(writer, table) for table in group):
            return False
        replace(writer, work.around, where, group)
    return True


def is_empty(writer: Writer, table: Table) -> bool:
    return not writer.rows(f"SELECT 1 FROM {table.sql()} LIMIT 1")  # noqa: S608 (quoted)


def shut(writer: Writer, table: Table) -> None:
    """Keep everybody out of a table until the transaction ends.

    Raises: TransientStoreError saying who is in the way.
    """
    try:
        writer.run(lock(table))
    except Locked:
        raise _in_use(writer.in_the_way(table.oid)) from None


def refuse_lasting(writer: Writer, group: Sequence[Table]) -> None:
    """Who has been in a table for longer than is waited for is told before all of it is read. Nobody has to
    wait for that; and of other roles' sessions not every role sees how long they last.

    Raises: TransientStoreError.
    """
    found = writer.rows(_LASTING, [table.oid for table in group], writing.LOCK_SECONDS)
    if found:
        numbers = ", ".join(str(pid) for (pid,) in found)
        raise _in_use(f"server process {numbers}")


def _in_use(who: str) -> TransientStoreError:
    return TransientStoreError(
        f"a table cannot be emptied now: {who} would have to end first", hint="end them, or run again later"
    )


_LASTING = """
SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.granted AND l.relation = ANY ($1::int8[]::oid[]) AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND a.xact_start < now() - make_interval(secs => $2::float8) ORDER BY 1
"""


def _truncating(session: Session, group: Sequence[Table]) -> Iterator[Command]:
    """Without the triggers that this would run: they could write elsewhere."""
    stopped = [(table, references.triggers(session, table)) for table in group]
    yield from (commands.suspend_trigger(table, name) for table, triggers in stopped for name, _ in triggers)
    yield truncate(group)
    yield from (
        commands.resume_trigger(table, *trigger) for table, triggers in stopped for trigger in triggers
    )


def _run(writer: Writer, what: Iterator[Command]) -> None:
    for command in list(what):
        writer.run(command)


def _look_again(writer: Writer, around: Surroundings, where: Directory, files: Sequence[File]) -> None:
    """At the last moment: the same server, directory and files, and nobody copies."""
    if underneath.directory(writer, around) != where:
        raise PermanentStoreError("data_dir leads to another directory than a moment ago")
    _refuse_copies(writer, around)
    for file in files:
        file.check()


def _refuse_copies(writer: Writer, around: Surroundings) -> None:
    if why := underneath.copied_now(writer, around):
        raise TransientStoreError(
            f"no table is overwritten beneath the server while {why}",
            hint="end that, or name the standby in a [[copy]], then run again",
        )


def _checkpoint(writer: Writer) -> None:
    try:
        writer.run(commands.CHECKPOINT)
    except Denied:
        raise PermanentStoreError(
            "overwriting beneath the server takes the right to checkpoint",
            hint="GRANT pg_checkpoint TO it (PostgreSQL 15), or a superuser",
        ) from None
