"""The pages for operators and for journalists run: their transcripts are replayed on a tiny estate."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cenotaph.cli.main import cli
from cenotaph_proof.__main__ import main as proof_main
from cenotaph_proof.__main__ import verify_main
from small_case import people

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(?P<kind>console|toml|text) ?(?P<file>\S*)\n(?P<text>.*?)^```$", re.M | re.S)
PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "cenotaph": lambda arguments: cli.main(list(arguments), "cenotaph", standalone_mode=False) or 0,
    "cenotaph-proof": proof_main,
    "cenotaph-verify": verify_main,
}


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a page, and what the page says that it prints."""

    command: str
    expected: tuple[str, ...]


def build_estate(folder: Path) -> None:
    """A database of 60 visits and an export of 40, as the page says."""
    (folder / "apps/exports").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder / "apps/health.db")) as database:
        database.execute("CREATE TABLE visits (id_number TEXT PRIMARY KEY, phone TEXT, day TEXT)")
        database.executemany("INSERT INTO visits VALUES (?, ?, ?)", [p.row() for p in people(0, 60)])
        database.commit()
    lines = ["id_number,phone,day", *(p.line() for p in people(100, 40))]
    (folder / "apps/exports/visits.csv").write_text("\n".join(lines) + "\n", "utf-8")


def steps(page: str, folder: Path) -> Iterator[Step]:
    """The commands of a page in order; files that it shows are written when it comes to them."""
    for block in BLOCK.finditer((ROOT / page).read_text("utf-8")):
        if block["file"]:
            (folder / block["file"]).write_text(block["text"], "utf-8")
        elif block["kind"] == "console":
            for part in re.split(r"^\$ ", block["text"], flags=re.M)[1:]:
                command, *expected = part.splitlines()
                yield Step(command, tuple(expected))


class Transcript:
    """Runs commands and holds their output against the page.

    `…` stands for anything in a line, or for any lines. A digest that the page shows is learned where it is
    printed, and used where it is typed.
    """

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}

    def replay(self, step: Step) -> None:
        command = step.command
        for shown, real in self._digests.items():
            command = command.replace(shown, real)
        output = run(command)
        found = re.fullmatch(self._pattern(step.expected), output)
        assert found, f"$ {step.command}\n{output}\nis not what the page shows:\n" + "\n".join(step.expected)
        self._digests |= {name.removeprefix("d_"): real for name, real in found.groupdict().items()}

    def _pattern(self, lines: Sequence[str]) -> str:
        text = "".join(f"{line}\n" for line in lines)
        seen: set[str] = set()
        pattern = ""
        for piece in re.split(r"(^…\n|…|\b(?=[a-f0-9]*\d)[a-f0-9]{8}\b)", text, flags=re.M):
            if piece == "…\n":
                pattern += r"(?:.*\n)*?"
            elif piece == "…":
                pattern += r".*"
            elif re.fullmatch(r"(?!0+$)(?!\d+$)[a-f0-9]{8}", piece):
                pattern += f"(?P=d_{piece})" if piece in seen else f"(?P<d_{piece}>[a-f0-9]{{8}})"
                seen.add(piece)
            else:
                pattern += re.escape(piece)
        return pattern


def run(command: str) -> str:
    """Stdout and stderr of a command of ours, or of the one `sed`, and its exit code if it is not 0."""
    program, *arguments = shlex.split(command)
    if program == "sed":
        return substitute(*arguments)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            code = PROGRAMS[program](arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return output.getvalue() + (f"[exit {code}]\n" if code else "")


def substitute(script: str, source: str, arrow: str, target: str) -> str:
    """`sed 's/a/b/' SOURCE > TARGET`: the first match of each line."""
    _, old, new, _ = script.split("/")
    assert arrow == ">"
    lines = Path(source).read_text("utf-8").splitlines(keepends=True)
    Path(target).write_text("".join(line.replace(old, new, 1) for line in lines), "utf-8")
    return ""


def test_the_pages_run(tmp_path, monkeypatch):
    """Every command of both pages prints what the page shows, from the first key to a refused forgery."""
    build_estate(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CENOTAPH_CASE", raising=False)
    transcript = Transcript()
    count = 0
    for page in ("docs/operate/README.md", "docs/verify/README.md"):
        for step in steps(page, tmp_path):
            transcript.replay(step)
            count += 1

    assert count > 20
    with contextlib.closing(sqlite3.connect("apps/health.db")) as database:
        assert database.execute("SELECT count(*) FROM visits").fetchone() == (4,)
    assert not list(Path("apps/exports").iterdir())


def test_a_transcript_that_is_wrong_is_noticed(tmp_path, monkeypatch):
    """The replay can fail: on another line, on a line that is missing, on an exit code."""
    monkeypatch.chdir(tmp_path)
    command = "cenotaph-verify nothing.cenotaph"
    right = "cenotaph-verify: error: …"
    Transcript().replay(Step(command, (right, "[exit 1]")))
    for wrong in ((right,), (right, "[exit 3]"), ("[exit 1]",), (right, "more", "[exit 1]")):
        with pytest.raises(AssertionError, match="is not what the page shows"):
            Transcript().replay(Step(command, wrong))


def test_exit_codes_are_those_of_the_code():
    """The page lists every code that an error of ours can return, and the verifier's."""
    from cenotaph import errors

    page = (ROOT / "docs/operate/exit-codes.md").read_text("utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)}
    ours = {e.exit_code for e in vars(errors).values() if isinstance(e, type) and hasattr(e, "exit_code")}

    assert ours <= listed == {0, 1, 2, 3, 4, 5, 6, 130}
