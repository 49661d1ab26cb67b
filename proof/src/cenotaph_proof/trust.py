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

from cenotaph_proof import draw
from cenotaph_proof.errors import FormatError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import Charter

LIMIT = 1 << 20
DEFAULT_APPROVE = {"auditor": 1, "notary": 1}
DEFAULT_BOUND, DEFAULT_CONFIDENCE = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class Trust:
    """Keys and thresholds. `named_by_operator` marks keys that nobody outside vouched for."""

    parties: tuple[PublicKey, ...]
    approve: Mapping[str, int]
    witness: int
    clock_skew: int  # seconds
    named_by_operator: bool = False
    chunks: int = 0  # clean chunks a challenge must draw of a store, as far as it has them

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
            PublicKey(
                p.organisation,
                p.role,
                bytes.fromhex(p.ed25519),
                bytes.fromhex(p.x25519),
                None if p.mldsa44 is None else bytes.fromhex(p.mldsa44),
            )
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
    listed, policy = table.get("party", []), table.get("policy", {})
    if not isinstance(listed, list) or not isinstance(policy, dict):
        raise FormatError("the trust file has [[party]] tables and one [policy] table")
    parties = tuple(_party(item, path.parent) for item in listed)
    if not parties:
        raise FormatError("the trust file names no [[party]]")
    _only(policy, {"approve", "witness", "clock_skew", "approval_lasts", "challenge"}, "[policy]")
    approve = policy.get("approve", DEFAULT_APPROVE)
    if not isinstance(approve, dict) or not all(type(n) is int and n >= 0 for n in approve.values()):
        raise FormatError("[policy] approve must give a number for each role")
    _only(approve, {"auditor", "notary", "owner"}, "[policy] approve")
    witness = policy.get("witness", 1)
    if type(witness) is not int or witness < 0:
        raise FormatError("[policy] witness must be a number")
    skew = seconds(policy.get("clock_skew", "5m"), "clock_skew")
    return Trust(parties, approve, witness, skew, chunks=_chunks(policy.get("challenge", {})))


def _chunks(challenge: object) -> int:
    """How many chunks `challenge = { bound = …, confidence = … }` asks for; 0 where it is not given."""
    if not isinstance(challenge, dict):
        raise FormatError("[policy] challenge must give a bound and a confidence")
    _only(challenge, {"bound", "confidence"}, "[policy] challenge")
    if not challenge:
        return 0
    rates = [challenge.get("bound", DEFAULT_BOUND), challenge.get("confidence", DEFAULT_CONFIDENCE)]
    ppm = [round(rate * draw.PPM) if isinstance(rate, float) else 0 for rate in rates]
    if not all(0 < n < draw.PPM for n in ppm):
        raise FormatError("[policy] challenge: bound and confidence lie between 0 and 1, such as 0.01")
    return draw.needed(*ppm)


def seconds(text: object, key: str) -> int:
    """Read a duration such as "90s", "5m", "72h" or "90d". Raises: FormatError naming `key`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if (
        isinstance(text, str)
        and text[-1:] in units
        and text[:-1].isascii()
        and text[:-1].isdigit()
        and len(text) <= 12
    ):
        return int(text[:-1]) * units[text[-1]]
    raise FormatError(f'{key} must be a duration such as "90s", "5m", "72h" or "90d"')


def _party(item: Any, base: Path) -> PublicKey:
    if not isinstance(item, dict):
        raise FormatError("[[party]] must be a table")
    _only(item, {"organisation", "role", "key", "cosign"}, "[[party]]")
    missing = {"organisation", "role", "key"} - set(item)
    if missing:
        raise FormatError(f"a [[party]] has no {', '.join(sorted(missing))}")
    named = item["key"]
    if not isinstance(named, str):
        raise FormatError("the key of a [[party]] is a path, or the text of a public key")
    try:
        text = named if named.startswith("{") else (base / named).read_text("utf-8")
    except UnicodeDecodeError:
        raise FormatError("the key of a [[party]] is not a public key file") from None
    key = PublicKey.from_text(text)
    if (key.organisation, key.role) != (item["organisation"], item["role"]):
        raise FormatError(f"the key of party {item['organisation']} was made for another party or role")
    return key


def _only(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = set(table) - allowed
    if unknown:
        raise FormatError(f"{where} has a key that is not known: {sorted(unknown)[0]}")
