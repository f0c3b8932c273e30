/**
 * Merkle tree hashing of RFC 6962 section 2.1: leaf and node hashes with their domain prefixes, and
 * the root of a list of leaf hashes.
 *
 * SHA-256 comes from @noble/hashes and runs anywhere; a server passes a faster one
 * (`merkle-node.ts`). Trees that grow are in `compact-range.ts`, proofs in `merkle-proof.ts`.
 */
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { ProtocolError } from './errors.ts';

/** Bytes in a SHA-256 hash. */
export const HASH_BYTES = 32;

const LEAF_PREFIX = Uint8Array.of(0x00);
const NODE_PREFIX = Uint8Array.of(0x01);

/** SHA-256 of the parts one after another; the 32 bytes it returns are the caller's to keep. */
export type Sha256 = (...parts: readonly Uint8Array[]) => Uint8Array;

/** The two hashes of a Merkle tree. */
export interface Hasher {
  /** SHA-256(0x00 ‖ data). */
  leafHash(data: Uint8Array): Uint8Array;
  /** SHA-256(0x01 ‖ left ‖ right). @throws {ProtocolError} ERR_ARGUMENT unless both are 32 bytes. */
  nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array;
}

/** Builds a {@link Hasher} on any SHA-256. */
export function createHasher(sha256: Sha256): Hasher {
  return {
    leafHash: (data) => sha256(LEAF_PREFIX, data),
    nodeHash(left, right) {
      // A shorter left hash would let two different pairs have one hash.
      if (left.length !== HASH_BYTES || right.length !== HASH_BYTES) {
        throw new ProtocolError(
          'ERR_ARGUMENT',
          `node: expected two hashes of ${HASH_BYTES} bytes, got ${left.length} and ${right.length}`,
        );
      }
      return sha256(NODE_PREFIX, left, right);
    },
  };
}

/** SHA-256 of the parts one after another, by @noble/hashes. */
export const portableSha256: Sha256 = (...parts) => {
  const hash = nobleSha256.create();
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** The default {@link Hasher}, which runs in browsers and on devices. */
export const portableHasher: Hasher = createHasher(portableSha256);

/** The root of a tree without leaves: the SHA-256 of nothing. A fresh copy each time. */
export function emptyRoot(): Uint8Array {
  return nobleSha256(new Uint8Array(0));
}

/**
 * The Merkle Tree Hash of a list of leaf hashes. RFC 6962 section 2.1.
 *
 * @param leafHashes - results of `leafHash`, or the roots of equal complete subtrees, in order.
 * @returns 32 bytes; for no leaves, {@link emptyRoot}.
 * @throws {ProtocolError} ERR_ARGUMENT when a hash is not 32 bytes long.
 */
export function rootFromLeafHashes(
  leafHashes: readonly Uint8Array[],
  hasher: Hasher = portableHasher,
): Uint8Array {
  // Pairing neighbours and carrying an odd last one up gives the split of the RFC, without recursion.
  let row = leafHashes;
  while (row.length > 1) {
    const above: Uint8Array[] = [];
    for (let i = 0; i + 1 < row.length; i += 2) above.push(hasher.nodeHash(row[i]!, row[i + 1]!));
    if (row.length % 2 === 1) above.push(row[row.length - 1]!);
    row = above;
  }
  const root = row[0];
  if (root === undefined) return emptyRoot();
  if (root.length !== HASH_BYTES) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `leaf hash: expected ${HASH_BYTES} bytes, got ${root.length}`,
    );
  }
  return root;
}
