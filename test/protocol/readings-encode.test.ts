import { isDeepStrictEqual } from 'node:util';
import { decodeTelemetry } from '@fieldproof/protocol/readings-decode';
import { encodeTelemetry, type Reading } from '@fieldproof/protocol/readings-encode';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const FORMATS = ['senml', 'columns'] as const;

/** Readings in one order, as tuples whose numbers are compared by their bits. */
function comparable(readings: readonly Reading[]): string[] {
  return readings
    .map(({ profile, metric, unit, timeMs, value }) => {
      const bits = Object.is(value, -0) ? '-0' : value;
      return JSON.stringify([profile, metric, unit, Math.round(timeMs * 1000), typeof value, bits]);
    })
    .sort();
}

function decodeAll(payloads: ReturnType<typeof encodeTelemetry>): Reading[] {
  const readings: Reading[] = [];
  for (const { contentType, payload, count } of payloads) {
    const decoded = decodeTelemetry(payload, contentType);
    expect(decoded.count).toBe(count);
    for (const { profile, metric, unit, type, start, end } of decoded.runs) {
      for (let i = start; i < end; i++) {
        const number = decoded.values[i]!;
        const value =
          type === 'number'
            ? number
            : type === 'boolean'
              ? number === 1
              : String(decoded.objects[number]);
        readings.push({ profile, metric, unit, timeMs: decoded.timesUs[i]! / 1000, value });
      }
    }
  }
  return readings;
}

const anyNumber = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: -5000, max: 5000 }).map((n) => n / 100) },
  fc.integer({ min: -100, max: 1000 }),
  fc.integer({ min: -5, max: 5 }).map((n) => n * 1e6),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.float({ noNaN: true, noDefaultInfinity: true }),
  fc.maxSafeInteger(),
  fc.constantFrom(0, -0, 1e308, 5e-324, 1e21, 2 ** 53, 1e-18),
);
const time = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 30 }).map((s) => 1780000000000 + s * 1000) },
  fc.integer({ min: 0, max: 30000 }).map((ms) => 1780000000000 + ms),
  fc.integer({ min: 0, max: 1e9 }).map((us) => 1780000000000 + us / 1000),
  fc.integer({ min: -60000, max: 1000 }),
);
const reading: fc.Arbitrary<Reading> = fc.record({
  profile: fc.constantFrom('air', 'readings', 'p_2'),
  metric: fc.constantFrom('temp', 'hum', 'a/b', 'air/temp', 'urn:x'),
  unit: fc.constantFrom('', 'Cel', 'µg/m3'),
  timeMs: time,
  value: fc.oneof({ weight: 6, arbitrary: anyNumber }, fc.string({ unit: 'binary' }), fc.boolean()),
});
/** A metric at steady instants, as devices send it. */
const series: fc.Arbitrary<Reading[]> = fc
  .record({
    metric: fc.constantFrom('temp', 'hum', 'co2'),
    startUs: fc.integer({ min: 0, max: 5e6 }),
    stepUs: fc.constantFrom(1_000_000, 1000, 250, 333_333, 60_000_000),
    values: fc.oneof(
      fc.array(anyNumber, { minLength: 1, maxLength: 40 }),
      fc.array(
        fc.integer({ min: 2000, max: 2300 }).map((n) => n / 100),
        { minLength: 1, maxLength: 40 },
      ),
    ),
  })
  .map(({ metric, startUs, stepUs, values }) =>
    values.map((value, i) => ({
      profile: 'air',
      metric,
      unit: 'Cel',
      value,
      timeMs: 1780000000000 + (startUs + i * stepUs) / 1000,
    })),
  );

/** xorshift32, so that the fixed data is the same everywhere. */
function walk(seed: number, spread: number): Reading[] {
  let state = seed;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const metrics = [
    ['temp', 'Cel', 2150],
    ['hum', '%RH', 4720],
    ['pres', 'hPa', 101325],
    ['pm25', 'ug/m3', 830],
    ['co2', 'ppm', 41250],
  ] as const;
  return metrics.flatMap(([metric, unit, start]) => {
    let value = start;
    return Array.from({ length: 10 }, (_, i) => {
      value += Math.round((random() - 0.5) * 2 * spread);
      return { profile: 'air', metric, unit, timeMs: 1780000000000 + i * 1000, value: value / 100 };
    });
  });
}

describe('telemetry payloads', () => {
  test.each(FORMATS)('in %s give back every bit of what was encoded', (format) => {
    const anything = fc.oneof(
      fc.array(reading, { maxLength: 40 }),
      fc.array(series, { maxLength: 4 }).map((parts) => parts.flat()),
    );
    fc.assert(
      fc.property(anything, (readings) => {
        const found = comparable(decodeAll(encodeTelemetry(readings, { format })));
        const expected = comparable(readings);
        // As `toEqual`, in a fraction of the time where they are the same.
        if (!isDeepStrictEqual(found, expected)) expect(found).toEqual(expected);
      }),
      { numRuns: 1500 },
    );
  });

  test.each(FORMATS)('in %s are split to keep within a size, and lose nothing', (format) => {
    fc.assert(
      fc.property(fc.array(reading, { maxLength: 60 }), (readings) => {
        const payloads = encodeTelemetry(readings, { format, maxBytes: 400 });
        for (const { payload } of payloads) expect(payload.length).toBeLessThanOrEqual(400);
        expect(comparable(decodeAll(payloads))).toEqual(comparable(readings));
      }),
      { numRuns: 300 },
    );
  });

  test.each(FORMATS)('in %s hold at most 5,000 readings and 64 profiles each', (format) => {
    const many = Array.from({ length: 12_000 }, (_, i) => ({
      profile: `p${i % 100}`,
      metric: 'm',
      unit: '',
      timeMs: 1780000000000 + i * 7,
      value: i / 10,
    }));
    expect(decodeAll(encodeTelemetry(many, { format }))).toHaveLength(12_000);
  });

  test('of 50 readings take at most 506 bytes in SenML and 156 in columns', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const readings = walk(seed * 7919, 12);
      const sizes = FORMATS.map((format) => {
        const payloads = encodeTelemetry(readings, { format });
        expect(payloads).toHaveLength(1);
        return payloads[0]!.payload.length;
      });
      expect(sizes[0]).toBeLessThanOrEqual(506);
      expect(sizes[1]).toBeLessThanOrEqual(156);
    }
  });

  test('of no readings are none', () => {
    expect(encodeTelemetry([], { format: 'columns' })).toEqual([]);
  });

  const good: Reading = {
    profile: 'air',
    metric: 'temp',
    unit: '',
    timeMs: 1780000000000,
    value: 1,
  };
  test.each([
    ['NaN', { ...good, value: Number.NaN }],
    ['an infinity', { ...good, value: Number.POSITIVE_INFINITY }],
    ['a profile with a capital', { ...good, profile: 'Air' }],
    ['a metric with a space', { ...good, metric: 'a b' }],
    ['a time that is no number', { ...good, timeMs: Number.NaN }],
    ['a time beyond the year 9999', { ...good, timeMs: 253402300800000 }],
    ['a text longer than a payload', { ...good, value: 'x'.repeat(60_000) }],
  ])('are refused for %s', (_, bad) => {
    expect(() => encodeTelemetry([bad], { format: 'senml' })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
  });
});
