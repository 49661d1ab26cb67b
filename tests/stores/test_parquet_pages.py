"""What the kernel reads of a Parquet file's pages is what pyarrow reads, and it reads no more than that."""

from __future__ import annotations

import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cenotaph import kernel, parquet_pages
from cenotaph.parquet_pages import OtherwiseError, Plain
from cenotaph.stores.files import tables

native = pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")
from cenotaph_kernel import MalformedError, PageColumn  # noqa: E402

WHOLES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def table(rows: int, seed: int = 0) -> pa.Table:
    """Every type that is read by the kernel, with nulls and without."""
    drawn = np.random.default_rng(seed)

    def some(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=drawn.random(rows) < 0.1)

    few, many = drawn.integers(0, 3, rows), drawn.integers(0, 10**15, rows)
    columns: dict[str, pa.Array] = {
        "texts": some([str(n) for n in many], pa.string()),
        "few": some([("a", "", "姓名" * 20)[n] for n in few], pa.string()),
        "bytes": some([bytes(range(n % 60)) for n in many], pa.binary()),
        "same": pa.array(["x"] * rows),
        "none": pa.nulls(rows, pa.string()),
        "float": some(drawn.random(rows, np.float32), pa.float32()),
        "double": some(drawn.random(rows), pa.float64()),
        "day": some(few.astype(np.int32), pa.date32()),
        "ms": pa.array(many, pa.timestamp("ms", tz="Asia/Shanghai")),
        **{unit: some(many, pa.int64()).cast(pa.timestamp(unit)) for unit in ("us", "ns")},
    }
    for name in WHOLES:
        least, most = np.iinfo(name).min, np.iinfo(name).max
        columns[name] = some(drawn.integers(least, most, rows, name, endpoint=True), pa.type_for_alias(name))
    return pa.table(columns)


def written(whole: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(whole, stream, **options)
    return stream.getvalue()


def read(data: bytes) -> pa.Table | None:
    """None for a file that is damaged."""
    try:
        batches = [*tables.columnar("parquet", io.BytesIO(data))]
    except tables.MalformedError:
        return None
    whole = pa.Table.from_batches(batches) if batches else pa.table({})
    whole.validate()
    return whole


def read_by_pyarrow(data: bytes) -> pa.Table | None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Plain, "of", lambda file: None)
        return read(data)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of the batches that the kernel gave."""
    rows: list[int] = []
    batches = Plain.batches

    def counted(*of: Any) -> Iterator[pa.RecordBatch]:
        for batch in batches(*of):
            rows.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(Plain, "batches", counted)
    return rows


@pytest.mark.parametrize(
    ("compression", "dictionary"), [("none", False), ("snappy", True), ("zstd", ["few", "same", "int8"])]
)
def test_pages_are_read_as_pyarrow_reads_them(
    given: list[int], compression: str, dictionary: bool | list[str]
) -> None:
    """Every type, codec and encoding; columns that begin with a dictionary and go on without."""
    for rows, page in ((1, 20_000), (300, 20_000), (300, 7)):
        options = {"max_rows_per_page": page, "dictionary_pagesize_limit": 800, "row_group_size": 200}
        whole = table(rows)
        data = written(whole, compression=compression, use_dictionary=dictionary, **options)
        given.clear()

        assert read(data) == read_by_pyarrow(data) == whole.replace_schema_metadata(None)

        assert sum(given) == rows
    required = pa.schema([field.with_nullable(False) for field in whole.select(["same", "ms"]).schema])
    data = written(whole.select(["same", "ms"]).cast(required), compression=compression)
    assert read(data) == read_by_pyarrow(data) != None  # noqa: E711


def test_pages_that_end_at_different_rows_are_read_side_by_side(
    given: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is as long as its values make it; where batches would become small, pyarrow reads."""
    monkeypatch.setattr(parquet_pages, "ROWS", 40)
    whole = table(200).select(["texts", "int8", "double"])
    data = written(whole, use_dictionary=False, data_page_size=150, write_batch_size=5)
    assert read(data) == whole.replace_schema_metadata(None)
    assert len({*given}) > 1
    assert sum(given) == 200
    monkeypatch.setattr(parquet_pages, "ROWS", 1 << 16)
    monkeypatch.setattr(parquet_pages, "_together", lambda pages: ([page] for page in pages))
    given.clear()
    assert read(data) == whole.replace_schema_metadata(None)
    assert given == []


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_damaged_page_is_as_damaged_as_it_is_to_pyarrow(codec: str) -> None:
    """What pyarrow refuses the kernel refuses; what it reads all the same has the same values."""
    drawn, outcomes = np.random.default_rng(7), set()
    names = ["texts", "few", "int32", "uint8", "double", "bytes"]
    for seed in range(40):
        whole = table(40, seed).select(names)
        data = bytearray(
            written(whole, compression=codec, use_dictionary=["few", "uint8"], row_group_size=25)
        )
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        data[drawn.integers(4, footer)] ^= 1 << drawn.integers(0, 8)
        found, expected = read(bytes(data)), read_by_pyarrow(bytes(data))
        if found is None or expected is None:
            assert found is expected
        else:
            assert _bits(found) == _bits(expected)
        outcomes.add(found is None)
    assert outcomes == {True, False}


def _bits(whole: pa.Table) -> list[Any]:
    """Values, with a number that is none as its bits."""
    return [
        [each.hex() if isinstance(each, float) else each for each in column.cast(pa.binary()).to_pylist()]
        if pa.types.is_string(column.type)
        else [each.hex() if isinstance(each, float) else each for each in column.to_pylist()]
        for column in whole.columns
    ]


def test_pyarrow_goes_on_where_a_page_is_otherwise(given: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is lost or comes twice."""
    monkeypatch.setattr(parquet_pages, "ROWS", 100)
    whole, read_next, turns = table(900).select(["texts", "int8"]), parquet_pages._Column.next, [0]

    def fails_in_time(column: Any) -> pa.Array:
        turns[0] += 1
        if turns[0] == 8:
            raise OtherwiseError
        return read_next(column)

    monkeypatch.setattr(parquet_pages._Column, "next", fails_in_time)
    data = written(whole, max_rows_per_page=50, row_group_size=600, use_dictionary=False)
    assert read(data) == whole.replace_schema_metadata(None)
    assert given == [100] * 6


OTHERWISE = {
    "lists": pa.array([["a"], None]),
    "structs": pa.array([{"a": 1}, None]),
    "decimals": pa.array([Decimal("1.5"), None]),
    "booleans": pa.array([True, None]),
    "seconds": pa.array([1, None], pa.time32("s")),
    "durations": pa.array([1, None], pa.duration("us")),
    "long texts": pa.array(["a", None], pa.large_string()),
    "dictionaries": pa.array(["a", None]).dictionary_encode(),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_not_known_is_left_to_pyarrow(given: list[int], name: str) -> None:
    """With the columns beside it."""
    data = written(pa.table({"x": pa.array(["1", "2"]), "y": OTHERWISE[name]}))
    assert read(data) == read_by_pyarrow(data) != None  # noqa: E711
    assert given == []


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"data_page_version": "2.0"}])
def test_other_codecs_and_pages_are_left_to_pyarrow(given: list[int], options: dict[str, str]) -> None:
    """As are encodings that few files have."""
    whole = table(9)
    assert read(written(whole, **options)) == whole.replace_schema_metadata(None)
    odd = written(
        whole.select(["int64"]), use_dictionary=False, column_encoding={"int64": "DELTA_BINARY_PACKED"}
    )
    assert read(odd) == whole.select(["int64"]).replace_schema_metadata(None)
    assert given == []


def test_a_page_that_unpacks_to_less_than_it_says_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody wrote would be in it."""
    for name, unpacked in (("zstd", parquet_pages._zstd), ("snappy", parquet_pages._snappy)):
        packed = memoryview(pa.Codec(name).compress(b"abc" * 100, asbytes=True))
        assert bytes(unpacked(packed, 300)) == b"abc" * 100
        for size in (299, 301):
            with pytest.raises(OtherwiseError):
                unpacked(packed, size)
    with pytest.raises(OtherwiseError):
        parquet_pages._zstd(memoryview(b"\x28\xb5\x2f\xfd"), 0)


def of_bytes(rows: int = 1, room: int = 8, **parts: Any) -> PageColumn:
    return PageColumn(bytearray(room), offsets=np.zeros(rows + 1, np.int32), **parts)


ENTRIES = {"entries": 2, "entry_data": b"ab", "entry_offsets": np.array([0, 1, 2], np.int32)}


@pytest.mark.parametrize(
    ("column", "page", "indexed"),
    [
        (of_bytes(), b"\x05\0\0\0abcd", False),
        (of_bytes(room=3), b"\x04\0\0\0abcd", False),
        (of_bytes(), b"\xff\xff\xff\xff", False),
        (of_bytes(), b"\1\0", False),
        (of_bytes(**ENTRIES), b"", True),
        (of_bytes(**ENTRIES), b"\x21\2\0\0\0\0\0", True),
        (of_bytes(**ENTRIES), b"\2\2\2", True),
        (of_bytes(**ENTRIES), b"\2\2\4", True),
        (of_bytes(**ENTRIES), b"\2\3\2", True),
        (of_bytes(**ENTRIES), b"\2\xff\xff\xff\xff\xff", True),
        (of_bytes(**{**ENTRIES, "entry_offsets": np.array([0, 3, 2], np.int32)}), b"\1\2\0", True),
        (of_bytes(valid=bytearray(1)), b"\2\0\0\0\2", False),
        (of_bytes(valid=bytearray(1)), b"\2\0\0\0\2\2", False),
        (PageColumn(bytearray(8), 8, 8), bytes(7), False),
        (PageColumn(bytearray(7), 8, 8), bytes(8), False),
        (PageColumn(bytearray(8), 8, 3), bytes(8), False),
        (PageColumn(bytearray(8), 8, 8, entries=2, entry_data=bytes(15)), b"\1\2\1", True),
        (PageColumn(bytearray(8)), b"\0\0\0\0", False),
    ],
)
def test_nothing_outside_of_a_page_is_read_or_written(column: PageColumn, page: bytes, indexed: bool) -> None:
    """Whatever its values say."""
    with pytest.raises(MalformedError):
        native.page(column, 0, page, 1, indexed=indexed)


def test_without_a_kernel_pyarrow_reads(given: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference, and what other machines have."""
    monkeypatch.setattr(kernel, "found", lambda: None)
    assert read(written(table(9))) == table(9).replace_schema_metadata(None)
    assert given == []
