"""What an interrupted overwriting may have left of a file: pages that are zero, or as they were.

Before the first change the journal gets the GMAC of each page (NIST SP 800-38D; the page's number is its
nonce), which takes a tenth of the time of a keyed hash. A page that is neither was written by somebody else,
and a resumed run refuses the file.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PAGE = 4096
_PAGES = 4_096  # of a large file: a tag takes as long as what it is of, below 16 KiB
_TAG = 16
_READ = 1 << 20


def page_size(size: int) -> int:
    """4 KiB for files of up to 16 MiB; above that the multiple of 4 KiB that gives at most 4,096 pages."""
    return PAGE * max(1, -(-size // (PAGE * _PAGES)))


def fingerprint(fd: int, size: int, key: bytes) -> str:
    """The tags of all pages of a file, in base64, under a key of 32 bytes that no other file has."""
    tags, cipher = bytearray(), AESGCM(key)
    for index, data in enumerate(_pages(fd, size)):
        tags += _tag(cipher, index, data)
    return base64.b64encode(tags).decode()


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
    page, tags, cipher = page_size(size), base64.b64decode(prints), AESGCM(key)
    if len(tags) != -(-size // page) * _TAG:
        return False
    for index, data in enumerate(map(bytes, _pages(fd, size))):
        if _is_zero(data) or _tag(cipher, index, data) == tags[index * _TAG : (index + 1) * _TAG]:
            continue
        if page == PAGE or not any(_is_zero(data[i : i + PAGE]) for i in range(0, len(data), PAGE)):
            return False
    return True


def _pages(fd: int, size: int) -> Iterator[memoryview]:
    """The pages of a file, many of them read at once."""
    page = page_size(size)
    many = max(1, _READ // page) * page
    for start in range(0, size, many):
        data = memoryview(os.pread(fd, min(many, size - start), start))
        for at in range(0, len(data), page):
            yield data[at : at + page]


def _zero_behind(fd: int, size: int) -> bool:
    """`durable.overwrite_rest` makes a file longer."""
    at = size
    while data := os.pread(fd, 1 << 20, at):
        if not _is_zero(data):
            return False
        at += len(data)
    return True


def _tag(cipher: AESGCM, index: int, data: bytes | memoryview) -> bytes:
    return cipher.encrypt(index.to_bytes(12), b"", data)


def _is_zero(data: bytes) -> bool:
    return not data.strip(b"\0")
