import { bucketFor, parseDuration, parseTime } from '@fieldproof/analytics/server/time-range';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const NOW = Date.parse('2026-11-21T12:00:00Z');

describe('times of a query', () => {
  test.each([
    ['now', NOW],
    ['-90s', NOW - 90_000],
    ['-1h', NOW - 3_600_000],
    ['-7d', NOW - 7 * 86_400_000],
    ['1795244400000', 1795244400000],
    ['1795244400000.125', 1795244400000.125],
    ['2026-11-21T07:00:00Z', Date.parse('2026-11-21T07:00:00Z')],
    ['2026-11-21t07:00:00.250z', Date.parse('2026-11-21T07:00:00.250Z')],
    ['2026-11-21T09:00:00+02:00', Date.parse('2026-11-21T07:00:00Z')],
    ['2024-02-29T00:00:00Z', Date.parse('2024-02-29T00:00:00Z')],
  ])('%s is understood', (text, ms) => {
    expect(parseTime('from', text, NOW)).toBe(ms);
  });

  test.each([
    ...[
      '',
      'yesterday',
      '1h',
      '-',
      '-1',
      '-1y',
      '--1h',
      '- 1h',
      '1e12',
      'NaN',
      'Infinity',
      '-99999w',
    ],
    ...['2026-11-21', '2026-11-21T07:00:00', '2026-11-21 07:00:00Z', '2026-13-01T00:00:00Z'],
    ...['2026-02-30T00:00:00Z', '2025-02-29T00:00:00Z', '2026-11-21T24:00:00Z'],
    ...['2026-11-21T07:00:00 02:00', '99999999999999999'],
  ])('%j is refused', (text) => {
    expect(() => parseTime('from', text, NOW)).toThrow(/^from: expected/);
  });

  test.each(['', '0s', '1', 's', '-1m', '1.5h', '1M', '1m ', '9999999999999m'])(
    'the duration %j is refused',
    (text) => {
      expect(() => parseDuration('bucket', text)).toThrow(/^bucket: expected/);
    },
  );

  test('a chosen bucket never gives more points than asked for, wherever the range begins', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4e12 }),
        fc.integer({ min: 1, max: 1e11 }),
        fc.integer({ min: 2, max: 5000 }),
        (from, span, points) => {
          const width = bucketFor(from, from + span, points);
          const buckets = Math.floor((from + span - 1) / width) - Math.floor(from / width) + 1;
          return Number.isInteger(width) && width >= 1 && buckets <= points;
        },
      ),
    );
  });
});
