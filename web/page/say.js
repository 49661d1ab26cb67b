// Words into the page. Names are other people's words: they become text and nothing else, each isolated in a <bdi>, and
// characters that turn the direction of writing are shown as what they are.

const ISOLATE = "\u2068";
const RELEASE = "\u2069";
const TURNS = /[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const TAGS = { en: "en", zh: "zh-Hans" };

let language = "en";

/** Text with every character that could rearrange a line shown as its number. */
function plain(text) {
  return text.replace(TURNS, (character) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0"));
}

/** One line of the catalogue as nodes, names isolated. */
function words(code, args = {}) {
  return isolated(Cenotaph.say(code, marked(args), language));
}

/** One line of the catalogue as text, for attributes, titles and files. */
function text(code, args = {}) {
  return Cenotaph.say(code, marked(args), language).replaceAll(ISOLATE, "").replaceAll(RELEASE, "");
}

/** A name, a path or another word of somebody else's. */
function name(value) {
  return element("bdi", {}, plain(value));
}

/** An element; strings among its children become text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** An element that says one line of the catalogue. */
function saying(tag, attributes, code, args) {
  return element(tag, attributes, words(code, args));
}

/** The arguments of a line with every name in them marked, however deep. */
function marked(value) {
  if (typeof value === "string") return ISOLATE + plain(value) + RELEASE;
  if (Array.isArray(value)) return value.map(marked);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, isCode(key, inner) ? inner : marked(inner)]));
}

/** Whether an argument is looked up rather than shown: the code of a phrase, a constant of a statement. */
function isCode(key, inner) {
  return typeof inner === "string" && (key === "phrase" || key === "text");
}

function isolated(line) {
  const made = document.createDocumentFragment();
  line.split(ISOLATE).forEach((piece, at) => {
    const end = at === 0 ? -1 : piece.indexOf(RELEASE);
    if (end >= 0) made.append(element("bdi", {}, piece.slice(0, end)));
    made.append(plain(piece.slice(end + 1)));
  });
  return made;
}

/** A count of bytes as people say it, and exactly. */
function size(bytes) {
  const steps = [["gib", 1 << 30], ["mib", 1 << 20], ["kib", 1 << 10]];
  const exact = { phrase: "page.size.bytes", args: { bytes } };
  const [unit, of] = steps.find(([, least]) => bytes >= least) ?? [null, 1];
  if (unit === null) return exact;
  return { phrase: `page.size.${unit}`, args: { amount: { text: (bytes / of).toFixed(bytes / of < 10 ? 1 : 0) } } };
}

/** The language that the address asks for, else the one of the browser. */
function chooseLanguage() {
  const asked = location.hash.slice(1);
  const spoken = navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag)) ?? "en";
  language = Object.hasOwn(TAGS, asked) ? asked : spoken.slice(0, 2).toLowerCase();
}

/** Say everything that stands in the page from the beginning. */
function sayPage() {
  document.documentElement.lang = TAGS[language];
  document.title = text("page.document");
  for (const place of document.querySelectorAll("[data-say]")) place.replaceChildren(words(place.dataset.say));
  for (const place of document.querySelectorAll("[data-label]:not(td)")) place.setAttribute("aria-label", text(place.dataset.label));
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${language}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}
