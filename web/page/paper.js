// A printed certificate carries its proof file as its one attachment (spec/paper.md, rule 8). It is found as a reader of PDF
// finds it (ISO 32000-1, 7.5 and 7.11.4): from the end of the file by its tables of objects to the list of attachments.
// What our papers have no need of is refused: two readers could understand it in two ways. Pages are not looked at.

const MOST_PAPER = 671_088_640; // bytes
const MOST_PROOF = 536_870_912; // spec/proof-file.md, rule 3
const MOST_OBJECTS = 200_000;
const DEEPEST = 20; // values within values
const PROOF = '{"attachments":';
const BLANK = " \t\r\n\f\0";
const DELIMITERS = "()<>[]{}/%";
const OF_STREAM = ["Length", "Type", "Filter", "Subtype", "Params"];

/** The PDF is not built as our papers are: what is attached to it depends on who reads it. */
class Unlike extends Error {}

/** The proof file attached to a PDF, {proof}, or the note that says why there is none, {note}. */
async function proofInside(paper) {
  try {
    if (paper.size > MOST_PAPER) throw new Unlike("too large");
    const file = new ObjectsOf(new Uint8Array(await paper.arrayBuffer()));
    const attachment = attachmentOf(file);
    const proof = attachment === null ? null : await contentOf(file, attachment);
    return proof !== null && begins(proof, PROOF) ? { proof } : { note: "page.paper.without" };
  } catch (error) {
    if (error instanceof Unlike) return { note: "page.paper.unlike" };
    throw error;
  }
}

/** The stream of the one file that both lists of attachments name; null where neither names any. */
function attachmentOf(file) {
  const root = file.dictionary(file.root);
  const names = root.has("Names") ? file.dictionary(root.get("Names")) : new Map();
  if (!names.has("EmbeddedFiles") && !root.has("AF")) return null;
  const listed = file.dictionary(names.get("EmbeddedFiles"));
  const [pair, also] = [listed.get("Names"), root.get("AF")].map((list) => file.array(list));
  if (listed.size !== 1 || pair.length !== 2 || also.length !== 1) throw new Unlike("not one attachment");
  const specification = file.dictionary(sameObject(pair[1], also[0]));
  const held = file.dictionary(specification.get("EF"));
  if (held.size !== 2) throw new Unlike("not one file in the attachment");
  return sameObject(held.get("F"), held.get("UF"));
}

function sameObject(one, other) {
  if (!(one instanceof Reference) || one.number !== other?.number) throw new Unlike("two attachments");
  return one;
}

/** The bytes of a stream, inflated where it is deflated. */
async function contentOf(file, reference) {
  const { value, start } = file.read(reference.number);
  if (!(value instanceof Map) || start === null) throw new Unlike("not a stream");
  if ([...value.keys()].some((key) => !OF_STREAM.includes(key))) throw new Unlike("another kind of stream");
  const length = file.resolved(value.get("Length"));
  const end = start + length;
  if (!Number.isSafeInteger(length) || length < 0 || end > file.bytes.length) throw new Unlike("no length");
  if (!/^(\r\n|\n|\r)?endstream/.test(file.text(end, end + 11))) throw new Unlike("another length");
  const data = file.bytes.subarray(start, end);
  if (!value.has("Filter")) return data;
  if (value.get("Filter")?.name !== "FlateDecode") throw new Unlike("another filter");
  return inflated(data);
}

/** Inflates; null where the first piece shows that it is no proof file. */
async function inflated(data) {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const pieces = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new Unlike("cannot be inflated"); // nothing else makes such a stream fail
    });
    if (done) return joined(pieces, size);
    pieces.push(value);
    size += value.length;
    const other = pieces[0].length >= PROOF.length && !begins(pieces[0], PROOF);
    if (other || size > MOST_PROOF) {
      await reader.cancel();
      return null;
    }
  }
}

function joined(pieces, size) {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function begins(bytes, text) {
  return bytes.length >= text.length && [...text].every((character, at) => bytes[at] === character.charCodeAt(0));
}

// ── the file ─────────────────────────────────────────────────────────────────────────────────────

class Reference {
  constructor(number) {
    this.number = number;
  }
}

class Name {
  constructor(name) {
    this.name = name;
  }
}

/** The objects of a PDF by their numbers, and the reference of its catalogue. Each revision's table hides older ones. */
class ObjectsOf {
  constructor(bytes) {
    this.bytes = bytes;
    this.places = new Map(); // number → where it begins, or null: it is free
    this.root = null;
    // Offsets are counted from the first byte: some readers count from a header that comes later.
    if (this.text(0, 5) !== "%PDF-") throw new Unlike("no beginning");
    const last = /startxref\r?\n([0-9]{1,10})\r?\n%%EOF\r?\n?$/.exec(this.text(bytes.length - 64, bytes.length));
    if (last === null) throw new Unlike("no end");
    for (let at = Number(last[1]), before = bytes.length; at !== null; ) {
      if (at >= before) throw new Unlike("tables in no order");
      [before, at] = [at, this.table(at)];
    }
  }

  text(from, to) {
    return String.fromCharCode(...this.bytes.subarray(Math.max(0, from), to));
  }

  /** Reads a table and its trailer; returns where the table before it is, or null. */
  table(at) {
    const head = /^xref\r?\n/.exec(this.text(at, at + 6));
    if (head === null) throw new Unlike("another kind of table");
    let place = at + head[0].length;
    for (const mine = new Set(); ; ) {
      const part = /^([0-9]{1,7}) ([0-9]{1,7}) ?\r?\n/.exec(this.text(place, place + 20));
      if (part === null) break;
      place += part[0].length;
      const [first, count] = [Number(part[1]), Number(part[2])];
      if (first + count > MOST_OBJECTS) throw new Unlike("too many objects");
      for (let number = first; number < first + count; number++, place += 20) this.entry(number, place, mine);
    }
    const values = new ValuesAt(this, place);
    if (values.word() !== "trailer") throw new Unlike("no trailer");
    const trailer = values.value();
    if (!(trailer instanceof Map) || trailer.has("Encrypt") || trailer.has("XRefStm")) throw new Unlike("another trailer");
    this.root ??= trailer.get("Root") ?? null;
    return trailer.get("Prev") ?? null;
  }

  entry(number, at, mine) {
    const read = /^([0-9]{10}) ([0-9]{5}) ([nf])( \r| \n|\r\n)$/.exec(this.text(at, at + 20));
    if (read === null || mine.has(number) || (read[3] === "n" && read[2] !== "00000")) throw new Unlike("not a table");
    mine.add(number);
    if (!this.places.has(number)) this.places.set(number, read[3] === "n" ? Number(read[1]) : null);
  }

  /** An object: its value, and where its stream begins, or null where it has none. */
  read(number) {
    const at = this.places.get(number) ?? null;
    if (at === null) throw new Unlike("an object is missing");
    const head = /^([0-9]{1,7}) 0 obj(?![^ \r\n<[(/])/.exec(this.text(at, at + 20));
    if (head === null || Number(head[1]) !== number) throw new Unlike("an object is not in its place");
    const values = new ValuesAt(this, at + head[0].length);
    const value = values.value();
    const next = values.word();
    if (next === "endobj") return { value, start: null };
    const line = /^\r?\n/.exec(this.text(values.at, values.at + 2));
    if (next !== "stream" || line === null) throw new Unlike("an object does not end");
    return { value, start: values.at + line[0].length };
  }

  resolved(value) {
    if (!(value instanceof Reference)) return value;
    const { value: found, start } = this.read(value.number);
    if (found instanceof Reference || start !== null) throw new Unlike("a reference to something else");
    return found;
  }

  dictionary(value) {
    const found = this.resolved(value);
    if (!(found instanceof Map)) throw new Unlike("not a dictionary");
    return found;
  }

  array(value) {
    const found = this.resolved(value);
    if (!Array.isArray(found)) throw new Unlike("not an array");
    return found;
  }
}

/** Values as they are written, one after the other (ISO 32000-1, 7.3). Strings are passed over: none is asked for. */
class ValuesAt {
  constructor(file, at) {
    Object.assign(this, { file, at, depth: 0 });
  }

  value() {
    if (++this.depth > DEEPEST) throw new Unlike("too deep");
    const found = this.oneOf(this.character());
    this.depth--;
    return found;
  }

  oneOf(first) {
    if (first === "/") return new Name(this.name());
    if (first === "[") return this.list("]");
    if (first === "(") return this.string();
    if (first === "<") return this.file.bytes[this.at + 1] === 0x3c ? this.table() : this.digits();
    const word = this.word();
    if (/^[0-9]{1,10}$/.test(word) && this.refers()) return new Reference(Number(word));
    if (/^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$/.test(word)) return Number(word);
    if (word === "true" || word === "false" || word === "null") return word;
    throw new Unlike("not a value");
  }

  /** The next character that is not blank. */
  character() {
    while (this.at < this.file.bytes.length && BLANK.includes(this.here())) this.at++;
    return this.here();
  }

  here() {
    return String.fromCharCode(this.file.bytes[this.at] ?? 0x25); // the end as a comment, which is no value
  }

  /** The next characters that are neither blank nor a mark. */
  word() {
    this.character();
    const start = this.at;
    while (!BLANK.includes(this.here()) && !DELIMITERS.includes(this.here()) && this.at - start < 128) this.at++;
    return this.file.text(start, this.at);
  }

  name() {
    this.at++;
    if (BLANK.includes(this.here())) throw new Unlike("a name is empty");
    return this.word().replace(/#([0-9A-Fa-f]{2})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 16)));
  }

  refers() {
    const rest = /^[ \r\n]0[ \r\n]R(?![^ \r\n\])>/[(<])/.exec(this.file.text(this.at, this.at + 5));
    if (rest !== null) this.at += rest[0].length;
    return rest !== null;
  }

  list(end) {
    const found = [];
    for (this.at++; this.character() !== end; ) found.push(this.value());
    this.at++;
    return found;
  }

  table() {
    const found = new Map();
    for (this.at += 2; this.character() !== ">"; ) {
      const key = this.value();
      if (!(key instanceof Name) || found.has(key.name)) throw new Unlike("a key is no name, or there twice");
      found.set(key.name, this.value());
    }
    if (this.file.text(this.at, this.at + 2) !== ">>") throw new Unlike("a dictionary does not end");
    this.at += 2;
    return found;
  }

  string() {
    for (let open = 0; ; this.at++) {
      if (this.at >= this.file.bytes.length) throw new Unlike("a string does not end");
      const letter = this.here();
      if (letter === "\\") this.at++;
      else if (letter === "(") open++;
      else if (letter === ")" && --open === 0) break;
    }
    this.at++;
    return "";
  }

  digits() {
    const end = this.file.bytes.indexOf(0x3e, this.at);
    if (end < 0) throw new Unlike("a string does not end");
    this.at = end + 1;
    return "";
  }
}
