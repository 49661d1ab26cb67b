"""Reading a paper: what is attached, what its pages say, who sealed it, what was changed since.

Takes the extra `cenotaph-proof[paper]`, and this is the one file that imports pyHanko. What surprises: of
a PDF that cheats, the signature is still *intact* and *valid*. Only how much of the file it covers, and what
was changed after it, give the cheat away; so both are always looked at (spec/paper.md, rule 10).
"""

from __future__ import annotations

import importlib.util
import io
import logging
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from cenotaph_proof.errors import FormatError, PaperError, SignatureError
from cenotaph_proof.paper import text as paper_text

if TYPE_CHECKING:
    from pyhanko.pdf_utils.decode_limits import DecodeLimits
    from pyhanko.pdf_utils.reader import HistoricalResolver, PdfFileReader
    from pyhanko.sign.validation import EmbeddedPdfSignature
    from pyhanko_certvalidator import ValidationContext

MAGIC = b"%PDF-"
# How asn1crypto and pyHanko's reader answer bytes that make no sense, beside errors of their own. The reader
# asserts of a file what a sound one has, and calls what it does not know not implemented (a RuntimeError).
_MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    OSError,
    struct.error,
)
MAX_BYTES = 640 << 20
MAX_PAGES = 2_000
MAX_OBJECTS = 200_000
# What a paper may inflate to: Deflate packs a thousand to one, and a paper is read in memory.
MIB = 1 << 20
MAX_RATIO, RATIO_FLOOR, MAX_STREAM = 100, 16 * MIB, 256 * MIB  # of one stream
MAX_OVER, MAX_TIMES, MAX_INFLATED = 64 * MIB, 16, 512 * MIB  # of all: so much, and so many times the file
SEAL = "paper 2"  # the step of spec/paper.md that errors about what was changed name
CHANGED = "the PDF was changed after it was sealed"
NO_PLAIN = "the PDF holds {what}, which no paper of ours does"

_ROOT = {
    "/Type",
    "/Pages",
    "/Metadata",
    "/OutputIntents",
    "/Lang",
    "/StructTreeRoot",
    "/MarkInfo",
    "/ViewerPreferences",
    "/Outlines",
    "/Names",
    "/AF",
    "/AcroForm",
    "/DSS",
    "/Extensions",
    "/Perms",
    "/Version",
}
_PAGE = {"/Type", "/Resources", "/MediaBox", "/StructParents", "/Tabs", "/Parent", "/Contents", "/Annots"}
_RESOURCES = {"/ProcSet", "/ColorSpace", "/Font"}
_BY_SEALING = {"/AcroForm", "/DSS", "/Extensions", "/Perms", "/Version", "/Metadata"}
# What acts, hides, or speaks in place of the words on the page.
_NEVER = {
    "/JS",
    "/JavaScript",
    "/OpenAction",
    "/AA",
    "/OC",
    "/OCProperties",
    "/OCGs",
    "/XFA",
    "/Launch",
    "/URI",
    "/GoToR",
    "/SubmitForm",
    "/ImportData",
    "/RichMedia",
    "/Movie",
    "/Sound",
    "/ActualText",
    "/Type3",
    "/E",
}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A seal that holds. `vouched`, `stamp_vouched`: an authority that the reader believes is behind it."""

    signer: str
    issuer: str
    vouched: bool
    time: int | None = None  # as the time-stamping authority states it
    authority: str | None = None
    stamp_vouched: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a paper holds: its words page by page, what stands beside the pages, what is attached."""

    pages: tuple[str, ...]
    spoken: tuple[str, ...]  # to those who hear the page, in place of pictures
    titles: tuple[str, ...]  # the title in both places that hold it
    outline: tuple[str, ...]  # the list of headings that a reader of PDF shows
    attachment: str
    described: str
    proof: bytes
    made_by: str
    keywords: str
    set_bytes: int  # where the file ends that was typeset, before any seal: at least so many bytes
    sealed: Sealed | None


def can_read() -> bool:
    """Whether papers can be read here: the extra is installed."""
    return importlib.util.find_spec("pyhanko") is not None


def read(data: bytes, roots: Sequence[bytes] = ()) -> Sheet:
    """Read a paper. `roots`: certificates (PEM) of authorities that the reader believes.

    Raises:
        PaperError: the extra is not installed.
        FormatError: not a PDF as ours are, or more than one file is attached.
        SignatureError: it was changed after it was sealed.
    """
    if not can_read():
        raise PaperError(
            "reading a certificate in PDF takes the extra: pip install 'cenotaph-proof[paper]'",
            hint="or save the file that is attached to the PDF with any PDF reader, and verify that",
        )
    if len(data) > MAX_BYTES:
        raise FormatError("the PDF is too large to be a paper of ours")
    with _quiet(), _refusing():
        reader = _reader(data)
        sealed = _sealed(reader, roots)
        _check_plain(reader)
        pages = list(_pages(reader))
        specification, proof = _attached(reader)
        info = reader.trailer_view["/Info"]
        return Sheet(
            pages=tuple(_words(page) for page in pages),
            spoken=tuple(_alternatives(reader)),
            titles=(str(info.get("/Title", "")), str(reader.document_meta_view.title)),
            outline=tuple(_outline(reader)),
            attachment=str(specification["/UF"]),
            described=str(specification.get("/Desc", "")),
            proof=proof,
            made_by=str(info.get("/Creator", "")),
            keywords=str(info.get("/Keywords", "")),
            set_bytes=reader.xrefs.get_startxref_for_revision(0),
            sealed=sealed,
        )


def check_seals(data: bytes, roots: Sequence[bytes] = ()) -> Sealed | None:
    """The seal of any PDF, if it has one, and that nothing was changed since.

    Raises: SignatureError; FormatError when it is no PDF.
    """
    with _quiet(), _refusing():
        reader = _reader(data)
        return _seal(reader, roots) if reader.embedded_signatures else None


# ── opening ──────────────────────────────────────────────────────────────────────────────────────


def _reader(data: bytes) -> PdfFileReader:
    from pyhanko.pdf_utils.reader import PdfFileReader

    reader = PdfFileReader(io.BytesIO(data), strict=True, decode_limits=_limits(len(data)))
    if reader.encrypted:
        raise FormatError(NO_PLAIN.format(what="encryption"))
    return reader


def _limits(size: int) -> DecodeLimits:
    """What a file of this size may inflate to. What is read twice, for another revision, counts twice."""
    from pyhanko.pdf_utils.decode_limits import DecodeLimits, DocumentDecodeBudget, StreamDecodeLimits

    return DecodeLimits(
        per_stream=StreamDecodeLimits(MAX_RATIO, RATIO_FLOOR, MAX_STREAM),
        document_budget=DocumentDecodeBudget(min(MAX_OVER + MAX_TIMES * size, MAX_INFLATED), max_ratio=0),
    )


@contextmanager
def _refusing() -> Iterator[None]:
    """What pyHanko and asn1crypto raise about bytes that are none: one refusal, in our words."""
    from pyhanko.pdf_utils.misc import PdfDecodeLimitError, PdfError
    from pyhanko_certvalidator.errors import ValidationError

    try:
        yield
    except PdfDecodeLimitError:
        raise FormatError("the PDF inflates to more than a paper of ours does") from None
    except (PdfError, ValidationError) as error:
        raise FormatError(f"the PDF cannot be read ({type(error).__name__})") from None
    except (*_MALFORMED, zlib.error) as error:
        raise FormatError(f"the PDF is malformed ({type(error).__name__})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """pyHanko logs what it then also raises or returns."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


# ── what it holds ────────────────────────────────────────────────────────────────────────────────


def _check_plain(reader: PdfFileReader) -> None:
    """Nothing that acts, hides or covers: our papers have pages of text, one attachment, perhaps a seal."""
    root = reader.root
    _only(set(root), _ROOT, "the document")
    _only(set(root["/Names"]), {"/EmbeddedFiles"}, "the document's names")
    for value in _all(root, set(), reader):
        if isinstance(value, str) and value in _NEVER:
            raise FormatError(NO_PLAIN.format(what=value.removeprefix("/")))


def _all(value: Any, seen: set[int], reader: PdfFileReader) -> Iterator[Any]:
    """Every name of a key or value that can be reached, each object once."""
    from pyhanko.pdf_utils import generic

    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, generic.IndirectObject):
            if item.idnum in seen:
                continue
            seen.add(item.idnum)
            if len(seen) > MAX_OBJECTS:
                raise FormatError("the PDF has more objects than a paper of ours")
            item = _resolved(item)
        if isinstance(item, generic.DictionaryObject):
            yield from item.keys()
            waiting += [item.raw_get(key) for key in item]
        elif isinstance(item, generic.ArrayObject):
            waiting += [item.raw_get(index) for index in range(len(item))]
        elif isinstance(item, generic.NameObject):
            yield item


def _each(array: Any) -> Iterator[Any]:
    """The items of an array, references followed, which its own iterator does not do."""
    return (array[index] for index in range(len(array)))


def _resolved(reference: Any) -> Any:
    return reference.get_object()


def _only(found: set[str], allowed: set[str], where: str) -> None:
    if found - allowed:
        more = min(found - allowed).removeprefix("/")
        raise FormatError(f"{where} of the PDF has {more}, which no paper of ours does")


def _pages(reader: PdfFileReader) -> Iterator[Any]:
    """The pages in order, each as plain as ours are."""
    waiting, count = [reader.root["/Pages"]], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MAX_PAGES:
            raise FormatError("the PDF has more pages than a paper of ours")
        if node["/Type"] == "/Pages":
            _only(set(node), {"/Type", "/Kids", "/Count", "/Parent"}, "a branch of pages")
            waiting += reversed(list(_each(node["/Kids"])))
        else:
            _check_page(node)
            yield node


def _check_page(page: Any) -> None:
    _only(set(page), _PAGE, "a page")
    _only(set(page["/Resources"]), _RESOURCES, "a page's resources")
    if tuple(round(float(x), 3) for x in page["/MediaBox"]) != (0, 0, 595.276, 841.89):
        raise FormatError("a page of the PDF is not of the size that ours are")
    for note in _each(page.get("/Annots", ())):
        left, bottom, right, top = (float(x) for x in note["/Rect"])
        if note["/Subtype"] != "/Widget" or note["/FT"] != "/Sig" or (left, bottom) != (right, top):
            raise FormatError(NO_PLAIN.format(what="something laid over a page"))
        _only(set(note), _FIELD, "the seal's field")


_FIELD = {"/Type", "/Subtype", "/FT", "/T", "/V", "/F", "/P", "/Rect", "/Lock", "/Ff", "/TU"}


def _words(page: Any) -> str:
    fonts = {}
    held = page["/Resources"]["/Font"]
    for name in held:
        font = held[name]
        if font["/Subtype"] != "/Type0" or font["/Encoding"] != "/Identity-H":
            raise FormatError(NO_PLAIN.format(what="another kind of font"))
        fonts[name.removeprefix("/")] = paper_text.glyphs(font["/ToUnicode"].data)
    return paper_text.words(page["/Contents"].data, fonts)


def _alternatives(reader: PdfFileReader) -> Iterator[str]:
    """What is said of pictures to those who hear the page."""
    from pyhanko.pdf_utils import generic

    waiting, seen = [reader.root.raw_get("/StructTreeRoot")], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, generic.IndirectObject):
            if item.idnum in seen:
                continue
            seen.add(item.idnum)
            item = _resolved(item)
        if isinstance(item, generic.DictionaryObject):
            if "/Alt" in item:
                yield str(item["/Alt"])
            if "/K" in item:
                waiting.append(item.raw_get("/K"))
        elif isinstance(item, generic.ArrayObject):
            waiting += [item.raw_get(index) for index in reversed(range(len(item)))]


def _outline(reader: PdfFileReader) -> Iterator[str]:
    waiting, seen = [reader.root["/Outlines"]], 0
    while waiting:
        item = waiting.pop()
        seen += 1
        if seen > MAX_PAGES:
            raise FormatError("the PDF has more headings than a paper of ours")
        if "/Title" in item:
            yield str(item["/Title"])
        waiting += [item[key] for key in ("/Next", "/First") if key in item]


def _attached(reader: PdfFileReader) -> tuple[Any, bytes]:
    """The one file that is attached, which both lists of attachments name: its specification, its bytes."""
    names, listed = reader.root["/Names"]["/EmbeddedFiles"], reader.root["/AF"]
    if set(names) != {"/Names"} or len(names["/Names"]) != 2 or len(listed) != 1:
        raise FormatError("the PDF does not have exactly one file attached")
    specification = names["/Names"][1]
    files = specification["/EF"]
    same = names["/Names"].raw_get(1) == listed.raw_get(0) and files.raw_get("/F") == files.raw_get("/UF")
    named = {str(specification["/UF"]), str(specification["/F"]), str(names["/Names"][0])}
    if not same or set(files) != {"/F", "/UF"} or len(named) != 1:
        raise FormatError("the PDF does not have exactly one file attached")
    return specification, files["/F"].data


# ── seals ────────────────────────────────────────────────────────────────────────────────────────


def _sealed(reader: PdfFileReader, roots: Sequence[bytes]) -> Sealed | None:
    """One revision that was typeset, one that seals it, and what keeps that checkable."""
    if not reader.embedded_signatures:
        if reader.total_revisions != 1 or "/AcroForm" in reader.root:
            raise FormatError("the PDF was changed after it was typeset", step=SEAL)
        return None
    seal = _seal(reader, roots)
    if reader.embedded_regular_signatures[0].signed_revision != 1:
        raise SignatureError("the PDF was changed between typesetting and sealing")
    _check_sealing(reader.get_historical_resolver(0), reader.get_historical_resolver(1))
    return seal


def _check_sealing(before: HistoricalResolver, after: HistoricalResolver) -> None:
    """The revision that seals adds a field for the seal, and changes nothing that anybody sees."""
    first = _first_page(before)
    free = {before.root_ref.idnum, first.idnum, before.trailer_view.raw_get("/Info").idnum}
    free.add(before.root.raw_get("/Metadata").idnum)
    if _numbers(before) & _numbers(after) - free:
        raise SignatureError("the PDF was changed between typesetting and sealing")
    _same(before.root, after.root, _BY_SEALING)
    _same(before(first), after(first), {"/Annots"})


def _numbers(file: Any) -> set[int]:
    """The objects that a revision writes."""
    return {reference.idnum for reference in file.explicit_refs_in_revision()}


def _first_page(file: HistoricalResolver) -> Any:
    node = file.root.raw_get("/Pages").reference
    while file(node)["/Type"] == "/Pages":
        node = file(node)["/Kids"].raw_get(0).reference
    return node


def _same(before: Any, after: Any, but: set[str]) -> None:
    for key in (set(before) | set(after)) - but:
        if key not in before or key not in after or before.raw_get(key) != after.raw_get(key):
            raise SignatureError("the PDF was changed between typesetting and sealing")


def _seal(reader: PdfFileReader, roots: Sequence[bytes]) -> Sealed:
    """The one seal, with every signature and document time stamp of the file checked."""
    seals = reader.embedded_regular_signatures
    if len(seals) != 1:
        raise SignatureError(f"the PDF carries {len(seals)} seals, not one")
    for stamp in reader.embedded_timestamp_signatures:
        _check_coverage(stamp)
        _check_stamp(stamp, roots)
    _check_coverage(seals[0])
    return _signer(reader, seals[0], roots)


def _check_coverage(signature: Any) -> None:
    """All of its revision is covered; nothing came later but what keeps it checkable (PAdES B-LTA)."""
    from pyhanko.sign.diff_analysis import DiffResult, ModificationLevel
    from pyhanko.sign.validation.status import SignatureCoverageLevel

    signature.compute_integrity_info()
    whole = signature.coverage >= SignatureCoverageLevel.ENTIRE_REVISION
    later = signature.diff_result
    if not whole or (
        later is not None
        and not (isinstance(later, DiffResult) and later.modification_level <= ModificationLevel.LTA_UPDATES)
    ):
        raise SignatureError(CHANGED)


def _check_stamp(signature: EmbeddedPdfSignature, roots: Sequence[bytes]) -> None:
    from pyhanko.sign.validation import validate_pdf_timestamp

    status = _apart(partial(validate_pdf_timestamp, signature, _context(roots, None), skip_diff=True))
    if not (status.intact and status.valid):
        raise SignatureError("a time stamp of the PDF does not verify")


def _signer(reader: PdfFileReader, signature: EmbeddedPdfSignature, roots: Sequence[bytes]) -> Sealed:
    """Who sealed, judged at the time that an authority states, if there is one, else now."""
    from pyhanko.sign.validation import validate_pdf_signature

    def status(at: datetime | None) -> Any:
        believed = _context(roots, at), _context(roots, at)
        return _apart(partial(validate_pdf_signature, signature, *believed, skip_diff=True))

    found = status(None)
    stamped = found.timestamp_validity
    if stamped is not None:
        found = status(stamped.timestamp)
        stamped = found.timestamp_validity
    if not (found.intact and found.valid) or (stamped is not None and not (stamped.intact and stamped.valid)):
        raise SignatureError("the seal of the PDF does not verify")
    certificate = signature.signer_cert
    return Sealed(
        signer=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        vouched=bool(found.trusted),
        time=int(stamped.timestamp.timestamp()) if stamped is not None else None,
        authority=_name(stamped.signing_cert.subject) if stamped is not None else None,
        stamp_vouched=bool(stamped is not None and stamped.trusted),
    )


def _apart(check: Callable[[], Any]) -> Any:
    """Its result, from a thread of its own: pyHanko starts an event loop, and ours may run one already."""
    with ThreadPoolExecutor(1) as own:
        return own.submit(check).result()


def _context(roots: Sequence[bytes], at: datetime | None) -> ValidationContext:
    """Believes the given authorities and nobody else, asks no network."""
    from pyhanko.keys import load_certs_from_pemder_data
    from pyhanko_certvalidator import ValidationContext

    held = [certificate for pem in roots for certificate in load_certs_from_pemder_data(pem)]
    return ValidationContext(trust_roots=held, allow_fetching=False, revocation_mode="soft-fail", moment=at)


def _name(name: Any) -> str:
    """An organisation's name out of a certificate's, which may be a person's too: as it stands there."""
    native = name.native
    for key in ("organization_name", "common_name"):
        value = native.get(key)
        if value:
            return value if isinstance(value, str) else ", ".join(value)
    return str(name.human_friendly)
