"""Partitions of one store, erased by several at once."""

from __future__ import annotations

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from cenotaph.errors import DriftError, PartialError
from cenotaph.journal import Journal
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.stages import challenge
from cenotaph.stages import destroy as stage
from cenotaph.store import Extent
from cenotaph.stores import open_eraser, open_reader
from cenotaph.stores.files import eraser
from cenotaph.stores.files import reader as files
from cenotaph.stores.files.eraser import FilesEraser
from cenotaph.stores.files.reader import FilesReader
from cenotaph_proof.statements import Challenge, Destruction, Plan
from small_case import SmallCase, csv, people, put

STORE = '[[store]]\nname = "apps"\nurl = "files:../estate"\ngrade = "L2"\nscope = "everything"\n\n'
FOLDERS = 4


@pytest.fixture
def apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallCase:
    """Four collections of one file each, approved; any number of records is worth it. They are not known by
    their bytes: that depends on how old a file is."""
    monkeypatch.setattr(stage, "TOGETHER", 1)
    monkeypatch.setattr(files, "_COARSEST", 10**18)
    for number in range(FOLDERS):
        put(tmp_path / "estate" / f"app{number}" / "records.csv", csv(people(10 * number, 10)))
    case = SmallCase.make(tmp_path, STORE)
    settings = case.path / "case.toml"
    settings.write_text(settings.read_text().replace("workers = 1", "workers = 2"))
    with monkeypatch.context() as patch:
        patch.setattr(stage.local, "run", lambda f, tasks, workers=2: ((t, f(t)) for t in list(tasks)))
        case.go("open", "approve-notary")
    return case


def left(case: SmallCase) -> list[str]:
    return sorted(p.parent.name for p in (case.root / "estate").rglob("*.csv"))


class Pairs:
    """Opens erasers that wait, before each partition, until another one is at work too."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2, timeout=20)

    def __call__(self, *given: Any) -> Any:
        eraser = open_eraser(*given)
        erase = eraser.erase

        def paired(*what: Any) -> Any:
            self.both.wait()
            return erase(*what)

        eraser.erase = paired  # type: ignore[method-assign]
        return eraser


def test_two_partitions_are_erased_at_the_same_time(apps: SmallCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two workers and one store, two erasers are at work at once, and everything is destroyed once."""
    monkeypatch.setattr(stage.local, "run", lambda f, tasks, workers=2: ((t, f(t)) for t in list(tasks)))
    desk = apps.desk()

    entry = stage.destroy(desk, open_reader, Pairs(), desk.case().require(Plan).digest)

    assert entry is not None
    assert entry.body(Destruction).complete
    assert left(apps) == []
    with Journal(desk.journal_path()) as journal:
        done = [(e.collection, e.body["records"]) for e in journal.entries() if e.kind == "done"]
    assert sorted(done) == [(number, 10) for number in range(FOLDERS)]
    apps.go("probe", "certify")
    assert apps.verdict().exit_code == 0


def test_a_collection_that_changed_stops_the_others_at_their_next(apps: SmallCase) -> None:
    """Drift in one partition: what is at hand elsewhere is finished and signed, and nothing new is begun."""
    changed = apps.root / "estate" / "app0" / "records.csv"
    changed.write_bytes(changed.read_bytes().replace(b"139", b"138"))

    with pytest.raises(DriftError):
        apps.destroy()

    remaining = left(apps)
    assert "app0" in remaining
    assert len(remaining) >= FOLDERS - 2
    with Journal(apps.desk().journal_path()) as journal:
        kinds = [e.kind for e in journal.entries()]
    assert kinds.count("begun") == kinds.count("done") == FOLDERS - len(remaining)


def test_a_store_that_fails_in_one_partition_goes_on_with_the_others(apps: SmallCase) -> None:
    """One file is in use: the others are erased, the failure is told, and a later run does the rest."""
    with (
        (apps.root / "estate" / "app1" / "records.csv").open("rb"),
        pytest.raises(PartialError, match="open by another process"),
    ):
        apps.destroy()

    assert left(apps) == ["app1"]
    apps.destroy()
    assert left(apps) == []


@pytest.mark.parametrize("large", [0, 1 << 40])
def test_several_search_a_store_for_what_was_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """All that was sampled is found. A large store is searched where it was read, and elsewhere for the rest
    alone, so that places count what was found until then."""
    monkeypatch.setattr(challenge, "LARGE", large)
    for number in range(FOLDERS):
        put(tmp_path / "estate" / f"app{number}" / "records.csv", csv(people(10 * number, 10)))
    case = SmallCase.make(tmp_path, STORE)
    settings = case.path / "case.toml"
    settings.write_text(settings.read_text().replace("workers = 1", "workers = 2"))

    case.go("open", "challenge")
    case.admit()

    found = {r.place: (r.sampled, r.found) for r in case.now().require(Challenge).body(Challenge).recall}
    assert found.pop("any place") == found.pop("file") == (80, 80)
    assert found == ({"names": (80, 0)} if large else {})


def test_what_is_not_where_it_was_read_is_sought_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large store that is wrong about where half of its records lie: two workers, each with every other
    place, find what is missing."""
    monkeypatch.setattr(challenge, "LARGE", 0)
    monkeypatch.setattr(challenge.local, "run", lambda of, tasks, workers: ((t, of(t)) for t in tasks))
    told, raw_at = itertools.count(), FilesReader.raw_at
    monkeypatch.setattr(FilesReader, "raw_at", lambda *given: raw_at(*given) if next(told) % 2 else iter(()))
    for number in range(4):
        put(tmp_path / "estate" / f"app{number}" / "records.csv", csv(people(10 * number, 10)))
    case = SmallCase.make(tmp_path, STORE)
    case.go("open", "plan")
    searched = mock.Mock(side_effect=challenge.recall_store)
    monkeypatch.setattr(challenge, "recall_store", searched)

    case.go("challenge", "challenge")
    case.admit()

    found = {r.place: (r.sampled, r.found) for r in case.now().require(Challenge).body(Challenge).recall}
    assert found["any place"] == found["file"] == (80, 80)
    sought = [len(Needles.from_bytes(call.args[0].sample)) for call in searched.call_args_list]
    assert sought == [40]


@pytest.mark.parametrize(
    ("first", "sought", "opened"),
    [(5, 5, 1), (2, 5, 2), (5, 6, 10)],
    ids=["all in the first place", "some in the second", "one nowhere"],
)
def test_a_large_store_is_searched_until_all_is_found(first: int, sought: int, opened: int) -> None:
    """Ten places; five people are in the first, or some of them there and the rest in the second: what is
    behind is not opened. Who is nowhere keeps the search going to the end."""
    builder = NeedleBuilder(b"k" * 32)
    builder.add(pa.array([p.identity for p in people(0, sought)]), "id")
    was_opened: list[int] = []
    places = [csv(people(0, first)), csv(people(first, 5 - first)), *[csv(people(0, 5))] * 8]
    target = _target(places, was_opened)

    found = challenge.recall_store(challenge.RecallTask(target, builder.finish().to_bytes(), large=True))

    assert found is not None
    assert len(found["file"]) == 5
    assert len(was_opened) == opened


def _target(places: list[bytes], opened: list[int]) -> Any:
    def extent(number: int) -> Extent:
        def open_() -> io.BytesIO:
            opened.append(number)
            return io.BytesIO(places[number])

        return Extent("file", str(number), len(places[number]), open_, np.zeros((0, 2), np.int64))

    reader = mock.Mock()
    reader.raw = lambda: (extent(number) for number in range(len(places)))
    return mock.Mock(opener=lambda *_: reader)


def test_files_with_the_sealed_bytes_are_not_read_record_by_record(
    apps: SmallCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the seal through its annex to the eraser. What was changed since is."""
    monkeypatch.setattr(stage.local, "run", lambda f, tasks, workers=2: ((t, f(t)) for t in list(tasks)))
    monkeypatch.setattr(files, "_COARSEST", 0)  # files of a test are younger
    monkeypatch.setattr(FilesReader, "_notes", lambda *_: True)
    apps.go("seal", "approve-notary")
    decoded: list[str] = []
    monkeypatch.setattr(
        FilesEraser, "_sealed_batches", lambda self, bounds, *_: decoded.append(bounds.collection) or []
    )
    changed = tmp_path / "estate" / "app2" / "records.csv"
    changed.write_bytes(changed.read_bytes().replace(b"2020", b"2O2O").replace(b"2021", b"2O21"))
    desk = apps.desk()

    with pytest.raises(DriftError):
        stage.destroy(desk, open_reader, open_eraser, desk.case().require(Plan).digest)

    assert [name.partition("/")[0] for name in decoded] == ["app2"]
    assert "app2" in left(apps)
    assert len(left(apps)) < FOLDERS


@pytest.mark.parametrize(("known", "large", "threads"), [(False, True, 2), (True, True, 4), (True, False, 1)])
def test_who_waits_for_the_disk_is_not_alone(
    apps: SmallCase, monkeypatch: pytest.MonkeyPatch, known: bool, large: bool, threads: int
) -> None:
    """Large files that are known by their bytes are erased by twice as many; small ones by one."""
    monkeypatch.setattr(stage.local, "run", lambda f, tasks, workers=2: ((t, f(t)) for t in list(tasks)))
    monkeypatch.setattr(files, "_COARSEST", 0 if known else 10**18)
    monkeypatch.setattr(FilesReader, "_notes", lambda *_: True)
    monkeypatch.setattr(eraser, "_LARGE", 1 if large else 1 << 20)
    asked: list[int] = []
    monkeypatch.setattr(stage, "ThreadPoolExecutor", lambda n: asked.append(n) or ThreadPoolExecutor(n))
    apps.go("seal", "approve-notary")
    desk = apps.desk()
    stage.destroy(desk, open_reader, open_eraser, desk.case().require(Plan).digest)
    assert asked == ([threads] if threads > 1 else [])
    assert left(apps) == []
