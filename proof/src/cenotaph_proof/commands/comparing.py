"""The command `compare`: two readers hold what they were shown of an operator's log against each other.

Each holds a proof file, the log's folder, or a `checkpoint` that they saved (spec/verify.md, "Two readers").
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cenotaph_proof import bundle, history
from cenotaph_proof.errors import OrderError, SplitError
from cenotaph_proof.history import Shown
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.log import Log
from cenotaph_proof.note import MAX_NOTE

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DOES_NOT_VERIFY = 3


def add_commands(commands: Commands) -> None:
    """Add the parser of this command."""
    compare = commands.add_parser("compare", help="hold what two readers were shown against each other")
    what = "a proof file, a folder of the log, or a saved checkpoint"
    compare.add_argument("one", type=Path, metavar="A", help=what)
    compare.add_argument("other", type=Path, metavar="B", help=what)
    compare.add_argument("--operator", required=True, type=Path, metavar="FILE.pub", help="whose log it is")
    compare.set_defaults(run=_compare)


def read(path: Path, operator: PublicKey) -> Shown:
    """What lies at `path`, checked by itself. Raises: ProofError, OSError."""
    if path.is_dir():
        return _log(path, operator)
    with path.open("rb") as stream:
        begin = stream.read(MAX_NOTE + 1)
    if not begin.startswith(b"{"):
        return history.shown(operator, [begin])
    with path.open("rb") as stream:
        held = bundle.read(stream)  # whose parts are read as they are asked for
        return history.shown(operator, held.checkpoints, held.entries)


def _log(path: Path, operator: PublicKey) -> Shown:
    """A log's folder, or that of a published site, which has the log in it."""
    folder = path / "log" if (path / "log" / "checkpoint").is_file() else path
    log = Log.open(folder, operator=operator)
    return history.shown(operator, [log.checkpoint_note(), *log.cosigned().values()], tuple(log.entries()))


def _compare(options: argparse.Namespace) -> int:
    operator = PublicKey.load(options.operator)
    try:
        found = history.compare_shown(*(read(path, operator) for path in (options.one, options.other)))
    except SplitError as error:
        print(f"cenotaph-proof: error: {error.message}", file=sys.stderr)
        print(f"cenotaph-proof: hint: {error.hint}", file=sys.stderr)
        return DOES_NOT_VERIFY
    if found.outcome == "open":
        raise OrderError(
            "a checkpoint alone does not show whether it continues another",
            hint=f"hold it against a proof file or the log, of {found.size} statements or more",
        )
    print(f"One history: both were shown the same first {found.size} statements.")
    return 0
