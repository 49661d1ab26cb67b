"""What the erased files leave behind: empty folders, and links to what is gone. Names are data too."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass

from cenotaph import durable
from cenotaph.scope import Selection
from cenotaph.stores.files import places
from cenotaph.stores.files.tree import Entry, Tree, failure


@dataclass(slots=True)
class Removed:
    """What was removed, and what could not be."""

    folders: int = 0
    links: int = 0
    freed_bytes: int = 0
    special: int = 0
    links_left: int = 0

    def notes(self) -> tuple[str, ...]:
        notes = [f"{self.folders} emptied folders and {self.links} links to destroyed files removed"]
        if self.special:
            notes.append(f"{self.special} pipes, sockets or devices stay, with their names")
        if self.links_left:
            notes.append(f"{self.links_left} symbolic links stay, with their names")
        return tuple(notes)


def remove_folders(tree: Tree, selection: Selection, collections: list[str]) -> Removed:
    """Remove what is empty now and lay in the folders of these collections, deepest first; never the root.

    Where everything is in scope, folders that were empty before go too. Safe to repeat.
    """
    removed = Removed()
    if tree.only is not None:
        return removed
    inside = {places.folder_of(name) for name in collections}
    everything = selection.collections == ("*",) and not (
        selection.rows or selection.subjects is not None or selection.holds
    )
    try:
        _clear(tree, b"", _Ours(inside, _above(inside), everything), removed)
    except OSError as error:
        raise failure(error, "an emptied folder") from None
    return removed


@dataclass(frozen=True, slots=True)
class _Ours:
    """Which folders may go: those of the collections, those above them, and all where all is in scope."""

    inside: set[str]
    above: set[str]
    everything: bool

    def links(self, folder: bytes) -> bool:
        return self.everything or places.shown(folder) in self.inside

    def folder(self, folder: bytes) -> bool:
        name = folder.rpartition(b"/")[2]  # a tombstone is what a killed run was removing
        return self.links(folder) or places.shown(folder) in self.above or durable.is_tombstone(name)


def _above(folders: set[str]) -> set[str]:
    """All folders on the way to these: where they are empty now, a killed run had emptied them."""
    parts = [folder.split("/") for folder in folders]
    return {"/".join(names[:depth]) for names in parts for depth in range(1, len(names))}


def _clear(tree: Tree, folder: bytes, ours: _Ours, removed: Removed) -> bool:
    """Clear a folder from below; whether it may go itself: it is ours, and empty."""
    left = 0
    for entry in tree.listing(folder):
        if entry.is_dir and _clear(tree, entry.path, ours, removed) and _remove_folder(tree, entry, removed):
            continue
        if entry.is_link and ours.links(folder):
            if _dangles(tree, entry):
                _remove_link(tree, entry, removed)
                continue
            removed.links_left += 1
        removed.special += not (entry.is_dir or entry.is_file or entry.is_link) and ours.links(folder)
        left += 1
    return not left and ours.folder(folder)


def _remove_folder(tree: Tree, entry: Entry, removed: Removed) -> bool:
    directory, name = tree.beneath.parent(entry.path)
    try:
        tombstone = name if durable.is_tombstone(name) else durable.tombstone_name().encode()
        if tombstone != name:
            durable.rename_new(directory, name, tombstone)
            os.fsync(directory)
        os.rmdir(tombstone, dir_fd=directory)
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # somebody put a file there just now
            raise
        with contextlib.suppress(FileExistsError):
            durable.rename_new(directory, tombstone, name)
        return False
    finally:
        os.close(directory)
    removed.folders += 1
    removed.freed_bytes += entry.info.st_blocks * 512
    return True


def _dangles(tree: Tree, entry: Entry) -> bool:
    """Whether a link points to a place that does not exist."""
    directory, name = tree.beneath.parent(entry.path)
    try:
        os.stat(name, dir_fd=directory)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    finally:
        os.close(directory)
    return False


def _remove_link(tree: Tree, entry: Entry, removed: Removed) -> None:
    directory, name = tree.beneath.parent(entry.path)
    try:
        tombstone = durable.tombstone_name().encode()
        durable.rename_new(directory, name, tombstone)
        os.fsync(directory)
        os.unlink(tombstone, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)
    removed.links += 1
