"""Values that a store gives as bytes of a type of its own, as people and other stores write them.

A search for a person's number begins with how it is written: a UUID, an address, a word of a text search
vector, a field of a composite value. The record that is sealed keeps the bytes.

Format: PostgreSQL's binary forms, src/backend/utils/adt (`uuid_send`, `inet_send`, `tsvectorsend`,
`range_send`, `record_send`, `array_send`, `numeric_send`). What does not have the form of its type is left as
bytes.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

import pyarrow as pa

from cenotaph.records import Tagged

_OWNER = "postgresql:"
_VECTOR = _OWNER + "tsvector"
_LONG_WORD = 8


def spelled(column: pa.Array) -> pa.Array | None:
    """As text, one for each row, parts of a value side by side; None for a column that has no such values."""
    if not _has_parts(column):
        return None
    encoded = column.storage.dictionary_encode()
    found = [_parts(column.type.tag, value) for value in encoded.dictionary.to_pylist()]
    if found and all(parts is None for parts in found):
        return None
    texts = [None if parts is None else " ".join(parts) for parts in found]
    return pa.array(texts, pa.string()).take(encoded.indices)


def parts(column: pa.Array) -> tuple[pa.Array, pa.Array] | None:
    """The texts of which the values are made, and the values of which that is not known, as bytes; each once.
    None for a column that has no such values."""
    if not _has_parts(column):
        return None
    texts: dict[str, None] = {}
    rest = []
    for value in column.storage.unique().drop_null().to_pylist():
        found = _parts(column.type.tag, value)
        if found is None:
            rest.append(value)
        elif column.type.tag == _VECTOR:
            texts.update(dict.fromkeys(word for word in found if _tells(word)))
        else:
            texts.update(dict.fromkeys(found))
    return pa.array(texts, pa.string()), pa.array(rest, pa.large_binary())


def _tells(word: str) -> bool:
    """Whether a word is sought by itself. Short ones of plain letters are parts of others, which any server's
    own catalogs have: quirin is in acquiring."""
    return len(word) >= _LONG_WORD or not (word.isascii() and word.isalpha())


def _has_parts(column: pa.Array) -> bool:
    return isinstance(column.type, Tagged) and column.type.tag.startswith(_OWNER)


def _parts(tag: str, value: bytes) -> list[str] | None:
    """The texts in a value; None where it does not have the form of its type."""
    read = _TYPES.get(tag.removeprefix(_OWNER), _made_of_others)
    try:
        return list(read(value))
    except (ValueError, IndexError):
        return None


# --- types


def _uuid(value: bytes) -> Iterator[str]:
    yield str(uuid.UUID(bytes=value))


def _inet(value: bytes) -> Iterator[str]:
    """Family, bits, whether it is a network, length, address."""
    if value[3] != len(value) - 4 or value[3] not in (4, 16):
        raise ValueError
    address = ipaddress.ip_address(value[4:])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    text = str(address) if mapped is None else f"::ffff:{mapped}"
    yield text if value[1] == 8 * value[3] and not value[2] else f"{text}/{value[1]}"


def _mac(value: bytes) -> Iterator[str]:
    if len(value) not in (6, 8):
        raise ValueError
    yield value.hex(":")


def _text(value: bytes) -> Iterator[str]:
    yield value.decode()


def _jsonb(value: bytes) -> Iterator[str]:
    yield value[1:].decode()


def _integer(value: bytes) -> Iterator[str]:
    yield str(int.from_bytes(value, "big", signed=True))


def _numeric(value: bytes) -> Iterator[str]:
    """How many digits to the base 10,000, the power of the first, sign, digits behind the point, digits."""
    count, power, sign, scale = (_number(value, at, 2) for at in (0, 2, 4, 6))
    if len(value) != 8 + 2 * count or sign not in (0, 0x4000) or scale > _MOST_SCALE:
        raise ValueError
    digits = "".join(f"{_number(value, at, 2):04}" for at in range(8, len(value), 2)) or "0"
    behind = 4 * (count - 1 - (power - (power >> 15 << 16))) if count else 0
    if not -_MOST_SCALE <= behind <= _MOST_SCALE:
        raise ValueError
    yield ("-" if sign else "") + f"{Decimal(f'{digits}E{-behind}'):.{scale}f}"


def _vector(value: bytes) -> Iterator[str]:
    """How many words; of each its bytes, a zero, how many places, and these."""
    at = 4
    for _ in range(_number(value, 0, 4)):
        end = value.index(0, at)
        yield value[at:end].decode()
        at = end + 3 + 2 * _number(value, end + 1, 2)
    if at != len(value):
        raise ValueError


def _range_of(read: Callable[[bytes], Iterator[str]]) -> Callable[[bytes], Iterator[str]]:
    def bounds(value: bytes) -> Iterator[str]:
        """What there is of it (`RANGE_EMPTY`, `RANGE_LB_INF`, `RANGE_UB_INF`); its length and itself."""
        at, flags = 1, value[0]
        if flags & _NO_RANGE:
            raise ValueError
        for infinite in (0x08 | 0x01, 0x10 | 0x01):
            if not flags & infinite:
                size = _number(value, at, 4)
                yield from read(_slice(value, at + 4, size))
                at += 4 + size
        if at != len(value):
            raise ValueError

    return bounds


def _made_of_others(value: bytes) -> Iterator[str]:
    """A composite value, or an array that is no list."""
    try:
        return iter(list(_fields(value)))
    except (ValueError, IndexError):
        return _elements(value)


def _fields(value: bytes) -> Iterator[str]:
    """How many; of each its type, its length, and itself."""
    at = 4
    for _ in range(_number(value, 0, 4)):
        kind, at, field = _number(value, at, 4), *_sized(value, at + 4)
        yield from _of_kind(kind, field)
    if at != len(value) or at == 4:
        raise ValueError


def _elements(value: bytes) -> Iterator[str]:
    """Dimensions, whether some are null, the type; of each dimension its length and first; the values."""
    dimensions, kind = _number(value, 0, 4), _number(value, 8, 4)
    at = 12 + 8 * dimensions
    if not 0 < dimensions <= 6 or kind not in _KINDS:  # MAXDIM
        raise ValueError
    while at < len(value):
        at, element = _sized(value, at)
        yield from _of_kind(kind, element)


def _of_kind(kind: int, value: bytes | None) -> Iterator[str]:
    if value is not None and kind in _KINDS:
        yield from _KINDS[kind](value)


def _sized(value: bytes, at: int) -> tuple[int, bytes | None]:
    size = _number(value, at, 4)
    return (at + 4, None) if size == _NULL else (at + 4 + size, _slice(value, at + 4, size))


def _number(value: bytes, at: int, size: int) -> int:
    return int.from_bytes(_slice(value, at, size), "big")


def _slice(value: bytes, at: int, size: int) -> bytes:
    if at + size > len(value):
        raise ValueError
    return value[at : at + size]


_NULL = 0xFFFFFFFF
_MOST_SCALE = 1000
_NO_RANGE = 0x60  # flags that no range has
_TYPES: Mapping[str, Callable[[bytes], Iterator[str]]] = {
    "uuid": _uuid,
    "inet": _inet,
    "cidr": _inet,
    "macaddr": _mac,
    "macaddr8": _mac,
    "numeric": _numeric,
    "tsvector": _vector,
    "numrange": _range_of(_numeric),
    "int4range": _range_of(_integer),
    "int8range": _range_of(_integer),
}
_TEXTS: Sequence[int] = (19, 25, 114, 142, 1042, 1043)  # name text json xml bpchar varchar (pg_type.dat)
_KINDS: Mapping[int, Callable[[bytes], Iterator[str]]] = {
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys((20, 21, 23), _integer),
    3802: _jsonb,
    1700: _numeric,
    2950: _uuid,
    869: _inet,
    650: _inet,
    829: _mac,
    3614: _vector,
}
