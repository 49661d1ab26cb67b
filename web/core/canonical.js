// JSON that has exactly one way to be written (spec/envelope.md, part 1).
//
// The reader takes the text character by character and refuses what the page would not have written, so nothing is
// written again to compare. Objects have no prototype: a key such as "__proto__" is a key like any other.

const MOST_JSON_BYTES = 1048576;
const MOST_NESTED = 32;

/** The value of canonical bytes. `limit` bounds the bytes, `depth` the nested lists and objects. */
function readCanonical(bytes, { limit = MOST_JSON_BYTES, depth = MOST_NESTED } = {}) {
  if (bytes.length > limit) throw new ProofError(`the JSON has ${bytes.length} bytes; at most ${limit} are read`);
  const reader = new CanonicalReader(fromUtf8(bytes, "the JSON"));
  const value = reader.value(depth);
  if (reader.at !== reader.text.length) throw new ProofError("the JSON goes on after its value");
  return value;
}

/** The one text of a value that was read, or built of the same types. */
function writeCanonical(value) {
  if (Array.isArray(value)) return `[${value.map(writeCanonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const keys = Object.keys(value).filter((key) => value[key] !== undefined);
  return `{${keys
    .sort()
    .map((key) => `${JSON.stringify(key)}:${writeCanonical(value[key])}`)
    .join(",")}}`;
}

const SHORT_ESCAPES = { '"': '"', "\\": "\\", b: "\b", t: "\t", n: "\n", f: "\f", r: "\r" };
const NEEDS_CARE = /[\\\u0000-\u001f]/;
const NUMBER = /-?(?:0|[1-9][0-9]*)/y;
const LONG_ESCAPE = /u00(?:0[0-7be-f]|1[0-9a-f])/y; // what has no short escape, in lower case

class CanonicalReader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  value(depth) {
    switch (this.text[this.at]) {
      case '"':
        return this.string();
      case "{":
        return this.object(depth);
      case "[":
        return this.list(depth);
      case "n":
        return this.word("null", null);
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      default:
        return this.number();
    }
  }

  object(depth) {
    this.nest(depth);
    const found = Object.create(null);
    this.at++;
    if (this.take("}")) return found;
    let previous = null;
    do {
      if (this.text[this.at] !== '"') this.refuse("a key of an object must stand here");
      const key = this.string();
      // JavaScript compares texts by UTF-16 code units, as RFC 8785 does.
      if (previous !== null && previous >= key) this.refuse("a key stands twice or out of order before here");
      previous = key;
      if (!this.take(":")) this.refuse("a colon must stand here");
      found[key] = this.value(depth - 1);
    } while (this.take(","));
    if (!this.take("}")) this.refuse("a comma or the end of an object must stand here");
    return found;
  }

  list(depth) {
    this.nest(depth);
    const found = [];
    this.at++;
    if (this.take("]")) return found;
    do found.push(this.value(depth - 1));
    while (this.take(","));
    if (!this.take("]")) this.refuse("a comma or the end of a list must stand here");
    return found;
  }

  string() {
    const end = this.text.indexOf('"', this.at + 1);
    if (end < 0) this.refuse("a text does not end");
    const plain = this.text.slice(this.at + 1, end);
    if (NEEDS_CARE.test(plain)) return this.escaped();
    this.at = end + 1;
    return plain;
  }

  escaped() {
    const parts = [];
    let from = ++this.at;
    for (;;) {
      const character = this.text[this.at];
      if (character === undefined) this.refuse("a text does not end");
      if (character === '"') break;
      if (character < " ") this.refuse("a control character stands in a text without an escape");
      if (character !== "\\") {
        this.at++;
        continue;
      }
      parts.push(this.text.slice(from, this.at));
      this.at++;
      parts.push(this.escape());
      from = this.at;
    }
    parts.push(this.text.slice(from, this.at++));
    return parts.join("");
  }

  escape() {
    const short = SHORT_ESCAPES[this.text[this.at]];
    if (short !== undefined) {
      this.at++;
      return short;
    }
    LONG_ESCAPE.lastIndex = this.at;
    if (!LONG_ESCAPE.test(this.text)) this.refuse("an escape is not needed or not written the one way");
    this.at += 5;
    return String.fromCharCode(parseInt(this.text.slice(this.at - 2, this.at), 16));
  }

  number() {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (match === null) this.refuse("this is no value");
    const digits = match[0];
    const number = Number(digits);
    if (digits.length > 17 || !Number.isSafeInteger(number)) this.refuse("a number is beyond 2^53 − 1");
    if (digits === "-0") this.refuse("zero has no sign");
    this.at += digits.length;
    return number;
  }

  word(word, value) {
    if (!this.text.startsWith(word, this.at)) this.refuse("this is no value");
    this.at += word.length;
    return value;
  }

  take(character) {
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  nest(depth) {
    if (depth <= 0) this.refuse("lists and objects are nested too deeply");
  }

  refuse(why) {
    throw new ProofError(`the JSON is not canonical (RFC 8785) at character ${this.at}: ${why}`);
  }
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** Whether this is an object with exactly these keys. */
function hasExactly(value, ...keys) {
  return isObject(value) && Object.keys(value).length === keys.length && keys.every((key) => key in value);
}
