/** Readings of one stream until the next run: two growing arrays, no object for each. */

import type { RawRun } from '@fieldproof/compute/edge-chunk';

const FIRST_CAPACITY = 16;

export class EdgeBuffer {
  readonly profile: string;
  readonly metric: string;
  readonly unit: string;
  #timesUs = new Float64Array(FIRST_CAPACITY);
  #values = new Float64Array(FIRST_CAPACITY);
  count = 0;

  constructor(name: { readonly profile: string; readonly metric: string; readonly unit: string }) {
    this.profile = name.profile;
    this.metric = name.metric;
    this.unit = name.unit;
  }

  /** @param bootMs - monotonic time since the start of the boot. */
  add(bootMs: number, value: number): void {
    if (this.count === this.#timesUs.length) {
      this.#timesUs = grown(this.#timesUs);
      this.#values = grown(this.#values);
    }
    this.#timesUs[this.count] = Math.round(bootMs * 1000);
    this.#values[this.count] = value;
    this.count += 1;
  }

  /**
   * Takes everything out, in strictly ascending time; of readings at one time the first counts.
   *
   * @param shiftUs - to be added to boot times.
   */
  take(shiftUs: number): { readonly run: RawRun; readonly duplicates: number } {
    const { profile, metric, unit, count } = this;
    const places = Array.from({ length: count }, (_, i) => i);
    const isAscending = places.every((i) => i === 0 || this.#timesUs[i]! > this.#timesUs[i - 1]!);
    // Sorting is stable: the first of equal ones stays the first.
    if (!isAscending) places.sort((a, b) => this.#timesUs[a]! - this.#timesUs[b]!);
    const timesUs: number[] = [];
    const values: number[] = [];
    let last = Number.NEGATIVE_INFINITY;
    for (const i of places) {
      if (this.#timesUs[i] === last) continue;
      last = this.#timesUs[i]!;
      timesUs.push(last + shiftUs);
      values.push(this.#values[i]! + 0);
    }
    this.count = 0;
    return {
      run: { profile, metric, unit, timesUs, values },
      duplicates: count - timesUs.length,
    };
  }
}

function grown(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * array.length);
  larger.set(array);
  return larger;
}
