"""Bytes made to confuse: the scan ends, in bounded memory, and says what it could not read."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import random
import sqlite3
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cenotaph.errors import PermanentStoreError
from cenotaph.residue import lanes, sqlite_pages
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import Limits, scan

NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
SMALL = Limits(ratio=100, decoded=1 << 20, collected=1 << 18)
fuzz = settings(max_examples=200, deadline=20_000, suppress_health_check=list(HealthCheck))


@functools.cache
def needles() -> Needles:
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array([f"1380000{n:04d}" for n in range(50)]), "phone")
    return builder.finish()


TEXT = "".join(f"{n},1380000{n % 50:04d}\n" for n in range(400)).encode()


def _database(*pragmas: str) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.db")
        db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("page_size=512", *pragmas):
            db.execute(f"PRAGMA {pragma}")
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b)")
        db.execute("CREATE INDEX i ON t(a)")
        db.executemany(
            "INSERT INTO t(a,b) VALUES(?,?)", [(f"1380000{n:04d}" * (n % 90), n) for n in range(80)]
        )
        db.execute("DELETE FROM t WHERE id % 3 = 0")
        log = Path(folder, "x.db-wal")
        return path.read_bytes(), log.read_bytes() if log.exists() else b""


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", TEXT)
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [f"1380000{n % 50:04d}" for n in range(400)]}), out, compression="zstd")
    return out.getvalue()


def _arrow() -> bytes:
    data = pa.table({"a": [f"1380000{n % 50:04d}" for n in range(400)]})
    out = io.BytesIO()
    with pa.ipc.new_file(out, data.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(data)
    return out.getvalue()


@functools.cache
def samples() -> tuple[bytes, ...]:
    return (
        gzip.compress(TEXT),
        _zip(),
        zstandard.compress(TEXT),
        lz4.frame.compress(TEXT),
        bz2.compress(TEXT),
        lzma.compress(TEXT),
        _parquet(),
        _arrow(),
        _database("journal_mode=MEMORY")[0],
        _database("journal_mode=WAL", "wal_autocheckpoint=0")[1],
        gzip.compress(_zip() + _parquet() + _database("journal_mode=MEMORY")[0]),
    )


def test_the_samples_are_what_the_mutations_start_from():
    """Every sample gives what is in it, so that mutating it means something."""
    for sample in samples():
        assert scan(io.BytesIO(sample), len(sample), needles(), NOTHING_KEPT).residue


mutations = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=12)


@fuzz
@given(st.integers(0, 10), mutations, st.integers(0, 1 << 20))
def test_mutated_files_never_break_the_scan(which, changes, cut):
    """Flipped bytes and cuts anywhere in any container: the scan returns."""
    data = bytearray(samples()[which])
    for at, value in changes:
        data[at % len(data)] = value
    data = data[: max(1, cut % (2 * len(data)))]

    findings = scan(io.BytesIO(data), len(data), needles(), NOTHING_KEPT, limits=SMALL)

    assert findings.scanned == len(data)


def _arrow_with(column: pa.Array, compression: str | None) -> bytes:
    out = io.BytesIO()
    batch = pa.record_batch({"a": column})
    with pa.ipc.new_file(
        out, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as writer:
        writer.write_batch(batch)
    return out.getvalue()


def _not_utf8(count: int = 400) -> pa.Array:
    return pa.array([b"\xff 1380000%04d" % (n % 50) for n in range(count)], pa.binary())


@pytest.mark.parametrize(
    "column",
    [
        _not_utf8().view(pa.string()),
        _not_utf8().cast(pa.large_binary()).view(pa.large_string()),
        pa.DictionaryArray.from_arrays(pa.array(range(400), pa.int16()), _not_utf8().view(pa.string())),
        pa.ListArray.from_arrays(pa.array([0, 100, 400], pa.int32()), _not_utf8().view(pa.string())),
        pa.StructArray.from_arrays([_not_utf8().view(pa.string())], names=["b"]),
    ],
    ids=lambda column: str(column.type).split("<")[0],
)
def test_a_text_that_is_not_utf8_does_not_hide_its_batch(column):
    """Arrow takes any bytes for a text; so does the search, of a batch that is compressed, too."""
    data = _arrow_with(column, "zstd")

    findings = scan(io.BytesIO(data), len(data), needles(), NOTHING_KEPT)

    assert len(findings.residue) == 50
    assert not findings.problems


def test_an_arrow_file_with_a_wrong_offset_is_counted_and_not_followed():
    """An offset that points far outside used to end the process."""
    data = _arrow_with(pa.array([f"1380000{n % 50:04d}" for n in range(400)]), None)
    at = data.index((11).to_bytes(4, "little") + (22).to_bytes(4, "little"))
    broken = data[:at] + (0x7FFFFF00).to_bytes(4, "little") + data[at + 4 :]

    findings = scan(io.BytesIO(broken), len(broken), needles(), NOTHING_KEPT)

    assert findings.problems == ("arrow file is damaged or cut off (1 times)",)


@fuzz
@given(
    st.binary(max_size=3000),
    st.sampled_from([magic.begin for magic in lanes.MAGICS] + list(lanes.STRUCTURED)),
)
def test_random_bytes_behind_a_magic_never_break_the_scan(noise, magic):
    """Whatever follows the beginning of a container: the scan returns."""
    data = magic + noise + magic

    assert scan(io.BytesIO(data), len(data), needles(), NOTHING_KEPT, limits=SMALL).scanned == len(data)


@fuzz
@given(mutations, st.integers(0, 1 << 16))
def test_mutated_databases_never_break_the_parser(changes, cut):
    """Cycles, wrong pointers, wrong sizes: live ranges stay in the file, sorted and disjoint."""
    data = bytearray(samples()[8])
    for at, value in changes:
        data[100 + at % (len(data) - 100)] = value
    data = data[: len(data) - cut % len(data)]
    try:
        db = sqlite_pages.parse(io.BytesIO(data), len(data))
    except PermanentStoreError:
        return

    live = sqlite_pages.live_ranges(db, None, {"t": lambda rowid: isinstance(rowid, int)})

    assert (live[:, 0] < live[:, 1]).all()
    assert (live[1:, 0] > live[:-1, 1]).all()
    assert not len(live) or (live[0, 0] >= 0 and live[-1, 1] <= len(data))
    assert sum(1 for _ in sqlite_pages.records(db)) <= len(data)
    assert len(sqlite_pages.free_pages(db)) <= db.pages


def test_a_changed_pointer_is_told(tmp_path):
    """A database that SQLite itself calls malformed has problems here too."""
    data = bytearray(samples()[8])
    leaf = next(at for at in range(512, len(data), 512) if data[at] == 13)
    data[leaf + 8 : leaf + 10] = b"\xff\xff"
    db = sqlite_pages.parse(io.BytesIO(data), len(data))

    sqlite_pages.live_ranges(db)

    assert any("cell pointer outside its page" in problem for problem in db.problems)


def test_databases_that_claim_each_others_bytes_cost_no_square():
    """A thousand headers, each of a database that would run to the end of the file: bounded, and told."""
    header = bytearray(samples()[8][:512])
    header[28:32] = (1 << 20).to_bytes(4, "big")
    data = bytes(header) * 1000

    findings = scan(io.BytesIO(data), len(data), needles(), NOTHING_KEPT)

    assert any("more databases than" in problem for problem in findings.problems)


def test_words_that_look_like_parquet_are_not_tried_for_ever():
    """Ten thousand beginnings and ends of Parquet files that are none."""
    data = b"PAR1\x15" + b"\x08\x00\x00\x00PAR1\x15" * 3000

    findings = scan(io.BytesIO(data), len(data), needles(), NOTHING_KEPT)

    assert any("parquet" in problem for problem in findings.problems)


@pytest.mark.slow
def test_memory_stays_bounded_whatever_the_length():
    """48 MiB of noise, text and bombs are scanned in a small multiple of one block."""
    draw = random.Random(1)
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)))
    data = b"".join(draw.randbytes(1 << 20) + TEXT * 100 + bomb for _ in range(24))
    needles().find(np.zeros(10, dtype=np.uint8), 10)
    tracemalloc.start()
    try:
        findings = scan(io.BytesIO(data), len(data), needles(), NOTHING_KEPT, limits=Limits(decoded=32 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert any("decodes to more" in problem for problem in findings.problems)
    assert peak < 96 << 20
