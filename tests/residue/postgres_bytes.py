"""A private PostgreSQL server for the tests of its bytes, and what its tools say of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path("/usr/lib/postgresql/15/bin")
needs_server = pytest.mark.skipif(
    not (BIN / "postgres").exists() or os.getuid() != 0, reason="needs PostgreSQL 15 and root"
)
_AS_POSTGRES = ("setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; its files are read beneath it, after a checkpoint."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def sql(self, text: str) -> str:
        """What psql prints for these statements, unaligned and without headers."""
        command = [
            BIN / "psql",
            "-h",
            self.folder,
            "-p",
            "5432",
            "-U",
            "postgres",
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
        ]
        done = subprocess.run(
            [*command, "-d", "postgres"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def file(self, relation: str) -> Path:
        """Where a relation's first segment lies, written out."""
        self.sql("CHECKPOINT")
        return self.data / self.sql(f"SELECT pg_relation_filepath('{relation}')")

    def toast_file(self, table: str) -> Path:
        """Where the TOAST table of a table lies, written out."""
        return self.file(
            self.sql(f"SELECT reltoastrelid::regclass FROM pg_class WHERE oid='{table}'::regclass")
        )

    def wal(self) -> list[Path]:
        """The segments, as they lie, by name."""
        return sorted(path for path in (self.data / "pg_wal").iterdir() if len(path.name) == 24)


@contextmanager
def server(*settings: str) -> Iterator[Server]:
    """A new server, stopped and removed at the end. `settings` are lines of postgresql.conf."""
    folder = Path(tempfile.mkdtemp(prefix="pgbytes", dir="/tmp"))
    shutil.chown(folder, "postgres", "postgres")
    made = Server(folder)
    _run("initdb", "-D", made.data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
    lines = [
        "listen_addresses=''",
        f"unix_socket_directories='{folder}'",
        "fsync=off",
        "autovacuum=off",
        "shared_buffers=32MB",
        "max_wal_size=2GB",
        *settings,
    ]
    with (made.data / "postgresql.conf").open("a") as file:
        file.write("\n".join(lines) + "\n")
    _run("pg_ctl", "-D", made.data, "-l", folder / "log", "-w", "start")
    try:
        yield made
    finally:
        _run("pg_ctl", "-D", made.data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def _run(tool: str, *arguments: object) -> None:
    command = [*_AS_POSTGRES, BIN / tool, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", check=False)
    assert done.returncode == 0, done.stderr.decode()
