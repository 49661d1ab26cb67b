"""The vectors of the formats, for whoever writes a second implementation: made by a script, and true."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from cenotaph_proof import canonical, envelope, inclusion, merkle, note
from cenotaph_proof.errors import FormatError, ProofError, SealedError
from cenotaph_proof.inclusion import InclusionProof
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.note import NoteKey
from cenotaph_proof.policy import Policy

FOLDER = Path(__file__).resolve().parents[2] / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "formats.json").read_text("utf-8"))
ENVELOPES, CHECKPOINTS, TREE = VECTORS["envelopes"], VECTORS["checkpoints"], VECTORS["tree"]


def _each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["name"])


def test_the_file_is_what_the_script_makes():
    """Whoever changes a format regenerates the vectors, and sees the difference."""
    made = runpy.run_path(str(FOLDER / "make_formats.py"))["vectors"]()
    assert json.loads(json.dumps(made)) == VECTORS


@_each(VECTORS["canonical"])
def test_canonical_json(case):
    """Each input is read and written back, or refused."""
    data = bytes.fromhex(case["hex"])
    if case["expect"] == "accepted":
        assert canonical.dumps(canonical.loads(data)) == data
    else:
        with pytest.raises(FormatError):
            canonical.loads(data)


@_each(VECTORS["keys"])
def test_public_keys(case):
    """Each key file gives its key id, or is refused."""
    text = bytes.fromhex(case["hex"]).decode()
    if case["expect"] == "accepted":
        assert PublicKey.from_text(text).key_id == case["key_id"]
    else:
        with pytest.raises(FormatError):
            PublicKey.from_text(text)


@_each(ENVELOPES["cases"])
def test_envelopes(case):
    """Each envelope verifies and gives its payload and digest, or is refused."""
    data, signer = bytes.fromhex(case["hex"]), PublicKey.from_text(ENVELOPES["signer"])
    if case["expect"] == "accepted":
        read = envelope.open_(data)
        envelope.verify(read, signer)
        assert (read.payload.hex(), envelope.digest(data).hex()) == (case["payload"], case["digest"])
    else:
        with pytest.raises(ProofError):
            envelope.verify(envelope.open_(data), signer)


def test_a_sealed_message():
    """Opens with its key and its purpose, and with no other purpose."""
    sealed = {name: bytes.fromhex(text) for name, text in VECTORS["sealed"].items()}
    key = SecretKey("A", "auditor", bytes(32), sealed["secret_key"])
    assert key.open_sealed(sealed["info"], sealed["sealed"]) == sealed["plaintext"]
    with pytest.raises(SealedError):
        key.open_sealed(b"", sealed["sealed"])


def test_roots_and_proofs():
    """Every root, and every proof up to the whole tree."""
    leaves = [merkle.leaf_hash(bytes.fromhex(entry)) for entry in TREE["entries"]]
    roots = [bytes.fromhex(root) for root in TREE["roots"]]
    assert [merkle.root(leaves[:size]) for size in range(len(leaves) + 1)] == roots
    for index, proof in enumerate(TREE["inclusion"]):
        merkle.verify_inclusion(index, len(leaves), leaves[index], list(map(bytes.fromhex, proof)), roots[-1])
    for old, proof in enumerate(TREE["consistency"]):
        merkle.verify_consistency(old, len(leaves), roots[old], roots[-1], list(map(bytes.fromhex, proof)))


@_each(CHECKPOINTS["cases"])
def test_checkpoints(case):
    """Each checkpoint gives its cosignatures, or is refused."""
    data, operator = bytes.fromhex(case["hex"]), PublicKey.from_text(CHECKPOINTS["operator"])
    witnesses = [PublicKey.from_text(text) for text in CHECKPOINTS["witnesses"]]
    if case["expect"] == "accepted":
        assert dict(note.verify_checkpoint(data, operator, witnesses).cosignatures) == case["cosignatures"]
    else:
        with pytest.raises(ProofError):
            note.verify_checkpoint(data, operator, witnesses)


BOTH_KEYS = VECTORS["checkpoints_mldsa44"]


@_each(BOTH_KEYS["cases"])
def test_checkpoints_with_two_keys_a_witness(case):
    """As those with one; this verifier knows ML-DSA-44."""
    data, operator = bytes.fromhex(case["hex"]), PublicKey.from_text(BOTH_KEYS["operator"])
    witnesses = [PublicKey.from_text(text) for text in BOTH_KEYS["witnesses"]]
    if case["expect"] == "accepted":
        assert dict(note.verify_checkpoint(data, operator, witnesses).cosignatures) == case["cosignatures"]
    else:
        with pytest.raises(ProofError):
            note.verify_checkpoint(data, operator, witnesses)


@_each(VECTORS["verifier_keys"])
def test_verifier_keys(case):
    """Each is read and written back, or refused."""
    text = bytes.fromhex(case["hex"]).decode()
    if case["expect"] == "accepted":
        key = NoteKey.from_text(text)
        assert (key.to_text(), key.kind) == (text, case["kind"])
    else:
        with pytest.raises(FormatError):
            NoteKey.from_text(text)


@_each(VECTORS["policies"])
def test_policies(case):
    """Each is met when it says, or is refused."""
    data = bytes.fromhex(case["hex"])
    if case["expect"] == "accepted":
        read = Policy.parse(data)
        keys = {witness.name.decode(): witness.key for witness in read.witnesses}
        for met in case["met"]:
            assert read.time({keys[name]: when for name, when in met["times"].items()}) == met["time"]
    else:
        with pytest.raises(FormatError):
            Policy.parse(data)


@_each(VECTORS["inclusion_proofs"])
def test_inclusion_proofs(case):
    """Each shows its entry under the operator's key, or is refused."""
    data, operator = bytes.fromhex(case["hex"]), PublicKey.from_text(CHECKPOINTS["operator"])
    entry = bytes.fromhex(case["entry"])
    if case["expect"] == "accepted":
        read = InclusionProof.parse(data)
        assert read.to_bytes() == data
        assert inclusion.check(read, entry, operator).index == case["index"]
    else:
        with pytest.raises(ProofError):
            inclusion.check(InclusionProof.parse(data), entry, operator)
