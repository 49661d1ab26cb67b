"""The map of a volume against the bytes that really stand on its device."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenotaph.errors import PermanentStoreError
from cenotaph.volume import fsmap
from cenotaph.volume.blocks import extents, journal, parse, read_map, refine
from cenotaph.volume.identify import identify
from cenotaph.volume.model import Map, Place
from volume_images import LOOPS, Image, image, tool

KINDS = pytest.mark.parametrize(
    ("kind", "make"),
    [("ext4", ()), ("ext4", ("-b", "1024")), ("xfs", ("-m", "rmapbt=0")), ("xfs", ("-m", "rmapbt=1"))],
    ids=["ext4", "ext4 of small blocks", "xfs", "xfs with a reverse map"],
)


class Device:
    """The bytes of a volume's device, as they stand after everything was written out."""

    def __init__(self, scratch: Image) -> None:
        self.scratch = scratch
        _run("fsfreeze", "-f", str(scratch.mount))  # journals are written home
        _run("fsfreeze", "-u", str(scratch.mount))
        self.bytes = scratch.file.read_bytes()

    def read(self, offset: int, length: int) -> bytes:
        return self.bytes[offset : offset + length]

    def map(self) -> Map:
        fd = os.open(self.scratch.mount, os.O_RDONLY)
        try:
            return read_map(fd, self.read)
        finally:
            os.close(fd)

    def refined(
        self, *, stores: Sequence[Path] = (), kept: Sequence[Path] = (), folders: Sequence[Path] = ()
    ) -> Map:
        volume = identify(self.scratch.mount)
        return refine(self.map(), volume, stores=stores, kept=kept, folders=folders)

    def places(self, found: Map, mark: bytes) -> set[Place]:
        """The places of all occurrences of `mark`, each of which lies in one place only."""
        assert mark in self.bytes, "the mark is nowhere on the device: the test would prove nothing"
        places: set[Place] = set()
        at = self.bytes.find(mark)
        while at >= 0:
            row = int(np.searchsorted(found.starts, at, side="right")) - 1
            assert at + len(mark) <= found.ends[row], "a mark lies in two places"
            places.add(found.places[row])
            at = self.bytes.find(mark, at + 1)
        return places


def whole(found: Map, size: int) -> bool:
    """Whether every byte has one place, and neighbours are joined."""
    return (
        found.starts[0] == 0
        and found.ends[-1] == size
        and bool((found.starts[1:] == found.ends[:-1]).all())
        and bool((found.starts < found.ends).all())
        and all(a is not b for a, b in zip(found.places, found.places[1:], strict=False))
    )


@contextlib.contextmanager
def volume(tmp_path: Path, kind: str, make: Sequence[str] = (), size: int = 64 << 20) -> Iterator[Image]:
    with image(tmp_path, kind, size, make=make) as scratch:
        yield scratch


# --- the map as the kernel tells it ---------------------------------------------------------


@LOOPS
@KINDS
def test_every_byte_has_one_place(tmp_path: Path, kind: str, make: tuple[str, ...]) -> None:
    """No gap, no overlap, from the first byte of the device to the last."""
    with volume(tmp_path, kind, make) as scratch:
        for number in range(200):
            (scratch.mount / f"{number}").write_bytes(b"x" * number * 100)
        for number in range(0, 200, 2):
            (scratch.mount / f"{number}").unlink()
        device = Device(scratch)

        found = device.map()

        assert whole(found, len(device.bytes))
        assert {Place.FREE, Place.JOURNAL, Place.OTHER} <= set(found.places)
        assert sum(found.size(place) for place in Place) == len(device.bytes)


@LOOPS
@KINDS
def test_a_deleted_file_lies_in_free_blocks(tmp_path: Path, kind: str, make: tuple[str, ...]) -> None:
    """What is still there after rm is found in FREE, and while the file lived it was in use."""
    with volume(tmp_path, kind, make) as scratch:
        mark = b"residue of a deleted file"
        (scratch.mount / "file").write_bytes(mark * 1000)
        device = Device(scratch)
        assert device.places(device.map(), mark * 100) == {Place.OTHER}

        (scratch.mount / "file").unlink()
        device = Device(scratch)

        assert device.places(device.map(), mark * 100) == {Place.FREE}


@LOOPS
@KINDS
def test_names_are_found_in_the_journal(tmp_path: Path, kind: str, make: tuple[str, ...]) -> None:
    """The journal is known, also where the kernel's map takes it for a file: it begins with its magic."""
    with volume(tmp_path, kind, make) as scratch:
        for number in range(300):
            (scratch.mount / f"someone-{number:04}").write_bytes(b"")
        os.sync()
        device = Device(scratch)
        found = device.map()
        start = int(found.of(Place.JOURNAL)[0, 0])

        if kind == "ext4":
            assert device.read(start, 8) == bytes.fromhex("c03b399800000004")
        else:
            assert device.read(start, 4) == bytes.fromhex("feedbabe")
        assert found.size(Place.JOURNAL) >= 1 << 20
        assert Place.JOURNAL in device.places(found, b"someone-0042")


@LOOPS
def test_a_journal_in_many_extents_is_found_whole(tmp_path: Path) -> None:
    """More extents than fit into the inode: their tree is followed."""
    with volume(tmp_path, "ext4", ("-b", "1024", "-g", "256", "-G", "1", "-J", "size=8")) as scratch:
        device = Device(scratch)

        assert device.map().size(Place.JOURNAL) == 8 << 20


@LOOPS
def test_a_volume_without_a_journal_has_none(tmp_path: Path) -> None:
    """ext4 can be made without one."""
    with volume(tmp_path, "ext4", ("-O", "^has_journal")) as scratch:
        found = Device(scratch).map()

        assert found.size(Place.JOURNAL) == 0
        assert whole(found, scratch.file.stat().st_size)


@LOOPS
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_lies_behind_the_end_of_the_file_system_is_free(tmp_path: Path, kind: str) -> None:
    """A device may be larger than its file system: what stands there is nobody's, and could be anything."""
    with volume(tmp_path, kind, size=400 << 20) as scratch:
        scratch.unmount()
        with scratch.file.open("r+b") as file:
            file.truncate((400 << 20) + 12288)
            file.seek(-8, os.SEEK_END)
            file.write(b"leftover")
        _run("losetup", "--set-capacity", str(scratch.device))
        scratch.mount_again()
        device = Device(scratch)
        found = device.map()

        assert whole(found, (400 << 20) + 12288)
        assert device.places(found, b"leftover") == {Place.FREE}


@LOOPS
@tool("mkfs.btrfs")
def test_a_file_system_that_keeps_no_account_is_refused(tmp_path: Path) -> None:
    """btrfs and tmpfs do not say which blocks are free."""
    with image(tmp_path, "btrfs") as scratch:
        fd = os.open(scratch.mount, os.O_RDONLY)
        try:
            with pytest.raises(PermanentStoreError, match="does not say"):
                read_map(fd)
        finally:
            os.close(fd)


@LOOPS
def test_a_journal_on_another_device_is_refused(tmp_path: Path) -> None:
    """ext4 tells of both devices; the second would be read by nobody."""
    with volume(tmp_path, "ext4") as other:
        other.unmount()
        _run("mke2fs", "-q", "-F", "-b", "4096", "-O", "journal_dev", str(other.device))
        with volume(tmp_path, "ext4", ("-J", f"device={other.device}")) as scratch:
            fd = os.open(scratch.mount, os.O_RDONLY)
            try:
                with pytest.raises(PermanentStoreError, match="another device"):
                    read_map(fd)
            finally:
                os.close(fd)


def test_blocks_of_two_owners_and_gaps_stay_in_use() -> None:
    """Shared blocks have two records; what no record tells of is in use, and only behind the end nobody's."""
    records = b"".join(
        fsmap.RECORD.pack(1, flags, physical, owner, 0, length)
        for flags, physical, owner, length in (
            (fsmap.SPECIAL, 4096, 1, 4096),
            (0, 8192, 77, 8192),
            (0, 12288, 78, 8192),
            (fsmap.SPECIAL, 24576, 1, 4096),
            (0x1, 28672, 79, 4096),
            (fsmap.SPECIAL | fsmap.LAST, 32768, (ord("X") << 32) + 2, 4096),
        )
    )

    found = parse(records, 40960)

    assert whole(found, 40960)
    assert list(zip(found.starts.tolist(), found.places, strict=True)) == [
        (0, Place.METADATA),
        (4096, Place.FREE),
        (8192, Place.OTHER),
        (24576, Place.FREE),
        (28672, Place.UNWRITTEN),
        (32768, Place.JOURNAL),
        (36864, Place.FREE),
    ]


def test_an_empty_account_leaves_nothing_out() -> None:
    """A kernel that answers with no record at all: the whole device is unknown, and is searched."""
    assert whole(parse(b"", 1 << 20), 1 << 20)


_SIZE = 1 << 16
_RECORDS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, fsmap.SPECIAL]),
        st.integers(0, _SIZE + 4096),
        st.sampled_from([1, 2, 3, 77, (ord("X") << 32) + 2, (ord("f") << 32) + 9]),
        st.integers(0, _SIZE),
    )
)


@given(_RECORDS, st.lists(st.tuples(st.integers(0, 1 << 70), st.integers(0, 1 << 70))))
def test_whatever_the_kernel_says_every_byte_has_one_place(
    rows: list[tuple[int, int, int, int]], journal: list[tuple[int, int]]
) -> None:
    """Records in any order, over each other, behind the end, and a journal out of a broken super block."""
    records = [fsmap.RECORD.pack(1, flags, start, owner, 0, length) for flags, start, owner, length in rows]

    assert whole(parse(b"".join(records), _SIZE, journal), _SIZE)


@given(st.binary(min_size=64, max_size=64), st.integers(0, 6))
def test_a_broken_super_block_leads_nowhere(inode: bytes, log_size: int) -> None:
    """A journal that cannot be found is no journal: no error, no search without end."""
    head = bytearray(1 << 16)
    struct.pack_into("<LL", head, 1024 + 20, 0, log_size)
    struct.pack_into("<L", head, 1024 + 40, 100)
    struct.pack_into("<H", head, 1024 + 56, 0xEF53)
    struct.pack_into("<H", head, 1024 + 88, 128)
    struct.pack_into("<L", head, 1024 + 224, 8)
    struct.pack_into("<L", head, 7 * 128 + 32, 0x80000)
    head[7 * 128 + 40 : 7 * 128 + 104] = inode
    head[7 * 128 + 40 : 7 * 128 + 42] = b"\x0a\xf3"
    device = bytes(head)

    found = journal(lambda offset, length: device[offset : offset + length])

    assert len(found) < 1 << 20


# --- the files that are known ---------------------------------------------------------------


@LOOPS
@KINDS
def test_content_tail_and_folder_are_told_apart(tmp_path: Path, kind: str, make: tuple[str, ...]) -> None:
    """A store's bytes, those of a kept file, what stands behind their ends, and blocks of their folders."""
    with volume(tmp_path, kind, make) as scratch:
        store, kept, other = (scratch.mount / name for name in ("store", "kept", "other"))
        for folder in (store, kept, other):
            (folder / "below").mkdir(parents=True)
        for number in range(300):
            (store / "below" / f"person-{number:04}-with-a-long-name").write_bytes(b"S" * 100 + b"store mark")
        (kept / "below" / "file").write_bytes(b"K" * 10_000 + b"kept mark")
        (other / "below" / "file").write_bytes(b"other mark")
        _plant_tail(scratch, kept / "below" / "file", b"tail mark")
        device = Device(scratch)

        found = device.refined(stores=[store], kept=[kept / "below" / "file"], folders=[store])

        assert whole(found, len(device.bytes))
        assert device.places(found, b"store mark") == {Place.STORES}
        assert device.places(found, b"kept mark") == {Place.KEPT}
        assert device.places(found, b"other mark") == {Place.OTHER}
        assert device.places(found, b"tail mark") == {Place.TAILS}
        assert Place.FOLDERS in device.places(found, b"person-0299-with")
        assert device.places(found, b"person-0299-with") <= {Place.FOLDERS, Place.JOURNAL}


@LOOPS
@KINDS
def test_holes_and_several_extents(tmp_path: Path, kind: str, make: tuple[str, ...]) -> None:
    """A file in many pieces, with holes between: each piece is found, and no byte that is not its own."""
    with volume(tmp_path, kind, make) as scratch:
        path = scratch.mount / "holes"
        with path.open("wb") as file:
            for number in range(700):
                file.seek(number * 65536)
                file.write(b"piece %05d|" % number + b"p" * 1000)
        device = Device(scratch)
        fd = os.open(path, os.O_RDONLY)
        try:
            runs = extents(fd)
        finally:
            os.close(fd)

        found = device.refined(kept=[path])

        assert len(runs) >= 700
        assert device.places(found, b"piece 0") == {Place.KEPT}
        assert device.bytes.count(b"piece 0") == 700
        assert found.size(Place.KEPT) <= 701 * 4096


@LOOPS
@KINDS
def test_preallocated_blocks_are_not_content(tmp_path: Path, kind: str, make: tuple[str, ...]) -> None:
    """Behind what was written lies what was there before: reserved by a file, and still residue."""
    with volume(tmp_path, kind, make, size=16 << 20 if kind == "ext4" else 300 << 20) as scratch:
        old = scratch.mount / "old"
        old.write_bytes(b"what was there before|" * 200_000)
        device = Device(scratch)
        assert device.places(device.map(), b"what was there before|") <= {Place.OTHER}
        fd = os.open(old, os.O_RDONLY)
        at = extents(fd)[0].physical
        os.close(fd)
        old.unlink()
        Device(scratch)  # xfs frees the blocks of what was removed a while later, or when it is frozen
        path = scratch.mount / "new"
        with path.open("wb") as file:
            with contextlib.suppress(OSError):  # until there is no space left
                for start in range(0, 300 << 20, 1 << 20):
                    os.posix_fallocate(file.fileno(), start, 1 << 20)
            file.write(b"written mark")
            file.flush()
            os.fsync(file.fileno())
        device = Device(scratch)

        found = device.refined(kept=[path])

        assert device.read(at + (1 << 20), 4096).count(b"what was there before|") > 100
        assert Place.UNWRITTEN in device.places(found, b"before|what was there")
        assert Place.KEPT not in device.places(found, b"before|what was there")
        assert device.places(found, b"written mark") == {Place.KEPT}


@LOOPS
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_is_reserved_behind_the_end_is_not_content(tmp_path: Path, kind: str) -> None:
    """fallocate can keep the size: blocks behind the end are UNWRITTEN, however they are marked."""
    with volume(tmp_path, kind) as scratch:
        path = scratch.mount / "file"
        path.write_bytes(b"short mark")
        _run("fallocate", "--keep-size", "--length", "1MiB", str(path))
        device = Device(scratch)

        found = device.refined(kept=[path])

        assert device.places(found, b"short mark") == {Place.KEPT}
        assert found.size(Place.KEPT) == 10
        assert found.size(Place.TAILS) == 4096 - 10
        assert found.size(Place.UNWRITTEN) >= (1 << 20) - 4096


@LOOPS
def test_content_inside_an_inode(tmp_path: Path) -> None:
    """ext4 can keep small files in their inodes: the part that begins there is KEPT, the inode METADATA."""
    with volume(tmp_path, "ext4", ("-O", "inline_data", "-I", "256")) as scratch:
        (scratch.mount / "small").write_bytes(b"inline mark")
        (scratch.mount / "other").write_bytes(b"inline of another")
        device = Device(scratch)

        found = device.refined(kept=[scratch.mount / "small"])

        assert found.size(Place.KEPT) == len(b"inline mark")
        assert Place.KEPT in device.places(found, b"inline mark")
        assert device.places(found, b"inline mark") <= {Place.KEPT, Place.JOURNAL}
        assert device.places(found, b"inline of another") <= {Place.METADATA, Place.JOURNAL}


@LOOPS
def test_blocks_that_two_files_share(tmp_path: Path) -> None:
    """A reflinked copy of a store's file that is kept: searched as the store's."""
    with volume(tmp_path, "xfs") as scratch:
        store, kept = scratch.mount / "store", scratch.mount / "kept"
        store.write_bytes(b"shared mark" * 1000)
        _run("cp", "--reflink=always", str(store), str(kept))
        device = Device(scratch)

        found = device.refined(stores=[store], kept=[kept])

        assert whole(found, len(device.bytes))
        assert device.places(found, b"shared mark" * 100) == {Place.STORES}


@LOOPS
def test_a_link_leads_nowhere_and_another_volume_stays_out(tmp_path: Path) -> None:
    """What lies elsewhere has addresses of its own: taken for ours, they would excuse residue."""
    with volume(tmp_path, "ext4") as scratch, volume(tmp_path, "ext4") as other:
        (scratch.mount / "aim").write_bytes(b"aim mark")
        (scratch.mount / "folder" / "mounted").mkdir(parents=True)
        (scratch.mount / "folder" / "link").symlink_to(scratch.mount / "aim")
        os.mkfifo(scratch.mount / "folder" / "pipe")
        (other.mount / "foreign").write_bytes(b"f" * 1_000_000)
        device = Device(scratch)
        _run("mount", "--bind", str(other.mount), str(scratch.mount / "folder" / "mounted"))
        try:
            found = device.refined(
                kept=[scratch.mount / "folder", scratch.mount / "gone", other.mount / "foreign"]
            )
        finally:
            _run("umount", str(scratch.mount / "folder" / "mounted"))

        assert found.size(Place.KEPT) == 0
        assert device.places(found, b"aim mark") == {Place.OTHER}


@LOOPS
def test_free_blocks_are_never_excused(tmp_path: Path) -> None:
    """A file that was written after the map was read changes nothing in it."""
    with volume(tmp_path, "ext4") as scratch:
        device = Device(scratch)
        before = device.map()
        (scratch.mount / "late").write_bytes(b"late mark" * 1000)
        os.sync()

        found = refine(before, identify(scratch.mount), stores=[], kept=[scratch.mount / "late"], folders=[])

        assert found.size(Place.KEPT) == 0
        assert found.size(Place.FREE) == before.size(Place.FREE)


@LOOPS
def test_many_files_in_deep_folders(tmp_path: Path) -> None:
    """Folders wait by name, not open: neither their number nor their depth is a limit."""
    with volume(tmp_path, "ext4") as scratch:
        deep = scratch.mount / "deep"
        here = deep
        for _ in range(400):
            here = here / "d"
        here.mkdir(parents=True)
        (here / "file").write_bytes(b"deep mark")
        wide = scratch.mount / "deep" / "wide"
        for number in range(1500):
            (wide / f"{number}").mkdir(parents=True)
        device = Device(scratch)

        found = device.refined(stores=[deep])

        assert device.places(found, b"deep mark") == {Place.STORES}
        assert found.size(Place.FOLDERS) >= 1900 * 4096


# --- helpers --------------------------------------------------------------------------------


def _plant_tail(scratch: Image, path: Path, mark: bytes) -> None:
    """Write behind the end of a file, in its last block, as an older file would have left it there."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        run = extents(fd)[-1]
        at = run.physical + path.stat().st_size - run.logical + 16
    finally:
        os.close(fd)
    scratch.unmount()
    with scratch.file.open("r+b") as file:
        file.seek(at)
        file.write(mark)
    scratch.mount_again()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
