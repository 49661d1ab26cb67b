"""Setting the pages of a paper: typst lays out, segno draws the QR code. The only module that imports them.

PDF/A-3a and PDF/UA-1 in one file, with the proof file attached as its source. The same paper gives the same
bytes with the same version of typst and the same fonts, which is how a paper is checked (spec/paper.md).
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import importlib.util
import io
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from cenotaph_proof.errors import PaperError
from cenotaph_proof.paper.content import FORMAT, Paper

if TYPE_CHECKING:
    import typst

STANDARDS: list[Any] = ["a-3a", "ua-1"]
CJK = "Noto Serif CJK SC"
MIME = "application/x-ndjson"
_INK = "#1c2126"


def typeset(paper: Paper) -> bytes:
    """The PDF of a paper.

    Raises: PaperError when typst is not installed, or no font here has the characters that it needs.
    """
    if not can_typeset():
        raise PaperError(
            "setting the pages takes typst and segno",
            hint="run: pip install 'cenotaph[certificate]'; the proof file needs no paper",
        )
    import typst

    if any(part.language == "zh" for part in paper.parts) and CJK not in families():
        raise PaperError(
            f"the font {CJK} is not on this machine, and a paper in Chinese needs it",
            hint="install it (Debian: apt-get install fonts-noto-cjk), or ask for English alone",
        )
    template = resources.files(__package__).joinpath("paper.typ").read_bytes()
    given = {"paper": json.dumps(_given(paper), ensure_ascii=False), "proof": paper.proof.decode()}
    try:
        pdf = typst.compile(
            template, format="pdf", sys_inputs=given, pdf_standards=STANDARDS, font_paths=_fonts()
        )
    except typst.TypstError as error:
        # A character that no font has is an error of PDF/A: what is extracted would not be what is seen.
        raise PaperError(
            f"the paper cannot be typeset: {error.message}",
            hint="a name of the case may need a font that is not on this machine",
        ) from None
    assert isinstance(pdf, bytes)
    return pdf


def can_typeset() -> bool:
    """Whether pages can be set here: typst and segno are installed."""
    return all(importlib.util.find_spec(name) for name in ("typst", "segno"))


@functools.cache
def made_by() -> str:
    """The typesetter that is installed, as the PDFs that it makes name it."""
    import typst

    blank = typst.compile(b"", format="pdf", pdf_standards=["1.7"], timestamp=0)
    found = re.search(rb"/Creator ?\(([^)]*)\)", blank if isinstance(blank, bytes) else b"")
    return found[1].decode("latin-1") if found else ""


@functools.cache
def edition() -> str:
    """Which layout and words these are: a paper of another edition looks or reads otherwise."""
    digest = hashlib.sha256(resources.files(__package__).joinpath("paper.typ").read_bytes())
    for name in _WORDS:
        digest.update(resources.files("cenotaph_proof.words").joinpath(name).read_bytes())
    return f"edition-{digest.hexdigest()[:16]}"


_WORDS = ("en.json", "paper.en.json", "paper.zh.json", "texts.zh.json", "zh.json")


def own_fonts_only(pdf: bytes) -> bool:
    """Whether a PDF of ours is set in the fonts alone that typst brings: then each machine makes the same."""
    names = re.findall(rb"/FontName/[A-Z]{6}\+([\w-]+)", pdf.replace(b" ", b""))
    return bool(names) and all(name.startswith(_BROUGHT) for name in names)


def families() -> list[str]:
    """The fonts that there are here, typst's own included."""
    return list(_fonts().families())


_BROUGHT = (b"LibertinusSerif", b"DejaVuSansMono")


@functools.cache
def _fonts() -> typst.Fonts:
    import typst

    return typst.Fonts()


def _given(paper: Paper) -> dict[str, Any]:
    at = datetime.datetime.fromtimestamp(paper.issued, datetime.UTC)
    date = {name: getattr(at, name) for name in ("year", "month", "day", "hour", "minute", "second")}
    value = {f.name: getattr(paper, f.name) for f in dataclasses.fields(paper) if f.name != "proof"}
    return value | {
        "keywords": [FORMAT, edition()],
        "date": date,
        "leaf": list(paper.leaf),
        "mime": MIME,
        "qr": _qr(paper.scanned),
        "parts": [dataclasses.asdict(part) for part in paper.parts],
    }


def _qr(scanned: str) -> str:
    """The QR code as SVG. Level M: a quarter of a framed page may fade, or carry a coffee stain."""
    import segno

    sink = io.BytesIO()
    code = segno.make(scanned, error="m", micro=False)
    code.save(sink, kind="svg", xmldecl=False, nl=False, border=0, dark=_INK)
    return sink.getvalue().decode()
