"""The certificate in PDF as commands make and read it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyhanko", reason="papers take the extra cenotaph-proof[paper]")
pytest.importorskip("typst", reason="papers take the extra cenotaph-proof[paper]")

from by_command import CSV_ROWS, PEOPLE, Whole, command
from cenotaph import paper
from cenotaph.cli import papers
from cenotaph.desk import Desk
from cenotaph.errors import UsageError
from cenotaph_proof.paper import pdf as paper_pdf
from cenotaph_proof.paper import typeset as paper_typeset
from sealing_keys import SealingKeys
from small_case import STORES, SmallCase

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
    assert "自称“Big Data Bureau”的密钥为本 PDF 加盖了电子签章，签发者为“Seal Authority”" in told


def test_a_key_without_its_certificate_is_wrong_usage(whole: Whole) -> None:
    """Half an identity seals nothing."""
    assert "go together" in whole.ground.run("paper", "--seal-key", "file:seal.key", code=2).err


def test_before_the_certificate_there_is_no_paper(halfway: Whole) -> None:
    """Blocked, with the command that comes first."""
    assert "run: cenotaph certify" in halfway.ground.run("paper", code=4).err


def test_certifying_goes_without_a_paper_where_none_can_be_made(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A note says what is missing, or what was wrong, and which command makes up for it."""
    desk = Desk(whole.ground.case)
    monkeypatch.setattr(papers, "identity", _no_key)
    assert papers.beside(desk) is None
    monkeypatch.setattr(paper, "can_make", lambda: False)
    assert papers.beside(desk) is None

    missing, extra = capsys.readouterr().err.splitlines()
    assert (
        "no certificate.pdf: the key is at the notary's; when that is put right, run: cenotaph paper"
        in missing
    )
    assert "cenotaph[certificate]" in extra


def _no_key(*_: object) -> None:
    raise UsageError("the key is at the notary's")


def test_a_case_can_name_who_seals_its_paper(tmp_path: Path) -> None:
    """[seal] in case.toml; paths are the case's, and what is told on the command line comes first."""
    small = SmallCase.make(tmp_path, STORES)
    toml = small.path / "case.toml"
    toml.write_text(
        toml.read_text("utf-8") + '[seal]\nkey = "file:../keys/seal"\ncertificate = "seal.pem"\n', "utf-8"
    )
    who = papers.identity(small.desk(), None, None, None, "https://tsa.example/tsr")
    here = papers.identity(small.desk(), "file:/other.key", Path("other.pem"), None, None)

    assert who == paper.Identity(
        small.path / "../keys/seal", small.path / "seal.pem", None, "https://tsa.example/tsr"
    )
    assert here == paper.Identity(Path("/other.key"), Path("other.pem"), None, None)


def test_no_person_stands_on_the_paper(whole: Whole, tmp_path: Path) -> None:
    """Neither on a page nor in what is attached; the same search finds the name of a store."""
    whole.ground.run("paper", "--language", "en", "--out", tmp_path / "certificate.pdf")
    sheet = paper_pdf.read((tmp_path / "certificate.pdf").read_bytes())
    held = "".join(sheet.pages) + sheet.proof.decode()
    people = [f"Resident {n:04d} of Wuxi" for n in range(PEOPLE)]
    people += [f"1390000{n:04d}" for n in range(PEOPLE)] + [f"Visitor {n:04d}" for n in range(CSV_ROWS)]

    assert "register" in held
    assert [value for value in people if value in held] == []
