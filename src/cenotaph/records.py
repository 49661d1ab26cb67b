"""One row as bytes, its digest, and the chunks that digests are gathered in (spec/record.md).

Every record is encoded at least three times in its last days (seal, challenge, destroy), so no
value becomes a Python object here: each column turns into pieces, Arrow arrays of bytes that are
joined row by row in one pass. What a value encodes to depends on the value and its type alone,
never on the batch it came in, its offset in it, or how Arrow happened to lay it out.
"""

from __future__ import annotations

import builtins
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cenotaph import kernel
from cenotaph.arrow import union_places
from cenotaph.errors import PermanentStoreError

Digests: TypeAlias = npt.NDArray[np.uint8]
"""A row of 32 bytes for each."""
Longs: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

CHUNK_RECORDS: Final = 4096
DIGEST_BYTES: Final = 32
KEY_BYTES: Final = 64  # one block of SHA-256, so that the state after it is computed once
MAX_DEPTH: Final = 64  # types inside one another


class Tagged(pa.ExtensionType):  # type: ignore[misc]  # pyarrow has no type information
    """Bytes that only their own store can read: `Tagged("sqlite:text")` over binary storage.

    For what no common type holds without loss: text that is not UTF-8, zero dates, jsonb. Works
    inside unions, lists and structs too.
    """

    def __init__(self, tag: str) -> None:
        if not _TAG.fullmatch(tag):
            raise ValueError("a store's tag is its scheme, a colon and a name, in at most 255 bytes of ASCII")
        self.tag = tag
        super().__init__(pa.large_binary(), "cenotaph.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return self.tag.encode("ascii")

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Tagged:
        return cls(serialized.decode("ascii"))

    def array(self, values: pa.Array | Sequence[bytes | None]) -> pa.Array:
        """These values, tagged."""
        storage = values if isinstance(values, pa.Array) else pa.array(values, pa.large_binary())
        return pa.ExtensionArray.from_storage(self, storage.cast(pa.large_binary()))


def record_key(case_key: bytes, store: str, collection: str) -> bytes:
    """The key of one collection's record digests: HKDF-Expand (RFC 5869, section 2.3) of the case key.

    Raises:
        ValueError: the case key is shorter than 32 bytes, or a name longer than 65,535.
    """
    if len(case_key) < 32:
        raise ValueError("a case key has at least 32 bytes")
    info = b"cenotaph/v1 record" + _name(store) + _name(collection)
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(case_key)


class Digester:
    """Record digests under one collection's key: SHA-256(key ‖ row encoding).

    By the kernel where there is one; else from `encode`, which the kernel is tested against.
    """

    def __init__(self, key: bytes, by: kernel.Kernel | None = None) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a record key has {KEY_BYTES} bytes")
        self._key = key
        self._kernel = by or kernel.found()

    def digests(self, batch: pa.RecordBatch) -> tuple[Digests, Longs]:
        """The digest of each row, in the batch's order, and the length of its encoding.

        Raises:
            PermanentStoreError: as `encode`.
        """
        digests = np.empty((batch.num_rows, DIGEST_BYTES), np.uint8), np.empty(batch.num_rows, np.int64)
        self.write(batch, *digests)
        return digests

    def write(self, batch: pa.RecordBatch, digests: Digests, lengths: Longs) -> None:
        """As `digests`, to where there is room for them: memory that is new costs as much as hashing.

        Raises:
            PermanentStoreError: as `encode`.
        """
        if self._kernel is None:
            digests[:], lengths[:] = reference_digests(self._key, batch)
            return
        columns = [_column(each) for each in batch.columns]
        self._kernel.digests(self._key, columns, batch.num_rows, digests, lengths)


def reference_digests(key: bytes, batch: pa.RecordBatch) -> tuple[Digests, Longs]:
    """As `Digester.digests`, without a kernel."""
    encoded, offsets = encode(batch)
    whole = bytes(encoded)  # slices of bytes are cheaper than slices of a memoryview
    copy, digests, start = hashlib.sha256(key).copy, [], 0
    for end in offsets[1:].tolist():
        row = copy()
        row.update(whole[start:end])
        digests.append(row.digest())
        start = end
    return as_digests(b"".join(digests)), np.diff(offsets)


def as_digests(whole: bytes) -> Digests:
    """Digests that follow each other, one a row."""
    return np.frombuffer(whole, np.uint8).reshape(-1, DIGEST_BYTES)


def ascending(digests: Digests) -> Longs:
    """The order of digests by their bytes.

    Their first eight decide nearly always; ties take the long way.
    """
    words = np.ascontiguousarray(digests).view(">u8")
    firsts = words[:, 0].astype(np.uint64)
    order = np.argsort(firsts, kind="stable")
    if (np.diff(firsts[order]) == 0).any():
        order = np.lexsort([words[:, i].astype(np.uint64) for i in (3, 2, 1, 0)])
    return order


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next at most `CHUNK_RECORDS` records of a partition."""

    records: int
    bytes: int  # of their encodings
    hash: builtins.bytes


class Chunker:
    """Gathers digests into chunks, in the order given. Several chunks are hashed at a time."""

    def __init__(self, by: kernel.Kernel | None = None) -> None:
        self._kernel = by or kernel.found()
        self._digests = np.empty((0, DIGEST_BYTES), np.uint8)
        self._lengths = np.empty(0, np.int64)
        self._count = 0

    def add(self, digests: Digests, lengths: Longs) -> list[Chunk]:
        """Take the next digests, and give chunks that are done: those that were completed some time ago."""
        into = self.room(len(digests))
        into[0][:], into[1][:] = digests, lengths
        return self.filled(len(digests))

    def room(self, count: int) -> tuple[Digests, Longs]:
        """Where the next digests and lengths may be written, before `filled` takes them."""
        end = self._count + count
        if end > len(self._digests):
            self._digests, digests = np.empty((end + _GATHERED, DIGEST_BYTES), np.uint8), self._digests
            self._lengths, lengths = np.empty(end + _GATHERED, np.int64), self._lengths
            self._digests[: self._count] = digests[: self._count]
            self._lengths[: self._count] = lengths[: self._count]
        return self._digests[self._count : end], self._lengths[self._count : end]

    def filled(self, count: int) -> list[Chunk]:
        """Take the digests that `room` was made for; what it gives is what `add` gives."""
        self._count += count
        return self._hashed(self._count - self._count % CHUNK_RECORDS) if self._count >= _GATHERED else []

    def finish(self) -> list[Chunk]:
        """The chunks that were not given yet, the last of them whole or not: a partition's end is its end."""
        return self._hashed(self._count)

    def _hashed(self, count: int) -> list[Chunk]:
        """The chunks of the first so many digests, which are let go."""
        starts = range(0, count, CHUNK_RECORDS)
        if not starts:
            return []
        digests = self._digests[:count]
        records = [min(CHUNK_RECORDS, count - start) for start in starts]
        lengths = np.add.reduceat(self._lengths[:count], starts).tolist()
        if self._kernel is not None:
            hashes = self._kernel.chunks(digests, records, lengths)
        else:
            parts = (digests[start : start + CHUNK_RECORDS].tobytes() for start in starts)
            hashes = [chunk_hash([part], length) for part, length in zip(parts, lengths, strict=True)]
        rest = slice(count, self._count)
        self._count -= count
        self._digests[: self._count] = self._digests[rest]
        self._lengths[: self._count] = self._lengths[rest]
        return [Chunk(*each) for each in zip(records, lengths, hashes, strict=True)]


def chunk_hash(digests: Iterable[bytes], total_bytes: int) -> bytes:
    """Commit to a multiset of record digests and the length of their encodings together.

    Each digest counts as often as it occurs, so that neither repeating nor dropping a record leaves
    the hash as it was.
    """
    table = as_digests(b"".join(digests))
    commitment = hashlib.sha256(b"cenotaph/v1 chunk\0")
    commitment.update(len(table).to_bytes(4, "big") + total_bytes.to_bytes(8, "big"))
    commitment.update(table[ascending(table)].tobytes())
    return commitment.digest()


def encode(batch: pa.RecordBatch) -> tuple[memoryview, Longs]:
    """The canonical encoding of each row: row i is the bytes from offsets[i] to offsets[i + 1].

    Raises:
        PermanentStoreError: a column's type has no encoding, or a value is longer than 4 GiB.
    """
    cells = [_fixed(None, _counted_head(_LIST, batch.num_columns))]
    for column in batch.columns:
        cells += _cells(column, 0)
    joined = _join(cells, batch.num_rows)
    buffer, offsets = joined.buffers()[2], _offsets(joined)
    return memoryview(b"" if buffer is None else buffer)[: offsets[-1]], offsets


_GATHERED: Final = 16 * CHUNK_RECORDS  # as many chunks as the kernel hashes side by side
_TAG: Final = re.compile(r"(?=.{3,255}\Z)[a-z][a-z0-9+.-]*:[\x20-\x7e]+", re.ASCII)
_NULL, _FALSE, _FLOAT = 0x00, 0x01, 0x03
_INT, _DATE, _INSTANT, _TIMESTAMP = 0x08, 0x10, 0x18, 0x20  # and one more for each byte beyond one
_TEXT, _BINARY, _DECIMAL, _LIST, _STRUCT, _STORE = 0x40, 0x60, 0x80, 0xA0, 0xC0, 0xE0  # and a count
_SHORT, _MOST = 27, 0xFFFF_FFFF  # counts that are added to a head, and all others, which follow it
_BEYOND: Final = (_SHORT, 0xFF, 0xFFFF)  # in another byte, in two, in four
_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NANOSECONDS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_PLAIN_DECIMAL_SCALE: Final = 6  # up to here Arrow's own text of a decimal never has an exponent


def _name(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > 0xFFFF:
        raise ValueError("the name of a store or collection is longer than 65,535 bytes")
    return len(encoded).to_bytes(2, "big") + encoded


# --- Columns for the kernel -------------------------------------------------------------------


def _column(array: pa.Array) -> kernel.Column:
    """The column as the kernel reads it: from Arrow's own memory, or, for the rarer types, from cells."""
    kind, types = array.type, pa.types
    if isinstance(kind, Tagged):
        return kernel.octets(array.storage, bytes([_STORE]) + _tag_name(kind.tag))
    if isinstance(kind, pa.BaseExtensionType):
        return _column(array.storage)
    if types.is_dictionary(kind):
        entries = array.dictionary
        return kernel.taken(array.indices, _join(_cells(entries, 0), len(entries)))
    if types.is_null(kind):
        return kernel.nothing()
    if types.is_integer(kind):
        return kernel.integers(array, _INT)
    if types.is_boolean(kind):
        return kernel.bits(array, _FALSE)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return kernel.octets(array, bytes([_TEXT]))
    if _is_binary(kind):
        return kernel.octets(array, bytes([_BINARY]))
    return _number_column(array)


def _number_column(array: pa.Array) -> kernel.Column:
    kind, types = array.type, pa.types
    if types.is_float64(kind):
        return kernel.numbers(array, bytes([_FLOAT]))
    if types.is_date32(kind):
        return kernel.integers(array, _DATE)
    if types.is_timestamp(kind) and kind.unit == "us":
        return kernel.integers(array, _TIMESTAMP if kind.tz is None else _INSTANT)
    if types.is_float32(kind):
        return kernel.numbers(array, _tagged_head("float32", 4))
    if types.is_float16(kind):
        return kernel.numbers(array, _tagged_head("float16", 2))
    if types.is_duration(kind):
        return kernel.numbers(array, _tagged_head(f"duration[{kind.unit}]", 8))
    return kernel.cells(_join(_cells(array, 0), len(array)))


# --- Cells: a column's encoded values ---------------------------------------------------------


class _Fixed(NamedTuple):
    """Pieces of one width: a head, constants and big-endian numbers side by side. Nulls are one 0."""

    parts: tuple[_Part, ...]
    valid: Bools | None


_Cells: TypeAlias = "list[_Fixed | pa.Array]"
"""Encoded values: for each row, the bytes of its pieces one after the other. An array is of large_binary, and
its nulls are empty."""


def _cells(array: pa.Array, depth: int) -> _Cells:
    kind, types = array.type, pa.types
    if depth > MAX_DEPTH:
        raise PermanentStoreError(f"records have types nested more than {MAX_DEPTH} deep")
    if isinstance(kind, Tagged):
        return _tagged(kind.tag, array.storage)
    if isinstance(kind, pa.BaseExtensionType):
        return _cells(array.storage, depth + 1)
    if types.is_dictionary(kind):
        return _dictionary(array, depth)
    if types.is_run_end_encoded(kind):
        return _cells(pc.run_end_decode(array), depth + 1)
    if types.is_union(kind):
        return _union(array, depth)
    if types.is_struct(kind):
        return _struct(array, depth)
    if types.is_nested(kind):
        return _list(array, depth)
    return _scalars(array)


def _scalars(array: pa.Array) -> _Cells:
    kind, types = array.type, pa.types
    if types.is_null(kind):
        return [_fixed(None, _NULL)]
    if types.is_integer(kind):
        return _integers(array)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _bytes(_TEXT, array)
    if _is_binary(kind):
        return _bytes(_BINARY, array)
    if types.is_boolean(kind):
        return [_fixed(_valid(array), _Number(">u1", _FALSE + _numbers(array).view(np.uint8)))]
    if types.is_decimal(kind):
        return _bytes(_DECIMAL, _decimal_text(array))
    if types.is_float64(kind):
        return [_fixed(_valid(array), _FLOAT, _Number(">f8", _numbers(array)))]
    if types.is_date(kind):
        return _dates(array)
    if types.is_timestamp(kind):
        return _timestamps(array)
    return _store_scalars(array)


def _store_scalars(array: pa.Array) -> _Cells:
    """Types whose values are not the same in every store, under tags of Arrow's own."""
    kind, types, valid = array.type, pa.types, _valid(array)
    if types.is_float32(kind):
        return _tagged_parts("float32", valid, _Number(">f4", _numbers(array)))
    if types.is_float16(kind):
        return _tagged_parts("float16", valid, _Number(">f2", _numbers(array)))
    if types.is_time(kind):
        ticks = _numbers(array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())).astype(np.int64)
        return _tagged_parts("time", valid, _Number(">i8", ticks * _NANOSECONDS[kind.unit]))
    if types.is_duration(kind):
        return _tagged_parts(
            f"duration[{kind.unit}]", valid, _Number(">i8", _numbers(array.cast(pa.int64())))
        )
    if types.is_interval(kind):
        return _tagged_parts("interval", valid, *_intervals(array))
    raise PermanentStoreError(f"records hold values of Arrow type {kind}, which have no canonical encoding")


def _integers(array: pa.Array) -> _Cells:
    numbers = _numbers(array)
    if numbers.dtype != np.uint64:
        return _shortest(_INT, numbers, _valid(array))
    cells = _shortest(_INT, numbers.view(np.int64), _valid(array))
    too_large = numbers > np.uint64(2**63 - 1)
    return _where(too_large, lambda: _bytes(_DECIMAL, array.cast(pa.string())), cells)


def _dates(array: pa.Array) -> _Cells:
    valid = _valid(array)
    if array.type.bit_width == 32:
        return _shortest(_DATE, _numbers(array.cast(pa.int32())), valid)
    milliseconds = _numbers(array.cast(pa.int64()))
    days, rest = np.divmod(milliseconds, 86_400_000)
    odd = (rest != 0) | (days != days.astype(np.int32))
    cells = _shortest(_DATE, days.astype(np.int32), valid)
    return _where(odd, lambda: _tagged_parts("date64", valid, _Number(">i8", milliseconds)), cells)


def _timestamps(array: pa.Array) -> _Cells:
    """Microseconds where a value is a whole number of them that fits; else its own unit, tagged."""
    unit, zoned = array.type.unit, bytes([array.type.tz is not None])
    first = _TIMESTAMP if array.type.tz is None else _INSTANT
    ticks, valid = _numbers(array.cast(pa.int64())), _valid(array)
    if unit == "us":
        return _shortest(first, ticks, valid)
    if unit == "ns":
        microseconds, rest = np.divmod(ticks, 1_000)
        odd = rest != 0
    else:
        microseconds = ticks * _MICROSECONDS[unit]
        odd = microseconds // _MICROSECONDS[unit] != ticks
    cells = _shortest(first, microseconds, valid)
    return _where(
        odd, lambda: _tagged_parts(f"timestamp[{unit}]", valid, _Number(">i8", ticks), zoned), cells
    )


def _intervals(array: pa.Array) -> Iterator[_Number]:
    layout = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
    raw = array.buffers()[1]
    parts = np.frombuffer(b"" if raw is None else raw, layout, len(array), array.offset * layout.itemsize)
    for name, wide in (("months", ">i4"), ("days", ">i4"), ("nanoseconds", ">i8")):
        yield _Number(wide, parts[name])


def _bytes(first: int, array: pa.Array) -> _Cells:
    values = array.cast(pa.large_binary())
    return [_counted(first, _numbers(pc.binary_length(values)), _valid(array)), values]


def _tagged(tag: str, storage: pa.Array) -> _Cells:
    name = pa.scalar(_tag_name(tag), pa.large_binary())
    return _bytes(
        _STORE, pc.binary_join_element_wise(name, storage.cast(pa.large_binary()), _NOTHING)
    )  # null where a value is


def _tagged_parts(tag: str, valid: Bools | None, *parts: _Part) -> _Cells:
    return [_fixed(valid, _tagged_head(tag, sum(map(_width, parts))), *parts)]


def _tagged_head(tag: str, size: int) -> bytes:
    name = _tag_name(tag)
    return _counted_head(_STORE, len(name) + size) + name


def _tag_name(tag: str) -> bytes:
    return bytes([len(tag)]) + tag.encode("ascii")


def _decimal_text(array: pa.Array) -> pa.Array:
    """Digits with neither exponent nor trailing zeros after the point: 12.50 is 12.5, 0.0 is 0."""
    scale = array.type.scale
    if not 0 <= scale <= _PLAIN_DECIMAL_SCALE or array.type.bit_width < 128:
        return pa.array([_plain_decimal(value) for value in array.to_pylist()], pa.string())
    text = array.cast(pa.string())
    return pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".") if scale else text


def _plain_decimal(value: Decimal | None) -> str | None:
    if value is None:
        return None
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# --- Nested types -----------------------------------------------------------------------------


def _list(array: pa.Array, depth: int) -> _Cells:
    """Lists of any layout; a map is a list of structs of key and item."""
    types, valid = pa.types, _valid(array)
    if types.is_list_view(array.type) or types.is_large_list_view(array.type):
        items, bounds = _viewed(array, valid, depth)
    else:
        values, bounds = _listed(array)
        items = _join(_cells(values, depth + 1), len(values))
    counts = np.diff(bounds)
    header = _counted(_LIST, counts if valid is None else np.where(valid, counts, 0), valid)
    return [header, _payload(_offsets(items)[bounds], items.buffers()[2], valid)]


def _listed(array: pa.Array) -> tuple[pa.Array, Longs]:
    """The items that the lists reach, and where each list begins and ends in them."""
    if pa.types.is_fixed_size_list(array.type):
        bounds = (np.arange(len(array) + 1, dtype=np.int64) + array.offset) * array.type.list_size
    else:
        bounds = _numbers(array.offsets).astype(np.int64)
    if pa.types.is_map(array.type):
        values = pa.StructArray.from_arrays([array.keys, array.items], ["key", "item"])
    else:
        values = array.values
    first, last = int(bounds[0]), int(bounds[-1])
    return values.slice(first, last - first), bounds - first


def _viewed(array: pa.Array, valid: Bools | None, depth: int) -> tuple[pa.Array, Longs]:
    """Views may overlap and come in any order: their cells are gathered one list after the other."""
    sizes, starts = (_numbers(part).astype(np.int64) for part in (array.sizes, array.offsets))
    if valid is not None:
        sizes = np.where(valid, sizes, 0)
    bounds = np.zeros(len(array) + 1, dtype=np.int64)
    np.cumsum(sizes, out=bounds[1:])
    index = np.repeat(starts - bounds[:-1], sizes) + np.arange(bounds[-1])
    return _reached(array.values, index, depth), bounds


def _reached(values: pa.Array, index: Longs, depth: int) -> pa.Array:
    """The cells of the values at these places. Cells are taken, since not every Arrow type can be."""
    first, last = (int(index.min()), int(index.max()) + 1) if len(index) else (0, 0)
    cells = _join(_cells(values.slice(first, last - first), depth + 1), last - first)
    return cells.take(pa.array(index - first))


def _struct(array: pa.Array, depth: int) -> _Cells:
    fields = array.type.num_fields
    header = _fixed(_valid(array), _counted_head(_STRUCT, fields))
    if not fields:
        return [header]
    joined = _join([piece for i in range(fields) for piece in _cells(array.field(i), depth + 1)], len(array))
    return [header, _payload(_offsets(joined), joined.buffers()[2], _valid(array))]


def _payload(ends: Longs, data: pa.Buffer, valid: Bools | None) -> pa.LargeBinaryArray:
    """Payloads that lie one after the other in `data`; what lies under a null is left out."""
    lengths = np.diff(ends)
    bitmap = None
    if valid is not None:
        lengths = np.where(valid, lengths, 0)
        bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(lengths), [bitmap, pa.py_buffer(ends), data]
    )


def _union(array: pa.Array, depth: int) -> _Cells:
    """Each value by its own type: a column of loose types encodes like columns of strict ones."""
    parts, index, base = [], np.zeros(len(array), dtype=np.int64), 0
    for child, rows, places in union_places(array):
        parts.append(_reached(child, places, depth))
        index[rows] = base + np.arange(len(rows))
        base += len(rows)
    return [pa.concat_arrays(parts).take(pa.array(index)) if parts else _fixed(None, _NULL)]


def _dictionary(array: pa.Array, depth: int) -> _Cells:
    entries = _join(_cells(array.dictionary, depth + 1), len(array.dictionary))
    with_null = pa.concat_arrays([entries, pa.array([b"\0"], pa.large_binary())])
    indices = _numbers(pc.fill_null(array.indices.cast(pa.int64()), len(entries)))
    return [with_null.take(pa.array(indices))]


def _where(chosen: Bools, these: Callable[[], _Cells], those: _Cells) -> _Cells:
    """The rare cells where chosen, the common ones elsewhere; the rare are made only if needed."""
    if not chosen.any():
        return those
    rows = len(chosen)
    return [pc.if_else(pa.array(chosen), _join(these(), rows), _join(those, rows))]


# --- Arrow and numpy --------------------------------------------------------------------------


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def _valid(array: pa.Array) -> Bools | None:
    """None where there is no null."""
    if not array.null_count:
        return None
    valid: Bools = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    """As numpy, with something harmless under the nulls."""
    filled = (
        pc.fill_null(array, False if pa.types.is_boolean(array.type) else 0) if array.null_count else array
    )
    numbers: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return numbers


# --- Joining ----------------------------------------------------------------------------------


class _Number(NamedTuple):
    """Numbers, and the big-endian dtype that they are written in."""

    dtype: str
    values: npt.NDArray[Any]


_Part: TypeAlias = "int | bytes | _Number"  # an int is one byte


def _width(part: _Part) -> int:
    if isinstance(part, _Number):
        return np.dtype(part.dtype).itemsize
    return 1 if isinstance(part, int) else len(part)


def _fixed(valid: Bools | None, *parts: _Part) -> _Fixed:
    """Cells of one width, but for nulls, which are the single byte 0."""
    return _Fixed(parts, valid)


def _shortest(first: int, numbers: npt.NDArray[Any], valid: Bools | None) -> _Cells:
    """Numbers in as few bytes as hold them, behind a head that says how many."""
    wide = numbers.astype(np.int64)
    magnitudes = wide ^ (wide >> 63)
    more = np.zeros(len(wide), np.uint8)
    for bits in range(7, 63, 8):
        more += magnitudes >> bits != 0
    payload = wide.view(np.uint64) << (8 * (7 - more)).astype(np.uint64)
    parts = _Number(">u1", first + more), _Number(">u8", payload)
    return [_ragged(parts, 2 + more.astype(np.int64), valid)]


def _counted(first: int, counts: Longs, valid: Bools | None) -> _Fixed | pa.Array:
    """Heads that say how much follows: with the count in them, or behind them in as few bytes as hold it.

    Raises: PermanentStoreError for what no count is defined for.
    """
    most = int(counts.max(initial=0))
    if most > _MOST:
        raise PermanentStoreError(kernel.TOO_LONG)
    if most <= _SHORT:
        return _fixed(valid, _Number(">u1", first + counts))
    step = np.searchsorted(_BEYOND, counts)  # 0: within the head
    heads = first + np.where(step, _SHORT + step, counts)
    behind = np.array([0, 1, 2, 4])[step]
    payload = counts.astype(np.uint64) << (8 * (4 - behind)).astype(np.uint64)
    return _ragged((_Number(">u1", heads), _Number(">u4", payload)), 1 + behind, valid)


def _counted_head(first: int, count: int) -> bytes:
    """One such head."""
    if count <= _SHORT:
        return bytes([first + count])
    step = int(np.searchsorted(_BEYOND, count))
    return bytes([first + _SHORT + step]) + count.to_bytes((0, 1, 2, 4)[step], "big")


def _join(pieces: _Cells, rows: int) -> pa.Array:
    """One array whose values are the cells of each row, one after the other."""
    written = _written(pieces, rows)
    if len(written) == 1 and not written[0].null_count and not written[0].offset:
        return written[0]
    return pc.binary_join_element_wise(*written, _NOTHING, null_handling="replace", null_replacement="")


_NOTHING: Final = pa.scalar(b"", pa.large_binary())


def _written(pieces: _Cells, rows: int) -> list[pa.Array]:
    """All pieces as arrays; neighbours of fixed width become one, since a join costs by the piece."""
    written: list[pa.Array] = []
    waiting: list[_Part] = []
    for piece in pieces:
        if isinstance(piece, _Fixed) and piece.valid is None:
            waiting += piece.parts
            continue
        if waiting:
            written.append(_write(_Fixed(tuple(waiting), None), rows))
            waiting = []
        written.append(_write(piece, rows) if isinstance(piece, _Fixed) else piece)
    return [*written, _write(_Fixed(tuple(waiting), None), rows)] if waiting else written


def _write(piece: _Fixed, rows: int) -> pa.Array:
    width, valid = sum(map(_width, piece.parts)), piece.valid
    if valid is not None and width > 1:
        return _ragged(piece.parts, np.full(rows, width), valid)
    data = _matrix(piece.parts, rows, width)
    if valid is not None:
        data[~valid] = _NULL
    return _large_binary(np.arange(0, (rows + 1) * width, width, dtype=np.int64), data)


def _ragged(parts: Sequence[_Part], lengths: Longs, valid: Bools | None) -> pa.Array:
    """Of each row so many bytes of its parts, but of nulls the single byte 0."""
    rows, width = len(lengths), sum(map(_width, parts))
    data = _matrix(parts, rows, width)
    if valid is not None:
        data[~valid, 0] = _NULL
        lengths = np.where(valid, lengths, 1)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return _large_binary(offsets, data[np.arange(width) < lengths[:, np.newaxis]])


def _large_binary(offsets: Longs, data: npt.NDArray[np.uint8]) -> pa.LargeBinaryArray:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _matrix(parts: Iterable[_Part], rows: int, width: int) -> npt.NDArray[np.uint8]:
    matrix, at = np.empty((rows, width), dtype=np.uint8), 0
    for part in parts:
        end = at + _width(part)
        if isinstance(part, _Number) and rows:  # one strided pass that converts, swaps and stores
            np.ndarray((rows,), part.dtype, matrix, at, (width,))[:] = part.values
        elif isinstance(part, bytes):
            matrix[:, at:end] = np.frombuffer(part, np.uint8)
        elif isinstance(part, int):
            matrix[:, at] = part
        at = end
    return matrix


def _offsets(array: pa.Array) -> Longs:
    return np.frombuffer(array.buffers()[1], np.int64, len(array) + 1)
