"""Rows in the pages of a table's file become the values that COPY would have sent.

What surprised the author: of a row's attributes only the first few may be stored, where columns were added
later, and what stands for the others is in the catalog; a value of varying length says itself whether it was
aligned; and a number that COPY sends digit by digit lies there with another header.

The kernel does this in C. What stands here is the reference that it is tested against.

Format: PostgreSQL, "Database Page Layout"; bufpage.h, itemid.h, htup_details.h, varatt.h (`varatt_external`,
`att_align_pointer`), numeric.c (`NumericData`), toast_compression.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph import kernel
from cenotaph.kernel import PageRows
from cenotaph.residue import pglz, postgres_pages
from cenotaph.stores.postgres.wire.copy import Fields, Longs, Numbers, Octets, Texts

ASK_BIRTH, ASK_END, ASK_MEMBERS = 1, 2, 4
"""What the pages leave open of a row: whether the transaction committed that wrote it, or that deleted it; or
who of several it was that changed it."""

Fetch: TypeAlias = Callable[[Sequence[int]], Mapping[int, bytes]]
"""The values that lie elsewhere, by number, as they are stored there."""


class UnreadableError(ValueError):
    """The pages do not hold what the catalog says, or what this reader knows. Has no data of a row in it."""


class Form(Enum):
    """How a stored value becomes what the wire has."""

    SKIPPED = auto()  # a column that was dropped, or has no storage
    NUMBER = auto()  # as it is, but for the order of its bytes
    OCTETS = auto()  # as it is
    NAME = auto()  # to its first zero
    NUMERIC = auto()
    INTERVAL = auto()
    LABEL = auto()  # the number of an enum's value


@dataclass(frozen=True, slots=True)
class Attribute:
    """What the catalog says of one attribute, from which its values can be read."""

    length: int  # bytes, or -1 where it varies
    align: int
    form: Form
    kind: str = ""  # of a NUMBER: numpy's name of it
    labels: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    missing: bytes | None = field(default=None, repr=False)  # in rows that are older than it, as on the wire


def rows(octets: Octets, page: int) -> PageRows:
    """The rows in whole pages that are not surely gone, in the order of their places.

    Raises: UnreadableError for a page that contradicts itself.
    """
    by = kernel.found()
    found = by.page_rows(octets, page) if by is not None else _rows(octets, page)
    if found is None:
        raise UnreadableError("a page contradicts itself")
    return found


def wrong_sums(octets: Octets, page: int, first: int) -> int:
    """How many pages have another checksum than they say; `first` is the number of the first."""
    if (by := kernel.found()) is not None:
        return by.wrong_sums(octets, page, first)
    pages = octets.reshape(-1, page)
    parsed = postgres_pages.parse(octets.tobytes(), first, page)
    said = pages[:, 8:10].copy().view("<u2")[:, 0]
    written = pages[:, 14:16].any(axis=1)
    return int((written & (said != postgres_pages.checksums(parsed, first))).sum())


def pieces(
    octets: Octets,
    found: PageRows,
    attributes: Sequence[Attribute],
    fetch: Fetch,
    most_rows: int,
    most_bytes: int,
) -> Iterator[tuple[int, list[Fields]]]:
    """How many rows, and their values by column: at most so many rows at a time and, but for single rows, so
    many bytes when everything is unpacked.

    Raises: UnreadableError where rows do not have these attributes.
    """
    by = kernel.found()
    for begin in range(0, len(found.starts), most_rows):
        starts, ends = found.starts[begin : begin + most_rows], found.ends[begin : begin + most_rows]
        if by is not None and int((ends - starts).sum()) <= most_bytes:
            at_once = _at_once(octets, starts, ends, attributes, by)
            if at_once is not None:
                yield len(starts), at_once
                continue
        stored = [_Stored.room(one, len(starts)) for one in attributes]
        if by is None:
            _values(octets, starts, ends, stored)
        elif by.page_values(octets, starts, ends, [one.native() for one in stored]) is None:
            raise UnreadableError(_OTHER_COLUMNS)
        sizes = np.cumsum(ends - starts + sum(one.unpacked_bytes(octets) for one in stored))
        first = 0
        while first < len(starts):
            base = int(sizes[first - 1]) if first else 0
            stop = max(first + 1, int(np.searchsorted(sizes, base + most_bytes, "right")))
            part = slice(first, stop)
            yield stop - first, _columns(octets, starts[part], [one.part(part) for one in stored], fetch)
            first = stop


_OTHER_COLUMNS = "a row does not have the table's columns"
_PACKED, _ELSEWHERE = -2, -3  # lengths of values that are not where they should be
_HEAD, _ROW_HEAD, _LAYOUT, _NORMAL, _FIRST_NORMAL = 24, 23, 4, 1, 3
_HAS_NULLS, _HAD_OID, _KEY_SHARED, _EXCLUSIVE, _ONLY_LOCKED = 0x0001, 0x0008, 0x0010, 0x0040, 0x0080
_BORN, _NEVER_BORN, _LEFT, _STAYS, _MULTIPLE, _MOVED = 0x0100, 0x0200, 0x0400, 0x0800, 0x1000, 0xC000
_GONE: Final = 8
_ELSEWHERE_TAG: Final = 18
_POINTER: Final = struct.Struct("<iIII")  # varatt_external
_SIZE_BITS: Final = 0x3FFFFFFF
_LZ4: Final = 1
_SLACK: Final = 32  # the kernel copies as many bytes at once
_MOST_LZ4: Final = 255  # bytes of a value for each of its stream (LZ4 Block Format)


@dataclass(frozen=True, slots=True)
class _Stored:
    """One attribute of some rows: its values, or where they lie, and their lengths. Nothing, if skipped."""

    attribute: Attribute
    values: npt.NDArray[np.uint8]  # one row a value; or one behind the other, by `offsets`
    places: Longs
    lengths: npt.NDArray[np.signedinteger[Any]]  # -1 for null; of values 0 otherwise
    offsets: npt.NDArray[np.int32]
    valid: Octets | None  # a bit for each of `values`; None where nothing is null

    @classmethod
    def room(cls, attribute: Attribute, rows: int, joined: int = 0) -> _Stored:
        """For so many rows. What is in its row as it is, and so many bytes at most, goes to `values`."""
        values: npt.NDArray[np.uint8] = _NO_VALUES
        places, lengths, offsets = _NO_PLACES, _NO_PLACES, _NO_OFFSETS
        valid = np.zeros((rows + 7) // 8, np.uint8)
        if attribute.form in _BY_VALUE:
            values, lengths = np.empty((rows, attribute.length), np.uint8), np.empty(rows, np.int8)
        elif joined and attribute.form is Form.OCTETS and attribute.length < 0:
            values, offsets = np.empty(joined, np.uint8), np.empty(rows + 1, np.int32)
        elif attribute.form is not Form.SKIPPED:
            places, lengths = np.empty(rows, np.int64), np.empty(rows, np.int64)
        return cls(attribute, values, places, lengths, offsets, valid)

    @property
    def by_value(self) -> bool:
        return self.attribute.form in _BY_VALUE

    @property
    def skipped(self) -> bool:
        return self.attribute.form is Form.SKIPPED

    @property
    def whole(self) -> bool:
        """Whether all values are where they should be, and as they are."""
        return bool(self.lengths.min(initial=0) >= -1)

    def native(self) -> kernel.Attribute:
        length, align, valid = self.attribute.length, self.attribute.align, self.valid
        assert valid is not None
        if self.skipped:
            return kernel.attribute(length, align)
        if self.by_value:
            return kernel.attribute(length, align, values=self.values, there=self.lengths, valid=valid)
        if len(self.offsets):
            return kernel.attribute(length, align, values=self.values, offsets=self.offsets, valid=valid)
        return kernel.attribute(length, align, places=self.places, lengths=self.lengths)

    def part(self, rows: slice) -> _Stored:
        lengths = self.lengths[rows]
        valid = np.packbits(lengths >= 0, bitorder="little") if lengths.min(initial=0) < 0 else None
        return _Stored(self.attribute, self.values[rows], self.places[rows], lengths, self.offsets, valid)

    def unpacked_bytes(self, octets: Octets) -> Longs | int:
        """How long each value will be that is packed, or elsewhere."""
        if self.whole:
            return 0
        odd = self.lengths < -1
        said = octets[self.places[odd][:, None] + np.arange(4)].copy().view("<u4")[:, 0]
        sizes = np.zeros(len(self.lengths), np.int64)
        sizes[odd] = said.astype(np.int64) & _SIZE_BITS
        return sizes


_BY_VALUE: Final = (Form.NUMBER, Form.INTERVAL, Form.LABEL)
_NO_VALUES: Final = np.zeros((0, 0), np.uint8)
_NO_PLACES: Final = np.zeros(0, np.int64)
_NO_OFFSETS: Final = np.zeros(0, np.int32)


def _at_once(
    octets: Octets, starts: Longs, ends: Longs, attributes: Sequence[Attribute], by: kernel.Kernel
) -> list[Fields] | None:
    """The values by column, where all are in their rows as they are; None where some are not."""
    if any(one.missing is not None for one in attributes):
        return None
    room = int((ends - starts).sum()) + _SLACK
    stored = [_Stored.room(one, len(starts), room) for one in attributes]
    told = by.page_values(octets, starts, ends, [one.native() for one in stored])
    if told is None:
        raise UnreadableError(_OTHER_COLUMNS)
    if any(one.odd for one in told):
        return None
    return [_whole(octets, one, known) for one, known in zip(stored, told, strict=True) if not one.skipped]


def _whole(octets: Octets, one: _Stored, told: kernel.Told) -> Fields:
    valid = one.valid if told.nulls else None
    if len(one.offsets):
        return Texts.of(one.values, one.offsets, valid, ascii=told.ascii)
    return _FORMS[one.attribute.form](octets, replace(one, valid=valid))


class _Beside:
    """Pages, and behind them what was not in them as it is."""

    def __init__(self, octets: Octets) -> None:
        self._parts: list[Octets] = [octets]
        self._end = len(octets)

    def add(self, data: Octets) -> int:
        place, self._end = self._end, self._end + len(data)
        self._parts.append(data)
        return place

    def joined(self) -> Octets:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]


def _columns(octets: Octets, starts: Longs, stored: Sequence[_Stored], fetch: Fetch) -> list[Fields]:
    beside = _Beside(octets)
    held = _fetched(octets, stored, fetch)
    kept = [(nth, _in_place(octets, one, held, beside)) for nth, one in enumerate(stored) if not one.skipped]
    whole = beside.joined()
    found = [_FORMS[one.attribute.form](whole, one) for _, one in kept]
    if any(one.attribute.missing is not None for _, one in kept):
        has = octets[starts[:, None] + np.array([18, 19])].copy().view("<u2")[:, 0] & 0x7FF
        for at, (number, one) in enumerate(kept):
            if one.attribute.missing is not None and (absent := has <= number).any():
                found[at] = _completed(found[at], absent, one.attribute.missing)
    return found


def _fetched(octets: Octets, stored: Sequence[_Stored], fetch: Fetch) -> Mapping[int, bytes]:
    wanted = {
        _pointer(octets, place)[2]
        for one in stored
        if not one.whole
        for place in one.places[one.lengths == _ELSEWHERE].tolist()
    }
    return fetch(sorted(wanted)) if wanted else {}


def _pointer(octets: Octets, place: int) -> tuple[int, int, int]:
    """Where a value lies: its length with a header, its length there, and its number."""
    whole, told, number, _ = _POINTER.unpack(octets[place : place + _POINTER.size].tobytes())
    return whole, told & _SIZE_BITS, number


def _in_place(octets: Octets, one: _Stored, held: Mapping[int, bytes], beside: _Beside) -> _Stored:
    """The attribute with all its values as they are, some of them beside the pages."""
    if one.whole:
        return one
    places, lengths = one.places.copy(), one.lengths.copy()
    for row in np.flatnonzero(lengths < -1).tolist():
        place = int(places[row])
        if lengths[row] == _PACKED:
            end = place - 4 + (int.from_bytes(octets[place - 4 : place].tobytes(), "little") >> 2)
            value = _unpacked(octets[place:end])
        else:
            value = _from_elsewhere(octets, place, held)
        places[row], lengths[row] = beside.add(value), len(value)
    return replace(one, places=places, lengths=lengths)


def _from_elsewhere(octets: Octets, place: int, held: Mapping[int, bytes]) -> Octets:
    whole, size, number = _pointer(octets, place)
    raw = whole - 4
    value = np.frombuffer(held.get(number, b""), np.uint8)
    if len(value) != size:
        raise UnreadableError("a long value is not all there")
    if size < raw:
        value = _unpacked(value)
    if len(value) != raw:
        raise UnreadableError("a long value has another length than is said of it")
    return value


def _unpacked(packed: Octets) -> Octets:
    """What was compressed: its size and method, and the stream."""
    if len(packed) < 4:
        raise UnreadableError("a packed value is too short to be one")
    told = int.from_bytes(packed[:4].tobytes(), "little")
    size, method, stream = told & _SIZE_BITS, told >> 30, packed[4:]
    found: Octets | None = None
    if method == _LZ4 and size <= _MOST_LZ4 * len(stream):
        try:
            unpacked = pa.Codec("lz4_raw").decompress(stream.tobytes(), size, asbytes=True)
        except (OSError, pa.ArrowException):
            unpacked = b""
        found = np.frombuffer(unpacked, np.uint8)
    elif method == 0 and size <= pglz.MOST_RATIO * len(stream):
        found = _pglz(stream, size)
    if found is None or len(found) != size:
        raise UnreadableError("a packed value is damaged, or packed in an unknown way")
    return found


def _pglz(stream: Octets, size: int) -> Octets | None:
    if (by := kernel.found()) is not None:
        return by.unpacked(stream, size)
    try:
        return np.frombuffer(pglz.decompress(stream.tobytes(), size), np.uint8)
    except pglz.PglzError:
        return None


def _completed(fields: Fields, absent: npt.NDArray[np.bool_], missing: bytes) -> Fields:
    """With the value that rows have which are older than the column."""
    if isinstance(fields, Numbers):
        value = np.frombuffer(missing, fields.values.dtype.newbyteorder(">"))[0]
        values = np.where(absent, value, fields.values).astype(fields.values.dtype)
        lengths = np.where(absent, 0, fields.lengths)
        return Numbers.of(values, lengths, np.packbits(lengths >= 0, bitorder="little"))
    octets = np.concatenate([fields.octets, np.frombuffer(missing, np.uint8)])
    starts = np.where(absent, len(fields.octets), fields.starts)
    return Fields(octets, starts, np.where(absent, len(missing), fields.lengths))


# --- Forms ------------------------------------------------------------------------------------


def _number(_: Octets, one: _Stored) -> Fields:
    values = np.ascontiguousarray(one.values).view(np.dtype(one.attribute.kind))[:, 0]
    return Numbers.of(values, one.lengths, one.valid)


def _as_is(octets: Octets, one: _Stored) -> Fields:
    return Fields(octets, one.places, one.lengths.astype(np.int64, copy=False))


def _name(octets: Octets, one: _Stored) -> Fields:
    size = one.attribute.length
    valid = one.lengths >= 0
    at = np.where(valid, one.places, 0)
    ended = octets[np.minimum(at[:, None] + np.arange(size), len(octets) - 1)] == 0
    lengths = np.where(ended.any(axis=1), ended.argmax(axis=1), size)
    return Fields(octets, one.places, np.where(valid, lengths, -1))


def _numeric(octets: Octets, one: _Stored) -> Fields:
    by = kernel.found()
    found = (by.numerics if by is not None else _numerics)(octets, one.places, one.lengths)
    if found is None:
        raise UnreadableError("a numeric has no form that is known")
    return Fields(*found)


def _interval(_: Octets, one: _Stored) -> Fields:
    told = np.ascontiguousarray(one.values).view(np.dtype([("t", "<i8"), ("d", "<i4"), ("m", "<i4")]))[:, 0]
    wire = told.astype(np.dtype([("t", ">i8"), ("d", ">i4"), ("m", ">i4")]))
    padded = np.zeros(wire.nbytes + 16, np.uint8)  # so that nothing is read behind the last one
    padded[: wire.nbytes] = wire.view(np.uint8)
    return Fields(padded, np.arange(len(wire)) * 16, np.where(one.lengths < 0, -1, 16))


def _label(_: Octets, one: _Stored) -> Fields:
    numbers = np.ascontiguousarray(one.values).view("<u4")[:, 0]
    known, which = np.unique(np.where(one.lengths < 0, 0, numbers), return_inverse=True)
    labels = [one.attribute.labels.get(int(number)) for number in known]
    if any(label is None and number for label, number in zip(labels, known.tolist(), strict=True)):
        raise UnreadableError("a row has a value of an enum that is unknown")
    texts = [label or b"" for label in labels]
    sizes = np.array([len(text) for text in texts], np.int64)
    octets = np.frombuffer(b"".join(texts), np.uint8)
    lengths = np.where(one.lengths < 0, -1, sizes[which])
    return Fields(octets, (np.cumsum(sizes) - sizes)[which], lengths)


_FORMS: Mapping[Form, Callable[[Octets, _Stored], Fields]] = {
    Form.NUMBER: _number,
    Form.OCTETS: _as_is,
    Form.NAME: _name,
    Form.NUMERIC: _numeric,
    Form.INTERVAL: _interval,
    Form.LABEL: _label,
}


# --- The reference ----------------------------------------------------------------------------


def _rows(octets: Octets, page: int) -> PageRows | None:
    """As the kernel's `page_rows`."""
    found: list[tuple[int, int, int]] = []
    for base in range(0, len(octets), page):
        data = octets[base : base + page].tobytes()
        lower, upper, special, layout = struct.unpack_from("<4H", data, 12)
        if not upper:
            if any(data):
                return None
            continue
        if not (_HEAD <= lower <= upper <= special <= page) or layout != page | _LAYOUT or lower % 4:
            return None
        for item in range(_HEAD, lower, 4):
            (pointer,) = struct.unpack_from("<I", data, item)
            offset, length = pointer & 0x7FFF, pointer >> 17
            if pointer >> 15 & 3 != _NORMAL:
                continue
            if offset < upper or offset % 8 or length <= _ROW_HEAD or offset + length > special:
                return None
            (mask,) = struct.unpack_from("<H", data, offset + 20)
            if mask & (_HAD_OID | _MOVED):
                return None
            state = _state(mask, *struct.unpack_from("<II", data, offset))
            if state != _GONE:
                found.append((base + offset, base + offset + length, state))
    columns = np.array(found, np.int64).reshape(-1, 3)
    starts, ends = np.ascontiguousarray(columns[:, 0]), np.ascontiguousarray(columns[:, 1])
    return PageRows(starts, ends, columns[:, 2].astype(np.uint8))


def _state(mask: int, born: int, ended: int) -> int:
    asked = 0
    if not mask & _BORN:
        if mask & _NEVER_BORN or not born:
            return _GONE
        asked = ASK_BIRTH if born >= _FIRST_NORMAL else 0
    if mask & (_STAYS | _ONLY_LOCKED) or not ended:
        return asked
    if mask & _MULTIPLE:
        return asked | ASK_MEMBERS if mask & (_EXCLUSIVE | _KEY_SHARED) else asked
    if mask & (_EXCLUSIVE | _KEY_SHARED) == _EXCLUSIVE:
        return asked
    return _GONE if mask & _LEFT else asked | ASK_END


class _Value(NamedTuple):
    place: int
    length: int
    end: int


def _values(octets: Octets, starts: Longs, ends: Longs, stored: Sequence[_Stored]) -> None:
    """As the kernel's `page_values`. Raises: UnreadableError."""
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        data = octets[start:end].tobytes()
        words, mask, at = struct.unpack_from("<HHB", data, 18)
        has, nulls = words & 0x7FF, bool(mask & _HAS_NULLS)
        if has > len(stored) or at > len(data) or at % 8 or at < _ROW_HEAD + (has + 7) // 8 * nulls:
            raise UnreadableError(_OTHER_COLUMNS)
        for nth, one in enumerate(stored):
            if nth >= has or (nulls and not data[_ROW_HEAD + nth // 8] >> nth % 8 & 1):
                _put(one, row, None, data, start)
                continue
            value = (
                _varying(data, at, one.attribute) if one.attribute.length < 0 else _fixed(at, one.attribute)
            )
            if value is None or value.end > len(data):
                raise UnreadableError(_OTHER_COLUMNS)
            _put(one, row, value, data, start)
            at = value.end


def _put(one: _Stored, row: int, value: _Value | None, data: bytes, start: int) -> None:
    if one.skipped:
        return
    if one.by_value:
        one.lengths[row] = -1 if value is None else 0
        held = data[value.place : value.end] if value is not None else bytes(one.attribute.length)
        one.values[row] = np.frombuffer(held, np.uint8)
    else:
        one.places[row] = 0 if value is None else start + value.place
        one.lengths[row] = -1 if value is None else value.length


def _fixed(at: int, attribute: Attribute) -> _Value:
    at += -at % attribute.align
    return _Value(at, attribute.length, at + attribute.length)


def _varying(data: bytes, at: int, attribute: Attribute) -> _Value | None:
    if at < len(data) and data[at] == 0:  # padding, or a long header that needed none
        at += -at % attribute.align
    if at >= len(data):
        return None
    if data[at] == 1:
        good = data[at + 1 : at + 2] == bytes([_ELSEWHERE_TAG])
        return _Value(at + 2, _ELSEWHERE, at + 2 + _POINTER.size) if good else None
    if data[at] & 1:
        return _Value(at + 1, (data[at] >> 1) - 1, at + (data[at] >> 1))
    at += -at % attribute.align
    if at + 4 > len(data):
        return None
    (word,) = struct.unpack_from("<I", data, at)
    packed, whole = word & 3 == 2, word >> 2
    if whole < (8 if packed else 4):
        return None
    return _Value(at + 4, _PACKED if packed else whole - 4, at + whole)


def _numerics(octets: Octets, places: Longs, lengths: npt.NDArray[Any]) -> tuple[Octets, Longs, Longs] | None:
    """As the kernel's `numerics`."""
    found = bytearray()
    starts, sizes = np.zeros(len(places), np.int64), np.full(len(places), -1, np.int64)
    for row in np.flatnonzero(lengths != -1).tolist():
        data = octets[places[row] : places[row] + lengths[row]].tobytes()
        wire = _wire_numeric(data) if len(data) == lengths[row] else None
        if wire is None:
            return None
        starts[row], sizes[row] = len(found), len(wire)
        found += wire
    return np.frombuffer(bytes(found) + bytes(16), np.uint8), starts, sizes


def _wire_numeric(data: bytes) -> bytes | None:
    if len(data) < 2 or len(data) % 2:
        return None
    (head,) = struct.unpack_from("<H", data)
    if head & 0x8000:
        special = head & 0xC000 == 0xC000
        sign = head & 0xF000 if special else 0x4000 if head & 0x2000 else 0
        weight, scale, digits = (head & 0x3F) - (head & 0x40), head >> 7 & 0x3F, data[2:]
    elif len(data) >= 4:
        sign, scale, digits = head & 0xC000, head & 0x3FFF, data[4:]
        (weight,) = struct.unpack_from("<h", data, 2)
    else:
        return None
    count = len(digits) // 2
    if count > 0x7FFF:
        return None
    return (
        struct.pack(">hhHH", count, weight, sign, scale)
        + np.frombuffer(digits, "<u2").astype(">u2").tobytes()
    )
