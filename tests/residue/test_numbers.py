"""Numbers, sought without forms: what is found is what every form of each number, sought alone, finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cenotaph import kernel
from cenotaph.residue import numbers as module
from cenotaph.residue import postgres_forms
from cenotaph.residue.needles import ENCODINGS, SHORTEST, _forms_of, _Hash
from cenotaph.residue.numbers import Found, Numbers

native = pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")

KEY = bytes(range(32))
BY = [None, *(kernel.Kernel(level) for level in native.levels())]
NAMED = ["python", *(level.name.lower() for level in native.levels())]
ANYTHING = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
DIGITS = st.one_of(
    st.text("0123456789", min_size=1, max_size=18),
    st.text("01", min_size=1, max_size=18),
    st.integers(1 << 32, 10**18 - 1).map(str),
    st.integers(10**8, 10**14 - 1).map(lambda n: f"{n}0000"),
    st.integers(1 << 40, 1 << 48).map(str),
    st.sampled_from(
        ["13812345678", "0013812345678", "110105194912310021", "4294967296", "4294967295", "1" * 11]
    ),
)
NUMBERS = st.one_of(
    DIGITS, DIGITS.filter(lambda d: len(d) < 18).flatmap(lambda d: st.sampled_from([d + "X", d + "x"]))
)


def made(values: list[str], *, postgres: bool) -> Numbers:
    words = [
        int("123"[("X" in value) + 2 * ("x" in value)] + value.replace("X", "0").replace("x", "0"))
        for value in values
    ]
    every = module.distinct(np.array(words, np.uint64))
    return Numbers(every, np.zeros(len(every), np.uint8), *_Hash(KEY).numbers, postgres=postgres)


def forms(value: str, postgres: bool) -> Iterator[tuple[str, bytes]]:
    every = [(ENCODINGS[code], form) for code, form in _forms_of(value.encode(), value)]
    every += postgres_forms.of(value) if postgres else ()
    return ((encoding, form) for encoding, form in every if form is not None and len(form) >= SHORTEST)


def places(data: bytes, form: bytes) -> Iterator[int]:
    at = data.find(form)
    while at >= 0:
        yield at
        at = data.find(form, at + 1)


def expected(values: list[str], data: bytes, core: int, lead: int, postgres: bool) -> set[tuple[int, int]]:
    """Every place of every form; of two readings of UTF-16 one byte apart the one at the even place."""
    found = {
        (at, len(form), encoding, value)
        for value in values
        for encoding, form in forms(value, postgres)
        for at in places(data, form)
        if lead <= at < core
    }
    twice = {
        (at, length, encoding, value)
        for at, length, encoding, value in found
        if at % 2
        and (
            (encoding == "utf-16be" and (at + 1, length, "utf-16le", value) in found)
            or (encoding == "utf-16le" and (at - 1, length, "utf-16be", value) in found)
        )
    }
    return {(at, length) for at, length, _, _ in found - twice}


def search(what: Numbers, data: bytes, core: int, lead: int, by: Any) -> Found:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "found", lambda: by)
        return what.find(np.frombuffer(data, np.uint8), core, lead)


def rows(found: Found) -> list[tuple[int, ...]]:
    return list(
        zip(
            found.start.tolist(),
            found.length.tolist(),
            found.encoding.tolist(),
            found.number.tolist(),
            strict=True,
        )
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], bytes, bool]:
    values = draw(st.lists(NUMBERS, min_size=1, max_size=8, unique=True))
    postgres = draw(st.booleans())
    written = [form for value in values for _, form in forms(value, postgres=True)] or [b"\0"]
    pieces = st.one_of(
        st.sampled_from(written),
        st.sampled_from(written).map(lambda form: form[1:]),
        st.sampled_from(
            [b"\0", b"0", b"1", b"\0" * 7, b" ", b"X", b"x\0", b"\0X", b"\0" * 1100, b"12" * 150]
        ),
        st.binary(max_size=9),
    )
    return values, b"".join(draw(st.lists(pieces, max_size=30))), postgres


@ANYTHING
@given(cases(), st.integers(0, 40), st.integers(0, 40))
def test_every_form_of_each_number_is_found(
    case: tuple[list[str], bytes, bool], lead: int, behind: int
) -> None:
    """And nothing else, at every border of what is searched; the same on each instruction set and without."""
    values, data, postgres = case
    core = max(0, len(data) - behind)
    what = made(values, postgres=postgres)

    found = [rows(search(what, data, core, lead, by)) for by in BY]

    assert all(other == found[0] for other in found)
    assert {row[:2] for row in found[0]} == expected(values, data, core, lead, postgres)


@pytest.mark.parametrize("by", BY, ids=NAMED)
def test_a_long_row_of_digits_is_searched_throughout(by: Any) -> None:
    """Each place once, also where the row is longer than what is read of it at once."""
    digits = "".join(str(n % 7) for n in range(3000)) + "X"
    values = ["01234560123", "3456012345601234", "1234560123X"]
    what = made(values, postgres=False)
    for text in (digits.encode(), digits.encode("utf-16-le"), b"\0" + digits.encode("utf-16-be")):
        found = rows(search(what, text, len(text), 0, by))
        assert len(found) == len({row[:2] for row in found}) == 428 + 426 + 1
        assert {row[:2] for row in found} == expected(values, text, len(text), 0, postgres=False)


def test_the_words_of_numbers_are_told_from_others() -> None:
    """With the kernel and without; of none there is none."""
    what = made(["123456", "12345X", "0123456"], postgres=False)
    words = np.array([1123456, 2123450, 3123450, 10123456, 1000], np.uint64)
    for by in BY:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "found", lambda by=by: by)
            assert what.has(words).tolist() == [True, True, False, True, False]
            assert not made([], postgres=False).has(words).any()


@pytest.mark.parametrize("by", BY, ids=NAMED)
def test_integers_of_all_their_bytes_are_found_across_strips(by: Any) -> None:
    """Whatever their digits are where these tell most, and wherever what is searched ends."""
    values = ["110105000012310021", "110105999912310021", "661231194912310021"]
    what = made(values, postgres=False)
    noise = np.random.default_rng(5).integers(1, 256, 2100).astype(np.uint8).tobytes()
    for at in range(1014, 1027):
        for nth, value in enumerate(values):
            for order in ("little", "big"):
                whole = noise[:at] + int(value).to_bytes(8, order) + noise[at:]
                for data, core in ((whole, len(whole)), (whole, at + 1), (whole[: at + 8], at + 8)):
                    assert (at, 8, nth) in {
                        (row[0], row[1], row[3]) for row in rows(search(what, data, core, 0, by))
                    }
                assert (at, 8, nth) not in {(r[0], r[1], r[3]) for r in rows(search(what, whole, at, 0, by))}


@pytest.mark.parametrize("count", [0, 1, 2, 3_000])
def test_hashes_are_put_in_order_where_their_upper_bits_are_alike(count: int) -> None:
    """Sorted by their upper bits with the places in the lower ones, then among those that are alike."""
    draw = np.random.default_rng(5)
    upper = draw.integers(0, 8, count, np.uint64) << np.uint64(61)
    hashed = np.unique(upper | draw.integers(0, 1 << 20, count, np.uint64))
    draw.shuffle(hashed)

    order, ordered = module._in_order(hashed)

    assert order.tolist() == np.argsort(hashed).tolist()
    assert ordered.tolist() == sorted(hashed.tolist())


@pytest.mark.parametrize("by", BY[1:], ids=NAMED[1:])
@pytest.mark.parametrize("value", ["8224822482248224", "110105194912310021"])
def test_bytes_that_are_all_the_same_may_be_digits_of_postgres(by: Any, value: str) -> None:
    """Two spaces are 8224: a row of them is a number, where that is sought."""
    what = made([value], postgres=True)
    for data in (b" " * 300, b"x" + b" " * 200 + b"x", b" " * 73, b"\n" * 200):
        assert rows(search(what, data, len(data), 0, by)) == rows(search(what, data, len(data), 0, None))
