// The proof file, read strictly (spec/proof-file.md): one canonical JSON object a line, in one order.

const PROOF_FORMAT = "cenotaph-proof/v1";
const ALL_READ = "verify 1";
const MOST_FILE_BYTES = 536870912;
const MOST_LINES = 250000; // of a sort
const MOST_STAMPS = 1000;
const MOST_TOKEN_BYTES = 65535;
const MOST_HEADER_LINE = 4096; // bytes of a line, with its line feed
const MOST_NOTE_LINE = 1048576;
const MOST_STAMP_LINE = MOST_NOTE_LINE + 90000;
const SLICE_BYTES = 4194304; // of a file, read at once

/**
 * Reads a proof file, a Uint8Array or a Blob: the case id; of each entry its digest, leaf hash, envelope and wrapper;
 * the notes of the checkpoints; the detached bodies by digest; the time stamps. Rejects at step 1 of spec/verify.md.
 */
async function readProof(proof, progress = () => {}) {
  const lines = new LineReader(proof);
  const header = readHeader(await lines.next(MOST_HEADER_LINE));
  const entries = await readEntries(lines, header.entries, progress);
  const checkpoints = await take(lines, "checkpoint", header.checkpoints, MOST_NOTE_LINE, readNoteLine);
  const attachments = await readAttachments(lines, header.attachments);
  const stamps = await readStamps(lines, header.timestamps ?? 0);
  if ((await lines.next(Infinity)) !== null) throw new ProofError("the proof file goes on after its end", ALL_READ);
  return { caseId: header.case, entries, checkpoints, attachments, stamps };
}

function readHeader(line) {
  const header = line === null ? null : inStep(ALL_READ, () => readCanonical(line, { depth: 1 }));
  const counts = ["attachments", "checkpoints", "entries"];
  const stamped = isObject(header) && "timestamps" in header ? ["timestamps"] : [];
  if (!hasExactly(header, "case", "format", ...counts, ...stamped)) {
    throw new ProofError("this is not a cenotaph proof file", ALL_READ);
  }
  if (header.format !== PROOF_FORMAT) {
    throw new ProofError("the proof file is of a format that this version does not know", ALL_READ);
  }
  const good = (name, most) => TYPES.count(header[name]) && header[name] <= most;
  const allGood = counts.every((name) => good(name, MOST_LINES)) && stamped.every((name) => good(name, MOST_STAMPS));
  if (!allGood || header.timestamps === 0 || typeof header.case !== "string") {
    throw new ProofError("the first line of the proof file is not of the form it must have", ALL_READ);
  }
  return header;
}

async function readEntries(lines, count, progress) {
  const entries = [];
  const read = base64Line("entry", MOST_ENVELOPE_BYTES);
  while (entries.length < count) {
    const some = Math.min(WINDOW, count - entries.length);
    const window = await take(lines, "entry", some, base64Length(MOST_ENVELOPE_BYTES), read, entries.length);
    entries.push(...(await Promise.all(window.map(readEntry))));
    progress(entries.length, count, "read");
    await breathe();
  }
  return entries;
}

/** An entry; what is wrong with its wrapper is kept as `fault`, to be raised when the entry's turn comes. */
async function readEntry(bytes) {
  const [digest, leaf] = await Promise.all([sha256Hex(bytes), leafHash(bytes)]);
  const envelope = inStep(ALL_READ, () => readEnvelope(bytes));
  try {
    return { digest, leaf, envelope, wrapper: readWrapper(envelope.payload), fault: null };
  } catch (error) {
    if (!(error instanceof ProofError)) throw error;
    error.step ??= ALL_READ;
    return { digest, leaf, envelope, wrapper: { kind: null, cites: [], detached: null }, fault: error };
  }
}

async function readAttachments(lines, count) {
  const attachments = new Map();
  const read = base64Line("attachment", MOST_DETACHED_BYTES);
  let previous = "";
  for (let i = 0; i < count; i++) {
    const [bytes] = await take(lines, "attachment", 1, base64Length(MOST_DETACHED_BYTES), read, i);
    const digest = await sha256Hex(bytes);
    if (digest <= previous)
      throw new ProofError("the detached bodies are not in ascending order of their SHA-256", ALL_READ);
    previous = digest;
    attachments.set(digest, bytes);
  }
  return attachments;
}

/** Time stamps (time.md): each a note, its checkpoint, and the digest of its token. */
async function readStamps(lines, count) {
  const stamps = await take(lines, "timestamp", count, MOST_STAMP_LINE, readStampLine);
  let previous = null;
  for (const stamp of stamps) {
    stamp.digest = await sha256Hex(stamp.token);
    const [one, other] = [previous?.checkpoint.size ?? -1, stamp.checkpoint.size];
    if (one > other || (one === other && previous.digest >= stamp.digest)) {
      throw new ProofError("the time stamps are not in ascending order", ALL_READ);
    }
    previous = stamp;
  }
  return stamps;
}

function readStampLine(line) {
  const value = readCanonical(line, { limit: MOST_STAMP_LINE, depth: 2 });
  if (!hasExactly(value, "timestamp") || !hasExactly(value.timestamp, "note", "token")) {
    throw new ProofError("the line holds no time stamp");
  }
  const { note, token } = value.timestamp;
  if (typeof note !== "string" || typeof token !== "string") throw new ProofError("the line holds no time stamp");
  const bytes = fromBase64(token);
  if (bytes.length > MOST_TOKEN_BYTES) throw new ProofError("a time-stamp token has more than 65,535 bytes");
  return { ...readSignedCheckpoint(note), token: bytes };
}

function readNoteLine(line) {
  const value = readCanonical(line, { depth: 1 });
  if (!hasExactly(value, "checkpoint") || typeof value.checkpoint !== "string") {
    throw new ProofError("the line holds no checkpoint");
  }
  return value.checkpoint;
}

/** Reads a line `{"KEY":"BASE64"}` of at most `most` bytes in base64. No text in it can need an escape. */
function base64Line(key, most) {
  const head = utf8(`{"${key}":"`);
  const tail = utf8('"}');
  return (line) => {
    const end = line.length - tail.length;
    const good =
      end >= head.length && sameBytes(line.subarray(0, head.length), head) && sameBytes(line.subarray(end), tail);
    if (!good) throw new ProofError(`the line holds no ${key}`);
    const bytes = decodedBase64(line.subarray(head.length, end));
    if (bytes.length > most) throw new ProofError(`the line holds more than ${most} bytes`);
    return bytes;
  };
}

/** How long a line with so many bytes in base64 can be: with its key, and room. */
function base64Length(most) {
  return Math.ceil(most / 3) * 4 + 64;
}

/** The next `count` lines of a sort, each read by `read`; `before` of them were taken already. */
async function take(lines, sort, count, longest, read, before = 0) {
  const values = [];
  for (let i = 0; i < count; i++) {
    const line = await lines.next(longest);
    if (line === null) throw new ProofError(`${sort} ${before + i + 1} is missing from the proof file`, ALL_READ);
    values.push(
      inStep(ALL_READ, () => {
        try {
          return read(line);
        } catch (error) {
          if (error instanceof ProofError)
            error.message = `${sort} ${before + i + 1} is missing or malformed: ${error.message}`;
          throw error;
        }
      }),
    );
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

  /** The next line without its line feed; null at the end of the file. With it, it has at most `longest` bytes. */
  async next(longest) {
    let searched = this.at;
    let end;
    while ((end = this.buffer.indexOf(10, searched)) < 0) {
      searched = this.buffer.length - this.at;
      if (searched >= longest) throw new ProofError("a line of the proof file is too long", ALL_READ);
      if (!(await this.more())) return this.end();
    }
    const line = this.buffer.subarray(this.at, end);
    if (line.length >= longest) throw new ProofError("a line of the proof file is too long", ALL_READ);
    this.at = end + 1;
    return line;
  }

  end() {
    if (this.at < this.buffer.length)
      throw new ProofError("the proof file is cut off: its last line does not end", ALL_READ);
    return null;
  }

  /** Reads on; false at the end of the file. */
  async more() {
    if (this.read === this.size) return false;
    // A long line is read in slices that grow with it, so that no byte is copied often.
    const rest = this.buffer.length - this.at;
    const until = Math.min(this.size, this.read + Math.max(SLICE_BYTES, rest));
    const slice = this.source.slice(this.read, until);
    const bytes = slice instanceof Uint8Array ? slice : new Uint8Array(await slice.arrayBuffer());
    this.buffer = concat(this.buffer.subarray(this.at), bytes);
    this.at = 0;
    this.read = until;
    return true;
  }
}
