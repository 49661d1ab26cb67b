"""`cenotaph plan --emit-sql DIR`: what destroying would run on each server, for who administers it."""

from __future__ import annotations

import os
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cenotaph.desk import Desk
from cenotaph.errors import UsageError
from cenotaph.stages import plan as stage
from cenotaph.store import Command, OpenReader, Passage
from cenotaph_proof.statements import Plan

HEAD = """\
Read it, and do not run it: run by hand, nothing is compared with its seal first, and nothing certified.
It has names of tables in clear, and no value of any record: values are bound ($1 …) when it runs.
An indented line is a comment. Between commands the session looks at catalogs and rows, which is not shown.
A deletion whose number of rows is not the sealed one is rolled back, and so is one that fails."""
WIDTH = 108


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and the stores that have no commands to read."""

    files: tuple[Path, ...]
    without: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        for path in self.files:
            yield f"{path}: what will run, for the server's administrator; it has names of tables in clear"
        for name in self.without:
            yield f"Store {name} runs no SQL that a server's administrator could read beforehand."


def check(folder: Path) -> None:
    """Raises: UsageError where something is there already."""
    if folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} is there already, and nothing in it is overwritten",
            hint="name a folder that does not exist",
        )


def write(desk: Desk, opener: OpenReader, folder: Path) -> Written:
    """Into a new folder, once every server has answered; into none where there is nothing to write.

    Raises: UsageError where the folder is there; StoreError where a server does not answer.
    """
    entry = desk.case().require(Plan)
    title = f"Plan {entry.body(Plan).number} of case {desk.config.case.name}: {entry.digest}"
    texts: dict[str, str] = {}
    without = []
    for number, (name, passages) in enumerate(stage.scripts(desk, opener), 1):
        if passages is None:
            without.append(name)
            continue
        for called, mine in (
            ("own", [p for p in passages if not p.shared]),
            ("shared", [p for p in passages if p.shared]),
        ):
            if mine:
                text = render([title, f"Store {name}, {called} actions.", *HEAD.splitlines()], mine)
                texts[f"{number:02d}-{_file_name(name)}-{called}.sql"] = text
    check(folder)
    if texts:
        folder.mkdir(mode=0o700)
    return Written(tuple(_create(folder / name, text) for name, text in texts.items()), tuple(without))


def render(head: Sequence[str], passages: Sequence[Passage]) -> str:
    """As text that psql can read, and stops reading before the first command."""
    lines = [*(_comment(line) for line in head), "\\quit", ""]
    for passage in passages:
        lines += ["", _comment(f"== {passage.says}")]
        if passage.times > 1:
            lines.append(_comment(f"   {passage.times:,} times, each in a transaction of its own"))
        for command in passage.commands:
            lines += ["", *_told(command)]
    return "\n".join(lines) + "\n"


def _told(command: Command) -> Iterator[str]:
    notes = {
        "Lock": command.lock,
        "Reaches": command.reaches,
        "Values": command.values,
        "Runs": command.often,
    }
    for text in (command.does, *(f"{what}: {says}" for what, says in notes.items() if says)):
        for number, line in enumerate(textwrap.wrap(text, WIDTH)):
            yield _comment(f"   {'  ' if number else ''}{line}")
    if command.text:
        yield f"{command.text};"


def _comment(text: str) -> str:
    """One line, whatever a name in it holds: what follows a line's end would be a command."""
    return "-- " + "".join(
        c if c == " " or unicodedata.category(c)[0] not in "CZ" else "\ufffd" for c in text
    )


def _file_name(store: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", store).strip("-")[:40] or "store"


def _create(path: Path, text: str) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    return path
