"""One process at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAUSE = 0.05


@contextmanager
def held(path: Path, *, wait: float = 0.0) -> Iterator[bool]:
    """Hold the lock file at `path` while the block runs; yields False where another process has it.

    Tries for `wait` seconds. The file stays: removing it would let two processes hold two locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield _take(descriptor, time.monotonic() + wait)
    finally:
        os.close(descriptor)


def _take(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)
        else:
            return True
