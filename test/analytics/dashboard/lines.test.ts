import { describe, expect, test } from '@jest/globals';
import { runsOf } from '../../../analytics/web/gaps.ts';
import { sparkPaths } from '../../../analytics/web/spark-paths.ts';
import { tickTexts } from '../../../analytics/web/ticks.ts';

const every = (stepMs: number, count: number, fromMs = 0): number[] =>
  Array.from({ length: count }, (_, i) => fromMs + i * stepMs);

describe('where a line is interrupted', () => {
  test('where readings are missing, not where a device reads seldom', () => {
    expect(runsOf(every(60_000, 15), 1000)).toEqual([[0, 15]]);
    expect(runsOf([...every(1000, 10), ...every(1000, 10, 60_000)], 1000)).toEqual([
      [0, 10],
      [10, 20],
    ]);
    expect(runsOf([0, 1000, 90_000], 1000)).toEqual([
      [0, 2],
      [2, 3],
    ]);
    expect(runsOf([5], 1000)).toEqual([[0, 1]]);
    expect(runsOf([], 1000)).toEqual([]);
  });

  test('a sparkline breaks there and does not fall to zero', () => {
    const timesMs = [...every(10_000, 30), ...every(10_000, 30, 600_000)];
    const series = { timesMs, values: timesMs.map((_, i) => 100 + (i % 5)) };
    const { line } = sparkPaths(series, { fromMs: 0, toMs: 900_000, bucketMs: 10_000 });
    expect(line.match(/M/g)).toHaveLength(2);
  });

  test('a sparkline of young data is as wide as one of old data', () => {
    const left = (ageMs: number) => {
      const timesMs = every(1000, 20, 900_000 - ageMs);
      const series = { timesMs, values: timesMs };
      const { line } = sparkPaths(series, { fromMs: 0, toMs: 900_000, bucketMs: 1000 });
      return Number(/^M([\d.]+)/.exec(line)?.[1]);
    };
    expect([left(880_000), left(300_000), left(60_000)]).toEqual([0, 0, 0]);
    // Not less than a minute is shown.
    expect(left(30_000)).toBe(120);
  });
});

describe('labels along the value axis', () => {
  test.each([
    [[20, 20.5, 21], 'Cel', ['20.0 °C', '20.5 °C', '21.0 °C']],
    [[0, 500_000, 1_000_000], 'B/s', ['0.0 MB/s', '0.5 MB/s', '1.0 MB/s']],
    [[83_956e6, 83_957e6], 'B', ['83.956 GB', '83.957 GB']],
    [[0.2, 0.225, 0.25], '/', ['20.0 %', '22.5 %', '25.0 %']],
    [[0, 10_000, 20_000], null, ['0', '10\u202f000', '20\u202f000']],
    [[-5, 0, 5], null, ['-5', '0', '5']],
    [[7], null, ['7']],
    [[], null, []],
  ])('%j in %s', (values, unit, expected) => {
    expect(tickTexts(values, unit)).toEqual(expected);
  });
});
