// Whether plan and destruction add up to what was surveyed and sealed (spec/plan.md, rules 1 and 2; spec/destruction.md).

/** Every sealed collection and record is destroyed or left out, by the survey's own counts. */
function checkPlan(plan, charter, inventory, seal) {
  if (!sameList(namesOf(plan.stores), namesOf(seal.stores)))
    throw new ProofError("the plan does not cover the seal's stores");
  const terms = new Map(charter.stores.map((store) => [store.name, store]));
  plan.stores.forEach((store, i) => {
    checkCollections(store, seal.stores[i]);
    checkRecords(store, seal.stores[i], inventory.stores[i]);
    checkShared(store, terms.get(store.name), charter);
  });
  checkPlannedVolumes(plan);
  if (plan.records !== sum(plan.stores.map((store) => store.records)))
    throw new ProofError("the plan's total does not add up");
  if (plan.annex !== inventory.annex) {
    throw new ProofError("the plan names another annex than the inventory, so approvers read another estate");
  }
}

function checkCollections(store, sealed) {
  const ordinals = [...store.destroy, ...store.left_out.map((out) => out.ordinal)].sort((a, b) => a - b);
  const due = sealed.collections.flatMap((group) => group.ordinals).sort((a, b) => a - b);
  if (!sameList(ordinals, due))
    throw new ProofError(`the plan for store ${store.name} does not account for every collection`);
  if (store.records + sum(store.left_out.map((out) => out.records)) !== sealed.records) {
    throw new ProofError(`the plan for store ${store.name} does not account for every sealed record`);
  }
}

function checkRecords(store, sealed, surveyed) {
  const { collections } = surveyed; // by ordinal: the inventory counts them without a gap
  for (const group of sealed.collections) {
    if (sum(group.ordinals.map((ordinal) => collections[ordinal].records)) !== group.records) {
      throw new ProofError(`the seal of store ${store.name} counts other records than the inventory`);
    }
  }
  // Otherwise a plan could count one record of a collection as all there is to destroy.
  if (store.left_out.some((out) => out.records !== collections[out.ordinal].records)) {
    throw new ProofError(`the plan for store ${store.name} leaves out other records than were surveyed`);
  }
  const total = (member) => sum(collections.map((collection) => collection[member]));
  if (store.held !== total("held") || store.kept !== total("kept")) {
    throw new ProofError(`the plan for store ${store.name} holds or keeps other records than were surveyed`);
  }
}

function checkShared(store, terms, charter) {
  if (
    !contains(
      terms.shared,
      store.shared.map((action) => action.kind),
    )
  ) {
    throw new ProofError(`the plan for store ${store.name} has a shared action that the charter forbids`);
  }
  const owners = charter.parties.filter((party) => party.role === "owner").map((party) => party.organisation);
  const due = terms.owner === undefined ? owners : [terms.owner];
  if (store.shared.length && (due.length !== 1 || store.shared.some((action) => action.owner !== due[0]))) {
    throw new ProofError(`the plan for store ${store.name} has a shared action by another owner than its own`);
  }
}

/** No published group loses more records than were sealed, and *complete* is not said too early. */
function checkTotals(run, plan, seal, casebook) {
  const now = new Map(); // store → ordinal → records of this run
  for (const store of run.stores) {
    const records = new Map();
    for (const { ordinal, records: count } of store.collections)
      records.set(ordinal, (records.get(ordinal) ?? 0) + count);
    now.set(store.name, records);
  }
  const lost = (store, ordinal) => casebook.lostOf(store, ordinal) + (now.get(store)?.get(ordinal) ?? 0);
  for (const store of seal.stores) {
    if (!now.has(store.name)) continue;
    for (const group of store.collections) {
      if (sum(group.ordinals.map((ordinal) => lost(store.name, ordinal))) > group.records) {
        throw new ProofError(`more records of store ${store.name} were destroyed than were sealed`);
      }
    }
  }
  if (!run.complete) return;
  for (const store of plan.body.stores) {
    const destroys = plan.destroys.get(store.name);
    const more = [...(now.get(store.name) ?? [])]
      .filter(([ordinal]) => destroys.has(ordinal))
      .map(([, count]) => count);
    if (plan.lost.get(store.name) + sum(more) !== store.records) {
      throw new ProofError(
        `a destruction says that it is complete although records of store ${store.name} are missing`,
      );
    }
  }
}

function namesOf(items) {
  return items.map((item) => item.name);
}
