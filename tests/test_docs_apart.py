"""The commands that the pages on witnesses and parties elsewhere show can be typed as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cenotaph_proof.__main__ import _parser
from cenotaph_proof.commands.remote import joined

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/witness/README.md", "docs/operate/apart.md")
LINE = re.compile(r"^(?:ExecStart=/\S*/)?(cenotaph-proof|cenotaph (?:inbox|witness)) (.+)$", re.M)


def shown() -> list[tuple[str, ...]]:
    """Each command with its words; `cenotaph inbox` and `cenotaph witness` hand theirs to cenotaph-proof."""
    found = []
    for page in PAGES:
        for program, words in LINE.findall((ROOT / page).read_text("utf-8")):
            found.append((*program.split()[1:], *shlex.split(words)))
    return found


@pytest.mark.parametrize("words", shown(), ids=lambda words: " ".join(words[:4]))
def test_a_command_of_the_page_is_one(words):
    """Its options exist, and it asks for no others."""
    assert callable(_parser().parse_args(joined(list(words))).run)


def test_commands_are_found():
    """The check above sees servers, a service file, and what parties type."""
    first = {" ".join(words[:2]) for words in shown()}

    assert {"witness serve", "inbox serve", "witness --key"} <= first
    assert {"fetch", "send", "approve", "keygen"} <= {words[0] for words in shown()}
    with pytest.raises(SystemExit):
        _parser().parse_args(joined(["inbox", "serve", "--nonsense"]))
