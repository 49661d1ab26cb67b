"""Wiping what deleting leaves on a volume: old names, file tails, free blocks, the file system's journal.

Each step is safe to repeat: killed at any point and run again, it comes to the same end. Nothing that a user
can see changes but the change times of folders and files, and which blocks are free. What each step
reaches was measured (docs/stores/volumes.md); `Wiped.reached` is L3 only if every one was done completely.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cenotaph.errors import PermanentStoreError, RefusedError
from cenotaph.progress import Tell, quiet
from cenotaph.store import Grade
from cenotaph.volume import directories, free, journal, kernel, raw, tails
from cenotaph.volume.directories import Home, Rinsed
from cenotaph.volume.free import Blank, Fill
from cenotaph.volume.model import Volume
from cenotaph.volume.settings import handed_out, restore_settings
from cenotaph.volume.terms import Action, Mounted, Terms, failures

__all__ = ["Action", "Terms", "Wiped", "restore_settings", "wipe"]

TRIM_RANGE = 8 << 20  # smaller than any allocation group of xfs
TRIES = 3  # a file system may still be giving blocks back when the first reading begins


@dataclass(frozen=True, slots=True)
class Wiped:
    """What wiping did. `free` and `blank` are bytes of free blocks afterwards, and of those that hold nothing
    but zeros; both 0 where the device may not be read."""

    actions: tuple[Action, ...]
    reached: Grade  # L3, or L2 where something was left
    why_not_higher: str
    free: int
    blank: int


def wipe(volume: Volume, folders: Sequence[Path], terms: Terms, tell: Tell = quiet) -> Wiped:
    """Wipe a volume's free blocks, its journal, and old names and file tails in and around `folders`.

    `folders` are the stores' (also those that are gone) and of what the case keeps on this volume. What a
    killed run left is removed first; its settings are the caller's to restore before (`restore_settings`).

    Raises:
        RefusedError: the volume is of a kind that cannot be wiped.
        PartialError: `terms.go_on` said no; nothing is left behind.
        PermanentStoreError: read-only, full, gone, or its device fails; nothing is claimed.
    """
    if volume.refusal:
        raise RefusedError(f"the volume cannot be wiped: {volume.refusal}")
    with failures(), contextlib.closing(Mounted(volume, terms)) as mounted:
        return _Run(mounted, folders, tell).run()


class _Run:
    """The steps, and what each of them left undone."""

    def __init__(self, mounted: Mounted, folders: Sequence[Path], tell: Tell) -> None:
        self.mounted, self.volume, self.terms = mounted, mounted.volume, mounted.terms
        self.folders, self.tell = folders, tell
        self.places = directories.around(folders, self.volume.mount, self.volume.number)
        self.actions: list[Action] = []
        self.why: list[str] = []

    def run(self) -> Wiped:
        directories.remove_leftovers({**dict.fromkeys(self.places), self.volume.mount: None})
        with contextlib.closing(Home([self.volume.mount, *self.places])) as home:
            self._directories(home)
            self._tails()
            emptied = self._checkpoint()
            if emptied is None:
                self._cycle(home)
            self.mounted.sync()
            left = self._free(home)
        if emptied:
            self._checkpoint()  # the journal has since seen only what wiping itself did
            self._did("journal", 1, 0)
        self.mounted.sync()
        return self._wiped(left)

    # --- names ---

    def _directories(self, home: Home) -> None:
        done = Rinsed()
        if self.volume.kind == "xfs":
            self._rinse(done, home, may_grow=True)
        elif self.terms.quiesced:
            with handed_out(self.volume, self.mounted.fd, self.terms.remember), self._filling(home) as fill:
                fill.hold()
                self._rinse(done, home, may_grow=False)
        else:  # while there are free blocks, folders of ext4 would grow, and stay large
            self.why.append("old names in the blocks of folders were left, since the volume is shared")
        self._did("directories", done.folders, done.bytes)
        self._left(done.why_not())

    def _rinse(self, done: Rinsed, home: Home, *, may_grow: bool) -> None:
        for number, folder in enumerate(self.places):
            self.tell("folders wiped", number, len(self.places))
            try:
                done.bytes += directories.rinse(folder, home, may_grow=may_grow, check=self.mounted.check)
                done.folders += 1
            except FileNotFoundError:
                continue
            except PermissionError:
                done.refused += 1

    def _tails(self) -> None:
        done = tails.clear(
            self.folders,
            self.volume.number,
            self.volume.block,
            self.mounted.check,
            lambda count: self.tell("file tails wiped", count, 0),
        )
        if done.held:
            with self._device() as device:
                done.look(None if device is None else device.pread)
        self._did("file tails", done.files, done.bytes)
        self._left(done.why_not())

    # --- the journal ---

    def _checkpoint(self) -> bool | None:
        """False where there is no journal, None where it cannot be asked to empty itself."""
        if self.volume.kind == "xfs":
            return None
        try:
            return journal.checkpoint(self.mounted)
        except PermissionError:
            return None

    def _cycle(self, home: Home) -> None:
        size = self._journal_size()
        if not size:
            self.why.append("the file system's journal is on another device, or its size cannot be known")
            return
        done = journal.cycle(
            self.mounted,
            home,
            size,
            self._journal,
            lambda count: self.tell("bytes of journal written", count, size),
        )
        self._did("journal", 1, done.bytes)
        self._left(done.why_not)

    def _journal_size(self) -> int:
        if self.volume.kind == "xfs":
            return kernel.xfs_geometry(self.mounted.fd).log_bytes
        found = self._journal()
        return 0 if found is None else len(found)

    def _journal(self) -> journal.Bytes | None:
        with self._device() as device:
            return None if device is None else journal.read(device.pread, device.map)

    # --- free blocks ---

    def _free(self, home: Home) -> Blank | None:
        """Trim, and fill unless reading shows that the trim was enough."""
        found = None
        if self.volume.discards:
            found = self._trim()
            if found is not None and not found.left:
                return found
        self._fill(home)
        found = self._blank()
        if found is None:
            self.why.append(
                "the device may not be read here, so that nobody looked whether free blocks are blank"
            )
        elif self.terms.quiesced and found.left:
            self.why.append(
                f"{found.left} of {found.free} bytes of free blocks could not be overwritten:"
                " the file system keeps them back"
            )
        return found

    def _trim(self) -> Blank | None:
        """None where there was no trim, or nobody may look what it did."""
        found = None
        for _ in range(TRIES):
            self.mounted.sync()
            if not self._trim_once():
                return None
            found = self._blank()
            if found is None or not found.left:
                break
        self._did("trim", 1, self.mounted.unused())
        return found

    def _trim_once(self) -> bool:
        """xfs range by range: asked for all at once, it overlooks free blocks (docs/stores/volumes.md)."""
        step = TRIM_RANGE if self.volume.kind == "xfs" else self.volume.size
        for start in range(0, self.volume.size, step):
            self.mounted.check()
            try:
                if not kernel.trim(self.mounted.fd, start, step):
                    return start > 0
            except PermissionError:
                return False
        return True

    def _fill(self, home: Home) -> None:
        def told(count: int) -> None:
            self.tell("bytes of free blocks filled", count, total)

        total = max(0, self.mounted.free() - (0 if self.terms.quiesced else self.mounted.headroom()))
        if not self.terms.quiesced:
            with self._filling(home) as fill:
                if not fill.write_to_headroom(told):
                    self.why.append("others needed the space while free blocks were filled")
                self._did("fill", 1, fill.bytes)
            return
        with handed_out(self.volume, self.mounted.fd, self.terms.remember) as refused:
            self._left(refused)
            with self._filling(home) as fill:
                fill.write_all(told)
                self._did("fill", 1, fill.bytes)

    @contextlib.contextmanager
    def _filling(self, home: Home) -> Iterator[Fill]:
        with free.filling(self.mounted, home.fd) as fill:
            yield fill

    def _blank(self) -> Blank | None:
        with self._device() as device:
            if device is None:
                return None
            return free.read_blank(device.pread, device.map, self.volume.block, self.mounted.check)

    # --- what is shared ---

    @contextlib.contextmanager
    def _device(self) -> Iterator[raw.Raw | None]:
        """The device, where this process may read it."""
        with contextlib.ExitStack() as stack:
            try:
                self.mounted.sync()
                device = stack.enter_context(raw.opened(self.volume, freeze=False))
            except PermanentStoreError:
                device = None
            yield device

    def _did(self, kind: str, count: int, size: int) -> None:
        if count:
            self.actions.append(Action(kind, count, size))

    def _left(self, why: str) -> None:
        if why and why not in self.why:
            self.why.append(why)

    def _wiped(self, left: Blank | None) -> Wiped:
        if not self.terms.quiesced:
            what = "its headroom was left unwiped" if left is None or left.left else "others may write to it"
            self.why.insert(0, f"the volume is shared, and {what} (its owner can declare it quiesced)")
        reached = Grade.L2 if self.why else Grade.L3
        found = left or Blank(0, 0, 0)
        return Wiped(tuple(self.actions), reached, "; ".join(self.why), found.free, found.blank)
