/**
 * The Merkle tree of OpenZeppelin's `@openzeppelin/merkle-tree`: Keccak-256, the two children of a node in ascending
 * order, so that a proof needs no directions and a contract's `MerkleProof.verify` accepts it.
 */

import { compareBytes, equalBytes } from '@fieldproof/protocol/bytes';
import { keccak_256 } from '@noble/hashes/sha3.js';

/** Nodes by place: the root is 0, the children of i are 2i + 1 and 2i + 2, leaves are the last ones, backwards. */
export type SortedTree = readonly Uint8Array[];

export interface MultiProof {
  readonly leaves: readonly Uint8Array[];
  readonly proof: readonly Uint8Array[];
  /** At each step: whether the sibling is one that is known already. */
  readonly flags: readonly boolean[];
}

/** The hash of a leaf's ABI encoding; twice, so that no inner node passes for a leaf. */
export function standardLeaf(encoded: Uint8Array): Uint8Array {
  return keccak_256(keccak_256(encoded));
}

/** @param leaves - hashes; sorted by the caller where the tree is to be the same for any order. At least one. */
export function sortedTree(leaves: readonly Uint8Array[]): SortedTree {
  if (leaves.length === 0) throw new RangeError('leaves: expected at least one');
  const tree = new Array<Uint8Array>(2 * leaves.length - 1);
  for (const [at, leaf] of leaves.entries()) tree[tree.length - 1 - at] = leaf;
  for (let at = leaves.length - 2; at >= 0; at -= 1) {
    tree[at] = parentOf(tree[2 * at + 1]!, tree[2 * at + 2]!);
  }
  return tree;
}

/** @param leaf - its position among the leaves. */
export function proofOf(tree: SortedTree, leaf: number): Uint8Array[] {
  const proof: Uint8Array[] = [];
  for (let at = tree.length - 1 - leaf; at > 0; at = (at - 1) >> 1)
    proof.push(tree[siblingOf(at)]!);
  return proof;
}

export function verifyProof(
  root: Uint8Array,
  leaf: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  return equalBytes(proof.reduce(parentOf, leaf), root);
}

/** Proves several leaves at once. @param leaves - positions, none twice. */
export function multiProofOf(tree: SortedTree, leaves: readonly number[]): MultiProof {
  const places = leaves.map((leaf) => tree.length - 1 - leaf).sort((a, b) => b - a);
  const queue = [...places];
  const proof: Uint8Array[] = [];
  const flags: boolean[] = [];
  for (let at = queue.shift(); at !== undefined && at > 0; at = queue.shift()) {
    const sibling = siblingOf(at);
    const isKnown = queue[0] === sibling;
    flags.push(isKnown);
    if (isKnown) queue.shift();
    else proof.push(tree[sibling]!);
    queue.push((at - 1) >> 1);
  }
  if (leaves.length === 0) proof.push(tree[0]!);
  return { leaves: places.map((place) => tree[place]!), proof, flags };
}

export function verifyMultiProof(root: Uint8Array, { leaves, proof, flags }: MultiProof): boolean {
  if (leaves.length + proof.length !== flags.length + 1) return false;
  const stack = [...leaves];
  const left = [...proof];
  for (const isKnown of flags) {
    const a = stack.shift();
    const b = isKnown ? stack.shift() : left.shift();
    if (a === undefined || b === undefined) return false;
    stack.push(parentOf(a, b));
  }
  const found = [...stack, ...left];
  return found.length === 1 && equalBytes(found[0]!, root);
}

function siblingOf(at: number): number {
  return at % 2 === 0 ? at - 1 : at + 1;
}

function parentOf(a: Uint8Array, b: Uint8Array): Uint8Array {
  const pair = new Uint8Array(64);
  const isInOrder = compareBytes(a, b) <= 0;
  pair.set(isInOrder ? a : b, 0);
  pair.set(isInOrder ? b : a, 32);
  return keccak_256(pair);
}
