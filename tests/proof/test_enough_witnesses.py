"""A case is verified only where enough log witnesses saw it, by the reader's own rule."""

from __future__ import annotations

import dataclasses
import io

import pytest

from cenotaph.testing.ceremony import OPERATOR, WITNESSES, Ceremony
from cenotaph_proof import note, verify
from cenotaph_proof.errors import LogError, ProofError
from cenotaph_proof.policy import Policy

PAPER, LIBRARY, UNIVERSITY = WITNESSES


@pytest.fixture(scope="module")
def c() -> Ceremony:
    """A finished case with three log witnesses, all of whom cosigned everything."""
    return Ceremony(witness=3).run()


@pytest.fixture(scope="module")
def both() -> Ceremony:
    """A finished case whose log witness cosigns with two keys."""
    return Ceremony(post_quantum=True).run()


def verified(c: Ceremony, **trust) -> int:
    return verify.verify(io.BytesIO(c.proof()), c.trust(**trust)).exit_code


def asking(c: Ceremony, rule: str) -> Policy:
    lines = [f"witness {n.split()[0]} {note.note_keys(c.key(n).public)[-1].to_text()}\n" for n in c.witnesses]
    return Policy.parse(f"{''.join(lines)}{rule}".encode())


@pytest.mark.parametrize(
    "rule",
    [
        "quorum none\n",
        "quorum Daily\n",
        "group every all Daily City University\nquorum every\n",
        "group press any Daily\ngroup others 1 City University\ngroup q all press others\nquorum q\n",
    ],
)
def test_a_policy_that_is_met(c, rule):
    """One witness, all of them, groups of groups; the charter's own number is asked for besides."""
    assert verified(c, quorum=asking(c, rule)) == 0


def test_a_policy_that_is_not_met(c):
    """A witness of the trust file that cosigned nothing is asked for: nothing counts, so no gate was open."""
    absent = dataclasses.replace(c.key(PAPER), organisation="Absent", ed25519_seed=bytes(32)).public
    key = note.witness_note_key(absent).to_text()
    asked = Policy.parse(f"witness Absent {key}\nquorum Absent\n".encode())
    trust = {"parties": (*c.trust().parties, absent), "quorum": asked}
    with pytest.raises(ProofError) as refused:
        verified(c, **trust)
    assert refused.value.step in ("verify 4", "verify 6")


def test_the_operators_own_witnesses_alone_are_not_enough(c):
    """With all three run by the operator nothing is shown; one that is not is enough."""
    own = dict.fromkeys((PAPER, LIBRARY), OPERATOR)
    assert verified(c, operated_by=own) == 0
    for runs in ({**own, UNIVERSITY: OPERATOR}, {**own, UNIVERSITY: PAPER}):
        with pytest.raises(ProofError) as refused:
            verified(c, operated_by=runs)
        assert refused.value.step in ("verify 4", "verify 6")


def test_a_witness_that_the_operator_runs_is_marked_where_it_is_counted(c):
    """Whoever reads who saw the log reads there that one of them is the operator, by whatever name."""
    verdict = verify.verify(io.BytesIO(c.proof()), c.trust(operated_by={PAPER: LIBRARY, LIBRARY: OPERATOR}))
    plain = verify.verify(io.BytesIO(c.proof()), c.trust())

    assert verdict.proven[0].text.startswith(
        f"{LIBRARY} (run by the operator itself), {PAPER} (run by the operator itself), {UNIVERSITY} saw"
    )
    assert "run by" not in plain.proven[0].text


@pytest.mark.parametrize(
    ("operated_by", "told"),
    [
        ({PAPER: "Big Data Buraeu"}, [f"{PAPER} (run by Big Data Buraeu)"]),
        (
            {PAPER: LIBRARY, LIBRARY: "Somebody"},
            [f"{LIBRARY} (run by Somebody)", f"{PAPER} (run by Somebody)"],
        ),
        ({PAPER: LIBRARY, LIBRARY: PAPER}, None),
        ({PAPER: OPERATOR}, None),
        ({}, None),
    ],
)
def test_a_witness_run_by_somebody_unknown_is_told(c, operated_by, told):
    """A misspelt operator would make its own witness count as independent, and nobody would see it."""
    verdict = verify.verify(io.BytesIO(c.proof()), c.trust(operated_by=operated_by))

    lines = [fact.text for fact in verdict.not_shown if fact.code == "not-shown.runners-unknown"]
    assert lines == ([] if told is None else lines[:1])
    assert told is None or lines[0].endswith(f"Counted as independent: {', '.join(told)}")


def test_a_case_with_two_keys_a_witness_is_verified(both):
    """Through charter, log and proof file, with the keys of the trust file or the charter's own."""
    assert verified(both) == 0
    assert verify.verify(io.BytesIO(both.proof()), None).exit_code == 6
    assert verified(both, quorum=asking(both, "quorum Daily\n")) == 0


def test_a_charter_that_takes_a_key_away_is_not_believed(both):
    """The trust file knows two keys of the witness, the charter one: this is not the one that is trusted."""
    weak = Ceremony().run()
    assert verified(weak) == 0
    with pytest.raises(ProofError, match="no quorum of cosignatures"):
        verify.verify(io.BytesIO(weak.proof()), both.trust())


def test_cosignatures_by_one_key_of_two_do_not_count(both):
    """Every checkpoint keeps its Ed25519 line alone: each verifies, and none is enough."""
    half = {size: _without_mldsa(data) for size, data in both.checkpoints.items()}
    kept = both.checkpoints
    try:
        both.checkpoints = half
        with pytest.raises(ProofError) as refused:
            verified(both)
    finally:
        both.checkpoints = kept
    assert not isinstance(refused.value, LogError)
    assert verified(both) == 0


def _without_mldsa(data: bytes) -> bytes:
    read = note.parse_note(data)
    short = tuple(line for line in read.signatures if len(line.signature) < 100)
    assert len(short) == 2
    return note.Note(read.body, short).to_bytes()
