// Whose keys count, and how many of them, obtained apart from the operator (spec/trust.md).

const MOST_TRUST_BYTES = 1048576;
const UNITS = { s: 1, m: 60, h: 3600, d: 86400 };

/**
 * Reads a trust file. `files` maps the names of other files, as they were dropped, to their texts: public keys and
 * policies that the trust file names by path. A path is looked up whole, then by its last part.
 */
async function readTrust(text, files = new Map()) {
  if (utf8(text).length > MOST_TRUST_BYTES) throw new ProofError("the trust file is larger than 1 MiB");
  const table = readToml(text);
  only(table, ["party", "policy", "authority"], "the trust file");
  const listed = table.party ?? [];
  const policy = table.policy ?? Object.create(null);
  if (!Array.isArray(listed) || !isTomlTable(policy)) {
    throw new ProofError("the trust file has [[party]] tables and one [policy] table");
  }
  const parties = [];
  for (const item of listed) parties.push(await readParty(item, files));
  if (!parties.length) throw new ProofError("the trust file names no [[party]]");
  checkUniqueParties(parties);
  only(policy, ["approve", "witness", "clock_skew", "approval_lasts", "challenge"], "[policy]");
  return new Trust({ parties, ...readThresholds(policy) });
}

/** Keys and thresholds. `fromCharter` marks keys that nobody outside vouched for. */
class Trust {
  constructor({ parties, approve, witness, clockSkew, chunks = 0, fromCharter = false }) {
    Object.assign(this, { parties, approve, witness, clockSkew, chunks, fromCharter });
    this.byKey = new Map(parties.map((party) => [party.ed25519, party]));
  }

  /** Whether this very key is held for this organisation in this role. */
  holds(party) {
    const held = this.byKey.get(party.ed25519);
    return held !== undefined && sameParty(held, party);
  }
}

/** What a charter claims for itself: consistent at best, never verified. */
async function trustOfCharter(charter) {
  const parties = [];
  for (const party of charter.parties) parties.push(await publicKey(party));
  checkUniqueParties(parties);
  const approve = new Map(charter.policy.approve.map((wanted) => [wanted.role, wanted.count]));
  return new Trust({
    parties,
    approve,
    witness: charter.policy.witness,
    clockSkew: charter.policy.clock_skew,
    fromCharter: true,
  });
}

function readThresholds(policy) {
  const approve = policy.approve ?? { auditor: 1, notary: 1 };
  if (!isTomlTable(approve)) throw new ProofError("[policy] approve does not give a number for each role");
  only(approve, ["auditor", "notary", "owner"], "[policy] approve");
  if (!Object.values(approve).every(isNumber)) throw new ProofError("[policy] approve does not give a number for each role");
  const witness = policy.witness ?? 1;
  if (!isNumber(witness)) throw new ProofError("[policy] witness is not a number");
  return {
    approve: new Map(Object.entries(approve)),
    witness,
    clockSkew: readDuration(policy.clock_skew ?? "5m"),
    chunks: readChallenge(policy.challenge ?? Object.create(null)),
  };
}

/** How many chunks `challenge = { bound = …, confidence = … }` asks for; 0 where it is not given. */
function readChallenge(challenge) {
  if (!isTomlTable(challenge)) throw new ProofError("[policy] challenge does not give a bound and a confidence");
  only(challenge, ["bound", "confidence"], "[policy] challenge");
  if (!Object.keys(challenge).length) return 0;
  const rates = [challenge.bound ?? new TomlFloat(0.01), challenge.confidence ?? new TomlFloat(0.99)];
  const ppm = rates.map((rate) => (rate instanceof TomlFloat ? roundHalfEven(rate.value * PPM) : 0));
  if (!ppm.every((n) => n > 0 && n < PPM)) {
    throw new ProofError("[policy] challenge: bound and confidence lie between 0 and 1, such as 0.01");
  }
  return chunksNeeded(...ppm);
}

function readDuration(text) {
  const match = typeof text === "string" ? /^([0-9]{1,11})([smhd])$/.exec(text) : null;
  if (match === null) throw new ProofError('[policy] clock_skew is not a duration such as "90s", "5m", "72h" or "90d"');
  return Number(match[1]) * UNITS[match[2]];
}

async function readParty(item, files) {
  if (!isTomlTable(item)) throw new ProofError("[[party]] is not a table");
  only(item, ["organisation", "role", "key", "cosign", "operated_by"], "[[party]]");
  for (const name of ["organisation", "role", "key"]) {
    if (!(name in item)) throw new ProofError(`a [[party]] has no ${name}`);
  }
  if (typeof item.key !== "string") throw new ProofError("the key of a [[party]] is neither a path nor the text of a public key");
  const party = await readPublicKey(item.key.startsWith("{") ? item.key : named(item.key, files));
  if (party.organisation !== item.organisation || party.role !== item.role) {
    throw new ProofError("the key of a [[party]] was made for another party or role");
  }
  return party;
}

/** The text of a file that the trust file names: by its whole path, else by its last part alone. */
function named(path, files) {
  const last = path.split("/").at(-1);
  const text = files.get(path) ?? files.get(last);
  if (text === undefined) throw new ProofError(`the trust file names the file ${path}, which was not given: add ${last}`);
  return text;
}

function only(table, allowed, where) {
  const unknown = Object.keys(table).find((key) => !allowed.includes(key));
  if (unknown !== undefined) throw new ProofError(`${where} has a key that is not known: ${unknown}`);
}

function isNumber(value) {
  return typeof value === "number" && value >= 0;
}

function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}
