/**
 * How far a quantity that is 0 or more stands out: beyond its usual size, and beyond its record.
 *
 * In deviations of the quantity, but only as far as the quantity exceeds what it has reached before: what comes every day
 * has a record, and surprises no more. A record is learnt in part, so that a second event of the kind stands out
 * again, and fades over ten thousand readings.
 */

/** How many readings a tail learns before it speaks. */
export const TAIL_WARM_UP = 150;
const MEMORY = 8000;
const RECORD_MEMORY = 10_000;
/** Of what is beyond the record so much is learnt. */
const RECORD_GAIN = 0.3;
/** By how much a record has to be beaten to count in full; more while there are few readings. */
const RECORD_MARGIN = 0.2;
const RECORD_MARGIN_YOUNG = 60;
/** Beyond so many deviations a quantity counts no more towards its deviation. */
const CAP = 3;

/** State of a tail; plain numbers. */
export interface Tail {
  readings: number;
  record: number;
  /** Mean of the squares, capped. */
  square: number;
}

export function createTail(): Tail {
  return { readings: 0, record: 0, square: 0 };
}

/** Forgets everything. */
export function restartTail(tail: Tail): void {
  tail.readings = 0;
  tail.record = 0;
  tail.square = 0;
}

/**
 * The surprise at the next quantity, and the tail moved on by it.
 *
 * @param unit - deviations below it are taken as it; 0 for none.
 * @param memory - readings that the quantity is a mean of, 1 for one: it creeps, and its record must not creep along.
 * @returns in deviations, 0 while it learns or the record holds.
 */
export function seeTail(
  tail: Tail,
  quantity: number,
  { unit, memory }: { readonly unit: number; readonly memory: number },
): number {
  tail.readings++;
  // One side of two: squares count twice.
  const deviation = Math.max(Math.sqrt(2 * tail.square), unit);
  const isWarm = tail.readings > TAIL_WARM_UP && deviation > 0;
  const capped = isWarm ? Math.min(quantity, CAP * deviation) : quantity;
  tail.square += Math.max(1 / tail.readings, 1 / MEMORY) * (capped * capped - tail.square);
  const floor = Math.max(tail.record, 2 * deviation);
  if (quantity > tail.record) {
    tail.record += (isWarm ? RECORD_GAIN / memory : 1) * (quantity - tail.record);
  } else {
    tail.record -= tail.record / RECORD_MEMORY;
  }
  if (!isWarm) return 0;
  const margin = RECORD_MARGIN + RECORD_MARGIN_YOUNG / tail.readings;
  const beyond = (quantity / floor - 1) / margin;
  return (quantity / deviation) * Math.min(1, Math.max(0, beyond));
}
