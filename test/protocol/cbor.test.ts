import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import { type CborValue, decode, diagnose, encode, Float, Tagged } from '@fieldproof/protocol/cbor';
import { describe, expect, test } from '@jest/globals';

describe('deterministic encoding', () => {
  const cases: readonly (readonly [CborValue, string])[] = [
    [{ b: 1, a: 2, aa: undefined }, 'a2616102616201'],
    [
      new Map<CborValue, CborValue>([
        ['aa', 1],
        [-1, 2],
        [100, 3],
        [10, 4],
        [[100], 5],
        ['z', 6],
        [[-1], 7],
        [false, 8],
      ]),
      'a80a04186403200261' + '7a0662616101811864058120' + '07f408',
    ],
    [-0, 'f98000'],
    [new Float(1), 'f93c00'],
    [Number.NaN, 'f97e00'],
    [2 ** 53 - 1, '1b001fffffffffffff'],
    [-(2 ** 53 - 1), '3b001ffffffffffffe'],
    [1n << 64n, 'c249010000000000000000'],
    [new Tagged(2, fromHex('0001')), '01'],
    [`${'x'.repeat(23)}ü`, `7819${'78'.repeat(23)}c3bc`],
    ['ü'.repeat(12), `7818${'c3bc'.repeat(12)}`],
    ['\u{10151}', '64f0908591'],
    [2 ** -24, 'f90001'],
    [1.1, 'fb3ff199999999999a'],
    [100000.5, 'fa47c35040'],
  ];
  test.each(cases)('%p', (value, hex) => {
    expect(toHex(encode(value))).toBe(hex);
    expect(toHex(encode(decode(fromHex(hex), { keepFloats: true })))).toBe(hex);
  });
});

test('diagnostic notation shows floats as floats', () => {
  expect(
    diagnose(
      decode(fromHex('a20183f93c00c249010000000000000000f66161d8204101'), { keepFloats: true }),
    ),
  ).toBe(`{1: [1.0, 18446744073709551616, null], "a": 32(h'01')}`);
});
