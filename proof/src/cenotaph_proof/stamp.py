"""Time stamps of checkpoints by authorities that courts know: RFC 3161 (spec/time.md).

What a token says is read by `cenotaph_proof.tokens`, which takes the extra `cenotaph-proof[timestamps]`.
Without it, and without an authority in the trust file, a token counts for nothing and nothing fails.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass

MAX_TOKEN = 65_535
_SHA256 = bytes.fromhex("0609608648016503040201")  # 2.16.840.1.101.3.4.2.1 in DER


@dataclass(frozen=True, slots=True)
class Stamp:
    """A checkpoint with the cosignatures it had when it was stamped, and a TimeStampResp over its bytes."""

    note: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Stamped:
    """What an authority attests: that the log's first `size` entries existed by `time` (epoch seconds)."""

    authority: str
    size: int
    time: int


def can_check() -> bool:
    """Whether tokens can be checked here: the extra is installed."""
    return importlib.util.find_spec("rfc3161_client") is not None


def request(note: bytes) -> bytes:
    """The DER of a TimeStampReq over a note (RFC 3161, section 2.4.1), and for its signer's certificate.

    No nonce: a note holds the times of its cosignatures, so no older answer fits it.
    """
    algorithm = _der(0x30, _SHA256 + b"\x05\x00")
    imprint = _der(0x30, algorithm + _der(0x04, hashlib.sha256(note).digest()))
    return _der(0x30, b"\x02\x01\x01" + imprint + b"\x01\x01\xff")


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128  # all that is written here is short
    return bytes([tag, len(content)]) + content
