"""What is sent to a cluster is enough, and no more; what comes back is read strictly."""

from __future__ import annotations

import io
import lzma
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from bare_worker import BareWorker
from click.testing import CliRunner
from worker_tasks import bring, fed

import cenotaph
from cenotaph.annex import AnnexError
from cenotaph.cli.main import cli
from cenotaph.engines import apart, feeder, parcel, shared
from cenotaph.errors import DriftError, EngineError, PartialError, UsageError
from cenotaph.stages import seal as stage
from cenotaph.stores import open_reader
from cenotaph_proof.statements import Seal
from small_case import SmallCase, csv, people, put

FILES = '[[store]]\nname = "exports"\nurl = "files:../estate"\n'


def test_only_sources_and_the_kernel_are_sent() -> None:
    """The parcel has the files of our packages that workers need, as they are."""
    with zipfile.ZipFile(io.BytesIO(lzma.decompress(parcel.code()))) as archive:
        names = archive.namelist()
        sealing = archive.read("cenotaph/sealing.py")

    assert sealing == (Path(cenotaph.__file__).parent / "sealing.py").read_bytes()
    assert {name.partition("/")[0] for name in names} <= set(parcel.PACKAGES)
    assert {Path(name).suffix for name in names} <= {".py", ".so"}
    assert not [
        name for name in names if name.startswith(("cenotaph/cli", "cenotaph/stages", "cenotaph/desk"))
    ]
    assert len(parcel.code()) < 900_000  # above 1 MiB, Spark writes it to a file on the driver, with tasks


def test_a_worker_that_has_never_heard_of_us_seals_the_same(tmp_path: Path) -> None:
    """With four libraries and the function alone, the seal is the one that is made here; needles and persons
    too. Nothing of it is readable on the way."""
    who = people(0, 30)
    put(tmp_path / "estate" / "visits.csv", csv(who))
    case = SmallCase.make(tmp_path, FILES)
    case.go("open", "survey")
    here = stage.seal(case.desk(), open_reader).body(Seal)
    (tmp_path / "worker").mkdir()
    worker = _Overheard(tmp_path / "worker")

    there = stage.seal(case.desk(), open_reader, elsewhere=stage.Elsewhere(worker, 1)).body(Seal)

    assert (there.root, there.records, there.persons) == (here.root, 30, here.persons)
    assert there.stores == here.stores
    session = case.session()
    assert session.seal == there
    assert len(session.needles().known(session.case_key)) >= 60
    (rows,) = worker.heard
    assert rows
    assert not any(value.encode() in row[4] for row in rows for p in who for value in (p.identity, p.phone))


class _Overheard(BareWorker):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.heard: list[list[tuple[int, int, int, bool, bytes]]] = []

    def rows(self, work: parcel.Work) -> list[tuple[int, int, int, bool, bytes]]:
        self.heard.append(super().rows(work))
        return self.heard[-1]


def test_answers_come_whole_and_errors_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long answers come in pieces; an error of ours is that error; another one is its class and its place,
    since its message could be a person. Of a child that is killed the cluster hears."""
    monkeypatch.setattr(feeder, "PIECE", 1000)
    rows = fed(bring, "a" * 1000, "", "drift", "never begun")
    first = [row for row in rows if row[0] == 0]

    found = parcel.answers(reversed(rows), 4)
    assert (next(found), next(found)) == (b"a" * 3000, b"")
    with pytest.raises(DriftError, match="the store moved") as drift:
        next(found)
    assert drift.value.hint == "look at it"
    for part in (first[:-1], first[1:], []):
        with pytest.raises(PartialError):
            next(parcel.answers(part, 1))
    with pytest.raises(EngineError, match=r"a task ended in ValueError at \S+") as bug:
        next(parcel.answers(fed(bring, "bug"), 1))
    assert "Zhang" not in bug.value.message
    with pytest.raises(RuntimeError, match="-9"):
        fed(bring, "die")


def test_a_child_ends_with_the_worker_that_started_it(tmp_path: Path) -> None:
    """Whoever kills a worker has nobody go on reading."""
    told = tmp_path / "pid"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    worker = subprocess.Popen(
        [sys.executable, "-c", f"import worker_tasks as w; w.fed(w.bring, 'sleep {told}')"],
        env={**os.environ, "PYTHONPATH": path},
    )
    child = _soon(lambda: int(told.read_text() or 0) if told.exists() else 0)

    worker.kill()
    worker.wait()

    assert _soon(lambda: not Path(f"/proc/{child}").exists())


def _soon(ask):  # type: ignore[no-untyped-def]
    for _ in range(600):
        found = ask()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen within half a minute")


def test_what_another_task_found_is_not_taken(tmp_path: Path) -> None:
    """An answer is bound to its task and to the case's key."""
    from cenotaph.annex import Annex
    from cenotaph.sealing import SealTask, bring_home

    annex = Annex(tmp_path, "00" * 16)
    answer, _ = annex.encrypt("apart needles-1", bytes(32), b"{}\n")
    task = SealTask(None, None, bytes(32), annex, "needles-2")  # type: ignore[arg-type]
    with pytest.raises(AnnexError):
        bring_home(task, answer)


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        ("ray://head:1", UsageError, "no engine"),
        ("spark://", UsageError, "no engine"),
        ("/tmp/cluster", UsageError, "no engine"),
        ("spark://host:port", UsageError, "HOST:PORT"),
        ("spark://127.0.0.1:1", EngineError, "nobody answers"),
        ("sc://127.0.0.1:1/;token=s3cret", EngineError, "nobody answers"),
    ],
)
def test_an_address_that_leads_nowhere_is_said_so(address: str, error: type[Exception], told: str) -> None:
    """At once, without a token that it may hold, and before the case is touched."""
    with pytest.raises(error, match=told) as raised:
        apart(address)

    assert "s3cret" not in str(raised.value)
    ended = CliRunner().invoke(cli, ["seal", "--case", "/nowhere", "--engine", address])
    assert ended.exit_code == (2 if error is UsageError else 1)
    assert told in ended.stderr


@pytest.mark.parametrize(("tasks", "workers"), [(0, 2), (1, 2), (40, 2), (1000, 3), (7, 100)])
def test_tasks_are_shared_in_runs(tasks: int, workers: int) -> None:
    """Every task once and in order, no run longer than what may be lost; few runs, the short ones last."""
    runs = list(shared(list(range(tasks)), workers))

    assert [task for run in runs for task in run] == list(range(tasks))
    assert all(0 < len(run) <= 32 for run in runs)
    assert [len(run) for run in runs] == sorted((len(run) for run in runs), reverse=True)
    assert len(runs) <= tasks // 32 + 8 * workers


def test_nothing_is_erased_from_a_cluster() -> None:
    """`destroy` says so, before it looks at anything."""
    ended = CliRunner().invoke(cli, ["destroy", "--case", "/nowhere", "--engine", "spark://127.0.0.1:1"])
    assert ended.exit_code == 2
    assert "only seal takes an engine" in ended.stderr
