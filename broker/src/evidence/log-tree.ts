/**
 * The Merkle tree of the log and the tiles and entry bundles that it has not yet published (evidence-log.md
 * section 3, C2SP tlog-tiles). It grows with every commit; nothing here touches a file.
 */

import { CompactRange } from '@fieldproof/protocol/compact-range';
import { HASH_BYTES } from '@fieldproof/protocol/merkle';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import {
  bundlesForGrowth,
  encodeEntryBundle,
  TILE_WIDTH,
  tilePath,
  tilesForGrowth,
} from '@fieldproof/protocol/tlog-tile';

/** Tree levels that one tile level spans. */
const TILE_HEIGHT = 8;

/** A file below the log's prefix. */
export interface PublishedFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What publishing the present size takes. */
export interface Publication {
  readonly size: number;
  readonly root: Uint8Array;
  /** New tiles and bundles, full and partial. */
  readonly files: readonly PublishedFile[];
}

/** The state of a {@link LogTree} as bytes and arrays of bytes. */
export interface LogTreeState {
  readonly range: Uint8Array;
  /** For each tile level the hashes of its last, partial tile. */
  readonly columns: readonly Uint8Array[];
  /** The entries of the last, partial bundle. */
  readonly entries: readonly Uint8Array[];
}

export class LogTree {
  readonly #range: CompactRange;
  /** For each tile level the hashes of the tile that is not full. */
  readonly #columns: Uint8Array[][] = [];
  #entries: Uint8Array[] = [];
  /** Full tiles and bundles that are not published, by path. */
  readonly #full = new Map<string, Uint8Array>();
  #publishedSize = 0;

  constructor(state?: LogTreeState) {
    const options = {
      hasher: nativeHasher,
      onNode: (level: number, index: number, hash: Uint8Array) => {
        if (level % TILE_HEIGHT === 0) this.#addToTile(level / TILE_HEIGHT, index, hash);
      },
    };
    if (state === undefined) {
      this.#range = new CompactRange(options);
      return;
    }
    this.#range = CompactRange.restore(state.range, options);
    this.#columns = state.columns.map((column) => {
      const hashes: Uint8Array[] = [];
      for (let at = 0; at < column.length; at += HASH_BYTES) {
        hashes.push(column.slice(at, at + HASH_BYTES));
      }
      return hashes;
    });
    this.#entries = state.entries.map((entry) => entry.slice());
    this.#publishedSize = this.#range.size;
  }

  /** Entries. */
  get size(): number {
    return this.#range.size;
  }

  /** Entries behind the published ones. */
  get unpublished(): number {
    return this.size - this.#publishedSize;
  }

  root(): Uint8Array {
    return this.#range.root();
  }

  /** Adds the next entry; both arrays are kept. */
  append(leafHash: Uint8Array, entry: Uint8Array): void {
    const index = this.#range.append(leafHash);
    this.#entries.push(entry);
    if (this.#entries.length < TILE_WIDTH) return;
    const bundle = Math.floor(index / TILE_WIDTH);
    const path = tilePath({ level: 'entries', index: bundle, width: TILE_WIDTH });
    this.#full.set(path, encodeEntryBundle(this.#entries));
    this.#entries = [];
  }

  /** The files and the head for the present size. */
  publication(): Publication {
    const { size } = this;
    const files: PublishedFile[] = [];
    for (const tile of tilesForGrowth(this.#publishedSize, size)) {
      const path = tilePath(tile);
      const bytes = this.#full.get(path) ?? concatHashes(this.#columns[tile.level] ?? []);
      files.push({ path, bytes });
    }
    for (const bundle of bundlesForGrowth(this.#publishedSize, size)) {
      const path = tilePath(bundle);
      files.push({ path, bytes: this.#full.get(path) ?? encodeEntryBundle(this.#entries) });
    }
    return { size, root: this.root(), files };
  }

  /** States that everything up to that size is published. */
  markPublished(size: number): void {
    const done = [...tilesForGrowth(this.#publishedSize, size)].map(tilePath);
    done.push(...bundlesForGrowth(this.#publishedSize, size).map(tilePath));
    for (const path of done) this.#full.delete(path);
    this.#publishedSize = size;
  }

  /** The state to go on from; only for a size that is published. */
  state(): LogTreeState {
    return {
      range: this.#range.serialise(),
      columns: this.#columns.map(concatHashes),
      entries: this.#entries.slice(),
    };
  }

  #addToTile(level: number, index: number, hash: Uint8Array): void {
    this.#columns[level] ??= [];
    const column = this.#columns[level]!;
    column.push(hash);
    if (column.length < TILE_WIDTH) return;
    const path = tilePath({ level, index: Math.floor(index / TILE_WIDTH), width: TILE_WIDTH });
    this.#full.set(path, concatHashes(column));
    this.#columns[level] = [];
  }
}

function concatHashes(hashes: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(hashes.length * HASH_BYTES);
  for (const [i, hash] of hashes.entries()) bytes.set(hash, i * HASH_BYTES);
  return bytes;
}
