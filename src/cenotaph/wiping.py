"""Wiping the volumes of an approved plan: the shared action `free_space`, after the stores' own erasing.

Runs in a child process, as erasing does, which replays the statements itself. *wiping* is in the journal
before the first change; a setting of the file system that is changed is there before it is changed, so
that the next run puts it back; *wiped* only after the last step. Wiping again does no harm: every step is
safe to repeat, and a killed run begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cenotaph import lock
from cenotaph.clock import Clock, inside
from cenotaph.errors import PartialError, PermanentStoreError, RefusedError, StoreError
from cenotaph.journal import Entry as Line
from cenotaph.journal import Journal
from cenotaph.progress import Tell, TellByFile
from cenotaph.volume import identify, wipe
from cenotaph_proof.case import ApprovedPlan
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.statements import PlanStore, PlanVolume

AGAIN = "run the same command again: wiping begins anew, and nothing else is done twice"


@dataclass(frozen=True, slots=True)
class WipeTask:
    """One volume's share of a destruction, as a child process needs it."""

    folder: Path
    number: int  # of the volume in the case
    name: str
    mount: Path = field(repr=False)
    folders: tuple[Path, ...] = field(repr=False)  # where the stores on it lie, and what is kept on it
    plan: str
    bytes_per_second: int | None
    window: tuple[int, int] | None
    flags: tuple[str, ...]  # files in the case directory that ask to stop
    since: int  # the journal line up to which everything is signed; a probe that rejected wants more
    rejected: bool
    clock: Clock


def is_due(
    volume: PlanVolume, stores: Sequence[PlanStore], lines: Sequence[Line], since: int, rejected: bool
) -> bool:
    """Whether a volume is to be wiped now: what was to go from its stores is reclaimed, and it was not
    wiped after that."""
    going = [s.name for s in stores if s.name in volume.stores and s.destroy]
    reclaimed = {store: _last(lines, "reclaimed", store) for store in going}
    unfinished = [
        store
        for store, seq in reclaimed.items()
        if seq <= max(_last(lines, "done", store), _last(lines, "begun", store))
    ]
    if not volume.actions or not going or unfinished:
        return False
    after = max(*reclaimed.values(), since if rejected else 0, 0)
    return _last(lines, "wiped", volume.name) <= after


def wipe_volume(task: WipeTask) -> str:
    """Wipe one volume. Runs in a child process. Returns "done", "stopped" or "failed"."""
    case = CaseFolder(task.folder).replay()
    mine = task.folder / f".wiping-{task.number}"
    with lock.held(mine) as alone, Journal(task.folder / "journal.sqlite", task.clock) as journal:
        if not alone:
            raise PartialError(f"another process is still wiping {task.name}", hint=AGAIN)
        approved = case.approved_plan(task.clock())
        planned = _planned(approved, task)
        try:
            result = _wipe(task, planned, journal)
        except PartialError:
            return "stopped"
        except StoreError as error:
            journal.append("wipe failed", task.name, why=error.message)
            return "failed"
        journal.append(
            "wiped",
            task.name,
            reached=result.reached.name,
            why=result.why_not_higher,
            actions=[[a.kind, a.count, a.bytes] for a in result.actions],
            free=result.free,
            blank=result.blank,
        )
        return "done"


def _wipe(task: WipeTask, planned: PlanVolume, journal: Journal) -> wipe.Wiped:
    volume = identify.identify(task.mount)
    if volume.refusal:
        raise PermanentStoreError(f"{task.name} cannot be wiped: {volume.refusal}")
    if (volume.kind, volume.size) != (planned.filesystem, planned.bytes):
        raise PermanentStoreError(
            f"{task.name} is not the volume that the plan names: another one is mounted there",
            hint="mount the right one, or plan again: cenotaph plan",
        )
    for old in _unsettled(journal, task.name):
        wipe.restore_settings(volume, old)
    journal.append("wiping", task.name)
    terms = wipe.Terms(
        quiesced=planned.quiesced,
        bytes_per_second=task.bytes_per_second,
        go_on=lambda: _may_go_on(task),
        remember=lambda setting: _remember(journal, task.name, setting),
    )
    tell: Tell = TellByFile(task.folder / f".progress-wiping-{task.number}")
    return wipe.wipe(volume, task.folders, terms, tell)


def _may_go_on(task: WipeTask) -> bool:
    asked = any((task.folder / flag).exists() for flag in task.flags)
    return not asked and inside(task.window, task.clock())


def _remember(journal: Journal, name: str, setting: Mapping[str, int | str]) -> None:
    journal.append("setting", name, was=dict(setting))


def _unsettled(journal: Journal, name: str) -> list[Mapping[str, int | str]]:
    """Settings that a killed run changed: those since the last end of a wiping, the newest first."""
    mine = [e for e in journal.entries() if e.store == name and e.kind in ("setting", "wiped", "wipe failed")]
    last = max((i for i, e in enumerate(mine) if e.kind != "setting"), default=-1)
    return [e.body["was"] for e in reversed(mine[last + 1 :])]


def _planned(approved: ApprovedPlan, task: WipeTask) -> PlanVolume:
    found = [v for v in approved.plan.volumes or () if v.name == task.name and v.actions]
    if approved.digest != task.plan or not found:
        raise RefusedError("the approved plan changed while it was carried out")
    return found[0]


def _last(lines: Sequence[Line], kind: str, store: str) -> int:
    return max((e.seq for e in lines if e.kind == kind and e.store == store), default=0)
