"""Which files a probe reads of a server, and which of them are told to stay: where the server is unusual."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import postgres_server
from cenotaph.scope import Selection
from cenotaph.store import Surroundings
from cenotaph.stores.postgres import open_reader
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.session import Place, Session

postgres_server.need()

PERSON = b"Person-4711-Meier"
SCOPE = Selection(collections=("public.patient",))
TABLES = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text)",
    "CREATE TABLE ward (id int8 PRIMARY KEY, name text)",
    f"INSERT INTO patient VALUES (1, '{PERSON.decode()}')",
    "INSERT INTO ward VALUES (1, 'North')",
)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.Server]:
    """A server of its own: its folders are moved about."""
    server = postgres_server.start()
    yield server
    server.stop()


def residue(server: postgres_server.Server, database: str) -> set[str]:
    """The places in which a search finds the person outside of what is kept."""
    found = set()
    for extent in open_reader(server.url(database), SCOPE).raw():
        with extent.open() as stream:
            data = bytearray(stream.read())
        for start, end in extent.kept.tolist():
            data[start:end] = bytes(end - start)
        if PERSON in data:
            found.add(extent.place)
    return found


def relation(server: postgres_server.Server, database: str, name: str) -> str:
    (row,) = server.run("CHECKPOINT", f"SELECT pg_relation_filepath('{name}')", database=database)
    return str(row[0])


def test_what_links_lead_to_is_read(server: postgres_server.Server) -> None:
    """Who moved `base`, or one file, to a larger disk and left a link: the server reads it, the probe too."""
    database = server.database(*TABLES)
    file = relation(server, database, "patient")
    server.stop_only()
    moved = server.folder / "larger"
    shutil.move(server.data / "base", moved)
    (server.data / "base").symlink_to(moved)
    one = moved / Path(file).relative_to("base")
    shutil.move(one, server.folder / "alone")
    one.symlink_to(server.folder / "alone")
    server.start()
    try:
        assert str(server.folder / "alone") in residue(server, database)
    finally:
        server.stop_only()
        one.unlink()
        shutil.move(server.folder / "alone", one)
        (server.data / "base").unlink()
        shutil.move(moved, server.data / "base")
        server.start()
        server.drop(database)


def test_a_folder_of_no_database_is_not_kept(server: postgres_server.Server) -> None:
    """A server that is killed while it copies a database leaves the folder: what no catalog knows is no other
    database's."""
    database = server.database(*TABLES)
    left = server.data / "base" / "987654"
    left.mkdir()
    (left / "16384").write_bytes(PERSON)

    assert str(left / "16384") in residue(server, database)
    server.drop(database)
    shutil.rmtree(left)


def test_what_an_older_version_left_in_a_tablespace_is_not_kept(
    server: postgres_server.Server, tmp_path: Path
) -> None:
    """pg_upgrade leaves the old version's folder beside the new one's; databases have other numbers there."""
    space = server.folder / "space"
    space.mkdir()
    shutil.chown(space, *[space.parent.owner()] * 2)
    server.run(f"CREATE TABLESPACE more LOCATION '{space}'")
    database = server.database(*TABLES)
    other = server.run("SELECT oid::text FROM pg_database WHERE datname = 'template1'")[0][0]
    left = space / "PG_9.6_201608131" / str(other)
    left.mkdir(parents=True)
    (left / "16384").write_bytes(PERSON)

    assert str(left / "16384") in residue(server, database)
    server.drop(database)


def test_a_copy_of_the_data_directory_is_not_believed(server: postgres_server.Server) -> None:
    """One that was made while the server ran has all that tells a directory: identity, port and start."""
    copy = server.folder / "copy"
    shutil.copytree(server.data, copy, ignore=shutil.ignore_patterns("base"))
    link = server.folder / "link"
    link.symlink_to(server.data)

    with closing(Session(Place.of(server.url()))) as session:
        of_copy = raw.data_directory(session, Surroundings(data_dir=str(copy)))
        of_link = raw.data_directory(session, Surroundings(data_dir=str(link)))

    assert of_copy == raw.NoAccess("data_dir is a copy of the server's data directory")
    assert of_link == str(link)


def test_a_view_that_calls_functions_is_not_kept(server: postgres_server.Server) -> None:
    """What a function reads no catalog knows: a view of a ward may have every patient."""
    database = server.database(
        *TABLES,
        "CREATE FUNCTION people() RETURNS SETOF text LANGUAGE sql AS 'SELECT name FROM public.patient'",
        "CREATE VIEW between AS SELECT people.people FROM people()",
        "CREATE MATERIALIZED VIEW seen AS SELECT ward.name, b.people FROM ward, between b",
    )

    file = relation(server, database, "seen")
    assert str(server.data / file) in residue(server, database)
    server.drop(database)
