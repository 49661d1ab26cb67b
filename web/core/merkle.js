// Trees of RFC 6962 with SHA-256 (spec/log.md, part 1).

const HASH_BYTES = 32;

function leafHash(entry) {
  return sha256(concat(new Uint8Array([0]), entry));
}

function nodeHash(left, right) {
  return sha256(concat(new Uint8Array([1]), left, right));
}

/** All complete subtrees over a sequence of leaf hashes, so that the root at any size takes a few hashes. */
class MerkleTree {
  /** Built level by level, many hashes at once. */
  static async of(leaves, progress) {
    const levels = [leaves];
    while (levels.at(-1).length > 1) levels.push(await MerkleTree.above(levels.at(-1), progress));
    return new MerkleTree(levels);
  }

  static above(level, progress) {
    const pairs = Array.from({ length: level.length >> 1 }, (_, i) => 2 * i);
    return inWindows(pairs, (i) => nodeHash(level[i], level[i + 1]), progress);
  }

  constructor(levels) {
    this.levels = levels;
  }

  get size() {
    return this.levels[0].length;
  }

  /** The root over the first `size` leaves. */
  async root(size = this.size) {
    let value = null;
    // From the right: the smallest complete subtree first, each joined from the left by the next larger one.
    for (let end = size; end > 0;) {
      const height = lowestBit(end);
      const peak = this.levels[height][(end >> height) - 1];
      value = value === null ? peak : await nodeHash(peak, value);
      end -= 2 ** height;
    }
    return value ?? sha256(new Uint8Array());
  }
}

async function rootOver(leaves) {
  return (await MerkleTree.of(leaves)).root();
}

/** That `leaf` stands at `index` of the tree of `size` leaves under `root` (RFC 9162, 2.1.3.2). */
async function checkInclusion(index, size, leaf, proof, root) {
  if (!(index >= 0 && index < size)) throw new ProofError(`there is no leaf ${index} in a tree of ${size}`);
  checkHashes([leaf, root, ...proof]);
  let position = index;
  let last = size - 1;
  let value = leaf;
  for (const sibling of proof) {
    if (last === 0) throw new ProofError("the inclusion proof is longer than the tree is high");
    if (position % 2 === 1 || position === last) {
      value = await nodeHash(sibling, value);
      while (position % 2 === 0 && position !== 0) {
        position = Math.floor(position / 2);
        last = Math.floor(last / 2);
      }
    } else {
      value = await nodeHash(value, sibling);
    }
    position = Math.floor(position / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0) throw new ProofError("the inclusion proof is shorter than the tree is high");
  if (!sameBytes(value, root)) throw new ProofError(`the inclusion proof of leaf ${index} leads to another root`);
}

/** That the tree of `oldSize` leaves is the beginning of that of `newSize` (RFC 9162, 2.1.4.2). */
async function checkConsistency(oldSize, newSize, oldRoot, newRoot, proof) {
  if (!(oldSize >= 0 && oldSize <= newSize)) throw new ProofError("a tree cannot shrink");
  checkHashes([oldRoot, newRoot, ...proof]);
  if (oldSize === 0 || oldSize === newSize) {
    if (proof.length) throw new ProofError("the consistency proof must be empty: there is nothing to show");
    if (oldSize === 0 && !sameBytes(oldRoot, await sha256(new Uint8Array()))) {
      throw new ProofError("the root of the empty tree is not the hash of nothing");
    }
    if (oldSize === newSize && !sameBytes(oldRoot, newRoot)) {
      throw new ProofError(`there are two roots for one tree of ${newSize} leaves`);
    }
    return;
  }
  // A complete old tree is itself the first node of the path.
  const path = 2 ** lowestBit(oldSize) === oldSize ? [oldRoot, ...proof] : proof;
  if (!path.length) throw new ProofError("the consistency proof is empty");
  let position = oldSize - 1;
  let last = newSize - 1;
  while (position % 2 === 1) {
    position = Math.floor(position / 2);
    last = Math.floor(last / 2);
  }
  let older = path[0];
  let newer = path[0];
  for (const sibling of path.slice(1)) {
    if (last === 0) throw new ProofError("the consistency proof is longer than the tree is high");
    if (position % 2 === 1 || position === last) {
      older = await nodeHash(sibling, older);
      newer = await nodeHash(sibling, newer);
      while (position % 2 === 0 && position !== 0) {
        position = Math.floor(position / 2);
        last = Math.floor(last / 2);
      }
    } else {
      newer = await nodeHash(newer, sibling);
    }
    position = Math.floor(position / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0) throw new ProofError("the consistency proof is shorter than the tree is high");
  if (!sameBytes(older, oldRoot) || !sameBytes(newer, newRoot)) {
    throw new ProofError(`the trees of ${oldSize} and ${newSize} leaves are not one history`);
  }
}

function checkHashes(hashes) {
  if (hashes.some((hash) => hash.length !== HASH_BYTES)) throw new ProofError("a hash does not have 32 bytes");
}

/** The exponent of the largest power of two that divides a number above 0. */
function lowestBit(number) {
  let height = 0;
  while (number % 2 === 0) {
    number /= 2;
    height++;
  }
  return height;
}
