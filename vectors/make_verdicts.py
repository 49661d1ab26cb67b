"""The lines of the verdict on every scenario that verifies: codes, arguments, words in each language."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import make_proof

from cenotaph_proof import trust, verify, words
from cenotaph_proof.verdict import Fact, Verdict


def vectors() -> dict[str, Any]:
    """By the scenario's name: its three lists."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in make_proof.trust_files().items():
            (Path(folder) / name).write_text(text, "utf-8")
        return {
            "expect": "these lines, in this order, of the scenario of that name in proof/",
            "verdicts": {
                name: _lists(_verdict(scenario, Path(folder)))
                for name, scenario in sorted(make_proof.scenarios().items())
                if scenario["expect"] != "does not verify"
            },
        }


def _verdict(scenario: dict[str, Any], folder: Path) -> Verdict:
    held = trust.load(folder / scenario["trust"]) if scenario["trust"] else None
    return verify.verify(io.BytesIO(scenario["proof"].encode()), held)


def _lists(verdict: Verdict) -> dict[str, Any]:
    found = {name: [_line(f) for f in getattr(verdict, name)] for name in ("proven", "attested", "not_shown")}
    return {"recall": dict(verdict.recall), **found}


def _line(fact: Fact) -> dict[str, Any]:
    said = {language: words.Words(language).say(fact.code, fact.args) for language in words.LANGUAGES}
    line = {"code": fact.code, "args": dict(fact.args), "step": fact.step, "evidence": list(fact.evidence)}
    return line | said
