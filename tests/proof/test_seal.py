"""A seal's totals lie under its root, and nothing can be counted that is not there."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from cenotaph.testing.ceremony import Ceremony
from cenotaph_proof import seal as seals
from cenotaph_proof.errors import FormatError
from cenotaph_proof.seal import CHUNK_RECORDS, ChunkSeal
from cenotaph_proof.statements import Seal, SealStore


@pytest.fixture
def sealed() -> Seal:
    return Ceremony().seal_body()


def chunk(records: int, label: bytes = b"x") -> ChunkSeal:
    return ChunkSeal(records, 10 * records, label * 32)


def test_an_honest_seal_adds_up(sealed: Seal) -> None:
    """Every published total and root is recomputed, and agrees."""
    seals.check(sealed)


def test_small_collections_are_published_together() -> None:
    """Nobody learns from a seal that a collection held two persons."""
    parts = [seals.collection(n, [chunk(records)]) for n, records in enumerate((50, 2, 9, 10))]

    published = seals.publish(parts)

    assert [c.ordinals for c in published] == [(0,), (3,), (1, 2)]
    assert published[-1].records == 11


def test_a_changed_chunk_changes_the_estate_root() -> None:
    """The root binds order, content and counts of the chunks."""
    honest = [chunk(10, b"a"), chunk(10, b"b")]
    roots = {
        seals.collection(0, chunks).root
        for chunks in (honest, honest[::-1], [honest[0], chunk(9, b"b")], honest[:1], [])
    }

    assert len(roots) == 5


@pytest.mark.parametrize("field", ["records", "bytes", "chunks"])
def test_a_total_that_does_not_follow_is_refused(sealed: Seal, field: str) -> None:
    """One more, anywhere, and the seal does not add up: in the estate, a store, or a collection."""
    more = {field: getattr(sealed, field) + 1}
    store = sealed.stores[0]
    bigger_store = replace(store, **{field: getattr(store, field) + 1})
    first = store.collections[0]
    bigger = replace(first, **{field: getattr(first, field) + 1})
    with_bigger: SealStore = replace(store, collections=(bigger, *store.collections[1:]))

    for lie in (
        replace(sealed, **more),
        replace(sealed, stores=(bigger_store, *sealed.stores[1:])),
        replace(sealed, stores=(with_bigger, *sealed.stores[1:])),
    ):
        with pytest.raises(FormatError):
            seals.check(lie)


def test_stores_and_collections_are_counted_once(sealed: Seal) -> None:
    """A store or a collection named twice is refused, however the roots are made."""
    twice = (sealed.stores[0], sealed.stores[0])
    first = sealed.stores[0].collections[0]
    doubled = seals.store("health", (first, first))

    with pytest.raises(FormatError, match="names a store twice"):
        seals.check(replace(sealed, stores=twice))
    with pytest.raises(FormatError, match="counts a collection twice"):
        seals.check(Ceremony().sealed([doubled]))


@pytest.mark.parametrize(
    ("records", "chunks"), [(CHUNK_RECORDS + 1, 1), (0, 1), (3, 4)], ids=["too many", "none", "too few"]
)
def test_chunks_hold_what_chunks_can_hold(records: int, chunks: int) -> None:
    """A chunk has between 1 and 4,096 records: fewer chunks would mean that fewer are drawn."""
    item = replace(seals.collection(0, [chunk(20)]), records=records, chunks=chunks)

    with pytest.raises(FormatError, match="than its chunks can hold"):
        seals.check(Ceremony().sealed([seals.store("health", (item,))]))


def test_another_chunk_size_is_refused(sealed: Seal) -> None:
    """The sample is counted in chunks of one known size."""
    with pytest.raises(FormatError, match="chunks hold 1000000 records"):
        seals.check(replace(sealed, chunk_records=1_000_000))


def test_the_key_commitment_is_of_its_own_domain() -> None:
    """The commitment to a key is no plain hash of it, which something else could have published."""
    assert seals.key_commitment(bytes(32)) != hashlib.sha256(bytes(32)).hexdigest()
    assert seals.key_commitment(bytes(32)) != seals.key_commitment(bytes(31) + b"\x01")
