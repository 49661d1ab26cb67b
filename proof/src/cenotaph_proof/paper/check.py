"""Verifying a certificate on paper: the proof file in it, what its pages say, and its seal (spec/paper.md).

1. Read the PDF strictly: pages of text, one file attached, nothing that acts, hides or covers.
2. Nothing was changed after it was sealed; an unsealed one was never changed.
3. The attached proof file verifies by itself.
4. The words on the pages are exactly those that follow from it.
5. Where the same typesetter is installed, set the pages again: they are the same, byte for byte.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

from cenotaph_proof import verify
from cenotaph_proof.errors import FormatError, PaperError, ProofError, SignatureError
from cenotaph_proof.paper import content, pdf, typeset
from cenotaph_proof.paper.content import CHOICES, Paper
from cenotaph_proof.paper.pdf import Sealed, Sheet
from cenotaph_proof.trust import Trust
from cenotaph_proof.verdict import Fact, Verdict
from cenotaph_proof.words import phrase, time


def is_paper(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a PDF."""
    return head.startswith(pdf.MAGIC)


def inside(data: bytes) -> bytes:
    """The proof file in a paper, not verified. Raises: as `check` does at steps 1 and 2."""
    return pdf.read(data).proof


def check(data: bytes, trust: Trust | None) -> Verdict:
    """Verify a paper; the verdict is the proof file's, with what the paper itself adds.

    Raises: ProofError whose `step` names the step that failed.
    """
    roots = [authority.certificate for authority in trust.authorities] if trust is not None else []
    try:
        sheet = pdf.read(data, roots)  # (1), (2)
    except PaperError:
        raise
    except ProofError as error:
        error.step = error.step or (pdf.SEAL if isinstance(error, SignatureError) else "paper 1")
        raise
    verdict = verify.verify(io.BytesIO(sheet.proof), trust)  # (3)
    paper = _printed(sheet)  # (4)
    proven = [Fact("proven.paper-text", step="paper 4")]
    why = _typeset_again(sheet, paper, data)  # (5)
    not_shown = [Fact("not-shown.paper-typeset", {"why": why}, "paper 5")] if why else []
    if not why:
        proven = [Fact("proven.paper-typeset", step="paper 5"), *proven]
    attested = _seal_facts(sheet.sealed)
    return dataclasses.replace(
        verdict,
        proven=(*verdict.proven, *proven),
        attested=(*verdict.attested, *attested),
        not_shown=(*verdict.not_shown, *not_shown, *_unsealed(sheet.sealed)),
    )


def _printed(sheet: Sheet) -> Paper:
    """The paper of the attached proof file in the languages that the pages are in."""
    source = content.source(sheet.proof)
    due = [content.of(source, choice) for choice in CHOICES]
    found = "".join(_without_footer(sheet, due))
    for paper in due:
        if found == content.spoken(paper):
            _check_beside(sheet, paper)
            return paper
    nearest = max(due, key=lambda paper: _alike(found, content.spoken(paper)))
    said, follows = _where(found, content.spoken(nearest))
    hint = None
    if content.FORMAT not in sheet.keywords.split():
        hint = (
            "it says that it is of another format: verify it with the version that made it, or the file alone"
        )
    raise FormatError(
        f"the paper says “{said}” where its proof file says “{follows}”", step="paper 4", hint=hint
    )


def _without_footer(sheet: Sheet, due: list[Paper]) -> list[str]:
    """The pages' words, each page's mark and number taken off its end."""
    marks = [content.squeezed(paper.footer) for paper in due]
    words = []
    for number, page in enumerate(sheet.pages, 1):
        said = content.squeezed(page)
        ends = [f"{mark}{number}/{len(sheet.pages)}" for mark in marks]
        end = next((end for end in ends if said.endswith(end)), None)
        if end is None:
            raise FormatError(
                f"page {number} does not end with the certificate's mark and number", step="paper 4"
            )
        words.append(said.removesuffix(end))
    return words


def _check_beside(sheet: Sheet, paper: Paper) -> None:
    """What a reader of PDF shows beside the pages: titles, headings, the QR code's words, the attachment."""
    for what, said, due in (
        ("title", sheet.titles, (paper.title, paper.title)),
        ("list of headings", sheet.outline, tuple(content.headings(paper))),
        ("description of the QR code", sheet.spoken, tuple(part.face.qr for part in paper.parts)),
        ("name of the attached file", sheet.attachment, paper.attachment),
        ("description of the attached file", sheet.described, paper.described),
    ):
        if said != due:
            raise FormatError(f"the PDF's {what} is not what follows from the proof file", step="paper 4")


def _alike(found: str, due: str) -> int:
    """How many characters from the beginning are the same."""
    pairs = zip(found, due, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(found), len(due)))


def _where(found: str, due: str) -> tuple[str, str]:
    """The words around the first difference, as they are and as they should be."""
    at = _alike(found, due)
    start = max(0, at - 12)
    return found[start : at + 24], due[start : at + 24]


def _typeset_again(sheet: Sheet, paper: Paper, data: bytes) -> dict[str, Any] | None:
    """None where the pages come out the same byte for byte; else why that is not known, as a phrase.

    Raises: FormatError when they come out otherwise though nothing on this machine can be the reason.
    """
    if not typeset.can_typeset():
        return phrase("typeset.missing")
    if sheet.made_by != typeset.made_by():
        return phrase("typeset.version", version=typeset.made_by(), other=sheet.made_by)
    try:
        due = typeset.typeset(paper)
    except PaperError:
        return phrase("typeset.failed")
    if data.startswith(due) and sheet.set_bytes < len(due) and (sheet.sealed or len(data) == len(due)):
        return None
    if not _same_edition(sheet):
        return phrase("typeset.edition")
    if typeset.own_fonts_only(due):
        raise FormatError("the pages are drawn otherwise than they say", step="paper 5")
    return phrase("typeset.fonts")


def _same_edition(sheet: Sheet) -> bool:
    """Whether it says that it is of the words and the layout that are installed here."""
    return sheet.keywords.replace(",", " ").split() == [content.FORMAT, typeset.edition()]


def _seal_facts(sealed: Sealed | None) -> list[Fact]:
    if sealed is None:
        return []
    stamped = phrase("sealed.unstamped")
    if sealed.authority is not None:
        authority = _named(sealed.authority, vouched=sealed.stamp_vouched)
        stamped = phrase("sealed.stamped", time=time(sealed.time), authority=authority)
    signer = _named(sealed.signer, vouched=sealed.vouched)
    said = {"signer": signer, "issuer": sealed.issuer, "stamped": stamped}
    return [Fact("attested.paper-sealed", said, "paper 2")]


def _named(name: str, *, vouched: bool) -> dict[str, Any]:
    """A name in a certificate: anybody can write one that nobody whom the reader believes has checked."""
    return phrase("sealed.known" if vouched else "sealed.claimed", name=name)


def _unsealed(sealed: Sealed | None) -> list[Fact]:
    if sealed is None:
        return [Fact("not-shown.paper-unsealed", step="paper 2")]
    lines = []
    if not sealed.vouched:
        lines.append(Fact("not-shown.paper-seal-unknown", {"signer": sealed.signer}, "paper 2"))
    if sealed.authority is not None and not sealed.stamp_vouched:
        lines.append(Fact("not-shown.paper-stamp-unknown", {"signer": sealed.authority}, "paper 2"))
    return lines
