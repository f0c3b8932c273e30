/** Chance that a seed, an area and a case number repeat: every case of the fuzzer draws from one of its own. */

import { type SeededRandom, seededRandom } from '../faults/seeded-random.ts';

/** Numbers at which implementations break. */
const EDGES = [0, 1, 23, 24, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32];

export interface Chance extends SeededRandom {
  /** A whole number from 0 to below `below`. */
  int(below: number): number;
  /** True once in `n`. */
  oneIn(n: number): boolean;
  bytes(length: number): Uint8Array;
  /** Small mostly, sometimes at an edge, sometimes anything up to 2^53 − 1. */
  odd(): number;
}

/** The chance of one case. */
export function chanceOf(seed: number, area: string, number: number): Chance {
  const random = seededRandom(hash(seed, area, number));
  const int = (below: number): number => Math.floor(random.next() * below);
  return {
    ...random,
    int,
    oneIn: (n) => int(n) === 0,
    bytes: (length) => Uint8Array.from({ length }, () => int(256)),
    odd: () => {
      const what = int(8);
      if (what < 5) return int(40);
      if (what < 7) return random.pick(EDGES);
      return Math.floor(random.next() * Number.MAX_SAFE_INTEGER);
    },
  };
}

/** FNV-1a over the text of the three, mixed once more. */
function hash(seed: number, area: string, number: number): number {
  let state = 0x811c9dc5;
  for (const character of `${seed}/${area}/${number}`) {
    state = Math.imul(state ^ character.charCodeAt(0), 0x01000193);
  }
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  return state ^ (state >>> 13);
}
