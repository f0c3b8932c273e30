import {
  addToSketch,
  emptySketch,
  MAX_BUCKETS,
  mergeSketch,
  type QuantileSketch,
  readSketch,
  SMALLEST_MAGNITUDE,
  saveSketch,
  sketchError,
  sketchQuantile,
} from '@fieldproof/compute/quantile-sketch';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const PERMILLES = [1, 10, 250, 500, 750, 900, 990, 999];

const sketchOf = (values: readonly number[]): QuantileSketch => {
  const sketch = emptySketch();
  for (const value of values) addToSketch(sketch, value);
  return sketch;
};

const exact = (values: readonly number[], permille: number): number =>
  [...values].sort((a, b) => a - b)[Math.max(1, Math.ceil((permille * values.length) / 1000)) - 1]!;

/** A generator of its own, so that runs are alike. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const next = random(7);
const many = (make: () => number): number[] => Array.from({ length: 5000 }, make);
const normal = (): number => Array.from({ length: 12 }, next).reduce((a, b) => a + b, -6);
const DISTRIBUTIONS: Readonly<Record<string, readonly number[]>> = {
  'a room at 0.01 °C': many(() => Math.round(100 * (21 + normal())) / 100),
  normal: many(normal),
  uniform: many(next),
  exponential: many(() => -Math.log(1 - next())),
  'heavy tail': many(() => 1 / (1 - next()) ** 3),
  'twelve decades': many(() => 10 ** (12 * next() - 6)),
  'two hundred decades of both signs': many(
    () => (next() < 0.5 ? -1 : 1) * 10 ** (199 * next() - 99),
  ),
  'two humps': many(() => (next() < 0.5 ? 0.001 : 1000) + normal() / 1e4),
  'mostly zero': many(() => (next() < 0.9 ? 0 : normal())),
  constant: many(() => 0.1),
  ascending: Array.from({ length: 5000 }, (_, i) => i),
};

describe('a quantile sketch', () => {
  test.each(Object.entries(DISTRIBUTIONS))('keeps its stated error on %s', (_name, values) => {
    const sketch = sketchOf(values);
    expect(sketch.buckets.size).toBeLessThanOrEqual(MAX_BUCKETS);
    for (const permille of PERMILLES) {
      const wanted = exact(values, permille);
      const error = Math.abs(sketchQuantile(sketch, permille)! - wanted);
      expect(error).toBeLessThanOrEqual(
        sketchError(sketch) * Math.abs(wanted) + SMALLEST_MAGNITUDE,
      );
    }
  });

  test('tells a room that is measured in steps of 0.01 to a millionth', () => {
    const sketch = sketchOf(DISTRIBUTIONS['a room at 0.01 °C']!);
    expect(sketchError(sketch)).toBeLessThan(1e-6);
  });

  test('has an error of 1 % or less over eight octaves of one sign', () => {
    const sketch = sketchOf(many(() => 2 ** (8 * next())));
    expect(sketchError(sketch)).toBeLessThan(0.01);
  });

  const value = fc.oneof(
    fc.double({ min: -1e100, max: 1e100, noNaN: true }),
    fc.double({ min: -50, max: 50, noNaN: true }),
    fc.integer({ min: -5, max: 5 }),
  );
  const values = fc.array(
    value.map((v) => v + 0),
    { maxLength: 2500, size: 'max' },
  );

  test('keeps its error on any numbers', () => {
    fc.assert(
      fc.property(values, fc.integer({ min: 1, max: 999 }), (numbers, permille) => {
        fc.pre(numbers.length > 0);
        const sketch = sketchOf(numbers);
        const wanted = exact(numbers, permille);
        const error = Math.abs(sketchQuantile(sketch, permille)! - wanted);
        return error <= sketchError(sketch) * Math.abs(wanted) + SMALLEST_MAGNITUDE;
      }),
      { numRuns: 40 },
    );
  });

  test('depends on the numbers only, neither on their order nor on how they are merged', () => {
    fc.assert(
      fc.property(values, values, values, (a, b, c) => {
        const all = saveSketch(sketchOf([...a, ...b, ...c]));
        const left = sketchOf(a);
        mergeSketch(left, sketchOf(b));
        mergeSketch(left, sketchOf(c));
        const right = sketchOf(c);
        mergeSketch(right, sketchOf(b));
        const other = sketchOf(a);
        mergeSketch(other, right);
        const backwards = sketchOf([...c, ...b, ...a].reverse());
        for (const sketch of [left, other, backwards]) expect(saveSketch(sketch)).toEqual(all);
      }),
      { numRuns: 25 },
    );
  });

  test('comes back from its state', () => {
    for (const numbers of Object.values(DISTRIBUTIONS)) {
      const sketch = sketchOf(numbers);
      expect(readSketch(saveSketch(sketch))).toEqual({
        ...sketch,
        buckets: new Map([...sketch.buckets].sort(([a], [b]) => a - b)),
      });
    }
  });

  test.each([
    ['a shift beyond 22', [23, []]],
    ['half a pair', [0, [0]]],
    ['descending buckets', [22, [180, 1, 175, 1]]],
    ['a bucket twice', [22, [180, 1, 180, 1]]],
    ['an empty bucket', [22, [180, 0]]],
    ['a bucket below the smallest magnitude', [22, [5, 1]]],
    ['a bucket beyond the largest', [22, [400, 1]]],
    ['a text', [22, ['180', 1]]],
    ['no array', 7],
  ])('refuses a state with %s', (_name, state) => {
    expect(() => readSketch(state)).toThrow(expect.objectContaining({ code: 'ERR_EDGE_STATE' }));
  });

  test('has a smallest magnitude of 2^-332, and an error that doubles with each bit', () => {
    expect(SMALLEST_MAGNITUDE).toBe(2 ** -332);
    const errors = Array.from({ length: 23 }, (_, shift) =>
      sketchError({ ...emptySketch(), shift }),
    );
    expect(errors.slice(0, 21)).toEqual(errors.slice(0, 21).map((_, s) => 2 ** (s - 21)));
    expect(errors.slice(21)).toEqual([1.5, 7.5]);
  });

  test('gives no quantile of nothing', () => {
    expect(sketchQuantile(emptySketch(), 500)).toBeUndefined();
  });
});
