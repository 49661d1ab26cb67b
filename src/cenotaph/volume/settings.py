"""What a file system keeps back from everybody, handed out for the time of a fill.

ext4 keeps `reserved_clusters`, xfs a pool of blocks: neither can be filled by writing files, not even by
root, and deleted content survives there (docs/stores/volumes.md). Both live in memory: a mount resets them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from cenotaph.errors import PermanentStoreError
from cenotaph.volume import kernel
from cenotaph.volume.model import Volume

Settings: TypeAlias = Mapping[str, "int | str"]
Remember: TypeAlias = Callable[[dict[str, "int | str"]], None]

EXT4, XFS = "reserved_clusters", "resblks"


@contextlib.contextmanager
def handed_out(volume: Volume, fd: int, remember: Remember) -> Iterator[str]:
    """Have nothing kept back while the block runs. Yields a clause that says why it could not be, else "".

    `remember` is told what to restore, durably, before it is changed, and an empty dict once it is restored.
    """
    try:
        old = _read(volume, fd)
        if old:
            remember(dict(old))
            _write(volume, fd, dict.fromkeys(old, 0))
    except PermissionError:
        yield "only root can hand out the blocks that the file system keeps back"
        return
    try:
        yield ""
    finally:
        if old:
            _write(volume, fd, old)
            remember({})


def restore_settings(volume: Volume, remembered: Settings) -> None:
    """Undo what a killed `wipe` had changed; `remembered` is what its `Terms.remember` was told last.

    Safe to repeat. Raises: PermanentStoreError where it may not be changed, or the note is not ours.
    """
    known = {"ext4": EXT4, "xfs": XFS}.get(volume.kind)
    if any(name != known or not isinstance(value, int) for name, value in remembered.items()):
        raise PermanentStoreError("the note of what to restore on the volume does not fit its file system")
    if not remembered:
        return
    fd = os.open(volume.mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _write(volume, fd, remembered)
    except PermissionError:
        raise PermanentStoreError(
            "what the file system keeps back on the volume could not be restored",
            hint="run again as root, or mount the volume anew, which resets it",
        ) from None
    finally:
        os.close(fd)


def _read(volume: Volume, fd: int) -> dict[str, int | str]:
    """The settings that are not zero."""
    if volume.kind == "ext4":
        try:
            kept = int(kernel.ext4_reserve(volume.number).read_text())
        except FileNotFoundError:
            return {}
        return {EXT4: kept} if kept else {}
    kept = kernel.xfs_reserve(fd) if volume.kind == "xfs" else 0
    return {XFS: kept} if kept else {}


def _write(volume: Volume, fd: int, settings: Settings) -> None:
    for name, value in settings.items():
        if name == EXT4:
            kernel.ext4_reserve(volume.number).write_text(str(value))
        else:
            kernel.set_xfs_reserve(fd, int(value))
