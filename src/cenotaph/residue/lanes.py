"""Decoders for what a plain search is blind to: compressed streams, found by their first bytes anywhere.

A decoder is fed the bytes that follow its magic, in pieces, and gives what it decodes in bounded pieces;
so nothing is ever held whole, and a stream inside an image of a disk needs no length. It says how it
ended: at its own end, with an error, or (its feeder ran dry) cut off.

No number in a stream is trusted: neither a length nor a promise to fit in memory.
Formats: gzip RFC 1952, deflate RFC 1951, zip APPNOTE.TXT § 4.3.7, Zstandard RFC 8878, LZ4 frame format,
bzip2 by its library, xz file format § 2.1.1, pg_dump's archives (`pg_dump`), digits (`hexadecimal`).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import lz4.frame
import numpy as np
import numpy.typing as npt
import zstandard

from cenotaph import kernel
from cenotaph.residue import hexadecimal
from cenotaph.residue.carve_ext4 import MAGIC as _INODE
from cenotaph.residue.carve_parquet import MAGICS as _PAGES
from cenotaph.residue.pg_dump import MAGIC as _DUMP
from cenotaph.residue.pg_dump import DumpError, Unpacker

PIECE = 1 << 18  # bytes decoded at once
_MOST_WINDOW = 128 << 20  # of Zstandard, as its command line tool allows with --long=27
_LZMA_MEMORY = 256 << 20

STRUCTURED = (
    b"PAR1",
    b"ARROW1\x00\x00",
    b"SQLite format 3\x00",
    b"\x37\x7f\x06\x82",  # SQLite's write-ahead log, in two byte orders
    b"\x37\x7f\x06\x83",
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",  # SQLite's rollback journal
)
"""Magics of formats that are read as a whole, not as a stream."""


class Stop(Exception):  # not an error of ours: how a decoder's stream ended
    """The decoder is done: at its end (`problem` empty), or because of `problem`."""

    def __init__(self, problem: str = "", unused: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.unused = unused  # bytes of the last feeding behind the end of the stream


class Decoder(Protocol):
    """Turns compressed pieces into decoded ones."""

    lane: str

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decoded pieces, each about `PIECE` at most. Raises `Stop` when the stream has ended."""


Opener: TypeAlias = Callable[[bytes], "Decoder | str | None"]


@dataclass(frozen=True, slots=True)
class Magic:
    """How a stream begins. `open` sees the first bytes: a decoder, a problem, or None for a false start."""

    lane: str
    begin: bytes
    open: Opener


def find_magics(data: npt.NDArray[np.uint8], core: int) -> list[tuple[int, bytes]]:
    """Offsets below `core` where a known magic begins, in order, each with the magic."""
    by = kernel.found()
    if by is not None:
        places, which = by.find_magics(data, core, _EVERY)
        return [(at, _EVERY[nth]) for at, nth in zip(places.tolist(), which.tolist(), strict=True)]
    found: list[tuple[int, bytes]] = []
    for shift in (0, 1):
        end = shift + (len(data) - shift) // 2 * 2
        pairs = data[shift:end].copy().view("<u2")
        some = np.zeros(len(pairs), dtype=bool)
        for pair in _PAIRS:
            some |= pairs == pair
        for at in (np.flatnonzero(some) * 2 + shift).tolist():
            if at < core:
                head = data[at : at + 16].tobytes()
                found.extend((at, magic) for magic in _PAIRS[_pair(head)] if head.startswith(magic))
    return sorted(found)


def open_decoder(magic: bytes, head: bytes) -> Decoder | str | None:
    """A decoder for the stream that begins with `head` (64 bytes or all there is).

    A string instead is a problem: a stream that nothing here decodes. None is a false start.
    """
    for known in MAGICS:
        if known.begin == magic:
            return known.open(head)
    return None


# --- decoders


class _Bounded:
    """Decoders of the standard library, and LZ4's, which take a limit for what they give."""

    def __init__(self, lane: str, state: bz2.BZ2Decompressor, errors: tuple[type[Exception], ...]) -> None:
        self.lane, self._state, self._errors = lane, state, errors

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        state = self._state
        while True:
            try:
                out = state.decompress(data, max_length=PIECE)
            except self._errors:
                raise Stop(f"{self.lane} stream is damaged") from None
            if out:
                yield out
            if state.eof:
                raise Stop(unused=len(state.unused_data or b""))
            if state.needs_input or (not out and not data):
                return
            data = b""


class _Deflate:
    """gzip members (RFC 1952) and deflated members of a zip archive."""

    def __init__(self, lane: str, window_bits: int, skip: int = 0) -> None:
        self.lane, self._skip = lane, skip
        self._state = zlib.decompressobj(window_bits)

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        data = data[skipped:]
        while data:
            try:
                out = self._state.decompress(data, PIECE)
            except zlib.error:
                raise Stop(f"{self.lane} stream is damaged") from None
            if out:
                yield out
            if self._state.eof:
                raise Stop(unused=len(self._state.unused_data))
            data = self._state.unconsumed_tail


class _Zstandard:
    """One frame (RFC 8878). A block of four bytes may hold 128 KiB, so it is fed in small pieces."""

    lane = "zstd"

    def __init__(self) -> None:
        self._state = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).decompressobj()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for at in range(0, len(data), 1024):
            try:
                out = self._state.decompress(data[at : at + 1024])
            except zstandard.ZstdError:
                raise Stop("zstd stream is damaged") from None
            if out:
                yield from (out[part : part + PIECE] for part in range(0, len(out), PIECE))
            if self._state.eof:
                raise Stop(unused=len(self._state.unused_data) + max(0, len(data) - at - 1024))


class _Dump:
    """An archive of pg_dump in its custom format."""

    lane = "pg_dump"

    def __init__(self) -> None:
        self._state = Unpacker()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for at in range(0, len(data), PIECE):
            try:
                yield from self._state.feed(data[at : at + PIECE])
            except DumpError as error:
                raise Stop(f"pg_dump archive {error.args[0]}" if error.args[0] else "") from None


class Hexadecimal:
    """A value in digits that goes on behind a block of its stream."""

    lane = hexadecimal.LANE

    def __init__(self) -> None:
        self._skip, self._odd = hexadecimal.BEGIN, b""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        spelled = np.frombuffer(data, dtype=np.uint8)[skipped:]
        others = np.flatnonzero(~hexadecimal.DIGITS[spelled])
        end = int(others[0]) if len(others) else len(spelled)
        digits = self._odd + spelled[:end].tobytes()
        self._odd = digits[len(digits) // 2 * 2 :]
        if len(digits) > 1:
            yield bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
        if len(others):
            raise Stop(unused=len(spelled) - end)


def _gzip(head: bytes) -> Decoder | str | None:
    """RFC 1952 § 2.3: reserved flags are zero, the operating system is known."""
    if len(head) < 10 or head[3] & 0xE0 or head[8] not in (0, 2, 4) or not (head[9] <= 13 or head[9] == 255):
        return None
    return _Deflate("gzip", 31)


def _zip(head: bytes) -> Decoder | str | None:
    """APPNOTE § 4.3.7. Stored members lie open; bzip2, Zstandard and xz members have magics of their own."""
    if len(head) < 30:
        return None
    version, flags, method = (int.from_bytes(head[at : at + 2], "little") for at in (4, 6, 8))
    if version & 0xFF > 63 or method not in (0, 8, 9, 12, 14, 93, 95, 99):
        return None
    if flags & 1 or method == 99:
        return "zip member is encrypted"
    if method in (9, 14):
        return "zip member is compressed in a way that is not decoded"
    if method != 8:
        return None
    names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return _Deflate("zip", -15, 30 + names)


def _zstd(head: bytes) -> Decoder | str | None:
    """RFC 8878 § 3.1.1.1.1: the reserved bit of the frame header is zero."""
    return None if len(head) < 6 or head[4] & 0x08 else _Zstandard()


def _lz4(head: bytes) -> Decoder | str | None:
    """LZ4 frame format: version 01, reserved bits zero, a block size that exists."""
    if len(head) < 7 or head[4] & 0xC2 != 0x40 or head[5] & 0x8F or head[5] >> 4 < 4:
        return None
    return _Bounded("lz4", lz4.frame.LZ4FrameDecompressor(), (RuntimeError,))


def _bzip2(_: bytes) -> Decoder | str | None:
    return _Bounded("bz2", bz2.BZ2Decompressor(), (OSError,))


def _xz(_: bytes) -> Decoder | str | None:
    state = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
    return _Bounded("xz", state, (lzma.LZMAError,))  # type: ignore[arg-type]  # same methods, no common type


MAGICS = (
    Magic("gzip", b"\x1f\x8b\x08", _gzip),
    Magic("zip", b"PK\x03\x04", _zip),
    Magic("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    Magic("lz4", b"\x04\x22\x4d\x18", _lz4),
    *(Magic("bz2", b"BZh%d1AY&SY" % level, _bzip2) for level in range(1, 10)),
    Magic("xz", b"\xfd7zXZ\x00", _xz),
    Magic("pg_dump", _DUMP, lambda _: _Dump()),
)


def _pair(begin: bytes) -> int:
    return int.from_bytes(begin[:2], "little")


_EVERY = (*(magic.begin for magic in MAGICS), *STRUCTURED, *_PAGES, _INODE)
_PAIRS: dict[int, list[bytes]] = {}  # first two bytes → magics that begin with them
for _begin in _EVERY:
    _PAIRS.setdefault(_pair(_begin), []).append(_begin)
