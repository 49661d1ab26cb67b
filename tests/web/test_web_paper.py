"""What the page takes out of a certificate in PDF: the one file that a reader of PDF finds attached to it."""

from __future__ import annotations

import base64
import random
import re
import zlib
from typing import Any

import pytest

from cenotaph_proof.errors import FormatError
from plain_paper import plain_objects, plain_paper, with_table

PROOF = b'{"attachments":0}\n'
OTHER = b'{"attachments":1}\n'
UNLIKE, WITHOUT = {"note": "page.paper.unlike"}, {"note": "page.paper.without"}


def taken(core: Any, pdf: bytes) -> Any:
    """The attachment, or the note that says why there is none."""
    answer = core.ask("paper", data=base64.b64encode(pdf).decode())["answer"]
    return base64.b64decode(answer["proof"]) if "proof" in answer else answer


def stream(data: bytes, more: bytes = b"/Type /EmbeddedFile /Filter /FlateDecode ") -> bytes:
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (more, len(data), data)


def replaced(old: bytes, new: bytes, attached: bytes = PROOF) -> bytes:
    objects = plain_objects(attached=attached)
    assert objects.count(old) == 1
    return with_table(objects.replace(old, new))


def with_decoy(objects: bytes, number: int) -> bytes:
    """Another stream that looks like a proof file in every way, attached to nothing."""
    decoy = b"%d 0 obj\n%b\nendobj\n" % (number, stream(zlib.compress(OTHER)))
    return b"%PDF-1.7\n" + decoy + objects.removeprefix(b"%PDF-1.7\n")


def later(pdf: bytes, number: int, body: bytes) -> bytes:
    """A revision after the file that writes one object anew."""
    before = re.findall(rb"startxref\n([0-9]+)", pdf)[-1]
    place = len(pdf)
    table = b"xref\n%d 1\n%010d 00000 n \n" % (number, place)
    written = b"%d 0 obj\n%b\nendobj\n" % (number, body)
    trailer = b"trailer\n<</Size 20 /Root 1 0 R /Prev %b>>\n" % before
    return pdf + written + table + trailer + b"startxref\n%d\n%%%%EOF\n" % (place + len(written))


def test_the_attachment_is_taken_out(core):
    """Deflated or not, in the first revision or the newest: the bytes that are attached."""
    bare = plain_objects(attached=PROOF).replace(
        stream(zlib.compress(PROOF)), stream(PROOF, b"/Type /EmbeddedFile ")
    )

    assert taken(core, plain_paper(attached=PROOF)) == PROOF
    assert taken(core, with_table(bare)) == PROOF
    assert taken(core, later(plain_paper(attached=PROOF), 11, stream(zlib.compress(OTHER)))) == OTHER


def test_what_only_looks_like_a_proof_file_is_passed_over(core):
    """A stream before the attachment, or after it, or inside another one, is not what is attached."""
    objects = plain_objects(attached=PROOF)
    decoy = stream(zlib.compress(OTHER))
    inside = b"14 0 obj\n%b\nendobj\n" % stream(b"15 0 obj\n%b\nendobj\n" % decoy, b"")

    assert taken(core, with_table(with_decoy(objects, 14))) == PROOF
    assert taken(core, with_table(objects + b"14 0 obj\n%b\nendobj\n" % decoy)) == PROOF
    assert taken(core, with_table(objects + inside)) == PROOF


def test_a_pdf_without_an_attached_proof_file_is_told(core):
    """Nothing attached, or something else, and a stream elsewhere that looks like one."""
    objects = plain_objects(attached=b"something else\n")
    nothing = objects.replace(b"/AF [10 0 R] ", b"").replace(
        b"/Names <</EmbeddedFiles <</Names [(a.cenotaph) 10 0 R]>>>>", b""
    )

    assert taken(core, with_table(with_decoy(objects, 14))) == WITHOUT
    assert taken(core, with_table(with_decoy(nothing, 14))) == WITHOUT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"[(a.cenotaph) 10 0 R]", b"[(a.cenotaph) 10 0 R (b.cenotaph) 10 0 R]"),
        (b"[(a.cenotaph) 10 0 R]", b"[]"),
        (b"/Names [(a.cenotaph) 10 0 R]", b"/Names [(a.cenotaph) 10 0 R] /Kids []"),
        (b"/AF [10 0 R]", b"/AF [10 0 R 10 0 R]"),
        (b"/AF [10 0 R]", b"/AF [12 0 R]"),
        (b"/AF [10 0 R] ", b""),
        (b"/AF [10 0 R]", b"/AF [10 0 R] /#41F [10 0 R]"),
        (b"/F 11 0 R /UF 11 0 R", b"/F 11 0 R /UF 5 0 R"),
        (b"/F 11 0 R /UF 11 0 R", b"/F 11 0 R"),
        (b"/F 11 0 R /UF 11 0 R", b"/F 11 0 R /UF 11 0 R /Unix 5 0 R"),
        (b"/Filter /FlateDecode", b"/Filter [/FlateDecode]"),
        (b"/Filter /FlateDecode", b"/Filter /ASCIIHexDecode"),
        (b"/Filter /FlateDecode", b"/Filter /FlateDecode /DecodeParms <</Predictor 12>>"),
        (b"/Filter /FlateDecode", b"/Filter /FlateDecode /F (elsewhere)"),
        (b"/Filter /FlateDecode /Length ", b"/Filter /FlateDecode /Length 1"),
        (b"/Lang (en)", b"/Lang (en) % 10 0 R\n"),
        (b"/MarkInfo <<", b"/MarkInfo <<" + b"[" * 50),
    ],
)
def test_a_pdf_that_readers_may_read_in_two_ways_gives_nothing(core, old, new):
    """Two attachments, lists that differ, other filters, keys twice: the page does not choose."""
    assert taken(core, replaced(old, new)) == UNLIKE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb"startxref\n[0-9]+", b"startxref\n0"),
        (rb"startxref\n[0-9]+", b"startxref\n9999999999"),
        (rb"%%EOF\n$", b"%%EOF\njunk"),
        (rb"^%PDF-", b"junk%PDF-"),
        (rb"/Root 1 0 R", b"/Root 1 0 R /Encrypt 7 0 R"),
        (rb"/Root 1 0 R", b"/Root 1 0 R /XRefStm 9"),
        (rb"/Root 1 0 R", b"/Root 1 0 R /Prev 0"),
        (rb"/Root 1 0 R", b"/Root 1 0 R /Prev (9)"),
        (rb"/Root 1 0 R", b"/Root 14 0 R"),
        (rb"/Root 1 0 R", b""),
        (rb"xref\n0 14", b"xref\n0 9999999"),
        (rb"00000 n", b"00001 n"),
    ],
)
def test_a_table_that_is_not_as_ours_gives_nothing(core, old, new):
    """Where objects begin is said in one way, from the first byte to the last."""
    pdf = plain_paper(attached=PROOF)
    changed = re.sub(old, new, pdf, count=1)
    assert changed != pdf

    assert taken(core, changed) == UNLIKE


def test_whatever_was_changed_it_is_the_attachment_or_nothing(core):
    """Bytes changed at random: what comes out is what Python's reader finds attached, if that finds one."""
    paper_pdf = pytest.importorskip("cenotaph_proof.paper.pdf")
    pytest.importorskip("pyhanko", reason="papers take the extra cenotaph-proof[paper]")

    def attached(data: bytes) -> bytes | None:
        try:
            with paper_pdf._quiet(), paper_pdf._refusing():
                return bytes(paper_pdf._attached(paper_pdf._reader(data))[1])
        except FormatError:
            return None

    dice = random.Random(3)
    pdf = plain_paper(attached=PROOF)
    start = pdf.index(b"10 0 obj")
    agreed = 0
    for _ in range(400):
        changed = bytearray(pdf)
        at = dice.randrange(start, len(pdf)) if dice.random() < 0.8 else dice.randrange(len(pdf))
        changed[at] = dice.choice((dice.randrange(256), *b"0123456789 /<>[]()\n"))
        found = taken(core, bytes(changed))
        assert found in (PROOF, UNLIKE, WITHOUT)
        if found == PROOF:
            theirs = attached(bytes(changed))
            assert theirs in (PROOF, None)
            agreed += theirs == PROOF
    assert agreed > 50
