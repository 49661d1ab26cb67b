"""Conformance data written by others, in a real browser: the page and the verifier in Python, case by case.

`pytest -s tests/browser/test_page_others.py` prints a table: set, cases, how many come out as their authors
say, how many both verifiers refuse on purpose. Sets that only other parts of cenotaph use (tiles, key
derivation, sealed messages, printed certificates) are asked in tests/others alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from page_reader import module_at

import others_vectors
from cenotaph_proof import envelope
from others_vectors import Case, as_json

REFUSED = "refused"
Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def python() -> ModuleType:
    """The tests that ask the verifier in Python, for their answers."""
    place = Path(__file__).resolve().parents[1] / "others" / "test_vectors_of_others.py"
    return module_at(place, "answers_of_python")


def asked(ask: Ask, name: str, cases: list[Case], *keys: str) -> list[Any]:
    """The browser's answers to cases, their inputs given by name; bytes as hexadecimal digits."""
    return ask(name, [[as_json(case.inputs[key]) for key in keys] for case in cases])


def yes_or_no(ask: Ask, name: str, cases: list[Case], *keys: str) -> list[Any]:
    """Whether a check that raises accepts."""
    return [answer != REFUSED for answer in asked(ask, name, cases, *keys)]


def included(ask: Ask, cases: list[Case]) -> list[Any]:
    return yes_or_no(ask, "inclusion", cases, "index", "size", "leaf", "proof", "root")


def consistent(ask: Ask, cases: list[Case]) -> list[Any]:
    return yes_or_no(ask, "consistency", cases, "old_size", "new_size", "old_root", "new_root", "proof")


def tree_heads(ask: Ask, cases: list[Case]) -> list[Any]:
    found = asked(ask, "treeHead", cases, "text")
    return [_of(head, case.inputs["origin"]) for head, case in zip(found, cases, strict=True)]


def _of(head: Any, origin: str) -> Any:
    mine = head != REFUSED and head["origin"] == origin
    return {"size": head["size"], "root": bytes.fromhex(head["root"])} if mine else None


def notes(ask: Ask, cases: list[Case]) -> list[Any]:
    """Every line of them is by a known key."""
    found = asked(ask, "signers", cases, "note", "keys")
    return [who != REFUSED and _lines(case) == len(who) for who, case in zip(found, cases, strict=True)]


def _lines(case: Case) -> int:
    data: bytes = case.inputs["note"]
    return data.count("\n— ".encode())


def verifier_keys(ask: Ask, cases: list[Case]) -> list[Any]:
    return [answer is True for answer in asked(ask, "verifierKey", cases, "key")]


def times(ask: Ask, cases: list[Case]) -> list[Any]:
    return asked(ask, "cosignedAt", cases, "signature")


def checkpoints(ask: Ask, cases: list[Case]) -> list[Any]:
    """By their log, of its origin, and cosigned by these witnesses."""
    heads = asked(ask, "treeHead", cases, "note")
    by = [(c.inputs["note"].hex(), [c.inputs["log"], *c.inputs["witnesses"]]) for c in cases]
    return [_times(*found) for found in zip(heads, ask("signers", by), cases, strict=True)]


def _times(head: Any, seen: Any, case: Case) -> dict[str, Any] | None:
    log = case.inputs["log"]
    origin = case.inputs["origin"] or log.partition("+")[0]
    if REFUSED in (head, seen) or head["origin"] != origin or log not in seen:
        return None
    return {key: time for key, time in seen.items() if key != log}


def inclusion_proofs(ask: Ask, cases: list[Case]) -> list[Any]:
    return yes_or_no(ask, "inclusionProof", cases, "proof")


def policies(ask: Ask, cases: list[Case]) -> list[Any]:
    return asked(ask, "policy", cases, "policy")


def ed25519(ask: Ask, cases: list[Case]) -> list[Any]:
    return [answer is True for answer in asked(ask, "ed25519", cases, "key", "message", "signature")]


def mldsa44(ask: Ask, cases: list[Case]) -> list[Any]:
    return [answer is True for answer in asked(ask, "mldsa44", cases, "key", "message", "signature")]


def canonical_json(ask: Ask, cases: list[Case]) -> list[Any]:
    return [bytes.fromhex(answer) for answer in asked(ask, "jcs", cases, "json")]


def encodings(ask: Ask, cases: list[Case]) -> list[Any]:
    """What is signed of an envelope; of the page's one type, in whose place the vector's is put."""
    made = asked(ask, "preAuthenticated", cases, "payload")
    ours = envelope.PAYLOAD_TYPE
    for digits, case in zip(made, cases, strict=True):
        assert bytes.fromhex(digits) == envelope.pae(ours, case.inputs["payload"])
    return [
        bytes.fromhex(digits).replace(
            f"{len(ours)} {ours}".encode(), f"{len(case.inputs['type'])} {case.inputs['type']}".encode()
        )
        for digits, case in zip(made, cases, strict=True)
    ]


def certified(ask: Ask, cases: list[Case]) -> list[Any]:
    """Envelopes of sigstore, of our type of payload; their keys are taken out of certificates, as points."""
    assert {case.inputs["type"] for case in cases} == {envelope.PAYLOAD_TYPE}
    keys = [load_der_x509_certificate(case.inputs["certificate"]).public_key() for case in cases]
    points = [key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex() for key in keys]
    halves = [decode_dss_signature(case.inputs["signature"]) for case in cases]
    raw = ["".join(f"{half:064x}" for half in pair) for pair in halves]
    return ask("certified", zip(points, [c.inputs["payload"].hex() for c in cases], raw, strict=True))


SETS: dict[str, Callable[[Ask, list[Case]], list[Any]]] = {
    "rfc6962-inclusion": included,
    "rfc6962-consistency": consistent,
    "rfc6962-subtree-inclusion": included,
    "rfc6962-subtree-consistency": consistent,
    "sigstore-inclusion": included,
    "tlog-golang-heads": tree_heads,
    "signed-note-golang": notes,
    "signed-note-golang-keys": verifier_keys,
    "tlog-formats-keys": verifier_keys,
    "tlog-formats-time": times,
    "tlog-formats-proofs": inclusion_proofs,
    "public-keys": verifier_keys,
    "checkpoints-serverless-log": checkpoints,
    "cosigned-checkpoints": checkpoints,
    "sunlight-checkpoints": checkpoints,
    "sigstore-checkpoints": checkpoints,
    "tlog-policy-sigsum": policies,
    "wycheproof-ed25519": ed25519,
    "wycheproof-mldsa44": mldsa44,
    "rfc8785-jcs": canonical_json,
    "dsse": encodings,
    "sigstore-dsse": certified,
}
# The browser's writer of JSON takes fractions; its reader, as Python's, refuses them.
LOOSER = {"rfc8785-jcs": {"values"}}
NEEDS_MLDSA44 = ("wycheproof-mldsa44", "cosigned-checkpoints")


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_others_agrees_in_the_browser(ask, python, name):
    """Each case comes out as its authors say, and as the verifier in Python has it."""
    cases, count = others_vectors.cases(name), python.SETS[name][0]
    if name in NEEDS_MLDSA44 and ask("mldsa44", [("", "", "")]) == ["cannot tell"]:
        pytest.skip("this browser cannot check ML-DSA-44 signatures")
    stricter = set(python.STRICTER.get(name, {})) - LOOSER.get(name, set())
    answers = dict(zip((c.name for c in cases), SETS[name](ask, cases), strict=True))
    purposely = {c.name for c in cases if c.name.partition(":")[0] in stricter}
    differing = [c.name for c in cases if c.name not in purposely and answers[c.name] != c.expected]
    agreed = len(cases) - len(differing) - len(purposely)
    print(f"\n{name:30} {len(cases):5} cases {agreed:5} agreed {len(purposely):3} refused on purpose", end="")

    assert (differing, len(cases)) == ([], count)
    assert not any(answers[name] for name in purposely)


def test_the_edge_cases_of_ed25519_in_the_browser(ask, python):
    """Of 914, both verifiers accept the same 43, though the one asks OpenSSL and the other WebCrypto."""
    cases = others_vectors.cases("cctv-ed25519")
    browser = ed25519(ask, cases)
    print(f"\n{'cctv-ed25519':30} {len(cases):5} cases, of which {sum(browser)} accepted by both", end="")

    assert browser == [python.an_ed25519_signature(case, Path()) for case in cases]
    assert (len(browser), sum(browser)) == (914, 43)
