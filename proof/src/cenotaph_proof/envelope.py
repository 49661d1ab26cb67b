"""One statement, one signer: a DSSE v1 envelope in canonical JSON (spec/envelope.md).

The log's leaf, and every reference to a statement, is over the exact bytes of its envelope. So there is one
way to write an envelope, and exactly one signature in it: adding one would change the leaf.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cenotaph_proof import canonical
from cenotaph_proof.errors import FormatError, SignatureError
from cenotaph_proof.keys import PublicKey, SecretKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 65_535


_WRITTEN = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/=]*+)","payloadType":"application/vnd\.in-toto\+json",'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/]{86}==)"\}\]\}'
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed payload, as read: nothing is verified yet. `keyid` is the signer's claimed key id."""

    payload: bytes
    keyid: str
    sig: bytes

    def to_bytes(self) -> bytes:
        """The one way to write this envelope.

        Raises:
            FormatError: it would be longer than 65,535 bytes, the most that a log entry can hold.
        """
        data = canonical.dumps(
            {
                "payload": encode_base64(self.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": self.keyid, "sig": encode_base64(self.sig)}],
            }
        )
        if len(data) > MAX_BYTES:
            raise FormatError(
                f"the envelope has {len(data)} bytes; a log entry holds at most {MAX_BYTES}",
                hint="put large reports into a file and name it by its digest",
            )
        return data


def seal(payload: bytes, key: SecretKey) -> bytes:
    """Sign a payload and return the envelope's bytes.

    Raises:
        FormatError: the envelope would be longer than 65,535 bytes.
    """
    return Envelope(payload, key.public.key_id, key.sign(pae(PAYLOAD_TYPE, payload))).to_bytes()


def open_(data: bytes) -> Envelope:
    """Read an envelope; `open_(data).to_bytes() == data`. Does not verify: see `verify`.

    Raises:
        FormatError: not an envelope, or not written the one way.
    """
    match = _WRITTEN.fullmatch(data) if len(data) <= MAX_BYTES else None
    if match:  # written the one way, as almost all are: no JSON parser need look
        payload, keyid, sig = (part.decode() for part in match.groups())
        return Envelope(decode_base64(payload), keyid, decode_base64(sig))
    return _complain(data)


def _complain(data: bytes) -> Envelope:
    """What is wrong with an envelope that is not written the one way. Raises: FormatError."""
    fields = _fields(canonical.loads(data, limit=MAX_BYTES, depth=3), "payload", "payloadType", "signatures")
    if fields["payloadType"] != PAYLOAD_TYPE:
        raise FormatError(f"the envelope's payload type is not {PAYLOAD_TYPE}")
    signatures = fields["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise FormatError("an envelope carries exactly one signature; others sign statements of their own")
    signature = _fields(signatures[0], "keyid", "sig")
    keyid = signature["keyid"]
    if not isinstance(keyid, str) or not re.fullmatch("[0-9a-f]{64}", keyid):
        raise FormatError("the envelope's key id is not 64 lower-case hexadecimal digits")
    sig = _decode(signature["sig"])
    if len(sig) != 64:
        raise FormatError("the envelope's signature does not have 64 bytes")
    return Envelope(_decode(fields["payload"]), keyid, sig)


def verify(envelope: Envelope, public_key: PublicKey) -> None:
    """Check that this key signed this envelope.

    Raises:
        SignatureError: another key is named, or the signature does not verify.
    """
    if envelope.keyid != public_key.key_id:
        raise SignatureError(f"the envelope names another key than that of {public_key.organisation}")
    public_key.verify(envelope.sig, pae(PAYLOAD_TYPE, envelope.payload))


def digest(data: bytes) -> bytes:
    """SHA-256 of the exact bytes of an envelope: how statements are referred to."""
    return hashlib.sha256(data).digest()


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE v1 pre-authentication encoding (DSSE protocol.md, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Read what `encode_base64` wrote, and nothing else: no other alphabet, no stray trailing bits.

    Raises:
        FormatError: it is anything else.
    """
    try:
        written = text.encode("ascii")
        data = binascii.a2b_base64(written, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise FormatError("not base64") from None
    # RFC 4648, section 3.5: the unused bits of the last character must be zero.
    if base64.b64encode(data[-(len(data) % 3 or 3) :]) != written[-4:]:
        raise FormatError("base64 that is not written the one way")
    return data


def _fields(value: canonical.Json, *names: str) -> dict[str, canonical.Json]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise FormatError(f"this is not an envelope: expected an object with exactly {', '.join(names)}")
    return value


def _decode(value: canonical.Json) -> bytes:
    if not isinstance(value, str):
        raise FormatError("the envelope's payload and signature are base64 texts")
    return decode_base64(value)
