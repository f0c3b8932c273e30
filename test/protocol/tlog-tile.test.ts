import { CompactRange } from '@fieldproof/protocol/compact-range';
import { rootFromLeafHashes } from '@fieldproof/protocol/merkle';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import {
  consistencyProof,
  inclusionProof,
  rootFromNodes,
  verifyConsistency,
  verifyInclusion,
} from '@fieldproof/protocol/merkle-proof';
import {
  bundlesForGrowth,
  decodeEntryBundle,
  decodeTile,
  encodeEntryBundle,
  getNodeFromTiles,
  nodeTile,
  parseTilePath,
  type Tile,
  tilePath,
  tilesForGrowth,
  tileWidth,
} from '@fieldproof/protocol/tlog-tile';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { leafOf } from './naive-merkle.ts';

const argumentError = expect.objectContaining({ code: 'ERR_ARGUMENT' });
const tileMalformed = expect.objectContaining({ code: 'ERR_TILE_MALFORMED' });

const tiles = fc.record({
  level: fc.oneof(fc.constant('entries' as const), fc.integer({ min: 0, max: 63 })),
  index: fc.oneof(fc.maxSafeNat(), fc.nat(2000)),
  width: fc.integer({ min: 1, max: 256 }),
});

describe('tile paths', () => {
  test.each<[string, Tile]>([
    ['tile/0/x001/x234/067', { level: 0, index: 1_234_067, width: 256 }],
    ['tile/0/000', { level: 0, index: 0, width: 256 }],
    ['tile/63/999.p/255', { level: 63, index: 999, width: 255 }],
    ['tile/1/x001/000.p/1', { level: 1, index: 1000, width: 1 }],
    ['tile/entries/x273/112.p/112', { level: 'entries', index: 273_112, width: 112 }],
    ['tile/0/x009/x007/x199/x254/x740/991', { level: 0, index: 2 ** 53 - 1, width: 256 }],
  ])('%s names its tile and only it', (path, tile) => {
    expect(tilePath(tile)).toBe(path);
    expect(parseTilePath(path)).toEqual(tile);
  });

  test('every tile survives its path', () => {
    fc.assert(fc.property(tiles, (tile) => expect(parseTilePath(tilePath(tile))).toEqual(tile)));
  });

  test.each([
    '',
    'tile/0',
    'tile/0/',
    '/tile/0/000',
    'tile/0/000/',
    'tile/0/000\n',
    'tile/00/000',
    'tile/-1/000',
    'tile/64/000',
    'tile/x/000',
    'tile/Entries/000',
    'tile/0/0',
    'tile/0/0000',
    'tile/0/x000/001',
    'tile/0/001/234',
    'tile/0/x001/x234',
    'tile/0/x001',
    'tile/0/x1/234',
    'tile/0/x001//234',
    'tile/0/000.p/0',
    'tile/0/000.p/05',
    'tile/0/000.p/256',
    'tile/0/000.p/999',
    'tile/0/000.p/',
    'tile/0/000.p',
    'tile/0/000.p/1/2',
    'tile/0/000.p/+1',
    'tile/0/٠٠٠',
    'tile/0/../000',
    'tile/0/x009/x007/x199/x254/x740/992',
    `tile/0/${'x999/'.repeat(500)}999`,
  ])('%p is not a tile path', (path) => {
    expect(() => parseTilePath(path)).toThrow(tileMalformed);
  });

  test.each<Tile>([
    { level: 64, index: 0, width: 256 },
    { level: -1, index: 0, width: 256 },
    { level: 0, index: -1, width: 256 },
    { level: 0, index: 0.5, width: 256 },
    { level: 0, index: 0, width: 0 },
    { level: 0, index: 0, width: 257 },
  ])('no path is made for %p', (tile) => {
    expect(() => tilePath(tile)).toThrow(argumentError);
  });
});

describe('tiles of a tree', () => {
  test('of 70,000 leaves are those of the specification', () => {
    const all = tilesForGrowth(0, 70_000);
    const summary = [0, 1, 2].map((level) => all.filter((tile) => tile.level === level));
    expect(summary.map((some) => some.filter((tile) => tile.width === 256).length)).toEqual([
      273, 1, 0,
    ]);
    expect(summary.map((some) => some.at(-1))).toEqual([
      { level: 0, index: 273, width: 112 },
      { level: 1, index: 1, width: 17 },
      { level: 2, index: 0, width: 1 },
    ]);
    expect(all).toHaveLength(273 + 1 + 1 + 1 + 1);
  });

  test('of 256 leaves are a full one and a partial one above', () => {
    expect(tilesForGrowth(0, 256)).toEqual([
      { level: 0, index: 0, width: 256 },
      { level: 1, index: 0, width: 1 },
    ]);
    expect(bundlesForGrowth(0, 256)).toEqual([{ level: 'entries', index: 0, width: 256 }]);
  });

  test('no growth adds none, and none of width 0 is ever made', () => {
    for (const size of [0, 1, 255, 256, 65_536]) {
      expect(tilesForGrowth(size, size)).toEqual([]);
      expect(bundlesForGrowth(size, size)).toEqual([]);
    }
  });

  test('growing in two steps writes every file of the larger tree', () => {
    const size = fc.nat(200_000);
    fc.assert(
      fc.property(size, size, (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const written = new Set(
          [...tilesForGrowth(0, from), ...tilesForGrowth(from, to)].map(tilePath),
        );
        for (const tile of tilesForGrowth(0, to)) {
          expect(tile.width).toBe(tileWidth(tile.level, tile.index, to));
          expect(written.has(tilePath(tile))).toBe(true);
        }
        const had = new Set(tilesForGrowth(0, from).map(tilePath));
        for (const tile of tilesForGrowth(from, to)) expect(had.has(tilePath(tile))).toBe(false);
      }),
      { numRuns: 30 },
    );
  });

  test('a growth backwards is refused', () => {
    expect(() => tilesForGrowth(2, 1)).toThrow(argumentError);
    expect(() => bundlesForGrowth(2, 1)).toThrow(argumentError);
  });

  test('a node lies over the hashes of one tile', () => {
    expect(nodeTile(0, 0)).toEqual({ tileLevel: 0, tileIndex: 0, offset: 0, count: 1 });
    expect(nodeTile(7, 3)).toEqual({ tileLevel: 0, tileIndex: 1, offset: 128, count: 128 });
    expect(nodeTile(8, 257)).toEqual({ tileLevel: 1, tileIndex: 1, offset: 1, count: 1 });
    expect(() => nodeTile(7, 2 ** 52)).toThrow(argumentError);
    expect(() => nodeTile(512, 0)).toThrow(argumentError);
  });
});

describe('nodes from tiles', () => {
  const size = 70_000;
  const store = new Map<string, Uint8Array[]>();
  const roots = new Map<number, Uint8Array>();
  const range = new CompactRange({
    hasher: nativeHasher,
    onNode(level, index, hash) {
      if (level % 8 !== 0) return;
      const key = `${level / 8}/${Math.floor(index / 256)}`;
      store.set(key, [...(index % 256 === 0 ? [] : (store.get(key) ?? [])), hash]);
    },
  });
  for (let i = 0; i < size; i += 1) {
    range.append(leafOf(i));
    roots.set(range.size, range.root());
  }

  /** The files of the log; each read must be of a file that the tree of that size has. */
  function readerFor(treeSize: number) {
    return ({ level, index, width }: Tile) => {
      const known = tilesForGrowth(0, treeSize).map(tilePath);
      expect(known).toContain(tilePath({ level, index, width }));
      return new Uint8Array(Buffer.concat(store.get(`${level}/${index}`)!.slice(0, width)));
    };
  }

  test.each([1, 2, 255, 256, 257, 511, 65_535, 65_536, 65_537, 70_000])(
    'prove everything in a tree of %i leaves',
    async (treeSize) => {
      const getNode = getNodeFromTiles(treeSize, readerFor(treeSize), nativeHasher);
      const root = roots.get(treeSize)!;
      expect(await rootFromNodes(treeSize, getNode, nativeHasher)).toEqual(root);
      for (const index of new Set([0, 1, 254, 255, 256, 65_535, treeSize >> 1, treeSize - 1])) {
        if (index >= treeSize) continue;
        const proof = await inclusionProof(index, treeSize, getNode, nativeHasher);
        verifyInclusion(
          { index, size: treeSize, leafHash: leafOf(index), proof, root },
          nativeHasher,
        );
      }
      for (const size1 of new Set([1, 2, 255, 256, 257, 65_536, 65_537, treeSize])) {
        if (size1 > treeSize) continue;
        const proof = await consistencyProof(size1, treeSize, getNode, nativeHasher);
        verifyConsistency(
          { size1, size2: treeSize, root1: roots.get(size1)!, root2: root, proof },
          nativeHasher,
        );
      }
    },
  );

  test('a tile is read once, side by side or not', async () => {
    let reads = 0;
    const getNode = getNodeFromTiles(256, (tile) => {
      reads += 1;
      return readerFor(256)(tile);
    });
    await Promise.all([getNode(0, 0), getNode(0, 1)]);
    await getNode(0, 2);
    expect(reads).toBe(1);
  });

  test('a full tile may stand in for a partial one', async () => {
    const getNode = getNodeFromTiles(5, () => readerFor(256)({ level: 0, index: 0, width: 256 }));
    expect(await rootFromNodes(5, getNode)).toEqual(roots.get(5));
  });

  test('a tile of another length is refused, and read again next time', async () => {
    let bytes = new Uint8Array(4 * 32);
    const getNode = getNodeFromTiles(5, () => bytes);
    await expect(getNode(0, 0)).rejects.toThrow(tileMalformed);
    bytes = new Uint8Array(5 * 32);
    expect(await getNode(0, 0)).toEqual(new Uint8Array(32));
  });

  test('a node outside the tree is refused', async () => {
    const getNode = getNodeFromTiles(5, readerFor(5));
    await expect(getNode(0, 5)).rejects.toThrow(argumentError);
    await expect(getNode(1, 2)).rejects.toThrow(argumentError);
    await expect(getNode(8, 0)).rejects.toThrow(argumentError);
  });

  test('a forged tile leads to a proof that does not verify', async () => {
    const forged = readerFor(256)({ level: 0, index: 0, width: 256 });
    forged[40]! ^= 1;
    const getNode = getNodeFromTiles(256, () => forged, nativeHasher);
    const proof = await inclusionProof(7, 256, getNode, nativeHasher);
    const root = roots.get(256)!;
    expect(() =>
      verifyInclusion({ index: 7, size: 256, leafHash: leafOf(7), proof, root }),
    ).toThrow(expect.objectContaining({ code: 'ERR_PROOF_INVALID' }));
  });

  test('the hashes of a full tile have the node above as their root', () => {
    const bytes = readerFor(size)({ level: 0, index: 3, width: 256 });
    const above = readerFor(size)({ level: 1, index: 0, width: 256 });
    expect(rootFromLeafHashes(decodeTile(bytes, 256))).toEqual(decodeTile(above, 256)[3]);
  });
});

describe('entry bundles', () => {
  test('hold each entry behind its length', () => {
    const bundle = encodeEntryBundle([Uint8Array.of(7, 8), new Uint8Array(0), new Uint8Array(258)]);
    expect([...bundle.subarray(0, 8)]).toEqual([0, 2, 7, 8, 0, 0, 1, 2]);
    expect(bundle.length).toBe(8 + 258);
  });

  test('survive their bytes', () => {
    const entries = fc.array(fc.uint8Array({ maxLength: 600 }), { minLength: 1, maxLength: 256 });
    fc.assert(
      fc.property(entries, (some) => {
        const back = decodeEntryBundle(encodeEntryBundle(some), some.length);
        expect(back).toEqual(some);
      }),
    );
    const longest = new Uint8Array(65_535).fill(9);
    expect(decodeEntryBundle(encodeEntryBundle([longest]))).toEqual([longest]);
  });

  test('are not made of no entries, of 257, or of one that is too long', () => {
    const one = new Uint8Array(1);
    for (const entries of [[], Array(257).fill(one), [new Uint8Array(65_536)]]) {
      expect(() => encodeEntryBundle(entries)).toThrow(argumentError);
    }
  });

  test.each<[string, Uint8Array, number | undefined]>([
    ['nothing', new Uint8Array(0), undefined],
    ['half a length', Uint8Array.of(0), undefined],
    ['a cut entry', Uint8Array.of(0, 2, 1), undefined],
    ['an entry and half a length', Uint8Array.of(0, 1, 1, 0), undefined],
    ['257 entries', new Uint8Array(514), undefined],
    ['an entry too many', new Uint8Array(4), 1],
    ['an entry too few', new Uint8Array(4), 3],
  ])('are refused: %s', (_, bytes, width) => {
    expect(() => decodeEntryBundle(bytes, width)).toThrow(tileMalformed);
  });
});
