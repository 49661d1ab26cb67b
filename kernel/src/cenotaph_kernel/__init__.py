"""The hot loops of cenotaph in C: record digests and chunks over Arrow's buffers (spec/record.md).

Gives the bytes that the Python in `cenotaph.records` gives, which is the reference and is tested against it.
Knows neither Arrow nor numpy: a buffer is whatever has Python's buffer protocol. While C runs, other threads
may; nothing is kept between calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

from cenotaph_kernel._native import ffi as _ffi
from cenotaph_kernel._native import lib as _lib

__all__ = [
    "CHUNK_RECORDS",
    "FOUND_AT_ONCE",
    "INTERFACE",
    "LINE_SLOTS",
    "LONGEST_MAGIC",
    "SHAPES_AT_ONCE",
    "TOLD_WORDS",
    "Attribute",
    "Column",
    "Forms",
    "How",
    "Level",
    "MalformedError",
    "Numbers",
    "PageColumn",
    "Told",
    "TooLongError",
    "Windows",
    "candidates",
    "chunks",
    "copied_fields",
    "copied_rows",
    "digest",
    "distinct",
    "field_numbers",
    "field_octets",
    "find_magics",
    "find_numbers",
    "find_shapes",
    "find_spelled",
    "find_words",
    "fingerprints",
    "forms",
    "full",
    "levels",
    "look_up",
    "names",
    "numbers",
    "numerics",
    "page",
    "page_rows",
    "page_values",
    "pieces",
    "receive",
    "strange",
    "unpack_pglz",
    "wrong_sums",
]

Buffer: TypeAlias = Any  # collections.abc.Buffer from Python 3.12 on

CHUNK_RECORDS: Final = 4096
INTERFACE: Final = 12  # counts up when a caller that was not changed would go wrong
KEY_BYTES: Final = 64
DIGEST_BYTES: Final = 32
FORM_BYTES: Final = 34
MOST_FORMS: Final = 8  # of one value
TOLD_WORDS: Final = 9  # of a value that `strange` tells apart, with its length
LINE_SLOTS: Final = 8
ENCODINGS: Final = 13
FOUND_AT_ONCE: Final = 1 << 19  # places of numbers
SHAPES_AT_ONCE: Final = 1 << 16
LONGEST_MAGIC: Final = 16  # bytes


class Level(IntEnum):
    """Instruction sets, the fastest last."""

    SCALAR = 0
    BASELINE = 1  # vectors of 128 bits: SSE2, NEON, or what the compiler makes of them
    AVX2 = 2
    AVX512 = 3


class How(IntEnum):
    """How a column's values lie in memory, and so how they are encoded."""

    NOTHING = 0  # every value is null
    BITS = 1
    SIGNED = 2
    UNSIGNED = 3
    NUMBERS = 4  # `width` bytes, written in reverse behind `head`
    OFFSETS32 = 5  # bytes: their heads count from the first byte of `head`, and the others precede them
    OFFSETS64 = 6
    FIXED = 7
    CELLS = 8  # encoded already; `places` are int64 offsets
    INDEXES = 9  # `places` are integers of `width` bytes; `cells` the offsets of encoded values


class Column(NamedTuple):
    """A column's buffers. `first` is the row of the buffers that is the batch's first."""

    how: How
    first: int = 0
    valid: Buffer | None = None  # a bit a row; None where nothing is null
    data: Buffer | None = None
    places: Buffer | None = None
    cells: Buffer | None = None
    width: int = 0  # bytes
    head: bytes = b""


class Attribute(NamedTuple):
    """An attribute of the rows of a table of PostgreSQL, and where its values go.

    To `values` as they are: of a fixed length with `there`, a byte each, -1 for null; else with `offsets`,
    int32. Both with `valid`, a bit each, all 0 before. Or to `places` and `lengths`, int64 each. Or nowhere.
    """

    length: int  # bytes, or -1 where it varies
    align: int
    values: Buffer | None = None
    there: Buffer | None = None
    offsets: Buffer | None = None
    valid: Buffer | None = None
    places: Buffer | None = None
    lengths: Buffer | None = None


class Told(NamedTuple):
    """What there is to know of an attribute's values."""

    nulls: int
    odd: int  # that are packed, or elsewhere, and so not among `values`
    ascii: bool  # of values with offsets


class MalformedError(ValueError):
    """Buffers do not hold what they say."""


class TooLongError(ValueError):
    """A value has 4 GiB or more."""


def levels() -> tuple[Level, ...]:
    """The instruction sets of this machine that there is code for, the fastest last."""
    return tuple(level for level in Level if _lib.cenotaph_level(level))


def digest(
    key: bytes, columns: Sequence[Column], rows: int, digests: Buffer, lengths: Buffer, level: Level
) -> None:
    """Write the keyed digest of each row, 32 bytes, and the length of its encoding, an int64.

    Nothing outside of the buffers is read, whatever offsets in them say.

    Raises:
        MalformedError: a buffer is too short, or an offset or index leads out of it.
        TooLongError: a row has no encoding.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a record key has {KEY_BYTES} bytes")
    held: list[Any] = []  # cffi's views, for as long as C reads through them
    given = _ffi.new("column[]", len(columns))
    for into, column in zip(given, columns, strict=True):
        _fill(into, column, held)
    _done(
        _lib.cenotaph_digest(
            level,
            key,
            given,
            len(columns),
            rows,
            _room(digests, "uint8_t[]", rows * DIGEST_BYTES),
            _room(lengths, "int64_t[]", rows),
        )
    )


def chunks(digests: Buffer, records: Sequence[int], lengths: Sequence[int], level: Level) -> list[bytes]:
    """The hash of each chunk, of the next so many digests, and so many bytes of encodings together.

    Chunks that are given together are hashed side by side, up to sixteen. Raises MalformedError where a chunk
    has more than CHUNK_RECORDS, or there are not as many digests.
    """
    data = _ffi.from_buffer("uint8_t[]", digests)
    if len(data) != sum(records) * DIGEST_BYTES or len(lengths) != len(records):
        raise MalformedError("chunks do not have as many digests as they say")
    hashes = bytearray(len(records) * DIGEST_BYTES)
    counts, totals = _ffi.new("uint32_t[]", list(records)), _ffi.new("uint64_t[]", list(lengths))
    _done(_lib.cenotaph_chunks(level, data, counts, totals, len(records), _ffi.from_buffer(hashes)))
    return [bytes(hashes[at : at + DIGEST_BYTES]) for at in range(0, len(hashes), DIGEST_BYTES)]


def pieces(octets: Buffer, stride: int, sizes: Sequence[int], level: Level) -> bytes:
    """The SHA-256 of pieces of a file one after the other, 32 bytes each: of the first so many bytes at each
    multiple of `stride`. The 128 bytes behind each are written over: `octets` must have room for them.

    Raises MalformedError where it does not, or a piece is longer than `stride` allows.
    """
    data = _ffi.from_buffer("uint8_t[]", octets, require_writable=True)
    digests = bytearray(len(sizes) * DIGEST_BYTES)
    lengths = _ffi.new("uint64_t[]", list(sizes))
    _done(
        _lib.cenotaph_pieces(level, data, len(data), stride, lengths, len(sizes), _ffi.from_buffer(digests))
    )
    return bytes(digests)


def fingerprints(
    key: bytes,
    person: bytes,
    column: Column,
    rows: int,
    words: Buffer,
    there: Buffer,
    level: Level,
    *,
    fold: bool = False,
) -> None:
    """Write the keyed BLAKE2b of each value, a uint64, and a byte that says whether there is one: 0 null, 1
    empty, 2 more.

    Integers are taken as they are written in decimal. With `fold`, a value is taken without the white space
    around it and in capitals. Raises MalformedError as `digest`, and for columns of other types.
    """
    held: list[Any] = []
    given = _ffi.new("column *")
    _fill(given, column, held)
    words, there = _room(words, "uint64_t[]", rows), _room(there, "uint8_t[]", rows)
    key, person = _secret(key, 32), _secret(person.ljust(16, b"\0"), 16)
    _done(_lib.cenotaph_fingerprints(level, key, person, fold, given, rows, words, there))


def numbers(column: Column, rows: int, words: Buffer, there: Buffer, *, fold: bool = False) -> None:
    """Write each value that is a number of at most 18 digits, the last of which may be an X, as a uint64, and
    a byte that says whether it is: 0 null or empty, 1 something else, 2 a number.

    A word is the digits behind a mark: 1 digits alone, 2 with an X, 3 with an x for the last one, in whose
    place is 0. With `fold`, a value is taken as `fingerprints` takes it. Raises MalformedError as that does.
    """
    held: list[Any] = []
    given = _ffi.new("column *")
    _fill(given, column, held)
    words, there = _room(words, "uint64_t[]", rows), _room(there, "uint8_t[]", rows)
    _done(_lib.cenotaph_numbers(given, fold, rows, words, there))


def distinct(words: Buffer, secret: int, slots: Buffer, fresh: Buffer | None) -> int:
    """Put words (uint64) into slots, which are 0 where they are empty, unless they are there, and write those
    that were not to `fresh`, if it is given, in order. Returns how many they are. 0 is no word.

    `secret` are 64 bits that fix where words lie. Raises MalformedError where there are too few slots.
    """
    given, room, made = (
        _ffi.from_buffer("uint64_t[]", words),
        _room(slots, "uint64_t[]", 0),
        _ffi.new("size_t *"),
    )
    into = _ffi.NULL if fresh is None else _room(fresh, "uint64_t[]", len(given))
    _done(_lib.cenotaph_distinct(given, len(given), secret, room, len(room), into, made))
    return int(made[0])


def strange(
    columns: Sequence[Column], rows: int, secrets: Buffer, slots: Buffer, into: Buffer, level: Level
) -> tuple[int, int]:
    """Write the numbers (int64) of the rows whose values did not all come together before, as far as `slots`
    tell, and put these rows there. Returns how many they are, and how many were put there.

    Text, bytes and integers; a row with a value of more than 64 bytes is never told. `slots` (uint64) are 0
    where they are free, LINE_SLOTS a line, and best aligned so. `secrets` (uint64) are two words for this set
    of columns and then 2 * TOLD_WORDS for each. Raises MalformedError as `digest`.
    """
    held: list[Any] = []
    given = _ffi.new("column[]", len(columns))
    for each, column in zip(given, columns, strict=True):
        _fill(each, column, held)
    keys, room = _ffi.from_buffer("uint64_t[]", secrets), _room(slots, "uint64_t[]", LINE_SLOTS)
    if len(keys) != 2 + 2 * TOLD_WORDS * len(columns):
        raise ValueError("each column needs its secrets")
    made, added, lines = _ffi.new("size_t *"), _ffi.new("uint64_t *"), len(room) // LINE_SLOTS
    found = _room(into, "int64_t[]", rows)
    _done(_lib.cenotaph_strange(level, given, len(columns), rows, keys, room, lines, found, made, added))
    return int(made[0]), int(added[0])


class PageColumn(NamedTuple):
    """Where the values of a Parquet column's pages go, and its dictionary.

    Numbers of `width` bytes, of which the lowest `into` are wanted; or, where `width` is 0, bytes with their
    `offsets` (int32), of which the first is 0. `valid` has a bit a row, 0 before, and is given where a value
    may be null. The dictionary has so many `entries`, with offsets where they are bytes.
    """

    data: Buffer
    width: int = 0
    into: int = 0
    offsets: Buffer | None = None
    valid: Buffer | None = None
    entries: int = 0
    entry_data: Buffer | None = None
    entry_offsets: Buffer | None = None


def page(column: PageColumn, row: int, data: Buffer, count: int, *, indexed: bool) -> int:
    """Put the `count` values of a data page of version 1, decompressed, behind the first `row` of a column.
    Returns how many of them are null. `indexed`: they are numbers of entries of the dictionary.

    Raises MalformedError for what does not hold what it says, or there is no room for.
    """
    given, nulls = _ffi.new("page_column *"), _ffi.new("uint64_t *")
    given.width, given.into, given.row, given.optional = (
        column.width,
        column.into,
        row,
        column.valid is not None,
    )
    held = [_room(column.data, "uint8_t[]", 0)]
    given.data, given.room = held[0], len(held[0])
    if column.offsets is not None:
        held.append(_room(column.offsets, "int32_t[]", row + count + 1))
        given.offsets = held[-1]
    if column.valid is not None:
        held.append(_room(column.valid, "uint8_t[]", (row + count + 7) // 8))
        given.valid = held[-1]
    if column.entry_data is not None:
        held.append(_ffi.from_buffer("uint8_t[]", column.entry_data))
        given.entry_data, given.entry_bytes, given.entries = held[-1], len(held[-1]), column.entries
    if column.entry_offsets is not None:
        held.append(_ffi.from_buffer("int32_t[]", column.entry_offsets))
        given.entry_offsets = held[-1]
        if len(held[-1]) < column.entries + 1:
            raise ValueError("a dictionary needs one offset more than it has entries")
    octets = _ffi.from_buffer("uint8_t[]", data)
    _done(_lib.cenotaph_page(octets, len(octets), indexed, count, given, nulls))
    return int(nulls[0])


class Forms(NamedTuple):
    """What values are searched for as. `done` has a byte a value: 0 for one that is left to the caller."""

    rows: bytearray  # of FORM_BYTES each
    done: bytearray
    skipped: list[int]  # by encoding


def forms(
    key: bytes,
    person: bytes,
    secrets: Buffer,
    kind: int,
    column: Column,
    rows: int,
    national: Column,
    wanted: Buffer,
    names: Buffer,
    level: Level,
    *,
    from_start: bool,
    postgres: bool,
) -> Forms:
    """The encoded forms of the values in the rows `wanted` (int64), whose fingerprints are `names`.

    `national` has, for each of these that is not ASCII and is to be done, how it is written in GB18030.

    As `cenotaph.residue.needles` makes them, whose secret multipliers these are (six uint64). Raises
    MalformedError as `digest`.
    """
    held: list[Any] = []
    given = _ffi.new("column *")
    _fill(given, column, held)
    other = _ffi.new("column *")
    _fill(other, national, held)
    which, known = _ffi.from_buffer("int64_t[]", wanted), _ffi.from_buffer("uint64_t[]", names)
    multipliers = _ffi.from_buffer("uint64_t[]", secrets)
    if len(which) != len(known) or len(multipliers) != 6:
        raise ValueError("as many names as rows are needed, and six multipliers")
    made, skipped = _ffi.new("size_t *"), _ffi.new("uint64_t[]", ENCODINGS)
    into, done = bytearray(len(which) * MOST_FORMS * FORM_BYTES), bytearray(len(which))
    _done(
        _lib.cenotaph_forms(
            level,
            _secret(key, 32),
            _secret(person.ljust(16, b"\0"), 16),
            multipliers,
            kind,
            from_start,
            postgres,
            given,
            rows,
            other,
            which,
            len(which),
            known,
            _ffi.from_buffer("uint8_t[]", into),
            made,
            skipped,
            _ffi.from_buffer("uint8_t[]", done),
        )
    )
    del into[made[0] * FORM_BYTES :]
    return Forms(into, done, list(skipped))


class Numbers(NamedTuple):
    """Numbers that are sought, as `cenotaph.residue.numbers` lays them out. Each array has words of the size
    that kernel.h says; what is counted by bits is a bit for each number of digits."""

    filter: Buffer
    hashed: Buffer
    begin: Buffer
    tells: Buffer
    near: Buffer
    group: Buffer
    lowest: Buffer
    highest: Buffer
    places: Buffer
    first: int
    second: int
    filter_shift: int
    begin_shift: int
    plain: int
    large_x: int
    small_x: int
    padded: int
    postgres: bool


def find_numbers(
    sought: Numbers, octets: Buffer, lead: int, core: int, columns: Sequence[Buffer], level: Level
) -> Iterator[int]:
    """Numbers in any form that begin at `lead` or later, before `core`, and lie wholly in the bytes.

    Writes, piece by piece, where they begin (int64), which of the hashes theirs is (uint32), how many bytes
    they take and in which encoding (uint8), and gives how many that are: at most `FOUND_AT_ONCE`, for which
    there must be room. Nearly in order, and a place may come twice.
    """
    held: list[Any] = []
    given, data = _numbers(sought, held), _ffi.from_buffer("uint8_t[]", octets)
    kinds = ("int64_t[]", "uint32_t[]", "uint8_t[]", "uint8_t[]")
    views = [_room(column, kind, FOUND_AT_ONCE) for column, kind in zip(columns, kinds, strict=True)]
    state, found, end = _ffi.new("int64_t[4]"), _ffi.new("int64_t *"), min(core, len(data))
    while state[0] < end:
        _done(
            _lib.cenotaph_find_numbers(
                level, given, data, len(data), lead, end, state, *views, FOUND_AT_ONCE, found
            )
        )
        yield found[0]


class Windows(NamedTuple):
    """Windows of one width, as `cenotaph.residue.needles` sorts them."""

    tags: Buffer
    begin: Buffer
    window: Buffer
    length: Buffer
    filter: Buffer
    shift: int
    width: int
    six: int


def candidates(
    bits: Buffer,
    marks: Buffer,
    shift: int,
    secrets: Buffer,
    classes: Sequence[Windows],
    octets: Buffer,
    lead: int,
    core: int,
    places: Buffer,
    level: Level,
) -> int:
    """Write where forms may begin, `lead` or later and before `core`, and how long they are: int64, the place
    shifted by 16 bits. In no order, and some several times.

    Returns how many there are; if that is more than there is room for, the others are not written.
    """
    held = [_ffi.from_buffer("uint8_t[]", bits), _ffi.from_buffer("uint8_t[]", marks)]
    slots, multipliers = 1 << 64 - shift, _ffi.from_buffer("uint64_t[]", secrets)
    sound = 36 <= shift < 60 and len(held[0]) * 8 >= slots and len(held[1]) >= slots
    if not sound or len(multipliers) != 6 or len(classes) != 4:
        raise ValueError("a filter is not laid out as it says")
    given = _ffi.new("windows[]", 4)
    for into, windows in zip(given, classes, strict=True):
        _fill_windows(into, windows, held)
    data, into = _ffi.from_buffer("uint8_t[]", octets), _room(places, "int64_t[]", 0)
    return int(
        _lib.cenotaph_candidates(
            level,
            held[0],
            held[1],
            shift,
            multipliers,
            given,
            data,
            len(data),
            max(0, lead),
            core,
            into,
            len(into),
        )
    )


def names(
    key: bytes, person: bytes, octets: Buffer, starts: Buffer, lengths: Buffer, words: Buffer, level: Level
) -> None:
    """Write the keyed BLAKE2b of parts of some bytes, a uint64 each, as `fingerprints` does of values.

    Raises:
        MalformedError: a part lies outside of the bytes.
    """
    data, where, long = _fields(octets, starts, lengths)
    into = _room(words, "uint64_t[]", len(where))
    key, person = _secret(key, 32), _secret(person.ljust(16, b"\0"), 16)
    _done(_lib.cenotaph_names(level, key, person, data, len(data), where, long, len(where), into))


def find_shapes(
    octets: Buffer, lead: int, core: int, columns: Sequence[Buffer], level: Level
) -> Iterator[int]:
    """Bytes shaped as a person (`cenotaph.residue.shapes`) that begin at `lead` or later, before `core`.

    Writes, piece by piece, where they begin (int64), what they are as a word (uint64), how many bytes they
    take and in which encoding (uint8), and gives how many that are: at most `SHAPES_AT_ONCE`, for which there
    must be room.
    """
    data, kinds = _ffi.from_buffer("uint8_t[]", octets), ("int64_t[]", "uint64_t[]", "uint8_t[]", "uint8_t[]")
    room = SHAPES_AT_ONCE
    views = [_room(column, kind, room) for column, kind in zip(columns, kinds, strict=True)]
    state, found, end = _ffi.new("int64_t[4]"), _ffi.new("int64_t *"), min(core, len(data))
    while state[0] < end:
        _done(_lib.cenotaph_find_shapes(level, data, len(data), lead, end, state, *views, room, found))
        yield found[0]


def find_spelled(octets: Buffer, lead: int, core: int, starts: Buffer, ends: Buffer, level: Level) -> int:
    """Write where values in hexadecimal digits (`cenotaph.residue.hexadecimal`) begin, at `lead` or later and
    before `core`, and end: two int64 each.

    Returns how many there are; if that is more than there is room for, the others are not written.
    """
    data = _ffi.from_buffer("uint8_t[]", octets)
    into, said = _room(starts, "int64_t[]", 0), _room(ends, "int64_t[]", 0)
    room = min(len(into), len(said))
    return int(_lib.cenotaph_spelled(level, data, len(data), max(0, lead), core, into, said, room))


def find_magics(
    octets: Buffer, core: int, magics: Sequence[bytes], places: Buffer, which: Buffer, level: Level
) -> int:
    """Write where below `core` one of these magics begins, an int64, and which, a byte; in order.

    A magic has 2 to 16 bytes. Returns how many there are; if that is more than there is room for, the others
    are not written.
    """
    if any(not 2 <= len(magic) <= LONGEST_MAGIC for magic in magics) or len(magics) > 256:
        raise ValueError("at most 256 magics of 2 to 16 bytes")
    data, into, said = (
        _ffi.from_buffer("uint8_t[]", octets),
        _room(places, "int64_t[]", 0),
        _room(which, "uint8_t[]", 0),
    )
    together, lengths = b"".join(magic.ljust(16, b"\0") for magic in magics), bytes(map(len, magics))
    room = min(len(into), len(said))
    return int(
        _lib.cenotaph_magics(
            level, data, len(data), max(0, core), together, lengths, len(magics), into, said, room
        )
    )


def find_words(octets: Buffer, width: int, mask: int, value: int, ordinals: Buffer, level: Level) -> int:
    """Write which of the words of 4 or 8 bytes have this value under a mask: ordinals, int64.

    Returns how many there are; if that is more than there is room for, the others are not written.
    """
    data, into = _ffi.from_buffer("uint8_t[]", octets), _room(ordinals, "int64_t[]", 0)
    if width not in (4, 8):
        raise ValueError("a word has 4 or 8 bytes")
    return int(_lib.cenotaph_words(level, data, len(data) // width, width, mask, value, into, len(into)))


def full(octets: Buffer, tile: int, into: Buffer) -> None:
    """Write for each whole tile of so many bytes, a multiple of 64, a byte: 1 if any in it is not zero."""
    data = _ffi.from_buffer("uint8_t[]", octets)
    if tile <= 0 or tile % 64:
        raise ValueError("a tile is a multiple of 64 bytes")
    tiles = len(data) // tile
    _lib.cenotaph_full(data, tiles, tile, _room(into, "uint8_t[]", tiles))


def look_up(sought: Numbers, words: Buffer, ordinals: Buffer) -> None:
    """Write which of the hashes each word has, an int64, or -1."""
    held: list[Any] = []
    given = _ffi.from_buffer("uint64_t[]", words)
    into = _room(ordinals, "int64_t[]", len(given))
    _done(_lib.cenotaph_look_up(_numbers(sought, held), given, len(given), into))


def copied_rows(octets: Buffer, size: int, first: int, starts: Buffer) -> tuple[int, int]:
    """Write where the messages of a COPY begin that follow each other from `first` on, an int64 each.

    They are whole within `size` bytes and have as many fields as the first. Returns how many they are, at
    most what there is room for, and where the last ends.
    """
    data, room = _ffi.from_buffer("uint8_t[]", octets), _room(starts, "int64_t[]", 0)
    if not 0 <= first <= size <= len(data):
        raise ValueError("a stream of messages does not go beyond its bytes")
    end = _ffi.new("uint64_t *")
    return _lib.cenotaph_rows(data, size, first, room, len(room), end), end[0]


def copied_fields(
    octets: Buffer, starts: Buffer, ends: Buffer, fields: int, places: Buffer, lengths: Buffer
) -> None:
    """Write where each field of each row begins, and its length, -1 for null: int64, by column.

    Raises:
        MalformedError: a row has another number of fields, or they do not fill it.
    """
    data = _ffi.from_buffer("uint8_t[]", octets)
    begin, behind = _ffi.from_buffer("int64_t[]", starts), _ffi.from_buffer("int64_t[]", ends)
    rows = len(begin)
    if len(behind) != rows:
        raise ValueError("a row has a beginning and an end")
    into, long = _room(places, "int64_t[]", rows * fields), _room(lengths, "int64_t[]", rows * fields)
    _done(_lib.cenotaph_fields(data, len(data), begin, behind, rows, fields, into, long))


def field_numbers(octets: Buffer, places: Buffer, lengths: Buffer, width: int, into: Buffer) -> None:
    """Write the number of each field, of 2, 4 or 8 bytes and the highest first, as the machine has it.

    That of null is 0.

    Raises:
        MalformedError: a field has another length, or lies outside of the bytes.
    """
    data, where, long = _fields(octets, places, lengths)
    _done(
        _lib.cenotaph_field_numbers(
            data, len(data), where, long, len(where), width, _room(into, "uint8_t[]", len(where) * width)
        )
    )


def field_octets(octets: Buffer, places: Buffer, lengths: Buffer, offsets: Buffer, into: Buffer) -> None:
    """Write the fields' bytes one after the other, and where each begins, int32, and where the last ends.

    Raises:
        MalformedError: a field lies outside of the bytes, or there is no room for them.
    """
    data, where, long = _fields(octets, places, lengths)
    bounds, room = _room(offsets, "int32_t[]", len(where) + 1), _room(into, "uint8_t[]", 0)
    _done(_lib.cenotaph_field_octets(data, len(data), where, long, len(where), bounds, room, len(room)))


def receive(socket: int, into: Buffer, size: int) -> int:
    """Receive behind the `size` bytes that came before, until there is no more room, the other side has
    ended, or its last bytes look like PostgreSQL's "ready for query". Returns where they end."""
    room = _room(into, "uint8_t[]", size)
    return int(_lib.cenotaph_receive(socket, room, size, len(room)))


def page_rows(octets: Buffer, page: int, starts: Buffer, ends: Buffer, open_: Buffer) -> int:
    """Write where the rows of these pages begin and end that are not surely gone, int64, and a byte each that
    says what of them the pages leave open. Returns how many they are.

    Raises:
        MalformedError: a page contradicts itself, or is of a server that is not read here.
    """
    data = _ffi.from_buffer("uint8_t[]", octets)
    count, most = len(data) // page, len(data) // 4
    if page < 512 or page % 512 or len(data) % page:
        raise ValueError("whole pages are needed")
    begin, behind = _room(starts, "int64_t[]", most), _room(ends, "int64_t[]", most)
    rows = _ffi.new("size_t *")
    state = _room(open_, "uint8_t[]", most)
    _done(_lib.cenotaph_page_rows(data, count, page, begin, behind, state, rows))
    return int(rows[0])


def page_values(octets: Buffer, starts: Buffer, ends: Buffer, attributes: Sequence[Attribute]) -> list[Told]:
    """Write the values of rows that lie between these places, by attribute.

    A length of -1 is null; -2 a value that is compressed where it is, -3 one that is elsewhere.

    Raises:
        MalformedError: a row does not have these attributes within it, or there is no room for them.
    """
    data = _ffi.from_buffer("uint8_t[]", octets)
    begin, behind = _ffi.from_buffer("int64_t[]", starts), _ffi.from_buffer("int64_t[]", ends)
    rows = len(begin)
    if len(behind) != rows:
        raise ValueError("a row has a beginning and an end")
    held: list[Any] = []
    given = _ffi.new("attribute[]", len(attributes))
    for into, one in zip(given, attributes, strict=True):
        _fill_attribute(into, one, rows, held)
    _done(_lib.cenotaph_page_values(data, len(data), begin, behind, rows, given, len(attributes)))
    return [Told(one.nulls, one.odd, bool(one.ascii)) for one in given]


def wrong_sums(octets: Buffer, page: int, first: int, level: Level) -> int:
    """How many of these pages have another checksum than they say; `first` is the number of the first."""
    data = _ffi.from_buffer("uint8_t[]", octets)
    if page < 512 or page % 512 or len(data) % page:
        raise ValueError("whole pages are needed")
    return int(_lib.cenotaph_page_sums(level, data, len(data) // page, page, first))


def unpack_pglz(packed: Buffer, into: Buffer) -> None:
    """Write what was packed by PostgreSQL's own compression, which fills `into`. Raises MalformedError."""
    data, room = _ffi.from_buffer("uint8_t[]", packed), _room(into, "uint8_t[]", 0)
    _done(_lib.cenotaph_pglz(data, len(data), room, len(room)))


def numerics(octets: Buffer, places: Buffer, lengths: Buffer, into: Buffer) -> None:
    """Write numerics, which lie at these places, as the wire has them; places and lengths become those.

    Raises:
        MalformedError: one lies outside of the bytes, or has no form, or there is no room.
    """
    data = _ffi.from_buffer("uint8_t[]", octets)
    where, long = _room(places, "int64_t[]", 0), _room(lengths, "int64_t[]", 0)
    if len(where) != len(long):
        raise ValueError("a field has a place and a length")
    room = _room(into, "uint8_t[]", 0)
    _done(_lib.cenotaph_numerics(data, len(data), where, long, len(where), room, len(room)))


_DONE, _MALFORMED, _TOO_LONG = range(3)
_ARRAYS = {
    "filter": "uint64_t[]",
    "hashed": "uint64_t[]",
    "begin": "uint32_t[]",
    "tells": "uint8_t[]",
    "near": "uint8_t[]",
    "group": "uint8_t[]",
    "lowest": "uint8_t[]",
    "highest": "uint8_t[]",
    "places": "uint32_t[]",
}


def _fill_windows(into: Any, windows: Windows, held: list[Any]) -> None:
    kinds = ("uint64_t[]", "int64_t[]", "int64_t[]", "int64_t[]", "uint8_t[]")
    arrays = [_ffi.from_buffer(kind, array) for kind, array in zip(kinds, windows[:5], strict=True)]
    held.extend(arrays)
    into.tags, into.begin, into.window, into.length, into.filter = arrays
    into.count, into.shift, into.width, into.six = len(arrays[0]), windows.shift, windows.width, windows.six
    tags, begin, window, length, filter_ = map(len, arrays)
    last = arrays[1][begin - 1] if begin else -1
    if begin != tags + 1 or not 0 <= last <= min(window, length) or filter_ < 1 << 64 - windows.shift:
        raise ValueError("windows are not laid out as they say")


def _numbers(sought: Numbers, held: list[Any]) -> Any:
    into = _ffi.new("numbers *")
    for name, value in sought._asdict().items():
        if name in _ARRAYS:
            held.append(_ffi.from_buffer(_ARRAYS[name], value))
        setattr(into, name, held[-1] if name in _ARRAYS else value)
    into.count = len(held[1])
    sizes = (1 << 64 - sought.filter_shift, len(held[1]), (1 << 64 - sought.begin_shift) + 1)
    if any(
        len(array) < size
        for array, size in zip(held, (*sizes, 19 * 1250, 19 * 1256, 19, 8, 8, 8), strict=True)
    ):
        raise ValueError("numbers that are sought are not laid out as they say")
    if held[2][0] != 0 or held[2][sizes[2] - 1] != into.count:
        raise ValueError("numbers that are sought do not begin and end where they say")
    return into


def _fill_attribute(into: Any, one: Attribute, rows: int, held: list[Any]) -> None:
    into.length, into.align = one.length, one.align
    by_value = one.there is not None or one.offsets is not None
    if by_value != (one.values is not None) or by_value != (one.valid is not None):
        raise ValueError("an attribute's values go together with what is told of each")
    if (one.places is None) != (one.lengths is None) or (by_value and one.places is not None):
        raise ValueError("an attribute's values are in one place")
    fixed = rows * max(one.length, 0) if one.there is not None else 0
    for name, kind, least in (
        ("values", "uint8_t[]", fixed),
        ("there", "int8_t[]", rows),
        ("offsets", "int32_t[]", rows + 1),
        ("valid", "uint8_t[]", (rows + 7) // 8),
        ("places", "int64_t[]", rows),
        ("lengths", "int64_t[]", rows),
    ):
        given = getattr(one, name)
        if given is not None:
            held.append(_room(given, kind, least))
            setattr(into, name, held[-1])
            if name == "values":
                into.room = len(held[-1])


def _fields(octets: Buffer, places: Buffer, lengths: Buffer) -> tuple[Any, Any, Any]:
    where, long = _ffi.from_buffer("int64_t[]", places), _ffi.from_buffer("int64_t[]", lengths)
    if len(where) != len(long):
        raise ValueError("a field has a place and a length")
    return _ffi.from_buffer("uint8_t[]", octets), where, long


def _fill(into: Any, column: Column, held: list[Any]) -> None:
    into.how, into.first, into.width = column.how, column.first, column.width
    for name in ("valid", "data", "places", "cells", "head"):
        given = getattr(column, name)
        if given is None:
            continue
        view = _ffi.from_buffer("uint8_t[]", given)
        held.append(view)
        setattr(into, name, view)
        setattr(into, f"{name}_bytes", len(view))


def _secret(secret: bytes, size: int) -> bytes:
    if len(secret) != size:
        raise ValueError(f"a secret of {size} bytes is needed")
    return secret


def _room(buffer: Buffer, kind: str, items: int) -> Any:
    view = _ffi.from_buffer(kind, buffer, require_writable=True)
    if len(view) < items:
        raise ValueError("there is no room for what is to be written")
    return view


def _done(outcome: int) -> None:
    if outcome == _DONE:
        return
    if outcome == _MALFORMED:
        raise MalformedError("a column's buffers do not hold what they say")
    if outcome == _TOO_LONG:
        raise TooLongError("a row is longer than 4 GiB")
    raise MemoryError
