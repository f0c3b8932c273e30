/**
 * Which seqs of a device's boots are settled, and what a receipt says of them (settlement.md sections 2 and 3).
 * Pure: the same events in the same order give the same state. Signing, verdicts and storage are elsewhere.
 */

import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';

/** The newest boots of a device that its receipts list. */
export const MAX_OPEN_BOOTS = 32;
/** Intervals above settledThrough that a receipt lists for each boot. */
const MAX_RANGES = 32;
/** Rejected seqs that a receipt lists for each boot. */
const MAX_REJECTED = 256;
/**
 * The same for all its boots together. An item takes up to 41 bytes, and ranges of 32 boots up to 20,000: so a receipt
 * is never longer than an envelope may be, whatever a device has sent.
 */
export const MAX_REJECTED_IN_ALL = 768;

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

/** One boot of a device. */
export class Boot implements BootId {
  readonly counter: number;
  readonly seed: number;
  /** Seqs whose envelope is in the log. */
  readonly recorded: IntervalSet;
  /** Those, and the ones that were rejected or declared dropped. */
  readonly settled: IntervalSet;
  /** Rejected seqs that no birth has acknowledged, with their code. */
  readonly rejected: Map<number, string>;
  /** Indexes of the oldest and the newest entry of this boot; -1 when there is none. */
  firstIndex = -1;
  lastIndex = -1;

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
    this.rejected = new Map(state.rejected);
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

  /** What a receipt says of this boot, in which so many rejected seqs may be listed. */
  receipt(maxRejected = MAX_REJECTED): BootReceipt {
    const all = [...this.rejected].sort(([a], [b]) => a - b);
    // A rejected seq that is settled and not listed would read as recorded, and the device would delete what it
    // should park. So nothing is called settled from the first one on that does not fit.
    const end = all[maxRejected]?.[0] ?? Number.POSITIVE_INFINITY;
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
      rejected: all.slice(0, maxRejected),
    };
  }
}

/** The boots of one device, in the order of their counters. */
export class DeviceBoots {
  readonly #boots: Boot[] = [];
  #latest: Boot | undefined;

  /** The boot, or undefined when nothing is known of it. */
  find(counter: number, seed: number): Boot | undefined {
    const latest = this.#latest;
    // Nearly all questions are about the boot of the question before.
    if (latest !== undefined && latest.counter === counter && latest.seed === seed) return latest;
    for (let at = this.#boots.length - 1; at >= 0; at -= 1) {
      const boot = this.#boots[at]!;
      if (boot.counter === counter && boot.seed === seed) {
        this.#latest = boot;
        return boot;
      }
      if (boot.counter < counter) return undefined;
    }
    return undefined;
  }

  /** The boot, which is made when nothing is known of it. It counts as open once something of it is settled. */
  at(counter: number, seed: number): Boot {
    return this.find(counter, seed) ?? this.add(new Boot({ counter, seed }));
  }

  /** Takes over a boot that was stored. */
  add(boot: Boot): Boot {
    let at = this.#boots.length;
    while (at > 0 && this.#boots[at - 1]!.counter > boot.counter) at -= 1;
    this.#boots.splice(at, 0, boot);
    this.#latest = boot;
    return boot;
  }

  /** All boots of which something is settled, oldest counter first. */
  all(): readonly Boot[] {
    return this.#boots.filter((boot) => boot.settled.size > 0);
  }

  /** The newest {@link MAX_OPEN_BOOTS} of them. Section 2.1. */
  open(): readonly Boot[] {
    return this.all().slice(-MAX_OPEN_BOOTS);
  }

  /** What a receipt says of the open boots. Room for rejected seqs goes to the oldest first: they wait longest. */
  receipt(): readonly BootReceipt[] {
    let room = MAX_REJECTED_IN_ALL;
    return this.open().map((boot) => {
      const receipt = boot.receipt(Math.min(MAX_REJECTED, room));
      room -= receipt.rejected.length;
      return receipt;
    });
  }
}
