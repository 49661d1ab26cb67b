"""What a database holds: its tables, what belongs to each, and how their rows are addressed.

What surprised the author: a table may have ordinary columns called rowid, oid and _rowid_ all at once,
and then no SQL can name its rows; and a full-text index whose text lives in another table (external
content) answers queries like a table without being one.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field

from cenotaph.errors import PermanentStoreError
from cenotaph.store import Column
from cenotaph.stores.sqlite.database import quoted


@dataclass(frozen=True, slots=True)
class Table:
    """One collection: a table, or a virtual table with its shadow tables."""

    name: str = field(repr=False)
    format: str  # "table", "without rowid", "fts3" … "fts5", "rtree" …
    columns: tuple[Column, ...]
    key: tuple[str, ...] = field(repr=False)  # SQL expressions that order the rows; empty: no SQL names them
    shadows: tuple[str, ...] = field(repr=False)

    @property
    def full_text(self) -> bool:
        return self.format.startswith("fts")

    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def storage(self) -> tuple[str, ...]:
        """The tables that hold its rows: itself, and its shadows."""
        return (self.name, *self.shadows)


@dataclass(frozen=True, slots=True)
class TextIndex:
    """A full-text index that is not a collection: its text is another table's, or kept nowhere."""

    name: str = field(repr=False)
    content: str | None = field(repr=False)  # None: contentless
    shadows: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables in the order of their names' bytes: a collection's ordinal is its place here."""

    tables: tuple[Table, ...]
    indexes: tuple[TextIndex, ...]
    views: frozenset[str] = field(repr=False)

    def table(self, name: str) -> Table | None:
        return next((table for table in self.tables if table.name == name), None)

    def ordinal(self, name: str) -> int:
        return [table.name for table in self.tables].index(name)


def read(db: sqlite3.Connection) -> Schema:
    """The schema of the main database. Tables of modules that this SQLite does not know are left out;
    their storage then counts as ordinary tables."""
    kinds = _kinds(db)
    modules = {name for (name,) in db.execute("SELECT name FROM pragma_module_list")}
    tables, indexes = [], []
    for name in sorted(kinds, key=str.encode):
        kind, without_rowid = kinds[name]
        if kind == "table":
            tables.append(_table(db, name, "without rowid" if without_rowid else "table"))
        elif kind == "virtual":
            sql = _sql(db, name)
            module = _module(sql)
            if module not in _SHADOWS or module not in modules:
                continue
            shadows = _shadows(name, module, kinds)
            content = _content(sql) if module.startswith("fts") else None
            if content is None:
                tables.append(_table(db, name, module, shadows))
            else:
                indexes.append(TextIndex(name, content or None, shadows))
    views = frozenset(name for name, (kind, _) in kinds.items() if kind == "view")
    return Schema(tuple(tables), tuple(indexes), views)


def stored_columns(db: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """Those that hold data: no hidden columns of virtual tables, no generated column that is not stored."""
    found = db.execute("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden IN (0, 3)", (table,))
    return tuple(Column(name, kind) for name, kind in found)


def key_of(
    db: sqlite3.Connection, table: str, columns: tuple[Column, ...], without_rowid: bool
) -> tuple[str, ...]:
    """SQL expressions that order a table's rows without ties; empty where no SQL can."""
    if without_rowid:
        index = db.execute("SELECT name FROM pragma_index_list(?) WHERE origin = 'pk'", (table,)).fetchone()
        parts = db.execute(
            "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno", (index[0],)
        ).fetchall()
        return tuple(f"{quoted(name)} COLLATE {quoted(collation)}" for name, collation in parts)
    taken = {column.name.lower() for column in columns}
    for alias in ("rowid", "_rowid_", "oid"):
        if alias not in taken:
            return (alias,)
    alias = db.execute(
        "SELECT name FROM pragma_table_xinfo(?1) WHERE pk AND upper(type) = 'INTEGER'"
        " AND (SELECT count(*) FROM pragma_table_xinfo(?1) WHERE pk) = 1"
        " AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')",
        (table,),
    ).fetchone()
    return (quoted(alias[0]),) if alias else ()


def needs_key(table: Table, ordinal: int) -> None:
    """Raises:
    PermanentStoreError: no SQL can name the table's rows.
    """
    if not table.key:
        raise PermanentStoreError(
            f"collection {ordinal} has columns named rowid, oid and _rowid_, and no SQL can name its rows",
            hint="give it a primary key, or rename one of the three columns",
        )


_OF_TEXT = ("content", "segments", "segdir", "docsize", "stat")
_OF_TREE = ("node", "parent", "rowid")
_SHADOWS = {
    "fts3": _OF_TEXT,
    "fts4": _OF_TEXT,
    "fts5": ("data", "idx", "content", "docsize", "config"),
    "rtree": _OF_TREE,
    "rtree_i32": _OF_TREE,
    "geopoly": _OF_TREE,
}
_QUOTED = r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\])"""
_NAME = rf"""(?:{_QUOTED}|[^\s("'`\[]+)"""
_VIRTUAL = re.compile(
    rf"\s*CREATE\s+VIRTUAL\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s+USING\s+(\w+)", re.I
)
_CONTENT = re.compile(rf"[(,]\s*content\s*=\s*({_QUOTED}|\w+)?", re.I)


def _kinds(db: sqlite3.Connection) -> dict[str, tuple[str, bool]]:
    found = db.execute(
        "SELECT name, type, wr FROM pragma_table_list"
        " WHERE schema = 'main' AND substr(name, 1, 7) <> 'sqlite_' COLLATE NOCASE"
    )
    return {name: (kind, bool(without_rowid)) for name, kind, without_rowid in found}


def _table(db: sqlite3.Connection, name: str, kind: str, shadows: tuple[str, ...] = ()) -> Table:
    columns = stored_columns(db, name)
    return Table(name, kind, columns, key_of(db, name, columns, kind == "without rowid"), shadows)


def _sql(db: sqlite3.Connection, name: str) -> str:
    row = db.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)).fetchone()
    return str(row[0])


def _module(sql: str) -> str:
    match = _VIRTUAL.match(sql)
    return match[1].lower() if match else ""


def _content(sql: str) -> str | None:
    """The `content` option of a full-text table: None if it keeps its own text, "" if it keeps none."""
    match = _VIRTUAL.match(sql)
    option = _CONTENT.search(sql, match.end()) if match else None
    if option is None:
        return None
    return _unquoted(option[1] or "")


def _unquoted(name: str) -> str:
    if name[:1] in ("'", '"', "`"):
        return name[1:-1].replace(name[0] * 2, name[0])
    return name[1:-1] if name[:1] == "[" else name


def _shadows(name: str, module: str, kinds: dict[str, tuple[str, bool]]) -> tuple[str, ...]:
    wanted = {f"{name}_{suffix}".lower() for suffix in _SHADOWS[module]}
    return tuple(other for other in sorted(kinds) if other.lower() in wanted)
