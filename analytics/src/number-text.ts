/**
 * Numbers read from decimal text in a byte buffer, without strings for those that sensors send.
 */

/** `-?[0-9]+`, exact; undefined for anything else. */
export function parseInteger(bytes: Uint8Array, start: number, end: number): bigint | undefined {
  const digits = bytes[start] === MINUS ? start + 1 : start;
  if (digits === end) return undefined;
  let number = 0;
  for (let at = digits; at < end; at++) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    number = number * 10 + digit;
  }
  // A sum that stayed a safe integer was exact at every step.
  if (number <= Number.MAX_SAFE_INTEGER) return BigInt(digits === start ? number : -number);
  return BigInt(latin1(bytes, start, end));
}

/**
 * A decimal number. Up to 15 digits are read as an integer divided by a power of ten: both exact, so
 * the quotient is the double nearest to the text (IEEE 754 division is correctly rounded).
 */
export function parseDecimal(bytes: Uint8Array, start: number, end: number): number | undefined {
  const negative = bytes[start] === MINUS;
  let at = negative ? start + 1 : start;
  const digits = at;
  let point = -1;
  let number = 0;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === DOT && point < 0) point = at;
    else if (byte >= ZERO && byte <= ZERO + 9) number = number * 10 + (byte - ZERO);
    else break;
  }
  const count = at - digits - (point < 0 ? 0 : 1);
  if (at < end || count > 15) {
    const text = latin1(bytes, start, end);
    return DECIMAL.test(text) ? Number(text) : undefined;
  }
  if (count === 0) return undefined;
  if (point >= 0) number /= POWERS_OF_TEN[at - point - 1]!;
  return negative ? -number : number;
}

const [MINUS, DOT, ZERO] = [45, 46, 48];
const DECIMAL = /^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const POWERS_OF_TEN = Float64Array.from({ length: 16 }, (_, i) => 10 ** i);

/** Bytes as text, one character each. */
export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}
