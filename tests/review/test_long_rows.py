"""Memory stays bounded where rows are long."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cenotaph.scope import EVERYTHING
from cenotaph.stores.sqlite import open_reader

SCAN = 4 << 20


def test_long_rows_come_a_few_at_a_time(tmp_path: Path) -> None:
    """Sixty scans of 4 MiB behind five thousand short rows: no batch holds more than 16 MiB and sixteen rows.

    A batch used to be asked for by the size of the rows before it alone.
    """
    with sqlite3.connect(tmp_path / "a.db") as db:
        db.execute("CREATE TABLE scans (id INTEGER PRIMARY KEY, page BLOB)")
        db.executemany("INSERT INTO scans (page) VALUES (?)", [(b"none",)] * 5_000)
        db.executemany("INSERT INTO scans (page) VALUES (zeroblob(?))", [(SCAN,)] * 60)
    db.close()
    reader = open_reader(f"sqlite:{tmp_path / 'a.db'}", EVERYTHING)
    (table,) = reader.collections()

    sizes = [
        sum(column.get_total_buffer_size() for column in batch.columns)
        for partition in reader.partitions(table)
        for batch in reader.batches(partition)
    ]

    assert sum(sizes) > 60 * SCAN
    assert max(sizes) < (16 << 20) + 17 * SCAN
