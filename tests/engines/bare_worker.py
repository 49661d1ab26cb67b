"""A cluster of one worker that has never heard of us: an interpreter, a few libraries, a function by value.

Spark pickles the function with its code and what is bound in it. So does this, with marshal: whatever the
function needs besides, it lacks here as there.
"""

from __future__ import annotations

import base64
import json
import marshal
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from cenotaph.engines import parcel

T = TypeVar("T")
LIBRARIES = ("pyarrow", "numpy", "cryptography", "zstandard", "cffi", "_cffi_backend")
WORKER = """
import base64, builtins, json, marshal, os, sys, types
folder, = sys.argv[1:]
sys.path = [folder, *(p for p in sys.path if "site-packages" not in p)]
code, names, bound = marshal.loads(sys.stdin.buffer.read())
cells = tuple(types.CellType(bound[name]) for name in names)
work = types.FunctionType(code, {"__builtins__": builtins}, "work", None, cells)
import pyarrow as pa
for batch in work(iter([pa.record_batch({"id": pa.array([0], pa.int64())})])):
    for row in zip(*(c.to_pylist() for c in batch.columns)):
        print(json.dumps([*row[:4], base64.b64encode(row[4]).decode()]))
"""


class BareWorker:
    """An engine apart. `folder` is empty, and takes links to the libraries that a worker has."""

    def __init__(self, folder: Path, variables: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.variables = variables or {}
        for name in LIBRARIES:
            spec = find_spec(name)
            if spec is not None and spec.origin is not None:
                origin = Path(spec.origin)
                whole = origin.parent if origin.name == "__init__.py" else origin
                (folder / whole.name).symlink_to(whole)
                for libraries in whole.parent.glob(f"{name}.libs"):
                    (folder / libraries.name).symlink_to(libraries)

    def run(
        self, function: Callable[[T], bytes], tasks: Iterable[T], *, workers: int
    ) -> Iterator[tuple[T, bytes]]:
        for task in tasks:
            work = parcel.function(parcel.code(), [pickle.dumps((function, task))], self.variables)
            yield task, next(parcel.answers(self.rows(work), 1))

    def rows(self, work: parcel.Work) -> list[tuple[int, int, int, bool, bytes]]:
        code, closure = work.__code__, work.__closure__ or ()
        bound = {name: cell.cell_contents for name, cell in zip(code.co_freevars, closure, strict=True)}
        ended = subprocess.run(
            [sys._base_executable, "-I", "-c", WORKER, str(self.folder)],  # type: ignore[attr-defined]
            input=marshal.dumps((code, code.co_freevars, bound)),
            capture_output=True,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        rows = [json.loads(line) for line in ended.stdout.splitlines()]
        return [(*row[:4], base64.b64decode(row[4])) for row in rows]
