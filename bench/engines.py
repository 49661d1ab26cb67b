"""What does a cluster cost, and what does it bring? One batch, sealed here and on clusters of this machine.

    make spark TESTS=none && .venv/bin/python bench/engines.py [RECORDS] [--runs N]     # default: 10000000, 3

Sail (Spark Connect without Java) and Spark's own cluster, of a master and two workers of one core each, are
started for it, and read the same files as child processes here do, two partitions at once. Seconds have the
session in them (Spark: a JVM here, and two executors). Processor time is of a cluster and of the command; of
sealing here it lacks the child processes, which nobody waits for.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from scale import APPS, CASE, PARTIES, built, processes

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "engines"))
import clusters  # the tests' own

from cenotaph.kernel import described
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.statements import Seal

COMMAND = (sys.executable, "-c", "from cenotaph.cli.main import main; main()")
RESIDENTS = 7_500_000


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("records", nargs="?", type=int, default=10_000_000)
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--folder", type=Path, default=None, help="for the batch: 20 bytes a record")
    given = asked.parse_args()
    missing = [name for name in ("pyspark", "pysail") if find_spec(name) is None]
    if missing:
        print(f"not measured: {', '.join(missing)} not installed (make spark)")
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        folder = Path(scratch)
        prepare(folder, given.records)
        print(f"{given.records:,} records, {os.cpu_count()} processors, {described()}")
        print("| engine | s | M records/s | processor, ns a record | of here |")
        print("|---|---|---|---|---|")
        roots, here = set(), 0.0
        with clusters.sail(folder) as sail, clusters.standalone(folder) as spark:
            taken: dict[str, list[tuple[float, float]]] = {"here": [], "Sail": [], "Spark": []}
            for _ in range(given.runs):
                for name, cluster in (("here", None), ("Sail", sail), ("Spark", spark)):
                    seconds, processor, root = sealed(folder, cluster)
                    taken[name].append((seconds, processor))
                    roots.add(root)
        for name, runs in taken.items():
            seconds = statistics.median(s for s, _ in runs)
            processor = statistics.median(p for _, p in runs) / given.records * 1e9
            here = here or seconds
            rate = given.records / seconds / 1e6
            print(f"| {name} | {seconds:.1f} | {rate:.2f} | {processor:.0f} | {here / seconds:.2f} |")
        print(f"{len(roots)} root of {3 * given.runs} seals")
        print(f"load {os.getloadavg()[0]:.1f}")


def prepare(folder: Path, records: int) -> None:
    """A batch, and a case that is surveyed."""
    share, rest = divmod(records, APPS)
    work = []
    for app in range(APPS):
        path = folder / "batch" / f"app-{app:02d}" / "records.parquet"
        path.parent.mkdir(parents=True)
        work.append((path, app, share + (app < rest), min(RESIDENTS, records)))
    with processes(2) as pool:
        list(pool.map(built, work))
    (folder / "keys").mkdir()
    (folder / "case").mkdir()
    for organisation, role, name in PARTIES:
        SecretKey.generate(organisation, role).save(folder / "keys" / name)
    (folder / "case" / "case.toml").write_text(CASE)
    run(folder, "open")
    for name in ("audit-co", "zhao"):
        run(folder, "approve", "--charter", "--key", f"../keys/{name}")
    run(folder, "survey")


def sealed(folder: Path, cluster: clusters.Cluster | None) -> tuple[float, float, str]:
    """Seconds, processor seconds, and the root."""
    words = ["--engine", cluster.address, "--workers", "2"] if cluster is not None else []
    before, begun = used(cluster), time.monotonic()
    run(folder, "seal", *words)
    seconds, processor = time.monotonic() - begun, used(cluster) - before
    return seconds, processor, CaseFolder(folder / "case").replay().require(Seal).body(Seal).root


def used(cluster: clusters.Cluster | None) -> float:
    """Processor seconds of children that ended, and of a cluster's processes."""
    mine = resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + (cluster.processor() if cluster is not None else 0.0)


def run(folder: Path, *words: str) -> None:
    env = {**os.environ, **clusters.here(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    case = folder / "case"
    quiet = subprocess.DEVNULL
    subprocess.run([*COMMAND, *words], cwd=case, stdout=quiet, stderr=quiet, check=True, env=env)  # noqa: S603 - our own


if __name__ == "__main__":
    main()
