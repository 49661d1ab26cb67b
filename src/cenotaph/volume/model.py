"""What a volume is, and what its blocks are: values that reading, searching and wiping share.

A *volume* is one mounted file system on one block device. Every byte of it has one *place*: what the
file system says the byte is for. Mount points, device paths and folders are `repr=False`: they can name
people.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt


class Place(enum.StrEnum):
    """What a block is for. The words stand in statements (spec/probe.md)."""

    FREE = "free blocks"
    JOURNAL = "file system journal"
    METADATA = "file system metadata"  # superblocks, bitmaps, inode tables, B-trees
    FOLDERS = "directory blocks"  # of the folders that the stores lie in, and of those above them
    TAILS = "file tails"  # behind the end of a file, in its last block; of the stores' and the kept files
    UNWRITTEN = "preallocated blocks"  # a file's, never written by it: what was there before is still there
    STORES = "files of the stores"  # searched as files, with their structure, by each store's own search
    KEPT = "files that stay"  # that the case says stay on this volume
    OTHER = "other blocks in use"


@dataclass(frozen=True, slots=True)
class Volume:
    """One mounted file system. `refusal` is a clause that says why L3 cannot be reached on it; else empty."""

    mount: Path = field(repr=False)
    device: Path = field(repr=False)  # the block device, e.g. /dev/sdb1; of a network mount its source
    number: int  # st_dev
    kind: str  # "ext4", "xfs", "btrfs" …
    options: frozenset[str] = field(repr=False)
    size: int  # bytes of the block device
    block: int  # bytes of a block of the file system
    discards: bool  # the device says that it takes discards
    refusal: str


@dataclass(frozen=True, slots=True)
class Map:
    """Every byte of a volume, once: `starts[i]` to `ends[i]` is of `places[i]`. Sorted, without gaps."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    places: tuple[Place, ...]

    def of(self, place: Place) -> npt.NDArray[np.int64]:
        """The byte ranges of one place as (n, 2) of [start, end), neighbours joined."""
        chosen = np.array([p is place for p in self.places], dtype=bool)
        found = np.column_stack([self.starts[chosen], self.ends[chosen]])
        if not len(found):
            return found
        new = np.concatenate([[True], found[1:, 0] != found[:-1, 1]])
        last = np.concatenate([new[1:], [True]])
        return np.column_stack([found[new, 0], found[last, 1]])

    def size(self, place: Place) -> int:
        """Bytes of one place."""
        return int(
            sum(e - s for s, e, p in zip(self.starts, self.ends, self.places, strict=True) if p is place)
        )
