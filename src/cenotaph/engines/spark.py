"""Spark, on its own protocol or on Connect: the one file that imports it.

A few tasks are a job: their numbers go out, through `DataFrame.mapInArrow`, and bytes come back. No RDD, no
gateway to Java, no file or package that the cluster would have to take from us: so it works on whatever
speaks Spark Connect, and on old clusters. A job that is lost is the cluster's to repeat; what came back
before is ours already.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, Final, TypeVar

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from cenotaph import kernel
from cenotaph.engines import feeder, parcel, shared
from cenotaph.errors import EngineError, PartialError, UsageError

try:
    from py4j.protocol import Py4JError
except ModuleNotFoundError:  # only Spark's own protocol needs it
    Py4JError = PySparkException

T = TypeVar("T")

MOST_AT_ONCE: Final = 64  # jobs, each with a thread here
LOST = (PySparkException, Py4JError)


class Spark:
    """A cluster at `spark://HOST:PORT[,HOST:PORT]`, at `sc://HOST[:PORT][/;PARAMETERS]`, or `yarn`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def run(
        self, function: Callable[[T], bytes], tasks: Iterable[T], *, workers: int
    ) -> Iterator[tuple[T, bytes]]:
        """As `cenotaph.engines.Apart`."""
        session = _session(self._address)
        at_once = min(workers, MOST_AT_ONCE)
        pool = ThreadPoolExecutor(at_once)
        pending: dict[Future[list[tuple[Any, ...]]], Sequence[T]] = {}
        jobs = shared(list(tasks), at_once)
        try:
            while True:
                for some in islice(jobs, at_once - len(pending)):
                    sent = [pickle.dumps((function, task)) for task in some]
                    work = parcel.function(parcel.code(), sent, _variables())
                    pending[pool.submit(_run, session, work, len(some))] = some
                if not pending:
                    return
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    some, rows = pending.pop(future), future.result()
                    yield from zip(some, parcel.answers(rows, len(some)), strict=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            session.stop()  # which ends its jobs, too


def _run(session: SparkSession, work: parcel.Work, tasks: int) -> list[tuple[Any, ...]]:
    try:
        return [
            tuple(row) for row in session.range(0, tasks, 1, 1).mapInArrow(work, feeder.COLUMNS).collect()
        ]
    except LOST as error:
        raise PartialError(
            f"the cluster gave up on a task ({_named(error)})",
            hint="look into its own log; then run the same command again: it goes on where it stopped",
        ) from None


def _variables() -> dict[str, str]:
    """What of this process's environment a worker's child is told: whether to do without the kernel."""
    return {kernel.VARIABLE: kernel.OFF} if os.environ.get(kernel.VARIABLE) == kernel.OFF else {}


def _named(error: Exception) -> str:
    """The class of an error of Spark's and its condition: its text may have anything in it."""
    ask: Any = getattr(error, "getCondition", None) or getattr(error, "getErrorClass", str)
    condition = ask()
    told = condition if isinstance(condition, str) and re.fullmatch(r"[A-Z0-9_.]+", condition) else None
    return ", ".join(filter(None, (type(error).__name__, told)))


def _session(address: str) -> SparkSession:
    builder: Any = SparkSession.builder
    builder = builder.remote(address) if address.startswith("sc:") else builder.master(address)
    try:
        session: SparkSession = builder.appName("cenotaph").getOrCreate()
    except LOST as error:
        raise EngineError(
            f"the cluster took no session ({_named(error)})",
            hint="its release and that of the package pyspark here must go together (docs/operate/spark.md)",
        ) from None
    except ImportError as error:  # Connect needs more than pyspark itself
        raise UsageError(
            f"Spark Connect takes the package {error.name}, which is not installed",
            hint="run: pip install 'cenotaph[spark]'",
        ) from None
    return session
