/**
 * Floating-point widths of CBOR (RFC 8949 section 3.3 and Appendix D): reading halves, and telling the shortest
 * width that holds a number exactly (section 4.2.1). No allocation.
 */

const scratch = new DataView(new ArrayBuffer(8));

/** The number in a half's 16 bits. */
export function halfToNumber(bits: number): number {
  const exponent = (bits >> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  let magnitude: number;
  if (exponent === 0) magnitude = mantissa * 2 ** -24;
  else if (exponent === 31) magnitude = mantissa === 0 ? Number.POSITIVE_INFINITY : Number.NaN;
  else magnitude = (mantissa + 1024) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

/** The number in a single's 32 bits. */
export function singleToNumber(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}

/** The number in a double's two 32-bit words. */
export function doubleToNumber(high: number, low: number): number {
  scratch.setUint32(0, high);
  scratch.setUint32(4, low);
  return scratch.getFloat64(0);
}

/** The 32 bits of a number as a single. */
export function singleBits(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
}

/** The upper 32 bits of a number as a double. */
export function doubleHighBits(value: number): number {
  scratch.setFloat64(0, value);
  return scratch.getUint32(0);
}

/** The lower 32 bits of a number as a double. */
export function doubleLowBits(value: number): number {
  scratch.setFloat64(0, value);
  return scratch.getUint32(4);
}

/** The 16 bits of a half that equals the number exactly, or -1. NaN is 7e00 (RFC 8949 section 4.2.2). */
export function numberToHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  if (Math.fround(value) !== value) return -1;
  const bits = singleBits(value);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const mantissa = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00;
  if (exponent === 0) return mantissa === 0 ? sign : -1;
  const power = exponent - 127;
  if (power > 15 || power < -24) return -1;
  if (power >= -14) {
    return mantissa & 0x1fff ? -1 : sign | ((power + 15) << 10) | (mantissa >>> 13);
  }
  // Subnormal half: the implicit one becomes a mantissa bit.
  const shift = -1 - power;
  const full = mantissa | 0x800000;
  return full & ((1 << shift) - 1) ? -1 : sign | (full >>> shift);
}
