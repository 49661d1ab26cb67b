"""Having the write-ahead log written over, and noticing what holds it back.

What surprised the author: a switch of the log does nothing where nothing was written since the last one;
a segment that was not archived, or that a slot wants, stays for ever, while each further switch adds one
more, until the disk is full; and a logical slot holds the log back, however far its subscriber is, for as
long as no transaction takes a number: what it needs is worked out anew when the oldest number moves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from cenotaph.errors import PermanentStoreError
from cenotaph.store import Command, Surroundings
from cenotaph.stores.postgres.beneath import raw, unlinked
from cenotaph.stores.postgres.commands import CHECKPOINT, SWITCH
from cenotaph.stores.postgres.reclaiming.rewriting import DECODED, NUMBER, let_slots_go
from cenotaph.stores.postgres.session import Denied, Session
from cenotaph.stores.postgres.work import Outlook, Work
from cenotaph.stores.postgres.writing import Writer

ARCHIVED_WITHIN = 10.0  # seconds for the archiver to take what it was just given
_PAUSE = 0.1


def cycle(work: Work) -> None:
    """Write over every segment: those that are done with are used again, in turn. Where some are held
    back, the grade is, with the reason.

    Raises: PermanentStoreError where this role may not.
    """
    try:
        before = str(work.writer.one("SELECT pg_walfile_name(pg_current_wal_lsn())"))
        held = _pass(work.writer, before)
        if not held:
            for _ in range(int(work.writer.one("SELECT count(*) FROM pg_ls_waldir()")) + 2):
                _switch(work.writer)
            work.writer.run(CHECKPOINT)
            held = _upto(work.writer, before)
        write_over_unlinked(work, work.writer, work.around)
        if held:
            work.limits.append(
                f"{held} segments of the write-ahead log could not be written over: "
                f"{_why(work.writer) or 'the server holds them back'}"
            )
    except Denied:
        raise PermanentStoreError(
            "the shared action wal takes the right to checkpoint and to switch the log",
            hint="GRANT it pg_checkpoint, pg_monitor and EXECUTE ON FUNCTION pg_switch_wal()",
        ) from None


def write_over_unlinked(work: Work, session: Session, around: Surroundings) -> None:
    """Segments that are gone and still open, where this machine has the server's files."""
    place = raw.data_directory(session, around)
    if isinstance(place, raw.NoAccess):
        return
    written, unseen = unlinked.overwrite_segments(place)
    work.overwritten += written
    if unseen:
        work.notes.append(
            f"{unseen} of the server's processes could not be looked into: segments of the log that they have"
            " open become free as they are when these end"
        )


def cycling(outlook: Outlook) -> Iterator[Command]:
    """What `cycle` runs."""
    often = "once for each segment in pg_wal, and some times more"
    yield from (replace(command, often=often) for command in (CHECKPOINT, SWITCH))
    if outlook.session.rows(DECODED):
        yield replace(NUMBER, often="while the slot holds the log back")
    yield CHECKPOINT


def _switch(writer: Writer) -> None:
    writer.run(CHECKPOINT)  # which writes a record, without which the switch would do nothing
    writer.run(SWITCH)


def _pass(writer: Writer, before: str) -> int:
    """Leave the segments up to this one behind; how many the server does not let go of."""
    _switch(writer)
    deadline = time.monotonic() + ARCHIVED_WITHIN
    while True:
        let_slots_go(writer)
        writer.run(CHECKPOINT)
        if not (held := _upto(writer, before)) or time.monotonic() > deadline or _failing(writer):
            return held
        time.sleep(_PAUSE)


def _upto(writer: Writer, segment: str) -> int:
    return int(writer.one(_UPTO, segment))


def _failing(writer: Writer) -> bool:
    return bool(writer.rows(f"SELECT 1 FROM pg_stat_archiver WHERE {_FAILED}"))  # noqa: S608 (a constant)


def _why(writer: Writer) -> str:
    return ", ".join(str(why) for (why,) in writer.rows(_HELD))


_UPTO = """
SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name COLLATE "C" <= $1
"""
_FAILED = """current_setting('archive_mode') <> 'off' AND last_failed_time IS NOT NULL
    AND last_failed_time > coalesce(last_archived_time, '-infinity')"""
_HELD = f"""
SELECT 'the archive command fails' FROM pg_stat_archiver WHERE {_FAILED}
UNION ALL SELECT 'a replication slot wants them' WHERE EXISTS (
    SELECT FROM pg_replication_slots WHERE restart_lsn IS NOT NULL)
UNION ALL SELECT 'wal_keep_size keeps them' WHERE current_setting('wal_keep_size') <> '0'
"""  # noqa: S608 (a constant)
