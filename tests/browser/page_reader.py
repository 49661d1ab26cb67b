"""Somebody who has the page open, and the files they may have."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "proof"
PHONE, DESK = 360, 1280  # pixels
Given = tuple[str, bytes]
VIOLATIONS = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"], preload: false });
  return found.violations.map((rule) => [rule.id, rule.nodes.map((node) => node.html)]);
}"""


def module_at(path: Path, name: str) -> ModuleType:
    """A script as a module, under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def axe() -> str:
    """The script of axe-core, which a page is given before it is asked for `VIOLATIONS`."""
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


def scenario(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return value


def proof(name: str) -> Given:
    return f"{name}.cenotaph", scenario(name)["proof"].encode()


def trust_of(name: str) -> Given:
    return "trust.toml", (FOLDER / scenario(name)["trust"]).read_bytes()


class Reader:
    """Somebody with the page open. Every message on its console, and every request it makes, is kept."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def give(self, *files: Given) -> None:
        """Choose files, and wait for what comes out."""
        kind = "application/octet-stream"
        self.page.evaluate("document.getElementById('verdict').replaceChildren()")  # what comes is new
        self.page.set_input_files("#pick", [{"name": n, "mimeType": kind, "buffer": b} for n, b in files])
        self.page.locator("#verdict h2, #verdict .wrong").first.wait_for()

    def text(self, where: str) -> str:
        found: str = self.page.locator(where).first.inner_text()
        return found
