"""The words of a page are read in a time that grows with the file, whatever it holds."""

from __future__ import annotations

import time

import pytest

from cenotaph_proof.errors import FormatError
from cenotaph_proof.paper import text as paper_text


def test_a_font_says_what_its_glyphs_mean() -> None:
    """One by one, and by ranges."""
    cmap = b"beginbfchar <0001><0041> <0002><00660069> endbfchar beginbfrange <0003><0005><0043> endbfrange"

    assert paper_text.glyphs(cmap) == {1: "A", 2: "fi", 3: "C", 4: "D", 5: "E"}


@pytest.mark.parametrize(
    "cmap",
    [
        b"beginbfchar" * 100_000,
        b"beginbfchar<00><41>endbfrange" * 10_000,
        b"beginbfrange" + b"<0000> <8000> <00000041>\n" * 10_000 + b"endbfrange",
        b"beginbfrange<0000> <FFFF> <" + b"0041" * 100_000 + b"> endbfrange",
    ],
    ids=["no end", "another end", "ranges over and over", "long texts"],
)
def test_a_font_that_says_too_much_is_refused_at_once(cmap: bytes) -> None:
    """A few kilobytes, deflated, would else be read for hours."""
    begun = time.monotonic()

    with pytest.raises(FormatError):
        paper_text.glyphs(cmap)
    assert time.monotonic() - begun < 20


def test_a_number_longer_than_any_is_refused() -> None:
    """Three hundred digits are more than a float holds: no colour, size or place is meant."""
    fonts = {"f0": {1: "A"}}
    drawing = b"%b 0 0 scn BT /f0 12 Tf 1 0 0 1 99 99 Tm [<0001>] TJ ET"

    assert paper_text.words(drawing.replace(b"%b 0 0", INK), fonts) == "A"
    with pytest.raises(FormatError, match="cannot be read"):
        paper_text.words(drawing % (b"9" * 310), fonts)


INK = b"0.10980392 0.12941177 0.14901961"
