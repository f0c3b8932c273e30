import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ANOMALY_QUIET_READINGS,
  ANOMALY_THRESHOLD,
  type AnomalyState,
  createAnomalyState,
  scoreAnomaly,
} from '@fieldproof/compute/anomaly-score';
import { describe, expect, test } from '@jest/globals';
import { REPOSITORY } from '../support/repository.ts';

const STEP_MS = 300_000;
const DAY = 288;

/** Sums of twelve uniform numbers, mean 0 and deviation 1, the same in every run. */
function noise(seed: number): () => number {
  let x = seed;
  const uniform = (): number => {
    x = (x * 1103515245 + 12345) % 2147483648;
    return x / 2147483648;
  };
  return () => Array.from({ length: 12 }, uniform).reduce((a, b) => a + b, -6);
}

function series(rows: number, value: (row: number, noise: number) => number, seed = 1): number[] {
  const next = noise(seed);
  return Array.from({ length: rows }, (_, row) => value(row, next()));
}

function scores(values: readonly number[], state = createAnomalyState(), from = 0): number[] {
  return values.map((value, i) => scoreAnomaly(state, { timeMs: (from + i) * STEP_MS, value }));
}

/** Rows at or above the threshold. */
function events(values: readonly number[]): number[] {
  return scores(values).flatMap((score, row) => (score >= ANOMALY_THRESHOLD ? [row] : []));
}

/** A level that is 60 higher by day. */
function daily(row: number): number {
  const ofDay = row % DAY;
  return ofDay >= 108 && ofDay < 216 ? 80 : 20;
}

describe('the anomaly score is silent', () => {
  test('on noise, on a constant, on a ramp, and on a walk between two levels', () => {
    expect(events(series(6000, (_, e) => e))).toEqual([]);
    expect(events(series(3000, () => 21.5))).toEqual([]);
    expect(events(series(3000, (row, e) => row / 100 + e))).toEqual([]);
    expect(events(series(3000, (row, e) => (row % 7 < 3 ? 10 : 30) + e))).toEqual([]);
  });

  test('on a sensor that switches between two neighbouring numbers now and then', () => {
    expect(events(series(3000, (_, e) => (e > 1.5 ? 20.1 : 20)))).toEqual([]);
  });

  test('from the third day on, on a jump that comes every day', () => {
    const found = events(series(14 * DAY, (row, e) => daily(row) + e));
    expect(found.filter((row) => row >= 2 * DAY)).toEqual([]);
  });

  test('while it learns', () => {
    expect(events(series(140, (row, e) => (row === 100 ? 1000 : e)))).toEqual([]);
  });
});

describe('the anomaly score finds', () => {
  test('a spike, up or down, at its reading', () => {
    for (const height of [12, -12]) {
      expect(events(series(1500, (row, e) => (row === 1200 ? height : e)))).toEqual([1200]);
    }
  });

  test('a shift of level at once, and accepts the new level', () => {
    const found = events(series(5000, (row, e) => (row < 2000 ? e : 15 + e)));
    expect(found[0]).toBe(2000);
    expect(found.filter((row) => row > 2500)).toEqual([]);
  });

  test('a stream that stands still', () => {
    const found = events(series(2000, (row, e) => (row < 1500 ? e : 0.25)));
    expect(found[0]).toBeGreaterThan(1500);
    expect(found[0]).toBeLessThan(1600);
  });

  test('a daily jump that does not come, and one that is half', () => {
    for (const height of [0, 30]) {
      const values = series(14 * DAY, (row, e) => {
        const isOdd = Math.floor(row / DAY) === 10;
        return (isOdd ? Math.min(20 + height, daily(row)) : daily(row)) + e;
      });
      const found = events(values).filter((row) => row >= 2 * DAY);
      expect(found[0]).toBe(10 * DAY + 108);
    }
  });

  test('a second event of the same size', () => {
    const found = events(series(2500, (row, e) => (row === 1200 || row === 2000 ? 20 : e)));
    expect(found).toEqual([1200, 2000]);
  });
});

describe('the anomaly score', () => {
  test('is that of the example of the specification, bit by bit', () => {
    for (const [value, score] of [
      [60, 0.882360329155692],
      [24, 0.4543793829810065],
      [27, 0.5313261082051666],
    ] as const) {
      const values = Array.from({ length: 404 }, (_, i) => (i === 400 ? value : (i * i) % 13));
      const found = scores(values);
      expect(found[400]).toBe(score);
      expect(found.slice(0, 400).every((one) => one === 0)).toBe(true);
    }
  });

  test('is quiet behind an event, so that one event is one detection', () => {
    const found = events(series(2000, (row, e) => (row >= 1200 && row < 1220 ? 30 : e)));
    expect(found.filter((row) => row <= 1200 + ANOMALY_QUIET_READINGS)).toEqual([1200]);
  });

  test('does not depend on the scale: a power of two changes no bit', () => {
    const values = series(3000, (row, e) => daily(row) + e * (row === 2500 ? 40 : 1));
    const expected = scores(values);
    for (const scale of [2 ** -40, 2 ** 40, -1]) {
      expect(scores(values.map((value) => value * scale))).toEqual(expected);
    }
  });

  test('hardly depends on the offset', () => {
    const values = series(3000, (row, e) => daily(row) + e * (row === 2500 ? 40 : 1));
    const shifted = scores(values.map((value) => value + 1e5));
    expect(shifted[2500]).toBeCloseTo(scores(values)[2500]!, 6);
  });

  test('goes on from its state in JSON as if it had not stopped', () => {
    const values = series(2000, (row, e) => daily(row) + e * (row === 1700 ? 40 : 1));
    const whole = scores(values);
    let state = createAnomalyState();
    const parts: number[] = [];
    for (let from = 0; from < values.length; from += 250) {
      state = JSON.parse(JSON.stringify(state)) as AnomalyState;
      parts.push(...scores(values.slice(from, from + 250), state, from));
    }
    expect(parts).toEqual(whole);
  });

  test('keeps a state that does not grow', () => {
    const state = createAnomalyState();
    const size = (): number => count(state);
    const before = size();
    scores(
      series(20_000, (row, e) => daily(row) + e),
      state,
    );
    expect(size()).toBe(before);
    expect(JSON.stringify(state).length).toBeLessThan(8192);
  });

  test('ignores what is no number, no time, or too large to be squared', () => {
    const state = createAnomalyState();
    scores(
      series(500, (_, e) => e),
      state,
    );
    const before = JSON.stringify(state);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -1e101]) {
      expect(scoreAnomaly(state, { timeMs: 0, value })).toBe(0);
    }
    expect(scoreAnomaly(state, { timeMs: Number.NaN, value: 1 })).toBe(0);
    expect(JSON.stringify(state)).toBe(before);
  });

  test('stays in [0, 1) and finite with the wildest of numbers and times', () => {
    const state = createAnomalyState();
    const wild = [0, -0, 5e-324, -5e-324, 1e100, -1e100, 1, -273.15, 1e-100];
    for (let i = 0; i < 3000; i++) {
      const timeMs = i % 100 === 0 ? -8.64e15 : i % 37 === 0 ? 8.64e15 : i * 1e6;
      const score = scoreAnomaly(state, { timeMs, value: wild[(i * i + i) % 9]! });
      expect(score >= 0 && score < 1).toBe(true);
    }
    // JSON has no NaN and no Infinity.
    expect(JSON.parse(JSON.stringify(state))).toEqual(JSON.parse(JSON.stringify(state)));
    expect(JSON.stringify(state).match(/null/g)?.length ?? 0).toBeLessThanOrEqual(1);
  });

  test('uses no function whose last bits differ between machines', () => {
    const folder = join(REPOSITORY, 'compute/src');
    const sources = readdirSync(folder).filter((name) => name.startsWith('anomaly-'));
    expect(sources).toHaveLength(3);
    for (const name of sources) {
      const used = readFileSync(join(folder, name), 'utf8').matchAll(
        /Math\.(\w+)|(\*\*)(?=[^/*])/g,
      );
      for (const [, called] of used) {
        if (called !== undefined) expect(['abs', 'floor', 'max', 'min', 'sqrt']).toContain(called);
      }
    }
  });
});

/** Numbers in a value of objects and arrays. */
function count(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1;
  return Object.values(value).reduce<number>((sum, part) => sum + count(part), 0);
}
