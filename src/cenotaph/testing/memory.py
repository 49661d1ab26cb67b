"""A store in memory that passes `StoreContract`, and can be told to lie or to fail.

Its "disk" is a buffer: each record has its place there, deleting a record without overwriting leaves its
bytes, as real stores do. Erasers and readers opened on one `MemoryStore` share it.
"""

from __future__ import annotations

import enum
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph.errors import DriftError, PermanentStoreError, RefusedError, StoreError, TransientStoreError
from cenotaph.scope import EVERYTHING, Selection
from cenotaph.store import (
    Capabilities,
    Class,
    Collection,
    Column,
    Copy,
    Disposition,
    Erasure,
    Extent,
    Grade,
    Partition,
    PartitionSeal,
    Progress,
    Ranges,
    Reclamation,
    Watermark,
)

PARTITION_ROWS = 7


class Lie(enum.Enum):
    """What a store can do wrong; each is caught by a test of `StoreContract`."""

    LEAVES_BYTES = "deletes records and leaves their bytes"
    KEEPS_ONE = "leaves the last record of each partition"
    TAKES_HELD = "erases what is on hold"
    SKIPS_THE_SEAL = "erases without checking the seal"
    BEGINS_LATE = "changes records before it says begin"
    COUNTS_MORE = "states one record more than it has"
    HIDES_RAW = "shows no raw bytes"
    SHUFFLES = "gives rows in another order each time"
    OVERLAPS = "puts a record in two partitions"
    EXCUSES = "calls the places of selected records kept"
    FORGETS_PROGRESS = "does not go on where an earlier run stopped"
    TALKS = "puts a value into a note"


class Failure(enum.Enum):
    """What can go wrong with an honest store."""

    LOCKED = "somebody else holds the lock"
    DAMAGED = "a partition cannot be read"
    REFUSED = "a hold was found at the last moment"


@dataclass
class _Table:
    """Rows, which of them are there, and their places on the disk."""

    rows: pa.RecordBatch
    alive: npt.NDArray[np.bool_]
    disk: bytearray
    spans: list[tuple[int, int]]


@dataclass
class MemoryStore:
    """Named tables. `lies` and `failures` (by call: "batches", "erase") may be changed at any time."""

    tables: Mapping[str, pa.RecordBatch] = field(repr=False)
    lies: frozenset[Lie] = frozenset()
    failures: dict[str, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.contents = {name: _table(self.tables[name]) for name in sorted(self.tables)}
        self.readings = 0

    def open_reader(self, selection: Selection = EVERYTHING) -> MemoryReader:
        return MemoryReader(self, selection)

    def open_eraser(self, selection: Selection = EVERYTHING) -> MemoryEraser:
        return MemoryEraser(self, selection)

    def rows(self, collection: str) -> list[dict[str, object]]:
        """What is there now, read past the contract."""
        table = self.contents[collection]
        found: list[dict[str, object]] = table.rows.filter(pa.array(table.alive)).to_pylist()
        return found

    def put(self, collection: str, row: int, batch: pa.RecordBatch) -> None:
        """Replace one row, as an application would."""
        old = self.contents[collection]
        rows = [*old.rows.to_pylist()]
        rows[row] = batch.to_pylist()[0]
        new = _table(pa.RecordBatch.from_pylist(rows, schema=old.rows.schema))
        new.alive = old.alive
        self.contents[collection] = new

    def fail(self, call: str) -> None:
        """Raise what this call was told to fail with."""
        failure = self.failures.get(call)
        if failure is not None:
            raise _ERRORS[failure](failure.value)


_ERRORS: dict[Failure, type[StoreError] | type[RefusedError]] = {
    Failure.LOCKED: TransientStoreError,
    Failure.DAMAGED: PermanentStoreError,
    Failure.REFUSED: RefusedError,
}


class MemoryReader:
    """`store.Reader` of a `MemoryStore`."""

    def __init__(self, store: MemoryStore, selection: Selection) -> None:
        self._store, self._selection = store, selection
        self.capabilities = Capabilities(Grade.L2, "memory has no volume beneath it")

    def collections(self) -> Sequence[Collection]:
        return [self._collection(i, name) for i, name in enumerate(self._store.contents)]

    def copies(self, collection: Collection) -> Sequence[Copy]:
        freed = int((~self._store.contents[collection.name].alive).sum())
        return [Copy("freed places", "disk", freed, Disposition.DESTROY)] if freed else []

    def partitions(self, collection: Collection) -> Sequence[Partition]:
        total = self._store.contents[collection.name].rows.num_rows
        more = 1 if Lie.OVERLAPS in self._store.lies else 0
        found = []
        for index, low in enumerate(range(0, total, PARTITION_ROWS)):
            high = min(total, low + PARTITION_ROWS + more)
            chosen = int(self._chosen(collection.name)[low:high].sum())
            found.append(Partition(collection.ordinal, index, chosen, _bounds(collection.name, low, high)))
        return found

    def batches(self, partition: Partition) -> Iterator[pa.RecordBatch]:
        self._store.fail("batches")
        name, low, high = parse_bounds(partition.bounds)
        table = self._store.contents[name]
        places = np.flatnonzero(self._chosen(name)[low:high]) + low
        if Lie.SHUFFLES in self._store.lies:
            self._store.readings += 1
            places = np.roll(places, self._store.readings)
        if len(places):
            yield table.rows.take(pa.array(places))

    def watermark(self, collection: Collection) -> Watermark:
        table = self._store.contents[collection.name]
        return Watermark(hashlib.sha256(bytes(table.disk) + table.alive.tobytes()).hexdigest())

    def raw(self) -> Iterator[Extent]:
        if Lie.HIDES_RAW in self._store.lies:
            return
        for name, table in self._store.contents.items():
            data = bytes(table.disk)
            kept = self._kept(name)
            yield Extent("disk", name, len(data), partial(io.BytesIO, data), kept)

    def close(self) -> None:
        """Nothing is held open."""

    def _chosen(self, name: str) -> npt.NDArray[np.bool_]:
        return chosen(self._store, name, self._selection)

    def _collection(self, ordinal: int, name: str) -> Collection:
        table = self._store.contents[name]
        masks = self._selection.masks(name, table.rows)
        selected = int(self._chosen(name).sum())
        held = int((masks.held & table.alive).sum())
        columns = tuple(Column(f.name, str(f.type)) for f in table.rows.schema)
        more = 1 if Lie.COUNTS_MORE in self._store.lies else 0
        kept = int(table.alive.sum()) - selected - held
        notes = (str(table.rows.to_pylist()),) if Lie.TALKS in self._store.lies else ()
        size = len(table.disk)
        return Collection(ordinal, name, "table", columns, selected + more, held, kept, size, "key", notes)

    def _kept(self, name: str) -> Ranges:
        table = self._store.contents[name]
        stays = table.alive & ~self._chosen(name)
        if Lie.EXCUSES in self._store.lies:
            stays = np.ones_like(stays)
        spans = [span for span, there in zip(table.spans, stays, strict=True) if there]
        return np.array(spans, np.int64).reshape(-1, 2)


class MemoryEraser:
    """`store.Eraser` of a `MemoryStore`."""

    def __init__(self, store: MemoryStore, selection: Selection) -> None:
        self._store, self._selection = store, selection

    def erase(self, partition: Partition, sealed: PartitionSeal, progress: Progress) -> Erasure:
        self._store.fail("erase")
        name, low, high = parse_bounds(partition.bounds)
        reader = self._store.open_reader(self._selection)
        lies = self._store.lies
        if Lie.BEGINS_LATE in lies:
            self._erase_rows(name, low, low + 1)
        if progress.begun is not None:
            if Lie.FORGETS_PROGRESS in lies:
                raise DriftError("the records are not those that were sealed")
            sealed.check_remaining(reader.batches(partition))
        else:
            if Lie.SKIPS_THE_SEAL not in lies:
                sealed.check(reader.batches(partition))
            progress.begin({"v": 1})
        freed = 0
        for row in range(low, high):
            step = self._erase_rows(name, row, row + 1)
            freed += step
            progress.advance(1 if step else 0, step)
        return Erasure(sealed.records, Class.AS_SEALED, freed, freed)

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        return Reclamation(Grade.L2, "memory has no volume beneath it", 0, 0)

    def close(self) -> None:
        """Nothing is held open."""

    def _erase_rows(self, name: str, low: int, high: int) -> int:
        table = self._store.contents[name]
        selected = chosen(self._store, name, self._selection)
        freed = 0
        for row in range(low, high):
            last = row % PARTITION_ROWS == PARTITION_ROWS - 1 or row == len(selected) - 1
            if not selected[row] or (Lie.KEEPS_ONE in self._store.lies and last):
                continue
            table.alive[row] = False
            start, end = table.spans[row]
            freed += end - start
            if Lie.LEAVES_BYTES not in self._store.lies:
                table.disk[start:end] = bytes(end - start)
        return freed


def chosen(store: MemoryStore, name: str, selection: Selection) -> npt.NDArray[np.bool_]:
    """Which rows of a table are there and selected."""
    table = store.contents[name]
    masks = selection.masks(name, table.rows)
    selected = masks.selected | masks.held if Lie.TAKES_HELD in store.lies else masks.selected
    found: npt.NDArray[np.bool_] = selected & table.alive
    return found


def parse_bounds(bounds: str) -> tuple[str, int, int]:
    """The table and the range of rows of a partition."""
    raw = json.loads(bounds)
    return str(raw["table"]), int(raw["low"]), int(raw["high"])


def _bounds(table: str, low: int, high: int) -> str:
    return json.dumps({"table": table, "low": low, "high": high})


def _table(rows: pa.RecordBatch) -> _Table:
    """Write each row to the disk as text, with a free byte between rows."""
    disk, spans = bytearray(), []
    for row in rows.to_pylist():
        start = len(disk)
        disk += "\t".join(str(value) for value in row.values()).encode()
        spans.append((start, len(disk)))
        disk += b"\0"
    return _Table(rows, np.ones(rows.num_rows, np.bool_), disk, spans)
