"""PostgreSQL's log of writes: what its page headers cut and its images compress is found; others agree."""

from __future__ import annotations

import io
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lz4.block
import pytest
from phone_numbers import NOTHING_KEPT, needles, phones
from postgres_bytes import BIN, Server, log, needs_server, record, server

from cenotaph.residue import postgres_wal
from cenotaph.residue.scan import Findings, scan

METHODS = ("pglz", "lz4", "zstd")
N = 3000


VALUES = phones(1, N)
NEEDLES = needles(VALUES)


def searched(data: bytes) -> Findings:
    return scan(io.BytesIO(data), len(data), NEEDLES, NOTHING_KEPT)


def plainly(data: bytes) -> set[str]:
    return {value for value in VALUES if value.encode() in data}


@pytest.fixture(scope="module")
def written() -> Iterator[Server]:
    with server("wal_keep_size=1GB") as running:
        running.sql(
            f"""
            CREATE TABLE people(v text, filler text);
            CREATE TABLE plain(v text);
            SELECT pg_switch_wal();
            INSERT INTO plain SELECT unnest('{{{",".join(VALUES)}}}'::text[]);
            SELECT pg_switch_wal();
            INSERT INTO people SELECT v, repeat(md5(v), 3) FROM plain;
            """
        )
        for method in METHODS:
            running.sql(
                f"""
                CHECKPOINT; SELECT pg_switch_wal(); SET wal_compression={method};
                DELETE FROM people WHERE v LIKE '%{METHODS.index(method)}'; SELECT pg_switch_wal();
                """
            )
        yield running


def segments(running: Server) -> list[Path]:
    """Those that hold a log: all but what the server has ready for later."""
    return [path for path in running.wal() if path.read_bytes()[:2] == b"\x10\xd1"]


def content(path: Path) -> bytes:
    """A segment without the zeros behind its last record."""
    data = path.read_bytes().rstrip(b"\x00")
    return data.ljust(-(-len(data) // postgres_wal.PAGE) * postgres_wal.PAGE, b"\x00")


def dumped(path: Path) -> str:
    command = [BIN / "pg_waldump", "-b", path]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def runs(data: bytes) -> list[postgres_wal.Run]:
    found = [postgres_wal.Run()]
    for at in range(0, len(data), postgres_wal.PAGE):
        page = postgres_wal.page(data[at : at + 40])
        if page is not None:
            if not found[-1].continues(page):
                found.append(postgres_wal.Run())
            found[-1].append(page, at, data[at + page.header : at + postgres_wal.PAGE])
    return found


@needs_server
def test_records_are_those_that_pg_waldump_lists(written):
    """Each record of each segment begins where PostgreSQL's own reader says that one does."""
    total = 0
    for path in segments(written):
        listed = [
            int(high, 16) << 32 | int(low, 16)
            for high, low in re.findall(r"lsn: ([0-9A-F]+)/([0-9A-F]+)", dumped(path))
        ]
        (run,) = runs(content(path))
        followed = [run.address(start) for start, _ in run.records(last=True)]
        assert followed[: len(listed)] == listed or not listed
        total += len(listed)

    assert total > N


@needs_server
def test_each_compressed_image_that_pg_waldump_lists_is_decoded(written):
    """As many as it says, by each method, and each the page of 8,192 bytes that it was."""
    methods: list[str] = []
    for path in segments(written):
        listed = re.findall(r"compression saved: \d+, method: (\w+)", dumped(path))
        (run,) = runs(content(path))
        images = list(run.images(last=True))
        assert [len(image.data) for image in images] == [8192] * len(listed)
        assert all(image.data[18:20] == b"\x04\x20" for image in images), "size and version of a page"
        methods += listed

    assert set(methods) == set(METHODS)


@needs_server
@pytest.mark.parametrize("method", METHODS)
def test_a_deletion_leaves_rows_in_compressed_images_and_they_are_found(written, method):
    """DELETE after a checkpoint writes each page whole and compressed: a search sees few, the lane all."""
    number = METHODS.index(method)
    path = next(path for path in segments(written) if f"method: {method}" in dumped(path))
    data = content(path)
    doomed = {value for value in VALUES if value.endswith(str(number))}

    findings = scan(io.BytesIO(data), len(data), needles(sorted(doomed)), NOTHING_KEPT)

    assert len(doomed - plainly(data)) > len(doomed) // 2
    assert len(findings.residue) == len(doomed)
    assert findings.problems == ()


@needs_server
def test_values_that_page_headers_cut_are_found_and_no_others_twice(written):
    """In the segment of the inserts a plain search misses what lies across two log pages."""
    path = next(path for path in segments(written) if VALUES[7].encode() in content(path))
    data = content(path)
    cut = N - len(plainly(data))

    findings = searched(data)

    assert len(findings.residue) == N
    assert findings.counts == {
        ("raw", "utf-8", "phone", False): N - cut,
        ("wal", "utf-8", "phone", False): cut,
    }


@needs_server
def test_a_part_of_a_segment_is_followed_from_where_it_begins(written):
    """Free blocks hold parts of segments: a record goes on in the first page, and the last one is cut off."""
    path = next(path for path in segments(written) if "method: lz4" in dumped(path))
    data = content(path)
    part = data[4096 + 8192 : -8192]

    found = len(searched(random.Random(1).randbytes(4096) + part).residue)

    assert found > len(searched(data).residue) * 0.75
    assert found > 10 * len(plainly(part))


def image_of(values: list[str]) -> bytes:
    return b"".join(value.encode().ljust(40, b"-") for value in values).ljust(8192, b"\x00")


def records(count: int) -> bytes:
    """Records one behind the other, each naming the one before it; ten values in the image of each."""
    body, before, at = b"", 1, (1 << 24) + 24
    for nth in range(count):
        packed = lz4.block.compress(image_of(VALUES[10 * nth : 10 * nth + 10]), store_size=False)
        body += (made := record(before, packed, 8))
        before = at
        for _ in range(len(made)):
            at += 1
            if at % 8192 == 0:
                at += 24
    return body


def test_what_is_damaged_costs_no_more_than_itself():
    """One record's header is overwritten: those of the next page are followed again."""
    body = records(200)
    data = bytearray(log(body))
    whole = len(searched(bytes(data)).residue)
    data[8192 + 100 : 8192 + 3000] = bytes(2900)

    pages = len(data) // 8192
    left = len(searched(bytes(data)).residue)

    assert whole > 500
    assert left > 0, pages


def test_pages_of_an_older_log_behind_the_end_are_read_as_their_own():
    """A recycled segment: new pages, then old ones whose addresses do not follow."""
    new, old = log(records(30)), log(b"x" * 5000 + VALUES[2000].encode() * 2000, first=3 << 24)
    assert VALUES[2000].encode() * 2 in old

    findings = searched(new + old)

    assert len(findings.residue) == 301
