import { CompactRange } from '@fieldproof/protocol/compact-range';
import { rootFromLeafHashes } from '@fieldproof/protocol/merkle';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { describe, expect, test } from '@jest/globals';
import { leafOf, naiveTree } from './naive-merkle.ts';

const leaves = Array.from({ length: 300 }, (_, i) => leafOf(i));
const naive = naiveTree(leaves);
const argumentError = expect.objectContaining({ code: 'ERR_ARGUMENT' });

function rangeOf(size: number): CompactRange {
  const range = new CompactRange({ hasher: nativeHasher });
  for (const leaf of leaves.slice(0, size)) range.append(leaf);
  return range;
}

describe('a compact range', () => {
  test('has the root of the recursive definition at every size from 0 to 300', () => {
    const range = new CompactRange();
    for (let size = 0; size < 300; size += 1) {
      expect(range.root()).toEqual(naive.root(size));
      expect(range.append(leaves[size]!)).toBe(size);
      expect(range.size).toBe(size + 1);
    }
    expect(range.root()).toEqual(naive.root(300));
  });

  test('reports every complete subtree once, with its hash, when its last leaf arrives', () => {
    const nodes = new Map<string, Uint8Array>();
    const range = new CompactRange({
      hasher: nativeHasher,
      onNode(level, index, hash) {
        expect(nodes.has(`${level}/${index}`)).toBe(false);
        expect((index + 1) * 2 ** level).toBe(range.size + 1);
        nodes.set(`${level}/${index}`, hash);
      },
    });
    for (const leaf of leaves) range.append(leaf);

    let expected = 0;
    for (let level = 0; 2 ** level <= 300; level += 1) {
      for (let index = 0; (index + 1) * 2 ** level <= 300; index += 1) {
        const under = leaves.slice(index * 2 ** level, (index + 1) * 2 ** level);
        expect(nodes.get(`${level}/${index}`)).toEqual(rootFromLeafHashes(under, nativeHasher));
        expected += 1;
      }
    }
    expect(nodes.size).toBe(expected);
  });

  test('goes on after a restore as if nothing had happened, at every size', () => {
    for (let size = 0; size < 300; size += 1) {
      const restored = CompactRange.restore(rangeOf(size).serialise(), { hasher: nativeHasher });
      expect(restored.size).toBe(size);
      restored.append(leaves[size]!);
      expect(restored.root()).toEqual(naive.root(size + 1));
    }
  });

  test('restores from bytes inside a larger buffer and keeps its own copy', () => {
    const bytes = rangeOf(7).serialise();
    const larger = new Uint8Array(bytes.length + 10);
    larger.set(bytes, 5);
    const restored = CompactRange.restore(larger.subarray(5, 5 + bytes.length));
    larger.fill(0);
    expect(restored.root()).toEqual(naive.root(7));
  });

  test('grows past 2^32 leaves', () => {
    const size = 2 ** 40 - 1;
    const bytes = new Uint8Array(8 + 32 * 40);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(size));
    const range = CompactRange.restore(bytes, { hasher: nativeHasher });
    expect(range.append(leaves[0]!)).toBe(size);
    expect(range.serialise().length).toBe(8 + 32);
  });

  test.each([
    ['nothing', new Uint8Array(0)],
    ['a size without hashes', Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1)],
    ['a hash too many', new Uint8Array(8 + 32)],
    ['half a hash', rangeOf(3).serialise().subarray(0, -1)],
    ['a size above 2^53', new Uint8Array(8 + 32 * 64).fill(0xff)],
  ])('is not restored from %s', (_, bytes) => {
    expect(() => CompactRange.restore(bytes)).toThrow(argumentError);
  });

  test('refuses a leaf hash of another length and appends nothing', () => {
    const range = rangeOf(3);
    expect(() => range.append(new Uint8Array(31))).toThrow(argumentError);
    expect(range.size).toBe(3);
    expect(range.root()).toEqual(naive.root(3));
  });
});
