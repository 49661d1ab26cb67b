"""The trust file: whose keys count, and how many of them, obtained apart from the operator.

TOML with the same `[[party]]` and `[policy]` tables as a case file (spec/trust.md). A party's key
is a path relative to the trust file, or the text of the public key itself.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cenotaph_proof.errors import FormatError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import Charter

LIMIT = 1 << 20
DEFAULT_APPROVE = {"auditor": 1, "notary": 1}
DEFAULT_SKEW = 300


@dataclass(frozen=True, slots=True)
class Trust:
    """Keys and thresholds. `named_by_operator` marks keys that nobody outside vouched for."""

    parties: tuple[PublicKey, ...]
    approve: Mapping[str, int]
    witness: int
    clock_skew: int  # seconds
    named_by_operator: bool = False

    def __post_init__(self) -> None:
        unique_parties(self.parties)

    def holds(self, key: PublicKey) -> bool:
        """Whether this very key is trusted for this organisation in this role."""
        return any(
            (key.ed25519, key.organisation, key.role) == (p.ed25519, p.organisation, p.role)
            for p in self.parties
        )


def unique_parties(parties: Iterable[PublicKey]) -> None:
    """One key an organisation, one role an organisation, one organisation a key.

    Raises: FormatError naming the organisation.
    """
    keys: dict[bytes, str] = {}
    names: set[str] = set()
    for party in parties:
        if party.organisation in names:
            raise FormatError(
                f"organisation {party.organisation} is named twice; it has one key and one role"
            )
        if party.ed25519 in keys:
            raise FormatError(f"{party.organisation} and {keys[party.ed25519]} have the same key")
        names.add(party.organisation)
        keys[party.ed25519] = party.organisation


def from_charter(charter: Charter) -> Trust:
    """The trust a charter claims for itself: consistent at best, never verified."""
    return Trust(
        parties=tuple(
            PublicKey(p.organisation, p.role, bytes.fromhex(p.ed25519), bytes.fromhex(p.x25519))
            for p in charter.parties
        ),
        approve={r.role: r.count for r in charter.policy.approve},
        witness=charter.policy.witness,
        clock_skew=charter.policy.clock_skew,
        named_by_operator=True,
    )


def load(path: Path) -> Trust:
    """Read a trust file. Raises: FormatError naming the key that is wrong; OSError."""
    data = path.read_bytes()
    if len(data) > LIMIT:
        raise FormatError("the trust file is larger than 1 MiB")
    try:
        table = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"the trust file is not TOML: {error}") from None
    _only(table, {"party", "policy"}, "trust file")
    parties = tuple(_party(item, path.parent) for item in table.get("party", []))
    if not parties:
        raise FormatError("the trust file names no [[party]]")
    policy = table.get("policy", {})
    _only(policy, {"approve", "witness", "clock_skew", "approval_lasts", "challenge"}, "[policy]")
    approve = policy.get("approve", DEFAULT_APPROVE)
    if not isinstance(approve, dict) or not all(type(n) is int and n >= 0 for n in approve.values()):
        raise FormatError("[policy] approve must give a number for each role")
    _only(approve, {"auditor", "notary", "owner"}, "[policy] approve")
    witness = policy.get("witness", 1)
    if type(witness) is not int or witness < 0:
        raise FormatError("[policy] witness must be a number")
    return Trust(parties, approve, witness, seconds(policy.get("clock_skew", "5m"), "clock_skew"))


def seconds(text: object, key: str) -> int:
    """Read a duration such as "90s", "5m", "72h" or "90d". Raises: FormatError naming `key`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if isinstance(text, str) and text[-1:] in units and text[:-1].isascii() and text[:-1].isdigit():
        return int(text[:-1]) * units[text[-1]]
    raise FormatError(f'{key} must be a duration such as "90s", "5m", "72h" or "90d"')


def _party(item: Any, base: Path) -> PublicKey:
    if not isinstance(item, dict):
        raise FormatError("[[party]] must be a table")
    _only(item, {"organisation", "role", "key", "cosign"}, "[[party]]")
    missing = {"organisation", "role", "key"} - set(item)
    if missing:
        raise FormatError(f"a [[party]] has no {', '.join(sorted(missing))}")
    text = item["key"] if str(item["key"]).startswith("{") else (base / item["key"]).read_text("utf-8")
    key = PublicKey.from_text(text)
    if (key.organisation, key.role) != (item["organisation"], item["role"]):
        raise FormatError(f"the key of party {item['organisation']} was made for another party or role")
    return key


def _only(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = set(table) - allowed
    if unknown:
        raise FormatError(f"{where} has a key that is not known: {sorted(unknown)[0]}")
