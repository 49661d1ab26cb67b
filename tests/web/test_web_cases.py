"""Cases that the vectors do not tell: both verifiers follow them to one verdict."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, SEEN, WITNESSES, Ceremony
from cenotaph_proof import bundle, canonical, envelope, history, note, report, statements, trust, verify
from cenotaph_proof.errors import LogError, ProofError
from cenotaph_proof.statements import Cite
from watched_case import SIGNATURE_LINES, PostQuantum, watched_case

DAY = 86_400


def trust_text(c: Ceremony, policy: str = "", operated_by: dict[str, str] | None = None) -> str:
    """A trust file that holds every honest party."""
    tables = []
    for public in (c.key(name).public for name in c.parties()):
        by = (operated_by or {}).get(public.organisation)
        tables.append(
            f"[[party]]\norganisation = {json.dumps(public.organisation)}\nrole = '{public.role}'\n"
            + (f"operated_by = {json.dumps(by)}\n" if by else "")
            + f"key = '''\n{public.to_text()}'''\n"
        )
    return "\n".join([*tables, f"[policy]\nwitness = {c.witness}\n{policy}"])


def both(core: Any, tmp_path: Path, proof: bytes, text: str | None) -> dict[str, Any]:
    """What both say: a verdict in JSON, or the step and the reason of each."""
    held = None
    if text is not None:
        file = tmp_path / "trust.toml"
        file.write_text(text, "utf-8")
        held = trust.load(file)
    theirs = core.verify(proof, text)
    refused = None
    try:
        verdict = verify.verify(io.BytesIO(proof), held)
    except ProofError as error:
        refused = error
    if refused is not None:
        assert theirs.get("step") == refused.step, (refused.message, theirs)
        return {"step": refused.step, "why": [refused.message, theirs["refused"]]}
    ours: dict[str, Any] = json.loads(json.dumps(report.to_json(verdict))) | {"recall": dict(verdict.recall)}
    assert theirs == {"answer": ours}
    return ours


def said(answer: dict[str, Any], code: str) -> list[str]:
    return [
        line["text"] for name in ("attested", "not_shown") for line in answer[name] if line["code"] == code
    ]


def test_who_approved_anew_stands_where_that_approval_does(core, tmp_path):
    """The lines of approvals are in log order, also after one was given again."""
    c = Ceremony(auditors=2).run(last="challenge")
    for name in (AUDITORS[0], NOTARY, AUDITORS[1]):
        c.approve_plan(name)
    c.approve_plan(AUDITORS[0], until=c.now + 80 * DAY)
    c.run("destroy")

    lines = said(both(core, tmp_path, c.proof(), trust_text(c)), "attested.approved")

    assert [line.split(" approved")[0].split(" ", 1)[1] for line in lines] == [
        NOTARY,
        AUDITORS[1],
        AUDITORS[0],
    ]


def test_months_amendments_and_a_rejection_are_followed(core, tmp_path):
    """Expired approvals, a withdrawn one, a rejecting probe and a second run, and what people said."""
    c = Ceremony(auditors=2, notice=2 * DAY, steps=SEEN).run(last="approve")
    c.approve_plan(NOTARY, decision="withdraw")
    c.approve_plan(NOTARY)
    c.destroy(stores=c.destruction_body().stores[:1], complete=False)
    objection = c.testify(NOTARY, "objects", "the scope", why="too much")
    c.testify(OPERATOR, "answers", "the scope", Cite("testimony", objection), why="no")
    c.wait(100 * DAY)
    c.run("approve", "approve")
    c.destroy(stores=c.destruction_body().stores[1:])
    c.probe(AUDITORS[1], decision="reject", reasons=("residue",), share_destroyed=False)
    c.destroy(stores=())
    c.run("probe")

    answer = both(core, tmp_path, c.proof(), trust_text(c))

    assert answer["verdict"] == "verified"
    assert len(said(answer, "attested.answer")) == 1
    assert len(said(answer, "not-shown.step")) == 3


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_no_recall_finds_more_than_was_sampled(core, tmp_path, decision):
    """Of a challenge that rejects either: the verdict prints what it says."""
    c = Ceremony().run(last="plan")
    recall = tuple(replace(r, found=41) for r in c.challenge_body(AUDITORS[0]).recall)
    c.challenge(recall=recall, decision=decision)

    assert (
        both(core, tmp_path, c.proof(), trust_text(c))["why"][0]
        == "a recall finds more values than were sampled"
    )


def test_what_only_calls_itself_a_charter_is_no_earlier_attempt(core, tmp_path):
    """An entry of another kind that names itself `charter` hides nothing and is passed over."""
    other = Ceremony(attempt=2)
    payload = canonical.loads(
        statements.write(statements.Statement(other.charter_body(), (Cite("case", "ab" * 32),)))[0]
    )
    assert isinstance(payload, dict)
    payload["predicateType"] = "charter"
    c = Ceremony()
    c.log(envelope.seal(canonical.dumps(payload), c.key(OPERATOR)), cosign=False)

    assert both(core, tmp_path, c.run().proof(), trust_text(c))["verdict"] == "verified"


@pytest.mark.parametrize(
    ("policy", "operated_by", "step"),
    [
        ("", {}, None),
        ("", {WITNESSES[0]: OPERATOR}, None),
        ("", {WITNESSES[0]: OPERATOR, WITNESSES[1]: WITNESSES[0]}, "verify 4"),
        ("", {WITNESSES[0]: "Big Data Buraeu", WITNESSES[1]: WITNESSES[0]}, None),
        ("", {WITNESSES[0]: WITNESSES[1], WITNESSES[1]: WITNESSES[0]}, None),
        ("quorum = '''\n{witnesses}\nquorum w0\n'''", {}, None),
        ("quorum = '''\n{witnesses}\ngroup g 2 w0 w1\nquorum g\n'''", {}, None),
        ("quorum = '''\n{witnesses}\nquorum none\n'''", {}, None),
    ],
)
def test_a_quorum_is_complete_when_policy_count_and_independence_are(
    core, tmp_path, policy, operated_by, step
):
    """Two of two witnesses; where the operator runs both of them, nobody saw anything."""
    c = Ceremony(witness=2).run()
    keys = [note.witness_note_key(c.key(name).public).to_text() for name in c.witnesses]
    text = policy.replace("{witnesses}", "\n".join(f"witness w{n} {key}" for n, key in enumerate(keys)))

    assert both(core, tmp_path, c.proof(), trust_text(c, text, operated_by)).get("step") == step


def test_a_quorum_of_a_witness_that_is_not_there_is_never_complete(core, tmp_path):
    """A policy may ask for a witness that the case has not: then nothing is seen."""
    c, asked = Ceremony(witness=2), Ceremony(witness=3)
    key = note.witness_note_key(asked.key(WITNESSES[2]).public).to_text()
    text = trust_text(asked, f"quorum = '''\nwitness w {key}\nquorum w\n'''").replace(
        "witness = 3", "witness = 2"
    )

    assert both(core, tmp_path, c.run().proof(), text)["step"] == "verify 4"


def test_a_second_cosignature_that_cannot_be_checked_is_told(core):
    """Where ML-DSA-44 is not to be had, the first cosignature counts and the verdict says so."""
    c = PostQuantum(witness=2).run()
    text = trust_text(c)
    theirs = core.verify(c.proof(), text)["answer"]
    last = theirs["not_shown"].pop()

    verdict = verify.verify(io.BytesIO(c.proof()), c.trust())

    assert theirs["not_shown"] == json.loads(json.dumps(report.to_json(verdict)))["not_shown"]
    assert (last["code"], last["args"]) == (
        "not-shown.cosignatures-unchecked",
        {"names": {"list": sorted(c.witnesses)}},
    )


def test_a_witness_that_left_its_second_key_out_has_not_cosigned(core):
    """One line of two is none, whether or not the second could be checked."""
    c = PostQuantum(witness=2).run(last="open")
    (size, signed), *_ = c.checkpoints.items()
    lines = signed.splitlines(keepends=True)
    c.checkpoints[size] = b"".join(lines[:-1])
    c.run("countersign")

    theirs = core.verify(c.proof(), trust_text(c))["answer"]["proven"][0]["args"]["first"]["time"]
    ours = verify.verify(io.BytesIO(c.proof()), c.trust()).proven[0].args["first"]["time"]

    assert theirs == ours > c.bodies["charter"].created + 60


def _held_against_each_other(core: Any, one: bytes, other: bytes) -> tuple[Any, Any]:
    """What each verifier makes of two proof files: how much they share, or None."""
    theirs = core.ask(
        "compare", one=base64.b64encode(one).decode(), other=base64.b64encode(other).decode(), trust=None
    )
    try:
        ours: int | None = history.compare(bundle.read(io.BytesIO(one)), bundle.read(io.BytesIO(other)))
    except LogError:
        ours = None
    assert theirs.get("step") in (None, "verify 5")
    return ours, theirs.get("answer")


def test_two_histories_are_told_from_one(core):
    """An older file is the beginning of a newer one; a forked one is the proof of two histories."""
    older, newer, forked = Ceremony().run(last="plan"), Ceremony().run(), Ceremony().run(last="seal")
    forked.testify(NOTARY, "witnessed", "another history")
    size = len(older.entries)

    assert _held_against_each_other(core, older.proof(), newer.proof()) == (size, size)
    assert _held_against_each_other(core, newer.proof(), newer.proof()) == (len(newer.entries),) * 2
    assert _held_against_each_other(core, newer.proof(), forked.proof()) == (None, None)


def test_changed_letters_of_what_people_saw_and_post_quantum_witnesses_signed_are_refused(core, tmp_path):
    """Letters of a case with steps and testimonies, and of ML-DSA-44 lines: both refuse, at one step. Of the
    time and the signature in such a line node knows nothing, and says so; it never says more than before."""
    c = watched_case()
    proof, text = c.proof(), trust_text(c)
    honest = core.verify(proof, text)["answer"]
    assert len(said(honest, "attested.step")) == 2
    unchecked = honest["not_shown"][-1]
    assert unchecked["code"] == "not-shown.cosignatures-unchecked"
    lines = [match for match in SIGNATURE_LINES.finditer(proof) if len(match[0]) > 3000]
    start, end = lines[0].span("blob")

    for at in (
        *range(0, len(proof), 1511),
        *range(start - 9, start + 20, 3),
        *range(start + 20, end - 2, 701),
    ):
        changed = bytearray(proof)
        changed[at] = ord("B") if proof[at] == ord("A") else ord("A")
        theirs = core.verify(bytes(changed), text)
        with pytest.raises(ProofError) as refused:
            verify.verify(io.BytesIO(changed), c.trust())
        unknown = any(at in range(m.start("blob") + 5, m.end("blob")) for m in lines)
        assert "step" in theirs or unknown, at
        if not unknown:
            assert theirs["step"] == refused.value.step, at
        elif "answer" in theirs:
            assert theirs["answer"]["not_shown"][-1] == unchecked, at
            assert theirs["answer"]["attested"] == honest["attested"], at
