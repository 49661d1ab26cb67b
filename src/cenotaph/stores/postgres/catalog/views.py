"""Materialized views: copies of rows that other rows' deletion does not reach, until they are refreshed.

A refresh writes the view's file and its indexes anew, from what its tables have then (PostgreSQL manual,
REFRESH MATERIALIZED VIEW). Where a view also reads tables out of scope, its rows of those change too: that is
its owner's to approve. What a view reads inside a function is not recorded anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from cenotaph.scope import Selection
from cenotaph.store import Command, Copy, Disposition
from cenotaph.stores.postgres.catalog.schema import Schema, Table, collection_name
from cenotaph.stores.postgres.session import Session, driver_errors, quoted
from cenotaph.stores.postgres.work import Outlook, Work

KIND = "materialized view"
MIXED = "mixed materialized view"  # it reads tables out of scope, too
SHARED = "views"  # the shared action that refreshes these


@dataclass(frozen=True, slots=True)
class View:
    """A materialized view that has rows."""

    oid: int
    schema: str = field(repr=False)
    relation: str = field(repr=False)
    bytes: int  # with indexes and TOAST
    tables: frozenset[int]  # that store the rows which it reads, through other views too
    refreshable: bool  # it reads no foreign table, and no view without rows
    calls: bool  # functions of which no catalog says what they read

    @property
    def name(self) -> str:
        return collection_name(self.schema, self.relation)

    def sql(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.relation)}"


def read(session: Session) -> tuple[View, ...]:
    """Every materialized view that has rows, after those that it reads."""
    below: dict[int, list[int]] = {}
    for above, under in session.rows(_READS):
        below.setdefault(above, []).append(under)
    kinds = {oid: str(kind) for oid, kind in session.rows(_KINDS)}
    found = {row[0]: row[1:] for row in session.rows(_VIEWS)}
    reached = {oid: _reached(oid, below) for oid in found}
    calling = {oid for (oid,) in session.rows(_CALLS)}
    views = []
    for oid in sorted(found, key=lambda oid: (len(reached[oid]), oid)):  # who reads a view reads what it does
        schema, relation, size, populated = found[oid]
        if populated:
            known = [(other, kinds.get(other, "")) for other in reached[oid]]
            tables = frozenset(other for other, kind in known if kind == "r")
            empty = any(kind == "m" and not found[other][3] for other, kind in known)
            able = not empty and all(kind != "f" for _, kind in known)
            calls = not calling.isdisjoint({oid, *reached[oid]})
            views.append(View(oid, str(schema), str(relation), size, tables, able, calls))
    return tuple(views)


def own(view: View, known: Schema, selection: Selection) -> bool:
    """Whether all that a refresh would bring up to date is in scope."""
    names = {table.oid: table.name for table in known.tables}
    return view.refreshable and all(oid in names and selection.includes(names[oid]) for oid in view.tables)


def copies(views: tuple[View, ...], known: Schema, table: Table, selection: Selection) -> Iterator[Copy]:
    """Those of the materialized views that read the table."""
    for view in views:
        if table.oid in view.tables:
            mine = own(view, known, selection)
            mixed = view.refreshable and not mine and _touched(view, known, selection)
            becomes = Disposition.DESTROY if mine else Disposition.REACH_NOT
            yield Copy(MIXED if mixed else KIND, view.name, view.bytes, becomes)


def apart(session: Session, known: Schema, selection: Selection) -> list[int]:
    """The views that read nothing that is in scope, for certain: what they have stays."""
    return [
        view.oid
        for view in read(session)
        if view.tables and not view.calls and not _touched(view, known, selection)
    ]


def _touched(view: View, known: Schema, selection: Selection) -> bool:
    """Whether a table in scope is among those that the view reads."""
    return any(table.oid in view.tables and selection.includes(table.name) for table in known.tables)


def due(outlook: Outlook | Work, *, mixed: bool = False) -> tuple[View, ...]:
    """The views that are refreshed, in order: those that read tables from which was erased, and none out of
    scope; or those that also read some out of scope."""
    session = outlook.writer if isinstance(outlook, Work) else outlook.session
    erased = {table.oid for table in outlook.tables}
    return tuple(
        view
        for view in read(session)
        if view.tables & erased
        and view.refreshable
        and own(view, outlook.known, outlook.selection) is not mixed
    )


def refresh(work: Work) -> None:
    """Refresh the views that read only tables in scope."""
    _refresh(work, due(work))


def refreshing(outlook: Outlook) -> Iterator[Command]:
    """What `refresh` runs."""
    yield from _refreshing(
        due(outlook), "Writes the view anew, of what stays of its tables: all are in scope."
    )


def refresh_mixed(work: Work) -> None:
    """Refresh the views that read tables out of scope, too."""
    _refresh(work, due(work, mixed=True))


def refreshing_mixed(outlook: Outlook) -> Iterator[Command]:
    """What `refresh_mixed` runs."""
    does = "Writes the view anew, of what its tables have now; some of them are out of scope."
    yield from _refreshing(due(outlook, mixed=True), does)


def _refresh(work: Work, views: tuple[View, ...]) -> None:
    """Functions that a view calls are found as in its owner's sessions, and run with the owner's rights."""
    for view in views:
        with driver_errors("a materialized view that reads what was erased"):
            work.writer.run(_THEIR_PATH)
            try:
                work.writer.run(_refreshed(view, ""))
            finally:
                work.writer.run(_OUR_PATH)


def _refreshing(views: tuple[View, ...], does: str) -> Iterator[Command]:
    for view in views:
        yield from (_THEIR_PATH, _refreshed(view, does), _OUR_PATH)


def analyse(view: View) -> Command:
    """The planner's statistics of a refreshed view, anew."""
    return Command(f"ANALYZE {view.sql()}", "Has the planner look anew at what the view has now.")


_THEIR_PATH = Command(
    "RESET search_path", "Has functions of the view found as its owner's sessions find them."
)
_OUR_PATH = Command(
    "SET search_path = pg_catalog", "Has nobody's own functions stand in for the server's again."
)


def _refreshed(view: View, does: str) -> Command:
    return Command(
        f"REFRESH MATERIALIZED VIEW {view.sql()}",
        does,
        "ACCESS EXCLUSIVE while it runs: nobody reads the view.",
        "The view, its indexes and TOAST. The old files go to free blocks as they are.",
    )


def _reached(oid: int, below: Mapping[int, Collection[int]]) -> frozenset[int]:
    found: set[int] = set()
    left = [oid]
    while left:
        for other in below.get(left.pop(), ()):
            if other not in found:
                found.add(other)
                left.append(other)
    return frozenset(found)


# What the rewrite rules of views name; a table that others inherit from, or are partitions of, is read with
# them. Rules of tables name what they write to, and are none of a view's.
_READS = """
SELECT DISTINCT r.ev_class::int8, d.refobjid::int8 FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
UNION SELECT inhparent::int8, inhrelid::int8 FROM pg_inherits
"""
# Functions and operators of users and extensions; but what is written in C and called immutable, such as
# geometry's, reads nothing.
_CALLS = """
SELECT DISTINCT r.ev_class::int8 FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc p ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode::oid END
JOIN pg_language l ON l.oid = p.prolang
WHERE p.oid >= 16384 AND NOT (p.provolatile = 'i' AND l.lanname IN ('c', 'internal'))
"""
_KINDS = "SELECT oid::int8, relkind::text FROM pg_class WHERE relkind IN ('r', 'f', 'm')"
_VIEWS = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, pg_total_relation_size(c.oid), c.relispopulated
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm'
"""
