"""How fast a table of PostgreSQL is sealed, and what of that is reading and digesting, beside COPY of it.

    python bench/postgres.py [ROWS] [TURNS]

Starts a private server, fills a table as performance figures use it, in which no person comes twice, and
takes it in turns: psql's COPY TO in binary, to nowhere, in the order of the file and in the order of the key;
the store's reader; with digests and chunks; with what is sought and the persons, as a child process seals
partitions; and the whole stage `seal`, with two of them at work, from the case as surveyed to the statement
in the log. The best of each counts, so that ratios survive a busy machine; where it is so busy that they do
not, the processor time that a row took of the server and of its reader does. Prints the most memory that a
process took, too.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cenotaph import kernel
from cenotaph.annex import Annex
from cenotaph.records import Chunker, Digester
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import PART, SealTask, Target, seal_partition
from cenotaph.store import Partition, Reader
from cenotaph.stores.postgres import open_reader

if __name__ != "__mp_main__":  # children import this file, too, and what tests need takes them a second
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
            best = measured(steps(server.url(name), Path(folder)), turns, server.process.pid)
    finally:
        server.stop()
    print(f"{kernel.described()}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    peer = best["COPY, order of the file"][0]
    for what, (seconds, serving, reading) in best.items():
        busy = f"{serving / rows * 1e9:6.0f} + {reading / rows * 1e9:5.0f} ns of processors a row"
        print(f"{what:26} {rows / seconds / 1e6:6.2f} M rows/s  {peer / seconds:5.2f} of COPY  {busy}")
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

    return {
        "COPY, order of the file": copied(url, "tests"),
        "COPY, order of the key": copied(url, "(SELECT * FROM tests ORDER BY id)"),
        **reading(reader, target, partitions, annex),
        "cenotaph seal": case.seal,
    }


def reading(
    reader: Reader, target: Target, partitions: Sequence[Partition], annex: Annex
) -> dict[str, Callable[[], object]]:
    """Reading partitions, with digests and chunks, and sealing them as a child process does."""

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

    return {"read into Arrow": read, "read and digested": digested, "partitions sealed": sealed}


def copied(url: str, query: str) -> Callable[[], object]:
    """The server's own COPY to nowhere."""
    line = ["psql", "-qXd", url, "-c", f"COPY {query} TO STDOUT (FORMAT BINARY)"]
    return lambda: subprocess.check_call(line, stdout=subprocess.DEVNULL)  # noqa: S603


def surveyed(url: str, folder: Path, said: str = "") -> SmallCase:
    """A case about the table, of which this is said too, ready to be sealed."""
    case = SmallCase.make(folder, STORE.format(url) + said, limits="")
    said = case.path / "case.toml"
    said.write_text(said.read_text("utf-8").replace("workers = 1", "workers = 2"), "utf-8")
    case.go("open", "survey")
    return case


def measured(
    steps: dict[str, Callable[[], object]], turns: int, server: int
) -> dict[str, tuple[float, float, float]]:
    """The least seconds of each step, and of processor time, of the server and of all else that runs here."""
    best = dict.fromkeys(steps, (float("inf"),) * 3)
    for _ in range(turns):
        for what, step in steps.items():
            start, served, all_busy = time.perf_counter(), _busy(server), _busy(os.getpid())
            step()
            seconds = time.perf_counter() - start
            time.sleep(0.2)  # until the server has counted what the session took that ended
            serving = _busy(server) - served
            took = (seconds, serving, _busy(os.getpid()) - all_busy - serving)
            best[what] = tuple(map(min, best[what], took))
    return best


def _busy(root: int) -> float:
    """Seconds of processor time of a process and of all that descend from it, living and gone (proc(5))."""
    processes = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        processes[int(entry.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    ticks, of_root = 0, {root}
    for pid in sorted(processes):
        if pid == root or processes[pid][0] in of_root:
            of_root.add(pid)
            ticks += processes[pid][1]
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]]
    main(sizes[0] if sizes else 1_000_000, sizes[1] if sizes[1:] else TURNS)
