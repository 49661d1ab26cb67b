"""The certificate in PDF as the command line makes it: where it goes, and whose seal it bears."""

from __future__ import annotations

from pathlib import Path

from cenotaph import paper
from cenotaph.cli import ui
from cenotaph.config import reference_path
from cenotaph.desk import Desk
from cenotaph.errors import CenotaphError, UsageError
from cenotaph_proof.errors import OrderError, ProofError
from cenotaph_proof.paper.content import Choice

NAME = "certificate.pdf"
WITHOUT = "no certificate.pdf: that takes pip install 'cenotaph[certificate]', then cenotaph paper"


def identity(
    desk: Desk, key: str | None, certificate: Path | None, chain: Path | None, tsa: str | None
) -> paper.Identity | None:
    """Who seals: as told on the command line, else as the case's [seal] says, else nobody."""
    given = desk.config.seal
    if key is None and certificate is None:
        if given is None:
            return None
        base = desk.config.base
        return paper.Identity(
            key=reference_path(given.key, base),
            certificate=base / given.certificate,
            chain=chain or (base / given.chain if given.chain is not None else None),
            tsa=tsa or given.tsa,
        )
    if key is None or certificate is None:
        raise UsageError("--seal-key and --seal-cert go together")
    return paper.Identity(reference_path(key, Path.cwd()), certificate, chain, tsa)


def write(desk: Desk, to: Path | None, choice: Choice, who: paper.Identity | None) -> Path:
    """Write the paper of a certified case. Raises: OrderError before `certify`; what `paper.write` raises."""
    try:
        proof = desk.proof_path().read_bytes()
    except FileNotFoundError:
        raise OrderError("the case has no proof file yet", hint="run: cenotaph certify") from None
    to = to or desk.path / NAME
    paper.write(proof, to, choice, who)
    return to


def beside(desk: Desk) -> Path | None:
    """The paper that `certify` writes where it can. A certificate does not wait for its paper."""
    if not paper.can_make():
        ui.warn(WITHOUT)
        return None
    try:
        return write(desk, None, "both", identity(desk, None, None, None, None))
    except (CenotaphError, ProofError) as error:
        ui.warn(f"no certificate.pdf: {error.message}; when that is put right, run: cenotaph paper")
        return None
