"""Destroy: the only stage that opens an eraser, and only with an approved plan.

A child process a store replays the statements itself, since a pickled plan proves nothing, and asks
the case again before each partition. Order of writes (spec/order.md): *begun* in the journal, durably,
with its encrypted digest list in the annex, before the first change; *done* only after the store's own
commit and an empty read; the statement only after that.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from cenotaph import estate as estates
from cenotaph.annex import Annex
from cenotaph.clock import wall_clock
from cenotaph.desk import Desk, cite
from cenotaph.engines import local
from cenotaph.errors import (
    DriftError,
    PartialError,
    PermanentStoreError,
    RefusedError,
    TransientStoreError,
)
from cenotaph.estate import Estate, EstateCollection, EstateStore
from cenotaph.journal import Entry as Line
from cenotaph.journal import Journal
from cenotaph.progress import Tell, quiet
from cenotaph.sealing import SealedPartition, Target
from cenotaph.store import Collection, Eraser, Erasure, OpenEraser, OpenReader, Partition, State
from cenotaph_proof.case import ApprovedPlan, Case, Entry
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.seal import ChunkSeal
from cenotaph_proof.statements import (
    DestroyedCollection,
    DestroyedStore,
    Destruction,
    Inventory,
    Plan,
    Seal,
)
from cenotaph_proof.trust import seconds

STOP = "stop"  # a file in the case directory: finish the partition at hand, then stop
PAUSE = "pause"
NOT_RECLAIMED = "the store's files were not yet reclaimed"


class Interrupted(PartialError):
    """Stopped between two partitions, at the user's request."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class EraseTask:
    """One store's share of a destruction, as a child process needs it."""

    folder: Path
    number: int  # of the store in the case
    target: Target  # of the store's first collection; opener, address and selection are the store's
    eraser: OpenEraser
    erase_url: str = field(repr=False)
    plan: str
    estate: EstateStore = field(repr=False)
    chunks: Mapping[tuple[int, int], tuple[ChunkSeal, ...]] = field(repr=False)
    destroy: tuple[int, ...]
    case_key: bytes = field(repr=False)
    case_id: str
    lock_timeout: int
    bytes_per_second: int | None


def destroy(
    desk: Desk, reader: OpenReader, eraser: OpenEraser, confirm: str, tell: Tell = quiet
) -> Entry | None:
    """Erase what the approved plan names, and sign what was done. Run again, it goes on.

    `confirm` is the plan's digest or at least its first eight characters. Returns None when there was
    nothing left to do.

    Raises: OrderError, ThresholdError when a gate is closed; RefusedError for a wrong `confirm`, and
    DriftError after signing what was done; PartialError when some partitions failed; Interrupted.
    """
    desk.admit_incoming()
    case = desk.case()
    plan = case.approved_plan(desk.clock())
    if len(confirm) < 8 or not plan.digest.startswith(confirm.lower()):
        raise RefusedError(
            "the digest that was confirmed is not that of the newest plan",
            hint=f"look at it (cenotaph plan --show), then confirm {plan.digest[:8]}",
        )
    desk.check_unchanged(case, desk.annex_key(case))
    with Journal(desk.journal_path()) as journal:
        journal.check()
    tasks, estate = _tasks(desk, case, plan, reader, eraser)
    _sign_done(desk, estate)  # what an earlier run did and did not live to say
    (desk.path / STOP).unlink(missing_ok=True)
    if (desk.path / PAUSE).exists():
        raise RefusedError("the case is paused", hint="go on with: cenotaph pause --off")
    outcomes: list[str] = []
    with _stop_on_signal(desk.path / STOP) as stopped:
        for done, (_, outcome) in enumerate(
            local.run(erase_store, tasks, workers=desk.config.limits.workers), 1
        ):
            outcomes.append(outcome)
            tell("stores erased", done, len(tasks))
    entry = _sign_done(desk, estate)
    _raise_for(outcomes, bool(stopped))
    return entry


def erase_store(task: EraseTask) -> str:
    """Erase one store's partitions, then reclaim. Runs in a child process. Returns "done", "drift",
    "refused", "failed" or "stopped"."""
    case = CaseFolder(task.folder).replay()
    with Journal(task.folder / "journal.sqlite") as journal:
        eraser = task.eraser(task.erase_url, task.target.selection)
        try:
            return _Run(task, case, journal, eraser).run()
        finally:
            eraser.close()


class _Run:
    """One store, partition by partition."""

    def __init__(self, task: EraseTask, case: Case, journal: Journal, eraser: Eraser) -> None:
        self.task = task
        self.case = case
        self.journal = journal
        self.eraser = eraser
        self.annex = Annex(task.folder / "annex", task.case_id)
        self.failed = False

    def run(self) -> str:
        state = self.journal.latest("begun", "done")
        for item in self.task.estate.collections:
            if item.ordinal not in self.task.destroy:
                continue
            for partition in item.partitions:
                last = state.get((self.task.estate.name, item.ordinal, partition.index))
                if last is not None and last.kind == "done":
                    continue
                if self._must_stop():
                    return "stopped"
                try:
                    self._erase(item, partition, last)
                except DriftError as error:
                    self._append("drift", item.ordinal, partition.index, why=error.message)
                    return "drift"
                except RefusedError as error:
                    self._append("failed", item.ordinal, partition.index, why=error.message)
                    return "refused"
        if not self._reclaim():
            return "failed"
        return "failed" if self.failed else "done"

    def _erase(self, item: EstateCollection, partition: Partition, last: Line | None) -> None:
        """Raises: DriftError; a failure of the store is journalled, and the next partition follows."""
        approved = self.case.approved_plan(wall_clock())
        if approved.digest != self.task.plan or item.ordinal not in _planned(approved, self.task.estate.name):
            raise RefusedError("the approved plan changed while it was carried out")
        resume = self._resume(item.ordinal, partition.index) if last is not None else None
        sealed = SealedPartition(
            self.task.case_key,
            replace(
                self.task.target,
                collection=item.collection.name,
                ordinal=item.ordinal,
                order=item.collection.order,
            ),
            self.task.chunks[item.ordinal, partition.index],
            bytes.fromhex(str(resume["digests"])) if resume is not None else None,
        )
        progress = _Progress(self, item.ordinal, partition.index, sealed, resume)
        try:
            erasure = self._patiently(partition, sealed, progress)
        except (TransientStoreError, PermanentStoreError) as error:
            self._append("failed", item.ordinal, partition.index, why=error.message)
            self.failed = True
            return
        self._append(
            "done",
            item.ordinal,
            partition.index,
            records=sealed.records,
            destroyed=str(erasure.destroyed_as),
            overwritten=erasure.overwritten_bytes,
            freed=erasure.freed_bytes,
        )
        self.annex.destroy(self._resume_name(item.ordinal, partition.index))

    def _patiently(self, partition: Partition, sealed: SealedPartition, progress: _Progress) -> Erasure:
        """Try again while the store is busy, for as long as the case's lock timeout."""
        deadline, pause = time.monotonic() + self.task.lock_timeout, 0.1
        while True:
            try:
                return self.eraser.erase(partition, sealed, progress)
            except TransientStoreError:
                if time.monotonic() + pause > deadline or progress.fresh:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _reclaim(self) -> bool:
        """Reclaim after the partitions, unless it was done since the last of them. False if it failed."""
        lines = [e for e in self.journal.entries() if e.store == self.task.estate.name]
        last_done = max((e.seq for e in lines if e.kind == "done"), default=0)
        last_reclaimed = max((e.seq for e in lines if e.kind == "reclaimed"), default=-1)
        if last_reclaimed > last_done:
            return True
        self._append("reclaiming")
        try:
            reached = self.eraser.reclaim(self._finished(lines))
        except (TransientStoreError, PermanentStoreError) as error:
            self._append("reclaim failed", why=error.message)
            return False
        self._append(
            "reclaimed",
            reached=reached.reached.name if reached.reached else "none",
            why=reached.why_not_higher,
            overwritten=reached.overwritten_bytes,
            freed=reached.freed_bytes,
            notes=list(reached.notes),
        )
        return True

    def _finished(self, lines: list[Line]) -> list[Collection]:
        done = {(e.collection, e.partition) for e in lines if e.kind == "done"}
        return [
            item.collection
            for item in self.task.estate.collections
            if item.ordinal in self.task.destroy
            and all((item.ordinal, p.index) in done for p in item.partitions)
        ]

    def _must_stop(self) -> bool:
        return (self.task.folder / STOP).exists() or (self.task.folder / PAUSE).exists()

    def _append(self, kind: str, collection: int = -1, partition: int = -1, **body: object) -> None:
        self.journal.append(kind, self.task.estate.name, collection, partition, **body)

    def _resume_name(self, collection: int, partition: int) -> str:
        return f"resume-{self.task.number}-{collection}-{partition}"

    def _resume(self, collection: int, partition: int) -> dict[str, object]:
        return dict(self.annex.read_json(self._resume_name(collection, partition), self.task.case_key))


class _Progress:
    """The journal's side of one partition (`cenotaph.store.Progress`)."""

    def __init__(
        self,
        run: _Run,
        collection: int,
        partition: int,
        sealed: SealedPartition,
        resume: Mapping[str, object] | None,
    ) -> None:
        self._run = run
        self._where = (collection, partition)
        self._sealed = sealed
        self._resume = resume
        self._since, self._bytes = time.monotonic(), 0
        self.fresh = False  # begun in this run: what comes now must not be tried as if it were not

    @property
    def begun(self) -> State | None:
        return None if self._resume is None else self._resume["state"]  # type: ignore[return-value]

    def begin(self, state: State) -> None:
        document = {"state": dict(state), "digests": self._sealed.digests.hex()}
        name = self._run._resume_name(*self._where)
        digest = self._run.annex.write_json(name, self._run.task.case_key, document)
        self._run._append(
            "begun", *self._where, records=self._sealed.records, list=digest, plan=self._run.task.plan
        )
        self._resume, self.fresh = document, True

    def advance(self, records: int, bytes: int) -> None:
        self._bytes += bytes
        limit = self._run.task.bytes_per_second
        if limit:
            ahead = self._bytes / limit - (time.monotonic() - self._since)
            if ahead > 0:
                time.sleep(ahead)


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────


def _tasks(
    desk: Desk, case: Case, plan: ApprovedPlan, reader: OpenReader, eraser: OpenEraser
) -> tuple[list[EraseTask], Estate]:
    annex = desk.annex(case)
    inventory = case.require(Inventory).body(Inventory)
    estate = estates.from_json(annex.read_json("inventory", desk.annex_key(case), inventory.annex))
    key = desk.case_key(case)
    sealed = estates.sealed_from_json(annex.read_json("seal", key, case.require(Seal).body(Seal).annex))
    limits = desk.config.limits
    tasks = []
    for number, (store, planned) in enumerate(zip(estate.stores, plan.plan.stores, strict=True)):
        table = desk.config.find(store.name)
        if not store.collections:
            continue
        target = estates.target(desk.config, reader, store, store.collections[0], desk.config.url(table))
        tasks.append(
            EraseTask(
                folder=desk.path,
                number=number,
                target=replace(target, selection=estates.narrowed(target.selection, store, planned.left_out)),
                eraser=eraser,
                erase_url=desk.config.url(table, erase=True),
                plan=plan.digest,
                estate=store,
                chunks={(c, p): chunks for (s, c, p), chunks in sealed.chunks.items() if s == store.name},
                destroy=planned.destroy,
                case_key=key,
                case_id=case.charter.case,
                lock_timeout=seconds(limits.lock_timeout, "lock_timeout"),
                bytes_per_second=limits.bytes_per_second,
            )
        )
    return tasks, estate


def _planned(plan: ApprovedPlan, store: str) -> tuple[int, ...]:
    return next(s.destroy for s in plan.plan.stores if s.name == store)


# ── the statement ────────────────────────────────────────────────────────────────────────────────


def _sign_done(desk: Desk, estate: Estate) -> Entry | None:
    """Sign what the journal shows and no destruction has said yet; None when there is nothing."""
    case = desk.case()
    with Journal(desk.journal_path()) as journal:
        older = case.latest(Destruction)
        covered = journal.covered(older.body(Destruction).journal) if older else 0
        lines = list(journal.entries())
        news = [e for e in lines if e.seq > covered and e.kind in ("done", "reclaimed", "drift", "failed")]
        complete = _complete(case, estate, lines)
        if not news and not (complete and older is None):
            return None
        body = _body(desk, case, estate, lines, covered, journal.head(), complete)
    plan = case.require(Plan)
    assert case.charter_entry is not None
    return desk.sign(body, cite(case.charter_entry), cite(plan))


def _body(
    desk: Desk, case: Case, estate: Estate, lines: list[Line], covered: int, head: str, complete: bool
) -> Destruction:
    span = [e.time for e in lines if e.seq > covered] or [desk.clock()]
    return Destruction(
        number=len(case.all(Destruction)) + 1,
        started=min(span),
        finished=max(span),
        journal=head,
        stores=tuple(
            _store(planned.destroy, store, [e for e in lines if e.store == store.name], covered)
            for store, planned in zip(estate.stores, case.require(Plan).body(Plan).stores, strict=True)
        ),
        complete=complete,
    )


def _store(destroy: tuple[int, ...], store: EstateStore, lines: list[Line], covered: int) -> DestroyedStore:
    news = [e for e in lines if e.seq > covered]
    reclaimed = [e for e in lines if e.kind == "reclaimed"]
    last_done = max((e.seq for e in lines if e.kind == "done"), default=0)
    fresh = bool(reclaimed) and reclaimed[-1].seq > last_done
    counted = [e for e in news if e.kind in ("done", "reclaimed")]
    return DestroyedStore(
        name=store.name,
        collections=tuple(_collection(c, lines, news) for c in store.collections if c.ordinal in destroy),
        reached=reclaimed[-1].body["reached"] if fresh else "none",
        why_not_higher=reclaimed[-1].body["why"][:1000] if fresh else NOT_RECLAIMED,
        overwritten=sum(e.body["overwritten"] for e in counted),
        returned=sum(e.body["freed"] for e in counted),
        notes=tuple(reclaimed[-1].body["notes"]) if fresh else (),
    )


def _collection(item: EstateCollection, lines: list[Line], news: list[Line]) -> DestroyedCollection:
    mine = [e for e in news if e.collection == item.ordinal and e.kind == "done"]
    done = {e.partition for e in lines if e.collection == item.ordinal and e.kind == "done"}
    remaining = sum(1 for p in item.partitions if p.index not in done)
    reasons = [e.body["why"] for e in news if e.collection == item.ordinal and e.kind in ("failed", "drift")]
    counts = {c: sum(e.body["records"] for e in mine if e.body["destroyed"] == c) for c in _CLASSES}
    return DestroyedCollection(
        ordinal=item.ordinal,
        records=sum(counts.values()),
        as_sealed=counts["as sealed"],
        watched=counts["watched"],
        unknown=counts["unknown"],
        partitions=len(mine),
        remaining=remaining,
        reason=reasons[-1][:1000] if remaining and reasons else None,
    )


_CLASSES = ("as sealed", "watched", "unknown")


def _complete(case: Case, estate: Estate, lines: list[Line]) -> bool:
    done = {(e.store, e.collection, e.partition) for e in lines if e.kind == "done"}
    for store, planned in zip(estate.stores, case.require(Plan).body(Plan).stores, strict=True):
        for item in store.collections:
            for partition in item.partitions if item.ordinal in planned.destroy else ():
                if (store.name, item.ordinal, partition.index) not in done:
                    return False
    return True


def _raise_for(outcomes: list[str], stopped: bool) -> None:
    if "drift" in outcomes:
        raise DriftError(
            "something changed since it was sealed; nothing of it was destroyed, the rest was signed",
            hint="see cenotaph status; take it out with: cenotaph plan, then destroy again",
        )
    if "refused" in outcomes:
        raise RefusedError(
            "a store refused to be erased; what was done before is signed",
            hint="see cenotaph status for the reason; leave the collection out with: cenotaph plan --leave-out",
        )
    if stopped:
        raise Interrupted("stopped between two partitions", hint="run the same command again to go on")
    if "stopped" in outcomes:
        raise PartialError("paused", hint="go on with: cenotaph pause --off, then destroy again")
    if "failed" in outcomes:
        raise PartialError(
            "some partitions could not be erased; what was done is signed",
            hint="see cenotaph status for the reasons, mend them, then run the same command again",
        )


@contextmanager
def _stop_on_signal(flag: Path) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM asks the children to stop between partitions; the second ends us."""
    stopped: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)
        flag.touch()

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        flag.unlink(missing_ok=True)
