"""The commands with which people say what they saw: `cenotaph-proof testify`, `cenotaph-proof evidence`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from cenotaph_proof import acts, bundle, envelope, evidence, statements, trust
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.statements import Saying, Testimony

NOT_NAMED = 3


def add_commands(commands: Any) -> None:
    """Add both to the subparsers of `cenotaph-proof`."""
    testify = commands.add_parser("testify", help="say what you saw, did, object to, or answer")
    testify.add_argument("--case", required=True, type=Path, metavar="DIR", help="the case, or a copy of it")
    testify.add_argument("--key", required=True, type=Path, metavar="FILE")
    testify.add_argument("--says", choices=get_args(Saying))
    testify.add_argument("--about", metavar="NAME", help="an app, recipient, key, medium or step; no person")
    testify.add_argument("--why", metavar="TEXT", help="of an objection, an answer, or what was witnessed")
    testify.add_argument(
        "--evidence", type=Path, action="append", default=[], metavar="FILE", help="a photograph, a protocol"
    )
    testify.add_argument("--answers", metavar="OBJECTION", help="8 digits of its digest, or its file")
    testify.set_defaults(run=_testify)

    check = commands.add_parser("evidence", help="check that a file is the one that a testimony names")
    check.add_argument("file", type=Path, help="FILE.evidence, as you were shown it")
    where = check.add_mutually_exclusive_group(required=True)
    where.add_argument("--proof", type=Path, metavar="FILE", help="a proof file: signatures are checked")
    where.add_argument("--case", type=Path, metavar="DIR", help="a case: signatures are checked")
    where.add_argument(
        "--statement", type=Path, metavar="FILE", help="one testimony: no signature is checked"
    )
    check.add_argument("--trust", type=Path, metavar="FILE", help="the trust file, with --proof or --case")
    check.add_argument("--take", type=Path, metavar="OUT", help="write the file without its random bytes")
    check.set_defaults(run=_evidence)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A testimony that was signed: its envelope's file, its evidence, what to tell of files that were made
    for it, and what is still to be testified."""

    path: Path
    evidence: tuple[evidence.Evidence, ...]
    told: tuple[str, ...]
    lacking: list[str]

    def learned(self) -> dict[str, Any]:
        """What machines are told."""
        named = [{"file": str(e.path), "digest": e.digest} for e in self.evidence]
        return {"evidence": named, "to_testify": self.lacking}


def testify(
    case: Path,
    key: Path,
    *,
    says: str | None,
    about: str | None,
    why: str | None,
    files: Sequence[Path],
    answers: str | None,
    now: int,
) -> Spoken:
    """Put random bytes before the evidence, and sign. Raises: as `evidence.prepare` and `acts.testify`."""
    shown = tuple(evidence.prepare(file) for file in files)
    told = tuple(f"{e.path} written: keep it, and show it to whoever asks" for e in shown if e.made)
    folder = CaseFolder(case)
    words = acts.Words(says, about, why, tuple(e.digest for e in shown), answers)
    path = acts.testify(folder, key, words, now=now)
    return Spoken(path, shown, told, acts.lacking(folder.replay_with_waiting()))


def _testify(options: argparse.Namespace) -> int:
    spoken = testify(
        options.case,
        options.key,
        says=options.says,
        about=options.about,
        why=options.why,
        files=options.evidence,
        answers=options.answers,
        now=int(time.time()),
    )
    for line in spoken.told:
        print(f"cenotaph-proof: {line}", file=sys.stderr)
    said = {"stage": "testify", "statement": str(spoken.path), **spoken.learned()}
    print(json.dumps(said, ensure_ascii=False))
    return 0


def _evidence(options: argparse.Namespace) -> int:
    value = evidence.digest(options.file)
    checked = options.statement is None
    told = _in_statement(options.statement) if options.statement is not None else _in_case(options)
    found = [line for digests, line in told if value in digests]
    print(json.dumps({"digest": value, "signature_checked": checked, "named_by": found}, ensure_ascii=False))
    if not found:
        print("cenotaph-proof: error: no testimony there names this file", file=sys.stderr)
        return NOT_NAMED
    if options.take is not None:
        evidence.take(options.file, options.take)
    return 0


def _in_case(options: argparse.Namespace) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    held = trust.load(options.trust) if options.trust is not None else None
    if options.case is not None:
        case = CaseFolder(options.case).replay(held)
    else:
        with options.proof.open("rb") as stream:
            case = bundle.replay(bundle.read(stream), held)
    for entry in case.all(Testimony):
        body = entry.body(Testimony)
        yield body.evidence, _line(body, entry.digest)


def _in_statement(path: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    data = path.read_bytes()
    body = statements.parse(envelope.open_(data).payload, {}).body
    if isinstance(body, Testimony):
        yield body.evidence, _line(body, hashlib.sha256(data).hexdigest())


def _line(body: Testimony, digest: str) -> dict[str, Any]:
    return {
        "statement": digest,
        "organisation": body.organisation,
        "role": body.role,
        "says": body.says,
        "about": body.about,
        "signed": body.signed,
    }
