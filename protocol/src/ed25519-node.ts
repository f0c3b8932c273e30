/**
 * Ed25519 over node:crypto, with the verdicts of `ed25519.ts` (docs/spec/envelope.md section 5).
 *
 * OpenSSL 3 by itself checks S < L and compares the encoding of [S]B - [k]A with R as bytes, which is the cofactorless
 * equation. It does take keys with y >= p, with x = 0 and the sign bit set, and of small order. Those are refused here
 * before it is asked; S and R are checked as well, so that no verdict hangs on the version of OpenSSL.
 * The tests compare both paths on every vector, corruption and torsion point.
 */

import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign as nodeSign,
  verify as nodeVerify,
} from 'node:crypto';
import { checkSeed, isAcceptablePublicKey, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from './ed25519.ts';
import { hasSmallOrderY, isCanonicalY, isReducedScalar } from './ed25519-encoding.ts';
import { KeyCache } from './key-cache.ts';

/** Prepared keys kept by `verify`; about 2 kB each, measured. */
const MAX_PUBLIC_KEYS = 4096;
/** Private keys kept by `sign`: few, since they are secrets. */
const MAX_PRIVATE_KEYS = 64;

/** DER in front of a raw key (RFC 8410 sections 4 and 7). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/** A key that passed `isAcceptablePublicKey`, ready for `verifyPrepared`. Made by `prepareKey` only. */
export interface PreparedKey {
  /** The 32 bytes of the key, a copy. */
  readonly publicKey: Uint8Array;
  readonly keyObject: KeyObject;
}

/** A key pair that signs. */
export interface Signer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The signature of the message, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** Checks a public key once and prepares it for many verifications; null unless it is a key that can sign. */
export function prepareKey(publicKey: Uint8Array): PreparedKey | null {
  if (!(publicKey instanceof Uint8Array) || publicKey.length !== PUBLIC_KEY_BYTES) return null;
  if (!isCanonicalY(publicKey, 0) || hasSmallOrderY(publicKey)) return null;
  if (!isAcceptablePublicKey(publicKey)) return null;
  const key = Buffer.concat([SPKI_PREFIX, publicKey]);
  try {
    const keyObject = createPublicKey({ key, format: 'der', type: 'spki' });
    return { publicKey: Uint8Array.from(publicKey), keyObject };
  } catch {
    return null;
  }
}

/** Whether the signature verifies under a prepared key. False, never an exception, for whatever else comes. */
export function verifyPrepared(
  signature: Uint8Array,
  message: Uint8Array,
  prepared: PreparedKey,
): boolean {
  if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_BYTES) return false;
  if (!(message instanceof Uint8Array)) return false;
  if (!isReducedScalar(signature, 32) || !isCanonicalY(signature, 0)) return false;
  return nodeVerify(null, message, prepared.keyObject, signature);
}

/** As `verify` of `ed25519.ts`. Keys are prepared once and kept, those that were not used for long dropped first. */
export function verify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  if (!(publicKey instanceof Uint8Array) || publicKey.length !== PUBLIC_KEY_BYTES) return false;
  const prepared = publicKeys.get(publicKey, prepareKey);
  return prepared !== null && verifyPrepared(signature, message, prepared);
}

/**
 * As `sign` of `ed25519.ts`, with the last few keys kept in memory.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the seed is not 32 bytes.
 */
export function sign(message: Uint8Array, seed: Uint8Array): Uint8Array {
  return signWith(privateKeys.get(checkSeed(seed), privateKeyObject), message);
}

/**
 * A signer that holds its key, for callers that sign often.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the seed is not 32 bytes.
 */
export function signerFromSeed(seed: Uint8Array): Signer {
  const keyObject = privateKeyObject(checkSeed(seed));
  const spki = createPublicKey(keyObject).export({ format: 'der', type: 'spki' });
  return {
    publicKey: Uint8Array.from(spki.subarray(SPKI_PREFIX.length)),
    sign: (message) => signWith(keyObject, message),
  };
}

/**
 * The public key of a seed, 32 bytes.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the seed is not 32 bytes.
 */
export function publicKeyFromSeed(seed: Uint8Array): Uint8Array {
  return signerFromSeed(seed).publicKey;
}

const publicKeys = new KeyCache<PreparedKey | null>(MAX_PUBLIC_KEYS);
const privateKeys = new KeyCache<KeyObject>(MAX_PRIVATE_KEYS);

function privateKeyObject(seed: Uint8Array): KeyObject {
  const key = Buffer.concat([PKCS8_PREFIX, seed]);
  try {
    return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  } finally {
    key.fill(0);
  }
}

function signWith(key: KeyObject, message: Uint8Array): Uint8Array {
  const signature = nodeSign(null, message, key);
  return new Uint8Array(signature.buffer, signature.byteOffset, signature.length);
}
