/** The detectors of the benchmark on a part of its files, the anomaly score among them. */

import { join } from 'node:path';
import {
  BASELINES,
  gaussianTail,
  relativeEntropy,
  rollingZ,
  windowedGaussian,
} from '@fieldproof/bench/nab/baselines';
import { loadCorpus, type NabFile, parseRows } from '@fieldproof/bench/nab/corpus';
import { scoreFile } from '@fieldproof/bench/nab/scoring';
import {
  ANOMALY_THRESHOLD,
  createAnomalyState,
  scoreAnomaly,
} from '@fieldproof/compute/anomaly-score';
import { describe, expect, test } from '@jest/globals';
import { REPOSITORY } from '../support/repository.ts';

const { files, profiles } = loadCorpus(join(REPOSITORY, 'test/vectors/nab'));
const STANDARD = profiles.standard!;

function file(name: string): NabFile {
  return files.find((one) => one.name === name)!;
}

/** Windows found and false positives. */
function found(name: string, scores: ArrayLike<number>, threshold: number): string {
  const outcome = scoreFile(file(name), (row) => scores[row]! >= threshold, STANDARD);
  return `${outcome.windowsFound}/${outcome.windows}, ${outcome.falsePositives} false`;
}

describe('the files', () => {
  test('have the rows and windows of their labels', () => {
    expect(files.map(({ name, rows, windows }) => [name, rows, windows.length])).toEqual([
      ['speed_7578', 1127, 4],
      ['occupancy_6005', 2380, 1],
      ['art_daily_flatmiddle', 4032, 1],
      ['art_daily_small_noise', 4032, 0],
    ]);
    const { timesMs, windows } = file('art_daily_flatmiddle');
    expect(new Date(timesMs[windows[0]!.first]!).toISOString()).toBe('2014-04-10T07:15:00.000Z');
    expect(new Date(timesMs[windows[0]!.last]!).toISOString()).toBe('2014-04-11T16:45:00.000Z');
  });

  test('with a row that is no time and number are refused by name and line', () => {
    expect(() => parseRows('timestamp,value\n2014-04-01 00:00:00,1\nx,2\n', 'a.csv')).toThrow(
      'a.csv line 3: expected a time and a number, got x,2',
    );
  });
});

describe('the baselines', () => {
  test('rolling z finds what its published figures say', () => {
    const at4 = (name: string) => found(name, rollingZ(file(name).values), 4);
    expect(at4('speed_7578')).toBe('4/4, 4 false');
    expect(at4('occupancy_6005')).toBe('1/1, 3 false');
    expect(at4('art_daily_flatmiddle')).toMatch(/^0\/1/);
  });

  test('windowed Gaussian is 1 − Q of the distance to what came before', () => {
    expect(gaussianTail(0)).toBe(0.5);
    expect(gaussianTail(1)).toBeCloseTo(0.15865525393145707, 14);
    expect(gaussianTail(4)).toBeCloseTo(3.1671241833e-5, 14);
    const scores = windowedGaussian(Float64Array.of(1, 3, 2, 3));
    // Before the third row: mean 2, deviation 1; before the fourth: mean 2, deviation √(2/3).
    expect(scores[2]).toBe(0.5);
    expect(scores[3]).toBeCloseTo(1 - gaussianTail(1 / Math.sqrt(2 / 3)), 14);
  });

  test('relative entropy speaks when the histogram of 52 rows is one that it has not seen', () => {
    const values = Float64Array.from({ length: 300 }, (_, i) => (i < 150 ? i % 2 : 5 + (i % 2)));
    const scores = relativeEntropy(values);
    expect(scores.slice(0, 150).every((score) => score === 0)).toBe(true);
    expect(scores.slice(150, 202).some((score) => score === 1)).toBe(true);
    expect(scores.slice(210).every((score) => score === 0)).toBe(true);
  });

  test('say nothing of a line that never moves', () => {
    const flat = new Float64Array(1000).fill(7);
    for (const { name, score, threshold } of BASELINES) {
      expect([name, score(flat).some((value) => value >= threshold)]).toEqual([name, false]);
    }
  });
});

describe('the anomaly score, with one set of parameters', () => {
  const run = (name: string): Float64Array => {
    const state = createAnomalyState();
    const { timesMs, values } = file(name);
    return values.map((value, i) => scoreAnomaly(state, { timeMs: timesMs[i]!, value }));
  };

  test('finds the windows of traffic with uneven sampling', () => {
    expect(found('speed_7578', run('speed_7578'), ANOMALY_THRESHOLD)).toMatch(/^4\/4, [0-3] false/);
    expect(found('occupancy_6005', run('occupancy_6005'), ANOMALY_THRESHOLD)).toMatch(
      /^1\/1, [01] false/,
    );
  });

  test('finds a day that stays in the middle of its usual range', () => {
    const scores = run('art_daily_flatmiddle');
    expect(found('art_daily_flatmiddle', scores, ANOMALY_THRESHOLD)).toMatch(/^1\/1, [0-3] false/);
  });

  test('is silent, and not by a hair, where there are only a daily pattern and noise', () => {
    const scores = run('art_daily_small_noise').slice(604);
    expect(Math.max(...scores)).toBeLessThan(0.42);
  });
});
