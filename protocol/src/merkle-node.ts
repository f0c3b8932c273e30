/**
 * SHA-256 for Merkle trees by node:crypto, several times faster than the portable one.
 * Not for browsers: import it from servers only.
 */
import { createHash, hash } from 'node:crypto';
import { createHasher, HASH_BYTES, type Hasher, type Sha256 } from './merkle.ts';

/** Inputs up to this size are joined and hashed in one call, which avoids a hash object each. */
const ONE_SHOT_BYTES = 4096;

const scratch = new Uint8Array(ONE_SHOT_BYTES);

/** SHA-256 of the parts one after another, by node:crypto. */
export const nativeSha256: Sha256 = (...parts) => {
  let length = 0;
  for (const part of parts) {
    if (length + part.length > ONE_SHOT_BYTES) return streamed(parts);
    scratch.set(part, length);
    length += part.length;
  }
  const digest = new Uint8Array(HASH_BYTES);
  putDigest(scratch.subarray(0, length), digest, 0);
  return digest;
};

/** Puts the SHA-256 of bytes into a target, from an offset on. */
export function putDigest(bytes: Uint8Array, target: Uint8Array, offset: number): void {
  // A string of one character per byte costs less than half of what a Buffer of its own costs.
  const characters = hash('sha256', bytes, 'binary');
  for (let i = 0; i < HASH_BYTES; i += 1) target[offset + i] = characters.charCodeAt(i);
}

const general = createHasher(nativeSha256);

/** 0x01 ‖ left ‖ right, of the node that is being hashed. */
const node = new Uint8Array(1 + 2 * HASH_BYTES);
node[0] = 0x01;

/** The {@link Hasher} for servers. Of a proof's work most is node hashes, which are all of one length. */
export const nativeHasher: Hasher = {
  leafHash: general.leafHash,
  nodeHash(left, right) {
    if (left.length !== HASH_BYTES || right.length !== HASH_BYTES) {
      return general.nodeHash(left, right);
    }
    node.set(left, 1);
    node.set(right, 1 + HASH_BYTES);
    const digest = new Uint8Array(HASH_BYTES);
    putDigest(node, digest, 0);
    return digest;
  },
};

function streamed(parts: readonly Uint8Array[]): Uint8Array {
  const state = createHash('sha256');
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
}
