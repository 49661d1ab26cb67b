"""Evidence: files that a testimony names by digest, such as photographs or a protocol (spec/testimony.md).

A photograph of a known form, or a one-line protocol, could be guessed from its digest. So an evidence file
begins with 32 random bytes: `FILE.evidence` beside FILE. The digest alone is signed and published; whoever
is shown the file checks it, and reads what follows the first 32 bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from cenotaph_proof._durable import sync_folder
from cenotaph_proof.casebook import Casebook, Entry
from cenotaph_proof.errors import FormatError
from cenotaph_proof.statements import Testimony

SUFFIX = ".evidence"
SALT_BYTES = 32
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """A prepared file and its SHA-256. `made` is false where the file was there already."""

    path: Path
    digest: str
    made: bool


def prepare(path: Path) -> Evidence:
    """Put 32 random bytes in front of a file of any size, in `FILE.evidence` beside it, durably.

    A file whose name ends in `.evidence` is taken as it is, and so is one that was prepared before.

    Raises: FormatError for what is no plain file, or where FILE.evidence is of another file; OSError.
    """
    if path.suffix == SUFFIX:
        return Evidence(path, digest(path), made=False)
    target = path.with_name(path.name + SUFFIX)
    if os.path.lexists(target):
        if not _same(path, target):
            raise FormatError(
                f"{target} is there and holds another file",
                hint="move it away, and run the same command again",
            )
        return Evidence(target, digest(target), made=False)
    return Evidence(target, _salted(path, target), made=True)


def digest(path: Path) -> str:
    """SHA-256 of a prepared file, read as a stream. Raises: FormatError, OSError."""
    with _opened(path) as stream:
        if os.fstat(stream.fileno()).st_size < SALT_BYTES:
            raise FormatError(
                f"{path} does not begin with {SALT_BYTES} random bytes: it is shorter than that"
            )
        return hashlib.file_digest(stream, "sha256").hexdigest()


def take(path: Path, to: Path) -> None:
    """Write what follows the random bytes of a prepared file to a new file. Raises: FormatError, OSError."""
    with _opened(path) as stream, to.open("xb") as out:
        stream.seek(SALT_BYTES)
        while block := stream.read(_BLOCK):
            out.write(block)


def named(case: Casebook) -> dict[str, tuple[Entry, ...]]:
    """The testimony that names each digest, in log order."""
    found: dict[str, tuple[Entry, ...]] = {}
    for entry in case.all(Testimony):
        for value in entry.body(Testimony).evidence:
            found[value] = (*found.get(value, ()), entry)
    return found


def published(case: Casebook, folder: Path) -> list[tuple[str, Path]]:
    """The plain files in a folder that a testimony of the case names, by digest.

    Whoever puts a file there means to show it. Links, folders and what nobody named are passed over.
    """
    wanted = named(case)
    if not wanted or not folder.is_dir():
        return []
    plain = (p for p in sorted(folder.iterdir()) if p.is_file() and not p.is_symlink())
    found = {_digest_of(path): path for path in plain}
    return [(value, found[value]) for value in wanted if value in found]


def _digest_of(path: Path) -> str:
    with _opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _salted(path: Path, target: Path) -> str:
    """Written beside its place, flushed and renamed, so that a killed run leaves no half of it."""
    total = hashlib.sha256()
    temporary = target.with_name(f".{target.name}.new")
    with _opened(path) as stream, temporary.open("wb") as out:
        block = os.urandom(SALT_BYTES)
        while block:
            total.update(block)
            out.write(block)
            block = stream.read(_BLOCK)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(target)
    sync_folder(target.parent)
    return total.hexdigest()


def _same(path: Path, prepared: Path) -> bool:
    with _opened(path) as one, _opened(prepared) as other:
        other.seek(SALT_BYTES)
        while block := one.read(_BLOCK):
            if other.read(len(block)) != block:
                return False
        return not other.read(1)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A plain file to read; a pipe or a device is refused and not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FormatError(f"{path} is no plain file")
        yield stream
