"""A seal is the same, whoever computes it, in whatever order, and however often it was interrupted."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
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
from servers import wait_until
from small_case import SmallCase, people

FILES = '[[store]]\nname = "exports"\nurl = "files:../estate"\nsubject = { "*" = "id_number" }\n'
KEY = bytes(range(32))
KILLS = 100 if os.environ.get("CENOTAPH_CRASH") == "every" else 4
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
    for nth, (workers, computed) in enumerate(ways):
        root = tmp_path / f"way-{nth}"
        shutil.copytree(tmp_path / "made", root)
        command = [sys.executable, "-c", SEAL, str(workers), "seal", "--case", str(root / "case")]
        subprocess.run(command, env=_computed_by(computed), check=True, capture_output=True)
        made = SmallCase(root)
        seals.append(made.now().require(Seal).body(Seal))
    first = seals[0]
    assert first.records == 160_000
    assert first.persons == 600
    for other in seals:
        assert _sealed(other) == _sealed(first)


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_killed_at_random_points(tmp_path: Path) -> None:
    """SIGKILL to all processes, or to one of them, at any moment of a seal, or of one that goes on
    after another kill: nothing of it is left running, it is gone on with, and comes to the same. A kill that
    came too late is not counted."""
    for file in range(8):
        write(tmp_path / "made" / "estate" / f"folder-{file}", file, 20_000)
    SmallCase.make(tmp_path / "made", FILES).go("open", "survey")
    shutil.copytree(tmp_path / "made", tmp_path / "whole")
    begun = time.monotonic()
    _seal(tmp_path / "whole")
    lasts = time.monotonic() - begun
    whole = _sealed(SmallCase(tmp_path / "whole").now().require(Seal).body(Seal))
    dice, kills, seals, root = random.Random(6), Counter[str](), 0, tmp_path / "killed"
    while kills.total() < KILLS:
        shutil.copytree(tmp_path / "made", root)
        before = kills.total()
        while SmallCase(root).now().latest(Seal) is None and dice.random() < 0.7:
            kills[_killed(root, dice, dice.random() * lasts)] += 1
            del kills["too late"]
        if SmallCase(root).now().latest(Seal) is None:
            _seal(root)
        assert _sealed(SmallCase(root).now().require(Seal).body(Seal)) == whole
        seals += kills.total() > before
        shutil.rmtree(root)
    print(f"{dict(kills)} in {seals} seals, of which one takes {lasts:.1f} s")
    assert min(kills["all"], kills["one"]) >= KILLS // 5


def _sealed(seal: Seal) -> tuple[object, ...]:
    return seal.root, seal.stores, seal.persons


def _computed_by(name: str) -> dict[str, str]:
    return {**os.environ, "CENOTAPH_KERNEL": name} if name else dict(os.environ)


def _seal(root: Path) -> None:
    subprocess.run(_command(root), check=True, capture_output=True)


def _command(root: Path) -> list[str]:
    return [sys.executable, "-c", SEAL, "2", "seal", "--case", str(root / "case")]


def _killed(root: Path, dice: random.Random, seconds: float) -> str:
    """Begin a seal, or go on with one, and after a while kill all processes of it, or one that may be any."""
    running = subprocess.Popen(
        _command(root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        running.wait(seconds)
        return "too late"
    except subprocess.TimeoutExpired:
        pass
    if dice.random() < 0.5:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        return "all"
    with contextlib.suppress(ProcessLookupError):  # it had ended by itself
        os.kill(dice.choice(_session(running.pid)), signal.SIGKILL)
    running.wait(60)
    wait_until(lambda: not _session(running.pid))
    return "one"


def _session(leader: int) -> list[int]:
    """All processes of a session, as /proc has them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = path.read_text().rpartition(")")[2].split()
            if int(after_name[3]) == leader and after_name[0] != "Z":
                found.append(int(path.parent.name))
    return found
