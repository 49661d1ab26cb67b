"""Rows of a table as Arrow batches, in key order, each value with the type that SQLite stored it in.

What surprised the author: SQLite types values, not columns, so that one column may hold integers and
texts; and it never checks that text is UTF-8. A mixed column becomes a dense union; text that is not
UTF-8 becomes bytes tagged `sqlite:text`, so that they are neither a text nor a blob.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph.errors import PermanentStoreError
from cenotaph.records import Tagged
from cenotaph.scope import Selection
from cenotaph.stores.sqlite.database import quoted
from cenotaph.stores.sqlite.schema import Table

PARTITION_RECORDS = 65_536
MOST_BOUNDS = 1 << 20  # bytes of JSON
RAW_TEXT = Tagged("sqlite:text")


class RawText(bytes):
    """Text whose bytes are not UTF-8."""


Value: TypeAlias = int | float | str | bytes | None
Key: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The keys of one partition: after one, up to and including another; open where None."""

    table: str = field(repr=False)
    after: Key | None = field(default=None, repr=False)
    upto: Key | None = field(default=None, repr=False)

    def dump(self) -> str:
        """As JSON; floats, blobs and broken text keep every bit.

        Raises:
            PermanentStoreError: the keys of the table are too long to be written down.
        """
        keys = [None if key is None else [_dump(value) for value in key] for key in (self.after, self.upto)]
        text = json.dumps([self.table, *keys], ensure_ascii=False, separators=(",", ":"))
        if len(text.encode()) > MOST_BOUNDS:
            raise PermanentStoreError("a table's primary key is longer than 512 KiB")
        return text

    @classmethod
    def load(cls, text: str) -> Bounds:
        table, after, upto = json.loads(text)
        return cls(table, _key(after), _key(upto))


class Slice(NamedTuple):
    """Some rows in key order: the columns of their keys, and their records."""

    key_columns: Sequence[Sequence[Value]]
    batch: pa.RecordBatch

    def each_key(self) -> Iterator[Key]:
        return zip(*self.key_columns, strict=True)

    def last(self) -> Key:
        return tuple(column[-1] for column in self.key_columns)

    def pick(self, mask: npt.NDArray[np.bool_]) -> Slice:
        if mask.all():
            return self
        columns = [list(compress(column, mask)) for column in self.key_columns]
        return Slice(columns, self.batch.take(pa.array(np.flatnonzero(mask))))


def slices(db: sqlite3.Connection, table: Table, bounds: Bounds) -> Iterator[Slice]:
    """Every row within the bounds, in key order, about 16 MiB at a time."""
    try:
        for piece in _read(db, table, bounds):
            bounds = Bounds(bounds.table, piece.last(), bounds.upto)
            yield piece
        return
    except sqlite3.OperationalError as error:
        if hasattr(error, "sqlite_errorcode"):  # an error of SQLite's, not of decoding
            raise
    # some text is not UTF-8: go on behind the last row delivered, deciding value by value
    db.text_factory = _text
    try:
        yield from _read(db, table, bounds)
    finally:
        db.text_factory = str


def selected(db: sqlite3.Connection, table: Table, bounds: Bounds, selection: Selection) -> Iterator[Slice]:
    """The rows within the bounds that are in scope and not held."""
    whole = selection.whole(table.name, table.names())
    for piece in slices(db, table, bounds):
        chosen = piece if whole else piece.pick(selection.masks(table.name, piece.batch).selected)
        if chosen.batch.num_rows:
            yield chosen


def boundaries(db: sqlite3.Connection, table: Table) -> Iterator[Bounds]:
    """Ranges of at most `PARTITION_RECORDS` rows now that together take every row, also of later days."""
    after: Key | None = None
    columns = ", ".join(table.key)
    while True:
        where, values = condition(table, Bounds(table.name, after))
        last = _fetch_key(
            db,
            f"SELECT {columns} FROM {quoted(table.name)} WHERE {where} ORDER BY {columns}"
            f" LIMIT 2 OFFSET {PARTITION_RECORDS - 1}",
            values,
        )
        if len(last) < 2:
            yield Bounds(table.name, after)
            return
        yield Bounds(table.name, after, last[0])
        after = last[0]


def condition(table: Table, bounds: Bounds) -> tuple[str, list[Value]]:
    """An SQL condition for the rows within the bounds, and its parameters."""
    parts: list[str] = []
    values: list[Value] = []
    for sign, key in ((">", bounds.after), ("<=", bounds.upto)):
        if key is not None:
            marks = ", ".join(placeholder(value) for value in key)
            parts.append(f"({', '.join(table.key)}) {sign} ({marks})")
            values += [parameter(value) for value in key]
    return " AND ".join(parts) or "1", values


def placeholder(value: Value) -> str:
    return "CAST(? AS TEXT)" if isinstance(value, RawText) else "?"


def parameter(value: Value) -> Value:
    return bytes(value) if isinstance(value, RawText) else value


def array(values: Sequence[Value]) -> pa.Array:
    """One column. Typed if every value has one type; else a dense union of the types there are."""
    kinds = sorted(set(map(type, values)) - {type(None)}, key=_KINDS.index)
    if not kinds:
        return pa.nulls(len(values))
    return _typed(values, kinds[0]) if len(kinds) == 1 else _union(values, kinds)


_TARGET_BYTES = 16 << 20
_FIRST_FETCH = 64
_STEP, _LOOKED_AT = 16, 8
_LONG_ROW = 64 << 10  # bytes; longer ones are fetched one by one
_KINDS: list[type] = [int, float, str, bytes, RawText]
_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}


def _read(db: sqlite3.Connection, table: Table, bounds: Bounds) -> Iterator[Slice]:
    names = table.names()
    width = len(table.key)
    where, values = condition(table, bounds)
    columns = ", ".join([*table.key, *(quoted(name) for name in names)])
    cursor = db.execute(
        f"SELECT {columns} FROM {quoted(table.name)} WHERE {where} ORDER BY {', '.join(table.key)}", values
    )
    ask = _FIRST_FETCH
    while rows := _fetch(cursor, ask):
        transposed = list(zip(*rows, strict=True))
        batch = pa.RecordBatch.from_arrays([array(column) for column in transposed[width:]], names=names)
        ask = max(1, min(4 * ask, PARTITION_RECORDS, ask * _TARGET_BYTES // max(batch.nbytes, 1)))
        yield Slice(transposed[:width], batch)


def _fetch(cursor: sqlite3.Cursor, ask: int) -> list[tuple[Value, ...]]:
    """Up to `ask` rows; fewer where they are long. A table may have scans behind thousands of rows without
    any, so the size is watched on the way, of one row in `_LOOKED_AT`."""
    rows: list[tuple[Value, ...]] = []
    step, size = 1, 0
    while (
        len(rows) < ask and size < _TARGET_BYTES and (piece := cursor.fetchmany(min(step, ask - len(rows))))
    ):
        rows += piece
        looked = piece[::_LOOKED_AT]
        found = sum(map(sys.getsizeof, chain.from_iterable(looked)))
        size += found * len(piece) // len(looked)
        step = 1 if found > len(looked) * _LONG_ROW else _STEP
    return rows


def _fetch_key(db: sqlite3.Connection, sql: str, values: list[Value]) -> list[Key]:
    db.text_factory = _text
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.text_factory = str


def _text(raw: bytes) -> str | RawText:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawText(raw)


def _union(values: Sequence[Value], kinds: list[type]) -> pa.Array:
    """Each member type with the values of that type; nulls are nulls of the first member."""
    members: list[list[Any]] = [[] for _ in kinds]
    codes, offsets = np.zeros(len(values), np.int8), np.zeros(len(values), np.int32)
    for row, value in enumerate(values):
        code = 0 if value is None else kinds.index(type(value))
        codes[row], offsets[row] = code, len(members[code])
        members[code].append(value)
    children = [_typed(member, kind) for member, kind in zip(members, kinds, strict=True)]
    return pa.UnionArray.from_dense(pa.array(codes), pa.array(offsets), children)


def _typed(values: Sequence[Value], kind: type) -> pa.Array:
    return RAW_TEXT.array(values) if kind is RawText else pa.array(values, _ARROW[kind])


def _dump(value: Value) -> object:
    match value:
        case float():
            return {"f": value.hex()}
        case RawText():
            return {"t": base64.b64encode(value).decode()}
        case bytes():
            return {"b": base64.b64encode(value).decode()}
    return value


def _key(values: list[Any] | None) -> Key | None:
    return None if values is None else tuple(_load(value) for value in values)


def _load(value: Any) -> Value:
    match value:
        case {"f": text}:
            return float.fromhex(text)
        case {"t": text}:
            return RawText(base64.b64decode(text))
        case {"b": text}:
            return base64.b64decode(text)
    return value  # type: ignore[no-any-return]  # an integer, a text or null, as JSON read it
