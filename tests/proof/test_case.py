"""The case goes on wherever a rule lets it: what must not be refused. Refusals are in tests/attacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cenotaph.testing.ceremony import (
    AUDITORS,
    NOTARY,
    OPERATOR,
    OWNER,
    Ceremony,
    Estate,
    as_stream,
    in_store,
)
from cenotaph_proof import case as cases
from cenotaph_proof import verify
from cenotaph_proof.case import ApprovedPlan, Case
from cenotaph_proof.errors import OrderError, ThresholdError
from cenotaph_proof.statements import KINDS, Destruction, LeftOut, Plan, Probe

DAY = 86_400


def verdict(ceremony: Ceremony) -> verify.Verdict:
    return verify.verify(as_stream(ceremony.proof()), ceremony.trust())


def replayed(ceremony: Ceremony) -> Case:
    return ceremony.replay(Case)


def without(ceremony: Ceremony, ordinal: int) -> Plan:
    """The ceremony's next plan, with one collection of the first store left out."""
    body = ceremony.plan_body()
    store = body.stores[0]
    records = ceremony.estate[0].collections[ordinal]
    changed = in_store(
        body,
        store.name,
        destroy=tuple(o for o in store.destroy if o != ordinal),
        records=store.records - records,
        left_out=(LeftOut(ordinal, records, "amended"),),
    )
    return replace(changed, records=sum(s.records for s in changed.stores))


@pytest.mark.parametrize(
    "ceremony",
    [
        Ceremony(auditors=2),
        Ceremony(witness=3),
        Ceremony(notice=7 * DAY),
        Ceremony(outside=0),
        Ceremony(estate=(Estate("empty", ()),)),
        Ceremony(estate=(Estate("health", (12_000,), shared=("free_space",)),)),
    ],
    ids=["two auditors", "three witnesses", "notice", "nothing brought", "an empty store", "shared action"],
)
def test_an_honest_case_verifies(ceremony: Ceremony) -> None:
    """Whatever its size, a case in which everybody does their part is certified."""
    assert verdict(ceremony.fresh().run()).exit_code == 0


def test_an_amended_plan_narrows_at_once() -> None:
    """A collection is taken out after the approvals: they stand, and the rest goes on without new ones."""
    c = Ceremony().run(last="approve")
    narrow = without(c, 1)
    c.plan(stores=narrow.stores, records=narrow.records)

    c.run("destroy")

    certified = verdict(c).certificate
    assert certified.destroyed == certified.sealed - 12_000
    assert [x.outcome for x in certified.stores[0].collections] == ["destroyed", "left out", "destroyed"]


def test_a_widened_plan_goes_on_with_approvals_of_its_own() -> None:
    """Before destruction a plan may take a collection in again, when everybody is asked again."""
    c = Ceremony().run(last="seal")
    narrow = without(c, 1)
    c.plan(stores=narrow.stores, records=narrow.records)
    c.run("challenge", "approve")
    c.plan()

    with pytest.raises(ThresholdError, match="challenges"):
        replayed(c).approved_plan(c.now)
    c.run("challenge", "certify")

    assert verdict(c).certificate.destroyed == verdict(c).certificate.sealed


def test_destroying_in_runs_over_months_with_renewed_approvals() -> None:
    """Approvals that expired between two runs are signed again, and the counts add up."""
    c = Ceremony().run(last="challenge")
    for name in c.countersigners():
        c.approve_plan(name, until=c.now + DAY)
    c.destroy(stores=c.destruction_body().stores[:1], complete=False)
    c.wait(30 * DAY)
    with pytest.raises(ThresholdError):
        replayed(c).approved_plan(c.now)

    c.run("approve", "approve")
    c.destroy(stores=c.destruction_body().stores[1:])
    c.run("probe")

    assert verdict(c).certificate.batches == 2
    assert verdict(c).certificate.destroyed == verdict(c).certificate.sealed


def test_a_rejected_probe_sends_the_case_to_another_run() -> None:
    """Residue is found, another run follows, the same auditor accepts: both probes are in the verdict."""
    c = Ceremony().run(last="destroy")
    body = c.probe_body(AUDITORS[0])
    found = in_store(body, "health", residue=3, reached="L1")
    c.probe(
        stores=found.stores, nonce=body.nonce, decision="reject", reasons=("residue",), share_destroyed=False
    )
    with pytest.raises(OrderError, match="no accepted probe"):
        c.certificate_body()
    c.destroy(stores=())
    c.run("probe")

    said = [f.text for f in verdict(c).attested if "searched" in f.text or "decision" in f.text]
    assert any("decision: reject" in text for text in said)
    assert verdict(c).certificate.stores[0].reached == "L2"


def test_two_auditors_where_one_rejected_and_accepted_later() -> None:
    """A rejection stands until the one who spoke it accepts."""
    c = Ceremony(auditors=2).run(last="destroy")
    c.probe(AUDITORS[1], decision="reject", reasons=("residue",), share_destroyed=False)
    c.destroy(stores=())
    c.probe(AUDITORS[0])
    with pytest.raises(OrderError, match="the latest probe of Second Audit Co rejects"):
        c.certificate_body()

    c.probe(AUDITORS[1])
    c.certify()

    assert verdict(c).exit_code == 0


def test_an_earlier_attempt_is_told_of() -> None:
    """An operator who gave up once and says so is verified, and the certificate counts the attempt."""
    first = Ceremony(attempt=2).run(last="seal")
    c = Ceremony().follow(first, admit=True).run()

    assert verdict(c).certificate.abandoned == (first.newest["charter"],)
    assert any("1 earlier attempt" in f.text for f in verdict(c).proven)


def test_a_finished_case_in_the_same_log_need_not_be_listed() -> None:
    """A case that its certificate closed is no abandoned attempt; that it was not checked here is said."""
    first = Ceremony(attempt=2).run()
    c = Ceremony().follow(first).run()

    assert verdict(c).certificate.abandoned == ()
    assert any("1 other case in this log ended with a certificate" in f.text for f in verdict(c).not_shown)


def test_what_other_cases_say_later_does_not_matter() -> None:
    """The log goes on with another case after the certificate."""
    c = Ceremony().run()
    other = Ceremony(attempt=2).follow(c, admit=False)
    other.open()
    c.entries = other.entries
    c.cosign()

    assert verdict(c).exit_code == 0


def test_a_party_whom_the_trust_file_lacks_is_named() -> None:
    """A second auditor whom the reader does not know is listed as not counted."""
    c = Ceremony(auditors=2).run()
    trust = Ceremony().trust()

    found = verify.verify(as_stream(c.proof()), trust)

    assert any("Not in the trust file, so not counted: Second Audit Co" in f.text for f in found.not_shown)


def test_an_approved_plan_is_made_by_a_case_alone() -> None:
    """No caller can make one by hand, so whoever holds one has passed the gates."""
    c = Ceremony().run(last="approve")
    approved = replayed(c).approved_plan(c.now)

    assert approved.approved_by == (AUDITORS[0], NOTARY)
    with pytest.raises(OrderError, match="made by replaying"):
        ApprovedPlan(
            approved.case,
            approved.digest,
            approved.plan,
            approved.seal,
            approved.seal_digest,
            approved.inventory,
            (),
            0,
            object(),
        )


def test_a_refused_statement_leaves_the_case_as_it_was() -> None:
    """After a refusal the same case takes the right statement."""
    c = Ceremony().run(last="seal")
    wrong = c.fresh().run(last="seal")
    wrong.plan(records=1)
    case = replayed(c)
    size = case.size

    with pytest.raises(Exception, match="does not add up"):
        case.admit(wrong.entries[-1], {})
    c.plan()

    assert case.size == size
    assert case.admit(c.entries[-1], {}).statement.kind == "plan"


@pytest.mark.parametrize("last", ["open", "countersign", "survey", "seal", "plan", "challenge"])
def test_the_gate_says_what_is_missing(last: str) -> None:
    """Before the approvals are there no stage can have an approved plan; the error says what comes next."""
    c = Ceremony().run(last=last)

    with pytest.raises((OrderError, ThresholdError)) as caught:
        replayed(c).approved_plan(c.now)

    assert caught.value.message


def test_the_gate_opens_after_notice_and_not_before() -> None:
    """With a week's notice, six days after the cosigned approvals are too early."""
    c = Ceremony(notice=7 * DAY).run(last="approve")
    case = replayed(c)

    with pytest.raises(OrderError, match="the notice period is not over"):
        case.approved_plan(c.now + 6 * DAY)

    assert case.approved_plan(c.now + 7 * DAY).plan.number == 1


def test_a_shared_action_waits_for_its_owner() -> None:
    """The owner's approval is needed whatever the policy says."""
    c = Ceremony(estate=(Estate("health", (12_000,), shared=("free_space",)),)).run(last="challenge")
    c.approve_plan(AUDITORS[0])
    c.approve_plan(NOTARY)
    with pytest.raises(ThresholdError, match="Host Co did not approve"):
        replayed(c).approved_plan(c.now)

    c.approve_plan(OWNER)

    assert replayed(c).approved_plan(c.now).approved_by == (AUDITORS[0], NOTARY, OWNER)


def test_statements_are_found_by_kind() -> None:
    """`latest`, `all` and `require` give entries in log order."""
    c = Ceremony().run(last="destroy")
    case = replayed(c)

    assert case.latest(Probe) is None
    assert [e.signer.organisation for e in case.all(Destruction)] == [OPERATOR]
    with pytest.raises(OrderError, match="the case has no probe yet"):
        case.require(Probe)


def test_every_kind_of_statement_has_its_signers() -> None:
    """A new statement that forgot to say who may sign it could be signed by nobody."""
    assert set(cases.MAKERS) == set(KINDS.values())
