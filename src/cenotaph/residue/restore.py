"""Attempts to restore: what somebody gets back who is handed the volume and the usual means.

Four ways: SQLite's own recovery of each database that remains; a database that lies whole in free blocks,
opened as one; the undelete tools of ext4; our own carving of free blocks. An attempt that brings back a
needle shows residue. One that brings back nothing shows little; it says with which tool and version.

What surprised its author: Debian 12 builds `sqlite3` without the virtual table that `.recover` reads
(https://www.sqlite.org/dbpage.html), so there it fails on every database, and a script that only counts what
came back calls that a success; so it is asked first. And ext4 clears the extents of a file that it unlinks,
so that undelete tools, which read inodes, bring back little that carvers do not.
"""

from __future__ import annotations

import functools
import io
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

import cenotaph
from cenotaph.errors import PermanentStoreError
from cenotaph.progress import Tell, quiet
from cenotaph.residue import outside, sqlite_pages
from cenotaph.residue.needles import Needles
from cenotaph.residue.outside import Command, Haul, Outcome, Tool
from cenotaph.store import Ranges
from cenotaph.volume.model import Place
from cenotaph.volume.raw import Raw
from cenotaph_proof.statements import RestoreAttempt

MOST_IMAGES = 64  # databases in free blocks that are opened
MOST_IMAGE = 64 << 20  # bytes of one
_WHAT = "restore attempts"
_PAGE = outside.PAGE


def attempt(
    raw: Raw,
    stores: Sequence[tuple[str, Path]],
    scratch: Path,
    needles: Needles,
    tell: Tell = quiet,
    *,
    kept: Set[int] = frozenset(),
) -> tuple[list[RestoreAttempt], tuple[str, ...]]:
    """Try to restore from a volume, and from the databases of the stores that remain on it.

    `stores` are (kind, path); of kind "sqlite" each file is tried. Tools that must write do so in a folder of
    their own in `scratch`, which is emptied. `kept` are needles that also stay, in records held or out of
    scope: a tool that brings live files back brings them back, and they are not counted. The second value
    says what was not tried, and why.

    Raises: UsageError where `scratch` lies on the volume.
    """
    missing: list[str] = []
    made: list[RestoreAttempt] = []
    with outside.scratch_folder(scratch, raw.volume.number) as folder:
        bench = _Bench(raw, folder, needles, kept, missing)
        ways = _ways(bench, [path for kind, path in stores if kind == "sqlite"])
        for done, way in enumerate(ways):
            tell(_WHAT, done, len(ways))
            made.extend(way())
        tell(_WHAT, len(ways), len(ways))
    return made, tuple(missing)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every attempt works with."""

    raw: Raw = field(repr=False)
    folder: Path = field(repr=False)
    needles: Needles = field(repr=False)
    kept: Set[int] = field(repr=False)
    missing: list[str]

    def tool(self, name: str, for_what: str) -> Tool | None:
        found = outside.installed(name)
        if found is None:
            self.missing.append(f"{for_what}: {name} is not installed")
        return found


_Way: TypeAlias = Callable[[], Iterable[RestoreAttempt]]


def _ways(bench: _Bench, databases: Sequence[Path]) -> list[_Way]:
    ways: list[_Way] = [
        lambda: _recovered(bench, databases),
        lambda: _freed_pages(bench, databases),
        lambda: _images(bench),
    ]
    if bench.raw.volume.kind in ("ext2", "ext3", "ext4"):
        ways += [functools.partial(_undeleted, bench, name) for name in _UNDELETE]
    elif bench.raw.volume.kind == "xfs":
        bench.missing.append("undelete: xfs_undelete is not installed")
    ways += [lambda: _carved_rows(bench), lambda: _carved_containers(bench)]
    return ways


def _ours() -> Tool:
    return Tool("cenotaph", "", cenotaph.__version__)


def _made(method: str, tool: Tool, recovered: int, values: int, note: str = "") -> RestoreAttempt:
    return RestoreAttempt(method, tool.name, tool.version, recovered, values, note)


# --- SQLite ---------------------------------------------------------------------------------

_RECOVER, _IMAGE, _FREED = "sqlite recover", "sqlite image in free blocks", "sqlite freed pages"


def _recovered(bench: _Bench, databases: Sequence[Path]) -> Iterator[RestoreAttempt]:
    """`.recover` of what remains. What the database itself still returns is no restoring, and taken off."""
    tool = bench.tool("sqlite3", _RECOVER)
    if tool is None or not databases:
        return
    if not _can_recover(bench, tool):
        bench.missing.append(
            f"{_RECOVER}: sqlite3 {tool.version} here was built without it (no sqlite_dbpage)"
        )
        return
    values: set[int] = set()
    rows = failed = 0
    for fd in _opened(databases, bench):
        try:
            alive = _printed(bench, tool, fd, ".dump")
            all_ = _printed(bench, tool, fd, ".recover")
        finally:
            os.close(fd)
        failed += bool(all_.ended)
        values |= all_.values - alive.values
        rows += max(0, all_.rows - alive.rows)
    note = f"{len(databases)} databases" + (
        f"; {failed} could not be recovered to their end" if failed else ""
    )
    yield _made(_RECOVER, tool, rows, len(values - bench.kept), note)


def _can_recover(bench: _Bench, tool: Tool) -> bool:
    command = Command(tool, ("-batch", ":memory:", "SELECT count(*) FROM sqlite_dbpage"), bench.folder)
    outcome = Outcome()
    return b"".join(outside.output(command, outcome)).strip().isdigit() and not outcome.ended


def _opened(databases: Sequence[Path], bench: _Bench) -> Iterator[int]:
    """Descriptors of the regular files among them; the reader closes each."""
    for path in databases:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        except OSError:
            bench.missing.append(f"{_RECOVER}: a database could not be opened")
            continue
        if stat.S_ISREG(os.fstat(fd).st_mode) and os.fstat(fd).st_size:
            yield fd
        else:
            os.close(fd)


def _printed(bench: _Bench, tool: Tool, fd: int, what: str, *, image: bool = False) -> Haul:
    """What sqlite3 prints of a database, searched; rows are its INSERT statements.

    A file is opened as immutable, so that nothing is locked, rolled back or written. The descriptor stands
    for the path, which could name somebody in a list of processes. An image has no path, and is read into
    memory.
    """
    place = ("-deserialize", f"/proc/self/fd/{fd}") if image else (f"file:/proc/self/fd/{fd}?immutable=1",)
    arguments = ("-batch", "-readonly", *place, what)
    command = Command(tool, arguments, bench.folder, keep_open=(fd,), seconds=_seconds(os.fstat(fd).st_size))
    outcome = Outcome()
    rows = [0]
    found = outside.search(_counting(outside.output(command, outcome), rows), bench.needles)
    return Haul(found.residue, outcome.bytes, rows=rows[0], ended=outcome.ended)


def _counting(given: Iterable[bytes], rows: list[int]) -> Iterator[bytes]:
    last = b"\n"
    for piece in given:
        rows[0] += (last + piece).count(b"\nINSERT ")
        last = (last + piece)[-len(b"\nINSERT ") + 1 :]
        yield piece


def _freed_pages(bench: _Bench, databases: Sequence[Path]) -> Iterator[RestoreAttempt]:
    """Rows that still decode on the free list of what remains, by our own reading of the format."""
    rows, values, unread = 0, set[int](), 0
    for fd in _opened(databases, bench):
        with open(fd, "rb") as stream:
            try:
                database = sqlite_pages.parse(stream, os.fstat(fd).st_size)
            except PermanentStoreError:
                unread += 1
                continue
            count, found = _rows(sqlite_pages.remnants(database), bench.needles)
        rows += count
        values |= found
    if databases:
        note = f"{len(databases)} databases" + (f"; {unread} could not be parsed" if unread else "")
        yield _made(_FREED, _ours(), rows, len(values - bench.kept), note)


def _rows(records: Iterable[sqlite_pages.Record], needles: Needles) -> tuple[int, set[int]]:
    """How many rows have something in them, and the distinct needles in those."""
    rows = [0]

    def lines() -> Iterator[bytes]:
        for record in records:
            plain = [_plain(value) for value in record.values if value is not None]
            if any(plain):
                rows[0] += 1
                yield b"\n".join([*plain, b""])

    found = outside.search(lines(), needles)
    return rows[0], found.residue


def _plain(value: int | float | str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else str(value).encode()


def _images(bench: _Bench) -> Iterator[RestoreAttempt]:
    """Databases that lie in free blocks from their first page on, opened by SQLite as the files they were."""
    tool = bench.tool("sqlite3", _IMAGE)
    if tool is None:
        return
    ways = (".dump", ".recover") if _can_recover(bench, tool) else (".dump",)
    values: set[int] = set()
    rows = opened = 0
    for image in _databases_in_free(bench.raw):
        if opened == MOST_IMAGES:
            bench.missing.append(f"{_IMAGE}: more than {MOST_IMAGES} databases begin there")
            break
        opened += 1
        for file in outside.segments([image], size=len(image) + 1):
            hauls = [_printed(bench, tool, file.fileno(), what, image=True) for what in ways]
            values.update(*(haul.values for haul in hauls))
            rows += max(haul.rows for haul in hauls)
    yield _made(_IMAGE, tool, rows, len(values - bench.kept), f"{opened} images")


def _databases_in_free(raw: Raw) -> Iterator[bytes]:
    """Bytes of databases whose header lies at the start of a free block (fileformat2.html § 1.3)."""
    free, step = raw.map.of(Place.FREE), min(raw.volume.block, _PAGE)
    for begin, piece in outside.pieces(raw, free):
        for at in range(0, len(piece), step):
            if piece.startswith(sqlite_pages.MAGIC, at):
                length = _length(piece[at : at + 100], begin + at, free)
                if length:
                    yield bytes(raw.pread(begin + at, length))


def _length(header: bytes, at: int, free: Ranges) -> int:
    """How much of the database there can be: as its header says, and as far as blocks are free."""
    size, pages = struct.unpack_from(">H", header, 16)[0], struct.unpack_from(">I", header, 28)[0]
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1):
        return 0
    row = int(np.searchsorted(free[:, 0], at, side="right")) - 1
    room = int(free[row, 1]) - at
    wanted = pages * size if pages else room
    return min(wanted, room, MOST_IMAGE) // size * size


# --- undelete tools of ext4 -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Undelete:
    """How a tool is asked: `device` and `folder` stand for what they name."""

    method: str
    arguments: tuple[str, ...]
    writes: bool


_UNDELETE = {
    "ext4magic": _Undelete("undelete", ("device", "-M", "-d", "folder"), True),
    "extundelete": _Undelete("undelete", ("--restore-all", "-o", "folder", "device"), True),
    "tsk_recover": _Undelete("undelete", ("device", "folder"), True),
    "fls": _Undelete("deleted names", ("-rdp", "device"), False),
    "debugfs": _Undelete("deleted inodes", ("-R", "lsdel", "device"), False),
}


def _undeleted(bench: _Bench, name: str) -> Iterator[RestoreAttempt]:
    how = _UNDELETE[name]
    tool = bench.tool(name, how.method)
    if tool is None:
        return
    with outside.device(bench.raw) as fd:
        if fd is None:
            bench.missing.append(f"{how.method}: {name} was not run, it needs the right to open the device")
            return
        folder = bench.folder / "found"
        folder.mkdir(mode=0o700)
        names = {"device": str(bench.raw.volume.device), "folder": str(folder)}
        arguments = tuple(names.get(word, word) for word in how.arguments)
        command = Command(tool, arguments, bench.folder, seconds=_seconds(bench.raw.size))
        yield _brought(bench, how, command, folder)


def _brought(bench: _Bench, how: _Undelete, command: Command, folder: Path) -> RestoreAttempt:
    if how.writes:
        outcome = outside.run(command)
        haul = outside.harvest(folder, bench.needles)
        outside.empty(bench.folder)
        return _made(
            how.method, command.tool, haul.files, len(haul.values - bench.kept), _note(outcome.ended)
        )
    outcome = Outcome()
    lines = [0]
    found = outside.search(_lines(outside.output(command, outcome), lines), bench.needles)
    outside.empty(bench.folder)
    count = max(0, lines[0] - 2) if command.tool.name == "debugfs" else lines[0]  # its heading and its sum
    return _made(how.method, command.tool, count, len(found.residue - bench.kept), _note(outcome.ended))


def _lines(given: Iterable[bytes], lines: list[int]) -> Iterator[bytes]:
    for piece in given:
        lines[0] += piece.count(b"\n")
        yield piece


def _note(ended: str) -> str:
    return f"the tool {ended}" if ended else ""


def _seconds(size: int) -> float:
    return 60 + size / (10 << 20)


# --- our own carving ------------------------------------------------------------------------

_ROWS, _CONTAINERS = "carving of rows", "carving of containers"
_LEAVES_A_TRUNK = _PAGE // 4 - 2


def _carved_rows(bench: _Bench) -> Iterator[RestoreAttempt]:
    """Rows on what looks like a page of an SQLite database in free blocks, whatever became of its file."""
    rows, values = 0, set[int]()
    for pages in _leaves(bench.raw):
        database = sqlite_pages.parse(*_freed(pages))
        count, found = _rows(sqlite_pages.remnants(database), bench.needles)
        rows += count
        values |= found
    yield _made(_ROWS, _ours(), rows, len(values - bench.kept), f"SQLite pages of {_PAGE} bytes")


def _leaves(raw: Raw) -> Iterator[list[bytes]]:
    """Free blocks that begin as a leaf of a table or index does (§ 1.6), as many at once as a trunk names."""
    step = min(raw.volume.block, _PAGE)
    found: list[bytes] = []
    for begin, piece in outside.pieces(raw, raw.map.of(Place.FREE)):
        for at in range(0, len(piece), step):
            if piece[at] in (10, 13) and _plausible(piece[at : at + 8]):
                page = piece[at : at + _PAGE]
                found.append(page if len(page) == _PAGE else bytes(raw.pread(begin + at, _PAGE)))
                if len(found) == _LEAVES_A_TRUNK:
                    yield found
                    found = []
    if found:
        yield [page.ljust(_PAGE, b"\0") for page in found]  # the last may be cut off by the volume's end


def _plausible(head: bytes) -> bool:
    first_free, cells, content, _ = struct.unpack(">xHHHB", head)
    return bool(0 < cells <= _PAGE // 4 and 8 + 2 * cells <= content < _PAGE and first_free < _PAGE)


def _freed(pages: Sequence[bytes]) -> tuple[BinaryIO, int]:
    """A database whose free list names these pages: the shortest way to have them read as those of a file."""
    header = bytearray(_PAGE)
    header[:16] = sqlite_pages.MAGIC
    struct.pack_into(">HBBBBBB", header, 16, _PAGE, 1, 1, 0, 64, 32, 32)
    struct.pack_into(">II", header, 28, len(pages) + 2, 2)  # pages; first trunk
    struct.pack_into(">I", header, 36, len(pages) + 1)  # pages on the free list
    struct.pack_into(">III", header, 44, 4, 0, 0)  # schema format
    struct.pack_into(">I", header, 56, 1)  # UTF-8
    struct.pack_into(">BHHHB", header, 100, 13, 0, 0, 0, 0)  # an empty schema
    trunk = struct.pack(f">II{len(pages)}I", 0, len(pages), *range(3, len(pages) + 3))
    data = b"".join([header, trunk.ljust(_PAGE, b"\0"), *pages])
    return io.BytesIO(data), len(data)


def _carved_containers(bench: _Bench) -> Iterator[RestoreAttempt]:
    """What decodes out of free blocks: gzip, zip, Zstandard, LZ4, Parquet, Arrow, SQLite, and plain text."""
    given = outside.squeezed(outside.pieces(bench.raw, bench.raw.map.of(Place.FREE)))
    found = outside.search(given, bench.needles)
    blocks = -(-found.decoded // _PAGE)
    yield _made(
        _CONTAINERS, _ours(), blocks, len(found.residue - bench.kept), f"{found.decoded} bytes decoded"
    )
