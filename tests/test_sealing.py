"""What a partition's free text adds to the needles."""

from __future__ import annotations

import pyarrow as pa

from cenotaph.sealing import numbers_in


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
