/**
 * The static files of a tiled transparency log (C2SP tlog-tiles): names of tiles, where a tree node
 * lies in them, which files a growth adds, entry bundles, and tree nodes read back from tiles.
 *
 * A tile holds 256 hashes: tile level L stands on tree level 8 L. Reading and writing files is the
 * caller's. Indexes stay below 2^53.
 */
import { ProtocolError } from './errors.ts';
import { HASH_BYTES, type Hasher, portableHasher } from './merkle.ts';
import type { GetNode } from './merkle-proof.ts';

/** Hashes in a full tile, entries in a full bundle. */
export const TILE_WIDTH = 256;
const TILE_HEIGHT = 8;
const MAX_TILE_LEVEL = 63;

/** The longest entry that the uint16 length prefix of a bundle can state. */
export const MAX_ENTRY_BYTES = 65_535;

const PATH = /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/)*\d{3})(?:\.p\/([1-9]\d{0,2}))?$/;

/** A tile or entry bundle; `width` is 256 for a full one, 1 to 255 for a partial one. */
export interface Tile {
  readonly level: number | 'entries';
  readonly index: number;
  readonly width: number;
}

/** Where the hashes under a tree node lie: `count` hashes from `offset` in a tile. */
export interface NodeTile {
  readonly tileLevel: number;
  readonly tileIndex: number;
  readonly offset: number;
  readonly count: number;
}

/**
 * A hash tile that was read, and the nodes above its hashes that were computed so far: 16 kB at most. Who keeps it
 * from one proof to the next hashes nothing twice.
 */
export class HashTile {
  readonly width: number;
  readonly #bytes: Uint8Array;
  /** The nodes above, by place: aligned spans number like a binary heap, that of all 256 hashes is 1, its halves 2, 3. */
  readonly #inner = new Uint8Array(TILE_WIDTH * HASH_BYTES);
  readonly #isKnown = new Uint8Array(TILE_WIDTH);

  /** @throws {ProtocolError} ERR_TILE_MALFORMED unless the bytes are 1 to 256 hashes. */
  constructor(bytes: Uint8Array) {
    this.width = bytes.length / HASH_BYTES;
    if (!Number.isInteger(this.width) || this.width < 1 || this.width > TILE_WIDTH) {
      throw malformed(`tile: expected 1 to ${TILE_WIDTH} hashes, got ${bytes.length} bytes`);
    }
    this.#bytes = bytes;
  }

  /**
   * The node over `count` hashes from `offset` on, a power of two aligned to itself, within the width.
   *
   * @returns a view of the tile: not to be written to.
   */
  node(offset: number, count: number, hasher: Hasher): Uint8Array {
    if (count === 1) return hashAt(this.#bytes, offset);
    const place = (TILE_WIDTH + offset) / count;
    if (this.#isKnown[place] === 0) {
      const half = count / 2;
      const left = this.node(offset, half, hasher);
      const right = this.node(offset + half, half, hasher);
      this.#inner.set(hasher.nodeHash(left, right), place * HASH_BYTES);
      this.#isKnown[place] = 1;
    }
    return hashAt(this.#inner, place);
  }
}

/**
 * Reads a hash tile: the bytes of its `width` hashes, or of the full tile if that exists by now. A {@link HashTile} at
 * least that wide does as well.
 */
export type ReadTile = (
  tile: Tile & { readonly level: number },
) => Uint8Array | HashTile | Promise<Uint8Array | HashTile>;

/**
 * The path of a tile below the log's prefix, such as `tile/0/x001/x234/067.p/5`.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when level, index or width is out of range.
 */
export function tilePath({ level, index, width }: Tile): string {
  if (level !== 'entries') checkBetween('level', level, [0, MAX_TILE_LEVEL]);
  checkBetween('index', index, [0, Number.MAX_SAFE_INTEGER]);
  checkBetween('width', width, [1, TILE_WIDTH]);
  let path = digits(index % 1000);
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${digits(rest % 1000)}/${path}`;
  }
  return `tile/${level}/${path}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

/**
 * Reads a path that {@link tilePath} writes, and nothing else: every tile has one path.
 *
 * @throws {ProtocolError} ERR_TILE_MALFORMED.
 */
export function parseTilePath(path: string): Tile {
  const [, level, elements, width] = PATH.exec(path) ?? [];
  if (level !== undefined && elements !== undefined) {
    const tile: Tile = {
      level: level === 'entries' ? level : Number(level),
      index: Number(elements.replaceAll(/[x/]/g, '')),
      width: width === undefined ? TILE_WIDTH : Number(width),
    };
    const isInRange =
      (tile.level === 'entries' || tile.level <= MAX_TILE_LEVEL) &&
      Number.isSafeInteger(tile.index) &&
      tile.width <= TILE_WIDTH;
    if (isInRange && tilePath(tile) === path) return tile;
  }
  throw malformed(`tile path: expected tile/<L>/<N>[.p/<W>], got ${JSON.stringify(path)}`);
}

/**
 * Where the hashes under a complete subtree of 2^level leaves lie; their Merkle Tree Hash is the
 * node. The tile may be partial; {@link tileWidth} says how wide it is.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when level or index is out of range.
 */
export function nodeTile(level: number, index: number): NodeTile {
  checkBetween('level', level, [0, TILE_HEIGHT * (MAX_TILE_LEVEL + 1) - 1]);
  const count = 2 ** (level % TILE_HEIGHT);
  const first = checkBetween('index', index, [0, Number.MAX_SAFE_INTEGER]) * count;
  checkBetween('index', first, [0, Number.MAX_SAFE_INTEGER]);
  return {
    tileLevel: Math.floor(level / TILE_HEIGHT),
    tileIndex: Math.floor(first / TILE_WIDTH),
    offset: first % TILE_WIDTH,
    count,
  };
}

/** How many hashes (or entries, at level 0) a tree of that size has in a tile; 0 if none. */
export function tileWidth(level: number, index: number, size: number): number {
  const hashes = Math.floor(size / TILE_WIDTH ** level) - index * TILE_WIDTH;
  return Math.min(Math.max(hashes, 0), TILE_WIDTH);
}

/**
 * The hash tiles, full and partial, that a tree of size `to` has and one of size `from` has not,
 * lowest level first.
 *
 * @throws {ProtocolError} ERR_ARGUMENT unless 0 <= from <= to < 2^53.
 */
export function tilesForGrowth(from: number, to: number): (Tile & { readonly level: number })[] {
  checkGrowth(from, to);
  const tiles: (Tile & { readonly level: number })[] = [];
  for (let level = 0; ; level += 1) {
    const before = Math.floor(from / TILE_WIDTH ** level);
    const after = Math.floor(to / TILE_WIDTH ** level);
    if (before === after) return tiles;
    for (const part of partsForGrowth(before, after)) tiles.push({ level, ...part });
  }
}

/** The entry bundles that a growth adds; as {@link tilesForGrowth}. */
export function bundlesForGrowth(
  from: number,
  to: number,
): (Tile & { readonly level: 'entries' })[] {
  checkGrowth(from, to);
  return partsForGrowth(from, to).map((part) => ({ level: 'entries', ...part }));
}

/**
 * The bytes of an entry bundle: each entry behind its length as a big-endian uint16.
 *
 * @throws {ProtocolError} ERR_ARGUMENT unless there are 1 to 256 entries of at most 65,535 bytes.
 */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  checkBetween('entries', entries.length, [1, TILE_WIDTH]);
  let total = 0;
  for (const entry of entries)
    total += 2 + checkBetween('entry', entry.length, [0, MAX_ENTRY_BYTES]);
  const bundle = new Uint8Array(total);
  let at = 0;
  for (const entry of entries) {
    bundle[at] = entry.length >> 8;
    bundle[at + 1] = entry.length & 0xff;
    bundle.set(entry, at + 2);
    at += 2 + entry.length;
  }
  return bundle;
}

/**
 * The entries of a bundle, as views of its bytes. They are unverified until their leaf hashes have
 * been compared with the level 0 tile.
 *
 * @param width - how many entries there must be; without it any number from 1 to 256.
 * @throws {ProtocolError} ERR_TILE_MALFORMED when an entry is cut off or the number is wrong.
 */
export function decodeEntryBundle(bundle: Uint8Array, width?: number): Uint8Array[] {
  const entries: Uint8Array[] = [];
  const most = width ?? TILE_WIDTH;
  for (let at = 0; at < bundle.length; ) {
    if (entries.length === most)
      throw malformed(`entry bundle: expected ${most} entries, got more`);
    const start = at + 2;
    // Past the end a byte is undefined, and so `end` is NaN, which is not within the bundle.
    const end = start + bundle[at]! * 256 + bundle[at + 1]!;
    if (!(end <= bundle.length)) {
      throw malformed(`entry bundle: expected whole entries, got entry ${entries.length} cut off`);
    }
    entries.push(bundle.subarray(start, end));
    at = end;
  }
  if (entries.length < (width ?? 1)) {
    throw malformed(
      `entry bundle: expected ${width ?? '1 or more'} entries, got ${entries.length}`,
    );
  }
  return entries;
}

/**
 * The hashes of a tile, as views of its bytes.
 *
 * @param width - hashes wanted; a full tile may stand in for a partial one.
 * @throws {ProtocolError} ERR_TILE_MALFORMED when the tile has another length.
 */
export function decodeTile(bytes: Uint8Array, width: number): Uint8Array[] {
  checkTile(bytes, width);
  return Array.from({ length: width }, (_, i) =>
    bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
  );
}

/**
 * Tree nodes of a log of that size, computed from its tiles, for `inclusionProof`,
 * `consistencyProof` and `rootFromNodes`. Nothing is verified here: what is made of the nodes is.
 *
 * Tiles that were read are kept as long as the returned function, so make one for each checkpoint.
 *
 * @returns a function that rejects with ERR_ARGUMENT for nodes outside the tree, with
 *   ERR_TILE_MALFORMED for a tile of wrong length, or with what `readTile` throws.
 */
export function getNodeFromTiles(
  size: number,
  readTile: ReadTile,
  hasher: Hasher = portableHasher,
): GetNode {
  checkBetween('size', size, [0, Number.MAX_SAFE_INTEGER]);
  const tiles = new Map<string, Promise<HashTile>>();

  async function load(level: number, index: number, width: number): Promise<HashTile> {
    const tile = await readTile({ level, index, width });
    if (!(tile instanceof HashTile)) return new HashTile(checkTile(tile, width));
    if (tile.width < width) throw malformed(`tile: expected ${width} hashes, got ${tile.width}`);
    return tile;
  }

  return async (level, index) => {
    const { tileLevel, tileIndex, offset, count } = nodeTile(level, index);
    const width = tileWidth(tileLevel, tileIndex, size);
    if (offset + count > width) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `node: expected one of a tree of ${size} leaves, got level ${level} index ${index}`,
      );
    }
    const key = `${tileLevel}/${tileIndex}`;
    let tile = tiles.get(key);
    if (tile === undefined) {
      tile = load(tileLevel, tileIndex, width);
      tiles.set(key, tile);
      // A failed read may be tried again.
      tile.catch(() => tiles.delete(key));
    }
    return (await tile).node(offset, count, hasher);
  };
}

/** The files, 256 wide and then one partial, in which items `before` to `after` lie. */
function partsForGrowth(before: number, after: number): { index: number; width: number }[] {
  const parts: { index: number; width: number }[] = [];
  for (let index = Math.floor(before / TILE_WIDTH); index * TILE_WIDTH < after; index += 1) {
    parts.push({ index, width: tileWidth(0, index, after) });
  }
  return before === after ? [] : parts;
}

function digits(n: number): string {
  return String(n).padStart(3, '0');
}

function hashAt(bytes: Uint8Array, place: number): Uint8Array {
  return bytes.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES);
}

/** The bytes, which are `width` hashes or a full tile. */
function checkTile(bytes: Uint8Array, width: number): Uint8Array {
  if (bytes.length === width * HASH_BYTES || bytes.length === TILE_WIDTH * HASH_BYTES) return bytes;
  throw malformed(`tile: expected ${width * HASH_BYTES} bytes, got ${bytes.length}`);
}

function checkGrowth(from: number, to: number): void {
  checkBetween('from', from, [0, checkBetween('to', to, [0, Number.MAX_SAFE_INTEGER])]);
}

function checkBetween(name: string, value: number, [min, max]: readonly [number, number]): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new ProtocolError('ERR_ARGUMENT', `${name}: expected ${min} to ${max}, got ${value}`);
}

function malformed(message: string): ProtocolError {
  return new ProtocolError('ERR_TILE_MALFORMED', message);
}
