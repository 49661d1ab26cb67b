"""An estate on a PostgreSQL server: persons in twenty tables and more, and all that a server keeps of them.

The server, a physical standby, base backups, dumps, the archive of the log and the server's own logs lie on
one scratch volume. Each table has people of its own: a telephone number that `mobile` makes of the table's
number and the person's, written nowhere else but where that table's rows get to. Bystanders are a reference
table, a table out of scope, rows out of scope, and another database.

What surprised its author: a table that is filled and never written again is nowhere in pg_wal, for segments
are used again within minutes; so the log has a table of its own, which is written last. And an unlogged table
is not written to its file by a checkpoint.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import postgres_server
from cenotaph.testing.city_people import People, make_people
from postgres_server import Server

SEED = 46_864
SCHEMA = "care"
DATABASE, REGISTER, ANOTHER = "health", "registry", "payroll"
DATABASES = (DATABASE, REGISTER, ANOTHER)
STANDBY_PORT = 5433
CATCHES_UP = 120.0  # seconds in which a standby must have what the server wrote
_FIRST, _SPAN, _STEP = 13_000_000_000, 7_000_000_000, 2_654_435_761  # coprime: no number twice
_ROOM = 1 << 21  # people a table at most

SETTINGS = {
    "wal_level": "replica",
    "max_wal_senders": "6",
    "max_replication_slots": "6",
    "hot_standby": "on",
    "archive_mode": "on",
    "archive_timeout": "0",
    "logging_collector": "on",
    "log_statement": "all",
    "log_directory": "log",
    "log_filename": "postgresql.log",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "5000",
    "max_wal_size": "16MB",
    "min_wal_size": "4MB",
    "max_locks_per_transaction": "256",
}

# Tables whose people are told apart: their number, in the order in which numbers were given out.
PLACES = {
    name: number
    for number, name in enumerate(
        (
            "person",
            "person before",
            "email",
            "contact",
            "visit",
            "observation",
            "lab_result",
            "vital_sign",
            "letter",
            "memo",
            "scan",
            "photo",
            "document",
            "message",
            "session",
            "quoted",
            "payment",
            "device",
            "trip",
            "swab",
            "kin",
            "shift",
            "queue",
            "dropped",
            "temporary",
            "statement",
            "register",
            "register kept",
            "staff",
            "another",
            "finance",
            "nobody",
        ),
        1,
    )
}


def mobile(place: str, person: int) -> int:
    """The telephone number of a person in a table: as the function `mobile` of the database makes it."""
    return _FIRST + (PLACES[place] * _ROOM + person) * _STEP % _SPAN


@dataclass(frozen=True)
class Size:
    """How many people there are, and of how many of them everything is sought."""

    people: int
    sought: int

    @property
    def step(self) -> int:
        return self.people // self.sought

    def sample(self) -> range:
        """The numbers of those who are sought."""
        return range(self.step, self.step * self.sought + 1, self.step)


class Attached(Server):
    """A server that another process started, and may have stopped or started again."""

    def __init__(self, folder: Path, port: int = 5432) -> None:
        self.folder, self.data, self.port = folder, folder / "data", port


@dataclass
class PostgresEstate:
    """A server and what lies around it, beneath `root`."""

    root: Path
    size: Size
    server: Server
    standby: Server | None = None
    who: People | None = field(default=None, repr=False)

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def dumps(self) -> Path:
        return self.root / "dumps"

    @property
    def renewed(self) -> Path:
        return self.root / "renewed"

    @property
    def log(self) -> Path:
        return self.server.data / "log"

    def servers(self) -> list[Server]:
        return [self.server, *([self.standby] if self.standby else [])]

    def url(self, database: str = DATABASE) -> str:
        return self.server.url(database)

    def stop(self) -> None:
        """Stop both; everything stays where it is."""
        for server in reversed(self.servers()):
            server.stop_only()

    def needles(self, place: str) -> list[bytes]:
        """The numbers of those who are sought, as text."""
        return [str(mobile(place, n)).encode() for n in self.size.sample()]

    def run(self, *statements: str, database: str = DATABASE) -> list[tuple[object, ...]]:
        return self.server.run(*statements, database=database)


def attached(root: Path, size: Size) -> PostgresEstate:
    """An estate that another process built."""
    standby = Attached(root / "standby", STANDBY_PORT) if (root / "standby/data").exists() else None
    return PostgresEstate(root, size, Attached(root / "server"), standby)


def build(root: Path, size: Size, *, standby: bool = True, copies: bool = True) -> PostgresEstate:
    """Fill a mounted, empty volume. Both servers run when it returns."""
    return _Builder(root, size).build(standby=standby, copies=copies)


# ── the schema ───────────────────────────────────────────────────────────────────────────────────

# The first number is not written out: definitions stay, and in them it is a telephone number of nobody.
_FUNCTION = (
    "CREATE FUNCTION mobile(place int8, person int8) RETURNS int8 LANGUAGE sql IMMUTABLE PARALLEL SAFE"
    f" RETURN {_FIRST // 10**9} * 1000000000::int8 + (place * {_ROOM} + person)::numeric * {_STEP} % {_SPAN}"
)

_TABLES = (
    "CREATE EXTENSION pg_stat_statements",
    "CREATE EXTENSION btree_gist",
    "CREATE EXTENSION amcheck",
    "CREATE EXTENSION pageinspect",
    f"CREATE SCHEMA {SCHEMA}",
    f"SET search_path = {SCHEMA}, public",
    _FUNCTION,
    "CREATE TYPE mood AS ENUM ('well', 'tired', 'ill')",
    "CREATE TYPE sample AS (tube text, at timestamptz, value numeric)",
    "CREATE DOMAIN plate AS text CHECK (length(VALUE) < 20)",
    # 1, 2: a cycle of foreign keys
    "CREATE TABLE person (id int8 GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, id_number char(18) UNIQUE,"
    " name varchar(60) NOT NULL, mobile text, email text, address text, born date, consent bool,"
    ' sex "char", household int8,'
    " search tsvector GENERATED ALWAYS AS (to_tsvector('simple', mobile)) STORED)",
    "CREATE TABLE household (id int8 PRIMARY KEY, head int8 REFERENCES person DEFERRABLE INITIALLY DEFERRED,"
    " place point, address text)",
    # 3: what a trigger writes
    "CREATE TABLE person_history (at timestamptz NOT NULL DEFAULT now(), how text, was jsonb)",
    "CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO care.person_history (how, was) VALUES (TG_OP, to_jsonb(OLD));"
    " RETURN COALESCE(NEW, OLD); END $$",
    # 4: arrays
    "CREATE TABLE contact (person int8 PRIMARY KEY REFERENCES person ON DELETE CASCADE, phones text[],"
    " codes int4[], grid float8[][])",
    # 5 to 8: partitions, nested
    "CREATE TABLE ward (id int4 PRIMARY KEY, name text NOT NULL, floor int2)",
    "CREATE TABLE visit (id int8, day date, ward int4 REFERENCES ward, caller text, cost numeric(10, 2),"
    " PRIMARY KEY (id, day, ward)) PARTITION BY RANGE (day)",
    "CREATE TABLE visit_2023 PARTITION OF visit FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')"
    " PARTITION BY LIST (ward)",
    "CREATE TABLE visit_2023_north PARTITION OF visit_2023 FOR VALUES IN (1, 2, 3)",
    "CREATE TABLE visit_2023_south PARTITION OF visit_2023 DEFAULT",
    "CREATE TABLE visit_2024 PARTITION OF visit FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    "CREATE TABLE visit_later PARTITION OF visit DEFAULT",
    # 9 to 11: inheritance
    "CREATE TABLE observation (id int8 PRIMARY KEY, caller text, at timestamp)",
    "CREATE TABLE lab_result (value float8, unit varchar(8)) INHERITS (observation)",
    "ALTER TABLE lab_result ADD PRIMARY KEY (id)",
    "CREATE TABLE vital_sign (pulse int2, temperature float4) INHERITS (observation)",
    # 12 to 15: long values: pglz out of line and in line, lz4, as they are
    "CREATE TABLE letter (id int8 PRIMARY KEY, body text COMPRESSION pglz)",
    "CREATE TABLE memo (id int8 PRIMARY KEY, body text COMPRESSION pglz)",
    "CREATE TABLE scan (id int8 PRIMARY KEY, body text COMPRESSION lz4)",
    "CREATE TABLE photo (id int8 PRIMARY KEY, body bytea)",
    "ALTER TABLE photo ALTER body SET STORAGE EXTERNAL",
    # 16 to 18
    "CREATE TABLE document (id int8 PRIMARY KEY, title text, body oid)",
    "CREATE TABLE message (id uuid PRIMARY KEY, body jsonb, raw json)",
    "CREATE UNLOGGED TABLE session (id int8 PRIMARY KEY, token text, ip inet)",
    # 19: names that want quotes
    'CREATE TABLE "Ärzte ""Liste""" ("select" int8 PRIMARY KEY, "Größe in cm" int4, "Telefon. privat" text)',
    # 20 to 26: every other type
    "CREATE TABLE payment (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payer int8,"
    " amount numeric(12, 2), cash money, vat numeric GENERATED ALWAYS AS (amount * 0.19) STORED)",
    "CREATE TABLE device (serial text PRIMARY KEY, mac macaddr, mac8 macaddr8, ip inet, net cidr, key uuid,"
    " flags bit(8), more varbit, plate plate)",
    "CREATE TABLE trip (id int8 PRIMARY KEY, passenger text, during tstzrange, days daterange,"
    " seats int4range, spots int4multirange, area box, way path, shape polygon, ring circle, leg lseg,"
    " axis line)",
    "CREATE TABLE swab (phone text, mood mood, tube sample, at timestamptz)",  # without a key, rows twice
    "CREATE TABLE kin (id int8 PRIMARY KEY, parent int8 REFERENCES kin DEFERRABLE, phone text)",
    "CREATE TABLE shift (id int2, t time, tz timetz, ts timestamp, tstz timestamptz, i interval, f4 float4,"
    " x xml, n name, o oid, l pg_lsn, b bpchar(20), q tsquery, v int2[], phone text, PRIMARY KEY (phone))",
    "CREATE TABLE queue (id int8 PRIMARY KEY, payload text, taken bool)",
    # bystanders
    "CREATE TABLE staff (id int8 PRIMARY KEY, phone text, name text, pay numeric)",
)

# Who is written in one row each: n is the person's number.
_ROWS = {
    "household": "n, NULL, point(n % 100, n % 73), 'Street ' || n",
    "observation": "n, mobile({observation}, n), timestamp '2023-01-01' + n * interval '1 minute'",
    "lab_result": "n, mobile({lab_result}, n), timestamp '2023-01-01', sqrt(n), 'mg'",
    "vital_sign": "n, mobile({vital_sign}, n), timestamp '2023-01-01', 50 + n % 90, 36.5 + n % 5",
    "contact": "n, ARRAY[mobile({contact}, n)::text, 'none'], ARRAY[n, NULL]::int4[], ARRAY[[1, n], [n, 2]]",
    "visit": "n, date '2023-06-01' + (n * 37 % 900)::int4, n % 5 + 1, mobile({visit}, n), n * 1.25",
    "message": "gen_random_uuid(), jsonb_build_object('to', mobile({message}, n)::text, 'n', n),"
    " json_build_object('n', n)",
    "session": "n, 'token ' || mobile({session}, n), '192.0.2.1'::inet + n",
    '"Ärzte ""Liste"""': "n, 150 + n % 50, mobile({quoted}, n)",
    "device": "mobile({device}, n), ('08:00:2b:' || lpad(to_hex(n % 256), 2, '0') || ':02:03')::macaddr,"
    " NULL, '192.0.2.0'::inet + n, '198.51.100.0/24', gen_random_uuid(), B'10100101', B'101',"
    " 'AB ' || n % 1000",
    "trip": "n, mobile({trip}, n), tstzrange(now(), now() + interval '1 hour'),"
    " daterange('2023-01-01', NULL), int4range(1, 4), '{[1,3),[5,8)}'::int4multirange,"
    " box(point(0, 0), point(n, n)), path '((0,0),(1,1))',"
    " polygon '((0,0),(1,1),(2,0))', circle '<(0,0),2>', lseg '[(0,0),(1,1)]', line '{1,2,3}'",
    "kin": "n, NULLIF(n / 2, 0), mobile({kin}, n)",
    "shift": "n % 7, time '07:00', timetz '07:00+08', now(), 'infinity', interval '1 mon 2 days', 'NaN',"
    " '<a>b</a>', 'name', 7, '0/16B3748', 'padded', 'a & b', '{1,2}', mobile({shift}, n)",
    "staff": "n, mobile({staff}, n), 'Staff ' || n, n * 3.5",
}

# Long values, of those who are sought only; what is sought stands first.
_LONG = {
    "letter": "n, mobile({letter}, n) || ' ' || (SELECT string_agg(repeat(md5(n || '.' || i), 3), ' ')"
    " FROM generate_series(1, 100) i)",
    "memo": "n, mobile({memo}, n) || repeat(' memo ' || md5(n::text), 120)",
    "scan": "n, mobile({scan}, n) || ' ' || (SELECT string_agg(repeat(md5(n || ':' || i), 3), ' ')"
    " FROM generate_series(1, 100) i)",
    "photo": "n, convert_to('JFIF ' || mobile({photo}, n), 'UTF8') || decode((SELECT string_agg("
    "md5(n || '-' || i), '') FROM generate_series(1, 200) i), 'hex')",
}

_AFTER = (
    "INSERT INTO payment (payer, amount, cash) SELECT mobile({payment}, n), n, n::numeric::money"
    " FROM generate_series(1, {people}) n",
    "INSERT INTO swab SELECT mobile({swab}, n), (ARRAY['well', 'tired', 'ill'])[n % 3 + 1]::mood,"
    " ROW('tube ' || n, now(), n::numeric)::sample, now()"
    " FROM generate_series({step}, {last}, {step}) n, generate_series(1, 2)",
    "INSERT INTO document SELECT n, 'Report ' || n, lo_from_bytea(0, convert_to('Report of '"
    " || mobile({document}, n), 'UTF8')) FROM generate_series({step}, {last}, {step}) n",
    "UPDATE person SET household = id",
    "UPDATE household SET head = id",
    "ALTER TABLE person ADD FOREIGN KEY (household) REFERENCES household DEFERRABLE INITIALLY DEFERRED",
    "CREATE INDEX ON person USING hash (mobile)",
    "CREATE INDEX person_email ON person (upper(email))",
    "CREATE INDEX person_search ON person USING gin (search)",
    "CREATE INDEX ON household USING gist (place)",
    "CREATE INDEX contact_phones ON contact USING gin (phones)",
    "CREATE INDEX ON visit (caller)",
    "CREATE INDEX ON visit_2024 USING brin (day)",
    "CREATE INDEX lab_brin ON lab_result USING brin (caller) WITH (pages_per_range = 1)",
    "CREATE INDEX message_body ON message USING gin (body)",
    "CREATE INDEX trip_passenger ON trip USING gist (passenger)",
    "CREATE INDEX ON trip USING spgist (during)",
    "CREATE MATERIALIZED VIEW person_card AS SELECT id, name, mobile, address FROM person",
    "CREATE UNIQUE INDEX ON person_card (id)",
    "CREATE VIEW called AS SELECT caller FROM visit UNION SELECT mobile FROM person",
    "CREATE STATISTICS swab_mcv (mcv) ON phone, mood FROM swab",
    "ALTER STATISTICS swab_mcv SET STATISTICS 2000",
    "ALTER TABLE person ALTER mobile SET STATISTICS 10000",
    "ALTER TABLE visit ALTER caller SET STATISTICS 10000",
    "CREATE TRIGGER history AFTER UPDATE OR DELETE ON person FOR EACH ROW EXECUTE FUNCTION keep_history()",
    # the numbers that people had before: in dead rows and in the history
    "UPDATE person SET mobile = mobile({person}, id), name = name || '*' WHERE id % {step} = 0",
    "REFRESH MATERIALIZED VIEW person_card",
)

# Of a temporary table, what does not fit into the session's own memory gets to a file: the first rows.
_TEMPORARY = (
    "CREATE TEMP TABLE mine AS SELECT CASE WHEN i = 1 THEN mobile({{temporary}}, n)::text ELSE '' END"
    " || repeat('y', 900) AS phone FROM {some}, generate_series(1, {{often}}) i"
)
# A database with a table of which some rows stay.
_REGISTER = (
    "CREATE EXTENSION pg_stat_statements",
    _FUNCTION,
    "CREATE TABLE register (id int8 PRIMARY KEY, phone text, town text NOT NULL, note text)",
    "INSERT INTO register SELECT n, mobile({register}, n), 'north', repeat('note ', 20)"
    " FROM generate_series(1, {people}) n",
    "INSERT INTO register SELECT {people} + n, mobile({register kept}, n), 'south', repeat('note ', 20)"
    " FROM generate_series(1, {people}) n",
    "CREATE INDEX ON register (phone)",
    "ANALYZE",
)
_OTHERS = (
    "CREATE SCHEMA finance",
    _FUNCTION,
    "CREATE TABLE salary (id int8 PRIMARY KEY, phone text, pay numeric)",
    "INSERT INTO salary SELECT n, mobile({another}, n), n * 1.5 FROM generate_series(1, {people}) n",
    "CREATE TABLE finance.ledger (id int8 PRIMARY KEY, phone text)",
    "INSERT INTO finance.ledger SELECT n, mobile({finance}, n) FROM generate_series(1, {people}) n",
    "CREATE INDEX ON finance.ledger (phone)",
    "ANALYZE",
)

IN_SCOPE = (
    "person",
    "household",
    "person_history",
    "contact",
    "visit_2023_north",
    "visit_2023_south",
    "visit_2024",
    "visit_later",
    "observation",
    "lab_result",
    "vital_sign",
    "letter",
    "memo",
    "scan",
    "photo",
    "document",
    "message",
    "session",
    'Ärzte "Liste"',
    "payment",
    "device",
    "trip",
    "swab",
    "kin",
    "shift",
    "queue",
)
BYSTANDERS = {DATABASE: ("care.ward", "care.staff"), ANOTHER: ("public.salary", "finance.ledger")}
STAYING = "SELECT * FROM register WHERE town = 'south'"


# ── the builder ──────────────────────────────────────────────────────────────────────────────────


class _Builder:
    def __init__(self, root: Path, size: Size) -> None:
        self.root, self.size = root, size
        self.names = {
            **PLACES,
            "people": size.people,
            "step": size.step,
            "last": size.step * size.sought,
            "often": 2 + 4000 // size.sought,
        }

    def build(self, *, standby: bool, copies: bool) -> PostgresEstate:
        for folder in ("server", "archive", "backups", "dumps", "standby", "renewed"):
            (self.root / folder).mkdir()
            shutil.chown(self.root / folder, postgres_server.USER, postgres_server.USER)
        settings = {**SETTINGS, "archive_command": f"cp %p {self.root / 'archive'}/%f"}
        server = postgres_server.start_in(self.root / "server", settings)
        estate = PostgresEstate(self.root, self.size, server)
        try:
            self._fill(estate)
            if standby:
                estate.standby = self._standby(estate)
            if copies:
                self._backups(estate)
                self._dumps(estate)
            self._last_writes(estate)
            self._caught_up(estate)
            self._temporary(estate)
            self._drop(estate)
        except BaseException:
            estate.stop()
            raise
        return estate

    def _fill(self, estate: PostgresEstate) -> None:
        people = self.size.people
        estate.run(*(f"CREATE DATABASE {name}" for name in DATABASES), database="postgres")
        path = f"SET search_path = {SCHEMA}, public"
        estate.run(*_TABLES)
        estate.run(path, "INSERT INTO ward SELECT n, 'Ward ' || n, n FROM generate_series(1, 5) n")
        estate.who = make_people(people, np.random.default_rng(SEED))
        self._persons(estate)
        every, some = (
            f"generate_series(1, {people}) n",
            self._said("generate_series({step}, {last}, {step}) n"),
        )
        for rows, series in ((_ROWS, every), (_LONG, some)):
            for table, values in rows.items():
                estate.run(path, f"INSERT INTO {table} SELECT {self._said(values)} FROM {series}")
        estate.run(path, *map(self._said, _AFTER))
        estate.run(*map(self._said, _REGISTER), database=REGISTER)
        estate.run(*map(self._said, _OTHERS), database=ANOTHER)
        estate.run("ANALYZE", "CHECKPOINT")
        estate.server.stop_only()  # an unlogged table is written at a shutdown, not at a checkpoint
        estate.server.start()

    def _said(self, text: str) -> str:
        for name, number in self.names.items():
            text = text.replace("{" + name + "}", str(number))
        return text

    def _persons(self, estate: PostgresEstate) -> None:
        who = estate.who
        assert who is not None
        with estate.server.connect(DATABASE) as link, link.cursor() as cursor:
            line = f"COPY {SCHEMA}.person (id, id_number, name, mobile, email, address, born, sex) FROM STDIN"
            with cursor.copy(line) as copy:
                for n in range(1, self.size.people + 1):
                    number, born = str(who.ids[n - 1]), str(who.ids[n - 1])[6:14]
                    phone = mobile("person before", n)
                    mail = f"p{mobile('email', n)}@mail.example"
                    row = (n, number, who.names[n - 1], phone, mail, who.addresses[n - 1], born, "f")
                    copy.write_row(row)

    def _last_writes(self, estate: PostgresEstate) -> None:
        """What is sought in pg_wal, in free blocks, in logs and in memory: the newest come last."""
        path, some = (
            f"SET search_path = {SCHEMA}, public",
            self._said("generate_series({step}, {last}, {step}) n"),
        )
        dropped = f"SELECT n, mobile({{dropped}}, n) || repeat('x', 60) AS phone FROM {some}"
        estate.run(path, self._said(f"CREATE TABLE old_export AS {dropped}"), "CHECKPOINT")
        estate.run(*self._statements())
        estate.run(path, self._said(f"INSERT INTO queue SELECT n, mobile({{queue}}, n), false FROM {some}"))
        estate.run("CHECKPOINT", path, "SELECT count(payload) FROM queue", "SELECT pg_switch_wal()")

    def _sync(self) -> None:
        subprocess.run(["sync", "-f", str(self.root)], check=True)

    def _temporary(self, estate: PostgresEstate) -> None:
        """What others write next may lie where it was."""
        some = "generate_series({step}, {last}, {step}) n"
        with estate.server.connect(DATABASE) as link:
            for line in (
                f"SET search_path = {SCHEMA}, public",
                "SET temp_buffers = 100",
                self._said(_TEMPORARY.format(some=some)),
            ):
                link.execute(line.encode())
            self._sync()

    def _drop(self, estate: PostgresEstate) -> None:
        """Last, for whatever is written next may lie in the blocks that this frees. No checkpoint is needed
        for that, and one more would have segments of the log used again."""
        self._sync()  # what is dropped has reached the device
        estate.run(f"DROP TABLE {SCHEMA}.old_export")

    def _statements(self) -> Iterator[str]:
        """What an app sends with values in it; the server's statistics keep COPY as it was sent."""
        for n in self.size.sample():
            phone = mobile("statement", n)
            yield f"COPY (SELECT id FROM {SCHEMA}.person WHERE mobile = '{phone}') TO '/dev/null'"

    # copies

    def _standby(self, estate: PostgresEstate) -> Server:
        self._as_server(
            "pg_basebackup", "-h", estate.server.folder, "-U", postgres_server.USER, "-R", "-X", "stream",
            "-C", "-S", "standby", "-c", "fast", "-D", self.root / "standby/data",
        )  # fmt: skip
        settings = {**SETTINGS, "archive_mode": "off", "log_filename": "standby.log"}
        return Server(self.root / "standby", port=STANDBY_PORT, settings=settings)

    def _caught_up(self, estate: PostgresEstate) -> None:
        """The standby and the archive have what the server wrote."""
        (want,) = estate.run("SELECT pg_current_wal_lsn()::text")[0]
        deadline = time.monotonic() + CATCHES_UP
        while time.monotonic() < deadline:
            there = not estate.standby or estate.standby.run(
                f"SELECT pg_last_wal_replay_lsn() >= '{want}'"
            ) == [(True,)]
            if estate.standby:
                estate.standby.run("CHECKPOINT")
            if there and not list((estate.server.data / "pg_wal/archive_status").glob("*.ready")):
                return
            time.sleep(0.1)
        raise AssertionError("the standby or the archive does not catch up")

    def _backups(self, estate: PostgresEstate) -> None:
        at = ("-h", estate.server.folder, "-U", postgres_server.USER, "-c", "fast", "-X", "fetch")
        self._as_server("pg_basebackup", *at, "-D", self.root / "backups/plain")
        self._as_server("pg_basebackup", *at, "-Ft", "-z", "-D", self.root / "backups/tar")

    def _dumps(self, estate: PostgresEstate) -> None:
        folder = self.root / "dumps"
        self._as_server("pg_dump", "-d", estate.url(), "-f", folder / "health.sql")
        self._as_server("pg_dump", "-d", estate.url(), "-Fc", "-f", folder / "health.dump")
        self._as_server("pg_dump", "-d", estate.url(), "-Fd", "-f", folder / "health.dir")
        self._as_server("pg_dump", "-d", estate.url(REGISTER), "-f", folder / "registry.sql")
        plain = (folder / "health.sql").read_bytes()
        (folder / "health.sql.gz").write_bytes(gzip.compress(plain))
        subprocess.run(
            ["zstd", "-q", str(folder / "health.sql"), "-o", str(folder / "health.sql.zst")], check=True
        )

    def _as_server(self, name: str, *words: object) -> None:
        line = [str(postgres_server.need() / name), *map(str, words)]
        done = subprocess.run(postgres_server.as_server(line), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"


# ── what stays ───────────────────────────────────────────────────────────────────────────────────


def digests(estate: PostgresEstate) -> dict[str, str]:
    """A digest of each bystander's rows in their order, and of the definitions of everything."""
    found = {}
    for database, tables in BYSTANDERS.items():
        for query, name in [(f"TABLE {t}", t) for t in tables]:
            found[f"{database} {name}"] = _digest(estate, database, query)
    found["rows out of scope"] = _digest(estate, REGISTER, STAYING)
    for database in DATABASES:
        found[f"{database} definitions"] = _definitions(estate, database)
    return found


def _digest(estate: PostgresEstate, database: str, query: str) -> str:
    rows = estate.server.run(
        f"SELECT count(*), md5(string_agg(r, E'\\n' ORDER BY r COLLATE \"C\"))"
        f" FROM (SELECT t::text AS r FROM ({query}) t) s",
        database=database,
    )
    return str(rows[0])


def _definitions(estate: PostgresEstate, database: str) -> str:
    line = [str(postgres_server.need() / "pg_dump"), "-s", "-d", estate.server.url(database)]
    done = subprocess.run(postgres_server.as_server(line), capture_output=True, check=True)
    kept = [row for row in done.stdout.splitlines() if not row.startswith((b"\\restrict", b"\\unrestrict"))]
    return hashlib.sha256(b"\n".join(kept)).hexdigest()


def sound(estate: PostgresEstate) -> list[str]:
    """What amcheck finds wrong: every B-tree with its parents and its heap, every heap and its TOAST."""
    wrong: list[str] = []
    for database in DATABASES:
        estate.run("CREATE EXTENSION IF NOT EXISTS amcheck", database=database)
        assert len(estate.run(_TREES, database=database)) > 100
        wrong += [str(row) for row in estate.run(_HEAPS, database=database)]
    return wrong


_TREES = """
SELECT bt_index_parent_check(c.oid, true, true) FROM pg_class c
JOIN pg_am a ON a.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid
WHERE a.amname = 'btree' AND c.relkind = 'i' AND i.indisvalid AND i.indisready
"""
_HEAPS = """
SELECT c.relname, v.* FROM pg_class c CROSS JOIN LATERAL verify_heapam(c.oid) v
WHERE relkind IN ('r', 't', 'm') AND relpersistence <> 't'
"""


def store_scope(names: Sequence[str] = IN_SCOPE) -> list[str]:
    """The collections of the case."""
    return [f"{SCHEMA}.{name}" for name in names] + ["pg_catalog.pg_largeobject"]
