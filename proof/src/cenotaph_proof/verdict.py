"""The verdict on a case: three lists of lines, each a code with its arguments (spec/verdict.md).

*Proven* follows from mathematics and the log witnesses' honesty alone; *attested* is what somebody says;
*not shown* is what nobody shows. Words come last, in the reader's language (`cenotaph_proof.words`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cenotaph_proof import draw, people, telling
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.facts import LIMITS
from cenotaph_proof.stamp import Stamped
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    Challenge,
    Destruction,
    Inventory,
    Plan,
    Probe,
    Seal,
)
from cenotaph_proof.words import Words, phrase, several, text, time

VERIFIED, UNIDENTIFIED = 0, 6


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the verdict, and where it comes from: a step of spec/verify.md and statements."""

    code: str
    args: Mapping[str, Any] = field(default_factory=dict)
    step: str = "verify 4"
    evidence: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The line in English."""
        return Words("en").say(self.code, self.args)


@dataclass(frozen=True, slots=True)
class Lists:
    """What holds (`proven`), who says what (`attested`), and what nobody shows (`not_shown`)."""

    proven: tuple[Fact, ...]
    attested: tuple[Fact, ...]
    not_shown: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verified proof file shows. `recall`: store → percents that a search finds at least, or None."""

    case: str
    name: str
    operator: str
    identified: bool
    certificate: Certificate
    recall: Mapping[str, int | None]
    proven: tuple[Fact, ...]
    attested: tuple[Fact, ...]
    not_shown: tuple[Fact, ...]

    @property
    def exit_code(self) -> int:
        return VERIFIED if self.identified else UNIDENTIFIED


def of(case: Case) -> Verdict:
    """The verdict on a case whose certificate was replayed and is under its quorum."""
    lists = so_far(case)
    certificate = case.require(Certificate).body(Certificate)
    assert case.trust is not None
    return Verdict(
        case=case.charter.case,
        name=case.charter.name,
        operator=case.charter.operator,
        identified=not case.trust.named_by_operator,
        certificate=certificate,
        recall={s.name: _recall_of(case, s.name) for s in certificate.stores},
        proven=lists.proven,
        attested=lists.attested,
        not_shown=lists.not_shown,
    )


def so_far(case: Case) -> Lists:
    """The three lists of a case that may still be under way."""
    return Lists(tuple(_proven(case)), tuple(_attested(case)), tuple(_not_shown(case)))


# ── proven ───────────────────────────────────────────────────────────────────────────────────────


def _proven(case: Case) -> list[Fact]:
    lines: list[Fact] = []
    if case.cosigned:
        first, last = case.cosigned[0], case.cosigned[-1]
        span = {"first": time(first.time), "last": time(last.time)}
        seen = {"witnesses": _who(case, last.witnesses), "statements": last.size, **span}
        lines.append(Fact("proven.append-only", seen, "verify 5"))
    lines += [*_sealed(case), *_gates(case)]
    certified = case.latest(Certificate)
    if certified is not None and case.cosigned_time(certified.index) is not None:
        lines.append(Fact("proven.certificate", step="verify 7"))
    if case.charter.earlier:
        lines.append(Fact("proven.abandoned", {"attempts": len(case.charter.earlier)}))
    return lines


def _sealed(case: Case) -> list[Fact]:
    sealed = case.latest(Seal)
    if sealed is None:
        return []
    body = sealed.body(Seal)
    counts = {
        "records": body.records,
        "collections": sum(len(c.ordinals) for s in body.stores for c in s.collections),
    }
    by = time(case.cosigned_time(sealed.index))
    return [Fact("proven.sealed", {**counts, "time": by}, "verify 7", (sealed.digest,))]


def _gates(case: Case) -> list[Fact]:
    begun = case.all(Destruction)
    if not begun:
        return []
    started = begun[0].body(Destruction).started
    times = {"started": time(started), "seen": time(case.cosigned_time(begun[0].index))}
    return [Fact("proven.gates", times, "verify 4", (begun[0].digest,))]


# ── attested ─────────────────────────────────────────────────────────────────────────────────────


def _attested(case: Case) -> list[Fact]:
    lines = [_said(case, e, "attested.countersigned") for e in _in_order(case.charter_approvals())]
    planned = case.latest(Plan)
    for entry in _in_order(case.plan_approvals(planned)) if planned is not None else ():
        lines.append(_said(case, entry, "attested.approved", until=time(entry.body(Approval).until)))
    for entry in case.all(Challenge):
        lines += _challenged(case, entry)
    for entry in case.all(Destruction):
        lines += _destroyed(case, entry)
    for entry in case.all(Probe):
        lines += _probed(case, entry)
    lines += [_heard(case, line) for line in people.attested(case)]
    return lines + [_stamped(stamp) for stamp in case.stamped]


def _stamped(stamp: Stamped) -> Fact:
    told = {"authority": stamp.authority, "statements": stamp.size, "time": time(stamp.time)}
    return Fact("attested.timestamp", told, "verify 5")


def _challenged(case: Case, entry: Entry) -> list[Fact]:
    body = entry.body(Challenge)
    read = [s for s in body.stores if s.read]
    decision = phrase(f"decision.{body.decision}")
    if not any(s.drawn for s in read):
        lines = [_said(case, entry, "attested.challenge-unread", decision=decision)]
    else:
        line = _said(
            case,
            entry,
            "attested.challenge",
            drawn=sum(s.drawn for s in read),
            matched=sum(s.matched for s in read),
            bound=_bound(case, all(s.drawn == s.chunks for s in read)),
            found=body.found,
            brought=body.brought,
            decision=decision,
            tool=body.tool,
        )
        lines = [line]
    return lines + _recalled(case, entry)


def _bound(case: Case, whole: bool) -> dict[str, Any]:
    policy = case.charter.policy
    if whole:
        return phrase("bound.whole")
    shares = {"bound": policy.bound_ppm, "confidence": policy.confidence_ppm}
    return phrase("bound.sampled", **{name: f"{ppm / 10_000:g}" for name, ppm in shares.items()})


def _recalled(case: Case, entry: Entry) -> list[Fact]:
    """What a search is known to find; store by store it stands beside the grades (spec/grades.md, rule 6)."""
    body = entry.body(Challenge)
    stores = {s.name for s in body.stores}  # of volumes the probe tells
    measured = [r for r in body.recall if r.store in stores and r.place == "any place" and r.sampled]
    if not measured:
        return []
    counts = {"found": sum(r.found for r in measured), "sampled": sum(r.sampled for r in measured)}
    least = min(draw.percent(r.found, r.sampled) for r in measured)
    return [_said(case, entry, "attested.recall", **counts, least=least)]


def _recall_of(case: Case, store: str) -> int | None:
    """The best lower bound, in percents, that an auditor measured for a store; None where nobody did."""
    rows = [
        r
        for entry in case.challenges(case.require(Plan))
        for r in entry.body(Challenge).recall
        if r.store == store and r.place == "any place" and r.sampled
    ]
    return max((draw.percent(r.found, r.sampled) for r in rows), default=None)


def _destroyed(case: Case, entry: Entry) -> list[Fact]:
    body = entry.body(Destruction)
    records = sum(c.records for s in body.stores for c in s.collections)
    lines = [_said(case, entry, "attested.destroyed", records=records, batch=body.number)]
    return lines + [_said(case, entry, "attested.wiped", **telling.wiped(v)) for v in body.volumes or ()]


def _probed(case: Case, entry: Entry) -> list[Fact]:
    body = entry.body(Probe)
    line = _said(
        case,
        entry,
        "attested.probe",
        stores=len(body.stores),
        files=sum(s.places for s in body.stores),
        values=body.needles,
        residue=sum(s.residue + s.strangers for s in body.stores),
        elsewhere=sum(s.kept_elsewhere for s in body.stores),
        decision=phrase(f"decision.{body.decision}"),
        share=phrase("share.destroyed" if body.share_destroyed else "share.kept"),
        tool=body.tool,
    )
    on = [telling.restored(s) for s in body.stores if s.restores]
    on += [telling.searched(v) for v in body.volumes or ()]
    seen = [_heard(case, app) for app in people.looked_at(entry)]
    return [line, *(_said(case, entry, code, **args) for code, args in on), *seen]


# ── not shown ────────────────────────────────────────────────────────────────────────────────────


def _not_shown(case: Case) -> list[Fact]:
    certified = case.latest(Certificate)
    certificate = certified.body(Certificate) if certified is not None else None
    limits = certificate.limits if certificate is not None else LIMITS
    lines = [Fact("not-shown.limit", {"text": text(t)}, "docs/limits.md") for t in limits]
    if certificate is not None:
        lines += _below(certificate)
        lines += [Fact(code, args, step) for code, args, step in telling.not_shown(case, certificate)]
    assert case.trust is not None
    lines += [_heard(case, line) for line in people.not_shown(case, case.trust.holds)]
    surveyed = case.latest(Inventory)
    undeclared = surveyed.body(Inventory).undeclared if surveyed is not None else 0
    if undeclared:
        lines.append(Fact("not-shown.undeclared", {"stores": undeclared}, "verify 7"))
    if certificate is not None and certificate.shares_not_destroyed:
        names = several(certificate.shares_not_destroyed)
        lines.append(Fact("not-shown.shares", {"names": names}, "verify 7"))
    if case.ended_elsewhere:
        lines.append(Fact("not-shown.ended-elsewhere", {"cases": len(case.ended_elsewhere)}))
    if case.stamps_of_others:
        lines.append(Fact("not-shown.timestamps-of-others", {"stamps": case.stamps_of_others}, "verify 5"))
    if case.stamps_unchecked:
        lines.append(Fact("not-shown.timestamps-unchecked", {"stamps": case.stamps_unchecked}, "verify 5"))
    if case.untrusted:
        lines.append(Fact("not-shown.untrusted", {"names": several(sorted(case.untrusted))}, "verify 2"))
    return [*lines, *_unknown_runners(case)]


def _unknown_runners(case: Case) -> list[Fact]:
    """Log witnesses that count as independent only as far as a name in the trust file is spelt right."""
    assert case.trust is not None
    held = sorted({p.organisation for p in case.parties("log-witness")} - case.untrusted)
    named = [(name, case.trust.unknown_runner(name)) for name in held]
    runs = [phrase("who.run-by", name=name, by=by) for name, by in named if by is not None]
    return [Fact("not-shown.runners-unknown", {"names": several(runs)}, "verify 2")] if runs else []


def _below(certificate: Certificate) -> list[Fact]:
    """Stores below the grade asked for, places not reached, collections not destroyed."""
    lines: list[Fact] = []
    for s in certificate.stores:
        if s.reached != s.asked:
            args = {"store": s.name, "reached": s.reached, "asked": s.asked, "why": text(s.why_not_higher)}
            lines.append(Fact("not-shown.store-below", args, "verify 7"))
        for line in s.unreachable:
            what = {"store": s.name, "what": text(line)}
            lines.append(Fact("not-shown.store-unreached", what, "verify 7"))
        for c in s.collections:
            if c.outcome != "destroyed":
                parts: dict[str, Any] = {
                    "which": several(c.ordinals),
                    "store": s.name,
                    "outcome": phrase("outcome." + c.outcome.replace(" ", "-")),
                    "remain": c.sealed - c.destroyed,
                }
                lines.append(Fact("not-shown.collection", parts, "verify 7"))
        if s.kept_elsewhere:
            kept = {"store": s.name, "values": s.kept_elsewhere}
            lines.append(Fact("not-shown.store-kept", kept, "verify 7"))
    return lines


def _in_order(entries: Sequence[Entry]) -> list[Entry]:
    """In log order: who approved anew stands where that approval does."""
    return sorted(entries, key=lambda e: e.index)


# ── who ──────────────────────────────────────────────────────────────────────────────────────────


def _said(case: Case, entry: Entry, code: str, **args: Any) -> Fact:
    assert case.trust is not None
    how = "trusted"
    if case.trust.named_by_operator:
        how = "calling-itself"
    elif entry.signer.organisation in case.untrusted:
        how = "not-trusted"
    role = phrase(f"role.{entry.signer.role}")
    who = phrase(f"who.{how}", role=role, name=entry.signer.organisation)
    return Fact(code, {"who": who, **args}, "verify 4", (entry.digest,))


def _heard(case: Case, line: people.Line) -> Fact:
    if line.spoken:
        return _said(case, line.entry, line.code, **line.args)
    return Fact(line.code, line.args, "verify 4", (line.entry.digest,))


def _who(case: Case, witnesses: Sequence[str]) -> dict[str, Any]:
    assert case.trust is not None
    own = case.trust.run_by(case.charter.operator)
    marked = [phrase("who.run-by-operator", name=w) if w in own else w for w in witnesses]
    names = several(marked) if marked else phrase("who.nobody")
    return phrase("who.calling-themselves" if case.trust.named_by_operator else "who.names", names=names)
