# ruff: noqa: S608 (names cannot be bound; `quoted` quotes them)
"""Rows of a table as Arrow batches, within bounds that a partition was given in the inventory.

Tables with a key are cut at keys, which stay where they are while others write. Without one there are only
places in the file, which move when a row is written again: what moved is drift.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.stores.postgres.catalog import large_objects
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS, Table
from cenotaph.stores.postgres.session import Session, quoted
from cenotaph.stores.postgres.wire.copy import BLOCK_ROWS, Block, Fields

PARTITION_RECORDS = 262_144
MOST_BOUNDS = 1 << 20  # bytes of JSON
BATCH_BYTES = 32 << 20

Key: TypeAlias = tuple[str, ...]
"""A key's values as the server writes them as text."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rows of one partition: after one key, up to and including another; or from one block of the
    table's file up to, and without, another. Open where None."""

    schema: str = field(repr=False)
    relation: str = field(repr=False)
    after: Key | None = field(default=None, repr=False)
    upto: Key | None = field(default=None, repr=False)
    first: int | None = None
    stop: int | None = None

    @property
    def by_key(self) -> bool:
        return self.after is not None or self.upto is not None

    @property
    def by_block(self) -> bool:
        return self.first is not None or self.stop is not None

    @classmethod
    def of(cls, table: Table) -> Bounds:
        """The whole table."""
        return cls(table.schema, table.relation)

    def dump(self) -> str:
        """As JSON.

        Raises:
            PermanentStoreError: the keys of the table are too long to be written down.
        """
        parts = [self.schema, self.relation, self.after, self.upto, self.first, self.stop]
        text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode("utf-8", "surrogatepass")) > MOST_BOUNDS:
            raise PermanentStoreError("a table's primary key is longer than 512 KiB")
        return text

    @classmethod
    def load(cls, text: str) -> Bounds:
        schema, relation, after, upto, first, stop = json.loads(text)
        return cls(schema, relation, _key(after), _key(upto), first, stop)


def batches(
    session: Session, table: Table, bounds: Bounds, *, ordered: bool = True
) -> Iterator[pa.RecordBatch]:
    """Every row within the bounds, in the order of the key, or of the table's file. Ends the session."""
    ordered = ordered and not bounds.by_block  # an index on the key would be read whole for each of them
    keys = ", ".join(quoted(part.name) for part in table.key) if ordered else ""
    order = f" ORDER BY {keys}" if keys else ""
    where = condition(session, table, bounds)
    query = f"SELECT {', '.join(table.values)} FROM {table.sql()} WHERE {where}{order}"
    for block in session.copy(query):
        for piece in block.slices(BLOCK_ROWS, BATCH_BYTES):
            yield batch(piece, table)


def selected(
    session: Session, table: Table, bounds: Bounds, selection: Selection
) -> Iterator[pa.RecordBatch]:
    """The rows within the bounds that are in scope and not held."""
    yield from of_these(batches(session, table, bounds), table, selection)


def of_these(found: Iterable[pa.RecordBatch], table: Table, selection: Selection) -> Iterator[pa.RecordBatch]:
    """Of these rows of the table, those that are in scope and not held."""
    whole = selection.whole(table.name, table.names())
    for piece in found:
        chosen = piece
        if not whole:
            mask = selection.masks(table.name, piece).selected
            chosen = piece if mask.all() else piece.take(pa.array(np.flatnonzero(mask)))
        if chosen.num_rows:
            yield chosen


def deciding(
    session: Session, table: Table, bounds: Bounds, selection: Selection
) -> Iterator[pa.RecordBatch]:
    """As `batches`, in any order, and without the columns that do not decide which rows are selected."""
    places = selection.needed(table.name, table.names())
    narrow = replace(
        table,
        columns=tuple(table.columns[place] for place in places),
        values=tuple(table.values[place] for place in places),
        decoders=tuple(table.decoders[place] for place in places),
    )
    return batches(session, narrow, bounds, ordered=False)


def batch(block: Block, table: Table) -> pa.RecordBatch:
    """The rows of a block as Arrow has them."""
    return decoded(block.columns(len(table.columns)), len(block.starts), table)


def decoded(fields: Sequence[Fields], count: int, table: Table) -> pa.RecordBatch:
    """So many rows as Arrow has them."""
    arrays = [decode(column) for decode, column in zip(table.decoders, fields, strict=True)]
    if not arrays:  # a table without columns has rows all the same
        nothing = pa.array([{}] * count, pa.struct([]))
        return pa.RecordBatch.from_struct_array(nothing)
    return pa.RecordBatch.from_arrays(arrays, names=table.names())


def condition(session: Session, table: Table, bounds: Bounds) -> str:
    """An SQL condition for the rows within the bounds, without a value in its text."""
    keys = [(sign, key) for sign, key in ((">", bounds.after), ("<=", bounds.upto)) if key is not None]
    marks = iter(session.bind([value for _, key in keys for value in key]))
    parts = []
    for sign, _ in keys:
        names = ", ".join(quoted(part.name) for part in table.key)
        values = ", ".join(f"{next(marks)}::{part.type}" for part in table.key)
        parts.append(f"({names}) {sign} ({values})")
    if bounds.first is not None:
        parts.append(f"ctid >= '({bounds.first:d},0)'::tid")
    if bounds.stop is not None:
        parts.append(f"ctid < '({bounds.stop:d},0)'::tid")
    return " AND ".join(parts) or "true"


def count(session: Session, table: Table, bounds: Bounds) -> int:
    where = condition(session, table, bounds)
    return int(session.one(f"SELECT count(*) FROM {table.sql()} WHERE {where}"))


def boundaries(session: Session, table: Table, by_block: int = 0) -> Sequence[Bounds]:
    """Ranges of about `PARTITION_RECORDS` rows now that together take every row, also of later days; or of
    about `by_block` rows, and of blocks of the file although there is a key."""
    if table.oid == LARGE_OBJECTS:
        cuts = large_objects.cuts(session, PARTITION_RECORDS)
        return [Bounds(table.schema, table.relation, after, upto) for after, upto in cuts]
    total = count(session, table, Bounds.of(table))
    if by_block:
        return _by_block(session, table, total, by_block)
    return (
        _by_key(session, table, total) if table.key else _by_block(session, table, total, PARTITION_RECORDS)
    )


def _by_key(session: Session, table: Table, total: int) -> Sequence[Bounds]:
    names = [quoted(part.name) for part in table.key]
    found = session.rows(
        "SELECT n, " + ", ".join(f"k{i}::text" for i in range(len(names))) + " FROM ("
        f"SELECT row_number() OVER (ORDER BY {', '.join(names)}), {', '.join(names)} FROM {table.sql()}"
        ") AS numbered (n, " + ", ".join(f"k{i}" for i in range(len(names))) + ")"
        " WHERE n % $1 = 0 AND n < $2",
        PARTITION_RECORDS,
        total,
    )
    cuts: list[Key | None] = [None, *(tuple(key) for _, *key in sorted(found)), None]
    return [Bounds(table.schema, table.relation, after, upto) for after, upto in pairwise(cuts)]


def _by_block(session: Session, table: Table, total: int, each: int) -> Sequence[Bounds]:
    blocks = session.one(
        "SELECT pg_relation_size($1::int8::regclass) / current_setting('block_size')::int8", table.oid
    )
    step = max(1, blocks * each // max(total, 1))
    cuts: list[int | None] = [None, *(range(step, blocks, step) if total > each else ()), None]
    return [Bounds(table.schema, table.relation, first=first, stop=stop) for first, stop in pairwise(cuts)]


def _key(values: list[str] | None) -> Key | None:
    return None if values is None else tuple(values)
