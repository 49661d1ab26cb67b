"""The numbers that pages show: of apps, stores and samples, taken from statements alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from cenotaph_proof.case import Case
from cenotaph_proof.facts import GRADES
from cenotaph_proof.statements import (
    App,
    Certificate,
    CertifiedStore,
    Challenge,
    Destruction,
    GradeName,
    Plan,
    PlanStore,
    Seal,
    SealStore,
    StoreTerms,
)

N = TypeVar("N", SealStore, PlanStore, CertifiedStore)


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """One store. `grade` is the one reached; before the certificate that planned; before the plan that asked.

    Counts are None before the statement that fixes them.
    """

    terms: StoreTerms
    grade: GradeName
    records: int | None
    persons: int | None
    planned: int | None  # records that the plan destroys
    held: int | None
    kept: int | None
    destroyed: int | None
    returned: int | None  # bytes


@dataclass(frozen=True, slots=True)
class AppFigures:
    """One app, and how many records of its stores have, or are to have, which grade."""

    app: App
    records: int | None
    grades: tuple[tuple[GradeName, int], ...]
    shared: bool  # a store of it serves another app too, so that apps do not add up


@dataclass(frozen=True, slots=True)
class Sampled:
    """What one challenge drew of one store, read through the auditor's own session."""

    organisation: str
    store: str
    chunks: int
    drawn: int
    matched: int
    records: int
    bound_ppm: int | None  # at most this part of the chunks is bad; None where a chunk did not match
    confidence_ppm: int

    @property
    def whole(self) -> bool:
        return self.drawn == self.chunks

    @property
    def bound_records(self) -> int | None:
        """The bound, in records of the store, rounded up."""
        return None if self.bound_ppm is None else -(-self.records * self.bound_ppm // 1_000_000)


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the estate: what was sealed, and what the plan leaves. None before the statement that fixes it."""

    records: int | None
    persons: int | None
    held: int | None
    kept: int | None


def totals(case: Case) -> Totals:
    """The estate's numbers."""
    seal, plan = case.latest(Seal), case.latest(Plan)
    planned = plan.body(Plan).stores if plan is not None else None
    return Totals(
        records=seal.body(Seal).records if seal is not None else None,
        persons=seal.body(Seal).persons if seal is not None else None,
        held=sum(s.held for s in planned) if planned is not None else None,
        kept=sum(s.kept for s in planned) if planned is not None else None,
    )


def stores(case: Case) -> tuple[StoreFigures, ...]:
    """The charter's stores."""
    return tuple(_store(case, terms) for terms in case.charter.stores)


def apps(case: Case) -> tuple[AppFigures, ...]:
    """The charter's apps. What a store holds counts for each app that uses it."""
    found = {s.terms.name: s for s in stores(case)}
    users = [name for app in case.charter.apps for name in app.stores]
    return tuple(_app(app, found, users) for app in case.charter.apps)


def others(case: Case) -> tuple[StoreFigures, ...]:
    """Stores that no app of the charter uses."""
    used = {name for app in case.charter.apps for name in app.stores}
    return tuple(s for s in stores(case) if s.terms.name not in used)


def by_grade(some: Iterable[StoreFigures]) -> tuple[tuple[GradeName, int], ...]:
    """Records by grade, the highest grade first."""
    totals: dict[GradeName, int] = {}
    for store in some:
        if store.records:
            totals[store.grade] = totals.get(store.grade, 0) + store.records
    return tuple(sorted(totals.items(), key=lambda item: -GRADES.index(item[0])))


def sampled(case: Case) -> tuple[Sampled, ...]:
    """What the newest challenges of the newest plan drew, store by store."""
    plan = case.latest(Plan)
    if plan is None:
        return ()
    sealed = {s.name: s.records for s in case.require(Seal).body(Seal).stores}
    confidence = case.charter.policy.confidence_ppm
    return tuple(
        Sampled(
            organisation=entry.signer.organisation,
            store=s.name,
            chunks=s.chunks,
            drawn=s.drawn,
            matched=s.matched,
            records=sealed.get(s.name, 0),
            bound_ppm=bound(s.chunks, s.drawn, confidence) if s.matched == s.drawn else None,
            confidence_ppm=confidence,
        )
        for entry in case.challenges(plan)
        for s in entry.body(Challenge).stores
        if s.read and s.drawn
    )


def _store(case: Case, terms: StoreTerms) -> StoreFigures:
    seal, plan, certificate = (case.latest(kind) for kind in (Seal, Plan, Certificate))
    sealed = _named(seal.body(Seal).stores, terms.name) if seal else None
    planned = _named(plan.body(Plan).stores, terms.name) if plan else None
    certified = _named(certificate.body(Certificate).stores, terms.name) if certificate else None
    runs = [s for e in case.all(Destruction) for s in e.body(Destruction).stores if s.name == terms.name]
    grade = certified.reached if certified else planned.grade if planned else terms.grade
    return StoreFigures(
        terms=terms,
        grade=grade,
        records=sealed.records if sealed else None,
        persons=sealed.persons if sealed else None,
        planned=planned.records if planned else None,
        held=planned.held if planned else None,
        kept=planned.kept if planned else None,
        destroyed=sum(c.records for s in runs for c in s.collections) if runs else None,
        returned=sum(s.returned for s in runs) if runs else None,
    )


def _named(items: Iterable[N], name: str) -> N | None:
    return next((item for item in items if item.name == name), None)


def _app(app: App, found: dict[str, StoreFigures], users: list[str]) -> AppFigures:
    mine = [found[name] for name in app.stores if name in found]
    counted = [s.records for s in mine if s.records is not None]
    return AppFigures(
        app=app,
        records=sum(counted) if counted else None,
        grades=by_grade(mine),
        shared=any(users.count(name) > 1 for name in app.stores),
    )


def bound(chunks: int, drawn: int, confidence_ppm: int) -> int:
    """The part of the chunks, in millionths and rounded up, that may be bad although all drawn ones matched:
    (1 − bound)^drawn = 1 − confidence (spec/challenge.md). 0 where every chunk was drawn."""
    if drawn >= chunks:
        return 0
    doubt = 1 - confidence_ppm / 1_000_000
    return min(1_000_000, math.ceil(1_000_000 * (1 - math.pow(doubt, 1 / drawn))))
