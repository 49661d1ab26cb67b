# ruff: noqa: S608 (a constant condition is put in)
"""What others erase from PostgreSQL, what they certify, and what can still be read afterwards.

    python bench/residues_of_peers.py [--rows N] [--seconds 60] [--python VENV/bin/python]

Each recipe has a private server with a table of people, analysed and checkpointed, of whom every second
one is to go (all of them, where a recipe knows no less). It starts with N rows, and the table grows four
times as large as long as the next run may end in the seconds allowed. Then 1,000 of those who are gone are
looked for in the server's files: by GNU grep, and by the search of cenotaph's probe, which also decodes.
Libraries are asked in a Python that has them: pip install lethe-delete vector-forget effaced
dpdpstack-python-sdk "psycopg[binary]".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from postgres_erasing import Sealed

import postgres_server
from by_command import grep
from cenotaph.errors import CenotaphError
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.scan import scan
from cenotaph.scope import Selection, parse_predicate
from cenotaph.store import Grade
from cenotaph.stores.postgres import open_eraser, open_reader
from cenotaph.testing.contract import Log

SAMPLE = 1_000
PEOPLE = """
CREATE TABLE people AS SELECT n AS id, 'S' || n % 2 AS subject_id, 'Name-' || md5(n::text) AS name,
    jsonb_build_object('phone', '1' || lpad((n * 7919 % 10000000000)::text, 10, '0')) AS more,
    repeat('Note-' || md5((n * 3)::text) || ' ', CASE WHEN n % 50 = 0 THEN 200 ELSE 1 END) AS note
FROM generate_series(1::int8, {}) n
"""
GONE = "subject_id = 'S0'"


@dataclass(frozen=True)
class Place:
    """A server and its database of people."""

    server: postgres_server.Server
    name: str
    python: str

    def sql(self, *statements: str) -> str:
        self.server.run(*statements, database=self.name)
        return "the number of rows"


def delete(place: Place) -> str:
    return place.sql(f"DELETE FROM people WHERE {GONE}")


def delete_and_vacuum(place: Place) -> str:
    return place.sql(f"DELETE FROM people WHERE {GONE}", "VACUUM people")


def delete_and_vacuum_full(place: Place) -> str:
    return place.sql(f"DELETE FROM people WHERE {GONE}", "VACUUM (FULL, ANALYZE) people")


def copied(place: Place) -> str:
    return place.sql(
        f"CREATE TABLE staying AS SELECT * FROM people WHERE NOT {GONE}",
        "DROP TABLE people",
        "ALTER TABLE staying RENAME TO people",
    )


def truncate(place: Place) -> str:
    return place.sql("TRUNCATE people")


def drop(place: Place) -> str:
    return place.sql("DROP TABLE people")


def overwritten(place: Place) -> str:
    return place.sql(
        f"UPDATE people SET name = 'x', more = NULL, note = 'x' WHERE {GONE}", "VACUUM (FULL, ANALYZE) people"
    )


def dumped(place: Place) -> str:
    """A dump without them is restored, and the old database dropped."""
    commands = postgres_server.need()
    fresh = place.server.database()
    place.server.run(f"CREATE TABLE staying AS SELECT * FROM people WHERE NOT {GONE}", database=place.name)
    dump = [str(commands / "pg_dump"), "-t", "staying", place.server.url(place.name)]
    restore = [str(commands / "psql"), "-q", place.server.url(fresh)]
    with subprocess.Popen(dump, stdout=subprocess.PIPE) as sending:  # noqa: S603
        subprocess.run(restore, stdin=sending.stdout, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    place.server.drop(place.name)
    return "nothing"


LETHE = """
import json, sys, psycopg
from lethe import Lethe
from lethe.ledger import Ledger
from lethe.audit import AuditLog
from lethe.signing import Signer
from lethe.connectors.pgvector import PgVectorConnector
link = psycopg.connect(sys.argv[1])
ledger, audit = Ledger(link), AuditLog(link)
ledger.init_schema(); audit.init_schema()
link.execute("ALTER TABLE people ALTER id TYPE text"); link.commit()
stores = {"pgvector": PgVectorConnector(link)}
it = Lethe(ledger=ledger, audit=audit, signer=Signer.generate(), connectors=stores, salt="s" * 32)
link.execute("INSERT INTO lethe_provenance (subject_hash, store, namespace, record_id)"
    " SELECT %s, 'pgvector', 'people', id FROM people WHERE subject_id = 'S0'", (it._subject_hash("S0"),))
link.commit()
found = it.forget("S0").payload
link.commit()
print(json.dumps(f"all_verified {found['all_verified']}, {found['records_deleted']} records, signed"))
"""
VECTOR_FORGET = """
import json, sys, psycopg
from vector_forget import forget
from vector_forget.pgvector import PgVectorStore
link = psycopg.connect(sys.argv[1])
found = json.loads(forget("S0", PgVectorStore(link, table="people")).to_json())
link.commit()
print(json.dumps(f"residue {found.get('residue')}"))
"""

EFFACED = """
import json, sys
from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
import effaced as it
class Base(DeclarativeBase): pass
kind = it.PiiCategory.CONTACT
class Person(Base):
    __tablename__ = "people"
    __table_args__ = {"info": it.subject_link("", subject_id_column="subject_id")}
    id: Mapped[int] = mapped_column(primary_key=True)
    subject_id: Mapped[str] = mapped_column(info=it.pii(kind))
    name: Mapped[str] = mapped_column(info=it.pii(kind))
    note: Mapped[str] = mapped_column(info=it.pii(kind))
tables = it.bind_tables(Base.metadata)
engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://"))
Base.metadata.create_all(engine)
new = sessionmaker(engine)
known = it.collect_data_map(Base.metadata)
graph = it.resolve_subject_graph(known, Base.registry)
sink = it.DatabaseAuditSink(new, tables.audit_events)
planner = it.ErasurePlanner(known, graph, executor=it.ErasureExecutor(Base.metadata),
    outbox=it.Outbox(new, tables.outbox), audit_sink=sink)
with new() as session:
    found = planner.erase_subject(session, "S0")
    session.commit()
print(json.dumps(f"{sum(found.deleted.values()):,} deleted, audited"))
"""
DPDPSTACK = """
import json, sys, psycopg
from dpdpstack.audit import AuditLog
from dpdpstack.certificate import issue_certificate
from dpdpstack.erasure import ErasureEngine
from dpdpstack.policies import RetentionPolicy
link = psycopg.connect(sys.argv[1])
audit = AuditLog()
gone = lambda action: link.execute("DELETE FROM people WHERE subject_id = 'S0'")
how = {"policy": RetentionPolicy("care"), "reason": "asked", "executor": gone}
ErasureEngine(audit).request_erasure(subject="S0", **how)
link.commit()
found = issue_certificate(audit, "S0")
print(json.dumps(f"certificate: {found.status}, chain verified {found.chain_verified}"))
"""


def library(program: str) -> Callable[[Place], str]:
    def run(place: Place) -> str:
        line = [place.python, "-c", program, place.server.url(place.name)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise NotRun(done.stderr.strip().rpartition("\n")[2][:80])
        return str(json.loads(done.stdout.splitlines()[-1]))

    return run


def cenotaph(place: Place) -> str:
    """Erase and reclaim, with the server's statistics and its log, as their owner allowed."""
    url = place.server.url(place.name)
    selection = Selection(collections=("public.people",), rows=parse_predicate(GONE))
    reader = open_reader(url, selection)
    table = next(c for c in reader.collections() if c.records)
    eraser = open_eraser(url, selection, frozenset(("statistics", "wal")))
    for partition in reader.partitions(table):
        eraser.erase(partition, Sealed(reader.batches(partition)), Log())
    reached = eraser.reclaim([table])
    eraser.close()
    return f"{reached.reached.name}, if the probe finds nothing"


class NotRun(Exception):
    """Why a recipe could not be tried."""


RECIPES: dict[str, Callable[[Place], str]] = {
    "DELETE": delete,
    "DELETE, VACUUM": delete_and_vacuum,
    "DELETE, VACUUM FULL, ANALYZE": delete_and_vacuum_full,
    "UPDATE to nothing, VACUUM FULL, ANALYZE": overwritten,
    "copy those who stay, DROP": copied,
    "pg_dump of those who stay, DROP DATABASE": dumped,
    "TRUNCATE (all)": truncate,
    "DROP TABLE (all)": drop,
    "lethe-delete": library(LETHE),
    "vector-forget": library(VECTOR_FORGET),
    "effaced": library(EFFACED),
    "dpdpstack": library(DPDPSTACK),
    "cenotaph": cenotaph,
}


def attempt(recipe: Callable[[Place], str], rows: int, python: str) -> tuple[float, str, int, int]:
    """Seconds, what it certifies, and of 1,000 who are gone how many grep and our search still find."""
    server = postgres_server.start(
        shared_buffers="256MB", max_wal_size="1GB", wal_level="replica", max_wal_senders="4"
    )
    try:
        place = Place(
            server,
            server.database(
                PEOPLE.format(rows), "ALTER TABLE people ADD PRIMARY KEY (id)", "ANALYZE", "CHECKPOINT"
            ),
            python,
        )
        step = max(2, rows // SAMPLE // 2 * 2)
        names = [
            name
            for (name,) in server.run(
                f"SELECT name FROM people WHERE id % {step} = 0 LIMIT {SAMPLE}",
                database=place.name,
            )
        ]
        start = time.perf_counter()
        says = recipe(place)
        took = time.perf_counter() - start
        server.run("CHECKPOINT")
        return took, says, len(grep([n.encode() for n in names], server.data)), searched(server, names)
    finally:
        server.stop()


def searched(server: postgres_server.Server, names: list[str]) -> int:
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(names), "name")
    needles, found = builder.finish(), set[int]()
    reader = open_reader(server.url(), Selection())
    assert reader.capabilities.grade >= Grade.L2, reader.capabilities.why_not_higher
    for extent in reader.raw():
        with extent.open() as stream:
            hits = scan(stream, extent.length, needles, extent.kept)
        found |= hits.residue | hits.kept
    return len(found)


def largest(
    recipe: Callable[[Place], str], rows: int, seconds: float, python: str
) -> Iterator[tuple[int, tuple[float, str, int, int]]]:
    """The runs that it finished in time, and one that it did not, if there was one."""
    while True:
        run = attempt(recipe, rows, python)
        yield rows, run
        if run[0] * 4 > seconds or rows * 4 > 64_000_000:
            return
        rows *= 4


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--python", default=sys.executable)
    options.add_argument("--only", default="")
    asked = options.parse_args()
    print(
        "| recipe | rows | seconds | certifies | grep: of 1,000 | decoded: of 1,000 |\n"
        "|---|---|---|---|---|---|"
    )
    for name, recipe in RECIPES.items():
        if asked.only and asked.only not in name:
            continue
        try:
            runs = list(largest(recipe, asked.rows, asked.seconds, asked.python))
        except (NotRun, CenotaphError, subprocess.CalledProcessError) as error:
            print(f"| {name} | – | – | not run: {error} | | |", flush=True)
            continue
        rows, (took, says, plain, decoded) = runs[-1]
        print(f"| {name} | {rows:,} | {took:.1f} | {says} | {plain:,} | {decoded:,} |", flush=True)


if __name__ == "__main__":
    main()
