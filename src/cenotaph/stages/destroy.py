"""Destroy: the only stage that opens an eraser, and only with an approved plan.

A child process a store replays the statements itself, since a pickled plan proves nothing, and asks
the case again before each partition. Order of writes (spec/order.md): *begun* in the journal, durably,
with what it needs to go on in the annex, before the first change; *done* only after the store's own
commit and an empty read; the statement only after that (`cenotaph.account`, by the desk).

One command at a time works on a case, and one process at a time on a store: a worker whose command was
killed may live on for a moment.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeAlias, TypeVar

from cenotaph import estate as estates
from cenotaph import lock, pace, retiring, serving, terrain, wiping
from cenotaph.annex import Annex
from cenotaph.clock import Clock, inside
from cenotaph.config import PLACES, StoreTable
from cenotaph.desk import Desk, alone
from cenotaph.engines import local
from cenotaph.errors import (
    CenotaphError,
    DriftError,
    PartialError,
    PermanentStoreError,
    RefusedError,
    TransientStoreError,
)
from cenotaph.estate import EstateCollection, EstateStore
from cenotaph.journal import Entry as Line
from cenotaph.journal import Journal
from cenotaph.progress import Tell, quiet, watched
from cenotaph.sealing import SealedPartition, Target
from cenotaph.store import (
    AT_ONCE,
    Assignment,
    Collection,
    Eraser,
    Erasure,
    Independent,
    OpenEraser,
    OpenReader,
    Ordered,
    Partition,
    Proving,
    State,
    Wholesale,
)
from cenotaph_proof.case import ApprovedPlan, Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.seal import ChunkSeal
from cenotaph_proof.statements import Destruction, Seal
from cenotaph_proof.trust import seconds

T = TypeVar("T")
Left: TypeAlias = tuple[EstateCollection, Partition, Line | None]
"""A partition that is not done, with its last line in the journal."""

STOP = "stop"  # a file in the case directory: finish the partition at hand, then stop
PAUSE = "pause"
AGAIN = "run the same command again: it goes on where it stopped"


TOGETHER = 1 << 20  # records, from which on partitions of one store are worth being erased by several
_GRAVEST = ("stopped", "drift", "refused")


class Interrupted(PartialError):
    """Stopped between two partitions, at the user's request."""

    exit_code = 130


class _Ended(Exception):
    """One store's work ended before its end."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class _Asked(Exception):
    """Somebody asked to stop, or the case's window is over."""


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
    contents: Mapping[tuple[int, int], bytes] = field(repr=False)
    destroy: tuple[int, ...]
    shared: frozenset[str]
    case_key: bytes = field(repr=False)
    case_id: str
    lock_timeout: int
    bytes_per_second: int | None
    window: tuple[int, int] | None
    since: int  # the journal line up to which everything is signed; a probe that rejected wants more
    rejected: bool
    clock: Clock
    together: int = 1  # processors for it, where its partitions may be erased at the same time
    reclaims: bool = True  # not where other stores of its server are still to be erased

    @property
    def records(self) -> int:
        """That were sealed and are to be destroyed, in all runs together."""
        return sum(c.records for (o, _), chunks in self.chunks.items() if o in self.destroy for c in chunks)


@alone
def destroy(
    desk: Desk, reader: OpenReader, eraser: OpenEraser, confirm: str, tell: Tell = quiet
) -> Entry | None:
    """Erase what the approved plan names, and sign what was done. Run again, it goes on.

    `confirm` is the plan's digest or at least its first eight characters. Returns None when there was
    nothing left to do.

    Raises: OrderError, ThresholdError when a gate is closed; RefusedError for a wrong `confirm`, and
    DriftError after signing what was done; PartialError when some partitions failed; Interrupted.
    """
    desk.admit_incoming()  # which first signs what an earlier run did and did not live to say
    case = desk.case()
    plan = case.approved_plan(desk.clock())
    if len(confirm) < 8 or not plan.digest.startswith(confirm.lower()):
        raise RefusedError(
            "the digest that was confirmed is not that of the newest plan",
            hint=f"look at it (cenotaph plan --show), then confirm {plan.digest[:8]}",
        )
    _check_not_certifying(desk)
    desk.check_unchanged(case, desk.annex_key(case))
    serving.check(desk.config, reader, desk.estate(case))
    tasks = _tasks(desk, case, plan, reader, eraser)
    (desk.path / STOP).unlink(missing_ok=True)
    if (desk.path / PAUSE).exists():
        raise RefusedError("the case is paused", hint="go on with: cenotaph pause --off")
    if not inside(desk.config.window(), desk.clock()):
        raise RefusedError(f"the case destroys only between {desk.config.limits.window} UTC")
    outcomes: list[str] = []
    shares = _shares(desk, tasks)
    keeping = pace.kept(desk.path, "destroy", "records destroyed", shares, tell, plan.digest)
    with (
        keeping as keeper,
        pace.following(desk.journal_path(), keeper),
        _stop_on_signal(desk.path / STOP) as stopped,
    ):
        try:
            outcomes += _erase_stores(desk, tasks)
            ended = _retire_servers(desk, case, plan, eraser, tell)
            outcomes += ended
            if set(ended) <= {"done"}:
                outcomes += _wipe_volumes(desk, case, plan, tell)
        except CenotaphError:
            desk.say_done()
            raise
    entry = desk.say_done(empty=True)
    _raise_for(outcomes, bool(stopped), _reasons(entry, _wipe_failures(desk, outcomes)))
    return entry


def _shares(desk: Desk, tasks: list[EraseTask]) -> dict[str, pace.Share]:
    """What there is to destroy in each store, and what earlier runs did."""
    before = Counter[str]()
    with Journal(desk.journal_path()) as journal:
        for line in journal.latest("done").values():
            before[line.store] += int(line.body["records"])
    return {
        task.estate.name: pace.Share(
            task.records,
            sum(c.collection.bytes for c in task.estate.collections if c.ordinal in task.destroy),
            before[task.estate.name],
        )
        for task in tasks
    }


def _erase_stores(desk: Desk, tasks: list[EraseTask]) -> list[str]:
    """Erase every store and reclaim. Those of one server are reclaimed one by one, once all of them are
    erased: they have an archive in common, and a base backup made anew has whoever is in any of them."""
    servers = serving.together([task.estate for task in tasks])
    later = {name for names in servers for name in names}
    first = [replace(task, reclaims=task.estate.name not in later) for task in tasks]
    ended: dict[str, str] = {}
    for task, outcome in local.run(erase_store, first, workers=desk.config.limits.workers):
        ended[task.estate.name] = outcome
    for names in servers:
        waiting = [name for name in names if ended[name] == "done"]
        if len(waiting) < len(names):
            with Journal(desk.journal_path(), desk.clock) as journal:
                for name in waiting:
                    journal.append("reclaim failed", name, why=serving.WAITS)
            continue
        mine = [task for task in tasks if task.estate.name in names]
        ended |= {task.estate.name: outcome for task, outcome in local.run(erase_store, mine, workers=1)}
    return list(ended.values())


def erase_store(task: EraseTask) -> str:
    """Erase one store's partitions, then reclaim. Runs in a child process. Returns "done", "drift",
    "refused", "failed" or "stopped"."""
    case = CaseFolder(task.folder).replay()
    mine = task.folder / f".erasing-{task.number}"
    with lock.held(mine, wait=task.lock_timeout) as alone, _journal(task) as journal:
        if not alone:
            raise PartialError(f"another process is still erasing store {task.estate.name}", hint=AGAIN)
        return _Run(task, case, journal).run()


def _journal(task: EraseTask) -> Journal:
    return Journal(task.folder / "journal.sqlite", task.clock)


class _Run:
    """One store, partition by partition."""

    def __init__(self, task: EraseTask, case: Case, journal: Journal) -> None:
        self.task = task
        self.case = case
        self.journal = journal
        self.annex = Annex(task.folder / "annex", task.case_id)
        self.failed = False
        self._eraser: Eraser | None = None

    def run(self) -> str:
        state = self.journal.latest("begun", "done")
        left = [
            (item, partition, last)
            for item in self.task.estate.collections
            for partition in item.partitions
            for last in (state.get((self.task.estate.name, item.ordinal, partition.index)),)
            if item.ordinal in self.task.destroy and (last is None or last.kind != "done")
        ]
        try:
            if self.task.target.around.sets_aside and (left or self._cut_off()):
                self._mend()
            if self._changed(left):
                return "drift"
            return self._erase_all(self._in_order(left))
        except _Asked:
            self._append("reclaim failed", why="stopped between two steps, as asked")
            return "stopped"
        except (TransientStoreError, PermanentStoreError) as error:  # the store cannot be opened
            for item in {item.ordinal: item for item, _, _ in left}.values():
                self._append("failed", item.ordinal, why=error.message)
            if not left:
                self._append("reclaim failed", why=error.message)
            return "failed"
        finally:
            if self._eraser is not None:
                self._eraser.close()

    def _cut_off(self) -> bool:
        """Whether an earlier run may have left a table without its rows or without its end: also one that the
        plan has left out since. Reclaiming mends, too."""
        lines = self._lines()
        newest = {(e.collection, e.partition): e for e in lines if e.kind in ("begun", "done")}
        reclaimed = max((e.seq for e in lines if e.kind == "reclaimed"), default=-1)
        return any(e.kind == "begun" and e.seq > reclaimed for e in newest.values())

    def _mend(self) -> None:
        """Until then, not even counting the rows of a table may work."""
        eraser = self.eraser
        if isinstance(eraser, Wholesale):
            self._patiently(eraser.mend)

    @property
    def eraser(self) -> Eraser:
        """Opened when it is first needed: after the reader that looks for changes was closed."""
        if self._eraser is None:
            task = self.task
            self._eraser = task.eraser(task.erase_url, task.target.selection, task.shared, task.target.around)
            serving.heed(self._eraser, self._stop_here)
        return self._eraser

    def _in_order(self, left: list[Left]) -> list[Left]:
        """As the store wants it, where it does; else by collection and partition."""
        if not left or not isinstance(self.eraser, Ordered):
            return left
        collections = list({item.ordinal: item.collection for item, _, _ in left}.values())
        rank = {ordinal: place for place, ordinal in enumerate(self.eraser.order(collections))}
        return sorted(left, key=lambda one: (rank[one[0].ordinal], one[1].index))

    def _erase_all(self, left: list[Left]) -> str:
        try:
            threads = self._threads(left)
            if threads > 1:
                self._erase_together(left, threads)
            else:
                self._erase_in_turn(left)
        except _Ended as ended:
            return ended.outcome
        if self.task.reclaims and not self._reclaim():
            return "failed"
        return "failed" if self.failed else "done"

    def _erase_in_turn(self, left: list[Left]) -> None:
        for _, several in groupby(left, lambda one: one[0].ordinal):
            parts = list(several)
            if not self._erase_whole(parts):
                for item, partition, last in parts:
                    self._erase(item, partition, last)

    def _threads(self, left: list[Left]) -> int:
        if self.task.together == 1 or not left or not isinstance(self.eraser, Independent):
            return 1
        known = all((item.ordinal, partition.index) in self.task.contents for item, partition, _ in left)
        return self.eraser.threads([partition for _, partition, _ in left], self.task.together, known=known)

    def _erase_together(self, left: list[Left], threads: int) -> None:
        """By several threads, each with an eraser and a journal of its own: what takes long in one leaves
        Python to the others. When one ends, the others finish the partition at hand. Raises: _Ended, the
        gravest."""
        queue: SimpleQueue[Left] = SimpleQueue()
        for one in left:
            queue.put(one)
        with ThreadPoolExecutor(threads) as pool:
            working = [pool.submit(self._erase_from, queue) for _ in range(threads)]
        ended = [outcome for one in working if (outcome := one.result()) is not None]
        if ended:
            raise _Ended(max(ended, key=_GRAVEST.index))

    def _erase_from(self, queue: SimpleQueue[Left]) -> str | None:
        """Until nothing waits. What ended it, if something did; nothing waits for the others then."""
        with _journal(self.task) as journal:
            mine = _Run(self.task, self.case, journal)
            try:
                while True:
                    mine._erase(*queue.get_nowait())
            except Empty:
                return None
            except _Ended as ended:
                return ended.outcome
            finally:
                self.failed |= mine.failed
                with suppress(Empty):  # whatever it was that ended it
                    while True:
                        queue.get_nowait()
                if mine._eraser is not None:
                    mine._eraser.close()

    def _changed(self, left: list[Left]) -> bool:
        """Refuse early: journal the drift of collections that have more or fewer records than were sealed.

        Looks only at collections of which nothing was begun, and before anything of this run is: what a
        cut-off run changed is no drift. It compares counts, which a database's checkpoint does not move; that
        the records are the same is for `SealedPartition.check` to show, under the lock. Each partition can
        show only that its own records are there; what was *added* (a file in a folder) shows here.
        """
        begun = {e.collection for e in self._lines() if e.kind in ("begun", "done")}
        fresh = {item.ordinal: item for item, _, _ in left if item.ordinal not in begun}
        if not fresh:
            return False
        now = self._patiently(self._count)
        known = {item.collection.name for item in self.task.estate.collections}
        appeared = [count for name, count in now.items() if name not in known and count]
        if appeared and not begun:
            why = f"{len(appeared)} collections with {sum(appeared)} records appeared since the survey"
            self._append("appeared", why=why)
        moved = {o: i for o, i in fresh.items() if now.get(i.collection.name, 0) != i.collection.records}
        for ordinal, item in moved.items():
            have = now.get(item.collection.name, 0)
            why = f"{item.collection.records} records were sealed, {have} are there; nothing was destroyed"
            self._append("drift", ordinal, why=why)
        return bool(moved)

    def _count(self) -> dict[str, int]:
        """Selected records by collection, as the store has them now."""
        target = self.task.target
        reader = target.opener(self.task.erase_url, target.selection, target.around)
        try:
            return {c.name: c.records for c in reader.collections()}
        finally:
            reader.close()

    def _lines(self) -> list[Line]:
        return [e for e in self.journal.entries() if e.store == self.task.estate.name]

    def _erase(self, item: EstateCollection, partition: Partition, last: Line | None) -> None:
        """A failure of the store is journalled, and the next partition follows. Raises: _Ended."""
        with self._ending(item.ordinal, lambda: partition.index):
            try:
                sealed, progress = self._assigned(item, partition, last)
                erasure = self._patiently(
                    lambda: self.eraser.erase(partition, sealed, progress), lambda: progress.fresh
                )
            except (TransientStoreError, PermanentStoreError) as error:
                self._append("failed", item.ordinal, partition.index, why=error.message)
                self.failed = True
                return
        self._append_done(partition, sealed, erasure)

    def _erase_whole(self, parts: Sequence[Left]) -> bool:
        """All that is left of a collection at once, where that is all of it and the store can; whether it
        went, or failed, that way. Raises: _Ended."""
        item, eraser = parts[0][0], self.eraser
        if len(parts) < len(item.partitions) or not isinstance(eraser, Wholesale):
            return False
        given: list[tuple[Partition, SealedPartition, _Progress]] = []
        with self._ending(item.ordinal, lambda: given[-1][0].index if given else -1):
            try:
                erasures = self._patiently(
                    lambda: eraser.erase_whole(item.collection, self._one_by_one(parts, given)),
                    lambda: any(progress.fresh for _, _, progress in given),
                )
            except (TransientStoreError, PermanentStoreError) as error:
                self._append("failed", item.ordinal, why=error.message)
                self.failed = True
                return True
        if erasures is None:
            return False
        for (partition, sealed, _), erasure in zip(given, erasures, strict=True):
            self._append_done(partition, sealed, erasure)
        return True

    def _one_by_one(
        self, parts: Sequence[Left], given: list[tuple[Partition, SealedPartition, _Progress]]
    ) -> Iterator[Assignment]:
        given.clear()  # the store was busy, and is tried again
        for item, partition, last in parts:
            sealed, progress = self._assigned(item, partition, last)
            given.append((partition, sealed, progress))
            yield Assignment(partition, sealed, progress)
            sealed.forget()

    @contextmanager
    def _ending(self, ordinal: int, partition: Callable[[], int]) -> Iterator[None]:
        try:
            yield
        except DriftError as error:
            self._append("drift", ordinal, partition(), why=error.message)
            raise _Ended("drift") from None
        except RefusedError as error:
            self._append("failed", ordinal, partition(), why=error.message)
            raise _Ended("refused") from None

    def _assigned(
        self, item: EstateCollection, partition: Partition, last: Line | None
    ) -> tuple[SealedPartition, _Progress]:
        """A partition's seal and journal. Raises: _Ended where asked to stop; RefusedError: a closed gate."""
        if self._must_stop():
            raise _Ended("stopped")
        approved = self.case.approved_plan(self.task.clock())
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
            resume.digests if resume is not None else None,
            listed=not isinstance(self._patiently(lambda: self.eraser), Proving),
            content=self.task.contents.get((item.ordinal, partition.index)),
        )
        return sealed, _Progress(self, item.ordinal, partition.index, sealed, resume)

    def _append_done(self, partition: Partition, sealed: SealedPartition, erasure: Erasure) -> None:
        where = partition.collection, partition.index
        self._append(
            "done",
            *where,
            records=sealed.records,
            destroyed=str(erasure.destroyed_as),
            overwritten=erasure.overwritten_bytes,
            freed=erasure.freed_bytes,
        )
        self.annex.destroy(self._resume_name(*where))

    def _patiently(self, act: Callable[[], T], give_up: Callable[[], bool] = lambda: False) -> T:
        """Try again while the store is busy, for as long as the case's lock timeout."""
        deadline, pause = time.monotonic() + self.task.lock_timeout, 0.1
        while True:
            try:
                return act()
            except TransientStoreError:
                if time.monotonic() + pause > deadline or give_up():
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _reclaim(self) -> bool:
        """Reclaim after the partitions, unless it was done since the last of them. False if it failed.

        After a probe that rejected, what was reclaimed before it does not count.
        """
        lines = self._lines()
        last_done = max((e.seq for e in lines if e.kind == "done"), default=0)
        last_done = max(last_done, self.task.since) if self.task.rejected else last_done
        last_reclaimed = max((e.seq for e in lines if e.kind == "reclaimed"), default=-1)
        if last_reclaimed > last_done:
            return True
        self._stop_here()
        self._append("reclaiming")
        try:
            finished = self._finished(lines)
            reached = self._patiently(lambda: self.eraser.reclaim(finished))
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

    def _stop_here(self) -> None:
        if self._must_stop():
            raise _Asked

    def _must_stop(self) -> bool:
        asked = (self.task.folder / STOP).exists() or (self.task.folder / PAUSE).exists()
        return asked or not inside(self.task.window, self.task.clock())

    def _append(self, kind: str, collection: int = -1, partition: int = -1, **body: object) -> None:
        self.journal.append(kind, self.task.estate.name, collection, partition, **body)

    def _resume_name(self, collection: int, partition: int) -> str:
        return f"resume-{self.task.number}-{collection}-{partition}"

    def _resume(self, collection: int, partition: int) -> _Resume:
        return _Resume.from_bytes(
            self.annex.read(self._resume_name(collection, partition), self.task.case_key)
        )


@dataclass(frozen=True, slots=True)
class _Resume:
    """What a partition that was begun needs to go on (spec/annex.md)."""

    state: State
    digests: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """A line of JSON, then the digests as they are: they are most of it."""
        return json.dumps(dict(self.state), separators=(",", ":")).encode() + b"\n" + self.digests

    @classmethod
    def from_bytes(cls, data: bytes) -> _Resume:
        state, _, digests = data.partition(b"\n")
        return cls(json.loads(state), digests)


class _Progress:
    """The journal's side of one partition (`cenotaph.store.Progress`)."""

    def __init__(
        self,
        run: _Run,
        collection: int,
        partition: int,
        sealed: SealedPartition,
        resume: _Resume | None,
    ) -> None:
        self._run = run
        self._where = (collection, partition)
        self._sealed = sealed
        self._resume = resume
        self._since, self._bytes = time.monotonic(), 0
        self.fresh = False  # begun in this run: what comes now must not be tried as if it were not

    @property
    def begun(self) -> State | None:
        return None if self._resume is None else self._resume.state

    def begin(self, state: State) -> None:
        document = _Resume(state, b"" if state.get(AT_ONCE) else self._sealed.digests)
        name = self._run._resume_name(*self._where)
        digest = self._run.annex.write(name, self._run.task.case_key, document.to_bytes())
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
) -> list[EraseTask]:
    annex, estate = desk.annex(case), desk.estate(case)
    key = desk.case_key(case)
    sealed = estates.sealed_from_json(annex.read_json("seal", key, case.require(Seal).body(Seal).annex))
    limits = desk.config.limits
    since = _signed_until(desk, case)
    tasks = []
    for number, (store, planned) in enumerate(zip(estate.stores, plan.plan.stores, strict=True)):
        table = desk.config.find(store.name)
        if not store.collections:
            continue
        _check_place(desk, table, store)
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
                contents={(c, p): digest for (s, c, p), digest in sealed.contents.items() if s == store.name},
                destroy=planned.destroy,
                shared=frozenset(action.kind for action in planned.shared),
                case_key=key,
                case_id=case.charter.case,
                lock_timeout=seconds(limits.lock_timeout, "lock_timeout"),
                bytes_per_second=limits.bytes_per_second,
                window=desk.config.window(),
                since=since,
                rejected=case.rejected(),
                clock=desk.clock,
            )
        )
    return [replace(task, together=_together(desk, task, len(tasks))) for task in tasks]


def _together(desk: Desk, task: EraseTask, stores: int) -> int:
    """How many processors a store's partitions are erased by: its share of the workers, one where a rate is
    to be kept, or where it is not worth it."""
    if task.bytes_per_second is not None or task.records < TOGETHER:
        return 1
    return max(1, desk.config.limits.workers // stores)


def _signed_until(desk: Desk, case: Case) -> int:
    """The journal line up to which destructions have said everything."""
    last = case.latest(Destruction)
    with Journal(desk.journal_path()) as journal:
        return journal.covered(last.body(Destruction).journal) if last else 0


def _retire_servers(desk: Desk, case: Case, plan: ApprovedPlan, eraser: OpenEraser, tell: Tell) -> list[str]:
    """End the servers whose stores are all erased, where the case says that they go too."""
    with Journal(desk.journal_path()) as journal:
        lines = list(journal.entries())
    servers: dict[str, list[StoreTable]] = {}
    for table in desk.config.store:
        if table.retire_server:
            servers.setdefault(str(desk.config.home(table)), []).append(table)
    planned = {store.name: store for store in plan.plan.stores}
    tasks = [
        retiring.RetireTask(
            folder=desk.path,
            stores=tuple(table.name for table in tables),
            eraser=eraser,
            url=desk.config.url(tables[0], erase=True),
            selection=desk.config.selection(tables[0]),
            around=replace(
                desk.config.surroundings(tables[0]), keeper=_keeper(desk.estate(case), tables[0].name)
            ),
            plan=plan.digest,
            lock_timeout=seconds(desk.config.limits.lock_timeout, "lock_timeout"),
            window=desk.config.window(),
            flags=(STOP, PAUSE),
            clock=desk.clock,
        )
        for tables in servers.values()
        if retiring.is_due([planned[table.name] for table in tables], lines)
    ]
    outcomes = []
    for done, (_, outcome) in enumerate(local.run(retiring.retire_server, tasks, workers=1), 1):
        outcomes.append(outcome)
        tell("servers retired", done, len(tasks))
    return outcomes


def _keeper(estate: estates.Estate, store: str) -> str | None:
    found = estate.find(store).keeper
    return found.identity if found is not None else None


def _wipe_volumes(desk: Desk, case: Case, plan: ApprovedPlan, tell: Tell) -> list[str]:
    """Wipe the plan's volumes whose stores are erased and reclaimed; one at a time, in the plan's order."""
    since, rejected = _signed_until(desk, case), case.rejected()
    with Journal(desk.journal_path()) as journal:
        lines = list(journal.entries())
    due = [v for v in plan.plan.volumes or () if wiping.is_due(v, plan.plan.stores, lines, since, rejected)]
    named = {v.name: (number, v) for number, v in enumerate(desk.config.volumes(), 1)}
    tasks = [
        wiping.WipeTask(
            folder=desk.path,
            number=named[volume.name][0],
            name=volume.name,
            mount=named[volume.name][1].path,
            folders=(
                *(p for s in volume.stores for p in terrain.places(desk.config, desk.config.find(s))),
                *named[volume.name][1].kept,
            ),
            plan=plan.digest,
            bytes_per_second=desk.config.limits.bytes_per_second,
            window=desk.config.window(),
            flags=(STOP, PAUSE),
            since=since,
            rejected=rejected,
            clock=desk.clock,
        )
        for volume in due
    ]
    files = tuple(desk.path / f".progress-wiping-{task.number}" for task in tasks)
    with watched(files, tell):
        return [outcome for _, outcome in local.run(wiping.wipe_volume, tasks, workers=1)]


def _check_place(desk: Desk, table: StoreTable, store: EstateStore) -> None:
    """The eraser goes where the survey looked, and nowhere else. Raises: RefusedError."""
    if store.anchor is None:
        return
    home = desk.config.home(table)
    if home is None or estates.anchor(home, desk.config.base) != store.anchor:
        raise RefusedError(
            f"the folder of store {store.name} is not the one that was surveyed",
            hint="mount it, or bring it back; if it was replaced on purpose, survey and seal again",
        )
    if table.kind not in PLACES:
        return
    read = os.path.realpath(home)
    erase = os.path.realpath(desk.config.url(table, erase=True).partition(":")[2])
    if read != erase:
        raise RefusedError(f"erase_url of store {store.name} leads to another place than its url")


def _planned(plan: ApprovedPlan, store: str) -> tuple[int, ...]:
    return next(s.destroy for s in plan.plan.stores if s.name == store)


# ── how it ended ─────────────────────────────────────────────────────────────────────────────────


def _check_not_certifying(desk: Desk) -> None:
    with Journal(desk.journal_path()) as journal:
        journal.check()
        if any(e.kind == "certifying" for e in journal.entries()):
            raise RefusedError(
                "the keys of this case are being destroyed: nothing more can be erased under it",
                hint="finish it: cenotaph certify",
            )


def _wipe_failures(desk: Desk, outcomes: list[str]) -> list[str]:
    """Why volumes could not be wiped, or servers retired, by this run."""
    if "failed" not in outcomes:
        return []
    with Journal(desk.journal_path()) as journal:
        newest = [
            *journal.latest("wiping", "wiped", "wipe failed").values(),
            *journal.latest("retiring", "reclaimed", "retire failed").values(),
        ]
    return [f"{e.store}: {e.body['why']}" for e in newest if e.kind in ("wipe failed", "retire failed")]


def _reasons(entry: Entry | None, volumes: list[str]) -> str:
    """Why partitions failed, once each, in brackets."""
    stores = entry.body(Destruction).stores if entry else ()
    found = dict.fromkeys(f"{s.name}: {c.reason}" for s in stores for c in s.collections if c.reason)
    found |= dict.fromkeys(volumes)
    return f" ({'; '.join(found)})" if found else ""


def _raise_for(outcomes: list[str], stopped: bool, reasons: str) -> None:
    if "drift" in outcomes:
        raise DriftError(
            f"something changed since it was sealed{reasons}; what was destroyed is signed",
            hint="see cenotaph status; take it out with: cenotaph plan, then destroy again",
        )
    if "refused" in outcomes:
        raise RefusedError(
            "a store refused to be erased; what was done before is signed",
            hint="see cenotaph status for the reason; leave it out with: cenotaph plan --leave-out",
        )
    if stopped:
        raise Interrupted("stopped between two partitions", hint="run the same command again to go on")
    if "stopped" in outcomes:
        raise PartialError(
            "paused, or the case's time window is over",
            hint="go on with: cenotaph pause --off, or in the window; then destroy again",
        )
    if "failed" in outcomes:
        raise PartialError(
            f"some partitions or volumes could not be erased{reasons}; what was done is signed",
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
