"""Parquet and Arrow files, read column by column and written again as plain bytes for the search.

A dictionary, a run length or a compressed page hides a value from any search of the file. Here every
value is written as text, integers also as 64 bits in both byte orders; values are separated by newlines.
What a dictionary, a list or a union holds is written once, as it is stored, not once for each row that names
it: a row of a few bytes may name a megabyte. What is behind a null or outside every list is there as well.

Formats: https://parquet.apache.org/docs/file-format/ and the Arrow columnar format, "IPC File Format".
"""

from __future__ import annotations

import bisect
import functools
import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cenotaph.arrow import TooLargeError, sound, sound_bytes
from cenotaph.parquet import Budget, Chunk, chunks, rows_at_once

PARQUET, ARROW = b"PAR1", b"ARROW1\x00\x00"
ROWS = 8192
PIECE = 8 << 20  # bytes of texts that are joined at once
MOST_BATCH = 1 << 30  # decoded bytes of a batch of an Arrow file

_Count = Callable[[str], None]
_File = tuple[str, int, Callable[[], int], Iterator[bytes | memoryview]]
_MOST_FOOTER = 64 << 20
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
            found = _parquet(source, at, later, count)
            if found is None:
                tries -= len(later)
                count("parquet file without its footer, or damaged")
                continue
            behind, pieces = found
            yield "parquet", at, functools.partial(int, behind), pieces


def values(array: pa.Array) -> Iterator[bytes | memoryview]:
    """The values of a column as the search wants them."""
    for leaf in _leaves(array):
        if pa.types.is_null(leaf.type) or leaf.type == pa.binary(0):
            continue  # as long as it says to be, without a byte
        for start in range(0, len(leaf), ROWS):
            yield from _flat(leaf.slice(start, ROWS))


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays without children that a column is made of, each as it is stored."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        yield from _leaves(array.storage)
    elif pa.types.is_dictionary(type_):
        yield from _leaves(array.dictionary)
    elif pa.types.is_struct(type_) or pa.types.is_union(type_):
        for index in range(type_.num_fields):
            yield from _leaves(array.field(index))
    elif pa.types.is_map(type_):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_nested(type_) or pa.types.is_run_end_encoded(type_):
        yield from _leaves(array.values)
    else:
        yield array


def _flat(array: pa.Array) -> Iterator[bytes | memoryview]:
    array = array.drop_null()
    if not len(array):
        return
    if pa.types.is_integer(array.type):
        wide = array.cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)
        yield wide.astype("<i8").tobytes()
        yield wide.astype(">i8").tobytes()
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp(array.type.unit))  # a zone may be any word
    yield from _joined(array if _is_text(array.type) else array.cast(pa.large_string()))


def _joined(texts: pa.Array) -> Iterator[bytes | memoryview]:
    """All texts with a newline after each, in pieces."""
    for start, end in pairwise(_cuts(_lengths(texts))):
        if end - start == 1:
            yield memoryview(texts[start].as_buffer())
            yield b"\n"
            continue
        raw = texts.slice(start, end - start)
        raw = (raw if _is_bytes(raw.type) else raw.cast(pa.large_string())).cast(pa.large_binary())
        offsets = pa.array([0, len(raw)], type=pa.int64())
        rows = pa.LargeListArray.from_arrays(offsets, raw)
        yield bytes(pc.binary_join(rows, pa.scalar(b"\n", pa.large_binary()))[0].as_py()) + b"\n"


def _lengths(texts: pa.Array) -> npt.NDArray[np.int64]:
    if pa.types.is_binary_view(texts.type) or pa.types.is_string_view(texts.type):
        first, last = texts.offset, texts.offset + len(texts)
        views = np.frombuffer(texts.buffers()[1], np.int32)  # a view: its length, then where it lies
        return views[4 * first : 4 * last : 4].astype(np.int64)
    return np.asarray(pc.binary_length(texts).to_numpy(zero_copy_only=False), np.int64)


def _cuts(lengths: npt.NDArray[np.int64]) -> list[int]:
    """Where to cut texts so that no run of them is longer than `PIECE`, or it is one text."""
    group = np.cumsum(lengths) // PIECE
    long = np.flatnonzero(lengths > PIECE)
    ends = np.flatnonzero(np.diff(group)) + 1
    cuts: list[int] = np.unique(np.concatenate([[0, len(lengths)], ends, long, long + 1])).tolist()
    return cuts


def _is_text(type_: pa.DataType) -> bool:
    return _is_bytes(type_) or any(is_text(type_) for is_text, _ in _TEXTS)


def _is_bytes(type_: pa.DataType) -> bool:
    tests = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(test(type_) for test in tests)


def _batch(batch: pa.RecordBatch, damaged: Callable[[], None]) -> Iterator[bytes | memoryview]:
    """The values of every column that has any; of one that has none to read, it is told."""
    for column in batch.columns:
        try:
            yield from values(column)
        except _UNREADABLE:
            damaged()


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


def _parquet(
    source: BinaryIO, at: int, ends: list[int], count: _Count
) -> tuple[int, Iterator[bytes | memoryview]] | None:
    for end in ends:
        footer = int.from_bytes(_at(source, end - 8, 4), "little")
        if not 0 < footer <= min(_MOST_FOOTER, end - at - 12):
            continue
        window = Window(source, at, end - at)
        try:
            file = _opened(window)
            return end, _parquet_values(file, _places(file), chunks(window), window, count)
        except _UNREADABLE:
            continue
    return None


def _opened(window: Window) -> pq.ParquetFile:
    """The file, with the dictionaries of what repeats as they are: a row may name a value a million times."""
    metadata = pq.read_metadata(window)
    columns = (metadata.schema.column(index) for index in range(len(metadata.schema)))
    repeated = [
        c.path
        for c in columns
        if c.max_repetition_level and c.physical_type == "BYTE_ARRAY" and c.logical_type.type != "DECIMAL"
    ]
    return pq.ParquetFile(window, metadata=metadata, read_dictionary=repeated, pre_buffer=False)


def _places(file: pq.ParquetFile) -> dict[str, list[int]]:
    """The columns by path; two may have one. Raises: UnicodeDecodeError."""
    places: dict[str, list[int]] = {}
    for index in range(len(file.schema)):
        places.setdefault(file.schema.column(index).path, []).append(index)
    return places


def _parquet_values(
    file: pq.ParquetFile,
    places: dict[str, list[int]],
    groups: list[list[Chunk]],
    source: Window,
    count: _Count,
) -> Iterator[bytes | memoryview]:
    budget = Budget.of(source.seek(0, 2))
    for number, group in enumerate(groups):
        for path, columns in places.items():
            try:
                wanted = [(group[index], file.schema.column(index)) for index in columns]
                rows = min(rows_at_once(source, chunk, column, budget, ROWS) for chunk, column in wanted)
                yield from _parquet_column(file, number, path, rows)
            except TooLargeError:
                count(TOO_LARGE)
            except (IndexError, *_UNREADABLE):
                count("parquet row group is damaged")


def _parquet_column(file: pq.ParquetFile, group: int, path: str, rows: int) -> Iterator[bytes | memoryview]:
    last = None
    for batch in file.iter_batches(rows, row_groups=[group], columns=[path], use_threads=False):
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                if last is not None and column.dictionary.equals(last):
                    continue
                last = column.dictionary
            yield from values(column)


def _arrow(source: BinaryIO, length: int, at: int, count: _Count) -> _File:
    """After its magic an Arrow file is an Arrow stream; its footer is not needed."""
    window = Window(source, at + 8, length - at - 8)

    def damaged() -> None:
        count("arrow file is damaged or cut off")

    def read() -> Iterator[bytes | memoryview]:
        readable, why = sound_bytes(window, MOST_BATCH)
        if isinstance(why, TooLargeError):
            count(TOO_LARGE)
        elif why is not None:
            damaged()
        window.cut(readable)
        window.seek(0)
        try:
            with pa.ipc.open_stream(window) as stream:
                for batch in map(_untrusted, stream):
                    yield from _batch(batch, damaged)
        except _UNREADABLE:
            if why is None:
                damaged()

    return "arrow", at, lambda: at + 8 + window.tell(), read()


TOO_LARGE = "parquet or arrow file decodes to more than is read of one"
_UNREADABLE = (pa.ArrowException, OSError, ValueError, EOFError, MemoryError)


class Window(io.RawIOBase):
    """A range of a seekable stream, as a stream of its own."""

    def __init__(self, source: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._source, self._start, self._length, self._at = source, start, max(0, length), 0

    def cut(self, length: int) -> None:
        """End here at the latest."""
        self._length = min(length, self._length)

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
