"""Bytes that a script spells in hexadecimal digits, which a plain search is blind to.

So PostgreSQL writes `bytea` and large objects (`\\x…`, manual § 8.4.1), SQLite and MySQL write blobs
(`X'…'`, `0x…`) into plain dumps, logs and CSV. Two digits are a byte, in either case of letters; whatever is
no digit ends a value. Shorter values than `LEAST` are left out, and digits that nothing announces.

pg_dump writes a large object in pieces (src/bin/pg_dump/pg_backup_archiver.c, `dump_lo_buf`): what lies
across two of them is joined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cenotaph import kernel
from cenotaph.residue.lots import Piece

BEGINS = (b"\\x", b"X'", b"x'", b"0x")
LANE = "hex"
LEAST = 8  # bytes of a value that is decoded
BEGIN = 2  # bytes of each of `BEGINS`
DIGITS = np.zeros(256, dtype=bool)
DIGITS[list(b"0123456789abcdefABCDEF")] = True

_BETWEEN = b"');\nSELECT pg_catalog.lowrite(0, '\\x"  # of two pieces of a large object
_PAIRS = re.compile(rb"(?:[0-9a-fA-F]{2})*")


@dataclass(frozen=True, slots=True)
class Spelled:
    """What the values of a block came to. The last may go on behind the block, from `open` on."""

    pieces: tuple[Piece, ...]
    open: int | None


def read(block: bytes, at: int, lead: int, core: int, longest: int) -> Spelled:
    """The values that begin at `lead` or later, before `core`, of a block that lies so far into a stream.

    `longest` is what a match has at most. Where `core` is the block's end, nothing comes behind it.
    """
    starts, ends = find(np.frombuffer(block, dtype=np.uint8), lead, core)
    reach = max(1, longest - 1)
    pieces: list[Piece] = []
    room = len(block) if core == len(block) else len(block) - len(_BETWEEN) - 2 * reach
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end > room:
            return Spelled(tuple(pieces), start)
        data = bytes.fromhex(block[start + BEGIN : end].decode("ascii"))
        place = (at + start, at + end)
        pieces.append(Piece(LANE, data, (place,)))
        if block.startswith(_BETWEEN, end):
            behind = end + len(_BETWEEN)
            digits = _PAIRS.match(block, behind, behind + 2 * reach)
            assert digits is not None  # there may be none
            head = bytes.fromhex(digits[0].decode("ascii"))
            places = (place, (at + behind - BEGIN, at + digits.end()))
            pieces.append(Piece(LANE, data[-reach:] + head, places, min(reach, len(data))))
    return Spelled(tuple(pieces), None)


def find(
    data: npt.NDArray[np.uint8], lead: int, core: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where values begin, at `lead` or later and before `core`, and behind the last pair of their digits."""
    by = kernel.found()
    if by is not None:
        return by.find_spelled(data, lead, core)
    digits = np.concatenate([[False], DIGITS[data], [False]])
    edges = np.flatnonzero(digits[1:] != digits[:-1])
    starts, ends = edges[::2], edges[1::2]
    some = (starts >= lead + BEGIN) & (starts < core + BEGIN) & (ends - starts >= 2 * LEAST)
    starts, ends = starts[some], ends[some]
    begun = np.zeros(len(starts), dtype=bool)
    for first, second in BEGINS:
        begun |= (data[starts - 2] == first) & (data[starts - 1] == second)
    starts, ends = starts[begun], ends[begun]
    return starts - BEGIN, ends - (ends - starts) % 2
