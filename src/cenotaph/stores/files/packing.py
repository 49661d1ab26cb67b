"""Compressed files and UTF-16 text: a stream of what is inside, and back. The one file that knows codecs."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, BinaryIO, cast

import zstandard

from cenotaph.stores.files.lines import MalformedError

PLAIN = ""
_MAGIC = {
    b"\x1f\x8b\x08": "gz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\xff\xfe": "utf-16-le",  # "Unicode text" of spreadsheets: read as UTF-8, written back as it was
    b"\xfe\xff": "utf-16-be",
}
_UTF16 = ("utf-16-le", "utf-16-be")
SUFFIXES = {b".gz": "gz", b".zst": "zst", b".bz2": "bz2", b".xz": "xz"}

_ERRORS = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    zipfile.BadZipFile,
    tarfile.TarError,
    UnicodeError,
)

# Deflate expands at most 1,032 times; beyond this a file is a bomb and is read as one opaque record.
_EXPANDS, _AT_LEAST = 1100, 1 << 30


def detect(head: bytes) -> str:
    """The packing of a file that begins with `head`; `PLAIN` for none."""
    for magic, packing in _MAGIC.items():
        if head.startswith(magic):
            return packing
    return PLAIN


def unpacked(stream: BinaryIO, packing: str, size: int) -> BinaryIO:
    """A buffered stream of the content of a file of `size` bytes.

    Reading raises `MalformedError` where the content is cut off, damaged, or expands beyond 1,100 times
    its size and 1 GiB.
    """
    if packing == PLAIN:
        return stream
    return guarded(_decoder(stream, packing), max(size * _EXPANDS, _AT_LEAST))


def guarded(stream: BinaryIO | IO[bytes], limit: int) -> BinaryIO:
    """A buffered stream that raises `MalformedError` for a codec's errors and beyond `limit` bytes."""
    return cast(BinaryIO, io.BufferedReader(_Guarded(stream, limit), 1 << 18))


def after(head: bytes, stream: BinaryIO) -> BinaryIO:
    """The stream from its start again, of which `head` was read."""
    rest = iter(lambda: stream.read(1 << 18), b"")
    return of_pieces(itertools.chain([head], rest))


def packer(stream: BinaryIO, packing: str) -> BinaryIO:
    """A stream that packs what is written to it into `stream`; close it to finish. Not for `PLAIN`."""
    if packing in _UTF16:
        return cast(BinaryIO, _Recoder(stream, "utf-8", packing))
    if packing == "gz":
        # no name, no time: neither may carry a person or a moment into the new file
        return cast(BinaryIO, gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0))
    if packing == "bz2":
        return cast(BinaryIO, bz2.BZ2File(stream, "wb"))
    if packing == "xz":
        return cast(BinaryIO, lzma.LZMAFile(stream, "wb"))
    return cast(BinaryIO, zstandard.ZstdCompressor().stream_writer(stream, closefd=False))


def _decoder(stream: BinaryIO, packing: str) -> BinaryIO:
    if packing in _UTF16:
        return cast(BinaryIO, io.BufferedReader(_Recoded(stream, packing, "utf-8")))
    if packing == "gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
    if packing == "bz2":
        return cast(BinaryIO, bz2.BZ2File(stream, "rb"))
    if packing == "xz":
        return cast(BinaryIO, lzma.LZMAFile(stream, "rb"))
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return cast(BinaryIO, decoder.stream_reader(stream, read_across_frames=True, closefd=False))


def of_pieces(pieces: Iterable[bytes]) -> BinaryIO:
    """A stream of pieces, one after the other."""
    return cast(BinaryIO, io.BufferedReader(_Pieces(iter(pieces)), 1 << 18))


class _Guarded(io.RawIOBase):
    """Turns every codec's own errors into `MalformedError`, and stops bombs."""

    def __init__(self, inner: BinaryIO | IO[bytes], limit: int) -> None:
        self._inner = inner
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        try:
            data = self._inner.read(len(buffer))
        except OSError as error:
            if error.errno is not None:  # the disk's error, not the codec's
                raise
            raise MalformedError("compressed data is damaged") from None
        except _ERRORS:
            raise MalformedError("compressed data is damaged or cut off") from None
        self._left -= len(data)
        if self._left < 0:
            raise MalformedError("compressed data expands too far")
        buffer[: len(data)] = data
        return len(data)


class _Pieces(io.RawIOBase):
    """Pieces as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Recoded(io.RawIOBase):
    """A stream of text in another encoding. Strict: what does not decode raises `UnicodeError`."""

    def __init__(self, stream: BinaryIO, old: str, new: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(old)()
        self._new = new
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        while not self._rest:
            piece = self._stream.read(1 << 16)
            self._rest = self._decoder.decode(piece, final=not piece).encode(self._new)
            if not piece:
                break
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Recoder(io.RawIOBase):
    """Writes text on in another encoding; close it to finish."""

    def __init__(self, stream: BinaryIO, old: str, new: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(old)()
        self._new = new

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # typeshed: ReadableBuffer
        self._stream.write(self._decoder.decode(bytes(data)).encode(self._new))
        return len(data)
