"""Which collections are copies of one list, found without keeping a value.

A sketch keeps the k smallest keyed hashes of a column's distinct values (Bar-Yossef et al. 2002; Beyer et
al., "On synopses for distinct-value estimation under multiset operations", SIGMOD 2007). The key is
drawn for each run and dies with it, so that a sketch cannot be asked about a person afterwards.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph import kernel
from cenotaph.discovery.hints import spaced
from cenotaph.discovery.text import as_texts

SIZE = 1_024
"""Hashes kept; the standard error of an overlap is below 1/√1024, about 3 in 100."""

_Hashes: TypeAlias = npt.NDArray[np.uint64]


def draw_key() -> bytes:
    """A key for the sketches of one run; sketches of different keys cannot be compared."""
    return secrets.token_bytes(32)


class Sketch:
    """The k-minimum-values synopsis of one column."""

    def __init__(self, key: bytes, size: int = SIZE) -> None:
        self._key = key
        self._size = size
        self._hashes: _Hashes = np.empty(0, np.uint64)

    def __repr__(self) -> str:
        return f"Sketch({len(self._hashes)} hashes)"

    def add(self, values: pa.Array) -> None:
        """Take in the values of a batch, of any type; nulls and empty values count as none."""
        texts = pc.utf8_trim_whitespace(as_texts(values).texts.drop_null())
        fresh = _hashed(texts, self._key)
        if len(self._hashes) == self._size:
            fresh = fresh[fresh < self._hashes[-1]]
        self._hashes = _each_once(np.concatenate([self._hashes, fresh]))[: self._size]

    @property
    def hashes(self) -> _Hashes:
        """What is kept, ascending."""
        return self._hashes

    def distinct(self) -> float:
        """An estimate of the number of distinct values; exact below the sketch's size."""
        if len(self._hashes) < self._size:
            return float(len(self._hashes))
        return (self._size - 1) / (float(self._hashes[-1]) / 2.0**64)

    def overlap(self, other: Sketch) -> float:
        """An estimate of the share of the smaller column's distinct values that the other has too.

        Raises:
            ValueError: the sketches were made under different keys.
        """
        if self._key != other._key:
            raise ValueError("sketches of different keys cannot be compared")
        both = np.sort(np.concatenate([self._hashes, other._hashes]))
        again = both[1:][both[1:] == both[:-1]]
        union = _each_once(both)[: self._horizon(other)]
        if not len(union):
            return 0.0
        jaccard = np.searchsorted(again, union[-1], "right") / len(union)
        together = (self.distinct() + other.distinct()) / (1 + jaccard)
        smaller = min(self.distinct(), other.distinct())
        return min(1.0, jaccard * together / smaller) if smaller else 0.0

    def _horizon(self, other: Sketch) -> int:
        """How many hashes of the union both sketches would have kept: all, while neither is full."""
        full = [len(sketch._hashes) for sketch in (self, other) if len(sketch._hashes) >= sketch._size]
        return min(full) if full else len(self._hashes) + len(other._hashes)


def _hashed(texts: pa.StringArray, key: bytes) -> _Hashes:
    """The keyed BLAKE2b of each text that is not empty. Python takes a hundred times as long, and so hashes
    each but once."""
    by = kernel.found()
    if by is not None:
        words, there = by.fingerprints(texts, key)
        return np.asarray(words[there == kernel.NOT_EMPTY].byteswap(), np.uint64)
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        for text in pc.unique(texts).to_pylist()
        if text
    )
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def _each_once(hashes: _Hashes) -> _Hashes:
    """Ascending. `numpy.unique` takes ten times as long: it hashes."""
    hashes = np.sort(hashes)
    new = np.ones(len(hashes), np.bool_)
    np.not_equal(hashes[1:], hashes[:-1], out=new[1:])
    return np.asarray(hashes[new])


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """A column of a collection and its sketch."""

    name: str = field(repr=False)
    sketch: Sketch = field(repr=False)


@dataclass(frozen=True, slots=True)
class CollectionProfile:
    """What `look_alikes` compares; `label` is the caller's, an ordinal for instance."""

    label: int
    columns: tuple[ColumnProfile, ...]


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Two collections that seem to be copies of one list."""

    first: int
    second: int
    same_columns: int  # that bear the same name in both
    columns: int  # of the one with fewer
    overlap: float  # of the most telling column's values; 1.0 and different counts: a diverging copy

    @property
    def sentence(self) -> str:
        """The finding in words, without names."""
        percent = round(100 * self.overlap)
        return (
            f"collections {self.first} and {self.second} share {self.same_columns} of {self.columns} "
            f"column names and about {percent} in 100 values of their most telling column"
        )


def look_alikes(collections: Sequence[CollectionProfile], *, least: float = 0.2) -> Iterator[LookAlike]:
    """Pairs whose values overlap by at least `least` in a column that tells records apart.

    Columns are matched by name first, and by overlap where the names differ (a renamed export). Columns of
    fewer than 20 distinct values tell nothing. `least` is above 0: pairs without a hash in common are passed
    over.
    """
    telling = [_telling(collection) for collection in collections]
    for one, other in _meeting(telling):
        overlaps = [
            left.sketch.overlap(right.sketch)
            for left, right in itertools.product(telling[one], telling[other])
        ]
        best = max(overlaps)
        if best >= least:
            first, second = collections[one], collections[other]
            names = {spaced(column.name) for column in first.columns} & {
                spaced(column.name) for column in second.columns
            }
            fewer = min(len(first.columns), len(second.columns))
            yield LookAlike(first.label, second.label, len(names), fewer, round(best, 3))


def _telling(collection: CollectionProfile) -> list[ColumnProfile]:
    return [column for column in collection.columns if column.sketch.distinct() >= 20]


def _meeting(collections: Sequence[Sequence[ColumnProfile]]) -> list[tuple[int, int]]:
    """Pairs of collections, by their places, that have a hash in common; in order."""
    columns = [(place, column.sketch.hashes) for place, each in enumerate(collections) for column in each]
    if not columns:
        return []
    hashes = np.concatenate([each for _, each in columns])
    places = np.repeat([place for place, _ in columns], [len(each) for _, each in columns])
    order = np.lexsort((places, hashes))
    hashes, places = hashes[order], places[order]
    pairs: set[tuple[int, int]] = set()
    for apart in range(1, len(columns)):
        same = np.flatnonzero(hashes[apart:] == hashes[:-apart])
        if not len(same):
            break
        found = np.unique(places[same] * len(collections) + places[same + apart])
        pairs.update(divmod(pair, len(collections)) for pair in found.tolist())
    return sorted(pair for pair in pairs if pair[0] != pair[1])
