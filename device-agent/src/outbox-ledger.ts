/**
 * What an outbox knows about the seqs of each boot: present, settled, dropped. Pure book-keeping on
 * interval sets, so memory grows with holes and not with envelopes.
 */

import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { type Boot, bootKey } from './boot.ts';
import type { OutboxBody } from './outbox-frame.ts';

export interface BootEntry {
  readonly boot: Boot;
  readonly key: string;
  /** Every seq that lies, or lay, in a segment. */
  readonly present: IntervalSet;
  /** Recorded, or refused for good: proved by the network. */
  readonly settled: IntervalSet;
  /** Given up here, to be declared until the network settles it. */
  readonly dropped: IntervalSet;
}

export interface BootRanges {
  readonly boot: Boot;
  readonly ranges: readonly Interval[];
}

export class OutboxLedger {
  readonly #boots = new Map<string, BootEntry>();
  #pendingCount = 0;

  /** All boots, oldest counter first. */
  boots(): BootEntry[] {
    return [...this.#boots.values()].sort((a, b) => a.boot.counter - b.boot.counter);
  }

  find(boot: Boot): BootEntry | undefined {
    return this.#boots.get(bootKey(boot));
  }

  entry(boot: Boot): BootEntry {
    const key = bootKey(boot);
    const found = this.#boots.get(key);
    if (found !== undefined) return found;
    const entry: BootEntry = {
      boot,
      key,
      present: new IntervalSet(),
      settled: new IntervalSet(),
      dropped: new IntervalSet(),
    };
    this.#boots.set(key, entry);
    return entry;
  }

  /** Takes a frame into the books. @returns the boot that it is of, undefined where it is of none. */
  note(body: OutboxBody): BootEntry | undefined {
    if (body.type === 'clock') return undefined;
    const entry = this.entry(body.boot);
    if (body.type === 'envelope') entry.present.add(body.seq);
    else for (const [from, to] of body.ranges) entry[body.type].addRange(from, to);
    return entry;
  }

  /** Notes an envelope that was sealed now. */
  add(entry: BootEntry, seq: number): void {
    entry.present.add(seq);
    this.#pendingCount += 1;
  }

  /** 0 when there is none. */
  get highestBootCounter(): number {
    let high = 0;
    for (const { boot } of this.#boots.values()) high = Math.max(high, boot.counter);
    return high;
  }

  forget(boot: Boot): void {
    this.#boots.delete(bootKey(boot));
  }

  isPending(boot: Boot, seq: number): boolean {
    const entry = this.find(boot);
    if (entry === undefined || !entry.present.has(seq)) return false;
    return !entry.settled.has(seq) && !entry.dropped.has(seq);
  }

  /**
   * Notes what the network has proved. Seqs that were never sealed here are left out: a later envelope must not count
   * as settled before it exists.
   *
   * @returns how many envelopes wait no more; undefined where nothing of it is new.
   */
  settle(boot: Boot, ranges: readonly Interval[]): number | undefined {
    const entry = this.find(boot);
    if (entry === undefined) return undefined;
    const before = countOf(pendingOf(entry, entry.present));
    const { size } = entry.settled;
    const highest = Math.max(entry.present.max, entry.dropped.max);
    for (const [from, to] of ranges) {
      if (from <= highest) entry.settled.addRange(from, Math.min(to, highest));
    }
    if (entry.settled.size === size) return undefined;
    const settled = before - countOf(pendingOf(entry, entry.present));
    this.#pendingCount -= settled;
    return settled;
  }

  /** Notes what was given up. */
  drop(lost: readonly BootRanges[]): void {
    for (const { boot, ranges } of lost) {
      const { dropped } = this.entry(boot);
      for (const [from, to] of ranges) dropped.addRange(from, to);
    }
    this.countPending();
  }

  /** Boots of which envelopes wait, oldest counter first. */
  pendingBoots(): Boot[] {
    const waits = this.boots().filter((entry) => pendingOf(entry, entry.present).length > 0);
    return waits.map(({ boot }) => boot);
  }

  /** What waits of one boot. */
  pendingRanges(boot: Boot): Interval[] {
    const entry = this.find(boot);
    return entry === undefined ? [] : pendingOf(entry, entry.present);
  }

  /** How many envelopes wait. */
  get pendingCount(): number {
    return this.#pendingCount;
  }

  /** Counts them anew, after frames were noted. */
  countPending(): void {
    let count = 0;
    for (const entry of this.#boots.values()) count += countOf(pendingOf(entry, entry.present));
    this.#pendingCount = count;
  }

  /** Seqs that were reserved and are nowhere: lost with damaged frames. */
  holes(): BootRanges[] {
    return this.boots().flatMap(({ boot, present, settled, dropped }) => {
      const known = IntervalSet.from([
        ...present.ranges(),
        ...settled.ranges(),
        ...dropped.ranges(),
      ]);
      const ranges = known.holes();
      return ranges.length > 0 ? [{ boot, ranges }] : [];
    });
  }

  /** What was given up and is not settled yet. */
  undeclared(): BootRanges[] {
    return this.boots().flatMap(({ boot, settled, dropped }) => {
      const ranges = dropped.ranges().flatMap(([from, to]) => settled.holes(from, to));
      return ranges.length > 0 ? [{ boot, ranges }] : [];
    });
  }
}

/** The parts of `members` that are neither settled nor dropped. */
export function pendingOf(entry: BootEntry, members: IntervalSet): Interval[] {
  return members
    .ranges()
    .flatMap(([from, to]) => entry.settled.holes(from, to))
    .flatMap(([from, to]) => entry.dropped.holes(from, to));
}

/** How many numbers the ranges hold. */
export function countOf(ranges: readonly Interval[]): number {
  return ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0);
}
