// The rules by which statements follow each other (spec/case.md), in log order. The first one that is broken ends it.
//
// A statement that breaks a rule fails at step 4 of spec/verify.md, unless its error names another step; one that is
// not signed by whom it must be signed by at step 3, one that is not written as its page says at step 1.

const MOST_DRAWN = 1000000; // chunks of a store: a bound that no verifier could draw again shows nothing
const MAKERS = new Map([
  ["charter", ["operator"]],
  ["approval", COUNTERSIGN],
  ["inventory", ["operator"]],
  ["seal", ["operator"]],
  ["plan", ["operator"]],
  ["challenge", ["auditor"]],
  ["destruction", ["operator"]],
  ["probe", ["auditor"]],
  ["testimony", ROLES],
  ["certificate", ["operator"]],
]);

/** One case of one operator's log. `before` are the entries of the log that stand before its charter. */
class Case extends Casebook {
  constructor(trust, before) {
    super(trust);
    this.given = trust;
    this.before = before;
    this.stampsUnchecked = 0; // time stamps whose tokens nobody checked
    this.unchecked = new Set(); // log witnesses that cosigned with a key that this browser cannot check
  }

  // ── feeding ────────────────────────────────────────────────────────────────────────────────────

  /** Takes the charter: its entry of the log, as read. */
  async open(read, attachments) {
    const statement = inStep("verify 1", () => readStatement(read.wrapper, attachments));
    const named = await trustOfCharter(statement.body).catch((error) => inStep("verify 1", () => raise(error)));
    const signer = named.parties.find((party) => party.keyId === read.envelope.keyId);
    if (signer === undefined) throw unsigned("the charter is signed by a key that it does not name");
    const signed = await isSignedBy(read.envelope, signer);
    const entry = this.entryOf(read, statement, signer, signed);
    await this.checkRules(() => this.checkCharter(entry, named));
    this.charterEntry = entry;
    this.parties = new Map(named.parties.map((party) => [party.keyId, party]));
    this.trust ??= named;
    this.untrusted = new Set(named.parties.filter((party) => !this.counts(party)).map((party) => party.organisation));
    this.take(entry);
    return entry;
  }

  /** Takes the next statement of the case; `signed` says whether its envelope's signature verifies. */
  async admit(read, attachments, signed) {
    const statement = inStep("verify 1", () => readStatement(read.wrapper, attachments));
    if (statement.kind === "charter") throw new ProofError("the case has a second charter", "verify 4");
    const signer = this.parties.get(read.envelope.keyId);
    if (signer === undefined) throw unsigned(`a ${statement.kind} is signed by a key that is no party of the charter`);
    const entry = this.entryOf(read, statement, signer, signed);
    await this.checkRules(async () => {
      if (this.byDigest.has(entry.digest)) throw new ProofError(`this ${entry.kind} is in the log twice`);
      this.checkCites(entry);
      await this.checkBody(entry);
    });
    this.take(entry);
    return entry;
  }

  /**
   * Takes a checkpoint whose signatures were looked at (note.js); `root` is that over the log's entries at its size.
   * Without its quorum it proves nothing and is passed over.
   */
  observe(checkpoint, signatures, root) {
    const cosignatures = this.checkSeen(checkpoint, signatures, root);
    const counted = cosignatures.filter(({ party }) => this.counts(party));
    for (const { party, unchecked } of counted) if (unchecked) this.unchecked.add(party.organisation);
    const time = this.quorumTime(counted);
    if (time === null) return;
    const witnesses = counted.map(({ party }) => party.organisation).sort(compareCodePoints);
    const { size } = checkpoint;
    inStep("verify 4", () => this.checkTime(size, time));
    this.cosigned.push({ size, root, time, witnesses, newest: Math.max(time, this.cosigned.at(-1)?.newest ?? 0) });
  }

  /** Takes a time stamp of a checkpoint (time.md): its note must verify; tokens are not checked here. */
  stamp(checkpoint, signatures, root) {
    this.checkSeen(checkpoint, signatures, root);
    this.stampsUnchecked++;
  }

  checkSeen(checkpoint, signatures, root) {
    return inStep("verify 5", () => checkCheckpoint(checkpoint, signatures, this.charter.origin, root));
  }

  /**
   * When enough witnesses had cosigned (trust.md): so many as the charter asks for, those that the trust file's policy
   * asks for, and one that the operator does not run; null while they have not.
   */
  quorumTime(counted) {
    const { quorum } = this.trust;
    const byKey = new Map(counted.flatMap(({ party, time }) => noteKeysOf(party).map((key) => [keyText(key), time])));
    const own = this.trust.runBy(this.charter.operator);
    const times = [
      timeOfSoMany(counted, this.charter.policy.witness),
      quorum === null ? 0 : policyTime(quorum, (key) => byKey.get(keyText(key)) ?? null),
      timeOfSoMany(
        counted.filter(({ party }) => !own.has(party.organisation)),
        1,
      ),
    ];
    return times.includes(null) ? null : Math.max(...times);
  }

  entryOf(read, { kind, body, cites }, signer, signed) {
    if (!signed) throw unsigned(`the signature of a ${kind} does not verify`);
    if (!MAKERS.get(kind).includes(signer.role)) {
      throw unsigned(`${signer.organisation}, ${signer.role}, may sign no ${kind}`);
    }
    return { index: read.index, digest: read.digest, signer, kind, body, cites };
  }

  async checkRules(work) {
    try {
      await work();
    } catch (error) {
      inStep("verify 4", () => raise(error));
    }
  }

  // ── rules ──────────────────────────────────────────────────────────────────────────────────────

  checkCites(entry) {
    const { kind, cites } = entry;
    if (this.latest("certificate") !== null)
      throw new ProofError("the case is closed: its certificate has been issued");
    for (const cite of cites) {
      if (this.byDigest.get(cite.digest)?.kind !== cite.kind) {
        throw new ProofError(`a ${kind} cites a statement of kind ${cite.kind} that is not in the log before it`);
      }
    }
    if (cited(entry, "charter") !== this.charterEntry.digest) {
      throw new ProofError(`a ${kind} does not cite the charter of its case`);
    }
  }

  checkBody(entry) {
    switch (entry.kind) {
      case "approval":
        return this.checkApproval(entry);
      case "inventory":
        return this.checkInventory(entry);
      case "seal":
        return this.checkSealing(entry);
      case "plan":
        return this.checkPlanning(entry);
      case "challenge":
        return this.checkChallenge(entry);
      case "destruction":
        return this.checkDestruction(entry);
      case "probe":
        return this.checkProbe(entry);
      case "testimony":
        return this.checkSaid(entry);
      default:
        return this.checkCertificate(entry);
    }
  }

  /** Rule 2, and charter.md. */
  async checkCharter(entry, named) {
    const { body, signer } = entry;
    const operators = named.parties.filter((party) => party.role === "operator");
    if (operators.length !== 1 || operators[0].organisation !== body.operator || signer !== operators[0]) {
      throw unsigned("the charter is not signed by its one operator");
    }
    if (body.origin !== logOrigin(signer)) throw new ProofError("the charter names a log that is not its operator's");
    const earlier = await this.openCharters(signer);
    if (!sameList(earlier, body.earlier)) {
      throw new ProofError(
        `the charter hides an earlier attempt: the log holds ${earlier.length} open charters before it, ` +
          `and it lists ${body.earlier.length}`,
      );
    }
    if (entry.cites.length !== 1 || entry.cites[0].digest !== body.case) {
      throw new ProofError("the charter does not cite the case that it opens");
    }
    if (isTwice(namesOf(body.stores))) throw new ProofError("the charter names a store twice");
    if (body.contact === "") throw new ProofError("the charter names an empty contact");
    checkPolicy(body);
    const countersigning = named.parties.filter((party) => COUNTERSIGN.includes(party.role));
    if (lacking(countersigning, named.approve).length) {
      throw new ProofError("the charter names too few parties for its own policy");
    }
    if (this.given !== null) checkTrusted(body, signer, named, this.given);
  }

  /** Charters before this case's that no certificate closed; one closes another case only under the operator's signature. */
  async openCharters(operator) {
    const opened = new Set();
    const ends = [];
    for (const { digest, envelope, wrapper } of this.before) {
      if (wrapper.kind === "charter") opened.add(digest);
      const charter = wrapper.cites.find((cite) => cite.kind === "charter")?.digest;
      if (wrapper.kind === "certificate" && opened.has(charter)) ends.push({ charter, envelope });
    }
    const signed = await inWindows(ends, ({ envelope }) => isSignedBy(envelope, operator));
    this.endedElsewhere = ends.filter((_, i) => signed[i]).map(({ charter }) => charter);
    const closed = new Set(this.endedElsewhere);
    return this.before
      .filter((read) => read.wrapper.kind === "charter" && !closed.has(read.digest))
      .map((read) => read.digest);
  }

  /** Rules 3 and 6, and approval.md. */
  checkApproval(entry) {
    const { body, signer } = entry;
    this.checkSpeaker(entry);
    const target = cited(entry, body.of);
    if (target === null) throw new ProofError(`an approval of the ${body.of} does not cite it`);
    if (body.until < body.signed)
      throw new ProofError(`the approval of ${signer.organisation} expires before it is signed`);
    const commits = body.of === "charter" && body.decision === "approve" && signer.role === "auditor";
    if (commits && body.commitments === undefined) {
      throw new ProofError(`auditor ${signer.organisation} approves the charter without commitments`);
    }
    if (!commits && body.commitments !== undefined) {
      throw new ProofError("an approval carries commitments and is not an auditor's of the charter");
    }
    if (body.decision === "withdraw") this.refuseAfterDestruction("withdrawal");
    if (body.of === "plan" && target !== this.require("plan").digest) {
      throw new ProofError(`${signer.organisation} approves a plan that is not the newest one`);
    }
  }

  /** Rule 3, and inventory.md. */
  checkInventory({ body }) {
    const absent = this.countersigningMissing();
    if (absent.length) {
      throw new ProofError(
        `the charter is not countersigned by ${absent.map((party) => party.organisation).join(", ")}`,
      );
    }
    this.refuseAfterDestruction("inventory");
    if (!sameList(namesOf(body.stores), namesOf(this.charter.stores))) {
      throw new ProofError("the inventory does not list the charter's stores");
    }
    for (const store of body.stores) {
      if (!store.collections.every((collection, i) => collection.ordinal === i)) {
        throw new ProofError(`the inventory of store ${store.name} skips a collection`);
      }
    }
  }

  /** Rule 4, and seal.md. */
  async checkSealing(entry) {
    const inventory = this.require("inventory");
    this.refuseAfterDestruction("seal");
    this.mustCite(entry, inventory);
    await checkSeal(entry.body);
    const surveyed = inventory.body.stores;
    if (!sameList(namesOf(entry.body.stores), namesOf(surveyed)))
      throw new ProofError("the seal does not cover the inventory's stores");
    entry.body.stores.forEach((store, i) => {
      const ordinals = store.collections.flatMap((group) => group.ordinals).sort((a, b) => a - b);
      if (
        !sameList(
          ordinals,
          surveyed[i].collections.map((collection) => collection.ordinal),
        )
      ) {
        throw new ProofError(`the seal of store ${store.name} leaves out a collection of the inventory`);
      }
    });
  }

  /** Rules 4 and 9, and plan.md. */
  checkPlanning(entry) {
    const { body } = entry;
    const inventory = this.require("inventory");
    const seal = this.require("seal");
    this.mustCite(entry, inventory, seal);
    if (cited(seal, "inventory") !== inventory.digest)
      throw new ProofError("the plan follows a seal of an older inventory");
    const previous = this.latest("plan");
    if (body.supersedes !== previous?.digest)
      throw new ProofError("the plan does not name the plan that it supersedes");
    if (this.latest("destruction") !== null && !planNarrows(body, previous.body)) {
      throw new ProofError("after destruction began a plan may only become narrower");
    }
    if (body.number !== (previous?.body.number ?? 0) + 1)
      throw new ProofError("plans are not numbered one after the other");
    checkPlan(body, this.charter, inventory.body, seal.body);
    checkSteps(body, this.charter);
  }

  /** Rule 5, and challenge.md. */
  async checkChallenge(entry) {
    const { body, signer } = entry;
    const seal = this.require("seal");
    const plan = this.require("plan");
    this.refuseAfterDestruction("challenge");
    this.mustCite(entry, seal, plan);
    this.checkSpeaker(entry);
    this.checkNamedCheckpoint(body.against, plan.index);
    await this.checkNonce(entry, "challenge", seal);
    const rejected = this.rejections.get(seal.digest) ?? [];
    if (rejected.some((older) => older.signer === signer)) {
      throw new ProofError(`auditor ${signer.organisation} has rejected this seal, and its draw is known`);
    }
    checkRecall(body.recall);
    if (body.decision === "accept") await this.checkDrawn(entry, seal);
  }

  /** Rules 5 and 10: the nonce opens what was committed to before `target`, and draws nothing else. */
  async checkNonce(entry, what, target) {
    const { body, signer } = entry;
    const committed = this.commitmentOf(what, signer, target.index);
    if (committed === null)
      throw new ProofError(`auditor ${signer.organisation} committed to no nonce before the draw`);
    if ((await commitment(`${what} nonce`, unhex(body.nonce))) !== committed) {
      throw new ProofError(`auditor ${signer.organisation} reveals a nonce other than the one that it committed to`);
    }
    const before = this.revealed.get(body.nonce);
    if (before === undefined) return;
    if (before.by !== signer.keyId || before.about !== target.kind || before.target !== target.digest) {
      throw new ProofError(`auditor ${signer.organisation} draws with a nonce that was revealed before`);
    }
  }

  /** challenge.md, rules 2, 3 and 5. */
  async checkDrawn({ body, signer }, seal) {
    const { policy, case: caseId } = this.charter;
    const seed = await drawSeed("challenge", caseId, seal.digest, signer.keyId, body.nonce);
    const sealed = seal.body.stores;
    if (!sameList(namesOf(body.stores), namesOf(sealed)))
      throw new ProofError("an accepted challenge does not cover the seal's stores");
    for (const [i, store] of body.stores.entries()) {
      if (!store.read) continue;
      const { chunks } = sealed[i];
      const need = Math.min(chunks, chunksNeeded(policy.bound_ppm, policy.confidence_ppm));
      const same = store.chunks === chunks && store.drawn === need;
      if (!same || store.draw !== (await drawDigest(await drawSample(seed, store.name, chunks, need)))) {
        throw new ProofError(`the challenge of store ${store.name} did not draw what the nonce picks`);
      }
      if (store.matched !== store.drawn) {
        throw new ProofError(`a challenge accepts store ${store.name} although chunks did not match`);
      }
    }
    if (sealed.some((store) => store.chunks) && !body.stores.some((store) => store.read && store.drawn)) {
      throw new ProofError(`auditor ${signer.organisation} accepts a seal without having read any store`);
    }
    if (body.brought !== (this.commitmentOf("outside", signer, this.require("inventory").index) ?? 0)) {
      throw new ProofError(`auditor ${signer.organisation} brings other outside records than it committed to`);
    }
    if (body.found !== body.brought) throw new ProofError("a challenge accepts although outside records are missing");
  }

  /** Rules 7 and 8, and destruction.md. */
  checkDestruction(entry) {
    const { body } = entry;
    const plan = this.require("plan");
    if (!this.covers(cited(entry, "plan"), plan))
      throw new ProofError("a destruction follows a plan that is not the approved one");
    this.checkGates(plan, body.started);
    if (body.number !== this.all("destruction").length + 1)
      throw new ProofError("destructions are not numbered one after the other");
    if (body.finished < body.started) throw new ProofError("a destruction ends before it starts");
    const earlier = this.latest("destruction");
    if (earlier !== null && body.started < earlier.body.finished - this.skew) {
      throw new ProofError("a destruction starts before the one before it was over");
    }
    if (isTwice(namesOf(body.stores))) throw new ProofError("a destruction names a store twice");
    for (const store of body.stores) checkRun(store, plan.destroys.get(store.name));
    checkWipedVolumes(body, plan.body);
    checkTotals(body, plan, this.require("seal").body, this);
    if (body.complete && body.stores.some((store) => store.collections.some((run) => run.remaining))) {
      throw new ProofError("a destruction says that it is complete and that partitions remain");
    }
  }

  /** Rule 7: what must be open before anything is destroyed at a time. */
  checkGates(plan, at) {
    const seal = this.require("seal");
    if (cited(plan, "seal") !== seal.digest || cited(plan, "inventory") !== this.require("inventory").digest) {
      throw new ProofError("the plan is older than the newest survey or seal");
    }
    const absent = this.countersigningMissing();
    if (absent.length) {
      throw new ProofError(
        `the charter is no longer countersigned by ${absent.map((party) => party.organisation).join(", ")}`,
      );
    }
    const approvals = this.planApprovals(plan).filter((entry) => this.counts(entry.signer) && entry.body.until >= at);
    const rejected = this.rejections.get(seal.digest) ?? [];
    if (rejected.length)
      throw new ProofError(`the challenge was rejected by auditor ${rejected[0].signer.organisation}`);
    const challenges = [...plan.challenges.values()];
    const accepting = challenges.map((entry) => entry.signer).filter((signer) => this.counts(signer));
    if (lacking(accepting, auditorsOf(this.thresholds())).length)
      throw new ProofError("the plan has too few accepted challenges");
    const short = lacking(
      approvals.map((entry) => entry.signer),
      this.thresholds(),
    );
    if (short.length) throw new ProofError(`the plan has too few approvals by: ${short.join(", ")}`);
    const owners = approvals.filter((entry) => entry.signer.role === "owner").map((entry) => entry.signer.organisation);
    const shared = plan.body.stores.flatMap((store) => store.shared.map((action) => action.owner));
    if (!contains(owners, shared)) throw new ProofError("the plan has shared actions that their owner did not approve");
    this.checkNotice(plan, [plan.announced, ...approvals, ...challenges], at);
  }

  /** Rules 7 and 9: the notice period began when the last of these was seen. */
  checkNotice(plan, needed, at) {
    const seen = this.seenBy(needed.reduce((last, entry) => Math.max(last, entry.index), 0));
    if (seen === null || this.seenBy(plan.index) === null) {
      throw new ProofError("the approvals are not yet under a checkpoint with its quorum of log witnesses");
    }
    const begins = seen + this.charter.notice;
    if (at < begins - this.skew) throw new ProofError(`the notice period is not over: ${begins - at} s are missing`);
  }

  /** Rule 10, and probe.md. */
  async checkProbe(entry) {
    const { body } = entry;
    const last = this.require("destruction");
    this.mustCite(entry, last, this.require("inventory"));
    this.checkSpeaker(entry);
    this.checkNamedCheckpoint(body.against, last.index);
    await this.checkNonce(entry, "probe", last);
    if (!sameList(namesOf(body.stores), namesOf(this.charter.stores)))
      throw new ProofError("a probe does not cover the charter's stores");
    for (const store of body.stores) {
      const aboveL1 = gradeOf(store.reached) > gradeOf("L1");
      if (aboveL1 && (store.residue || store.strangers)) {
        throw new ProofError(`a probe grants store ${store.name} ${store.reached} although it found residue`);
      }
      const restores = store.restores ?? [];
      if (restores.some((one) => one.records > one.rows)) {
        throw new ProofError(`a probe of store ${store.name} restored more records than rows`);
      }
      if (aboveL1 && restores.some((one) => one.records)) {
        throw new ProofError(`a probe grants store ${store.name} ${store.reached} although records could be restored`);
      }
      if (aboveL1 && !body.needles) {
        throw new ProofError(`a probe grants store ${store.name} ${store.reached} without anything to search for`);
      }
      checkRecall(store.recall);
    }
    checkProbedVolumes(body, this.require("plan").body);
    checkApps(body, this.charter);
    if (body.share_destroyed && body.decision === "reject") {
      throw new ProofError("a rejecting probe destroys a key share that is still needed");
    }
  }

  /** Rule 13. */
  checkSaid(entry) {
    this.checkSpeaker(entry);
    const answered = cited(entry, "testimony");
    checkTestimony(entry, answered === null ? null : this.byDigest.get(answered));
  }

  /** Rule 11, and certificate.md. */
  checkCertificate(entry) {
    const { body } = entry;
    const due = certificateOf(this, body.log, body.issued);
    this.checkNamedCheckpoint(body.log, entry.index - 1);
    if (body.log.size !== entry.index)
      throw new ProofError("the certificate names a checkpoint that does not hold all before it");
    if (writeCanonical(body) !== writeCanonical(due)) {
      throw new ProofError(`the certificate says other than its statements: ${differenceOf(body, due)}`, "verify 7");
    }
    const probes = entry.cites.filter((cite) => cite.kind === "probe").map((cite) => cite.digest);
    const stands = acceptedProbes(this).map((probe) => probe.digest);
    if (!contains(probes, stands) || !contains(stands, probes)) {
      throw new ProofError("the certificate does not cite the accepted probes that it stands on");
    }
    this.checkTrustedGrades(body);
  }

  /** certificate.md, rule 5: what auditors saw whom the trust file does not hold lifts no grade. */
  checkTrustedGrades(body) {
    const counts = (party) => this.counts(party);
    const probes = acceptedProbes(this, counts);
    if (
      lacking(
        probes.map((probe) => probe.signer),
        atLeastOneAuditor(this.thresholds()),
      ).length
    ) {
      throw new ProofError("too few auditors of the trust file accepted the destruction");
    }
    for (const store of body.stores) {
      if (gradeOf(store.reached) > gradeOf(reachedByStore(this, store.name, probes, counts).grade)) {
        throw new ProofError(
          `the auditors of the trust file do not bear out ${store.reached} for ${store.name}`,
          "verify 7",
        );
      }
    }
  }

  /** Rule 12, for a new checkpoint and for the statements that it is the first to cover. */
  checkTime(size, time) {
    const before = this.cosigned.at(-1);
    if (before !== undefined && (size < before.size || time < before.time - this.skew)) {
      throw new ProofError("checkpoints go back in time");
    }
    for (const entry of this.entries.slice(firstWhere(this.entries, (old) => old.index >= (before?.size ?? 0)))) {
      const told = claimedTime(entry);
      if (told === null) continue;
      if (told > time + this.skew) throw new ProofError(`a ${entry.kind} is dated after the log witnesses saw it`);
      if (told < this.notBefore(entry) - this.skew)
        throw new ProofError(`a ${entry.kind} is backdated: older than what it cites`);
    }
  }

  /** A time at which what an entry cites was not yet there, or its checkpoint not yet complete, as the witnesses saw. */
  notBefore(entry) {
    const newest = entry.cites.reduce((last, cite) => Math.max(last, this.byDigest.get(cite.digest)?.index ?? 0), 0);
    const size = Math.max(newest, namedSize(entry) ?? 0);
    const after = firstWhere(this.cosigned, (checkpoint) => checkpoint.size > size);
    return after === 0 ? 0 : this.cosigned[after - 1].newest;
  }

  // ── small things ───────────────────────────────────────────────────────────────────────────────

  thresholds() {
    return new Map(this.charter.policy.approve.map((wanted) => [wanted.role, wanted.count]));
  }

  mustCite(entry, ...required) {
    for (const other of required) {
      if (cited(entry, other.kind) !== other.digest) {
        throw new ProofError(`a ${entry.kind} does not cite the newest ${other.kind}`);
      }
    }
  }

  /** Rule 1: nobody speaks for another. */
  checkSpeaker({ kind, body, signer }) {
    if (body.organisation !== signer.organisation || (body.role ?? signer.role) !== signer.role) {
      throw unsigned(`a ${kind} is signed by another party than it names`);
    }
  }

  /** The checkpoint that a statement names has its quorum, and covers the entry at `index`. */
  checkNamedCheckpoint(named, index) {
    const known = this.cosigned[firstWhere(this.cosigned, (checkpoint) => checkpoint.size >= named.size)];
    if (known?.size !== named.size || known.root !== named.root) {
      throw new ProofError("a statement names a checkpoint that has no quorum of cosignatures");
    }
    if (named.size <= index)
      throw new ProofError("a statement names a checkpoint that does not hold what it speaks of");
  }

  refuseAfterDestruction(kind) {
    if (this.latest("destruction") !== null) throw new ProofError(`a new ${kind} after destruction began`);
  }
}

function checkRun(store, destroys) {
  if (destroys === undefined) throw new ProofError("a destruction names a store that the plan does not name");
  for (const run of store.collections) {
    if (run.records && !destroys.has(run.ordinal)) {
      throw new ProofError(`collection ${run.ordinal} of store ${store.name} was destroyed outside the plan`);
    }
    if (run.records !== run.as_sealed + run.watched + run.unknown) {
      throw new ProofError("a destruction's classes do not add up to its records");
    }
  }
}

/** Rule 2: the policy of a charter. */
function checkPolicy({ policy, parties }) {
  const roles = policy.approve.map((wanted) => wanted.role);
  if (isTwice(roles) || !contains(COUNTERSIGN, roles)) {
    throw new ProofError("the charter's policy names a role twice, or one that approves nothing");
  }
  const isShare = (ppm) => ppm > 0 && ppm < PPM;
  if (!isShare(policy.bound_ppm) || !isShare(policy.confidence_ppm)) {
    throw new ProofError("the charter's bound and confidence do not lie between 0 and 1");
  }
  if (chunksNeeded(policy.bound_ppm, policy.confidence_ppm) > MOST_DRAWN) {
    throw new ProofError("the charter's bound draws more than 1,000,000 chunks of a store");
  }
  const witnesses = parties.filter((party) => party.role === "log-witness").length;
  if (policy.witness < 1 || policy.witness > witnesses) {
    throw new ProofError(`the charter asks for ${policy.witness} cosignatures and names ${witnesses} log witnesses`);
  }
}

/** trust.md, rules 7 and 8. */
function checkTrusted(charter, operator, named, trust) {
  const { policy } = charter;
  if (!trust.holds(operator)) {
    throw new ProofError(
      `the trust file does not hold this key as the key of operator ${charter.operator}`,
      "verify 2",
    );
  }
  if (chunksNeeded(policy.bound_ppm, policy.confidence_ppm) < trust.chunks) {
    throw new ProofError(
      `the charter draws fewer chunks of a store than the ${trust.chunks} that the trust file asks for`,
      "verify 2",
    );
  }
  const weaker = [...trust.approve].some(([role, count]) => (named.approve.get(role) ?? 0) < count);
  if (weaker || policy.witness < trust.witness) {
    throw new ProofError("the charter asks for fewer approvals or witnesses than the trust file", "verify 2");
  }
}

/** Checks what was found of a checkpoint's signatures (log.md, parts 3 and 4); returns the cosignatures, one a witness. */
function checkCheckpoint(checkpoint, signatures, origin, root) {
  if (checkpoint.origin !== origin) throw new ProofError("a checkpoint is of another log than the charter names");
  if (!signatures[0].valid)
    throw new ProofError("the first signature line of a checkpoint is not the operator's, or does not verify");
  const seen = new Map(); // key id of a witness → type of line → time
  for (const { valid, type, party, time } of signatures.slice(1)) {
    if (party === null) throw new ProofError("a signature line of a checkpoint is by nobody whom the charter names");
    if (!seen.has(party.keyId)) seen.set(party.keyId, { party, times: new Map(), unchecked: false });
    const { times } = seen.get(party.keyId);
    if (valid === null) seen.get(party.keyId).unchecked = true;
    if (times.has(type)) throw new ProofError("a witness signed a checkpoint twice with one key");
    if (valid === false) throw new ProofError("a cosignature of a checkpoint does not verify");
    if (time < 1n || time > BigInt(Number.MAX_SAFE_INTEGER))
      throw new ProofError("a cosignature of a checkpoint carries no time");
    times.set(type, Number(time));
  }
  if (checkpoint.root !== root) {
    throw new ProofError(`the checkpoint of size ${checkpoint.size} does not cover the log's entries as they are`);
  }
  return [...seen.values()].flatMap(({ party, times, unchecked }) => {
    // A witness that left one of its keys out, or signed at two times, has not said when it saw what.
    const halves = party.mldsa44 === undefined ? 1 : 2;
    const [time, ...others] = times.values();
    return times.size === halves && others.every((other) => other === time) ? [{ party, time, unchecked }] : [];
  });
}

/** The time by which so many witnesses had cosigned; null while they have not. */
function timeOfSoMany(cosignatures, count) {
  if (cosignatures.length < count) return null;
  return cosignatures.map(({ time }) => time).sort((a, b) => a - b)[count - 1];
}

/** The roles of which too few organisations are among these parties; each counts once by key and once by name. */
function lacking(parties, wanted) {
  const have = new Map();
  const keys = new Set();
  for (const party of parties) {
    if (keys.has(party.ed25519)) continue;
    keys.add(party.ed25519);
    if (!have.has(party.role)) have.set(party.role, new Set());
    have.get(party.role).add(party.organisation);
  }
  return [...wanted].filter(([role, count]) => (have.get(role)?.size ?? 0) < count).map(([role]) => role);
}

function auditorsOf(thresholds) {
  return new Map([["auditor", thresholds.get("auditor") ?? 0]]);
}

function atLeastOneAuditor(thresholds) {
  return new Map([["auditor", Math.max(1, thresholds.get("auditor") ?? 0)]]);
}

function unsigned(message) {
  return new ProofError(message, "verify 3");
}

function raise(error) {
  throw error;
}
