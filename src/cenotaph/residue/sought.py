"""What is sought, from the values of a partition to the needles of a case.

What surprised the author: making the forms of a value costs ten times as much as reading its record, and a
billion records have the same few million people in them. Forms can as well be made when somebody searches,
which needs the value; and a number is there anyway: eight bytes of its forms, hashed so that a search can
test every place of a disk, are found again in 2**26 steps by whoever holds the key. So numbers (of identity
cards, telephones, accounts) are kept as they are, eight bytes each; of all other values only the needles are,
as ever (docs/adr/0015-numbers-are-sought-as-they-are.md).

A number here has at most 18 digits, the last of which may be an X. As a word: its digits behind a mark, 1, or
2 for an X and 3 for an x at the end, in whose place stands 0.

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
import pyarrow.compute as pc

from cenotaph import kernel
from cenotaph.errors import UsageError
from cenotaph.residue.needles import KINDS, Known, NeedleBuilder, Needles, distinct

MOST_DIGITS = 18
AT_A_TIME = 1 << 20  # numbers that wait to be sorted

_MAGIC = b"cenotaph sought v1\n"
_LARGEST = 4 * 10**MOST_DIGITS  # every word is below it
_POWERS = 10 ** np.arange(1, MOST_DIGITS + 1, dtype=np.uint64)
_SHAPE = rf"^(?:[0-9]{{1,{MOST_DIGITS}}}|[0-9]{{1,{MOST_DIGITS - 1}}}[Xx])$"
_FOLDED = _SHAPE.replace("^", r"^[ \t-\r]*").replace("$", r"[ \t-\r]*$")
_MARKS = {"X": "2", "x": "3"}

_Words: TypeAlias = npt.NDArray[np.uint64]
_NO_WORDS: _Words = np.zeros(0, np.uint64)


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


def split(values: pa.Array, *, fold: bool = False) -> tuple[_Words, pa.Array]:
    """The numbers among some values, as words, and the values that are none; nulls are neither.

    With `fold`, values are taken without the white space around them and in capitals, as far as ASCII has
    them; the others come as they are.
    """
    by = kernel.found()
    if by is None or not kernel.has_values(values.type):
        return _split(values, fold)
    words, there = by.numbers(values, fold=fold)
    is_number = there == kernel.NUMBER
    if is_number.all():
        return words, values.slice(0, 0)
    return words[is_number], values.take(pa.array(np.flatnonzero(there == kernel.OTHER)))


def texts(words: _Words) -> pa.Array:
    """The numbers as they are written."""
    written = pa.array(words).cast(pa.string())
    digits = pc.utf8_slice_codeunits(written, 1)
    for letter, mark in _MARKS.items():
        marked = pc.starts_with(written, mark)
        if marked.true_count:
            replaced = pc.utf8_replace_slice(digits, -1, MOST_DIGITS + 1, letter)
            digits = pc.if_else(marked, replaced, digits)
    return digits


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
            _check(numbers[-1])
            at += 8 + 8 * count
        return cls(numbers, Needles.from_bytes(data[at:]))


def known(parts: Iterable[bytes], key: bytes) -> Known:
    """Which values are sought, without what it takes to search for them."""
    every = _Every(parts)
    return Known.of(key, (texts(words) for _, words in every.numbers()), every.rest)


def needles(parts: Iterable[bytes], key: bytes, stores: Collection[str] = ()) -> Needles:
    """What is searched for: the parts' needles, and the forms of their numbers."""
    every = _Every(parts)
    builder = NeedleBuilder(key, stores)
    for kind, words in every.numbers():
        builder.add(texts(words), kind)
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


class Distinct:
    """Words, sorted, each once. `len` counts them."""

    def __init__(self) -> None:
        self._settled = _NO_WORDS
        self._waiting: list[_Words] = []
        self._size = 0

    def add(self, words: _Words) -> None:
        self._waiting.append(words)
        self._size += len(words)
        if self._size > max(AT_A_TIME, len(self._settled)):
            self.words()

    def __len__(self) -> int:
        return len(self.words())

    def words(self) -> _Words:
        if self._waiting:
            self._settled = distinct(np.concatenate([self._settled, *self._waiting]))
            self._waiting, self._size = [], 0
        return self._settled


def _split(values: pa.Array, fold: bool) -> tuple[_Words, pa.Array]:
    """What `split` gives, without the kernel."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    text = _as_written(values)
    if text is None:
        return _NO_WORDS, values
    is_number = pc.match_substring_regex(text, _FOLDED if fold else _SHAPE)
    found = text.filter(is_number).cast(pa.string())
    if fold:
        found = pc.ascii_upper(pc.ascii_trim_whitespace(found))
    last = pc.utf8_slice_codeunits(found, -1)
    marks = pa.array(["1"] * len(found), pa.string())
    for letter, mark in _MARKS.items():
        marked = pc.equal(last, letter)
        if marked.true_count:
            marks = pc.if_else(marked, mark, marks)
            found = pc.if_else(marked, pc.utf8_replace_slice(found, -1, MOST_DIGITS + 1, "0"), found)
    words = pc.binary_join_element_wise(marks, found, "").cast(pa.uint64()).to_numpy(zero_copy_only=False)
    other = pc.and_(pc.invert(is_number), pc.greater(pc.binary_length(text), 0))
    rest = values if pa.types.is_integer(values.type) else text  # there is no filter of views
    return words, rest.filter(pc.fill_null(other, False))


def _as_written(values: pa.Array) -> pa.Array | None:
    """As text or bytes of any length; None for types that no needle is made of."""
    types, kind = pa.types, values.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        return values
    if types.is_integer(kind) or types.is_string_view(kind):
        return values.cast(pa.string())
    if types.is_binary(kind) or types.is_fixed_size_binary(kind) or types.is_binary_view(kind):
        return values.cast(pa.binary())
    return None


def _check(words: _Words) -> None:
    power = _POWERS[np.maximum(np.searchsorted(_POWERS, words, "right") - 1, 0)]
    marks, last = words // power, words % np.uint64(10)
    sound = (
        bool((words[1:] > words[:-1]).all())
        and bool(((words >= 10) & (words < _LARGEST)).all())
        and bool(((marks == 1) | ((marks <= 3) & (last == 0) & (words >= 100))).all())
    )
    if not sound:
        raise UsageError("a list of what is sought that contradicts itself")
