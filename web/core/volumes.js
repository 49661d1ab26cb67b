// Whether what statements say of volumes follows from the plan and bears the grade that they claim.

const CLEAN = new Set(["L3", "L4", "L5"]); // grades that speak of a volume
const WIPING = "free_space"; // the shared action under which a volume is wiped
const WAYS = { trim: "free blocks", fill: "free blocks" }; // how, for what a plan names
const AT_REST = new Set(["frozen", "read-only"]);

/** plan.md, rules 6 to 8. */
function checkPlannedVolumes(plan) {
  const on = volumesOfStores(plan);
  const stores = new Map(plan.stores.map((store) => [store.name, store]));
  for (const volume of plan.volumes ?? []) {
    if (CLEAN.has(volume.grade) && !volume.quiesced) {
      throw new ProofError(`the plan grants volume ${volume.name} ${volume.grade} while others may write to it`);
    }
    if (volume.actions.length) for (const name of volume.stores) checkConsent(stores.get(name), volume);
  }
  for (const store of plan.stores) {
    if (!CLEAN.has(store.grade)) continue;
    const volume = on.get(store.name);
    if (volume === undefined || !CLEAN.has(volume.grade)) {
      throw new ProofError(`the plan grants store ${store.name} ${store.grade} without a volume that can be clean`);
    }
    checkConsent(store, volume);
  }
}

function volumesOfStores(plan) {
  const known = new Set(plan.stores.map((store) => store.name));
  const volumes = plan.volumes ?? [];
  if (isTwice(volumes.map((volume) => volume.name))) throw new ProofError("the plan names a volume twice");
  if (volumes.some((volume) => known.has(volume.name)))
    throw new ProofError("the plan names a volume as it names a store");
  const on = new Map();
  for (const volume of volumes) {
    if (!volume.stores.length) throw new ProofError(`volume ${volume.name} of the plan holds no store`);
    for (const store of volume.stores) {
      if (!known.has(store)) throw new ProofError(`volume ${volume.name} holds a store that the plan does not name`);
      if (on.has(store)) throw new ProofError(`the plan puts store ${store} on a volume twice`);
      on.set(store, volume);
    }
  }
  return on;
}

function checkConsent(store, volume) {
  if (!store.shared.some((action) => action.kind === WIPING && action.owner === volume.owner)) {
    throw new ProofError(`the plan wipes volume ${volume.name} of store ${store.name} without its owner's ${WIPING}`);
  }
}

/** plan.md, rule 3. */
function volumesNarrow(volumes, older) {
  const before = new Map(older.map((volume) => [volume.name, volume]));
  return volumes.every((volume) => {
    const same = before.get(volume.name);
    return (
      same !== undefined &&
      ["owner", "filesystem", "bytes"].every((member) => volume[member] === same[member]) &&
      (same.quiesced || !volume.quiesced) &&
      volume.kept <= same.kept &&
      contains(same.stores, volume.stores) &&
      contains(same.actions, volume.actions)
    );
  });
}

/** destruction.md, rule 5. */
function checkWipedVolumes(run, plan) {
  const planned = new Map((plan.volumes ?? []).map((volume) => [volume.name, volume]));
  const wiped = run.volumes ?? [];
  const names = wiped.map((volume) => volume.name);
  if (!contains([...planned.keys()], names))
    throw new ProofError("a destruction wipes a volume that the plan does not name");
  const listed = new Set(names);
  const inOrder = [...planned.keys()].filter((name) => listed.has(name));
  if (!sameList(names, inOrder)) {
    throw new ProofError("a destruction does not list its volumes once each, in the plan's order");
  }
  for (const volume of wiped) {
    if (
      !contains(
        planned.get(volume.name).actions,
        volume.actions.map((action) => WAYS[action.kind] ?? action.kind),
      )
    ) {
      throw new ProofError(`volume ${volume.name} was wiped in a way that the plan does not name`);
    }
    if (volume.blank > volume.free) {
      throw new ProofError(`a destruction counts more blank blocks than free ones on volume ${volume.name}`);
    }
  }
}

/** probe.md, rules 6 to 8. */
function checkProbedVolumes(probe, plan) {
  const volumes = probe.volumes ?? [];
  const planned = plan.volumes ?? [];
  const covers = (volume, i) => volume.name === planned[i].name && sameList(volume.stores, planned[i].stores);
  if (volumes.length !== planned.length || !volumes.every(covers)) {
    throw new ProofError("a probe does not cover the plan's volumes");
  }
  volumes.forEach((volume, i) => {
    checkVolumeCounts(volume);
    if (!CLEAN.has(volume.reached)) return;
    const doubt = doubtOf(volume, planned[i], probe.needles);
    if (doubt !== null)
      throw new ProofError(`a probe grants volume ${volume.name} ${volume.reached} although ${doubt}`);
  });
  const on = new Map(volumes.flatMap((volume) => volume.stores.map((store) => [store, volume])));
  for (const store of probe.stores) {
    if (CLEAN.has(store.reached) && !CLEAN.has(on.get(store.name)?.reached)) {
      throw new ProofError(
        `a probe grants store ${store.name} ${store.reached} although no volume of it was found clean`,
      );
    }
  }
}

function checkVolumeCounts(volume) {
  const { name, bytes, read, free, blank, state, recall, referees } = volume;
  if (read > bytes || free > bytes || blank > free) {
    throw new ProofError(`the probe of volume ${name} counts more bytes than there are`);
  }
  if (state === "not read" && read)
    throw new ProofError(`the probe of volume ${name} counts bytes of what was not read`);
  checkRecall(recall);
  if (referees.some((referee) => referee.missed > referee.values)) {
    throw new ProofError(`the probe of volume ${name} counts more missed values than were found`);
  }
}

function checkRecall(recall) {
  if (recall.some((row) => row.found > row.sampled))
    throw new ProofError("a recall finds more values than were sampled");
}

/** What a probe says itself that speaks against L3 of a volume (grades.md, rule 9); null if nothing does. */
function doubtOf(volume, planned, needles) {
  if (!AT_REST.has(volume.state)) return `it was ${volume.state}`;
  if (volume.filesystem !== planned.filesystem || volume.bytes !== planned.bytes)
    return "it is not the volume that was planned";
  if (!volume.bytes || volume.read !== volume.bytes || volume.unreachable.length) return "not all of it was read";
  if (!needles) return "there was nothing to search for";
  if (isBlind(volume.recall)) return "nothing shows that the search finds what was planted in such a volume";
  if (volume.residue || volume.found.length || volume.strangers) return "it found residue";
  if (!volume.restores.length) return "nobody tried to restore anything";
  if (volume.restores.some((restore) => restore.values)) return "an attempt to restore brought something back";
  if (volume.referees.some((referee) => referee.missed || referee.values > volume.kept_elsewhere)) {
    return "an outside tool found what the search did not";
  }
  return null;
}

/** Whether nothing planted was found, or nothing in some place where something was. */
function isBlind(recall) {
  const found = new Set(recall.filter((row) => row.found).map((row) => row.place));
  return !found.size || recall.some((row) => row.sampled && !found.has(row.place));
}
