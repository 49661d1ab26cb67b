"""Spans: places [first, end) in a row of records or of bytes, ascending and disjoint where several."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]


def within(at: int, size: int, spans: Sequence[Span]) -> Iterator[tuple[int, int, int]]:
    """The spans that have some of the `size` places from `at` on: ordinal, and the first and end of what they
    have, counted from `at`."""
    nth = bisect_right(spans, at, key=itemgetter(1))
    while nth < len(spans) and spans[nth][0] < at + size:
        first, end = spans[nth]
        yield nth, max(first - at, 0), min(end - at, size)
        nth += 1


def joined(spans: Iterable[Span]) -> Iterator[Span]:
    """The same places, spans that touch as one."""
    begun: Span | None = None
    for first, end in spans:
        if begun is not None and begun[1] == first:
            begun = begun[0], end
            continue
        if begun is not None:
            yield begun
        begun = first, end
    if begun is not None:
        yield begun
