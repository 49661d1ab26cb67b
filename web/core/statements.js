// What may stand in a statement (spec/statements.md and the page of each kind), as tables that one decoder reads.
//
// A type is one of the words of TYPES, a Set of texts, a list of one type, or an object of members; a member whose
// name ends in "?" may be left out. What was read is used as it is: a body is its JSON, without prototypes.

const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const KIND_PREFIX = "urn:cenotaph:v1:";
const MOST_INLINE_BYTES = 40000;
const MOST_DETACHED_BYTES = 67108864;
const MOST_CITES = 10000;
const MOST_ITEMS = 1000000;

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const GRADES = ["none", "L1", "L2", "L3", "L4", "L5"];

const TYPES = {
  name: (value) => isText(value, 1, 200),
  line: (value) => isText(value, 0, 1000),
  digest: (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value),
  mldsa44: (value) => typeof value === "string" && /^[0-9a-f]{2624}$/.test(value),
  count: (value) => typeof value === "number" && value >= 0,
  month: (value) => typeof value === "string" && /^[0-9]{4}-[0-9]{2}$/.test(value),
  truth: (value) => typeof value === "boolean",
};

const oneOf = (...texts) => new Set(texts);
const GRADE = oneOf(...GRADES);
const ROLE = oneOf(...ROLES);
const DECISION = oneOf("accept", "reject");
const SAYING = oneOf(
  "switched off",
  "copy gone",
  "key destroyed",
  "medium destroyed",
  "samples destroyed",
  "witnessed",
  "objects",
  "answers",
);
const CHECKPOINT = { size: "count", root: "digest" };
const RECALL = { store: "name", place: "name", encoding: "name", sampled: "count", found: "count" };
const RESIDUE = { place: "name", lane: "name", kind: "name", values: "count" };

const CHARTER = {
  case: "digest",
  name: "name",
  operator: "name",
  origin: "name",
  created: "count",
  basis: "line",
  notice: "count",
  apps: [{ name: "name", purpose: "line", stores: ["name"] }],
  stores: [
    {
      name: "name",
      kind: "name",
      grade: GRADE,
      scope: oneOf("everything", "collections", "rows", "subjects"),
      shared: ["name"],
      "owner?": "name",
    },
  ],
  holds: [{ by: "line", reference: "line" }],
  kept: [{ name: "line", why: "line" }],
  recipients: [{ name: "line", why: "line" }],
  parties: [{ organisation: "name", role: ROLE, ed25519: "digest", x25519: "digest", "mldsa44?": "mldsa44" }],
  policy: {
    approve: [{ role: ROLE, count: "count" }],
    witness: "count",
    bound_ppm: "count",
    confidence_ppm: "count",
    clock_skew: "count",
    approval_lasts: "count",
  },
  earlier: ["digest"],
  annex: "digest",
  "contact?": "line",
};

const APPROVAL = {
  of: oneOf("charter", "plan"),
  organisation: "name",
  role: ROLE,
  decision: oneOf("approve", "withdraw"),
  signed: "count",
  until: "count",
  "commitments?": {
    share: "digest",
    challenge_nonce: "digest",
    probe_nonce: "digest",
    outside: "digest",
    outside_records: "count",
  },
};

const INVENTORY = {
  stores: [
    {
      name: "name",
      reachable: GRADE,
      why_not_higher: "line",
      collections: [
        {
          ordinal: "count",
          format: "name",
          records: "count",
          held: "count",
          kept: "count",
          bytes: "count",
          partitions: "count",
          columns: "count",
          personal: [{ kind: "name", confidence: "name", columns: "count" }],
          copies: [{ kind: "name", places: "count", bytes: "count", disposition: "name" }],
          notes: ["line"],
          "name?": "name",
        },
      ],
      exposures: ["line"],
      "last_write?": "month",
    },
  ],
  look_alikes: [
    {
      store: "name",
      collection: "count",
      other_store: "name",
      other_collection: "count",
      overlap_percent: "count",
    },
  ],
  undeclared: "count",
  annex: "digest",
};

const SEAL = {
  key: "digest",
  chunk_records: "count",
  records: "count",
  bytes: "count",
  chunks: "count",
  root: "digest",
  stores: [
    {
      name: "name",
      records: "count",
      bytes: "count",
      chunks: "count",
      root: "digest",
      collections: [{ ordinals: ["count"], records: "count", bytes: "count", chunks: "count", root: "digest" }],
      "persons?": "count",
    },
  ],
  needles: "digest",
  annex: "digest",
  "persons?": "count",
};

const PLAN = {
  number: "count",
  stores: [
    {
      name: "name",
      grade: GRADE,
      why_not_higher: "line",
      destroy: ["count"],
      records: "count",
      held: "count",
      kept: "count",
      left_out: [{ ordinal: "count", records: "count", reason: oneOf("held", "out of scope", "drifted", "amended") }],
      own: [{ kind: "name", count: "count", bytes: "count" }],
      shared: [{ kind: "name", owner: "name" }],
    },
  ],
  records: "count",
  annex: "digest",
  "supersedes?": "digest",
  "volumes?": [
    {
      name: "name",
      owner: "name",
      filesystem: "name",
      bytes: "count",
      stores: ["name"],
      quiesced: "truth",
      kept: "count",
      grade: GRADE,
      why_not_higher: "line",
      actions: ["name"],
    },
  ],
  "steps?": [{ says: SAYING, about: "name", by: [ROLE] }],
};

const CHALLENGE = {
  organisation: "name",
  signed: "count",
  against: CHECKPOINT,
  nonce: "digest",
  next_nonce: "digest",
  stores: [{ name: "name", chunks: "count", drawn: "count", matched: "count", draw: "digest", read: "truth" }],
  brought: "count",
  found: "count",
  recall: [RECALL],
  tool: "line",
  decision: DECISION,
  reasons: ["line"],
};

const DESTRUCTION = {
  number: "count",
  started: "count",
  finished: "count",
  journal: "digest",
  stores: [
    {
      name: "name",
      collections: [
        {
          ordinal: "count",
          records: "count",
          as_sealed: "count",
          watched: "count",
          unknown: "count",
          partitions: "count",
          remaining: "count",
          "reason?": "line",
        },
      ],
      reached: GRADE,
      why_not_higher: "line",
      overwritten: "count",
      returned: "count",
      notes: ["line"],
    },
  ],
  complete: "truth",
  "volumes?": [
    {
      name: "name",
      reached: GRADE,
      why_not_higher: "line",
      actions: [{ kind: "name", count: "count", bytes: "count" }],
      free: "count",
      blank: "count",
    },
  ],
};

const PROBE = {
  organisation: "name",
  signed: "count",
  against: CHECKPOINT,
  nonce: "digest",
  next_nonce: "digest",
  needles: "count",
  stores: [
    {
      name: "name",
      asked: GRADE,
      reached: GRADE,
      why_not_higher: "line",
      places: "count",
      bytes: "count",
      residue: "count",
      kept_elsewhere: "count",
      strangers: "count",
      found: [RESIDUE],
      recall: [RECALL],
      unreachable: ["line"],
      read: "truth",
      "restores?": [{ method: "name", tool: "name", version: "name", rows: "count", records: "count", note: "line" }],
    },
  ],
  tool: "line",
  share_destroyed: "truth",
  decision: DECISION,
  reasons: ["line"],
  "volumes?": [
    {
      name: "name",
      stores: ["name"],
      filesystem: "name",
      state: oneOf("frozen", "read-only", "moving", "not read"),
      bytes: "count",
      read: "count",
      free: "count",
      blank: "count",
      reached: GRADE,
      why_not_higher: "line",
      residue: "count",
      kept_elsewhere: "count",
      strangers: "count",
      found: [RESIDUE],
      recall: [RECALL],
      restores: [{ method: "name", tool: "name", version: "name", recovered: "count", values: "count", note: "line" }],
      referees: [{ tool: "name", version: "name", bytes: "count", values: "count", missed: "count", note: "line" }],
      unreachable: ["line"],
      "notes?": ["line"],
    },
  ],
  "apps?": [
    {
      app: "name",
      check: oneOf("endpoint", "port", "job", "role"),
      state: oneOf("gone", "still there", "not looked at"),
      note: "line",
    },
  ],
};

const TESTIMONY = {
  organisation: "name",
  role: ROLE,
  signed: "count",
  says: SAYING,
  about: "name",
  evidence: ["digest"],
  "why?": "line",
};

const CERTIFICATE = {
  log: CHECKPOINT,
  issued: "count",
  sealed: "count",
  destroyed: "count",
  as_sealed: "count",
  watched: "count",
  unknown: "count",
  held: "count",
  kept: "count",
  collections: "count",
  returned: "count",
  stores: [
    {
      name: "name",
      asked: GRADE,
      planned: GRADE,
      reached: GRADE,
      why_not_higher: "line",
      sealed: "count",
      destroyed: "count",
      held: "count",
      kept: "count",
      returned: "count",
      kept_elsewhere: "count",
      strangers: "count",
      collections: [
        {
          ordinals: ["count"],
          sealed: "count",
          destroyed: "count",
          as_sealed: "count",
          watched: "count",
          unknown: "count",
          outcome: oneOf("destroyed", "partly destroyed", "not destroyed", "left out"),
        },
      ],
      unreachable: ["line"],
    },
  ],
  batches: "count",
  abandoned: ["digest"],
  shares_not_destroyed: ["name"],
  limits: ["line"],
  "persons?": "count",
  "volumes?": [
    {
      name: "name",
      stores: ["name"],
      filesystem: "name",
      reached: GRADE,
      why_not_higher: "line",
      read: "count",
      restores: "count",
      referees: ["name"],
    },
  ],
};

const BODIES = new Map([
  ["charter", CHARTER],
  ["approval", APPROVAL],
  ["inventory", INVENTORY],
  ["seal", SEAL],
  ["plan", PLAN],
  ["challenge", CHALLENGE],
  ["destruction", DESTRUCTION],
  ["probe", PROBE],
  ["testimony", TESTIMONY],
  ["certificate", CERTIFICATE],
]);

/** The wrapper of a statement, by which entries are sorted into cases: what is cited, and where the body is. */
function readWrapper(payload) {
  const outer = readCanonical(payload);
  if (!hasExactly(outer, "_type", "predicate", "predicateType", "subject")) {
    throw new ProofError("the payload of an envelope is not a statement");
  }
  const { _type: type, predicate, predicateType, subject } = outer;
  const kind =
    typeof predicateType === "string" && predicateType.startsWith(KIND_PREFIX)
      ? predicateType.slice(KIND_PREFIX.length)
      : null;
  const detached = hasExactly(predicate, "bytes", "detached") ? predicate : null;
  return { type, kind, cites: readCites(subject), predicate, detached, bytes: payload.length };
}

/** The statement under a wrapper; `attachments` is a map of SHA-256 in hexadecimal to detached bodies. */
function readStatement(wrapper, attachments) {
  if (wrapper.type !== STATEMENT_TYPE)
    throw new ProofError("the payload of an envelope is not an in-toto Statement v1");
  const { kind } = wrapper;
  if (!BODIES.has(kind)) throw new ProofError("a statement is of a kind that this version does not know");
  const body = wrapper.detached ? detachedBody(wrapper.detached, attachments) : wrapper.predicate;
  decode(body, BODIES.get(kind), kind);
  if (wrapper.detached === null && wrapper.bytes > MOST_INLINE_BYTES && bodyBytes(body) > MOST_INLINE_BYTES) {
    throw new ProofError(`a ${kind} of more than 40,000 bytes is not detached`);
  }
  return { kind, body, cites: wrapper.cites };
}

/** The digest of the one statement of a kind that is cited, or null. */
function cited(statement, kind) {
  const found = statement.cites.filter((cite) => cite.kind === kind);
  if (found.length > 1)
    throw new ProofError(`a ${statement.kind} cites ${found.length} statements of kind ${kind}, not one`);
  return found.length ? found[0].digest : null;
}

function readCites(subject) {
  if (!Array.isArray(subject) || subject.length < 1 || subject.length > MOST_CITES) {
    throw new ProofError("the subject of a statement is not a list of 1 to 10,000 citations");
  }
  return subject.map((item) => {
    if (!hasExactly(item, "digest", "name") || !hasExactly(item.digest, "sha256")) {
      throw new ProofError("a citation does not have exactly a name and a digest");
    }
    if (!TYPES.name(item.name) || !TYPES.digest(item.digest.sha256)) {
      throw new ProofError("a citation's name or digest is not of the form it must have");
    }
    return { kind: item.name, digest: item.digest.sha256 };
  });
}

function detachedBody(reference, attachments) {
  const bytes = attachments.get(reference.detached);
  if (bytes === undefined) throw new ProofError("a statement's detached body is missing from the proof file");
  if (bytes.length !== reference.bytes)
    throw new ProofError("a statement's detached body has another length than it names");
  if (bytes.length <= MOST_INLINE_BYTES) throw new ProofError("a body of 40,000 bytes or fewer is detached");
  return readCanonical(bytes, { limit: MOST_DETACHED_BYTES });
}

function bodyBytes(body) {
  return utf8(writeCanonical(body)).length;
}

/** Refuses a value that is not of its type, naming where, never what. */
function decode(value, type, where) {
  if (Array.isArray(type)) decodeList(value, type[0], where);
  else if (type instanceof Set) check(typeof value === "string" && type.has(value), where);
  else if (typeof type === "string") check(TYPES[type](value), where);
  else decodeObject(value, type, where);
}

function decodeList(value, type, where) {
  if (!Array.isArray(value) || value.length > MOST_ITEMS) throw new ProofError(`${where} must be a list`);
  value.forEach((item, i) => decode(item, type, `${where}[${i}]`));
}

function decodeObject(value, type, where) {
  if (!isObject(value)) throw new ProofError(`${where} must be an object`);
  let known = 0;
  for (const [member, memberType] of Object.entries(type)) {
    const optional = member.endsWith("?");
    const name = optional ? member.slice(0, -1) : member;
    if (!(name in value)) {
      if (optional) continue;
      throw new ProofError(`${where} lacks the member ${name}`);
    }
    known++;
    if (optional && Array.isArray(value[name]) && !value[name].length) {
      throw new ProofError(`${where}.${name} must be left out where there is nothing to list`);
    }
    decode(value[name], memberType, `${where}.${name}`);
  }
  if (Object.keys(value).length !== known) throw new ProofError(`${where} has a member that is not known`);
}

function check(good, where) {
  if (!good) throw new ProofError(`${where} is not of the form it must have`);
}

function isText(value, least, most) {
  if (typeof value !== "string" || CONTROL.test(value)) return false;
  // UTF-16 takes one or two units a character: count only where that leaves a doubt.
  if (value.length > 2 * most) return false;
  const length = value.length > most ? codePoints(value) : value.length;
  return length >= least && length <= most;
}
