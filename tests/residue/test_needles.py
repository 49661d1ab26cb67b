"""Needles: what they keep, what they find, and what they refuse."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pytest

from cenotaph.errors import UsageError
from cenotaph.residue.needles import NeedleBuilder, Needles, _Hash

KEY = bytes(range(32))
PHONES = [f"138{n:08d}" for n in range(500)]


def built(values: object, kind: str = "phone", key: bytes = KEY) -> Needles:
    builder = NeedleBuilder(key)
    builder.add(values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values), kind)
    return builder.finish()


def found(what: Needles, data: bytes) -> list[tuple[int, int, str]]:
    matches = what.find(np.frombuffer(data, dtype=np.uint8), len(data))
    rows = zip(matches.start.tolist(), matches.length.tolist(), matches.encoding, strict=True)
    return list(rows)


def test_values_are_counted_once_however_often_they_come():
    """The same value in other batches, other types and as another kind is one needle."""
    builder = NeedleBuilder(KEY)
    for values in (pa.array(PHONES), pa.array([int(phone) for phone in PHONES])):
        builder.add(values, "phone")
        builder.add(pa.chunked_array([values, values]).dictionary_encode(), "text")
    builder.add(pa.array([None, "", PHONES[0]]), "id")

    assert len(builder.finish()) == len(PHONES)


def test_no_value_is_in_the_bytes():
    """What is stored holds no value, in no encoding that is searched."""
    data = built(["李小明住在这里", "13812345678"], "text").to_bytes()

    for value in ("李小明住在这里", "13812345678"):
        for codec in ("utf-8", "utf-16-le", "utf-16-be", "gb18030"):
            assert value.encode(codec) not in data
    assert (13812345678).to_bytes(8, "little") not in data
    assert "138" not in repr(built(PHONES))


def test_bytes_come_back_as_they_were():
    """Reading what was written and writing it again gives the same bytes, and the same finds."""
    what = built(PHONES)
    data = what.to_bytes()

    again = Needles.from_bytes(data)

    assert again.to_bytes() == data
    assert found(again, b"xx" + PHONES[7].encode()) == found(what, b"xx" + PHONES[7].encode()) != []


@pytest.mark.parametrize("spot", [0, 5, 30, 60, 200, -1, -40])
def test_damaged_bytes_are_refused(spot):
    """One flipped bit anywhere, a cut or an addition: refused."""
    data = bytearray(built(PHONES).to_bytes())
    data[spot] ^= 1

    with pytest.raises(UsageError):
        Needles.from_bytes(bytes(data))
    data[spot] ^= 1
    for other in (data[:-1], data + b"x", b"", data[: len(data) // 2]):
        with pytest.raises(UsageError):
            Needles.from_bytes(bytes(other))


def test_merged_needles_find_what_either_finds():
    """The union, values of both counted once; needles of another key are refused."""
    one, two = built(PHONES[:300]), built(PHONES[200:])

    both = one.merge([two])

    assert len(both) == 500
    assert len(found(both, "\n".join(PHONES).encode())) == 500
    with pytest.raises(UsageError, match="different keys"):
        one.merge([built(PHONES, key=bytes(32))])


def test_contains_tells_members_from_others():
    """By value, whatever the type; nulls are no members."""
    what = built(PHONES[:5])

    answer = what.contains(pa.array([PHONES[0], PHONES[9], None, PHONES[4]]), "phone")

    assert answer.tolist() == [True, False, False, True]
    assert what.contains(pa.array([int(PHONES[1]), 5]), "number").tolist() == [True, False]


def test_what_says_too_little_is_not_searched_but_counted():
    """Short, uniform and small values would be found everywhere by chance."""
    what = built(["12345", "000000000", "张伟", "123456"], "text")

    assert what.skipped["utf-8"] == 2
    assert what.skipped["utf-16le"] == 3
    assert what.skipped["int64le"] == 3
    assert found(what, bytes(5000) + b"0" * 5000) == []
    assert [row[2] for row in found(what, "x张伟x123456x".encode())] == ["utf-8", "utf-8"]


def test_the_middle_of_a_long_text_is_searched():
    """A note longer than 64 characters is found by its middle, when its ends are gone."""
    note = "".join(f"{n:03d}" for n in range(100))
    middle = note[118 : 118 + 64]

    assert found(built([note], "text"), b"--" + middle.encode()) == [(2, 64, "utf-8")]


def test_values_with_a_common_end_or_beginning_are_told_apart():
    """Addresses in one lane, mail at one provider: each is found, and no neighbour."""
    many = [f"{n}号楼幸福路人民小区三单元二〇一室" for n in range(1000, 1300)]
    mails = [f"user{n}@a-very-common-provider.example" for n in range(1000, 1300)]
    both = built(many, "address").merge([built(mails, "email")])

    assert len(found(both, "\n".join(many + mails).encode("utf-8"))) == 600
    strangers = [value.replace("小", "大").replace("user", "other") for value in many + mails]
    assert found(both, "\n".join(strangers).encode("utf-8")) == []


def test_a_value_that_ends_in_zeros_is_not_looked_for_in_every_zero(monkeypatch):
    """Of two points the second is nought, and empty pages are full of zeros: what lies before tells more."""
    values = [struct.pack(">4d", n + 0.1, n, 0, 0) for n in range(1, 50)]
    needles = built(pa.array(values, pa.binary()), "blob")
    data = bytearray(1 << 16)
    data[::4096] = b"\x01" * 16
    data[5000:5032] = values[7]
    compared: list[bytes] = []
    wholes = _Hash.wholes

    def counted(self: _Hash, forms: Iterable[bytes]) -> object:
        compared.extend(map(bytes, forms))
        return wholes(self, compared)

    monkeypatch.setattr(_Hash, "wholes", counted)

    assert [start for start, _, _ in found(needles, bytes(data))] == [5000]
    assert len(compared) < 50


def test_bytes_that_are_nearly_all_zeros_are_not_looked_for():
    """A point at (2, 2) is four bytes with zeros between: so are the counts in any server's statistics."""
    few = built(pa.array([struct.pack(">2d", 2, 2), struct.pack(">4d", 3, 3, 0, 0)], pa.binary()), "blob")
    place = struct.pack(">2d", 120.1551, 30.2741)

    assert found(few, struct.pack("<8Q", *([64, 0x840] * 4)) + struct.pack(">6d", 2, 2, 3, 3, 0, 0)) == []
    assert (len(few), few.skipped["bytes"]) == (2, 2)
    assert len(found(built(pa.array([place], pa.binary()), "blob"), b"before" + place + b"behind")) == 1


def test_a_number_of_a_few_digits_is_not_looked_for_in_sixteen_bits():
    """1234 is in each catalog's list of the numbers from 1 to 9, each in two bytes: with 3,000 people a
    column of row numbers made eleven such values, and what stays had them all."""
    few = built(["123", "1234", "12345"], "text")
    listed = b"".join(bytes([0, digit]) for digit in b"123456789")

    assert found(few, listed) == found(few, listed[1:] + b"\x00") == []
    assert len(found(built(["123456"], "text"), listed)) == 1


def test_a_prefix_does_not_hide_a_phone():
    """A number behind +86 or 0086 is found as a part."""
    assert [row[0] for row in found(built(PHONES), f"+86{PHONES[3]}, 0086{PHONES[4]}".encode())] == [3, 20]


@pytest.mark.parametrize(
    ("values", "kind"), [(pa.array([1.5]), "geo"), (pa.array([True]), "text"), (pa.array(["x"]), "person")]
)
def test_other_types_and_kinds_are_refused(values, kind):
    """What cannot be searched is not passed over in silence."""
    with pytest.raises(UsageError):
        built(values, kind)


def test_a_key_of_another_length_is_refused():
    """32 bytes, no fewer."""
    with pytest.raises(UsageError, match="32 bytes"):
        NeedleBuilder(b"short")


def test_nothing_to_search_finds_nothing():
    """No needles, or no data."""
    assert found(built(pa.array([], pa.string())), b"abc" * 100) == []
    assert found(built(PHONES), b"") == []
