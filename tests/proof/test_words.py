"""The words of the verdict: every code in every language, with the same arguments, nothing left unsaid."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest

from cenotaph_proof import words
from cenotaph_proof.facts import LIMITS, LIMITS_OF_VOLUMES
from cenotaph_proof.words import Words, clauses, phrase, several, text, time

FOLDER = resources.files(words)
ROOMS = sorted({p.name.removesuffix(".en.json") for p in FOLDER.iterdir() if p.name.endswith(".en.json")})
FILES = [("en.json", "zh.json"), *((f"{room}.en.json", f"{room}.zh.json") for room in ROOMS)]
SPEC = Path(__file__).resolve().parents[2] / "spec/verdict.md"


def table(name: str) -> dict[str, str]:
    def unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    value: dict[str, str] = json.loads(FOLDER.joinpath(name).read_text("utf-8"), object_pairs_hook=unique)
    return value


def inserted(template: str) -> set[str]:
    return set(re.findall(r"\{([a-z_]+)", template))


@pytest.mark.parametrize(("english", "chinese"), FILES)
def test_every_code_is_said_in_both_languages(english, chinese):
    """The same codes, the same arguments: neither reader is told less."""
    en, zh = table(english), table(chinese)

    assert list(en) == list(zh)
    assert [code for code in en if inserted(en[code]) != inserted(zh[code])] == []


@pytest.mark.parametrize("name", [name for pair in FILES for name in pair])
def test_templates_hold_no_stray_braces(name):
    """What looks like an insertion is one."""
    for code, template in table(name).items():
        assert not re.search(r"[{}]", words._INSERT.sub("", template)), code


def test_the_codes_of_the_verdict_are_in_the_specification():
    """A second implementation finds every line of the three lists on the page."""
    lists = [c for c in table("en.json") if c.split(".")[0] in ("proven", "attested", "not-shown")]

    assert [code for code in lists if f"`{code}`" not in SPEC.read_text("utf-8")] == []


def test_the_lines_that_a_paper_adds_are_in_its_specification():
    """The same for what a certificate in PDF adds to the verdict."""
    page = (SPEC.parent / "paper.md").read_text("utf-8")
    lists = [c for c in table("paper.en.json") if c.split(".")[0] in ("proven", "attested", "not-shown")]

    assert lists
    assert [code for code in lists if f"`{code}`" not in page] == []


def test_limits_are_translated():
    """What every certificate prints, a Chinese reader reads in Chinese."""
    zh = Words("zh")

    assert [limit for limit in LIMITS + LIMITS_OF_VOLUMES if zh.text(limit) == limit] == []


def test_values_are_said_by_their_kind():
    """Numbers with commas, times in UTC, phrases, constants and lists."""
    en, zh = Words("en"), Words("zh")

    assert en.value(1234567) == "1,234,567"
    assert en.value(time(1_700_000_000)) == "2023-11-14 22:13:20 UTC"
    assert (en.value(time(None)), zh.value(time(None))) == ("an unknown time", "时间不明")
    assert en.value(time(2**53 - 1)) == "a time beyond the calendar"
    assert en.value(several(["a", 2, phrase("role.notary")])) == "a, 2, notary"
    assert zh.value(clauses([text("trim"), text("not known")])) == "TRIM 丢弃；not known"


@pytest.mark.parametrize(("number", "said"), [(0, "0 records"), (1, "1 record"), (2000, "2,000 records")])
def test_a_number_takes_its_noun(number, said):
    """One record, two records, no records."""
    assert said in Words("en").say("attested.destroyed", who="x", records=number, batch=1)


def test_a_language_without_words_is_refused():
    """Nobody is answered in a language that was not asked for."""
    with pytest.raises(ValueError, match="no words"):
        Words("../en")
