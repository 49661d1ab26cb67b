"""A forger of certificates in PDF: rewrites one, or adds to one, with the tools that we read it with."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

from pyhanko.pdf_utils import embed, generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import copy_into_new_writer

from cenotaph_proof.paper.content import Paper

Change = Callable[[Any], None]
name, number = generic.pdf_name, generic.NumberObject


def rewritten(pdf: bytes, change: Change) -> bytes:
    """The whole file written anew with a change in it: no trace of what was there before."""
    writer = copy_into_new_writer(PdfFileReader(io.BytesIO(pdf)))
    change(writer)
    return _written(writer)


def added_to(pdf: bytes, change: Change) -> bytes:
    """The file as it was, and a change after it."""
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    change(writer)
    return _written(writer)


def _written(writer: Any) -> bytes:
    sink = io.BytesIO()
    writer.write(sink)
    return sink.getvalue()


def _page(writer: Any, index: int = 0) -> Any:
    reference, _ = writer.find_page_for_modification(index)
    return writer.get_object(getattr(reference, "reference", reference))


def _touch(writer: Any, thing: Any) -> None:
    if isinstance(writer, IncrementalPdfFileWriter):
        writer.update_container(thing)


# ── what could be done to the pages ──────────────────────────────────────────────────────────────


def note_over_a_page(writer: Any) -> None:
    """An annotation that covers what is written."""
    note = generic.DictionaryObject(
        {
            name("/Type"): name("/Annot"),
            name("/Subtype"): name("/Square"),
            name("/Rect"): generic.ArrayObject(map(number, (60, 500, 300, 600))),
        }
    )
    page = _page(writer)
    page[name("/Annots")] = generic.ArrayObject([writer.add_object(note)])
    _touch(writer, page)


def link_to_elsewhere(writer: Any) -> None:
    """A link over the page that leads to the forger."""
    action = {name("/S"): name("/URI"), name("/URI"): generic.TextStringObject("https://forger.example/")}
    note = generic.DictionaryObject(
        {
            name("/Type"): name("/Annot"),
            name("/Subtype"): name("/Link"),
            name("/Rect"): generic.ArrayObject(map(number, (0, 0, 0, 0))),
            name("/A"): generic.DictionaryObject(action),
        }
    )
    page = _page(writer)
    page[name("/Annots")] = generic.ArrayObject([writer.add_object(note)])
    _touch(writer, page)


def one_more_page(writer: Any) -> None:
    """A page of the forger's own at the end."""
    pages = writer.root["/Pages"]
    copy = generic.DictionaryObject({k: _page(writer).raw_get(k) for k in _page(writer)})
    reference = writer.add_object(copy)
    pages["/Kids"].append(reference)
    pages[name("/Count")] = number(int(pages["/Count"]) + 1)
    _touch(writer, pages["/Kids"])
    _touch(writer, pages)


def second_attachment(writer: Any) -> None:
    """Another proof file beside the one that is there."""
    data = embed.EmbeddedFileObject.from_file_data(writer, b'{"format":"cenotaph-proof/v1"}\n')
    names = writer.root["/Names"]["/EmbeddedFiles"]["/Names"]
    files = generic.DictionaryObject({name("/F"): data.ein_ref if hasattr(data, "ein_ref") else data})
    other = generic.DictionaryObject({name("/Type"): name("/Filespec"), name("/EF"): files})
    names.append(generic.TextStringObject("other.cenotaph"))
    names.append(writer.add_object(other))
    _touch(writer, names)


def script(writer: Any) -> None:
    """JavaScript that runs when the file is opened."""
    action = {name("/S"): name("/JavaScript"), name("/JS"): generic.TextStringObject("app.alert(1)")}
    writer.root[name("/OpenAction")] = writer.add_object(generic.DictionaryObject(action))
    writer.update_root()


def layer(writer: Any) -> None:
    """Optional content, which one reader shows and another does not."""
    group = generic.DictionaryObject({name("/Type"): name("/OCG"), name("/Name"): generic.pdf_string("x")})
    groups = generic.ArrayObject([writer.add_object(group)])
    writer.root[name("/OCProperties")] = generic.DictionaryObject({name("/OCGs"): groups})
    writer.update_root()


def form_field(writer: Any) -> None:
    """A field for text, filled in."""
    field = generic.DictionaryObject(
        {
            name("/FT"): name("/Tx"),
            name("/T"): generic.TextStringObject("records"),
            name("/V"): generic.TextStringObject("97"),
            name("/Type"): name("/Annot"),
            name("/Subtype"): name("/Widget"),
            name("/Rect"): generic.ArrayObject(map(number, (60, 500, 300, 600))),
        }
    )
    reference = writer.add_object(field)
    form = generic.DictionaryObject({name("/Fields"): generic.ArrayObject([reference])})
    writer.root[name("/AcroForm")] = form
    writer.update_root()
    page = _page(writer)
    page[name("/Annots")] = generic.ArrayObject([reference])
    _touch(writer, page)


def said_otherwise(writer: Any) -> None:
    """Other words for those who hear the page."""
    element = writer.root["/StructTreeRoot"]
    element[name("/ActualText")] = generic.TextStringObject("97 of 97 records")
    _touch(writer, element)


def other_heading(writer: Any) -> None:
    """Another heading in the list that a reader of PDF shows."""
    heading = writer.root["/Outlines"]["/First"]
    heading[name("/Title")] = generic.TextStringObject("97 of 97 records destroyed")
    _touch(writer, heading)


def other_title(writer: Any) -> None:
    """Another title in the window's frame."""
    title = generic.TextStringObject("Certificate of something else")
    writer.set_info(generic.DictionaryObject({name("/Title"): title}))


def drawn(operators: bytes, index: int = 0) -> Change:
    """These operators after what a page draws already."""

    def change(writer: Any) -> None:
        page = _page(writer, index)
        content = page["/Contents"].data + b"\n" + operators
        page[name("/Contents")] = writer.add_object(generic.StreamObject(stream_data=content))
        _touch(writer, page)

    return change


def text(font: bytes, glyph: int, *, mode: int = 0, ink: str = "0.10980392 0.12941177 0.14901961") -> bytes:
    """Operators that show one glyph."""
    shown = b"<%04X>" % glyph
    return b"q /c0 cs %s scn BT %d Tr /%s 12 Tf 1 0 0 1 99 99 Tm [%s] TJ ET Q" % (
        ink.encode(),
        mode,
        font,
        shown,
    )


def other_picture(writer: Any) -> None:
    """An image over the page."""
    image = generic.StreamObject(
        dict_data={
            name("/Type"): name("/XObject"),
            name("/Subtype"): name("/Image"),
            name("/Width"): number(1),
            name("/Height"): number(1),
            name("/BitsPerComponent"): number(8),
            name("/ColorSpace"): name("/DeviceGray"),
        },
        stream_data=b"\xff",
    )
    page = _page(writer)
    resources = page["/Resources"]
    resources[name("/XObject")] = generic.DictionaryObject({name("/Im0"): writer.add_object(image)})
    _touch(writer, resources)
    drawn(b"q 400 0 0 400 50 300 cm /Im0 Do Q")(writer)


def with_digits_exchanged(paper: Paper, one: str, other: str) -> Paper:
    """The paper with every digit `one` printed as `other`, and the other way round."""
    table = str.maketrans(one + other, other + one)
    parts = tuple(
        dataclasses.replace(new, face=dataclasses.replace(new.face, qr=old.face.qr))
        for new, old in zip(_mapped(paper.parts, table), paper.parts, strict=True)
    )
    return dataclasses.replace(paper, parts=parts, footer=paper.footer.translate(table))


def _mapped(value: Any, table: dict[int, int]) -> Any:
    if isinstance(value, str):
        return value.translate(table)
    if isinstance(value, tuple):
        return tuple(_mapped(item, table) for item in value)
    fields = {f.name: _mapped(getattr(value, f.name), table) for f in dataclasses.fields(value)}
    return dataclasses.replace(value, **fields)


def meanings_exchanged(one: str, other: str) -> Change:
    """Every font says that its glyph of one digit is the other: a program reads what nobody sees."""
    # The second column of a bfchar line; the first holds glyph numbers, which look the same.
    a, b = (b"> <%04X>" % ord(digit) for digit in (one, other))
    done: set[int] = set()

    def change(writer: Any) -> None:
        for index in range(int(writer.root["/Pages"]["/Count"])):
            fonts = _page(writer, index)["/Resources"]["/Font"]
            for key in set(fonts):
                place = fonts.raw_get(key).idnum
                if place not in done:
                    done.add(place)
                    cmap = fonts[key]["/ToUnicode"].data.replace(a, b"> <>").replace(b, a).replace(b"> <>", b)
                    fonts[key][name("/ToUnicode")] = writer.add_object(generic.StreamObject(stream_data=cmap))

    return change
