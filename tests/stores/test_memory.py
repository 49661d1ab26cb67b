"""The store in memory passes the contract, and the contract catches each of its lies."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from cenotaph.errors import PermanentStoreError, RefusedError, TransientStoreError
from cenotaph.scope import Hold, Selection, parse_predicate
from cenotaph.testing.contract import Estate, Log, StoreContract, erase, seals
from cenotaph.testing.memory import Failure, Lie, MemoryEraser, MemoryReader, MemoryStore


def people(numbers: range) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"id": n, "name": f"Person-{n:04d}", "city": "Wuxi" if n % 3 else "Suzhou"} for n in numbers]
    )


class MemoryEstate(Estate):
    def __init__(self, lies: frozenset[Lie] = frozenset()):
        self.store = MemoryStore({"people": people(range(20)), "other": people(range(20, 25))}, lies)
        hold = Hold(rows=parse_predicate("id = 4"))
        self.selection = Selection(("people",), rows=parse_predicate("city = 'Wuxi'"), holds=(hold,))
        self.needles = [f"Person-{n:04d}".encode() for n in (1, 2, 5, 7, 13, 14, 19)]
        self.bystanders = [f"Person-{n:04d}".encode() for n in (0, 3, 4, 20)]

    def open_reader(self) -> MemoryReader:
        return self.store.open_reader(self.selection)

    def open_eraser(self) -> MemoryEraser:
        return self.store.open_eraser(self.selection)

    def kept(self) -> object:
        kept = [row for row in self.store.rows("people") if row["city"] == "Suzhou" or row["id"] == 4]
        return kept, self.store.rows("other")

    def change_one(self) -> None:
        self.store.put("people", 1, pa.RecordBatch.from_pylist([{"id": 1, "name": "X", "city": "Wuxi"}]))


class TestMemory(StoreContract):
    """An honest `MemoryStore` passes."""

    survives_kills = False

    def make(self, folder: Path) -> Estate:
        return MemoryEstate()


CAUGHT_BY = {
    Lie.LEAVES_BYTES: "test_erasing_leaves_none_and_keeps_the_rest",
    Lie.KEEPS_ONE: "test_erasing_leaves_none_and_keeps_the_rest",
    Lie.TAKES_HELD: "test_held_and_kept_counts_stay",
    Lie.SKIPS_THE_SEAL: "test_drift_is_refused_with_nothing_changed",
    Lie.BEGINS_LATE: "test_the_seal_is_checked_before_begin_and_begin_comes_before_any_change",
    Lie.COUNTS_MORE: "test_partitions_are_disjoint_and_complete",
    Lie.HIDES_RAW: "test_raw_bytes_show_what_is_there",
    Lie.SHUFFLES: "test_the_same_batches_are_read_twice",
    Lie.OVERLAPS: "test_partitions_are_disjoint_and_complete",
    Lie.EXCUSES: "test_kept_ranges_lie_within_their_extent",
    Lie.FORGETS_PROGRESS: "test_a_run_that_stops_anywhere_is_resumed",
    Lie.TALKS: "test_nothing_said_contains_a_person",
}


@pytest.mark.parametrize("lie", Lie)
def test_the_contract_catches_every_lie(lie, tmp_path):
    """A store that tells this lie fails the test that is there for it, which an honest one passes."""

    class Lying(StoreContract):
        def make(self, folder: Path) -> Estate:
            return MemoryEstate(frozenset([lie]))

    test = getattr(Lying(), CAUGHT_BY[lie])
    argument = tmp_path if lie is Lie.FORGETS_PROGRESS else MemoryEstate(frozenset([lie]))

    with pytest.raises((AssertionError, RefusedError, pytest.fail.Exception)):
        test(argument)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure.LOCKED, TransientStoreError),
        (Failure.DAMAGED, PermanentStoreError),
        (Failure.REFUSED, RefusedError),
    ],
)
def test_a_store_that_is_told_to_fail_fails_with_that_class(failure, error):
    """Stages can rehearse each class of failure, and nothing is erased by a call that fails."""
    estate = MemoryEstate()
    (partition, sealed), *_ = seals(estate)
    before = estate.store.rows("people")
    estate.store.failures["erase"] = failure

    with pytest.raises(error):
        erase(estate, partition, sealed, Log())

    assert estate.store.rows("people") == before
