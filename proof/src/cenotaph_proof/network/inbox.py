"""The operator's inbox: parties fetch the case and leave what they signed (spec/exchange.md, parts 3 and 4).

It reads the case's folder and writes into `statements/incoming/` alone. It needs none of the operator's keys
and logs nothing: that is for the operator's next command, which decides what the case admits.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cenotaph_proof import bundle, canonical, envelope, statements
from cenotaph_proof._durable import make_folder, write_file
from cenotaph_proof.casebook import COUNTERSIGN
from cenotaph_proof.errors import FormatError, ProofError, SignatureError
from cenotaph_proof.folder import SO_FAR, CaseFolder
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.network import exchange
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.exchange import Parts, Said
from cenotaph_proof.network.serving import Answer, Request, say
from cenotaph_proof.statements import Charter
from cenotaph_proof.trust import from_charter

WAITING = 20  # envelopes of one party
WAITING_BYTES = 256 << 20  # of them, with all that is beside them
NONCES = 100_000
JSON = "application/json"


class InboxService:
    """The inbox of one case at one address; `address` is the one that parties use, also behind a proxy."""

    def __init__(
        self, case: Path, address: Address, clock: Callable[[], int] = lambda: int(time.time())
    ) -> None:
        self._case = case
        self._folder = CaseFolder(case)
        self._address = address
        self._clock = clock
        self._nonces = _Nonces(clock())
        self._writing = threading.Lock()
        self._known: tuple[tuple[int, int], _Logged] | None = None

    def limit(self, request: Request) -> int | Answer:
        """Answer what needs no body; say how much of a body to read from a party whose signature is good."""
        path = request.path.removeprefix(self._address.prefix) if self._is_below(request.path) else None
        routes = {"": self._page, "so-far.cenotaph": self._so_far}
        if path in routes:
            if request.method in ("GET", "HEAD"):
                return routes[path]()
        elif path == "case":
            if request.method == "GET":
                return self._copy(request)
        elif path == "incoming":
            if request.method == "POST":
                return self._welcome(request)
        else:
            return Answer(404, b"there is nothing here\n")
        return Answer(405, b"not in this way\n")

    def answer(self, request: Request) -> Answer:
        """Take an envelope in, or say why not."""
        said: dict[str, str | int] = {"route": "incoming"}
        try:
            logged = self._logged()
            party, signed = self._party(request, logged)
            said["party"] = party.organisation
            if hashlib.sha256(request.body).digest() != signed.digest:
                return Answer(401, b"the body is not the one that was signed\n", said=said)
            parts = Parts.parse(request.body)
            kind = _check_parts(parts, party, logged)
        except _Refused as refused:
            return Answer(refused.status, f"{refused}\n".encode(), said=said)
        except ProofError as error:
            return Answer(422, f"{error.message}\n".encode(), said=said)
        said |= {"statement": kind}
        with self._writing:
            status, state = self._keep(parts, kind, party, logged)
        if status == 429:
            return Answer(429, b"too much of this party waits already\n", said=said)
        digest = hashlib.sha256(parts.envelope).hexdigest()
        return Answer(status, canonical.dumps({"digest": digest, "state": state}), JSON, said=said)

    def _is_below(self, path: str) -> bool:
        return path.startswith(self._address.prefix)

    def _page(self) -> Answer:
        text = "Inbox of a case of cenotaph. The proof file of everything logged until now: so-far.cenotaph\n"
        return Answer(200, text.encode(), said={"route": "page"})

    def _so_far(self) -> Answer:
        said = {"route": "so-far"}
        try:
            opened = (self._folder.statements / SO_FAR).open("rb")
        except FileNotFoundError:
            return Answer(503, b"the case is not open yet\n", said=said)
        size = os.fstat(opened.fileno()).st_size
        return Answer(200, kind="application/octet-stream", stream=_parts(opened), length=size, said=said)

    def _copy(self, request: Request) -> Answer:
        said: dict[str, str | int] = {"route": "case"}
        try:
            party, _ = self._welcomed(request)
        except _Refused as refused:
            return Answer(refused.status, f"{refused}\n".encode(), said=said)
        said["party"] = party.organisation
        private = party.role in COUNTERSIGN
        files = list(exchange.copied(self._case, private=private, key_id=party.key_id))
        if any(file.size > exchange.MAX_FILE for file in files):
            return Answer(503, b"the annex is too large to travel in this way\n", said=said)
        length = exchange.copy_length(files)
        return Answer(200, kind=exchange.COPY, stream=exchange.write_copy(files), length=length, said=said)

    def _welcome(self, request: Request) -> int | Answer:
        try:
            self._welcomed(request)
        except _Refused as refused:
            return Answer(refused.status, f"{refused}\n".encode(), said={"route": "incoming"})
        return exchange.MAX_PARTS

    def _welcomed(self, request: Request) -> tuple[PublicKey, Said]:
        """Whose request this is, signed now and not before. Raises: _Refused."""
        party, said = self._party(request, self._logged())
        self._nonces.take(said, self._clock())
        return party, said

    def _party(self, request: Request, logged: _Logged) -> tuple[PublicKey, Said]:
        """Whose request this is. Raises: _Refused."""
        try:
            said = exchange.read_request(request.headers)
            party = logged.parties.get(said.key_id)
            if party is None:
                raise _Refused(403, "this key is not one of the case's parties")
            exchange.verify_request(
                party, request.method, self._address.authority, request.path, said, request.headers
            )
        except SignatureError as error:
            raise _Refused(401, error.message) from None
        return party, said

    def _logged(self) -> _Logged:
        """The parties and statements of the case, read anew when the log has grown. Raises: _Refused."""
        try:
            with (self._folder.statements / SO_FAR).open("rb") as stream:
                info = os.fstat(stream.fileno())
                mark = (info.st_mtime_ns, info.st_ino)
                if self._known is None or self._known[0] != mark:
                    self._known = (mark, _read(bundle.read(stream)))
                return self._known[1]
        except FileNotFoundError:
            raise _Refused(503, "the case is not open yet") from None
        except ProofError as error:
            say({"event": error.message})
            raise _Refused(503, "the operator's case cannot be read") from None

    def _keep(self, parts: Parts, kind: str, party: PublicKey, logged: _Logged) -> tuple[int, str]:
        """Put an envelope into `incoming/` as a party on this machine would; its file comes last."""
        digest = hashlib.sha256(parts.envelope).hexdigest()
        if digest in logged.digests:
            return 200, "logged"
        name = f"{digest[:16]}-{kind}"
        path = self._folder.incoming / f"{name}.json"
        if path.exists():
            return (200, "waiting") if path.read_bytes() == parts.envelope else (429, "")
        waiting = list(self._waiting(party))
        size = sum(map(len, (parts.envelope, parts.share or b"", parts.attachment or b"")))
        if len(waiting) >= WAITING or sum(waiting) + size > WAITING_BYTES:
            return 429, ""
        make_folder(self._folder.incoming)
        if parts.attachment is not None:
            write_file(self._folder.incoming / f"{name}.attachment", parts.attachment)
        if parts.share is not None:
            write_file(self._folder.incoming / f"{name}.share", parts.share)
        write_file(path, parts.envelope)
        return 201, "waiting"

    def _waiting(self, party: PublicKey) -> Iterator[int]:
        """The sizes of what waits of a party, each with what is beside it."""
        for path in self._folder.incoming.glob("*.json"):
            try:
                with path.open("rb") as stream:
                    signer = envelope.open_(stream.read(envelope.MAX_BYTES + 1)).keyid
                beside = (path.with_suffix(suffix) for suffix in (".json", ".share", ".attachment"))
                size = sum(p.stat().st_size for p in beside if p.exists())
            except (FormatError, FileNotFoundError):
                continue  # the operator's command took it, or somebody else left what is no envelope
            if signer == party.key_id:
                yield size


class _Refused(Exception):
    """A request that is not answered as asked, with its status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Logged:
    """What an inbox must know of the log: the case's charter, parties by key id, statements by digest."""

    charter: str
    parties: dict[str, PublicKey]
    digests: frozenset[str]


def _read(logged: bundle.Bundle) -> _Logged:
    """Raises: FormatError when the proof file so far holds no charter of its case."""
    digests = [hashlib.sha256(entry).hexdigest() for entry in logged.entries]
    for entry, digest in zip(logged.entries, digests, strict=True):
        payload = envelope.open_(entry).payload
        outline = statements.outline(payload)
        if outline.kind == "charter" and outline.case == logged.case:
            body = statements.parse(payload, logged.attachments).body
            assert isinstance(body, Charter)
            parties = {p.key_id: p for p in from_charter(body).parties if p.role != "operator"}
            return _Logged(digest, parties, frozenset(digests))
    raise FormatError("the proof file so far holds no charter of its case")


def _check_parts(parts: Parts, party: PublicKey, logged: _Logged) -> str:
    """What kind of statement this is. Raises: ProofError when it is none of this party and this case."""
    sealed = envelope.open_(parts.envelope)
    envelope.verify(sealed, party)
    outline = statements.outline(sealed.payload)
    if outline.kind == "charter" or outline.kind not in statements.KINDS or outline.charter != logged.charter:
        raise FormatError("the envelope holds no statement of this case that a party makes")
    attached = None if parts.attachment is None else hashlib.sha256(parts.attachment).hexdigest()
    if outline.detached != attached:
        raise FormatError("the attachment is not the one that the statement names")
    if parts.share is not None and (outline.kind, party.role) != ("approval", "auditor"):
        raise FormatError("a key share comes with an auditor's approval alone")
    return outline.kind


class _Nonces:
    """The nonces of late: no signed request is answered twice."""

    def __init__(self, started: int) -> None:
        self._started = started
        self._taken: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def take(self, said: Said, now: int) -> None:
        """Raises: _Refused when the time is not now, or the nonce was used."""
        if abs(said.created - now) > exchange.WINDOW:
            raise _Refused(401, f"the request was not signed now; it is {now} here (Unix time)")
        if said.created < self._started:
            raise _Refused(401, "the request was signed before this server was started; sign it again")
        with self._lock:
            if len(self._taken) >= NONCES:
                horizon = now - exchange.WINDOW
                self._taken = {key: time for key, time in self._taken.items() if time >= horizon}
            if len(self._taken) >= NONCES:
                raise _Refused(503, "too many requests; try again in some minutes")
            if (said.key_id, said.nonce) in self._taken:
                raise _Refused(401, "this request was made before")
            self._taken[said.key_id, said.nonce] = said.created


def _parts(opened: BinaryIO) -> Iterator[bytes]:
    with opened:
        while part := opened.read(exchange.READ):
            yield part
