// TOML 1.0 as far as trust files need it: all but dates, times and numbers beyond 2^53 − 1.
//
// Tables become objects without a prototype. Integers become numbers and fractions TomlFloats, since a trust file
// must not give the one for the other.

class TomlFloat {
  constructor(value) {
    this.value = value;
  }
}

/** The table that a text is. Raises what is wrong, and in which line. */
function readToml(text) {
  return new TomlReader(text.replaceAll("\r\n", "\n")).document();
}

const TOML_ESCAPES = { b: "\b", t: "\t", n: "\n", f: "\f", r: "\r", '"': '"', "\\": "\\" };
const TOML_BAD_CHARACTER = /[\u0000-\u0008\u000a-\u001f\u007f]/; // in a text of one line; the tab is allowed
const BARE_KEY = /[A-Za-z0-9_-]+/y;
const TOML_WORD = /[A-Za-z0-9+_.:-]+/y;
const TOML_INTEGER = /^[+-]?(?:0|[1-9](?:_?[0-9])*)$/;
const TOML_PREFIXED = /^0(?:x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|o[0-7](?:_?[0-7])*|b[01](?:_?[01])*)$/;
const TOML_FRACTION = /^[+-]?(?:0|[1-9](?:_?[0-9])*)(?:\.[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9](?:_?[0-9])*)?$/;
const MOST_TOML_NESTED = 32;

class TomlReader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.root = Object.create(null);
    this.closed = new Set(); // tables and lists that nothing may be added to: inline ones
    this.headed = new Set(); // tables that a [header] or a dotted key has made
    this.listed = new Set(); // lists that [[headers]] have made
  }

  document() {
    let table = this.root;
    for (;;) {
      this.skip({ lines: true });
      if (this.at >= this.text.length) return this.root;
      if (this.peek("[[")) table = this.listHeader();
      else if (this.peek("[")) table = this.tableHeader();
      else this.pair(table, false, MOST_TOML_NESTED);
      this.endOfLine();
    }
  }

  tableHeader() {
    this.expect("[");
    const path = this.key();
    this.expect("]");
    const parent = this.descend(this.root, path.slice(0, -1));
    const name = path.at(-1);
    if (!(name in parent)) parent[name] = Object.create(null);
    const table = parent[name];
    if (!isTomlTable(table) || this.headed.has(table) || this.closed.has(table)) this.refuse(`${name} is there twice`);
    this.headed.add(table);
    return table;
  }

  listHeader() {
    this.expect("[[");
    const path = this.key();
    this.expect("]]");
    const parent = this.descend(this.root, path.slice(0, -1));
    const name = path.at(-1);
    if (!(name in parent)) {
      parent[name] = [];
      this.listed.add(parent[name]);
    }
    if (!this.listed.has(parent[name])) this.refuse(`${name} is there twice`);
    const table = Object.create(null);
    this.headed.add(table);
    parent[name].push(table);
    return table;
  }

  /** The table at a path of a header, made where it is not there; of a list of tables the last. */
  descend(table, path) {
    for (const name of path) {
      if (!(name in table)) table[name] = Object.create(null);
      let next = table[name];
      if (this.listed.has(next)) next = next.at(-1);
      if (!isTomlTable(next) || this.closed.has(next)) this.refuse(`${name} is no table that can be added to`);
      table = next;
    }
    return table;
  }

  pair(table, inline, depth) {
    const path = this.key();
    this.expect("=");
    this.skip();
    for (const name of path.slice(0, -1)) {
      if (!(name in table)) {
        table[name] = Object.create(null);
        if (!inline) this.headed.add(table[name]);
        this.dotted ??= new WeakSet();
        this.dotted.add(table[name]);
      }
      if (!isTomlTable(table[name]) || !this.dotted?.has(table[name])) this.refuse(`${name} is there twice`);
      table = table[name];
    }
    const name = path.at(-1);
    if (name in table) this.refuse(`${name} is there twice`);
    table[name] = this.value(depth);
  }

  /** A key: names with dots between them. */
  key() {
    const path = [];
    do {
      this.skip();
      if (path.length === MOST_TOML_NESTED) this.refuse("a key has too many parts");
      path.push(this.name());
      this.skip();
    } while (this.take("."));
    return path;
  }

  name() {
    if (this.peek('"')) return this.basic();
    if (this.peek("'")) return this.literal();
    return this.match(BARE_KEY) ?? this.refuse("a key must stand here");
  }

  value(depth) {
    if (depth === 0) this.refuse("lists and tables are nested too deeply");
    if (this.peek('"""')) return this.longBasic();
    if (this.peek('"')) return this.basic();
    if (this.peek("'''")) return this.longLiteral();
    if (this.peek("'")) return this.literal();
    if (this.peek("[")) return this.list(depth);
    if (this.peek("{")) return this.inlineTable(depth);
    return this.word(this.match(TOML_WORD) ?? this.refuse("a value must stand here"));
  }

  list(depth) {
    const found = [];
    this.expect("[");
    for (;;) {
      this.skip({ lines: true });
      if (this.take("]")) break;
      found.push(this.value(depth - 1));
      this.skip({ lines: true });
      if (this.take("]")) break;
      this.expect(",");
    }
    this.closed.add(found);
    return found;
  }

  inlineTable(depth) {
    const table = Object.create(null);
    this.expect("{");
    this.skip();
    if (!this.take("}")) {
      do {
        this.pair(table, true, depth - 1);
        this.skip();
      } while (this.take(","));
      this.expect("}");
    }
    this.close(table);
    return table;
  }

  close(table) {
    this.closed.add(table);
    for (const value of Object.values(table)) if (isTomlTable(value) && !this.closed.has(value)) this.close(value);
  }

  basic() {
    this.expect('"');
    let text = "";
    for (;;) {
      const character = this.text[this.at++];
      if (character === undefined || TOML_BAD_CHARACTER.test(character)) this.refuse("a text does not end");
      if (character === '"') return text;
      text += character === "\\" ? this.escape() : character;
    }
  }

  longBasic() {
    this.expect('"""');
    this.take("\n");
    let text = "";
    for (;;) {
      if (this.peek('"""')) return text + this.closing('"');
      const character = this.text[this.at++];
      if (character === undefined) this.refuse("a text does not end");
      if (character !== "\n" && TOML_BAD_CHARACTER.test(character)) this.refuse("a control character stands in a text");
      if (character !== "\\") text += character;
      else if (!this.folded()) text += this.escape();
    }
  }

  /** A backslash at the end of a line takes the white space after it away. */
  folded() {
    const match = /[ \t]*\n[ \t\n]*/y;
    match.lastIndex = this.at;
    const found = match.exec(this.text);
    if (found === null) return false;
    this.at += found[0].length;
    return true;
  }

  escape() {
    const character = this.text[this.at++];
    if (character in TOML_ESCAPES) return TOML_ESCAPES[character];
    const length = { u: 4, U: 8 }[character];
    const digits = this.text.slice(this.at, this.at + (length ?? 0));
    const code = length !== undefined && /^[0-9A-Fa-f]+$/.test(digits) ? parseInt(digits, 16) : -1;
    if (digits.length !== length || code > 0x10ffff || code < 0 || (code >= 0xd800 && code <= 0xdfff)) {
      this.refuse("an escape of a text is not known");
    }
    this.at += length;
    return String.fromCodePoint(code);
  }

  literal() {
    this.expect("'");
    const end = this.text.indexOf("'", this.at);
    const text = this.text.slice(this.at, end);
    if (end < 0 || TOML_BAD_CHARACTER.test(text)) this.refuse("a text does not end");
    this.at = end + 1;
    return text;
  }

  longLiteral() {
    this.expect("'''");
    this.take("\n");
    const end = this.text.indexOf("'''", this.at);
    if (end < 0) this.refuse("a text does not end");
    const text = this.text.slice(this.at, end);
    if (TOML_BAD_CHARACTER.test(text.replaceAll("\n", ""))) this.refuse("a control character stands in a text");
    this.at = end;
    return text + this.closing("'");
  }

  /** The end of a long text: up to two more quotes before it are of the text. */
  closing(quote) {
    let quotes = 0;
    while (quotes < 5 && this.text[this.at] === quote) {
      quotes++;
      this.at++;
    }
    return quote.repeat(quotes - 3);
  }

  word(word) {
    if (word === "true") return true;
    if (word === "false") return false;
    const digits = word.replaceAll("_", "");
    if (TOML_INTEGER.test(word) || TOML_PREFIXED.test(word)) {
      const number = Number(digits);
      if (!Number.isSafeInteger(number)) this.refuse("a number is beyond 2^53 − 1");
      return number + 0; // not −0
    }
    if (TOML_FRACTION.test(word)) return new TomlFloat(Number(digits));
    if (/^[+-]?(?:inf|nan)$/.test(word)) return new TomlFloat(NaN); // nothing in a trust file is either
    return this.refuse("a value must stand here: a text in quotes, a number, true, false, a list or a table");
  }

  skip({ lines = false } = {}) {
    for (;;) {
      const character = this.text[this.at];
      if (character === " " || character === "\t" || (lines && character === "\n")) this.at++;
      else if (lines && character === "#") this.comment();
      else return;
    }
  }

  comment() {
    const newline = this.text.indexOf("\n", this.at);
    const end = newline < 0 ? this.text.length : newline;
    if (TOML_BAD_CHARACTER.test(this.text.slice(this.at, end))) this.refuse("a control character stands in a comment");
    this.at = end;
  }

  endOfLine() {
    this.skip();
    if (this.peek("#")) this.comment();
    if (this.at < this.text.length) this.expect("\n");
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found === null) return null;
    this.at += found[0].length;
    return found[0];
  }

  peek(text) {
    return this.text.startsWith(text, this.at);
  }

  take(text) {
    if (!this.peek(text)) return false;
    this.at += text.length;
    return true;
  }

  expect(text) {
    if (!this.take(text)) this.refuse(text === "\n" ? "the line must end here" : `“${text}” must stand here`);
  }

  refuse(why) {
    const line = this.text.slice(0, this.at).split("\n").length;
    throw new ProofError(`the trust file is not TOML that is understood here, line ${line}: ${why}`);
  }
}

function isTomlTable(value) {
  return isObject(value) && !(value instanceof TomlFloat);
}
