"""The canonical row encoding, the digests over it, and chunks."""

from __future__ import annotations

import hashlib
import json
import runpy
import struct
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reference_records as reference
from cenotaph.errors import PermanentStoreError
from cenotaph.records import (
    CHUNK_RECORDS,
    MAX_DEPTH,
    Chunk,
    Chunker,
    Digester,
    Tagged,
    as_digests,
    chunk_hash,
    encode,
    record_key,
)

VECTORS = Path(__file__).parent.parent / "vectors"
KEY = bytes(range(64))


def rows_of(batch: pa.RecordBatch) -> list[bytes]:
    encoded, offsets = encode(batch)
    assert offsets[0] == 0
    assert offsets[-1] == len(encoded)
    return [bytes(encoded[start:end]) for start, end in pairwise(offsets)]


def cells_of(array: pa.Array) -> list[bytes]:
    return [row[1:] for row in rows_of(batch_of(array))]


def batch_of(*arrays: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(arrays), [f"c{i}" for i in range(len(arrays))])


INT64 = st.integers(-(2**63), 2**63 - 1)
TICKS = st.one_of(st.integers(-(2**40), 2**40), INT64, st.integers(-(10**6), 10**6).map(lambda n: n * 1000))
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
FLOATS = st.floats(width=64) | st.sampled_from([0.0, -0.0])


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return st.one_of(st.integers(-limit, limit), st.integers(-99, 99)).map(
        lambda n: Decimal(n).scaleb(-scale, None)
    )


SCALARS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint16(), st.integers(0, 65535)),
    (pa.int64(), INT64),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.binary(), st.binary(max_size=12)),
    (pa.large_binary(), st.binary(max_size=12)),
    (pa.binary_view(), st.binary(max_size=20)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.decimal128(20, 4), decimals(20, 4)),
    (pa.decimal128(9, 0), decimals(9, 0)),
    (pa.decimal128(12, 9), decimals(12, 9)),
    (pa.decimal32(7, 2), decimals(7, 2)),
    (pa.float64(), FLOATS),
    (pa.float32(), st.floats(width=32)),
    (pa.float16(), st.floats(width=16).map(np.float16)),
    (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.date64(), TICKS),
    (pa.timestamp("s"), TICKS),
    (pa.timestamp("ms", "Asia/Shanghai"), TICKS),
    (pa.timestamp("us"), TICKS),
    (pa.timestamp("ns", "UTC"), TICKS),
    (pa.time32("ms"), st.integers(0, 86_399_999)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
    (pa.duration("s"), TICKS),
    (pa.month_day_nano_interval(), st.tuples(st.integers(-9, 9), st.integers(-9, 9), INT64)),
    (pa.dictionary(pa.int8(), pa.string()), TEXT),
]


@st.composite
def scalar_arrays(draw: st.DrawFn, count: int) -> pa.Array:
    kind, values = draw(st.sampled_from(SCALARS))
    items = draw(st.lists(values | st.none(), min_size=count, max_size=count))
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        integer = pa.int32() if kind == pa.date32() else pa.int64()
        return pa.array(items, integer).view(kind)
    return pa.array(items, kind)


@st.composite
def arrays(draw: st.DrawFn, count: int, depth: int = 2) -> pa.Array:
    """Any array of `count` values; what lies beneath it may be longer, at an offset, or unused."""
    before, after = draw(st.integers(0, 9)), draw(st.integers(0, 2))
    total = before + count + after
    shape = draw(st.sampled_from(SHAPES if depth else SHAPES[:1]))
    return shape(draw, total, depth).slice(before, count)


def flat(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    return draw(scalar_arrays(count))


def nulls(draw: st.DrawFn, count: int) -> pa.Array:
    return pa.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), pa.bool_())


def bounds(draw: st.DrawFn, count: int) -> list[int]:
    sizes = draw(st.lists(st.integers(0, 3), min_size=count + 1, max_size=count + 1))
    return np.cumsum(sizes).tolist()


def struct_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    fields = [draw(arrays(count, depth - 1)) for _ in range(draw(st.integers(1, 2)))]
    names = [f"f{i}" for i in range(len(fields))]
    return pa.StructArray.from_arrays(fields, names, mask=nulls(draw, count))


def list_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    ends = bounds(draw, count)
    items = draw(arrays(ends[-1] + 1, depth - 1))
    if draw(st.booleans()):
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), items, mask=nulls(draw, count))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items, mask=nulls(draw, count))


def fixed_list_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    items = draw(arrays(count * 2, depth - 1))
    return pa.FixedSizeListArray.from_arrays(items, 2, mask=nulls(draw, count))


def list_view_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    items = draw(arrays(4, 0))
    starts = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    sizes = [4 - start for start in starts]
    return pa.ListViewArray.from_arrays(
        pa.array(starts, pa.int32()), pa.array(sizes, pa.int32()), items, mask=nulls(draw, count)
    )


def map_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    ends = bounds(draw, count)
    keys = pa.array([f"k{i}" for i in range(ends[-1])], pa.string())
    return pa.MapArray.from_arrays(pa.array(ends, pa.int32()), keys, draw(arrays(ends[-1], depth - 1)))


def dense_union_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    children = [draw(arrays(3, depth - 1)) for _ in range(2)]
    codes = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    offsets = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    return pa.UnionArray.from_dense(pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), children)


def sparse_union_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    children = [draw(arrays(count, depth - 1)) for _ in range(2)]
    codes = draw(st.lists(st.sampled_from([5, 7]), min_size=count, max_size=count))
    return pa.UnionArray.from_sparse(pa.array(codes, pa.int8()), children, type_codes=[5, 7])


def tagged_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    values = draw(st.lists(st.binary(max_size=5) | st.none(), min_size=count, max_size=count))
    return Tagged("sqlite:text").array(values)


def runs_of(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    if not count:
        return flat(draw, count, depth)
    values = pa.array(draw(st.lists(TEXT | st.none(), min_size=1, max_size=1)), pa.string())
    return pa.RunEndEncodedArray.from_arrays(pa.array([count], pa.int32()), values)


SHAPES = [
    flat,
    struct_of,
    list_of,
    fixed_list_of,
    list_view_of,
    map_of,
    dense_union_of,
    sparse_union_of,
    tagged_of,
    runs_of,
]


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    count = draw(st.integers(0, 6))
    columns = draw(st.integers(1, 3))
    return batch_of(*(draw(arrays(count)) for _ in range(columns)))


class TestEncoding:
    """spec/record.md, "Row"."""

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(batches())
    def test_whole_columns_encode_like_single_values(self, batch: pa.RecordBatch) -> None:
        """The vectorised encoder gives the bytes of the plain one, for every type and layout; and what a
        row holds, and where it ends, follows from them: none begins another."""
        rows = rows_of(batch)
        assert rows == reference.encode_rows(batch)
        for row in rows:
            assert reference.written(0xA0, reference.decode(row)) == row
            for end in range(len(row)):
                with pytest.raises(reference.NotARowError):
                    reference.decode(row[:end])

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(batches(), st.data())
    def test_a_row_does_not_depend_on_its_batch(self, batch: pa.RecordBatch, data: st.DataObject) -> None:
        """A slice of a batch encodes to the slice of its encodings."""
        start = data.draw(st.integers(0, batch.num_rows))
        assert rows_of(batch.slice(start)) == rows_of(batch)[start:]

    def test_null_and_empty_differ(self) -> None:
        """A null is one zero byte; an empty text has a head of its own."""
        assert cells_of(pa.array([None, ""])) == [b"\0", b"\x40"]

    def test_bytes_that_are_not_text_stay_as_they_are(self) -> None:
        """Binary is never decoded, so invalid UTF-8 encodes like anything else."""
        assert cells_of(pa.array([b"\xff\xfe"])) == [b"\x62\xff\xfe"]

    def test_nan_payloads_are_kept(self) -> None:
        """Two NaNs with different bits are two values, for either width."""
        bits = [0x7FF8000000000000, 0x7FF0000000000001, 0xFFF8000000000123]
        array = pa.array(np.array(bits, np.uint64).view(np.float64))
        assert cells_of(array) == [struct.pack(">BQ", 3, n) for n in bits]
        short = pa.array(np.array([0x7F800001, 0x7FC00000], np.uint32).view(np.float32))
        assert [cell[-4:] for cell in cells_of(short)] == [b"\x7f\x80\0\x01", b"\x7f\xc0\0\0"]

    def test_a_loose_column_encodes_like_strict_ones(self) -> None:
        """A union's value has the bytes that it has in a column of its own type."""
        text, number = pa.array(["x", None]), pa.array([7, -1])
        codes, offsets = pa.array([0, 1, 0, 1], pa.int8()), pa.array([0, 0, 1, 1], pa.int32())
        union = pa.UnionArray.from_dense(codes, offsets, [text, number])
        apart = cells_of(text), cells_of(number)
        assert cells_of(union) == [apart[0][0], apart[1][0], apart[0][1], apart[1][1]]

    @pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.int64(), pa.uint64()])
    def test_the_width_of_an_integer_does_not_matter(self, kind: pa.DataType) -> None:
        """Every integer type gives the bytes of int64."""
        assert cells_of(pa.array([0, 5, None, 127], kind)) == cells_of(
            pa.array([0, 5, None, 127], pa.int64())
        )

    def test_integers_beyond_int64_are_decimals(self) -> None:
        """2^63 − 1 is the last integer; 2^63 is the decimal of that value."""
        integer, decimal = cells_of(pa.array([2**63 - 1, 2**63], pa.uint64()))
        assert integer == b"\x0f\x7f" + b"\xff" * 7
        assert decimal == b"\x93" + b"9223372036854775808"

    def test_the_scale_of_a_decimal_does_not_matter(self) -> None:
        """12.50 of scale 2 and of scale 9 are the same value, and zero has no sign and no point."""
        values = [Decimal("12.50"), Decimal("-0.00"), Decimal("-100"), None]
        short, long = (pa.array(values, pa.decimal128(20, scale)) for scale in (2, 9))
        assert cells_of(short) == cells_of(long)
        assert [cell[1:] for cell in cells_of(short)] == [b"12.5", b"0", b"-100", b""]

    def test_a_negative_scale_is_written_out(self) -> None:
        """A decimal never has an exponent."""
        assert cells_of(pa.array([Decimal("1.2E+5")], pa.decimal128(5, -4)))[0][1:] == b"120000"

    def test_what_lies_under_a_null_does_not_show(self) -> None:
        """Arrow leaves bytes under nulls; a database's old values must not reach a digest."""
        data, offsets = pa.py_buffer(b"oldnew"), pa.py_buffer(np.array([0, 3, 6], np.int32))
        array = pa.StringArray.from_buffers(2, offsets, data, pa.py_buffer(b"\x02"))
        assert cells_of(array) == [b"\0", b"\x43new"]

    def test_extensions_are_their_storage(self) -> None:
        """An Arrow UUID is sixteen bytes."""
        array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16)))
        assert cells_of(array) == [b"\x70" + bytes(16)]

    def test_rows_without_columns_are_still_rows(self) -> None:
        """An empty list each, as often as there are rows."""
        batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
        assert rows_of(batch) == [b"\xa0", b"\xa0"]

    @pytest.mark.parametrize("size", [0, 27, 28, 255, 256, 65_535, 65_536])
    def test_counts_take_as_few_bytes_as_hold_them(self, size: int) -> None:
        """Of bytes, of items and of columns, on either side of every step; beside a null and a short one."""
        texts, lists = pa.array(["x" * size, None, "x"]), pa.array([[True] * size, None, [False]])
        head = reference.counted(0x40, size)
        assert cells_of(texts)[0] == head + b"x" * size
        assert len(head) == 1 + (size > 27) + (size > 255) + 2 * (size > 65_535)
        assert rows_of(batch_of(texts, lists)) == reference.encode_rows(batch_of(texts, lists))
        if size < 300:
            wide = batch_of(*[pa.array([None, 7])] * size) if size else batch_of()
            assert rows_of(wide) == reference.encode_rows(wide)

    def test_numbers_take_as_few_bytes_as_hold_them(self) -> None:
        """On either side of every width, in every kind of number."""
        edges = [sign * 2 ** (8 * n - 1) + more for n in range(1, 8) for sign in (-1, 1) for more in (-1, 0)]
        numbers = pa.array([*edges, 0, -1, None, -(2**63), 2**63 - 1])
        for array in (numbers, numbers.view(pa.timestamp("us")), numbers.view(pa.timestamp("us", "UTC"))):
            assert rows_of(batch_of(array)) == reference.encode_rows(batch_of(array))
        assert cells_of(numbers)[:4] == [b"\x09\xff\x7f", b"\x08\x80", b"\x08\x7f", b"\x09\0\x80"]

    def test_a_value_of_four_gigabytes_is_refused(self) -> None:
        """Memory that nobody touches has its length all the same."""
        offsets = pa.py_buffer(np.array([0, 1 << 32], np.int64))
        array = pa.Array.from_buffers(
            pa.large_binary(), 1, [None, offsets, pa.py_buffer(np.zeros(1 << 32, np.uint8))]
        )
        with pytest.raises(PermanentStoreError, match="4 GiB or more"):
            encode(batch_of(array))

    def test_what_can_be_read_has_one_encoding(self) -> None:
        """A row with a bit changed, a byte put in or left out, is no row, or the encoding of another."""
        cells = json.loads((VECTORS / "record.json").read_text("utf-8"))["cells"]
        read = 0
        for row in (b"\xa1" + bytes.fromhex(cell["hex"]) for cell in cells):
            for at in range(len(row)):
                before, byte, after = row[:at], row[at], row[at + 1 :]
                changed = [before + bytes([byte ^ 1 << bit]) + after for bit in range(8)]
                for other in (
                    *changed,
                    before + after,
                    before + b"\0" + row[at:],
                    before + bytes([byte]) + row[at:],
                ):
                    try:
                        items = reference.decode(other)
                    except reference.NotARowError:
                        continue
                    read += 1
                    assert reference.written(0xA0, items) == other
        assert read

    def test_types_nested_without_end_are_refused(self) -> None:
        """A hostile schema ends in an error, not in Python's recursion limit."""
        array = pa.array([1])
        for _ in range(MAX_DEPTH + 1):
            array = pa.StructArray.from_arrays([array], ["a"])
        with pytest.raises(PermanentStoreError, match="nested more than"):
            encode(batch_of(array))

    @pytest.mark.parametrize("tag", ["", "text", "sqlite:", "sqlite:" + "x" * 249, "sqlite:名"])
    def test_a_tag_names_its_store(self, tag: str) -> None:
        """A store cannot use a name of Arrow's own, which have no colon."""
        with pytest.raises(ValueError, match="a store's tag"):
            Tagged(tag)


class TestDigests:
    """spec/record.md, "Digest"."""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(batches())
    def test_a_digest_is_sha256_over_key_and_row(self, batch: pa.RecordBatch) -> None:
        """One hash of the key's block and the row, with the row's length beside it."""
        digests, lengths = Digester(KEY).digests(batch)
        rows = reference.encode_rows(batch)
        assert list(map(bytes, digests)) == [hashlib.sha256(KEY + row).digest() for row in rows]
        assert lengths.tolist() == [len(row) for row in rows]

    def test_collections_have_keys_of_their_own(self) -> None:
        """Neither another collection nor the same letters split differently give the same key."""
        names = [("a", "bc"), ("ab", "c"), ("", "abc"), ("a", "bd")]
        keys = {record_key(bytes(32), store, collection) for store, collection in names}
        assert len(keys) == len(names)
        assert {len(key) for key in keys} == {64}

    def test_short_keys_are_refused(self) -> None:
        """A case key under 32 bytes and a record key that is not one block are mistakes."""
        with pytest.raises(ValueError, match="at least 32"):
            record_key(bytes(31), "s", "c")
        with pytest.raises(ValueError, match="64 bytes"):
            Digester(bytes(32))


DIGESTS = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 3).map(lambda n: bytes([n]) * 32),  # equal ones
    st.integers(0, 3).map(lambda n: n.to_bytes(32, "big")),  # that differ late
)


class TestChunks:
    """spec/record.md, "Chunk"."""

    @settings(max_examples=50, deadline=None)
    @given(st.lists(DIGESTS, max_size=12), st.integers(0, 2**40))
    def test_a_chunk_commits_to_a_multiset(self, digests: list[bytes], total: int) -> None:
        """Order does not matter; how often a record occurs does."""
        assert chunk_hash(digests, total) == reference.chunk_hash(digests, total)
        assert chunk_hash(reversed(digests), total) == chunk_hash(digests, total)
        if digests:
            assert chunk_hash([*digests, digests[0]], total) != chunk_hash(digests, total)
        assert chunk_hash(digests, total + 1) != chunk_hash(digests, total)

    @pytest.mark.parametrize("step", [1000, CHUNK_RECORDS, 9000])
    def test_chunks_do_not_depend_on_batches(self, step: int) -> None:
        """However the digests arrive, the next 4,096 of them are a chunk."""
        digests = [n.to_bytes(32, "big") for n in range(2 * CHUNK_RECORDS + 7)]
        table = as_digests(b"".join(digests))
        lengths = np.arange(len(digests), dtype=np.int64)
        chunker, chunks = Chunker(), []
        for start in range(0, len(digests), step):
            chunks += chunker.add(table[start : start + step], lengths[start : start + step])
        chunks += chunker.finish()
        assert chunks == [
            Chunk(
                len(part),
                int(lengths[i : i + CHUNK_RECORDS].sum()),
                chunk_hash(part, int(lengths[i : i + CHUNK_RECORDS].sum())),
            )
            for i in range(0, len(digests), CHUNK_RECORDS)
            if (part := digests[i : i + CHUNK_RECORDS])
        ]

    def test_a_partition_without_records_has_no_chunk(self) -> None:
        """Nothing is not an empty chunk, and finishing twice is harmless."""
        chunker = Chunker()
        assert chunker.finish() == []
        chunker.add(as_digests(bytes(32)), np.array([9]))
        assert [chunk.records for chunk in chunker.finish()] == [1]
        assert chunker.finish() == []


class TestVectors:
    """vectors/record.json, for whoever implements the encoding elsewhere."""

    def test_the_vectors_are_what_the_script_makes(self) -> None:
        """The file was not edited by hand, and the encoding has not changed."""
        script = runpy.run_path(str(VECTORS / "make_record.py"))
        assert json.loads((VECTORS / "record.json").read_text("utf-8")) == script["vectors"]()

    def test_the_vectors_agree_with_the_plain_encoder(self) -> None:
        """What the file says of digests and chunks follows from its bytes alone."""
        vectors = json.loads((VECTORS / "record.json").read_text("utf-8"))
        for row in vectors["rows"]:
            cells = b"".join(bytes.fromhex(cell["hex"]) for cell in row["cells"])
            encoded = bytes([0xA0 + len(row["cells"])]) + cells
            assert encoded.hex() == row["row"]
            assert (
                hashlib.sha256(bytes.fromhex(vectors["key"]["record_key"]) + encoded).hexdigest()
                == row["digest"]
            )
        for chunk in vectors["chunks"]:
            digests = [bytes.fromhex(digest) for digest in chunk["digests"]]
            assert reference.chunk_hash(digests, chunk["bytes"]).hex() == chunk["hash"]
