"""Verifying a certificate: numbered steps (spec/verify.md), and a verdict in three lists.

1. Read the proof file strictly.
2. Take keys, roles and thresholds from the trust file. Without one, say so and go on.
3. Every statement is signed by the party it must be signed by.
4. Statements follow those they cite; every gate was open when it had to be.
5. Every checkpoint covers the log's entries as they are, and extends the one before it.
6. Enough witnesses cosigned the checkpoint over the certificate.
7. The sealed totals lie under the sealed root; the certificate says what the statements say.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cenotaph_proof import bundle as bundles
from cenotaph_proof import draw, telling
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.errors import (
    FormatError,
    LogError,
    OrderError,
    ProofError,
    SignatureError,
    ThresholdError,
)
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    Challenge,
    Destruction,
    Inventory,
    Plan,
    Probe,
    Seal,
    Testimony,
)
from cenotaph_proof.telling import many, percent
from cenotaph_proof.trust import Trust

VERIFIED, UNIDENTIFIED = 0, 6


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the verdict, and where it comes from: a step of spec/verify.md and statements."""

    text: str
    step: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds (`proven`), who says what (`attested`), and what nobody shows (`not_shown`)."""

    case: str
    name: str
    operator: str
    identified: bool
    certificate: Certificate
    recall: Mapping[str, str]  # store → lower bound of what a search finds, in words
    proven: tuple[Fact, ...]
    attested: tuple[Fact, ...]
    not_shown: tuple[Fact, ...]

    @property
    def exit_code(self) -> int:
        return VERIFIED if self.identified else UNIDENTIFIED


def verify(stream: BinaryIO, trust: Trust | None) -> Verdict:
    """Verify a proof file. Raises: ProofError whose `step` names the step that failed."""
    try:
        bundle = bundles.read(stream)
    except ProofError as error:
        error.step = error.step or "verify 1"
        raise
    try:
        case = bundles.replay(bundle, trust)
    except ProofError as error:
        error.step = error.step or _step_of(error)
        raise
    last = case.latest(Certificate)
    if last is None:
        where = case.entries[-1].statement.kind
        raise OrderError(f"there is no certificate: the case stands at its {where}", step="verify 4")
    covering = [c for c in case.cosigned if c.size > last.index]
    if not covering:  # (6)
        raise ThresholdError(
            "the checkpoint over the certificate lacks its quorum of log witnesses", step="verify 6"
        )
    if case.cosigned[-1].size != case.size:
        raise ThresholdError("the log's end is not under a checkpoint with its quorum", step="verify 6")
    return _verdict(case, last)


def verify_file(path: Path, trust: Trust | None) -> Verdict:
    """Verify the proof file at `path`. Raises: ProofError, OSError."""
    with path.open("rb") as stream:
        return verify(stream, trust)


def _step_of(error: ProofError) -> str:
    """The step of an error that names none: by its kind, never by its words."""
    if isinstance(error, LogError):
        return "verify 5"
    if isinstance(error, SignatureError):
        return "verify 3"
    return "verify 1" if isinstance(error, FormatError) else "verify 4"


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def _verdict(case: Case, last: Entry) -> Verdict:
    certificate = last.body(Certificate)
    assert case.trust is not None
    return Verdict(
        case=case.charter.case,
        name=case.charter.name,
        operator=case.charter.operator,
        identified=not case.trust.named_by_operator,
        certificate=certificate,
        recall={s.name: _recall_of(case, s.name) for s in certificate.stores},
        proven=_proven(case, certificate),
        attested=_attested(case),
        not_shown=_not_shown(case, certificate),
    )


def _proven(case: Case, certificate: Certificate) -> tuple[Fact, ...]:
    first, last = case.cosigned[0], case.cosigned[-1]
    sealed = case.require(Seal)
    begun = case.all(Destruction)[0]
    sealed_by = case.cosigned_time(sealed.index)
    lines = [
        Fact(
            f"{_who(case, last.witnesses)} saw this log of {case.size} statements as append-only, "
            f"from {_when(first.time)} to {_when(last.time)}.",
            "verify 5",
        ),
        Fact(
            f"{many(certificate.sealed, 'record')} in {many(certificate.collections, 'collection')} "
            "lay under "
            f"the sealed root by {_when(sealed_by)}; the totals add up.",
            "verify 7",
            (sealed.digest,),
        ),
        Fact(
            "Charter, inventory, seal, plan, challenge and approvals were in the log before destruction "
            f"began ({_when(begun.body(Destruction).started)} by the operator's word, "
            f"seen by {_when(case.cosigned_time(begun.index))}).",
            "verify 4",
            (begun.digest,),
        ),
        Fact("The certificate says what the statements say, and nothing required is missing.", "verify 7"),
    ]
    if certificate.abandoned:
        lines.append(
            Fact(
                f"{many(len(certificate.abandoned), 'earlier attempt')} in this log was never finished.",
                "verify 4",
            )
        )
    return tuple(lines)


def _attested(case: Case) -> tuple[Fact, ...]:
    lines: list[Fact] = []
    for entry in case.charter_approvals():
        lines.append(_said(case, entry, "countersigned the charter", "verify 4"))
    for entry in case.plan_approvals(case.require(Plan)):
        until = _when(entry.body(Approval).until)
        lines.append(_said(case, entry, f"approved the plan, until {until}", "verify 4"))
    for entry in case.all(Challenge):
        lines.append(_said(case, entry, _challenged(case, entry.body(Challenge)), "verify 4"))
        lines += [_said(case, entry, what, "verify 4") for what in _recalled(entry.body(Challenge))]
    for entry in case.all(Destruction):
        body = entry.body(Destruction)
        records = sum(c.records for s in body.stores for c in s.collections)
        lines.append(
            _said(case, entry, f"destroyed {many(records, 'record')} in batch {body.number}", "verify 4")
        )
        lines += [_said(case, entry, telling.wiped(v), "verify 4") for v in body.volumes or ()]
    for entry in case.all(Probe):
        lines.append(_said(case, entry, _probed(entry.body(Probe)), "verify 4"))
        on = entry.body(Probe).volumes or ()
        lines += [_said(case, entry, telling.searched(v), "verify 4") for v in on]
    for entry in case.all(Testimony):
        told = entry.body(Testimony)
        lines.append(_said(case, entry, f"testifies about {told.about}: {told.says}", "verify 4"))
    return tuple(lines)


def _challenged(case: Case, body: Challenge) -> str:
    read = [s for s in body.stores if s.read]
    drawn, matched = sum(s.drawn for s in read), sum(s.matched for s in read)
    if not any(s.drawn for s in read):
        return f"read no store through a session of its own; decision: {body.decision}"
    whole = all(s.drawn == s.chunks for s in read)
    policy = case.charter.policy
    bound = (
        "every chunk was read"
        if whole
        else f"so at most {policy.bound_ppm / 10_000:g} % of the chunks of a store are bad, with "
        f"{policy.confidence_ppm / 10_000:g} % confidence"
    )
    return (
        f"read {drawn} drawn chunks in the live stores, {matched} matched the seal ({bound}); "
        f"{body.found} of {body.brought} outside records were found; decision: {body.decision} "
        f"(with {body.tool})"
    )


def _recalled(body: Challenge) -> list[str]:
    """What a search is known to find; store by store it stands beside the grades (spec/grades.md, rule 6)."""
    stores = {s.name for s in body.stores}  # of volumes the probe tells
    measured = [r for r in body.recall if r.store in stores and r.place == "any place" and r.sampled]
    if not measured:
        return []
    found, sampled = sum(r.found for r in measured), sum(r.sampled for r in measured)
    least = min(measured, key=lambda r: draw.at_least(r.found, r.sampled))
    return [
        f"found {found:,} of {sampled:,} sampled values raw before destruction; a search like it finds, with "
        f"95 % confidence, at least {percent(least.found, least.sampled)} of such values in any store"
    ]


def _recall_of(case: Case, store: str) -> str:
    """The best lower bound that an auditor measured for a store, or "not measured"."""
    rows = [
        r
        for entry in case.challenges(case.require(Plan))
        for r in entry.body(Challenge).recall
        if r.store == store and r.place == "any place" and r.sampled
    ]
    best = max(rows, key=lambda r: draw.at_least(r.found, r.sampled), default=None)
    return percent(best.found, best.sampled) if best is not None else "not measured"


def _probed(body: Probe) -> str:
    residue = sum(s.residue + s.strangers for s in body.stores)
    elsewhere = sum(s.kept_elsewhere for s in body.stores)
    places = sum(s.places for s in body.stores)
    return (
        f"searched what was left of {many(len(body.stores), 'store')} ({many(places, 'file')}) for "
        f"{many(body.needles, 'value')}: {residue} found outside what is kept, "
        f"{elsewhere} inside what is kept; decision: {body.decision}"
        + ("; destroyed their key share" if body.share_destroyed else "")
        + f" (with {body.tool})"
    )


def _not_shown(case: Case, certificate: Certificate) -> tuple[Fact, ...]:
    lines = [Fact(text, "docs/limits.md") for text in certificate.limits]
    for store in certificate.stores:
        if store.reached != store.asked:
            lines.append(
                Fact(
                    f"Store {store.name} reached {store.reached}, not {store.asked}: {store.why_not_higher}.",
                    "verify 7",
                )
            )
        lines += [
            Fact(f"Not reached in store {store.name}: {line}", "verify 7") for line in store.unreachable
        ]
        for c in store.collections:
            if c.outcome != "destroyed":
                which = ", ".join(map(str, c.ordinals))
                lines.append(
                    Fact(
                        f"Collection {which} of store {store.name}: {c.outcome}, "
                        f"{c.sealed - c.destroyed} records remain.",
                        "verify 7",
                    )
                )
    lines += [Fact(text, step) for text, step in telling.not_shown(case, certificate)]
    undeclared = case.require(Inventory).body(Inventory).undeclared
    if undeclared:
        lines.append(
            Fact(f"{many(undeclared, 'store')} found by the survey that the case does not name.", "verify 7")
        )
    if certificate.shares_not_destroyed:
        lines.append(
            Fact(
                "Key shares not said to be destroyed: " + ", ".join(certificate.shares_not_destroyed),
                "verify 7",
            )
        )
    if case.ended_elsewhere:
        lines.append(
            Fact(
                f"{many(len(case.ended_elsewhere), 'other case')} in this log ended with a certificate of "
                "its own, which is not checked here.",
                "verify 4",
            )
        )
    if case.untrusted:
        lines.append(
            Fact("Not in the trust file, so not counted: " + ", ".join(sorted(case.untrusted)), "verify 2")
        )
    return tuple(lines)


def _said(case: Case, entry: Entry, what: str, step: str) -> Fact:
    who = entry.signer.organisation
    assert case.trust is not None
    if case.trust.named_by_operator:
        who = f"a key calling itself {who}"
    elif who in case.untrusted:
        who = f"{who} (not in the trust file)"
    return Fact(f"{entry.signer.role} {who} {what}", step, (entry.digest,))


def _who(case: Case, witnesses: tuple[str, ...]) -> str:
    assert case.trust is not None
    prefix = "keys calling themselves " if case.trust.named_by_operator else ""
    return prefix + (", ".join(witnesses) or "nobody")


def _when(time: int | None) -> str:
    if time is None:
        return "an unknown time"
    try:
        at = datetime.datetime.fromtimestamp(time, datetime.UTC)
    except (ValueError, OverflowError, OSError):  # a count of seconds may lie beyond the year 9999
        return "a time beyond the calendar"
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


# ── what a person reads ──────────────────────────────────────────────────────────────────────────


def render(verdict: Verdict) -> str:
    """The verdict as plain text for a terminal, 100 columns at most."""
    c = verdict.certificate
    head = (
        "VERIFIED" if verdict.identified else "Keys as named by the operator; nobody checked who holds them."
    )
    out = [
        head,
        f"Case {verdict.name} of {verdict.operator}",
        f"{c.destroyed:,} of {c.sealed:,} sealed records destroyed ({c.as_sealed:,} as sealed, {c.watched:,} "
        f"watched, {c.unknown:,} unknown); {c.held:,} held, {c.kept:,} kept; {c.returned:,} bytes returned",
        "",
        f"{'store':<24} {'asked':>5} {'reached':>7} {'destroyed':>12} {'of sealed':>12}  searches find ≥",
    ]
    for s in c.stores:
        counts = f"{s.destroyed:>12,} {s.sealed:>12,}"
        out.append(f"{s.name[:24]:<24} {s.asked:>5} {s.reached:>7} {counts}  {verdict.recall[s.name]:>12}")
    out += telling.table(c)
    for title, lines in (
        ("PROVEN, by mathematics", verdict.proven),
        ("ATTESTED, by whom", verdict.attested),
        ("NOT SHOWN, by anyone", verdict.not_shown),
    ):
        out += ["", title, *(f"  - {line.text}" for line in lines)]
    # Names are others' words: one that turns the direction of writing could rearrange a line.
    return "\n".join(_TURNS.sub(lambda m: f"\\u{ord(m[0]):04x}", line) for line in out) + "\n"


_TURNS = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def to_json(verdict: Verdict) -> dict[str, object]:
    """The verdict for machines."""

    def facts_json(lines: tuple[Fact, ...]) -> list[dict[str, object]]:
        return [{"text": f.text, "step": f.step, "evidence": list(f.evidence)} for f in lines]

    c = verdict.certificate
    return {
        "verdict": "verified" if verdict.identified else "consistent, signers unidentified",
        "case": verdict.case,
        "name": verdict.name,
        "operator": verdict.operator,
        "records": {"sealed": c.sealed, "destroyed": c.destroyed, "held": c.held, "kept": c.kept},
        "stores": [
            {
                "name": s.name,
                "grade_asked": s.asked,
                "grade_reached": s.reached,
                "records": s.destroyed,
                "recall": verdict.recall[s.name],
            }
            for s in c.stores
        ],
        "volumes": telling.to_json(c),
        "proven": facts_json(verdict.proven),
        "attested": facts_json(verdict.attested),
        "not_shown": facts_json(verdict.not_shown),
    }
