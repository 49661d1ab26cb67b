"""Private PostgreSQL servers for tests: a folder and a Unix socket of their own, stopped by their handle."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'cenotaph[postgres]'")

USER = "postgres"
BUILT_WITH = {
    "icu": "SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'",
    "lz4": "SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)",
    "xml": "SELECT 1 FROM pg_config WHERE name = 'CONFIGURE' AND setting ~ 'with-libxml|libxml=enabled'",
}
"""What a server may be built without, and what then finds nothing."""
STARTS = 60.0  # seconds in which a server must answer, on a busy machine
SMALL = {
    "fsync": "off",
    "autovacuum": "off",
    "listen_addresses": "",
    "max_connections": "20",
    "shared_buffers": "16MB",
    "min_wal_size": "2MB",
    "max_wal_size": "4MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "1h",
}


def binaries() -> Path | None:
    """The newest installed server's commands: Debian keeps them out of PATH. Or CENOTAPH_POSTGRES."""
    if chosen := os.environ.get("CENOTAPH_POSTGRES"):
        return Path(chosen)
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def need() -> Path:
    """The commands, or a skip with the reason."""
    found = binaries()
    if found is None or not (found / "initdb").exists():
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql", allow_module_level=True)
    return found


class Server:
    """A server that runs until `stop`, or until this process ends."""

    def __init__(self, folder: Path, *, port: int = 5432, settings: dict[str, str] | None = None) -> None:
        self.folder, self.data, self.port = folder, folder / "data", port
        chosen = {**SMALL, "unix_socket_directories": str(folder), "port": str(port), **(settings or {})}
        self._line = [str(need() / "postgres"), "-D", str(self.data)]
        self._line += [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        self._numbers = itertools.count()
        self.start()

    def start(self) -> None:
        """Start it, or start it again after `stop_only` or `crash`; ready on return."""
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(as_server(self._line, dies=True), stdout=output, stderr=output)
        self._wait()

    def url(self, database: str = "postgres", user: str = USER, **more: str) -> str:
        extra = "".join(f"&{name}={value}" for name, value in more.items())
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}{extra}"

    def connect(self, database: str = "postgres", user: str = USER) -> Any:
        """A psycopg connection in autocommit."""
        return psycopg.connect(self.url(database, user), autocommit=True)

    def run(self, *statements: str, database: str = "postgres", user: str = USER) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one. Skips the test for an extension that is not installed."""
        with self.connect(database, user) as link:
            for statement in statements:
                try:
                    cursor = link.execute(statement.encode())
                except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
                    if statement.startswith("CREATE EXTENSION"):
                        pytest.skip(f"not installed beside this server: {statement}")
                    raise
            return list(cursor.fetchall()) if cursor.description else []

    def has(self, feature: str) -> bool:
        """Whether the server was built with one of `BUILT_WITH`."""
        return bool(self.run(BUILT_WITH[feature]))

    def database(self, *statements: str, options: str = "") -> str:
        """A fresh database in which these were run; its name."""
        name = f"app{next(self._numbers)}"
        if self.version >= 150000:
            options += " STRATEGY FILE_COPY"  # half the time of writing its pages into the log
        self.run(f"CREATE DATABASE {name} {options}")
        if statements:
            self.run(*statements, database=name)
        return name

    def drop(self, database: str) -> None:
        self.run(f'DROP DATABASE "{database}" WITH (FORCE)')

    def stop(self) -> None:
        """A fast shutdown; its folder goes."""
        self.stop_only()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop_only(self, how: signal.Signals = signal.SIGINT) -> None:
        """A shutdown: fast, or immediate with SIGQUIT, after which it recovers as after a crash."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(STARTS)

    def crash(self) -> None:
        """SIGKILL to the postmaster; its children are gone on return, as they are when they notice."""
        children = _children(self.process.pid)
        self.process.kill()
        self.process.wait(STARTS)
        deadline = time.monotonic() + STARTS
        while any(_lives(child) for child in children):
            assert time.monotonic() < deadline, "a process of the server outlived it"
            time.sleep(0.01)

    def recover(self) -> None:
        """Wait until it answers again after it crashed by itself; started again where it gave up."""
        deadline = time.monotonic() + STARTS
        while self.process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                self.run("SELECT 1")
                return
            assert time.monotonic() < deadline, "the server does not recover"
            time.sleep(0.05)
        self.start()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS
        while True:
            try:
                with self.connect() as link:
                    self.version = link.info.server_version
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / "output").read_text("utf-8", "replace")
                    if 'could not access file "pg_stat_statements"' in said:
                        pytest.skip("not installed beside this server: pg_stat_statements")
                    raise AssertionError(said) from None
                time.sleep(0.05)


def start(*, initdb: Sequence[str] = (), port: int = 5432, **settings: str) -> Server:
    """A new cluster with trust for everybody on its socket. Whoever starts it stops it."""
    return start_in(Path(tempfile.mkdtemp(prefix="cenotaph-pg-")), settings, initdb=initdb, port=port)


def start_in(
    folder: Path, settings: dict[str, str], *, initdb: Sequence[str] = (), port: int = 5432
) -> Server:
    """As `start`, in a folder of the caller's, whose path is short: a socket lies in it."""
    commands = need()
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    line = [str(commands / "initdb"), "-D", str(folder / "data"), "-U", USER, "-A", "trust", "-E", "UTF8"]
    line += ["--locale=C.UTF-8", "--wal-segsize=1", "--no-sync", *initdb]
    subprocess.run(as_server(line), check=True, capture_output=True, cwd=folder)
    return Server(folder, port=port, settings=settings)


@functools.cache
def shared() -> Server:
    """The one server that the tests of this process share; each test makes a database of its own."""
    server = start(
        log_min_messages="fatal"
    )  # its log is read as its files are, and reading is to change none
    atexit.register(server.stop)
    return server


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in listed.split()]


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Database:
    """A fresh database of the server that the tests of this process share, made by statements."""

    def __init__(self, *statements: str) -> None:
        self.server = shared()
        self.name = self.server.database(*statements)
        self.url = self.server.url(self.name)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.run(*statements, database=self.name)


@contextmanager
def making(database: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Make databases by this, each with its `server` and `name`; all are dropped in the end."""
    made: list[Any] = []

    def make(*given: Any, **more: Any) -> Any:
        made.append(database(*given, **more))
        return made[-1]

    yield make
    for one in made:
        one.server.drop(one.name)


def as_server(line: Sequence[str], *, dies: bool = False) -> list[str]:
    """The command as the user that PostgreSQL may run as: it refuses root. `dies`: with this process."""
    prefix = ["setpriv", "--pdeathsig", "INT"] if dies else ["setpriv"]
    if os.geteuid() == 0:
        return [*prefix, "--reuid", USER, "--regid", USER, "--clear-groups", *line]
    return [*prefix, *line] if dies else list(line)
