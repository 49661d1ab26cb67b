"""A search for nothing finds nothing, and shows nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from small_case import SmallCase


def test_a_store_of_short_values_only_stays_at_l1_and_can_be_certified(tmp_path: Path) -> None:
    """No value of it has six bytes, so none is searched for: the probe says so, and is no dead end."""
    (tmp_path / "estate").mkdir()
    with sqlite3.connect(tmp_path / "estate" / "codes.db") as db:
        db.execute("CREATE TABLE codes (id INTEGER PRIMARY KEY, colour TEXT)")
        db.executemany("INSERT INTO codes (colour) VALUES (?)", [(c,) for c in ("red", "green") * 20])
    db.close()
    case = SmallCase.make(tmp_path, '[[store]]\nname = "codes"\nurl = "sqlite:../estate/codes.db"\n\n')

    case.go(last="certify")

    (store,) = case.certificate().stores
    assert (store.destroyed, store.reached) == (40, "L1")
    assert "long enough to be searched for" in store.why_not_higher
