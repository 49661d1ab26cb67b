"""One partition's files while they are being erased: opened, leased, read, remembered."""

from __future__ import annotations

import base64
import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

from cenotaph import durable
from cenotaph.errors import DriftError, RefusedError, TransientStoreError, UsageError
from cenotaph.store import State
from cenotaph.stores.files import pages
from cenotaph.stores.files.places import Bounds, FileBound
from cenotaph.stores.files.tree import Tree, failure

REWRITE, DESTROY, LEAVE = 0, 1, 2
_VERSION = 2  # of what the journal remembers
_CLOSING = 8  # at a time
_SMALL = 1 << 20  # bytes of a file that is asked for before it is read: nobody waits for one after another


@dataclass(slots=True)
class Open:
    """One file of the partition, open for writing, under a lease where there are leases."""

    bound: FileBound = field(repr=False)
    path: bytes = field(repr=False)  # where it is now: its own name or its tombstone
    fd: int
    lease: durable.Lease
    leased: bool  # the lease was had at first
    ino: int
    in_place: bool
    shared: bool
    written: tuple[int, int]  # size and time of the last write, when it was opened
    held: contextlib.ExitStack = field(repr=False)  # the lease and the descriptor
    selected: int = 0  # counted while the seal is checked
    records: int = 0

    @property
    def alone(self) -> bool:
        """Whether nobody else had the file open, from the lease until now."""
        return self.leased and bool(self.lease)

    def stream(self) -> BinaryIO:
        """A stream over the same open file: a second opening would break the lease."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        return os.fdopen(os.dup(self.fd), "rb", buffering=1 << 18)


FileSystems: TypeAlias = dict[int, durable.FileSystem]
"""By device: looked at once a partition, which takes longer than opening a file."""


def open_file(
    stack: contextlib.ExitStack, tree: Tree, bound: FileBound, path: bytes, known: FileSystems
) -> Open | None:
    """Open a file of a partition, leased until the stack closes; None where nothing has that name.

    Raises:
        RefusedError: it has further hard links, or is no plain file.
        TransientStoreError: another process has it open.
    """
    try:
        fd = tree.beneath.open(path, os.O_RDWR | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, "a file that is to be erased") from None
    held = stack.enter_context(contextlib.ExitStack())
    held.callback(os.close, fd)
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        raise RefusedError("what is to be erased is no plain file", hint="take it out of the scope")
    if info.st_nlink != 1:
        raise RefusedError(
            "a file that is to be erased has further names (hard links), which may be outside the scope",
            hint="remove the other names, or take the file out of the scope",
        )
    lease = held.enter_context(durable.write_lease(fd))
    shared = durable.reflinked(fd)
    if info.st_dev not in known:
        known[info.st_dev] = durable.filesystem(fd)
    in_place = known[info.st_dev].overwrites_in_place and not shared
    return Open(bound, path, fd, lease, bool(lease), info.st_ino, in_place, shared, _written(fd), held)


def _written(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_size, info.st_mtime_ns


def open_sealed(stack: contextlib.ExitStack, tree: Tree, bounds: Bounds) -> list[Open]:
    """All files of a partition that no run has begun.

    Raises:
        DriftError: one is missing or has another size.
    """
    files: list[Open] = []
    known: FileSystems = {}
    for bound in bounds.files:
        found = open_file(stack, tree, bound, bounds.path(bound), known)
        if found is None:
            raise DriftError(
                "a file of a partition is missing since it was surveyed", hint="survey and seal again"
            )
        if os.fstat(found.fd).st_size != bound.size:
            raise DriftError(
                "a file of a partition has another size than when it was surveyed",
                hint="survey and seal again",
            )
        if bound.size <= _SMALL:
            os.posix_fadvise(found.fd, 0, 0, os.POSIX_FADV_WILLNEED)
        files.append(found)
    return files


def close_all(files: Sequence[Open]) -> None:
    """Close files that are unlinked, several at a time: whoever closes one waits until its blocks are free, a
    millisecond or two each where the file system tells the device (mount option `discard`)."""
    with ThreadPoolExecutor(_CLOSING) as pool:
        for done in [pool.submit(file.held.close) for file in files]:
            done.result()


def still_as_opened(file: Open) -> None:
    """Raise `DriftError` where a file that could not be leased was written to since it was opened."""
    if _written(file.fd) != file.written:
        raise DriftError("a file was written to while it was being erased", hint="survey and seal again")


def still_alone(files: list[Open]) -> None:
    """Raise `TransientStoreError` where somebody has tried to open a leased file."""
    for file in files:
        still_as_opened(file)
    if any(file.leased and not file.lease for file in files):
        raise TransientStoreError(
            "another process wants to open a file that is being erased; nothing of the partition was changed",
            hint="stop the program that uses it, then run again",
        )


# --- what the journal remembers -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """What `Progress.begin` was told: enough to go on after a kill at any point."""

    leased: bool
    inodes: tuple[int, ...]
    tombstones: tuple[str, ...]
    todo: tuple[int, ...]  # REWRITE, DESTROY or LEAVE, a file each
    prints: tuple[bytes, ...] = field(repr=False)  # of its pages (`pages`), a file each
    blocks: tuple[int, ...]  # bytes of storage, a file each
    in_place: tuple[int, ...]  # 1 where overwriting reaches the content

    def state(self) -> State:
        return {
            "v": _VERSION,
            "leased": int(self.leased),
            "inodes": list(self.inodes),
            "tombstones": list(self.tombstones),
            "todo": list(self.todo),
            "prints": [base64.b64encode(prints).decode() for prints in self.prints],
            "blocks": list(self.blocks),
            "in_place": list(self.in_place),
        }


def prints(files: Sequence[Open], todo: Sequence[int] | None = None) -> list[bytes]:
    """Of the pages of these files, read through the leased descriptors; none of one that is left as it is."""
    return [
        b"" if what == LEAVE else pages.prints(file.fd, file.bound.size, directly=True)
        for file, what in zip(files, todo or [DESTROY] * len(files), strict=True)
    ]


def remember(files: Sequence[Open], todo: Sequence[int], prints: Sequence[bytes]) -> Begun:
    return Begun(
        leased=all(file.leased for file in files),
        inodes=tuple(file.ino for file in files),
        tombstones=tuple(durable.tombstone_name() for _ in files),
        todo=tuple(todo),
        prints=tuple(prints),
        blocks=tuple(os.fstat(file.fd).st_blocks * 512 for file in files),
        in_place=tuple(int(file.in_place) for file in files),
    )


def parse(state: Mapping[str, object], files: int) -> Begun:
    """Read what `Begun.state` gave the journal.

    Raises:
        UsageError: it did not, or for another number of files.
    """
    if state.get("v") != _VERSION:
        raise UsageError("a partition was begun by another version of cenotaph", hint="go on with that one")
    try:
        begun = Begun(
            bool(state["leased"]),
            tuple(_integers(state["inodes"])),
            tuple(_strings(state["tombstones"])),
            tuple(_integers(state["todo"])),
            tuple(base64.b64decode(prints, validate=True) for prints in _strings(state["prints"])),
            tuple(_integers(state["blocks"])),
            tuple(_integers(state["in_place"])),
        )
    except (KeyError, ValueError, TypeError):
        raise UsageError("the journal's state of a partition is not that of a files store") from None
    lists = (begun.inodes, begun.tombstones, begun.todo, begun.prints, begun.blocks, begun.in_place)
    if {len(items) for items in lists} != {files} or not all(
        durable.is_tombstone(name.encode()) for name in begun.tombstones
    ):
        raise UsageError("the journal's state of a partition does not fit its files")
    return begun


def _integers(value: object) -> list[int]:
    if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
        raise TypeError
    return value


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return value
