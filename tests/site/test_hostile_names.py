"""Names are others' words: whatever they are, they stay text, on pages and in feeds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from page_reading import Page, allows_its_own_style, broken, pages, read

from cenotaph.site import folder, render
from cenotaph.site import pages as site_pages
from cenotaph.testing.ceremony import Ceremony
from cenotaph_proof import bundle as bundles
from cenotaph_proof.statements import App, HoldTerms, NamedReason

NAMES = {
    "tags": '"><script>alert(1)</script><img src=x onerror=alert(1)>',
    "quotes": 'O\'Brien & “Söhne” "GmbH" <b>&lt;b&gt;</b>',
    "emoji": "健康码 👩‍⚕️🏥 ٣",
    "templates": "{{ 7 * 7 }} {% raw %} ${x} {record|record|records} %s",
    "directions": "safe\u202egnp.exe\u2066 \u200b\u2028",
    "right to left": "عيادة שלום 12",
    "address": "javascript:alert(1) https://evil.example/ ../../etc/passwd",
    "broken XML": "]]> --> <!-- &amp; \ufffe\uffff",
    "long": "W" * 199,
}


def publish(to: Path, name: str) -> list[Page]:
    """The site of a case in which everything that can be named has this name."""
    case = Ceremony()
    charter = case.charter_body()
    stores = tuple(s.name for s in charter.stores)
    case.open(
        name=name,
        basis=name,
        contact=name,
        apps=(App(name, name, stores),),
        holds=(HoldTerms(name, name),),
        kept=(NamedReason(name, name),),
        recipients=(NamedReason(name, name),),
    )
    case.countersign()
    case.testify("Zhao & Partners", "objects", name, why=name)
    bundle = case.bundle()
    replayed = bundles.replay(bundle)
    folder.write(to, "case", site_pages.build(replayed, bundle, site_pages.Beside(), 1))
    return pages(to)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_stays_text(tmp_path: Path, name: str) -> None:
    """It makes no tag, attribute, link or program, and a reader sees all of it."""
    found = publish(tmp_path, name)
    front = read(tmp_path / "index.html")

    assert [f"{p.path.name}: {p.faults}" for p in found if p.faults] == []
    assert {t for p in found for t in p.tags} & {"script", "img", "b"} <= {"b"}
    assert [n for p in found for _, n, _ in p.attributes if n.startswith("on") or n == "src"] == []
    links = [link for p in found for link in p.links]
    assert [link for link in links if not re.fullmatch(r"[a-z0-9./#_-]+", link)] == []
    assert all(allows_its_own_style(p) for p in found)
    assert render.shown(name) in re.sub("[\u2068\u2069]", "", front.text)
    assert [b for b in broken(tmp_path, found) if "proof.cenotaph" not in b and "log/" not in b] == []


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_feed_with_such_a_name_is_xml(tmp_path: Path, name: str) -> None:
    """A strict parser reads it, and finds the name as text."""
    publish(tmp_path, name)

    for feed in ("feed.xml", "zh/feed.xml"):
        root = ElementTree.fromstring((tmp_path / feed).read_bytes())
        assert render.shown(name)[:20] in "".join(root.itertext())
        assert {e.tag.rpartition("}")[2] for e in root.iter()} <= {
            "feed", "entry", "id", "title", "updated", "author", "name", "link", "summary",
        }  # fmt: skip


def test_no_name_becomes_the_name_of_a_file(tmp_path: Path) -> None:
    """Paths are ours, or ordinals."""
    publish(tmp_path, NAMES["address"])
    files = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]

    assert len(files) > 20
    assert [f for f in files if not re.fullmatch(r"\.cenotaph-site\.\w+|[a-z./0-9-]+", f)] == []
    assert json.loads((tmp_path / folder.MANIFEST).read_bytes())["of"] == "case"


def test_what_turns_the_direction_of_writing_is_shown_as_what_it_is() -> None:
    """A name that runs from right to left stands apart; one that would turn its neighbours is spelled out."""
    said = render.Said("en")

    assert said.plain("site.objection", who="a\u202eb", about="x") == "a\\u202eb objects about x"
    assert said.plain("site.objection", who="x", about="שלום") == "x objects about \u2068שלום\u2069"
    assert said.plain("site.list", items={"list": ["שלום", "b"]}) == "\u2068שלום\u2069, b"
