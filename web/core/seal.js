// The trees of a seal: collections under stores, stores under the estate (spec/seal.md, "Trees").

const CHUNK_RECORDS = 4096;
const MERGED_BELOW = 10; // records: smaller collections are published merged

/** Recomputes every published total and root (rule 4). Raises at step 7 of spec/verify.md. */
async function checkSeal(seal) {
  if (seal.chunk_records !== CHUNK_RECORDS)
    throw unsound(`the seal's chunks hold ${seal.chunk_records} records, not 4096`);
  if (new Set(seal.stores.map((store) => store.name)).size !== seal.stores.length) {
    throw unsound("the seal names a store twice");
  }
  for (const store of seal.stores) await checkSealedStore(store);
  if (!addsUp(seal, seal.stores) || (await rootOfEntries(seal.stores.map(storeEntry))) !== seal.root) {
    throw unsound("the seal's stores do not add up to the estate's root or totals");
  }
}

async function checkSealedStore(store) {
  for (const group of store.collections) checkGroup(store.name, group);
  const ordinals = store.collections.flatMap((group) => group.ordinals);
  if (new Set(ordinals).size !== ordinals.length)
    throw unsound(`the seal of store ${store.name} counts a collection twice`);
  if (
    !addsUp(store, store.collections) ||
    (await rootOfEntries(store.collections.map(collectionEntry))) !== store.root
  ) {
    throw unsound(`the seal of store ${store.name} does not add up to its root or totals`);
  }
}

/** A group of no collection would hold records of nothing; one of large collections would hide them. */
function checkGroup(store, group) {
  const { ordinals, records, chunks } = group;
  if (!ordinals.length) throw unsound(`the seal of store ${store} counts records of no collection`);
  if (ordinals.length > 1 && records > (MERGED_BELOW - 1) * ordinals.length) {
    throw unsound(`the seal of store ${store} merges collections that are not small`);
  }
  if (chunks > records || records > chunks * CHUNK_RECORDS) {
    throw unsound(`the seal of store ${store} has more records than its chunks can hold, or fewer`);
  }
}

function addsUp(whole, parts) {
  return ["records", "bytes", "chunks"].every((total) => whole[total] === sum(parts.map((part) => part[total])));
}

function collectionEntry(item) {
  const totals = u64(item.records, item.bytes, item.chunks);
  return concat(utf8("collection"), u64s([item.ordinals.length, ...item.ordinals]), totals, unhex(item.root));
}

function storeEntry(item) {
  const name = utf8(item.name);
  return concat(utf8("store"), u64(name.length), name, u64(item.records, item.bytes, item.chunks), unhex(item.root));
}

async function rootOfEntries(entries) {
  return hex(await rootOver(await inWindows(entries, leafHash)));
}

function unsound(message) {
  return new ProofError(message, "verify 7");
}
