"""COPY BINARY is cut into the values that were sent, from pieces of any length, and refused where broken."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import postgres_server
from cenotaph import kernel
from cenotaph.errors import PermanentStoreError
from cenotaph.stores.postgres import session
from cenotaph.stores.postgres.wire import copy, types

assert postgres_server.psycopg  # the store is imported with its driver, or not at all

Row = Sequence[bytes | None]


@pytest.fixture(autouse=True, scope="module", params=["kernel", "python"])
def by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every promise is kept by the kernel, where there is one, and without it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(kernel, "found", lambda: None)
        yield


HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def tuple_of(row: Row) -> bytes:
    fields = (struct.pack(">i", -1 if v is None else len(v)) + (v or b"") for v in row)
    return struct.pack(">h", len(row)) + b"".join(fields)


def stream(rows: Sequence[Row]) -> bytes:
    """As the server sends it: the header travels with the first row, or with the trailer."""
    parts = [*map(tuple_of, rows), b"\xff\xff"]
    parts[0] = HEADER + parts[0]
    sent = b"".join(message(b"d", part) for part in parts)
    return (
        message(b"H", b"\1\0\0") + sent + message(b"c", b"") + message(b"C", b"COPY\0") + message(b"Z", b"I")
    )


def read(data: bytes, width: int, cuts: Sequence[int] = ()) -> list[list[bytes | None]]:
    found: list[list[bytes | None]] = []
    for block in blocks(data, cuts):
        for piece in block.slices(3, 1000):
            columns = [types.binary(fields).to_pylist() for fields in piece.columns(width)]
            found += [list(row) for row in zip(*columns, strict=True)]
    return found


def blocks(data: bytes, cuts: Sequence[int]) -> Iterator[copy.Block]:
    messages = copy.Stream()
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield from messages.feed(data[start:end])
    yield from messages.finish()


# values that look like the beginning of a message of as many fields
look_alike = st.integers(1, 3).map(lambda n: b"d" + struct.pack(">IhI", 4 + 2 + 5 * n, n, 1) + b"d")
value = st.none() | st.binary(max_size=40) | look_alike | st.just(b"d\0\0\0\x0a\0\2")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_was_sent_is_read(data: st.DataObject) -> None:
    """Whatever the values hold, and wherever the stream is cut into pieces."""
    width = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(value, min_size=width, max_size=width), max_size=12))
    sent = stream(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=4)))
    before, copy.BLOCK_BYTES = copy.BLOCK_BYTES, data.draw(st.sampled_from([1, 64, 1 << 20]))
    try:
        assert read(sent, width, cuts) == rows
    finally:
        copy.BLOCK_BYTES = before


def test_a_row_that_is_larger_than_a_block_is_read_whole() -> None:
    """Of 16 MiB and more too, whose length begins with another byte than others'."""
    rows: list[Row] = [[b"a"], [b"d" * (17 << 20)], [None], [b"b" * (3 << 20)]]
    sent = stream(rows)

    assert read(sent, 1, range(1 << 20, len(sent), 1 << 20)) == rows


def test_broken_bytes_are_refused_and_read_no_further() -> None:
    """A changed, lost or added byte gives other values or a refusal, and never another error."""
    chance = random.Random(5)
    sent = stream([[b"one", None, b"d\0\0\0\x0a"], [b"", b"two", b"three"], [b"x" * 50, b"", None]])
    refused = 0
    for _ in range(1500):
        broken = bytearray(sent)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(broken))
            match chance.randrange(3):
                case 0:
                    broken[at] = chance.choice((0, 1, 100, 127, 128, 255, chance.randrange(256)))
                case 1:
                    del broken[at : at + chance.randrange(1, 9)]
                case _:
                    broken[at:at] = chance.randbytes(chance.randrange(1, 5))
        try:
            read(bytes(broken), 3, [len(broken) // 2])
        except PermanentStoreError:
            refused += 1
    assert 500 < refused < 1500


@pytest.mark.parametrize(
    "data",
    [
        b"",
        stream([[b"a"]])[:-30],
        message(b"d", HEADER[:-1] + b"\1" + tuple_of([b"a"])),
        message(b"d", b"no header at all, but long enough"),
        message(b"H", b"")[:-1] + b"\0",
        stream([[b"a"]]).replace(b"\xff\xff", b"\0\1"),
    ],
    ids=["nothing", "cut off", "extended header", "no header", "length below four", "no trailer"],
)
def test_what_is_no_such_stream_is_refused(data: bytes) -> None:
    """Without its header, without its end: never as no rows at all."""
    with pytest.raises(PermanentStoreError, match="do not have the form"):
        read(data, 1)


def test_values_of_the_wrong_length_are_refused() -> None:
    """Each decoder of a type reads within its values alone."""
    decoders = [
        types.booleans, types.dates, types.times, types.intervals, types.numerics, types.oids,
        types.lists(types.text, 25, "postgresql:_text"),
    ]  # fmt: skip
    for decode in decoders:
        for length in (1, 3, 5, 7, 9, 11, 13):
            if decode is types.booleans and length == 1:
                continue
            (block,) = blocks(stream([[b"\1" * length]]), ())
            with pytest.raises(PermanentStoreError):
                decode(block.columns(1)[0])


def test_broken_arrays_and_numerics_are_refused_within_their_bytes() -> None:
    """Counts that promise more than is there; digits that are none."""
    chance = random.Random(7)
    good = struct.pack(">iiiiiii", 1, 0, 25, 2, 1, 1, 0)[:-4] + b"a" + struct.pack(">i", -1)
    number = struct.pack(">hhHHHH", 2, 0, 0, 4, 12, 5000)
    for sent, decode in (
        (good, types.lists(types.text, 25, "postgresql:_text")),
        (number, types.numerics),
    ):
        (block,) = blocks(stream([[sent], [None], [sent]]), ())
        assert decode(block.columns(1)[0]).to_pylist()[1] is None
        for _ in range(400):
            broken = bytearray(sent)
            broken[chance.randrange(len(broken))] = chance.choice((0, 1, 2, 127, 128, 255))
            (block,) = blocks(stream([[sent], [bytes(broken)], [None], [sent]]), ())
            try:
                decode(block.columns(1)[0]).validate(full=True)
            except PermanentStoreError:
                continue


@pytest.mark.parametrize("piece", range(1, 9))
def test_an_answer_that_lies_across_pieces_is_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """The server says nothing more until it is asked: whoever receives on would wait for ever."""
    monkeypatch.setattr(session, "_RECEIVE", piece)
    server, client = socket.socketpair()
    sent = stream([[b"Z\0\0\0\5", b"b"]])
    with server, client:
        server.sendall(sent)
        pieces = session._Ahead(client)
        try:
            got = b""
            while len(got) < len(sent):
                got += bytes(pieces._pieces.get(timeout=5))
        finally:
            pieces.stop()
    assert got == sent
