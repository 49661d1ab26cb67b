"""What is sought, from the values of a partition to the needles of a case.

What surprised the author: making the forms of a value costs ten times as much as reading its record, and a
billion records have the same few million people in them. Forms can as well be made when somebody searches,
which needs the value; and a number is there anyway: eight bytes of its forms, hashed so that a search can
test every place of a disk, are found again in 2**26 steps by whoever holds the key. So numbers (of identity
cards, telephones, accounts) are kept as they are, eight bytes each; of all other values only the needles are,
as ever (docs/adr/0015-numbers-are-sought-as-they-are.md). A search makes no forms of them at all any more:
what a number is, how it is one word and how it is looked up is in `numbers`.

Format of a part: magic line; for each of `KINDS`, in order, how many numbers, and these, ascending; the
needles of all else (`Needles.to_bytes`). Little-endian, eight bytes each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph.errors import UsageError
from cenotaph.residue.needles import KINDS, Known, NeedleBuilder, Needles
from cenotaph.residue.numbers import (
    Distinct,
    add_numbers,
    are_words,
    by_row,
    distinct,
    in_sorted,
    split,
    texts,
)

__all__ = ["Distinct", "KnownSought", "Part", "SoughtBuilder", "needles", "split", "texts"]

_MAGIC = b"cenotaph sought v1\n"
_NO_WORDS: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
_Words: TypeAlias = npt.NDArray[np.uint64]


class SoughtBuilder:
    """Collects values, and gives each once: what it has given it remembers."""

    def __init__(self, key: bytes, stores: Collection[str] = ()) -> None:
        """As `NeedleBuilder`."""
        self._made_for = key, stores
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._rest = NeedleBuilder(*self._made_for)
        self._numbers = {kind: Distinct() for kind in KINDS}

    def numbers(self, values: pa.Array, kind: str) -> tuple[npt.NDArray[np.uint64], pa.Array]:
        """Take the numbers among some values; give those that may be new, and the other values."""
        if kind == "blob" or not len(values):
            return _NO_WORDS, values
        return add_numbers(self._numbers[kind], values)

    def add(self, values: pa.Array | pa.ChunkedArray, kind: str) -> None:
        """As `NeedleBuilder.add`."""
        self._rest.add(values, kind)

    def take(self) -> bytes | None:
        """A part with what came since this was last asked, for the caller to encrypt; None for nothing."""
        rest = self._rest.take()
        numbers = [self._numbers[kind].fresh() for kind in KINDS]
        if not (rest.fingerprints or len(rest) or rest.skipped or any(map(len, numbers))):
            return None
        pieces = (piece for words in numbers for piece in (np.uint64(len(words)).tobytes(), words.tobytes()))
        return b"".join([_MAGIC, *pieces, rest.to_bytes()])

    @property
    def waiting(self) -> int:
        """How many values `take` would give, about."""
        return sum(numbers.waiting for numbers in self._numbers.values()) + self._rest.waiting

    @property
    def size(self) -> int:
        """How many values are remembered, at most."""
        return sum(numbers.size for numbers in self._numbers.values()) + self._rest.size


@dataclass(frozen=True, slots=True)
class Part:
    """What one partition has to be sought."""

    numbers: Sequence[_Words] = field(repr=False)  # by kind
    rest: Needles = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Part:
        """Raises `UsageError` for anything that `SoughtBuilder.finish` would not have written."""
        if not data.startswith(_MAGIC):
            raise UsageError("not a list of what is sought of this version, or a damaged one")
        numbers, at = [], len(_MAGIC)
        for _ in KINDS:
            count = int.from_bytes(data[at : at + 8], "little")
            if len(data) - at < 8 + 8 * count:
                raise UsageError("a list of what is sought that is shorter than it says")
            numbers.append(np.frombuffer(data, "<u8", count, at + 8).astype(np.uint64))
            if not are_words(numbers[-1]):
                raise UsageError("a list of what is sought that contradicts itself")
            at += 8 + 8 * count
        return cls(numbers, Needles.from_bytes(data[at:]))

    def each(self) -> Iterator[Needles | _Words]:
        """Its needles, and its numbers of each kind."""
        yield self.rest
        yield from self.numbers


def known(parts: Iterable[bytes], some: Needles) -> Needles:
    """Those of some needles that the parts have, whatever kind they were added as. One part is in memory at a
    time: of millions of values that are sought, nothing is made."""
    return some.among(shared for data in parts for shared in Part.from_bytes(data).each())


class KnownSought:
    """Which values are sought, and nothing to search for them with. `len` counts them."""

    def __init__(self, parts: Iterable[bytes], key: bytes) -> None:
        every = _Every(parts)
        self._rest = Known.of(key, (), every.rest)
        self._words = distinct(np.concatenate([_NO_WORDS, *(words for _, words in every.numbers())]))

    def __len__(self) -> int:
        return len(self._words) + len(self._rest)

    def contains(self, values: pa.Array, kind: str) -> npt.NDArray[np.bool_]:
        """Which of these values are sought, whatever kind they were added as. Nulls are not."""
        found = self._rest.contains(values, kind)
        return found | in_sorted(self._words, by_row(values))


def needles(parts: Iterable[bytes], key: bytes, stores: Collection[str] = ()) -> Needles:
    """What is searched for: the parts' numbers and needles."""
    every = _Every(parts)
    return NeedleBuilder(key, stores).of_numbers(every.numbers()).merge(every.rest)


class _Every:
    """Some parts together."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._numbers: dict[str, list[_Words]] = {kind: [] for kind in KINDS}
        self.rest: list[Needles] = []
        for data in parts:
            part = Part.from_bytes(data)
            self.rest.append(part.rest)
            for kind, words in zip(KINDS, part.numbers, strict=True):
                if len(words):
                    self._numbers[kind].append(words)

    def numbers(self) -> list[tuple[str, _Words]]:
        """Of each kind that has any, ascending, each once."""
        return [(kind, distinct(np.concatenate(given))) for kind, given in self._numbers.items() if given]
