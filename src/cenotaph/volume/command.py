"""`cenotaph-raw`: the one part of cenotaph that needs root, small enough to be read before it is given it.

    sudo cenotaph-raw MOUNT_POINT        # with a Unix socket as standard input

It opens the block device of one mounted ext4 or xfs, for reading, and hands the descriptor to whoever holds
the other end of the socket, so that the rest of cenotaph runs without root. Asked to, it freezes the file
system, and thaws it when the socket ends. It changes nothing else, writes nowhere, reads no file of it, and
imports the standard library alone. Who may run it may read every byte of that volume; a sudoers rule
should name the mount point, and the program should belong to root:

    auditor ALL=(root) /opt/cenotaph/bin/cenotaph-raw /srv/retired

Requests are single messages of a SOCK_SEQPACKET socket: `freeze`, `open`, `owners OFFSET …`. An answer is
`ok`, `ok TEXT`, or `no ERRNO`; that to `open` carries two descriptors, the device and a memory file with the
kernel's map of it (`fsmap`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import stat
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from cenotaph.volume import fsmap, guard, owners

KINDS = ("ext4", "xfs")
MESSAGE = 1 << 16  # bytes; a request or an answer is never longer
_USAGE = "usage: cenotaph-raw MOUNT_POINT, with a Unix socket (SOCK_SEQPACKET) as standard input"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one volume until standard input ends. Exit codes: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        peer = socket.socket(fileno=os.dup(0))
    except OSError:
        return _failed(_USAGE, 2)
    with peer:
        if len(words) != 1 or peer.family != socket.AF_UNIX or peer.type != socket.SOCK_SEQPACKET:
            return _failed(_USAGE, 2)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the end of the socket is the end
        try:
            with Device(words[0], [_process(peer)]) as device:
                _serve(peer, device)
        except OSError as error:
            with contextlib.suppress(OSError):
                peer.send(_no(error))
            return _failed(f"the volume cannot be opened: {error.strerror}", 1)
    return 0


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"cenotaph-raw: {message}\n")
    return code


def _process(peer: socket.socket) -> int:
    """Who made the socket (unix(7), SO_PEERCRED)."""
    (number,) = struct.unpack_from("=i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(number)


class Device:
    """The block device of what is mounted at exactly `mount`, opened for reading, and its mount point.

    `others` are processes that must not wait for it while it is frozen (`guard.Freeze`).
    Raises `OSError`: EINVAL where `mount` is not the mount point of a whole ext4 or xfs, or that of /.
    """

    def __init__(self, mount: str, others: Sequence[int] = ()) -> None:
        self._others = tuple(others)
        with contextlib.ExitStack() as opened:
            self.mount_fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            opened.callback(os.close, self.mount_fd)
            number = os.fstat(self.mount_fd).st_dev
            self.kind = _mounted(mount, number)
            if not self.kind or number == Path("/").stat().st_dev:
                raise OSError(
                    errno.EINVAL, "it is not the mount point of a whole ext4 or xfs, or is that of /"
                )
            self.node = _node(number)
            self.fd = os.open(self.node, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
            opened.callback(os.close, self.fd)
            about = os.fstat(self.fd)
            if not stat.S_ISBLK(about.st_mode) or about.st_rdev != number:
                raise OSError(errno.ENODEV, "the device node is not the device that is mounted")
            self.block = os.fstatvfs(self.mount_fd).f_frsize
            self.size = size(self.fd)
            self._freeze: guard.Freeze | None = None
            self._opened = opened.pop_all()

    def freeze(self) -> None:
        """Raises `OSError`: EBUSY where somebody else has frozen it."""
        if self._freeze is None:
            self._freeze = guard.Freeze(self.mount_fd, self._others)

    @property
    def frozen(self) -> bool:
        return self._freeze is not None and self._freeze.holds

    def owners(self, offsets: Sequence[int]) -> list[str]:
        return owners.owners(self.mount_fd, self.kind, self.node, self.block, self.size, offsets)

    def close(self) -> None:
        """Thaw, and close both descriptors."""
        if self._freeze is not None:
            self._freeze.end()
        self._opened.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_BLKGETSIZE64 = 0x80081272  # linux/fs.h


def size(device_fd: int) -> int:
    """Bytes of an open block device."""
    (found,) = struct.unpack("=Q", fcntl.ioctl(device_fd, _BLKGETSIZE64, bytes(8)))
    return int(found)


def _node(number: int) -> str:
    """The node of a device beneath /dev, as the kernel named it."""
    text = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent").read_text(encoding="utf-8")
    names = [line for line in text.splitlines() if line.startswith("DEVNAME=")]
    return "/dev/" + names[0].removeprefix("DEVNAME=")


def _mounted(mount: str, number: int) -> str:
    """The kind of the whole file system that is mounted at `mount`; empty where none of ours is."""
    wanted = f"{os.major(number)}:{os.minor(number)}"
    kind = ""
    for line in os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).split("\n"):
        fields = line.split(" ")
        if len(fields) > 9 and fields[2] == wanted and fields[3] == "/" and _plain(fields[4]) == mount:
            kind = fields[fields.index("-", 6) + 1]
    return kind if kind in KINDS else ""


def _plain(text: str) -> str:
    """Undo what the kernel writes for blanks and backslashes (proc(5))."""
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text


# --- answering ------------------------------------------------------------------------------


def _serve(peer: socket.socket, device: Device) -> None:
    """Answer until the other end is closed, or says what nobody says."""
    while message := peer.recv(MESSAGE):
        word, *rest = message.decode("ascii", "replace").split(" ")
        try:
            if word == "freeze" and not rest:
                device.freeze()
                peer.send(b"ok")
            elif word == "open" and not rest:
                _hand_over(peer, device)
            elif word == "frozen" and not rest:
                peer.send(b"ok" if device.frozen else _no(OSError(errno.EPERM, "")))
            elif word == "owners" and len(rest) <= owners.MOST and all(n.isdecimal() for n in rest):
                lines = device.owners([int(n) for n in rest])
                peer.send(("ok " + "\n".join(lines)).encode("ascii", "replace")[:MESSAGE])
            else:
                peer.send(_no(OSError(errno.EINVAL, "")))
                return
        except (BrokenPipeError, ConnectionResetError):
            return
        except OSError as error:
            peer.send(_no(error))


def _hand_over(peer: socket.socket, device: Device) -> None:
    """The device and the map, which is read now: after the freeze, if one was asked for."""
    memory = os.memfd_create("map")
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(fsmap.records(device.mount_fd))
        socket.send_fds(peer, [b"ok"], [device.fd, memory])
    finally:
        os.close(memory)


def _no(error: OSError) -> bytes:
    return b"no %d" % (error.errno or errno.EIO)


if __name__ == "__main__":
    sys.exit(main())
