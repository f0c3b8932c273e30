import { parseEdgeDefinition } from '@fieldproof/compute/edge-definition';
import { EdgePipeline } from '@fieldproof/compute/edge-pipeline';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Instant, referenceResults, type Stage } from './edge-reference.ts';

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;

/** Results as [output, seconds, value]. */
type Result = [output: number, seconds: number, value: number];

function run(text: string, instants: readonly Instant[], advanceUs?: number): Result[] {
  const results: Result[] = [];
  const pipeline = new EdgePipeline(parseEdgeDefinition(text));
  const take = (output: number, timeUs: number, value: number): void => {
    results.push([output, timeUs / SECOND, value]);
  };
  for (const [time, value] of instants) pipeline.push(time, value, take);
  if (advanceUs !== undefined) pipeline.advance(advanceUs, take);
  return results;
}

/** Instants at whole seconds. */
const at = (...list: [number, number][]): Instant[] => list.map(([s, v]) => [s * SECOND, v]);

const grouped = (results: readonly Result[], outputs: number): Instant[][] =>
  Array.from({ length: outputs }, (_, i) =>
    results.flatMap(([output, s, v]): Instant[] =>
      output === i ? [[Math.round(s * SECOND), v]] : [],
    ),
  );

describe('window', () => {
  test('gives each figure of a tumbling window when its end is reached', () => {
    const instants = at([0, 1], [20, 2], [59, 6], [60, 100]);
    const fields = 'count,sum,mean,min,max,first,last,stddev,p50';
    expect(run(`window 1m ${fields}`, instants)).toEqual(
      [3, 9, 3, 1, 6, 1, 6, Math.sqrt(7), expect.closeTo(2, 5)].map((v, i) => [i, 0, v]),
    );
  });

  test('ends by the clock as well, and only once', () => {
    expect(run('window 1m mean', at([0, 1], [20, 2]), MINUTE)).toEqual([[0, 0, 1.5]]);
    expect(run('window 1m mean', at([0, 1], [20, 2]), MINUTE - 1)).toEqual([]);
    expect(run('window 1m mean', at([0, 1], [60, 5]), MINUTE)).toEqual([[0, 0, 1]]);
  });

  test('slides, at the time of its newest step, as long as an instant is in it', () => {
    expect(run('window 1m max every 20s', at([0, 9], [21, 3], [200, 1]))).toEqual([
      [0, 0, 9],
      [0, 20, 9],
      [0, 40, 9],
      [0, 60, 3],
    ]);
  });

  test('takes no steps for years of silence', () => {
    const results = run('window 1m max every 1s', at([0, 9], [3e9, 1], [3e9 + 1, 1]));
    expect(results).toHaveLength(61);
  });

  test('lies on the grid before 1970 too', () => {
    expect(run('window 1m count', at([-61, 1], [-60, 1], [-1, 1], [0, 1]))).toEqual([
      [0, -120, 1],
      [0, -60, 2],
    ]);
  });

  test('fits into longer windows', () => {
    const instants = Array.from({ length: 301 }, (_, s): Instant => [s * SECOND, s]);
    expect(run('window 1m max | window 5m count,max', instants)).toEqual([
      [0, 0, 5],
      [1, 0, 299],
    ]);
  });

  test('has a mean between minimum and maximum, whatever is rounded', () => {
    expect(run('window 1s mean', [...at([0, 0.1]), [1, 0.1], [2, 0.1], ...at([1, 0])])).toEqual([
      [0, 0, 0.1],
    ]);
  });
});

describe('deadband', () => {
  test('passes the first, and what differs by more', () => {
    expect(run('deadband 2', at([0, 10], [1, 12], [2, 12.5], [3, 11], [4, 10.4]))).toEqual([
      [0, 0, 10],
      [0, 2, 12.5],
      [0, 4, 10.4],
    ]);
  });

  test('is relative to what was passed last', () => {
    expect(run('deadband 10%', at([0, 100], [1, 110], [2, 111], [3, 121], [4, -99]))).toEqual([
      [0, 0, 100],
      [0, 2, 111],
      [0, 4, -99],
    ]);
    expect(run('deadband 10%', at([0, 0], [1, 0], [2, 1e-9]))).toHaveLength(2);
  });

  test('breaks a silence with the first instant after it', () => {
    expect(run('deadband 5 max 1m', at([0, 1], [59, 1], [61, 2], [120, 1], [121, 1]))).toEqual([
      [0, 0, 1],
      [0, 61, 2],
      [0, 121, 1],
    ]);
  });
});

describe('threshold', () => {
  test('goes up above its level and down at its release', () => {
    const instants = at([0, 30], [1, 31], [2, 29], [3, 28.1], [4, 28], [5, 30], [6, 30.5]);
    expect(run('threshold above 30 release 28', instants)).toEqual([
      [0, 1, 1],
      [0, 4, 0],
      [0, 6, 1],
    ]);
  });

  test('is the same upside down', () => {
    expect(run('threshold below 5 release 7', at([0, 5], [1, 4], [2, 6.9], [3, 7]))).toEqual([
      [0, 1, 1],
      [0, 3, 0],
    ]);
  });

  test('waits until it has lasted, and begins anew after a gap', () => {
    const text = 'threshold above 0 for 10s gap 20s';
    const instants = at([0, 1], [9, 1], [9.5, 0], [10, 1], [19, 1], [40, 1], [49, 1], [50, 1]);
    expect(run(text, instants)).toEqual([[0, 50, 1]]);
    expect(run('threshold above 0 for 10s', instants)).toEqual([[0, 40, 1]]);
  });
});

describe('rate', () => {
  test('is for each second, and skips gaps', () => {
    expect(run('rate gap 1m', at([0, 1], [2, 5], [2.5, 4], [100, 0], [101, 1]))).toEqual([
      [0, 2, 2],
      [0, 2.5, -2],
      [0, 101, 1],
    ]);
  });
});

describe('bands', () => {
  const tone = (count: number, stepUs: number, hertz: number): Instant[] =>
    Array.from(
      { length: count },
      (_, n): Instant => [
        n * stepUs,
        5 + 2 * Math.sin((2 * Math.PI * hertz * n * stepUs) / SECOND),
      ],
    );

  test('finds a tone in its band', () => {
    const results = run('bands 256 0-5,5-15,15-50,60-70', tone(256, 10_000, 10));
    expect(results.map(([output, s]) => [output, s])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
    ]);
    const [low, middle, high] = results.map(([, , value]) => value) as [number, number, number];
    expect(middle).toBeCloseTo(2, 2);
    expect(low + high).toBeLessThan(0.01);
  });

  test('begins anew behind a gap, and counts what it leaves out', () => {
    const definition = parseEdgeDefinition('bands 64 0-50');
    const pipeline = new EdgePipeline(definition);
    const results: number[] = [];
    for (const [time, value] of tone(164, 10_000, 10)) {
      const late = time >= 400_000 ? 5 * SECOND : 0;
      pipeline.push(time + late, value, (_output, timeUs) => results.push(timeUs));
    }
    expect(results).toEqual([5 * SECOND + 400_000]);
    expect(pipeline.counts().discarded).toBe(40);
  });
});

describe('order', () => {
  test('puts into order what comes within its time, and keeps out what is late', () => {
    const pipeline = new EdgePipeline(parseEdgeDefinition('order 5s'));
    const results: number[] = [];
    for (const s of [0, 4, 2, 2, 6, 3, 12, 7, 8, 8, 20]) {
      pipeline.push(s * SECOND, s, (_output, timeUs) => results.push(timeUs / SECOND));
    }
    expect(results).toEqual([0, 2, 3, 4, 6, 8, 12]);
    expect(pipeline.counts()).toMatchObject({ given: 11, late: 1, duplicate: 2 });
  });

  test('is strict where none is asked for', () => {
    const pipeline = new EdgePipeline(parseEdgeDefinition('deadband 0'));
    const results: number[] = [];
    for (const [s, v] of [
      [5, 1],
      [5, 2],
      [4, 3],
      [6, 4],
    ] as const) {
      pipeline.push(s * SECOND, v, (_output, _time, value) => results.push(value));
    }
    expect(results).toEqual([1, 4]);
    expect(pipeline.counts()).toMatchObject({ late: 1, duplicate: 1 });
  });

  test('holds a bounded number of instants', () => {
    const pipeline = new EdgePipeline(parseEdgeDefinition('order 1h'));
    let results = 0;
    for (let i = 0; i < 5000; i++) pipeline.push(i, i, () => results++);
    expect(results).toBe(5000 - 4096);
  });
});

const STAGES = [
  'window 10s count,sum,mean,min,max,first,last,stddev,p10,p50,p99.9',
  'window 30s mean,stddev,p90 every 10s',
  'window 1m p50 | window 5m mean every 1m',
  'order 7s | window 10s mean,first,last',
  'deadband 3 max 30s',
  'deadband 20% | window 20s count',
  'threshold above 3 release -2 for 5s gap 20s | rate',
  'threshold below 0 for 3s',
  'rate gap 10s | window 20s max,sum',
  'rate | deadband 1 | threshold above 0',
  'anomaly',
  'window 20s max | anomaly at 0.01 | deadband 0',
];
const stages = fc.constantFrom(...STAGES, 'bands 16 0-0.2,0.2-0.5 | deadband 0.1');
const value = fc.oneof(
  { weight: 8, arbitrary: fc.double({ min: -10, max: 10, noNaN: true }) },
  { weight: 4, arbitrary: fc.integer({ min: -6, max: 6 }) },
  { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -0, 1e101) },
);
const instants = fc
  .array(fc.tuple(fc.constantFrom(1, 1, 1, 1, 2, 3, 0, -1, -4, 25, 130), value), { maxLength: 150 })
  .map((steps) => {
    let time = 29_666_667 * MINUTE;
    return steps.map(([step, v]): Instant => {
      time += step * SECOND;
      return [time, Math.abs(v) < 1e-60 ? 0 : v];
    });
  });

describe('all functions', () => {
  test('agree with a second, naive implementation to the last bit', () => {
    fc.assert(
      fc.property(fc.constantFrom(...STAGES), instants, (text, list) => {
        const definition = parseEdgeDefinition(text);
        const plain = definition.map(({ type, params }): Stage => [type.id, params]);
        const expected = referenceResults(plain, list);
        expect(grouped(run(text, list), expected.length)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test('go on after a restart at any point as if there had been none', () => {
    fc.assert(
      fc.property(stages, instants, fc.nat(150), (text, list, cut) => {
        const definition = parseEdgeDefinition(text);
        const results: Result[] = [];
        const take = (output: number, timeUs: number, v: number): void => {
          results.push([output, timeUs / SECOND, v]);
        };
        let pipeline = new EdgePipeline(definition);
        for (const [i, [time, v]] of list.entries()) {
          if (i === cut) pipeline = new EdgePipeline(definition, pipeline.save());
          pipeline.push(time, v, take);
        }
        const whole = new EdgePipeline(definition);
        for (const [time, v] of list) whole.push(time, v, () => {});
        expect(results).toEqual(run(text, list));
        expect(pipeline.save()).toEqual(whole.save());
        expect(pipeline.counts()).toEqual(whole.counts());
      }),
      { numRuns: 200 },
    );
  });

  test('give finite numbers in ascending time, whatever comes', () => {
    const anything = fc.array(fc.tuple(fc.double(), fc.double()), { maxLength: 80 });
    const bigSteps = fc.array(
      fc.tuple(
        fc.integer({ min: -(2 ** 53), max: 2 ** 53 }),
        fc.double({ min: -1e100, max: 1e100 }),
      ),
      { maxLength: 80 },
    );
    fc.assert(
      fc.property(stages, fc.oneof(anything, bigSteps), (text, list) => {
        const last = new Map<number, number>();
        for (const [output, s, v] of run(text, list)) {
          expect(Math.abs(v)).toBeLessThanOrEqual(1e100);
          expect(Object.is(v, -0)).toBe(false);
          expect(s).toBeGreaterThan(last.get(output) ?? -Infinity);
          last.set(output, s);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('the clock changes when a window is given, never what is in it', () => {
    fc.assert(
      fc.property(fc.constantFrom(...STAGES), instants, (text, list) => {
        fc.pre(!text.startsWith('order'));
        const sorted = [...list].sort(([a], [b]) => a - b);
        const ticking: Result[] = [];
        const take = (output: number, timeUs: number, v: number): void => {
          ticking.push([output, timeUs / SECOND, v]);
        };
        const pipeline = new EdgePipeline(parseEdgeDefinition(text));
        for (const [time, v] of sorted) {
          pipeline.advance(time, take);
          pipeline.push(time, v, take);
        }
        const [a, b] = [ticking, run(text, sorted)].map((each) => grouped(each, 11));
        // Instants that are refused for their value tell the time as well.
        for (const [i, results] of b!.entries()) {
          expect(a![i]!.slice(0, results.length)).toEqual(results);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe('the state', () => {
  const definition = parseEdgeDefinition(
    'order 2s | window 20s mean,stddev,p50 every 10s | threshold above 1 for 5s',
  );
  const pipeline = new EdgePipeline(definition);
  for (let s = 0; s < 47; s++) pipeline.push(s * SECOND, (s * 13) % 7, () => {});
  const good = pipeline.save();

  test('is small for what it holds', () => {
    expect(good.length).toBeLessThan(700);
    new EdgePipeline(definition, good);
  });

  test('is refused with any bit turned, any byte lost, or anything behind it', () => {
    const refused = (bytes: Uint8Array): boolean => {
      try {
        new EdgePipeline(definition, bytes);
        return false;
      } catch (error) {
        return (error as { code?: string }).code === 'ERR_EDGE_STATE';
      }
    };
    for (let i = 0; i < good.length; i++) {
      for (let bit = 0; bit < 8; bit++) {
        const bad = good.slice();
        bad[i]! ^= 1 << bit;
        expect(refused(bad)).toBe(true);
      }
      expect(refused(good.slice(0, i))).toBe(true);
    }
    expect(refused(Uint8Array.of(...good, 0))).toBe(true);
  });

  test('is refused for another definition', () => {
    expect(() => new EdgePipeline(parseEdgeDefinition('deadband 1'), good)).toThrow(
      expect.objectContaining({ code: 'ERR_EDGE_STATE' }),
    );
  });
});
