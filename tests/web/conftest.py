"""The second verifier under node, as something that tests can ask."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cenotaph_proof import words

RUNNER = Path(__file__).with_name("core.mjs")
WORDS = Path(words.__file__).parent


class Core:
    """`web/core` in a node process: one request and one answer a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str, /, **given: Any) -> dict[str, Any]:
        """`{"answer": …}`, or `{"refused": why, "step": …}`. Any other error fails the test."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ask": what, **given}) + "\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "defect" not in said, said["defect"]
        return said

    def verify(
        self, proof: bytes, trust: str | Mapping[str, Any] | None, files: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The verdict in JSON, as `cenotaph-verify --json` prints it, or what was refused at which step."""
        return self.ask("verify", proof=base64.b64encode(proof).decode(), trust=trust, files=files or {})


@pytest.fixture(scope="session")
def core() -> Iterator[Core]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the second verifier runs in it")
    process = subprocess.Popen(
        [node, "--no-warnings", str(RUNNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        asked = Core(process)
        asked.ask("words", catalogue=catalogue())
        yield asked
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


def catalogue() -> dict[str, dict[str, Any]]:
    """The words of the verdict in both languages, and the translations of constants."""
    found = {language: _table(f"{language}.json") for language in words.LANGUAGES}
    return {**found, "texts": {"zh": _table("texts.zh.json")}}


def _table(name: str) -> dict[str, str]:
    table: dict[str, str] = json.loads((WORDS / name).read_text("utf-8"))
    return table
