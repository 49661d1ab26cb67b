# ruff: noqa: S608 (constants)
"""Logical subscribers: databases to which rows are sent one by one, and from which deletions take them.

What surprised the author: a publisher knows slots and publications, not who has the rows. A subscriber that
was detached keeps them, and nobody can tell.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cenotaph.errors import PermanentStoreError, StoreError
from cenotaph.scope import Selection
from cenotaph.store import NOTHING_AROUND, Copy, Disposition, Extent, Surroundings
from cenotaph.stores.postgres import rows
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.catalog import publications, schema
from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.outside import logs
from cenotaph.stores.postgres.session import Place, Session, driver_errors

KIND = "logical subscriber"
FILES, NO_ANSWER, OTHER = (
    "logical subscriber, its files not reached",
    "logical subscriber, not reached",
    "logical subscriber, not named in the case",
)
APPLIED_WITHIN = 60.0  # seconds for a subscriber to apply what the publisher has written
_PAUSE = 0.05
_Kind = TypeVar("_Kind", bound=Session)


@dataclass(frozen=True, slots=True)
class Seen:
    """A given subscriber, as it answered."""

    place: str = field(repr=False)
    kind: str
    slots: frozenset[str] = field(repr=False, default=frozenset())  # of the publisher, that it reads from
    publications: frozenset[str] = field(repr=False, default=frozenset())


def look(session: Session, around: Surroundings) -> tuple[Seen, ...]:
    """The subscribers that the case names. Each is asked."""
    return tuple(_look(session, copy.place) for copy in around.copies if copy.kind == KIND)


def found(session: Session, selection: Selection, seen: tuple[Seen, ...]) -> Iterator[Copy]:
    """The subscribers that the case names, and publications of which none of them takes what is in scope."""
    yield from (Copy(one.kind, one.place, 0, Disposition.REACH_NOT) for one in seen)
    known = frozenset(name for one in seen for name in one.publications)
    for name in sorted(publications.publishing(session, selection) - known):
        yield Copy(OTHER, name, 0, Disposition.REACH_NOT)


def extents(session: Session, selection: Selection, around: Surroundings) -> Iterator[Extent]:
    """Every file of the given subscribers' servers that lie on this machine, with what stays in them."""
    for copy in around.copies:
        if copy.kind != KIND:
            continue
        with contextlib.suppress(StoreError), opened(session, copy.place, Session) as there:  # `found` tells
            again: Callable[[], AbstractContextManager[Session]] = _opener(copy.place)
            files = list(raw.extents(there, again, schema.read(there), selection, Surroundings()))
            files += logs.extents(there, NOTHING_AROUND)
            yield from [replace(extent, kind=f"subscriber {extent.kind}") for extent in files]


@contextmanager
def opened(publisher: Session, url: str, kind: type[_Kind]) -> Iterator[_Kind]:
    """A session in the database of a subscriber. Raises: StoreError where it subscribes to nothing of the
    publisher's database."""
    with closing(kind(Place.of(url))) as there, driver_errors("a logical subscriber"):
        if not _slots(publisher, there):
            raise PermanentStoreError("its url leads to a database that subscribes to nothing here")
        yield there


def catch_up(publisher: Session, there: Session) -> None:
    """Wait until it has applied all that the publisher has written, by the word of both.

    Raises: PermanentStoreError where it does not, or follows another server.
    """
    slots, deadline = sorted(_slots(publisher, there)), time.monotonic() + APPLIED_WITHIN
    until = str(publisher.one("SELECT pg_current_wal_flush_lsn()::text"))
    while not (publisher.one(_CONFIRMED, slots, until) and there.one(_APPLIED, slots, until)):
        if time.monotonic() > deadline:
            raise PermanentStoreError("it has not applied what the publisher wrote: it lags, or is disabled")
        time.sleep(_PAUSE)
    last = str(there.one(_LAST, slots))
    if not publisher.one("SELECT $1::text::pg_lsn <= pg_current_wal_insert_lsn()", last):
        raise PermanentStoreError("it follows another server: it is further than this one")


def has_partitions(there: Session) -> bool:
    """Whether what is sent to it goes into tables that are parted there."""
    return bool(there.one(_PARTED))


def left(url: str, tables: Sequence[Table], selection: Selection) -> int:
    """How many rows these tables of a subscriber have of those that were to go."""
    total = 0
    for table in tables:
        with closing(Session(Place.of(url))) as there, driver_errors("a logical subscriber"):
            whole = rows.Bounds.of(table)
            if selection.whole(table.name, table.names()):
                total += rows.count(there, table, whole)
            else:
                total += selection.count(table.name, rows.deciding(there, table, whole, selection)).selected
    return total


def _opener(url: str) -> Callable[[], AbstractContextManager[Session]]:
    return lambda: closing(Session(Place.of(url)))


def _look(publisher: Session, url: str) -> Seen:
    place = Place.of(url).without_password()[0]
    try:
        with opened(publisher, url, Session) as there:
            slots = _slots(publisher, there)
            names = frozenset(str(name) for (name,) in there.rows(_SUBSCRIBED, sorted(slots)))
            reached = isinstance(raw.data_directory(there, NOTHING_AROUND), str)
    except StoreError:
        return Seen(place, NO_ANSWER)
    return Seen(place, KIND if reached else FILES, slots, names)


def _slots(publisher: Session, there: Session) -> frozenset[str]:
    """The publisher's slots from which subscriptions of this database read."""
    here = {str(name) for (name,) in publisher.rows(_SLOTS)}
    return frozenset(here & {str(name) for (name,) in there.rows(_READ_FROM)})


_SLOTS = """
SELECT slot_name::text FROM pg_replication_slots
WHERE slot_type = 'logical' AND NOT temporary AND database = current_database()
"""
_OURS = "subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
_READ_FROM = f"SELECT subslotname::text FROM pg_subscription WHERE {_OURS} AND subslotname IS NOT NULL"
_SUBSCRIBED = f"""
SELECT unnest(subpublications) FROM pg_subscription WHERE {_OURS} AND subslotname = ANY ($1::text[])
"""
_CONFIRMED = """
SELECT coalesce(bool_and(active AND confirmed_flush_lsn >= $2::text::pg_lsn), false)
FROM pg_replication_slots WHERE slot_name = ANY ($1::text[])
"""
_APPLIED = f"""
SELECT coalesce(bool_and(l.latest_end_lsn >= $2::text::pg_lsn AND NOT EXISTS (
    SELECT FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r')), false)
FROM pg_subscription s LEFT JOIN pg_stat_subscription l ON l.subid = s.oid AND l.relid IS NULL
WHERE {_OURS} AND s.subslotname = ANY ($1::text[])
"""
_LAST = f"""
SELECT max(l.latest_end_lsn)::text FROM pg_subscription s JOIN pg_stat_subscription l ON l.subid = s.oid
WHERE {_OURS} AND s.subslotname = ANY ($1::text[])
"""
_PARTED = f"""
SELECT EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
    JOIN pg_class c ON c.oid = r.srrelid WHERE {_OURS} AND c.relkind <> 'r')
"""
