/**
 * Rebuilds the state of the evidence log from its files (evidence-log.md sections 2.3, 2.6 and 3): from the snapshot
 * and the frames behind it, or else from all frames. Either way the root at the size of the published checkpoint must
 * be the published one.
 */

import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { type Frame, frameSize } from '@fieldproof/protocol/frame';
import {
  decodeBatchEntry,
  decodeEvidenceEntry,
  isBatchEntry,
} from '@fieldproof/protocol/log-entries';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { BrokerError } from '../errors.ts';
import { BatchIndex } from './batch-index.ts';
import type { FileLayer } from './file-layer.ts';
import { LogTree } from './log-tree.ts';
import type { PublishedCheckpoint } from './publisher.ts';
import { decodeReject, type RejectRecord } from './reject-log.ts';
import { corrupt, segmentName } from './segment-file.ts';
import { listSegments, type ReplayResult, replaySegments } from './segment-replay.ts';
import { SegmentStore } from './segment-store.ts';
import { decodeSnapshot, type Snapshot } from './snapshot.ts';

/** Where the parts of an evidence log lie. */
export interface LogFolders {
  readonly segments: string;
  readonly rejects: string;
  readonly published: string;
  readonly snapshot: string;
}

/** The state that the files describe. Nothing has been changed on disk yet. */
export interface StartState {
  readonly tree: LogTree;
  readonly index: BatchIndex;
  readonly store: SegmentStore;
  readonly segments: ReplayResult;
  readonly rejects: ReplayResult;
  /** Frames that were read for the state, rather than taken from a snapshot. */
  readonly replayed: number;
  readonly usedSnapshot: boolean;
}

export interface StartOptions {
  readonly files: FileLayer;
  readonly folders: LogFolders;
  readonly published: PublishedCheckpoint | null;
  readonly onFailure: (error: unknown) => void;
}

/**
 * Reads the state.
 *
 * @throws {BrokerError} ERR_LOG_CORRUPT when a full reading shows that evidence has changed or is missing.
 */
export async function readState(options: StartOptions): Promise<StartState> {
  const records: RejectRecord[] = [];
  const rejects = await replaySegments(options.files, options.folders.rejects, {
    from: 0,
    onFrame: (frame) => records.push(decodeReject(frame)),
  });
  const snapshot = await usableSnapshot(options, rejects.nextIndex);
  if (snapshot !== undefined) {
    try {
      return await replay(options, { snapshot, records, rejects });
    } catch (error) {
      // What a snapshot says counts for nothing against the log: the full reading decides.
      if (!(error instanceof BrokerError && error.code === 'ERR_LOG_CORRUPT')) throw error;
      options.onFailure(error);
    }
  }
  return await replay(options, { snapshot: undefined, records, rejects });
}

/** The snapshot, when it fits what is on disk beside it. */
async function usableSnapshot(
  { files, folders, published }: StartOptions,
  rejectCount: number,
): Promise<Snapshot | undefined> {
  const bytes = await files.readFile(folders.snapshot);
  const snapshot = bytes && decodeSnapshot(bytes);
  if (snapshot === undefined || published === null || snapshot.size > published.size) {
    return undefined;
  }
  if (snapshot.rejects > rejectCount) return undefined;
  const firsts = await listSegments(files, folders.segments);
  const before = firsts.filter((first) => first < snapshot.segment);
  if (before.length !== snapshot.closed.length) return undefined;
  for (const [i, { first, bytes: length }] of snapshot.closed.entries()) {
    if (before[i] !== first) return undefined;
    const file = await files.open(join(folders.segments, segmentName(first)), 'read');
    try {
      if ((await file.size()) !== length) return undefined;
    } finally {
      await file.close();
    }
  }
  return snapshot;
}

async function replay(
  { files, folders, published, onFailure }: StartOptions,
  from: {
    readonly snapshot: Snapshot | undefined;
    readonly records: readonly RejectRecord[];
    readonly rejects: ReplayResult;
  },
): Promise<StartState> {
  const { snapshot, records } = from;
  const known = snapshot?.size ?? 0;
  const tree = new LogTree(snapshot?.tree);
  const index = snapshot?.index ?? new BatchIndex();
  const closed = snapshot?.closed ?? [];
  const store = new SegmentStore({ files, folder: folders.segments, closed, onFailure });
  let nextReject = snapshot?.rejects ?? 0;

  function applyRejectsBefore(logSize: number): void {
    for (; nextReject < records.length; nextReject += 1) {
      const record = records[nextReject]!;
      if (record.logSize > logSize) return;
      index.boot(record).reject(record.seq, record.code);
    }
  }

  function onFrame(frame: Frame): void {
    const entry = frame.entry.slice();
    const batch = isBatchEntry(entry) ? decode(decodeBatchEntry, frame) : null;
    store.add(frameSize(entry.length, frame.body.length), batch?.digest ?? null);
    if (frame.index < known) return;
    applyRejectsBefore(frame.index);
    const leafHash = nativeHasher.leafHash(entry);
    tree.append(leafHash, entry);
    const ref = { index: frame.index, leafHash };
    if (batch !== null) index.apply(batch, frame.body, ref);
    else index.applyOther(decode(decodeEvidenceEntry, frame), ref);
    if (tree.size === published?.size) checkRoot(tree, published);
  }

  if (published !== null && known === published.size) checkRoot(tree, published);
  const segments = await replaySegments(files, folders.segments, {
    from: snapshot?.segment ?? 0,
    onSegment: (first) => store.begin(first),
    onFrame,
  });
  if (published !== null && tree.size < published.size) {
    const what = `expected the ${published.size} entries that are published, got ${tree.size}`;
    throw corrupt(folders.segments, what);
  }
  applyRejectsBefore(Number.POSITIVE_INFINITY);
  const replayed = segments.nextIndex - known;
  const usedSnapshot = snapshot !== undefined;
  return { tree, index, store, segments, rejects: from.rejects, replayed, usedSnapshot };
}

function checkRoot(tree: LogTree, published: PublishedCheckpoint): void {
  if (!equalBytes(tree.root(), published.root)) {
    throw corrupt(`log of size ${tree.size}`, 'its root is not the published one');
  }
  tree.markPublished(published.size);
}

function decode<T>(decoder: (bytes: Uint8Array) => T, { index, entry }: Frame): T {
  try {
    return decoder(entry);
  } catch (cause) {
    throw corrupt(`entry ${index}`, 'expected an evidence entry, got other bytes', cause);
  }
}
