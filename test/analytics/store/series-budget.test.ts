import { decodePoints } from '@fieldproof/analytics/line-protocol-decode';
import { SeriesBudget } from '@fieldproof/analytics/store/series-budget';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const admit = (budget: SeriesBudget, text: string) => {
  const { body, refused, firstRefused } = budget.admit(Buffer.from(text));
  return { text: Buffer.from(body).toString(), refused, firstRefused };
};

describe('SeriesBudget', () => {
  test('a body within the budget is passed on as it is', () => {
    const body = Buffer.from('m,d=a v=1 1\nm,d=b v=1 1');
    expect(new SeriesBudget(2, []).admit(body).body).toBe(body);
  });

  test('lines of one series too many are held back, the others stay in order', () => {
    const budget = new SeriesBudget(3, ['m,d=old']);
    const text =
      'm,d=a v=1 1\nm,d=b v=1 1\nm,d=c v=1 1\nm,d=c v=2 2\nm,d=a v=2 2\nm,d=old v=1 1\nm,d=e v=1';
    expect(admit(budget, text)).toEqual({
      text: 'm,d=a v=1 1\nm,d=b v=1 1\nm,d=a v=2 2\nm,d=old v=1 1\n',
      refused: 3,
      firstRefused: 'm,d=c',
    });
  });

  test('a name that begins like a known one is another series', () => {
    const budget = new SeriesBudget(1, []);
    expect(admit(budget, 'm,d=a v=1\nm,d=ab v=1\nm v=1\nm,d=a v=2').text).toBe(
      'm,d=a v=1\nm,d=a v=2',
    );
  });

  test('an escaped space does not end a series, a newline in a text does not begin one', () => {
    const budget = new SeriesBudget(2, []);
    const text =
      'm,d=a\\ 1 v="x\nm,d=evil v=1" 1\nm,d=a\\ 2 v="y" 1\nm,d=a\\ 3 v="z" 1\nm,d=a\\ 1 v=1 2';
    expect(admit(budget, text)).toEqual({
      text: 'm,d=a\\ 1 v="x\nm,d=evil v=1" 1\nm,d=a\\ 2 v="y" 1\nm,d=a\\ 1 v=1 2',
      refused: 1,
      firstRefused: 'm,d=a\\ 3',
    });
  });

  test('what passes never holds more series than allowed', () => {
    const lines = fc.array(
      fc
        .tuple(fc.nat(8), fc.boolean())
        .map(([d, quoted]) => `m,d=d${d} v=${quoted ? '"a\nb"' : 1} 1`),
    );
    fc.assert(
      fc.property(lines, fc.integer({ min: 1, max: 5 }), (given, max) => {
        const { text, refused } = admit(new SeriesBudget(max, []), given.join('\n'));
        const points = decodePoints(Buffer.from(text));
        expect(points.length + refused).toBe(given.length);
        expect(new Set(points.map(({ tags }) => tags[0]!.value)).size).toBeLessThanOrEqual(max);
      }),
    );
  });
});
