// The verdict as a reader sees it: the outcome first, then the figures, then three lists that must not be mixed up.

const MARKS = {
  good: ["M5 12.5l4.5 4.5L19 7.5"],
  open: ["M4 9.5c2.7-2.7 5.3 2.7 8 0s5.3 2.7 8 0", "M4 15.5c2.7-2.7 5.3 2.7 8 0s5.3 2.7 8 0"],
  bad: ["M6 6l12 12", "M18 6L6 18"],
};
const LONG = 100; // lines
const STEPS = [1, 2, 3, 4, 5, 6, 7];

/** All that is said of a file that verifies. */
function verdictShown(verdict) {
  const shown = document.createDocumentFragment();
  shown.append(
    verdict.identified
      ? banner("good", words("verdict.verified"), "page.verified.meaning")
      : banner("open", words("page.unidentified.head"), "verdict.unidentified", "page.unidentified.meaning"),
    summary(verdict),
    grades(verdict),
  );
  if (verdict.certificate.volumes?.length) shown.append(volumes(verdict.certificate.volumes));
  const known = new Map(verdict.statements.map((statement) => [statement.digest, statement]));
  shown.append(
    list("page.proven", verdict.proven, known),
    list("page.attested", verdict.attested, known),
    list("page.not-shown", verdict.not_shown, known),
    allStatements(verdict.statements),
  );
  return shown;
}

/** What is said of a file that does not verify: the step and the reason. */
function refusalShown(error) {
  const step = /^verify ([1-7])$/.exec(error.step ?? "")?.[1] ?? null;
  const shown = banner("bad", words("verdict.refused"), "page.refused.meaning");
  if (step !== null) {
    const what = { phrase: `page.step.${step}` };
    shown.append(element("p", {}, element("strong", {}, words("page.refused.step", { step: Number(step), what }))));
  }
  shown.append(reason(error), saying("p", {}, "page.refused.next"));
  const made = document.createDocumentFragment();
  made.append(shown, steps(step));
  return made;
}

/** What is said where the trust file itself is wrong: nothing was checked. */
function trustRefusalShown(error) {
  const shown = banner("bad", words("page.refused.trust"), "page.refused.trust.meaning");
  shown.append(reason(error));
  return shown;
}

/** The outcome of holding two proof files against each other. */
function comparisonShown({ one, other, size: shared, error, split }) {
  const names = { one, other };
  if (error === undefined) {
    const part = section("page.compare");
    part.append(saying("p", {}, "page.compare.same", { ...names, size: shared }));
    return part;
  }
  // Files that cannot be compared accuse nobody: only the operator's own signatures under two histories do.
  const shown = banner(split ? "bad" : "open", words(split ? "page.compare.split" : "page.compare.open", names));
  shown.append(reason(error));
  if (split) shown.append(saying("p", {}, "page.compare.keep"));
  return shown;
}

function banner(kind, head, ...paragraphs) {
  const title = element("h2", { tabindex: "-1" }, head);
  const shown = element("section", { class: `banner ${kind}` }, element("div", { class: "mainline" }, mark(kind), title));
  shown.append(...paragraphs.map((code) => saying("p", {}, code)));
  return shown;
}

function mark(kind) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  for (const stroke of MARKS[kind]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", stroke);
    drawing.append(path);
  }
  return drawing;
}

/** The catalogue has sentences in English for what fails, whatever the language of the page. */
function reason(error) {
  const said = element("bdi", { lang: "en" }, plain(error.message));
  return element("p", { class: "reason" }, saying("strong", {}, "page.refused.why"), ": ", said);
}

function steps(failed) {
  const part = section("page.steps");
  const shown = element("ol", { class: "steps" });
  for (const step of STEPS) {
    const here = String(step) === failed;
    const says = saying("span", {}, `page.step.${step}`);
    if (here) says.append(" (", words("page.steps.failed"), ")");
    shown.append(element("li", here ? { class: "failed", "aria-current": "step" } : {}, element("span", {}, String(step)), says));
  }
  part.append(saying("p", {}, "page.steps.together"), shown);
  return part;
}

function section(head, ...more) {
  return element("section", { class: "part" }, saying("h2", {}, head), ...more);
}

// ── figures ──────────────────────────────────────────────────────────────────────────────────────

function summary(verdict) {
  const told = verdict.certificate;
  const shown = element("dl", { class: "facts" });
  const add = (code, value, style = null) => shown.append(saying("dt", {}, code), element("dd", { class: style }, value));
  const part = (code, count) => {
    if (count > 0) shown.append(saying("dt", { class: "sub" }, code), element("dd", {}, counted(count)));
  };
  add("page.case", name(verdict.name));
  add("page.operator", verdict.identified ? name(verdict.operator) : words("page.operator.unidentified", { name: verdict.operator }));
  if (verdict.contact) add("page.contact", name(verdict.contact));
  add("page.records", words("page.records.of", { destroyed: told.destroyed, sealed: told.sealed }), "figure");
  part("page.as-sealed", told.as_sealed);
  part("page.watched", told.watched);
  part("page.unknown", told.unknown);
  part("page.held", told.held);
  part("page.kept", told.kept);
  if (told.persons) add("page.persons", counted(told.persons));
  add("page.returned", words(...both(told.returned)));
  add("page.issued", words("page.issued.word", { time: { time: told.issued } }));
  add("page.identifier", element("code", {}, verdict.case));
  return element("section", { class: "part", "aria-label": text("page.case") }, shown);
}

function counted(count) {
  return count.toLocaleString("en");
}

function both(bytes) {
  const rough = size(bytes);
  if (rough.phrase === "page.size.bytes") return [rough.phrase, rough.args];
  return ["page.size.exact", { rough, exact: { phrase: "page.size.bytes", args: { bytes } } }];
}

function grades(verdict) {
  const heads = ["verdict.store", "verdict.asked", "verdict.reached", "page.grades.who", "verdict.destroyed", "verdict.of-sealed", "verdict.recall"];
  const rows = verdict.certificate.stores.map((store) => [
    name(store.name),
    grade(store.asked),
    grade(store.reached),
    who(store),
    store.destroyed,
    store.sealed,
    Cenotaph.sayRecall(verdict.recall.get(store.name), language),
  ]);
  return section("page.grades", table("page.grades.caption", heads, rows));
}

/** Who is kept from the data; below the grade asked for, why. */
function who(store) {
  const shown = element("span", {}, words(`page.grade.${store.reached}`));
  if (store.reached === store.asked) return shown;
  const why = { text: store.why_not_higher };
  shown.className = "under";
  shown.append(element("small", {}, words("page.grades.short", { why })));
  return shown;
}

function grade(reached) {
  return element("span", { class: "grade" }, reached);
}

function volumes(all) {
  const heads = ["verdict.volume", "verdict.reached", "verdict.bytes-read", "verdict.restores", "verdict.referees"];
  const rows = all.map((volume) => [
    name(volume.name),
    grade(volume.reached),
    words(...both(volume.read)),
    volume.restores,
    volume.referees.length ? isolated(marked(volume.referees).join(", ")) : words("verdict.none"),
  ]);
  return section("page.volumes", table("page.volumes.caption", heads, rows));
}

/** A table whose roles are said outright, since a phone's width takes its display away. */
function table(caption, heads, rows) {
  const right = (at) => (rows.every((row) => typeof row[at] === "number") ? "number" : null);
  const titles = heads.map((code, at) => saying("th", { role: "columnheader", scope: "col", class: right(at) }, code));
  const head = element("tr", { role: "row" }, ...titles);
  const body = element("tbody", { role: "rowgroup" });
  for (const [first, ...rest] of rows) {
    const cells = rest.map((value, at) => cell(value, heads[at + 1]));
    body.append(element("tr", { role: "row" }, element("th", { role: "rowheader", scope: "row" }, first), ...cells));
  }
  return element("table", { role: "table" }, saying("caption", {}, caption), element("thead", { role: "rowgroup" }, head), body);
}

function cell(value, head) {
  const number = typeof value === "number";
  const inner = element("span", {}, number ? counted(value) : value);
  return element("td", { role: "cell", "data-label": text(head), class: number ? "number" : null }, inner);
}

// ── the three lists, and what stands behind a line ───────────────────────────────────────────────

function list(code, facts, known) {
  const shown = facts.map((fact) => opening(words(fact.code, fact.args), () => behind(fact, known)));
  return section(code, saying("p", {}, `${code}.what`), lines(shown));
}

/** Items as a list; a long one as several, each laid out as it comes into sight. */
function lines(items) {
  const parts = Array.from({ length: Math.ceil(items.length / LONG) }, (_, at) => items.slice(at * LONG, (at + 1) * LONG));
  const lists = parts.map((part) => element("ul", { class: "lines" }, ...part.map((item) => element("li", {}, item))));
  return lists.length === 1 ? lists[0] : element("div", { class: "long" }, ...lists);
}

/** A line that opens; what stands behind it is made when it is first asked for. */
function opening(line, inside) {
  const shown = element("details", {}, element("summary", {}, element("span", {}, line)));
  shown.addEventListener("toggle", () => shown.append(inside()), { once: true });
  return shown;
}

function behind(fact, known) {
  const shown = element("div", { class: "behind" }, source(fact.step));
  if (fact.evidence.length === 0) {
    if (fact.step.startsWith("verify ")) shown.append(saying("p", {}, "page.line.whole"));
    return shown;
  }
  shown.append(saying("h3", {}, "page.line.evidence"));
  for (const digest of fact.evidence) shown.append(statement(known.get(digest), digest, true));
  return shown;
}

function source(step) {
  const number = /^verify ([1-7])$/.exec(step)?.[1];
  if (number === undefined) return step === "docs/limits.md" ? saying("p", {}, "page.line.limits") : element("p", {}, name(step));
  return element("p", {}, saying("strong", {}, "page.line.step", { step: Number(number) }), ": ", words(`page.step.${number}`));
}

/** One statement: who made it, where it stands in the log, its digest, and its words. */
function statement(told, digest, headed) {
  const shown = element("div", { class: "source" });
  if (headed) shown.append(element("p", {}, headOf(told)));
  const seen = { index: told.index, seen: { time: told.seen } };
  shown.append(saying("p", { class: "quiet" }, told.seen === null ? "page.statement.unseen" : "page.statement.place", seen));
  shown.append(element("p", { class: "quiet" }, words("page.statement.digest"), ": ", element("code", {}, digest)));
  const machine = element("details", {}, saying("summary", {}, "page.statement.json"));
  const content = () => element("pre", { tabindex: "0", lang: "en" }, plain(JSON.stringify({ cites: told.cites, says: told.body }, null, 2)));
  machine.addEventListener("toggle", () => machine.append(content()), { once: true });
  shown.append(machine);
  return shown;
}

function headOf(told) {
  return words("page.statement", { kind: { phrase: `page.statement.${told.kind}` }, who: told.who });
}

function allStatements(statements) {
  const one = (told) => opening(headOf(told), () => element("div", { class: "behind" }, statement(told, told.digest, false)));
  const inside = () => lines(statements.map(one));
  const details = element("details", { class: "help" }, saying("summary", {}, "page.statements"));
  details.addEventListener("toggle", () => details.append(inside()), { once: true });
  return element("section", { class: "part", "aria-label": text("page.statements") }, saying("p", {}, "page.statements.what"), details);
}
