"""The case: a state machine over statements in log order. Does no IO; refuses what comes too early.

The operator replays it before each stage, the verifier replays the same code afterwards, so that a
gate cannot exist on one side only. It is the only maker of `ApprovedPlan`.

Rules (spec/case.md has the reasons). "At t" is the time a statement claims for what it reports.

 1. Every envelope is signed by a party of the charter, in a role that may make that statement.
 2. The first statement is the charter, signed by the operator, whose key fixes the log's origin.
    One key and one role an organisation. It lists every earlier charter that no certificate closed.
 3. Auditors, notaries and owners, all of them, approve the charter before the inventory; an
    auditor's approval commits to a key share, a challenge nonce and a probe nonce.
 4. Inventory, seal, plan follow each other and cite each other; the seal's trees add up; the plan
    accounts for every sealed collection, names volumes for its own stores alone, and shares only
    what the charter allows. Its steps are about what the charter names (`cenotaph_proof.testimony`).
 5. A challenge reveals the nonce committed to before the seal, against a cosigned checkpoint that
    holds seal and plan; it drew the chunks that the nonce picks, as many as the charter's bound asks.
 6. An approval names the charter or the newest plan, is not withdrawn, and has not expired.
 7. A destruction needs the approvals and accepted challenges of its plan, in the log under a
    checkpoint with its quorum, and starts only when the notice period since then is over.
 8. No collection is destroyed that the plan does not name, nor more records than were sealed; no
    volume is wiped that it does not name.
 9. An amended plan narrows at once; anything else needs approvals and a challenge of its own.
10. A probe cites the latest destruction and reveals the nonce committed to before it. It covers the
    plan's volumes, and grants L3 to none that it did not find clean (`cenotaph_proof.volumes`). It
    looks at apps of the charter alone.
11. A certificate follows an accepted probe of the latest destruction and says exactly what the
    statements say (`cenotaph_proof.facts`). After it the case is closed.
12. Checkpoints extend each other; a statement is younger than what it cites and not younger than
    the quorum that saw it, within the clock skew.
13. A testimony is its signer's own word; it answers an objection or cites no testimony; it opens and
    closes no gate (`cenotaph_proof.testimony`).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cenotaph_proof import accounts, ahead, draw, envelope, facts, merkle, note, quorum, testimony, volumes
from cenotaph_proof import seal as seals
from cenotaph_proof import stamp as stamps
from cenotaph_proof import trust as trusts
from cenotaph_proof.casebook import COUNTERSIGN, Casebook, Cosigned, Entry, claimed, named_checkpoint
from cenotaph_proof.errors import FormatError, LogError, OrderError, SignatureError, ThresholdError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    Challenge,
    Charter,
    CheckpointRef,
    Destruction,
    Inventory,
    Outline,
    Plan,
    Probe,
    Recall,
    Seal,
    Statement,
    Testimony,
    parse,
)

MOST_BYTES, MOST_MARKS = 24 << 20, 1_000_000  # of all statements of a case (spec/statements.md, rule 8)
MOST_DRAWN = 1_000_000  # chunks of a store: a bound that no verifier could draw again shows nothing
MAKERS: Mapping[type, tuple[str, ...]] = {
    Charter: ("operator",),
    Inventory: ("operator",),
    Seal: ("operator",),
    Plan: ("operator",),
    Destruction: ("operator",),
    Certificate: ("operator",),
    Approval: COUNTERSIGN,
    Challenge: ("auditor",),
    Probe: ("auditor",),
    Testimony: ("auditor", "notary", "owner", "operator", "log-witness"),
}

B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """A plan whose gates are open at `checked_at`. Made by `Case.approved_plan` alone."""

    case: str
    digest: str
    plan: Plan
    seal: Seal
    seal_digest: str
    inventory: Inventory
    approved_by: tuple[str, ...]
    checked_at: int
    _maker: object = field(repr=False)

    def __post_init__(self) -> None:
        if self._maker is not _MAKER:
            raise OrderError("an approved plan is made by replaying the case, not by hand")


_MAKER = object()


class Case(Casebook):
    """One case of one operator's log.

    Feed it every log entry in order with `admit`, and each cosigned checkpoint with `observe` when
    as many entries were admitted as it covers. `trust` None means: keys as the charter names them.
    """

    def __init__(self, trust: trusts.Trust | None = None) -> None:
        super().__init__(trust)
        self._given_trust = trust
        self.vouched: ahead.Vouched = ahead.nobody  # for an entry whose signature was checked ahead
        self._size = self._marks = 0

    # ── feeding ──────────────────────────────────────────────────────────────────────────────────

    def skip(
        self, data: bytes, kind: str, charter: str | None, again: Callable[[], bytes] | None = None
    ) -> None:
        """Take a log entry that belongs to another case of the same operator.

        `again` reads it once more, where it need not stay in memory.
        """
        if kind == "charter" and self.charter_entry is None:
            self._charters_open[hashlib.sha256(data).hexdigest()] = None
        if kind == "certificate" and charter in self._charters_open:
            self._said_closed.append((charter, again or (lambda: data)))
        self._append(data)

    def admit(
        self,
        data: bytes,
        attachments: Mapping[str, bytes],
        opened: tuple[envelope.Envelope, Outline] | None = None,
    ) -> Entry:
        """Take the next statement of this case; `opened` is what `data` holds, where it was looked at.

        Raises: FormatError, SignatureError, OrderError, ThresholdError; the case is unchanged then.
        """
        sealed, outlined = opened or (envelope.open_(data), None)
        statement = parse(sealed.payload, attachments, outlined)
        signer = self._signer(statement, sealed.keyid)
        digest = hashlib.sha256(data)
        if not self.vouched(self.size, digest.digest()):
            envelope.verify(sealed, signer)  # (1)
        if signer.role not in MAKERS[type(statement.body)]:
            raise SignatureError(f"{signer.organisation}, {signer.role}, may sign no {statement.kind}")
        entry = Entry(self.size, digest.hexdigest(), signer, statement)
        if entry.digest in self.by_digest:
            raise OrderError(f"this {statement.kind} is in the log twice")
        self._check_rules(entry)
        self._check_size(statement)
        self._remember(entry)
        if isinstance(statement.body, Charter):
            self._open(entry, statement.body)
        self._append(data)
        return entry

    def observe(self, checkpoint_note: bytes) -> Cosigned | None:
        """Take a checkpoint over exactly the entries admitted so far.

        Returns None while it lacks its quorum: too few counted witnesses, not those that the trust
        file's policy asks for, or none but the operator's own. Raises: LogError, SignatureError,
        OrderError (12).
        """
        seen = self._seen(checkpoint_note)
        by_id = {p.key_id: p for p in self.parties("log-witness")}
        times = {by_id[k]: t for k, t in seen.cosignatures if self._counts(by_id[k])}
        assert self.trust is not None
        own = self.trust.run_by(self.charter.operator)
        when = quorum.complete(times, self._witness_threshold(), self.trust.quorum, own)
        if when is None:
            return None
        witnesses = tuple(sorted(p.organisation for p in times))
        cosigned = Cosigned(seen.checkpoint.size, seen.checkpoint.root, when, witnesses)
        self._check_time(cosigned)
        self._see(cosigned)
        return cosigned

    def stamp(self, stamp: stamps.Stamp) -> stamps.Stamped | None:
        """Take a time stamp of a checkpoint over exactly the entries admitted so far (spec/time.md).

        Returns None where it is by nobody that the trust file believes, or cannot be checked here.
        Raises: FormatError, LogError, SignatureError.
        """
        times = [time for _, time in self._seen(stamp.note).cosignatures]
        assert self.trust is not None
        if not self.trust.authorities or not stamps.can_check():
            self.stamps_unchecked += 1
            return None
        from cenotaph_proof import tokens  # only where the extra is there

        told = tokens.check(
            stamp.token, stamp.note, self.trust.authorities, max(times, default=0) - self.skew
        )
        if told is None:
            self.stamps_of_others += 1
            return None
        self.stamped.append(stamps.Stamped(told[0], self.size, told[1]))
        return self.stamped[-1]

    # ── asking ───────────────────────────────────────────────────────────────────────────────────

    def approved_plan(self, now: int) -> ApprovedPlan:
        """The newest plan, if every gate before destruction is open at `now` (6, 7, 9).

        Raises: OrderError, ThresholdError, each with what is missing and what to do.
        """
        plan = self.require(Plan)
        sealed = self.require(Seal)
        approvals = self._check_gates(plan, now)
        return ApprovedPlan(
            case=self.charter.case,
            digest=plan.digest,
            plan=plan.body(Plan),
            seal=sealed.body(Seal),
            seal_digest=sealed.digest,
            inventory=self.require(Inventory).body(Inventory),
            approved_by=tuple(e.signer.organisation for e in approvals),
            checked_at=now,
            _maker=_MAKER,
        )

    # ── checks, one a rule ───────────────────────────────────────────────────────────────────────

    def _signer(self, statement: Statement, key_id: str) -> PublicKey:
        parties = self._parties
        if isinstance(statement.body, Charter):
            if self.charter_entry is not None:
                raise OrderError("the case has a second charter")
            parties = {p.key_id: p for p in trusts.from_charter(statement.body).parties}  # (2) unique
        if key_id not in parties:
            raise SignatureError(f"a {statement.kind} is signed by a key that is no party of the charter")
        return parties[key_id]

    def _check_size(self, statement: Statement) -> None:
        """What a reader must keep of a case is bounded, so that any machine can read it."""
        size, marks = self._size + statement.bytes, self._marks + statement.marks
        if size > MOST_BYTES or marks > MOST_MARKS:
            raise FormatError(
                "the statements of the case are more than a reader must be able to hold",
                hint="divide the estate into several cases; one log holds them all",
            )
        self._size, self._marks = size, marks

    def _check_rules(self, entry: Entry) -> None:
        try:
            self._check_cites(entry)
            self._check_body(entry)
        except FormatError as error:
            error.step = error.step or "verify 4"  # written well, but against a rule
            raise

    def _check_cites(self, entry: Entry) -> None:
        body, statement = entry.statement.body, entry.statement
        if self.latest(Certificate) is not None:
            raise OrderError("the case is closed: its certificate has been issued")  # (11)
        if isinstance(body, Charter):
            return
        if self.charter_entry is None:
            raise OrderError(f"a {statement.kind} comes before the charter")
        for cite in statement.cites:
            cited = self.by_digest.get(cite.digest)
            if cited is None or cited.statement.kind != cite.kind:
                raise OrderError(f"a {statement.kind} cites a {cite.kind} that is not in the log before it")
        if statement.cited("charter") != self.charter_entry.digest:
            raise OrderError(f"a {statement.kind} does not cite the charter of its case")

    def _check_body(self, entry: Entry) -> None:
        body = entry.statement.body
        if isinstance(body, Charter):
            self._check_charter(entry, body)
        elif isinstance(body, Approval):
            self._check_approval(entry, body)
        elif isinstance(body, Inventory):
            self._check_inventory(body)
        elif isinstance(body, Seal):
            self._check_seal(entry, body)
        elif isinstance(body, Plan):
            self._check_plan(entry, body)
        elif isinstance(body, Challenge):
            self._check_challenge(entry, body)
        elif isinstance(body, Destruction):
            self._check_destruction(entry, body)
        elif isinstance(body, Probe):
            self._check_probe(entry, body)
        elif isinstance(body, Certificate):
            self._check_certificate(entry, body)
        else:
            testimony.check(entry, self.by_digest.get(entry.statement.cited("testimony") or ""))  # (13)

    def _check_charter(self, entry: Entry, body: Charter) -> None:
        named = trusts.from_charter(body)
        operators = [p for p in named.parties if p.role == "operator"]
        if [p.organisation for p in operators] != [body.operator] or entry.signer != operators[0]:
            raise SignatureError("the charter must be signed by its one operator")
        if body.origin != note.log_origin(operators[0]):
            raise OrderError("the charter names a log that is not its operator's")
        self._drop_unsigned_ends(operators[0])
        if self.open_charters != body.earlier:
            raise OrderError(
                "the charter hides an earlier attempt: the log holds "
                f"{len(self.open_charters)} open charters before it, the charter lists {len(body.earlier)}"
            )
        if [c.digest for c in entry.statement.cites] != [body.case]:
            raise OrderError("the charter does not cite the case it opens")
        names = [s.name for s in body.stores]
        if len(set(names)) != len(names):
            raise FormatError("the charter names a store twice")
        if body.contact == "":
            raise FormatError("the charter names an empty contact")
        _check_policy(body)
        approve: dict[str, int] = {r.role: r.count for r in body.policy.approve}
        short = quorum.missing([p for p in named.parties if p.role in COUNTERSIGN], approve)
        if short:
            raise ThresholdError(f"the charter names too few parties for its own policy: {short}")
        if self._given_trust is not None:
            self._check_trust(body, operators[0], approve)

    def _drop_unsigned_ends(self, operator: PublicKey) -> None:
        """A certificate of another case ends it only under the operator's signature.

        That case is not replayed here: `ended_elsewhere` lets the verdict say so.
        """
        signed = []
        for charter, read in self._said_closed:
            try:
                envelope.verify(envelope.open_(read()), operator)
            except (FormatError, SignatureError):
                continue
            signed.append((charter, read))
        self._said_closed = signed
        self.ended_elsewhere = tuple(charter for charter, _ in signed)

    def _check_trust(self, body: Charter, operator: PublicKey, approve: Mapping[str, int]) -> None:
        trust = self._given_trust
        assert trust is not None
        if not trust.holds(operator):
            raise SignatureError(
                f"the trust file does not hold this key as the key of operator {body.operator}",
                step="verify 2",
                hint="check that the proof is of the operator you mean, and the trust file is current",
            )
        policy = body.policy
        drawn = draw.needed(policy.bound_ppm, policy.confidence_ppm)
        if drawn < trust.chunks:
            raise ThresholdError(
                f"the charter draws {drawn} chunks of a store, the trust file asks for {trust.chunks}",
                step="verify 2",
            )
        weaker = [role for role, count in trust.approve.items() if approve.get(role, 0) < count]
        if weaker or body.policy.witness < trust.witness:
            raise ThresholdError(
                "the charter asks for fewer approvals or witnesses than the trust file: "
                + ", ".join([*weaker, *(["log-witness"] if body.policy.witness < trust.witness else [])]),
                step="verify 2",
            )

    def _check_approval(self, entry: Entry, body: Approval) -> None:
        signer = entry.signer
        if (body.organisation, body.role) != (signer.organisation, signer.role):
            raise SignatureError("an approval is signed by another party than it names")
        target = entry.statement.cited(body.of)
        if target is None:
            raise OrderError(f"an approval of the {body.of} does not cite it")
        if body.until < body.signed:
            raise OrderError(f"the approval of {signer.organisation} expires before it is signed")
        if body.of == "charter" and body.decision == "approve" and signer.role == "auditor":
            if body.commitments is None:
                raise OrderError(f"auditor {signer.organisation} approves the charter without commitments")
        elif body.commitments is not None:
            raise FormatError("only an auditor's approval of the charter carries commitments")
        if body.decision == "withdraw" and self.latest(Destruction) is not None:
            raise OrderError("an approval cannot be withdrawn after destruction began")
        if body.of == "plan" and target != self.require(Plan).digest:
            raise OrderError(f"{signer.organisation} approves a plan that is not the newest one")

    def _check_inventory(self, body: Inventory) -> None:
        self.check_may_survey()
        if [s.name for s in body.stores] != [s.name for s in self.charter.stores]:
            raise OrderError("the inventory does not list the charter's stores")
        for item in body.stores:
            if [c.ordinal for c in item.collections] != list(range(len(item.collections))):
                raise FormatError(f"the inventory of store {item.name} skips a collection")

    def check_may_survey(self) -> None:
        """Rule 3. Raises: ThresholdError naming who has not countersigned the charter."""
        absent = self.countersigning_missing()
        if absent:  # (3)
            raise ThresholdError(
                "the charter is not countersigned by "
                + ", ".join(f"{p.role} {p.organisation}" for p in absent),
                hint="each of them runs: cenotaph approve --charter --key THEIR-KEY",
            )
        self._refuse_after_destruction("inventory")

    def check_may_seal(self) -> None:
        """Raises: OrderError before a survey, or after destruction began."""
        self.require(Inventory)
        self._refuse_after_destruction("seal")

    def _check_seal(self, entry: Entry, body: Seal) -> None:
        self.check_may_seal()
        inventory = self.require(Inventory)
        self._must_cite(entry, inventory)
        seals.check(body)  # (4)
        counted = {s.name: s for s in inventory.body(Inventory).stores}
        if [s.name for s in body.stores] != list(counted):
            raise OrderError("the seal does not cover the inventory's stores")
        for item in body.stores:
            ordinals = sorted(o for c in item.collections for o in c.ordinals)
            if ordinals != [c.ordinal for c in counted[item.name].collections]:
                raise OrderError(f"the seal of store {item.name} leaves out a collection of the inventory")

    def _check_plan(self, entry: Entry, body: Plan) -> None:
        inventory, sealed = self.require(Inventory), self.require(Seal)
        self._must_cite(entry, inventory, sealed)
        if sealed.statement.cited("inventory") != inventory.digest:
            raise OrderError("the plan follows a seal of an older inventory")
        previous = self.latest(Plan)
        if body.supersedes != (previous.digest if previous else None):
            raise OrderError("the plan does not name the plan it supersedes")
        if self.latest(Destruction) is not None and not self.narrows(body, self.require(Plan).body(Plan)):
            raise OrderError("after destruction began a plan may only become narrower")
        if body.number != (previous.body(Plan).number if previous else 0) + 1:
            raise OrderError("plans are not numbered one after the other")
        accounts.check_plan(body, self.charter, inventory.body(Inventory), sealed.body(Seal))
        testimony.check_plan(body, self.charter)

    def _check_challenge(self, entry: Entry, body: Challenge) -> None:
        sealed, plan = self.require(Seal), self.require(Plan)
        self._refuse_after_destruction("challenge")
        self._must_cite(entry, sealed, plan)
        self._must_be(entry, body.organisation)
        self._check_against(body.against, plan.index)
        expected = self.nonce_commitment(entry.signer, Challenge, sealed.index)
        if draw.commitment("challenge nonce", bytes.fromhex(body.nonce)) != expected:  # (5)
            raise OrderError(
                f"auditor {body.organisation} reveals a nonce other than the one committed to before the seal"
            )
        self._check_fresh(entry, body.nonce, "seal", sealed.digest)
        if any(
            e.signer == entry.signer
            and e.body(Challenge).decision == "reject"
            and e.statement.cited("seal") == sealed.digest
            for e in self.all(Challenge)
        ):  # (5) the draw is known by now: what it picked could have been mended alone
            raise OrderError(
                f"auditor {body.organisation} has rejected this seal, and its draw is known",
                hint="seal again: the next nonce is fresh",
            )
        _check_recall(body.recall)
        if body.decision == "accept":
            self._check_drawn(entry, body, sealed)

    def _check_fresh(self, entry: Entry, nonce: str, about: str, target: str) -> None:
        """A nonce that was revealed before draws nothing unforeseeable, whoever revealed it."""
        for older in self.revealed(nonce):
            again = older.signer == entry.signer and older.statement.cited(about) == target
            if not again:
                what = f"one nonce for two {about}s" if older.signer == entry.signer else "another's nonce"
                raise OrderError(f"auditor {entry.signer.organisation} uses {what}")

    def _check_drawn(self, entry: Entry, body: Challenge, sealed: Entry) -> None:
        policy = self.charter.policy
        seed = draw.seed(
            "challenge", self.charter.case, sealed.digest, entry.signer.key_id, bytes.fromhex(body.nonce)
        )
        if [s.name for s in body.stores] != [s.name for s in sealed.body(Seal).stores]:
            raise OrderError("an accepted challenge does not cover the seal's stores")
        for item, stored in zip(body.stores, sealed.body(Seal).stores, strict=True):
            if not item.read:
                continue
            need = min(stored.chunks, draw.needed(policy.bound_ppm, policy.confidence_ppm))
            picked = draw.sample(seed, item.name, stored.chunks, need)
            if (item.chunks, item.drawn, item.draw) != (stored.chunks, need, draw.digest(picked)):
                raise OrderError(f"the challenge of store {item.name} did not draw what the nonce picks")
            if item.matched != item.drawn:
                raise OrderError(f"a challenge accepts store {item.name} although chunks did not match")
        if any(s.chunks for s in sealed.body(Seal).stores) and not any(
            s.read and s.drawn for s in body.stores
        ):
            raise OrderError(f"auditor {body.organisation} accepts a seal without having read any store")
        if body.brought != self.outside_records(entry.signer):
            raise OrderError(f"auditor {body.organisation} brings other outside records than it committed to")
        if body.found != body.brought:
            raise OrderError("a challenge accepts although outside records are missing")

    def _check_destruction(self, entry: Entry, body: Destruction) -> None:
        plan = self.require(Plan)
        cited = entry.statement.cited("plan")
        if not self.covers(cited, plan) and cited != plan.digest:
            raise OrderError("a destruction follows a plan that is not the approved one")
        self._check_gates(plan, body.started)
        if body.number != len(self.all(Destruction)) + 1:
            raise OrderError("destructions are not numbered one after the other")
        if body.finished < body.started:
            raise OrderError("a destruction ends before it starts")
        planned = {s.name: set(s.destroy) for s in plan.body(Plan).stores}
        earlier = self.latest(Destruction)
        if earlier is not None and body.started < earlier.body(Destruction).finished - self.skew:
            raise OrderError("a destruction starts before the one before it was over")
        if len({s.name for s in body.stores}) != len(body.stores):
            raise FormatError("a destruction names a store twice")
        if {s.name for s in body.stores} - set(planned):
            raise OrderError("a destruction names a store that the plan does not name")
        for item in body.stores:
            for collection in item.collections:
                if collection.records and collection.ordinal not in planned.get(item.name, ()):  # (8)
                    raise OrderError(
                        f"collection {collection.ordinal} of store {item.name} was destroyed outside the plan"
                    )
                if collection.records != collection.as_sealed + collection.watched + collection.unknown:
                    raise FormatError("a destruction's classes do not add up to its records")
        volumes.check_destruction(body, plan.body(Plan))
        sealed = self.require(Seal).body(Seal)
        done = {place: destroyed.records for place, destroyed in self.destroyed().items()}
        accounts.check_totals(body, plan.body(Plan), sealed, done)
        if body.complete and any(c.remaining for s in body.stores for c in s.collections):
            raise FormatError("a destruction says it is complete and that partitions remain")

    def _check_probe(self, entry: Entry, body: Probe) -> None:
        last = self.require(Destruction)
        self._must_cite(entry, last, self.require(Inventory))
        self._must_be(entry, body.organisation)
        self._check_against(body.against, last.index)
        expected = self.nonce_commitment(entry.signer, Probe, last.index)
        if draw.commitment("probe nonce", bytes.fromhex(body.nonce)) != expected:  # (10)
            raise OrderError(
                f"auditor {body.organisation} reveals a nonce other than the one committed to before"
            )
        self._check_fresh(entry, body.nonce, "destruction", last.digest)
        if [s.name for s in body.stores] != [s.name for s in self.charter.stores]:
            raise OrderError("a probe does not cover the charter's stores")
        for item in body.stores:
            if item.reached in ("L2", "L3", "L4", "L5") and (item.residue or item.strangers):
                raise OrderError(f"a probe grants store {item.name} {item.reached} although it found residue")
            if any(one.records > one.rows for one in item.restores or ()):
                raise OrderError(f"a probe of store {item.name} restored more records than rows")
            if item.reached in ("L2", "L3", "L4", "L5") and any(o.records for o in item.restores or ()):
                raise OrderError(
                    f"a probe grants store {item.name} {item.reached} although records could be restored"
                )
            if item.reached in ("L2", "L3", "L4", "L5") and not body.needles:
                raise OrderError(
                    f"a probe grants store {item.name} {item.reached} without anything to search"
                )
            _check_recall(item.recall)
        volumes.check_probe(body, self.require(Plan).body(Plan))
        testimony.check_apps(body, self.charter)
        if body.share_destroyed and body.decision == "reject":
            raise OrderError("a rejecting probe destroys a key share that is still needed")

    def _check_certificate(self, entry: Entry, body: Certificate) -> None:
        expected = facts.certificate(self, body.log, body.issued)
        self._check_against(body.log, self.size - 1, exactly=True)
        if body != expected:
            raise OrderError(
                f"the certificate says other than its statements: {facts.difference(body, expected)}",
                step="verify 7",
            )
        cited = {c.digest for c in entry.statement.cites if c.kind == "probe"}
        if cited != {p.digest for p in facts.accepted(self)}:
            raise OrderError("the certificate does not cite the accepted probes it stands on")
        self._check_trusted_grades(body)

    def _check_trusted_grades(self, body: Certificate) -> None:
        """With a trust file, what untrusted auditors saw lifts no grade."""
        probes = facts.accepted(self, self._counts)
        need = {"auditor": max(1, self._approve_thresholds().get("auditor", 0))}
        if quorum.missing([p.signer for p in probes], need):
            raise ThresholdError("too few auditors of the trust file accepted the destruction")
        for item in body.stores:
            grade, _ = facts.reached(self, item.name, probes, self._counts)
            if facts.GRADES.index(item.reached) > facts.GRADES.index(grade):
                raise ThresholdError(
                    f"the auditors of the trust file do not bear out {item.reached} for {item.name}",
                    step="verify 7",
                )

    def _check_gates(self, plan: Entry, at: int) -> list[Entry]:
        """Rule 7. Returns the approvals that count."""
        sealed, inventory = self.require(Seal), self.require(Inventory)
        if (plan.statement.cited("seal"), plan.statement.cited("inventory")) != (
            sealed.digest,
            inventory.digest,
        ):
            raise OrderError(
                "the plan is older than the newest survey or seal", hint="plan again: cenotaph plan"
            )
        withdrawn = self.countersigning_missing()
        if withdrawn:
            raise ThresholdError(
                "the charter is no longer countersigned by " + ", ".join(p.organisation for p in withdrawn)
            )
        approvals = [
            e for e in self.plan_approvals(plan) if self._counts(e.signer) and e.body(Approval).until >= at
        ]
        self._check_challenged(plan)
        expired = [e for e in self.plan_approvals(plan) if e.body(Approval).until < at]
        what = "the plan"
        if expired:
            names = ", ".join(e.signer.organisation for e in expired)
            what += f", where the approval of {names} has expired,"
        quorum.check(
            what, [e.signer for e in approvals], self._approve_thresholds(), self.parties(*COUNTERSIGN)
        )
        owners = {a.owner for s in plan.body(Plan).stores for a in s.shared}
        lacking = owners - {e.signer.organisation for e in approvals if e.signer.role == "owner"}
        if lacking:
            raise ThresholdError(
                f"the plan has shared actions that {', '.join(sorted(lacking))} did not approve"
            )
        self._check_notice(plan, approvals, at)
        return approvals

    def _check_challenged(self, plan: Entry) -> None:
        newest = self.challenges(plan)
        seal = plan.statement.cited("seal")
        rejected = [
            e.signer.organisation
            for e in self.all(Challenge)
            if e.body(Challenge).decision == "reject" and e.statement.cited("seal") == seal
        ]
        if rejected:
            raise OrderError(f"the challenge was rejected by auditor {', '.join(rejected)}")
        accepted = [e.signer for e in newest if self._counts(e.signer)]
        need = {"auditor": self._approve_thresholds().get("auditor", 0)}
        if quorum.missing(accepted, need):
            raise ThresholdError(
                f"the plan has {len(accepted)} of {need['auditor']} accepted challenges",
                hint="an auditor runs: cenotaph challenge --key THEIR-KEY",
            )

    def _check_notice(self, plan: Entry, approvals: Sequence[Entry], at: int) -> None:
        # (9) narrowing restarts no notice: what a plan left out of an announced one was announced as well
        *_, announced = self.chain(plan)
        last = max(
            [announced.index, *(e.index for e in approvals), *(e.index for e in self.challenges(plan))]
        )
        seen = self.cosigned_time(last)
        if seen is None or self.cosigned_time(plan.index) is None:
            raise ThresholdError(
                "the approvals are not yet under a checkpoint with its quorum of log witnesses",
                hint="make sure the witnesses answer, then run the same command again",
            )
        begins = seen + self.charter.notice
        if at < begins - self.skew:
            raise OrderError(f"the notice period is not over: {begins - at} s are missing")

    def _check_against(self, ref: CheckpointRef, index: int, *, exactly: bool = False) -> None:
        known = self.checkpoint(ref.size)
        if known is None or known.root.hex() != ref.root:
            raise OrderError("a statement names a checkpoint that has no quorum of cosignatures")
        if ref.size <= index or (exactly and ref.size != index + 1):
            raise OrderError("a statement names a checkpoint that does not hold what it speaks of")

    def _check_time(self, new: Cosigned) -> None:
        """Rule 12, for the checkpoint and for the statements it is the first to cover."""
        before = self.cosigned[-1] if self.cosigned else None
        if before is not None and (new.size < before.size or new.time < before.time - self.skew):
            raise OrderError("checkpoints go back in time")
        seen = before.size if before is not None else 0
        for entry in self.entries[bisect_left(self.entries, seen, key=lambda e: e.index) :]:
            told = claimed(entry)
            if told is None:
                continue
            if told > new.time + self.skew:
                raise OrderError(f"a {entry.statement.kind} is dated after the log witnesses saw it")
            if told < self._not_before(entry) - self.skew:
                raise OrderError(f"a {entry.statement.kind} is backdated: older than what it cites")

    def _not_before(self, entry: Entry) -> int:
        """A time at which what this entry cites did not exist yet, as the witnesses saw."""
        cited = [self.by_digest[c.digest].index for c in entry.statement.cites if c.digest in self.by_digest]
        return self.newest_time(max([0, *cited, named_checkpoint(entry) or 0]))

    # ── small things ─────────────────────────────────────────────────────────────────────────────

    def _append(self, data: bytes) -> None:
        self._frontier.append(merkle.leaf_hash(data))

    def _open(self, entry: Entry, body: Charter) -> None:
        named = trusts.from_charter(body)
        self.charter_entry = entry
        self._parties = {p.key_id: p for p in named.parties}
        if self._given_trust is None:
            self.trust = named
        else:
            self.untrusted = {p.organisation for p in named.parties if not self._given_trust.holds(p)}

    def _seen(self, checkpoint_note: bytes) -> note.CosignedCheckpoint:
        """A checkpoint whose every line verifies, over the log's entries so far (spec/log.md, rule 4.3)."""
        seen = note.verify_checkpoint(checkpoint_note, self._operator(), self.parties("log-witness"))
        if seen.checkpoint.origin != self.charter.origin:
            raise LogError("a checkpoint is of another log than the charter names")
        if seen.checkpoint.size != self.size or seen.checkpoint.root != self._frontier.root():
            raise LogError(
                f"the checkpoint of size {seen.checkpoint.size} does not cover the log's entries as they are"
            )
        return seen

    def _operator(self) -> PublicKey:
        return next(p for p in self._parties.values() if p.role == "operator")

    def _counts(self, party: PublicKey) -> bool:
        assert self.trust is not None
        return self.trust.holds(party)

    def _approve_thresholds(self) -> dict[str, int]:
        return {r.role: r.count for r in self.charter.policy.approve}

    def _witness_threshold(self) -> int:
        return self.charter.policy.witness

    def _must_cite(self, entry: Entry, *required: Entry) -> None:
        for other in required:
            if entry.statement.cited(other.statement.kind) != other.digest:
                raise OrderError(f"a {entry.statement.kind} does not cite the newest {other.statement.kind}")

    def _must_be(self, entry: Entry, organisation: str) -> None:
        if organisation != entry.signer.organisation:
            raise SignatureError(f"a {entry.statement.kind} is signed by another party than it names")

    def _refuse_after_destruction(self, kind: str) -> None:
        if self.latest(Destruction) is not None:
            raise OrderError(f"a new {kind} after destruction began")


def _check_policy(body: Charter) -> None:
    policy = body.policy
    roles = [r.role for r in policy.approve]
    if len(set(roles)) != len(roles) or set(roles) - set(COUNTERSIGN):
        raise FormatError("the charter's policy names a role twice, or one that approves nothing")
    if not (0 < policy.bound_ppm < draw.PPM and 0 < policy.confidence_ppm < draw.PPM):
        raise FormatError("the charter's bound and confidence must lie between 0 and 1")
    if draw.needed(policy.bound_ppm, policy.confidence_ppm) > MOST_DRAWN:
        raise FormatError(f"the charter's bound draws more than {MOST_DRAWN:,} chunks of a store")
    witnesses = sum(1 for p in body.parties if p.role == "log-witness")
    if not 1 <= policy.witness <= witnesses:
        raise ThresholdError(
            f"the charter asks for {policy.witness} cosignatures and names {witnesses} log witnesses; "
            "without one nobody can tell when anything was said"
        )


def _check_recall(recall: Sequence[Recall]) -> None:
    if any(r.found > r.sampled for r in recall):
        raise FormatError("a recall finds more values than were sampled")
