"""Live and dead bytes of SQLite files, checked against SQLite itself."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from cenotaph.errors import PermanentStoreError
from cenotaph.residue import sqlite_pages
from cenotaph.residue.sqlite_pages import Database, Ranges

LONG = "x" * 70_000


def connect(path: Path, *pragmas: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=MEMORY", "secure_delete=OFF", *pragmas):
        db.execute(f"PRAGMA {pragma}")
    return db


def parse(path: Path) -> tuple[Database, bytes]:
    data = path.read_bytes()
    return sqlite_pages.parse(io.BytesIO(data), len(data)), data


def places(data: bytes, needle: bytes) -> list[tuple[int, int]]:
    found, at = [], data.find(needle)
    while at >= 0:
        found.append((at, at + len(needle)))
        at = data.find(needle, at + 1)
    return found


def inside(ranges: Ranges, place: tuple[int, int]) -> bool:
    return any(start <= place[0] and place[1] <= end for start, end in ranges.tolist())


def needle(nth: int) -> str:
    return f"needle-{nth:06d}-end"


def fill(db: sqlite3.Connection, count: int = 600) -> None:
    db.execute("CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, note TEXT)")
    db.execute("CREATE INDEX by_name ON people(name)")
    rows = [(n, needle(n), LONG[: 20_000 if n % 50 == 0 else 40]) for n in range(count)]
    db.executemany("INSERT INTO people VALUES(?,?,?)", rows)


def live_and_dead(data: bytes, live: Ranges, numbers: Iterable[int], encoding: str) -> tuple[int, int]:
    counts = [0, 0]
    for n in numbers:
        for place in places(data, needle(n).encode(encoding)):
            counts[0 if inside(live, place) else 1] += 1
    return counts[0], counts[1]


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 16384, 65536])
@pytest.mark.parametrize("auto_vacuum", ["NONE", "FULL", "INCREMENTAL"])
def test_kept_rows_lie_inside_live_ranges_and_deleted_rows_outside(tmp_path, page_size, auto_vacuum):
    """Table and index cells of kept rows are live; what DELETE leaves of the others is not."""
    path = tmp_path / "people.db"
    db = connect(path, f"page_size={page_size}", f"auto_vacuum={auto_vacuum}")
    fill(db)
    db.execute("DELETE FROM people WHERE id % 3 = 0")
    kept = [n for n in range(600) if n % 3]
    parsed, data = parse(path)

    live = sqlite_pages.live_ranges(parsed)

    assert parsed.problems == ()
    alive, stray = live_and_dead(data, live, kept, "utf-8")
    assert alive >= 2 * len(kept)
    gone_alive, gone = live_and_dead(data, live, range(0, 600, 3), "utf-8")
    assert gone > 0, "the residue this test is about is not there"
    assert gone_alive == 0
    assert stray < alive


@pytest.mark.parametrize(("pragma", "codec"), [("UTF-16le", "utf-16-le"), ("UTF-16be", "utf-16-be")])
def test_text_in_utf_16_is_decoded_and_live(tmp_path, pragma, codec):
    """A database in UTF-16 gives the same strings, and their bytes are live."""
    path = tmp_path / "wide.db"
    fill(connect(path, f"encoding='{pragma}'"), 50)
    parsed, data = parse(path)

    names = [record.values[1] for record in sqlite_pages.records(parsed, {"people"})]

    assert sorted(str(name) for name in names) == [needle(n) for n in range(50)]
    alive, _ = live_and_dead(data, sqlite_pages.live_ranges(parsed), range(50), codec)
    assert alive == 100  # splitting a page leaves further, dead copies


def test_records_are_what_sqlite_reads(tmp_path):
    """Every value of every type comes back as SQLite gives it, overflow chains included."""
    path = tmp_path / "types.db"
    db = connect(path, "page_size=512")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, c)")
    numbers = [0, 1, -1, 127, -128, 1 << 15, -(1 << 23), 1 << 31, -(1 << 47), 1 << 62, -(1 << 63)]
    for n in numbers:
        db.execute("INSERT INTO t(a,b,c) VALUES(?,?,?)", (n, n / 3, "字" * (abs(n) % 5000)))
    db.execute("INSERT INTO t(id,a,b,c) VALUES(-5,NULL,?,'')", (b"\x00\xff" * 3000,))
    parsed, _ = parse(path)

    read = {record.rowid: record.values[1:] for record in sqlite_pages.records(parsed, {"t"})}

    assert read == {row[0]: row[1:] for row in db.execute("SELECT id,a,b,c FROM t")}
    assert parsed.problems == ()


def test_held_rows_alone_are_live_when_rows_are_restricted(tmp_path):
    """With a filter on rowids, cells of the other rows are dead in the table and in its indexes."""
    path = tmp_path / "held.db"
    fill(connect(path, "page_size=1024"))
    held = set(range(0, 600, 7))
    parsed, data = parse(path)

    live = sqlite_pages.live_ranges(parsed, {"people"}, {"people": held.__contains__})

    alive, _ = live_and_dead(data, live, held, "utf-8")
    assert alive >= 2 * len(held)
    others = [n for n in range(600) if n not in held]
    assert live_and_dead(data, live, others, "utf-8")[0] == 0
    assert parsed.problems == ()


def test_held_rows_of_a_table_without_rowid(tmp_path):
    """The filter of a WITHOUT ROWID table sees its columns; its second index has a filter of its own."""
    path = tmp_path / "clustered.db"
    db = connect(path, "page_size=512")
    db.execute("CREATE TABLE p(name TEXT PRIMARY KEY, n INT) WITHOUT ROWID")
    db.execute("CREATE INDEX p_n ON p(n, name)")
    db.executemany("INSERT INTO p VALUES(?,?)", [(needle(n), n) for n in range(400)])
    parsed, data = parse(path)
    held = {needle(n) for n in range(0, 400, 5)}

    alone = sqlite_pages.live_ranges(parsed, {"p"}, {"p": lambda row: row[0] in held})
    both = sqlite_pages.live_ranges(
        parsed, {"p"}, {"p": lambda row: row[0] in held, "p_n": lambda row: row[1] in held}
    )

    others = [n for n in range(400) if n % 5]
    assert live_and_dead(data, both, others, "utf-8")[0] == 0
    assert live_and_dead(data, alone, range(0, 400, 5), "utf-8")[0] >= 80
    assert live_and_dead(data, both, range(0, 400, 5), "utf-8")[0] >= 160
    assert len(list(sqlite_pages.records(parsed, {"p"}))) == 400


def test_every_byte_of_an_overflow_chain_is_live_and_dead_once_deleted(tmp_path):
    """A long value is live on each page of its chain; after DELETE no page of it is."""
    path = tmp_path / "long.db"
    db = connect(path, "page_size=1024")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT)")
    body = " ".join(needle(n) for n in range(1000))
    db.execute("INSERT INTO t VALUES(1, ?)", (body,))
    before, data = parse(path)
    alive, dead = live_and_dead(data, sqlite_pages.live_ranges(before), range(1000), "utf-8")
    assert alive > 900  # the others lie across two pages
    assert dead == 0

    db.execute("DELETE FROM t")

    after, data = parse(path)
    alive, dead = live_and_dead(data, sqlite_pages.live_ranges(after), range(1000), "utf-8")
    assert alive == 0
    assert dead > 900
    assert len(sqlite_pages.free_pages(after)) == db.execute("PRAGMA freelist_count").fetchone()[0] > 10
    assert after.problems == ()


def test_rows_on_freed_pages_still_decode(tmp_path):
    """DROP TABLE frees pages; most of their rows can still be read, none of them as live."""
    path = tmp_path / "dropped.db"
    db = connect(path)
    fill(db)
    db.execute("DROP TABLE people")
    parsed, _ = parse(path)

    names = {record.values[1] for record in sqlite_pages.remnants(parsed) if len(record.values) == 3}

    assert len(names & {needle(n) for n in range(600)}) > 500
    assert list(sqlite_pages.records(parsed, {"people"})) == []


def test_names_choose_tables_and_their_indexes(tmp_path):
    """Ranges of one table exclude those of another, and all tables together are all ranges."""
    path = tmp_path / "two.db"
    db = connect(path)
    fill(db, 100)
    db.execute("CREATE TABLE other(name TEXT)")
    db.executemany("INSERT INTO other VALUES(?)", [(needle(n),) for n in range(1000, 1100)])
    parsed, data = parse(path)

    other = sqlite_pages.live_ranges(parsed, {"other"})

    assert live_and_dead(data, other, range(100), "utf-8")[0] == 0
    assert live_and_dead(data, other, range(1000, 1100), "utf-8")[0] == 100


def test_reserved_space_is_never_live(tmp_path):
    """Bytes at the end of each page that SQLite reserves for extensions hide nothing."""
    path = tmp_path / "reserved.db"
    connect(path, "page_size=512", "user_version=1")
    data = bytearray(path.read_bytes())
    data[20] = 32
    data[105:107] = (480).to_bytes(2, "big")  # the empty schema page's content now begins there
    path.write_bytes(data)
    db = connect(path)
    fill(db, 200)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    parsed, data = parse(path)

    live = sqlite_pages.live_ranges(parsed)

    assert parsed.usable == 480
    assert parsed.problems == ()
    assert live_and_dead(data, live, range(200), "utf-8")[0] == 400
    assert len(list(sqlite_pages.records(parsed, {"people"}))) == 200
    covered = np.zeros(len(data), dtype=bool)
    for start, end in live.tolist():
        covered[start:end] = True
    assert not covered.reshape(-1, 512)[:, 480:].any()


def test_a_file_that_is_no_database_is_refused():
    """A wrong magic or an impossible page size raises, and an empty file is an empty database."""
    with pytest.raises(PermanentStoreError, match="does not begin as one"):
        sqlite_pages.parse(io.BytesIO(b"x" * 5000), 5000)
    with pytest.raises(PermanentStoreError, match="impossible page size"):
        sqlite_pages.parse(io.BytesIO(sqlite_pages.MAGIC + b"\x00\x03" + bytes(5000)), 5018)
    assert sqlite_pages.parse(io.BytesIO(b""), 0).tables == ()


def test_a_tree_that_turns_back_on_itself_ends(tmp_path):
    """A right-most pointer to the page's own parent is counted, and the walk ends."""
    path = tmp_path / "loop.db"
    db = connect(path, "page_size=512")
    fill(db, 300)
    root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name='people'").fetchone()[0]
    data = bytearray(path.read_bytes())
    at = (root - 1) * 512
    assert data[at] == 5
    data[at + 8 : at + 12] = root.to_bytes(4, "big")

    parsed = sqlite_pages.parse(io.BytesIO(data), len(data))
    sqlite_pages.live_ranges(parsed)

    assert any(problem.startswith("page reached twice") for problem in parsed.problems)


def test_no_value_or_name_shows_in_repr_or_problems(tmp_path):
    """What a person's row or table is called does not leave in a repr."""
    path = tmp_path / "people.db"
    fill(connect(path), 10)
    parsed, _ = parse(path)
    record = next(sqlite_pages.records(parsed, {"people"}))

    shown = repr(parsed) + repr(parsed.tables) + repr(record)

    assert "needle" not in shown
    assert "people" not in shown
