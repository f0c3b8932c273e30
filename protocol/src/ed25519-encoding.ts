/**
 * What can be told about Ed25519 encodings from their bytes alone (docs/spec/envelope.md section 5): a canonical y, a
 * reduced S, a small-order point. No arithmetic, no allocation; used in front of verifiers that are laxer than the rule.
 */

/** L in little-endian order (RFC 8032 section 5.1). */
const ORDER = Uint8Array.from([
  0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
]);

/** The y of the eight points of small order, which are five: 0 (order 4), 1, -1, and two of order 8. */
const SMALL_ORDER_Y: readonly Uint8Array[] = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
].map((hex) => Uint8Array.from(hex.match(/../g)!, (byte) => Number.parseInt(byte, 16)));

/** Whether the 32 bytes at the offset hold a y < p = 2^255 - 19, the sign bit aside. */
export function isCanonicalY(bytes: Uint8Array, offset: number): boolean {
  if ((bytes[offset + 31]! & 0x7f) !== 0x7f || bytes[offset]! < 0xed) return true;
  for (let i = offset + 30; i > offset; i--) if (bytes[i] !== 0xff) return true;
  return false;
}

/** Whether the 32 bytes at the offset, little-endian, are below L. */
export function isReducedScalar(bytes: Uint8Array, offset: number): boolean {
  for (let i = 31; i >= 0; i--) {
    const difference = bytes[offset + i]! - ORDER[i]!;
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/**
 * Whether 32 bytes with a canonical y encode a point of small order. Also true for the two y whose x is 0 with the
 * sign bit set, which are no encodings at all.
 */
export function hasSmallOrderY(bytes: Uint8Array): boolean {
  for (const y of SMALL_ORDER_Y) {
    let i = 0;
    while (i < 31 && bytes[i] === y[i]) i++;
    if (i === 31 && (bytes[31]! & 0x7f) === y[31]) return true;
  }
  return false;
}
