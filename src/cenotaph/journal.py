"""The crash-safe record of work: what was begun and what is done, each entry bound to the one before.

SQLite in WAL mode with synchronous=FULL: an entry is on the disk when `append` returns. Several
processes may append; the chain is computed inside one immediate transaction. Entries name stores by
their name in the case, collections and partitions by ordinal, and hold no person's data.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cenotaph.clock import Clock, wall_clock
from cenotaph.errors import CenotaphError

GENESIS = hashlib.sha256(b"cenotaph/v1 journal").hexdigest()
_MAKE_ROOM = "make room on its disk, then run the same command again"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
  seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, store TEXT NOT NULL,
  collection INTEGER NOT NULL, partition INTEGER NOT NULL, body TEXT NOT NULL, hash TEXT NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    time: int  # seconds since the epoch
    kind: str
    store: str
    collection: int
    partition: int
    body: Mapping[str, Any]
    hash: str


class JournalError(CenotaphError):
    """The journal's chain is broken, or its file cannot be used."""


class Journal:
    """An open journal. Close it; it is also a context manager."""

    def __init__(self, path: Path, clock: Clock = wall_clock) -> None:
        self._clock = clock
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=60)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be opened: {error}", hint=_MAKE_ROOM) from None

    def append(
        self, kind: str, store: str = "", collection: int = -1, partition: int = -1, **body: Any
    ) -> Entry:
        """Add an entry. Durable on return. Raises: JournalError, for a full disk too."""
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                seq, head = self._last()
                now = self._clock()
                fields = (seq + 1, now, kind, store, collection, partition, text)
                digest = _link(head, *fields)
                self._db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?)", (*fields, digest))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be written: {error}", hint=_MAKE_ROOM) from None
        return Entry(seq + 1, now, kind, store, collection, partition, body, digest)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        for row in self._db.execute("SELECT * FROM entry WHERE seq > ? ORDER BY seq", (after,)):
            seq, when, kind, store, collection, partition, body, digest = row
            yield Entry(seq, when, kind, store, collection, partition, json.loads(body), digest)

    def latest(self, *kinds: str) -> dict[tuple[str, int, int], Entry]:
        """The newest entry of these kinds for each (store, collection, partition)."""
        return {(e.store, e.collection, e.partition): e for e in self.entries() if e.kind in kinds}

    def head(self) -> str:
        """The digest that binds everything so far."""
        return self._last()[1]

    def covered(self, digest: str) -> int:
        """The sequence number whose chain value is `digest`; 0 when it is unknown."""
        row = self._db.execute("SELECT seq FROM entry WHERE hash = ?", (digest,)).fetchone()
        return int(row[0]) if row else 0

    def check(self) -> int:
        """Recompute the chain; returns the number of entries. Raises: JournalError."""
        head, count = GENESIS, 0
        for row in self._db.execute("SELECT * FROM entry ORDER BY seq"):
            *fields, digest = row
            head, count = _link(head, *fields), count + 1
            if head != digest or fields[0] != count:
                raise JournalError(f"the journal was changed: entry {count} does not follow the one before")
        return count

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last(self) -> tuple[int, str]:
        row = self._db.execute("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
        return (int(row[0]), str(row[1])) if row else (0, GENESIS)


def _link(head: str, *fields: Any) -> str:
    text = json.dumps([head, *fields], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
