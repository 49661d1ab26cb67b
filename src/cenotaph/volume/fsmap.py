"""The kernel's own account of what every block of a mounted file system is for: GETFSMAP, as it comes.

Standard library only: the privileged command reads it too. Layout from linux/fsmap.h and
ioctl_getfsmap(2). A record is (device, flags, physical, owner, offset, length), bytes.
"""

from __future__ import annotations

import fcntl
import struct

RECORD = struct.Struct("=LLQQQQ24x")
ATTRIBUTES, TREE, SPECIAL, LAST = 0x2, 0x4, 0x10, 0x20
"""Flags: extended attributes, tree of extents, the owner is no inode, nothing comes after."""

_FS_IOC_GETFSMAP = 0xC0C0583B
_HEAD = struct.Struct("=LLLL48x")  # flags in, flags out, room, records
_A_CALL = 8192
_MOST = 1 << 28  # records, 16 GiB of them: a file system that never says "last" ends here


def records(fd: int) -> bytes:
    """All records of the file system that `fd` lies on, one after another.

    Raises `OSError`: ENOTTY or EOPNOTSUPP where the file system, or the kernel, keeps no such account.
    """
    found = bytearray()
    low = RECORD.pack(0, 0, 0, 0, 0, 0)
    while len(found) < _MOST * RECORD.size:
        some = _between(fd, low, _END)
        found += some
        if not some:
            break
        low = some[-RECORD.size :]
        if RECORD.unpack(low)[1] & LAST:
            break
    return bytes(found)


def inode_at(fd: int, offset: int) -> tuple[int, int] | None:
    """The inode whose block lies at `offset` on the device, and the record's flags; None where not known."""
    found = _between(fd, RECORD.pack(0, 0, offset, 0, 0, 0), RECORD.pack(_U32, _U32, offset, _U64, _U64, 0))
    for _, flags, start, owner, _, length in RECORD.iter_unpack(found):
        if start <= offset < start + length and not flags & SPECIAL:
            return owner, flags
    return None


_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_END = RECORD.pack(_U32, _U32, _U64, _U64, _U64, 0)


def _between(fd: int, low: bytes, high: bytes) -> bytes:
    """As many records as fit into one call."""
    head = _HEAD.pack(0, 0, _A_CALL, 0)
    buffer = bytearray(head + low + high + bytes(_A_CALL * RECORD.size))
    fcntl.ioctl(fd, _FS_IOC_GETFSMAP, buffer)
    count = _HEAD.unpack_from(buffer)[3]
    first = _HEAD.size + 2 * RECORD.size
    return bytes(memoryview(buffer)[first : first + count * RECORD.size])
