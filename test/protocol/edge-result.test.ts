import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fromHex } from '@fieldproof/protocol/bytes';
import { type CborValue, decode, encode, Float } from '@fieldproof/protocol/cbor';
import {
  checkEdgeResult,
  decodeEdgeResult,
  encodeEdgeResult,
} from '@fieldproof/protocol/edge-result';
import { describe, expect, test } from '@jest/globals';
import { REPOSITORY } from '../support/repository.ts';

const { cases } = JSON.parse(
  readFileSync(resolve(REPOSITORY, 'compute/vectors/results.json'), 'utf8'),
) as { cases: { name: string; hex: string }[] };
const payloadOf = (name: string): Uint8Array =>
  fromHex(cases.find((each) => each.name === name)!.hex);
const NAMES = ['first result', 'result without readings', 'result of an unsynchronised clock'];
const good = payloadOf('first result');
const [format, readings, raw, streams] = decode(good) as [
  number,
  Uint8Array,
  CborValue[],
  CborValue[][],
];
const stream = streams[0]!;
const NOON_MS = 1_795_262_400_000;

function codeOf(payload: CborValue): string | undefined {
  try {
    checkEdgeResult(encode(payload));
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

/** The message with some items of its stream replaced. */
const withStream = (changes: Readonly<Record<number, CborValue>>): CborValue => {
  const row = stream.map((item, i) => (i in changes ? changes[i]! : item));
  return [format, readings, raw, [row]];
};

describe('a result', () => {
  test.each(NAMES)('%s is written as it was read', (name) => {
    const payload = payloadOf(name);
    expect(encodeEdgeResult(decodeEdgeResult(payload))).toEqual(payload);
  });

  test('has readings, raw range and streams', () => {
    const result = decodeEdgeResult(good);
    expect(result.raw).toMatchObject({ from: 0, to: 1 });
    expect(result.streams).toMatchObject([
      { profile: 'air', metric: 'temp', count: 6, before: null },
    ]);
    expect(result.decoded.runs.map(({ metric }) => metric)).toEqual(['temp.mean', 'temp.max']);
  });

  test('counts the times of its raw readings among its own', () => {
    expect(checkEdgeResult(good)).toEqual({
      ...{ readings: 2, absolute: true, relative: false },
      ...{ minTimeMs: NOON_MS - 120_000, maxTimeMs: NOON_MS - 20_000 },
    });
    expect(checkEdgeResult(payloadOf(NAMES[1]!))).toMatchObject({ readings: 0, absolute: true });
    expect(checkEdgeResult(payloadOf(NAMES[2]!))).toMatchObject({
      absolute: false,
      relative: true,
    });
  });

  test('may have more items at the end of its arrays', () => {
    expect(codeOf([format, readings, [...raw, 1], [[...stream, 'x']], null])).toBeUndefined();
  });
});

const definition = (...functions: CborValue[]): Uint8Array => encode(functions);

describe('refused is', () => {
  test.each<[string, CborValue]>([
    ['what is no array', { format }],
    ['an array that is too short', [format, readings, raw]],
    ['another format', [60, readings, raw, streams]],
    ['a format as a float', [new Float(65_001), readings, raw, streams]],
    ['the format of SenML without readings', [112, new Uint8Array(), raw, streams]],
    ['readings as text', [format, 'x', raw, streams]],
    ['a range that ends before it begins', [format, readings, [2, 1, raw[2]!], streams]],
    ['a range of too many chunks', [format, readings, [0, 65_536, raw[2]!], streams]],
    ['a range below zero', [format, readings, [-1, 1, raw[2]!], streams]],
    ['a short root', [format, readings, [0, 1, new Uint8Array(31)], streams]],
    ['no stream', [format, readings, raw, []]],
    ['a stream twice', [format, readings, raw, [stream, stream]]],
    ['a result of another stream', withStream({ 0: 'air/tem' })],
    ['a name without profile', withStream({ 0: 'temp' })],
    ['a name with a wrong metric', withStream({ 0: 'air/.temp' })],
    ['an empty definition', withStream({ 1: definition() })],
    ['a definition of nine functions', withStream({ 1: definition(...Array(9).fill(['a', {}])) })],
    ['a definition without an id', withStream({ 1: definition([1, {}]) })],
    ['a definition without parameters', withStream({ 1: definition(['rate-1']) })],
    ['parameters without names', withStream({ 1: definition(['rate-1', new Map([[1, 2]])]) })],
    ['a definition as an array', withStream({ 1: [['rate-1', {}]] })],
    ['a long definition', withStream({ 1: definition(['a', { x: 'x'.repeat(4096) }]) })],
    ['a first instant behind the last', withStream({ 2: (stream[3] as number) + 1 })],
    ['a time beyond the year 9999', withStream({ 3: 253_402_300_800_000_000n })],
    ['a relative time of nine years', withStream({ 2: -(2 ** 28) * 1e6 })],
    ['a time with a fraction', withStream({ 2: 0.5 })],
    ['no instants', withStream({ 4: 0 })],
    ['more than a million instants', withStream({ 4: 1_000_001 })],
    ['a state that is no hash', withStream({ 5: 'x' })],
    ['no state after', withStream({ 6: null })],
  ])('%s', (_name, payload) => {
    expect(codeOf(payload)).toBe('ERR_EDGE_RESULT_MALFORMED');
  });

  test('readings that are malformed, by their own codes', () => {
    expect(codeOf([format, Uint8Array.of(0x80), raw, streams])).toBe('ERR_COLUMNS_MALFORMED');
    expect(codeOf([112, Uint8Array.of(0x80), raw, streams])).toBe('ERR_SENML_MALFORMED');
    expect(codeOf([format, Uint8Array.of(0xff), raw, streams])).toBe('ERR_CBOR_MALFORMED');
    expect(codeOf(withStream({ 1: Uint8Array.of(0x98, 1, 0) }))).toBe('ERR_CBOR_NOT_DETERMINISTIC');
  });

  test('what is no number', () => {
    const text = encode([
      new Map<number, CborValue>([
        [0, 'air/temp'],
        [3, 'on'],
        [6, 1.8e9],
      ]),
    ]);
    expect(codeOf([112, text, raw, streams])).toBe('ERR_EDGE_RESULT_MALFORMED');
  });
});
