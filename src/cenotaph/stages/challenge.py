"""Challenge: an auditor draws what nobody could foresee, and reads it in the live stores.

Chunks that the nonce picks are re-read whole through the auditor's own session and recomputed, which
checks them in both directions at once. Values of drawn records must be among the needles, and must be
found raw before anything is destroyed: that is the positive control of the later probe. Records that
outsiders brought must be in the live store and under the seal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph import terrain, volume_probe
from cenotaph.desk import cite
from cenotaph.discovery.personal import ColumnSurvey
from cenotaph.engines import local
from cenotaph.errors import StoreError, TransientStoreError, UsageError
from cenotaph.estate import Estate, EstateStore, SealedChunks
from cenotaph.progress import Tell, quiet
from cenotaph.records import Chunk
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import Findings, scan
from cenotaph.sealing import (
    LOOSE_KINDS,
    Target,
    batches_at,
    chunks_at,
    leaves,
    needle_key,
    numbers_in,
    partition_chunks,
    places,
)
from cenotaph.session import Session
from cenotaph.spans import within
from cenotaph.store import Column, Extent, Locating, OpenReader, Partition, Reader
from cenotaph_proof import draw
from cenotaph_proof.acts import new_nonce, outside_commitment
from cenotaph_proof.casebook import Entry
from cenotaph_proof.seal import ChunkSeal
from cenotaph_proof.statements import Approval, Challenge, Decision, DrawnStore, Plan, Recall

LOOKED_AT = 6  # partitions of a collection whose columns this auditor looks at too
LARGE = 32 << 20  # bytes of a store that is searched where the sample lies, and elsewhere for what is missing
SAMPLED_ROWS = 16  # of each drawn batch: their values must be needles
RECALLED = 64  # drawn chunks of a store, or one a partition, of which values are sought raw
_NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """Read one partition again and hold the drawn chunks against the seal."""

    target: Target
    partition: Partition
    case_key: bytes = field(repr=False)
    sealed: tuple[ChunkSeal, ...]
    drawn: tuple[int, ...]
    recalled: tuple[int, ...]  # of those drawn: the chunks of which values are sought raw
    columns: tuple[Column, ...]
    look: bool  # at what the columns hold, as the survey did


@dataclass(frozen=True, slots=True)
class ChunkResult:
    matched: int
    unread: bool  # the store could not be reached
    overlooked: bool  # columns hold personal data by this auditor's look, and are no needles
    values: bytes = field(repr=False)  # of sampled records, in columns that are needles to the last value
    sample: bytes = field(repr=False)  # of the chunks that are sought raw


@dataclass(frozen=True, slots=True)
class Sampled:
    """What is sought raw of one partition, and where it was read."""

    task: ChunkTask
    needles: Needles = field(repr=False)


@dataclass(frozen=True, slots=True)
class NearTask:
    """Search for sampled values where they were read, as far as the store can tell where that is."""

    target: Target
    partition: Partition
    wanted: tuple[tuple[int, int], ...]
    sample: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecallTask:
    """Every `of`-th place of a store, from `share` on; of a large one until all that was sampled is found."""

    target: Target
    sample: bytes = field(repr=False)
    share: int = 0
    of: int = 1
    large: bool = False


@dataclass(frozen=True, slots=True)
class OutsideTask:
    target: Target
    partitions: tuple[tuple[Partition, tuple[ChunkSeal, ...]], ...]
    case_key: bytes = field(repr=False)
    records: tuple[dict[str, str], ...] = field(repr=False)


def challenge(
    session: Session,
    opener: OpenReader,
    outside: Path | None = None,
    tell: Tell = quiet,
    command: tuple[str, ...] = (),
) -> Path:
    """Draw, read, compare, decide; sign the challenge. Returns the envelope's file in `incoming/`.

    `command` gains the right to read the devices of the plan's volumes, such as ("sudo", "-n").

    Raises: OrderError before the plan; UsageError when `outside` is not the file committed to;
    TransientStoreError when no store could be read.
    """
    case = session.case
    plan = case.require(Plan)
    estate = session.estate()
    chunks = session.sealed(estate)
    commitment = case.nonce_commitment(session.public, Challenge, session.seal_entry.index)
    nonce = session.reveal(commitment)
    against = session.checkpoint(plan.index)
    records = _outside_records(session, outside)
    seed = draw.seed(
        "challenge", case.charter.case, session.seal_entry.digest, session.public.key_id, bytes.fromhex(nonce)
    )
    stores, samples, reasons = _read_drawn(session, opener, estate, chunks, seed, tell)
    if any(s.chunks for s in stores) and not any(s.read for s in stores):
        # Nothing leaves, so that the nonce stays unrevealed: a rejection would be final for this seal.
        raise TransientStoreError(
            "no store could be read, so nothing was signed",
            hint="check the addresses: cenotaph challenge --store NAME=URL, then run it again",
        )
    found = _find_outside(session, opener, estate, chunks, records)
    if found < len(records):
        reasons.append(f"{len(records) - found} of {len(records)} outside records are missing")
    recall = _measure_recall(session, opener, estate, samples, tell)
    recall += _volume_recall(session, plan, samples, seed, command)
    body = Challenge(
        organisation=session.public.organisation,
        signed=session.clock(),
        against=against,
        nonce=nonce,
        next_nonce=new_nonce(session.secrets, "challenge"),
        stores=tuple(stores),
        brought=len(records),
        found=found,
        recall=recall,
        tool=session.tool(),
        decision=_decision(reasons),
        reasons=tuple(reasons),
    )
    assert case.charter_entry is not None
    return session.folder.submit(
        body, (cite(case.charter_entry), cite(session.seal_entry), cite(plan)), session.key
    )


# ── drawn chunks ─────────────────────────────────────────────────────────────────────────────────


def _read_drawn(
    session: Session, opener: OpenReader, estate: Estate, chunks: SealedChunks, seed: bytes, tell: Tell
) -> tuple[list[DrawnStore], dict[str, list[Sampled]], list[str]]:
    picks: dict[str, list[int]] = {}
    tasks: list[ChunkTask] = []
    for store in estate.stores:
        picks[store.name], mine = _draw_store(session, opener, store, chunks, seed)
        tasks += mine
    local.expect(table.kind for table in session.config.store)
    results: dict[str, list[tuple[ChunkTask, ChunkResult]]] = {store.name: [] for store in estate.stores}
    for done, (task, result) in enumerate(
        local.run(read_chunks, tasks, workers=session.config.limits.workers), 1
    ):
        results[task.target.store].append((task, result))
        tell("partitions read again", done, len(tasks))
    values, samples = _sought(session, results)
    stores: list[DrawnStore] = []
    reasons: list[str] = []
    for store, sealed in zip(estate.stores, session.seal.stores, strict=True):
        mine_results = [result for _, result in results[store.name]]
        read = not any(r.unread for r in mine_results)
        matched = sum(r.matched for r in mine_results) if read else 0
        drawn = len(picks[store.name])
        stores.append(
            DrawnStore(store.name, sealed.chunks, drawn, matched, draw.digest(picks[store.name]), read)
        )
        if read and matched != drawn:
            reasons.append(
                f"store {store.name}: {drawn - matched} of {drawn} drawn chunks do not match the seal"
            )
        if values[store.name]:
            reasons.append(f"store {store.name}: values of drawn records are missing from the needles")
        if any(r.overlooked for r in mine_results):
            reasons.append(f"store {store.name}: columns of personal data are not among the needles")
    return stores, samples, reasons


def _sought(
    session: Session, results: dict[str, list[tuple[ChunkTask, ChunkResult]]]
) -> tuple[dict[str, int], dict[str, list[Sampled]]]:
    """By store: how many values of drawn records are missing from the needles; and of the samples, what is
    among them. The needles are read once for all, and never together in memory."""
    read = {name: [(t, r) for t, r in found if not r.unread] for name, found in results.items()}
    values = {name: [Needles.from_bytes(r.values) for _, r in found] for name, found in read.items()}
    samples = {name: [Sampled(t, Needles.from_bytes(r.sample)) for t, r in s] for name, s in read.items()}
    every = [n for some in values.values() for n in some]
    every += [sampled.needles for some in samples.values() for sampled in some]
    if not every:
        return dict.fromkeys(results, 0), samples
    known = session.needles().among(session.case_key, every[0].merge(every[1:]))
    missing = {name: sum(len(n) - len(n.among([known])) for n in some) for name, some in values.items()}
    return missing, {
        name: [replace(sampled, needles=sampled.needles.among([known])) for sampled in some]
        for name, some in samples.items()
    }


def _draw_store(
    session: Session,
    opener: OpenReader,
    store: EstateStore,
    chunks: SealedChunks,
    seed: bytes,
) -> tuple[list[int], list[ChunkTask]]:
    policy = session.case.charter.policy
    numbered = chunks.of_store(store)
    need = draw.needed(policy.bound_ppm, policy.confidence_ppm)
    picked = draw.sample(seed, store.name, len(numbered), min(len(numbered), need))
    by_partition: dict[tuple[int, int], list[int]] = {}
    for number in picked:
        collection, partition, chunk = numbered[number]
        by_partition.setdefault((collection.ordinal, partition.index), []).append(chunk)
    recalled = -(-RECALLED // max(1, len(by_partition)))
    tasks = [
        ChunkTask(
            target=session.target(opener, store, collection),
            partition=partition,
            case_key=session.case_key,
            sealed=chunks.chunks[store.name, collection.ordinal, partition.index],
            drawn=tuple(sorted(by_partition[collection.ordinal, partition.index])),
            recalled=_spread(by_partition[collection.ordinal, partition.index], recalled),
            columns=collection.collection.columns,
            look=nth < LOOKED_AT and collection.collection.format != "opaque",  # whose needles are fixed
        )
        for collection in store.collections
        for nth, partition in enumerate(
            p for p in collection.partitions if (collection.ordinal, p.index) in by_partition
        )
    ]
    return picked, tasks


def _spread(drawn: Sequence[int], most: int) -> tuple[int, ...]:
    """So many of the drawn chunks, or all of them; ascending."""
    return tuple(sorted(drawn[:: max(1, len(drawn) // most)][:most]))


def read_chunks(task: ChunkTask) -> ChunkResult:
    """Runs in a child process. A store that cannot be reached is *unread*, never matched."""
    sampler = _Sampler(task)
    try:
        reader = task.target.opener(task.target.url, task.target.selection, task.target.around)
        try:
            found = _drawn_chunks(task, reader, sampler)
        finally:
            reader.close()
    except StoreError:
        return ChunkResult(0, True, False, b"", b"")
    same = [
        chunk is not None
        and (chunk.records, chunk.bytes, chunk.hash)
        == (task.sealed[number].records, task.sealed[number].bytes, task.sealed[number].hash)
        for number, chunk in zip(task.drawn, found, strict=True)
    ]
    values, sample = (builder.finish().to_bytes() for builder in (sampler.values, sampler.sample))
    return ChunkResult(sum(same), False, sampler.overlooked(), values, sample)


def _drawn_chunks(task: ChunkTask, reader: Reader, sampler: _Sampler) -> Sequence[Chunk | None]:
    """The drawn chunks as they are now: what lies between them is left unread where the store allows it. A
    partition that is sealed in the order of its digests is read whole."""
    whole = task.target.order == "digest"
    wanted = places(range(len(task.sealed)) if whole else task.drawn)
    batches = sampler.watch(batches_at(reader, task.partition, wanted), wanted)
    if not whole:
        return chunks_at(task.case_key, task.target, batches, wanted)
    found = partition_chunks(task.case_key, task.target, (batch for _, batch in batches))
    return [found[number] if number < len(found) else None for number in task.drawn]


class _Sampler:
    """Takes values of a few drawn rows of each batch, which must be needles; and of a few of each chunk that
    is recalled, which are sought raw if they are."""

    def __init__(self, task: ChunkTask) -> None:
        self._columns = task.target.needles
        self._recalled = places(task.recalled)
        self.values = NeedleBuilder(needle_key(task.case_key))
        self.sample = NeedleBuilder(needle_key(task.case_key), task.target.kinds)
        self._width = len(task.columns)
        self._look = ColumnSurvey(task.columns) if task.look else None
        self._seen = 0

    def watch(
        self, batches: Iterator[tuple[int, pa.RecordBatch]], wanted: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        for at, batch in batches:
            if batch.num_columns == self._width:  # else the chunks will not match
                rows = [np.arange(low, high) for _, low, high in within(at, batch.num_rows, wanted)]
                self._take(batch, np.concatenate([_NO_ROWS, *rows]), self.values)
                for _, low, high in within(at, batch.num_rows, self._recalled):
                    self._take(batch, np.arange(low, high), self.sample)
                if self._look is not None and not self._seen:  # the batch that a survey looks at
                    self._look.add(batch)
                self._seen += 1
            yield at, batch

    def overlooked(self) -> bool:
        """Whether the operator's choice of needles leaves out a column that proves itself personal, or most
        of those that look it. One that merely looks it may be missed in good faith: both looks are samples.
        """
        if self._look is None or not self._seen:
            return False
        chosen = {column for column, _ in self._columns}
        found = [
            f for f in self._look.findings() if f.personal and f.needle and f.needle_kind not in LOOSE_KINDS
        ]
        missed = [f for f in found if f.column not in chosen]
        return any(f.confidence == "proved" for f in missed) or 2 * len(missed) > len(found)

    def _take(self, batch: pa.RecordBatch, drawn: npt.NDArray[np.int64], to: NeedleBuilder) -> None:
        """Give the values of some of these rows. Of loose ones the seal has the first few thousand, so they
        need not be among the needles."""
        step = max(1, len(drawn) // SAMPLED_ROWS)
        rows = pa.array(drawn[::step][:SAMPLED_ROWS])
        for column, kind in self._columns if len(rows) else ():
            for part in leaves(pc.take(batch.column(column), rows)):
                values = pc.drop_null(part)
                for found, numbers in numbers_in(values).items() if kind == "text" else ():
                    to.add(numbers, found)
                if to is self.sample or kind not in LOOSE_KINDS:
                    to.add(values, kind)


# ── recall ───────────────────────────────────────────────────────────────────────────────────────


def _measure_recall(
    session: Session, opener: OpenReader, estate: Estate, samples: dict[str, list[Sampled]], tell: Tell
) -> tuple[Recall, ...]:
    whole = {name: _merged(some) for name, some in samples.items() if any(len(s.needles) for s in some)}
    large = [
        store.name
        for store in estate.stores
        if store.name in whole and sum(item.collection.bytes for item in store.collections) > LARGE
    ]
    near = [sampled for name in large for sampled in samples[name] if len(sampled.needles)]
    seen = _search_near(session, near, whole, tell)
    tasks = []
    for store in estate.stores:
        found = set[int]().union(*seen.get(store.name, {}).values())
        if store.name in whole and len(found) < len(whole[store.name]):
            # What was not found where it was read is sought in all places.
            sought = whole[store.name].only(set(range(len(whole[store.name]))) - found)
            target = session.target(opener, store, store.collections[0])
            shares = session.config.limits.workers if store.name in large else 1
            sample = sought.to_bytes()
            tasks += [RecallTask(target, sample, n, shares, store.name in large) for n in range(shares)]
    every: dict[str, dict[str, set[int]] | None] = {name: seen.get(name, {}) for name in whole}
    for done, (task, found_here) in enumerate(
        local.run(recall_store, tasks, workers=session.config.limits.workers), 1
    ):
        name = task.target.store
        every[name] = _together(every[name], _in(found_here, Needles.from_bytes(task.sample), whole[name]))
        tell("searches for sampled values", done, len(tasks))
    return tuple(
        Recall(name, place, "any", len(whole[name]), len(which))
        for name, places in every.items()
        if places is not None
        for place, which in [("any place", set().union(*places.values())), *sorted(places.items())]
    )


def _search_near(
    session: Session, near: Sequence[Sampled], whole: dict[str, Needles], tell: Tell
) -> dict[str, dict[str, set[int]]]:
    """By store and kind of place, which sampled values are where they were read."""
    tasks = [
        NearTask(
            sampled.task.target,
            sampled.task.partition,
            tuple(places(sampled.task.recalled)),
            sampled.needles.to_bytes(),
        )
        for sampled in near
    ]
    seen: dict[str, dict[str, set[int]]] = {}
    for done, (task, found) in enumerate(
        local.run(recall_near, tasks, workers=session.config.limits.workers), 1
    ):
        name = task.target.store
        here = _in(found, Needles.from_bytes(task.sample), whole[name])
        seen[name] = _together(seen.get(name, {}), here) or {}
        tell("searches where samples were read", done, len(tasks))
    return seen


def _merged(some: Sequence[Sampled]) -> Needles:
    return some[0].needles.merge([sampled.needles for sampled in some[1:]])


def _in(found: dict[str, set[int]] | None, some: Needles, whole: Needles) -> dict[str, set[int]] | None:
    """By kind of place, which of the whole these ordinals of some of it are."""
    if found is None:
        return None
    ordinals = some.ordinals_in(whole).tolist()
    return {place: {ordinals[n] for n in which} for place, which in found.items()}


def _together(
    some: dict[str, set[int]] | None, more: dict[str, set[int]] | None
) -> dict[str, set[int]] | None:
    """What two shares of a store found; None where one could not be read."""
    if some is None or more is None:
        return None
    return {place: some.get(place, set()) | more.get(place, set()) for place in some | more}


def _volume_recall(
    session: Session, plan: Entry, samples: dict[str, list[Sampled]], seed: bytes, command: tuple[str, ...]
) -> tuple[Recall, ...]:
    """What a search of the plan's volumes finds of the sampled values while they are still there."""
    named = {v.name: v for v in session.config.volumes()}
    tasks = []
    for planned in plan.body(Plan).volumes or ():
        parts = [sampled for name in planned.stores for sampled in samples.get(name, ())]
        tables = [session.config.find(name) for name in planned.stores]
        if parts:
            tasks.append(
                volume_probe.RecallTask(
                    mount=named[planned.name].path,
                    planned=planned,
                    stores=tuple((t.kind, p) for t in tables for p in terrain.places(session.config, t)),
                    sample=_merged(parts).to_bytes(),
                    seed=seed,
                    command=command,
                )
            )
    found = local.run(volume_probe.measure_recall, tasks, workers=1)
    return tuple(row for _, rows in found for row in rows)


def recall_near(task: NearTask) -> dict[str, set[int]]:
    """As `recall_store`, of the bytes in which sampled records lie. Nothing where a store cannot tell which
    these are, or cannot be read."""
    sample, target = Needles.from_bytes(task.sample), task.target
    columns = [column for column, _ in target.needles]
    try:
        with closing(target.opener(target.url, target.selection, target.around)) as reader:
            if not isinstance(reader, Locating):
                return {}
            extents = reader.raw_at(task.partition, task.wanted, columns)
            return _search(extents, sample, until_all=True, carve=True)
    except StoreError:
        return {}


def recall_store(task: RecallTask) -> dict[str, set[int]] | None:
    """Search a live store's bytes for the sampled values: which were found, by kind of place. None where it
    cannot be read. Runs in a child process."""
    sample, target = Needles.from_bytes(task.sample), task.target
    try:
        with closing(target.opener(target.url, target.selection, target.around)) as reader:
            extents = islice(reader.raw(), task.share, None, task.of)
            return _search(extents, sample, until_all=task.large)
    except StoreError:
        return None


def _search(
    extents: Iterable[Extent], sample: Needles, *, until_all: bool, carve: bool = False
) -> dict[str, set[int]]:
    seen: dict[str, set[int]] = {}
    everywhere: set[int] = set()

    def enough(found: Findings) -> bool:
        return until_all and len(everywhere | found.kept | found.residue) == len(sample)

    for extent in extents:
        with extent.open() as stream:
            findings = scan(stream, extent.length, sample, extent.kept, carve=carve, enough=enough)
        seen.setdefault(extent.kind, set()).update(findings.kept | findings.residue)
        everywhere |= findings.kept | findings.residue
        if enough(findings):
            break
    return seen


# ── outside records ──────────────────────────────────────────────────────────────────────────────


def _outside_records(session: Session, path: Path | None) -> tuple[dict[str, Any], ...]:
    """The records that this auditor committed to. Raises: UsageError when they are other ones."""
    (approval,) = (e for e in session.case.charter_approvals() if e.signer.key_id == session.public.key_id)
    commitments = approval.body(Approval).commitments
    assert commitments is not None
    if path is None and commitments.outside_records == 0:
        return ()
    if path is None:
        raise UsageError(
            f"you committed to {commitments.outside_records} outside records",
            hint="pass them: --outside FILE",
        )
    data = path.read_bytes()
    if outside_commitment(bytes.fromhex(session.secrets.load()["outside"]), data) != commitments.outside:
        raise UsageError("the outside records are not the file that was committed to before the survey")
    return tuple(json.loads(data))


def _find_outside(
    session: Session,
    opener: OpenReader,
    estate: Estate,
    chunks: SealedChunks,
    records: Sequence[dict[str, Any]],
) -> int:
    """How many outside records are in the live store and in a partition that matches its seal."""
    if not records:
        return 0
    tasks: list[OutsideTask] = []
    numbered: dict[tuple[str, str], list[int]] = {}
    for number, record in enumerate(records):
        numbered.setdefault((record["store"], record["collection"]), []).append(number)
    where: list[list[int]] = []
    known = {store.name: store for store in estate.stores}
    for (name, pattern), numbers in numbered.items():
        store = known.get(name)
        if store is None:
            continue  # nobody declared it: its records are missing
        for item in store.collections:
            if fnmatchcase(item.collection.name, pattern) or item.collection.name == pattern:
                parts = tuple((p, chunks.chunks[name, item.ordinal, p.index]) for p in item.partitions)
                wanted = tuple({k: str(v) for k, v in records[n]["values"].items()} for n in numbers)
                target = session.target(opener, store, item)
                tasks.append(OutsideTask(target, parts, session.case_key, wanted))
                where.append(numbers)
    found: set[int] = set()
    for task, hits in local.run(find_records, tasks, workers=session.config.limits.workers):
        numbers = where[tasks.index(task)]
        found |= {numbers[h] for h in hits}
    return len(found)


def find_records(task: OutsideTask) -> frozenset[int]:
    """Which of the wanted records are there, under the seal; runs in a child process."""
    found: set[int] = set()
    try:
        reader = task.target.opener(task.target.url, task.target.selection, task.target.around)
        try:
            for partition, sealed in task.partitions:
                here: set[int] = set()
                batches = _matching(reader.batches(partition), task.records, here)
                chunks = partition_chunks(task.case_key, task.target, batches)
                if [(c.records, c.bytes, c.hash) for c in chunks] == [
                    (c.records, c.bytes, c.hash) for c in sealed
                ]:
                    found |= here
        finally:
            reader.close()
    except StoreError:
        return frozenset()
    return frozenset(found)


def _matching(batches: Any, records: Sequence[dict[str, str]], found: set[int]) -> Any:
    for batch in batches:
        texts: dict[str, Any] = {}
        for number, record in enumerate(records):
            if number not in found and set(record) <= set(batch.schema.names):
                for column in record:
                    texts.setdefault(column, _as_text(batch.column(batch.schema.get_field_index(column))))
                mask = np.ones(batch.num_rows, dtype=bool)
                for column, value in record.items():
                    mask &= texts[column] == value
                if mask.any():
                    found.add(number)
        yield batch


def _as_text(column: pa.Array) -> Any:
    values = column.to_pylist()
    return np.array(
        [
            v.decode("utf-8", "replace") if isinstance(v, bytes) else "" if v is None else str(v)
            for v in values
        ],
        dtype=object,
    )


def _decision(reasons: Sequence[str]) -> Decision:
    return "reject" if reasons else "accept"
