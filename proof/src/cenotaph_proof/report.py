"""A verdict as a person reads it on a terminal, and as machines read it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from cenotaph_proof.verdict import Fact, Verdict
from cenotaph_proof.words import Words


def render(verdict: Verdict, language: str = "en") -> str:
    """The verdict as plain text for a terminal."""
    words = Words(language)
    head = words.say("verdict.verified" if verdict.identified else "verdict.unidentified")
    c = verdict.certificate
    totals = {k: getattr(c, k) for k in ("destroyed", "sealed", "as_sealed", "watched", "unknown")}
    totals |= {"held": c.held, "kept": c.kept, "returned": c.returned}
    out = [
        head,
        words.say("verdict.case", name=verdict.name, operator=verdict.operator),
        words.say("verdict.totals", totals),
        "",
        *_stores(verdict, words),
        *_volumes(verdict, words),
    ]
    for title, lines in (
        ("verdict.proven", verdict.proven),
        ("verdict.attested", verdict.attested),
        ("verdict.not-shown", verdict.not_shown),
    ):
        out += ["", words.say(title), *(f"  - {words.say(line.code, line.args)}" for line in lines)]
    # Names are others' words: one that turns the direction of writing could rearrange a line.
    return "\n".join(_TURNS.sub(lambda m: f"\\u{ord(m[0]):04x}", line) for line in out) + "\n"


def to_json(verdict: Verdict, language: str = "en") -> dict[str, object]:
    """The verdict for machines; the lines' texts are in `language`."""
    words = Words(language)

    def lines(facts: tuple[Fact, ...]) -> list[dict[str, object]]:
        return [
            {
                "code": f.code,
                "args": dict(f.args),
                "text": words.say(f.code, f.args),
                "step": f.step,
                "evidence": list(f.evidence),
            }
            for f in facts
        ]

    c = verdict.certificate
    return {
        "verdict": "verified" if verdict.identified else "consistent, signers unidentified",
        "case": verdict.case,
        "name": verdict.name,
        "operator": verdict.operator,
        "records": {"sealed": c.sealed, "destroyed": c.destroyed, "held": c.held, "kept": c.kept},
        "stores": [
            {
                "name": s.name,
                "grade_asked": s.asked,
                "grade_reached": s.reached,
                "records": s.destroyed,
                "recall": recall(verdict.recall[s.name], Words("en")),
            }
            for s in c.stores
        ],
        "volumes": [
            {
                "name": v.name,
                "stores": list(v.stores),
                "grade_reached": v.reached,
                "why_not_higher": v.why_not_higher,
                "bytes_read": v.read,
                "restores": v.restores,
                "referees": list(v.referees),
            }
            for v in c.volumes or ()
        ],
        "proven": lines(verdict.proven),
        "attested": lines(verdict.attested),
        "not_shown": lines(verdict.not_shown),
    }


def recall(percent: int | None, words: Words) -> str:
    """What a search finds at least, in words."""
    return (
        words.say("verdict.not-measured")
        if percent is None
        else words.say("verdict.percent", percent=percent)
    )


def _stores(verdict: Verdict, words: Words) -> Iterator[str]:
    heads = ("store", "asked", "reached", "destroyed", "of-sealed")
    store, asked, reached, destroyed, sealed = (words.say(f"verdict.{head}") for head in heads)
    yield _row((store, -24), (asked, 5), (reached, 7), (destroyed, 12), (sealed, 12)) + (
        f"  {words.say('verdict.recall')}"
    )
    for s in verdict.certificate.stores:
        cells = ((s.name, -24), (s.asked, 5), (s.reached, 7), (f"{s.destroyed:,}", 12), (f"{s.sealed:,}", 12))
        yield _row(*cells) + f"  {_pad(recall(verdict.recall[s.name], words), 12)}"


def _volumes(verdict: Verdict, words: Words) -> Iterator[str]:
    found = verdict.certificate.volumes
    if not found:
        return
    heads = (words.say(f"verdict.{head}") for head in ("volume", "reached", "bytes-read", "restores"))
    yield ""
    yield _row(*zip(heads, (-24, 13, 19, 15), strict=True)) + f"  {words.say('verdict.referees')}"
    for v in found:
        tools = ", ".join(v.referees) or words.say("verdict.none")
        yield (
            _row((v.name, -24), (v.reached, 13), (f"{v.read:,}", 19), (f"{v.restores:,}", 15)) + f"  {tools}"
        )


def _row(*cells: tuple[str, int]) -> str:
    return " ".join(_pad(text, width) for text, width in cells)


def _pad(text: str, width: int) -> str:
    """The text in so many columns of a terminal, to the left where `width` is negative, cut off there."""
    if width < 0:
        while _columns(text) > -width:
            text = text[:-1]
        return text + " " * (-width - _columns(text))
    return " " * (width - _columns(text)) + text


def _columns(text: str) -> int:
    """How many columns a terminal gives a text: wide characters take two (UAX 11)."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


_TURNS = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
