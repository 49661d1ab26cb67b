"""What the journal shows done, as the statement that says so. Arithmetic over journal lines; no IO."""

from __future__ import annotations

from collections.abc import Sequence

from cenotaph.estate import Estate, EstateCollection, EstateStore
from cenotaph.journal import Entry as Line
from cenotaph_proof.case import Case
from cenotaph_proof.statements import (
    DestroyedCollection,
    DestroyedStore,
    Destruction,
    Plan,
    VolumeAction,
    WipedVolume,
)

NOT_RECLAIMED = "the store's files were not yet reclaimed"
NEWS = ("done", "reclaimed", "drift", "failed", "appeared", "wiped")
_CLASSES = ("as sealed", "watched", "unknown")


def has_news(lines: Sequence[Line], covered: int) -> bool:
    """Whether something happened since line `covered` that a destruction must say."""
    return any(e.seq > covered and e.kind in NEWS for e in lines)


def destruction(case: Case, estate: Estate, lines: Sequence[Line], covered: int, now: int) -> Destruction:
    """What happened since journal line `covered`, as the next destruction of the case.

    `lines` are the whole journal. `now` is the time where the journal shows nothing new.
    """
    span = [e.time for e in lines if e.seq > covered] or [now]
    plan = case.require(Plan).body(Plan)
    planned = plan.stores
    wiped = tuple(_wiped(v.name, lines, covered) for v in plan.volumes or () if _news(v.name, lines, covered))
    return Destruction(
        number=len(case.all(Destruction)) + 1,
        started=min(span),
        finished=max(span),
        journal=lines[-1].hash,
        stores=tuple(
            _store(p.destroy, store, [e for e in lines if e.store == store.name], covered)
            for store, p in zip(estate.stores, planned, strict=True)
        ),
        complete=complete(case, estate, lines),
        volumes=wiped or None,
    )


def complete(case: Case, estate: Estate, lines: Sequence[Line]) -> bool:
    """Whether every partition that the newest plan names is done."""
    done = {(e.store, e.collection, e.partition) for e in lines if e.kind == "done"}
    for store, planned in zip(estate.stores, case.require(Plan).body(Plan).stores, strict=True):
        for item in store.collections:
            for partition in item.partitions if item.ordinal in planned.destroy else ():
                if (store.name, item.ordinal, partition.index) not in done:
                    return False
    return True


def _news(volume: str, lines: Sequence[Line], covered: int) -> list[Line]:
    return [e for e in lines if e.kind == "wiped" and e.store == volume and e.seq > covered]


def _wiped(volume: str, lines: Sequence[Line], covered: int) -> WipedVolume:
    """The newest wiping of a volume since line `covered`."""
    body = _news(volume, lines, covered)[-1].body
    return WipedVolume(
        name=volume,
        reached=body["reached"],
        why_not_higher=body["why"][:1000],
        actions=tuple(VolumeAction(kind, count, size) for kind, count, size in body["actions"]),
        free=body["free"],
        blank=body["blank"],
    )


def _store(
    destroy: tuple[int, ...], store: EstateStore, lines: Sequence[Line], covered: int
) -> DestroyedStore:
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
        notes=(
            *(tuple(reclaimed[-1].body["notes"]) if fresh else ()),
            *(e.body["why"] for e in news if e.kind == "appeared"),
        ),
    )


def _collection(item: EstateCollection, lines: Sequence[Line], news: Sequence[Line]) -> DestroyedCollection:
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
