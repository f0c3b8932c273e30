import type { ReadingTable } from '@fieldproof/compute/readings';
import {
  applyTable,
  closeParts,
  closeWindows,
  createWindowState,
  reopenShared,
  type WindowRow,
  type WindowState,
} from '@fieldproof/compute/window';
import {
  applyChanges,
  takeChanges,
  windowStateFromPlain,
  windowStateToPlain,
} from '@fieldproof/compute/window-plain';
import { addToSum, emptySum, roundSum } from '@fieldproof/compute/window-sum';
import { windowTables } from '@fieldproof/compute/window-tables';
import { describe, expect, test } from '@jest/globals';
import { Decoder, Encoder } from 'cbor-x';
import fc from 'fast-check';

const MINUTE = 60_000;
const T0 = 29_666_667 * MINUTE;
const options = { windowMs: MINUTE, graceMs: 5_000, horizonMs: 10 * MINUTE };

function tableOf(
  metric: string,
  readings: readonly (readonly [number, number])[],
  device = 'd1',
): ReadingTable {
  return {
    profile: 'air',
    device,
    cell: 'c',
    group: 'g',
    source: 'sensor',
    timesMs: Float64Array.from(readings, ([time]) => time),
    columns: [
      {
        metric,
        unit: 'Cel',
        type: 'float',
        values: Float64Array.from(readings, ([, value]) => value),
      },
    ],
  };
}

const filled = (...readings: [number, number][]): WindowState => {
  const state = createWindowState(options);
  applyTable(state, tableOf('temp', readings));
  return state;
};

/** The exact sum in units of 2^-1074, rounded by way of a decimal text of the exact value. */
function referenceSum(values: readonly number[]): number {
  let total = 0n;
  for (const value of values) {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    const bits = view.getBigUint64(0);
    const exponent = (bits >> 52n) & 0x7ffn;
    const fraction = bits & ((1n << 52n) - 1n);
    const units = exponent === 0n ? fraction : (fraction | (1n << 52n)) << (exponent - 1n);
    total += bits >> 63n ? -units : units;
  }
  // total · 2^-1074 = total · 5^1074 · 10^-1074, and Number() rounds a decimal text correctly.
  return Number(`${total * 5n ** 1074n}e-1074`) + 0;
}

describe('windows', () => {
  test('hold count, sum, mean, extremes, first and last of a minute', () => {
    const state = filled([T0 + 2000, 3], [T0 + 1000, 1], [T0 + 59_999.999, 8], [T0 + MINUTE, 100]);
    expect(closeWindows(state, T0 + MINUTE + 5000)).toEqual([
      {
        device: 'd1',
        profile: 'air',
        metric: 'temp',
        source: 'sensor',
        unit: 'Cel',
        cell: 'c',
        group: 'g',
        startMs: T0,
        endMs: T0 + MINUTE,
        count: 3,
        sum: 12,
        mean: 4,
        min: 1,
        max: 8,
        first: 1,
        firstMs: T0 + 1000,
        last: 8,
        lastMs: T0 + 59_999.999,
        version: 1,
      },
    ]);
  });

  test('wait for the end and the grace', () => {
    const state = filled([T0, 1]);
    expect(closeWindows(state, T0 + MINUTE + 4999)).toEqual([]);
    expect(closeWindows(state, T0 + MINUTE + 5000)).toHaveLength(1);
  });

  test('are emitted once while nothing new comes', () => {
    const state = filled([T0, 1]);
    expect(closeWindows(state, T0 + 2 * MINUTE)).toHaveLength(1);
    expect(closeWindows(state, T0 + 3 * MINUTE)).toEqual([]);
  });

  test('that late readings touch are emitted again with a higher version, and no others', () => {
    const state = filled([T0, 1], [T0 + MINUTE, 2]);
    applyTable(state, tableOf('temp', [[T0, 5]], 'd2'));
    expect(closeWindows(state, T0 + 3 * MINUTE)).toHaveLength(3);
    expect(applyTable(state, tableOf('temp', [[T0 + 30, 9]]))).toEqual({ applied: 1, tooLate: 0 });
    expect(closeWindows(state, T0 + 3 * MINUTE)).toEqual([
      expect.objectContaining({ device: 'd1', startMs: T0, count: 2, sum: 10, version: 2 }),
    ]);
  });

  test('of one line share a version that only grows', () => {
    const state = filled([T0, 1]);
    const versions = () =>
      closeWindows(state, T0 + 2 * MINUTE).map(({ metric, version }) => [metric, version]);
    expect(versions()).toEqual([['temp', 1]]);
    applyTable(state, tableOf('hum', [[T0, 1]]));
    expect(versions()).toEqual([['hum', 2]]);
    applyTable(state, tableOf('temp', [[T0 + 1, 1]]));
    applyTable(state, tableOf('hum', [[T0 + 1, 1]]));
    expect(versions()).toEqual([
      ['hum', 3],
      ['temp', 3],
    ]);
  });

  test('beyond the horizon are forgotten, and what comes for them is counted by series', () => {
    const state = filled([T0, 1]);
    expect(closeWindows(state, T0 + 11 * MINUTE)).toHaveLength(1);
    expect(state.buckets.size).toBe(0);
    const late = tableOf('temp', [
      [T0 + 30, 9],
      [T0 + 31, 9],
      [T0 + MINUTE, 9],
    ]);
    expect(applyTable(state, late)).toEqual({ applied: 1, tooLate: 2 });
    expect([...state.tooLate.values()]).toEqual([
      { series: { device: 'd1', profile: 'air', metric: 'temp', source: 'sensor' }, count: 2 },
    ]);
    expect(closeWindows(state, T0 + 11 * MINUTE).map(({ startMs }) => startMs)).toEqual([
      T0 + MINUTE,
    ]);
  });

  test('are emitted before they are forgotten, however late the clock is asked', () => {
    expect(closeWindows(filled([T0, 1]), T0 + 1e9)).toHaveLength(1);
  });

  test('count a reading that was applied twice, twice', () => {
    const state = filled([T0, 1]);
    applyTable(state, tableOf('temp', [[T0, 1]]));
    expect(closeWindows(state, T0 + 2 * MINUTE)[0]).toMatchObject({ count: 2, sum: 2 });
  });

  test('skip absent values, strings and booleans', () => {
    const state = createWindowState(options);
    const table: ReadingTable = {
      ...tableOf('temp', [[T0, Number.NaN]]),
      columns: [
        { metric: 'temp', unit: '', type: 'float', values: Float64Array.of(Number.NaN) },
        { metric: 'label', unit: '', type: 'string', values: ['x'] },
        { metric: 'open', unit: '', type: 'boolean', values: [true] },
      ],
    };
    expect(applyTable(state, table)).toEqual({ applied: 0, tooLate: 0 });
    expect(closeWindows(state, T0 + 2 * MINUTE)).toEqual([]);
  });

  test('start at multiples of their length before 1970 too', () => {
    const state = createWindowState(options);
    applyTable(state, tableOf('temp', [[-1, 7]]));
    expect(closeWindows(state, MINUTE)[0]).toMatchObject({ startMs: -MINUTE, endMs: 0 });
  });

  const anyReading = fc.tuple(
    fc.constantFrom('temp', 'hum'),
    fc.integer({ min: 0, max: 3 * MINUTE }).map((ms) => T0 + (ms - (ms % 20_000))),
    fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer({ min: -100, max: 100 }).map((n) => n / 10),
      fc.constantFrom(0, -0, 1e16, -1e16, 1.7e308, -1.7e308),
    ),
  );

  test('yield the same bytes whatever the order and batches of their readings', () => {
    fc.assert(
      fc.property(
        fc.array(anyReading, { minLength: 1, maxLength: 40 }),
        fc.infiniteStream(fc.nat()),
        (readings, keys) => {
          const run = (list: typeof readings) => {
            const state = createWindowState(options);
            for (const [metric, time, value] of list)
              applyTable(state, tableOf(metric, [[time, value]]));
            return closeWindows(state, T0 + 5 * MINUTE);
          };
          const shuffled = readings
            .map((reading) => ({ reading, key: keys.next().value }))
            .sort((a, b) => a.key - b.key);
          expect(run(shuffled.map(({ reading }) => reading))).toEqual(run(readings));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('kept apart by origin yield the same rows, at every closing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.tuple(fc.nat(2), anyReading), { maxLength: 12 }), { maxLength: 5 }),
        (rounds) => {
          const one = createWindowState(options);
          const apart = [0, 1, 2].map(() => createWindowState(options));
          for (const [round, readings] of rounds.entries()) {
            for (const [origin, [metric, time, value]] of readings) {
              applyTable(one, tableOf(metric, [[time, value]]));
              applyTable(apart[origin]!, tableOf(metric, [[time, value]]));
            }
            const nowMs = T0 + (round + 1) * MINUTE;
            const rows = closeParts(apart.map((state) => ({ state, nowMs })));
            expect(rows).toEqual(closeWindows(one, nowMs));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('of one origin that are forgotten leave those of the others, which are emitted again', () => {
    const kept = filled([T0, 1], [T0 + MINUTE, 2]);
    const gone = filled([T0 + 1, 7]);
    const nowMs = T0 + 5 * MINUTE;
    closeParts([
      { state: kept, nowMs },
      { state: gone, nowMs },
    ]);
    reopenShared(kept, gone);
    expect(closeParts([{ state: kept, nowMs }])).toMatchObject([
      { startMs: T0, count: 1, sum: 1, version: 2 },
    ]);
  });

  test('of one origin wait for its own time, and are in the rows that others make due', () => {
    const live = createWindowState(options);
    applyTable(live, tableOf('temp', [[T0, 1]]));
    const behind = createWindowState(options);
    applyTable(behind, tableOf('temp', [[T0 + 1, 2]]));
    applyTable(behind, tableOf('hum', [[T0, 3]]));
    const parts = (behindMs: number) => [
      { state: live, nowMs: T0 + 20 * MINUTE },
      { state: behind, nowMs: behindMs },
    ];
    expect(closeParts(parts(T0))).toMatchObject([{ metric: 'temp', count: 2, version: 1 }]);
    applyTable(behind, tableOf('temp', [[T0 + 2, 4]]));
    expect(closeParts(parts(T0 + 2 * MINUTE))).toMatchObject([
      { metric: 'hum', count: 1, version: 2 },
      { metric: 'temp', version: 2 },
    ]);
  });

  test('are the same after a checkpoint in CBOR', () => {
    fc.assert(
      fc.property(
        fc.array(anyReading, { maxLength: 20 }),
        fc.array(anyReading, { maxLength: 20 }),
        (before, after) => {
          const feed = (state: WindowState, list: typeof before) => {
            for (const [metric, time, value] of list)
              applyTable(state, tableOf(metric, [[time, value]]));
          };
          const state = createWindowState(options);
          feed(state, before);
          const early: WindowRow[] = closeWindows(state, T0 + 2 * MINUTE);
          const bytes = new Encoder().encode(windowStateToPlain(state));
          const restored = windowStateFromPlain(new Decoder().decode(bytes));
          expect(early.every(({ version }) => version === 1)).toBe(true);
          for (const each of [state, restored]) feed(each, after);
          expect(closeWindows(restored, T0 + 9 * MINUTE)).toEqual(
            closeWindows(state, T0 + 9 * MINUTE),
          );
        },
      ),
    );
  });

  test('are the same after a checkpoint and the changes since, whatever happened between them', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            anyReading.map((reading) => ({ reading })),
            fc.integer({ min: 0, max: 9 }).map((minute) => ({ minute })),
            fc.constant('take' as const),
          ),
          { maxLength: 60 },
        ),
        (steps) => {
          const state = createWindowState(options);
          const copy = windowStateFromPlain(
            new Decoder().decode(new Encoder().encode(windowStateToPlain(state))),
          );
          const take = (): void => {
            applyChanges(copy, new Decoder().decode(new Encoder().encode(takeChanges(state))));
          };
          let nowMs = T0;
          for (const step of steps) {
            if (step === 'take') {
              take();
            } else if ('minute' in step) {
              nowMs = Math.max(nowMs, T0 + step.minute * MINUTE);
              closeWindows(state, nowMs);
            } else {
              const [metric, time, value] = step.reading;
              applyTable(state, tableOf(metric, [[time, value]]));
            }
          }
          take();
          expect(takeChanges(state)).toMatchObject({ windows: [], tooLate: [] });
          const order = ({ windows, ...rest }: ReturnType<typeof windowStateToPlain>) => ({
            ...rest,
            windows: [...windows].map((window) => JSON.stringify(window)).sort(),
            tooLate: [...rest.tooLate].map((late) => JSON.stringify(late)).sort(),
          });
          expect(order(windowStateToPlain(copy))).toEqual(order(windowStateToPlain(state)));
          expect(closeWindows(copy, T0 + 20 * MINUTE)).toEqual(
            closeWindows(state, T0 + 20 * MINUTE),
          );
        },
      ),
      { numRuns: 500 },
    );
  });

  test.each([
    { ...options, windowMs: 0 },
    { ...options, windowMs: 0.5 },
    { ...options, graceMs: -1 },
    { ...options, horizonMs: 1 },
    { ...options, horizonMs: Number.NaN },
  ])('refuse the options %j', (bad) => {
    expect(() => createWindowState(bad)).toThrow(RangeError);
  });
});

describe('tables of windows', () => {
  test('have a line for each start, with the fields of every metric', () => {
    const state = filled([T0, 1], [T0, 3], [T0 + MINUTE, 5]);
    applyTable(state, tableOf('hum', [[T0, 40]]));
    const [table, ...others] = windowTables(closeWindows(state, T0 + 3 * MINUTE), {
      suffix: '_1m',
    });
    expect(others).toEqual([]);
    expect(table).toMatchObject({
      profile: 'air_1m',
      device: 'd1',
      cell: 'c',
      group: 'g',
      source: 'sensor',
    });
    expect([...table!.timesMs]).toEqual([T0, T0 + MINUTE]);
    const column = (name: string) => table!.columns.find(({ metric }) => metric === name)!;
    expect([...column('temp_mean').values]).toEqual([2, 5]);
    expect([...column('temp_count').values]).toEqual([2, 1]);
    expect([...column('temp_last').values]).toEqual([3, 5]);
    expect([...column('hum_sum').values]).toEqual([40, Number.NaN]);
    expect([...column('version').values]).toEqual([1, 1]);
    expect([column('temp_max').unit, column('temp_count').unit]).toEqual(['Cel', '']);
  });

  test('leave a sum beyond the doubles absent', () => {
    const [table] = windowTables(
      closeWindows(filled([T0, 1.7e308], [T0, 1.7e308]), T0 + 3 * MINUTE),
      { suffix: '_1m' },
    );
    const sum = table!.columns.find(({ metric }) => metric === 'temp_sum')!;
    expect([...sum.values]).toEqual([Number.NaN]);
  });
});

describe('exact sums', () => {
  test('are the double nearest to the true sum', () => {
    const number = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer({ min: -1000, max: 1000 }).map((n) => n / 100),
      fc.constantFrom(1e16, 1, -1e16, 2 ** -53, 1.7e308, -1.7e308, 5e-324, 2 ** 53, 0.1),
    );
    fc.assert(
      fc.property(fc.array(number, { maxLength: 30 }), (values) => {
        const sum = emptySum();
        for (const value of values) addToSum(sum, value);
        expect(roundSum(sum)).toBe(referenceSum(values));
      }),
      { numRuns: 1000 },
    );
  });
});
