"""Runs in the cluster's own worker: gives tasks to a child process, and its answers to the cluster in pieces.

Loaded by its path from the sources that came with the tasks, so it imports none of them. The child is of
their version whatever this worker imported before, has an interpreter to itself, and takes what it read with
it when it exits.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import IO, Final

import pyarrow as pa

COLUMNS: Final = "task long, piece int, kind int, last boolean, data binary"
ROWS: Final = pa.schema(
    [
        ("task", pa.int64()),
        ("piece", pa.int32()),
        ("kind", pa.int32()),
        ("last", pa.bool_()),
        ("data", pa.binary()),
    ]
)
RESULT: Final = 0  # as in `child`
PIECE: Final = 1 << 20  # bytes: far below what a cluster sends in one message


def feed(
    folder: str, batches: Iterable[pa.RecordBatch], tasks: Sequence[bytes], variables: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """Answers to the tasks that the batches number, up to the first that is an error, as rows of `COLUMNS`.
    `folder` has our sources.

    Raises: RuntimeError when a child ends without an answer: the cluster tries again.
    """
    path = os.pathsep.join([folder, *filter(None, sys.path)])
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "cenotaph.engines.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a driver's message there could be a person's data
        env={**os.environ, **variables, "PYTHONPATH": path},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                kind = (
                    (yield from _answer(child.stdout, number)) if _ask(child.stdin, tasks[number]) else None
                )
                if kind is None:
                    child.kill()
                    raise RuntimeError(f"a child process of cenotaph ended with {child.wait()}")
                if kind != RESULT:
                    return
    finally:
        child.kill()
        child.wait()


def _ask(stream: IO[bytes], task: bytes) -> bool:
    try:
        stream.write(struct.pack(">Q", len(task)) + task)
        stream.flush()
    except BrokenPipeError:
        return False
    return True


def _answer(stream: IO[bytes], number: int) -> Generator[pa.RecordBatch, None, int | None]:
    """Returns the answer's kind; None where it is not whole."""
    head = stream.read(9)
    if len(head) < 9:
        return None
    kind, left = struct.unpack(">BQ", head)
    for piece in range(-(-left // PIECE) or 1):
        data = stream.read(min(left, PIECE))
        if len(data) < min(left, PIECE):
            return None
        left -= len(data)
        yield pa.record_batch([[number], [piece], [kind], [not left], [data]], schema=ROWS)
    return int(kind)
