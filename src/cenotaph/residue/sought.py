"""What is sought, from the values of a partition to the needles of a case.

What surprised the author: making the forms of a value costs ten times as much as reading its record, and a
billion records have the same few million people in them. Forms can as well be made when somebody searches,
which needs the value; and a number is there anyway: eight bytes of its forms, hashed so that a search can
test every place of a disk, are found again in 2**26 steps by whoever holds the key. So numbers (of identity
cards, telephones, accounts) are kept as they are, eight bytes each; of all other values only the needles are,
as ever (docs/adr/0015-numbers-are-sought-as-they-are.md).

What a number is, and how it is one word, is in `numbers`.

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
from cenotaph.residue.numbers import AT_A_TIME, Distinct, are_words, split, texts

__all__ = ["Distinct", "Part", "SoughtBuilder", "known", "needles", "split", "texts"]

_MAGIC = b"cenotaph sought v1\n"
_Words: TypeAlias = npt.NDArray[np.uint64]


class SoughtBuilder:
    """Collects the values of a partition, and keeps each once."""

    def __init__(self, key: bytes, stores: Collection[str] = ()) -> None:
        """As `NeedleBuilder`."""
        self._rest = NeedleBuilder(key, stores)
        self._numbers = {kind: Distinct() for kind in KINDS}

    def numbers(self, values: pa.Array, kind: str) -> pa.Array:
        """Take the numbers among some values, and give the others."""
        if kind == "blob" or not len(values):
            return values
        words, others = split(values)
        self._numbers[kind].add(words)
        return others

    def add(self, values: pa.Array | pa.ChunkedArray, kind: str) -> None:
        """As `NeedleBuilder.add`."""
        self._rest.add(values, kind)

    def finish(self) -> bytes:
        """A part, for the caller to encrypt."""
        numbers = (self._numbers[kind].words() for kind in KINDS)
        pieces = [piece for words in numbers for piece in (np.uint64(len(words)).tobytes(), words.tobytes())]
        return b"".join([_MAGIC, *pieces, self._rest.finish().to_bytes()])


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


def known(parts: Iterable[bytes], key: bytes) -> Known:
    """Which values are sought, without what it takes to search for them."""
    every = _Every(parts)
    return Known.of(key, (texts(words) for _, words in every.numbers()), every.rest)


def needles(parts: Iterable[bytes], key: bytes, stores: Collection[str] = ()) -> Needles:
    """What is searched for: the parts' numbers and needles."""
    every = _Every(parts)
    builder = NeedleBuilder(key, stores)
    for kind, words in every.numbers():
        builder.add_numbers(words, kind)
    return builder.finish().merge(every.rest)


class _Every:
    """Some parts together."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._numbers = {kind: Distinct() for kind in KINDS}
        self.rest: list[Needles] = []
        for data in parts:
            part = Part.from_bytes(data)
            self.rest.append(part.rest)
            for kind, words in zip(KINDS, part.numbers, strict=True):
                self._numbers[kind].add(words)

    def numbers(self) -> Iterator[tuple[str, _Words]]:
        for kind in KINDS:
            words = self._numbers[kind].words()
            for at in range(0, len(words), AT_A_TIME):
                yield kind, words[at : at + AT_A_TIME]
