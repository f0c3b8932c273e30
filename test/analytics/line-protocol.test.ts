import { readFileSync } from 'node:fs';
import {
  encodePoint,
  isLineName,
  type LinePoint,
  type LineValue,
} from '@fieldproof/analytics/line-protocol';
import { decodePoints } from '@fieldproof/analytics/line-protocol-decode';
import { LineReader } from '@fieldproof/analytics/line-reader';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

type CorpusText = string | { binary: string };
interface CorpusPoint {
  time: string;
  name: CorpusText;
  tags?: { key: CorpusText; value: CorpusText }[];
  fields: { key: CorpusText; value: Record<string, never> }[];
}
interface Case {
  input: {
    key: string;
    text: CorpusText;
    point: CorpusPoint;
    defaultTime: string;
    precision: string;
  };
  output: { result?: never; error?: string };
}

const PRECISIONS = { '1ns': 'ns', '1µs': 'u', '1ms': 'ms', '1s': 's' } as const;
const load = (name: string): Case[] =>
  JSON.parse(
    readFileSync(new URL(`../vectors/line-protocol/${name}.json`, import.meta.url), 'utf8'),
  );
const precisionOf = (name: string) => PRECISIONS[name as keyof typeof PRECISIONS];
const bytesOf = (text: CorpusText) =>
  typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.binary, 'base64');
const textOf = (text: CorpusText) => new TextDecoder('utf8', { fatal: true }).decode(bytesOf(text));

function lineValueOf(value: Record<string, unknown>): LineValue {
  const [type, got] = Object.entries(value)[0]!;
  if (type === 'int' || type === 'uint') return { type, value: BigInt(got as string) };
  if (type === 'bool') return { type: 'boolean', value: got as boolean };
  if (type === 'float')
    return { type, value: typeof got === 'string' ? Number(got) : (got as number) };
  return { type: 'string', value: textOf(got as CorpusText) };
}

function pointOf(point: CorpusPoint): LinePoint {
  return {
    measurement: textOf(point.name),
    tags: (point.tags ?? []).map(({ key, value }) => ({ key: textOf(key), value: textOf(value) })),
    fields: (point.fields ?? []).map(({ key, value }) => ({
      key: textOf(key),
      value: lineValueOf(value),
    })),
    timeNs: BigInt(point.time),
  };
}

describe('the corpus', () => {
  test.each(load('encode').map((one) => [one.input.key, one] as const))('encode %s', (_, one) => {
    const encode = () =>
      encodePoint(pointOf(one.input.point), { precision: precisionOf(one.input.precision) });
    if (one.output.error === undefined) expect(encode()).toBe(one.output.result);
    else expect(encode).toThrow();
  });

  test.each(
    [...load('decode'), ...load('decode_fuzz_sample')].map((one) => [one.input.key, one] as const),
  )('decode %s', (_, one) => {
    const decode = () =>
      decodePoints(bytesOf(one.input.text), {
        precision: precisionOf(one.input.precision),
        defaultTimeNs: BigInt(one.input.defaultTime),
      });
    if (one.output.error === undefined) {
      expect(decode()).toEqual((one.output.result as unknown as CorpusPoint[]).map(pointOf));
    } else expect(decode).toThrow(expect.objectContaining({ code: 'ERR_LINE_SYNTAX' }));
  });
});

const point = (change: Partial<LinePoint>): LinePoint => ({
  measurement: 'air',
  tags: [{ key: 'device', value: 'd1' }],
  fields: [{ key: 'temp', value: { type: 'float', value: 21.5 } }],
  timeNs: 1n,
  ...change,
});
const float = (value: number): LinePoint =>
  point({ fields: [{ key: 'v', value: { type: 'float', value } }] });

describe('encodePoint', () => {
  test.each([
    ['a newline in the measurement', point({ measurement: 'a\nb v=1' })],
    ['a newline in a tag value', point({ tags: [{ key: 'device', value: 'x\ny v=1' }] })],
    ['a newline in a tag key', point({ tags: [{ key: 'de\nvice', value: 'x' }] })],
    [
      'a newline in a field key',
      point({ fields: [{ key: 'a\nb', value: { type: 'float', value: 1 } }] }),
    ],
    ['a carriage return in a tag value', point({ tags: [{ key: 'device', value: 'x\ry' }] })],
    ['NUL in a tag value', point({ tags: [{ key: 'device', value: 'x\0y' }] })],
    ['a backslash at the end of a tag value', point({ tags: [{ key: 'device', value: 'x\\' }] })],
    ['a backslash at the end of the measurement', point({ measurement: 'air\\' })],
    ['an empty measurement', point({ measurement: '' })],
    ['a measurement that would be a comment', point({ measurement: '#air' })],
    ['an empty tag value', point({ tags: [{ key: 'device', value: '' }] })],
    [
      'a tag key twice',
      point({
        tags: [
          { key: 'a', value: '1' },
          { key: 'a', value: '2' },
        ],
      }),
    ],
    ['half a surrogate pair', point({ tags: [{ key: 'a', value: '\ud800' }] })],
    ['no fields', point({ fields: [] })],
    ['NaN', float(Number.NaN)],
    ['infinity', float(Number.POSITIVE_INFINITY)],
    [
      'an integer of 65 bits',
      point({ fields: [{ key: 'v', value: { type: 'int', value: 2n ** 63n } }] }),
    ],
    [
      'a negative unsigned integer',
      point({ fields: [{ key: 'v', value: { type: 'uint', value: -1n } }] }),
    ],
    ['a time of 65 bits', point({ timeNs: 2n ** 63n })],
  ])('%s is refused', (_, bad) => {
    expect(() => encodePoint(bad)).toThrow(expect.objectContaining({ code: 'ERR_LINE_ENCODE' }));
  });

  test('a newline inside a string field is data', () => {
    const text = point({ fields: [{ key: 's', value: { type: 'string', value: 'a\nb"\\' } }] });
    expect(encodePoint(text)).toBe('air,device=d1 s="a\nb\\"\\\\" 1');
    expect(decodePoints(Buffer.from(encodePoint(text)))).toEqual([text]);
  });

  test('whatever is written reads back as it was', () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter(isLineName);
    const value: fc.Arbitrary<LineValue> = fc.oneof(
      fc
        .double({ noNaN: true, noDefaultInfinity: true })
        .map((v) => ({ type: 'float' as const, value: v })),
      fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n).map((v) => ({ type: 'int' as const, value: v })),
      fc.bigInt(0n, 2n ** 64n - 1n).map((v) => ({ type: 'uint' as const, value: v })),
      fc.string({ unit: 'grapheme' }).map((v) => ({ type: 'string' as const, value: v })),
      fc.boolean().map((v) => ({ type: 'boolean' as const, value: v })),
    );
    const points = fc.record({
      measurement: name.filter((text) => !text.startsWith('#')),
      tags: fc
        .uniqueArray(fc.record({ key: name, value: name }), {
          selector: (tag) => tag.key,
          maxLength: 4,
        })
        .map((tags) => tags.toSorted((a, b) => (a.key < b.key ? -1 : 1))),
      fields: fc.array(fc.record({ key: name, value }), { minLength: 1, maxLength: 4 }),
      timeNs: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
    });
    fc.assert(
      fc.property(fc.array(points, { maxLength: 4 }), (many) => {
        const body = many.map((one) => encodePoint(one)).join('\n');
        expect(decodePoints(Buffer.from(body))).toEqual(many);
      }),
    );
  });
});

describe('LineReader', () => {
  test('goes on behind a refused line and says where it was', () => {
    const reader = new LineReader(Buffer.from('a v=1 1\na v= 2\n# note\n\na v=3 3'));
    const seen: (string | bigint)[] = [];
    while (reader.next()) seen.push(reader.error ?? reader.timeNs);
    expect(seen).toEqual([1n, 'line 2, byte 5: expected a field value, got " "', 3n]);
  });

  test('any bytes end in points or refusals, never in an exception or a loop', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const reader = new LineReader(bytes);
        let lines = 0;
        while (reader.next()) lines++;
        expect(lines).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });

  test('numbers are the doubles nearest to their text', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^-?\d{1,20}(\.\d{0,12})?(e[+-]?\d{1,2})?$/), (text) => {
        const [one] = decodePoints(Buffer.from(`a v=${text}`));
        expect(one!.fields[0]!.value).toEqual({ type: 'float', value: Number(text) });
      }),
    );
  });

  test('a series longer than InfluxDB allows is refused', () => {
    expect(() => decodePoints(Buffer.from(`${'a'.repeat(65_536)} v=1`))).toThrow(/65535 bytes/);
  });
});
