"""Put verify.html together: one file that needs no other, and a policy that lets nothing else in.

Script and style stand in it as they stand in `core/` and `page/`, unshortened, so that whoever saves the page
can read what it does. The policy names both by their hashes: a page that was changed does not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORDS = HERE.parent / "proof" / "src" / "cenotaph_proof" / "words"
BUILT = HERE / "verify.html"
PAGE = ("say.js", "chosen.js", "paper.js", "shown.js", "report.js", "main.js")


def page() -> str:
    """The text of verify.html, made from its parts."""
    style, script = "\n" + _read("page/page.css"), "\n" + _script()
    text = _read("page/page.html")
    for place, content in (("policy", _policy(script, style)), ("style", style), ("script", script)):
        before, _, after = text.partition("{{" + place + "}}")
        text = before + content + after
    return text


def core(offers: str = "Cenotaph") -> str:
    """The verifier as one expression: all its files in their order, in a function that returns `offers`."""
    order = json.loads(_read("core/files.json"))
    files = "\n".join(_read(f"core/{name}") for name in order)
    return f'(() => {{\n"use strict";\n{files}\nreturn {offers};\n}})()'


def catalogue() -> dict[str, dict[str, str]]:
    """The words that the page needs, by language and code."""
    found = {}
    for language in ("en", "zh"):
        files = (f"{language}.json", f"page.{language}.json")
        found[language] = {k: v for name in files for k, v in _table(name).items()}
    return found | {"texts": {"zh": _table("texts.zh.json")}}


def _script() -> str:
    said = _in_script(catalogue())
    own = "\n".join(_read(f"page/{name}") for name in PAGE)
    shown = f'(() => {{\n"use strict";\nCenotaph.useWords({said});\n{own}}})();'
    script = f"const Cenotaph = {core()};\n\n{shown}\n"
    if re.search("</script|<script|<!--", script, re.IGNORECASE):
        raise ValueError("the script would end its own element, or not end it: write < as \\x3c in its texts")
    return script


def _in_script(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1).replace("</", "<\\/")


def _policy(script: str, style: str) -> str:
    allowed = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{what} {which}" for what, which in allowed.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def _table(name: str) -> dict[str, str]:
    table: dict[str, str] = json.loads((WORDS / name).read_text("utf-8"))
    return table


if __name__ == "__main__":
    BUILT.write_text(page(), "utf-8")
    print(f"{BUILT.name}: {BUILT.stat().st_size:,} bytes", file=sys.stderr)
