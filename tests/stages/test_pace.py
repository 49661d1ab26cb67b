"""How fast a stage goes, what a destruction will cost, and how far that was off."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cenotaph import cost, pace
from cenotaph.cli import costs, watching
from cenotaph.pace import Pace, Share
from cenotaph.progress import quiet
from cenotaph_proof.statements import Destruction, Plan
from small_case import SmallCase

GONE = 2**22 - 1  # above every process number that Linux gives by default


def at_work(**changes: object) -> Pace:
    """A stage that has sealed a quarter, and another had sealed a quarter before."""
    given = {
        "stage": "seal",
        "what": "records sealed",
        "process": os.getpid(),
        "since": 0.0,
        "seconds": 10.0,
        "ended": False,
        "stores": {"visits": Share(records=4_000, bytes=8_000_000, before=1_000, done=1_000)},
    }
    return Pace(**{**given, **changes})  # type: ignore[arg-type]


def test_time_left_counts_what_this_run_did(tmp_path: Path) -> None:
    """A thousand in ten seconds, two thousand to go: twenty more, whatever an earlier run had done."""
    assert at_work().left == 20.0


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Another process reads how far each store is, and that the stage ended."""
    told = []
    stores = {"visits": Share(100, 5_000), "export": Share(50, 100, before=50)}
    with pace.kept(tmp_path, "seal", "records", stores, lambda *said: told.append(said)) as keeper:
        keeper.done("visits", 40)
        keeper.write(ended=False)
        read = pace.now(tmp_path)
        assert read is not None
        assert read.alive
        assert read.stores == {"visits": Share(100, 5_000, done=40), "export": Share(50, 100, before=50)}
        keeper.done("visits", 60)

    assert told == [("records", 40, 100), ("records", 100, 100)]
    last = pace.now(tmp_path)
    assert last is not None
    assert not last.alive
    (line,) = pace.ended(tmp_path, "seal")
    assert (line["records"], line["bytes"]) == (100, 5_000)


def test_a_stage_that_failed_is_not_gone_by(tmp_path: Path) -> None:
    """What ended with an error says nothing of how long the whole takes."""
    with pytest.raises(ZeroDivisionError), pace.kept(tmp_path, "seal", "records", {}, quiet):
        raise ZeroDivisionError

    assert pace.ended(tmp_path, "seal") == []
    assert pace.now(tmp_path).ended  # type: ignore[union-attr]


def test_a_killed_stage_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file says that it is at work, and there is no such process."""
    killed = at_work(process=GONE)

    assert not killed.alive
    assert "KILLED: run the same command again" in watching.table(killed, None)[0]


def test_a_watcher_sees_rates_and_their_share_of_the_disk() -> None:
    """A thousand records in ten seconds are a hundred a second; their bytes, a share of the disk."""
    head, *rows = watching.table(at_work(), cost.Disk(read=1e6, write=1e9))

    assert head.startswith("seal: records sealed, 10 s so far")
    cells = rows[1].split()
    assert cells == ["visits", "2,000", "4,000", "100", "0.2", "20%", "20", "s"]


def test_a_case_is_predicted_and_compared(tmp_path: Path) -> None:
    """The plan says what it will take, from the seal's pace; once all is destroyed, how far that was off."""
    from small_case import STORES, build_estate

    build_estate(tmp_path / "estate")
    case = SmallCase.make(tmp_path, STORES)
    case.go("open", "seal")
    (sealed,) = pace.ended(case.path, "seal")
    assert sealed["records"] == 50
    desk = case.desk()
    case.plan()
    plan = desk.case().require(Plan)

    lines, numbers = costs.predict(desk, plan)
    case.go("challenge", "destroy")
    compared, in_numbers = costs.compare(desk, desk.case().require(Destruction))

    assert lines[1].startswith("It will take about ")
    assert numbers["predicted"]["seconds"] > sealed["seconds"]
    assert numbers["predicted"]["disk"] is None  # so little needs no look at the disk
    (run,) = pace.ended(case.path, "destroy")
    assert in_numbers == {"seconds": run["seconds"], "predicted_seconds": numbers["predicted"]["seconds"]}
    assert run["records"] == 50
    assert "than the plan had said" in compared[0]
    assert costs.predict(desk, plan) == (lines, numbers)  # once said, it stands


def test_the_disk_is_looked_at_and_nothing_stays(tmp_path: Path) -> None:
    """A look leaves no file, and finds more than a floppy disk's speed."""
    found = cost.look(tmp_path)

    assert min(found.read, found.write) > 1e5
    assert list(tmp_path.iterdir()) == []


def test_a_collection_that_stays_in_part_needs_room(tmp_path: Path) -> None:
    """Half of its rows stay: so many bytes are written anew before the old ones go."""
    from cenotaph.store import Collection

    whole = Collection(0, "a", "csv", (), records=10, held=0, kept=0, bytes=1_000, order="key")
    half = Collection(1, "b", "csv", (), records=10, held=5, kept=5, bytes=3_000, order="key")

    assert (cost.going(whole), cost.staying(whole)) == (1_000, 0)
    assert (cost.going(half), cost.staying(half)) == (1_500, 1_500)


def test_what_was_cut_off_while_it_was_written_is_passed_over(tmp_path: Path) -> None:
    """A killed run's half a line spoils nothing."""
    (tmp_path / pace.KEPT).write_text(json.dumps({"stage": "seal", "records": 1}) + '\n{"stage": "se')

    assert pace.ended(tmp_path, "seal") == [{"stage": "seal", "records": 1}]
