"""What every byte of a volume is for, as the file system itself says: GETFSMAP, then FIEMAP of chosen files.

What surprised its author: neither ext4 nor an xfs without a reverse map tells its journal apart from files,
so that the place of the journal comes from the super block; xfs answers FIEMAP for no folder and wants
GETBMAPX; an extent goes on behind the end of its file, and what lies there is what was there before.

Where nothing is known, the answer is the one that excuses least: a place in which a hit is residue.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cenotaph.durable import Beneath, fiemap
from cenotaph.errors import PermanentStoreError
from cenotaph.volume import fsmap
from cenotaph.volume.model import Map, Place, Volume

Read: TypeAlias = Callable[[int, int], bytes]
"""Reads (offset, length) of the device."""

_PLACES = tuple(Place)
_CODE = {place: code for code, place in enumerate(_PLACES)}
_FREE, _OTHER = _CODE[Place.FREE], _CODE[Place.OTHER]
_Ints: TypeAlias = npt.NDArray[np.int64]


# --- the map of the whole volume ------------------------------------------------------------


def read_map(mount_fd: int, read: Read | None = None) -> Map:
    """Every byte of the volume that the open folder `mount_fd` lies on: FREE, JOURNAL, METADATA, OTHER.

    What lies behind the end of the file system is FREE: it is nobody's, and can hold anything. `read`
    gives bytes of the device; without it a journal that only the super block tells of is OTHER.

    Raises:
        PermanentStoreError: this file system, or this kernel, does not say (Linux 4.16 does).
    """
    try:
        records = fsmap.records(mount_fd)
    except OSError as error:
        raise unmapped(error) from None
    return parse(records, size_of(os.fstat(mount_fd).st_dev), journal(read) if read else [])


def unmapped(error: OSError) -> PermanentStoreError:
    """What to raise where the kernel gave no account of the blocks, or nobody would hand it over."""
    if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
        return PermanentStoreError(
            "this file system does not say which of its blocks are free",
            hint="the volume must be ext4 or xfs, under Linux 4.16 or later",
        )
    why = errno.errorcode.get(error.errno or 0, "error")
    return PermanentStoreError(
        f"the volume could not be opened below its files ({why})",
        hint="run `cenotaph doctor`: it says what is missing",
    )


def size_of(number: int) -> int:
    """Bytes of a block device, by its st_dev."""
    text = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/size").read_text(encoding="ascii")
    return int(text) * 512


_RECORD = np.dtype(
    {
        "names": ["device", "flags", "physical", "owner", "length"],
        "formats": ["<u4", "<u4", "<u8", "<u8", "<u8"],
        "offsets": [0, 4, 8, 16, 32],
        "itemsize": fsmap.RECORD.size,
    }
)
_PREALLOCATED = 0x1
_OWNERS = {  # linux/fsmap.h, fs/ext4/fsmap.h, fs/xfs/libxfs/xfs_fs.h
    1: Place.FREE,
    2: Place.OTHER,  # in use, by a file or a folder
    3: Place.METADATA,
    (ord("X") << 32) + 1: Place.METADATA,  # super blocks and headers
    (ord("X") << 32) + 2: Place.JOURNAL,
    (ord("X") << 32) + 3: Place.METADATA,  # of an allocation group
    (ord("X") << 32) + 4: Place.METADATA,  # inode B-trees
    (ord("X") << 32) + 5: Place.METADATA,  # inodes
    (ord("X") << 32) + 6: Place.METADATA,  # reference counts
    **{(ord("f") << 32) + n: Place.METADATA for n in (1, 2, 3, 4)},  # ext4: descriptors, bitmaps
}


def parse(records: bytes, size: int, journal: Iterable[tuple[int, int]] = ()) -> Map:
    """A map from GETFSMAP's records, of a device of `size` bytes, with a `journal` known by other means.

    Raises `PermanentStoreError` where the records tell of a second device: part of the file system
    lies where nobody would read it.
    """
    table = np.frombuffer(records, dtype=_RECORD)
    if len(np.unique(table["device"])) > 1:
        raise PermanentStoreError(
            "the file system keeps a part of it (journal or data) on another device",
            hint="L3 needs a file system that lies on one device",
        )
    table = table[np.argsort(table["physical"], kind="stable")]
    starts = np.minimum(table["physical"].astype(np.int64), size)
    ends = np.minimum(starts + table["length"].astype(np.int64), size)
    pieces = _whole(starts, ends, _codes(table), size)
    told = [(min(start, size), min(end, size), _CODE[Place.JOURNAL]) for start, end in journal]
    return _made(*_painted(*pieces, _columns(told), over=(_OTHER,)))


def _codes(table: npt.NDArray[np.void]) -> _Ints:
    codes = np.full(len(table), _OTHER, dtype=np.int64)
    special = (table["flags"] & fsmap.SPECIAL) != 0
    for owner, place in _OWNERS.items():
        codes[special & (table["owner"] == owner)] = _CODE[place]
    codes[~special & ((table["flags"] & _PREALLOCATED) != 0)] = _CODE[Place.UNWRITTEN]
    return codes


def _whole(starts: _Ints, ends: _Ints, codes: _Ints, size: int) -> tuple[_Ints, _Ints, _Ints]:
    """Sorted records made gapless and disjoint.

    Shared blocks have one record for each owner, and the first counts: of two, none is free. Before the
    first record stands what boots; what is left out between two is in use.
    """
    before = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]]) if len(ends) else starts
    begins = np.maximum(starts, before)
    keep = begins < ends
    begins, stops, kinds = begins[keep], ends[keep], codes[keep]
    gap_ends = np.concatenate([begins, [size]])
    gap_starts = np.concatenate([[0], stops])
    gap_codes = np.full(len(gap_starts), _OTHER, dtype=np.int64)
    gap_codes[0] = _CODE[Place.METADATA]
    gap_codes[-1] = _FREE
    real = gap_starts < gap_ends
    all_starts = np.concatenate([begins, gap_starts[real]])
    order = np.argsort(all_starts)
    return (
        all_starts[order],
        np.concatenate([stops, gap_ends[real]])[order],
        np.concatenate([kinds, gap_codes[real]])[order],
    )


def _columns(pieces: Iterable[tuple[int, int, int]]) -> _Ints:
    return np.array(list(pieces), dtype=np.int64).reshape(-1, 3)


def _painted(
    starts: _Ints, ends: _Ints, codes: _Ints, over_with: _Ints, *, over: tuple[int, ...]
) -> tuple[_Ints, _Ints, _Ints]:
    """A gapless map with the rows (start, end, code) of `over_with` painted over some codes only."""
    size = int(ends[-1]) if len(ends) else 0
    rows = over_with[over_with[:, 0] < over_with[:, 1]]
    cuts = np.unique(np.concatenate([starts, [size], np.clip(rows[:, :2].ravel(), 0, size)]))
    if len(cuts) < 2:
        return starts, ends, codes
    painted = codes[np.searchsorted(starts, cuts[:-1], side="right") - 1]
    allowed = np.isin(painted, over)
    for code in np.unique(rows[:, 2]).tolist():
        chosen = np.clip(rows[rows[:, 2] == code][:, :2], 0, size)
        change = np.zeros(len(cuts), dtype=np.int64)
        np.add.at(change, np.searchsorted(cuts, chosen[:, 0]), 1)
        np.add.at(change, np.searchsorted(cuts, chosen[:, 1]), -1)
        painted = np.where(allowed & (np.cumsum(change)[:-1] > 0), code, painted)
    return cuts[:-1], cuts[1:], painted


def _made(starts: _Ints, ends: _Ints, codes: _Ints) -> Map:
    """Neighbours of one place joined."""
    if not len(starts):
        return Map(starts, ends, ())
    new = np.concatenate([[True], codes[1:] != codes[:-1]])
    last = np.concatenate([new[1:], [True]])
    return Map(starts[new], ends[last], tuple(_PLACES[code] for code in codes[new].tolist()))


# --- where the journal is -------------------------------------------------------------------


def journal(read: Read) -> list[tuple[int, int]]:
    """Byte ranges of the journal inside an ext4 or xfs file system, from its super block; else none.

    None also where the super block leads astray: the journal is OTHER then.
    """
    head = read(0, 4096)
    try:
        if head[:4] == b"XFSB":
            return _xfs_log(head)
        if head[1080:1082] == b"\x53\xef":
            return _ext4_journal(read, head[1024:2048])
    except struct.error:  # shorter than it must be: behind the end of the device
        pass
    return []


def encrypts(read: Read) -> bool:
    """Whether ext4 may hold files whose content and names it encrypted (fscrypt; the feature `encrypt`)."""
    head = read(1024, 1024)
    return head[56:58] == b"\x53\xef" and bool(int.from_bytes(head[96:100], "little") & _ENCRYPT_FLAG)


def _xfs_log(head: bytes) -> list[tuple[int, int]]:
    """xfs_dsb of fs/xfs/libxfs/xfs_format.h: the log's first block is (group, block in it), packed."""
    block, start, group_blocks, blocks = struct.unpack_from(">4xL40xQ28xL8xL", head)
    if not start:
        return []
    shift = (group_blocks - 1).bit_length()
    first = (start >> shift) * group_blocks + (start & ((1 << shift) - 1))
    return [(first * block, (first + blocks) * block)]


_EXTENTS_FLAG, _64BIT, _ENCRYPT_FLAG = 0x80000, 0x80, 0x10000
_DEEPEST = 5
_EXTENT_MAGIC, _MOST_NODES = 0xF30A, 1 << 10  # a tree that leads back to itself ends there
_LARGEST = 6  # block sizes are 1 KiB to 64 KiB: 1024 << 6


def _ext4_journal(read: Read, head: bytes) -> list[tuple[int, int]]:
    """The blocks of the journal's inode (Documentation/filesystems/ext4). One that is mapped by the
    indirect blocks of ext3 stays OTHER."""
    first, log_size = struct.unpack_from("<LL", head, 20)
    (per_group,) = struct.unpack_from("<L", head, 40)
    (inode_size,) = struct.unpack_from("<H", head, 88)
    (features,) = struct.unpack_from("<L", head, 96)
    (number,) = struct.unpack_from("<L", head, 224)
    (entry,) = struct.unpack_from("<H", head, 254)
    if not number or not per_group or log_size > _LARGEST:
        return []
    block = 1024 << log_size
    entry = entry if features & _64BIT else 32
    group, index = divmod(number - 1, per_group)
    descriptor = read((first + 1) * block + group * entry, entry)
    (table,) = struct.unpack_from("<L", descriptor, 8)
    if entry >= 64:
        table += struct.unpack_from("<L", descriptor, 40)[0] << 32
    inode = read(table * block + index * inode_size, 128)
    if not struct.unpack_from("<L", inode, 32)[0] & _EXTENTS_FLAG:
        return []
    return [(start * block, end * block) for start, end in _leaves(read, inode[40:100], block)]


def _leaves(read: Read, root: bytes, block: int) -> list[tuple[int, int]]:
    """The extents, in blocks, of an extent tree (struct ext4_extent_header and below)."""
    found: list[tuple[int, int]] = []
    waiting, seen = [root], 0
    while waiting and seen < _MOST_NODES:
        node, seen = waiting.pop(), seen + 1
        magic, entries, _, depth = struct.unpack_from("<4H", node)
        if magic != _EXTENT_MAGIC or depth > _DEEPEST:
            return []
        for at in range(12, 12 + 12 * entries, 12):
            if depth:
                _, low, high = struct.unpack_from("<LLH", node, at)
                waiting.append(read((low + (high << 32)) * block, block))
            else:
                _, length, high, low = struct.unpack_from("<LHHL", node, at)
                start = low + (high << 32)
                found.append((start, start + (length if length <= 0x8000 else length - 0x8000)))
    return found


# --- where the bytes of a file are ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mapped:
    """A run of bytes of a file (`logical`) and where it lies on the device (`physical`)."""

    logical: int
    physical: int
    length: int
    unwritten: bool  # preallocated: reads as zeros, and what was there before is still there
    inline: bool  # inside the inode: `physical` has no alignment
    shared: bool  # with another file


_NOWHERE, _INLINE, _UNWRITTEN, _SHARED = 0x2 | 0x4, 0x200, 0x800, 0x2000  # FIEMAP's flags
_A_CALL = 512


def extents(fd: int) -> list[Mapped]:
    """Where the bytes of an open file or folder lie, what is still in memory written out first.

    By FIEMAP (kernel Documentation/filesystems/fiemap.rst), and for a folder of xfs by GETBMAPX
    (xfsprogs, ioctl_xfs_getbmap(2)). Holes are left out, and so is what lies beyond the last extent.
    Raises `OSError` (EOPNOTSUPP, ENOTTY) where the file system does not say.
    """
    try:
        return list(_fiemap(fd))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY) or not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise
    return list(_getbmapx(fd))


def _fiemap(fd: int) -> Iterator[Mapped]:
    for logical, physical, length, flags in fiemap(fd):
        if not flags & _NOWHERE:
            unwritten, inline, shared = (bool(flags & flag) for flag in (_UNWRITTEN, _INLINE, _SHARED))
            yield Mapped(logical, physical, length, unwritten, inline, shared)


_XFS_IOC_GETBMAPX = 0xC0205838  # its number carries the size of the older struct getbmap
_BMAP = struct.Struct("=qqqLLLLLL")  # offset, block, length, room, entries, flags in, flags out


def _getbmapx(fd: int) -> Iterator[Mapped]:
    """In sectors of 512 bytes; blocks below zero are holes. What is inside the inode gives no entry."""
    start = 0
    while True:
        header = _BMAP.pack(start, 0, -1, _A_CALL + 1, 0, 0, 0, 0, 0)
        buffer = bytearray(header + bytes(_A_CALL * _BMAP.size))
        fcntl.ioctl(fd, _XFS_IOC_GETBMAPX, buffer)
        count = _BMAP.unpack_from(buffer)[4]
        for at in range(1, count + 1):
            offset, block, length = _BMAP.unpack_from(buffer, at * _BMAP.size)[:3]
            start = offset + length
            if block >= 0:
                yield Mapped(offset * 512, block * 512, length * 512, False, False, False)
        if count < _A_CALL:
            return


# --- whose the blocks in use are ------------------------------------------------------------


def refine(
    map: Map,
    volume: Volume,
    *,
    stores: Iterable[Path],
    kept: Iterable[Path],
    folders: Iterable[Path],
    since: int | None = None,
) -> Map:
    """Of the blocks in use, tell apart those of known files, as they are now.

    `stores` and `kept` are files or folders with all that is beneath them on this volume; `folders` are
    folders without it, each with those above it. A file's bytes that were written, up to its end, become
    STORES or KEPT; from there to the end of the block TAILS; what was reserved and never written
    UNWRITTEN; blocks of folders FOLDERS. Symbolic links are not followed. What is gone meanwhile, or
    may not be opened, stays OTHER, and so does what was written since the map was read.

    `since` (nanoseconds since the epoch): a store's file whose status changed then or later stays OTHER. The
    store's own search, which began then, may not have seen what is in it now.
    """
    walk = _Walk(volume, since)
    for path in kept:
        walk.tree(path, Place.KEPT)
    for path in stores:
        walk.tree(path, Place.STORES)
    for path in folders:
        walk.upwards(path)
    codes = np.array([_CODE[place] for place in map.places], dtype=np.int64)
    inline = (_CODE[Place.METADATA],)  # of ext4, whose inodes can hold the content of small files
    pieces = _painted(map.starts, map.ends, codes, walk.rows(walk.inline), over=inline)
    return _made(*_painted(*pieces, walk.rows(walk.blocks), over=(_OTHER,)))


_RANK = (Place.KEPT, Place.STORES, Place.UNWRITTEN, Place.FOLDERS, Place.TAILS)
"""Of two files that share a block the later counts: in the last three any hit is residue."""

_INSIDE = 60  # bytes of i_block, where the content of a file inside an inode begins; the rest lies elsewhere


class _Walk:
    """Goes through files and folders and collects (start, end, place) of their bytes."""

    def __init__(self, volume: Volume, since: int | None) -> None:
        self.volume = volume
        self.since = since
        self.blocks: dict[Place, array[int]] = {place: array("q") for place in _RANK}
        self.inline: dict[Place, array[int]] = {place: array("q") for place in _RANK}

    def rows(self, found: dict[Place, array[int]]) -> _Ints:
        """Rows for `_painted`, in which each byte has one place only: that of the highest rank."""
        codes = [_CODE[place] for place in _RANK]
        pairs = [np.frombuffer(found[place], dtype=np.int64).reshape(-1, 2) for place in _RANK]
        size = max((int(p.max()) for p in pairs if len(p)), default=0)
        ground = np.array([0]), np.array([size]), np.array([-1])
        for code, pair in zip(codes, pairs, strict=True):
            rows = np.column_stack([pair, np.full(len(pair), code, dtype=np.int64)])
            ground = _painted(*ground, rows, over=(-1, *codes))
        known = ground[2] >= 0
        return np.column_stack([column[known] for column in ground])

    def tree(self, path: Path, place: Place) -> None:
        """A file; or a folder and everything beneath it."""
        with _opened(path) as fd:
            if fd is not None and stat.S_ISDIR(os.fstat(fd).st_mode):
                with Beneath(f"/proc/self/fd/{fd}") as root:
                    self._beneath(root, place)
            elif fd is not None:
                self._file(fd, place)

    def upwards(self, path: Path) -> None:
        """A folder, and those above it."""
        for here in (path, *path.parents):
            with _opened(here) as fd:
                if fd is not None:
                    self._folder(fd)

    def _beneath(self, root: Beneath, place: Place) -> None:
        """Folders wait by path, not open: there may be more of them than a process may open."""
        waiting = [b"."]
        while waiting:
            folder = waiting.pop()
            with _opened(folder, root) as fd:
                if fd is not None and self._folder(fd):
                    waiting.extend(folder + b"/" + name for name in self._entries(fd, place))

    def _entries(self, folder: int, place: Place) -> list[bytes]:
        """Takes the files of a folder; the names of the folders in it."""
        folders: list[bytes] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(os.fsencode(entry.name))
                elif entry.is_file(follow_symlinks=False):
                    with _opened(os.fsencode(entry.name), folder) as fd:
                        if fd is not None:
                            self._file(fd, place)
        return folders

    def _folder(self, fd: int) -> bool:
        """Takes the blocks of a folder; whether it is one of this volume."""
        about = os.fstat(fd)
        if about.st_dev != self.volume.number or not stat.S_ISDIR(about.st_mode):
            return False
        for run in _known(fd):
            if not run.inline:
                self._add(Place.FOLDERS, run.physical, run.length)
        return True

    def _file(self, fd: int, place: Place) -> None:
        about = os.fstat(fd)
        if about.st_dev != self.volume.number or not stat.S_ISREG(about.st_mode):
            return
        if place is Place.STORES and self.since is not None and about.st_ctime_ns >= self.since:
            return
        for run in _known(fd):
            written = max(0, min(run.length, about.st_size - run.logical))
            if run.inline:
                length = min(written, _INSIDE)
                self.inline[place].extend((run.physical, run.physical + length))
            elif run.unwritten:
                self._add(Place.UNWRITTEN, run.physical, run.length)
            else:
                block = self.volume.block
                tail = min(run.length, -(-written // block) * block)
                self._add(place, run.physical, written)
                self._add(Place.TAILS, run.physical + written, tail - written)
                self._add(Place.UNWRITTEN, run.physical + tail, run.length - tail)

    def _add(self, place: Place, start: int, length: int) -> None:
        if length > 0:
            self.blocks[place].extend((start, start + length))


def _known(fd: int) -> list[Mapped]:
    """The extents, or none where the file system does not say: those blocks stay OTHER."""
    try:
        return extents(fd)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EIO, errno.ENOENT, errno.ESTALE):
            return []
        raise


_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PASSED_OVER = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EXDEV, errno.ENXIO}
    | {errno.ESTALE, errno.ENAMETOOLONG, errno.EIO, errno.ENODEV, errno.ETXTBSY}
)


@contextlib.contextmanager
def _opened(path: Path | bytes, at: Beneath | int | None = None) -> Iterator[int | None]:
    """A file or folder, read-only; None where it is gone, is a link, or may not be opened."""
    try:
        fd = (
            at.open(os.fsencode(path), _FLAGS)
            if isinstance(at, Beneath)
            else os.open(path, _FLAGS, dir_fd=at)
        )
    except OSError as error:
        if error.errno not in _PASSED_OVER:
            raise
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
