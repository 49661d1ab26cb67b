"""How the values of a column stand to a literal: less, equal or greater, where that is known."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.scope._columns import Bools, as_bytes, flags, is_text, unchecked_text
from cenotaph.scope._values import ZONELESS, Moment, Value, read_bool, read_moment, read_number


class Order(NamedTuple):
    """How each value stands to a literal. Neither less nor equal: greater. Only where known."""

    less: Bools
    equal: Bools
    known: Bools


OPERATORS: Final[dict[str, Callable[[Order], Bools]]] = {
    "=": lambda order: order.equal,
    "<>": lambda order: ~order.equal,
    "!=": lambda order: ~order.equal,
    "<": lambda order: order.less,
    "<=": lambda order: order.less | order.equal,
    ">": lambda order: ~(order.less | order.equal),
    ">=": lambda order: ~order.less,
}


def compare(array: pa.Array, value: Value) -> Order | None:
    """None: values of this type never compare with such a literal."""
    kind = array.type
    if pa.types.is_null(kind):
        return _unknown(len(array))
    if is_text(kind):
        return _compare_text(array, value)
    wanted = _as_type(kind, value)
    if wanted is None:
        return None
    if isinstance(wanted, Moment):
        return _compare_moments(array, wanted)
    if pa.types.is_boolean(kind):
        return _compare_integers(array.cast(pa.int8()), Decimal(wanted))
    if pa.types.is_integer(kind):
        order = _compare_integers(array, Decimal(wanted))
        if isinstance(value, bool):  # a store without booleans: 0 and 1 are, 2 is not
            known = order.known & flags(pc.is_in(array, pa.array([0, 1], kind)))
            return order._replace(known=known)
        return order
    if pa.types.is_floating(kind):
        return _compare_floats(array, float(wanted))
    return _compare_decimals(array, Decimal(wanted))


def _as_type(kind: pa.DataType, value: Value) -> Decimal | bool | Moment | None:
    """The literal as a value of a column's type; None where it is not one."""
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        if isinstance(value, str):
            return read_moment(value)
        return value if isinstance(value, Moment) else None
    if pa.types.is_boolean(kind):
        if isinstance(value, str):
            return read_bool(value)
        return value if isinstance(value, bool) else _zero_or_one(value)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        if isinstance(value, str):
            return read_number(value)
        if isinstance(value, bool):
            return value if pa.types.is_integer(kind) else None
        return value if isinstance(value, Decimal) else None
    return None


def _zero_or_one(value: Decimal | Moment) -> bool | None:
    return bool(value) if isinstance(value, Decimal) and value in (0, 1) else None


def _compare_text(array: pa.Array, value: Value) -> Order:
    if isinstance(value, str):
        texts, wanted = as_bytes(array), pa.scalar(value.encode(), pa.large_binary())
        return Order(flags(pc.less(texts, wanted)), flags(pc.equal(texts, wanted)), flags(array.is_valid()))
    if isinstance(value, bool):
        return _compare_each(array, read_bool, value)
    if isinstance(value, Decimal):
        return _compare_text_numbers(array, value)
    return _compare_text_moments(array, value)


def _compare_text_moments(array: pa.Array, value: Moment) -> Order:
    """At Arrow's speed where it reads the whole column as the strict conversion would."""
    texts = unchecked_text(array)
    if pc.all(pc.match_substring_regex(texts, ZONELESS), min_count=0).as_py():
        try:
            moments = texts.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:  # some value has the shape of a date and is none
            return _compare_each(array, read_moment, value)
        return _compare_moments(moments, value)
    return _compare_each(array, read_moment, value)


def _compare_text_numbers(array: pa.Array, value: Decimal) -> Order:
    """Columns of plain numbers at Arrow's speed, any other one distinct value at a time."""
    texts = unchecked_text(array)
    if pc.all(pc.match_substring_regex(texts, r"\A-?[0-9]{1,18}\z"), min_count=0).as_py():
        return _compare_integers(texts.cast(pa.int64()), value)
    if pc.all(pc.match_substring_regex(texts, r"\A-?[0-9]{1,9}(?:\.[0-9]{1,9})?\z"), min_count=0).as_py():
        return _compare_decimals(texts.cast(pa.decimal128(_DIGITS_OF_INT64, 9)), value)
    return _compare_each(array, read_number, value)


def _compare_each(array: pa.Array, read: Callable[[str], Any], value: Any) -> Order:
    """Convert each distinct text strictly, compare, and spread the result to the rows."""
    encoded = as_bytes(array).dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    table = np.zeros((3, len(distinct) + 1), dtype=np.bool_)  # the last column is for nulls
    for i, raw in enumerate(distinct):
        converted = read(raw.decode("ascii")) if raw.isascii() else None
        if converted is not None:
            table[:, i] = converted < value, converted == value, True
    rows = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    less, equal, known = table[:, rows]
    return Order(less, equal, known)


def _compare_integers(array: pa.Array, value: Decimal | Fraction) -> Order:
    valid = flags(array.is_valid())
    numbers = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    limits, nothing = np.iinfo(numbers.dtype), np.zeros(len(array), dtype=np.bool_)
    ceiling = ceil(value)
    if ceiling > limits.max:
        return Order(~nothing, nothing, valid)
    if ceiling < limits.min:
        return Order(nothing, nothing, valid)
    bound = numbers.dtype.type(ceiling)
    equal = numbers == bound if ceiling == value else nothing
    return Order(numbers < bound, equal, valid)


def _compare_floats(array: pa.Array, value: float) -> Order:
    numbers = pc.fill_null(array, 0).to_numpy(zero_copy_only=False).astype(np.float64)
    known = flags(array.is_valid()) & ~np.isnan(numbers)
    return Order(numbers < value, numbers == value, known)


def _compare_decimals(array: pa.Array, value: Decimal) -> Order:
    scale, precision = array.type.scale, array.type.precision
    if precision <= _DIGITS_OF_INT64:
        unscaled = _low_words(array.cast(pa.decimal128(precision, scale)))
        return _compare_integers(unscaled, Fraction(value) * Fraction(10) ** scale)
    values = array.to_pylist()
    less = np.fromiter((d is not None and d < value for d in values), np.bool_, len(values))
    equal = np.fromiter((d is not None and d == value for d in values), np.bool_, len(values))
    return Order(less, equal, flags(array.is_valid()))


_DIGITS_OF_INT64: Final = 18


def _low_words(array: pa.Array) -> pa.Array:
    """The unscaled integers of 128-bit decimals that fit in 64 bits."""
    words = np.frombuffer(array.buffers()[1] or b"", np.int64)[2 * array.offset :: 2][: len(array)]
    return pa.array(words, mask=~flags(array.is_valid()))


def _compare_moments(array: pa.Array, value: Moment) -> Order:
    """Times without a zone, in columns and in literals, are read as UTC."""
    unit = array.type.unit if pa.types.is_timestamp(array.type) else _DATE_UNITS[array.type.bit_width]
    ticks = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    return _compare_integers(ticks, Fraction(value.microseconds) / _MICROSECONDS[unit])


_DATE_UNITS: Final = {32: "day", 64: "ms"}
_MICROSECONDS: Final = {
    "day": Fraction(86_400_000_000),
    "s": Fraction(1_000_000),
    "ms": Fraction(1_000),
    "us": Fraction(1),
    "ns": Fraction(1, 1_000),
}


def _unknown(count: int) -> Order:
    nothing = np.zeros(count, dtype=np.bool_)
    return Order(nothing, nothing, nothing)
