# ruff: noqa: S608 (names cannot be bound; `quoted` quotes them)
"""Rows that stay, in tables of which others go: which bytes of the server's files are theirs.

Before rows are destroyed, those that go are told from those that stay by the selection; the table's values
out of line cannot be, so these count as kept only once no row goes any more. What the server remembers of a
column (its most frequent values, some of every hundred) stays with the rows: but only if each of these values
is one that a row still has, since the server keeps those of rows that went, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.residue import postgres_live
from cenotaph.residue.postgres_live import Rows, Settled
from cenotaph.residue.postgres_pages import tids
from cenotaph.scope import Selection
from cenotaph.store import Column, Ranges
from cenotaph.stores.postgres import rows
from cenotaph.stores.postgres.catalog import views
from cenotaph.stores.postgres.catalog.schema import Schema, Table
from cenotaph.stores.postgres.session import Session, quoted
from cenotaph.stores.postgres.wire import types

OpenSession: TypeAlias = Callable[[], AbstractContextManager[Session]]
_Part: TypeAlias = tuple[str, str]  # a column, and what of it: a key of `_READ`
_Values: TypeAlias = dict[tuple[int, _Part], set[str]]  # by table

_NEVER = Settled(-1, 0)
_INDEXES: Mapping[str, Callable[[Any, int], postgres_live.Index]] = {
    "btree": postgres_live.Tree,
    "gin": postgres_live.Inverted,
}
_SAME, _ELEMENTS, _BOUNDS = (1, 2), 4, 7  # kinds of statistics that list values, elements, ranges
_NOTHING = (0, 3, 5, 6)  # and those that list none: correlation, counts, lengths


def ranges(
    session: Session, opened: OpenSession, schema: Schema, selection: Selection, place: str
) -> dict[str, Ranges]:
    """By the name of each file beneath the data directory, the bytes that hold what stays.

    `session` is not ended meanwhile: while its transaction lasts, the server gives no place of a row that it
    sees to another. Only tables in scope that do not go whole, and catalogs of statistics, are looked at.
    """
    parts = [
        table
        for table in schema.tables
        if selection.includes(table.name) and not selection.whole(table.name, table.names())
    ]
    out = {table.oid for table in schema.tables if not selection.includes(table.name)}
    out.update(views.apart(session, schema, selection))
    files = _Files(session, place)
    remembered = _Remembered.read(session, {table.oid for table in parts}, out)
    seen: _Values = {}
    for table in parts:
        stay, some_go = _stay(opened, table, selection, remembered.wanted, seen)
        files.keep(table.oid, stay, indexes=not table.unlogged)
        toast = None if some_go else _toast(session, table.oid)
        if toast is not None:
            found = [_rows_of(piece) for piece in _all(opened, toast)]
            files.keep(toast.oid, _joined(found))
    for catalog, kept in remembered.kept(seen).items():
        relation = int(session.one("SELECT $1::text::regclass::oid::int8", catalog))
        files.keep_with_values(session, opened, relation, kept)
    return files.ranges


# --- rows


def _stay(
    opened: OpenSession, table: Table, selection: Selection, wanted: _Values, seen: _Values
) -> tuple[Rows, bool]:
    """The rows of a table that stay, and whether others are still there. Notes which wanted values it has."""
    sought = {part: sorted(values) for (oid, part), values in wanted.items() if oid == table.oid}
    written = _written(_placed(table), sorted(sought))
    found, some_go = [], False
    for piece in _all(opened, replace(written, key=())):
        goes = selection.masks(table.name, piece).selected
        some_go |= bool(goes.any())
        stays = piece.filter(pa.array(~goes)) if goes.any() else piece
        found.append(_rows_of(stays))
        for column, part in zip(
            stays.columns[len(_PLACED) + len(table.columns) :], sorted(sought), strict=True
        ):
            seen.setdefault((table.oid, part), set()).update(_those_in(column, sought[part]))
    return _joined(found), some_go


def _all(opened: OpenSession, table: Table) -> Iterator[pa.RecordBatch]:
    with opened() as session:
        yield from rows.batches(session, table, rows.Bounds.of(table))


_PLACED = (Column("ctid", "tid"), Column("xmin", "xid"))


def _placed(table: Table) -> Table:
    """The table with the place of each row, and the transaction that wrote it, before its columns."""
    return replace(
        table,
        columns=(*_PLACED, *table.columns),
        values=("ctid", "xmin", *table.values),
        decoders=(
            types.tagged("postgresql:tid"),
            types.scalar(pa.uint32(), ">u4"),
            *table.decoders,
        ),
    )


def _written(table: Table, parts: Sequence[_Part]) -> Table:
    """The table with these parts of each row, as the server writes them, behind its columns."""
    names = [_READ[what].format(quoted(name)) for name, what in parts]
    texts = types.lists(types.text, _TEXT, "postgresql:_text")
    return replace(
        table,
        columns=(*table.columns, *(Column(f"cenotaph {nth}", "text") for nth in range(len(parts)))),
        values=(*table.values, *names),
        decoders=(*table.decoders, *(types.text if what == "value" else texts for _, what in parts)),
    )


_TEXT = 25
_READ = {  # as the server writes values: a cast to text may write otherwise
    "value": "format('%s', {0})",
    "elements": "CASE WHEN {0} IS NOT NULL THEN format('%s', {0})::text[] END",
    "words": "tsvector_to_array({0})",
    "bounds": "ARRAY[format('%s', lower({0})), format('%s', upper({0}))]",
}


def _rows_of(piece: pa.RecordBatch) -> Rows:
    fixed = piece.column(0).storage.cast(pa.binary(6))
    raw = np.frombuffer(fixed.buffers()[1], np.dtype([("block", ">u4"), ("item", ">u2")]))
    raw = raw[fixed.offset : fixed.offset + len(fixed)]
    return Rows(tids(raw["block"], raw["item"]), piece.column(1).to_numpy())


def _joined(found: Sequence[Rows]) -> Rows:
    place = [np.zeros(0, np.int64), *(part.place for part in found)]
    writer = [np.zeros(0, np.uint32), *(part.writer for part in found)]
    return Rows.of(np.concatenate(place), np.concatenate(writer))


def _those_in(column: pa.Array, values: Sequence[str]) -> list[str]:
    """Which of these values a column has, as the server writes them, or its lists."""
    if pa.types.is_list(column.type):
        column = column.flatten()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return []
    there = pc.is_in(column, value_set=pa.array(values, column.type))
    return list(pc.unique(column.filter(there)).to_pylist())


def _toast(session: Session, oid: int) -> Table | None:
    """The table of a table's values out of line, if this role may read it."""
    found = session.rows(
        "SELECT t.oid::int8, n.nspname::text, t.relname::text FROM pg_class c"
        " JOIN pg_class t ON t.oid = c.reltoastrelid JOIN pg_namespace n ON n.oid = t.relnamespace"
        " WHERE c.oid = $1::int8 AND has_schema_privilege(n.oid, 'USAGE')"
        " AND has_table_privilege(t.oid, 'SELECT')",
        oid,
    )
    if not found:
        return None
    number, schema, relation = found[0]
    return _placed(Table(number, schema, relation, (), (), (), (), 0, unlogged=False))


# --- what the server remembers of columns


@dataclass(frozen=True, slots=True)
class _Memory:
    """One row of a catalog of statistics: where it is, and the values that it lists, by table and column.

    `sources`: in which tables each has to be found, for the row to stay; empty where it stays in any case.
    """

    place: int
    writer: int
    values: Mapping[_Part, frozenset[str]] = field(repr=False)
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Remembered:
    """The rows of each catalog that may stay."""

    rows: Mapping[str, tuple[_Memory, ...]]
    wanted: _Values = field(repr=False)

    @classmethod
    def read(cls, session: Session, parts: set[int], out: set[int]) -> _Remembered:
        """Of tables of which some rows stay, their parents, and tables out of scope with their indexes."""
        known = _Known(session, parts, out)
        found: dict[str, tuple[_Memory, ...]] = {}
        if session.one("SELECT has_table_privilege('pg_statistic', 'SELECT')"):
            found["pg_catalog.pg_statistic"] = tuple(known.of_columns())
        if session.one("SELECT has_table_privilege('pg_statistic_ext_data', 'SELECT')"):
            found["pg_catalog.pg_statistic_ext_data"] = tuple(known.of_several())
        wanted: _Values = {}
        for memory in (memory for memories in found.values() for memory in memories):
            for oid in memory.sources:
                for part, values in memory.values.items():
                    wanted.setdefault((oid, part), set()).update(values)
        return cls(found, wanted)

    def kept(self, seen: _Values) -> dict[str, Rows]:
        """The rows of each catalog that stay."""
        kept = {}
        for catalog, memories in self.rows.items():
            stay = [memory for memory in memories if _is_told_by(memory, seen)]
            place = np.array([memory.place for memory in stay], np.int64)
            kept[catalog] = Rows.of(place, np.array([memory.writer for memory in stay], np.uint32))
        return kept


def _is_told_by(memory: _Memory, seen: _Values) -> bool:
    """Whether rows that stay have every value."""
    return not memory.sources or all(
        values <= set().union(*(seen.get((oid, part), set()) for oid in memory.sources))
        for part, values in memory.values.items()
    )


class _Known:
    """What the catalogs say of relations that statistics are about."""

    def __init__(self, session: Session, parts: set[int], out: set[int]) -> None:
        self._session, self._parts = session, parts
        self._below: dict[int, set[int]] = {}  # a parent and all that is below it
        for parent, child in session.rows(_BELOW):
            self._below.setdefault(parent, {parent}).add(child)
        indexes = session.rows(
            "SELECT indexrelid::int8 FROM pg_index WHERE indrelid = ANY ($1::int8[]::oid[])", list(out)
        )
        self._out = out | {oid for (oid,) in indexes}

    def of_columns(self) -> Iterator[_Memory]:
        for block, item, writer, relation, inherits, *column in self._session.rows(_STATISTICS):
            memory = _Memory(int(tids(block, item)), writer, {})
            if relation in self._out and not inherits:
                yield memory
                continue
            sources = self._sources(relation, inherits)
            listed = self._listed(f"({block},{item})", *column) if sources else None
            if listed is not None:
                yield replace(memory, values=listed, sources=sources)

    def _listed(
        self, place: str, column: str, has: str | None, ranged: str | None, kinds: Sequence[int]
    ) -> dict[_Part, frozenset[str]] | None:
        """What one row of pg_statistic lists; None where it lists what is not told from values."""
        listed: dict[_Part, frozenset[str]] = {}
        values = self._session.rows(_LISTED, place)[0]
        for slot, (kind, some) in enumerate(zip(kinds, values, strict=True), 1):
            if kind in _SAME:
                part, found = (column, "value"), some
            elif kind == _ELEMENTS and has is not None:
                part, found = (column, has), some
            elif kind == _BOUNDS and ranged is not None:
                ((found,),) = self._session.rows(_BOUNDS_OF.format(slot, ranged), place)
                part = (column, "bounds")
            elif kind in _NOTHING:
                continue
            else:
                return None
            listed[part] = listed.get(part, frozenset()) | frozenset(found or ())
        return listed

    def of_several(self) -> Iterator[_Memory]:
        inherits = "d.stxdinherit" if self._session.version >= 150000 else "false"
        plain = "e.stxexprs IS NULL" if self._session.version >= 140000 else "true"
        for block, item, writer, relation, below, columns, is_plain in self._session.rows(
            _SEVERAL.format(inherits=inherits, plain=plain)
        ):
            place = int(tids(block, item))
            inherited = below or (self._session.version < 150000 and relation in self._below)
            if relation in self._out and not inherited:
                yield _Memory(place, writer, {})
                continue
            sources = self._sources(relation, inherited)
            if not sources or not is_plain or None in columns:
                continue
            items = [values for (values,) in self._session.rows(_COMBINED, f"({block},{item})")]
            listed = {
                (column, "value"): frozenset(values[nth] for values in items if values[nth] is not None)
                for nth, column in enumerate(columns)
            }
            yield _Memory(place, writer, listed, sources)

    def _sources(self, relation: int, inherits: bool) -> tuple[int, ...]:
        """The tables whose rows a statistic is about, as far as their rows are read."""
        if self._session.encoding == "SQL_ASCII":  # the server would refuse to show values that are no UTF-8
            return ()
        about = self._below.get(relation, {relation}) if inherits else {relation}
        return tuple(about & self._parts)


_BELOW = """
WITH RECURSIVE below (parent, child) AS (
    SELECT inhparent, inhrelid FROM pg_inherits
    UNION SELECT b.parent, i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.child
)
SELECT parent::int8, child::int8 FROM below
"""
_PLACE = "(s.ctid::text::point)[0]::int8, (s.ctid::text::point)[1]::int8, s.xmin::text::int8"
_STATISTICS = f"""
SELECT {_PLACE}, s.starelid::int8, s.stainherit, a.attname::text,
    CASE WHEN t.oid = 'tsvector'::regtype THEN 'words' WHEN t.typcategory = 'A' THEN 'elements' END,
    CASE WHEN t.typtype = 'r' THEN format_type(t.oid, NULL) END,
    ARRAY[s.stakind1, s.stakind2, s.stakind3, s.stakind4, s.stakind5]::int4[]
FROM pg_statistic s JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum
    JOIN pg_type t ON t.oid = a.atttypid
"""
_LISTED = """
SELECT stavalues1::text::text[], stavalues2::text::text[], stavalues3::text::text[], stavalues4::text::text[],
    stavalues5::text::text[]
FROM pg_statistic WHERE ctid = $1::text::tid
"""
_BOUNDS_OF = """
SELECT array_agg(bound) FROM pg_statistic s, unnest(s.stavalues{0}::text::text[]::{1}[]) AS r,
    unnest(ARRAY[format('%s', lower(r)), format('%s', upper(r))]) AS bound
WHERE s.ctid = $1::text::tid
"""
_SEVERAL = f"""
SELECT {_PLACE.replace("s.", "d.")}, e.stxrelid::int8, {{inherits}}, ARRAY(
    SELECT a.attname::text FROM unnest(e.stxkeys::int2[]) WITH ORDINALITY AS k (number, nth)
    LEFT JOIN pg_attribute a ON a.attrelid = e.stxrelid AND a.attnum = k.number ORDER BY k.nth
), {{plain}}
FROM pg_statistic_ext_data d JOIN pg_statistic_ext e ON e.oid = d.stxoid
"""
_COMBINED = """
SELECT m.values FROM pg_statistic_ext_data d, pg_mcv_list_items(d.stxdmcv) m WHERE d.ctid = $1::text::tid
"""


# --- files


class _Files:
    """The bytes that stay of files, by the names that the server gives them."""

    def __init__(self, session: Session, place: str) -> None:
        self._session, self._place = session, place
        sizes = dict(
            session.rows(
                "SELECT name, setting::int8 FROM pg_settings WHERE name IN ('block_size', 'segment_size')"
            )
        )
        self._size, self._blocks = sizes["block_size"], sizes["segment_size"]
        self._settled = _settled(session)
        self.ranges: dict[str, Ranges] = {}

    def keep(self, oid: int, kept: Rows, *, indexes: bool = True) -> None:
        """These rows of a table, and their keys in its indexes."""
        settled = self._settled if indexes else _NEVER
        leads = [np.zeros(0, np.int64)]
        for name, stream, length, first in self._segments(oid):
            self.ranges[name], found = postgres_live.heap(stream, length, kept, settled, first, self._size)
            leads.append(found)
        known = np.unique(np.concatenate(leads))
        for index, kind in self._session.rows(_INDEXES_OF, oid):
            if kind in _INDEXES:
                self._keep_keys(index, _INDEXES[kind](known, self._size))

    def keep_with_values(self, session: Session, opened: OpenSession, oid: int, kept: Rows) -> None:
        """These rows of a catalog, and their values out of line."""
        self.keep(oid, kept)
        toast = _toast(session, oid)
        if toast is None:
            return
        numbers = self._out_of_line(oid, toast.oid)
        pieces = replace(
            toast,
            columns=(*toast.columns, Column("chunk_id", "oid")),
            values=(*toast.values, "chunk_id"),
            decoders=(*toast.decoders, types.oids),
        )
        found = []
        for piece in _all(opened, pieces):
            mine = np.isin(piece.column(len(_PLACED)).to_numpy(), numbers)
            found.append(_rows_of(piece.filter(pa.array(mine))))
        self.keep(toast.oid, _joined(found))

    def _out_of_line(self, oid: int, toast: int) -> list[int]:
        """The numbers of values to which the bytes that stay refer (`varatt_external`)."""
        refers = re.compile(rb"\x01\x12.{8}(.{4})" + re.escape(toast.to_bytes(4, "little")), re.DOTALL)
        found = []
        for name, stream, _, _ in self._segments(oid):
            for start, end in self.ranges[name].tolist():
                stream.seek(start)
                found += refers.findall(stream.read(end - start))
        return [int.from_bytes(number, "little") for number in found]

    def _keep_keys(self, oid: int, index: postgres_live.Index) -> None:
        names = []
        for name, stream, length, first in self._segments(oid):
            names.append(name)
            index.add(stream, length, first)
        self.ranges.update(zip(names, index.ranges(), strict=True))

    def _segments(self, oid: int) -> Iterator[tuple[str, Any, int, int]]:
        """Each file of a relation: its name, itself, its length, and its first block."""
        path = self._session.one("SELECT pg_relation_filepath($1::int8::regclass)", oid)
        number = 0
        while path is not None:
            name = f"{path}.{number}" if number else str(path)
            try:
                descriptor = os.open(os.path.join(self._place, name), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
            with os.fdopen(descriptor, "rb") as stream:
                yield name, stream, os.fstat(stream.fileno()).st_size, number * self._blocks
            number += 1


_INDEXES_OF = """
SELECT i.indexrelid::int8, m.amname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = $1::int8
"""


def _settled(session: Session) -> Settled:
    """What the last checkpoint wrote out, where this role may know."""
    if not session.one("SELECT has_function_privilege('pg_control_checkpoint()', 'EXECUTE')"):
        return _NEVER
    redo, oldest = session.rows(
        "SELECT (redo_lsn - '0/0'::pg_lsn)::int8, oldest_active_xid::text::int8 FROM pg_control_checkpoint()"
    )[0]
    return Settled(redo, oldest)
