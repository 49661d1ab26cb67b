"""Killed at any change that it makes to the disk, a case goes on with the same command, and loses nothing.

The quick suite kills at a few changes of a few steps; `make crash` at every change of every step.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import killing
import pytest
from estates import ESTATES, KillEstate
from killing import How

from cenotaph_proof.statements import Destruction
from small_case import SmallCase, grep, packed_with

EVERY = os.environ.get("CENOTAPH_CRASH") == "every"
SAMPLE = 2
STEPS = tuple(SmallCase(Path()).steps())
STORE_STEPS = ("destroy", "probe", "certify")
pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True, slots=True)
class Reference:
    """An uninterrupted run: what lay on the disk before each step, and what it came to."""

    root: Path
    estate: KillEstate = field(repr=False)
    events: dict[str, tuple[str, ...]]
    counts: object
    stays: object = field(repr=False)

    def restore(self, step: str, to: Path) -> SmallCase:
        """The case as it was before the step, in an empty folder."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.root / step, to, symlinks=True)
        return SmallCase(to)


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """Filled by the tests, each estate once a process."""
    return {}


def reference(name: str, known: dict[str, Reference], factory: pytest.TempPathFactory) -> Reference:
    if name not in known:
        known[name] = _uninterrupted(name, factory.mktemp(name))
    return known[name]


def _uninterrupted(name: str, root: Path) -> Reference:
    live = root / "live"
    (live / "estate").mkdir(parents=True)
    built = ESTATES[name](live / "estate")
    assert grep(live / "estate", built.gone), "the values are there to be found"
    case = SmallCase.make(live, built.stores)
    events = {}
    for step, act in case.steps().items():
        shutil.copytree(live, root / step, symlinks=True)
        ended = killing.run(act)
        assert (ended.code, ended.said) == (0, ""), f"{step}: {ended.said}"
        events[step] = ended.events
    _check_gone(case, built)
    return Reference(root, built, events, counts(case), built.stays(live / "estate"))


def counts(case: SmallCase) -> object:
    """What was destroyed, by class and collection: in the certificate, and summed over destructions."""
    body = case.certificate()
    batches: Counter[tuple[str, int]] = Counter()
    for entry in case.now().all(Destruction):
        for store in entry.body(Destruction).stores:
            for item in store.collections:
                batches[store.name, item.ordinal] += item.records
    certified = [(s.name, s.sealed, s.held, s.kept, s.reached, s.collections) for s in body.stores]
    return certified, sorted(batches.items())


def _check_gone(case: SmallCase, built: KillEstate) -> None:
    """Nothing of what had to go is anywhere: not in the estate, nor in anything that cenotaph wrote."""
    assert grep(case.root, built.gone) == []
    assert packed_with(case.root, built.gone) == []
    assert list((case.path / "annex").rglob("*.sealed")) == []
    assert list((case.path / "statements" / "incoming").glob("*.share*")) == []
    assert case.verdict().exit_code == 0


def _points(count: int) -> Iterator[int]:
    """Every change; for the quick suite, some spread over the step."""
    if EVERY:
        return iter(range(count))
    return iter(sorted({round(count * (2 * i + 1) / (2 * SAMPLE)) for i in range(SAMPLE)} - {count}))


def _goes_on(ref: Reference, step: str, work: Path) -> None:
    """The same command again, then the rest of the way; the outcome is that of the uninterrupted run."""
    case = SmallCase(work)
    again = killing.run(case.steps()[step])
    assert (again.code, again.said) == (0, "")
    rest = STEPS[STEPS.index(step) + 1 : -1]  # without `publish`, which only copies
    if rest:
        last = killing.run(lambda: case.go(rest[0], rest[-1]))
        assert (last.code, last.said) == (0, "")
    assert counts(case) == ref.counts
    assert ref.estate.stays(work / "estate") == ref.stays
    _check_gone(case, ref.estate)


CASES = [("mixed", step) for step in STEPS] + [
    (name, step) for name in ESTATES if name != "mixed" for step in STORE_STEPS
]
ALONE = [name for name in ESTATES if name != "mixed"]
FULL = [(name, step) for name in ALONE for step in ("destroy", "certify")]
if not EVERY:
    CASES = [("mixed", "certify"), ("files-part", "destroy")]
    ALONE, FULL = ["sqlite-part"], [("files-part", "destroy")]


@pytest.mark.parametrize(("name", "step"), CASES)
def test_a_step_that_is_killed_anywhere_goes_on(
    name: str,
    step: str,
    references: dict[str, Reference],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    record_property: pytest.RecordProperty,
) -> None:
    """SIGKILL to all processes before any change of any step: the same command again, and the rest of the
    way, come to the same counts, the same survivors, a certificate that verifies, and no value left."""
    ref = reference(name, references, tmp_path_factory)
    points = list(_points(len(ref.events[step])))
    lost = []
    for point in points:
        case = ref.restore(step, tmp_path / "work")
        ended = killing.run(case.steps()[step], point)
        try:
            assert ended.killed, f"ended with {ended.code}: {ended.said}"
            _goes_on(ref, step, tmp_path / "work")
        except AssertionError as error:
            lost.append(f"killed before {point} ({ended.events[-1]}): {error}")
    record_property("kill points", len(points))
    record_property("survived", len(points) - len(lost))
    assert not lost, "\n\n".join(lost)


@pytest.mark.parametrize("name", ALONE)
def test_a_process_that_is_killed_alone_leaves_nothing_running(
    name: str,
    references: dict[str, Reference],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    record_property: pytest.RecordProperty,
) -> None:
    """Only the process that makes the change dies, worker or command: the rest ends by itself, says
    *partial* or is gone, and the same command goes on."""
    ref = reference(name, references, tmp_path_factory)
    points = list(_points(len(ref.events["destroy"])))
    lost = []
    for point in points:
        case = ref.restore("destroy", tmp_path / "work")
        ended = killing.run(case.steps()["destroy"], point, How.ALONE)
        try:
            assert not ended.orphans, "a worker outlived the command"
            assert ended.killed or ended.code == 5, f"ended with {ended.code}: {ended.said}"
            _goes_on(ref, "destroy", tmp_path / "work")
        except AssertionError as error:
            lost.append(f"killed alone before {point} ({ended.events[-1]}): {error}")
    record_property("kill points", len(points))
    record_property("survived", len(points) - len(lost))
    assert not lost, "\n\n".join(lost)


@pytest.mark.parametrize(("name", "step"), FULL)
def test_a_disk_that_is_full_from_any_write_on_loses_nothing(
    name: str,
    step: str,
    references: dict[str, Reference],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    record_property: pytest.RecordProperty,
) -> None:
    """Every write from some point on fails: the command says so and ends without success; with room again,
    the same command goes on."""
    ref = reference(name, references, tmp_path_factory)
    events = ref.events[step]
    writes = [at for at, event in enumerate(events) if event.startswith(killing.WRITES)]
    points = [writes[i] for i in _points(len(writes))]
    lost = []
    for point in points:
        case = ref.restore(step, tmp_path / "work")
        ended = killing.run(case.steps()[step], point, How.DISK_FULL)
        try:
            assert ended.code in (1, 5), f"ended with {ended.code}: {ended.said}"
            _goes_on(ref, step, tmp_path / "work")
        except AssertionError as error:
            lost.append(f"full from {point} ({events[point]}): {error}")
    record_property("full disks", len(points))
    record_property("survived full disks", len(points) - len(lost))
    assert not lost, "\n\n".join(lost)
