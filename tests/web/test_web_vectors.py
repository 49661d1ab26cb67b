"""The second verifier and the vectors: what it takes, what it refuses, and what it makes of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "vectors"


def _read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text("utf-8"))


FORMATS, DRAW, SEAL = _read("formats.json"), _read("draw.json"), _read("seal.json")
ENVELOPES, CHECKPOINTS, TREE = FORMATS["envelopes"], FORMATS["checkpoints"], FORMATS["tree"]


def _each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.get("name", ""))


def _judged(said, case, answer):
    """The answer that an accepted case must give; a refused one must be refused."""
    if case["expect"] == "accepted":
        assert said == {"answer": answer}
    else:
        assert said.get("refused"), said


@_each(FORMATS["canonical"])
def test_canonical_json_is_read_and_written_the_one_way(core, case):
    """Each input gives its own bytes back, or is refused."""
    _judged(core.ask("canonical", data=case["hex"]), case, case["hex"])


@_each(FORMATS["keys"])
def test_public_keys_give_their_key_id(core, case):
    """Each key file gives its key id, or is refused."""
    _judged(core.ask("key", data=case["hex"]), case, case.get("key_id"))


@_each(ENVELOPES["cases"])
def test_envelopes_verify(core, case):
    """Each envelope verifies and gives its payload and digest, or is refused."""
    said = core.ask("envelope", data=case["hex"], signer=ENVELOPES["signer"])
    _judged(said, case, {"payload": case.get("payload"), "digest": case.get("digest")})


@_each(CHECKPOINTS["cases"])
def test_checkpoints_tell_who_saw_them_when(core, case):
    """Each note gives its cosignatures' times by key id, or is refused."""
    said = core.ask(
        "checkpoint",
        data=case["hex"],
        operator=CHECKPOINTS["operator"],
        witnesses=CHECKPOINTS["witnesses"],
    )
    _judged(said, case, case.get("cosignatures"))


@_each(FORMATS["checkpoints_mldsa44"]["cases"])
def test_witnesses_with_two_keys_count_with_both(core, case):
    """As those with one; node knows no ML-DSA-44, and takes that line unchecked."""
    both = FORMATS["checkpoints_mldsa44"]
    said = core.ask("checkpoint", data=case["hex"], operator=both["operator"], witnesses=both["witnesses"])
    if case["expect"] == "refused by ML-DSA-44":
        assert "answer" in said
    else:
        _judged(said, case, case.get("cosignatures"))


@_each(FORMATS["verifier_keys"])
def test_verifier_keys_are_read_strictly(core, case):
    """Each gives its type, or is refused."""
    _judged(core.ask("verifier_key", data=case["hex"]), case, case.get("kind"))


@_each(FORMATS["policies"])
def test_policies_are_met_when_the_vectors_say(core, case):
    """Each is met when it says, or is refused."""
    met = case.get("met", [])
    said = core.ask("policy", data=case["hex"], times=[m["times"] for m in met])
    _judged(said, case, [m["time"] for m in met])


@_each(FORMATS["inclusion_proofs"])
def test_inclusion_proofs_show_their_entry(core, case):
    """Each shows its entry under the operator's key, or is refused."""
    said = core.ask(
        "inclusion_proof", data=case["hex"], entry=case["entry"], operator=CHECKPOINTS["operator"]
    )
    _judged(said, case, case.get("index"))


def test_trees_have_the_roots_and_proofs_of_the_vectors(core):
    """Every root, inclusion proof and consistency proof of a small tree; another root is refused."""
    roots = TREE["roots"]
    assert core.ask("tree", entries=TREE["entries"]) == {"answer": roots}
    size = len(TREE["entries"])
    leaves = [core.ask("tree", entries=[entry])["answer"][1] for entry in TREE["entries"]]
    for index, proof in enumerate(TREE["inclusion"]):
        asked = {"index": index, "size": size, "leaf": leaves[index], "proof": proof}
        assert core.ask("inclusion", **asked, root=roots[-1]) == {"answer": None}
        assert "refused" in core.ask("inclusion", **asked, root=roots[1])
    for old, proof in enumerate(TREE["consistency"]):
        asked = {"old_size": old, "new_size": size, "proof": proof, "new_root": roots[-1]}
        assert core.ask("consistency", **asked, old_root=roots[old]) == {"answer": None}
        assert "refused" in core.ask("consistency", **asked, old_root=roots[old - 1])


@_each(_read("statements.json")["cases"])
def test_statements_are_read_strictly(core, case):
    """Each payload gives its kind and what it cites, or is refused."""
    said = core.ask("statement", payload=case["payload"], attachments=case["attachments"])
    _judged(said, case, {"kind": case.get("kind"), "cites": case.get("cites")})


def test_draws_are_those_of_the_vectors(core):
    """Commitments, how many chunks a bound needs, seeds and samples."""
    for case in DRAW["commitments"]:
        assert (
            core.ask("commitment", what=case["what"], secret=case["secret"])["answer"] == case["commitment"]
        )
    for case in DRAW["needed"]:
        assert core.ask("needed", **case)["answer"] == case["chunks"]
    for case in DRAW["seeds"]:
        assert core.ask("seed", **case)["answer"] == case["seed"]
    for case in DRAW["samples"]:
        assert core.ask("sample", **case)["answer"] == {"drawn": case["drawn"], "digest": case["digest"]}


def test_seals_have_the_entries_and_roots_of_the_vectors(core):
    """Chunks under collections, collections under stores."""
    for store in SEAL["stores"]:
        for collection in store["collections"]:
            said = core.ask("entries", kind="chunk", items=collection["chunks"])["answer"]
            assert said["entries"] == [chunk["entry"] for chunk in collection["chunks"]]
            assert said["root"] == collection["root"]


def test_what_is_long_is_no_harder(core):
    """A collection of very many ordinals, and a draw of very many chunks, exceed no stack."""
    item = {"ordinals": list(range(300_000)), "records": 1, "bytes": 1, "chunks": 1, "root": "ab" * 32}
    many = {"seed": "cd" * 32, "label": "health", "population": 250_000, "count": 250_000}

    assert len(core.ask("entries", kind="collection", items=[item])["answer"]["entries"][0]) > 300_000 * 16
    assert core.ask("sample", **many)["answer"]["drawn"][-1] == 249_999


@_each(SEAL["seals"])
def test_seals_add_up_or_are_refused(core, case):
    """Every total and root above the collections is computed anew."""
    _judged(core.ask("seal", body=case["body"]), case, None)
