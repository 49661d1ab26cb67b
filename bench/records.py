"""How fast rows become digests and chunks: by the kernel on each instruction set, and in Python.

    python bench/records.py [ROWS]

Prints CPU time a row and core, and how many times as fast as the reference each is. The reference is what
runs without the kernel; a bare hashlib loop over rows that are encoded already is what no Python encoder can
beat. All are timed in turns, and the best of each counts, so that ratios survive a busy machine.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from cenotaph import kernel
from cenotaph.records import Chunker, Digester, encode, reference_digests

KEY = bytes(64)


def city(rows: int) -> pa.RecordBatch:
    """Test results as performance figures use them: six columns, one of them with nulls."""
    draw = np.random.default_rng(20230301)
    phones = [None if n % 10 == 0 else f"1{n:010d}" for n in draw.integers(0, 10**10, rows).tolist()]
    return pa.record_batch(
        {
            "subject_id": [f"{n:018d}" for n in draw.integers(0, 10**17, rows).tolist()],
            "taken": pa.array(draw.integers(1.6e15, 1.7e15, rows), pa.timestamp("us")),
            "place": pa.array(draw.integers(0, 9_999, rows), pa.int32()),
            "result": ["neg"] * rows,
            "phone": phones,
            "app": pa.array(draw.integers(0, 40, rows), pa.uint8()),
        }
    )


def hash_only(whole: bytes, ends: list[int]) -> list[bytes]:
    copy, digests, start = hashlib.sha256(KEY).copy, [], 0
    for end in ends:
        row = copy()
        row.update(whole[start:end])
        digests.append(row.digest())
        start = end
    return digests


def kernels() -> list[kernel.Kernel]:
    try:
        from cenotaph_kernel import levels
    except ImportError:
        print("cenotaph-kernel is not installed: the reference alone")
        return []
    return [kernel.Kernel(level) for level in levels()]


def best_of(turns: int, *steps: Callable[[], object]) -> list[float]:
    best = [float("inf")] * len(steps)
    for _ in range(turns):
        for i, step in enumerate(steps):
            start = time.process_time()
            step()
            best[i] = min(best[i], time.process_time() - start)
    return best


def main(rows: int) -> None:
    batch = city(rows)
    encoded, offsets = encode(batch)
    whole, ends = bytes(encoded), offsets[1:].tolist()
    digests, lengths = reference_digests(KEY, batch)

    def chunked(one: kernel.Kernel) -> None:
        chunker = Chunker(one)
        chunker.add(digests, lengths)
        chunker.finish()

    steps: dict[str, Callable[[], object]] = {
        "encode, reference": lambda: encode(batch),
        "hashlib loop alone": lambda: hash_only(whole, ends),
        "digests, reference": lambda: reference_digests(KEY, batch),
    }
    for one in kernels():
        steps[f"digests, {one.level.name.lower()}"] = partial(Digester(KEY, one).digests, batch)
        steps[f"chunks, {one.level.name.lower()}"] = partial(chunked, one)
    seconds = dict(zip(steps, best_of(7, *steps.values()), strict=True))
    reference = seconds["digests, reference"]
    for name, second in seconds.items():
        line = f"{name:30} {second / rows * 1e9:7.0f} ns/row {rows / second / 1e3:9.0f} k rows/core-s"
        print(line + (f" {reference / second:6.1f} x reference" if name.startswith("digests") else ""))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 65_536)
