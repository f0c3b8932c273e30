/**
 * Which seqs of a device's boots are settled, and what a receipt says of them (settlement.md sections 2 and 3).
 * Pure: the same events in the same order give the same state. Signing, verdicts and storage are elsewhere.
 */

import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { RejectedSeqs } from './rejected-seqs.ts';

/** The newest boots of a device that its receipts list. */
export const MAX_OPEN_BOOTS = 32;
/** Intervals above settledThrough that a receipt lists for each boot. */
const MAX_RANGES = 32;
/** Rejected seqs that a receipt lists for each boot. */
export const MAX_REJECTED = 256;
/**
 * The same for all its boots together. An item takes up to 41 bytes, and ranges of 32 boots up to 20,000: so a receipt
 * is never longer than an envelope may be, whatever a device has sent.
 */
export const MAX_REJECTED_IN_ALL = 768;

/**
 * Rejects that no birth has acknowledged and that the open boots of a device hold together: as many as one birth can
 * acknowledge. What is rejected beyond is not settled (section 1.5), so that a device that acknowledges nothing costs
 * no memory.
 */
export const MAX_UNACKNOWLEDGED = 1024;

/** A boot: its counter and its seed, 4 bytes read as a big-endian number. */
export interface BootId {
  readonly counter: number;
  readonly seed: number;
}

/** The item of a receipt for one open boot; section 3.1. */
export interface BootReceipt {
  readonly bootCounter: number;
  readonly bootSeed: Uint8Array;
  readonly settledThrough: number;
  readonly ranges: readonly Interval[];
  readonly rejected: readonly (readonly [seq: number, code: string])[];
}

/** The seed as a number. */
export function seedNumber(seed: Uint8Array): number {
  return ((seed[0]! << 24) | (seed[1]! << 16) | (seed[2]! << 8) | seed[3]!) >>> 0;
}

/** The seed as bytes. */
export function seedBytes(seed: number): Uint8Array {
  return Uint8Array.of(seed >>> 24, seed >>> 16, seed >>> 8, seed);
}

/** The order of boots: by counter, and among those of one counter by seed. */
export function compareBoots(a: BootId, b: BootId): number {
  return a.counter - b.counter || a.seed - b.seed;
}

/** One boot of a device. */
export class Boot implements BootId {
  readonly counter: number;
  readonly seed: number;
  /** Seqs whose envelope is in the log. */
  readonly recorded: IntervalSet;
  /** Those, and the ones that were rejected or declared dropped. */
  readonly settled: IntervalSet;
  /** Rejected seqs that no birth has acknowledged, with their code. */
  readonly rejected: RejectedSeqs;
  /** Indexes of the oldest and the newest entry of this boot; -1 when there is none. */
  firstIndex = -1;
  lastIndex = -1;
  /** Envelopes of this boot that are on their way to the disk. */
  inFlight = 0;

  constructor(
    id: BootId,
    state: {
      readonly recorded?: Iterable<Interval>;
      readonly settled?: Iterable<Interval>;
      readonly rejected?: Iterable<readonly [number, string]>;
    } = {},
  ) {
    this.counter = id.counter;
    this.seed = id.seed;
    this.recorded = IntervalSet.from(state.recorded ?? []);
    this.settled = IntervalSet.from(state.settled ?? []);
    this.rejected = new RejectedSeqs(state.rejected);
  }

  /** The envelope with this seq is durable at that index. */
  record(seq: number, index: number): void {
    this.recorded.add(seq);
    this.settled.add(seq);
    // A resend is judged afresh: what is recorded is no longer rejected.
    this.rejected.delete(seq);
    if (this.firstIndex < 0) this.firstIndex = index;
    this.lastIndex = index;
  }

  /** The envelope with this seq was rejected for good. Nothing that is recorded is undone by that. */
  reject(seq: number, code: string): void {
    if (this.recorded.has(seq)) return;
    this.settled.add(seq);
    this.rejected.set(seq, code);
  }

  /** The device has given up these seqs. */
  drop(from: number, to: number): void {
    this.settled.addRange(from, to);
  }

  /** A birth has acknowledged the reject of this seq. */
  acknowledge(seq: number): void {
    this.rejected.delete(seq);
  }

  /** Whether everything is settled that can be without another envelope, and nothing waits to be acknowledged. */
  get isAtRest(): boolean {
    const { settled, rejected } = this;
    return rejected.size === 0 && settled.intervalCount === 1 && settled.has(0);
  }

  /** What a receipt says of this boot, in which so many rejected seqs may be listed. */
  receipt(maxRejected = MAX_REJECTED): BootReceipt {
    // A rejected seq that is settled and not listed would read as recorded, and the device would delete what it
    // should park. So nothing is called settled from the first one on that does not fit.
    const end = this.rejected.seqAt(maxRejected) ?? Number.POSITIVE_INFINITY;
    const settledThrough = Math.min(this.settled.contiguousThrough(), end - 1);
    const ranges: Interval[] = [];
    for (const [from, to] of this.settled.rangesAbove(settledThrough, MAX_RANGES)) {
      if (from < end) ranges.push([from, Math.min(to, end - 1)]);
    }
    return {
      bootCounter: this.counter,
      bootSeed: seedBytes(this.seed),
      settledThrough,
      ranges,
      rejected: this.rejected.lowest(maxRejected),
    };
  }
}
