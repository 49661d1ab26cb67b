"""The verdict says what is proven, what is attested and by whom, and what nobody shows."""

from __future__ import annotations

import json

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, Ceremony, as_stream, in_store
from cenotaph_proof import report, statements, verify
from cenotaph_proof.errors import OrderError
from cenotaph_proof.facts import LIMITS
from cenotaph_proof.verdict import Fact, Verdict


@pytest.fixture(scope="module")
def honest() -> Ceremony:
    return Ceremony(auditors=2, witness=2).run()


def verdict(c: Ceremony, *, trusted: bool = True) -> Verdict:
    return verify.verify(as_stream(c.proof()), c.trust() if trusted else None)


def texts(facts: tuple[Fact, ...]) -> str:
    return "\n".join(f.text for f in facts)


def test_what_is_proven_names_no_word_of_the_operator(honest: Ceremony) -> None:
    """Witnesses, sealed totals, order, and that the certificate follows."""
    proven = texts(verdict(honest).proven)

    assert "City Library, Daily Paper saw this log" in proven
    assert "180,847 records in 6 collections lay under the sealed root" in proven
    assert "rows were erased" not in proven


def test_what_is_attested_says_by_whom(honest: Ceremony) -> None:
    """Every line begins with a role and an organisation, and points to a statement."""
    found = verdict(honest).attested

    assert all(f.evidence for f in found)
    assert all(f.text.split(" ")[0] in ("auditor", "notary", "operator") for f in found)
    for name in (*AUDITORS, NOTARY):
        assert f"{name} approved the plan" in texts(found)


def test_what_is_not_shown_begins_with_the_limits(honest: Ceremony) -> None:
    """The limits of every certificate, and what of this case remains."""
    found = verdict(honest).not_shown

    assert tuple(f.text for f in found[: len(LIMITS)]) == LIMITS
    assert "Collection 1 of store visits: left out" in texts(found)


def test_without_a_trust_file_nobody_is_named_as_known(honest: Ceremony) -> None:
    """The verdict begins with the warning, signers are "a key calling itself", and the code is 6."""
    found = verdict(honest, trusted=False)

    assert found.exit_code == 6
    assert report.render(found).startswith("Keys as named by the operator; nobody checked who holds them.")
    assert "VERIFIED" not in report.render(found)
    assert all("a key calling itself" in f.text for f in found.attested)
    assert "keys calling themselves" in texts(found.proven)
    assert report.to_json(found)["verdict"] == "consistent, signers unidentified"


def test_a_lower_grade_is_explained() -> None:
    """A store that reached less than was asked stands under *not shown*, with the reason."""
    c = Ceremony().run(last="destroy")
    body = c.probe_body(AUDITORS[0])
    c.probe(
        stores=in_store(body, "health", reached="L1", why_not_higher="a reflink").stores, nonce=body.nonce
    )
    c.certify()

    assert "Store health reached L1, not L2: a reflink." in texts(verdict(c).not_shown)


def test_a_store_that_nobody_drew_from_has_no_bound() -> None:
    """An auditor who read one store of two does not make it "every chunk" of both."""
    c = Ceremony().run(last="plan")
    c.challenge(stores=in_store(c.challenge_body(AUDITORS[0]), "health", read=False).stores)
    c.run("approve")

    found = verdict(c)

    assert found.certificate.stores[0].reached == "L1"
    assert "read 2 drawn chunks in the live stores" in texts(found.attested)


def test_a_testimony_is_attested_and_nothing_else() -> None:
    """What an organisation says it saw is in the list of words, and lifts nothing."""
    c = Ceremony().run(last="destroy")
    body = statements.Testimony(NOTARY, "notary", c.now, "objects", "the scope", ())
    c.say(body, c.cite("charter"), by=NOTARY)
    c.run("probe")

    assert f"notary {NOTARY} testifies about the scope: objects" in texts(verdict(c).attested)


def test_a_case_on_its_way_is_no_certificate() -> None:
    """A proof file from half-way says where the case stands."""
    with pytest.raises(OrderError, match="there is no certificate: the case stands at its approval"):
        verdict(Ceremony().run(last="approve"))


def test_times_beyond_the_calendar_are_rendered() -> None:
    """An approval until the end of numbers is a foolish one, and no traceback."""
    c = Ceremony().run(last="challenge")
    for name in c.countersigners():
        c.approve_plan(name, until=2**53 - 1)
    c.run("destroy")

    assert "until a time beyond the calendar" in report.render(verdict(c))


def test_names_cannot_rearrange_a_line() -> None:
    """A character that turns the direction of writing is shown by its number."""
    c = Ceremony()
    c.open(name="demo \u202edeifirev")
    c.run("countersign")

    text = report.render(verdict(c))

    assert "\u202e" not in text
    assert "\\u202e" in text


def test_the_json_is_whole(honest: Ceremony) -> None:
    """The machine's verdict has the same three lists, with step and evidence."""
    value = json.loads(json.dumps(report.to_json(verdict(honest))))

    assert value["verdict"] == "verified"
    assert value["records"] == {"sealed": 180_847, "destroyed": 180_847, "held": 3, "kept": 0}
    for name in ("proven", "attested", "not_shown"):
        assert value[name]
        assert all(set(f) == {"code", "args", "text", "step", "evidence"} for f in value[name])


def test_a_verdict_is_of_one_proof_file(honest: Ceremony) -> None:
    """The verdict carries the certificate as it was signed."""
    assert verdict(honest).certificate == honest.bodies["certificate"]
    assert verdict(honest).case == honest.case_id
