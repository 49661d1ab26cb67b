"""Which tables refer to which, and so in which order their rows can go (PostgreSQL manual, "Constraints").

And the triggers that would run when they do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.session import Session, quoted


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: rows of `child` name rows of `parent`. Tables by their oid."""

    child: int
    parent: int
    name: str = field(repr=False)  # the child, as SQL writes it
    columns: tuple[tuple[str, str], ...] = field(repr=False)  # of the child, of the parent
    follows: bool  # deleting a parent row would change the child: CASCADE, SET NULL, SET DEFAULT

    def joined(self, child: str, parent: str) -> str:
        """The condition under which a row of one names a row of the other."""
        return " AND ".join(f"{child}.{quoted(a)} = {parent}.{quoted(b)}" for a, b in self.columns)


_REFERENCES = """
SELECT k.conrelid::int8, k.confrelid::int8, n.nspname::text, c.relname::text,
    k.confdeltype IN ('c', 'n', 'd'),
    array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place),
    array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid
WHERE k.contype = 'f' AND c.relkind = 'r' AND p.relkind = 'r' ORDER BY k.oid
"""


def read(session: Session) -> tuple[Reference, ...]:
    """Every foreign key between tables that store rows, those of partitions too."""
    return tuple(
        Reference(
            child,
            parent,
            f"{quoted(schema)}.{quoted(relation)}",
            tuple(zip(mine, theirs, strict=True)),
            follows,
        )
        for child, parent, schema, relation, follows, mine, theirs in session.rows(_REFERENCES)
    )


def triggers(session: Session, table: Table) -> list[tuple[str, str]]:
    """Names and states (pg_trigger.tgenabled) of the table's own triggers that would run.

    Before PostgreSQL 15 a partition's copy of its parent's trigger counts as internal, as what enforces a
    constraint does, so that DISABLE TRIGGER USER passes over it: each is switched off by its name.
    """
    return [
        (str(name), str(state))
        for name, state in session.rows(
            "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE tgrelid = $1::int8"
            " AND (NOT tgisinternal OR tgparentid <> 0 AND tgconstraint = 0) AND tgenabled <> 'D'"
            " ORDER BY tgname",
            table.oid,
        )
    ]


def order(tables: Sequence[int], references: Sequence[Reference]) -> list[int]:
    """The tables, those that refer before those that they refer to; within a cycle as they are given."""
    children: dict[int, list[int]] = {table: [] for table in tables}
    for reference in references:
        if reference.child in children and reference.parent in children:
            children[reference.parent].append(reference.child)
    done: dict[int, None] = {}
    for table in tables:
        if table not in done:
            _visit(table, children, done)
    return list(done)


def in_cycles(references: Sequence[Reference]) -> dict[int, frozenset[int]]:
    """Each table that can be reached from itself by foreign keys, with all that are in such a way with it."""
    down: dict[int, set[int]] = {}
    for reference in references:
        down.setdefault(reference.child, set()).add(reference.parent)
    reached = {table: _reached(table, down) for table in down}
    return {
        table: frozenset(other for other in found if table in reached.get(other, ()))
        for table, found in reached.items()
        if table in found
    }


def _visit(table: int, children: Mapping[int, list[int]], done: dict[int, None]) -> None:
    """After its children, each once. Iterative: a schema may be deeper than Python's stack."""
    stack = [(table, iter(children[table]))]
    above = {table}
    while stack:
        current, rest = stack[-1]
        child = next((c for c in rest if c not in done and c not in above), None)
        if child is None:
            stack.pop()
            done[current] = None
        else:
            above.add(child)
            stack.append((child, iter(children[child])))


def _reached(table: int, down: Mapping[int, Collection[int]]) -> set[int]:
    found: set[int] = set()
    left = list(down[table])
    while left:
        current = left.pop()
        if current not in found:
            found.add(current)
            left += down.get(current, ())
    return found
