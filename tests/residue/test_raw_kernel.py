"""What the kernel finds in raw bytes beside numbers, against what Python finds: shapes, magics, zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cenotaph import kernel
from cenotaph.residue import hexadecimal, lanes, zeros
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.postgres_values import matching
from cenotaph.residue.shapes import Shapes

native = pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")

BY = [kernel.Kernel(level) for level in native.levels()]
ANYTHING = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
PERSONS = (
    "110105194912310021",
    "11010519491231002X",
    "11010519491231002x",
    "440524188001010014",
    "13812345678",
)
TEXTS = st.one_of(
    st.sampled_from(PERSONS),
    st.sampled_from(PERSONS).map(lambda text: text[1:]),
    st.sampled_from(["86", "8613912345678", "1" * 11, "1", "X", ", ", "1381234567890" * 30]),
)
PIECES = st.one_of(
    TEXTS.map(str.encode),
    TEXTS.map(lambda text: text.encode("utf-16-le")),
    TEXTS.map(lambda text: text.encode("utf-16-be")),
    st.sampled_from([b"\0", b"\0" * 1200, b"\n", *lanes._EVERY]),
    st.sampled_from(lanes._EVERY).map(lambda magic: magic[:-1]),
    st.binary(max_size=9),
)
DATA = st.lists(PIECES, max_size=24).map(b"".join)


def read(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(data, np.uint8)


def each(run: Any) -> list[Any]:
    """What comes of it without the kernel, and on each instruction set."""
    outcomes = []
    for by in (None, *BY):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "found", lambda by=by: by)
            outcomes.append(run())
    return outcomes


@ANYTHING
@given(DATA, st.integers(0, 40), st.integers(0, 40))
def test_shapes_are_the_same_with_and_without_the_kernel(data: bytes, lead: int, behind: int) -> None:
    """In one byte and in two, at every border; who is known is left out."""
    builder = NeedleBuilder(bytes(32))
    builder.add_numbers(np.array([113912345678], np.uint64), "phone")
    shapes = Shapes(builder.finish())
    core = max(0, len(data) - behind)

    def found() -> list[tuple[Any, ...]]:
        matches = shapes.find(read(data), core, lead)
        columns = matches.start, matches.length, matches.encodings, matches.kinds, matches.what
        return sorted(zip(*(column.tolist() for column in columns), strict=True))

    every = each(found)
    assert all(other == every[0] for other in every)


@ANYTHING
@given(DATA, st.integers(0, 40))
def test_magics_are_the_same_with_and_without_the_kernel(data: bytes, behind: int) -> None:
    """In their order, also where one begins within another or is cut off."""
    every = each(lambda: sorted(lanes.find_magics(read(data), max(0, len(data) - behind))))
    assert all(other == every[0] for other in every)


def test_each_magic_is_found_wherever_it_lies() -> None:
    """More of them than there is room for at first, too."""
    data = b"".join(magic + b"ab" for magic in lanes._EVERY) * 300
    places = [at for at, _ in lanes.find_magics(read(data), len(data))]
    assert len(places) >= 300 * len(lanes._EVERY)
    for found in each(lambda: lanes.find_magics(read(data), len(data))):
        assert [at for at, _ in found] == places


@ANYTHING
@given(DATA, st.sampled_from([64, 512]))
def test_tiles_of_zeros_are_told_from_others(data: bytes, tile: int) -> None:
    """What is behind the last whole tile is not looked at."""
    expected = [any(data[at : at + tile]) for at in range(0, len(data) - tile + 1, tile)]
    assert all(found.tolist() == expected for found in each(lambda: zeros.full(read(data), tile)))


@ANYTHING
@given(st.lists(st.integers(0, 7), max_size=300), st.sampled_from([np.uint32, np.uint64]))
def test_words_are_the_same_with_and_without_the_kernel(values: list[int], kind: Any) -> None:
    """Those that have a value under a mask, more of them than there is room for at first, too."""
    words = np.array(values * 40, kind)
    every = each(lambda: matching(words, kind(5), kind(4)).tolist())
    assert all(other == [nth for nth, word in enumerate(values * 40) if word & 5 == 4] for other in every)


VALUES = ("李小明住在这里", "somebody@example.org", "abcdef", "12345678901234567890", "aaaaab", "Ångström")
FORMS = st.sampled_from(
    [value.encode(codec) for value in VALUES for codec in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")]
)


@ANYTHING
@given(
    st.lists(FORMS | FORMS.map(lambda form: form[3:]) | PIECES, max_size=20).map(b"".join), st.integers(0, 40)
)
def test_forms_are_the_same_with_and_without_the_kernel(data: bytes, behind: int) -> None:
    """Text that is no number, and bytes, whatever lies around them."""
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(VALUES), "text")
    builder.add(pa.array([bytes(10) + b"\1\2\3\4\5\6" + bytes(10), b"\0\0\7\1\2\3\4\5"]), "blob")
    needles = builder.finish()
    core = max(0, len(data) - behind)

    def found() -> list[tuple[Any, ...]]:
        matches = needles.find(read(data), core, behind // 2)
        columns = matches.start, matches.length, matches.encodings, matches.kinds, matches.what
        return list(zip(*(column.tolist() for column in columns), strict=True))

    every = each(found)
    assert all(other == every[0] for other in every)


SPELLED = st.lists(
    st.one_of(
        st.sampled_from(
            [*hexadecimal.BEGINS, b"x", b"'", b"\n", b"0" * 16, b"aF9", b"12345678", b"\0" * 1100]
        ),
        st.binary(max_size=9).map(lambda data: data.hex().encode()),
        st.binary(max_size=70).map(lambda data: data.hex().upper().encode()),
    ),
    max_size=40,
).map(b"".join)


@ANYTHING
@given(SPELLED, st.integers(0, 70), st.integers(0, 3000))
def test_what_is_spelled_in_digits(data: bytes, lead: int, core: int) -> None:
    def found() -> Any:
        core_ = min(core, len(data))
        return [column.tolist() for column in hexadecimal.find(read(data), min(lead, core_), core_)]

    first, *others = each(found)
    assert all(other == first for other in others)
