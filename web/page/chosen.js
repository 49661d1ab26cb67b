// What somebody chose or dropped: told apart by how it begins, never by its name alone.

const MOST_TEXT = 1 << 20; // spec/trust.md: a trust file has at most 1 MiB
const MOST_DROPPED = 1000;

/** A file that can be used, {name, kind, size, blob, text}, or a note about it, {note, args}. */
async function recognise(file, called) {
  try {
    const start = new TextDecoder().decode(await file.slice(0, 4096).arrayBuffer());
    if (start.includes('"cenotaph-secret-key/')) return { note: "page.secret", args: { name: called } };
    if (start.startsWith("%PDF-")) return { name: called, kind: "paper", size: file.size, blob: file };
    if (start.includes('"cenotaph-proof/') || called.endsWith(".cenotaph")) return { name: called, kind: "proof", size: file.size, blob: file };
    if (file.size > MOST_TEXT) return { note: "page.large", args: { name: called } };
    const content = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());
    return { name: called, kind: kindOfText(content, called), size: file.size, text: content };
  } catch (error) {
    if (error instanceof TypeError) return { note: "page.not-text", args: { name: called } };
    if (error instanceof DOMException) return { note: "page.unreadable", args: { name: called } };
    throw error;
  }
}

function kindOfText(content, called) {
  if (content.includes('"cenotaph-public-key/') && content.trimStart().startsWith("{")) return "key";
  if (content.includes("-----BEGIN CERTIFICATE-----")) return "certificate";
  if (called.endsWith(".toml") || content.includes("[[party]]")) return "trust";
  return "other";
}

/** Files with the names they were dropped under, the files of dropped folders among them. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null).filter((entry) => entry !== null);
  if (entries.length === 0) return [...transfer.files].map((file) => [file, file.name]);
  const found = [];
  for (const entry of entries) await gather(entry, found);
  return found;
}

async function gather(entry, found) {
  if (found.length >= MOST_DROPPED) return;
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    found.push([file, entry.fullPath.replace(/^\//, "")]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (some.length === 0) return;
    for (const inner of some) await gather(inner, found);
  }
}
