"""The inventory in clear: every collection, partition and copy by name and place.

Lives in the annex under the annex key; the inventory statement carries its digest. Everything after
the survey starts from here, so that no later stage looks elsewhere than where the survey looked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cenotaph.config import CaseFile
from cenotaph.errors import RefusedError
from cenotaph.scope import Hold, Selection
from cenotaph.sealing import Target
from cenotaph.store import Collection, Column, Keeper, OpenReader, Partition
from cenotaph_proof.seal import ChunkSeal
from cenotaph_proof.statements import LeftOut


@dataclass(frozen=True, slots=True)
class EstateCollection:
    """A collection as surveyed. `needles` are (column, kind); `subject` a column or None."""

    collection: Collection
    partitions: tuple[Partition, ...]
    needles: tuple[tuple[int, str], ...]
    subject: int | None
    watermark: str

    @property
    def ordinal(self) -> int:
        return self.collection.ordinal


@dataclass(frozen=True, slots=True)
class EstateCopy:
    collection: int
    kind: str
    place: str = field(repr=False)
    bytes: int
    disposition: str


@dataclass(frozen=True, slots=True)
class EstateStore:
    name: str
    collections: tuple[EstateCollection, ...]
    copies: tuple[EstateCopy, ...]
    anchor: tuple[int, str] | None = field(
        default=None, repr=False
    )  # see `anchor`; None where the store has no folder
    keeper: Keeper | None = field(default=None, repr=False)  # of a store that a server keeps


@dataclass(frozen=True, slots=True)
class Estate:
    stores: tuple[EstateStore, ...]

    def find(self, name: str) -> EstateStore:
        for store in self.stores:
            if store.name == name:
                return store
        raise RefusedError(f"store {name} is not in the inventory", hint="survey again: cenotaph survey")

    def partitions(self) -> Iterator[tuple[EstateStore, EstateCollection, Partition]]:
        for store in self.stores:
            for collection in store.collections:
                for partition in collection.partitions:
                    yield store, collection, partition


def target(
    case: CaseFile, opener: OpenReader, store: EstateStore, item: EstateCollection, url: str
) -> Target:
    """What a child process needs to read one collection at `url`."""
    return Target(
        opener=opener,
        url=url,
        selection=case.selection(case.find(store.name)),
        store=store.name,
        collection=item.collection.name,
        ordinal=item.ordinal,
        order=item.collection.order,
        needles=item.needles,
        subject=item.subject,
        around=replace(
            case.surroundings(case.find(store.name)), keeper=store.keeper.identity if store.keeper else None
        ),
        kinds=frozenset(table.kind for table in case.store),
    )


def narrowed(selection: Selection, store: EstateStore, left_out: Iterable[LeftOut]) -> Selection:
    """The selection without the collections that a plan leaves out: to the store they are held.

    What was never in scope needs no hold, and one would keep every backup.
    """
    names = {c.ordinal: c.collection.name for c in store.collections}
    out = tuple(names[item.ordinal] for item in left_out if selection.includes(names[item.ordinal]))
    if not out:
        return selection
    return replace(selection, holds=(*selection.holds, Hold(collections=out)))


def anchor(path: Path, base: Path) -> tuple[int, str] | None:
    """What tells where a store lies: its file system's id, and the way there from the case, links followed.

    The folder outlives the store: of a directory it is the directory, of a file the one that holds it.
    A volume that is not mounted has another file system, a link put in its place another way. None:
    there is no such folder.
    """
    folder = path if path.is_dir() else path.parent
    try:
        return os.statvfs(folder).f_fsid, os.path.relpath(os.path.realpath(path), os.path.realpath(base))
    except OSError:
        return None


# ── JSON, for the annex ──────────────────────────────────────────────────────────────────────────


def to_json(estate: Estate) -> Any:
    return [
        {
            "name": s.name,
            "anchor": s.anchor,
            "keeper": [s.keeper.identity, sorted(s.keeper.beside)] if s.keeper else None,
            "collections": [_collection_json(c) for c in s.collections],
            "copies": [[c.collection, c.kind, c.place, c.bytes, c.disposition] for c in s.copies],
        }
        for s in estate.stores
    ]


def from_json(value: Any) -> Estate:
    return Estate(
        tuple(
            EstateStore(
                s["name"],
                tuple(_collection(c) for c in s["collections"]),
                tuple(EstateCopy(*c) for c in s["copies"]),
                tuple(s["anchor"]) if s["anchor"] else None,
                Keeper(s["keeper"][0], frozenset(s["keeper"][1])) if s.get("keeper") else None,
            )
            for s in value
        )
    )


def _collection_json(item: EstateCollection) -> Any:
    c = item.collection
    return {
        "ordinal": c.ordinal,
        "name": c.name,
        "format": c.format,
        "columns": [[column.name, column.type] for column in c.columns],
        "records": c.records,
        "held": c.held,
        "kept": c.kept,
        "bytes": c.bytes,
        "order": c.order,
        "notes": list(c.notes),
        "partitions": [[p.index, p.records, p.bounds] for p in item.partitions],
        "needles": [list(n) for n in item.needles],
        "subject": item.subject,
        "watermark": item.watermark,
    }


def _collection(value: Any) -> EstateCollection:
    collection = Collection(
        value["ordinal"],
        value["name"],
        value["format"],
        tuple(Column(name, kind) for name, kind in value["columns"]),
        records=value["records"],
        held=value["held"],
        kept=value["kept"],
        bytes=value["bytes"],
        order=value["order"],
        notes=tuple(value["notes"]),
    )
    return EstateCollection(
        collection,
        tuple(Partition(value["ordinal"], *p) for p in value["partitions"]),
        tuple((column, kind) for column, kind in value["needles"]),
        value["subject"],
        value["watermark"],
    )


@dataclass(frozen=True, slots=True)
class SealedChunks:
    """What a seal has of each store, collection ordinal and partition. Annex, under K."""

    chunks: dict[tuple[str, int, int], tuple[ChunkSeal, ...]] = field(repr=False)
    contents: dict[tuple[str, int, int], bytes] = field(repr=False)  # of those that `store.Bytewise` knows

    def of_store(self, store: EstateStore) -> list[tuple[EstateCollection, Partition, int]]:
        """Every chunk of a store in the order in which a draw numbers them, as
        (collection, partition, chunk within the partition)."""
        return [
            (collection, partition, number)
            for collection in store.collections
            for partition in collection.partitions
            for number in range(len(self.chunks[store.name, collection.ordinal, partition.index]))
        ]

    def to_json(self) -> Any:
        return [
            [*where, [[c.records, c.bytes, c.hash.hex()] for c in chunks], content.hex()]
            for where, chunks in self.chunks.items()
            for content in (self.contents.get(where, b""),)
        ]


def sealed_from_json(value: Any) -> SealedChunks:
    sealed = SealedChunks({}, {})
    for store, collection, partition, chunks, content in value:
        where = store, collection, partition
        sealed.chunks[where] = tuple(ChunkSeal(r, b, bytes.fromhex(h)) for r, b, h in chunks)
        if content:
            sealed.contents[where] = bytes.fromhex(content)
    return sealed
