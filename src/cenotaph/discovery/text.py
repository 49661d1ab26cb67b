"""Values of any Arrow type as text, and what the values that are not text begin like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.arrow import union_places
from cenotaph.spelling import spelled

LONGEST = 4_096
"""Bytes looked at of one value; the rest of a long text or photo says nothing more about its kind."""

_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"%PDF-", "pdf"),
    (b"GP\x00", "geometry"),  # GeoPackage 1.3, clause 2.1.3: StandardGeoPackageBinary
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)


@dataclass(frozen=True, slots=True)
class Texts:
    """One value each: its text, or else what it begins like and a mark that tells it from others."""

    texts: pa.StringArray
    blobs: pa.StringArray  # null where the value is text
    marks: npt.NDArray[np.int64]

    @staticmethod
    def plain(texts: pa.StringArray) -> Texts:
        """All of them text."""
        return Texts(texts, pa.nulls(len(texts), pa.string()), np.zeros(len(texts), np.int64))

    def take(self, positions: npt.NDArray[np.intp]) -> Texts:
        chosen = pa.array(positions)
        return Texts(self.texts.take(chosen), self.blobs.take(chosen), self.marks[positions])

    @staticmethod
    def joined(parts: Sequence[Texts]) -> Texts:
        return Texts(
            pa.concat_arrays([part.texts for part in parts]),
            pa.concat_arrays([part.blobs for part in parts]),
            np.concatenate([part.marks for part in parts]),
        )


def as_texts(column: pa.Array) -> Texts:
    """Numbers and dates as they are written; bytes as UTF-8, else GB18030, else not text."""
    plain = _plain(column)
    if pa.types.is_binary(plain.type):
        return _decoded(plain)
    return Texts.plain(plain)


def magic(data: bytes) -> str:
    """The format that these bytes begin like, or the empty string."""
    for start, name in _MAGIC:
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return "heic"
    if data[:2] == b"BM" and data[6:10] == b"\x00\x00\x00\x00":
        return "bmp"
    return ""


def decode(data: bytes) -> str | None:
    """Text in UTF-8 or GB18030, or None where the bytes are not text.

    GB18030 accepts most byte strings, so what it gives must look like text: no control characters,
    and nothing from the private use area or the rare planes, where random bytes land.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A text that was cut at LONGEST may end inside a character.
        if error.start >= LONGEST - 4:
            return data[: error.start].decode("utf-8")
        return _chinese(data)
    return text if _printable(text) else None


_RARE = re.compile(r"[^\x00-\x7f\u3000-\u9fff\uff00-\uffef]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def _chinese(data: bytes) -> str | None:
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    rare = len(_RARE.findall(text))
    return text if _printable(text) and rare <= 0.1 * len(text) else None


def _printable(text: str) -> bool:
    return _UNPRINTABLE.search(text) is None


def _plain(column: pa.Array) -> pa.Array:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        texts = spelled(column)
        return _plain(column.storage if texts is None else texts)
    if pa.types.is_union(kind):
        return _of_union(column)
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return column.cast(pa.binary())  # a file may call bytes text that are none: decoded with care
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string()).cast(pa.binary())
    if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        return column.cast(pa.binary())
    if pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_null(kind):
        return pa.array([_written(_value(cell)) for cell in column], pa.binary())
    return column.cast(pa.string())


def _of_union(column: pa.Array) -> pa.Array:
    """Each value as one of its own type."""
    parts, index, base = [pa.array([], pa.binary())], np.zeros(len(column), np.int64), 0
    for child, rows, places in union_places(column):
        parts.append(_plain(child.take(pa.array(places))).cast(pa.binary()))
        index[rows] = base + np.arange(len(rows))
        base += len(rows)
    return pa.concat_arrays(parts).take(pa.array(index))


def _value(cell: pa.Scalar) -> object:
    """None for what Python has no value of: days before Christ, hours beyond the last."""
    try:
        return cell.as_py()
    except (OverflowError, ValueError):
        return None


def _written(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return str(value)[:LONGEST].encode("utf-8", "replace")


_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f]|^(?:%PDF-|\x{feff})"


def _decoded(column: pa.BinaryArray) -> Texts:
    """Whole columns of plain UTF-8 at once; else value by value."""
    if _is_plain(column):
        return Texts.plain(column.cast(pa.string()))
    try:
        texts = column.cast(pa.string())
    except pa.ArrowInvalid:
        return _one_by_one(column)
    if pc.any(pc.match_substring_regex(texts, _CONTROL)).as_py():
        return _one_by_one(column)
    return Texts.plain(pc.utf8_slice_codeunits(texts, 0, LONGEST))


def _is_plain(column: pa.BinaryArray) -> bool:
    """Whether there is nothing but short texts of printable ASCII without a percent sign. Most columns are
    that, and no expression has to be matched with them."""
    _, offsets, data = column.buffers()
    if data is None:
        return False
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    octets = np.frombuffer(data, np.uint8)[places[0] : places[-1]]
    if not len(octets) or np.diff(places).max() > LONGEST:
        return False
    return bool(octets.min() >= ord(" ") and octets.max() < 0x7F and not (octets == ord("%")).any())


def _one_by_one(column: pa.BinaryArray) -> Texts:
    heads = [None if value is None else value[:LONGEST] for value in column.to_pylist()]
    kinds = [magic(head) if head is not None else "" for head in heads]
    texts = [None if kind or head is None else decode(head) for kind, head in zip(kinds, heads, strict=True)]
    blobs = [None if text is not None else kind for text, kind in zip(texts, kinds, strict=True)]
    marks = [0 if text is not None else hash(head) for text, head in zip(texts, heads, strict=True)]
    return Texts(pa.array(texts, pa.string()), pa.array(blobs, pa.string()), np.array(marks, np.int64))
