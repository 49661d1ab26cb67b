"""A paper that makes no sense is refused in our words, whatever the reader of PDF underneath says to it."""

from __future__ import annotations

import re
import tracemalloc
import zlib

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


def _bomb(inflated: int, layers: int = 1) -> bytes:
    """Zeros that were deflated, and deflated again."""
    data = bytes(inflated)
    for _ in range(layers):
        data = zlib.compress(data, 9)
    return data


def _attached(data: bytes, filters: bytes) -> bytes:
    """A paper with these bytes as they are in place of its attachment."""
    old = re.compile(rb"11 0 obj\n.*?endstream\n", re.S)
    stream = b"<</Filter %b /Length %d>>\nstream\n%b\nendstream\n" % (filters, len(data), data)
    return with_table(old.sub(lambda _: b"11 0 obj\n" + stream, plain_objects()))


@pytest.mark.parametrize(("layers", "filters"), [(1, b"/FlateDecode"), (2, b"[/FlateDecode /FlateDecode]")])
def test_a_bomb_is_refused_before_it_goes_off(layers: int, filters: bytes) -> None:
    """A small file that inflates to very much ends with a refusal, in little memory."""
    paper = _attached(_bomb(64 << 20, layers), filters)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="inflates to more than a paper of ours"):
            paper_pdf.read(paper)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 64 << 20


def test_many_small_bombs_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a file inflates to is counted together, not stream by stream."""
    paper = plain_paper(attached=b"a proof\n" * 1000)
    assert paper_pdf.read(paper).proof
    monkeypatch.setattr(paper_pdf, "MAX_OVER", 5000 - paper_pdf.MAX_TIMES * len(paper))

    with pytest.raises(FormatError, match="inflates to more"):
        paper_pdf.read(paper)


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
