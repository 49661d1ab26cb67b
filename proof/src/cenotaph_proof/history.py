"""Holding what two readers were shown of one log against each other: is it one history?

A verifier sees one history. That two readers were given two is seen when they compare, and is then proven
by the operator's own signatures (spec/verify.md, "Two readers"). Each may hold a proof file, a copy of the
log, or no more than a checkpoint that they saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from cenotaph_proof import bundle as bundles
from cenotaph_proof import merkle
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case
from cenotaph_proof.errors import LogError, SplitError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.note import Checkpoint, operator_note_key, read_checkpoint
from cenotaph_proof.trust import Trust


@dataclass(frozen=True, slots=True)
class Shown:
    """What a reader was shown of a log: heads that the operator signed, and hashes of entries where they have
    them. Made by `shown` alone, so that the one leads to the other."""

    heads: tuple[Checkpoint, ...]
    hashes: tuple[bytes, ...] | None = None

    @property
    def size(self) -> int:
        """How many entries the newest head covers."""
        return self.heads[-1].size

    def roots(self, sizes: Iterable[int]) -> dict[int, bytes]:
        """The roots that this reader knows, of these sizes."""
        return {h.size: h.root for h in self.heads} | _roots(self.hashes or (), sizes)


@dataclass(frozen=True, slots=True)
class Compared:
    """`one history`: both know the same, up to `size` entries. `open`: nobody can tell without the entries of
    the longer, which is of `size`."""

    outcome: Literal["one history", "open"]
    size: int


def shown(operator: PublicKey, notes: Iterable[bytes], entries: Sequence[bytes] | None = None) -> Shown:
    """Check what a reader holds by itself: the operator signed every head, and entries lead to their roots.

    `entries` are the log's own bytes, as far as the newest head covers them. Lines of log witnesses are not
    looked at: whoever cosigned, it is the operator who may sign one history only.

    Raises: FormatError, SignatureError, LogError.
    """
    heads = sorted({_head(operator, note) for note in notes}, key=lambda h: (h.size, h.root))
    if not heads:
        raise LogError("there is no checkpoint in what was shown")
    twice = next((a.size for a, b in pairwise(heads) if a.size == b.size), None)
    if twice is not None:
        raise SplitError(_two_roots(twice), hint=_KEEP)
    if entries is None:
        return Shown(tuple(heads))
    if heads[-1].size > len(entries):
        raise LogError(f"{len(entries)} entries are here, and a checkpoint covers {heads[-1].size}")
    hashes = tuple(map(merkle.leaf_hash, entries[: heads[-1].size]))
    roots = _roots(hashes, (h.size for h in heads))
    wrong = next((h.size for h in heads if roots[h.size] != h.root), None)
    if wrong is not None:
        raise LogError(f"the entries do not lead to the root of the checkpoint of {wrong} entries")
    return Shown(tuple(heads), hashes)


def compare_shown(one: Shown, other: Shown) -> Compared:
    """Whether two readers were shown one history.

    Raises: SplitError with the size of which the operator signed two roots, or at which the entries part.
    """
    sizes = {h.size for item in (one, other) for h in item.heads}
    mine, yours = one.roots(sizes), other.roots(sizes)
    both = sorted(mine.keys() & yours.keys())
    parted = next((size for size in both if mine[size] != yours[size]), None)
    if parted is not None:
        raise SplitError(_parting(one, other, parted), hint=_KEEP)
    if both and both[-1] >= min(one.size, other.size):
        return Compared("one history", min(one.size, other.size))
    return Compared("open", max(one.size, other.size))


def _head(operator: PublicKey, note: bytes) -> Checkpoint:
    return read_checkpoint(note, operator_note_key(operator)).checkpoint


def _roots(hashes: Sequence[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """The roots over the first so many hashes, in one pass."""
    wanted, tree = {size for size in sizes if size <= len(hashes)}, merkle.Frontier()
    found = {0: tree.root()} if hashes and 0 in wanted else {}
    for size, leaf in enumerate(hashes, 1):
        tree.append(leaf)
        if size in wanted:
            found[size] = tree.root()
    return found


def _parting(one: Shown, other: Shown, size: int) -> str:
    if one.hashes is None or other.hashes is None:
        return _two_roots(size)
    common = min(len(one.hashes), len(other.hashes))
    same = next((n for n in range(common) if one.hashes[n] != other.hashes[n]), common)
    return _differ_after(same)


def _differ_after(same: int) -> str:
    return f"the operator signed two histories: they agree on {same} statements and differ in the next one"


def _two_roots(size: int) -> str:
    return f"the operator signed two histories: two roots for {size} statements"


_KEEP = "keep both: together they are the proof"


def compare(one: Bundle, other: Bundle, trust: Trust | None = None) -> int:
    """Check that the shorter of two logs is a prefix of the longer one; returns its size.

    Both are replayed, so that every checkpoint in them bears the operator's verified signature.

    Raises: LogError when the logs are of two operators; SplitError when the operator signed two histories,
    with the first size at which they differ; ProofError when one of them does not replay.
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
    raise SplitError(
        _differ_after(same) + (f"; cosigned by {', '.join(sorted(signed))}" if signed else ""),
        hint="keep both files: together they are the proof",
    )


def _witnesses(case: Case, beyond: int) -> set[str]:
    return {name for c in case.cosigned if c.size > beyond for name in c.witnesses}
