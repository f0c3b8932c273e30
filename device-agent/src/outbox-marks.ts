/**
 * Which marks are to be written: of the boots of which more was settled or given up since the last time, and now and
 * then what time it is, so that ages are known after years without a clock.
 */

import type { Clock } from './clock.ts';
import { encodeClockFrame, encodeMarkFrames } from './outbox-frame.ts';
import type { BootEntry, OutboxLedger } from './outbox-ledger.ts';

/** A believed time is written this often: ages are known as exactly as that. */
const CLOCK_MARK_EVERY_MS = 3_600_000;

/** Marks that are due, as one write. */
export interface DueMarks {
  readonly frames: Uint8Array[];
  /** The time among them; null where it is not believed, or was written lately. */
  readonly timeMs: number | null;
}

export class OutboxMarks {
  readonly #ledger: OutboxLedger;
  readonly #clock: Clock;
  readonly #trueTimeMs: (() => number | null) | undefined;
  #dirtyBoots = new Set<string>();
  #clockMarkAtMs: number | undefined;

  constructor(options: {
    readonly ledger: OutboxLedger;
    readonly clock: Clock;
    readonly trueTimeMs?: (() => number | null) | undefined;
  }) {
    this.#ledger = options.ledger;
    this.#clock = options.clock;
    this.#trueTimeMs = options.trueTimeMs;
  }

  /** More of this boot was settled or given up. */
  changed(key: string): void {
    this.#dirtyBoots.add(key);
  }

  /** A segment was begun: it is to have all marks, so that older ones can go. */
  startOver(): void {
    this.#clockMarkAtMs = undefined;
    for (const entry of this.#ledger.boots()) this.#dirtyBoots.add(entry.key);
  }

  /** What is to be written. @param withOthers - whether something else is written with it. */
  due(withOthers: boolean): DueMarks {
    const boots = this.#ledger.boots().filter(({ key }) => this.#dirtyBoots.has(key));
    const frames = marksOf(boots);
    if (frames.length === 0 && !withOthers) return { frames, timeMs: null };
    const timeMs = this.#timeToMark();
    if (timeMs !== null) frames.unshift(encodeClockFrame(timeMs));
    return { frames, timeMs };
  }

  /** These are written; after a write that failed they are due again. */
  written({ timeMs }: DueMarks): void {
    if (timeMs !== null) this.#clockMarkAtMs = this.#clock.monotonicMs();
    this.#dirtyBoots.clear();
  }

  /** The time, where it is believed and was not written lately. */
  #timeToMark(): number | null {
    const sinceMs = this.#clock.monotonicMs() - (this.#clockMarkAtMs ?? Number.NEGATIVE_INFINITY);
    return sinceMs >= CLOCK_MARK_EVERY_MS ? (this.#trueTimeMs?.() ?? null) : null;
  }
}

/** All that is known to be settled and given up of these boots. */
export function marksOf(boots: readonly BootEntry[]): Uint8Array[] {
  return boots.flatMap(({ boot, settled, dropped }) => [
    ...encodeMarkFrames('settled', boot, settled.ranges()),
    ...encodeMarkFrames('dropped', boot, dropped.ranges()),
  ]);
}
