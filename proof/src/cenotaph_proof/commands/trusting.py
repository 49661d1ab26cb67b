"""`cenotaph-proof trust`: a trust file of one's own, made from the key files that organisations gave out.

The keys stand in it as text, so that it is one file to keep, to send, and to drop on a page (spec/trust.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cenotaph_proof.errors import FormatError, KeyFileError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.trust import DEFAULT_APPROVE, unique_parties

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def write(
    parties: Sequence[PublicKey],
    approve: Mapping[str, int],
    witness: int,
    operated_by: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The text of a trust file that holds these keys, and says by whom a log witness is `operated_by`.

    Raises: FormatError where an organisation is named twice, there are too few for the thresholds, or who
    operates a log witness is none of them.
    """
    unique_parties(parties)
    for role, count in {**approve, "log-witness": witness, "operator": 1}.items():
        have = sum(1 for p in parties if p.role == role)
        if have < count:
            raise FormatError(f"{have} keys of role {role} are given, and {count} asked for")
    _check_operated(parties, operated_by)
    tables = "".join(_party(party, operated_by.get(party.organisation)) for party in parties)
    counts = ", ".join(f"{role} = {count}" for role, count in sorted(approve.items()))
    return f"{tables}[policy]\napprove = {{ {counts} }}\nwitness = {witness}\n"


def add_commands(commands: Commands) -> None:
    """Add `trust` to the small commands."""
    parser = commands.add_parser(
        "trust",
        help="make a trust file from public key files",
        description="Make a trust file from public key files. Get each from the organisation that holds the "
        "key, not from the operator of the case: whom it names is whom you believe to be who they are.",
    )
    parser.add_argument(
        "keys", nargs="+", type=Path, metavar="FILE.pub", help="of every party, the operator's too"
    )
    parser.add_argument("--auditors", type=int, default=DEFAULT_APPROVE["auditor"], help="that must approve")
    parser.add_argument("--notaries", type=int, default=DEFAULT_APPROVE["notary"], help="that must approve")
    parser.add_argument("--witnesses", type=int, default=1, help="that must cosign")
    parser.add_argument(
        "--operated-by",
        nargs=2,
        action="append",
        default=[],
        metavar=("WITNESS", "ORGANISATION"),
        help="who runs a log witness, if that is another of these organisations; may be repeated",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, and over nothing")
    parser.set_defaults(run=_trust)


def _trust(options: argparse.Namespace) -> int:
    approve = {"auditor": options.auditors, "notary": options.notaries}
    try:
        parties = [PublicKey.load(path) for path in options.keys]
        text = write(parties, approve, options.witnesses, dict(options.operated_by))
    except FormatError as error:
        raise KeyFileError(error.message, hint=error.hint) from None
    if options.out is None:
        sys.stdout.write(text)
        return 0
    with options.out.open("x", encoding="utf-8") as file:
        file.write(text)
    print(f"{options.out}: {len(options.keys)} keys")
    return 0


def _check_operated(parties: Sequence[PublicKey], operated_by: Mapping[str, str]) -> None:
    """A name that is spelt otherwise would make the operator's own witness an independent one."""
    roles = {p.organisation: p.role for p in parties}
    for witness, by in operated_by.items():
        if roles.get(witness) != "log-witness" or by == witness:
            raise FormatError(f"{witness} is no log witness of these keys, or named as its own operator")
        if by not in roles:
            raise FormatError(
                f"{by}, who is to run {witness}, is none of the organisations of these keys",
                hint="spell it as its key file does; who is no party need not be named",
            )


def _party(party: PublicKey, operated_by: str | None) -> str:
    key = party.to_text()
    # A literal string of TOML keeps the key file as it is, line feed included; three apostrophes break it.
    quoted = _basic(key) if "'''" in key else f"'''\n{key}'''"
    by = "" if operated_by is None else f"operated_by = {_basic(operated_by)}\n"
    return (
        f"[[party]]\norganisation = {_basic(party.organisation)}\n"
        f'role = "{party.role}"\n{by}key = {quoted}\n\n'
    )


def _basic(text: str) -> str:
    """A basic string of TOML. Names hold no control characters; a key file ends in its one line feed."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
