"""Open: the charter. Who takes part, who must agree, and what may be destroyed at all."""

from __future__ import annotations

import os

from cenotaph.annex import Annex
from cenotaph.config import CaseFile
from cenotaph.desk import Desk, alone
from cenotaph.errors import RefusedError, UsageError
from cenotaph_proof import note
from cenotaph_proof.casebook import Entry
from cenotaph_proof.errors import OrderError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.statements import (
    App,
    Charter,
    Cite,
    HoldTerms,
    NamedReason,
    Party,
    Policy,
    RoleCount,
    StoreTerms,
)
from cenotaph_proof.trust import seconds

PPM = 1_000_000


@alone
def open_case(desk: Desk) -> Entry:
    """Make the case's keys, sign the charter, log it. Safe to repeat after a crash.

    Raises: RefusedError when the case is open already; UsageError about the case file.
    """
    log = desk.log()
    opened = _opened(desk)
    if opened is not None:
        if desk.finish():
            return opened
        raise RefusedError(
            f"the case {desk.config.case.name} is open already", hint="see where it stands: cenotaph status"
        )
    case_id = _case_id(desk)
    annex = Annex(desk.path / "annex", case_id)
    key = desk.key
    if not annex.has("annex-key", key.public):
        annex.wrap("operator-share", os.urandom(32), [key.public])
        annex.wrap("annex-key", os.urandom(32), [key.public])
    digest = annex.write("case-file", annex.unwrap("annex-key", key), desk.config.source)
    origin = note.log_origin(key.public)
    charter = charter_of(desk.config, case_id, origin, digest, desk.clock(), desk.open_charters())
    if log.size and log.checkpoint().origin != origin:
        raise UsageError("the log belongs to another operator's key")
    return desk.sign(charter, Cite("case", case_id))


def charter_of(
    config: CaseFile, case_id: str, origin: str, annex: str, now: int, earlier: tuple[str, ...]
) -> Charter:
    """The charter that a case file asks for."""
    policy = config.policy
    return Charter(
        case=case_id,
        name=config.case.name,
        operator=config.case.operator,
        origin=origin,
        created=now,
        basis=config.case.basis,
        notice=seconds(config.case.notice, "notice"),
        apps=tuple(App(a.name, a.purpose, a.stores) for a in config.app),
        stores=tuple(
            StoreTerms(s.name, s.kind, s.grade, s.scope_kind, s.shared, s.owner) for s in config.store
        ),
        holds=tuple(HoldTerms(h.by, h.reference) for h in config.hold),
        kept=tuple(NamedReason(k.name, k.why) for k in config.kept),
        recipients=tuple(NamedReason(r.name, r.why) for r in config.recipient),
        parties=tuple(
            Party(
                p.organisation,
                p.role,  # type: ignore[arg-type]
                p.ed25519.hex(),
                p.x25519.hex(),
                None if p.mldsa44 is None else p.mldsa44.hex(),
            )
            for p in _with_operator(config)
        ),
        policy=Policy(
            approve=tuple(RoleCount(role, count) for role, count in sorted(policy.approve.items())),
            witness=policy.witness,
            bound_ppm=round(policy.challenge.bound * PPM),
            confidence_ppm=round(policy.challenge.confidence * PPM),
            clock_skew=seconds(policy.clock_skew, "clock_skew"),
            approval_lasts=seconds(policy.approval_lasts, "approval_lasts"),
        ),
        earlier=earlier,
        annex=annex,
        contact=config.case.contact,
    )


def _with_operator(config: CaseFile) -> tuple[PublicKey, ...]:
    parties = config.parties()
    if any(p.role == "operator" for p in parties):
        return parties
    return (SecretKey.load(config.operator_key()).public, *parties)


def _opened(desk: Desk) -> Entry | None:
    """The charter, where the log holds it."""
    try:
        return desk.case().charter_entry
    except OrderError:
        return None


def _case_id(desk: Desk) -> str:
    try:
        return desk.case_id()
    except OrderError:
        case_id = os.urandom(32).hex()
        desk.begin(case_id)
        return case_id
