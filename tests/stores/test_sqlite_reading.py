"""Reading SQLite: every value as stored, nothing changed, and trouble told apart."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from sqlite_case import GONE, STAY, Diary, create, destroy, digests, found, names, seal, two_tables, url

from cenotaph.errors import PermanentStoreError, TransientStoreError, UsageError
from cenotaph.records import Tagged
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Disposition, Extent
from cenotaph.stores.sqlite import open_eraser, open_reader
from cenotaph.stores.sqlite.rows import Bounds, RawText

GEOLIFE = Path(__file__).resolve().parents[2].parent / "shared/data/geolife/geolife_small.gpkg"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Do not wait for locks that tests hold."""
    monkeypatch.setattr("cenotaph.stores.sqlite.database.BUSY_SECONDS", 0.1)


def records(path: Path, selection: Selection = EVERYTHING) -> dict[str, list[dict]]:
    """Every collection's records as Python values."""
    reader = open_reader(url(path), selection)
    return {
        collection.name: [
            row
            for partition in reader.partitions(collection)
            for batch in reader.batches(partition)
            for row in batch.to_pylist()
        ]
        for collection in reader.collections()
    }


class TestValues:
    def test_each_value_keeps_its_own_type(self, tmp_path):
        """A column may mix types; each value arrives as what it is."""
        path = tmp_path / "a.db"
        db = create(path, "CREATE TABLE t (v)")
        values = [
            None,
            1,
            -(2**63),
            2**63 - 1,
            1.5,
            float("inf"),
            "text",
            "",
            "nul\0inside",
            b"",
            b"\0\xff",
            "😀",
        ]
        db.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        db.close()

        found_values = [row["v"] for row in records(path)["t"]]

        assert found_values == values
        assert [*map(type, found_values)] == [*map(type, values)]

    def test_a_record_encodes_the_same_alone_and_among_others(self, tmp_path):
        """A digest depends on the value, not on the type its column got in a batch."""
        path = tmp_path / "a.db"
        db = create(path, "CREATE TABLE t (v)")
        values = [7, "7", 7.0, b"7", None]
        db.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        together = seal(path)[0][2].digests
        alone = []
        for value in values:
            db.execute("DELETE FROM t")
            db.execute("INSERT INTO t VALUES (?)", (value,))
            alone += seal(path)[0][2].digests
        db.close()

        assert together == alone
        assert len(set(alone)) == 5

    def test_text_that_is_not_utf8_is_tagged(self, tmp_path):
        """It is neither the text it would be with errors replaced nor a blob with the same bytes."""
        path = tmp_path / "a.db"
        db = create(path, "CREATE TABLE t (v)")
        db.executemany("INSERT INTO t VALUES (?)", [(f"row {i}",) for i in range(100)])
        db.execute("INSERT INTO t VALUES (CAST(x'41FF42' AS TEXT)), (x'41FF42'), ('A�B')")
        db.close()
        reader = open_reader(url(path), EVERYTHING)
        [partition] = reader.partitions(reader.collections()[0])
        batches = list(reader.batches(partition))

        values = [row["v"] for batch in batches for row in batch.to_pylist()]
        assert values[:100] == [f"row {i}" for i in range(100)]
        assert values[100:] == [b"A\xffB", b"A\xffB", "A�B"]
        assert any(
            isinstance(child.type, Tagged) and child.type.tag == "sqlite:text"
            for batch in batches
            if pa.types.is_union(batch.column(0).type)
            for child in batch.column(0).type
        )
        assert len(set(digests(batches))) == 103

    @pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
    def test_encodings_of_the_database_do_not_matter(self, tmp_path, encoding):
        """The same text has the same digest, however the database stores it."""
        path = tmp_path / "a.db"
        create(
            path, f"PRAGMA encoding='{encoding}'; CREATE TABLE t (v); INSERT INTO t VALUES ('张伟 é')"
        ).close()

        assert records(path) == {"t": [{"v": "张伟 é"}]}

    def test_generated_columns(self, tmp_path):
        """Those that are stored belong to the record, the others are computed."""
        path = tmp_path / "a.db"
        create(
            path,
            """CREATE TABLE t (a, v AS (a + 1) VIRTUAL, s AS (a * 2) STORED);
            INSERT INTO t (a) VALUES (5); CREATE VIEW seen AS SELECT * FROM t;""",
        ).close()

        assert records(path) == {"t": [{"a": 5, "s": 10}]}
        destroy(path)
        assert names(tmp_path) == []

    def test_columns_named_like_the_rowid(self, tmp_path):
        """A column called rowid or oid hides the real one only while no other alias is free."""
        path = tmp_path / "a.db"
        create(
            path,
            """CREATE TABLE one (rowid, oid); INSERT INTO one VALUES (1, 1), (1, 1);
            CREATE TABLE own (rowid INTEGER PRIMARY KEY, oid, _rowid_); INSERT INTO own VALUES (4, 0, 0);
            CREATE TABLE none (rowid, oid, _rowid_); INSERT INTO none VALUES (1, 2, 3);""",
        ).close()
        reader = open_reader(url(path), EVERYTHING)
        none, one, own = reader.collections()

        assert [c.records for c in (none, one, own)] == [1, 2, 1]
        assert [p.records for p in (*reader.partitions(one), *reader.partitions(own))] == [2, 1]
        with pytest.raises(PermanentStoreError, match="collection 0 has columns named rowid"):
            reader.partitions(none)

    def test_large_values_come_in_small_batches(self, tmp_path, monkeypatch):
        """Batches are bounded by their bytes, whatever the rows hold."""
        monkeypatch.setattr("cenotaph.stores.sqlite.rows._TARGET_BYTES", 1 << 20)
        path = tmp_path / "a.db"
        db = create(path, "CREATE TABLE t (v)")
        db.executemany("INSERT INTO t VALUES (zeroblob(12000))", [()] * 500)
        db.close()
        reader = open_reader(url(path), EVERYTHING)
        batches = list(reader.batches(reader.partitions(reader.collections()[0])[0]))

        assert sum(batch.num_rows for batch in batches) == 500
        assert max(batch.nbytes for batch in batches) < 2 << 20

    def test_bounds_keep_every_bit(self):
        """Keys of any type survive being written down."""
        keys = (1, -(2**63), 0.1, float("inf"), "a'\n😀", b"\0\xff", RawText(b"\xff"))
        bounds = Bounds("t", keys, keys)
        loaded = Bounds.load(bounds.dump())

        assert loaded == bounds
        assert [*map(type, loaded.after)] == [*map(type, keys)]

    def test_a_key_too_long_to_write_down_is_refused(self, tmp_path, monkeypatch):
        """A partition's bounds have a limit, and the message has no key in it."""
        monkeypatch.setattr("cenotaph.stores.sqlite.rows.PARTITION_RECORDS", 1)
        path = tmp_path / "a.db"
        db = create(path, "CREATE TABLE t (k PRIMARY KEY) WITHOUT ROWID")
        db.executemany("INSERT INTO t VALUES (?)", [("a" * 1_100_000,), ("b" * 1_100_000,)])
        db.close()
        reader = open_reader(url(path), EVERYTHING)

        with pytest.raises(PermanentStoreError, match="primary key is longer") as caught:
            reader.partitions(reader.collections()[0])
        assert "aaa" not in str(caught.value)


class TestNothingChanges:
    @pytest.mark.parametrize("journal", ["delete", "persist", "wal"])
    def test_reading_everything_changes_no_file(self, tmp_path, journal):
        """No byte, no time of change, no file beside it."""
        path = tmp_path / "a.db"
        two_tables(path, journal=journal).close()
        before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}

        records(path)
        reader = open_reader(url(path), EVERYTHING)
        for collection in reader.collections():
            reader.copies(collection), reader.watermark(collection)
        list(reader.raw())

        assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()} == before

    def test_a_live_log_is_read_and_left(self, tmp_path):
        """Rows that only the -wal of a running application holds are read; its files stay its own."""
        path = tmp_path / "a.db"
        db = two_tables(path, journal="wal")
        log = Path(f"{path}-wal").read_bytes()

        assert len(records(path)["gone"]) == 400
        assert Path(f"{path}-wal").read_bytes() == log
        db.close()

    def test_a_transaction_that_was_cut_off_is_not_recovered_by_reading(self, tmp_path):
        """A hot journal stays hot: recovery would change the database, so reading waits for it."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        cut_off(path)
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        assert names(tmp_path) == ["a.db", "a.db-journal"]  # positive control

        with pytest.raises(TransientStoreError, match="cut off"):
            open_reader(url(path), EVERYTHING).collections()

        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before

    def test_erasing_recovers_first_and_overwrites_the_journal(self, tmp_path):
        """What was sealed before the other program was killed is there again, and goes."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        selection = Selection(collections=("gone",))
        [(collection, partition, seals)] = seal(path, selection)
        cut_off(path)
        eraser = open_eraser(url(path), selection)

        assert eraser.erase(partition, seals, Diary()).records == 400
        eraser.reclaim([collection])

        assert found(tmp_path, GONE) == set()
        assert names(tmp_path) == ["a.db"]

    def test_a_descriptor_beside_a_connection_does_not_drop_its_lock(self, tmp_path):
        """Closing a raw extent while another connection of the process is locked keeps the lock."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        [(_, partition, seals), *_] = seal(path)
        eraser = open_eraser(url(path), EVERYTHING)
        eraser.erase(partition, seals, Diary())  # the lock stays until close
        for extent in open_reader(url(path), EVERYTHING).raw():
            extent.open().close()

        other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM stay')"
        locked = subprocess.run([sys.executable, "-c", other, path], capture_output=True, check=False)
        eraser.close()
        free = subprocess.run([sys.executable, "-c", other, path], capture_output=True, check=False)

        assert b"database is locked" in locked.stderr
        assert free.returncode == 0


class TestTrouble:
    @pytest.mark.parametrize("content", [b"no database, but long enough for a header" * 40, os.urandom(8192)])
    def test_not_a_database(self, tmp_path, content):
        """Nor an encrypted one: both look alike, and both are said."""
        path = tmp_path / "a.db"
        path.write_bytes(content)

        with pytest.raises(PermanentStoreError, match="not a SQLite database, or it is encrypted"):
            open_reader(url(path), EVERYTHING).collections()

    def test_an_empty_file_is_an_empty_database(self, tmp_path):
        """As SQLite has it."""
        (tmp_path / "a.db").touch()

        assert open_reader(url(tmp_path / "a.db"), EVERYTHING).collections() == []

    def test_a_missing_file(self, tmp_path):
        """It has no records, and what was left beside it can be probed."""
        (tmp_path / "a.db-journal").write_bytes(b"left")
        reader = open_reader(url(tmp_path / "a.db"), EVERYTHING)

        assert reader.collections() == []
        assert [extent.kind for extent in reader.raw()] == ["rollback journal"]

    def test_a_symbolic_link_is_refused(self, tmp_path):
        """It would lead out of what was declared."""
        two_tables(tmp_path / "real.db").close()
        (tmp_path / "a.db").symlink_to(tmp_path / "real.db")

        with pytest.raises(PermanentStoreError, match="symbolic link"):
            open_reader(url(tmp_path / "a.db"), EVERYTHING).collections()

    @pytest.mark.parametrize("missing", ["nobody/a.db", "x" * 300, "file/a.db"])
    def test_errors_of_the_system_show_no_path(self, tmp_path, missing):
        """A folder that is not there, a name too long, a file for a folder."""
        (tmp_path / "file").touch()

        with pytest.raises(PermanentStoreError, match="cannot be opened") as caught:
            open_reader(url(tmp_path / missing), EVERYTHING).collections()
        assert str(tmp_path) not in str(caught.value)
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize(
        "name", [b"new\nline.db", b"not \xff utf8.db", b"a?b#c%20d'.db", "张伟.db".encode()]
    )
    def test_paths_of_any_bytes(self, tmp_path, name):
        """Read, erased in part, rebuilt, then destroyed whole."""
        path = tmp_path / os.fsdecode(name)
        create(
            path, "CREATE TABLE a (x); CREATE TABLE b (x); INSERT INTO a VALUES (1); INSERT INTO b VALUES (2)"
        ).close()

        destroy(path, Selection(collections=("a",)))
        assert records(path) == {"a": [], "b": [{"x": 2}]}
        destroy(path)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("bad", ["files:/a", "sqlite:a.db", "sqlite:/a/", ""])
    def test_other_urls(self, bad):
        """Only an absolute path is understood."""
        with pytest.raises(UsageError):
            open_reader(bad, EVERYTHING)

    def test_a_corrupt_table_names_its_collection_and_nothing_else(self, tmp_path):
        """Other collections are read; the message has no name and no value in it."""
        path = tmp_path / "a.db"
        db = two_tables(path)
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'gone'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
        db.close()
        healthy = open_reader(url(path), EVERYTHING)
        gone, stay = healthy.collections()
        [broken], [sound] = healthy.partitions(gone), healthy.partitions(stay)
        with path.open("r+b") as file:
            file.seek((root - 1) * size)
            file.write(b"\xee" * size)

        with pytest.raises(PermanentStoreError, match="collection 0 is corrupt") as caught:
            list(open_reader(url(path), EVERYTHING).batches(broken))
        assert "gone" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert sum(batch.num_rows for batch in healthy.batches(sound)) == 400

    def test_errors_quote_no_data(self, tmp_path):
        """A driver's message about broken text quotes the text; ours does not."""
        path = tmp_path / "a.db"
        create(path, "CREATE TABLE t (v); INSERT INTO t VALUES (CAST(x'5365637265740AFF' AS TEXT))").close()
        db = sqlite3.connect(path)
        with pytest.raises(sqlite3.OperationalError, match="Secret"):  # positive control
            db.execute("SELECT v FROM t").fetchall()
        db.close()

        assert records(path) == {"t": [{"v": b"Secret\n\xff"}]}

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    @pytest.mark.parametrize(
        "script", ["BEGIN EXCLUSIVE", "BEGIN; INSERT INTO stay VALUES (1, 2)", "BEGIN; SELECT 1 FROM stay"]
    )
    def test_erasing_beside_another_process_is_refused(self, tmp_path, journal, script):
        """A lock, an open write or an open read of another process: nothing changes, try again later."""
        path = tmp_path / "a.db"
        two_tables(path, journal=journal).close()
        sealed, before = seal(path), path.read_bytes()
        with elsewhere(path, script):
            eraser, diary = open_eraser(url(path), EVERYTHING), Diary()
            with pytest.raises(TransientStoreError, match="locked"):
                eraser.erase(sealed[0][1], sealed[0][2], diary)
            eraser.close()
            assert diary.begun is None

        assert path.read_bytes() == before
        assert found(tmp_path, STAY) == set(STAY)
        destroy(path)
        assert names(tmp_path) == []

    def test_reading_beside_an_exclusive_lock(self, tmp_path):
        """It is worth another try."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        with elsewhere(path, "BEGIN EXCLUSIVE"), pytest.raises(TransientStoreError, match="locked"):
            open_reader(url(path), EVERYTHING).collections()

    def test_an_idle_connection_keeps_the_file_from_being_replaced(self, tmp_path):
        """Rows go, but the file that a program has open is not pulled from under it."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        selection = Selection(collections=("gone",))
        with (
            elsewhere(path, "SELECT 1 FROM stay LIMIT 1"),
            pytest.raises(TransientStoreError, match="open by another process"),
        ):
            destroy(path, selection)

        collections = [c for c in open_reader(url(path), selection).collections() if c.name == "gone"]
        open_eraser(url(path), selection).reclaim(collections)
        assert found(tmp_path, GONE) == set()
        assert names(tmp_path) == ["a.db"]

    def test_a_full_disk_is_worth_another_try(self, tmp_path):
        """VACUUM INTO finds no room: the database stays, and what was half written is destroyed later."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        selection = Selection(collections=("gone",))
        source = (
            "import resource, signal, sys; from pathlib import Path\n"
            "sys.path.insert(0, sys.argv[2]); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "from sqlite_case import destroy; from cenotaph.scope import Selection\n"
            "path = Path(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
            "destroy(path, Selection(collections=('gone',)))"
        )
        run = subprocess.run(
            [sys.executable, "-c", source, path, Path(__file__).parent],
            capture_output=True,
            text=True,
            check=False,
        )

        assert "TransientStoreError" in run.stderr
        assert found(tmp_path, STAY) == set(STAY)
        destroy(path, selection)
        assert found(tmp_path, GONE) == set()
        assert names(tmp_path) == ["a.db"]


class TestRaw:
    def test_bytes_of_what_stays_are_kept_and_of_what_goes_are_not(self, tmp_path):
        """Attribution to the byte: tables out of scope, rows not selected, and neither of what goes."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        selection = Selection(collections=("gone",), rows=parse_predicate("id < 600"))
        [database] = open_reader(url(path), selection).raw()

        assert kept(database, STAY) == set(STAY)
        assert kept(database, GONE) == set(GONE[200:])
        assert outside(database, GONE) >= set(GONE[:200])

    def test_everything_in_scope_keeps_nothing(self, tmp_path):
        """Hits anywhere are residue, but for the words of the schema."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        [database] = open_reader(url(path), EVERYTHING).raw()

        assert kept(database, GONE + STAY) == set()

    def test_after_destroying_only_live_rows_are_kept(self, tmp_path):
        """A freed page with a copy of a row that stays is residue all the same."""
        path = tmp_path / "a.db"
        two_tables(path).close()
        selection = Selection(collections=("gone",))
        destroy(path, selection)
        [database] = open_reader(url(path), selection).raw()
        assert kept(database, STAY) == set(STAY)
        assert outside(database, STAY) == set()
        db = sqlite3.connect(path)
        db.executescript("PRAGMA secure_delete=OFF; CREATE TABLE x AS SELECT * FROM stay; DROP TABLE x")
        db.close()

        [database] = open_reader(url(path), selection).raw()

        assert len(outside(database, STAY)) > 300

    def test_files_around_the_database_are_listed(self, tmp_path):
        """Journal, log, copies named after it, and what a killed run left; nothing in them is kept."""
        path = tmp_path / "a.db"
        two_tables(path, journal="persist")
        shutil.copyfile(path, tmp_path / "a.db.bak")
        (tmp_path / "b.db").write_bytes(b"another database")
        reader = open_reader(url(path), EVERYTHING)

        extents = {extent.kind: extent for extent in reader.raw()}
        copies = {copy.kind: copy.disposition for copy in reader.copies(reader.collections()[0])}

        assert set(extents) == {"database", "rollback journal", "backup sibling"}
        assert kept(extents["backup sibling"], GONE) == set()
        assert outside(extents["backup sibling"], GONE) == set(GONE)
        assert copies["backup sibling"] is Disposition.REACH_NOT
        assert copies["rollback journal"] is Disposition.DESTROY

    def test_freed_pages_statistics_and_shadows_are_copies(self, tmp_path):
        """Places inside the file that hold rows of a collection besides its table."""
        path = tmp_path / "a.db"
        create(
            path,
            """CREATE TABLE t (a, b); CREATE INDEX i ON t (a);
            INSERT INTO t VALUES (1, zeroblob(50000)), (2, 3);
            CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('word'); ANALYZE;
            DELETE FROM t WHERE a = 1;""",
        ).close()
        reader = open_reader(url(path), EVERYTHING)
        shadowed, table = reader.collections()

        assert {copy.kind for copy in reader.copies(table)} == {"freed pages", "statistics"}
        assert {copy.kind for copy in reader.copies(shadowed)} >= {"freed pages", "fts shadow"}
        assert table.bytes == 8192  # the table and its index
        assert shadowed.bytes > 8192

    def test_nothing_shows_a_name(self, tmp_path):
        """Places and bounds can be people."""
        path = tmp_path / "zhang-wei.db"
        create(path, 'CREATE TABLE "li na" ("wang fang")').close()
        reader = open_reader(url(path), EVERYTHING)
        [collection] = reader.collections()
        shown = repr(
            (collection, reader.partitions(collection), list(reader.raw()), reader.copies(collection))
        )

        assert not [name for name in ("zhang", "li na", "wang") if name in shown]


@pytest.mark.skipif(not GEOLIFE.parents[2].exists(), reason="the shared folder is absent")
class TestGeoPackage:
    def test_every_table_is_counted_as_sqlite_counts_it(self, tmp_path):
        """R-trees, triggers with unknown functions and views of a real GeoPackage."""
        path = tmp_path / "g.gpkg"
        shutil.copyfile(GEOLIFE, path)
        db = sqlite3.connect(path)
        collections = open_reader(url(path), EVERYTHING).collections()

        assert len(collections) == 9  # of 13 tables: three are an R-tree's, one is sqlite_sequence
        assert "rtree" in {collection.format for collection in collections}
        for collection in collections:
            assert collection.records == db.execute(f'SELECT count(*) FROM "{collection.name}"').fetchone()[0]

    def test_the_points_go_and_the_rest_stays(self, tmp_path):
        """With their R-tree; all other tables hold the same records in the same order."""
        path = tmp_path / "g.gpkg"
        shutil.copyfile(GEOLIFE, path)
        largest = max(
            open_reader(url(path), EVERYTHING).collections(), key=lambda c: (c.format == "table", c.records)
        )
        selection = Selection(collections=(largest.name, f"rtree_{largest.name}_*"))
        before = {name: rows for name, rows in records(path).items() if not selection.includes(name)}
        triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name"
        schema = sqlite3.connect(path).execute(triggers).fetchall()

        erasures, _ = destroy(path, selection)

        after = records(path)
        assert sum(erasure.records for erasure in erasures) >= largest.records > 0
        assert all(rows == [] for name, rows in after.items() if selection.includes(name))
        assert {name: rows for name, rows in after.items() if not selection.includes(name)} == before
        assert sqlite3.connect(path).execute(triggers).fetchall() == schema

    def test_all_of_it_goes(self, tmp_path):
        """Seal, erase every table, and the file is gone."""
        path = tmp_path / "g.gpkg"
        shutil.copyfile(GEOLIFE, path)
        total = sum(collection.records for collection in open_reader(url(path), EVERYTHING).collections())

        erasures, _ = destroy(path)

        assert sum(erasure.records for erasure in erasures) == total
        assert names(tmp_path) == []


def kept(extent: Extent, wanted: list[str]) -> set[str]:
    """Needles that occur wholly inside the kept ranges."""
    data = extent.open().read()
    inside = b"\0".join(data[start:end] for start, end in extent.kept.tolist())
    return {needle for needle in wanted if needle.encode() in inside}


def outside(extent: Extent, wanted: list[str]) -> set[str]:
    """Needles that occur wholly outside of them."""
    data = bytearray(extent.open().read())
    for start, end in extent.kept.tolist():
        data[start:end] = bytes(end - start)
    return {needle for needle in wanted if needle.encode() in data}


def cut_off(path: Path) -> None:
    """Leave a hot journal: a program deletes most rows and is killed before it commits."""
    source = (
        "import os, signal, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.executescript('PRAGMA cache_size=2; BEGIN; DELETE FROM gone WHERE id > 6')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", source, path], check=False)
    assert run.returncode == -signal.SIGKILL


@contextmanager
def elsewhere(path: Path, script: str):
    """Another process that ran a script on the database and keeps its connection open."""
    source = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "cursors = [db.execute(part) for part in sys.argv[2].split(';')]\n"
        "[cursor.fetchone() for cursor in cursors]; print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source, path, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        yield
        process.stdin.close()
