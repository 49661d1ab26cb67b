"""Bytes that only look like PostgreSQL's: the search ends soon, in bounded memory, and says what it left."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from collections.abc import Callable

import lz4.block
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_bytes import chunk, log, record, slow_pglz, value

from cenotaph.residue import carve_postgres, pglz, postgres_values, postgres_wal
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.scan import Findings, scan
from cenotaph.residue.volume import LIMITS

NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
fuzz = settings(max_examples=20, deadline=None)

PHONES = [f"1380000{nth:04d}" for nth in range(60)]
TEXT = b"".join(phone.encode().ljust(40, b"-") * 3 for phone in PHONES)
_builder = NeedleBuilder(bytes(32))
_builder.add(pa.array(PHONES), "phone")
NEEDLES = _builder.finish()


def searched(data: bytes) -> Findings:
    return scan(io.BytesIO(data), len(data), NEEDLES, NOTHING_KEPT, limits=LIMITS)


def sample() -> bytes:
    """Values in rows, chunks of a compressed and of a plain value, log pages with images by all methods."""
    packed = value(TEXT, "pglz")[4:]
    chunks = b"".join(
        chunk(9, nth, packed[at : at + 700]) for nth, at in enumerate(range(0, len(packed), 700))
    )
    plain = b"".join(chunk(8, nth, TEXT[at : at + 1996]) for nth, at in enumerate(range(0, len(TEXT), 1996)))
    page = TEXT.ljust(8192 - 100, b"\x00")
    images = [
        (slow_pglz(page), 4),
        (lz4.block.compress(page, store_size=False), 8),
        (zstandard.compress(page), 16),
    ]
    records = b"".join(record(1, packed, method, (400, 100)) for packed, method in images)
    rows = value(TEXT, "pglz") + value(TEXT, "lz4")
    return log(records + value(TEXT)) + (rows + chunks + plain).ljust(16384, b"\x00")


SAMPLE = sample()


def test_the_sample_is_what_the_mutations_start_from():
    """Each lane gives what is in it, so that mutating it means something."""
    findings = searched(SAMPLE)

    assert {key[0] for key in findings.counts} >= {"pglz", "lz4", "toast", "wal"}
    assert len(findings.residue) == len(PHONES)


@fuzz
@given(
    st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=40),
    st.integers(0, len(SAMPLE) - 1),
)
def test_mutated_bytes_never_break_the_search(changes, cut):
    """Flipped bytes in headers, lengths, tags, records; and anything cut off at either end."""
    data = bytearray(SAMPLE)
    for at, byte in changes:
        data[at] = byte

    assert searched(bytes(data[:cut])).scanned == cut
    assert searched(bytes(data[cut:])).scanned == len(data) - cut


@fuzz
@given(st.binary(max_size=400), st.integers(0, 4000))
def test_streams_of_noise_decode_to_what_is_asked_for_at_most(noise, size):
    """Neither decoder gives more than its size, nor takes more than there is."""
    for out, used in (pglz.beginning(noise, size), postgres_values.lz4_beginning(noise, size)):
        assert len(out) <= size
        assert used <= len(noise)
    postgres_values.external(noise, whole=True)
    postgres_wal.page(noise)


def _values(_: random.Random) -> bytes:
    """Each claims the next 8 KiB, in which the headers of the others are bytes that repeat nothing."""
    return b"\x02\x80\x00\x00\x00\x90\x00\x00" + b"\x80abcdefg\x0f\x01\x00" + b"\x00"


def _plain_values(_: random.Random) -> bytes:
    return b"\x02\x80\x00\x00\x00\xff\x00\x40" + b"\x10x\x01\x00"  # LZ4


def _bombs(_: random.Random) -> bytes:
    return value(bytes(200_000), "lz4")


def _chunks(draw: random.Random) -> bytes:
    return chunk(5, draw.randrange(3), b"")[:36].replace(b"\x10\x00\x00\x00", b"\xd0\x1f\x00\x00") + bytes(4)


def _many_chunks(draw: random.Random) -> bytes:
    return chunk(5, draw.randrange(1000), b"abcdefgh")


def _log_pages(draw: random.Random) -> bytes:
    return log(bytes(400), first=8192 * draw.randrange(1, 9))[:512]


def _records(draw: random.Random) -> bytes:
    bomb = slow_pglz(b"x" * 40 * 200)
    return log(record(1, bomb, 4) * 30)


@pytest.mark.parametrize(
    "make",
    [_values, _plain_values, _bombs, _chunks, _many_chunks, _log_pages, _records],
    ids=lambda f: f.__name__,
)
def test_a_mebibyte_of_beginnings_ends_in_bounded_time(make: Callable[[random.Random], bytes]):
    """Nothing but headers of values, chunks and log pages that never were."""
    draw = random.Random(1)
    unit = b"".join(make(draw) for _ in range(64))
    data = (unit * ((1 << 20) // len(unit) + 1))[: 1 << 20]
    begun = time.process_time()

    findings = searched(data)

    assert findings.scanned == len(data)
    assert time.process_time() - begun < 15  # seconds; a quarter of that on an idle machine


def test_what_is_left_out_is_told():
    """More values one inside the other than any page has: counted, not silently dropped."""
    data = _values(random.Random(1)) * (1 << 16)

    assert carve_postgres.UNTRIED in searched(data).counted


def test_memory_stays_bounded_whatever_the_chunks_claim():
    """Three mebibytes of chunks that overlap each other."""
    data = _chunks(random.Random(1)) * ((3 << 20) // 40)
    searched(data[:4096])
    tracemalloc.start()
    try:
        searched(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 128 << 20
