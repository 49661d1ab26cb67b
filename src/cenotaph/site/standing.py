"""Where a case stands, for people who watch it: what was done, who is next, and when the earliest is.

From statements and the witnesses' times alone: it reads no clock, so that the page says the same whenever
it is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cenotaph_proof import facts
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import COUNTERSIGN, Entry
from cenotaph_proof.errors import ProofError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import Certificate, Destruction, Inventory, Plan, Seal

Stage = Literal[
    "opened",  # the charter waits for those who must countersign it
    "countersigned",
    "surveyed",
    "sealed",
    "planned",  # challenges and approvals are being collected
    "approved",  # nothing is missing but the end of the notice period
    "destroying",
    "destroyed",  # an auditor is to search what is left
    "rejected",  # an auditor found something left
    "searched",  # the certificate is to be signed
    "certified",
]
ACTS = ("announced", "approved", "destroyed", "searched", "certified")  # of the ceremony
_ACT: Mapping[Stage, int] = {
    "approved": 2,
    "destroying": 2,
    "destroyed": 3,
    "rejected": 2,
    "searched": 4,
    "certified": 4,
}


@dataclass(frozen=True, slots=True)
class Awaited:
    """Somebody who has still to act: `what` is countersign, challenge, approve or search."""

    what: Literal["countersign", "challenge", "approve", "search"]
    party: PublicKey


@dataclass(frozen=True, slots=True)
class Standing:
    """`earliest`: the witnessed time before which nothing may be destroyed; None while approvals lack."""

    stage: Stage
    awaited: tuple[Awaited, ...]
    earliest: int | None


def act(stage: Stage) -> int:
    """Which of `ACTS` is going on, or comes next."""
    return _ACT.get(stage, 1)


def of(case: Case) -> Standing:
    """Where the case stands."""
    earliest = _earliest(case)
    stage = _stage(case, earliest)
    return Standing(stage, _awaited(case, stage), earliest)


def _stage(case: Case, earliest: int | None) -> Stage:
    if case.latest(Certificate) is not None:
        return "certified"
    last = case.latest(Destruction)
    if last is not None:
        return _after(case, last)
    if case.countersigning_missing():
        return "opened"
    if case.latest(Plan) is not None:
        return "planned" if earliest is None else "approved"
    if case.latest(Seal) is not None:
        return "sealed"
    return "countersigned" if case.latest(Inventory) is None else "surveyed"


def _after(case: Case, last: Entry) -> Stage:
    if not last.body(Destruction).complete:
        return "destroying"
    if case.rejected():
        return "rejected"
    return "searched" if facts.accepted(case) else "destroyed"


def _awaited(case: Case, stage: Stage) -> tuple[Awaited, ...]:
    if stage == "opened":
        return tuple(Awaited("countersign", p) for p in case.countersigning_missing())
    if stage == "planned":
        return _before_destruction(case)
    if stage == "destroyed":
        return tuple(Awaited("search", p) for p in case.parties("auditor"))
    return ()


def _before_destruction(case: Case) -> tuple[Awaited, ...]:
    plan = case.require(Plan)
    challenged = {e.signer.key_id for e in case.challenges(plan)}
    approved = {e.signer.key_id for e in case.plan_approvals(plan)}
    return (
        *(Awaited("challenge", p) for p in case.parties("auditor") if p.key_id not in challenged),
        *(Awaited("approve", p) for p in case.parties(*COUNTERSIGN) if p.key_id not in approved),
    )


def _earliest(case: Case) -> int | None:
    """When the notice period ends, if every other gate is open then (spec/case.md, rules 7 and 9)."""
    plan = case.latest(Plan)
    if plan is None:
        return None
    announced = plan
    while (older := case.narrowed(announced)) is not None:
        announced = older
    needed = [announced, plan, *case.plan_approvals(plan), *case.challenges(plan)]
    seen = [case.cosigned_time(e.index) for e in needed]
    known = [time for time in seen if time is not None]
    if len(known) < len(seen):
        return None
    begins = max(known) + case.charter.notice
    try:
        case.approved_plan(begins)
    except ProofError:
        return None
    return begins
