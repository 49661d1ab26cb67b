// Bytes, texts and hashes: what every other file needs. Nothing here knows what a proof is.

/** What does not verify, and why, in a sentence. `step` is that of spec/verify.md, such as "verify 4". */
class ProofError extends Error {
  constructor(message, step = null) {
    super(message);
    this.name = "ProofError";
    this.step = step;
  }
}

/** Two histories of one log, proven by the operator's own signatures. */
class SplitError extends ProofError {}

/** What this browser cannot check at all: no verdict on the file. */
class CannotCheck extends Error {
  constructor(message) {
    super(message);
    this.name = "CannotCheck";
  }
}

/** Runs `work`; an error of it that names no step is of this one. */
function inStep(step, work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof ProofError && error.step === null) error.step = step;
    throw error;
  }
}

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function utf8(text) {
  return ENCODER.encode(text);
}

/** The text that these bytes are in UTF-8; refuses overlong forms, surrogates and what breaks off. */
function fromUtf8(bytes, what) {
  try {
    return DECODER.decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new ProofError(`${what} is not UTF-8`);
  }
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function hex(bytes) {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** The bytes of a text that is known to be hexadecimal digits. */
function unhex(text) {
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PADDING = "=".charCodeAt(0);
const BASE64_VALUE = new Uint8Array(256).fill(255);
for (let i = 0; i < 64; i++) BASE64_VALUE[BASE64.charCodeAt(i)] = i;

/** Standard base64 with padding, written the one way (spec/envelope.md, part 2, rule 3). */
function fromBase64(text) {
  return decodedBase64(utf8(text));
}

/** What characters of base64 stand for, given as bytes. */
function decodedBase64(characters) {
  const { length } = characters;
  if (length % 4) throw new ProofError("a base64 text is cut off or lacks its padding");
  const padding = !length || characters[length - 1] !== PADDING ? 0 : characters[length - 2] !== PADDING ? 1 : 2;
  const digits = length - padding;
  const bytes = new Uint8Array((length / 4) * 3 - padding);
  let bits = 0;
  for (let i = 0, at = 0; i < digits; i++) {
    const value = BASE64_VALUE[characters[i]];
    if (value === 255) throw new ProofError("a base64 text holds a character that is not of base64");
    bits = ((bits << 6) | value) & 0xffffff;
    if (i % 4 === 1) bytes[at++] = bits >> 4;
    else if (i % 4 === 2) bytes[at++] = (bits >> 2) & 255;
    else if (i % 4 === 3) bytes[at++] = bits & 255;
  }
  const unused = padding === 2 ? bits & 15 : padding === 1 ? bits & 3 : 0;
  if (unused) throw new ProofError("base64 that is not written the one way: its unused bits are not zero");
  return bytes;
}

function concat(...parts) {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function sameBytes(one, other) {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

/** Big-endian u64 of each number, one after the other. */
function u64(...numbers) {
  return u64s(numbers);
}

function u64s(numbers) {
  const bytes = new Uint8Array(8 * numbers.length);
  const view = new DataView(bytes.buffer);
  numbers.forEach((number, i) => view.setBigUint64(8 * i, BigInt(number)));
  return bytes;
}

/** Each part after its length as a big-endian u32: lp(x) of spec/challenge.md. */
function prefixed(...parts) {
  const framed = [];
  for (const part of parts) {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, part.length);
    framed.push(length, part);
  }
  return concat(...framed);
}

async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

async function sha256Hex(bytes) {
  return hex(await sha256(bytes));
}

const WINDOW = 512; // how many hashes or signatures are under way at once

/** Runs `work(item, index)` on all items, many at once, in order of their windows; lets the page draw in between. */
async function inWindows(items, work, progress = () => {}) {
  const results = [];
  for (let from = 0; from < items.length; from += WINDOW) {
    const window = items.slice(from, from + WINDOW);
    results.push(...(await Promise.all(window.map((item, i) => work(item, from + i)))));
    progress(results.length, items.length);
    if (items.length > WINDOW) await breathe();
  }
  return results;
}

let breathed = 0; // when the page could last draw, in milliseconds

/** Lets the page draw and take clicks, if it could not for a while: a browser takes some milliseconds for that. */
async function breathe() {
  if (performance.now() - breathed < 50) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  breathed = performance.now();
}

/** Characters as Unicode counts them, not as UTF-16 does. */
function codePoints(text) {
  let count = 0;
  for (const _ of text) count++; // eslint-disable-line no-unused-vars
  return count;
}

function compareCodePoints(one, other) {
  const a = Array.from(one, (c) => c.codePointAt(0));
  const b = Array.from(other, (c) => c.codePointAt(0));
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** Puts more items at the end of a list, however many: a call takes only so many arguments. */
function append(list, more) {
  for (const item of more) list.push(item);
}

function sum(numbers) {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}
