/**
 * The envelope: the COSE_Sign1 profile of every signed message. docs/spec/envelope.md.
 *
 * Narrower than RFC 9052: tag required, unprotected map empty, four labels at most, deterministic
 * encoding. Times, sequence and payloads are judged elsewhere.
 */

import { type CborValue, decode, encode, Tagged } from './cbor.ts';
import { CborWriter } from './cbor-writer.ts';
import { sigStructure, writeSigStructure } from './cose.ts';
import { kidOf } from './ed25519.ts';
import { ProtocolError } from './errors.ts';
import type { DownKind, UpKind } from './topics.ts';

/** Longest envelope on the wire, in bytes: bounds what one message can cost a broker. */
export const MAX_ENVELOPE_BYTES = 60_000;
/** The same of kind `relay`, so that a gateway can carry whatever a leaf may send. docs/spec/envelope.md 1.1. */
export const MAX_RELAY_BYTES = 60_400;

export const CONTENT_TYPES = {
  cbor: 60,
  cwt: 61,
  senml: 112,
  columns: 65001,
  edgeResult: 65002,
} as const;
export type ContentType = (typeof CONTENT_TYPES)[keyof typeof CONTENT_TYPES];

export const BOOT_SEED_BYTES = 4;

/** Where in a device's life an up envelope was sealed. Section 3. */
export interface Stamp {
  readonly bootCounter: number;
  /** Four random bytes drawn at the start of the boot. */
  readonly bootSeed: Uint8Array;
  readonly seq: number;
  /** Monotonic ms since the start of the boot. */
  readonly bootMs: number;
  /** Greatest error of the wall clock in ms, or null while it is not synchronised. */
  readonly boundMs: number | null;
}

export interface Signer {
  /** Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly sign: (message: Uint8Array) => Uint8Array;
}

/** Whether a signature verifies. The message is the function's to read until it returns, and not to keep. */
export type Verify = (signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array) => boolean;

/** The parts of an envelope whose signature nobody has checked: never treat them as true. */
export interface UnverifiedEnvelope {
  readonly protectedBytes: Uint8Array;
  readonly algorithm: -19 | -8;
  readonly contentType: ContentType;
  readonly kid: Uint8Array;
  readonly stamp: Stamp | null;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a verified signature vouches for. */
export interface Envelope {
  readonly contentType: ContentType;
  readonly kid: Uint8Array;
  readonly payload: Uint8Array;
}

export interface UpEnvelope extends Envelope {
  readonly stamp: Stamp;
}

const CONTENT_TYPE_NUMBERS: ReadonlySet<CborValue> = new Set(Object.values(CONTENT_TYPES));
const TAG_SIGN1 = 18;
const LABEL_ALG = 1;
const LABEL_CONTENT_TYPE = 3;
const LABEL_KID = 4;
const LABEL_STAMP = -65537;
const SIGNATURE_BYTES = 64;
const KID_BYTES = 8;
const MAX_BOUND_MS = 86_400_000;
/** Floats stay apart from integers: 9.0 is no seq. */
const SHAPE = { strict: true, maxDepth: 16, maxItems: 40_000, keepFloats: true } as const;

/** `external_aad` of an up envelope: [network, kind]. */
export function upAad(network: string, kind: UpKind): Uint8Array {
  return encode([network, kind]);
}

/** `external_aad` of a down envelope: [network, kind, deviceId]. */
export function downAad(network: string, kind: DownKind, deviceId: string): Uint8Array {
  return encode([network, kind, deviceId]);
}

/** `external_aad` of a statement outside MQTT, such as [network, "hello"]. */
export function statementAad(network: string, purpose: string, subject?: string): Uint8Array {
  return encode(subject === undefined ? [network, purpose] : [network, purpose, subject]);
}

export interface SealOptions {
  readonly contentType: ContentType;
  readonly payload: Uint8Array;
  readonly externalAad: Uint8Array;
  readonly signer: Signer;
  /** Up envelopes only. */
  readonly stamp?: Stamp;
  /** MAX_RELAY_BYTES for kind `relay`. */
  readonly maxBytes?: number;
}

/**
 * Signs a payload into an envelope.
 *
 * @throws {ProtocolError} ERR_TOO_LARGE, ERR_ARGUMENT.
 */
export function seal(options: SealOptions): Uint8Array {
  const header = new Map<number, CborValue>([
    [LABEL_ALG, -19],
    [LABEL_CONTENT_TYPE, options.contentType],
    [LABEL_KID, kidOf(options.signer.publicKey)],
  ]);
  if (options.stamp) header.set(LABEL_STAMP, stampItems(options.stamp));
  const protectedBytes = encode(header);
  const message = sigStructure(protectedBytes, options.externalAad, options.payload);
  const signature = options.signer.sign(message);
  const envelope = encode(
    new Tagged(TAG_SIGN1, [protectedBytes, new Map(), options.payload, signature]),
  );
  const { maxBytes = MAX_ENVELOPE_BYTES } = options;
  if (envelope.length > maxBytes) throw tooLarge(envelope.length, maxBytes);
  return envelope;
}

/**
 * Splits an envelope into its parts and checks its shape, not its signature. Sections 1 to 3.
 *
 * @param bytes - the whole envelope; the result holds views on it.
 * @param maxBytes - MAX_RELAY_BYTES for kind `relay`.
 * @throws {ProtocolError} ERR_TOO_LARGE, ERR_CBOR_MALFORMED, ERR_CBOR_NOT_DETERMINISTIC, ERR_CBOR_LIMIT,
 * ERR_COSE_MALFORMED, ERR_COSE_ALGORITHM or ERR_ENVELOPE_HEADER.
 */
export function parseEnvelope(
  bytes: Uint8Array,
  maxBytes: number = MAX_ENVELOPE_BYTES,
): UnverifiedEnvelope {
  if (bytes.length > maxBytes) throw tooLarge(bytes.length, maxBytes);
  const message = decode(bytes, SHAPE);
  if (!(message instanceof Tagged) || Number(message.tag) !== TAG_SIGN1) {
    throw cose('envelope: expected CBOR tag 18');
  }
  const parts = message.value;
  if (!Array.isArray(parts) || parts.length !== 4) {
    throw cose('envelope: expected [protected, unprotected, payload, signature]');
  }
  const [protectedBytes, unprotected, payload, signature] = parts;
  if (!(protectedBytes instanceof Uint8Array)) throw cose('protected: expected a byte string');
  if (!(unprotected instanceof Map)) throw cose('unprotected: expected a map');
  if (!(payload instanceof Uint8Array)) throw cose('payload: expected a byte string');
  if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_BYTES) {
    throw cose(`signature: expected ${SIGNATURE_BYTES} bytes`);
  }
  if (unprotected.size !== 0) throw header('unprotected: expected an empty map');
  const { algorithm, contentType, kid, stamp } = parseHeader(protectedBytes);
  return { protectedBytes, payload, signature, algorithm, contentType, kid, stamp };
}

/** What is verified is written here, so that it costs no memory of its own. */
const scratch = new CborWriter();

/** Checks the signature of a parsed envelope under one key. */
export function verifyEnvelope(
  envelope: UnverifiedEnvelope,
  context: {
    readonly externalAad: Uint8Array;
    readonly publicKey: Uint8Array;
    readonly verify: Verify;
  },
): boolean {
  const message = writeSigStructure(scratch, envelope, context.externalAad);
  return context.verify(envelope.signature, message, context.publicKey);
}

export interface OpenOptions {
  readonly externalAad: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly verify: Verify;
}

/**
 * Parses and verifies an envelope without a stamp: a down message or a statement.
 *
 * @throws {ProtocolError} as {@link parseEnvelope}, and ERR_SIGNATURE_INVALID.
 */
export function open(bytes: Uint8Array, options: OpenOptions): Envelope {
  const envelope = parseEnvelope(bytes);
  if (envelope.stamp !== null) throw header('stamp: expected none');
  return verified(envelope, options);
}

/**
 * Parses and verifies an up envelope.
 *
 * @throws {ProtocolError} as {@link parseEnvelope}, and ERR_SIGNATURE_INVALID.
 */
export function openUp(bytes: Uint8Array, options: OpenOptions): UpEnvelope {
  const envelope = parseEnvelope(bytes);
  const { stamp } = envelope;
  if (stamp === null) throw header('stamp: expected one');
  return { ...verified(envelope, options), stamp };
}

/** Whether two stamps name the same boot. */
export function sameBoot(
  a: Pick<Stamp, 'bootCounter' | 'bootSeed'>,
  b: Pick<Stamp, 'bootCounter' | 'bootSeed'>,
): boolean {
  return a.bootCounter === b.bootCounter && a.bootSeed.every((byte, i) => byte === b.bootSeed[i]);
}

function verified(envelope: UnverifiedEnvelope, options: OpenOptions): Envelope {
  if (!verifyEnvelope(envelope, options)) {
    throw new ProtocolError(
      'ERR_SIGNATURE_INVALID',
      'signature: does not verify under this key, network and kind',
    );
  }
  const { contentType, kid, payload } = envelope;
  return { contentType, kid, payload };
}

function parseHeader(
  protectedBytes: Uint8Array,
): Pick<UnverifiedEnvelope, 'algorithm' | 'contentType' | 'kid' | 'stamp'> {
  const map = decode(protectedBytes, SHAPE);
  if (!(map instanceof Map)) throw header('protected header: expected a map');
  const algorithm = map.get(LABEL_ALG);
  if (algorithm !== -19 && algorithm !== -8) {
    throw new ProtocolError('ERR_COSE_ALGORITHM', `alg: expected -19 or -8, got ${algorithm}`);
  }
  const contentType = map.get(LABEL_CONTENT_TYPE);
  if (!isContentType(contentType)) {
    throw header(`content type: expected 60, 61, 112, 65001 or 65002, got ${String(contentType)}`);
  }
  const kid = map.get(LABEL_KID);
  if (!(kid instanceof Uint8Array) || kid.length !== KID_BYTES) {
    throw header(`kid: expected ${KID_BYTES} bytes`);
  }
  const stampValue = map.get(LABEL_STAMP);
  const known = stampValue === undefined ? 3 : 4;
  if (map.size !== known) throw header('protected header: expected no other labels');
  const stamp = stampValue === undefined ? null : parseStamp(stampValue);
  return { algorithm, contentType, kid, stamp };
}

function parseStamp(value: CborValue): Stamp {
  if (!Array.isArray(value) || value.length !== 5) throw header('stamp: expected five items');
  const [bootCounter, bootSeed, seq, bootMs, boundMs] = value;
  if (!isUint(bootCounter, 0xffff_ffff)) throw header('stamp: bootCounter is not a uint32');
  if (!(bootSeed instanceof Uint8Array) || bootSeed.length !== BOOT_SEED_BYTES) {
    throw header(`stamp: bootSeed is not ${BOOT_SEED_BYTES} bytes`);
  }
  if (!isUint(seq)) throw header('stamp: seq is not an unsigned integer');
  if (!isUint(bootMs)) throw header('stamp: bootMs is not an unsigned integer');
  if (boundMs !== null && !isUint(boundMs, MAX_BOUND_MS)) {
    throw header(`stamp: boundMs is neither null nor at most ${MAX_BOUND_MS}`);
  }
  return { bootCounter, bootSeed, seq, bootMs, boundMs };
}

function stampItems(stamp: Stamp): CborValue[] {
  const items: CborValue[] = [
    stamp.bootCounter,
    stamp.bootSeed,
    stamp.seq,
    stamp.bootMs,
    stamp.boundMs,
  ];
  try {
    parseStamp(items);
  } catch (cause) {
    throw new ProtocolError('ERR_ARGUMENT', (cause as Error).message, { cause });
  }
  return items;
}

function isContentType(value: CborValue): value is ContentType {
  return CONTENT_TYPE_NUMBERS.has(value);
}

function isUint(value: CborValue, max = Number.MAX_SAFE_INTEGER): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max;
}

function cose(message: string): ProtocolError {
  return new ProtocolError('ERR_COSE_MALFORMED', message);
}

function header(message: string): ProtocolError {
  return new ProtocolError('ERR_ENVELOPE_HEADER', message);
}

function tooLarge(length: number, maxBytes: number): ProtocolError {
  return new ProtocolError(
    'ERR_TOO_LARGE',
    `envelope: expected at most ${maxBytes} bytes, got ${length}`,
  );
}
