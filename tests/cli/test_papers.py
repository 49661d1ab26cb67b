"""The certificate in PDF as commands make and read it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyhanko", reason="papers take the extra cenotaph-proof[paper]")
pytest.importorskip("typst", reason="papers take the extra cenotaph-proof[paper]")

from by_command import CSV_ROWS, PEOPLE, Whole, command
from cenotaph_proof import paper_pdf, paper_typeset
from sealing_keys import SealingKeys

needs_chinese = pytest.mark.skipif(
    paper_typeset.CJK not in paper_typeset.families(), reason=f"the font {paper_typeset.CJK} is not here"
)


@needs_chinese
def test_certifying_writes_a_paper_that_verifies(whole: Whole) -> None:
    """`certify` names it, and `cenotaph-verify` reads it as it reads the proof file."""
    pdf = Path(whole.ran["certify"].value["paper"])
    ran = command("cenotaph-verify", pdf, "--trust", whole.ground.root / "trust.toml", "--json")

    assert pdf == whole.ground.case / "certificate.pdf"
    assert ran.value["verdict"] == "verified"
    assert {"proven.paper-typeset", "proven.paper-text"} <= {line["code"] for line in ran.value["proven"]}


def test_a_paper_is_sealed_with_the_key_that_is_named(whole: Whole, tmp_path: Path) -> None:
    """One language, another place, a seal without a stamp; the verdict names the seal."""
    keys, out = SealingKeys(tmp_path / "keys"), tmp_path / "sealed.pdf"
    named = ["--seal-key", f"file:{keys.key}", "--seal-cert", keys.certificate, "--seal-chain", keys.chain]
    ran = whole.ground.run("paper", "--language", "en", "--out", out, *named)

    assert ran.value == {"stage": "paper", "paper": str(out), "sealed": True}
    told = command("cenotaph-verify", out, "--language", "zh", code=6).out
    assert "“Big Data Bureau”为本 PDF 加盖了电子签章，签发者为“Seal Authority”" in told


def test_a_key_without_its_certificate_is_wrong_usage(whole: Whole) -> None:
    """Half an identity seals nothing."""
    assert "go together" in whole.ground.run("paper", "--seal-key", "file:seal.key", code=2).err


def test_before_the_certificate_there_is_no_paper(halfway: Whole) -> None:
    """Blocked, with the command that comes first."""
    assert "run: cenotaph certify" in halfway.ground.run("paper", code=4).err


def test_no_person_stands_on_the_paper(whole: Whole, tmp_path: Path) -> None:
    """Neither on a page nor in what is attached; the same search finds the name of a store."""
    whole.ground.run("paper", "--language", "en", "--out", tmp_path / "certificate.pdf")
    sheet = paper_pdf.read((tmp_path / "certificate.pdf").read_bytes())
    held = "".join(sheet.pages) + sheet.proof.decode()
    people = [f"Resident {n:04d} of Wuxi" for n in range(PEOPLE)]
    people += [f"1390000{n:04d}" for n in range(PEOPLE)] + [f"Visitor {n:04d}" for n in range(CSV_ROWS)]

    assert "register" in held
    assert [value for value in people if value in held] == []
