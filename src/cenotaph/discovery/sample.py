"""A bounded sample of a column, spread evenly over all batches rather than taken from the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.discovery.text import Texts, as_texts

SAMPLE_VALUES = 2_000

Priorities: TypeAlias = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Up to `SAMPLE_VALUES` values of one column, in random order."""

    family: str  # "text", "integer", "float", "date", "boolean", "nested", "null"
    texts: pa.StringArray  # null where the value is not text
    blobs: tuple[str, ...]  # what the values that are not text begin like: "jpeg", "png", "" …
    blob_marks: frozenset[int]  # distinct values among them
    rows: npt.NDArray[np.int64]  # the row of each text in the collection
    seen: int  # values offered that were not empty


class ColumnSample:
    """Keeps the values whose rows drew the lowest priorities (bottom-k sampling).

    Columns of one collection share the draw, so that full columns keep the same rows and can be
    read side by side; a sparse column draws from the rows where it has a value.
    """

    def __init__(self, size: int = SAMPLE_VALUES) -> None:
        self._size = size
        self._bar = np.iinfo(np.uint64).max
        self._drawn: list[tuple[Priorities, npt.NDArray[np.int64], Texts]] = []
        self._held = 0
        self._seen = 0
        self._family = "null"

    def add(self, column: pa.Array, priorities: Priorities, first_row: int) -> None:
        """Offer the values of a batch; `priorities` has one entry a row."""
        column = _plain(column)
        there = _there(column)
        self._seen += int(np.count_nonzero(there))
        rows = np.flatnonzero(there & (priorities <= self._bar))
        if len(rows) > self._size:
            rows = rows[np.argpartition(priorities[rows], self._size)[: self._size]]
        if not len(rows):
            return
        self._join(family(column.type))
        texts = as_texts(column.take(pa.array(rows)))
        self._drawn.append((priorities[rows], rows + first_row, texts))
        self._held += len(rows)
        if self._held > 2 * self._size:
            self._trim()

    def result(self) -> Sample:
        """The sample so far."""
        self._trim()
        if not self._drawn:
            return Sample(
                self._family, pa.array([], pa.string()), (), frozenset(), np.empty(0, np.int64), self._seen
            )
        _, rows, texts = self._drawn[0]
        blobs = tuple(texts.blobs.drop_null().to_pylist())
        marks = frozenset(texts.marks[np.asarray(texts.blobs.is_valid())].tolist())
        return Sample(self._family, texts.texts, blobs, marks, rows, self._seen)

    def _join(self, incoming: str) -> None:
        if self._family in ("null", incoming):
            self._family = incoming
        else:
            self._family = "text"

    def _trim(self) -> None:
        if not self._drawn:
            return
        priorities = np.concatenate([drawn[0] for drawn in self._drawn])
        rows = np.concatenate([drawn[1] for drawn in self._drawn])
        texts = Texts.joined([drawn[2] for drawn in self._drawn])
        lowest = np.argsort(priorities, kind="stable")[: self._size]
        self._drawn = [(priorities[lowest], rows[lowest], texts.take(lowest))]
        self._held = len(lowest)
        if self._held == self._size:
            self._bar = priorities[lowest[-1]]


def family(kind: pa.DataType) -> str:
    """What sort of values a column of this Arrow type holds."""
    if pa.types.is_dictionary(kind):
        return family(kind.value_type)
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "float"
    if pa.types.is_temporal(kind):
        return "date"
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        return "nested"
    return "null" if pa.types.is_null(kind) else "text"


def _there(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Where the column has a value: neither null nor an empty field."""
    if pa.types.is_union(column.type):
        return _there_in_union(column)
    there = column.is_valid()
    if pa.types.is_binary(column.type) or pa.types.is_string(column.type):
        there = pc.and_(there, pc.fill_null(pc.greater(pc.binary_length(column), 0), False))
    return np.asarray(there.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _there_in_union(column: pa.UnionArray) -> npt.NDArray[np.bool_]:
    """A union has no nulls of its own; the child that holds a row's value may have."""
    codes = np.asarray(column.type_codes)
    there = np.zeros(len(column), np.bool_)
    for at, code in enumerate(column.type.type_codes):
        rows = np.flatnonzero(codes == code)
        inside = _there(column.field(at))
        there[rows] = inside[np.asarray(column.offsets)[rows] if column.type.mode == "dense" else rows]
    return there


def _plain(column: pa.Array) -> pa.Array:
    """Views and run-ends as types that Arrow can take positions from; unions that begin at their start.

    A sliced union of pyarrow 26 gives the type codes and offsets of the whole.
    """
    if pa.types.is_union(column.type) and column.offset:
        return column.take(pa.array(np.arange(len(column))))
    if pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    if pa.types.is_binary_view(column.type):
        return column.cast(pa.binary())
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column
