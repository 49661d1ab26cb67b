"""Killed at any line, the erasing of a SQLite database goes on where it was, and loses nothing.

Each run is a forked process that sends itself SIGKILL: no `finally` runs, SQLite closes nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlite_case import GONE, Diary, create, found, names, rows_of, seal, two_tables, url

import cenotaph.durable
from cenotaph.scope import EVERYTHING, Selection
from cenotaph.stores.sqlite import eraser, open_eraser, reclaim, session

PART = Selection(collections=("gone",))
STEPS = (
    "begin",
    "settle before",
    "delete",
    "commit",
    "settle after",
    "read empty",
    "settle",
    "replace",
    "destroy",
)
STEPS_OF_A_REBUILD = (*STEPS, "clean", "vacuum", "compare", "rebuilt")
WATCHED = {module.__file__ for module in (cenotaph.durable, eraser, reclaim, session)}

Kill = Callable[[str], None]


class OnDisk(Diary):
    """A `Progress` that outlives the process: a file for *begun*, another for *done*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__({"records": 1} if (folder / "begun").exists() else None)

    def begin(self, state: Any) -> None:
        super().begin(state)
        (self.folder / "begun").touch()


def work(path: Path, notes: Path, sealed: list[tuple], selection: Selection, step: Kill) -> None:
    """What `destroy` does, again and again until it gets to the end."""
    hand = open_eraser(url(path), selection, step=step)
    for index, (_, partition, seals) in enumerate(sealed):
        folder = notes / str(index)
        folder.mkdir(exist_ok=True)
        if not (folder / "done").exists():
            hand.erase(partition, seals, OnDisk(folder))
            (folder / "done").touch()
    hand.reclaim([collection for collection, _, _ in sealed])
    hand.close()


def killed(work_with: Callable[[Kill], None], kill: Kill, trace: Any = None) -> bool:
    """Run in a child that may kill itself; whether it did."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        sys.settrace(trace)
        code = 9
        try:
            work_with(kill)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(wanted: str) -> Kill:
    return lambda step: die() if step == wanted else None


@pytest.mark.parametrize("journal", ["delete", "persist", "wal"])
@pytest.mark.parametrize(
    ("selection", "step"),
    [*((PART, step) for step in STEPS_OF_A_REBUILD), *((EVERYTHING, step) for step in STEPS)],
    ids=lambda value: value if isinstance(value, str) else ("part" if value is PART else "whole"),
)
def test_killed_at_a_step(tmp_path, journal, selection, step):
    """The second run ends with nothing left of what was sealed, and the rest as it was."""
    path, notes = prepare(tmp_path, journal)
    sealed, before = seal(path, selection), rows_of(path, "stay")

    assert killed(lambda kill: work(path, notes, sealed, selection, kill), at_step(step))
    work(path, notes, sealed, selection, lambda _: None)

    assert found(tmp_path, GONE) == set()
    assert names(path.parent) == (["app.db"] if selection is PART else [])
    if selection is PART:
        assert rows_of(path, "stay") == before


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("selection", [PART, EVERYTHING], ids=["part", "whole"])
def test_killed_at_any_line(tmp_path, journal, selection):
    """As at steps, for the first time that each line of the eraser is reached."""
    reached = lines_of(tmp_path / "look", journal, selection)
    assert len(reached) > 150
    for number, line in enumerate(reached):
        folder = tmp_path / str(number)
        path, notes = prepare(folder, journal, small=True)
        sealed, before = seal(path, selection), rows_of(path, "stay")
        todo = (path, notes, sealed, selection)

        assert killed(lambda kill, todo=todo: work(*todo, kill), lambda _: None, at_line(line)), line
        work(*todo, lambda _: None)

        assert found(folder, GONE) == set(), line
        assert names(path.parent) == (["app.db"] if selection is PART else []), line
        if selection is PART:
            assert rows_of(path, "stay") == before, line


def prepare(folder: Path, journal: str, *, small: bool = False) -> tuple[Path, Path]:
    (folder / "data").mkdir(parents=True)
    (folder / "notes").mkdir()
    path = folder / "data" / "app.db"
    if small:
        db = create(
            path,
            "CREATE TABLE gone (a, note); CREATE TABLE stay (a); INSERT INTO stay (rowid, a) VALUES (7, 1)",
            journal=journal,
        )
        db.execute("INSERT INTO gone VALUES (1, ?)", (GONE[0],))
        db.close()
    else:
        two_tables(path, journal=journal).close()
    return path, folder / "notes"


def lines_of(folder: Path, journal: str, selection: Selection) -> list[tuple[str, int]]:
    """The lines that a run without a kill passes, in the order they are first reached."""
    path, notes = prepare(folder, journal, small=True)
    sealed = seal(path, selection)
    reached: dict[tuple[str, int], None] = {}

    def note(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            reached[frame.f_code.co_filename, frame.f_lineno] = None
        return note

    sys.settrace(note)
    try:
        work(path, notes, sealed, selection, lambda _: None)
    finally:
        sys.settrace(None)
    return list(reached)


def at_line(line: tuple[str, int]) -> Any:
    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != line[0]:
            return None
        if event == "line" and frame.f_lineno == line[1]:
            die()
        return trace

    return trace
