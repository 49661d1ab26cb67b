"""Counting signers: one key, one organisation, one voice."""

from __future__ import annotations

import pytest
from some_keys import a_key

from cenotaph_proof import note, quorum
from cenotaph_proof.errors import ThresholdError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.policy import Policy

ONE = a_key("Audit Co", "auditor").public
TWO = a_key("Second Audit Co", "auditor").public
NOTARY = a_key("Zhao & Partners", "notary").public


def test_each_role_is_counted_by_itself() -> None:
    """Two auditors do not make up for a notary."""
    assert quorum.missing([ONE, TWO], {"auditor": 1, "notary": 1}) == {"notary": 1}
    assert quorum.missing([ONE, NOTARY], {"auditor": 1, "notary": 1}) == {}
    assert quorum.missing([], {"auditor": 2}) == {"auditor": 2}


def test_a_key_counts_once() -> None:
    """The same key under another name adds nothing."""
    alias = PublicKey("Audit Company", "auditor", ONE.ed25519, ONE.x25519)

    assert quorum.missing([ONE, ONE, alias], {"auditor": 2}) == {"auditor": 1}


def test_an_organisation_counts_once() -> None:
    """Another key of the same organisation adds nothing."""
    second_key = PublicKey("Audit Co", "auditor", TWO.ed25519, TWO.x25519)

    assert quorum.missing([ONE, second_key], {"auditor": 2}) == {"auditor": 1}


def test_the_error_says_who_signed() -> None:
    """It names what was signed and by whom."""
    with pytest.raises(ThresholdError, match=r"the plan.*auditor Audit Co has signed"):
        quorum.check("the plan", [ONE], {"auditor": 1, "notary": 1})

    quorum.check("the plan", [ONE, NOTARY], {"auditor": 1, "notary": 1})


@pytest.mark.parametrize(("count", "time"), [(1, 10), (2, 20), (3, 90), (4, None), (0, 0)])
def test_the_time_of_a_quorum_is_when_it_was_complete(count: int, time: int | None) -> None:
    """With two of three witnesses, one early liar and one late one change nothing beyond the second."""
    assert quorum.quorum_time({"a": 20, "b": 10, "c": 90}, count) == time


PAPER, LIBRARY, OFFICE = (a_key(n, "log-witness").public for n in ("Daily Paper", "City Library", "Office"))


def _asking(rule: str) -> Policy:
    lines = [
        f"witness {name} {note.witness_note_key(key).to_text()}\n"
        for name, key in {"paper": PAPER, "library": LIBRARY, "office": OFFICE}.items()
    ]
    return Policy.parse(f"{''.join(lines)}{rule}".encode())


@pytest.mark.parametrize(
    ("times", "count", "rule", "time"),
    [
        ({PAPER: 5, LIBRARY: 7}, 2, None, 7),
        ({PAPER: 5}, 2, None, None),
        ({PAPER: 5, LIBRARY: 7}, 1, "quorum library\n", 7),
        ({PAPER: 9, LIBRARY: 7}, 1, "quorum library\n", 7),
        ({PAPER: 5}, 1, "quorum library\n", None),
        ({PAPER: 5, LIBRARY: 9}, 2, "group g any paper library\nquorum g\n", 9),
        ({}, 0, None, 0),
        ({}, 0, "quorum none\n", 0),
        ({PAPER: 5}, 0, "quorum none\n", 0),
        ({}, 0, "quorum paper\n", None),
    ],
)
def test_count_and_policy_must_both_be_met(times, count, rule, time):
    """The time is the first at which both hold: neither makes up for the other."""
    assert quorum.complete(times, count, _asking(rule) if rule else None) == time


def test_the_operators_own_witness_is_not_enough():
    """It counts, but one that the operator does not run must be among them, and its time counts too."""
    own = {"Office"}
    assert quorum.complete({OFFICE: 5}, 1, None, own) is None
    assert quorum.complete({OFFICE: 5}, 1) == 5
    assert quorum.complete({OFFICE: 5, PAPER: 9}, 1, None, own) == 9
    assert quorum.complete({OFFICE: 9, PAPER: 5}, 2, None, own) == 9
    assert quorum.complete({OFFICE: 5}, 0, _asking("quorum office\n"), own) is None
    assert quorum.complete({OFFICE: 5}, 0, None, own) == 0
