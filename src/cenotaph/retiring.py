"""Retiring the servers of an approved plan: after all that they keep is erased, before volumes are wiped.

Runs in a child process, as erasing does, which replays the statements itself. *retiring* is in the journal,
with what tells this server from any other, before the first change; what a killed run began, the next one
knows by it. What was reached is said as the reclaiming of the server's stores, which the server's end is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cenotaph import lock
from cenotaph.clock import Clock, inside
from cenotaph.errors import PartialError, RefusedError, StoreError
from cenotaph.journal import Entry as Line
from cenotaph.journal import Journal
from cenotaph.scope import Selection
from cenotaph.store import AWAITS_RETIREMENT, OpenEraser, Reclamation, Retiring, State, Surroundings
from cenotaph_proof.case import ApprovedPlan
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.statements import PlanStore

AGAIN = "run the same command again: it goes on where it stopped"


@dataclass(frozen=True, slots=True)
class RetireTask:
    """One server's end, as a child process needs it."""

    folder: Path
    stores: tuple[str, ...]  # all that the server keeps, in the order of the case
    eraser: OpenEraser
    url: str = field(repr=False)  # of the first
    selection: Selection = field(repr=False)
    around: Surroundings
    plan: str
    lock_timeout: int
    window: tuple[int, int] | None
    flags: tuple[str, ...]  # files in the case directory that ask to stop
    clock: Clock


def is_due(stores: Sequence[PlanStore], lines: Sequence[Line]) -> bool:
    """Whether all of these stores of one server are erased and reclaimed, and it was not retired since."""
    going = [s.name for s in stores if s.destroy]
    last = {name: [e for e in lines if e.store == name and e.kind in ("done", "reclaimed")] for name in going}
    settled = all(found and found[-1].kind == "reclaimed" for found in last.values())
    return bool(going) and settled and not all(_ended(found[-1]) for found in last.values())


def retire_server(task: RetireTask) -> str:
    """Retire one server. Runs in a child process. Returns "done", "stopped" or "failed"."""
    case = CaseFolder(task.folder).replay()
    mine = task.folder / ".retiring"
    with (
        lock.held(mine, wait=task.lock_timeout) as alone,
        Journal(task.folder / "journal.sqlite", task.clock) as journal,
    ):
        if not alone:
            raise PartialError("another process is still retiring a server", hint=AGAIN)
        _check(case.approved_plan(task.clock()), task)
        if any((task.folder / flag).exists() for flag in task.flags) or not inside(task.window, task.clock()):
            return "stopped"
        try:
            _say(journal, task, _retire(task, journal))
        except StoreError as error:
            journal.append("retire failed", task.stores[0], why=error.message)
            return "failed"
        return "done"


def _retire(task: RetireTask, journal: Journal) -> Reclamation:
    first = task.stores[0]

    def begin(state: State) -> None:
        journal.append("retiring", first, state=json.dumps(dict(state), sort_keys=True))

    begun = [e.body["state"] for e in journal.entries() if e.kind == "retiring" and e.store == first]
    with closing(task.eraser(task.url, task.selection, frozenset(), task.around)) as eraser:
        assert isinstance(eraser, Retiring)  # only a server's store is told to retire one (config)
        return eraser.retire(json.loads(begun[-1]) if begun else None, begin)


def _say(journal: Journal, task: RetireTask, done: Reclamation) -> None:
    """As the newest reclaiming of every store of the server. What its end does not reach (a copy elsewhere)
    was said while it still ran, and stays said."""
    for name in task.stores:
        mine = [e for e in journal.entries() if e.store == name and e.kind == "reclaimed"]
        alive = [e.body["why"] for e in mine[: next((i for i, e in enumerate(mine) if _ended(e)), None)]]
        limit = alive[-1] if alive and alive[-1] != AWAITS_RETIREMENT else ""
        first = name == task.stores[0]
        journal.append(
            "reclaimed",
            name,
            reached="L1" if limit else done.reached.name,
            why=limit or done.why_not_higher,
            overwritten=done.overwritten_bytes if first else 0,
            freed=done.freed_bytes if first else 0,
            notes=list(done.notes),
            retired=True,
        )


def _ended(line: Line) -> bool:
    return bool(line.body.get("retired"))


def _check(approved: ApprovedPlan, task: RetireTask) -> None:
    if approved.digest != task.plan:
        raise RefusedError("the approved plan changed while it was carried out")
