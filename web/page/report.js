// The verdict as plain text, as `cenotaph-verify` prints it on a terminal.

const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]/u;

function reportOf(verdict) {
  const say = (code, args = {}) => Cenotaph.say(code, args, language);
  const { name, operator, certificate } = verdict;
  const out = [
    say(verdict.identified ? "verdict.verified" : "verdict.unidentified"),
    say("verdict.case", { name, operator }),
    say("verdict.totals", certificate),
    "",
    ...storeRows(verdict, say),
    ...volumeRows(certificate.volumes ?? [], say),
  ];
  for (const [title, lines] of [["proven", verdict.proven], ["attested", verdict.attested], ["not-shown", verdict.not_shown]]) {
    out.push("", say(`verdict.${title}`), ...lines.map((line) => `  - ${say(line.code, line.args)}`));
  }
  return out.map(plain).join("\n") + "\n";
}

function refusalReport(error) {
  const step = /^verify ([1-7])$/.exec(error.step ?? "")?.[1];
  const where = step === undefined ? [] : [text("page.refused.step", { step: Number(step), what: { phrase: `page.step.${step}` } })];
  return [text("verdict.refused"), ...where, plain(error.message)].join("\n") + "\n";
}

function storeRows({ certificate, recall }, say) {
  const heads = ["store", "asked", "reached", "destroyed", "of-sealed"].map((head) => say(`verdict.${head}`));
  const row = (...cells) => cells.map((cell, at) => padded(cell, [-24, 5, 7, 12, 12][at])).join(" ");
  const found = (store) => padded(Cenotaph.sayRecall(recall.get(store.name), language), 12);
  return [
    `${row(...heads)}  ${say("verdict.recall")}`,
    ...certificate.stores.map((s) => `${row(s.name, s.asked, s.reached, counted(s.destroyed), counted(s.sealed))}  ${found(s)}`),
  ];
}

function volumeRows(all, say) {
  if (all.length === 0) return [];
  const heads = ["volume", "reached", "bytes-read", "restores"].map((head) => say(`verdict.${head}`));
  const row = (...cells) => cells.map((cell, at) => padded(cell, [-24, 13, 19, 15][at])).join(" ");
  const tools = (volume) => volume.referees.join(", ") || say("verdict.none");
  return [
    "",
    `${row(...heads)}  ${say("verdict.referees")}`,
    ...all.map((v) => `${row(v.name, v.reached, counted(v.read), counted(v.restores))}  ${tools(v)}`),
  ];
}

/** The text in so many columns of a terminal, to the left where `width` is negative, cut off there. */
function padded(told, width) {
  if (width >= 0) return " ".repeat(Math.max(0, width - columns(told))) + told;
  const letters = [...told];
  while (columns(letters.join("")) > -width) letters.pop();
  return letters.join("") + " ".repeat(-width - columns(letters.join("")));
}

/** Wide characters take two columns (UAX 11). */
function columns(told) {
  return [...told].reduce((sum, letter) => sum + (WIDE.test(letter) ? 2 : 1), 0);
}
