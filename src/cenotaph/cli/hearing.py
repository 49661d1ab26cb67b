"""Before the certificate: whether everybody was heard whom it would cut off."""

from __future__ import annotations

from pathlib import Path

from cenotaph.cli import report
from cenotaph.errors import RefusedError
from cenotaph_proof import facts
from cenotaph_proof.folder import CaseFolder


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
