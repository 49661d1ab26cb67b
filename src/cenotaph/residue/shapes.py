"""People whom no seal knows: bytes shaped as a Chinese identity number or mobile number.

Rows deleted years ago, and copies nobody declared, are not among the needles. They are searched by shape:
18-character resident identity numbers (GB 11643-1999: region, birth date, sequence, ISO 7064 MOD 11-2 check
character) and 11-digit mobile numbers (1[3-9], also behind 86), neither inside a longer run of digits.

A shape is not a person: one run of 18 random digits in some 45,000 passes for an identity number, and any
11 digits that begin with 13 to 19 pass for a mobile. Counts by shape are reported as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph import kernel
from cenotaph.residue.needles import ENCODINGS, LABELS, SHAPES, Matches, Needles, joined
from cenotaph.residue.numbers import POWERS

IDENTITY, MOBILE = SHAPES

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Flags: TypeAlias = npt.NDArray[np.bool_]

_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], dtype=np.int64)
_CHECK = np.frombuffer(b"10X98765432", dtype=np.uint8)  # by the weighted sum modulo 11
_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_PROVINCES = np.zeros(100, dtype=bool)  # GB/T 2260, first two digits
_PROVINCES[[*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55)]] = True
_PROVINCES[[*range(61, 66), 71, 81, 82, 83]] = True
# Eleven digits cover two words that lie at multiples of four bytes, and of few other bytes these say as much.
_WORDS = (
    (np.uint32(0xF0F0F0F0), np.uint32(0x30303030), 1, 0, "utf-8"),
    (np.uint32(0xFFF0FFF0), np.uint32(0x00300030), 2, 0, "utf-16le"),
    (np.uint32(0xF0FFF0FF), np.uint32(0x30003000), 2, 1, "utf-16le"),
)
_IDENTITY, _MOBILE = 18, 11  # characters
_UTF16 = ENCODINGS.index("utf-16le")
_NONE: _Ints = np.zeros(0, dtype=np.int64)
_Columns: TypeAlias = tuple[npt.NDArray[Any], ...]
_NOTHING: _Columns = (_NONE, np.zeros(0, np.uint64), np.zeros(0, np.uint8), np.zeros(0, np.uint8))


class Shapes:
    """A finder for `scan`: what looks like a person and is not among the known needles.

    `Matches.what`, and so `Findings.residue` and `.kept`, are keyed fingerprints of the distinct values.
    """

    longest = 40  # bytes: 18 characters in UTF-16, and a look at what follows

    def __init__(self, known: Needles) -> None:
        """`known` gives the key, and what not to count."""
        self._known = known

    def find(self, data: _Bytes, core: int, lead: int = 0) -> Matches:
        """Shapes that begin at `lead` or later, before `core`; the bytes around them are looked at."""
        by = kernel.found()
        parts = [_NOTHING, *(by.find_shapes(data, core, lead) if by else _find(data, core, lead))]
        start, words, length, encoding = (np.concatenate(column) for column in zip(*parts, strict=True))
        fresh = ~self._known.numbers.has(words)
        words, length, encoding = words[fresh], length[fresh], encoding[fresh]
        mobile = length == np.where(encoding == _UTF16, 2 * _MOBILE, _MOBILE)
        return Matches(
            start[fresh],
            length.astype(np.int64),
            encoding,
            np.where(mobile, LABELS.index(MOBILE), LABELS.index(IDENTITY)).astype(np.uint8),
            self._known.numbers.hashed(words).view(np.int64) | np.iinfo(np.int64).min,
        )


class Together:
    """Needles and shapes in one pass over the bytes. In `Matches.what` shapes lie below zero."""

    def __init__(self, needles: Needles) -> None:
        self._finders = (needles, Shapes(needles))
        self.longest = max(needles.longest, Shapes.longest)

    def find(self, data: _Bytes, core: int, lead: int = 0) -> Matches:
        """What either of the two finds."""
        return joined([finder.find(data, core, lead) for finder in self._finders])


def _find(data: _Bytes, core: int, lead: int) -> Iterator[_Columns]:
    """Starts, words, lengths and encodings of all shapes, without the kernel."""
    words = data[: len(data) // 4 * 4].view(np.uint32)
    for mask, digits, step, parity, encoding in _WORDS:
        runs = (words & mask) == digits
        if not (runs[1:] & runs[:-1]).any():
            continue
        text = _characters(data, step, parity)
        starts, kinds = _shapes(text)
        offset = starts * step + parity
        chosen = (offset >= lead) & (offset < core)
        starts, kinds = starts[chosen], kinds[chosen]
        sizes = np.where(kinds == 0, _IDENTITY, _MOBILE)
        code = np.full(len(starts), ENCODINGS.index(encoding), np.uint8)
        yield offset[chosen], _words(text, starts, sizes), (sizes * step).astype(np.uint8), code


def _words(text: _Bytes, starts: _Ints, sizes: _Ints) -> npt.NDArray[np.uint64]:
    """The numbers of these shapes, as `numbers` has them, an x as an X."""
    words = np.zeros(len(starts), np.uint64)
    for size in (_MOBILE, _IDENTITY):
        some = sizes == size
        read = text[starts[some, None] + np.arange(size)] - np.uint8(48)
        crossed = read[:, -1] > 9
        read[crossed, -1] = 0
        mark = np.where(crossed, 2, 1).astype(np.uint64)
        words[some] = read.astype(np.uint64) @ POWERS[:size][::-1] + mark * POWERS[size]
    return words


def _characters(data: _Bytes, step: int, parity: int) -> _Bytes:
    """The bytes as characters; in UTF-16 what is not ASCII becomes zero."""
    if step == 1:
        return data
    pairs = data[parity : parity + (len(data) - parity) // 2 * 2].reshape(-1, 2)
    return np.where(pairs[:, 1] == 0, pairs[:, 0], 0).astype(np.uint8)


def _shapes(text: _Bytes) -> tuple[_Ints, _Ints]:
    """Where shapes begin, and which: 0 identity number, 1 mobile number."""
    digit = np.zeros(len(text) + 2, dtype=np.int8)
    digit[1:-1] = (text - np.uint8(48)) < 10  # wraps around below "0"
    edges = np.flatnonzero(np.diff(digit))
    begin, length = edges[::2], edges[1::2] - edges[::2]
    identities = _identities(text, begin, length)
    bare = begin[length == 11]
    prefixed = begin[length == 13]
    prefixed = prefixed[(text[prefixed] == 56) & (text[prefixed + 1] == 54)] + 2  # "86"
    mobiles = np.concatenate([bare, prefixed])
    mobiles = mobiles[(text[mobiles] == 49) & (text[mobiles + 1] >= 51)]  # "1", then "3" to "9"
    kinds = np.repeat([0, 1], [len(identities), len(mobiles)])
    return np.concatenate([identities, mobiles]), kinds


def _identities(text: _Bytes, begin: _Ints, length: _Ints) -> _Ints:
    """Runs of 18 digits, or of 17 with an X behind, whose check character and birth date are right."""
    short = begin[(length == 17) & (begin + 17 < len(text))]
    short = short[(text[short + 17] | 0x20) == ord("x")] if len(short) else _NONE
    starts = np.concatenate([begin[length == 18], short])
    if not len(starts):
        return _NONE
    digits = text[starts[:, None] + np.arange(17)].astype(np.int64) - 48
    last = text[starts + 17]
    last = np.where(last == ord("x"), ord("X"), last)
    right = _CHECK[(digits @ _WEIGHTS) % 11] == last
    return np.asarray(starts[right & _plausible(digits)], dtype=np.int64)


def _plausible(digits: _Ints) -> _Flags:
    """A province that exists, and a day between 1900 and 2099."""
    number = np.array([1000, 100, 10, 1])
    year = digits[:, 6:10] @ number
    month = digits[:, 10:12] @ number[2:]
    day = digits[:, 12:14] @ number[2:]
    sound = (year >= 1900) & (year <= 2099) & (month >= 1) & (month <= 12) & (day >= 1)
    sound &= _PROVINCES[digits[:, :2] @ number[2:]]
    return np.asarray(sound & (day <= _DAYS[np.clip(month, 0, 12)]), dtype=bool)
