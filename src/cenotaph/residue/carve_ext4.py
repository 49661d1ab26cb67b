"""Small files inside inodes of ext4 (`inline_data`): joined, for ext4 keeps them in two parts.

The first 60 bytes lie where an inode has its block map, the rest in an extended attribute named `system.data`
behind it. A value across the two is in no search of the bytes as they lie.

Format: Linux, Documentation/filesystems/ext4/inlinedata.rst, inodes.rst and attributes.rst.
"""

from __future__ import annotations

from typing import BinaryIO

MAGIC = b"\x04\x07"
"""How the attribute's entry begins: a name of four bytes, index 7 (`system.`)."""

_NAME, _ATTRIBUTES = b"data", b"\x00\x00\x02\xea"
_BLOCK_MAP = slice(40, 100)
_OLD = 128  # bytes of an inode before its extra fields
_MOST_EXTRA = 256
_MOST_VALUE = 1 << 16


def begins(head: bytes) -> bool:
    """Whether these 20 bytes are an entry of that name."""
    return head[:2] == MAGIC and head[16:20] == _NAME


def read(source: BinaryIO, at: int) -> bytes | None:
    """The content of the small file whose attribute's entry lies at this offset of a stream."""
    before = min(at, _OLD + _MOST_EXTRA + 4)
    source.seek(at - before)
    data = source.read(before + 16)
    entry = data[before:]
    if data[before - 4 : before] != _ATTRIBUTES or len(entry) < 16:
        return None
    for extra in range(4, _MOST_EXTRA, 4):
        begin = before - 4 - extra - _OLD
        if begin >= 0 and int.from_bytes(data[begin + _OLD : begin + _OLD + 2], "little") == extra:
            source.seek(at + int.from_bytes(entry[2:4], "little"))
            size = int.from_bytes(entry[8:12], "little")
            return data[begin:][_BLOCK_MAP] + source.read(min(size, _MOST_VALUE))
    return None
