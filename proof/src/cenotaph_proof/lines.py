"""Lines of a proof file that may be larger than memory: read once for their form, again when asked for.

Of the first reading only places stay. What is read again is checked again, so that a file that changes in
between is refused or judged as it now is; nobody is shown what was not checked.
"""

from __future__ import annotations

import operator
import os
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, Generic, TypeVar, overload

from cenotaph_proof.envelope import decode_base64
from cenotaph_proof.errors import FormatError

T = TypeVar("T")


class Part(Sequence[T], Generic[T]):
    """A run of lines, each read by `read` when it is asked for. The stream must stay open."""

    def __init__(self, stream: BinaryIO, places: array[int], read: Callable[[bytes], T]) -> None:
        self._stream = stream
        self._places = places  # where each line starts, and where the last one ends
        self._read = read
        self._file = _descriptor(stream)

    def __len__(self) -> int:
        return len(self._places) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(self[n] for n in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError("no such line")
        number = index % len(self)
        start, end = self._places[number], self._places[number + 1]
        return self._read(self._bytes(start, end - start))

    def _bytes(self, start: int, size: int) -> bytes:
        if self._file is not None:
            return os.pread(self._file, size, start)  # moves nothing: other processes may read as well
        self._stream.seek(start)
        return self._stream.read(size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # a sequence that compares by content, as a list does


class Parts(Mapping[str, T], Generic[T]):
    """A run of lines by the names that their first reading gave them."""

    def __init__(self, names: Sequence[str], part: Part[T]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self._part = part

    def __getitem__(self, name: str) -> T:
        return self._part[self._numbers[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


class Reader:
    """The first reading, line by line, of at most `most` bytes. Takes a stream that cannot seek as well."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._most = most
        self._stream = stream if stream.seekable() else _spooled(stream, most)
        self._start = self._at = self._stream.tell()

    def line(self, longest: int) -> bytes:
        """The next line with its line feed, or nothing at the end.

        Raises: FormatError when it has more than `longest` bytes, or no line feed, or the file is too large.
        """
        data = self._stream.readline(longest + 1)
        self._at += len(data)
        if data and (not data.endswith(b"\n") or len(data) > longest):
            raise FormatError("the proof file is cut off, or too large")
        if self._at - self._start > self._most:
            raise FormatError(f"the proof file has more than {self._most} bytes")
        return data

    def part(
        self,
        what: str,
        count: int,
        longest: int,
        read: Callable[[bytes], T],
        see: Callable[[T], None] = lambda _: None,
    ) -> Part[T]:
        """The next `count` lines, each shown to `see` once. Raises: FormatError naming the line."""
        places = array("Q", [self._at])
        for number in range(count):
            data = self.line(longest)
            if not data:
                raise FormatError(f"{what} {number + 1} of {count} is missing from the proof file")
            try:
                see(read(data))
            except FormatError as error:
                error.message = f"{what} {number + 1} of {count} is missing or malformed: {error.message}"
                error.args = (error.message,)
                raise
            places.append(self._at)
        return Part(self._stream, places, read)


def base64_line(key: str, longest: int) -> Callable[[bytes], bytes]:
    """Reads a line `{"key":"BASE64"}` of at most `longest` bytes, strictly, without a JSON parser."""
    head, tail = b'{"%b":"' % key.encode(), b'"}\n'

    def read(line: bytes) -> bytes:
        if not line.startswith(head) or not line.endswith(tail):
            raise FormatError(f"the line holds no {key}")
        data = decode_base64(line[len(head) : -len(tail)].decode("ascii", "replace"))
        if len(data) > longest:
            raise FormatError(f"a line holds {len(data)} bytes; at most {longest} are read")
        return data

    return read


def base64_length(longest: int) -> int:
    """How long a line with so many bytes in base64 can be: with its key, and room."""
    return -(-longest // 3) * 4 + 64


def _descriptor(stream: BinaryIO) -> int | None:
    """The file beneath a stream, where there is one and the system reads at an offset."""
    try:
        return stream.fileno() if hasattr(os, "pread") else None
    except OSError:  # io.UnsupportedOperation: bytes in memory
        return None


def _spooled(stream: BinaryIO, most: int) -> BinaryIO:
    """A copy of a stream that cannot seek, in a file that is gone when it is closed."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as what is read from it
    left = most + 1
    while left > 0 and (data := stream.read(min(left, 1 << 20))):
        left -= copy.write(data)
    copy.seek(0)
    return copy
