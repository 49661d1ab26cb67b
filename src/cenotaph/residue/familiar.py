"""Rows of which all values came together before, and so bring nobody new.

What surprised the author: of a billion records 992 million name a person that the process knows, and to see
that of two columns' numbers took, beside reading them, two looks into tables far larger than any cache. The
same values come together in the same rows: a telephone number with its owner. So it takes one look, at what
a row as a whole is, and only of rows that are strange are the values looked at.

A row is 64 bits here, by secrets of this process; two rows have the same once in 2**64 times, whatever they
hold (kernel/c/familiar.c). A strange row is compared with eight others: that one of a billion rows is taken
for familiar and is not has a probability below 10**-9. What the table lets go of is looked at once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph import kernel

FEWEST_SLOTS, MOST_SLOTS = 1 << 13, 1 << 24  # eight bytes each
_Words: TypeAlias = npt.NDArray[np.uint64]
_LINE = 8  # slots, as memory is fetched


class Familiar:
    """Remembers rows. Without a kernel it remembers none, and every row is strange."""

    def __init__(self) -> None:
        self._by = kernel.found()
        self._of_set: dict[Hashable, _Words] = {}
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._slots, self._taken = _aligned(FEWEST_SLOTS), 0

    @staticmethod
    def tells(column: pa.Array) -> bool:
        """Whether it can tell the values of a column apart."""
        return kernel.has_values(column.type)

    def strange(self, columns: Sequence[pa.Array], among: Hashable) -> npt.NDArray[np.int64] | None:
        """The rows of these columns that were not yet given `among` such; None for all of them."""
        if self._by is None or not columns:
            return None
        if 2 * self._taken > len(self._slots) and len(self._slots) < MOST_SLOTS:
            self._slots = _doubled(self._slots)
        if among not in self._of_set:
            drawn = secrets.token_bytes(8 * kernel.telling_words(len(columns)))
            self._of_set[among] = np.frombuffer(drawn, np.uint64)
        rows, added = self._by.strange(columns, self._of_set[among], self._slots)
        self._taken += added
        return rows if len(rows) < len(columns[0]) else None


def _doubled(slots: _Words) -> _Words:
    """Twice the slots: of each line two, by the bit of a row behind those that say which line it is in."""
    lines = len(slots) // _LINE
    wide = _aligned(2 * len(slots))
    second = (slots & np.uint64((1 << 63) // lines)) > 0
    for half, mine in enumerate((~second, second)):
        wide.reshape(lines, 2, _LINE)[:, half] = (slots * mine).reshape(lines, _LINE)
    return wide


def _aligned(slots: int) -> _Words:
    room = np.zeros(slots + _LINE, np.uint64)
    begin = -room.ctypes.data % (8 * _LINE) // 8
    return room[begin : begin + slots]
