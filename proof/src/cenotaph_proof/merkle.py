"""Merkle trees of RFC 6962: roots, inclusion and consistency proofs. Arithmetic only, on 32-byte hashes.

A tree is given as the sequence of its leaf hashes. Proofs are lists of hashes, nearest the leaf first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from cenotaph_proof.errors import TreeError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 ‖ entry) (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over leaf hashes; SHA-256 of nothing for the empty tree."""
    return Frontier(leaf_hashes).root()


class Frontier:
    """A tree that only grows.

    It keeps the roots of its complete subtrees: at most one for each bit of its size.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        for leaf in leaf_hashes:
            self.append(leaf)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf, in amortised constant time and at most log2(size) hashes."""
        _check_hash(leaf_hash)
        complete = self.size
        self.size += 1
        while complete & 1:
            leaf_hash = node_hash(self._peaks.pop(), leaf_hash)
            complete >>= 1
        self._peaks.append(leaf_hash)

    def root(self) -> bytes:
        """The root of the leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        value = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            value = node_hash(peak, value)
        return value


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The path from the leaf at `index` to the root of all the leaves (RFC 6962, section 2.1.1).

    Raises:
        TreeError: there is no such leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise TreeError(f"no leaf {index} in a tree of {len(leaf_hashes)}")
    path: list[bytes] = []
    low, high = 0, len(leaf_hashes)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(root(leaf_hashes[middle:high]))
            high = middle
        else:
            path.append(root(leaf_hashes[low:middle]))
            low = middle
    path.reverse()
    return path


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """That the first `old_size` leaves are a prefix of all (RFC 6962, section 2.1.2).

    Empty when `old_size` is 0 or the whole tree.

    Raises:
        TreeError: the tree has never had that size.
    """
    if not 0 <= old_size <= len(leaf_hashes):
        raise TreeError(f"a tree of {len(leaf_hashes)} leaves has no prefix of {old_size}")
    if old_size in (0, len(leaf_hashes)):
        return []
    path: list[bytes] = []
    low, high, from_start = 0, len(leaf_hashes), True
    while old_size != high:
        middle = low + _split(high - low)
        if old_size <= middle:
            path.append(root(leaf_hashes[middle:high]))
            high = middle
        else:
            path.append(root(leaf_hashes[low:middle]))
            low, from_start = middle, False
    if not from_start:
        path.append(root(leaf_hashes[low:high]))
    path.reverse()
    return path


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf_hash` is leaf `index` of the tree of `size` leaves under `root` (RFC 9162, 2.1.3.2).

    Raises:
        TreeError: it is not shown.
    """
    if not 0 <= index < size:
        raise TreeError(f"no leaf {index} in a tree of {size}")
    for value in (leaf_hash, root, *proof):
        _check_hash(value)
    position, last, value = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise TreeError("the inclusion proof is longer than the tree is high")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise TreeError("the inclusion proof is shorter than the tree is high")
    if value != root:
        raise TreeError(f"the inclusion proof of leaf {index} leads to another root")


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `old_size` leaves is a prefix of the tree of `new_size` (RFC 9162, 2.1.4.2).

    From the empty tree, whose root must be the hash of nothing, everything follows with an empty proof.

    Raises:
        TreeError: it is not shown.
    """
    if not 0 <= old_size <= new_size:
        raise TreeError(f"a tree cannot shrink from {old_size} to {new_size} leaves")
    for value in (old_root, new_root, *proof):
        _check_hash(value)
    if old_size in (0, new_size):
        _check_trivial(old_size, new_size, old_root, new_root, proof)
        return
    _check_path(old_size, new_size, old_root, new_root, proof)


def _check_trivial(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    if proof:
        raise TreeError("the consistency proof must be empty: there is nothing to show")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise TreeError("the root of the empty tree is not the hash of nothing")
    if old_size == new_size and old_root != new_root:
        raise TreeError(f"two roots for one tree of {new_size} leaves")


def _check_path(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    # RFC 9162, 2.1.4.2. A complete old tree is itself the first node of the path.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise TreeError("the consistency proof is empty")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old, new = path[0], path[0]
    for sibling in path[1:]:
        if last == 0:
            raise TreeError("the consistency proof is longer than the tree is high")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise TreeError("the consistency proof is shorter than the tree is high")
    if old != old_root or new != new_root:
        raise TreeError(f"the trees of {old_size} and {new_size} leaves are not one history")


def _split(size: int) -> int:
    # The largest power of two smaller than `size` (RFC 6962, section 2.1).
    return 1 << (size - 1).bit_length() - 1


def _check_hash(value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise TreeError(f"a hash has {len(value)} bytes instead of {HASH_BYTES}")
