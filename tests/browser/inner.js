({
  // What the tests ask the verifier's inner functions; offered in place of `Cenotaph` (web/build.py). Bytes travel as hexadecimal.
  ProofError,
  canonical: (input) => hex(utf8(writeCanonical(readCanonical(unhex(input))))),
  publicKey: async (input) => (await readPublicKey(fromUtf8(unhex(input), "the key"))).keyId,
  async envelope(input, signer) {
    const bytes = unhex(input);
    const read = readEnvelope(bytes);
    if (!(await isSignedBy(read, await readPublicKey(signer)))) throw new ProofError("not signed by this key");
    return [hex(read.payload), await sha256Hex(bytes)];
  },
  async root(leaves) {
    return hex(await rootOver(leaves.map(unhex)));
  },
  leaf: async (entry) => hex(await leafHash(unhex(entry))),
  inclusion: (index, size, leaf, proof, root) => checkInclusion(index, size, unhex(leaf), proof.map(unhex), unhex(root)).then(() => "holds"),
  consistency: (old, size, oldRoot, root, proof) => checkConsistency(old, size, unhex(oldRoot), unhex(root), proof.map(unhex)).then(() => "holds"),
  async checkpoint(input, operator, witnesses) {
    const note = readNote(fromUtf8(unhex(input), "the note"));
    const checkpoint = readCheckpoint(note.text);
    const keys = await noteKeys(await readPublicKey(operator), await Promise.all(witnesses.map(readPublicKey)));
    const found = await checkSignatures(note, keys);
    if (checkpoint.size === 0 && checkpoint.root !== (await sha256Hex(new Uint8Array()))) throw new ProofError("the root of an empty log");
    const cosigned = checkCheckpoint(checkpoint, found, keys.log.name, checkpoint.root);
    return Object.fromEntries(cosigned.map(({ party, time }) => [party.keyId, time]));
  },
  async statement(payload, attachments) {
    const known = new Map();
    for (const text of attachments) known.set(await sha256Hex(utf8(text)), utf8(text));
    const read = readStatement(readWrapper(utf8(payload)), known);
    return [read.kind, read.cites.map((cite) => cite.kind)];
  },
  commitment: (what, secret) => commitment(what, unhex(secret)),
  needed: (bound, confidence) => chunksNeeded(bound, confidence),
  seed: async (...parts) => hex(await drawSeed(...parts)),
  async sample(seed, label, population, count) {
    const drawn = await drawSample(unhex(seed), label, population, count);
    return [drawn, await drawDigest(drawn)];
  },
  async seal(body) {
    const read = readCanonical(utf8(body));
    decode(read, BODIES.get("seal"), "seal");
    await checkSeal(read);
    return "holds";
  },
  collectionEntry: (item) => hex(collectionEntry(item)),
  storeEntry: (item) => hex(storeEntry(item)),
  chunkEntry: (number, chunk) => hex(concat(utf8("chunk"), u64(number, chunk.records, chunk.bytes), unhex(chunk.hash))),
  ed25519: (key, message, signature) => verifiesEd25519(key, unhex(signature), unhex(message)),
  async mldsa44(key, message, signature) {
    if (!(await hasMlDsa44())) return "cannot tell";
    if (key.length !== 2624) throw new ProofError("not a key");
    return verifiesMlDsa44(key, unhex(signature), unhex(message));
  },
  jcs: (input) => hex(utf8(writeCanonical(JSON.parse(fromUtf8(unhex(input), "the JSON"))))),
  async verifierKey(text) {
    const key = await readVerifierKey(text);
    const encoded = concat(new Uint8Array([key.type]), unhex(key.public));
    return text === `${key.name}+${await noteKeyHash(key.name, key.type, key.public)}+${btoa(String.fromCharCode(...encoded))}`;
  },
  // A note, or the checkpoint of any log: who of these keys signed it, and when; lines by unknown keys are passed over.
  async signers(input, keys) {
    const note = readNote(fromUtf8(unhex(input), "the note"));
    const known = await Promise.all(keys.map(readVerifierKey));
    const times = {};
    for (const line of note.lines) {
      for (const [at, key] of known.entries()) {
        if (line.name !== key.name || line.keyHash !== (await noteKeyHash(key.name, key.type, key.public))) continue;
        const party = { ed25519: key.public, mldsa44: key.public };
        const check = { [SIGNATURE]: null, [COSIGNATURE]: checkCosignature, [MLDSA_COSIGNATURE]: checkMlDsaCosignature }[key.type];
        const found = check
          ? await check(note, line, { type: key.type, party })
          : { valid: await verifiesEd25519(key.public, line.signature, utf8(note.text)) };
        if (found.valid !== true || keys[at] in times) throw new ProofError("a signature does not verify, or stands twice");
        times[keys[at]] = found.time === undefined ? null : Number(found.time);
      }
    }
    return times;
  },
  async treeHead(input) {
    const note = fromUtf8(unhex(input), "the note");
    return readCheckpoint(note.includes("\n\n") ? readNote(note).text : note);
  },
  cosignedAt: (encoded) => Number(timeOf({ signature: fromBase64(encoded).subarray(4) })),
  async policy(input) {
    const { logs, witnesses, groups } = await readPolicy(fromUtf8(unhex(input), "the policy"));
    return { log: logs.length, witness: witnesses.length, group: groups.length };
  },
  inclusionProof: (input) => readInclusionProof(fromUtf8(unhex(input), "the proof")).index,
  // The page signs and checks with Ed25519 alone; what is signed of an envelope is the same for P-256.
  async certified(point, payload, signature) {
    const curve = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", unhex(point), curve, false, ["verify"]);
    return crypto.subtle.verify(curve, key, unhex(signature), signedBytes(unhex(payload)));
  },
  preAuthenticated: (payload) => hex(signedBytes(unhex(payload))),
})
