"""Reading pages as a strict reader does: with the standard library's parser, and no mercy."""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

VOID = {"meta", "link", "br", "rect", "hr", "img", "input"}
BLOCKS = {"p", "li", "dt", "dd", "th", "td", "h1", "h2", "h3", "caption", "span"}
SCHEMES = re.compile(r"(?:https?|ftp|data|javascript|file|mailto):|^//", re.I)


@dataclass(slots=True)
class Page:
    """What a page is made of. `faults` are in words; a good page has none."""

    path: Path
    text: str = ""
    links: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def attribute_of(self) -> dict[tuple[str, str], str]:
        return {(tag, name): value for tag, name, value in self.attributes}


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__(convert_charrefs=True)
        self._page = page
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        page, names = self._page, [name for name, _ in attrs]
        if len(set(names)) != len(names):
            page.faults.append(f"<{tag}> has an attribute twice")
        page.tags.append(tag)
        for name, value in attrs:
            page.attributes.append((tag, name, value or ""))
            if name == "id":
                page.ids.append(value or "")
            if name in ("href", "src"):
                page.links.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self._page.faults.append(f"</{tag}> closes {self._open[-1:]}")
            return
        self._open.pop()
        if tag in BLOCKS:
            self._page.text += " "

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["style"], ["title"]):
            self._page.text += data

    def end(self) -> None:
        self.close()
        if self._open:
            self._page.faults.append(f"left open: {self._open}")


def read(path: Path) -> Page:
    page = Page(path)
    reader = _Reader(page)
    reader.feed(path.read_text("utf-8"))
    reader.end()
    page.faults += _form(page)
    return page


def _form(page: Page) -> list[str]:
    faults = []
    if len(set(page.ids)) != len(page.ids):
        faults.append(f"an id stands there twice: {page.ids}")
    if page.tags.count("h1") != 1 or page.tags.count("main") != 1:
        faults.append("a page has one h1 and one main")
    if ("html", "lang") not in page.attribute_of:
        faults.append("a page says its language")
    faults += [f"<{t} {n}>" for t, n, _ in page.attributes if n == "style" or n.startswith("on")]
    return faults


def pages(site: Path) -> list[Page]:
    """Every page of a site but the one that runs a program."""
    return [read(path) for path in sorted(site.rglob("*.html")) if path.name != "verify.html"]


def broken(site: Path, found: list[Page]) -> list[str]:
    """Links that lead nowhere, or out of the site."""
    ids = {p.path.resolve(): set(p.ids) for p in found}
    wrong = []
    for page in found:
        name = page.path.resolve().relative_to(site.resolve())
        for link in page.links:
            parts = urlsplit(link)
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
            if SCHEMES.search(link) or not target.is_relative_to(site.resolve()) or not target.is_file():
                wrong.append(f"{name}: {link}")
            elif parts.fragment and parts.fragment not in ids.get(target, set()):
                wrong.append(f"{name}: {link} (no such place)")
    return wrong


def allows_its_own_style(page: Page) -> bool:
    """Whether the hash that the page's policy names is that of the style in it."""
    text = page.path.read_text("utf-8")
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"'sha256-{digest}'" in text


def other_language(site: Path, page: Page) -> Path:
    name = page.path.relative_to(site).as_posix()
    return site / (name.removeprefix("zh/") if name.startswith("zh/") else posixpath.join("zh", name))


def reachable(site: Path, start: str = "index.html") -> list[Page]:
    """The pages that a reader comes to from the front page."""
    found: dict[Path, Page] = {}
    waiting = [(site / start).resolve()]
    while waiting:
        path = waiting.pop()
        if path in found or path.suffix != ".html" or path.name == "verify.html" or not path.is_file():
            continue
        found[path] = read(path)
        links = (urlsplit(link).path for link in found[path].links)
        waiting += [(path.parent / unquote(link)).resolve() for link in links if link]
    return list(found.values())
