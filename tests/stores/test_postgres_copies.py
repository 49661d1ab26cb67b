"""Copies outside a PostgreSQL server: found, read by the probe, destroyed. Each is full of people first."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import lz4.frame
import pyarrow as pa
import pytest
import zstandard

import postgres_server
from cenotaph import durable
from cenotaph.errors import PermanentStoreError
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.scan import scan
from cenotaph.scope import EVERYTHING, Hold, Selection, parse_predicate
from cenotaph.store import GivenCopy, Grade, HeldBeside, Reclamation, Restorable, Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.stores.postgres.outside import archive, backups, beside, logs, renewal, standby
from cenotaph.stores.postgres.reader import Retired
from cenotaph.testing.contract import Log, Rows

postgres_server.need()
psycopg = postgres_server.psycopg

PEOPLE = 300
SHARED = frozenset(("statistics", "wal", "wal_archive"))
PATIENTS = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text)",
    f"INSERT INTO patient SELECT n, 'Person-' || md5(n::text) FROM generate_series(1, {PEOPLE}) n",
    "CREATE TABLE stays (id int8 PRIMARY KEY, name text)",
    "INSERT INTO stays SELECT n, 'Other-' || md5((-n)::text) FROM generate_series(1, 50) n",
)
ALL = ("public.patient", "public.stays")


class Place:
    """A server of its own with an archive, in folders that the server's user may enter."""

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cenotaph-pg-"))
        self.folder.chmod(0o711)
        self.archive = self.new("archive")
        inner = self.new("server")
        chosen = {
            "wal_level": "replica",
            "max_wal_senders": "4",
            "archive_mode": "on",
            "wal_recycle": "on",
            **settings,
        }
        self.server = postgres_server.start_in(inner, chosen)
        self.archives_by(f"test ! -f {self.archive}/%f && cp %p {self.archive}/%f")
        self.name = self.server.database(*PATIENTS)
        self.url = self.server.url(self.name)
        names = self.sql("SELECT name FROM patient")
        self.needles = {str(name).encode() for (name,) in names}

    def new(self, name: str) -> Path:
        """A folder of the server's user."""
        made = self.folder / name
        made.mkdir()
        if os.geteuid() == 0:
            shutil.chown(made, postgres_server.USER, postgres_server.USER)
        return made

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        return self.server.run(*statements, database=self.name)

    def archives_by(self, command: str) -> None:
        self.server.run(f"ALTER SYSTEM SET archive_command = '{command}'", "SELECT pg_reload_conf()")

    def switch(self) -> None:
        """Have everything up to now archived."""
        before = self.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
        self.sql("CHECKPOINT", "SELECT pg_switch_wal()")
        deadline = time.monotonic() + 30
        while self.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")[0][0] < str(before):
            assert time.monotonic() < deadline, "the segment was not archived"
            time.sleep(0.02)

    def reclaim(
        self,
        *collections: str,
        shared: frozenset[str] = SHARED,
        copies: tuple[GivenCopy, ...] = (),
        selection: Selection | None = None,
    ) -> Reclamation:
        """Erase whole collections and reclaim, as `destroy` does."""
        chosen = selection or Selection(collections=collections)
        around = Surroundings(copies=copies)
        reader = open_reader(self.url, chosen, around)
        found = [c for c in reader.collections() if c.records]
        eraser = open_eraser(self.url, chosen, shared, around)
        try:
            for collection in found:
                for partition in reader.partitions(collection):
                    rows = Rows(reader.batches(partition))
                    eraser.erase(partition, rows, Log(sealed=rows))
            listed = [c for c in reader.collections() if chosen.includes(c.name)]
            return eraser.reclaim(listed)
        finally:
            eraser.close()

    def residue(self, kind: str, *copies: GivenCopy) -> int:
        """How many people the probe finds in places of a kind, outside of what stays."""
        builder = NeedleBuilder(bytes(32))
        builder.add(pa.array([needle.decode() for needle in sorted(self.needles)]), "name")
        sought = builder.finish()
        found: set[int] = set()
        reader = open_reader(
            self.url, Selection(collections=("public.patient",)), Surroundings(copies=copies)
        )
        for extent in reader.raw():
            if extent.kind == kind:
                with extent.open() as stream:
                    found |= scan(stream, extent.length, sought, extent.kept).residue
        return len(found)

    def kinds(self, *copies: GivenCopy) -> list[str]:
        reader = open_reader(self.url, EVERYTHING, Surroundings(copies=copies))
        return [copy.kind for copy in reader.copies(reader.collections()[0])]

    def stop(self) -> None:
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def standing() -> Iterator[Place]:
    made = Place()
    yield made
    made.stop()


@pytest.fixture
def place(standing: Place) -> Place:
    """The people are back, and archived."""
    standing.sql("TRUNCATE patient", PATIENTS[1])
    standing.switch()
    return standing


def test_the_archive_is_found_read_and_destroyed(place: Place) -> None:
    """From the server's own setting: all people were in it, and none is once the shared action has run."""
    assert archive.KIND in place.kinds()
    assert place.residue("wal archive") == PEOPLE
    segments = set(place.archive.iterdir())

    reclaimed = place.reclaim("public.patient")

    assert not segments & set(place.archive.iterdir())
    assert place.residue("wal archive") == 0
    assert "archive" not in reclaimed.why_not_higher
    assert any("recovery to before now" in note for note in reclaimed.notes)
    assert place.sql("SELECT count(*) FROM stays") == [(50,)]


def test_without_the_shared_action_it_stays_and_is_told(place: Place) -> None:
    """Nobody who owns the archive agreed: it is whole, and the grade is L1 because of it."""
    before = set(place.archive.iterdir())

    reclaimed = place.reclaim("public.patient", shared=frozenset(("statistics", "wal")))

    assert before <= set(place.archive.iterdir())
    assert reclaimed.reached is Grade.L1
    assert "wal_archive" in reclaimed.why_not_higher
    assert place.residue("wal archive") == PEOPLE


def test_compressed_segments_go_and_whatever_else_lies_there_stays(place: Place) -> None:
    """Only what is named as the log's files are, and is: no other file, folder or link is touched."""
    packed = {".gz": gzip.compress, ".zst": zstandard.compress, ".lz4": lz4.frame.compress}
    for _ in packed:
        place.switch()
    segments = sorted(path for path in place.archive.iterdir() if len(path.name) == 24)
    for path, (ending, pack) in zip(segments, itertools.cycle(packed.items()), strict=False):
        path.with_name(path.name + ending).write_bytes(pack(path.read_bytes()))
        path.unlink()
    assert place.residue("wal archive") == PEOPLE
    elsewhere = place.folder / "elsewhere"
    elsewhere.write_bytes(b"another's")
    stays = {
        "README": b"another's",
        "000000010000000000000001.txt": b"another's",
        "00000001000000000000000G": b"another's",
        "base/000000010000000000000001": b"another's",
        "000000010000000000000001\n": b"another's",
        "000000010000000000000000": b"no segment at all",
    }
    (place.archive / "base").mkdir()
    for name, content in stays.items():
        (place.archive / name).write_bytes(content)
    (place.archive / "000000010000000000000002.gz").symlink_to(elsewhere)

    reclaimed = place.reclaim("public.patient")

    assert place.residue("wal archive") == 0
    assert not [path for path in place.archive.iterdir() if path.name.startswith(segments[-1].name)]
    assert {name: (place.archive / name).read_bytes() for name in stays} == stays
    assert elsewhere.read_bytes() == b"another's"
    told = f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert "1 files in the wal archive have names of segments, and are none" in told
    assert "1 symlinks in the wal archive were not followed" in told
    assert "5 other files or folders" in told
    for name in (*stays, "000000010000000000000002.gz"):
        (place.archive / name).unlink()
    (place.archive / "base").rmdir()


def test_the_archive_of_another_server_is_refused(place: Place, tmp_path: Path) -> None:
    """A wrong path leads to another server's segments, of the same names: nothing in it changes."""
    source = next(path for path in place.archive.iterdir() if len(path.name) == 24)
    mine = source.read_bytes()
    foreign = bytearray(mine)
    foreign[24] ^= 1  # the system identifier
    (tmp_path / source.name).write_bytes(mine)
    (tmp_path / "000000010000000000000001").write_bytes(foreign)
    given = GivenCopy("wal archive", str(tmp_path))

    reclaimed = place.reclaim("public.patient", copies=(given,))

    assert reclaimed.reached is Grade.L1
    assert "another server" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert (tmp_path / source.name).read_bytes() == mine
    assert place.residue("wal archive") == 0


def test_a_file_with_another_name_elsewhere_is_refused(place: Place) -> None:
    """A hard link keeps the content under a name outside the archive: said, and nothing there is begun."""
    segments = sorted(path for path in place.archive.iterdir() if len(path.name) == 24)
    linked = place.folder / "linked"
    linked.hardlink_to(segments[-1])

    reclaimed = place.reclaim("public.patient")

    assert "hard link" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert all(path.exists() for path in segments)
    linked.unlink()


def test_a_killed_run_is_resumed(place: Place) -> None:
    """SIGKILL while the third file is being overwritten: it lies there without its name, and the next run
    destroys it with the rest."""
    done = [0]
    overwrite = durable.overwrite

    def killed(fd: int, length: int, **more: object) -> int:
        done[0] += 1
        if done[0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return overwrite(fd, length, **more)  # type: ignore[arg-type]

    child = os.fork()
    if child == 0:
        durable.overwrite = killed
        place.reclaim("public.patient")
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert [path for path in place.archive.iterdir() if durable.is_tombstone(path.name.encode())]

    reclaimed = place.reclaim("public.patient")

    assert place.residue("wal archive") == 0
    assert "archive" not in reclaimed.why_not_higher
    assert not [path for path in place.archive.iterdir() if durable.is_tombstone(path.name.encode())]


def test_a_lying_archive_command_is_noticed(place: Place) -> None:
    """It reports success and writes elsewhere: what the server archived last is not where it should be."""
    cheat = place.folder / "cp"
    elsewhere = place.new("cheated")
    cheat.write_text(f"#!/bin/sh\nexec /bin/cp $1 {elsewhere}/\n")
    cheat.chmod(0o755)
    honest = place.sql("SELECT current_setting('archive_command')")[0][0]
    place.archives_by(f"{cheat} %p {place.archive}/%f")

    reclaimed = place.reclaim("public.patient")

    place.archives_by(str(honest))
    assert reclaimed.reached is Grade.L1
    assert "what the server archived last is not there" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert list(elsewhere.iterdir())


def test_what_waits_for_a_failing_archiver_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be archived after everything else was destroyed, and what is in its way may be another
    server's: nothing goes, L1, with the number of segments."""
    monkeypatch.setattr(archive, "ARCHIVED_WITHIN", 5.0)
    before = set(place.archive.iterdir())
    place.archive.chmod(0o500)
    place.sql("TRUNCATE patient", PATIENTS[1])

    reclaimed = place.reclaim("public.patient")

    place.archive.chmod(0o700)
    assert reclaimed.reached is Grade.L1
    assert "wait for the archiver: its command fails" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert before <= set(place.archive.iterdir())


def test_the_archive_that_a_silent_standby_may_need_stays(place: Place) -> None:
    """The case names a standby that takes its log from the archive, and does not answer now."""
    silent = GivenCopy("standby", place.server.url().replace("port=5432", "port=5999"))
    segments = set(place.archive.iterdir())

    reclaimed = place.reclaim("public.patient", copies=(silent,))

    told = f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert "the wal archive stays: a standby that the case names may need" in told
    assert segments <= set(place.archive.iterdir())


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ("cp %p /a/%f", "/a"),
        ("cp -p %p /a/b/%f", "/a/b"),
        ('cp "%p" "/a b/%f"', "/a b"),
        ("test ! -f /a/%f && cp %p /a/%f", "/a"),
        ("[ ! -f /a/%f ] && /usr/bin/cp %p /a/%f", "/a"),
        ("install -m 600 %p /a/%f", None),
        ("install --mode=600 %p /a/%f", "/a"),
        ("rsync -a %p /a/%f", "/a"),
        ("rsync -a %p host:/a/%f", None),
        ("test ! -f /a/%f && cp %p /b/%f", None),
        ("cp %p /a/%f; cp %p /b/%f", None),
        ("cp %p /a/%f && cp %p /b/%f", None),
        ("cp %p $ARCHIVE/%f", None),
        ("cp %p /a/%f/../x", None),
        ("cp %p /a/%p/%f", None),
        ("gzip < %p > /a/%f.gz", None),
        ("pgbackrest --stanza=main archive-push %p", None),
        ("cp '%p /a/%f", None),
        ("", None),
    ],
)
def test_only_a_plain_archive_command_is_understood(command: str, folder: str | None) -> None:
    """What could write elsewhere too is not taken for a place."""
    assert archive.plain(command) == folder


def test_the_archive_that_a_copy_of_the_server_shares_with_it_stays(tmp_path: Path) -> None:
    """A server was made of another's base backup, archive command and identifier included, and promoted. What
    goes is its database; the other one's archive stays, all of it."""
    it = Place()
    clone = None
    try:
        folder = it.new("clone")
        line = [BIN / "pg_basebackup", "-D", folder / "data", "-X", "fetch", "-c", "fast", "-d", it.url]
        subprocess.run(postgres_server.as_server(list(map(str, line))), check=True)
        (folder / "data" / "standby.signal").touch()
        chosen = {"wal_level": "replica", "max_wal_senders": "4", "archive_mode": "on", "hot_standby": "on"}
        clone = postgres_server.Server(folder, port=5433, settings=chosen)
        clone.run("SELECT pg_promote()", "CHECKPOINT")
        for _ in range(3):
            it.switch()  # what the clone does not come from
        kept = {path.name: path.read_bytes() for path in it.archive.iterdir()}
        around = Surroundings(str(folder / "data"))
        selection = Selection(collections=("public.patient",))
        eraser = open_eraser(clone.url(it.name), selection, SHARED, around)
        reader = open_reader(clone.url(it.name), selection, around)

        reclaimed = eraser.reclaim(list(reader.collections()))

        eraser.close()
        assert "another server may archive there" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
        assert kept.items() <= {path.name: path.read_bytes() for path in it.archive.iterdir()}.items()
    finally:
        if clone is not None:
            clone.stop_only()
        it.stop()


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────

LOGS = SHARED | {"logs"}


def test_the_log_of_the_collector_is_found_and_forgotten() -> None:
    """Three files of statements, and one that was rotated: gone; the server writes the same three on."""
    json = ",jsonlog" if postgres_server.shared().version >= 150000 else ""
    it = Place(
        logging_collector="on",
        log_destination=f"stderr,csvlog{json}",
        log_statement="mod",
        log_filename="postgresql-%a.log",
        shared_preload_libraries="pg_stat_statements",
    )
    try:
        it.sql("CREATE SCHEMA tools", "CREATE EXTENSION pg_stat_statements SCHEMA tools")
        folder = it.server.data / "log"
        names = "', '".join(needle.decode() for needle in sorted(it.needles))
        it.sql(f"UPDATE patient SET name = name WHERE name IN ('{names}')")
        it.sql(f"COMMENT ON TABLE patient IS '{sorted(it.needles)[0].decode()}'")
        rotated = folder / "postgresql-Sun.log.1.gz"
        rotated.write_bytes(gzip.compress(b"\n".join(it.needles)))
        foreign = folder / "notes.txt"
        foreign.write_text("another's")
        assert {"server log", "statement statistics"} <= set(it.kinds())
        assert it.residue("server log") == PEOPLE
        current = {path: path.stat().st_ino for path in folder.glob("postgresql-*") if path != rotated}
        assert len({path.suffix for path in current}) == (3 if json else 2)

        reclaimed = it.reclaim("public.patient", shared=LOGS)

        assert it.residue("server log") == 0
        assert not rotated.exists()
        assert foreign.read_text() == "another's"
        assert {path: path.stat().st_ino for path in current} == current
        assert "log" not in reclaimed.why_not_higher
        assert it.sql("SELECT count(*) FROM tools.pg_stat_statements WHERE query LIKE '%Person%'") == [(0,)]
        it.sql("UPDATE stays SET name = 'afterwards'")
        for path in current:
            assert b"afterwards" in path.read_bytes()
            assert not path.read_bytes().startswith(b"\0")
    finally:
        it.stop()


def test_the_log_that_standard_error_goes_to_is_found(place: Place) -> None:
    """Nobody told where it is; the kernel does. It stays the same file, and what follows is written to it."""
    output = place.server.folder / "output"
    inode = output.stat().st_ino
    key = sorted(place.needles)[7].decode()
    place.sql("CREATE UNIQUE INDEX once ON patient (name)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        place.sql(f"INSERT INTO patient VALUES (9999, '{key}')")
    (output.parent / "output.1").write_bytes(key.encode())
    (output.parent / "output-of-another").write_text("another's")
    assert place.residue("server log") == 1

    reclaimed = place.reclaim("public.patient", shared=LOGS)

    assert place.residue("server log") == 0
    assert output.stat().st_ino == inode
    assert not (output.parent / "output.1").exists()
    assert (output.parent / "output-of-another").read_text() == "another's"
    assert "server log" not in reclaimed.why_not_higher


def test_a_log_that_is_given_is_forgotten(place: Place, tmp_path: Path) -> None:
    """A file or a folder that the case names, with what is rotated of it, and nothing else there."""
    key = sorted(place.needles)[8]
    (tmp_path / "a.log").write_bytes(key)
    (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(key))
    (tmp_path / "a.csv").write_bytes(key)
    for name in ("b.txt", "table.csv"):
        (tmp_path / name).write_bytes(b"another's")
    given = GivenCopy("server log", str(tmp_path))
    assert place.residue("server log", given) == 1
    assert "server log" in place.kinds(given)

    place.reclaim("public.patient", shared=LOGS, copies=(given,))

    assert place.residue("server log", given) == 0
    assert (tmp_path / "a.log").read_bytes() == b""
    for name in ("b.txt", "table.csv"):
        assert (tmp_path / name).read_bytes() == b"another's"


def test_a_log_that_another_program_writes_to_stays(place: Place, tmp_path: Path) -> None:
    """A folder of everybody's logs, /var/log perhaps: one of them is open in a program that is not the
    server, and nothing there is touched. Programs that only read one, as those that forward logs do, are
    no matter."""
    for name in ("auth.log", "pg.log"):
        (tmp_path / name).write_bytes(b"line")
    given = GivenCopy("server log", str(tmp_path))
    with (tmp_path / "auth.log").open("ab") as theirs:
        other = subprocess.Popen(["sleep", "60"], stdout=theirs, cwd="/")
    try:
        reclaimed = place.reclaim("public.patient", shared=LOGS, copies=(given,))
    finally:
        other.kill()
        other.wait()

    assert "another program writes to" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert [(tmp_path / name).read_bytes() for name in ("auth.log", "pg.log")] == [b"line"] * 2

    with (tmp_path / "pg.log").open("rb") as read:
        reader = subprocess.Popen(["sleep", "60"], stdin=read, cwd="/")
    place.reclaim("public.patient", shared=LOGS, copies=(given,))
    reader.kill()
    reader.wait()

    assert (tmp_path / "pg.log").read_bytes() == b""


def test_a_folder_of_logs_is_not_taken_where_the_server_names_its_own(place: Place) -> None:
    """The folder has the logs of two servers, and the other one is down: only what the kernel tells is its
    log goes, and the rest is told."""
    folder = place.server.folder
    (folder / "other-15-main.log").write_bytes(b"another's")

    reclaimed = place.reclaim("public.patient", shared=LOGS, copies=(GivenCopy("server log", str(folder)),))

    assert (folder / "other-15-main.log").read_bytes() == b"another's"
    assert "1 files in the server log's folder" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    (folder / "other-15-main.log").unlink()


@pytest.mark.parametrize(
    ("told", "ours", "others"),
    [
        ("postgresql-%a.log", "postgresql-Mon.log postgresql-Mon.csv.1.gz", "postgresql-15-other.log"),
        (
            "postgresql-%Y-%m-%d_%H%M%S.log",
            "postgresql-2026-11-22_120000.log postgresql-2026-11-22_120000.json",
            "postgresql-2026-11-22.log postgresql.log dpkg.log",
        ),
        (
            "server.log",
            "server.log server.csv server.log-20261122.gz server.log.1",
            "server.log.old server-2.log",
        ),
        ("%Y-%m-%d.log", None, ""),
        ("x%Q.log", None, ""),
    ],
)
def test_only_names_that_the_collector_gives_are_its_logs(told: str, ours: str | None, others: str) -> None:
    """Its folder may be everybody's: what another program or server writes there has another name."""
    pattern = logs.collected(told)

    assert (pattern is None) == (ours is None)
    if pattern is not None and ours is not None:
        assert all(pattern.fullmatch(name) for name in ours.split())
        assert not any(pattern.fullmatch(name) for name in others.split())


def test_a_log_in_syslog_is_told_as_not_reached(place: Place) -> None:
    """Another program keeps it: said, and the grade held down."""
    place.server.run("ALTER SYSTEM SET log_destination = 'stderr,syslog'", "SELECT pg_reload_conf()")

    reclaimed = place.reclaim("public.patient", shared=LOGS)

    place.server.run("ALTER SYSTEM RESET log_destination", "SELECT pg_reload_conf()")
    assert reclaimed.reached is Grade.L1
    assert "server log, place not known" in f"{reclaimed.why_not_higher} {reclaimed.notes}"


# ── dumps and base backups ───────────────────────────────────────────────────────────────────────

BACKUPS = LOGS | {"backups"}
BIN = postgres_server.need()


def dump(place: Place, path: Path, *options: str) -> Path:
    subprocess.run([BIN / "pg_dump", *options, "-f", path, "-d", place.url], check=True)
    return path


def base_backup(place: Place, path: Path, *options: str) -> Path:
    line = [BIN / "pg_basebackup", "-D", path, "-X", "fetch", "-c", "fast", *options, "-d", place.url]
    subprocess.run(line, check=True)
    return path


def packed(place: Place, path: Path) -> Path:
    """A plain dump, compressed by another program."""
    plain = dump(place, path.with_suffix(".sql"))
    path.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return path


@pytest.mark.parametrize(
    "form", ["-Fc", *(pytest.param(form, marks=pytest.mark.slow) for form in ("-Fp", "-Fd", "-Ft", "gz"))]
)
def test_a_dump_goes_once_a_new_one_was_compared(place: Place, form: str) -> None:
    """A part of the database stays: what is at the new place restores to just that, and the old one goes."""
    new, old = place.folder / f"new{form}", place.folder / f"old{form}"
    given = GivenCopy("dump", str(packed(place, old) if form == "gz" else dump(place, old, form)), str(new))
    assert place.residue("dump", given) == PEOPLE
    assert "dump" in place.kinds(given)

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    assert not old.exists()
    assert "dump" not in f"{reclaimed.why_not_higher} {reclaimed.notes}".replace("dumps and base", "")
    assert place.residue("dump", given) == 0
    restored = subprocess.run([BIN / "pg_restore", "-f", "-", new], check=True, capture_output=True).stdout
    assert restored.count(b"Other-") == 50
    assert b"Person-" not in restored
    assert not [
        p for p in place.folder.iterdir() if p.name.startswith(".cenotaph") or p.name.endswith("-new")
    ]


def test_a_dump_goes_at_once_where_nothing_stays(place: Place) -> None:
    """Everything of the database is destroyed, without any hold: no new dump is needed."""
    old = dump(place, place.folder / "whole.dump", "-Fc")
    stays = place.sql("SELECT * FROM stays")

    reclaimed = place.reclaim("*", shared=BACKUPS, copies=(GivenCopy("dump", str(old)),))

    place.sql(PATIENTS[3])
    assert place.sql("SELECT * FROM stays") == stays
    assert not old.exists()
    assert "dump stays" not in f"{reclaimed.why_not_higher} {reclaimed.notes}"


@pytest.mark.parametrize("where", ["postgres", "the same database"])
def test_a_base_backup_stays_where_rows_are_left(where: str) -> None:
    """In the database that every server has, and in which people put tables all the same; or in a table that
    came since, or could not be erased yet: nobody made a new one, so the old one stays."""
    it = Place()
    try:
        it.sql("DELETE FROM patient", "DELETE FROM stays")
        old = base_backup(it, it.folder / "only", "-Ft")
        if where == "postgres":
            it.server.run("CREATE TABLE theirs AS SELECT 1 AS id")
        else:
            it.sql("INSERT INTO stays VALUES (1, 'came back')")
        given = GivenCopy("base backup", str(old))
        eraser = open_eraser(it.url, Selection(), BACKUPS, Surroundings(copies=(given,)))

        reclaimed = eraser.reclaim(())

        eraser.close()
        assert "a base backup stays: " in f"{reclaimed.why_not_higher} {reclaimed.notes}"
        assert (old / "base.tar").exists()
    finally:
        it.stop()


@pytest.mark.parametrize("begun", ["", ".cenotaph-old"])
def test_a_base_backup_stays_for_a_hold_at_another_store_of_its_server(place: Place, begun: str) -> None:
    """It has all databases. Also where a run had begun with it, and the hold is newer; and the log's archive
    stays with it."""
    old = base_backup(place, place.folder / f"for-both{begun}", "-Ft")
    given = GivenCopy("base backup", str(old).removesuffix(begun), str(place.folder / "unused"))
    held = HeldBeside(place.server.url(), base_backup=True)
    around = Surroundings(copies=(given,), held_beside=(held,))
    segments = set(place.archive.iterdir())
    eraser = open_eraser(place.url, Selection(collections=("public.patient",)), BACKUPS, around)

    reclaimed = eraser.reclaim(())

    eraser.close()
    told = f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert "a base backup stays: it may hold records that are held" in told
    assert "the wal archive stays: a base backup that a hold keeps" in told
    assert (old / "base.tar").exists()
    assert segments <= set(place.archive.iterdir())
    shutil.rmtree(old)


@pytest.mark.slow
def test_a_new_base_backup_with_links_in_it_is_not_started(place: Place) -> None:
    """Its log is a link, to that of a running server perhaps, into which one started on it would write."""
    old, new = (base_backup(place, place.folder / name) for name in ("old-base", "new-base"))
    shutil.move(new / "pg_wal", place.folder / "log-of-another")
    (new / "pg_wal").symlink_to(place.folder / "log-of-another")
    before = [(path, path.stat().st_mtime_ns) for path in (place.folder / "log-of-another").iterdir()]
    given = GivenCopy("base backup", str(old), str(new))

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    assert "links or special files" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert [(p, p.stat().st_mtime_ns) for p in (place.folder / "log-of-another").iterdir()] == before
    for path in (old, new, place.folder / "log-of-another"):
        shutil.rmtree(path)


def test_a_killed_run_goes_on_with_the_dump_that_it_had_begun(place: Place) -> None:
    """SIGKILL while it is overwritten: it is no dump any more, and goes all the same."""
    old = dump(place, place.folder / "killed.dump", "-Fd")
    given = GivenCopy("dump", str(old))
    syncfs = durable.syncfs
    child = os.fork()
    if child == 0:
        durable.syncfs = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
        place.reclaim("*", shared=BACKUPS, copies=(given,))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert durable.syncfs is syncfs
    assert "dump" in place.kinds(given)
    (begun,) = [path for path in place.folder.iterdir() if path.name.startswith("killed.dump")]

    place.reclaim("*", shared=BACKUPS, copies=(given,))

    place.sql(PATIENTS[3])
    assert not begun.exists()
    assert "dump" not in place.kinds(given)


def test_a_dump_without_a_place_for_a_new_one_stays(place: Place) -> None:
    """A part of the database is to stay, and this may be its only backup: said, L1."""
    old = dump(place, place.folder / "only.dump", "-Fc")

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(GivenCopy("dump", str(old)),))

    assert old.exists()
    assert reclaimed.reached is Grade.L1
    assert "a dump stays: a part of the database stays" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    old.unlink()


def test_a_dump_that_a_hold_may_need_stays(place: Place) -> None:
    """Some patients are under a hold, and the dump may have them as they were: kept, listed so, L1."""
    old = dump(place, place.folder / "held.dump", "-Fc")
    given = GivenCopy("dump", str(old), str(place.folder / "unused"))
    hold = Hold(collections=("public.patient",), rows=parse_predicate("id < 9"))
    selection = Selection(collections=("public.patient",), holds=(hold,))

    reclaimed = place.reclaim(shared=BACKUPS, copies=(given,), selection=selection)

    assert old.exists()
    assert not (place.folder / "unused").exists()
    assert "dump, kept for a hold" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    old.unlink()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("another file", "no dump that pg_dump wrote"),
        ("another database", "a dump of another database"),
        ("another database, plain", "no table of this database"),
        ("another database, its rows alone", "no table of this database"),
        pytest.param("another server's of that name", "no table of this database", marks=pytest.mark.slow),
        ("cut off", "broken off"),
        ("link", "is a symlink"),
    ],
)
def test_what_is_no_dump_of_the_database_is_left_alone(place: Place, wrong: str, why: str) -> None:
    """A wrong path destroys nothing, and says what is wrong."""
    path = place.folder / "given"
    if wrong == "another file":
        path.write_bytes(b"another's")
    elif wrong.startswith("another database"):
        place.server.run("CREATE TABLE IF NOT EXISTS foreigners (id int8)")
        form = "-Fc" if wrong == "another database" else "-Fp" if wrong.endswith("plain") else "-a"
        subprocess.run([BIN / "pg_dump", form, "-f", path, "-d", place.server.url()], check=True)
    elif wrong.startswith("another server"):
        place.server.run(f"ALTER DATABASE {place.name} RENAME TO aside", f"CREATE DATABASE {place.name}")
        place.sql("CREATE TABLE foreigners (id int8)")
        subprocess.run([BIN / "pg_dump", "-Fc", "-f", path, "-d", place.url], check=True)
        place.server.drop(place.name)
        place.server.run(f"ALTER DATABASE aside RENAME TO {place.name}")
    elif wrong == "cut off":
        whole = dump(place, place.folder / "whole", "-Fc")
        path.write_bytes(whole.read_bytes()[:200])
        whole.unlink()
    else:
        path.symlink_to(place.folder / "nothing")
    before = os.lstat(path)

    reclaimed = place.reclaim("*", shared=BACKUPS, copies=(GivenCopy("dump", str(path)),))

    place.sql(PATIENTS[3])
    assert why in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert os.lstat(path).st_size == before.st_size
    path.unlink()


def test_what_came_to_the_place_while_a_new_one_was_made_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nightly job writes the next dump over the one that was looked at: nobody looked at that."""
    old, tonight = dump(place, place.folder / "nightly", "-Fc"), place.folder / "tonight"
    given = GivenCopy("dump", str(old), str(place.folder / "unused"))
    tonight.write_bytes(old.read_bytes())
    monkeypatch.setattr(renewal, "renew", lambda *_: tonight.rename(old))

    told = renewed(place.url, given)

    assert "something else came to lie at its place" in told
    assert old.exists()
    old.unlink()


@pytest.mark.parametrize(
    "other", ["notes.txt", "pg_wal/notes.txt", "base/5/mine", "base/mine/1", "pg_xact/x"]
)
def test_a_base_backup_without_a_list_has_only_names_that_a_cluster_has(place: Place, other: str) -> None:
    """Whatever else lies there is somebody's: all names of a server's own directory, and no other."""
    names = [path.relative_to(place.server.data) for path in place.server.data.rglob("*") if path.is_file()]
    own = [str(name) for name in names if str(name) not in ("postmaster.pid", "backup_manifest")]

    def found(*more: str) -> backups.Backup:
        files = tuple(beside.Found(os.fsencode(name), 1) for name in (*own, *more))
        return backups.Backup("base backup", "/nowhere", True, files, None)

    backups._only_of_a_cluster(found())
    with pytest.raises(PermanentStoreError, match="move them elsewhere"):
        backups._only_of_a_cluster(found(other))


@pytest.mark.slow
def test_a_killed_renewal_is_begun_again(place: Place) -> None:
    """SIGKILL while the restored dump is compared: the old one is there, and the scratch server is not; the
    next run leaves a new dump, and nothing else."""
    old, new = dump(place, place.folder / "old.dump", "-Fc"), place.folder / "new.dump"
    given = GivenCopy("dump", str(old), str(new))
    child = os.fork()
    if child == 0:
        renewal._compare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        place.reclaim("public.patient", shared=BACKUPS, copies=(given,))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert old.exists()
    assert not new.exists()
    left = [path for path in place.folder.iterdir() if path.name.startswith(".cenotaph-")]
    process = int((left[0] / "server" / "data" / "postmaster.pid").read_text().splitlines()[0])
    deadline = time.monotonic() + 30
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()

    place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    assert not old.exists()
    assert new.exists()
    assert not [path for path in place.folder.iterdir() if ".cenotaph-" in path.name]
    new.unlink()


@pytest.mark.slow
def test_a_new_dump_that_differs_is_not_believed(place: Place) -> None:
    """Something else lies at its place, older by one row: the old one stays."""
    old, new = (dump(place, place.folder / name, "-Fc") for name in ("old.dump", "new.dump"))
    given = GivenCopy("dump", str(old), str(new))

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    assert old.exists()
    assert reclaimed.reached is Grade.L1
    assert "not as in the database once it is restored" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    old.unlink()
    new.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("options", [("-Fp",), ("-Ft",), ("-Ft", "-z")])
def test_a_base_backup_goes_once_a_new_one_was_compared(place: Place, options: tuple[str, ...]) -> None:
    """Other databases stay: the new one starts as a server, with all of them, and without the people."""
    old, new = place.folder / "base", place.folder / "renewed"
    given = GivenCopy("base backup", str(base_backup(place, old, *options)), str(new))
    assert place.residue("base backup", given) == PEOPLE

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    told = f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert not old.exists()
    assert "base backup stays" not in told
    assert (new / "backup_label").exists()
    assert place.residue("base backup", given) == 0
    shutil.rmtree(new)


HOSTILE = (
    "CREATE EXTENSION citext",
    "CREATE SCHEMA apart",
    "CREATE EXTENSION hstore SCHEMA apart",
    "CREATE FUNCTION plain(int4) RETURNS int4 LANGUAGE internal AS 'int4abs'",
    "CREATE VIEW plainly AS SELECT plain(1)",
    "CREATE EXTENSION postgres_fdw",
    "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE FOREIGN TABLE outside (id int8) SERVER elsewhere",
    "SELECT lo_from_bytea(0, 'object')",
)


def hostile(server: postgres_server.Server, path: Path) -> str:
    """A database whose functions obey the role that restores its dump, or plans a query of its tables. None
    does anything in the database itself."""
    return server.database(
        *PATIENTS,
        *HOSTILE,
        f"CREATE FUNCTION does() RETURNS void LANGUAGE plpgsql AS"
        f" $$ BEGIN COPY (SELECT 1) TO PROGRAM 'touch {path}'; END $$",
        """CREATE FUNCTION runs(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
            IF current_setting('hot_standby') = 'off' THEN -- on a private server
                PERFORM public.does();
            END IF;
            RETURN true;
        EXCEPTION WHEN insufficient_privilege THEN RETURN true;
        END $$""",
        "CREATE TABLE apart.baited (id citext CHECK (public.runs(id::text)), more apart.hstore)",
        "INSERT INTO apart.baited VALUES ('Bait', 'a=>1')",
        "CREATE INDEX ON apart.baited ((public.runs('anything')))",
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM runs(NULL); END'",
        "CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch()",
    )


def renewed(url: str, given: GivenCopy) -> str:
    """What is told of reclaiming a copy, of which a part stays."""
    chosen, around = Selection(collections=("public.patient",)), Surroundings(copies=(given,))
    eraser = open_eraser(url, chosen, frozenset(("backups",)), around)
    try:
        reclaimed = eraser.reclaim(())
    finally:
        eraser.close()
    return f"{reclaimed.why_not_higher} {reclaimed.notes}"


@pytest.mark.parametrize("kind", ["dump", pytest.param("base backup", marks=pytest.mark.slow)])
def test_nothing_of_a_copy_runs_with_rights_while_it_is_compared(place: Place, kind: str) -> None:
    """A check that starts a program, an index that does so when a query is planned: on the private server
    neither may, and the rows of extensions' types, the functions of another language and foreign tables
    keep nothing from being restored and compared."""
    ran = place.new("written-of-" + kind[:4]) / "ran"
    old, new = place.folder / f"hostile {kind}", place.folder / f"renewed {kind}"
    name = hostile(place.server, ran)
    url = place.server.url(name)
    if kind == "dump":
        subprocess.run([BIN / "pg_dump", "-Fc", "-f", old, "-d", url], check=True)
    else:
        base_backup(place, old, "-Fp")

    told = renewed(url, GivenCopy(kind, str(old), str(new)))

    place.server.drop(name)
    assert not ran.exists()
    assert f"{kind} stays" not in told
    assert not old.exists()
    assert ("definitions of a new dump were not restored" in told) == (kind == "dump")


@pytest.mark.slow
def test_a_dump_that_takes_rights_is_not_restored(place: Place) -> None:
    """A table is checked by a function that only a superuser may make: it is not made, and the old dump
    stays."""
    name = place.server.database(
        *PATIENTS,
        "CREATE FUNCTION plain(int8) RETURNS int8 LANGUAGE internal AS 'int8abs'",
        "CREATE TABLE checked (id int8 CHECK (plain(id) > 0))",
    )
    url = place.server.url(name)
    old, new = place.folder / "rights.dump", place.folder / "never.dump"
    subprocess.run([BIN / "pg_dump", "-Fc", "-f", old, "-d", url], check=True)

    told = renewed(url, GivenCopy("dump", str(old), str(new)))

    place.server.drop(name)
    assert "by a role without rights" in told
    assert old.exists()
    assert not new.exists()
    old.unlink()


@pytest.mark.parametrize(
    "kind", ["dump", "packed base backup", pytest.param("base backup", marks=pytest.mark.slow)]
)
def test_what_somebody_else_keeps_with_a_backup_is_noticed(place: Place, kind: str) -> None:
    """A file in its folder that is not of it: nothing there is touched."""
    if kind == "dump":
        folder = dump(place, place.folder / "shared", "-Fd")
    else:
        folder = base_backup(place, place.folder / "shared", "-Fp" if kind == "base backup" else "-Ft")
    (folder / "notes.txt").write_text("another's")
    given = GivenCopy(kind.removeprefix("packed "), str(folder), str(place.folder / "unused"))
    before = sorted(path.name for path in folder.rglob("*"))

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    assert "move them elsewhere" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert sorted(path.name for path in folder.rglob("*")) == before
    shutil.rmtree(folder)


def test_a_dump_of_all_databases_stays_while_others_do(place: Place) -> None:
    """A new dump of one database would not have the others."""
    old = place.folder / "all.sql"
    line = [BIN / "pg_dumpall", "-f", old, "-d", place.server.url()]
    subprocess.run(list(map(str, line)), check=True)
    given = GivenCopy("dump", str(old), str(place.folder / "unused"))

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    assert "a dump of all databases" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert old.exists()
    old.unlink()


def test_a_servers_own_directory_is_no_base_backup(place: Place) -> None:
    """It has everything that a base backup has: refused, and untouched."""
    given = GivenCopy("base backup", str(place.server.data), str(place.folder / "unused"))

    reclaimed = place.reclaim("public.patient", shared=BACKUPS, copies=(given,))

    assert "it is a server's data directory" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert place.sql("SELECT count(*) FROM stays") == [(50,)]


def came_back(place: Place, *copies: GivenCopy, volume: int = -1) -> tuple[dict[str, int], list[str]]:
    """What a probe restores of copies: records of the scope by method; and what it did not try."""
    reader = open_reader(place.url, Selection(collections=("public.patient",)), Surroundings(copies=copies))
    assert isinstance(reader, Restorable)
    restored, untried = reader.restorations(frozenset(("public.patient",)), place.folder, volume)
    assert not [path for path in place.folder.iterdir() if path.name.startswith(".cenotaph")]
    assert all(one.rows == one.records + 50 for one in restored)
    return {one.method: one.records for one in restored}, list(untried)


def test_a_dump_that_is_left_brings_everybody_back(place: Place) -> None:
    """A probe restores it and counts; a script is not run, and nothing is restored onto a volume that is
    searched. What is not tried is said."""
    left, plain = dump(place, place.folder / "left", "-Fc"), dump(place, place.folder / "plain")
    place.sql("DELETE FROM patient")
    device = place.folder.stat().st_dev

    back, untried = came_back(place, GivenCopy("dump", str(left)), GivenCopy("dump", str(plain)))
    _, elsewhere = came_back(place, GivenCopy("dump", str(left)), volume=device)

    assert back == {"a dump restored": PEOPLE}
    assert any("wal archive: not tried: no base backup" in line for line in untried)
    assert any("it is a script, which nobody should run" in line for line in untried)
    assert any("lies on the volume that is searched" in line for line in elsewhere)
    left.unlink()
    plain.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("options", [("-Fp",), ("-Ft", "-z")])
def test_people_in_the_archive_come_back_with_a_base_backup_from_before_them(
    place: Place, options: tuple[str, ...]
) -> None:
    """Neither has them by itself: the backup is older, the archive has only what was written since."""
    place.sql("DELETE FROM patient")
    old = base_backup(place, place.folder / "before", *options)
    place.sql(PATIENTS[1])
    place.switch()

    back, untried = came_back(place, GivenCopy("base backup", str(old)))

    assert back == {"a base backup recovered": PEOPLE}
    assert not any("recovery from the wal archive" in line for line in untried)
    shutil.rmtree(old)


def test_what_is_left_of_copies_is_read_where_the_server_is_gone(place: Place, tmp_path: Path) -> None:
    """A given archive, log and dump outlive their server: nothing of them is passed over for that."""
    some = next(path for path in place.archive.iterdir() if len(path.name) == 24)
    for name in ("archive", "logs"):
        (tmp_path / name).mkdir()
    shutil.copy(some, tmp_path / "archive")
    (tmp_path / "logs" / "a.log").write_bytes(b"line")
    old = dump(place, tmp_path / "dump", "-Fc")
    given = zip(("wal archive", "server log", "dump"), ("archive", "logs", "dump"), strict=True)
    around = Surroundings(copies=tuple(GivenCopy(kind, str(tmp_path / name)) for kind, name in given))

    left = [(extent.kind, extent.length) for extent in Retired(around).raw()]

    sizes = (some.stat().st_size, 4, old.stat().st_size)
    assert left == list(zip(("wal archive", "server log", "dump"), sizes, strict=True))


# ── standbys ─────────────────────────────────────────────────────────────────────────────────────

REPLICAS = LOGS | {"replicas"}


@pytest.fixture(scope="module")
def follower(standing: Place) -> Iterator[postgres_server.Server]:
    """A standby that streams through a slot of its own."""
    folder = standing.new("follower")
    line = [BIN / "pg_basebackup", "-D", folder / "data", "-X", "stream", "-R", "-C", "-S", "follower"]
    line += ["-c", "fast", "-d", standing.server.url()]
    subprocess.run(postgres_server.as_server(list(map(str, line))), check=True)
    settings = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}
    made = postgres_server.Server(folder, port=5433, settings=settings)
    yield made
    made.stop_only()
    standing.server.run("SELECT pg_drop_replication_slot('follower')")


@pytest.mark.slow
def test_a_standby_has_everybody_and_follows(place: Place, follower: postgres_server.Server) -> None:
    """Its tables and its log, read from its own files: everybody before, nobody once it has followed."""
    given = GivenCopy("standby", follower.url(place.name))
    place.sql("SELECT count(*) FROM patient")
    caught_up(place, follower)
    assert place.residue("standby relation", given) == PEOPLE
    assert place.residue("standby wal", given) == PEOPLE
    kinds = place.kinds(given)
    assert "standby" in kinds
    assert not [kind for kind in kinds if kind in ("replication slot", "standby, not named in the case")]

    taken = follower.data / "log/postgresql-2024-01-02_030405.log"  # as the primary's settings name it
    taken.parent.mkdir(exist_ok=True)
    taken.write_text("parameters: $1 = '" + "x" * 5000)
    beside = taken.with_name("notes.log")
    beside.write_text("of somebody else")

    reclaimed = place.reclaim("public.patient", shared=REPLICAS, copies=(given,))

    assert (taken.exists(), beside.exists()) == (False, True)
    assert "standby" not in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    for kind in ("relation", "wal", "server log", "server file"):
        assert place.residue(f"standby {kind}", given) == 0
    assert follower.run("SELECT count(*) FROM stays", database=place.name) == [(50,)]


def test_an_address_that_leads_to_a_standby_is_no_primary(
    place: Place, follower: postgres_server.Server
) -> None:
    """An auditor's own, who reads where it troubles nobody: its files are not those that were erased from."""
    caught_up(place, follower)

    able = open_reader(follower.url(place.name), EVERYTHING).capabilities

    assert able.grade is Grade.L1
    assert able.why_not_higher == "the server is a standby: its primary's files are not searched"


def test_a_standby_that_nobody_named_is_told(place: Place, follower: postgres_server.Server) -> None:
    """The server knows of it: not reached, L1, and its slot with it."""
    reclaimed = place.reclaim("public.patient", shared=REPLICAS)

    assert reclaimed.reached is Grade.L1
    told = f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert "standby, not named in the case" in told
    assert "replication slot" in told


@pytest.mark.slow
def test_a_standby_that_lags_holds_the_grade_down(
    place: Place, follower: postgres_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its replay is paused: what it has not replayed, it has not erased; nor may its archive go."""
    monkeypatch.setattr(standby, "REPLAYED_WITHIN", 2.0)
    monkeypatch.setattr(archive, "ARCHIVED_WITHIN", 2.0)
    given = GivenCopy("standby", follower.url(place.name))
    follower.run("SELECT pg_wal_replay_pause()")

    reclaimed = place.reclaim("public.patient", shared=REPLICAS, copies=(given,))

    follower.run("SELECT pg_wal_replay_resume()")
    told = f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert "it has not replayed what the primary wrote" in told
    assert "the wal archive stays: 1 standbys" in told


def test_a_url_that_leads_to_no_standby_is_told(place: Place) -> None:
    """Back to the primary, or to nobody: neither passes for a standby that was looked at."""
    for url in (place.url, "postgresql://nobody@127.0.0.1:1/none"):
        reclaimed = place.reclaim("public.patient", shared=REPLICAS, copies=(GivenCopy("standby", url),))

        assert reclaimed.reached is Grade.L1
        assert "standby, not reached" in f"{reclaimed.why_not_higher} {reclaimed.notes}"


def caught_up(place: Place, follower: postgres_server.Server) -> None:
    until = place.sql("SELECT pg_current_wal_flush_lsn()::text")[0][0]
    deadline = time.monotonic() + 60
    while follower.run(f"SELECT pg_last_wal_replay_lsn() >= '{until}'") != [(True,)]:
        assert time.monotonic() < deadline, "the standby lags"
        time.sleep(0.05)
    follower.run("CHECKPOINT")
