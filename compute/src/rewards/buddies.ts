/**
 * Whether a sensor agrees with those around it: a buddy check by medians, as titanlib's in spirit, over published H3
 * cells. docs/spec/rewards.md 5.6. Leaves out elevation, which is not published.
 */

import { cellToParent, getResolution } from 'h3-js';
import { groupBy } from '../group-by.ts';
import type { QualityRules } from './quality-rules.ts';
import { limitInQuanta } from './quantum.ts';

type BuddyRules = NonNullable<QualityRules['buddies']>;

/** The level of a stream in a slot. All of a call are of one slot and one metric. */
export interface SlotLevel {
  readonly device: string;
  readonly owner: string;
  /** H3 index, empty where the device has no place. */
  readonly cell: string;
  /** Streams of another resolution are not compared. */
  readonly resolution: number;
  /** In quanta. */
  readonly level: number;
}

/** Of a stream in a slot; too few buddies is not bad. */
export type Agreement = 'agrees' | 'differs' | 'unjudged';

/** @returns one for each level, in their order. */
export function judgeBuddies(levels: readonly SlotLevel[], rules: BuddyRules): Agreement[] {
  const byPlace = groupBy(levels, ({ cell, resolution }) =>
    cell === '' || getResolution(cell) < rules.resolution
      ? ''
      : `${cellToParent(cell, rules.resolution)} ${resolution}`,
  );
  const places = new Map<SlotLevel, Place>();
  for (const [key, there] of byPlace) {
    if (key === '') continue;
    const place = new Place(there);
    for (const each of there) places.set(each, place);
  }
  return levels.map((each) => {
    const place = places.get(each);
    return place === undefined ? 'unjudged' : judge(each, place, rules);
  });
}

function judge(
  { owner, level, resolution }: SlotLevel,
  place: Place,
  rules: BuddyRules,
): Agreement {
  if (place.owners - 1 < rules.owners || place.owners < 2) return 'unjudged';
  const { middle, deviation } = place.without(owner);
  const spread = limitInQuanta(rules.spread, resolution, Infinity);
  const allowed = Math.max(spread, rules.timesMad * deviation);
  return Math.abs(level - middle) > allowed ? 'differs' : 'agrees';
}

/** The owners of a place, each with the median of its levels. */
class Place {
  readonly #byOwner: ReadonlyMap<string, number>;
  readonly #sorted: readonly number[];
  /** Of each middle that leaving one out can give (three at most): all distances from it, ascending. */
  readonly #distances = new Map<number, readonly number[]>();

  constructor(levels: readonly SlotLevel[]) {
    this.#byOwner = new Map(
      [...groupBy(levels, ({ owner }) => owner)].map(([owner, own]) => {
        const sorted = ascending(own.map(({ level }) => level));
        return [owner, sorted[(sorted.length - 1) >> 1]!];
      }),
    );
    this.#sorted = ascending([...this.#byOwner.values()]);
  }

  get owners(): number {
    return this.#sorted.length;
  }

  /** Median of the others, and the median of their distances from it. */
  without(owner: string): { readonly middle: number; readonly deviation: number } {
    const own = this.#byOwner.get(owner)!;
    const middle = medianWithout(this.#sorted, own);
    let distances = this.#distances.get(middle);
    if (distances === undefined) {
      distances = ascending(this.#sorted.map((each) => Math.abs(each - middle)));
      this.#distances.set(middle, distances);
    }
    return { middle, deviation: medianWithout(distances, Math.abs(own - middle)) };
  }
}

/** The median of ascending numbers but one of them; the smaller one of two in the middle. */
function medianWithout(sorted: readonly number[], one: number): number {
  const at = (sorted.length - 2) >> 1;
  // Left out is the first of those that equal it.
  return sorted[at]! < one ? sorted[at]! : sorted[at + 1]!;
}

function ascending(numbers: number[]): number[] {
  return numbers.sort((a, b) => a - b);
}
