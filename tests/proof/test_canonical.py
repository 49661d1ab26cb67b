"""Canonical JSON: one value, one spelling."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenotaph_proof import canonical
from cenotaph_proof.errors import FormatError

INTEGERS = st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back(value):
    """Reading undoes writing, for every value that can be written."""
    assert canonical.loads(canonical.dumps(value)) == value


@given(VALUES, st.data())
def test_a_changed_byte_is_refused_or_is_another_value(value, data):
    """No byte can change without the value changing or the text being refused."""
    written = bytearray(canonical.dumps(value))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))

    try:
        changed = canonical.loads(bytes(written))
    except FormatError:
        return
    assert canonical.dumps(changed) == written
    assert json.dumps(changed) != json.dumps(value)


@given(st.binary(max_size=40))
def test_any_bytes_are_refused_or_canonical(data):
    """Whatever arrives, `loads` gives a value that writes back to the same bytes, or refuses."""
    try:
        value = canonical.loads(data)
    except FormatError:
        return
    assert canonical.dumps(value) == data


@given(st.text(st.sampled_from('{}[]:,"\\u0189-+.eEntrfalsd \n'), max_size=24))
def test_text_that_looks_like_json_is_refused_or_canonical(text):
    """The same promise on input made of JSON's own characters."""
    test_any_bytes_are_refused_or_canonical.hypothesis.inner_test(text.encode())


def test_keys_are_ordered_as_utf16():
    """Code points above U+FFFF sort before U+E000, as RFC 8785 section 3.2.3 asks."""
    assert canonical.dumps({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"b":1,"a":2}', "canonical"),
        (b'{"a": 1}', "canonical"),
        (b'{"a":1}\n', "canonical"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"1.0", "fraction"),
        (b"1e2", "fraction"),
        (b"1E400", "fraction"),
        (b"NaN", "fraction"),
        (b"-Infinity", "fraction"),
        (b"-0", "canonical"),
        (b"007", "not JSON"),
        (b"9007199254740992", "2.53"),
        (b"-9007199254740992", "2.53"),
        (b"1" * 100_000, "2.53"),
        (b'"\\u0041"', "canonical"),
        (b'"\\/"', "canonical"),
        (b'"\\ud800"', "escapes"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        (b'"\x01"', "not JSON"),
        (b"", "not JSON"),
        (b"[1,]", "not JSON"),
        (b'{"a":1}{}', "not JSON"),
        (b"[" * 33 + b"]" * 33, "deep"),
        (b"[" * 300_000, "deep"),
        (b"[" * 1_000_000, "commas and opening brackets"),
        (b'{"a":' * 100_000, "deep"),
        (b'"' + b"a" * canonical.MAX_BYTES, "bytes"),
    ],
)
def test_what_could_be_read_two_ways_is_refused(data: bytes, why: str):
    """Duplicates, spaces, other spellings, fractions, large numbers, deep nesting: named and refused."""
    with pytest.raises(FormatError, match=why):
        canonical.loads(data)


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), 2**53, -(2**53), b"x", {1: 2}, {None: 2}, {"a"}, "\ud800"]
)
def test_what_has_no_canonical_form_is_not_written(value):
    """Fractions, large numbers, bytes, keys that are not text, lone surrogates."""
    with pytest.raises(FormatError):
        canonical.dumps(value)


def test_what_is_written_is_never_too_deep_to_be_read():
    """Writer and reader share one bound on nesting."""
    value = []
    for _ in range(31):
        value = [value]
    assert canonical.loads(canonical.dumps(value)) == value

    with pytest.raises(FormatError, match="deep"):
        canonical.dumps([value])


def test_brackets_in_text_are_not_nesting():
    """The bound on depth counts structure, not characters."""
    text = '[{"\\' * 500
    assert canonical.loads(canonical.dumps(text)) == text


def test_unfinished_text_is_refused_quickly():
    """A megabyte of escaped quotes costs one pass, not a quadratic number."""
    with pytest.raises(FormatError):
        canonical.loads(b'"' + b'\\"' * 500_000)
