"""Trust files: both verifiers take the same from one, and refuse the same."""

from __future__ import annotations

import json
import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cenotaph_proof import trust
from cenotaph_proof.errors import ProofError

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "proof"

TAKEN = [
    "",
    "a = 1\nb = -2\nc = +3\nd = 1_000\ne = 0xff\nf = 0o17\ng = 0b101\nh = 0\n",
    "a = 0.01\nb = 1e3\nc = -1.5e-2\nd = 1_0.0_1\ne = +0.0\n",
    "a = true\nb = false\n",
    'a = "x"\nb = \'y\\n\'\nc = "\\u00e9\\n\\t\\"\\\\ \\U0001F600"\nd = ""\ne = \'\'\n',
    'a = """\nfirst\nsecond \\\n   third"""\nb = """a ""quoted"" b"""\nc = """x"""""\n',
    "a = '''\none 'two' ''three'' '''''\nb = ''''four'''\n",
    "a = [1, 2,\n 3, # three\n]\nb = []\nc = [[1], ['x', \"y\"]]\n",
    "a = { b = 1, c.d = 2, 'e f' = [] }\ng = {}\n",
    "a.b.c = 1\na.b.d = 2\na.e = 3\n",
    "[a]\nb = 1\n[a.c]\nd = 2\n[e.f]\n[e]\ng = 1\n",
    "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\n[[a.e]]\n",
    " # a comment\n\ta = 1 # another\r\nb = 2\r\n",
    "1 = 2\n-a_B- = 3\n\"\" = 4\n'a.b' = 5\n",
    'key = "公钥"\n"组织" = 1\n',
    "[ a . b ]\nc = 1\n",
    "a = [{b = 1}, {b = 2}]\n",
    "__proto__ = 1\nconstructor = 2\n[toString]\na = 1\n",
]
REFUSED = [
    "a",
    "a =",
    "a = 1 b = 2",
    "= 1",
    "a = 1\na = 2",
    "a = 01",
    "a = 1__0",
    "a = _1",
    "a = .5",
    "a = 5.",
    "a = 0x",
    "a = 0xg",
    "a = True",
    "a = nul",
    'a = "x',
    'a = "x\ny"',
    'a = "\\x"',
    'a = "\\ud800"',
    'a = "\x01"',
    "a = 'x",
    "a = '''x",
    'a = """x',
    "a = [1, 2",
    "a = [1 2]",
    "a = [,]",
    "a = {b = 1,}",
    "a = {b = 1\n}",
    "a = {b = 1, b = 2}",
    "a = {b = 1}\na.c = 2",
    "a = {b = 1}\n[a]",
    "a = [1]\n[[a]]",
    "[a]\n[a]",
    "[a]\nb = 1\n[a.b]",
    "[a.b]\n[a]\nb.c = 1",
    "a.b = 1\n[a]",
    "a = 1\na.b = 2",
    "[[a]]\n[a]",
    "[a]\n[[a]]",
    "[a",
    "[[a]",
    "[]",
    "a = 1\r",
    "# \x00",
    "a = 1 # \x7f",
]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return {"float": value}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("text", TAKEN)
def test_tables_are_read_as_toml_says(core, text):
    """The same value as Python's own reader."""
    assert core.ask("toml", text=text) == {"answer": _plain(tomllib.loads(text))}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_toml_is_refused(core, text):
    """Both readers refuse it; ours in a sentence that names the line."""
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    assert "line " in core.ask("toml", text=text)["refused"]


@pytest.mark.parametrize(
    "text",
    [
        "a = 2026-11-22\n",
        "a = 07:32:00\n",
        "a = 9007199254740993\n",
        "a = " + "[" * 40 + "]" * 40,
        "a = {" + "b." * 40 + "c = 1}",
        "a" + ".a" * 40 + " = 1",
    ],
    ids=lambda text: text[:24],
)
def test_what_a_trust_file_never_needs_is_refused(core, text):
    """Dates, numbers beyond 2^53 - 1 and deep nesting are TOML, and refused all the same."""
    tomllib.loads(text)
    assert "refused" in core.ask("toml", text=text)


def test_deep_and_long_trust_files_are_refused_in_a_sentence(core):
    """Half a million levels of lists, tables or keys exceed no stack."""
    for text in (
        "a = " + "[" * 500_000,
        "a = " + "{b=" * 300_000,
        "a" + ".b" * 500_000 + " = 1",
        "[" * 500_000,
    ):
        assert "line 1" in core.ask("toml", text=text)["refused"]


def _ours(path: Path) -> dict[str, Any] | None:
    try:
        held = trust.load(path)
    except (ProofError, OSError):
        return None
    return {
        "parties": [p.key_id for p in held.parties],
        "approve": dict(held.approve),
        "witness": held.witness,
        "clockSkew": held.clock_skew,
        "chunks": held.chunks,
    }


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("witness = 2", "witness = 2.0"),
        ("witness = 2", "witness = -1"),
        ("witness = 2", "witness = true"),
        ("witness = 2", "clock_skew = '90s'\napproval_lasts = 5"),
        ("witness = 2", "clock_skew = '1.5h'"),
        ("witness = 2", "clock_skew = ' 5m'"),
        ("witness = 2", "clock_skew = '٥m'"),
        ("witness = 2", "challenge = { bound = 0.01, confidence = 0.99 }"),
        ("witness = 2", "challenge = { bound = 0.001 }"),
        ("witness = 2", "challenge = { bound = 1 }"),
        ("witness = 2", "challenge = { bound = 0.0000005 }"),
        ("witness = 2", "challenge = { bound = 0.0000015 }"),
        ("witness = 2", "challenge = { bound = nan }"),
        ("witness = 2", "challenge = { bound = inf }"),
        ("witness = 2", "challenge = {}"),
        ("witness = 2", "wittness = 2"),
        ("approve = { auditor = 1, notary = 1 }", "approve = { auditor = 2 }"),
        ("approve = { auditor = 1, notary = 1 }", "approve = { operator = 1 }"),
        ("approve = { auditor = 1, notary = 1 }", "approve.owner = 0"),
        ("approve = { auditor = 1, notary = 1 }", "approve = 1"),
        ('role = "auditor"', 'role = "notary"'),
        ('role = "auditor"', 'role = "auditor"\ncosign = 5'),
        ('role = "auditor"', 'role = "auditor"\noperated_by = "x"'),
        ('role = "log-witness"', 'role = "log-witness"\noperated_by = "x"'),
        ('role = "log-witness"', 'role = "log-witness"\noperated_by = "Vector Daily"'),
        ('role = "log-witness"', 'role = "log-witness"\noperated_by = 1'),
        ("[policy]", "[policy]\nquorum = '''\nquorum none\n'''"),
        ("[policy]", "[policy]\nquorum = '''\nquorum w\n'''"),
        ("[policy]", "[policy]\nquorum = 'missing.policy'"),
        (
            "[policy]",
            "[[authority]]\nname = 'T'\ncertificate = '''-----BEGIN CERTIFICATE-----\n'''\n[policy]",
        ),
        ("[policy]", "[[authority]]\nname = 'T'\ncertificate = '-----x'\n[policy]"),
        ("[policy]", "[[authority]]\nname = 'T'\n[policy]"),
        ("[policy]", "[polices]"),
        ("[[party]]", "[party]"),
        ('"format"', '"Format"'),
    ],
)
def test_trust_files_are_taken_or_refused_alike(core, tmp_path, line, instead):
    """One line of a trust file replaced: both take the same from it, or both refuse it."""
    text = (FOLDER / "trust.toml").read_text("utf-8").replace(line, instead, 1)
    path = tmp_path / "trust.toml"
    path.write_text(text, "utf-8")

    assert core.ask("trust", text=text).get("answer") == _ours(path)


def test_changed_trust_files_are_taken_or_refused_alike(core, tmp_path):
    """Characters dropped, doubled and replaced anywhere in a trust file."""
    chance = random.Random("trust 1")
    text = (FOLDER / "trust-with-owner.toml").read_text("utf-8")
    path = tmp_path / "trust.toml"
    for _ in range(150):
        at = chance.randrange(len(text))
        changed = text[:at] + chance.choice(["", text[at] * 2, *"=[]{}'\"#\n\t.0a"]) + text[at + 1 :]
        path.write_text(changed, "utf-8", newline="")
        assert core.ask("trust", text=changed).get("answer") == _ours(path), changed[
            max(0, at - 20) : at + 20
        ]


def test_keys_are_found_by_path_or_by_name(core):
    """A page is given files without their folders; a key that was not given is named."""
    text = (FOLDER / "trust.toml").read_text("utf-8")
    key = text.split("'''\n")[1]
    named = text.replace(f"'''\n{key}'''", '"keys/bureau.pub"')

    for files in ({"keys/bureau.pub": key}, {"bureau.pub": key}):
        assert core.ask("trust", text=named, files=files) == core.ask("trust", text=text)
    assert "bureau.pub" in core.ask("trust", text=named, files=json.loads("{}"))["refused"]
