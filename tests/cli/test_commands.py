"""Every command: that it says what it does, and the small ones around a case at work."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from by_command import Ground, command

README = Path(__file__).resolve().parents[2] / "README.md"
COMMANDS = {
    "init": "case.toml",
    "keygen": "key",
    "open": "charter",
    "survey": "personal",
    "seal": "root",
    "plan": "in words",
    "challenge": "samples",
    "approve": "plan",
    "destroy": "Cannot be undone",
    "probe": "search",
    "certify": "certificate",
    "paper": "PDF",
    "check": "came back",
    "publish": "page",
    "register": "logs",
    "testify": "saw",
    "stamp": "date",
    "status": "next",
    "doctor": "room and clock",
    "pause": "--off",
    "demo": "city",
    "witness": "checkpoint",
    "inbox": "parties",
}


@pytest.mark.parametrize(("name", "word"), COMMANDS.items())
def test_help_says_what_a_command_does(name: str, word: str) -> None:
    """--help of every command exits 0 and mentions what it does."""
    assert word in command("cenotaph", name, "--help").out


def test_help_lists_every_command_and_no_other() -> None:
    """`cenotaph --help` lists all commands."""
    told = command("cenotaph", "--help").out.partition("Commands:")[2]
    listed = re.findall(r"^  (\w+)  ", told, re.MULTILINE)

    assert set(listed) == set(COMMANDS)


def test_commands_of_the_readme_exist() -> None:
    """Every `cenotaph COMMAND --option` of the README is a command with that option."""
    text = README.read_text("utf-8")
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    found = re.findall(r"^cenotaph ([a-z]+)(.*)$", blocks, re.MULTILINE)
    found += re.findall(r"`cenotaph ([a-z]+)([^`]*)`", text)
    wanted: dict[str, set[str]] = {}
    for name, rest in found:
        wanted.setdefault(name, set()).update(re.findall(r"(?<!\S)--[a-z-]+", rest.partition("#")[0]))

    assert len(wanted) >= 12
    for name, options in wanted.items():
        told = command("cenotaph", name, "--help").out
        assert {o for o in options if o not in told} == set()


def test_completion_works() -> None:
    """The shell's completion script comes from the command, and completes commands."""
    script = command("cenotaph", env={"_CENOTAPH_COMPLETE": "bash_source"}).out
    words = {"_CENOTAPH_COMPLETE": "bash_complete", "COMP_WORDS": "cenotaph ce", "COMP_CWORD": "1"}

    assert "_cenotaph_completion" in script
    assert command("cenotaph", env=words).out.strip() == "plain,certify"


def test_version_is_told() -> None:
    """All three commands tell their version."""
    for program in ("cenotaph", "cenotaph-proof", "cenotaph-verify"):
        assert re.search(r"\d+\.\d+\.\d+", command(program, "--version").out)


def test_init_writes_a_case_that_loads(tmp_path: Path, keys: Path) -> None:
    """The template parses and `doctor` objects to nothing in it but the keys and stores it invents."""
    assert "case.toml" in command("cenotaph", "init", tmp_path / "mine").out
    told = command("cenotaph", "doctor", "--case", tmp_path / "mine", "--json", code=1)
    checks = {c["what"]: c["good"] for c in json.loads(told.out)["checks"]}

    assert checks["case file"] is True
    assert checks["operator's key"] is False
    assert checks["store health"] is False
    assert "there already" in command("cenotaph", "init", tmp_path / "mine", code=2).err


def test_doctor_is_content_with_a_good_case(laid: Ground) -> None:
    """Every check of a case that can begin is good: exit 0, stores and their grades named."""
    ran = laid.run("doctor")

    assert all(c["good"] for c in ran.value["checks"])
    assert {"store register", "store list"} <= {c["what"] for c in ran.value["checks"]}


def test_doctor_finds_what_would_stop_a_case(laid: Ground, tmp_path: Path) -> None:
    """A lost key and a damaged database are both told at once, each with what to do: exit 1."""
    ground = laid.copy(tmp_path / "ground")
    (ground.keys / "operator").unlink()
    (ground.estate / "register.db").write_bytes(b"no database")

    ran = ground.run("doctor", code=1)
    bad = {c["what"] for c in ran.value["checks"] if not c["good"]}

    assert bad == {"operator's key", "store register"}


def test_survey_find_names_what_nobody_declared(laid: Ground, tmp_path: Path) -> None:
    """`survey --find` tells a forgotten database with people in it, offers a table, signs nothing."""
    ground = laid.copy(tmp_path / "ground")
    with sqlite3.connect(ground.estate / "forgotten.db") as db:
        db.execute("CREATE TABLE guests (name TEXT, email TEXT)")
        db.executemany(
            "INSERT INTO guests VALUES (?, ?)", [(f"Li {n}", f"li{n}@example.org") for n in range(50)]
        )
    db.close()

    found = ground.run("survey", "--find", ground.estate).value["found"]
    told = command("cenotaph", "survey", "--find", ground.estate, "--case", ground.case)

    assert [Path(item["path"]).name for item in found] == ["forgotten.db"]
    assert "email" in found[0]["personal"]
    assert "[[store]]" in told.out
    assert not (ground.case / "statements").exists()


def test_a_second_key_does_not_overwrite_the_first(tmp_path: Path) -> None:
    """`keygen` onto a file that is there is refused, and the file is as it was."""
    line = ("cenotaph", "keygen", "--role", "notary", "--organisation", "N", "--out", tmp_path / "key")
    command(*line)
    before = (tmp_path / "key").read_bytes()

    again = command(*line, code=None)

    assert again.code in (1, 2)
    assert (tmp_path / "key").read_bytes() == before
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_the_demo_ends_verified_in_json(tmp_path: Path) -> None:
    """`demo --json` on a hundred residents: exit 0, one object on the last line, verified."""
    ran = command(
        "cenotaph", "demo", "--residents", "100", "--records", "1000", "--dir", tmp_path / "demo", "--json"
    )
    value = ran.value

    assert value["stage"] == "demo"
    assert value["verdict"] == "verified"
    assert Path(value["proof"]).exists()
    assert (tmp_path / "demo/site/index.html").exists()
    assert not (tmp_path / "demo/outside.json").exists()  # it held people
