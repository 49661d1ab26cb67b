"""What a Parquet file says of its pages, looked at before one is decoded: pyarrow allocates what they say.

A page of thirty kilobytes may decode to a gigabyte, a few bytes be a run of two thousand million values, and
a dictionary give a million rows the same megabyte. So footer and page headers are read here first, and say
how many rows can be decoded at once. Of a damaged footer pyarrow 26 cannot be asked where a column lies:
`RowGroupMetaData.column` lets an exception of C++ through, and the process ends.

Format: https://parquet.apache.org/docs/file-format/ and parquet.thrift (`PageHeader`); Thrift's "Compact
protocol encoding" document.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from cenotaph.arrow import Bytes, TooLargeError
from cenotaph.direct import Direct
from cenotaph.spans import joined, within

MOST_PAGE = 256 << 20  # decoded bytes of one page
AT_ONCE = 512 << 20  # decoded bytes of a column that are held at once
_MOST_HEADER = 1 << 20
_MOST_PAGES = 1 << 18  # of one column in one row group
_MOST_BATCHES = 1 << 17  # of one column in one row group
_MOST_KEPT = 1 << 17  # pages of a file that are remembered
_MOST_NESTED = 1 << 25  # values of one column that repeats, in one row group
_DELTA_BYTE_ARRAY = 7  # a value may begin as the one before it: how long it is, only decoding tells
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_DETAILS = {5: _DATA, 7: _DICTIONARY, 8: _DATA_V2}  # field of `PageHeader` → type of page that has it
_ENCODING = {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}  # field of that header
_LEVELS = 3  # field of a data page's header


@dataclass(slots=True)
class Budget:
    """What the pages of one file may still decode to."""

    decoded: int
    values: int

    @classmethod
    def of(cls, size: int) -> Budget:
        """For a file of so many bytes: two hundred times its size, and a gigabyte whatever its size."""
        return cls(max(1 << 30, 200 * size), max(1 << 27, 200 * size))

    def take(self, page: Page) -> None:
        """Raises: TooLargeError."""
        self.decoded -= page.decoded
        self.values -= page.values
        if self.decoded < 0 or self.values < 0:
            raise TooLargeError("the pages of a file decode to more than is read of one")


@dataclass(frozen=True, slots=True)
class Page:
    """What a page header says: the type of page, its sizes in bytes, its values and their encoding."""

    kind: int
    header: int
    compressed: int
    decoded: int
    values: int
    encoding: int
    levels: int = -1  # the encoding of the levels that say which values are null
    ordinary: bool = False  # whether its header has what is known of such, and nothing else

    def weight(self, rows: int) -> int:
        """Bytes that at most `rows` values of this page may decode to."""
        return self.decoded * (min(self.values, rows) if self.encoding == _DELTA_BYTE_ARRAY else 1)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column in one row group, as the footer has it: where its pages begin, their bytes, its values."""

    start: int
    compressed: int
    values: int
    codec: int = -1  # `CompressionCodec`


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: how many of its rows decode in bounded memory, and its columns with their pages; without
    these where they are more than are kept."""

    rows: int
    columns: tuple[tuple[Chunk, tuple[Page, ...]], ...]


def chunks(file: Bytes) -> list[list[Chunk]]:
    """The columns of each row group of a file.

    Raises:
        ValueError: its footer cannot be read.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 8))
    length = int.from_bytes(file.read(4), "little")
    if length > end - 8:
        raise ValueError("a footer longer than its file")
    file.seek(end - 8 - length)
    thrift = _Thrift(file.read(length))
    groups: list[list[Chunk]] = []
    for field, kind in thrift.fields():
        if (field, kind) == (4, _LIST):
            groups = [_group(thrift) for _ in thrift.structs()]
        else:
            thrift.skip(kind)
    if any(chunk.start + chunk.compressed > end for group in groups for chunk in group):
        raise ValueError("a column outside of its file")
    return groups


def rows_by_group(file: Bytes, schema: pq.ParquetSchema, most: int) -> list[int]:
    """For each row group, how many of its rows, at most `most`, decode in bounded memory.

    Raises:
        ValueError: of a column not even one, or the footer or a page header cannot be read.
    """
    return [group.rows for group in groups(file, schema, most)]


def groups(file: Bytes, schema: pq.ParquetSchema, most: int) -> Iterator[Group]:
    """As `rows_by_group`, with the pages that were looked at; those of a row group when it is asked for."""
    budget = Budget.of(file.seek(0, os.SEEK_END))
    columns = [schema.column(index) for index in range(len(schema))]
    kept = 0
    for group in chunks(file):
        if group and isinstance(file, Direct):
            file.want(min(c.start for c in group), max(c.start + c.compressed for c in group))
        rows, pages = most, []
        for chunk, column in zip(group, columns, strict=True):
            mine, few = _looked_at(file, chunk, column, budget, most)
            rows = min(rows, few)
            kept += len(mine)
            pages.append((chunk, tuple(mine)))
        yield Group(rows, tuple(pages) if kept <= _MOST_KEPT else ())


def spans_at(
    file: Bytes,
    schema: pq.ParquetSchema,
    rows: Sequence[int],
    columns: Sequence[int],
    wanted: Sequence[tuple[int, int]],
) -> Iterator[tuple[int, int]]:
    """Where the pages that have these rows of these columns lie, [first, end) in bytes, and dictionaries.

    `rows` are those of each row group. Of a column that repeats, it is all pages of a row group.

    Raises:
        ValueError: the footer or a page header cannot be read.
    """
    at = 0
    for group, count in zip(chunks(file), rows, strict=True):
        inside = [(first, end) for _, first, end in within(at, count, wanted)]
        for index in columns if inside else ():
            column = schema.column(index)
            yield from joined(_spans(file, group[index], None if column.max_repetition_level else inside))
        at += count


def _spans(file: Bytes, chunk: Chunk, inside: Sequence[tuple[int, int]] | None) -> Iterator[tuple[int, int]]:
    """The pages of a chunk that have any of these rows; all of them for None."""
    for page, at, row in placed(chunk, _pages(file, chunk)):
        if page.kind == _DICTIONARY or inside is None or any(within(row, page.values, inside)):
            yield at, at + page.header + page.compressed


def placed(chunk: Chunk, pages: Iterable[Page]) -> Iterator[tuple[Page, int, int]]:
    """The pages of a chunk, each with where its header lies, and which row its values begin with."""
    at, row = chunk.start, 0
    for page in pages:
        yield page, at, row
        at += page.header + page.compressed
        row += page.values if page.kind != _DICTIONARY else 0


def rows_at_once(
    stream: Bytes,
    chunk: Chunk,
    column: pq.ColumnSchema,
    budget: Budget,
    most: int,
) -> int:
    """How many rows of a column chunk, at most `most`, decode in bounded memory.

    Raises:
        TooLargeError: not even one, or the chunk takes more than the file's budget.
        ValueError: its page headers cannot be read.
    """
    return _looked_at(stream, chunk, column, budget, most)[1]


def _looked_at(
    stream: Bytes, chunk: Chunk, column: pq.ColumnSchema, budget: Budget, most: int
) -> tuple[list[Page], int]:
    """The pages of a column chunk, and how many rows of it decode in bounded memory."""
    pages = []
    for page in _pages(stream, chunk):
        budget.take(page)
        pages.append(page)
        if page.decoded > MOST_PAGE or len(pages) > _MOST_PAGES:
            raise TooLargeError("a page decodes to more than is read of one")
    return pages, _rows(pages, chunk, column, most)


def _rows(pages: Sequence[Page], chunk: Chunk, column: pq.ColumnSchema, most: int) -> int:
    data = [page for page in pages if page.kind != _DICTIONARY]
    # A text of the dictionary, or a value of a fixed length, is decoded anew for each row that has it.
    longest = 0
    if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
        longest = column.length
    elif column.physical_type == "BYTE_ARRAY" and not column.max_repetition_level:
        longest = max([page.decoded for page in pages if page.kind == _DICTIONARY], default=0)
    if column.max_repetition_level:
        _check_nested(chunk, data, longest)
        return most
    rows = most
    while rows > 1 and max(rows * longest, _widest(data, rows)) > AT_ONCE:
        rows //= 2
    if sum(page.values for page in data) > rows * _MOST_BATCHES:
        raise TooLargeError("a column decodes to more than is read of one")
    return rows


def _check_nested(chunk: Chunk, data: Sequence[Page], longest: int) -> None:
    """A row of a column that repeats may hold the whole chunk. Dictionaries of texts are not expanded."""
    values = sum(page.values for page in data)
    decoded = sum(page.weight(page.values) for page in data) + values * longest
    size = chunk.compressed
    if values > max(_MOST_NESTED, 8 * size) or decoded > max(AT_ONCE, 4 * size):
        raise TooLargeError("a column that repeats decodes to more than is read of one")


def _widest(data: Sequence[Page], rows: int) -> int:
    """The most bytes that so many values in a row decode to, as far as the sizes of pages tell."""
    most = total = inside = first = 0  # inside: values of the pages between the first and the last
    for last, page in enumerate(data):
        total += page.weight(rows)
        if last - first > 1:
            inside += data[last - 1].values
        while first < last and inside > rows - 2:
            total -= data[first].weight(rows)
            first += 1
            inside -= data[first].values if first < last else inside
        most = max(most, total)
    return most


def _pages(stream: Bytes, chunk: Chunk) -> Iterator[Page]:
    """The pages of a chunk as a reader of Parquet comes to them: until all its values are there."""
    at, end, left = chunk.start, chunk.start + chunk.compressed, chunk.values
    read_at = _reading(stream)
    while at < end and left > 0:
        page = read_header(read_at(at, min(1 << 10, end - at)), whole=end - at <= 1 << 10)
        if page is None:
            page = read_header(read_at(at, min(_MOST_HEADER, end - at)), whole=True)
        assert page is not None
        yield page
        at += page.header + page.compressed
        left -= page.values if page.kind != _DICTIONARY else 0


def _reading(stream: Bytes) -> Callable[[int, int], bytes | memoryview]:
    """How some bytes at a place are read: of a file past its buffer, which is larger than most pages, so that
    all of the file would be read for their headers."""
    if isinstance(stream, Direct):
        return stream.peek
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
        fd = stream.fileno()
        return lambda at, size: os.pread(fd, size, at)

    def read_at(at: int, size: int) -> bytes:
        stream.seek(at)
        return stream.read(size)

    return read_at


# ── Thrift ───────────────────────────────────────────────────────────────────────────────────────


def read_header(data: bytes | memoryview, *, whole: bool) -> Page | None:
    """The page header that `data` begins with; None where it is cut off and `data` is not the `whole`.

    Raises:
        ValueError: it is none.
    """
    try:
        return _header(_Thrift(data))
    except _CutOffError:
        if whole:
            raise
        return None


class _CutOffError(ValueError):
    pass


class Numbers:
    """Reads the numbers of Thrift's compact protocol. Raises ValueError for what is none."""

    longest = 10  # bytes: 64 bits

    def __init__(self, data: bytes | memoryview) -> None:
        self._data, self.at = data, 0

    def byte(self) -> int:
        if self.at >= len(self._data):
            raise _CutOffError("cut off")
        self.at += 1
        return self._data[self.at - 1]

    def varint(self) -> int:
        value = 0
        for nth in range(self.longest):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * nth
            if byte < 0x80:
                return value
        raise ValueError("a number without an end")

    def number(self) -> int:
        value = self.varint()
        return value >> 1 ^ -(value & 1)


class _Thrift(Numbers):
    """Reads the compact protocol as leniently as pyarrow does. Raises ValueError for what is not it."""

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; whoever asks reads or skips its value."""
        last = 0
        while head := self.byte():
            last = last + (head >> 4) if head >> 4 else self.number()
            yield last, head & 15

    def skip(self, kind: int, depth: int = 8) -> None:
        if kind in (_I16, _I32, _I64):
            self.varint()
        elif kind == _BINARY:
            self._pass(self.varint())
        elif kind == _STRUCT and depth:
            for _, inner in self.fields():
                self.skip(inner, depth - 1)
        elif kind in _FIXED:
            self._pass(_FIXED[kind])
        elif kind in (_LIST, _SET) and depth:
            count, inner = self._elements()
            for _ in range(count):
                self.skip(inner if inner not in (1, 2) else 3, depth - 1)  # a boolean in a list has a byte
        else:
            raise ValueError("a type that neither footers nor page headers have")

    def structs(self) -> range:
        """The structs of a list; whoever asks reads each."""
        count, kind = self._elements()
        if kind != _STRUCT and count:
            raise ValueError("a list of something else")
        return range(count)

    def _elements(self) -> tuple[int, int]:
        head = self.byte()
        count = head >> 4 if head >> 4 < 15 else self.varint()
        if count > len(self._data):
            raise ValueError("a list longer than its file")
        return count, head & 15

    def _pass(self, length: int) -> None:
        self.at += length
        if self.at > len(self._data):
            raise _CutOffError("cut off")


_I16, _I32, _I64, _BINARY, _LIST, _SET, _STRUCT = 4, 5, 6, 8, 9, 10, 12
_FIXED = {1: 0, 2: 0, 3: 1, 7: 8}  # booleans, a byte, a double


def _header(thrift: _Thrift) -> Page:
    numbers: dict[int, int] = {}
    details: dict[int, dict[int, int]] = {}
    odd: list[int] = []
    for field, kind in thrift.fields():
        if field in _DETAILS and kind == _STRUCT:
            details[_DETAILS[field]] = _numbers(thrift, _I32, odd=odd)
        elif kind == _I32:
            numbers[field] = thrift.number()
        else:
            odd.append(field)
            thrift.skip(kind)
    if not {1, 2, 3} <= numbers.keys() or min(numbers[2], numbers[3]) < 0:
        raise ValueError("not a page header")
    about = details.get(numbers[1], {})
    if numbers[1] in _ENCODING and about.get(1, -1) < 0:
        raise ValueError("a page without a number of values")
    encoding = about.get(_ENCODING.get(numbers[1], 0), -1)
    levels = about.get(_LEVELS, -1) if numbers[1] == _DATA else -1
    ordinary = not odd and numbers.keys() <= {1, 2, 3, _CRC} and details.keys() == {numbers[1]}
    return Page(numbers[1], thrift.at, numbers[3], numbers[2], about.get(1, 0), encoding, levels, ordinary)


def _numbers(thrift: _Thrift, *wanted: int, odd: list[int] | None = None) -> dict[int, int]:
    """The fields of a struct that are numbers of these kinds. Those that are neither these, nor booleans, nor
    `Statistics`, are `odd`."""
    found: dict[int, int] = {}
    for field, kind in thrift.fields():
        if kind in wanted:
            found[field] = thrift.number()
        else:
            if odd is not None and (field, kind) not in _ALSO:
                odd.append(field)
            thrift.skip(kind)
    return found


_CRC = 4
_ALSO = {
    (5, _STRUCT),
    (3, 1),
    (3, 2),
}  # of a data page's header its statistics; whether a dictionary is sorted


def _group(thrift: _Thrift) -> list[Chunk]:
    """`RowGroup`: its first field is the list of its columns."""
    columns: list[Chunk] = []
    for field, kind in thrift.fields():
        if (field, kind) == (1, _LIST):
            columns = [_column(thrift) for _ in thrift.structs()]
        else:
            thrift.skip(kind)
    return columns


def _column(thrift: _Thrift) -> Chunk:
    """`ColumnChunk`, of whose fields the third is `ColumnMetaData`."""
    about: dict[int, int] = {}
    for field, kind in thrift.fields():
        if (field, kind) == (3, _STRUCT):
            about = _numbers(thrift, _I64, _I32)
        else:
            thrift.skip(kind)
    if not {5, 7, 9} <= about.keys() or min(about[5], about[7], about[9]) < 0:
        raise ValueError("a column that lies nowhere")
    dictionary = about.get(11, 0)
    return Chunk(dictionary if 0 < dictionary < about[9] else about[9], about[7], about[5], about.get(4, -1))
