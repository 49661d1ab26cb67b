"""Outside referees: what tools that others wrote find on the image of a volume, given the values themselves.

Nothing of ours takes part. All searching is GNU grep's. What it is blind to is carved by photorec, scalpel
and foremost, and decoded by gzip, unzip, zstd, lz4, pyarrow and (where it was built in) sqlite3's `.recover`;
free blocks, journal and deleted names come from the Sleuth Kit, the log of an xfs from where xfs_db says that
it lies. The file system must be unmounted or frozen: a bitmap that is only in the journal misleads.

What surprised its author: no single tool finds everything. grep finds no compressed byte, photorec passes
over what has no file format it knows, the Sleuth Kit does not read xfs, and `fls` shows no deleted name
since Linux wipes them in directory blocks (5.13), though the journal has them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

NEEDED = ("grep", "photorec", "scalpel", "foremost", "gzip", "unzip", "zstd", "lz4", "sqlite3")
SLEUTHKIT = ("blkls", "icat", "fls")  # ext4 only
JOURNAL_INODE = "8"  # of ext4 (EXT4_JOURNAL_INO)
PATIENCE = 600  # seconds that one tool may take
CARVED = 1_000_000  # bytes of a carved file

_SCALPEL = f"""\
gz y {CARVED} \\x1f\\x8b\\x08
zip y {CARVED} PK\\x03\\x04
zst y {CARVED} \\x28\\xb5\\x2f\\xfd
lz4 y {CARVED} \\x04\\x22\\x4d\\x18
parquet y {CARVED} PAR1 PAR1
sqlite y {CARVED} SQLite\\x20format\\x203
"""
_PHOTOREC = "partition_none,options,paranoid,fileopt,everything,enable,wholespace,search"
# What unpacks a file that begins so. Each writes what it could, and complains of what follows.
_UNPACKERS: Mapping[bytes, Sequence[str]] = {
    b"\x1f\x8b\x08": ("gzip", "-dc"),
    b"PK\x03\x04": ("unzip", "-p"),
    b"\x28\xb5\x2f\xfd": ("zstd", "-dcq"),
    b"\x04\x22\x4d\x18": ("lz4", "-dcq"),
}


def referees(image: Path, kind: str, scratch: Path, sought: Set[bytes]) -> dict[str, set[bytes]]:
    """What each referee finds on an image of a file system of this kind. `scratch` is emptied first.

    Raises: AssertionError when a tool that is needed is missing or fails.
    """
    tools = {**_EVERYWHERE, **(_EXT4 if kind == "ext4" else _XFS if kind == "xfs" else {})}
    found: dict[str, set[bytes]] = {}
    for name, run in tools.items():
        folder = scratch / name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found[name] = run(image, folder, sought)
        shutil.rmtree(folder)
    return found


def missing(kind: str) -> list[str]:
    """Tools that are needed for this kind of file system and not installed."""
    wanted = (*NEEDED, *(SLEUTHKIT if kind == "ext4" else ("xfs_db",) if kind == "xfs" else ()))
    return [tool for tool in wanted if shutil.which(tool) is None]


# ── grep ─────────────────────────────────────────────────────────────────────────────────────────


def grep(image: Path, _folder: Path, sought: Set[bytes]) -> set[bytes]:
    """`grep -aoF -f VALUES`, on every byte of the image."""
    return _printed(["cat", str(image)], sought)


def _printed(command: Sequence[str], sought: Set[bytes]) -> set[bytes]:
    """Which values grep finds in what a tool prints. Blank space between is squeezed: grep is slow on it."""
    assert not any(b"\0\0" in value for value in sought), "two zeros in a row would be squeezed"
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as tool,
        subprocess.Popen(["tr", "-s", r"\000"], stdin=tool.stdout, stdout=subprocess.PIPE) as squeezed,
    ):
        assert tool.stdout is not None
        tool.stdout.close()  # the child has it
        hits = _grep(sought, ["-"], stdin=squeezed.stdout)
    assert tool.returncode == 0, f"{command[0]} failed"
    return hits


def _grep(sought: Set[bytes], places: Sequence[str], stdin: IO[bytes] | None = None) -> set[bytes]:
    """Which values grep finds in files, in all files beneath folders, or in its standard input."""
    if any(b"\n" in value or not value for value in sought):
        raise ValueError("a value has a line end: grep takes a needle a line")
    with tempfile.TemporaryFile() as patterns:  # without a name, or it might lie in what is searched
        patterns.write(b"".join(value + b"\n" for value in sorted(sought)))
        patterns.flush()
        done = subprocess.run(
            ["grep", "-raohF", "-f", f"/dev/fd/{patterns.fileno()}", "--", *places],
            check=False,
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(patterns.fileno(),),
            env={**os.environ, "LC_ALL": "C"},
            timeout=PATIENCE,
        )
    assert done.returncode in (0, 1), f"grep failed: {done.stderr[:200]!r}"
    return set(done.stdout.split(b"\n")) & sought


# ── the Sleuth Kit, and xfs's own tool ───────────────────────────────────────────────────────────


def free_blocks(image: Path, _folder: Path, sought: Set[bytes]) -> set[bytes]:
    """`blkls IMAGE | grep`: blocks that no file owns."""
    return _printed(["blkls", "-f", "ext4", str(image)], sought)


def journal(image: Path, _folder: Path, sought: Set[bytes]) -> set[bytes]:
    """`icat IMAGE 8 | grep`: the journal of an ext4."""
    return _printed(["icat", "-f", "ext4", str(image), JOURNAL_INODE], sought)


def deleted_names(image: Path, _folder: Path, sought: Set[bytes]) -> set[bytes]:
    """`fls -rd IMAGE | grep`: names of deleted files that directory blocks still hold."""
    return _printed(["fls", "-f", "ext4", "-rd", str(image)], sought)


def xfs_log(image: Path, _folder: Path, sought: Set[bytes]) -> set[bytes]:
    """`dd IMAGE | grep` of the log, where `xfs_db` says that it lies."""
    names = ("logstart", "logblocks", "blocksize", "agblocks", "agblklog")
    said = subprocess.run(
        ["xfs_db", "-r", "-c", "sb 0", "-c", f"p {' '.join(names)}", str(image)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    ).stdout
    start, count, size, group, bits = (int(line.split(" = ")[1]) for line in said.splitlines())
    first = (start >> bits) * group + (start & ((1 << bits) - 1))
    where = [f"bs={size}", f"skip={first}", f"count={count}", "status=none"]
    return _printed(["dd", f"if={image}", *where], sought)


# ── carvers ──────────────────────────────────────────────────────────────────────────────────────


def photorec(image: Path, folder: Path, sought: Set[bytes]) -> set[bytes]:
    """Photorec over the whole space, and what its files unpack to."""
    into = folder / "recovered"
    _run(["photorec", "/log", "/d", str(into), "/cmd", str(image), _PHOTOREC], cwd=folder)
    return _searched(folder, sought)


def scalpel(image: Path, folder: Path, sought: Set[bytes]) -> set[bytes]:
    """Scalpel with headers of compressed and structured files, and what its files unpack to."""
    (folder / "scalpel.conf").write_text(_SCALPEL, "ascii")
    _run(["scalpel", "-c", str(folder / "scalpel.conf"), "-o", str(folder / "carved"), str(image)])
    return _searched(folder, sought)


def foremost(image: Path, folder: Path, sought: Set[bytes]) -> set[bytes]:
    """Foremost with all formats it knows, and what its files unpack to."""
    _run(["foremost", "-q", "-t", "all", "-i", str(image), "-o", str(folder / "carved")])
    return _searched(folder, sought)


def _searched(folder: Path, sought: Set[bytes]) -> set[bytes]:
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    recovered = [p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".log", ".se2")]
    for number, path in enumerate(recovered):
        _unpack(path, unpacked / str(number))
    return _grep(sought, [str(folder)])


def _unpack(path: Path, to: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(16)
    for magic, command in _UNPACKERS.items():
        if head.startswith(magic):
            with to.open("wb") as sink:
                _run([*command, str(path)], sink=sink, code=None)
    if head.startswith(b"PAR1"):
        to.write_bytes(b"\n".join(_parquet(path)))
    if head.startswith(b"SQLite format 3\0"):
        with to.open("wb") as sink:
            _run(["sqlite3", str(path), ".recover"], sink=sink, code=None)


def _parquet(path: Path) -> Iterator[bytes]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):  # bytes between two files, cut as if they were one
        return
    for column in table.columns:
        yield from (str(value).encode() for value in column.to_pylist())


def _run(
    command: Sequence[str], *, cwd: Path | None = None, sink: IO[bytes] | None = None, code: int | None = 0
) -> None:
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=sink or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
    )
    assert code is None or done.returncode == code, f"{command[0]} failed: {done.stderr[-300:]!r}"


_EVERYWHERE = {"grep": grep, "photorec": photorec, "scalpel": scalpel, "foremost": foremost}
_EXT4 = {"blkls": free_blocks, "icat 8": journal, "fls -rd": deleted_names}
_XFS = {"xfs_db, dd": xfs_log}


def union(found: Iterable[set[bytes]]) -> set[bytes]:
    """What any of them found."""
    return set().union(*found)
