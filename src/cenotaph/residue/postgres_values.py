"""PostgreSQL's compressed values, wherever they lie: in a row, an index, statistics, the log of writes.

What surprised the author: a value needs no page around it to be read. Eight bytes before it give its length
and the length of what it decodes to; a stream must end exactly at both. So one that was deleted, moved or
vacuumed away is read as long as its first bytes are there. In pages it lies at a multiple of four bytes; in
the log it lies anywhere.

Format: PostgreSQL, src/include/varatt.h (`varattrib_4b.va_compressed`), src/backend/access/common/
toast_compression.c; pglz, see `pglz`; LZ4 block format, https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md.
Byte order: little-endian, as on every machine that Debian's PostgreSQL is common on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import lz4.block
import numpy as np
import numpy.typing as npt

from cenotaph import kernel
from cenotaph.residue import pglz

_Ints: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]

HEADER = 8  # bytes: the length of all with a mark, then what it decodes to and how
LONGEST = 1 << 15  # bytes of a value inside a page: the largest page
PGLZ, LZ4 = 0, 1
LANES = ("pglz", "lz4")

_MOST_RATIO = (pglz.MOST_RATIO, 255)  # decoded bytes per byte
_SIZE = (1 << 30) - 1
_LEAST = 5  # bytes: shorter streams save nothing
_WORTH = 16  # decoded bytes of a damaged stream that are worth a search
_FIRST_REPEAT = 1024 + 8  # decoded bytes before which a pglz stream has a tag
_MASK, _COMPRESSED = (
    np.uint32(0xFFFE0003),
    np.uint32(2),
)  # a length below 32 KiB, and the mark in its lowest bits
_TILE = 1 << 15  # words
_NONE: _Ints = np.zeros(0, dtype=np.int64)
_FIRST_TAG = np.array([(control & -control).bit_length() - 1 if control else 8 for control in range(256)])


@dataclass(frozen=True, slots=True)
class Candidates:
    """Where values may begin: offsets of their headers, and what these say."""

    at: _Ints
    length: _Ints  # header included
    size: _Ints  # decoded
    method: _Ints


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a stream decoded to, how many of its bytes that took, and whether it is all of it."""

    data: bytes
    used: int
    whole: bool


def candidates(data: _Bytes, phases: tuple[int, ...] = (0,)) -> Candidates:
    """Headers of values, at these offsets modulo four; each with a first byte of its stream behind it.

    Of random bytes, one place in a hundred million passes; of small integers many do, and most of these end
    at the first tag that `decode` reads.
    """
    found = [_at_phase(data, phase) for phase in phases]
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Candidates(*(column[order] for column in columns))


def likely(data: _Bytes, first: int) -> _Ints:
    """Offsets at `first`, and every four bytes from there, where a value may begin; most do not."""
    words = data[first : first + (len(data) - first) // 4 * 4].view("<u4")
    return matching(words, _MASK, _COMPRESSED) * 4 + first


def decode(packed: bytes, size: int, method: int) -> Decoded | None:
    """A stream without its header, as far as it decodes; None where that is nothing worth a search."""
    if method == PGLZ and not any(packed[: _FIRST_REPEAT // 8 * 9 : 9]):
        return None  # PostgreSQL gives up where so many bytes repeat nothing
    if method == LZ4:
        out, used = _lz4(packed, size)
    else:
        out, used = pglz.beginning(packed, size)
    whole = len(out) == size and used == len(packed)
    return Decoded(out, used, whole) if whole or len(out) >= _WORTH else None


def external(payload: bytes, whole: bool) -> Decoded | None:
    """What the joined chunks of a TOASTed value decode to; None where they are not compressed.

    `whole` says that no chunk is missing at the end.
    """
    word = int.from_bytes(payload[:4], "little")
    size, method, packed = word & _SIZE, word >> 30, payload[4:]
    if method > LZ4 or len(packed) < _LEAST or size <= len(packed):
        return None
    if size > _MOST_RATIO[method] * len(packed) + (0 if whole else 64 << 20) or not _opens(packed, method):
        return None
    return decode(packed, size, method)


def lz4_beginning(packed: bytes, size: int) -> tuple[bytes, int]:
    """As much as decodes of an LZ4 block that is damaged or cut off, and how many bytes that took."""
    out, at, end = bytearray(), 0, len(packed)
    while at < end and len(out) < size:
        token_at, token = at, packed[at]
        run, at = _length(packed, at + 1, token >> 4)
        out += packed[at : at + run]
        at += run
        if at + 2 > end or len(out) >= size:
            return bytes(out[:size]), min(at, end)
        offset = packed[at] | packed[at + 1] << 8
        length, at = _length(packed, at + 2, token & 15)
        length = min(length + 4, size - len(out))
        have = len(out)
        if not 0 < offset <= have:
            return bytes(out), token_at
        out += (out[have - offset :][:length] * (length // offset + 1))[:length]
    return bytes(out[:size]), min(at, end)


def matching(
    words: npt.NDArray[np.uint32] | npt.NDArray[np.uint64],
    mask: np.uint32 | np.uint64,
    value: np.uint32 | np.uint64,
) -> _Ints:
    """Ordinals of the words that have this value under a mask, in pieces that stay in a core's cache."""
    by = kernel.found()
    if by is not None:
        return by.find_words(words, int(mask), int(value))
    found: list[_Ints] = []
    room = np.empty(min(_TILE, len(words)), dtype=words.dtype)
    for at in range(0, len(words), _TILE):
        tile = words[at : at + _TILE]
        same = np.bitwise_and(tile, mask, out=room[: len(tile)]) == value
        if same.any():
            found.append(np.flatnonzero(same) + at)
    return np.concatenate([*found, np.zeros(0, dtype=np.int64)])


# --- headers


def _at_phase(data: _Bytes, phase: int) -> tuple[_Ints, ...]:
    count = (len(data) - phase) // 4
    words = data[phase : phase + 4 * count].view("<u4")
    nth = matching(words[: max(0, count - 2)], _MASK, _COMPRESSED)
    if not len(nth):
        return (_NONE,) * 4
    told = words[nth + 1]
    some = (told >> 30 == LZ4) | ((told >> 30 == PGLZ) & (data[nth * 4 + phase + HEADER] & 1 == 0))
    nth, told = nth[some], told[some]
    length = (words[nth] >> 2).astype(np.int64)
    size, method = (told & np.uint32(_SIZE)).astype(np.int64), (told >> 30).astype(np.int64)
    packed = length - HEADER
    # PostgreSQL keeps what saved a quarter (pglz), or two bytes with the header (LZ4).
    good = (packed >= _LEAST) & np.where(method == PGLZ, packed * 4 <= size * 3, packed + 6 < size)
    good &= size <= packed * np.where(method == PGLZ, *_MOST_RATIO)
    at = nth * 4 + phase
    at, length, size, method = at[good], length[good], size[good], method[good]
    good = (method == LZ4) | _begun(data, at + HEADER)
    at, length, size, method = at[good], length[good], size[good], method[good]
    good = (method == LZ4) | _sound(data, at + HEADER)
    return at[good], length[good], size[good], method[good]


def _begun(data: _Bytes, at: _Ints) -> npt.NDArray[np.bool_]:
    """Which pglz streams do not repeat something before there is something: most others end here."""
    literals = _FIRST_TAG[data[np.minimum(at, len(data) - 1)]]
    tag = np.minimum(at + 1 + literals, len(data) - 2)
    offset = (data[tag].astype(np.int64) & 0xF0) << 4 | data[tag + 1]
    return np.asarray((literals == 8) | ((offset > 0) & (offset <= literals)), dtype=bool)


def _sound(data: _Bytes, at: _Ints) -> npt.NDArray[np.bool_]:
    """Which pglz streams begin with eight items that go together."""
    padded_at = np.minimum(at, len(data) - 1)
    control = data[padded_at].astype(np.int64)
    place, have = padded_at + 1, np.zeros(len(at), dtype=np.int64)
    good = (control & 1) == 0
    last = len(data) - 2
    for bit in range(8):
        tag = (control >> bit & 1) == 1
        at_ = np.minimum(place, last)
        first = data[at_].astype(np.int64)
        offset = (first & 0xF0) << 4 | data[at_ + 1]
        long = tag & ((first & 15) == 15)
        good &= ~tag | ((offset > 0) & (offset <= have)) | (place > last)
        have += np.where(tag, 3, 1)
        place += np.where(tag, 2, 1) + long
    return np.asarray(good, dtype=bool)


def _opens(packed: bytes, method: int) -> bool:
    """Whether a stream may begin so: nothing can be repeated before there is something."""
    return method == LZ4 or not packed[0] & 1


def _lz4(packed: bytes, size: int) -> tuple[bytes, int]:
    try:
        out = bytes(lz4.block.decompress(packed, uncompressed_size=size))
    except lz4.block.LZ4BlockError:
        return lz4_beginning(packed, size)
    return out, len(packed)


def _length(packed: bytes, at: int, length: int) -> tuple[int, int]:
    """A length of LZ4: four bits, and bytes behind them as long as they are 255."""
    if length == 15:
        while at < len(packed):
            length += packed[at]
            at += 1
            if packed[at - 1] != 255:
                break
    return length, at
