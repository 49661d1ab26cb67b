"""PDFs of others that are sealed well, or cheat: of each our reading of seals says what must be said."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

pytest.importorskip("pyhanko", reason="papers take the extra cenotaph-proof[paper]")

from cenotaph_proof.errors import FormatError, SignatureError
from cenotaph_proof.paper import pdf as paper_pdf
from others_vectors import folder

NOTHING_CHANGED = {
    "pades-lta-dss-indirect-arrs-test.pdf",  # later revisions keep the seal checkable, and do nothing else
    "pades-with-old-style-signing-cert-attr-issser.pdf",
    "pades-with-old-style-signing-cert-attr.pdf",
}
CHANGED_UNDER_AN_INTACT_SEAL = {
    "coverage-anomalies/one-byterange.pdf",
    "coverage-anomalies/signature-gap-too-big.pdf",
    "coverage-anomalies/tail-uncovered.pdf",
    "coverage-anomalies/weird-byterange.pdf",
}
SIGNED_AGAIN = {  # the sneaky ones cheat with it; to us any second seal is one too many
    "form-update-ap-indirect-sneaky-trailer.pdf",
    "form-update-no-override-appearance-stream-ap-indirect-sneaky.pdf",
    "form-update-override-appearance-stream-ap-indirect-sneaky.pdf",
    "form-update-override-appearance-stream-sneaky.pdf",
    "minimal-signed-twice-both-created.pdf",
    "minimal-signed-twice-no-sig-type.pdf",
    "minimal-signed-twice-second-created.pdf",
    "pades-lta-dss-indirect-arrs-test-2.pdf",
}
NO_SEAL = {"coverage-anomalies/base.pdf"}  # zeros where a signature should be


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    root = folder() / "pyhanko-pdf"
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(Path(root).rglob("*.pdf"))
    }


def test_every_file_has_its_outcome(files: dict[str, bytes]) -> None:
    """Sixteen files, none left out: three are as they were sealed, thirteen are not."""
    assert set(files) == NOTHING_CHANGED | CHANGED_UNDER_AN_INTACT_SEAL | SIGNED_AGAIN | NO_SEAL
    for name, data in files.items():
        if name in NOTHING_CHANGED:
            assert paper_pdf.check_seals(data) is not None, name
        elif name in NO_SEAL:
            with pytest.raises(FormatError):
                paper_pdf.check_seals(data)
        else:
            with pytest.raises(SignatureError):
                paper_pdf.check_seals(data)


def test_a_seal_that_is_intact_and_valid_is_not_enough(files: dict[str, bytes]) -> None:
    """Of every cheating file pyHanko says intact and valid; only coverage and later changes give it away."""
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature

    for name in CHANGED_UNDER_AN_INTACT_SEAL | {n for n in SIGNED_AGAIN if "sneaky" in n}:
        first = PdfFileReader(io.BytesIO(files[name])).embedded_regular_signatures[0]
        status = validate_pdf_signature(first, paper_pdf._context([], None), skip_diff=True)

        assert status.intact, name
        assert status.valid, name
        with pytest.raises(SignatureError, match=paper_pdf.CHANGED):
            paper_pdf._check_coverage(first)
