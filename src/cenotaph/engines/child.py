"""The process on a worker that reads rows: tasks from stdin, answers on stdout; it ends with who started it.

Started from sources that came with the tasks (`cenotaph.engines.parcel`), so at first it imports nothing
that a worker may lack, and says what is missing. Nothing is written but answers: no traceback, whose message
could be a person's data.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import resource
import struct
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cenotaph.errors import CenotaphError

RESULT, OURS, BROKEN = 0, 1, 2  # as in `parcel`


def main() -> None:
    """Answer tasks until stdin ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers

    def broken(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        told = {"class": kind.__name__, "place": _place(trace), "missing": missing}
        _answer(answers, BROKEN, json.dumps(told).encode())

    sys.excepthook = broken
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, waiting), daemon=True).start()
    while True:
        function, task = pickle.loads(waiting.get())  # noqa: S301  # from whoever sent this very code
        try:
            result = function(task)
        except CenotaphError as error:
            told = {"class": type(error).__name__, "message": error.message, "hint": error.hint}
            _answer(answers, OURS, json.dumps(told).encode())
        else:
            _answer(answers, RESULT, result)


def _listen(stream: BinaryIO, waiting: queue.SimpleQueue[bytes]) -> None:
    """Hand on tasks. Whoever sends them waits for each answer: an end means that nobody waits any more."""
    while len(head := stream.read(8)) == 8:
        waiting.put(stream.read(struct.unpack(">Q", head)[0]))
    os._exit(0)


def _answer(stream: BinaryIO, kind: int, data: bytes) -> None:
    stream.write(struct.pack(">BQ", kind, len(data)))
    stream.write(data)
    stream.flush()


def _place(trace: TracebackType | None) -> str:
    """The innermost line of ours: file and number alone."""
    place = "?"
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if any(part.startswith("cenotaph") for part in path.parts[-4:-1]):
            place = f"{path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


if __name__ == "__main__":
    main()
