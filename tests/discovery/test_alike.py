"""Copies of one list are found by their values, without keeping any."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cenotaph.discovery import CollectionProfile, ColumnProfile, Sketch, draw_key, look_alikes

KEY = bytes(32)


def _sketch(values: range, key: bytes = KEY) -> Sketch:
    sketch = Sketch(key)
    sketch.add(pa.array([f"p{value}" for value in values]))
    return sketch


@pytest.mark.parametrize(
    ("left", "right", "share"),
    [
        (range(100), range(100), 1.0),
        (range(100), range(50, 150), 0.5),
        (range(100), range(100, 200), 0.0),
        (range(20_000), range(20_000), 1.0),
        (range(20_000), range(10_000, 30_000), 0.5),
        (range(20_000), range(30_000, 50_000), 0.0),
        (range(4_000), range(20_000), 1.0),
    ],
)
def test_overlap_is_estimated(left, right, share):
    """Exact for small columns; within 0.1 where the sketch holds a thousand of many."""
    estimate = _sketch(left).overlap(_sketch(right))

    assert estimate == pytest.approx(share, abs=0 if len(left) <= 100 else 0.1)


def test_distinct_is_estimated():
    """Repeated values count once, over any number of batches."""
    sketch = Sketch(KEY)
    for _ in range(3):
        sketch.add(pa.array([f"p{value}" for value in range(20_000)]))

    assert sketch.distinct() == pytest.approx(20_000, rel=0.1)


def test_numbers_and_their_text_are_the_same_value():
    """A CSV export of an integer column is a copy of it; spaces around do not matter."""
    numbers, texts = Sketch(KEY), Sketch(KEY)
    numbers.add(pa.array(range(50)))
    texts.add(pa.array([f" {value} ".encode() for value in range(50)]))

    assert numbers.overlap(texts) == 1.0


def test_sketches_of_different_keys_cannot_be_compared():
    """The key is drawn for each run, so that yesterday's sketch tells nothing today."""
    with pytest.raises(ValueError, match="different keys"):
        _sketch(range(10)).overlap(_sketch(range(10), draw_key()))


def test_a_sketch_holds_no_value():
    """Neither repr nor the state of a sketch contains what went in."""
    sketch = Sketch(KEY)
    sketch.add(pa.array(["11010519491231002X"]))

    assert sketch.distinct() == 1
    assert "1101" not in repr(sketch)
    assert not any(b"11010519491231002X" in bytes(memory) for memory in (sketch._hashes.tobytes(),))


def _collection(label: int, name: str, values: range) -> CollectionProfile:
    flag = Sketch(KEY)
    flag.add(pa.array(["yes", "no"]))
    return CollectionProfile(label, (ColumnProfile(name, _sketch(values)), ColumnProfile("flag", flag)))


def test_a_diverging_copy_under_another_heading_is_found():
    """Nine in ten of the people are in both lists; a list of other people is no copy."""
    collections = [
        _collection(0, "id_number", range(1_000)),
        _collection(1, "ID Number", range(100, 1_100)),
        _collection(2, "sfzh", range(5_000, 6_000)),
        _collection(3, "xm", range(500)),
    ]
    pairs = {(found.first, found.second): found for found in look_alikes(collections)}

    assert set(pairs) == {(0, 1), (0, 3), (1, 3)}
    assert pairs[0, 1].overlap == pytest.approx(0.9, abs=0.03)
    assert (pairs[0, 1].same_columns, pairs[0, 3].same_columns) == (2, 1)
    assert "id" not in pairs[0, 1].sentence.split()
