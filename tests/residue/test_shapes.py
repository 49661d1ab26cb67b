"""Shapes of people that no seal knows."""

from __future__ import annotations

import gzip
import io
import random

import numpy as np
import pyarrow as pa
import pytest

from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import BLOCK, Findings, scan
from cenotaph.residue.shapes import IDENTITY, MOBILE, Shapes

NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def identity(draw: random.Random) -> str:
    body = f"{draw.choice((110101, 320200, 650104))}{draw.randrange(1930, 2020)}"
    body += f"{draw.randrange(1, 13):02d}{draw.randrange(1, 29):02d}{draw.randrange(1000):03d}"
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, WEIGHTS, strict=True)) % 11]


def known(values: list[str]) -> Needles:
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(values, pa.string()), "id")
    return builder.finish()


def found(data: bytes, values: list[str] | None = None, kept: np.ndarray = NOTHING_KEPT) -> Findings:
    return scan(io.BytesIO(data), len(data), Shapes(known(values or [])), kept)


def by_kind(findings: Findings) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (_, _, kind, _), times in findings.counts.items():
        counts[kind] = counts.get(kind, 0) + times
    return counts


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: b"x" + data])
def test_identity_numbers_and_mobiles_are_found_by_shape(codec, pack):
    """Each person in a text nobody sealed is counted once, compressed or at an odd offset too."""
    draw = random.Random(1)
    people = [(identity(draw), f"13{draw.randrange(10**9):09d}") for _ in range(500)]
    data = pack("".join(f"{who},{phone}\n" for who, phone in people).encode(codec))

    findings = found(data)

    assert by_kind(findings) == {IDENTITY: 500, MOBILE: 500}
    assert len(findings.residue) == len({value for pair in people for value in pair})


def test_numbers_that_are_not_people_are_passed_over():
    """A wrong check digit, an impossible date, a longer run, an order number: none is a person."""
    good = identity(random.Random(2))
    wrong = good[:17] + ("1" if good[17] != "1" else "2")
    month = good[:10] + "13" + good[12:]
    lines = [wrong, month, good + "0", "0" + good, "12345678901", "138001380001", "8513800138000"]

    assert by_kind(found("\n".join(lines).encode())) == {}
    assert by_kind(found(good.encode())) == {IDENTITY: 1}
    assert by_kind(found(b"tel:+8613800138000;")) == {MOBILE: 1}


def test_people_that_a_seal_knows_are_not_counted():
    """What is among the needles is reported as needles, not again by shape."""
    draw = random.Random(3)
    sealed, stray = identity(draw), identity(draw)

    findings = found(f"{sealed} {stray}".encode(), [sealed])

    assert by_kind(findings) == {IDENTITY: 1}
    assert findings.hits[0].offset == 19


def test_shapes_in_kept_bytes_are_kept():
    """Attribution is that of any other hit."""
    draw = random.Random(4)
    data = f"{identity(draw)} {identity(draw)}".encode()

    findings = found(data, kept=np.array([[0, 19]]))

    assert (len(findings.kept), len(findings.residue)) == (1, 1)


def test_a_run_of_digits_across_blocks_is_one_run():
    """A number that begins where a block begins, but whose run began before it, is no person."""
    good = identity(random.Random(5)).replace("X", "0")
    data = bytearray(b"." * (BLOCK + 4000))
    for at in range(BLOCK - 400, BLOCK + 200, 40):
        data[at : at + 30] = b"7" * 12 + good.encode()

    assert by_kind(found(bytes(data))) == {}
