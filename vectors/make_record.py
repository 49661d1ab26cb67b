"""Makes vectors/record.json: `python vectors/make_record.py`. The suite checks that it did."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cenotaph.records import Tagged, chunk_hash, encode, record_key, reference_digests

CASE_KEY = bytes(range(32))
STORE, COLLECTION = "health", "核酸检测"


def vectors() -> dict[str, Any]:
    """All vectors as the JSON file holds them."""
    key = record_key(CASE_KEY, STORE, COLLECTION)
    return {
        "spec": "spec/record.md",
        "expect": "every hex and hash follows from the values beside it",
        "key": {
            "case_key": CASE_KEY.hex(),
            "store": STORE,
            "collection": COLLECTION,
            "record_key": key.hex(),
        },
        "cells": [_cell(kind, value, array) for kind, value, array in _values()],
        "rows": [_row(key, columns) for columns in _rows()],
        "chunks": [_chunk(digests, total) for digests, total in _chunks()],
    }


def _values() -> list[tuple[str, str, pa.Array]]:
    """(type, value in words, one value): each type and its edges."""
    uint64, int64, us = pa.uint64(), pa.int64(), pa.timestamp("us")
    return [
        ("any", "null", pa.nulls(1)),
        ("text", "null", pa.array([None], pa.string())),
        ("bool", "false", pa.array([False])),
        ("bool", "true", pa.array([True])),
        ("int8", "-1", pa.array([-1], pa.int8())),
        ("int64", "0", pa.array([0])),
        ("int64", "-9223372036854775808", pa.array([-(2**63)], int64)),
        ("int64", "127", pa.array([127])),
        ("int64", "128", pa.array([128])),
        ("int64", "-32769", pa.array([-32769])),
        ("uint64", "9223372036854775807", pa.array([2**63 - 1], uint64)),
        ("uint64", "9223372036854775808", pa.array([2**63], uint64)),
        ("decimal", "12.50", pa.array([Decimal("12.50")], pa.decimal128(9, 2))),
        ("decimal", "-0.00", pa.array([Decimal("-0.00")], pa.decimal128(9, 2))),
        ("decimal", "1.2E+5", pa.array([Decimal("1.2E+5")], pa.decimal128(5, -4))),
        ("decimal", "-0.000000001", pa.array([Decimal("-0.000000001")], pa.decimal128(12, 9))),
        ("text", "", pa.array([""])),
        ("text", "阴性", pa.array(["阴性"])),
        ("text", "27 times x", pa.array(["x" * 27])),
        ("text", "28 times x", pa.array(["x" * 28])),
        ("text", "256 times x", pa.array(["x" * 256])),
        ("binary", "", pa.array([b""])),
        ("binary", "ff fe 00, which is not UTF-8", pa.array([b"\xff\xfe\0"])),
        ("date", "1969-12-31", pa.array([-1], pa.int32()).view(pa.date32())),
        ("timestamp", "2022-01-01T00:00:00.000001, no zone", pa.array([1640995200000001], int64).view(us)),
        ("timestamp", "2022-01-01T00:00:00Z", pa.array([1640995200], int64).view(pa.timestamp("s", "UTC"))),
        ("timestamp", "1 ns after the epoch, no zone", pa.array([1], int64).view(pa.timestamp("ns"))),
        ("float64", "-0.0", pa.array([-0.0])),
        ("float64", "1.5", pa.array([1.5])),
        ("float64", "NaN with payload 123 hex", _float_bits(0x7FF8000000000123)),
        ("float32", "1.5", pa.array([1.5], pa.float32())),
        ("time", "00:00:01", pa.array([1], pa.int32()).view(pa.time32("s"))),
        ("duration", "-1 ms", pa.array([-1], int64).view(pa.duration("ms"))),
        ("interval", "1 month, -2 days, 3 ns", pa.array([(1, -2, 3)], pa.month_day_nano_interval())),
        ("list", "[]", pa.array([[]], pa.list_(int64))),
        ("list", "[1, null]", pa.array([[1, None]], pa.list_(int64))),
        ("list", "[null, 29 times]", pa.array([[None] * 29], pa.list_(int64))),
        ("struct", "{a: 1, b: null}", pa.array([(1, None)], _fields(a=int64, b=pa.string()))),
        ("map", "{k: 1}", pa.array([[("k", 1)]], pa.map_(pa.string(), int64))),
        ("dictionary of text", "x", pa.array(["x"]).dictionary_encode()),
        ("union of text and integers", "7", _union(pa.array(["x"]), pa.array([7]))),
        ("bytes of a store, sqlite:text", "ff", Tagged("sqlite:text").array([b"\xff"])),
    ]


def _rows() -> list[list[tuple[str, str, pa.Array]]]:
    return [
        [],
        [("text", "", pa.array([""])), ("text", "null", pa.array([None], pa.string()))],
        [
            ("int64", "42", pa.array([42])),
            ("text", "阴性", pa.array(["阴性"])),
            ("date", "2022-11-30", pa.array([19326], pa.int32()).view(pa.date32())),
        ],
    ]


def _chunks() -> list[tuple[list[bytes], int]]:
    one, two = (hashlib.sha256(name).digest() for name in (b"one", b"two"))
    return [([one], 40), ([two, one], 81), ([one, two, one], 121)]


def _cell(kind: str, value: str, array: pa.Array) -> dict[str, str]:
    encoded, _ = encode(pa.RecordBatch.from_arrays([array], ["c"]))
    return {"type": kind, "value": value, "hex": encoded[1:].hex()}


def _row(key: bytes, columns: list[tuple[str, str, pa.Array]]) -> dict[str, Any]:
    row = {str(i): array for i, (_, _, array) in enumerate(columns)}
    batch = pa.record_batch(row) if row else pa.RecordBatch.from_struct_array(pa.array([{}], pa.struct([])))
    digests, _ = reference_digests(key, batch)
    cells = [_cell(*column) for column in columns]
    return {"cells": cells, "row": encode(batch)[0].hex(), "digest": digests.tobytes().hex()}


def _chunk(digests: list[bytes], total: int) -> dict[str, Any]:
    listed = [digest.hex() for digest in digests]
    return {"digests": listed, "bytes": total, "hash": chunk_hash(digests, total).hex()}


def _fields(**kinds: pa.DataType) -> pa.DataType:
    return pa.struct(list(kinds.items()))


def _float_bits(bits: int) -> pa.Array:
    return pa.array(np.array([bits], np.uint64).view(np.float64))


def _union(*children: pa.Array) -> pa.Array:
    """One value: the first of the last child."""
    codes, offsets = pa.array([len(children) - 1], pa.int8()), pa.array([0], pa.int32())
    return pa.UnionArray.from_dense(codes, offsets, list(children))


if __name__ == "__main__":
    made = json.dumps(vectors(), ensure_ascii=False, indent=1)
    Path(__file__).with_name("record.json").write_text(made + "\n", "utf-8")
