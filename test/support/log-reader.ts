/** Reads a published log as an outsider: checkpoint, entry bundles and tiles over HTTP, nothing else. */

import { type Checkpoint, verifyCheckpoint } from '@fieldproof/protocol/checkpoint';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { decodeEvidenceEntry, type EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { inclusionProof, verifyInclusion } from '@fieldproof/protocol/merkle-proof';
import { noteVerifier } from '@fieldproof/protocol/note-key';
import type { Descriptor } from '@fieldproof/protocol/statements';
import {
  decodeEntryBundle,
  getNodeFromTiles,
  TILE_WIDTH,
  tilePath,
} from '@fieldproof/protocol/tlog-tile';

export interface PublishedLog {
  readonly checkpoint: Checkpoint;
  readonly entries: readonly { readonly index: number; readonly entry: EvidenceEntry }[];
  /** Fetches a proof from the tiles and verifies it; `tampered` flips a bit of the leaf first. */
  readonly proveEntry: (index: number, options?: { readonly tampered: boolean }) => Promise<void>;
}

/** Everything up to the present checkpoint, whose signature is verified under the descriptor's log key. */
export async function decodeCheckpointTree(
  base: string,
  descriptor: Descriptor,
): Promise<PublishedLog> {
  const origin = descriptor.origins.evidence;
  const note = await (await fetch(`${base}/checkpoint`)).text();
  const checkpoint = verifyCheckpoint(note, {
    origin,
    log: noteVerifier(origin, descriptor.keys.log),
    verify,
  });
  const read = async (path: string): Promise<Uint8Array> => {
    const response = await fetch(`${base}/${path}`);
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const raw: Uint8Array[] = [];
  for (let index = 0; index * TILE_WIDTH < checkpoint.size; index++) {
    const width = Math.min(TILE_WIDTH, checkpoint.size - index * TILE_WIDTH);
    raw.push(...decodeEntryBundle(await read(tilePath({ level: 'entries', index, width })), width));
  }
  return {
    checkpoint,
    entries: raw.map((bytes, index) => ({ index, entry: decodeEvidenceEntry(bytes) })),
    proveEntry: async (index, { tampered } = { tampered: false }) => {
      const getNode = getNodeFromTiles(
        checkpoint.size,
        (tile) => read(tilePath(tile)),
        nativeHasher,
      );
      const leafHash = nativeHasher.leafHash(raw[index] as Uint8Array).slice();
      if (tampered) leafHash[0]! ^= 1;
      const proof = await inclusionProof(index, checkpoint.size, getNode, nativeHasher);
      const { size, root } = checkpoint;
      verifyInclusion({ index, size, leafHash, proof, root }, nativeHasher);
    },
  };
}
