"""What the repository promises of itself: imports, locks, versions, words, and the commands it shows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cenotaph

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("run", "dev", "proof")
PROOF = ROOT / "proof/src/cenotaph_proof"
PROOF_MAY_IMPORT = sys.stdlib_module_names | {"cryptography", "cenotaph_proof"}
# Optional packages: what imports them, and only when it is asked to.
OPTIONAL = {
    "paper/pdf.py": {"pyhanko", "pyhanko_certvalidator"},
    "paper/typeset.py": {"typst", "segno"},
    "tokens.py": {"rfc3161_client"},
}
NEEDED = ("cenotaph_proof.tokens",)  # imported as a whole only where there is a time stamp to check

# Joined here, so that this file does not name what it forbids.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
]
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "X" * 3]
SOMEBODYS_HOME = re.compile(r"/(?:home|Users)/[A-Za-z0-9_]+")
SIBLING_FOLDER = "../" + "shared"

IMPORT_PROOF_ALONE = """
import sys

class OnlyCryptography:
    mine = {"cenotaph_proof", "cryptography", "cffi", "_cffi_backend", "pycparser"}
    allowed = mine | sys.stdlib_module_names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
        return None

sys.meta_path.insert(0, OnlyCryptography())
try:
    import numpy
except ModuleNotFoundError:
    print("numpy is blocked")

import importlib, pkgutil
import cenotaph_proof

for module in pkgutil.walk_packages(cenotaph_proof.__path__, "cenotaph_proof."):
    if module.name not in sys.argv[1:]:
        importlib.import_module(module.name)
        print(module.name)
"""


def tracked() -> Iterator[Path]:
    """The files git knows of; in an unpacked archive without git, those that an environment did not add."""
    if (ROOT / ".git").exists():
        command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        names = listed.decode().split("\0")[:-1]
        yield from (path for path in map(ROOT.joinpath, names) if path.is_file())
    else:
        yield from (path for path in ROOT.rglob("*") if path.is_file() and not _generated(path))


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every tracked file that is text."""
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data:
            yield path.relative_to(ROOT).as_posix(), data.decode("utf-8", "replace")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def pyproject(folder: str = ".") -> dict[str, Any]:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))


def shown_commands(word: str, *names: str) -> set[str]:
    """The second words of the commands that start with `word` in the fenced blocks of these pages."""
    blocks = [
        block
        for name in names
        for block in re.findall(r"```\w*\n(.*?)```", (ROOT / name).read_text("utf-8"), re.S)
    ]
    return {found for block in blocks for found in re.findall(rf"^(?:\$ )?{word} ([a-z][\w-]*)", block, re.M)}


def test_the_proof_package_imports_with_nothing_but_cryptography() -> None:
    """Every module imports where no other third-party package can, but one that is imported when needed."""
    run = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_PROOF_ALONE, *NEEDED], capture_output=True, text=True, check=False
    )

    paths = [path.relative_to(ROOT / "proof/src").with_suffix("") for path in sources("proof/src")]
    modules = {".".join(p.parts).removesuffix(".__init__") for p in paths} - {"cenotaph_proof", *NEEDED}

    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == "numpy is blocked"
    assert set(run.stdout.splitlines()[1:]) == modules


@pytest.mark.parametrize("path", sources("proof/src"), ids=lambda path: path.stem)
def test_no_import_in_the_proof_package_names_anything_else(path: Path) -> None:
    """Inside functions too: the standard library, cryptography, the package, and one file an optional one."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])

    assert names <= PROOF_MAY_IMPORT | OPTIONAL.get(path.relative_to(PROOF).as_posix(), set())


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_every_package_to_a_version_with_hashes(name: str) -> None:
    """Each requirement of a lock is `name==version` followed by at least one SHA-256."""
    lock = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
    without_comments = re.sub(r"^\s*#.*\n?", "", lock, flags=re.M)
    requirements = without_comments.replace("\\\n", " ").splitlines()

    assert len(requirements) > 1
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==\S+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*$", requirement), (
            requirement
        )


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_host(name: str) -> None:
    """A lock works with whatever index the machine is set to."""
    lock = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")

    assert "//" not in lock
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b", lock, re.M)


def test_the_locks_agree_with_each_other() -> None:
    """What is run, what is tested and what verifies are the same versions."""
    pins = {
        name: set(
            re.findall(r"^[a-z0-9-]+==\S+", (ROOT / f"requirements/{name}.txt").read_text("utf-8"), re.M)
        )
        for name in LOCKS
    }

    assert pins["proof"] < pins["run"] < pins["dev"]


def test_no_file_names_a_registry_or_somebodys_machine() -> None:
    """No registry's host, no home directory, not the folder this checkout lies in."""
    places = [*REGISTRY_HOSTS, f"{ROOT}/"]
    found = [
        name
        for name, text in texts()
        if any(place in text for place in places) or SOMEBODYS_HOME.search(text)
    ]

    assert found == []


def test_no_file_is_left_unfinished() -> None:
    """What is not done is in the tracker or in docs/limits.md, not in a comment."""
    marks = re.compile(rf"\b({'|'.join(UNFINISHED)})\b")

    assert [name for name, text in texts() if marks.search(text)] == []


def test_only_tests_read_outside_the_checkout() -> None:
    """Data beside the checkout may make a test possible; nothing that ships knows of it."""
    assert [name for name, text in texts() if SIBLING_FOLDER in text and not name.startswith("tests/")] == []


@pytest.mark.parametrize(
    "path", sources("src", "proof/src", "tests"), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_module_says_its_purpose_in_its_first_line(path: Path) -> None:
    """Every module that contains anything starts with a docstring whose first line is a sentence."""
    tree = ast.parse(path.read_bytes())
    if not tree.body:
        return
    first_line = (ast.get_docstring(tree) or "").partition("\n")[0]

    assert re.search(r"[.:?]$", first_line), "the first line is no sentence"


def test_the_make_commands_we_show_exist() -> None:
    """Each `make TARGET` in a fenced block of the pages people read first is a target."""
    shown = shown_commands("make", "README.md", "CONTRIBUTING.md", "proof/README.md")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))

    assert {"demo", "test"} <= shown <= targets


def test_links_between_pages_lead_somewhere() -> None:
    """Each relative link in a Markdown page names a file or folder of the repository."""
    pages = [path for path in tracked() if path.suffix == ".md"]
    links = [
        (path, link)
        for path in pages
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text("utf-8"))
        if "://" not in link and not link.startswith("mailto:")
    ]

    assert len(links) > 10
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_cenotaph_commands_we_show_exist() -> None:
    """Each `cenotaph COMMAND` that the README shows answers to --help."""
    shown = shown_commands("cenotaph", "README.md")
    program = Path(sys.executable).with_name("cenotaph")

    assert {"open", "seal", "destroy", "certify"} <= shown
    for command in sorted(shown):
        run = subprocess.run([program, command, "--help"], capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{command}: {run.stderr}"


def test_every_place_that_names_the_version_names_the_same() -> None:
    """Both distributions, the pin between them, the change log and the installed package agree."""
    version = pyproject()["project"]["version"]
    newest_in_changelog = re.search(
        r"^## (\d+\.\d+\.\d+)\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )

    assert re.fullmatch(r"\d+\.\d+\.\d+", str(version))
    assert pyproject("proof")["project"]["version"] == version
    assert f"cenotaph-proof=={version}" in pyproject()["project"]["dependencies"]
    assert newest_in_changelog is not None
    assert newest_in_changelog[1] == version
    assert cenotaph.__version__ == version


def test_both_distributions_carry_the_licence_they_name() -> None:
    """Each distribution's folder holds the Apache License 2.0, so that its wheel does."""
    licence = (ROOT / "LICENSE").read_bytes()

    assert b"Apache License" in licence
    assert (ROOT / "proof/LICENSE").read_bytes() == licence
    assert {pyproject(folder)["project"]["license"] for folder in (".", "proof")} == {"Apache-2.0"}


def _generated(path: Path) -> bool:
    return any(
        part.startswith(".venv") or part in {"__pycache__", "demo", "build", "dist"}
        for part in path.relative_to(ROOT).parts
    )
