"""Other places beneath the root that hold the same files: links, backups, duplicates, trash."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator

from cenotaph.store import Copy, Disposition
from cenotaph.stores.files.survey import Surveyed
from cenotaph.stores.files.tree import Tree

_BACKUP_SUFFIXES = (b"~", b".bak", b".orig", b".old", b".save", b".backup", b".copy", b".tmp", b".part")
_TRASH = frozenset(
    [b".trash", b"trash", b"$recycle.bin", b".recycle", b"#recycle", b"@recycle", b".trashes", b"lost+found"]
)


Digests = dict[bytes, bytes | None]


def find_copies(
    tree: Tree, files: Iterable[Surveyed], others: list[Surveyed], digests: Digests
) -> list[Copy]:
    """Copies of these files among the others, in order of places. `digests` are kept between calls."""
    own = [file for file in files if not file.stays]
    found = [*_hard_links(own), *_backups(own, others), *_trashed(own, others)]
    found += _duplicates(tree, own, others, digests)
    unique = {(copy.kind, copy.place): copy for copy in found}
    return [unique[key] for key in sorted(unique)]


def _hard_links(own: list[Surveyed]) -> Iterator[Copy]:
    for file in own:
        if file.entry.info.st_nlink > 1:
            place = os.fsdecode(file.entry.path)
            yield Copy("hard link", place, file.entry.info.st_size, Disposition.REACH_NOT)


def _backups(own: list[Surveyed], others: list[Surveyed]) -> Iterator[Copy]:
    siblings = {name for file in own for name in _backup_names(file)}
    for other in others:
        if other.entry.path in siblings:
            yield _copy("backup sibling", other)


def _backup_names(file: Surveyed) -> Iterator[bytes]:
    head, name = file.entry.folder, file.entry.name
    prefix = head + b"/" if head else b""
    yield from (prefix + name + suffix for suffix in _BACKUP_SUFFIXES)
    yield from (prefix + b"." + name + suffix for suffix in (b".swp", b".swo"))
    yield prefix + b"#" + name + b"#"


def _trashed(own: list[Surveyed], others: list[Surveyed]) -> Iterator[Copy]:
    names = {file.entry.name for file in own}
    for other in others:
        folders = other.entry.folder.lower().split(b"/")
        in_trash = any(folder in _TRASH or folder.startswith(b".trash-") for folder in folders)
        if in_trash and other.entry.name in names:
            yield _copy("trash", other)


def _duplicates(tree: Tree, own: list[Surveyed], others: list[Surveyed], digests: Digests) -> Iterator[Copy]:
    """Byte-identical files: only those of one size are read."""
    sizes: dict[int, list[Surveyed]] = defaultdict(list)
    for other in others:
        if other.entry.info.st_size:
            sizes[other.entry.info.st_size].append(other)
    ours = {file.entry.path for file in own}
    for size in sorted({file.entry.info.st_size for file in own} & sizes.keys()):
        alike: dict[bytes, list[Surveyed]] = defaultdict(list)
        for other in sizes[size] if len(sizes[size]) > 1 else []:
            path = other.entry.path
            digest = digests[path] = digests[path] if path in digests else _digest(tree, other)
            if digest is not None:
                alike[digest].append(other)
        for group in alike.values():
            if any(file.entry.path in ours for file in group):
                yield from (_copy("identical file", file) for file in group if file.entry.path not in ours)


def _digest(tree: Tree, file: Surveyed) -> bytes | None:
    try:
        with tree.open_read(file.entry.path) as stream:
            digest = hashlib.sha256()
            while piece := stream.read(1 << 20):
                digest.update(piece)
            return digest.digest()
    except FileNotFoundError:
        return None


def _copy(kind: str, file: Surveyed) -> Copy:
    disposition = Disposition.DESTROY if file.whole or file.selected else Disposition.KEEP
    return Copy(kind, os.fsdecode(file.entry.path), file.entry.info.st_size, disposition)
