"""Plan: exactly what will happen, in words, before anybody agrees to it. A dry run by nature."""

from __future__ import annotations

from collections.abc import Collection as Set
from collections.abc import Iterator
from contextlib import closing
from typing import Literal, TypeAlias

from cenotaph import estate as estates
from cenotaph import terrain
from cenotaph.config import StoreTable
from cenotaph.desk import Desk, alone, cite
from cenotaph.errors import RefusedError, UsageError, naming
from cenotaph.journal import Journal
from cenotaph.store import OF_SERVER, OpenReader, Passage, Scripted
from cenotaph_proof import facts
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.statements import (
    GradeName,
    Inventory,
    InventoryStore,
    LeftOut,
    OwnAction,
    Plan,
    PlanStore,
    PlanVolume,
    Seal,
    SealStore,
    SharedAction,
)

Reason: TypeAlias = Literal["held", "out of scope", "drifted", "amended"]
HIGHEST: GradeName = "L3"  # what this version can reach by itself
ABOVE = "this version destroys and searches files and volumes, not media"


@alone
def plan(desk: Desk, leave_out: Set[tuple[str, int]] = frozenset()) -> Entry:
    """Sign and log the plan. After a drift, the drifted collections are left out by themselves. Where the
    newest plan says the same already, it is returned, and nothing is signed.

    `leave_out` are (store, collection ordinal) to take out by this amended plan.

    Raises: OrderError before the seal; UsageError for a collection that is not there.
    """
    desk.admit_incoming()
    case = desk.case()
    desk.check_unchanged(case, desk.annex_key(case))
    sealed = case.require(Seal)
    inventory = case.require(Inventory)
    older = case.latest(Plan)
    previous = older.body(Plan) if older else None
    current = older is not None and older.statement.cited("seal") == sealed.digest
    skip = _carried(previous, case)
    for where in leave_out:
        skip[where] = "amended"
    for where in _drifted(desk):
        skip[where] = "drifted"
    _check_known(skip, sealed.body(Seal), inventory.body(Inventory))
    volumes = tuple(ground.plan() for ground in terrain.grounds(desk.config))
    stores = tuple(
        _store(desk, stored, surveyed, {o: r for (s, o), r in skip.items() if s == stored.name}, volumes)
        for stored, surveyed in zip(sealed.body(Seal).stores, inventory.body(Inventory).stores, strict=True)
    )
    body = Plan(
        number=(previous.number if previous else 0) + 1,
        stores=stores,
        records=sum(s.records for s in stores),
        annex=inventory.body(Inventory).annex,
        supersedes=older.digest if older else None,
        volumes=volumes or None,
        steps=desk.config.steps() or None,
    )
    if older is not None and previous is not None and _same(previous, body) and current:
        return older
    assert case.charter_entry is not None
    return desk.sign(body, cite(case.charter_entry), cite(inventory), cite(sealed))


def describe(case: Case) -> Iterator[str]:
    """The newest plan in words, a line at a time."""
    entry = case.require(Plan)
    body = entry.body(Plan)
    surveyed = {s.name: s for s in case.require(Inventory).body(Inventory).stores}
    terms = {s.name: s for s in case.charter.stores}
    yield f"Plan {body.number} of case {case.charter.name}: {entry.digest}"
    collections = sum(len(s.destroy) for s in body.stores)
    yield f"{body.records:,} records in {collections} collections will be destroyed."
    for store in body.stores:
        yield ""
        yield f"Store {store.name}: asked {terms[store.name].grade}, can reach {store.grade}"
        if store.why_not_higher:
            yield f"  not higher: {store.why_not_higher}"
        names = {c.ordinal: c.name or f"collection {c.ordinal}" for c in surveyed[store.name].collections}
        yield f"  destroy {store.records:,} records of " + _few([names[o] for o in store.destroy])
        for action in store.own:
            yield f"  own action: {action.kind} ({action.count:,}, {action.bytes:,} bytes)"
        for shared in store.shared:
            yield f"  SHARED action: {shared.kind}, needs the approval of {shared.owner}"
        for left in store.left_out:
            yield f"  left out: {names[left.ordinal]}, {left.records:,} records ({left.reason})"
        if store.held or store.kept:
            yield f"  stays: {store.held:,} held, {store.kept:,} out of scope"
    for volume in body.volumes or ():
        yield ""
        yield from _describe_volume(volume)
    if body.steps:
        yield "\nWhat people must see, and testify to:"
        yield from (f"  {s.about}: {s.says} ({', '.join(s.by)})" for s in body.steps)
    if case.charter.notice:
        yield f"\nNothing is destroyed before {case.charter.notice:,} s after the last approval is published."


def scripts(desk: Desk, opener: OpenReader) -> Iterator[tuple[str, tuple[Passage, ...] | None]]:
    """What destroying by the newest plan would run on each store, in the plan's order; None where that is
    no matter of commands. Changes nothing.

    Raises: OrderError before the plan; RefusedError where a newer survey has other collections; StoreError.
    """
    case = desk.case()
    entry = case.require(Plan)
    if entry.statement.cited("inventory") != case.require(Inventory).digest:
        raise RefusedError("the newest plan is older than the newest survey", hint="run: cenotaph seal, plan")
    estate = desk.estate(case)
    for planned in entry.body(Plan).stores:
        terms, store = desk.config.find(planned.name), estate.find(planned.name)
        if terms.kind not in OF_SERVER:
            yield planned.name, None
            continue
        selection = estates.narrowed(desk.config.selection(terms), store, planned.left_out)
        shared = frozenset(action.kind for action in planned.shared)
        chosen = [(c.collection, c.partitions) for c in store.collections if c.ordinal in planned.destroy]
        url, around = desk.config.url(terms), desk.config.surroundings(terms)
        with naming(planned.name), closing(opener(url, selection, around)) as reader:
            found = tuple(reader.script(chosen, shared)) if isinstance(reader, Scripted) else None
        yield planned.name, found


def _describe_volume(volume: PlanVolume) -> Iterator[str]:
    size = f"{volume.filesystem}, {volume.bytes:,} bytes"
    yield f"Volume {volume.name} ({size}) of {volume.owner}: can reach {volume.grade}"
    if volume.why_not_higher:
        yield f"  not higher: {volume.why_not_higher}"
    yield f"  stores on it: {', '.join(volume.stores)}"
    if volume.kept:
        yield f"  {volume.kept} files or folders of it stay, whatever they hold (see kept in case.toml)"
    if volume.actions:
        headroom = "" if volume.quiesced else ", leaving headroom for others who write"
        yield f"  SHARED action: wipe {', '.join(volume.actions)}{headroom}"
    else:
        yield "  nothing of it is wiped"


def _same(one: Plan, other: Plan) -> bool:
    return (one.stores, one.volumes, one.steps) == (other.stores, other.volumes, other.steps)


def _store(
    desk: Desk,
    sealed: SealStore,
    surveyed: InventoryStore,
    skip: dict[int, Reason],
    volumes: tuple[PlanVolume, ...],
) -> PlanStore:
    terms = desk.config.find(sealed.name)
    volume = next((v for v in volumes if sealed.name in v.stores), None)
    grade, why = _grade(terms, surveyed, volume)
    group = {o: c.ordinals for c in sealed.collections for o in c.ordinals}
    skip = {o: reason for first, reason in skip.items() for o in group[first]}
    empty: dict[int, Reason] = {
        c.ordinal: "held" if c.held else "out of scope"
        for c in surveyed.collections
        if not c.records and (c.held or c.kept)
    }
    reasons = {**empty, **skip}
    records = {c.ordinal: c.records for c in surveyed.collections}
    chosen = tuple(o for o in sorted(records) if o not in reasons)
    return PlanStore(
        name=sealed.name,
        grade=grade,
        why_not_higher=why,
        destroy=chosen,
        records=sum(records[o] for o in chosen),
        held=sum(c.held for c in surveyed.collections),
        kept=sum(c.kept for c in surveyed.collections),
        left_out=tuple(LeftOut(o, records[o], reason) for o, reason in sorted(reasons.items())),
        own=_own(surveyed, chosen, sum(records[o] for o in chosen), terrain.reached_with(terms)),
        shared=(*_of_server(desk, terms), *_free_space(volume)),
    )


def _of_server(desk: Desk, terms: StoreTable) -> tuple[SharedAction, ...]:
    """What the case lists of what the store's server shares with others.

    Raises: UsageError where nobody is there to approve it.
    """
    kinds = [kind for kind in OF_SERVER.get(terms.kind, ()) if kind in terms.shared]
    owner = terrain.owner_of(desk.config, terms)
    if kinds and owner is None:
        raise UsageError(
            f"store {terms.name} lists shared actions, and the case does not say who owns what it shares",
            hint='add owner = "…" to the store, and a [[party]] with role = "owner"',
        )
    return tuple(SharedAction(kind, str(owner)) for kind in kinds)


def _free_space(volume: PlanVolume | None) -> tuple[SharedAction, ...]:
    return (SharedAction(terrain.FREE_SPACE, volume.owner),) if volume and volume.actions else ()


def _grade(terms: StoreTable, surveyed: InventoryStore, volume: PlanVolume | None) -> tuple[GradeName, str]:
    limits: list[tuple[GradeName, str]] = [
        (terms.grade, ""),
        (HIGHEST, ABOVE),
        (surveyed.reachable, surveyed.why_not_higher),
    ]
    if volume is not None:
        limits.append((volume.grade, volume.why_not_higher))
    else:
        limits.append(("L2", terrain.NO_VOLUME if terrain.wants(terms) else terrain.NOT_LISTED))
    return facts.lowest(limits)


def _own(
    surveyed: InventoryStore, chosen: tuple[int, ...], records: int, shared: frozenset[str]
) -> tuple[OwnAction, ...]:
    mine = [c for c in surveyed.collections if c.ordinal in chosen]
    actions = [OwnAction("erase records", records, sum(c.bytes for c in mine))]
    copies: dict[str, list[int]] = {}
    for line in (
        line for c in mine for line in c.copies if line.disposition == "destroy" and line.kind not in shared
    ):
        totals = copies.setdefault(line.kind, [0, 0])
        totals[0] += line.places
        totals[1] += line.bytes
    actions += [OwnAction(f"overwrite {kind}", *totals) for kind, totals in sorted(copies.items())]
    return tuple(actions)


def _drifted(desk: Desk) -> set[tuple[str, int]]:
    if not desk.journal_path().exists():
        return set()
    with Journal(desk.journal_path()) as journal:
        return {(e.store, e.collection) for e in journal.entries() if e.kind == "drift"}


def _carried(previous: Plan | None, case: Case) -> dict[tuple[str, int], Reason]:
    """What the plan before had left out for a reason of its own stays out, on the same seal."""
    older = case.latest(Plan)
    if previous is None or older is None or older.statement.cited("seal") != case.require(Seal).digest:
        return {}
    return {
        (s.name, o.ordinal): o.reason
        for s in previous.stores
        for o in s.left_out
        if o.reason in ("amended", "drifted")
    }


def _check_known(skip: dict[tuple[str, int], Reason], sealed: Seal, inventory: Inventory) -> None:
    known = {(s.name, c.ordinal) for s in inventory.stores for c in s.collections}
    unknown = set(skip) - known
    if unknown:
        store, ordinal = min(unknown)
        raise UsageError(f"there is no collection {ordinal} in store {store}")


def _few(names: list[str], limit: int = 6) -> str:
    shown = ", ".join(names[:limit])
    return (
        shown + (f" and {len(names) - limit} more collections" if len(names) > limit else "")
        if names
        else "nothing"
    )
