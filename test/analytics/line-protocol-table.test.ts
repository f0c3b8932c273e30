import { MAX_NUMBER_BYTES, writeFloat, writeInteger } from '@fieldproof/analytics/float-text';

import { decodePoints } from '@fieldproof/analytics/line-protocol-decode';
import { fieldKeyOfMetric, metricOfFieldKey } from '@fieldproof/analytics/store/field-keys';
import {
  LineBuffer,
  type LineBufferOptions,
  TABLE_PRECISION,
} from '@fieldproof/analytics/table-lines';
import { type ReadingColumn, type ReadingTable, readingCount } from '@fieldproof/compute/readings';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const floats = (metric: string, ...values: number[]): ReadingColumn => ({
  metric,
  unit: '',
  type: 'float',
  values: Float64Array.from(values),
});

const table = (change: Partial<ReadingTable> = {}): ReadingTable => ({
  profile: 'air',
  device: 'd1',
  cell: '',
  group: '',
  source: 'sensor',
  timesMs: Float64Array.of(1000),
  columns: [floats('temp', 21)],
  ...change,
});

function linesOf(one: ReadingTable, options?: LineBufferOptions): string {
  const buffer = new LineBuffer(options);
  expect(buffer.append(one)).toBe(one.timesMs.length);
  return Buffer.from(buffer.take()).toString();
}

describe('LineBuffer', () => {
  test('writes one wide line per instant, tags sorted, times in microseconds', () => {
    const wide = table({
      cell: '8828308281fffff',
      group: 'north side',
      timesMs: Float64Array.of(1732174540123.457, -1.5),
      columns: [
        floats('temp', 21, 21.25),
        { metric: 'mode', unit: '', type: 'string', values: ['a "b"', undefined] },
        { metric: 'ok', unit: '', type: 'boolean', values: [undefined, false] },
      ],
    });
    const tags = 'air,cell=8828308281fffff,device=d1,group=north\\ side,source=sensor';
    expect(linesOf(wide)).toBe(
      `${tags} temp=21,mode="a \\"b\\"" 1732174540123457\n${tags} temp=21.25,ok=f -1500\n`,
    );
    expect(readingCount(wide)).toBe(4);
  });

  test('leaves out absent values, and instants that have none', () => {
    const gaps = table({
      timesMs: Float64Array.of(1, 2, 3),
      columns: [floats('a', Number.NaN, Number.NaN, 1), floats('b', 2, Number.NaN, Number.NaN)],
    });
    expect(linesOf(gaps)).toBe(
      'air,device=d1,source=sensor b=2 1000\nair,device=d1,source=sensor a=1 3000\n',
    );
  });

  test('stops at its bounds and goes on with the next body', () => {
    const many = table({
      timesMs: Float64Array.from({ length: 25 }, (_, i) => i),
      columns: [floats('temp', ...Array.from({ length: 25 }, (_, i) => i))],
    });
    const byLines = new LineBuffer({ maxLines: 10 });
    expect([byLines.append(many), byLines.lines]).toEqual([10, 10]);
    expect(byLines.append(many, 10)).toBe(10);
    const first = byLines.take();
    expect(byLines.append(many, 10)).toBe(20);
    expect(decodePoints(first)).toHaveLength(10);
    const byBytes = new LineBuffer({ maxBytes: 200 });
    const next = byBytes.append(many);
    expect(byBytes.byteLength).toBeLessThanOrEqual(200);
    expect(decodePoints(byBytes.take())).toHaveLength(next);
  });

  test('a line that no body could hold is an error, not an endless loop', () => {
    expect(() => linesOf(table(), { maxBytes: 20 })).toThrow(
      expect.objectContaining({ code: 'ERR_LINE_BUFFER_FULL' }),
    );
  });

  test.each([
    ['a newline in the device', table({ device: 'x\ny v=1' })],
    ['a newline in the group', table({ group: 'x\ny v=1' })],
    ['a newline in the profile', table({ profile: 'air\nx v=1 1' })],
    ['a newline in a metric', table({ columns: [floats('x\ny', 1)] })],
    ['a backslash before a quote in a metric', table({ columns: [floats('a\\"b', 1)] })],
    ['a backslash before a quote in the profile', table({ profile: 'a\\"b' })],
    ['a backslash at the end of the cell', table({ cell: 'c\\' })],
    ['infinity', table({ columns: [floats('temp', Number.NEGATIVE_INFINITY)] })],
    ['a time that is no number', table({ timesMs: Float64Array.of(Number.NaN) })],
    ['a time far out of range', table({ timesMs: Float64Array.of(1e15) })],
    ['a column of another length', table({ columns: [floats('temp', 1, 2)] })],
  ])('%s is refused and leaves the buffer as it was', (_, bad) => {
    const buffer = new LineBuffer();
    buffer.append(table());
    const before = buffer.byteLength;
    expect(() => buffer.append(bad)).toThrow(expect.objectContaining({ code: 'ERR_LINE_ENCODE' }));
    expect([buffer.byteLength, buffer.lines]).toEqual([before, 1]);
  });

  test('a device that moves gets its new cell', () => {
    const buffer = new LineBuffer();
    for (const cell of ['a', 'b', 'a']) buffer.append(table({ cell }));
    const cells = decodePoints(buffer.take()).map((point) => point.tags[0]!.value);
    expect(cells).toEqual(['a', 'b', 'a']);
  });

  test('tables read back as they were', () => {
    const name = fc
      .string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 100 })
      .filter((text) => !text.endsWith('\\'));
    const tables = fc.record({
      profile: name.filter((text) => !text.startsWith('#') && !text.includes('\\"')),
      device: name,
      cell: fc.oneof(fc.constant(''), name),
      group: name,
      metric: name.filter((text) => !text.includes('\\"')),
      timeUs: fc.integer({ min: -4.3e15, max: 4.3e15 }),
      value: fc.double({ noNaN: true, noDefaultInfinity: true }),
      text: fc.string({ unit: 'grapheme', maxLength: 300 }),
    });
    fc.assert(
      fc.property(tables, ({ metric, timeUs, value, text, ...names }) => {
        const one = table({
          ...names,
          timesMs: Float64Array.of(timeUs / 1000),
          columns: [
            floats(metric, value),
            { metric: 'text', unit: '', type: 'string', values: [text] },
          ],
        });
        const buffer = new LineBuffer();
        buffer.append(one);
        const [point] = decodePoints(buffer.take(), { precision: TABLE_PRECISION });
        const tags = {
          cell: names.cell,
          device: names.device,
          group: names.group,
          source: 'sensor',
        };
        expect(point).toEqual({
          measurement: names.profile,
          tags: Object.entries(tags)
            .filter(([, tag]) => tag !== '')
            .map(([key, tag]) => ({ key, value: tag })),
          fields: [
            { key: fieldKeyOfMetric(metric), value: { type: 'float', value } },
            { key: 'text', value: { type: 'string', value: text } },
          ],
          timeNs: BigInt(timeUs) * 1000n,
        });
      }),
    );
  });
});

describe('number texts', () => {
  const textOf = (write: typeof writeFloat, value: number): string => {
    const bytes = Buffer.alloc(MAX_NUMBER_BYTES);
    return bytes.toString('latin1', 0, write(bytes, 0, value));
  };

  test('any double reads back as the same double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Object.is(Number(textOf(writeFloat, value)), value)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test('any decimal is written as JavaScript writes it', () => {
    const decimals = fc.tuple(fc.integer(), fc.integer({ min: 0, max: 9 }));
    fc.assert(
      fc.property(decimals, ([digits, places]) => {
        const value = digits / 10 ** places;
        if (Math.abs(value) < 1e-6) return;
        expect(textOf(writeFloat, value)).toBe(Object.is(value, -0) ? '-0' : String(value));
      }),
      { numRuns: 5000 },
    );
  });

  test.each([
    0, -0, 1, -1, 2147483647, -2147483648, 2147483648, 1e21, 1e-7, 5e-324, 0.1, -0.001, 1999999.999,
    1e6, 99.995,
  ])('%d', (value) => {
    expect(Object.is(Number(textOf(writeFloat, value)), value)).toBe(true);
  });

  test('any safe integer is exact', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        expect(textOf(writeInteger, value)).toBe(String(value));
      }),
    );
  });
});

describe('field keys', () => {
  test('every metric has its own field key, and only the key "time" has no metric', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^_{0,3}(time|Time|x)$/)), (metric) => {
        expect(fieldKeyOfMetric(metric)).not.toBe('time');
        expect(metricOfFieldKey(fieldKeyOfMetric(metric))).toBe(metric);
        if (metric !== 'time') expect(fieldKeyOfMetric(metricOfFieldKey(metric))).toBe(metric);
      }),
    );
  });
});
