"""Parquet and Arrow files, read column by column and written again as plain bytes for the search.

A dictionary, a run length or a compressed page hides a value from any search of the file. Here every
value is written as text, integers also as 64 bits in both byte orders; values are separated by newlines.

Formats: https://parquet.apache.org/docs/file-format/ and the Arrow columnar format, "IPC File Format".
"""

from __future__ import annotations

import bisect
import functools
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cenotaph.arrow import sound

PARQUET, ARROW = b"PAR1", b"ARROW1\x00\x00"
ROWS = 8192

_Count = Callable[[str], None]
_File = tuple[str, int, Callable[[], int], Iterator[bytes]]
_MOST_FOOTER = 256 << 20
_MOST_TRIES = 4096  # ends tried in vain for beginnings of Parquet files, per stream


def files(source: BinaryIO, length: int, marks: list[tuple[int, bytes]], count: _Count) -> Iterator[_File]:
    """The files that begin at marks: lane, first byte, where it ends (once read), and its values.

    A file that cannot be read to its end gives what could be read, and is counted.
    """
    ends = [at + 4 for at, magic in marks if magic == PARQUET]
    behind, tries = 0, _MOST_TRIES
    for at, magic in marks:
        if magic == ARROW:
            yield _arrow(source, length, at, count)
        elif magic == PARQUET and at >= behind and _at(source, at + 4, 1) == b"\x15":
            # Thrift's first field of the first page header; else "PAR1" is an end, or a word in a text
            later = ends[bisect.bisect_right(ends, at + 12) :][:tries]
            found = _parquet(source, at, later)
            if found is None:
                tries -= len(later)
                count("parquet file without its footer, or damaged")
                continue
            behind, file = found
            yield "parquet", at, functools.partial(int, behind), _parquet_values(file, count)


def values(array: pa.Array) -> Iterator[bytes]:
    """The values of a column as the search wants them."""
    type_ = array.type
    if pa.types.is_dictionary(type_) or isinstance(type_, pa.BaseExtensionType):
        plain = array.dictionary_decode() if pa.types.is_dictionary(type_) else array.storage
        yield from values(plain)
    elif pa.types.is_struct(type_):
        for column in array.flatten():
            yield from values(column)
    elif pa.types.is_map(type_):
        yield from values(array.keys)
        yield from values(array.items)
    elif pa.types.is_nested(type_):
        if hasattr(array, "flatten"):
            yield from values(array.flatten())
    else:
        yield from _flat(array)


def _flat(array: pa.Array) -> Iterator[bytes]:
    array = array.drop_null()
    if not len(array) or pa.types.is_null(array.type):
        return
    if pa.types.is_integer(array.type):
        wide = array.cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)
        yield wide.astype("<i8").tobytes()
        yield wide.astype(">i8").tobytes()
    yield _joined(array)


def _joined(array: pa.Array) -> bytes:
    raw = array if _is_bytes(array.type) else array.cast(pa.large_string())
    raw = raw.cast(pa.large_binary())
    offsets = pa.array([0, len(raw)], type=pa.int64())
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, raw), pa.scalar(b"\n", pa.large_binary()))
    return bytes(joined[0].as_py()) + b"\n"


def _is_bytes(type_: pa.DataType) -> bool:
    tests = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(test(type_) for test in tests)


def _batch(batch: pa.RecordBatch) -> Iterator[bytes]:
    for column in batch.columns:
        yield from values(column)


def _untrusted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, checked; with its texts as bytes where they are not UTF-8: a search takes any bytes."""
    try:
        return sound(batch)
    except pa.ArrowInvalid:
        columns = [_without_texts(column) for column in batch.columns]
        return sound(pa.RecordBatch.from_arrays(columns, names=batch.schema.names))


def _without_texts(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        return pa.DictionaryArray.from_arrays(array.indices, _without_texts(array.dictionary))
    return array.view(_as_bytes(array.type))


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The type with the same layout and bytes for every text in it."""
    for is_text, plain in _TEXTS:
        if is_text(kind):
            return plain
    if pa.types.is_struct(kind):
        return pa.struct([_field_as_bytes(kind.field(index)) for index in range(kind.num_fields)])
    for is_list, made in _LISTS:
        if is_list(kind):
            return made(_field_as_bytes(kind.value_field))
    return kind


def _field_as_bytes(field: pa.Field) -> pa.Field:
    return field.with_type(_as_bytes(field.type))


_TEXTS = (
    (pa.types.is_string, pa.binary()),
    (pa.types.is_large_string, pa.large_binary()),
    (pa.types.is_string_view, pa.binary_view()),
)
_LISTS = ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list))


def _parquet(source: BinaryIO, at: int, ends: list[int]) -> tuple[int, pq.ParquetFile] | None:
    for end in ends:
        footer = int.from_bytes(_at(source, end - 8, 4), "little")
        if not 0 < footer <= min(_MOST_FOOTER, end - at - 12):
            continue
        try:
            return end, pq.ParquetFile(Window(source, at, end - at))
        except (pa.ArrowException, OSError, ValueError):
            continue
    return None


def _parquet_values(file: pq.ParquetFile, count: _Count) -> Iterator[bytes]:
    for group in range(file.num_row_groups):
        try:
            for batch in file.iter_batches(ROWS, row_groups=[group]):
                yield from _batch(batch)
        except (pa.ArrowException, OSError, ValueError):
            count("parquet row group is damaged")


def _arrow(source: BinaryIO, length: int, at: int, count: _Count) -> _File:
    """After its magic an Arrow file is an Arrow stream; its footer is not needed."""
    window = Window(source, at + 8, length - at - 8)

    def read() -> Iterator[bytes]:
        try:
            with pa.ipc.open_stream(window) as stream:
                for batch in map(_untrusted, stream):
                    for start in range(0, batch.num_rows, ROWS):
                        yield from _batch(batch.slice(start, ROWS))
        except (pa.ArrowException, OSError, ValueError, EOFError):
            count("arrow file is damaged or cut off")

    return "arrow", at, lambda: at + 8 + window.tell(), read()


class Window(io.RawIOBase):
    """A range of a seekable stream, as a stream of its own."""

    def __init__(self, source: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._source, self._start, self._length, self._at = source, start, max(0, length), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._length)[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._length - self._at)
        self._source.seek(self._start + self._at)
        data = self._source.read(left if size is None or size < 0 else min(size, left))
        self._at += len(data)
        return data

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # RawIOBase hands over a writable buffer
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


def _at(source: BinaryIO, at: int, size: int) -> bytes:
    source.seek(at)
    return source.read(size)
