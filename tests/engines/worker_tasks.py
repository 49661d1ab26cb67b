"""Tasks that end in every way, for children that import this module alone."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

import cenotaph
from cenotaph.engines import feeder
from cenotaph.errors import DriftError


def bring(task: str) -> bytes:
    if task == "drift":
        raise DriftError("the store moved", hint="look at it")
    if task == "bug":
        raise ValueError("Zhang San, 320205195001010000")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.startswith("sleep "):
        Path(task.removeprefix("sleep ")).write_text(str(os.getpid()))
        time.sleep(600)
    print("said by a library")
    return task.encode() * 3


def fed(function: Callable[[str], bytes], *tasks: str) -> list[tuple[object, ...]]:
    """The rows that a worker gives for these tasks."""
    batch = pa.record_batch({"id": pa.array(range(len(tasks)), pa.int64())})
    sources = str(Path(cenotaph.__file__).parent.parent)
    batches = feeder.feed(sources, [batch], [pickle.dumps((function, task)) for task in tasks], {})
    return [row for got in batches for row in zip(*(c.to_pylist() for c in got.columns), strict=True)]
