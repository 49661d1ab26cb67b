"""How PostgreSQL writes values of its own types: the bytes by which a value that was sealed as text is found.

What surprised the author: a number in a `numeric` column, or in a jsonb document, has neither its digits nor
its binary digits in the file, but its digits to the base 10,000, two bytes each, and zeros at its end left
out. The same digits are in other numbers with the point elsewhere; so of short numbers the two bytes before
them count, too, which say where the point is and that nothing is written behind it.

Format: PostgreSQL, src/backend/utils/adt/numeric.c (`NumericShort`, `numeric_send`), src/include/utils/inet.h
(`inet_struct`), src/backend/utils/adt/uuid.c, mac.c. Byte order: little-endian, as in `postgres_values`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]+:[0-9a-fA-F:.]*")
_BASE = 10_000
_LEAST, _ENOUGH = 3, 4  # digits to the base: fewer say nothing; so many say enough by themselves
_FULL = 5  # bytes that are not zero: small numbers side by side are everywhere
_SHORT = 0x8000  # header of a number without sign, and without digits behind the point; or where it is
_V4, _V6 = b"\x0f\x02\x20", b"\x03\x80"  # length of the value (where it is short), family, bits


def of(text: str) -> Iterator[tuple[str, bytes | None]]:
    """The forms of a value, by encoding; None where one says too little to be searched for."""
    if text.isascii() and text.isdigit():
        yield from _numeric(int(text))
    elif _UUID.fullmatch(text):
        yield "uuid", _telling(bytes.fromhex(text.replace("-", "")))
    elif _MAC.fullmatch(text):
        yield "macaddr", _telling(bytes.fromhex(text.replace(":", "")))
    elif _ADDRESS.fullmatch(text):
        yield from _inet(text)


def _numeric(value: int) -> Iterator[tuple[str, bytes | None]]:
    digits: list[int] = []
    while value:
        value, digit = divmod(value, _BASE)
        digits.insert(0, digit)
    weight = len(digits) - 1
    while digits and not digits[-1]:
        digits.pop()
    little = b"".join(digit.to_bytes(2, "little") for digit in digits)
    big = b"".join(digit.to_bytes(2, "big") for digit in digits)
    if len(digits) < _ENOUGH:
        little, big = (_SHORT | weight & 0x7F).to_bytes(2, "little") + little, bytes(2) + big
    for encoding, form in (("numericle", little), ("numericbe", big)):
        telling = len(digits) >= _LEAST and len(form) - form.count(0) >= _FULL
        yield encoding, form if telling else None


def _inet(text: str) -> Iterator[tuple[str, bytes | None]]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return
    yield "inet", _telling(address.packed) and (_V4 if address.version == 4 else _V6) + address.packed


def _telling(form: bytes) -> bytes | None:
    return form if len(set(form)) > 1 else None
