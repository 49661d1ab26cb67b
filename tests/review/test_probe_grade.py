"""What lowers a grade in a probe, and that a reason to reject is never hidden behind another."""

from __future__ import annotations

from types import SimpleNamespace

from cenotaph.stages import probe
from cenotaph.store import Capabilities, Grade


def test_collections_that_appeared_are_named_before_lesser_reasons():
    """All keep a store at L1; only these reject, so nothing else may hide them."""
    search = object.__new__(probe._Search)
    search.task = SimpleNamespace(asked="L2", planned="L2", planned_why="", keeper=None)
    search.reader = SimpleNamespace(capabilities=Capabilities(Grade.L2, ""))
    search.needles = ()
    search.unread, search.appeared, search.left, search.restored = 1, 2, (), ()

    grade, why = search._grade(rows=0, residue=0, strangers=0, moved=True, runs_on=False)

    assert grade == "L1"
    assert probe.APPEARED in why
