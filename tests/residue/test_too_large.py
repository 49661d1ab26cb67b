"""Parquet and Arrow files that decode to more than they let on: what is read of them is bounded, and told.

Every one of these took gigabytes, or as long as its author liked, of a file of a few kilobytes.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cenotaph import arrow, parquet
from cenotaph.arrow import TooLargeError
from cenotaph.residue import columns
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import Findings, Limits, scan

NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
PHONES = [f"1380000{n % 50:04d}" for n in range(400)]
TOLD = f"{columns.TOO_LARGE} (1 times)"
MEGABYTE = "x" * (1 << 20)


@pytest.fixture(scope="module")
def needles() -> Needles:
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(PHONES[:50]), "phone")
    return builder.finish()


def _arrow(compression: str | None = "zstd", **data: pa.Array) -> bytes:
    out = io.BytesIO()
    batch = pa.record_batch(data)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(out, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return out.getvalue()


def _parquet(options: dict[str, Any] | None = None, **data: pa.Array) -> bytes:
    out = io.BytesIO()
    pq.write_table(
        pa.table(data), out, **{"compression": "zstd", "write_statistics": False, **(options or {})}
    )
    return out.getvalue()


def _scan(data: bytes, needles: Needles, depth: int = 1) -> Findings:
    return scan(io.BytesIO(data), len(data), needles, NOTHING_KEPT, depth=depth, limits=Limits(ratio=400))


# ── what a column may be made of ─────────────────────────────────────────────────────────────────


def _kinds() -> dict[str, pa.Array]:
    texts, rows = pa.array(PHONES), len(PHONES)
    every = pa.array(range(rows), pa.int32())
    codes = pa.array([0] * rows, pa.int8())
    ends = pa.array(range(1, rows + 1), pa.int32())
    return {
        "dictionary": texts.dictionary_encode(),
        "dictionary in a struct": pa.StructArray.from_arrays([texts.dictionary_encode()], names=["b"]),
        "view": texts.cast(pa.string_view()),
        "view of bytes": texts.cast(pa.binary()).cast(pa.binary_view()),
        "fixed length": texts.cast(pa.binary()).cast(pa.binary(11)),
        "list view": pa.ListViewArray.from_arrays(every, pa.array([1] * rows, pa.int32()), texts),
        "run-end encoded": pa.RunEndEncodedArray.from_arrays(ends, texts),
        "sparse union": pa.UnionArray.from_sparse(codes, [texts]),
        "dense union": pa.UnionArray.from_dense(codes, every, [texts]),
        "map": pa.array([[(phone, "")] for phone in PHONES], pa.map_(pa.string(), pa.string())),
        "extension": pa.ExtensionArray.from_storage(pa.json_(), texts),
        "behind a null": pa.StructArray.from_arrays([texts], names=["b"], mask=pa.array([True] * rows)),
    }


@pytest.mark.parametrize("kind", _kinds())
def test_a_column_of_any_kind_is_searched(kind: str, needles: Needles) -> None:
    """However values are stored, each is written out."""
    findings = _scan(_arrow(a=_kinds()[kind]), needles)

    assert len(findings.residue) == 50
    assert not findings.problems


def test_a_column_that_has_no_text_hides_no_other(needles: Needles) -> None:
    """Intervals cannot be written as text here; the column beside them can."""
    intervals = pa.array([(1, 2, 3)] * 400, pa.month_day_nano_interval())
    zoned = pa.array(range(400), pa.timestamp("s", "No/Where"))

    findings = _scan(_arrow(a=intervals, b=zoned, c=pa.array(PHONES)), needles)

    assert len(findings.residue) == 50
    assert findings.problems == ("arrow file is damaged or cut off (1 times)",)


# ── Arrow ────────────────────────────────────────────────────────────────────────────────────────


def test_a_length_that_a_buffer_claims_is_not_allocated(needles: Needles) -> None:
    """A terabyte, said in the eight bytes before a compressed buffer."""
    data = _arrow(a=pa.array(PHONES))
    at = data.index(struct.pack("<q", 4400))  # bytes of all texts
    allocated = pa.default_memory_pool().max_memory()

    findings = _scan(data[:at] + struct.pack("<q", 1 << 40) + data[at + 8 :], needles)

    assert findings.problems == (TOLD,)
    assert pa.default_memory_pool().max_memory() == allocated


def test_a_batch_that_decodes_to_too_much_is_told(needles: Needles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros compress ten thousand times; the batches before are searched."""
    monkeypatch.setattr(columns, "MOST_BATCH", 1 << 19)
    schema = pa.schema([("a", pa.string())])
    out = io.BytesIO()
    with pa.ipc.new_file(out, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.record_batch({"a": PHONES}))
        writer.write_batch(pa.record_batch({"a": [MEGABYTE]}))

    findings = _scan(out.getvalue(), needles)

    assert (len(findings.residue), findings.problems) == (50, (TOLD,))


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_the_footer_of_a_file_is_checked_as_pyarrow_follows_it(
    compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dictionaries and batches; a file that is cut off has none."""
    data = _arrow(compression, a=pa.array([MEGABYTE]).dictionary_encode())

    arrow.check_sizes(io.BytesIO(data))
    monkeypatch.setattr(arrow, "_LEAST", 1 << 19)
    monkeypatch.setattr(arrow, "_RATIO", 0)
    with pytest.raises(TooLargeError):
        arrow.check_sizes(io.BytesIO(data))
    for cut in (len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError, match="cannot be followed"):
            arrow.check_sizes(io.BytesIO(data[:cut]))


def test_what_many_rows_name_is_read_once(needles: Needles) -> None:
    """Rows of a few bytes that name the same megabyte: of a dictionary, a list, a buffer of views."""
    rows, one = 8192, pa.array([MEGABYTE], pa.string_view()).buffers()
    none = pa.array([0] * rows, pa.int32())
    dictionary = pa.DictionaryArray.from_arrays(none, pa.array([MEGABYTE]))
    views = [None, pa.py_buffer(one[1].to_pybytes()[:16] * rows), *one[2:]]
    lists = pa.ListViewArray.from_arrays(none, pa.array([1] * rows, pa.int32()), pa.array([MEGABYTE]))

    for column, most in (
        (dictionary, 3 << 20),
        (lists, 3 << 20),
        (pa.Array.from_buffers(pa.string_view(), rows, views), 100 << 20),
    ):
        assert _scan(_arrow(a=column), needles).decoded < most


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────


def test_a_page_that_decodes_to_too_much_is_told(needles: Needles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns beside it are read."""
    monkeypatch.setattr(parquet, "MOST_PAGE", 1 << 18)

    findings = _scan(_parquet(a=pa.array([MEGABYTE] * 400), b=pa.array(PHONES)), needles)

    assert (len(findings.residue), findings.problems) == (50, (TOLD,))


def test_a_row_that_holds_a_million_nothings_is_told(
    needles: Needles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of nulls costs two bytes, whatever its length."""
    monkeypatch.setattr(parquet, "_MOST_NESTED", 1 << 19)
    nulls = pa.ListArray.from_arrays(pa.array([0, 1 << 20], pa.int32()), pa.nulls(1 << 20, pa.int8()))

    assert _scan(_parquet(a=nulls), needles).problems == (TOLD,)


def test_a_file_of_nothings_is_not_read_for_ever(needles: Needles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a file of many such columns."""
    monkeypatch.setattr(parquet.Budget, "of", lambda size: parquet.Budget(1 << 30, 1 << 20))

    assert _scan(_parquet(a=pa.nulls((1 << 20) + 1, pa.int8())), needles).problems == (TOLD,)


DELTA = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}


@pytest.mark.parametrize("options", [{}, DELTA], ids=["dictionary", "delta"])
def test_a_value_that_each_row_repeats_is_not_held_each_time(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dictionaries and shared beginnings repeat it in a byte or two: few rows are decoded at once."""
    monkeypatch.setattr(parquet, "AT_ONCE", 1 << 20)
    file = io.BytesIO(_parquet(options, a=pa.array(["x" * (1 << 14)] * 600)))
    column, budget = pq.ParquetFile(file).schema.column(0), parquet.Budget.of(1 << 20)

    rows = parquet.rows_at_once(file, parquet.chunks(file)[0][0], column, budget, 8192)

    assert 1 < rows <= 64


def test_numbers_are_decoded_as_many_at_once_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large their dictionary: each is a few bytes."""
    monkeypatch.setattr(parquet, "AT_ONCE", 1 << 20)
    file = io.BytesIO(_parquet(a=pa.array(range(10_000)), b=pa.array([0.5] * 10_000)))
    schema, budget = pq.ParquetFile(file).schema, parquet.Budget.of(1 << 20)

    for index, chunk in enumerate(parquet.chunks(file)[0]):
        assert parquet.rows_at_once(file, chunk, schema.column(index), budget, 8192) == 8192


def test_a_row_that_repeats_a_value_holds_it_once(needles: Needles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a dictionary's values keeps the dictionary; one of shared beginnings is not read."""
    monkeypatch.setattr(parquet, "AT_ONCE", 1 << 20)
    rows = pa.ListArray.from_arrays(pa.array([0, 600], pa.int32()), pa.array(["x" * (1 << 14)] * 600))

    assert _scan(_parquet(a=rows), needles).decoded < 1 << 20
    assert _scan(_parquet(DELTA, a=rows), needles).problems == (TOLD,)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_footer_and_page_headers_are_read_as_pyarrow_reads_them(compression: str, version: str) -> None:
    """Where every column lies, and all of its values, page by page."""
    data = _parquet(
        {
            "compression": compression,
            "data_page_version": version,
            "row_group_size": 150,
            "data_page_size": 64,
        },
        a=pa.array(PHONES),
        b=pa.array(range(400)),
        c=pa.array([[phone] * 3 for phone in PHONES]),
    )
    groups, file = parquet.chunks(io.BytesIO(data)), pq.ParquetFile(io.BytesIO(data)).metadata

    assert (len(groups), {len(group) for group in groups}) == (3, {3})
    for number, group in enumerate(groups):
        for index, chunk in enumerate(group):
            theirs = file.row_group(number).column(index)
            assert (chunk.values, chunk.compressed) == (theirs.num_values, theirs.total_compressed_size)
            pages = list(parquet._pages(io.BytesIO(data), chunk))
            assert sum(page.header + page.compressed for page in pages) == chunk.compressed
            assert sum(page.header + page.decoded for page in pages) == theirs.total_uncompressed_size
            assert sum(page.values for page in pages if page.kind != 2) == chunk.values


def test_a_footer_with_a_column_that_lies_nowhere_does_not_end_the_process() -> None:
    """Any byte of a footer, changed: asked where the column lies, pyarrow answers some with `abort`."""
    data = _parquet({"compression": "none"}, a=pa.array(PHONES))
    length = struct.unpack("<i", data[-8:-4])[0]
    ends = [(0, columns.PARQUET), (len(data) - 4, columns.PARQUET)]

    told = []
    for at in range(len(data) - 8 - length, len(data) - 8):
        changed = bytearray(data)
        changed[at] ^= 0x11
        for *_, pieces in columns.files(io.BytesIO(changed), len(data), ends, told.append):
            list(pieces)
    assert len(told) > length // 8


def test_the_widest_run_of_rows_is_found_whatever_the_pages() -> None:
    """As many pages as so many rows can touch, and those with long texts counted for each row."""
    pages = [parquet.Page(0, 9, 9, size, values, 0) for size, values in ((10, 1), (20, 4), (40, 1), (5, 9))]

    assert [parquet._widest(pages, rows) for rows in (1, 2, 3, 5, 6, 100)] == [40, 60, 65, 65, 70, 75]
    growing = [parquet.Page(0, 9, 9, 10, 50, 7)]
    assert [parquet._widest(growing, rows) for rows in (1, 8, 100)] == [10, 80, 500]


def test_a_column_whose_name_is_not_utf8_does_not_end_the_scan(needles: Needles) -> None:
    """Its file is told; what lies behind it is searched."""
    data = _parquet({"store_schema": False}, name=pa.array(PHONES)).replace(b"name", b"nam\xff")

    findings = _scan(data + "\n".join(PHONES).encode(), needles)

    assert len(findings.residue) == 50
    assert "parquet file without its footer, or damaged (1 times)" in findings.problems
