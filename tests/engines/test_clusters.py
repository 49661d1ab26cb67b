"""A case that is sealed on real clusters, by the command: the same seal, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import clusters
import pytest

import postgres_server
from cenotaph_proof.statements import Seal, SealStore
from small_case import STORES, SmallCase, build_estate, people

pytestmark = pytest.mark.slow
CHILD = "cenotaph.engines.child"


def _wants(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if not _there(name)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed (make spark): {', '.join(missing)}")


def _there(name: str) -> bool:
    try:
        return clusters.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def sail(scratch: Path) -> Iterator[clusters.Cluster]:
    with clusters.sail(scratch) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def spark(scratch: Path) -> Iterator[clusters.Cluster]:
    with clusters.standalone(scratch) as cluster:
        yield cluster


@pytest.fixture
def case(tmp_path: Path) -> SmallCase:
    build_estate(tmp_path / "estate")
    case = SmallCase.make(tmp_path, STORES)
    case.go("open", "survey")
    return case


def _seal(case: SmallCase, *words: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", "from cenotaph.cli.main import main; main()"),
            *("seal", "--case", str(case.path), "--json", *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **clusters.here(case.root), "PYTHONPATH": os.pathsep.join(sys.path), **variables},
    )


def _on(cluster: clusters.Cluster) -> tuple[str, ...]:
    return "--engine", cluster.address, "--workers", "2"


def _ended(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = run.communicate(timeout=280)
    return run.returncode, out, errors


def _told(case: SmallCase) -> tuple[str, int, int | None, tuple[SealStore, ...]]:
    seal = case.now().require(Seal).body(Seal)
    return seal.root, seal.records, seal.persons, seal.stores


@_wants("pysail", "pyspark", "grpc")
@pytest.mark.parametrize("kernel", ["", "off"])
def test_sail_seals_the_same(case: SmallCase, sail: clusters.Cluster, kernel: str) -> None:
    """Over Spark Connect, with the kernel and without, what is sealed is what is sealed here."""
    code, out, errors = _ended(_seal(case, *_on(sail), CENOTAPH_KERNEL=kernel))
    assert code == 0, errors
    assert json.loads(out.splitlines()[-1])["records"] == 50
    there = _told(case)
    case.seal()
    assert there == _told(case)
    case.go("plan", "challenge")


@_wants("pysail", "pyspark", "grpc")
def test_what_a_store_says_on_a_cluster_is_what_it_says_here(case: SmallCase, sail: clusters.Cluster) -> None:
    """The error of a worker that cannot read a store is told in its words, with its exit code."""
    (case.root / "estate" / "health.db").write_bytes(b"no database")
    far, near = _ended(_seal(case, *_on(sail))), _ended(_seal(case))
    assert far[0] == near[0] == 1
    assert _error(far[2]) == _error(near[2]) != ""


def _error(told: str) -> str:
    return "".join(line for line in told.splitlines() if line.startswith("cenotaph: error: store health"))


@_wants("pysail", "pyspark", "grpc", "psycopg")
def test_tables_of_a_server_are_read_by_the_workers(tmp_path: Path, sail: clusters.Cluster) -> None:
    """They connect by the address in the case; what they seal is what is sealed here."""
    postgres_server.need()
    server = postgres_server.shared()
    rows = ", ".join(f"({n}, '{p.identity}', '{p.phone}')" for n, p in enumerate(people(0, 40)))
    name = server.database(
        "CREATE TABLE visits (id int PRIMARY KEY, id_number text, phone text)",
        f"INSERT INTO visits VALUES {rows}",
    )
    case = SmallCase.make(tmp_path, f'[[store]]\nname = "register"\nurl = "{server.url(name)}"\n')
    case.go("open", "survey")
    code, _, errors = _ended(_seal(case, *_on(sail)))
    assert code == 0, errors
    there = _told(case)
    case.seal()
    assert there == _told(case)
    assert there[1] == 40


@_wants("pyspark.sbin", "py4j")
def test_killed_workers_change_nothing(case: SmallCase, spark: clusters.Cluster) -> None:
    """On Spark's own cluster a child of ours, then a worker of Python, then an executor is killed while it
    works. The seal is the one that is made here."""
    run = _seal(case, *_on(spark))
    killed: list[str] = []
    thread = threading.Thread(target=_kill, args=(run, spark, killed), daemon=True)
    thread.start()
    code, _, errors = _ended(run)
    thread.join(10)

    assert code == 0, errors
    assert killed == [CHILD, "pyspark.daemon", "CoarseGrainedExecutorBackend"]
    there = _told(case)
    case.seal()
    assert there == _told(case)


def _kill(run: subprocess.Popen[str], cluster: clusters.Cluster, killed: list[str]) -> None:
    """One of each kind, whenever a child of ours is at work."""
    at_work: set[int] = set()
    for kind in (CHILD, "pyspark.daemon", "CoarseGrainedExecutorBackend"):
        while run.poll() is None:
            fresh = set(cluster.processes(CHILD)) - at_work
            if fresh and (found := cluster.processes(kind)):
                at_work |= fresh
                if clusters.kill(max(found)):
                    killed.append(kind)
                    break
            time.sleep(0.02)
