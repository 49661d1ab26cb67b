"""Values on the wire become Arrow arrays, a column at a time (spec/record.md).

The binary form of each type is what its `typsend` function writes (PostgreSQL source, utils/adt). What
no common type holds becomes bytes tagged with the type's name: infinite dates, NaN among the numerics,
arrays of two dimensions, and every type that has no reader here. Whether a value is tagged depends on the
value alone; only a batch that has one is a union.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph import kernel
from cenotaph.errors import PermanentStoreError
from cenotaph.records import Tagged
from cenotaph.stores.postgres.wire.copy import MALFORMED, Fields, Longs, Numbers, Octets, Texts, view

Bools: TypeAlias = npt.NDArray[np.bool_]
Decoder: TypeAlias = Callable[[Fields], pa.Array]

EPOCH_DAYS: Final = 10_957  # from 1970-01-01 to 2000-01-01
EPOCH_MICROSECONDS: Final = EPOCH_DAYS * 86_400_000_000
DIGITS_EACH_SIDE: Final = 38  # of a numeric that becomes a decimal; what is longer is tagged


def scalar(kind: type[Any] | pa.DataType, wire: str) -> Decoder:
    """Numbers that Arrow holds as the wire has them."""

    def decode(fields: Fields) -> pa.Array:
        values = numbers(fields, wire)
        return _primitive(kind, values.astype(values.dtype.newbyteorder("=")), fields)

    return decode


def oids(fields: Fields) -> pa.Array:
    return _primitive(pa.int64(), numbers(fields, ">u4").astype(np.int64), fields)


def booleans(fields: Fields) -> pa.Array:
    values = numbers(fields, "u1")
    if (values[fields.lengths >= 0] > 1).any():
        raise PermanentStoreError(MALFORMED)
    bits = pa.py_buffer(np.packbits(values.astype(np.bool_), bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(fields), [_bitmap(fields), bits])


def binary(fields: Fields) -> pa.Array:
    """The bytes as they are. Every second slice of the block is a value, so Arrow copies them in one pass."""
    if isinstance(fields, Texts):
        return _variable(pa.binary(), fields)
    count, valid = len(fields), fields.lengths >= 0
    if not count:
        return pa.array([], pa.binary())
    by = kernel.found()
    if by is not None and len(fields.octets) <= _MOST:  # then not even all values together have more
        offsets, data = by.field_octets(fields.octets, fields.starts, fields.lengths)
        parts = [_bitmap(fields), pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.binary(), count, parts)
    bounds = np.empty((count, 2), np.int64)
    bounds[:, 0] = fields.starts
    bounds[:, 1] = fields.starts + np.maximum(fields.lengths, 0)
    if (np.diff(bounds.reshape(-1)) < 0).any():  # rows of a page lie in it backwards
        places = zip(bounds.tolist(), valid.tolist(), strict=True)
        return pa.array(
            [fields.octets[a:b].tobytes() if there else None for (a, b), there in places], pa.binary()
        )
    large = len(fields.octets) > _MOST
    kind = pa.large_binary() if large else pa.binary()
    offsets = pa.py_buffer(bounds.reshape(-1) if large else bounds.reshape(-1).astype(np.int32))
    every = pa.Array.from_buffers(kind, 2 * count - 1, [None, offsets, pa.py_buffer(fields.octets)])
    chosen = pa.array(np.arange(0, 2 * count, 2), mask=None if valid.all() else ~valid)
    return every.take(chosen)


def text(fields: Fields) -> pa.Array:
    """Text; where some is not UTF-8, that is tagged `postgresql:text`."""
    if isinstance(fields, Texts) and fields.ascii:
        return _variable(pa.string(), fields)
    raw = binary(fields)
    try:
        return raw.cast(pa.large_string() if pa.types.is_large_binary(raw.type) else pa.string())
    except pa.ArrowInvalid:
        fields = fields.plain() if isinstance(fields, Texts) else fields
        broken = np.array([value is not None and not _is_text(value) for value in raw.to_pylist()])
        return _mixed(text(_nulled(fields, broken)), broken, Tagged("postgresql:text"), fields)


def jsonb(fields: Fields) -> pa.Array:
    """Its text, which follows a version number: 1 (jsonb_send)."""
    versions = numbers(fields, "u1", exactly=False)
    if (versions[fields.lengths >= 0] != 1).any():
        raise PermanentStoreError(MALFORMED)
    present = fields.lengths >= 0
    return text(
        Fields(fields.octets, fields.starts + present, np.where(present, fields.lengths - 1, fields.lengths))
    )


def tagged(name: str) -> Decoder:
    """The wire's bytes under the type's name."""
    kind = Tagged(name)

    def decode(fields: Fields) -> pa.Array:
        return kind.array(binary(fields))

    return decode


def dates(fields: Fields) -> pa.Array:
    days = numbers(fields, ">i4").astype(np.int64)
    odd = (days == _I4.max) | (days == _I4.min)
    days = np.where(odd, 0, days + EPOCH_DAYS)
    return _mixed(_primitive(pa.date32(), days.astype(np.int32), fields), odd, _DATE, fields)


def timestamps(kind: pa.DataType, name: str) -> Decoder:
    """Microseconds; infinities, and the centuries before the end that Arrow does not reach, are tagged."""
    tag = Tagged(f"postgresql:{name}")

    def decode(fields: Fields) -> pa.Array:
        ticks = numbers(fields, ">i8").astype(np.int64)
        odd = (ticks > _I8.max - EPOCH_MICROSECONDS) | (ticks == _I8.min)
        ticks = np.where(odd, 0, ticks) + EPOCH_MICROSECONDS
        return _mixed(_primitive(kind, ticks, fields), odd, tag, fields)

    return decode


def times(fields: Fields) -> pa.Array:
    ticks = numbers(fields, ">i8").astype(np.int64)
    odd = (ticks < 0) | (ticks >= 86_400_000_000)  # 24:00:00 is a time here, and none in Arrow
    return _mixed(_primitive(pa.time64("us"), np.where(odd, 0, ticks), fields), odd, _TIME, fields)


def intervals(fields: Fields) -> pa.Array:
    """Months, days, and the rest as nanoseconds; what has more of these than fit is tagged."""
    whole = _at(fields, 16)
    ticks = view(fields.octets, ">i8")[whole].astype(np.int64)
    values = np.zeros(len(fields), np.dtype([("months", "<i4"), ("days", "<i4"), ("rest", "<i8")]))
    values["days"] = view(fields.octets, ">i4")[whole + 8]
    values["months"] = view(fields.octets, ">i4")[whole + 12]
    # 17 has infinite intervals: all three parts at their ends
    odd = (fields.lengths >= 0) & (np.abs(ticks // 1000) > _I8.max // 1_000_000 - 1)
    values["rest"] = np.where(odd, 0, ticks) * 1000
    return _mixed(_primitive(pa.month_day_nano_interval(), values, fields), odd, _INTERVAL, fields)


def numerics(fields: Fields) -> pa.Array:
    """Decimals, of as many digits as the batch needs: rule 3 writes the same bytes for any of them.

    NaN, infinities, and what has more than 38 digits on a side of the point are tagged.
    """
    if not len(fields):
        return pa.array([], pa.decimal128(1, 0))
    at = _at(fields, 8, exactly=False)
    short, unsigned = view(fields.octets, ">i2"), view(fields.octets, ">u2")
    count, weight = short[at].astype(np.int64), short[at + 2].astype(np.int64)
    sign, scale = unsigned[at + 4], unsigned[at + 6].astype(np.int64)
    valid = fields.lengths >= 0
    if (valid & ((count < 0) | (fields.lengths != 8 + 2 * count))).any():
        raise PermanentStoreError(MALFORMED)
    leading = unsigned[np.where(count > 0, at + 8, 0)].astype(np.int64)
    whole = np.where((count > 0) & (weight >= 0), 4 * weight + np.searchsorted(_TENS, leading, "right"), 0)
    special = (sign & 0xC000) == 0xC000
    odd = valid & (special | (whole > DIGITS_EACH_SIDE) | (scale > DIGITS_EACH_SIDE))
    use = valid & ~odd
    if not use.any():
        nothing = pa.nulls(len(fields), pa.decimal128(1, 0))
        return _mixed(nothing, odd, _NUMERIC, fields)
    negative = use & (sign == 0x4000)
    digits = _Digits(fields.octets, at, np.where(use, count, 0), np.where(use, weight, -1), negative)
    plain = digits.decimals(use, int(whole[use].max()), int(scale[use].max()))
    return _mixed(plain, odd, _NUMERIC, fields)


def lists(element: Decoder, kind: int, name: str) -> Decoder:
    """Arrays of one dimension that begin at 1, and empty ones; others are tagged (array_send)."""
    tag = Tagged(name)

    def decode(fields: Fields) -> pa.Array:
        at, long = _at(fields, 12, exactly=False), view(fields.octets, ">i4")
        valid = fields.lengths >= 0
        dimensions = long[at]
        one = valid & (dimensions == 1)
        if (fields.lengths[one] < 20).any() or (long[at[valid] + 8] != kind).any():
            raise PermanentStoreError(MALFORMED)
        body = np.where(one, at, 0)
        simple = one & (long[np.where(one, body + 16, 0)] == 1)
        odd = valid & (dimensions != 0) & ~simple
        sizes = np.where(simple, long[np.where(simple, body + 12, 0)], 0).astype(np.int64)
        ends = np.where(simple, fields.starts + fields.lengths, 0)
        items = _items(fields.octets, np.where(simple, fields.starts + 20, 0), ends, sizes)
        offsets = np.zeros(len(fields) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        bounds = pa.array(offsets.astype(np.int32), mask=np.append(~valid, False))
        return _mixed(pa.ListArray.from_arrays(bounds, element(items)), odd, tag, fields)

    return decode


def numbers(fields: Fields, kind: str, *, exactly: bool = True) -> npt.NDArray[Any]:
    """The number that each value is, or begins with; some number where it is null."""
    if isinstance(fields, Numbers):
        return fields.values
    by, size = kernel.found(), np.dtype(kind).itemsize
    if by is not None and exactly and size > 1:
        found = by.field_numbers(
            fields.octets, fields.starts, fields.lengths, np.dtype(kind).newbyteorder("=")
        )
        if found is None:
            raise PermanentStoreError(MALFORMED)
        return found
    return view(fields.octets, kind)[_at(fields, np.dtype(kind).itemsize, exactly=exactly)]


# --- Parts ------------------------------------------------------------------------------------

_MOST: Final = 2**31 - 1
_I4, _I8 = np.iinfo(np.int32), np.iinfo(np.int64)
_TENS: Final = np.array([1, 10, 100, 1000])
_DATE, _TIME = Tagged("postgresql:date"), Tagged("postgresql:time")
_INTERVAL, _NUMERIC = Tagged("postgresql:interval"), Tagged("postgresql:numeric")
_GROUPS: Final = np.frombuffer("".join(f"{n:04}" for n in range(10_000)).encode(), np.uint8).reshape(-1, 4)


def _at(fields: Fields, size: int, *, exactly: bool = True) -> Longs:
    """Where the values begin, 0 for nulls. Each has `size` bytes, or at least as many."""
    valid = fields.lengths >= 0
    wrong = fields.lengths != size if exactly else fields.lengths < size
    if (valid & wrong).any():
        raise PermanentStoreError(MALFORMED)
    return fields.starts if valid.all() else np.where(valid, fields.starts, 0)


def _variable(kind: pa.DataType, fields: Texts) -> pa.Array:
    valid = None if fields.valid is None else pa.py_buffer(fields.valid)
    parts = [valid, pa.py_buffer(fields.offsets), pa.py_buffer(fields.octets)]
    return pa.Array.from_buffers(kind, len(fields), parts)


def _bitmap(fields: Fields) -> pa.Buffer | None:
    if isinstance(fields, Numbers):
        return None if fields.valid is None else pa.py_buffer(fields.valid)
    valid = fields.lengths >= 0
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _primitive(kind: pa.DataType, values: npt.NDArray[Any], fields: Fields) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(fields), [_bitmap(fields), buffer])


def _nulled(fields: Fields, rows: Bools) -> Fields:
    return Fields(fields.octets, fields.starts, np.where(rows, -1, fields.lengths))


def _mixed(plain: pa.Array, odd: Bools, tag: Tagged, fields: Fields) -> pa.Array:
    """The plain values, but where `odd` the wire's bytes under a tag."""
    odd = odd & (fields.lengths >= 0)
    if not odd.any():
        return plain
    rare = tag.array(binary(fields.take(np.flatnonzero(odd))))
    places = np.where(odd, np.cumsum(odd) - 1, np.arange(len(fields))).astype(np.int32)
    codes = pa.array(odd.astype(np.int8))
    return pa.UnionArray.from_dense(codes, pa.array(places), [plain, rare])


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Digits:
    """The base-10,000 digits of numerics (numeric_send)."""

    def __init__(self, octets: Octets, at: Longs, count: Longs, weight: Longs, negative: Bools) -> None:
        self._digits, self._at = view(octets, ">u2"), at + 8
        self._count, self._weight, self._negative = count, weight, negative

    def decimals(self, use: Bools, whole: int, scale: int) -> pa.Array:
        """Decimals with so many digits before the point and behind; null where not `use`."""
        before, behind, digits = max(1, -(-whole // 4)), -(-scale // 4), max(1, whole + scale)
        kind = pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)
        powers = range(before - 1, -1 - behind, -1)
        if len(powers) <= _GROUPS_OF_INT64:
            values = self._integers(powers, 10 ** (4 * behind - scale))
        else:
            values = self._texts(powers, before, scale).cast(kind).buffers()[1]
        bitmap = None if use.all() else pa.py_buffer(np.packbits(use, bitorder="little"))
        return pa.Array.from_buffers(kind, len(use), [bitmap, values])

    def _integers(self, powers: range, surplus: int) -> pa.Buffer:
        total = np.zeros(len(self._at), np.int64)
        for power in powers:
            total *= 10_000
            total += self._group(power)
        if surplus > 1:
            total //= surplus
        np.negative(total, out=total, where=self._negative)
        words = np.empty((len(total), 2), np.int64)  # 128 bits, the low half first
        words[:, 0], words[:, 1] = total, total >> 63
        return pa.py_buffer(words)

    def _texts(self, powers: range, before: int, scale: int) -> pa.Array:
        """As Arrow reads them."""
        rows, width = len(self._at), 1 + 4 * before + (1 + scale if scale else 0)
        text = np.empty((rows, 2 + 4 * len(powers)), np.uint8)
        text[:, 0] = np.where(self._negative, ord("-"), ord("0"))
        text[:, 1 + 4 * before] = ord(".")
        for group, power in enumerate(powers):
            at = 1 + 4 * group + (group >= before)
            text[:, at : at + 4] = _GROUPS[self._group(power)]
        chosen = np.ascontiguousarray(text[:, :width])
        ends = pa.py_buffer(np.arange(0, (rows + 1) * width, width, dtype=np.int64))
        return pa.Array.from_buffers(pa.large_string(), rows, [None, ends, pa.py_buffer(chosen)])

    def _group(self, power: int) -> Longs:
        """The digits that stand before 10,000 ** power."""
        index = self._weight - power
        there = (index >= 0) & (index < self._count)
        index *= 2
        index += self._at
        index *= there  # elsewhere the first bytes of the block are read, and left out
        found = self._digits[index].astype(np.int64)
        found *= there
        if found.max(initial=0) > 9_999:
            raise PermanentStoreError(MALFORMED)
        return found


_GROUPS_OF_INT64: Final = 4
_STEPS: Final = 64  # elements taken of all arrays at once, before long ones are followed one by one


def _items(octets: Octets, starts: Longs, ends: Longs, sizes: Longs) -> Fields:
    """The elements of all arrays, in order. Each is an i32 length and the value, and they fill the array."""
    if (sizes < 0).any() or (4 * sizes > ends - starts).any():
        raise PermanentStoreError(MALFORMED)
    first = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    places, lengths = np.zeros(total, np.int64), np.zeros(total, np.int64)
    long, at = view(octets, ">i4"), starts.copy()
    rows = np.flatnonzero(sizes)
    for step in range(int(min(_STEPS, sizes.max(initial=0)))):
        rows = rows[sizes[rows] > step]
        _checked(at[rows] + 4, ends[rows])
        found = long[at[rows]].astype(np.int64)
        places[first[rows] + step], lengths[first[rows] + step] = at[rows] + 4, found
        at[rows] += 4 + np.maximum(found, 0)
    for row in rows[sizes[rows] > _STEPS].tolist():
        rest = slice(first[row] + _STEPS, first[row] + sizes[row])
        at[row] = _follow(octets, int(at[row]), int(ends[row]), places[rest], lengths[rest])
    used = sizes > 0
    if (at[used] != ends[used]).any() or (lengths < -1).any():
        raise PermanentStoreError(MALFORMED)
    return Fields(octets, places, lengths)


def _follow(octets: Octets, at: int, end: int, places: Longs, lengths: Longs) -> int:
    """The elements of one array, from here on; where they end."""
    data, base = octets[at:end].tobytes(), at
    for number in range(len(places)):
        if at + 4 > end:
            raise PermanentStoreError(MALFORMED)
        length = int.from_bytes(data[at - base : at - base + 4], "big", signed=True)
        places[number], lengths[number] = at + 4, length
        at += 4 + max(length, 0)
    return at


def _checked(at: Longs, ends: Longs) -> None:
    if (at > ends).any():
        raise PermanentStoreError(MALFORMED)
