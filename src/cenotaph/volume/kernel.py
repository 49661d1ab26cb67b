"""What wiping asks of the kernel, each call once: trim, ext4's checkpoint, what xfs keeps back.

Numbers and layouts from linux/fs.h (FITRIM), Documentation/filesystems/ext4/journal.rst and
fs/ext4/ext4.h (EXT4_IOC_CHECKPOINT), xfsprogs xfs_fs.h (XFS_IOC_*), linux/magic.h. What the caller may
not do is `PermissionError`; what this kernel or file system does not know is None.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_FITRIM = 0xC0185879
_RANGE = struct.Struct("=QQQ")

_EXT4_IOC_CHECKPOINT = 0x4004662B
_CHECKPOINT_ZEROOUT = 2

_XFS_IOC_FSGEOMETRY_V1 = 0x80705864
_GEOMETRY = struct.Struct("=8L4Q16s7L4x")
_XFS_IOC_SET_RESBLKS, _XFS_IOC_GET_RESBLKS = 0xC0105872, 0x80105873
_RESBLKS = struct.Struct("=QQ")

_UNKNOWN = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)


def trim(fd: int, start: int, length: int) -> bool:
    """Tell the device of every free block in a range of the file system. False where the device takes no
    discards, or the range is beyond the file system's end."""
    buffer = bytearray(_RANGE.pack(start, length, 0))
    try:
        fcntl.ioctl(fd, _FITRIM, buffer)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return False
        raise
    return True


def checkpoint(fd: int) -> bool | None:
    """Have ext4 (kernel 5.14) move its journal's blocks home and zero the journal.

    True when done, False where the file system has no journal, None where the kernel cannot.
    """
    try:
        fcntl.ioctl(fd, _EXT4_IOC_CHECKPOINT, struct.pack("=L", _CHECKPOINT_ZEROOUT))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        if error.errno in _UNKNOWN:
            return None
        raise
    return True


@dataclass(frozen=True, slots=True)
class XfsGeometry:
    """What an xfs file system says of itself. `log_bytes` is 0 for a log on another device."""

    block: int
    log_bytes: int
    inode: int


def xfs_geometry(fd: int) -> XfsGeometry:
    """Of the mounted xfs that `fd` lies on."""
    buffer = bytearray(_GEOMETRY.size)
    fcntl.ioctl(fd, _XFS_IOC_FSGEOMETRY_V1, buffer)
    block, _, _, _, log_blocks, _, inode, _, _, _, _, log_start = _GEOMETRY.unpack(buffer)[:12]
    return XfsGeometry(block, log_blocks * block if log_start else 0, inode)


def xfs_reserve(fd: int) -> int:
    """Blocks that xfs keeps back for itself (xfs_io(8), resblks)."""
    buffer = bytearray(_RESBLKS.size)
    fcntl.ioctl(fd, _XFS_IOC_GET_RESBLKS, buffer)
    return int(_RESBLKS.unpack(buffer)[0])


def set_xfs_reserve(fd: int, blocks: int) -> None:
    """Change how many blocks xfs keeps back. Needs CAP_SYS_ADMIN."""
    fcntl.ioctl(fd, _XFS_IOC_SET_RESBLKS, bytearray(_RESBLKS.pack(blocks, 0)))


def ext4_reserve(device: int) -> Path:
    """The file that says how many clusters ext4 keeps back (Documentation/ABI/testing/sysfs-fs-ext4).

    `device` is the volume's st_dev. The file is missing where the file system is no ext4.
    """
    link = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    return Path("/sys/fs/ext4", os.path.basename(os.path.realpath(link)), "reserved_clusters")
