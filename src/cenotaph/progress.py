"""How stages tell how far they are, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Tell: TypeAlias = Callable[[str, int, int], None]
"""Called as tell(what, done, total), in units of the work at hand."""


def quiet(what: str, done: int, total: int) -> None:
    """Tell nobody."""
