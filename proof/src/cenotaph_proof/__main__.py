"""The small commands: `cenotaph-verify`, and those of `cenotaph-proof`, which its `--help` lists.

Exit codes: 0 verified or done · 1 failed · 2 wrong usage · 3 does not verify · 4 blocked ·
6 consistent, but signers unidentified (no trust file).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cenotaph_proof import __version__, acts, bundle, history, report, trust, verify, words
from cenotaph_proof.errors import (
    KeyFileError,
    OrderError,
    PaperError,
    ProofError,
    ServeError,
    ThresholdError,
)
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.keys import ROLES, PublicKey, SecretKey
from cenotaph_proof.paper import check as paper_check
from cenotaph_proof.verdict import Verdict
from cenotaph_proof.witness import Request, Witness

FAILED, USAGE, DOES_NOT_VERIFY, BLOCKED = 1, 2, 3, 4


def verify_main(arguments: Sequence[str] | None = None) -> int:
    """Verify a proof file and print the verdict."""
    parser = argparse.ArgumentParser(
        prog="cenotaph-verify",
        description="Verify a certificate of destruction offline. Says what is proven, what is attested "
        "and by whom, and what nobody shows.",
        epilog="The trust file names the keys, roles and thresholds you believe in. Get it apart from the "
        "proof file and from the operator. Without it nothing is verified and the exit code is 6.",
    )
    parser.add_argument("proof", type=Path, help="the proof file (NAME.cenotaph), or a certificate in PDF")
    parser.add_argument("--trust", type=Path, help="the trust file (TOML)")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OTHER",
        help="a proof file that another reader was given of the same log",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--language", choices=words.LANGUAGES, default="en", help="of the verdict")
    parser.add_argument("--version", action="version", version=f"cenotaph-verify {__version__}")
    options = parser.parse_args(arguments)
    try:
        held = trust.load(options.trust) if options.trust else None
    except (ProofError, OSError) as error:
        return _fail("cenotaph-verify", _text(error), getattr(error, "hint", None), USAGE)
    try:
        verdict = _verified(options.proof, held)
        if options.compare:
            _compare(options.proof, options.compare, held)
    except PaperError as error:
        return _fail("cenotaph-verify", error.message, error.hint, FAILED)
    except ProofError as error:
        if options.json:
            refused = {"verdict": "does not verify", "step": error.step, "why": error.message}
            print(json.dumps(refused, ensure_ascii=False))
        page, _, step = error.step.partition(" ") if error.step else ("", "", "")
        where = f" at step {step} of spec/{page}.md" if step else ""
        why = f"does not verify{where}: {error.message}"
        return _fail("cenotaph-verify", why, error.hint, DOES_NOT_VERIFY)
    except OSError as error:
        return _fail("cenotaph-verify", _text(error), None, FAILED)
    if options.json:
        print(json.dumps(report.to_json(verdict, options.language), ensure_ascii=False))
    else:
        print(report.render(verdict, options.language), end="")
    return verdict.exit_code


_MOST_HELPERS = 3


def _verified(path: Path, held: trust.Trust | None) -> Verdict:
    """The verdict on a proof file, or on a certificate in PDF with one inside."""
    with path.open("rb") as file:
        if _is_paper(file):
            return paper_check.check(file.read(), held)
        return verify.verify(file, held, helpers=min(_MOST_HELPERS, (os.cpu_count() or 1) - 1))


def _compare(one: Path, other: Path, held: trust.Trust | None) -> None:
    with one.open("rb") as mine, other.open("rb") as yours:
        history.compare(_bundle(mine), _bundle(yours), held)


def _bundle(file: io.BufferedReader) -> bundle.Bundle:
    return bundle.read(io.BytesIO(paper_check.inside(file.read())) if _is_paper(file) else file)


def _is_paper(file: io.BufferedReader) -> bool:
    """Looks at the beginning without taking it: a file may come through a pipe, and cannot be read twice."""
    return paper_check.is_paper(file.peek(8))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `cenotaph-proof`."""
    from cenotaph_proof.commands import remote

    options = _parser().parse_args(remote.joined(list(sys.argv[1:] if arguments is None else arguments)))
    try:
        return int(options.run(options))
    except (OrderError, ThresholdError) as error:
        return _fail("cenotaph-proof", error.message, error.hint, BLOCKED)
    except (KeyFileError, ServeError) as error:
        return _fail("cenotaph-proof", error.message, error.hint, USAGE)
    except ProofError as error:
        return _fail("cenotaph-proof", error.message, error.hint, FAILED)
    except (OSError, ValueError) as error:
        return _fail("cenotaph-proof", _text(error), None, FAILED)


def _parser() -> argparse.ArgumentParser:
    from cenotaph_proof.commands import comparing, remote, showing, speaking, trusting

    parser = argparse.ArgumentParser(prog="cenotaph-proof", description=__doc__)
    parser.add_argument("--version", action="version", version=f"cenotaph-proof {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    keygen = commands.add_parser("keygen", help="make a party's key: FILE (secret) and FILE.pub")
    keygen.add_argument("--role", required=True, choices=ROLES)
    keygen.add_argument("--organisation", required=True)
    keygen.add_argument("--out", required=True, type=Path, metavar="FILE")
    keygen.add_argument(
        "--post-quantum", action="store_true", help="an ML-DSA-44 key as well, for a log witness"
    )
    keygen.set_defaults(run=_keygen)

    approve = commands.add_parser("approve", help="approve the charter, or the newest plan")
    approve.add_argument("--case", required=True, type=Path, metavar="DIR", help="the case, or a copy of it")
    approve.add_argument("--key", required=True, type=Path, metavar="FILE")
    approve.add_argument("--charter", action="store_true", help="countersign the charter")
    approve.add_argument("--withdraw", action="store_true", help="take an approval back, before destruction")
    approve.add_argument("--outside", type=Path, metavar="FILE", help="an auditor's records of their own")
    approve.add_argument("--lasts", metavar="TIME", help='how long it holds, such as "30d"')
    approve.set_defaults(run=_approve)

    witness = commands.add_parser("witness", help="cosign a checkpoint of an operator's log")
    witness.add_argument("--key", required=True, type=Path, metavar="FILE")
    witness.add_argument("--state", required=True, type=Path, metavar="FILE", help="what was cosigned before")
    witness.add_argument("--operator", required=True, type=Path, metavar="FILE.pub")
    witness.add_argument("request", type=Path, help="an add-checkpoint request (C2SP tlog-witness)")
    witness.set_defaults(run=_witness)

    speaking.add_commands(commands)
    remote.add_commands(commands)
    showing.add_commands(commands)
    comparing.add_commands(commands)
    trusting.add_commands(commands)
    return parser


def _keygen(options: argparse.Namespace) -> int:
    key = SecretKey.generate(options.organisation, options.role, post_quantum=options.post_quantum)
    key.save(options.out)
    print(json.dumps({"key": key.public.key_id, "file": str(options.out)}))
    return 0


def _approve(options: argparse.Namespace) -> int:
    path = acts.approve(
        CaseFolder(options.case),
        options.key,
        charter=options.charter,
        now=int(time.time()),
        withdraw=options.withdraw,
        outside=options.outside,
        lasts=trust.seconds(options.lasts, "--lasts") if options.lasts else None,
    )
    print(json.dumps({"stage": "approve", "statement": str(path)}))
    return 0


def _witness(options: argparse.Namespace) -> int:
    operator = PublicKey.from_text(options.operator.read_text("utf-8"))
    request = Request.parse(options.request.read_bytes())
    witness = Witness(options.state, SecretKey.load(options.key), [operator])
    line = witness.add_checkpoint(
        request.old_size, request.consistency_proof, request.note, now=int(time.time())
    )
    sys.stdout.write(line.decode())
    return 0


def _text(error: BaseException) -> str:
    return str(getattr(error, "message", error))


def _fail(program: str, message: str, hint: str | None, code: int) -> int:
    print(f"{program}: error: {message}", file=sys.stderr)
    if hint:
        print(f"{program}: hint: {hint}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
