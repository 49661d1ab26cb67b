"""Referees: programs of others look at the same volume, and what they find is held against what we found.

We have no plain value, only fingerprints, so a referee *extracts* and our fingerprints say what is in it. It
catches what our search is blind to: blocks it did not read, containers it did not see, files it did not
carve. It does not catch a needle that was never made; for that there is the examiners' page (docs/verify/).

Three ways, so that no referee depends on what it is to check:

- `grep` is given the device from its first byte to its last, as the kernel reads it for anybody, with zeros
  in place of the files of the stores and of those that stay.
- The Sleuth Kit reads the file system with its own parser and gives free blocks, slack and the journal.
- `strings` and carvers are given the same bytes as files in memory (`outside.segments`), long runs of zeros
  shortened. The other way, an image on a scratch volume, would put onto a disk what was just destroyed; a
  network block device would need root and a kernel module.

What surprised its author: with lines that end in NUL (`-z`) GNU grep 3.8 does not count blocks of zeros, so
that its offsets are wrong; without, it holds a whole line in memory, and free blocks are one line of zeros.
So it is given `_WINDOW` bytes at a time. And a tool reads the kernel's cache of the device, which can be
older than the disk (`outside.forget_cached`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from cenotaph.progress import Tell, quiet
from cenotaph.residue import outside
from cenotaph.residue.needles import Needles
from cenotaph.residue.outside import Command, Haul, Outcome, Tool
from cenotaph.residue.sqlite_pages import merge_ranges
from cenotaph.store import Ranges
from cenotaph.volume.model import Map, Place
from cenotaph.volume.raw import Raw
from cenotaph_proof.statements import Referee

_WHAT = "referees"
_EXT = ("ext2", "ext3", "ext4")


def referee(
    raw: Raw,
    map: Map,
    scratch: Path,
    needles: Needles,
    found: Set[int],
    tell: Tell = quiet,
) -> tuple[list[Referee], tuple[str, ...]]:
    """Run every installed referee. `map` is the refined one; `found` are the needles that our search found.

    Tools that must write do so in a folder of their own in `scratch`, which is emptied. The second value says
    which referees there were not, and why.

    Raises: UsageError where `scratch` lies on the volume.
    """
    missing: list[str] = []
    ruled: list[Referee] = []
    with outside.scratch_folder(scratch, raw.volume.number) as folder:
        bench = _Bench(raw, merge_ranges([map.of(Place.STORES), map.of(Place.KEPT)]), folder, needles)
        ways = _ways(raw.volume.kind)
        for done, (name, program, way) in enumerate(ways):
            tell(_WHAT, done, len(ways))
            tool = outside.installed(program)
            haul = f"{program} is not installed" if tool is None else way(bench, tool)
            if isinstance(haul, str):
                missing.append(f"referee {name}: {haul}")
            elif tool is not None:
                ruled.append(_ruled(name, tool, haul, found))
            outside.empty(folder)
        tell(_WHAT, len(ways), len(ways))
    return ruled, tuple(missing)


def _ruled(name: str, tool: Tool, haul: Haul, found: Set[int]) -> Referee:
    note = f"the tool {haul.ended}" if haul.ended else ""
    return Referee(name, tool.version, haul.bytes, len(haul.values), len(haul.values - found), note)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every referee works with."""

    raw: Raw = field(repr=False)
    live: Ranges = field(repr=False)  # bytes of files that lie there rightly
    folder: Path = field(repr=False)
    needles: Needles = field(repr=False)

    @property
    def seconds(self) -> float:
        return 60 + self.raw.size / (10 << 20)


_Way: TypeAlias = "Callable[[_Bench, Tool], Haul | str]"


def _ways(kind: str) -> list[tuple[str, str, _Way]]:
    """Referees as (name in the statement, program, how it is run)."""
    ways: list[tuple[str, str, _Way]] = [
        ("GNU grep", "grep", _grep),
        ("GNU strings, UTF-16", "strings", _strings),
        ("photorec", "photorec", _photorec),
        ("scalpel", "scalpel", _scalpel),
        ("foremost", "foremost", _foremost),
    ]
    if kind in _EXT:
        ways[2:2] = [
            ("sleuthkit blkls", "blkls", _sleuthkit()),
            ("sleuthkit blkls, slack", "blkls", _sleuthkit("-s")),
            ("sleuthkit icat, journal", "icat", _sleuthkit(inode="8")),
        ]
    return ways


# --- grep -----------------------------------------------------------------------------------

# In the C locale, every run of bytes but NUL and newline: digits, names in UTF-8, in GB18030, and in UTF-16
# but for characters with such a byte. What is mostly NULs (numbers, Latin letters in UTF-16) is for others.
_RUNS = b"[\x01-\xff]{6,}"
_WINDOW = 32 << 20  # bytes that one grep is given
_SHARED = 4096  # of one window with the next: no needle is longer


def _grep(bench: _Bench, tool: Tool) -> Haul | str:
    """All runs of letters on the device outside live files.

    Where we may not open the device, its bytes come through our own descriptor.
    """
    haul = Haul()
    with outside.device(bench.raw) as fd:
        haul.values = outside.search(_grepped(bench, tool, fd, haul), bench.needles).residue
    return haul


def _grepped(bench: _Bench, tool: Tool, fd: int | None, haul: Haul) -> Iterator[bytes]:
    for begin in range(0, bench.raw.size, _WINDOW):
        data = _window(bench, fd, begin, min(_WINDOW + _SHARED, bench.raw.size - begin))
        if not np.frombuffer(data, dtype=np.uint8).any():
            continue
        fed = (bytes(data[at : at + (1 << 20)]) for at in range(0, len(data), 1 << 20))
        arguments = ("-a", "-o", "-E", "-e", _RUNS)
        command = Command(tool, arguments, bench.folder, stdin=fed, seconds=60, fine=(0, 1))  # 1: no find
        outcome = Outcome()
        yield from outside.output(command, outcome)
        haul.bytes += outcome.bytes
        haul.ended = haul.ended or outcome.ended


def _window(bench: _Bench, fd: int | None, begin: int, length: int) -> bytearray:
    """Bytes of the device with zeros for live files, and for what it would not give."""
    try:
        read = bench.raw.pread(begin, length) if fd is None else os.pread(fd, length, begin)
    except OSError:
        read = bench.raw.pread(begin, length)  # which reads around bad sectors
    data = bytearray(read)
    first = np.searchsorted(bench.live[:, 1], begin, side="right")
    last = np.searchsorted(bench.live[:, 0], begin + len(data))
    for low, high in np.clip(bench.live[first:last] - begin, 0, len(data)).tolist():
        data[low:high] = bytes(high - low)
    return data


# --- The Sleuth Kit -------------------------------------------------------------------------


def _sleuthkit(*flags: str, inode: str = "") -> _Way:
    """Free blocks (blkls), what lies behind the ends of files (blkls -s), the journal (icat, inode 8)."""

    def way(bench: _Bench, tool: Tool) -> Haul | str:
        with outside.device(bench.raw) as fd:
            if fd is None:
                return "was not run, it needs the right to open the device"
            place = (str(bench.raw.volume.device), *((inode,) if inode else ()))
            command = Command(tool, (*flags, *place), bench.folder, seconds=bench.seconds)
            return outside.streamed(command, bench.needles)

    return way


# --- strings and carvers: the bytes in memory -----------------------------------------------


def _strings(bench: _Bench, tool: Tool) -> Haul | str:
    """ASCII in UTF-16, both byte orders: digits, Latin letters."""
    haul = Haul()
    wanted = outside.outside_of(bench.live, bench.raw.size)
    for order in ("l", "b"):
        fed = outside.squeezed(outside.pieces(bench.raw, wanted))
        arguments = ("-a", "-n", "6", "-e", order)
        command = Command(tool, arguments, bench.folder, stdin=fed, seconds=bench.seconds)
        haul.add(outside.streamed(command, bench.needles))
    return haul


_PHOTOREC = "partition_none,options,paranoid,keep_corrupted_file,fileopt,everything,enable,wholespace,search"
_HEADERS = {
    "gz": "\\x1f\\x8b\\x08",
    "zip": "PK\\x03\\x04",
    "sqlite": "SQLite\\x20format\\x203\\x00",
    "parquet": "PAR1",
    "arrow": "ARROW1",
    "zst": "\\x28\\xb5\\x2f\\xfd",
    "lz4": "\\x04\\x22\\x4d\\x18",
    "bz2": "BZh",
    "xz": "\\xfd7zXZ\\x00",
}
_LONGEST = 8 << 20  # bytes that scalpel cuts out behind each header


def _photorec(bench: _Bench, tool: Tool) -> Haul | str:
    def command(fd: int, out: Path) -> Command:
        arguments = ("/d", str(out / "found"), "/cmd", f"/proc/self/fd/{fd}", _PHOTOREC)
        return Command(tool, arguments, bench.folder, keep_open=(fd,), seconds=bench.seconds)

    return _carved(bench, command)


def _scalpel(bench: _Bench, tool: Tool) -> Haul | str:
    """With headers of our choice: its own list knows none of what exports are kept in."""
    lines = [f"{name} y {_LONGEST} {header}\n" for name, header in _HEADERS.items()]

    def command(fd: int, out: Path) -> Command:
        config = bench.folder / "scalpel.conf"
        config.write_text("".join(lines), "ascii")
        arguments = ("-c", str(config), "-o", str(out / "found"), f"/proc/self/fd/{fd}")
        return Command(tool, arguments, bench.folder, keep_open=(fd,), seconds=bench.seconds)

    return _carved(bench, command)


def _foremost(bench: _Bench, tool: Tool) -> Haul | str:
    def command(fd: int, out: Path) -> Command:
        arguments = ("-t", "all", "-Q", "-o", str(out / "found"))
        return Command(tool, arguments, bench.folder, stdin=fd, seconds=bench.seconds)

    return _carved(bench, command)


def _carved(bench: _Bench, command: Callable[[int, Path], Command]) -> Haul | str:
    """Give a carver the bytes that are not of live files, a part at a time, and search what it cuts out."""
    size = bench.raw.size
    wanted = outside.outside_of(bench.live, size)
    haul = Haul()
    for file in outside.segments(outside.squeezed(outside.pieces(bench.raw, wanted))):
        file.seek(0)
        out = bench.folder / "carved"
        out.mkdir(mode=0o700)
        outcome = outside.run(command(file.fileno(), out))
        haul.add(outside.harvest(out, bench.needles))
        haul.ended = haul.ended or outcome.ended
        outside.empty(bench.folder)
    return haul
