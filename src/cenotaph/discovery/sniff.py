"""What a file is, from its bytes; its name is not asked."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass

from cenotaph.discovery.text import decode, magic

HEAD = 64 * 1024
"""Bytes from the start that are enough to recognise a format."""

_BINARY = (
    (b"SQLite format 3\x00", "sqlite", ""),
    (b"\x37\x7f\x06\x82", "sqlite journal", "write-ahead log"),  # sqlite.org/fileformat2.html, section 4.1
    (b"\x37\x7f\x06\x83", "sqlite journal", "write-ahead log"),
    (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "sqlite journal", "rollback journal"),  # the same, section 3
    (b"PAR1", "parquet", ""),
    (b"ARROW1\x00\x00", "arrow", "file"),
    (b"\xff\xff\xff\xff", "arrow", "stream"),
    (b"PK\x03\x04", "archive", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "archive", "7z"),
    (b"Rar!\x1a\x07", "archive", "rar"),
    (b"\x1f\x8b", "compressed", "gzip"),
    (b"BZh", "compressed", "bzip2"),
    (b"\xfd7zXZ\x00", "compressed", "xz"),
    (b"\x28\xb5\x2f\xfd", "compressed", "zstd"),
    (b"\x04\x22\x4d\x18", "compressed", "lz4"),
    (b"PGDMP", "sql dump", "pg_dump custom format"),
)

_DUMP = re.compile(
    r"^-- (?:MySQL|MariaDB|PostgreSQL database) dump|^PRAGMA foreign_keys=OFF;\s*BEGIN TRANSACTION;"
    r"|^COPY [^\n;]+ FROM stdin;"
    r"|^\s*(?:INSERT|REPLACE) INTO\s[^\n]{0,4000}?\bVALUES?\b|^\s*CREATE TABLE\s[^;]{0,4000}?\(",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind as `undeclared.Found` names it; for CSV its delimiter."""

    kind: str  # "sqlite", "csv", "jsonl", "parquet", "arrow", "archive", "compressed", "sql dump", "image" …
    detail: str = ""
    delimiter: str = ""


def sniff(head: bytes) -> Format | None:
    """The format that a file with this beginning has, or None where it is not one that holds records."""
    for start, kind, detail in _BINARY:
        if head.startswith(start) and (start != b"\xff\xff\xff\xff" or _is_arrow_stream(head)):
            return Format(kind, detail)
    if head[257:262] == b"ustar":
        return Format("archive", "tar")
    if magic(head) in ("jpeg", "png", "gif", "tiff", "webp", "heic", "bmp"):
        return Format("image", magic(head))
    return _sniff_text(head)


def _is_arrow_stream(head: bytes) -> bool:
    """A continuation mark, then a metadata length that is a multiple of 8 (Arrow columnar format, IPC)."""
    length = int.from_bytes(head[4:8], "little")
    return 0 < length < 1 << 24 and length % 8 == 0


def _sniff_text(head: bytes) -> Format | None:
    text = decode(head[:-1] if len(head) >= HEAD else head) or _cut(head)
    if not text or not text.strip():
        return None
    if _DUMP.search(text):
        return Format("sql dump", "text")
    lines = text.splitlines()
    whole = [line for line in (lines[:-1] if len(head) >= HEAD else lines) if line.strip()]
    if whole and all(_is_object(line) for line in whole[:20]):
        return Format("jsonl")
    return _sniff_delimited(whole)


def _cut(head: bytes) -> str | None:
    """A head may end inside a character: drop up to three bytes."""
    return next((text for end in (1, 2, 3) if (text := decode(head[:-end]))), None)


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _sniff_delimited(lines: list[str]) -> Format | None:
    """Delimited where one delimiter cuts nearly all of the first lines into as many fields, two or more."""
    if len(lines) < 2:
        return None
    for delimiter in (",", "\t", ";", "|"):
        if delimiter not in lines[0]:
            continue
        try:
            widths = [len(row) for row in csv.reader(lines[:60], delimiter=delimiter) if row]
        except csv.Error:
            continue
        if widths and widths[0] >= 2 and widths.count(widths[0]) >= max(2, 0.9 * len(widths)):
            return Format("csv", delimiter=delimiter)
    return None
