"""What people are to see and say that they saw: steps of a plan, testimony, apps that an auditor looked at.

Arithmetic on statements alone (spec/testimony.md; spec/case.md, rules 4, 10 and 13). Nothing here opens or
closes a gate: what people say fills *attested*, and a step that nobody speaks of stands under *not shown*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cenotaph_proof.casebook import Casebook, Entry
from cenotaph_proof.errors import FormatError, OrderError, SignatureError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import Charter, Plan, PlanStep, Probe, Role, Testimony

DISPUTE = ("objects", "answers")  # what no plan can foresee
EXPLAINED = ("objects", "answers", "witnessed")
ANSWERERS = ("operator", "auditor", "notary", "owner")
MOST_APPS = 1_000  # looked at in one probe


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the plan: who testified to it, and the roles of which nobody has."""

    planned: PlanStep
    testified: tuple[Entry, ...]
    lacking: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Objection:
    """An objection, and the answers to it in log order."""

    entry: Entry
    answers: tuple[Entry, ...]


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


def check_plan(plan: Plan, charter: Charter) -> None:
    """Steps are told once each, by somebody, about what the charter names.

    Raises: FormatError, OrderError.
    """
    steps = plan.steps or ()
    if len(planned(plan)) != len(steps):
        raise FormatError("the plan names a step twice")
    apps, recipients = {a.name for a in charter.apps}, {r.name for r in charter.recipients}
    for step in steps:
        if step.says in DISPUTE:
            raise FormatError("the plan foresees an objection or its answer as a step")
        if not step.by or len(set(step.by)) != len(step.by):
            raise FormatError("a step of the plan names nobody who is to testify, or a role twice")
        if step.says == "switched off" and step.about not in apps:
            raise OrderError("the plan switches off an app that the charter does not name")
        if step.says == "copy gone" and step.about not in recipients:
            raise OrderError("the plan has a copy gone from a recipient that the charter does not name")


def check_apps(probe: Probe, charter: Charter) -> None:
    """A probe looks at apps of the charter. Raises: FormatError, OrderError."""
    apps = probe.apps or ()
    if len(apps) > MOST_APPS:
        raise FormatError(f"a probe looks at more than {MOST_APPS:,} things of apps")
    if {a.app for a in apps} - {a.name for a in charter.apps}:
        raise OrderError("a probe looks at an app that the charter does not name")


def check(entry: Entry, cited: Entry | None) -> None:
    """A testimony is its signer's own, and answers nothing but an objection (rule 13).

    `cited` is the testimony that it cites. Raises: SignatureError, FormatError, OrderError.
    """
    body = entry.body(Testimony)
    if (body.organisation, body.role) != (entry.signer.organisation, entry.signer.role):
        raise SignatureError("a testimony is signed by another party than it names")
    if len(set(body.evidence)) != len(body.evidence):
        raise FormatError("a testimony names a file of evidence twice")
    if body.why == "" or (body.why is not None and body.says not in EXPLAINED):
        raise FormatError("a testimony gives a reason where there is none to give")
    if body.says != "answers":
        if cited is not None:
            raise OrderError("a testimony cites another one and is no answer to it")
        return
    if body.role not in ANSWERERS:
        raise OrderError(f"an objection is answered by {body.organisation}, a {body.role}")
    if cited is None or cited.body(Testimony).says != "objects":
        raise OrderError("an answer cites no objection")
    if cited.body(Testimony).about != body.about:
        raise OrderError("an answer is about something else than the objection")


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


def steps(case: Casebook, counts: Callable[[PublicKey], bool] = lambda _: True) -> tuple[Step, ...]:
    """The newest plan's steps, and who testified to them; none before there is a plan.

    `counts` says whose word fills a role; others are listed all the same.
    """
    plan = case.latest(Plan)
    if plan is None:
        return ()
    said: dict[tuple[str, str], list[Entry]] = {}  # a log may hold thousands of both
    for entry in case.all(Testimony):
        said.setdefault(_key(entry), []).append(entry)
    return tuple(_step(s, said.get((s.says, s.about), []), counts) for s in plan.body(Plan).steps or ())


def planned(plan: Plan) -> set[tuple[str, str]]:
    """What a plan's steps say, and about what."""
    return {(s.says, s.about) for s in plan.steps or ()}


def objections(case: Casebook) -> tuple[Objection, ...]:
    """Every objection in log order, answered or not."""
    said = case.all(Testimony)
    answers: dict[str | None, list[Entry]] = {}
    for entry in said:
        if entry.body(Testimony).says == "answers":
            answers.setdefault(entry.statement.cited("testimony"), []).append(entry)
    return tuple(
        Objection(e, tuple(answers.get(e.digest, ()))) for e in said if e.body(Testimony).says == "objects"
    )


def _step(step: PlanStep, said: list[Entry], counts: Callable[[PublicKey], bool]) -> Step:
    roles = {e.signer.role for e in said if counts(e.signer)}
    return Step(step, tuple(said), tuple(role for role in step.by if role not in roles))


def _key(entry: Entry) -> tuple[str, str]:
    body = entry.body(Testimony)
    return body.says, body.about
