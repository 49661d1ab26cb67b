"""Probe: an auditor searches for what was destroyed, everywhere it was known to be.

Starts from the inventory, not from what the operator says was touched. Every hit is attributed: inside
an allocated, parsed, held or out-of-scope place it is *kept elsewhere*; anything else is residue.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from cenotaph import estate as estates
from cenotaph import retired, terrain, volume_probe
from cenotaph.config import PLACES, StoreTable
from cenotaph.desk import cite
from cenotaph.engines import local
from cenotaph.errors import StoreError, UsageError
from cenotaph.progress import Tell, quiet, watched
from cenotaph.residue.scan import Findings, scan
from cenotaph.residue.shapes import IDENTITY, MOBILE, Together
from cenotaph.sealing import NeedleSource, Target
from cenotaph.session import Session
from cenotaph.store import (
    GONE_ONCE_REACHED,
    OF_SERVER,
    WITH_SERVER,
    Collection,
    Disposition,
    Extent,
    Keeper,
    OpenReader,
    Reader,
    Restorable,
    Restoration,
    Served,
)
from cenotaph_proof import draw, facts
from cenotaph_proof.acts import new_nonce
from cenotaph_proof.casebook import Entry
from cenotaph_proof.statements import (
    Challenge,
    CheckedApp,
    Destruction,
    GradeName,
    Inventory,
    Plan,
    PlanStore,
    Probe,
    ProbedStore,
    ProbedVolume,
    Recall,
    Residue,
    RestoredCopy,
)

READ_TWICE = 16  # places that draw 2 picks, read again at the end: a store that moves is noticed
CLOCK_GRAIN = 20_000_000  # nanoseconds by which a file's time of change may lag behind the clock (CONFIG_HZ)
SHAPES = (IDENTITY, MOBILE)  # counted as strangers, not by place
APPEARED = "collections appeared since the survey"
CAME_BACK = "records of the scope came back when what is left of copies was restored"
RESTART = "restart"  # the shared action: it is the owner's to take, and seen here
IN_MEMORY = "memory of the server: it was not restarted since, and may keep pages of what was erased"
NOT_RESTARTED = "the plan has its server restarted, and it was not"
ANOTHER = (
    "another server answers than was surveyed (a failover, a restored backup): its files were not searched"
)
NO_VOLUME = "the plan names no volume for this store"
MISPLACED = "its folder is not the one that was surveyed (not mounted, moved, or a link in its place)"


@dataclass(frozen=True, slots=True)
class ProbeTask:
    target: Target
    needles: NeedleSource
    case_key: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    asked: GradeName
    planned: GradeName
    planned_why: str
    recall: tuple[Recall, ...]
    not_reached: tuple[str, ...]
    known: frozenset[str] = field(repr=False)  # names of the inventory's collections
    misplaced: bool
    destroyed: int  # when the last destruction ended
    restart: bool  # the plan has the store's server restarted after that
    erased: frozenset[str] = field(repr=False)  # names of the collections that the plan destroys
    reached: frozenset[str]  # kinds of copies that its shared actions reach
    keeper: Keeper | None = None  # the server that the survey saw
    volume: int = -1  # a device that is searched itself, and so has to stay as it is


@dataclass(frozen=True, slots=True)
class Options:
    """How an auditor probes volumes, and what they put up with."""

    referee: bool = False  # run the outside tools that are installed on the same bytes
    command: tuple[str, ...] = ()  # what gains the right to read a device, such as ("sudo", "-n")
    endpoints: tuple[tuple[str, str], ...] = ()  # app and address, of the auditor's own knowledge
    accept_lower: bool = False  # accept although volumes fell below the plan, or apps are still there


def probe(session: Session, opener: OpenReader, tell: Tell = quiet, options: Options = Options()) -> Path:
    """Search every store, then every volume of the plan, look at the apps that are to be switched off,
    decide, sign; after accepting, destroy this auditor's key share.

    Returns the envelope's file in `incoming/`. Raises: OrderError before the first destruction; UsageError
    for an endpoint of an app that the charter does not name.
    """
    case = session.case
    own = _own_endpoints(session, options)
    last = case.require(Destruction)
    inventory = case.require(Inventory)
    commitment = case.nonce_commitment(session.public, Probe, last.index)
    nonce = session.reveal(commitment)
    against = session.checkpoint(last.index)
    seed = draw.seed("probe", case.charter.case, last.digest, session.public.key_id, bytes.fromhex(nonce))
    estate = session.estate()
    since = time.time_ns() - CLOCK_GRAIN
    tasks = _tasks(session, opener, estate, seed)
    found = {task.target.store: _unread(task, MISPLACED) for task in tasks if task.misplaced}
    tasks = [task for task in tasks if not task.misplaced]
    local.expect(table.kind for table in session.config.store)
    kept: dict[str, frozenset[int]] = {}
    needles: int | None = None
    for done, (task, result) in enumerate(
        local.run(probe_store, tasks, workers=session.config.limits.workers), 1
    ):
        found[task.target.store], kept[task.target.store] = result.found, result.kept
        needles = result.needles if needles is None else needles
        tell("stores searched", done, len(tasks))
    volumes = _probe_volumes(session, seed, since, found, kept, tell, options)
    stores = tuple(
        _capped(session, found[s.name] if s.name in found else _empty(session, s.name), volumes)
        for s in estate.stores
    )
    apps = retired.look_at_all((*session.config.targets(), *own))
    reasons = _reasons(session, stores)
    if not options.accept_lower:
        reasons += _volume_reasons(session, volumes) + _app_reasons(apps)
    body = Probe(
        organisation=session.public.organisation,
        signed=session.clock(),
        against=against,
        nonce=nonce,
        next_nonce=new_nonce(session.secrets, "probe"),
        needles=len(session.needles().known(session.case_key)) if needles is None else needles,
        stores=stores,
        tool=session.tool(),
        share_destroyed=not reasons,
        decision="reject" if reasons else "accept",
        reasons=reasons,
        volumes=volumes or None,
        apps=apps or None,
    )
    assert case.charter_entry is not None
    path = session.folder.submit(body, (cite(case.charter_entry), cite(inventory), cite(last)), session.key)
    if not reasons:
        session.secrets.forget("share")
    return path


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search of one store came to, and which needles it found in what is kept."""

    found: ProbedStore
    kept: frozenset[int]
    needles: int | None  # how many were sought; None where nothing was


def probe_store(task: ProbeTask) -> Searched:
    """Search one store; runs in a child process."""
    try:
        reader = task.target.opener(task.target.url, task.target.selection, task.target.around)
    except StoreError as error:
        return Searched(_unread(task, error.message), frozenset(), None)
    try:
        search = _Search(task, reader)
        return Searched(search.run(), search.kept_needles(), len(search.needles))
    except StoreError as error:
        return Searched(_unread(task, error.message), frozenset(), None)
    finally:
        reader.close()


class _Search:
    """One store: what its interface still returns, then its bytes."""

    def __init__(self, task: ProbeTask, reader: Reader) -> None:
        self.task = task
        self.reader = reader
        self.needles = task.needles.load(task.case_key)
        self.sought = Together(self.needles)
        self.values = Findings()
        self.elsewhere: set[int] = set()  # people by shape; and those in copies that were made anew
        self.in_new: set[int] = set()
        self.by_place: Counter[tuple[str, str, str]] = Counter()
        self.places = 0
        self.unread = 0
        self.appeared = 0
        self.left: tuple[str, ...] = ()
        self.restored: tuple[Restoration, ...] = ()

    def run(self) -> ProbedStore:
        collections = self.reader.collections()
        rows = sum(c.records for c in collections)
        self.appeared = sum(1 for c in collections if c.name not in self.task.known)
        self.left = self._left(collections)
        extents = list(self.reader.raw())
        first = [self._read(extent) for extent in extents]
        moved = self._read_twice(extents, first)
        runs_on = self._runs_on()
        untried = self._restore()
        residue = sum(what >= 0 for what in self.values.residue)
        strangers = len(self._strangers())
        grade, why = self._grade(rows, residue, strangers, moved, runs_on)
        problems = tuple(f"{p}: could not be decoded to its end" for p in self.values.problems)
        if self.unread:
            problems += (f"{self.unread} places could not be read",)
        if runs_on:
            problems += (IN_MEMORY,)
        return ProbedStore(
            name=self.task.target.store,
            asked=self.task.asked,
            reached=grade,
            why_not_higher=why[:1000],
            places=self.places,
            bytes=self.values.scanned,
            residue=residue,
            kept_elsewhere=len(self.kept_needles()),
            strangers=strangers,
            found=tuple(
                Residue(place, lane, kind, count)
                for (place, lane, kind), count in sorted(self.by_place.items())
            ),
            recall=self.task.recall,
            unreachable=self.task.not_reached + problems + untried,
            read=True,
            restores=tuple(map(_stated, self.restored)) or None,
        )

    def _strangers(self) -> set[int]:
        """People whom no seal knows. One whom only a copy that was made anew has, and what stays in the store
        too, is none."""
        return self.elsewhere | (self.in_new - self.values.kept)

    def kept_needles(self) -> frozenset[int]:
        """The needles that were found in what is kept; shapes lie below zero."""
        return frozenset(what for what in self.values.kept if what >= 0)

    def _is_another(self) -> bool:
        """Whether another server answers than was surveyed: that one's files would not be searched."""
        now = self.reader.keeper() if self.task.keeper and isinstance(self.reader, Served) else None
        return now is not None and self.task.keeper is not None and now.identity != self.task.keeper.identity

    def _left(self, collections: Sequence[Collection]) -> tuple[str, ...]:
        """The kinds of copies that a server still tells of to this auditor, and that the plan reaches by no
        shared action, or should have: the operator's word for them is not taken, and they may be newer."""
        if not isinstance(self.reader, Served):
            return ()
        mine = [c for c in collections if c.name in self.task.erased] or list(collections[:1])
        copies = (copy for c in mine for copy in self.reader.copies(c))
        kinds = {copy.kind for copy in copies if copy.disposition is Disposition.REACH_NOT}
        return tuple(sorted((kinds - self.task.reached) | (kinds & GONE_ONCE_REACHED)))

    def _restore(self) -> tuple[str, ...]:
        """Try to restore what is left of copies; what was not tried, and why."""
        if not isinstance(self.reader, Restorable):
            return ()
        scratch = Path(tempfile.gettempdir())
        restored, untried = self.reader.restorations(self.task.erased, scratch, self.task.volume)
        self.restored = tuple(restored)
        return tuple(line[:1000] for line in untried)

    def _read(self, extent: Extent) -> tuple[int, int]:
        self.places += 1
        try:
            with extent.open() as stream:
                found = scan(stream, extent.length, self.sought, extent.kept)
        except OSError:
            self.unread += 1
            return -1, -1
        for (lane, _, kind, kept), hits in found.counts.items():
            if not kept and kind not in SHAPES:
                self.by_place[extent.kind, lane, kind] += hits
        if extent.anew:
            self.in_new.update(what for what in found.residue if what < 0)
        else:
            self.elsewhere.update(what for what in found.residue if what < 0)
        self.values.merge(found)
        return len(found.residue), len(found.kept)

    def _read_twice(self, extents: list[Extent], first: list[tuple[int, int]]) -> bool:
        """Draw 2: places nobody could foresee are read again. True if one of them moved."""
        for number in draw.sample(self.task.seed, self.task.target.store, len(extents), READ_TWICE):
            extent = extents[number]
            try:
                with extent.open() as stream:
                    again = scan(stream, extent.length, self.sought, extent.kept)
            except OSError:
                return True
            if (len(again.residue), len(again.kept)) != first[number]:
                return True
        return False

    def _runs_on(self) -> bool:
        """Whether a server has run since before the destruction. Asked where more than files counts."""
        asked = facts.GRADES.index(self.task.asked) > facts.GRADES.index("L2") or self.task.restart
        started = self.reader.started() if asked and isinstance(self.reader, Served) else None
        return started is not None and started < self.task.destroyed

    def _grade(
        self, rows: int, residue: int, strangers: int, moved: bool, runs_on: bool
    ) -> tuple[GradeName, str]:
        capability = self.reader.capabilities
        limits: list[tuple[GradeName, str]] = [
            (self.task.asked, ""),
            (self.task.planned, self.task.planned_why),
            (cast(GradeName, capability.grade.name), capability.why_not_higher),
        ]
        if rows:
            limits.append(("none", f"the store still returns {rows} records of the scope"))
        if self.appeared:
            limits.append(("L1", f"{self.appeared} {APPEARED}"))
        if not len(self.needles):
            limits.append(("L1", "no sealed value is long enough to be searched for"))
        if residue:
            limits.append(("L1", f"{residue} destroyed values are still in the store's bytes"))
        if strangers:
            limits.append(("L1", f"{strangers} persons whom no seal knows are in the store's bytes"))
        if back := sum(one.records for one in self.restored):
            limits.append(("L1", f"{back} {CAME_BACK}"))
        if self._is_another():
            limits.insert(0, ("L1", ANOTHER))  # before what it may be the cause of
        if self.left:
            limits.append(("L1", f"not reached, as this auditor sees: {', '.join(self.left)}"))
        if self.unread:
            limits.append(("L1", f"{self.unread} places of the store could not be read"))
        if runs_on and self.task.restart:
            limits.append(("L2", NOT_RESTARTED))
        if moved:
            limits.append(("L1", "the store was moving while it was searched"))
        return facts.lowest(limits)


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────


def _tasks(session: Session, opener: OpenReader, estate: estates.Estate, seed: bytes) -> list[ProbeTask]:
    plan = session.case.require(Plan).body(Plan)
    terms = {s.name: s for s in session.case.charter.stores}
    tasks = []
    for store, planned in zip(estate.stores, plan.stores, strict=True):
        if not store.collections:
            continue
        target = session.target(opener, store, store.collections[0])
        table = session.config.find(store.name)
        tasks.append(
            ProbeTask(
                target=replace(
                    target,
                    selection=estates.narrowed(target.selection, store, planned.left_out),
                    around=replace(target.around, beside=store.keeper.beside if store.keeper else None),
                ),
                needles=session.needles(),
                case_key=session.case_key,
                seed=seed,
                asked=terms[store.name].grade,
                planned=planned.grade,
                planned_why=planned.why_not_higher,
                recall=_recall(session, store.name),
                not_reached=_not_reached(store),
                known=frozenset(c.collection.name for c in store.collections),
                misplaced=session.misplaced(store),
                destroyed=session.case.require(Destruction).body(Destruction).finished,
                restart=any(action.kind == RESTART for action in planned.shared),
                erased=frozenset(
                    c.collection.name for c in store.collections if c.ordinal in planned.destroy
                ),
                reached=_reached(table, planned),
                keeper=store.keeper,
                volume=_device(session, table, terms[store.name].grade),
            )
        )
    return tasks


def _device(session: Session, table: StoreTable, asked: GradeName) -> int:
    """The device on which a store lies that asks for more than its own files; -1 where it does not, or is not
    here."""
    home = session.config.home(table)
    if facts.GRADES.index(asked) <= facts.GRADES.index("L2") or home is None or not home.exists():
        return -1
    return home.stat().st_dev


def _stated(one: Restoration) -> RestoredCopy:
    return RestoredCopy(one.method, one.tool, one.version, one.rows, one.records, one.note)


def _probe_volumes(
    session: Session,
    seed: bytes,
    since: int,
    found: Mapping[str, ProbedStore],
    kept: Mapping[str, frozenset[int]],
    tell: Tell,
    options: Options,
) -> tuple[ProbedVolume, ...]:
    """Search the plan's volumes one after the other: each is a disk's whole speed."""
    named = {v.name: v for v in session.config.volumes()}
    tasks = []
    for number, planned in enumerate(session.case.require(Plan).body(Plan).volumes or ()):
        tables = [session.config.find(name) for name in planned.stores]
        tasks.append(
            volume_probe.VolumeTask(
                mount=named[planned.name].path,
                planned=planned,
                stores=tuple((t.kind, p) for t in tables for p in terrain.places(session.config, t)),
                kept=named[planned.name].kept,
                searched=tuple(
                    p
                    for t in tables
                    if _searched_here(session, t, found)
                    for p in terrain.places(session.config, t, copies=False)
                ),
                since=since,
                kept_values=frozenset().union(*(kept.get(name, frozenset()) for name in planned.stores)),
                needles=session.needles(),
                case_key=session.case_key,
                seed=seed,
                recall=_recall(session, planned.name),
                command=options.command,
                referee=options.referee,
                never=(session.path, session.config.log_path(), session.secrets.path.parent),
                progress=session.secrets.path.with_suffix(f".progress-{number}"),
            )
        )
    with watched(tuple(task.progress for task in tasks), tell):
        return tuple(result for _, result in local.run(volume_probe.probe_volume, tasks, workers=1))


def _searched_here(session: Session, store: StoreTable, found: Mapping[str, ProbedStore]) -> bool:
    """Whether this auditor searched a store where the operator has it. Of a server, whatever address it was
    asked at, that is so where its files were read: they are believed only at its data directory."""
    if store.kind in PLACES:
        return session.is_here(store.name)
    return store.name in found and found[store.name].places > 0


def _capped(session: Session, store: ProbedStore, volumes: tuple[ProbedVolume, ...]) -> ProbedStore:
    """A store is no cleaner than its volume, where it asks for more than its own files."""
    if facts.GRADES.index(store.reached) <= facts.GRADES.index("L2"):
        return store
    limits: list[tuple[GradeName, str]] = [(store.reached, store.why_not_higher)]
    mine = [v for v in volumes if store.name in v.stores]
    limits += [(v.reached, f"{v.name}: {v.why_not_higher}") for v in mine] or [("L2", NO_VOLUME)]
    reached, why = facts.lowest(limits)
    return replace(store, reached=reached, why_not_higher=why[:1000])


def _volume_reasons(session: Session, volumes: tuple[ProbedVolume, ...]) -> tuple[str, ...]:
    """A volume that fell below what the plan promised: residue, which another run of destroy wipes, or a
    search that fell short, which another probe may mend. Accepting would let this auditor's share go."""
    promised = {v.name: v.grade for v in session.case.require(Plan).body(Plan).volumes or ()}
    return tuple(
        f"{v.name} reached {v.reached}, the plan promised {promised[v.name]}: {v.why_not_higher}"[:1000]
        for v in volumes
        if facts.GRADES.index(v.reached) < facts.GRADES.index(promised[v.name])
    )


def _own_endpoints(session: Session, options: Options) -> tuple[retired.Target, ...]:
    """Addresses that the auditor, as its users do, knows an app by: the case file may name another."""
    known = {a.name for a in session.case.charter.apps}
    for app, _ in options.endpoints:
        if app not in known:
            raise UsageError(f"the charter names no app {app}", hint="its apps: " + ", ".join(sorted(known)))
    return tuple(retired.target(app, "endpoint", address) for app, address in options.endpoints)


def _app_reasons(apps: tuple[CheckedApp, ...]) -> tuple[str, ...]:
    """An app that still runs goes on collecting what was destroyed; another probe may see it gone."""
    standing = (a for a in apps if a.state == "still there")
    return tuple(f"app {a.app} is still there ({a.check}: {a.note})" for a in standing)


def _recall(session: Session, store: str) -> tuple[Recall, ...]:
    """What this auditor's own challenge had found of this store, raw, before destruction."""
    mine: list[Entry] = [e for e in session.case.all(Challenge) if e.signer.key_id == session.public.key_id]
    return tuple(r for r in mine[-1].body(Challenge).recall if r.store == store) if mine else ()


def _reached(table: StoreTable, planned: PlanStore) -> frozenset[str]:
    """The kinds of copies that the plan's shared actions reach, or that go with the store's server."""
    actions = OF_SERVER.get(table.kind, {})
    found = frozenset(kind for action in planned.shared for kind in actions.get(action.kind, ()))
    return found | WITH_SERVER.get(table.kind, frozenset()) if table.retire_server else found


def _not_reached(store: estates.EstateStore) -> tuple[str, ...]:
    kinds = Counter(c.kind for c in store.copies if c.disposition == "not reached")
    return tuple(f"{count} × {kind}" for kind, count in sorted(kinds.items()))


def _empty(session: Session, name: str) -> ProbedStore:
    """A store that had no collection when it was surveyed: nothing to search."""
    asked = next(s.grade for s in session.case.charter.stores if s.name == name)
    return ProbedStore(name, asked, "L1", "the store was empty", 0, 0, 0, 0, 0, (), (), (), True)


def _unread(task: ProbeTask, why: str) -> ProbedStore:
    reason = f"this auditor could not read the store: {why}"[:1000]
    return ProbedStore(
        task.target.store, task.asked, "L1", reason, 0, 0, 0, 0, 0, (), task.recall, task.not_reached, False
    )


def _reasons(session: Session, stores: tuple[ProbedStore, ...]) -> tuple[str, ...]:
    """Why this probe rejects: a store that fell below what the approved plan promised."""
    promised = {s.name: s.grade for s in session.case.require(Plan).body(Plan).stores}
    reasons = [
        f"store {s.name} reached {s.reached}, the plan promised {promised[s.name]}: {s.why_not_higher}"
        for s in stores
        if s.read
        and facts.GRADES.index(s.reached) < facts.GRADES.index(promised[s.name])
        and (
            s.residue
            or s.strangers
            or s.reached == "none"
            or any(one.records for one in s.restores or ())
            or APPEARED in s.why_not_higher
            or NOT_RESTARTED in s.why_not_higher
        )
    ]
    reasons += [
        f"store {s.name}: {why}" for s in stores for why in (MISPLACED, ANOTHER) if why in s.why_not_higher
    ]
    if not session.case.require(Destruction).body(Destruction).complete:
        reasons.append("the destruction is not complete")
    return tuple(r[:1000] for r in reasons)
