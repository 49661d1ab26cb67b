"""Erases files: whole ones by overwriting and unlinking, parts of them by writing what stays anew.

Order of writes, for each partition: open and lease every file; check the seal through the same descriptors,
by the bytes where they are the sealed ones, else record by record; `Progress.begin`; then file by file. A
whole file is renamed to its tombstone, overwritten, unlinked. A file of which a part stays: the part is
written to the tombstone's name, read back, exchanged with the file, and then the old file, now under the
tombstone's name, is destroyed. Which of the two names has the old inode says where a killed run stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from cenotaph import durable
from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.scope import Selection
from cenotaph.store import Class, Collection, Erasure, Partition, PartitionSeal, Progress, Reclamation
from cenotaph.stores.files import pages, places, survivors, tables, work
from cenotaph.stores.files.folders import remove_folders
from cenotaph.stores.files.lines import MalformedError
from cenotaph.stores.files.places import Bounds
from cenotaph.stores.files.reader import capabilities
from cenotaph.stores.files.survivors import Source
from cenotaph.stores.files.tree import Tree, failure
from cenotaph.stores.files.work import DESTROY, LEAVE, REWRITE, Begun, FileSystems, Open

_LARGE = 1 << 20  # bytes of a file
_HINT = "somebody changed the file; survey and seal again"


class FilesEraser:
    """`store.Eraser` for `files:PATH`."""

    proves_remaining = True  # page by page (`pages`), whatever was in them

    def __init__(self, url: str, selection: Selection) -> None:
        self._selection = selection
        self._tree = Tree(url)

    def threads(self, partitions: Sequence[Partition], processors: int, *, known: bool) -> int:
        """Whoever erases large files that are known by their bytes waits for the disk; with small ones it is
        Python that takes the time, and two threads would wait for each other."""
        if not known:
            return processors
        sizes = [file.size for partition in partitions for file in places.parse(partition.bounds).files]
        return 2 * processors if sum(sizes) >= len(sizes) * _LARGE else 1

    def erase(self, partition: Partition, sealed: PartitionSeal, progress: Progress) -> Erasure:
        bounds = places.parse(partition.bounds)
        state = progress.begun
        with contextlib.ExitStack() as stack:
            try:
                if state is None:
                    files, begun = self._begin(stack, partition, bounds, sealed, progress)
                else:
                    begun = work.parse(state, len(bounds.files))
                    files = self._resume(stack, bounds, begun)
                self._carry_out(bounds, begun, files, progress)
            except OSError as error:
                raise failure(error, "a file that is being erased") from None
            self._read_empty(bounds, begun)
            there = [file for file in files if file is not None]
            alone = begun.leased and all(file.alone for file in there)
            work.close_all(there)
            return self._erasure(bounds, begun, sealed.records, alone=alone)

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        """Remove folders that the erased collections leave empty, and links to what is gone."""
        able = capabilities(self._tree)
        removed = remove_folders(self._tree, self._selection, [c.name for c in collections])
        return Reclamation(able.grade, able.why_not_higher, 0, removed.freed_bytes, removed.notes())

    def close(self) -> None:
        self._tree.close()

    # --- before the first change ---

    def _begin(
        self,
        stack: contextlib.ExitStack,
        partition: Partition,
        bounds: Bounds,
        sealed: PartitionSeal,
        progress: Progress,
    ) -> tuple[list[Open | None], Begun]:
        files = work.open_sealed(stack, self._tree, bounds)
        whole = self._selection.whole(bounds.collection, bounds.kind.names)
        prints = work.prints(files) if whole else []
        if not (whole and sealed.holds(_content(partition, files, prints))):
            sealed.check(self._sealed_batches(bounds, files, whole))
        todo = [_todo(file, whole=whole) for file in files]
        self._require_room(files, todo)
        begun = work.remember(files, todo, prints if whole else work.prints(files, todo))
        work.still_alone(files)
        progress.begin(begun.state())
        return list(files), begun

    def _sealed_batches(self, bounds: Bounds, files: list[Open], whole: bool) -> Iterator[pa.RecordBatch]:
        """What `Reader.batches` gives, through the leased descriptors; counts what stays on the way."""
        for file in files:
            source = _source(bounds, file)
            with source.stream:
                try:
                    for block in source.blocks():
                        batch = block.batch
                        file.records += batch.num_rows
                        if not whole:
                            chosen = self._selection.masks(bounds.collection, batch).selected
                            batch = batch.filter(pa.array(chosen))
                        file.selected += batch.num_rows
                        if batch.num_rows:
                            yield from tables.slices(batch)
                except MalformedError:
                    raise DriftError("a file is not of the format it was sealed in", hint=_HINT) from None

    def _require_room(self, files: list[Open], todo: list[int]) -> None:
        """Refuse early what would run out of space; `_rewrite` survives it if it happens all the same."""
        sizes = [file.bound.size for file, what in zip(files, todo, strict=True) if what == REWRITE]
        if sizes:
            free = os.fstatvfs(self._tree.beneath.fd)
            if free.f_bavail * free.f_frsize < max(sizes):
                raise PermanentStoreError(
                    "too little space to write what stays of a file; nothing of it was changed",
                    hint=f"free {max(sizes)} bytes on its file system, then run again",
                )

    # --- after a kill ---

    def _resume(self, stack: contextlib.ExitStack, bounds: Bounds, begun: Begun) -> list[Open | None]:
        """The files of a begun partition that are still there, each proved to be as it was or zero."""
        files: list[Open | None] = []
        known: FileSystems = {}
        for index in range(len(bounds.files)):
            leave = begun.todo[index] == LEAVE
            files.append(self._find(stack, bounds, begun, index, known) if not leave else None)
        work.still_alone([file for file in files if file is not None])
        return files

    def _find(
        self, stack: contextlib.ExitStack, bounds: Bounds, begun: Begun, index: int, known: FileSystems
    ) -> Open | None:
        bound, inode, prints = bounds.files[index], begun.inodes[index], begun.prints[index]
        path = bounds.path(bound)
        tombstone = _beside(path, begun.tombstones[index])
        at = next((place for place in (path, tombstone) if self._inode(place) == inode), None)
        if at is None:
            self._require_done(path, rewritten=begun.todo[index] == REWRITE)
            return None
        if at == tombstone and begun.todo[index] == REWRITE:
            self._require_done(path, rewritten=True)
        found = work.open_file(stack, self._tree, bound, at, known)
        if found is None or found.ino != inode:
            raise DriftError("a file was moved while its erasing was resumed", hint=_HINT)
        # before the exchange nothing of a rewritten file may have changed
        untouched = begun.todo[index] == REWRITE and at == path
        proof = pages.untouched if untouched else pages.zero_or_as_sealed
        if not proof(found.fd, bound.size, prints):
            raise DriftError("a file whose erasing was interrupted has changed since", hint=_HINT)
        return found

    def _require_done(self, path: bytes, *, rewritten: bool) -> None:
        """The old file is gone: a rewritten one must have left its survivors, a destroyed one nothing."""
        there = self._inode(path) is not None
        if rewritten and not there:
            raise DriftError("what stays of a file is missing after its erasing was interrupted", hint=_HINT)
        if there and not rewritten:
            raise DriftError("another file has the name of one that was destroyed", hint=_HINT)

    def _inode(self, path: bytes) -> int | None:
        try:
            return self._tree.beneath.stat(path).st_ino
        except (FileNotFoundError, NotADirectoryError):
            return None

    # --- changes ---

    def _carry_out(self, bounds: Bounds, begun: Begun, files: list[Open | None], progress: Progress) -> None:
        """All files of the partition step by step, which takes two fsyncs of their folder, not two a file."""
        todo = [
            (file, begun.tombstones[index], begun.todo[index])
            for index, file in enumerate(files)
            if file is not None and begun.todo[index] != LEAVE
        ]
        if not todo:
            return
        directory = self._tree.beneath.open(bounds.folder or b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            for file, tombstone, what in todo:
                work.still_as_opened(file)
                if what == REWRITE and not durable.is_tombstone(_name(file.path)):
                    self._rewrite(bounds, file, directory, tombstone)
                durable.bury(directory, _name(file.path), file.fd, tombstone)
            os.fsync(directory)
            self._overwrite([file for file, _, _ in todo], progress)
            for file, tombstone, _ in todo:
                os.unlink(tombstone.encode(), dir_fd=directory)
                progress.advance(file.bound.records, 0)
            os.fsync(directory)
        finally:
            os.close(directory)

    def _overwrite(self, files: list[Open], progress: Progress) -> None:
        """Zeros over all of them, durable on return."""
        for file in files:
            if file.in_place:
                size = os.fstat(file.fd).st_size
                durable.overwrite(file.fd, size, on_bytes=lambda step: progress.advance(0, step), sync=False)
                durable.overwrite_rest(file.fd, on_bytes=lambda step: progress.advance(0, step))
        if [file for file in files if durable.overwrite_user_xattrs(file.fd)]:
            durable.syncfs(files[0].fd)
        for file in files:
            durable.drop_user_xattrs(file.fd)
        durable.flush_overwritten([file.fd for file in files if file.in_place])

    def _rewrite(self, bounds: Bounds, file: Open, directory: int, tombstone: str) -> None:
        """Put what stays of a file in its place; the old file then has the tombstone's name."""
        name, temporary = _name(file.path), tombstone.encode()
        durable.discard_file(directory, temporary)  # what a killed run had written of it
        try:
            self._write_survivors(bounds, file, directory, temporary)
            self._require_own(directory, name, file)
        except BaseException:
            durable.discard_file(directory, temporary)
            raise
        os.fsync(directory)
        durable.exchange(directory, name, temporary)
        os.fsync(directory)
        file.path = _beside(file.path, tombstone)

    def _write_survivors(self, bounds: Bounds, file: Open, directory: int, temporary: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=directory), "w+b") as target:
            source = _source(bounds, file)
            with source.stream:
                kept = _written(source, target, self._selection)
            target.flush()
            _copy_attributes(file.fd, target.fileno())
            os.fsync(target.fileno())
            size = os.fstat(target.fileno()).st_size
            written = Source(bounds.kind, bounds.collection, source.path, target, size)
            survivors.check(written, kept, self._selection)

    def _require_own(self, directory: int, name: bytes, file: Open) -> None:
        if os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino != file.ino:
            raise DriftError("a file was replaced by another while it was being rewritten", hint=_HINT)

    def _read_empty(self, bounds: Bounds, begun: Begun) -> None:
        """Nothing selected is left under any name of the partition's files."""
        for index, bound in enumerate(bounds.files):
            path = bounds.path(bound)
            if begun.todo[index] == DESTROY and self._inode(path) is not None:
                raise PermanentStoreError("a file that was destroyed is there again")
            if self._inode(_beside(path, begun.tombstones[index])) is not None:
                raise PermanentStoreError("a file that was being destroyed is still there")

    def _erasure(self, bounds: Bounds, begun: Begun, records: int, *, alone: bool) -> Erasure:
        """What the partition's erasing did in all its runs: the same after any number of kills."""
        overwritten = freed = unlinked = 0
        for index, bound in enumerate(bounds.files):
            if begun.todo[index] == LEAVE:
                continue
            freed += begun.blocks[index]
            if begun.todo[index] == REWRITE:
                freed -= self._tree.beneath.stat(bounds.path(bound)).st_blocks * 512
            overwritten += min(bound.size, begun.blocks[index]) if begun.in_place[index] else 0
            unlinked += not begun.in_place[index]
        return Erasure(
            records=records,
            destroyed_as=Class.AS_SEALED if alone else Class.WATCHED,
            overwritten_bytes=overwritten,
            freed_bytes=max(0, freed),
            notes=_notes(unlinked, alone=alone),
        )


def _written(source: Source, target: BinaryIO, selection: Selection) -> bytes:
    try:
        return survivors.write(source, target, selection)
    except (pa.ArrowException, MalformedError):
        raise PermanentStoreError(
            "what stays of a file cannot be written in its format; the file was left as it was",
            hint="put the whole file in scope, or hold it",
        ) from None


def _notes(unlinked: int, *, alone: bool) -> tuple[str, ...]:
    notes = []
    if unlinked:
        notes.append(
            f"{unlinked} files were unlinked, not overwritten: they share blocks with other files or"
            " snapshots, or their file system does not write in place"
        )
    if not alone:
        notes.append("somebody opened a file meanwhile, or the file system has no leases")
    return tuple(notes)


def _todo(file: Open, *, whole: bool) -> int:
    if whole or (file.records and file.selected == file.records):
        return DESTROY
    return REWRITE if file.selected else LEAVE


def _content(partition: Partition, files: Sequence[Open], prints: Sequence[bytes]) -> bytes:
    wholes = [pages.whole(file.bound.size, some) for file, some in zip(files, prints, strict=True)]
    return pages.content(partition.bounds, wholes)


def _source(bounds: Bounds, file: Open) -> Source:
    path = bounds.path(file.bound)
    return Source(bounds.kind, bounds.collection, path, file.stream(), file.bound.size)


def _beside(path: bytes, tombstone: str) -> bytes:
    head, slash, _ = path.rpartition(b"/")
    return head + slash + tombstone.encode()


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _copy_attributes(old: int, new: int) -> None:
    """Owner, mode and extended attributes (access lists included): who may read what stays is unchanged."""
    info = os.fstat(old)
    if (info.st_uid, info.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(new, info.st_uid, info.st_gid)
    os.fchmod(new, info.st_mode & 0o7777)
    for name in os.listxattr(old):
        if not name.startswith(("security.", "trusted.")):  # set by the system, from its policy
            os.setxattr(new, name, os.getxattr(old, name))
