"""What the pages say of the code is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from cenotaph.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
TRAVELS = (ROOT / "docs/how-a-record-travels.md").read_text("utf-8")
NAMES = sorted(set(re.findall(r"\bcenotaph(?:_proof)?(?:\.\w+)+", TRAVELS)))


def resolve(name: str) -> object:
    """What a dotted name stands for: the longest module in it, then attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_function_on_a_records_way_exists(name):
    """Whoever follows the drawing finds each name in the code."""
    assert resolve(name) is not None


def test_a_name_that_is_not_there_is_noticed():
    """The check above can fail."""
    assert len(NAMES) > 30
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        resolve("cenotaph.sealing.SealedPartition.forgive")


def test_pages_that_the_drawing_names_exist():
    """Each `spec/….md` beside the drawing is a page."""
    pages = set(re.findall(r"\bspec/[\w-]+\.md", TRAVELS))

    assert len(pages) >= 4
    assert [page for page in pages if not (ROOT / page).exists()] == []


COMMAND = re.compile(r"\bcenotaph ([a-z]+)((?: --?[\w-]+(?: [^-\s`\"')]+)?)*)")
TEXTS = [
    path.read_text("utf-8")
    for folder, kind in (("src", "py"), ("proof/src", "py"), ("docs", "md"))
    for path in sorted((ROOT / folder).rglob(f"*.{kind}"))
]


def commands(text: str) -> set[tuple[str, str]]:
    """The commands in a text, alone and with each of their options."""
    return {
        (found[1], option)
        for found in COMMAND.finditer(text)
        for option in ("", *re.findall(r"--[\w-]+", found[2]))
        if found[1] in cli.commands or option
    }


SHOWN = sorted(set().union(*map(commands, TEXTS)))


@pytest.mark.parametrize(("command", "option"), SHOWN)
def test_commands_that_hints_and_pages_show_exist(command, option):
    """Whoever does what a hint says is not told that there is no such option."""
    options = {name for parameter in cli.commands[command].params for name in parameter.opts}

    assert not option or option in options


def test_hints_are_found():
    """The check above sees commands with and without options, in brackets too."""
    assert commands("go on (cenotaph plan --amend)") == {("plan", ""), ("plan", "--amend")}
    assert {("plan", "--show"), ("approve", "--charter"), ("destroy", "")} <= set(SHOWN)
