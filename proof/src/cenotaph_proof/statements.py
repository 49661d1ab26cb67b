"""The statements of a case: frozen values, their strict JSON, and the in-toto wrapper around them.

A statement is an in-toto Statement v1 in RFC 8785 form. Its subjects are the statements it cites,
its predicate is one of the values below. A predicate too large for a log entry is *detached*: the
statement then carries the SHA-256 and size of the predicate's bytes (spec/statements.md).

Nothing here may hold a person's data: stores go by their name in the case, collections by ordinal,
signers by organisation, role and key.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin

from cenotaph_proof import canonical
from cenotaph_proof.errors import FormatError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_PREFIX = "urn:cenotaph:v1:"
DETACH_ABOVE = 40_000  # bytes of predicate; an envelope is at most 65,535 and base64 adds a third
ATTACHMENT_LIMIT = 8 << 20
MAX_ITEMS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Text:
    limit: int
    least: int = 0


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: str


Name = Annotated[str, _Text(200, least=1)]
Line = Annotated[str, _Text(1000)]
Digest = Annotated[str, _Pattern(r"[0-9a-f]{64}")]
MlDsaKey = Annotated[str, _Pattern(r"[0-9a-f]{2624}")]
Count = Annotated[int, _Pattern("count")]
Month = Annotated[str, _Pattern(r"[0-9]{4}-[0-9]{2}")]
GradeName = Literal["none", "L1", "L2", "L3", "L4", "L5"]
Role = Literal["operator", "auditor", "notary", "owner", "log-witness"]
Decision = Literal["accept", "reject"]
Saying = Literal[
    "switched off",
    "copy gone",
    "key destroyed",
    "medium destroyed",
    "samples destroyed",
    "witnessed",
    "objects",
    "answers",
]


# ── charter ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class App:
    name: Name
    purpose: Line
    stores: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class StoreTerms:
    name: Name
    kind: Name
    grade: GradeName
    scope: Literal["everything", "collections", "rows", "subjects"]
    shared: tuple[Name, ...]
    owner: Name | None = None


@dataclass(frozen=True, slots=True)
class HoldTerms:
    by: Line
    reference: Line


@dataclass(frozen=True, slots=True)
class NamedReason:
    name: Line
    why: Line


@dataclass(frozen=True, slots=True)
class Party:
    organisation: Name
    role: Role
    ed25519: Digest
    x25519: Digest
    mldsa44: MlDsaKey | None = None  # of a log witness that also cosigns with ML-DSA-44


@dataclass(frozen=True, slots=True)
class RoleCount:
    role: Role
    count: Count


@dataclass(frozen=True, slots=True)
class Policy:
    approve: tuple[RoleCount, ...]
    witness: Count
    bound_ppm: Count
    confidence_ppm: Count
    clock_skew: Count
    approval_lasts: Count


@dataclass(frozen=True, slots=True)
class Charter:
    case: Digest
    name: Name
    operator: Name
    origin: Name
    created: Count
    basis: Line
    notice: Count
    apps: tuple[App, ...]
    stores: tuple[StoreTerms, ...]
    holds: tuple[HoldTerms, ...]
    kept: tuple[NamedReason, ...]
    recipients: tuple[NamedReason, ...]
    parties: tuple[Party, ...]
    policy: Policy
    earlier: tuple[Digest, ...]  # charters in this log that no certificate closed
    annex: Digest
    contact: Line | None = None  # where anyone may object, or bring a record of their own


# ── approval ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Commitments:
    """What an auditor binds itself to before anything is known (spec/challenge.md)."""

    share: Digest
    challenge_nonce: Digest
    probe_nonce: Digest
    outside: Digest
    outside_records: Count


@dataclass(frozen=True, slots=True)
class Approval:
    of: Literal["charter", "plan"]
    organisation: Name
    role: Role
    decision: Literal["approve", "withdraw"]
    signed: Count
    until: Count
    commitments: Commitments | None = None


# ── inventory ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Personal:
    kind: Name
    confidence: Name
    columns: Count


@dataclass(frozen=True, slots=True)
class CopyLine:
    kind: Name
    places: Count
    bytes: Count
    disposition: Name


@dataclass(frozen=True, slots=True)
class InventoryCollection:
    ordinal: Count
    format: Name
    records: Count
    held: Count
    kept: Count
    bytes: Count
    partitions: Count
    columns: Count
    personal: tuple[Personal, ...]
    copies: tuple[CopyLine, ...]
    notes: tuple[Line, ...]
    name: Name | None = None


@dataclass(frozen=True, slots=True)
class InventoryStore:
    name: Name
    reachable: GradeName
    why_not_higher: Line
    collections: tuple[InventoryCollection, ...]
    exposures: tuple[Line, ...]
    last_write: Month | None = None


@dataclass(frozen=True, slots=True)
class LookAlike:
    store: Name
    collection: Count
    other_store: Name
    other_collection: Count
    overlap_percent: Count


@dataclass(frozen=True, slots=True)
class Inventory:
    stores: tuple[InventoryStore, ...]
    look_alikes: tuple[LookAlike, ...]
    undeclared: Count
    annex: Digest


# ── seal ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SealCollection:
    """One collection, or all of a store's collections under ten records together."""

    ordinals: tuple[Count, ...]
    records: Count
    bytes: Count
    chunks: Count
    root: Digest


@dataclass(frozen=True, slots=True)
class SealStore:
    name: Name
    records: Count
    bytes: Count
    chunks: Count
    root: Digest
    collections: tuple[SealCollection, ...]
    persons: Count | None = None


@dataclass(frozen=True, slots=True)
class Seal:
    key: Digest  # SHA-256 commitment to the case key
    chunk_records: Count
    records: Count
    bytes: Count
    chunks: Count
    root: Digest
    stores: tuple[SealStore, ...]
    needles: Digest
    annex: Digest
    persons: Count | None = None


# ── plan ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LeftOut:
    ordinal: Count
    records: Count
    reason: Literal["held", "out of scope", "drifted", "amended"]


@dataclass(frozen=True, slots=True)
class OwnAction:
    kind: Name
    count: Count
    bytes: Count


@dataclass(frozen=True, slots=True)
class SharedAction:
    kind: Name
    owner: Name


@dataclass(frozen=True, slots=True)
class PlanStore:
    name: Name
    grade: GradeName  # the best that can be reached, said beforehand
    why_not_higher: Line
    destroy: tuple[Count, ...]
    records: Count
    held: Count
    kept: Count
    left_out: tuple[LeftOut, ...]
    own: tuple[OwnAction, ...]
    shared: tuple[SharedAction, ...]


@dataclass(frozen=True, slots=True)
class PlanVolume:
    """A volume whose free blocks the shared action `free_space` may wipe, for the stores that lie on it."""

    name: Name
    owner: Name
    filesystem: Name
    bytes: Count
    stores: tuple[Name, ...]
    quiesced: bool  # its owner declares no outside writers
    kept: Count  # files and folders of it that stay whatever they hold: a needle in them is no residue
    grade: GradeName
    why_not_higher: Line
    actions: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """Something that people are to see, where no mathematics can help; testimony says that they did."""

    says: Saying
    about: Name
    by: tuple[Role, ...]  # the roles of which at least one organisation each is to testify


@dataclass(frozen=True, slots=True)
class Plan:
    number: Count
    stores: tuple[PlanStore, ...]
    records: Count
    annex: Digest
    supersedes: Digest | None = None
    volumes: tuple[PlanVolume, ...] | None = None
    steps: tuple[PlanStep, ...] | None = None


# ── challenge ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CheckpointRef:
    size: Count
    root: Digest


@dataclass(frozen=True, slots=True)
class DrawnStore:
    name: Name
    chunks: Count
    drawn: Count
    matched: Count
    draw: Digest  # SHA-256 over the ids of the drawn chunks
    read: bool  # through the auditor's own session


@dataclass(frozen=True, slots=True)
class Recall:
    """How many sampled values a probe found where they were known to be."""

    store: Name
    place: Name
    encoding: Name
    sampled: Count
    found: Count


@dataclass(frozen=True, slots=True)
class Challenge:
    organisation: Name
    signed: Count
    against: CheckpointRef
    nonce: Digest
    next_nonce: Digest
    stores: tuple[DrawnStore, ...]
    brought: Count
    found: Count
    recall: tuple[Recall, ...]
    tool: Line
    decision: Decision
    reasons: tuple[Line, ...]


# ── destruction ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class DestroyedCollection:
    ordinal: Count
    records: Count  # by this run
    as_sealed: Count
    watched: Count
    unknown: Count
    partitions: Count  # done by this run
    remaining: Count  # partitions still to do
    reason: Line | None = None  # why some remain


@dataclass(frozen=True, slots=True)
class DestroyedStore:
    name: Name
    collections: tuple[DestroyedCollection, ...]
    reached: GradeName
    why_not_higher: Line
    overwritten: Count
    returned: Count
    notes: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class VolumeAction:
    """One thing done to a volume: kind "trim", "fill", "file tails", "directories" or "journal"."""

    kind: Name
    count: Count
    bytes: Count


@dataclass(frozen=True, slots=True)
class WipedVolume:
    name: Name
    reached: GradeName  # by the operator's own account
    why_not_higher: Line
    actions: tuple[VolumeAction, ...]
    free: Count  # bytes of free blocks afterwards
    blank: Count  # of those, bytes read back as nothing but zeros; 0 where nobody could read them


@dataclass(frozen=True, slots=True)
class Destruction:
    number: Count
    started: Count
    finished: Count
    journal: Digest
    stores: tuple[DestroyedStore, ...]
    complete: bool
    volumes: tuple[WipedVolume, ...] | None = None


# ── probe ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Residue:
    place: Name
    lane: Name
    kind: Name
    values: Count


@dataclass(frozen=True, slots=True)
class RestoredCopy:
    """One attempt to bring records back from what is left of a store's copies."""

    method: Name
    tool: Name
    version: Name
    rows: Count  # that came back, whatever they hold
    records: Count  # of those, records of the scope
    note: Line


@dataclass(frozen=True, slots=True)
class ProbedStore:
    name: Name
    asked: GradeName
    reached: GradeName
    why_not_higher: Line
    places: Count
    bytes: Count
    residue: Count  # distinct needles found outside what is kept
    kept_elsewhere: Count  # distinct needles found inside what is kept
    strangers: Count  # people whom no seal knows, found by shape outside what is kept
    found: tuple[Residue, ...]
    recall: tuple[Recall, ...]
    unreachable: tuple[Line, ...]
    read: bool  # through the auditor's own session
    restores: tuple[RestoredCopy, ...] | None = None


@dataclass(frozen=True, slots=True)
class RestoreAttempt:
    """One attempt to bring something back from a volume or a store on it."""

    method: Name
    tool: Name
    version: Name
    recovered: Count  # rows, files or blocks that the attempt brought back, whatever they hold
    values: Count  # distinct needles in them, but for what is kept
    note: Line


@dataclass(frozen=True, slots=True)
class Referee:
    """An outside tool on the same bytes."""

    tool: Name
    version: Name
    bytes: Count  # that the tool gave to be searched
    values: Count  # distinct needles in them
    missed: Count  # of those, needles that the auditor's own search had not found
    note: Line


@dataclass(frozen=True, slots=True)
class ProbedVolume:
    name: Name
    stores: tuple[Name, ...]
    filesystem: Name
    state: Literal["frozen", "read-only", "moving", "not read"]
    bytes: Count  # of the volume
    read: Count  # of those, bytes that were read
    free: Count  # bytes of free blocks
    blank: Count  # of those, bytes in blocks of nothing but zeros
    reached: GradeName
    why_not_higher: Line
    residue: Count  # distinct needles found outside what is kept
    kept_elsewhere: Count  # distinct needles found inside what is kept
    strangers: Count  # people whom no seal knows, found by shape where nothing live is
    found: tuple[Residue, ...]
    recall: tuple[Recall, ...]
    restores: tuple[RestoreAttempt, ...]
    referees: tuple[Referee, ...]
    unreachable: tuple[Line, ...]  # what was not read, or left out of the search
    notes: tuple[Line, ...] | None = None  # what lowers no grade: broken containers, owners of hits …


@dataclass(frozen=True, slots=True)
class CheckedApp:
    """What an auditor saw of an app that is to be switched off."""

    app: Name
    check: Literal["endpoint", "port", "job", "role"]
    state: Literal["gone", "still there", "not looked at"]
    note: Line  # what answered; no address


@dataclass(frozen=True, slots=True)
class Probe:
    organisation: Name
    signed: Count
    against: CheckpointRef
    nonce: Digest
    next_nonce: Digest
    needles: Count
    stores: tuple[ProbedStore, ...]
    tool: Line
    share_destroyed: bool
    decision: Decision
    reasons: tuple[Line, ...]
    volumes: tuple[ProbedVolume, ...] | None = None
    apps: tuple[CheckedApp, ...] | None = None


# ── testimony ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Testimony:
    organisation: Name
    role: Role
    signed: Count
    says: Saying
    about: Name
    evidence: tuple[Digest, ...]
    why: Line | None = None  # in an objection and its answer; never a person


# ── certificate ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CertifiedCollection:
    ordinals: tuple[Count, ...]
    sealed: Count
    destroyed: Count
    as_sealed: Count
    watched: Count
    unknown: Count
    outcome: Literal["destroyed", "partly destroyed", "not destroyed", "left out"]


@dataclass(frozen=True, slots=True)
class CertifiedStore:
    name: Name
    asked: GradeName
    planned: GradeName
    reached: GradeName
    why_not_higher: Line
    sealed: Count
    destroyed: Count
    held: Count
    kept: Count
    returned: Count
    kept_elsewhere: Count
    strangers: Count
    collections: tuple[CertifiedCollection, ...]
    unreachable: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class CertifiedVolume:
    name: Name
    stores: tuple[Name, ...]
    filesystem: Name
    reached: GradeName
    why_not_higher: Line
    read: Count
    restores: Count  # attempts to restore, all of which brought back nothing where L3 is reached
    referees: tuple[Name, ...]  # outside tools that were run


@dataclass(frozen=True, slots=True)
class Certificate:
    log: CheckpointRef
    issued: Count
    sealed: Count
    destroyed: Count
    as_sealed: Count
    watched: Count
    unknown: Count
    held: Count
    kept: Count
    collections: Count
    returned: Count
    stores: tuple[CertifiedStore, ...]
    batches: Count
    abandoned: tuple[Digest, ...]
    shares_not_destroyed: tuple[Name, ...]
    limits: tuple[Line, ...]
    persons: Count | None = None
    volumes: tuple[CertifiedVolume, ...] | None = None


Body = (
    Charter | Approval | Inventory | Seal | Plan | Challenge | Destruction | Probe | Testimony | Certificate
)
KINDS: Mapping[str, type[Body]] = {
    cls.__name__.lower(): cls
    for cls in (
        Charter,
        Approval,
        Inventory,
        Seal,
        Plan,
        Challenge,
        Destruction,
        Probe,
        Testimony,
        Certificate,
    )
}


@dataclass(frozen=True, slots=True)
class Cite:
    """The statement another one depends on, by the SHA-256 of its exact envelope bytes."""

    kind: str
    digest: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed statement. `cites` are in the order they were given."""

    body: Body
    cites: tuple[Cite, ...]
    bytes: int = field(default=0, compare=False)  # as read, detached part included
    marks: int = field(default=0, compare=False)  # as read (spec/envelope.md, rule 1.6)

    @property
    def kind(self) -> str:
        return type(self.body).__name__.lower()

    def cited(self, kind: str) -> str | None:
        """The digest of the one statement of this kind that is cited, or None.

        Raises: FormatError when there is more than one.
        """
        found = [cite.digest for cite in self.cites if cite.kind == kind]
        if len(found) > 1:
            raise FormatError(f"a {self.kind} statement cites {len(found)} {kind} statements, not one")
        return found[0] if found else None


def write(statement: Statement) -> tuple[bytes, bytes | None]:
    """The payload of a statement's envelope, and its attachment where the predicate is detached."""
    predicate = canonical.dumps(to_json(statement.body))
    attachment = predicate if len(predicate) > DETACH_ABOVE else None
    payload: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_PREFIX + statement.kind,
        "subject": [{"name": c.kind, "digest": {"sha256": c.digest}} for c in statement.cites],
        "predicate": to_json(statement.body)
        if attachment is None
        else {"detached": hashlib.sha256(attachment).hexdigest(), "bytes": len(attachment)},
    }
    return canonical.dumps(payload), attachment


def parse(payload: bytes, attachments: Mapping[str, bytes], outlined: Outline | None = None) -> Statement:
    """Read a statement strictly: `write(parse(x)) == x`.

    It need not be written to know that: the payload is canonical JSON, and each member has one value that
    stands for it. `attachments` maps hex SHA-256 to bytes; `outlined` is the payload's outline, where it is
    at hand. Raises: FormatError.
    """
    outlined = outlined or outline(payload)
    outer = outlined.outer
    if outer["_type"] != STATEMENT_TYPE:
        raise FormatError("this is not an in-toto Statement v1")
    kind = str(outer["predicateType"]).removeprefix(PREDICATE_PREFIX)
    if outer["predicateType"] != PREDICATE_PREFIX + kind or kind not in KINDS:
        raise FormatError("the statement is of a kind this version does not know")
    predicate, size, marks = outer["predicate"], len(payload), canonical.marks(payload)
    if isinstance(predicate, dict) and set(predicate) == {"detached", "bytes"}:
        apart = _attached(predicate, attachments)
        predicate, size, marks = _detached(apart), size + len(apart), marks + canonical.marks(apart)
    elif size > DETACH_ABOVE and len(canonical.dumps(predicate)) > DETACH_ABOVE:
        raise FormatError(f"the {kind} statement is not written the one way that is allowed")
    return Statement(from_json(KINDS[kind], predicate, kind), outlined.cites, size, marks)


@dataclass(frozen=True, slots=True)
class Outline:
    """What can be said of a statement without reading its predicate."""

    kind: str
    charter: str | None  # the digest of the charter it cites
    case: str | None  # of a charter: the case it opens
    detached: str | None
    cites: tuple[Cite, ...] = ()
    outer: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)  # for `parse`


def outline(payload: bytes) -> Outline:
    """Sort a log entry by case. Raises: FormatError."""
    outer = _object(canonical.loads(payload), {"_type", "predicateType", "subject", "predicate"}, "statement")
    # What does not bear the prefix whole is of no kind: "charter" alone would pass for an earlier attempt.
    named = str(outer["predicateType"])
    kind = named.removeprefix(PREDICATE_PREFIX) if named.startswith(PREDICATE_PREFIX) else ""
    cites = _cites(outer["subject"])
    charters = [c.digest for c in cites if c.kind == "charter"]
    predicate = outer["predicate"]
    apart = isinstance(predicate, dict) and set(predicate) == {"detached", "bytes"}
    return Outline(
        kind,
        charters[0] if charters else None,
        next((c.digest for c in cites if c.kind == "case"), None),
        str(predicate["detached"]) if apart else None,
        cites,
        outer,
    )


_DIGEST = re.compile("[0-9a-f]{64}")


def _attached(reference: Mapping[str, Any], attachments: Mapping[str, bytes]) -> bytes:
    data = attachments.get(str(reference["detached"]))
    if data is None:
        raise FormatError("a statement's detached part is missing from the proof file")
    if hashlib.sha256(data).hexdigest() != reference["detached"] or len(data) != reference["bytes"]:
        raise FormatError("a statement's detached part is not the one it names")
    return data


def _detached(data: bytes) -> Any:
    if len(data) <= DETACH_ABOVE:
        raise FormatError(
            "a statement is not written the one way that is allowed: its detached part is short"
        )
    return canonical.loads(data, limit=ATTACHMENT_LIMIT)


def _cites(value: Any) -> tuple[Cite, ...]:
    if not isinstance(value, list) or not value or len(value) > 10_000:
        raise FormatError("a statement's subject must be a list of what it cites")
    cites = []
    for given in value:
        item = _object(given, {"name", "digest"}, "subject")
        digest = _object(item["digest"], {"sha256"}, "digest")["sha256"]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise FormatError("subject digest is not of the form it must have")
        if not _NAME(item["name"]):
            raise FormatError("subject name is not of the form it must have")
        cites.append(Cite(item["name"], digest))
    return tuple(cites)


# ── the codec: dataclass ⇄ JSON, driven by the annotations ───────────────────────────────────────

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """JSON of a statement value; absent optionals are left out."""
    if dataclasses.is_dataclass(value):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_json(item) for name, item in pairs if item is not None}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(cls: type[T], value: Any, where: str = "value") -> T:
    """Build `cls` from JSON, refusing unknown and missing keys, wrong types and bounds.

    Raises: FormatError naming the key, never the value.
    """
    readers, optional = _shape(typing.cast(Any, cls))
    if not isinstance(value, dict):
        raise FormatError(f"{where} must be an object")
    if value.keys() != readers.keys():
        unknown, missing = value.keys() - readers.keys(), readers.keys() - value.keys() - optional
        if unknown or missing:
            raise FormatError(
                f"{where} has unknown or missing keys: {', '.join(sorted(unknown | missing))[:200]}"
            )
    empty = [name for name in optional if value.get(name) == []]
    if empty:  # with nothing to say a member is left out: there is one way to write a statement
        raise FormatError(f"{where}.{min(empty)} must be left out where there is nothing to list")
    return cls(**{name: readers[name](item, where, name) for name, item in value.items()})


Reader: TypeAlias = Callable[[Any, str, Any], Any]
"""Returns a member's value, given its JSON, where the object stands that holds it, and its name."""


@functools.cache
def _shape(cls: Any) -> tuple[dict[str, Reader], frozenset[str]]:
    """How each member of a class is read, and which may be left out: looked up once, not for each value."""
    hints = typing.get_type_hints(cls, include_extras=True)
    optional = frozenset(f.name for f in dataclasses.fields(cls) if f.default is None)
    return {name: _reader(hint) for name, hint in hints.items()}, optional


def _reader(hint: Any) -> Reader:
    origin = get_origin(hint)
    if origin is types.UnionType or origin is typing.Union:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        origin = get_origin(hint)
    if origin is tuple:
        return _list_of(_reader(get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        cls = typing.cast(type, hint)
        return lambda value, where, name: from_json(cls, value, f"{where}.{name}")
    return _checked(_rule(hint))


def _list_of(item: Reader) -> Reader:
    def read(value: Any, where: str, name: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise FormatError(f"{where}.{name} must be a list")
        try:
            return tuple([item(v, where, name) for v in value])
        except FormatError:  # which one it is, is asked only now
            return tuple([item(v, where, f"{name}[{i}]") for i, v in enumerate(value)])

    return read


def _checked(good: Callable[[Any], bool]) -> Reader:
    def read(value: Any, where: str, name: Any) -> Any:
        if not good(value):
            raise FormatError(f"{where}.{name} is not of the form it must have")
        return value

    return read


def _rule(hint: Any) -> Callable[[Any], bool]:
    """What a text, a number or a truth value must be."""
    if hint is bool:
        return lambda value: type(value) is bool
    if get_origin(hint) is Literal:
        words = frozenset(get_args(hint))
        return lambda value: type(value) is str and value in words
    _, rule = get_args(hint)
    if isinstance(rule, _Text):
        least, limit = rule.least, rule.limit
        return lambda value: (
            type(value) is str and least <= len(value) <= limit and not _CONTROL.search(value)
        )
    if rule.expression == "count":
        return lambda value: type(value) is int and value >= 0
    whole = re.compile(rule.expression, re.ASCII).fullmatch
    return lambda value: type(value) is str and whole(value) is not None


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


_NAME = _rule(Name)


def _object(value: Any, keys: set[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != keys:
        raise FormatError(f"{where} must be an object with the keys {', '.join(sorted(keys))}")
    return value
