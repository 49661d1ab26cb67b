"""The specification and the code say the same: members of statements, rules, steps, texts."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from cenotaph_proof import case, draw, facts, seal, statements, verify
from cenotaph_proof.case import MAKERS
from cenotaph_proof.paper import check as paper_check
from cenotaph_proof.statements import KINDS

SPEC = Path(__file__).resolve().parents[1] / "spec"
INDEX = (SPEC / "README.md").read_text("utf-8")


def page(name: str) -> str:
    return (SPEC / f"{name}.md").read_text("utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a line that holds `heading`."""
    lines = text[text.index(heading) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return table


def members(text: str) -> dict[str, bool]:
    """The members of a statement's main table; true where one may be left out."""
    found = {}
    for names, kinds, *_ in rows(text, "# "):
        types = re.split(r", ", kinds) if ", " in names else [kinds]
        for number, name in enumerate(names.split(", ")):
            found[name] = types[min(number, len(types) - 1)].endswith("?")
    return found


def optional(cls: type) -> dict[str, bool]:
    return {f.name: f.default is None for f in dataclasses.fields(cls)}


def inner(cls: type) -> set[type]:
    """The dataclasses inside a statement's body."""
    found: set[type] = set()
    for hint in typing.get_type_hints(cls).values():
        for part in parts(hint):
            if dataclasses.is_dataclass(part) and part not in found:
                found |= {typing.cast(type, part)} | inner(typing.cast(type, part))
    return found


def parts(hint: object) -> Iterator[object]:
    """A type, and whatever it is made of: what a list lists, what an optional member may be."""
    yield hint
    for part in typing.get_args(hint):
        yield from parts(part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_lists_the_members_of_its_statement(kind):
    """Nothing is in the code that the page does not name, nothing on the page that is not in the code."""
    assert members(page(kind)) == optional(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_names_what_is_inside_its_statement(kind):
    """Members of stores, collections and the like stand on the page too; what may be missing, with `?`."""
    text = page(kind)
    for cls in inner(KINDS[kind]):
        for name, gone in optional(cls).items():
            assert re.search(rf"`{name}`|^\|[^|]*\b{name}\b", text, re.M), f"{cls.__name__}.{name}"
            if gone:
                assert re.search(rf"`{name}` \w+\?|\| {name} \| \S+\? ", text), f"{cls.__name__}.{name}?"


def test_statements_are_signed_and_cite_as_the_table_says():
    """Who may sign what is one table, on the page and in the code."""
    table = {row[0]: row[1] for row in rows(page("statements"), "| statement |")}

    assert list(table) == list(KINDS)
    for cls, roles in MAKERS.items():
        said = table[cls.__name__.lower()]
        assert said == "any party" if len(roles) == 5 else said == ", ".join(roles)


def test_the_literals_of_statements_are_on_their_pages():
    """Every word that a member may have is on the page that lists the member, or is a grade or a role."""
    common = page("statements")
    for kind, cls in KINDS.items():
        for owner in {cls, *inner(cls)}:
            for name, hint in typing.get_type_hints(owner).items():
                words = [w for w in typing.get_args(hint) if isinstance(w, str)]
                text = page(kind) + common
                assert [w for w in words if w not in text] == [], f"{kind}.{owner.__name__}.{name}"


@pytest.mark.parametrize(("name", "module"), [("case", case), ("verify", verify), ("paper", paper_check)])
def test_rules_and_steps_have_the_numbers_that_the_code_cites(name, module):
    """The bold sentence of each number is the sentence in the module's docstring."""
    numbered = re.findall(r"^ ?(\d+)\. (.*?)(?=^ ?\d+\. |\n\n|\Z)", module.__doc__ + "\n", re.M | re.S)
    said = re.findall(r"^(\d+)\. \*\*(.*?)\*\*", page(name), re.M | re.S)

    assert [number for number, _ in said] == [number for number, _ in numbered]
    for (number, code), (_, bold) in zip(numbered, said, strict=True):
        assert " ".join(code.split()).startswith(" ".join(bold.split()).rstrip(".")), f"{name} {number}"


def test_the_limits_are_word_for_word_those_of_the_code():
    """Every certificate carries these lines, so a second implementation must have them exactly."""
    text = page("certificate")
    lines = [line.strip() for line in text[text.index("## Limits") :].splitlines() if line.startswith("    ")]

    assert tuple(lines) == facts.LIMITS + facts.LIMITS_OF_VOLUMES


def test_the_numbers_on_the_pages_are_those_of_the_code():
    """Bounds that a reader in another language would copy from the page."""
    assert f"more than {statements.DETACH_ABOVE:,} bytes" in page("statements")
    assert f"longer than {statements.ATTACHMENT_LIMIT:,} bytes" in page("statements")
    assert f"at most {statements.MAX_ITEMS:,}" in page("statements")
    assert f"| chunk_records | count | {seal.CHUNK_RECORDS} |" in page("seal")
    assert f"under {seal.MERGE_BELOW} records" in page("seal")
    for bound, chunks in ((10_000, "459"), (1_000, "4,603")):
        assert f"{draw.needed(bound, 990_000):,}" == chunks
        assert chunks in page("challenge")


def test_every_page_is_in_the_index():
    """Whoever starts at the first page finds all others."""
    linked = set(re.findall(r"\]\((\S+?)\)", INDEX))

    assert {p.name for p in SPEC.glob("*.md")} - {"README.md"} <= linked
