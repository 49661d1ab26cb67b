"""Addresses of servers: encrypted, or of this machine alone."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cenotaph_proof.errors import FormatError

PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: scheme, host, port, and the prefix of its paths, which ends in a slash."""

    scheme: str
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address, `https://HOST[:PORT][/PREFIX]`; with `http` only of this machine.

        Raises:
            FormatError: anything else, such as names, passwords or queries in it.
        """
        match = _ADDRESS.fullmatch(text)
        if not match:
            raise FormatError("an address is written https://HOST[:PORT][/PREFIX]")
        try:
            host, port = urlsplit(text).hostname or "", urlsplit(text).port
        except ValueError:
            raise FormatError("the host or the port of an address is malformed") from None
        scheme = match[1]
        if scheme == "http" and not is_loopback(host):
            raise FormatError(
                f"{host} is not this machine, and http:// is not encrypted", hint="write https://"
            )
        prefix = match[2] or "/"
        return cls(scheme, host, port or PORTS[scheme], prefix if prefix.endswith("/") else f"{prefix}/")

    @property
    def authority(self) -> str:
        """Host and port as in a Host header: the port is left out where it is the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def is_loopback(host: str) -> bool:
    """Whether an address, as text, reaches this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_ADDRESS = re.compile(
    r"(https?)://(?:\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?((?:/[A-Za-z0-9._~-]+)*/?)"
)
