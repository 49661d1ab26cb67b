"""A certificate on paper says what its proof file says, and nothing that says otherwise passes for it."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyhanko", reason="papers take the extra cenotaph-proof[paper]")
pytest.importorskip("typst", reason="papers take the extra cenotaph-proof[paper]")

import paper_forger as forger
from authorities import TimeStampAuthority
from cenotaph import paper as papers
from cenotaph.errors import UsageError
from cenotaph.testing.ceremony import Ceremony, as_stream
from cenotaph_proof import __main__, merkle, verify
from cenotaph_proof import bundle as bundles
from cenotaph_proof.errors import FormatError, PaperError, ProofError, SignatureError
from cenotaph_proof.paper import check as paper_check
from cenotaph_proof.paper import content as paper
from cenotaph_proof.paper import pdf as paper_pdf
from cenotaph_proof.paper import typeset as paper_typeset
from cenotaph_proof.statements import Certificate
from cenotaph_proof.trust import Authority
from cenotaph_proof.verdict import Verdict
from sealing_keys import SealingKeys

HAVE_CHINESE = paper_typeset.CJK in paper_typeset.families()
needs_chinese = pytest.mark.skipif(not HAVE_CHINESE, reason=f"the font {paper_typeset.CJK} is not here")


@pytest.fixture(scope="module")
def ceremony() -> Ceremony:
    return Ceremony(auditors=1, witness=1).run()


@pytest.fixture(scope="module")
def proof(ceremony: Ceremony) -> bytes:
    return ceremony.proof()


@pytest.fixture(scope="module")
def english(proof: bytes) -> bytes:
    return paper_typeset.typeset(paper.of(proof, "en"))


@dataclasses.dataclass(frozen=True)
class Seals:
    keys: SealingKeys
    tsa: TimeStampAuthority
    url: str

    def identity(self, tsa: str | None = None) -> papers.Identity:
        return papers.Identity(self.keys.key, self.keys.certificate, self.keys.chain, tsa)

    def roots(self) -> list[bytes]:
        return [self.keys.root.read_bytes(), self.tsa.root_file.read_bytes()]


@pytest.fixture(scope="module")
def seals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seals]:
    folder = tmp_path_factory.mktemp("seals")
    keys, tsa = SealingKeys(folder / "keys"), TimeStampAuthority(folder / "tsa", "Time Co")
    keys.believe(tsa.root_file.read_bytes())
    with tsa.serve() as url:
        yield Seals(keys, tsa, url)


@pytest.fixture(scope="module")
def sealed(english: bytes, seals: Seals) -> bytes:
    return papers.sealing.seal(english, seals.identity(seals.url))


def codes(found: Verdict) -> set[str]:
    return {line.code for line in (*found.proven, *found.attested, *found.not_shown) if "paper" in line.code}


# ── what a paper is ──────────────────────────────────────────────────────────────────────────────


@needs_chinese
def test_a_paper_in_both_languages_verifies_and_comes_out_the_same_again(proof: bytes) -> None:
    """Chinese and English in one file; set twice it is the same, byte for byte."""
    pdf = paper_typeset.typeset(paper.of(proof))

    found = {"proven.paper-typeset", "proven.paper-text", "not-shown.paper-unsealed"}
    assert codes(paper_check.check(pdf, None)) == found


def test_the_attached_file_is_the_proof_file(english: bytes, proof: bytes) -> None:
    """Byte for byte, under a name that a verifier knows."""
    sheet = paper_pdf.read(english)

    assert sheet.proof == proof
    assert sheet.attachment == "health-2023.cenotaph"
    assert verify.verify(as_stream(sheet.proof), None) == verify.verify(as_stream(proof), None)


def test_the_verdict_is_that_of_the_proof_file(english: bytes, proof: bytes, ceremony: Ceremony) -> None:
    """With a trust file a paper is verified as its proof file is; the paper only adds lines of its own."""
    alone, found = (
        verify.verify(as_stream(proof), ceremony.trust()),
        paper_check.check(english, ceremony.trust()),
    )

    assert found.exit_code == 0
    assert found.proven[: len(alone.proven)] == alone.proven
    assert [f.code for f in found.proven[len(alone.proven) :]] == [
        "proven.paper-typeset",
        "proven.paper-text",
    ]


def test_the_qr_code_says_where_the_certificate_stands_in_the_log(proof: bytes) -> None:
    """Four lines: format, origin, index, leaf hash, as spec/paper.md has them."""
    case, entries = verify.replayed(as_stream(proof), None), bundles.read(as_stream(proof)).entries
    form, origin, index, leaf, end = paper.of(proof, "en").scanned.split("\n")

    assert (form, origin, end) == ("cenotaph-certificate/v1", case.charter.origin, "")
    assert int(index) == case.require(Certificate).index
    assert leaf == paper.base64.b64encode(merkle.leaf_hash(entries[int(index)])).decode()


def test_the_file_claims_archive_and_accessibility(english: bytes, sealed: bytes) -> None:
    """PDF/A-3a and PDF/UA-1 are claimed before and after sealing; the pages are tagged."""
    for pdf in (english, sealed):
        for claim in (b"pdfaid:part", b"pdfaid:conformance", b"pdfuaid:part"):
            assert claim in pdf
        assert b"/Marked true" in pdf


@pytest.mark.parametrize("tool", [["qpdf", "--check"], ["pdfinfo"]])
def test_other_tools_find_no_fault(tool: list[str], sealed: bytes, tmp_path: Path) -> None:
    """qpdf finds nothing to warn of, and poppler reads the sealed file."""
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    (tmp_path / "sealed.pdf").write_bytes(sealed)
    run = subprocess.run([*tool, tmp_path / "sealed.pdf"], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "warning" not in (run.stdout + run.stderr).lower()


def test_names_cannot_turn_break_or_hide_what_is_printed() -> None:
    """Others' words stand on the paper as they are written, character by character."""
    assert paper.plain("a\u202eb\x00c\nd\u200b") == "a\\u202eb\\u0000c\\u000ad\\u200b"
    assert paper.plain("无锡市 – Zhao & Partners") == "无锡市 – Zhao & Partners"


def test_a_character_that_no_font_has_is_an_error_and_no_empty_box(proof: bytes) -> None:
    """What is extracted would not be what is seen; the message says what to do."""
    odd = dataclasses.replace(paper.of(proof, "en"), title="x")
    face = dataclasses.replace(odd.parts[0].face, issuer="\U000f0000")
    odd = dataclasses.replace(odd, parts=(dataclasses.replace(odd.parts[0], face=face),))

    with pytest.raises(PaperError, match="cannot be typeset"):
        paper_typeset.typeset(odd)


def test_without_the_chinese_font_chinese_is_refused_and_english_made(
    proof: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the font and the package; typst brings the fonts that English needs."""
    monkeypatch.setattr(paper_typeset, "families", lambda: ["Libertinus Serif"])

    with pytest.raises(PaperError, match="Noto Serif CJK SC") as error:
        paper_typeset.typeset(paper.of(proof, "zh"))
    assert "fonts-noto-cjk" in str(error.value.hint)
    assert paper_typeset.typeset(paper.of(proof, "en")).startswith(b"%PDF-1.7")


# ── without a seal ───────────────────────────────────────────────────────────────────────────────

REWRITTEN = {
    "a note over a page": forger.note_over_a_page,
    "a link": forger.link_to_elsewhere,
    "one more page": forger.one_more_page,
    "a second attachment": forger.second_attachment,
    "a script": forger.script,
    "a layer": forger.layer,
    "a form field": forger.form_field,
    "other words for who hears it": forger.said_otherwise,
    "another heading": forger.other_heading,
    "another title": forger.other_title,
    "an image": forger.other_picture,
    "one more glyph": forger.drawn(forger.text(b"f0", 1)),
    "text that nobody sees": forger.drawn(forger.text(b"f0", 1, mode=3)),
    "text in the paper's colour": forger.drawn(forger.text(b"f0", 1, ink="1 1 1")),
    "another operator": forger.drawn(b"/sh0 sh"),
    "a dashed line": forger.drawn(b"[1 2] 0 d"),
    "a line of another kind": forger.drawn(b"1 J"),
    "an unbalanced page": forger.drawn(b"q"),
}


@pytest.mark.parametrize("change", REWRITTEN.values(), ids=REWRITTEN)
def test_a_page_that_holds_something_else_is_refused(
    english: bytes, change: forger.Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever acts, covers, hides or adds is refused without setting the pages again."""
    monkeypatch.setattr(paper_typeset, "can_typeset", lambda: False)
    forged = forger.rewritten(english, change)

    with pytest.raises(ProofError) as error:
        paper_check.check(forged, None)
    assert str(error.value.step).startswith("paper")


def test_the_forger_can_also_write_an_honest_file(english: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewritten without a change it says the same: what was refused above was refused for the change."""
    copy = forger.rewritten(english, lambda _: None)
    monkeypatch.setattr(paper_typeset, "can_typeset", lambda: False)

    assert codes(paper_check.check(copy, None)) >= {"proven.paper-text", "not-shown.paper-typeset"}


def test_a_shape_over_the_words_is_found_by_setting_again_alone(
    english: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text below is right, and nobody sees it: without a typesetter the verdict says that this may be."""
    square = b"q /c0 cs 1 1 1 scn 60 500 m 300 500 l 300 600 l 60 600 l h f Q"
    forged = forger.rewritten(english, forger.drawn(square))
    with monkeypatch.context() as without:
        without.setattr(paper_typeset, "can_typeset", lambda: False)
        lines = {fact.code: fact.text for fact in paper_check.check(forged, None).not_shown}

    assert "Shapes drawn over the text" in lines["not-shown.paper-typeset"]
    with pytest.raises(FormatError, match="drawn otherwise than they say"):
        paper_check.check(forged, None)


def test_other_numbers_are_refused_and_named(proof: bytes) -> None:
    """The error shows what the paper says, and what follows."""
    honest = paper.of(proof, "en")
    face = dataclasses.replace(honest.parts[0].face, totals=(("180,848", "records sealed"),))
    forged = dataclasses.replace(honest, parts=(dataclasses.replace(honest.parts[0], face=face),))

    with pytest.raises(FormatError, match=r"the paper says “.*180,848.*” where .* “.*180,847"):
        paper_check.check(paper_typeset.typeset(forged), None)


def test_a_paper_of_another_edition_is_told_so(
    english: bytes, proof: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older layout is no forgery: that it was not set again is not shown, with the reason."""
    with monkeypatch.context() as older:
        older.setattr(paper_typeset, "edition", lambda: "edition-of-yesterday")
        pages = paper_typeset.typeset(paper.of(proof, "en"))
    line = paper_check.check(pages, None).not_shown[-2]

    assert line.code == "not-shown.paper-typeset"
    assert "another edition" in line.text


def test_a_paper_with_another_cases_proof_is_refused(proof: bytes) -> None:
    """An honest proof file does not lend its verdict to other pages."""
    other = Ceremony(auditors=2, witness=1).run().proof()
    forged = dataclasses.replace(paper.of(proof, "en"), proof=other)

    with pytest.raises(FormatError) as error:
        paper_check.check(paper_typeset.typeset(forged), None)
    assert error.value.step == "paper 4"


def test_a_proof_file_that_does_not_verify_is_refused_by_its_own_step(proof: bytes) -> None:
    """What is attached is verified as if it lay beside the paper."""
    forged = dataclasses.replace(paper.of(proof, "en"), proof=proof.replace(b'"entries":', b'"entries": ', 1))

    with pytest.raises(FormatError) as error:
        paper_check.check(paper_typeset.typeset(forged), None)
    assert error.value.step == "verify 1"


def test_digits_that_are_drawn_otherwise_than_they_say_are_caught_by_setting_them_again(
    proof: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forged font lets a program read what nobody sees. Text alone cannot tell; the typesetter can."""
    pages = paper_typeset.typeset(forger.with_digits_exchanged(paper.of(proof, "en"), "7", "8"))
    forged = forger.rewritten(pages, forger.meanings_exchanged("7", "8"))

    with pytest.raises(FormatError, match="drawn otherwise"):
        paper_check.check(forged, None)
    monkeypatch.setattr(paper_typeset, "can_typeset", lambda: False)
    assert "not-shown.paper-typeset" in codes(paper_check.check(forged, None))


def test_an_unsealed_paper_that_was_added_to_is_refused(english: bytes) -> None:
    """One revision is what was typeset; a second is somebody else's."""
    with pytest.raises(FormatError, match="changed after it was typeset"):
        paper_check.check(forger.added_to(english, lambda w: w.update_root()), None)


def test_a_cut_or_flipped_file_is_refused_or_the_same(
    english: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No place in the file makes the reader fail otherwise than by a refusal, or see other pages."""
    monkeypatch.setattr(paper_typeset, "can_typeset", lambda: False)
    verdict = paper_check.check(english, None)
    for at in range(5, len(english), len(english) // 4):
        for broken in (english[:at], english[:at] + bytes([english[at] ^ 1]) + english[at + 1 :]):
            try:
                assert paper_check.check(broken, None).certificate == verdict.certificate
            except ProofError:
                continue


# ── with a seal ──────────────────────────────────────────────────────────────────────────────────


def test_a_seal_names_who_sealed_and_when(sealed: bytes, seals: Seals, ceremony: Ceremony) -> None:
    """With authorities of the reader's own the seal is attested, and nothing about it is left open."""
    held = [Authority("any", pem) for pem in seals.roots()]
    trust = dataclasses.replace(ceremony.trust(), authorities=tuple(held))
    found = paper_check.check(sealed, trust)
    line = next(f for f in found.attested if f.code == "attested.paper-sealed")

    assert codes(found) == {"proven.paper-typeset", "proven.paper-text", "attested.paper-sealed"}
    assert line.text.startswith("Big Data Bureau sealed this PDF, by Seal Authority, at 20")
    assert "stamped by Time Co signer; nothing was changed since" in line.text


def test_a_seal_that_nobody_vouches_for_is_told_so(sealed: bytes, seals: Seals, ceremony: Ceremony) -> None:
    """Without authorities in the trust file neither the name nor the time of a seal is shown."""
    found = paper_check.check(sealed, ceremony.trust())

    assert {"not-shown.paper-seal-unknown", "not-shown.paper-stamp-unknown"} <= codes(found)
    assert found.attested[-1].text.startswith("a key calling itself Big Data Bureau sealed this PDF")


def test_a_seal_is_checked_also_where_an_event_loop_runs(sealed: bytes) -> None:
    """In a notebook, or in a server: an honest paper is not called malformed for where it is read."""

    async def somewhere() -> set[str]:
        return codes(paper_check.check(sealed, None))

    assert "attested.paper-sealed" in asyncio.run(somewhere())


def test_a_seal_adds_to_the_file_and_changes_nothing(english: bytes, sealed: bytes) -> None:
    """The bytes that were typeset come first, so that they can be compared for ever."""
    assert sealed.startswith(english)
    assert paper_pdf.read(sealed).pages == paper_pdf.read(english).pages


def test_without_an_authority_for_time_the_seal_has_none(english: bytes, seals: Seals) -> None:
    """B-B instead of B-LTA: sealed, and no line speaks of a time."""
    found = paper_pdf.read(papers.sealing.seal(english, seals.identity()), seals.roots()).sealed

    assert found is not None
    assert (found.vouched, found.time, found.authority) == (True, None, None)


AFTER = ("a note over a page", "one more page", "a script", "a form field", "an image")
LATER = {name: REWRITTEN[name] for name in AFTER} | {"a page drawn again": forger.drawn(b"q Q")}


@pytest.mark.parametrize("change", LATER.values(), ids=LATER)
def test_a_change_after_sealing_is_refused(sealed: bytes, change: forger.Change) -> None:
    """The seal stays intact and valid, as it does; what it covers and what came later give it away."""
    with pytest.raises(ProofError) as error:
        paper_check.check(forger.added_to(sealed, change), None)
    assert error.value.step == "paper 2"


def test_a_change_between_typesetting_and_sealing_is_refused(english: bytes, seals: Seals) -> None:
    """Whoever holds the sealing key cannot slip a revision under the seal."""
    changed = forger.added_to(english, forger.drawn(b"q Q"))

    with pytest.raises(SignatureError, match="between typesetting and sealing"):
        paper_check.check(papers.sealing.seal(changed, seals.identity()), None)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_flipped_byte_under_the_seal_is_refused(english: bytes, sealed: bytes, part: float) -> None:
    """Every byte that was typeset is covered."""
    at = int(len(english) * part)
    broken = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]

    with pytest.raises(ProofError):
        paper_check.check(broken, None)


def test_a_seal_taken_off_leaves_what_was_typeset(english: bytes, sealed: bytes) -> None:
    """Without its seal a paper is an unsealed paper, and says so; nothing pretends that there was one."""
    assert "not-shown.paper-unsealed" in codes(paper_check.check(sealed[: len(english)], None))


def test_a_sealing_key_that_others_can_read_is_not_used(english: bytes, seals: Seals, tmp_path: Path) -> None:
    """As with every other key; and a key that does not fit is an error in words."""
    key = tmp_path / "seal.key"
    key.write_bytes(seals.keys.key.read_bytes())
    key.chmod(0o644)

    with pytest.raises(UsageError, match="read by others"):
        papers.sealing.seal(english, dataclasses.replace(seals.identity(), key=key))


def test_an_authority_that_does_not_answer_is_an_error_in_words(english: bytes, seals: Seals) -> None:
    """Nothing is sealed without the time that was asked for."""
    with pytest.raises(UsageError, match="time-stamping authority"):
        papers.sealing.seal(english, seals.identity("http://127.0.0.1:9/tsr"))


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_the_command_reads_papers_and_refuses_with_the_step(
    english: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cenotaph-verify certificate.pdf`: 6 without a trust file as for a proof file, 3 where it is forged."""
    good, bad = tmp_path / "certificate.pdf", tmp_path / "forged.pdf"
    good.write_bytes(english)
    bad.write_bytes(forger.rewritten(english, forger.layer))

    assert __main__.verify_main([str(good)]) == 6
    assert "typeset anew here" in capsys.readouterr().out
    assert __main__.verify_main([str(good), "--compare", str(good)]) == 6
    assert __main__.verify_main([str(bad)]) == 3
    assert "does not verify at step 1 of spec/paper.md" in capsys.readouterr().err


def test_without_the_extra_the_command_says_how_to_get_the_file_out(
    english: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof file needs no extra; whoever cannot read the PDF can read that."""
    (tmp_path / "certificate.pdf").write_bytes(english)
    monkeypatch.setattr(paper_pdf, "can_read", lambda: False)

    assert __main__.verify_main([str(tmp_path / "certificate.pdf")]) == 1
    assert "save the file that is attached" in capsys.readouterr().err
