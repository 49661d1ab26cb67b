"""A paper that makes no sense is refused in our words, whatever the reader of PDF underneath says to it."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("pyhanko", reason="papers take the extra cenotaph-proof[paper]")

from cenotaph_proof.errors import FormatError
from cenotaph_proof.paper import pdf as paper_pdf
from plain_paper import plain_objects, plain_paper, with_table


def test_the_plain_paper_is_read() -> None:
    """Else refusing changes of it would show nothing."""
    sheet = paper_pdf.read(plain_paper())

    assert (sheet.pages, sheet.spoken, sheet.titles) == (("Abc",), ("D",), ("A", "A"))
    assert (sheet.outline, sheet.attachment, sheet.proof) == (("F",), "a.cenotaph", b"a proof\n")


def _table_is_a_page(pdf: bytes) -> bytes:
    """The reader asserts that a stream in the table's place is one."""
    place = pdf.index(b"11 0 obj")
    return re.sub(rb"startxref\n[0-9]+", b"startxref\n%d" % place, pdf)


def _unknown_filter(pdf: bytes) -> bytes:
    """What the reader does not know is not implemented, it says."""
    return with_table(plain_objects().replace(b"/FlateDecode", b"/JBIG2Decode"))


def _huge_box(pdf: bytes) -> bytes:
    """Numbers that no float holds."""
    return with_table(plain_objects().replace(b"595.276", b"9" * 400))


@pytest.mark.parametrize("changed", [_table_is_a_page, _unknown_filter, _huge_box])
def test_what_the_reader_of_pdf_does_not_bear_is_refused(changed) -> None:  # type: ignore[no-untyped-def]
    """Every one of these ended the command with a traceback."""
    with pytest.raises(FormatError, match="the PDF"):
        paper_pdf.read(changed(plain_paper()))
