// Whose keys count, and how many of them, obtained apart from the operator (spec/trust.md).

const MOST_TRUST_BYTES = 1048576;
const MOST_AUTHORITIES = 100;
const UNITS = { s: 1, m: 60, h: 3600, d: 86400 };

/**
 * Reads a trust file. `files` maps the names of other files, as they were dropped, to their texts: public keys and
 * policies that the trust file names by path. A path is looked up whole, then by its last part.
 */
async function readTrust(text, files = new Map()) {
  if (utf8(text).length > MOST_TRUST_BYTES) throw new ProofError("the trust file is larger than 1 MiB");
  const table = readToml(text);
  only(table, ["party", "policy", "authority"], "the trust file");
  const { party: listed = [], authority: stamping = [], policy = Object.create(null) } = table;
  if (!Array.isArray(listed) || !Array.isArray(stamping) || !isTomlTable(policy)) {
    throw new ProofError("the trust file has [[party]] and [[authority]] tables and one [policy] table");
  }
  const parties = [];
  for (const item of listed) parties.push(await readParty(item, files));
  if (!parties.length) throw new ProofError("the trust file names no [[party]]");
  checkUniqueParties(parties);
  only(policy, ["approve", "witness", "clock_skew", "approval_lasts", "challenge", "quorum"], "[policy]");
  return new Trust({
    parties,
    ...readThresholds(policy),
    quorum: "quorum" in policy ? await readQuorum(policy.quorum, parties, files) : null,
    operatedBy: readOperatedBy(listed),
    authorities: readAuthorities(stamping, files),
  });
}

/** Keys and thresholds. `fromCharter` marks keys that nobody outside vouched for. */
class Trust {
  constructor({ parties, approve, witness, clockSkew, chunks = 0, fromCharter = false, ...more }) {
    Object.assign(this, { parties, approve, witness, clockSkew, chunks, fromCharter });
    this.quorum = more.quorum ?? null; // of log witnesses, beside their number
    this.operatedBy = more.operatedBy ?? new Map(); // log witness → the organisation that runs it
    this.authorities = more.authorities ?? [];
    this.byKey = new Map(parties.map((party) => [party.ed25519, party]));
  }

  /**
   * Whether this very key is held for this organisation in this role. A log witness that is held with an ML-DSA-44 key
   * must come with it: a charter that leaves it out would have the witness counted by its older key alone.
   */
  holds(party) {
    const held = this.byKey.get(party.ed25519);
    if (held === undefined || !sameParty(held, party)) return false;
    return held.mldsa44 === undefined || held.mldsa44 === party.mldsa44;
  }

  /** Organisations that this one runs, itself or through one that it runs; and itself. */
  runBy(organisation) {
    const found = new Set([organisation]);
    for (let before = 0; before < found.size;) {
      before = found.size;
      for (const [witness, by] of this.operatedBy) if (found.has(by)) found.add(witness);
    }
    return found;
  }

  /** Who runs a log witness in the end, where that is nobody of this file; null where it is somebody. */
  unknownRunner(witness) {
    const seen = new Set();
    let by = witness;
    while (this.operatedBy.has(by) && !seen.has(by)) {
      seen.add(by);
      by = this.operatedBy.get(by);
    }
    return this.parties.some((party) => party.organisation === by) ? null : by;
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
  if (!Object.values(approve).every(isNumber))
    throw new ProofError("[policy] approve does not give a number for each role");
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
  only(item, ["organisation", "role", "key", "cosign", "cosign_ca", "operated_by"], "[[party]]");
  for (const name of ["organisation", "role", "key"]) {
    if (!(name in item)) throw new ProofError(`a [[party]] has no ${name}`);
  }
  const party = await readPublicKey(textOf(item.key, /^\{/, files, "the key of a [[party]]"));
  if (party.organisation !== item.organisation || party.role !== item.role) {
    throw new ProofError("the key of a [[party]] was made for another party or role");
  }
  return party;
}

/** The policy of a trust file. Its keys are those of the file's own parties, each witness once. */
async function readQuorum(given, parties, files) {
  const policy = await readPolicy(textOf(given, /\n/, files, "[policy] quorum"));
  const known = new Map();
  for (const party of parties) for (const key of noteKeysOf(party)) known.set(keyText(key), party);
  const witnesses = policy.witnesses.map(({ key }) => known.get(keyText(key)));
  if (witnesses.some((party) => party?.role !== "log-witness")) {
    throw new ProofError("[policy] quorum names a witness whose key is no log witness's of this file");
  }
  if (isTwice(witnesses))
    throw new ProofError("[policy] quorum names one log witness by both its keys; it can count only once");
  const logs = policy.logs.map((key) => known.get(keyText(key)));
  const operators = parties.filter((party) => party.role === "operator");
  if (logs.length && (!contains(operators, logs) || !contains(logs, operators))) {
    throw new ProofError("[policy] quorum names logs, but not just those of this file's operators");
  }
  return policy;
}

/** The keys by which others know an operator's or a log witness's signatures, as a policy names them. */
function noteKeysOf(party) {
  if (party.role === "operator") return [{ name: logOrigin(party), type: SIGNATURE, public: party.ed25519 }];
  if (party.role !== "log-witness") return [];
  const keys = [{ name: witnessName(party), type: COSIGNATURE, public: party.ed25519 }];
  if (party.mldsa44 !== undefined)
    keys.push({ name: witnessName(party), type: MLDSA_COSIGNATURE, public: party.mldsa44 });
  return keys;
}

function keyText({ name, type, public: digits }) {
  return `${name} ${type} ${digits}`;
}

function readOperatedBy(listed) {
  const found = new Map();
  for (const { organisation, role, operated_by: by } of listed) {
    if (by === undefined) continue;
    if (role !== "log-witness" || typeof by !== "string" || by === organisation) {
      throw new ProofError("operated_by does not name the organisation that runs a log witness");
    }
    checkOrganisation(by);
    found.set(organisation, by);
  }
  return found;
}

function readAuthorities(listed, files) {
  if (listed.length > MOST_AUTHORITIES) throw new ProofError("the trust file names more than 100 authorities");
  const found = listed.map((item) => {
    if (!isTomlTable(item) || !hasExactly(item, "certificate", "name") || typeof item.name !== "string") {
      throw new ProofError("an [[authority]] does not have exactly a name and a certificate");
    }
    checkOrganisation(item.name);
    const certificate = textOf(item.certificate, /^-----/, files, "the certificate of an [[authority]]");
    if (!/^\s*-----BEGIN CERTIFICATE-----/.test(certificate)) {
      throw new ProofError(`the certificate of authority ${item.name} is not in PEM`);
    }
    return { name: item.name, certificate };
  });
  if (isTwice(namesOf(found))) throw new ProofError("the trust file names an authority twice");
  return found;
}

/** What is given: the text itself, where it looks like one, or that of a file, by its whole path, else by its last part. */
function textOf(given, looksLike, files, what) {
  if (typeof given !== "string") throw new ProofError(`${what} is neither a path nor the text itself`);
  if (looksLike.test(given)) return given;
  const last = given.split("/").at(-1);
  const text = files.get(given) ?? files.get(last);
  if (text === undefined)
    throw new ProofError(`the trust file names the file ${given}, which was not given: add ${last}`);
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
