"""Every byte beneath the root, and every name, with what stays attributed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO

import numpy as np

from cenotaph.durable import is_tombstone
from cenotaph.errors import PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import Extent, Ranges
from cenotaph.stores.files import tables
from cenotaph.stores.files.lines import MalformedError
from cenotaph.stores.files.survey import Survey, Surveyed
from cenotaph.stores.files.tree import Entry, Tree

_NAMES = 8 << 20
_MOST_PART = 64 << 20

NOTHING: Ranges = np.empty((0, 2), np.int64)


def raw_extents(tree: Tree, survey: Survey, selection: Selection) -> Iterator[Extent]:
    """One extent a file, hidden and temporary ones included, then the names in extents of about 8 MiB."""
    names = _Names()
    for entry in tree.entries():
        kept = NOTHING
        if entry.is_dir and tree.listing(entry.path):
            continue  # its name is in the paths of what it holds, where it stays or goes with them
        if entry.is_file:
            found = survey.file(entry)
            if found is None:
                continue
            kept = _kept(tree, found, selection)
            place = os.fsdecode(entry.path)
            yield Extent("file", place, entry.info.st_size, partial(_open, tree, entry.path), kept)
        names.add(entry, stays=bool(len(kept)))
        if entry.is_link:
            names.add_target(tree, entry)
        yield from names.full()
    yield from names.rest()


def parts_of_file(
    tree: Tree, path: bytes, stream: BinaryIO, spans: Sequence[tuple[int, int]] | None
) -> Iterator[Extent]:
    """Parts of a file, [first, end) each, or all of it. Parts too large to be held are left out."""
    name = os.fsdecode(path)
    if spans is None:
        yield Extent("file", name, os.fstat(stream.fileno()).st_size, partial(_open, tree, path), NOTHING)
        return
    for first, end in spans:
        if end - first <= _MOST_PART:
            yield Extent("file", name, end - first, partial(_open_part, tree, path, first, end), NOTHING)


def _open_part(tree: Tree, path: bytes, first: int, end: int) -> BinaryIO:
    with _open(tree, path) as stream:
        stream.seek(first)
        return io.BytesIO(stream.read(end - first))


def _open(tree: Tree, path: bytes) -> BinaryIO:
    try:
        return tree.open_read(path)
    except FileNotFoundError:
        raise PermanentStoreError("a file vanished while the store was being probed") from None


def _kept(tree: Tree, file: Surveyed, selection: Selection) -> Ranges:
    """The ranges of a file that stay. Where only a part goes, rows of plain text alone have places."""
    size = file.entry.info.st_size
    if is_tombstone(file.entry.name) or file.undecided:
        return NOTHING
    if not selection.includes(file.collection):
        return np.array([[0, size]], np.int64)
    if file.whole:
        return NOTHING
    if not file.selected:
        return np.array([[0, size]], np.int64)
    if tables.is_text(file.kind) and not file.kind.packing:
        try:
            return _kept_rows(tree, file, selection)
        except (FileNotFoundError, MalformedError):
            return NOTHING
    return NOTHING


def _kept_rows(tree: Tree, file: Surveyed, selection: Selection) -> Ranges:
    """What is left of a text file without the spans of its selected rows: header and line ends included."""
    gone = [np.empty((0, 2), np.int64)]
    at = 0
    with tree.open_read(file.entry.path) as stream:
        for block in tables.rows_of_text(file.kind, stream):
            chosen = selection.masks(file.collection, block.batch).selected
            if block.starts is not None and block.ends is not None:
                gone.append(np.column_stack([block.starts[chosen], block.ends[chosen]]) + at)
            at += len(block.data)
    return without(file.entry.info.st_size, np.concatenate(gone))


def without(size: int, gone: Ranges) -> Ranges:
    """[0, size) without sorted, disjoint ranges; neighbours joined, empty ones dropped."""
    edges = np.concatenate([[0], gone.reshape(-1), [size]]).reshape(-1, 2)
    return edges[edges[:, 0] < edges[:, 1]]


class _Names:
    """Collects relative paths separated by NUL, and which of them stay."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._kept: list[tuple[int, int]] = []
        self._length = 0

    def add(self, entry: Entry, *, stays: bool) -> None:
        if stays:
            self._kept.append((self._length, self._length + len(entry.path)))
        self._put(entry.path)

    def add_target(self, tree: Tree, entry: Entry) -> None:
        """What a symbolic link points to is written in it, and can be a name as well."""
        try:
            fd = tree.beneath.open(entry.path, os.O_PATH)
        except OSError:
            return
        try:
            self._put(os.readlink(b"", dir_fd=fd))
        except OSError:
            return
        finally:
            os.close(fd)

    def full(self) -> Iterator[Extent]:
        if self._length >= _NAMES:
            yield from self.rest()

    def rest(self) -> Iterator[Extent]:
        if self._parts:
            data = b"".join(self._parts)
            kept = np.array(self._kept, np.int64).reshape(-1, 2)
            yield Extent("names", "names of files", len(data), partial(io.BytesIO, data), kept)
        self._parts, self._kept, self._length = [], [], 0

    def _put(self, data: bytes) -> None:
        self._parts.append(data + b"\0")
        self._length += len(data) + 1
