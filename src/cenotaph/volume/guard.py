"""Keeps a file system frozen, and thaws it whatever becomes of us. Run as a program of its own, as root.

A frozen volume makes every writer wait; one that stays frozen is as good as broken. So the freeze belongs to
a second process, the guard, which thaws when its standard input ends or its parent is gone: after our own
death too, by SIGKILL even. If the guard itself dies, its parent notices and thaws. Only if both are killed
at once does the volume stay frozen, until `fsfreeze -u`.

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
from pathlib import Path

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h; ioctl_fifreeze(2)

_WAS_THAWED = 3  # exit code of a guard whose volume somebody else thawed


class Freeze:
    """A file system frozen by a guard, until `end`. Raises `OSError` where it cannot be frozen."""

    def __init__(self, mount_fd: int) -> None:
        self._fd = os.dup(mount_fd)
        self._ending = False
        self._lost = threading.Event()
        command = [sys.executable, "-I", "-S", "-B", str(Path(__file__)), str(mount_fd), str(os.getpid())]
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


def _guard(fd: int, parent: int) -> int:
    """Freeze, say so, and thaw at the end of standard input or of the parent."""
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
        _wait([0] if gone is None else [0, gone])
    finally:
        frozen = thaw(fd)
    return 0 if frozen else _WAS_THAWED


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


def _wait(fds: list[int]) -> None:
    """Until one of them is at its end. What is said on standard input means nothing."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd != 0 or not os.read(0, 4096):
                return


if __name__ == "__main__":
    sys.exit(_guard(int(sys.argv[1]), int(sys.argv[2])))
