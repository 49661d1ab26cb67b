"""Cases told in a random order: both verifiers stop at the same step, or come to the same verdict."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, SEEN, STEPS, Ceremony, Disk, Estate
from cenotaph_proof import report, verify
from cenotaph_proof.errors import ProofError
from cenotaph_proof.statements import Cite

ROUNDS = int(os.environ.get("CENOTAPH_FUZZ_ROUNDS", "1"))
DAY = 86_400
SMALL = (Estate("health", (20, 5, 3)), Estate("visits", (50, 0), held=3, left_out=(1,)))
ON_VOLUME = (Estate("health", (20, 5), shared=("free_space",)), Estate("visits", (50, 0), left_out=(1,)))

Act = Callable[[Ceremony, random.Random], object]


ACTS: tuple[Act, ...] = (
    lambda c, r: c.approve_charter(r.choice(c.countersigners())),
    lambda c, r: c.approve_charter(r.choice(c.countersigners()), decision="withdraw", commitments=None),
    lambda c, r: c.survey(),
    lambda c, r: c.seal(),
    lambda c, r: c.plan(),
    lambda c, r: c.plan(number=c.bodies["plan"].number + 1, supersedes=c.newest["plan"]),
    lambda c, r: c.challenge(r.choice(AUDITORS[: c.auditors])),
    lambda c, r: c.challenge(r.choice(AUDITORS[: c.auditors]), decision="reject", reasons=("no",)),
    lambda c, r: c.approve_plan(r.choice(c.countersigners())),
    lambda c, r: c.approve_plan(r.choice(c.countersigners()), decision="withdraw"),
    lambda c, r: c.approve_plan(r.choice(c.countersigners()), until=c.now + r.choice([-1, 0, 60, DAY])),
    lambda c, r: c.destroy(),
    lambda c, r: c.destroy(stores=c.destruction_body().stores[:1], complete=r.random() < 0.3),
    lambda c, r: c.destroy(stores=(), complete=r.random() < 0.5),
    lambda c, r: c.probe(r.choice(AUDITORS[: c.auditors])),
    lambda c, r: c.probe(r.choice(AUDITORS[: c.auditors]), decision="reject", share_destroyed=False),
    lambda c, r: c.testify(NOTARY, r.choice(["witnessed", "objects", "copy gone"]), "the scope"),
    lambda c, r: c.testify(OPERATOR, "answers", "the scope", Cite("testimony", c.newest["testimony"])),
    lambda c, r: c.certify(),
    lambda c, r: c.wait(r.choice([0, 60, DAY, 100 * DAY])),
    lambda c, r: c.cosign(r.choice([(), c.witnesses[:1], c.witnesses])),
    lambda c, r: c.log(b"not a statement"[: r.randrange(3)] or c.entries[-1], cosign=r.random() < 0.5),
)


def _told(chance: random.Random) -> Ceremony:
    """A case, its steps in their order for the most part, and something else between some of them."""
    on = chance.random() < 0.3
    c = Ceremony(
        auditors=chance.choice([1, 2]),
        witness=chance.choice([1, 2]),
        notice=chance.choice([0, 0, 3600]),
        estate=ON_VOLUME if on else SMALL,
        volumes=(Disk("retired", ("health",)),) if on else (),
        steps=chance.choice([(), SEEN]),
    )
    c.open()
    for step in STEPS[1:]:
        for act in chance.choices(ACTS, k=chance.choice([0, 0, 0, 0, 0, 0, 1, 2])):
            _try(lambda act=act: act(c, chance))
        if chance.random() < 0.98:
            _try(getattr(c, step))
    return c


def _try(act: Callable[[], object]) -> None:
    """What cannot be told at this point, or not by somebody honest, is left out."""
    try:
        act()
    except (ProofError, KeyError, StopIteration, IndexError):
        return


@pytest.mark.parametrize("part", range(2))
def test_cases_told_in_any_order_have_one_verdict(core, part):
    """Statements repeated, withdrawn, too early, too late: the same step from both, or the same lines."""
    ends: dict[str | None, int] = {}
    for number in range(9 * ROUNDS):
        c = _told(random.Random(f"walk {part} {number}"))
        trust = c.trust() if number % 3 else None
        ours: dict[str, Any] = {}
        try:
            verdict = verify.verify(io.BytesIO(c.proof()), trust)
            said = json.loads(json.dumps(report.to_json(verdict))) | {"recall": dict(verdict.recall)}
            ours = {"answer": said}
        except ProofError as error:
            ours = {"refused": error.message, "step": error.step}
        theirs = core.verify(c.proof(), trust and _held(trust))
        assert theirs.get("step") == ours.get("step"), (number, ours.get("refused"), theirs.get("refused"))
        assert theirs.get("answer") == ours.get("answer"), number
        ends[ours.get("step")] = ends.get(ours.get("step"), 0) + 1

    assert ends.get(None, 0) >= 2, ends
    assert ends.get("verify 4", 0) >= 2, ends


def _held(trust: Any) -> dict[str, Any]:
    return {
        "parties": [party.to_text() for party in trust.parties],
        "approve": dict(trust.approve),
        "witness": trust.witness,
        "clockSkew": trust.clock_skew,
        "chunks": trust.chunks,
        "operatedBy": dict(trust.operated_by),
    }
