"""Whether what statements say of volumes follows from the plan and bears the grade it claims.

Arithmetic on statements alone (spec/case.md, rules 4, 8, 9 and 10; spec/grades.md, rule 9). A volume is
shared with others, so whatever is done to it hangs on its owner's shared action of a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cenotaph_proof.errors import FormatError, OrderError
from cenotaph_proof.statements import (
    Destruction,
    Plan,
    PlanStore,
    PlanVolume,
    Probe,
    ProbedStore,
    ProbedVolume,
    Recall,
    SharedAction,
)

CLEAN = frozenset({"L3", "L4", "L5"})  # grades that speak of a volume
WIPING = "free_space"  # the shared action under which a volume is wiped
_WAYS = {"trim": "free blocks", "fill": "free blocks"}  # how, for what a plan names
STILL = ("frozen", "read-only")  # states in which a volume is one thing from first byte to last


def check_plan(plan: Plan) -> None:
    """A plan names volumes for stores of its own, each store on one, wiped under their owner's consent.

    Raises: OrderError, FormatError naming the volume or the store.
    """
    on = _stores_on(plan)
    stores = {s.name: s for s in plan.stores}
    for volume in plan.volumes or ():
        if volume.grade in CLEAN and not volume.quiesced:
            raise OrderError(
                f"the plan grants volume {volume.name} {volume.grade} while others may write to it"
            )
        if volume.actions:
            for name in volume.stores:
                _check_consent(stores[name], volume)
    for store in plan.stores:
        if store.grade in CLEAN:
            found = on.get(store.name)
            if found is None or found.grade not in CLEAN:
                raise OrderError(
                    f"the plan grants store {store.name} {store.grade} without a volume that can be clean"
                )
            _check_consent(store, found)


def check_destruction(run: Destruction, plan: Plan) -> None:
    """A run wipes volumes that the plan names, in the ways that it names. Raises: OrderError, FormatError."""
    planned = {v.name: v for v in plan.volumes or ()}
    names = [v.name for v in run.volumes or ()]
    if set(names) - set(planned):
        raise OrderError("a destruction wipes a volume that the plan does not name")
    if names != [name for name in planned if name in names]:
        raise FormatError("a destruction does not list its volumes once each, in the plan's order")
    for item in run.volumes or ():
        if {_WAYS.get(a.kind, a.kind) for a in item.actions} - set(planned[item.name].actions):
            raise OrderError(f"volume {item.name} was wiped in a way that the plan does not name")
        if item.blank > item.free:
            raise FormatError(f"a destruction counts more blank blocks than free ones on volume {item.name}")


def check_probe(probe: Probe, plan: Plan) -> None:
    """A probe covers the plan's volumes, and calls none clean against what it says itself.

    Raises: OrderError, FormatError naming the volume or the store.
    """
    volumes = probe.volumes or ()
    if [(v.name, v.stores) for v in volumes] != [(v.name, v.stores) for v in plan.volumes or ()]:
        raise OrderError("a probe does not cover the plan's volumes")
    for item, planned in zip(volumes, plan.volumes or (), strict=True):
        _check_counts(item)
        if item.reached in CLEAN:
            doubt = next(doubts(item, planned, probe.needles), None)
            if doubt is not None:
                raise OrderError(f"a probe grants volume {item.name} {item.reached} although {doubt}")
    _check_stores(probe.stores, {name: v for v in volumes for name in v.stores})


def doubts(item: ProbedVolume, planned: PlanVolume, needles: int) -> Iterator[str]:
    """What a probe says itself that speaks against calling a volume clean (spec/grades.md, rule 9).

    Clauses with "the volume" as *it*, the gravest first; none where L3 may be said. `needles` is how many
    values were searched for.
    """
    if item.state not in STILL:
        yield f"it was {item.state}"
    if (item.filesystem, item.bytes) != (planned.filesystem, planned.bytes):
        yield "it is not the volume that was planned"
    if not item.bytes or item.read != item.bytes or item.unreachable:
        yield "not all of it was read"
    if not needles:
        yield "there was nothing to search for"
    if not any(r.found for r in item.recall) or _blind(item.recall):
        yield "nothing shows that the search finds what was planted in such a volume"
    if item.residue or item.found or item.strangers:
        yield "it found residue"
    if not item.restores:
        yield "nobody tried to restore anything"
    if any(r.values for r in item.restores):
        yield "an attempt to restore brought something back"
    if any(r.missed or r.values > item.kept_elsewhere for r in item.referees):
        yield "an outside tool found what the search did not"


def narrows(new: Iterable[PlanVolume], old: Iterable[PlanVolume]) -> bool:
    """Whether these are volumes of an older plan, or fewer, with no more stores and actions."""
    before = {v.name: v for v in old}
    return all(
        item.name in before
        and _which(item) == _which(before[item.name])
        and item.quiesced <= before[item.name].quiesced  # more may be done to one that nobody writes to
        and item.kept <= before[item.name].kept
        and set(item.stores) <= set(before[item.name].stores)
        and set(item.actions) <= set(before[item.name].actions)
        for item in new
    )


def _which(volume: PlanVolume) -> tuple[str, str, int]:
    """What tells a volume from another one that is shown in its place."""
    return volume.owner, volume.filesystem, volume.bytes


def _stores_on(plan: Plan) -> dict[str, PlanVolume]:
    known = {s.name for s in plan.stores}
    volumes = plan.volumes or ()
    if len({v.name for v in volumes}) != len(volumes):
        raise FormatError("the plan names a volume twice")
    if known & {v.name for v in volumes}:  # what is measured of one would count for the other
        raise FormatError("the plan names a volume as it names a store")
    on: dict[str, PlanVolume] = {}
    for volume in volumes:
        if not volume.stores:
            raise OrderError(f"volume {volume.name} of the plan holds no store")
        if set(volume.stores) - known:
            raise OrderError(f"volume {volume.name} holds a store that the plan does not name")
        for name in volume.stores:
            if name in on:
                raise FormatError(f"the plan puts store {name} on a volume twice")
            on[name] = volume
    return on


def _check_consent(store: PlanStore, volume: PlanVolume) -> None:
    if SharedAction(WIPING, volume.owner) not in store.shared:
        raise OrderError(
            f"the plan wipes volume {volume.name} of store {store.name} without its owner's {WIPING}"
        )


def _check_counts(item: ProbedVolume) -> None:
    if item.read > item.bytes or item.free > item.bytes or item.blank > item.free:
        raise FormatError(f"the probe of volume {item.name} counts more bytes than there are")
    if item.state == "not read" and item.read:
        raise FormatError(f"the probe of volume {item.name} counts bytes of what was not read")
    if any(r.found > r.sampled for r in item.recall):
        raise FormatError("a recall finds more values than were sampled")
    if any(r.missed > r.values for r in item.referees):
        raise FormatError(f"the probe of volume {item.name} counts more missed values than were found")


def _blind(recall: Sequence[Recall]) -> set[str]:
    """Places where values were planted and none of them was found, in whatever encoding."""
    return {r.place for r in recall if r.sampled} - {r.place for r in recall if r.found}


def _check_stores(stores: Sequence[ProbedStore], on: dict[str, ProbedVolume]) -> None:
    for store in stores:
        if store.reached in CLEAN and (store.name not in on or on[store.name].reached not in CLEAN):
            raise OrderError(
                f"a probe grants store {store.name} {store.reached} although no volume of it was found clean"
            )
