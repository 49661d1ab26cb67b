"""An operator who lies, and the friends who help: each method is one lie, told as well as it can be.

Every method starts a ceremony of its own and returns a proof file that is signed, logged and cosigned as
an honest one would be; where the lie changes what later statements say, they say it too. None may
verify. What nobody can catch by construction is at the end, under `Uncaught` (docs/limits.md).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from cenotaph.testing.ceremony import (
    AUDITORS,
    NOTARY,
    ON_VOLUME,
    OPERATOR,
    OWNER,
    SEEN,
    VOLUMES,
    WITNESSES,
    Ceremony,
    Disk,
    Estate,
    in_store,
    on_volume,
)
from cenotaph_proof import bundle as bundles
from cenotaph_proof import canonical, draw, envelope
from cenotaph_proof import seal as seals
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.statements import (
    Certificate,
    CheckedApp,
    Cite,
    GradeName,
    LeftOut,
    Plan,
    Probe,
    Recall,
    Referee,
    Residue,
    RestoreAttempt,
    RestoredCopy,
    RoleCount,
    SealCollection,
    SharedAction,
    Testimony,
    VolumeAction,
)

DAY = 86_400
AUDITOR, RIVAL = AUDITORS


class LyingOperator:
    """Lies about one estate. `ceremony` gives the settings of the honest case."""

    def __init__(self, ceremony: Ceremony | None = None) -> None:
        self.ceremony = ceremony or Ceremony()

    def honest(self, last: str = "certify", **settings: Any) -> Ceremony:
        return self.ceremony.fresh(**settings).run(last=last)

    # ── what is certified ────────────────────────────────────────────────────────────────────────

    def fewer_collections(self) -> bytes:
        """The certificate leaves a store out that the seal names."""
        c = self.honest("probe")
        body = c.certificate_body()
        return self._certified(c, replace(body, stores=body.stores[:1]))

    def padded_counts(self) -> bytes:
        """The certificate says that more was destroyed than the runs say."""
        c = self.honest("probe")
        body = c.certificate_body()
        return self._certified(c, replace(body, destroyed=body.destroyed + 1_000_000))

    def grade_rounded_up(self) -> bytes:
        """The probe reached L1, the certificate says L2."""
        c = self.honest("destroy")
        c.probe(stores=in_store(c.probe_body(AUDITOR), "health", reached="L1").stores)
        body = c.certificate_body()
        return self._certified(c, in_store(body, "health", reached="L2"))

    def left_out_hidden(self) -> bytes:
        """A collection that was left out is certified as destroyed."""
        c = self.honest("probe")
        body = c.certificate_body()
        visits = next(s for s in body.stores if s.name == "visits")
        changed = tuple(replace(x, outcome="destroyed") for x in visits.collections)
        return self._certified(c, in_store(body, "visits", collections=changed))

    def limits_struck_out(self) -> bytes:
        """The certificate comes without the limits that every certificate prints."""
        c = self.honest("probe")
        return self._certified(c, replace(c.certificate_body(), limits=()))

    def another_case(self) -> bytes:
        """The certificate of another case is put where this one's belongs."""
        c = self.honest("probe")
        other = self.honest(attempt=2)
        c.log(other.entries[-1])
        return c.proof()

    def without_probe(self) -> bytes:
        """A certificate is issued although no auditor ever probed."""
        c = self.honest("destroy")
        body = self.honest().bodies["certificate"]
        return self._certified(c, replace(body, log=c.head(), issued=c.now))

    def without_citing_the_probe(self) -> bytes:
        """A certificate that names no probe, so that nothing bounds its date."""
        c = self.honest("probe")
        c.say(c.certificate_body(), c.cite("charter"), by=OPERATOR)
        return c.proof()

    def certificate_of_an_older_head(self) -> bytes:
        """The certificate names a checkpoint before the probe, as if nothing had come after."""
        c = self.honest("destroy")
        head = c.head()
        c.probe()
        return self._certified(c, replace(c.certificate_body(), log=head))

    # ── plan, approvals, gates ───────────────────────────────────────────────────────────────────

    def swapped_plan(self) -> bytes:
        """After the approvals came in, a plan that destroys more takes the approved one's place."""
        c = self.honest("survey")
        c.seal()
        narrow = self._leaving_out(c, "health", 1)
        c.plan(stores=narrow.stores, records=narrow.records)
        c.run("challenge", "approve")
        c.plan()
        c.run("destroy", "certify")
        return c.proof()

    def approvals_of_another_plan(self) -> bytes:
        """The approvals name a plan that was superseded before they came in."""
        c = self.honest("challenge")
        older = c.newest["plan"]
        c.plan(stores=in_store(c.plan_body(), "health", own=()).stores)
        for name in c.countersigners():
            c.approve_plan(name, plan=older)
        return c.run("destroy").proof()

    def expired_approvals(self) -> bytes:
        """The approvals had expired when erasing began."""
        c = self.honest("challenge")
        for name in c.countersigners():
            c.approve_plan(name, until=c.now + DAY)
        c.wait(2 * DAY)
        return c.run("destroy").proof()

    def withdrawn_approval(self) -> bytes:
        """The notary took the approval back before anything was erased."""
        c = self.honest("approve")
        c.approve_plan(NOTARY, decision="withdraw")
        return c.run("destroy").proof()

    def withdrawn_charter(self) -> bytes:
        """The notary took the countersignature of the charter back before anything was erased."""
        c = self.honest("approve")
        c.approve_charter(NOTARY, decision="withdraw")
        return c.run("destroy").proof()

    def unsigned_charter(self) -> bytes:
        """The survey begins although the notary never countersigned the charter."""
        c = self.honest("open")
        c.approve_charter(AUDITOR)
        return c.run("survey").proof()

    def widened_plan(self) -> bytes:
        """Between two runs an amended plan takes a collection in again."""
        c = self.honest("seal")
        narrow = self._leaving_out(c, "health", 1)
        c.plan(stores=narrow.stores, records=narrow.records)
        c.run("challenge", "approve")
        c.destroy(stores=(), complete=False)
        c.plan()
        return c.run("destroy").proof()

    def hold_ignored(self) -> bytes:
        """A collection that the plan left out under a hold is destroyed with the rest."""
        estate = (Estate("visits", (5_000, 800), held=3, left_out=(1,)),)
        c = self.honest("approve", estate=estate)
        body = c.destruction_body()
        done = body.stores[0].collections
        extra = replace(done[0], ordinal=1, records=800, as_sealed=800)
        c.destroy(stores=in_store(body, "visits", collections=(*done, extra)).stores)
        return c.run("probe", "certify").proof()

    def hold_forgotten(self) -> bytes:
        """The survey counted held records, the plan holds none."""
        c = self.honest("seal")
        c.plan(stores=in_store(c.plan_body(), "visits", held=0).stores)
        return c.run("challenge").proof()

    def erased_before_notice(self) -> bytes:
        """Erasing began on the day of the approvals, not after the notice period."""
        c = self.honest("approve", notice=7 * DAY)
        c.destroy(started=c.now + DAY, finished=c.now + DAY + 60)
        return c.run("probe", "certify").proof()

    def erased_before_approval(self) -> bytes:
        """The destruction is logged before anybody approved."""
        c = self.honest("challenge")
        return c.run("destroy").proof()

    def sealed_after_erasing(self) -> bytes:
        """Erasing began before the seal that is said to have preceded it."""
        c = self.honest("approve")
        c.destroy(started=c.now - 2 * DAY)
        return c.run("probe", "certify").proof()

    def one_destroyed_two_claimed(self) -> bytes:
        """The plan calls one record of a collection all that there is to destroy."""
        c = self.honest("seal")
        health = c.plan_body().stores[0]
        left = (LeftOut(1, health.records - 1, "out of scope"),)
        chosen = tuple(o for o in health.destroy if o != 1)
        body = in_store(c.plan_body(), "health", destroy=chosen, records=1, left_out=left)
        c.plan(stores=body.stores, records=sum(s.records for s in body.stores))
        return c.run("challenge").proof()

    def owner_not_asked(self) -> bytes:
        """A shared action is carried out without its owner's approval."""
        c = self.honest("challenge", estate=SHARED)
        c.approve_plan(AUDITOR)
        c.approve_plan(NOTARY)
        return c.run("destroy").proof()

    def another_owner_asked(self) -> bytes:
        """The plan names a friend as the owner of what is shared."""
        c = self.honest("seal", estate=SHARED)
        stores = in_store(c.plan_body(), "health", shared=(SharedAction("free_space", NOTARY),)).stores
        c.plan(stores=stores)
        return c.run("challenge").proof()

    def undeclared_shared_action(self) -> bytes:
        """The plan restarts a server that the charter does not let it touch."""
        c = self.honest("seal")
        c.plan(stores=in_store(c.plan_body(), "health", shared=(SharedAction("restart", OWNER),)).stores)
        return c.run("challenge").proof()

    # ── seal ─────────────────────────────────────────────────────────────────────────────────────

    def totals_not_under_the_root(self) -> bytes:
        """The seal's total is larger than what lies under its root."""
        c = self.honest("survey")
        body = c.seal_body()
        c.seal(records=body.records + 1)
        return c.run("plan").proof()

    def records_of_nothing(self) -> bytes:
        """The seal counts records that belong to no collection."""
        c = self.honest("survey")
        body = c.seal_body()
        phantom = SealCollection((), 4_000, 400_000, 1, "ab" * 32)
        health = seals.store("health", (*body.stores[0].collections, phantom))
        c.say(c.sealed([health, *body.stores[1:]]), c.cite("charter"), c.cite("inventory"), by=OPERATOR)
        return c.proof()

    def merged_large_collections(self) -> bytes:
        """Large collections are published as one, so that nobody sees which of them is left."""
        c = self.honest("survey")
        parts = c.seal_collections(self.ceremony.estate[0])
        merged = replace(
            seals.publish([replace(p, records=1) for p in parts[:2]])[0],
            records=sum(p.records for p in parts[:2]),
            bytes=sum(p.bytes for p in parts[:2]),
            chunks=sum(p.chunks for p in parts[:2]),
        )
        health = seals.store("health", (merged, *seals.publish(parts[2:])))
        others = c.seal_body().stores[1:]
        c.say(c.sealed([health, *others]), c.cite("charter"), c.cite("inventory"), by=OPERATOR)
        return c.proof()

    def one_huge_chunk(self) -> bytes:
        """A collection is sealed as one chunk, so that one is all there is to draw."""
        c = self.honest("survey")
        body = c.seal_body()
        first, *rest = body.stores[0].collections
        health = seals.store("health", (replace(first, chunks=1), *rest))
        c.say(c.sealed([health, *body.stores[1:]]), c.cite("charter"), c.cite("inventory"), by=OPERATOR)
        return c.proof()

    def more_destroyed_than_sealed(self) -> bytes:
        """A run destroys records that were never sealed."""
        c = self.honest("approve")
        body = c.destruction_body()
        done = body.stores[1].collections
        padded = tuple(replace(d, records=d.records + 9, as_sealed=d.as_sealed + 9) for d in done)
        c.destroy(stores=in_store(body, "visits", collections=padded).stores)
        return c.run("probe", "certify").proof()

    def said_complete(self) -> bytes:
        """A run says that it is complete although it never touched a store of the plan."""
        c = self.honest("approve")
        c.destroy(stores=c.destruction_body().stores[:1], complete=True)
        return c.run("probe").proof()

    def seal_of_an_older_inventory(self) -> bytes:
        """A new survey follows the seal, and the plan is made of both."""
        c = self.honest("seal")
        c.survey(undeclared=1)
        return c.run("plan").proof()

    def swapped_seal(self) -> bytes:
        """After challenge and approval, other data of the same size is sealed: nobody ever drew it."""
        c = self.honest("approve")
        c.say(
            c.sealed([c.seal_store(e, "other") for e in c.estate]),
            c.cite("charter"),
            c.cite("inventory"),
            by=OPERATOR,
        )
        return c.run("destroy", "certify").proof()

    # ── challenge ────────────────────────────────────────────────────────────────────────────────

    def another_draw(self) -> bytes:
        """The chunks that were read are not those that the nonce picks."""
        c = self.honest("plan")
        convenient = draw.digest(range(draw.needed(200_000, 900_000)))
        c.challenge(stores=in_store(c.challenge_body(AUDITOR), "health", draw=convenient).stores)
        return c.run("approve", "certify").proof()

    def fewer_chunks_drawn(self) -> bytes:
        """The sample is smaller than the charter's bound asks for."""
        c = self.honest("plan")
        body = in_store(c.challenge_body(AUDITOR), "health", drawn=3, matched=3)
        c.challenge(stores=body.stores)
        return c.run("approve", "certify").proof()

    def chunks_that_did_not_match(self) -> bytes:
        """A challenge accepts although a drawn chunk was not as sealed."""
        c = self.honest("plan")
        c.challenge(stores=in_store(c.challenge_body(AUDITOR), "health", matched=10).stores)
        return c.run("approve", "certify").proof()

    def outside_records_missing(self) -> bytes:
        """Samples are answered from a decoy; a record that a resident brought is not there."""
        c = self.honest("plan")
        c.challenge(found=1)
        return c.run("approve", "certify").proof()

    def outside_records_not_brought(self) -> bytes:
        """The auditor leaves the records at home that it had committed to bring."""
        c = self.honest("plan")
        c.challenge(brought=0, found=0)
        return c.run("approve", "certify").proof()

    def nothing_read(self) -> bytes:
        """A challenge accepts without having read any store."""
        c = self.honest("plan")
        body = c.challenge_body(AUDITOR)
        c.challenge(stores=tuple(replace(s, read=False) for s in body.stores))
        return c.run("approve", "certify").proof()

    def nonce_not_the_committed_one(self) -> bytes:
        """The auditor reveals a nonce chosen after the seal was known."""
        c = self.honest("plan")
        c.challenge(nonce="11" * 32)
        return c.run("approve", "certify").proof()

    def nonce_revealed_too_early(self) -> bytes:
        """The nonce is revealed against a checkpoint that did not hold the plan yet."""
        c = self.honest("seal")
        early = c.head()
        c.plan()
        c.challenge(against=early)
        return c.run("approve", "certify").proof()

    def nonce_revealed_late(self) -> bytes:
        """The challenge is made up after everything was destroyed."""
        c = self.honest("plan")
        c.run("approve", "destroy")
        c.challenge()
        return c.run("probe", "certify").proof()

    def second_challenge_after_destroying(self) -> bytes:
        """One that read nothing opens the gate; one that read everything is added when nothing is left."""
        c = self.honest("destroy")
        c.challenge(nonce=c.bodies["challenge"].nonce)
        return c.run("probe", "certify").proof()

    def mended_after_the_draw(self) -> bytes:
        """The challenge failed; the chunks it drew are put in order, and the same draw is answered again."""
        c = self.honest("plan")
        c.challenge(decision="reject", reasons=("a chunk differs",))
        c.challenge()
        return c.run("approve", "certify").proof()

    def rejection_left_behind(self) -> bytes:
        """One auditor rejects the seal; a wider plan on the same seal is put to the other one alone."""
        c = self.honest("seal", auditors=2)
        narrow = self._leaving_out(c, "health", 1)
        c.plan(stores=narrow.stores, records=narrow.records)
        c.challenge(AUDITOR, decision="reject", reasons=("a chunk differs",))
        c.plan()
        c.challenge(RIVAL)
        return c.run("approve", "certify").proof()

    def one_nonce_for_two_seals(self) -> bytes:
        """The auditor commits to the nonce again that everybody knows from the first challenge."""
        c = self.honest("plan")
        first = c.committed(AUDITOR, "challenge")
        c.challenge(next_nonce=draw.commitment("challenge nonce", first))
        c.seal(
            stores=(again := c.sealed([c.seal_store(e, "again") for e in c.estate])).stores, root=again.root
        )
        c.plan()
        c.challenge(nonce=first.hex())
        return c.run("approve", "certify").proof()

    def anothers_nonce(self) -> bytes:
        """The second auditor copies the first one's commitment, and reveals what it has just read."""
        c = self.honest("open", auditors=2)
        given = c.commitments(AUDITOR)
        c.approve_charter(AUDITOR, commitments=given)
        c.approve_charter(RIVAL, commitments=given)
        c.approve_charter(NOTARY)
        c.run("survey", "challenge")
        return c.proof()

    def one_nonce_for_two_probes(self) -> bytes:
        """The operator knows where the second probe will look: its nonce is that of the first."""
        c = self.honest("approve")
        c.destroy(stores=c.destruction_body().stores[:1], complete=False)
        first = c.committed(AUDITOR, "probe")
        again = draw.commitment("probe nonce", first)
        c.probe(decision="reject", reasons=("residue",), share_destroyed=False, next_nonce=again)
        c.destroy(stores=c.destruction_body().stores[1:])
        c.probe(nonce=first.hex())
        return c.run("certify").proof()

    # ── probe ────────────────────────────────────────────────────────────────────────────────────

    def residue_graded_clean(self) -> bytes:
        """A probe found residue and grants L2 all the same."""
        c = self.honest("destroy")
        c.probe(stores=in_store(c.probe_body(AUDITOR), "health", residue=7).stores)
        return c.run("certify").proof()

    def restored_graded_clean(self) -> bytes:
        """Records came back when the probe restored a copy, and it grants L2 all the same."""
        c = self.honest("destroy")
        back = (RestoredCopy("a dump restored", "pg_restore", "15", 40, 7, ""),)
        c.probe(stores=in_store(c.probe_body(AUDITOR), "health", restores=back).stores)
        return c.run("certify").proof()

    def probed_elsewhere(self) -> bytes:
        """The probe leaves a store out."""
        c = self.honest("destroy")
        c.probe(stores=c.probe_body(AUDITOR).stores[:1])
        return c.run("certify").proof()

    def probed_for_nothing(self) -> bytes:
        """The probe searched with an empty set of needles."""
        c = self.honest("destroy")
        c.probe(needles=0)
        return c.run("certify").proof()

    def probe_without_recall(self) -> bytes:
        """No sampled value was ever found in the stores: the search may be blind. Certified as L2."""
        c = self.honest("plan")
        c.challenge(recall=())
        c.run("approve", "probe")
        return self._certified(c, self._as(c.certificate_body(), "L2"))

    def store_not_read(self) -> bytes:
        """The auditor could not open a store; it is certified as L2."""
        c = self.honest("destroy")
        c.probe(stores=in_store(c.probe_body(AUDITOR), "health", read=False).stores)
        return self._certified(c, self._as(c.certificate_body(), "L2"))

    def no_auditor_read(self) -> bytes:
        """No auditor drew from a store through a session of their own; it is certified as L2."""
        c = self.honest("plan")
        c.challenge(stores=in_store(c.challenge_body(AUDITOR), "visits", read=False).stores)
        c.run("approve", "probe")
        return self._certified(c, self._as(c.certificate_body(), "L2"))

    def probed_before_the_last_run(self) -> bytes:
        """Something is erased after the accepted probe, which is certified as if it had seen it."""
        c = self.honest("approve")
        c.destroy(stores=c.destruction_body().stores[:1], complete=False)
        c.probe()
        c.destroy(stores=c.destruction_body().stores[1:])
        body = self.honest().bodies["certificate"]
        return self._certified(c, replace(body, log=c.head(), issued=c.now))

    def rejection_washed_away(self) -> bytes:
        """One auditor found residue; an empty run follows, and only the other auditor is asked again."""
        c = self.honest("destroy", auditors=2)
        c.probe(RIVAL, decision="reject", reasons=("residue",), share_destroyed=False)
        c.destroy(stores=(), complete=True)
        c.probe(AUDITOR)
        body = self.honest(auditors=2).bodies["certificate"]
        return self._certified(c, replace(body, log=c.head(), issued=c.now))

    def rejected_probe_dropped(self) -> bytes:
        """The rejecting probe is taken out of the proof file."""
        c = self.honest("destroy")
        c.probe(decision="reject", reasons=("residue",), share_destroyed=False)
        rejected = len(c.entries) - 1
        c.probe(nonce=c.bodies["probe"].nonce)
        c.certify()
        return bundles.write(_without_entry(c.bundle(), rejected))

    def nothing_destroyed_but_clean(self) -> bytes:
        """Everything of a store was left out, and the store is certified as L2."""
        estate = (Estate("visits", (5_000,), left_out=(0,)),)
        c = self.honest("probe", estate=estate)
        return self._certified(c, self._as(c.certificate_body(), "L2"))

    # ── volumes ──────────────────────────────────────────────────────────────────────────────────

    def clean_without_a_volume(self) -> bytes:
        """The plan promises L3 for a store that stands on no volume of it."""
        c = self._on("seal")
        c.plan(stores=in_store(c.plan_body(), "visits", grade="L3").stores)
        return c.run("challenge").proof()

    def clean_on_a_volume_that_cannot_be(self) -> bytes:
        """The plan promises L3 for a store, and L2 for the volume that it lies on."""
        c = self._on("seal")
        c.plan(volumes=on_volume(c.plan_body(), "retired", grade="L2").volumes)
        return c.run("challenge").proof()

    def others_write_there(self) -> bytes:
        """The plan promises L3 on a volume whose owner never said that others keep off it."""
        c = self._on("seal")
        c.plan(volumes=on_volume(c.plan_body(), "retired", quiesced=False).volumes)
        return c.run("challenge").proof()

    def volume_owner_not_asked(self) -> bytes:
        """A volume is wiped although its owner did not approve the plan."""
        c = self._on("challenge")
        c.approve_plan(AUDITOR)
        c.approve_plan(NOTARY)
        return c.run("destroy").proof()

    def volume_owner_got_round(self) -> bytes:
        """The plan wipes a volume, and leaves out the shared action that its owner would have to approve."""
        c = self._on("seal", volumes=SHARED_DISK)
        c.plan(stores=in_store(c.plan_body(), "health", shared=()).stores)
        return c.run("challenge").proof()

    def volume_of_a_friend(self) -> bytes:
        """The plan says that the volume belongs to somebody else than the store's owner."""
        c = self._on("seal")
        c.plan(volumes=on_volume(c.plan_body(), "retired", owner=NOTARY).volumes)
        return c.run("challenge").proof()

    def volume_of_nothing(self) -> bytes:
        """The plan takes a volume in on which nothing of the case lies, and would wipe it."""
        c = self._on("seal")
        volumes = c.plan_body().volumes or ()
        c.plan(volumes=(*volumes, replace(volumes[0], name="neighbour", stores=())))
        return c.run("challenge").proof()

    def store_on_two_volumes(self) -> bytes:
        """A store stands on two volumes, so that the cleaner one speaks for it."""
        c = self._on("seal")
        volumes = c.plan_body().volumes or ()
        c.plan(volumes=(*volumes, replace(volumes[0], name="decoy")))
        return c.run("challenge").proof()

    def volume_added_while_narrowing(self) -> bytes:
        """After the approvals an amended plan takes a volume in, as if that were no more than before."""
        c = self._on("seal")
        none = in_store(c.plan_body(), "health", grade="L2")
        c.plan(volumes=None, stores=none.stores)
        c.run("challenge", "approve")
        c.plan()
        return c.run("destroy").proof()

    def volume_swapped_while_narrowing(self) -> bytes:
        """Between two runs an amended plan gives the volume another size: that of a decoy."""
        c = self._on("approve")
        c.destroy(stores=(), complete=False, volumes=None)
        c.plan(volumes=on_volume(c.plan_body(), "retired", bytes=4_096).volumes)
        return c.run("destroy").proof()

    def volume_outside_the_plan(self) -> bytes:
        """A run wipes a volume that nobody approved."""
        c = self._on("approve")
        volumes = c.destruction_body().volumes or ()
        c.destroy(volumes=(*volumes, replace(volumes[0], name="neighbour")))
        return c.run("probe").proof()

    def wiped_in_another_way(self) -> bytes:
        """A run does something to a volume that the plan does not name."""
        c = self._on("approve")
        more = (VolumeAction("snapshots", 3, 0),)
        c.destroy(volumes=on_volume(c.destruction_body(), "retired", actions=more).volumes)
        return c.run("probe").proof()

    def blank_beyond_free(self) -> bytes:
        """A run reads more blank bytes back than there are free ones."""
        c = self._on("approve")
        c.destroy(volumes=on_volume(c.destruction_body(), "retired", free=1).volumes)
        return c.run("probe").proof()

    def volume_never_wiped(self) -> bytes:
        """No run wiped the volume; the certificate says L3."""
        c = self._on("approve")
        c.destroy(volumes=None)
        c.probe()
        return self._certified(c, self._clean(c.certificate_body()))

    def erased_after_the_wiping(self) -> bytes:
        """The volume was wiped in the first run, and another one erased more: certified as L3."""
        c = self._on("approve")
        body = c.destruction_body()
        first = body.stores[0].collections
        c.destroy(stores=in_store(body, "health", collections=first[1:]).stores, complete=False)
        rest = in_store(c.destruction_body(), "health", collections=first[:1]).stores[:1]
        c.destroy(stores=rest, volumes=None)
        c.probe()
        return self._certified(c, self._clean(c.certificate_body()))

    def rewritten_after_the_wiping(self) -> bytes:
        """A later run erased nothing and rewrote a store's files, which freed their old blocks: L3."""
        c = self._on("destroy")
        again = tuple(replace(s, collections=(), overwritten=0) for s in c.bodies["destruction"].stores)
        c.destroy(stores=again, volumes=None)
        c.probe()
        return self._certified(c, self._clean(c.certificate_body()))

    def wiping_that_failed(self) -> bytes:
        """The run says itself that it could not wipe the journal; the certificate says L3."""
        c = self._on("approve")
        why = "the journal could not be emptied"
        wiped = on_volume(c.destruction_body(), "retired", reached="L2", why_not_higher=why)
        c.destroy(volumes=wiped.volumes)
        c.probe()
        return self._certified(c, self._clean(c.certificate_body()))

    def volume_not_probed(self) -> bytes:
        """The probe leaves the volume out."""
        c = self._on("destroy")
        c.probe(volumes=None)
        return c.run("certify").proof()

    def volume_probed_for_fewer_stores(self) -> bytes:
        """The probe of a volume names other stores on it than the plan."""
        return self._probing(stores=("visits",))

    def store_cleaner_than_its_volume(self) -> bytes:
        """The probe finds the volume unclean, and grants the store on it L3."""
        return self._probing(reached="L2", why_not_higher="a journal")

    def moving_volume_clean(self) -> bytes:
        """The volume was written to while it was read, and is granted L3."""
        return self._probing(state="moving")

    def volume_half_read(self) -> bytes:
        """Half of the volume was read, and all of it is granted L3."""
        return self._probing(read=1 << 29)

    def volume_with_bad_blocks(self) -> bytes:
        """Blocks of the volume gave errors, and it is granted L3."""
        return self._probing(unreachable=("8 blocks could not be read",))

    def smaller_volume_probed(self) -> bytes:
        """Another, smaller device was read than was planned."""
        return self._probing(bytes=1 << 20, read=1 << 20, free=0, blank=0)

    def residue_on_a_clean_volume(self) -> bytes:
        """A value was found in the journal, and the volume is granted L3."""
        return self._probing(residue=1, found=(Residue("file system journal", "raw", "name", 1),))

    def hits_without_residue(self) -> bytes:
        """Hits are listed that no residue counts."""
        return self._probing(found=(Residue("free blocks", "raw", "id", 1),))

    def strangers_on_a_clean_volume(self) -> bytes:
        """People whom no seal knows are in its free blocks, and the volume is granted L3."""
        return self._probing(strangers=40)

    def nothing_restored_nothing_tried(self) -> bytes:
        """Nobody tried to restore anything, and the volume is granted L3."""
        return self._probing(restores=())

    def restored_and_clean(self) -> bytes:
        """An attempt to restore brought values back, and the volume is granted L3."""
        return self._probing(restores=(RestoreAttempt("undelete", "extundelete", "0.2.4", 3, 12, ""),))

    def referee_overruled(self) -> bytes:
        """An outside tool found what the search had missed, and the volume is granted L3."""
        return self._probing(referees=(Referee("photorec", "7.1", 4_096, 3, 3, ""),))

    def referee_explained_away(self) -> bytes:
        """An outside tool found values that lie in nothing that is kept, and the volume is granted L3."""
        return self._probing(referees=(Referee("grep", "3.8", 1 << 30, 3, 0, ""),), kept_elsewhere=2)

    def volume_searched_blindly(self) -> bytes:
        """Nobody planted anything to see whether the search finds it."""
        return self._probing(recall=())

    def blind_in_one_place(self) -> bytes:
        """Of what was planted in the journal the search found nothing; the volume is granted L3."""
        rows = ("free blocks", 20), ("file system journal", 0)
        return self._probing(recall=tuple(Recall("retired", place, "utf-8", 20, n) for place, n in rows))

    def volume_searched_for_nothing(self) -> bytes:
        """There were no needles; stores are at L1, and the volume is granted L3."""
        c = self._on("destroy")
        stores = tuple(replace(s, reached="L1") for s in c.probe_body(AUDITOR).stores)
        c.probe(stores=stores, needles=0)
        return c.run("certify").proof()

    def more_read_than_there_is(self) -> bytes:
        """The probe reads more bytes than the volume has."""
        return self._probing(read=1 << 31)

    def read_without_reading(self) -> bytes:
        """A volume that could not be read has bytes that were."""
        return self._probing(state="not read", reached="L2", why_not_higher="no right to read it")

    def more_missed_than_found(self) -> bytes:
        """An outside tool missed more than it found: numbers that nobody counted."""
        return self._probing(referees=(Referee("grep", "3.8", 1 << 30, 0, 1, ""),), reached="L2")

    def more_planted_found_than_planted(self) -> bytes:
        """Recall above one."""
        return self._probing(recall=(Recall("retired", "free blocks", "utf-8", 20, 21),))

    def empty_list_of_volumes(self) -> bytes:
        """A plan without volumes says so with an empty list: a second way to write the same."""
        c = self.honest("seal")
        c.plan(volumes=())
        return c.proof()

    def volume_left_out(self) -> bytes:
        """The certificate says nothing of the volume."""
        c = self._on("probe")
        return self._certified(c, replace(c.certificate_body(), volumes=None))

    def referee_invented(self) -> bytes:
        """The certificate lists an outside tool that nobody ran."""
        c = self._on("probe")
        tools = ("grep", "photorec", "bulk_extractor")
        return self._certified(c, on_volume(c.certificate_body(), "retired", referees=tools))

    def limit_of_volumes_struck_out(self) -> bytes:
        """The certificate of a volume comes without what L3 does not show."""
        c = self._on("probe")
        body = c.certificate_body()
        return self._certified(c, replace(body, limits=body.limits[:-1]))

    def beyond_what_can_be_shown(self) -> bytes:
        """Everybody says L5, and no statement says that anything was shredded."""
        c = self.ceremony.fresh(estate=ON_VOLUME, volumes=VOLUMES)
        c.open(stores=in_store(c.charter_body(), "health", grade="L5").stores)
        c.countersign()
        c.survey(stores=in_store(c.inventory_body(), "health", reachable="L5").stores)
        c.seal()
        for step, made in (("plan", c.plan_body), ("destroy", c.destruction_body)):
            key = "grade" if step == "plan" else "reached"
            body = on_volume(in_store(made(), "health", **{key: "L5"}), "retired", **{key: "L5"})
            getattr(c, step)(stores=body.stores, volumes=body.volumes)
            if step == "plan":
                c.run("challenge", "approve")
        said = c.probe_body(AUDITOR)
        found = on_volume(in_store(said, "health", reached="L5"), "retired", reached="L5")
        c.probe(stores=found.stores, volumes=found.volumes, nonce=said.nonce)
        return self._certified(c, in_store(c.certificate_body(), "health", reached="L5"))

    def one_auditor_outvoted(self) -> bytes:
        """Of two auditors one could not read the volume; the certificate goes by the other one."""
        c = self._on("destroy", auditors=2)
        body = c.probe_body(AUDITOR)
        unread = on_volume(body, "retired", state="not read", read=0, reached="L2")
        stores = in_store(body, "health", reached="L2").stores
        c.probe(AUDITOR, volumes=unread.volumes, stores=stores, nonce=body.nonce)
        c.probe(RIVAL)
        said = self._clean(c.certificate_body())
        cites = [Cite("probe", e.digest) for e in c.replay().all(Probe)]
        c.say(said, c.cite("charter"), *cites, by=OPERATOR)
        return c.proof()

    # ── parties ──────────────────────────────────────────────────────────────────────────────────

    def one_organisation_two_keys(self) -> bytes:
        """One auditor is in the charter twice, to be counted twice."""
        c = self.ceremony.fresh()
        body = c.charter_body()
        twin = replace(c.party(RIVAL), organisation=AUDITOR)
        c.open(parties=(*body.parties, twin))
        return c.proof()

    def one_organisation_two_roles(self) -> bytes:
        """The auditor is also the notary."""
        c = self.ceremony.fresh()
        body = c.charter_body()
        twin = replace(c.party(RIVAL), organisation=AUDITOR, role="notary")
        c.open(parties=(*body.parties, twin))
        return c.proof()

    def one_key_two_organisations(self) -> bytes:
        """One key signs as two organisations."""
        c = self.ceremony.fresh()
        body = c.charter_body()
        twin = replace(c.party(AUDITOR), organisation=RIVAL)
        c.open(parties=(*body.parties, twin))
        return c.proof()

    def signed_by_the_operator(self) -> bytes:
        """The operator signs the auditor's approval with its own key."""
        c = self.honest("approve")
        payload = envelope.open_(c.entries[-1]).payload
        c.log(envelope.seal(payload, c.key(OPERATOR)))
        return c.proof()

    def wrong_role(self) -> bytes:
        """The notary signs a probe."""
        c = self.honest("destroy")
        body = replace(c.probe_body(AUDITOR), organisation=NOTARY)
        c.say(body, *map(c.cite, ("charter", "inventory", "destruction")), by=NOTARY)
        return c.proof()

    def words_in_anothers_mouth(self) -> bytes:
        """A notary's testimony says that it comes from the auditor."""
        c = self.honest("destroy")
        body = Testimony(AUDITOR, "auditor", c.now, "witnessed", "the erasing", ())
        c.say(body, c.cite("charter"), by=NOTARY)
        return c.proof()

    # ── what people say ──────────────────────────────────────────────────────────────────────────

    def empty_contact(self) -> bytes:
        """The charter says that there is somebody to object to, and does not say who."""
        c = self._seen("open", contact="")
        return c.proof()

    def step_of_no_app(self) -> bytes:
        """The plan switches an app off that the charter never named."""
        c = self._seen("seal")
        c.plan(steps=(replace(SEEN[0], about="decoy"),))
        return c.proof()

    def copy_of_no_recipient(self) -> bytes:
        """The plan has a copy gone from somebody whom the charter never named."""
        c = self._seen("seal")
        c.plan(steps=(replace(SEEN[1], about="a friend"),))
        return c.proof()

    def step_twice(self) -> bytes:
        """One step is planned twice, with other roles, so that the easier one can be filled."""
        c = self._seen("seal")
        c.plan(steps=(*SEEN, replace(SEEN[1], by=("operator",))))
        return c.proof()

    def step_for_nobody(self) -> bytes:
        """A step names nobody who is to see it."""
        c = self._seen("seal")
        c.plan(steps=(replace(SEEN[2], by=()),))
        return c.proof()

    def objection_foreseen(self) -> bytes:
        """The plan has the objection as a step, as if it had been asked for."""
        c = self._seen("seal")
        c.plan(steps=(replace(SEEN[2], says="objects"),))
        return c.proof()

    def empty_list_of_steps(self) -> bytes:
        """A plan without steps says so with an empty list: a second way to write the same."""
        c = self._seen("seal")
        c.plan(steps=())
        return c.proof()

    def step_dropped(self) -> bytes:
        """After the approvals the plan loses the step that nobody will be shown, and seems to narrow."""
        c = self._seen("approve")
        c.plan(steps=SEEN[:2])
        return c.run("destroy").proof()

    def step_dropped_between_runs(self) -> bytes:
        """After the first run an amended plan loses a step."""
        c = self._seen("approve")
        c.destroy(stores=(), complete=False)
        c.plan(steps=SEEN[:2])
        return c.run("destroy").proof()

    def app_of_no_charter(self) -> bytes:
        """The auditor looked at a decoy, and found it switched off."""
        c = self._seen("destroy")
        c.probe(apps=(CheckedApp("decoy", "endpoint", "gone", "answers 410 Gone"),))
        return c.run("certify").proof()

    def answer_to_nothing(self) -> bytes:
        """An answer is logged, to show that objections are answered; nobody had objected."""
        c = self._seen("destroy")
        c.testify(OPERATOR, "answers", "the scope", why="there was nothing to it")
        return c.run("probe").proof()

    def answer_to_a_witness(self) -> bytes:
        """The operator answers what was no objection."""
        c = self._seen("destroy")
        seen = c.testify(NOTARY, "witnessed", "the scope")
        c.testify(OPERATOR, "answers", "the scope", Cite("testimony", seen))
        return c.run("probe").proof()

    def answer_about_something_else(self) -> bytes:
        """The objection is to the scope; what is answered is about the weather."""
        c = self._seen("destroy")
        objection = c.testify(NOTARY, "objects", "the scope")
        c.testify(OPERATOR, "answers", "the weather", Cite("testimony", objection))
        return c.run("probe").proof()

    def one_answer_to_two(self) -> bytes:
        """One answer is to settle two objections."""
        c = self._seen("destroy")
        cites = [Cite("testimony", c.testify(name, "objects", "the scope")) for name in (NOTARY, AUDITOR)]
        c.testify(OPERATOR, "answers", "the scope", *cites)
        return c.run("probe").proof()

    def answered_by_a_log_witness(self) -> bytes:
        """A newspaper that saw the log answers for the operator."""
        c = self._seen("destroy")
        objection = c.testify(NOTARY, "objects", "the scope")
        c.testify(WITNESSES[0], "answers", "the scope", Cite("testimony", objection))
        return c.run("probe").proof()

    def testimony_propped_up(self) -> bytes:
        """A testimony cites another one, to look borne out by it."""
        c = self._seen("destroy")
        first = c.testify(NOTARY, "medium destroyed", "tape library 3")
        c.testify(OPERATOR, "medium destroyed", "tape library 3", Cite("testimony", first))
        return c.run("probe").proof()

    def reason_in_the_wrong_place(self) -> bytes:
        """A testimony of a step carries a text that belongs into an objection."""
        c = self._seen("destroy")
        c.testify(NOTARY, "switched off", "health code", why="mostly")
        return c.run("probe").proof()

    def empty_reason(self) -> bytes:
        """An objection gives a reason and does not give it."""
        c = self._seen("destroy")
        c.testify(NOTARY, "objects", "the scope", why="")
        return c.run("probe").proof()

    def one_photograph_twice(self) -> bytes:
        """One file of evidence is named twice, to be counted twice."""
        c = self._seen("destroy")
        c.testify(NOTARY, "medium destroyed", "tape library 3", evidence=("ab" * 32, "ab" * 32))
        return c.run("probe").proof()

    def backdated_testimony(self) -> bytes:
        """The notary says to have seen a week ago what was planned yesterday."""
        c = self._seen("destroy")
        c.wait(7 * DAY)
        c.testify(NOTARY, "switched off", "health code", c.cite("destruction"), signed=c.now - 14 * DAY)
        return c.run("probe").proof()

    def testimony_after_the_end(self) -> bytes:
        """What is said after the certificate is put into its case."""
        c = self._seen("certify")
        c.testify(NOTARY, "medium destroyed", "tape library 3")
        return c.proof()

    def probed_by_a_friend(self) -> bytes:
        """An auditor whom the trust file lacks accepts the destruction, the one it names is not asked."""
        c = self.honest("destroy", auditors=2)
        c.probe(RIVAL)
        return c.run("certify").proof()

    def read_by_a_friend(self) -> bytes:
        """An auditor whom the trust file lacks read a store that the one it names did not: L2."""
        c = self.honest("plan", auditors=2)
        c.challenge(AUDITOR, stores=in_store(c.challenge_body(AUDITOR), "health", read=False).stores)
        c.challenge(RIVAL)
        return c.run("approve").proof()

    # ── log, time, witnesses ─────────────────────────────────────────────────────────────────────

    def invented_witness(self) -> bytes:
        """The log witness is a friend whom no trust file names. Refused with one."""
        return self.honest().proof()

    def too_few_cosignatures(self) -> bytes:
        """The checkpoint over the certificate has one cosignature, the policy asks for two."""
        c = self.honest("probe", witness=2)
        c.certify()
        c.cosign(by=WITNESSES[:1])
        return c.proof()

    def backdated_probe(self) -> bytes:
        """A probe is dated before the checkpoint that it was made against."""
        c = self.honest("destroy")
        c.wait(DAY)
        c.cosign()
        c.probe(signed=c.now - DAY)
        return c.run("certify").proof()

    def backdated_certificate(self) -> bytes:
        """The certificate is dated a week before the probe that it stands on."""
        c = self.honest("destroy")
        c.wait(7 * DAY)
        c.probe()
        return self._certified(c, replace(c.certificate_body(), issued=c.now - 7 * DAY))

    def postdated_destruction(self) -> bytes:
        """A run is dated after the witnesses saw its statement, to let the notice period pass."""
        c = self.honest("approve", notice=DAY)
        body = replace(c.destruction_body(), started=c.now + DAY, finished=c.now + DAY + 60)
        c.say(body, c.cite("charter"), c.cite("plan"), by=OPERATOR)
        return c.proof()

    def witness_clock_back(self) -> bytes:
        """A later checkpoint is cosigned earlier than the one before it."""
        c = self.honest("probe")
        c.wait(-2 * DAY)
        c.certify()
        return c.proof()

    def overlapping_runs(self) -> bytes:
        """The second run is dated before the first one ended."""
        c = self.honest("approve")
        c.wait(3 * DAY)
        c.destroy(stores=c.destruction_body().stores[:1], complete=False)
        c.destroy(stores=c.destruction_body().stores[1:], started=c.now - 2 * DAY)
        return c.run("probe").proof()

    def second_history(self) -> tuple[bytes, bytes]:
        """Two readers get two logs of one size, both cosigned. Each verifies; together they convict."""
        first = self.honest("probe")
        first.certify()
        second = self.honest("seal")
        second.plan(stores=in_store(second.plan_body(), "health", why_not_higher="").stores)
        second.run("challenge", "certify")
        return first.proof(), second.proof()

    def checkpoint_of_another_history(self) -> bytes:
        """The head of another history is put over this one's entries."""
        c, other = self.honest(), self.honest(outside=3)
        c.checkpoints[len(c.entries)] = other.checkpoints[len(other.entries)]
        return c.proof()

    def another_log(self) -> bytes:
        """The charter names a log whose name is not its operator's."""
        c = self.ceremony.fresh()
        c.open(origin="cenotaph.log/0123456789abcdef")
        return c.proof()

    def abandoned_attempt_hidden(self) -> bytes:
        """An attempt was given up; the next charter does not say so."""
        c = self._after_an_attempt()
        return c.run().proof()

    def abandoned_attempt_closed_by_a_forgery(self) -> bytes:
        """A certificate that the operator never signed makes the abandoned attempt look finished."""
        c = self._after_an_attempt()
        forged = self._forged_end(hashlib.sha256(c.entries[0]).hexdigest())
        c.log(envelope.seal(forged, c.key(RIVAL)), cosign=False)
        return c.run().proof()

    def attempt_under_one_name(self) -> bytes:
        """Two attempts share one case id, so that one of them need not be told of."""
        c = self.ceremony.fresh().follow(self.honest("countersign"))
        c.open()
        return c.proof()

    # ── the proof file ───────────────────────────────────────────────────────────────────────────

    def truncated(self) -> bytes:
        """The proof file ends in the middle of a line."""
        return self.honest().proof()[:-100]

    def stops_at_the_probe(self) -> bytes:
        """The proof file ends before the certificate."""
        return self.honest("probe").proof()

    def certificate_not_yet_witnessed(self) -> bytes:
        """The checkpoint over the certificate is missing."""
        c = self.honest("probe")
        body = c.certificate_body()
        probe = Cite("probe", c.newest["probe"])
        c.say(body, c.cite("charter"), probe, by=OPERATOR, cosign=False)
        return c.proof()

    def statement_dropped(self) -> bytes:
        """One statement is missing from the proof file."""
        return bundles.write(_without_entry(self.honest().bundle(), 6))

    def statement_twice(self) -> bytes:
        """An approval is in the log twice, to be counted twice."""
        c = self.honest("approve")
        c.log(c.entries[-1])
        return c.proof()

    def statements_reordered(self) -> bytes:
        """Two statements of the proof file change places."""
        bundle = self.honest().bundle()
        entries = list(bundle.entries)
        entries[6], entries[7] = entries[7], entries[6]
        return bundles.write(replace(bundle, entries=tuple(entries)))

    def statement_filed_elsewhere(self) -> bytes:
        """A run is logged under another case's charter, so that this case passes it over."""
        c = self.honest("destroy")
        body = replace(c.destruction_body(), stores=(), complete=False)
        c.say(body, Cite("charter", "99" * 32), c.cite("plan"), by=OPERATOR)
        return c.proof()

    def detached_part_swapped(self) -> bytes:
        """A long inventory travels beside its statement; another one is put in its place."""
        c = self.honest(estate=LONG)
        bundle = c.bundle()
        kept = dict(bundle.attachments)
        digest = next(d for d, data in kept.items() if b'"columns":4' in data)
        other = kept.pop(digest).replace(b'"columns":4', b'"columns":5')
        kept[hashlib.sha256(other).hexdigest()] = other
        return bundles.write(replace(bundle, attachments=kept))

    def detached_part_missing(self) -> bytes:
        """A long inventory is not in the proof file."""
        return bundles.write(replace(self.honest(estate=LONG).bundle(), attachments={}))

    # ── a charter that is weaker than its readers think ──────────────────────────────────────────

    def weaker_charter(self) -> bytes:
        """The charter asks for no notary. Refused by a trust file that does."""
        return self._with_policy(approve=(RoleCount("auditor", 1),))

    def weaker_bound(self) -> bytes:
        """The charter draws eleven chunks. Refused by a trust file that asks for 459."""
        return self.honest().proof()

    def no_witness(self) -> bytes:
        """The charter asks for no log witness at all."""
        return self._with_policy(witness=0)

    def no_bound(self) -> bytes:
        """The charter's bound is met without drawing anything."""
        return self._with_policy(bound_ppm=1_000_000)

    def endless_draw(self) -> bytes:
        """The charter's bound is so tight that no verifier lives to draw it again."""
        return self._with_policy(bound_ppm=1, confidence_ppm=999_999)

    def doubled_policy(self) -> bytes:
        """The charter's policy says two things about auditors, the weaker one last."""
        return self._with_policy(approve=(RoleCount("auditor", 1), RoleCount("auditor", 0)))

    # ── small things ─────────────────────────────────────────────────────────────────────────────

    def _on(self, last: str = "certify", **settings: Any) -> Ceremony:
        """An honest case up to a step, with a store on a volume of the case."""
        return self.honest(last, **{"estate": ON_VOLUME, "volumes": VOLUMES, **settings})

    def _seen(self, last: str, **charter: Any) -> Ceremony:
        """An honest case with steps that people are to see, up to a step."""
        c = self.ceremony.fresh(steps=SEEN)
        c.open(**charter)
        return c if last == "open" else c.run("countersign", last)

    def _probing(self, **changes: Any) -> bytes:
        """The probe says something else of the volume, and the store on it is granted L3 all the same."""
        c = self._on("destroy")
        body = c.probe_body(AUDITOR)
        c.probe(volumes=on_volume(body, "retired", **changes).volumes, nonce=body.nonce)
        return c.run("certify").proof()

    def _clean(self, body: Certificate) -> Certificate:
        """The certificate, with L3 for the volume and the store on it."""
        clean: dict[str, Any] = {"reached": "L3", "why_not_higher": ""}
        return on_volume(in_store(body, "health", **clean), "retired", **clean)

    def _certified(self, c: Ceremony, body: Certificate) -> bytes:
        probes = [Cite("probe", c.newest["probe"])] if "probe" in c.newest else []
        c.say(body, c.cite("charter"), *probes, by=OPERATOR)
        return c.proof()

    def _leaving_out(self, c: Ceremony, store: str, ordinal: int) -> Plan:
        body = c.plan_body()
        planned = next(s for s in body.stores if s.name == store)
        records = next(e for e in c.estate if e.name == store).collections[ordinal]
        body = in_store(
            body,
            store,
            destroy=tuple(o for o in planned.destroy if o != ordinal),
            records=planned.records - records,
            left_out=(*planned.left_out, LeftOut(ordinal, records, "amended")),
        )
        return replace(body, records=sum(s.records for s in body.stores))

    def _as(self, body: Certificate, grade: GradeName) -> Certificate:
        return replace(body, stores=tuple(replace(s, reached=grade) for s in body.stores))

    def _with_policy(self, **changes: Any) -> bytes:
        c = self.ceremony.fresh()
        c.open(policy=replace(c.charter_body().policy, **changes))
        return c.run("countersign").proof()

    def _after_an_attempt(self) -> Ceremony:
        """A second case in a log whose first one was given up."""
        first = self.honest("countersign", attempt=2)
        return self.ceremony.fresh(attempt=1).follow(first)

    def _forged_end(self, charter: str) -> bytes:
        done = self.honest().entries[-1]
        payload = canonical.loads(envelope.open_(done).payload)
        assert isinstance(payload, dict)
        payload["subject"] = [{"name": "charter", "digest": {"sha256": charter}}]
        return canonical.dumps(payload)


SHARED_DISK = (Disk("retired", ("health",), quiesced=False),)  # others write to it: at most L2
SHARED = (Estate("health", (12_000,), shared=("free_space",)),)
LONG = (Estate("health", tuple([20] * 400)),)  # an inventory that does not fit into a log entry


class Uncaught:
    """Lies that verify: nothing in a proof can show them (docs/limits.md says what makes each harder)."""

    def __init__(self, ceremony: Ceremony | None = None) -> None:
        self.ceremony = ceremony or Ceremony()

    def copied_before_the_seal(self) -> bytes:
        """A copy was made before the seal. No statement speaks of it: the case is an honest one."""
        return self.ceremony.fresh().run().proof()

    def auditors_collude(self) -> bytes:
        """The auditor never looked, and signs what the operator asks for."""
        c = self.ceremony.fresh().run(last="plan")
        c.challenge(tool="nothing was read")
        c.run("approve", "destroy")
        c.probe(tool="nothing was read")
        c.certify()
        return c.proof()

    def false_start_time(self) -> bytes:
        """Erasing began an hour after the approvals, six days before the notice period was over; the
        statement was kept back, and says that it began after it."""
        c = self.ceremony.fresh(notice=7 * DAY).run(last="approve")
        really = c.now + 3_600
        c.wait(7 * DAY)
        c.destroy(started=really + 7 * DAY, finished=c.now + 7 * DAY)
        return c.run("probe").proof()

    def key_kept(self) -> bytes:
        """The auditor says that its key share is destroyed, and has a copy of it."""
        c = self.ceremony.fresh().run(last="destroy")
        c.probe(share_destroyed=True)
        c.certify()
        return c.proof()

    def another_device_shown(self) -> bytes:
        """The auditor reads an image of the right size that was made for the occasion; the disk that held the
        store is in a drawer. The statements are those of an honest case."""
        return self._on_a_volume().run().proof()

    def snapshot_below_the_device(self) -> bytes:
        """A snapshot that the storage takes below the device keeps every block as it was before."""
        return self._on_a_volume().run().proof()

    def quiesced_by_word(self) -> bytes:
        """The owner declares that nobody else writes to the volume, and somebody does, between the wiping and
        the freezing: what was written and removed is searched with the rest, what was copied away is not."""
        return self._on_a_volume().run().proof()

    def written_after_the_probe(self) -> bytes:
        """After the auditor has left, a backup is restored to the volume."""
        c = self._on_a_volume().run(last="probe")
        c.wait(DAY)
        c.certify()
        return c.proof()

    def auditors_collude_on_a_volume(self) -> bytes:
        """The auditor signs that the whole volume was read, and read nothing."""
        c = self._on_a_volume().run(last="destroy")
        c.probe(tool="nothing was read")
        c.certify()
        return c.proof()

    def shown_to_the_auditor_alone(self) -> bytes:
        """The app answers 410 Gone to the auditor's address, and everybody else as ever."""
        return self.ceremony.fresh(steps=SEEN).run().proof()

    def testified_falsely(self) -> bytes:
        """The notary saw nothing, and names a photograph of another drive."""
        c = self.ceremony.fresh(steps=SEEN).run(last="probe")
        c.testify(NOTARY, "medium destroyed", "tape library 3", evidence=("ab" * 32,))
        c.certify()
        return c.proof()

    def one_party_two_names(self) -> tuple[bytes, Ceremony]:
        """Two auditors of the trust file are one person with two keys."""
        c = self.ceremony.fresh(auditors=2).run()
        return c.proof(), c

    def checkpoints_left_out(self) -> bytes:
        """Checkpoints that no statement names are left out, so that times are bounded more loosely."""
        c = self.ceremony.fresh().run(last="approve")
        named = {len(c.entries), c.bodies["challenge"].against.size}
        c.run("destroy")
        named |= {c.bodies["probe"].against.size, c.bodies["certificate"].log.size, len(c.entries)}
        c.checkpoints = {size: text for size, text in c.checkpoints.items() if size in named}
        return c.proof()

    def _on_a_volume(self) -> Ceremony:
        return self.ceremony.fresh(estate=ON_VOLUME, volumes=VOLUMES)


def _without_entry(bundle: Bundle, index: int) -> Bundle:
    entries = (*bundle.entries[:index], *bundle.entries[index + 1 :])
    # The checkpoint over all entries goes too, since one that covers more than there is would tell at once.
    return replace(bundle, entries=entries, checkpoints=bundle.checkpoints[:-1])
