"""A browser for the tests of the page: Debian's Chromium, started once, the page opened from the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from page_reader import DESK, Reader, module_at

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
ROOT = Path(__file__).resolve().parents[2]

# Asks many cases in one go: each gives what came out, or the words "refused" where it is a ProofError.
ASK = """async ([name, cases]) => {
  const answers = [];
  for (const given of cases) {
    try {
      answers.push(await inner[name](...given));
    } catch (error) {
      if (!(error instanceof inner.ProofError)) throw error;
      answers.push("refused");
    }
  }
  return answers;
}"""


_hidden: asyncio.AbstractEventLoop | None = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Playwright's event loop counts as running in this thread until the browser is closed. But for the tests
    here it is hidden: others in the same process start a loop of their own, as pyHanko does to check a seal.
    """
    global _hidden
    if Path(__file__).parent not in item.path.parents:
        return (yield)
    asyncio._set_running_loop(_hidden)
    result = yield
    _hidden = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    return result


@pytest.fixture(scope="session")
def built() -> ModuleType:
    """web/build.py, which puts the page together."""
    return module_at(ROOT / "web" / "build.py", "cenotaph_web_build")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests of a session."""
    if not CHROMIUM.exists():
        pytest.skip("there is no /usr/bin/chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=QUIET.split())
        yield browser
        asyncio._set_running_loop(_hidden)  # this may be the end of a test from elsewhere
        browser.close()


@pytest.fixture(scope="session")
def address(built, tmp_path_factory) -> str:
    """Where the page lies on the disk, put together from its parts as they are now."""
    file = tmp_path_factory.mktemp("page") / "verify.html"
    file.write_text(built.page(), "utf-8")
    return file.as_uri()


@pytest.fixture(scope="session")
def verifier(chromium, address) -> Any:
    """The page opened from the disk, for what its `Cenotaph` answers."""
    page = chromium.new_page()
    page.goto(address)
    return page


@pytest.fixture(scope="session")
def ask(chromium, built, tmp_path_factory) -> Callable[..., list[Any]]:
    """Asks an inner function of the verifier (inner.js) case by case; "refused" where it refuses."""
    inner = (Path(__file__).parent / "inner.js").read_text("utf-8")
    file = tmp_path_factory.mktemp("inner") / "inner.html"
    file.write_text(
        f"<!doctype html><meta charset=utf-8><script>const inner = {built.core(inner)};</script>", "utf-8"
    )
    page = chromium.new_page()
    page.goto(file.as_uri())
    return lambda name, cases: page.evaluate(ASK, [name, [list(given) for given in cases]])


@pytest.fixture
def opened(chromium, address) -> Iterator[Callable[..., Reader]]:
    """Opens the page in a language and at a width. What it wrote to its console by the end is a failure."""
    readers = []

    def opening(language: str = "en", width: int = DESK, **more: Any) -> Reader:
        viewport = {"width": width, "height": 800}
        context = chromium.new_context(viewport=viewport, reduced_motion="reduce", **more)
        readers.append(Reader(context.new_page()))
        readers[-1].page.goto(f"{address}#{language}")
        return readers[-1]

    yield opening
    for reader in readers:
        reader.page.context.close()
        assert reader.said == []
        assert [url for url in reader.asked if not url.startswith(("file:", "blob:"))] == []
