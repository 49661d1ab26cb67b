"""Databases to destroy, seals that can be compared, and a search through every file of a folder."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from cenotaph.errors import DriftError
from cenotaph.records import Digester
from cenotaph.scope import EVERYTHING, Selection
from cenotaph.store import Erasure, Reclamation, State
from cenotaph.stores.sqlite import open_eraser, open_reader

KEY = bytes(range(64))


@dataclass
class Sealed:
    """A `PartitionSeal` over digests; remembers nothing but them."""

    digests: list[bytes] = field(default_factory=list)

    @property
    def records(self) -> int:
        return len(self.digests)

    def check(self, batches: Iterable[pa.RecordBatch]) -> None:
        if digests(batches) != self.digests:
            raise DriftError("the records are not those that were sealed")

    def holds(self, content: bytes) -> bool:
        return False

    def check_remaining(self, batches: Iterable[pa.RecordBatch]) -> int:
        found = Counter(digests(batches))
        if found - Counter(self.digests):
            raise DriftError("there are records that were not sealed")
        return found.total()


@dataclass
class Diary:
    """A `Progress` that keeps what it was told."""

    begun: State | None = None
    advanced: list[tuple[int, int]] = field(default_factory=list)

    def begin(self, state: State) -> None:
        self.begun = state

    def advance(self, records: int, bytes: int) -> None:
        self.advanced.append((records, bytes))


def digests(batches: Iterable[pa.RecordBatch]) -> list[bytes]:
    digester = Digester(KEY)
    return [digest for batch in batches for digest in map(bytes, digester.digests(batch)[0])]


def url(path: Path) -> str:
    return f"sqlite:{path}"


def seal(path: Path, selection: Selection = EVERYTHING) -> list[tuple]:
    """(collection, partition, seal) for every partition with a record in scope."""
    reader = open_reader(url(path), selection)
    return [
        (collection, partition, Sealed(digests(reader.batches(partition))))
        for collection in reader.collections()
        if selection.includes(collection.name)
        for partition in reader.partitions(collection)
    ]


def destroy(path: Path, selection: Selection = EVERYTHING) -> tuple[list[Erasure], Reclamation]:
    """Seal, erase every partition, reclaim."""
    sealed = seal(path, selection)
    eraser = open_eraser(url(path), selection)
    try:
        erasures = [eraser.erase(partition, seals, Diary()) for _, partition, seals in sealed]
        unique = {collection.ordinal: collection for collection, _, _ in sealed}
        return erasures, eraser.reclaim(list(unique.values()))
    finally:
        eraser.close()


def create(
    path: Path, script: str = "", *, journal: str = "delete", secure_delete: str = "off"
) -> sqlite3.Connection:
    """A database as most programs make one: Debian's SQLite would overwrite what it deletes, so say off."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA secure_delete={secure_delete}")
    db.execute(f"PRAGMA journal_mode={journal}")
    db.executescript(script)
    return db


def needles(count: int, seed: int = 7) -> list[str]:
    """Texts that occur nowhere by chance."""
    chance = random.Random(seed)
    return [f"needle-{chance.randbytes(12).hex()}" for _ in range(count)]


def found(folder: Path, wanted: Iterable[str]) -> set[str]:
    """Which needles are in a file of the folder, or in the name of one."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    content = b"\0".join([path.read_bytes() + path.name.encode() for path in files])
    return {needle for needle in wanted if needle.encode() in content}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


GONE, STAY = needles(400), needles(400, seed=8)


def two_tables(path: Path, **pragmas: str) -> sqlite3.Connection:
    """A table that goes and one that stays, each indexed, with values that spill over pages."""
    db = create(
        path,
        """CREATE TABLE gone (id INTEGER PRIMARY KEY, name TEXT, note TEXT, photo BLOB);
        CREATE INDEX gone_name ON gone (name);
        CREATE TABLE stay (name TEXT, note TEXT);
        CREATE INDEX stay_name ON stay (name);""",
        **pragmas,
    )
    db.execute("BEGIN")
    for i, (going, staying) in enumerate(zip(GONE, STAY, strict=True)):
        long = i % 20 == 0
        photo = going.encode() * (400 if long else 1)
        db.execute("INSERT INTO gone VALUES (?, ?, ?, ?)", (i * 3, going, f"note {going}", photo))
        db.execute("INSERT INTO stay VALUES (?, ?)", (staying, f"{staying} " * (400 if long else 1)))
    db.execute("COMMIT")
    return db


def rows_of(path: Path, table: str) -> list[tuple]:
    db = sqlite3.connect(path)
    try:
        return db.execute(f'SELECT rowid, * FROM "{table}" ORDER BY rowid').fetchall()
    finally:
        db.close()
