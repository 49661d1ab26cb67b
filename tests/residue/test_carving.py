"""Fragments in free blocks: files without their beginning or their end still give what they held."""

from __future__ import annotations

import gzip
import io
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import lz4.block
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phone_numbers import NOTHING_KEPT, needles, phones

from cenotaph.residue import carve_parquet, carve_sqlite, lanes
from cenotaph.residue.scan import UNCARVED, Findings, Scanner, scan
from cenotaph.residue.shapes import Together
from cenotaph.residue.volume import LIMITS

BLOCK = 4096
N = 2000


def carved(data: bytes, values: list[str]) -> Findings:
    """As the free blocks of a volume are searched, fed in uneven pieces."""
    scanner = Scanner(Together(needles(values)), NOTHING_KEPT, io.BytesIO(data), limits=LIMITS, carve=True)
    for at in range(0, len(data), 1_000_003):
        scanner.feed(data[at : at + 1_000_003])
    return scanner.finish()


def plainly(data: bytes, values: list[str]) -> Findings:
    return scan(io.BytesIO(data), len(data), needles(values), NOTHING_KEPT)


def amid(data: bytes, seed: int = 1) -> bytes:
    """Bytes between those of other files, as blocks lie."""
    draw = random.Random(seed)
    return draw.randbytes(9 * BLOCK) + data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\x00") + bytes(BLOCK) * 5


# --- Parquet


def parquet(values: list[str], compression: str, **options: object) -> bytes:
    out = io.BytesIO()
    table = pa.table({"who": values, "number": [int(value) for value in values]})
    pq.write_table(table, out, compression=compression, row_group_size=500, **options)
    return out.getvalue()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("compression", ["snappy", "lz4", "brotli", "zstd", "gzip", "none"])
def test_parquet_without_its_ends_is_read_page_by_page(compression, dictionary, version):
    """Neither footer nor first bytes: every value is found in its page, whatever compressed it."""
    values = phones(1, N)
    whole = parquet(values, compression, use_dictionary=dictionary, data_page_version=version)
    rest = whole[4:-2000]

    findings = carved(amid(rest), values)

    assert len(findings.residue) == N
    assert carved(amid(rest), phones(2, N)).residue & set(range(N)) == set()


def test_snappy_pages_are_invisible_to_a_plain_search():
    """What the carver is for: without it most values of such a fragment are not found."""
    values = phones(3, N)
    rest = parquet(values, "snappy", use_dictionary=False)[4:-2000]

    assert len(plainly(amid(rest), values).residue) < N // 2
    assert len(carved(amid(rest), values).residue) == N


def test_a_page_cut_off_gives_what_was_before_the_cut():
    """Half a Snappy page decodes to about half its values."""
    values = phones(4, 20_000)
    out = io.BytesIO()
    table = pa.table({"who": values})
    pq.write_table(table, out, compression="snappy", use_dictionary=False, write_statistics=False)
    packed = out.getvalue()
    fragment = packed[4 : len(packed) // 2] + random.Random(5).randbytes(len(packed) // 2)

    found = len(carved(fragment, values).residue)

    assert found > 9000


def test_parts_of_pages_decode_as_libraries_decode_the_whole():
    """Our own Snappy agrees with the library's on all of it and on each beginning."""
    draw = random.Random(6)
    data = b"".join(draw.choice((b"abc", b"1380", b"\x00\x00", draw.randbytes(5))) for _ in range(5000))
    packed = pa.Codec("snappy").compress(data, asbytes=True)

    assert carve_parquet.begin_of_snappy(packed, len(data)) == data
    for cut in range(3, len(packed), 997):
        assert data.startswith(carve_parquet.begin_of_snappy(packed[:cut], len(data)))


def test_lz4_as_hadoop_writes_it_is_decoded():
    """Two lengths before the block: the form that parquet.thrift calls LZ4, deprecated and still around."""
    data = "".join(phones(7, N)).encode()
    block = lz4.block.compress(data, store_size=False)
    body = len(data).to_bytes(4, "big") + len(block).to_bytes(4, "big") + block

    assert carve_parquet.decode(carve_parquet.Page(10, len(body), len(data), 0), body) == data


# --- SQLite


def database(path: Path, page_size: int, rows: list[object], column: str = "TEXT") -> bytes:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA page_size={page_size}")
    db.execute("PRAGMA journal_mode=MEMORY")
    db.execute(f"CREATE TABLE t(id INTEGER PRIMARY KEY, v {column})")
    db.executemany("INSERT INTO t(v) VALUES(?)", [(row,) for row in rows])
    db.close()
    return path.read_bytes()


def long(values: list[str]) -> str:
    """Text in which values lie at all distances from the boundaries of pages."""
    return "".join(value + "." * (nth % 7) for nth, value in enumerate(values))


def split(data: bytes, values: list[str], times: int) -> list[str]:
    return [value for value in values if data.count(value.encode()) < times]


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 8192])
def test_values_across_pages_of_a_database_without_its_first_page_are_found(tmp_path, page_size):
    """Long rows, their file's first pages gone: values cut by page boundaries are found as others are."""
    values = phones(8, 9000)
    rows = [long(values[nth : nth + 3000]) for nth in range(0, 9000, 3000)] * 3
    data = database(tmp_path / "x.db", page_size, rows)
    lost = -(-2 * page_size // BLOCK) * BLOCK
    rest = data[lost:]
    cut = split(rest, values, 3)
    assert cut, "no value lies across two pages: the test would show nothing"

    found = carved(amid(rest), cut)

    assert ("sqlite", "utf-8", "phone", False) in found.counts
    missing = len(cut) - len(found.residue)
    assert missing <= len(cut) // 20


def test_a_compressed_value_across_pages_without_their_file_is_decoded(tmp_path):
    """gzip in a BLOB: its pieces lie in overflow pages, each behind a number of four bytes."""
    values = phones(9, 4000)
    packed = gzip.compress("\n".join(values).encode())
    data = database(tmp_path / "x.db", 4096, [b"x" * 300] * 50 + [packed] + [b"y" * 300] * 50, "BLOB")

    found = carved(amid(data[BLOCK:]), values)

    assert len(found.residue) == 4000
    assert len(plainly(amid(data[BLOCK:]), values).residue) < 4000


def test_numbers_in_pages_without_their_file_are_found_as_the_integers_they_are(tmp_path):
    """A phone number in an INTEGER column takes six bytes, and needs no b-tree to be found."""
    values = phones(10, N)
    data = database(tmp_path / "x.db", 4096, [int(value) for value in values], "INTEGER")

    assert len(carved(amid(data[BLOCK:]), values).residue) == N


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_logs_are_read_where_they_begin_amid_free_blocks(tmp_path, mode):
    """A write-ahead log or rollback journal that begins in a free block: values across its frames too."""
    values = phones(11, 3000)
    rows = [long(values[nth : nth + 500]) for nth in range(0, 3000, 500)]
    path = tmp_path / "x.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA page_size=1024")
    db.execute(f"PRAGMA journal_mode={'WAL' if mode == 'WAL' else 'DELETE'}")
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("CREATE TABLE t(v TEXT)")
    db.executemany("INSERT INTO t VALUES(?)", [(row,) for row in rows])
    log = tmp_path / ("x.db-wal" if mode == "WAL" else "x.db-journal")
    if mode == "DELETE":
        db.execute("BEGIN")
        db.execute("PRAGMA secure_delete=ON")
        db.execute("DELETE FROM t")
    data = log.read_bytes()
    if mode == "DELETE":
        data = lanes.STRUCTURED[-1] + data[8:]  # SQLite writes it last, when all the rest is on the disk
    db.close()
    cut = split(data, values, 1)
    assert cut

    found = carved(amid(data), cut)

    assert len(found.residue) >= len(cut) * 0.95
    assert {key[0] for key in found.counts if key[2] == "phone"} == {"sqlite"}


# --- ext4


def test_a_small_file_inside_an_inode_is_found_across_its_two_parts():
    """ext4's inline data: 60 bytes in the block map, the rest in an attribute behind it."""
    (value,) = phones(16, 1)
    content = b"x" * 55 + value.encode()
    inode = bytearray(256)
    inode[40:100] = content[:60]
    inode[128:130] = (32).to_bytes(2, "little")
    rest = content[60:]
    entry = b"\x04\x07" + (92 - 4 - 4).to_bytes(2, "little") + bytes(4) + len(rest).to_bytes(4, "little")
    inode[160:188] = b"\x00\x00\x02\xea" + entry + bytes(4) + b"data" + bytes(4)
    inode[164 + 84 : 164 + 84 + len(rest)] = rest
    data = bytes(BLOCK) + bytes(256 * 7) + bytes(inode) + bytes(BLOCK)

    found = carved(data, [value])

    assert found.counts == {("inode", "utf-8", "phone", False): 1}
    assert plainly(data, [value]).counts == {}


# --- bytes that lie


MAGICS = [magic.begin for magic in lanes.MAGICS] + list(lanes.STRUCTURED) + list(carve_parquet.MAGICS)
fuzz = settings(max_examples=60, deadline=None)


@fuzz
@given(st.lists(st.tuples(st.sampled_from(MAGICS), st.binary(max_size=60)), min_size=1, max_size=200))
def test_garbage_full_of_beginnings_never_breaks_the_carvers(parts):
    """Whatever stands in free blocks, the search returns, having read it all."""
    data = b"".join(magic + rest for magic, rest in parts)

    assert carved(data, ["13800001111"]).scanned == len(data)


@fuzz
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 1 << 17), st.integers(0, 255)), max_size=40))
def test_mutated_fragments_never_break_the_carvers(seed, changes):
    """Flipped bytes in pages of SQLite and of Parquet."""
    data = bytearray(fragment())
    for at, value in changes:
        data[at % len(data)] = value
    cut = random.Random(seed).randrange(len(data))

    assert carved(bytes(data[cut:]), ["13800001111"]).scanned == len(data) - cut


_FRAGMENTS: list[bytes] = []


def fragment() -> bytes:
    if not _FRAGMENTS:
        db = sqlite3.connect(":memory:")
        db.execute("PRAGMA page_size=1024")
        db.execute("CREATE TABLE t(v TEXT)")
        db.executemany("INSERT INTO t VALUES(?)", [("".join(phones(12, 400)),)] * 3)
        db.commit()
        _FRAGMENTS.append(
            db.serialize()[1024:] + parquet(phones(13, N), "snappy", use_dictionary=False)[4:-900]
        )
    return _FRAGMENTS[0]


HEADER = carve_parquet.MAGICS[0]


def _gzip(_: random.Random) -> bytes:
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"


def _zip(_: random.Random) -> bytes:
    return b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(20)


def _zstd(_: random.Random) -> bytes:
    return b"\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00"


def _lz4(_: random.Random) -> bytes:
    return b"\x04\x22\x4d\x18\x40\x40\xc0"


def _xz(_: random.Random) -> bytes:
    return b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46"


def _bz2(_: random.Random) -> bytes:
    return b"BZh91AY&SY" + bytes(4)


def _page(_: random.Random) -> bytes:
    return parquet(["13800001111"], "snappy", use_dictionary=False)[4:60]


def _tree(draw: random.Random) -> bytes:
    page = bytearray(draw.randbytes(512))
    page[:14] = b"\x0d\x00\x00\x00\x01\x01\xf0\x00\x01\xf0\x00\x00\x00\x02"
    page[0x1F0:] = b"\x0e\x01" + bytes(14)
    return bytes(page)


def _sqlite(_: random.Random) -> bytes:
    return (
        lanes.STRUCTURED[2] + b"\x10\x00\x01\x01\x00\x40\x20\x20" + bytes(4) + b"\x7f\xff\xff\xff" + bytes(68)
    )


def _log(_: random.Random) -> bytes:
    return lanes.STRUCTURED[3] + bytes(4) + b"\x00\x00\x02\x00" + bytes(20) + b"\x00\x00\x00\x01" * 6


@pytest.mark.parametrize("make", [_gzip, _zip, _zstd, _lz4, _xz, _bz2, _page, _tree, _sqlite, _log])
def test_a_mebibyte_of_beginnings_ends_in_bounded_time(make: Callable[[random.Random], bytes]):
    """The most hostile free blocks: nothing but beginnings of files that never were."""
    draw = random.Random(14)
    unit = b"".join(make(draw) for _ in range(64))
    data = (unit * ((1 << 20) // len(unit) + 1))[: 1 << 20]
    begun = time.process_time()

    findings = carved(data, ["13800002222"])

    assert findings.scanned == len(data)
    assert time.process_time() - begun < 15  # seconds; a quarter of that on an idle machine


def test_what_the_carvers_leave_out_is_told():
    """More page headers than any file has: counted, not silently dropped."""
    data = (HEADER + b"\x00" * 3) * (1 << 19)

    assert UNCARVED in carved(data, ["13800002222"]).counted


def test_likely_pages_are_those_that_sqlite_writes(tmp_path):
    """Each b-tree page with cells is seen as one, and hardly any block of noise is."""
    data = database(tmp_path / "x.db", 4096, [f"{nth:07d}" * 9 for nth in range(5000)])
    trees = [at for at in range(BLOCK, len(data), BLOCK) if data[at] in (2, 5, 10, 13)]
    noise = np.frombuffer(random.Random(15).randbytes(8 << 20), dtype=np.uint8)

    seen = carve_sqlite.likely_pages(np.frombuffer(data, dtype=np.uint8), 0, len(data)).tolist()

    assert set(trees) <= set(seen)
    assert len(carve_sqlite.likely_pages(noise, 0, len(noise))) < 40


def test_pages_of_another_database_are_not_taken_for_one_of_sqlite():
    """Any page may end a chain: each base has votes by chance, and one with votes of its own stands out."""
    draw = np.random.default_rng(5)
    words = np.where(np.arange(8000) % 2, draw.integers(2, 8000, 8000), 0)
    slots = np.arange(8000) * 4096
    nothing = np.zeros(0, dtype=np.int64)

    assert carve_sqlite._bases(io.BytesIO(), 4096, slots, nothing, words) == []

    words[1000:1040] = np.arange(1000, 1040) + 2 - 300  # each says that the next one is next
    assert carve_sqlite._bases(io.BytesIO(), 4096, slots, nothing, words) == [300]


def test_where_many_bases_have_votes_a_few_more_make_none():
    """Of thousands of votes some fall together by chance. Such a base had all that lies there joined as
    if it were a database: a third of the time of searching PostgreSQL's files."""
    draw = np.random.default_rng(6)
    words = draw.integers(2, 1 << 22, 20_000)
    slots = np.arange(20_000) * 512
    nothing = np.zeros(0, dtype=np.int64)
    votes = np.unique(np.arange(20_000) + 2 - words, return_counts=True)[1]
    assert votes.max() > 1

    assert carve_sqlite._bases(io.BytesIO(), 512, slots, nothing, words) == []

    words[1000:1012] = np.arange(1000, 1012) + 2 - 300
    assert carve_sqlite._bases(io.BytesIO(), 512, slots, nothing, words) == [300]
