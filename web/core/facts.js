// What a certificate may say: the one that the statements allow (spec/certificate.md). Nothing in it is the operator's word.

const LIMITS = [
  "Nothing excludes a copy made before the seal, or outside the inventory.",
  "That keys were destroyed is attested, not proven.",
  "Sampling bounds what could be wrong; it does not exclude it.",
  "The search finds what it knows to look for; values shorter than six bytes are not searched.",
  "Spare areas of flash media, snapshots of a storage provider and memory are outside any search.",
  "That the records were true, or complete, is not shown.",
  "This certificate cannot answer residents about themselves.",
];
const LIMITS_OF_VOLUMES = [
  "L3 speaks of a volume's addressable bytes when the probe read them: of nothing below and nothing later.",
];

/** The certificate that follows, given the checkpoint and the time that it names. Refuses while the case is not ready (rule 2). */
function certificateOf(book, log, issued) {
  const probes = acceptedProbes(book);
  checkReady(book, probes);
  const stores = book.require("seal").body.stores.map((sealed) => certifiedStore(book, sealed, probes));
  const volumes = plannedVolumes(book).map((volume) => certifiedVolume(book, volume, probes));
  const total = (member) => sum(stores.map((store) => store[member]));
  const lost = [...book.lost.values()].flatMap((store) => [...store.values()]);
  return {
    log,
    issued,
    sealed: total("sealed"),
    destroyed: total("destroyed"),
    held: total("held"),
    kept: total("kept"),
    returned: total("returned"),
    ...classesOf(lost),
    collections: sum(stores.map((store) => sum(store.collections.map((group) => group.ordinals.length)))),
    stores,
    batches: book.all("destruction").length,
    abandoned: book.charter.earlier,
    shares_not_destroyed: sharesNotDestroyed(book),
    limits: volumes.length ? [...LIMITS, ...LIMITS_OF_VOLUMES] : LIMITS,
    persons: book.require("seal").body.persons,
    volumes: volumes.length ? volumes : undefined,
  };
}

/** The newest probe of each auditor on the latest destruction, where it accepts. */
function acceptedProbes(book, counts = () => true) {
  const last = book.latest("destruction");
  const newest = new Map();
  for (const probe of book.all("probe")) {
    if (cited(probe, "destruction") === last?.digest && counts(probe.signer)) newest.set(probe.signer.keyId, probe);
  }
  return [...newest.values()].filter((probe) => probe.body.decision === "accept");
}

/** Rule 4: the grade of a store and why it is not higher; the lowest that anything allows, of equal ones the first. */
function reachedByStore(book, name, probes, counts = () => true) {
  const sealed = itemNamed(book.require("seal").body.stores, name);
  const planned = itemNamed(book.require("plan").body.stores, name);
  const surveyed = itemNamed(book.require("inventory").body.stores, name);
  const limits = [
    { grade: itemNamed(book.charter.stores, name).grade, why: "" },
    { grade: planned.grade, why: planned.why_not_higher },
    { grade: surveyed.reachable, why: surveyed.why_not_higher },
  ];
  if (sum(planned.destroy.map((ordinal) => book.lostOf(name, ordinal))) !== planned.records) {
    limits.push({ grade: "none", why: "not everything that the plan names was destroyed" });
  }
  if (sealed.records && !lostOfStore(book, name)) {
    limits.push({ grade: "none", why: "nothing of this store was destroyed" });
  }
  const run = book.newestRun.get(name);
  if (run !== undefined) limits.push({ grade: run.reached, why: run.why_not_higher });
  const counted = probes.filter((probe) => counts(probe.signer));
  const seen = counted.map((probe) => itemNamed(probe.body.stores, name)).filter((store) => store.read);
  limits.push(...seen.map((store) => ({ grade: store.reached, why: store.why_not_higher })));
  const challenges = [...book.require("plan").challenges.values()].filter((entry) => counts(entry.signer));
  const drawn = challenges.some((entry) => itemNamed(entry.body.stores, name)?.read);
  if (sealed.records && !(seen.length && drawn)) {
    limits.push({ grade: "L1", why: "no auditor read this store through a session of their own" });
  } else if (sealed.records && !challenges.some((entry) => measuredStores(entry.body.recall).has(name))) {
    limits.push({
      grade: "L1",
      why: "no sampled value was found in this store before destruction: recall was not measured",
    });
  }
  limits.push(allowedByVolume(book, name, probes, counts));
  return lowest(limits);
}

/** Rule 7: the grade of a volume of the plan. */
function reachedByVolume(book, name, probes, counts = () => true) {
  const planned = itemNamed(plannedVolumes(book), name);
  const limits = [{ grade: planned.grade, why: planned.why_not_higher }];
  const wiped = book.wiped.get(name) ?? null;
  limits.push(
    wiped === null
      ? { grade: "L2", why: "the volume was not wiped after the last erasing" }
      : { grade: wiped.reached, why: wiped.why_not_higher },
  );
  const searched = probes.filter((probe) => counts(probe.signer)).flatMap((probe) => probedVolumes(probe, name));
  limits.push(...searched.map((volume) => ({ grade: volume.reached, why: volume.why_not_higher })));
  if (!searched.length) limits.push({ grade: "L2", why: "no auditor searched the volume" });
  return lowest(limits);
}

/** Where a certificate departs from what follows, in words. */
function differenceOf(said, due) {
  const members = Object.keys(due).filter((member) => !sameJson(said[member], due[member]));
  for (const list of ["stores", "volumes"]) {
    if (!members.includes(list) || said[list]?.length !== due[list]?.length) continue;
    const item = due[list].findIndex((one, i) => !sameJson(one, said[list][i]));
    const inside = Object.keys(due[list][item]).filter(
      (member) => !sameJson(said[list][item][member], due[list][item][member]),
    );
    return `${inside.join(", ")} of ${due[list][item].name}`;
  }
  return members.join(", ");
}

function sameJson(one, other) {
  return one === other || (one !== undefined && other !== undefined && writeCanonical(one) === writeCanonical(other));
}

/** Rule 2. */
function checkReady(book, probes) {
  book.require("destruction");
  if (
    lacking(
      probes.map((probe) => probe.signer),
      atLeastOneAuditor(book.thresholds()),
    ).length
  ) {
    throw new ProofError("there are too few accepting probes of the latest destruction");
  }
  // A rejection stands until its own auditor accepts: another destruction does not wash it away.
  const words = new Map(book.all("probe").map((probe) => [probe.signer.organisation, probe.body.decision]));
  const rejecting = [...words].filter(([, decision]) => decision === "reject").map(([organisation]) => organisation);
  if (rejecting.length) throw new ProofError(`the newest probe of ${rejecting.join(", ")} rejects the destruction`);
}

function certifiedStore(book, sealed, probes) {
  const { name } = sealed;
  const planned = itemNamed(book.require("plan").body.stores, name);
  const { grade, why } = reachedByStore(book, name, probes);
  const probed = probes.map((probe) => itemNamed(probe.body.stores, name));
  const most = (member) => probed.reduce((largest, store) => Math.max(largest, store[member]), 0);
  const leftOut = new Set(planned.left_out.map((out) => out.ordinal));
  return {
    name,
    asked: itemNamed(book.charter.stores, name).grade,
    planned: planned.grade,
    reached: grade,
    why_not_higher: why,
    sealed: sealed.records,
    destroyed: lostOfStore(book, name),
    held: planned.held,
    kept: planned.kept,
    returned: book.returned.get(name) ?? 0,
    kept_elsewhere: most("kept_elsewhere"),
    strangers: most("strangers"),
    collections: sealed.collections.map((group) => certifiedCollection(book, name, group, leftOut)),
    unreachable: once(probed.flatMap((store) => store.unreachable)),
  };
}

function certifiedCollection(book, store, group, leftOut) {
  const lost = group.ordinals.map((ordinal) => book.lost.get(store)?.get(ordinal)).filter((sums) => sums !== undefined);
  const destroyed = sum(lost.map((sums) => sums.records));
  const isLeftOut = group.ordinals.some((ordinal) => leftOut.has(ordinal));
  return {
    ordinals: group.ordinals,
    sealed: group.records,
    destroyed,
    ...classesOf(lost),
    outcome: outcomeOf(group.records, destroyed, isLeftOut),
  };
}

/** Rule 3. */
function outcomeOf(sealed, destroyed, isLeftOut) {
  if (destroyed === sealed && !isLeftOut) return "destroyed";
  if (destroyed) return "partly destroyed";
  return isLeftOut ? "left out" : "not destroyed";
}

function certifiedVolume(book, planned, probes) {
  const { grade, why } = reachedByVolume(book, planned.name, probes);
  const probed = probes.flatMap((probe) => probedVolumes(probe, planned.name));
  const fewest = (numbers) => (numbers.length ? numbers.reduce((a, b) => Math.min(a, b)) : 0);
  return {
    name: planned.name,
    stores: planned.stores,
    filesystem: planned.filesystem,
    reached: grade,
    why_not_higher: why,
    read: fewest(probed.map((volume) => volume.read)),
    restores: fewest(probed.map((volume) => volume.restores.length)),
    referees: once(probed.flatMap((volume) => volume.referees.map((referee) => referee.tool))),
  };
}

/** What the volume of a store allows: what lies below files lowers no grade that speaks of files alone. */
function allowedByVolume(book, store, probes, counts) {
  const volume = volumeOfStore(plannedVolumes(book), store);
  if (volume === undefined) return { grade: "L2", why: "the plan names no volume that it lies on" };
  const read = probes.filter((probe) => itemNamed(probe.body.stores, store).read);
  const reached = reachedByVolume(book, volume.name, read, counts);
  return CLEAN.has(reached.grade) ? reached : { grade: "L2", why: reached.why };
}

/** Auditors who gave a key share and did not say that it is gone. */
function sharesNotDestroyed(book) {
  const gave = book.charterApprovals().filter((entry) => entry.body.commitments !== undefined);
  const gone = new Set(
    book
      .all("probe")
      .filter((probe) => probe.body.share_destroyed)
      .map((probe) => probe.signer.organisation),
  );
  return once(gave.map((entry) => entry.signer.organisation).filter((name) => !gone.has(name))).sort(compareCodePoints);
}

function plannedVolumes(book) {
  return book.require("plan").body.volumes ?? [];
}

function probedVolumes(probe, name) {
  const found = itemNamed(probe.body.volumes ?? [], name);
  return found === undefined ? [] : [found];
}

function lostOfStore(book, name) {
  return sum([...(book.lost.get(name) ?? new Map()).values()].map((sums) => sums.records));
}

function classesOf(lost) {
  const total = (member) => sum(lost.map((sums) => sums[member]));
  return { as_sealed: total("as_sealed"), watched: total("watched"), unknown: total("unknown") };
}

/** The lowest of several grades with its reason; of equal ones the first. No statement of this version shows more than L3. */
function lowest(limits) {
  const all = [...limits, { grade: "L3", why: "no statement of this version shows a higher grade" }];
  return all.reduce((least, limit) => (gradeOf(limit.grade) < gradeOf(least.grade) ? limit : least));
}

function gradeOf(name) {
  return GRADES.indexOf(name);
}

// Of a list in a statement, what finds its items: made once, so that long lists take no longer each.
const BY_NAME = new WeakMap();
const BY_STORE = new WeakMap();
const MEASURED = new WeakMap();

function madeOnce(cache, list, make) {
  if (!cache.has(list)) cache.set(list, make());
  return cache.get(list);
}

function itemNamed(items, name) {
  return madeOnce(BY_NAME, items, () => new Map(items.map((item) => [item.name, item]))).get(name);
}

/** The volume of a plan that a store lies on. */
function volumeOfStore(volumes, name) {
  const pairs = () => volumes.flatMap((volume) => volume.stores.map((store) => [store, volume]));
  return madeOnce(BY_STORE, volumes, () => new Map(pairs())).get(name);
}

/** The stores of which a recall found a sampled value. */
function measuredStores(recall) {
  return madeOnce(MEASURED, recall, () => new Set(recall.filter((row) => row.found).map((row) => row.store)));
}

function once(items) {
  return [...new Set(items)];
}
