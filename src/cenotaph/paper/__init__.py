"""The certificate on paper: a PDF to frame, file and send, with the proof file inside (spec/paper.md).

What it says and how its pages are set is the verifier's code, so that both make the same. Here it is written,
and sealed with a key that a certificate authority vouches for, where the operator has one.
"""

from __future__ import annotations

from pathlib import Path

from cenotaph.durable import write_file
from cenotaph.paper import sealing
from cenotaph.paper.sealing import Identity
from cenotaph_proof.paper import content, typeset
from cenotaph_proof.paper.content import Choice

__all__ = ["Identity", "can_make", "write"]


def can_make() -> bool:
    """Whether papers can be made here: the extra `cenotaph[certificate]` is installed."""
    return typeset.can_typeset()


def write(proof: bytes, to: Path, choice: Choice = "both", identity: Identity | None = None) -> None:
    """Write the paper of a proof file, sealed where there is an identity to seal it with.

    Raises:
        PaperError: a package or a font is missing.
        UsageError: the key, its certificate or the time-stamping authority does not serve.
        ProofError: the proof file does not verify.
    """
    pdf = typeset.typeset(content.of(proof, choice))
    if identity is not None:
        pdf = sealing.seal(pdf, identity)
    write_file(to, pdf, mode=0o644)
