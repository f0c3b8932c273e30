import { CompactRange } from '@fieldproof/protocol/compact-range';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import {
  type ConsistencyClaim,
  consistencyNodes,
  consistencyProof,
  type GetNode,
  type InclusionClaim,
  inclusionNodes,
  inclusionProof,
  rootFromNodes,
  verifyConsistency,
  verifyInclusion,
} from '@fieldproof/protocol/merkle-proof';
import { describe, expect, test } from '@jest/globals';
import { leafOf, naiveTree } from './naive-merkle.ts';
import { readVectors } from './read-vectors.ts';

const SIZES = 300;
const leaves = Array.from({ length: SIZES }, (_, i) => leafOf(i));
const naive = naiveTree(leaves);
const nodes = new Map<string, Uint8Array>();
const roots: Uint8Array[] = [];
const range = new CompactRange({
  hasher: nativeHasher,
  onNode: (level, index, hash) => nodes.set(`${level}/${index}`, hash),
});
roots.push(range.root());
for (const leaf of leaves) {
  range.append(leaf);
  roots.push(range.root());
}

const getNode: GetNode = (level, index) => nodes.get(`${level}/${index}`)!;
const proofInvalid = expect.objectContaining({ code: 'ERR_PROOF_INVALID' });
const argumentError = expect.objectContaining({ code: 'ERR_ARGUMENT' });
const base64 = (text: string | null) => new Uint8Array(Buffer.from(text ?? '', 'base64'));

interface InclusionVector {
  readonly case: string;
  readonly leafIdx: string;
  readonly treeSize: string;
  readonly root: string | null;
  readonly leafHash: string | null;
  readonly proof: readonly (string | null)[] | null;
  readonly wantErr: boolean;
}

interface ConsistencyVector {
  readonly case: string;
  readonly size1: string;
  readonly size2: string;
  readonly root1: string | null;
  readonly root2: string | null;
  readonly proof: readonly (string | null)[] | null;
  readonly wantErr: boolean;
}

describe('published vectors', () => {
  test.each(
    readVectors<InclusionVector[]>('rfc6962/inclusion.json').map((v) => [v.case, v] as const),
  )('%s', (_, v) => {
    const verify = () =>
      verifyInclusion({
        index: BigInt(v.leafIdx),
        size: BigInt(v.treeSize),
        leafHash: base64(v.leafHash),
        proof: (v.proof ?? []).map(base64),
        root: base64(v.root),
      });
    if (v.wantErr) expect(verify).toThrow(proofInvalid);
    else expect(verify()).toBeUndefined();
  });

  test.each(
    readVectors<ConsistencyVector[]>('rfc6962/consistency.json').map((v) => [v.case, v] as const),
  )('%s', (_, v) => {
    const verify = () =>
      verifyConsistency({
        size1: BigInt(v.size1),
        size2: BigInt(v.size2),
        root1: base64(v.root1),
        root2: base64(v.root2),
        proof: (v.proof ?? []).map(base64),
      });
    if (v.wantErr) expect(verify).toThrow(proofInvalid);
    else expect(verify()).toBeUndefined();
  });
});

describe('a tree of 1 to 300 leaves', () => {
  test('gives the audit path of the recursive definition for its leaves, and it verifies', async () => {
    const differing: string[] = [];
    for (let size = 1; size <= SIZES; size += 1) {
      for (let index = 0; index < size; index += 1) {
        const proof = await inclusionProof(index, size, getNode, nativeHasher);
        if (!sameHashes(proof, naive.inclusion(index, size))) differing.push(`${index} of ${size}`);
        const claim = { index, size, leafHash: leaves[index]!, proof, root: roots[size]! };
        verifyInclusion(claim, nativeHasher);
      }
    }
    expect(differing).toEqual([]);
  });

  test('gives the consistency proof of the recursive definition, and it verifies', async () => {
    const differing: string[] = [];
    for (let size2 = 1; size2 <= SIZES; size2 += 1) {
      for (let size1 = 1; size1 <= size2; size1 += 1) {
        const proof = await consistencyProof(size1, size2, getNode, nativeHasher);
        if (!sameHashes(proof, naive.consistency(size1, size2)))
          differing.push(`${size1}, ${size2}`);
        const claim = { size1, size2, root1: roots[size1]!, root2: roots[size2]!, proof };
        verifyConsistency(claim, nativeHasher);
      }
    }
    expect(differing).toEqual([]);
  });

  test('has its root in its nodes', async () => {
    for (let size = 0; size <= SIZES; size += 1) {
      expect(roots[size]).toEqual(naive.root(size));
      expect(await rootFromNodes(size, getNode, nativeHasher)).toEqual(roots[size]);
    }
  });
});

describe('a proof that was tampered with is refused', () => {
  test('inclusion, in every tree of up to 33 leaves', async () => {
    const accepted: string[] = [];
    for (let size = 1; size <= 33; size += 1) {
      for (let index = 0; index < size; index += 1) {
        const proof = await inclusionProof(index, size, getNode, nativeHasher);
        const good = { index, size, leafHash: leaves[index]!, proof, root: roots[size]! };
        for (const [name, bad] of corruptInclusion(good)) {
          const outcome = outcomeOf(() => verifyInclusion(bad, nativeHasher));
          if (outcome !== 'ERR_PROOF_INVALID')
            accepted.push(`${index}/${size}: ${name}: ${outcome}`);
        }
      }
    }
    expect(accepted).toEqual([]);
  });

  test('consistency, in every tree of up to 33 leaves', async () => {
    const accepted: string[] = [];
    for (let size2 = 1; size2 <= 33; size2 += 1) {
      for (let size1 = 1; size1 <= size2; size1 += 1) {
        const proof = await consistencyProof(size1, size2, getNode, nativeHasher);
        const good = { size1, size2, root1: roots[size1]!, root2: roots[size2]!, proof };
        for (const [name, bad] of corruptConsistency(good)) {
          const outcome = outcomeOf(() => verifyConsistency(bad, nativeHasher));
          if (outcome !== 'ERR_PROOF_INVALID')
            accepted.push(`${size1}/${size2}: ${name}: ${outcome}`);
        }
      }
    }
    expect(accepted).toEqual([]);
  });
});

describe('arguments', () => {
  test.each([-1, 1.5, Number.NaN, 2 ** 53, -1n, 2n ** 64n, '3', undefined])(
    'a verifier refuses %p as a size',
    (size) => {
      const [leafHash, root] = [leaves[0]!, roots[1]!];
      const claim = { index: 0, size: size as number, leafHash, proof: [], root };
      expect(() => verifyInclusion(claim)).toThrow(proofInvalid);
      expect(() =>
        verifyConsistency({ size1: 1, size2: size as number, root1: root, root2: root, proof: [] }),
      ).toThrow(proofInvalid);
    },
  );

  test('a verifier refuses hashes that are not bytes', () => {
    const claim = { index: 0, size: 1, leafHash: leaves[0]!, proof: [], root: roots[1]! };
    for (const bad of [
      { root: undefined },
      { leafHash: 'abc' },
      { proof: null },
      { proof: ['x'] },
    ]) {
      expect(() => verifyInclusion({ ...claim, ...bad } as unknown as InclusionClaim)).toThrow(
        proofInvalid,
      );
    }
  });

  test('an inclusion proof near 2^64 leaves verifies', () => {
    // A tree of 2^64 - 1 leaves of which only the path of the last is known: the border hashes.
    const size = 2n ** 64n - 1n;
    const proof = Array.from({ length: 63 }, (_, i) => leafOf(i));
    const root = proof.reduce((hash, left) => nativeHasher.nodeHash(left, hash), leaves[0]!);
    const claim = { index: size - 1n, size, leafHash: leaves[0]!, proof, root };
    verifyInclusion(claim);
    expect(() => verifyInclusion({ ...claim, index: size - 2n })).toThrow(proofInvalid);
  });

  test('a maker refuses positions outside the tree', () => {
    for (const [index, size] of [
      [-1, 5],
      [5, 5],
      [0, 0],
      [0.5, 2],
      [0, 2 ** 53],
    ] as const) {
      expect(() => inclusionNodes(index, size)).toThrow(argumentError);
    }
    for (const [size1, size2] of [
      [0, 5],
      [6, 5],
      [0, 0],
      [1, 1.5],
      [1, 2 ** 53],
    ] as const) {
      expect(() => consistencyNodes(size1, size2)).toThrow(argumentError);
    }
  });

  test('a proof of a very large tree asks for at most one ragged step', () => {
    const steps = inclusionNodes(2 ** 52 - 12_345, 2 ** 53 - 1);
    expect(steps.filter((step) => step.length > 1)).toHaveLength(1);
    expect(steps.length).toBeLessThanOrEqual(53);
  });

  test('a node that cannot be read fails the proof with its own error', async () => {
    const broken = new Error('disk');
    await expect(inclusionProof(0, 4, () => Promise.reject(broken))).rejects.toBe(broken);
  });
});

function outcomeOf(verify: () => void): string {
  try {
    verify();
    return 'accepted';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

function sameHashes(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return Buffer.concat(a).equals(Buffer.concat(b));
}

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice();
  copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
}

function* corruptProof(proof: readonly Uint8Array[]): Generator<[string, Uint8Array[]]> {
  for (const [i, hash] of proof.entries()) {
    yield [`bit flipped in node ${i}`, proof.with(i, flip(hash, (i * 37) % 256))];
    yield [`node ${i} dropped`, proof.toSpliced(i, 1)];
    yield [`node ${i} doubled`, proof.toSpliced(i, 0, hash)];
    yield [`node ${i} cut short`, proof.with(i, hash.subarray(1))];
    yield [`node ${i} empty`, proof.with(i, new Uint8Array(0))];
    if (i > 0)
      yield [`nodes ${i - 1} and ${i} swapped`, proof.with(i, proof[i - 1]!).with(i - 1, hash)];
  }
  yield ['node added in front', [leaves[0]!, ...proof]];
  yield ['node added at the end', [...proof, leaves[0]!]];
  if (proof.length > 0) yield ['no proof', []];
  if (proof.length > 1) yield ['proof reversed', proof.toReversed()];
}

function* corruptInclusion(good: InclusionClaim & { index: number; size: number }) {
  for (const [name, proof] of corruptProof(good.proof)) yield [name, { ...good, proof }] as const;
  for (let index = -1; index <= good.size + 1; index += 1) {
    if (index !== good.index) yield [`index ${index}`, { ...good, index }] as const;
  }
  for (const root of [
    flip(good.root, 0),
    flip(good.root, 255),
    roots[good.size - 1]!,
    leaves[299]!,
  ]) {
    yield ['another root', { ...good, root }] as const;
  }
  yield ['a short root', { ...good, root: good.root.subarray(0, 31) }] as const;
  yield ['another leaf', { ...good, leafHash: flip(good.leafHash, 100) }] as const;
  yield ['an empty leaf', { ...good, leafHash: new Uint8Array(0) }] as const;
  // A path may fit a tree of another size of equal shape; with that size's own root it must not.
  for (let size = 0; size < 45; size += 1) {
    if (size !== good.size) yield [`size ${size}`, { ...good, size, root: roots[size]! }] as const;
  }
}

function* corruptConsistency(good: ConsistencyClaim & { size1: number; size2: number }) {
  for (const [name, proof] of corruptProof(good.proof)) yield [name, { ...good, proof }] as const;
  yield ['another root1', { ...good, root1: flip(good.root1, 9) }] as const;
  yield ['another root2', { ...good, root2: flip(good.root2, 200) }] as const;
  yield ['an empty root1', { ...good, root1: new Uint8Array(0) }] as const;
  yield ['an empty root2', { ...good, root2: new Uint8Array(0) }] as const;
  if (good.size1 !== good.size2) {
    yield ['roots swapped', { ...good, root1: good.root2, root2: good.root1 }] as const;
    yield ['sizes swapped', { ...good, size1: good.size2, size2: good.size1 }] as const;
  }
  for (let size = 0; size < 45; size += 1) {
    if (size !== good.size1)
      yield [`size1 ${size}`, { ...good, size1: size, root1: roots[size]! }] as const;
    if (size !== good.size2)
      yield [`size2 ${size}`, { ...good, size2: size, root2: roots[size]! }] as const;
  }
}
