"""Time, as an argument: seconds since the epoch, UTC."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]


def window(text: str) -> tuple[int, int]:
    """Read "22:00-06:00", in UTC, as seconds after midnight. Raises: ValueError."""
    found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", text, re.ASCII)
    if found is None:
        raise ValueError('a window is written "22:00-06:00", in UTC')
    hours = [int(part) for part in found.groups()]
    return hours[0] * 3600 + hours[1] * 60, hours[2] * 3600 + hours[3] * 60


def inside(span: tuple[int, int] | None, now: int) -> bool:
    """Whether `now` lies in a daily window, which may go over midnight. No window is always."""
    if span is None:
        return True
    begin, end = span
    second = now % 86_400
    return begin <= second < end if begin < end else second >= begin or second < end


def wall_clock() -> int:
    """The machine's clock. What it says is bounded by the log witnesses' cosignatures, not believed."""
    return int(time.time())
