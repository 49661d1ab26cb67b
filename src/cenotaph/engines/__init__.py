"""Engines: where partitions are read. Child processes here (`local`), or a cluster that is there already.

An engine knows nothing of stores or stages: what it runs is passed to it as a function.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from cenotaph.errors import EngineError, UsageError

T = TypeVar("T")

SPARK = ("sc", "spark", "yarn")  # how addresses begin
CONNECT_PORT = "15002"
PATIENCE_SECONDS = 10
MOST_TOGETHER = 32  # tasks: if the interpreter is lost, all of them are done again
KNOWN = "local, spark://HOST:PORT, sc://HOST:PORT (Spark Connect), yarn"


class Apart(Protocol):
    """An engine whose processes share neither this process's memory nor the case's folder."""

    def run(
        self, function: Callable[[T], bytes], tasks: Iterable[T], *, workers: int
    ) -> Iterator[tuple[T, bytes]]:
        """Apply a module-level function to picklable tasks, `workers` at a time; yields (task, result) as
        each ends.

        A task may be begun several times, and be killed at any line: its function changes nothing. Results
        are bytes: what other machines pickled is not unpickled here. An error of ours that a task ends with
        is raised here, after which no new task starts.

        Raises: EngineError when there is no cluster at the address, or it refuses the work; PartialError
        when it gave up on a task.
        """
        ...


def apart(address: str) -> Apart | None:
    """The engine at an address; None for `local`.

    Raises: UsageError for an address of no kind that is known, or one whose package is not installed;
    EngineError when nobody answers there.
    """
    if address == "local":
        return None
    scheme, _, place = address.partition("://")
    if scheme not in SPARK or (not place and scheme != "yarn"):
        raise UsageError("there is no engine at addresses like the one given", hint=f"one of: {KNOWN}")
    if place:
        _reach(scheme, place)
    try:
        from cenotaph.engines.spark import Spark
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pyspark", "grpc"):
            raise
        raise UsageError(
            f"an engine at {scheme}: takes the package pyspark, which is not installed, or not whole",
            hint="install the release of your cluster: pip install 'cenotaph[spark]'",
        ) from None
    return Spark(address)


def shared(tasks: Sequence[T], workers: int) -> Iterator[Sequence[T]]:
    """Tasks in runs, each for one interpreter, whose start takes a second: long ones first, so that few are
    started, then shorter ones, so that workers end together (guided self-scheduling: Polychronopoulos, 1987).
    """
    least, at = -(-len(tasks) // (8 * workers)), 0
    while at < len(tasks):
        size = min(max(least, (len(tasks) - at) // (2 * workers)), MOST_TOGETHER)
        yield tasks[at : at + size]
        at += size


def _reach(scheme: str, place: str) -> None:
    """See that somebody listens there: Spark itself goes on trying for minutes."""
    for each in place.partition("/")[0].split(","):
        host, _, port = each.rpartition(":") if ":" in each else (each, "", CONNECT_PORT)
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise UsageError(f"the address of an engine has a port: {scheme}://HOST:PORT")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE_SECONDS).close()
        except OSError:
            continue
        return
    raise EngineError(
        f"nobody answers at the engine's address, {scheme}://…",
        hint="see that the cluster runs, and that this machine may reach its port; or seal without --engine",
    )
