"""How wiping may go about it, and what its steps share: the mounted volume, checked before each change."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cenotaph.durable import syncfs
from cenotaph.errors import PartialError, PermanentStoreError
from cenotaph.volume.model import Volume

HEADROOM_SHARE, HEADROOM_BYTES = 0.05, 2 << 30
BETWEEN_CHECKS = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Terms:
    """What the case and the owner of a volume allow.

    `go_on` is asked before each small step; False ends the run (pause, window, stop). `remember` makes a
    note durable before a setting of the file system is changed (`restore_settings`).
    """

    quiesced: bool
    bytes_per_second: int | None = None
    go_on: Callable[[], bool] = field(default=lambda: True)
    remember: Callable[[dict[str, int | str]], None] = field(default=lambda _: None)


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of thing that was done to a volume."""

    kind: str  # "trim", "fill", "file tails", "directories", "journal"
    count: int
    bytes: int


class Mounted:
    """A volume's mount point, held open. Every step asks `check` first."""

    def __init__(self, volume: Volume, terms: Terms) -> None:
        self.volume, self.terms = volume, terms
        self.fd = os.open(volume.mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._since, self._bytes = time.monotonic(), 0
        self._checked = 0.0
        try:
            self.check()
        except BaseException:
            os.close(self.fd)
            raise

    def check(self) -> None:
        """Look whether to go on, if the last look was not just now.

        Raises:
        PartialError: the run is to end here.
        PermanentStoreError: the volume is no longer mounted where it was.
        """
        now = time.monotonic()
        if now - self._checked < BETWEEN_CHECKS:
            return
        self._checked = now
        if not self.terms.go_on():
            raise PartialError(
                "stopped while a volume was being wiped", hint="run the same command again: it goes on"
            )
        try:
            here = os.stat(self.volume.mount)
        except OSError:
            raise _vanished() from None
        if (here.st_dev, here.st_ino) != (self.volume.number, os.fstat(self.fd).st_ino):
            raise _vanished()

    def paced(self, count: int) -> None:
        """After writing `count` bytes: sleep as long as the rate limit asks."""
        self._bytes += count
        limit = self.terms.bytes_per_second
        while limit and (ahead := self._bytes / limit - (time.monotonic() - self._since)) > 0:
            time.sleep(min(ahead, 0.2))
            self.check()

    def free(self) -> int:
        """Bytes that users can still write."""
        info = os.fstatvfs(self.fd)
        return info.f_bavail * info.f_frsize

    def unused(self) -> int:
        """Bytes that are free, those that are kept back from users included."""
        info = os.fstatvfs(self.fd)
        return info.f_bfree * info.f_frsize

    def headroom(self) -> int:
        """Bytes that a wipe leaves to others on a volume that is not quiesced."""
        info = os.fstatvfs(self.fd)
        return max(int(HEADROOM_SHARE * info.f_blocks * info.f_frsize), HEADROOM_BYTES)

    def sync(self) -> None:
        """All of the volume to its device (sync(2), syncfs)."""
        syncfs(self.fd)

    def close(self) -> None:
        os.close(self.fd)


def _vanished() -> PermanentStoreError:
    return PermanentStoreError(
        "the volume is no longer mounted where it was, and nothing is claimed of it",
        hint="mount it again, then run again",
    )


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Give what a file system refuses its meaning. Raises: PermanentStoreError."""
    try:
        yield
    except OSError as error:
        what, hint = _MEANING.get(error.errno or 0, ("refused a change that wiping needs", None))
        raise PermanentStoreError(f"the volume {what}; nothing is claimed of it", hint=hint) from None


_MEANING = {
    errno.EROFS: ("is mounted read-only", "mount it writable, then run again"),
    errno.EIO: ("gave an input/output error", "look at the kernel's log; a failing medium cannot be wiped"),
    errno.EDQUOT: ("has a quota that keeps the free blocks from being filled", "lift it, then run again"),
    errno.ENOSPC: ("is full", "free some space, then run again"),
    errno.EACCES: ("may not be changed by this user", "run as a user who may, or as root"),
    errno.EPERM: ("may not be changed by this user", "run as a user who may, or as root"),
    errno.ENXIO: ("lost its device", "attach it again, then run again"),
    errno.ENODEV: ("lost its device", "attach it again, then run again"),
}
