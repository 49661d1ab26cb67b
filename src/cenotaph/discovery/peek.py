"""A bounded look into files nobody declared: a few hundred records from several places of each.

Everything here reads; nothing opens a file for writing or leaves anything beside it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import os
import re
import sqlite3
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote_from_bytes

import pyarrow as pa
import pyarrow.parquet as pq

from cenotaph.arrow import check_sizes, sound
from cenotaph.discovery.personal import ColumnFinding, ColumnSurvey
from cenotaph.discovery.sniff import HEAD, Format, sniff
from cenotaph.discovery.text import decode
from cenotaph.parquet import rows_by_group

WINDOW = 64 * 1024
WINDOWS = 8
_ROWS = 512
_TABLES = 64
_MEMBERS = 8
_COLUMNS = 512
_LARGEST_VALUE = 32 * 1024 * 1024


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class CannotReadError(Exception):
    """The content could not be read; the message says why, without the path."""


@dataclass(frozen=True, slots=True)
class Name:
    """A column's name, as `ColumnSurvey` takes it."""

    name: str = field(repr=False)


@dataclass(slots=True)
class Peek:
    """What a look gathered. `notes` are sentences on what was not looked at."""

    findings: list[ColumnFinding] = field(default_factory=list)
    records: int = 0
    notes: list[str] = field(default_factory=list)

    def take(self, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Survey rows of one table; short rows count as having no value in the columns they lack."""
        names = names[:_COLUMNS]
        survey = ColumnSurvey([Name(name) for name in names])
        columns = [
            pa.array([_field(row[at]) if at < len(row) else None for row in rows], pa.binary())
            for at in range(len(names))
        ]
        self.take_batch(survey, [pa.RecordBatch.from_arrays(columns, [str(at) for at in range(len(names))])])

    def take_batch(self, survey: ColumnSurvey, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            survey.add(batch)
            self.records += batch.num_rows
        self.findings += survey.findings()


def peek(path: Path, file: BinaryIO, form: Format, size: int, seconds: float) -> Peek:
    """Look into a file of this format for at most about so many seconds.

    Raises:
        CannotReadError: the file is damaged, or is not what its beginning says.
    """
    found = Peek()
    try:
        _LOOKS[form.kind](_Look(path, file, form, size, time.monotonic() + seconds), found)
    except (pa.ArrowException, OSError, sqlite3.Error, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CannotReadError(f"its content cannot be read ({type(error).__name__})") from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        RuntimeError,
        ValueError,
        LookupError,
        struct.error,
    ) as error:
        # zipfile tells of encrypted members by RuntimeError, of unknown methods by NotImplementedError, which
        # is one, and of a member without a name by IndexError; a name that is not UTF-8 is a ValueError.
        raise CannotReadError(f"its content is locked or damaged ({type(error).__name__})") from error
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    path: Path = field(repr=False)
    file: BinaryIO
    form: Format
    size: int
    deadline: float

    def windows(self) -> Iterator[bytes]:
        """The head and evenly spread windows, cut where lines begin and end."""
        for at in range(WINDOWS):
            start = at * max(WINDOW, (self.size - WINDOW) // (WINDOWS - 1))
            if start >= self.size or time.monotonic() > self.deadline:
                return
            self.file.seek(start)
            data = self.file.read(WINDOW)
            whole = data if start + len(data) >= self.size else data[: data.rfind(b"\n") + 1]
            yield whole if start == 0 else whole[whole.find(b"\n") + 1 :]


def _field(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    try:
        return str(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return str(value).encode("utf-8", "replace")


def _look_csv(look: _Look, found: Peek) -> None:
    rows = _delimited(look.windows(), look.form.delimiter)
    _take_rows(rows, found)


def _delimited(windows: Iterable[bytes], delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    for window in windows:
        # Bytes that are not UTF-8 pass through, and `_field` gives them back as they were.
        text = window.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            rows += [row for row in reader if row]
        except csv.Error:
            continue  # a field longer than csv takes; the other windows still count
    return rows


def _take_rows(rows: list[list[str]], found: Peek) -> None:
    if not rows:
        return
    names = [decode(_field(value) or b"") or value for value in rows[0]]
    if any(re.fullmatch(r"[\d.\-/:]{4,}.*", value) for value in names):  # values, not a heading
        names = [f"column {at}" for at in range(len(rows[0]))]
        found.take(names, rows)
    else:
        found.take(names, rows[1:])


def _look_jsonl(look: _Look, found: Peek) -> None:
    rows: list[dict[str, object]] = []
    for window in look.windows():
        rows += [row for line in window.splitlines() if (row := _object(line)) is not None]
    names = list(dict.fromkeys(name for row in rows for name in row))[:_COLUMNS]
    found.take(names, [[row.get(name) for name in names] for row in rows])


def _object(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(decode(line) or "")
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


_INSERT = re.compile(
    r"(?:INSERT|REPLACE) INTO\s+([^\s(]{1,200})\s*(\([^)]{0,20000}\))?\s*VALUES?", re.IGNORECASE
)
_COPY = re.compile(
    r"^COPY\s+([^\s(]{1,200})\s*(\([^)]{0,20000}\))?\s+FROM stdin;\s*$", re.IGNORECASE | re.MULTILINE
)
_ITEM = re.compile(r"'([^'\\]*(?:(?:\\.|'')[^'\\]*)*)'|([^',()\s][^',()]*)")


def _look_dump(look: _Look, found: Peek) -> None:
    if look.form.detail != "text":
        found.notes.append("a dump in a format of its own; its records were not looked at")
        return
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    for window in look.windows():
        text = window.decode("utf-8", "surrogateescape")
        _inserted(text, tables)
        _copied(text, tables)
    for names, rows in list(tables.values())[:_TABLES]:
        width = max(len(row) for row in rows)
        found.take(names if len(names) == width else [f"column {at}" for at in range(width)], rows)


def _inserted(text: str, tables: dict[str, tuple[list[str], list[list[str]]]]) -> None:
    starts = list(_INSERT.finditer(text))
    for at, start in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        _, rows = tables.setdefault(start[1], (_names(start[2]), []))
        rows += [items for items in map(_items, re.split(r"\)\s*[,;]", text[start.end() : end])) if items]


def _items(row: str) -> list[str]:
    """The literals between two parentheses; a literal that holds "),": cut short, which a sample bears."""
    return [quoted or bare.strip() for quoted, bare in _ITEM.findall(row)]


def _copied(text: str, tables: dict[str, tuple[list[str], list[list[str]]]]) -> None:
    for start in _COPY.finditer(text):
        block = text[start.end() :].partition("\n\\.")[0]
        _, rows = tables.setdefault(start[1], (_names(start[2]), []))
        rows += [line.split("\t") for line in block.splitlines() if line]


def _names(listed: str | None) -> list[str]:
    return [name.strip(' `"[]\n') for name in listed.strip("()").split(",")] if listed else []


def _look_sqlite(look: _Look, found: Peek) -> None:
    """Immutable and read-only: takes no lock and makes no -shm file; what is only in the WAL is not seen."""
    if _holds(look.path.with_name(look.path.name + "-wal")):
        found.notes.append("a write-ahead log stands beside it; what is only there was not looked at")
    url = f"file:{quote_from_bytes(os.fsencode(look.path.absolute()))}?mode=ro&immutable=1"
    connection = sqlite3.connect(url, uri=True)
    try:
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.set_progress_handler(lambda: time.monotonic() > look.deadline, 10_000)
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            "AND sql NOT LIKE 'CREATE VIRTUAL%'"
        ).fetchall()
        if len(tables) > _TABLES:
            found.notes.append(f"{_TABLES} of {len(tables):,} tables were looked at")
        for (table,) in tables[:_TABLES]:
            _look_table(connection, table.decode("utf-8", "surrogateescape"), look, found)
    finally:
        connection.close()


def _holds(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _look_table(connection: sqlite3.Connection, table: str, look: _Look, found: Peek) -> None:
    quoted = '"' + table.replace('"', '""') + '"'
    try:
        rows, names = _spread(connection, quoted)
    except (sqlite3.Error, UnicodeError):
        why = "the time for this file was over" if time.monotonic() > look.deadline else "it cannot be read"
        found.notes.append(f"a table was not looked at: {why}")
        return
    found.take(names, rows)


def _spread(connection: sqlite3.Connection, quoted: str) -> tuple[list[tuple[object, ...]], list[str]]:
    """Rows from several places between the first and the last rowid; from the head where there is none."""
    cursor = connection.execute(f"SELECT * FROM {quoted} LIMIT {_ROWS // WINDOWS}")  # noqa: S608 - quoted above
    names = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    try:
        first, last = connection.execute(f"SELECT min(rowid), max(rowid) FROM {quoted}").fetchone()  # noqa: S608
    except sqlite3.OperationalError:
        return rows, names
    if not isinstance(first, int) or not isinstance(last, int):
        return rows, names
    for part in range(1, WINDOWS):
        start = first + (last - first) * part // WINDOWS
        select = f"SELECT * FROM {quoted} WHERE rowid >= ? LIMIT {_ROWS // WINDOWS}"  # noqa: S608
        rows += connection.execute(select, (start,)).fetchall()
    return list(dict.fromkeys(rows)), names


def _look_parquet(look: _Look, found: Peek) -> None:
    look.file.seek(0)
    parquet = pq.ParquetFile(look.file)
    names = parquet.schema_arrow.names
    groups = sorted({0, parquet.num_row_groups // 2, parquet.num_row_groups - 1} - {-1})
    survey = ColumnSurvey([Name(name) for name in names])
    rows = rows_by_group(look.file, parquet.schema, _ROWS)
    batches = (_of_group(parquet, group, rows[group]) for group in groups)
    found.take_batch(survey, (batch for batch in batches if batch is not None))


def _of_group(parquet: pq.ParquetFile, group: int, rows: int) -> pa.RecordBatch | None:
    return next(iter(parquet.iter_batches(batch_size=rows, row_groups=[group])), None)


def _look_arrow(look: _Look, found: Peek) -> None:
    check_sizes(look.file)
    look.file.seek(0)
    if look.form.detail == "stream":
        stream = pa.ipc.open_stream(look.file)
        survey = ColumnSurvey([Name(name) for name in stream.schema.names])
        found.take_batch(survey, map(_first_rows, itertools.islice(stream, WINDOWS)))
        return
    reader = pa.ipc.open_file(look.file)
    survey = ColumnSurvey([Name(name) for name in reader.schema.names])
    count = reader.num_record_batches
    chosen = sorted({0, count // 2, count - 1} - {-1}) if count else []
    found.take_batch(survey, (_first_rows(reader.get_batch(at)) for at in chosen))


def _first_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    return sound(batch).slice(0, _ROWS)


def _look_compressed(look: _Look, found: Peek) -> None:
    look.file.seek(0)
    opened = _OPENERS.get(look.form.detail)
    if opened is None:
        found.notes.append(f"{look.form.detail} content was not looked at")
        return
    _look_inside(opened(look.file).read(WINDOW * WINDOWS), look, found)


def _gunzip(file: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file)


_OPENERS: dict[str, Callable[[BinaryIO], _Readable]] = {
    "gzip": _gunzip,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


def _look_archive(look: _Look, found: Peek) -> None:
    look.file.seek(0)
    if look.form.detail == "zip":
        with zipfile.ZipFile(look.file) as archive:
            names = [member for member in archive.infolist() if not member.is_dir()]
            found.take(["file name"], [[member.filename] for member in names[:_ROWS]])
            for member in names[:_MEMBERS]:
                with archive.open(member) as inner:
                    _look_inside(inner.read(WINDOW * WINDOWS), look, found)
    elif look.form.detail == "tar":
        _look_tar(look, found)
    else:
        found.notes.append(f"{look.form.detail} content was not looked at")


def _look_tar(look: _Look, found: Peek) -> None:
    names: list[list[object]] = []
    with tarfile.open(fileobj=look.file, mode="r:") as archive:
        for member in archive:
            names.append([member.name])
            if len(names) > _ROWS or time.monotonic() > look.deadline:
                break
            inner = archive.extractfile(member) if member.isfile() and len(names) <= _MEMBERS else None
            if inner is not None:
                _look_inside(inner.read(WINDOW * WINDOWS), look, found)
    found.take(["file name"], names)


def _look_inside(data: bytes, look: _Look, found: Peek) -> None:
    """The beginning of a member, if it is text with records; what else it is, is said and not looked at."""
    form = sniff(data[:HEAD])
    if form is None or form.kind == "image":
        return
    if form.kind not in ("csv", "jsonl", "sql dump"):
        found.notes.append(f"{form.kind} inside {look.form.detail} was not looked at")
        return
    inner = _Look(look.path, io.BytesIO(data), form, len(data), look.deadline)
    _LOOKS[form.kind](inner, found)


def _look_not(look: _Look, found: Peek) -> None:
    found.notes.append(f"a {look.form.detail} alone: its records were not looked at")


_LOOKS = {
    "csv": _look_csv,
    "jsonl": _look_jsonl,
    "sql dump": _look_dump,
    "sqlite": _look_sqlite,
    "sqlite journal": _look_not,
    "parquet": _look_parquet,
    "arrow": _look_arrow,
    "compressed": _look_compressed,
    "archive": _look_archive,
}
