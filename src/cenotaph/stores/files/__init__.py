"""Files beneath a directory: CSV, JSON Lines, text, Parquet, Arrow, archives, and opaque ones."""

from __future__ import annotations

from cenotaph.scope import Selection
from cenotaph.store import NOTHING_AROUND, Eraser, Reader, Surroundings
from cenotaph.stores.files.eraser import FilesEraser
from cenotaph.stores.files.reader import FilesReader


def open_reader(url: str, selection: Selection, around: Surroundings = NOTHING_AROUND) -> Reader:
    """Open `files:/absolute/path` of a directory or of one file, for reading."""
    return FilesReader(url, selection)


def open_eraser(
    url: str,
    selection: Selection,
    shared: frozenset[str] = frozenset(),
    around: Surroundings = NOTHING_AROUND,
) -> Eraser:
    """Open `files:/absolute/path` of a directory or of one file, to erase what is selected."""
    return FilesEraser(url, selection)
