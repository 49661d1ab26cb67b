"""The words on a page of a PDF, read from its drawing operators as strictly as our own pages allow.

A general reader of PDF would find words in almost anything. This one knows the few operators that our pages
are made of, and refuses every other: text that is hidden, clipped, off the page, too small or not in one of
the three inks is no text that a reader sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from cenotaph_proof.errors import FormatError

PAGE = (595.2756, 841.8898)  # A4 in points
INKS = ("1c2126", "565d64", "8c1d18")
SIZES = (6.0, 40.0)  # of text, in points

Matrix: TypeAlias = tuple[float, float, float, float, float, float]
Operand: TypeAlias = "float | bytes | str | list[float | bytes]"
Glyphs: TypeAlias = Mapping[int, str]  # glyph number → its characters

_IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)
_TOKEN = re.compile(
    rb"(?P<line>(?:[\d.+-]+[ \n]+[\d.+-]+[ \n]+[lm][ \n]+)+)"  # most of a page is its rosette
    rb"|(?P<space>[\0\t\n\f\r ]+)|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))|<(?P<hex>[0-9A-Fa-f]*)>"
    rb"|(?P<text>\()|(?P<mark><<|>>|\[|\])|/(?P<name>[^\0\t\n\f\r ()<>\[\]{}/%]*)"
    rb"|(?P<word>[A-Za-z*'\"]+)",
    re.S,
)
_PAREN = re.compile(rb"\\.|[()]", re.S)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|(\r\n|.))", re.S)
_ESCAPED = {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"b": b"\b",
    b"f": b"\f",
    b"\n": b"",
    b"\r": b"",
    b"\r\n": b"",
}
# What is drawn is not looked at: a font could show other digits just as well. Only setting the pages again
# tells (spec/paper.md, step 5).
_DRAWS = {"m", "l", "c", "h", "S", "f", "B", "n", "w", "M", "CS", "SCN"}
_MOST_NUMBER = 32  # bytes of one number: longer ones can be larger than a float
_SECTION = re.compile(rb"begin(bfchar|bfrange)")
_MOST_GLYPHS = 1 << 16  # of a font: a glyph's number has two bytes
_MOST_DIGITS = 1024  # of a glyph's characters (ISO 32000-1, 9.10.3: 512 bytes)


@dataclass(frozen=True, slots=True)
class _State:
    """What `q` keeps and `Q` brings back."""

    matrix: Matrix = _IDENTITY
    ink: tuple[float, ...] = ()
    clipped: bool = False
    font: str = ""
    size: float = 0


def words(content: bytes, fonts: Mapping[str, Glyphs]) -> str:
    """All words that a page's content draws, in its order. `fonts`: resource name → what its glyphs mean.

    Raises: FormatError for anything that our pages never hold.
    """
    return "".join(_Page(fonts).read(content))


def glyphs(cmap: bytes) -> Glyphs:
    """What a font's ToUnicode map says its glyphs mean. Raises: FormatError where it says too much."""
    found: dict[int, str] = {}
    told = 0
    for kind, section in _sections(cmap):
        numbers = [n.decode() for n in re.findall(rb"<([0-9A-Fa-f]+)>", section)]
        if any(len(n) > _MOST_DIGITS for n in numbers):
            raise FormatError(_MEANINGLESS)
        if kind == b"bfchar":
            found |= {int(g, 16): _utf16(m) for g, m in zip(numbers[::2], numbers[1::2], strict=False)}
        else:
            for first, last, start in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=False):
                steps = range(min(int(last, 16) - int(first, 16), 0xFFFF) + 1)
                told += len(steps)
                if told > _MOST_GLYPHS:
                    raise FormatError(_MEANINGLESS)
                for step in steps:
                    found[int(first, 16) + step] = _utf16(f"{int(start, 16) + step:0{len(start)}x}")
    return found


def _sections(cmap: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parts of a ToUnicode map that map glyphs, in one pass, whatever it holds."""
    at = 0
    while (begins := _SECTION.search(cmap, at)) is not None:
        at = cmap.find(b"end" + begins[1], begins.end())
        if at < 0:
            raise FormatError(_MEANINGLESS)
        yield begins[1], cmap[begins.end() : at]


_MEANINGLESS = "a font of the paper does not say what its glyphs mean"


def _utf16(digits: str) -> str:
    try:
        return bytes.fromhex(digits).decode("utf-16-be")
    except (ValueError, UnicodeDecodeError):
        raise FormatError(_MEANINGLESS) from None


class _Page:
    def __init__(self, fonts: Mapping[str, Glyphs]) -> None:
        self._fonts = fonts
        self._now = _State()
        self._kept: list[_State] = []
        self._text: Matrix = _IDENTITY
        self._marked = 0

    def read(self, content: bytes) -> Iterator[str]:
        for operator, operands in _operations(content):
            if operator in ("Tj", "TJ"):
                yield self._show(operands)
            elif operator not in _DRAWS:
                self._change(operator, operands)
        if self._kept or self._marked:
            raise FormatError("the drawing of a page is cut off")

    def _change(self, operator: str, operands: Sequence[Operand]) -> None:
        change = _CHANGES.get(operator)
        if change is None:
            raise FormatError(f"a page is drawn with {operator}, which no page of ours is")
        try:
            change(self, operands)
        except (IndexError, ValueError, TypeError):
            raise FormatError(f"a page's {operator} has other operands than it takes") from None

    def _keep(self, _: Sequence[Operand]) -> None:
        self._kept.append(self._now)
        if len(self._kept) > 64:
            raise FormatError("a page's drawing is nested too deep")

    def _restore(self, _: Sequence[Operand]) -> None:
        self._now = self._kept.pop()

    def _move(self, operands: Sequence[Operand]) -> None:
        self._now = replace(self._now, matrix=_times(_matrix(operands), self._now.matrix))

    def _clip(self, _: Sequence[Operand]) -> None:
        self._now = replace(self._now, clipped=True)

    def _colour(self, operands: Sequence[Operand]) -> None:
        self._now = replace(self._now, ink=tuple(_number(o) for o in operands))

    def _begin(self, _: Sequence[Operand]) -> None:
        self._text = _IDENTITY

    def _place(self, operands: Sequence[Operand]) -> None:
        self._text = _matrix(operands)

    def _choose(self, operands: Sequence[Operand]) -> None:
        name, size = operands
        if not isinstance(name, str) or name not in self._fonts:
            raise FormatError("a page is set in a font that it does not have")
        self._now = replace(self._now, font=name, size=_number(size))

    def _visible(self, operands: Sequence[Operand]) -> None:
        if operands != [0.0]:
            raise FormatError("text of a page is drawn so that nobody sees it")

    def _mark(self, operands: Sequence[Operand]) -> None:
        if "ActualText" in operands:
            raise FormatError("text of a page is said to be other than it is")
        self._marked += 1

    def _unmark(self, _: Sequence[Operand]) -> None:
        self._marked -= 1

    def _nothing(self, _: Sequence[Operand]) -> None:
        """End of text, a colour space: what is drawn is told by others."""

    def _show(self, operands: Sequence[Operand]) -> str:
        self._check_seen()
        known = self._fonts.get(self._now.font)
        if known is None:
            raise FormatError("a page shows text before it has chosen a font")
        out = []
        for part in operands[0] if operands and isinstance(operands[0], list) else operands:
            if isinstance(part, bytes):
                out += [self._meaning(known, part, at) for at in range(0, len(part), 2)]
        return "".join(out)

    def _meaning(self, known: Glyphs, shown: bytes, at: int) -> str:
        glyph = int.from_bytes(shown[at : at + 2], "big")
        if len(shown) % 2 or glyph not in known:
            raise FormatError("a page shows a glyph that means nothing")
        return known[glyph]

    def _check_seen(self) -> None:
        """Text lies on the page, large enough, unclipped, in an ink that is not the paper's colour."""
        a, b, _, d, x, y = _times(self._text, self._now.matrix)
        size = self._now.size * max(abs(a), abs(b)), self._now.size * abs(d)
        ink = "".join(f"{round(c * 255):02x}" for c in self._now.ink)
        if not (0 <= x <= PAGE[0] and 0 <= y <= PAGE[1]) or self._now.clipped:
            raise FormatError("text of a page lies where nobody sees it")
        if not all(SIZES[0] <= s <= SIZES[1] for s in size) or ink not in INKS:
            raise FormatError("text of a page is drawn so that nobody sees it")


_CHANGES: Mapping[str, Callable[[_Page, Sequence[Operand]], None]] = {
    "q": _Page._keep,
    "Q": _Page._restore,
    "cm": _Page._move,
    "W": _Page._clip,
    "scn": _Page._colour,
    "cs": _Page._nothing,
    "BT": _Page._begin,
    "ET": _Page._nothing,
    "Tm": _Page._place,
    "Tf": _Page._choose,
    "Tr": _Page._visible,
    "BDC": _Page._mark,
    "BMC": _Page._mark,
    "EMC": _Page._unmark,
}


def _operations(content: bytes) -> Iterator[tuple[str, list[Operand]]]:
    operands: list[Operand] = []
    array: list[float | bytes] | None = None
    value: Operand
    at = 0
    while at < len(content):
        match = _TOKEN.match(content, at)
        if match is None:
            raise FormatError("a page's drawing cannot be read")
        at = match.end()
        kind = match.lastgroup
        if kind == "text":
            value, at = _string(content, at)
        if kind == "word":
            yield match["word"].decode(), operands
            operands = []
        elif kind == "mark" and match["mark"] in (b"[", b"]"):
            array = _bracket(match["mark"] == b"[", array, operands)
        elif kind not in ("space", "mark", "line"):
            value = value if kind == "text" else _value(match)
            if array is None:
                operands.append(value)
            elif isinstance(value, float | bytes):
                array.append(value)
        if len(operands) > 64:
            raise FormatError("a page's drawing cannot be read")
    if operands or array is not None:
        raise FormatError("the drawing of a page is cut off")


def _bracket(
    opens: bool, array: list[float | bytes] | None, operands: list[Operand]
) -> list[float | bytes] | None:
    if opens is not (array is None):
        raise FormatError("a page's drawing cannot be read")
    if array is not None:
        operands.append(array)
    return [] if opens else None


def _value(match: re.Match[bytes]) -> float | bytes | str:
    if match["number"] is not None:
        if len(match["number"]) > _MOST_NUMBER:
            raise FormatError("a page's drawing cannot be read")
        return float(match["number"])
    if match["hex"] is not None:
        digits = match["hex"].decode()
        return bytes.fromhex(digits + "0" * (len(digits) % 2))
    return match["name"].decode("latin-1")


def _string(content: bytes, start: int) -> tuple[bytes, int]:
    """A literal string and where it ends; parentheses inside it come in pairs (ISO 32000-1, 7.3.4.2)."""
    depth = 1
    for match in _PAREN.finditer(content, start):
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        if depth == 0:
            return _ESCAPE.sub(_unescaped, content[start : match.start()]), match.end()
    raise FormatError("a page's drawing cannot be read")


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes([int(match[1], 8) & 255])
    return _ESCAPED.get(match[2], match[2])


def _number(operand: Operand) -> float:
    if not isinstance(operand, float):
        raise TypeError
    return operand


def _matrix(operands: Sequence[Operand]) -> Matrix:
    a, b, c, d, e, f = (_number(o) for o in operands)
    return a, b, c, d, e, f


def _times(one: Matrix, other: Matrix) -> Matrix:
    a, b, c, d, e, f = one
    g, h, i, j, k, l = other  # noqa: E741
    return a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + l
