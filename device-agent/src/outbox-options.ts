/** What an outbox is given, and what it tells of itself. */

import type { Clock } from './clock.ts';
import type { Disk } from './disk.ts';
import type { Log } from './log.ts';

/** What the front holds at most, where nothing else is said. */
export const SPILL_BYTES = 2 ** 20;
export const SPILL_AFTER_MS = 60_000;

export interface OutboxOptions {
  readonly folder: string;
  readonly maxBytes: number;
  readonly maxEnvelopes: number;
  readonly segmentBytes: number;
  readonly fsync: 'always' | 'interval';
  readonly fsyncEveryMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Called whenever more envelopes may be handed out. */
  readonly onDurable?: () => void;
  readonly disk?: Disk;
  /** A memory-backed folder of this outbox alone; without it all goes to the card at once. */
  readonly frontFolder?: string | undefined;
  /** What is not settled after so long in the front, or beyond so many bytes, goes to the card. */
  readonly spillAfterMs?: number;
  readonly spillBytes?: number;
  /** What is surely older may be given up; default never. */
  readonly maxAgeMs?: number;
  /** Unix ms by a clock that is believed, or null. */
  readonly trueTimeMs?: () => number | null;
}

export interface OutboxStats {
  readonly pending: number;
  readonly bytes: number;
  readonly segments: number;
  /** Bytes of them in the front. */
  readonly frontBytes: number;
  /** Bytes written to the card since `open`. */
  readonly bytesWritten: number;
  readonly syncs: number;
}
