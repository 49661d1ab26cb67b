"""What is sought: numbers kept as they are, needles of all else, and both found when somebody searches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph import kernel
from cenotaph.errors import UsageError
from cenotaph.residue import sought
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.numbers import are_words

KEY = bytes(range(32))
PHONES = [f"138{n:08d}" for n in range(300)]
OTHERS = [
    "李小明住在这里",
    "somebody@example.org",
    "11010519491231002X",
    "X",
    "",
    None,
    "1" * 19,
    "00123456",
    "12 34567",
]
DIGITS = st.text("0123456789", min_size=1, max_size=20)
TEXTS = DIGITS | DIGITS.map(lambda d: d + "X") | DIGITS.map(lambda d: d + "x") | st.text(max_size=20)
BLANKS = st.text(" \t\n\v\f\r", max_size=2)
TYPES = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()]


def part(values: pa.Array, kind: str, stores: tuple[str, ...] = ()) -> bytes:
    builder = sought.SoughtBuilder(KEY, stores)
    builder.add(builder.numbers(values, kind)[1], kind)
    return builder.take() or b""


def built(values: pa.Array, kind: str, stores: tuple[str, ...] = ()) -> Needles:
    builder = NeedleBuilder(KEY, stores)
    builder.add(values, kind)
    return builder.finish()


@pytest.mark.parametrize("stores", [(), ("postgresql",)])
@pytest.mark.parametrize("kind", ["id", "text", "email", "blob", "path"])
def test_the_same_is_searched_for_as_if_all_forms_were_made_at_once(
    kind: str, stores: tuple[str, ...]
) -> None:
    """Whatever the values are, and in whatever forms: byte for byte, with what says too little."""
    values = pa.array([*PHONES, *OTHERS])

    later = sought.needles([part(values, kind, stores)], KEY, stores)

    assert later.to_bytes() == built(values, kind, stores).to_bytes()


def test_parts_have_values_in_common() -> None:
    """A person in two partitions is one needle, and is known by any type."""
    parts = [part(pa.array(some), "phone") for some in (PHONES[:200], [*PHONES[100:], "Nobody-4711"])]

    found, known = sought.needles(parts, KEY), sought.KnownSought(parts, KEY)

    assert len(found) == len(known) == len(PHONES) + 1
    asked = pa.array([PHONES[0], "13999999999", None, "Nobody-4711"])
    assert known.contains(asked, "phone").tolist() == [True, False, False, True]
    assert known.contains(pa.array([int(PHONES[7]), 5]), "number").tolist() == [True, False]


@pytest.mark.parametrize("off", [False, True])
def test_some_are_told_from_what_the_parts_have(off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of any kind and other values, each in one part or in several; and what is left of the forms is
    that of the values that are left."""
    if off:
        monkeypatch.setattr(kernel, "found", lambda: None)
    parts = [part(pa.array(PHONES[:200]), "phone"), part(pa.array([*PHONES[100:], *OTHERS]), "id")]
    there = [*PHONES[50:260:9], *OTHERS]
    some = built(pa.array(["13900000000", "nobody@example.org", "又一个名字", *there]), "text")

    known = sought.known(parts, some)

    assert known.to_bytes() == replace(built(pa.array(there), "text"), _skipped=Counter()).to_bytes()
    assert len(sought.known([], some)) == 0
    assert len(sought.known(parts, built(pa.array(["Somebody else"]), "id"))) == 0


def test_some_of_the_needles_have_their_ordinals_in_all() -> None:
    """Names and numbers: what is found of some is told as found of all."""
    every = built(pa.array([*PHONES, *OTHERS]), "text")
    chosen = set(range(0, len(every), 7)) | {0, len(every) - 1}

    some = every.only(chosen)

    assert some.ordinals_in(every).tolist() == sorted(chosen)
    assert Needles.from_bytes(some.to_bytes()).to_bytes() == some.to_bytes()


@given(
    st.lists(st.integers(0, 4 * 10**18 + 5) | st.sampled_from([10, 19, 20, 100, 200, 390, 400]), max_size=9)
)
def test_words_of_numbers_are_told_from_others(words: list[int]) -> None:
    """A mark 1 and digits; or 2 or 3, of which the last stands for the X, and then a digit is 0."""

    def is_word(word: int) -> bool:
        digits = str(word)[1:]
        crossed = str(word)[0] in "23" and digits.endswith("0") and len(digits) > 1
        return 1 <= len(digits) <= 18 and (str(word)[0] == "1" or crossed)

    ascending = sorted(set(words))

    assert are_words(np.array(ascending, np.uint64)) == all(map(is_word, ascending))
    assert not are_words(np.array([*ascending, 15, 15], np.uint64))


def test_of_other_values_nothing_is_kept() -> None:
    """Names, addresses and texts leave no bytes, in no encoding; numbers do, and take eight bytes each."""
    texts = ["李小明住在这里", "somebody@example.org", "a1b2c3d4e5"]

    data = part(pa.array(texts), "text")

    for text in texts:
        for codec in ("utf-8", "utf-16-le", "utf-16-be", "gb18030"):
            assert text.encode(codec) not in data
    assert len(part(pa.array(PHONES), "phone")) - len(part(pa.array(PHONES[:100]), "phone")) == 8 * 200


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS | st.none(), max_size=12), st.sampled_from(TYPES))
def test_numbers_are_told_the_same_with_and_without_the_kernel(
    texts: list[str | None], kind: pa.DataType
) -> None:
    """By type and by shape; and they are written again as they were."""
    given_ = texts if pa.types.is_string(kind) or "string" in str(kind) else [t and t.encode() for t in texts]
    values = pa.array(given_, kind)
    with pytest.MonkeyPatch.context() as patch:
        found = [sought.split(values)]
        patch.setattr(kernel, "found", lambda: None)
        found.append(sought.split(values))
    (words, rest), (plain, other) = found

    assert words.tolist() == plain.tolist()
    assert rest.to_pylist() == other.to_pylist()
    wanted = [t for t in texts if t and len(t) <= 18 and _is_number(t)]
    assert sought.texts(words).to_pylist() == wanted


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(BLANKS, TEXTS, BLANKS).map("".join) | st.none(), max_size=12), st.sampled_from(TYPES)
)
def test_white_space_and_capitals_make_no_other_person(texts: list[str | None], kind: pa.DataType) -> None:
    """As far as ASCII has them, with and without the kernel; others are left as they are."""
    values = pa.array(texts if "string" in str(kind) else [t and t.encode() for t in texts], kind)
    with pytest.MonkeyPatch.context() as patch:
        words, rest = sought.split(values, fold=True)
        patch.setattr(kernel, "found", lambda: None)
        plain, other = sought.split(values, fold=True)
    folded = [t.strip(" \t\n\v\f\r").upper() for t in texts if t]

    assert words.tolist() == plain.tolist()
    assert rest.to_pylist() == other.to_pylist()
    assert sought.texts(words).to_pylist() == [t for t in folded if t and len(t) <= 18 and _is_number(t)]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.int16()])
def test_integers_are_numbers_but_for_those_below_nought_and_the_longest(kind: pa.DataType) -> None:
    """As they are written in decimal."""
    values = pa.array([0, 7, None, 32_000], kind)
    if kind != pa.int16():
        values = pa.concat_arrays([values, pa.array([10**18 - 1, 10**18], kind)])
    assert sought.texts(sought.split(values)[0]).to_pylist() == [
        "0",
        "7",
        "32000",
        *["9" * 18] * (kind != pa.int16()),
    ]
    assert sought.split(pa.array([-5, 3]))[1].to_pylist() == [-5]


def _is_number(text: str) -> bool:
    digits = text[:-1] if text[-1] in "Xx" else text
    return digits.isdigit() and digits.isascii()


@pytest.mark.parametrize(
    "words", [[5], [20], [400], [2 * 10**18 + 1], [4 * 10**18], [11, 11], [12, 11], [2**64 - 1], [0]]
)
def test_words_that_no_number_has_are_refused(words: list[int]) -> None:
    """Another mark, another end, another order, too long."""
    data = bytearray(part(pa.array(["0"] * len(words)), "id"))
    magic = data[: data.index(b"\n") + 1]
    rest = data[data.index(b"cenotaph needles") :]
    array = np.array(words, "<u8").tobytes()
    with pytest.raises(UsageError):
        sought.Part.from_bytes(
            bytes(magic) + len(words).to_bytes(8, "little") + array + bytes(8 * 9) + bytes(rest)
        )


@pytest.mark.parametrize("spot", [0, 5, 21, 40, -1])
def test_damaged_parts_are_refused(spot: int) -> None:
    """A flipped bit where it matters, a cut or an addition."""
    data = bytearray(part(pa.array([*PHONES, "Nobody-4711"]), "id"))
    for other in (data[:-1], data + b"x", b"", data[: len(data) // 2]):
        with pytest.raises(UsageError):
            sought.Part.from_bytes(bytes(other))
    data[spot] ^= 0x80
    with pytest.raises(UsageError):
        sought.Part.from_bytes(bytes(data))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=8))
def test_words_are_given_once_with_and_without_the_kernel(batches: list[list[int]]) -> None:
    """Each when it is first asked for what is new, in order; 0 is none; and all of them at any time."""
    with pytest.MonkeyPatch.context() as patch:
        several = [sought.Distinct()]
        patch.setattr(kernel, "found", lambda: None)
        several.append(sought.Distinct())
        seen: set[int] = set()
        for batch in batches:
            new = sorted({*batch} - seen - {0})
            seen |= {*new}
            for each in several:
                each.add(np.array(batch, np.uint64))
                assert each.waiting >= len(new)
                assert each.fresh().tolist() == new
                assert each.words().tolist() == sorted(seen)
                assert each.size >= len(each) == len(seen)


def test_a_table_grows_with_its_words() -> None:
    """Many times the slots that it began with, and a hundred thousand at once."""
    words = np.random.default_rng(1).integers(1, 2**63, 100_000, np.uint64)
    distinct = sought.Distinct()
    for some in (words[:10], words[:30_000], words):
        distinct.add(some)
    assert distinct.words().tolist() == np.unique(words).tolist()


def test_a_builder_gives_a_value_once() -> None:
    """Numbers and others, until it is told to forget; nothing new is no part."""
    builder = sought.SoughtBuilder(KEY)
    values = pa.array(["13800138000", "somebody@example.org"])

    def given() -> bytes | None:
        builder.add(builder.numbers(values, "text")[1], "text")
        return builder.take()

    whole = given()
    assert whole == part(values, "text")
    assert given() is None
    values = pa.array(["13800138000", "somebody@example.org", "else@example.org"])
    assert given() == part(values.slice(2), "text")
    builder.forget()
    assert given() == part(values, "text")
