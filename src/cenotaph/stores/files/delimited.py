"""CSV: fields of a split block as Arrow columns of bytes, parsed strictly.

RFC 4180 with any one-byte delimiter: each row has as many fields as the header; a field that contains
a quote begins and ends with one, and doubles those inside. Empty lines are no rows. Whatever does
not follow this is `MalformedError`, and the file is read as text: two CSV readers that disagree
about a lenient file would disagree about what was sealed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.stores.files.lines import MalformedError, Positions, Split

_QUOTE = 0x22


@dataclass(frozen=True, slots=True)
class Grid:
    """The fields of a block, and the span of each row."""

    width: int
    row_starts: Positions
    row_ends: Positions  # after the row end
    values: pa.Array  # fields at even places, what lies between at odd ones
    doubled: npt.NDArray[np.bool_]  # fields with quotes inside

    def column(self, index: int) -> pa.Array:
        """One column, as bytes.

        Raises:
            MalformedError: a quote inside a quoted field is not doubled.
        """
        fields = np.arange(len(self.row_starts), dtype=np.int64) * self.width + index
        return _column(self.values, self.doubled, fields)

    def columns(self) -> list[pa.Array]:
        return [self.column(index) for index in range(self.width)]

    def check(self) -> None:
        """Raise what building the columns would raise, and build them only where it could."""
        if self.doubled.any():
            self.columns()


def width(block: Split) -> int:
    """The number of fields of the first row that is not empty; 0 where there is none."""
    kept = _not_blank(block)
    rows = np.flatnonzero(block.row[kept])
    return int(rows[0]) + 1 if len(rows) else 0


def grid(block: Split, columns: int) -> Grid:
    """The fields of a block of rows with `columns` fields each.

    Raises:
        MalformedError: a row has another number of fields, or quotes where none may be.
    """
    kept = _not_blank(block)
    starts, ends, after, row = block.starts[kept], block.ends[kept], block.after[kept], block.row[kept]
    if len(row) % columns:
        raise MalformedError("rows of different length")
    shape = row.reshape(-1, columns)
    if not shape[:, -1].all() or shape[:, :-1].any():
        raise MalformedError("rows of different length")
    quoted, doubled = _quoting(block, starts, ends)
    values = _between(block.data, starts + quoted, ends - quoted)
    return Grid(columns, starts[::columns], after[columns - 1 :: columns], values, doubled)


def _not_blank(block: Split) -> npt.NDArray[np.bool_]:
    """Separators that do not end an empty line."""
    after_row = np.concatenate([np.ones(1, np.bool_), block.row[:-1]]) if len(block.row) else block.row
    kept: npt.NDArray[np.bool_] = ~(block.row & after_row & (block.starts == block.ends))
    return kept


def _quoting(
    block: Split, starts: Positions, ends: Positions
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which fields are quoted, and which of those have quotes inside."""
    if not len(block.quotes):
        none = np.zeros(len(starts), np.bool_)
        return none, none
    count = np.searchsorted(block.quotes, ends) - np.searchsorted(block.quotes, starts)
    array = np.frombuffer(block.data, np.uint8)
    has = count > 0
    proper = (count % 2 == 0) & (ends - starts >= 2)
    proper &= (array[np.minimum(starts, len(array) - 1)] == _QUOTE) & (array[ends - 1] == _QUOTE)
    if (has & ~proper).any():
        raise MalformedError("a quote inside a field without quotes")
    return has, count > 2


def slices_of(data: bytes, starts: Positions, ends: Positions) -> pa.Array:
    """A binary array of slices of `data`, which follow one another."""
    return _between(data, starts, ends).take(pa.array(np.arange(len(starts), dtype=np.int64) * 2))


def _between(data: bytes, starts: Positions, ends: Positions) -> pa.Array:
    """An array over `data` whose even elements are the fields and odd ones what lies between: no copy."""
    if not len(starts):
        return pa.array([], pa.binary())
    offsets = np.empty(2 * len(starts), np.int32)
    offsets[0::2], offsets[1::2] = starts, ends
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _column(values: pa.Array, doubled: npt.NDArray[np.bool_], fields: Positions) -> pa.Array:
    column = values.take(pa.array(fields * 2))
    inside = doubled[fields]
    if not inside.any():
        return column
    mask = pa.array(inside)
    escaped = column.filter(mask)
    quotes = pc.count_substring(escaped, pattern='"')
    pairs = pc.count_substring(escaped, pattern='""')
    if not pc.all(pc.equal(quotes, pc.multiply(pairs, 2))).as_py():
        raise MalformedError("a single quote inside a quoted field")
    return pc.replace_with_mask(column, mask, pc.replace_substring(escaped, pattern='""', replacement='"'))
