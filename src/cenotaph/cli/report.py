"""What each stage learned, as words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cenotaph.desk import Desk
from cenotaph.errors import UsageError
from cenotaph.journal import Journal
from cenotaph.session import Session
from cenotaph_proof import acts, envelope, facts, statements, testimony
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.errors import ProofError
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    CertifiedStore,
    Challenge,
    Destruction,
    Inventory,
    Plan,
    Probe,
    ProbedVolume,
    Recall,
    Seal,
    Testimony,
)

B = TypeVar("B")


class Graded(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def asked(self) -> str: ...
    @property
    def reached(self) -> str: ...
    @property
    def unreachable(self) -> tuple[str, ...]: ...


def read_body(path: Path, cls: type[B]) -> B:
    """The body of an envelope that was just written."""
    beside = path.with_suffix(".attachment")
    data = beside.read_bytes() if beside.exists() else None
    payload = envelope.open_(path.read_bytes()).payload
    attachments = {str(statements.outline(payload).detached): data} if data is not None else {}
    body = statements.parse(payload, attachments).body
    assert isinstance(body, cls)
    return body


def collections(values: Iterable[str]) -> set[tuple[str, int]]:
    """Read STORE/ORDINAL arguments. Raises: UsageError."""
    found = set()
    for value in values:
        store, _, ordinal = value.rpartition("/")
        if not store or not (ordinal.isascii() and ordinal.isdigit()):
            raise UsageError("--leave-out takes STORE/ORDINAL, such as health/3")
        found.add((store, int(ordinal)))
    return found


def found(folder: Path, roots: Iterable[Path], as_json: bool) -> None:
    """Print stores that nobody declared, each with a [[store]] table to paste."""
    from cenotaph.discovery.undeclared import find  # takes long to load, and other commands do without

    desk = Desk(folder)
    declared = [*desk.config.places(), desk.path, desk.config.log_path()]
    items = []
    for item in find(roots, declared):
        items.append(
            {
                "kind": item.kind,
                "bytes": item.bytes,
                "files": item.files,
                "written": item.written,
                "personal": dict(item.personal),
                "exposed": [e.sentence for e in item.exposures],
                "cannot_read": item.cannot_read,
                "path": str(item.path),
                "suggestion": item.suggestion,
            }
        )
        if not as_json:
            _print_found(items[-1])
    if as_json:
        print(json.dumps({"stage": "survey", "found": items}, ensure_ascii=False))
    elif not items:
        print("Nothing was found that the case does not name.")


def _print_found(item: dict[str, Any]) -> None:
    print(
        f"{item['path']}: {item['kind']}, {item['bytes']:,} bytes, "
        f"last written {item['written'] or 'unknown'}"
    )
    if item["cannot_read"]:
        print(f"  CANNOT READ: {item['cannot_read']}")
    for kind, count in item["personal"].items():
        print(f"  personal: {kind} in {count} column{'s' if count != 1 else ''}")
    for sentence in item["exposed"]:
        print(f"  exposed: {sentence}")
    if item["personal"] and item["suggestion"]:
        print("  " + item["suggestion"].strip().replace("\n", "\n  "))


# ── stages ───────────────────────────────────────────────────────────────────────────────────────


def inventory_json(entry: Entry) -> dict[str, Any]:
    body = entry.body(Inventory)
    return {
        "stores": [
            {
                "name": s.name,
                "records": sum(c.records for c in s.collections),
                "held": sum(c.held for c in s.collections),
                "kept": sum(c.kept for c in s.collections),
                "exposures": list(s.exposures),
                "collections": [
                    {
                        "ordinal": c.ordinal,
                        "name": c.name,
                        "format": c.format,
                        "records": c.records,
                        "held": c.held,
                    }
                    for c in s.collections
                ],
            }
            for s in body.stores
        ],
        "undeclared": body.undeclared,
        "look_alikes": [statements.to_json(pair) for pair in body.look_alikes],
    }


def inventory_lines(entry: Entry) -> list[str]:
    body = entry.body(Inventory)
    lines = []
    for store in body.stores:
        records = sum(c.records for c in store.collections)
        held = sum(c.held for c in store.collections)
        lines.append(
            f"{store.name}: {records:,} records in {len(store.collections)} collections"
            + (f", {held} held" if held else "")
        )
        kinds = sorted({p.kind for c in store.collections for p in c.personal})
        if kinds:
            lines.append(f"  personal: {', '.join(kinds)}")
        copies = sorted({line.kind for c in store.collections for line in c.copies})
        if copies:
            lines.append(f"  copies: {', '.join(copies)}")
        lines += [f"  exposed: {sentence}" for sentence in store.exposures]
        lines += [f"  note: {note}" for c in store.collections for note in c.notes]
    for pair in body.look_alikes:
        lines.append(
            f"look-alikes: collection {pair.collection} of {pair.store} and collection "
            f"{pair.other_collection} of "
            f"{pair.other_store} share {pair.overlap_percent} % of their values"
        )
    if body.undeclared:
        lines.append(f"{body.undeclared} stores that the case does not name: cenotaph survey --find PATH")
    return lines


def seal_json(case: Case, entry: Entry) -> dict[str, Any]:
    surveyed = {s.name: s for s in case.require(Inventory).body(Inventory).stores}
    return {
        "records": entry.body(Seal).records,
        "persons": entry.body(Seal).persons,
        "root": entry.body(Seal).root,
        "stores": [
            {
                "name": s.name,
                "records": s.records,
                "collections": [
                    {"ordinal": c.ordinal, "name": c.name, "records": c.records}
                    for c in surveyed[s.name].collections
                ],
            }
            for s in entry.body(Seal).stores
        ],
    }


def seal_lines(entry: Entry) -> list[str]:
    body = entry.body(Seal)
    persons = f" of {body.persons:,} persons" if body.persons else ""
    return [f"{body.records:,} records{persons} in {body.chunks:,} chunks lie under {body.root}"]


def challenge_lines(session: Session, body: Challenge) -> list[str]:
    policy = session.case.charter.policy
    lines = [
        f"{s.name}: {s.matched} of {s.drawn} drawn chunks match ({s.chunks} in all)"
        if s.read
        else f"{s.name}: not read"
        for s in body.stores
    ]
    lines.append(f"outside records: {body.found} of {body.brought} found")
    overall = [r for r in body.recall if r.place == "any place"]
    if overall:
        sampled, found = sum(r.sampled for r in overall), sum(r.found for r in overall)
        lines.append(
            f"of {sampled:,} sampled values, {found:,} were found raw: this is what a later search can see"
        )
    lines.append(
        f"so at most {policy.bound_ppm / 10_000:g} % of the chunks of a store are bad, with "
        f"{policy.confidence_ppm / 10_000:g} % confidence, or none where all were read"
    )
    return [*lines, *(f"rejected: {r}" for r in body.reasons), f"decision: {body.decision}"]


def probe_lines(body: Probe) -> list[str]:
    lines = [f"searched for {body.needles:,} values"]
    for s in body.stores:
        line = (
            f"{s.name}: {s.reached} (asked {s.asked}), {s.places} places left, "
            f"{s.residue} residue, {s.kept_elsewhere} kept elsewhere"
        )
        lines.append(line + (f"; not higher: {s.why_not_higher}" if s.why_not_higher else ""))
    for volume in body.volumes or ():
        lines += _volume_lines(volume)
    lines += [f"app {a.app}: {a.state} ({a.check}: {a.note})" for a in body.apps or ()]
    lines += [f"rejected: {r}" for r in body.reasons]
    may_accept = bool(body.volumes) or _standing(body) > 0
    if body.decision == "reject" and not any(s.residue or s.strangers for s in body.stores) and may_accept:
        lines.append("probe again when that is mended; or accept what was reached: probe --accept-lower")
    return [*lines, f"decision: {body.decision}"]


def _standing(body: Probe) -> int:
    return sum(a.state == "still there" for a in body.apps or ())


def _volume_lines(volume: ProbedVolume) -> list[str]:
    """A searched volume: what was read, what was found where, who tried to bring something back."""
    blank = f", of {volume.free:,} free bytes {volume.blank:,} are blank" if volume.free else ""
    lines = [
        f"{volume.name} ({volume.filesystem}, {volume.state}): {volume.reached}, "
        f"{volume.read:,} of {volume.bytes:,} bytes read{blank}, {volume.residue} residue, "
        f"{volume.strangers} strangers, {volume.kept_elsewhere} kept elsewhere"
        + (f"; not higher: {volume.why_not_higher}" if volume.why_not_higher else "")
    ]
    lines += [f"  found in {r.place} ({r.lane}): {r.values} × {r.kind}" for r in volume.found]
    lines += [
        f"  restore attempt: {r.method} ({r.tool} {r.version}): {r.recovered:,} brought back, "
        f"{r.values} destroyed values in them" + (f"; {r.note}" if r.note else "")
        for r in volume.restores
    ]
    lines += [
        f"  referee: {r.tool} {r.version}: {r.values} values in {r.bytes:,} bytes, {r.missed} that this "
        "search missed" + (f"; {r.note}" if r.note else "")
        for r in volume.referees
    ]
    recall = _recall_words(volume.recall)
    return [
        *lines,
        *([f"  {recall}"] if recall else []),
        *(f"  not reached: {u}" for u in volume.unreachable),
    ]


def _recall_words(rows: Iterable[Recall]) -> str:
    planted = [r for r in rows if r.sampled and (r.encoding != "any" or r.place == "any place")]
    if not planted:
        return ""
    weak = sorted({f"{r.place}, {r.encoding}" for r in planted if r.found < r.sampled})
    sampled, found = sum(r.sampled for r in planted), sum(r.found for r in planted)
    text = f"recall: {found:,} of {sampled:,} planted or sampled values found beforehand"
    return text + (f"; not all of: {'; '.join(weak[:6])}" if weak else "")


def destruction_json(entry: Entry) -> dict[str, Any]:
    body = entry.body(Destruction)
    return {
        "complete": body.complete,
        "records": sum(c.records for s in body.stores for c in s.collections),
        "returned": sum(s.returned for s in body.stores),
        "stores": [
            {
                "name": s.name,
                "records": sum(c.records for c in s.collections),
                "remaining": sum(c.remaining for c in s.collections),
            }
            for s in body.stores
        ],
    }


def destruction_lines(entry: Entry) -> list[str]:
    body = entry.body(Destruction)
    lines = []
    for s in body.stores:
        records = sum(c.records for c in s.collections)
        lines.append(f"{s.name}: {records:,} records destroyed, {s.returned:,} bytes returned")
        lines += [
            f"  remaining: {c.remaining} partitions of collection {c.ordinal}: {c.reason}"
            for c in s.collections
            if c.remaining
        ]
    for volume in body.volumes or ():
        done = ", ".join(f"{a.kind} {a.count:,} ({a.bytes:,} bytes)" for a in volume.actions)
        lines.append(
            f"{volume.name} wiped: {done or 'nothing'}; reached {volume.reached}"
            + (f"; not higher: {volume.why_not_higher}" if volume.why_not_higher else "")
        )
    return [
        *lines,
        "complete; now an auditor probes" if body.complete else "not complete: run the same command again",
    ]


def grades_json(stores: Iterable[Graded]) -> list[dict[str, Any]]:
    return [
        {
            "name": s.name,
            "grade_asked": s.asked,
            "grade_reached": s.reached,
            "unreachable": list(s.unreachable),
        }
        for s in stores
    ]


def grade_lines(entry: Entry) -> list[str]:
    return [
        f"{s.name}: {s.reached} (asked {s.asked})" + (f": {s.why_not_higher}" if s.why_not_higher else "")
        for s in entry.body(Certificate).stores
    ]


def below(store: CertifiedStore) -> bool:
    """Whether less was reached than the approved plan had said."""
    return facts.GRADES.index(store.reached) < facts.GRADES.index(store.planned)


# ── status ───────────────────────────────────────────────────────────────────────────────────────


def status(desk: Desk) -> tuple[dict[str, Any], list[str]]:
    """Where the case stands: what was signed, what waits, who is next."""
    case = desk.case()
    waiting = (
        sorted(p.name for p in desk.folder.incoming.glob("*.json")) if desk.folder.incoming.exists() else []
    )
    following = next_steps(desk, desk.folder.replay_with_waiting())
    signed = [
        {"number": e.index + 1, "kind": e.statement.kind, "by": e.signer.organisation} for e in case.entries
    ]
    lines = [f"Case {case.charter.name} of {case.charter.operator}"]
    lines += [f"  {s['number']:>4}  {s['kind']:<12} {s['by']}" for s in signed]
    lines += [f"  waiting to be logged: {name}" for name in waiting]
    lines += [f"next: {step}" for step in following]
    seen, unanswered = people(desk.folder.replay_with_waiting())
    lines += [f"to be testified: {step}" for step in seen] + [f"unanswered: {o}" for o in unanswered]
    troubles = _troubles(desk)
    value = {"statements": signed, "waiting": waiting, "next": following, "troubles": troubles}
    value |= {"to_testify": seen, "unanswered": unanswered}
    return {"stage": "status", **value}, lines + troubles


def people(case: Case) -> tuple[list[str], list[str]]:
    """Steps to which somebody has yet to testify, and objections that nobody answered; none at the end."""
    if case.latest(Certificate) is not None:
        return [], []
    unanswered = [
        f"objection {o.entry.digest[:16]} of {o.entry.signer.organisation} "
        f"about {o.entry.body(Testimony).about}"
        for o in testimony.objections(case)
        if not o.answers
    ]
    return acts.lacking(case), unanswered


def next_steps(desk: Desk, case: Case) -> list[str]:
    """Who must do what now; `case` is as it will stand once what waits is logged."""
    if case.latest(Certificate):
        return ["anyone: cenotaph-verify the proof file"]
    missing = case.countersigning_missing()
    if missing:
        return [f"{p.role} {p.organisation}: cenotaph approve --charter --key FILE" for p in missing]
    for kind, command in ((Inventory, "survey"), (Seal, "seal"), (Plan, "plan")):
        if case.latest(kind) is None:
            return [f"operator: cenotaph {command}"]
    last = case.latest(Destruction)
    if last is None or not last.body(Destruction).complete:
        return _before_destruction(desk, case)
    if case.rejected() and _only_apps(case):
        again = case.parties("auditor")
        return [
            f"operator: switch off what is still there; then auditor {p.organisation}: cenotaph probe"
            for p in again
        ]
    if case.rejected():
        digest = case.require(Plan).digest[:8]
        return [f"operator: cenotaph destroy --confirm {digest} (a probe rejects: see its reasons)"]
    if not facts.accepted(case):
        return [f"auditor {p.organisation}: cenotaph probe --key FILE" for p in case.parties("auditor")]
    return ["operator: cenotaph certify"]


def _only_apps(case: Case) -> bool:
    """Whether all that the newest probes have against the destruction is that apps are still there."""
    newest = {e.signer.key_id: e.body(Probe) for e in case.all(Probe)}
    return all(len(p.reasons) == _standing(p) for p in newest.values() if p.decision == "reject")


def _before_destruction(desk: Desk, case: Case) -> list[str]:
    try:
        approved = case.approved_plan(desk.clock())
    except ProofError as error:
        plan = case.require(Plan)
        have = {e.signer.key_id for e in case.plan_approvals(plan) if e.body(Approval).until >= desk.clock()}
        challenged = {e.signer.key_id for e in case.challenges(plan)}
        steps = [
            f"auditor {p.organisation}: cenotaph challenge --key FILE"
            for p in case.parties("auditor")
            if p.key_id not in challenged
        ]
        steps += [
            f"{p.role} {p.organisation}: cenotaph approve --key FILE"
            for p in case.parties("auditor", "notary", "owner")
            if p.key_id not in have
        ]
        if not steps and desk.folder.incoming.exists() and any(desk.folder.incoming.glob("*.json")):
            then = ", which logs what waits and begins the notice period" if case.charter.notice else ""
            steps = [f"operator: cenotaph destroy --confirm {plan.digest[:8]}{then}"]
        return steps or [f"wait: {error.message}"]
    return [f"operator: cenotaph destroy --confirm {approved.digest[:8]}"]


def _troubles(desk: Desk) -> list[str]:
    if not desk.journal_path().exists():
        return []
    with Journal(desk.journal_path()) as journal:
        done = {(e.store, e.collection, e.partition) for e in journal.entries() if e.kind == "done"}
        lines = [
            e for e in journal.entries() if e.kind in ("failed", "drift", "reclaim failed", "wipe failed")
        ]
    return [
        f"{e.kind}, store {e.store}: {e.body['why']}"
        for e in lines
        if (e.store, e.collection, e.partition) not in done
    ]
