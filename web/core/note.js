// Signed notes, checkpoints, cosignatures (spec/log.md, parts 2 to 4).

const MOST_NOTE_BYTES = 1000000;
const MOST_SIGNATURES = 100;
const SIGNATURE = 1;
const COSIGNATURE = 4;
const MLDSA_COSIGNATURE = 6;
const SIGNATURE_LINE = /^— ([^ \n]+) ([A-Za-z0-9+/=]+)$/;

/** A note as read: `text`, and the signature lines: `name`, `keyHash` in hexadecimal, `signature`. Nothing is verified yet. */
function readNote(note) {
  if (note.length > MOST_NOTE_BYTES || utf8(note).length > MOST_NOTE_BYTES) {
    throw new ProofError("a note has more than 1,000,000 bytes");
  }
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) throw new ProofError("a note holds a control character");
  // The text may hold empty lines of its own; the last one ends it.
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n") || end + 2 === note.length) {
    throw new ProofError("a note is not a text, an empty line and at least one signature line");
  }
  const lines = note.slice(end + 2, -1).split("\n");
  if (lines.length > MOST_SIGNATURES)
    throw new ProofError(`a note has ${lines.length} signatures; at most 100 are read`);
  return { text: note.slice(0, end + 1), lines: lines.map(readSignatureLine) };
}

function readSignatureLine(line) {
  const match = SIGNATURE_LINE.exec(line);
  if (match === null) throw new ProofError("a line after the text of a note is not a signature line");
  const [, name, encoded] = match;
  if (/[+\p{White_Space}]/u.test(name)) throw new ProofError("the name of a note key holds white space or a plus");
  const raw = fromBase64(encoded);
  if (raw.length <= 4) throw new ProofError("a signature line of a note holds no signature");
  return { name, keyHash: hex(raw.subarray(0, 4)), signature: raw.subarray(4) };
}

/** A checkpoint as it stands in a proof file: its note, and what the note says. */
function readSignedCheckpoint(text) {
  const note = readNote(text);
  return { ...note, checkpoint: readCheckpoint(note.text) };
}

/** The three lines of a checkpoint: `origin`, `size`, `root` in hexadecimal. */
function readCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3] !== "")
    throw new ProofError("a checkpoint does not have three lines: origin, size, root");
  const [origin, digits, encoded] = lines;
  if (origin === "") throw new ProofError("the origin of a checkpoint is empty");
  const size = Number(digits);
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(digits) || !Number.isSafeInteger(size)) {
    throw new ProofError("the size of a checkpoint is not a plain decimal number from 0 to 2^53 − 1");
  }
  const root = fromBase64(encoded);
  if (root.length !== HASH_BYTES) throw new ProofError("the root of a checkpoint does not have 32 bytes");
  return { origin, size, root: hex(root) };
}

/** The name of an operator's one log, fixed by the key. */
function logOrigin(operator) {
  return `cenotaph.log/${operator.keyId.slice(0, 16)}`;
}

function witnessName(witness) {
  return `cenotaph.witness/${witness.keyId.slice(0, 16)}`;
}

/** The first four bytes of SHA-256(name ‖ 0a ‖ type ‖ raw key), in hexadecimal. */
async function noteKeyHash(name, type, key) {
  return hex((await sha256(concat(utf8(name), new Uint8Array([10, type]), unhex(key)))).subarray(0, 4));
}

/** The keys of notes of one log: its operator's, and those of its witnesses, by name and key hash. */
async function noteKeys(operator, witnesses) {
  const name = logOrigin(operator);
  const log = { name, keyHash: await noteKeyHash(name, SIGNATURE, operator.ed25519), type: SIGNATURE, party: operator };
  const cosigners = new Map();
  for (const party of witnesses) {
    const halves = [[COSIGNATURE, party.ed25519]];
    if (party.mldsa44 !== undefined) halves.push([MLDSA_COSIGNATURE, party.mldsa44]);
    for (const [type, key] of halves) {
      const keyHash = await noteKeyHash(witnessName(party), type, key);
      cosigners.set(`${witnessName(party)} ${keyHash}`, { type, party });
    }
  }
  return { log, cosigners };
}

/**
 * Checks a note's signatures without saying what they are worth: for each line, in order, `valid` (null where the
 * browser cannot tell) and, of a line by a known key, its `type`, `party` and `time`.
 */
function checkSignatures(note, keys) {
  return Promise.all(
    note.lines.map((line, i) => {
      if (i === 0) return checkOperatorLine(note, line, keys.log);
      const key = keys.cosigners.get(`${line.name} ${line.keyHash}`);
      if (key === undefined) return { valid: false, party: null };
      return key.type === COSIGNATURE ? checkCosignature(note, line, key) : checkMlDsaCosignature(note, line, key);
    }),
  );
}

async function checkOperatorLine(note, line, key) {
  const named = line.name === key.name && line.keyHash === key.keyHash;
  const valid = named && (await verifiesEd25519(key.party.ed25519, line.signature, utf8(note.text)));
  return { valid, type: SIGNATURE, party: named ? key.party : null };
}

async function checkCosignature(note, line, { type, party }) {
  if (line.signature.length !== 8 + 64) return { valid: false, type, party };
  const time = timeOf(line);
  const message = utf8(`cosignature/v1\ntime ${time}\n${note.text}`);
  const valid = await verifiesEd25519(party.ed25519, line.signature.subarray(8), message);
  return { valid, type, party, time };
}

function timeOf(line) {
  return new DataView(line.signature.buffer, line.signature.byteOffset).getBigUint64(0);
}

/** C2SP tlog-cosignature, ML-DSA-44: what is signed names the tree from leaf 0 to its size, not the text. */
async function checkMlDsaCosignature(note, line, { type, party }) {
  if (line.signature.length !== 8 + 2420) return { valid: false, type, party };
  const { origin, size, root } = readCheckpoint(note.text);
  const message = concat(
    utf8("subtree/v1\n\0"),
    shortText(line.name),
    line.signature.subarray(0, 8),
    shortText(origin),
    u64(0, size),
    unhex(root),
  );
  const valid = await verifiesMlDsa44(party.mldsa44, line.signature.subarray(8), message);
  return { valid, type, party, time: timeOf(line) };
}

/** A text of at most 255 bytes after its length: names of logs and witnesses are shorter. */
function shortText(text) {
  const bytes = utf8(text);
  return concat(new Uint8Array([bytes.length]), bytes);
}
