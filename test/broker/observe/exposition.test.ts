import { type Family, formatMetrics, keyed, single } from '@fieldproof/broker/observe/exposition';
import { Histogram } from '@fieldproof/broker/observe/histogram';
import { expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { readExposition } from '../support/exposition.ts';

test('a family is its help, its type and its samples', () => {
  const text = formatMetrics([
    single('counter', 'a_total', { help: 'All of it.', value: 3 }),
    keyed('gauge', 'b', { help: 'Two.', label: 'kind', values: { x: 1.5, y: -2 } }),
  ]);
  expect(text).toBe(
    '# HELP a_total All of it.\n# TYPE a_total counter\na_total 3\n' +
      '# HELP b Two.\n# TYPE b gauge\nb{kind="x"} 1.5\nb{kind="y"} -2\n',
  );
});

test('a family without samples is left out', () => {
  const empty = keyed('gauge', 'b', { help: 'None.', label: 'kind', values: {} });
  expect(formatMetrics([empty])).toBe('');
});

test('whatever a label value is, it stays one line that reads back', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.double(), (text, value) => {
      const family: Family = {
        ...{ type: 'gauge', name: 'a', help: 'With\nline feed and \\.' },
        samples: [{ labels: { label: text }, value }],
      };
      const read = readExposition(formatMetrics([family])).get('a')!;
      const [[series, got]] = [...read.samples] as [[string, number]];
      const written = series.slice('{label="'.length, -'"}'.length);
      const back = written.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
      expect(back).toBe(text);
      expect(Object.is(got, value) || got === value).toBe(true);
    }),
  );
});

test('buckets are cumulative, and the last one is the count', () => {
  const distribution = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) distribution.observe(value);
  const { samples } = readExposition(
    formatMetrics([{ type: 'histogram', name: 'h_seconds', help: 'Time.', distribution }]),
  ).get('h_seconds')!;
  expect(Object.fromEntries(samples)).toEqual({
    '_bucket{le="0.1"}': 2,
    '_bucket{le="1"}': 3,
    '_bucket{le="+Inf"}': 4,
    _sum: 7.65,
    _count: 4,
  });
});

test.each([
  ['a name that is none', [single('gauge', 'a-b', { help: '', value: 1 })]],
  [
    'two families of one name',
    [single('gauge', 'a', { help: '', value: 1 }), single('counter', 'a', { help: '', value: 1 })],
  ],
  [
    'a label name that is none',
    [keyed('gauge', 'a', { help: '', label: '__a', values: { b: 1 } })],
  ],
  [
    'a sample that is there twice',
    [{ type: 'gauge' as const, name: 'a', help: '', samples: [{ value: 1 }, { value: 2 }] }],
  ],
])('%s is refused', (_what, families) => {
  expect(() => formatMetrics(families)).toThrow(RangeError);
});
