"""Stamp: have an authority that courts know date the newest cosigned checkpoint of the log (RFC 3161).

Nothing depends on it: no statement is signed, no gate opens. Stamps lie in the log's folder, a note and the
tokens over it side by side (spec/time.md, part "Asking for one"), and travel in every later proof file.
"""

from __future__ import annotations

import hashlib
import http
import urllib.parse
from pathlib import Path

from cenotaph import authority
from cenotaph.desk import STAMPS, Desk, alone
from cenotaph.durable import write_file
from cenotaph.errors import CenotaphError, UsageError
from cenotaph_proof import stamp as stamps
from cenotaph_proof.errors import CallError, ProofError
from cenotaph_proof.network.address import PORTS, Address
from cenotaph_proof.stamp import MAX_TOKEN


@alone
def ask(desk: Desk, url: str) -> Path:
    """Ask the authority at `url` for a token over the newest cosigned checkpoint; returns where it is kept.

    Raises: UsageError for another kind of address; CenotaphError when no token comes back.
    """
    _need_extra()
    place = _newest(desk)
    token = _answer(_address(url), stamps.request(place.read_bytes()))
    kept = _keep(place, token)
    desk.write_copies()
    return kept


@alone
def request(desk: Desk, to: Path) -> None:
    """Write a request over the newest cosigned checkpoint, for an authority that is asked another way."""
    write_file(to, stamps.request(_newest(desk).read_bytes()), mode=0o644)


@alone
def add(desk: Desk, answer: Path) -> Path:
    """Keep an authority's answer to a request of this log, however old; returns where it is kept.

    Raises: UsageError, CenotaphError when it is none.
    """
    _need_extra()
    if answer.stat().st_size > MAX_TOKEN:
        raise UsageError(f"{answer} is longer than any time-stamp token")
    why = "there was no request"
    for place in sorted((desk.config.log_path() / STAMPS).glob("*.note")):
        try:
            kept = _keep(place, answer.read_bytes())
        except ProofError as error:
            why = error.message
            continue
        desk.write_copies()
        return kept
    raise CenotaphError(
        f"{answer} answers no request of this log: {why}", hint="begin with: cenotaph stamp --request FILE"
    )


def _newest(desk: Desk) -> Path:
    """The newest cosigned checkpoint, kept as it is now: later cosignatures would change its bytes."""
    desk.finish()
    size, note = max(desk.log().cosigned().items(), default=(0, b""))
    if not size:
        raise CenotaphError("the log has no cosigned checkpoint yet", hint="run: cenotaph open")
    place = desk.config.log_path() / STAMPS / f"{size}-{_digits(note)}.note"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, note, mode=0o644)
    return place


def _keep(place: Path, token: bytes) -> Path:
    from cenotaph_proof import tokens  # only where the extra is there

    tokens.check_answer(token, place.read_bytes())
    kept = place.with_name(f"{place.stem}-{_digits(token)}.tsr")
    write_file(kept, token, mode=0o644)
    return kept


def _address(url: str) -> Address:
    """The address of an authority, its query included. Raises: UsageError."""
    refused = UsageError("--url takes the http or https address of a time-stamping authority")
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refused from None
    if parts.scheme not in PORTS or not host:
        raise refused
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.scheme, host, port or PORTS[parts.scheme], target)


def _answer(place: Address, query: bytes) -> bytes:
    try:
        reply = authority.ask(place, query, MAX_TOKEN)
    except CallError as error:
        raise CenotaphError(
            f"the time-stamping authority does not answer: {error.message}",
            hint="try again, or ask another way: cenotaph stamp --request FILE",
        ) from None
    if reply.status != http.HTTPStatus.OK:
        raise CenotaphError(f"the time-stamping authority answers with HTTP status {reply.status}")
    return reply.body


def _need_extra() -> None:
    if not stamps.can_check():
        raise CenotaphError(
            "time-stamp tokens cannot be read here",
            hint="install cenotaph-proof[timestamps]; cenotaph stamp --request works without it",
        )


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
