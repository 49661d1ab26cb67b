"""How fast rows of a PostgreSQL table are erased, beside the server's own DELETE, and VACUUM (FULL) after it.

    python bench/postgres_erasing.py [ROWS]

Half the rows go, chosen by a condition; then a tenth, by a list of persons, from a table with two more
indexes; then all of them. Ours reads the table beneath a lock, digests what goes, compares it with its seal,
deletes it in one transaction a partition (or truncates the table, where all of it goes), and reads it again,
empty; with the second figure it also rewrites the table. The peer is one DELETE with the same condition, a
join with the same list, or without either, and one VACUUM (FULL). Each turn has a fresh copy of the table;
the best of each counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from postgres import TABLE

import postgres_server
from cenotaph.errors import DriftError
from cenotaph.records import Chunker, Digester
from cenotaph.scope import Selection, parse_predicate
from cenotaph.store import Assignment
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.testing.contract import Log

TURNS = 3
KEY = bytes(64)
PERSONS = 10  # one in so many goes by list


class Way(NamedTuple):
    """What goes, and how the peer says so."""

    name: str
    selection: Selection
    condition: str
    setup: tuple[str, ...] = ()


def ways(rows: int) -> tuple[Way, ...]:
    scope = ("public.tests",)
    listed = frozenset(str(n * 7919).zfill(18) for n in range(PERSONS, rows + 1, PERSONS))
    return (
        Way("half, by condition", Selection(scope, parse_predicate("place < 5000")), "place < 5000"),
        Way(
            "a tenth, by list",
            Selection(scope, subjects=listed, subject_columns={"public.tests": "subject_id"}),
            "subject_id IN (SELECT id FROM listed)",
            (
                "CREATE INDEX ON tests (subject_id)",
                "CREATE INDEX ON tests (phone)",
                f"CREATE TABLE listed AS SELECT subject_id AS id FROM tests WHERE id % {PERSONS} = 0",  # noqa: S608
                "ANALYZE listed",
            ),
        ),
        Way("all of it", Selection(scope), "true"),
    )


class Sealed:
    """A `PartitionSeal` of real digests."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self.records, self._digest = _digest(batches)

    def check(self, batches: Iterable[pa.RecordBatch]) -> None:
        if _digest(batches) != (self.records, self._digest):
            raise DriftError("the records are not those that were sealed")

    def check_remaining(self, batches: Iterable[pa.RecordBatch]) -> int:
        return _digest(batches)[0]


def _digest(batches: Iterable[pa.RecordBatch]) -> tuple[int, tuple[object, ...]]:
    count, chunker, digester = 0, Chunker(), Digester(KEY)
    chunks: list[object] = []
    for batch in batches:
        count += batch.num_rows
        chunks += chunker.add(*digester.digests(batch))
    return count, (*chunks, *chunker.finish())


def main(rows: int) -> None:
    if postgres_server.binaries() is None:
        print("no PostgreSQL server is installed: apt-get install postgresql")
        return
    server = postgres_server.start(shared_buffers="512MB", max_wal_size="4GB")
    try:
        for way in ways(rows):
            _one(server, rows, way)
    finally:
        server.stop()


def _one(server: postgres_server.Server, rows: int, way: Way) -> None:
    best: dict[str, float] = {}
    key = "ALTER TABLE tests ADD PRIMARY KEY (id)"
    made = server.database(TABLE.format(rows), key, *way.setup, "VACUUM FREEZE ANALYZE")
    for _ in range(TURNS):
        for what, step in (("server", by_the_server), ("ours", by_us)):
            name = server.database(options=f"TEMPLATE {made}")
            server.run("CHECKPOINT")
            for part, seconds in step(server, name, way).items():
                key = f"{what}, {part}"
                best[key] = min(best.get(key, seconds), seconds)
            (left,) = server.run(f"SELECT count(*) FROM tests WHERE {way.condition}", database=name)  # noqa: S608
            assert left == (0,)
            server.drop(name)
    server.drop(made)
    for part in ("erasing", "reclaiming too"):
        peer, ours = best[f"server, {part}"], best[f"ours, {part}"]
        says = f"{way.name}, {part}"
        print(
            f"{says:34} server {peer:6.2f} s, ours {ours:6.2f} s: {peer / ours:4.2f} of its speed", flush=True
        )


def by_the_server(server: postgres_server.Server, name: str, way: Way) -> dict[str, float]:
    with server.connect(name) as link:
        start = time.perf_counter()
        link.execute(f"DELETE FROM tests WHERE {way.condition}".encode())  # noqa: S608
        deleted = time.perf_counter() - start
        link.execute(b"VACUUM (FULL) tests")
        return {"erasing": deleted, "reclaiming too": time.perf_counter() - start}


def by_us(server: postgres_server.Server, name: str, way: Way) -> dict[str, float]:
    reader = open_reader(server.url(name), way.selection)
    table = next(c for c in reader.collections() if c.name == "public.tests")
    sealed = [(p, Sealed(reader.batches(p))) for p in reader.partitions(table)]
    eraser = open_eraser(server.url(name), way.selection)
    start = time.perf_counter()
    parts = [Assignment(partition, seal, Log()) for partition, seal in sealed]
    if eraser.erase_whole(table, parts) is None:
        for part in parts:
            eraser.erase(*part)
    deleted = time.perf_counter() - start
    eraser.reclaim([table])
    took = time.perf_counter() - start
    eraser.close()
    return {"erasing": deleted, "reclaiming too": took}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
