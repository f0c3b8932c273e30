import { judgeBuddies, type SlotLevel } from '@fieldproof/compute/rewards/buddies';
import { duplicates, isComparable, printBytes } from '@fieldproof/compute/rewards/duplicates';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { cellToChildren, cellToParent, latLngToCell } from 'h3-js';

const RULES = { resolution: 5, owners: 3, spread: 0.5, timesMad: 4 };
const BERLIN = latLngToCell(52.52, 13.4, 7);
const PARIS = latLngToCell(48.86, 2.35, 7);

const at = (owner: string, level: number, more: Partial<SlotLevel> = {}): SlotLevel => ({
  ...{ device: `${owner}-${level}`, owner, cell: BERLIN, resolution: 0.1, level },
  ...more,
});

describe('buddies', () => {
  test('who lies far from those around it differs, and they do not', () => {
    const levels = [at('a', 200), at('b', 203), at('c', 198), at('d', 260)];
    expect(judgeBuddies(levels, RULES)).toEqual(['agrees', 'agrees', 'agrees', 'differs']);
  });

  test('with too few owners around nobody is judged, however many devices they have', () => {
    const levels = [at('a', 200), at('b', 200), at('c', 900), at('c', 901), at('c', 902)];
    expect(new Set(judgeBuddies(levels, RULES))).toEqual(new Set(['unjudged']));
    expect(judgeBuddies([at('a', 1)], { ...RULES, owners: 0 })).toEqual(['unjudged']);
  });

  test('many devices of one owner have one voice', () => {
    const ring = [250, 250, 250, 250, 250, 250].map((level) => at('ring', level));
    const levels = [at('a', 200), at('b', 203), at('c', 198), at('d', 201), ...ring];
    expect(judgeBuddies(levels, RULES)).toEqual([
      ...Array(4).fill('agrees'),
      ...Array(6).fill('differs'),
    ]);
  });

  test('another place, another step and a cell that is too coarse are not compared', () => {
    const others = [at('a', 200), at('b', 200), at('c', 200)];
    const levels = [
      at('d', 900, { cell: PARIS }),
      at('e', 900, { resolution: 0.01 }),
      at('f', 900, { cell: cellToParent(BERLIN, 4) }),
      at('g', 900, { cell: '' }),
    ];
    expect(judgeBuddies([...others, ...levels], RULES).slice(3)).toEqual(Array(4).fill('unjudged'));
  });

  test('is the median rule, computed for each device anew', () => {
    const cells = cellToChildren(cellToParent(BERLIN, 5), 7).slice(0, 3);
    const level = fc.record({
      owner: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      cell: fc.constantFrom(...cells, PARIS),
      level: fc.integer({ min: -30, max: 30 }),
    });
    const lower = (numbers: number[]) =>
      numbers.sort((a, b) => a - b)[Math.ceil(numbers.length / 2) - 1]!;
    fc.assert(
      fc.property(
        fc.array(level, { maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        (some, owners) => {
          const levels = some.map((each) => at(each.owner, each.level, each));
          const expected = levels.map((one) => {
            const place = cellToParent(one.cell, 5);
            const others = levels.filter(
              ({ owner, cell }) => owner !== one.owner && cellToParent(cell, 5) === place,
            );
            const voices = [...new Set(others.map(({ owner }) => owner))].map((owner) =>
              lower(others.filter((each) => each.owner === owner).map(({ level }) => level)),
            );
            if (voices.length < owners) return 'unjudged';
            const middle = lower([...voices]);
            const deviation = lower(voices.map((voice) => Math.abs(voice - middle)));
            return Math.abs(one.level - middle) > Math.max(5, 4 * deviation) ? 'differs' : 'agrees';
          });
          expect(judgeBuddies(levels, { ...RULES, owners })).toEqual(expected);
        },
      ),
    );
  });
});

describe('duplicate series', () => {
  const print = (device: string, enrolled: number, text: string, span = 0) => ({
    ...{ device, enrolled, span, print: text },
  });

  test('of those that agree the one that was enrolled first is believed', () => {
    const prints = [print('c', 9, 'x'), print('a', 3, 'x'), print('b', 5, 'x'), print('d', 7, 'y')];
    expect(duplicates(prints).map(({ device }) => device)).toEqual(['c', 'b']);
  });

  test('the same series at another time is another one', () => {
    expect(duplicates([print('a', 1, 'x', 0), print('b', 2, 'x', 1)])).toEqual([]);
  });

  test('too short or too even a series is not compared', () => {
    const rules = { readings: 4, values: 3, slots: 1 };
    expect(isComparable([1, 2, 3], rules)).toBe(false);
    expect(isComparable([1, 2, 1, 2, 1, 2], rules)).toBe(false);
    expect(isComparable([1, 2, 3, 3], rules)).toBe(true);
  });

  test('a print is of the name and the quanta, big-endian', () => {
    const bytes = Buffer.from(printBytes('a/t', [1, -2]));
    expect(bytes.toString('hex')).toBe('612f740000000001fffffffe');
  });
});
