"""What bytes a file has: a digest of each of its pages, its *prints*, and one of all of them.

A file with the bytes from which its records were sealed has these records: whoever erases it need not decode
one (spec/destruction.md, rule 7). And an interrupted overwriting may have left pages that are zero, or as
they were; a page that is neither was written by somebody else, and a resumed run refuses the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from cenotaph import durable, kernel

PAGE = 4096
_LARGE = 16 << 20  # bytes of a file: up to there a page is 4 KiB
_PIECE = 64 << 10  # what is hashed side by side, of a larger file
_PAGES = 4_096  # of a large file
_DIGEST = 32
_READ = 2 << 20
_BEHIND = 4096  # between pieces: the kernel writes its padding there, and O_DIRECT wants whole blocks
_FEW = 16 << 10  # bytes that are hashed before the kernel has begun
_CONTENT = b"cenotaph/v1 content\0"


def piece_size(size: int) -> int:
    """4 KiB in files of up to 16 MiB; 64 KiB in larger ones."""
    return PAGE if size <= _LARGE else _PIECE


def page_size(size: int) -> int:
    """A piece; or as many as it takes to have at most 4,096 pages."""
    piece = piece_size(size)
    return piece * max(1, -(-size // (piece * _PAGES)))


def prints(fd: int, size: int, *, directly: bool = False) -> bytes:
    """The prints of a file's pages, 32 bytes each: the SHA-256 of a page of one piece, else of the SHA-256 of
    its pieces.

    `directly`: past the page cache, where the file system can: for what is about to be overwritten.
    """
    reading = Reading(size)
    if directly and size >= _READ:
        with durable.directly(fd):
            reading.read(fd)
    return reading.finish(fd)


def whole(size: int, prints: bytes) -> bytes:
    """One digest of a file's size and prints: no other file has it."""
    return hashlib.sha256(size.to_bytes(8) + prints).digest()


def content(bounds: str, files: Sequence[bytes]) -> bytes:
    """One digest of a partition: what it is, and what `whole` says of its files."""
    return hashlib.sha256(_CONTENT + hashlib.sha256(bounds.encode()).digest() + b"".join(files)).digest()


def untouched(fd: int, size: int, known: bytes) -> bool:
    """Whether the file is exactly as it was."""
    return os.fstat(fd).st_size == size and prints(fd, size) == known


def zero_or_as_sealed(fd: int, size: int, known: bytes) -> bool:
    """Whether each page of the file is zero or as it was, and what came behind its end is zero.

    A page larger than 4 KiB may be zero in part where the run was interrupted inside it: it passes
    when at least one 4 KiB part of it is zero.
    """
    if os.fstat(fd).st_size < size or not _zero_behind(fd, size):
        return False
    page, piece = page_size(size), piece_size(size)
    if len(known) != -(-size // page) * _DIGEST:
        return False
    for index, at in enumerate(range(0, size, page)):
        data = os.pread(fd, min(page, size - at), at)
        pieces = b"".join(_sha256(data[i : i + piece]) for i in range(0, len(data), piece))
        if _is_zero(data) or _print(pieces) == known[index * _DIGEST : (index + 1) * _DIGEST]:
            continue
        if page == PAGE or not any(_is_zero(data[i : i + PAGE]) for i in range(0, len(data), PAGE)):
            return False
    return True


class Reading:
    """The prints of a file, whose bytes are read, or shown, from its beginning to its end."""

    def __init__(self, size: int) -> None:
        self._size, self._piece = size, piece_size(size)
        self._stride = self._piece + _BEHIND
        self._of_a_page = page_size(size) // self._piece * _DIGEST
        self._at = 0  # what came before is in the digests
        self._full = 0  # bytes behind it that are in the room
        self._at_once = max(1, -(-min(_READ, size) // self._piece)) * self._piece
        self._room = memoryview(durable.room(self._at_once // self._piece * self._stride))
        self._pieces = bytearray()  # digests of the last page's, as far as it was read
        self._prints = bytearray()
        self._kernel = kernel.found() if size > _FEW else None

    def came(self, at: int, data: memoryview) -> None:
        """Some of the file's bytes; taken where they go on from what there is."""
        behind = self._at + self._full
        data = data[behind - at :] if at <= behind < at + len(data) else data[:0]
        while data:
            piece, inside = divmod(self._full, self._piece)
            step = min(self._piece - inside, len(data))
            begin = piece * self._stride + inside
            self._room[begin : begin + step] = data[:step]
            self._full += step
            data = data[step:]
            self._digest()

    def read(self, fd: int) -> None:
        """What did not come, to the end, or to where the file ends before it."""
        while (wanted := min(self._size - self._at, self._at_once) - self._full) > 0:
            piece, inside = divmod(self._full, self._piece)
            starts = range(piece * self._stride, len(self._room), self._stride)
            rooms = [self._room[at : at + self._piece] for at in starts]
            rooms[0] = rooms[0][inside:]
            got = durable.read_into(fd, rooms, self._at + self._full, wanted)
            self._full += got
            if got < wanted:
                return
            self._digest()

    def finish(self, fd: int) -> bytes:
        """The prints, once the rest of the file was read."""
        self.read(fd)
        self._digest(last=True)
        if self._pieces:
            self._prints += _print(bytes(self._pieces))
        return bytes(self._prints)

    def _digest(self, *, last: bool = False) -> None:
        """What is in the room, when it is full or nothing follows."""
        if self._full < self._at_once and not last:
            return
        sizes = [min(self._piece, self._full - at) for at in range(0, self._full, self._piece)]
        self._pieces += self._digests(sizes)
        self._at, self._full = self._at + self._full, 0
        while len(self._pieces) >= self._of_a_page:
            self._prints += _print(bytes(self._pieces[: self._of_a_page]))
            del self._pieces[: self._of_a_page]

    def _digests(self, sizes: Sequence[int]) -> bytes:
        if self._kernel is not None:
            return self._kernel.pieces(self._room, self._stride, sizes)
        starts = range(0, len(self._room), self._stride)
        return b"".join(_sha256(self._room[at : at + size]) for at, size in zip(starts, sizes, strict=False))


def _print(pieces: bytes) -> bytes:
    """Of a page, from the digests of its pieces."""
    return pieces if len(pieces) == _DIGEST else _sha256(pieces)


def _sha256(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def _zero_behind(fd: int, size: int) -> bool:
    """`durable.overwrite_rest` makes a file longer."""
    at = size
    while data := os.pread(fd, 1 << 20, at):
        if not _is_zero(data):
            return False
        at += len(data)
    return True


def _is_zero(data: bytes) -> bool:
    return not data.strip(b"\0")
