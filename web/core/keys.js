// Who signs, and what verifies (spec/keys.md).

const ROLES = ["operator", "auditor", "notary", "owner", "log-witness"];
const MOST_KEY_FILE = 65536;
const P = 2n ** 255n - 19n;
const GROUP_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const Y8 = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n;
const LOW_ORDER_Y = new Set([0n, 1n, P - 1n, Y8, P - Y8]); // of Ed25519: the y of the eight points of low order
const U8 = 325606250916557431795983626356110631294008115727848805560023387167927233504n;
const V8 = 39382357235489614581723060781553021112529911719440698176882885853963445705823n;
const LOW_ORDER_U = new Set([0n, 1n, P - 1n, U8, V8]); // of X25519: a scalar takes these to zero
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/;

/** A party: organisation, role, raw keys in hexadecimal and the key id. Refuses what spec/keys.md, part 1 refuses. */
async function publicKey({ organisation, role, ed25519, x25519, mldsa44 }) {
  checkOrganisation(organisation);
  if (!ROLES.includes(role)) throw new ProofError("a key is of a role that is not known");
  if (!isSoundPoint(unhex(ed25519))) throw new ProofError("an Ed25519 key is not a canonical point of full order");
  const u = littleEndian(unhex(x25519));
  if (u >= P || LOW_ORDER_U.has(u)) throw new ProofError("an X25519 key is not a canonical point of full order");
  if (mldsa44 !== undefined && role !== "log-witness") {
    throw new ProofError("a key of a role other than log-witness has an ML-DSA-44 half");
  }
  return { organisation, role, ed25519, x25519, mldsa44, keyId: await sha256Hex(unhex(ed25519)) };
}

/** A public key file's content: one line of canonical JSON and a line feed. */
async function readPublicKey(text) {
  if (!text.endsWith("\n")) throw new ProofError("a key file ends with a line feed");
  const value = readCanonical(utf8(text.slice(0, -1)), { limit: MOST_KEY_FILE, depth: 1 });
  const halves = ["ed25519", "format", "organisation", "role", "x25519"];
  const withMlDsa = isObject(value) && "mldsa44" in value;
  if (!hasExactly(value, ...halves, ...(withMlDsa ? ["mldsa44"] : []))) {
    throw new ProofError("this is not a cenotaph key file");
  }
  if (value.format !== "cenotaph-public-key/v1") throw new ProofError("this key file is not a public key");
  if (!Object.values(value).every((member) => typeof member === "string")) {
    throw new ProofError("a member of a key file is not a text");
  }
  const digits = /^[0-9a-f]{64}$/;
  if (!digits.test(value.ed25519) || !digits.test(value.x25519)) {
    throw new ProofError("a key in a key file is not 64 lower-case hexadecimal digits");
  }
  if (withMlDsa && !/^[0-9a-f]{2624}$/.test(value.mldsa44)) {
    throw new ProofError("an ML-DSA-44 key in a key file is not 2,624 lower-case hexadecimal digits");
  }
  return publicKey(value);
}

function sameParty(one, other) {
  return one.ed25519 === other.ed25519 && one.organisation === other.organisation && one.role === other.role;
}

/** One signing key of a kind and one role an organisation, one organisation a key. */
function checkUniqueParties(parties) {
  const names = new Set();
  const keys = new Map();
  for (const party of parties) {
    if (names.has(party.organisation)) {
      throw new ProofError(`organisation ${party.organisation} is named twice; it has one key and one role`);
    }
    for (const key of [party.ed25519, party.mldsa44]) {
      if (key === undefined) continue;
      if (keys.has(key)) throw new ProofError(`${party.organisation} and ${keys.get(key)} have the same key`);
      keys.set(key, party.organisation);
    }
    names.add(party.organisation);
  }
}

/** Part 1, rule 4: one way to write a name, and nothing in it that cannot be seen. */
function checkOrganisation(name) {
  const length = codePoints(name);
  if (length < 1 || length > 120) throw new ProofError("the name of an organisation has 1 to 120 characters");
  if (INVISIBLE.test(name)) throw new ProofError("the name of an organisation holds a character that cannot be seen");
  if (/^\p{White_Space}|\p{White_Space}$/u.test(name)) {
    throw new ProofError("the name of an organisation begins or ends with white space");
  }
  if (name !== name.normalize("NFC")) {
    throw new ProofError("the name of an organisation is not in Unicode normalisation form C");
  }
}

/** Part 2: whether this key made this signature. `key` is raw, in hexadecimal. */
async function verifiesEd25519(key, signature, message) {
  if (signature.length !== 64 || !isSoundPoint(signature.subarray(0, 32))) return false;
  if (littleEndian(signature.subarray(32)) >= GROUP_ORDER) return false;
  const imported = await importedEd25519(key);
  return imported !== null && crypto.subtle.verify("Ed25519", imported, signature, message);
}

/** Whether this key made this ML-DSA-44 signature; null where the browser cannot tell. */
async function verifiesMlDsa44(key, signature, message) {
  if (!(await hasMlDsa44())) return null;
  const imported = await crypto.subtle
    .importKey("raw-public", unhex(key), "ML-DSA-44", false, ["verify"])
    .catch(() => null);
  return imported !== null && crypto.subtle.verify("ML-DSA-44", imported, signature, message);
}

const IMPORTED = new Map(); // raw key → promise of what WebCrypto made of it, null if it is no sound point of the curve

function importedEd25519(key) {
  if (!IMPORTED.has(key)) IMPORTED.set(key, importEd25519(key));
  return IMPORTED.get(key);
}

async function importEd25519(key) {
  if (!isSoundPoint(unhex(key))) return null;
  try {
    return await crypto.subtle.importKey("raw", unhex(key), "Ed25519", false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") {
      throw new CannotCheck("This browser cannot check Ed25519 signatures; use a newer one, or cenotaph-verify.");
    }
    return null; // DataError: not a point
  }
}

let mlDsa44; // a promise, once asked

function hasMlDsa44() {
  mlDsa44 ??= crypto.subtle.generateKey("ML-DSA-44", false, ["sign", "verify"]).then(
    () => true,
    () => false,
  );
  return mlDsa44;
}

function isSoundPoint(encoded) {
  const y = littleEndian(encoded) & ((1n << 255n) - 1n);
  return encoded.length === 32 && y < P && !LOW_ORDER_Y.has(y);
}

function littleEndian(bytes) {
  return BigInt("0x" + hex(Uint8Array.from(bytes).reverse()));
}
