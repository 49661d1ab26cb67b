"""How fast a table of PostgreSQL is sealed, and what of that is reading and digesting, beside COPY of it.

    python bench/postgres.py [ROWS] [TURNS]

Starts a private server, fills a table as performance figures use it, in which no person comes twice, and
takes it in turns: psql's COPY TO in binary, to nowhere, in the order of the file and in the order of the key;
the store's reader; with digests and chunks; with what is sought and the persons, as a child process seals
partitions; and the whole stage `seal`, with two of them at work, from the case as surveyed to the statement
in the log. The best of each counts, so that ratios survive a busy machine. Prints the processor time of what
runs here, too, and the most memory that a process took.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cenotaph import kernel
from cenotaph.annex import Annex
from cenotaph.records import Chunker, Digester
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import PART, SealTask, Target, seal_partition
from cenotaph.stores.postgres import open_reader

if __name__ == "__main__":  # children import this file, too, and what tests need takes them a second
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import postgres_server
    from small_case import SmallCase

KEY = bytes(64)
TURNS = 5
TABLE = """
CREATE TABLE tests AS SELECT n AS id, lpad((n * 7919)::text, 18, '0') AS subject_id,
    '2022-01-01'::timestamp + n * interval '1 second' AS taken, (n % 9999)::int4 AS place,
    'neg'::text AS result,
    CASE WHEN n % 10 > 0 THEN '1' || lpad(n::text, 10, '0') END AS phone, (n % 40)::int2 AS app
FROM generate_series(1::int8, {}) n
"""
OURS = ("read into Arrow", "read and digested", "partitions sealed")  # others run in other processes
STORE = """
[[store]]
name = "tests"
url = "{}"
scope = {{ collections = ["public.tests"] }}
subject = {{ "public.tests" = "subject_id" }}
"""


def main(rows: int, turns: int) -> None:
    if postgres_server.binaries() is None:
        print("no PostgreSQL server is installed: apt-get install postgresql")
        return
    server = postgres_server.start(shared_buffers="512MB")
    try:
        name = server.database(
            TABLE.format(rows), "ALTER TABLE tests ADD PRIMARY KEY (id)", "VACUUM FREEZE ANALYZE"
        )
        with tempfile.TemporaryDirectory() as folder:
            best = measured(steps(server.url(name), Path(folder)), turns)
    finally:
        server.stop()
    print(f"{kernel.described()}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    peer = best["COPY, order of the file"][0]
    for what, (seconds, busy) in best.items():
        ours = f"{busy / rows * 1e9:6.0f} ns of processor a row" if what in OURS else ""
        print(f"{what:26} {rows / seconds / 1e6:6.2f} M rows/s  {peer / seconds:5.2f} of COPY  {ours}")
    here, children = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"most memory: {here / 1024:.0f} MiB here, {children / 1024:.0f} MiB in a child")


def steps(url: str, folder: Path) -> dict[str, Callable[[], object]]:
    """What is measured, by its name."""
    reader = open_reader(url, EVERYTHING)
    table = next(c for c in reader.collections() if c.name == "public.tests")
    partitions = reader.partitions(table)
    annex = Annex(folder / "annex", "ab" * 32)
    target = Target(
        open_reader,
        url,
        EVERYTHING,
        "store",
        table.name,
        table.ordinal,
        table.order,
        ((1, "id"), (5, "phone")),
        1,
    )
    case = surveyed(url, folder)

    def copied(query: str) -> Callable[[], object]:
        line = ["psql", "-qXd", url, "-c", f"COPY {query} TO STDOUT (FORMAT BINARY)"]
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

    def sealed() -> None:
        for partition in partitions:
            seal_partition(SealTask(target, partition, bytes(32), annex, f"{PART}{partition.index}"))

    return {
        "COPY, order of the file": copied("tests"),
        "COPY, order of the key": copied("(SELECT * FROM tests ORDER BY id)"),
        "read into Arrow": read,
        "read and digested": digested,
        "partitions sealed": sealed,
        "cenotaph seal": case.seal,
    }


def surveyed(url: str, folder: Path) -> SmallCase:
    """A case about the table, ready to be sealed."""
    case = SmallCase.make(folder, STORE.format(url), limits="")
    said = case.path / "case.toml"
    said.write_text(said.read_text("utf-8").replace("workers = 1", "workers = 2"), "utf-8")
    case.go("open", "survey")
    return case


def measured(steps: dict[str, Callable[[], object]], turns: int) -> dict[str, tuple[float, float]]:
    """The least seconds of each step, and of processor time here and in children that have ended."""
    best = dict.fromkeys(steps, (float("inf"), float("inf")))
    for _ in range(turns):
        for what, step in steps.items():
            start, busy = time.perf_counter(), _busy()
            step()
            took = time.perf_counter() - start, _busy() - busy
            best[what] = min(best[what][0], took[0]), min(best[what][1], took[1])
    return best


def _busy() -> float:
    return sum(os.times()[:4])


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]]
    main(sizes[0] if sizes else 1_000_000, sizes[1] if sizes[1:] else TURNS)
