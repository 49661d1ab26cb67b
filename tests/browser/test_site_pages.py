"""The published site and the register in a browser: for every eye, on any screen, with nothing loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from page_reader import DESK, PHONE, VIOLATIONS, axe

from cenotaph.site import folder, pages, register
from cenotaph.testing.ceremony import AUDITORS, NOTARY, Ceremony
from cenotaph_proof import bundle as bundles
from cenotaph_proof.statements import PlanStep

pytest.importorskip("axe_playwright_python", reason="axe is not installed")

KINDS = ("index", "timeline", "verdict", "check", "statements/0001", "register")
STEPS = (
    PlanStep("switched off", "health code", ("notary",)),
    PlanStep("witnessed", "the shredding", ("auditor",)),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified case with steps and an objection, its site, and a register that lists it."""
    root = tmp_path_factory.mktemp("site")
    case = Ceremony(steps=STEPS)
    case.run(last="destroy")
    case.testify(NOTARY, "switched off", "health code")
    case.testify(AUDITORS[0], "objects", "the scope", why="an app is missing")
    case.run("probe", "certify")
    bundle = case.bundle()
    proof = bundles.write(bundle)
    beside = pages.Beside()
    files: dict[str, folder.Content] = {
        "log/checkpoint": case.checkpoints[max(case.checkpoints)],
        pages.PROOF: proof,
        **pages.build(bundles.replay(bundle), bundle, beside, len(proof)),
    }
    folder.write(root / "site", "case", files)
    (root / "list.toml").write_text(
        '[[operator]]\nname = "Bureau"\nlog = "site"\n[[operator]]\nname = "Gone"\nlog = "nowhere"\n'
    )
    register.run(root / "list.toml", root / "register", case.now)
    return root


def place(site: Path, kind: str, language: str) -> Path:
    part = Path("zh") if language == "zh" else Path()
    if kind == "register":
        return site / "register" / part / "index.html"
    return site / "site" / part / f"{kind}.html"


@pytest.mark.parametrize(
    ("language", "width", "scheme"),
    [("zh", PHONE, "light"), pytest.param("en", DESK, "dark", marks=pytest.mark.slow)],
)
def test_every_page_is_for_everyone(
    chromium: Any, site: Path, language: str, width: int, scheme: str
) -> None:
    """axe finds no violation, no page has to be pushed sideways, and each asks for itself alone."""
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    for kind in KINDS:
        page.goto(place(site, kind, language).as_uri())
        page.evaluate(axe())

        assert page.evaluate("document.documentElement.scrollWidth") <= width, kind
        assert page.evaluate(VIOLATIONS) == [], kind
    context.close()
    assert said == []
    assert len(asked) == len(KINDS)


def test_the_style_applies_and_the_page_is_walked_by_keys(chromium: Any, site: Path) -> None:
    """The hash in the policy lets the page's own style in; the first key leads past the head of the page."""
    page = chromium.new_page()
    page.goto(place(site, "index", "en").as_uri())
    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")

    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "864px"
    assert first == "Skip to the text"
    assert page.evaluate("location.hash") == "#main"
    page.close()


def test_a_page_prints_without_what_is_only_for_screens(chromium: Any, site: Path) -> None:
    """No navigation, nothing cut off at the side."""
    page = chromium.new_page()
    page.goto(place(site, "verdict", "zh").as_uri())
    page.emulate_media(media="print")

    assert not page.locator("nav").is_visible()
    assert page.locator("table").first.is_visible()
    assert page.pdf()[:5] == b"%PDF-"
    page.close()
