"""Columns as predicates and subject lists see them, however Arrow laid them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.arrow import union_places

Bools: TypeAlias = npt.NDArray[np.bool_]


def plain(array: pa.Array) -> pa.Array:
    """The values themselves: extensions as their storage, dictionaries and runs decoded."""
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        elif pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
            return array.cast(pa.large_binary())  # few of Arrow's functions know views
        else:
            return array


def parts(array: pa.Array) -> Iterator[tuple[Any, pa.Array]]:
    """A column as (rows, values of one type): one part, or a part a type for a union."""
    array = plain(array)
    if not pa.types.is_union(array.type):
        yield slice(None), array
        return
    for child, rows, places in union_places(array):
        for inner, part in parts(plain(child).take(pa.array(places))):
            yield rows[inner], part


def nulls(array: pa.Array) -> Bools:
    null = np.zeros(len(array), dtype=np.bool_)
    for where, part in parts(array):
        null[where] = flags(part.is_null())
    return null


def as_text(array: pa.Array) -> pa.Array | None:
    """A column as text: integers in decimal; None for what is neither text nor integer."""
    if pa.types.is_integer(array.type):
        return array.cast(pa.string())
    return array if is_text(array.type) else None


def is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _TEXT_TESTS)


_TEXT_TESTS: Final = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def as_bytes(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_binary())


def unchecked_text(array: pa.Array) -> pa.Array:
    """The same bytes called text, for kernels that work byte by byte. No copy, no check."""
    return as_bytes(array).view(pa.large_string())


def characters(array: pa.Array) -> pa.Array:
    """Text in which a character is a character: bytes that are not UTF-8 become U+FFFD."""
    try:
        return as_bytes(array).cast(pa.large_string())
    except pa.ArrowInvalid:
        values = as_bytes(array).to_pylist()
        return pa.array(
            [None if raw is None else raw.decode("utf-8", "replace") for raw in values], pa.large_string()
        )


def flags(array: pa.Array) -> Bools:
    filled: Bools = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return filled


def byte_set(texts: Sequence[str]) -> pa.Array:
    return pa.array([text.encode() for text in texts], pa.large_binary())
