"""Who signs: an organisation in one role, with an Ed25519 key to sign and an X25519 key to be written to.

A log witness may have an ML-DSA-44 key (FIPS 204) too: what it saw stays shown when Ed25519 falls.

Ed25519 verifiers disagree on edge cases. Ours agrees with OpenSSL and WebCrypto, except that points of low
order and points not written canonically are refused first (spec/keys.md, part 2): a key of low order signs
anything, and two spellings of one point would be one signer under two names.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from cenotaph_proof import canonical
from cenotaph_proof.errors import FormatError, KeyFileError, SealedError, SignatureError

ROLES = ("operator", "auditor", "notary", "owner", "log-witness")
PUBLIC_FORMAT = "cenotaph-public-key/v1"
SECRET_FORMAT = "cenotaph-secret-key/v1"  # noqa: S105 - the name of a format
MAX_NAME = 120
MAX_KEY_FILE = 4096
MLDSA44_KEY = 1312  # bytes of a public key, and of a signature (FIPS 204, table 2)
MLDSA44_SIGNATURE = 2420

# RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305; base mode, one message, empty aad.
_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a signer: organisation, role, two raw 32-byte keys; a log witness's ML-DSA-44 key.

    Raises:
        FormatError: a name, a role or a key that `spec/keys.md` does not allow.
    """

    organisation: str
    role: str
    ed25519: bytes
    x25519: bytes
    mldsa44: bytes | None = None

    def __post_init__(self) -> None:
        check_organisation(self.organisation)
        _check_role(self.role)
        _check_ed25519(self.ed25519)
        _check_x25519(self.x25519)
        _check_mldsa44(self.role, self.mldsa44, MLDSA44_KEY)

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw Ed25519 key, in 64 lower-case hexadecimal digits."""
        return _sha256(self.ed25519)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check an Ed25519 signature of this key.

        Raises:
            SignatureError: it does not verify.
        """
        verify_ed25519(self.ed25519, signature, message)

    def seal_to(self, info: bytes, plaintext: bytes) -> bytes:
        """Encrypt so that only this organisation can read it: HPKE (RFC 9180), `info` names the purpose."""
        return _HPKE.encrypt(plaintext, X25519PublicKey.from_public_bytes(self.x25519), info)

    def to_text(self) -> str:
        """The key file's content: one line of canonical JSON."""
        return _to_text(PUBLIC_FORMAT, self.organisation, self.role, self.ed25519, self.x25519, self.mldsa44)

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read what `to_text` wrote.

        Raises:
            FormatError: it is anything else.
        """
        return cls(*_from_text(PUBLIC_FORMAT, text))

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Read a public key file.

        Raises:
            KeyFileError: there is no such file.
            FormatError: it is not a public key.
        """
        return cls.from_text(_read(path, secret=False))


@dataclass(frozen=True, slots=True)
class SecretKey:
    """All halves of a signer. Its `repr` shows none of the keys."""

    organisation: str
    role: str
    ed25519_seed: bytes = field(repr=False)
    x25519_seed: bytes = field(repr=False)
    mldsa44_seed: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_organisation(self.organisation)
        _check_role(self.role)
        if len(self.ed25519_seed) != 32 or len(self.x25519_seed) != 32:
            raise FormatError("a secret key has 32 bytes")
        _check_mldsa44(self.role, self.mldsa44_seed, 32)

    @classmethod
    def generate(cls, organisation: str, role: str, *, post_quantum: bool = False) -> SecretKey:
        """New keys from the operating system's randomness; `post_quantum` adds the ML-DSA-44 one.

        Raises:
            FormatError: `post_quantum` for another role than log witness.
        """
        third = os.urandom(32) if post_quantum else None
        return cls(organisation, role, os.urandom(32), os.urandom(32), third)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(
            self.organisation,
            self.role,
            self._signer().public_key().public_bytes_raw(),
            self._opener().public_key().public_bytes_raw(),
            None
            if self.mldsa44_seed is None
            else _mldsa44(self.mldsa44_seed).public_key().public_bytes_raw(),
        )

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of a message (RFC 8032). The caller separates purposes by prefix."""
        return self._signer().sign(message)

    def sign_mldsa44(self, message: bytes) -> bytes:
        """The 2,420-byte ML-DSA-44 signature of a message, with an empty context (FIPS 204).

        Raises:
            FormatError: this key has no such half.
        """
        if self.mldsa44_seed is None:
            raise FormatError(f"the key of {self.organisation} has no ML-DSA-44 half", hint=_MAKE_ONE)
        return _mldsa44(self.mldsa44_seed).sign(message)

    def open_sealed(self, info: bytes, data: bytes) -> bytes:
        """Decrypt what `PublicKey.seal_to` made with the same `info`.

        Raises:
            SealedError: it was sealed to another key, for another purpose, or was changed.
        """
        try:
            return _HPKE.decrypt(data, self._opener(), info)
        except (InvalidTag, ValueError):
            raise SealedError(
                f"the sealed message does not open with the {self.role} key of {self.organisation}",
                hint="it was sealed to another key or for another purpose, or its bytes were changed",
            ) from None

    def save(self, path: Path) -> None:
        """Write the secret key to `path` (mode 0600) and the public key to `path.pub`; never overwrites.

        Raises:
            KeyFileError: one of the two files is already there.
        """
        secret = _to_text(
            SECRET_FORMAT,
            self.organisation,
            self.role,
            self.ed25519_seed,
            self.x25519_seed,
            self.mldsa44_seed,
        )
        _create(path, secret, 0o600)
        try:
            _create(path.with_name(path.name + ".pub"), self.public.to_text(), 0o644)
        except (KeyFileError, OSError):
            path.unlink()  # half a pair would be taken for a whole one
            raise

    @classmethod
    def load(cls, path: Path) -> SecretKey:
        """Read a secret key file that only its owner can read.

        Raises:
            KeyFileError: missing, not a file, or readable by others.
            FormatError: it is not a secret key.
        """
        return cls(*_from_text(SECRET_FORMAT, _read(path, secret=True)))

    def _signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.ed25519_seed)

    def _opener(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.x25519_seed)


def verify_ed25519(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Verify an Ed25519 signature by the rules of spec/keys.md, part 2.

    Raises:
        SignatureError: a point is of low order or not canonical, or the signature does not verify.
    """
    if len(public_key) != 32 or len(signature) != 64:
        raise SignatureError("an Ed25519 key has 32 bytes and a signature 64")
    # (1) Key and nonce point are canonical and not of low order. (2) OpenSSL's cofactorless equation.
    key = _verifier(public_key)
    if key is None or not _is_sound_point(signature[:32]):
        raise SignatureError("an Ed25519 point is of low order or not canonical")
    try:
        key.verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureError("the signature does not verify") from None


def verify_mldsa44(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Verify an ML-DSA-44 signature with an empty context (FIPS 204, algorithm 3; spec/keys.md, part 2).

    Raises:
        SignatureError: it does not verify, or this build of the cryptography package knows no ML-DSA.
    """
    if len(public_key) != MLDSA44_KEY or len(signature) != MLDSA44_SIGNATURE:
        raise SignatureError(f"an ML-DSA-44 key has {MLDSA44_KEY} bytes and a signature {MLDSA44_SIGNATURE}")
    try:
        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureError("the ML-DSA-44 signature does not verify") from None
    except UnsupportedAlgorithm:
        raise SignatureError("ML-DSA-44 cannot be checked on this machine", hint=_NO_MLDSA) from None


def check_organisation(name: str) -> None:
    """Check the name of an organisation: 1 to 120 characters in NFC, one way to write it, nothing invisible.

    Raises:
        FormatError: it is something else.
    """
    if not 1 <= len(name) <= MAX_NAME:
        raise FormatError(f"the name of an organisation has 1 to {MAX_NAME} characters, not {len(name)}")
    if _INVISIBLE.search(name):
        raise FormatError("the name of an organisation holds a control character")
    if name != name.strip():
        raise FormatError("the name of an organisation begins or ends with a space")
    if not unicodedata.is_normalized("NFC", name):
        raise FormatError("the name of an organisation is not in Unicode normalisation form C")


# C0, C1, line and paragraph separators, surrogates, and the bidirectional and zero-width controls
# with which one name can be made to look like another (Unicode TR 36, section 2.5).
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)

_P = 2**255 - 19
# The y coordinates of the eight points whose order divides 8; the x = 0 points among them are also the only
# ones with a second spelling below p. RFC 7748 names the curve; the list is in spec/keys.md.
_Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_LOW_ORDER_Y = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


# A case has few keys and many signatures by each: what is asked of a key is asked once.
_KEPT = 1024


@functools.lru_cache(_KEPT)
def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


@functools.lru_cache(_KEPT)
def _verifier(public_key: bytes) -> Ed25519PublicKey | None:
    """The key to verify with; None where its point is not sound."""
    return Ed25519PublicKey.from_public_bytes(public_key) if _is_sound_point(public_key) else None


def _is_sound_point(encoded: bytes) -> bool:
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    return y < _P and y not in _LOW_ORDER_Y


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise FormatError("unknown role", hint=f"roles are {', '.join(ROLES)}")


def _check_ed25519(raw: bytes) -> None:
    if len(raw) != 32 or not _is_sound_point(raw):
        raise FormatError("the Ed25519 key is not 32 bytes of a canonical point of full order")


def _check_x25519(raw: bytes) -> None:
    # A point of low order would make every message to it readable by anyone; a scalar that is a
    # multiple of 8, as all clamped ones are, takes it to zero, which the library refuses.
    if len(raw) != 32 or int.from_bytes(raw, "little") >= _P:
        raise FormatError("the X25519 key is not 32 canonical bytes")
    try:
        X25519PrivateKey.from_private_bytes(bytes(32)).exchange(X25519PublicKey.from_public_bytes(raw))
    except ValueError:
        raise FormatError("the X25519 key is a point of low order") from None


def _check_mldsa44(role: str, raw: bytes | None, length: int) -> None:
    if raw is None:
        return
    if role != "log-witness":
        raise FormatError("only a log witness has an ML-DSA-44 key: it is for cosignatures alone")
    if len(raw) != length:
        raise FormatError(f"this half of an ML-DSA-44 key does not have {length} bytes")


def _mldsa44(seed: bytes) -> MLDSA44PrivateKey:
    try:
        return MLDSA44PrivateKey.from_seed_bytes(seed)
    except UnsupportedAlgorithm:
        raise SignatureError("ML-DSA-44 cannot be used on this machine", hint=_NO_MLDSA) from None


_MAKE_ONE = "cenotaph-proof keygen --role log-witness --post-quantum makes one that has"
_NO_MLDSA = "install the cryptography package from PyPI's wheels, which bring a library that knows ML-DSA"


def _to_text(
    form: str, organisation: str, role: str, ed25519: bytes, x25519: bytes, mldsa44: bytes | None
) -> str:
    value = {
        "ed25519": ed25519.hex(),
        "format": form,
        "organisation": organisation,
        "role": role,
        "x25519": x25519.hex(),
        **({} if mldsa44 is None else {"mldsa44": mldsa44.hex()}),
    }
    return canonical.dumps(value).decode() + "\n"


def _from_text(form: str, text: str) -> tuple[str, str, bytes, bytes, bytes | None]:
    if not text.endswith("\n"):
        raise FormatError("a key file ends with a line feed")
    value = canonical.loads(text[:-1].encode("utf-8", "surrogatepass"), limit=MAX_KEY_FILE, depth=1)
    if not isinstance(value, dict) or value.keys() - {"mldsa44"} != _MEMBERS:
        raise FormatError("this is not a cenotaph key file")
    if value["format"] != form:
        raise FormatError(f"this key file is not of format {form}", hint=_HINTS[form])
    organisation, role = value["organisation"], value["role"]
    if not isinstance(organisation, str) or not isinstance(role, str):
        raise FormatError("the organisation and the role in a key file are texts")
    third = _raw(value["mldsa44"], _MLDSA44_BYTES[form]) if "mldsa44" in value else None
    return organisation, role, _raw(value["ed25519"]), _raw(value["x25519"]), third


_MEMBERS = {"ed25519", "format", "organisation", "role", "x25519"}
_MLDSA44_BYTES = {PUBLIC_FORMAT: MLDSA44_KEY, SECRET_FORMAT: 32}
_HINTS = {
    PUBLIC_FORMAT: "give the file that ends in .pub, never the secret one",
    SECRET_FORMAT: "give the secret key file, not the one that ends in .pub",
}


def _raw(value: canonical.Json, length: int = 32) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * length}}}", value):
        raise FormatError(f"a key in a key file is not {2 * length} lower-case hexadecimal digits")
    return bytes.fromhex(value)


def _check_file(path: Path, mode: int, *, secret: bool) -> None:
    if not stat.S_ISREG(mode):
        raise KeyFileError(f"the key {path.name} is not a regular file")
    if secret and mode & 0o077:
        raise KeyFileError(
            f"the secret key file {path.name} can be read by others than its owner",
            hint=f"chmod 600 {path}",
        )


def _create(path: Path, text: str, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError:
        raise KeyFileError(
            f"the key file {path.name} is already there and is not overwritten",
            hint="choose another name, or move the old key away",
        ) from None
    except FileNotFoundError:
        raise KeyFileError(f"there is no folder for the key file {path.name}") from None
    with os.fdopen(fd, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, *, secret: bool) -> str:
    try:
        # Without blocking: a named pipe in place of a key must not hang the command.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyFileError(f"there is no key file {path.name}", hint="cenotaph keygen makes one") from None
    except PermissionError:
        raise KeyFileError(f"the key file {path.name} may not be read by this user") from None
    try:
        _check_file(path, os.fstat(fd).st_mode, secret=secret)
        data = os.read(fd, MAX_KEY_FILE + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_KEY_FILE:
        raise FormatError(f"the key file {path.name} is longer than {MAX_KEY_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError(f"the key file {path.name} is not UTF-8") from None
