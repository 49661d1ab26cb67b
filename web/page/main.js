// What happens on the page: files come in, are told apart, checked, and the verdict is shown; nothing leaves.

const state = { files: [], notes: [], shown: null, outcome: null, comparisons: [], run: 0 };
const PAPER_UNREAD = { code: "not-shown.paper-unread", args: {}, step: "paper 4", evidence: [] }; // spec/paper.md, rule 11
const place = (id) => document.getElementById(id);

/** A later choice of files has made this check pointless. */
class Superseded extends Error {}

/** Take files in and check again. */
async function take(pairs) {
  const found = await Promise.all(pairs.map(([file, called]) => recognise(file, called)));
  state.notes = found.filter((item) => item.note !== undefined);
  for (const item of found) if (item.note === undefined) await admit(item);
  await check();
}

/** A file of the same name and kind takes the place of the earlier one. */
async function admit(item) {
  const taken = item.kind === "paper" ? await attached(item) : item;
  if (taken === null) return;
  state.files = state.files.filter((file) => file.name !== taken.name || file.kind !== taken.kind);
  state.files.push(taken);
  if (taken.kind === "proof" && !state.files.includes(state.shown)) state.shown = taken;
}

async function attached(paper) {
  const { proof = null, note = "page.paper.taken" } = await proofInside(paper.blob);
  state.notes.push({ note, args: { name: paper.name }, fine: proof !== null });
  return proof === null ? null : { name: paper.name, kind: "proof", label: "paper", size: proof.length, blob: proof };
}

async function drop(file) {
  state.files = state.files.filter((other) => other !== file);
  state.notes = [];
  if (state.shown === file) state.shown = proofs()[0] ?? null;
  await check();
}

async function show(file) {
  state.shown = file;
  await check();
}

const proofs = () => state.files.filter((file) => file.kind === "proof");
const trustFile = () => state.files.findLast((file) => file.kind === "trust") ?? null;

/** Check the shown proof file with the trust file, and hold it against the others. */
async function check() {
  const mine = ++state.run;
  Object.assign(state, { outcome: null, comparisons: [] });
  render();
  if (state.shown === null) {
    if (state.files.length > 0) announce(words("page.wants-proof"));
    return;
  }
  if (!(await able())) return;
  try {
    await checkAs(mine);
    finish();
  } catch (error) {
    if (error instanceof Superseded) return;
    state.outcome = { kind: "defect", error };
    finish();
  }
}

async function checkAs(mine) {
  const trust = trustFile();
  const progress = (done, total, what) => {
    if (mine !== state.run) throw new Superseded();
    working(`page.working.${what}`, done, total);
  };
  const held = await settled(trust === null ? null : Cenotaph.readTrust(trust.text, namedTexts()));
  if (held.error) {
    state.outcome = { kind: "trust", error: held.error, name: trust.name };
    return;
  }
  const checked = await settled(Cenotaph.verify(state.shown.blob, held.value, { progress }));
  if (mine !== state.run) throw new Superseded();
  if (checked.value !== undefined && state.shown.label === "paper") checked.value.not_shown.push(PAPER_UNREAD);
  state.outcome = { kind: checked.error ? "refused" : "verdict", error: checked.error, verdict: checked.value, name: state.shown.name };
  for (const other of proofs().filter((file) => file !== state.shown)) {
    working("page.working.compare", 0, 0);
    const same = await settled(Cenotaph.compare(state.shown.blob, other.blob, held.value, {}));
    if (mine !== state.run) throw new Superseded();
    state.comparisons.push({ one: state.shown.name, other: other.name, size: same.value, error: same.error, split: same.error instanceof Cenotaph.SplitError });
  }
}

/** What a trust file may name: each text by its whole path and by every end of it, since a folder may be dropped from above. */
function namedTexts() {
  const named = new Map();
  for (const file of state.files.filter((item) => item.text !== undefined)) {
    const parts = file.name.split("/");
    for (let from = 0; from < parts.length; from++) named.set(parts.slice(from).join("/"), file.text);
  }
  return named;
}

/** What a promise came to; only a ProofError is an outcome, anything else is a defect and goes on its way. */
async function settled(promise) {
  try {
    return { value: await promise };
  } catch (error) {
    if (!(error instanceof Cenotaph.ProofError)) throw error;
    return { error };
  }
}

/** Whether this browser can check signatures here; says why if it cannot. */
async function able() {
  const why = await lacking();
  if (why === null) return true;
  state.notes = [{ note: why, args: {} }];
  render();
  return false;
}

async function lacking() {
  if (globalThis.crypto?.subtle === undefined) return "page.no-crypto";
  try {
    await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]);
    return null;
  } catch (error) {
    if (error instanceof DOMException) return "page.no-ed25519";
    throw error;
  }
}

// ── drawing ──────────────────────────────────────────────────────────────────────────────────────

function render() {
  sayPage();
  renderFiles();
  place("notes").replaceChildren(...state.notes.map((item) => saying("p", { class: item.fine ? "note" : "wrong" }, item.note, item.args)));
  place("working").hidden = state.outcome !== null || state.shown === null || state.notes.some((item) => item.note.startsWith("page.no-"));
  place("comparison").replaceChildren(...state.comparisons.map(comparisonShown));
  place("verdict").replaceChildren(...outcomeShown());
}

function renderFiles() {
  const shown = place("chosen");
  shown.hidden = state.files.length === 0;
  document.documentElement.classList.toggle("busy", state.files.length > 0);
  shown.replaceChildren(...state.files.map(fileShown));
}

function fileShown(file) {
  const used = file.kind !== "trust" || file === trustFile();
  const told = element("small", {}, words(`page.kind.${file.label ?? file.kind}`), " · ", words(size(file.size).phrase, size(file.size).args));
  if (!used) told.append(" · ", words("page.unused"));
  const acts = element("span", { class: "acts" });
  if (file.kind === "proof" && proofs().length > 1) acts.append(file === state.shown ? saying("span", { class: "now" }, "page.shown") : act("page.show", file, show));
  acts.append(act("page.remove", file, drop));
  return element("li", {}, element("span", { class: "name" }, name(file.name), told), acts);
}

function act(code, file, does) {
  const made = saying("button", { type: "button", class: "plain", "aria-label": text(`${code}.which`, { name: file.name }) }, code);
  made.addEventListener("click", () => does(file));
  return made;
}

function outcomeShown() {
  const { outcome } = state;
  if (outcome === null) return [];
  if (outcome.kind === "defect") return [saying("p", { class: "wrong", role: "alert" }, "page.defect", { words: String(outcome.error) })];
  if (outcome.kind === "trust") return [trustRefusalShown(outcome.error)];
  const body = outcome.kind === "verdict" ? verdictShown(outcome.verdict) : refusalShown(outcome.error);
  return [body, savings(outcome)];
}

function working(code, done, total) {
  const bar = place("progress");
  if (total > 0) bar.value = done / total;
  else bar.removeAttribute("value");
  place("doing").replaceChildren(words(code, { done, total }));
}

function announce(content) {
  place("status").replaceChildren(content);
}

/** Show what came out, say it once, and take a reader who cannot see it there. */
function finish() {
  render();
  const head = place("comparison").querySelector(".banner h2") ?? place("verdict").querySelector("h2");
  if (head === null) return; // a defect says so itself
  announce(words("page.done", { name: state.outcome.name, verdict: { text: head.textContent } }));
  head.focus();
}

// ── keeping the verdict ──────────────────────────────────────────────────────────────────────────

function savings(outcome) {
  const acts = element("div", { class: "acts" });
  const add = (code, does) => {
    const made = saying("button", { type: "button", class: "plain" }, code);
    made.addEventListener("click", does);
    acts.append(made);
  };
  add("page.save.json", () => save("verdict.json", "application/json", JSON.stringify(forMachines(outcome), null, 1) + "\n"));
  add("page.save.text", () => save("verdict.txt", "text/plain", forPeople(outcome)));
  add("page.save.print", () => print());
  const part = section("page.save", acts);
  part.classList.add("save");
  return part;
}

function forMachines(outcome) {
  return outcome.kind === "verdict" ? Cenotaph.verdictJson(outcome.verdict, language) : Cenotaph.refusalJson(outcome.error);
}

function forPeople(outcome) {
  return outcome.kind === "verdict" ? reportOf(outcome.verdict) : refusalReport(outcome.error);
}

function save(called, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
  element("a", { href: address, download: called }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// ── beginning ────────────────────────────────────────────────────────────────────────────────────

function begin() {
  chooseLanguage();
  render();
  addEventListener("hashchange", () => {
    chooseLanguage();
    render();
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address keeps the language
    place("files").focus();
  });
  place("pick").addEventListener("change", async (event) => {
    const pairs = [...event.target.files].map((file) => [file, file.name]);
    await take(pairs);
    event.target.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.documentElement.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.documentElement.classList.remove("dropping");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.documentElement.classList.remove("dropping");
    await take(await dropped(event.dataTransfer));
  });
}

begin();
