"""An auditor's search of a whole volume: every addressable byte, attempts to restore, outside referees.

Runs in a child process, after the stores on it were searched as files. Each limit to the grade is a line
of its own, and the lowest decides; what could not be read or tried is said, never passed over.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cenotaph import terrain
from cenotaph.errors import StoreError, UsageError
from cenotaph.progress import Tell, TellByFile, quiet
from cenotaph.residue import calibrate, referees, restore
from cenotaph.residue import volume as residue
from cenotaph.residue.needles import Needles
from cenotaph.sealing import NeedleSource
from cenotaph.volume import blocks, identify, raw
from cenotaph.volume.model import Map, Place, Volume
from cenotaph_proof import facts, volumes
from cenotaph_proof.statements import (
    GradeName,
    PlanVolume,
    ProbedVolume,
    Recall,
    Referee,
    Residue,
    RestoreAttempt,
)

ENCRYPTS = "files that the file system itself encrypts (fscrypt): their keys bring back what no search finds"
MOST_LINES = 50  # of what was not reached, and of owners of hits


@dataclass(frozen=True, slots=True)
class VolumeTask:
    """One volume's share of a probe, as a child process needs it."""

    mount: Path = field(repr=False)
    planned: PlanVolume
    stores: tuple[tuple[str, Path], ...] = field(repr=False)  # kind and place of each store on it
    kept: tuple[Path, ...] = field(repr=False)
    searched: tuple[Path, ...] = field(repr=False)  # of the stores, those that were searched at this place
    since: int  # nanoseconds since the epoch: when their search began
    kept_values: frozenset[int] = field(repr=False)  # needles that the stores' own search found in what stays
    needles: NeedleSource
    case_key: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    recall: tuple[Recall, ...]  # of this auditor's challenge
    command: tuple[str, ...]  # what gains the right to read devices, such as ("sudo", "-n")
    referee: bool
    never: tuple[Path, ...] = field(repr=False)  # what must not lie on a volume that is frozen
    progress: Path = field(repr=False)


def probe_volume(task: VolumeTask) -> ProbedVolume:
    """Search one volume. What keeps it from being read is the reason that the result gives."""
    try:
        volume = identify.identify(task.mount)
        _check_same(task, volume)
        return _Search(task, volume, Path(tempfile.gettempdir())).run()
    except (StoreError, UsageError) as error:
        return unread(task.planned, error.message)


def unread(planned: PlanVolume, why: str) -> ProbedVolume:
    """A volume that nobody could read."""
    lowest = facts.lowest([("L2", why[:1000]), (planned.grade, planned.why_not_higher)])
    return ProbedVolume(
        name=planned.name,
        stores=planned.stores,
        filesystem=planned.filesystem,
        state="not read",
        bytes=planned.bytes,
        read=0,
        free=0,
        blank=0,
        reached=lowest[0],
        why_not_higher=lowest[1],
        residue=0,
        kept_elsewhere=0,
        strangers=0,
        found=(),
        recall=(),
        restores=(),
        referees=(),
        unreachable=(why[:1000],),
    )


def _check_same(task: VolumeTask, volume: Volume) -> None:
    if volume.refusal:
        raise UsageError(volume.refusal)
    if (volume.kind, volume.size) != (task.planned.filesystem, task.planned.bytes):
        raise UsageError("another volume than the plan names is mounted there")
    if any(not identify.holds(volume, path) for path in _standing(task)):
        raise UsageError("a store that the plan sees on the volume lies elsewhere")


def _standing(task: VolumeTask) -> list[Path]:
    """Where the stores lie, or what is left above them."""
    return [terrain.standing(path) for _, path in task.stores]


@dataclass(frozen=True, slots=True)
class RecallTask:
    """Sampled values of the stores on one volume, to be found on the volume itself before destruction."""

    mount: Path = field(repr=False)
    planned: PlanVolume
    stores: tuple[tuple[str, Path], ...] = field(repr=False)
    sample: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    command: tuple[str, ...]


def measure_recall(task: RecallTask) -> tuple[Recall, ...]:
    """Where on the volume sampled values are found while they are still there: the positive control.

    Empty where the volume cannot be read. Nothing is frozen: it is before destruction, and at work.
    """
    sample = Needles.from_bytes(task.sample)
    places = [path for _, path in task.stores if path.exists()]
    try:
        volume = identify.identify(task.mount)
        with raw.opened(volume, freeze=False, command=task.command) as device:
            map_ = blocks.refine(device.map, volume, stores=places, kept=(), folders=places)
            found = residue.search(device, map_, sample, task.seed, quiet, including=(Place.STORES,))
    except (StoreError, UsageError):
        return ()
    seen = found.residue | found.kept
    rows = [Recall(task.planned.name, "any place", "any", len(sample), len(seen))]
    values: Counter[str] = Counter()
    for (place, _, _), count in found.by_place.items():
        values[place] += count
    return (
        *rows,
        *(
            Recall(task.planned.name, p, "any", len(sample), min(n, len(sample)))
            for p, n in sorted(values.items())
        ),
    )


class _Search:
    """One volume: its bytes, then what others make of them."""

    def __init__(self, task: VolumeTask, volume: Volume, scratch: Path) -> None:
        self.task = task
        self.volume = volume
        self.scratch = scratch
        self.needles: Needles = task.needles.load(task.case_key)
        self.tell: Tell = TellByFile(task.progress)

    def run(self) -> ProbedVolume:
        planted, uncalibrated = self._calibrated()
        recall = (*self.task.recall, *planted)
        freeze = self.task.planned.quiesced
        with raw.opened(
            self.volume, freeze=freeze, command=self.task.command, never=self.task.never
        ) as device:
            map_ = self._map(device)
            found = residue.search(
                device,
                map_,
                self.needles,
                self.task.seed,
                self.tell,
                name=self.task.planned.name,
                block=self.volume.block,
            )
            restores, untried = restore.attempt(
                device,
                self.task.stores,
                self.scratch,
                self.needles,
                self.tell,
                kept=found.kept | self.task.kept_values,
            )
            judged, not_run = self._judged(device, map_, found)
            moved = found.moved or device.moved()
            state, why_moving = device.state, device.why_moving
            untried += (ENCRYPTS,) if blocks.encrypts(device.pread) else ()
        moving = "it was written to while it was searched" if moved else why_moving
        return self._result(
            found, state, moving, recall, restores, judged, (*uncalibrated, *untried, *not_run)
        )

    def _calibrated(self) -> tuple[list[Recall], tuple[str, ...]]:
        found, why = calibrate.calibrate(self.volume.kind, self.scratch, self.task.planned.name)
        return found, (f"no calibration on a scratch volume: {why}",) if why else ()

    def _map(self, device: raw.Raw) -> Map:
        """What this auditor searched elsewhere, or what changed since, no other search has seen."""
        return blocks.refine(
            device.map,
            self.volume,
            stores=self.task.searched,
            kept=self.task.kept,
            folders=_standing(self.task),
            since=self.task.since,
        )

    def _judged(
        self, device: raw.Raw, map_: Map, found: residue.Searched
    ) -> tuple[list[Referee], tuple[str, ...]]:
        if not self.task.referee:
            return [], ()
        known = found.residue | found.kept | self.task.kept_values
        return referees.referee(device, map_, self.scratch, self.needles, known, self.tell)

    def _result(
        self,
        found: residue.Searched,
        state: raw.State,
        moving: str,
        recall: tuple[Recall, ...],
        restores: Sequence[RestoreAttempt],
        judged: Sequence[Referee],
        untried: tuple[str, ...],
    ) -> ProbedVolume:
        missed = self.volume.size - found.read
        limits: list[tuple[GradeName, str]] = [
            (self.task.planned.grade, self.task.planned.why_not_higher),
            *self._limits(found, recall, restores, judged),
        ]
        if moving:
            limits.append(("L2", f"the volume was moving: {moving}"))
        if missed:
            limits.append(("L2", f"{missed} bytes of the volume could not be read"))
        unreached = [*([f"{missed} bytes of the device"] if missed else []), *found.left_out]
        if ENCRYPTS in untried:
            unreached.append(ENCRYPTS)
            limits.append(("L2", f"not all of it could be searched: {ENCRYPTS}"))
        if found.left_out:
            limits.append(("L2", f"not all of it was searched: {found.left_out[0]}"))
        notes = [*(u for u in found.unreachable if u not in found.left_out), *found.owners, *untried]
        reached, why = facts.lowest(limits)
        said = ProbedVolume(
            name=self.task.planned.name,
            stores=self.task.planned.stores,
            filesystem=self.volume.kind,
            state="moving" if moving else state,
            bytes=self.volume.size,
            read=found.read,
            free=found.free,
            blank=found.blank,
            reached=reached,
            why_not_higher=why[:1000],
            residue=len(found.residue),
            kept_elsewhere=len(found.kept | self.task.kept_values),
            strangers=len(found.strangers),
            found=tuple(Residue(*where, count) for where, count in sorted(found.by_place.items())),
            recall=recall,
            restores=tuple(restores),
            referees=tuple(judged),
            unreachable=tuple(unreached[:MOST_LINES]),
            notes=tuple(line[:1000] for line in notes[:MOST_LINES]) or None,
        )
        doubt = next(volumes.doubts(said, self.task.planned, len(self.needles)), None)
        if doubt is None or reached not in volumes.CLEAN:
            return said
        return replace(said, reached="L2", why_not_higher=doubt[:1000])  # what a verifier would refuse

    def _limits(
        self,
        found: residue.Searched,
        recall: tuple[Recall, ...],
        restores: Sequence[RestoreAttempt],
        judged: Sequence[Referee],
    ) -> list[tuple[GradeName, str]]:
        limits: list[tuple[GradeName, str]] = []
        where = _places(found)
        if not len(self.needles):
            limits.append(("L2", "no sealed value is long enough to be searched for"))
        if found.residue:
            limits.append(("L2", f"{len(found.residue)} destroyed values are still on the volume{where}"))
        if found.strangers:
            limits.append(
                ("L2", f"{len(found.strangers)} persons whom no seal knows are on the volume{where}")
            )
        back = [r for r in restores if r.values]
        if back:
            limits.append(("L2", f"{back[0].method} brought back {back[0].values} destroyed values"))
        if not restores:
            limits.append(("L2", "no attempt to restore could be made"))
        beaten = [r for r in judged if r.missed]
        if beaten:
            limits.append(
                ("L2", f"{beaten[0].tool} found {beaten[0].missed} destroyed values that this search missed")
            )
        if not any(r.found for r in recall):
            limits.append(("L2", "recall was not measured: nothing planted or sampled was found before"))
        return limits


def _places(found: residue.Searched) -> str:
    """Where the hits lie, in words, the most telling few."""
    places = sorted({place for place, _, _ in found.by_place})
    return f" (in {', '.join(places[:4])})" if places else ""
