"""Logical subscribers: rows that were sent elsewhere go there too, or the grade says that they did not."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import postgres_server
from cenotaph.errors import PermanentStoreError
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.scan import scan
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import GivenCopy, Grade, Reclamation, Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.stores.postgres.outside import subscriber
from cenotaph.testing.contract import Log, Rows

postgres_server.need()
pytestmark = pytest.mark.slow

PEOPLE = 200
SHARED = frozenset(("statistics", "wal", "logs", "replicas"))
LOGICAL = {"wal_level": "logical", "max_wal_senders": "8", "max_replication_slots": "8"}
TABLES = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text, stays bool DEFAULT false)",
    "CREATE TABLE stays (id int8 PRIMARY KEY, name text)",
)
FILLED = (
    f"INSERT INTO patient SELECT n, 'Person-' || md5(n::text) FROM generate_series(1, {PEOPLE}) n",
    "INSERT INTO stays SELECT n, 'Other-' || md5((-n)::text) FROM generate_series(1, 50) n",
    "ANALYZE",
)
PATIENTS = Selection(collections=("public.patient",))


class Pair:
    """A publisher and a subscriber, each a database of a server of its own."""

    def __init__(self, publisher: postgres_server.Server, follower: postgres_server.Server) -> None:
        self.publisher, self.follower = publisher, follower
        self.name = publisher.database(*TABLES, *FILLED)
        self.there = follower.database(*TABLES)
        self.given = GivenCopy("logical subscriber", follower.url(self.there))
        self.subscriptions: list[str] = []

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        return self.publisher.run(*statements, database=self.name)

    def sql_there(self, *statements: str) -> list[tuple[object, ...]]:
        return self.follower.run(*statements, database=self.there)

    def subscribe(self, publication: str, name: str = "sub") -> None:
        """Publish, subscribe, and wait until all of it is there."""
        slot = f"{name}_{self.name}"
        self.sql(f"CREATE PUBLICATION {publication}")
        self.sql_there(
            f"CREATE SUBSCRIPTION {slot} CONNECTION '{self.publisher.url(self.name)}'"
            f" PUBLICATION {publication.split()[0]}"
        )
        self.subscriptions.append(slot)
        self.wait("SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")
        self.sql_there("ANALYZE", "CHECKPOINT")

    def wait(self, query: str) -> None:
        deadline = time.monotonic() + 60
        while self.sql_there(query) != [(True,)]:
            assert time.monotonic() < deadline, query
            time.sleep(0.05)

    def reclaim(self, *copies: GivenCopy, selection: Selection = PATIENTS) -> Reclamation:
        """Erase what is selected and reclaim, as `destroy` does."""
        around = Surroundings(copies=copies)
        url = self.publisher.url(self.name)
        reader, eraser = open_reader(url, selection, around), open_eraser(url, selection, SHARED, around)
        try:
            found = [c for c in reader.collections() if c.records]
            for collection in found:
                for partition in reader.partitions(collection):
                    rows = Rows(reader.batches(partition))
                    eraser.erase(partition, rows, Log(sealed=rows))
            return eraser.reclaim(found)
        finally:
            eraser.close()

    def kinds(self, *copies: GivenCopy) -> set[str]:
        around = Surroundings(copies=copies)
        reader = open_reader(self.publisher.url(self.name), EVERYTHING, around)
        return {copy.kind for copy in reader.copies(reader.collections()[0])}

    def residue(self, *copies: GivenCopy) -> dict[str, int]:
        """How many people the probe finds in the subscriber's files, by their kind, beside what stays."""
        builder = NeedleBuilder(bytes(32))
        names = [
            f"Person-{n}" for (n,) in self.sql(f"SELECT md5(n::text) FROM generate_series(1, {PEOPLE}) n")
        ]
        builder.add(pa.array(names), "name")
        sought = builder.finish()
        found: dict[str, set[int]] = {}
        around = Surroundings(copies=copies)
        for extent in open_reader(self.publisher.url(self.name), PATIENTS, around).raw():
            if extent.kind.startswith("subscriber"):
                with extent.open() as stream:
                    hits = scan(stream, extent.length, sought, extent.kept).residue
                found.setdefault(extent.kind, set()).update(hits)
        return {kind: len(hits) for kind, hits in found.items() if hits}

    def end(self) -> None:
        for slot in self.subscriptions:
            self.sql_there(f"DROP SUBSCRIPTION {slot}")
        self.publisher.drop(self.name)
        self.follower.drop(self.there)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[postgres_server.Server, postgres_server.Server]]:
    made = [
        postgres_server.start_in(Path(tempfile.mkdtemp(prefix="cenotaph-pg-")), LOGICAL, port=port)
        for port in (5432, 5433)
    ]
    yield made[0], made[1]
    for server in made:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def pair(servers: tuple[postgres_server.Server, postgres_server.Server]) -> Iterator[Pair]:
    made = Pair(*servers)
    yield made
    made.end()


def test_rows_go_at_a_subscriber_too(pair: Pair) -> None:
    """In its tables everybody before, nobody in any of its files afterwards, and L2; its slot lets go of the
    publisher's own log, and what stays is there on both sides."""
    pair.subscribe("everything FOR ALL TABLES")
    assert pair.residue(pair.given)["subscriber relation"] == PEOPLE
    assert "logical subscriber" in pair.kinds(pair.given)
    assert not {k for k in pair.kinds(pair.given) if k == "replication slot" or "not" in k}

    reclaimed = pair.reclaim(pair.given)

    assert reclaimed.reached is Grade.L2, reclaimed
    assert pair.sql_there("SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM stays)") == [(0, 50)]
    assert pair.sql("SELECT count(*) FROM stays") == [(50,)]
    assert pair.residue(pair.given) == {}


def test_a_subscriber_that_nobody_named_is_told(pair: Pair) -> None:
    """Its publication, and its slot: L1. A publication that sends nothing in scope is none."""
    pair.subscribe("mine FOR TABLE patient")
    pair.sql("CREATE PUBLICATION others FOR TABLE stays")
    reader = open_reader(pair.publisher.url(pair.name), PATIENTS)
    (patient,) = [c for c in reader.collections() if c.name == "public.patient"]
    told = [copy.place for copy in reader.copies(patient) if copy.kind == subscriber.OTHER]

    reclaimed = pair.reclaim()

    assert told == ["mine"]
    assert reclaimed.reached is Grade.L1
    assert f"{subscriber.OTHER}, replication slot" in f"{reclaimed.why_not_higher} {reclaimed.notes}"


def test_rows_that_are_left_at_a_subscriber_keep_the_grade_down(pair: Pair) -> None:
    """A publication that sends no deletions: all of them are still there, and counted."""
    pair.subscribe("kept FOR TABLE patient WITH (publish = 'insert, update')")

    reclaimed = pair.reclaim(pair.given)

    assert reclaimed.reached is Grade.L1
    assert f"{PEOPLE} rows that went here are still there" in reclaimed.why_not_higher
    assert pair.sql_there("SELECT count(*) FROM patient") == [(PEOPLE,)]


def test_what_a_subscriber_has_of_others_stays(pair: Pair) -> None:
    """Rows of its own in the same table, which stay by the scope's condition: a publisher's table that goes
    whole is deleted from, row by row, since TRUNCATE would empty the subscriber's."""
    selection = Selection(collections=("public.patient",), rows=parse_predicate("stays = FALSE"))
    pair.subscribe("mine FOR TABLE patient")
    pair.sql_there("INSERT INTO patient SELECT n, 'Own-' || n, true FROM generate_series(5001, 5010) n")

    reclaimed = pair.reclaim(pair.given, selection=selection)

    assert reclaimed.reached is Grade.L2, reclaimed
    assert pair.sql_there("SELECT count(*), bool_and(stays) FROM patient") == [(10, True)]


def test_a_subscriber_that_lags_keeps_the_grade_down(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not applied, it has not erased; nor is it another server's word that counts."""
    monkeypatch.setattr(subscriber, "APPLIED_WITHIN", 1.0)
    pair.subscribe("mine FOR TABLE patient")
    pair.sql_there(f"ALTER SUBSCRIPTION {pair.subscriptions[0]} DISABLE")
    pair.wait("SELECT NOT EXISTS (SELECT FROM pg_stat_subscription WHERE pid IS NOT NULL)")

    reclaimed = pair.reclaim(pair.given)

    assert reclaimed.reached is Grade.L1
    assert "it has not applied what the publisher wrote" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
    assert pair.sql_there("SELECT count(*) FROM patient") == [(PEOPLE,)]


def test_a_url_that_leads_to_no_subscriber_is_told(pair: Pair) -> None:
    """To a database that subscribes to nothing here, or to nobody."""
    for url in (pair.follower.url(pair.there), "postgresql://nobody@127.0.0.1:1/none"):
        assert subscriber.NO_ANSWER in pair.kinds(GivenCopy("logical subscriber", url))


def test_what_subscribers_could_not_delete_is_refused_beforehand(pair: Pair) -> None:
    """A published table without a key: the server would refuse each deletion; nothing has begun."""
    pair.sql("CREATE TABLE bare (name text)", "INSERT INTO bare VALUES ('Person-1')")
    pair.sql("CREATE PUBLICATION mine FOR TABLE bare")

    with pytest.raises(PermanentStoreError, match="no key by which subscribers could tell"):
        pair.reclaim(selection=Selection(collections=("public.bare",)))

    pair.sql("ALTER TABLE bare REPLICA IDENTITY FULL")
    pair.reclaim(selection=Selection(collections=("public.bare",)))
    assert pair.sql("SELECT count(*) FROM bare") == [(0,)]


def test_partitions_that_are_sent_as_their_parent_are_published(pair: Pair) -> None:
    """Under the parent's name alone: told all the same, and not reached."""
    pair.sql(
        "CREATE TABLE visit (id int8 PRIMARY KEY, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (1000)",
        "INSERT INTO visit SELECT n, 'Person-' || md5(n::text) FROM generate_series(1, 20) n",
    )
    pair.sql_there("CREATE TABLE visit (id int8 PRIMARY KEY, name text)")
    scope = Selection(collections=("public.visit_1",))
    pair.subscribe("whole FOR TABLE visit WITH (publish_via_partition_root = true)")
    pair.wait("SELECT count(*) = 20 FROM visit")

    assert subscriber.OTHER in f"{pair.reclaim(selection=scope)}"
    pair.sql("INSERT INTO visit VALUES (30, 'Person-x')")
    reclaimed = pair.reclaim(pair.given, selection=scope)

    assert reclaimed.reached is Grade.L1
    assert "under other names: of partitions" in f"{reclaimed.why_not_higher} {reclaimed.notes}"
