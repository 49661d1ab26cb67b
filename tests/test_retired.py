"""Looking whether an app is gone: only what cannot be mistaken is gone, and no address is told."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cenotaph import retired
from cenotaph.errors import UsageError
from cenotaph_proof.words import Words

SECRET = b"a word that the server chose"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retired, "PATIENCE", 0.3)


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener on a free port, which hands each connection to `serve` until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        serve(connection)
                    except OSError:
                        continue  # the one who looked has seen enough

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def says(first: bytes, asked: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        request = connection.recv(4096)
        if asked is not None:
            asked.append(request)
        connection.sendall(first + b"\r\nX-Word: " + SECRET + b"\r\n\r\n" + SECRET)

    return serve


def dripping(connection: socket.socket) -> None:
    """A byte now and then: each comes in time, and the line never ends."""
    connection.settimeout(2)
    for _ in range(100):
        connection.sendall(b"H")
        threading.Event().wait(0.1)


def silent(connection: socket.socket) -> None:
    connection.settimeout(2)
    connection.recv(4096)
    connection.recv(4096)  # until the other side gives up


def seen(check: retired.Kind, address: str) -> tuple[str, str]:
    found = retired.look(retired.target("health code", check, address))
    assert found.app == "health code"
    assert found.check == check
    return found.state, found.note


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("first", "state", "note"),
    [
        (b"HTTP/1.1 404 Not Found", "gone", "answers 404 Not Found"),
        (b"HTTP/1.0 410 " + SECRET, "gone", "answers 410 Gone"),
        (b"HTTP/1.1 200 OK", "still there", "answers 200"),
        (b"HTTP/1.1 302 Found", "still there", "redirects (302)"),
        (b"HTTP/1.1 401 Unauthorized", "still there", "answers 401"),
        (b"HTTP/1.1 503 Gone", "still there", "answers 503"),
        (b"HTTP/1.1 4100 Gone", "still there", "answers with something else than HTTP"),
        (b"HTTP/9.9 410 Gone", "still there", "answers with something else than HTTP"),
        (b"SSH-2.0-OpenSSH_9.2", "still there", "answers with something else than HTTP"),
        (SECRET * 100, "still there", "answers with something else than HTTP"),
    ],
)
def test_an_endpoint_is_gone_with_404_and_410_alone(first: bytes, state: str, note: str) -> None:
    """Whatever else answers is there; no word that the server chose is kept."""
    with server(says(first)) as port:
        assert seen("endpoint", f"http://127.0.0.1:{port}/login?a=b") == (state, note)


def test_nothing_is_sent_that_could_identify_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request, straight to the host whatever proxies are set: no cookie, no credentials, no redirect
    followed."""
    asked: list[bytes] = []
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    with server(says(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere", asked)) as port:
        seen("endpoint", f"http://127.0.0.1:{port}/登录")

    assert [request.split(b"\r\n") for request in asked] == [
        [
            b"GET /%E7%99%BB%E5%BD%95 HTTP/1.1",
            f"Host: 127.0.0.1:{port}".encode(),
            b"User-Agent: cenotaph",
            b"Accept: */*",
            b"Connection: close",
            b"",
            b"",
        ]
    ]


@pytest.mark.parametrize("check", ["endpoint", "port"])
def test_a_refused_connection_is_gone(check: retired.Kind) -> None:
    """Nobody listens: for an endpoint and for a port."""
    address = f"127.0.0.1:{free_port()}"

    assert seen(check, f"http://{address}/" if check == "endpoint" else address) == retired.REFUSED


def test_a_port_that_takes_connections_is_there() -> None:
    """A port is asked for nothing."""
    with server(silent) as port:
        assert seen("port", f"127.0.0.1:{port}") == ("still there", "takes connections")


@pytest.mark.parametrize("serve", [silent, dripping])
def test_who_takes_the_connection_and_says_nothing_is_there(serve: Callable[[socket.socket], None]) -> None:
    """Neither silence nor a byte at a time makes an app gone, or the auditor wait."""
    with server(serve) as port:
        assert seen("endpoint", f"http://127.0.0.1:{port}/") == retired.MUTE


def test_who_answers_nobody_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall drops what it does not like: what lies behind it may run."""

    def connect(self: socket.socket, address: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket.socket, "connect", connect)

    assert seen("port", "127.0.0.1:443") == retired.SILENT


@pytest.mark.parametrize(
    ("error", "expected"),
    [(socket.EAI_NONAME, retired.NO_HOST), (socket.EAI_AGAIN, retired.NO_WAY)],
)
def test_a_host_without_an_address_is_gone_and_a_network_that_is_down_is_not(
    monkeypatch: pytest.MonkeyPatch, error: int, expected: retired.Seen
) -> None:
    """An auditor without a network must not see everything gone."""

    def resolve(*_: object, **__: object) -> object:
        raise socket.gaierror(error, "told by the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    assert seen("endpoint", "https://code.example/") == expected


def test_one_address_of_several_that_answers_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may lead to many machines: all of them must be gone, and those out of reach do not speak."""
    with server(says(b"HTTP/1.1 200 OK")) as port:
        places = [("127.0.0.1", free_port()), ("127.0.0.1", port), ("240.0.0.1", 9)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert seen("endpoint", "http://code.example/") == ("still there", "answers 200")

        del found[1:2]
        assert seen("endpoint", "http://code.example/") == retired.REFUSED


def test_a_certificate_that_nobody_trusts_is_no_end(tmp_path: Path) -> None:
    """Something answers, whoever it is: 410 in a stranger's name is not believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            says(b"HTTP/1.1 410 Gone")(secured)

    with server(serve) as port:
        assert seen("endpoint", f"https://127.0.0.1:{port}/") == retired.UNTRUSTED
    with server(says(b"HTTP/1.1 410 Gone")) as port:
        assert seen("endpoint", f"https://127.0.0.1:{port}/") == retired.NO_TLS


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7).not_valid_before(now)
    signed = made.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────


def job(address: str, host: str | None = None) -> tuple[str, str]:
    found = retired.look(retired.target("sync", "job", address, host or socket.gethostname()))
    return found.state, found.note


def test_a_job_is_looked_at_on_its_own_machine_alone(tmp_path: Path) -> None:
    """On any other machine its file is missing too, which shows nothing."""
    assert job(str(tmp_path / "sync"), "another") == retired.ELSEWHERE
    assert job(str(tmp_path / "sync")) == ("gone", "its file is not there")

    (tmp_path / "sync").symlink_to("nowhere")
    assert job(str(tmp_path / "sync")) == ("still there", "its file is there")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program of this name first in the way."""

    def put(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return put


@pytest.mark.parametrize(
    ("load", "active", "state"),
    [
        ("not-found", "inactive", "gone"),
        ("masked", "failed", "gone"),
        ("loaded", "inactive", "still there"),
        ("not-found", "active", "still there"),
        ("masked", "activating", "still there"),
    ],
)
def test_a_unit_is_gone_when_it_is_neither_installed_nor_running(
    program: Callable[[str, str], None], load: str, active: str, state: str
) -> None:
    """A unit whose file was removed runs on until it is stopped."""
    program("systemctl", f'test "$4" = sync.timer && echo LoadState={load} && echo ActiveState={active}')

    assert job("systemd:sync.timer")[0] == state


def test_a_systemd_that_does_not_answer_shows_nothing(program: Callable[[str, str], None]) -> None:
    """In a container there is none: that is not the machine's own word."""
    program("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")

    assert job("systemd:sync.timer")[0] == "not looked at"


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("echo '0 3 * * * /opt/sync/run --all'", "still there"),
        ("echo '# 0 3 * * * /opt/sync/run --all'", "gone"),
        ("echo 'no crontab for web' >&2; exit 1", "gone"),
        ("echo 'you are not allowed to use this program' >&2; exit 1", "not looked at"),
    ],
)
def test_a_line_of_a_crontab(
    program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, script: str, state: str
) -> None:
    """A line that is commented out is gone; a crontab that may not be read shows nothing."""
    program("crontab", script)
    monkeypatch.setattr("getpass.getuser", lambda: "web")

    assert job("crontab:web:/opt/sync/run")[0] == state


def test_what_is_seen_is_said_in_chinese_too() -> None:
    """Every note that this module has, but for a status that nobody foresaw."""
    source = Path(retired.__file__).read_text("utf-8")
    said = re.findall(r'"(?:gone|still there|not looked at)", "([^"]+)"', source)
    notes = [note for note in said if note not in ("still there", "not looked at")]
    zh = Words("zh")

    assert len(notes) > 15
    assert [n for n in (*notes, *retired.GONE.values()) if zh.text(n) == n] == []


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "address"),
    [
        ("endpoint", "code.example"),
        ("endpoint", "ftp://code.example/"),
        ("endpoint", "https:///path"),
        ("endpoint", "https://code.example:99999/"),
        ("endpoint", "https://code.example/a b"),
        ("endpoint", "https://code.example/\r\nX: y"),
        ("endpoint", "https://code.example/#part"),
        ("endpoint", "https://li:wei@code.example/"),
        ("endpoint", "https://" + "x" * 70 + ".example/"),
        ("port", "code.example"),
        ("port", "code.example:0"),
        ("port", "code.example:80/path"),
        ("port", "li@code.example:80"),
        ("job", "cron.d/sync"),
        ("job", "systemd:--all"),
        ("job", "systemd:sync"),
        ("job", "crontab:web"),
        ("job", "crontab:-r:x"),
        ("job", "at:5"),
    ],
)
def test_an_address_that_is_not_well_formed_is_refused(check: retired.Kind, address: str) -> None:
    """The error names the app and never the address, which may hold credentials."""
    with pytest.raises(UsageError, match="app health code") as caught:
        retired.target("health code", check, address, "web1")

    assert address not in f"{caught.value.message} {caught.value.hint}"


def test_a_job_needs_its_machine() -> None:
    """A path that is missing on the wrong machine would be an end for nothing."""
    with pytest.raises(UsageError, match="not the machine that it ran on"):
        retired.target("sync", "job", "/etc/cron.d/sync")
