/**
 * Reads published hash tiles for proofs. Some are kept in memory: those of the upper levels are in every proof, and a
 * file with a given name never changes.
 */

import { join } from 'node:path';
import { HASH_BYTES } from '@fieldproof/protocol/merkle';
import { type ReadTile, TILE_WIDTH, tilePath, tileWidth } from '@fieldproof/protocol/tlog-tile';
import type { FileLayer } from './file-layer.ts';
import { corrupt } from './segment-file.ts';

/** 8 KiB each. */
const KEPT_TILES = 512;

export class TileReader {
  readonly #files: FileLayer;
  readonly #folder: string;
  readonly #kept = new Map<string, Uint8Array>();

  constructor(files: FileLayer, folder: string) {
    this.#files = files;
    this.#folder = folder;
  }

  /**
   * Reads tiles of a log of any size up to the published one: a tile on disk may be wider than it was then.
   *
   * @throws {BrokerError} ERR_LOG_CORRUPT when a tile is missing.
   */
  forPublished(publishedSize: number): ReadTile {
    return async ({ level, index, width }) => {
      const widthOnDisk = tileWidth(level, index, publishedSize);
      const bytes =
        (await this.#read(tilePath({ level, index, width: widthOnDisk }))) ??
        (await this.#read(tilePath({ level, index, width: TILE_WIDTH })));
      if (bytes === undefined) {
        throw corrupt(this.#folder, `expected tile ${tilePath({ level, index, width })}, got none`);
      }
      return bytes.subarray(0, width * HASH_BYTES);
    };
  }

  async #read(path: string): Promise<Uint8Array | undefined> {
    const bytes = this.#kept.get(path) ?? (await this.#files.readFile(join(this.#folder, path)));
    if (bytes === undefined) return undefined;
    this.#kept.delete(path);
    this.#kept.set(path, bytes);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT_TILES) this.#kept.delete(oldest!);
    return bytes;
  }
}
