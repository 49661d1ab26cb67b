"""RFC 3161 tokens of others, good and bad: of rfc3161-client's tests, and of sigstore's conformance suite.

A bundle of sigstore's may be one to refuse for a reason that is none of the token's. Those are named here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cenotaph_proof import tokens
from cenotaph_proof.errors import ProofError
from cenotaph_proof.trust import Authority
from others_vectors import folder

HELLO = b"hello"
REFUSED, OTHERS = "refused", "by nobody believed"
CLIENT = {
    "identrust/issue-104.tsr": 1741683128,
    "sigstage/response-invalid-signature.tsr": REFUSED,
    "sigstage/response-no-embedded-cert.tsr": 1750234383,
    "sigstage/response-sha256.tsr": 1746791936,
    "sigstage/response-sha384.tsr": 1746791936,
    "sigstage/response-sha512.tsr": 1746791937,
    "sigstore.mock/response-expired.tsr": 1675209601,  # its certificates were valid when it was made
    "test_tsa/other_response.tsr": REFUSED,
    "test_tsa/response-injected-certs.tsr": 1728402033,  # beside those that lead to the root, which do
    "test_tsa/response.tsr": 1728402033,
}
NOT_THE_TOKENS_FAULT = (
    "checkpoint-",  # what is wrong is in the log's checkpoint …
    "dsse-",  # … the envelope …
    "no-inclusion-proof",  # … the proof of inclusion …
    "intoto-tsa-timestamp-outside-cert-validity",  # … or a signer's certificate that was not valid then
    "timestamp-with-incorrect-time",
    "outside-trust-root-tsa-validity",  # sigstore believes an authority for a time; a trust file just does
)
UNKNOWN = ("untrusted-tsa-without-embedded-cert",)


def outcome(token: bytes, message: bytes, chain: bytes) -> int | str:
    """The time that a token shows under an authority; or that it is refused, or names somebody else."""
    try:
        told = tokens.check(token, message, [Authority("Their authority", chain)], 0)
    except ProofError:
        return REFUSED
    return told[1] if told is not None else OTHERS


def test_tokens_of_the_client_library() -> None:
    """Ten tokens over one message: eight hold, under their own chains, and two do not."""
    home = folder() / "rfc3161-client"
    found = {}
    for path in sorted(home.rglob("*.tsr")):
        payload = path.with_name("payload")
        message = payload.read_bytes() if payload.exists() else HELLO
        found[path.relative_to(home).as_posix()] = outcome(path.read_bytes(), message, _pem(path.parent))
    assert found == CLIENT


def test_none_of_them_is_over_another_message() -> None:
    """The same tokens, held against something else: none holds."""
    for path in sorted((folder() / "rfc3161-client").rglob("*.tsr")):
        assert outcome(path.read_bytes(), b"something else", _pem(path.parent)) == REFUSED


def test_tokens_of_the_conformance_suite() -> None:
    """26 tokens: what is to be refused for its token's sake is refused, or by nobody known; the rest hold."""
    seen = 0
    for name, token, message, chain in _conformance():
        seen += 1
        found = outcome(token, message, chain)
        if any(part in name for part in UNKNOWN):
            assert found == OTHERS, name
        elif name.endswith("_fail") and not any(part in name for part in NOT_THE_TOKENS_FAULT):
            assert found == REFUSED, name
        else:
            assert isinstance(found, int), name
    assert seen == 26


def _pem(place: Path) -> bytes:
    """The chain beside a token; one of them is DER under the name of PEM."""
    chain = (place / "ts_chain.pem").read_bytes()
    if chain.startswith(b"-----"):
        return chain
    return x509.load_der_x509_certificate(chain).public_bytes(Encoding.PEM)


def _conformance() -> Iterator[tuple[str, bytes, bytes, bytes]]:
    for place in sorted((folder() / "sigstore-conformance").iterdir()):
        for path in sorted(place.glob("bundle.sigstore*")):
            bundle = json.loads(path.read_text("utf-8"))
            stamps = bundle.get("verificationMaterial", {}).get("timestampVerificationData") or {}
            for stamp in stamps.get("rfc3161Timestamps") or ():
                token = base64.b64decode(stamp["signedTimestamp"])
                yield place.name, token, _signature(bundle), _chain(place / "trusted_root.json")


def _signature(bundle: dict) -> bytes:  # type: ignore[type-arg]  # as JSON has it
    """What a bundle's token is over."""
    if "messageSignature" in bundle:
        return base64.b64decode(bundle["messageSignature"]["signature"])
    return base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])


def _chain(root: Path) -> bytes:
    listed = json.loads(root.read_text("utf-8"))["timestampAuthorities"]
    der = (c["rawBytes"] for authority in listed for c in authority["certChain"]["certificates"])
    return b"".join(
        x509.load_der_x509_certificate(base64.b64decode(c)).public_bytes(Encoding.PEM) for c in der
    )


@pytest.mark.parametrize("name", ["bundle.txt.sigstore", "bundle.many_timestamp.sigstore"])
def test_tokens_of_another_verifier_are_read(name: str) -> None:
    """Whole or many: each is a token, by nobody that we believe."""
    bundle = json.loads((folder() / "sigstore-python/tsa" / name).read_text("utf-8"))
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    assert stamps
    for stamp in stamps:
        token = base64.b64decode(stamp["signedTimestamp"])
        assert tokens.check(token, _signature(bundle), [], 0) is None
