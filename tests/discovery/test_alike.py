"""Copies of one list are found by their values, without keeping any."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from cenotaph import kernel
from cenotaph.discovery import CollectionProfile, ColumnProfile, Sketch, draw_key, look_alikes, text

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


def test_pairs_are_those_of_a_comparison_of_all():
    """Pairs without a hash in common are passed over, and nothing else: also of a collection with itself."""
    draw = np.random.default_rng(7)
    begins = draw.integers(0, 5_000, 14).tolist()
    collections = [_collection(n, f"c{n}", range(begin, begin + 700)) for n, begin in enumerate(begins)]
    overlaps = {
        (one.label, other.label): one.columns[0].sketch.overlap(other.columns[0].sketch)
        for one, other in itertools.combinations(collections, 2)
    }

    found = [(pair.first, pair.second) for pair in look_alikes(collections)]

    assert found == [pair for pair, overlap in overlaps.items() if overlap >= 0.2]
    assert 0 < len(found) < len(overlaps)
    assert list(look_alikes([])) == list(look_alikes(collections[:1])) == []


PLAIN = [" x ", "x", "110105194912310021"]
VALUES = [None, "", *PLAIN, "王小明", "ab%cd", "%PDF-1.4", "a\x00b", "\ufeffq", "z" * 5_000]


@pytest.mark.parametrize("count", [len(VALUES), 2, 4, 0])
def test_a_sketch_is_the_same_with_and_without_the_kernel(count, monkeypatch):
    """What a kernel hashes, Python hashes alike, over several batches that fill the sketch."""
    batches = [pa.array(VALUES[:count], pa.string()), pa.array(range(900)), pa.array(range(500, 2_000))]
    if kernel.found() is None:
        pytest.skip("the kernel is not installed")
    made = []
    for found in (kernel.found(), None):
        monkeypatch.setattr(kernel, "found", lambda found=found: found)
        sketch = Sketch(KEY)
        for batch in batches:
            sketch.add(batch)
        made.append(sketch.hashes.tolist())

    assert made[0] == made[1]
    assert len(made[0]) == 1_024


@pytest.mark.parametrize("values", [[value] for value in VALUES] + [VALUES, VALUES[1:5], [None, None], []])
def test_plain_columns_are_the_same_texts_when_nothing_is_matched_with_them(values, monkeypatch):
    """The short way for columns of printable ASCII gives what the long way gives, of slices as well."""
    column = pa.array(["\x01", *values, "\x02"], pa.string()).slice(1, len(values)).cast(pa.binary())
    short = text.as_texts(column)
    monkeypatch.setattr(text, "_is_plain", lambda column: False)
    long = text.as_texts(column)

    assert short.texts.equals(long.texts)
    assert short.blobs.equals(long.blobs)
    assert short.marks.tolist() == long.marks.tolist()


def test_plain_columns_are_told():
    """A value that a control character, a percent sign or another script makes less than plain is no such."""
    plain = [value for value in VALUES if value and text._is_plain(pa.array([value.encode()]))]

    assert plain == PLAIN
