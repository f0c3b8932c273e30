/**
 * What an outbox knows about the seqs of each boot: present, settled, dropped. Pure book-keeping on
 * interval sets, so memory grows with holes and not with envelopes.
 */

import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { type Boot, bootKey } from './boot.ts';

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

  forget(boot: Boot): void {
    this.#boots.delete(bootKey(boot));
  }

  isPending(boot: Boot, seq: number): boolean {
    const entry = this.find(boot);
    if (entry === undefined || !entry.present.has(seq)) return false;
    return !entry.settled.has(seq) && !entry.dropped.has(seq);
  }

  /** How many envelopes wait. */
  pendingCount(): number {
    let count = 0;
    for (const entry of this.#boots.values()) count += countOf(pendingOf(entry, entry.present));
    return count;
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
