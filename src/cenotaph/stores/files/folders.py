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
    folders = {places.folder_of(name) for name in collections}
    everything = selection.collections == ("*",) and not (
        selection.rows or selection.subjects is not None or selection.holds
    )
    try:
        _clear(tree, b"", folders, removed, everything=everything)
    except OSError as error:
        raise failure(error, "an emptied folder") from None
    return removed


def _clear(tree: Tree, folder: bytes, folders: set[str], removed: Removed, *, everything: bool) -> bool:
    """Clear a folder from below; whether something in it, or the folder itself, was ours and it is empty."""
    ours = everything or places.shown(folder) in folders
    left = 0
    for entry in tree.listing(folder):
        if entry.is_dir:
            empty = _clear(tree, entry.path, folders, removed, everything=everything)
            if empty and _remove_folder(tree, entry, removed):
                ours = True
                continue
        elif entry.is_link and ours:
            if _dangles(tree, entry):
                _remove_link(tree, entry, removed)
                continue
            removed.links_left += 1
        elif not entry.is_file and ours:
            removed.special += 1
        left += 1
    return ours and not left


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
