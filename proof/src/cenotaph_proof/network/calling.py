"""Calling a server that may be slow, broken or hostile: one deadline, bounded answers, nothing followed.

TLS is verified against the system's authorities, or one that the caller names. An address that was read by
`Address.parse` is called in clear on this machine alone. Neither redirects nor proxies are followed. The
deadline is for the whole call: a server that sends a byte a second does not prolong it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cenotaph_proof import __version__
from cenotaph_proof.errors import CallError
from cenotaph_proof.network.address import Address

CONNECT = 10.0  # seconds to connect, and for each read


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered, whole."""

    status: int
    kind: str
    body: bytes


def call(
    address: Address,
    method: str,
    path: str,
    *,
    limit: int,
    seconds: float,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    ca: Path | None = None,
) -> Reply:
    """Send one request and read its answer of at most `limit` bytes, all within `seconds`.

    `path` comes after the address's prefix. `ca` is a file of authorities to believe instead of the system's.

    Raises:
        CallError: no connection, no valid certificate, no HTTP, too late, too long, or a redirect.
    """
    with calling(address, method, path, seconds=seconds, body=body, headers=headers, ca=ca) as answer:
        data = answer.read(limit + 1)
        if len(data) > limit:
            raise CallError(f"{address.host} answers with more than {limit} bytes", transient=False)
        if answer.length:
            raise http.client.IncompleteRead(b"")
        return Reply(answer.status, answer.headers.get("Content-Type", ""), data)


@contextmanager
def calling(
    address: Address,
    method: str,
    path: str,
    *,
    seconds: float,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    ca: Path | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """The same for answers that are read in parts while the block runs. Raises: CallError there too."""
    connection = _connection(address, min(CONNECT, seconds), ca)
    ends = time.monotonic() + seconds
    reached: list[socket.socket] = []
    watch = threading.Timer(seconds, _hang_up, [connection, reached])
    watch.daemon = True
    watch.start()
    try:
        sent = {"User-Agent": f"cenotaph-proof/{__version__}", "Connection": "close", **(headers or {})}
        connection.connect()
        reached.append(connection.sock)
        connection.request(method, address.prefix + path, body or None, sent)
        answer = connection.getresponse()
        if 300 <= answer.status < 400:
            raise CallError(
                f"{address.host} sends us elsewhere, which is not followed",
                transient=False,
                hint="ask whoever runs it for its address, and write that",
            )
        yield answer
    except (http.client.HTTPException, OSError, ValueError) as error:
        late = time.monotonic() >= ends or isinstance(error, TimeoutError)
        raise _told(address, error, late) from None
    finally:
        watch.cancel()
        connection.close()


def _connection(address: Address, timeout: float, ca: Path | None) -> http.client.HTTPConnection:
    if address.scheme == "http":
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        raise CallError(
            f"the file of authorities for {address.host} cannot be used",
            transient=False,
            hint="it is a PEM file",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=context)


def _hang_up(connection: http.client.HTTPConnection, reached: list[socket.socket]) -> None:
    """End the call from outside. Below TLS: its own shutdown would let the reader go on in clear."""
    # A connection forgets its socket once the answer's head is read, where nothing is to follow the answer.
    open_ = reached[0] if reached else connection.sock
    if open_ is not None:
        try:
            socket.socket.shutdown(open_, socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself


def _told(address: Address, error: Exception, late: bool) -> CallError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return CallError(
            f"the certificate of {address.host} is not valid: {error.verify_message}",
            transient=False,
            hint="with a private authority, name its certificate",
        )
    if late:
        return CallError(f"{address.host} does not answer in time", transient=True)
    if isinstance(error, http.client.IncompleteRead):
        return CallError(f"{address.host} ends its answer early", transient=True)
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return CallError(f"{address.host} cannot be reached", transient=True)
    return CallError(f"{address.host} does not answer as it should ({type(error).__name__})", transient=True)
