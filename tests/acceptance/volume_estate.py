"""An estate on a scratch volume: live stores, and everything that earlier deletions left in its blocks.

Each *place* has people of its own, so that what is found can be told by place. Half of an old deletion's
people are also in a live register, so a seal knows them; the other half no seal knows. One value of each
person (their *needle*) is written nowhere but in their place.

What surprised its author: what a deletion leaves, the next write destroys. So everything is written before
anything is deleted, all transactions that delete are open at once, and names go last, for they stay in the
file system's journal only until it comes round.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from cenotaph.testing.city_people import People, make_people
from cenotaph.testing.city_write import crashing, picture

SPARE = 1.5  # people drawn for each one needed: some numbers cannot be sought as binary integers
PAGEFUL = 40  # rows that fill a database's last page: one that is nearly empty is merged with its neighbour
FEW = 5  # live rows in databases that are there for their residue
BLOCK = 4096
_INTO_LAST_BLOCK = 500  # bytes of a kept file in its last block; what follows is tail


@dataclass(frozen=True)
class Place:
    """People whose data lies, or lay, in one place of the volume, written one way."""

    name: str
    who: People = field(repr=False)
    form: str  # of the needle: "mobile", "mobile utf-16", "address gb18030", "number be", "number le"
    kept: bool = False  # stays: under a hold, or a bystander's

    def needles(self) -> dict[bytes, int]:
        """The value that only this place holds, as it is written there, for each person."""
        return {_written(self.form, self.who, n): n for n in range(len(self.who))}

    def texts(self) -> list[str]:
        """What only this place holds, as text: of those who are there as integers, the mobile number too."""
        column = self.who.addresses if self.form.startswith("address") else self.who.mobile_texts
        return [str(text) for text in column]

    def values(self) -> dict[bytes, int]:
        """Every value of each person, in every form of writing."""
        forms = (*_TEXTS, *(_INTEGERS if self.form in _INTEGERS else ()))
        return {_written(form, self.who, n): n for n in range(len(self.who)) for form in forms}


@dataclass(frozen=True)
class Store:
    """A store of the case. `more` are further lines of its table."""

    name: str
    url: str
    more: tuple[str, ...] = ()


@dataclass
class VolumeEstate:
    """What was built. `tails` are bytes to be written into the device while it is not mounted."""

    root: Path
    places: dict[str, Place] = field(default_factory=dict)
    stores: list[Store] = field(default_factory=list)
    bystanders: list[Path] = field(default_factory=list)  # files that nobody may change
    kept: list[Path] = field(default_factory=list)  # files and folders that the case must name as kept
    held: tuple[str, ...] = ()
    tails: list[tuple[int, bytes]] = field(default_factory=list)

    def sought(self) -> set[bytes]:
        """Every value of every person of every place, for outside referees."""
        return {value for place in self.places.values() for value in place.values()}

    def texts(self) -> set[str]:
        """What a search that knows encodings is given: all numbers, and what only one place holds."""
        return {text for p in self.places.values() for text in (*p.who.ids.tolist(), *p.texts())}

    def by_place(self, found: set[bytes]) -> dict[str, int]:
        """People of each place of whom the needle is among what was found."""
        return {p.name: len({n for v, n in p.needles().items() if v in found}) for p in self.places.values()}

    def traces(self, found: set[bytes]) -> dict[str, int]:
        """People of each place of whom any value is among what was found."""
        return {p.name: len({n for v, n in p.values().items() if v in found}) for p in self.places.values()}

    def plant_tails(self, device: Path) -> None:
        """Write the tails into the unmounted device."""
        with device.open("r+b", buffering=0) as raw:
            for offset, data in self.tails:
                os.pwrite(raw.fileno(), data, offset)
            os.fsync(raw.fileno())


def build(root: Path, count: int, seed: int = 46_864) -> VolumeEstate:
    """Fill a mounted, empty volume with `count` people a place. Afterwards unmount it and plant the tails."""
    return _Builder(root, count, seed).build()


# ── how values are written ───────────────────────────────────────────────────────────────────────

_TEXTS = ("id", "mobile", "address", "address gb18030", "id utf-16", "mobile utf-16")
_INTEGERS = ("number be", "number le")


def _written(form: str, who: People, n: int) -> bytes:
    what, _, how = form.partition(" ")
    if what == "number":
        return int(who.ids[n]).to_bytes(8, "big" if how == "be" else "little")
    column = {"id": who.ids, "mobile": who.mobile_texts, "address": who.addresses}[what]
    # Of UTF-16, one order finds both: in the other, the neighbour's zero stands for the missing one.
    return str(column[n]).encode({"utf-16": "utf-16-le"}.get(how, how or "utf-8"))


def _as_integers(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Positions of people whose number greps as an integer (no X, no line end), and of the others."""
    able = [not number.endswith("X") and b"\n" not in int(number).to_bytes(8, "big") for number in people.ids]
    return np.flatnonzero(able), np.flatnonzero(~np.array(able))


# ── formats ──────────────────────────────────────────────────────────────────────────────────────

_COLUMNS = ("id_number", "name", "mobile", "address", "day")


def _rows(who: People) -> list[tuple[str, ...]]:
    days = [f"2022-{1 + n % 12:02d}-{1 + n % 28:02d}" for n in range(len(who))]
    columns = (who.ids, who.names, who.mobile_texts, who.addresses, days)
    return list(zip(*(map(str, column) for column in columns), strict=True))


def _csv(who: People) -> str:
    return "".join(",".join(row) + "\n" for row in (_COLUMNS, *_rows(who)))


def _jsonl(who: People) -> str:
    rows = (dict(zip(_COLUMNS, row, strict=True)) for row in _rows(who))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _parquet(compression: str) -> Callable[[People], bytes]:
    def write(who: People) -> bytes:
        columns = zip(*_rows(who), strict=True)
        sink = io.BytesIO()
        table = pa.table({name: list(column) for name, column in zip(_COLUMNS, columns, strict=True)})
        pq.write_table(table, sink, compression=compression)
        return sink.getvalue()

    return write


def _zip(who: People) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("export.csv", (2022, 12, 13, 4, 0, 0)), _csv(who))
    return sink.getvalue()


def _integers_le(who: People) -> bytes:
    pairs = np.column_stack([np.array([int(number) for number in who.ids]), who.mobiles])
    return b"POS1" + pairs.astype("<i8").tobytes()


# What a file was, before somebody deleted it: suffix, form of its needles, writer.
_FILES: dict[str, tuple[str, str, Callable[[People], bytes]]] = {
    "csv": ("csv", "mobile", lambda who: _csv(who).encode()),
    "csv, utf-16": ("csv", "mobile utf-16", lambda who: _csv(who).encode("utf-16")),
    "csv, gb18030": ("csv", "address gb18030", lambda who: _csv(who).encode("gb18030")),
    "json lines": ("jsonl", "mobile", lambda who: _jsonl(who).encode()),
    "gzip": ("csv.gz", "mobile", lambda who: gzip.compress(_csv(who).encode(), mtime=0)),
    "zip": ("zip", "mobile", _zip),
    "zstd": ("csv.zst", "mobile", lambda who: zstandard.compress(_csv(who).encode())),
    "lz4": ("csv.lz4", "mobile", lambda who: lz4.frame.compress(_csv(who).encode())),
    "parquet, zstd": ("zstd.parquet", "mobile", _parquet("zstd")),
    "parquet, snappy": ("snappy.parquet", "mobile", _parquet("snappy")),
    "integers, little-endian": ("dat", "number le", _integers_le),
}
_LIVE_FILES = [name for name in _FILES if name != "lz4"]  # a store of files reads all but this one


# ── the builder ──────────────────────────────────────────────────────────────────────────────────


class _Builder:
    def __init__(self, root: Path, count: int, seed: int) -> None:
        self.count = count
        self.rng = np.random.default_rng(seed)
        self.estate = VolumeEstate(root)
        self._pool = self._people(int(count * 60 * SPARE) + 1000)
        self._able, self._rest = (list(map(int, part)) for part in _as_integers(self._pool))
        self._old: list[People] = []  # sealed halves of what was deleted

    def build(self) -> VolumeEstate:
        for write in (self._exports, self._photos, self._lone_file, self._bystanders, self._databases):
            write()
        doomed = [
            self._deleted_files(),
            self._small_files(),
            self._rewritten(),
            self._temporary(),
            self._names(),
        ]
        tails = self._tail_files()
        with contextlib.ExitStack() as stack:
            self._journals([stack.enter_context(self._journal(mode)) for mode in _JOURNALS])
        for delete in doomed:
            delete()
        os.sync()
        self.estate.tails = tails()
        self.estate.stores.sort(key=lambda store: store.name)
        return self.estate

    def _journals(self, deleting: list[sqlite3.Connection]) -> None:
        with _opened(self._at("apps/register/register.db"), "delete") as register:
            self._register(register)
        for db in deleting:
            db.execute("BEGIN")
            db.execute("DELETE FROM visits WHERE gone = 1")
        os.sync()  # every journal has its blocks before the first is given back
        for db in deleting:
            db.execute("COMMIT")
            db.close()  # of a write-ahead log, when it goes into the database

    # people

    def _people(self, count: int) -> People:
        """People whose addresses are their own: the generator's may have neighbours behind one door."""
        people = make_people(count, self.rng)
        own = [f"{address}{n:06d}户" for n, address in enumerate(people.addresses)]
        people.addresses[:] = own
        return people

    def _take(self, count: int, *, integers: bool = False) -> People:
        source = self._able if integers or len(self._rest) < count else self._rest
        chosen, source[:] = source[:count], source[count:]
        assert len(chosen) == count, "the pool of people is too small"
        return self._pool.of(np.array(chosen))

    def _place(self, name: str, form: str = "mobile", *, old: bool = False, kept: bool = False) -> People:
        """People of a new place; of an old deletion's, every second will also be in the register."""
        who = self._take(self.count, integers=form.startswith("number"))
        self.estate.places[name] = Place(name, who, form, kept)
        if old:
            self._old.append(who.of(slice(0, None, 2)))
        return who

    def _at(self, path: str) -> Path:
        whole = self.estate.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        return whole

    def _put(self, path: str, data: bytes) -> Path:
        whole = self._at(path)
        whole.write_bytes(data)
        return whole

    def _store(self, name: str, url: str, *more: str) -> None:
        self.estate.stores.append(Store(name, f"{url.split(':')[0]}:{self._at(url.split(':')[1])}", more))

    # live stores of files, and neighbours

    def _exports(self) -> None:
        for number, name in enumerate(_LIVE_FILES):
            suffix, form, write = _FILES[name]
            self._put(f"exports/2022/{number:02d}.{suffix}", write(self._place(f"live {name}", form)))
        self._store("exports", "files:exports")

    def _photos(self) -> None:
        for who in self._named(self._place("live file names")):
            self._put(f"photos/{who}.jpg", picture(self.rng, 900, ""))
        self._store("photos", "files:photos")

    def _named(self, who: People) -> list[str]:
        return [f"{n}-{m}" for n, m in zip(who.ids, who.mobile_texts, strict=True)]

    def _lone_file(self) -> None:
        self._put("shared/hotline.csv", _csv(self._place("live csv beside others")).encode())
        self._store("hotline", "files:shared/hotline.csv")
        for number in range(4):
            self._bystander(f"shared/minutes-{number}.txt", self._prose(9_000))

    def _bystanders(self) -> None:
        for number in range(3):
            self._bystander(f"library/book-{number}.bin", self.rng.bytes(60_000))
        kept = self._place("kept bystander", kept=True)
        self._bystander("payroll/staff.csv", _csv(kept).encode())
        self._bystander("payroll/staff.csv.gz", gzip.compress(_csv(kept).encode(), mtime=0))
        self.estate.kept.append(self._at("payroll"))

    def _bystander(self, path: str, data: bytes) -> None:
        self.estate.bystanders.append(self._put(path, data))

    def _prose(self, size: int) -> bytes:
        """Text without a number in it."""
        words = ("the", "lake", "was", "calm", "and", "boats", "lay", "at", "their", "moorings")
        return (" ".join(self.rng.choice(words, size // 3)) + " " * size).encode()[:size]

    # databases

    def _databases(self) -> None:
        for name, fill in (
            ("tests", self._rows_deleted),
            ("pos", self._integers),
            ("notes", self._full_text),
        ):
            with self._app(name) as db:
                fill(db)
        with self._app("quarantine", "delete", "OFF", 'subject = { visits = "id_number" }') as db:
            self._held(db)
        with self._app("wal") as db:
            _insert(db, "visits", live=self._place("live sqlite"))
        with crashing(self._at("apps/wal/wal.db")) as db:
            _insert(db, "visits", live=self._place("live sqlite wal"))
        self._store("register", "sqlite:apps/register/register.db")

    @contextlib.contextmanager
    def _app(
        self, name: str, journal: str = "delete", secure_delete: str = "OFF", *more: str
    ) -> Iterator[sqlite3.Connection]:
        path = f"apps/{name}/{name}.db"
        with _opened(self._at(path), journal, secure_delete) as db:
            yield db
        self._store(name, f"sqlite:{path}", *more)

    def _rows_deleted(self, db: sqlite3.Connection) -> None:
        """Rows deleted years ago between those that live, and a dropped table."""
        live, gone = self._place("live sqlite beside deleted"), self._place("sqlite, rows deleted", old=True)
        _insert(db, "visits", live=live, gone=gone)
        _insert(db, "visits", live=self._take(PAGEFUL))
        _table(db, "archive")
        _insert(db, "archive", gone=self._place("sqlite, table dropped", old=True))
        db.execute("DELETE FROM visits WHERE gone = 1")
        db.execute("DROP TABLE archive")

    def _integers(self, db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE checks (id_number INTEGER, mobile INTEGER, gone INTEGER)")
        live = self._place("live sqlite integers", "number be")
        gone = self._place("sqlite integers, rows deleted", "number be", old=True)
        with _transaction(db):
            for numbers in zip(live.ids, live.mobiles, gone.ids, gone.mobiles, strict=True):
                row = [int(number) for number in numbers]
                db.execute("INSERT INTO checks VALUES (?,?,0), (?,?,1)", row)
            db.executemany("INSERT INTO checks VALUES (?,?,0)", [(0, 0)] * 10 * PAGEFUL)
        db.execute("DELETE FROM checks WHERE gone = 1")

    def _full_text(self, db: sqlite3.Connection) -> None:
        db.execute("CREATE VIRTUAL TABLE notes USING fts5(body)")
        live, gone = (
            self._place("live sqlite full text"),
            self._place("sqlite full text, rows deleted", old=True),
        )
        with _transaction(db):
            for pair in zip(_rows(live), _rows(gone), strict=True):
                db.execute("INSERT INTO notes (body) VALUES (?), (?)", [" ".join(row) for row in pair])
            db.executemany("INSERT INTO notes (body) VALUES (?)", [("closed " * 20,)] * PAGEFUL)
        db.execute("DELETE FROM notes WHERE rowid % 2 = 0 AND rowid <= ?", (2 * self.count,))

    def _held(self, db: sqlite3.Connection) -> None:
        held = self._place("held", kept=True)
        _insert(db, "visits", live=self._place("live sqlite beside held"))
        _insert(db, "visits", live=held)
        self.estate.held = tuple(held.ids)

    def _register(self, db: sqlite3.Connection) -> None:
        """The live register, in which half of the people stand who were deleted elsewhere."""
        db.execute("CREATE TABLE residents (id_number TEXT, name TEXT)")
        with _transaction(db):
            for who in self._old:
                db.executemany("INSERT INTO residents VALUES (?,?)", zip(who.ids, who.names, strict=True))

    @contextlib.contextmanager
    def _journal(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A database that overwrites what it deletes: only its journal keeps the rows."""
        old = self._place(f"sqlite journal_mode={mode}", old=True)
        with self._app(f"app-{mode}", mode, "ON") as db:
            _insert(db, "visits", live=self._take(FEW))
            _insert(db, "visits", gone=old)
            yield db

    # files deleted before the case

    def _deleted_files(self) -> Callable[[], None]:
        doomed = [self._deleted_database()]
        for name, (suffix, form, write) in _FILES.items():
            who = self._place(f"deleted {name}", form, old=True)
            doomed.append(self._put(f"exports/2020/old-{len(doomed)}.{suffix}", write(who)))
        who = self._place("deleted file, a person a block", old=True)
        blocks = [line.encode() + self.rng.bytes(BLOCK - len(line)) for line in self._named(who)]
        doomed.append(self._put("exports/2020/stream.bin", b"".join(blocks)))

        def finish() -> None:
            for path in doomed:
                path.unlink()

        return finish

    def _deleted_database(self) -> Path:
        path = self._at("exports/2020/old.db")
        with _opened(path, "delete", "OFF") as db:
            _insert(db, "visits", live=self._place("deleted sqlite", old=True))
        return path

    def _small_files(self) -> Callable[[], None]:
        """Many small files in a folder that goes: what they hold, and below what they are called."""
        who = self._place("contents of deleted small files", old=True)
        for number, row in enumerate(_rows(who)):
            self._put(f"exports/inbox/{number}.json", json.dumps(row, ensure_ascii=False).encode())
        return lambda: shutil.rmtree(self.estate.root / "exports/inbox")

    def _rewritten(self) -> Callable[[], None]:
        """A file that was written anew, through a temporary one, and a file that was cut."""
        anew = self._put("exports/roster.csv", _csv(self._place("file written anew", old=True)).encode())
        # What the file system keeps of the block where it cuts, it blanks; so that one holds nobody.
        lost = _csv(self._place("file cut short", old=True)).encode()
        cut = self._put("exports/log.txt", self._prose(BLOCK) + lost)
        live = _csv(self._take(FEW)).encode()
        self._put("exports/roster.csv.new", live)

        def finish() -> None:
            anew.with_name("roster.csv.new").replace(anew)
            os.truncate(cut, BLOCK)

        return finish

    def _temporary(self) -> Callable[[], None]:
        """A temporary file that lost its name before it was closed."""
        path = self._at("exports/sort.tmp")
        stream = path.open("wb")
        path.unlink()
        stream.write(_csv(self._place("temporary file", old=True)).encode())
        stream.flush()
        os.fsync(stream.fileno())
        return stream.close

    def _names(self) -> Callable[[], None]:
        """Files whose names are people, deleted: with their folder, from a store's folder, from a shared one.

        Each person has three, written at different times: where a sector of the log ends, a name is broken.
        """
        folders = {
            "exports/scans": self._named(self._place("names, folder removed", old=True)),
            "photos": self._named(self._place("names, store's folder", old=True)),
            "shared": self._named(self._place("names, shared folder", old=True)),
        }
        made = [
            [self._at(f"{folder}/{name}{side}.jpg") for folder, names in folders.items() for name in names]
            for side in ("", "-back", "-thumb")
        ]
        for paths in made:
            for path in paths:
                path.touch()
            os.sync()

        def finish() -> None:
            for paths in made:
                for path in paths:
                    path.unlink()
                os.sync()
            (self.estate.root / "exports/scans").rmdir()

        return finish

    # tails

    def _tail_files(self) -> Callable[[], list[tuple[int, bytes]]]:
        """Files whose last block has room, and what somebody's earlier file left in it."""
        room = BLOCK - _INTO_LAST_BLOCK
        planted: list[tuple[Path, bytes]] = []
        for folder, place in (
            ("shared", "tails, neighbours"),
            ("payroll", "tails, kept files"),
            ("exports/2021", "tails, live files"),
        ):
            rows = [name.encode() + b"\n" for name in self._named(self._place(place, old=True))]
            each = room // len(rows[0]) - 1
            for at in range(0, len(rows), each):
                data = self._prose(2 * BLOCK + _INTO_LAST_BLOCK)
                path = self._put(f"{folder}/notice-{at}.txt", data)
                if not folder.startswith("exports"):
                    self.estate.bystanders.append(path)
                if folder == "shared":  # nobody but the case's author can know that it stays
                    self.estate.kept.append(path)
                planted.append((path, b"".join(rows[at : at + each])))

        def plan() -> list[tuple[int, bytes]]:
            return [(_end_on_disk(path), data) for path, data in planted]

        return plan


_JOURNALS = ("wal", "delete", "truncate", "persist")  # the first makes its database grow, so it goes first


@contextlib.contextmanager
def _opened(path: Path, journal: str, secure_delete: str = "OFF") -> Iterator[sqlite3.Connection]:
    """A new database. `secure_delete` is said explicitly: some distributions compile it in."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in (f"journal_mode={journal}", f"secure_delete={secure_delete}", "wal_autocheckpoint=0"):
        db.execute(f"PRAGMA {pragma}")
    _table(db, "visits")
    yield db
    db.close()


def _table(db: sqlite3.Connection, name: str) -> None:
    db.execute(
        f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, id_number TEXT, name TEXT, mobile TEXT, address TEXT,"
        " day TEXT, gone INTEGER)"
    )


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """One journal, not one a row: each would leave copies of its own."""
    db.execute("BEGIN")
    yield
    db.execute("COMMIT")


def _insert(
    db: sqlite3.Connection, table: str, *, live: People | None = None, gone: People | None = None
) -> None:
    """Rows that live, and rows that will be deleted, by turns: a page that empties is written anew."""
    rows = [[(*row, flag) for row in _rows(who)] for flag, who in enumerate((live, gone)) if who is not None]
    turns = [row for pair in zip(*rows, strict=True) for row in pair]
    with _transaction(db):
        db.executemany(f"INSERT INTO {table} ({', '.join(_COLUMNS)}, gone) VALUES (?,?,?,?,?,?)", turns)


_EXTENT = re.compile(r"^\s*\d+:\s+\d+\.\.\s*(\d+):\s+(\d+)\.\.\s*(\d+):")


def _end_on_disk(path: Path) -> int:
    """Where on the device the first byte behind a file's end lies, by filefrag(8)."""
    said = subprocess.run(
        ["filefrag", "-v", "-b4096", str(path)], check=True, capture_output=True, text=True
    ).stdout
    size = path.stat().st_size
    for line in said.splitlines():
        if (found := _EXTENT.match(line)) and int(found[1]) >= (size - 1) // BLOCK:
            behind = int(found[1]) - (size - 1) // BLOCK
            return (int(found[3]) - behind) * BLOCK + size % BLOCK
    raise AssertionError("filefrag shows no last block of a file")
