"""The kernel in C against the encoding in Python, on every instruction set that the machine has."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cenotaph import kernel
from cenotaph.errors import PermanentStoreError, UsageError
from cenotaph.records import (
    CHUNK_RECORDS,
    Chunker,
    Digester,
    Digests,
    Tagged,
    as_digests,
    chunk_hash,
    reference_digests,
)
from test_records import DIGESTS, KEY, VECTORS, arrays, batch_of, batches

native = pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")
from cenotaph_kernel import Column, How, Level, MalformedError  # noqa: E402

LEVELS = native.levels()
KERNELS = [kernel.Kernel(level) for level in LEVELS]
ANYTHING = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def agrees(batch: pa.RecordBatch) -> None:
    """On all instruction sets, with the reference."""
    digests, lengths = reference_digests(KEY, batch)
    for one in KERNELS:
        found = Digester(KEY, one).digests(batch)
        assert found[0].tobytes() == digests.tobytes(), one
        assert found[1].tolist() == lengths.tolist(), one


def digested(by: kernel.Kernel, key: bytes, columns: list[Column], rows: int) -> Digests:
    digests, lengths = np.empty((rows, 32), np.uint8), np.empty(rows, np.int64)
    by.digests(key, columns, rows, digests, lengths)
    return digests


def raw(how: How, rows: int, **buffers: Any) -> bytes:
    """The digests of one column that nobody has checked."""
    digests, lengths = bytearray(32 * rows), bytearray(8 * rows)
    native.digest(KEY, [Column(how, **buffers)], rows, digests, lengths, LEVELS[-1])
    return bytes(digests)


class TestRecords:
    """spec/record.md, "Row" and "Digest"."""

    @ANYTHING
    @given(batches())
    def test_every_type_has_the_digest_of_the_reference(self, batch: pa.RecordBatch) -> None:
        """Whatever Arrow holds, at whatever offset, with nulls or without, nested or flat."""
        agrees(batch)

    @ANYTHING
    @given(st.integers(0, 40).flatmap(lambda count: arrays(count, 0)), st.data())
    def test_a_slice_has_the_digests_of_its_rows(self, array: pa.Array, data: st.DataObject) -> None:
        """The kernel counts bits and offsets from the array's beginning, not from the buffers'."""
        start = data.draw(st.integers(0, len(array)))
        batch = batch_of(array, array)
        agrees(batch.slice(start))
        agrees(batch.slice(0, start))

    @pytest.mark.parametrize("rows", [0, 1, 2, 15, 16, 17, 1023, 1024, 1025, 5000])
    def test_rows_of_mixed_lengths_share_the_lanes(self, rows: int) -> None:
        """Each lane ends with its own message: from one block to many, around every edge of padding."""
        draw = np.random.default_rng(rows)
        sizes = np.where(draw.random(rows) < 0.9, draw.integers(0, 130, rows), draw.integers(0, 3000, rows))
        agrees(batch_of(pa.array([bytes([n % 251]) * n for n in sizes.tolist()], pa.binary())))

    @pytest.mark.parametrize("nth", range(3))
    def test_rows_around_what_a_slot_holds(self, nth: int) -> None:
        """A cell that is the first to find no room, in a column of any kind, beside rows that have some."""
        sizes = [*range(0, 60, 7), *range(200, 262), 400, 3]
        texts = pa.array(["x" * n for n in sizes])
        others = [pa.array([2**62 - n for n in sizes]), pa.array(["y" * (n % 40) for n in sizes]), texts]
        agrees(batch_of(texts, *others[nth:], pa.array(sizes, pa.float64()), pa.array([True] * len(sizes))))

    def test_rows_that_fit_no_slot_and_then_do(self) -> None:
        """Slots are given up where most rows are longer, and the others are digested all the same."""
        agrees(batch_of(pa.array([b"z" * (300 if n < 300 else n % 60) for n in range(900)], pa.binary())))

    @pytest.mark.parametrize("size", [27, 28, 255, 256, 65_535, 65_536])
    def test_counts_on_either_side_of_every_step(self, size: int) -> None:
        """Of text, of a store's bytes with the name that is counted among them, and of columns."""
        agrees(batch_of(pa.array(["x" * size, None, "y"])))
        agrees(batch_of(Tagged("sqlite:text").array([b"x" * (size - 12), None, b""])))
        if size < 300:
            agrees(batch_of(*[pa.array([1, None])] * size))

    def test_rows_around_the_longest_that_are_gathered(self) -> None:
        """A row that does not fit is hashed by itself, between others that do."""
        sizes = [
            3,
            16_374,
            16_375,
            16_376,
            16_380,
            16_381,
            16_383,
            16_384,
            5,
            100_000,
            300_000,
            0,
            16_370,
            1 << 20,
        ]
        texts = pa.array(["x" * n for n in sizes], pa.large_string())
        agrees(batch_of(texts))
        agrees(batch_of(pa.array(range(14)), texts, texts, pa.array([None] * 14, pa.string())))

    def test_many_rows_that_fill_the_buffer_by_their_length(self) -> None:
        """What is written at once is bounded by bytes as well as by rows."""
        agrees(batch_of(pa.array([bytes([n]) * (8000 + n) for n in range(200)], pa.binary())))

    def test_many_columns(self) -> None:
        """A row of six hundred columns, some of them null."""
        columns = [pa.array([n, None, -n]) for n in range(300)] + [pa.array(["a", "", None])] * 300
        agrees(batch_of(*columns))

    def test_the_widest_tag_of_a_store(self) -> None:
        """255 bytes of name, and a value behind it."""
        agrees(batch_of(Tagged("sqlite:" + "x" * 248).array([b"v", None, b""])))

    def test_integers_of_every_width_at_their_edges(self) -> None:
        """Signs are extended, and what does not fit 63 bits is a decimal."""
        for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64()):
            edge = 2 ** (kind.bit_width - 1)
            agrees(batch_of(pa.array([-edge, -1, 0, None, edge - 1], kind)))
        for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
            edge = 2**kind.bit_width
            agrees(batch_of(pa.array([0, 1, edge // 2 - 1, edge // 2, None, edge - 1, edge // 10], kind)))

    def test_dictionaries_of_every_index_and_value(self) -> None:
        """Indexes of any width, null indexes and null entries; entries of any type."""
        for width in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64()):
            indexes = pa.array([0, 2, None, 1, 2, 0], width)
            for entries in (
                pa.array(["a", None, "ccc"]),
                pa.array([1.5, 2.5, None]),
                pa.array([[1], [], None]),
            ):
                array = pa.DictionaryArray.from_arrays(indexes, entries)
                agrees(batch_of(array, array.slice(1).take(pa.array([0, 1, 2, 3, 4, None]))))
                agrees(batch_of(array).slice(2, 3))

    def test_what_lies_under_a_null_is_not_read(self) -> None:
        """Offsets beneath a null may lead anywhere."""
        offsets = np.array([0, 1, 2**30, 2, 3], np.int32)  # rows 1 and 2 are null
        offsets[1:4] = 1, -7, 2
        buffers = [pa.py_buffer(b"\x09"), pa.py_buffer(offsets), pa.py_buffer(b"abc")]
        array = pa.Array.from_buffers(pa.binary(), 4, buffers)
        digests = digested(KERNELS[-1], KEY, [kernel.octets(array, b"\x60")], 4)
        plain, _ = reference_digests(KEY, batch_of(pa.array([b"a", None, None, b"c"])))
        assert digests.tobytes() == plain.tobytes()

    def test_the_vectors_are_met(self) -> None:
        """vectors/record.json, by cells that are encoded already."""
        vectors = json.loads((VECTORS / "record.json").read_text("utf-8"))
        key = bytes.fromhex(vectors["key"]["record_key"])
        for row in vectors["rows"]:
            cells = [pa.array([bytes.fromhex(cell["hex"])], pa.large_binary()) for cell in row["cells"]]
            for one in KERNELS:
                digests = digested(one, key, [kernel.cells(cell) for cell in cells], 1)
                assert digests.tobytes().hex() == row["digest"]


class TestBuffersThatLie:
    """Nothing outside of a buffer is read, whatever Arrow says."""

    @pytest.mark.parametrize(
        ("how", "buffers"),
        [
            (How.BITS, {"data": b"", "head": b"\x01"}),
            (How.SIGNED, {"data": bytes(15), "width": 8, "head": b"\x08"}),
            (How.SIGNED, {"data": bytes(64), "width": 8}),
            (How.SIGNED, {"data": bytes(64), "width": 8, "head": b"\x08", "first": 7}),
            (How.SIGNED, {"data": bytes(64), "width": 8, "head": b"\x08", "first": -1}),
            (How.SIGNED, {"data": bytes(64), "width": 8, "head": b"\x08", "first": 2**62}),
            (How.SIGNED, {"data": bytes(64), "width": 3, "head": b"\x08"}),
            (How.SIGNED, {"data": bytes(64), "width": 8, "head": b"\x08", "valid": b""}),
            (How.UNSIGNED, {"data": bytes(1), "width": 1, "head": b"\x08"}),
            (How.NUMBERS, {"data": bytes(64), "width": 9, "head": b"\x03"}),
            (How.NUMBERS, {"data": bytes(64), "width": 8, "head": bytes(265)}),
            (How.OFFSETS32, {"data": b"abc", "places": np.array([0, 1], np.int32), "head": b"\x40"}),
            (How.OFFSETS32, {"data": b"abc", "places": np.array([0, 1, 4], np.int32), "head": b"\x40"}),
            (How.OFFSETS32, {"data": b"abc", "places": np.array([0, 2, 1], np.int32), "head": b"\x40"}),
            (How.OFFSETS32, {"data": b"abc", "places": np.array([-1, 0, 1], np.int32), "head": b"\x40"}),
            (How.OFFSETS32, {"data": b"abc", "places": np.array([0, 1, 2], np.int32)}),
            (How.OFFSETS64, {"data": b"abc", "places": np.array([0, 1, 2**62]), "head": b"\x40"}),
            (How.OFFSETS64, {"places": np.array([0, 0, 1]), "head": b"\x40"}),
            (How.FIXED, {"data": bytes(5), "width": 3, "head": b"\x60"}),
            (How.FIXED, {"data": bytes(5), "width": -3, "head": b"\x60"}),
            (How.CELLS, {"data": b"abc", "places": np.array([0, 4, 4])}),
            (How.INDEXES, {"places": np.array([0, 1]), "width": 8, "cells": np.arange(2), "data": b"\0"}),
            (
                How.INDEXES,
                {"places": np.array([0, -1]), "width": 8, "cells": np.arange(2), "data": b"\0"},
            ),
            (How.INDEXES, {"places": np.array([0, 0]), "width": 8, "cells": np.array([0, 2]), "data": b"\0"}),
            (How.INDEXES, {"places": np.array([0, 0]), "width": 8}),
            (99, {"data": bytes(64)}),
        ],
    )
    def test_they_are_refused(self, how: How, buffers: dict[str, Any]) -> None:
        """A buffer that is too short, an offset that leads out of one, backwards or below zero."""
        with pytest.raises(MalformedError):
            raw(how, 2, **buffers)

    def test_a_value_at_the_end_of_its_buffer_is_copied_as_far_as_it_goes(self) -> None:
        """The short copy that is quick reads no byte behind the last."""
        page = np.frombuffer(b"x" * 4096, np.uint8)
        places = np.array([4094, 4095, 4096])
        agreed = reference_digests(KEY, batch_of(pa.array([b"x", b"x"])))[0]
        assert raw(How.OFFSETS64, 2, data=page, places=places, head=b"\x60") == agreed.tobytes()
        for size in (1, 27, 28, 31, 32, 33):  # of the values, the last of which end where the buffer does
            for one in (4096 - 40 * size, 4096 - 2 * size, 4096 - size - 1):
                array = pa.array([b"x" * size, b"x" * (4096 - one - size)])
                places = np.array([one, one + size, 4096])
                agreed = reference_digests(KEY, batch_of(array))[0]
                assert raw(How.OFFSETS64, 2, data=page, places=places, head=b"\x60") == agreed.tobytes()

    def test_a_store_that_lies_is_told_so(self) -> None:
        """The error is the store's, and names no value."""
        buffers = [None, pa.py_buffer(np.array([0, 9, 3], np.int32)), pa.py_buffer(b"secret")]
        batch = batch_of(pa.Array.from_buffers(pa.binary(), 2, buffers))
        with pytest.raises(PermanentStoreError, match="outside of its memory") as caught:
            Digester(KEY, KERNELS[-1]).digests(batch)
        assert "secret" not in str(caught.value)

    def test_a_value_of_four_gigabytes_has_no_encoding(self) -> None:
        """Refused before any of it is read, whatever is counted with it."""
        data = np.zeros(1 << 32, np.uint8)  # memory that nobody touches
        for size, head in ((1 << 32, b"\x60"), ((1 << 32) - 4, b"\xe0\3s:x")):
            buffers = {"data": data, "places": np.array([0, size]), "head": head}
            with pytest.raises(native.TooLongError):
                raw(How.OFFSETS64, 1, **buffers)
        batch = batch_of(pa.Array.from_buffers(pa.large_binary(), 1, [None, *_of_four_gigabytes(data)]))
        with pytest.raises(PermanentStoreError, match="4 GiB or more"):
            Digester(KEY, KERNELS[-1]).digests(batch)

    @pytest.mark.parametrize(("start", "end"), [(0, 9), (-1, 2), (4, 2), (2**62, 2**62 + 8), (0, 1)])
    def test_rows_of_a_copy_lie_in_its_bytes(self, start: int, end: int) -> None:
        """Where a row is said to begin and end is looked at before it is read."""
        starts, ends, into = np.array([start]), np.array([end]), bytearray(64)
        with pytest.raises(MalformedError):
            native.copied_fields(bytes(8), starts, ends, 1, into, into)
        with pytest.raises(ValueError, match="beyond its bytes"):
            native.copied_rows(bytes(8), 9, 0, into)

    def test_results_have_room(self) -> None:
        """A buffer for fewer digests than rows is refused before anything is written."""
        with pytest.raises(ValueError, match="no room"):
            native.digest(KEY, [], 2, bytearray(63), bytearray(16), LEVELS[0])


def _of_four_gigabytes(data: Any) -> list[pa.Buffer]:
    return [pa.py_buffer(np.array([0, 1 << 32], np.int64)), pa.py_buffer(data)]


class TestChunks:
    """spec/record.md, "Chunk"."""

    @ANYTHING
    @given(st.lists(st.tuples(st.lists(DIGESTS, max_size=12), st.integers(0, 2**40)), max_size=40))
    def test_chunks_have_the_hash_of_the_reference(self, chunks: list[tuple[list[bytes], int]]) -> None:
        """Any number of them side by side, equal digests in them or not, long and short."""
        digests = as_digests(b"".join(digest for chunk, _ in chunks for digest in chunk))
        expected = [chunk_hash(chunk, length) for chunk, length in chunks]
        for one in KERNELS:
            found = one.chunks(digests, [len(c) for c, _ in chunks], [length for _, length in chunks])
            assert found == expected

    @pytest.mark.parametrize("spread", ["random", "equal", "ascending", "descending", "pairs"])
    def test_whole_chunks_whatever_their_order(self, spread: str) -> None:
        """Digests that are spread as no hash spreads them are sorted all the same."""
        count = CHUNK_RECORDS
        table = as_digests(hashlib.shake_256(b"chunk").digest(32 * count)).copy()
        if spread == "equal":
            table[:] = table[0]
        elif spread == "pairs":
            table = np.repeat(table[: count // 2], 2, axis=0)
        elif spread != "random":
            numbers = [n.to_bytes(32, "big") for n in range(count)]
            table = as_digests(b"".join(numbers if spread == "ascending" else reversed(numbers)))
        expected = chunk_hash([table.tobytes()], 7)
        for one in KERNELS:
            assert one.chunks(table, [count], [7]) == [expected]

    def test_partitions_have_the_chunks_of_the_reference(self) -> None:
        """A hundred thousand records, in batches that end anywhere."""
        count = 100_003
        digests = as_digests(hashlib.shake_256(b"partition").digest(32 * count))
        lengths = np.arange(count, dtype=np.int64)
        found = []
        chunker = Chunker(KERNELS[-1])
        for start in range(0, count, 7_001):
            found += chunker.add(digests[start : start + 7_001], lengths[start : start + 7_001])
        found += chunker.finish()
        parts = [slice(at, at + CHUNK_RECORDS) for at in range(0, count, CHUNK_RECORDS)]
        expected = [chunk_hash([digests[p].tobytes()], int(lengths[p].sum())) for p in parts]
        assert [chunk.hash for chunk in found] == expected

    def test_a_chunk_that_is_too_long_is_refused(self) -> None:
        """The kernel has room for 4,096 records, and for as many digests as it is told."""
        with pytest.raises(MalformedError):
            native.chunks(bytes(32 * 4097), [4097], [0], LEVELS[0])
        with pytest.raises(MalformedError):
            native.chunks(bytes(31), [1], [0], LEVELS[0])


class TestPieces:
    """SHA-256 of pieces of a file."""

    @ANYTHING
    @given(st.lists(st.integers(0, 500), max_size=70), st.integers(0, 90))
    def test_pieces_have_the_hash_of_the_reference(self, sizes: list[int], wider: int) -> None:
        """Of any lengths, and what lies between them is of no account."""
        stride = 500 + 128 + wider
        octets = hashlib.shake_256(b"pieces").digest(stride * len(sizes))
        starts = range(0, len(octets), stride)
        expected = [
            hashlib.sha256(octets[at : at + size]).digest() for at, size in zip(starts, sizes, strict=True)
        ]
        for one in KERNELS:
            assert one.pieces(bytearray(octets), stride, sizes) == b"".join(expected)

    @pytest.mark.parametrize(("size", "room"), [(73, 200), (72, 199), (2**64 - 1, 200)])
    def test_a_piece_without_room_behind_it_is_refused(self, size: int, room: int) -> None:
        for one in KERNELS:
            with pytest.raises(MalformedError):
                one.pieces(bytearray(room), 200, [size])
            with pytest.raises(MalformedError):
                one.pieces(bytearray(room), 100, [0])


def described(value: str) -> str:
    line = [sys.executable, "-c", "from cenotaph import kernel; print(kernel.described())"]
    env = {**os.environ, kernel.VARIABLE: value}
    return subprocess.run(line, env=env, capture_output=True, text=True, check=True).stdout


class TestChoosing:
    """Which kernel runs, and that one is told."""

    def test_the_fastest_is_taken_unless_told_otherwise(self) -> None:
        """Without the variable the last level, which is the fastest of the machine."""
        assert f"kernel: {LEVELS[-1].name.lower()}" in described("")
        assert tuple(sorted(LEVELS)) == LEVELS
        assert {Level.SCALAR, Level.BASELINE} <= set(LEVELS)

    def test_a_level_can_be_masked(self) -> None:
        """CENOTAPH_KERNEL names a lower level, or none; what the machine lacks is an error."""
        assert "kernel: scalar" in described("scalar")
        assert "digested in Python" in described("off")
        assert "is none of off, scalar" in described("sse9")

    def test_a_kernel_that_computes_something_else_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wrong digests, or an interface of another version, are an error; there is no seal by them."""
        monkeypatch.delenv(kernel.VARIABLE, raising=False)
        monkeypatch.setattr(native, "digest", lambda *_: None)
        with pytest.raises(UsageError, match="computes wrong digests"):
            kernel.found.__wrapped__()
        monkeypatch.setattr(native, "INTERFACE", 0)
        with pytest.raises(UsageError, match="another version"):
            kernel.found.__wrapped__()


def test_what_is_installed_is_the_folder_and_no_package_of_its_name(tmp_path: Path) -> None:
    """pip takes a word without a slash for a package of the registry, which would be a stranger's."""
    (tmp_path / "Python.h").touch()
    (tmp_path / "python").write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && echo {tmp_path} || echo "$@" >> {tmp_path}/said\n'
    )
    (tmp_path / "python").chmod(0o755)
    root = Path(__file__).parents[1]
    for folder, script in ((root, "kernel/install.sh"), (root / "kernel", "./install.sh")):
        line = [script, str(tmp_path / "python"), str(tmp_path / "stamp")]
        subprocess.run(line, cwd=folder, env={**os.environ, "CC": "true"}, check=True)
    said = (tmp_path / "said").read_text("utf-8").splitlines()
    assert [line.split()[-1] for line in said] == [str(root / "kernel")] * 2
    assert (tmp_path / "stamp").exists()
