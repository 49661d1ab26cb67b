"""Telephone numbers to search for, the same each time."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa

from cenotaph.residue.needles import NeedleBuilder, Needles

NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)


def phones(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [f"13{number:09d}" for number in draw.sample(range(10**9), count)]


def needles(values: list[str]) -> Needles:
    builder = NeedleBuilder(bytes(range(32)))
    builder.add(pa.array(values, pa.string()), "phone")
    return builder.finish()
