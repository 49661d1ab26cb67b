"""What is said to people, in their language: templates by code, for every program the same (spec/verdict.md).

`en.json` and `zh.json` hold the words of the verdict; `ROOM.en.json` and `ROOM.zh.json` those of another room
(the site, the paper, the browser page). `texts.zh.json` translates the constants that statements carry.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_INSERT = re.compile(r"\{([a-z_]+)(?:\|([^|{}]*)\|([^|{}]*))?\}")


class Words:
    """The words of one language.

    Raises:
        ValueError: a language that there are no words of.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"there are no words of the language {language}")
        self.language = language
        self._templates = _templates(language)
        self._texts = _table(f"texts.{language}.json") if language != "en" else {}

    def say(self, code: str, args: Mapping[str, Any] | None = None, /, **more: Any) -> str:
        """The words of a code, its arguments put in.

        Raises:
            KeyError: no such code, or an argument that it needs is missing: a defect of the program.
        """
        given = {**(args or {}), **more}
        return _INSERT.sub(lambda match: self._insert(match, given), self._templates[code])

    def value(self, value: Any) -> str:
        """One argument in words: a number, a name, a time, a phrase, or several of them."""
        if isinstance(value, int):
            return f"{value:,}"
        if isinstance(value, str):
            return value
        ((kind, inner),) = ((k, v) for k, v in value.items() if k != "args")
        if kind == "phrase":
            return self.say(inner, value.get("args"))
        if kind == "text":
            return self._texts.get(inner, inner)
        if kind == "time":
            return self._time(inner)
        return self._templates[f"{kind}.separator"].join(map(self.value, inner))

    def text(self, constant: str) -> str:
        """A constant of a statement, translated where its translation is known."""
        return self._texts.get(constant, constant)

    def _insert(self, match: re.Match[str], given: Mapping[str, Any]) -> str:
        value = given[match[1]]
        if match[2] is None:
            return self.value(value)
        return f"{value:,} {match[2] if value == 1 else match[3]}"

    def _time(self, seconds: int | None) -> str:
        if seconds is None:
            return self._templates["time.unknown"]
        try:
            at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        except (ValueError, OverflowError, OSError):  # a count of seconds may lie beyond the year 9999
            return self._templates["time.beyond"]
        return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def phrase(code: str, **args: Any) -> dict[str, Any]:
    """An argument that is said by a code of its own."""
    return {"phrase": code, "args": args} if args else {"phrase": code}


def text(constant: str) -> dict[str, str]:
    """An argument that is a constant of a statement: translated where the language knows it."""
    return {"text": constant}


def time(seconds: int | None) -> dict[str, int | None]:
    """An argument that is a time, in seconds since the epoch; None where nobody knows."""
    return {"time": seconds}


def several(values: Any) -> dict[str, list[Any]]:
    """An argument that is a list, joined as the language joins them."""
    return {"list": list(values)}


def clauses(values: Any) -> dict[str, list[Any]]:
    """An argument that is a list of clauses, which a semicolon parts."""
    return {"clauses": list(values)}


@functools.cache
def _templates(language: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for place in sorted(resources.files(__package__).iterdir(), key=lambda p: p.name):
        name = place.name.removesuffix(".json").split(".")
        if place.name.endswith(".json") and name[-1] == language and name[0] != "texts":
            found |= json.loads(place.read_text("utf-8"))
    return found


@functools.cache
def _table(name: str) -> Mapping[str, str]:
    table: dict[str, str] = json.loads(resources.files(__package__).joinpath(name).read_text("utf-8"))
    return table
