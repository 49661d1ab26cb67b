"""Counting signers: unique keys, unique organisations, one role an organisation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from cenotaph_proof.errors import ThresholdError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.note import witness_note_keys
from cenotaph_proof.policy import Policy


def missing(signers: Iterable[PublicKey], approve: Mapping[str, int]) -> dict[str, int]:
    """How many organisations of each role are still missing; empty when the threshold is met.

    A key counts once, and an organisation counts once, whatever it signed with.
    """
    have: dict[str, set[str]] = {}
    keys: set[bytes] = set()
    for signer in signers:
        if signer.ed25519 not in keys:
            keys.add(signer.ed25519)
            have.setdefault(signer.role, set()).add(signer.organisation)
    short = {role: count - len(have.get(role, ())) for role, count in approve.items()}
    return {role: count for role, count in short.items() if count > 0}


def check(
    what: str, signers: Sequence[PublicKey], approve: Mapping[str, int], able: Iterable[PublicKey] = ()
) -> None:
    """Raises: ThresholdError that says who signed, and who of those who are `able` to has not."""
    short = missing(signers, approve)
    if not short:
        return
    needed, have = sum(approve.values()), {s.organisation for s in signers}
    words = [f"{s.role} {s.organisation} has signed" for s in signers]
    words += [
        f"{p.role} {p.organisation} has not" for p in able if p.role in short and p.organisation not in have
    ]
    raise ThresholdError(
        f"{what} has {needed - sum(short.values())} of {needed} approvals: {', '.join(words)}",
        hint="send the statement to the parties that have not signed, then: cenotaph approve --add FILE",
    )


def complete(
    times: Mapping[PublicKey, int],
    count: int,
    policy: Policy | None = None,
    run_by_operator: Collection[str] = (),
) -> int | None:
    """By when enough log witnesses had cosigned (spec/trust.md, rule 12); None while they have not.

    Enough is all of: `count` organisations; what the policy asks for; and, where any cosignature is asked for
    at all, one organisation that is not `run_by_operator`. `times` maps each witness that counts to when it
    cosigned, in seconds since the epoch. The result is 0 where none is asked for.
    """
    by_name = {witness.organisation: time for witness, time in times.items()}
    by_key = {key: time for witness, time in times.items() for key in witness_note_keys(witness)}
    when = [quorum_time(by_name, count), 0 if policy is None else policy.time(by_key)]
    if any(time != 0 for time in when):
        when.append(quorum_time({n: t for n, t in by_name.items() if n not in run_by_operator}, 1))
    # Each of the three, once met, stays met: all of them are from the latest of their times on.
    return None if None in when else max(time for time in when if time is not None)


def quorum_time(times: Mapping[str, int], count: int) -> int | None:
    """The time by which `count` organisations had cosigned: the count-th smallest; None when fewer.

    `times` maps an organisation to the time of its cosignature, in seconds since the epoch.
    """
    if len(times) < count:
        return None
    return sorted(times.values())[count - 1] if count else 0
