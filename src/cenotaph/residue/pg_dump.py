"""PostgreSQL's own archives (`pg_dump -Fc`): the data in them, decoded as they go by.

The custom format cuts each table's compressed stream into pieces of some 4 KiB, with five bytes of length
before each, so that no decompressor can follow it where it lies. So the pieces are joined, and decompressed
by what they begin with: zlib (every version), LZ4 or Zstandard (16 and later), or left as they are.

Read strictly (pg_backup_archiver.c: ReadHead, ReadToc; pg_backup_custom.c), formats 1.12 to 1.16, which are
those of PostgreSQL 9.0 to 17. No length in it is trusted. The other formats need nothing of this: a directory
has files of gzip, LZ4 or Zstandard, tar and plain text lie open. `toc.dat` of a directory has no data.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import lz4.frame
import zstandard

MAGIC = b"PGDMP"
CUSTOM = 1
MOST_HEAD = 64 << 20  # bytes of the table of contents that are held
_MOST_TEXT = 1 << 30  # characters that one entry may say it has
_OLDEST, _NEWEST = (1, 12), (1, 16)
_DATA, _BLOBS = 1, 3
_PIECE = 1 << 18
_AT_ONCE = 1024  # bytes decompressed at once: a block of Zstandard of four bytes may hold 128 KiB


class DumpError(ValueError):
    """It is not such an archive, or broken off; `args[0]` says how."""


class _Short(Exception):  # not an error: more bytes are wanted
    pass


@dataclass(slots=True)
class Head:
    """What stands before the data."""

    format: int
    database: str  # may be a person's name: never shown
    length: int  # bytes
    int_size: int
    blocks: int  # of data that follow
    tables: frozenset[tuple[bytes, bytes]]  # schema and name, never shown either


def head(data: bytes) -> Head | None:
    """The head of an archive, of which this is the beginning; None where more of it is wanted.

    Raises: DumpError.
    """
    try:
        return _head(_Bytes(data))
    except _Short:
        if len(data) > MOST_HEAD:
            raise DumpError("has a longer table of contents than is read") from None
        return None


class Unpacker:
    """Decodes an archive fed in pieces, from its first byte."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = 1  # bytes without which looking at the head again is of no use
        self._begun = False
        self._blocks: _Blocks | None = None

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """What is decoded of it. Raises: DumpError, which says nothing where it is its end."""
        self._rest += data
        if self._blocks is None:
            if len(self._rest) < self._wanted:
                return
            found = head(bytes(self._rest))
            if found is None:
                self._wanted = 2 * len(self._rest)
                return
            if found.format != CUSTOM:
                raise DumpError("")  # a directory's table of contents: no data
            self._blocks = _Blocks(found)
            del self._rest[: found.length]
        yield from self._blocks.take(self._rest)


class _Blocks:
    """Blocks of data: a kind, an entry's number, pieces with their lengths, and a length of zero."""

    def __init__(self, told: Head) -> None:
        self._int_size, self._more = told.int_size, told.blocks
        self._inside = self._of_blobs = False
        self._left = 0  # bytes of the piece at hand
        self._stream: _Stream | None = None

    def take(self, rest: bytearray) -> Iterator[bytes]:
        at = 0
        try:
            while self._inside or self._more:
                if self._left:
                    size = min(self._left, len(rest) - at)
                    if not size:
                        return
                    assert self._stream is not None
                    yield from self._stream.feed(bytes(rest[at : at + size]))
                    self._left -= size
                    at += size
                else:
                    at = self._next(rest, at)
        except _Short:
            pass
        finally:
            del rest[:at]
        if not self._inside and not self._more:
            raise DumpError("")  # its end

    def _next(self, rest: bytearray, at: int) -> int:
        """Read what stands between two pieces."""
        reader = _Bytes(rest, at, self._int_size)
        if not self._inside:
            kind = reader.byte()
            if kind not in (_DATA, _BLOBS):
                raise DumpError("has something else where a block begins")
            reader.number()
            object_ = reader.number() if kind == _BLOBS else None
            self._inside, self._of_blobs, self._more = object_ != 0, kind == _BLOBS, self._more - 1
            self._stream = _Stream()
            return reader.at
        length = reader.number()
        if length < 0:
            raise DumpError("has a piece of negative length")
        if length:
            self._left = length
        else:  # behind a large object comes the next one's number; zero ends them
            self._inside = self._of_blobs and reader.number() != 0
            self._stream = _Stream()
        return reader.at


class _State(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


class _Stream:
    """The pieces of one table or large object."""

    def __init__(self) -> None:
        self._state: _State | None = None
        self._begin = b""
        self._open = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._open:
            self._begin += data
            if len(self._begin) < 4:
                return
            self._state, self._open = _opened(self._begin), True
            data, self._begin = self._begin, b""
        if self._state is None:
            yield data
            return
        for at in range(0, len(data), _AT_ONCE):
            try:
                out = self._state.decompress(data[at : at + _AT_ONCE])
            except (zlib.error, RuntimeError, zstandard.ZstdError, EOFError):
                raise DumpError("has a stream that is damaged") from None
            yield from (out[part : part + _PIECE] for part in range(0, len(out), _PIECE))


def _opened(begin: bytes) -> _State | None:
    if begin[0] & 0x0F == 8 and begin[0] >> 4 <= 7 and not int.from_bytes(begin[:2], "big") % 31:
        return zlib.decompressobj()
    if begin[:4] == b"\x04\x22\x4d\x18":
        return _Lz4()
    if begin[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().decompressobj()
    return None


class _Lz4:
    def __init__(self) -> None:
        self._state = lz4.frame.LZ4FrameDecompressor()

    def decompress(self, data: bytes, /) -> bytes:
        return bytes(self._state.decompress(data))


class _Bytes:
    """Reads numbers and texts as the archive writes them."""

    def __init__(self, data: bytes | bytearray, at: int = 0, int_size: int = 4) -> None:
        self._data, self.at, self.int_size = data, at, int_size

    def take(self, size: int) -> bytes:
        if self.at + size > len(self._data):
            raise _Short
        self.at += size
        return bytes(self._data[self.at - size : self.at])

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """A sign, then the lowest byte first."""
        sign = self.byte()
        if sign > 1:
            raise DumpError("has a number of neither sign")
        value = int.from_bytes(self.take(self.int_size), "little")
        return -value if sign else value

    def text(self) -> bytes | None:
        length = self.number()
        if length == -1:
            return None
        if not 0 <= length <= _MOST_TEXT:
            raise DumpError("has a text of impossible length")
        return self.take(length)


def _head(reader: _Bytes) -> Head:
    if reader.take(5) != MAGIC:
        raise DumpError("does not begin as one")
    major, minor, _ = reader.take(3)
    version = (major, minor)
    reader.int_size, offset_size, form = reader.take(3)
    if not _OLDEST <= version <= _NEWEST or reader.int_size != 4 or not 4 <= offset_size <= 8:
        raise DumpError("is of a version that is not read")
    if version >= (1, 15):
        reader.byte()  # how it is compressed
    else:
        reader.number()
    for _ in range(7):  # when it was made
        reader.number()
    database = (reader.text() or b"").decode("utf-8", "replace")
    for _ in range(2):  # versions of the server and of pg_dump
        reader.text()
    blocks, tables = 0, set()
    for _ in range(reader.number()):
        has_data, table = _entry(reader, version, offset_size, form)
        blocks += has_data
        tables |= {table} if table else set()
    return Head(form, database, reader.at, reader.int_size, blocks, frozenset(tables))


def _entry(
    reader: _Bytes, version: tuple[int, int], offset_size: int, form: int
) -> tuple[bool, tuple[bytes, bytes] | None]:
    """Pass over one entry; whether it has data, and which table it is, if one."""
    reader.number()  # its own number
    has_data = reader.number() != 0
    _, _, name, kind = (reader.text() for _ in range(4))  # catalog, oid before them
    reader.number()  # section
    for _ in range(3):  # statements
        reader.text()
    schema = reader.text()
    for _ in range(1 + (version >= (1, 14))):  # tablespace, access method
        reader.text()
    if version >= (1, 16):
        reader.number()  # kind of relation
    reader.text()  # owner
    reader.text()  # whether it has oids
    while reader.text() is not None:  # what it depends on
        pass
    if form == CUSTOM:
        reader.take(1 + offset_size)
    else:
        reader.text()  # the name of its file
    return has_data, (schema or b"", name or b"") if kind == b"TABLE" else None
