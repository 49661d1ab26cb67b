"""What pyarrow does not say, or says wrongly, about its own arrays, and what it does not check.

An IPC file's offsets, sizes and dictionary indices are taken as they stand: a damaged one makes the first
computation read outside its memory and ends the process (Arrow's security page, "Advice for Users"). What a
compressed buffer says that it decodes to is allocated, and zeros compress ten thousand times.
`UnionArray.type_codes` and `.offsets` of a slice begin at the start of the whole array (pyarrow 26):
read through them, the last rows of a batch take the types and values of its first rows.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def union_places(
    array: pa.Array,
) -> Iterator[tuple[pa.Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """For each child of a union: the child, the rows that it holds, and where in it they are."""
    start, end = array.offset, array.offset + len(array)
    buffers = array.buffers()
    codes = np.frombuffer(buffers[1] or b"", np.int8)[start:end]
    if array.type.mode == "dense":
        places = np.frombuffer(buffers[2] or b"", np.int32)[start:end].astype(np.int64)
    else:
        places = np.arange(len(array), dtype=np.int64)
    for i, code in enumerate(array.type.type_codes):
        rows = np.flatnonzero(codes == code)
        yield array.field(i), rows, places[rows]


def sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, once every offset, index and text in it has been looked at.

    Needed for all that is read from an IPC file or stream, before anything is computed. Raises
    `pyarrow.ArrowInvalid`.
    """
    batch.validate(full=True)
    return batch


class Bytes(Protocol):
    """A stream of bytes that can be sought in."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...

    def tell(self) -> int: ...


class TooLargeError(ValueError):
    """A file decodes to more than is read of one."""


def check_sizes(file: Bytes) -> None:
    """Check that no batch of an IPC file or stream decodes to more than is read of one of its size.

    Needed before pyarrow opens it. Leaves the file anywhere. Raises:
        TooLargeError: one does.
        ValueError: its messages cannot be followed.
    """
    most = max(_LEAST, _RATIO * file.seek(0, os.SEEK_END))
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        _, why = sound_bytes(file, most)
        if why is not None:
            raise why
        return
    try:
        for message in _named(file):
            _check(file, message, most)
    except struct.error:
        raise ValueError(_ASTRAY) from None


def sound_bytes(stream: Bytes, most: int) -> tuple[int, ValueError | None]:
    """How far an IPC stream has no batch of more than `most` bytes once it is decoded, and why no farther.

    Needed before pyarrow reads it, and then no farther than this. Leaves the stream anywhere.
    """
    at = 0
    try:
        while (message := _message(stream, at)) is not None:
            _check(stream, message, most)
            at = message.end
    except struct.error:
        return at, ValueError(_ASTRAY)
    except TooLargeError as error:
        return at, error
    return stream.tell(), None


_MAGIC = b"ARROW1"
_LEAST, _RATIO = (
    1 << 30,
    32,
)  # decoded bytes of a batch: this much of any file, or so many for each of its bytes
_ASTRAY = "the messages of an Arrow file cannot be followed"
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_MOST_METADATA = 64 << 20
_EXPERIMENTAL = b"ARROW:experimental_compression"  # how versions before 1.0 said that buffers are compressed


@dataclass(frozen=True, slots=True)
class _Message:
    """An encapsulated message: its metadata, where its body begins, and how long that says to be."""

    about: _Table
    start: int
    body: int

    @property
    def end(self) -> int:
        return self.start + self.body


class _Table:
    """A table of FlatBuffers: fields by their number. Raises struct.error outside of its bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        if at < 0:
            raise struct.error
        self.data, self._at = data, at

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, *struct.unpack_from("<I", data))

    def number(self, field: int, form: str) -> int:
        at = self.place(field)
        return int(struct.unpack_from(form, self.data, at)[0]) if at else 0

    def table(self, field: int) -> _Table | None:
        at = self.place(field)
        return _Table(self.data, at + struct.unpack_from("<I", self.data, at)[0]) if at else None

    def structs(self, field: int, size: int) -> Iterator[int]:
        """Where each struct of a vector begins."""
        at = self.place(field)
        if at:
            at += struct.unpack_from("<I", self.data, at)[0]
            count = struct.unpack_from("<I", self.data, at)[0]
            yield from range(at + 4, at + 4 + size * count, size)

    def place(self, field: int) -> int:
        """Where the value of a field lies; 0 where the table has none."""
        table = self._at - struct.unpack_from("<i", self.data, self._at)[0]
        if table < 0:
            raise struct.error
        if 4 + 2 * field >= struct.unpack_from("<H", self.data, table)[0]:
            return 0
        offset = struct.unpack_from("<H", self.data, table + 4 + 2 * field)[0]
        return self._at + offset if offset else 0


def _named(file: Bytes) -> Iterator[_Message]:
    """The messages that the footer of a file names."""
    end = file.seek(0, 2)
    file.seek(max(0, end - 10))
    length = struct.unpack("<i6s", file.read(10))[0]
    if not 0 < length <= min(_MOST_METADATA, end - 10):
        raise struct.error
    file.seek(end - 10 - length)
    footer = _Table.root(file.read(length))
    for field in (2, 3):  # dictionaries, record batches
        for at in footer.structs(field, 24):
            offset, size = struct.unpack_from("<qi", footer.data, at)
            found = _message(file, offset) if offset < end else None
            if found is None or found.start != offset + size:
                raise struct.error
            yield found


def _message(stream: Bytes, at: int) -> _Message | None:
    """The message that begins here; None at the end of the stream."""
    if at < 0:
        raise struct.error
    stream.seek(at)
    head = stream.read(8)
    if len(head) < 4 or head[:4] == bytes(4):
        return None
    whole = head[:4] == b"\xff\xff\xff\xff"  # written before version 0.15, it has the length alone
    length = struct.unpack_from("<i", head, 4 if whole else 0)[0]
    if length == 0:
        return None
    if not 0 < length <= _MOST_METADATA:
        raise struct.error
    start = at + (8 if whole else 4)
    stream.seek(start)
    about = _Table.root(stream.read(length))
    body = about.number(3, "<q")
    if body < 0:
        raise struct.error
    return _Message(about, start + length, body)


def _check(stream: Bytes, message: _Message, most: int) -> None:
    if max(message.body, _decoded(stream, message)) > most:
        raise TooLargeError("an Arrow batch is larger than is read")


def _decoded(stream: Bytes, message: _Message) -> int:
    """The bytes that the buffers of a message say to decode to; 0 where they lie open."""
    kind, batch = message.about.number(1, "<B"), message.about.table(2)
    if kind == _DICTIONARY_BATCH and batch is not None:
        batch = batch.table(1)
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH) or batch is None:
        return 0  # a schema; pyarrow refuses any other
    if not batch.place(3) and _EXPERIMENTAL not in message.about.data:
        return 0
    total = 0
    for at in batch.structs(2, 16):
        offset, length = struct.unpack_from("<qq", batch.data, at)
        if length:
            if not 0 <= offset < message.body:
                raise struct.error
            stream.seek(message.start + offset)
            said = struct.unpack("<q", stream.read(8))[0]
            total += length if said == -1 else said
            if said < -1:
                raise struct.error
    return total
