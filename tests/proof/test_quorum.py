"""Counting signers: one key, one organisation, one voice."""

from __future__ import annotations

import pytest
from some_keys import a_key

from cenotaph_proof import quorum
from cenotaph_proof.errors import ThresholdError
from cenotaph_proof.keys import PublicKey

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
