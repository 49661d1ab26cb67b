"""Reads a tree of files: collections, partitions, batches, copies, raw bytes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import BinaryIO, cast

import pyarrow as pa

from cenotaph import durable
from cenotaph.direct import Direct
from cenotaph.durable import WIPED, filesystem
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import (
    Capabilities,
    Collection,
    Column,
    Copy,
    Extent,
    Grade,
    Partition,
    Watermark,
)
from cenotaph.stores.files import pages, places, tables
from cenotaph.stores.files.copies import Digests, find_copies
from cenotaph.stores.files.kinds import Kind
from cenotaph.stores.files.lines import MalformedError
from cenotaph.stores.files.places import Bounds, FileBound
from cenotaph.stores.files.raw import parts_of_file, raw_extents
from cenotaph.stores.files.survey import Survey, Surveyed
from cenotaph.stores.files.tree import Tree, failure, stamp

PARTITION_BYTES, PARTITION_FILES = 64 << 20, 256


@dataclass(frozen=True, slots=True)
class _Group:
    """The files of one collection."""

    collection: Collection
    kind: Kind = field(repr=False)
    folder: bytes = field(repr=False)
    files: tuple[Surveyed, ...] = field(repr=False)


class FilesReader:
    """`store.Reader` for `files:PATH`. The first question about collections reads every file once."""

    def __init__(self, url: str, selection: Selection) -> None:
        self._selection = selection
        self._tree = Tree(url)
        self._survey = Survey(self._tree, selection)
        self._groups: list[_Group] | None = None
        self._digests: Digests = {}
        self._watching = False
        self._watching = False
        self._wholes: dict[bytes, bytes | None] = {}  # of the files of the partition that was read last
        self._noting: dict[int, bool] = {}  # by device
        self.capabilities = capabilities(self._tree)

    def collections(self) -> Sequence[Collection]:
        return [group.collection for group in self._grouped()]

    def partitions(self, collection: Collection) -> Sequence[Partition]:
        group = self._group(collection)
        chosen = [file for file in group.files if not file.stays]
        # of a collection that goes in part, files without records (a header alone) have nothing that goes
        chosen = [file for file in chosen if file.whole or file.selected]
        return [self._partition(group, index, files) for index, files in enumerate(_packed(chosen))]

    def batches(self, partition: Partition) -> Iterator[pa.RecordBatch]:
        """As the contract says. A file that is gone has no records."""
        bounds = places.parse(partition.bounds)
        self._wholes = {}
        watching = self._watching and self._is_whole(bounds)
        for file in bounds.files:
            path = bounds.path(file)
            try:
                stream = self._tree.open_read(path)
            except FileNotFoundError:
                continue
            with stream:
                if not watching:
                    yield from selected(bounds, stream, path, self._selection)
                    continue
                with _store_errors():
                    watched = _Watched(stream, bounds.kind, noting=self._notes(stream))
                with closing(watched):
                    yield from selected(bounds, watched.stream, path, self._selection)
                with _store_errors():
                    self._wholes[path] = watched.whole(stream)

    def watch(self) -> None:
        self._watching = True

    def content(self, partition: Partition) -> bytes | None:
        """As the contract says: where files go whole, and nobody wrote to them since they were opened."""
        bounds = places.parse(partition.bounds)
        wholes = [self._wholes.get(bounds.path(file)) for file in bounds.files]
        known = [whole for whole in wholes if whole is not None]
        return pages.content(partition.bounds, known) if len(known) == len(wholes) else None

    def _is_whole(self, bounds: Bounds) -> bool:
        return self._selection.whole(bounds.collection, bounds.kind.names)

    def _notes(self, stream: BinaryIO) -> bool:
        """Whether every change of a file shows in its times, where this one lies."""
        device = os.fstat(stream.fileno()).st_dev
        if device not in self._noting:
            self._noting[device] = filesystem(stream.fileno()).kind in durable.NOTING
        return self._noting[device]

    def batches_at(
        self, partition: Partition, wanted: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """As the contract says: files without any of these records are not read, nor row groups of Parquet
        without any, where a file goes whole. A file that is gone has as many as it had."""
        bounds = places.parse(partition.bounds)
        for path, at, inside in _files_at(bounds, wanted):
            with suppress(FileNotFoundError), self._tree.open_read(path) as stream:
                for place, batch in selected_at(bounds, stream, path, self._selection, inside):
                    yield at + place, batch

    def raw_at(
        self, partition: Partition, wanted: Sequence[tuple[int, int]], columns: Sequence[int]
    ) -> Iterator[Extent]:
        """As the contract says: pages of Parquet where a file goes whole, else the whole file."""
        bounds = places.parse(partition.bounds)
        paged = bounds.kind.format == "parquet" and self._is_whole(bounds)
        for path, _, inside in _files_at(bounds, wanted):
            with suppress(FileNotFoundError, MalformedError), self._tree.open_read(path) as stream:
                spans = tables.parquet_spans(stream, inside, columns) if paged else None
                yield from parts_of_file(self._tree, path, stream, spans)

    def copies(self, collection: Collection) -> Sequence[Copy]:
        group = self._group(collection)
        everything = [file for other in self._grouped() for file in other.files]
        return find_copies(self._tree, group.files, everything, self._digests)

    def watermark(self, collection: Collection) -> Watermark:
        """Covers names, sizes, times and inodes of the files that are of the collection now. Moves while its
        partitions are being erased. A reader that has not surveyed reads the files of this folder."""
        mark = hashlib.sha256()
        for entry in self._tree.listing(places.folder_path(collection.name)):
            found = self._survey.file(entry) if entry.is_file else None
            if found is not None and found.collection == collection.name:
                mark.update(len(entry.path).to_bytes(4) + entry.path + repr(tuple(entry.stamp)).encode())
        return Watermark(mark.hexdigest())

    def raw(self) -> Iterator[Extent]:
        return raw_extents(self._tree, self._survey, self._selection)

    def close(self) -> None:
        self._tree.close()

    def _grouped(self) -> list[_Group]:
        if self._groups is None:
            files = sorted(self._survey.files(), key=lambda file: (file.collection, file.entry.path))
            groups = groupby(files, key=lambda file: file.collection)
            self._groups = [_grouped(i, name, tuple(inside)) for i, (name, inside) in enumerate(groups)]
        return self._groups

    def _group(self, collection: Collection) -> _Group:
        for group in self._grouped():
            if group.collection.name == collection.name:
                return group
        raise PermanentStoreError(f"collection {collection.ordinal} is not in this store (any more)")

    def _partition(self, group: _Group, index: int, files: list[Surveyed]) -> Partition:
        bound = tuple(FileBound(f.entry.name, f.entry.info.st_size, f.selected) for f in files)
        bounds = Bounds(group.collection.name, group.folder, group.kind, bound)
        records = sum(file.selected for file in files)
        return Partition(group.collection.ordinal, index, records, bounds.write())


def capabilities(tree: Tree) -> Capabilities:
    """What overwriting and unlinking reach where the tree lives (docs/stores/files.md)."""
    here = filesystem(tree.beneath.fd)
    if here.layered:
        return Capabilities(Grade.L1, f"the file system ({here.kind}) {here.why_not}")
    if not here.overwrites_in_place:
        return Capabilities(
            Grade.L2,
            f"the file system ({here.kind}) {here.why_not}; what it keeps is not a file of this store",
        )
    if here.kind not in WIPED:
        return Capabilities(Grade.L2, f"free blocks of the file system ({here.kind}) are not wiped")
    return Capabilities(Grade.L3, "the medium beneath the volume is not reached")


class _Watched:
    """A file whose records are read. Its bytes will be known if nobody writes to it now, and whoever does
    later leaves a trace: a change may have the time of one just before."""

    def __init__(self, stream: BinaryIO, kind: Kind, *, noting: bool) -> None:
        info = os.fstat(stream.fileno())
        at_rest = noting and time.time_ns() - info.st_ctime_ns > _COARSEST
        known = at_rest and durable.unwritten(stream.fileno())
        self._stamp = stamp(info)
        self._reading = pages.Reading(info.st_size) if known else None
        self.stream = stream
        if kind.format == "parquet" and info.st_size >= _LARGE:
            came = self._reading.came if self._reading is not None else _nothing
            self.stream = cast(BinaryIO, Direct(os.dup(stream.fileno()), came))

    def close(self) -> None:
        if isinstance(self.stream, Direct):
            self.stream.close()

    def whole(self, stream: BinaryIO) -> bytes | None:
        """What its bytes are (`pages.whole`), once its records were read; None where they may be others."""
        if self._reading is None:
            return None
        prints = self._reading.finish(stream.fileno())
        after = stamp(os.fstat(stream.fileno()))
        return pages.whole(after.size, prints) if after == self._stamp else None


def _nothing(at: int, data: memoryview) -> None:
    pass


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise failure(error, "a file") from None


_COARSEST = 2_000_000_000  # nanoseconds, of the times of any file system that is in use
_LARGE = 1 << 20  # bytes of a file that is read past the page cache


def selected(bounds: Bounds, stream: BinaryIO, path: bytes, selection: Selection) -> Iterator[pa.RecordBatch]:
    """The selected records of one open file of a partition.

    Raises:
        PermanentStoreError: the file is damaged, or is not of the kind it was.
    """
    size = os.fstat(stream.fileno()).st_size
    whole = selection.whole(bounds.collection, bounds.kind.names)
    try:
        for block in tables.blocks(bounds.kind, stream, path, size):
            batch = block.batch
            if not whole:
                batch = batch.filter(pa.array(selection.masks(bounds.collection, batch).selected))
            if batch.num_rows:
                yield from tables.slices(batch)
    except MalformedError:
        raise PermanentStoreError(_DAMAGED, hint=_SURVEY_AGAIN) from None


_DAMAGED = "a file is damaged, or no longer of the format it had when it was surveyed"
_SURVEY_AGAIN = "survey again; a damaged file can be taken as one record"


def selected_at(
    bounds: Bounds,
    stream: BinaryIO,
    path: bytes,
    selection: Selection,
    wanted: Sequence[tuple[int, int]],
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """As `selected`, of a file of which not all is wanted: batches with the places of their first records."""
    if bounds.kind.format == "parquet" and selection.whole(bounds.collection, bounds.kind.names):
        try:
            yield from tables.parquet_at(stream, wanted)
        except MalformedError:
            raise PermanentStoreError(_DAMAGED, hint=_SURVEY_AGAIN) from None
        return
    at = 0
    for batch in selected(bounds, stream, path, selection):
        yield at, batch
        at += batch.num_rows


def _files_at(
    bounds: Bounds, wanted: Sequence[tuple[int, int]]
) -> Iterator[tuple[bytes, int, list[tuple[int, int]]]]:
    """The files that have any of these records: path, place of the first record, places in the file."""
    at = 0
    for file in bounds.files:
        last = file is bounds.files[-1]  # what came behind the partition's end would be in it
        inside = [(max(first - at, 0), end - at) for first, end in wanted if end > at]
        inside = [span for span in inside if last or span[0] < file.records]
        if inside:
            yield bounds.path(file), at, inside
        at += file.records


def _grouped(ordinal: int, name: str, files: tuple[Surveyed, ...]) -> _Group:
    kind = files[0].kind
    notes = {file.kind.note for file in files if file.kind.note}
    unconverted = sum(file.unconverted for file in files)
    if unconverted:
        notes.add(f"{unconverted} records with a value that a condition could not convert are not selected")
    undecided = sum(file.kept for file in files if file.undecided)
    if undecided:
        notes.add(
            f"{undecided} records stay: their file is damaged, and the scope's condition needs its columns"
        )
    collection = Collection(
        ordinal=ordinal,
        name=name,
        format=kind.label,
        columns=tuple(Column(column, type_) for column, type_ in kind.columns),
        records=sum(file.selected for file in files),
        held=sum(file.held for file in files),
        kept=sum(file.kept for file in files),
        bytes=sum(file.entry.info.st_blocks * 512 for file in files),
        order="key",
        notes=tuple(sorted(notes)),
    )
    return _Group(collection, kind, files[0].entry.folder, files)


def _packed(files: list[Surveyed]) -> Iterator[list[Surveyed]]:
    """Files in groups of up to 64 MiB or 256; a larger file is a group of its own."""
    group: list[Surveyed] = []
    size = 0
    for file in sorted(files, key=lambda file: file.entry.path):
        step = file.entry.info.st_size
        if group and (size + step > PARTITION_BYTES or len(group) == PARTITION_FILES):
            yield group
            group, size = [], 0
        group.append(file)
        size += step
    if group:
        yield group
