"""Time, as an argument: seconds since the epoch, UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]


def wall_clock() -> int:
    """The machine's clock. What it says is bounded by the log witnesses' cosignatures, not believed."""
    return int(time.time())
