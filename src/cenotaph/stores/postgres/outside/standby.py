"""Physical standbys: everything that the primary's files have, once more, and a log of their own.

What surprised the author: a standby has its primary's identity, so that a URL which leads back to the primary
passes for one that is caught up; and it uses segments of its log again only at restartpoints, which follow
checkpoints of the primary, not its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cenotaph.errors import PermanentStoreError, StoreError
from cenotaph.scope import Selection
from cenotaph.store import NOTHING_AROUND, Command, Copy, Disposition, Extent, Surroundings
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.catalog import schema
from cenotaph.stores.postgres.commands import CHECKPOINT, SWITCH
from cenotaph.stores.postgres.outside import logs, subscriber
from cenotaph.stores.postgres.reclaiming import wal
from cenotaph.stores.postgres.session import Denied, Place, Session, driver_errors
from cenotaph.stores.postgres.work import Outlook, Work
from cenotaph.stores.postgres.writing import Writer

KIND = "standby"
FILES, NO_ANSWER, OTHER, BEHIND_IT, ITS_ARCHIVE = (
    "standby, its files not reached",
    "standby, not reached",
    "standby, not named in the case",
    "standby of a standby",
    "wal archive of a standby",
)
REPLAYED_WITHIN = 60.0  # seconds for a standby to replay what the primary has written
_PAUSE = 0.05
_Kind = TypeVar("_Kind", bound=Session)
_ENDS = replace(SWITCH, does="Ends the segment of the log at hand, so that standbys use theirs again.")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A given standby, as it answered."""

    place: str = field(repr=False)
    kind: str
    slot: str | None = field(repr=False, default=None)  # of the primary, that it reads from
    reads: bool = False  # it is connected to the primary now
    more: tuple[str, ...] = ()  # kinds of copies that it has of its own


def found(session: Session, around: Surroundings, known: frozenset[str] = frozenset()) -> Iterator[Copy]:
    """The standbys that the case names, those that it does not, and slots from which nobody reads who is
    named. `known`: slots of subscribers."""
    seen = [_look(session, copy.place) for copy in around.copies if copy.kind == KIND]
    for one in seen:
        yield Copy(one.kind, one.place, 0, Disposition.REACH_NOT)
        yield from (Copy(kind, one.place, 0, Disposition.REACH_NOT) for kind in one.more)
    reading = int(session.one(_READING))
    for _ in range(reading - sum(one.reads for one in seen)):
        yield Copy(OTHER, "pg_stat_replication", 0, Disposition.REACH_NOT)
    for (slot,) in session.rows(_OF_THIS):
        if slot not in known | {one.slot for one in seen}:
            yield Copy("replication slot", str(slot), 0, Disposition.REACH_NOT)


def why_not_wiped(session: Session, around: Surroundings) -> str:
    """Why free blocks of a standby or subscriber stay as they are; empty where there is none, or it lies on
    the same volume as its primary."""
    for copy in around.copies:
        if copy.kind not in (KIND, subscriber.KIND):
            continue
        opened = _opened if copy.kind == KIND else subscriber.opened
        try:
            with opened(session, copy.place, Session) as other:
                place = raw.data_directory(other, NOTHING_AROUND)
            here = around.data_dir
            if isinstance(place, str) and here and os.stat(place).st_dev == os.stat(here).st_dev:
                continue
        except (StoreError, OSError):
            pass
        return f"free blocks of a {copy.kind} are not wiped"
    return ""


def extents(session: Session, selection: Selection, around: Surroundings) -> Iterator[Extent]:
    """Every file of the given standbys that lie on this machine, with what stays in them."""
    for copy in around.copies:
        if copy.kind != KIND:
            continue
        try:
            with _opened(session, copy.place, Session) as standby:
                again: Callable[[], AbstractContextManager[Session]] = _opener(copy.place)
                known = schema.read(standby)
                beside = Surroundings(beside=around.beside)
                files = list(raw.extents(standby, again, known, selection, beside))
                files += logs.extents(standby, NOTHING_AROUND)
        except StoreError:
            continue  # told by `found`
        for extent in files:
            yield replace(extent, kind=f"standby {extent.kind}")


def follow(work: Work) -> None:
    """See that each given standby has replayed everything, and written over its own log."""
    for copy in work.around.copies:
        if copy.kind == KIND:
            try:
                with _opened(work.writer, copy.place, Writer) as standby:
                    _follow(work, standby)
            except Denied:
                raise PermanentStoreError(
                    "the shared action replicas takes the right to checkpoint on standbys as on the primary",
                    hint="GRANT it pg_checkpoint, pg_monitor and EXECUTE ON FUNCTION pg_switch_wal()",
                ) from None
            except StoreError as error:
                work.limits.append(f"a standby: {error.message}")


def not_yet(work: Work, until: str) -> str:
    """Why a given standby may still need what the primary's archive has from before that place in the log;
    empty where none does. One that takes its log from there is nowhere connected."""
    for copy in work.around.copies:
        if copy.kind == KIND:
            try:
                with _opened(work.writer, copy.place, Session) as standby:
                    _wait(until, standby)
            except StoreError as error:
                return f"a standby that the case names may need what lies in it: {error.message}"
    return ""


def following(outlook: Outlook) -> Iterator[Command]:
    """What `follow` runs."""
    if any(copy.kind == KIND for copy in outlook.around.copies):
        often = "once for each segment in a standby's pg_wal, and some times more"
        yield replace(
            CHECKPOINT, often=f"{often}; on the primary, and on the standby once it has replayed it"
        )
        yield replace(_ENDS, often=often)


def _follow(work: Work, standby: Writer) -> None:
    mark = str(work.writer.one("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    for _ in range(int(standby.one("SELECT count(*) FROM pg_ls_waldir()")) + 2):
        work.writer.run(CHECKPOINT)
        work.writer.run(_ENDS)
        _wait(str(work.writer.one("SELECT pg_current_wal_flush_lsn()::text")), standby)
        standby.run(CHECKPOINT)  # a restartpoint
    wal.write_over_unlinked(work, standby, NOTHING_AROUND)
    if held := int(standby.one(_UPTO, mark)):
        work.limits.append(f"a standby keeps {held} segments of its log from before the rows were gone")
    if "logs" in work.shared:
        logs.forget_of(work, standby, NOTHING_AROUND, logs.copied(work.writer, standby))


def _wait(until: str, standby: Session) -> None:
    deadline = time.monotonic() + REPLAYED_WITHIN
    while not standby.one("SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)", until):
        if time.monotonic() > deadline:
            raise PermanentStoreError("it has not replayed what the primary wrote: it lags, or is paused")
        time.sleep(_PAUSE)


@contextmanager
def _opened(primary: Session, url: str, kind: type[_Kind]) -> Iterator[_Kind]:
    """A session on a standby of this primary. Raises: StoreError where it is none."""
    with closing(kind(Place.of(url))) as standby, driver_errors("a standby"):
        _check(primary, standby)
        yield standby


def _opener(url: str) -> Callable[[], AbstractContextManager[Session]]:
    return lambda: closing(Session(Place.of(url)))


def _check(primary: Session, standby: Session) -> None:
    """Raises: PermanentStoreError where it is no standby of this primary."""
    if not standby.one("SELECT pg_is_in_recovery()"):
        raise PermanentStoreError("its url leads to a server that is no standby")
    if standby.one(_IDENTIFIER) != primary.one(_IDENTIFIER):
        raise PermanentStoreError("it is a standby of another server")


def _look(primary: Session, url: str) -> _Seen:
    place = Place.of(url).without_password()[0]
    try:
        with _opened(primary, url, Session) as standby:
            receiver = standby.rows(_RECEIVER)
            more = [BEHIND_IT] * int(standby.one(_READING))
            more += [ITS_ARCHIVE] * (standby.one("SELECT current_setting('archive_mode')") == "always")
            reached = isinstance(raw.data_directory(standby, NOTHING_AROUND), str)
    except StoreError:
        return _Seen(place, NO_ANSWER)
    slot = receiver[0][0] if receiver else None
    return _Seen(place, KIND if reached else FILES, slot, bool(receiver), tuple(more))


_IDENTIFIER = "SELECT system_identifier FROM pg_control_system()"
_RECEIVER = "SELECT nullif(slot_name, '')::text FROM pg_stat_wal_receiver WHERE pid IS NOT NULL"
# A logical slot of another database sends nothing of this one; what it holds back of the log, `wal` sees.
_OF_THIS = """
SELECT slot_name::text FROM pg_replication_slots
WHERE slot_type = 'physical' OR database = current_database() ORDER BY 1
"""
_READING = """
SELECT count(*) FROM pg_stat_replication r WHERE NOT EXISTS (
    SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
"""
_UPTO = """
SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name COLLATE "C" <= $1
"""
