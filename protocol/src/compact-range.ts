/**
 * The right edge of a growing Merkle tree: append leaf hashes, ask for the root, keep O(log n) hashes.
 *
 * It holds the roots of the complete subtrees that the binary digits of the size name, largest
 * first. Every complete subtree is handed out once, when its last leaf arrives, so that tiles can be
 * written. Proofs need the inner nodes and are in `merkle-proof.ts`.
 */
import { ProtocolError } from './errors.ts';
import { emptyRoot, HASH_BYTES, type Hasher, portableHasher } from './merkle.ts';

const SIZE_BYTES = 8;

/**
 * Receives a complete subtree of 2^level leaves, the `index`-th of its level. Leaves are level 0.
 * The hash is shared with the tree: read or copy it, never write to it.
 */
export type OnNode = (level: number, index: number, hash: Uint8Array) => void;

export interface CompactRangeOptions {
  readonly hasher?: Hasher;
  readonly onNode?: OnNode;
}

/** An append-only Merkle tree of which only the right edge is kept. RFC 6962 section 2.1. */
export class CompactRange {
  readonly #hasher: Hasher;
  readonly #onNode: OnNode | undefined;
  #size = 0;
  #edge: Uint8Array[] = [];

  constructor(options: CompactRangeOptions = {}) {
    this.#hasher = options.hasher ?? portableHasher;
    this.#onNode = options.onNode;
  }

  /**
   * Restores what {@link CompactRange.serialise} wrote. The hashes are taken as they are: compare
   * the root with a trusted one.
   *
   * @throws {ProtocolError} ERR_ARGUMENT when the bytes do not have that form.
   */
  static restore(bytes: Uint8Array, options: CompactRangeOptions = {}): CompactRange {
    if (bytes.length < SIZE_BYTES) throw misfit(`at least ${SIZE_BYTES} bytes`, bytes.length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const size = Number(view.getBigUint64(0));
    if (!Number.isSafeInteger(size)) throw misfit('a size below 2^53', size);
    const expected = SIZE_BYTES + HASH_BYTES * onesIn(size);
    if (bytes.length !== expected) throw misfit(`${expected} bytes for size ${size}`, bytes.length);

    const range = new CompactRange(options);
    range.#size = size;
    for (let at = SIZE_BYTES; at < bytes.length; at += HASH_BYTES) {
      range.#edge.push(bytes.slice(at, at + HASH_BYTES));
    }
    return range;
  }

  /** Leaves appended so far. */
  get size(): number {
    return this.#size;
  }

  /**
   * Appends one leaf and reports every subtree that it completes, the leaf first, then upwards.
   *
   * @param leafHash - 32 bytes, kept by reference.
   * @returns the index of the leaf.
   * @throws {ProtocolError} ERR_ARGUMENT when the hash is not 32 bytes; nothing is appended then.
   */
  append(leafHash: Uint8Array): number {
    if (leafHash.length !== HASH_BYTES) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `leaf hash: expected ${HASH_BYTES} bytes, got ${leafHash.length}`,
      );
    }
    const leafIndex = this.#size;
    this.#onNode?.(0, leafIndex, leafHash);
    let node = leafHash;
    let index = leafIndex;
    for (let level = 1; index % 2 === 1; level += 1) {
      node = this.#hasher.nodeHash(this.#edge.pop()!, node);
      index = (index - 1) / 2;
      this.#onNode?.(level, index, node);
    }
    this.#edge.push(node);
    this.#size = leafIndex + 1;
    return leafIndex;
  }

  /** The root over all leaves so far, 32 bytes. */
  root(): Uint8Array {
    let root = this.#edge.at(-1);
    if (root === undefined) return emptyRoot();
    for (let i = this.#edge.length - 2; i >= 0; i -= 1) {
      root = this.#hasher.nodeHash(this.#edge[i]!, root);
    }
    return root;
  }

  /** The size as 8 bytes big-endian, then the hashes of the edge, largest subtree first. */
  serialise(): Uint8Array {
    const bytes = new Uint8Array(SIZE_BYTES + HASH_BYTES * this.#edge.length);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(this.#size));
    for (const [i, hash] of this.#edge.entries()) bytes.set(hash, SIZE_BYTES + HASH_BYTES * i);
    return bytes;
  }
}

function onesIn(size: number): number {
  let ones = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) ones += rest % 2;
  return ones;
}

function misfit(expected: string, got: number): ProtocolError {
  return new ProtocolError('ERR_ARGUMENT', `compact range: expected ${expected}, got ${got}`);
}
