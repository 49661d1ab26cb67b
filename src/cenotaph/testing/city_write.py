"""Writers of the generated city: one function a file format, fast and without clocks in the bytes."""

from __future__ import annotations

import gzip
import itertools
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_ZIP_DATE = (2022, 12, 13, 4, 0, 0)


def separated(columns: Mapping[str, Sequence[str]], *, newline: str = "\n") -> str:
    """Comma-separated text with a header, for values that need no quotes."""
    lines = [",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]
    return newline.join(lines) + newline


def quoted(columns: Mapping[str, Sequence[str]]) -> str:
    """RFC 4180 text: CRLF, every value in quotes, so that values may hold newlines and commas."""
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    return "".join(
        ",".join(f'"{value.replace(chr(34), chr(34) * 2)}"' for value in line) + "\r\n" for line in lines
    )


def write(path: Path, data: bytes | str, *, mode: int = 0o600) -> None:
    """Write a file, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)


def write_gzip(path: Path, text: str) -> None:
    """Gzip without name and time in its header."""
    write(path, gzip.compress(text.encode(), compresslevel=3, mtime=0))


def write_zip(path: Path, members: Mapping[str, str]) -> None:
    """A deflated archive whose members carry one fixed date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            archive.writestr(info, text.encode(), zipfile.ZIP_DEFLATED, compresslevel=3)
    path.chmod(0o600)


def write_parquet(folder: Path, table: pa.Table, *, files: int) -> None:
    """A folder of zstd Parquet files, `files` of about equal length."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = [len(table) * part // files for part in range(files + 1)]
    for part, (start, end) in enumerate(itertools.pairwise(edges)):
        path = folder / f"part-{part:04d}.zstd.parquet"
        pq.write_table(table.slice(start, end - start), path, compression="zstd", compression_level=1)
        path.chmod(0o600)


@contextmanager
def database(path: Path, *, encoding: str = "UTF-8") -> Iterator[sqlite3.Connection]:
    """A new SQLite database in rollback mode, written without waiting for the disk.

    `secure_delete` is off explicitly: some distributions compile it in, and then nothing remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in (
            f"encoding='{encoding}'",
            "page_size=4096",
            "secure_delete=OFF",
            "auto_vacuum=NONE",
            "synchronous=OFF",
            "journal_mode=MEMORY",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        yield connection
        if connection.in_transaction:
            connection.execute("COMMIT")
    finally:
        connection.close()
    path.chmod(0o600)


def table(
    connection: sqlite3.Connection, name: str, columns: Mapping[str, Sequence[object]], *, key: str = ""
) -> None:
    """Create a table and fill it: column definitions, each with its values. With `key`, it has no rowids."""
    last, options = (f", PRIMARY KEY ({key})", " WITHOUT ROWID") if key else ("", "")
    connection.execute(f"CREATE TABLE {name} ({', '.join(columns)}{last}){options}")
    insert(connection, name, *columns.values())


def insert(connection: sqlite3.Connection, table: str, *columns: Sequence[object]) -> None:
    """Insert rows given as columns of equal length, in the table's column order."""
    marks = ",".join("?" * len(columns))
    # `table` is a literal of the caller's; no value is ever part of the statement.
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", zip(*columns, strict=True))  # noqa: S608


@contextmanager
def crashing(path: Path) -> Iterator[sqlite3.Connection]:
    """A WAL-mode connection to a closed database which "crashes" at the end: the write-ahead log stays.

    SQLite checkpoints and unlinks the log when the last connection closes, so the work happens on a
    second name, and what a crash would leave is copied to `path` while that connection is still open.
    """
    working = path.with_name(path.name + ".working")
    path.rename(working)
    connection = sqlite3.connect(working, isolation_level=None)
    try:
        for pragma in ("journal_mode=WAL", "secure_delete=OFF", "synchronous=OFF", "wal_autocheckpoint=0"):
            connection.execute(f"PRAGMA {pragma}")
        yield connection
        for suffix in ("", "-wal", "-shm"):
            copy = path.with_name(path.name + suffix)
            shutil.copyfile(working.with_name(working.name + suffix), copy)
            copy.chmod(0o600)
    finally:
        connection.close()
        working.unlink()


def picture(rng: np.random.Generator, size: int, comment: str) -> bytes:
    """A JPEG in its first and last bytes: incompressible between, a comment segment at its very end."""
    note = comment.encode()
    head = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00H\x00H\x00\x00\xff\xda"
    tail = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + b"\xff\xd9"
    return head + rng.bytes(max(0, size - len(head) - len(tail))) + tail
