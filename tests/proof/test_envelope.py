"""Envelopes: one statement, one signer, and no byte that can change unnoticed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_keys import a_key

from cenotaph_proof import canonical, envelope
from cenotaph_proof.errors import FormatError, ProofError, SignatureError

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


def test_a_sealed_payload_opens_and_verifies(auditor):
    """What one organisation signs, everyone reads back and checks."""
    read = envelope.open_(envelope.seal(PAYLOAD, auditor))

    envelope.verify(read, auditor.public)
    assert read.payload == PAYLOAD
    assert read.keyid == auditor.public.key_id


def test_sealing_twice_gives_the_same_bytes(auditor):
    """Ed25519 is deterministic and the form is canonical, so a repeated run makes the same leaf."""
    assert envelope.seal(PAYLOAD, auditor) == envelope.seal(PAYLOAD, auditor)


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_an_envelope_is_written_one_way(payload):
    """Reading and writing again gives the same bytes."""
    written = envelope.Envelope(payload, "a" * 64, bytes(64)).to_bytes()
    assert envelope.open_(written).to_bytes() == written


def test_no_bit_of_an_envelope_can_change(auditor):
    """Every single-bit change is refused in reading or in verifying."""
    sealed = envelope.seal(b"{}", auditor)
    refused = sum(
        _is_refused(sealed[:at] + bytes([sealed[at] ^ 1 << bit]) + sealed[at + 1 :], auditor.public)
        for at in range(len(sealed))
        for bit in range(8)
    )
    assert refused == len(sealed) * 8


def _is_refused(data, public) -> bool:
    try:
        envelope.verify(envelope.open_(data), public)
    except ProofError:
        return True
    return False


@given(st.integers(0, 251), st.binary(max_size=3))
@settings(max_examples=100)
def test_no_byte_can_be_added_or_left_out(at, inserted):
    """Cutting and inserting anywhere is refused too."""
    sealed = envelope.seal(b"{}", a_key("Audit Co", "auditor"))
    with pytest.raises(FormatError):
        envelope.open_(sealed[:at])
    changed = sealed[:at] + inserted + sealed[at:]
    if inserted:
        assert _is_refused(changed, a_key("Audit Co", "auditor").public)


def test_another_key_does_not_verify(auditor, operator):
    """The key id in the envelope and the key that is asked must be one."""
    read = envelope.open_(envelope.seal(PAYLOAD, auditor))

    with pytest.raises(SignatureError, match="another key"):
        envelope.verify(read, operator.public)
    with pytest.raises(SignatureError, match="does not verify"):
        envelope.verify(envelope.Envelope(read.payload, operator.public.key_id, read.sig), operator.public)


def test_a_signature_is_over_the_payload_type_too(auditor):
    """A signature over the bare payload is not a signature over the envelope."""
    bare = envelope.Envelope(PAYLOAD, auditor.public.key_id, auditor.sign(PAYLOAD))
    with pytest.raises(SignatureError):
        envelope.verify(bare, auditor.public)


def _altered(**changes) -> bytes:
    value = {
        "payload": "e30=",
        "payloadType": envelope.PAYLOAD_TYPE,
        "signatures": [{"keyid": "a" * 64, "sig": base64.b64encode(bytes(64)).decode()}],
    }
    return canonical.dumps({**value, **changes})


def test_the_unaltered_envelope_of_these_tests_is_read():
    """Otherwise the refusals below would show nothing."""
    assert envelope.open_(_altered()).payload == b"{}"


SIG = base64.b64encode(bytes(64)).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"payloadType": "application/json"},
        {"extra": 1},
        {"payload": None},
        {"payload": "e30"},
        {"payload": "e31="},
        {"payload": "e30=\n"},
        {"payload": "e3-_"},
        {"payload": "é30="},
        {"signatures": []},
        {"signatures": {}},
        {"signatures": [1]},
        {"signatures": [{"sig": SIG}]},
        {"signatures": [{"keyid": None, "sig": SIG}]},
        {"signatures": [{"keyid": "A" * 64, "sig": SIG}]},
        {"signatures": [{"keyid": "a" * 64 + "\n", "sig": SIG}]},
        {"signatures": [{"keyid": "a" * 63, "sig": SIG}]},
        {"signatures": [{"keyid": "a" * 64, "sig": "AAAA"}]},
        {"signatures": [{"keyid": "a" * 64, "sig": SIG, "cert": ""}]},
        {"signatures": [{"keyid": "a" * 64, "sig": SIG}, {"keyid": "b" * 64, "sig": SIG}]},
    ],
)
def test_an_envelope_of_another_shape_is_refused(changes):
    """Other types, more or fewer signatures, loose base64, unknown members."""
    with pytest.raises(FormatError):
        envelope.open_(_altered(**changes))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'"payload"', b"{}"])
def test_json_that_is_no_envelope_is_refused(data):
    """Canonical JSON of another kind."""
    with pytest.raises(FormatError):
        envelope.open_(data)


def test_an_envelope_fits_into_a_log_entry(auditor):
    """Longer than 65,535 bytes is refused, in writing and in reading."""
    most = (envelope.MAX_BYTES - len(envelope.seal(b"", auditor))) // 4 * 3
    assert len(envelope.seal(bytes(most), auditor)) <= envelope.MAX_BYTES
    with pytest.raises(FormatError, match="at most 65535"):
        envelope.seal(bytes(most + 3), auditor)
    with pytest.raises(FormatError, match="at most 65535"):
        envelope.open_(b" " * (envelope.MAX_BYTES + 1))


def test_lengths_in_the_encoding_are_of_bytes():
    """Characters beyond ASCII count as their UTF-8 bytes."""
    assert envelope.pae("é", b"\x00\xff") == b"DSSEv1 2 \xc3\xa9 2 \x00\xff"
