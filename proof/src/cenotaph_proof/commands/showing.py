"""The commands that show one thing apart from a case: `vkey`, `prove`, `check-inclusion`."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cenotaph_proof import bundle, inclusion, trust
from cenotaph_proof._bounded import read_bounded
from cenotaph_proof._durable import write_file
from cenotaph_proof.errors import FormatError, ProofError
from cenotaph_proof.folder import SO_FAR
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.note import MAX_NOTE, note_keys

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DOES_NOT_VERIFY, UNIDENTIFIED = 3, 6
MAX_STATEMENT = 65_535


def add_commands(commands: Commands) -> None:
    """Add the parsers of these commands."""
    vkey = commands.add_parser("vkey", help="print an operator's or log witness's key as other logs write it")
    vkey.add_argument("key", type=Path, metavar="FILE.pub")
    vkey.set_defaults(run=_vkey)

    prove = commands.add_parser("prove", help="prove one statement's place in the log, in a file by itself")
    prove.add_argument("case", type=Path, metavar="CASE-OR-PROOF-FILE")
    prove.add_argument("--statement", required=True, metavar="DIGEST", help="the SHA-256 of its file")
    prove.add_argument("--out", required=True, type=Path, metavar="FILE", help="such as seal.tlog-proof")
    prove.set_defaults(run=_prove)

    check = commands.add_parser("check-inclusion", help="check what `prove` wrote")
    check.add_argument("proof", type=Path, metavar="FILE")
    check.add_argument("--operator", required=True, type=Path, metavar="FILE.pub", help="whose log it is")
    check.add_argument("--trust", type=Path, metavar="FILE", help="whose cosignatures count")
    check.add_argument("entry", type=Path, metavar="ENTRY-FILE", help="the statement, as in statements/")
    check.set_defaults(run=_check)


def _vkey(options: argparse.Namespace) -> int:
    for key in note_keys(PublicKey.load(options.key)):
        print(key.to_text())
    return 0


def _prove(options: argparse.Namespace) -> int:
    path = options.case / "statements" / SO_FAR if options.case.is_dir() else options.case
    with path.open("rb") as stream:
        read = bundle.read(stream)
        proof = inclusion.prove(read.entries, read.checkpoints, options.statement)
    write_file(options.out, proof.to_bytes(), mode=0o644)
    print(json.dumps({"index": proof.index, "proof": str(options.out)}))
    return 0


def _check(options: argparse.Namespace) -> int:
    operator = PublicKey.load(options.operator)
    held = trust.load(options.trust) if options.trust else None
    try:
        proof = inclusion.InclusionProof.parse(_read(options.proof, 2 * MAX_NOTE))
        seen = inclusion.check(proof, _read(options.entry, MAX_STATEMENT), operator, held)
    except ProofError as error:
        print(f"cenotaph-proof: error: does not verify: {error.message}", file=sys.stderr)
        return DOES_NOT_VERIFY
    print(f"Entry {seen.index} of {seen.checkpoint.size} in the log of {operator.organisation}.")
    for organisation, when in seen.cosigned.items():
        print(f"Cosigned by {organisation} at {_time(when)}.")
    if seen.complete is None:
        print("No trust file: nobody but the operator is known to have seen this log.")
        return UNIDENTIFIED
    if seen.cosigned:
        print(f"Enough had cosigned at {_time(seen.complete)}.")
    return 0


def _read(path: Path, limit: int) -> bytes:
    data = read_bounded(path, limit)
    if data is None:
        raise FormatError(f"{path.name} is longer than the {limit} bytes that it can have")
    return data


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError):
        return f"second {seconds} after 1970"  # further off than a calendar goes
