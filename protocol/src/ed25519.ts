/**
 * Ed25519 (RFC 8032) under one strict rule, docs/spec/envelope.md section 5: the reference that runs anywhere.
 *
 * A signature R ‖ S over M under A verifies if and only if A and R are canonical encodings of curve points, A is not
 * of small order, S < L, and the encoding of [S]B - [k]A, k = SHA-512(R ‖ A ‖ M) mod L, equals R as bytes. A small-order
 * R is allowed where that equation holds. `ed25519-node.ts` gives the same verdicts about fifteen times faster.
 *
 * The library's own `verify` multiplies by the cofactor, so only its points are used here. Leaves out Ed25519ph,
 * Ed25519ctx and batch verification, which cannot be made to agree with single verification. Not constant-time in
 * `verify`, whose inputs are public.
 */

import { getPublicKey, hashes, sign as nobleSign, Point } from '@noble/ed25519';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { concatBytes, equalBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';

hashes.sha512 = sha512;

export const SEED_BYTES = 32;
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;
export const KID_BYTES = 8;

/** Order of the prime subgroup. */
const L = Point.CURVE().n;

/**
 * The public key of a seed, 32 bytes. RFC 8032 section 5.1.5.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the seed is not 32 bytes.
 */
export function publicKeyFromSeed(seed: Uint8Array): Uint8Array {
  return getPublicKey(checkSeed(seed));
}

/**
 * The signature of a message, 64 bytes, deterministic. RFC 8032 section 5.1.6.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the seed is not 32 bytes.
 */
export function sign(message: Uint8Array, seed: Uint8Array): Uint8Array {
  return nobleSign(message, checkSeed(seed));
}

/** Whether the signature verifies under the strict rule above. False, never an exception, for whatever else comes. */
export function verify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  if (!isBytes(signature, SIGNATURE_BYTES) || !(message instanceof Uint8Array)) return false;
  const a = signingPoint(publicKey);
  if (a === null) return false;
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  // RFC 8032 section 5.1.7: S is in the range 0 <= s < L.
  if (s >= L) return false;
  const k = littleEndian(sha512(concatBytes(r, publicKey, message))) % L;
  const expected = Point.BASE.multiply(s, false).subtract(a.multiply(k, false));
  // A computed encoding is canonical, so equal bytes also show that R is a canonical point.
  return equalBytes(expected.toBytes(), r);
}

/** Whether 32 bytes are a key that can sign: a canonical encoding of a point that is not of small order. */
export function isAcceptablePublicKey(publicKey: Uint8Array): boolean {
  return signingPoint(publicKey) !== null;
}

/**
 * Key id: the first 8 bytes of SHA-256(public key). docs/spec/envelope.md section 2.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the key is not 32 bytes.
 */
export function kidOf(publicKey: Uint8Array): Uint8Array {
  checkLength('public key', publicKey, PUBLIC_KEY_BYTES);
  return sha256(publicKey).slice(0, KID_BYTES);
}

/**
 * The seed itself.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when it is not 32 bytes.
 */
export function checkSeed(seed: Uint8Array): Uint8Array {
  checkLength('seed', seed, SEED_BYTES);
  return seed;
}

function signingPoint(publicKey: Uint8Array): Point | null {
  if (!isBytes(publicKey, PUBLIC_KEY_BYTES)) return null;
  try {
    // RFC 8032 section 5.1.3: refuses y >= p, no square root, and x = 0 with the sign bit set.
    const point = Point.fromBytes(publicKey, false);
    return point.isSmallOrder() ? null : point;
  } catch {
    return null;
  }
}

function checkLength(name: string, value: unknown, length: number): void {
  if (isBytes(value, length)) return;
  const got = value instanceof Uint8Array ? `${value.length}` : typeof value;
  throw new ProtocolError('ERR_ARGUMENT', `${name}: expected ${length} bytes, got ${got}`);
}

function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 4; i >= 0; i -= 4) {
    const word =
      bytes[i]! + bytes[i + 1]! * 0x100 + bytes[i + 2]! * 0x10000 + bytes[i + 3]! * 0x1000000;
    value = (value << 32n) | BigInt(word);
  }
  return value;
}
