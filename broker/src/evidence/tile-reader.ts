/**
 * Reads published hash tiles for proofs. Some are kept in memory, with the nodes that were computed above them: those
 * of the upper levels are in every proof, and a file with a given name never changes.
 */

import { join } from 'node:path';
import {
  HashTile,
  type ReadTile,
  TILE_WIDTH,
  tilePath,
  tileWidth,
} from '@fieldproof/protocol/tlog-tile';
import type { FileLayer } from './file-layer.ts';
import { corrupt } from './segment-file.ts';

/** 16 kB each, nodes included. */
const KEPT_TILES = 512;

export class TileReader {
  readonly #files: FileLayer;
  readonly #folder: string;
  readonly #kept = new Map<string, HashTile>();

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
      const tile =
        (await this.#read(tilePath({ level, index, width: widthOnDisk }))) ??
        (await this.#read(tilePath({ level, index, width: TILE_WIDTH })));
      if (tile === undefined) {
        throw corrupt(this.#folder, `expected tile ${tilePath({ level, index, width })}, got none`);
      }
      return tile;
    };
  }

  async #read(path: string): Promise<HashTile | undefined> {
    const tile = this.#kept.get(path) ?? (await this.#load(path));
    if (tile === undefined) return undefined;
    this.#kept.delete(path);
    this.#kept.set(path, tile);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT_TILES) this.#kept.delete(oldest!);
    return tile;
  }

  async #load(path: string): Promise<HashTile | undefined> {
    const bytes = await this.#files.readFile(join(this.#folder, path));
    return bytes === undefined ? undefined : new HashTile(bytes);
  }
}
