"""Evidence and objections on the site: what testimony names is shown, and nothing else of the folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from page_reading import broken, pages, read

from cenotaph.site import folder
from cenotaph.site import pages as site_pages
from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, Ceremony
from cenotaph_proof import bundle as bundles
from cenotaph_proof import evidence
from cenotaph_proof.statements import Cite, PlanStep

STEPS = (
    PlanStep("witnessed", "the shredding", ("notary",)),
    PlanStep("witnessed", "the burning", ("notary",)),
)


def publish(to: Path, case: Ceremony, shown: dict[str, Path]) -> Path:
    bundle = case.bundle()
    replayed = bundles.replay(bundle)
    beside = site_pages.Beside(evidence=tuple(shown))
    files: dict[str, folder.Content] = {
        "log/checkpoint": b"",
        site_pages.PROOF: b"",
        **{site_pages.evidence_path(digest): path for digest, path in shown.items()},
        **site_pages.build(replayed, bundle, beside, 1),
    }
    folder.write(to, "case", files)
    return to


def test_a_file_that_testimony_names_can_be_taken_from_the_site(tmp_path: Path) -> None:
    """By its digest, with a link from the testimony's page; another file of the folder is not shown."""
    kept = tmp_path / "evidence"
    kept.mkdir()
    (kept / "film").write_bytes(bytes(32) + b"moving pictures")
    (kept / "private.jpg").write_bytes(b"not named by anybody")
    digest = hashlib.sha256((kept / "film").read_bytes()).hexdigest()
    case = Ceremony(steps=STEPS).run(last="plan")
    case.testify(NOTARY, "witnessed", "the shredding", evidence=(digest,))
    shown = dict(evidence.published(case.replay(), kept))
    site = publish(tmp_path / "site", case, shown)
    check = read(site / "check.html")

    assert list(shown) == [digest]
    assert (site / "evidence" / digest).read_bytes() == (kept / "film").read_bytes()
    assert f"evidence/{digest}" in check.links
    assert [p.name for p in (site / "evidence").iterdir()] == [digest]
    assert "1 file of evidence" in read(site / f"statements/{len(case.entries):04d}.html").text
    assert broken(site, pages(site)) == []


def test_steps_say_who_saw_them_and_who_has_not(tmp_path: Path) -> None:
    """What people are to see stands there with its testimony, or with the roles that are silent."""
    case = Ceremony(steps=STEPS).run(last="plan")
    case.testify(NOTARY, "witnessed", "the shredding")
    text = " ".join(read(publish(tmp_path / "site", case, {}) / "index.html").text.split())

    assert f"the shredding: witnessed Testified by {NOTARY}" in text
    assert "the burning: witnessed Nobody of this role has testified yet: notary." in text


def test_objections_stand_on_the_front_page_with_their_answers(tmp_path: Path) -> None:
    """Whoever objects is heard by everybody who reads the announcement, answered or not."""
    case = Ceremony().run(last="plan")
    first = case.testify(AUDITORS[0], "objects", "the scope", why="the venue app is missing")
    case.testify(NOTARY, "objects", "the recipients", why="a hospital has a copy")
    case.testify(OPERATOR, "answers", "the scope", Cite("testimony", first), why="it is in batch two")
    site = publish(tmp_path / "site", case, {})
    text = " ".join(read(site / "index.html").text.split())

    assert f"auditor {AUDITORS[0]} objects about the scope: the venue app is missing" in text
    assert f"operator {OPERATOR} answers: it is in batch two" in text
    assert f"notary {NOTARY} objects about the recipients: a hospital has a copy" in text
    assert text.count("Not answered.") == 1
    assert "异议" in read(site / "zh/index.html").text
