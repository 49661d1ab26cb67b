"""Steps of a plan, testimony and apps looked at: what is admitted, and that none of it opens a gate.

The refusals are in tests/attacks; here each is told beside what it departs from.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, SEEN, WITNESSES, Ceremony
from cenotaph_proof import people, testimony
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Casebook, Entry
from cenotaph_proof.errors import FormatError, OrderError
from cenotaph_proof.statements import CheckedApp, Cite, Plan, PlanStep, Statement
from cenotaph_proof.statements import Testimony as Words  # pytest takes a Test… for a test class

AUDITOR = AUDITORS[0]


def told(last: str = "destroy") -> Ceremony:
    return Ceremony(steps=SEEN).run(last=last)


def replayed(ceremony: Ceremony) -> Case:
    return ceremony.replay(Case)


def test_a_case_is_certified_although_nobody_testified() -> None:
    """No gate waits for people's words: the certificate comes, and every step stands as lacking."""
    case = replayed(told("certify"))

    assert [s.lacking for s in testimony.steps(case)] == [("notary",), ("auditor", "notary"), ("notary",)]


def test_a_step_is_filled_by_one_organisation_of_each_role() -> None:
    """What one role saw does not speak for another; who is not asked may speak, and fills nothing."""
    c = told()
    c.testify(NOTARY, "copy gone", "Statistics Office")
    c.testify(OPERATOR, "medium destroyed", "tape library 3")
    c.testify(NOTARY, "switched off", "health code")

    found = {s.planned.about: s for s in testimony.steps(replayed(c))}

    assert found["Statistics Office"].lacking == ("auditor",)
    assert [e.signer.organisation for e in found["tape library 3"].testified] == [OPERATOR]
    assert found["tape library 3"].lacking == ("notary",)
    assert found["health code"].lacking == ()


def test_whom_the_trust_file_lacks_fills_no_role() -> None:
    """A stranger's word is listed; the role waits for somebody whom the reader knows."""
    c = told()
    c.testify(NOTARY, "switched off", "health code")

    step = testimony.steps(replayed(c), counts=lambda key: key.organisation != NOTARY)[0]

    assert len(step.testified) == 1
    assert step.lacking == ("notary",)


def test_a_testimony_about_something_else_is_told_beside_the_plan() -> None:
    """What people saw although no plan foresaw it is not lost, and is no step."""
    c = told()
    c.testify(WITNESSES[0], "witnessed", "the first batch", why="it was filmed")
    c.testify(NOTARY, "switched off", "health code")

    lines = [(line.code, line.entry.signer.organisation) for line in people.attested(replayed(c))]

    assert lines == [("attested.step", NOTARY), ("attested.testimony", WITNESSES[0])]


class Unjudged(Casebook):
    """A casebook that takes what no rule has seen."""

    def take(self, entry: Entry) -> None:
        self._remember(entry)


def test_thousands_of_words_do_not_stop_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may sign may sign often: each objection and step is not held against each testimony."""
    case = Unjudged()
    key = Ceremony().key(NOTARY).public
    many = range(300)

    def log(body: Plan | Words, *cites: Cite) -> str:
        entry = Entry(len(case.entries), f"{len(case.entries):064x}", key, Statement(body, cites))
        case.take(entry)
        return entry.digest

    log(Plan(1, (), 0, "ab" * 32, steps=tuple(PlanStep("witnessed", f"{n}", ("notary",)) for n in many)))
    for n in many:
        objection = log(Words(NOTARY, "notary", 0, "objects", f"{n}", ()))
        log(Words(NOTARY, "notary", 0, "answers", f"{n}", ()), Cite("testimony", objection))
        log(Words(NOTARY, "notary", 0, "witnessed", f"{n}", ()))
    looked = 0
    body = Entry.body

    def counted(entry: Entry, cls: type) -> object:
        nonlocal looked
        looked += 1
        return body(entry, cls)

    monkeypatch.setattr(Entry, "body", counted)

    lines = [*people.attested(case), *people.not_shown(case, lambda _: True)]

    assert len(lines) == 3 * len(many)
    assert len(case.entries) < looked < 20 * len(case.entries)


def test_an_objection_is_answered_by_name() -> None:
    """The answer cites the objection; another objection about the same stays open."""
    c = told("plan")
    first = c.testify(WITNESSES[0], "objects", "the scope", why="an app is missing")
    second = c.testify(NOTARY, "objects", "the scope")
    c.testify(OPERATOR, "answers", "the scope", Cite("testimony", first), why="it never held records")

    found = {o.entry.digest: o for o in testimony.objections(replayed(c))}

    assert [a.signer.organisation for a in found[first].answers] == [OPERATOR]
    assert found[second].answers == ()


def test_an_objection_stops_nothing() -> None:
    """An organisation that wants to stop a plan withdraws or rejects: words do not."""
    c = told("approve")
    c.testify(NOTARY, "objects", "the plan", why="too early")

    assert replayed(c.run("destroy")).entries[-1].statement.kind == "certificate"


def test_an_app_that_is_still_there_closes_no_gate() -> None:
    """The auditor decides: a probe may accept what it saw standing, and says so."""
    c = told()
    seen = CheckedApp("health code", "endpoint", "still there", "answers 200")
    c.probe(apps=(seen, seen))  # two endpoints of one app may answer alike: no address is told

    assert replayed(c.run("certify")).entries[-1].statement.kind == "certificate"


def test_a_thousand_things_may_be_looked_at_and_no_more() -> None:
    """A probe is read whole by everybody who verifies it."""
    seen = CheckedApp("health code", "port", "gone", "connection refused")
    c = told()
    c.probe(apps=(seen,) * testimony.MOST_APPS)
    replayed(c)

    c = told()
    c.probe(apps=(seen,) * (testimony.MOST_APPS + 1))
    with pytest.raises(FormatError, match="more than 1,000"):
        replayed(c)


@pytest.mark.parametrize(
    "steps", [SEEN[:2], SEEN[::-1], None, (*SEEN, PlanStep("witnessed", "x", ("owner",)))]
)
def test_a_plan_with_other_steps_does_not_narrow(steps: tuple[PlanStep, ...] | None) -> None:
    """A step that people agreed to see is not dropped, nor one put in, on the approvals of another plan."""
    case = replayed(told("plan"))
    old = case.require(Plan).body(Plan)

    assert Case.narrows(replace(old, number=2), old)
    assert not Case.narrows(replace(old, number=2, steps=steps), old)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (PlanStep("objects", "the scope", ("notary",)), "foresees an objection"),
        (PlanStep("answers", "the scope", ("notary",)), "foresees an objection"),
        (PlanStep("witnessed", "the erasing", ()), "names nobody who is to testify"),
        (PlanStep("witnessed", "the erasing", ("notary", "notary")), "or a role twice"),
        (replace(SEEN[0], by=("owner",)), "names a step twice"),
    ],
)
def test_a_step_that_cannot_be_seen_is_refused(step: PlanStep, words: str) -> None:
    """Each step is told once, is something to see, and somebody is to see it."""
    c = told("seal")
    c.plan(steps=(*SEEN, step))

    with pytest.raises(FormatError, match=words):
        replayed(c)


@pytest.mark.parametrize(("says", "what"), [("switched off", "an app"), ("copy gone", "a recipient")])
def test_a_step_is_about_what_the_charter_names(says: str, what: str) -> None:
    """Apps and recipients are public before the plan; a name that nobody knows is none of them."""
    c = told("seal")
    c.plan(steps=(PlanStep(says, "tape library 3", ("notary",)),))  # type: ignore[arg-type]  # a saying

    with pytest.raises(OrderError, match=what):
        replayed(c)


@pytest.mark.parametrize("says", ["objects", "answers", "witnessed"])
def test_a_reason_stands_where_one_is_asked(says: str) -> None:
    """`why` is for what is not said by the saying itself."""
    c = told()
    objection = c.testify(NOTARY, "objects", "the scope")
    cites = (Cite("testimony", objection),) if says == "answers" else ()
    c.testify(AUDITOR, says, "the scope", *cites, why="because")

    assert replayed(c).entries[-1].statement.kind == "testimony"
