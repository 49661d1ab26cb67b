"""What else a database does with rows: tables that keep their history, and shapes that matter when rows go.

Nothing in a catalog says "history". What is told here is what names, columns and the bodies of trigger
functions suggest, and is said so. A table that seems to keep the history of one in scope, and is itself out
of scope, is a copy that is not reached: taken into the scope, it is erased; taken in and left out of the
plan, it is listed as left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cenotaph.scope import Selection
from cenotaph.store import Copy, Disposition
from cenotaph.stores.postgres.catalog import references
from cenotaph.stores.postgres.catalog.references import Reference
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS, USERS_OWN, Schema, Table
from cenotaph.stores.postgres.session import Session

KIND = "history table"
ALIKE_COLUMNS = 4  # of a table, all of which another table has: fewer are alike by chance

_WORDS = (
    "history|histories|hist|hst|audits?|auditing|aud|logs?|archived?|archives|versions?|revisions?|revs?|shadow|"
    "backups?|bak|old|deleted|changes|changelog|journal|trail|copy"
)
_AFTER = re.compile(rf"_?(?:{_WORDS})(?:_?\d+)?|_?\d{{4,}}", re.IGNORECASE)
_BEFORE = re.compile(rf"(?:{_WORDS})_?", re.IGNORECASE)
_SCHEMA = re.compile(rf"(?:.*_)?(?:{_WORDS})", re.IGNORECASE)
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_WRITES = re.compile(
    rf"\b(?:insert\s+into|merge\s+into|copy)\s+(?:only\s+)?({_IDENTIFIER})(?:\s*\.\s*({_IDENTIFIER}))?",
    re.IGNORECASE,
)
_APART = "\1"
_ATTRIBUTE = frozenset(
    ("attribute", "attributes", "attr", "property", "concept", "field", "parameter", "question")
)
_VALUE = frozenset(("value", "val"))


class _Shape(NamedTuple):
    """What the catalog says of one table."""

    oid: int
    family: int  # the topmost of what it inherits from, or is a partition of; else itself
    called: str  # the name of that
    heap_bytes: int
    inherits: bool  # as a child or a parent, and not as a partition
    row_security: bool
    generated: int  # columns stored in the row
    vectors: int  # columns of words for searching


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a database's tables beside their columns."""

    known: Schema
    shapes: dict[int, _Shape]
    triggers: dict[int, tuple[str, ...]] = field(repr=False)  # what their functions say, by table
    rules: dict[int, frozenset[int]]  # tables that rules name, by table
    references: tuple[Reference, ...]


def read(session: Session, known: Schema) -> History:
    """Look at the catalogs; no row is read."""
    triggers: dict[int, tuple[str, ...]] = {}
    for table, text in session.rows(_TRIGGERS):
        triggers[table] = (*triggers.get(table, ()), str(text))
    rules: dict[int, frozenset[int]] = {}
    for table, other in session.rows(_RULES):
        rules[table] = rules.get(table, frozenset()) | {other}
    shapes = {row[0]: _Shape(*row) for row in session.rows(_SHAPES)}
    return History(known, shapes, triggers, rules, references.read(session))


def copies(history: History, table: Table, selection: Selection) -> Iterator[Copy]:
    """Tables out of scope that seem to keep the history of a table in scope."""
    if selection.includes(table.name):
        for other in twins(history, table):
            if not selection.includes(other.name):
                yield Copy(KIND, other.name, other.bytes, Disposition.REACH_NOT)


def twins(history: History, table: Table) -> list[Table]:
    """The tables with rows that seem to keep the history of this one."""
    if table.oid == LARGE_OBJECTS:
        return []
    written = _written(history, table)
    family, called = history.shapes[table.oid].family, history.shapes[table.oid].called
    return [
        other
        for other in history.known.tables
        if other.oid != LARGE_OBJECTS
        and history.shapes[other.oid].family != family
        and history.shapes[other.oid].heap_bytes
        and (other.oid in written or _named_after(other, table, called) or _wider(other, table))
    ]


def notes(history: History, table: Table, selection: Selection) -> Iterator[str]:
    """What to know before rows of a table in scope go. Counts alone: names can be people's."""
    if table.oid == LARGE_OBJECTS or not selection.includes(table.name):
        return
    shape = history.shapes[table.oid]
    yield from _of_triggers(history, table, selection)
    if loose := _loosely_linked(history, table):
        out = sum(1 for other in loose if not selection.includes(other.name))
        yield f"tables that seem to name its records without a foreign key: {len(loose)}, {out} out of scope"
    if not table.key:
        yield "no key without nulls: ordered by digest, and a row that is written again counts as drift"
    if _is_eav(table):
        yield "entity, attribute and value: what a value means, another column says"
    if shape.generated or shape.vectors:
        yield f"copies in the row itself: generated columns {shape.generated}, search vectors {shape.vectors}"
    if shape.row_security:
        yield "row-level security is on: a role that it hides rows from is refused"
    if shape.inherits:
        yield "inherits, or is inherited from: each such table is a collection of its own"


def _of_triggers(history: History, table: Table, selection: Selection) -> Iterator[str]:
    count = len(history.triggers.get(table.oid, ()))
    if not count:
        return
    written = _written(history, table) - {table.oid}
    out = sum(1 for t in history.known.tables if t.oid in written and not selection.includes(t.name))
    yield f"triggers: {count}; tables that they seem to write to: {len(written)}, {out} out of scope"


def _written(history: History, table: Table) -> frozenset[int]:
    """The tables that triggers and rules of this one, or of what it is a part of, seem to add rows to."""
    found = set(history.rules.get(table.oid, ()))
    above = history.shapes[table.oid].family
    for text in {*history.triggers.get(table.oid, ()), *history.triggers.get(above, ())}:
        said, _, told = text.rpartition(_APART)  # the function's body, and what the trigger tells it
        for first, second in _WRITES.findall(said):
            found |= _meant(
                history.known, *((_plain(first), _plain(second)) if second else ("", _plain(first)))
            )
        for word in re.findall(_IDENTIFIER, told):
            found |= _meant(history.known, "", _plain(word))
    return frozenset(found)


def _meant(known: Schema, schema: str, relation: str) -> set[int]:
    return {t.oid for t in known.tables if t.relation == relation and schema in ("", t.schema)}


def _plain(identifier: str) -> str:
    """An identifier as the catalog has it."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.lower()


def _named_after(other: Table, table: Table, called: str) -> bool:
    """`patient_history`, `audit_patient`, `audit.patient`; of a partition, after its parent too."""
    its = other.relation
    if its in (table.relation, called):
        return other.schema != table.schema and bool(_SCHEMA.fullmatch(other.schema))
    return any(
        (its.startswith(mine) and _AFTER.fullmatch(its[len(mine) :]))
        or (its.endswith(mine) and _BEFORE.fullmatch(its[: -len(mine)]))
        for mine in {table.relation, called}
    )


def _wider(other: Table, table: Table) -> bool:
    """Whether it has every column of the table, and does not hold each key once."""
    mine = {(column.name, column.type) for column in table.columns}
    its = {(column.name, column.type) for column in other.columns}
    return len(mine) >= ALIKE_COLUMNS and mine <= its and bool(table.key) and table.key != other.key


def _loosely_linked(history: History, table: Table) -> list[Table]:
    """Tables with a column that is named for the key of this one, and is no foreign key."""
    if len(table.key) != 1:
        return []
    key = table.key[0]
    names = {f"{form}{tail}" for form in _forms(table.relation) for tail in _tails(key.name)}
    names |= {key.name} if key.name.lower() not in _COMMON else set()
    return [
        other
        for other in history.known.tables
        if other.oid not in (table.oid, LARGE_OBJECTS)
        and any(
            column.name.lower() in names
            and column.type == key.type
            and not any(r.child == other.oid and column.name in dict(r.columns) for r in history.references)
            for column in other.columns
        )
    ]


def _forms(relation: str) -> set[str]:
    """A table's name, and what may be its singular."""
    name = relation.lower()
    return {name, *(name.removesuffix(end) + more for end, more in _PLURALS if name.endswith(end))}


def _tails(key: str) -> tuple[str, ...]:
    return ("_id", "id", f"_{key.lower()}")


_PLURALS = (("s", ""), ("es", ""), ("ies", "y"))
_COMMON = frozenset(("id", "uuid", "guid", "key", "code", "name", "nr", "no", "num", "number", "pk", "oid"))


def _is_eav(table: Table) -> bool:
    words = [frozenset(re.split(r"[\W_]+", column.name.lower())) for column in table.columns]
    values = sum(1 for word in words if word & _VALUE)
    attributes = sum(1 for word in words if word & _ATTRIBUTE and not word & _VALUE)
    return bool(values and attributes) and any("id" in word or "entity" in word for word in words)


# The topmost parent is the one with the smallest number among all that are reached by going up.
_SHAPES = f"""
WITH RECURSIVE up (oid, above) AS (
    SELECT oid, oid FROM pg_class WHERE relkind IN ('r', 'p')
    UNION SELECT up.oid, i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.above
), family (oid, top) AS (
    SELECT oid, min(above::int8) FROM up
    WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = above) GROUP BY oid
)
SELECT c.oid::int8, f.top, t.relname::text, pg_relation_size(c.oid),
    NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)),
    c.relrowsecurity, (SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = 's'),
    (SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'tsvector'::regtype)
FROM pg_class c JOIN family f ON f.oid = c.oid JOIN pg_class t ON t.oid = f.top
    JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND {USERS_OWN}
"""  # noqa: S608 (a constant)
_TRIGGERS = """
SELECT t.tgrelid::int8, p.prosrc || chr(1) || encode(t.tgargs, 'escape')
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE (NOT t.tgisinternal OR t.tgparentid <> 0) AND p.pronamespace <> 'pg_catalog'::regnamespace
"""
_RULES = """
SELECT r.ev_class::int8, d.refobjid::int8 FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class AND c.relkind = 'r'
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
"""
