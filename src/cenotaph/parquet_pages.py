"""Reads Parquet's pages by the kernel: plain ones, as nearly all tables of plain columns have them.

What surprised the author: of what pyarrow takes to decode such a file, decompressing is a third; the rest is
a text at a time appended to another. Here a page is decompressed by Arrow and its values put one behind the
other in one pass (kernel/c/parquet.c). The columns are read side by side, so that what is in memory is some
pages of each.

Whatever is not as it is here is left to pyarrow, which knows all there is: columns that nest or repeat, other
types, codecs and encodings, pages of version 2, pages that are large or lie askew. A page that turns out to
be otherwise ends the reading, and pyarrow goes on from there. It is pyarrow, too, that says what is damaged.

Format: https://parquet.apache.org/docs/file-format/ and parquet.thrift.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from cenotaph import kernel
from cenotaph.arrow import Bytes
from cenotaph.direct import Direct
from cenotaph.parquet import Chunk, Group, Page, placed

ROWS = 1 << 16  # of a column that are read at once, but for a page that has more
MOST_VALUES = 1 << 17  # of a page
MOST_BYTES = 16 << 20  # of a page, decoded
MOST_IN_ALL = 64 << 20  # of the columns' pages that are in memory at once
_BLIND = 32  # bytes that the kernel may write behind a value
_DATA, _DICTIONARY = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_WIDTHS = {"INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 0}


class OtherwiseError(ValueError):
    """A page is not as it was expected: pyarrow reads it."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What the columns of a file are, where all can be read here."""

    fields: tuple[tuple[str, pa.DataType, int, bool], ...]  # name, type, width in the file, may be null

    @classmethod
    def of(cls, file: pq.ParquetFile) -> Plain | None:
        """None where pyarrow reads them."""
        schema, arrow = file.schema, file.schema_arrow
        if kernel.found() is None or len(schema) != len(arrow) or not len(schema):
            return None
        fields = []
        for index, field in enumerate(arrow):
            column = schema.column(index)
            width = _WIDTHS.get(column.physical_type)
            flat = column.path == field.name and not column.max_repetition_level
            if (
                width is None
                or not flat
                or column.max_definition_level > 1
                or not _is_as_stored(column, field.type)
            ):
                return None
            fields.append((field.name, field.type, width, bool(column.max_definition_level)))
        return cls(tuple(fields))

    def batches(self, stream: Bytes, group: Group, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a group, as far as they can be read here.

        Raises:
            OtherwiseError: not all can be. What was given before is right.
        """
        if len(group.columns) != len(self.fields) or not _lie_alike(group, rows):
            raise OtherwiseError
        if sum(max((page.decoded for page in pages), default=0) for _, pages in group.columns) > MOST_IN_ALL:
            raise OtherwiseError
        columns = [
            _Column(stream, chunk, pages, *field[1:])
            for (chunk, pages), field in zip(group.columns, self.fields, strict=True)
        ]
        if sum(column.most_bytes for column in columns) > MOST_IN_ALL:
            raise OtherwiseError
        names, left = [field[0] for field in self.fields], rows
        ready = [pa.nulls(0)] * len(columns)
        while left:
            ready = [
                each if len(each) else column.next() for each, column in zip(ready, columns, strict=True)
            ]
            some = min(map(len, ready))
            yield pa.RecordBatch.from_arrays([each.slice(0, some) for each in ready], names=names)
            ready = [each.slice(some) for each in ready]
            left -= some

    def some(self, stream: Bytes, group: Group, rows: int, span: tuple[int, int]) -> pa.RecordBatch:
        """These rows of a group of so many, [first, end): pages that have none of them are not read.

        Raises:
            OtherwiseError: they cannot be read here.
        """
        if len(group.columns) != len(self.fields):
            raise OtherwiseError
        parts = [_Part.of(chunk, pages, rows, span) for chunk, pages in group.columns]
        if sum(page.decoded for part in parts for page in part.pages) > MOST_IN_ALL:
            raise OtherwiseError
        arrays = [
            _Column(stream, chunk, part.pages, *field[1:]).rows(part, span)
            for (chunk, _), part, field in zip(group.columns, parts, self.fields, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, names=[field[0] for field in self.fields])


@dataclass(frozen=True, slots=True)
class _Part:
    """Pages of a column that have some rows, behind its dictionary: where the first of them lies, its row."""

    pages: Sequence[Page]
    at: int
    row: int

    @classmethod
    def of(cls, chunk: Chunk, pages: Sequence[Page], rows: int, span: tuple[int, int]) -> _Part:
        data = [some for some in placed(chunk, pages) if some[0].kind != _DICTIONARY]
        first, end = span
        found = [(page, at, row) for page, at, row in data if row + page.values > first and row < end]
        if sum(page.values for page, _, _ in data) != rows or not found:
            raise OtherwiseError
        _, at, row = found[0]
        dictionary = [page for page in pages[:1] if page.kind == _DICTIONARY]
        return cls([*dictionary, *(page for page, _, _ in found)], at, row)


def _is_as_stored(column: pq.ColumnSchema, kind: pa.DataType) -> bool:
    """Whether pyarrow takes the values of this column as they lie in the file, or their lowest bytes."""
    types, physical, said = pa.types, column.physical_type, column.logical_type.type
    if physical == "BYTE_ARRAY":
        return bool(
            said == ("STRING" if types.is_string(kind) else "NONE" if types.is_binary(kind) else None)
        )
    if said == "NONE":
        return bool(kind in _BARE.get(physical, ()))
    if said == "INT" and types.is_integer(kind):
        return bool((physical == "INT64") == (kind.bit_width == 64))
    if said == "TIMESTAMP" and types.is_timestamp(kind) and kind.unit in _UNITS:
        return f"timeUnit={_UNITS[kind.unit]}," in str(column.logical_type)
    return bool(said == "DATE" and types.is_date32(kind))


_BARE = {
    "INT32": (pa.int32(),),
    "INT64": (pa.int64(),),
    "FLOAT": (pa.float32(),),
    "DOUBLE": (pa.float64(),),
}
_UNITS = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _lie_alike(group: Group, rows: int) -> bool:
    """Whether the columns' pages have the rows, and end so near each other that no batch is small."""
    ends = set[int]()
    for _, pages in group.columns:
        last = [*accumulate(sum(page.values for page in some) for some in _together(_data(pages)))]
        if last[-1:] != ([rows] if rows else []):
            return False
        ends.update(last)
    return len(ends) <= 4 + 4 * rows // ROWS


def _data(pages: Sequence[Page]) -> list[Page]:
    return [page for page in pages if page.kind != _DICTIONARY]


def _together(pages: Sequence[Page]) -> Iterator[list[Page]]:
    """The pages that are read at once."""
    some: list[Page] = []
    for page in pages:
        if some and sum(one.values for one in some) + page.values > ROWS:
            yield some
            some = []
        some.append(page)
    if some:
        yield some


class _Column:
    """A column of a row group, read some pages at a time."""

    def __init__(
        self,
        stream: Bytes,
        chunk: Chunk,
        pages: Sequence[Page],
        kind: pa.DataType,
        width: int,
        optional: bool,
    ) -> None:
        self._stream, self._codec, self._kind, self._width = stream, chunk.codec, kind, width
        self._optional, self._at = optional, chunk.start
        if not all(map(self._is_plain, pages)) or chunk.codec not in _UNPACKED:
            raise OtherwiseError
        data = _data(pages)
        if len(pages) - len(data) > 1 or (len(data) < len(pages) and pages[0].kind != _DICTIONARY):
            raise OtherwiseError
        by = kernel.found()
        assert by is not None
        self._by = by
        self._longest = 0
        self._entries: dict[str, Any] = {}
        if len(data) < len(pages):
            self._read_dictionary(pages[0])
        self._left = [*_together(data)]
        self.most_bytes = max(map(self._room, self._left), default=0)

    def next(self) -> pa.Array:
        """The values of the next pages."""
        if not self._left:
            raise OtherwiseError
        pages = self._left.pop(0)
        rows = sum(page.values for page in pages)
        data = pa.allocate_buffer(self._room(pages))
        offsets = None if self._width else np.zeros(rows + 1, np.int32)
        valid = np.zeros((rows + 7) // 8, np.uint8) if self._optional else None
        into = self._kind.bit_width // 8 if self._width else 0
        column = kernel.page_column(
            data, width=self._width, into=into, offsets=offsets, valid=valid, **self._entries
        )
        row = nulls = 0
        for page, packed in zip(pages, self._read(pages), strict=True):
            unpacked = _UNPACKED[self._codec](packed, page.decoded)
            indexed = page.encoding != _PLAIN
            found = self._by.page(column, row, unpacked, page.values, indexed=indexed)
            if found is None:
                raise OtherwiseError
            nulls += found
            row += page.values
        places = [] if offsets is None else [pa.py_buffer(offsets)]
        bits = pa.py_buffer(valid) if nulls else None
        return pa.Array.from_buffers(self._kind, rows, [bits, *places, data], null_count=nulls)

    def rows(self, part: _Part, span: tuple[int, int]) -> pa.Array:
        """These rows, of pages that do not follow the dictionary at once."""
        self._at = part.at
        values = [self.next() for _ in range(len(self._left))]
        return pa.concat_arrays(values).slice(span[0] - part.row, span[1] - span[0])

    def _is_plain(self, page: Page) -> bool:
        if page.values > MOST_VALUES or page.decoded > MOST_BYTES:
            return False
        if page.kind == _DICTIONARY:
            return page.ordinary and page.encoding in (_PLAIN, _PLAIN_DICTIONARY)
        levels = page.ordinary and (not self._optional or page.levels == _RLE)
        return levels and page.kind == _DATA and page.encoding in (_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY)

    def _read_dictionary(self, page: Page) -> None:
        (packed,) = self._read([page])
        entries = _UNPACKED[self._codec](packed, page.decoded)
        if self._width:
            if page.values * self._width > page.decoded:
                raise OtherwiseError
            kept = bytes(entries) if isinstance(entries, memoryview) else entries  # the stream's for a moment
            self._entries = {"entries": page.values, "entry_data": kept}
            return
        data, offsets = np.empty(page.decoded + _BLIND, np.uint8), np.zeros(page.values + 1, np.int32)
        column = kernel.page_column(data, offsets=offsets)
        if self._by.page(column, 0, entries, page.values, indexed=False) is None:
            raise OtherwiseError
        self._longest = int(np.diff(offsets).max(initial=0))
        self._entries = {"entries": page.values, "entry_data": data, "entry_offsets": offsets}

    def _room(self, pages: Sequence[Page]) -> int:
        """Bytes that the values of some pages take at most."""
        if self._width:
            return sum(page.values for page in pages) * self._width
        return _BLIND + sum(p.decoded if p.encoding == _PLAIN else p.values * self._longest for p in pages)

    def _read(self, pages: Sequence[Page]) -> list[memoryview]:
        """What lies in the next pages, behind their headers."""
        size = sum(page.header + page.compressed for page in pages)
        whole, at, found = self._bytes(size), 0, []
        if len(whole) < size:
            raise OtherwiseError
        for page in pages:
            at += page.header + page.compressed
            found.append(whole[at - page.compressed : at])
        self._at += size
        return found

    def _bytes(self, size: int) -> memoryview:
        if isinstance(self._stream, Direct):
            return self._stream.view(self._at, size)
        self._stream.seek(self._at)
        return memoryview(self._stream.read(size))


# --- Codecs: those that say how much they decode to, so that no byte of a page stays unwritten ------------


def _as_it_is(data: memoryview, size: int) -> memoryview:
    if len(data) != size:
        raise OtherwiseError
    return data


def _snappy(data: memoryview, size: int) -> pa.Buffer:
    """Its first bytes are the size, seven bits each (snappy, format_description.txt, section 1)."""
    said = 0
    for nth, byte in enumerate(data[:5]):
        said |= (byte & 127) << 7 * nth
        if byte < 128:
            break
    if said != size or _SNAPPY is None:
        raise OtherwiseError
    try:
        return _SNAPPY.decompress(data, size)
    except (OSError, pa.ArrowException):
        raise OtherwiseError from None


def _zstd(data: memoryview, size: int) -> bytes | pa.Buffer:
    """The frame's header says it, if it was known (RFC 8878, section 3.1.1.1)."""
    if len(data) < 5 or bytes(data[:4]) != b"\x28\xb5\x2f\xfd":
        raise OtherwiseError
    flags = data[4]
    single = flags >> 5 & 1
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[flags >> 6]
    said = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    if not width or said != size:
        raise OtherwiseError
    try:
        if not size:  # zstandard would look at nothing
            return pa.Codec("zstd").decompress(data, size)
        return _of_this_thread.zstd.decompress(data, allow_extra_data=False)
    except (zstandard.ZstdError, OSError, pa.ArrowException):
        raise OtherwiseError from None


class _OfThread(threading.local):
    """Arrow makes what it decodes a frame with anew for each, which takes as long as eight kilobytes."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_of_this_thread = _OfThread()
_SNAPPY = pa.Codec("snappy") if pa.Codec.is_available("snappy") else None
_UNPACKED = {0: _as_it_is, 1: _snappy, 6: _zstd}  # as `CompressionCodec` numbers them
