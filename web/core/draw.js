// Samples that nobody could foresee and anybody can draw again (spec/challenge.md, "Draw"; spec/approval.md).

const PPM = 1000000;
const AT_ONCE = 64; // hashes of the stream of numbers that are computed together

/** Commitment to a secret: `what` is "share", "challenge nonce", "probe nonce" or "outside records". */
function commitment(what, secret) {
  return sha256Hex(prefixed(utf8("cenotaph/v1 commitment"), utf8(what), secret));
}

/** What fixes a draw: `domain` "challenge" or "probe"; case, statement, key id and nonce in hexadecimal. */
function drawSeed(domain, caseId, statement, keyId, nonce) {
  return sha256(prefixed(utf8(domain), unhex(caseId), unhex(statement), unhex(keyId), unhex(nonce)));
}

/** Clean chunks that bound the bad fraction: the smallest n with (1 − bound)^n ≤ 1 − confidence. */
function chunksNeeded(boundPpm, confidencePpm) {
  const n = Math.log1p(-confidencePpm / PPM) / Math.log1p(-boundPpm / PPM);
  return Math.ceil(n - 1e-9);
}

/** A lower bound, with 95 % confidence, of what a search finds, in whole percents (spec/verify.md, "Verdict"). */
function leastPercent(found, sampled) {
  if (sampled === 0) return 0;
  const bound =
    found === sampled ? Math.pow(0.05, 1 / sampled) : found / sampled - Math.sqrt(-Math.log(0.05) / (2 * sampled));
  return Math.floor(100 * Math.max(0, bound));
}

/** `count` distinct numbers below `population`, ascending; all of them where the count reaches it. */
async function drawSample(seed, label, population, count) {
  if (count >= population) return Array.from({ length: population }, (_, i) => i);
  const stream = new NumberStream(seed, label);
  const chosen = new Set();
  for (let top = population - count; top < population; top++) {
    const pick = await stream.below(top + 1);
    chosen.add(chosen.has(pick) ? top : pick);
  }
  return [...chosen].sort((a, b) => a - b);
}

/** What a challenge says of the chunks it drew. */
function drawDigest(numbers) {
  return sha256Hex(concat(utf8("cenotaph/v1 draw\0"), u64s(numbers)));
}

/** Four u64 from each SHA-256( lp(seed) ‖ lp(label) ‖ lp(u64 i) ). */
class NumberStream {
  constructor(seed, label) {
    this.seed = seed;
    this.label = utf8(label);
    this.counter = 0;
    this.numbers = [];
    this.at = 0;
  }

  async below(limit) {
    const bound = BigInt(limit);
    const ceiling = 2n ** 64n - (2n ** 64n % bound);
    for (;;) {
      if (this.at === this.numbers.length) await this.more();
      const number = this.numbers[this.at++];
      if (number < ceiling) return Number(number % bound);
    }
  }

  async more() {
    const counters = Array.from({ length: AT_ONCE }, () => this.counter++);
    const blocks = await Promise.all(counters.map((i) => sha256(prefixed(this.seed, this.label, u64(i)))));
    this.at = 0;
    this.numbers = blocks.flatMap((block) => {
      const view = new DataView(block.buffer);
      return [0, 8, 16, 24].map((at) => view.getBigUint64(at));
    });
  }
}
