// What people are to see and say that they saw: steps of a plan, apps that were looked at, testimony; and what a verdict
// says of it. All of it is attested or not shown: people can err, and lie.

const DISPUTE = ["objects", "answers"]; // what no plan can foresee
const EXPLAINED = ["objects", "answers", "witnessed"];
const ANSWERERS = ["operator", "auditor", "notary", "owner"];
const MOST_APPS = 1000;

/** plan.md, rule 9. */
function checkSteps(plan, charter) {
  const steps = plan.steps ?? [];
  if (isTwice(steps.map(stepKey))) throw new ProofError("the plan names a step twice");
  const apps = namesOf(charter.apps);
  const recipients = namesOf(charter.recipients);
  for (const { says, about, by } of steps) {
    if (DISPUTE.includes(says)) throw new ProofError("the plan foresees an objection or its answer as a step");
    if (!by.length || isTwice(by))
      throw new ProofError("a step of the plan names nobody who is to testify, or a role twice");
    if (says === "switched off" && !apps.includes(about)) {
      throw new ProofError("the plan switches off an app that the charter does not name");
    }
    if (says === "copy gone" && !recipients.includes(about)) {
      throw new ProofError("the plan has a copy gone from a recipient that the charter does not name");
    }
  }
}

/** probe.md, rule 9. */
function checkApps(probe, charter) {
  const apps = probe.apps ?? [];
  if (apps.length > MOST_APPS) throw new ProofError("a probe looks at more than 1,000 things of apps");
  if (
    !contains(
      namesOf(charter.apps),
      apps.map((item) => item.app),
    )
  ) {
    throw new ProofError("a probe looks at an app that the charter does not name");
  }
}

/** testimony.md, rules 3 to 6. `answered` is the testimony that is cited, null if none is. */
function checkTestimony(entry, answered) {
  const { body } = entry;
  if (isTwice(body.evidence)) throw new ProofError("a testimony names a file of evidence twice");
  if (body.why === "" || (body.why !== undefined && !EXPLAINED.includes(body.says))) {
    throw new ProofError("a testimony gives a reason where there is none to give");
  }
  if (body.says !== "answers") {
    if (answered !== null) throw new ProofError("a testimony cites another one and is no answer to it");
    return;
  }
  if (!ANSWERERS.includes(body.role)) throw new ProofError(`a ${body.role} answers an objection`);
  if (answered === null || answered.body.says !== "objects") throw new ProofError("an answer cites no objection");
  if (answered.body.about !== body.about) throw new ProofError("an answer is about something else than the objection");
}

/** What makes a testimony be of a step. */
function stepKey({ says, about }) {
  return JSON.stringify([says, about]);
}

// ── lines of the verdict ─────────────────────────────────────────────────────────────────────────

/** Testimony: step by step of the newest plan, then the rest in log order. */
function testimonyLines(book) {
  const lines = [];
  const told = new Set();
  for (const entries of testimonyOfSteps(book).values()) {
    for (const entry of entries) {
      told.add(entry);
      lines.push(spoken(book, entry, "attested.step", testimonyArgs(entry)));
    }
  }
  for (const entry of book.all("testimony").filter((other) => !told.has(other))) {
    const answered = cited(entry, "testimony");
    if (answered === null) lines.push(spoken(book, entry, "attested.testimony", testimonyArgs(entry)));
    else {
      const to = book.byDigest.get(answered).signer.organisation;
      lines.push(spoken(book, entry, "attested.answer", { ...testimonyArgs(entry), to }));
    }
  }
  return lines;
}

/** The apps that an auditor saw, gone or still there. */
function appLines(book, probe) {
  const looked = (probe.body.apps ?? []).filter((item) => item.state !== "not looked at");
  return looked.map((item) =>
    spoken(book, probe, "attested.app", { ...appArgs(item), state: worded("state", item.state) }),
  );
}

/** Apps not seen to be gone, steps to which somebody has not testified, objections without an answer. */
function peopleNotShown(book) {
  const probes = [...new Map(book.all("probe").map((probe) => [probe.signer.keyId, probe])).values()];
  const lines = probes.flatMap((probe) => standingLines(book, probe));
  const plan = book.latest("plan");
  if (plan !== null) append(lines, [...unseenLines(plan, probes), ...lackingLines(book, plan)]);
  const answered = new Set(book.all("testimony").map((entry) => cited(entry, "testimony")));
  for (const entry of book.all("testimony")) {
    const { says, about } = entry.body;
    if (says !== "objects" || answered.has(entry.digest)) continue;
    lines.push(spoken(book, entry, "not-shown.objection", { about, why: whyOf(entry.body) }));
  }
  return lines;
}

function standingLines(book, probe) {
  const codes = { "still there": "not-shown.app-standing", "not looked at": "not-shown.app-unlooked" };
  const standing = (probe.body.apps ?? []).filter((item) => item.state in codes);
  return standing.map((item) => spoken(book, probe, codes[item.state], appArgs(item)));
}

/** Apps to be switched off at which no newest probe looked in any way; before a probe, none. */
function unseenLines(plan, probes) {
  if (!probes.length) return [];
  const seen = new Set(probes.flatMap((probe) => (probe.body.apps ?? []).map((item) => item.app)));
  return (plan.body.steps ?? [])
    .filter(({ says, about }) => says === "switched off" && !seen.has(about))
    .map(({ about }) => fact("not-shown.app-unseen", { app: about }, "verify 4", [plan.digest]));
}

/** Steps of the plan, and the roles of which nobody who counts testified to them. */
function lackingLines(book, plan) {
  const testified = testimonyOfSteps(book);
  return (plan.body.steps ?? []).flatMap((step) => {
    const signers = testified.get(stepKey(step)).map((entry) => entry.signer);
    const roles = signers.filter((signer) => book.counts(signer)).map((signer) => signer.role);
    const lacks = step.by.filter((role) => !roles.includes(role)).map((role) => phrase(`role.${role}`));
    if (!lacks.length) return [];
    const args = { about: step.about, says: worded("says", step.says), roles: asList(lacks) };
    return [fact("not-shown.step", args, "verify 4", [plan.digest])];
  });
}

/** Of each step of the newest plan, in its order: the testimony to it, in log order (testimony.md, rule 7). */
function testimonyOfSteps(book) {
  const steps = new Map((book.latest("plan")?.body.steps ?? []).map((step) => [stepKey(step), []]));
  for (const entry of book.all("testimony")) steps.get(stepKey(entry.body))?.push(entry);
  return steps;
}

function testimonyArgs({ body }) {
  const files = body.evidence.length;
  return {
    about: body.about,
    says: worded("says", body.says),
    why: whyOf(body),
    evidence: files ? phrase("evidence.named", { files }) : phrase("evidence.none"),
  };
}

function whyOf({ why }) {
  return why === undefined ? phrase("why.none") : phrase("why.given", { why });
}

function appArgs({ app, check: what, note }) {
  return { app, check: phrase(`check.${what}`), note: asText(note) };
}
