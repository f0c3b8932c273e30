/** Merkle proofs about what an evidence log has published, from its tiles. */

import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { consistencyProof, type GetNode, inclusionProof } from '@fieldproof/protocol/merkle-proof';
import { getNodeFromTiles } from '@fieldproof/protocol/tlog-tile';
import { BrokerError } from '../errors.ts';
import type { TileReader } from './tile-reader.ts';

export class LogProofs {
  private readonly tiles: TileReader;
  private readonly publishedSize: () => number;

  /** @param publishedSize - that of the newest checkpoint, 0 before the first. */
  constructor(tiles: TileReader, publishedSize: () => number) {
    this.tiles = tiles;
    this.publishedSize = publishedSize;
  }

  /**
   * The inclusion proof of an entry in the tree of a size that is published (RFC 6962 section 2.1.1).
   *
   * @throws {BrokerError} ERR_INDEX_RANGE unless index < size <= published size.
   */
  async inclusion(index: number, size: number): Promise<Uint8Array[]> {
    checkRange('size', size, { from: 1, to: this.publishedSize() });
    checkRange('index', index, { from: 0, to: size - 1 });
    return await inclusionProof(index, size, this.nodes(size), nativeHasher);
  }

  /**
   * The consistency proof between two sizes that are published (RFC 6962 section 2.1.2).
   *
   * @throws {BrokerError} ERR_INDEX_RANGE unless 1 <= size1 <= size2 <= published size.
   */
  async consistency(size1: number, size2: number): Promise<Uint8Array[]> {
    checkRange('size2', size2, { from: 1, to: this.publishedSize() });
    checkRange('size1', size1, { from: 1, to: size2 });
    return await consistencyProof(size1, size2, this.nodes(size2), nativeHasher);
  }

  private nodes(size: number): GetNode {
    const readTile = this.tiles.forPublished(this.publishedSize());
    return getNodeFromTiles(size, readTile, nativeHasher);
  }
}

function checkRange(
  name: string,
  value: number,
  { from, to }: { readonly from: number; readonly to: number },
): void {
  if (Number.isSafeInteger(value) && value >= from && value <= to) return;
  throw new BrokerError('ERR_INDEX_RANGE', `${name}: expected ${from} to ${to}, got ${value}`);
}
