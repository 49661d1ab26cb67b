"""Private PostgreSQL servers for tests: a folder and a Unix socket of their own, stopped by their handle."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'cenotaph[postgres]'")

USER = "postgres"
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
    """The newest installed server's commands: Debian keeps them out of PATH."""
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
        line = [str(need() / "postgres"), "-D", str(self.data)]
        line += [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        with (folder / "output").open("ab") as output:
            self.process = subprocess.Popen(as_server(line, dies=True), stdout=output, stderr=output)
        self._numbers = itertools.count()
        self._wait()

    def url(self, database: str = "postgres", user: str = USER, **more: str) -> str:
        extra = "".join(f"&{name}={value}" for name, value in more.items())
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}{extra}"

    def connect(self, database: str = "postgres", user: str = USER) -> Any:
        """A psycopg connection in autocommit."""
        return psycopg.connect(self.url(database, user), autocommit=True)

    def run(self, *statements: str, database: str = "postgres", user: str = USER) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one."""
        with self.connect(database, user) as link:
            for statement in statements:
                cursor = link.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

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
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STARTS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS
        while True:
            try:
                with self.connect() as link:
                    self.version = link.info.server_version
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "output").read_text("utf-8", "replace")) from None
                time.sleep(0.05)


def start(*, initdb: Sequence[str] = (), port: int = 5432, **settings: str) -> Server:
    """A new cluster with trust for everybody on its socket. Whoever starts it stops it."""
    commands = need()
    folder = Path(tempfile.mkdtemp(prefix="cenotaph-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    line = [str(commands / "initdb"), "-D", str(folder / "data"), "-U", USER, "-A", "trust", "-E", "UTF8"]
    line += ["--locale=C.UTF-8", "--wal-segsize=1", "--no-sync", "--no-instructions", *initdb]
    subprocess.run(as_server(line), check=True, capture_output=True, cwd=folder)
    return Server(folder, port=port, settings=settings)


@functools.cache
def shared() -> Server:
    """The one server that the tests of this process share; each test makes a database of its own."""
    server = start()
    atexit.register(server.stop)
    return server


def as_server(line: Sequence[str], *, dies: bool = False) -> list[str]:
    """The command as the user that PostgreSQL may run as: it refuses root. `dies`: with this process."""
    prefix = ["setpriv", "--pdeathsig", "INT"] if dies else ["setpriv"]
    if os.geteuid() == 0:
        return [*prefix, "--reuid", USER, "--regid", USER, "--clear-groups", *line]
    return [*prefix, *line] if dies else list(line)
