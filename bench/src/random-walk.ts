/**
 * The readings that benchmarks send: five metrics that walk at random, in steps of up to ±0.10 with two
 * decimals, one instant a second. Seeded, so that every run sends the same.
 */

export interface WalkReading {
  readonly profile: string;
  readonly metric: string;
  readonly unit: string;
  /** Unix ms, whole seconds. */
  readonly timeMs: number;
  readonly value: number;
}

export const WALK_METRICS = [
  ['temp', 'Cel', 2153],
  ['rh', '%RH', 4712],
  ['pres', 'hPa', 101_325],
  ['pm25', 'ug/m3', 1240],
  ['co2', 'ppm', 41_890],
] as const;

const MAX_STEP_HUNDREDTHS = 10;

/** mulberry32: small, seeded, good enough for test data. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One device's walk: each call gives the next `instants` instants of all five metrics. */
export function createWalk(seed: number, startMs: number): (instants: number) => WalkReading[] {
  const random = randomFrom(seed);
  const levels: number[] = WALK_METRICS.map(([, , level]) => level);
  let timeMs = startMs;
  return (instants) => {
    const readings: WalkReading[] = [];
    for (let i = 0; i < instants; i++, timeMs += 1000) {
      WALK_METRICS.forEach(([metric, unit], m) => {
        const step = Math.floor(random() * (2 * MAX_STEP_HUNDREDTHS + 1)) - MAX_STEP_HUNDREDTHS;
        levels[m]! += step;
        readings.push({ profile: 'air', metric, unit, timeMs, value: levels[m]! / 100 });
      });
    }
    return readings;
  };
}
