"""How long a whole table takes to be gone from the disk beneath a running server, beside zeros over it.

    python bench/postgres_overwrite.py [MIB] [FOLDER]

Starts a private server in FOLDER (else where temporary files go), fills a table, and takes it away in both
ways that a case can: its old files overwritten before their blocks are freed, or freed as they are. Beside
that, zeros over a file of as many bytes and its fsync, before and after. Statistics, the log and the probe
excluded. What is erased is first read and digested beneath the lock: with sealing's own digests, and its time
is shown.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pyarrow as pa

import postgres_server
from cenotaph.durable import overwrite
from cenotaph.records import Chunker, Digester
from cenotaph.scope import EVERYTHING
from cenotaph.store import Assignment, State, Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader

TABLE = (
    "CREATE TABLE people (id int8, name text, note text)",
    "INSERT INTO people SELECT n, 'Person-' || md5(n::text), repeat(md5((n * 7)::text), 24)"
    " FROM generate_series(1, {}) n",
    "ALTER TABLE people ADD PRIMARY KEY (id)",
    "VACUUM FREEZE ANALYZE",
    "CHECKPOINT",
)
ROWS_A_MIB = 1140
KEY = bytes(64)


class _Seal:
    """Reads and digests what a seal would compare."""

    def __init__(self, records: int) -> None:
        self.records, self.seconds = records, 0.0

    def check(self, batches: Iterable[pa.RecordBatch]) -> None:
        start, count = time.perf_counter(), 0
        chunker, digester = Chunker(), Digester(KEY)
        for batch in batches:
            count += batch.num_rows
            chunker.add(*digester.digests(batch))
        chunker.finish()
        self.seconds += time.perf_counter() - start
        assert count == self.records

    def check_remaining(self, batches: Iterable[pa.RecordBatch]) -> int:
        return sum(batch.num_rows for batch in batches)


class _Progress:
    begun: State | None = None

    def begin(self, state: State) -> None: ...

    def advance(self, records: int, bytes: int) -> None: ...


def main(mib: int, folder: Path | None) -> None:
    if postgres_server.binaries() is None:
        print("no PostgreSQL server is installed: apt-get install postgresql")
        return
    home = Path(tempfile.mkdtemp(prefix="cenotaph-bench-", dir=folder))
    server = postgres_server.start_in(home, {"fsync": "on", "max_wal_size": "1GB", "shared_buffers": "256MB"})
    try:
        print(f"{'':34} {'seconds':>8} {'of the bare overwriting':>24}")
        for way in (True, False):
            _one(server, mib, online_overwrite=way)
    finally:
        server.stop()


def _one(server: postgres_server.Server, mib: int, *, online_overwrite: bool) -> None:
    name = server.database(*(line.format(mib * ROWS_A_MIB) for line in TABLE))
    (size,) = server.run("SELECT pg_total_relation_size('people')", database=name)[0]
    bare = [_bare(server.folder, size)]
    around = Surroundings(str(server.data), online_overwrite=online_overwrite)
    reader = open_reader(server.url(name), EVERYTHING, around)
    (table,) = (c for c in reader.collections() if c.name == "public.people")
    partitions = reader.partitions(table)
    eraser = open_eraser(server.url(name), EVERYTHING, frozenset(), around)
    seals = [_Seal(partition.records) for partition in partitions]
    start = time.perf_counter()
    parts = [Assignment(part, seal, _Progress()) for part, seal in zip(partitions, seals, strict=True)]
    assert eraser.erase_whole(table, parts) is not None
    erased = time.perf_counter()
    compared = sum(seal.seconds for seal in seals)
    done = eraser.reclaim([table])
    ended = time.perf_counter()
    eraser.close()
    bare.append(_bare(server.folder, size))
    server.drop(name)
    peer = sum(bare) / 2
    what = "overwritten, then freed" if online_overwrite else "freed as it was, and rewritten"
    print(f"{size >> 20} MiB, {done.overwritten_bytes >> 20} MiB of zeros")
    for line, seconds in (
        ("zeros over a file, and fsync", peer),
        ("compared with its seal", compared),
        ("truncated", erased - start - compared),
        (what, ended - erased),
        ("all of it", ended - start),
    ):
        print(f"{line:34} {seconds:8.2f} {seconds / peer:24.2f}", flush=True)


def _bare(folder: Path, size: int) -> float:
    """Seconds for zeros over a file of this size that was written and is on the disk."""
    path = folder / "bare"
    with path.open("w+b") as file:
        piece = os.urandom(1 << 20)
        for _ in range(size >> 20):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        start = time.perf_counter()
        overwrite(file.fileno(), size)
        took = time.perf_counter() - start
    path.unlink()
    return took


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 256, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
