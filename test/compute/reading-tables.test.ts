import { readingTables } from '@fieldproof/compute/reading-tables';
import { readingCount } from '@fieldproof/compute/readings';
import { decodeTelemetry } from '@fieldproof/protocol/readings-decode';
import { encodeTelemetry, type Reading } from '@fieldproof/protocol/readings-encode';
import { senmlFromJson } from '@fieldproof/protocol/senml-json';
import { readingsFromSenml } from '@fieldproof/protocol/senml-readings';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const context = {
  device: 'd1',
  cell: '8a1',
  group: 'roof',
  source: 'sensor',
  offsetMs: 1780000000000,
} as const;
const tables = (...records: unknown[]) =>
  readingTables(readingsFromSenml(senmlFromJson(records)), context);

describe('tables of decoded readings', () => {
  test('have a row for each instant and a column for each metric of a profile', () => {
    const result = tables(
      { bn: 'air/temp', bt: 1780000000, bu: 'Cel', v: 21 },
      { t: 1, v: 22 },
      { bn: 'air/open', bu: '', vb: true },
      { t: 1, vb: false },
      { bn: 'label', vs: 'Machine Room' },
    );
    expect(result).toEqual([
      {
        profile: 'air',
        device: 'd1',
        cell: '8a1',
        group: 'roof',
        source: 'sensor',
        timesMs: Float64Array.of(1780000000000, 1780000001000),
        columns: [
          { metric: 'temp', unit: 'Cel', type: 'float', values: Float64Array.of(21, 22) },
          { metric: 'open', unit: '', type: 'boolean', values: [true, false] },
        ],
      },
      {
        profile: 'readings',
        device: 'd1',
        cell: '8a1',
        group: 'roof',
        source: 'sensor',
        timesMs: Float64Array.of(1780000000000),
        columns: [{ metric: 'label', unit: '', type: 'string', values: ['Machine Room'] }],
      },
    ]);
  });

  test('mark what is missing', () => {
    const [table] = tables(
      { n: 'a', v: 1, t: 1 },
      { n: 'a', v: 2, t: 2 },
      { n: 'b', v: 3, t: 2 },
      { n: 'c', vs: 'x', t: 3 },
    );
    expect(table!.columns.map(({ values }) => [...values])).toEqual([
      [1, 2, Number.NaN],
      [Number.NaN, 3, Number.NaN],
      [undefined, undefined, 'x'],
    ]);
  });

  test('place relative times at the instant of sealing', () => {
    expect([...tables({ n: 'a', v: 1, t: -5 }, { n: 'a', v: 1, t: -4.5 })[0]!.timesMs]).toEqual([
      1779999995000, 1779999995500,
    ]);
    const relative = readingsFromSenml(senmlFromJson([{ n: 'a', v: 1 }]));
    expect(() => readingTables(relative, { ...context, offsetMs: Number.NaN })).toThrow(RangeError);
  });

  test('keep a second reading at the same instant, and another unit or type, in a table of its own', () => {
    const result = tables(
      { n: 'a', v: 1 },
      { n: 'a', v: 2 },
      { n: 'a', u: 'V', v: 3 },
      { n: 'a', vs: 'x' },
      { n: 'a', t: 1, v: 4 },
    );
    expect(
      result.map(({ columns }) => columns.map(({ unit, values }) => [unit, ...values])),
    ).toEqual([[['', 1, 4]], [['', 2]], [['V', 3]], [['', 'x']]]);
  });

  test('leave out data and sums, which stores do not keep', () => {
    expect(tables({ n: 'a', vd: 'aGk' }, { n: 'b', s: 1 })).toEqual([]);
  });

  test('hold exactly the readings that came in', () => {
    const reading: fc.Arbitrary<Reading> = fc.record({
      profile: fc.constantFrom('air', 'soil'),
      metric: fc.constantFrom('a', 'b', 'c'),
      unit: fc.constantFrom('', 'V'),
      timeMs: fc.integer({ min: 0, max: 5 }).map((s) => 1780000000000 + s * 1000),
      value: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.boolean(), fc.constantFrom('x', '')),
    });
    fc.assert(
      fc.property(fc.array(reading, { minLength: 1, maxLength: 30 }), (readings) => {
        const found: unknown[] = [];
        for (const { contentType, payload } of encodeTelemetry(readings, { format: 'senml' })) {
          for (const table of readingTables(decodeTelemetry(payload, contentType), context)) {
            for (const { metric, unit, values } of table.columns) {
              for (const [row, value] of [...values].entries()) {
                if (value === undefined || Number.isNaN(value)) continue;
                found.push({
                  profile: table.profile,
                  metric,
                  unit,
                  timeMs: table.timesMs[row]!,
                  value,
                });
              }
            }
            expect(
              table.columns.every(({ values }) => values.length === table.timesMs.length),
            ).toBe(true);
            expect(readingCount(table)).toBeGreaterThan(0);
          }
        }
        const sorted = (list: unknown[]) => list.map((r) => JSON.stringify(r)).sort();
        expect(sorted(found)).toEqual(sorted([...readings]));
      }),
    );
  });
});
