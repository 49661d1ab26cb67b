"""Row encoding the plain way, a value at a time, straight from spec/record.md: the tests' oracle."""

from __future__ import annotations

import hashlib
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa

from cenotaph.records import Tagged


def encode_rows(batch: pa.RecordBatch) -> list[bytes]:
    return [prefixed(b"".join(cell(column[i]) for column in batch.columns)) for i in range(batch.num_rows)]


def prefixed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def chunk_hash(digests: list[bytes], total_bytes: int) -> bytes:
    parts = [b"cenotaph/v1 chunk\0", struct.pack(">IQ", len(digests), total_bytes)]
    for position, digest in enumerate(ordered := sorted(digests)):
        parts += [digest, struct.pack(">I", position - ordered.index(digest))]
    return hashlib.sha256(b"".join(parts)).digest()


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
        return struct.pack(">BI", 0x0A, len(fields)) + b"".join(map(cell, fields))
    if types.is_map(kind):
        pairs = [struct.pack(">BI", 0x0A, 2) + cell(key) + cell(item) for key, item in entries(scalar)]
        return struct.pack(">BI", 0x09, len(pairs)) + b"".join(pairs)
    if types.is_nested(kind):
        items = list(scalar.values)
        return struct.pack(">BI", 0x09, len(items)) + b"".join(map(cell, items))
    return flat(scalar)


def entries(scalar: Any) -> list[tuple[Any, Any]]:
    return [(pair[0], pair[1]) for pair in scalar.values]


def flat(scalar: Any) -> bytes:
    kind, types, value = scalar.type, pa.types, scalar.as_py() if not is_ticking(scalar.type) else None
    if types.is_boolean(kind):
        return struct.pack(">B?", 0x01, value)
    if types.is_integer(kind):
        return struct.pack(">Bq", 0x02, value) if value < 2**63 else decimal(Decimal(value))
    if types.is_decimal(kind):
        return decimal(value)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return b"\x04" + prefixed(value.encode())
    if types.is_float64(kind):
        return struct.pack(">Bd", 0x08, value)
    if types.is_float32(kind):
        return tagged("float32", struct.pack(">f", value))
    if types.is_float16(kind):
        return tagged("float16", struct.pack(">e", value))
    if types.is_interval(kind):
        return tagged("interval", struct.pack(">iiq", *value))
    if is_ticking(kind):
        return ticks(kind, scalar.value)
    return b"\x05" + prefixed(value)


def is_ticking(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind) or types.is_duration(kind)
    )


def ticks(kind: Any, value: int) -> bytes:
    types = pa.types
    if types.is_date32(kind):
        return struct.pack(">Bi", 0x06, value)
    if types.is_date64(kind):
        days, rest = divmod(value, 86_400_000)
        if rest == 0 and -(2**31) <= days < 2**31:
            return struct.pack(">Bi", 0x06, days)
        return tagged("date64", struct.pack(">q", value))
    nanoseconds = value * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
    if types.is_time(kind):
        return tagged("time", struct.pack(">q", nanoseconds))
    if types.is_duration(kind):
        return tagged(f"duration[{kind.unit}]", struct.pack(">q", value))
    microseconds, rest = divmod(nanoseconds, 1000)
    zoned = kind.tz is not None
    if rest == 0 and -(2**63) <= microseconds < 2**63:
        return struct.pack(">Bq?", 0x07, microseconds, zoned)
    return tagged(f"timestamp[{kind.unit}]", struct.pack(">q?", value, zoned))


def decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    whole = "".join(map(str, digits)) + "0" * max(0, int(exponent))
    places = max(0, -int(exponent))
    whole = whole.rjust(places + 1, "0")
    integer, fraction = whole[: len(whole) - places], whole[len(whole) - places :].rstrip("0")
    text = (integer.lstrip("0") or "0") + ("." + fraction if fraction else "")
    return b"\x03" + prefixed(("-" * (sign and text != "0") + text).encode())


def tagged(tag: str, raw: bytes) -> bytes:
    return b"\x0f" + prefixed(bytes([len(tag)]) + tag.encode() + raw)
