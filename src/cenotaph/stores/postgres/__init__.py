"""PostgreSQL: one database of a server, and what the server keeps around it (docs/stores/postgres.md)."""

from cenotaph.stores.postgres.eraser import open_eraser
from cenotaph.stores.postgres.reader import open_reader

__all__ = ["open_eraser", "open_reader"]
