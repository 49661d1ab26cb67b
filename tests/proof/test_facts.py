"""A grade is the lowest that anything allows, and a certificate says what follows and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cenotaph.testing.ceremony import AUDITORS, Ceremony, Estate, in_store
from cenotaph_proof import facts
from cenotaph_proof.statements import Certificate, Probe

ESTATE = (Estate("health", (12_000, 5_000)),)


def certified(c: Ceremony) -> Certificate:
    return c.certificate_body()


def health(c: Ceremony) -> tuple[str, str]:
    (store,) = certified(c).stores
    return store.reached, store.why_not_higher


def up_to_probe(**changes: Any) -> Ceremony:
    """A case whose bodies differ from the honest ones: step → change of the only store in it."""
    c = Ceremony(estate=ESTATE)
    for step, body in (
        ("open", c.charter_body),
        ("countersign", None),
        ("survey", c.inventory_body),
        ("seal", None),
        ("plan", c.plan_body),
        ("challenge", lambda: c.challenge_body(AUDITORS[0])),
        ("approve", None),
        ("destroy", c.destruction_body),
        ("probe", lambda: c.probe_body(AUDITORS[0])),
    ):
        if step in changes and body is not None:
            made = body()
            change = changes[step]
            told = replace(made, **change) if step == "challenge" else in_store(made, "health", **change)
            given = {
                k: getattr(told, k) for k in ("stores", "recall", "nonce", "next_nonce") if hasattr(told, k)
            }
            getattr(c, step)(**given)
        else:
            getattr(c, step)()
    return c


def test_everything_allows_what_was_asked() -> None:
    """Asked, planned, surveyed, destroyed, probed, drawn and measured at L2: L2."""
    assert health(up_to_probe()) == ("L2", "")


@pytest.mark.parametrize(
    ("changes", "grade", "why"),
    [
        ({"open": {"grade": "L1"}}, "L1", ""),
        ({"survey": {"reachable": "L1", "why_not_higher": "copy on write"}}, "L1", "copy on write"),
        ({"plan": {"grade": "L1", "why_not_higher": "no lock"}}, "L1", "no lock"),
        ({"destroy": {"reached": "L1", "why_not_higher": "a lock"}}, "L1", "a lock"),
        ({"destroy": {"reached": "none", "why_not_higher": "not reclaimed"}}, "none", "not reclaimed"),
        ({"probe": {"reached": "L1", "why_not_higher": "residue", "residue": 3}}, "L1", "residue"),
        ({"probe": {"read": False}}, "L1", facts.NOT_READ),
        ({"challenge": {"recall": ()}}, "L1", facts.NOT_MEASURED),
        ({"open": {"grade": "L3"}, "plan": {"grade": "L3"}}, "L2", "files, not volumes"),
    ],
    ids=str,
)
def test_the_lowest_counts(changes: dict[str, Any], grade: str, why: str) -> None:
    """Whoever says the least is followed, with the reason."""
    assert health(up_to_probe(**changes)) == (grade, why)


def test_what_was_not_destroyed_has_no_grade() -> None:
    """A run that left records of the plan behind: none."""
    c = Ceremony(estate=ESTATE).run(last="approve")
    body = c.destruction_body()
    half = in_store(body, "health", collections=body.stores[0].collections[:1])
    c.destroy(stores=half.stores, complete=False)
    c.probe()

    assert health(c) == ("none", facts.NOT_DESTROYED)
    assert [x.outcome for x in certified(c).stores[0].collections] == ["destroyed", "not destroyed"]


@pytest.mark.parametrize(
    ("sealed", "destroyed", "left_out", "word"),
    [
        (10, 10, False, "destroyed"),
        (10, 4, False, "partly destroyed"),
        (10, 4, True, "partly destroyed"),
        (10, 0, False, "not destroyed"),
        (10, 0, True, "left out"),
        (0, 0, True, "left out"),
        (0, 0, False, "destroyed"),
    ],
)
def test_the_word_for_a_collection(sealed: int, destroyed: int, left_out: bool, word: str) -> None:
    """Four words, and never *destroyed* for what was left out."""
    assert facts.outcome(sealed, destroyed, left_out) == word


def test_the_newest_probe_of_each_auditor_counts() -> None:
    """Accepting after rejecting counts once; of two auditors both count."""
    c = Ceremony(auditors=2, estate=ESTATE).run(last="destroy")
    c.probe(AUDITORS[0], decision="reject", reasons=("residue",), share_destroyed=False)
    assert facts.accepted(c.replay()) == []

    c.probe()

    accepted = facts.accepted(c.replay())
    assert [e.signer.organisation for e in accepted] == list(AUDITORS)
    assert all(e.body(Probe).decision == "accept" for e in accepted)


def test_a_share_that_was_not_destroyed_is_listed() -> None:
    """An auditor who accepts and keeps the share is named."""
    c = Ceremony(estate=ESTATE).run(last="destroy")
    c.probe(share_destroyed=False)

    assert certified(c).shares_not_destroyed == (AUDITORS[0],)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"destroyed": 1, "limits": ()}, "destroyed, limits"),
        ({"stores": ()}, "it lists 0 stores, not 1"),
    ],
)
def test_a_difference_is_named(change: dict[str, Any], words: str) -> None:
    """Where a certificate departs, the error says in which field, and of which store."""
    honest = certified(Ceremony(estate=ESTATE).run(last="probe"))

    assert facts.difference(replace(honest, **change), honest) == words
    assert facts.difference(in_store(honest, "health", returned=1), honest) == "returned of store health"
