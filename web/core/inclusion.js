// One statement's place in the log, for whoever holds nothing else: C2SP tlog-proof (spec/log.md, part 7).

const INCLUSION_PROOF = "c2sp.org/tlog-proof@v1";
const MOST_PATH = 63;
const MOST_EXTRA_BYTES = 100000;

/** Checks that `entry` is in this operator's log; resolves to its index and the checkpoint that shows it. */
async function checkInclusionProof(text, entry, operator) {
  const { index, path, note } = readInclusionProof(text);
  const { log } = await noteKeys(operator, []);
  const checkpoint = readCheckpoint(note.text);
  if (checkpoint.origin !== log.name) throw new ProofError("the checkpoint is of another log");
  // Lines by others say nothing to whoever has no trust file; those by the operator must verify, once.
  const own = note.lines.filter((line) => line.name === log.name && line.keyHash === log.keyHash);
  const [signed] = await checkSignatures({ ...note, lines: own.slice(0, 1) }, { log, cosigners: new Map() });
  if (own.length !== 1 || !signed.valid) throw new ProofError("the checkpoint is not signed by its operator");
  await checkInclusion(index, checkpoint.size, await leafHash(entry), path, unhex(checkpoint.root));
  return { index, checkpoint };
}

/** What stands in the file, strictly: nothing is verified yet. */
function readInclusionProof(text) {
  const end = text.indexOf("\n\n");
  const [first, ...lines] = text.slice(0, Math.max(0, end)).split("\n");
  if (end < 0 || first !== INCLUSION_PROOF)
    throw new ProofError(`this is not an inclusion proof: its first line is not ${INCLUSION_PROOF}`);
  if (lines[0]?.startsWith("extra ")) {
    const { length } = fromBase64(lines.shift().slice("extra ".length));
    if (!length || length > MOST_EXTRA_BYTES)
      throw new ProofError("the extra data of an inclusion proof is empty or too long");
  }
  const match = /^index (0|[1-9][0-9]{0,15})$/.exec(lines[0] ?? "");
  const index = match === null ? NaN : Number(match[1]);
  if (!Number.isSafeInteger(index)) throw new ProofError("an inclusion proof has an index line");
  const path = lines.slice(1).map(fromBase64);
  if (path.length > MOST_PATH || path.some((hash) => hash.length !== HASH_BYTES)) {
    throw new ProofError("the path of an inclusion proof is not at most 63 hashes of 32 bytes");
  }
  return { index, path, note: readNote(text.slice(end + 2)) };
}
