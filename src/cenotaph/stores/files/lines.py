"""Splits a byte stream into rows, block by block, in bounded memory, without looking at one byte twice.

Row ends are LF, CRLF or a bare CR, outside quotes. Blocks end where rows end; every byte of the stream
is in exactly one block, so that whoever drops some rows can copy all the other bytes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

BLOCK = 4 << 20
LONGEST_ROW = 64 << 20
BOM = b"\xef\xbb\xbf"

_QUOTE, _LF, _CR = 0x22, 0x0A, 0x0D

Positions: TypeAlias = npt.NDArray[np.int64]


class MalformedError(Exception):
    """The bytes are not of the format they were read as. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What ends a row: `quotes` protect row ends, `bare_cr` is one, `delimiter` ends a field (0: none)."""

    quotes: bool
    bare_cr: bool
    delimiter: int = 0


TEXT = Dialect(quotes=False, bare_cr=True)
JSON_LINES = Dialect(quotes=False, bare_cr=False)


@dataclass(frozen=True, slots=True)
class Split:
    """One block and its separators, in order.

    `starts` and `ends` are the bounds of fields (without their separator), `after` is where
    the separator ends, `row` whether it ends a row. Without delimiter each row is one field.
    """

    data: bytes
    starts: Positions
    ends: Positions
    after: Positions
    row: npt.NDArray[np.bool_]
    quotes: Positions


def split(stream: BinaryIO, dialect: Dialect) -> Iterator[Split]:
    """Blocks of whole rows; the last row needs no row end.

    Raises:
        MalformedError: quotes do not balance, or a row is longer than 64 MiB.
    """
    rest, want, first = b"", BLOCK, True
    while True:
        chunk = stream.read(want)
        data = rest + chunk if rest else chunk
        skip = len(BOM) if first and data.startswith(BOM) else 0
        block, used = _split(data, skip, dialect, last=not chunk)
        if used:
            yield block
            rest, want, first = data[used:], BLOCK, False
        else:
            rest, want = data, max(BLOCK, len(data))  # doubling: a long row is scanned log n times
        if not chunk:
            if rest:
                raise MalformedError("quotes do not balance")
            return
        if len(rest) > LONGEST_ROW:
            raise MalformedError("a row is longer than 64 MiB")


def _split(data: bytes, skip: int, dialect: Dialect, *, last: bool) -> tuple[Split, int]:
    """Split the whole rows of `data`; also how many bytes they take."""
    array = np.frombuffer(data, np.uint8)
    where = np.flatnonzero(_table(dialect)[array])
    what = array[where]
    quote = what == _QUOTE if dialect.quotes else np.zeros(len(what), np.bool_)
    outside = (np.cumsum(quote) & 1 == 0) & ~quote
    balanced = not len(what) or int(quote.sum()) % 2 == 0
    seps, kinds = where[outside], what[outside]
    if dialect.bare_cr:
        seps, kinds = _without_cr_of_crlf(array, seps, kinds, last=last)
    row = kinds != dialect.delimiter if dialect.delimiter else np.ones(len(kinds), np.bool_)
    complete = int(np.flatnonzero(row)[-1]) + 1 if row.any() else 0
    seps, tail, row = seps[:complete], seps[complete:], row[:complete]
    after = seps + 1
    ends = seps - _crlf(array, seps)
    if last and balanced and (int(after[-1]) if len(after) else skip) < len(data):
        # the last row has no row end: what follows the last row end are its delimiters
        end = np.array([len(data)], np.int64)
        seps, ends = np.concatenate([seps, tail, end]), np.concatenate([ends, tail, end])
        after = np.concatenate([after, tail + 1, end])
        row = np.concatenate([row, np.zeros(len(tail), np.bool_), np.ones(1, np.bool_)])
    used = int(after[-1]) if len(after) else 0
    if last and not used and balanced:
        used = len(data)  # nothing but a byte order mark
    starts = np.concatenate([np.array([skip], np.int64), after[:-1]]) if len(after) else after
    return Split(data[:used], starts, ends, after, row, where[quote]), used


def _table(dialect: Dialect) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[_LF] = True
    table[_CR] = dialect.bare_cr
    if dialect.quotes:
        table[_QUOTE] = True
    if dialect.delimiter:
        table[dialect.delimiter] = True
    return table


def _without_cr_of_crlf(
    array: npt.NDArray[np.uint8], seps: Positions, kinds: npt.NDArray[np.uint8], *, last: bool
) -> tuple[Positions, npt.NDArray[np.uint8]]:
    """Drop a CR that an LF follows, and one at the very end whose successor is not yet read."""
    following = np.minimum(seps + 1, len(array) - 1)
    drop = (kinds == _CR) & (array[following] == _LF)
    if not last and len(seps) and seps[-1] == len(array) - 1 and kinds[-1] == _CR:
        drop[-1] = True
    return seps[~drop], kinds[~drop]


def _crlf(array: npt.NDArray[np.uint8], seps: Positions) -> Positions:
    """1 where the separator is the LF of a CRLF, else 0."""
    if not len(seps):
        return seps
    before = array[np.maximum(seps - 1, 0)]
    found: Positions = ((array[seps] == _LF) & (before == _CR) & (seps > 0)).astype(np.int64)
    return found
