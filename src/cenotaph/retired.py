"""Apps that are to be switched off: looking whether they are gone, from the machine at hand.

What an app answers is looked at as anybody's machine sees it: no proxy, no redirect followed, no credentials,
and nothing kept but a status. *Gone* is what cannot be mistaken: 404, 410, a refused connection, a host
without an address. Any other answer is *still there*, an untrusted TLS certificate too: something answers.
Silence is neither, since a firewall is silent in front of what runs: *not looked at*, with the reason.

No address, and no word that a server chose, leaves this module in its results.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import SplitResult, quote, urlsplit

from cenotaph.errors import UsageError
from cenotaph_proof.statements import CheckedApp

Kind: TypeAlias = Literal["endpoint", "port", "job"]
State: TypeAlias = Literal["gone", "still there", "not looked at"]
Seen: TypeAlias = tuple[State, str]

PATIENCE = 10.0  # seconds for a connection, and for an answer
ADDRESSES = 8  # of one host, looked at one after the other
AT_ONCE = 8
GONE = {404: "answers 404 Not Found", 410: "answers 410 Gone"}
REFUSED: Seen = ("gone", "connection refused")
NO_HOST: Seen = ("gone", "no such host")
SILENT: Seen = ("not looked at", f"no answer within {PATIENCE:g} s")
NO_WAY: Seen = ("not looked at", "this machine's network does not reach it")
MUTE: Seen = ("still there", "takes connections and answers nothing")
NO_TLS: Seen = ("still there", "takes connections and answers with something else than TLS")
UNTRUSTED: Seen = ("still there", "answers with a TLS certificate that this machine does not trust")
ELSEWHERE: Seen = ("not looked at", "this is not the machine that the job ran on")
_WORST: tuple[State, ...] = ("still there", "not looked at", "gone")
_LINE = 1024  # bytes of an answer that are read
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r?\n|\Z)")
_NONE = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,250}\.(service|timer|socket|path)")


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to look at. `address` stays in the case file; `host` is where a job ran."""

    app: str
    check: Kind
    address: str = field(repr=False)
    host: str | None = field(default=None, repr=False)


def target(app: str, check: Kind, address: str, host: str | None = None) -> Target:
    """A target whose address is well formed. Raises: UsageError naming the app, never the address."""
    if check == "endpoint":
        _endpoint(app, address)
    elif check == "port":
        _split(app, "port", f"//{address}", need_port=True)
    else:
        _check_job(app, address, host)
    return Target(app, check, address, host)


def look_at_all(targets: Sequence[Target]) -> tuple[CheckedApp, ...]:
    """What is seen of each target now, in their order; several are waited for at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return tuple(pool.map(look, targets))


def look(item: Target) -> CheckedApp:
    """What is seen of one target now."""
    state, note = {"endpoint": _look_at_endpoint, "port": _look_at_port, "job": _look_at_job}[item.check](
        item
    )
    return CheckedApp(item.app, item.check, state, note)


# ── over the network ─────────────────────────────────────────────────────────────────────────────


def _look_at_endpoint(item: Target) -> Seen:
    url = _endpoint(item.app, item.address)
    port = url.port or (443 if url.scheme == "https" else 80)
    return _worst(str(url.hostname), port, lambda opened: _ask(opened, url))


def _look_at_port(item: Target) -> Seen:
    url = _split(item.app, "port", f"//{item.address}", need_port=True)
    return _worst(str(url.hostname), url.port or 0, lambda _: ("still there", "takes connections"))


def _worst(host: str, port: int, ask: Callable[[socket.socket], Seen]) -> Seen:
    """One of several addresses that is there is enough; one that this network does not reach says nothing."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return NO_HOST if error.errno in _NONE else NO_WAY
    places = dict.fromkeys((family, address) for family, _, _, _, address in found)
    seen = [_knock(*place, ask) for place in list(places)[:ADDRESSES]]
    told = [s for s in seen if s != NO_WAY] or seen
    return min(told, key=lambda s: _WORST.index(s[0]))


def _knock(family: int, address: Any, ask: Callable[[socket.socket], Seen]) -> Seen:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(address)
        except ConnectionRefusedError:
            return REFUSED
        except TimeoutError:  # the kernel's own, ETIMEDOUT, is one of these too
            return SILENT
        except OSError:
            return NO_WAY
        return ask(connection)


def _ask(opened: socket.socket, url: SplitResult) -> Seen:
    if url.scheme == "http":
        return _status(opened, url)
    try:
        with ssl.create_default_context().wrap_socket(opened, server_hostname=url.hostname) as secured:
            return _status(secured, url)
    except ssl.SSLCertVerificationError:
        return UNTRUSTED
    except TimeoutError:
        return MUTE
    except OSError:
        return NO_TLS


def _status(connection: socket.socket, url: SplitResult) -> Seen:
    """Ask for the page, and read no more than the answer's first line."""
    path = quote(url.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
        f"?{quote(url.query, safe='/%:@!$&()*+,;=~-._?')}" if url.query else ""
    )
    host = url.netloc.encode("idna").decode() if not url.netloc.isascii() else url.netloc
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: cenotaph\r\nAccept: */*\r\n"
    try:
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode("ascii"))
        first = _first_line(connection)
    except OSError:
        return MUTE
    found = _STATUS.match(first)
    if found is None:
        return "still there", "answers with something else than HTTP" if first else MUTE[1]
    code = int(found[1])
    return ("gone", GONE[code]) if code in GONE else ("still there", _told(code))


def _told(code: int) -> str:
    return f"redirects ({code})" if 300 <= code < 400 and code != 304 else f"answers {code}"


def _first_line(connection: socket.socket) -> bytes:
    """Who answers a byte at a time is not waited for longer than who is silent."""
    until = time.monotonic() + PATIENCE
    data = b""
    while b"\n" not in data and len(data) < _LINE:
        connection.settimeout(max(0.001, until - time.monotonic()))
        block = connection.recv(_LINE)
        if not block:
            break
        data += block
    return data[:_LINE]


# ── on this machine ──────────────────────────────────────────────────────────────────────────────


def _look_at_job(item: Target) -> Seen:
    """A path that must be gone, a unit of systemd, or a line of a crontab; on the machine it ran on."""
    name = socket.gethostname()
    if item.host not in (name, name.partition(".")[0]):
        return ELSEWHERE
    kind, _, rest = item.address.partition(":")
    if kind == "systemd":
        return _look_at_unit(rest)
    if kind == "crontab":
        user, _, text = rest.partition(":")
        return _look_at_crontab(user, text)
    return _look_at_file(Path(item.address))


def _look_at_file(path: Path) -> Seen:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "gone", "its file is not there"
    except OSError:
        return "not looked at", "this user may not look at its file"
    return "still there", "its file is there"


def _look_at_unit(name: str) -> Seen:
    said = _run("systemctl", "show", "--property=LoadState,ActiveState", "--", name)
    states = dict(line.partition("=")[::2] for line in said[1].splitlines()) if said else {}
    if said is None or said[0] or not states.get("LoadState") or not states.get("ActiveState"):
        return "not looked at", "systemd does not answer here"
    if states["ActiveState"] not in ("inactive", "failed"):
        return "still there", "its unit is running"
    if states["LoadState"] not in ("not-found", "masked"):
        return "still there", "its unit is installed"
    return "gone", "its unit is not there, or masked, and does not run"


def _look_at_crontab(user: str, text: str) -> Seen:
    mine = getpass.getuser() == user
    if not mine and os.geteuid() != 0:
        return "not looked at", "only its user and root may read its crontab"
    said = _run("crontab", "-l") if mine else _run("crontab", "-l", "-u", user)
    if said is None or (said[0] and "no crontab for" not in said[2]):
        return "not looked at", "its crontab cannot be read here"
    lines = [line for line in said[1].splitlines() if not line.lstrip().startswith("#")]
    if any(text in line for line in lines):
        return "still there", "its line is in the crontab"
    return "gone", "its line is not in the crontab"


def _run(*line: str) -> tuple[int, str, str] | None:
    program = shutil.which(line[0])
    if program is None:
        return None
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603  # the program's own place, and words that were checked
            [program, *line[1:]],
            capture_output=True,
            check=False,
            timeout=PATIENCE,
            env={**os.environ, "LC_ALL": "C"},
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout, done.stderr
    return None


# ── reading addresses ────────────────────────────────────────────────────────────────────────────


def _endpoint(app: str, text: str) -> SplitResult:
    url = _split(app, "endpoint", text)
    if url.scheme not in ("http", "https") or url.fragment:
        raise UsageError(f'app {app}: an endpoint is written as "https://HOST/PATH"')
    return url


def _split(app: str, what: str, text: str, *, need_port: bool = False) -> SplitResult:
    form = f"app {app}: its {what} is not well formed"
    hint = 'write port = "HOST:PORT"' if need_port else 'write endpoint = "https://HOST/PATH"'
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
        (host or "").encode("idna")
    except ValueError:
        raise UsageError(form, hint=hint) from None
    if not host or len(text) > 2000 or re.search(r"[\x00-\x20\x7f]", text) or port == 0:
        raise UsageError(form, hint=hint)
    if need_port and (port is None or url.path):
        raise UsageError(form, hint=hint)
    if url.username is not None or url.password is not None:
        raise UsageError(f"app {app}: its {what} holds credentials, and none are ever sent")
    return url


def _check_job(app: str, text: str, host: str | None) -> None:
    kind, _, rest = text.partition(":")
    user, _, line = rest.partition(":")
    good = (
        text.startswith("/")
        or (kind == "systemd" and _UNIT.fullmatch(rest) is not None)
        or (kind == "crontab" and bool(line) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", user))
    )
    if not good or "\0" in text:
        raise UsageError(
            f"app {app}: its job is not well formed",
            hint='write job = "/etc/cron.d/NAME", "systemd:NAME.timer" or "crontab:USER:A PART OF THE LINE"',
        )
    if host is None:
        raise UsageError(
            f"app {app} names a job and not the machine that it ran on",
            hint='add host = "NAME", as the command hostname prints it there: jobs are looked at there alone',
        )
