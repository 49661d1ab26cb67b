"""Reading a volume below its files: its device, opened for reading, and the volume held still meanwhile.

Reads go past the page cache (O_DIRECT): what the kernel remembers of a device need not be what stands on it.
Where the device gives no answer, the read goes on around it and says so in `Raw.unread`; such
bytes come back as zeros, and a search that met any has not searched the volume.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from cenotaph import durable
from cenotaph.durable import syncfs
from cenotaph.errors import PermanentStoreError
from cenotaph.volume import blocks, fsmap, owners
from cenotaph.volume.command import MESSAGE, Device, size
from cenotaph.volume.identify import written_to
from cenotaph.volume.model import Map, Volume

State: TypeAlias = Literal["frozen", "read-only", "moving"]

WINDOW = 8 << 20  # bytes read at once
_ALIGNED = 4096
_MOST_MISSES = 256  # reads in a row that failed: then the rest of a window is given up without trying

PReadV: TypeAlias = Callable[[int, memoryview, int], int]
"""Reads from (descriptor, into, offset), as preadv(2) does."""


def _preadv(fd: int, into: memoryview, offset: int) -> int:
    return os.preadv(fd, [into], offset)


class Disk:
    """An open device, read at any offset and length. Safe to read from several threads."""

    def __init__(self, fd: int, size: int, sector: int = 512, preadv: PReadV = _preadv) -> None:
        self.fd, self.size = fd, size
        self._sector, self._preadv = sector, preadv
        self._step = max(_ALIGNED, sector)
        self._window = memoryview(durable.room(WINDOW))
        self._lock = threading.Lock()
        self._misses = 0
        self._unread: list[tuple[int, int]] = []

    def pread(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on, fewer where the device ends. Copies: `readinto` is faster.

        Raises `PermanentStoreError` where the device has gone.
        """
        pieces: list[bytes] = []
        end = min(offset + length, self.size)
        with self._lock:
            while offset < end:
                begin = offset - offset % self._step
                stop = min(end + -end % self._step, begin + WINDOW, self.size)
                self._fill(self._window[: stop - begin], begin)
                pieces.append(bytes(self._window[offset - begin : min(stop, end) - begin]))
                offset = min(stop, end)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, offset: int, into: memoryview) -> int:
        """Fill a page-aligned buffer (of `mmap`) from an offset that is a multiple of 4096; bytes read.

        Fewer than asked for only where the device ends.
        """
        wanted = into[: max(0, min(len(into), self.size - offset))]
        with self._lock:
            self._fill(wanted, offset)
        return len(wanted)

    @property
    def unread(self) -> list[tuple[int, int]]:
        """(offset, length) of what the device would not give; sorted, disjoint."""
        joined: list[tuple[int, int]] = []
        for offset, length in sorted(self._unread):
            start, end = joined[-1] if joined else (0, -1)
            if offset <= end:
                joined[-1] = start, max(end, offset + length)
            else:
                joined.append((offset, offset + length))
        return [(start, end - start) for start, end in joined]

    def _fill(self, into: memoryview, offset: int) -> None:
        done = 0
        while done < len(into):
            got = self._try(into[done:], offset + done)
            if got <= 0:
                self._around(into[done:], offset + done)
                return
            done += got

    def _try(self, into: memoryview, offset: int) -> int:
        """Bytes read, 0 where the device would not."""
        try:
            got = self._preadv(self.fd, into, offset)
        except OSError as error:
            if error.errno in _GONE:
                raise PermanentStoreError(
                    "the device of the volume is gone", hint="attach and mount it again, then run again"
                ) from None
            if error.errno not in _BAD:
                raise
            return 0
        self._misses = 0 if got else self._misses
        return got

    def _around(self, into: memoryview, offset: int) -> None:
        """Read the halves of what could not be read as one, down to single sectors."""
        if len(into) <= self._sector or self._misses >= _MOST_MISSES:
            self._misses += 1
            into[:] = bytes(len(into))
            self._unread.append((offset, len(into)))
            return
        half = -(-len(into) // self._sector) // 2 * self._sector
        for part, at in ((into[:half], offset), (into[half:], offset + half)):
            got = self._try(part, at)
            if got < len(part):
                self._around(part[got:], at + got)


_GONE = frozenset({errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM})
_BAD = frozenset(  # block/blk-core.c, blk_errors
    {errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ, errno.ENOLINK, errno.ETIMEDOUT, errno.EBADE}
)


class Raw(Disk):
    """A volume's device while its file system is held still, as far as it could be."""

    def __init__(self, volume: Volume, fd: int, map: Map, holder: Holder, state: State, why: str) -> None:
        super().__init__(fd, size(fd), _sector(fd))
        self.volume, self.map = volume, map
        self._holder, self._state, self._why = holder, state, why
        self._writes = _writes(volume) if state == "moving" else _settled(volume)

    @property
    def state(self) -> State:
        """`frozen` and `read-only` volumes are as they were when opened; a `moving` one may not be."""
        if self._state == "frozen" and not self._holder.frozen():
            return "moving"
        if self._state == "read-only" and written_to(self.volume):
            return "moving"
        return self._state

    @property
    def why_moving(self) -> str:
        """A clause that says why the volume is not held still; empty where it is."""
        if self._state != "moving" and self.state == "moving":
            return f"it did not stay {self._state} while it was read"
        return self._why

    def owners(self, offsets: Sequence[int]) -> list[str]:
        """What owns the blocks at a few offsets in use: "inode 12 (regular file)"; "" where nobody says."""
        found: list[str] = []
        for at in range(0, len(offsets), owners.MOST):
            found += self._holder.owners(offsets[at : at + owners.MOST])
        return found

    def moved(self) -> bool:
        """Whether something was written to the device, or discarded on it, since it was opened.

        True also where the kernel does not count, or the volume did not stay as it was.
        """
        now = _writes(self.volume)
        return now is None or now != self._writes or (self._state != "moving" and self.state == "moving")


def _writes(volume: Volume) -> int | None:
    """Sectors that were written or discarded. Not requests: a `sync` of anybody is one, of no sector."""
    fields = _counters(volume)
    return fields[6] + sum(fields[13:14]) if fields else None


def _settled(volume: Volume) -> int | None:
    """The same, of a volume that is held still, as soon as nothing is under way to its device any more.

    Discards of what was freed before a freeze can come after it.
    """
    before = _writes(volume)
    for _ in range(_PATIENCE):
        time.sleep(_PAUSE)
        now, under_way = _writes(volume), any(_counters(volume)[8:9])
        if now == before and not under_way:
            break
        before = now
    return before


_PATIENCE, _PAUSE = 100, 0.02  # seconds


def _counters(volume: Volume) -> list[int]:
    """The device's statistics (kernel Documentation/block/stat.rst); none where it keeps none."""
    folder = Path(f"/sys/dev/block/{os.major(volume.number)}:{os.minor(volume.number)}")
    try:
        device = folder.resolve()
        whole = device.parent if (device / "partition").exists() else device
        if (whole / "queue/iostats").read_text(encoding="ascii").strip() != "1":
            return []
        return [int(field) for field in (folder / "stat").read_text(encoding="ascii").split()]
    except OSError:
        return []


_BLKSSZGET = 0x1268


def _sector(fd: int) -> int:
    (found,) = struct.unpack("=L", fcntl.ioctl(fd, _BLKSSZGET, bytes(4)))
    return int(found)


# --- opening --------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(
    volume: Volume, *, freeze: bool, command: Sequence[str] = (), never: Sequence[Path] = ()
) -> Iterator[Raw]:
    """The volume's device, and the file system frozen while the block runs, where it may be.

    Where we may not open the device ourselves, `command` (e.g. `("sudo", "-n")`) starts `cenotaph-raw`, which
    passes the descriptor. A volume mounted read-only needs no freezing. One that is not to be frozen
    (that of /, or one that we write to ourselves: `never` names more such places) is `moving`.

    Raises:
        PermanentStoreError: nobody may open the device; it is no longer what is mounted there; the file
            system does not say which blocks are free.
    """
    with contextlib.ExitStack() as stack:
        if _number(volume.mount) != volume.number:
            raise PermanentStoreError(_OTHER, hint=_LOOK)
        holder = _holder(volume, command, stack)
        state, why = _held_still(volume, holder, freeze, never)
        try:
            fd, records = holder.open()
        except OSError as error:
            raise blocks.unmapped(error) from None
        stack.callback(os.close, fd)
        if os.fstat(fd).st_rdev != volume.number:
            raise PermanentStoreError(_OTHER, hint=_LOOK)
        disk = Disk(fd, size(fd))
        found = blocks.parse(records, disk.size, blocks.journal(disk.pread))
        yield Raw(volume, fd, found, holder, state, why)


_OTHER = "the volume is no longer mounted where it was"
_LOOK = "see what is mounted there (`findmnt`), then run again"
_NO_RIGHT = "reading a volume below its files needs the right to read its device"
_ASK_FOR_IT = "run as root, or let cenotaph-raw be run with sudo for this mount point"


def _holder(volume: Volume, command: Sequence[str], stack: contextlib.ExitStack) -> Holder:
    """This process, where it may do all of it; else the privileged command."""
    if command and os.geteuid() != 0:
        return _There(stack.enter_context(_started(command, volume.mount)))
    try:
        return _Here(stack.enter_context(Device(str(volume.mount))))
    except PermissionError:
        raise PermanentStoreError(_NO_RIGHT, hint=_ASK_FOR_IT) from None
    except OSError as error:
        why = errno.errorcode.get(error.errno or 0, "error")
        raise PermanentStoreError(f"the device of the volume cannot be opened ({why})", hint=_LOOK) from None


@contextlib.contextmanager
def _started(command: Sequence[str], mount: Path) -> Iterator[socket.socket]:
    """The privileged command, with a socket as its standard input; it ends, and thaws, when we close ours."""
    beside = Path(sys.executable).with_name("cenotaph-raw")
    words = [*command, str(beside) if beside.exists() else "cenotaph-raw", str(mount)]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            try:
                process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603
            except OSError:
                raise PermanentStoreError(_NO_RIGHT, hint=_ASK_FOR_IT) from None
        try:
            yield ours
        finally:
            ours.close()
            process.wait()


def _held_still(volume: Volume, holder: Holder, freeze: bool, never: Sequence[Path]) -> tuple[State, str]:
    if not written_to(volume):
        return "read-only", ""
    with contextlib.ExitStack() as closing:
        mount = os.open(volume.mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        closing.callback(os.close, mount)
        syncfs(mount)
    why = why_not_freeze(volume, never) if freeze else "it was not to be frozen"
    if why:
        return "moving", why
    try:
        holder.freeze()
    except OSError as error:
        if error.errno == errno.EBUSY:
            return "moving", "it had been frozen already, by somebody who may thaw it"
        return "moving", f"it could not be frozen ({errno.errorcode.get(error.errno or 0, 'error')})"
    return "frozen", ""


def why_not_freeze(volume: Volume, never: Sequence[Path] = ()) -> str:
    """A clause that says why freezing the volume would stop ourselves; empty where it would not."""
    places = {
        "it is the volume of /": [Path("/")],
        "the working directory lies on it": [Path.cwd()],
        "temporary files are written to it": [Path(tempfile.gettempdir())],
        "the program lies on it": [Path(sys.prefix), Path(sys.executable), Path(__file__)],
        "files of the case are written to it": list(never),
    }
    for why, paths in places.items():
        if any(volume.number in _beneath(path) for path in paths):
            return why
    if any(volume.number in _beneath(path) for path in _swap_files()):
        return "memory is swapped to a file on it"
    return "a file that we have open for writing lies on it" if _writing_to(volume.number) else ""


def _number(path: Path) -> int | None:
    """st_dev of a path, or of the nearest above it that is there and may be looked at."""
    for here in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            return here.stat().st_dev
    return None


def _beneath(path: Path) -> set[int]:
    """st_dev of a path, and of the image file that its device lies in, and so on."""
    found: set[int] = set()
    number = _number(path)
    while number is not None and number not in found:
        found.add(number)
        device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
        number = None
        for loop in (device / "loop", device.parent / "loop"):  # the other one where it is a partition
            with contextlib.suppress(OSError):
                number = _number(Path(os.fsdecode((loop / "backing_file").read_bytes().rstrip(b"\n"))))
                break
    return found


def _swap_files() -> list[Path]:
    """Files that memory is swapped to (proc(5), swaps)."""
    try:
        lines = Path("/proc/swaps").read_bytes().splitlines()[1:]
    except OSError:
        return []
    found = [line.split()[0] for line in lines if line.split()[1:2] == [b"file"]]
    return [Path(os.fsdecode(name.replace(b"\\040", b" "))) for name in found]


def _writing_to(number: int) -> bool:
    """Whether one of our descriptors, standard output included, writes to the volume."""
    for link in Path("/proc/self/fd").iterdir():
        try:
            about, flags = os.fstat(int(link.name)), fcntl.fcntl(int(link.name), fcntl.F_GETFL)
        except OSError:  # the one that listed them
            continue
        if about.st_dev == number and stat.S_ISREG(about.st_mode) and flags & os.O_ACCMODE != os.O_RDONLY:
            return True
    return False


# --- who holds it ---------------------------------------------------------------------------


class Holder(Protocol):
    """Whoever may open the device: this process, or the privileged command."""

    def freeze(self) -> None:
        """Raises `OSError`."""

    def frozen(self) -> bool: ...

    def open(self) -> tuple[int, bytes]:
        """A descriptor of the device, which the caller closes, and the kernel's records of it."""

    def owners(self, offsets: Sequence[int]) -> list[str]: ...


class _Here:
    """This process has the right."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def freeze(self) -> None:
        self._device.freeze()

    def frozen(self) -> bool:
        return self._device.frozen

    def open(self) -> tuple[int, bytes]:
        return os.dup(self._device.fd), fsmap.records(self._device.mount_fd)

    def owners(self, offsets: Sequence[int]) -> list[str]:
        return self._device.owners(offsets)


class _There:
    """`cenotaph-raw` has it, at the other end of a socket."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def freeze(self) -> None:
        self._ask(b"freeze")

    def frozen(self) -> bool:
        try:
            self._ask(b"frozen")
        except OSError:
            return False
        return True

    def open(self) -> tuple[int, bytes]:
        _, (device, memory) = self._ask(b"open", descriptors=2)
        with open(memory, "rb") as file:
            file.seek(0)
            return device, file.read()

    def owners(self, offsets: Sequence[int]) -> list[str]:
        text, _ = self._ask(b" ".join([b"owners", *(b"%d" % offset for offset in offsets)]))
        lines = text.split("\n")
        return lines if len(lines) == len(offsets) else [""] * len(offsets)

    def _ask(self, message: bytes, descriptors: int = 0) -> tuple[str, list[int]]:
        """Raises `OSError` with the number that the other end gave; ECONNRESET where it is gone."""
        self._peer.sendall(message)
        answer, passed, _, _ = socket.recv_fds(self._peer, MESSAGE, descriptors)
        word, _, text = answer.decode("ascii", "replace").partition(" ")
        if word == "ok" and len(passed) == descriptors:
            return text, passed
        for fd in passed:
            os.close(fd)
        code = int(text) if word == "no" and text.isdecimal() else errno.ECONNRESET
        raise OSError(code, os.strerror(code))
