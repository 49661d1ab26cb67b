"""Erasing from SQLite leaves nothing in any file of the folder, and everything else as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlite_case import (
    GONE,
    STAY,
    Diary,
    Sealed,
    create,
    destroy,
    found,
    names,
    rows_of,
    seal,
    two_tables,
    url,
)

from cenotaph.durable import overwrite
from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.scope import EVERYTHING, Hold, Selection, parse_predicate
from cenotaph.store import Class
from cenotaph.stores.sqlite import open_eraser, open_reader
from cenotaph.stores.sqlite.database import Place
from cenotaph.stores.sqlite.reader import capabilities

JOURNALS = ("delete", "truncate", "persist", "memory", "wal")


@pytest.mark.parametrize("secure_delete", ["off", "fast", "on"])
@pytest.mark.parametrize("journal", JOURNALS)
class TestEveryJournalMode:
    def test_one_table_of_two_goes(self, tmp_path, journal, secure_delete):
        """None of the gone rows is left in any file; the other table is as it was, rowids included."""
        path = tmp_path / "app.db"
        two_tables(path, journal=journal, secure_delete=secure_delete).close()
        before = rows_of(path, "stay")
        assert found(tmp_path, GONE) == set(GONE)  # positive control

        erasures, reclamation = destroy(path, Selection(collections=("gone",)))

        assert found(tmp_path, GONE) == set()
        assert rows_of(path, "stay") == before
        assert rows_of(path, "gone") == []
        assert [(e.records, e.destroyed_as) for e in erasures] == [(400, Class.AS_SEALED)]
        assert reclamation.reached is capabilities(Place.of(url(path))).grade
        assert names(tmp_path) == ["app.db"]
        mode = sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone()[0]
        assert mode == ("wal" if journal == "wal" else "delete")

    def test_everything_goes(self, tmp_path, journal, secure_delete):
        """The whole file is overwritten and gone, and the folder empty."""
        path = tmp_path / "app.db"
        two_tables(path, journal=journal, secure_delete=secure_delete).close()
        size = os.stat(path).st_blocks * 512

        _, reclamation = destroy(path)

        assert names(tmp_path) == []
        assert reclamation.freed_bytes == size
        assert reclamation.overwritten_bytes >= size


def through_open_descriptor(path):
    """The content of a file that is open here under a lease: opening it again would wait for the lease."""
    info = os.stat(path)
    for fd in (int(link.name) for link in Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(fd), info):
                return os.pread(fd, info.st_size, 0)
    return Path(os.fsdecode(path)).read_bytes()


def test_what_was_left_open_is_overwritten_too(tmp_path, monkeypatch):
    """The blocks of the old database, its journal and its log hold zeros when they are given back."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    unlinked: dict[str, bytes] = {}
    unlink = os.unlink

    def keep(name, **kwargs):
        target = name if not kwargs else tmp_path / os.fsdecode(name)
        unlinked[os.fsdecode(name)] = through_open_descriptor(target)
        unlink(name, **kwargs)

    monkeypatch.setattr(os, "unlink", keep)
    destroy(path, Selection(collections=("gone",)))

    assert len(unlinked) >= 2  # the journal and the old database
    assert all(content.count(0) == len(content) for content in unlinked.values())
    assert max(map(len, unlinked.values())) > 100_000


def test_a_log_with_rows_in_it_is_overwritten(tmp_path):
    """Rows that only the log of a killed program holds are sealed, erased and not left behind."""
    path = tmp_path / "app.db"
    db = two_tables(tmp_path / "live.db", journal="wal")
    for suffix in ("", "-wal"):  # as a kill would leave them: no checkpoint, no -shm
        shutil.copyfile(f"{tmp_path}/live.db{suffix}", f"{path}{suffix}")
    db.close()
    (tmp_path / "live.db").unlink()
    assert found(tmp_path, GONE) == set(GONE)

    erasures, _ = destroy(path, Selection(collections=("gone",)))

    assert erasures[0].records == 400
    assert found(tmp_path, GONE) == set()
    assert len(rows_of(path, "stay")) == 400


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_journals_and_logs_are_overwritten_before_they_are_cut(tmp_path, monkeypatch, journal):
    """Not only gone from the folder: their blocks held zeros when they went back to the file system."""
    path = tmp_path / "app.db"
    two_tables(path, journal=journal).close()
    overwritten: list[str] = []

    def spy(fd: int, length: int) -> int:
        content = os.pread(fd, length, 0)
        if any(needle.encode() in content for needle in GONE + STAY):
            overwritten.append(os.readlink(f"/proc/self/fd/{fd}"))
        count = overwrite(fd, length)
        assert os.pread(fd, length, 0) == bytes(length)
        return count

    monkeypatch.setattr("cenotaph.stores.sqlite.session.overwrite", spy)
    destroy(path, Selection(collections=("gone",), rows=parse_predicate("id < 600")))

    assert f"{path}-{'wal' if journal == 'wal' else 'journal'}" in overwritten


def test_a_contentless_index_goes_where_it_is_in_scope(tmp_path):
    """It has no rows to read, only words: nothing of it is left if the scope names it, all of it if not."""
    path = tmp_path / "app.db"
    db = create(
        path,
        "CREATE TABLE gone (a); CREATE TABLE stay (a); CREATE VIRTUAL TABLE words USING fts5(a, content='')",
    )
    words = [needle.replace("-", "") for needle in GONE]
    db.execute("INSERT INTO gone VALUES (1)")
    db.executemany("INSERT INTO words (rowid, a) VALUES (?, ?)", list(enumerate(words)))
    db.close()
    inner = [word[8:18] for word in words]
    assert len(found(tmp_path, inner)) > 300  # positive control; prefixes are compressed

    destroy(path, Selection(collections=("gone",)))
    query = "SELECT rowid FROM words WHERE words MATCH ?"
    db = sqlite3.connect(path)
    assert db.execute(query, (words[30],)).fetchall() == [(30,)]
    db.close()
    destroy(path, Selection(collections=("gone", "words")))
    assert found(tmp_path, inner) == set()


def test_rows_deleted_years_ago_go_too(tmp_path):
    """Freed pages and slack of the old file are gone, although no table held them any more."""
    path = tmp_path / "app.db"
    db = two_tables(path)
    db.executescript(
        "DELETE FROM gone; DROP TABLE gone; CREATE TABLE other (a); INSERT INTO other VALUES (1)"
    )
    db.close()
    assert found(tmp_path, GONE)  # positive control

    destroy(path, Selection(collections=("other",)))

    assert found(tmp_path, GONE) == set()
    assert found(tmp_path, STAY) == set(STAY)


def test_rows_by_predicate_and_holds(tmp_path):
    """Only what the predicate selects and no hold keeps goes; the rest is the same, value by value."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    held = GONE[10]
    selection = Selection(
        collections=("gone",),
        rows=parse_predicate("id < 600"),
        holds=(Hold(rows=parse_predicate(f"name = '{held}'")),),
    )
    before = rows_of(path, "gone")
    collection = open_reader(url(path), selection).collections()[0]
    assert (collection.records, collection.held, collection.kept) == (199, 1, 200)

    destroy(path, selection)

    expected = [row for row in before if row[1] >= 600 or row[2] == held]
    assert rows_of(path, "gone") == expected
    assert found(tmp_path, GONE) == {held, *GONE[200:]}
    integrity = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert integrity == ("ok",)


def test_triggers_do_not_run_and_are_restored(tmp_path):
    """A trigger that copies deleted rows into a history does not, and its text is what it was."""
    path = tmp_path / "app.db"
    db = two_tables(path)
    db.executescript(
        """CREATE TABLE history (name);
        CREATE TRIGGER "keep it" AFTER DELETE ON gone BEGIN
          INSERT INTO history VALUES (old.name); END;
        CREATE TEMP TRIGGER mine AFTER DELETE ON gone BEGIN SELECT 1; END;"""
    )
    before = db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    db.execute("DELETE FROM gone WHERE id = 0")
    assert db.execute("SELECT * FROM history").fetchall() == [(GONE[0],)]  # positive control
    db.execute("DELETE FROM history")
    db.close()

    erasures, _ = destroy(path, Selection(collections=("gone",)))

    db = sqlite3.connect(path)
    assert db.execute("SELECT * FROM history").fetchall() == []
    assert db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall() == before
    assert "1 triggers did not run" in erasures[0].notes[0]
    assert found(tmp_path, GONE) == set()


def test_foreign_keys_do_not_cascade(tmp_path):
    """Rows of another table that point to erased ones stay: nobody approved their erasure."""
    path = tmp_path / "app.db"
    create(
        path,
        """CREATE TABLE person (id INTEGER PRIMARY KEY);
        CREATE TABLE visit (person REFERENCES person ON DELETE CASCADE, place);
        INSERT INTO person VALUES (1); INSERT INTO visit VALUES (1, 'here');""",
    ).close()

    destroy(path, Selection(collections=("person",)))

    assert rows_of(path, "visit") == [(1, 1, "here")]


@pytest.mark.parametrize("kind", ["fts5", "fts4", "fts3"])
class TestFullText:
    def test_a_full_text_table_goes_with_its_words(self, tmp_path, kind):
        """No shadow table, dead segment or freed page remembers a word."""
        path = tmp_path / "app.db"
        db = create(path, f"CREATE VIRTUAL TABLE note USING {kind}(body); CREATE TABLE stay (a)")
        words = [needle.replace("-", "") for needle in GONE]
        for word in words:
            db.execute("INSERT INTO note VALUES (?)", (f"{word} visited",))
        db.close()
        assert len(found(tmp_path, words)) > 390  # positive control; prefixes are compressed

        destroy(path, Selection(collections=("note",)))

        assert found(tmp_path, words) == set()
        assert found(tmp_path, [word[6:18] for word in words]) == set()

    def test_some_rows_of_a_full_text_table_go(self, tmp_path, kind):
        """The others are still found by their words, the gone ones are in no byte."""
        path = tmp_path / "app.db"
        db = create(path, f"CREATE VIRTUAL TABLE note USING {kind}(body, state)")
        for i, needle in enumerate(GONE[:40]):
            db.execute(
                "INSERT INTO note VALUES (?, ?)", (needle.replace("-", ""), "old" if i < 20 else "new")
            )
        db.close()
        words = [needle.replace("-", "") for needle in GONE[:40]]

        destroy(path, Selection(rows=parse_predicate("state = 'old'")))

        assert found(tmp_path, words) == set(words[20:])
        db = sqlite3.connect(path)
        assert db.execute("SELECT body FROM note WHERE note MATCH ?", (words[30],)).fetchall() == [
            (words[30],)
        ]
        assert db.execute("SELECT count(*) FROM note").fetchone() == (20,)


def test_an_index_over_another_tables_text_is_rebuilt(tmp_path):
    """A full-text index with external content is no collection; it forgets what its table forgot."""
    path = tmp_path / "app.db"
    db = create(
        path,
        """CREATE TABLE stay (a); CREATE TABLE note (id INTEGER PRIMARY KEY, body);
        CREATE VIRTUAL TABLE words USING fts5(body, content='note', content_rowid='id');""",
    )
    gone = [needle.replace("-", "") for needle in GONE]
    for i, word in enumerate(gone):
        db.execute("INSERT INTO note VALUES (?, ?)", (i, word))
        db.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (i, word))
    db.close()
    assert [c.name for c in open_reader(url(path), EVERYTHING).collections()] == ["note", "stay"]
    assert found(tmp_path, [word[6:18] for word in gone])  # positive control

    destroy(path, Selection(collections=("note",)))

    assert found(tmp_path, [word[6:18] for word in gone]) == set()


def test_without_rowid_tables_go_by_primary_key(tmp_path):
    """Keys of several columns, collations, mixed types and text that is not UTF-8."""
    path = tmp_path / "app.db"
    db = create(
        path,
        """CREATE TABLE visit (who TEXT COLLATE NOCASE, day, note, PRIMARY KEY (day DESC, who)) WITHOUT ROWID;
        CREATE INDEX visit_note ON visit (note);""",
    )
    keys = [1, -7, 2.5, "a", b"\xff\x00", "é", 2**60]
    for i, needle in enumerate(GONE):
        db.execute("INSERT INTO visit VALUES (?, ?, ?)", (f"{needle}", keys[i % 7], f"{needle} {i % 2}"))
    db.execute("INSERT INTO visit VALUES (CAST(x'FFFE41' AS TEXT), 1, 'note 0')")
    db.close()

    selection = Selection(rows=parse_predicate("note LIKE '% 0'"))
    destroy(path, selection)

    assert found(tmp_path, GONE) == set(GONE[1::2])
    assert sqlite3.connect(path).execute("SELECT count(*) FROM visit").fetchone() == (200,)


def test_statistics_forget_values(tmp_path):
    """sqlite_stat1 and sqlite_stat4 keep no row about an erased table, and those about others."""
    path = tmp_path / "app.db"
    db = two_tables(path)
    db.execute("ANALYZE")
    assert db.execute("SELECT DISTINCT tbl FROM sqlite_stat1 ORDER BY 1").fetchall() == [("gone",), ("stay",)]
    db.close()

    destroy(path, Selection(collections=("gone",)))

    db = sqlite3.connect(path)
    assert db.execute("SELECT DISTINCT tbl FROM sqlite_stat1").fetchall() == [("stay",)]


def test_numbers_given_once_are_not_given_again(tmp_path):
    """AUTOINCREMENT goes on where it was: another system may still know the old numbers."""
    path = tmp_path / "app.db"
    create(
        path,
        """CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO a (x) VALUES (1), (2), (3);
        CREATE TABLE stay (x);""",
    ).close()

    destroy(path, Selection(collections=("a",)))

    db = sqlite3.connect(path)
    db.execute("INSERT INTO a (x) VALUES (9)")
    assert db.execute("SELECT id FROM a").fetchall() == [(4,)]


def test_the_rebuilt_file_is_like_the_old_one(tmp_path):
    """Page size, encoding, auto_vacuum, ids, mode, owner and rowids with gaps are kept."""
    path = tmp_path / "app.db"
    db = create(
        path,
        """PRAGMA page_size=8192; PRAGMA encoding='UTF-16le'; PRAGMA auto_vacuum=INCREMENTAL;
        PRAGMA application_id=77; PRAGMA user_version=5;
        CREATE TABLE stay (x); INSERT INTO stay (rowid, x) VALUES (5, 'a'), (900, 'b'), (-3, 'c');
        CREATE TABLE gone (x); INSERT INTO gone VALUES (1);""",
    )
    db.close()
    os.chmod(path, 0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    before = path.stat()
    pragmas = ("page_size", "encoding", "auto_vacuum", "application_id", "user_version")

    destroy(path, Selection(collections=("gone",)))

    after, db = path.stat(), sqlite3.connect(path)
    assert [db.execute(f"PRAGMA {p}").fetchone()[0] for p in pragmas] == [8192, "UTF-16le", 2, 77, 5]
    assert rows_of(path, "stay") == [(-3, "c"), (5, "a"), (900, "b")]
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@pytest.mark.parametrize(
    "name", ['a "quoted" one', "line\nbreak", "表😀", "[x]", "semi;colon", "sel ect", "n" * 10_000]
)
def test_names_that_need_quoting(tmp_path, name):
    """Tables and columns of any name are read, erased and rebuilt."""
    path = tmp_path / "app.db"
    quoted = '"' + name.replace('"', '""') + '"'
    db = create(path, f"CREATE TABLE {quoted} ({quoted} TEXT, other); CREATE TABLE stay (a)")
    db.execute(f"INSERT INTO {quoted} VALUES (?, 1)", (GONE[0],))
    db.execute("INSERT INTO stay VALUES (1)")
    db.close()

    erasures, _ = destroy(path, Selection(collections=("[!s]*", name)))

    assert sum(e.records for e in erasures) == 1
    assert found(tmp_path, GONE) == set()
    assert rows_of(path, "stay") == [(1, 1)]


def test_drift_is_refused_and_changes_nothing(tmp_path):
    """One changed value stops the partition before the first byte of the file changes."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    sealed = [entry for entry in seal(path) if entry[0].name == "gone"]
    db = sqlite3.connect(path)
    db.execute("UPDATE gone SET note = 'changed' WHERE id = 3")
    db.commit()
    db.close()
    before = path.read_bytes()
    _, partition, seals = sealed[0]
    eraser, diary = open_eraser(url(path), EVERYTHING), Diary()

    with pytest.raises(DriftError):
        eraser.erase(partition, seals, diary)
    eraser.close()

    assert diary.begun is None
    assert path.read_bytes() == before
    assert names(tmp_path) == ["app.db"]


def test_a_row_that_comes_back_stops_the_reclaim(tmp_path):
    """A collection said to be erased that has records again is not destroyed with the file."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    sealed = seal(path)
    eraser = open_eraser(url(path), EVERYTHING)
    for _, partition, seals in sealed:
        eraser.erase(partition, seals, Diary())
    eraser.close()
    db = sqlite3.connect(path)
    db.execute("INSERT INTO gone VALUES (1, 'new', '', '')")
    db.commit()
    db.close()

    with pytest.raises(PermanentStoreError, match="collection 0 has records again"):
        open_eraser(url(path), EVERYTHING).reclaim([collection for collection, _, _ in sealed])

    assert len(rows_of(path, "gone")) == 1


def test_large_tables_have_several_partitions(tmp_path, monkeypatch):
    """Partitions are disjoint and complete, and rows added later belong to one of them."""
    monkeypatch.setattr("cenotaph.stores.sqlite.rows.PARTITION_RECORDS", 100)
    path = tmp_path / "app.db"
    two_tables(path).close()
    reader = open_reader(url(path), EVERYTHING)
    gone = reader.collections()[0]
    partitions = reader.partitions(gone)
    assert [partition.records for partition in partitions] == [100, 100, 100, 100]
    db = sqlite3.connect(path)
    db.execute("INSERT INTO gone (id) VALUES (-9), (1), (99999999)")
    db.commit()
    db.close()
    assert [sum(batch.num_rows for batch in reader.batches(p)) for p in partitions] == [102, 100, 100, 101]

    erasures, _ = destroy(path, Selection(collections=("gone",)))

    assert [erasure.records for erasure in erasures] == [100, 100, 100, 100, 3]
    assert found(tmp_path, GONE) == set()


def test_an_empty_table_is_a_partition_without_records(tmp_path):
    """A row that appears in it before the erasure is drift, and not overlooked."""
    path = tmp_path / "app.db"
    create(path, "CREATE TABLE empty (a)").close()
    [(_, partition, seals)] = seal(path)
    assert partition.records == 0
    db = sqlite3.connect(path)
    db.execute("INSERT INTO empty VALUES (1)")
    db.commit()
    db.close()

    eraser = open_eraser(url(path), EVERYTHING)
    with pytest.raises(DriftError):
        eraser.erase(partition, seals, Diary())
    eraser.close()


def test_a_begun_partition_goes_on(tmp_path):
    """All rows still there: they are erased. None there: it was done, and says so."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    selection = Selection(collections=("gone",))
    [(_, partition, seals)] = seal(path, selection)
    eraser = open_eraser(url(path), selection)

    first = eraser.erase(partition, seals, Diary(begun={"records": 400}))
    second = eraser.erase(partition, seals, Diary(begun={"records": 400}))
    eraser.close()

    assert (first.records, first.destroyed_as) == (400, Class.AS_SEALED)
    assert (second.records, second.destroyed_as) == (400, Class.AS_SEALED)


def test_a_hard_link_is_refused(tmp_path):
    """A second name belongs to somebody who was not asked."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    sealed = seal(path)
    os.link(path, tmp_path / "elsewhere")

    with pytest.raises(PermanentStoreError, match="second name"):
        open_eraser(url(path), EVERYTHING).erase(sealed[0][1], sealed[0][2], Diary())

    assert found(tmp_path, GONE) == set(GONE)


@pytest.mark.parametrize("script", ["", "CREATE VIEW seen AS SELECT 1"])
def test_a_database_without_tables_is_left_alone(tmp_path, script):
    """Nothing was in scope, so nothing is destroyed, however vacuously everything was erased."""
    path = tmp_path / "app.db"
    create(path, script).close()
    before = path.read_bytes()

    open_eraser(url(path), EVERYTHING).reclaim([])

    assert path.read_bytes() == before


def test_tables_of_an_unknown_module_are_ordinary_tables(tmp_path):
    """Their storage is sealed and erased like any table; the rest of the schema is rebuilt untouched."""
    path = tmp_path / "app.db"
    db = create(path, "CREATE TABLE geo_node (data); CREATE TABLE stay (a); INSERT INTO stay VALUES (1)")
    db.execute("INSERT INTO geo_node VALUES (?)", (GONE[0],))
    db.executescript(
        """PRAGMA writable_schema=ON;
        INSERT INTO sqlite_schema VALUES
          ('table', 'geo', 'geo', 0, 'CREATE VIRTUAL TABLE geo USING nobody(x)');"""
    )
    db.close()
    collections = open_reader(url(path), EVERYTHING).collections()
    assert [c.name for c in collections] == ["geo_node", "stay"]

    destroy(path, Selection(collections=("geo*",)))

    assert found(tmp_path, GONE) == set()
    assert rows_of(path, "stay") == [(1, 1)]
    db = sqlite3.connect(path)
    assert (
        db.execute("SELECT sql FROM sqlite_schema WHERE name = 'geo'").fetchone()[0].startswith("CREATE VIRT")
    )
    db.close()


def test_reclaiming_twice_is_safe(tmp_path):
    """The second time there is less to do, and nothing is lost."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    selection = Selection(collections=("gone",))
    collections = [collection for collection, _, _ in seal(path, selection)]
    destroy(path, selection)
    before = rows_of(path, "stay")

    open_eraser(url(path), selection).reclaim(collections)

    assert rows_of(path, "stay") == before


def test_a_sealed_nothing_is_nothing(tmp_path):
    """The fake seal of these tests can fail: it refuses records it does not know."""
    path = tmp_path / "app.db"
    two_tables(path).close()
    sealed = seal(path)

    with pytest.raises(DriftError):
        open_eraser(url(path), EVERYTHING).erase(sealed[0][1], Sealed([]), Diary())
