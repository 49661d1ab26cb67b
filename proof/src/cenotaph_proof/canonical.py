"""JSON that has exactly one way to be written: RFC 8785 without fractions (spec/envelope.md, part 1).

Numbers are integers of at most 2^53 - 1 in absolute value; larger totals travel as decimal strings.
`loads` refuses every input that `dumps` would not have produced, so that equal values have equal bytes
and no second reader can see something else in them. It says so without writing the value again: what is left
to differ, once order, numbers, escapes and spaces are checked, is nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn, TypeAlias

from cenotaph_proof.errors import FormatError

MAX_INTEGER = 2**53 - 1
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_MARKS = 400_000

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
"""What `loads` returns."""

JsonLike: TypeAlias = "bool | int | str | Sequence[JsonLike] | Mapping[str, JsonLike] | None"
"""What `dumps` takes: `Json`, where tuples may stand for lists."""


def dumps(value: JsonLike, *, depth: int = MAX_DEPTH) -> bytes:
    """The canonical bytes of a value (RFC 8785, section 3.2).

    Raises:
        FormatError: the value holds a fraction, a number beyond 2^53 - 1, a lone surrogate, a key that
            is not text, another type, or more than `depth` nested lists and objects.
    """
    return _encode(_ordered(value, depth))


def loads(data: bytes, *, limit: int = MAX_BYTES, depth: int = MAX_DEPTH) -> Json:
    """Read canonical bytes; `dumps` of the result gives the same bytes back.

    Raises:
        FormatError: longer than `limit` bytes, more than 400,000 marks, nested deeper than `depth`, or not
            canonical.
    """
    if len(data) > limit:
        raise FormatError(f"the JSON has {len(data)} bytes; at most {limit} are read")
    if marks(data) > MAX_MARKS:
        raise FormatError(f"the JSON has more than {MAX_MARKS} commas and opening brackets")
    _check_depth(data, depth)
    if not _LEXICAL.fullmatch(data):
        raise FormatError("the JSON is not canonical (RFC 8785): spaces or escapes")
    try:
        return _DECODER.decode(data.decode())  # type: ignore[no-any-return]  # what the hooks let through
    except UnicodeDecodeError:
        raise FormatError("the JSON is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg} at character {error.pos}") from None


def marks(data: bytes) -> int:
    """How many commas and opening brackets there are, in texts or not: no value is built without one.

    So it bounds what a reader must build, and costs nothing to count.
    """
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _encode(value: Json) -> bytes:
    # The standard library escapes exactly what RFC 8785, 3.2.2.2 asks for, in the same spelling.
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise FormatError("a text holds a lone surrogate, which UTF-8 cannot carry") from None


def _ordered(value: JsonLike, depth: int) -> Json:
    """A copy of plain types alone, the keys of its objects in order."""
    if value is None or type(value) in (bool, str):
        return value  # type: ignore[return-value]  # narrowed by exact type, which mypy does not follow
    if type(value) is int:
        return _bounded(value)
    if isinstance(value, dict):
        _nest(depth)
        _check_keys(value)
        return {key: _ordered(value[key], depth - 1) for key in _in_order(value)}
    if isinstance(value, list | tuple):
        _nest(depth)
        return [_ordered(item, depth - 1) for item in value]
    raise FormatError(f"a value of type {type(value).__name__} has no canonical form")


def _in_order(keys: Iterable[str]) -> list[str]:
    # RFC 8785, 3.2.3: by UTF-16 code units, which differs from code points above U+FFFF alone.
    return sorted(keys, key=None if "".join(keys).isascii() else _utf16)


def _check_keys(keys: Iterable[object]) -> None:
    for key in keys:
        if type(key) is not str:
            raise FormatError(f"an object has a key of type {type(key).__name__}; keys are text")


def _nest(depth: int) -> None:
    if depth <= 0:
        raise FormatError("the JSON is nested too deeply")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _bounded(number: int) -> int:
    if abs(number) > MAX_INTEGER:
        raise FormatError("a number is beyond 2^53 - 1; write it as a decimal string")
    return number


# A text holds no escape but those of RFC 8785, 3.2.2.2; outside of texts there is no space and no escape.
_TEXT = rb'"(?:[^"\\]++|\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f])))*+"'
_LEXICAL = re.compile(rb'(?:[^"\\ \t\n\r]++|' + _TEXT + rb")*+")
_NESTING = re.compile(rb'[][{}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def _check_depth(data: bytes, depth: int) -> None:
    # Before parsing: the standard parser recurses, and a megabyte of "[" would exhaust the stack.
    if data.count(b"[") + data.count(b"{") <= depth:
        return
    left = depth
    for match in _NESTING.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            left -= 1
            _nest(left + 1)
        elif first in b"]}":
            left += 1


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FormatError("an object of the JSON has the same key twice")
    if list(result) != _in_order(result):
        raise FormatError("the JSON is not canonical (RFC 8785): the keys of an object are not in order")
    return result


def _integer(digits: str) -> int:
    if digits == "-0":
        raise FormatError("the JSON is not canonical (RFC 8785): the spelling of a number")
    # Length first: converting a million digits takes minutes.
    if len(digits) > len("-9007199254740991"):
        raise FormatError("a number is beyond 2^53 - 1; write it as a decimal string")
    return _bounded(int(digits))


def _fraction(_: str) -> NoReturn:
    raise FormatError("the JSON holds a fraction or an exponent; numbers are integers")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_fraction
)
