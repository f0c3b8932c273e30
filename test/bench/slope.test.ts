import { slopeOf } from '@fieldproof/bench/slope';
import { expect, test } from '@jest/globals';

const line = (slope: number) =>
  Array.from({ length: 60 }, (_, at) => ({ at, value: 100 + slope * at }));

test('a line has its slope', () => {
  expect(slopeOf(line(0.5))).toBeCloseTo(0.5);
  expect(slopeOf(line(0))).toBe(0);
});

test('a saw that comes back to where it was has nearly none', () => {
  const saw = line(0).map(({ at, value }) => ({ at, value: value + (at % 10) }));
  expect(Math.abs(slopeOf(saw))).toBeLessThan(0.05);
});

test('a few spikes do not move it', () => {
  const samples = line(0.5).map((one) => (one.at % 9 === 4 ? { ...one, value: 10_000 } : one));
  expect(slopeOf(samples)).toBeCloseTo(0.5, 1);
});

test('a single sample has none', () => {
  expect(slopeOf([{ at: 1, value: 1 }])).toBe(0);
  expect(slopeOf([])).toBe(0);
});
