// The proof file, read strictly (spec/proof-file.md): one canonical JSON object a line, in one order.

const PROOF_FORMAT = "cenotaph-proof/v1";
const MOST_LINE_BYTES = 100663296; // with its line feed
const MOST_FILE_BYTES = 536870912;
const MOST_LINES = 1000000; // of a sort
const SLICE_BYTES = 4194304; // of a file, read at once
const ALL_READ = "verify 1";

/**
 * Reads a proof file, a Uint8Array or a Blob: the case id; of each entry its digest, leaf hash, envelope and wrapper;
 * the notes of the checkpoints; the detached bodies by digest; the time stamps. Rejects at step 1 of spec/verify.md.
 */
async function readProof(proof, progress = () => {}) {
  const lines = new LineReader(proof);
  const header = await lines.next();
  checkHeader(header);
  const entries = await readEntries(lines, header.entries, progress);
  const checkpoints = await take(lines, "checkpoint", header.checkpoints, (text) => text);
  const attachments = await readAttachments(lines, header.attachments);
  if ((await lines.next()) !== null) throw new ProofError("the proof file goes on after its end", ALL_READ);
  return { caseId: header.case, entries, checkpoints, attachments };
}

function checkHeader(header) {
  const counts = ["attachments", "checkpoints", "entries"];
  if (!hasExactly(header, "case", "format", ...counts)) throw new ProofError("this is not a cenotaph proof file", ALL_READ);
  if (header.format !== PROOF_FORMAT) {
    throw new ProofError("the proof file is of a format that this version does not know", ALL_READ);
  }
  const good = (count) => TYPES.count(count) && count <= MOST_LINES;
  if (!counts.every((name) => good(header[name])) || typeof header.case !== "string") {
    throw new ProofError("the first line of the proof file is not of the form it must have", ALL_READ);
  }
}

async function readEntries(lines, count, progress) {
  const entries = [];
  while (entries.length < count) {
    const window = await take(lines, "entry", Math.min(WINDOW, count - entries.length), fromBase64, entries.length);
    entries.push(...(await Promise.all(window.map(readEntry))));
    progress(entries.length, count, "read");
    if (count > WINDOW) await breathe();
  }
  return entries;
}

async function readEntry(bytes) {
  const [digest, leaf] = await Promise.all([sha256Hex(bytes), leafHash(bytes)]);
  return inStep(ALL_READ, () => {
    const envelope = readEnvelope(bytes);
    return { digest, leaf, envelope, wrapper: readWrapper(envelope.payload) };
  });
}

async function readAttachments(lines, count) {
  const attachments = new Map();
  let previous = "";
  for (const bytes of await take(lines, "attachment", count, fromBase64)) {
    const digest = await sha256Hex(bytes);
    if (digest <= previous) throw new ProofError("the detached bodies are not in ascending order of their SHA-256", ALL_READ);
    previous = digest;
    attachments.set(digest, bytes);
  }
  return attachments;
}

/** The next `count` lines of a sort, each an object of the one member `key`. */
async function take(lines, key, count, read, before = 0) {
  const values = [];
  for (let i = 0; i < count; i++) {
    const line = await lines.next();
    if (!hasExactly(line, key) || typeof line[key] !== "string") {
      throw new ProofError(`${key} ${before + i + 1} is missing from the proof file`, ALL_READ);
    }
    values.push(inStep(ALL_READ, () => read(line[key])));
  }
  return values;
}

/** The lines of a proof file, one after the other; of a Blob it holds a few megabytes at a time. */
class LineReader {
  constructor(source) {
    this.source = source;
    this.size = source.size ?? source.length;
    this.read = 0; // bytes of the source that were taken into `buffer`
    this.buffer = new Uint8Array();
    this.at = 0;
    if (this.size > MOST_FILE_BYTES) throw new ProofError("the proof file has more than 536,870,912 bytes", ALL_READ);
  }

  /** The value of the next line; null at the end of the file. */
  async next() {
    let searched = this.at;
    let end;
    while ((end = this.buffer.indexOf(10, searched)) < 0) {
      searched = this.buffer.length - this.at;
      if (!(await this.more())) return this.end();
    }
    const line = this.buffer.subarray(this.at, end);
    if (line.length >= MOST_LINE_BYTES) throw new ProofError("a line of the proof file is too long", ALL_READ);
    this.at = end + 1;
    return inStep(ALL_READ, () => readCanonical(line, { limit: MOST_LINE_BYTES }));
  }

  end() {
    if (this.at < this.buffer.length) throw new ProofError("the proof file is cut off: its last line does not end", ALL_READ);
    return null;
  }

  async more() {
    const rest = this.buffer.length - this.at;
    if (this.read === this.size || rest >= MOST_LINE_BYTES) return false;
    // A long line is read in slices that grow with it, so that no byte is copied often.
    const until = Math.min(this.size, this.read + Math.max(SLICE_BYTES, rest));
    const slice = this.source.slice(this.read, until);
    const bytes = slice instanceof Uint8Array ? slice : new Uint8Array(await slice.arrayBuffer());
    this.buffer = concat(this.buffer.subarray(this.at), bytes);
    this.at = 0;
    this.read = until;
    return true;
  }
}
