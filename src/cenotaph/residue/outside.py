"""Programs written by others, run on a volume: bounded, without a shell, what they print only ever searched.

What surprised the author: foremost prints pieces of what it carves on its standard output, and photorec's log
names files, so nothing of theirs is shown to anybody; a buffered read of a block device can be older than the
disk, because the kernel keeps the pages of a device apart from those of the files on it (`forget_cached`);
and carvers take any path that opens, so that bytes can be handed to them in memory (memfd_create(2)), which
lands on no disk and needs no right to the device.

What a tool must write as files goes into a scratch folder that is searched, overwritten and removed
(`scratch_folder`). Best is one on a tmpfs or an encrypted volume: overwriting shows nothing on others.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import resource
import select
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from cenotaph import durable
from cenotaph.errors import PermanentStoreError, UsageError
from cenotaph.residue.needles import Needles
from cenotaph.residue.scan import Findings, scan
from cenotaph.store import Ranges
from cenotaph.volume.raw import Raw

SEGMENT = 128 << 20  # bytes held in memory at once
OVERLAP = 8 << 20  # of one segment with the next: a container up to this long is whole in one of them
MOST_WRITTEN = 4 << 30  # bytes that one tool may write to the scratch folder
PAGE = 4096
_STEP = 1 << 20  # bytes read at once
_BLANK = bytes(64 << 10)  # stands for a longer run of zeros
_POLL = 0.25  # seconds between two looks at what a tool has written

_VERSION_FLAG = {"photorec": "/version", "extundelete": "--version", "unzip": "-v", "sqlite3": "-version"}
_SHORT_V = ("blkls", "fls", "icat", "tsk_recover", "scalpel", "foremost", "ext4magic", "debugfs")
_VERSION = re.compile(rb"\d{1,4}(?:\.\d{1,4}){1,3}[a-z]?")


# --- tools ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tool:
    """An installed program."""

    name: str
    path: str = field(repr=False)
    version: str


def installed(name: str) -> Tool | None:
    """The program of this name in PATH or where administrators' programs are, with its version as it says."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        return None
    flag = _VERSION_FLAG.get(name, "-V" if name in _SHORT_V else "--version")
    try:
        done = subprocess.run(  # noqa: S603
            [path, flag],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(Path("/")),
            cwd="/",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stdout[:4096])
    return Tool(name, path, found[0].decode() if found else "unknown")


@dataclass(frozen=True, slots=True)
class Command:
    """One run of a tool. `folder` is where it works, and may write; nothing else tells it where it is."""

    tool: Tool
    arguments: tuple[str | bytes, ...] = field(repr=False)
    folder: Path = field(repr=False)
    stdin: int | Iterable[bytes] | None = field(default=None, repr=False)  # a descriptor, or bytes to feed
    keep_open: tuple[int, ...] = ()
    seconds: float = 600  # of waiting for the tool; the time that we search is ours
    most: int = 1 << 44  # bytes of output
    fine: tuple[int, ...] = (0,)  # exit codes that are no failure


@dataclass(slots=True)
class Outcome:
    """How a run went: filled while `output` is read."""

    bytes: int = 0
    ended: str = ""  # a clause without data, e.g. "was stopped after 60 s"; empty where all went well


def output(command: Command, outcome: Outcome) -> Iterator[bytes]:
    """Run a tool and give what it prints, piece by piece. Stopping early, or an error here, kills it."""
    left = command.seconds
    with _started(command) as process:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN | select.POLLHUP)
        looked = 0.0
        while left > 0 and not outcome.ended:
            begun = time.monotonic()
            ready = poll.poll(_POLL * 1000)
            piece = os.read(pipe, 1 << 20) if ready else b""
            left -= time.monotonic() - begun
            if ready and not piece:
                break
            outcome.bytes += len(piece)
            if outcome.bytes > command.most:
                outcome.ended = f"was stopped after {command.most} bytes"
            if time.monotonic() - looked > _POLL:
                looked = time.monotonic()
                outcome.ended = outcome.ended or _too_much(command.folder)
            if piece:
                yield piece
        if left <= 0:
            outcome.ended = f"was stopped after {command.seconds:.0f} s"
        if not outcome.ended:
            outcome.ended = _exit(process, command)


def run(command: Command) -> Outcome:
    """Run a tool for what it writes into its folder; what it prints is dropped."""
    outcome = Outcome()
    for _ in output(command, outcome):
        pass
    outcome.bytes = 0
    return outcome


def _exit(process: subprocess.Popen[bytes], command: Command) -> str:
    try:
        code = process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        return "did not end"
    if code < 0:
        return f"crashed (signal {-code})"
    return "" if code in command.fine else f"ended with status {code}"


def _too_much(folder: Path) -> str:
    """Why a tool must stop writing; empty where it may go on."""
    used, room = _used(folder), os.statvfs(folder)
    if used > MOST_WRITTEN:
        return f"was stopped after writing {MOST_WRITTEN} bytes"
    if used > 1 << 20 and room.f_bavail * 20 < room.f_blocks:  # not where others filled it
        return "was stopped: the scratch folder's volume is nearly full"
    return ""


def _used(folder: Path) -> int:
    used = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                used += os.lstat(os.path.join(here, name)).st_blocks * 512
    return used


@contextlib.contextmanager
def _started(command: Command) -> Iterator[subprocess.Popen[bytes]]:
    feeding = command.stdin is not None and not isinstance(command.stdin, int)
    given = subprocess.PIPE if feeding else command.stdin
    assert given is None or isinstance(given, int)
    process = subprocess.Popen(  # noqa: S603
        # foremost finds no archives when it is started by its full path, so by name, from the one folder
        [*_dies_with_us(), command.tool.name, *command.arguments],
        stdin=subprocess.DEVNULL if given is None else given,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=command.folder,
        env=_environment(command.folder, os.path.dirname(command.tool.path)),
        pass_fds=command.keep_open,
        start_new_session=True,
        umask=0o077,
    )
    feeder = None
    try:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MOST_WRITTEN, MOST_WRITTEN))
        if feeding:
            feeder = threading.Thread(target=_feed, args=(process, command.stdin), daemon=True)
            feeder.start()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if feeder is not None:
            feeder.join()
        assert process.stdout is not None
        process.stdout.close()


def _dies_with_us() -> list[str]:
    """What to put before a command so that our own death by SIGKILL ends it too (setpriv(1))."""
    path = shutil.which("setpriv")
    return [path, "--pdeathsig", "KILL", "--"] if path else []


def _feed(process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError):
        try:
            for piece in pieces:
                process.stdin.write(piece)
        finally:
            process.stdin.close()


def _environment(folder: Path, programs: str = "/usr/bin") -> dict[str, str]:
    """Little: one language, no start-up files of a user, temporary files in memory where that is possible."""
    temporary = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(folder)  # noqa: S108
    return {
        "LC_ALL": "C",
        "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "TERM": "dumb",
        "TMPDIR": temporary,
        "SQLITE_TMPDIR": temporary,
    }


# --- the device -----------------------------------------------------------------------------


@contextlib.contextmanager
def device(raw: Raw) -> Iterator[int | None]:
    """A buffered read-only descriptor of the volume's device for tools, or None where we may not open it.

    Raises `PermanentStoreError` where the path leads to another device than the one that is searched.
    """
    try:
        fd = os.open(raw.volume.device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        if _identity(fd) != _identity(raw.fd):
            raise PermanentStoreError(
                "the volume's device is not the one that was opened", hint="run the probe again"
            )
        forget_cached(fd)
        yield fd
    finally:
        os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return (info.st_rdev, 0) if stat.S_ISBLK(info.st_mode) else (info.st_dev, info.st_ino)


def forget_cached(fd: int) -> None:
    """Have the kernel drop what it read of a device before, so that a tool reads the disk.

    Metadata that a mounted ext4 holds stays, and is what the file system itself sees (posix_fadvise(2)).
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def pieces(raw: Raw, wanted: Ranges) -> Iterator[tuple[int, bytes]]:
    """The bytes of some ranges, with their offsets, in pieces that begin at multiples of 4096.

    What lies between the ranges reads as zeros. Pieces of nothing but zeros are left out.
    """
    wanted, at = wanted.copy(), 0
    while at < len(wanted):
        begin = int(wanted[at, 0]) // PAGE * PAGE
        last = int(np.searchsorted(wanted[:, 0], begin + _STEP))
        end = min(begin + _STEP, -(-int(wanted[last - 1, 1]) // PAGE) * PAGE, raw.size)
        data = np.zeros(end - begin, dtype=np.uint8)
        read = np.frombuffer(raw.pread(begin, end - begin), dtype=np.uint8)
        for low, high in np.clip(wanted[at:last] - begin, 0, end - begin).tolist():
            data[low:high] = read[low:high]
        if data.any():
            yield begin, data.tobytes()
        while at < last and wanted[at, 1] <= end:
            at += 1
        if at < len(wanted):
            wanted[at, 0] = max(wanted[at, 0], end)


def squeezed(found: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """Pieces one behind the other, with a short run of zeros where something was left out."""
    end = 0
    for offset, piece in found:
        if offset != end:
            yield _BLANK
        yield piece
        end = offset + len(piece)


def outside_of(live: Ranges, size: int) -> Ranges:
    """All bytes below `size` but these sorted, disjoint ranges."""
    edges: npt.NDArray[np.int64] = np.concatenate([[0], live.reshape(-1), [size]]).astype(np.int64)
    found = edges.reshape(-1, 2)
    return found[found[:, 1] > found[:, 0]]


# --- searching what tools give ---------------------------------------------------------------


def segments(given: Iterable[bytes], size: int = SEGMENT, overlap: int = OVERLAP) -> Iterator[BinaryIO]:
    """Bytes as files in memory of `size` and a little more, each beginning with the end of the one before it.

    The same file each time; use it before asking for the next.
    """
    with open(os.memfd_create("cenotaph", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
        fresh = False
        for piece in given:
            durable.write_all(file.fileno(), piece)
            fresh = True
            if file.tell() >= size:
                yield file
                tail = os.pread(file.fileno(), overlap, os.fstat(file.fileno()).st_size - overlap)
                file.seek(0)
                file.truncate()
                durable.write_all(file.fileno(), tail)
                fresh = False
        if fresh:
            yield file


def search(given: Iterable[bytes], needles: Needles) -> Findings:
    """Search bytes of any length that come piece by piece."""
    found = Findings()
    for file in segments(given):
        found.merge(scan(file, os.fstat(file.fileno()).st_size, needles, NOTHING))
    return found


def search_bytes(data: bytes, needles: Needles) -> set[int]:
    """The distinct needles in a few bytes."""
    return scan(io.BytesIO(data), len(data), needles, NOTHING).residue


NOTHING: Ranges = np.zeros((0, 2), dtype=np.int64)


@dataclass(slots=True)
class Haul:
    """What a tool brought: distinct needles in it, and how much it was."""

    values: set[int] = field(default_factory=set, repr=False)
    bytes: int = 0
    files: int = 0
    rows: int = 0
    ended: str = ""

    def add(self, other: Haul) -> None:
        self.values |= other.values
        self.bytes += other.bytes
        self.files += other.files
        self.rows += other.rows
        self.ended = self.ended or other.ended


def streamed(command: Command, needles: Needles) -> Haul:
    """Run a tool and search what it prints."""
    outcome = Outcome()
    found = search(output(command, outcome), needles)
    return Haul(found.residue, outcome.bytes, ended=outcome.ended)


def harvest(folder: Path, needles: Needles) -> Haul:
    """Search the names and the contents of all files beneath a folder, then destroy them.

    What is compressed is also decompressed by the programs that are there for it (`_UNPACK`).
    """
    haul = Haul()
    for path in _files(folder):
        haul.values |= search_bytes(os.fsencode(path.relative_to(folder)), needles)
        size = path.stat().st_size
        if not size:
            continue
        haul.files += 1
        haul.bytes += size
        with path.open("rb") as file:
            haul.values |= scan(file, size, needles, NOTHING).residue
        haul.add(_unpacked(path, folder, needles))
    empty(folder)
    return haul


def _files(folder: Path) -> list[Path]:
    found = [Path(here) / name for here, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if stat.S_ISREG(path.lstat().st_mode))


_UNPACK: dict[bytes, tuple[str, tuple[str, ...]]] = {
    b"\x1f\x8b\x08": ("gzip", ("-dc",)),
    b"PK\x03\x04": ("unzip", ("-p",)),
    b"\x28\xb5\x2f\xfd": ("zstd", ("-dc",)),
    b"\x04\x22\x4d\x18": ("lz4", ("-dc",)),
    b"BZh": ("bzip2", ("-dc",)),
    b"\xfd7zXZ\x00": ("xz", ("-dc",)),
}
_MOST_UNPACKED = 4 << 30


def _unpacked(path: Path, folder: Path, needles: Needles) -> Haul:
    """What the format's own program makes of a file; nothing where there is none, or it is damaged."""
    with path.open("rb", buffering=0) as file:  # a buffer would leave the descriptor somewhere else
        head = file.read(8)
        for magic, (name, arguments) in _UNPACK.items():
            if not head.startswith(magic) or (tool := _unpacker(name)) is None:
                continue
            file.seek(0)
            from_path = name == "unzip"  # reads the directory at the end first, so it needs a file
            command = Command(
                tool,
                (*arguments, f"/proc/self/fd/{file.fileno()}") if from_path else arguments,
                folder,
                None if from_path else file.fileno(),
                (file.fileno(),) if from_path else (),
                seconds=60,
                most=_MOST_UNPACKED,
            )
            haul = streamed(command, needles)
            haul.ended = ""  # the end of a carved file is a guess: trailing bytes are no failure
            return haul
    return Haul()


def _unpacker(name: str) -> Tool | None:
    path = shutil.which(name)
    return Tool(name, path, "") if path else None


# --- scratch --------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch_folder(parent: Path, volume: int) -> Iterator[Path]:
    """A folder of our own in `parent`, 0700; all that is in it is overwritten and removed in the end.

    `volume` is the st_dev that it must not lie on. What an earlier run left there when it was killed is
    destroyed first; the folder of a run that lives is locked (flock(2)) and left alone.

    Raises:
        UsageError: `parent` is no folder of ours, or lies on the volume that is searched.
    """
    info = parent.stat()
    if info.st_dev == volume:
        raise UsageError(
            "the scratch folder lies on the volume that is searched",
            hint="set TMPDIR to a folder on another volume, best one in memory",
        )
    for entry in list(os.scandir(parent)):
        if durable.is_tombstone(os.fsencode(entry.name)) and entry.is_dir(follow_symlinks=False):
            _sweep(Path(entry.path))
    folder = parent / durable.tombstone_name()
    folder.mkdir(mode=0o700)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        empty(folder)
        folder.rmdir()
        os.close(lock)


def _sweep(folder: Path) -> None:
    """Destroy what a killed run left, unless somebody still works in it or it is not ours."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        empty(folder)
        folder.rmdir()
    except BlockingIOError:
        return
    finally:
        os.close(lock)


def empty(folder: Path) -> None:
    """Overwrite and remove all that is in a folder. Names of tools' files are changed before they go."""
    for here, folders, names in os.walk(folder, topdown=False):
        for name in (*names, *folders):
            path = os.path.join(here, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                _overwrite(path)
            plain = os.path.join(here, durable.tombstone_name())
            os.rename(path, plain)
            if stat.S_ISDIR(os.lstat(plain).st_mode):
                os.rmdir(plain)
            else:
                os.unlink(plain)


def _overwrite(path: str) -> None:
    os.chmod(path, 0o600)
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        durable.overwrite(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
