# ruff: noqa: S608 (names cannot be bound; `quoted` quotes them)
"""What a database holds: its tables that store rows, how they are read, and how they are ordered.

`pg_largeobject` stands among them, which is a catalog and stores what users put there.

What surprised the author: `format_type(1042, NULL)` is "character", which as a cast cuts a key to one
letter, where -1 instead of NULL gives "bpchar"; and a type may lack a binary form, or be made of one
that does (aclitem), so that COPY BINARY of the whole table fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from cenotaph.store import Column
from cenotaph.stores.postgres.session import Place, Session, driver_errors, quoted
from cenotaph.stores.postgres.wire import types


@dataclass(frozen=True, slots=True)
class KeyPart:
    name: str = field(repr=False)
    type: str  # as a cast writes it


@dataclass(frozen=True, slots=True)
class Table:
    """One collection: an ordinary table, a partition that stores rows, or the large objects."""

    oid: int
    schema: str = field(repr=False)
    relation: str = field(repr=False)
    columns: tuple[Column, ...]
    values: tuple[str, ...] = field(repr=False)  # what is read of each column: itself, or its text
    decoders: tuple[types.Decoder, ...] = field(repr=False)
    key: tuple[KeyPart, ...]  # of a unique index without nulls; empty: rows are ordered by digest
    bytes: int  # with indexes and TOAST
    unlogged: bool

    @property
    def name(self) -> str:
        return collection_name(self.schema, self.relation)

    @property
    def order(self) -> str:
        return "key" if self.key else "digest"

    @property
    def format(self) -> str:
        return "large object" if self.oid == LARGE_OBJECTS else "table"

    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def sql(self) -> str:
        """The table itself, without those that inherit from it, as a FROM clause names it."""
        return f"ONLY {quoted(self.schema)}.{quoted(self.relation)}"


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables in the order of their names: a collection's ordinal is its place here."""

    tables: tuple[Table, ...]

    def table(self, name: str) -> Table | None:
        return next((table for table in self.tables if table.name == name), None)

    def ordinal(self, name: str) -> int:
        return [table.name for table in self.tables].index(name)


def collection_name(schema: str, relation: str) -> str:
    """`schema.table`; both quoted where one of them has a dot, so that no two tables have one name."""
    if "." in schema or "." in relation:
        return f"{quoted(schema)}.{quoted(relation)}"
    return f"{schema}.{relation}"


def read(session: Session, only: str | None = None) -> Schema:
    """The tables that this session may know of, whether or not it may read them; or the one of this name."""
    kinds = _Types(session)
    columns: dict[int, list[_Attribute]] = {}
    for row in session.rows(_ATTRIBUTES, only):
        attribute = _Attribute(*row)
        columns.setdefault(attribute.relation, []).append(attribute)
    keys = dict(session.rows(_KEYS, only))
    tables = [
        _table(row, columns.get(row[0], []), keys.get(row[0], []), kinds)
        for row in session.rows(_TABLES, only)
    ]
    return Schema(tuple(sorted(tables, key=lambda table: table.name)))


def has_rows(place: Place, *, views: bool = True) -> bool:
    """Whether a database has a row in any table or, `views`, materialized view; or a large object.

    Raises: StoreError where it cannot be told.
    """
    with driver_errors("a database of the server"), closing(Session(place)) as session:
        if session.one("SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"):
            return True
        return any(
            session.one(f"SELECT EXISTS (SELECT FROM ONLY {quoted(schema)}.{quoted(table)})")
            for schema, table in session.rows(_USERS_TABLES, views)
        )


LARGE_OBJECTS = 2613  # the oid of pg_largeobject is fixed (pg_largeobject.h)
USERS_OWN = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
_NAMED = """CASE WHEN n.nspname LIKE '%.%' OR c.relname LIKE '%.%'
    THEN '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"'
    ELSE n.nspname || '.' || c.relname END"""  # as `collection_name`
_USERS_TABLES = f"""
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind = 'r' OR $1 AND c.relkind = 'm' AND c.relispopulated) AND c.relpersistence <> 't'
    AND {USERS_OWN}
"""
_READ = f"({USERS_OWN} OR c.oid = {LARGE_OBJECTS}) AND ($1::text IS NULL OR $1::text = {_NAMED})"

_TABLES = f"""
SELECT c.oid::int8, n.nspname::text, c.relname::text, pg_total_relation_size(c.oid), c.relpersistence = 'u'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_READ}
"""
_ATTRIBUTES = f"""
SELECT a.attrelid::int8, a.attnum, a.attname::text, a.atttypid::int8, format_type(a.atttypid, a.atttypmod),
    format_type(a.atttypid, -1)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v' AND c.relkind = 'r' AND {_READ}
ORDER BY a.attrelid, a.attnum
"""
# Unique, without nulls, in the order that ORDER BY and < give; the primary key first, then the narrowest.
# An operator class of the user's own has operators that this session's search_path does not find.
_KEYS = f"""
SELECT DISTINCT ON (i.indrelid) i.indrelid::int8,
    (string_to_array(i.indkey::text, ' ')::int4[])[:i.indnkeyatts]
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
    JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisunique AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL
    AND m.amname = 'btree' AND {_READ}
    AND NOT EXISTS (
        SELECT FROM generate_series(0, i.indnkeyatts - 1) AS k
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
        JOIN pg_opclass o ON o.oid = i.indclass[k]
        WHERE NOT a.attnotnull OR i.indoption[k] <> 0 OR i.indcollation[k] <> a.attcollation
            OR NOT o.opcdefault OR o.opcnamespace <> 'pg_catalog'::regnamespace
    )
ORDER BY i.indrelid, NOT i.indisprimary, i.indnkeyatts, i.indexrelid
"""
_TYPES = """
SELECT t.oid::int8, t.typname::text, t.typtype::text, t.typcategory::text, t.typlen,
    coalesce(nullif(t.typelem, 0), 0)::int8, t.typbasetype::int8, t.typrelid::int8, t.typsend <> 0,
    coalesce(r.rngsubtype, 0)::int8
FROM pg_type t LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
"""
_TYPES_13 = _TYPES.replace("IN (r.rngtypid, r.rngmultitypid)", "= r.rngtypid")
_MEMBERS = """
SELECT a.attrelid::int8, a.atttypid::int8 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped AND c.oid >= 16384
"""


class _Attribute(NamedTuple):
    relation: int
    number: int
    name: str
    type: int
    shown: str
    cast: str


class _Type(NamedTuple):
    oid: int
    name: str
    kind: str  # b base, c composite, d domain, e enum, r range, m multirange, p pseudo
    category: str
    length: int
    element: int
    base: int
    relation: int
    has_binary: bool
    ranged: int

    @property
    def is_array(self) -> bool:
        return self.category == "A" and self.element > 0 and self.length == -1


def _table(row: tuple[Any, ...], columns: list[_Attribute], key: list[int], kinds: _Types) -> Table:
    oid, schema, relation, size, unlogged = row
    named = {column.number: column for column in columns}
    read = [kinds.read(column.type) for column in columns]
    return Table(
        oid,
        schema,
        relation,
        tuple(Column(column.name, column.shown) for column in columns),
        tuple(
            quoted(column.name) + ("" if binary else "::text")
            for column, (_, binary) in zip(columns, read, strict=True)
        ),
        tuple(decoder for decoder, _ in read),
        tuple(KeyPart(named[number].name, named[number].cast) for number in key),
        size,
        unlogged,
    )


class _Types:
    """How values of each type are read."""

    def __init__(self, session: Session) -> None:
        self._plain = types.binary if session.encoding == "SQL_ASCII" else types.text
        query = _TYPES if session.version >= 140000 else _TYPES_13
        self._known = {row[0]: _Type(*row) for row in session.rows(query)}
        self._members: dict[int, list[int]] = {}
        for relation, kind in session.rows(_MEMBERS):
            self._members.setdefault(relation, []).append(kind)
        self._found: dict[int, tuple[types.Decoder, bool]] = {}

    def read(self, oid: int) -> tuple[types.Decoder, bool]:
        """The decoder of a type, and whether the server has a binary form of it."""
        if oid not in self._found:
            binary = self._has_binary(oid, frozenset())
            decoder = (self._scalar(oid) or self._array(oid)) if binary else None
            self._found[oid] = (decoder or types.tagged(self._tag(oid)), binary)
        return self._found[oid]

    def _scalar(self, oid: int) -> types.Decoder | None:
        kind = self._known[oid]
        if kind.kind == "d":
            return self._scalar(kind.base)
        if kind.kind == "e" or oid in _TEXTS or (kind.name == "citext" and kind.category == "S"):
            return self._plain
        if oid == _JSONB:
            return types.jsonb if self._plain is types.text else None
        return _SCALARS.get(oid)

    def _array(self, oid: int) -> types.Decoder | None:
        kind = self._known[oid]
        if kind.kind == "d":
            return self._array(kind.base)
        if not kind.is_array:
            return None
        element = self._scalar(kind.element)
        return types.lists(element, kind.element, self._tag(oid)) if element else None

    def _tag(self, oid: int) -> str:
        return "postgresql:" + quote(self._known[oid].name, safe="_ -")

    def _has_binary(self, oid: int, above: frozenset[int]) -> bool:
        kind = self._known.get(oid)
        if kind is None or not kind.has_binary or oid in above:
            return False
        parts = self._parts(kind)
        return all(self._has_binary(part, above | {oid}) for part in parts)

    def _parts(self, kind: _Type) -> Iterator[int]:
        if kind.kind == "d":
            yield kind.base
        elif kind.is_array:
            yield kind.element
        elif kind.kind == "c":
            yield from self._members.get(kind.relation, [])
        elif kind.ranged:
            yield kind.ranged


_JSONB = 3802
_TEXTS = frozenset((19, 25, 114, 142, 705, 1042, 1043))  # name text json xml unknown bpchar varchar
_SCALARS: dict[int, types.Decoder] = {  # the numbers are fixed (pg_type.dat)
    16: types.booleans,
    17: types.binary,
    20: types.scalar(pa.int64(), ">i8"),
    21: types.scalar(pa.int16(), ">i2"),
    23: types.scalar(pa.int32(), ">i4"),
    26: types.oids,
    700: types.scalar(pa.float32(), ">f4"),
    701: types.scalar(pa.float64(), ">f8"),
    1082: types.dates,
    1083: types.times,
    1114: types.timestamps(pa.timestamp("us"), "timestamp"),
    1184: types.timestamps(pa.timestamp("us", "UTC"), "timestamptz"),
    1186: types.intervals,
    1700: types.numerics,
    2950: types.tagged("postgresql:uuid"),
}
