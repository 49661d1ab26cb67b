"""What a file is: its format, packing and schema, told from its first bytes, and if need be its name."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from cenotaph.stores.files import delimited, lines, packing
from cenotaph.stores.files.lines import Dialect, MalformedError

HEAD = 64 << 10
BAD_LINES = "csv with bad lines, read as text"
NO_HEADER = "csv without a header"

Names = tuple[str, ...]

_LINE = (("line", "binary"),)
_OPAQUE = (("name", "binary"), ("size", "int64"), ("sha256", "binary"), ("middle", "binary"))
_MEMBER = (("member", "binary"), ("line", "binary"), *_OPAQUE[1:])


@dataclass(frozen=True, slots=True)
class Kind:
    """How the files of one collection are read."""

    format: str  # csv jsonl text parquet arrow zip tar opaque
    columns: tuple[
        tuple[str, str], ...
    ]  # name and the format's own type; names can be people where no header is
    packing: str = packing.PLAIN
    delimiter: int = 0  # csv, and archives whose members are all csv of one schema
    header: bool = False
    note: str = ""

    @property
    def label(self) -> str:
        """The format as a collection states it, e.g. "csv.gz"."""
        return f"{self.format}.{self.packing}" if self.packing else self.format

    @property
    def second_best(self) -> bool:
        """Whether the file should have been of another kind, and could not be read as such."""
        return self.note not in ("", NO_HEADER)

    @property
    def names(self) -> Names:
        return tuple(name for name, _ in self.columns)

    @property
    def dialect(self) -> Dialect:
        """How its rows end, for the formats made of rows of text."""
        if self.format == "jsonl":
            return lines.JSON_LINES
        return csv_dialect(self.delimiter) if self.delimiter else lines.TEXT


def opaque(note: str = "") -> Kind:
    """One record a file: its name, size, SHA-256 and 32 bytes from its middle."""
    return Kind("opaque", _OPAQUE, note=note)


def text(pack: str = packing.PLAIN, note: str = "") -> Kind:
    """One record a line."""
    return Kind("text", _LINE, pack, note=note)


def archive(format: str, pack: str = packing.PLAIN, note: str = "") -> Kind:
    """One record a line of each text member, and one for each other member."""
    return Kind(format, _MEMBER, pack, note=note)


def csv_dialect(delimiter: int) -> Dialect:
    return Dialect(quotes=True, bare_cr=True, delimiter=delimiter)


def next_best(kind: Kind) -> Kind:
    """What to read a file as that turned out not to be of this kind."""
    if kind.format == "csv":
        return text(kind.packing, BAD_LINES)
    if kind.packing and kind.format in ("text", "jsonl"):
        return opaque("compressed file that cannot be unpacked, read as one record")
    if kind.format in ("text", "jsonl"):
        return opaque("text with a line over 64 MiB, read as one record")
    if kind.format in ("zip", "tar") and kind.delimiter:
        return archive(kind.format, kind.packing, "archive of csv with bad lines, read as text")
    return opaque(f"{kind.format} file that cannot be read, taken as one record")


# --- from the first bytes -------------------------------------------------------------------

_DELIMITERS = b",;\t|"
_TEXT_SUFFIXES = (b".csv", b".tsv", b".tab")
_JSON_SUFFIXES = (b".jsonl", b".ndjson", b".json", b".geojsonl")
# zip and tar containers that are documents of one piece
_NOT_ARCHIVES = (
    b".docx",
    b".xlsx",
    b".pptx",
    b".odt",
    b".ods",
    b".jar",
    b".apk",
    b".epub",
    b".npz",
    b".xlsm",
)


def classify(stream: BinaryIO, name: bytes, size: int) -> Kind:
    """The likely kind of a file; only reading it whole shows whether it keeps to it."""
    name = name.lower()
    head = stream.read(HEAD)
    stream.seek(0)
    pack = packing.detect(head)
    if pack == packing.PLAIN:
        return classify_head(head, name, whole=len(head) == size)
    for suffix in packing.SUFFIXES:
        name = name.removesuffix(suffix)
    if name.endswith(b".tgz"):
        name = name.removesuffix(b".tgz") + b".tar"
    inner = _head_inside(stream, pack, size)
    if inner is None:
        return opaque("compressed file that cannot be unpacked, read as one record")
    kind = classify_head(inner, name, whole=len(inner) < HEAD)
    return replace(kind, packing=pack) if kind.format in ("csv", "jsonl", "text", "tar") else opaque()


def _head_inside(stream: BinaryIO, pack: str, size: int) -> bytes | None:
    try:
        return packing.unpacked(stream, pack, size).read(HEAD)
    except MalformedError:
        return None
    finally:
        stream.seek(0)


def classify_head(head: bytes, name: bytes, *, whole: bool) -> Kind:
    """The likely kind of a file that begins with `head`; `name` in lower case, without packing's suffix."""
    if head.startswith(b"PAR1"):
        return Kind("parquet", ())
    if head.startswith((b"ARROW1\0\0", b"\xff\xff\xff\xff")):
        return Kind("arrow", ())
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return opaque() if name.endswith(_NOT_ARCHIVES) else archive("zip")
    if head[257:262] == b"ustar":
        return archive("tar")
    if not _is_text(head):
        return opaque()
    return _classify_text(head, name, whole=whole)


def _is_text(head: bytes) -> bool:
    """No NUL and no control characters but those that text files have."""
    array = np.frombuffer(head, np.uint8)
    return not bool(_CONTROLS[array].any())


_CONTROLS = np.zeros(256, np.bool_)
_CONTROLS[:32] = True
_CONTROLS[[9, 10, 11, 12, 13, 26, 27]] = False  # tab, line ends, page breaks, DOS end of file, escape


def _classify_text(head: bytes, name: bytes, *, whole: bool) -> Kind:
    if name.endswith(_JSON_SUFFIXES) or head.lstrip(lines.BOM)[:1] == b"{":
        return Kind("jsonl", _LINE) if _first_line_is_json(head) else text()
    sure = name.endswith(_TEXT_SUFFIXES)
    if sure or name.endswith((b".txt", b".dat")) or b"." not in name:
        found = sniff_csv(head, whole=whole, sure=sure)
        if found is not None:
            return found
        if sure and head.strip():
            return text(note=BAD_LINES)
    return text()


def _first_line_is_json(head: bytes) -> bool:
    """Whether the first line that is not empty is one whole JSON object or array, as far as `head` shows."""
    start = head.removeprefix(lines.BOM).lstrip()
    line, end, _ = start.partition(b"\n")
    if not end and len(head) == HEAD:
        return line[:1] in (b"{", b"[")
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


# --- csv ------------------------------------------------------------------------------------


def sniff_csv(head: bytes, *, whole: bool, sure: bool) -> Kind | None:
    """The CSV kind of a file that begins with `head`, or None.

    `sure`: its name says CSV, so that one column or one row is enough. Otherwise prose with commas must not
    pass: three rows of the same three fields or more (two, with tabs).
    """
    best: Kind | None = None
    for delimiter in _DELIMITERS:
        rows = _rows(head, delimiter, whole=whole)
        if not rows or not rows[0]:
            continue
        wide = len(rows[0])
        if wide == 1 and any(byte in rows[0][0] for byte in _DELIMITERS):
            continue  # one column only because the lines do not agree under their own delimiter
        if not sure and (len(rows) < 3 or wide < (2 if delimiter == 9 else 3)):
            continue
        if best is None or wide > len(best.columns):
            header = not _headerless(rows)
            if not sure and not header:
                continue
            names = header_names(rows[0]) if header else [f"column_{i + 1}" for i in range(wide)]
            columns = tuple((name, "text") for name in names)
            note = "" if header else NO_HEADER
            best = Kind("csv", columns, delimiter=delimiter, header=header, note=note)
    return best


def _rows(head: bytes, delimiter: int, *, whole: bool) -> list[list[bytes]]:
    """The first rows of `head` under a delimiter; none where they differ in length or do not parse."""
    try:
        block = next(lines.split(io.BytesIO(head), csv_dialect(delimiter)), None)
        if block is None or not (wide := delimited.width(block)):
            return []
        if not whole:
            block = _without_cut_row(block)
        columns = delimited.grid(block, wide).columns()
    except MalformedError:
        return [] if whole else _rows_of_long_head(head, delimiter)
    sample = [column[:20].to_pylist() for column in columns]
    return [list(row) for row in zip(*sample, strict=True)]


def _rows_of_long_head(head: bytes, delimiter: int) -> list[list[bytes]]:
    """As `_rows`, for a head cut off inside a quoted field: up to the last line end before a quote."""
    cut = head.rfind(b'"')
    end = head.rfind(b"\n", 0, cut) if cut > 0 else -1
    return _rows(head[: end + 1], delimiter, whole=True) if 0 < end + 1 < len(head) else []


def _without_cut_row(block: lines.Split) -> lines.Split:
    """A head that is not the whole file ends inside a row, unless a row end comes last."""
    ends = np.flatnonzero(block.row)
    if len(ends) < 2:
        return block
    stop = int(ends[-2]) + 1
    return replace(
        block,
        starts=block.starts[:stop],
        ends=block.ends[:stop],
        after=block.after[:stop],
        row=block.row[:stop],
    )


def _headerless(rows: list[list[bytes]]) -> bool:
    """Whether the first row is a record: a column has a long number or a date in it, of the same
    shape as in the second row. A person's number taken for a header would outlive its row."""
    if len(rows) < 2:
        return any(_is_number(field) for field in rows[0])
    return any(_is_number(a) and _shape(a) == _shape(b) for a, b in zip(rows[0], rows[1], strict=True))


def _is_number(field: bytes) -> bool:
    return sum(48 <= c <= 57 for c in field) >= 6 and not any(65 <= (c & 0xDF) <= 87 for c in field)


def _shape(field: bytes) -> bytes:
    # X: the check digit ten of resident identity numbers (GB 11643)
    return bytes(57 if 48 <= c <= 57 or c in b"Xx" else c for c in field)


def header_names(row: list[bytes]) -> list[str]:
    """Column names of a header: never empty, never twice."""
    names: list[str] = []
    for index, raw in enumerate(row):
        name = raw.decode("utf-8", "backslashreplace").strip() or f"column_{index + 1}"
        unique, again = name, 2
        while unique in names:
            unique, again = f"{name}_{again}", again + 1
        names.append(unique)
    return names
