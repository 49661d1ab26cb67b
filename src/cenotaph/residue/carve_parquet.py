"""Pages of Parquet files without their footer: decoded one by one, wherever a page header lies.

A Parquet file says at its end where everything is; of a deleted file that end is often gone. But each page
begins with a header of its own, in Thrift's compact protocol, whose first bytes are nearly always the same
three. The values of a column lie in dictionary pages and in plain data pages as they are, once decompressed.

Pages compressed with Zstandard or gzip have magics of their own and are found by those; what is not
compressed lies open. So this decodes Snappy, LZ4 and Brotli. Not decoded: columns written with the delta
encodings (DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY), encrypted columns.

Formats: https://parquet.apache.org/docs/file-format/ and parquet.thrift (`PageHeader`); Thrift's "Compact
protocol encoding" document; Snappy's format_description.txt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import lz4.block
import pyarrow as pa

from cenotaph.parquet import Numbers

MAGICS = (b"\x15\x00\x15", b"\x15\x04\x15", b"\x15\x06\x15")
"""Field 1, a type of page (data, dictionary, data of version 2), and the beginning of field 2."""

MOST_HEADER = 1 << 14  # bytes; statistics may hold a long value
_MOST_PAGE = 32 << 20
_MOST_RATIO = 300  # decoded bytes per byte: LZ4 reaches 255
_OWN_MAGICS = (b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08")
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADER_FIELD = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}  # of `PageHeader`
_TRUE, _FALSE, _I32, _BINARY, _STRUCT = 1, 2, 5, 8, 12  # types of the compact protocol
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Page:
    """What a page header says: bytes of the header, of the page behind it, of what it decodes to."""

    header: int
    compressed: int
    decoded: int
    levels: int  # bytes at the beginning of the page that are never compressed (version 2)


def page(head: bytes) -> Page | None:
    """The page whose header `head` begins with, or None where it is none that anybody would write."""
    try:
        return _page(_Thrift(head))
    except ValueError:
        return None


def decode(page_: Page, body: bytes) -> bytes | None:
    """The decoded bytes of a page, as far as they decode; None where it is compressed in no way known here.

    `body` is what lies behind the header; it may be cut off.
    """
    packed = body[page_.levels : page_.compressed]
    size = page_.decoded - page_.levels
    if page_.compressed == page_.decoded or packed.startswith(_OWN_MAGICS):
        return None  # lies open, or is found by its magic
    if _preamble(packed) == size:
        return _snappy(packed, size)
    if len(packed) == page_.compressed - page_.levels:
        return _whole(packed, size)
    return None


def _whole(packed: bytes, size: int) -> bytes | None:
    """LZ4 without a frame, as Hadoop frames it, or Brotli."""
    hadoop = (
        int.from_bytes(packed[:4], "big") == size and int.from_bytes(packed[4:8], "big") == len(packed) - 8
    )
    try:
        return bytes(lz4.block.decompress(packed[8 if hadoop else 0 :], uncompressed_size=size))
    except lz4.block.LZ4BlockError:
        return _with("brotli", packed, size)


def _with(codec: str, packed: bytes, size: int) -> bytes | None:
    try:
        return bytes(pa.Codec(codec).decompress(packed, size, asbytes=True))
    except (pa.ArrowException, OSError, ValueError):
        return None


# --- Thrift


class _Thrift(Numbers):
    """Reads the compact protocol, and of it what writers of page headers need: bytes may lie anywhere.
    Raises ValueError for what is not it."""

    longest = 5  # 32 bits

    def count(self, most: int) -> int:
        value = self.number()
        if not 0 <= value <= most:
            raise ValueError("out of bounds")
        return value

    def field(self, last: int) -> tuple[int, int]:
        """Number and type of the next field; (0, 0) at the end of a struct."""
        head = self.byte()
        if head == 0:
            return 0, 0
        if not head >> 4:
            raise ValueError("field in the long form, which no writer of page headers needs")
        return last + (head >> 4), head & 15

    def skip(self, type_: int, depth: int = 0) -> None:
        if type_ == _BINARY:
            length = self.varint()
            self.at += length
        elif type_ in (_I32, 6, 4):
            for _ in range(10):
                if self.byte() < 0x80:
                    return
            raise ValueError("number without an end")
        elif type_ == _STRUCT and depth < _DEEPEST:
            number, inner = self.field(0)
            while number:
                self.skip(inner, depth + 1)
                number, inner = self.field(number)
        elif type_ not in (_TRUE, _FALSE):
            raise ValueError("type that page headers do not have")


def _page(thrift: _Thrift) -> Page:
    """`PageHeader`: type, both sizes, perhaps a checksum, then the header of this type of page."""
    found: dict[int, int] = {}
    number, type_ = thrift.field(0)
    while type_ == _I32 and number <= 4:
        found[number] = thrift.number() if number in (1, 4) else thrift.count(_MOST_PAGE)
        number, type_ = thrift.field(number)
    kind = found.get(1, -1)
    if not {1, 2, 3} <= found.keys() or _HEADER_FIELD.get(kind) != number or type_ != _STRUCT:
        raise ValueError("not a page header")
    levels = _inner(thrift, kind, found[3])
    if thrift.field(number) != (0, 0):
        raise ValueError("more than one kind of page")
    decoded, compressed = found[2], found[3]
    if compressed == 0 or not levels < decoded <= max(64, compressed * _MOST_RATIO):
        raise ValueError("sizes that no page has")
    return Page(thrift.at, compressed, decoded, levels)


def _inner(thrift: _Thrift, kind: int, compressed: int) -> int:
    """The header of one type of page; bytes of levels that lie open before the values."""
    counts = {_DATA: (1, 2, 3, 4), _DICTIONARY: (1, 2), _DATA_V2: (1, 2, 3, 4, 5, 6)}[kind]
    values: dict[int, int] = {}
    number, type_ = thrift.field(0)
    while number:
        if number in counts and type_ == _I32:
            values[number] = thrift.count(1 << 30)
        else:
            thrift.skip(type_)
        number, type_ = thrift.field(number)
    if set(counts) != values.keys():
        raise ValueError("not all that a page header has")
    if kind == _DATA_V2:
        levels = values[5] + values[6]
        if levels > compressed:
            raise ValueError("levels longer than their page")
        return levels
    return 0


# --- Snappy


def _preamble(packed: bytes) -> int:
    """The length that a Snappy block says it decodes to, or -1."""
    try:
        return _Thrift(packed[:5]).varint()
    except ValueError:
        return -1


def _snappy(packed: bytes, size: int) -> bytes:
    whole = _with("snappy", packed, size)
    return begin_of_snappy(packed, size) if whole is None else whole


def begin_of_snappy(packed: bytes, size: int) -> bytes:
    """As much as decodes of a block that is damaged or cut off: libraries give all or nothing."""
    out = bytearray()
    at = next(nth for nth, byte in enumerate(packed) if byte < 0x80) + 1
    while at < len(packed) and len(out) < size:
        tag = packed[at]
        kind = tag & 3
        if kind == 0:
            extra = max(0, (tag >> 2) - 59)
            length = (int.from_bytes(packed[at + 1 : at + 1 + extra], "little") if extra else tag >> 2) + 1
            out += packed[at + 1 + extra : at + 1 + extra + length]
            at += 1 + extra + length
            continue
        width = (0, 1, 2, 4)[kind]
        offset = int.from_bytes(packed[at + 1 : at + 1 + width], "little")
        length = (tag >> 2) + 1
        if kind == 1:
            length = (tag >> 2 & 7) + 4
            offset |= (tag >> 5) << 8
        if not 0 < offset <= len(out):
            break
        piece = out[len(out) - offset :][:length]
        out += (piece * (length // len(piece) + 1))[:length]
        at += 1 + width
    return bytes(out[:size])


def read(source: BinaryIO, at: int) -> tuple[Page, bytes] | None:
    """The page whose header lies at this offset of a seekable stream, and what it decodes to."""
    source.seek(at)
    found = page(source.read(MOST_HEADER))
    if found is None:
        return None
    source.seek(at + found.header)
    decoded = decode(found, source.read(found.compressed))
    return None if decoded is None else (found, decoded)
