"""What differs where people are to see something: changes to statements of make_proof.py, and words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cenotaph_proof.statements import CheckedApp, NamedReason, PlanStep, Testimony

NOTARY, AUDITOR, OPERATOR, PAPER = "Vector & Partners", "Vector Audit", "Vector Bureau", "Vector Daily"
ROLES = {NOTARY: "notary", AUDITOR: "auditor", OPERATOR: "operator", PAPER: "log-witness"}
APP, RECIPIENT, MEDIUM, SCOPE = "health code", "Vector Statistics", "tape library 3", "the scope"

Change = Callable[[Any], Any]

_STEPS = (
    PlanStep("switched off", APP, ("notary",)),
    PlanStep("copy gone", RECIPIENT, ("auditor", "notary")),
    PlanStep("medium destroyed", MEDIUM, ("notary",)),
)
_APPS = (
    CheckedApp(APP, "endpoint", "gone", "answers 410 Gone"),
    CheckedApp(APP, "endpoint", "gone", "answers 410 Gone"),
    CheckedApp(APP, "job", "not looked at", "this is not the machine that the job ran on"),
)


def _stepped(body: Any) -> Any:
    return replace(body, steps=_STEPS)


CHANGES: dict[str, Change] = {
    "charter": lambda b: replace(
        b, contact="objections@bureau.example", recipients=(NamedReason(RECIPIENT, "yearly report"),)
    ),
    "plan": _stepped,
    "amended plan": _stepped,
    "probe": lambda b: replace(b, apps=_APPS),
}

# what is said before the certificate: name of the step, by whom, what, about what, what more, what it cites
TOLD: tuple[tuple[str, str, str, str, dict[str, Any], tuple[str, ...]], ...] = (
    ("objection", PAPER, "objects", SCOPE, {"why": "an app is missing"}, ("charter",)),
    ("another objection", NOTARY, "objects", SCOPE, {}, ("charter",)),
    ("answer", OPERATOR, "answers", SCOPE, {"why": "it never held records"}, ("charter", "objection")),
    (
        "end of the app",
        NOTARY,
        "switched off",
        APP,
        {"evidence": ("a5" * 32, "a6" * 32)},
        ("charter", "plan"),
    ),
    ("end of the copy", AUDITOR, "copy gone", RECIPIENT, {}, ("charter", "plan")),
    ("end of the medium", OPERATOR, "medium destroyed", MEDIUM, {}, ("charter", "plan")),
)


def said(by: str, says: str, about: str, more: dict[str, Any], now: int) -> Testimony:
    """A testimony of one of the parties."""
    return Testimony(by, ROLES[by], now, says, about, **{"evidence": (), **more})  # type: ignore[arg-type]  # a role, a saying


def _plan(**changes: Any) -> dict[str, Any]:
    return {"bodies": {"plan": lambda b: replace(b, **changes)}}


def _told(step: str, **changes: Any) -> dict[str, Any]:
    return {"bodies": {step: lambda b: replace(b, **changes)}}


_SEEN = (
    CheckedApp(APP, "endpoint", "still there", "answers 200"),
    CheckedApp(APP, "port", "not looked at", "no answer within 10 s"),
)
_SILENT = {"skip": frozenset(step for step, *_ in TOLD)}

HONEST: dict[str, tuple[str, dict[str, Any]]] = {
    "honest-people": ("steps that people saw or did not, an objection with an answer and one without", {}),
    "honest-people-silent": (
        "nobody testified to a step, and the auditor accepts although an app is still there",
        {**_SILENT, "bodies": {"probe": lambda b: replace(b, apps=_SEEN)}},
    ),
    "honest-people-not-looked": (
        "nobody looked whether the app is gone",
        {"bodies": {"probe": lambda b: replace(b, apps=None)}},
    ),
    "honest-people-amended": ("a narrower plan with the same steps", {"amended": True}),
}

LIES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "people-empty-contact": ("the charter's contact is empty", 4, _told("charter", contact="")),
    "people-no-such-app": (
        "the plan switches off an app that the charter does not name",
        4,
        _plan(steps=(replace(_STEPS[0], about="decoy"),)),
    ),
    "people-no-such-recipient": (
        "the plan has a copy gone from a recipient that the charter does not name",
        4,
        _plan(steps=(replace(_STEPS[1], about="a friend"),)),
    ),
    "people-step-twice": (
        "two steps of the plan say the same about the same, by different roles",
        4,
        _plan(steps=(*_STEPS, replace(_STEPS[0], by=("operator",)))),
    ),
    "people-step-for-nobody": ("a step names no role", 4, _plan(steps=(replace(_STEPS[2], by=()),))),
    "people-role-twice": (
        "a step names a role twice",
        4,
        _plan(steps=(replace(_STEPS[2], by=("notary", "notary")),)),
    ),
    "people-objection-foreseen": (
        "a step of the plan is an objection",
        4,
        _plan(steps=(replace(_STEPS[2], says="objects"),)),
    ),
    "people-answer-foreseen": (
        "a step of the plan is an answer",
        4,
        _plan(steps=(replace(_STEPS[2], says="answers"),)),
    ),
    "people-no-list": ("a plan without steps has an empty list of them", 1, _plan(steps=())),
    "people-no-apps": ("a probe that looked at no app has an empty list of them", 1, _told("probe", apps=())),
    "people-step-dropped": (
        "a plan that seems to narrow drops a step",
        4,
        {"amended": True, **_told("amended plan", steps=_STEPS[:2])},
    ),
    "people-steps-reordered": (
        "a plan that seems to narrow has the steps in another order",
        4,
        {"amended": True, **_told("amended plan", steps=_STEPS[::-1])},
    ),
    "people-app-of-no-charter": (
        "the probe looks at an app that the charter does not name",
        4,
        _told("probe", apps=(replace(_APPS[0], app="decoy"),)),
    ),
    "people-answer-to-nothing": (
        "an answer cites no objection",
        4,
        {"cites": {"answer": ("charter",)}},
    ),
    "people-answer-to-a-step": (
        "an answer cites a testimony that is no objection",
        4,
        _told("objection", says="witnessed"),
    ),
    "people-answer-elsewhere": (
        "an answer is about something else than its objection",
        4,
        _told("answer", about="the weather"),
    ),
    "people-answer-to-two": (
        "an answer cites two objections",
        4,
        {"cites": {"answer": ("charter", "objection", "another objection")}},
    ),
    "people-answer-by-a-log-witness": (
        "a log witness answers an objection",
        4,
        {"sayers": {"answer": PAPER}},
    ),
    "people-propped-up": (
        "a testimony that is no answer cites another one",
        4,
        {"cites": {"end of the medium": ("charter", "end of the app")}},
    ),
    "people-reason-misplaced": (
        "a testimony of a step gives a reason",
        4,
        _told("end of the medium", why="it was old"),
    ),
    "people-reason-empty": ("an objection gives an empty reason", 4, _told("objection", why="")),
    "people-evidence-twice": (
        "a testimony names a file of evidence twice",
        4,
        _told("end of the app", evidence=("a5" * 32, "a5" * 32)),
    ),
    "people-spoken-for-another": (
        "a testimony names another organisation than its signer's",
        3,
        _told("end of the copy", organisation=NOTARY),
    ),
    "people-spoken-in-another-role": (
        "a testimony names another role than its signer's",
        3,
        _told("end of the copy", role="notary"),
    ),
    "people-backdated": (
        "a testimony is dated before the plan that it cites was seen",
        4,
        {"bodies": {"end of the app": lambda b: replace(b, signed=b.signed - 86_400)}},
    ),
}
