/**
 * The base of every error in Fieldproof, and the table of protocol codes.
 *
 * A code is stable: people search for it, counters are named after it, rejects carry it.
 * `docs/errors.md` has one row per code, and a test compares the two.
 */

export interface ErrorRow {
  /** What went wrong, one sentence for a person. */
  readonly what: string;
  /** What that person can do about it. */
  readonly remedy: string;
}

/** Base class: `code` is stable, `message` says what, expected, got. */
export class FieldproofError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

export const PROTOCOL_ERRORS = {
  ERR_ARGUMENT: {
    what: 'A function was called with an argument outside its domain.',
    remedy: 'Fix the calling code; the message names the argument.',
  },
  ERR_CBOR_MALFORMED: {
    what: 'The bytes are not well-formed CBOR (RFC 8949 section 3).',
    remedy: 'Encode with a conforming CBOR library and send the bytes unchanged.',
  },
  ERR_CBOR_NOT_DETERMINISTIC: {
    what: 'The CBOR is well-formed but not deterministically encoded (RFC 8949 section 4.2.1).',
    remedy: 'Use shortest forms, definite lengths and map keys sorted by their encoded bytes.',
  },
  ERR_CBOR_LIMIT: {
    what: 'The CBOR is nested too deeply or holds too many items.',
    remedy: 'Send flatter, smaller messages; the limits are in docs/spec/envelope.md.',
  },
  ERR_COSE_MALFORMED: {
    what: 'The bytes are not a COSE_Sign1 message (RFC 9052 section 4.2).',
    remedy: 'Send tag 18 with [protected, unprotected, payload, signature].',
  },
  ERR_COSE_ALGORITHM: {
    what: 'The algorithm is not Ed25519 (-19) or EdDSA (-8).',
    remedy: 'Sign with Ed25519 and state alg -19 in the protected header.',
  },
  ERR_SIGNATURE_INVALID: {
    what: 'The signature does not verify under the key and context.',
    remedy: 'Check the signing key, the external_aad (network and kind) and that no byte changed.',
  },
  ERR_KEY_INVALID: {
    what: 'The public key is not a usable Ed25519 key (not canonical, not a point, or small order).',
    remedy: 'Generate a new key pair.',
  },
  ERR_DID_MALFORMED: {
    what: 'The text is not a did:key of an Ed25519 key.',
    remedy: 'Use did:key:z6Mk… as printed by the agent.',
  },
  ERR_SENML_MALFORMED: {
    what: 'The payload is not valid SenML (RFC 8428).',
    remedy: 'The message names the record and field; see docs/spec/telemetry.md.',
  },
  ERR_COLUMNS_MALFORMED: {
    what: 'The payload is not a valid columns batch.',
    remedy: 'See docs/spec/telemetry.md, section Columns.',
  },
  ERR_EDGE_RESULT_MALFORMED: {
    what: 'The payload is not a valid result of edge functions.',
    remedy: 'The message names the part; see docs/spec/edge-results.md.',
  },
  ERR_ENVELOPE_HEADER: {
    what: 'The protected header of the envelope lacks a label, or has one that is not allowed.',
    remedy: 'State alg, content type, kid and the stamp as in docs/spec/envelope.md section 2.',
  },
  ERR_TOO_LARGE: {
    what: 'The envelope is longer than 60,000 bytes.',
    remedy: 'Seal smaller batches.',
  },
  ERR_TOPIC_MALFORMED: {
    what: 'The topic does not have the shape fp/1/<network>/d/<deviceId>/<kind>.',
    remedy: 'Publish to the topics of docs/spec/topics.md.',
  },
  ERR_MESSAGE_MALFORMED: {
    what: 'The payload does not have the shape that its kind asks for.',
    remedy: 'The message names the key; see docs/spec/messages.md.',
  },
  ERR_NETWORK_MISMATCH: {
    what: 'A signed statement belongs to another network.',
    remedy: 'Use the join line of the network that you mean to join.',
  },
  ERR_DESCRIPTOR_VERSION: {
    what: 'The network descriptor is not newer than the one that was in force.',
    remedy: 'Take the newest one of the network; sign a draft of its present state.',
  },
  ERR_JOIN_LINE: {
    what: 'The text is not a join line.',
    remedy: 'Paste the whole line beginning with fieldproof:// that the operator shows.',
  },
  ERR_PROOF_INVALID: {
    what: 'A Merkle proof does not lead to the stated root (RFC 6962 section 2.1).',
    remedy: 'Fetch the proof again; if it still fails, the log is misbehaving: keep both files.',
  },
  ERR_TILE_MALFORMED: {
    what: 'A tile path, tile or entry bundle does not have the form of C2SP tlog-tiles.',
    remedy: 'Fetch the file again by the path that the tree size asks for.',
  },
  ERR_ENTRY_MALFORMED: {
    what: 'The bytes or fields are not a log entry of a known type.',
    remedy:
      'The message names the field; the entries are in docs/spec/evidence-log.md, ledger-log.md.',
  },
  ERR_CONFIG_INVALID: {
    what: 'A desired state has mistakes, or asks for what the device does not have.',
    remedy: 'Correct what the reasons name, one by one, and issue it again.',
  },
  ERR_CONFIG_STALE: {
    what: 'The desired state is not newer than one that the device has judged already.',
    remedy: 'Issue it again: the next version is above the newest one that the device reports.',
  },
  ERR_CONFIG_EXPIRED: {
    what: 'The desired state had expired when it came.',
    remedy: 'Issue it again with a later end; check the clocks of operator and device.',
  },
  ERR_CONFIG_NOT_ALLOWED: {
    what: "The device's owner does not take desired states, or not this part of them.",
    remedy: 'Ask the owner: the key remote of agent.yaml says what is allowed.',
  },
  ERR_CONFIG_NOT_KEPT: {
    what: 'The device could not store the desired state, and did not apply it.',
    remedy: 'Check disk and card of the device with fieldproof-agent doctor; it is sent again.',
  },
  ERR_CONFIG_NO_READINGS: {
    what: 'After the change a sensor gave no readings any more; the change was taken back.',
    remedy: 'The reasons name the sensors; ask for less often, or look at the device.',
  },
  ERR_CONFIG_RESTARTS: {
    what: 'The device started several times before the change had proved itself.',
    remedy: 'The change was taken back; look at the log of the device for what ended it.',
  },
  ERR_FRAME_TORN: {
    what: 'The bytes end before the frame does.',
    remedy: 'Ask for the frame again: the connection or the file ended too early.',
  },
  ERR_FRAME_CORRUPT: {
    what: 'A frame has a wrong checksum, length or index.',
    remedy: 'Read it again; if it still fails, the stored bytes have changed: restore a backup.',
  },
  ERR_NOTE_MALFORMED: {
    what: 'The text is not a signed note or checkpoint (C2SP signed-note, tlog-checkpoint).',
    remedy: 'Fetch the checkpoint again without changing its bytes.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ProtocolErrorCode = keyof typeof PROTOCOL_ERRORS;

/** Thrown by every `decode*`, `parse*` and `verify*` of this package. */
export class ProtocolError extends FieldproofError {
  declare readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}
