/**
 * Numbers as decimal text, written straight into a byte buffer.
 *
 * `String(v)` costs a string per reading; sensors mostly send few decimals. A number that equals an
 * integer divided by 10³ or 10⁶ is written by integer arithmetic: both parts are exact and IEEE 754
 * division is correctly rounded, so the text reads back as the same double. Everything else takes
 * JavaScript's shortest text.
 */

/** Most bytes `writeFloat` and `writeInteger` write. */
export const MAX_NUMBER_BYTES = 32;

/**
 * Writes a finite number at `at`; the text reads back as the same double, -0 included.
 *
 * @param bytes - room for MAX_NUMBER_BYTES behind `at`; only the returned range counts.
 * @returns the offset behind the text.
 */
export function writeFloat(bytes: Uint8Array, at: number, value: number): number {
  const whole = value | 0;
  if (whole === value && (whole !== 0 || 1 / value > 0)) return writeInt32(bytes, at, whole);
  const thousands = Math.round(value * 1e3);
  if (thousands / 1e3 === value && thousands < 2e9 && thousands > -2e9 && thousands !== 0) {
    return writeFraction(bytes, at, thousands, 3);
  }
  const millions = Math.round(value * 1e6);
  if (millions / 1e6 === value && millions < 2e9 && millions > -2e9 && millions !== 0) {
    return writeFraction(bytes, at, millions, 6);
  }
  return writeAscii(bytes, at, Object.is(value, -0) ? '-0' : String(value));
}

/** Writes a safe integer at `at`. @returns the offset behind the text. */
export function writeInteger(bytes: Uint8Array, at: number, value: number): number {
  if (value === (value | 0)) return writeInt32(bytes, at, value);
  let end = at;
  let rest = value;
  if (rest < 0) {
    bytes[end++] = MINUS;
    rest = -rest;
  }
  const high = Math.floor(rest / 1e8);
  if (high > 0x7fffffff) return writeAscii(bytes, at, String(value));
  end = writeInt32(bytes, end, high);
  return writePadded(bytes, end, (rest - high * 1e8) | 0, 8);
}

const MINUS = 45;
const ZERO = 48;
/** 00 to 99 as text: two digits for one division. */
const PAIRS = Uint8Array.from({ length: 200 }, (_, i) => {
  return ZERO + (i % 2 === 0 ? Math.floor(i / 20) : (i >> 1) % 10);
});
const POWERS = Int32Array.from([1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]);

function writeInt32(bytes: Uint8Array, at: number, value: number): number {
  let start = at;
  let rest = value;
  if (rest < 0) {
    if (rest === -0x80000000) return writeAscii(bytes, at, '-2147483648');
    bytes[start++] = MINUS;
    rest = -rest | 0;
  }
  let digits = 1;
  while (digits < 10 && rest >= POWERS[digits]!) digits++;
  return writePadded(bytes, start, rest, digits);
}

function writePadded(bytes: Uint8Array, at: number, value: number, digits: number): number {
  let rest = value;
  let i = at + digits - 2;
  for (; i >= at; i -= 2) {
    const next = (rest / 100) | 0;
    const pair = (rest - next * 100) << 1;
    bytes[i] = PAIRS[pair]!;
    bytes[i + 1] = PAIRS[pair + 1]!;
    rest = next;
  }
  if (i === at - 1) bytes[at] = ZERO + rest;
  return at + digits;
}

/** `value` / 10^`decimals` without zeros at the end; `value` fits 31 bits and is no multiple of it. */
function writeFraction(bytes: Uint8Array, at: number, value: number, decimals: number): number {
  let end = at;
  let rest = value | 0;
  if (rest < 0) {
    bytes[end++] = MINUS;
    rest = -rest | 0;
  }
  const scale = POWERS[decimals]!;
  const whole = (rest / scale) | 0;
  end = writeInt32(bytes, end, whole);
  bytes[end++] = 46;
  end = writePadded(bytes, end, rest - whole * scale, decimals);
  while (bytes[end - 1] === ZERO) end--;
  return end;
}

function writeAscii(bytes: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
  return at + text.length;
}
