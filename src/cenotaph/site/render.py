"""From codes, names and numbers to HTML: the words of a language, the templates, and what pages may do.

Names are others' words: they are escaped, characters that turn the direction of writing are shown as what
they are, and a name that is written from right to left stands apart from what follows it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import posixpath
import re
import unicodedata
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from cenotaph_proof.words import LANGUAGES, Language, Words

TAGS: Mapping[Language, str] = {"en": "en", "zh": "zh-Hans"}
NAMES: Mapping[Language, str] = {"en": "English", "zh": "中文"}
_NOT_SHOWN = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff\ud800-\udfff]")
_ISOLATE, _END = "\u2068", "\u2069"  # first strong isolate … pop directional isolate (UAX 9)


class Said:
    """The words of one language, ready for a page."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        self._words = Words(language)

    def plain(self, code: str, args: Mapping[str, Any] | None = None, /, **more: Any) -> str:
        """The words of a code as plain text."""
        given = {**(args or {}), **more}
        return self._words.say(code, {name: _apart(value) for name, value in given.items()})

    def say(self, code: str, args: Mapping[str, Any] | None = None, /, **more: Any) -> Markup:
        """The words of a code as HTML."""
        return escape(self.plain(code, args, **more))

    def value(self, value: Any) -> Markup:
        """One argument as HTML."""
        return escape(self._words.value(_apart(value)))

    def text(self, constant: str) -> str:
        """A statement's own text, translated where its translation is known."""
        return self._words.text(constant)

    def when(self, seconds: int) -> Markup:
        """A time as HTML that machines read too."""
        words = self._words.value({"time": seconds})
        if not words[:1].isdigit():
            return escape(words)
        return Markup('<time datetime="{}">{}</time>').format(
            words.replace(" UTC", "Z").replace(" ", "T"), words
        )

    def date(self, seconds: int) -> Markup:
        """The day of a time, in UTC."""
        words = self._words.value({"time": seconds})
        return (
            Markup('<time datetime="{0}">{0}</time>').format(words[:10])
            if words[:1].isdigit()
            else escape(words)
        )


def shown(name: str) -> str:
    """A name with nothing in it that a reader cannot see."""
    return _NOT_SHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", name)


def page(template: str, said: Said, values: Mapping[str, Any]) -> bytes:
    """The bytes of one page."""
    given = {
        "say": said.say,
        "text": said.text,
        "value": said.value,
        "when": said.when,
        "date": said.date,
        "tag": TAGS[said.language],
        "style": Markup(style()),  # noqa: S704  # a file of ours
        "policy": Markup(policy()),  # noqa: S704  # a text of ours, in double quotes
        **values,
    }
    return environment().get_template(template).render(given).encode()


def languages(at: str, paths: Mapping[Language, str]) -> list[dict[str, str]]:
    """The page at `at` in every language, as links from it."""
    here = posixpath.dirname(at) or "."
    return [{"tag": TAGS[k], "name": NAMES[k], "link": posixpath.relpath(paths[k], here)} for k in LANGUAGES]


@functools.cache
def style() -> str:
    """The style of every page."""
    css = resources.files("cenotaph.site").joinpath("site.css").read_text("utf-8")
    return re.sub(r"/\*.*?\*/|(?<=[\n{};,:])\s+", "", css, flags=re.S)


@functools.cache
def policy() -> str:
    """What a page may do (CSP3): show itself in its own style, and follow links. Nothing runs or loads."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@functools.cache
def environment() -> jinja2.Environment:
    """The templates: everything is escaped, a missing value is a defect."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("cenotaph.site"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def pretty(payload: bytes) -> str:
    """A statement's JSON for reading."""
    return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)


def _finalize(value: Any) -> Any:
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _apart(value: Any) -> Any:
    """An argument with the names in it made plain and, where they run from right to left, set apart."""
    if isinstance(value, str):
        name = shown(value)
        turned = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in name)
        return f"{_ISOLATE}{name}{_END}" if turned else name
    if isinstance(value, Mapping):
        return {k: v if k == "phrase" else _apart(v) for k, v in value.items()}
    return [_apart(item) for item in value] if isinstance(value, list | tuple) else value
