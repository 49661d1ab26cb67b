"""The forms and fingerprints that the kernel makes of values, against those that Python makes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cenotaph import kernel
from cenotaph.residue.needles import KINDS, NeedleBuilder, Needles
from cenotaph.sealing import Subjects

native = pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")

KEY = bytes(range(32))
ADDRESSES = ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "08:00:2b:01:02:03", "192.168.1.1", "::1", "fe80::1"]
NO_TEXTS = [  # surrogates, longer than need be, beyond the last character, cut off, without a beginning
    b"abcdef" + end
    for end in (
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xe6\x9d",
        b"\x80",
        b"\xff",
    )
]
DIGITS = st.text("0123456789", max_size=70) | st.sampled_from(
    ["0" * 20, "9223372036854775807", "1" + "0" * 40]
)
TEXTS = st.one_of(
    DIGITS,
    st.text(max_size=70),
    st.text(st.characters(max_codepoint=127), max_size=66),
    st.text("李小明住在里𠀀𪛖é\n", max_size=66),
    st.sampled_from(["", "aaaaaaa", "a@example.org", "Ab 7", "\U0010ffff" * 64, *ADDRESSES]),
)
VALUES = [
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.binary(), st.binary(max_size=200) | TEXTS.map(str.encode) | st.sampled_from(NO_TEXTS)),
    (pa.large_binary(), DIGITS.map(str.encode)),
    (pa.binary(8), st.binary(min_size=8, max_size=8)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    (pa.dictionary(pa.int8(), pa.string()), TEXTS),
]
ANYTHING = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    kind, values = draw(st.sampled_from(VALUES))
    before = draw(st.integers(0, 9))
    items = draw(st.lists(values | st.none(), min_size=before, max_size=before + 40))
    return pa.array(items, kind).slice(before)


def built(
    columns: list[tuple[pa.Array, str]], stores: list[str], by: kernel.Kernel | None, patch: Any
) -> Needles:
    patch.setattr(kernel, "found", lambda: by)
    builder = NeedleBuilder(KEY, stores)
    for column, kind in columns:
        builder.add(column, kind)
    return builder.finish()


@pytest.mark.parametrize("level", native.levels(), ids=lambda level: level.name.lower())
@ANYTHING
@given(
    st.lists(st.tuples(columns(), st.sampled_from(KINDS)), max_size=3),
    st.sampled_from([[], ["sqlite"], ["postgresql"]]),
)
def test_needles_are_the_same_with_and_without_the_kernel(
    level: Any, columns: list[tuple[pa.Array, str]], stores: list[str]
) -> None:
    """Byte for byte, with what was skipped: for every kind, type and store, ASCII or not, short or long."""
    with pytest.MonkeyPatch.context() as patch:
        plain = built(columns, stores, None, patch)
        quick = built(columns, stores, kernel.Kernel(level), patch)
    assert quick.to_bytes() == plain.to_bytes()


@pytest.mark.parametrize("level", native.levels(), ids=lambda level: level.name.lower())
@ANYTHING
@given(column=columns())
def test_fingerprints_are_keyed_blake2b(level: Any, column: pa.Array) -> None:
    """Of text, bytes and integers of any length; nulls and empty values are told apart."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    words, there = kernel.Kernel(level).fingerprints(column, KEY, b"somebody")
    for value, word, found in zip(column.to_pylist(), words.tolist(), there.tolist(), strict=True):
        plain = (
            str(value).encode()
            if isinstance(value, int)
            else value.encode()
            if isinstance(value, str)
            else value
        )
        assert found == (0 if plain is None else 2 if plain else 1)
        if plain is not None:
            hashed = hashlib.blake2b(plain, key=KEY, digest_size=8, person=b"somebody").digest()
            assert word == int.from_bytes(hashed, "little")


@ANYTHING
@given(st.lists(columns(), max_size=3))
def test_subjects_are_the_same_with_and_without_the_kernel(columns: list[pa.Array]) -> None:
    """White space around a number and small letters make no other person."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for by in (None, kernel.Kernel(native.levels()[-1])):
            patch.setattr(kernel, "found", lambda by=by: by)
            subjects = Subjects(KEY)
            for column in columns:
                subjects.add(column)
            found.append(subjects.take())
    assert found[0] == found[1]


def test_a_person_is_counted_once() -> None:
    """In whatever batch, case and column type."""
    subjects = Subjects(KEY)
    for column in (
        pa.array([" ab1x ", "AB1X"]),
        pa.array([b"ab1X", None]),
        pa.array(["\tAb1x\n"], pa.string_view()),
    ):
        subjects.add(column)
    assert len(np.frombuffer(subjects.take(), np.uint64)) == 1
