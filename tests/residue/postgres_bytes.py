"""A private PostgreSQL server for the tests of its bytes, and such bytes made by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lz4.block
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


def chunk(value: int, number: int, content: bytes) -> bytes:
    """A row of a TOAST table as it lies in a page."""
    header = bytes(18) + b"\x03\x00\x02\x08\x18\x00"
    length = (len(content) + 4 << 2).to_bytes(4, "little")
    row = header + value.to_bytes(4, "little") + number.to_bytes(4, "little") + length + content
    return row.ljust(-(-len(row) // 8) * 8, b"\x00")


def value(text: bytes, method: str = "lz4") -> bytes:
    """A compressed value as it lies in a row."""
    packed = lz4.block.compress(text, store_size=False) if method == "lz4" else slow_pglz(text)
    told = len(text) | (1 << 30 if method == "lz4" else 0)
    data = (len(packed) + 8 << 2 | 2).to_bytes(4, "little") + told.to_bytes(4, "little") + packed
    return data.ljust(-(-len(data) // 8) * 8, b"\x00")


def slow_pglz(text: bytes) -> bytes:
    """A pglz stream of text: literals, and tags for what repeats the 40 bytes before it."""
    items: list[bytes] = []
    at = 0
    while at < len(text):
        if at >= 40 and text[at : at + 17] == text[at - 40 : at - 23]:
            items.append(bytes([14, 40]))
            at += 17
        else:
            items.append(text[at : at + 1])
            at += 1
    out = b""
    for first in range(0, len(items), 8):
        eight = items[first : first + 8]
        out += bytes([sum((len(item) == 2) << nth for nth, item in enumerate(eight))]) + b"".join(eight)
    return out


def record(previous: int, packed: bytes, method: int, hole: tuple[int, int] = (0, 0)) -> bytes:
    """A log record with the compressed image of one page; `hole` is offset and length of its free middle."""
    image = len(packed).to_bytes(2, "little") + hole[0].to_bytes(2, "little") + bytes([method | 3])
    block = b"\x00\x10\x00\x00" + image + hole[1].to_bytes(2, "little") + bytes(16)
    size = 24 + len(block) + len(packed)
    head = size.to_bytes(4, "little") + bytes(4) + previous.to_bytes(8, "little") + bytes(8)
    data = head + block + packed
    return data.ljust(-(-len(data) // 8) * 8, b"\x00")


def log(body: bytes, continued: int = 0, first: int = 1 << 24) -> bytes:
    """Log pages of version 15 full of this content; `continued` bytes of it are of a record before."""
    out, address = b"", first
    while body:
        begin = b"\x10\xd1" + (1 if continued else 0).to_bytes(2, "little") + (1).to_bytes(4, "little")
        head = begin + address.to_bytes(8, "little") + continued.to_bytes(4, "little") + bytes(4)
        out += head + body[:8168]
        body, address = body[8168:], address + 8192
    return out.ljust(-(-len(out) // 8192) * 8192, b"\x00")
