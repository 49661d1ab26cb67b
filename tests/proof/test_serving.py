"""The server under hostile clients: it refuses, it does not wait for ever, and it goes on serving others."""

from __future__ import annotations

import http.client
import json
import random
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cenotaph_proof.errors import ServeError
from cenotaph_proof.network.serving import Place, client_of
from servers import Certificates, Server, make_certificates

# A service that says what it was sent; patience is short, so that tests are.
SERVE = """
import sys, time
from cenotaph_proof.network import serving
from cenotaph_proof.network.serving import Answer, Place, serve

serving.PATIENCE, serving.MAX_CLIENTS, serving.SLOWEST = 0.6, 8, 1 << 20

class Service:
    def limit(self, request):
        if request.path == "/take":
            return 1000
        if request.path == "/short":
            return Answer(200, stream=iter([b"12345"]), length=10)
        if request.path == "/breaks":
            raise ValueError("a secret")
        if request.path == "/disk":
            raise OSError(28, "No space left on device")
        return Answer(200, b"page", said={"route": "page"}) if request.path == "/" else Answer(404, b"no")

    def answer(self, request):
        if request.body == b"slow":
            time.sleep(0.5)
        return Answer(200, b"taken " + request.body)

def start(address):
    print('{"listening": "%s"}' % address, flush=True)
    return Service()

files = sys.argv[1:]
serve(Place("127.0.0.1", 0, *files), start)
"""


def started(errors: Path, *files: Path, serve: str = SERVE) -> Server:
    with errors.open("ab") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", serve, *map(str, files)], stdout=subprocess.PIPE, stderr=err
        )
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        assert waiting.select(30)
    told = json.loads(process.stdout.readline())
    process.stdout.close()
    return Server(process, told, errors)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = started(tmp_path_factory.mktemp("server") / "errors")
    yield made
    made.kill()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def said(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    found = b""
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


def ask(server: Server, data: bytes) -> bytes:
    with closing(connect(server)) as connection:
        connection.sendall(data)
        return said(connection)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def is_well(server: Server) -> bool:
    """Whether it still answers an honest client, with what it should."""
    return ask(server, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").endswith(b"\r\n\r\npage")


HOST = b"Host: h\r\n"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://h/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /" + b"a" * 1100 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: \x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 9_000 + b"\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a " * 4_000 + b"\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 10_000 + b"\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a " * 5_000 + b"\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\r\n" * 70 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"POST /take HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /take HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /take HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400),
        (b"POST /take HTTP/1.1\r\n" + HOST + b"Content-Length: 03\r\n\r\nabc", 400),
        (b"POST /take HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
        (b"POST /take HTTP/1.1\r\n" + HOST + b"Content-Length: 1001\r\n\r\n", 413),
        (b"POST /take HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", 400),
        (b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /disk HTTP/1.1\r\n" + HOST + b"\r\n", 503),
    ],
)
def test_what_is_no_plain_request_is_refused(server, data, wanted):
    """With its status, and an end of the connection: what follows is not read as another request."""
    answer = ask(server, data + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

    assert status(answer) == wanted
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in answer
    assert is_well(server)


def test_requests_follow_each_other_on_a_connection(server):
    """As C2SP tlog-witness asks for; the next begins where the body of the one before ends."""
    take = b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    answer = ask(server, take + take + b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")

    assert answer.count(b"200 OK") == 3
    assert answer.count(b"taken abc") == 2


def test_a_client_of_http_1_0_is_answered(server):
    """As proxies speak to what is behind them."""
    answer = ask(server, b"GET / HTTP/1.0\r\n\r\n")

    assert status(answer) == 200
    assert b"Connection: close" in answer


def test_a_client_that_waits_for_leave_gets_it(server):
    """`Expect: 100-continue`, as curl sends it with long bodies."""
    with closing(connect(server)) as connection:
        connection.sendall(
            b"POST /take HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
            b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert said(connection).endswith(b"taken ab")


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx",
    ],
)
def test_a_slow_client_is_given_up(server, begun):
    """One byte at a time does not prolong it: a whole request has one deadline."""
    with closing(connect(server)) as connection:
        connection.sendall(begun)
        began = time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() - began < 10:
            try:
                connection.sendall(b"x")
                if not connection.recv(1 << 16):
                    break
            except TimeoutError:
                continue
            except OSError:
                break

        assert time.monotonic() - began < 5


def test_a_crowd_that_says_nothing_does_not_keep_others_out(server):
    """More connections than the server holds: an honest client is served once their patience is over."""
    crowd = [connect(server) for _ in range(30)]
    try:
        began = time.monotonic()
        assert is_well(server)
        assert time.monotonic() - began < 15
    finally:
        for connection in crowd:
            connection.close()


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("127.0.0.2", "127.0.0.2"),
    ],
)
def test_a_network_of_addresses_is_one_client(host, client):
    """Who has a /64, as everybody with IPv6 has, could call from each of its addresses."""
    assert client_of(host) == client


def test_one_client_may_have_so_many_connections(tmp_path):
    """Those beyond are closed at once; when one ends, another may come."""
    few = "serving.MAX_FROM_ONE = 2\nserving.client_of = lambda host: '2001:db8::/64'\n"
    alone = SERVE.replace("class Service", f"{few}class Service")
    made = started(tmp_path / "errors", serve=alone)
    try:
        with closing(connect(made)), closing(connect(made)) as second:
            time.sleep(0.1)
            assert ask(made, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b""
            second.close()
            time.sleep(0.1)
            assert is_well(made)
    finally:
        made.kill()


def test_noise_does_not_stop_it(server):
    """Random bytes, and good requests with random bytes in them."""
    dice = random.Random(4)
    good = b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    for _ in range(60):
        at = dice.randrange(len(good))
        noise = dice.randbytes(dice.randrange(1, 20))
        with closing(connect(server)) as connection:
            connection.sendall(dice.choice([noise, good[:at] + noise + good[at + 1 :]]))
            connection.shutdown(socket.SHUT_WR)
            answer = said(connection)
        assert not answer or status(answer) in (200, 400, 404, 408, 413, 431, 501)
    assert is_well(server)


def test_an_answer_that_cannot_be_finished_is_seen_to_be_cut_off(server):
    """The length was said before: who reads on finds less than that, not a whole answer."""
    answer = ask(server, b"GET /short HTTP/1.1\r\nHost: h\r\n\r\n")

    assert b"Content-Length: 10" in answer
    assert answer.endswith(b"12345")


def test_a_defect_of_ours_ends_one_connection_and_quotes_nothing(server):
    """What is logged is the class of the error: its text may quote what a client sent."""
    assert ask(server, b"GET /breaks HTTP/1.1\r\nHost: h\r\n\r\n") == b""
    assert is_well(server)
    text = server.errors.read_text("utf-8")
    assert "ValueError" in text
    assert "a secret" not in text


def test_access_lines_hold_no_path_and_no_address(server):
    """A path may be a person's name. Routes, statuses and sizes are enough to see what goes on."""
    ask(server, b"GET /li-wei-320205199001011234 HTTP/1.1\r\nHost: li-wei.example\r\nReferer: li-wei\r\n\r\n")
    line = server.lines()[-1]

    assert line.keys() == {"time", "method", "status", "ms", "bytes"}
    assert (line["method"], line["status"]) == ("GET", 404)
    assert "li-wei" not in server.errors.read_text("utf-8")
    assert "127.0.0.1" not in server.errors.read_text("utf-8")


def test_sigterm_lets_a_request_under_way_end(tmp_path):
    """It is answered, idle connections end at once, and the exit code is 0."""
    made = started(tmp_path / "errors")
    with closing(connect(made)) as busy, closing(connect(made)) as idle:
        busy.sendall(b"POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nslow")
        time.sleep(0.2)
        made.process.send_signal(signal.SIGTERM)
        assert said(busy).endswith(b"taken slow")
        assert said(idle) == b""
    assert made.process.wait(10) == 0


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    made = started(folder / "errors", certificates.certificate, certificates.key)
    yield made
    made.kill()


def test_with_a_certificate_it_speaks_tls_alone(tls, certificates):
    """TLS 1.2 or newer; clear text gets no answer."""
    context = ssl.create_default_context(cafile=certificates.authority)
    client = http.client.HTTPSConnection("127.0.0.1", tls.port, context=context, timeout=20)
    client.request("POST", "/take", b"abc")

    assert client.getresponse().read() == b"taken abc"
    assert client.sock.version() in ("TLSv1.2", "TLSv1.3")
    client.close()
    assert b"HTTP" not in ask(tls, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")


def test_a_handshake_that_never_ends_is_given_up(tls):
    """And a crowd of them keeps nobody out for long."""
    crowd = [connect(tls) for _ in range(12)]
    try:
        began = time.monotonic()
        crowd[0].sendall(b"\x16\x03\x01")
        assert said(crowd[0]) in (b"", b"\x15\x03\x01\x00\x02\x02\x32")
        assert time.monotonic() - began < 10
    finally:
        for connection in crowd:
            connection.close()


# ── where it listens ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_it_does_not_speak_in_clear_with_others(host, certificates):
    """Neither to every address nor to one of the network; with TLS or a proxy in front it may."""
    with pytest.raises(ServeError, match="no TLS"):
        Place(host, 0).check()
    Place(host, 0, behind_proxy=True).check()
    Place(host, 0, certificates.certificate, certificates.key).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_may_be_spoken_to_in_clear(host):
    """Loopback addresses leave nothing on a wire."""
    Place(host, 0).check()


@pytest.mark.parametrize(
    "text", ["", "8420", ":8420", "host:", "host:65536", "::1:80", "[::1]", "a b:1", "h:+1"]
)
def test_what_is_no_address_to_listen_on_is_refused(text):
    """With a hint at the form."""
    with pytest.raises(ServeError, match="no address"):
        Place.parse(text)
    assert Place.parse("[::1]:80") == ("::1", 80)


def test_a_certificate_that_cannot_be_used_is_told(tmp_path, certificates):
    """Missing, no certificate, or another's key: before anything listens."""
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(ServeError, match="needs a certificate"):
        Place("127.0.0.1", 0, certificates.certificate).check()
    for certificate, key in (
        (tmp_path / "missing", certificates.key),
        (tmp_path / "no.pem", certificates.key),
        (certificates.certificate, certificates.authority.with_name("ca.key")),
    ):
        with pytest.raises(ServeError, match="cannot be used"):
            Place("127.0.0.1", 0, certificate, key).tls()
