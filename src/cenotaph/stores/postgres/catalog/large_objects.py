"""Large objects: bytes that belong to no table, named by number (PostgreSQL manual, "Large Objects").

They are one collection, `pg_catalog.pg_largeobject`, of the catalog's own rows: an object's number, a page's
number, and up to 2,048 bytes. What surprised the author: deleting a row leaves the object that it named; and
an object may be of any size, so that partitions are cut between objects, never within one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TypeAlias

from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import Command, Copy, Disposition
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS, Schema, Table
from cenotaph.stores.postgres.session import Session

NAME = "pg_catalog.pg_largeobject"
KIND = "large objects"
OBJECTS_AT_ONCE = 1000  # each is locked until the transaction ends (vacuumlo's own limit)
_LAST_PAGE = str(2**31 - 1)
_NAMED_BY = ("oid", "lo")  # types of columns that name large objects

Key: TypeAlias = tuple[str, ...]


def fitting(selection: Selection) -> Selection:
    """The selection; without large objects where it chooses rows, or holds some of them, by what columns
    say: objects have no columns of that kind."""
    chosen = selection.rows is not None or selection.subjects is not None
    held = any(
        (hold.rows is not None or hold.subjects is not None)
        and any(fnmatchcase(NAME, pattern) for pattern in hold.collections)
        for hold in selection.holds
    )
    if not (chosen or held):
        return selection
    return _TablesOnly(**{part.name: getattr(selection, part.name) for part in fields(selection)})


class _TablesOnly(Selection):
    __slots__ = ()

    def includes(self, collection: str) -> bool:
        return collection != NAME and super().includes(collection)


def listed(session: Session, known: Schema, selection: Selection) -> Schema:
    """The schema without large objects where there are none, or where they are out of scope.

    Raises: PermanentStoreError where they are in scope, and this role may not read them.
    """
    if not (selection.includes(NAME) and _any(session)):
        return replace(known, tables=tuple(table for table in known.tables if table.oid != LARGE_OBJECTS))
    if not session.one("SELECT has_table_privilege($1, 'SELECT')", NAME):
        raise PermanentStoreError(
            "the database has large objects, they are in scope, and this role may not read them",
            hint="GRANT SELECT ON pg_largeobject TO it, or name the collections that are in scope",
        )
    return known


def size(session: Session) -> int | None:
    """How many bytes large objects take in the server's files; None where there are none."""
    if not _any(session):
        return None
    return int(session.one("SELECT pg_total_relation_size($1::int8::regclass)", LARGE_OBJECTS))


def copies(size: int, table: Table, selection: Selection) -> Iterator[Copy]:
    """Large objects beside a table, where they are no collection. Out of scope by name, they stay, unless
    the table has a column of the type that names them."""
    if table.oid == LARGE_OBJECTS or selection.includes(NAME):
        return
    by_name = not isinstance(selection, _TablesOnly)
    named = any(column.type in _NAMED_BY for column in table.columns)
    yield Copy(KIND, NAME, size, Disposition.KEEP if by_name and not named else Disposition.REACH_NOT)


def cuts(session: Session, pages: int) -> list[tuple[Key | None, Key | None]]:
    """Bounds of about as many pages, but of whole objects, and of at most `OBJECTS_AT_ONCE`."""
    found = [number for (number,) in session.rows(_ENDS, pages, OBJECTS_AT_ONCE)]
    if found and found[-1] == session.one("SELECT max(loid)::text FROM pg_catalog.pg_largeobject"):
        found.pop()
    return list(pairwise([None, *((number, _LAST_PAGE) for number in found), None]))


def unlink(where: str) -> Command:
    """Unlink the objects whose pages meet the condition. Touches as many rows as there are pages."""
    return Command(
        "SELECT FROM (SELECT pages FROM (SELECT loid, count(*) FROM pg_catalog.pg_largeobject"  # noqa: S608
        f" WHERE {where} GROUP BY loid) AS o (number, pages) WHERE lo_unlink(number) = 1) AS unlinked,"
        " generate_series(1, pages)",
        f"Unlinks every large object of the partition, at most {OBJECTS_AT_ONCE:,}, of whoever owns them.",
        "ACCESS EXCLUSIVE on each object, beneath the lock that is held.",
        "Pages are marked as deleted; their bytes stay until the catalog is rewritten, and go into the log.",
        "cenotaph.bound_0 …: settings of this session alone, which hold the numbers between which they lie"
        if "cenotaph.bound_" in where
        else "",
    )


REWRITES = tuple(  # of what else the server keeps of an object, by the catalog's fixed oid
    (
        Command(
            f"VACUUM (FULL, VERBOSE) pg_catalog.{name}",
            f"Writes the catalog of {what} anew, without those of objects that were unlinked.",
            "ACCESS EXCLUSIVE on the catalog while it runs: nobody makes or unlinks an object.",
            f"{what.capitalize()} that were deleted. The old file goes to free blocks as it is.",
        ),
        oid,
    )
    for name, what, oid in (
        ("pg_largeobject_metadata", "owners of large objects", 2995),
        ("pg_description", "comments", 2609),
    )
)


def _any(session: Session) -> bool:
    """Whether there are objects. One without a page has no bytes, and counts where pages may not be read."""
    if session.one("SELECT has_table_privilege($1, 'SELECT')", NAME):
        return bool(session.rows("SELECT 1 FROM pg_catalog.pg_largeobject LIMIT 1"))
    return bool(session.rows("SELECT 1 FROM pg_catalog.pg_largeobject_metadata LIMIT 1"))


# Objects after which as many pages, or objects, are full. Nothing is sorted: the index has them in order.
_ENDS = """
SELECT number::text FROM (
    SELECT number, length, row_number() OVER (ORDER BY number) AS objects,
        sum(length) OVER (ORDER BY number) AS pages
    FROM (SELECT loid, count(*)::int8 FROM pg_catalog.pg_largeobject GROUP BY loid) AS o (number, length)
) AS counted
WHERE objects % $2 = 0 OR trunc(pages / $1) > trunc((pages - length) / $1) ORDER BY number
"""
