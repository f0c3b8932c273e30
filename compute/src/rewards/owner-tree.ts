/** The tree of what each owner has earned in all final statements so far. docs/spec/rewards.md section 10. */

import { compareBytes, toHex } from '@fieldproof/protocol/bytes';
import { proofOf, type SortedTree, sortedTree, standardLeaf } from './sorted-tree.ts';

export interface OwnerAmount {
  /** 32 bytes. */
  readonly owner: Uint8Array;
  /** Micro-credits in all, below 2^256. */
  readonly amount: bigint;
}

export interface OwnerTree {
  /** 32 bytes, zeros without owners. */
  readonly root: Uint8Array;
  /** From the leaf to below the root; undefined for an owner that is not there. */
  proof(owner: Uint8Array): Uint8Array[] | undefined;
}

export function ownerTree(amounts: readonly OwnerAmount[]): OwnerTree {
  const rows = amounts
    .map((each) => ({ owner: each.owner, leaf: ownerLeaf(each) }))
    .sort((a, b) => compareBytes(a.leaf, b.leaf));
  const tree: SortedTree = rows.length === 0 ? [] : sortedTree(rows.map(({ leaf }) => leaf));
  const places = new Map(rows.map(({ owner }, at) => [toHex(owner), at]));
  return {
    root: tree[0] ?? new Uint8Array(32),
    proof(owner) {
      const place = places.get(toHex(owner));
      return place === undefined ? undefined : proofOf(tree, place);
    },
  };
}

/** As Solidity's `keccak256(bytes.concat(keccak256(abi.encode(owner, amount))))`. */
export function ownerLeaf({ owner, amount }: OwnerAmount): Uint8Array {
  const encoded = new Uint8Array(64);
  encoded.set(owner, 0);
  let left = amount;
  for (let at = 63; at >= 32; at -= 1, left >>= 8n) encoded[at] = Number(left & 0xffn);
  return standardLeaf(encoded);
}
