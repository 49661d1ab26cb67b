// A printed certificate carries its proof file as an attachment. It is taken out by its own first bytes; nothing else of the PDF is read.

const MOST_PAPER = 536_870_912; // spec/proof-file.md, rule 3
const STREAM = new TextEncoder().encode("stream");
const END = new TextEncoder().encode("endstream");
const PROOF = '{"attachments":';

/** The proof file attached to a PDF, or null. */
async function proofInside(paper) {
  if (paper.size > MOST_PAPER) return null;
  const bytes = new Uint8Array(await paper.arrayBuffer());
  for (let at = find(bytes, STREAM, 0); at >= 0; ) {
    const end = find(bytes, END, at);
    if (end < 0) return null;
    const inside = await content(bytes.subarray(afterLine(bytes, at + STREAM.length), end));
    if (inside !== null && begins(inside, PROOF)) return inside;
    at = find(bytes, STREAM, end + END.length);
  }
  return null;
}

/** The bytes of a stream, inflated where it is deflated; null where they are no proof file. */
async function content(raw) {
  if (begins(raw, PROOF)) return trimmed(raw);
  if (raw[0] !== 0x78) return null;
  for (const end of ends(raw)) {
    const inside = await inflated(raw.subarray(0, end));
    if (inside !== undefined) return inside;
  }
  return null;
}

/** Where a stream's data may end: before the line's end that stands before "endstream", which an inflater refuses. */
function ends(raw) {
  const last = raw.length;
  if (raw[last - 1] === 0x0d) return [last - 1, last];
  if (raw[last - 1] !== 0x0a) return [last];
  return raw[last - 2] === 0x0d ? [last - 2, last - 1, last] : [last - 1, last];
}

/** Inflates until the first piece shows that it is no proof file: then null. Undefined where it cannot be inflated. */
async function inflated(raw) {
  const reader = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const pieces = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return trimmed(joined(pieces, size));
      pieces.push(value);
      size += value.length;
      const other = pieces[0].length >= PROOF.length && !begins(pieces[0], PROOF);
      if (other || size > MOST_PAPER) {
        await reader.cancel();
        return null;
      }
    }
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
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

/** A proof file ends with the line feed after its last brace; a PDF may put a line's end after that. */
function trimmed(bytes) {
  const last = bytes.lastIndexOf(0x7d);
  return bytes.subarray(0, Math.min(bytes.length, last + 2));
}

function afterLine(bytes, at) {
  if (bytes[at] === 0x0d) at += 1;
  return bytes[at] === 0x0a ? at + 1 : at;
}

function begins(bytes, text) {
  return bytes.length >= text.length && [...text].every((character, at) => bytes[at] === character.charCodeAt(0));
}

function find(bytes, wanted, from) {
  for (let at = bytes.indexOf(wanted[0], from); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (wanted.every((byte, place) => bytes[at + place] === byte)) return at;
  }
  return -1;
}
