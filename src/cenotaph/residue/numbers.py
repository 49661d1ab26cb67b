"""Numbers that are sought: millions at once, without a form of any of them in memory.

What surprised the author: the forms in which 15 million numbers may be written take 3.5 GB, and the numbers
120 MB. So it goes the other way round: wherever bytes can be read as a number, they are, and the number is
looked up. What is found is what a search for all forms would find (`cenotaph.residue.needles`):

- digits, in ASCII or UTF-16, as a part of longer ones too, of at least 6 characters, not all the same (in
  UTF-16 3 where the last is an X);
- integers of 2**32 and more, of eight bytes in either order, and of six as SQLite has them below 2**47;
- PostgreSQL's digits to the base 10,000, where a case has such a store (`postgres_forms`).

Zeros that a number begins with count where it is written in digits. In binary they do not, and of numbers
that differ by them alone the shortest is found.

A number here has at most 18 digits, the last of which may be an X. As a word: its digits behind a mark, 1, or
2 for an X and 3 for an x at the end, in whose place stands 0.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph import kernel

MOST_DIGITS = 18
AT_A_TIME = 1 << 20  # numbers that wait to be sorted
LARGEST = 4 * 10**MOST_DIGITS  # every word is below it
POWERS = 10 ** np.arange(MOST_DIGITS + 1, dtype=np.uint64)
UTF8, LITTLE, BIG, INT64LE, INT64BE, INT48BE, NUMERICLE, NUMERICBE = 0, 1, 2, 4, 5, 6, 8, 9

_SHAPE = rf"^(?:[0-9]{{1,{MOST_DIGITS}}}|[0-9]{{1,{MOST_DIGITS - 1}}}[Xx])$"
_FOLDED = _SHAPE.replace("^", r"^[ \t-\r]*").replace("$", r"[ \t-\r]*$")
_MARKS = {"X": "2", "x": "3"}
_LEAST, _LEAST_CROSSED = 6, 3  # characters: of text, and of what ends in X in UTF-16
_TELLING = 1 << 32  # of an integer: few significant bytes are everywhere
_HIGHEST48 = 1 << 47
_GROUPS, _FEW_GROUPS = 5, 3  # digits to the base 10,000: at most, and fewer than four have two bytes before
_FULL = 5
_SAMPLE = 4096
_RANGE = 8  # of what is in a range of digits costs so much less than what is one of them
_A_LINE = 8  # numbers a word of the filter
_FEWEST_SLOTS = 1 << 10
_PIECE = 1 << 15

_Words: TypeAlias = npt.NDArray[np.uint64]
_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_NO_WORDS: _Words = np.zeros(0, np.uint64)
_NO_INTS: _Ints = np.zeros(0, np.int64)
_NO_BYTES: _Bytes = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Found:
    """Where numbers begin, in order; how long they are, in which encoding, and which."""

    start: _Ints
    length: _Ints
    encoding: _Bytes
    number: _Ints


NOTHING = Found(_NO_INTS, _NO_INTS, _NO_BYTES, _NO_INTS)


def split(values: pa.Array, *, fold: bool = False) -> tuple[_Words, pa.Array]:
    """The numbers among some values, as words, and the values that are none; nulls are neither.

    With `fold`, values are taken without the white space around them and in capitals, as far as ASCII has
    them; the others come as they are.
    """
    words, others = _told(values, fold)
    return words[words > 0], others


def _told(values: pa.Array, fold: bool) -> tuple[_Words, pa.Array]:
    """As `split`, with zeros among the words."""
    by = kernel.found()
    if by is None or not kernel.has_values(values.type):
        return _split(values, fold)
    words, there = by.numbers(values, fold=fold)
    is_other = there == kernel.OTHER
    if not is_other.any():
        return words, values.slice(0, 0)
    return words, values.take(pa.array(np.flatnonzero(is_other)))


def add_numbers(to: Distinct, values: pa.Array, *, fold: bool = False) -> tuple[_Words, pa.Array]:
    """Take the numbers among some values, as `split` tells them; give those that may be new, and the rest."""
    words, others = _told(values, fold)
    return to.add(words), others


def folded(words: _Words) -> _Words:
    """Numbers as `split` gives them with `fold`: an X at the end is one in either case."""
    words = words[words > 0]
    power = POWERS[np.maximum(np.searchsorted(POWERS, words, "right") - 1, 0)]
    return np.where(words // power == 3, words - power, words)


def by_row(values: pa.Array) -> _Words:
    """The word of each value; 0 for one that is no number."""
    by = kernel.found()
    if by is not None and kernel.has_values(values.type):
        return by.numbers(values)[0]
    found = (split(values.slice(row, 1))[0] for row in range(len(values)))
    return np.array([word[0] if len(word) else 0 for word in found], np.uint64)


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


def are_words(words: _Words) -> bool:
    """Whether these are words of numbers, ascending, each once."""
    if not (words[1:] > words[:-1]).all():
        return False
    tens = POWERS[1:]
    plain = np.searchsorted(words, np.stack([tens, 2 * tens]))
    crossed = np.searchsorted(words, np.stack([2 * tens[1:], 4 * tens[1:]]))
    told = sum(int((end - first).sum()) for first, end in (plain, crossed))
    return told == len(words) and not any((words[first:end] % 10).any() for first, end in crossed.T)


def distinct(words: _Words) -> _Words:
    """Ascending, each once. Sorting takes a tenth of the time that `numpy.unique` takes, which hashes."""
    words = np.sort(words)
    new = np.ones(len(words), np.bool_)
    np.not_equal(words[1:], words[:-1], out=new[1:])
    return words if new.all() else words[new]


def in_sorted(known: _Words, words: _Words) -> npt.NDArray[np.bool_]:
    """Which of these words are among those, which ascend."""
    if not len(known):
        return np.zeros(len(words), np.bool_)
    return np.equal(known[np.minimum(np.searchsorted(known, words), len(known) - 1)], words)


class Distinct:
    """Words, each once; 0 is none. `len` counts them.

    In a table of the kernel's where there is one, two fifths to four fifths full; else sorted, against which
    the table is tested.
    """

    def __init__(self) -> None:
        self._fresh: list[_Words] = []
        self._fresh_size = 0
        self._table = _Table(found) if (found := kernel.found()) is not None else None
        self._settled, self._waiting = _NO_WORDS, _NO_WORDS

    def add(self, words: _Words) -> _Words:
        """Take some words; give those that may be new."""
        if self._table is not None:
            fresh = [self._table.add(words[at : at + AT_A_TIME]) for at in range(0, len(words), AT_A_TIME)]
            for some in fresh:
                self._keep(some)
            return fresh[0] if len(fresh) == 1 else np.concatenate([_NO_WORDS, *fresh])
        self._waiting = np.concatenate([self._waiting, words])
        if len(self._waiting) > max(AT_A_TIME, len(self._settled)):
            self._settle()
        return words

    def __len__(self) -> int:
        self._settle()
        return len(self._settled) if self._table is None else self._table.count

    def words(self) -> _Words:
        """All of them, ascending."""
        self._settle()
        return self._settled if self._table is None else self._table.words()

    def fresh(self) -> _Words:
        """Those that are new since this was last asked, ascending."""
        self._settle()
        fresh = np.sort(np.concatenate([_NO_WORDS, *self._fresh]))
        self._fresh, self._fresh_size = [], 0
        return fresh

    @property
    def waiting(self) -> int:
        """How many `fresh` would give, at most."""
        return self._fresh_size + len(self._waiting)

    @property
    def size(self) -> int:
        """How many there are, at most; `len` may have to sort them."""
        return len(self._settled) + len(self._waiting) if self._table is None else self._table.count

    def _keep(self, fresh: _Words) -> None:
        if len(fresh):
            self._fresh.append(fresh)
            self._fresh_size += len(fresh)

    def _settle(self) -> None:
        if len(self._waiting):
            words = distinct(self._waiting)
            words = words[(words > 0) & ~in_sorted(self._settled, words)]
            self._keep(words)
            self._settled = np.sort(np.concatenate([self._settled, words]))
            self._waiting = _NO_WORDS


class _Table:
    """Words in slots, for the kernel."""

    def __init__(self, by: kernel.Kernel) -> None:
        self._by = by
        self._secret = secrets.randbits(64)
        self._slots = np.zeros(_FEWEST_SLOTS, np.uint64)
        self._scratch = np.empty(0, np.uint64)
        self.count = 0

    def add(self, words: _Words) -> _Words:
        """Those that were not there."""
        while 5 * (self.count + len(words)) > 4 * len(self._slots):
            old, self._slots = self._slots, np.zeros(2 * len(self._slots), np.uint64)
            self._by.distinct(old, self._secret, self._slots, None)
        if len(self._scratch) < len(words):
            self._scratch = np.empty(len(words), np.uint64)
        made = self._by.distinct(np.ascontiguousarray(words), self._secret, self._slots, self._scratch)
        self.count += made
        return self._scratch[:made].copy()

    def words(self) -> _Words:
        return np.sort(self._slots[self._slots > 0])


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers to be sought, each with a kind. `first` and `second` are odd and secret: they hash."""

    words: _Words = field(repr=False)  # ascending, each once
    kinds: _Bytes = field(repr=False)
    first: int = field(repr=False)
    second: int = field(repr=False)
    postgres: bool  # in PostgreSQL's own digits, too

    def __len__(self) -> int:
        return len(self.words)

    def has(self, words: _Words) -> npt.NDArray[np.bool_]:
        """Which of these words are among the numbers."""
        if not len(self.words):
            return np.zeros(len(words), np.bool_)
        by = kernel.found()
        if by is not None:
            return np.asarray(by.look_up(self._index, words) >= 0)
        return in_sorted(self.words, words)

    def hashed(self, words: _Words) -> _Words:
        """Keyed: each word has another, and who lacks the key cannot tell which."""
        mixed = words * np.uint64(self.first)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(self.second)
        mixed ^= mixed >> np.uint64(29)
        return mixed

    @property
    def longest(self) -> int:
        """Bytes of the longest form."""
        return 2 * MOST_DIGITS if len(self) else 0

    @property
    def skipped(self) -> Counter[int]:
        """By encoding, how many are not sought in it because it says too little."""
        few: Counter[int] = Counter()
        for mark in (1, 2, 3):
            for n in range(1, MOST_DIGITS + 1):
                few += _few(self._of(mark, n), mark, n, self.postgres)
        return few

    def find(self, data: _Bytes, core: int, lead: int = 0) -> Found:
        """Numbers that begin at `lead` or later, before `core`, and lie wholly in `data`."""
        if not len(self.words) or core <= lead or len(data) < _LEAST:
            return NOTHING
        by = kernel.found()
        if by is None:
            return _once(*_Reference(self, data, core, lead).found())
        parts = list(by.find_numbers(self._index, data, core, lead))
        starts, ordinals, lengths, encodings = (np.concatenate(column) for column in zip(*parts, strict=True))
        return _once(starts, lengths.astype(np.int64), encodings, self._ordered[0][ordinals].astype(np.int64))

    # --- what a search needs to know of them, made at the first

    def _of(self, mark: int, digits: int) -> _Words:
        """Numbers of so many digits behind a mark, without it; ascending."""
        low = mark * POWERS[digits]
        begin, end = np.searchsorted(self.words, np.array([low, low + POWERS[digits]], np.uint64))
        return np.asarray(self.words[begin:end] - low, np.uint64)

    @cached_property
    def lengths(self) -> dict[int, tuple[int, ...]]:
        """By mark, how many digits there are."""
        return {
            mark: tuple(n for n in range(1, MOST_DIGITS + 1) if len(self._of(mark, n))) for mark in (1, 2, 3)
        }

    @cached_property
    def padded(self) -> frozenset[int]:
        """Lengths of which some number begins with a zero."""
        return frozenset(n for n in self.lengths[1] if self._of(1, n)[0] < POWERS[n - 1])

    @cached_property
    def _ordered(self) -> tuple[npt.NDArray[np.uint32], _Words]:
        """Which number each hash is of, as they ascend, and the hashes."""
        return _in_order(np.concatenate([_NO_WORDS, *map(self.hashed, _in_pieces(self.words))]))

    @cached_property
    def _index(self) -> kernel.Index:
        _, hashed = self._ordered
        filter_bits = max(1, (len(hashed) // _A_LINE).bit_length())
        begin_bits = max(1, (len(hashed) // 4).bit_length())
        first_bits = (hashed >> np.uint64(64 - begin_bits)).view(np.int64)
        begin = np.zeros((1 << begin_bits) + 1, np.uint32)
        np.cumsum(np.bincount(first_bits, minlength=1 << begin_bits), out=begin[1:])
        tells, near, group = self._tells()
        lowest, highest, places = self._tops()
        return kernel.Index(
            filter=_filter(hashed, filter_bits),
            hashed=hashed,
            begin=begin,
            tells=tells,
            near=near,
            group=group,
            lowest=lowest,
            highest=highest,
            places=places,
            first=self.first,
            second=self.second,
            filter_shift=64 - filter_bits,
            begin_shift=64 - begin_bits,
            plain=sum(1 << n for n in self.lengths[1]),
            large_x=sum(1 << n for n in self.lengths[2]),
            small_x=sum(1 << n for n in self.lengths[3]),
            padded=sum(1 << n for n in self.padded),
            postgres=self.postgres,
        )

    def _tells(self) -> tuple[_Bytes, _Bytes, _Bytes]:
        """By how many digits, which four digits numbers have at the place that tells most: a date of birth,
        or a prefix; likewise, with their neighbours; and what that place is."""
        tells = np.zeros((MOST_DIGITS + 1, 1250), np.uint8)
        near = np.full((MOST_DIGITS + 1, 1256), 255, np.uint8)
        group = np.zeros(MOST_DIGITS + 1, np.uint8)
        for n in self.lengths[1]:
            if n < _LEAST:
                continue
            values = self._of(1, n)
            some = values[:: max(1, len(values) // _SAMPLE)]
            at = min(range(n - 4), key=lambda at: _passing(_four(some, n, at)))
            there = np.zeros(10_000, np.bool_)
            there[_four(values, n, at)] = True
            tells[n], group[n] = np.packbits(there, bitorder="little"), at
            there |= np.roll(there, 1) | np.roll(there, -1)
            near[n, :1250] = np.packbits(there, bitorder="little")
        return tells, near, group

    def _tops(self) -> tuple[_Bytes, _Bytes, npt.NDArray[np.uint32]]:
        """Of integers, by the place of the highest byte that is not zero: the least it is, the most, and how
        many digits such numbers have, a bit for each."""
        lowest, highest, lengths = np.full(8, 255, np.uint8), np.zeros(8, np.uint8), np.zeros(8, np.uint32)
        for n in self.lengths[1]:
            values = self._of(1, n)
            for place in range(4, 8):
                edges = (min(1 << 8 * (place + more), LARGEST) for more in (0, 1))
                begin, end = (int(np.searchsorted(values, np.uint64(edge))) for edge in edges)
                if begin < end:
                    lengths[place] |= np.uint32(1 << n)
                    lowest[place] = min(int(lowest[place]), int(values[begin]) >> 8 * place)
                    highest[place] = max(int(highest[place]), int(values[end - 1]) >> 8 * place)
        return lowest, highest, lengths


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


def _filter(hashed: _Words, bits: int) -> _Words:
    """Four bits for each of the hashes, which ascend, in the word that its upper bits say."""
    marks = np.concatenate([_NO_WORDS, *map(_marked, _in_pieces(hashed))])
    rows = (hashed >> np.uint64(64 - bits)).view(np.int64)
    new = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    made = np.zeros(1 << bits, np.uint64)
    made[rows[new]] = np.bitwise_or.reduceat(marks, new)
    return made


def _marked(hashed: _Words) -> _Words:
    marks = np.zeros(len(hashed), np.uint64)
    for shift in (0, 6, 12, 18):
        marks |= np.uint64(1) << (hashed >> np.uint64(shift) & np.uint64(63))
    return marks


def _in_order(hashed: _Words) -> tuple[npt.NDArray[np.uint32], _Words]:
    """Where each comes from, and them, ascending. Their upper bits decide nearly always, and are sorted with
    their places in the lower ones: a tenth of the time of sorting places by what lies there."""
    places = np.uint64((1 << len(hashed).bit_length()) - 1)
    keys = np.sort(hashed & ~places | np.arange(len(hashed), dtype=np.uint64))
    order = (keys & places).astype(np.uint32)
    ordered = hashed[order]
    if (ordered[1:] < ordered[:-1]).any():
        again = np.argsort(ordered, kind="stable")  # quick, of what is nearly sorted
        order, ordered = order[again], ordered[again]
    return order, ordered


def _in_pieces(words: _Words) -> Iterator[_Words]:
    """What stays in a core's cache while several things are done to it."""
    return (words[at : at + _PIECE] for at in range(0, len(words), _PIECE))


def _four(values: _Words, digits: int, at: int) -> _Ints:
    """The four digits of each number behind the first `at`."""
    return np.asarray(values // POWERS[digits - 4 - at] % np.uint64(10_000), np.int64)


def _passing(groups: _Ints) -> float:
    """What digits that tell nothing cost: nearly all are told by the range of these, others one at a time."""
    return len(np.unique(groups)) + float(np.ptp(groups)) / _RANGE


def _few(values: _Words, mark: int, n: int, postgres: bool) -> Counter[int]:
    """Of numbers of one length, how many say too little, by encoding."""
    same = mark == 1 and values % np.uint64(int("1" * n)) == 0
    count = len(values)
    alike = int(np.count_nonzero(same))
    short = n < (_LEAST if mark == 1 else _LEAST_CROSSED)
    few = Counter({UTF8: count if n < _LEAST else alike, LITTLE: count if short else alike})
    few[BIG] = few[LITTLE]
    if mark == 1:
        small = int(np.count_nonzero(values < _TELLING))
        few.update({INT64LE: small, INT64BE: small, INT48BE: small})
        if postgres:
            for encoding, says in zip((NUMERICLE, NUMERICBE), _numeric_says(values), strict=True):
                few[encoding] += count - int(np.count_nonzero(says))
    return few


def _numeric_says(values: _Words) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether PostgreSQL's form of each number says enough, little-endian and big-endian."""
    base = np.uint64(10_000)
    digits = [values // base ** np.uint64(nth) % base for nth in range(_GROUPS)]
    groups = np.zeros(len(values), np.int64)
    behind = np.full(len(values), _GROUPS, np.int64)  # digits that are left out
    filled = np.zeros(len(values), np.int64)
    for nth, digit in enumerate(digits):
        groups[digit > 0] = nth + 1
        behind[(digit > 0) & (behind == _GROUPS)] = nth
        filled += (digit & np.uint64(255) > 0).astype(np.int64) + (digit >> np.uint64(8) > 0)
    written = groups - behind
    enough = written >= _FEW_GROUPS
    headed = 2 * (written == _FEW_GROUPS)  # the place of the point, never zero, and a mark
    return enough & (filled + headed >= _FULL), enough & (filled >= _FULL)


def _once(start: _Ints, length: _Ints, encoding: _Bytes, number: _Ints) -> Found:
    """In order, and each place once."""
    key = start << 16 | length << 8 | encoding
    if not (key[1:] > key[:-1]).all():
        order = np.argsort(key, kind="stable")
        key = key[order] >> 8
        new = np.ones(len(key), np.bool_)
        new[1:] = key[1:] != key[:-1]
        order = order[new]
        return Found(start[order], length[order], encoding[order], number[order])
    return Found(start, length, encoding, number)


class _Reference:
    """The search without a kernel: every place is read in every way."""

    def __init__(self, numbers: Numbers, data: _Bytes, core: int, lead: int) -> None:
        self._numbers, self._data, self._core, self._lead = numbers, data, core, lead
        self._parts: list[tuple[_Ints, _Ints, _Bytes, _Ints]] = []

    def found(self) -> tuple[_Ints, _Ints, _Bytes, _Ints]:
        """Starts, lengths, encodings and ordinals, in no order; of some places several."""
        self._written()
        self._wide()
        self._integers()
        if self._numbers.postgres:
            self._numerics()
        empty = (_NO_INTS, _NO_INTS, _NO_BYTES, _NO_INTS)
        start, length, encoding, number = zip(empty, *self._parts, strict=True)
        return (
            np.concatenate(start),
            np.concatenate(length),
            np.concatenate(encoding),
            np.concatenate(number),
        )

    def _look_up(self, start: _Ints, words: _Words, length: int, encoding: int) -> None:
        known = self._numbers.words
        row = np.minimum(np.searchsorted(known, words), len(known) - 1)
        hit = (known[row] == words) & self._inside(start, length)
        row, start = row[hit], start[hit]
        self._parts.append((start, np.full_like(start, length), np.full(len(start), encoding, np.uint8), row))

    def _inside(self, start: _Ints, length: int) -> npt.NDArray[np.bool_]:
        return (start >= self._lead) & (start < self._core) & (start + length <= len(self._data))

    # --- written in digits

    def _windows(self, text: _Bytes) -> Iterator[tuple[int, _Ints, _Words]]:
        """Rows of characters that may be a number: how many, where, and the number as a word."""
        digit = (text - np.uint8(48)) < 10
        before = np.concatenate([[0], np.cumsum(digit)])
        for mark, letter in ((1, 0), (2, ord("X")), (3, ord("x"))):
            for n in self._numbers.lengths[mark]:
                digits = n - (mark > 1)
                at = (
                    np.flatnonzero(before[digits:] - before[:-digits] == digits)
                    if digits < len(before)
                    else _NO_INTS
                )
                if mark > 1:
                    at = at[at + digits < len(text)]
                    at = at[text[at + digits] == letter]
                read = text[at[:, None] + np.arange(digits)] - np.uint8(48)
                if mark == 1:
                    some = (read != read[:, :1]).any(axis=1)
                    at, read = at[some], read[some]
                value = read.astype(np.uint64) @ POWERS[:n][::-1][:digits]
                yield n, at, value + mark * POWERS[n]

    def _written(self) -> None:
        for n, at, words in self._windows(self._data):
            if n >= _LEAST:
                self._look_up(at, words, n, UTF8)

    def _wide(self) -> None:
        """Between ASCII in UTF-16 lie zeros: of what reads in both orders of bytes, that at an even place."""
        for parity in (0, 1):
            text = self._data[parity::2]
            zero = np.zeros(len(text) + 2, np.bool_)  # by character: whether the byte before it is zero
            before = self._data[1 - parity :: 2] == 0
            zero[1 - parity :][: len(before)] = before
            between = np.where(zero[1 : len(text) + 1], text, 0).astype(np.uint8)
            for n, at, words in self._ends(text, between):
                if n < _LEAST_CROSSED or (n < _LEAST and (words < 2 * POWERS[n]).any()):
                    continue
                start = 2 * at + parity
                little = zero[at + n] & self._inside(start, 2 * n)
                big = zero[at] & self._inside(start - 1, 2 * n) & (start > 0)
                both = little & big
                little &= ~(both & (parity == 1))
                big &= ~(both & (parity == 0))
                self._look_up(start[little], words[little], 2 * n, LITTLE)
                self._look_up(start[big] - 1, words[big], 2 * n, BIG)

    def _ends(self, text: _Bytes, between: _Bytes) -> Iterator[tuple[int, _Ints, _Words]]:
        """As `_windows`, with zeros between characters, and whatever behind the last."""
        for n, at, words in self._windows(text):
            whole = np.concatenate([[0], np.cumsum(between != 0)])
            joined = whole[at + n - 1] - whole[at] == n - 1
            yield n, at[joined], words[joined]

    # --- written in binary

    def _values(self, start: _Ints, values: _Words, length: int, encoding: int) -> None:
        """Look up the first number of each value: with zeros before it, there may be several."""
        for n in self._numbers.lengths[1]:
            some = values < POWERS[n]
            if n not in self._numbers.padded:
                some &= values >= POWERS[n - 1]
            self._look_up(start[some], values[some] + POWERS[n], length, encoding)

    def _integers(self) -> None:
        for width, order, encoding in ((8, "<", INT64LE), (8, ">", INT64BE), (6, ">", INT48BE)):
            count = len(self._data) - width + 1
            if count <= 0:
                continue
            padded = np.concatenate([np.zeros(8 - width, np.uint8), self._data])
            words = np.ndarray((count,), f"{order}u8", padded, strides=(1,)).astype(np.uint64)
            if width == 6:
                words &= np.uint64((1 << 48) - 1)
            most = _HIGHEST48 if width == 6 else LARGEST
            at = np.flatnonzero((words >= _TELLING) & (words < most))
            self._values(at, words[at], width, encoding)

    def _numerics(self) -> None:
        for order, encoding in (("<", NUMERICLE), (">", NUMERICBE)):
            for written in range(_FEW_GROUPS, _GROUPS + 1):
                self._numeric(order, encoding, written, 2 if written == _FEW_GROUPS else 0)

    def _numeric(self, order: str, encoding: int, written: int, header: int) -> None:
        data, length = self._data, header + 2 * written
        count = len(data) - length + 1
        if count <= 0:
            return
        pairs = np.ndarray((len(data) - 1,), f"{order}u2", np.ascontiguousarray(data), strides=(1,))
        digits = [pairs[header + 2 * nth :][:count].astype(np.uint64) for nth in range(written)]
        good = (digits[0] > 0) & (digits[-1] > 0) & np.all([digit < 10_000 for digit in digits], axis=0)
        filled = sum((data[nth : nth + count] != 0).astype(np.int64) for nth in range(length))
        at = np.flatnonzero(good & (filled >= _FULL))
        value = sum(
            (digit[at] * np.uint64(10_000 ** (written - 1 - nth)) for nth, digit in enumerate(digits)),
            np.zeros(len(at), np.uint64),
        )
        for left_out in range(_GROUPS + 1 - written):
            some = value < POWERS[MOST_DIGITS] // np.uint64(10_000**left_out)
            if header and encoding == NUMERICLE:
                some &= (data[at] == written + left_out - 1) & (data[at + 1] == 0x80)
            elif header:
                some &= (data[at] == 0) & (data[at + 1] == 0)
            self._values(at[some], value[some] * np.uint64(10_000**left_out), length, encoding)
