"""The annex: clear names, places, chunk lists and needles, encrypted at rest, destroyed at the end.

Two keys. The *annex key* is for everybody who must understand what they approve: operator, auditors,
notaries, owners. The *case key* K makes record digests; it is for operator and auditors, since whoever
holds it can test guesses against digests. Each is wrapped to its holders with HPKE (RFC 9180).

Every document begins with 32 random bytes, so that its published digest cannot be guessed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cenotaph.durable import write_file
from cenotaph.errors import CenotaphError
from cenotaph_proof.errors import ProofError
from cenotaph_proof.folder import wipe
from cenotaph_proof.keys import PublicKey, SecretKey

SALT = 32


class AnnexError(CenotaphError):
    """The annex cannot be read: missing, damaged, or not for this key."""


class Annex:
    """The annex of one case. `case` is the case id in hex."""

    def __init__(self, path: Path, case: str) -> None:
        self.path = path
        self.case = case
        self._case = bytes.fromhex(case)

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────

    def wrap(self, what: str, key: bytes, holders: Iterable[PublicKey]) -> None:
        """Give a key to its holders. `what` is "annex-key", "case-key" or "operator-share"."""
        self.path.mkdir(parents=True, exist_ok=True)
        for holder in holders:
            write_file(self._wrapped(what, holder), holder.seal_to(self._info(what), key))

    def unwrap(self, what: str, key: SecretKey) -> bytes:
        """Raises: AnnexError when this key was not given it, or it was destroyed."""
        try:
            data = self._wrapped(what, key.public).read_bytes()
        except OSError:
            raise AnnexError(
                f"the annex holds no {what} for {key.public.organisation}",
                hint="get a fresh copy of the case's annex from the operator",
            ) from None
        try:
            return key.open_sealed(self._info(what), data)
        except ProofError as error:
            raise AnnexError(f"the {what} of {key.public.organisation}: {error.message}") from None

    def has(self, what: str, holder: PublicKey) -> bool:
        return self._wrapped(what, holder).exists()

    # ── documents ────────────────────────────────────────────────────────────────────────────────

    def write(self, name: str, key: bytes, data: bytes) -> str:
        """Encrypt a document; returns the digest that a statement may publish. Durable on return."""
        document, digest = self.encrypt(name, key, data)
        self._put(name, document)
        return digest

    def encrypt(self, name: str, key: bytes, data: bytes) -> tuple[bytes, str]:
        """What `write` would write, and its digest; nothing is written."""
        plain = os.urandom(SALT) + data
        nonce = os.urandom(12)
        sealed = ChaCha20Poly1305(self._document_key(key)).encrypt(nonce, plain, name.encode())
        return nonce + sealed, hashlib.sha256(plain).hexdigest()

    def keep(self, name: str, key: bytes, document: bytes, digest: str) -> None:
        """Write a document that was encrypted elsewhere, if it is what it should be. Durable on return."""
        self.decrypt(name, key, document, digest)
        self._put(name, document)

    def _put(self, name: str, document: bytes) -> None:
        path = self.path / f"{name}.sealed"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, document)

    def read(self, name: str, key: bytes, digest: str | None = None) -> bytes:
        """Decrypt a document, and check it against the digest in the statement that names it."""
        try:
            sealed = (self.path / f"{name}.sealed").read_bytes()
        except FileNotFoundError:
            raise AnnexError(f"the annex has no {name}") from None
        return self.decrypt(name, key, sealed, digest)

    def decrypt(self, name: str, key: bytes, sealed: bytes, digest: str | None = None) -> bytes:
        """What `encrypt` was given, checked as by `read`."""
        try:
            plain = ChaCha20Poly1305(self._document_key(key)).decrypt(sealed[:12], sealed[12:], name.encode())
        except (InvalidTag, ValueError):
            raise AnnexError(f"the annex's {name} is damaged, or was made with another key") from None
        if digest is not None and hashlib.sha256(plain).hexdigest() != digest:
            raise AnnexError(f"the annex's {name} is not the one its statement names")
        return plain[SALT:]

    def write_json(self, name: str, key: bytes, value: Any) -> str:
        return self.write(name, key, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    def read_json(self, name: str, key: bytes, digest: str | None = None) -> Any:
        return json.loads(self.read(name, key, digest))

    def exists(self, name: str) -> bool:
        return (self.path / f"{name}.sealed").exists()

    def destroy(self, name: str) -> None:
        """Overwrite and remove one document. Nothing there is a success."""
        wipe(self.path / f"{name}.sealed")

    def destroy_like(self, prefix: str, but: Container[str] = ()) -> None:
        """Overwrite and remove the documents whose names begin so, but for some."""
        for path in sorted(self.path.glob(f"{prefix}*.sealed")):
            if path.name.removesuffix(".sealed") not in but:
                wipe(path)

    def destroy_all(self) -> int:
        """Overwrite and remove everything in the annex; returns how many files there were."""
        files = sorted(p for p in self.path.rglob("*") if p.is_file()) if self.path.exists() else []
        for file in files:
            wipe(file)
        return len(files)

    def _wrapped(self, what: str, holder: PublicKey) -> Path:
        return self.path / f"{what}-{holder.key_id[:16]}.sealed"

    def _info(self, what: str) -> bytes:
        return b"cenotaph/v1 " + what.encode() + b"\0" + self._case

    def _document_key(self, key: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"cenotaph/v1 annex document\0" + self._case).derive(key)


class CarriedAnnex(Annex):
    """Documents of an annex that is on another machine: written to memory, to be carried there."""

    def __init__(self, case: str) -> None:
        super().__init__(Path(), case)
        self.documents: dict[str, bytes] = {}

    def _put(self, name: str, document: bytes) -> None:
        self.documents[name] = document


def case_key(operator_share: bytes, auditor_shares: Sequence[bytes], case: str) -> bytes:
    """K = HKDF-SHA256 over the operator's share and the auditors' in order of their key ids."""
    info = b"cenotaph/v1 case key\0" + bytes.fromhex(case)
    return HKDF(SHA256(), 32, salt=None, info=info).derive(operator_share + b"".join(auditor_shares))
