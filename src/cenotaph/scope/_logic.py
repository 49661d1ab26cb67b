"""Predicates as trees, evaluated over a batch in SQL's three-valued logic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.errors import UsageError
from cenotaph.scope._columns import (
    Bools,
    as_bytes,
    as_text,
    byte_set,
    characters,
    flags,
    is_text,
    nulls,
    parts,
    plain,
)
from cenotaph.scope._compare import OPERATORS, Order, compare
from cenotaph.scope._values import Value


@dataclass(frozen=True, slots=True)
class Predicate:
    """A parsed condition on rows; made by `parse_predicate` alone."""

    text: str = field(repr=False)
    root: Node = field(repr=False, compare=False)

    def evaluate(self, batch: pa.RecordBatch) -> Truth:
        """Rows where the condition is true, and where it is false; in neither, it is UNKNOWN.

        Raises:
            UsageError: a column is missing or ambiguous, or cannot be compared with its literal.
        """
        rows = Rows(batch)
        true, false = self.root.truth(rows)
        return Truth(true, false, rows.unconverted)


class Truth(NamedTuple):
    """SQL's three truth values, a row each."""

    true: Bools
    false: Bools
    unconverted: Bools  # rows with a value that could not be converted, hence UNKNOWN at that place


def stopped(what: str, at: int, hint: str | None = None) -> UsageError:
    return UsageError(f"the row condition {what}, at character {at}", hint=hint)


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value = field(repr=False)
    at: int


@dataclass(frozen=True, slots=True)
class Column:
    name: str = field(repr=False)
    exact: bool
    at: int


class Rows:
    """A batch under evaluation, and which rows had a value that did not convert."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self.count: int = batch.num_rows
        self.unconverted = np.zeros(self.count, dtype=np.bool_)

    def column(self, column: Column) -> pa.Array:
        found = self._batch.schema.get_all_field_indices(column.name)
        if not found and not column.exact:
            folded = column.name.casefold()
            found = [i for i, name in enumerate(self._batch.schema.names) if name.casefold() == folded]
        if not found:
            raise stopped("names a column that this collection does not have", column.at, _COLUMN_HINT)
        if len(found) > 1:
            raise stopped("names a column that this collection has more than once", column.at, _COLUMN_HINT)
        return self._batch.column(found[0])


_COLUMN_HINT: Final = 'a name in "double quotes" is matched exactly; narrow the scope to collections with it'
Both: TypeAlias = tuple[Bools, Bools]  # where true, where false


class Node(Protocol):
    def truth(self, rows: Rows) -> Both: ...


@dataclass(frozen=True, slots=True)
class AnyOf:
    nodes: tuple[Node, ...]

    def truth(self, rows: Rows) -> Both:
        true, false = np.zeros(rows.count, dtype=np.bool_), np.ones(rows.count, dtype=np.bool_)
        for node in self.nodes:
            yes, no = node.truth(rows)
            true |= yes
            false &= no
        return true, false


@dataclass(frozen=True, slots=True)
class AllOf:
    nodes: tuple[Node, ...]

    def truth(self, rows: Rows) -> Both:
        true, false = np.ones(rows.count, dtype=np.bool_), np.zeros(rows.count, dtype=np.bool_)
        for node in self.nodes:
            yes, no = node.truth(rows)
            true &= yes
            false |= no
        return true, false


@dataclass(frozen=True, slots=True)
class Not:
    node: Node

    def truth(self, rows: Rows) -> Both:
        true, false = self.node.truth(rows)
        return false, true


def negate(negated: bool, node: Node) -> Node:
    return Not(node) if negated else node


@dataclass(frozen=True, slots=True)
class IsNull:
    column: Column

    def truth(self, rows: Rows) -> Both:
        null = nulls(rows.column(self.column))
        return null, ~null


@dataclass(frozen=True, slots=True)
class Compare:
    column: Column
    operator: str
    literal: Literal

    def truth(self, rows: Rows) -> Both:
        order = _order(rows, self.column, self.literal)
        true = OPERATORS[self.operator](order)
        return true & order.known, ~true & order.known


@dataclass(frozen=True, slots=True)
class In:
    column: Column
    literals: tuple[Literal, ...]

    def truth(self, rows: Rows) -> Both:
        texts = [literal.value for literal in self.literals if isinstance(literal.value, str)]
        array = plain(rows.column(self.column))
        if len(texts) == len(self.literals) and is_text(array.type):
            valid = flags(array.is_valid())
            true = flags(pc.is_in(as_bytes(array), byte_set(texts)))
            return true & valid, ~true & valid
        orders = [_order(rows, self.column, literal) for literal in self.literals]
        true = np.logical_or.reduce([order.equal & order.known for order in orders])
        return true, ~true & np.logical_and.reduce([order.known for order in orders])


@dataclass(frozen=True, slots=True)
class Like:
    column: Column
    regex: str = field(repr=False)

    def truth(self, rows: Rows) -> Both:
        true = np.zeros(rows.count, dtype=np.bool_)
        known = np.zeros(rows.count, dtype=np.bool_)
        array = rows.column(self.column)
        for where, part in parts(array):
            if (text := as_text(part)) is not None:
                true[where] = flags(pc.match_substring_regex(characters(text), self.regex))
                known[where] = flags(part.is_valid())
            elif pa.types.is_union(array.type):  # other values of the same column may well be text
                rows.unconverted[where] |= flags(part.is_valid())
            elif not pa.types.is_null(part.type):
                raise stopped("uses LIKE on a column that is neither text nor integer", self.column.at)
        return true & known, ~true & known


def _order(rows: Rows, column: Column, literal: Literal) -> Order:
    array = rows.column(column)
    mixed = pa.types.is_union(array.type)
    less, equal, known = (np.zeros(rows.count, dtype=np.bool_) for _ in range(3))
    for where, part in parts(array):
        order = compare(part, literal.value)
        if order is not None:
            less[where], equal[where], known[where] = order
            rows.unconverted[where] |= flags(part.is_valid()) & ~order.known
        elif mixed:  # other values of the same column may well compare
            rows.unconverted[where] |= flags(part.is_valid())
        else:
            raise stopped("compares a column with a value that its type cannot be compared with", literal.at)
    return Order(less, equal, known)
