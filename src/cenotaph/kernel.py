"""The kernel, where it is installed: the one file that imports it. What Arrow's arrays are to it.

`cenotaph.records` decides how values are encoded, and computes the same bytes without a kernel, more slowly.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph.errors import PermanentStoreError, UsageError

try:
    import cenotaph_kernel as native
except ImportError as error:
    _missing: ImportError | None = error
else:
    _missing = None

Attribute: TypeAlias = "native.Attribute"
Told: TypeAlias = "native.Told"
Column: TypeAlias = "native.Column"
PageColumn: TypeAlias = "native.PageColumn"

VARIABLE: Final = "CENOTAPH_KERNEL"
OFF: Final = "off"
NOT_EMPTY: Final = 2  # what `fingerprints` says of a value that is neither null nor empty
OTHER, NUMBER = 1, 2  # what `numbers` says of values
INTERFACE: Final = 12  # of the kernel that this was written for


@dataclass(frozen=True, slots=True)
class Kernel:
    """The hot loops in C, on one of the machine's instruction sets."""

    level: native.Level

    def digests(
        self,
        key: bytes,
        columns: Sequence[Column],
        rows: int,
        digests: npt.NDArray[np.uint8],
        lengths: npt.NDArray[np.int64],
    ) -> None:
        """Write the digest of each row, and the length of its encoding.

        Raises:
            PermanentStoreError: a value is too long, or a batch is not sound.
        """
        try:
            native.digest(key, columns, rows, digests, lengths, self.level)
        except native.TooLongError:
            raise PermanentStoreError(TOO_LONG) from None
        except native.MalformedError:
            raise PermanentStoreError("a batch of records has values outside of its memory") from None

    def chunks(
        self, digests: npt.NDArray[np.uint8], records: Sequence[int], lengths: Sequence[int]
    ) -> list[bytes]:
        """The hash of each chunk: of the next so many digests, and so many bytes of encodings."""
        return native.chunks(digests, records, lengths, self.level)

    def pieces(self, octets: Any, stride: int, sizes: Sequence[int]) -> bytes:
        """The SHA-256 of each piece of a file: of the first so many bytes at each multiple of `stride`. The
        128 bytes behind each are written over."""
        return native.pieces(octets, stride, sizes, self.level)

    def fingerprints(
        self, array: pa.Array, key: bytes, person: bytes = b"", *, fold: bool = False
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        """The keyed BLAKE2b of each value, and whether there is one: 0 null, 1 empty, 2 more.

        Of text, bytes and integers; with `fold`, without white space around them and in capitals.
        """
        words, there = np.empty(len(array), np.uint64), np.empty(len(array), np.uint8)
        native.fingerprints(key, person, values(array), len(array), words, there, self.level, fold=fold)
        return words, there

    def numbers(
        self, array: pa.Array, *, fold: bool = False
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        """Each value that is a number, as `cenotaph.residue.sought` keeps it, and whether it is: 0 null or
        empty, 1 something else, 2 a number; with `fold` as `fingerprints`."""
        words, there = np.empty(len(array), np.uint64), np.empty(len(array), np.uint8)
        native.numbers(values(array), len(array), words, there, fold=fold)
        return words, there

    def distinct(
        self,
        words: npt.NDArray[np.uint64],
        secret: int,
        slots: npt.NDArray[np.uint64],
        fresh: npt.NDArray[np.uint64] | None,
    ) -> int:
        """Put words into a table that has slots enough; those that were not there go to `fresh`, if it is
        given. Returns how many they are. 0 is no word."""
        return native.distinct(words, secret, slots, fresh)

    def strange(
        self, columns: Sequence[pa.Array], secrets: npt.NDArray[np.uint64], slots: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int64], int]:
        """The rows that are not in the slots; they are, from now on, but for those that have a long value.
        And how many came to be there."""
        rows = len(columns[0])
        into = np.empty(rows, np.int64)
        given = [values(each) for each in columns]
        made, added = native.strange(given, rows, secrets, slots, into, self.level)
        return into[:made], added

    def forms(
        self,
        array: pa.Array,
        national: pa.Array,
        rows: npt.NDArray[np.int64],
        names: npt.NDArray[np.uint64],
        kind: int,
        secrets: Secrets,
        *,
        from_start: bool,
        postgres: bool,
    ) -> native.Forms:
        """What the values in these rows are searched for as, but for the few that are left to the caller.
        `national` has those that are not ASCII in GB18030."""
        return native.forms(
            secrets.key,
            secrets.person,
            secrets.multipliers,
            kind,
            values(array),
            len(array),
            values(national),
            rows,
            names,
            self.level,
            from_start=from_start,
            postgres=postgres,
        )

    def find_numbers(
        self, index: Index, octets: npt.NDArray[np.uint8], core: int, lead: int
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Where numbers lie in some bytes, in any form: starts, ordinals of hashes, lengths, encodings; in
        pieces, nearly in order."""
        room = native.FOUND_AT_ONCE
        columns = [np.empty(room, kind) for kind in (np.int64, np.uint32, np.uint8, np.uint8)]
        for count in native.find_numbers(index.native(), octets, lead, core, columns, self.level):
            yield tuple(column[:count].copy() for column in columns)

    def candidates(self, walk: Walk, octets: npt.NDArray[np.uint8], core: int) -> npt.NDArray[np.int64]:
        """Where forms may begin before `core`, shifted by 16 bits, and how long they are; in no order, and
        some several times."""
        classes = [native.Windows(*windows) for windows in walk.classes]
        multipliers = walk.secrets.multipliers

        def find(places: npt.NDArray[Any]) -> int:
            return native.candidates(
                walk.bits, walk.marks, walk.shift, multipliers, classes, octets, 0, core, places, self.level
            )

        (places,) = _with_room(find, np.int64, room=_CANDIDATES)
        return places

    def names(
        self,
        secrets: Secrets,
        octets: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.uint64]:
        """The keyed BLAKE2b of parts of some bytes."""
        words = np.empty(len(starts), np.uint64)
        starts, lengths = np.ascontiguousarray(starts), np.ascontiguousarray(lengths)
        native.names(secrets.key, secrets.person, octets, starts, lengths, words, self.level)
        return words

    def find_shapes(
        self, octets: npt.NDArray[np.uint8], core: int, lead: int
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Bytes shaped as a person (`cenotaph.residue.shapes`): starts, words, lengths, encodings; in
        pieces."""
        room = native.SHAPES_AT_ONCE
        columns = [np.empty(room, kind) for kind in (np.int64, np.uint64, np.uint8, np.uint8)]
        for count in native.find_shapes(octets, lead, core, columns, self.level):
            yield tuple(column[:count].copy() for column in columns)

    def find_spelled(
        self, octets: npt.NDArray[np.uint8], lead: int, core: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where values in hexadecimal digits (`cenotaph.residue.hexadecimal`) begin and end, in order."""
        starts, ends = _with_room(
            lambda begin, end: native.find_spelled(octets, lead, core, begin, end, self.level),
            np.int64,
            np.int64,
        )
        return starts, ends

    def find_magics(
        self, octets: npt.NDArray[np.uint8], core: int, magics: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Where below `core` one of these magics begins, and which, in order."""
        places, which = _with_room(
            lambda at, which: native.find_magics(octets, core, magics, at, which, self.level),
            np.int64,
            np.uint8,
        )
        return places, which

    def find_words(self, words: npt.NDArray[Any], mask: int, value: int) -> npt.NDArray[np.int64]:
        """The ordinals of the words, of 4 or 8 bytes, that have this value under a mask."""
        (ordinals,) = _with_room(
            lambda into: native.find_words(words, words.itemsize, mask, value, into, self.level), np.int64
        )
        return ordinals

    def full(self, octets: npt.NDArray[np.uint8], tile: int) -> npt.NDArray[np.bool_]:
        """Which whole tiles of so many bytes, a multiple of 64, are not all zeros."""
        full = np.empty(len(octets) // tile, np.bool_)
        native.full(octets, tile, full.view(np.uint8))
        return full

    def look_up(self, index: Index, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Which of the hashes each of these words has, or -1."""
        ordinals = np.empty(len(words), np.int64)
        native.look_up(index.native(), np.ascontiguousarray(words), ordinals)
        return ordinals

    def copied_rows(
        self, octets: npt.NDArray[np.uint8], first: int, size: int
    ) -> tuple[npt.NDArray[np.int64], int]:
        """Where the messages of a COPY begin that follow each other, as wide as the first; and the end."""
        starts = np.empty((size - first) // _SHORTEST_ROW + 1, np.int64)
        count, end = native.copied_rows(octets, size, first, starts)
        return starts[:count].copy(), end

    def copied_fields(
        self,
        octets: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        fields: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        """By column, where each row's field begins, and its length; None where rows do not have the form."""
        places, lengths = (np.empty((fields, len(starts)), np.int64) for _ in range(2))
        try:
            native.copied_fields(octets, starts, ends, fields, places, lengths)
        except native.MalformedError:
            return None
        return places, lengths

    def field_numbers(
        self,
        octets: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        kind: np.dtype[Any],
    ) -> npt.NDArray[Any] | None:
        """The number in each field, which has the highest byte first; 0 for nulls. None where some field has
        another length."""
        numbers = np.empty(len(places), kind)
        try:
            native.field_numbers(octets, places, lengths, kind.itemsize, numbers)
        except native.MalformedError:
            return None
        return numbers

    def field_octets(
        self, octets: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """The bytes of the fields one after the other, and where each begins and the last one ends.

        Raises: PermanentStoreError for a field outside of the bytes.
        """
        size = int(np.maximum(lengths, 0).sum())
        offsets, data = np.empty(len(places) + 1, np.int32), np.empty(size, np.uint8)
        try:
            native.field_octets(octets, places, lengths, offsets, data)
        except native.MalformedError:
            raise PermanentStoreError("a block of rows has fields outside of its memory") from None
        return offsets, data

    def receive(self, socket: int, room: memoryview, size: int) -> int:
        """As much as there is room for behind the first `size` bytes, or as comes before the other side ends
        or may be waiting; where it ends. Other threads work meanwhile as if it were not there."""
        return native.receive(socket, room, size)

    def page(self, column: PageColumn, row: int, data: Any, count: int, *, indexed: bool) -> int | None:
        """Put the values of a page of a Parquet file behind the first `row` of its column; how many are null.
        None where the page is not as the kernel knows them."""
        try:
            return native.page(column, row, data, count, indexed=indexed)
        except native.MalformedError:
            return None

    def page_rows(self, octets: npt.NDArray[np.uint8], page: int) -> PageRows | None:
        """The rows of these pages that are not surely gone; None where a page contradicts itself."""
        most = len(octets) // 4
        starts, ends, asked = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint8)
        try:
            count = native.page_rows(octets, page, starts, ends, asked)
        except native.MalformedError:
            return None
        return PageRows(starts[:count].copy(), ends[:count].copy(), asked[:count].copy())

    def page_values(
        self,
        octets: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        attributes: Sequence[Attribute],
    ) -> list[Told] | None:
        """Write the values of these rows where the attributes say; None where a row does not have them."""
        try:
            return native.page_values(octets, starts, ends, attributes)
        except native.MalformedError:
            return None

    def wrong_sums(self, octets: npt.NDArray[np.uint8], page: int, first: int) -> int:
        """How many pages have another checksum than they say."""
        return native.wrong_sums(octets, page, first, self.level)

    def unpacked(self, packed: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8] | None:
        """What PostgreSQL packed, of this size; None where it is no such stream."""
        into = np.empty(size, np.uint8)
        try:
            native.unpack_pglz(packed, into)
        except native.MalformedError:
            return None
        return into

    def numerics(
        self, octets: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        """Numerics of a table's rows as the wire has them; None where one has no form."""
        places, lengths = places.copy(), lengths.copy()
        into = np.zeros(int(np.maximum(lengths, 0).sum()) + 8 * len(places) + 16, np.uint8)
        try:
            native.numerics(octets, places, lengths, into)
        except native.MalformedError:
            return None
        return into, places, lengths


@dataclass(frozen=True, slots=True)
class PageRows:
    """Rows in pages: where each begins and ends, and what has to be asked of it."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    asked: npt.NDArray[np.uint8]


_CANDIDATES: Final = 1 << 16
_MAGICS: Final = 1 << 12  # of them there is room for at first
_SHORTEST_ROW: Final = 7  # bytes, with its message's head


def _with_room(find: Callable[..., int], *kinds: type[Any], room: int = _MAGICS) -> list[npt.NDArray[Any]]:
    """What a search writes into arrays of these kinds: asked again, with room for all, where it says that it
    found more than there was room for."""
    while True:
        columns = [np.empty(room, kind) for kind in kinds]
        count = find(*columns)
        if count <= room:
            return [column[:count] for column in columns]
        room = count


@dataclass(frozen=True, slots=True)
class Secrets:
    """What needles are hashed with."""

    key: bytes = field(repr=False)
    person: bytes
    multipliers: npt.NDArray[np.uint64] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Walk:
    """What the search for forms looks into (`cenotaph.residue.needles`).

    A class has its tags, where those of each begin, their windows and lengths, a filter, and three numbers:
    shift, width, and the place of the six bytes.
    """

    bits: npt.NDArray[np.uint8] = field(repr=False)
    marks: npt.NDArray[np.uint8] = field(repr=False)
    shift: int
    secrets: Secrets
    classes: Sequence[tuple[Any, ...]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Index:
    """Numbers that are sought, laid out for a search (`cenotaph.residue.numbers`)."""

    filter: npt.NDArray[np.uint64] = field(repr=False)
    hashed: npt.NDArray[np.uint64] = field(repr=False)
    begin: npt.NDArray[np.uint32] = field(repr=False)
    tells: npt.NDArray[np.uint8] = field(repr=False)
    near: npt.NDArray[np.uint8] = field(repr=False)
    group: npt.NDArray[np.uint8] = field(repr=False)
    lowest: npt.NDArray[np.uint8]
    highest: npt.NDArray[np.uint8]
    places: npt.NDArray[np.uint32]
    first: int = field(repr=False)
    second: int = field(repr=False)
    filter_shift: int
    begin_shift: int
    plain: int
    large_x: int
    small_x: int
    padded: int
    postgres: bool

    def native(self) -> native.Numbers:
        """As the kernel takes them."""
        return native.Numbers(*(getattr(self, name) for name in native.Numbers._fields))


TOO_LONG: Final = "a record has a value of 4 GiB or more, which no encoding is defined for"


@cache
def found() -> Kernel | None:
    """The kernel, on the fastest instruction set that the machine has, or on the one that CENOTAPH_KERNEL
    names; None where it is not installed or the variable says `off`.

    Raises:
        UsageError: the variable names none that is there; the kernel is of another version, or goes wrong.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == OFF or (_missing is not None and not wanted):
        return None
    if _missing is not None:
        raise UsageError(f"{VARIABLE} asks for the kernel, which cannot be loaded: {_missing}")
    otherwise = f"install the one of this version, or set {VARIABLE}={OFF}"
    if native.INTERFACE != INTERFACE:
        raise UsageError("the cenotaph-kernel that is installed is of another version", hint=otherwise)
    known = {level.name.lower(): level for level in native.levels()}
    if wanted and wanted not in known:
        raise UsageError(f"{VARIABLE} is none of {', '.join([OFF, *known])}, which this machine has")
    kernel = Kernel(known[wanted] if wanted else max(known.values()))
    if not _right(kernel):
        raise UsageError("the cenotaph-kernel that is installed computes wrong digests here", hint=otherwise)
    return kernel


def described() -> str:
    """What computes digests here, for a person."""
    try:
        kernel = found()
    except UsageError as error:
        return f"kernel: {error.message}"
    if kernel is not None:
        return f"kernel: {kernel.level.name.lower()}"
    why = "cenotaph-kernel is not installed" if _missing is not None else f"{VARIABLE}={OFF}"
    return f"kernel: none ({why}): records are digested in Python, about ten times as slowly"


def _right(kernel: Kernel) -> bool:
    """Whether it hashes as hashlib does, in full lanes and in others: a miscompiled one must not seal."""
    key, values = bytes(range(64)), [bytes([n]) * (n * 11) for n in range(37)]
    found, lengths = np.empty((len(values), 32), np.uint8), np.empty(len(values), np.int64)
    kernel.digests(key, [cells(pa.array(values, pa.large_binary()))], len(values), found, lengths)
    rows = (b"\xa1" + value for value in values)  # of one cell each (spec/record.md, "Row")
    return found.tobytes() == b"".join(hashlib.sha256(key + row).digest() for row in rows)


# --- Columns: an array's buffers, and how the kernel writes them ------------------------------


def attribute(length: int, align: int, **buffers: npt.NDArray[Any]) -> Attribute:
    """One of a table's rows, and the buffers that `Kernel.page_values` fills."""
    return native.Attribute(length, align, **buffers)


def page_column(data: Any, **parts: Any) -> PageColumn:
    """Where the values of a Parquet column's pages go (`Kernel.page`)."""
    return native.PageColumn(data, **parts)


def nothing() -> Column:
    """A column of nulls."""
    return native.Column(native.How.NOTHING)


def bits(array: pa.Array, false: int) -> Column:
    """Two heads and nothing behind them: `false`, and the one after it."""
    return _column(native.How.BITS, array, head=bytes([false]))


def integers(array: pa.Array, first: int = 0) -> Column:
    """Integers, and what is counted in them, in as few bytes as hold each; their heads count from `first`."""
    unsigned = pa.types.is_unsigned_integer(array.type)
    how = native.How.UNSIGNED if unsigned else native.How.SIGNED
    return _column(how, array, width=array.type.bit_width // 8, head=bytes([first]))


def numbers(array: pa.Array, head: bytes) -> Column:
    """Values of a fixed width, their highest byte first, behind a head."""
    return _column(native.How.NUMBERS, array, width=array.type.bit_width // 8, head=head)


def octets(array: pa.Array, head: bytes) -> Column:
    """Text or bytes: a head, `head`'s first byte and a count of what follows: its other bytes, the value."""
    types, kind = pa.types, array.type
    if types.is_fixed_size_binary(kind):
        return _column(native.How.FIXED, array, width=kind.byte_width, head=head)
    if types.is_string(kind) or types.is_binary(kind):
        return _column(native.How.OFFSETS32, array, head=head)
    if not (types.is_large_string(kind) or types.is_large_binary(kind)):
        array = array.cast(pa.large_binary())
    return _column(native.How.OFFSETS64, array, head=head)


def cells(array: pa.LargeBinaryArray) -> Column:
    """Values that are encoded already, none of them null."""
    return _column(native.How.CELLS, array)


def telling_words(columns: int) -> int:
    """How many secret words `Kernel.strange` takes for so many columns."""
    return 2 + 2 * native.TOLD_WORDS * columns


def has_values(kind: pa.DataType) -> bool:
    """Whether `values` takes arrays of this type."""
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def values(array: pa.Array) -> Column:
    """Text, bytes or integers, as they are."""
    return integers(array) if pa.types.is_integer(array.type) else octets(array, b"\0")


def taken(indices: pa.Array, entries: pa.LargeBinaryArray) -> Column:
    """Encoded values by their indices; the array of values begins at its buffers' beginning."""
    _, offsets, data = entries.buffers()
    width = indices.type.bit_width // 8
    return native.Column(
        native.How.INDEXES, indices.offset, _bitmap(indices), data, indices.buffers()[1], offsets, width
    )


def _column(how: native.How, array: pa.Array, *, width: int = 0, head: bytes = b"") -> Column:
    buffers = array.buffers()
    places = buffers[1] if len(buffers) == 3 else None
    return native.Column(how, array.offset, _bitmap(array), buffers[-1], places, None, width, head)


def _bitmap(array: pa.Array) -> pa.Buffer | None:
    return array.buffers()[0] if array.null_count else None
