"""Verifying a certificate: numbered steps (spec/verify.md), and a verdict in three lists.

1. Read the proof file strictly.
2. Take keys, roles and thresholds from the trust file. Without one, say so and go on.
3. Every statement is signed by the party it must be signed by.
4. Statements follow those they cite; every gate was open when it had to be.
5. Every checkpoint covers the log's entries as they are, and extends the one before it.
6. Enough witnesses cosigned the checkpoint over the certificate.
7. The sealed totals lie under the sealed root; the certificate says what the statements say.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from cenotaph_proof import bundle as bundles
from cenotaph_proof import verdict as verdicts
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case
from cenotaph_proof.errors import (
    FormatError,
    LogError,
    OrderError,
    ProofError,
    SignatureError,
    ThresholdError,
)
from cenotaph_proof.statements import Certificate
from cenotaph_proof.trust import Trust
from cenotaph_proof.verdict import Verdict


def verify(stream: BinaryIO, trust: Trust | None, helpers: int = 0) -> Verdict:
    """Verify a proof file, with so many other processes that check signatures ahead where it is large.

    Raises: ProofError whose `step` names the step that failed.
    """
    return verdicts.of(replayed(stream, trust, helpers))


def replayed(stream: BinaryIO, trust: Trust | None, helpers: int = 0) -> Case:
    """Verify a proof file, and give its case. Raises: ProofError whose `step` names the step that failed."""
    try:
        bundle = bundles.read(stream)
    except ProofError as error:
        error.step = error.step or "verify 1"
        raise
    case = replay(bundle, trust, helpers)
    check_certified(case)
    return case


def replay(bundle: Bundle, trust: Trust | None, helpers: int = 0) -> Case:
    """Replay a case that may be under way. Raises: ProofError whose `step` names the step that failed."""
    try:
        return bundles.replay(bundle, trust, helpers)
    except ProofError as error:
        error.step = error.step or _step_of(error)
        raise


def check_certified(case: Case) -> None:
    """A replayed case ends with a certificate under its quorum. Raises: OrderError, ThresholdError."""
    last = case.latest(Certificate)
    if last is None:
        where = case.entries[-1].statement.kind
        raise OrderError(f"there is no certificate: the case stands at its {where}", step="verify 4")
    covering = [c for c in case.cosigned if c.size > last.index]
    if not covering:  # (6)
        raise ThresholdError(
            "the checkpoint over the certificate lacks its quorum of log witnesses", step="verify 6"
        )
    if case.cosigned[-1].size != case.size:
        raise ThresholdError("the log's end is not under a checkpoint with its quorum", step="verify 6")


def verify_file(path: Path, trust: Trust | None) -> Verdict:
    """Verify the proof file at `path`. Raises: ProofError, OSError."""
    with path.open("rb") as stream:
        return verify(stream, trust)


def _step_of(error: ProofError) -> str:
    """The step of an error that names none: by its kind, never by its words."""
    if isinstance(error, LogError):
        return "verify 5"
    if isinstance(error, SignatureError):
        return "verify 3"
    return "verify 1" if isinstance(error, FormatError) else "verify 4"
