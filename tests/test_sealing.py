"""What a partition's free text adds to the needles."""

from __future__ import annotations

import datetime

import pyarrow as pa

from cenotaph.records import Tagged
from cenotaph.sealing import leaves, numbers_in


def test_people_inside_lines_are_sought_by_their_numbers():
    """A JSON line names a person by number: the number is a needle of its own, once."""
    lines = pa.array(
        [
            b'{"id":"110105194912310021","tel":"13912345678"}',
            b'{"id":"11010519491231002X","tel":"13912345678"}',
            None,
            "呼叫 13800138000，地址不详".encode(),
        ],
        pa.binary(),
    )

    found = {kind: numbers.to_pylist() for kind, numbers in numbers_in(lines).items()}

    assert found == {
        "id": [b"110105194912310021", b"11010519491231002X"],
        "phone": [b"13800138000", b"13912345678"],
    }


def test_neither_longer_runs_of_digits_nor_neighbours_make_a_number():
    """A number ends where its value ends; part of a longer run is not a number."""
    assert numbers_in(pa.array(["1391234", "5678", "9913912345678", "20211391234567812345"])) == {}


def test_columns_without_text_add_nothing():
    """Integers, empty columns and nulls are passed over."""
    assert numbers_in(pa.array([1, 2])) == {}
    assert numbers_in(pa.array([], pa.string())) == {}
    assert numbers_in(pa.array([None], pa.string())) == {}


def test_values_are_found_at_whatever_depth_they_lie():
    """In lists, structs, mixed columns and a store's own bytes; dates and decimals as they are written."""
    mixed = pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()),
        pa.array([0, 0, 1], pa.int32()),
        [pa.array(["a", None]), Tagged("postgresql:numeric").array([b"\1"])],
    )
    nested = pa.array([[{"v": "b", "n": 7}], None, []])
    written = pa.array([datetime.date(2020, 2, 29)])

    def all_of(column: pa.Array) -> list[object]:
        return [value for part in leaves(column) for value in part.to_pylist()]

    assert all_of(mixed) == ["a", None, b"\1"]
    assert all_of(nested) == ["b", 7]
    assert all_of(written) == ["2020-02-29"]
    assert all_of(pa.array([True])) == []
