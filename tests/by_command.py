"""A case driven through the real commands, each a process of its own, and what they said.

Nothing here runs cenotaph but as a command: the commands, their exit codes and the last line of
`--json` are the contract. Searching is GNU grep's and find's work, never ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forking

if TYPE_CHECKING:
    from cenotaph.testing.city import City

BIN = Path(sys.executable).parent
ESCAPE = "\x1b"
PEOPLE, CSV_ROWS = 40, 25
OPERATOR, AUDITOR, NOTARY, PAPER = "Big Data Bureau", "Audit Co", "Zhao & Partners", "Daily Paper"
PARTIES = ((OPERATOR, "operator"), (AUDITOR, "auditor"), (NOTARY, "notary"), (PAPER, "log-witness"))
UPTO = ("open", "charter", "survey", "seal", "plan", "challenge", "approve", "destroy", "probe", "certify")


@dataclass(frozen=True)
class Ran:
    """A command that ended."""

    line: tuple[str, ...]
    code: int
    out: str
    err: str

    @cached_property
    def value(self) -> Any:
        """The object on the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])

    def __str__(self) -> str:
        return f"{' '.join(self.line)} exited {self.code}\n{self.out}\n{self.err}"


def command(
    *line: str | Path,
    code: int | None = 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    before: Sequence[str] = (),
    stdin: str = "",
) -> Ran:
    """Run one of the installed commands off a terminal. No command ever shows a traceback."""
    words = [*before, str(BIN / str(line[0])), *map(str, line[1:])]
    surroundings = {**_clean(), **(env or {})}
    if not before and forking.can_fork(str(line[0]), surroundings):
        ended, out, err = forking.run(words, surroundings, cwd, stdin.encode())
    else:
        done = subprocess.run(
            words, check=False, capture_output=True, input=stdin.encode(), env=surroundings, cwd=cwd
        )
        ended, out, err = done.returncode, done.stdout, done.stderr
    ran = Ran(tuple(map(str, line)), ended, out.decode("utf-8"), err.decode("utf-8"))
    assert "Traceback" not in ran.out + ran.err, str(ran)
    assert code is None or ran.code == code, str(ran)
    return ran


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("CENOTAPH") and k != "NO_COLOR"}


@dataclass(frozen=True)
class CityCase:
    """A generated city on its ground, and what its stages said."""

    city: City
    ground: Ground
    ran: dict[str, Ran]


@dataclass(frozen=True)
class Whole:
    """A tiny case of one database (PEOPLE rows) and one CSV file (CSV_ROWS): what each stage said, and what
    `status` said after it."""

    ground: Ground
    ran: dict[str, Ran]
    status: dict[str, Ran]


class Ground:
    """A folder with an estate, a case, a log and the parties' keys; temporary files stay in it too."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.estate, self.case, self.log = root / "estate", root / "case", root / "log"
        self.keys, self.said = root / "keys", root / "said"
        self.env = {
            "TMPDIR": str(root / "tmp"),
            "SQLITE_TMPDIR": str(root / "tmp"),
            "HOME": str(root / "home"),
            **(env or {}),
        }

    def lay(self, keys: Path, case_toml: str, policy: str = "", head: str = "") -> Ground:
        """Make the folders, take the parties' keys and write case.toml and trust.toml."""
        for folder in (self.estate, self.case, self.said, self.root / "tmp", self.root / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(keys, self.keys)
        self.write_case(case_toml, policy, head)
        trusted = "".join(_party(*p, at="keys", cosign=False) for p in PARTIES)
        (self.root / "trust.toml").write_text(trusted + "[policy]\napprove = { auditor = 1, notary = 1 }\n")
        return self

    def write_case(self, case_toml: str, policy: str = "", head: str = "") -> None:
        parties = "".join(_party(*p, at="../keys", cosign=True) for p in PARTIES[1:])
        text = (
            f'[case]\nname = "city"\noperator = "{OPERATOR}"\nkey = "file:../keys/operator"\nlog = "../log"\n'
            f'basis = "purpose achieved"\n{head}\n{case_toml}\n{parties}'
            f"[policy]\napprove = {{ auditor = 1, notary = 1 }}\nwitness = 1\n{policy}\n"
        )
        (self.case / "case.toml").write_text(text, "utf-8")

    def copy(self, to: Path, env: Mapping[str, str] | None = None) -> Ground:
        """Everything again, elsewhere: a case is not bound to where it lies."""
        shutil.copytree(self.root, to, symlinks=True)
        return Ground(to, env)

    def run(self, *line: str | Path, code: int | None = 0, **more: Any) -> Ran:
        """`cenotaph LINE --case … --json`; what it said is kept in a file, as a careless operator would."""
        ran = command(
            "cenotaph", *line, "--case", self.case, "--json", code=code, env=self.env, cwd=self.root, **more
        )
        number = len(list(self.said.iterdir())) if self.said.is_dir() else 0
        self.said.mkdir(exist_ok=True)
        (self.said / f"{number:03d}-{line[0]}").write_text(str(ran), "utf-8")
        return ran

    def verify(self, code: int = 0) -> Ran:
        """`cenotaph-verify` with the trust file."""
        proof = self.case / "city.cenotaph"
        return command("cenotaph-verify", proof, "--trust", self.root / "trust.toml", "--json", code=code)

    # ── stages ───────────────────────────────────────────────────────────────────────────────────

    def upto(self, last: str, outside: Path | None = None) -> dict[str, Ran]:
        """Run every stage from opening to `last`, each of which must succeed."""
        ran: dict[str, Ran] = {}
        for stage in UPTO[: UPTO.index(last) + 1]:
            ran[stage] = self.stage(stage, outside=outside)
        return ran

    def stage(self, name: str, code: int | None = 0, outside: Path | None = None) -> Ran:
        brought = ("--outside", outside) if outside is not None else ()
        auditor, notary = ("--key", self.keys / "auditor"), ("--key", self.keys / "notary")
        if name == "charter":
            self.run("approve", "--charter", *auditor, *brought, code=code)
            return self.run("approve", "--charter", *notary, code=code)
        if name == "approve":
            self.run("approve", *auditor, code=code)
            return self.run("approve", *notary, code=code)
        if name == "challenge":
            return self.run("challenge", *auditor, *brought, code=code)
        if name == "probe":
            return self.run("probe", *auditor, code=code)
        if name == "destroy":
            digest = str(self.run("plan", "--show").value["digest"])
            return self.run("destroy", "--confirm", digest[:8], code=code)
        return self.run(name, code=code)

    def written_by_the_tool(self) -> list[Path]:
        """All under the root that is not the estate: case, log, keys, site, output, temporary files."""
        return [path for path in self.root.iterdir() if path != self.estate]


def make_keys(folder: Path) -> Path:
    """A key for each party, made with `cenotaph keygen`; the notary's with the small command."""
    for organisation, role in PARTIES:
        program = "cenotaph-proof" if role == "notary" else "cenotaph"
        folder.mkdir(parents=True, exist_ok=True)
        command(program, "keygen", "--role", role, "--organisation", organisation, "--out", folder / role)
    return folder


def _party(organisation: str, role: str, *, at: str, cosign: bool) -> str:
    lines = [f'organisation = "{organisation}"', f'role = "{role}"', f'key = "{at}/{role}.pub"']
    if cosign and role == "log-witness":
        lines.append(f'cosign = "file:{at}/{role}"')
    return "[[party]]\n" + "\n".join(lines) + "\n\n"


def store(name: str, url: str, *more: str) -> str:
    """A [[store]] table."""
    return "\n".join(["[[store]]", f"name = {toml(name)}", f"url = {toml(url)}", *more]) + "\n\n"


def toml(text: str) -> str:
    """A TOML string: JSON's, as far as these tests go."""
    return json.dumps(text, ensure_ascii=False)


# ── independent eyes ─────────────────────────────────────────────────────────────────────────────


def grep(needles: Iterable[bytes], *places: Path) -> set[bytes]:
    """Which needles GNU grep finds in any file under the places, or find in any name."""
    wanted = sorted(set(needles))
    if not wanted:
        return set()
    return _grep_lines(wanted, places) | _grep_names(wanted, places)


def _grep_lines(wanted: Sequence[bytes], places: Sequence[Path]) -> set[bytes]:
    if any(b"\n" in w or b"\0" in w for w in wanted):
        raise ValueError("grep takes a needle a line; use `bytes_in` for binary ones")
    found = subprocess.run(
        ["grep", "-raohF", "-f", "-", "--", *map(str, places)],
        check=False,
        input=b"\n".join(wanted) + b"\n",
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert found.returncode in (0, 1), found.stderr
    # -o gives the longest of overlapping needles: whatever lies in a match was found too
    matches = set(found.stdout.split(b"\n"))
    hit = set(wanted) & matches
    rest = [w for w in wanted if w not in hit]
    return hit | {w for w in rest if any(w in m for m in matches)}


def _grep_names(wanted: Sequence[bytes], places: Sequence[Path]) -> set[bytes]:
    names = subprocess.run(["find", *map(str, places), "-print0"], capture_output=True, check=True).stdout
    return {w for w in wanted if w in names}


def bytes_in(needles: Iterable[bytes], *places: Path) -> set[bytes]:
    """Which binary needles (numbers, UTF-16) lie in any file: searched one by one, in no clever way."""
    left, found = set(needles), set[bytes]()
    for place in places:
        for path in [place, *place.rglob("*")]:
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                here = {n for n in left if n in data}
                found |= here
                left -= here
    return found


def fingerprints(*places: Path) -> dict[str, str]:
    """SHA-256 of every file under the places."""
    files = sorted(p for place in places for p in [place, *place.rglob("*")] if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def spelled(text: str) -> set[bytes]:
    """A text in every encoding in which a tool might have written it."""
    return {text.encode(e) for e in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")}


def numbers(value: int) -> set[bytes]:
    """A number as 64-bit integers of both byte orders, and SQLite's 48-bit one where it fits."""
    orders = {value.to_bytes(8, "little"), value.to_bytes(8, "big")}
    return orders | ({value.to_bytes(6, "big")} if value < 1 << 47 else set())
