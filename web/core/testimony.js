// What people are to see and say that they saw: steps of a plan, apps that were looked at, testimony.

const DISPUTE = ["objects", "answers"]; // what no plan can foresee
const EXPLAINED = ["objects", "answers", "witnessed"];
const ANSWERERS = ["operator", "auditor", "notary", "owner"];
const MOST_APPS = 1000;

/** plan.md, rule 9. */
function checkSteps(plan, charter) {
  const steps = plan.steps ?? [];
  if (isTwice(steps.map(stepKey))) throw new ProofError("the plan names a step twice");
  const apps = names(charter.apps);
  const recipients = names(charter.recipients);
  for (const { says, about, by } of steps) {
    if (DISPUTE.includes(says)) throw new ProofError("the plan foresees an objection or its answer as a step");
    if (!by.length || isTwice(by)) throw new ProofError("a step of the plan names nobody who is to testify, or a role twice");
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
  if (!contains(names(charter.apps), apps.map((item) => item.app))) {
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
