"""Writes what stays of a file: every byte of rows of text that stay, every value of typed rows.

Each format has one way: `write` copies and returns a digest of what it kept; `check` reads the new
file back and must come to the same digest, with nothing selected in it.
"""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cenotaph import records
from cenotaph.arrow import sound
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.stores.files import packing, tables
from cenotaph.stores.files.kinds import Kind
from cenotaph.stores.files.lines import MalformedError
from cenotaph.stores.files.tables import Block


@dataclass(frozen=True, slots=True)
class Source:
    """The open file that is being rewritten, and how it is read."""

    kind: Kind = field(repr=False)
    collection: str = field(repr=False)
    path: bytes = field(repr=False)
    stream: BinaryIO = field(repr=False)
    size: int

    def blocks(self) -> Iterator[Block]:
        return tables.blocks(self.kind, self.stream, self.path, self.size)


def write(source: Source, target: BinaryIO, selection: Selection) -> bytes:
    """Write what stays of `source` to `target`; returns a digest of the records that stay."""
    source.stream.seek(0)
    if tables.is_text(source.kind):
        return _write_text(source, target, selection)
    if source.kind.format == "parquet":
        _write_parquet(source, target, selection)
    elif source.kind.format == "arrow":
        _write_arrow(source, target, selection)
    elif source.kind.format == "zip":
        _write_zip(source, target, selection)
    else:
        _write_tar(source, target, selection)
    return _kept(source, selection)


def check(source: Source, kept: bytes, selection: Selection) -> None:
    """Read a written file back.

    Raises:
        PermanentStoreError: it does not hold exactly the records that stay.
    """
    try:
        same = _kept(source, selection, alone=True) == kept
    except MalformedError:
        same = False
    if not same:
        raise PermanentStoreError(
            "what stays of a file does not read back as written; the file was left as it was"
        )


def _kept(source: Source, selection: Selection, *, alone: bool = False) -> bytes:
    """A digest of all records that stay, in order, whatever batches they come in; for text, of
    every byte that stays, in any of the rows and between them. `alone`: no others may be there.

    Raises:
        MalformedError: the file cannot be read, or others are there although `alone`.
    """
    digest = hashlib.blake2b(digest_size=32)
    for block in source.blocks():
        chosen = selection.masks(source.collection, block.batch).selected
        if alone and chosen.any():
            raise MalformedError("a selected record in what stays")
        if tables.is_text(source.kind):
            for piece in _pieces(block, chosen):
                digest.update(piece)
        else:
            stays = block.batch.filter(pa.array(~chosen))
            if stays.num_rows:
                encoded, _ = records.encode(stays)
                digest.update(encoded)
    return digest.digest()


def _pieces(block: Block, chosen: npt.NDArray[np.bool_]) -> Iterator[memoryview]:
    """The bytes of a block without the spans of the chosen rows."""
    view, at = memoryview(block.data), 0
    if block.starts is not None and block.ends is not None:
        for low, high in zip(block.starts[chosen].tolist(), block.ends[chosen].tolist(), strict=True):
            if at < low:
                yield view[at:low]
            at = high
    if at < len(view):
        yield view[at:]


def _write_text(source: Source, target: BinaryIO, selection: Selection) -> bytes:
    packed = packing.packer(target, source.kind.packing) if source.kind.packing else None
    out, digest = packed or target, hashlib.blake2b(digest_size=32)
    for block in source.blocks():
        for piece in _pieces(block, selection.masks(source.collection, block.batch).selected):
            out.write(piece)
            digest.update(piece)
    if packed is not None:
        packed.close()
    return digest.digest()


# --- parquet and arrow ----------------------------------------------------------------------


def _write_parquet(source: Source, target: BinaryIO, selection: Selection) -> None:
    """One row group for each that keeps a row; schema and its metadata, codecs and version as before.
    Statistics, indexes and dictionaries are written anew, from what stays alone."""
    file = pq.ParquetFile(source.stream)
    codecs = _codecs(file.metadata)
    with pq.ParquetWriter(target, file.schema_arrow, compression=codecs, store_schema=True) as writer:
        for index in range(file.metadata.num_row_groups):
            kept = [
                _compact(batch.filter(pa.array(_stays(source, batch, selection))))
                for batch in file.iter_batches(row_groups=[index], use_threads=False)
            ]
            table = pa.Table.from_batches(kept, schema=file.schema_arrow)
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)


def _codecs(metadata: pq.FileMetaData) -> str | dict[str, str]:
    if not metadata.num_row_groups:
        return "snappy"
    group = metadata.row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    names = {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}
    return {c.path_in_schema: names.get(c.compression, c.compression.lower()) for c in chunks}


def _write_arrow(source: Source, target: BinaryIO, selection: Selection) -> None:
    magic = source.stream.read(6)
    source.stream.seek(0)
    if magic == b"ARROW1":
        opened = pa.ipc.open_file(source.stream)
        batches = (sound(opened.get_batch(index)) for index in range(opened.num_record_batches))
        writer = pa.ipc.new_file(target, opened.schema)
    else:
        opened = pa.ipc.open_stream(source.stream)
        batches = (sound(batch) for batch in opened)
        writer = pa.ipc.new_stream(target, opened.schema)
    with writer:
        for batch in batches:
            kept = batch.filter(pa.array(_stays(source, batch, selection)))
            if kept.num_rows:
                writer.write_batch(_compact(kept))


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with dictionaries that hold only values still used: a dictionary is a copy of them all."""
    return pa.RecordBatch.from_arrays([_compacted(column) for column in batch.columns], schema=batch.schema)


def _compacted(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode().dictionary_encode().cast(column.type)
    if _has_dictionary(column.type):  # inside lists or structs: rare enough to go value by value
        return pa.array(column.to_pylist(), type=column.type)
    return column


def _has_dictionary(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or any(
        _has_dictionary(kind.field(index).type) for index in range(kind.num_fields)
    )


def _stays(source: Source, batch: pa.RecordBatch, selection: Selection) -> npt.NDArray[np.bool_]:
    stays: npt.NDArray[np.bool_] = ~selection.masks(source.collection, tables.decoded(batch)).selected
    return stays


# --- archives -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rest:
    """What stays of one member: None for nothing."""

    size: int | None


def _rests(source: Source, selection: Selection) -> list[_Rest]:
    """What stays of each regular member, in archive order: a tar header needs the size beforehand."""
    rests = []
    source.stream.seek(0)
    inner = packing.unpacked(source.stream, source.kind.packing, source.size)
    for member in tables.members(source.kind.format, inner):
        size = rows = selected = 0
        for block in tables.member_blocks(source.kind, member):
            chosen = selection.masks(source.collection, block.batch).selected
            rows += block.batch.num_rows
            selected += int(np.count_nonzero(chosen))
            size += sum(len(piece) for piece in _pieces(block, chosen)) if block.data else member.size
        rests.append(_Rest(None if rows and selected == rows else size))
    source.stream.seek(0)
    return rests


def _member_bytes(source: Source, member: tables.Member, selection: Selection) -> Iterator[bytes]:
    """The bytes of a member that stay; an opaque member stays whole."""
    is_text, member = tables.member_is_text(source.kind, member)
    if not is_text:
        while piece := member.stream.read(1 << 20):
            yield piece
        return
    for block in tables.member_blocks(source.kind, member):
        chosen = selection.masks(source.collection, block.batch).selected
        yield from (bytes(piece) for piece in _pieces(block, chosen))


def _write_zip(source: Source, target: BinaryIO, selection: Selection) -> None:
    rests = iter(_rests(source, selection))
    with zipfile.ZipFile(source.stream) as old, zipfile.ZipFile(target, "w") as new:
        new.comment = old.comment
        for info in old.infolist():
            if info.is_dir():
                new.writestr(info, b"")
                continue
            if next(rests).size is None:
                continue
            with old.open(info) as inside, new.open(_zip_info(info), "w", force_zip64=True) as out:
                member = tables.Member(
                    tables.zip_name(info), info.file_size, packing.guarded(inside, info.file_size)
                )
                for piece in _member_bytes(source, member, selection):
                    out.write(piece)


def _zip_info(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """What a member says of itself besides its content; without sizes, checksum and extra fields."""
    new = zipfile.ZipInfo(info.filename, info.date_time)
    new.compress_type = info.compress_type
    new.comment, new.external_attr, new.create_system = info.comment, info.external_attr, info.create_system
    return new


def _write_tar(source: Source, target: BinaryIO, selection: Selection) -> None:
    rests = iter(_rests(source, selection))
    packed = packing.packer(target, source.kind.packing) if source.kind.packing else None
    inner = packing.unpacked(source.stream, source.kind.packing, source.size)
    with (
        tarfile.open(fileobj=inner, mode="r|", encoding="utf-8") as old,
        tarfile.open(fileobj=packed or target, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as new,
    ):
        for info in old:
            inside = old.extractfile(info) if info.isreg() else None
            if inside is None:
                new.addfile(info)
                continue
            size = next(rests).size
            if size is None:
                continue
            name = info.name.encode("utf-8", "surrogateescape")
            member = tables.Member(name, info.size, packing.guarded(inside, info.size))
            pieces = _member_bytes(source, member, selection)
            info.size, info.pax_headers = size, {}
            new.addfile(info, packing.of_pieces(pieces))
    if packed is not None:
        packed.close()
