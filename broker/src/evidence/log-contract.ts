/** What the evidence log takes and answers: its options, and the outcomes of judging, appending and settling. */

import type { Checkpoint } from '@fieldproof/protocol/checkpoint';
import type { BrokerError } from '../errors.ts';
import type { EntryRef, EnvelopeKey } from './batch-index.ts';
import type { FileLayer } from './file-layer.ts';
import type { DroppedTail } from './segment-replay.ts';
import type { BootReceipt } from './settlement.ts';

export interface EvidenceLogSettings {
  /** A segment is closed when the next commit would make it longer; at most 64 MiB. */
  readonly segmentBytes: number;
  /** Under load a commit begins this long after the last one began. */
  readonly commitIntervalMs: number;
  /** A commit begins at once when so much is waiting. */
  readonly commitBytes: number;
  /** `isFull` from so much on. */
  readonly maxPendingBytes: number;
  /** After the disk has refused, entries are refused this long before it is tried again. */
  readonly retryMs: number;
  /** How often a disk that has refused is probed while nothing is to be written. */
  readonly probeMs: number;
  /** Memory for tails that are near the end. */
  readonly ringBytes: number;
  readonly publishIntervalMs: number;
  /** The least time between two snapshots of a running broker. */
  readonly snapshotIntervalMs: number;
}

export const EVIDENCE_LOG_DEFAULTS: EvidenceLogSettings = {
  segmentBytes: 64 << 20,
  commitIntervalMs: 5,
  commitBytes: 4 << 20,
  maxPendingBytes: 64 << 20,
  retryMs: 1000,
  probeMs: 1000,
  ringBytes: 32 << 20,
  publishIntervalMs: 1000,
  snapshotIntervalMs: 60_000,
};

export interface EvidenceLogOptions {
  /** All files of the log lie below it. */
  readonly folder: string;
  /** `fieldproof/<network>/evidence`. */
  readonly origin: string;
  /** Signs a checkpoint with the key `log`; the same text for the same head. */
  readonly sign: (checkpoint: Checkpoint) => string | Promise<string>;
  /** A clock that never steps, ms. Default performance.now. */
  readonly monotonicMs?: () => number;
  /** Told of what goes wrong in the background and is tried again. */
  readonly onFailure?: (error: unknown) => void;
  /** Told of every commit of entries, ms from its start until it was durable. */
  readonly onCommitted?: (durationMs: number) => void;
  /** Told of every checkpoint when it is durable. */
  readonly onPublished?: () => void;
  readonly files?: FileLayer;
  readonly settings?: Partial<EvidenceLogSettings>;
}

/** What the start found. */
export interface StartReport {
  readonly size: number;
  /** Bytes of a torn write that were cut off the evidence. */
  readonly droppedBytes: number;
  /** What was cut off, of the evidence and of the rejects. */
  readonly dropped: readonly DroppedTail[];
  /** Frames that were read to rebuild the state. */
  readonly replayed: number;
  readonly usedSnapshot: boolean;
}

/** Whether an envelope is recorded already. */
export type Judgement = 'new' | 'duplicate' | 'equivocation';

/** How an append ended. `refused` is transient: ERR_LOG_FULL. */
export type AppendOutcome =
  | { readonly kind: 'accepted'; readonly index: number; readonly leafHash: Uint8Array }
  | { readonly kind: 'duplicate' | 'equivocation' }
  | { readonly kind: 'refused'; readonly error: BrokerError };

/** An authentic envelope that was rejected for good. */
export interface SettledReject extends EnvelopeKey {
  readonly code: string;
}

/** What a receipt says beside its time; settlement.md section 3.1. */
export interface ReceiptParts {
  readonly boots: readonly BootReceipt[];
  /** The device's newest entry; null when it has none. */
  readonly entry: EntryRef | null;
  /** `[shard, size, root]`; empty before the first checkpoint. */
  readonly heads: readonly (readonly [0, number, Uint8Array])[];
  readonly checkpoint: string | null;
}
