"""A seal is the same, whoever computes it, in whatever order, and however often it was interrupted."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cenotaph import kernel
from cenotaph.annex import Annex
from cenotaph.residue.sought import KnownSought
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import PART, PartitionResult, SealTask, Target, needle_key, seal_partition
from cenotaph.stores import open_reader
from cenotaph_proof.statements import Seal
from small_case import SmallCase, people

FILES = '[[store]]\nname = "exports"\nurl = "files:../estate"\nsubject = { "*" = "id_number" }\n'
KEY = bytes(range(32))
SEAL = """
import sys
from cenotaph.cli.main import main
from cenotaph.engines import local
run, number = local.run, int(sys.argv.pop(1))
local.run = lambda function, tasks, workers: run(function, tasks, workers=number)
main()
"""  # the case's file, which everybody approved, says how many workers there are
KERNELS = (None, *(kernel.Kernel(level) for level in kernel.native.levels())) if kernel.found() else (None,)


def write(folder: Path, file: int, rows: int) -> None:
    """Rows of a few hundred people, in row groups that end within chunks. Every second file has the same."""
    draw = np.random.default_rng(file % 2)
    who = people(300 * (file % 2), 300)
    several = [who[n] for n in draw.integers(0, len(who), rows).tolist()]
    columns = {
        "id_number": [p.identity.lower() if n % 7 else f" {p.identity}" for n, p in enumerate(several)],
        "phone": [p.phone for p in several],
        "at": pa.array(np.cumsum(draw.integers(1, 9, rows)), pa.timestamp("us")),
        "place": draw.integers(0, 99, rows).astype(np.int32),
        "note": [f"somebody{n}@example.org" if n < 20 else None for n in range(rows)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{file}.parquet", row_group_size=1_777)


class Workers:
    """Some workers who seal partitions in this process, one after the other."""

    def __init__(self, root: Path, by: kernel.Kernel | None, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(kernel, "found", lambda: by)
        self.url = f"files:{root / 'estate'}"
        reader = open_reader(self.url, EVERYTHING)
        (self.collection,) = reader.collections()
        self.partitions = reader.partitions(self.collection)
        reader.close()
        self.annex = Annex(root / "annex", "ab" * 32)

    def seal(self, runs: Sequence[Sequence[int]]) -> list[PartitionResult]:
        """Each run's partitions; the results in the order of the inventory."""
        target = Target(
            open_reader, self.url, EVERYTHING, "exports", self.collection.name, 0, "key",
            ((0, "id"), (1, "phone"), (4, "text")), 0,
        )  # fmt: skip
        names = itertools.count()
        found: dict[int, PartitionResult] = {}
        for run in runs:
            worker = os.urandom(4).hex()
            for index in run:
                part = f"{PART}{next(names)}-{worker}"
                found[index] = seal_partition(
                    SealTask(target, self.partitions[index], KEY, self.annex, part, worker)
                )
        return [found[index] for index in sorted(found)]

    def comes_to(self, results: Sequence[PartitionResult]) -> tuple[object, ...]:
        """What is sealed, who is counted, and which of everybody's values are sought."""
        parts = [self.annex.read(name, KEY, digest) for r in results for name, digest in r.parts]
        known = KnownSought(parts, needle_key(KEY))
        everybody = [
            value for p in people(0, 700)[::40] for value in (p.identity, p.identity.lower(), p.phone)
        ]
        sought = [known.contains(pa.array(everybody), "id").tolist(), len(known)]
        subjects = np.unique(np.concatenate([np.frombuffer(r.subjects, np.uint64) for r in results]))
        return [r.chunks for r in results], subjects.tolist(), sought


def test_whoever_computes_it_and_in_whatever_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernel on every instruction set, or none; one worker or several; forwards or backwards; begun again."""
    for file, rows in enumerate((6_000, 5_000, 100)):
        write(tmp_path / "estate", file, rows)
    monkeypatch.setattr("cenotaph.stores.files.reader.PARTITION_FILES", 1)
    found = []
    for by in KERNELS:
        workers = Workers(tmp_path, by, monkeypatch)
        for runs in ([[0, 1, 2]], [[2, 0], [1]], [[0], [0, 2, 1]]) if by in KERNELS[:2] else ([[0, 1, 2]],):
            found.append(workers.comes_to(workers.seal(runs)))

    assert len(found[0][0]) == 3
    assert len(found[0][1]) == 600
    for other in found[1:]:
        assert other == found[0]


@pytest.mark.slow
def test_as_commands_of_a_user(tmp_path: Path) -> None:
    """1, 2 and 8 workers; without the kernel and on every instruction set; killed on the way and resumed."""
    for file in range(16):
        write(tmp_path / "made" / "estate", file, 10_000)
        (tmp_path / "made" / "estate" / f"folder-{file % 8}").mkdir(exist_ok=True)
        shutil.move(tmp_path / f"made/estate/{file}.parquet", tmp_path / f"made/estate/folder-{file % 8}")
    SmallCase.make(tmp_path / "made", FILES).go("open", "survey")
    levels = [level.name.lower() for level in kernel.native.levels()] if kernel.found() else []
    ways = [(2, "off"), *((2, level) for level in levels), (1, ""), (8, "")]
    seals = []
    for nth, (workers, computed) in enumerate([*ways, *[(2, "")] * 4]):
        root = tmp_path / f"way-{nth}"
        shutil.copytree(tmp_path / "made", root)
        command = [sys.executable, "-c", SEAL, str(workers), "seal", "--case", str(root / "case")]
        if nth >= len(ways):
            _killed(command, 1 + 0.3 * (nth - len(ways)))
        subprocess.run(command, env=_computed_by(computed), check=True, capture_output=True)
        made = SmallCase(root)
        seals.append(made.now().require(Seal).body(Seal))
    first = seals[0]
    assert first.records == 160_000
    assert first.persons == 600
    for other in seals:
        assert (other.root, other.stores, other.persons) == (first.root, first.stores, first.persons)


def _computed_by(name: str) -> dict[str, str]:
    return {**os.environ, "CENOTAPH_KERNEL": name} if name else dict(os.environ)


def _killed(command: list[str], seconds: float) -> None:
    """Begin a seal, and kill it and all that it started; it may have ended before."""
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
