"""Overwriting whole tables beneath a running server: what it reaches, and everything for which it refuses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import postgres_server
from cenotaph.errors import PermanentStoreError, StoreError, TransientStoreError
from cenotaph.scope import Selection
from cenotaph.store import Collection, GivenCopy, Reclamation, Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader, writing
from cenotaph.stores.postgres.beneath import aside, underneath
from cenotaph.stores.postgres.reclaiming import overwrite
from cenotaph.testing.contract import Stopped
from postgres_aside import ending_before_the_commit, set_aside
from postgres_server import Server
from volume_images import LOOPS, image, tool

PEOPLE = (
    "CREATE TABLE people (id serial PRIMARY KEY, name text, scan text)",
    "CREATE INDEX ON people (name)",
    "INSERT INTO people (name, scan) SELECT 'Person-' || md5(n::text),"
    " (SELECT string_agg(md5((n * k)::text), '') FROM generate_series(1, 150) k)"
    " FROM generate_series(1, 200) n",
)
GONE = ("DELETE FROM people",)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = postgres_server.start(
        max_prepared_transactions="2", wal_level="replica", max_wal_senders="4", max_replication_slots="4"
    )
    yield found
    found.stop()


class Town:
    """A database of which some tables were emptied, and what overwriting them wrote over."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.before: list[bytes] = []
        self.after: list[bytes] = []

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.run(*statements, database=self.name)

    def around(self, data: Path | None = None, copies: Sequence[GivenCopy] = ()) -> Surroundings:
        return Surroundings(str(data or self.server.data), tuple(copies), online_overwrite=True)

    def reclaim(
        self, *tables: str, data: Path | None = None, copies: Sequence[GivenCopy] = ()
    ) -> Reclamation:
        around = self.around(data, copies)
        reader = open_reader(self.server.url(self.name), Selection())
        wanted = [c for c in reader.collections() if not tables or c.name in tables]
        eraser = open_eraser(self.server.url(self.name), Selection(), frozenset(), around)
        try:
            return eraser.reclaim(wanted)
        finally:
            eraser.close()

    def untouched(self) -> bool:
        return not self.after


MakeTown: TypeAlias = Callable[..., Town]


@pytest.fixture
def town(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeTown]:
    """Makes a `Town` by statements, and watches what is written over."""
    made: list[Town] = []
    plain = aside.Aside.destroy

    def watched(file: aside.Aside) -> int:
        fd = os.open(file.kept, os.O_RDONLY, dir_fd=file.folder)
        size = os.fstat(fd).st_size
        made[-1].before.append(os.pread(fd, size, 0))
        written = plain(file)
        made[-1].after.append(os.pread(fd, size, 0))
        os.close(fd)
        return written

    def make(*statements: str) -> Town:
        made.append(Town(server, server.database(*statements)))
        return made[-1]

    monkeypatch.setattr(aside.Aside, "destroy", watched)
    monkeypatch.setitem(writing._WRITES, "lock_timeout", "500ms")
    yield make
    for one in made:
        server.drop(one.name)


# ── what it reaches ──────────────────────────────────────────────────────────────────────────────


def test_a_table_that_went_whole_is_zeros_before_its_blocks_are_free(town: MakeTown) -> None:
    """Heap, indexes and TOAST held everybody and hold nothing at the commit; the table works as before."""
    it = town(*PEOPLE, *GONE)

    done = it.reclaim()

    held = b"".join(it.before)
    assert held.count(b"Person-") >= 200
    assert len(it.before) >= 4  # the table, two indexes, TOAST and its index
    assert not any(map(any, it.after))
    assert done.overwritten_bytes == sum(map(len, it.after))
    assert it.sql("INSERT INTO people (name) VALUES ('new') RETURNING id") == [(201,)]
    assert it.sql("SELECT count(*) FROM people WHERE name = 'new'") == [(1,)]


def test_tables_that_refer_to_each_other_go_together(town: MakeTown) -> None:
    """In a cycle of foreign keys too. A table to which one refers that stays is rewritten, and it is said."""
    it = town(
        *PEOPLE,
        "CREATE TABLE visit (id int4 PRIMARY KEY, who int4 REFERENCES people, note text)",
        "ALTER TABLE people ADD last_visit int4 REFERENCES visit",
        "CREATE TABLE ward (name text PRIMARY KEY)",
        "CREATE TABLE bed (id int4, ward text REFERENCES ward)",
        "INSERT INTO ward SELECT 'Ward-' || n FROM generate_series(1, 50) n",
        "INSERT INTO bed VALUES (1, NULL)",
        "INSERT INTO visit SELECT n, n, 'Visit-' || n FROM generate_series(1, 100) n",
        "UPDATE people SET last_visit = id WHERE id < 50",
        "UPDATE people SET last_visit = NULL",
        "DELETE FROM visit",
        "DELETE FROM ward",
        *GONE,
    )

    done = it.reclaim("public.people", "public.visit", "public.ward")

    held = b"".join(it.before)
    assert b"Person-" in held
    assert b"Visit-" in held
    assert b"Ward-" not in held
    assert not any(map(any, it.after))
    assert any("1 tables were rewritten and not overwritten" in note for note in done.notes)
    assert it.sql("SELECT count(*) FROM bed") == [(1,)]


def test_a_table_of_which_rows_stay_is_never_overwritten(town: MakeTown) -> None:
    """One row is left: the file is rewritten, and the row is there."""
    it = town(*PEOPLE, "DELETE FROM people WHERE id > 1")

    it.reclaim()

    assert it.untouched()
    assert it.sql("SELECT id FROM people") == [(1,)]


def test_triggers_do_not_run_and_stay_as_they_were(town: MakeTown) -> None:
    """One that would note a TRUNCATE elsewhere, one that its owner had disabled."""
    it = town(
        *PEOPLE,
        "CREATE TABLE noted (what text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO noted VALUES (TG_OP); RETURN NULL; END$$",
        "CREATE TRIGGER one AFTER TRUNCATE ON people EXECUTE FUNCTION note()",
        "CREATE TRIGGER two AFTER INSERT ON people EXECUTE FUNCTION note()",
        "ALTER TABLE people DISABLE TRIGGER two",
        "ALTER TABLE people ENABLE ALWAYS TRIGGER one",
        *GONE,
    )

    it.reclaim("public.people")

    assert not it.untouched()
    assert it.sql("SELECT count(*) FROM noted") == [(0,)]
    states = "SELECT tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    assert it.sql(states) == [("one", "A"), ("two", "D")]


def test_tables_in_a_tablespace_are_found_there(town: MakeTown, server: Server) -> None:
    """Where its link in the data directory leads, and the server says the same."""
    place = server.folder / "space"
    place.mkdir()
    shutil.chown(place, postgres_server.USER) if os.geteuid() == 0 else None
    server.run(f"CREATE TABLESPACE apart LOCATION '{place}'")
    it = town(*PEOPLE, "ALTER TABLE people SET TABLESPACE apart", *GONE)

    it.reclaim()

    assert b"Person-" in b"".join(it.before)
    assert not any(map(any, it.after))
    it.sql("DROP TABLE people")
    server.run("DROP TABLESPACE apart")


# ── for what it refuses ──────────────────────────────────────────────────────────────────────────


def _refused(it: Town, kind: type[StoreError], words: str, **more: Any) -> None:
    with pytest.raises(kind, match=words):
        it.reclaim(**more)
    assert it.untouched()


def test_another_directory_than_the_servers_is_refused(town: MakeTown, tmp_path: Path) -> None:
    """An empty one; a copy of the server's, with its identity and its postmaster.pid; one with another
    cluster's identity; a link to the right one."""
    it = town(*PEOPLE, *GONE)
    copy = tmp_path / "copy"
    shutil.copytree(it.server.data, copy, ignore=shutil.ignore_patterns("pg_wal"))
    other = tmp_path / "other"
    (other / "global").mkdir(parents=True)
    (other / "global/pg_control").write_bytes(bytes(8192))
    shutil.copy(it.server.data / "postmaster.pid", other)
    link = tmp_path / "link"
    link.symlink_to(it.server.data)
    empty = tmp_path / "empty"
    empty.mkdir()

    _refused(it, PermanentStoreError, "not on this machine", data=empty)
    _refused(it, PermanentStoreError, "is a copy of the server", data=copy)
    _refused(it, PermanentStoreError, "another server's", data=other)
    _refused(it, PermanentStoreError, "symbolic link", data=link)


def test_nothing_is_overwritten_while_somebody_copies_the_server(town: MakeTown) -> None:
    """A running backup, a prepared transaction, a standby that the case does not list: not until then."""
    it = town(*PEOPLE, *GONE, "CREATE TABLE waiting (n int4)")
    with it.server.connect() as link:
        start = "pg_backup_start" if it.server.version >= 150000 else "pg_start_backup"
        link.execute(f"SELECT {start}('copy', true)".encode())
        _refused(it, TransientStoreError, "backup is running")
    it.sql("BEGIN", "INSERT INTO waiting VALUES (1)", "PREPARE TRANSACTION 'later'")
    _refused(it, TransientStoreError, "1 transactions are prepared")
    it.sql("ROLLBACK PREPARED 'later'")
    it.sql("SELECT pg_create_physical_replication_slot('standby')")
    _refused(it, TransientStoreError, "1 standbys receive .* lists 0")

    it.reclaim(copies=[GivenCopy("standby", "postgresql://standby/x")])

    assert not it.untouched()
    it.sql("SELECT pg_drop_replication_slot('standby')")


def test_a_file_that_was_exchanged_at_the_last_moment_is_left_alone(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file under the table's name, after the checkpoint: it is not what was opened."""
    it = town(*PEOPLE, *GONE)
    file = it.server.data / str(it.sql("SELECT pg_relation_filepath('people')")[0][0])
    plain = overwrite._checkpoint

    def exchange(writer: Any) -> None:
        plain(writer)
        shutil.copy2(file, file.with_suffix(".new"))
        shutil.chown(file.with_suffix(".new"), postgres_server.USER) if os.geteuid() == 0 else None
        file.with_suffix(".new").rename(file)

    monkeypatch.setattr(overwrite, "_checkpoint", exchange)

    _refused(it, TransientStoreError, "not the one that was looked at")


def test_a_file_with_another_name_is_refused(town: MakeTown, tmp_path: Path) -> None:
    """A hard link from elsewhere (pg_upgrade --link leaves such): zeros would be in that one too."""
    it = town(*PEOPLE, *GONE)
    file = it.server.data / str(it.sql("SELECT pg_relation_filepath('people')")[0][0])
    os.link(file, it.server.folder / "kept")

    _refused(it, PermanentStoreError, "another name")


def test_a_table_in_use_is_waited_for_and_told(town: MakeTown) -> None:
    """Who holds it is named by the number of their process; nothing was written."""
    it = town(*PEOPLE, *GONE)
    with it.server.connect(it.name) as link:
        link.autocommit = False
        link.execute(b"SELECT count(*) FROM people")
        _refused(it, TransientStoreError, rf"server process {link.info.backend_pid} would have to end")


def test_rows_that_came_meanwhile_stay(town: MakeTown, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was empty has a row when it is locked: nothing is written, the row is there."""
    it = town(*PEOPLE, *GONE)
    plain = overwrite.shut

    def later(writer: Any, table: Any) -> None:
        it.sql("INSERT INTO people (name) VALUES ('new')")
        plain(writer, table)

    monkeypatch.setattr(overwrite, "shut", later)

    done = it.reclaim()

    assert it.untouched()
    assert any("rows stay" in note for note in done.notes)
    assert it.sql("SELECT name FROM people") == [("new",)]


def test_a_session_that_ends_before_its_commit_leaves_the_table_as_it_was(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator ends it when the files are set aside: the server takes TRUNCATE back, and the next run
    gives the files their names before it does anything else. It goes to its end then."""
    it = town(*PEOPLE, "INSERT INTO people (id) VALUES (-1)", "DELETE FROM people WHERE id > 0")
    it.sql("DELETE FROM people WHERE id < 0")
    _ended_before_its_commit(it, monkeypatch)
    eraser = open_eraser(it.server.url(it.name), Selection(), frozenset(), it.around())
    eraser.mend()
    eraser.close()

    assert it.untouched()
    assert set_aside(it.server, it.name) == []
    it.sql("INSERT INTO people (id, name) VALUES (9, 'nine')")
    assert it.sql("SET enable_seqscan = off", "SELECT name FROM people WHERE id = 9") == [("nine",)]
    it.sql("DELETE FROM people")
    it.reclaim()
    assert not it.untouched()
    assert b"".join(it.before).count(b"Person-") >= 200
    assert set_aside(it.server, it.name) == []


def test_rows_that_come_once_the_session_has_ended_stay(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie in the empty file, which has the table's name: nothing is written over, and it is said. Once
    somebody has taken them out and emptied the table, it goes on."""
    it = town(
        "CREATE TABLE people (name text)", "INSERT INTO people VALUES ('Person-1')", "DELETE FROM people"
    )
    _ended_before_its_commit(it, monkeypatch)
    it.server.stop_only(signal.SIGQUIT)  # pages that it has in memory would hide what is on the disk
    it.server.start()
    it.sql("INSERT INTO people VALUES ('new')", "CHECKPOINT")

    _refused(it, PermanentStoreError, "rows were written into a table")

    assert it.sql("SELECT name FROM people") == [("new",)]
    it.sql("TRUNCATE people")
    it.reclaim()
    assert b"Person-1" in b"".join(it.before)
    assert set_aside(it.server, it.name) == []


def test_an_unlogged_table_that_the_server_emptied_after_a_crash_stays_in_use(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has files of its own then, and rows of people who go on: nothing is put over them, and what was set
    aside is no part of it any more."""
    it = town(
        "CREATE UNLOGGED TABLE session (id int4 PRIMARY KEY, name text)",
        "INSERT INTO session VALUES (1, 'Person-1')",
        "CHECKPOINT",
        "DELETE FROM session",
    )
    _ended_before_its_commit(it, monkeypatch)
    it.server.stop_only(signal.SIGQUIT)
    it.server.start()
    it.sql("INSERT INTO session VALUES (2, 'new')", "CHECKPOINT")

    it.reclaim()

    assert it.sql("SELECT name FROM session WHERE id = 2") == [("new",)]
    assert len(it.before) >= 2
    assert not any(map(any, it.after))
    assert set_aside(it.server, it.name) == []


def _ended_before_its_commit(it: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    with ending_before_the_commit(monkeypatch, it.server, it.name), pytest.raises(StoreError):
        it.reclaim()


def test_asked_to_stop_between_two_files_it_goes_on_with_the_others(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause, or a window that closes, while large tables are overwritten."""
    it = town(*PEOPLE, *GONE)
    eraser = open_eraser(it.server.url(it.name), Selection(), frozenset(), it.around())

    def stop() -> None:
        if len(it.after) == 2:
            raise Stopped

    eraser.heed(stop)
    with pytest.raises(Stopped):
        eraser.reclaim(_collections(it))
    assert len(it.after) == 2
    assert set_aside(it.server, it.name)
    eraser.heed(lambda: None)
    eraser.reclaim(_collections(it))
    eraser.close()

    assert set_aside(it.server, it.name) == []
    assert b"".join(it.before).count(b"Person-") >= 200


def _collections(it: Town) -> list[Collection]:
    return list(open_reader(it.server.url(it.name), Selection()).collections())


def test_file_systems_that_copy_are_known(tmp_path: Path) -> None:
    """Memory and everything else that does not write in place has a reason; where tests lie, it depends."""
    assert "memory" in underneath.keeps_old("/dev/shm")


@LOOPS
@tool("mkfs.btrfs")
def test_btrfs_is_known_to_keep_what_was_overwritten(tmp_path: Path) -> None:
    """Zeros go elsewhere there."""
    with image(tmp_path, "btrfs") as scratch:
        assert "copies on write" in underneath.keeps_old(str(scratch.mount))


@LOOPS
@tool("mkfs.xfs")
def test_a_file_that_shares_blocks_is_refused(tmp_path: Path) -> None:
    """A reflinked copy on xfs keeps what was there."""
    with image(tmp_path, "xfs") as scratch:
        folder = scratch.mount / "base/5"
        folder.mkdir(parents=True)
        (folder / "16384").write_bytes(bytes(range(256)) * 32)
        os.sync()
        where = underneath.Directory(str(scratch.mount), (0, 0))
        found = [underneath.Relation("base/5/16384", "")]
        with underneath.files(where, found, 8192) as files:
            assert [f.size for f in files] == [8192]
        subprocess.run(["cp", "--reflink=always", folder / "16384", scratch.mount / "copy"], check=True)
        with pytest.raises(PermanentStoreError, match="shares blocks"), underneath.files(where, found, 8192):
            pass


@LOOPS
@tool("mkfs.xfs")
def test_a_file_that_was_copied_by_its_blocks_since_is_not_called_overwritten(tmp_path: Path) -> None:
    """Between erasing and reclaiming: zeros would go elsewhere, and the copy keeps everybody."""
    with image(tmp_path, "xfs") as scratch:
        (scratch.mount / "cenotaph-16384").write_bytes(bytes(range(256)) * 32)
        os.sync()
        subprocess.run(
            ["cp", "--reflink=always", scratch.mount / "cenotaph-16384", scratch.mount / "copy"], check=True
        )
        folder = os.open(scratch.mount, os.O_RDONLY)
        with pytest.raises(PermanentStoreError, match="shares blocks"):
            aside.Aside(folder, 0, 16384, "16384").destroy()
        os.close(folder)
