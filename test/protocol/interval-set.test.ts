import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const MAX = 40;
const intervals = fc.array(
  fc.tuple(fc.nat(MAX), fc.nat(8)).map(([from, length]): Interval => [from, from + length]),
);

/** The same set the slow way. */
function members(list: readonly Interval[]): Set<number> {
  const set = new Set<number>();
  for (const [from, to] of list) for (let n = from; n <= to; n += 1) set.add(n);
  return set;
}

describe('an interval set', () => {
  test('numbers in order make one interval', () => {
    const set = new IntervalSet();
    for (let seq = 0; seq < 1000; seq += 1) expect(set.add(seq)).toBe(true);
    expect(set.ranges()).toEqual([[0, 999]]);
    expect(set.contiguousThrough()).toBe(999);
    expect(set.size).toBe(1000);
    expect(set.holes()).toEqual([]);
  });

  test('a number that is there already is not new', () => {
    const set = IntervalSet.from([[3, 5]]);
    expect([2, 3, 5, 6].map((n) => set.add(n))).toEqual([true, false, false, true]);
    expect(set.ranges()).toEqual([[2, 6]]);
  });

  test('a filled hole joins its neighbours', () => {
    const set = IntervalSet.from([
      [0, 1],
      [3, 4],
    ]);
    set.add(2);
    expect(set.ranges()).toEqual([[0, 4]]);
  });

  test('an empty set settles nothing', () => {
    const set = new IntervalSet();
    expect([set.contiguousThrough(), set.max, set.size]).toEqual([-1, -1, 0]);
    expect(set.rangesAbove(-1)).toEqual([]);
    expect(set.holes(0, 2)).toEqual([[0, 2]]);
  });

  test('the numbers reach to 2^53 - 1', () => {
    const set = new IntervalSet();
    set.addRange(0, Number.MAX_SAFE_INTEGER - 1);
    expect(set.add(Number.MAX_SAFE_INTEGER)).toBe(true);
    expect(set.ranges()).toEqual([[0, Number.MAX_SAFE_INTEGER]]);
    expect(set.hasRange(5, Number.MAX_SAFE_INTEGER)).toBe(true);
  });

  test.each([-1, 0.5, 2 ** 53, Number.NaN])('%p is refused', (value) => {
    expect(() => new IntervalSet().add(value)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
    expect(() => new IntervalSet().addRange(value, 3)).toThrow('from: ');
  });

  test('ends in the wrong order are refused', () => {
    expect(() => new IntervalSet().addRange(3, 2)).toThrow('to: expected at least 3, got 2');
  });

  test('equals a plain set of numbers', () => {
    fc.assert(
      fc.property(intervals, (list) => {
        const set = new IntervalSet();
        for (const [from, to] of list) {
          if (from === to) set.add(from);
          else set.addRange(from, to);
        }
        const plain = members(list);
        expect(set.size).toBe(plain.size);
        expect(members(set.ranges())).toEqual(plain);
        for (let n = 0; n <= MAX + 10; n += 1) expect(set.has(n)).toBe(plain.has(n));
        // Disjoint and not touching: no shorter way to write it down.
        for (const [i, [from]] of set.ranges().entries()) {
          if (i > 0) expect(from).toBeGreaterThan(set.ranges()[i - 1]![1] + 1);
        }
      }),
    );
  });

  test('contiguous part, holes and ranges above agree with the members', () => {
    fc.assert(
      fc.property(intervals, fc.nat(MAX), fc.nat(MAX), (list, at, length) => {
        const set = IntervalSet.from(list);
        const plain = members(list);
        let through = at - 1;
        while (plain.has(through + 1)) through += 1;
        expect(set.contiguousThrough(at)).toBe(through);

        const to = at + length;
        const missing = [...members([[at, to]])].filter((n) => !plain.has(n));
        expect([...members(set.holes(at, to))]).toEqual(missing);

        const above = [...plain].filter((n) => n > at).sort((a, b) => a - b);
        expect([...members(set.rangesAbove(at))]).toEqual(above);
        expect(set.rangesAbove(at, 2)).toEqual(set.rangesAbove(at).slice(0, 2));
      }),
    );
  });

  test('addRange beside anything equals adding one by one', () => {
    fc.assert(
      fc.property(intervals, fc.nat(MAX), fc.nat(8), (list, from, length) => {
        const whole = IntervalSet.from(list);
        const single = IntervalSet.from(list);
        whole.addRange(from, from + length);
        for (let n = from + length; n >= from; n -= 1) single.add(n);
        expect(whole.ranges()).toEqual(single.ranges());
        expect(whole.size).toBe(single.size);
      }),
    );
  });
});
