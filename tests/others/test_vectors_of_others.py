"""Every set of conformance data written by others, through the product's own code.

`pytest -s tests/others` prints a table: set, cases, how many agree, how many we refuse on purpose though the
set accepts them. A set whose number of cases changes fails, and so does one that is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509 import load_der_x509_certificate

import others_vectors
from cenotaph_proof import canonical, envelope, inclusion, keys, log, merkle, note, policy
from cenotaph_proof.errors import FormatError, ProofError
from cenotaph_proof.note import Checkpoint, NoteKey
from others_vectors import Case


def verdict(check: Callable[..., object], *arguments: Any, **named: Any) -> bool:
    """Whether a check that raises accepts."""
    try:
        check(*arguments, **named)
    except ProofError:
        return False
    return True


# ── trees and logs ───────────────────────────────────────────────────────────────────────────────


def included(case: Case, _: Path) -> bool:
    i = case.inputs
    return verdict(merkle.verify_inclusion, i["index"], i["size"], i["leaf"], i["proof"], i["root"])


def consistent(case: Case, _: Path) -> bool:
    i = case.inputs
    sizes = (i["old_size"], i["new_size"])
    return verdict(merkle.verify_consistency, *sizes, i["old_root"], i["new_root"], i["proof"])


def a_whole_log(case: Case, tmp_path: Path) -> bool:
    """Read from its files alone: every entry hashes to the root, and every tile is what the size asks for."""
    i = case.inputs
    folder = _laid_out(case, tmp_path)
    read = log.Log.open(folder)
    read.check_tiles()
    entries = list(read.entries())
    signed = note.read_checkpoint(i["checkpoint"], NoteKey.from_text(i["key"])).checkpoint
    return (signed, len(entries)) == (read.checkpoint(), i["size"])


def tiles_of_a_log(case: Case, tmp_path: Path) -> bool:
    """The tiles of both levels lead to the root; no entry of theirs is more than a line of text."""
    folder = _laid_out(case, tmp_path)
    return verdict(lambda: log.Log.open(folder).check_tiles()) and not verdict(log.Log.open(folder).entry, 0)


def _laid_out(case: Case, folder: Path) -> Path:
    for name, data in {**case.inputs["files"], "checkpoint": case.inputs["checkpoint"]}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def a_tile(case: Case, _: Path) -> bool:
    """A tile has the hashes that its path promises, and a partial one begins the full one."""
    i = case.inputs
    level, _index, width = log.parse_tile_path(i["path"])
    hashes = log.tile_hashes(i["tile"])
    return (level, width) == ("0", i["width"]) and hashes == log.tile_hashes(i["full"])[:width]


def a_tile_path(case: Case, _: Path) -> Any:
    """The Go reference puts the tile's height first, and names tiles of every height."""
    head, height, rest = case.inputs["path"].split("/", 2)
    try:
        level, index, width = log.parse_tile_path(f"{head}/{rest}")
    except FormatError:
        return None
    return [int(height), int(level), index, 2 ** int(height) if width == log.TILE_WIDTH else width]


def a_tree_head(case: Case, _: Path) -> Any:
    try:
        head = Checkpoint.parse(case.inputs["text"])
    except FormatError:
        return None
    return {"size": head.size, "root": head.root} if head.origin == case.inputs["origin"] else None


# ── notes, checkpoints, keys, policies, proofs ───────────────────────────────────────────────────


def a_note(case: Case, _: Path) -> bool:
    return verdict(_check_note, case.inputs["note"], case.inputs["keys"])


def _check_note(data: bytes, texts: list[str]) -> None:
    read, known = note.parse_note(data), [NoteKey.from_text(text) for text in texts]
    assert read.to_bytes() == data
    for line in read.signatures:
        (key,) = (key for key in known if key.names(line))
        assert key.verify(read.body, line) is None


def a_note_key(case: Case, _: Path) -> bool:
    """Read, and written again as it was."""
    try:
        return NoteKey.from_text(case.inputs["key"]).to_text() == case.inputs["key"]
    except FormatError:
        return False


def a_time(case: Case, _: Path) -> int:
    line = note.NoteSignature.parse(f"— a {case.inputs['signature']}\n".encode())
    return int.from_bytes(line.signature[:8], "big")


def a_checkpoint(case: Case, _: Path) -> dict[str, int | None] | None:
    i = case.inputs
    witnesses = [NoteKey.from_text(text) for text in i["witnesses"]]
    try:
        seen = note.read_checkpoint(i["note"], NoteKey.from_text(i["log"]), witnesses, origin=i["origin"])
    except ProofError:
        return None
    return {key.to_text(): time for key, time in seen.times.items()}


def a_policy(case: Case, _: Path) -> dict[str, int]:
    read = policy.Policy.parse(case.inputs["policy"])
    return {"log": len(read.logs), "witness": len(read.witnesses), "group": len(read.groups)}


def a_tlog_proof(case: Case, _: Path) -> bool:
    return verdict(inclusion.InclusionProof.parse, case.inputs["proof"])


# ── signatures, keys, envelopes, JSON ────────────────────────────────────────────────────────────


def an_ed25519_signature(case: Case, _: Path) -> bool:
    i = case.inputs
    return verdict(keys.verify_ed25519, i["key"], i["signature"], i["message"])


REFUSED_POINTS = {"low_order_R", "low_order_A", "non_canonical_R", "non_canonical_A"}


def an_edge_case(case: Case, _: Path) -> list[str]:
    """Agreed where we accept just what OpenSSL does, less points of low order or loose spelling."""
    expected = _accepted_by_openssl(case) and not REFUSED_POINTS & set(case.expected)
    return case.expected if an_ed25519_signature(case, _) is expected else ["differs"]


def _accepted_by_openssl(case: Case) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(case.inputs["key"])
        key.verify(case.inputs["signature"], case.inputs["message"])
    except (InvalidSignature, ValueError):
        return False
    return True


def an_mldsa44_signature(case: Case, _: Path) -> bool:
    i = case.inputs
    return verdict(keys.verify_mldsa44, i["key"], i["signature"], i["message"])


def a_derived_key(case: Case, _: Path) -> bytes | None:
    i = case.inputs
    try:
        return HKDF(SHA256(), i["size"], i["salt"], i["info"]).derive(i["ikm"])
    except ValueError:
        return None


def an_opened_message(case: Case, _: Path) -> bytes | None:
    i = case.inputs
    try:
        return ChaCha20Poly1305(i["key"]).decrypt(i["iv"], i["ct"] + i["tag"], i["aad"])
    except (InvalidTag, ValueError):
        return None


def canonical_json(case: Case, _: Path) -> bytes:
    text = canonical.dumps(_whole_numbers(json.loads(case.inputs["json"])))
    assert canonical.dumps(canonical.loads(text)) == text
    return text


def _whole_numbers(value: Any) -> Any:
    # JavaScript writes 1.0 as 1, and the reference's inputs rely on it; we have no fractions at all.
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def a_dsse_signature(case: Case, _: Path) -> bytes | None:
    i = case.inputs
    encoded, raw = envelope.pae(i["type"], i["payload"]), i["signature"]
    numbers = ec.EllipticCurvePublicNumbers(i["x"], i["y"], ec.SECP256R1())
    halves = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    numbers.public_key().verify(halves, encoded, ec.ECDSA(SHA256()))
    return encoded


def a_certified_dsse_signature(case: Case, _: Path) -> bool:
    """The encoding is ours, the signature algorithm is not: P-256 by OpenSSL."""
    i = case.inputs
    key = load_der_x509_certificate(i["certificate"]).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(i["signature"], envelope.pae(i["type"], i["payload"]), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


# ── the table ────────────────────────────────────────────────────────────────────────────────────

SETS: dict[str, tuple[int, Callable[[Case, Path], Any]]] = {
    "rfc6962-inclusion": (98, included),
    "rfc6962-consistency": (98, consistent),
    "rfc6962-subtree-inclusion": (204, included),
    "rfc6962-subtree-consistency": (102, consistent),
    "sigstore-inclusion": (40, included),
    "tlog-tiles-tessera": (16, a_whole_log),
    "tlog-tiles-sunlight": (2, tiles_of_a_log),
    "tlog-tiles-navigli": (5, a_tile),
    "tlog-golang-paths": (7, a_tile_path),
    "tlog-golang-heads": (4, a_tree_head),
    "signed-note-golang": (13, a_note),
    "signed-note-golang-keys": (4315, a_note_key),
    "tlog-formats-keys": (6, a_note_key),
    "tlog-formats-time": (1, a_time),
    "tlog-formats-proofs": (6, a_tlog_proof),
    "public-keys": (44, a_note_key),
    "checkpoints-serverless-log": (17, a_checkpoint),
    "cosigned-checkpoints": (7, a_checkpoint),
    "sunlight-checkpoints": (3, a_checkpoint),
    "sigstore-checkpoints": (25, a_checkpoint),
    "tlog-policy-sigsum": (4, a_policy),
    "cctv-ed25519": (914, an_edge_case),
    "wycheproof-ed25519": (151, an_ed25519_signature),
    "wycheproof-mldsa44": (173, an_mldsa44_signature),
    "wycheproof-hkdf": (86, a_derived_key),
    "wycheproof-chacha20-poly1305": (325, an_opened_message),
    "rfc8785-jcs": (6, canonical_json),
    "w3c-jcs": (2, canonical_json),
    "w3c-eddsa": (1, an_ed25519_signature),
    "dsse": (1, a_dsse_signature),
    "sigstore-dsse": (10, a_certified_dsse_signature),
}

_EQUAL = "additional/sizes-are-equal-one-and-proof-is-empty"
_EMPTY = "additional/subtree-is-empty-sizes-are-equal-zero-subtree-root-valid-tree-root-random-proof-is-empty"
# What a set accepts and we refuse, and why. None of these may appear in a log or a proof of ours.
STRICTER = {
    "rfc6962-consistency": {_EQUAL: "its roots do not have 32 bytes (spec/log.md, part 1, rule 3)"},
    "rfc6962-subtree-consistency": {
        _EQUAL: "its roots do not have 32 bytes",
        _EMPTY: "two roots of one size (spec/log.md, part 1, rule 3)",
    },
    "tlog-formats-keys": {
        "test+5893dc2c+BtMcFiao6Z": "its key hash is not that of the key (tlog-cosignature, Format)"
    },
    "rfc8785-jcs": {"values": "it holds fractions, which no statement has (spec/envelope.md, part 1)"},
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_others_agrees(name: str, tmp_path: Path) -> None:
    """Each case comes out as its authors say, or is refused for a reason that we can name."""
    count, ask = SETS[name]
    stricter = STRICTER.get(name, {})
    cases = others_vectors.cases(name)
    differing = []
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        if case.name.partition(":")[0] in stricter:
            assert not _refused(ask, case, folder), f"{case.name} is accepted now"
        elif ask(case, folder) != case.expected:
            differing.append(case.name)
    agreed = len(cases) - len(differing) - len(stricter)
    print(f"\n{name:30} {len(cases):5} cases {agreed:5} agreed {len(stricter):3} refused on purpose", end="")
    assert (differing, len(cases)) == ([], count)


def _refused(ask: Callable[[Case, Path], Any], case: Case, folder: Path) -> Any:
    try:
        return ask(case, folder)
    except FormatError:
        return False


def test_every_set_is_asked_or_left_out_for_a_reason() -> None:
    """P-256 signatures are in none of our formats; everything else that the loader knows is asked."""
    assert set(others_vectors.SETS) - set(SETS) == {"wycheproof-p256"}


def test_the_edge_cases_of_ed25519_split_as_the_specification_says() -> None:
    """Of 914, OpenSSL accepts 208 and we 43 (spec/keys.md, part 2)."""
    cases = others_vectors.cases("cctv-ed25519")
    accepted = (sum(map(_accepted_by_openssl, cases)), sum(an_ed25519_signature(c, Path()) for c in cases))
    assert accepted == (208, 43)


def test_two_implementations_logged_the_same() -> None:
    """Tessera and the serverless log have the same roots at every size, each in its own files."""
    heads = []
    for name, part in (("tlog-tiles-tessera", "checkpoint"), ("checkpoints-serverless-log", "note")):
        read = [
            Checkpoint.parse(note.parse_note(c.inputs[part]).body) for c in others_vectors.cases(name)[:16]
        ]
        heads.append([(head.size, head.root) for head in read])
    assert heads[0] == heads[1]
    assert [size for size, _ in heads[0]] == list(range(16))


def test_a_real_policy_over_real_cosignatures() -> None:
    """Four of the six witnesses of a public policy cosigned a public log's checkpoint within one second. The
    policy asks for four of six members, one being a group of three of whom one cosigned: it is not met."""
    (case,) = (c for c in others_vectors.cases("tlog-policy-sigsum") if c.name == "sigsum-test-2025-3")
    read = policy.Policy.parse(case.inputs["policy"])
    (seen,) = (c for c in others_vectors.cases("cosigned-checkpoints") if c.name == "arche by all")
    times = {NoteKey.from_text(text): time for text, time in seen.expected.items()}
    assert len(times) == 4
    assert {key for key in times if key in {w.key for w in read.witnesses}} == set(times)
    assert read.time(times) is None
    others = [w.key for w in read.witnesses if w.key not in times]
    assert sum(read.time({**times, key: 7}) is not None for key in others) == 4
