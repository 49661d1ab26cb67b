"""The kernel's own account of what every block of a mounted file system is for: GETFSMAP, as it comes.

Standard library only: the privileged command reads it too. Layout from linux/fsmap.h and
ioctl_getfsmap(2). A record is (device, flags, physical, owner, offset, length), bytes.
"""

from __future__ import annotations

import fcntl
import struct

RECORD = struct.Struct("=LLQQQQ24x")
SPECIAL, LAST = 0x10, 0x20  # flags: the owner is no inode; nothing comes after

_FS_IOC_GETFSMAP = 0xC0C0583B
_HEAD = struct.Struct("=LLLL48x")  # flags in, flags out, room, records
_A_CALL = 8192
_MOST = 1 << 28  # records, 16 GiB of them: a file system that never says "last" ends here


def records(fd: int) -> bytes:
    """All records of the file system that `fd` lies on, one after another.

    Raises `OSError`: ENOTTY or EOPNOTSUPP where the file system, or the kernel, keeps no such account.
    """
    whole = (1 << 32) - 1, (1 << 32) - 1, (1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1, 0
    found = bytearray()
    low = RECORD.pack(0, 0, 0, 0, 0, 0)
    while len(found) < _MOST * RECORD.size:
        head = _HEAD.pack(0, 0, _A_CALL, 0)
        buffer = bytearray(head + low + RECORD.pack(*whole) + bytes(_A_CALL * RECORD.size))
        fcntl.ioctl(fd, _FS_IOC_GETFSMAP, buffer)
        count = _HEAD.unpack_from(buffer)[3]
        first = _HEAD.size + 2 * RECORD.size
        found += memoryview(buffer)[first : first + count * RECORD.size]
        if count == 0:
            break
        low = bytes(found[-RECORD.size :])
        if RECORD.unpack(low)[1] & LAST:
            break
    return bytes(found)
