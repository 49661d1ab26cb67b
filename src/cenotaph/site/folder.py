"""A published folder: whoever reads it while it is written finds whole files, whose links hold.

Files go into place one by one, each whole, in the order given: what others refer to first. The manifest names
ours, before they come and until they are gone, so that a killed run leaves nothing that a later one does not
know, and nobody else's file is ever changed or removed.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from cenotaph import lock
from cenotaph.durable import is_tombstone, tombstone_name, write_file
from cenotaph.errors import RefusedError, UsageError

MANIFEST = ".cenotaph-site.json"
LOCK = ".cenotaph-site.lock"
FORMAT = "cenotaph-site/v1"
LIMIT = 64 << 20

Content: TypeAlias = bytes | Path


def write(to: Path, of: str, files: Mapping[str, Content]) -> list[Path]:
    """Bring the folder to exactly these files of ours; returns them.

    `files` are contents, or where to copy them from, by path relative to the folder, in the order in which
    they are put there; `of` says what the folder publishes. What is there already stays, with its time.

    Raises:
        UsageError: the folder holds files of somebody else, or publishes something else.
        RefusedError: another command is writing it.
    """
    with _alone(to, of):
        old = _ours(to, of)
        _check_free(to, set(files) - old)
        _note(to, of, old | set(files))
        for name, content in files.items():
            _put(to, name, content)
        for name in sorted(old - set(files)):
            _remove(to, name)
        _sweep(to, {*files, *old})
        _note(to, of, set(files))
    return [to / name for name in files]


def read(to: Path, of: str, name: str) -> bytes | None:
    """One of our files as it was published last, if it was."""
    path = to / name
    return path.read_bytes() if name in _ours(to, of) and path.is_file() else None


@contextmanager
def _alone(to: Path, of: str) -> Iterator[None]:
    if to.exists() and not (to / MANIFEST).exists() and _foreign(to):
        raise UsageError(f"{to} holds files that are not ours", hint="name an empty folder, or a new one")
    to.mkdir(parents=True, exist_ok=True)
    with lock.held(to / LOCK) as mine:
        if not mine:
            raise RefusedError(f"another command is writing {to}", hint="run the same command again")
        if not (to / MANIFEST).exists():
            _note(to, of, set())
        yield


def _foreign(to: Path) -> bool:
    return any(p.name != LOCK and not is_tombstone(os.fsencode(p.name)) for p in to.iterdir())


def _ours(to: Path, of: str) -> set[str]:
    try:
        data = (to / MANIFEST).read_bytes()
    except FileNotFoundError:
        return set()
    try:
        value = json.loads(data) if len(data) <= LIMIT else {}
    except ValueError:
        value = {}
    if not isinstance(value, dict) or value.get("format") != FORMAT or not _names(value.get("files")):
        raise UsageError(
            f"{to / MANIFEST} is not a list of our files", hint="name an empty folder, or a new one"
        )
    if value.get("of") != of:
        raise UsageError(
            f"{to} publishes something else", hint="give each case, and a register, a folder of its own"
        )
    return set(value["files"])


def _names(value: object) -> bool:
    """Whether these can be names of ours: the list lies where others may write, and we remove by it."""
    return isinstance(value, list) and all(
        isinstance(name, str) and name and ".." not in name.split("/") and not name.startswith("/")
        for name in value
    )


def _check_free(to: Path, new: set[str]) -> None:
    for name in sorted(new):
        if os.path.lexists(to / name):
            raise UsageError(f"{to / name} is in the way: it is not ours", hint="move it elsewhere")


def _note(to: Path, of: str, names: set[str]) -> None:
    data = json.dumps({"format": FORMAT, "of": of, "files": sorted(names)}, indent=1).encode()
    write_file(to / MANIFEST, data, mode=0o644)


def _put(to: Path, name: str, content: Content) -> None:
    path = to / name
    for folder in _folders(name):
        if (to / folder).is_symlink():  # what we write there would lie, and be removed, somewhere else
            raise UsageError(f"{to / folder} leads elsewhere", hint="remove the symbolic link")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or not path.is_file() or not _same(path, content):
        if isinstance(content, bytes):
            write_file(path, content, mode=0o644)
        else:
            _copy(content, path)


def _same(path: Path, content: Content) -> bool:
    if isinstance(content, bytes):
        return path.stat().st_size == len(content) and path.read_bytes() == content
    return filecmp.cmp(path, content, shallow=False)


def _copy(source: Path, path: Path) -> None:
    """Copy a file that may be a film: whole or not at all, and durable."""
    begun = path.with_name(tombstone_name())
    with source.open("rb") as stream, begun.open("xb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    begun.chmod(0o644)
    begun.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(to: Path, name: str) -> None:
    (to / name).unlink(missing_ok=True)
    for folder in _folders(name):
        if (to / folder).is_dir() and not any((to / folder).iterdir()):
            (to / folder).rmdir()


def _folders(name: str) -> list[Path]:
    """The folders of a file below the published one, innermost first."""
    return [folder for folder in Path(name).parents if folder != Path()]


def _sweep(to: Path, names: set[str]) -> None:
    """Remove what a killed run had begun to write."""
    for folder in {(to / name).parent for name in names} | {to}:
        for path in folder.iterdir() if folder.is_dir() else ():
            if is_tombstone(os.fsencode(path.name)):
                path.unlink()
