"""A file that lies about its sizes or its names is malformed, and costs neither memory nor the reading."""

from __future__ import annotations

import io
import struct
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cenotaph import parquet
from cenotaph.stores.files import tables
from cenotaph.stores.files.lines import MalformedError

BATCH = pa.record_batch({"name": [f"1380000{n:04d}" for n in range(400)]})


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_batches([BATCH]), out, compression="zstd", store_schema=False)
    return out.getvalue()


def _arrow(*, stream: bool) -> bytes:
    out = io.BytesIO()
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(out, BATCH.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(BATCH)
    return out.getvalue()


def _read(format: str, data: bytes) -> int:
    return sum(batch.num_rows for batch in tables.columnar(format, io.BytesIO(data)))


@pytest.mark.parametrize("stream", [False, True])
def test_an_arrow_length_that_nobody_has_memory_for_is_malformed(stream: bool) -> None:
    """A terabyte in eight bytes: refused before it is allocated."""
    data = _arrow(stream=stream)
    at = data.index(struct.pack("<q", 4400))  # bytes of all names
    most = pa.default_memory_pool().max_memory()

    assert _read("arrow", data) == 400
    with pytest.raises(MalformedError):
        _read("arrow", data[:at] + struct.pack("<q", 1 << 40) + data[at + 8 :])
    assert pa.default_memory_pool().max_memory() < most + (1 << 30)


def test_a_parquet_page_that_decodes_to_too_much_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header says so."""
    assert _read("parquet", _parquet()) == 400
    monkeypatch.setattr(parquet, "MOST_PAGE", 4000)

    with pytest.raises(MalformedError):
        _read("parquet", _parquet())


def test_a_name_that_is_not_utf8_is_malformed() -> None:
    """Of a column: reading it ended with a traceback."""
    data = _parquet().replace(b"name", b"nam\xff")

    with pytest.raises(MalformedError):
        tables.columnar_schema("parquet", io.BytesIO(data))
    with pytest.raises(MalformedError):
        _read("parquet", data)


def test_an_archive_with_a_member_without_a_name_is_malformed() -> None:
    """The library that reads it fails at the last letter of none."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1380000,0000\n")
    data = out.getvalue()
    central = data.index(b"PK\x01\x02")
    nameless = data[: central + 28] + b"\0\0" + data[central + 30 : central + 46] + data[central + 47 :]
    at = nameless.index(b"PK\x05\x06") + 12  # the length of the central directory
    nameless = nameless[:at] + struct.pack("<I", 46) + nameless[at + 4 :]

    assert len(list(tables.members("zip", io.BytesIO(data)))) == 1
    with pytest.raises(MalformedError):
        list(tables.members("zip", io.BytesIO(nameless)))
