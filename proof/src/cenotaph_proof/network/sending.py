"""A party's side of an inbox: fetch a copy of the case, send what was signed (spec/exchange.md).

The operator's server is not believed. A copy comes into a folder of its own, must replay, and must continue
the copy that was there: an operator who shows this party another history than before is found out here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from cenotaph_proof import bundle, canonical, envelope, history
from cenotaph_proof._bounded import read_bounded
from cenotaph_proof._durable import make_folder, sync_folder, write_file
from cenotaph_proof.errors import CallError, FormatError, HistoryError, KeyFileError, OrderError
from cenotaph_proof.folder import SO_FAR, CaseFolder, wipe
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.network import exchange
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.calling import Reply, call, calling
from cenotaph_proof.network.exchange import Parts, Received
from cenotaph_proof.statements import ATTACHMENT_LIMIT

MARK = ".fetched"  # in a folder that `fetch` made: where from
STAGING = ".fetching"
MAX_COPY = 256 << 30
MAX_ANSWER = 64 << 10
FETCH_SECONDS = 24 * 3600.0
SEND_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Inbox:
    """An operator's inbox as one party reaches it. `ca`: the authority behind its certificate, if private."""

    address: Address
    key: SecretKey
    clock: Callable[[], int]
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought: statements in the log, how many of them are new here, files in the copy."""

    statements: int
    new: int
    files: int


def fetch(inbox: Inbox, key_file: Path, to: Path) -> Fetched:
    """Bring the copy of the case in `to` up to date; makes the folder the first time.

    Raises:
        HistoryError: the inbox shows another history than the copy at hand, or an older one.
        CallError: it cannot be reached, or does not answer as it should.
        ProofError: what it gives is no copy of a case that replays.
        KeyFileError: `to` is not a folder that fetch made, or the key lies in it.
    """
    _check_folder(to, key_file)
    staging = to / STAGING
    if staging.exists():
        shutil.rmtree(staging)  # of a fetch that was cut off
    staging.mkdir()
    try:
        paths = _download(inbox, staging)
        fetched = _compare(CaseFolder(staging), CaseFolder(to), len(paths))
        _put_in_place(paths, staging, to)
    finally:
        shutil.rmtree(staging)
    write_file(to / MARK, f"{inbox.address}\n".encode(), mode=0o600)
    _clear_logged(CaseFolder(to))
    return fetched


def fetched_from(case: Path) -> Address | None:
    """Where a folder was fetched from; None where fetch did not make it. Raises: FormatError."""
    try:
        return Address.parse((case / MARK).read_text("ascii").strip())
    except FileNotFoundError:
        return None


def send(inbox: Inbox, file: Path) -> str:
    """Send one envelope with what lies beside it; returns "waiting" or "logged". Sending again does no harm.

    Raises:
        CallError: the inbox cannot be reached, or refuses.
        FormatError: the file is no envelope.
        KeyFileError: it is signed by another key.
    """
    body = _parts(file, inbox.key).to_bytes()
    reply = _signed_call(inbox, "POST", "incoming", body)
    if reply.status not in (200, 201):
        raise _refused(inbox, reply.status, reply.body)
    try:
        said = canonical.loads(reply.body)
    except FormatError:
        said = None
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if not isinstance(said, dict) or said.get("digest") != digest or said.get("state") not in _STATES:
        raise CallError(f"{inbox.address.host} does not say what it did with the envelope", transient=False)
    return str(said["state"])


def unsent(case: Path, key: SecretKey) -> list[Path]:
    """The envelopes in a copy's `incoming/` that this key signed, in order of their names."""
    found = []
    for path in sorted(CaseFolder(case).incoming.glob("*.json")):
        try:
            mine = envelope.open_(_read(path, envelope.MAX_BYTES)).keyid == key.public.key_id
        except FormatError:
            continue
        if mine:
            found.append(path)
    return found


_STATES = ("waiting", "logged")


def _check_folder(to: Path, key_file: Path) -> None:
    """The folder is ours to write into, and the key is not in it."""
    if to.is_dir() and any(to.iterdir()) and not (to / MARK).is_file() and not (to / STAGING).is_dir():
        raise KeyFileError(
            f"{to} holds files that fetch did not bring; none is written over",
            hint="name a folder of its own",
        )
    if key_file.resolve().is_relative_to(to.resolve()):
        raise KeyFileError("the secret key lies in the folder of the copy", hint="keep it elsewhere")
    to.mkdir(mode=0o700, parents=True, exist_ok=True)


def _download(inbox: Inbox, staging: Path) -> list[str]:
    """Write the copy's files below `staging`; returns their paths."""
    headers = _signature(inbox, "GET", "case", b"")
    paths = []
    with calling(inbox.address, "GET", "case", seconds=FETCH_SECONDS, headers=headers, ca=inbox.ca) as answer:
        if answer.status != 200:
            raise _refused(inbox, answer.status, answer.read(MAX_ANSWER))
        for received in exchange.read_copy(cast(BinaryIO, answer), MAX_COPY):
            _write(received, staging / received.path)
            paths.append(received.path)
    return paths


def _write(received: Received, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for part in received.parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _compare(new: CaseFolder, old: CaseFolder, files: int) -> Fetched:
    """The new copy replays, and continues the one at hand. Raises: ProofError."""
    case = new.replay()
    statements = len(case.by_digest)
    if not (old.statements / SO_FAR).exists():
        return Fetched(statements, statements, files)
    with (new.statements / SO_FAR).open("rb") as one, (old.statements / SO_FAR).open("rb") as other:
        grown = _grown(bundle.read(one), bundle.read(other))
    return Fetched(statements, grown, files)


def _grown(fresh: bundle.Bundle, kept: bundle.Bundle) -> int:
    """How many statements are new. Raises: ProofError when the new copy does not continue the old one."""
    if fresh.case != kept.case:
        raise OrderError("the inbox is another case's than the copy at hand", hint="fetch into a new folder")
    history.compare(fresh, kept)
    grown = len(fresh.entries) - len(kept.entries)
    if grown < 0:
        raise HistoryError(
            f"the inbox shows {len(fresh.entries)} statements; this copy has {len(kept.entries)} already",
            hint="keep your copy, and ask the operator why",
        )
    return grown


def _put_in_place(paths: Sequence[str], staging: Path, to: Path) -> None:
    """Move the new copy over the old one, the proof file last; what left the annex is destroyed here too."""
    for path in sorted(paths, key=lambda p: (p == f"statements/{SO_FAR}", p)):
        target = to / path
        make_folder(target.parent)
        (staging / path).replace(target)
    annex, brought = to / "annex", set(paths)
    for file in sorted(annex.iterdir()) if annex.is_dir() else ():
        if f"annex/{file.name}" not in brought:
            wipe(file)
    for folder in {(to / path).parent for path in paths}:
        sync_folder(folder)


def _clear_logged(folder: CaseFolder) -> None:
    """Take away what waited here and is logged now; a key share is overwritten."""
    with (folder.statements / SO_FAR).open("rb") as stream:
        logged = {hashlib.sha256(entry).digest() for entry in bundle.read(stream).entries}
    for path in folder.incoming.glob("*.json"):
        if envelope.digest(path.read_bytes()) in logged:
            wipe(path.with_suffix(".share"))
            path.with_suffix(".attachment").unlink(missing_ok=True)
            path.unlink()


def _parts(file: Path, key: SecretKey) -> Parts:
    sealed = _read(file, envelope.MAX_BYTES)
    if envelope.open_(sealed).keyid != key.public.key_id:
        raise KeyFileError(f"{file.name} is signed by another key than the one given")
    return Parts(
        sealed,
        _beside(file, ".share", exchange.MAX_SHARE),
        _beside(file, ".attachment", ATTACHMENT_LIMIT),
    )


def _beside(file: Path, suffix: str, limit: int) -> bytes | None:
    path = file.with_suffix(suffix)
    return _read(path, limit) if path.exists() else None


def _read(path: Path, limit: int) -> bytes:
    data = read_bounded(path, limit)
    if data is None:
        raise FormatError(f"{path.name} is longer than the {limit} bytes that it may have")
    return data


def _signature(inbox: Inbox, method: str, path: str, body: bytes) -> dict[str, str]:
    return exchange.sign_request(
        inbox.key,
        method,
        inbox.address.authority,
        inbox.address.prefix + path,
        body,
        now=inbox.clock(),
        nonce=os.urandom(16).hex(),
    )


def _signed_call(inbox: Inbox, method: str, path: str, body: bytes) -> Reply:
    headers = {**_signature(inbox, method, path, body), "Content-Type": exchange.PARTS}
    return call(
        inbox.address,
        method,
        path,
        limit=MAX_ANSWER,
        seconds=SEND_SECONDS,
        body=body,
        headers=headers,
        ca=inbox.ca,
    )


def _refused(inbox: Inbox, status: int, body: bytes) -> CallError:
    """What the server says goes to a terminal: printable ASCII alone."""
    said = re.sub("[^ -~]", "", body[:200].decode("ascii", "ignore")).strip()
    hint = _HINTS.get(status)
    return CallError(f"the inbox refuses with status {status}: {said}", transient=status >= 500, hint=hint)


_HINTS = {
    401: "see that this machine's clock is right, and that the address is the one the operator gave",
    403: "use the key that case.toml names for you",
    404: "see that the address is the one the operator gave",
}
