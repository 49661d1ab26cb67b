"""What a probe asks a server besides its rows and its bytes: which copies it still tells of."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

import postgres_server
from cenotaph.annex import Annex
from cenotaph.residue.sought import SoughtBuilder
from cenotaph.scope import Selection
from cenotaph.sealing import NeedleList, NeedleSource, Target, needle_key
from cenotaph.stages.probe import ANOTHER, CAME_BACK, ProbeTask, _reasons, probe_store
from cenotaph.store import Extent, GivenCopy, Restoration, Served, Surroundings
from cenotaph.stores.postgres import open_reader
from cenotaph.stores.postgres.reader import PostgresReader
from cenotaph_proof.statements import ProbedStore

postgres_server.need()

CASE, KEY, SEED = "ab" * 32, bytes(32), bytes(32)
SCOPE = Selection(collections=("public.patient",))
SHARED = frozenset(("statistics", "wal", "dump"))  # what the plan's shared actions reach


@pytest.fixture
def database() -> Iterator[str]:
    server = postgres_server.shared()
    name = server.database("CREATE TABLE patient (id int8 PRIMARY KEY, name text)")
    yield name
    server.drop(name)


@pytest.fixture
def task(database: str, tmp_path: Path) -> ProbeTask:
    """Of a store whose only table was emptied, as if nothing were left."""
    builder, annex = SoughtBuilder(needle_key(KEY)), Annex(tmp_path, CASE)
    builder.add(pa.array(["Nobody-4711-Meier"]), "text")
    part = ("needles-0", annex.write("needles-0", KEY, builder.take() or b""))
    digest = annex.write("needles", KEY, NeedleList((part,), ("postgresql",)).to_bytes())
    url = postgres_server.shared().url(database)
    return ProbeTask(
        target=Target(open_reader, url, SCOPE, "clinic", "public.patient", 0, "key", ((1, "text"),), None),
        needles=NeedleSource(tmp_path, CASE, digest),
        case_key=KEY,
        seed=SEED,
        asked="L2",
        planned="L2",
        planned_why="",
        recall=(),
        not_reached=(),
        known=frozenset(("public.patient",)),
        misplaced=False,
        destroyed=int(time.time()),
        restart=False,
        erased=frozenset(("public.patient",)),
        reached=SHARED,
    )


def asked(task: ProbeTask) -> ProbedStore:
    """What a probe finds that reads none of the server's files: reading them all takes its time."""
    with mock.patch.object(PostgresReader, "raw", return_value=()):
        return probe_store(task).found


def test_where_all_is_reached_it_is_granted(task: ProbeTask) -> None:
    """Nothing is told of but what the plan's shared actions reach."""
    found = asked(task)

    assert (found.reached, found.why_not_higher) == ("L2", "")


def test_a_copy_that_the_server_tells_of_keeps_the_grade_down(task: ProbeTask, database: str) -> None:
    """Whatever the operator's statements say: a publication that was made after the survey."""
    server = postgres_server.shared()
    server.run("CREATE PUBLICATION elsewhere FOR TABLE patient", database=database)

    found = asked(task)

    assert (found.reached, found.why_not_higher) == (
        "L1",
        "not reached, as this auditor sees: logical subscriber, not named in the case",
    )


def test_another_server_in_its_place_keeps_the_grade_down(task: ProbeTask) -> None:
    """After a failover the address leads to a standby that was promoted: the old primary has its files. Such
    a probe rejects, whatever grade was promised: nobody has looked at what was destroyed."""
    with closing(open_reader(task.target.url, SCOPE)) as reader:
        assert isinstance(reader, Served)
        surveyed = reader.keeper()
    assert surveyed is not None
    same = asked(replace(task, keeper=surveyed))
    promoted = replace(surveyed, identity=surveyed.identity.replace("timeline 00000001", "timeline 00000002"))

    found = asked(replace(task, keeper=promoted))

    assert (same.reached, found.reached) == ("L2", "L1")
    assert found.why_not_higher == ANOTHER
    session = mock.MagicMock()
    session.case.require().body().stores = (mock.Mock(grade="L1"),)
    session.case.require().body().stores[0].name = "clinic"
    assert _reasons(session, (same,)) == ()
    assert _reasons(session, (found,)) == (f"store clinic: {ANOTHER}",)


def test_a_database_that_was_made_after_the_survey_is_not_kept(task: ProbeTask, database: str) -> None:
    """A plain copy of everything, beside the store: CREATE DATABASE … TEMPLATE. One from before is kept."""
    server = postgres_server.shared()
    server.run("INSERT INTO patient VALUES (1, 'Copied-4711-Meier')", "CHECKPOINT", database=database)
    with closing(open_reader(task.target.url, SCOPE)) as reader:
        assert isinstance(reader, Served)
        surveyed = reader.keeper()
    assert surveyed is not None
    copy = server.database(options=f"TEMPLATE {database}")
    number = str(
        server.run("SELECT oid FROM pg_database WHERE datname = current_database()", database=copy)[0][0]
    )
    try:
        before = residue_beside(task, surveyed.beside | {number})
        after = residue_beside(task, surveyed.beside)
    finally:
        server.drop(copy)

    assert number not in before
    assert number in after


def residue_beside(task: ProbeTask, beside: frozenset[str]) -> set[str]:
    """The databases, by their numbers, in files of which the value lies outside of what is kept."""
    around = Surroundings(beside=beside)
    with closing(open_reader(task.target.url, SCOPE, around)) as reader:
        extents = [extent for extent in reader.raw() if extent.kind == "relation" and not len(extent.kept)]
    return {
        Path(extent.place).parent.name
        for extent in extents
        if b"Copied-4711-Meier" in Path(extent.place).read_bytes()
    }


def test_what_no_shared_action_reaches_keeps_the_grade_down(task: ProbeTask) -> None:
    """The write-ahead log, where the plan does not have it written over."""
    found = asked(replace(task, reached=frozenset()))

    assert (found.reached, found.why_not_higher) == ("L1", "not reached, as this auditor sees: wal")


def test_a_dump_that_is_still_there_was_not_destroyed(task: ProbeTask, tmp_path: Path) -> None:
    """Whatever is in it: an encrypted one shows nothing to any search."""
    dump = tmp_path / "health.dump.gpg"
    dump.write_bytes(bytes(range(256)))
    given = Surroundings(copies=(GivenCopy("dump", str(dump), None),))

    found = asked(replace(task, target=replace(task.target, around=given)))

    assert (found.reached, found.why_not_higher) == ("L1", "not reached, as this auditor sees: dump")


def test_records_that_are_restored_keep_the_grade_down(task: ProbeTask) -> None:
    """What came back is stated, and so is what was not tried; rows of others count for nothing."""
    others = Restoration("a dump restored", "pg_restore", "15", rows=40, records=0)

    def found(*restored: Restoration) -> ProbedStore:
        tried = mock.Mock(return_value=(restored, ("restoring a dump: not tried: there is no room",)))
        with mock.patch.object(PostgresReader, "restorations", tried):
            return asked(task)

    assert (found(others).reached, found(others).why_not_higher) == ("L2", "")
    back = found(others, replace(others, records=3))
    assert (back.reached, back.why_not_higher) == ("L1", f"3 {CAME_BACK}")
    assert back.restores is not None
    assert [one.records for one in back.restores] == [0, 3]
    assert "restoring a dump: not tried: there is no room" in back.unreachable


def test_who_stays_is_no_stranger_in_a_copy_that_was_made_anew(task: ProbeTask) -> None:
    """A new dump has the people of every table that stays, whom no seal knows. Whoever else is in it, and
    whoever is in an old one, is a stranger still."""
    stays, gone = b"tel 13900000007;", b"tel 13900000019;"

    def extent(kind: str, data: bytes, *, kept: bool = False, anew: bool = False) -> Extent:
        whole = np.array([[0, len(data)]] if kept else [], dtype=np.int64).reshape(-1, 2)
        return Extent(kind, kind, len(data), lambda: io.BytesIO(data), whole, anew)

    def strangers(*extents: Extent) -> int:
        with mock.patch.object(PostgresReader, "raw", return_value=extents):
            return probe_store(task).found.strangers

    table = extent("relation", stays, kept=True)
    assert strangers(extent("dump", stays, anew=True), table) == 0
    assert strangers(extent("dump", stays + gone, anew=True), table) == 1
    assert strangers(extent("dump", stays), table) == 1
    assert strangers(extent("dump", stays, anew=True)) == 1
