"""Parsers that strangers can feed: whatever the bytes, they answer or refuse, soon, with an error of ours.

`CENOTAPH_FUZZ=600` goes on for that many seconds a parser; `make fuzz` lets atheris look for more.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsers import Parser, parsers

SECONDS = float(os.environ.get("CENOTAPH_FUZZ", "0.3"))
NAMES = tuple(parsers())


@pytest.fixture(scope="module")
def every() -> dict[str, Parser]:
    return parsers()


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_accepted(name: str, every: dict[str, Parser]) -> None:
    """The examples are what each parser reads; else their changes would show nothing."""
    parser = every[name]
    if name != "token":  # tokens of others are over other bytes; tests/proof/test_stamp.py accepts its own
        assert all(parser.feed(example) for example in parser.examples)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=300))
def test_any_bytes_get_an_answer(name: str, every: dict[str, Parser], data: bytes) -> None:
    """Bytes out of nowhere: an answer or an error of ours."""
    every[name].feed(data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timeout(30 + 2 * SECONDS)
def test_changed_examples_get_an_answer_soon(name: str, every: dict[str, Parser]) -> None:
    """Examples cut, doubled, changed and mixed: an answer or an error of ours, within seconds."""
    parser, draw = every[name], random.Random(name)
    until = time.monotonic() + SECONDS
    tried = 0
    while time.monotonic() < until or tried < 20:
        data = changed(draw, parser.examples)
        began = time.thread_time()
        parser.feed(data)
        assert time.thread_time() - began < parser.seconds, data[:200]
        tried += 1


def changed(draw: random.Random, examples: tuple[bytes, ...]) -> bytes:
    """An example with a few changes of the kinds that find most."""
    data = bytearray(draw.choice(examples))
    for change in draw.choices(tuple(_CHANGES), k=draw.randint(1, 4)):
        at, end = sorted(draw.randint(0, len(data)) for _ in range(2))
        _CHANGES[change](draw, data, at, min(end, at + 64), examples)
    return bytes(data)


def _flip(draw: random.Random, data: bytearray, at: int, end: int, examples: tuple[bytes, ...]) -> None:
    if at < len(data):
        data[at] ^= 1 << draw.randrange(8)


def _drop(draw: random.Random, data: bytearray, at: int, end: int, examples: tuple[bytes, ...]) -> None:
    del data[at:end]


def _repeat(draw: random.Random, data: bytearray, at: int, end: int, examples: tuple[bytes, ...]) -> None:
    data[at:at] = data[at:end] * draw.choice((1, 2, 50))


def _insert(draw: random.Random, data: bytearray, at: int, end: int, examples: tuple[bytes, ...]) -> None:
    data[at:at] = draw.choice(_ODD)


def _mix(draw: random.Random, data: bytearray, at: int, end: int, examples: tuple[bytes, ...]) -> None:
    other = draw.choice(examples)
    start = draw.randint(0, len(other))
    data[at:end] = other[start : start + 64]


_CHANGES = {"flip": _flip, "drop": _drop, "repeat": _repeat, "insert": _insert, "mix": _mix}
_ODD = (
    b"\x00",
    b"\n",
    b"\r\n",
    b"\xff",
    b"[" * 40,
    b'"',
    b"\\",
    b"-0",
    b"1e9",
    b"9" * 400,
    b"\xe2\x80\xae",
    b"=",
)


def test_changes_change(every: dict[str, Parser]) -> None:
    """Most changed examples are refused: the tests above are no tests of the examples themselves."""

    def refusals() -> Iterator[bool]:
        draw = random.Random(1)
        for _ in range(50):
            yield not every["envelope"].feed(changed(draw, every["envelope"].examples))

    assert sum(refusals()) > 20
