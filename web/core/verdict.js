// The verdict on a case: three lists of lines, each a code with its arguments (spec/verdict.md).

/** The verdict on a case whose certificate was replayed and is under its quorum. */
function verdictOf(book) {
  const certificate = book.require("certificate").body;
  return {
    case: book.charter.case,
    name: book.charter.name,
    operator: book.charter.operator,
    contact: book.charter.contact ?? null,
    identified: !book.trust.fromCharter,
    certificate,
    recall: recallOfStores(book, certificate.stores),
    proven: provenLines(book),
    attested: attestedLines(book),
    not_shown: notShownLines(book),
    statements: book.entries.map((entry) => statementOf(book, entry)),
  };
}

/** What stands behind lines: who made a statement, where it stands in the log, what it cites and says. */
function statementOf(book, { digest, index, kind, signer, cites, body }) {
  return { digest, index, kind, who: whoIs(book, signer), seen: book.seenBy(index), cites, body };
}

/** The object that `cenotaph-verify --json` prints. */
function verdictJson(verdict, language = "en") {
  const { certificate } = verdict;
  const lines = (list) => list.map((each) => ({ ...each, text: say(each.code, each.args, language) }));
  return {
    verdict: verdict.identified ? "verified" : "consistent, signers unidentified",
    case: verdict.case,
    name: verdict.name,
    operator: verdict.operator,
    records: {
      sealed: certificate.sealed,
      destroyed: certificate.destroyed,
      held: certificate.held,
      kept: certificate.kept,
    },
    stores: certificate.stores.map((store) => ({
      name: store.name,
      grade_asked: store.asked,
      grade_reached: store.reached,
      records: store.destroyed,
      recall: sayRecall(verdict.recall.get(store.name), "en"),
    })),
    volumes: (certificate.volumes ?? []).map((volume) => ({
      name: volume.name,
      stores: volume.stores,
      grade_reached: volume.reached,
      why_not_higher: volume.why_not_higher,
      bytes_read: volume.read,
      restores: volume.restores,
      referees: volume.referees,
    })),
    proven: lines(verdict.proven),
    attested: lines(verdict.attested),
    not_shown: lines(verdict.not_shown),
  };
}

/** What `cenotaph-verify --json` prints of a file that does not verify. */
function refusalJson(error) {
  return { verdict: "does not verify", step: error.step, why: error.message };
}

/** What a search finds at least, in words; null is "not measured". */
function sayRecall(percent, language) {
  return percent === null ? say("verdict.not-measured", {}, language) : say("verdict.percent", { percent }, language);
}

function fact(code, args = {}, step = "verify 4", evidence = []) {
  return { code, args, step, evidence };
}

// ── proven ───────────────────────────────────────────────────────────────────────────────────────

function provenLines(book) {
  const lines = [];
  if (book.cosigned.length) lines.push(appendOnly(book, book.cosigned[0], book.cosigned.at(-1)));
  const seal = book.latest("seal");
  if (seal !== null) {
    const records = seal.body.records;
    const collections = exactSum(
      seal.body.stores.flatMap((store) => store.collections.map((group) => group.ordinals.length)),
    );
    const args = { records, collections, time: asTime(book.seenBy(seal.index)) };
    lines.push(fact("proven.sealed", args, "verify 7", [seal.digest]));
  }
  const [begun] = book.all("destruction");
  if (begun !== undefined) {
    const args = { started: asTime(begun.body.started), seen: asTime(book.seenBy(begun.index)) };
    lines.push(fact("proven.gates", args, "verify 4", [begun.digest]));
  }
  const certified = book.latest("certificate");
  if (certified !== null && book.seenBy(certified.index) !== null)
    lines.push(fact("proven.certificate", {}, "verify 7"));
  const attempts = book.charter.earlier.length;
  if (attempts) lines.push(fact("proven.abandoned", { attempts }));
  return lines;
}

function appendOnly(book, first, last) {
  const own = book.trust.runBy(book.charter.operator);
  const marked = last.witnesses.map((name) => (own.has(name) ? phrase("who.run-by-operator", { name }) : name));
  const names = marked.length ? asList(marked) : phrase("who.nobody");
  const witnesses = phrase(book.trust.fromCharter ? "who.calling-themselves" : "who.names", { names });
  const args = { witnesses, statements: last.size, first: asTime(first.time), last: asTime(last.time) };
  return fact("proven.append-only", args, "verify 5");
}

// ── attested ─────────────────────────────────────────────────────────────────────────────────────

function attestedLines(book) {
  const lines = book.charterApprovals().map((entry) => spoken(book, entry, "attested.countersigned"));
  const plan = book.latest("plan");
  for (const entry of plan === null ? [] : book.planApprovals(plan)) {
    lines.push(spoken(book, entry, "attested.approved", { until: asTime(entry.body.until) }));
  }
  for (const entry of book.all("challenge")) append(lines, challengeLines(book, entry));
  for (const entry of book.all("destruction")) append(lines, destructionLines(book, entry));
  for (const entry of book.all("probe")) append(lines, probeLines(book, entry));
  return [...lines, ...testimonyLines(book)];
}

function spoken(book, entry, code, args = {}) {
  return fact(code, { who: whoIs(book, entry.signer), ...args }, "verify 4", [entry.digest]);
}

/** A signer in words that claim no more than is known of the key (spec/verdict.md, "Who"). */
function whoIs(book, { organisation, role }) {
  const how = book.trust.fromCharter
    ? "who.calling-itself"
    : book.untrusted.has(organisation)
      ? "who.not-trusted"
      : "who.trusted";
  return phrase(how, { role: phrase(`role.${role}`), name: organisation });
}

function challengeLines(book, entry) {
  const { body } = entry;
  const read = body.stores.filter((store) => store.read);
  const decision = worded("decision", body.decision);
  const recalled = recallLines(book, entry);
  if (!read.some((store) => store.drawn)) {
    return [spoken(book, entry, "attested.challenge-unread", { decision }), ...recalled];
  }
  const args = {
    drawn: exactSum(read.map((store) => store.drawn)),
    matched: exactSum(read.map((store) => store.matched)),
    bound: boundOf(book, read),
    found: body.found,
    brought: body.brought,
    decision,
    tool: body.tool,
  };
  return [spoken(book, entry, "attested.challenge", args), ...recalled];
}

function boundOf(book, read) {
  if (read.every((store) => store.drawn === store.chunks)) return phrase("bound.whole");
  const { bound_ppm: bound, confidence_ppm: confidence } = book.charter.policy;
  return phrase("bound.sampled", { bound: String(bound / 10000), confidence: String(confidence / 10000) });
}

/** What a search is known to find, over all stores; store by store it stands beside the grades. */
function recallLines(book, entry) {
  const stores = new Set(namesOf(entry.body.stores)); // of volumes the probe tells
  const rows = entry.body.recall.filter((row) => stores.has(row.store) && row.place === "any place" && row.sampled);
  if (!rows.length) return [];
  const args = {
    found: exactSum(rows.map((row) => row.found)),
    sampled: exactSum(rows.map((row) => row.sampled)),
    least: rows.map(leastOf).reduce((a, b) => Math.min(a, b)),
  };
  return [spoken(book, entry, "attested.recall", args)];
}

/** Of each store the best lower bound, in percents, that an auditor measured; null where nobody did. */
function recallOfStores(book, stores) {
  const best = new Map(stores.map((store) => [store.name, null]));
  for (const entry of book.require("plan").challenges.values()) {
    for (const row of entry.body.recall) {
      if (!best.has(row.store) || row.place !== "any place" || !row.sampled) continue;
      best.set(row.store, Math.max(leastOf(row), best.get(row.store) ?? 0));
    }
  }
  return best;
}

function leastOf(row) {
  return leastPercent(row.found, row.sampled);
}

function destructionLines(book, entry) {
  const { body } = entry;
  const records = exactSum(body.stores.flatMap((store) => store.collections.map((run) => run.records)));
  return [
    spoken(book, entry, "attested.destroyed", { records, batch: body.number }),
    ...(body.volumes ?? []).map((volume) => spoken(book, entry, "attested.wiped", wipedArgs(volume))),
  ];
}

function wipedArgs({ name, actions, blank, free, reached }) {
  const done = actions.map(({ kind, count, bytes }) => phrase("wiped.action", { kind: asText(kind), count, bytes }));
  return { volume: name, done: asList(done.length ? done : [phrase("wiped.nothing")]), blank, free, reached };
}

function probeLines(book, entry) {
  const { body } = entry;
  const args = {
    stores: body.stores.length,
    files: exactSum(body.stores.map((store) => store.places)),
    values: body.needles,
    residue: exactSum(body.stores.flatMap((store) => [store.residue, store.strangers])),
    elsewhere: exactSum(body.stores.map((store) => store.kept_elsewhere)),
    decision: worded("decision", body.decision),
    share: phrase(body.share_destroyed ? "share.destroyed" : "share.kept"),
    tool: body.tool,
  };
  return [
    spoken(book, entry, "attested.probe", args),
    ...body.stores.filter((store) => store.restores?.length).map((store) => restoredLine(book, entry, store)),
    ...(body.volumes ?? []).map((volume) => volumeLine(book, entry, volume)),
    ...appLines(book, entry),
  ];
}

function restoredLine(book, entry, { name: store, restores }) {
  return spoken(book, entry, "attested.restored", {
    store,
    attempts: restores.length,
    tools: asList(once(restores.map(toolOf))),
    rows: exactSum(restores.map((item) => item.rows)),
    records: exactSum(restores.map((item) => item.records)),
  });
}

function volumeLine(book, entry, volume) {
  if (volume.state === "not read") {
    return spoken(book, entry, "attested.volume-unread", { volume: volume.name, why: asText(volume.why_not_higher) });
  }
  return spoken(book, entry, "attested.volume", {
    volume: volume.name,
    filesystem: volume.filesystem,
    state: asText(volume.state),
    bytes: volume.bytes,
    read: volume.read,
    free: volume.free,
    blank: volume.blank,
    residue: volume.residue,
    strangers: volume.strangers,
    elsewhere: volume.kept_elsewhere,
    restored: restoredPhrase(volume.restores),
    refereed: refereedPhrase(volume.referees),
    recalled: recalledClauses(volume.recall),
    reached: volume.reached,
  });
}

function restoredPhrase(restores) {
  if (!restores.length) return phrase("restored.none");
  const tools = asList(once(restores.map(toolOf)));
  return phrase("restored.tried", {
    attempts: restores.length,
    tools,
    values: exactSum(restores.map((item) => item.values)),
  });
}

function refereedPhrase(referees) {
  if (!referees.length) return phrase("refereed.none");
  return phrase("refereed.tried", {
    tools: asList(referees.map(toolOf)),
    most: referees.map((item) => item.values).reduce((a, b) => Math.max(a, b)),
    missed: exactSum(referees.map((item) => item.missed)),
  });
}

function toolOf({ tool, version }) {
  return `${tool} ${version}`;
}

/** Of what was planted the worst place stands for all: whoever hides something chooses it. */
function recalledClauses(recall) {
  const planted = recall.filter((row) => row.sampled && row.encoding !== "any");
  const sampled = recall.filter((row) => row.sampled && row.place === "any place" && row.encoding === "any");
  const told = [];
  if (planted.length) {
    const worst = planted.reduce((least, row) => (leastOf(row) < leastOf(least) ? row : least));
    told.push(
      phrase("recalled.planted", {
        found: exactSum(planted.map((row) => row.found)),
        planted: exactSum(planted.map((row) => row.sampled)),
        least: leastOf(worst),
        place: asText(worst.place),
        encoding: asText(worst.encoding),
      }),
    );
  }
  for (const row of sampled) told.push(phrase("recalled.sampled", { found: row.found, sampled: row.sampled }));
  return { clauses: told.length ? told : [phrase("recalled.none")] };
}

// ── not shown ────────────────────────────────────────────────────────────────────────────────────

function notShownLines(book) {
  const certificate = book.latest("certificate")?.body ?? null;
  const lines = (certificate?.limits ?? LIMITS).map((limit) =>
    fact("not-shown.limit", { text: asText(limit) }, "docs/limits.md"),
  );
  if (certificate !== null) {
    for (const store of certificate.stores) append(lines, storeNotShown(store));
    const probes = acceptedProbes(book);
    for (const volume of certificate.volumes ?? []) append(lines, volumeNotShown(probes, volume));
  }
  append(lines, peopleNotShown(book));
  const undeclared = book.latest("inventory")?.body.undeclared ?? 0;
  if (undeclared) lines.push(fact("not-shown.undeclared", { stores: undeclared }, "verify 7"));
  const shares = certificate?.shares_not_destroyed ?? [];
  if (shares.length) lines.push(fact("not-shown.shares", { names: asList(shares) }, "verify 7"));
  const cases = book.endedElsewhere.length;
  if (cases) lines.push(fact("not-shown.ended-elsewhere", { cases }));
  const stamps = book.stampsUnchecked;
  if (stamps) lines.push(fact("not-shown.timestamps-unchecked", { stamps }, "verify 5"));
  if (book.untrusted.size) {
    const names = asList([...book.untrusted].sort(compareCodePoints));
    lines.push(fact("not-shown.untrusted", { names }, "verify 2"));
  }
  append(lines, unknownRunners(book));
  if (book.unchecked.size) {
    const names = asList([...book.unchecked].sort(compareCodePoints));
    lines.push(fact("not-shown.cosignatures-unchecked", { names }, "verify 5"));
  }
  return lines;
}

/** Log witnesses that count as independent only as far as a name in the trust file is spelt right. */
function unknownRunners(book) {
  const held = book
    .partiesOf("log-witness")
    .filter((party) => book.counts(party))
    .map((party) => party.organisation)
    .sort(compareCodePoints);
  const runs = held
    .map((name) => ({ name, by: book.trust.unknownRunner(name) }))
    .filter(({ by }) => by !== null)
    .map((args) => phrase("who.run-by", args));
  return runs.length ? [fact("not-shown.runners-unknown", { names: asList(runs) }, "verify 2")] : [];
}

function storeNotShown(store) {
  const { name, reached, asked, why_not_higher: why, unreachable, collections, kept_elsewhere: values } = store;
  const lines = [];
  if (reached !== asked) {
    lines.push(fact("not-shown.store-below", { store: name, reached, asked, why: asText(why) }, "verify 7"));
  }
  for (const what of unreachable)
    lines.push(fact("not-shown.store-unreached", { store: name, what: asText(what) }, "verify 7"));
  for (const { ordinals, outcome, sealed, destroyed } of collections) {
    if (outcome === "destroyed") continue;
    const args = {
      which: asList(ordinals),
      store: name,
      outcome: worded("outcome", outcome),
      remain: sealed - destroyed,
    };
    lines.push(fact("not-shown.collection", args, "verify 7"));
  }
  if (values) lines.push(fact("not-shown.store-kept", { store: name, values }, "verify 7"));
  return lines;
}

function volumeNotShown(probes, { name: volume, reached, why_not_higher: why, stores, referees }) {
  const lines = [];
  if (CLEAN.has(reached)) {
    lines.push(fact("not-shown.volume-same", { volume, stores: asList(stores) }, "docs/limits.md"));
    if (!referees.length) lines.push(fact("not-shown.volume-unrefereed", { volume }, "verify 7"));
  } else {
    lines.push(fact("not-shown.volume-below", { volume, reached, why: asText(why) }, "verify 7"));
  }
  const probed = probes.flatMap((probe) => probedVolumes(probe, volume));
  for (const what of once(probed.flatMap((item) => item.unreachable))) {
    lines.push(fact("not-shown.volume-unreached", { volume, what: asText(what) }, "verify 7"));
  }
  for (const what of once(probed.flatMap((item) => item.notes ?? []))) {
    lines.push(fact("not-shown.volume-noted", { volume, what: asText(what) }));
  }
  return lines;
}

/** A sum for people to read: a BigInt where numbers would round it. */
function exactSum(numbers) {
  const total = sum(numbers);
  return Number.isSafeInteger(total) ? total : numbers.reduce((all, number) => all + BigInt(number), 0n);
}
