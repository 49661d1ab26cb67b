// The steps of spec/verify.md, and what a page may use of all this.

const SAYS_CHARTER = /"predicateType":"urn:cenotaph:v1:charter"/;
const LATIN1 = new TextDecoder("latin1");

/** Verifies a proof file against a trust, or without one; resolves to a verdict, rejects with a ProofError. */
async function verify(proof, trust, { progress = () => {} } = {}) {
  const read = await readProof(proof, progress); // step 1
  const book = await replay(read, trust, progress); // steps 2 to 5, and 7
  const last = book.latest("certificate");
  if (last === null) {
    throw new ProofError(`there is no certificate: the case stands at its ${book.entries.at(-1).kind}`, "verify 4");
  }
  if (book.seenBy(last.index) === null) {
    throw new ProofError("the checkpoint over the certificate lacks its quorum of log witnesses", "verify 6");
  }
  if (book.cosigned.at(-1).size !== read.entries.length) {
    throw new ProofError("the log's end is not under a checkpoint with its quorum", "verify 6");
  }
  return verdictOf(book);
}

/** Replays the log of a proof file entry by entry, each checkpoint when as many were taken as it covers. */
async function replay(read, trust, progress) {
  const { entries, attachments } = read;
  entries.forEach((entry, index) => Object.assign(entry, { index }));
  const charter = charterOf(read);
  const notes = inStep("verify 1", () => readNotes(read, charter.index));
  const stamps = read.stamps;
  checkSizes(stamps, charter.index, entries.length);
  entries.slice(0, charter.index).forEach(checkWrapped);
  const book = new Case(trust, entries.slice(0, charter.index));
  await book.open(charter, attachments);
  const mine = entriesOfCase(entries, charter);
  await checkAllSignatures(book, mine, [...notes, ...stamps], progress);
  const tree = await MerkleTree.of(entries.map((entry) => entry.leaf));
  const ofCase = new Set(mine);
  const bySize = new Map();
  for (const note of [...notes, ...stamps])
    bySize.set(note.checkpoint.size, [...(bySize.get(note.checkpoint.size) ?? []), note]);
  for (const entry of entries.slice(charter.index)) {
    checkWrapped(entry);
    if (ofCase.has(entry)) await book.admit(entry, attachments, entry.signed);
    const root = bySize.has(entry.index + 1) ? hex(await tree.root(entry.index + 1)) : null;
    for (const { checkpoint, signatures, token } of bySize.get(entry.index + 1) ?? []) {
      if (token === undefined) book.observe(checkpoint, signatures, root);
      else book.stamp(checkpoint, signatures, root);
    }
    if (entry.index % WINDOW === WINDOW - 1) {
      progress(entry.index + 1, entries.length, "replay");
      await breathe();
    }
  }
  checkAllNamed([charter, ...mine], attachments);
  return book;
}

/** What is wrong with an entry's wrapper is said when its turn comes. */
function checkWrapped({ fault }) {
  if (fault !== null) throw fault;
}

/** proof-file.md, rule 4: the log holds exactly one charter of the case. */
function charterOf({ caseId, entries }) {
  const found = entries.filter(({ envelope, wrapper, fault }) => {
    if (fault !== null && SAYS_CHARTER.test(LATIN1.decode(envelope.payload))) throw fault;
    return wrapper.kind === "charter" && wrapper.cites.find((cite) => cite.kind === "case")?.digest === caseId;
  });
  if (found.length !== 1)
    throw new ProofError(`the log holds ${found.length} charters of this case, not one`, "verify 4");
  return found[0];
}

/** proof-file.md, rule 4: checkpoints over the case, ascending, of no size twice. */
function readNotes({ checkpoints, entries }, charterIndex) {
  const notes = checkpoints.map(readSignedCheckpoint);
  let previous = -1;
  for (const { checkpoint } of notes) {
    if (checkpoint.size <= previous) throw new ProofError("the checkpoints are not in ascending order of size");
    previous = checkpoint.size;
  }
  checkSizes(notes, charterIndex, entries.length);
  return notes;
}

/** proof-file.md, rules 4 and 5: checkpoints cover the charter, and no more than the entries. */
function checkSizes(notes, charterIndex, size) {
  if (notes.some(({ checkpoint }) => checkpoint.size <= charterIndex || checkpoint.size > size)) {
    throw new ProofError("a checkpoint covers something other than this case's part of the log", "verify 1");
  }
}

/** Entries after the charter that cite it or any statement of the case, so that none is passed over as another's. */
function entriesOfCase(entries, charter) {
  const known = new Set([charter.digest]);
  return entries.slice(charter.index + 1).filter((entry) => {
    const isOurs = entry.wrapper.cites.some((cite) => known.has(cite.digest));
    if (isOurs) known.add(entry.digest);
    return isOurs;
  });
}

/** Looks at all signatures at once, before the replay asks about them: they take the most time. */
async function checkAllSignatures(book, mine, notes, progress) {
  const total = mine.length + notes.length;
  await inWindows(
    mine,
    async (entry) => {
      const party = book.parties.get(entry.envelope.keyId);
      entry.signed = party !== undefined && (await isSignedBy(entry.envelope, party));
    },
    (done) => progress(done, total, "check"),
  );
  const [operator] = book.partiesOf("operator");
  const keys = await noteKeys(operator, book.partiesOf("log-witness"));
  await inWindows(
    notes,
    async (note) => {
      note.signatures = await checkSignatures(note, keys);
    },
    (done) => progress(mine.length + done, total, "check"),
  );
}

/** proof-file.md, rule 5. */
function checkAllNamed(mine, attachments) {
  const named = new Set(mine.map((entry) => entry.wrapper.detached?.detached));
  for (const digest of attachments.keys()) {
    if (!named.has(digest))
      throw new ProofError("the proof file carries a detached body that no statement names", "verify 1");
  }
}

/**
 * Holds two proof files of one log against each other (spec/verify.md, "Two readers"): resolves to the number of
 * entries that both have; rejects at step 5 where the operator showed two histories.
 */
async function compare(one, other, trust, { progress = () => {} } = {}) {
  const reads = [await readProof(one, progress), await readProof(other, progress)];
  const books = [await replay(reads[0], trust, progress), await replay(reads[1], trust, progress)];
  if (books[0].charter.origin !== books[1].charter.origin) {
    throw new ProofError("the two proof files are of two operators' logs", "verify 5");
  }
  const size = Math.min(...reads.map((read) => read.entries.length));
  const [first, second] = reads.map((read) => read.entries);
  const same = first.slice(0, size).findIndex((entry, i) => entry.digest !== second[i].digest);
  if (same < 0) return size;
  const beyond = books.map((book) => book.cosigned.filter((checkpoint) => checkpoint.size > same));
  if (!beyond.every((checkpoints) => checkpoints.length)) {
    throw new ProofError(`the two proof files differ after ${same} statements; they are not both cosigned`, "verify 5");
  }
  const witnesses = once(beyond.flat().flatMap((checkpoint) => checkpoint.witnesses)).sort(compareCodePoints);
  throw new SplitError(
    `the operator signed two histories: they agree on ${same} statements and differ in the next one; ` +
      `cosigned by ${witnesses.join(", ")}; keep both files: together they are the proof`,
    "verify 5",
  );
}

const Cenotaph = Object.freeze({
  verify,
  readTrust,
  compare,
  checkInclusionProof,
  checkConsistency,
  readPublicKey,
  verdictJson,
  refusalJson,
  useWords,
  say,
  sayRecall,
  translated,
  ProofError,
  SplitError,
  CannotCheck,
});
