"""Listens before a private PostgreSQL server, and keeps the text of every statement that a client sends it.

A server's own log can be switched off by a superuser's session, and a destroying session does so.
(Frontend/Backend Protocol, "Message Formats".)
"""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from postgres_server import Server

LOOKING = {  # volatile, and change nothing
    "pg_control_system",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_is_in_recovery",
    "pg_ls_archive_statusdir",
    "pg_ls_waldir",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_relation_size",
    "pg_total_relation_size",
}
_OF_A_SESSION = ("SELECT set_config(", "BEGIN", "COMMIT", "ROLLBACK", "SET ", "RESET ")


class Recorder:
    """`url` leads to the server; `sessions` are the statements of each connection, in order."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._place = str(server.folder / f".s.PGSQL.{server.port}")
        self.sessions: list[list[str]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / f".s.PGSQL.{server.port}"))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}&port={self._server.port}"

    def changing(self, database: str) -> list[list[str]]:
        """Of each session that changed anything, the statements by which it did, and its transactions'."""
        volatile = {
            str(name)
            for (name,) in self._server.run(
                "SELECT proname FROM pg_proc WHERE provolatile = 'v'", database=database
            )
        }
        found = [[text for text in texts if _changes(text, volatile - LOOKING)] for texts in self.sessions]
        return [texts for texts in found if any(not text.startswith(_OF_A_SESSION) for text in texts)]

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._place)
            told: list[str] = []
            self.sessions.append(told)
            threading.Thread(target=_pass_on, args=(server, client, None), daemon=True).start()
            threading.Thread(target=_pass_on, args=(client, server, _Parser(told)), daemon=True).start()


class _Parser:
    """Takes what a client sends, a startup message first."""

    def __init__(self, told: list[str]) -> None:
        self._told, self._bytes, self._started = told, bytearray(), False

    def feed(self, data: bytes) -> None:
        self._bytes += data
        while (size := self._size()) is not None:
            message, self._bytes = bytes(self._bytes[:size]), self._bytes[size:]
            if not self._started:
                self._started = (
                    int.from_bytes(message[4:8], "big") == 196608
                )  # else TLS or GSSAPI is asked for
            elif message[:1] == b"Q":
                self._told.append(message[5:-1].decode())
            elif message[:1] == b"P":
                self._told.append(message[5:].split(b"\0")[1].decode())

    def _size(self) -> int | None:
        """Of the first message, where all of it is there."""
        kind = 1 if self._started else 0
        if len(self._bytes) < kind + 4:
            return None
        size = kind + int.from_bytes(self._bytes[kind : kind + 4], "big")
        return size if len(self._bytes) >= size else None


def _pass_on(source: socket.socket, sink: socket.socket, parser: _Parser | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            if parser is not None:
                parser.feed(data)
            sink.sendall(data)
    for end in (source, sink):  # which wakes the thread of the other direction, too
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _changes(text: str, volatile: set[str]) -> bool:
    """Not what reads and nothing else, and not the transaction in which a session reads."""
    if re.match(r"\s*(SELECT|WITH|SHOW)\b", text):
        return bool(volatile & set(re.findall(r"(\w+)\(", text)))
    reads = text.startswith("COPY (") and " TO STDOUT " in text
    return not reads and text != "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@contextlib.contextmanager
def recording(server: Server) -> Iterator[Recorder]:
    with tempfile.TemporaryDirectory(prefix="cenotaph-pg-") as folder:
        recorder = Recorder(server, Path(folder))
        try:
            yield recorder
        finally:
            recorder.close()
