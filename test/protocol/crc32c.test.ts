import { crc32c, extendCrc32c } from '@fieldproof/protocol/crc32c';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const ascii = (text: string) => new TextEncoder().encode(text);
const ramp = Uint8Array.from({ length: 32 }, (_, i) => i);
const scsiRead = Uint8Array.from(
  Buffer.from(
    '01c00000000000000000000000000000140000000000040000000014000000182800000000000000' +
      '0200000000000000',
    'hex',
  ),
);

describe('crc32c', () => {
  test.each([
    ['32 bytes of zeros', new Uint8Array(32), 0x8a9136aa],
    ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['32 bytes ascending', ramp, 0x46dd794e],
    ['32 bytes descending', ramp.slice().reverse(), 0x113fdb5c],
    ['an iSCSI SCSI Read (10) command PDU', scsiRead, 0xd9963a56],
  ])('RFC 3720 appendix B.4: %s', (_name, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });

  test('the check value of the CRC catalogue', () => {
    expect(crc32c(ascii('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(0))).toBe(0);
  });

  test('equals the bit by bit definition for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(crc32c(bytes)).toBe(bitByBit(bytes));
      }),
    );
  });

  test('can be extended at any cut', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
        expect(extendCrc32c(crc32c(a), b)).toBe(crc32c(Buffer.concat([a, b])));
      }),
    );
  });

  test('sums the part that is asked for', () => {
    expect(crc32c(ascii('xx123456789y'), 2, 11)).toBe(0xe3069283);
  });
});

function bitByBit(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) {
    c ^= byte;
    for (let bit = 0; bit < 8; bit += 1) c = (c >>> 1) ^ (c & 1 ? 0x82f63b78 : 0);
  }
  return ~c >>> 0;
}
