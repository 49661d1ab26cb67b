"""Statements are read strictly and written one way."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from cenotaph.testing.ceremony import Ceremony, Estate
from cenotaph_proof import canonical, envelope, statements
from cenotaph_proof.errors import FormatError
from cenotaph_proof.statements import KINDS, Cite, Statement


@pytest.fixture(scope="module")
def told() -> Ceremony:
    """A whole case, with a testimony and with parts too long for an entry."""
    c = Ceremony(estate=(Estate("health", (20,) * 400),)).run(last="destroy")
    c.say(
        statements.Testimony("Audit Co", "auditor", c.now, "witnessed", "the erasing", ("ab" * 32,)),
        c.cite("charter"),
        by="Audit Co",
    )
    return c.run("probe")


def payloads(c: Ceremony) -> list[bytes]:
    return [envelope.open_(data).payload for data in c.entries]


def test_what_is_read_is_written_again(told: Ceremony) -> None:
    """`write(parse(x)) == x`, for a statement of every kind, detached or not."""
    kinds = set()
    for payload in payloads(told):
        statement = statements.parse(payload, told.attachments)
        assert statements.write(statement)[0] == payload
        kinds.add(statement.kind)

    assert kinds == set(KINDS)
    assert told.attachments


def changed(payload: bytes, change: Any) -> bytes:
    value = canonical.loads(payload)
    change(value)
    return canonical.dumps(value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(_type="https://in-toto.io/Statement/v0.1"), "not an in-toto Statement v1"),
        (lambda v: v.update(predicateType="urn:cenotaph:v1:confession"), "of a kind this version"),
        (lambda v: v.update(predicateType="charter"), "of a kind this version"),
        (lambda v: v.update(extra=1), "must be an object with the keys"),
        (lambda v: v.update(subject=[]), "subject must be a list"),
        (lambda v: v["subject"][0]["digest"].update(sha1="00"), "digest must be an object"),
        (lambda v: v["subject"][0]["digest"].update(sha256="AB" * 32), "subject digest is not of the form"),
        (lambda v: v["predicate"].update(unheard=1), "unknown or missing keys: unheard"),
        (lambda v: v["predicate"].pop("basis"), "unknown or missing keys: basis"),
        (lambda v: v["predicate"].update(created=-1), "charter.created is not of the form"),
        (lambda v: v["predicate"].update(created=True), "charter.created is not of the form"),
        (lambda v: v["predicate"].update(created="1"), "charter.created is not of the form"),
        (lambda v: v["predicate"].update(name=""), "charter.name is not of the form"),
        (lambda v: v["predicate"].update(name="x" * 201), "charter.name is not of the form"),
        (lambda v: v["predicate"].update(name="two\nlines"), "charter.name is not of the form"),
        (lambda v: v["predicate"].update(parties={}), "charter.parties must be a list"),
        (lambda v: v["predicate"]["parties"][0].update(role="king"), r"parties\[0\].role is not of the form"),
        (lambda v: v["predicate"]["policy"].update(witness=None), "witness is not of the form"),
        (lambda v: v.update(predicate=[]), "charter must be an object"),
    ],
)
def test_what_write_would_not_produce_is_refused(told: Ceremony, change: Any, words: str) -> None:
    """Each departure is named by its key, never by its value."""
    with pytest.raises(FormatError, match=words):
        statements.parse(changed(payloads(told)[0], change), told.attachments)


def test_a_detached_part_is_the_one_that_is_named(told: Ceremony) -> None:
    """A part that is missing, or of another size, is refused."""
    payload = next(p for p in payloads(told) if statements.outline(p).detached)
    name = statements.outline(payload).detached
    assert name is not None

    with pytest.raises(FormatError, match="missing from the proof file"):
        statements.parse(payload, {})
    with pytest.raises(FormatError, match="not the one it names"):
        statements.parse(payload, {name: b"{}"})


def test_a_small_predicate_must_not_be_detached(told: Ceremony) -> None:
    """There is one way to write a statement: a short one travels whole."""
    payload = payloads(told)[0]
    body = canonical.dumps(canonical.loads(payload)["predicate"])  # type: ignore[index,call-overload]
    digest = hashlib.sha256(body).hexdigest()
    apart = changed(payload, lambda v: v.update(predicate={"detached": digest, "bytes": len(body)}))

    with pytest.raises(FormatError, match="not written the one way"):
        statements.parse(apart, {digest: body})


def test_one_statement_of_a_kind_is_cited() -> None:
    """`cited` finds it, finds none, and refuses two."""
    body = statements.Testimony("Audit Co", "auditor", 1, "objects", "the scope", ())
    one = Statement(body, (Cite("charter", "aa" * 32), Cite("plan", "bb" * 32)))
    two = Statement(body, (Cite("plan", "aa" * 32), Cite("plan", "bb" * 32)))

    assert one.cited("plan") == "bb" * 32
    assert one.cited("seal") is None
    with pytest.raises(FormatError, match="cites 2 plan statements"):
        two.cited("plan")
