"""How fast are Parquet files sealed, beside decoding them alone, and beside others who hash rows?

Makes a part of a city's batch (`cenotaph.testing.city_batch`: zstd, row groups of a million) and measures, in
two processes or threads each: decoding alone, by pyarrow and by the kernel; rows digested and cut into
chunks; partitions sealed while everybody in them is new, and again when the worker knows them, which is how
it is in all but the first of a large batch; the whole stage. Peers that give a digest a row, and no order,
count or tree: polars with polars-hash, DuckDB. Prints records a second, as a share of decoding too, and
processor time, but for the stage's, whose processes are a server's. Best of five.

    python bench/seal.py [RECORDS [RESIDENTS]]      # default: 8,000,000 of 7,500,000 residents
    python -m pip install polars polars-hash duckdb # the peers; what is missing is said and left out
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module, util
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "2")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pyarrow.parquet as pq

from cenotaph import kernel
from cenotaph.annex import Annex
from cenotaph.records import Chunker, Digester
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import PART, SealTask, Target, seal_partition
from cenotaph.stores import open_reader
from cenotaph.stores.files.tables import columnar
from cenotaph.testing.city_batch import Residents, write_app
from small_case import SmallCase

FILES, WORKERS, TURNS = 4, 2, 5
STORE = '[[store]]\nname = "batch"\nurl = "files:../batch"\nsubject = { "*" = "id_number" }\n'
COLUMNS = ("id_number", "at", "place", "result", "phone", "app")
STAGE = "cenotaph seal"
QUOTED = [f'"{name}"' for name in COLUMNS]


def main() -> None:
    records = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 8_000_000
    residents = int(sys.argv[2].replace(",", "")) if len(sys.argv) > 2 else 7_500_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "batch").mkdir()
        city = Residents.make(residents)
        for app in range(FILES):
            write_app(folder / f"batch/app-{app}.parquet", app, records // FILES, city)
        del city
        print(f"{records:,} records of {residents:,} residents; {kernel.described()}; best of {TURNS}")
        with Team() as team:
            best = measured({**ours(folder, team), **peers(folder)}, team)
    wall, busy = best["decoded"]
    for what, (seconds, processor) in best.items():
        each, beyond = processor / records * 1e9, (processor - busy) / records * 1e9
        took = f"; {each:6.0f} ns each, {beyond:6.0f} beyond decoding" if what != STAGE else ""
        print(
            f"{what:34} {records / seconds / 1e6:6.2f} M records/s, {wall / seconds:5.2f} of decoding{took}"
        )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


class Team:
    """Processes that stay: each has its own files, and tells its processor time."""

    def __enter__(self) -> Team:
        context = get_context("forkserver")
        self._pools = [ProcessPoolExecutor(1, context) for _ in range(WORKERS)]
        self.busy = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools:
            pool.shutdown()

    def each(self, work: Callable[[Any], None], items: Sequence[Any]) -> None:
        waiting = [self._pools[n % WORKERS].submit(timed, work, item) for n, item in enumerate(items)]
        self.busy += sum(one.result() for one in waiting)


def timed(work: Callable[[Any], None], item: Any) -> float:
    start = time.process_time()
    work(item)
    return time.process_time() - start


def measured(steps: dict[str, Callable[[], object]], team: Team) -> dict[str, tuple[float, float]]:
    """The least seconds of each step, and of processor time."""
    best = dict.fromkeys(steps, (float("inf"),) * 2)
    for _ in range(TURNS):
        for what, step in steps.items():
            team.busy, used, start = 0.0, _used(), time.perf_counter()
            step()
            seconds = time.perf_counter() - start
            took = (seconds, team.busy or _used() - used)
            best[what] = (min(best[what][0], took[0]), min(best[what][1], took[1]))
    return best


def _used() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────


def ours(folder: Path, team: Team) -> dict[str, Callable[[], object]]:
    files = sorted((folder / "batch").iterdir())
    url = f"files:{folder / 'batch'}"
    reader = open_reader(url, EVERYTHING)
    (batch,) = reader.collections()
    order = batch.name, batch.ordinal, batch.order
    target = Target(open_reader, url, EVERYTHING, "batch", *order, ((0, "id"), (4, "phone")), 0)
    partitions = reader.partitions(batch)
    annex = Annex(folder / "annex", "ab" * 32)
    case = SmallCase.make(folder, STORE)
    said = case.path / "case.toml"
    said.write_text(said.read_text("utf-8").replace("workers = 1", f"workers = {WORKERS}"), "utf-8")
    case.go("open", "survey")
    run = ["ab"]

    def sealed() -> None:
        parts = [f"{PART}{p.index}" for p in partitions]
        tasks = zip(partitions, parts, strict=True)
        team.each(seal_partition, [SealTask(target, p, bytes(32), annex, part, run[0]) for p, part in tasks])

    def sealed_anew() -> None:
        run[0] = os.urandom(4).hex()
        sealed()

    return {
        "decoded": lambda: team.each(decode, files),
        "decoded by the kernel": lambda: team.each(decode_pages, files),
        "digested, cut into chunks": lambda: team.each(digest, files),
        "partitions sealed, all people new": sealed_anew,
        "partitions sealed, all known": sealed,
        STAGE: case.seal,
    }


def decode(path: Path) -> None:
    for _ in pq.ParquetFile(path).iter_batches(use_threads=False):
        pass


def decode_pages(path: Path) -> None:
    with path.open("rb") as stream:
        for _ in columnar("parquet", stream):
            pass


def digest(path: Path) -> None:
    digester, chunker = Digester(bytes(64)), Chunker()
    with path.open("rb") as stream:
        for batch in columnar("parquet", stream):
            digester.write(batch, *chunker.room(batch.num_rows))
            chunker.filled(batch.num_rows)
    chunker.finish()


# ── peers ────────────────────────────────────────────────────────────────────────────────────────


def peers(folder: Path) -> dict[str, Callable[[], object]]:
    files = str(folder / "batch" / "*.parquet")
    found: dict[str, Callable[[], object]] = {}
    for needed, what, hashed in (
        (("polars", "polars_hash"), "polars-hash sha2_256", with_polars),
        (("duckdb",), "DuckDB sha256", with_duckdb),
    ):
        if all(util.find_spec(name) for name in needed):
            found[what] = lambda hashed=hashed: hashed(files)  # type: ignore[misc]
        else:
            print(f"{what}: not installed")
    return found


def with_polars(files: str) -> None:
    polars, _ = import_module("polars"), import_module("polars_hash")
    row = polars.concat_str([polars.col(name).cast(polars.String) for name in COLUMNS], separator="\x1f")
    polars.scan_parquet(files).select(row.chash.sha2_256().str.len_bytes().sum()).collect()


def with_duckdb(files: str) -> None:
    with import_module("duckdb").connect(config={"threads": WORKERS}) as database:
        query = f"SELECT sum(length(sha256(concat_ws(chr(31), {', '.join(QUOTED)})))) FROM '{files}'"  # noqa: S608
        database.sql(query).fetchall()


if __name__ == "__main__":
    main()
