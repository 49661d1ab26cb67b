# ruff: noqa: S608 (numbers and `quoted` names alone are written into statements)
"""A table's rows from the pages of its file, while nobody writes to it (docs/adr/0019).

A lock keeps writers out, a checkpoint after it puts everything that they had written into the file, and what
pages leave open of a row is asked of the server: which transactions committed, what lies in the TOAST table.
The server itself stays in charge: some pages of every partition are read by COPY too, and compared.

What surprised the author: merely reading a table has the server clear old versions of rows out of its pages,
and write these, lock or no lock. So what was read counts only where each page is older than the lock and was
not written meanwhile: its head is looked at once more after it was read, and the server writes a page from
its beginning to its end.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph import durable
from cenotaph.errors import DriftError, PermanentStoreError, TransientStoreError
from cenotaph.kernel import PageRows
from cenotaph.records import Digester
from cenotaph.store import Surroundings
from cenotaph.stores.postgres import rows
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS, Table
from cenotaph.stores.postgres.session import Session, quoted
from cenotaph.stores.postgres.wire import heap
from cenotaph.stores.postgres.wire.copy import BLOCK_ROWS, Octets
from cenotaph.stores.postgres.wire.heap import Attribute, Form

PARTITION_RECORDS = (
    1 << 20
)  # as many digests as a partition may have when it is erased (sealing.KEPT_DIGESTS)
READ_BYTES = 4 << 20
SAMPLES = 4  # pages of a partition that are read by COPY, too
_TRIES = 5
_OLDEST = 140000  # from here on, a range of places is read without the rest of the table


@dataclass(frozen=True, slots=True)
class Layout:
    """A table's file, and how its rows lie in it."""

    table: Table
    files: str = field(repr=False)  # the first of its files; others have a number behind the name
    page: int  # bytes
    segment: int  # pages of one file
    pages: int
    sums: bool  # whether pages have checksums
    toast: int  # its TOAST table, or 0
    attributes: tuple[Attribute, ...]
    newest: int  # the log's end when the lock was held: no page that is written later is older


def why_not(session: Session, around: Surroundings, table: Table) -> str:
    """Why the pages of a table cannot be read in place of COPY; empty where they can."""
    place = raw.data_directory(session, around)
    if isinstance(place, raw.NoAccess):
        return place.why
    if session.version < _OLDEST:
        return "the server is older than PostgreSQL 14"
    if session.one("SELECT pg_is_in_recovery()"):
        return "the server is a standby"
    if session.encoding != "UTF8":
        return "the database's text is not UTF-8"
    if table.oid == LARGE_OBJECTS:
        return "they are large objects"
    if table.unlogged:
        return "the table is unlogged, and no checkpoint writes its pages"
    if not session.rows(_IS_HEAP, table.oid):
        return "the table has a storage of its own"
    if not session.one(_MAY_LOCK, table.oid) or not session.one(_MAY_CHECKPOINT):
        return "this role may not lock the table, read its TOAST table and run CHECKPOINT: a superuser may"
    _, unread = _attributes(session, table)
    if unread:
        return f"{unread} of its columns have types that are read by COPY alone"
    try:
        os.close(os.open(os.path.join(place, session.one(_PATH, table.oid)), os.O_RDONLY))
    except OSError:
        return "its file may not be read by this user"
    return ""


def lay_out(session: Session, around: Surroundings, table: Table) -> Layout:
    """Keep writers out of a table, for which there was no reason against it, until the session ends, and put
    what they wrote into its file; and how it lies there.

    Raises:
        DriftError: the table is another one by now.
        TransientStoreError: somebody writes to it, and does not end.
    """
    place = raw.data_directory(session, around)
    assert isinstance(place, str)
    session.anew(f"LOCK TABLE {table.sql()} IN SHARE MODE")
    session.run_alone(_CHECKPOINT)
    attributes, unread = _attributes(session, table)
    found = session.rows(_LAYOUT, table.oid)
    if (
        unread
        or not found
        or len([one for one in attributes if one.form is not Form.SKIPPED]) != len(table.columns)
    ):
        raise DriftError("a table was altered while it was about to be read", hint="survey again")
    path, page, segment, size, sums, toast = found[0]
    return Layout(
        table,
        os.path.join(place, path),
        page,
        segment,
        size // page,
        sums,
        toast,
        attributes,
        _log_end(session),
    )


class Reading:
    """Reads one partition of a table whose writers a session keeps out."""

    def __init__(self, session: Session, layout: Layout) -> None:
        self._session, self._layout = session, layout
        self._committed: dict[int, bool] = {}
        self._members: dict[int, bool] = {}
        self.rows = 0  # that were read

    def batches(self, bounds: rows.Bounds) -> Iterator[pa.RecordBatch]:
        """Every row within the bounds, in the order of the table's file.

        Raises:
            PermanentStoreError: the pages are damaged, or do not say what the server says.
            TransientStoreError: the server wrote to them again and again.
        """
        first = bounds.first or 0
        stop = self._layout.pages if bounds.stop is None else min(bounds.stop, self._layout.pages)
        try:
            with _File(self._layout) as file:
                self._compare(file, first, stop)
                at_once = READ_BYTES // self._layout.page
                for start in range(first, stop, at_once):
                    yield from self._batches(file, start, min(at_once, stop - start))
        except heap.UnreadableError as error:
            raise PermanentStoreError(f"the table's pages cannot be read: {error}", hint=_BY_COPY) from None
        except OSError:
            raise TransientStoreError("the table's file cannot be read now", hint="run again") from None

    def agree(self, bounds: rows.Bounds) -> None:
        """Ask the server how many rows there are.

        Raises: PermanentStoreError where it has another number.
        """
        if rows.count(self._session, self._layout.table, bounds) != self.rows:
            raise PermanentStoreError(_DISAGREE, hint=_BY_COPY)

    def _batches(self, file: _File, first: int, count: int) -> Iterator[pa.RecordBatch]:
        octets = self._pages(file, first, count)
        for piece in self._decoded(octets):
            self.rows += piece.num_rows
            yield piece

    def _decoded(self, octets: Octets) -> Iterator[pa.RecordBatch]:
        table = self._layout.table
        found = self._there(octets, heap.rows(octets, self._layout.page))
        for count, fields in heap.pieces(
            octets, found, self._layout.attributes, self._fetch, BLOCK_ROWS, rows.BATCH_BYTES
        ):
            yield rows.decoded(fields, count, table)

    def _pages(self, file: _File, first: int, count: int) -> Octets:
        """Pages as they were when the lock was held, none of them half written."""
        for turn in range(_TRIES):
            octets = file.read(first, count)
            if file.unchanged(octets, first, self._layout.newest) and not (
                self._layout.sums and heap.wrong_sums(octets, self._layout.page, first)
            ):
                return octets
            time.sleep(0.01 * turn)
            self._session.run_alone(_CHECKPOINT)
            self._layout = replace(self._layout, newest=_log_end(self._session))
        if self._layout.sums and heap.wrong_sums(octets, self._layout.page, first):
            raise PermanentStoreError("pages of the table have another checksum than they say", hint=_DAMAGED)
        raise TransientStoreError("the server goes on writing the table's pages", hint="run again")

    def _there(self, octets: Octets, found: PageRows) -> PageRows:
        """The rows that are there for everybody."""
        if not found.asked.any():
            return found
        born = self._have(octets, found, heap.ASK_BIRTH, 0, self._ask)
        ended = self._have(octets, found, heap.ASK_END, 4, self._ask)
        changed = self._have(octets, found, heap.ASK_MEMBERS, 4, self._ask_members)
        asked = found.asked
        gone = ((asked & heap.ASK_BIRTH) != 0) & ~born
        gone |= ended | changed
        return PageRows(found.starts[~gone], found.ends[~gone], asked[~gone])

    def _have(self, octets: Octets, found: PageRows, bit: int, at: int, ask: _Ask) -> npt.NDArray[np.bool_]:
        """Of the rows that are to be asked about so: whether the number at this place in them has."""
        result = np.zeros(len(found.asked), np.bool_)
        rows_ = np.flatnonzero(found.asked & bit)
        if len(rows_):
            numbers = octets[found.starts[rows_, None] + at + np.arange(4)].copy().view("<u4")[:, 0]
            distinct, which = np.unique(numbers, return_inverse=True)
            result[rows_] = np.array(ask(distinct.tolist()), np.bool_)[which]
        return result

    def _ask(self, numbers: Sequence[int]) -> list[bool]:
        """Whether these transactions committed."""
        new = [number for number in numbers if number not in self._committed]
        for start in range(0, len(new), _ASKED_AT_ONCE):
            for number, status in self._session.rows(_STATUS, new[start : start + _ASKED_AT_ONCE]):
                if status not in ("committed", "aborted"):
                    raise heap.UnreadableError("the server does not know how a transaction ended")
                self._committed[number] = status == "committed"
        return [self._committed[number] for number in numbers]

    def _ask_members(self, numbers: Sequence[int]) -> list[bool]:
        """Whether one of those that held a row together changed it, and committed."""
        for number in numbers:
            if number not in self._members:
                updaters = [int(xid) for (xid,) in self._session.rows(_UPDATERS, str(number))]
                self._members[number] = any(self._ask(updaters))
        return [self._members[number] for number in numbers]

    def _fetch(self, numbers: Sequence[int]) -> Mapping[int, bytes]:
        """Long values by number, from the TOAST table, in order of their pieces."""
        found: dict[int, list[bytes]] = {}
        for start in range(0, len(numbers), _ASKED_AT_ONCE):
            wanted = ",".join(str(number) for number in numbers[start : start + _ASKED_AT_ONCE])
            for number, piece in self._session.rows(_PIECES.format(self._toast(), wanted)):
                found.setdefault(number, []).append(piece)
        return {number: b"".join(pieces) for number, pieces in found.items()}

    def _toast(self) -> str:
        schema, name = self._session.rows(_NAME, self._layout.toast)[0]
        return f"{quoted(schema)}.{quoted(name)}"

    def _compare(self, file: _File, first: int, stop: int) -> None:
        """Read some pages by COPY, too. Raises: PermanentStoreError where another record comes out."""
        if first >= stop:
            return
        table, key = self._layout.table, secrets.token_bytes(64)
        ours: list[bytes] = []
        places: list[str] = []
        for number in sorted({first + secrets.randbelow(stop - first) for _ in range(SAMPLES)}):
            octets = self._pages(file, number, 1)
            lines = max(0, int.from_bytes(octets[12:14].tobytes(), "little") - 24) // 4
            places += (f'"({number},{line})"' for line in range(1, lines + 1))
            ours += _digests(key, self._decoded(octets))
        where = f"ctid = ANY ('{{{','.join(places)}}}'::tid[])"
        query = f"SELECT {', '.join(table.values)} FROM {table.sql()} WHERE {where}"
        theirs = (rows.batch(block, table) for block in self._session.copied(query))
        if ours != _digests(key, theirs):
            raise PermanentStoreError(_DISAGREE, hint=_BY_COPY)


_Ask: TypeAlias = Callable[[Sequence[int]], list[bool]]

_CHECKPOINT = "CHECKPOINT"
_ASKED_AT_ONCE: Final = 10_000
_BY_COPY = 'leave read = "pages" out of the case, and survey again: COPY reads the table'
_DAMAGED = "see the server's log, and its manual: amcheck, pg_checksums"
_DISAGREE = "the pages of a table do not say what the server says of it"

_PATH = "SELECT pg_relation_filepath($1::int8::regclass)"
_IS_HEAP = """
SELECT FROM pg_class c JOIN pg_am m ON m.oid = c.relam
WHERE c.oid = $1::int8 AND c.relkind = 'r' AND m.amname = 'heap'
"""
_MAY_LOCK = """
SELECT has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') AND has_table_privilege(c.oid, 'SELECT')
    AND (c.reltoastrelid = 0 OR has_schema_privilege('pg_toast', 'USAGE')
        AND has_table_privilege(c.reltoastrelid, 'SELECT'))
FROM pg_class c WHERE c.oid = $1::int8
"""
_MAY_CHECKPOINT = """
SELECT rolsuper OR EXISTS (
    SELECT FROM pg_roles g WHERE g.rolname = 'pg_checkpoint' AND pg_has_role(g.oid, 'USAGE')
) FROM pg_roles WHERE rolname = current_user
"""
_LAYOUT = """
SELECT pg_relation_filepath(c.oid), current_setting('block_size')::int4,
    (SELECT setting::int4 FROM pg_settings WHERE name = 'segment_size'), pg_relation_size(c.oid),
    current_setting('data_checksums') = 'on', c.reltoastrelid::int8
FROM pg_class c WHERE c.oid = $1::int8
"""
_LOG_END = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8"
_ATTRIBUTES = """
SELECT a.attnum, a.attlen, a.attalign::text, a.attisdropped OR a.attgenerated = 'v', a.atttypid::int8,
    a.atthasmissing, format_type(a.atttypid, -1)
FROM pg_attribute a WHERE a.attrelid = $1::int8 AND a.attnum > 0 ORDER BY a.attnum
"""
_KINDS = """
SELECT oid::int8, typtype::text, typbasetype::int8 FROM pg_type
WHERE typtype IN ('d', 'e') OR typname = 'citext' AND typcategory = 'S'
"""
_LABELS = "SELECT oid::int8, convert_to(enumlabel::text, 'UTF8') FROM pg_enum WHERE enumtypid::int8 = $1"
_MISSING = "SELECT (attmissingval::text::{}[])[1] FROM pg_attribute WHERE attrelid = {:d} AND attnum = {:d}"
# Numbers of transactions are 32 bits of 64; those on pages are older than the next one.
_STATUS = """
SELECT x, pg_xact_status((n - ((n - x) & 4294967295))::text::xid8)
FROM unnest($1::int8[]) x, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS n) s
"""
_UPDATERS = """
SELECT xid::text FROM pg_get_multixact_members($1::text::xid) WHERE mode IN ('upd', 'nokeyupd')
"""
_NAME = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::int8
"""
_PIECES = "SELECT chunk_id::int8, chunk_data FROM {} WHERE chunk_id IN ({}) ORDER BY chunk_id, chunk_seq"

_ALIGN = {"c": 1, "s": 2, "i": 4, "d": 8}
_OCTETS = frozenset((17, 18, 25, 114, 705, 774, 829, 1042, 1043, 2950))  # bytea "char" text json … uuid
_FORMS = {
    16: (Form.NUMBER, "u1"),
    19: (Form.NAME, ""),
    20: (Form.NUMBER, "<i8"),
    21: (Form.NUMBER, "<i2"),
    23: (Form.NUMBER, "<i4"),
    26: (Form.NUMBER, "<u4"),
    700: (Form.NUMBER, "<f4"),
    701: (Form.NUMBER, "<f8"),
    1082: (Form.NUMBER, "<i4"),
    1083: (Form.NUMBER, "<i8"),
    1114: (Form.NUMBER, "<i8"),
    1184: (Form.NUMBER, "<i8"),
    1186: (Form.INTERVAL, ""),
    1700: (Form.NUMERIC, ""),
}
"""How values of each type are stored that COPY sends in another form. The numbers are fixed (pg_type.dat)."""


def _attributes(session: Session, table: Table) -> tuple[tuple[Attribute, ...], int]:
    """All attributes that rows may have, and how many of them are of types that are not read from pages."""
    kinds = {oid: (kind, base) for oid, kind, base in session.rows(_KINDS)}
    found, unread = [], 0
    for number, length, align, skipped, oid, late, cast in session.rows(_ATTRIBUTES, table.oid):
        one = Attribute(length, _ALIGN[align], Form.SKIPPED)
        if not skipped:
            while kinds.get(oid, ("",))[0] == "d":
                oid = kinds[oid][1]  # noqa: PLW2901 (what a domain is made of)
            one = _formed(session, one, oid, kinds.get(oid, ("", 0))[0])
            unread += one.form is Form.SKIPPED
        if late and one.form is not Form.SKIPPED:
            query = _MISSING.format(cast, table.oid, number)
            fields = next(iter(session.copied(query))).columns(1)[0]
            start = int(fields.starts[0])
            one = replace(one, missing=fields.octets[start : start + int(fields.lengths[0])].tobytes())
        found.append(one)
    return tuple(found), unread


def _formed(session: Session, one: Attribute, oid: int, kind: str) -> Attribute:
    """With how it is stored; still SKIPPED where that is not known here."""
    if kind == "e":
        return replace(one, form=Form.LABEL, labels=dict(session.rows(_LABELS, oid)))
    if kind == "b" or oid in _OCTETS:  # citext is the one that has another number in every database
        return replace(one, form=Form.OCTETS)
    form, numbers = _FORMS.get(oid, (Form.SKIPPED, ""))
    return replace(one, form=form, kind=numbers)


def _log_end(session: Session) -> int:
    return int(session.one(_LOG_END))


def _digests(key: bytes, batches: Iterable[pa.RecordBatch]) -> list[bytes]:
    """Of each record, in order."""
    found = (Digester(key).digests(batch)[0] for batch in batches)
    return [bytes(row) for digests in found for row in digests]


class _File:
    """The files of a table, of so many pages each, as one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._opened: dict[int, int] = {}
        self._mapped: dict[int, npt.NDArray[np.uint8]] = {}
        self._room = np.empty(READ_BYTES, np.uint8)  # fresh memory costs more than what is then done with it

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._mapped.clear()
        for opened in self._opened.values():
            os.close(opened)

    def read(self, first: int, count: int) -> Octets:
        """These pages, until the next call. Raises: OSError."""
        size = count * self._layout.page
        octets, at = self._room[:size], 0
        while at < size:
            number, page = divmod(first + at // self._layout.page, self._layout.segment)
            here = min(size - at, (self._layout.segment - page) * self._layout.page)
            place = page * self._layout.page
            if durable.read_into(self._open(number), [octets[at : at + here].data], place, here) < here:
                raise heap.UnreadableError("the table's file is shorter than the table")
            at += here
        return octets

    def unchanged(self, octets: Octets, first: int, newest: int) -> bool:
        """Whether these pages, that were read, are no newer, and are still as they were read."""
        heads = octets.reshape(-1, self._layout.page)[:, :8].copy()
        halves = heads.view("<u4").astype(np.uint64)
        if ((halves[:, 0] << np.uint64(32) | halves[:, 1]) > np.uint64(newest)).any():
            return False
        numbers, pages = np.divmod(first + np.arange(len(heads)), self._layout.segment)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            now = self._map(number)[pages[here][0] : pages[here][-1] + 1, :8]
            if (now != heads[here]).any():
                return False
        return True

    def _open(self, number: int) -> int:
        if number not in self._opened:
            path = self._layout.files + (f".{number}" if number else "")
            self._opened[number] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._opened[number]

    def _map(self, number: int) -> npt.NDArray[np.uint8]:
        """Nobody can make the file shorter while the table is locked."""
        if number not in self._mapped:
            with os.fdopen(os.dup(self._open(number)), "rb") as file:
                size = os.fstat(file.fileno()).st_size // self._layout.page
                self._mapped[number] = np.memmap(file, np.uint8, "r", shape=(size, self._layout.page))
        return self._mapped[number]
