"""PostgreSQL's write-ahead log: pages joined, records followed, compressed images of pages decoded.

What surprised the author: most of a log after a deletion is not the deletion but whole pages as they were
before it, each with its free middle left out and, where `wal_compression` is on, compressed; and every 8,192
bytes a page header cuts through whatever lies there. A recycled segment holds a log of long ago behind the
end of the present one: so pages are joined where each continues the one before it, and nothing is called
the end.

A record is believed where the place of the record before it, which each one names, is right. Its
checksum is not computed: what is damaged is searched, too.

Format: PostgreSQL, src/include/access/xlog_internal.h (`XLogPageHeaderData`), xlogrecord.h (`XLogRecord`,
`XLogRecordBlockImageHeader`), xloginsert.c (`XLogRecordAssemble`).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from cenotaph.residue import pglz, postgres_values

PAGE = 8192  # bytes; a server built with another size of log pages is not followed
GRID = 512  # where pages may begin in a stream: so a tar archive has them
BLOCK = 1 << 15  # bytes: the largest page of a relation

_OLDEST, _NEWEST = 0xD087, 0xD1FF  # magics since version 9.5
_FIFTEEN = 0xD10E  # from here on images are compressed in one of three ways
_CONTINUES, _LONG = 1, 2
_RECORD = struct.Struct("<IIQBBH")
_RECORD_SIZE = 24
_MOST_BLOCKS = 32
_LONGEST_RECORD = 1 << 30
_HAS_IMAGE, _HAS_DATA, _SAME_RELATION = 0x10, 0x20, 0x80
_SHORT_DATA, _LONG_DATA, _ORIGIN, _TOP_XID = 255, 254, 253, 252
_PGLZ, _LZ4, _ZSTD = 4, 8, 16


@dataclass(frozen=True, slots=True)
class Page:
    """What the header of a log page says."""

    magic: int
    timeline: int
    address: int
    continued: int  # bytes of a record that began before this page
    header: int  # bytes


@dataclass(frozen=True, slots=True)
class Image:
    """A page of a relation as a record holds it: decoded, its free middle put back as zeros."""

    start: int  # of the packed image in the joined bytes
    end: int
    data: bytes


def likely_pages(data: npt.NDArray[np.uint8], first: int, end: int) -> npt.NDArray[np.int64]:
    """Offsets `first`, and every `GRID` bytes from there, below `end`, where log pages may begin."""
    count = -(-(min(end, len(data) - _RECORD_SIZE + 1) - first) // GRID)
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    words = np.ndarray((count,), "<u4", data.data, first, (GRID,)).astype(np.uint32)
    magic = words & np.uint32(0xFFFF)
    good = (magic >= _OLDEST) & (magic <= _NEWEST) & (words >> np.uint32(16) < 16)  # flags
    return np.asarray(np.flatnonzero(good) * GRID + first, dtype=np.int64)


def page(head: bytes) -> Page | None:
    """The page that begins with `head` (40 bytes), or None where no log has such a header."""
    if len(head) < 40:
        return None
    magic, flags, timeline, address, continued = struct.unpack_from("<HHIQI", head)
    sound = _OLDEST <= magic <= _NEWEST and flags < 16 and 0 < timeline < 1 << 24
    if not sound or address % PAGE or not 0 < address < 1 << 56 or continued > _LONGEST_RECORD:
        return None
    if bool(flags & _CONTINUES) != (continued > 0):
        return None
    return Page(magic, timeline, address, continued, 40 if flags & _LONG else 24)


class Run:
    """Log pages that continue each other, and their joined contents (`body`)."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.begins: list[int] = []  # of each page, in `body`
        self._offsets: list[int] = []  # of each page's contents, in the stream
        self._pages: list[Page] = []
        self._record: int | None = None  # where a record begins that was not followed yet

    def __len__(self) -> int:
        return len(self._pages)

    def continues(self, page_: Page) -> bool:
        """Whether this page is the one behind the last."""
        last = self._pages[-1] if self._pages else None
        return last is None or (page_.magic, page_.timeline, page_.address) == (
            last.magic,
            last.timeline,
            last.address + PAGE,
        )

    def append(self, page_: Page, offset: int, content: bytes) -> None:
        """`content` is what lies behind the header, which lies at this offset of the stream."""
        self._pages.append(page_)
        self.begins.append(len(self.body))
        self._offsets.append(offset + page_.header)
        self.body += content

    def places(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """The bytes of the stream that hold these of `body`."""
        found = []
        row = bisect_right(self.begins, start) - 1
        while start < end:
            stop = min(end, self.begins[row + 1] if row + 1 < len(self.begins) else len(self.body))
            at = self._offsets[row] + start - self.begins[row]
            found.append((at, at + stop - start))
            start, row = max(stop, start + 1), row + 1
        return tuple(found)

    def images(self, last: bool) -> Iterator[Image]:
        """Compressed images in the records not followed before; with `last` also in one that is cut off."""
        modern = bool(self._pages) and self._pages[0].magic >= _FIFTEEN
        for start, end in self.records(last):
            yield from _images(bytes(self.body[start:end]), start, modern)

    def records(self, last: bool) -> Iterator[tuple[int, int]]:
        """Where records begin and end in `body`, each of them once; with `last` also one that is cut off."""
        at, before = self._record, 0
        if at is None:
            at = self._resumed(0)
        while at is not None:
            size, previous = self._header(at)
            if not size or (before and previous != before):
                at, before = self._resumed(at + 1), 0
                continue
            if at + size > len(self.body) and not last:
                break
            yield at, min(at + size, len(self.body))
            before = self.address(at)
            at = -(-(at + size) // 8) * 8
            if at + _RECORD_SIZE > len(self.body):
                break
        self._record = at

    def address(self, at: int) -> int:
        """Where in the log (its LSN) this byte of `body` lies."""
        row = bisect_right(self.begins, at) - 1
        return self._pages[row].address + self._pages[row].header + at - self.begins[row]

    def keep(self, done: int, most: int) -> int:
        """Forget whole pages before `done`, but keep a record that goes on, if it has at most so many bytes.

        How many bytes of `body` are gone.
        """
        wanted = done if self._record is None else self._record
        wanted = min(done, max(wanted, len(self.body) - most))
        row = max(0, min(bisect_right(self.begins, wanted), len(self.begins)) - 1)
        gone = self.begins[row] if self.begins else 0
        del self.body[:gone], self.begins[:row], self._offsets[:row], self._pages[:row]
        self.begins = [begin - gone for begin in self.begins]
        if self._record is not None:
            self._record = self._record - gone if self._record >= gone else None
        return gone

    def _resumed(self, after: int) -> int | None:
        """Where the first record begins that a page from `after` on names: behind what it continues."""
        for nth in range(bisect_right(self.begins, after - 1), len(self.begins)):
            at = self.begins[nth] + -(-self._pages[nth].continued // 8) * 8
            if at >= after and at + _RECORD_SIZE <= len(self.body):
                return at
        return None

    def _header(self, at: int) -> tuple[int, int]:
        """Size of the record that begins here, and where it says that the last one does; (0, 0) if none."""
        if at + _RECORD_SIZE > len(self.body):
            return 0, 0
        size, _, previous, _, manager, padding = _RECORD.unpack_from(self.body, at)
        known = manager < 32 or manager >= 128
        if not _RECORD_SIZE <= size <= _LONGEST_RECORD or padding or not known:
            return 0, 0
        return (size, previous) if previous < self.address(at) else (0, 0)


def _images(record: bytes, offset: int, modern: bool) -> Iterator[Image]:
    """Compressed images of one record, whose first bytes are there."""
    headers, at = _headers(record, modern)
    for header in headers:
        if header.image:
            packed = record[at : at + header.image]
            decoded = _unpacked(packed, header.method) if header.method else None
            if decoded:
                middle = min(header.hole_offset, len(decoded))
                whole = decoded[:middle] + bytes(header.hole) + decoded[middle:]
                yield Image(offset + at, offset + at + len(packed), whole)
        at += header.image + header.data


@dataclass(frozen=True, slots=True)
class _Block:
    """What a record says of one block: bytes of its image and of its other data, and of the free middle."""

    image: int
    method: int
    hole_offset: int
    hole: int
    data: int


def _headers(record: bytes, modern: bool) -> tuple[list[_Block], int]:
    """The blocks of a record, and where their data begins. What contradicts itself ends the list."""
    found: list[_Block] = []
    at, total = _RECORD_SIZE, 0
    while at + 2 <= len(record) and len(found) <= _MOST_BLOCKS:
        if at + total >= len(record):
            break
        kind = record[at]
        if kind == _SHORT_DATA:
            return found, at + 2
        if kind == _LONG_DATA:
            return found, at + 5
        if kind in (_ORIGIN, _TOP_XID):
            at += 3 if kind == _ORIGIN else 5
            continue
        if kind > _MOST_BLOCKS or at + 4 > len(record):
            return [], at
        block, size = _block(record, at, modern)
        if block is None:
            return [], at
        found.append(block)
        at, total = at + size, total + block.image + block.data
    return found, at


def _block(record: bytes, at: int, modern: bool) -> tuple[_Block | None, int]:
    """The header of one block, and its length."""
    flags, data = record[at + 1], int.from_bytes(record[at + 2 : at + 4], "little")
    size = 4
    image = method = hole_offset = hole = 0
    if flags & _HAS_IMAGE:
        if at + 11 > len(record):
            return None, 0
        image, hole_offset, how = struct.unpack_from("<HHB", record, at + size)
        size += 5
        method = how & (_PGLZ | _LZ4 | _ZSTD) if modern else (_PGLZ if how & 2 else 0)
        if method and how & 1:
            hole = int.from_bytes(record[at + size : at + size + 2], "little")
            size += 2
        if hole_offset > BLOCK or hole > BLOCK:
            return None, 0
    if data and not flags & _HAS_DATA:
        return None, 0
    size += 4 if flags & _SAME_RELATION else 16
    return _Block(image, method, hole_offset, hole, data), size


def _unpacked(packed: bytes, method: int) -> bytes:
    """An image as far as it decodes."""
    if method == _ZSTD:
        return _zstd(packed)
    if method == _LZ4:
        found = postgres_values.decode(packed, BLOCK, postgres_values.LZ4)
        return found.data if found else b""
    return pglz.beginning(packed, BLOCK)[0]


def _zstd(packed: bytes) -> bytes:
    try:
        size = zstandard.get_frame_parameters(packed).content_size
        if 0 < size <= BLOCK:
            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=BLOCK)
    except zstandard.ZstdError:
        pass  # cut off or damaged: nothing can be said of it
    return b""
