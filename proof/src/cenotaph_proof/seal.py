"""The trees of a seal: chunks under collections, collections under stores, stores under the estate.

All trees are RFC 6962 trees. Leaves carry what they count, so that totals are bound to the root
(spec/seal.md). Pure arithmetic on bytes.
"""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cenotaph_proof import merkle
from cenotaph_proof.errors import FormatError
from cenotaph_proof.statements import Seal, SealCollection, SealStore

CHUNK_RECORDS = 4096
MERGE_BELOW = 10  # records; smaller collections are published merged


@dataclass(frozen=True, slots=True)
class ChunkSeal:
    records: int
    bytes: int
    hash: builtins.bytes


def key_commitment(case_key: bytes) -> str:
    """What the seal says of the case key: SHA-256 over a domain and the 32 key bytes."""
    return hashlib.sha256(b"cenotaph/v1 case key\0" + case_key).hexdigest()


def chunk_leaf(number: int, chunk: ChunkSeal) -> bytes:
    """Leaf of chunk `number` of its collection, from 0."""
    return b"chunk" + _u64(number, chunk.records, chunk.bytes) + chunk.hash


def collection(ordinal: int, chunks: Sequence[ChunkSeal]) -> SealCollection:
    """Seal of one collection from its chunks in order."""
    leaves = [merkle.leaf_hash(chunk_leaf(i, chunk)) for i, chunk in enumerate(chunks)]
    return SealCollection(
        ordinals=(ordinal,),
        records=sum(c.records for c in chunks),
        bytes=sum(c.bytes for c in chunks),
        chunks=len(chunks),
        root=merkle.root(leaves).hex(),
    )


def collection_leaf(item: SealCollection) -> bytes:
    ordinals = _u64(len(item.ordinals), *item.ordinals)
    return b"collection" + ordinals + _u64(item.records, item.bytes, item.chunks) + bytes.fromhex(item.root)


def publish(collections: Sequence[SealCollection]) -> tuple[SealCollection, ...]:
    """What of a store is published: small collections are merged into one entry, placed last."""
    large = [c for c in collections if c.records >= MERGE_BELOW]
    small = [c for c in collections if c.records < MERGE_BELOW]
    if not small:
        return tuple(large)
    merged = SealCollection(
        ordinals=tuple(o for c in small for o in c.ordinals),
        records=sum(c.records for c in small),
        bytes=sum(c.bytes for c in small),
        chunks=sum(c.chunks for c in small),
        root=_root(collection_leaf(c) for c in small) if len(small) > 1 else small[0].root,
    )
    return (*large, merged)


def store(name: str, published: Sequence[SealCollection], persons: int | None = None) -> SealStore:
    return SealStore(
        name=name,
        records=sum(c.records for c in published),
        bytes=sum(c.bytes for c in published),
        chunks=sum(c.chunks for c in published),
        root=_root(collection_leaf(c) for c in published),
        collections=tuple(published),
        persons=persons,
    )


def store_leaf(item: SealStore) -> bytes:
    name = item.name.encode()
    totals = _u64(len(name)) + name + _u64(item.records, item.bytes, item.chunks)
    return b"store" + totals + bytes.fromhex(item.root)


def estate_root(stores: Sequence[SealStore]) -> str:
    return _root(store_leaf(s) for s in stores)


def check(seal: Seal) -> None:
    """Recompute every published total and root. Raises: FormatError naming what does not add up."""
    if seal.chunk_records != CHUNK_RECORDS:
        raise _unsound(f"the seal's chunks hold {seal.chunk_records} records, not {CHUNK_RECORDS}")
    names = [s.name for s in seal.stores]
    if len(set(names)) != len(names):
        raise _unsound("the seal names a store twice")
    for item in seal.stores:
        for group in item.collections:
            _check_group(item.name, group)
        ordinals = [o for c in item.collections for o in c.ordinals]
        if len(set(ordinals)) != len(ordinals):
            raise _unsound(f"the seal of store {item.name} counts a collection twice")
        if store(item.name, item.collections, item.persons) != item:
            raise _unsound(f"the seal of store {item.name} does not add up to its root or totals")
    totals = tuple(sum(getattr(s, k) for s in seal.stores) for k in ("records", "bytes", "chunks"))
    if totals != (seal.records, seal.bytes, seal.chunks) or estate_root(seal.stores) != seal.root:
        raise _unsound("the seal's stores do not add up to the estate's root or totals")


def _unsound(message: str) -> FormatError:
    return FormatError(message, step="verify 7")


def _check_group(store_name: str, group: SealCollection) -> None:
    # A group without a collection would hold records of nothing; one of large collections would hide them.
    if not group.ordinals:
        raise _unsound(f"the seal of store {store_name} counts records of no collection")
    if len(group.ordinals) > 1 and group.records > (MERGE_BELOW - 1) * len(group.ordinals):
        raise _unsound(f"the seal of store {store_name} merges collections that are not small")
    if not group.chunks <= group.records <= group.chunks * CHUNK_RECORDS:
        raise _unsound(f"the seal of store {store_name} has more records than its chunks can hold, or fewer")


def _root(leaves: Iterable[bytes]) -> str:
    return merkle.root([merkle.leaf_hash(leaf) for leaf in leaves]).hex()


def _u64(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers)
