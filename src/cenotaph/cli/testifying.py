"""`cenotaph testify`: what a party saw, did, objects to or answers, signed from any machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cenotaph.cli import report
from cenotaph.clock import wall_clock
from cenotaph.errors import RefusedError
from cenotaph_proof import acts, facts, speaking
from cenotaph_proof.folder import CaseFolder


def run(
    folder: Path,
    key: Path,
    *,
    says: str | None,
    about: str | None,
    why: str | None,
    files: tuple[Path, ...],
    answers: str | None,
) -> tuple[dict[str, Any], list[str]]:
    """Prepare the evidence, sign; what was signed, and what is still to be testified.

    Raises: FormatError for what was typed; KeyFileError, OrderError for what the case would refuse.
    """
    shown, told = speaking.prepared(files)
    words = acts.Words(says, about, why, tuple(e.digest for e in shown), answers)
    case = CaseFolder(folder)
    path = acts.testify(case, key, words, now=wall_clock())
    lacking = acts.lacking(case.replay_with_waiting())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    value = {
        "stage": "testify",
        "statement": str(path),
        "digest": digest,
        "evidence": [{"file": str(e.path), "digest": e.digest} for e in shown],
        "to_testify": lacking,
    }
    signed = f"{path} signed ({digest[:16]}); the operator's next command logs it"
    return value, [*told, signed, *(f"to be testified: {line}" for line in lacking)]


def check_heard(folder: Path) -> None:
    """Nobody whom the plan asks, or who objected, is cut off by the certificate unawares.

    Raises: RefusedError naming what is missing, where the case could be certified.
    """
    case = CaseFolder(folder).replay_with_waiting()
    missing = [line for lines in report.people(case) for line in lines]
    if missing and facts.accepted(case):
        raise RefusedError(
            f"nobody can testify after the certificate, and this is missing: {'; '.join(missing)}",
            hint="have it testified or answered; or go on: cenotaph certify --without-testimony",
        )
