"""Holds that do not say what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from cenotaph.errors import UsageError
from cenotaph_proof.statements import Inventory
from small_case import SmallCase, people, table

STORE = '[[store]]\nname = "health"\nurl = "sqlite:../estate/health.db"\n\n'
HOLD = '[[hold]]\nby = "District court"\ncollections = ["{}"]\n\n'


def test_a_hold_on_a_collection_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """One capital letter wrong, and the evidence would go: no survey is signed with such a hold."""
    case = _case(tmp_path, HOLD.format("Court"))

    with pytest.raises(UsageError, match="District court names a collection that no store"):
        case.go(last="survey")

    assert case.now().latest(Inventory) is None


def test_a_hold_by_pattern_holds(tmp_path: Path) -> None:
    """The control: the same hold, spelt as the table is, holds all its rows."""
    case = _case(tmp_path, HOLD.format("cou*"))

    case.go(last="survey")

    (store,) = case.now().require(Inventory).body(Inventory).stores
    assert [(c.name, c.records, c.held) for c in store.collections] == [("court", 0, 6), ("visits", 8, 0)]


def _case(root: Path, hold: str) -> SmallCase:
    table(root / "estate" / "health.db", "visits", people(0, 8))
    table(root / "estate" / "health.db", "court", people(20, 6))
    return SmallCase.make(root, STORE + hold)
