"""The one suite that every store passes. Subclass `StoreContract`, give it an estate, and pytest runs it.

    class TestFiles(StoreContract):
        def make(self, folder: Path) -> Estate: ...

A lie is caught here or nowhere: `tests/stores/test_memory.py` shows each of these tests failing on a
store that tells the lie it is there for.
"""

from __future__ import annotations

import abc
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pytest

from cenotaph.durable import write_file
from cenotaph.errors import DriftError
from cenotaph.scope import Selection
from cenotaph.store import Class, Collection, Eraser, Erasure, Grade, Partition, Reader, State


class Estate(abc.ABC):
    """A store with known content: records that go, records that are held, records out of scope."""

    selection: Selection
    needles: Sequence[bytes]  # each found raw while the selected records are there, and in none that stays
    bystanders: Sequence[bytes]  # each found raw before and after
    lives_in: tuple[str, ...] = ("cenotaph/stores/", "cenotaph/durable.py")  # where a kill may strike

    @abc.abstractmethod
    def open_reader(self) -> Reader: ...

    @abc.abstractmethod
    def open_eraser(self) -> Eraser: ...

    @abc.abstractmethod
    def kept(self) -> object:
        """What must be the same afterwards, seen without the store's own code: for files their bytes."""

    @abc.abstractmethod
    def change_one(self) -> None:
        """Change one selected record, as an application would."""


class Rows:
    """A `PartitionSeal` that remembers the rows themselves: for tests alone."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._rows = list(_rows(batches))
        self.content: bytes | None = None  # what `store.Bytewise` says of them
        self.checked = self.held = 0

    @property
    def records(self) -> int:
        return len(self._rows)

    def check(self, batches: Iterable[pa.RecordBatch]) -> None:
        if list(_rows(batches)) != self._rows:
            raise DriftError("the records are not those that were sealed")
        self.checked += 1

    def holds(self, content: bytes) -> bool:
        same = content == self.content
        self.held += same
        return same

    def check_remaining(self, batches: Iterable[pa.RecordBatch]) -> int:
        rows = list(_rows(batches))
        if Counter(rows) - Counter(self._rows):
            raise DriftError("a record remains that was not sealed")
        return len(rows)


class Stopped(Exception):  # not an error: a pause, or a window that closed
    """What a `Log` raises where it was told to stop."""


@dataclass
class Log:
    """A `Progress` that writes down what it was told and stops where it was told to.

    `path` makes `begin` durable in a file, for runs in a process that will be killed.
    """

    begun: State | None = None
    stop_at: int = 0  # raise at the n-th call, 0: never
    path: Path | None = None
    sealed: Rows | None = None
    events: list[str] = field(default_factory=list)
    checked_before_begin: bool = True

    def begin(self, state: State) -> None:
        assert self.begun is None, "begin was called on a partition that had begun"
        if self.sealed is not None:
            self.checked_before_begin = self.sealed.checked + self.sealed.held > 0
        self._call("begin-called")
        text = json.dumps(state)
        if self.path is not None:
            write_file(self.path, text.encode())
        self.begun = json.loads(text)
        self._call("begun")

    def advance(self, records: int, bytes: int) -> None:
        assert self.begun is not None, "advance was called before begin"
        self._call("advance")

    def _call(self, event: str) -> None:
        self.events.append(event)
        if len(self.events) == self.stop_at:
            raise Stopped(event)


class ReaderContract:
    """What `store.py` promises of a reader, one test a promise."""

    def make(self, folder: Path) -> Estate:
        """A fresh estate beneath `folder`, the same each time but for its place."""
        raise NotImplementedError

    @pytest.fixture
    def estate(self, tmp_path: Path) -> Estate:
        return self.make(tmp_path)

    def test_the_same_batches_are_read_twice(self, estate: Estate) -> None:
        """Two readers give the same rows in the same order."""
        assert read_all(estate) == read_all(estate)
        assert any(rows for _, rows in read_all(estate)), "the estate has no records: nothing is tested"

    def test_partitions_are_disjoint_and_complete(self, estate: Estate) -> None:
        """All partitions of a collection together hold exactly its selected records."""
        with opened(estate) as reader:
            for collection in reader.collections():
                partitions = reader.partitions(collection)
                assert [partition.index for partition in partitions] == list(range(len(partitions)))
                assert {partition.collection for partition in partitions} <= {collection.ordinal}
                assert sum(partition.records for partition in partitions) == collection.records

    def test_counts_are_those_of_the_batches(self, estate: Estate) -> None:
        """A partition states as many records as reading it gives; batches are no larger than promised."""
        with opened(estate) as reader:
            for collection in reader.collections():
                for partition in reader.partitions(collection):
                    sizes = [batch.num_rows for batch in reader.batches(partition)]
                    assert sum(sizes) == partition.records
                    assert max(sizes, default=0) <= 65_536

    def test_collections_are_numbered_in_order_of_their_names(self, estate: Estate) -> None:
        """Ordinals stand for names in everything that is published, so they follow from the names."""
        with opened(estate) as reader:
            collections = reader.collections()
        names = [collection.name for collection in collections]
        assert names == sorted(set(names))
        assert [collection.ordinal for collection in collections] == list(range(len(names)))

    def test_reading_changes_nothing(self, estate: Estate) -> None:
        """Collections, partitions, batches, copies and raw bytes are read without a trace."""
        before = estate.kept()
        first = everything_of(estate)
        assert everything_of(estate) == first
        assert estate.kept() == before

    def test_a_watermark_moves_with_a_change(self, estate: Estate) -> None:
        """The watermark of at least one collection moves when a record changes; it rests otherwise."""
        first = watermarks(estate)
        assert watermarks(estate) == first
        estate.change_one()
        assert watermarks(estate) != first

    def test_raw_bytes_show_what_is_there(self, estate: Estate) -> None:
        """The positive control: before erasing, each needle and bystander is found in the raw bytes."""
        found = raw_bytes(estate)
        assert [needle for needle in estate.needles if needle not in found] == []
        assert [needle for needle in estate.bystanders if needle not in found] == []
        assert estate.needles

    def test_kept_ranges_lie_within_their_extent(self, estate: Estate) -> None:
        """Ranges are sorted and disjoint, and no needle is wholly inside one."""
        with opened(estate) as reader:
            for extent in reader.raw():
                flat = extent.kept.reshape(-1).tolist()
                assert flat == sorted(flat)
                assert not flat or (flat[0] >= 0 and flat[-1] <= extent.length)
                with extent.open() as stream:
                    data = stream.read()
                assert len(data) == extent.length
                for low, high in extent.kept.tolist():
                    assert not any(needle in data[low:high] for needle in estate.needles)

    def test_a_grade_below_the_highest_is_explained(self, estate: Estate) -> None:
        """Whoever is refused a grade reads why."""
        with opened(estate) as reader:
            able = reader.capabilities
        assert able.grade is Grade.L5 or able.why_not_higher


class StoreContract(ReaderContract):
    """What `store.py` promises of a reader and its eraser."""

    kills = 40  # at most so many kill points a partition where CENOTAPH_CRASH says `every`
    kills_at_least = 6  # and elsewhere; all of them where there are fewer
    survives_kills = True

    def test_the_seal_is_checked_before_begin_and_begin_comes_before_any_change(self, estate: Estate) -> None:
        """Stopped inside `begin`, the store is as it was, and the seal has been checked."""
        before = everything_of(estate)
        for partition, sealed in seals(estate):
            log = Log(stop_at=1, sealed=sealed)
            with pytest.raises(Stopped):
                erase(estate, partition, sealed, log)
            assert log.checked_before_begin
        assert everything_of(estate) == before

    def test_erasing_leaves_none_and_keeps_the_rest(self, estate: Estate) -> None:
        """After erasing and reclaiming no needle is found raw; what stays is byte-identical."""
        kept = estate.kept()
        assert set(estate.needles) - absent(estate), "no needle was there: nothing is tested"
        total = 0
        for partition, sealed in seals(estate):
            erasure = erase(estate, partition, sealed, Log())
            assert erasure.records == sealed.records == partition.records
            assert erasure.destroyed_as in (Class.AS_SEALED, Class.WATCHED)
            total += erasure.records
        assert total
        reclaim(estate)
        assert absent(estate) == set(estate.needles)
        assert [b for b in estate.bystanders if b not in raw_bytes(estate)] == []
        assert estate.kept() == kept
        assert not any(rows for _, rows in read_all(estate))

    def test_held_and_kept_counts_stay(self, estate: Estate) -> None:
        """Erasing takes the selected records; as many are held and out of scope as before."""
        before = totals(estate)
        for partition, sealed in seals(estate):
            erase(estate, partition, sealed, Log())
        assert totals(estate) == (0, before[1], before[2])

    def test_drift_is_refused_with_nothing_changed(self, estate: Estate) -> None:
        """A record that changed since the seal: `DriftError` for its partition, which stays as it is."""
        sealed_partitions = seals(estate)
        estate.change_one()
        before = everything_of(estate)
        refused = 0
        for partition, sealed in sealed_partitions:
            log = Log(sealed=sealed, stop_at=1)
            with pytest.raises((DriftError, Stopped)) as caught:
                erase(estate, partition, sealed, log)
            if caught.type is not Stopped:
                refused += 1
                assert not log.events
                assert clean(str(caught.value) + repr(caught.value), estate)
        assert refused == 1
        assert everything_of(estate) == before

    def test_erasing_twice_is_a_success(self, estate: Estate) -> None:
        """Nothing left to erase is a success, with the same count."""
        for partition, sealed in seals(estate):
            log = Log()
            first = erase(estate, partition, sealed, log)
            again = erase(estate, partition, sealed, Log(begun=log.begun))
            assert again.records == first.records
        reclaim(estate)
        assert reclaim(estate) is not None

    def test_a_run_that_stops_anywhere_is_resumed(self, tmp_path: Path) -> None:
        """Stopped at each call of `Progress` in turn, the next run ends with the same result."""
        stops = 0
        for stop in range(1, 200):
            estate = self.make(fresh(tmp_path, f"stop{stop}"))
            kept = estate.kept()
            stopped = 0
            for partition, sealed in seals(estate):
                log = Log(stop_at=stop)
                try:
                    erase(estate, partition, sealed, log)
                except Stopped:
                    stopped += 1
                    erasure = erase(estate, partition, sealed, Log(begun=log.begun))
                    assert erasure.records == sealed.records
            finished(estate, kept)
            stops += stopped
            if not stopped:
                break
        assert stops

    @pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
    def test_a_run_that_is_killed_anywhere_is_resumed(self, tmp_path: Path) -> None:
        """Killed (SIGKILL) at lines of the store's code in turn, the next run ends with the same result."""
        if not self.survives_kills:
            pytest.skip("a store in memory ends with its process")
        lines = self._lines(fresh(tmp_path, "count"))
        every = os.environ.get("CENOTAPH_CRASH") == "every"
        step = max(1, lines // (self.kills if every else self.kills_at_least))
        killed = 0
        for at in range(1, lines + 1, step):
            estate = self.make(fresh(tmp_path, f"kill{at}"))
            kept = estate.kept()
            for index, (partition, sealed) in enumerate(seals(estate)):
                journal = tmp_path / f"journal{at}-{index}"
                killed += run_and_kill(estate, partition, sealed, journal, at) == -signal.SIGKILL
                begun = json.loads(journal.read_text()) if journal.exists() else None
                assert erase(estate, partition, sealed, Log(begun=begun)).records == sealed.records
            finished(estate, kept)
        assert killed

    def _lines(self, folder: Path) -> int:
        """How many lines of the store's code the longest erasing executes."""
        estate = self.make(folder)
        most = 0
        for partition, sealed in seals(estate):
            with counted(estate.lives_in) as count:
                erase(estate, partition, sealed, Log())
            most = max(most, count[0])
        return most

    # --- what is said ---

    def test_nothing_said_contains_a_person(self, estate: Estate) -> None:
        """No `repr` of anything that a store returns contains a needle."""
        said: list[object] = []
        with opened(estate) as reader:
            said.append(reader.capabilities)
            for collection in reader.collections():
                said += [collection, reader.copies(collection), reader.watermark(collection)]
                said += reader.partitions(collection)
                said.append(collection.notes)
            said += list(reader.raw())
        for partition, sealed in seals(estate):
            said.append(erase(estate, partition, sealed, Log()))
        said.append(reclaim(estate))
        assert clean(repr(said), estate)


# --- what the tests are made of -------------------------------------------------------------


@contextlib.contextmanager
def opened(estate: Estate) -> Iterator[Reader]:
    reader = estate.open_reader()
    try:
        yield reader
    finally:
        reader.close()


def erase(estate: Estate, partition: Partition, sealed: Rows, log: Log) -> Erasure:
    eraser = estate.open_eraser()
    try:
        return eraser.erase(partition, sealed, log)
    finally:
        eraser.close()


def reclaim(estate: Estate) -> object:
    eraser = estate.open_eraser()
    try:
        with opened(estate) as reader:
            return eraser.reclaim(_collections(estate, reader))
    finally:
        eraser.close()


def _collections(estate: Estate, reader: Reader) -> Sequence[Collection]:
    """The collections as they were surveyed; those that vanished since are remembered by the estate."""
    known: dict[str, Collection] = estate.__dict__.setdefault("_surveyed", {})
    for collection in reader.collections():
        known.setdefault(collection.name, collection)
    return list(known.values())


def seals(estate: Estate) -> list[tuple[Partition, Rows]]:
    """Each partition with its seal."""
    with opened(estate) as reader:
        found = []
        for collection in _collections(estate, reader):
            for partition in reader.partitions(collection):
                found.append((partition, Rows(reader.batches(partition))))
        return found


def read_all(estate: Estate) -> list[tuple[str, list[bytes]]]:
    with opened(estate) as reader:
        return [
            (partition.bounds, list(_rows(reader.batches(partition))))
            for collection in reader.collections()
            for partition in reader.partitions(collection)
        ]


def raw_bytes(estate: Estate) -> bytes:
    """All extents, one after the other."""
    parts = []
    with opened(estate) as reader:
        for extent in reader.raw():
            with extent.open() as stream:
                parts.append(stream.read())
    return b"\0\0".join(parts)


def absent(estate: Estate) -> set[bytes]:
    """The needles that are in no extent."""
    found = raw_bytes(estate)
    return {needle for needle in estate.needles if needle not in found}


def everything_of(estate: Estate) -> tuple[object, ...]:
    return (read_all(estate), raw_bytes(estate), totals(estate), estate.kept())


def totals(estate: Estate) -> tuple[int, int, int]:
    with opened(estate) as reader:
        found = reader.collections()
    return (sum(c.records for c in found), sum(c.held for c in found), sum(c.kept for c in found))


def watermarks(estate: Estate) -> dict[str, str]:
    with opened(estate) as reader:
        return {c.name: reader.watermark(c).value for c in reader.collections()}


def finished(estate: Estate, kept: object) -> None:
    """The end is the same, however many runs it took."""
    reclaim(estate)
    assert absent(estate) == set(estate.needles)
    assert estate.kept() == kept
    assert totals(estate)[0] == 0


def clean(text: str, estate: Estate) -> bool:
    """Whether no needle can be read in a text, in the encodings that `repr` writes."""
    shown = [n.decode("utf-8", "surrogateescape") for n in estate.needles]
    return not any(n in text or repr(n)[1:-1] in text for n in shown)


def fresh(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    for batch in batches:
        for row in batch.to_pylist():
            yield repr(list(row.items())).encode()


# --- killing --------------------------------------------------------------------------------


@contextlib.contextmanager
def counted(places: tuple[str, ...], stop: int = 0) -> Iterator[list[int]]:
    """Count executed lines of code in these places; at line number `stop`, kill this process."""
    count = [0]

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            count[0] += 1
            if count[0] == stop:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        return on_line if any(place in frame.f_code.co_filename for place in places) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield count
    finally:
        sys.settrace(before)


def run_and_kill(estate: Estate, partition: Partition, sealed: Rows, journal: Path, at: int) -> int:
    """Erase in a child process that is killed at its `at`-th line; its exit code (negative: a signal)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with counted(estate.lives_in, at):
                erase(estate, partition, sealed, Log(path=journal))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
