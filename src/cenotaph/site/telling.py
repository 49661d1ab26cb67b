"""What each statement says, in words: the first line stands for it in the timeline and the feed.

Each line is a code of `words/site.*.json` with its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from cenotaph_proof.casebook import Entry
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    Challenge,
    Charter,
    Destruction,
    Inventory,
    Plan,
    Probe,
    Seal,
    Testimony,
)
from cenotaph_proof.words import clauses, phrase, several, text, time

Line: TypeAlias = tuple[str, Mapping[str, Any]]


def lines(entry: Entry) -> tuple[Line, ...]:
    """A statement in words."""
    return tuple(_TELLERS[type(entry.statement.body)](entry))


def summary(entry: Entry) -> Line:
    """A statement in one line."""
    return lines(entry)[0]


def _charter(entry: Entry) -> Iterator[Line]:
    body = entry.body(Charter)
    yield "site.told.charter", {"apps": len(body.apps), "stores": len(body.stores)}
    if body.basis:
        yield "site.told.basis", {"basis": text(body.basis)}
    yield "site.told.notice", {"notice": duration(body.notice)}
    yield (
        "site.told.parties",
        {
            "parties": several(
                phrase("site.party", role=role(p.role), name=p.organisation) for p in body.parties
            )
        },
    )
    if body.earlier:
        yield "site.told.earlier", {"charters": len(body.earlier)}


def _approval(entry: Entry) -> Iterator[Line]:
    body = entry.body(Approval)
    if body.decision == "withdraw":
        yield f"site.told.withdraw-{body.of}", {}
        return
    yield f"site.told.approve-{body.of}", {"until": time(body.until)}
    if body.commitments is not None:
        yield "site.told.commitments", {"records": body.commitments.outside_records}


def _inventory(entry: Entry) -> Iterator[Line]:
    body = entry.body(Inventory)
    collections = [c for s in body.stores for c in s.collections]
    yield (
        "site.told.inventory",
        {
            "stores": len(body.stores),
            "collections": len(collections),
            "records": sum(c.records for c in collections),
        },
    )
    for store in body.stores:
        yield (
            "site.told.inventory-store",
            {
                "store": store.name,
                "collections": len(store.collections),
                "records": sum(c.records for c in store.collections),
                "held": sum(c.held for c in store.collections),
                "kept": sum(c.kept for c in store.collections),
            },
        )
    if body.undeclared:
        yield "site.told.undeclared", {"stores": body.undeclared}


def _seal(entry: Entry) -> Iterator[Line]:
    body = entry.body(Seal)
    yield "site.told.seal", {"records": body.records, "chunks": body.chunks}
    if body.persons is not None:
        yield "site.told.seal-persons", {"persons": body.persons}
    for store in body.stores:
        yield "site.told.seal-store", {"store": store.name, "records": store.records}


def _plan(entry: Entry) -> Iterator[Line]:
    body = entry.body(Plan)
    yield "site.told.plan", {"number": body.number, "records": body.records}
    for store in body.stores:
        yield (
            "site.told.plan-store",
            {
                "store": store.name,
                "records": store.records,
                "grade": store.grade,
                "held": store.held,
                "kept": store.kept,
            },
        )
        if store.why_not_higher:
            yield "site.told.why", {"store": store.name, "why": text(store.why_not_higher)}
    for step in body.steps or ():
        yield "site.told.step", {"about": step.about, "says": says(step.says)}


def _challenge(entry: Entry) -> Iterator[Line]:
    body = entry.body(Challenge)
    read = [s for s in body.stores if s.read]
    yield (
        "site.told.challenge",
        {
            "drawn": sum(s.drawn for s in read),
            "matched": sum(s.matched for s in read),
            "decision": decision(body.decision),
        },
    )
    yield "site.told.outside", {"brought": body.brought, "found": body.found}
    yield from _reasons(body.reasons)


def _destruction(entry: Entry) -> Iterator[Line]:
    body = entry.body(Destruction)
    records = sum(c.records for s in body.stores for c in s.collections)
    yield "site.told.destruction", {"number": body.number, "records": records}
    for store in body.stores:
        destroyed = sum(c.records for c in store.collections)
        yield (
            "site.told.destruction-store",
            {"store": store.name, "records": destroyed, "returned": store.returned},
        )
    yield ("site.told.complete" if body.complete else "site.told.incomplete"), {}


def _probe(entry: Entry) -> Iterator[Line]:
    body = entry.body(Probe)
    residue = sum(s.residue + s.strangers for s in body.stores)
    residue += sum(v.residue + v.strangers for v in body.volumes or ())
    yield "site.told.probe", {"residue": residue, "decision": decision(body.decision)}
    for store in body.stores:
        yield (
            "site.told.probe-store",
            {
                "store": store.name,
                "grade": grade(store.reached),
                "files": store.places,
                "residue": store.residue + store.strangers,
                "elsewhere": store.kept_elsewhere,
            },
        )
    for app in body.apps or ():
        yield (
            "site.told.app",
            {
                "app": app.app,
                "check": phrase(f"site.check.{app.check}"),
                "state": phrase(f"site.state.{_code(app.state)}"),
            },
        )
    yield from _reasons(body.reasons)


def _testimony(entry: Entry) -> Iterator[Line]:
    body = entry.body(Testimony)
    yield "site.told.testimony", {"about": body.about, "says": says(body.says)}
    if body.why:
        yield "site.told.because", {"why": text(body.why)}
    if body.evidence:
        yield "site.told.evidence", {"files": len(body.evidence)}


def _certificate(entry: Entry) -> Iterator[Line]:
    body = entry.body(Certificate)
    yield "site.told.certificate", {"destroyed": body.destroyed, "sealed": body.sealed}
    for store in body.stores:
        yield (
            "site.told.certificate-store",
            {"store": store.name, "asked": grade(store.asked), "reached": grade(store.reached)},
        )


def _reasons(reasons: tuple[str, ...]) -> Iterator[Line]:
    if reasons:
        yield "site.told.reasons", {"reasons": clauses(text(r) for r in reasons)}


# ── words that arguments are made of ─────────────────────────────────────────────────────────────


def role(name: str) -> dict[str, Any]:
    return phrase(f"role.{name}")


def says(saying: str) -> dict[str, Any]:
    return phrase(f"says.{_code(saying)}")


def decision(word: str) -> dict[str, Any]:
    return phrase(f"decision.{word}")


def grade(name: str) -> dict[str, Any]:
    return phrase(f"site.grade.{name}")


def duration(seconds: int) -> dict[str, Any]:
    """A span of time in the largest unit that it is a whole number of."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds and seconds % length == 0:
            return phrase(f"site.{unit}", number=seconds // length)
    return phrase("site.seconds", number=seconds) if seconds else phrase("site.at-once")


def size(count: int) -> dict[str, Any]:
    """Bytes, in the binary unit that leaves the fewest digits before the point."""
    for unit, length in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= length:
            return phrase("site.bytes-in", number=f"{count / length:,.1f}", unit=unit)
    return phrase("site.bytes", number=count)


def _code(words: str) -> str:
    return words.replace(" ", "-")


_TELLERS: Mapping[type, Callable[[Entry], Iterator[Line]]] = {
    Charter: _charter,
    Approval: _approval,
    Inventory: _inventory,
    Seal: _seal,
    Plan: _plan,
    Challenge: _challenge,
    Destruction: _destruction,
    Probe: _probe,
    Testimony: _testimony,
    Certificate: _certificate,
}
