"""Goes through a tree once and says what each file is: its kind, its collection, its records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from cenotaph import scope
from cenotaph.durable import is_tombstone
from cenotaph.errors import UsageError
from cenotaph.stores.files import kinds, packing, places, tables
from cenotaph.stores.files.kinds import Kind
from cenotaph.stores.files.lines import MalformedError
from cenotaph.stores.files.tree import Entry, Tree


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A file, what it is, and how many of its records go, are held, and stay."""

    entry: Entry = field(repr=False)
    kind: Kind = field(repr=False)
    collection: str = field(repr=False)
    selected: int
    held: int
    kept: int
    unconverted: int = 0
    whole: bool = False  # every record is selected, and would be whatever it says
    undecided: bool = False  # could not be read as what it is, so that no condition could be asked of it

    @property
    def stays(self) -> bool:
        """Whether nothing of it is to be destroyed, and something of it is to stay."""
        return self.selected == 0 and self.held + self.kept > 0


class Survey:
    """Surveys files and remembers the answer while a file's stamp stays the same."""

    def __init__(self, tree: Tree, selection: scope.Selection) -> None:
        self._tree = tree
        self._selection = selection
        self._known: dict[bytes, Surveyed] = {}

    def files(self) -> Iterator[Surveyed]:
        """Every regular file, in byte order of paths within each folder."""
        for entry in self._tree.entries():
            if entry.is_file:
                found = self.file(entry)
                if found is not None:
                    yield found

    def file(self, entry: Entry) -> Surveyed | None:
        """What a file is; None where it has vanished."""
        known = self._known.get(entry.path)
        if known is not None and known.entry.stamp == entry.stamp:
            return known
        try:
            with self._tree.open_read(entry.path) as stream:
                found = self._read(entry, stream)
        except FileNotFoundError:
            return None
        self._known[entry.path] = found
        return found

    def _read(self, entry: Entry, stream: BinaryIO) -> Surveyed:
        size = entry.info.st_size
        if is_tombstone(entry.name):  # what is left of an interrupted run is nobody's records to keep
            kind = kinds.opaque("a file that an interrupted run was destroying")
        else:
            kind = kinds.classify(stream, entry.name, size)
        while True:
            try:
                kind = with_schema(kind, stream, size)
                return self._count(entry, kind, stream)
            except MalformedError:
                kind = kinds.next_best(kind)

    def _count(self, entry: Entry, kind: Kind, stream: BinaryIO) -> Surveyed:
        name, size = places.collection_name(entry.folder, kind), entry.info.st_size
        included = self._selection.includes(name)
        try:
            whole = self._selection.whole(name, kind.names)
            if included and not whole:
                return self._decide(entry, kind, name, stream)
        except UsageError:
            # a damaged file has lost the columns that a condition asks for: it stays, and is reported
            if not kind.second_best:
                raise
            total = _records(kind, stream, entry.path, size)
            return Surveyed(entry, kind, name, 0, 0, total, undecided=True)
        total = _records(kind, stream, entry.path, size)
        return Surveyed(entry, kind, name, total if whole else 0, 0, 0 if whole else total, whole=whole)

    def _decide(self, entry: Entry, kind: Kind, name: str, stream: BinaryIO) -> Surveyed:
        """Ask the selection about each record."""
        blocks = tables.blocks(kind, stream, entry.path, entry.info.st_size)
        counts = self._selection.count(name, (block.batch for block in blocks))
        return Surveyed(entry, kind, name, *counts)


def with_schema(kind: Kind, stream: BinaryIO, size: int) -> Kind:
    """The kind with the columns that only the file itself can tell."""
    if kind.format in ("parquet", "arrow"):
        schema, _ = tables.columnar_schema(kind.format, stream)
        return replace(kind, columns=tuple((field.name, str(field.type)) for field in schema))
    if kind.format in ("zip", "tar") and not kind.delimiter and not kind.note:
        return tables.common_csv(kind, stream, size)
    return kind


def _records(kind: Kind, stream: BinaryIO, path: bytes, size: int) -> int:
    if kind.format == "opaque":
        return 1
    if kind.format == "parquet":
        _, records = tables.columnar_schema(kind.format, stream)
        if records is not None:
            return records
    if kind.format == "csv":
        stream.seek(0)
        return tables.count_csv(kind, packing.unpacked(stream, kind.packing, size))
    return sum(block.batch.num_rows for block in tables.blocks(kind, stream, path, size))
