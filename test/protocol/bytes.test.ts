import {
  compareBytes,
  concatBytes,
  decodeUtf8,
  encodeUtf8,
  equalBytes,
  fromBase64url,
  fromHex,
  toBase64url,
  toHex,
} from '@fieldproof/protocol/bytes';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const bytes = fc.uint8Array({ maxLength: 40 });
const argument = expect.objectContaining({ code: 'ERR_ARGUMENT' });

test('hex and base64url are those of Node and come back', () => {
  fc.assert(
    fc.property(bytes, (input) => {
      expect(toHex(input)).toBe(Buffer.from(input).toString('hex'));
      expect(toBase64url(input)).toBe(Buffer.from(input).toString('base64url'));
      expect(fromHex(toHex(input))).toEqual(input);
      expect(fromHex(toHex(input).toUpperCase())).toEqual(input);
      expect(fromBase64url(toBase64url(input))).toEqual(input);
    }),
  );
});

test.each(['0', '0g', ' 00', '0x00', '００'])('hex %p is refused', (text) => {
  expect(() => fromHex(text)).toThrow(argument);
});

test.each(['A', 'AA==', 'AA=', 'A+', 'A/', 'A A', 'AA\n', 'AB', 'AAB', 'ÁA', 'AAAAA'])(
  'base64url %p is refused',
  (text) => {
    expect(() => fromBase64url(text)).toThrow(argument);
  },
);

test('order and equality are those of Buffer', () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b));
      expect(equalBytes(a, b)).toBe(Buffer.compare(a, b) === 0);
      expect(equalBytes(concatBytes(a, b).subarray(a.length), b)).toBe(true);
      expect(concatBytes(a, b)).toEqual(new Uint8Array(Buffer.concat([a, b])));
    }),
  );
});

describe('UTF-8', () => {
  test('every text comes back, a byte order mark included', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(decodeUtf8(encodeUtf8(text))).toBe(text);
        expect(decodeUtf8(encodeUtf8(`\ufeff${text}`))).toBe(`\ufeff${text}`);
      }),
    );
  });
  test.each(['\ud800', 'a\udc00', '\udc00\ud800'])('a lone surrogate has no encoding', (text) => {
    expect(() => encodeUtf8(text)).toThrow(argument);
  });
  test.each(['c0', 'c080', 'eda080', 'f4908080', 'e282', 'ff'])('%s is no text', (hex) => {
    expect(() => decodeUtf8(fromHex(hex))).toThrow(argument);
  });
});
