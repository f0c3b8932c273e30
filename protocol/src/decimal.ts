/**
 * Exact decimals, mantissa · 10^exponent, and their exact way to and from IEEE 754 doubles
 * (docs/spec/telemetry.md 1.7). CBOR carries them as tag 4 (RFC 8949 section 3.4.4).
 *
 * Leaves out multiplication, division and formatting: nothing here needs them.
 */

/** An exact decimal. The mantissa is a safe integer, or a bigint where that does not suffice. */
export interface Decimal {
  readonly mantissa: number | bigint;
  readonly exponent: number;
}

/** 2^53: up to here a double holds every integer, so products and quotients below round only once. */
export const MAX_EXACT = 2 ** 53;

/** The powers of ten that are exact doubles. */
export const POWERS_OF_TEN: readonly number[] = Array.from({ length: 23 }, (_, i) =>
  Number(`1e${i}`),
);

/** The double nearest to mantissa · 10^exponent, ties to even; ±Infinity beyond the range of doubles. */
export function decimalToNumber({ mantissa, exponent }: Decimal): number {
  return typeof mantissa === 'number'
    ? scaleToNumber(mantissa, exponent)
    : Number(`${mantissa}e${exponent}`);
}

/** As `decimalToNumber` for a mantissa that is an integer number, without an object. */
export function scaleToNumber(mantissa: number, exponent: number): number {
  if (exponent === 0) return mantissa + 0;
  if (mantissa <= MAX_EXACT && mantissa >= -MAX_EXACT) {
    // Both operands are exact doubles, so the one operation rounds correctly.
    if (exponent < 0 && exponent >= -22) return mantissa / POWERS_OF_TEN[-exponent]! + 0;
    if (exponent > 0 && exponent <= 22) return mantissa * POWERS_OF_TEN[exponent]! + 0;
  }
  return Number(`${BigInt(mantissa)}e${exponent}`);
}

/**
 * The shortest decimal whose nearest double is `value`.
 *
 * @param maxDigits - give up above this many digits; 17 always suffice.
 * @returns undefined for NaN, infinities, -0 (decimals have none) and where more digits are needed.
 */
export function numberToDecimal(value: number, maxDigits = 17): Decimal | undefined {
  if (!Number.isFinite(value) || Object.is(value, -0)) return undefined;
  if (value === 0) return { mantissa: 0, exponent: 0 };
  const [, sign, whole, fraction = '', power] =
    /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(value.toExponential()) ?? [];
  const digits = `${whole}${fraction}`;
  if (digits.length > maxDigits) return undefined;
  const mantissa = Number(`${sign}${digits}`);
  return {
    // toExponential never ends in a zero, so the mantissa is the shortest.
    mantissa: Number.isSafeInteger(mantissa) ? mantissa : BigInt(`${sign}${digits}`),
    exponent: Number(power) - fraction.length,
  };
}

/** a + b, exactly. The exponents may differ by some hundreds at most: the sum is computed in full. */
export function addDecimals(a: Decimal, b: Decimal): Decimal {
  if (a.exponent < b.exponent) return addDecimals(b, a);
  const { exponent } = b;
  const shift = a.exponent - exponent;
  if (typeof a.mantissa === 'number' && typeof b.mantissa === 'number' && shift <= 22) {
    const scaled = a.mantissa * POWERS_OF_TEN[shift]!;
    const sum = scaled + b.mantissa;
    if (Math.abs(scaled) <= MAX_EXACT && Math.abs(sum) < MAX_EXACT) {
      return { mantissa: sum + 0, exponent };
    }
  }
  const sum = BigInt(a.mantissa) * 10n ** BigInt(shift) + BigInt(b.mantissa);
  const small = Number(sum);
  return { mantissa: Number.isSafeInteger(small) ? small : sum, exponent };
}

/**
 * A decimal number of seconds in whole µs, to the nearest, ties to even (telemetry.md 1.6). Exact up to ±2^53 µs,
 * the nearest double beyond.
 */
export function decimalToMicros({ mantissa, exponent }: Decimal): number {
  return typeof mantissa === 'number' && Math.abs(mantissa) <= MAX_EXACT
    ? scaleToMicros(mantissa, exponent)
    : bigToMicros(BigInt(mantissa), exponent);
}

/** As `decimalToMicros` for a mantissa within ±2^53, without an object. */
export function scaleToMicros(mantissa: number, exponent: number): number {
  const shift = exponent + 6;
  if (shift >= 0) {
    return shift <= 22 ? mantissa * POWERS_OF_TEN[shift]! + 0 : scaleToNumber(mantissa, shift);
  }
  if (shift < -22) return bigToMicros(BigInt(mantissa), exponent);
  const divisor = POWERS_OF_TEN[-shift]!;
  // The remainder of doubles is exact.
  const rest = mantissa % divisor;
  const whole = (mantissa - rest) / divisor;
  const twice = 2 * Math.abs(rest);
  const up = twice > divisor || (twice === divisor && whole % 2 !== 0);
  return (up ? whole + (mantissa < 0 ? -1 : 1) : whole) + 0;
}

/** A double number of seconds in whole µs: its exact value, rounded to the nearest µs, ties to even. */
export function secondsToMicros(seconds: number): number {
  const product = seconds * 1e6;
  if (!Number.isFinite(product)) return product;
  const floor = Math.floor(product);
  const fraction = product - floor;
  if (fraction < 0.5) return floor + 0;
  if (fraction > 0.5) return floor + 1 + 0;
  // The product is rounded: only here can it hide on which side of the half the exact value lies.
  const error = productError(seconds, product);
  if (error !== 0) return (error > 0 ? floor + 1 : floor) + 0;
  return (floor % 2 === 0 ? floor : floor + 1) + 0;
}

/** Whole µs as the nearest double of seconds. */
export function microsToSeconds(micros: number): number {
  return micros / 1e6;
}

/** The sign-true rounding error of `product` = fl(x · 10^6) (Dekker's product; no overflow at these sizes). */
function productError(x: number, product: number): number {
  const split = 134217729 * x;
  const high = split - (split - x);
  const low = x - high;
  // 10^6 has few enough bits that each partial product is exact.
  return high * 1e6 - product + low * 1e6;
}

function bigToMicros(mantissa: bigint, exponent: number): number {
  const shift = exponent + 6;
  if (shift >= 0) return Number(mantissa * 10n ** BigInt(shift));
  const divisor = 10n ** BigInt(-shift);
  const magnitude = mantissa < 0n ? -mantissa : mantissa;
  let whole = magnitude / divisor;
  const twice = 2n * (magnitude % divisor);
  if (twice > divisor || (twice === divisor && whole % 2n === 1n)) whole += 1n;
  return Number(mantissa < 0n ? -whole : whole) + 0;
}
