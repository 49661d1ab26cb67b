"""A PostgreSQL server that goes with its databases: what goes with it, and everything for which it stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import postgres_server
from by_command import grep
from cenotaph import config
from cenotaph.errors import PermanentStoreError, StoreError, TransientStoreError, UsageError
from cenotaph.scope import Selection
from cenotaph.store import GivenCopy, Grade, Reclamation, Retiring, Served, State, Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.stores.postgres.catalog import schema
from cenotaph.stores.postgres.reclaiming import retire
from cenotaph.stores.postgres.session import Place
from postgres_server import Server

PERSON = b"Person-"


def _retire(
    server: Server, *, data: Path | None = None, known: State | None = None, begun: list[State] | None = None
) -> Reclamation:
    around = Surroundings(str(data or server.data), retire_server=True)
    eraser = open_eraser(server.url(), Selection(), frozenset(), around)
    assert isinstance(eraser, Retiring)
    states = begun if begun is not None else []
    return eraser.retire(known, states.append)


def _chown(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, postgres_server.USER, postgres_server.USER)


# ── what goes ────────────────────────────────────────────────────────────────────────────────────


def test_everything_of_a_server_goes_and_nothing_of_others() -> None:
    """The data directory, its log that lies elsewhere, its folder in a tablespace; the folder of another
    version's cluster beside that stays. A reader finds nothing, without a server to ask."""
    server = postgres_server.start()
    try:
        place, wal = server.folder / "space", server.folder / "wal"
        place.mkdir()
        _chown(place)
        server.run(f"CREATE TABLESPACE apart LOCATION '{place}'")
        other = place / "PG_9.6_201608131"
        other.mkdir()
        (other / "kept").write_bytes(b"another cluster's")
        server.run(
            "CREATE TABLE people (name text) TABLESPACE apart",
            "INSERT INTO people SELECT 'Person-' || n FROM generate_series(1, 500) n",
            "DELETE FROM people",
        )
        server.stop_only()
        shutil.move(server.data / "pg_wal", wal)
        (server.data / "pg_wal").symlink_to(wal)
        server.start()
        server.run("CHECKPOINT")
        assert grep([PERSON], server.data, place, wal) == {PERSON}
        url, begun = server.url(), list[State]()

        done = _retire(server, begun=begun)

        assert done.reached is Grade.L3
        assert done.overwritten_bytes > 20 << 20
        assert len(begun) == 1
        assert server.process.wait(10) == 0
        assert not server.data.exists()
        assert not wal.exists()
        assert sorted(path.name for path in place.iterdir()) == ["PG_9.6_201608131"]
        around = Surroundings(str(server.data), retire_server=True)
        reader = open_reader(url, Selection(), around)
        assert (list(reader.collections()), list(reader.raw())) == ([], [])
        assert reader.capabilities.grade is Grade.L3
        assert isinstance(reader, Served)
        assert reader.started() is None
        again = _retire(server, known=begun[0])
        assert (again.reached, again.overwritten_bytes) == (Grade.L3, 0)
    finally:
        server.stop()


def test_a_server_that_does_not_answer_is_not_one_that_went(tmp_path: Path) -> None:
    """While its directory is there, or the case says nothing of its end, a silent server is an error."""
    (tmp_path / "data/global").mkdir(parents=True)
    (tmp_path / "data/global/pg_control").write_bytes(bytes(8192))
    url = f"postgresql://nobody@/none?host={tmp_path}"

    with pytest.raises(TransientStoreError, match="does not answer"):
        open_reader(url, Selection(), Surroundings(str(tmp_path / "data"), retire_server=True))
    with pytest.raises(TransientStoreError, match="does not answer"):
        open_reader(url, Selection(), Surroundings(str(tmp_path / "gone")))
    reader = open_reader(url, Selection(), Surroundings(str(tmp_path / "gone"), retire_server=True))

    assert list(reader.collections()) == []


# ── for what it stays ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = postgres_server.start(
        max_prepared_transactions="2", wal_level="replica", max_wal_senders="4", max_replication_slots="4"
    )
    yield found
    found.stop()


def _stays(server: Server, kind: type[StoreError], words: str, **more: Any) -> None:
    begun: list[State] = []
    with pytest.raises(kind, match=words):
        _retire(server, begun=begun, **more)
    assert begun == []
    assert server.run("SELECT 1") == [(1,)]


def test_rows_of_any_database_keep_the_server(server: Server) -> None:
    """Those of databases and large objects that no store had: counted by database, none is named."""
    names = [server.database("CREATE TABLE t AS SELECT 1 AS n"), server.database("SELECT lo_create(0)")]

    _stays(server, PermanentStoreError, "2 of its databases have rows that stay")

    for name in names:
        server.drop(name)


def test_another_directory_than_the_servers_stays(server: Server, tmp_path: Path) -> None:
    """A wrong path, a copy of the right one, a link to it."""
    copy, link = tmp_path / "copy", tmp_path / "link"
    shutil.copytree(server.data, copy, ignore=shutil.ignore_patterns("pg_wal"))
    link.symlink_to(server.data)

    _stays(server, PermanentStoreError, "not on this machine", data=tmp_path)
    _stays(server, PermanentStoreError, "is a copy of the server", data=copy)
    _stays(server, PermanentStoreError, "symbolic link", data=link)
    assert (copy / "PG_VERSION").exists()


def test_what_was_begun_elsewhere_is_not_finished_here(server: Server) -> None:
    """After a kill another directory, or another cluster, lies where the server was: it runs on."""
    info = server.data.stat()
    (identifier,) = server.run("SELECT system_identifier::text FROM pg_control_system()")[0]
    state = {
        "identifier": identifier,
        "device": info.st_dev,
        "inode": info.st_ino,
        "version": "15",
        "why": "",
    }

    _stays(server, PermanentStoreError, "another directory", known={**state, "inode": info.st_ino + 1})
    _stays(server, PermanentStoreError, "another cluster", known={**state, "identifier": "1"})


def test_a_server_that_was_used_since_it_was_begun_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was to retire it did not live to stop it, and people went on with it: the next run looks
    anew, whatever the first had found. Where it was stopped by somebody else, nobody can look."""
    server = postgres_server.start()
    try:
        begun: list[State] = []
        monkeypatch.setattr(retire, "_lock_out", _killed)
        with pytest.raises(KeyboardInterrupt):
            _retire(server, begun=begun)
        monkeypatch.undo()
        server.run("CREATE TABLE theirs AS SELECT 'precious' AS name")

        with pytest.raises(PermanentStoreError, match="1 of its databases have rows that stay"):
            _retire(server, known=begun[0])

        assert server.run("SELECT name FROM theirs") == [("precious",)]
        server.stop_only()
        with pytest.raises(PermanentStoreError, match="stopped before it was locked out"):
            _retire(server, known=begun[0])
        server.start()
        assert server.run("DELETE FROM theirs RETURNING name") == [("precious",)]
        assert _retire(server, known=begun[0]).reached is Grade.L3
    finally:
        server.stop()


def test_a_server_that_does_not_stop_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is locked out before it is stopped. Whoever still had a session may have left rows in the meantime:
    they are looked for once more."""
    server = postgres_server.start()
    try:
        begun: list[State] = []
        monkeypatch.setattr(retire, "_stop", _killed)
        with pytest.raises(KeyboardInterrupt):
            _retire(server, begun=begun)
        monkeypatch.undo()
        assert not (server.data / "PG_VERSION").exists()
        server.run("CREATE TABLE theirs AS SELECT 'precious' AS name")

        with pytest.raises(PermanentStoreError, match="1 of its databases have rows that stay"):
            _retire(server, known=begun[0])

        server.run("DROP TABLE theirs")
        server.stop_only()
        assert _retire(server, known=begun[0]).reached is Grade.L3
        assert not server.data.exists()
    finally:
        server.stop()


def _killed(*what: object) -> None:
    raise KeyboardInterrupt


def test_a_file_that_is_somebody_elses_too_keeps_the_server(server: Server) -> None:
    """A hard link from outside: zeros would be in that one too."""
    kept = server.folder / "kept"
    os.link(server.data / "PG_VERSION", kept)

    _stays(server, PermanentStoreError, "another name elsewhere")

    kept.unlink()


def test_a_server_that_was_not_surveyed_stays(server: Server) -> None:
    """Another one answers at the address, and at data_dir, than the case knows."""
    reader = open_reader(server.url(), Selection())
    assert isinstance(reader, Served)
    keeper = reader.keeper()
    assert keeper is not None
    around = Surroundings(str(server.data), retire_server=True, keeper=f"1{keeper.identity}")
    eraser = open_eraser(server.url(), Selection(), frozenset(), around)
    assert isinstance(eraser, Retiring)

    with pytest.raises(PermanentStoreError, match="is not the one that was surveyed"):
        eraser.retire(None, list[State]().append)


def test_a_cluster_inside_its_directory_keeps_the_server(server: Server) -> None:
    """Somebody keeps a base backup there, or the cluster from before an upgrade."""
    inner = server.data / "old" / "global"
    inner.mkdir(parents=True)
    (inner / "pg_control").write_bytes(bytes(8192))

    with pytest.raises(PermanentStoreError, match="another cluster, or a base backup, lies inside"):
        _retire(server)

    shutil.rmtree(server.data / "old")


def test_a_link_to_what_is_not_its_own_keeps_the_server(server: Server, tmp_path: Path) -> None:
    """A link in pg_tblspc that no tablespace of it has; and one to files that another server has open."""
    link = server.data / "pg_tblspc" / "99999"
    link.symlink_to(tmp_path)
    with pytest.raises(PermanentStoreError, match="a link in pg_tblspc is none of its tablespaces"):
        _retire(server)
    link.unlink()

    theirs = server.data / "base" / "theirs"
    with theirs.open("wb") as output:
        other = subprocess.Popen(["sleep", "60"], stdout=output, cwd="/")
    try:
        with pytest.raises(PermanentStoreError, match="another program has files open"):
            _retire(server)
    finally:
        other.kill()
        other.wait()
        theirs.unlink()


def test_a_view_with_rows_in_a_database_that_is_no_store_keeps_the_server(server: Server) -> None:
    """Its tables are empty, and what they had is still shown. One in a store's own database does not."""
    name = server.database(
        "CREATE TABLE person (name text)",
        "INSERT INTO person VALUES ('Somebody')",
        "CREATE MATERIALIZED VIEW shown AS TABLE person",
        "DELETE FROM person",
    )
    try:
        with pytest.raises(PermanentStoreError, match="1 of its databases have rows that stay"):
            _retire(server)
        assert not schema.has_rows(Place.of(server.url(name)), views=False)
    finally:
        server.drop(name)


@pytest.mark.parametrize("kind", ["standby", "logical subscriber"])
def test_a_copy_that_outlives_the_server_keeps_the_grade_down(tmp_path: Path, kind: str) -> None:
    """Nobody tells any more whose it was, and its files are not searched."""
    able = retire.reachable(Surroundings(str(tmp_path), (GivenCopy(kind, "postgresql:///there"),)))

    assert able.grade is Grade.L1
    assert kind in able.why_not_higher


def test_a_standby_that_nobody_listed_keeps_the_server(server: Server) -> None:
    """It would be left with everything."""
    server.run("SELECT pg_create_physical_replication_slot('standby')")

    _stays(server, TransientStoreError, "1 standbys receive .* lists 0")

    server.run("SELECT pg_drop_replication_slot('standby')")


@pytest.mark.parametrize(
    "more",
    ['scope = { collections = ["*.a"] }\ndata_dir = "/x"', "", 'data_dir = "/x"\n{other}data_dir = "/x"'],
)
def test_a_case_that_retires_a_server_has_all_of_it(tmp_path: Path, more: str) -> None:
    """Part of a database, no data_dir, or another store of the server that stays: refused as it is read."""
    other = '[[store]]\nname = "b"\nurl = "postgresql://a@h/b"\n'
    (tmp_path / "case.toml").write_text(
        '[case]\nname = "c"\noperator = "o"\nkey = "file:k"\n[[store]]\nname = "a"\n'
        f'url = "postgresql://a@h/a"\nretire_server = true\n{more.replace("{other}", other)}\n'
    )

    with pytest.raises(UsageError, match="a server goes with all that it has"):
        config.load(tmp_path / "case.toml")
