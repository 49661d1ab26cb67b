"""The local engine: child processes that read rows, and exit.

Children start from a fork server that has loaded the libraries and no data; they write no core
dumps, leave Ctrl-C to the parent, end when it ends, and take one task at a time. Results come as they
are ready.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from cenotaph.errors import PartialError

LONGEST_FOLDER = 60  # bytes
T = TypeVar("T")
R = TypeVar("R")
PRELOAD = (  # by name: what children of any stage need; loaded once, in a server that never sees data
    "pyarrow.compute",
    "pyarrow.parquet",
    "cenotaph.stages.survey",
    "cenotaph.stages.challenge",
    "cenotaph.stages.destroy",
    "cenotaph.stages.probe",
    "cenotaph.stores.files",
    "cenotaph.stores.sqlite",
)
DRIVEN = {"postgresql": "cenotaph.stores.postgres"}  # by kind of store: what takes its time to load


def expect(kinds: Iterable[str]) -> None:
    """Say which kinds of stores children will read. What these need is loaded once then, not by each child;
    too late after the first child."""
    _expected.extend(DRIVEN[kind] for kind in kinds if kind in DRIVEN)


_expected: list[str] = []


def run(function: Callable[[T], R], tasks: Iterable[T], *, workers: int = 2) -> Iterator[tuple[T, R]]:
    """Apply a module-level function to tasks in child processes; yields (task, result) as each ends.

    At most two tasks a worker are in flight. An error of a task is raised here, after which no new
    task starts. Raises: PartialError when a child was killed.
    """
    _keep_sockets_short()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, *dict.fromkeys(_expected)])
    pending: dict[Future[R], T] = {}
    queue = iter(tasks)
    pool = ProcessPoolExecutor(workers, context, initializer=_prepare)
    try:
        while True:
            for task in islice(queue, 2 * workers - len(pending)):
                pending[pool.submit(function, task)] = task
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future.result()
    except BrokenProcessPool:
        raise PartialError(
            "a worker process ended before its work was done (killed, or out of memory)",
            hint="run the same command again: it goes on where it stopped",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _keep_sockets_short() -> None:
    """Give the fork server's sockets a short folder where the temporary one is too deep for unix(7).

    A socket's path has at most 108 bytes, and multiprocessing makes it beneath `TMPDIR`. Only sockets
    lie there; data travels through pipes.
    """
    if len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER or _socket_folder:
        return
    folder = tempfile.mkdtemp(prefix="cenotaph-", dir="/tmp")
    _socket_folder.append(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # multiprocessing.util.get_temp_dir() asks here first (CPython 3.11 to 3.14).
    vars(multiprocessing.current_process())["_config"]["tempdir"] = folder


_socket_folder: list[str] = []


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose command was killed must not go on by itself; a kill is safe at any line."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
