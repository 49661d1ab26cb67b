// One statement, one signer: a DSSE envelope in canonical JSON (spec/envelope.md, part 2).

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const MOST_ENVELOPE_BYTES = 65535;
const SIGNED_PREFIX = utf8(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} `);

/** An envelope as read: `payload`, `keyId`, `signature`. Nothing is verified yet. */
function readEnvelope(bytes) {
  const value = readCanonical(bytes, { limit: MOST_ENVELOPE_BYTES, depth: 3 });
  if (!hasExactly(value, "payload", "payloadType", "signatures")) throw new ProofError("an entry is not an envelope");
  if (value.payloadType !== PAYLOAD_TYPE) throw new ProofError("an envelope holds another type of payload");
  const { signatures } = value;
  if (!Array.isArray(signatures) || signatures.length !== 1 || !hasExactly(signatures[0], "keyid", "sig")) {
    throw new ProofError("an envelope does not have exactly one signature");
  }
  const { keyid, sig } = signatures[0];
  if (typeof keyid !== "string" || !/^[0-9a-f]{64}$/.test(keyid)) {
    throw new ProofError("the key id of an envelope is not 64 lower-case hexadecimal digits");
  }
  if (typeof value.payload !== "string" || typeof sig !== "string") {
    throw new ProofError("the payload and the signature of an envelope are base64 texts");
  }
  const signature = fromBase64(sig);
  if (signature.length !== 64) throw new ProofError("the signature of an envelope does not have 64 bytes");
  return { payload: fromBase64(value.payload), keyId: keyid, signature };
}

/** Whether this party signed this envelope: its key id is named, and its signature verifies. */
async function isSignedBy(envelope, party) {
  return (
    envelope.keyId === party.keyId && verifiesEd25519(party.ed25519, envelope.signature, signedBytes(envelope.payload))
  );
}

/** The pre-authentication encoding (DSSE protocol.md). */
function signedBytes(payload) {
  return concat(SIGNED_PREFIX, utf8(`${payload.length} `), payload);
}
