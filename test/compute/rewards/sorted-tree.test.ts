import { ownerLeaf, ownerTree } from '@fieldproof/compute/rewards/owner-tree';
import {
  multiProofOf,
  proofOf,
  sortedTree,
  standardLeaf,
  verifyMultiProof,
  verifyProof,
} from '@fieldproof/compute/rewards/sorted-tree';
import { compareBytes } from '@fieldproof/protocol/bytes';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { vectors } from '../../protocol/vectors.ts';
import { abiEncode } from './abi.ts';

interface Dump {
  readonly leafEncoding?: readonly string[];
  readonly tree: readonly string[];
  readonly values: readonly { readonly value: string | string[]; readonly treeIndex: number }[];
}

interface Tree {
  readonly name: string;
  readonly leafEncoding: readonly string[];
  readonly sortLeaves: boolean;
  readonly values: readonly (readonly string[])[];
  readonly root: string;
  readonly proofs: readonly {
    readonly index: number;
    readonly value: readonly string[];
    readonly leafHash: string;
    readonly proof: readonly string[];
  }[];
  readonly multiProof?: {
    readonly leaves: readonly (readonly string[])[];
    readonly proof: readonly string[];
    readonly proofFlags: readonly boolean[];
  };
  readonly dump?: Dump;
}

const published = vectors<{
  readonly trees: readonly Tree[];
  readonly negativeProofs: readonly {
    readonly why: string;
    readonly types: readonly string[];
    readonly value: readonly string[];
    readonly proof: readonly string[];
    readonly root: string;
  }[];
}>('oz-merkle/own_trees.json');

const hex = (bytes: Uint8Array) => `0x${Buffer.from(bytes).toString('hex')}`;
const bytes = (text: string) => new Uint8Array(Buffer.from(text.slice(2), 'hex'));
const leafOf = (types: readonly string[], value: readonly string[]) =>
  standardLeaf(abiEncode(types, value));

describe("OpenZeppelin's trees", () => {
  test.each(published.trees.map((tree) => [tree.name, tree] as const))('%s', (_, tree) => {
    const hashes = tree.values.map((value) => leafOf(tree.leafEncoding, value));
    const order = [...hashes.keys()];
    if (tree.sortLeaves) order.sort((a, b) => compareBytes(hashes[a]!, hashes[b]!));
    const built = sortedTree(order.map((at) => hashes[at]!));
    expect(hex(built[0]!)).toBe(tree.root);
    if (tree.dump) expect(built.map(hex)).toEqual(tree.dump.tree);
    for (const { index, leafHash, proof } of tree.proofs) {
      expect(hex(hashes[index]!)).toBe(leafHash);
      expect(proofOf(built, order.indexOf(index)).map(hex)).toEqual(proof);
      expect(verifyProof(built[0]!, hashes[index]!, proof.map(bytes))).toBe(true);
    }
    if (!tree.multiProof) return;
    const { leaves, proof, proofFlags } = tree.multiProof;
    const wanted = leaves.map((value) => hex(leafOf(tree.leafEncoding, value)));
    const places = wanted.map((leaf) => order.findIndex((at) => hex(hashes[at]!) === leaf));
    const made = multiProofOf(built, places);
    expect(made.proof.map(hex)).toEqual(proof);
    expect(made.flags).toEqual(proofFlags);
    expect(made.leaves.map(hex)).toEqual(wanted);
    expect(verifyMultiProof(built[0]!, made)).toBe(true);
  });

  test.each(['simple-v1.unsorted.1_0_6.json', 'standard-v1.unsorted.1_0_6.json'])(
    'the dump %s is built again from its values',
    (file) => {
      const { leafEncoding, tree, values } = vectors<Dump>(`oz-merkle/official/${file}`);
      const leaves = values.map(({ value }) =>
        typeof value === 'string' ? bytes(value) : leafOf(leafEncoding!, value),
      );
      // The dump says where each leaf lies; leaves go backwards from the end.
      const placed = new Array<Uint8Array>(leaves.length);
      for (const [at, { treeIndex }] of values.entries()) {
        placed[tree.length - 1 - treeIndex] = leaves[at]!;
      }
      expect(sortedTree(placed).map(hex)).toEqual(tree);
    },
  );

  test.each(published.negativeProofs.map((each) => [each.why, each] as const))(
    'a proof is refused: %s',
    (_, { types, value, proof, root }) => {
      const leaf = leafOf(types, value);
      expect(verifyProof(bytes(root), leaf, proof.map(bytes))).toBe(false);
    },
  );
});

test('any change of a multi-proof is refused, and so are any leaves of which it is not', () => {
  const leaves = fc.uniqueArray(fc.uint8Array({ minLength: 32, maxLength: 32 }), {
    minLength: 2,
    maxLength: 20,
    selector: hex,
  });
  fc.assert(
    fc.property(leaves, fc.infiniteStream(fc.nat()), (some, numbers) => {
      const tree = sortedTree(some);
      const chosen = some.map((_, at) => at).filter(() => numbers.next().value! % 2 === 0);
      const made = multiProofOf(tree, chosen);
      expect(verifyMultiProof(tree[0]!, made)).toBe(true);
      const changed = (list: readonly Uint8Array[]) =>
        list.map((each, at) => (at === 0 ? each.map((byte) => byte ^ 1) : each));
      if (made.proof.length > 0) {
        expect(verifyMultiProof(tree[0]!, { ...made, proof: changed(made.proof) })).toBe(false);
        expect(verifyMultiProof(tree[0]!, { ...made, proof: made.proof.slice(1) })).toBe(false);
      }
      if (made.leaves.length > 0) {
        expect(verifyMultiProof(tree[0]!, { ...made, leaves: changed(made.leaves) })).toBe(false);
      }
    }),
  );
});

describe('the tree of owners', () => {
  const owners = fc.uniqueArray(
    fc.record({
      owner: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      amount: fc.bigInt(0n, 2n ** 256n - 1n),
    }),
    { maxLength: 12, selector: ({ owner }) => hex(owner) },
  );

  test('is the same in any order, and proves each amount and no other', () => {
    fc.assert(
      fc.property(owners, (some) => {
        const { root, proof } = ownerTree(some);
        expect(hex(ownerTree([...some].reverse()).root)).toBe(hex(root));
        for (const { owner, amount } of some) {
          const path = proof(owner)!;
          expect(verifyProof(root, ownerLeaf({ owner, amount }), path)).toBe(true);
          const other = amount === 0n ? 1n : amount - 1n;
          expect(verifyProof(root, ownerLeaf({ owner, amount: other }), path)).toBe(false);
        }
      }),
    );
  });

  test('without owners its root is zeros', () => {
    const { root, proof } = ownerTree([]);
    expect(root).toEqual(new Uint8Array(32));
    expect(proof(new Uint8Array(32))).toBeUndefined();
  });

  test("has OpenZeppelin's leaves", () => {
    const owner = new Uint8Array(32).fill(7);
    const encoded = abiEncode(
      ['bytes32', 'uint256'],
      [hex(owner), '123456789012345678901234567890'],
    );
    const leaf = ownerLeaf({ owner, amount: 123456789012345678901234567890n });
    expect(hex(leaf)).toBe(hex(standardLeaf(encoded)));
  });
});
