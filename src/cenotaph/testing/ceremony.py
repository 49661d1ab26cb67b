"""A whole case in memory, in milliseconds: keys, statements, checkpoints, clock; no stores, no disk.

`Ceremony` signs what an honest case would sign. Each step is a method whose keywords replace fields of
the honest body, and `say` signs anything at all: a ceremony checks nothing, so that it can also tell
lies (`cenotaph.testing.lying`). Keys and nonces derive from names: for tests alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cenotaph_proof import bundle as bundles
from cenotaph_proof import draw, envelope, facts, merkle, note, statements
from cenotaph_proof import seal as seals
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Cosigned, Entry
from cenotaph_proof.folder import sign
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.seal import CHUNK_RECORDS, ChunkSeal
from cenotaph_proof.statements import (
    App,
    Approval,
    Body,
    Certificate,
    Challenge,
    Charter,
    CheckedApp,
    CheckpointRef,
    Cite,
    Commitments,
    DestroyedCollection,
    DestroyedStore,
    Destruction,
    DrawnStore,
    GradeName,
    HoldTerms,
    Inventory,
    InventoryCollection,
    InventoryStore,
    LeftOut,
    NamedReason,
    OwnAction,
    Party,
    Plan,
    PlanStep,
    PlanStore,
    PlanVolume,
    Policy,
    Probe,
    ProbedStore,
    ProbedVolume,
    Recall,
    Referee,
    RestoreAttempt,
    RoleCount,
    Seal,
    SealCollection,
    SealStore,
    SharedAction,
    StoreTerms,
    Testimony,
    VolumeAction,
    WipedVolume,
)
from cenotaph_proof.trust import Trust

OPERATOR = "Big Data Bureau"
AUDITORS = ("Audit Co", "Second Audit Co")
NOTARY = "Zhao & Partners"
OWNER = "Host Co"
WITNESSES = ("Daily Paper", "City Library", "University")
STEPS = (
    "open",
    "countersign",
    "survey",
    "seal",
    "plan",
    "challenge",
    "approve",
    "destroy",
    "probe",
    "certify",
)
BOUND_PPM, CONFIDENCE_PPM = 200_000, 900_000  # eleven clean chunks: 20 % at 90 %
START = 1_700_000_000
SKEW = 300
WHY = {"L2": "files, not volumes", "L3": "volumes, not media"}  # why no higher grade can be reached

B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Estate:
    """What one store of a ceremony holds: records by collection, and how many of the rest stay."""

    name: str
    collections: tuple[int, ...]
    held: int = 0
    left_out: tuple[int, ...] = ()
    shared: tuple[str, ...] = ()


ESTATE = (
    Estate("health", (40 * CHUNK_RECORDS, 12_000, 4, 3)),  # the last two are published merged
    Estate("visits", (5_000, 0), held=3, left_out=(1,)),
)


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume of a ceremony, and which of its stores lie on it. These list `free_space` as shared."""

    name: str
    stores: tuple[str, ...]
    quiesced: bool = True
    bytes: int = 1 << 30


ON_VOLUME = (
    Estate("health", (12_000, 4), shared=("free_space",)),
    Estate("visits", (5_000, 0), held=3, left_out=(1,)),  # lies on no volume of the case
)
VOLUMES = (Disk("retired", ("health",)),)
SEEN = (  # what people are to see: an app, a recipient's copy, a medium
    PlanStep("switched off", "health code", ("notary",)),
    PlanStep("copy gone", "Statistics Office", ("auditor", "notary")),
    PlanStep("medium destroyed", "tape library 3", ("notary",)),
)
FREED = 600 << 20  # bytes of free blocks on a volume


class Credulous(Case):
    """A case that believes everything: it only sorts statements, so that a lie can be carried on."""

    def _check_cites(self, entry: Entry) -> None:
        pass

    def _check_body(self, entry: Entry) -> None:
        pass

    def _check_time(self, new: Cosigned) -> None:
        pass


@dataclass(slots=True)
class Ceremony:
    """One case, told step by step. `run` tells the honest one, from one step to another.

    `witness` is how many cosignatures the policy asks for, of as many log witnesses. With `post_quantum`
    each of them cosigns with ML-DSA-44 as well.
    """

    auditors: int = 1
    witness: int = 1
    post_quantum: bool = False
    notice: int = 0
    estate: Sequence[Estate] = ESTATE
    volumes: Sequence[Disk] = ()
    steps: Sequence[PlanStep] = ()  # the charter names the apps and recipients that they are about
    attempt: int = 1  # another number is another case of the same operator
    outside: int = 2
    now: int = START
    entries: list[bytes] = field(default_factory=list)
    attachments: dict[str, bytes] = field(default_factory=dict)
    checkpoints: dict[int, bytes] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, Any] = field(default_factory=dict)
    nonces: dict[str, bytes] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()

    def fresh(self, **changes: Any) -> Ceremony:
        """The same settings, nothing told yet."""
        settings = {
            "auditors": self.auditors,
            "witness": self.witness,
            "post_quantum": self.post_quantum,
            "notice": self.notice,
            "estate": self.estate,
            "volumes": self.volumes,
            "steps": self.steps,
            "attempt": self.attempt,
            "outside": self.outside,
        }
        return Ceremony(**{**settings, **changes})

    def follow(self, other: Ceremony, *, admit: bool = False) -> Ceremony:
        """Go on in the log in which another case stands; `admit` names its charter as unfinished."""
        self.entries, self.now = list(other.entries), other.now + 60
        self.earlier = (other.newest["charter"],) if admit else ()
        return self

    # ── telling ──────────────────────────────────────────────────────────────────────────────────

    def run(self, first: str = STEPS[0], last: str = STEPS[-1]) -> Ceremony:
        """Take the honest steps from `first` to `last`, both included."""
        for step in STEPS[STEPS.index(first) : STEPS.index(last) + 1]:
            getattr(self, step)()
        return self

    def say(self, body: Body, *cites: Cite, by: str, cosign: bool = True) -> str:
        """Sign a statement, log it, and have the witnesses cosign. Returns its digest."""
        data, attachment = sign(body, cites, self.key(by))
        if attachment is not None:
            self.attachments[hashlib.sha256(attachment).hexdigest()] = attachment
        digest = self.log(data, cosign=cosign)
        kind = type(body).__name__.lower()
        self.newest[kind], self.bodies[kind] = digest, body
        return digest

    def log(self, data: bytes, *, cosign: bool = True) -> str:
        """Append bytes to the operator's log, whatever they are."""
        self.entries.append(data)
        self.wait(60)
        if cosign:
            self.cosign()
        return hashlib.sha256(data).hexdigest()

    def cosign(self, by: Sequence[str] | None = None) -> None:
        """Cosign the head of the log, by all log witnesses or by those named."""
        signed = note.sign_checkpoint(
            note.Checkpoint(self.origin, len(self.entries), self.root()), self.key(OPERATOR)
        )
        names = self.witnesses if by is None else by
        lines = [note.cosign(signed, self.key(name), self.now) for name in names]
        self.checkpoints[len(self.entries)] = note.add_signatures(signed, lines) if lines else signed

    def wait(self, seconds: int) -> None:
        """Let the fake clock run."""
        self.now += seconds

    # ── what is told ─────────────────────────────────────────────────────────────────────────────

    def bundle(self) -> Bundle:
        """The proof file's contents as they stand."""
        notes = tuple(self.checkpoints[size] for size in sorted(self.checkpoints))
        return Bundle(self.case_id, tuple(self.entries), notes, dict(self.attachments))

    def proof(self) -> bytes:
        """The proof file."""
        return bundles.write(self.bundle())

    def trust(self, **changes: Any) -> Trust:
        """A trust file's contents: every honest party, one auditor and one notary."""
        held = Trust(
            parties=tuple(self.key(name).public for name in self.parties()),
            approve={"auditor": 1, "notary": 1},
            witness=self.witness,
            clock_skew=SKEW,
        )
        return replace(held, **changes)

    def replay(self, cls: Callable[..., Case] = Credulous) -> Case:
        """The case so far, by default as a credulous reader sees it."""
        case = cls(None)
        at = self._charter_at()
        mine = hashlib.sha256(self.entries[at]).hexdigest()
        for index, data in enumerate(self.entries):
            outline = statements.outline(envelope.open_(data).payload)
            if index == at or outline.charter == mine:
                case.admit(data, self.attachments)
            else:
                case.skip(data, outline.kind, outline.charter)
            if index + 1 in self.checkpoints and case.charter_entry is not None:
                case.observe(self.checkpoints[index + 1])
        return case

    # ── steps ────────────────────────────────────────────────────────────────────────────────────

    def open(self, **changes: Any) -> str:
        """The charter. `earlier` of the ceremony are the charters it admits to."""
        return self.say(
            replace(self.charter_body(), **changes),
            Cite("case", changes.get("case", self.case_id)),
            by=OPERATOR,
        )

    def countersign(self) -> None:
        """Auditors, notary and owner approve the charter."""
        for name in self.countersigners():
            self.approve_charter(name)

    def approve_charter(self, name: str, **changes: Any) -> str:
        role = self.key(name).role
        body = Approval(
            of="charter",
            organisation=name,
            role=role,  # type: ignore[arg-type]  # a role
            decision="approve",
            signed=self.now,
            until=self.now + 90 * 86_400,
            commitments=self.commitments(name) if role == "auditor" else None,
        )
        return self.say(replace(body, **changes), self.cite("charter"), by=name)

    def survey(self, **changes: Any) -> str:
        return self.say(replace(self.inventory_body(), **changes), self.cite("charter"), by=OPERATOR)

    def seal(self, **changes: Any) -> str:
        cites = (self.cite("charter"), self.cite("inventory"))
        return self.say(replace(self.seal_body(), **changes), *cites, by=OPERATOR)

    def plan(self, **changes: Any) -> str:
        cites = (self.cite("charter"), self.cite("inventory"), self.cite("seal"))
        return self.say(replace(self.plan_body(), **changes), *cites, by=OPERATOR)

    def challenge(self, name: str | None = None, **changes: Any) -> None:
        """The auditor's challenge; of all auditors where none is named."""
        for auditor in [name] if name else AUDITORS[: self.auditors]:
            body = replace(self.challenge_body(auditor), **changes)
            self.say(body, *map(self.cite, ("charter", "seal", "plan")), by=auditor)

    def approve(self) -> None:
        """Auditors, notary and owner approve the plan."""
        for name in self.countersigners():
            self.approve_plan(name)

    def approve_plan(self, name: str, plan: str | None = None, **changes: Any) -> str:
        body = Approval(
            of="plan",
            organisation=name,
            role=self.key(name).role,  # type: ignore[arg-type]  # a role
            decision="approve",
            signed=self.now,
            until=self.now + 90 * 86_400,
        )
        cites = (self.cite("charter"), Cite("plan", plan or self.newest["plan"]))
        return self.say(replace(body, **changes), *cites, by=name)

    def destroy(self, **changes: Any) -> str:
        self.wait(self.notice)
        body = replace(self.destruction_body(), **changes)
        return self.say(body, self.cite("charter"), self.cite("plan"), by=OPERATOR)

    def probe(self, name: str | None = None, **changes: Any) -> None:
        """The auditor's probe; of all auditors where none is named."""
        for auditor in [name] if name else AUDITORS[: self.auditors]:
            body = replace(self.probe_body(auditor), **changes)
            self.say(body, *map(self.cite, ("charter", "inventory", "destruction")), by=auditor)

    def testify(self, name: str, says: str, about: str, *cites: Cite, **changes: Any) -> str:
        """What somebody says; no step of an honest case, which may do without."""
        body = Testimony(
            organisation=name,
            role=self.key(name).role,  # type: ignore[arg-type]  # a role
            signed=self.now,
            says=says,  # type: ignore[arg-type]  # one of the sayings, or a lie
            about=about,
            evidence=(),
        )
        return self.say(replace(body, **changes), self.cite("charter"), *cites, by=name)

    def certify(self, **changes: Any) -> str:
        body = replace(self.certificate_body(), **changes)
        probes = [Cite("probe", p.digest) for p in facts.accepted(self.replay())]
        return self.say(body, self.cite("charter"), *probes, by=OPERATOR)

    # ── honest bodies ────────────────────────────────────────────────────────────────────────────

    def charter_body(self) -> Charter:
        return Charter(
            case=self.case_id,
            name="health-2023",
            operator=OPERATOR,
            origin=self.origin,
            created=self.now,
            basis="purpose achieved",
            notice=self.notice,
            apps=tuple(App(s.about, "", ()) for s in self.steps if s.says == "switched off"),
            stores=tuple(
                StoreTerms(
                    e.name, "sqlite", self.asked(e.name), "everything", e.shared, OWNER if e.shared else None
                )
                for e in self.estate
            ),
            holds=(HoldTerms("District court", "case 21-443"),),
            kept=(),
            recipients=tuple(NamedReason(s.about, "") for s in self.steps if s.says == "copy gone"),
            parties=tuple(self.party(name) for name in self.parties()),
            policy=Policy(
                approve=(RoleCount("auditor", 1), RoleCount("notary", 1)),
                witness=self.witness,
                bound_ppm=BOUND_PPM,
                confidence_ppm=CONFIDENCE_PPM,
                clock_skew=SKEW,
                approval_lasts=90 * 86_400,
            ),
            earlier=self.earlier,
            annex=_hex("annex"),
        )

    def inventory_body(self) -> Inventory:
        return Inventory(
            stores=tuple(
                InventoryStore(
                    name=store.name,
                    reachable=self.asked(store.name),
                    why_not_higher=WHY[self.asked(store.name)],
                    collections=tuple(
                        InventoryCollection(
                            ordinal=number,
                            format="table",
                            records=records,
                            held=store.held if number in store.left_out else 0,
                            kept=0,
                            bytes=100 * records,
                            partitions=1,
                            columns=4,
                            personal=(),
                            copies=(),
                            notes=(),
                        )
                        for number, records in enumerate(store.collections)
                    ),
                    exposures=(),
                )
                for store in self.estate
            ),
            look_alikes=(),
            undeclared=0,
            annex=_hex("annex"),
        )

    def seal_body(self) -> Seal:
        return self.sealed([self.seal_store(e) for e in self.estate])

    def sealed(self, stores: Sequence[SealStore]) -> Seal:
        """A seal whose totals and root follow from its stores."""
        return Seal(
            key=_hex("case key"),
            chunk_records=CHUNK_RECORDS,
            records=sum(s.records for s in stores),
            bytes=sum(s.bytes for s in stores),
            chunks=sum(s.chunks for s in stores),
            root=seals.estate_root(stores),
            stores=tuple(stores),
            needles=_hex("needles"),
            annex=_hex("seal annex"),
        )

    def seal_store(self, store: Estate, salt: str = "") -> SealStore:
        """The seal of a store; another `salt` is other data of the same size."""
        return seals.store(store.name, seals.publish(self.seal_collections(store, salt)))

    def seal_collections(self, store: Estate, salt: str = "") -> list[SealCollection]:
        return [
            seals.collection(number, _chunks(records, f"{salt}{store.name}{number}"))
            for number, records in enumerate(store.collections)
        ]

    def plan_body(self) -> Plan:
        stores = tuple(self._plan_store(e) for e in self.estate)
        previous = self.bodies.get("plan")
        return Plan(
            number=previous.number + 1 if previous else 1,
            stores=stores,
            records=sum(s.records for s in stores),
            annex=_hex("annex"),
            supersedes=self.newest.get("plan"),
            volumes=tuple(self.plan_volume(disk) for disk in self.volumes) or None,
            steps=tuple(self.steps) or None,
        )

    def plan_volume(self, disk: Disk) -> PlanVolume:
        """What an honest plan says of a volume."""
        return PlanVolume(
            name=disk.name,
            owner=OWNER,
            filesystem="ext4",
            bytes=disk.bytes,
            stores=disk.stores,
            quiesced=disk.quiesced,
            kept=0,
            grade="L3" if disk.quiesced else "L2",
            why_not_higher="" if disk.quiesced else "others may write to it",
            actions=("directories", "file tails", "free blocks", "journal"),
        )

    def _plan_store(self, store: Estate) -> PlanStore:
        chosen = [n for n in range(len(store.collections)) if n not in store.left_out]
        records = sum(store.collections[n] for n in chosen)
        return PlanStore(
            name=store.name,
            grade=self.aim(store.name),
            why_not_higher=WHY[self.aim(store.name)],
            destroy=tuple(chosen),
            records=records,
            held=store.held,
            kept=0,
            left_out=tuple(LeftOut(n, store.collections[n], "held") for n in store.left_out),
            own=(OwnAction("erase records", records, 100 * records),),
            shared=tuple(SharedAction(kind, OWNER) for kind in store.shared),
        )

    def challenge_body(self, auditor: str) -> Challenge:
        nonce = self.committed(auditor, "challenge")
        seed = draw.seed(
            "challenge", self.case_id, self.newest["seal"], self.key(auditor).public.key_id, nonce
        )
        sealed: Seal = self.bodies["seal"]
        return Challenge(
            organisation=auditor,
            signed=self.now,
            against=self.head(),
            nonce=nonce.hex(),
            next_nonce=self.commit(auditor, "challenge"),
            stores=tuple(_drawn(seed, store) for store in sealed.stores),
            brought=self.outside,
            found=self.outside,
            recall=tuple(Recall(s.name, "any place", "any", 40, 40) for s in sealed.stores),
            tool="cenotaph 0.1.0",
            decision="accept",
            reasons=(),
        )

    def destruction_body(self) -> Destruction:
        plan: Plan = self.bodies["plan"]
        records = {(e.name, n): count for e in self.estate for n, count in enumerate(e.collections)}
        return Destruction(
            number=self.bodies["destruction"].number + 1 if "destruction" in self.bodies else 1,
            started=self.now,
            finished=self.now + 30,
            journal=_hex("journal"),
            stores=tuple(
                DestroyedStore(
                    name=store.name,
                    collections=tuple(_destroyed(n, records[store.name, n]) for n in store.destroy),
                    reached=self.aim(store.name),
                    why_not_higher=WHY[self.aim(store.name)],
                    overwritten=100 * store.records,
                    returned=100 * store.records,
                    notes=(),
                )
                for store in plan.stores
            ),
            complete=True,
            volumes=tuple(self.wiped_volume(disk) for disk in self.volumes) or None,
        )

    def wiped_volume(self, disk: Disk) -> WipedVolume:
        """What an honest run says of a volume that it wiped."""
        actions = (VolumeAction("directories", 2, 8_192), VolumeAction("fill", 1, FREED))
        grade = self.plan_volume(disk).grade
        return WipedVolume(
            disk.name, grade, "" if grade == "L3" else "headroom was left", actions, FREED, FREED
        )

    def probe_body(self, auditor: str) -> Probe:
        return Probe(
            organisation=auditor,
            signed=self.now,
            against=self.head(),
            nonce=self.committed(auditor, "probe").hex(),
            next_nonce=self.commit(auditor, "probe"),
            needles=100_000,
            stores=tuple(_probed(e.name, self.asked(e.name), self.aim(e.name)) for e in self.estate),
            tool="cenotaph 0.1.0",
            share_destroyed=True,
            decision="accept",
            reasons=(),
            volumes=tuple(self.probed_volume(disk) for disk in self.volumes) or None,
            apps=tuple(
                CheckedApp(s.about, "endpoint", "gone", "answers 410 Gone")
                for s in self.steps
                if s.says == "switched off"
            )
            or None,
        )

    def probed_volume(self, disk: Disk) -> ProbedVolume:
        """What an honest auditor says of a volume on which nothing was found."""
        return ProbedVolume(
            name=disk.name,
            stores=disk.stores,
            filesystem="ext4",
            state="frozen",
            bytes=disk.bytes,
            read=disk.bytes,
            free=FREED,
            blank=FREED,
            reached="L3" if disk.quiesced else "L2",
            why_not_higher="" if disk.quiesced else "others may write to it",
            residue=0,
            kept_elsewhere=0,
            strangers=0,
            found=(),
            recall=(
                Recall(disk.name, "free blocks", "utf-8", 20, 20),
                Recall(disk.name, "file system journal", "utf-8", 20, 19),
            ),
            restores=(RestoreAttempt("carving", "cenotaph", "0.1.0", 12, 0, ""),),
            referees=(
                Referee("grep", "3.8", disk.bytes, 0, 0, ""),
                Referee("photorec", "7.1", 4_096, 0, 0, ""),
            ),
            unreachable=(),
        )

    def certificate_body(self) -> Certificate:
        """What a credulous operator would certify. Raises: OrderError without an accepted probe."""
        return facts.certificate(self.replay(), self.head(), self.now)

    # ── parts ────────────────────────────────────────────────────────────────────────────────────

    @property
    def case_id(self) -> str:
        return _hex(f"case {self.attempt}")

    @property
    def origin(self) -> str:
        return note.log_origin(self.key(OPERATOR).public)

    @property
    def witnesses(self) -> tuple[str, ...]:
        return WITNESSES[: self.witness]

    def asked(self, store: str) -> GradeName:
        """The grade that the case asks for: L3 of what lies on a volume of the case."""
        return "L3" if any(store in disk.stores for disk in self.volumes) else "L2"

    def aim(self, store: str) -> GradeName:
        """The grade that a store can reach: L3 where nobody else writes to its volume."""
        return "L3" if any(store in disk.stores and disk.quiesced for disk in self.volumes) else "L2"

    def countersigners(self) -> tuple[str, ...]:
        owner = (OWNER,) if any(e.shared for e in self.estate) else ()
        return (*AUDITORS[: self.auditors], NOTARY, *owner)

    def parties(self) -> tuple[str, ...]:
        return (OPERATOR, *self.countersigners(), *self.witnesses)

    def party(self, name: str) -> Party:
        public = self.key(name).public
        third = None if public.mldsa44 is None else public.mldsa44.hex()
        return Party(name, public.role, public.ed25519.hex(), public.x25519.hex(), third)  # type: ignore[arg-type]

    def key(self, name: str, role: str | None = None) -> SecretKey:
        """The key of an organisation, derived from its name."""
        seed = hashlib.sha512(f"ceremony {name}".encode()).digest()
        role = role or ROLES.get(name, "auditor")
        third = hashlib.sha256(seed).digest() if self.post_quantum and role == "log-witness" else None
        return SecretKey(name, role, seed[:32], seed[32:], third)

    def cite(self, kind: str) -> Cite:
        return Cite(kind, self.newest[kind])

    def root(self) -> bytes:
        return merkle.root(merkle.leaf_hash(data) for data in self.entries)

    def head(self) -> CheckpointRef:
        """The newest cosigned checkpoint."""
        size = max(self.checkpoints)
        leaves = [merkle.leaf_hash(data) for data in self.entries[:size]]
        return CheckpointRef(size, merkle.root(leaves).hex())

    def commitments(self, auditor: str) -> Commitments:
        return Commitments(
            share=draw.commitment("share", _bytes(f"share {auditor}")),
            challenge_nonce=self.commit(auditor, "challenge"),
            probe_nonce=self.commit(auditor, "probe"),
            outside=_hex("outside"),
            outside_records=self.outside,
        )

    def commit(self, auditor: str, what: str) -> str:
        """A new nonce of an auditor, kept; returns its commitment."""
        label = f"{auditor} {what}"
        nonce = _bytes(f"nonce {label} {self.attempt} {len(self.nonces)}")
        commitment = draw.commitment(f"{what} nonce", nonce)
        self.nonces[commitment] = nonce
        return commitment

    def committed(self, auditor: str, what: str) -> bytes:
        """The nonce that an auditor must reveal now."""
        case = self.replay()
        cls, target = (Challenge, Seal) if what == "challenge" else (Probe, Destruction)
        public = self.key(auditor).public
        return self.nonces[case.nonce_commitment(public, cls, case.require(target).index)]

    def _charter_at(self) -> int:
        payloads = [envelope.open_(data).payload for data in self.entries]
        return next(
            n
            for n, payload in enumerate(payloads)
            if (found := statements.outline(payload)).kind == "charter" and found.case == self.case_id
        )


ROLES = {
    OPERATOR: "operator",
    NOTARY: "notary",
    OWNER: "owner",
    **dict.fromkeys(WITNESSES, "log-witness"),
}


def in_store(body: B, name: str, **changes: Any) -> B:
    """A statement with one of its stores changed."""
    stores = body.stores  # type: ignore[attr-defined]  # a statement that has stores
    changed = tuple(replace(s, **changes) if s.name == name else s for s in stores)
    return replace(body, stores=changed)  # type: ignore[type-var]


def on_volume(body: B, volume: str, /, **changes: Any) -> B:
    """A statement with one of its volumes changed."""
    volumes = body.volumes  # type: ignore[attr-defined]  # a statement that has volumes
    changed = tuple(replace(v, **changes) if v.name == volume else v for v in volumes)
    return replace(body, volumes=changed)  # type: ignore[type-var]


def as_stream(proof: bytes) -> io.BytesIO:
    return io.BytesIO(proof)


def _chunks(records: int, salt: str) -> list[ChunkSeal]:
    sizes = [CHUNK_RECORDS] * (records // CHUNK_RECORDS)
    sizes += [records % CHUNK_RECORDS] if records % CHUNK_RECORDS else []
    return [ChunkSeal(size, 100 * size, _bytes(f"chunk {salt} {n}")) for n, size in enumerate(sizes)]


def _drawn(seed: bytes, store: SealStore) -> DrawnStore:
    count = min(store.chunks, draw.needed(BOUND_PPM, CONFIDENCE_PPM))
    picked = draw.sample(seed, store.name, store.chunks, count)
    return DrawnStore(store.name, store.chunks, count, count, draw.digest(picked), True)


def _destroyed(ordinal: int, records: int) -> DestroyedCollection:
    return DestroyedCollection(ordinal, records, records, 0, 0, 1, 0)


def _probed(name: str, asked: GradeName, reached: GradeName) -> ProbedStore:
    recall = (Recall(name, "any place", "any", 40, 40),)
    return ProbedStore(name, asked, reached, WHY[reached], 3, 10_000, 0, 0, 0, (), recall, (), True)


def _bytes(label: str) -> bytes:
    return hashlib.sha256(f"cenotaph ceremony {label}".encode()).digest()


def _hex(label: str) -> str:
    return _bytes(label).hex()
