"""Every place and encoding in which a value may survive in files: planted, found, attributed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from cenotaph.residue import sqlite_pages
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import Findings, Limits, scan

KEY = bytes(range(32))
N = 1000
NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
Pack = Callable[[bytes], bytes]


def identities(seed: int, count: int = N) -> list[str]:
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[f"{draw.randrange(10**16, 6 * 10**16)}{draw.choice('0123456789X')}"] = None
    return list(found)


def phones(seed: int, count: int = N) -> list[str]:
    draw = random.Random(seed)
    return [f"1{draw.choice('35789')}{n:09d}" for n in draw.sample(range(10**9), count)]


def names(seed: int, count: int = N) -> list[str]:
    draw = random.Random(seed)
    return ["".join(chr(draw.randrange(0x4E00, 0x9F00)) for _ in range(3)) + str(n) for n in range(count)]


def needles(values: list[str], kind: str = "id") -> Needles:
    builder = NeedleBuilder(KEY)
    builder.add(pa.array(values), kind)
    return builder.finish()


def found(data: bytes, what: Needles, kept: np.ndarray = NOTHING_KEPT) -> Findings:
    return scan(io.BytesIO(data), len(data), what, kept)


def csv(values: list[str]) -> bytes:
    return "".join(f"{n},{value},negative\n" for n, value in enumerate(values)).encode()


def lanes_of(findings: Findings) -> set[str]:
    return {lane for lane, *_ in findings.counts}


# --- encodings


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be", "gb18030"])
@pytest.mark.parametrize(("make", "kind"), [(identities, "id"), (phones, "phone"), (names, "name")])
def test_text_is_found_in_each_encoding(codec, make, kind):
    """Each planted value is found once, whatever the encoding of the file; others are not."""
    data = "\n".join(make(1)).encode(codec)

    findings = found(data, needles(make(1), kind))

    assert len(findings.residue) == N
    assert sum(findings.counts.values()) == N
    assert found(data, needles(make(2), kind)).counts == {}


@pytest.mark.parametrize(
    ("width", "order", "encoding"), [(8, "little", "int64le"), (8, "big", "int64be"), (6, "big", "int48be")]
)
def test_numbers_kept_as_integers_are_found(width, order, encoding):
    """A phone number that a store keeps as a binary integer is found though it has no digit there."""
    values = phones(3)
    noise = random.Random(4)
    data = b"".join(noise.randbytes(5) + int(value).to_bytes(width, order) for value in values)

    findings = found(data, needles(values, "phone"))

    assert len(findings.residue) == N
    assert encoding in {key[1] for key in findings.counts}
    assert found(data, needles(phones(5), "phone")).counts == {}


def test_blobs_are_found_as_they_are():
    """A piece of a picture is found wherever its bytes are."""
    draw = random.Random(6)
    pieces = [draw.randbytes(32) for _ in range(N)]
    builder = NeedleBuilder(KEY)
    builder.add(pa.array(pieces), "blob")
    data = b"".join(draw.randbytes(7) + piece for piece in pieces)

    assert len(found(data, builder.finish()).residue) == N


# --- containers


def zipped(data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("people.csv", data)
    return out.getvalue()


def zipped_unseekable(data: bytes) -> bytes:
    """Sizes follow the member in a data descriptor; its header says zero."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    out = Pipe()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("people.csv", "w") as member,
    ):
        member.write(data)
    return out.getvalue()


CONTAINERS: list[tuple[str, Pack]] = [
    ("gzip", gzip.compress),
    ("zip", zipped),
    ("zip", zipped_unseekable),
    ("bz2", lambda data: zipped(data, zipfile.ZIP_BZIP2)),
    ("zstd", lambda data: zstandard.compress(data, 3)),
    ("lz4", lz4.frame.compress),
    ("bz2", bz2.compress),
    ("xz", lzma.compress),
]


@pytest.mark.parametrize(("lane", "pack"), CONTAINERS)
def test_compressed_text_is_found_anywhere_in_a_stream(lane, pack):
    """1,000 values in a container amid noise are found in its lane, and none of another set is."""
    values = identities(7)
    data = random.Random(8).randbytes(70_001) + pack(csv(values)) + random.Random(9).randbytes(5000)

    findings = found(data, needles(values))

    assert len(findings.residue) == N
    assert {key[0] for key, times in findings.counts.items() if times >= N} == {lane}
    assert found(data, needles(identities(10))).counts == {}


@pytest.mark.parametrize("outer", CONTAINERS[:2])
@pytest.mark.parametrize("inner", CONTAINERS)
def test_containers_in_containers_are_followed(outer, inner):
    """A container in a container is decoded, in every combination."""
    values = identities(11)
    data = outer[1](inner[1](csv(values)))

    assert len(found(data, needles(values)).residue) == N


def test_depth_limits_how_far_containers_are_followed():
    """Three containers around a text need a depth of three."""
    values = identities(11)
    data = gzip.compress(bz2.compress(zipped(csv(values) * 9)) * 9)

    def reach(depth: int) -> int:
        findings = scan(io.BytesIO(data), len(data), needles(values), NOTHING_KEPT, depth=depth)
        return len(findings.residue)

    assert [reach(depth) for depth in (0, 1, 2, 3)] == [0, 0, 0, N]


def table(values: list[str], numbers: list[str]) -> pa.Table:
    many = [n % len(values) for n in range(4 * len(values))]
    return pa.table(
        {
            "plain": pa.array([values[n] for n in many]),
            "dictionary": pa.array([values[n] for n in many]).dictionary_encode(),
            "number": pa.array([int(numbers[n]) for n in many], pa.int64()),
            "nested": pa.array([[{"id": values[n]}] for n in many]),
        }
    )


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none", "gzip", "lz4"])
@pytest.mark.parametrize("where", ["whole", "carved", "gzip"])
def test_parquet_is_found_through_pages_and_dictionaries(compression, where):
    """Every value of a Parquet file is searched, as text and as integer; also carved or compressed."""
    values, numbers = identities(12), phones(13)
    out = io.BytesIO()
    pq.write_table(table(values, numbers), out, compression=compression)
    packs: dict[str, Pack] = {
        "whole": lambda data: data,
        "carved": lambda data: random.Random(1).randbytes(9000) + data + bytes(5000),
        "gzip": gzip.compress,
    }
    data = packs[where](out.getvalue())

    findings = found(data, needles(values + numbers))

    assert len(findings.residue) == 2 * N
    assert sum(n for key, n in findings.counts.items() if key[0] == "parquet") >= 8 * N
    assert found(data, needles(identities(14))).counts == {}


@pytest.mark.parametrize("compression", ["lz4", "zstd", None])
def test_arrow_files_are_read(compression):
    """Every value of an Arrow file is searched though its buffers are compressed."""
    values, numbers = identities(15), phones(16)
    data = table(values, numbers)
    out = io.BytesIO()
    with pa.ipc.new_file(out, data.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(data, max_chunksize=700)

    findings = found(out.getvalue(), needles(values + numbers))

    assert len(findings.residue) == 2 * N
    assert "arrow" in lanes_of(findings)
    assert findings.problems == ()


# --- SQLite


def database(path: Path, values: list[Any], *pragmas: str, column: str = "TEXT") -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in (*pragmas, "secure_delete=OFF"):
        db.execute(f"PRAGMA {pragma}")
    db.execute(f"CREATE TABLE people(id INTEGER PRIMARY KEY, who {column})")
    db.execute("BEGIN")
    db.executemany("INSERT INTO people(who) VALUES(?)", [(value,) for value in values])
    db.execute("COMMIT")
    return db


def test_integers_in_sqlite_are_found_live_and_freed(tmp_path):
    """Phone numbers in an INTEGER column are found in cells, and after DELETE in freed ones."""
    path = tmp_path / "numbers.db"
    values = phones(17)
    db = database(path, values, "journal_mode=MEMORY", column="INTEGER")
    assert len(found(path.read_bytes(), needles(values, "phone")).residue) == N

    db.execute("DELETE FROM people")

    assert len(found(path.read_bytes(), needles(values, "phone")).residue) >= N * 99 // 100


@pytest.mark.parametrize("page_size", [512, 1024, 4096])
def test_values_cut_by_overflow_pages_are_found(tmp_path, page_size):
    """A value whose bytes SQLite splits between pages is found, live and after its row was deleted."""
    path = tmp_path / "long.db"
    values = identities(18)
    body = "".join(f"{value};" for value in values)
    db = database(path, [body] * 20, "journal_mode=MEMORY", f"page_size={page_size}")
    live = path.read_bytes()
    split = [value for value in values if live.count(value.encode()) < 20]
    assert split, "no value lies across two pages: the test would show nothing"

    assert len(found(live, needles(values)).residue) == N
    counted = found(live, needles(split))
    assert sum(counted.counts.values()) >= 20 * len(split)
    db.execute("DELETE FROM people WHERE id > 1")
    db.execute("UPDATE people SET who='x'")
    freed = found(path.read_bytes(), needles(split))
    assert ("sqlite", "utf-8", "id", False) in freed.counts
    assert len(freed.residue) > 0.9 * len(split)
    assert found(live, needles(identities(19))).counts == {}


def test_freed_pages_hold_what_was_deleted(tmp_path):
    """Pages on the free list keep 1,000 of 1,000 values; a file of zeros has none."""
    path = tmp_path / "freed.db"
    values = identities(20)
    db = database(path, values, "journal_mode=MEMORY")
    db.execute("DROP TABLE people")

    assert len(found(path.read_bytes(), needles(values)).residue) >= N - 60  # free list trunks overwrite some
    assert found(bytes(path.stat().st_size), needles(values)).counts == {}


def test_frames_of_a_write_ahead_log_are_searched(tmp_path):
    """Values that are only in the WAL are found, those cut by overflow pages too."""
    path = tmp_path / "wal.db"
    values = identities(21)
    body = "".join(f"{value};" for value in values)
    db = database(path, [body, *values], "journal_mode=WAL", "wal_autocheckpoint=0", "page_size=1024")
    log = (tmp_path / "wal.db-wal").read_bytes()
    split = [value for value in values if log.count(value.encode()) == 1]

    assert len(found(log, needles(values)).residue) == N
    assert split
    assert sum(found(log, needles(split)).counts.values()) > len(split)
    db.close()


def test_a_rollback_journal_holds_the_deleted_rows(tmp_path):
    """PERSIST leaves the pages as they were before DELETE in the journal."""
    path = tmp_path / "journal.db"
    values = identities(22)
    body = "".join(f"{value};" for value in values)
    db = database(path, [body, *values], "journal_mode=DELETE", "page_size=1024")
    db.execute("PRAGMA journal_mode=DELETE")
    db.execute("BEGIN")
    db.execute("PRAGMA cache_spill=ON")
    db.execute("PRAGMA secure_delete=ON")
    db.execute("DELETE FROM people")
    journal = tmp_path / "journal.db-journal"
    data = journal.read_bytes()
    db.execute("ROLLBACK")

    assert len(found(data, needles(values)).residue) == N


def test_a_compressed_value_across_sqlite_pages_is_decoded(tmp_path):
    """A gzip file in a BLOB lies in overflow pages, no two of them adjacent in content; it is decoded."""
    path = tmp_path / "blob.db"
    values = identities(23)
    database(path, [gzip.compress(csv(values))], "journal_mode=MEMORY", "page_size=1024", column="BLOB")

    findings = found(path.read_bytes(), needles(values))

    assert len(findings.residue) == N
    assert "gzip" in lanes_of(findings)


def test_a_database_in_an_archive_is_read(tmp_path):
    """Also values cut by overflow pages, when the database lies in a compressed backup."""
    path = tmp_path / "inner.db"
    values = identities(24)
    database(path, ["".join(f"{value};" for value in values)], "journal_mode=MEMORY", "page_size=512")

    assert len(found(gzip.compress(b"tar" * 100 + path.read_bytes()), needles(values)).residue) == N


# --- attribution


def test_a_held_table_that_shares_numbers_is_no_residue_but_a_copy_in_slack_is(tmp_path):
    """1,000 shared numbers in live cells of a held table: none is residue; one copy in slack is one."""
    path = tmp_path / "held.db"
    values = identities(25)
    db = database(path, values, "journal_mode=MEMORY")
    db.execute("CREATE INDEX people_who ON people(who)")
    db.execute("VACUUM")
    left = path.read_bytes()
    parsed = sqlite_pages.parse(io.BytesIO(left), len(left))
    kept = sqlite_pages.live_ranges(parsed, {"people"})
    assert found(left, needles(values), kept).residue, "VACUUM used to leave dead copies of cells it moved"
    data = bytearray(len(left))
    for start, end in kept.tolist():
        data[start:end] = left[start:end]

    clean = found(bytes(data), needles(values), kept)

    assert len(clean.kept) == N
    assert clean.residue == set()
    assert sum(times for key, times in clean.counts.items() if not key[3]) == 0
    gaps = np.flatnonzero(kept[1:, 0] - kept[:-1, 1] > 40)
    slack = int(kept[gaps[0], 1])
    data[slack : slack + 18] = values[5].encode()
    dirty = found(bytes(data), needles(values), kept)
    assert sum(times for key, times in dirty.counts.items() if not key[3]) == 1
    assert len(dirty.residue) == 1
    assert [hit.offset for hit in dirty.hits if not hit.kept] == [slack]


def test_split_values_are_kept_only_where_both_pages_are(tmp_path):
    """A value across two kept pages is kept; where one of them is not kept, it is residue."""
    path = tmp_path / "split.db"
    values = identities(26)
    database(path, ["".join(f"{value};" for value in values)], "journal_mode=MEMORY", "page_size=1024")
    data = path.read_bytes()
    parsed = sqlite_pages.parse(io.BytesIO(data), len(data))
    kept = sqlite_pages.live_ranges(parsed, {"people"})

    clean = found(data, needles(values), kept)

    assert ("sqlite", "utf-8", "id", True) in clean.counts
    assert clean.residue == set()
    half = found(data, needles(values), kept[: len(kept) // 2])
    assert ("sqlite", "utf-8", "id", False) in half.counts


def test_many_kept_hits_leave_room_for_residue():
    """The one place of residue is listed though thousands of kept ones came before it."""
    value = identities(34, 1)[0]
    data = f"{value};".encode() * 3000

    findings = found(data, needles([value]), np.array([[0, len(data) - 5]]))

    assert [hit.offset for hit in findings.hits if not hit.kept] == [len(data) - len(value) - 1]
    assert sum(findings.counts.values()) == 3000


def test_hits_in_a_container_are_kept_only_if_all_of_it_is():
    """A container that is one byte longer than what is kept is residue."""
    values = identities(27)
    packed = gzip.compress(csv(values))
    data = bytes(100) + packed + bytes(100)

    whole = found(data, needles(values), np.array([[100, 100 + len(packed)]]))
    short = found(data, needles(values), np.array([[100, 99 + len(packed)]]))

    assert (len(whole.kept), len(whole.residue)) == (N, 0)
    assert (len(short.kept), len(short.residue)) == (0, N)
    assert {hit.offset for hit in whole.hits} == {100}


# --- streams that lie


@pytest.mark.parametrize(("lane", "pack"), CONTAINERS)
def test_a_stream_cut_off_is_read_as_far_as_it_goes_and_counted(lane, pack):
    """Half a container gives what decodes, and a problem that says so."""
    values = identities(28, 60_000 if lane in ("bz2", "xz", "lz4") else 8000)
    packed = pack(csv(values))

    findings = found(packed[: len(packed) // 2], needles(values))

    assert 0 < len(findings.residue) < len(values)
    assert any("cut off" in problem for problem in findings.problems)


def test_a_damaged_stream_is_counted():
    """What follows the damage is not read, and that is said."""
    values = identities(29, 8000)
    packed = bytearray(gzip.compress(csv(values)))
    packed[len(packed) // 2 : len(packed) // 2 + 50] = os.urandom(50)

    findings = found(bytes(packed), needles(values))

    assert 0 < len(findings.residue) < len(values)
    assert any("gzip stream is damaged" in problem for problem in findings.problems)


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda data: zstandard.compress(data, 3), bz2.compress, lzma.compress]
)
def test_a_stream_that_decodes_to_too_much_is_stopped_and_counted(pack):
    """A bomb costs no more than its limit, and is a problem."""
    data = pack(pack(bytes(30 << 20)))

    limits = Limits(ratio=100, decoded=4 << 20)
    findings = scan(io.BytesIO(data), len(data), needles(identities(30, 10)), NOTHING_KEPT, limits=limits)

    assert findings.decoded < 12 << 20
    assert any("decodes to more" in problem for problem in findings.problems)


def test_an_encrypted_zip_member_is_a_problem():
    """What cannot be decoded is told."""
    data = bytearray(zipped(csv(identities(31, 10))))
    data[6] |= 1

    assert any("encrypted" in problem for problem in found(bytes(data), needles(identities(31, 10))).problems)


def test_a_stream_shorter_than_said_is_a_problem():
    """The scan ends where the bytes end, and says so."""
    findings = scan(io.BytesIO(b"abc"), 10, needles(identities(32, 3)), NOTHING_KEPT)

    assert findings.scanned == 3
    assert findings.problems == ("stream ends before its length (1 times)",)


def test_values_across_blocks_are_found_once():
    """A value that lies across the boundary of two blocks, or of two pieces, counts once."""
    values = identities(33, 40)
    data = bytearray(9 << 20)
    spots = [n * (1 << 18) - 9 for n in range(1, 36)]
    for spot, value in zip(spots, values, strict=False):
        data[spot : spot + 18] = value.encode()

    findings = found(bytes(data), needles(values))

    assert sum(findings.counts.values()) == len(spots)
    assert sorted(hit.offset for hit in findings.hits) == spots
