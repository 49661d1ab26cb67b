"""Makes vectors/proof/: whole proof files, honest and not, each with the verdict a verifier must give.

The keys are made from the names of their owners, so that anybody can sign with them. No other file uses them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import make_people
import make_volumes
from make_seal import estate, store

from cenotaph_proof import bundle as bundles
from cenotaph_proof import canonical, draw, envelope, facts, merkle, note
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.folder import sign
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.note import Checkpoint
from cenotaph_proof.statements import (
    App,
    Approval,
    Body,
    Certificate,
    Challenge,
    Charter,
    CheckpointRef,
    Cite,
    Commitments,
    CopyLine,
    DestroyedCollection,
    DestroyedStore,
    Destruction,
    DrawnStore,
    GradeName,
    Inventory,
    InventoryCollection,
    InventoryStore,
    LeftOut,
    OwnAction,
    Party,
    Personal,
    Plan,
    PlanStore,
    Policy,
    Probe,
    ProbedStore,
    Recall,
    RestoredCopy,
    RoleCount,
    Seal,
    StoreTerms,
    Testimony,
)

START, NOTICE, DAY = 1_700_000_000, 3600, 86_400
CASE = hashlib.sha256(b"vector case").hexdigest()
HEALTH, HOTLINE = [[4096, 4096, 808], [4], [5]], [[20]]
BOUND, CONFIDENCE = 500_000, 750_000  # two chunks of a store, so that there is something to draw
TRUST, STRICTER, SOMEBODY_ELSE = "trust.toml", "trust-stricter.toml", "trust-somebody-else.toml"
WITH_OWNER = "trust-with-owner.toml"
QUORUM, ABSENT, OWN = "trust-quorum.toml", "trust-quorum-absent.toml", "trust-own-witnesses.toml"
ONE_OWN, MISTYPED = "trust-own-witness.toml", "trust-mistyped-operator.toml"


def _key(organisation: str, role: str) -> SecretKey:
    seeds = [
        hashlib.sha256(f"cenotaph vector {organisation} {use}".encode()).digest() for use in ("sign", "open")
    ]
    return SecretKey(organisation, role, *seeds)


OPERATOR = _key("Vector Bureau", "operator")
AUDITOR = _key("Vector Audit", "auditor")
NOTARY = _key("Vector & Partners", "notary")
OWNER = _key(make_volumes.OWNER, "owner")
PAPER, LIBRARY = _key("Vector Daily", "log-witness"), _key("Vector Library", "log-witness")
STRANGER = _key("Nobody", "operator")
PARTIES = (OPERATOR, AUDITOR, NOTARY, PAPER, LIBRARY)
SAYERS = {key.organisation: key for key in PARTIES}

Change = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Lie:
    """How a ceremony departs from an honest one."""

    bodies: Mapping[str, Change] | None = None  # changes to the body of a step, by the step's name
    signers: Mapping[str, SecretKey] | None = None  # who signs a step
    skip: frozenset[str] = frozenset()  # steps that are left out
    witnesses: Mapping[str, tuple[SecretKey, ...]] | None = None  # who cosigns after a step
    roots: Mapping[str, bytes] | None = None  # what the operator signs as the root after a step
    cites: Mapping[str, tuple[str, ...]] | None = None  # what a step cites
    earlier: str = ""  # an earlier charter in the log: "open", "ended", "ended by a stranger"
    listed: bool = False  # whether the charter lists it
    amended: bool = False  # two collections drifted: a narrower plan, and a second batch
    volume: bool = False  # the first store lies on a volume, is asked L3 and reaches it
    people: bool = False  # people are to see steps, and say what they saw
    sayers: Mapping[str, str] | None = None  # who says what people say, by the step's name


HONEST = Lie()


class Ceremony:
    """A case that is made up in memory: steps with fixed keys, times and nonces, in one log."""

    def __init__(self, lie: Lie = HONEST, certificate: Certificate | None = None) -> None:
        self.entries: list[bytes] = []
        self.checkpoints: list[bytes] = []
        self._lie = lie
        self._certificate = certificate
        self._now = START
        self._cites: dict[str, Cite] = {}
        self._against = CheckpointRef(0, "")
        self._run()

    def proof(self) -> bytes:
        """The proof file."""
        return bundles.write(self._bundle())

    def _run(self) -> None:
        earlier = self._earlier()
        parties = (*PARTIES, OWNER) if self._lie.volume else PARTIES
        charter = _charter(earlier if self._lie.listed else (), parties)
        self._say("charter", OPERATOR, charter, seen=True)
        self._say("auditor's countersignature", AUDITOR, _approval("charter", AUDITOR, self._now), "charter")
        if self._lie.volume:
            self._say("owner's countersignature", OWNER, _approval("charter", OWNER, self._now), "charter")
        self._say(
            "notary's countersignature", NOTARY, _approval("charter", NOTARY, self._now), "charter", seen=True
        )
        self._say("inventory", OPERATOR, _inventory(), "charter")
        sealed = _seal()
        self._say("seal", OPERATOR, sealed, "charter", "inventory")
        self._say("plan", OPERATOR, _plan(), "charter", "inventory", "seal", seen=True)
        challenge = _challenge(sealed, self._cites["seal"].digest, self._against, self._now)
        self._say("challenge", AUDITOR, challenge, "charter", "seal", "plan")
        self._say("auditor's approval", AUDITOR, _approval("plan", AUDITOR, self._now), "charter", "plan")
        if self._lie.volume:
            self._say("owner's approval", OWNER, _approval("plan", OWNER, self._now), "charter", "plan")
        self._say(
            "notary's approval", NOTARY, _approval("plan", NOTARY, self._now), "charter", "plan", seen=True
        )
        self._now += NOTICE
        if self._lie.amended:
            self._say("first batch", OPERATOR, _first_batch(self._now), "charter", "plan", seen=True)
            amended = _amended(self._cites["plan"].digest)
            self._say("amended plan", OPERATOR, amended, "charter", "inventory", "seal", seen=True)
            self._say("second batch", OPERATOR, _second_batch(self._now), "charter", "plan", seen=True)
        else:
            self._say("destruction", OPERATOR, _destruction(self._now), "charter", "plan", seen=True)
        self._say("probe", AUDITOR, _probe(self._against, self._now), "charter", "inventory", "destruction")
        for step, by, *words, cited in make_people.TOLD if self._lie.people else ():
            who = (self._lie.sayers or {}).get(step, by)
            self._say(step, SAYERS[who], make_people.said(who, *words, self._now), *cited)
        self._say("testimony", NOTARY, _testimony(self._now), "charter", "destruction", seen=True)
        self._say("certificate", OPERATOR, self._certified(), "charter", "probe", seen=True)

    def _earlier(self) -> tuple[str, ...]:
        """Log an earlier case; returns the digest of its charter."""
        if not self._lie.earlier:
            return ()
        charter = replace(_charter(()), case=hashlib.sha256(b"earlier").hexdigest())
        opened, _ = sign(charter, (Cite("case", charter.case),), OPERATOR)
        digest = hashlib.sha256(opened).hexdigest()
        self.entries.append(opened)
        if self._lie.earlier != "open":
            signer = OPERATOR if self._lie.earlier == "ended" else STRANGER
            self.entries.append(sign(_other_certificate(), (Cite("charter", digest),), signer)[0])
        return (digest,)

    def _certified(self) -> Certificate:
        """The certificate that the statements allow; after a lie, what an honest case would have had."""
        if self._certificate is not None:
            return replace(self._certificate, log=self._against, issued=self._now)
        return facts.certificate(bundles.replay(self._bundle()), self._against, self._now)

    def _say(self, step: str, key: SecretKey, body: Body, *cited: str, seen: bool = False) -> None:
        lie = self._lie
        if step in lie.skip:
            return
        if lie.volume:
            body = make_volumes.CHANGES.get(step, _same)(body)
        if lie.people:
            body = make_people.CHANGES.get(step, _same)(body)
        body = (lie.bodies or {}).get(step, _same)(body)
        kind = type(body).__name__.lower()
        named = (lie.cites or {}).get(step, cited)
        cites = tuple(self._cites[k] for k in named) or (Cite("case", CASE),)
        data, attachment = sign(body, cites, (lie.signers or {}).get(step, key))
        assert attachment is None, "the files of this folder carry everything inline"
        self.entries.append(data)
        self._cites[step] = self._cites[kind] = Cite(kind, hashlib.sha256(data).hexdigest())
        self._now += 30
        if seen:
            self._cosign(step)

    def _cosign(self, step: str) -> None:
        lie = self._lie
        root = merkle.root(merkle.leaf_hash(e) for e in self.entries)
        signed_root = (lie.roots or {}).get(step, root)
        checkpoint = Checkpoint(note.log_origin(OPERATOR.public), len(self.entries), signed_root)
        signed = note.sign_checkpoint(checkpoint, OPERATOR)
        for seconds, witness in enumerate((lie.witnesses or {}).get(step, (PAPER, LIBRARY))):
            signed += note.cosign(signed, witness, self._now + seconds)
        self.checkpoints.append(signed)
        self._against = CheckpointRef(len(self.entries), root.hex())
        self._now += 30

    def _bundle(self) -> Bundle:
        return Bundle(CASE, tuple(self.entries), tuple(self.checkpoints), {})


def scenarios() -> dict[str, dict[str, Any]]:
    """Each file of the folder by its name."""
    honest = Ceremony()
    certificate = bundles.replay(honest._bundle()).entries[-1].body(Certificate)
    found = {
        "honest": _scenario("a whole case", honest.proof(), "verified"),
        "honest-without-trust": _scenario(
            "a whole case, and no trust file", honest.proof(), "unidentified", None
        ),
        "honest-second-attempt": _scenario(
            "an earlier attempt was given up, and the charter says so",
            Ceremony(Lie(earlier="open", listed=True)).proof(),
            "verified",
        ),
        "honest-second-case": _scenario(
            "an earlier case of this operator ended with a certificate",
            Ceremony(Lie(earlier="ended")).proof(),
            "verified",
        ),
        "honest-amended": _scenario(
            "two collections drifted: a narrower plan, approved with the older one, and a second batch",
            Ceremony(Lie(amended=True)).proof(),
            "verified",
            outcomes=("destroyed", "left out", "destroyed"),
        ),
        "trust-somebody-else": _scenario(
            "the trust file holds another operator's key", honest.proof(), 2, SOMEBODY_ELSE
        ),
        "trust-stricter": _scenario("the trust file asks for two auditors", honest.proof(), 2, STRICTER),
        "trust-quorum": _scenario(
            "the trust file's policy asks for a library and any newspaper", honest.proof(), "verified", QUORUM
        ),
        "trust-quorum-absent": _scenario(
            "the policy asks for a log witness that cosigned nothing", honest.proof(), 4, ABSENT
        ),
        "trust-own-witnesses": _scenario(
            "the operator runs both log witnesses, one of them through the other", honest.proof(), 4, OWN
        ),
        "trust-own-witness": _scenario(
            "the operator runs one of the two log witnesses: the other is enough, and the verdict marks it",
            honest.proof(),
            "verified",
            ONE_OWN,
        ),
        "trust-mistyped-operator": _scenario(
            "log witnesses are run by an organisation that the trust file does not hold: the verdict says so",
            honest.proof(),
            "verified",
            MISTYPED,
        ),
    }
    for name, (why, step, change) in _BYTES.items():
        found[name] = _scenario(why, change(honest.proof()), step)
    for name, (why, step, lie) in _LIES.items():
        found[name] = _scenario(why, Ceremony(lie, certificate).proof(), step)
    return found | _of_volumes() | _of_people()


def _of_people() -> dict[str, dict[str, Any]]:
    """The scenarios of a case with steps that people are to see."""
    found = {}
    for name, (why, change) in make_people.HONEST.items():
        lie = Lie(people=True, **change)
        outcomes = ("destroyed", "left out" if lie.amended else "destroyed", "destroyed")
        found[name] = _scenario(why, Ceremony(lie).proof(), "verified", outcomes=outcomes)
    certificate = bundles.replay(Ceremony(Lie(people=True))._bundle()).entries[-1].body(Certificate)
    for name, (why, step, change) in make_people.LIES.items():
        found[name] = _scenario(why, Ceremony(Lie(people=True, **change), certificate).proof(), step)
    return found


def _of_volumes() -> dict[str, dict[str, Any]]:
    """The scenarios of a case with a volume."""
    found = {}
    for name, (why, grade, change) in make_volumes.HONEST.items():
        lie = Lie(volume=True, **change)
        outcomes = ("destroyed", "left out" if lie.amended else "destroyed", "destroyed")
        made = _scenario(why, Ceremony(lie).proof(), "verified", WITH_OWNER, outcomes)
        found[name] = made | {"reached": [grade, "L1"], "volumes": [grade]}
    certificate = bundles.replay(Ceremony(Lie(volume=True))._bundle()).entries[-1].body(Certificate)
    for name, (why, step, change) in make_volumes.LIES.items():
        found[name] = _scenario(
            why, Ceremony(Lie(volume=True, **change), certificate).proof(), step, WITH_OWNER
        )
    return found


def trust_files() -> dict[str, str]:
    """The trust files of the scenarios, keys written out."""
    others = [_key("Vector Bureau", "operator").public, *(k.public for k in PARTIES[1:])]
    others[0] = SecretKey("Vector Bureau", "operator", bytes([9]) * 32, bytes([8]) * 32).public
    second = _key("Second Audit", "auditor").public
    return {
        TRUST: _trust([k.public for k in PARTIES], auditors=1),
        WITH_OWNER: _trust([k.public for k in (*PARTIES, OWNER)], auditors=1),
        STRICTER: _trust([*(k.public for k in PARTIES), second], auditors=2),
        SOMEBODY_ELSE: _trust(others, auditors=1),
        **_about_witnesses(),
    }


def _about_witnesses() -> dict[str, str]:
    """Trust files that say whose cosignatures are enough, and who runs the witnesses."""
    keys, absent = [k.public for k in PARTIES], _key("Vector Tribune", "log-witness").public
    named = {"daily": PAPER.public, "library": LIBRARY.public, "tribune": absent}
    lines = {n: f"witness {n} {note.witness_note_key(key).to_text()}\n" for n, key in named.items()}
    press = (
        f"{''.join(lines.values())}group press any daily tribune\ngroup both all press library\nquorum both\n"
    )
    asked = f"{lines['daily']}{lines['tribune']}group all-press all daily tribune\nquorum all-press\n"
    everyone = _trust([*keys, absent], auditors=1)
    held, operator = _trust(keys, auditors=1), OPERATOR.organisation
    return {
        QUORUM: f"{everyone}quorum = '''\n{press}'''\n",
        ABSENT: f"{everyone}quorum = '''\n{asked}'''\n",
        OWN: _run(_run(held, PAPER, operator), LIBRARY, PAPER.organisation),
        ONE_OWN: _run(held, PAPER, operator),
        MISTYPED: _run(_run(held, PAPER, "Vector Bureua"), LIBRARY, PAPER.organisation),
    }


def _run(trust: str, witness: SecretKey, by: str) -> str:
    """The trust file, saying who runs a log witness."""
    line = f'organisation = "{witness.organisation}"\n'
    return trust.replace(line, f'{line}operated_by = "{by}"\n')


def _trust(keys: list[Any], *, auditors: int) -> str:
    parties = [
        f"[[party]]\norganisation = \"{k.organisation}\"\nrole = \"{k.role}\"\nkey = '''\n{k.to_text()}'''\n"
        for k in keys
    ]
    policy = f"[policy]\napprove = {{ auditor = {auditors}, notary = 1 }}\nwitness = 2\n"
    return "\n".join([*parties, policy])


def _scenario(
    why: str,
    proof: bytes,
    verdict: str | int,
    trust: str | None = TRUST,
    outcomes: tuple[str, ...] = ("destroyed", "destroyed", "destroyed"),
) -> dict[str, Any]:
    """A file: with the step that must fail, or with what the certificate must say of its collections."""
    if isinstance(verdict, int):
        more: dict[str, Any] = {"expect": "does not verify", "step": verdict}
    else:
        more = {"expect": verdict, "outcomes": list(outcomes), "reached": ["L2", "L1"]}
    return {**more, "why": why, "trust": trust, "proof": proof.decode()}


def _same(value: Any) -> Any:
    return value


# ── the statements ───────────────────────────────────────────────────────────────────────────────


def _charter(earlier: tuple[str, ...], keys: tuple[SecretKey, ...] = PARTIES) -> Charter:
    parties = [k.public for k in keys]
    return Charter(
        case=CASE,
        name="vector city",
        operator=OPERATOR.organisation,
        origin=note.log_origin(OPERATOR.public),
        created=START,
        basis="purpose achieved",
        notice=NOTICE,
        apps=(App("health code", "movement permission", ("health",)),),
        stores=(
            StoreTerms("health", "sqlite", "L2", "everything", ()),
            StoreTerms("hotline", "files", "L2", "everything", ()),
        ),
        holds=(),
        kept=(),
        recipients=(),
        parties=tuple(Party(p.organisation, p.role, p.ed25519.hex(), p.x25519.hex()) for p in parties),  # type: ignore[arg-type]  # one of the roles
        policy=Policy((RoleCount("auditor", 1), RoleCount("notary", 1)), 2, BOUND, CONFIDENCE, 300, 90 * DAY),
        earlier=earlier,
        annex="a0" * 32,
    )


def _secret(label: str) -> bytes:
    return hashlib.sha256(f"cenotaph vector {label}".encode()).digest()


def _approval(of: str, key: SecretKey, now: int) -> Approval:
    commitments = Commitments(
        share=draw.commitment("share", _secret("share")),
        challenge_nonce=draw.commitment("challenge nonce", _secret("challenge")),
        probe_nonce=draw.commitment("probe nonce", _secret("probe")),
        outside=draw.commitment("outside records", _secret("salt") + b"[]"),
        outside_records=0,
    )
    return Approval(
        of=of,  # type: ignore[arg-type]  # "charter" or "plan"
        organisation=key.organisation,
        role=key.role,  # type: ignore[arg-type]  # a role
        decision="approve",
        signed=now,
        until=now + 90 * DAY,
        commitments=commitments if (of, key) == ("charter", AUDITOR) else None,
    )


def _collection(ordinal: int, records: int) -> InventoryCollection:
    return InventoryCollection(
        ordinal=ordinal,
        format="table",
        records=records,
        held=0,
        kept=0,
        bytes=100 * records,
        partitions=1,
        columns=3,
        personal=(Personal("phone", "proven", 1),),
        copies=(CopyLine("freed pages", 1, 4096, "destroy"),),
        notes=(),
    )


def _inventory() -> Inventory:
    def listed(name: str, counts: list[list[int]]) -> InventoryStore:
        collections = tuple(_collection(o, sum(sizes)) for o, sizes in enumerate(counts))
        return InventoryStore(name, "L2", "raw volumes are not read", collections, ())

    return Inventory((listed("health", HEALTH), listed("hotline", HOTLINE)), (), 0, "a1" * 32)


def _seal() -> Seal:
    return replace(
        estate(_secret("case key"), [store("health", HEALTH), store("hotline", HOTLINE)]), persons=None
    )


def _plan() -> Plan:
    def planned(name: str, destroy: tuple[int, ...], records: int) -> PlanStore:
        own = (OwnAction("erase records", records, 100 * records),)
        return PlanStore(name, "L2", "raw volumes are not read", destroy, records, 0, 0, (), own, ())

    stores = (planned("health", (0, 1, 2), 9009), planned("hotline", (0,), 20))
    return Plan(number=1, stores=stores, records=9029, annex="a1" * 32)


def _challenge(sealed: Seal, digest: str, against: CheckpointRef, now: int) -> Challenge:
    nonce = _secret("challenge")
    seed = draw.seed("challenge", CASE, digest, AUDITOR.public.key_id, nonce)
    drawn = []
    for item in sealed.stores:
        picked = draw.sample(seed, item.name, item.chunks, draw.needed(BOUND, CONFIDENCE))
        drawn.append(
            DrawnStore(item.name, item.chunks, len(picked), len(picked), draw.digest(picked), read=True)
        )
    return Challenge(
        organisation=AUDITOR.organisation,
        signed=now,
        against=against,
        nonce=nonce.hex(),
        next_nonce=draw.commitment("challenge nonce", _secret("next challenge")),
        stores=tuple(drawn),
        brought=0,
        found=0,
        recall=tuple(Recall(s.name, "any place", "any", 12, 12) for s in sealed.stores),
        tool="a vector",
        decision="accept",
        reasons=(),
    )


def _destruction(now: int) -> Destruction:
    def erased(name: str, counts: list[list[int]]) -> DestroyedStore:
        collections = tuple(
            DestroyedCollection(o, sum(sizes), sum(sizes), 0, 0, 1, 0) for o, sizes in enumerate(counts)
        )
        return DestroyedStore(name, collections, "L2", "raw volumes are not read", 1_000_000, 950_272, ())

    return Destruction(
        number=1,
        started=now,
        finished=now + 20,
        journal="a2" * 32,
        stores=(erased("health", HEALTH), erased("hotline", HOTLINE)),
        complete=True,
    )


def _first_batch(now: int) -> Destruction:
    """Two collections of a store had changed since the seal, and were left as they are."""
    whole = _destruction(now)
    first, *others = whole.stores[0].collections
    why = "not as it was sealed"
    drifted = (DestroyedCollection(c.ordinal, 0, 0, 0, 0, 0, 1, why) for c in others)
    return replace(_store_0(whole, collections=(first, *drifted)), complete=False)  # type: ignore[no-any-return]  # a Destruction


def _amended(older: str) -> Plan:
    left = (LeftOut(1, 4, "drifted"), LeftOut(2, 5, "drifted"))
    plan = _store_0(_plan(), destroy=(0,), records=9000, left_out=left)
    return replace(plan, number=2, records=9020, supersedes=older)  # type: ignore[no-any-return]  # a Plan


def _second_batch(now: int) -> Destruction:
    """Nothing was left to destroy: the batch says so, under the narrower plan."""
    stores = tuple(
        DestroyedStore(name, (), "L2", "raw volumes are not read", 0, 0, ()) for name in ("health", "hotline")
    )
    return Destruction(2, now, now + 20, "a4" * 32, stores, complete=True)


_RESTORED_TOO_MUCH = RestoredCopy("a dump restored", "pg_restore", "15", 1, 9, "")


def _probe(against: CheckpointRef, now: int) -> Probe:
    def searched(
        name: str, reached: GradeName, why: str, unreachable: tuple[str, ...], kept: int
    ) -> ProbedStore:
        recall = (Recall(name, "any place", "any", 12, 12),)
        restores = (RestoredCopy("a dump restored", "pg_restore", "15", 40, 0, ""),) if kept else None
        return ProbedStore(
            name, "L2", reached, why, 3, 1_000_000, 0, kept, 0, (), recall, unreachable, True, restores
        )

    return Probe(
        organisation=AUDITOR.organisation,
        signed=now,
        against=against,
        nonce=_secret("probe").hex(),
        next_nonce=draw.commitment("probe nonce", _secret("next probe")),
        needles=27_000,
        stores=(
            searched("health", "L2", "raw volumes are not read", (), 0),
            searched("hotline", "L1", "a backup was not reached", ("1 × backup",), 3),
        ),
        tool="a vector",
        share_destroyed=True,
        decision="accept",
        reasons=(),
    )


def _testimony(now: int) -> Testimony:
    return Testimony(
        NOTARY.organisation, "notary", now, "switched off", "the app of the health code", ("a3" * 32,)
    )


def _other_certificate() -> Certificate:
    """A certificate of another case, of which nothing but its kind matters here."""
    nothing = CheckpointRef(1, "00" * 32)
    return Certificate(nothing, START, 0, 0, 0, 0, 0, 0, 0, 0, 0, (), 0, (), (), ())


# ── lies ─────────────────────────────────────────────────────────────────────────────────────────


def _store_0(body: Any, **changes: Any) -> Any:
    return replace(body, stores=(replace(body.stores[0], **changes), *body.stores[1:]))


def _collection_0(body: Any, **changes: Any) -> Any:
    first = body.stores[0].collections
    return _store_0(body, collections=(replace(first[0], **changes), *first[1:]))


def _left_out(body: Plan) -> Plan:
    """A plan that leaves a collection out without saying that its records stay."""
    return _store_0(body, destroy=(0, 1), left_out=(LeftOut(2, 0, "amended"),))  # type: ignore[no-any-return]  # a Plan


def _bodies(step: str, change: Change, **more: Any) -> Lie:
    return Lie(bodies={step: change}, **more)


_LIES: dict[str, tuple[str, int, Lie]] = {
    "signed-by-a-stranger": (
        "the destruction is signed by a key that is no party",
        3,
        Lie(signers={"destruction": STRANGER}),
    ),
    "signed-in-another-role": ("a notary signs the probe", 3, Lie(signers={"probe": NOTARY})),
    "signed-for-another": (
        "a notary signs the auditor's approval",
        3,
        Lie(signers={"auditor's approval": NOTARY}),
    ),
    "hidden-attempt": (
        "the log holds an earlier charter that this one does not list",
        4,
        Lie(earlier="open"),
    ),
    "hidden-attempt-with-a-false-end": (
        "an earlier charter seems to be closed by a certificate that the operator did not sign",
        4,
        Lie(earlier="ended by a stranger"),
    ),
    "not-countersigned": (
        "the notary did not approve the charter",
        4,
        Lie(skip=frozenset({"notary's countersignature"})),
    ),
    "plan-loses-records": (
        "the plan leaves out a collection, and not its records",
        4,
        _bodies("plan", _left_out),
    ),
    "another-nonce": (
        "the challenge reveals a nonce that nobody committed to",
        4,
        _bodies("challenge", lambda b: replace(b, nonce="11" * 32)),
    ),
    "another-draw": (
        "the challenge read other chunks than the nonce picks",
        4,
        _bodies("challenge", lambda b: _store_0(b, draw=draw.digest([0, 1, 2]))),
    ),
    "outside-records-left-at-home": (
        "the auditor committed to three outside records and brought none",
        4,
        _bodies(
            "auditor's countersignature",
            lambda b: replace(b, commitments=replace(b.commitments, outside_records=3)),
        ),
    ),
    "challenge-rejected": (
        "the auditor rejected the plan",
        4,
        _bodies("challenge", lambda b: replace(b, decision="reject", reasons=("a chunk differs",))),
    ),
    "not-approved": (
        "the notary did not approve the plan",
        4,
        Lie(skip=frozenset({"notary's approval"})),
    ),
    "approval-expired": (
        "the notary's approval had expired",
        4,
        _bodies("notary's approval", lambda b: replace(b, until=b.signed + 60)),
    ),
    "too-early": (
        "destruction started before the notice period was over",
        4,
        _bodies("destruction", lambda b: replace(b, started=b.started - NOTICE)),
    ),
    "approvals-not-seen": (
        "one witness of two saw the approvals before destruction",
        4,
        Lie(witnesses={"notary's approval": (PAPER,)}),
    ),
    "outside-the-plan": (
        "a collection was destroyed that the plan does not name",
        4,
        _bodies("destruction", lambda b: _collection_0(b, ordinal=7)),
    ),
    "more-than-sealed": (
        "more records were destroyed than were sealed",
        4,
        _bodies("destruction", lambda b: _collection_0(b, records=9001, as_sealed=9001)),
    ),
    "backdated": (
        "the probe is dated before the destruction that it cites was seen",
        4,
        _bodies("probe", lambda b: replace(b, signed=b.signed - DAY)),
    ),
    "probe-against-itself": (
        "the probe grants L2 although it found residue",
        4,
        _bodies("probe", lambda b: _store_0(b, residue=1)),
    ),
    "restored-and-granted": (
        "the probe grants L2 although records could be restored",
        4,
        _bodies(
            "probe",
            lambda b: _store_0(b, restores=(RestoredCopy("a dump restored", "pg_restore", "15", 9, 1, ""),)),
        ),
    ),
    "restored-more-than-all": (
        "more records were restored than rows",
        4,
        _bodies(
            "probe",
            lambda b: replace(
                b, stores=(b.stores[0], replace(b.stores[1], restores=(_RESTORED_TOO_MUCH,)), *b.stores[2:])
            ),
        ),
    ),
    "probe-without-needles": (
        "the probe grants L2 and searched for nothing",
        4,
        _bodies("probe", lambda b: replace(b, needles=0)),
    ),
    "complete-too-early": (
        "the destruction says it is complete and destroyed one record of 9,000",
        4,
        _bodies("destruction", lambda b: _collection_0(b, records=1, as_sealed=1)),
    ),
    "dated-ahead": (
        "the probe is dated after the witnesses saw it",
        4,
        _bodies("probe", lambda b: replace(b, signed=b.signed + DAY)),
    ),
    "certificate-without-its-probe": (
        "the certificate does not cite the probe it stands on",
        4,
        Lie(cites={"certificate": ("charter",)}),
    ),
    "widened": (
        "the amended plan takes an action that the approved one does not have",
        4,
        Lie(
            amended=True,
            bodies={"amended plan": lambda b: _store_0(b, own=(OwnAction("restart", 1, 0),))},
        ),
    ),
    "no-certificate": ("the case stops before its certificate", 4, Lie(skip=frozenset({"certificate"}))),
    "another-root": (
        "operator and witnesses signed another root than that of the entries",
        5,
        Lie(roots={"plan": bytes(32)}),
    ),
    "one-witness-short": (
        "one witness of two saw the certificate",
        6,
        Lie(witnesses={"certificate": (PAPER,)}),
    ),
    "seal-does-not-add-up": (
        "the seal says one record more than lies under its root",
        7,
        _bodies("seal", lambda b: replace(b, records=b.records + 1)),
    ),
    "grade-rounded-up": (
        "the certificate says L3 where the probe says L2",
        7,
        _bodies("certificate", lambda b: _store_0(b, reached="L3")),
    ),
    "limits-left-out": (
        "the certificate leaves out a limit",
        7,
        _bodies("certificate", lambda b: replace(b, limits=b.limits[1:])),
    ),
}


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


def _changed(proof: bytes) -> bytes:
    """The destruction names another journal, and is not signed anew."""
    lines = proof.splitlines(keepends=True)
    lines[10] = _inner(lines[10], b'"journal":"a2', b'"journal":"b2')
    return b"".join(lines)


def _counted(proof: bytes) -> bytes:
    """The header counts an entry more."""
    return _once(proof, b'"entries":13', b'"entries":14')


def _once(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1, f"{old!r} is there {data.count(old)} times"
    return data.replace(old, new)


def _inner(line: bytes, old: bytes, new: bytes) -> bytes:
    outer: Any = canonical.loads(line[:-1])
    sealed = envelope.open_(envelope.decode_base64(outer["entry"]))
    changed = replace(sealed, payload=_once(sealed.payload, old, new)).to_bytes()
    return canonical.dumps({"entry": envelope.encode_base64(changed)}) + b"\n"


def _swapped(proof: bytes) -> bytes:
    """The two countersignatures change places; neither cites the other."""
    lines = proof.splitlines(keepends=True)
    lines[2], lines[3] = lines[3], lines[2]
    return b"".join(lines)


def _signature_of_last_checkpoint(proof: bytes) -> bytes:
    lines = proof.splitlines(keepends=True)
    outer: Any = canonical.loads(lines[-1][:-1])
    parsed = note.parse_note(outer["checkpoint"].encode())
    first, *others = parsed.signatures
    broken = replace(first, signature=bytes([first.signature[0] ^ 1]) + first.signature[1:])
    data = note.Note(parsed.body, (broken, *others)).to_bytes()
    lines[-1] = canonical.dumps({"checkpoint": data.decode()}) + b"\n"
    return b"".join(lines)


def _tail(proof: bytes) -> bytes:
    """An entry of another case after the last checkpoint, which no witness saw."""
    charter = replace(_charter(()), case=hashlib.sha256(b"later").hexdigest())
    entry = sign(charter, (Cite("case", charter.case),), OPERATOR)[0]
    lines = proof.splitlines(keepends=True)
    lines[14:14] = [canonical.dumps({"entry": envelope.encode_base64(entry)}) + b"\n"]
    lines[0] = _once(lines[0], b'"entries":13', b'"entries":14')
    return b"".join(lines)


def _unnamed(proof: bytes) -> bytes:
    line = canonical.dumps({"attachment": envelope.encode_base64(b"{}")}) + b"\n"
    return _once(proof, b'"attachments":0', b'"attachments":1') + line


_BYTES: dict[str, tuple[str, int, Callable[[bytes], bytes]]] = {
    "cut-off": ("the last byte is missing", 1, lambda p: p[:-1]),
    "goes-on": ("a line follows the end", 1, lambda p: p + b"{}\n"),
    "a-space": ("a space stands after the first brace", 1, lambda p: b"{ " + p[1:]),
    "one-entry-missing": ("the header counts an entry that is not there", 1, _counted),
    "unnamed-attachment": ("an attachment is carried that no statement names", 1, _unnamed),
    "changed-after-signing": (
        "the destruction names another journal than when it was signed",
        3,
        _changed,
    ),
    "entries-swapped": ("two entries changed places", 5, _swapped),
    "checkpoint-signature": (
        "the operator's signature on the last checkpoint is broken",
        5,
        _signature_of_last_checkpoint,
    ),
    "unseen-tail": ("an entry follows that no checkpoint covers", 6, _tail),
}
