"""Sessions that read one database of a PostgreSQL server: their settings, their errors, and COPY's bytes.

What surprised the author: the driver hands over COPY's stream one row at a time, which costs more than
the server's own work, while the protocol frames rows so that blocks of them can be taken from the socket
and cut by arithmetic (Frontend/Backend Protocol, "Message Formats"); COPY takes no parameters, so keys go
into settings of the session's own, since SQL text is what servers write into logs and statistics; and a
sort that spills writes rows to temporary files, which are then freed with their content.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import conninfo, pq

from cenotaph import kernel
from cenotaph.errors import PermanentStoreError, StoreError, TransientStoreError, UsageError
from cenotaph.stores.postgres.wire.copy import READY_BYTES, Block, Stream, may_be_answered

CONNECT_SECONDS = 10
Broken = psycopg.OperationalError
Denied = psycopg.errors.InsufficientPrivilege
# from PostgreSQL 18 on, ON DELETE RESTRICT has a code of its own
Referred = (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation)
Locked = psycopg.errors.LockNotAvailable
"""What callers answer in their own way; everything else becomes a `StoreError` (`driver_errors`)."""
Remark = psycopg.errors.Diagnostic
_OLDEST = 130000  # log_parameter_max_length, which keeps keys out of the server's log
SETTINGS = {
    "default_transaction_read_only": "on",
    "row_security": "off",  # an error, where a policy would hide rows
    "client_encoding": "UTF8",
    "search_path": "pg_catalog",  # nobody's own function or operator stands in for the server's
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "30s",
    "work_mem": "64MB",  # the catalogs' own sorts stay in memory
    "DateStyle": "ISO, YMD",  # keys travel as text, and come back as the same values
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "synchronize_seqscans": "off",  # tables without a key are read from their beginning
    "enable_sort": "off",  # order comes from indexes: a sort may write rows to temporary files
    "enable_incremental_sort": "off",
    "enable_hashagg": "off",
    "jit": "off",
}
_SOCKET = ("/", "@")
_LOOPBACK = ("127.", "::1")
_BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_PARAMETERS = "log_parameter_max_length"
RESTRICTED = {_PARAMETERS: "0", "temp_file_limit": "0"}  # a superuser's, or granted
SET = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)"
_BOUND = "cenotaph.bound_"
_LOGS = """
SELECT 1 FROM pg_settings WHERE name = 'log_statement' AND setting = 'all'
OR name IN ('log_min_duration_statement', 'log_min_duration_sample') AND setting <> '-1'
OR name = 'log_transaction_sample_rate' AND setting <> '0'
"""


TID = 27  # the types' numbers are fixed (pg_type.dat)
_TIDS = 1010


class Tids(bytes):
    """Places of rows in a table's file: an array of type tid, as the wire has it."""


class _TidsDumper(psycopg.adapt.Dumper):
    oid = _TIDS
    format = pq.Format.BINARY

    def dump(self, obj: Tids) -> bytes:
        return bytes(obj)


@dataclass(frozen=True, slots=True)
class Place:
    """One database of one server, as libpq is told of it."""

    conninfo: str = field(repr=False)
    database: str = field(repr=False)  # empty where a service file names it

    @classmethod
    def of(cls, url: str) -> Place:
        """From `postgresql://user@host:port/dbname?…` (libpq, "Connection URIs").

        Raises:
            UsageError: another scheme, no database, or more than one host.
        """
        if not url.startswith("postgresql://"):
            raise UsageError("the store's URL does not begin with postgresql://")
        try:
            told = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its text quotes the URL
            raise UsageError(
                "the store's URL is not one that libpq reads", hint="postgresql://USER@HOST:PORT/DATABASE"
            ) from None
        if not told.get("dbname") and not told.get("service"):
            raise UsageError("the store's URL names no database", hint="postgresql://USER@HOST:PORT/DATABASE")
        if "," in f"{told.get('host') or ''}{told.get('hostaddr') or ''}{told.get('port') or ''}":
            raise UsageError("the store's URL names more than one host: a store is a database of one server")
        told.setdefault("connect_timeout", CONNECT_SECONDS)
        return cls(conninfo.make_conninfo("", **told), str(told.get("dbname") or ""))

    @classmethod
    def at(cls, folder: str, port: str, user: str, database: str) -> Place:
        """On a Unix socket in this folder."""
        told = {"host": folder, "port": port, "user": user, "dbname": database}
        return cls(conninfo.make_conninfo("", connect_timeout=CONNECT_SECONDS, **told), database)

    def without_password(self) -> tuple[str, dict[str, str]]:
        """What may stand in a command's arguments, and the rest as the variables that libpq reads.

        Raises: PermanentStoreError for a secret that libpq takes in no other way.
        """
        told = conninfo.conninfo_to_dict(self.conninfo)
        password = told.pop("password", None)
        if told.get("sslpassword"):
            raise PermanentStoreError(
                "the key of the store's certificate has a password, which no program is told"
            )
        secrets = {"PGPASSWORD": str(password)} if password else {}
        return conninfo.make_conninfo("", **told), secrets

    def other(self, database: str) -> Place:
        """Another database of the same server."""
        return Place(conninfo.make_conninfo(self.conninfo, dbname=database), database)


class Session:
    """A connection in one read-only transaction, which sees one state of the database until `close`.

    Raises (all of it): StoreError. `what` of an error is told by `driver_errors` around the calls.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._link = _connect(place)
        try:
            with driver_errors("the server"):
                self._settle()
        except BaseException:
            self._link.close()
            raise

    @property
    def version(self) -> int:
        """Such as 150018."""
        return self._link.info.server_version

    @property
    def host(self) -> str:
        """Where the socket leads: a directory for a Unix socket, or an address."""
        return self._link.info.host if self._link.info.host.startswith(_SOCKET) else self._link.info.hostaddr

    @property
    def local(self) -> bool:
        """Whether nothing crosses a network: a Unix socket, or the loopback."""
        return self.host.startswith((*_SOCKET, *_LOOPBACK))

    @property
    def encoding(self) -> str:
        return self._link.info.parameter_status("server_encoding") or ""

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._link.closed

    def logs_keys(self) -> bool:
        """Whether the server may write bound values, which are keys, into its log."""
        return not self.quiet and bool(self.rows(_LOGS))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Everything a query finds. Values are bound, never written into its text."""
        return self._link.execute(query.encode(), values or None).fetchall()

    def one(self, query: str, *values: object) -> Any:
        """The only value that a query finds."""
        return self.rows(query, *values)[0][0]

    def encrypted(self) -> bool:
        """By TLS or GSSAPI, neither of which a Unix socket has."""
        if self.host.startswith(_SOCKET):
            return False
        if self._link.pgconn.ssl_in_use:
            return True
        return bool(self.rows("SELECT 1 FROM pg_stat_gssapi WHERE pid = pg_backend_pid() AND encrypted"))

    def bind(self, values: Sequence[str]) -> list[str]:
        """SQL expressions of type text for these values, for statements that take no parameters."""
        names = [f"{_BOUND}{number}" for number in range(len(values))]
        for name, value in zip(names, values, strict=True):
            self.rows("SELECT set_config($1, $2, false) IS NULL", name, value)
        return [f"current_setting('{name}')" for name in names]

    def copy(self, query: str) -> Iterator[Block]:
        """The rows of a query as COPY BINARY sends them, some MiB at a time. Ends the session."""
        if self.encoding == "SQL_ASCII":  # it has text of any kind, which is delivered as it is
            self._set({"client_encoding": "SQL_ASCII"})
        command = f"COPY ({query}) TO STDOUT (FORMAT BINARY)".encode()
        link = self._link.pgconn
        # what is encrypted can only be taken from the library, a row at a time
        blocks = _by_row(link, command) if self.encrypted() else _by_block(link, command)
        try:
            yield from blocks
        finally:
            self._link.close()

    def copied(self, query: str) -> Iterator[Block]:
        """As `copy`, a row at a time, and the session goes on."""
        return _by_row(self._link.pgconn, f"COPY ({query}) TO STDOUT (FORMAT BINARY)".encode())

    def run_alone(self, statement: str) -> None:
        """Run a statement that finds nothing and changes no data."""
        self._link.execute(statement.encode())

    def anew(self, first: str) -> None:
        """End the transaction and begin another, whose first statement this is: what is read from then on is
        as it was when that had run."""
        self._link.execute(b"COMMIT")
        self._link.execute(_BEGIN)
        self.run_alone(first)

    def close(self) -> None:
        self._link.close()

    def _settle(self) -> None:
        if self.version < _OLDEST:
            raise PermanentStoreError("the server is older than PostgreSQL 13, which is the oldest read here")
        self._set(SETTINGS)
        self.attempt(RESTRICTED)
        self.quiet = self.one("SELECT current_setting($1)", _PARAMETERS) == "0"  # keys stay out of the log
        self._link.execute(_BEGIN)

    def attempt(self, settings: dict[str, str]) -> set[str]:
        """Change settings that this role may not be allowed to; the names of those that it may not."""
        denied = set()
        for name, value in settings.items():
            try:
                self._set({name: value})
            except Denied:
                denied.add(name)
        return denied

    def _set(self, settings: dict[str, str]) -> None:
        self.rows(SET, list(settings), list(settings.values()))


def _connect(place: Place) -> psycopg.Connection[tuple[Any, ...]]:
    try:
        link = psycopg.connect(
            place.conninfo,
            autocommit=True,
            prepare_threshold=None,
            cursor_factory=psycopg.RawCursor,  # $1, and a % in a name is a %
            application_name="cenotaph",
        )
        link.adapters.register_dumper(Tids, _TidsDumper)
        return link
    except psycopg.Error as error:
        # libpq keeps no SQLSTATE of a failed connection: ask whether anybody is there, and read its words
        words = str(error)
        answers = pq.PGconn.ping(place.conninfo.encode()) == pq.Ping.OK
    if answers and not any(full in words for full in _FULL):
        why, hint = next(
            (told for said, *told in _REFUSALS if said in words),
            ("the server refuses this role", "see the server's log and pg_hba.conf, and the store's url"),
        )
        raise PermanentStoreError(why, hint=hint)
    raise TransientStoreError(
        "the server does not answer, or has no connection left", hint="see whether it runs, then run again"
    )


_FULL = ("too many clients", "too many connections", "remaining connection slots")
_REFUSALS = (  # what a server that speaks English says, why that is, and what to do
    (
        "no pg_hba.conf entry",
        "the server lets this role in from here nowhere",
        "add to its pg_hba.conf: hostssl DATABASE ROLE ADDRESS scram-sha-256, then SELECT pg_reload_conf();",
    ),
    (
        "password authentication failed",
        "the server does not take this role's password, or has no such role",
        "CREATE ROLE … LOGIN PASSWORD …; or correct PGPASSFILE, or the address that url refers to",
    ),
    (
        "no password supplied",
        "the server wants a password of this role",
        'put it into PGPASSFILE, or the whole address into what url = "env:NAME" or "file:PATH" refers to',
    ),
    (
        "eer authentication failed",
        "the server wants the user of the system to have the role's name",
        "run as that user, or map it: pg_ident.conf, and map= in pg_hba.conf",
    ),
    (
        "permission denied for database",
        "this role may not connect to the database",
        "GRANT CONNECT ON DATABASE … TO …;",
    ),
    (
        "certificate",
        "the server's certificate is not one that is trusted here",
        "add ?sslrootcert=FILE to the store's url, with the authority that issued it",
    ),
    ('database "', "the server has no database of this name", "correct the store's url"),
    (
        'role "',
        "the server has no role of this name, or none that logs in",
        "CREATE ROLE … LOGIN; ALTER ROLE … LOGIN;",
    ),
)


@contextlib.contextmanager
def driver_errors(what: str) -> Iterator[None]:
    """Give an error of the driver or the server its meaning; its text may quote data, or an address, and
    goes no further."""
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(error.sqlstate, isinstance(error, psycopg.OperationalError), what) from None
    except OSError:
        raise TransientStoreError(f"{what}: the connection broke", hint="run again") from None


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it, for hints: what runs here has values bound."""
    return "'" + text.replace("'", "''") + "'"


_RECEIVE = 1 << 20
_AHEAD = 8  # pieces received before they are asked for, so that the server works meanwhile


def _by_block(link: pq.abc.PGconn, command: bytes) -> Iterator[Block]:
    """Take the protocol's bytes from the socket. The library has none of them: it reads only when it is
    asked, and the answer to the query before was read to its end."""
    link.nonblocking = 0
    link.send_query(command)
    with socket.socket(fileno=socket.dup(link.socket)) as stream:
        stream.setblocking(True)
        pieces = _Ahead(stream)
        messages = Stream()
        try:
            while not messages.ended:
                yield from messages.feed(pieces.next())
                if messages.failed is not None:
                    raise _meaning(messages.failed, False, "the server")
        finally:
            pieces.stop()
        yield from messages.finish()


class _Ahead(threading.Thread):
    """Receives while its reader works on what came before."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(name="copy", daemon=True)
        self._stream = stream
        self._pieces: queue.Queue[memoryview] = queue.Queue(_AHEAD)
        self._stopped = False
        self._tail = b""
        self.start()

    def run(self) -> None:
        try:
            while not self._stopped and (piece := self._gather()):
                self._pieces.put(piece)
        finally:
            self._pieces.put(memoryview(b""))

    def _gather(self) -> memoryview:
        """About as much as is asked for at once; less where nothing more may come until it is."""
        begin = len(self._tail)  # an answer may lie across pieces
        room = memoryview(bytearray(begin + _RECEIVE))
        room[:begin] = self._tail
        size = self._fill(room, begin)
        self._tail = room[max(0, size - READY_BYTES) : size].tobytes()
        return room[begin:size]

    def _fill(self, room: memoryview, size: int) -> int:
        if (by := kernel.found()) is not None:
            return by.receive(self._stream.fileno(), room, size)
        while size < len(room) and (more := self._receive(room[size:])):
            size += more
            if may_be_answered(room[max(0, size - READY_BYTES) : size].tobytes()):
                break
        return size

    def _receive(self, room: memoryview) -> int:
        try:
            return self._stream.recv_into(room)
        except OSError:
            return 0

    def next(self) -> memoryview:
        """Raises: TransientStoreError at the end of the stream."""
        piece = self._pieces.get()
        if not piece:
            raise TransientStoreError("the server closed the connection", hint="run again")
        return piece

    def stop(self) -> None:
        """Nobody reads on. The server is told by the connection's end."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        while self.is_alive():
            with contextlib.suppress(queue.Empty):
                self._pieces.get(timeout=0.01)
        self.join()


_ROWS_TAKEN = 16_384
_BYTES_TAKEN = 4 << 20


def _by_row(link: pq.abc.PGconn, command: bytes) -> Iterator[Block]:
    result = link.exec_(command)
    if result.status != pq.ExecStatus.COPY_OUT:
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        raise _meaning(state.decode() if state else None, False, "the server")
    messages = Stream()
    parts: list[bytes] = []
    size = 0
    while True:
        length, row = link.get_copy_data(0)
        if length > 0:
            parts += [b"d", (length + 4).to_bytes(4, "big"), bytes(row)]
            size += length
        if length <= 0 or size >= _BYTES_TAKEN or len(parts) >= 3 * _ROWS_TAKEN:
            yield from messages.feed(b"".join(parts))
            parts, size = [], 0
        if length <= 0:
            break
    while (last := link.get_result()) is not None:
        if last.status == pq.ExecStatus.FATAL_ERROR:
            state = last.error_field(pq.DiagnosticField.SQLSTATE)
            raise _meaning(state.decode() if state else None, state is None, "the server")
    yield from messages.finish()


_CLASSES = {
    "08": "the connection broke",
    "40": "the server undid the transaction",
    "53": "the server has no room, memory or connections left",
    "58": "the server had a system error",
}


def _meaning(state: str | None, operational: bool, what: str) -> StoreError:
    """By SQLSTATE (PostgreSQL, appendix A)."""
    state = state or ""
    if state == "53400":
        return PermanentStoreError(
            f"{what} cannot be read without writing rows to temporary files",
            hint="give the table a primary key, or vacuum it",
        )
    if state in ("57014", "55P03", "57P01", "57P02", "57P03", "25P03"):
        return TransientStoreError(
            f"{what} cannot be read now: {_WAITING.get(state, 'the server stops or starts')}",
            hint="run again",
        )
    if state[:2] in _CLASSES:
        return TransientStoreError(f"{what}: {_CLASSES[state[:2]]} ({state})", hint="run again")
    if state == "42501":
        return PermanentStoreError(
            f"{what} may not be read by this role, or not all of its rows, or not be erased by it",
            hint="run: cenotaph doctor, which says it exactly: GRANT SELECT ON TABLE, GRANT USAGE ON SCHEMA,"
            " ALTER ROLE … BYPASSRLS; to erase GRANT DELETE and the owner's rights",
        )
    if state == "22021":
        return PermanentStoreError(f"{what} has a key or a name that is no UTF-8, and no encoding is known")
    if state[:2] == "XX":
        return PermanentStoreError(f"{what} is damaged: the server cannot read all of it ({state})")
    if operational and not state:
        return TransientStoreError(
            f"{what} does not answer, or refuses the connection", hint="see whether it runs, then run again"
        )
    return PermanentStoreError(f"{what} cannot be read ({state or 'the driver gives no reason'})")


_WAITING = {"57014": "the statement was cancelled", "55P03": "another session has locked it"}
