"""The trust file: whose keys count, and how many of them, obtained apart from the operator.

TOML with the same `[[party]]` and `[policy]` tables as a case file, and `[[authority]]` tables for time
stamps (spec/trust.md). A key, a policy or a certificate is a path relative to the trust file, or its text.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cenotaph_proof import draw
from cenotaph_proof._bounded import read_bounded
from cenotaph_proof.errors import FormatError
from cenotaph_proof.keys import PublicKey, check_organisation
from cenotaph_proof.note import NoteKey, note_keys
from cenotaph_proof.policy import Policy
from cenotaph_proof.statements import Charter

LIMIT = 1 << 20
MOST_AUTHORITIES = 100
DEFAULT_APPROVE = {"auditor": 1, "notary": 1}
DEFAULT_BOUND, DEFAULT_CONFIDENCE = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class Authority:
    """A time-stamping authority that the reader believes: its name, and its certificate in PEM as it came."""

    name: str
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Trust:
    """Keys and thresholds. `named_by_operator` marks keys that nobody outside vouched for."""

    parties: tuple[PublicKey, ...]
    approve: Mapping[str, int]
    witness: int
    clock_skew: int  # seconds
    named_by_operator: bool = False
    chunks: int = 0  # clean chunks a challenge must draw of a store, as far as it has them
    quorum: Policy | None = None  # of log witnesses, beside their number
    operated_by: Mapping[str, str] = field(
        default_factory=dict
    )  # log witness → the organisation that runs it
    authorities: tuple[Authority, ...] = ()

    def __post_init__(self) -> None:
        unique_parties(self.parties)

    def holds(self, key: PublicKey) -> bool:
        """Whether this very key is trusted for this organisation in this role.

        A log witness that is trusted with an ML-DSA-44 key must come with it: a charter that leaves it out
        would have the witness counted by its older key alone.
        """
        return any(
            (key.ed25519, key.organisation, key.role) == (p.ed25519, p.organisation, p.role)
            and p.mldsa44 in (None, key.mldsa44)
            for p in self.parties
        )

    def run_by(self, organisation: str) -> frozenset[str]:
        """The log witnesses that an organisation runs, itself or through one that it runs."""
        found = {organisation}
        while more := {name for name, by in self.operated_by.items() if by in found} - found:
            found |= more
        return frozenset(found)

    def unknown_runner(self, witness: str) -> str | None:
        """Who runs a log witness in the end, where that is nobody of this file; None where it is somebody."""
        seen: set[str] = set()
        by = witness
        while by in self.operated_by and by not in seen:
            seen.add(by)
            by = self.operated_by[by]
        return None if any(p.organisation == by for p in self.parties) else by


def unique_parties(parties: Iterable[PublicKey]) -> None:
    """One signing key of a kind an organisation, one role an organisation, one organisation a key.

    Raises: FormatError naming the organisation.
    """
    keys: dict[bytes, str] = {}
    names: set[str] = set()
    for party in parties:
        if party.organisation in names:
            raise FormatError(
                f"organisation {party.organisation} is named twice; it has one key and one role"
            )
        for key in filter(None, (party.ed25519, party.mldsa44)):
            if key in keys:
                raise FormatError(f"{party.organisation} and {keys[key]} have the same key")
            keys[key] = party.organisation
        names.add(party.organisation)


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
    data = read_bounded(path, LIMIT)
    if data is None:
        raise FormatError("the trust file is larger than 1 MiB")
    try:
        table = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"the trust file is not TOML: {error}") from None
    _only(table, {"party", "policy", "authority"}, "trust file")
    listed, policy = table.get("party", []), table.get("policy", {})
    stamping = table.get("authority", [])
    if not isinstance(listed, list) or not isinstance(stamping, list) or not isinstance(policy, dict):
        raise FormatError("the trust file has [[party]] and [[authority]] tables and one [policy] table")
    parties = tuple(_party(item, path.parent) for item in listed)
    if not parties:
        raise FormatError("the trust file names no [[party]]")
    return _policy(
        policy, parties, path.parent, _operated_by(listed), tuple(_authorities(stamping, path.parent))
    )


def _policy(
    policy: Mapping[str, Any],
    parties: tuple[PublicKey, ...],
    base: Path,
    operated_by: Mapping[str, str],
    authorities: tuple[Authority, ...],
) -> Trust:
    _only(policy, {"approve", "witness", "clock_skew", "approval_lasts", "challenge", "quorum"}, "[policy]")
    approve = policy.get("approve", DEFAULT_APPROVE)
    if not isinstance(approve, dict) or not all(type(n) is int and n >= 0 for n in approve.values()):
        raise FormatError("[policy] approve must give a number for each role")
    _only(approve, {"auditor", "notary", "owner"}, "[policy] approve")
    witness = policy.get("witness", 1)
    if type(witness) is not int or witness < 0:
        raise FormatError("[policy] witness must be a number")
    return Trust(
        parties,
        approve,
        witness,
        seconds(policy.get("clock_skew", "5m"), "clock_skew"),
        chunks=_chunks(policy.get("challenge", {})),
        quorum=_quorum(policy["quorum"], parties, base) if "quorum" in policy else None,
        operated_by=operated_by,
        authorities=authorities,
    )


def _quorum(named: object, parties: tuple[PublicKey, ...], base: Path) -> Policy:
    """The policy of a trust file. Its keys are those of the file's own parties, each witness once."""
    text = _text(named, "\n" in str(named), base, "[policy] quorum")
    policy = Policy.parse(text.encode("utf-8", "surrogatepass"))
    witnesses = {key: p.organisation for p in parties if p.role == "log-witness" for key in note_keys(p)}
    names = [witnesses.get(witness.key) for witness in policy.witnesses]
    if None in names:
        raise FormatError("[policy] quorum names a witness whose key is no log witness's of this file")
    if len(set(names)) != len(names):
        raise FormatError("[policy] quorum names one log witness by both its keys; it can count only once")
    logs: set[NoteKey] = {key for p in parties if p.role == "operator" for key in note_keys(p)}
    if policy.logs and set(policy.logs) != logs:
        raise FormatError("[policy] quorum names logs, but not just those of this file's operators")
    return policy


def _operated_by(listed: list[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in listed:
        if "operated_by" not in item:
            continue
        by = item["operated_by"]
        if item["role"] != "log-witness" or not isinstance(by, str) or by == item["organisation"]:
            raise FormatError("operated_by names the organisation that runs a log witness, not itself")
        check_organisation(by)
        found[item["organisation"]] = by
    return found


def _authorities(listed: list[Any], base: Path) -> Iterable[Authority]:
    if len(listed) > MOST_AUTHORITIES:
        raise FormatError(f"the trust file names {len(listed)} authorities; at most {MOST_AUTHORITIES}")
    names: set[str] = set()
    for item in listed:
        if not isinstance(item, dict) or set(item) != {"name", "certificate"}:
            raise FormatError("an [[authority]] has a name and a certificate")
        name = item["name"]
        if not isinstance(name, str) or name in names:
            raise FormatError("the name of an [[authority]] is a text, and stands once")
        check_organisation(name)
        names.add(name)
        given = item["certificate"]
        text = _text(given, str(given).startswith("-----"), base, "the certificate of an [[authority]]")
        if not text.lstrip().startswith("-----BEGIN CERTIFICATE-----"):
            raise FormatError(f"the certificate of authority {name} is not in PEM")
        yield Authority(name, text.encode())


def _chunks(challenge: object) -> int:
    """How many chunks `challenge = { bound = …, confidence = … }` asks for; 0 where it is not given."""
    if not isinstance(challenge, dict):
        raise FormatError("[policy] challenge must give a bound and a confidence")
    _only(challenge, {"bound", "confidence"}, "[policy] challenge")
    if not challenge:
        return 0
    rates = [challenge.get("bound", DEFAULT_BOUND), challenge.get("confidence", DEFAULT_CONFIDENCE)]
    ppm = [round(rate * draw.PPM) if isinstance(rate, float) and 0 < rate < 1 else 0 for rate in rates]
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
    _only(item, {"organisation", "role", "key", "cosign", "cosign_ca", "operated_by"}, "[[party]]")
    missing = {"organisation", "role", "key"} - set(item)
    if missing:
        raise FormatError(f"a [[party]] has no {', '.join(sorted(missing))}")
    key = PublicKey.from_text(
        _text(item["key"], str(item["key"]).startswith("{"), base, "the key of a [[party]]")
    )
    if (key.organisation, key.role) != (item["organisation"], item["role"]):
        raise FormatError(f"the key of party {item['organisation']} was made for another party or role")
    return key


def _text(named: object, itself: bool, base: Path, what: str) -> str:
    """What `named` means: the text `itself`, or that of the file at this path relative to `base`."""
    if not isinstance(named, str):
        raise FormatError(f"{what} is a path, or the text itself")
    if itself:
        return named
    data = read_bounded(base / named, LIMIT)
    if data is None:
        raise FormatError(f"{what} is a file of more than 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError(f"{what} is not UTF-8: this is another kind of file") from None


def _only(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = set(table) - allowed
    if unknown:
        raise FormatError(f"{where} has a key that is not known: {sorted(unknown)[0]}")
