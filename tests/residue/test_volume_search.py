"""A volume searched as a whole: each place and encoding planted raw in an image, found and attributed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
from collections.abc import Sequence

import lz4.frame
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph.residue import volume
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import SPLIT, Limits, Scanner, scan
from cenotaph.residue.shapes import IDENTITY, MOBILE, Together
from cenotaph.residue.volume import LIMITS, PIECE, STEP, Searched, _Source, search
from cenotaph.volume.model import Map, Place

KEY, SEED = bytes(range(32)), bytes(32)
BLOCK = 4096
NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Image:
    """A device in memory, that can fail."""

    def __init__(self, data: bytes | bytearray, bad: tuple[int, int] = (0, 0)) -> None:
        self.data, self.bad, self.reads = data, bad, 0
        self._failed = False

    @property
    def unread(self) -> list[tuple[int, int]]:
        return [(self.bad[0], self.bad[1] - self.bad[0])] if self._failed else []

    @property
    def size(self) -> int:
        return len(self.data)

    def pread(self, offset: int, length: int) -> bytes:
        self.reads += length
        data = bytearray(self.data[offset : offset + length])
        begin, end = max(self.bad[0], offset), min(self.bad[1], offset + length)
        if begin < end:
            data[begin - offset : end - offset] = bytes(end - begin)
            self._failed = True
        return bytes(data)

    def readinto(self, offset: int, into: memoryview) -> int:
        data = self.pread(offset, len(into))
        into[: len(data)] = data
        return len(data)

    def owners(self, offsets: Sequence[int]) -> list[str]:
        return [f"inode {offset // BLOCK}, a regular file" for offset in offsets]


def mapped(*parts: tuple[Place, int]) -> Map:
    """A map of parts of so many blocks, one behind the other."""
    ends = np.cumsum([blocks * BLOCK for _, blocks in parts], dtype=np.int64)
    return Map(np.concatenate([[0], ends[:-1]]), ends, tuple(place for place, _ in parts))


def identities(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [identity(draw) for _ in range(count)]


def identity(draw: random.Random) -> str:
    body = f"{draw.choice((110101, 320200, 650104))}{draw.randrange(1930, 2020)}"
    body += f"{draw.randrange(1, 13):02d}{draw.randrange(1, 29):02d}{draw.randrange(1000):03d}"
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, WEIGHTS, strict=True)) % 11]


def needles(values: list[str], kind: str = "id") -> Needles:
    builder = NeedleBuilder(KEY)
    builder.add(pa.array(values, pa.string()), kind)
    return builder.finish()


def text(values: list[str]) -> bytes:
    return "".join(f"{n},{value},x\n" for n, value in enumerate(values)).encode()


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("people.csv", data)
    return out.getvalue()


FORMS = {
    "utf-8": text,
    "utf-16": lambda v: text(v).decode().encode("utf-16-le"),
    "int64": lambda v: b"".join(b"." + int(x.replace("X", "0")).to_bytes(8, "big") for x in v),
    "gzip": lambda v: gzip.compress(text(v)),
    "zip": lambda v: zipped(text(v)),
    "zstd": lambda v: zstandard.compress(text(v), 3),
    "lz4": lambda v: lz4.frame.compress(text(v)),
    "bz2": lambda v: bz2.compress(text(v)),
    "xz": lambda v: lzma.compress(text(v)),
}
RESIDUE = [place for place in Place if place not in (Place.KEPT, Place.STORES)]


def planted(place: Place, data: bytes) -> tuple[Image, Map]:
    """An image in which a place holds these bytes, between free blocks of zeros."""
    blocks = -(-len(data) // BLOCK) + 1
    image = bytearray((blocks + 64) * BLOCK)
    image[32 * BLOCK + 100 : 32 * BLOCK + 100 + len(data)] = data
    return Image(image), mapped((Place.FREE, 32), (place, blocks), (Place.FREE, 32))


# --- places and encodings


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", RESIDUE)
def test_every_encoding_is_found_in_every_place(place, form):
    """50 values in each encoding, in each place: all found there, and nowhere else."""
    values = [value.replace("X", "0") for value in identities(1, 50)]
    image, map_ = planted(place, FORMS[form](values))

    found = search(image, map_, needles(values), SEED)

    assert len(found.residue) == 50
    assert found.kept == set()
    assert {key[0] for key in found.by_place} == {place.value}
    assert found.read == image.size
    assert (
        found.strangers == set() or form == "lz4"
    )  # whose pieces of plain text end in the middle of numbers


@pytest.mark.parametrize("form", FORMS)
def test_what_stays_is_kept_and_what_stores_search_is_left_to_them(form):
    """The same bytes in a kept file are kept elsewhere; in a store's file they are found when asked for."""
    values = [value.replace("X", "0") for value in identities(1, 50)]
    what = needles(values)
    kept = search(*planted(Place.KEPT, FORMS[form](values)), what, SEED)
    left = search(*planted(Place.STORES, FORMS[form](values)), what, SEED)
    asked = search(*planted(Place.STORES, FORMS[form](values)), what, SEED, including=(Place.STORES,))

    assert (len(kept.kept), kept.residue) == (50, set())
    assert (left.residue, left.kept) == (set(), set())
    assert len(asked.residue) == 50


def test_no_needles_no_findings():
    """What nobody searches for is not found; people that nobody sealed are, by shape."""
    values = identities(2, 50)
    image, map_ = planted(Place.FREE, text(values))

    nothing = search(image, map_, needles(identities(3, 50)), SEED)

    assert nothing.residue == set()
    assert len(nothing.strangers) == 50
    assert {key[2] for key in nothing.by_place} == {IDENTITY}


def test_strangers_are_sought_only_where_nothing_of_others_lives():
    """Numbers in other people's live files are theirs."""
    data = text([*identities(4, 5), "13812345678"])

    free = search(*planted(Place.FREE, data), needles([]), SEED)
    other = search(*planted(Place.OTHER, data), needles([]), SEED)

    assert len(free.strangers) == 6
    assert {key[2] for key in free.by_place} == {IDENTITY, MOBILE}
    assert (other.strangers, other.by_place) == (set(), {})


def test_file_names_are_found_where_folders_hold_them():
    """A directory block has the name, not the folder before it: sought too, unless it says nothing."""
    paths = ["2021/病历/王小明.jpg", "2021/病历/扫描/李建国.pdf", "2021/scans/scan-01.pdf"]
    entries = b"".join(path.rpartition("/")[2].encode().ljust(64, b"\x00") for path in paths)

    found = search(*planted(Place.FOLDERS, entries), needles(paths, "path"), SEED)

    assert len(found.residue) == 2
    assert found.by_place == {(Place.FOLDERS.value, "raw", "path"): 2}


# --- one place is one stream


def test_a_value_across_two_pieces_of_free_space_is_found():
    """A file that lay around somebody else's block: its parts are neighbours among the free blocks."""
    (value,) = identities(5, 1)
    data = bytearray(30 * BLOCK)
    data[10 * BLOCK - 7 : 10 * BLOCK] = value[:7].encode()
    data[20 * BLOCK : 20 * BLOCK + 11] = value[7:].encode()
    map_ = mapped((Place.FREE, 10), (Place.OTHER, 10), (Place.FREE, 10))
    apart = mapped((Place.FREE, 10), (Place.OTHER, 10), (Place.JOURNAL, 10))

    assert len(search(Image(data), map_, needles([value]), SEED).residue) == 1
    assert search(Image(data), apart, needles([value]), SEED).residue == set()


def test_a_compressed_file_around_a_live_one_is_decoded():
    """gzip goes on behind blocks in use, which are not fed to its decoder."""
    values = identities(6, 4000)
    packed = gzip.compress(text(values))
    first = len(packed) // 2 // BLOCK * BLOCK
    live = random.Random(7).randbytes(50 * BLOCK)
    rest = packed[first:].ljust(len(packed) // BLOCK * BLOCK + 2 * BLOCK, b"\x00")
    rest = rest[: len(rest) // BLOCK * BLOCK]
    map_ = mapped((Place.FREE, first // BLOCK), (Place.OTHER, 50), (Place.FREE, len(rest) // BLOCK))

    found = search(Image(packed[:first] + live + rest), map_, needles(values), SEED)

    assert len(found.residue) == 4000


def test_values_across_reads_are_found_once():
    """A value that lies across two reads of the device counts once, wherever the cut is."""
    values = identities(8, 18)
    data = bytearray(2 * STEP + BLOCK)
    for nth, value in enumerate(values[:-1]):
        image = bytearray(data)
        image[STEP - nth - 1 : STEP - nth + 17] = value.encode()

        found = search(Image(image), mapped((Place.FREE, len(data) // BLOCK)), needles(values), SEED)

        assert sum(found.by_place.values()) == 1


# --- what is said beside the findings


def test_blank_blocks_are_counted_and_only_free_ones():
    """A block with one byte in it is not blank."""
    data = bytearray(100 * BLOCK)
    data[3 * BLOCK + 17] = 1
    data[60 * BLOCK] = 1
    map_ = mapped((Place.FREE, 50), (Place.METADATA, 40), (Place.FREE, 10))

    found = search(Image(data), map_, needles([]), SEED)

    assert (found.free, found.blank) == (60 * BLOCK, 59 * BLOCK)


def test_what_cannot_be_read_is_told_and_what_lies_around_is_searched():
    """Two bad blocks: everything else is found, the two are missing in what was read."""
    values = identities(9, 3)
    data = bytearray(3 * STEP)
    spots = (STEP - 100, STEP + 8 * BLOCK - 18, 2 * STEP + 5)
    for spot, value in zip(spots, values, strict=True):
        data[spot : spot + 18] = value.encode()
    bad = (STEP + 8 * BLOCK, STEP + 10 * BLOCK)

    found = search(Image(data, bad), mapped((Place.FREE, len(data) // BLOCK)), needles(values), SEED)

    assert len(found.residue) == 3
    assert found.read == len(data) - 2 * BLOCK
    assert f"{2 * BLOCK} bytes in 1 ranges of the device could not be read" in found.unreachable


def test_hits_in_use_are_told_with_their_owners():
    """Where something was found in blocks in use, whose they are is said, without names."""
    values = identities(10, 3)
    image, map_ = planted(Place.OTHER, text(values))

    found = search(image, map_, needles(values), SEED)

    assert found.owners == (f"{Place.OTHER}: inode 32, a regular file",)


def test_a_volume_that_moves_is_noticed():
    """Pieces that nobody could foresee are read before and after; a change between is seen."""

    class Moving(Image):
        def pread(self, offset: int, length: int) -> bytes:
            data = super().pread(offset, length)
            return data.replace(b"\x00", b"\x01") if self.reads > 2 * self.size else data

    data = bytes(4 * PIECE)
    map_ = mapped((Place.FREE, len(data) // BLOCK))

    assert search(Moving(data), map_, needles([]), SEED).moved
    assert not search(Image(data), map_, needles([]), SEED).moved


def test_progress_is_told():
    """How far the search is, in MiB of the device."""
    told: list[tuple[str, int, int]] = []
    data = bytes(3 * STEP)

    search(
        Image(data),
        mapped((Place.FREE, len(data) // BLOCK)),
        needles([]),
        SEED,
        lambda *all_: told.append(all_),
    )

    assert told == [("volume searched, MiB", at, 24) for at in (8, 16, 24)]


# --- zeros


parts = st.lists(
    st.tuples(
        st.sampled_from([1, 17, 511, 512, 513, 4095, 4096, 70_000, 200_001, (1 << 20) + 6, 5 << 20]),
        st.sampled_from(["id", "gzip", "int", "utf-16", "noise", "zip"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=40, deadline=None)
@given(parts, st.sampled_from([4096, 65_536, 100_000, 1 << 20, 4 << 20]))
def test_zeros_passed_over_hide_nothing(parts_, step):
    """The same findings, offsets included, whether zeros are searched or passed over, however it is fed."""
    values = identities(11, 6)
    what = needles(values)
    data = b""
    for zeros, form, nth in parts_:
        value = values[nth]
        whole = int(value.replace("X", "0")).to_bytes(8, "big")
        pieces = {
            "id": value.encode(),
            "gzip": gzip.compress(value.encode() * 40),
            "int": whole,
            "utf-16": value.encode("utf-16-be"),
            "noise": random.Random(nth).randbytes(5000),
            "zip": zipped(value.encode() * 3),
        }
        data += bytes(zeros) + pieces[form]
    slow = Scanner(Unpacked(what), NOTHING_KEPT, io.BytesIO(data))
    slow.feed(data)
    fast = Scanner(Together(what), NOTHING_KEPT, io.BytesIO(data), limits=LIMITS)
    for at in range(0, len(data), step):
        fast.feed(data[at : at + step])

    expected, found = slow.finish(), fast.finish()

    assert found.counts == expected.counts
    assert found.residue == expected.residue
    assert sorted((h.offset, h.lane, h.needle) for h in found.hits) == sorted(
        (h.offset, h.lane, h.needle) for h in expected.hits
    )
    assert found.scanned == len(data)


class Unpacked(Together):
    """Finds as `Together` does, in data whose every tile is full, so that nothing is passed over."""

    longest = 1 << 21  # no zeros are left out within this reach of anything else

    def __init__(self, needles_: Needles) -> None:
        super().__init__(needles_)
        self.longest = 1 << 21


def test_a_decoder_in_a_desert_of_zeros_is_closed():
    """A stream cut off before a long run of zeros is told as cut off, and what it held is found."""
    values = identities(12, 2000)
    packed = gzip.compress(text(values))
    data = packed[: len(packed) // 2] + bytes(64 << 20)

    findings = scan(
        io.BytesIO(data), len(data), Together(needles(values)), NOTHING_KEPT, limits=Limits(zeros=1 << 20)
    )

    assert 500 < len(findings.residue) < 2000
    assert findings.scanned == len(data)


def summary(found: Searched) -> tuple[object, ...]:
    return found.residue, found.strangers, found.by_place, found.blank


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_the_map_decides_attribution_not_the_order_of_reading(seed, count):
    """However the same bytes are cut into places, each hit is counted in the place of its first byte."""
    draw = random.Random(seed)
    values = identities(13, count)
    places = [draw.choice(RESIDUE) for _ in values]
    data = b"".join(value.encode().ljust(BLOCK, b"\x00") for value in values)

    found = search(Image(data), mapped(*((place, 1) for place in places)), needles(values), SEED)

    assert {key[0] for key in found.by_place} == {place.value for place in places}
    assert sum(found.by_place.values()) == count


def test_what_a_decoder_looks_back_at_is_read_from_the_device_once() -> None:
    """Pages of PostgreSQL pass for SQLite's, whose overflow is then looked for all over the last 72 MiB: each
    look had read a MiB anew."""
    device = Image(bytes(48 << 20))
    source = _Source(device, np.array([[0, device.size]]))

    for _ in range(3):
        for at in range(0, device.size, 1 << 20):
            source.seek(at)
            source.read(64)

    assert device.reads == device.size


@pytest.mark.parametrize("size", [100, SPLIT, SPLIT + 100])
def test_memory_that_was_fed_may_be_used_again(size: int) -> None:
    """The next piece of a volume is read into memory of one before it: nothing is looked at there again."""
    values = identities(9, 2)
    data = b"x" * (size - 18 - 9) + values[0].encode() + values[1].encode()[:9]
    rest = values[1].encode()[9:].ljust(size, b"y")
    room = bytearray(data)
    scanner = Scanner(needles(values), NOTHING_KEPT, io.BytesIO(data + rest))
    for piece in (data, rest):
        room[:] = piece
        scanner.feed(memoryview(room))
        room[:] = b"z" * size
    assert sorted(hit.offset for hit in scanner.finish().hits) == [size - 27, size - 9]


@pytest.mark.parametrize("block", [1024, 4096, 12288, 1 << 19])
def test_blocks_of_zeros_say_which_pieces_are_zeros(block: int) -> None:
    """As far as whole blocks make whole pieces of them; what is behind is left to the search."""
    data = bytearray(3 * SPLIT + 5000)
    data[SPLIT + 77] = 1
    zero, blank = volume._blank(memoryview(data), block)
    assert zero == len(data) - min(block, SPLIT * 2)
    assert blank == ([] if SPLIT % block else [True, False, True])
