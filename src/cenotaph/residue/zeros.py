"""Zeros: most of a volume, and passed over before anything else is looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cenotaph import kernel


def full(data: npt.NDArray[np.uint8], tile: int) -> npt.NDArray[np.bool_]:
    """Which whole tiles of so many bytes, a multiple of 64, are not all zeros."""
    by = kernel.found()
    if by is not None:
        return by.full(data, tile)
    count = len(data) // tile
    words = data[: count * tile].view(np.uint64).reshape(count, tile // 8)
    return np.asarray(np.bitwise_or.reduce(words, axis=1) != 0)


def is_blank(data: npt.NDArray[np.uint8]) -> bool:
    """Whether all of it is zeros."""
    whole = len(data) // _TILE * _TILE
    return not data[whole:].any() and not full(data[:whole], _TILE).any()


_TILE = 1 << 12
