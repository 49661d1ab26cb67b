"""JSON that has exactly one way to be written: RFC 8785 without fractions (spec/envelope.md, part 1).

Numbers are integers of at most 2^53 - 1 in absolute value; larger totals travel as decimal strings.
`loads` refuses every input that `dumps` would not have produced, so that equal values have equal bytes
and no second reader can see something else in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

from cenotaph_proof.errors import FormatError

MAX_INTEGER = 2**53 - 1
MAX_BYTES = 1 << 20
MAX_DEPTH = 32

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
    parts: list[str] = []
    _write(value, depth, parts)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError:
        raise FormatError("a text holds a lone surrogate, which UTF-8 cannot carry") from None


def loads(data: bytes, *, limit: int = MAX_BYTES, depth: int = MAX_DEPTH) -> Json:
    """Read canonical bytes; `dumps` of the result gives the same bytes back.

    Raises:
        FormatError: longer than `limit` bytes, nested deeper than `depth`, or not canonical.
    """
    if len(data) > limit:
        raise FormatError(f"the JSON has {len(data)} bytes; at most {limit} are read")
    _check_depth(data, depth)
    try:
        value: Json = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_fraction,
            parse_constant=_fraction,
        )
    except UnicodeDecodeError:
        raise FormatError("the JSON is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg} at character {error.pos}") from None
    if dumps(value, depth=depth) != data:
        raise FormatError("the JSON is not canonical (RFC 8785): spaces, key order, escapes or numbers")
    return value


def _write(value: JsonLike, depth: int, parts: list[str]) -> None:
    kind = type(value)
    if value is None or kind is bool:
        parts.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, int) and kind is int:
        parts.append(_checked(value))
    elif isinstance(value, str) and kind is str:
        parts.append(_quote(value))
    elif isinstance(value, dict):
        _write_object(value, depth, parts)
    elif isinstance(value, list | tuple):
        _write_list(value, depth, parts)
    else:
        raise FormatError(f"a value of type {kind.__name__} has no canonical form")


def _write_object(value: dict[str, JsonLike], depth: int, parts: list[str]) -> None:
    _nest(depth)
    for key in value:
        if type(key) is not str:
            raise FormatError(f"an object has a key of type {type(key).__name__}; keys are text")
    separator = "{"
    for key in sorted(value, key=_utf16):
        parts.append(f"{separator}{_quote(key)}:")
        _write(value[key], depth - 1, parts)
        separator = ","
    parts.append("}" if value else "{}")


def _write_list(value: Sequence[JsonLike], depth: int, parts: list[str]) -> None:
    _nest(depth)
    separator = "["
    for item in value:
        parts.append(separator)
        _write(item, depth - 1, parts)
        separator = ","
    parts.append("]" if value else "[]")


def _nest(depth: int) -> None:
    if depth <= 0:
        raise FormatError("the JSON is nested too deeply")


def _quote(text: str) -> str:
    # The standard library escapes exactly what RFC 8785, 3.2.2.2 asks for, in the same spelling.
    return json.dumps(text, ensure_ascii=False)


def _utf16(key: str) -> bytes:
    # RFC 8785, 3.2.3: keys are ordered by UTF-16 code units, which differs from code points above U+FFFF.
    return key.encode("utf-16-be", "surrogatepass")


def _checked(number: int) -> str:
    if abs(number) > MAX_INTEGER:
        raise FormatError("a number is beyond 2^53 - 1; write it as a decimal string")
    return str(number)


_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


def _check_depth(data: bytes, depth: int) -> None:
    # Before parsing: the standard parser recurses, and a megabyte of "[" would exhaust the stack.
    level = 0
    for match in _BRACKETS.finditer(data):
        level += (match.start(1) >= 0) - (match.start(2) >= 0)
        if level > depth:
            _nest(0)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FormatError("an object of the JSON has the same key twice")
    return result


def _integer(digits: str) -> int:
    # Length first: converting a million digits takes minutes.
    if len(digits) > len("-9007199254740991"):
        raise FormatError("a number is beyond 2^53 - 1; write it as a decimal string")
    return int(digits)


def _fraction(_: str) -> NoReturn:
    raise FormatError("the JSON holds a fraction or an exponent; numbers are integers")
