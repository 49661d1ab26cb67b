"""Whose a block in use is, by the file system's own tools, debugfs(8) and xfs_db(8): numbers, never names.

Standard library only: the privileged command asks too. A tool that is missing, or says what is not
expected, leaves the answer empty.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from cenotaph.volume import fsmap

MOST = 64  # offsets asked for at once
_SECONDS = 120
_XFS_MOST_BYTES = 64 << 30  # xfs_db reads all metadata of the volume before it answers


def owners(mount_fd: int, kind: str, device: str, block: int, size: int, offsets: Sequence[int]) -> list[str]:
    """For each offset on the device, what owns its block: "inode 12 (regular file)", "" where not known.

    `mount_fd` is a folder of the volume of `kind`, `device` its node, of `size` bytes. At most `MOST`
    offsets are looked up.
    """
    wanted = [offset // block for offset in offsets[:MOST]]
    found: dict[int, str] = {}
    if kind == "ext4":
        found = _ext4(device, wanted)
    elif kind == "xfs":
        found = _xfs(mount_fd, device, block, size, wanted)
    return [found.get(number, "") for number in wanted] + [""] * (len(offsets) - len(wanted))


# --- ext4 -----------------------------------------------------------------------------------

_ICHECK = re.compile(r"^(\d+)\t(\d+)$", re.MULTILINE)
_STAT = re.compile(r"^Inode: (\d+) +Type: ([a-z ]+?) +Mode:", re.MULTILINE)
_TYPES = {
    "regular": "regular file",
    "directory": "folder",
    "symlink": "symbolic link",
}


def _ext4(device: str, blocks: Sequence[int]) -> dict[int, str]:
    """`icheck` gives the inode of a block, `stat` the kind of an inode."""
    asked = " ".join(str(block) for block in sorted(set(blocks)))
    text = _said("debugfs", "-R", f"icheck {asked}", device)
    inodes = {int(block): int(inode) for block, inode in _ICHECK.findall(text)}
    kinds = {inode: _ext4_kind(device, inode) for inode in sorted(set(inodes.values()))}
    return {block: f"inode {inode} ({kinds[inode]})" for block, inode in inodes.items()}


def _ext4_kind(device: str, inode: int) -> str:
    if inode == 8:
        return "the journal"
    for number, kind in _STAT.findall(_said("debugfs", "-R", f"stat <{inode}>", device)):
        if int(number) == inode:
            return _TYPES.get(kind, "of another kind")
    return "of another kind"


# --- xfs ------------------------------------------------------------------------------------

_BLOCKUSE = re.compile(r"^block (\d+) \(\d+/\d+\) type ([a-z0-9]+)(?: inode (\d+))?$", re.MULTILINE)
_MODE = re.compile(r"^core\.mode = 0?([0-7]{5,6})$", re.MULTILINE)
_KINDS = {0o10: "regular file", 0o04: "folder", 0o12: "symbolic link"}
_XFS_TYPES = {"inode": "inodes", "log": "the journal", "attr": "extended attributes"}


def _xfs(mount_fd: int, device: str, block: int, size: int, blocks: Sequence[int]) -> dict[int, str]:
    """From the file system's reverse map, if it was made with one; else from xfs_db, where it can: it does
    not read an xfs whose log is not empty, so that the volume must be mounted read-only."""
    found = {number: named for number in blocks if (named := _reverse(mount_fd, device, number * block))}
    for number in () if found or size > _XFS_MOST_BYTES else sorted(set(blocks)):
        commands = ("blockget -s -n", f"daddr {number * (block // 512)}", "blockuse")
        text = _said("xfs_db", "-r", *(word for line in commands for word in ("-c", line)), device)
        for _, kind, inode in _BLOCKUSE.findall(text):
            named = _XFS_TYPES.get(kind, "file" if kind == "data" else "metadata")
            found[number] = f"inode {inode} ({_xfs_kind(device, inode) or named})" if inode else named
        if not text:
            break
    return found


def _reverse(mount_fd: int, device: str, offset: int) -> str:
    known = fsmap.inode_at(mount_fd, offset)
    if known is None:
        return ""
    inode, flags = known
    if flags & fsmap.ATTRIBUTES:
        return f"inode {inode} (extended attributes)"
    return f"inode {inode} ({_xfs_kind(device, str(inode)) or 'file'})"


def _xfs_kind(device: str, inode: str) -> str:
    text = _said("xfs_db", "-r", "-c", f"inode {inode}", "-c", "print core.mode", device)
    modes = _MODE.findall(text)
    return _KINDS.get(int(modes[0], 8) >> 12, "") if modes else ""


def _said(tool: str, *words: str) -> str:
    """What a tool prints; empty where there is none, it fails, or it takes too long."""
    found = shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        return ""
    environment: Mapping[str, str] = {"PATH": os.defpath, "LC_ALL": "C", "DEBUGFS_PAGER": "cat"}
    try:
        done = subprocess.run(  # noqa: S603 - words are ours and numbers
            [found, *words],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout[: 1 << 20].decode("ascii", "replace")
