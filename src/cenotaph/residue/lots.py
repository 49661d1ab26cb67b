"""What was decoded in small pieces, searched together, and told by the bytes of the stream it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Ints: TypeAlias = npt.NDArray[np.int64]
_Flags: TypeAlias = npt.NDArray[np.bool_]
Places: TypeAlias = tuple[tuple[int, int], ...]

GAP = 64  # zeros behind each piece of a lot
ALL, NEVER = 0, -1  # of `Piece.seam`
_LOT = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that did not lie so in the stream, and the bytes of the stream that they were made of.

    `seam` is 0 where any match counts, else the place that a match must lie across: all else lay open.
    Where it is negative no match counts, but containers that begin here do.
    """

    lane: str
    data: bytes = field(repr=False)
    places: Places
    seam: int = ALL


@dataclass(frozen=True, slots=True)
class Lot:
    """Pieces of one lane that are searched together, zeros between them."""

    lane: str
    data: bytes = field(repr=False)
    pieces: tuple[Piece, ...] = field(repr=False)
    begin: _Ints

    def counts(self, start: _Ints, length: _Ints) -> _Flags:
        """Which matches did not lie open in the stream, too."""
        row = self._row(start)
        seam = np.array([piece.seam for piece in self.pieces], dtype=np.int64)[row]
        at = start - self.begin[row]
        return np.asarray((seam == ALL) | ((at < seam) & (at + length > seam)), dtype=bool)

    def offsets(self, start: _Ints) -> _Ints:
        """Where in the stream the piece of each match begins."""
        return np.array([piece.places[0][0] for piece in self.pieces], dtype=np.int64)[self._row(start)]

    def inside(self, start: _Ints, inside: Callable[[_Ints, _Ints], _Flags]) -> _Flags:
        """For each match, whether all bytes that its piece was made of lie inside."""
        return self._inside(inside)[self._row(start)]

    def nested(self, inside: Callable[[_Ints, _Ints], _Flags]) -> Iterator[tuple[bool, list[Piece]]]:
        """Pieces in which something compressed may begin: those made of bytes inside, and the others."""
        flags = self._inside(inside).tolist()
        for flag in (False, True):
            chosen = [
                piece
                for is_inside, piece in zip(flags, self.pieces, strict=True)
                if is_inside is flag and piece.seam <= ALL
            ]
            if chosen:
                yield flag, chosen

    @property
    def span(self) -> tuple[int, int]:
        """The bytes of the stream from the first to the last that a piece was made of."""
        places = [place for piece in self.pieces for place in piece.places]
        return min(start for start, _ in places), max(end for _, end in places)

    def _inside(self, inside: Callable[[_Ints, _Ints], _Flags]) -> _Flags:
        """For each piece, whether all bytes that it was made of lie inside."""
        places = np.array([place for piece in self.pieces for place in piece.places], dtype=np.int64)
        firsts = np.cumsum([0, *(len(piece.places) for piece in self.pieces[:-1])])
        return np.logical_and.reduceat(inside(places[:, 0], places[:, 1]), firsts)

    def _row(self, start: _Ints) -> _Ints:
        return np.searchsorted(self.begin, start, side="right") - 1


def lots(pieces: Iterable[Piece]) -> Iterator[Lot]:
    """Small pieces together: a search of few bytes takes as long as one of many."""
    waiting: dict[str, list[Piece]] = {}
    sizes: dict[str, int] = {}
    for piece in pieces:
        waiting.setdefault(piece.lane, []).append(piece)
        sizes[piece.lane] = sizes.get(piece.lane, 0) + len(piece.data)
        if sizes[piece.lane] >= _LOT:
            yield _lot(waiting.pop(piece.lane))
            sizes[piece.lane] = 0
    for together in waiting.values():
        yield _lot(together)


def _lot(pieces: list[Piece]) -> Lot:
    parts, begin, at = [], [], 0
    for piece in pieces:
        begin.append(at)
        size = -(-len(piece.data) // 8) * 8 + GAP  # pages and values begin at multiples of eight
        parts.append(piece.data.ljust(size, b"\x00"))
        at += size
    return Lot(pieces[0].lane, b"".join(parts), tuple(pieces), np.array(begin, dtype=np.int64))
