"""Merkle trees of RFC 6962."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph_proof import merkle
from cenotaph_proof.errors import TreeError

LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(70)]


def _root_by_definition(hashes):
    # RFC 6962, section 2.1, word for word.
    if not hashes:
        return merkle.EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return merkle.node_hash(_root_by_definition(hashes[:middle]), _root_by_definition(hashes[middle:]))


def test_the_growing_tree_has_the_roots_of_the_definition():
    """At every size the frontier's root is the recursive definition's."""
    frontier = merkle.Frontier()
    assert frontier.root() == merkle.EMPTY_ROOT
    for size, leaf in enumerate(LEAVES, 1):
        frontier.append(leaf)
        assert frontier.size == size
        assert frontier.root() == _root_by_definition(LEAVES[:size])


def test_every_leaf_of_every_size_is_shown_included():
    """Proofs that we make are proofs that we accept."""
    for size in range(len(LEAVES) + 1):
        for index in range(size):
            proof = merkle.inclusion_proof(LEAVES[:size], index)
            merkle.verify_inclusion(index, size, LEAVES[index], proof, merkle.root(LEAVES[:size]))


def test_every_pair_of_sizes_is_shown_consistent():
    """From any earlier size to any later one, the empty tree included."""
    for new in range(len(LEAVES) + 1):
        for old in range(new + 1):
            proof = merkle.consistency_proof(LEAVES[:new], old)
            merkle.verify_consistency(old, new, merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new]), proof)


@given(st.integers(1, 70), st.data())
@settings(max_examples=150)
def test_a_changed_inclusion_proof_is_refused(size, data):
    """Another leaf, place, size or sibling does not lead to the root."""
    index = data.draw(st.integers(0, size - 1))
    proof, root = merkle.inclusion_proof(LEAVES[:size], index), merkle.root(LEAVES[:size])
    lie = data.draw(st.sampled_from(["leaf", "longer", "root", *(["sibling", "shorter"] if proof else [])]))
    leaf = LEAVES[index]
    if lie == "leaf":
        leaf = merkle.leaf_hash(b"another")
    elif lie == "longer":
        proof.append(LEAVES[0])
    elif lie == "root":
        root = LEAVES[-1] if root != LEAVES[-1] else LEAVES[0]
    elif lie == "shorter":
        proof.pop()
    else:
        proof[data.draw(st.integers(0, len(proof) - 1))] = merkle.EMPTY_ROOT
    with pytest.raises(TreeError):
        merkle.verify_inclusion(index, size, leaf, proof, root)


@given(st.integers(2, 69), st.data())
@settings(max_examples=150)
def test_a_rewritten_history_is_refused(new, data):
    """A tree in which a leaf before the old size changed is not shown consistent, with either proof."""
    old = data.draw(st.integers(1, new))
    rewritten = LEAVES[:new]
    rewritten[data.draw(st.integers(0, old - 1))] = merkle.leaf_hash(b"rewritten")
    for hashes in (LEAVES[:new], rewritten):
        with pytest.raises(TreeError):
            merkle.verify_consistency(
                old,
                new,
                merkle.root(LEAVES[:old]),
                merkle.root(rewritten),
                merkle.consistency_proof(hashes, old),
            )


def test_proofs_of_what_never_was_are_not_made():
    """No such leaf, no such size."""
    for index in (-1, 3):
        with pytest.raises(TreeError):
            merkle.inclusion_proof(LEAVES[:3], index)
    for old in (-1, 4):
        with pytest.raises(TreeError):
            merkle.consistency_proof(LEAVES[:3], old)


def test_everything_follows_from_the_empty_tree_alone():
    """From size 0 the proof is empty, and only the hash of nothing is its root."""
    root = merkle.root(LEAVES)
    merkle.verify_consistency(0, 70, merkle.EMPTY_ROOT, root, [])
    with pytest.raises(TreeError, match="nothing"):
        merkle.verify_consistency(0, 70, root, root, [])
    with pytest.raises(TreeError, match="empty"):
        merkle.verify_consistency(0, 70, merkle.EMPTY_ROOT, root, [root])


def test_sizes_beyond_any_tree_do_not_take_long():
    """A claimed size of 2^200 is refused after one step for each hash given."""
    with pytest.raises(TreeError):
        merkle.verify_inclusion(2**199, 2**200, LEAVES[0], [LEAVES[1]] * 64, LEAVES[2])
    with pytest.raises(TreeError):
        merkle.verify_consistency(2**199 + 1, 2**200, LEAVES[0], LEAVES[1], [LEAVES[1]] * 64)
