"""A small HTTP/1.1 server that strangers may talk to: bounded in bytes, in time and in clients (RFC 9112).

What surprises here is that the standard library's `http.server` is not used: its limits are for each read,
so that whoever sends one byte a second holds a thread for ever. Here a whole request has one deadline.
Requests with anything but a plain `Content-Length` body are refused, so that no proxy in front reads another
request than we do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, TypeVar

from cenotaph_proof.errors import ServeError
from cenotaph_proof.network.address import is_loopback

MAX_HEAD = 16 << 10
MAX_LINES = 64
MAX_CLIENTS = 64  # connections at a time; more wait in the system's queue
MAX_FROM_ONE = 16  # of them from one client, as `client_of` counts them
MAX_REQUESTS = 100  # on one connection
HEAVY = 1 << 20  # bodies above this size are read two at a time
PATIENCE = 10.0  # seconds for a request's head, a handshake, or an idle connection
ANSWER_PATIENCE = 60.0  # seconds for the service to answer
SLOWEST = 16 << 10  # bytes a second below which a client is given up
T = TypeVar("T")
USED = ("host", "content-length", "transfer-encoding", "connection", "expect")
SIGNED = ("content-digest", "signature-input", "signature")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. `headers` has the few that are used, by lower-case name; `path` has no query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `stream` gives a body that is too large to hold in parts, `length` bytes in all.

    `said` goes into the access line: no person's data.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    kind: str = "text/plain; charset=utf-8"
    stream: Iterator[bytes] | None = None
    length: int | None = None
    said: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.body) if self.length is None else self.length


class Service(Protocol):
    """What is served. Both calls come from several threads at once."""

    def limit(self, request: Request) -> int | Answer:
        """How many bytes of body to read after this head; or an answer without reading any."""

    def answer(self, request: Request) -> Answer:
        """Answer a request with its body."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen: an address and a port (0: any), with TLS where a certificate is given."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False

    @classmethod
    def parse(cls, text: str) -> tuple[str, int]:
        """Read `HOST:PORT` or `[ADDRESS]:PORT`. Raises: ServeError."""
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:\s]+)):([0-9]{1,5})", text)
        if not match or int(match[3]) > 65535:
            raise ServeError(
                f"{text} is no address to listen on", hint="write HOST:PORT, such as 127.0.0.1:8420"
            )
        return match[1] or match[2], int(match[3])

    def check(self) -> None:
        """Refuse to talk in clear to others than this machine. Raises: ServeError."""
        if (self.certificate is None) != (self.key is None):
            raise ServeError("TLS needs a certificate and its key", hint="give both --tls-cert and --tls-key")
        if self.certificate is None and not self.behind_proxy and not is_loopback(self.host):
            raise ServeError(
                f"{self.host} is not an address of this machine alone, and there is no TLS",
                hint="give --tls-cert and --tls-key, or --behind-proxy where a proxy in front has TLS",
            )

    def tls(self) -> ssl.SSLContext | None:
        """The TLS settings, TLS 1.2 at least. Raises: ServeError when certificate or key cannot be used."""
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ServeError(
                f"the TLS certificate or its key cannot be used: {error.strerror or type(error).__name__}",
                hint="both are PEM files, and the key is that of the certificate",
            ) from None
        return context


def client_of(host: str) -> str:
    """Whom an address counts as: an IPv6 address as its /64, an IPv4 one that is written in IPv6 as itself.

    A site has a /64 at least, and mostly more (RFC 6177): 2^64 addresses, from any of which it may call.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 4 or address.is_loopback:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def serve(place: Place, start: Callable[[str], Service]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are still answered.

    `start` is given the address where it listens, and gives what is served.

    Raises: ServeError when the place cannot be used.
    """
    place.check()
    context = place.tls()
    host = "127.0.0.1" if place.host == "localhost" else place.host
    try:
        listener = socket.create_server(
            (host, place.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such address"
        raise ServeError(
            f"cannot listen on {place.host}:{place.port}: {why}",
            hint="choose another address or port (port 0: any that is free)",
        ) from None
    with listener:
        listener.setblocking(False)
        name = f"[{host}]" if ":" in host else host
        address = f"{'https' if context else 'http'}://{name}:{listener.getsockname()[1]}/"
        asyncio.run(_Server(start(address), context, place).run(listener))


class _BadRequest(Exception):
    """A request that is not read further; the answer says why, and the connection ends."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.answer = Answer(status, f"{why}\n".encode())


@dataclass(frozen=True, slots=True)
class _Streams:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Server:
    def __init__(self, service: Service, context: ssl.SSLContext | None, place: Place) -> None:
        self._service = service
        self._context = context
        self._place = place
        self._room = asyncio.Semaphore(MAX_CLIENTS)
        self._heavy = asyncio.Semaphore(2)
        self._workers = ThreadPoolExecutor(8)
        self._clients: dict[asyncio.Task[None], str] = {}
        self._stopping = asyncio.Event()

    async def run(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if self._context is not None and self._place.certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, self._renew)
        accepting = asyncio.create_task(self._accept(listener))
        await self._stopping.wait()
        accepting.cancel()
        await self._finish()
        self._workers.shutdown()

    async def _finish(self) -> None:
        """Let requests under way end, for a while. Idle connections see `_stopping` and end at once."""
        if self._clients:
            _, late = await asyncio.wait(self._clients, timeout=PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _renew(self) -> None:
        """SIGHUP: a certificate that was renewed on the disk is used from now on."""
        assert self._context is not None
        assert self._place.certificate is not None
        try:
            self._context.load_cert_chain(self._place.certificate, self._place.key)
        except (OSError, ssl.SSLError) as error:
            say({"event": "the renewed certificate cannot be used", "why": type(error).__name__})

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError:  # the client is gone already, or this process has no descriptors left
                self._room.release()
                await asyncio.sleep(0.1)
                continue
            who = client_of(str(address[0]))
            if self._crowds(who):
                connection.close()
                self._room.release()
                continue
            task = asyncio.create_task(self._client(connection))
            self._clients[task] = who
            task.add_done_callback(self._gone)

    def _crowds(self, who: str) -> bool:
        """Whether a client has as many connections as one may have. A proxy speaks for many."""
        if self._place.behind_proxy or is_loopback(who):
            return False
        return list(self._clients.values()).count(who) >= MAX_FROM_ONE

    def _gone(self, task: asyncio.Task[None]) -> None:
        del self._clients[task]
        self._room.release()
        if not task.cancelled() and task.exception() is not None:
            say({"event": "a connection failed", "why": type(task.exception()).__name__})

    async def _client(self, connection: socket.socket) -> None:
        """One connection: requests one after another, then its end. A client that vanishes is no error."""
        with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            async with self._streams(connection) as streams:
                for _ in range(MAX_REQUESTS):
                    if not await self._exchange(streams):
                        break

    @contextlib.asynccontextmanager
    async def _streams(self, connection: socket.socket) -> AsyncIterator[_Streams]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(MAX_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=PATIENCE if self._context else None,
                ssl_shutdown_timeout=1.0 if self._context else None,
            )
        except BaseException:
            connection.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            yield _Streams(reader, writer)
            writer.close()
            async with asyncio.timeout(PATIENCE):
                await writer.wait_closed()  # what is left to be sent is sent
        finally:
            transport.abort()

    async def _exchange(self, streams: _Streams) -> bool:
        """One request and its answer; whether another may follow on this connection."""
        head = await self._next_head(streams.reader)
        if head is None:
            return False
        began = time.monotonic()
        request: Request | None = None
        try:
            request, version = _parse_head(head)
            keep = version and request.headers.get("connection", "").lower() != "close"
            answer = await self._answer(streams, request)
        except _BadRequest as refused:
            answer, keep = refused.answer, False
        keep = keep and answer.status < 400 and not self._stopping.is_set()
        sent = await self._send(
            streams.writer, answer, keep, bare=request is not None and request.method == "HEAD"
        )
        _say_access(request, answer, time.monotonic() - began, sent)
        if answer.status >= 400:
            await _linger(streams)
        return keep and sent

    async def _next_head(self, reader: asyncio.StreamReader) -> bytes | None:
        """The next request's head; None when no more comes."""
        read = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({read, stop}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                return None
            return read.result()
        except asyncio.LimitOverrunError:
            return b""  # longer than a head may be
        except asyncio.IncompleteReadError:
            return None
        finally:
            for waiting in (read, stop):
                waiting.cancel()

    async def _answer(self, streams: _Streams, request: Request) -> Answer:
        length = _length(request)
        allowed = await self._work(self._service.limit, request)
        if isinstance(allowed, Answer):
            # What follows would be read as the next request: `_exchange` keeps no connection after this.
            return _closing(allowed) if length else allowed
        if length > allowed:
            raise _BadRequest(413, f"the body has {length} bytes; at most {allowed} are taken")
        async with self._heavy if length > HEAVY else contextlib.nullcontext():
            whole = Request(
                request.method, request.path, request.headers, await _body(streams, request, length)
            )
            return await self._work(self._service.answer, whole)

    async def _work(self, call: Callable[[Request], T], request: Request) -> T | Answer:
        """Let the service work in a thread of its own. A defect of ours is told by its class alone."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_PATIENCE):
                return await loop.run_in_executor(self._workers, call, request)
        except TimeoutError:
            return Answer(503, b"this takes too long; try again\n")
        except OSError as error:
            say({"event": "a file could not be used", "why": error.strerror or type(error).__name__})
            return Answer(503, b"the disk does not answer; try again\n")

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer, keep: bool, *, bare: bool) -> bool:
        """Send an answer; whether all of it went. A stream that ends early ends the connection."""
        async with asyncio.timeout(PATIENCE + answer.size / SLOWEST):
            writer.write(_head_of(answer, keep))
            if bare:
                pass
            elif answer.stream is None:
                writer.write(answer.body)
            else:
                left = answer.size
                async for part in self._parts(answer.stream):
                    left -= len(part)
                    writer.write(part)
                    await writer.drain()
                if left:
                    return False
            await writer.drain()
            return True

    async def _parts(self, stream: Iterator[bytes]) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while True:
            try:
                part = await loop.run_in_executor(self._workers, next, stream, None)
            except OSError:
                return  # a file went while it was being sent
            if part is None:
                return
            yield part


_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (/[\x21-\x7e]{0,1023}) HTTP/1\.([01])")
# One way alone to match: a repeated repetition takes a time that doubles with each byte of a refused header.
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")


def _parse_head(head: bytes) -> tuple[Request, bool]:
    """The request of a head, without its body; and whether it is HTTP/1.1, which keeps connections."""
    if not head:
        raise _BadRequest(431, f"the head of a request has at most {MAX_HEAD} bytes")
    line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if not match or len(lines) > MAX_LINES:
        raise _BadRequest(400, "this is no request of HTTP 1")
    headers: dict[str, str] = {}
    for name, value in map(_header, lines):
        if name in headers:
            raise _BadRequest(400, f"the header {name} is there twice")
        if name in USED + SIGNED:
            headers[name] = value
    if match[3] == "1" and "host" not in headers:
        raise _BadRequest(400, "the header host is missing")
    return Request(match[1], match[2], headers), match[3] == "1"


def _header(line: str) -> tuple[str, str]:
    match = _HEADER.fullmatch(line)
    if not match:
        raise _BadRequest(400, "a header of the request is malformed")
    return match[1].lower(), match[2].strip(" \t")


def _length(request: Request) -> int:
    """How long the body is; a body that is framed in another way is refused."""
    if "transfer-encoding" in request.headers:
        raise _BadRequest(501, "send the body with a Content-Length")
    text = request.headers.get("content-length", "0")
    if not re.fullmatch("0|[1-9][0-9]{0,11}", text):
        raise _BadRequest(400, "the header content-length is malformed")
    return int(text)


async def _body(streams: _Streams, request: Request, length: int) -> bytes:
    try:
        async with asyncio.timeout(PATIENCE + length / SLOWEST):
            if length and request.headers.get("expect", "").lower() == "100-continue":
                streams.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await streams.writer.drain()
            return await streams.reader.readexactly(length)
    except TimeoutError:
        raise _BadRequest(408, "the body did not come in time") from None


def _closing(answer: Answer) -> Answer:
    return answer if answer.status >= 400 else Answer(400, b"this takes no body\n", said=answer.said)


def _head_of(answer: Answer, keep: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_phrase(answer.status)}",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {answer.size}",
        f"Connection: {'keep-alive' if keep else 'close'}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *(["Retry-After: 5"] if answer.status == 503 else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


async def _linger(streams: _Streams) -> None:
    """Read for a moment what a client still sends: else it loses the answer (RFC 9112, 9.6)."""
    if streams.writer.can_write_eof():
        streams.writer.write_eof()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(1.0):
            for _ in range(16):
                if not await streams.reader.read(MAX_HEAD):
                    return


def _say_access(request: Request | None, answer: Answer, seconds: float, sent: bool) -> None:
    line: dict[str, str | int] = {
        "method": request.method if request else "?",
        **answer.said,
        "status": answer.status,
        "ms": round(seconds * 1000),
        "bytes": answer.size,
    }
    say(line if sent else {**line, "cut": "off"})


def say(line: Mapping[str, str | int]) -> None:
    """One line of JSON on stderr: no address, no path, no name of a person."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):  # nobody reads them: no reason to stop
        print(json.dumps({"time": stamp, **line}, ensure_ascii=False), file=sys.stderr, flush=True)
