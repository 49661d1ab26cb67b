"""Bars as inline SVG: plain shapes between labels and numbers that are text of the page.

Text inside a drawing shrinks with it and is read aloud badly, so a drawing holds none: each has one sentence
that says what it shows, and every number stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 1000, 20
LEAST = 4  # what is not nothing is seen


def bar(parts: Sequence[tuple[str, int]], of: int, says: str) -> Markup:
    """One bar: (class, amount) from left to right, as long as `of` fills the width; `says` is its text."""
    shapes = Markup("").join(_shapes(parts, max(of, 1)))
    return Markup(
        '<svg class="bar" role="img" viewBox="0 0 {} {}" preserveAspectRatio="none"><title>{}</title>'
        '<rect class="ground" width="{}" height="{}"/>{}</svg>'
    ).format(WIDTH, HEIGHT, says, WIDTH, HEIGHT, shapes)


def _shapes(parts: Iterable[tuple[str, int]], of: int) -> Iterable[Markup]:
    at = 0
    for kind, amount in parts:
        width = min(WIDTH - at, max(LEAST, WIDTH * amount // of)) if amount else 0
        if width > 0:
            yield Markup('<rect class="{}" x="{}" width="{}" height="{}"/>').format(
                escape(kind), at, width, HEIGHT
            )
        at += width
