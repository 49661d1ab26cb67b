"""Estates for the kills: what is in them, what must be gone afterwards, and what must not change."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from small_case import csv, jsonl, parquet, people, person, put, table, values, zipped

BEFORE_2021 = "day < DATE '2021-01-01'"


@dataclass(frozen=True, slots=True)
class KillEstate:
    """A built estate: its tables for the case file, the values that must go, what must stay."""

    stores: str
    gone: tuple[bytes, ...] = field(repr=False)
    stays: Callable[[Path], object] = field(repr=False)  # what of the estate stays, read from its folder


def sqlite_whole(root: Path) -> KillEstate:
    """A database of which nothing stays: its file is destroyed."""
    table(root / "health.db", "visits", people(0, 30))
    table(root / "health.db", "codes", people(100, 12))
    put(root / "bystander.txt", csv(people(900, 5)))
    return KillEstate(
        _store("health", "sqlite:../estate/health.db"),
        tuple(values(people(0, 30) + people(100, 12))),
        lambda at: ((at / "bystander.txt").read_bytes(), (at / "health.db").exists()),
    )


def sqlite_part(root: Path) -> KillEstate:
    """A database with a held table, a table outside the scope's condition, and rows before and after it."""
    table(root / "health.db", "visits", people(0, 30))
    table(root / "health.db", "court", people(200, 6))
    held = (
        '[[hold]]\nby = "District court"\nreference = "21-443"\nstores = ["health"]\n'
        'collections = ["court"]\n\n'
    )
    return KillEstate(
        _store("health", "sqlite:../estate/health.db", rows=BEFORE_2021) + held,
        tuple(values(p for p in people(0, 30) if p.day < "2021")),
        lambda at: _rows(at / "health.db"),
    )


def files_whole(root: Path) -> KillEstate:
    """A folder of every format, of which nothing stays."""
    _every_format(root / "export")
    put(root / "export" / "faces" / "one.jpg", b"\xff\xd8\xff\xe0" + b"".join(values(people(60, 2))) * 9)
    put(root / "bystander" / "letters.txt", csv(people(900, 5)))
    gone = people(0, 60) + people(60, 2)
    return KillEstate(
        _store("export", "files:../estate/export"),
        tuple(values(gone)),
        lambda at: ((at / "bystander" / "letters.txt").read_bytes(), sorted(p.name for p in at.iterdir())),
    )


def files_part(root: Path) -> KillEstate:
    """A folder of which half of each file's records stay, some by their date, some by a court's hold."""
    _every_format(root / "export", packed=False)
    put(root / "held.txt", person(1).identity.encode() + b"\n")
    held = (
        '[[hold]]\nby = "District court"\nreference = "21-443"\nstores = ["export"]\n'
        'subjects = "file:../estate/held.txt"\n\n'
    )
    there = people(0, 20) + people(30, 20)
    gone = [p for p in there if p.day < "2021" and p != person(1)]
    subject = 'subject = { "*" = "id_number" }\n'
    return KillEstate(
        _store("export", "files:../estate/export", rows=BEFORE_2021, more=subject) + held,
        tuple(values(gone)),
        _contents,
    )


def mixed(root: Path) -> KillEstate:
    """A small database and a file: for the stages whose writes do not depend on the store."""
    table(root / "health.db", "visits", people(0, 12))
    put(root / "export" / "a.csv", csv(people(20, 12)))
    return KillEstate(
        _store("health", "sqlite:../estate/health.db") + _store("export", "files:../estate/export"),
        tuple(values(people(0, 12) + people(20, 12))),
        lambda at: sorted(p.name for p in at.rglob("*")),
    )


def one_file(root: Path) -> KillEstate:
    """A store that is one file."""
    put(root / "alone.csv", csv(people(0, 8)))
    put(root / "bystander.csv", csv(people(900, 5)))
    return KillEstate(
        _store("alone", "files:../estate/alone.csv"),
        tuple(values(people(0, 8))),
        _contents,
    )


_ALL = (mixed, sqlite_whole, sqlite_part, files_whole, files_part, one_file)
ESTATES = {build.__name__.replace("_", "-"): build for build in _ALL}


def _store(name: str, url: str, *, rows: str = "", more: str = "") -> str:
    scope = f'scope = {{ rows = "{rows}" }}\n' if rows else ""
    return f'[[store]]\nname = "{name}"\nurl = "{url}"\n{scope}{more}\n'


def _every_format(folder: Path, *, packed: bool = True) -> None:
    put(folder / "a.csv", csv(people(0, 10)))
    put(folder / "b.csv", csv(people(10, 10)))
    put(folder / "table" / "d.parquet", parquet(people(30, 10)))
    put(folder / "old" / "e.csv.gz", gzip.compress(csv(people(40, 10)), mtime=0))
    if packed:  # these have no columns, so that a condition cannot choose their records
        put(folder / "lines" / "c.jsonl", jsonl(people(20, 10)))
        put(folder / "sent" / "f.zip", zipped(people(50, 10)))


def _rows(path: Path) -> object:
    """Every row of a database, with its rowid, as SQLite reads them."""
    with sqlite3.connect(path) as db:
        found = {
            name: db.execute(f"SELECT rowid, * FROM {name} ORDER BY rowid").fetchall()
            for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        }
    db.close()
    return found


def _contents(folder: Path) -> object:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
