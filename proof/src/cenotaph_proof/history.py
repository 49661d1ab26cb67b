"""Holding two proof files of one operator against each other: is it one log that both readers were given?

A verifier sees one history. That two readers were given two is seen when they compare, and is then proven
by the operator's own signatures (spec/log.md).
"""

from __future__ import annotations

from cenotaph_proof import bundle as bundles
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case
from cenotaph_proof.errors import LogError
from cenotaph_proof.trust import Trust


def compare(one: Bundle, other: Bundle, trust: Trust | None = None) -> int:
    """Check that the shorter of two logs is a prefix of the longer one; returns its size.

    Both are replayed, so that every checkpoint in them bears the operator's verified signature.

    Raises: LogError when the logs are of two operators, or the operator signed two histories, with the
    first size at which they differ; ProofError when one of them does not replay.
    """
    first, second = bundles.replay(one, trust), bundles.replay(other, trust)
    if first.charter.origin != second.charter.origin:
        raise LogError("the two proof files are of two operators' logs")
    size = min(len(one.entries), len(other.entries))
    same = next((n for n in range(size) if one.entries[n] != other.entries[n]), size)
    if same == size:
        return size
    if not all(any(c.size > same for c in case.cosigned) for case in (first, second)):
        raise LogError(f"the two proof files differ after {same} statements; they are not both cosigned")
    signed = _witnesses(first, same) | _witnesses(second, same)
    raise LogError(
        f"the operator signed two histories: they agree on {same} statements and differ in the next one"
        + (f"; cosigned by {', '.join(sorted(signed))}" if signed else ""),
        hint="keep both files: together they are the proof",
    )


def _witnesses(case: Case, beyond: int) -> set[str]:
    return {name for c in case.cosigned if c.size > beyond for name in c.witnesses}
