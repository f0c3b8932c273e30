import {
  addDecimals,
  decimalToMicros,
  decimalToNumber,
  numberToDecimal,
  secondsToMicros,
} from '@fieldproof/protocol/decimal';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const mantissa = fc.maxSafeInteger();
const exponent = fc.integer({ min: -18, max: 18 });
const decimal = fc.record({ mantissa, exponent });

/** The exact value as a fraction with denominator 10^40. */
function scaled({ mantissa, exponent }: { mantissa: number | bigint; exponent: number }): bigint {
  return BigInt(mantissa) * 10n ** BigInt(exponent + 40);
}

/** Exact µs of a double, rounded half to even, by way of its binary fraction. */
function exactMicros(seconds: number): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, seconds);
  const bits = view.getBigUint64(0);
  const power = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & ((1n << 52n) - 1n);
  const whole = power === 0 ? fraction : fraction | (1n << 52n);
  const shift = (power === 0 ? 1 : power) - 1075;
  const value = whole * 1_000_000n;
  if (shift >= 0) return Number(value << BigInt(shift)) * (seconds < 0 ? -1 : 1);
  const divisor = 1n << BigInt(-shift);
  let micros = value / divisor;
  const twice = 2n * (value % divisor);
  if (twice > divisor || (twice === divisor && micros % 2n === 1n)) micros += 1n;
  return Number(micros) * (seconds < 0 ? -1 : 1);
}

describe('decimals', () => {
  test('mean the double that their literal means', () => {
    fc.assert(
      fc.property(decimal, (d) => {
        expect(decimalToNumber(d)).toBe(Number(`${d.mantissa}e${d.exponent}`) + 0);
      }),
    );
  });

  test('of a double are the shortest that read back as it', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (x) => {
        const d = numberToDecimal(x);
        if (Object.is(x, -0)) expect(d).toBeUndefined();
        else expect(decimalToNumber(d!)).toBe(x);
      }),
    );
    expect(numberToDecimal(21.53)).toEqual({ mantissa: 2153, exponent: -2 });
    expect(numberToDecimal(1200)).toEqual({ mantissa: 12, exponent: 2 });
    expect(numberToDecimal(1e21)).toEqual({ mantissa: 1, exponent: 21 });
    expect(numberToDecimal(0)).toEqual({ mantissa: 0, exponent: 0 });
    expect(numberToDecimal(0.1 + 0.2, 16)).toBeUndefined();
    for (const x of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(numberToDecimal(x)).toBeUndefined();
  });

  test('add exactly', () => {
    fc.assert(
      fc.property(decimal, decimal, (a, b) => {
        expect(scaled(addDecimals(a, b))).toBe(scaled(a) + scaled(b));
      }),
    );
  });

  test('of seconds round to whole µs, ties to even', () => {
    expect(decimalToMicros({ mantissa: 25, exponent: -7 })).toBe(2);
    expect(decimalToMicros({ mantissa: 35, exponent: -7 })).toBe(4);
    expect(decimalToMicros({ mantissa: -25, exponent: -7 })).toBe(-2);
    expect(decimalToMicros({ mantissa: -26, exponent: -7 })).toBe(-3);
    expect(decimalToMicros({ mantissa: 1780000000123n, exponent: -3 })).toBe(1780000000123000);
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: -18, max: 3 }), (m, e) => {
        expect(decimalToMicros({ mantissa: BigInt(m), exponent: e })).toBe(
          decimalToMicros({ mantissa: m, exponent: e }),
        );
      }),
    );
  });

  test('doubles of seconds round their exact value to whole µs', () => {
    const times = fc.oneof(
      fc.double({ min: -3e8, max: 3e8, noNaN: true }),
      fc.double({ min: 2 ** 28, max: 9e9, noNaN: true }),
      fc.integer({ min: -1e9, max: 1e9 }).map((n) => (n + 0.5) / 1e6),
    );
    fc.assert(
      fc.property(times, (t) => {
        expect(secondsToMicros(t)).toBe(exactMicros(t) + 0);
      }),
      { numRuns: 2000 },
    );
  });
});
