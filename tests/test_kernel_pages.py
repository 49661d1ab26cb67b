"""PostgreSQL's pages, read by the kernel and by the reference: the same rows, or refused by both."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cenotaph import kernel
from cenotaph.residue import pglz
from cenotaph.stores.postgres.wire import heap
from cenotaph.stores.postgres.wire.copy import Fields, Numbers, Texts
from cenotaph.stores.postgres.wire.heap import Attribute, Form

native = pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")

PAGE = 8192
ATTRIBUTES = (
    Attribute(8, 8, Form.NUMBER, "<i8"),
    Attribute(-1, 4, Form.OCTETS),
    Attribute(2, 2, Form.NUMBER, "<i2"),
    Attribute(-1, 4, Form.SKIPPED),
    Attribute(16, 1, Form.OCTETS),
    Attribute(-1, 4, Form.NUMERIC),
    Attribute(16, 8, Form.INTERVAL),
    Attribute(1, 1, Form.NUMBER, "u1"),
    Attribute(64, 1, Form.NAME),
    Attribute(4, 4, Form.LABEL, labels={7: b"seven", 8: b""}),
    Attribute(4, 4, Form.NUMBER, "<i4", missing=struct.pack(">i", -5)),
    Attribute(-1, 4, Form.OCTETS, missing=b"later"),
)
NOTHING_LATER = tuple(replace(one, missing=None) for one in ATTRIBUTES)
MANY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
ELSEWHERE = b"what lies in the TOAST table" * 9


@dataclass(frozen=True)
class Row:
    """One row's values as they are stored, headers of varying ones included; and its header's words."""

    values: Sequence[bytes | None]
    mask: int = 0x0900  # its transaction committed, and nobody deleted it
    born: int = 700
    ended: int = 0

    def stored(self) -> bytes:
        nulls = None in self.values
        bits = bytearray((len(self.values) + 7) // 8 if nulls else 0)
        body = bytearray()
        for nth, (value, attribute) in enumerate(zip(self.values, ATTRIBUTES, strict=False)):
            if value is None:
                continue
            if nulls:
                bits[nth // 8] |= 1 << nth % 8
            if attribute.length > 0 or not value[0] & 1:
                body += bytes(-len(body) % attribute.align)
            body += value
        begin = -(-(23 + len(bits)) // 8) * 8
        head = struct.pack("<III", self.born, self.ended, 0) + bytes(6)
        head += struct.pack("<HHB", len(self.values), self.mask | nulls, begin)
        return (head + bits).ljust(begin, b"\0") + body


def page_of(rows: Sequence[Row]) -> bytes:
    page, upper = bytearray(PAGE), PAGE
    pointers = []
    for row in rows:
        stored = row.stored()
        upper = (upper - len(stored)) // 8 * 8
        page[upper : upper + len(stored)] = stored
        pointers.append(upper | 1 << 15 | len(stored) << 17)
    lower = 24 + 4 * len(pointers)
    assert lower <= upper
    page[24:lower] = b"".join(struct.pack("<I", pointer) for pointer in pointers)
    page[12:20] = struct.pack("<4H", lower, upper, PAGE, PAGE | 4)
    return bytes(page)


def short(value: bytes) -> bytes:
    return bytes([len(value) + 1 << 1 | 1]) + value


def long(value: bytes, packed: int = 0) -> bytes:
    return struct.pack("<I", len(value) + 4 << 2 | packed) + value


PACKED = long(struct.pack("<I", 40) + b"\x02a\x0f\x01\x15", 2)  # 40 times a, by pglz
POINTER = b"\x01\x12" + struct.pack("<iIII", len(ELSEWHERE) + 4, len(ELSEWHERE), 99, 1)


def fixed(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


varying = st.one_of(
    st.binary(max_size=90).map(short), st.binary(max_size=150).map(long), st.sampled_from([PACKED, POINTER])
)
digits = st.lists(st.integers(0, 9999), max_size=6).map(lambda n: struct.pack(f"<{len(n)}H", *n))
numeric = st.one_of(
    st.tuples(st.integers(0x8000, 0xBFFF), digits).map(lambda n: short(struct.pack("<H", n[0]) + n[1])),
    st.tuples(st.integers(0, 0x7FFF), digits).map(lambda n: short(struct.pack("<Hh", n[0], -3) + n[1])),
    st.sampled_from([0xC000, 0xD000, 0xF000]).map(lambda n: short(struct.pack("<H", n))),
)
values = (
    *(fixed(8), varying, fixed(2), varying, fixed(16), numeric, fixed(16), fixed(1)),
    st.binary(max_size=63).map(lambda name: name.ljust(64, b"\0")),
    *(st.sampled_from([7, 8]).map(lambda n: struct.pack("<I", n)), fixed(4), varying),
)
states = st.sampled_from(
    [0x0900, 0x0B00, 0x0100, 0x0500, 0x0A00, 0x0800, 0x0000, 0x1040, 0x1100, 0x0180, 0x0140]
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    has = draw(st.sampled_from([len(ATTRIBUTES), 10, 3]))
    chosen = [draw(st.none() | one) for one in values[:has]]
    return Row(chosen, draw(states), draw(st.sampled_from([0, 2, 700])), draw(st.sampled_from([0, 701])))


def fetched(numbers: Sequence[int]) -> dict[int, bytes]:
    return dict.fromkeys(numbers, ELSEWHERE)


def read(
    octets: np.ndarray[Any, np.dtype[np.uint8]],
    most_bytes: int = 1 << 20,
    attributes: Sequence[Attribute] = ATTRIBUTES,
) -> Any:
    """Everything that comes out, as plain values."""
    try:
        found = heap.rows(octets, PAGE)
        pieces = list(heap.pieces(octets, found, attributes, fetched, 7, most_bytes))
    except heap.UnreadableError:
        return "refused"
    whole = found.starts.tolist(), found.ends.tolist(), found.asked.tolist()
    return whole, [(count, [plain(fields) for fields in columns]) for count, columns in pieces]


def plain(fields: Fields) -> list[bytes | None]:
    if isinstance(fields, Numbers):
        there = (fields.lengths >= 0).tolist()
        assert fields.valid is not None or all(there)
        if fields.valid is not None:
            assert np.unpackbits(fields.valid, count=len(there), bitorder="little").tolist() == there
        fields = fields.take(np.arange(len(fields)))
    if isinstance(fields, Texts):
        assert fields.ascii == fields.octets[: fields.offsets[-1]].tobytes().isascii()
        fields = fields.plain()
    return [
        None if length < 0 else fields.octets[start : start + length].tobytes()
        for start, length in zip(fields.starts.tolist(), fields.lengths.tolist(), strict=True)
    ]


@pytest.fixture
def reference() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def both(data: bytes) -> Any:
    """What the kernel and the reference make of whole pages, which has to be the same."""
    octets = np.frombuffer(data, np.uint8)
    found, sooner = read(octets), read(octets, attributes=NOTHING_LATER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "found", lambda: None)
        assert read(octets) == found
        assert read(octets, attributes=NOTHING_LATER) == sooner
    return found


@MANY
@given(st.lists(rows(), max_size=9))
def test_rows_come_out_as_they_went_in(made: list[Row]) -> None:
    """Of any types, states and lengths, packed and elsewhere, older than a column, null."""
    found = both(page_of(made) + bytes(PAGE))
    assert found != "refused"
    (_, _, asked), pieces = found
    assert sum(count for count, _ in pieces) == len(asked)
    sure = [row for row in made if row.mask in (0x0900, 0x0B00)]
    if sure == made:
        wanted = [None if row.values[0] is None else row.values[0][::-1] for row in made]
        assert [value for _, columns in pieces for value in columns[0]] == wanted
        later = [value for _, columns in pieces for value in columns[-1]]
        assert [value == b"later" for value in later] == [len(row.values) < 12 for row in made]


@MANY
@given(st.lists(rows(), min_size=1, max_size=9), st.integers(0, 1 << 30), st.integers(1, 12))
def test_what_was_changed_at_random_is_read_alike(made: list[Row], seed: int, changes: int) -> None:
    """Nothing outside of the pages is read, which the sanitizers see, and both refuse the same."""
    data, chance = bytearray(page_of(made)), random.Random(seed)
    used = PAGE - struct.unpack_from("<H", data, 14)[0]
    for _ in range(changes):
        place = chance.choice([chance.randrange(24 + 4 * len(made)), PAGE - 1 - chance.randrange(used)])
        data[place] = chance.choice([0, 1, 2, 3, 0x12, 0xFF, chance.randrange(256)])
    both(bytes(data))


def test_a_batch_has_no_more_bytes_than_it_may() -> None:
    """What is packed counts as long as it is when it is unpacked."""
    made = [Row([bytes(8), POINTER])] * 5
    octets = np.frombuffer(page_of(made), np.uint8)
    _, pieces = read(octets, 2 * len(ELSEWHERE) + 100)
    assert [count for count, _ in pieces] == [1] * 5
    _, pieces = read(octets, 2 * len(ELSEWHERE) + 300)
    assert [count for count, _ in pieces] == [2, 2, 1]


@MANY
@given(st.binary(max_size=60), st.integers(0, 300))
def test_pglz_is_unpacked_alike(stream: bytes, size: int) -> None:
    """Whole streams of the right size, and nothing else."""
    by = kernel.found()
    assert by is not None
    found = by.unpacked(np.frombuffer(stream, np.uint8), size)
    try:
        wanted = pglz.decompress(stream, size)
    except pglz.PglzError:
        assert found is None
    else:
        assert found is not None
        assert found.tobytes() == wanted


@pytest.mark.parametrize("level", native.levels())
def test_checksums_are_the_reference_s(level: Any, reference: pytest.MonkeyPatch) -> None:
    """On every instruction set; of pages that were never written there is none."""
    reference.setattr(kernel, "found", lambda: None)
    data = bytearray(page_of([Row([bytes(range(8))])]) * 3 + bytes(PAGE))
    octets = np.frombuffer(data, np.uint8)
    for block in range(3):
        right = heap.postgres_pages.checksums(heap.postgres_pages.parse(bytes(data)), 5)[block]
        data[block * PAGE + 8 : block * PAGE + 10] = int(right).to_bytes(2, "little")
    by = kernel.Kernel(level)
    assert by.wrong_sums(octets, PAGE, 5) == heap.wrong_sums(octets, PAGE, 5) == 0
    data[PAGE + 8000] ^= 1
    data[2 * PAGE + 10] ^= 4
    assert by.wrong_sums(octets, PAGE, 5) == heap.wrong_sums(octets, PAGE, 5) == 2
    assert by.wrong_sums(octets, PAGE, 4) == heap.wrong_sums(octets, PAGE, 4) == 3
