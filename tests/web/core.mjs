// Runs web/core under node for tests/web/: reads one JSON request a line, answers one JSON line each.
//
// The files are put together as a page has them: one after the other in one function, in the order of files.json.

import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const CORE = path.join(HERE, "..", "..", "web", "core");
const PARTS =
  "Cenotaph, ProofError, Trust, unhex, hex, utf8, readCanonical, writeCanonical, readPublicKey, readEnvelope, isSignedBy, sha256Hex, " +
  "leafHash, MerkleTree, checkInclusion, checkConsistency, readNote, readCheckpoint, noteKeys, checkSignatures, checkCheckpoint, " +
  "readWrapper, readStatement, commitment, chunksNeeded, drawSeed, drawSample, drawDigest, leastPercent, checkSeal, u64, concat, " +
  "collectionEntry, storeEntry, rootOfEntries, readToml, TomlFloat, readTrust, verifiesEd25519, readPolicy, policyTime, " +
  "readVerifierKey, checkInclusionProof";

function load() {
  const order = JSON.parse(fs.readFileSync(path.join(CORE, "files.json"), "utf8"));
  const files = order.map((name) => fs.readFileSync(path.join(CORE, name), "utf8"));
  return vm.runInThisContext(`(() => { "use strict";\n${files.join("\n")}\nreturn { ${PARTS} }; })`, {
    filename: "web/core",
  })();
}

/** How the page finds the proof file that is attached to a PDF. */
function loadPaper() {
  const file = path.join(HERE, "..", "..", "web", "page", "paper.js");
  return vm.runInThisContext(`(() => { "use strict";\n${fs.readFileSync(file, "utf8")}\nreturn proofInside; })`, {
    filename: "web/page/paper.js",
  })();
}

const core = load();
const proofInside = loadPaper();
const { Cenotaph, unhex, hex, utf8 } = core;

/** What can be asked: each takes a request and returns what was learned, or raises a ProofError. */
const ANSWERS = {
  words: ({ catalogue }) => Cenotaph.useWords(catalogue),
  verify: async ({ proof, trust, files, language }) => {
    const held = await heldIn(trust, files);
    const verdict = await Cenotaph.verify(Buffer.from(proof, "base64"), held);
    return { ...Cenotaph.verdictJson(verdict, language), recall: Object.fromEntries(verdict.recall) };
  },
  compare: async ({ one, other, trust }) => {
    const held = await heldIn(trust);
    return Cenotaph.compare(Buffer.from(one, "base64"), new Blob([Buffer.from(other, "base64")]), held);
  },
  paper: async ({ data }) => {
    const { proof, note } = await proofInside(new Blob([Buffer.from(data, "base64")]));
    return proof === undefined ? { note } : { proof: Buffer.from(proof).toString("base64") };
  },
  trust: async ({ text, files }) => {
    const trust = await core.readTrust(text, new Map(Object.entries(files ?? {})));
    const { parties, approve, witness, clockSkew, chunks } = trust;
    return {
      parties: parties.map((party) => party.keyId),
      approve: Object.fromEntries(approve),
      witness,
      clockSkew,
      chunks,
    };
  },
  toml: ({ text }) => plain(core.readToml(text)),
  policy: async ({ data, times }) => {
    const policy = await core.readPolicy(Buffer.from(unhex(data)).toString("utf8"));
    const nameOf = new Map(policy.witnesses.map(({ name, key }) => [key.public, name]));
    return times.map((given) => core.policyTime(policy, (key) => given[nameOf.get(key.public)] ?? null));
  },
  verifier_key: async ({ data }) => (await core.readVerifierKey(Buffer.from(unhex(data)).toString("utf8"))).type,
  inclusion_proof: async ({ data, entry, operator }) => {
    const text = Buffer.from(unhex(data)).toString("utf8");
    return (await core.checkInclusionProof(text, unhex(entry), await core.readPublicKey(operator))).index;
  },
  canonical: ({ data }) => hex(utf8(core.writeCanonical(core.readCanonical(unhex(data))))),
  key: async ({ data }) => (await core.readPublicKey(Buffer.from(unhex(data)).toString("utf8"))).keyId,
  ed25519: ({ key, signature, message }) => core.verifiesEd25519(key, unhex(signature), unhex(message)),
  envelope: async ({ data, signer }) => {
    const read = core.readEnvelope(unhex(data));
    if (!(await core.isSignedBy(read, await core.readPublicKey(signer))))
      throw new core.ProofError("not signed by this party");
    return { payload: hex(read.payload), digest: await core.sha256Hex(unhex(data)) };
  },
  tree: async ({ entries }) => {
    const tree = await core.MerkleTree.of(await Promise.all(entries.map((entry) => core.leafHash(unhex(entry)))));
    return Promise.all([...entries.keys(), entries.length].map(async (size) => hex(await tree.root(size))));
  },
  inclusion: ({ index, size, leaf, proof, root }) =>
    core.checkInclusion(index, size, unhex(leaf), proof.map(unhex), unhex(root)),
  consistency: ({ old_size, new_size, old_root, new_root, proof }) =>
    core.checkConsistency(old_size, new_size, unhex(old_root), unhex(new_root), proof.map(unhex)),
  checkpoint: async ({ data, operator, witnesses }) => {
    const log = await core.readPublicKey(operator);
    const keys = await core.noteKeys(log, await Promise.all(witnesses.map((witness) => core.readPublicKey(witness))));
    const note = core.readNote(Buffer.from(unhex(data)).toString("utf8"));
    const checkpoint = core.readCheckpoint(note.text);
    const root = checkpoint.size ? checkpoint.root : await core.sha256Hex(new Uint8Array());
    const found = core.checkCheckpoint(checkpoint, await core.checkSignatures(note, keys), keys.log.name, root);
    return Object.fromEntries(found.map(({ party, time }) => [party.keyId, time]));
  },
  statement: async ({ payload, attachments }) => {
    const bodies = attachments.map((text) => utf8(text));
    const named = await Promise.all(bodies.map(async (body) => [await core.sha256Hex(body), body]));
    const { kind, cites } = core.readStatement(core.readWrapper(utf8(payload)), new Map(named));
    return { kind, cites: cites.map((cite) => cite.kind) };
  },
  commitment: ({ what, secret }) => core.commitment(what, unhex(secret)),
  needed: ({ bound_ppm, confidence_ppm }) => core.chunksNeeded(bound_ppm, confidence_ppm),
  least: ({ pairs }) => pairs.map(([found, sampled]) => core.leastPercent(found, sampled)),
  seed: async (given) => hex(await core.drawSeed(given.domain, given.case, given.statement, given.key_id, given.nonce)),
  sample: async ({ seed, label, population, count }) => {
    const drawn = await core.drawSample(unhex(seed), label, population, count);
    return { drawn, digest: await core.drawDigest(drawn) };
  },
  seal: ({ body }) => core.checkSeal(body),
  entries: async ({ kind, items }) => {
    const write = { chunk: chunkEntry, collection: core.collectionEntry, store: core.storeEntry }[kind];
    const entries = items.map((item, i) => (kind === "chunk" ? write(i, item) : write(item)));
    return { entries: entries.map(hex), root: await core.rootOfEntries(entries) };
  },
};

/** spec/seal.md: what an auditor hashes; a verifier is not shown chunks. */
function chunkEntry(number, { records, bytes, hash }) {
  return core.concat(utf8("chunk"), core.u64(number, records, bytes), unhex(hash));
}

/** A trust: none, the text of a trust file, or what a test holds already. */
async function heldIn(trust, files = {}) {
  if (trust === null) return null;
  if (typeof trust === "string") return core.readTrust(trust, new Map(Object.entries(files)));
  const parties = await Promise.all(trust.parties.map((party) => core.readPublicKey(party)));
  const operatedBy = new Map(Object.entries(trust.operatedBy));
  return new core.Trust({ ...trust, parties, operatedBy, approve: new Map(Object.entries(trust.approve)) });
}

/** A TOML value as Python's tomllib has it: fractions apart from integers. */
function plain(value) {
  if (value instanceof core.TomlFloat) return { float: value.value };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

async function answer(request) {
  try {
    return { answer: (await ANSWERS[request.ask](request)) ?? null };
  } catch (error) {
    if (error instanceof core.ProofError) return { refused: error.message, step: error.step };
    return { defect: error.stack };
  }
}

for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const said = JSON.stringify(await answer(JSON.parse(line)), (_, value) =>
    typeof value === "bigint" ? String(value) : value,
  );
  process.stdout.write(`${said}\n`);
}
