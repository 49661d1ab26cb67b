"""Who can read a file, apart from those who should, and how long nobody has written it.

The sentences name no path and no person: a folder can be one.
"""

from __future__ import annotations

import datetime
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Sign: TypeAlias = Literal[
    "world-readable", "world-writable", "web root", "shared folder", "no password", "other owner", "dump",
    "dormant", "cannot tell",
]  # fmt: skip

_WEB_FOLDERS = frozenset(
    ("www", "htdocs", "public_html", "wwwroot", "webroot", "static", "html", "public", "webapps")
)
_WEB_SERVERS = frozenset(("nginx", "apache", "apache2", "httpd", "caddy", "tomcat", "iis"))
_INDEX_PAGES = ("index.html", "index.htm", "index.php", "index.jsp")
_SHARED_FOLDERS = frozenset(
    ("tmp", "temp", "shared", "share", "public", "pub", "ftp", "samba", "nfs", "dropbox")
)
_NEEDS_NO_PASSWORD = frozenset(("sqlite", "csv", "jsonl", "parquet", "arrow", "sql dump", "text"))
_DUMP_NAMES = (b"dump", b"backup", b".bak", b".sql", b"beifen", "备份".encode(), "导出".encode(), b"export")
_DORMANT_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Exposure:
    """One reason why a file is read by more people, or fewer, than it should be."""

    sign: Sign
    sentence: str


def exposures(path: Path, *, kind: str = "", now: datetime.datetime | None = None) -> tuple[Exposure, ...]:
    """The signs that a file or folder is unsecured or dormant.

    `kind` is its format as `undeclared.find` names it, where known. Follows no symlink. What the
    process may not look at is a sign of its own, never an empty answer.
    """
    try:
        status = path.lstat()
    except OSError:
        return (Exposure("cannot tell", "its access rights cannot be read"),)
    found = [*_by_rights(path, status), *_by_place(path), *_by_kind(path, kind)]
    if status.st_uid != os.geteuid():
        found.append(Exposure("other owner", "owned by another user of the system"))
    found += _by_age(status, now or datetime.datetime.now(datetime.UTC))
    return tuple(found)


def _by_rights(path: Path, status: os.stat_result) -> list[Exposure]:
    found = []
    if status.st_mode & stat.S_IROTH:
        if _reachable(path):
            found.append(Exposure("world-readable", "every user of the system can read it"))
        else:
            found.append(
                Exposure(
                    "world-readable", "its rights let every user read it; only a folder above keeps them out"
                )
            )
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        found.append(Exposure("world-writable", "every user of the system can change it"))
    return found


def _reachable(path: Path) -> bool:
    """Whether every folder above lets others through."""
    return all(_mode(folder) & stat.S_IXOTH for folder in path.absolute().parents)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _by_place(path: Path) -> list[Exposure]:
    found = []
    folders = [part.lower() for part in path.absolute().parts[:-1]]
    if _WEB_FOLDERS.intersection(folders) or _WEB_SERVERS.intersection(folders):
        found.append(Exposure("web root", "in a folder of the kind that web servers publish"))
    elif any(
        (folder / page).is_file() for folder in _near(path) for page in _INDEX_PAGES if _may_look(folder)
    ):
        found.append(Exposure("web root", "beside or below an index page, as in a published folder"))
    if _SHARED_FOLDERS.intersection(folders):
        found.append(Exposure("shared folder", "in a temporary or shared folder"))
    return found


def _near(path: Path) -> tuple[Path, ...]:
    return tuple(path.absolute().parents)[:4]


def _may_look(folder: Path) -> bool:
    return os.access(folder, os.X_OK)


def _by_kind(path: Path, kind: str) -> list[Exposure]:
    found = []
    if kind in _NEEDS_NO_PASSWORD:
        found.append(
            Exposure("no password", "whoever has the file can read it: the format asks for no password")
        )
    name = os.fsencode(path.name).lower()
    if kind == "sql dump" or any(part in name for part in _DUMP_NAMES):
        found.append(
            Exposure("dump", "a dump, backup or export by its content or name: a copy of another store")
        )
    return found


def _by_age(status: os.stat_result, now: datetime.datetime) -> list[Exposure]:
    """Dormant since the last write. Reads are told where the file system seems to record them."""
    written = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC)
    read = datetime.datetime.fromtimestamp(status.st_atime, datetime.UTC)
    months = (now.year - written.year) * 12 + now.month - written.month
    if months < _DORMANT_MONTHS:
        return []
    reading = f", last read in {read:%Y-%m}" if read > written else ""
    return [Exposure("dormant", f"last written in {written:%Y-%m}{reading}: dormant for {months} months")]
