"""Ends a process at the N-th change that it makes to the disk, as `kill -9` would.

Or lets every write from the N-th on fail, as a full disk does.

A step of a case runs in a forked process whose calls that change something durable (journal entries,
renames, removals, overwriting, the steps of an erasing in SQLite) are counted before they are made.
Product code knows nothing of this: the calls are wrapped in the forked process alone. Workers are forked
too, instead of coming from the fork server, so that they inherit the wraps and share the count.
"""

from __future__ import annotations

import enum
import errno
import functools
import mmap
import multiprocessing
import os
import select
import signal
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cenotaph.stores.sqlite
from cenotaph import durable
from cenotaph.engines import local
from cenotaph.errors import CenotaphError
from cenotaph.journal import Journal, JournalError
from cenotaph_proof.errors import ProofError

NEVER = -1
PATIENCE = 120  # seconds after which a step that was not killed is stuck

WRITES = ("write_all", "replace", "journal")  # what needs room


class How(enum.Enum):
    """GROUP: all processes are killed. ALONE: the one that is about to make the change; the others are left
    to themselves. DISK_FULL: this write and all after it fail."""

    GROUP = enum.auto()
    ALONE = enum.auto()
    DISK_FULL = enum.auto()


class By(enum.Enum):
    """What is counted: CHANGE, each change to the disk. LINE, lines of the journal: the end comes before the
    next one. AFTER, the same: it comes before whatever follows the line."""

    CHANGE = enum.auto()
    LINE = enum.auto()
    AFTER = enum.auto()


SYSTEM_CALLS = ("link", "rename", "replace", "unlink", "rmdir", "pwrite", "ftruncate", "removexattr")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `events` are the names of the changes that were made, or about to be."""

    killed: bool
    code: int
    said: str
    events: tuple[str, ...]
    orphans: bool  # a worker outlived the run


class _Count:
    """The number of the next event, shared by all processes of a run, and where to end."""

    def __init__(self, target: int, *, how: How, by: By, names: int) -> None:
        self._shared = mmap.mmap(-1, 8)
        self._target, self._how, self._by, self._names = target, how, by, names
        self._write = os.write

    def __call__(self, name: str) -> None:
        (number,) = struct.unpack("=q", self._shared[:8])
        counts = self._by is By.CHANGE or name.startswith("journal")
        self._shared[:8] = struct.pack("=q", number + counts)
        self._write(self._names, f"{name}\n".encode())
        if self._how is How.DISK_FULL:
            if NEVER < self._target <= number and name.startswith(WRITES):
                raise _full(name)
        elif number == self._target and (counts or self._by is By.AFTER):
            if self._how is How.ALONE:
                os.kill(os.getpid(), signal.SIGKILL)
            os.killpg(os.getpgrp(), signal.SIGKILL)


def _full(name: str) -> Exception:
    if name.startswith("journal"):
        return JournalError("the journal cannot be written: database or disk is full")
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run(step: Callable[[], object], at: int = NEVER, how: How = How.GROUP, by: By = By.CHANGE) -> Ended:
    """Run a step in a process group of its own, which meets its end at change, or line, `at`."""
    names, into_names = os.pipe()
    said, into_said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(names)
        os.close(said)
        os.setpgid(0, 0)
        os._exit(_in_child(step, _Count(at, how=how, by=by, names=into_names), into_said))
    os.close(into_names)
    os.close(into_said)
    events, stuck = _read(names)
    if stuck:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    words, _ = _read(said)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else NEVER
    return Ended(killed, code, words, tuple(events.splitlines()), stuck)


def _read(pipe: int) -> tuple[str, bool]:
    """All that is written until the last process that could write is gone, and whether that took too long."""
    parts: list[bytes] = []
    stuck = False
    while True:
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        data = os.read(pipe, 1 << 16) if ready else b""
        stuck = stuck or not ready
        if not data:
            os.close(pipe)
            return b"".join(parts).decode(), stuck
        parts.append(data)


def _in_child(step: Callable[[], object], event: _Count, said: int) -> int:
    try:
        _wrap(event)
        step()
    except (CenotaphError, ProofError) as error:
        os.write(said, f"{type(error).__name__}: {error}".encode())
        return int(getattr(error, "exit_code", 4))
    except OSError as error:
        os.write(said, f"OSError: {error.strerror}".encode())
        return 1
    except BaseException:  # noqa: BLE001  # a forked copy of pytest must not go on
        os.write(said, traceback.format_exc().encode())
        return 99
    return 0


def _wrap(event: _Count) -> None:
    """Count what changes the disk. What a kill cannot lose (fsync) is skipped, for speed."""
    for name in SYSTEM_CALLS:
        _before(os, name, event)
    _before(durable, "write_all", event)
    _before(durable, "_renameat2", event)
    _before(Journal, "append", event)
    sqlite: Any = cenotaph.stores.sqlite
    sqlite.open_eraser = functools.partial(sqlite.open_eraser, step=lambda name: event(f"sqlite {name}"))
    os.fsync = os.fdatasync = lambda fd: None  # type: ignore[assignment]
    fork: Any = multiprocessing.get_context("fork")
    fork.set_forkserver_preload = lambda names: None
    local.multiprocessing.get_context = lambda method=None: fork  # type: ignore[attr-defined]


def _before(place: Any, name: str, event: _Count) -> None:
    call = getattr(place, name)

    @functools.wraps(call)
    def counted(*args: Any, **options: Any) -> Any:
        event(_title(name, args))
        return call(*args, **options)

    setattr(place, name, counted)


def _title(name: str, args: tuple[Any, ...]) -> str:
    if name == "append" and isinstance(args[0], Journal):
        return f"journal {args[1]}"
    return name
