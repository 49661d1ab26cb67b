"""Sealing a partition: what its values and its free text add to the needles, and whose records they are."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenotaph import sealing
from cenotaph.annex import Annex
from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.records import Tagged
from cenotaph.residue.sought import KnownSought
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import (
    PART,
    PartitionResult,
    SealedPartition,
    SealTask,
    Target,
    leaves,
    needle_key,
    numbers_in,
    partition_chunks,
    seal_partition,
    within,
)
from cenotaph.store import Partition
from cenotaph_proof.seal import ChunkSeal

KEY = bytes(32)
PEOPLE = [f"13800{n:06d}" for n in range(400)]


def test_people_inside_lines_are_sought_by_their_numbers():
    """A JSON line names a person by number: the number is a needle of its own, once."""
    lines = pa.array(
        [
            b'{"id":"110105194912310021","tel":"13912345678"}',
            b'{"id":"11010519491231002X","tel":"13912345678"}',
            None,
            "呼叫 13800138000，地址不详".encode(),
        ],
        pa.binary(),
    )

    found = {kind: numbers.to_pylist() for kind, numbers in numbers_in(lines).items()}

    assert found == {
        "id": [b"110105194912310021", b"11010519491231002X"],
        "phone": [b"13800138000", b"13912345678"],
    }


def test_neither_longer_runs_of_digits_nor_neighbours_make_a_number():
    """A number ends where its value ends; part of a longer run is not a number."""
    assert numbers_in(pa.array(["1391234", "5678", "9913912345678", "20211391234567812345"])) == {}


def test_columns_without_text_add_nothing():
    """Integers, empty columns and nulls are passed over."""
    assert numbers_in(pa.array([1, 2])) == {}
    assert numbers_in(pa.array([], pa.string())) == {}
    assert numbers_in(pa.array([None], pa.string())) == {}


def test_values_are_found_at_whatever_depth_they_lie():
    """In lists, structs, mixed columns and a store's own bytes; dates and decimals as they are written."""
    mixed = pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()),
        pa.array([0, 0, 1], pa.int32()),
        [pa.array(["a", None]), Tagged("postgresql:numeric").array([b"\1"])],
    )
    nested = pa.array([[{"v": "b", "n": 7}], None, []])
    written = pa.array([datetime.date(2020, 2, 29)])

    def all_of(column: pa.Array) -> list[object]:
        return [value for part in leaves(column) for value in part.to_pylist()]

    assert all_of(mixed) == ["a", None, b"\1"]
    assert all_of(nested) == ["b", 7]
    assert all_of(written) == ["2020-02-29"]
    assert all_of(pa.array([True])) == []


class Rows:
    """A store of people by number: a partition's bounds say from which to which."""

    def batches(self, partition: Partition) -> Any:
        start, end = (int(bound) for bound in partition.bounds.split())
        for at in range(start, end, 50):
            names = pa.array(PEOPLE[at : min(end, at + 50)])
            yield pa.RecordBatch.from_arrays(
                [names, names, pa.array(range(len(names)))], names=["who", "tel", "n"]
            )
        if partition.index == 13:
            raise PermanentStoreError("cut off")

    def close(self) -> None:
        pass


class Run:
    """Partitions sealed in this process, as one run or as several."""

    def __init__(self, folder: Path, run: str) -> None:
        self.annex, self.run, self.done = Annex(folder / run, "ab" * 32), run, 0

    def seal(self, start: int, end: int, *, store: str = "one", index: int = 0) -> PartitionResult:
        self.done += 1
        target = Target(
            lambda *_: Rows(),
            "",
            EVERYTHING,
            store,
            "c",
            0,
            "key",
            ((0, "id"), (1, "phone")),
            0,  # type: ignore[arg-type,return-value]
        )
        partition = Partition(0, index, end - start, f"{start} {end}")
        return seal_partition(SealTask(target, partition, KEY, self.annex, f"{PART}{self.done}", self.run))

    def sought(self, *results: PartitionResult) -> list[bool]:
        parts = [self.annex.read(name, KEY, digest) for r in results for name, digest in r.parts]
        return KnownSought(parts, needle_key(KEY)).contains(pa.array(PEOPLE), "id").tolist()


def persons(result: PartitionResult) -> int:
    return len(np.frombuffer(result.subjects, np.uint64))


def test_a_worker_gives_in_one_run_what_is_new(tmp_path: Path) -> None:
    """Together its partitions give everybody, as several runs do; who is counted is counted by store."""
    run = Run(tmp_path, "ab")
    first, again, more = run.seal(0, 200), run.seal(0, 200), run.seal(100, 300)
    other = run.seal(0, 200, store="two")

    assert [persons(r) for r in (first, again, more, other)] == [200, 0, 100, 200]
    assert (len(first.parts), again.parts, other.parts) == (1, (), ())
    assert first.chunks == again.chunks != other.chunks
    assert run.sought(first, again, more) == [True] * 300 + [False] * 100
    alone = [Run(tmp_path, "").seal(0, 200) for _ in range(2)]
    assert [persons(r) for r in alone] == [200, 200]
    assert alone[0].chunks == first.chunks
    assert persons(Run(tmp_path, "cd").seal(0, 200)) == 200  # another run in the same process


@pytest.mark.parametrize("content", [None, bytes(31) + b"\n"])
def test_a_result_is_kept_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    """In the annex while a seal is interrupted, and on its way from a cluster."""
    result = replace(Run(tmp_path, "").seal(0, 50), content=content)
    assert PartitionResult.from_bytes(result.to_bytes()) == result


def test_a_known_person_may_bring_what_is_new() -> None:
    """A row of persons who are known is passed over where they come together as they did, and only there."""
    target = Target(lambda *_: Rows(), "", EVERYTHING, "one", "c", 0, "key", ((0, "id"), (1, "phone")), 0)  # type: ignore[arg-type,return-value]
    memory = sealing._Memory(SealTask(target, Partition(0, 0, 0, ""), KEY, Annex(Path(), "ab" * 32), PART))

    def given(who: list[str], phones: list[str]) -> int:
        values = sealing._Values(memory, target)
        values.add(pa.RecordBatch.from_arrays([pa.array(who), pa.array(phones)], names=["who", "tel"]))
        values.flush()
        data = memory.builder.take()
        return 0 if data is None else len(KnownSought([data], needle_key(KEY)))

    assert given(PEOPLE[:3], PEOPLE[10:13]) == 6
    assert given([*PEOPLE[:3], PEOPLE[0]], [*PEOPLE[10:13], PEOPLE[20]]) == 1
    assert given([PEOPLE[0], "no number", "no number"], [PEOPLE[20], PEOPLE[20], "none"]) == 2
    assert given([PEOPLE[1], "no number", PEOPLE[2]], [PEOPLE[20], "none", PEOPLE[10]]) == 0
    assert persons_of(memory.subjects) == 4


def persons_of(subjects: sealing.Subjects) -> int:
    return len(np.frombuffer(subjects.take(), np.uint64))


def test_what_an_error_kept_from_being_given_is_given_again(tmp_path: Path) -> None:
    """A partition that could not be read to its end has written nothing: a worker must not believe it has."""
    run = Run(tmp_path, "ef")
    with pytest.raises(PermanentStoreError):
        run.seal(0, 200, index=13)

    assert persons(run.seal(0, 200)) == 200


@pytest.mark.parametrize("limits", [{"MOST_WAITING": 120}, {"MOST_REMEMBERED": 120}])
def test_what_is_gathered_goes_to_the_annex_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    """A partition of more people than are held gives several parts, or forgets some; nobody is lost."""
    whole = Run(tmp_path, "").seal(0, 400)
    for name, most in limits.items():
        monkeypatch.setattr(sealing, name, most)
    run = Run(tmp_path, tmp_path.name)

    found = run.seal(0, 400)

    assert len(found.parts) > 1
    assert replace(found, parts=(), subjects=b"") == replace(whole, parts=(), subjects=b"")
    assert {*np.frombuffer(found.subjects, np.uint64)} == {*np.frombuffer(whole.subjects, np.uint64)}
    assert run.sought(found) == [True] * 400


TABLE = Target(lambda *_: Rows(), "", EVERYTHING, "one", "c", 0, "digest", (), None)  # type: ignore[arg-type,return-value]


def batches(*people: str) -> list[pa.RecordBatch]:
    return [pa.record_batch({"phone": [one]}) for one in people]


def sealed(*people: str, begun: bytes | None = None, listed: bool = True) -> SealedPartition:
    chunks = [ChunkSeal(c.records, c.bytes, c.hash) for c in partition_chunks(KEY, TABLE, batches(*people))]
    return SealedPartition(KEY, TABLE, chunks, begun, listed=listed)


def test_what_remains_of_a_begun_partition_was_sealed_as_often() -> None:
    """Of equal records as many may remain as were sealed, and not one more; nor any other."""
    whole = ["a", "b", "b", "c"]
    seal = sealed(*whole)
    seal.check(batches(*whole))
    begun = sealed(*whole, begun=seal.digests)

    assert [begun.check_remaining(batches(*rest)) for rest in ([], ["b"], ["c", "b", "b"], whole)] == [
        0,
        1,
        3,
        4,
    ]
    for rest in (["a", "a"], ["b"] * 3, ["d"], [*whole, "d"], [*whole, "a"]):
        with pytest.raises(DriftError, match="not sealed"):
            begun.check_remaining(batches(*rest))


def test_no_digests_are_gathered_for_a_store_that_proves_what_remains() -> None:
    """Neither held nor written: a list takes longer to keep than to check against."""
    seal = sealed("a", "b", listed=False)
    seal.check(batches("b", "a"))

    assert seal.digests == b""
    with pytest.raises(DriftError, match="changed"):
        seal.check(batches("a", "x"))


@given(st.integers(0, 40), st.integers(0, 12), st.sets(st.integers(0, 8), max_size=5))
def test_a_batch_has_rows_of_the_places_that_it_reaches(at: int, rows: int, chosen: set[int]) -> None:
    """Which places, and which of its rows, as a comparison of every row with every place tells."""
    wanted = [(5 * place, 5 * place + 5) for place in sorted(chosen)]
    every = [
        (nth, row)
        for nth, (first, end) in enumerate(wanted)
        for row in range(rows)
        if first <= at + row < end
    ]

    assert [(nth, row) for nth, low, high in within(at, rows, wanted) for row in range(low, high)] == every


@pytest.mark.parametrize(
    ("sizes", "handed"), [([10_000, 10_000], [1, 1]), ([3_000] * 7, [3, 3, 1]), ([], [])]
)
def test_small_batches_are_handed_over_together(sizes: list[int], handed: list[int]) -> None:
    """In their order, and none is left: of a hundred thousand small files each is a batch."""
    batches = [pa.record_batch({"n": pa.array(range(size))}) for size in sizes]
    done: list[pa.RecordBatch] = []

    sealing.behind(done.append, batches)

    assert done == batches
    assert [len(several) for several in sealing._gathered(batches)] == handed


def test_small_batches_of_large_rows_are_not_held_together() -> None:
    """Memory is bounded by bytes, whatever a row has."""
    large = pa.record_batch({"photo": [bytes(3 << 20)]})
    assert [len(several) for several in sealing._gathered([large] * 5)] == [2, 2, 1]
