"""What a script spells in hexadecimal digits is found, wherever a value begins and ends."""

from __future__ import annotations

import gzip
import io
import random
import sqlite3

import numpy as np
import pyarrow as pa
import pytest

from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import BLOCK, Findings, scan
from cenotaph.store import Ranges

NAMES = [f"Person-{number * 7919:08}-{number:04}" for number in range(500)]
NOTHING: Ranges = np.zeros((0, 2), dtype=np.int64)
NEXT = b"');\nSELECT pg_catalog.lowrite(0, '\\x"


@pytest.fixture(scope="module")
def needles() -> Needles:
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(NAMES), "name")
    return builder.finish()


def scanned(data: bytes, needles: Needles, kept: Ranges = NOTHING) -> Findings:
    assert b"Person-" not in data  # a plain search finds nobody
    return scan(io.BytesIO(data), len(data), needles, kept)


def spelled(*names: str) -> bytes:
    return " ".join(names).encode().hex().encode()


@pytest.mark.parametrize(
    ("before", "behind"), [(b"\\x", b"\t"), (b"X'", b"'"), (b"x'", b"'"), (b"0x", b","), (b"\\x", b"f\n")]
)
def test_every_way_to_begin_and_end(needles: Needles, before: bytes, behind: bytes) -> None:
    """Digits in either case; one digit too many."""
    digits = spelled(*NAMES[:7])
    found = scanned(before + digits + behind + before + spelled(NAMES[8]).upper() + behind, needles)

    assert len(found.residue) == 8
    assert {lane for lane, *_ in found.counts} == {"hex"}
    assert not found.problems


def test_a_dump_of_sqlite(needles: Needles) -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE person (id INTEGER, photo BLOB)")
        rows = [(number, b"\x00\xff" + name.encode()) for number, name in enumerate(NAMES)]
        database.executemany("INSERT INTO person VALUES (?, ?)", rows)
        script = "\n".join(database.iterdump()).encode()
    database.close()

    assert len(scanned(script, needles).residue) == len(NAMES)


def test_a_value_that_is_longer_than_a_block(needles: Needles) -> None:
    """What is compressed in it, and everybody behind it; where the stream ends in it, that is no fault."""
    draw = random.Random(3)
    value = draw.randbytes(BLOCK // 2) + gzip.compress(" ".join(NAMES).encode()) + draw.randbytes(BLOCK // 2)
    data = b"a line\n\\x" + value.hex().encode()

    assert len(scanned(data, needles).residue) == len(NAMES)
    behind = scanned(data + b"\n\\x" + spelled("nobody", NAMES[3]), needles)
    assert len(behind.residue) == len(NAMES)
    assert not behind.problems
    assert not scanned(data[:-1], needles).problems


@pytest.mark.parametrize("shift", range(-90, 91, 15))
def test_where_a_block_ends(needles: Needles, shift: int) -> None:
    """Within a value, before it, between two pieces of a large object; a name lies across these."""
    half = spelled(*NAMES[:40])
    values = b"\\x" + half[:-10] + NEXT + half[-10:] + b"');\n"
    data = b"\x01" * (BLOCK - len(half) - 40 + shift) + values + b"\x01" * 999

    found = scanned(data, needles)

    assert len(found.residue) == 40
    assert found.counts.total() == 40


def test_kept_is_what_lies_in_kept_bytes(needles: Needles) -> None:
    first, second = b"\\x" + spelled(NAMES[0]), b"\n\\x" + spelled(NAMES[1])
    found = scanned(first + second, needles, np.array([[0, len(first)]]))

    assert len(found.kept) == len(found.residue) == 1
    assert found.kept != found.residue
    assert scanned(first, needles, np.array([[2, len(first)]])).residue  # it begins with what begins it


def test_what_only_looks_so(needles: Needles) -> None:
    """Too short, or cut off behind its beginning."""
    for data in (b"\\x00112233 0x", b"\\x", b"0xX'x'\\x" * 50, b"\\x" * 9 + b"0" * 15):
        found = scanned(data, needles)
        assert not found.counts
        assert not found.problems
