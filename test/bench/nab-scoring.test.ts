/** The scoring of the Numenta Anomaly Benchmark, by cases small enough to be done by hand. */

import { quietDetections } from '@fieldproof/bench/nab/quiet';
import {
  bestThreshold,
  type NabProfile,
  type NabShape,
  normalise,
  probationRows,
  scaledSigmoid,
  scoreAt,
  scoreFile,
} from '@fieldproof/bench/nab/scoring';
import { describe, expect, test } from '@jest/globals';

const STANDARD: NabProfile = { tpWeight: 1, fpWeight: 0.11, fnWeight: 1 };
const LOW_FN: NabProfile = { tpWeight: 1, fpWeight: 0.11, fnWeight: 2 };
/** 200 rows, of which 30 are probation; windows of 11 and 21 rows. */
const SHAPE: NabShape = {
  rows: 200,
  windows: [
    { first: 60, last: 70 },
    { first: 120, last: 140 },
  ],
};

function score(rows: readonly number[], profile = STANDARD): number {
  return scoreFile(SHAPE, (row) => rows.includes(row), profile).raw;
}

function sigma(y: number): number {
  return 2 / (1 + Math.exp(5 * y)) - 1;
}

describe('the scaled sigmoid', () => {
  test('is 0 behind the last row of a window, and the published values at −1, 1 and 3', () => {
    expect(scaledSigmoid(0)).toBe(0);
    expect(scaledSigmoid(-1)).toBeCloseTo(0.98661, 5);
    expect(scaledSigmoid(1)).toBeCloseTo(-0.98661, 5);
    expect(scaledSigmoid(3)).toBeCloseTo(-0.9999994, 7);
    expect(scaledSigmoid(3.01)).toBe(-1);
  });
});

describe('a file is scored', () => {
  test('100 for a detection at the first row of every window and nowhere else', () => {
    for (const profile of [STANDARD, LOW_FN]) {
      const outcome = scoreFile(SHAPE, (row) => row === 60 || row === 120, profile);
      expect(outcome).toMatchObject({ windows: 2, windowsFound: 2, falsePositives: 0 });
      expect(normalise(outcome, profile)).toBeCloseTo(100, 12);
    }
  });

  test('0 for a detector that never speaks, which misses every window', () => {
    for (const profile of [STANDARD, LOW_FN]) {
      const outcome = scoreFile(SHAPE, () => false, profile);
      expect(outcome).toEqual({
        raw: -2 * profile.fnWeight,
        windows: 2,
        windowsFound: 0,
        falsePositives: 0,
      });
      expect(normalise(outcome, profile)).toBe(0);
    }
  });

  test('less the later a window is found; its last row still earns something', () => {
    // Row 70 is one of eleven rows short of the end.
    expect(score([70, 120])).toBeCloseTo(sigma(-1 / 11) / sigma(-1) + 1, 12);
    expect(score([65, 120])).toBeCloseTo(sigma(-6 / 11) / sigma(-1) + 1, 12);
    expect(score([70, 120])).toBeGreaterThan(1);
  });

  test('by the earliest detection in a window: later ones add nothing and cost nothing', () => {
    expect(score([63, 64, 65, 70, 120])).toBe(score([63, 120]));
  });

  test('with the whole weight for a false positive before any window', () => {
    expect(score([30])).toBeCloseTo(-2 - 0.11, 12);
    expect(score([59])).toBeCloseTo(-2 - 0.11, 12);
  });

  test('with little for a false positive just behind a window, and all from three widths on', () => {
    // The width of a window of eleven rows is ten steps.
    expect(score([71])).toBeCloseTo(-2 + 0.11 * sigma(0.1), 12);
    expect(score([71])).toBeGreaterThan(-2.03);
    expect(score([75])).toBeCloseTo(-2 + 0.11 * sigma(0.5), 12);
    expect(score([101])).toBeCloseTo(-2.11, 12);
    // Behind the second window its own width of twenty steps counts.
    expect(score([150])).toBeCloseTo(-2 + 0.11 * sigma(0.5), 12);
  });

  test('for each row: two false positives cost twice', () => {
    expect(score([40, 41])).toBeCloseTo(-2.22, 12);
  });

  test('without its probation: 15 % of the rows, at most 750', () => {
    expect([200, 201, 4032, 5000, 22_695].map(probationRows)).toEqual([30, 30, 604, 750, 750]);
    expect(score([0, 29])).toBe(-2);
    expect(score([29, 30])).toBeCloseTo(-2.11, 12);
  });

  test('0 without windows and detections, less with a detection', () => {
    const empty: NabShape = { rows: 100, windows: [] };
    expect(scoreFile(empty, () => false, STANDARD).raw).toBe(0);
    expect(scoreFile(empty, (row) => row === 50, STANDARD)).toMatchObject({
      raw: -0.11,
      falsePositives: 1,
    });
  });

  test('also with a window of one row', () => {
    const shape: NabShape = { rows: 100, windows: [{ first: 50, last: 50 }] };
    expect(scoreFile(shape, (row) => row === 50, STANDARD).raw).toBeCloseTo(1, 12);
    expect(scoreFile(shape, (row) => row === 51, STANDARD).raw).toBeCloseTo(-1 + 0.11 * sigma(1));
  });
});

describe('the threshold', () => {
  const scores = new Float64Array(200);
  scores[10] = 0.95;
  scores[40] = 0.9;
  scores[60] = 0.8;
  scores[125] = 0.5;
  scores[180] = 0.4;
  const files = [{ shape: SHAPE, scores }];

  test('is met by scores equal to it', () => {
    expect(scoreAt(files, 0.8, STANDARD)).toMatchObject({ windowsFound: 1, falsePositives: 1 });
    expect(scoreAt(files, 0.81, STANDARD)).toMatchObject({ windowsFound: 0, falsePositives: 1 });
  });

  test('with the highest score over all files is found, as by trying every one', () => {
    const best = bestThreshold(files, STANDARD);
    expect(best.threshold).toBe(0.5);
    expect(best.outcome).toEqual(scoreAt(files, 0.5, STANDARD));
    const tried = [...new Set(scores)].map((t) => scoreAt(files, t, STANDARD).raw);
    expect(best.outcome.raw).toBe(Math.max(...tried));
  });

  test('is infinite where every detection costs more than it earns', () => {
    const empty: NabShape = { rows: 200, windows: [] };
    const best = bestThreshold([{ shape: empty, scores }], STANDARD);
    expect(best.threshold).toBe(Number.POSITIVE_INFINITY);
    expect(best.outcome.falsePositives).toBe(0);
  });

  test('is one for all files: what helps one may cost another', () => {
    const noise = { shape: { rows: 200, windows: [] }, scores: new Float64Array(200).fill(0.6) };
    expect(bestThreshold([...files, noise], STANDARD).threshold).toBe(0.8);
  });
});

test('a quiet period leaves the first detection of each event', () => {
  const scores = [0, 1, 1, 1, 0, 1, 0, 1];
  expect([...quietDetections(scores, 1, 2)]).toEqual([1, 5]);
  expect([...quietDetections(scores, 1, 0)]).toEqual([1, 2, 3, 5, 7]);
});
