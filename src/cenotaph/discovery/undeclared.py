"""Stores that nobody declared: files with records, found by what is in them.

Walks without following symlinks and without leaving the file system it started on. What cannot be read
is reported as such and never as clean; a store in whose sample nothing personal was found may
still hold personal data, and is reported too.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cenotaph.discovery.exposure import Exposure, exposures
from cenotaph.discovery.peek import CannotReadError, Peek, peek
from cenotaph.discovery.personal import ColumnFinding
from cenotaph.discovery.sniff import HEAD, Format, sniff

_MANY_IMAGES = 5  # fewer are icons, unless their names are people
_SIDECARS = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a search may do."""

    seconds_per_file: float = 2.0
    files: int = 10_000_000
    smallest_bytes: int = 16


@dataclass(frozen=True, slots=True)
class Found:
    """A store that the case does not name."""

    kind: str  # as `sniff.Format` names it; also "images" (a folder of them) and "unreadable"
    detail: str  # "gzip", "write-ahead log" …
    bytes: int
    files: int
    written: str  # "2023-01", the month of the last write; empty where unknown
    sampled: int  # records
    findings: tuple[ColumnFinding, ...]
    exposures: tuple[Exposure, ...]
    cannot_read: str | None  # why; then findings are empty and mean nothing
    notes: tuple[str, ...]
    suggestion: str = field(repr=False)  # a [[store]] table for case.toml
    path: Path = field(repr=False)

    @property
    def personal(self) -> Mapping[str, int]:
        """Kind of personal data → columns of it in the sample."""
        return Counter(finding.kind for finding in self.findings if finding.personal)


def find(
    roots: Iterable[Path], declared: Iterable[Path] = (), *, limits: Limits | None = None
) -> Iterator[Found]:
    """Every undeclared store at or below the roots, in the order of the walk.

    `declared` are files and folders that the case already names; they are passed over with all below
    them, and with the journals beside them.
    """
    search = _Search(limits or Limits(), _identities(declared))
    for root in roots:
        try:
            status = root.lstat()
        except OSError as error:
            yield _unreadable(root, None, error)
            continue
        yield from search.visit(root, status, status.st_dev)


class _Search:
    """One walk: what is declared, what was seen, how many files are left."""

    def __init__(self, limits: Limits, declared: frozenset[tuple[int, int]]) -> None:
        self._limits = limits
        self._declared = declared
        self._seen: set[tuple[int, int]] = set()
        self._files = 0

    def visit(self, path: Path, status: os.stat_result, device: int) -> Iterator[Found]:
        identity = (status.st_dev, status.st_ino)
        if status.st_dev != device or identity in self._declared or identity in self._seen:
            return
        if stat.S_ISDIR(status.st_mode):
            self._seen.add(identity)
            yield from self._folder(path, status, device)
        elif stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                self._seen.add(identity)
            found = self._file(path, status)
            if found is not None:
                yield found

    def _folder(self, top: Path, status: os.stat_result, device: int) -> Iterator[Found]:
        """A stack, not recursion: an estate may nest folders deeper than Python's stack."""
        waiting = [(top, status)]
        while waiting:
            folder, status = waiting.pop()
            images: list[tuple[str, int]] = []
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
            except OSError as error:
                yield _unreadable(folder, status, error)
                continue
            for entry in entries:
                path = folder / entry.name
                try:
                    inner = entry.stat(follow_symlinks=False)
                except OSError as error:
                    yield _unreadable(path, None, error)
                    continue
                if stat.S_ISDIR(inner.st_mode):
                    if self._enter(inner, device):
                        waiting.append((path, inner))
                    continue
                for found in self.visit(path, inner, device):
                    if found.kind == "image":
                        images.append((entry.name, found.bytes))
                    else:
                        yield found
            if images and (
                (found := _image_folder(folder, status, images)).personal or len(images) >= _MANY_IMAGES
            ):
                yield found

    def _enter(self, status: os.stat_result, device: int) -> bool:
        identity = (status.st_dev, status.st_ino)
        if status.st_dev != device or identity in self._declared or identity in self._seen:
            return False
        self._seen.add(identity)
        return True

    def _file(self, path: Path, status: os.stat_result) -> Found | None:
        self._files += 1
        if status.st_size < self._limits.smallest_bytes or self._files > self._limits.files:
            return None
        try:
            with _opened(path) as file:
                form = sniff(file.read(HEAD))
                if form is None:
                    return None
                if form.kind == "image":
                    return _found(path, status, form, Peek(), None)
                looked = peek(path, file, form, status.st_size, self._limits.seconds_per_file)
        except OSError as error:
            return _unreadable(path, status, error)
        except CannotReadError as error:
            return _found(path, status, form or Format("unreadable"), Peek(), str(error))
        return _found(path, status, form, looked, None)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file without following a link, waiting for a pipe, or marking it as read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        descriptor = os.open(path, flags)  # only its owner may ask not to be noticed
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _identities(declared: Iterable[Path]) -> frozenset[tuple[int, int]]:
    found = set()
    for path in declared:
        beside = (path.with_name(path.name + end) for end in _SIDECARS) if path.name else ()
        for place in (path, *beside):
            with contextlib.suppress(OSError):
                status = place.stat()
                found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _found(path: Path, status: os.stat_result, form: Format, looked: Peek, cannot: str | None) -> Found:
    signs = exposures(path, kind=form.kind) if form.kind != "image" else ()
    scheme = "sqlite" if form.kind == "sqlite" else "files"
    return Found(
        form.kind, form.detail, status.st_size, 1, _month(status), looked.records, tuple(looked.findings),
        signs, cannot, tuple(dict.fromkeys(looked.notes)), _suggestion(scheme, path), path,
    )  # fmt: skip


def _image_folder(folder: Path, status: os.stat_result, images: list[tuple[str, int]]) -> Found:
    looked = Peek()
    looked.take(["file name"], [[name] for name, _ in images])
    return Found(
        "images", f"{len(images):,} images", sum(size for _, size in images), len(images), _month(status),
        len(images), tuple(looked.findings), exposures(folder, kind="images"), None, (),
        _suggestion("files", folder), folder,
    )  # fmt: skip


def _unreadable(path: Path, status: os.stat_result | None, error: OSError) -> Found:
    why = f"cannot read: {os.strerror(error.errno)}" if error.errno else "cannot read"
    size, month = (status.st_size, _month(status)) if status else (0, "")
    return Found(
        "unreadable", "", size, 1, month, 0, (), exposures(path), why, (), _suggestion("files", path), path
    )


def _month(status: os.stat_result) -> str:
    return f"{datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC):%Y-%m}"


def _suggestion(scheme: str, path: Path) -> str:
    """A [[store]] table for case.toml. TOML is UTF-8: a path that is not is declared through its folder."""
    try:
        written = str(path.absolute()).encode().decode()
    except UnicodeEncodeError:
        return "# This path is not UTF-8, which TOML cannot hold: declare the nearest folder whose path is.\n"
    url = json.dumps(f"{scheme}:{written}", ensure_ascii=False).replace("\x7f", "\\u007f")
    return f'[[store]]\nname = "name-me"\nurl = {url}\ngrade = "L2"\nscope = "everything"\n'
