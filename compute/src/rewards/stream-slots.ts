/** A stream's readings by slot: how many, and how many of them are not bad. docs/spec/rewards.md sections 3.4 and 4. */

import type { Cover, EpochStream, EpochTime } from './epoch-input.ts';
import { BAD_REASONS, type BadReason } from './quality-rules.ts';
import { PPM, slotCredit, slotNeed } from './slot-credit.ts';
import { arrange, judgeStream, type Verdict, verdictOf } from './stream-quality.ts';

const CONFLICT = verdictOf('CONFLICT');
const BOUNDS = verdictOf('BOUNDS');

export interface StreamScore {
  /** All ppm, of all slots of the epoch. */
  readonly fill: number;
  readonly score: number;
  readonly quality: number;
  /** Readings that are bad, by the first reason that holds. */
  readonly bad: Readonly<Partial<Record<BadReason, number>>>;
}

export class StreamSlots {
  readonly stream: EpochStream;
  readonly #time: EpochTime;
  /** Of the device: which slots count. */
  readonly #counts: Uint8Array;
  readonly #quanta: Float64Array;
  readonly #verdicts: Uint8Array;
  /** Of each reading its slot; negative before the epoch, at or above `slots` behind it. */
  readonly #slotOf: Float64Array;

  constructor(stream: EpochStream, counts: Uint8Array, time: EpochTime) {
    this.stream = stream;
    this.#time = time;
    this.#counts = counts;
    const { verdicts, ...readings } = arrange(stream.readings);
    judgeStream(readings, verdicts, stream);
    const { count, timesUs, quanta } = readings;
    this.#verdicts = verdicts;
    this.#quanta = quanta.subarray(0, count);
    this.#slotOf = timesUs.subarray(0, count).map((timeUs) => slotAt(timeUs, time));
  }

  /** Quanta of a span of slots in order of time, without conflicts and what is out of bounds. */
  quantaOf(fromSlot: number, toSlot: number): number[] {
    const found: number[] = [];
    this.#each((at, slot) => {
      const verdict = this.#verdicts[at]!;
      if (slot < fromSlot || slot >= toSlot || verdict === CONFLICT || verdict === BOUNDS) return;
      found.push(this.#quanta[at]!);
    });
    return found;
  }

  /** By slot the mean of quanta that are not bad so far, rounded down; NaN where there are none. */
  levels(): Float64Array {
    const { slots } = this.#time;
    const [sums, numbers] = [new Float64Array(slots), new Float64Array(slots)];
    this.#each((at, slot) => {
      if (this.#verdicts[at] !== 0) return;
      sums[slot]! += this.#quanta[at]!;
      numbers[slot]! += 1;
    });
    return sums.map((sum, slot) => Math.floor(sum / numbers[slot]!));
  }

  /** Makes all readings of some slots bad that are not yet. */
  markBad(fromSlot: number, toSlot: number, reason: BadReason): void {
    const verdict: Verdict = verdictOf(reason);
    this.#each((at, slot) => {
      if (slot >= fromSlot && slot < toSlot && this.#verdicts[at] === 0)
        this.#verdicts[at] = verdict;
    });
  }

  /** @param fillPpm - of what the cadence gives, so much fills a slot. */
  score(fillPpm: number): StreamScore {
    const { slots, slotMs } = this.#time;
    const { cadenceMs, covers } = this.stream;
    const need = slotNeed({ slotMs, cadenceMs, fillPpm });
    const [total, good] = [new Float64Array(slots), new Float64Array(slots)];
    const bad: Partial<Record<BadReason, number>> = {};
    for (let at = 0; at < this.#slotOf.length; at += 1) {
      const first = this.#slotOf[at]!;
      const verdict = this.#verdicts[at]!;
      for (let slot = Math.max(0, first); slot < Math.min(slots, first + need.slots); slot += 1) {
        total[slot]! += 1;
        if (verdict === 0) good[slot]! += 1;
      }
      if (verdict === 0 || !this.#isOurs(first)) continue;
      const reason = BAD_REASONS[verdict - 1]!;
      bad[reason] = (bad[reason] ?? 0) + 1;
    }
    for (const cover of covers) {
      addCover(cover, { ...this.#time, before: need.slots }, (slot, number) => {
        for (let each = Math.max(0, slot); each < Math.min(slots, slot + need.slots); each += 1) {
          total[each]! += number;
          good[each]! += number;
        }
      });
    }
    let [fills, credits] = [0, 0];
    for (let slot = 0; slot < slots; slot += 1) {
      if (this.#counts[slot] === 0) continue;
      const { fill, credit } = slotCredit(total[slot]!, good[slot]!, need.readings);
      fills += fill;
      credits += credit;
    }
    return {
      fill: Math.floor(fills / slots),
      score: Math.floor(credits / slots),
      quality: fills === 0 ? 0 : Math.floor((credits * PPM) / fills),
      bad,
    };
  }

  #isOurs(slot: number): boolean {
    return slot >= 0 && slot < this.#time.slots && this.#counts[slot] === 1;
  }

  /** Readings in slots of the epoch that count. */
  #each(visit: (at: number, slot: number) => void): void {
    for (let at = 0; at < this.#slotOf.length; at += 1) {
      const slot = this.#slotOf[at]!;
      if (this.#isOurs(slot)) visit(at, slot);
    }
  }
}

function slotAt(timeUs: number, { startMs, slotMs }: EpochTime): number {
  return Math.floor((timeUs - startMs * 1000) / (slotMs * 1000));
}

/**
 * Reading i of n is at first + ⌊i · (last − first) / (n − 1)⌋ µs: how many of them are in each slot.
 *
 * @param time - with the slots before the epoch whose readings still have a part in it.
 */
function addCover(
  cover: Cover,
  time: EpochTime & { readonly before: number },
  add: (slot: number, readings: number) => void,
): void {
  const startUs = time.startMs * 1000;
  const slotUs = time.slotMs * 1000;
  const from = Math.max(-time.before, slotAt(cover.firstUs, time));
  const to = Math.min(time.slots - 1, slotAt(cover.lastUs, time));
  let before = readingsBefore(cover, startUs + from * slotUs);
  for (let slot = from; slot <= to; slot += 1) {
    const upTo = readingsBefore(cover, startUs + (slot + 1) * slotUs);
    if (upTo > before) add(slot, upTo - before);
    before = upTo;
  }
}

/** How many of a cover's readings lie before a time. */
function readingsBefore({ firstUs, lastUs, count }: Cover, timeUs: number): number {
  if (timeUs <= firstUs) return 0;
  if (timeUs > lastUs || count === 1) return count;
  // ⌊i · d / (n − 1)⌋ < t − first is i · d < (t − first) · (n − 1).
  const distance = BigInt(lastUs - firstUs);
  const bound = BigInt(timeUs - firstUs) * BigInt(count - 1);
  return Number((bound + distance - 1n) / distance);
}
