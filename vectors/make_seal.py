"""Makes vectors/seal.json: the case key, the entries and trees of a seal, and seals that do not add up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cenotaph.annex import case_key
from cenotaph_proof import seal as seals
from cenotaph_proof.seal import ChunkSeal
from cenotaph_proof.statements import Seal, SealCollection, SealStore, to_json

CASE = bytes(range(32)).hex()
OPERATOR_SHARE, AUDITOR_SHARES = bytes([1]) * 32, [bytes([2]) * 32, bytes([3]) * 32]
STORES: dict[str, list[list[int]]] = {  # name → records of each chunk of each collection
    "health": [[4096, 4096, 808], [4], [5], [4096, 1]],
    "核酸": [[10]],
    "one small": [[9]],
    "empty": [[]],
    "none": [],
}


def vectors() -> dict[str, Any]:
    """All vectors as the JSON file holds them."""
    key = case_key(OPERATOR_SHARE, AUDITOR_SHARES, CASE)
    stores = [_store(name, counts) for name, counts in STORES.items()]
    sealed = estate(key, [s for s, _ in stores])
    return {
        "spec": "spec/seal.md, spec/annex.md",
        "expect": 'every hash follows from the values beside it; each seal says "accepted" or "refused"',
        "case_key": {
            "case": CASE,
            "operator_share": OPERATOR_SHARE.hex(),
            "auditor_shares": [share.hex() for share in AUDITOR_SHARES],
            "key": key.hex(),
            "commitment": seals.key_commitment(key),
        },
        "stores": [detail for _, detail in stores],
        "seals": [
            {"name": "as it must be", "expect": "accepted", "body": to_json(sealed)},
            *(
                {"name": name, "expect": "refused", "body": to_json(change(sealed))}
                for name, change in _CHANGES.items()
            ),
        ],
    }


def chunks(label: str, counts: list[int]) -> list[ChunkSeal]:
    """Chunks with these numbers of records, 100 bytes each, and hashes made from a label."""
    hashes = [hashlib.sha256(f"{label} {i}".encode()).digest() for i in range(len(counts))]
    return [ChunkSeal(count, 100 * count, hashed) for count, hashed in zip(counts, hashes, strict=True)]


def estate(key: bytes, stores: list[SealStore]) -> Seal:
    """A seal over these stores."""
    return Seal(
        key=seals.key_commitment(key),
        chunk_records=seals.CHUNK_RECORDS,
        records=sum(s.records for s in stores),
        bytes=sum(s.bytes for s in stores),
        chunks=sum(s.chunks for s in stores),
        root=seals.estate_root(stores),
        stores=tuple(stores),
        needles="aa" * 32,
        annex="bb" * 32,
        persons=7,
    )


def store(name: str, counts: list[list[int]]) -> SealStore:
    """The seal of a store with these chunks."""
    return _store(name, counts)[0]


def _store(name: str, counts: list[list[int]]) -> tuple[SealStore, dict[str, Any]]:
    listed = [chunks(f"{name} {ordinal}", sizes) for ordinal, sizes in enumerate(counts)]
    collections = [seals.collection(ordinal, found) for ordinal, found in enumerate(listed)]
    sealed = seals.store(name, seals.publish(collections), 3)
    return sealed, {
        "name": name,
        "collections": [
            {"chunks": [_chunk(i, c) for i, c in enumerate(found)], **_named(item)}
            for item, found in zip(collections, listed, strict=True)
        ],
        "published": [_named(item) for item in sealed.collections],
        "entry": seals.store_leaf(sealed).hex(),
        "root": sealed.root,
    }


def _chunk(number: int, chunk: ChunkSeal) -> dict[str, Any]:
    entry = seals.chunk_leaf(number, chunk).hex()
    return {"records": chunk.records, "bytes": chunk.bytes, "hash": chunk.hash.hex(), "entry": entry}


def _named(item: SealCollection) -> dict[str, Any]:
    return {"ordinals": list(item.ordinals), "entry": seals.collection_leaf(item).hex(), "root": item.root}


def _first(seal: Seal, **changes: Any) -> Seal:
    return replace(seal, stores=(replace(seal.stores[0], **changes), *seal.stores[1:]))


def _fewer(seal: Seal) -> Seal:
    """One record less, in every total of the estate and of its first store."""
    first = seal.stores[0]
    collections = (
        replace(first.collections[0], records=first.collections[0].records - 1),
        *first.collections[1:],
    )
    return replace(_first(seal, records=first.records - 1, collections=collections), records=seal.records - 1)


def _twice(seal: Seal) -> Seal:
    first = seal.stores[0]
    again = seals.store(first.name, (*first.collections, first.collections[0]), first.persons)
    stores = (again, *seal.stores[1:])
    totals = {k: sum(getattr(s, k) for s in stores) for k in ("records", "bytes", "chunks")}
    return replace(seal, stores=stores, root=seals.estate_root(stores), **totals)


_CHANGES: dict[str, Callable[[Seal], Seal]] = {
    "a total of the estate that is too small": lambda s: replace(s, records=s.records - 1),
    "another root of the estate": lambda s: replace(s, root="cc" * 32),
    "another root of a store": lambda s: _first(s, root="cc" * 32),
    "a record less in every total, under the same roots": _fewer,
    "a collection counted twice, under new roots": _twice,
    "stores in another order": lambda s: replace(s, stores=s.stores[::-1]),
    "other chunks than of 4096 records": lambda s: replace(s, chunk_records=1024),
}
