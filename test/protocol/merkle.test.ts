import {
  createHasher,
  emptyRoot,
  portableHasher,
  portableSha256,
  rootFromLeafHashes,
} from '@fieldproof/protocol/merkle';
import { nativeHasher, nativeSha256 } from '@fieldproof/protocol/merkle-node';
import { describe, expect, test } from '@jest/globals';
import { leafOf, naiveTree, sha256 } from './naive-merkle.ts';
import { readVectors } from './read-vectors.ts';

interface Roots {
  readonly leaves_hex: readonly string[];
  readonly roots_hex: readonly string[];
}

const vectors = readVectors<Roots>('rfc6962/roots.json');
const leafData = vectors.leaves_hex.map((hex) => new Uint8Array(Buffer.from(hex, 'hex')));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe.each([
  ['portable', portableHasher, portableSha256],
  ['native', nativeHasher, nativeSha256],
] as const)('Merkle hashing, %s', (_, hasher, hash) => {
  test.each(vectors.roots_hex.map((root, size) => [size, root] as const))(
    'the Certificate Transparency test tree of size %i has its published root',
    (size, root) => {
      const leaves = leafData.slice(0, size).map((data) => hasher.leafHash(data));
      expect(hex(rootFromLeafHashes(leaves, hasher))).toBe(root);
    },
  );

  test('a leaf and a node over the same bytes have different hashes', () => {
    const [left, right] = [leafOf(1), leafOf(2)];
    const joined = new Uint8Array([...left, ...right]);
    expect(hasher.leafHash(joined)).not.toEqual(hasher.nodeHash(left, right));
  });

  test('a node of anything but two 32-byte hashes is refused', () => {
    expect(() => hasher.nodeHash(leafOf(1).subarray(1), leafOf(2))).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
    expect(() => hasher.nodeHash(leafOf(1), new Uint8Array(0))).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
  });

  test.each([0, 1, 63, 64, 4094, 4095, 4096, 4097, 70_000])(
    'parts of %i bytes in all hash as SHA-256 of the joined bytes',
    (length) => {
      const bytes = Uint8Array.from({ length }, (_, i) => i % 251);
      const cut = Math.floor(length / 3);
      expect(hash(bytes.subarray(0, cut), bytes.subarray(cut))).toEqual(sha256(bytes));
    },
  );

  test('a hash stays as it is while others are made', () => {
    const first = hasher.leafHash(Uint8Array.of(1));
    const copy = first.slice();
    hasher.leafHash(Uint8Array.of(2));
    expect(first).toEqual(copy);
  });
});

test('the root of every size from 0 to 300 is the one of the recursive definition', () => {
  const leaves = Array.from({ length: 300 }, (_, i) => leafOf(i));
  const naive = naiveTree(leaves);
  for (let size = 0; size <= 300; size += 1) {
    expect(rootFromLeafHashes(leaves.slice(0, size), nativeHasher)).toEqual(naive.root(size));
  }
});

test('a single leaf hash that is not 32 bytes is refused as a root', () => {
  expect(() => rootFromLeafHashes([new Uint8Array(31)])).toThrow(
    expect.objectContaining({ code: 'ERR_ARGUMENT' }),
  );
});

test('whoever changes an empty root does not change the next one', () => {
  emptyRoot().fill(0);
  expect(hex(emptyRoot())).toBe(vectors.roots_hex[0]);
});

test('a hasher uses the SHA-256 it was given', () => {
  const parts: number[] = [];
  const counting = createHasher((...given) => {
    parts.push(given.length);
    return nativeSha256(...given);
  });
  counting.nodeHash(counting.leafHash(Uint8Array.of(7)), leafOf(1));
  expect(parts).toEqual([2, 3]);
});
