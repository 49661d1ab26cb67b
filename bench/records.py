"""How fast rows become digests, and which part of that is SHA-256 itself.

    python bench/records.py [ROWS]

Prints CPU time a row and core for encoding alone, for digests as the stages compute them, and for a
bare hashlib loop over rows that are encoded already: no Python encoder can be faster than that. The
three are timed in turns, and the best of each counts, so that the ratio survives a busy machine.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from cenotaph.records import Chunker, Digester, encode

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


def chunked(batch: pa.RecordBatch) -> None:
    chunker = Chunker()
    chunker.add(*Digester(KEY).digests(batch))
    chunker.finish()


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
    digester = Digester(KEY)
    names = ("encode", "digests", "digests and chunks", "hashlib loop alone (ceiling)")
    seconds = best_of(
        7,
        lambda: encode(batch),
        lambda: digester.digests(batch),
        lambda: chunked(batch),
        lambda: hash_only(whole, ends),
    )
    for name, second in zip(names, seconds, strict=True):
        print(f"{name:30} {second / rows * 1e9:7.0f} ns/row {rows / second / 1e3:9.0f} k rows/core-s")
    print(f"{'digests, share of the ceiling':30} {seconds[3] / seconds[1]:7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 65_536)
