"""Servers for tests: the real commands as processes of their own, on ports of the system; and a test CA."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
STARTS = 30.0  # seconds in which a server must have started, on a busy machine


@dataclass(frozen=True)
class Server:
    """A server that runs. `told` is the object that it printed when it had started."""

    process: subprocess.Popen[bytes]
    told: dict[str, Any]
    errors: Path

    @property
    def url(self) -> str:
        return str(self.told["listening"])

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def lines(self) -> list[dict[str, Any]]:
        """What it wrote on stderr."""
        return [json.loads(line) for line in self.errors.read_text("utf-8").splitlines()]

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


def start(*line: str | Path, errors: Path) -> Server:
    """Start a command that serves. Whoever starts it stops it."""
    with errors.open("ab") as err:
        process = subprocess.Popen(
            [str(BIN / str(line[0])), *map(str, line[1:])], stdout=subprocess.PIPE, stderr=err
        )
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        told = process.stdout.readline() if waiting.select(STARTS) else b""
    process.stdout.close()
    if not told:
        process.kill()
        process.wait()
        raise AssertionError(f"the server did not start:\n{errors.read_text('utf-8')[-1500:]}")
    return Server(process, json.loads(told), errors)


@contextmanager
def running(*line: str | Path, errors: Path) -> Iterator[Server]:
    """A server while the block runs."""
    server = start(*line, errors=errors)
    try:
        yield server
    finally:
        server.kill()


def witness_line(folder: Path, key: Path, operators: Sequence[Path], *more: str | Path) -> list[str | Path]:
    """The command line of a log witness with its state in `folder`, on any free port."""
    named = [word for operator in operators for word in ("--operator", operator)]
    line = ["cenotaph-proof", "witness", "serve", "--key", key, "--state", folder / "state", *named, *more]
    return line if "--listen" in more else [*line, "--listen", "127.0.0.1:0"]


@dataclass(frozen=True)
class Certificates:
    """A test authority, and a certificate of it for this machine."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def served(self) -> tuple[str | Path, ...]:
        return ("--tls-cert", self.certificate, "--tls-key", self.key)


def make_certificates(folder: Path) -> Certificates:
    """A CA and a certificate for 127.0.0.1 and localhost, made by openssl."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    own = ("-keyout", folder / "ca.key", "-out", made.authority)
    _openssl("req", "-x509", *curve, *own, "-subj", "/CN=Test CA")
    _openssl("req", *curve, "-keyout", made.key, "-out", folder / "request", "-subj", "/CN=localhost")
    authority = ("-CA", made.authority, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2")
    names = ("-extfile", folder / "names")
    _openssl("x509", "-req", "-in", folder / "request", *authority, "-out", made.certificate, *names)
    return made


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


Said = tuple[int, str, bytes]  # status, content type, body


@contextmanager
def lying(answer: Callable[[str, bytes], Said]) -> Iterator[str]:
    """A server in this process that answers as it is told: `answer` is given path and body. Its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, kind, said = answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            if 300 <= status < 400:
                self.send_header("Location", "https://elsewhere.example/add-checkpoint")
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Look again until it is so."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come in time"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
