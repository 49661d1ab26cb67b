"""What an interrupted overwriting may have left of a file: pages that are zero, or as they were.

Before the first change the journal gets a keyed BLAKE2b-128 of each page. A page that is neither was
written by somebody else, and a resumed run refuses the file.
"""

from __future__ import annotations

import base64
import hashlib
import os

PAGE = 4096
_PAGES = 16_384  # a file; keeps the state of a 64 MiB partition under half a megabyte
_HASH = 16


def page_size(size: int) -> int:
    """4 KiB for files of up to 64 MiB; above that the multiple of 4 KiB that gives at most 16,384 pages."""
    return PAGE * max(1, -(-size // (PAGE * _PAGES)))


def fingerprint(fd: int, size: int, key: bytes) -> str:
    """The hashes of all pages of a file, in base64."""
    page, hashes = page_size(size), bytearray()
    for at in range(0, size, page):
        hashes += _hash(os.pread(fd, page, at), key)
    return base64.b64encode(hashes).decode()


def untouched(fd: int, size: int, key: bytes, prints: str) -> bool:
    """Whether the file is exactly as it was."""
    return os.fstat(fd).st_size == size and fingerprint(fd, size, key) == prints


def zero_or_as_sealed(fd: int, size: int, key: bytes, prints: str) -> bool:
    """Whether each page of the file is zero or as it was, and what came behind its end is zero.

    A page larger than 4 KiB may be zero in part where the run was interrupted inside it: it passes
    when at least one 4 KiB piece of it is zero.
    """
    if os.fstat(fd).st_size < size or not _zero_behind(fd, size):
        return False
    page, hashes = page_size(size), base64.b64decode(prints)
    if len(hashes) != -(-size // page) * _HASH:
        return False
    for index, at in enumerate(range(0, size, page)):
        data = os.pread(fd, page, at)
        if _is_zero(data) or _hash(data, key) == hashes[index * _HASH : (index + 1) * _HASH]:
            continue
        if page == PAGE or not any(_is_zero(data[i : i + PAGE]) for i in range(0, len(data), PAGE)):
            return False
    return True


def _zero_behind(fd: int, size: int) -> bool:
    """`durable.overwrite_rest` makes a file longer."""
    at = size
    while data := os.pread(fd, 1 << 20, at):
        if not _is_zero(data):
            return False
        at += len(data)
    return True


def _hash(data: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_HASH, key=key).digest()


def _is_zero(data: bytes) -> bool:
    return not data.strip(b"\0")
