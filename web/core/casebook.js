// The statements of a case in log order, and what can be asked of them. Checks nothing.
//
// Answers that a later statement needs are kept up to date as statements come, so that a case of many thousand
// statements is replayed in time that grows with them, not with their square.

const COUNTERSIGN = ["auditor", "notary", "owner"];

class Casebook {
  constructor(trust) {
    this.trust = trust; // of a case without a trust file: what its charter claims, once there is one
    this.charterEntry = null;
    this.parties = new Map(); // key id → party of the charter
    this.untrusted = new Set(); // organisations of the charter that the trust file lacks
    this.entries = [];
    this.byDigest = new Map();
    this.byKind = new Map([...BODIES.keys()].map((kind) => [kind, []]));
    this.cosigned = []; // checkpoints with their quorum: size, root, time, witnesses, newest (time of it and those before)
    this.endedElsewhere = []; // charters of other cases, by certificates that were not checked
    this.words = new Map(); // "charter DIGEST" or "plan DIGEST" → key id → that key's newest approval or withdrawal
    this.committed = new Map(); // "WHAT KEY-ID" → [index, value], ascending: what an auditor committed to, and when
    this.revealed = new Map(); // nonce → who revealed it for what
    this.rejections = new Map(); // digest of a seal → challenges that reject it
    this.lost = new Map(); // store → ordinal → sums of a destroyed collection over all destructions
    this.returned = new Map(); // store → bytes given back over all destructions
    this.newestRun = new Map(); // store → what the newest destruction that names it says
    this.laidOn = new Map(); // store → volumes that any plan put it on
    this.wiped = new Map(); // volume → its newest wiping; null after a later run changed anything on it
  }

  get charter() {
    return this.charterEntry.body;
  }

  get skew() {
    return this.trust.clockSkew;
  }

  all(kind) {
    return this.byKind.get(kind);
  }

  latest(kind) {
    return this.all(kind).at(-1) ?? null;
  }

  /** The newest statement of a kind; refuses at step 4 where there is none. */
  require(kind) {
    const found = this.latest(kind);
    if (found === null) throw new ProofError(`the case has no ${kind} yet`, "verify 4");
    return found;
  }

  partiesOf(...roles) {
    return [...this.parties.values()].filter((party) => roles.includes(party.role));
  }

  counts(party) {
    return this.trust.holds(party);
  }

  /** By when a quorum had seen an entry; null while it has not. */
  seenBy(index) {
    const covering = this.cosigned[firstWhere(this.cosigned, (checkpoint) => checkpoint.size > index)];
    return covering === undefined ? null : covering.time;
  }

  take(entry) {
    this.entries.push(entry);
    this.byDigest.set(entry.digest, entry);
    this.all(entry.kind).push(entry);
    const note = {
      approval: () => this.takeApproval(entry),
      plan: () => this.takePlan(entry),
      challenge: () => this.takeChallenge(entry),
      destruction: () => this.takeDestruction(entry),
      probe: () => this.takeProbe(entry),
    }[entry.kind];
    if (note) note();
  }

  takeApproval(entry) {
    const { body, signer } = entry;
    const about = `${body.of} ${cited(entry, body.of)}`;
    if (!this.words.has(about)) this.words.set(about, new Map());
    this.words.get(about).set(signer.keyId, entry);
    const said = body.commitments;
    if (said === undefined) return;
    this.commit("outside", entry, said.outside_records);
    // The first approval fixes the first nonces; later ones come with statements that reveal the one before.
    if (!this.committed.has(`challenge ${signer.keyId}`)) this.commit("challenge", entry, said.challenge_nonce);
    if (!this.committed.has(`probe ${signer.keyId}`)) this.commit("probe", entry, said.probe_nonce);
  }

  takePlan(entry) {
    const older = entry.body.supersedes === undefined ? undefined : this.byDigest.get(entry.body.supersedes);
    const narrows =
      older !== undefined && cited(older, "seal") === cited(entry, "seal") && planNarrows(entry.body, older.body);
    // What was said of a plan is final once the next one is there: approvals and challenges name the newest.
    entry.narrowed = narrows ? older : null;
    entry.announced = narrows ? older.announced : entry;
    entry.inherited = narrows ? this.planApprovals(older) : [];
    entry.challenges = new Map(narrows ? older.challenges : []);
    entry.destroys = new Map(entry.body.stores.map((store) => [store.name, new Set(store.destroy)]));
    for (const volume of entry.body.volumes ?? []) {
      for (const store of volume.stores) this.laidOn.set(store, (this.laidOn.get(store) ?? new Set()).add(volume.name));
    }
    entry.lost = new Map(
      entry.body.stores.map((store) => [store.name, sum(store.destroy.map((o) => this.lostOf(store.name, o)))]),
    );
  }

  takeChallenge(entry) {
    const { body, signer } = entry;
    this.latest("plan").challenges.set(signer.keyId, entry);
    this.commit("challenge", entry, body.next_nonce);
    this.reveal(entry, "seal");
    if (body.decision !== "reject") return;
    const seal = cited(entry, "seal");
    if (!this.rejections.has(seal)) this.rejections.set(seal, []);
    this.rejections.get(seal).push(entry);
  }

  takeDestruction(entry) {
    const plan = this.latest("plan");
    for (const store of entry.body.stores) {
      this.returned.set(store.name, (this.returned.get(store.name) ?? 0) + store.returned);
      this.newestRun.set(store.name, store);
      // A store that an amended plan took from a volume lies there all the same.
      if (isTouched(store)) for (const volume of this.laidOn.get(store.name) ?? []) this.wiped.set(volume, null);
      if (!this.lost.has(store.name)) this.lost.set(store.name, new Map());
      const lost = this.lost.get(store.name);
      for (const run of store.collections) {
        const before = lost.get(run.ordinal) ?? { records: 0, as_sealed: 0, watched: 0, unknown: 0 };
        lost.set(run.ordinal, {
          records: before.records + run.records,
          as_sealed: before.as_sealed + run.as_sealed,
          watched: before.watched + run.watched,
          unknown: before.unknown + run.unknown,
        });
        if (plan.destroys.get(store.name).has(run.ordinal)) {
          plan.lost.set(store.name, plan.lost.get(store.name) + run.records);
        }
      }
    }
    for (const volume of entry.body.volumes ?? []) this.wiped.set(volume.name, volume);
  }

  takeProbe(entry) {
    this.commit("probe", entry, entry.body.next_nonce);
    this.reveal(entry, "destruction");
  }

  commit(what, entry, value) {
    const key = `${what} ${entry.signer.keyId}`;
    if (!this.committed.has(key)) this.committed.set(key, []);
    this.committed.get(key).push({ index: entry.index, value });
  }

  /** What a key committed to in its newest word before an entry of the log; null if it did not. */
  commitmentOf(what, party, before) {
    const list = this.committed.get(`${what} ${party.keyId}`) ?? [];
    const found = list[firstWhere(list, (word) => word.index >= before) - 1];
    return found === undefined ? null : found.value;
  }

  reveal(entry, about) {
    const { nonce } = entry.body;
    if (!this.revealed.has(nonce))
      this.revealed.set(nonce, { by: entry.signer.keyId, about, target: cited(entry, about) });
  }

  lostOf(store, ordinal) {
    return this.lost.get(store)?.get(ordinal)?.records ?? 0;
  }

  /** Approvals of a charter or plan that stand, one a key, in log order. */
  standing(of, digest) {
    const words = [...(this.words.get(`${of} ${digest}`) ?? new Map()).values()];
    return inLogOrder(words.filter((entry) => entry.body.decision === "approve"));
  }

  charterApprovals() {
    return this.standing("charter", this.charterEntry.digest);
  }

  /** Who has not countersigned the charter, or no longer does. */
  countersigningMissing() {
    const have = new Set(this.charterApprovals().map((entry) => entry.signer.keyId));
    return this.partiesOf(...COUNTERSIGN).filter((party) => !have.has(party.keyId));
  }

  /** Standing approvals of a plan, or of a plan that it only narrows, in log order (plan.md, rule 4). */
  planApprovals(plan) {
    const words = this.words.get(`plan ${plan.digest}`) ?? new Map();
    const inherited = plan.inherited.filter((entry) => !words.has(entry.signer.keyId));
    return inLogOrder([...this.standing("plan", plan.digest), ...inherited]);
  }

  /** Whether a digest is of this plan, or of one that it narrows step by step. */
  covers(digest, plan) {
    const other = digest === null ? undefined : this.byDigest.get(digest);
    return other?.kind === "plan" && other.announced === plan.announced && other.index <= plan.index;
  }
}

/** Whether a run erased records of a store, or only rewrote and freed blocks: both leave copies in free ones. */
function isTouched(run) {
  return run.overwritten > 0 || run.returned > 0 || run.collections.some((collection) => collection.records);
}

function inLogOrder(entries) {
  return entries.sort((a, b) => a.index - b.index);
}

/** The first position of an ordered list whose item fits; its length where none does. */
function firstWhere(list, fits) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (fits(list[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whether a plan only takes something out of an older one of the same seal (plan.md, rule 3). */
function planNarrows(plan, older) {
  const before = new Map(older.stores.map((store) => [store.name, store]));
  return (
    plan.annex === older.annex &&
    writeCanonical(plan.steps ?? []) === writeCanonical(older.steps ?? []) &&
    volumesNarrow(plan.volumes ?? [], older.volumes ?? []) &&
    plan.stores.every((store) => before.has(store.name) && storeNarrows(store, before.get(store.name)))
  );
}

function storeNarrows(store, older) {
  const action = (shared) => JSON.stringify([shared.kind, shared.owner]);
  return (
    contains(older.destroy, store.destroy) &&
    contains(older.shared.map(action), store.shared.map(action)) &&
    contains(
      older.own.map((own) => own.kind),
      store.own.map((own) => own.kind),
    )
  );
}

function contains(whole, part) {
  const known = new Set(whole);
  return part.every((item) => known.has(item));
}

function isTwice(items) {
  return new Set(items).size !== items.length;
}

function sameList(one, other) {
  return one.length === other.length && one.every((item, i) => item === other[i]);
}

/** The size of the checkpoint that a statement says it was made against; null if it names none. */
function namedSize(entry) {
  const named = entry.body.against ?? (entry.kind === "certificate" ? entry.body.log : null);
  return named === null ? null : named.size;
}

/** The time that a statement claims for what it reports, in seconds; null of those that claim none. */
function claimedTime({ kind, body }) {
  const member = {
    charter: "created",
    approval: "signed",
    challenge: "signed",
    probe: "signed",
    testimony: "signed",
    destruction: "finished",
    certificate: "issued",
  }[kind];
  return member === undefined ? null : body[member];
}
