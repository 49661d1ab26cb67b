"""What travels between a party and an inbox: signed requests, envelopes, copies (spec/exchange.md).

Formats alone: no sockets here. A request is signed by RFC 9421 in one fixed form, so that nothing about it
needs to be negotiated or guessed.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cenotaph_proof.envelope import MAX_BYTES, decode_base64, encode_base64
from cenotaph_proof.errors import FormatError, SignatureError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.statements import ATTACHMENT_LIMIT

WINDOW = 300  # seconds by which a request's time may differ from the server's
MAX_SHARE = 1024
MAX_PARTS = 64 + MAX_BYTES + MAX_SHARE + ATTACHMENT_LIMIT
PARTS = "application/vnd.cenotaph.parts"
COPY = "application/x-tar"
BLOCK = 512
READ = 64 << 10


# ── signed requests (spec/exchange.md, part 3) ───────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Said:
    """What a signed request says of itself: who signed it, when (Unix time), a nonce, the body's SHA-256."""

    key_id: str
    created: int
    nonce: str
    digest: bytes


def sign_request(
    key: SecretKey, method: str, authority: str, path: str, body: bytes, *, now: int, nonce: str
) -> dict[str, str]:
    """The headers that sign a request. `nonce` is 32 hexadecimal digits that are used once."""
    said = Said(key.public.key_id, now, nonce, hashlib.sha256(body).digest())
    return {
        "Content-Digest": _digest_header(said.digest),
        "Signature-Input": f"sig={_parameters(said)}",
        "Signature": f"sig=:{encode_base64(key.sign(_base(method, authority, path, said)))}:",
    }


def read_request(headers: Mapping[str, str]) -> Said:
    """What the headers (lower-case names) of a request say; nothing is verified yet.

    Raises:
        SignatureError: it is not signed, or in another form.
    """
    named = _INPUT.fullmatch(headers.get("signature-input", ""))
    digest = _DIGEST.fullmatch(headers.get("content-digest", ""))
    if not named or not digest:
        raise SignatureError("the request is not signed as spec/exchange.md, part 3, says")
    return Said(named[3], int(named[1]), named[2], _decoded(digest[1], 32))


def verify_request(
    key: PublicKey, method: str, authority: str, path: str, said: Said, headers: Mapping[str, str]
) -> None:
    """Check that `key` signed this request to this authority. Time, nonce and body are the caller's to check.

    Raises:
        SignatureError: it did not.
    """
    signature = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if not signature or key.key_id != said.key_id:
        raise SignatureError("the request is not signed by this key")
    key.verify(_decoded(signature[1], 64), _base(method, authority, path, said))


_ORDER = '("@method" "@authority" "@path" "content-digest")'
_TAG = 'alg="ed25519";tag="cenotaph-exchange"'
_INPUT = re.compile(
    rf'sig={re.escape(_ORDER)};created=([1-9][0-9]{{0,14}});nonce="([0-9a-f]{{32}})";keyid="([0-9a-f]{{64}})";'
    + re.escape(_TAG)
)
_DIGEST = re.compile("sha-256=:([A-Za-z0-9+/=]{44}):")
_SIGNATURE = re.compile("sig=:([A-Za-z0-9+/=]{88}):")


def _parameters(said: Said) -> str:
    return f'{_ORDER};created={said.created};nonce="{said.nonce}";keyid="{said.key_id}";{_TAG}'


def _digest_header(digest: bytes) -> str:
    return f"sha-256=:{encode_base64(digest)}:"


def _base(method: str, authority: str, path: str, said: Said) -> bytes:
    """The signature base of RFC 9421, section 2.5. No envelope, checkpoint or cosignature begins so."""
    lines = (
        f'"@method": {method}',
        f'"@authority": {authority}',
        f'"@path": {path}',
        f'"content-digest": {_digest_header(said.digest)}',
        f'"@signature-params": {_parameters(said)}',
    )
    return "\n".join(lines).encode()


def _decoded(text: str, length: int) -> bytes:
    try:
        data = decode_base64(text)
    except FormatError:
        data = b""
    if len(data) != length:
        raise SignatureError("a digest or signature of the request is malformed")
    return data


# ── what a party sends (part 4) ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Parts:
    """An envelope, and what lies beside it."""

    envelope: bytes
    share: bytes | None = None
    attachment: bytes | None = None

    def to_bytes(self) -> bytes:
        """The body of `POST incoming`."""
        named = [("envelope", self.envelope), ("share", self.share), ("attachment", self.attachment)]
        given = [(name, data) for name, data in named if data is not None]
        head = "".join(f"{name} {len(data)}\n" for name, data in given)
        return head.encode() + b"\n" + b"".join(data for _, data in given)

    @classmethod
    def parse(cls, body: bytes) -> Parts:
        """Read a body; `Parts.parse(x).to_bytes() == x`.

        Raises:
            FormatError: it is anything else, or a part is longer than it may be.
        """
        match = _PARTS.match(body)
        if not match:
            raise FormatError("this is no envelope with its parts")
        lengths = [None if length is None else int(length) for length in match.groups()]
        for length, most in zip(lengths, (MAX_BYTES, MAX_SHARE, ATTACHMENT_LIMIT), strict=True):
            if length is not None and length > most:
                raise FormatError("a part is longer than it may be")
        found: list[bytes | None] = []
        at = match.end()
        for length in lengths:
            found.append(None if length is None else body[at : at + length])
            at += length or 0
        if at != len(body) or found[0] is None:
            raise FormatError("the lengths of the parts are not those of the body")
        return cls(found[0], found[1], found[2])


_NUMBER = rb"(0|[1-9][0-9]{0,8})"
_PARTS = re.compile(rb"envelope %b\n(?:share %b\n)?(?:attachment %b\n)?\n" % (_NUMBER, _NUMBER, _NUMBER))


# ── copies of a case (part 5) ────────────────────────────────────────────────────────────────────

SEALED_TO = re.compile(r"(share|operator-share|annex-key|case-key)-([0-9a-f]{16})\.sealed")
_COPIED = re.compile(
    r"case\.toml|statements/so-far\.cenotaph|statements/[0-9]{4,6}-[a-z]{4,12}\.json"
    r"|statements/attachments/[0-9a-f]{64}\.json|annex/[a-z0-9][a-z0-9-]{0,79}\.sealed"
)
MAX_FILES = 1_000_000
MAX_FILE = (8 << 30) - 1  # bytes: eleven octal digits


@dataclass(frozen=True, slots=True)
class Copied:
    """A file of a copy: its path in the case, where it lies, its length when it was listed."""

    path: str
    source: Path
    size: int


def copied(case: Path, *, private: bool, key_id: str) -> Iterator[Copied]:
    """The files of a case that travel to the holder of a key; `private`: with case file and annex.

    Statements come first: what they name in the annex was written before them.
    """
    wanted = ["statements", "statements/attachments", *(["", "annex"] if private else [])]
    for folder in wanted:
        found = sorted((case / folder).iterdir()) if (case / folder).is_dir() else []
        for source in found:
            path = f"{folder}/{source.name}" if folder else source.name
            if is_copied(path) and _is_for(source.name, key_id) and not source.is_symlink():
                yield Copied(path, source, source.stat().st_size)


def is_copied(path: str) -> bool:
    """Whether a path may stand in a copy."""
    return _COPIED.fullmatch(path) is not None


def _is_for(name: str, key_id: str) -> bool:
    sealed = SEALED_TO.fullmatch(name)
    return sealed is None or (sealed[1] in ("annex-key", "case-key") and sealed[2] == key_id[:16])


def copy_length(files: Iterable[Copied]) -> int:
    """How many bytes the copy of these files has."""
    return sum(BLOCK + _padded(file.size) for file in files) + 2 * BLOCK


def write_copy(files: Iterable[Copied]) -> Iterator[bytes]:
    """The copy, in parts. Ends early where a file went, or is no longer as long as it was: ask again then."""
    for file in files:
        with file.source.open("rb") as stream:
            yield _header(file.path, file.size)
            left = file.size
            while left:
                part = stream.read(min(READ, left))
                if not part:
                    return
                left -= len(part)
                yield part
        yield bytes(_padded(file.size) - file.size)
    yield bytes(2 * BLOCK)


@dataclass(frozen=True, slots=True)
class Received:
    """A file of a copy that is being read: path, length, and its content in parts, to be read to the end."""

    path: str
    size: int
    parts: Iterator[bytes]


def read_copy(stream: BinaryIO, limit: int) -> Iterator[Received]:
    """The files of a copy, one after another, at most `limit` bytes in all.

    Raises:
        FormatError: it holds anything but plain files on the paths of part 5, or is cut off.
    """
    seen: set[str] = set()
    total = 0
    while (block := _exactly(stream, BLOCK)) != bytes(BLOCK):
        path, size = _parse_header(block)
        total += size
        if path in seen or len(seen) >= MAX_FILES or total > limit:
            raise FormatError("the copy holds a file twice, or too much")
        seen.add(path)
        yield Received(path, size, _content(stream, size))
    if _exactly(stream, BLOCK) != bytes(BLOCK) or stream.read(1):
        raise FormatError("the copy goes on after its end")


def _content(stream: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        part = _exactly(stream, min(READ, left))
        left -= len(part)
        yield part
    if any(_exactly(stream, _padded(size) - size)):
        raise FormatError("the copy holds something between its files")


def _header(path: str, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _parse_header(block: bytes) -> tuple[str, int]:
    """Path and size. Only what `_header` writes is read: no links, no devices, no way out of the folder."""
    name = block[:100].rstrip(b"\0").decode("latin-1")
    digits = block[124:135]
    if not is_copied(name) or not re.fullmatch(rb"[0-7]{11}", digits):
        raise FormatError("the copy holds what is no file of a case")
    if _header(name, int(digits, 8)) != block:
        raise FormatError("the copy holds what is no plain file")
    return name, int(digits, 8)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) != size:
        raise FormatError("the copy is cut off", hint="run the same command again")
    return data
