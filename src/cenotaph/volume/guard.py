"""Keeps a file system frozen, and thaws it whatever becomes of us. Run as a program of its own, as root.

A frozen volume makes every writer wait; one that stays frozen is as good as broken. So the freeze belongs to
a second process, the guard, which thaws when its standard input ends or its parent is gone: after our own
death too, by SIGKILL even. If the guard itself dies, its parent notices and thaws. Only if both are killed
at once does the volume stay frozen, until `fsfreeze -u`.

What surprised its author: whoever writes to a frozen volume waits in a state in which not even SIGKILL ends
it. So the guard also looks whether one of ours waits like that, and thaws rather than wait with it for ever.

Standard library only: it is started as a plain file, isolated, so that nothing of a user's is imported.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h; ioctl_fifreeze(2)

LONGEST_WAIT = 30.0  # seconds; a disk that takes longer for one read is as good as broken
_WAS_THAWED = 3  # exit code of a guard whose volume somebody else thawed
_GAVE_UP = 4  # of one that thawed, since one of ours waited for the volume


class Freeze:
    """A file system frozen by a guard, until `end`. Raises `OSError` where it cannot be frozen.

    `others` are processes beside this one, and what both started, that must not wait for the volume.
    """

    def __init__(self, mount_fd: int, others: Iterable[int] = ()) -> None:
        self._fd = os.dup(mount_fd)
        self._ending = False
        self._lost = threading.Event()
        numbers = [str(number) for number in (mount_fd, os.getpid(), *others)]
        command = [sys.executable, "-I", "-S", "-B", str(Path(__file__)), *numbers]
        self._guard = subprocess.Popen(  # noqa: S603 - this interpreter, this file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(mount_fd,),
            start_new_session=True,  # a Ctrl-C is not for it
            cwd="/",
            env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
        )
        try:
            self._confirm()
        except BaseException:
            self._release()
            if self._guard.returncode < 0:  # killed before it could say that it had frozen the volume
                thaw(self._fd)
            os.close(self._fd)
            raise
        self._watch = threading.Thread(target=self._thaw_for_the_guard, name="freeze", daemon=True)
        self._watch.start()

    @property
    def holds(self) -> bool:
        """Whether the guard lives, and so the volume is as frozen as it was."""
        return not self._lost.is_set() and self._guard.poll() is None

    def end(self) -> bool:
        """Thaw; whether the volume had been frozen all the time."""
        if not self._ending:
            self._ending = True
            self._release()
            self._watch.join()
            os.close(self._fd)
        return not self._lost.is_set()

    def _confirm(self) -> None:
        assert self._guard.stdout is not None
        answer = self._guard.stdout.readline().strip()
        self._guard.stdout.close()
        code = int(answer) if answer.isdigit() else errno.EIO
        if code:
            raise OSError(code, os.strerror(code))

    def _release(self) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def _thaw_for_the_guard(self) -> None:
        """Waits for the guard's end, and does its work where it died without."""
        code = self._guard.wait()
        if code == 0 and self._ending:
            return
        self._lost.set()
        if code != _WAS_THAWED:
            thaw(self._fd)


def thaw(fd: int) -> bool:
    """Thaw the file system of an open folder; whether it was frozen."""
    try:
        fcntl.ioctl(fd, FITHAW, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def _guard(fd: int, parent: int, *others: int) -> int:
    """Freeze, say so, and thaw at the end of standard input or of the parent, or where one of ours waits."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the last to be killed where memory runs out (proc(5))
        Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")
    gone = _end_of(parent)
    if os.getppid() != parent:
        return 1
    try:
        fcntl.ioctl(fd, FIFREEZE, 0)
    except OSError as error:
        os.write(1, f"{error.errno}\n".encode())
        return 1
    try:
        os.write(1, b"0\n")
        ended = _wait([0] if gone is None else [0, gone], _Waiting((parent, *others)))
    finally:
        frozen = thaw(fd)
    return _WAS_THAWED if not frozen else 0 if ended else _GAVE_UP


def _end_of(process: int) -> int | None:
    """A descriptor that becomes readable when a process ends; None on kernels before 5.3.

    Standard input alone would not do: a child that our parent forked can hold its other end open.
    """
    try:
        return os.pidfd_open(process)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise


def _wait(fds: list[int], waiting: _Waiting) -> bool:
    """Until one of them is at its end, or, then False, somebody waits who never would stop to.

    What is said on standard input means nothing.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while not waiting.too_long():
        for fd, _ in poll.poll(1000):
            if fd != 0 or not os.read(0, 4096):
                return True
    return False


class _Waiting:
    """Threads of some processes, and of those they started, that wait and cannot be interrupted (proc(5))."""

    def __init__(self, processes: Iterable[int]) -> None:
        self._processes = tuple(processes)
        self._since: dict[int, tuple[str, float]] = {}  # thread → its switches, and when they were seen first

    def too_long(self) -> bool:
        """Whether one of them has waited for `LONGEST_WAIT`. To be asked every second or so."""
        before, self._since, now = self._since, {}, time.monotonic()
        for task in self._tasks():
            switches = _waits(task)
            if switches:
                known = before.get(int(task.name))
                same = known is not None and known[0] == switches
                self._since[int(task.name)] = known if known and same else (switches, now)
        return any(now - since > LONGEST_WAIT for _, since in self._since.values())

    def _tasks(self) -> Iterator[Path]:
        left, seen = list(self._processes), set[int]()
        while left:
            process = left.pop()
            if process in seen:
                continue
            seen.add(process)
            with contextlib.suppress(OSError):  # it has ended
                for task in Path(f"/proc/{process}/task").iterdir():
                    yield task
                    left += map(int, (task / "children").read_text(encoding="ascii").split())


def _waits(task: Path) -> str:
    """How often a thread was switched, if it waits without being interruptible; else empty."""
    try:
        lines = (task / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    words = dict(line.split(":", 1) for line in lines if ":" in line)
    return words.get("voluntary_ctxt_switches", "?") if words.get("State", "").split()[:1] == ["D"] else ""


if __name__ == "__main__":
    sys.exit(_guard(*(int(word) for word in sys.argv[1:])))
