"""Seal: fix what is to be destroyed, record by record, before anything is."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeAlias

from cenotaph import estate as estates
from cenotaph import pace
from cenotaph.annex import Annex, AnnexError, case_key
from cenotaph.desk import Desk, alone, cite, open_share
from cenotaph.engines import Apart, local
from cenotaph.errors import RefusedError
from cenotaph.estate import Estate, EstateStore, SealedChunks
from cenotaph.progress import Tell, quiet
from cenotaph.sealing import (
    PART,
    NeedleList,
    PartitionResult,
    Persons,
    SealTask,
    bring_home,
    seal_apart,
    seal_partition,
)
from cenotaph.store import OpenReader
from cenotaph_proof import draw
from cenotaph_proof import seal as seals
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.errors import OrderError
from cenotaph_proof.seal import ChunkSeal
from cenotaph_proof.statements import Approval, Inventory, Seal, SealCollection


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A cluster that reads the stores in place of child processes here."""

    engine: Apart
    workers: int  # partitions at once


Where: TypeAlias = tuple[str, int, int]
"""Store, collection ordinal, partition index."""
SO_FAR = "sealing-"


@alone
def seal(desk: Desk, opener: OpenReader, tell: Tell = quiet, elsewhere: Elsewhere | None = None) -> Entry:
    """Digest every selected record, write chunk lists and needles to the annex, sign and log the seal.

    Run again after an interruption, it goes on with the partitions that were not yet read, here or elsewhere.
    What is sealed depends on neither.

    Raises: OrderError before the survey; StoreError when a partition cannot be read: a seal is whole
    or it is not made; EngineError, PartialError when the cluster does not do its work.
    """
    desk.admit_incoming()
    case = desk.case()
    annex_key = desk.annex_key(case)
    desk.check_unchanged(case, annex_key)
    surveyed = case.require(Inventory)
    case.check_may_seal()
    annex = desk.annex(case)
    clear = estates.from_json(annex.read_json("inventory", annex_key, surveyed.body(Inventory).annex))
    key = _derive_key(desk, case)
    so_far = _SoFar(annex, key, surveyed.digest)
    found = _digest(desk, opener, clear, key, so_far, tell, elsewhere)
    chunks = SealedChunks(
        {where: _chunks(r) for where, r in found.results.items()},
        {where: r.content for where, r in found.results.items() if r.content is not None},
    )
    listed = _needles(found.results, sorted({table.kind for table in desk.config.store}))
    body = _body(
        clear,
        chunks,
        found,
        key=seals.key_commitment(key),
        needles=annex.write("needles", key, listed.to_bytes()),
        annex=annex.write_json("seal", key, chunks.to_json()),
    )
    annex.wrap("case-key", key, [desk.key.public, *case.parties("auditor")])
    assert case.charter_entry is not None
    entry = desk.sign(body, cite(case.charter_entry), cite(surveyed))
    annex.destroy_like(SO_FAR)
    annex.destroy_like(PART, but=[name for name, _ in listed.parts])
    return entry


class _Found:
    """What partitions came to. Subjects are counted as they come, and not kept."""

    def __init__(self) -> None:
        self.results: dict[Where, PartitionResult] = {}
        self.persons: dict[str, Persons] = {}  # by store

    def add(self, where: Where, result: PartitionResult) -> None:
        self.persons.setdefault(where[0], Persons()).add(result.subjects)
        self.results[where] = replace(result, subjects=b"")

    def count(self, store: str) -> int:
        return len(self.persons.get(store, ()))

    def everybody(self) -> int:
        return Persons.together(self.persons.values())


class _SoFar:
    """Partitions that an interrupted seal had read: encrypted in the annex until the seal is signed.

    Bound to the case key and the inventory. A partition that changes later is drift, as after the seal.
    """

    def __init__(self, annex: Annex, key: bytes, inventory: str) -> None:
        self.annex = annex
        self._key = key
        self._prefix = f"{seals.key_commitment(key)[:8]}-{inventory[:8]}"

    def load(self, where: Where) -> PartitionResult | None:
        name = self._name(where)
        if not self.annex.exists(name):
            return None
        try:
            kept = self.annex.read(name, self._key)
        except AnnexError:  # overwritten by a run that was killed before it could remove it: read once more
            return None
        result = PartitionResult.from_bytes(kept)
        return result if all(map(self.annex.exists, result.documents())) else None

    def keep(self, where: Where, result: PartitionResult) -> None:
        self.annex.write(self._name(where), self._key, result.to_bytes())

    def part(self, where: Where) -> str:
        """How new documents for what is sought of a partition are named: an earlier seal names others, and is
        good until this one is signed."""
        return f"{PART}{self._label(where)}-{os.urandom(4).hex()}"

    def _name(self, where: Where) -> str:
        return f"{SO_FAR}{self._label(where)}"

    def _label(self, where: Where) -> str:
        store, collection, partition = where
        return f"{self._prefix}-{hashlib.sha256(store.encode()).hexdigest()[:16]}-{collection}-{partition}"


def _digest(
    desk: Desk,
    opener: OpenReader,
    clear: Estate,
    key: bytes,
    so_far: _SoFar,
    tell: Tell,
    elsewhere: Elsewhere | None,
) -> _Found:
    """Every partition's result, in the order of the inventory."""
    tasks = []
    found = _Found()
    # A cluster may do a task again, and lose what came of it the first time.
    run = os.urandom(8).hex() if elsewhere is None else ""
    for store, collection, partition in clear.partitions():
        where = (store.name, collection.ordinal, partition.index)
        kept = so_far.load(where)
        if kept is not None:
            found.add(where, kept)
            continue
        url = desk.config.url(desk.config.find(store.name))
        target = estates.target(desk.config, opener, store, collection, url)
        tasks.append(SealTask(target, partition, key, so_far.annex, so_far.part(where), run))
    # What is predicted for this machine is not learned from a cluster.
    stage = "seal" if elsewhere is None else "seal elsewhere"
    with (
        pace.kept(desk.path, stage, "records sealed", _shares(clear, tasks), tell) as keeper,
        closing(_run(desk, tasks, elsewhere)) as results,
    ):
        for task, result in results:
            sealed = sum(c.records for c in result.chunks)
            if sealed != task.partition.records:
                raise RefusedError(
                    f"collection {task.target.ordinal} of store {task.target.store} changed while it was "
                    f"sealed: {task.partition.records} records were surveyed, {sealed} are there",
                    hint="stop what writes to it, then survey and seal again",
                )
            where = (task.target.store, task.target.ordinal, task.partition.index)
            so_far.keep(where, result)
            found.add(where, result)
            keeper.done(task.target.store, sealed)
    order = [(s.name, c.ordinal, p.index) for s, c, p in clear.partitions()]
    found.results = {where: found.results[where] for where in order}
    return found


def _run(
    desk: Desk, tasks: Sequence[SealTask], elsewhere: Elsewhere | None
) -> Generator[tuple[SealTask, PartitionResult], None, None]:
    if elsewhere is None:
        local.expect(table.kind for table in desk.config.store)
        yield from local.run(seal_partition, tasks, workers=desk.config.limits.workers)
        return
    for task, data in elsewhere.engine.run(seal_apart, tasks, workers=elsewhere.workers):
        yield task, bring_home(task, data)


def _shares(clear: Estate, tasks: Sequence[SealTask]) -> dict[str, pace.Share]:
    """What is left to seal of each store, and what an interrupted run had sealed."""
    left = Counter[str]()
    for task in tasks:
        left[task.target.store] += task.partition.records
    shares = {}
    for store in clear.stores:
        records = sum(p.records for c in store.collections for p in c.partitions)
        size = sum(c.collection.bytes for c in store.collections)
        shares[store.name] = pace.Share(records, size, before=records - left[store.name])
    return shares


def _body(
    clear: Estate,
    chunks: SealedChunks,
    found: _Found,
    *,
    key: str,
    needles: str,
    annex: str,
) -> Seal:
    stores = tuple(
        seals.store(
            store.name,
            seals.publish([_collection(store, c.ordinal, chunks) for c in store.collections]),
            found.count(store.name),
        )
        for store in clear.stores
    )
    return Seal(
        key=key,
        chunk_records=seals.CHUNK_RECORDS,
        records=sum(s.records for s in stores),
        bytes=sum(s.bytes for s in stores),
        chunks=sum(s.chunks for s in stores),
        root=seals.estate_root(stores),
        stores=stores,
        needles=needles,
        annex=annex,
        persons=found.everybody(),
    )


def _collection(store: EstateStore, ordinal: int, chunks: SealedChunks) -> SealCollection:
    mine = [
        c for (name, o, _), part in chunks.chunks.items() if (name, o) == (store.name, ordinal) for c in part
    ]
    return seals.collection(ordinal, mine)


def _chunks(result: PartitionResult) -> tuple[ChunkSeal, ...]:
    return tuple(ChunkSeal(c.records, c.bytes, c.hash) for c in result.chunks)


def _needles(results: dict[Where, PartitionResult], kinds: Sequence[str]) -> NeedleList:
    return NeedleList(tuple(part for r in results.values() for part in r.parts), tuple(kinds))


def _derive_key(desk: Desk, case: Case) -> bytes:
    """K from the operator's share and every auditor's, each checked against its commitment."""
    shares = []
    for entry in sorted(case.charter_approvals(), key=lambda e: e.signer.key_id):
        commitments = entry.body(Approval).commitments
        if commitments is None:
            continue
        share = open_share(desk.path / "annex", case.charter.case, entry.signer, desk.key)
        if draw.commitment("share", share) != commitments.share:
            raise OrderError(
                f"the key share of auditor {entry.signer.organisation} is not the one they committed to",
                hint="ask them to approve the charter again",
            )
        shares.append(share)
    if not shares:
        raise OrderError("no auditor gave a key share: an auditor must countersign the charter")
    operator_share = desk.annex(case).unwrap("operator-share", desk.key)
    return case_key(operator_share, shares, case.charter.case)
