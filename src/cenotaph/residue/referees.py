"""Referees: programs of others look at the same volume, and what they find is held against what we found.

We have no plain value, only fingerprints, so a referee *extracts* and our fingerprints say what is in it. It
catches what our search is blind to: blocks it did not read, containers it did not see, files it did not
carve. It does not catch a needle that was never made; for that there is the examiners' page (docs/verify/).

Three ways, so that no referee depends on what it is to check:

- `grep` reads the device from its first byte to its last, and says at which offset each find lies. A find is
  counted as far as it lies outside the files of the stores and the files that stay.
- The Sleuth Kit reads the file system with its own parser and gives free blocks, slack and the journal.
- Carvers and `strings` are given the volume's bytes in memory (`outside.segments`), with the files of the
  stores and those that stay as zeros, and long runs of zeros shortened. The other way, an image of it on a
  scratch volume, would put onto a disk what was just destroyed; a network block device would need root and a
  kernel module.

What surprised its author: GNU grep holds a whole line in memory, and free blocks are one line of zeros, so
lines must end in NUL (`-z`); a tool reads the kernel's cache of the device, which can be older than the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Set
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
        ("GNU grep", "grep", _grep(_TEXT)),
        ("GNU grep, UTF-16", "grep", _grep(_WIDE)),
        ("GNU strings, UTF-16", "strings", _strings),
        ("photorec", "photorec", _photorec),
        ("scalpel", "scalpel", _scalpel),
        ("foremost", "foremost", _foremost),
    ]
    if kind in _EXT:
        ways[3:3] = [
            ("sleuthkit blkls", "blkls", _sleuthkit()),
            ("sleuthkit blkls, slack", "blkls", _sleuthkit("-s")),
            ("sleuthkit icat, journal", "icat", _sleuthkit(inode="8")),
        ]
    return ways


# --- tools that say where -------------------------------------------------------------------

_TEXT = b"[^[:cntrl:]]{6,}"  # in the C locale: letters, digits, signs, and every byte above 127
_WIDE = b"([\x01-\xff][N-\x9f]){3,}|([N-\x9f][\x01-\xff]){3,}"  # 0x4E to 0x9F: CJK ideographs in UTF-16
_FIND = re.compile(rb"(\d+):([^\0]*)\0")


def _grep(pattern: bytes) -> _Way:
    """All runs of such bytes on the device, as far as they lie outside live files.

    Where we may not open the device, the tool is fed its bytes through our own descriptor.
    """

    def way(bench: _Bench, tool: Tool) -> Haul | str:
        outcome, haul = Outcome(), Haul()
        with outside.device(bench.raw) as fd:
            everything = np.array([[0, bench.raw.size]], dtype=np.int64)
            fed = outside.in_place(outside.pieces(bench.raw, everything), bench.raw.size)
            command = Command(
                tool,
                ("-z", "-a", "-o", "-b", "-E", "-e", pattern),
                bench.folder,
                stdin=fed if fd is None else fd,
                seconds=bench.seconds,
                fine=(0, 1),  # grep(1): 1 where nothing was found
            )
            finds = _finds(outside.output(command, outcome))
            found = outside.search(_outside_of(finds, bench.live, haul), bench.needles)
        haul.values, haul.ended = found.residue, outcome.ended
        return haul

    return way


def _finds(given: Iterable[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """The tool's lines as (offset, what it found there), some at a time."""
    rest = b""
    for piece in given:
        rest += piece
        cut = rest.rfind(b"\0") + 1
        yield [(int(at), what) for at, what in _FIND.findall(rest[:cut])]
        rest = rest[cut:]


def _outside_of(finds: Iterable[list[tuple[int, bytes]]], live: Ranges, haul: Haul) -> Iterator[bytes]:
    """What was found, one find a line, without those parts that lie in live files."""
    for some in finds:
        if not some:
            continue
        at = np.array([offset for offset, _ in some], dtype=np.int64)
        end = at + np.array([len(what) for _, what in some], dtype=np.int64)
        first = np.searchsorted(live[:, 1], at, side="right")  # the first live range that ends behind it
        touched = np.zeros(len(some), dtype=bool)
        if len(live):
            touched = (first < len(live)) & (live[np.minimum(first, len(live) - 1), 0] < end)
        lines = [
            _without(offset, what, live, row) if touches else what
            for (offset, what), touches, row in zip(some, touched.tolist(), first.tolist(), strict=True)
        ]
        haul.bytes += sum(map(len, lines))
        yield b"\n".join([*lines, b""])


def _without(offset: int, what: bytes, live: Ranges, row: int) -> bytes:
    """One find with its live parts as NULs."""
    left = bytearray(what)
    while row < len(live) and live[row, 0] < offset + len(what):
        low, high = (int(edge) for edge in np.clip(live[row] - offset, 0, len(what)))
        left[low:high] = bytes(high - low)
        row += 1
    return bytes(left).strip(b"\0")


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
