"""Row encoding the plain way, a value at a time, straight from spec/record.md: the tests' oracle."""

from __future__ import annotations

import hashlib
import re
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa

from cenotaph.records import Tagged


def encode_rows(batch: pa.RecordBatch) -> list[bytes]:
    cells = [[cell(column[i]) for column in batch.columns] for i in range(batch.num_rows)]
    return [counted(0xA0, len(row)) + b"".join(row) for row in cells]


def counted(first: int, count: int) -> bytes:
    if count < 28:
        return bytes([first + count])
    for step, size in ((28, 1), (29, 2), (30, 4)):
        if count < 256**size:
            return bytes([first + step]) + count.to_bytes(size, "big")
    raise OverflowError


def number(first: int, value: int) -> bytes:
    size = next(n for n in range(1, 9) if -(256**n) // 2 <= value < 256**n // 2)
    return bytes([first + size - 1]) + value.to_bytes(size, "big", signed=True)


def prefixed(first: int, content: bytes) -> bytes:
    return counted(first, len(content)) + content


def chunk_hash(digests: list[bytes], total_bytes: int) -> bytes:
    parts = [b"cenotaph/v1 chunk\0", struct.pack(">IQ", len(digests), total_bytes)]
    return hashlib.sha256(b"".join([*parts, *sorted(digests)])).digest()


def cell(scalar: Any) -> bytes:
    kind, types = scalar.type, pa.types
    if types.is_union(kind) or types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return cell(scalar.value) if scalar.value is not None else b"\0"
    if not scalar.is_valid:
        return b"\0"
    if isinstance(kind, Tagged):
        return tagged(kind.tag, scalar.value.as_py())
    if isinstance(kind, pa.BaseExtensionType):
        return cell(scalar.value)
    if types.is_struct(kind):
        fields = [scalar[i] for i in range(kind.num_fields)]
        return counted(0xC0, len(fields)) + b"".join(map(cell, fields))
    if types.is_map(kind):
        pairs = [counted(0xC0, 2) + cell(key) + cell(item) for key, item in entries(scalar)]
        return counted(0xA0, len(pairs)) + b"".join(pairs)
    if types.is_nested(kind):
        items = list(scalar.values)
        return counted(0xA0, len(items)) + b"".join(map(cell, items))
    return flat(scalar)


def entries(scalar: Any) -> list[tuple[Any, Any]]:
    return [(pair[0], pair[1]) for pair in scalar.values]


def flat(scalar: Any) -> bytes:
    kind, types, value = scalar.type, pa.types, scalar.as_py() if not is_ticking(scalar.type) else None
    if types.is_boolean(kind):
        return bytes([0x01 + value])
    if types.is_integer(kind):
        return number(0x08, value) if value < 2**63 else decimal(Decimal(value))
    if types.is_decimal(kind):
        return decimal(value)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return prefixed(0x40, value.encode())
    if types.is_float64(kind):
        return struct.pack(">Bd", 0x03, value)
    if types.is_float32(kind):
        return tagged("float32", struct.pack(">f", value))
    if types.is_float16(kind):
        return tagged("float16", struct.pack(">e", value))
    if types.is_interval(kind):
        return tagged("interval", struct.pack(">iiq", *value))
    if is_ticking(kind):
        return ticks(kind, scalar.value)
    return prefixed(0x60, value)


def is_ticking(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind) or types.is_duration(kind)
    )


def ticks(kind: Any, value: int) -> bytes:
    types = pa.types
    if types.is_date32(kind):
        return number(0x10, value)
    if types.is_date64(kind):
        days, rest = divmod(value, 86_400_000)
        if rest == 0 and -(2**31) <= days < 2**31:
            return number(0x10, days)
        return tagged("date64", struct.pack(">q", value))
    nanoseconds = value * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
    if types.is_time(kind):
        return tagged("time", struct.pack(">q", nanoseconds))
    if types.is_duration(kind):
        return tagged(f"duration[{kind.unit}]", struct.pack(">q", value))
    microseconds, rest = divmod(nanoseconds, 1000)
    zoned = kind.tz is not None
    if rest == 0 and -(2**63) <= microseconds < 2**63:
        return number(0x18 if zoned else 0x20, microseconds)
    return tagged(f"timestamp[{kind.unit}]", struct.pack(">q?", value, zoned))


def decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    whole = "".join(map(str, digits)) + "0" * max(0, int(exponent))
    places = max(0, -int(exponent))
    whole = whole.rjust(places + 1, "0")
    integer, fraction = whole[: len(whole) - places], whole[len(whole) - places :].rstrip("0")
    text = (integer.lstrip("0") or "0") + ("." + fraction if fraction else "")
    return prefixed(0x80, ("-" * (sign and text != "0") + text).encode())


def tagged(tag: str, raw: bytes) -> bytes:
    return prefixed(0xE0, bytes([len(tag)]) + tag.encode() + raw)


# --- Reading rows back, which only tests do ---------------------------------------------------


class NotARowError(ValueError):
    """Bytes that the encoding never gives."""


def decode(row: bytes) -> Any:
    """What a row says: a list of pairs of a kind, its first head, and a value."""
    (kind, items), end = _cell_at(row, 0)
    if kind != 0xA0 or end != len(row):
        raise NotARowError
    return items


def written(kind: int, value: Any) -> bytes:
    """The cell of what `decode` gives."""
    if kind in (0x00, 0x01, 0x02):
        return bytes([kind])
    if kind == 0x03:
        return b"\x03" + value
    if kind < 0x40:
        return number(kind, value)
    if kind in (0xA0, 0xC0):
        return counted(kind, len(value)) + b"".join(written(*item) for item in value)
    return prefixed(kind, value)


def _cell_at(data: bytes, at: int) -> tuple[tuple[int, Any], int]:
    (head,) = _taken(data, at, 1)
    at += 1
    if head < 0x03:
        return (head, None), at
    if head == 0x03:
        return (head, _taken(data, at, 8)), at + 8
    if 0x08 <= head < 0x28:
        return _number_at(data, at, head)
    if head < 0x40:
        raise NotARowError
    kind, count = head & 0xE0, head & 0x1F
    if count > 27:
        size = {28: 1, 29: 2, 30: 4}.get(count, 0)
        count = int.from_bytes(_taken(data, at, size), "big")
        at += size
        if count < {1: 28, 2: 1 << 8, 4: 1 << 16}.get(size, 1 << 32):
            raise NotARowError
    if kind not in (0xA0, 0xC0):
        return (kind, _strict(kind, _taken(data, at, count))), at + count
    items = []
    for _ in range(count):
        item, at = _cell_at(data, at)
        items.append(item)
    return (kind, items), at


def _number_at(data: bytes, at: int, head: int) -> tuple[tuple[int, int], int]:
    kind, size = head & 0xF8, head % 8 + 1
    value = int.from_bytes(_taken(data, at, size), "big", signed=True)
    shorter = 256 ** (size - 1) // 2
    if (size > 1 and -shorter <= value < shorter) or (kind == 0x10 and size > 4):
        raise NotARowError
    return (kind, value), at + size


def _taken(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise NotARowError
    return data[at : at + size]


def _strict(kind: int, raw: bytes) -> bytes:
    if kind == 0x40:
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise NotARowError from None
    if kind == 0x80 and (not re.fullmatch(rb"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", raw) or raw == b"-0"):
        raise NotARowError
    if kind == 0xE0 and (not raw or not 0 < raw[0] < len(raw) or not raw[1 : 1 + raw[0]].isascii()):
        raise NotARowError
    return raw
