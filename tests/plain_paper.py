"""The smallest paper that is read as one, in plain text: changes to its bytes mean something."""

from __future__ import annotations

import re
import zlib

CMAP = b"1 beginbfchar\n<0001> <0041>\nendbfchar\n1 beginbfrange\n<0002> <0004> <0062>\nendbfrange\n"
DRAWING = (
    b"q 1 0 0 -1 0 841.8898 cm /c0 cs 0.10980392 0.12941177 0.14901961 scn /P <</MCID 0>> BDC "
    b"BT 0 Tr /f0 12 Tf 1 0 0 -1 99 99 Tm [<0001> -20 (\\000\\002\\0\\3)] TJ ET EMC Q\n10 10 m 20 20 l S\n"
)
_BOX = b"/MediaBox [0 0 595.276 841.89]"
_FONT = b"<</Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /ToUnicode 6 0 R>>"
_XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt><rdf:li xml:lang="en">A</rdf:li>'
    b'</rdf:Alt></dc:title></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_NUMBER = re.compile(rb"(?m)^([0-9]{1,3}) 0 obj\b")


def plain_paper(drawing: bytes = DRAWING, cmap: bytes = CMAP, attached: bytes = b"a proof\n") -> bytes:
    """The whole file, with the table of its objects."""
    return with_table(plain_objects(drawing, cmap, attached))


def plain_objects(drawing: bytes = DRAWING, cmap: bytes = CMAP, attached: bytes = b"a proof\n") -> bytes:
    """The file without its table, for whoever wants to change it first."""
    bodies = (
        b"<</Type /Catalog /Pages 2 0 R /StructTreeRoot 8 0 R /Outlines 9 0 R /AF [10 0 R] /Metadata 13 0 R\n"
        b"/Lang (en) /Names <</EmbeddedFiles <</Names [(a.cenotaph) 10 0 R]>>>> /MarkInfo <</Marked true>>>>",
        b"<</Type /Pages /Count 1 /Kids [3 0 R]>>",
        b"<</Type /Page /Parent 2 0 R %b /Resources <</Font 4 0 R>> /Contents 5 0 R>>" % _BOX,
        b"<</f0 %b>>" % _FONT,
        _stream(b"", drawing),
        _stream(b"", cmap),
        b"<</Title (A) /Creator (B) /Keywords (C)>>",
        b"<</Type /StructTreeRoot /K [<</S /Figure /Alt (D)>>]>>",
        b"<</Type /Outlines /First 12 0 R>>",
        b"<</Type /Filespec /F (a.cenotaph) /UF (a.cenotaph) /Desc (E) /EF <</F 11 0 R /UF 11 0 R>>>>",
        _stream(b"/Type /EmbeddedFile /Filter /FlateDecode ", zlib.compress(attached)),
        b"<</Title (F) /Parent 9 0 R>>",
        _stream(b"/Type /Metadata /Subtype /XML ", _XMP),
    )
    numbered = (b"%d 0 obj\n%b\nendobj\n" % (n, body) for n, body in enumerate(bodies, 1))
    return b"%PDF-1.7\n" + b"".join(numbered)


def with_table(objects: bytes) -> bytes:
    """Objects, with the table that says where each begins, and the trailer, after them."""
    places = {int(match[1]): match.start() for match in _NUMBER.finditer(objects)}
    most = max(places, default=0)
    lines = (
        b"%010d 00000 %b \n" % (places.get(n, 0), b"n" if n in places else b"f") for n in range(1, most + 1)
    )
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (most + 1) + b"".join(lines)
    trailer = b"trailer\n<</Size %d /Root 1 0 R /Info 7 0 R>>\n" % (most + 1)
    return objects + table + trailer + b"startxref\n%d\n%%%%EOF\n" % len(objects)


def _stream(more: bytes, data: bytes) -> bytes:
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (more, len(data), data)
