"""Scratch volumes for tests: sparse images with a file system, loop mounted, always taken down again.

    from volume_images import LOOPS, image

    @LOOPS
    def test_something(tmp_path: Path) -> None:
        with image(tmp_path, "ext4", 64 << 20) as scratch:
            (scratch.mount / "file").write_bytes(b"...")

What surprised its author: a fresh ext4 is initialised by a kernel thread minutes after it was mounted,
which looks like somebody writing to the volume; `mkfs` is told to do it all at once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SMALLEST = {"ext4": 16 << 20, "xfs": 300 << 20, "btrfs": 128 << 20}
"""Bytes below which an image is made larger (it is sparse): mkfs refuses less, or no journal fits."""

_MAKE: dict[str, tuple[str, ...]] = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "ext3": ("mkfs.ext3", "-q", "-F", "-b", "4096"),
    "ext2": ("mkfs.ext2", "-q", "-F", "-b", "4096"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}


@dataclass(slots=True)
class Image:
    """A mounted scratch volume. `file` is what lies under the loop device `device`."""

    kind: str
    mount: Path
    device: Path
    file: Path

    def unmount(self) -> None:
        """Unmount it, and leave it on its loop device, for tools that want it so."""
        _run("umount", str(self.mount))

    def mount_again(self, options: str = "") -> None:
        """Mount it after `unmount`, e.g. with options "ro"."""
        _mount(self.device, self.mount, options)

    def drop_caches(self) -> None:
        """Have the kernel write everything out and forget what it read from any device."""
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")


@contextlib.contextmanager
def image(
    folder: Path, kind: str, size: int = 64 << 20, *, options: str = "", make: Sequence[str] = ()
) -> Iterator[Image]:
    """A new volume in `folder`, mounted while the block runs; `kind` is ext4, ext3, ext2, xfs or btrfs.

    `options` are mount options, `make` further arguments of mkfs. The mount point belongs to us and is 0755.
    """
    home = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=folder))
    file, mount = home / "image", home / "mount"
    mount.mkdir()
    with file.open("wb") as handle:
        handle.truncate(max(size, SMALLEST.get(kind, 0)))
    _run(*_MAKE[kind], *make, str(file))
    device = Path(_run("losetup", "--find", "--show", str(file)).strip())
    try:
        _mount(device, mount, options)
        yield Image(kind, mount, device, file)
    finally:
        _take_down(device, mount)
        file.unlink()


def _mount(device: Path, mount: Path, options: str) -> None:
    _run("mount", *(("-o", options) if options else ()), str(device), str(mount))


def _take_down(device: Path, mount: Path) -> None:
    """Unmount and detach, also where a test left something open on it or mounted it twice."""
    for attempt in range(20):
        if not _mounted(device):
            break
        lazily = ("-l",) if attempt == 19 else ()
        for point in _mounted(device):
            # a test may have left it frozen
            subprocess.run(["fsfreeze", "-u", point], capture_output=True, check=False)
            subprocess.run(["umount", *lazily, point], capture_output=True, check=False)
        if _mounted(device):
            time.sleep(0.1)
    _run("losetup", "--detach", str(device))


def _mounted(device: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line.split(" ") for line in lines if f" {device} " in line]
    return [fields[4].encode().decode("unicode_escape") for fields in reversed(found)]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed: {done.stderr.strip()}"
    return done.stdout


@functools.cache
def _why_no_loops() -> str:
    """Why loop images cannot be mounted here; empty where they can. Tries it."""
    if os.geteuid() != 0:
        return "loop mounts need root"
    if missing := [tool for tool in ("mkfs.ext4", "losetup", "mount", "umount") if not shutil.which(tool)]:
        return f"loop mounts need {missing[0]}"
    try:
        with tempfile.TemporaryDirectory() as folder, image(Path(folder), "ext4"):
            return ""
    except (AssertionError, OSError) as error:
        return f"loop mounts are not allowed here: {error}"


def tool(name: str) -> pytest.MarkDecorator:
    """A mark that skips where a tool of the operating system is not installed."""
    return pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed")


LOOPS = pytest.mark.skipif(bool(_why_no_loops()), reason=_why_no_loops() or "loop mounts work")
