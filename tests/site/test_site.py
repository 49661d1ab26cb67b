"""What anybody sees of a case, after each of its steps."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from pathlib import Path

import pytest
from page_reading import Page, allows_its_own_style, broken, other_language, pages, read
from site_steps import CONTACT, TAKEN, Published

from cenotaph.site import figures, render
from cenotaph_proof import draw, inclusion, merkle, trust, verify
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.log import Log
from cenotaph_proof.verdict import VERIFIED
from small_case import grep, people, values

ROOT = Path(__file__).resolve().parents[2]
WORDS = ROOT / "proof/src/cenotaph_proof/words"


def words(site: Path, name: str) -> str:
    return " ".join(read(site / name).text.split())


@pytest.mark.parametrize("step", TAKEN)
def test_every_page_is_whole_and_loads_nothing(published: Published, step: str) -> None:
    """Tags close, ids are single, nothing runs, nothing comes from elsewhere, every link leads somewhere."""
    site = published.at[step]
    found = pages(site)

    assert len(found) >= 10
    assert [f"{p.path.name}: {p.faults}" for p in found if p.faults] == []
    assert {t for p in found for t in p.tags} & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
    } == set()
    assert [p.path.name for p in found if not allows_its_own_style(p)] == []
    assert broken(site, found) == []


def test_a_page_that_is_not_whole_is_noticed(tmp_path: Path) -> None:
    """The checks above can fail."""
    page = tmp_path / "index.html"
    page.write_text(
        '<html lang="en"><main><h1 id="a">x</h1><p id="a" style="x"><a href="gone.html">y</a></main>'
    )
    found = read(page)

    assert len(found.faults) >= 3
    assert broken(tmp_path, [found]) == ["index.html: gone.html"]
    page.write_text(
        '<html lang="en"><main><h1>x</h1><a href="https://elsewhere.example/">y</a></main></html>'
    )
    assert read(page).faults == []
    assert len(broken(tmp_path, [read(page)])) == 1


def test_every_page_is_there_in_both_languages(published: Published) -> None:
    """Chinese pages are Chinese, and each page leads to itself in the other language."""
    for page in pages(published.site):
        other = other_language(published.site, page)
        assert other.is_file()
        assert any((page.path.parent / link).resolve() == other.resolve() for link in page.links)
        chinese = len(re.findall("[一-鿿]", page.text))
        assert chinese > 150 if "zh" in page.path.parts else chinese < 100, page.path


def test_the_announcement_says_what_people_must_know(published: Published) -> None:
    """Apps, numbers, what is kept and why, holds, recipients, who must sign, whom to write to."""
    text = words(published.at["plan"], "index.html")

    for said in (
        "健康码",
        "movement permission",
        "Venue code",
        "40 records L2",
        "Persons in them 30",
        "Nothing may be destroyed yet.",
        "Death certificates",
        "the archives act",
        "District court (case 21-443)",
        "10 records stay under a legal hold",
        "Statistics Office",
        "yearly report",
        f"Write to: {CONTACT}",
        "Has not approved the plan: auditor Audit Co, notary Zhao & Partners.",
        "At least so many organisations must approve the plan: auditor: 1, notary: 1.",
        "健康码: switched off",
        "3 days",
    ):
        assert said in text, said


def test_the_earliest_time_is_the_end_of_the_notice_that_the_witnesses_saw(published: Published) -> None:
    """Before it the case lets nothing be destroyed; before the last approval there is no such time."""
    at = datetime.datetime.fromtimestamp(published.begins, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    assert f"Nothing may be destroyed before {at}. Until then, object." in words(
        published.at["admitted"], "index.html"
    )
    assert f"{at} 之前不得销毁任何数据" in words(published.at["admitted"], "zh/index.html")
    assert "Nothing may be destroyed before" not in words(published.at["plan"], "index.html")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("open", "Still to countersign the charter: auditor Audit Co, notary Zhao & Partners."),
        ("survey", "Surveyed. Nothing may be destroyed yet."),
        ("destroy", "Auditors have yet to search what is left. To search what is left: auditor Audit Co."),
        ("probe", "Destroyed and searched. The certificate has not been signed yet."),
        ("certify", "Destroyed, searched and certified."),
    ],
)
def test_the_front_page_says_where_the_case_stands(published: Published, step: str, said: str) -> None:
    """In one sentence, after every step, and who is next."""
    assert said in words(published.at[step], "index.html")


def test_the_verdict_is_there_before_the_certificate_and_the_certificate_after_it(
    published: Published,
) -> None:
    """Grades and who can no longer bring it back stand beside the three lists; before, the lists so far."""
    before, after = (words(published.at[s], "verdict.html") for s in ("plan", "certify"))

    assert "The verdict so far" in before
    assert "Certificate of destruction" not in before
    assert "Nothing excludes a copy made before the seal" in before
    assert "Certificate of destruction" in after
    assert "40 of 40 sealed records destroyed" in after
    assert "L2 store-clean 20 20 the store's administrators" in after
    assert "a key calling itself Audit Co" in after
    assert "all 1 chunk were read, and 1 matched" in after


def test_every_statement_has_a_page_with_its_file_and_its_place_in_the_log(published: Published) -> None:
    """The inclusion proof that a page prints leads from the signed file to the root that it prints."""
    case = published.case.now()
    for entry in case.entries:
        page = published.site / f"statements/{entry.index + 1:04d}.html"
        data = (page.with_suffix(".json")).read_bytes()
        hashes = [
            bytes.fromhex(h) for h in re.findall(r"<code>([0-9a-f]{64})</code>", page.read_text("utf-8"))
        ]
        _key, digest, leaf, root, *path = hashes
        size = int(re.findall(r"over (\d+) statement", read(page).text)[0])

        assert digest.hex() == entry.digest
        assert leaf == merkle.leaf_hash(data)
        merkle.verify_inclusion(entry.index, size, leaf, path, root)
        proof = inclusion.InclusionProof.parse(page.with_suffix(".tlog-proof").read_bytes())
        held = trust.load(published.case.root / "trust.toml")
        seen = inclusion.check(proof, data, PublicKey.load(published.case.key("bureau.pub")), held)
        assert (seen.index, seen.complete) == (entry.index, case.cosigned_time(entry.index))


def test_the_timeline_has_every_statement_with_the_time_of_the_witnesses(published: Published) -> None:
    """In the order of the log."""
    case = published.case.now()
    text = (published.site / "timeline.html").read_text("utf-8")
    numbers = [int(n) for n in re.findall(r'<li id="s(\d+)">', text)]

    assert numbers == [e.index + 1 for e in case.entries]
    for entry in case.entries:
        time = case.cosigned_time(entry.index)
        assert time is not None
        at = datetime.datetime.fromtimestamp(time, datetime.UTC)
        assert at.strftime('<time datetime="%Y-%m-%dT%H:%M:%SZ">') in text


def test_the_site_holds_a_log_that_others_read(published: Published) -> None:
    """Tiles, entries and checkpoint lie where C2SP tlog-tiles puts them, and nothing else lies there."""
    operator = PublicKey.load(published.case.key("bureau.pub"))
    log = Log.open(published.site / "log", operator=operator)
    files = {
        p.relative_to(published.site / "log").as_posix()
        for p in (published.site / "log").rglob("*")
        if p.is_file()
    }

    assert log.size == len(published.case.now().entries)
    assert list(log.entries()) == list(published.case.desk().bundle().entries)
    for name in files:
        assert re.fullmatch(r"checkpoint|tile/(\d|entries)/(x\d{3}/)*\d{3}(\.p/\d+)?|cosigned/\d+", name), (
            name
        )


def test_the_proof_file_of_the_site_verifies(published: Published) -> None:
    """What readers take from the site is what the operator certified."""
    held = trust.load(published.case.root / "trust.toml")

    assert verify.verify_file(published.site / "proof.cenotaph", held).exit_code == VERIFIED
    assert (published.site / "proof.cenotaph").read_bytes() == published.case.desk().proof_path().read_bytes()


def test_no_value_of_a_record_is_anywhere_on_the_site(published: Published) -> None:
    """Nor in its log, its proof file or its feeds, after any step."""
    needles = values([*people(0, 20), *people(100, 10), *people(200, 10), *people(300, 10)])
    planted = published.case.root / "planted"
    planted.mkdir(exist_ok=True)
    (planted / "page.html").write_bytes(b"<p>" + needles[0])

    assert grep(planted, needles) == [planted / "page.html"]
    for site in published.at.values():
        assert grep(site, needles) == []


def test_publishing_again_changes_no_byte(published: Published) -> None:
    """Pages depend on statements alone: no clock, no order of a dict, no name of a machine."""
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in _files(published.case.root / "site")}
    published.clock.pass_(5)
    published.case.publish()
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in _files(published.case.root / "site")}

    assert len(before) > 40
    assert {p: v for p, v in after.items() if p.name != ".cenotaph-site.json"} == {
        p: v for p, v in before.items() if p.name != ".cenotaph-site.json"
    }


def _files(site: Path) -> list[Path]:
    return sorted(p for p in site.rglob("*") if p.is_file())


def test_bounds_in_charts_are_those_of_the_challenge(published: Published) -> None:
    """As many clean chunks as the bound needs show it, one fewer does not; all of them leave no doubt."""
    for bound, confidence in ((10_000, 990_000), (1_000, 990_000), (50_000, 950_000)):
        needed = draw.needed(bound, confidence)

        assert figures.bound(10**9, needed, confidence) <= bound
        assert figures.bound(10**9, needed - 1, confidence) > bound
    assert figures.bound(7, 7, 990_000) == 0
    assert [s.bound_ppm for s in figures.sampled(published.case.now())] == [0, 0]


def test_the_words_of_the_site_are_complete_in_both_languages() -> None:
    """Every code that a template or a module says is in both catalogues, with the same arguments."""
    tables = {k: json.loads((WORDS / f"site.{k}.json").read_text("utf-8")) for k in ("en", "zh")}
    arguments = {k: {c: _arguments(t) for c, t in table.items()} for k, table in tables.items()}
    sources = [*(ROOT / "src/cenotaph/site").rglob("*.html"), *(ROOT / "src/cenotaph/site").glob("*.py")]
    said = {
        c
        for s in sources
        for c in re.findall(r"""["'](site\.(?!css)[a-z.-]+[a-z0-9])["']""", s.read_text("utf-8"))
    }

    assert arguments["en"] == arguments["zh"]
    assert len(said) > 100
    assert said - set(tables["en"]) == set()


def _arguments(template: str) -> set[str]:
    return {name for name in re.findall(r"\{([a-z_]+)", template) if name != "unit"}


def test_the_style_of_the_pages_is_quiet() -> None:
    """It names no address, so that no page can load anything by it."""
    assert "url(" not in render.style()
    assert "@import" not in render.style()
    assert "http" not in render.style()


def test_pages_know_of_the_verifying_page_only_where_there_is_one(published: Published) -> None:
    """A link to verify.html is there exactly where the file is."""
    check: Page = read(published.site / "check.html")

    assert ("verify.html" in check.links) == (published.site / "verify.html").is_file()


def test_the_page_that_checks_is_the_one_of_this_repository(published: Published) -> None:
    """It is published with every case, and travels inside the wheel."""
    kept = ROOT / "web" / "verify.html"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert (published.site / "verify.html").read_bytes() == kept.read_bytes()
    assert carried == {"web/verify.html": "cenotaph/site/verify.html"}
