"""What a party signs from its own machine: approvals of the charter and of the plan, and testimony."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cenotaph_proof import draw, envelope, testimony
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import COUNTERSIGN, Entry
from cenotaph_proof.errors import FormatError, KeyFileError, OrderError
from cenotaph_proof.folder import CaseFolder, Secrets, sign
from cenotaph_proof.keys import ROLES, SecretKey
from cenotaph_proof.statements import (
    Approval,
    Challenge,
    Cite,
    Commitments,
    Plan,
    Role,
    Saying,
    Testimony,
)

OUTSIDE_LIMIT = 16 << 20
NONCE = {"challenge": "challenge nonce", "probe": "probe nonce"}


def approve(
    folder: CaseFolder,
    key_file: Path,
    *,
    charter: bool,
    now: int,
    withdraw: bool = False,
    outside: Path | None = None,
    lasts: int | None = None,
) -> Path:
    """Sign an approval (or its withdrawal) of the charter or of the newest plan, for `lasts` seconds.

    An auditor approving the charter makes its key share and first nonces, and commits to them and to
    the outside records in `outside`. Returns the envelope's file in `incoming/`.

    Raises: KeyFileError when the key is no party of the charter; OrderError when there is no plan,
    or this auditor has not accepted it.
    """
    case = folder.replay_with_waiting()  # an auditor approves right after a challenge nobody logged yet
    key = SecretKey.load(key_file)
    role = party_role(case, key)
    assert case.charter_entry is not None
    cites: tuple[Cite, ...] = (Cite("charter", case.charter_entry.digest),)
    of: str = "charter" if charter else "plan"
    if not charter:
        plan = case.require(Plan)
        cites += (Cite("plan", plan.digest),)
        if role == "auditor" and not withdraw:
            cites += _own_challenge(case, key)
    share = commitments = None
    if charter and role == "auditor" and not withdraw:
        commitments, share = _commit(case, key, Secrets(key_file, case.charter.case), outside)
    body = Approval(
        of=of,  # type: ignore[arg-type]  # one of the two literals
        organisation=key.public.organisation,
        role=role,
        decision="withdraw" if withdraw else "approve",
        signed=now,
        until=now + (case.charter.policy.approval_lasts if lasts is None else lasts),
        commitments=commitments,
    )
    return folder.submit(body, cites, key, share)


@dataclass(frozen=True, slots=True)
class Words:
    """What somebody says: `says` is one of `statements.Saying`, `evidence` are digests of prepared files.

    `answers` is an objection, by the first 8 digits or more of its digest, or by its file; it gives `says`
    and `about` where they are None.
    """

    says: str | None = None
    about: str | None = None
    why: str | None = None
    evidence: tuple[str, ...] = ()
    answers: str | None = None


def testify(folder: CaseFolder, key_file: Path, words: Words, now: int) -> Path:
    """Sign what this party saw, did, objects to or answers; any party may, until the certificate.

    Returns the envelope's file in `incoming/`.

    Raises: KeyFileError when the key is no party of the charter; FormatError, OrderError for what the case
    would refuse, before anything is written.
    """
    case = folder.replay_with_waiting()  # an objection that nobody logged yet may be answered
    key = SecretKey.load(key_file)
    objection = None if words.answers is None else _objection(case, words.answers)
    body = _testimony(key.public.organisation, party_role(case, key, *ROLES), words, objection, now)
    cites = _spoken_of(case, body, objection)
    sealed, attachment = sign(body, cites, key)
    case.admit(sealed, {} if attachment is None else {hashlib.sha256(attachment).hexdigest(): attachment})
    return folder.submit(body, cites, key)


def lacking(case: Case) -> list[str]:
    """The steps of the plan to which nobody of a role has testified, a line for each."""
    return [
        f"{step.planned.about}: {step.planned.says} ({', '.join(step.lacking)} has not testified)"
        for step in testimony.steps(case)
        if step.lacking
    ]


def party_role(case: Case, key: SecretKey, *allowed: str) -> Role:
    """The role in which this key is a party of the case. Raises: KeyFileError."""
    for party in case.parties(*(allowed or COUNTERSIGN)):
        if party.ed25519 == key.public.ed25519:
            return party.role  # type: ignore[return-value]  # checked when the charter was parsed
    wanted = " or ".join(allowed or COUNTERSIGN)
    raise KeyFileError(
        f"the key of {key.public.organisation} is not {wanted} in this case",
        hint="use the key that case.toml names for this party",
    )


def new_nonce(secrets: Secrets, what: str) -> str:
    """Make and keep a nonce; returns its commitment. `what` is "challenge" or "probe"."""
    nonce = os.urandom(32)
    commitment = draw.commitment(NONCE[what], nonce)
    secrets.remember(**{commitment: nonce.hex()})
    return commitment


def outside_commitment(salt: bytes, records: bytes) -> str:
    """Commitment to a file of outside records, salted so that nobody can guess them."""
    return draw.commitment("outside records", salt + records)


def _commit(case: Case, key: SecretKey, secrets: Secrets, outside: Path | None) -> tuple[Commitments, bytes]:
    kept = secrets.load()
    share = bytes.fromhex(kept["share"]) if "share" in kept else os.urandom(32)
    salt = os.urandom(32)
    records = outside.read_bytes() if outside is not None else b"[]"
    if len(records) > OUTSIDE_LIMIT:
        raise OrderError("the file of outside records is larger than 16 MiB")
    brought = _count(records)
    secrets.remember(share=share.hex(), outside=salt.hex())
    (operator,) = case.parties("operator")
    sealed = operator.seal_to(share_info(case.charter.case), share)
    commitments = Commitments(
        share=draw.commitment("share", share),
        challenge_nonce=new_nonce(secrets, "challenge"),
        probe_nonce=new_nonce(secrets, "probe"),
        outside=outside_commitment(salt, records),
        outside_records=brought,
    )
    return commitments, sealed


def share_info(case: str) -> bytes:
    """HPKE info under which an auditor's share travels to the operator."""
    return b"cenotaph/v1 share\0" + bytes.fromhex(case)


def _count(records: bytes) -> int:
    try:
        value = json.loads(records)
    except (ValueError, RecursionError):
        value = None  # the error's own text may quote a record
    if not isinstance(value, list) or not all(_is_record(item) for item in value):
        raise OrderError(
            "the file of outside records is not a JSON list of objects with store, collection and values",
            hint='write [{"store": "health", "collection": "visits", "values": {"column": "value"}}]',
        )
    return len(value)


def _is_record(item: object) -> bool:
    """Strict, since a record that the challenge cannot read stops the case after everybody countersigned."""
    return (
        isinstance(item, dict)
        and item.keys() == {"store", "collection", "values"}
        and isinstance(item["store"], str)
        and isinstance(item["collection"], str)
        and isinstance(item["values"], dict)
        and len(item["values"]) > 0
        and all(isinstance(value, str | int | float) for value in item["values"].values())
    )


def _testimony(organisation: str, role: Role, words: Words, objection: Entry | None, now: int) -> Testimony:
    says, about = words.says, words.about
    if objection is not None:
        says, about = says or "answers", about or objection.body(Testimony).about
    if says not in get_args(Saying) or not about:
        raise FormatError(
            "a testimony says one of: " + ", ".join(get_args(Saying)) + "; and about what",
            hint="for example --says witnessed --about 'the erasing'; never a person's name",
        )
    return Testimony(
        organisation=organisation,
        role=role,
        signed=now,
        says=says,  # type: ignore[arg-type]  # one of the literals, as was just seen
        about=about,
        evidence=words.evidence,
        why=words.why,
    )


def _spoken_of(case: Case, body: Testimony, objection: Entry | None) -> tuple[Cite, ...]:
    """The charter; the objection that is answered; the plan that has this as a step."""
    assert case.charter_entry is not None
    found = [case.charter_entry]
    plan = case.latest(Plan)
    if plan is not None and (body.says, body.about) in testimony.planned(plan.body(Plan)):
        found.append(plan)
    if objection is not None:
        found.append(objection)
    return tuple(Cite(e.statement.kind, e.digest) for e in found)


def _objection(case: Case, reference: str) -> Entry:
    """The one objection that is meant by a digest, by its first digits, or by its envelope's file."""
    path = Path(reference)
    if path.is_file():
        data = path.read_bytes()
        envelope.open_(data)  # Raises: FormatError where this is no envelope
        reference = hashlib.sha256(data).hexdigest()
    found = [o.entry for o in testimony.objections(case) if o.entry.digest.startswith(reference.lower())]
    if len(reference) < 8 or len(found) != 1:
        open_ones = ", ".join(o.entry.digest[:16] for o in testimony.objections(case)) or "none"
        raise OrderError(
            "no one objection of this case is meant by that",
            hint=f"name it by the first 8 digits of its digest, or by its file; there are: {open_ones}",
        )
    return found[0]


def _own_challenge(case: Case, key: SecretKey) -> tuple[Cite, ...]:
    for entry in case.challenges(case.require(Plan)):
        if entry.signer.ed25519 == key.public.ed25519:
            if entry.body(Challenge).decision != "accept":
                raise OrderError("your own challenge rejected this plan: it cannot be approved")
            return (Cite("challenge", entry.digest),)
    raise OrderError("you have not challenged this plan yet", hint="run: cenotaph challenge --key YOUR-KEY")
