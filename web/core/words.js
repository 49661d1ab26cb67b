// What is said to people, in their language (spec/verdict.md, "Words").

let TEMPLATES = Object.create(null); // language → code → template
let TRANSLATIONS = Object.create(null); // language → constant of a statement → its translation

const INSERT = /\{([a-z_]+)(?:\|([^|{}]*)\|([^|{}]*))?\}/g;
const LAST_SECOND = 253402300799; // of the year 9999

/** Gives the words once: `{en: {code: template …}, zh: {…}, texts: {zh: {constant: translation …}}}`. */
function useWords(catalogue) {
  const { texts = {}, ...templates } = catalogue;
  TEMPLATES = templates;
  TRANSLATIONS = texts;
}

/** The words of a code, its arguments put in. */
function say(code, args = {}, language = "en") {
  const template = TEMPLATES[language]?.[code];
  if (template === undefined) throw new Error(`there are no words of ${code} in the language ${language}`);
  return template.replace(INSERT, (_, name, one, many) => {
    const value = args[name];
    if (value === undefined) throw new Error(`the words of ${code} need ${name}`);
    if (one === undefined) return sayValue(value, language);
    return `${grouped(value)} ${value == 1 ? one : many}`; // eslint-disable-line eqeqeq -- 1n is one too
  });
}

function sayValue(value, language) {
  if (typeof value === "number" || typeof value === "bigint") return grouped(value);
  if (typeof value === "string") return value;
  if ("phrase" in value) return say(value.phrase, value.args, language);
  if ("text" in value) return translated(value.text, language);
  if ("time" in value) return sayTime(value.time, language);
  const kind = "list" in value ? "list" : "clauses";
  return value[kind].map((item) => sayValue(item, language)).join(TEMPLATES[language][`${kind}.separator`]);
}

/** A constant of a statement, translated where its translation is known. */
function translated(constant, language) {
  const known = TRANSLATIONS[language];
  return known !== undefined && Object.hasOwn(known, constant) ? known[constant] : constant;
}

function sayTime(seconds, language) {
  if (seconds === null) return say("time.unknown", {}, language);
  if (seconds > LAST_SECOND) return say("time.beyond", {}, language);
  const [day, time] = new Date(1000 * seconds).toISOString().split("T");
  return `${day} ${time.slice(0, 8)} UTC`;
}

function grouped(number) {
  return String(number).replace(/\B(?=([0-9]{3})+$)/g, ",");
}

const phrase = (code, args) => (args === undefined ? { phrase: code } : { phrase: code, args });
const asTime = (seconds) => ({ time: seconds });
const asText = (constant) => ({ text: constant });
const asList = (list) => ({ list });

/** The phrase of one of a few texts of statements: "partly destroyed" is said by PREFIX.partly-destroyed. */
function worded(prefix, word) {
  return phrase(`${prefix}.${word.replaceAll(" ", "-")}`);
}
