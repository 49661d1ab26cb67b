"""Reads a file of a known kind as blocks: Arrow batches, and for text the bytes each row came from."""

from __future__ import annotations

import hashlib
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cenotaph.arrow import check_sizes, sound
from cenotaph.parquet import Group, groups, spans_at
from cenotaph.parquet_pages import OtherwiseError, Plain
from cenotaph.spans import joined, within
from cenotaph.stores.files import delimited, kinds, lines, packing
from cenotaph.stores.files.kinds import Kind
from cenotaph.stores.files.lines import MalformedError, Positions, Split

BATCH_ROWS, BATCH_BYTES = 65_536, 32 << 20
MIDDLE = 32

OPAQUE = pa.schema(
    [("name", pa.binary()), ("size", pa.int64()), ("sha256", pa.binary()), ("middle", pa.binary())]
)
MEMBER = pa.schema([("member", pa.binary()), ("line", pa.binary()), *[OPAQUE.field(i) for i in (1, 2, 3)]])


@dataclass(frozen=True, slots=True)
class Block:
    """A batch of records; for formats made of rows of text also `data`, the bytes of the unpacked file
    that this block stands for, and the span of each row in it. What is in no span is no record: a
    byte order mark, a header, empty lines."""

    batch: pa.RecordBatch
    data: bytes = b""
    starts: Positions | None = None
    ends: Positions | None = None


def blocks(kind: Kind, stream: BinaryIO, path: bytes, size: int) -> Iterator[Block]:
    """All records of a file in file order. `path` is its path in the store, `size` its size on disk.

    Raises:
        MalformedError: while reading, where the file is not of this kind.
    """
    stream.seek(0)
    if kind.format == "opaque":
        yield Block(_opaque(stream, path, size))
    elif kind.format in ("parquet", "arrow"):
        yield from map(Block, columnar(kind.format, stream))
    elif kind.format in ("zip", "tar"):
        yield from _archive(kind, stream, size)
    else:
        yield from rows_of_text(kind, packing.unpacked(stream, kind.packing, size))


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of at most 65,536 rows."""
    if batch.num_rows <= BATCH_ROWS:
        yield batch
        return
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)


# --- text -----------------------------------------------------------------------------------


def rows_of_text(kind: Kind, stream: BinaryIO) -> Iterator[Block]:
    """Blocks of a csv, jsonl or text stream. Each byte of the stream is in exactly one block."""
    header = kind.header
    for block in lines.split(stream, kind.dialect):
        if kind.delimiter:
            yield _csv_block(kind, block, header=header)
            header = header and not delimited.width(block)
        else:
            yield _line_block(block, skip_blank=kind.format == "jsonl")


def _csv_block(kind: Kind, block: Split, *, header: bool) -> Block:
    names = list(kind.names if kind.format == "csv" else kind.names[1:])  # an archive's first is the member
    grid = delimited.grid(block, len(names))
    skip = _header_rows(grid, names) if header else 0
    batch = pa.RecordBatch.from_arrays([column[skip:] for column in grid.columns()], names=names)
    return Block(batch, block.data, grid.row_starts[skip:], grid.row_ends[skip:])


def _header_rows(grid: delimited.Grid, names: list[str]) -> int:
    """1 where the block begins with this header; 0 where it has no rows.

    Raises:
        MalformedError: it begins with another.
    """
    if not len(grid.row_starts):
        return 0
    if kinds.header_names([grid.column(index)[0].as_py() for index in range(grid.width)]) != names:
        raise MalformedError("the header is not the one this file had")
    return 1


def count_csv(kind: Kind, stream: BinaryIO) -> int:
    """The number of records of a csv stream, checked as strictly as reading it does."""
    names, header, total = list(kind.names), kind.header, 0
    for block in lines.split(stream, kind.dialect):
        grid = delimited.grid(block, len(names))
        grid.check()
        skip = _header_rows(grid, names) if header else 0
        header = header and not skip
        total += len(grid.row_starts) - skip
    return total


def _line_block(block: Split, *, skip_blank: bool) -> Block:
    keep = block.starts < block.ends if skip_blank else np.ones(len(block.starts), np.bool_)
    starts, ends = block.starts[keep], block.ends[keep]
    batch = pa.RecordBatch.from_arrays([delimited.slices_of(block.data, starts, ends)], names=["line"])
    return Block(batch, block.data, starts, block.after[keep])


# --- parquet and arrow ----------------------------------------------------------------------


def columnar(format: str, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
    """Batches of a Parquet file or an Arrow IPC file or stream, row group by row group."""
    with _told_as_damaged():
        if format == "parquet":
            for group in row_groups(stream):
                for batch in group.batches():
                    yield from slices(decoded(batch))
        else:
            for batch in _arrow(stream):
                yield from slices(decoded(batch))


def parquet_at(stream: BinaryIO, wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The row groups of a Parquet file that have any of these rows, [first, end): batches, with the places of
    their first rows."""
    at = 0
    with _told_as_damaged():
        for group in row_groups(stream):
            inside = [(first, end) for _, first, end in within(at, group.rows, wanted)]
            if inside:
                for place, batch in group.batches_at(inside):
                    yield at + place, batch
            at += group.rows


def parquet_spans(
    stream: BinaryIO, wanted: Sequence[tuple[int, int]], columns: Sequence[int]
) -> list[tuple[int, int]]:
    """Where in a Parquet file these columns of these rows lie, [first, end) in bytes.

    Raises:
        MalformedError: the file is damaged.
    """
    with _told_as_damaged():
        file = pq.ParquetFile(stream)
        flat = len(file.schema) == len(file.schema_arrow)
        rows = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
        some = columns if flat else range(len(file.schema))
        return list(spans_at(stream, file.schema, rows, some, wanted))


@contextmanager
def _told_as_damaged() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, ValueError):
        raise MalformedError("damaged") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise MalformedError("damaged") from None


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a Parquet file, and how much of it is decoded at once."""

    stream: BinaryIO
    file: pq.ParquetFile
    plain: Plain | None
    pages: Group
    index: int
    rows: int
    at_once: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """By the kernel as far as it can, and by pyarrow from there on."""
        given = 0
        if self.plain is not None:
            try:
                for batch in self.plain.batches(self.stream, self.pages, self.rows):
                    given += batch.num_rows
                    yield batch
            except OtherwiseError:
                pass
            else:
                return
        yield from _behind(given, self._by_pyarrow())

    def batches_at(self, wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches that have these rows, with the places of their first ones: few rows by their pages; others,
        and what the kernel does not read, with all that lies between the first and the last."""
        first = wanted[0][0]
        if self.plain is not None and 2 * sum(end - first for first, end in wanted) < self.rows:
            for span in _at_once(wanted):
                first = span[0]
                try:
                    batch = self.plain.some(self.stream, self.pages, self.rows, span)
                except OtherwiseError:
                    break
                yield first, batch
            else:
                return
        place = first
        for whole in _behind(first, self.batches()):
            for batch in slices(decoded(whole)):
                yield place, batch
                place += batch.num_rows
                if place >= wanted[-1][1]:
                    return

    def _by_pyarrow(self) -> Iterator[pa.RecordBatch]:
        return iter(
            self.file.iter_batches(batch_size=self.at_once, row_groups=[self.index], use_threads=False)
        )


def _at_once(wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same rows: spans that touch as one, and none longer than a batch."""
    for first, end in joined(wanted):
        for at in range(first, end, BATCH_ROWS):
            yield at, min(at + BATCH_ROWS, end)


def _behind(rows: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What comes after so many rows."""
    for batch in batches:
        if rows < batch.num_rows:
            yield batch.slice(rows)
        rows = max(0, rows - batch.num_rows)


def row_groups(stream: BinaryIO) -> Iterator[RowGroup]:
    """The row groups of a Parquet file, in its order."""
    file = pq.ParquetFile(stream)
    bounded, plain = groups(stream, file.schema, BATCH_ROWS), Plain.of(file)
    for index, pages in zip(range(file.metadata.num_row_groups), bounded, strict=True):
        group = file.metadata.row_group(index)
        size = max(1, group.total_byte_size // max(1, group.num_rows))
        at_once = max(1, min(pages.rows, BATCH_BYTES // size))
        yield RowGroup(stream, file, plain, pages, index, group.num_rows, at_once)


def _arrow(stream: BinaryIO) -> Iterator[pa.RecordBatch]:
    check_sizes(stream)
    stream.seek(0)
    magic = stream.read(6)
    stream.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(stream)
        for index in range(reader.num_record_batches):
            yield sound(reader.get_batch(index))
    else:
        yield from map(sound, pa.ipc.open_stream(stream))


def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with dictionaries replaced by their values."""
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def columnar_schema(format: str, stream: BinaryIO) -> tuple[pa.Schema, int | None]:
    """The schema, and the number of records where the file says it without being read through."""
    stream.seek(0)
    try:
        if format == "parquet":
            file = pq.ParquetFile(stream)
            return file.schema_arrow, file.metadata.num_rows
        magic = stream.read(6)
        stream.seek(0)
        return (pa.ipc.open_file(stream) if magic == b"ARROW1" else pa.ipc.open_stream(stream)).schema, None
    except (pa.ArrowException, OSError, ValueError):  # a name that is not UTF-8 is a ValueError
        raise MalformedError("damaged") from None


# --- opaque ---------------------------------------------------------------------------------


def _opaque(stream: BinaryIO, path: bytes, size: int) -> pa.RecordBatch:
    digest, middle, at, start = hashlib.sha256(), b"", 0, max(0, (size - MIDDLE) // 2)
    while piece := stream.read(1 << 20):
        digest.update(piece)
        low, high = max(start, at), min(start + MIDDLE, at + len(piece))
        middle += piece[low - at : high - at] if low < high else b""
        at += len(piece)
    row = {"name": path, "size": at, "sha256": digest.digest(), "middle": middle}
    return pa.RecordBatch.from_pylist([row], schema=OPAQUE)


# --- archives -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of an archive."""

    name: bytes
    size: int
    stream: BinaryIO


def members(format: str, stream: BinaryIO) -> Iterator[Member]:
    """The regular files of a zip, or of an unpacked tar stream, in archive order."""
    try:
        yield from _zip_members(stream) if format == "zip" else _tar_members(stream)
    except _BROKEN_ARCHIVE:
        raise MalformedError("archive damaged, encrypted or of an unknown method") from None


# The last three: what zipfile says of a member without a name, and of fields that are cut off or too large.
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    struct.error,
    OverflowError,
)


def _zip_members(stream: BinaryIO) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as opened:
        for info in opened.infolist():
            if not info.is_dir():
                with opened.open(info) as inside:
                    limit = max(info.compress_size * 1100, 1 << 30)
                    if info.file_size > limit:
                        raise MalformedError("archive expands too far")
                    yield Member(zip_name(info), info.file_size, packing.guarded(inside, limit))


def zip_name(info: zipfile.ZipInfo) -> bytes:
    """The member's name as bytes: UTF-8 where flagged (APPNOTE 4.4.4, bit 11), else as stored."""
    return info.filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "surrogateescape")


def _tar_members(stream: BinaryIO) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as opened:
        for info in opened:
            inside = opened.extractfile(info) if info.isreg() else None
            if inside is not None:
                name = info.name.encode("utf-8", "surrogateescape")
                yield Member(name, info.size, packing.guarded(inside, info.size))


def _archive(kind: Kind, stream: BinaryIO, size: int) -> Iterator[Block]:
    for member in members(kind.format, packing.unpacked(stream, kind.packing, size)):
        yield from member_blocks(kind, member)


def member_blocks(kind: Kind, member: Member) -> Iterator[Block]:
    """The records of one member of an archive of this kind."""
    if kind.delimiter:
        for block in rows_of_text(kind, member.stream):
            name = pa.repeat(pa.scalar(member.name, pa.binary()), block.batch.num_rows)
            arrays = [name, *block.batch.columns]
            yield replace(block, batch=pa.RecordBatch.from_arrays(arrays, names=list(kind.names)))
        return
    found, stream = member_kind(member)
    if found.format == "opaque":
        row = _opaque(stream, member.name, member.size).to_pylist()[0]
        row["member"] = row.pop("name")
        yield Block(pa.RecordBatch.from_pylist([{**row, "line": None}], schema=MEMBER))
        return
    for block in rows_of_text(kinds.text(), stream):
        yield replace(block, batch=_lines_of_member(member.name, block.batch))


def _lines_of_member(member: bytes, batch: pa.RecordBatch) -> pa.RecordBatch:
    nulls = [pa.nulls(batch.num_rows, MEMBER.field(index).type) for index in (2, 3, 4)]
    name = pa.repeat(pa.scalar(member, pa.binary()), batch.num_rows)
    return pa.RecordBatch.from_arrays([name, batch.column(0), *nulls], schema=MEMBER)


def member_is_text(kind: Kind, member: Member) -> tuple[bool, Member]:
    """Whether the member's records are rows of text; and the member, from its start again."""
    if kind.delimiter:
        return True, member
    found, stream = member_kind(member)
    return found.format != "opaque", replace(member, stream=stream)


def member_kind(member: Member) -> tuple[Kind, BinaryIO]:
    """What a member is by its first bytes, and its stream from the start again."""
    head = member.stream.read(kinds.HEAD)
    stream = packing.after(head, member.stream)
    kind = kinds.classify_head(head, member.name.lower(), whole=len(head) == member.size)
    if kind.format in ("csv", "jsonl", "text"):
        return kind, stream
    return kinds.opaque(), stream


def common_csv(kind: Kind, stream: BinaryIO, size: int) -> Kind:
    """An archive's kind with the CSV schema that all its members share, or as it was."""
    stream.seek(0)
    found: set[Kind] = set()
    for member in members(kind.format, packing.unpacked(stream, kind.packing, size)):
        found.add(member_kind(member)[0])
        if len(found) > 1:
            return kind
    (only,) = found or {kinds.opaque()}
    if only.format != "csv":
        return kind
    columns = (("member of archive", "binary"), *only.columns)
    return replace(kind, columns=columns, delimiter=only.delimiter, header=only.header)


def is_text(kind: Kind) -> bool:
    """Whether its records are rows of text with spans."""
    return kind.format in ("csv", "jsonl", "text")
