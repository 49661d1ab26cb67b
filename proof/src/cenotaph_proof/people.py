"""What a verdict says of what people saw: steps of the plan, objections, apps looked at (spec/verdict.md).

All of it is attested or not shown. No line here is ever *proven*: people can err, and lie.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from cenotaph_proof import testimony
from cenotaph_proof.casebook import Casebook, Entry
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import CheckedApp, Plan, Probe, Testimony
from cenotaph_proof.words import phrase, several, text


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the verdict, and the statement behind it. `spoken`: who signed that statement says so."""

    code: str
    args: dict[str, Any]
    entry: Entry
    spoken: bool = True


def attested(case: Casebook) -> Iterator[Line]:
    """Testimony: step by step of the plan, then the rest in log order."""
    told: set[str] = set()
    for step in testimony.steps(case):
        for entry in step.testified:
            told.add(entry.digest)
            yield Line("attested.step", _testified(entry), entry)
    for entry in case.all(Testimony):
        if entry.digest not in told:
            yield _beside(case, entry)


def looked_at(probe: Entry) -> Iterator[Line]:
    """The apps that an auditor saw, gone or still there."""
    for app in probe.body(Probe).apps or ():
        if app.state != "not looked at":
            state = phrase("state." + app.state.replace(" ", "-"))
            yield Line("attested.app", {**_app(app), "state": state}, probe)


def not_shown(case: Casebook, counts: Callable[[PublicKey], bool]) -> Iterator[Line]:
    """Apps not seen to be gone, steps to which somebody has not testified, objections without an answer."""
    newest = {e.signer.key_id: e for e in case.all(Probe)}
    yield from (line for entry in newest.values() for line in _standing(entry))
    yield from _unseen(case, newest.values())
    plan = case.latest(Plan)
    for step in testimony.steps(case, counts):
        if step.lacking and plan is not None:
            roles = several(phrase(f"role.{role}") for role in step.lacking)
            about = {"about": step.planned.about, "says": _says(step.planned.says), "roles": roles}
            yield Line("not-shown.step", about, plan, spoken=False)
    for objection in testimony.objections(case):
        if not objection.answers:
            body = objection.entry.body(Testimony)
            yield Line("not-shown.objection", {"about": body.about, "why": _why(body)}, objection.entry)


def _beside(case: Casebook, entry: Entry) -> Line:
    cited = entry.statement.cited("testimony")
    if cited is None:
        return Line("attested.testimony", _testified(entry), entry)
    to = case.by_digest[cited].signer.organisation
    return Line("attested.answer", {**_testified(entry), "to": to}, entry)


def _testified(entry: Entry) -> dict[str, Any]:
    body = entry.body(Testimony)
    files = phrase("evidence.named", files=len(body.evidence)) if body.evidence else phrase("evidence.none")
    return {"about": body.about, "says": _says(body.says), "why": _why(body), "evidence": files}


def _standing(probe: Entry) -> Iterator[Line]:
    for app in probe.body(Probe).apps or ():
        if app.state == "still there":
            yield Line("not-shown.app-standing", _app(app), probe)
        if app.state == "not looked at":
            yield Line("not-shown.app-unlooked", _app(app), probe)


def _unseen(case: Casebook, probes: Collection[Entry]) -> Iterator[Line]:
    """Apps to be switched off at which no newest probe looked in any way; before a probe, none."""
    plan = case.latest(Plan)
    if plan is None or not probes:
        return
    seen = {a.app for e in probes for a in e.body(Probe).apps or ()}
    for step in plan.body(Plan).steps or ():
        if step.says == "switched off" and step.about not in seen:
            yield Line("not-shown.app-unseen", {"app": step.about}, plan, spoken=False)


def _app(app: CheckedApp) -> dict[str, Any]:
    return {"app": app.app, "check": phrase(f"check.{app.check}"), "note": text(app.note)}


def _says(says: str) -> dict[str, Any]:
    return phrase("says." + says.replace(" ", "-"))


def _why(body: Testimony) -> dict[str, Any]:
    return phrase("why.given", why=body.why) if body.why is not None else phrase("why.none")
