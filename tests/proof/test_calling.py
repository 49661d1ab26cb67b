"""Calling servers that are slow, endless, or not who they say they are."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cenotaph_proof.errors import CallError, FormatError
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.calling import Reply, call, calling
from servers import Certificates, make_certificates


@contextmanager
def server(
    *parts: bytes, pause: float = 0.0, certificates: Certificates | None = None, host: str = "127.0.0.1"
) -> Iterator[int]:
    """Sends these parts to every client, whatever it asks, with a pause after each. Gives its port."""
    listener = socket.create_server((host, 0))
    context = None
    if certificates:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.certificate, certificates.key)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with suppress(OSError), client:
                    plain = context.wrap_socket(client, server_side=True) if context else client
                    plain.recv(1 << 16)
                    for part in parts:
                        plain.sendall(part)
                        time.sleep(pause)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def get(port: int, *, seconds: float = 10.0) -> Reply:
    return call(Address.parse(f"http://127.0.0.1:{port}"), "GET", "", limit=1000, seconds=seconds)


def get_tls(port: int, ca: Path | None, host: str = "127.0.0.1") -> Reply:
    return call(Address.parse(f"https://{host}:{port}"), "GET", "", limit=1000, seconds=10, ca=ca)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


OK = b"HTTP/1.1 200 OK\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngood"


def test_an_answer_is_read_whole():
    """Status, type and body."""
    with server(GOOD) as port:
        assert get(port) == Reply(200, "text/plain", b"good")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (OK + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, "more than 1000 bytes"),
        (OK + b"\r\n" + b"x" * 1001, "more than 1000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2\r\nxx\r\n" * 600,
            "more than 1000 bytes",
        ),
        (OK + b"Content-Length: 9\r\n\r\nshort", "ends its answer early"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nxx", "ends its answer early"),
        (OK + b"Content-Length: -5\r\n\r\n", ""),
        (OK + b"A: b\r\n" * 200 + b"\r\n", "does not answer as it should"),
        (OK + b"A: " + b"a" * 70_000 + b"\r\n\r\n", "does not answer as it should"),
        (
            b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "sends us elsewhere",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer as it should"),
        (b"", "does not answer as it should"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer, message):
    """Too long, cut off, moved, no HTTP: an error, in time, whatever it is."""
    with server(answer) as port:
        if message:
            with pytest.raises(CallError, match=message):
                get(port)
        else:
            assert len(get(port).body) <= 1000


def test_a_server_that_drips_is_given_up():
    """One byte at a time, in the head or in the body, does not prolong the call."""
    for parts in (
        [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", *[b"x"] * 200],
    ):
        with server(*parts, pause=0.05) as port:
            began = time.monotonic()
            with pytest.raises(CallError, match="in time"):
                get(port, seconds=0.5)
            assert time.monotonic() - began < 5


def test_a_certificate_of_the_authority_that_was_named_is_good(certificates):
    """A private authority, for rehearsals and for universities that have one."""
    with server(GOOD, certificates=certificates) as port:
        assert get_tls(port, certificates.authority).body == b"good"


def test_a_certificate_that_is_not_good_is_refused(certificates, tmp_path):
    """By an authority of nobody's, of another host, or of another authority than the one that was named."""
    other = make_certificates(tmp_path / "other")
    with server(GOOD, certificates=certificates) as port:
        for ca in (None, other.authority):
            with pytest.raises(CallError, match=r"the certificate of 127\.0\.0\.1 is not valid"):
                get_tls(port, ca)
        with pytest.raises(CallError, match=r"file of authorities for 127\.0\.0\.1 cannot be used"):
            get_tls(port, tmp_path / "missing.pem")
    elsewhere = server(GOOD, certificates=certificates, host="127.0.0.2")
    with elsewhere as port, pytest.raises(CallError, match=r"certificate of 127\.0\.0\.2 is not valid"):
        get_tls(port, certificates.authority, "127.0.0.2")


def test_a_proxy_of_the_surroundings_is_not_used(monkeypatch):
    """Where calls go is said by the case file alone."""
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with server(GOOD) as port:
        assert get(port).body == b"good"


def test_parts_can_be_read_as_they_come():
    """For answers that are too large to hold."""
    with (
        server(GOOD) as port,
        calling(Address.parse(f"http://127.0.0.1:{port}"), "GET", "", seconds=10) as answer,
    ):
        assert [answer.read(2), answer.read(2), answer.read(2)] == [b"go", b"od", b""]


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "authority", "prefix"),
    [
        ("https://witness.example.org", "witness.example.org", "/"),
        ("https://Witness.Example.org:443/", "witness.example.org", "/"),
        ("https://witness.example.org:8443/a/b", "witness.example.org:8443", "/a/b/"),
        ("http://127.0.0.1:8420/", "127.0.0.1:8420", "/"),
        ("http://localhost", "localhost", "/"),
        ("https://[2001:db8::1]:99/x/", "[2001:db8::1]:99", "/x/"),
    ],
)
def test_addresses_are_read(text, authority, prefix):
    """Host in lower case, the usual port left out, the prefix ending in a slash."""
    address = Address.parse(text)

    assert (address.authority, address.prefix) == (authority, prefix)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "witness.example.org",
        "http://witness.example.org",
        "http://192.0.2.1:80/",
        "ftp://127.0.0.1",
        "https://user:secret@host",
        "https://host?x=1",
        "https://host/#a",
        "https://host/a//b",
        "https://host/../a b",
        "https://host:99999",
        "https://",
        "https://host\n",
        "https://hôst",
    ],
)
def test_what_is_no_address_is_refused(text):
    """In clear to others, with passwords or queries, or malformed. Nothing of it is quoted but a host."""
    with pytest.raises(FormatError) as refused:
        Address.parse(text)
    assert "secret" not in refused.value.message
