"""A case directory as any party reads it, and what a party keeps beside its own key.

`statements/` holds one file a statement for people, `so-far.cenotaph` for machines (a proof file of
everything logged until now), and `incoming/`, where parties put what they signed until the operator
logs it. A remote party works on a copy of `case.toml`, `statements/` and `annex/`.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from cenotaph_proof import bundle as bundles
from cenotaph_proof import canonical, envelope, statements
from cenotaph_proof._durable import make_folder, sync_folder, write_file
from cenotaph_proof.case import Case
from cenotaph_proof.errors import FormatError, OrderError, ProofError
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.statements import Body, Cite, Statement
from cenotaph_proof.trust import Trust

SO_FAR = "so-far.cenotaph"


class CaseFolder:
    """The statements of a case directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statements = path / "statements"
        self.incoming = self.statements / "incoming"
        self.attachments = self.statements / "attachments"
        self.annex = path / "annex"

    def replay(self, trust: Trust | None = None) -> Case:
        """The case as it stands in the copy at hand. Raises: OrderError when it was never opened."""
        so_far = self.statements / SO_FAR
        if not so_far.exists():
            raise OrderError(f"{self.path} holds no opened case", hint="run: cenotaph open")
        with so_far.open("rb") as stream:
            return bundles.replay(bundles.read(stream), trust)

    def replay_with_waiting(self) -> Case:
        """The case as it will stand once the operator logs what waits in `incoming/`, as far as it fits.

        A party may so sign what builds on a statement of their own that nobody has logged yet.
        """
        case = self.replay()
        waiting = [_Waiting(path) for path in sorted(self.incoming.glob("*.json"))]
        while fitting := [item for item in waiting if item.admitted_by(case)]:
            waiting = [item for item in waiting if item not in fitting]
        return case

    def submit(self, body: Body, cites: tuple[Cite, ...], key: SecretKey, share: bytes | None = None) -> Path:
        """Sign a statement and leave it for the operator in `incoming/`. Returns its file.

        `share` is a sealed key share that travels beside an auditor's approval of the charter.
        """
        sealed, attachment = sign(body, cites, key)
        name = f"{hashlib.sha256(sealed).hexdigest()[:16]}-{type(body).__name__.lower()}"
        make_folder(self.incoming)
        if attachment is not None:
            write_file(self.incoming / f"{name}.attachment", attachment)
        if share is not None:
            write_file(self.incoming / f"{name}.share", share)
        path = self.incoming / f"{name}.json"
        write_file(path, sealed)
        return path


class _Waiting:
    """An envelope in `incoming/`, with its detached part."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        beside = path.with_suffix(".attachment")
        attached = beside.read_bytes() if beside.exists() else None
        self._attachments = {hashlib.sha256(attached).hexdigest(): attached} if attached is not None else {}

    def admitted_by(self, case: Case) -> bool:
        try:
            case.admit(self._data, self._attachments)
        except ProofError:
            return False  # not now, or never: the operator's next command says why
        return True


def sign(body: Body, cites: tuple[Cite, ...], key: SecretKey) -> tuple[bytes, bytes | None]:
    """The envelope of a statement, and its detached part where it has one."""
    payload, attachment = statements.write(Statement(body, cites))
    return envelope.seal(payload, key), attachment


class Secrets:
    """What an auditor keeps for one case beside its key: its share, and the nonces it committed to.

    A file only its owner can read. A nonce is written durably before its commitment leaves.
    """

    def __init__(self, key_file: Path, case: str) -> None:
        self.path = key_file.with_name(key_file.name + ".cases") / f"{case[:32]}.json"

    def load(self) -> dict[str, str]:
        """Secrets by name: "share", "outside", and nonces by their commitment."""
        self._finish_forgetting()
        try:
            value = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise FormatError(f"{self.path} is not a file of case secrets")
        return value

    def remember(self, **secrets: str) -> None:
        """Add secrets. Durable on return."""
        make_folder(self.path.parent)
        self.path.parent.chmod(0o700)
        write_file(self.path, canonical.dumps({**self.load(), **secrets}), mode=0o600)

    def forget(self, name: str) -> bool:
        """Destroy one secret: the file is overwritten in place before the rest is written anew."""
        kept = self.load()
        if name not in kept:
            return False
        del kept[name]
        write_file(self._next, canonical.dumps(dict(kept)), mode=0o600)
        self._finish_forgetting()
        return True

    @property
    def _next(self) -> Path:
        """What stays, while the file that holds the forgotten secret is being destroyed."""
        return self.path.with_name(f"{self.path.name}.next")

    def _finish_forgetting(self) -> None:
        if self._next.exists():
            wipe(self.path)
            self._next.rename(self.path)
            sync_folder(self.path.parent)


def wipe(path: Path) -> None:
    """Overwrite a small file in place with zeros, then remove it. Nothing there is a success."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        left = os.fstat(descriptor).st_size
        while left > 0:
            left -= os.write(descriptor, bytes(min(left, 1 << 20)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync_folder(path.parent)
