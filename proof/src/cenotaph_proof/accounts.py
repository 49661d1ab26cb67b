"""Whether plan and destruction add up to what was surveyed and sealed (spec/case.md, rules 4 and 8).

Arithmetic on statements alone. Records are counted per published group of the seal: one collection,
or all of a store's collections under ten records together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cenotaph_proof import volumes
from cenotaph_proof.errors import FormatError, OrderError
from cenotaph_proof.statements import (
    Charter,
    Destruction,
    Inventory,
    InventoryStore,
    Plan,
    PlanStore,
    Seal,
    SealStore,
    StoreTerms,
)


def check_plan(plan: Plan, charter: Charter, inventory: Inventory, seal: Seal) -> None:
    """Every sealed collection and record is destroyed or left out, by the survey's own counts.

    Raises: OrderError, FormatError naming the store that is not accounted for.
    """
    if [s.name for s in plan.stores] != [s.name for s in seal.stores]:
        raise OrderError("the plan does not cover the seal's stores")
    terms = {s.name: s for s in charter.stores}
    for item, stored, surveyed in zip(plan.stores, seal.stores, inventory.stores, strict=True):
        _check_collections(item, stored)
        _check_records(item, stored, surveyed)
        _check_shared(item, terms[item.name], charter)
    volumes.check_plan(plan)
    if plan.records != sum(s.records for s in plan.stores):
        raise FormatError("the plan's total does not add up")
    if plan.annex != inventory.annex:
        raise OrderError("the plan names another annex than the inventory, so approvers read another estate")


def check_totals(
    run: Destruction, plan: Plan, seal: Seal, before: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """No group loses more records than were sealed, and *complete* is not said too early.

    `before` are the records that earlier runs destroyed, by store and ordinal; returns them with this
    run's. Raises: OrderError, FormatError.
    """
    done = dict(before)
    for item in run.stores:
        for c in item.collections:
            done[item.name, c.ordinal] = done.get((item.name, c.ordinal), 0) + c.records
    for stored in seal.stores:
        for group in stored.collections:
            if _sum(done, stored.name, group.ordinals) > group.records:
                raise OrderError(f"more records of store {stored.name} were destroyed than were sealed")
    for planned in plan.stores:
        if run.complete and _sum(done, planned.name, planned.destroy) != planned.records:
            raise FormatError(
                f"a destruction says it is complete although records of store {planned.name} are missing"
            )
    return done


def _check_collections(item: PlanStore, stored: SealStore) -> None:
    ordinals = sorted([*item.destroy, *(o.ordinal for o in item.left_out)])
    if ordinals != sorted(o for c in stored.collections for o in c.ordinals):
        raise OrderError(f"the plan for store {item.name} does not account for every collection")
    if item.records + sum(o.records for o in item.left_out) != stored.records:
        raise OrderError(f"the plan for store {item.name} does not account for every sealed record")


def _check_records(item: PlanStore, stored: SealStore, surveyed: InventoryStore) -> None:
    counted = {c.ordinal: c.records for c in surveyed.collections}
    for group in stored.collections:
        if sum(counted[o] for o in group.ordinals) != group.records:
            raise OrderError(f"the seal of store {item.name} counts other records than the inventory")
    if any(o.records != counted[o.ordinal] for o in item.left_out):
        # Otherwise a plan could count one record of a collection as all there is to destroy.
        raise OrderError(f"the plan for store {item.name} leaves out other records than were surveyed")
    held = sum(c.held for c in surveyed.collections)
    kept = sum(c.kept for c in surveyed.collections)
    if (item.held, item.kept) != (held, kept):
        raise OrderError(f"the plan for store {item.name} holds or keeps other records than were surveyed")


def _check_shared(item: PlanStore, terms: StoreTerms, charter: Charter) -> None:
    if {a.kind for a in item.shared} - set(terms.shared):
        raise OrderError(f"the plan for store {item.name} has a shared action the charter forbids")
    owners = [p.organisation for p in charter.parties if p.role == "owner"]
    named = [terms.owner] if terms.owner is not None else owners
    if item.shared and (len(named) != 1 or {a.owner for a in item.shared} != set(named)):
        raise OrderError(f"the plan for store {item.name} has a shared action by another owner than its own")


def _sum(records: Mapping[tuple[str, int], int], store: str, ordinals: Iterable[int]) -> int:
    return sum(records.get((store, o), 0) for o in ordinals)
