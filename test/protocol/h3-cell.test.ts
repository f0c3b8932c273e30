import { isH3Cell } from '@fieldproof/protocol/h3-cell';
import { describe, expect, test } from '@jest/globals';

/** An index of its parts. */
function indexOf({ mode = 1, reserved = 0, resolution = 0, base = 0, digits = [] as number[] }) {
  const all = Array.from({ length: 15 }, (_, i) => BigInt(digits[i] ?? 7));
  const tail = all.reduce((sum, digit) => (sum << 3n) | digit, 0n);
  const head = (BigInt(mode) << 59n) | (BigInt(reserved) << 56n) | (BigInt(resolution) << 52n);
  return (head | (BigInt(base) << 45n) | tail).toString(16).padStart(15, '0');
}

const PENTAGONS = [4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117];

describe('an H3 cell', () => {
  test.each([
    ...['871f91d91ffffff', '871fa4aa4ffffff', '8928308280fffff', '8828308281fffff'],
    ...['8009fffffffffff', '80f3fffffffffff', '8f28308280f18f2'],
  ])('%s is one', (text) => {
    expect(isH3Cell(text)).toBe(true);
  });

  test.each([
    ['nothing', ''],
    ['zeros', '0'.repeat(15)],
    ['upper case', '871F91D91FFFFFF'],
    ['a digit less', '871f91d91fffff'],
    ['a leading zero', '0871f91d91ffffff'],
    ['a line break behind', '871f91d91ffffff\n'],
    ['an edge', indexOf({ mode: 2 })],
    ['a reserved bit', indexOf({ reserved: 1 })],
    ['base cell 122', indexOf({ base: 122 })],
    ['base cell 127', indexOf({ base: 127 })],
    ['digit 7 within the resolution', indexOf({ resolution: 3, digits: [0, 7, 0] })],
    ['too few digits', indexOf({ resolution: 3, digits: [0, 1] })],
    ['a digit behind the resolution', indexOf({ resolution: 2, digits: [0, 1, 6] })],
    ['a digit at the end', indexOf({ digits: [...Array(14).fill(7), 0] })],
  ])('%s is none', (_what, text) => {
    expect(isH3Cell(text)).toBe(false);
  });

  test('has each base cell, and only pentagons lack the K axis, at the first digit but 0', () => {
    for (let base = 0; base < 122; base++) {
      expect(isH3Cell(indexOf({ base }))).toBe(true);
      const isHexagon = !PENTAGONS.includes(base);
      for (const digits of [[1], [0, 0, 1], [0, 1, 2]]) {
        const text = indexOf({ base, digits, resolution: digits.length });
        expect([base, digits, isH3Cell(text)]).toEqual([base, digits, isHexagon]);
      }
      expect(isH3Cell(indexOf({ base, digits: [0, 2, 1], resolution: 3 }))).toBe(true);
    }
  });

  test('has resolutions to 15', () => {
    for (let resolution = 0; resolution <= 15; resolution++) {
      expect(isH3Cell(indexOf({ resolution, digits: Array(resolution).fill(6) }))).toBe(true);
    }
  });
});
