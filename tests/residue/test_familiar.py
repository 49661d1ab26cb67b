"""Rows that bring nobody new are told from those that may, whatever their values are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph import kernel
from cenotaph.residue import familiar
from cenotaph.residue.familiar import Familiar

native = pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")
from cenotaph_kernel import Column, How, MalformedError  # noqa: E402

LEVELS = native.levels()

TEXTS = (
    st.none() | st.text("0aé", max_size=12) | st.sampled_from(["7" * 63, "7" * 64, "7" * 65, "7" * 64 + "8"])
)
ROWS = st.lists(st.tuples(TEXTS, st.none() | st.sampled_from([-(2**63), -1, 0, 1, 8, 2**62])), max_size=90)
KINDS = [pa.string(), pa.large_string(), pa.large_binary()]


def strange(of: Familiar, columns: list[pa.Array], among: object = 0) -> list[int]:
    rows = of.strange(columns, among)
    return [*range(len(columns[0]))] if rows is None else rows.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from(KINDS), st.integers(0, 3))
def test_a_row_is_strange_once(
    several: list[list[tuple[str | None, int | None]]], kind: pa.DataType, skip: int
):
    """In whatever batch it comes; null is as good as empty, and a long value is looked at each time."""
    each, known = [Familiar() for _ in LEVELS], set()
    for of, level in zip(each, LEVELS, strict=True):
        of._by = kernel.Kernel(level)
    for rows in several:
        expected = []
        for at, (text, number) in enumerate(rows[skip:]):
            row = (text or "", number)
            if row not in known or len((text or "").encode()) > 64:
                expected.append(at)
            known.add(row)
        texts = pa.array([text for text, _ in rows], pa.string()).cast(kind)[skip:]
        numbers = pa.array([number for _, number in rows], pa.int64())[skip:]
        for of in each:
            assert strange(of, [texts, numbers]) == expected


def test_a_table_that_grows_keeps_what_it_has_and_a_full_one_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it lets go of is strange again; what it never had is never familiar."""
    people = pa.array(np.arange(10**17, 10**17 + 30_000)).cast(pa.string())
    of = Familiar()
    for at in range(0, 30_000, 1_000):
        assert len(strange(of, [people[at : at + 1_000]])) == 1_000
    assert len(of._slots) > familiar.FEWEST_SLOTS
    assert len(strange(of, [people])) < 1_000  # lines of eight that had to hold more
    assert len(strange(of, [people.cast(pa.int64())], among="integers")) == 30_000
    of.forget()
    monkeypatch.setattr(familiar, "MOST_SLOTS", familiar.FEWEST_SLOTS)
    assert len(strange(of, [people])) == 30_000
    assert 10_000 < len(strange(of, [people])) <= 30_000


def test_without_a_kernel_every_row_is_strange(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at value by value, as ever."""
    monkeypatch.setattr(kernel, "found", lambda: None)
    of = Familiar()
    assert of.strange([pa.array(["a"])], 0) is of.strange([pa.array(["a"])], 0) is None


@pytest.mark.parametrize(
    "column",
    [
        Column(How.OFFSETS32, places=np.array([0, 9], np.int32), data=bytes(8), head=b"\0"),
        Column(How.OFFSETS64, places=np.array([4, 3], np.int64), data=bytes(8), head=b"\0"),
        Column(How.OFFSETS32, places=bytes(4), data=bytes(8), head=b"\0"),
        Column(How.SIGNED, data=bytes(7), width=8),
        Column(How.BITS, data=bytes(1), head=b"\1"),
    ],
)
def test_nothing_outside_of_the_buffers_is_read(column: Column) -> None:
    """Whatever offsets and lengths say."""
    secrets, slots, into = np.ones(kernel.telling_words(1), np.uint64), np.zeros(8, np.uint64), bytearray(8)
    with pytest.raises(MalformedError):
        native.strange([column], 1, secrets, slots, into, LEVELS[0])
    with pytest.raises(ValueError, match="secrets"):
        native.strange([column], 1, secrets[1:], slots, into, LEVELS[0])
    with pytest.raises(ValueError, match="room"):
        native.strange([column], 1, secrets, slots[:7], into, LEVELS[0])
