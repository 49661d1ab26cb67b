"""SQLite databases: one file, and what SQLite leaves around it (docs/stores/sqlite.md)."""

from cenotaph.stores.sqlite.eraser import open_eraser
from cenotaph.stores.sqlite.reader import open_reader

__all__ = ["open_eraser", "open_reader"]
