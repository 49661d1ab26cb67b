"""Approve: what auditor, notary and owner sign. The act itself lives in `cenotaph_proof.acts`."""

from __future__ import annotations

from pathlib import Path

from cenotaph.clock import Clock
from cenotaph.desk import Desk, alone
from cenotaph_proof import acts
from cenotaph_proof.casebook import Entry
from cenotaph_proof.folder import CaseFolder


@alone
def add(desk: Desk, file: Path) -> list[Entry]:
    """Bring in a remote party's envelope and log it. Anything else that waits is logged too."""
    desk.add(file)
    return desk.admit_incoming()


def approve_here(
    folder: Path,
    key: Path,
    clock: Clock,
    *,
    charter: bool,
    withdraw: bool,
    outside: Path | None,
    lasts: int | None,
) -> Path:
    """Sign on this machine; the operator's next command logs it."""
    return acts.approve(
        CaseFolder(folder),
        key,
        charter=charter,
        now=clock(),
        withdraw=withdraw,
        outside=outside,
        lasts=lasts,
    )
