"""Reading a file that somebody else may have written: no more of it than its format allows."""

from __future__ import annotations

from pathlib import Path


def read_bounded(path: Path, limit: int) -> bytes | None:
    """The bytes of a file, or of what comes through a pipe; None where there are more. Raises: OSError."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    return data if len(data) <= limit else None
