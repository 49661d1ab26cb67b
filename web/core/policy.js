// Which witnesses are enough: the grammar of C2SP tlog-policy (spec/trust.md).
//
// A quorum is one witness or a group: k of its members, any, or all; members are witnesses and groups that were
// defined above it.

const MOST_POLICY_BYTES = 262144;
const MOST_DEFINED = 256; // logs, witnesses and groups, each
const NO_QUORUM = "none";
const VERIFIER_KEY = /^([^+\n]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/;
const KEY_BYTES = new Map([
  [SIGNATURE, 32],
  [COSIGNATURE, 32],
  [MLDSA_COSIGNATURE, 1312],
]);

/** The policy that a text is: `logs`, `witnesses`, `groups` and the name of the `quorum`. */
async function readPolicy(text) {
  if (utf8(text).length > MOST_POLICY_BYTES) throw new ProofError("the policy is larger than 256 KiB");
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) {
    throw new ProofError("the policy holds a control character other than tab and line feed");
  }
  if (text !== "" && !text.endsWith("\n"))
    throw new ProofError("the last line of the policy does not end with a line feed");
  const reader = new PolicyReader();
  for (const [i, line] of text.split("\n").entries()) {
    const words = line.split(/[ \t]+/).filter((word) => word !== "");
    if (words.length && !words[0].startsWith("#")) await reader.take(i + 1, words);
  }
  return reader.policy();
}

/**
 * When the quorum of a policy was complete, given the time of each cosignature by key (`type` and hexadecimal digits);
 * null while it is not, 0 where no cosignature is asked for.
 */
function policyTime(policy, timeOfKey) {
  if (policy.quorum === NO_QUORUM) return 0;
  // A group can only name what stands before it: one pass in order, however deeply groups are nested.
  const known = new Map(policy.witnesses.map(({ name, key }) => [name, timeOfKey(key)]));
  for (const { name, threshold, members } of policy.groups) {
    const reached = members.map((member) => known.get(member)).filter((time) => time !== null);
    known.set(name, reached.length < threshold ? null : reached.sort((a, b) => a - b)[threshold - 1]);
  }
  return known.get(policy.quorum);
}

/** A key in the form that logs and witnesses publish, name+hash+key: its `name`, `type` and `public` digits. */
async function readVerifierKey(text) {
  const match = VERIFIER_KEY.exec(text);
  if (match === null || /\p{White_Space}/u.test(match[1]))
    throw new ProofError("a note key is not written as name+hash+key");
  const encoded = fromBase64(match[3]);
  const key = { name: match[1], type: encoded[0], public: hex(encoded.subarray(1)) };
  if (KEY_BYTES.get(key.type) !== encoded.length - 1) throw new ProofError("a note key is of a type that is not known");
  if ((await noteKeyHash(key.name, key.type, key.public)) !== match[2]) {
    throw new ProofError("the hash in a note key does not belong to the key");
  }
  return key;
}

class PolicyReader {
  constructor() {
    this.logs = [];
    this.witnesses = [];
    this.groups = [];
    this.quorums = [];
    this.defined = new Set([NO_QUORUM]);
    this.members = new Set();
  }

  async take(number, [word, ...words]) {
    try {
      if (word === "log") await this.log(words);
      else if (word === "witness") await this.witness(words);
      else if (word === "group") this.group(words);
      else if (word === "quorum") this.quorum(words);
      else throw new ProofError("it is none of log, witness, group, quorum");
    } catch (error) {
      if (error instanceof ProofError) error.message = `line ${number} of the policy: ${error.message}`;
      throw error;
    }
  }

  policy() {
    if (this.quorums.length !== 1) throw new ProofError("a policy does not have exactly one quorum line");
    const { logs, witnesses, groups, quorums } = this;
    return { logs, witnesses, groups, quorum: quorums[0] };
  }

  async log(words) {
    if (words.length < 1 || words.length > 2) throw new ProofError("a log line has a key and perhaps an address");
    this.logs.push(await this.newKey(words[0], [SIGNATURE, MLDSA_COSIGNATURE], this.logs));
  }

  async witness(words) {
    if (words.length < 2 || words.length > 3)
      throw new ProofError("a witness line has a name, a key and perhaps an address");
    const key = await this.newKey(
      words[1],
      [COSIGNATURE, MLDSA_COSIGNATURE],
      this.witnesses.map((witness) => witness.key),
    );
    this.witnesses.push({ name: this.define(words[0]), key });
  }

  group(words) {
    if (words.length < 3) throw new ProofError("a group line has a name, a number (or any, or all) and members");
    if (this.groups.length === MOST_DEFINED) throw new ProofError("there are more than 256 groups");
    const [name, count, ...members] = words;
    for (const member of members) {
      this.checkKnown(member);
      if (this.members.has(member))
        throw new ProofError("a name is a member of a group already; it can count only once");
      this.members.add(member);
    }
    this.groups.push({ name: this.define(name), threshold: thresholdOf(count, members.length), members });
  }

  quorum(words) {
    if (words.length !== 1) throw new ProofError("a quorum line has one name");
    if (words[0] !== NO_QUORUM) this.checkKnown(words[0]);
    this.quorums.push(words[0]);
  }

  async newKey(text, types, others) {
    const key = await readVerifierKey(text);
    if (!types.includes(key.type)) throw new ProofError("the key is of a type that is not for this kind of line");
    if (others.some((other) => other.public === key.public))
      throw new ProofError("the key stands in the policy already");
    if (others.length === MOST_DEFINED) throw new ProofError("there are more than 256 keys of this kind");
    return key;
  }

  define(name) {
    if (this.defined.has(name)) throw new ProofError("the name is taken");
    this.defined.add(name);
    return name;
  }

  checkKnown(name) {
    if (name === NO_QUORUM || !this.defined.has(name))
      throw new ProofError("a name is not defined on a line before this one");
  }
}

function thresholdOf(word, members) {
  if (word === "all") return members;
  if (word === "any") return 1;
  if (!/^[1-9][0-9]{0,2}$/.test(word) || Number(word) > members) {
    throw new ProofError("the threshold of a group is any, all, or a number from 1 to that of its members");
  }
  return Number(word);
}
