"""Seal: fix what is to be destroyed, record by record, before anything is."""

from __future__ import annotations

from cenotaph import estate as estates
from cenotaph.annex import case_key
from cenotaph.desk import Desk, alone, cite, open_share
from cenotaph.engines import local
from cenotaph.errors import RefusedError
from cenotaph.estate import Estate, EstateStore, SealedChunks
from cenotaph.progress import Tell, quiet
from cenotaph.residue.needles import Needles
from cenotaph.sealing import PartitionResult, SealTask, count_subjects, seal_partition
from cenotaph.store import OpenReader
from cenotaph_proof import draw
from cenotaph_proof import seal as seals
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.errors import OrderError
from cenotaph_proof.seal import ChunkSeal
from cenotaph_proof.statements import Approval, Inventory, Seal, SealCollection


@alone
def seal(desk: Desk, opener: OpenReader, tell: Tell = quiet) -> Entry:
    """Digest every selected record, write chunk lists and needles to the annex, sign and log the seal.

    Raises: OrderError before the survey; StoreError when a partition cannot be read: a seal is whole
    or it is not made.
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
    results = _digest(desk, opener, clear, key, tell)
    chunks = SealedChunks({where: _chunks(r) for where, r in results.items()})
    body = _body(
        clear,
        chunks,
        results,
        key=seals.key_commitment(key),
        needles=annex.write("needles", key, _needles(results)),
        annex=annex.write_json("seal", key, chunks.to_json()),
    )
    annex.wrap("case-key", key, [desk.key.public, *case.parties("auditor")])
    assert case.charter_entry is not None
    return desk.sign(body, cite(case.charter_entry), cite(surveyed))


def _digest(
    desk: Desk, opener: OpenReader, clear: Estate, key: bytes, tell: Tell
) -> dict[tuple[str, int, int], PartitionResult]:
    """Every partition's result, in the order of the inventory."""
    tasks = []
    for store, collection, partition in clear.partitions():
        url = desk.config.url(desk.config.find(store.name))
        target = estates.target(desk.config, opener, store, collection, url)
        tasks.append(SealTask(target, partition, key))
    total, done = sum(t.partition.records for t in tasks), 0
    found: dict[tuple[str, int, int], PartitionResult] = {}
    for task, result in local.run(seal_partition, tasks, workers=desk.config.limits.workers):
        sealed = sum(c.records for c in result.chunks)
        if sealed != task.partition.records:
            raise RefusedError(
                f"collection {task.target.ordinal} of store {task.target.store} changed while it was sealed: "
                f"{task.partition.records} records were surveyed, {sealed} are there",
                hint="stop what writes to it, then survey and seal again",
            )
        found[task.target.store, task.target.ordinal, task.partition.index] = result
        done += sealed
        tell("records sealed", done, total)
    order = [(s.name, c.ordinal, p.index) for s, c, p in clear.partitions()]
    return {where: found[where] for where in order}


def _body(
    clear: Estate,
    chunks: SealedChunks,
    results: dict[tuple[str, int, int], PartitionResult],
    *,
    key: str,
    needles: str,
    annex: str,
) -> Seal:
    stores = tuple(
        seals.store(
            store.name,
            seals.publish([_collection(store, c.ordinal, chunks) for c in store.collections]),
            count_subjects(r.subjects for (name, _, _), r in results.items() if name == store.name),
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
        persons=count_subjects(r.subjects for r in results.values()),
    )


def _collection(store: EstateStore, ordinal: int, chunks: SealedChunks) -> SealCollection:
    mine = [
        c for (name, o, _), part in chunks.chunks.items() if (name, o) == (store.name, ordinal) for c in part
    ]
    return seals.collection(ordinal, mine)


def _chunks(result: PartitionResult) -> tuple[ChunkSeal, ...]:
    return tuple(ChunkSeal(c.records, c.bytes, c.hash) for c in result.chunks)


def _needles(results: dict[tuple[str, int, int], PartitionResult]) -> bytes:
    parts = [Needles.from_bytes(r.needles) for r in results.values()]
    return parts[0].merge(parts[1:]).to_bytes() if parts else b""


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
