"""How fast a table of PostgreSQL is read and digested, beside the server's own COPY of it.

    python bench/postgres.py [ROWS]

Starts a private server, fills a table as performance figures use it, and reads it in turns: psql's COPY
TO in binary, to nowhere, in the order of the file and in the order of the key; the store's reader, with
and without its partitions' digests. The best of each counts, so that ratios survive a busy machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import postgres_server
from cenotaph import kernel
from cenotaph.records import Chunker, Digester
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import SealTask, Target, seal_partition
from cenotaph.stores.postgres import open_reader

KEY = bytes(64)
TURNS = 5
TABLE = """
CREATE TABLE tests AS SELECT n AS id, lpad((n * 7919)::text, 18, '0') AS subject_id,
    '2022-01-01'::timestamp + n * interval '1 second' AS taken, (n % 9999)::int4 AS place,
    'neg'::text AS result,
    CASE WHEN n % 10 > 0 THEN '1' || lpad(n::text, 10, '0') END AS phone, (n % 40)::int2 AS app
FROM generate_series(1::int8, {}) n
"""


def main(rows: int) -> None:
    if postgres_server.binaries() is None:
        print("no PostgreSQL server is installed: apt-get install postgresql")
        return
    server = postgres_server.start(shared_buffers="512MB")
    try:
        name = server.database(
            TABLE.format(rows), "ALTER TABLE tests ADD PRIMARY KEY (id)", "VACUUM FREEZE ANALYZE"
        )
        reader = open_reader(server.url(name), EVERYTHING)
        table = next(c for c in reader.collections() if c.name.endswith("tests"))
        partitions = reader.partitions(table)

        def copied(query: str) -> Callable[[], object]:
            command = f"COPY {query} TO STDOUT (FORMAT BINARY)"
            line = ["psql", "-qXd", server.url(name), "-c", command]
            return lambda: subprocess.check_call(line, stdout=subprocess.DEVNULL)  # noqa: S603

        def read() -> None:
            for partition in partitions:
                for _ in reader.batches(partition):
                    pass

        def digested() -> None:
            for partition in partitions:
                chunker = Chunker()
                for batch in reader.batches(partition):
                    chunker.add(*Digester(KEY).digests(batch))

        target = Target(
            open_reader,
            server.url(name),
            EVERYTHING,
            "store",
            table.name,
            table.ordinal,
            table.order,
            ((1, "id"), (5, "phone")),
            1,
        )

        def sealed() -> None:
            for partition in partitions:
                seal_partition(SealTask(target, partition, bytes(32)))

        steps = {
            "COPY, order of the file": copied("tests"),
            "COPY, order of the key": copied("(SELECT * FROM tests ORDER BY id)"),
            "read into Arrow": read,
            "read and digested": digested,
            "sealed": sealed,
        }
        best = dict.fromkeys(steps, float("inf"))
        for _ in range(TURNS):
            for what, step in steps.items():
                start = time.perf_counter()
                step()
                best[what] = min(best[what], time.perf_counter() - start)
    finally:
        server.stop()
    print(kernel.described())
    peer = best["COPY, order of the file"]
    for what, seconds in best.items():
        print(f"{what:26} {rows / seconds / 1e6:6.2f} M rows/s  {peer / seconds:5.2f} of COPY")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
