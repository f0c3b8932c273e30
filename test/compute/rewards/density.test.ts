import {
  densities as densitiesOf,
  densityLimit,
  densityPpm,
} from '@fieldproof/compute/rewards/density';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { cellToChildren, cellToParent, gridDisk, latLngToCell } from 'h3-js';

/** HIP-104. */
const LEVELS = [
  { resolution: 10, n: 2, target: 1, max: 10 },
  { resolution: 9, n: 2, target: 1, max: 10 },
  { resolution: 8, n: 2, target: 1, max: 10 },
  { resolution: 7, n: 4, target: 5, max: 10 },
  { resolution: 6, n: 4, target: 25, max: 50 },
  { resolution: 5, n: 4, target: 100, max: 200 },
  { resolution: 4, n: 2, target: 500, max: 1000 },
];
const BERLIN = latLngToCell(52.52, 13.4, 10);

/** Each cell as often as there are devices that were there all the time. */
function densities(cells: readonly string[], levels: typeof LEVELS): Map<string, number> {
  const presence = new Map<string, number>();
  for (const cell of cells) presence.set(cell, (presence.get(cell) ?? 0) + 1_000_000);
  return densitiesOf(presence, levels);
}

/** As the text has it, cell by cell, without any of the shortcuts. */
function slowly(cells: readonly string[], levels: typeof LEVELS): Map<string, number> {
  const clippedAt: Map<string, number>[] = [];
  const unclippedAt: Map<string, number>[] = [];
  for (const [at, { resolution, n, target, max }] of levels.entries()) {
    const unclipped = new Map<string, number>();
    const add = (cell: string, count: number) =>
      unclipped.set(cell, (unclipped.get(cell) ?? 0) + count);
    if (at === 0) for (const cell of cells) add(cellToParent(cell, resolution), 1);
    else for (const [cell, count] of clippedAt[at - 1]!) add(cellToParent(cell, resolution), count);
    const clipped = new Map<string, number>();
    for (const [cell, count] of unclipped) {
      const occupied = gridDisk(cell, 1).filter((each) => (unclipped.get(each) ?? 0) >= target);
      clipped.set(cell, Math.min(count, max, target * Math.max(1, occupied.length - n + 1)));
    }
    clippedAt.push(clipped);
    unclippedAt.push(unclipped);
  }
  return new Map(
    cells.map((cell) => {
      let [above, below] = [1_000_000n, 1n];
      for (const [at, { resolution }] of levels.entries()) {
        const parent = cellToParent(cell, resolution);
        above *= BigInt(clippedAt[at]!.get(parent)!);
        below *= BigInt(unclippedAt[at]!.get(parent)!);
      }
      return [cell, Number(above / below)];
    }),
  );
}

test("HIP-17's table of limits, N 2, target 1, maximum 4", () => {
  const limits = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => densityLimit(n, { n: 2, target: 1, max: 4 }));
  expect(limits).toEqual([1, 1, 1, 2, 3, 4, 4, 4]);
});

test("HIP-17's example: 4 of 61, then 49 of 106", () => {
  const fractions = [
    [4, 61],
    [49, 106],
  ] as const;
  expect(densityPpm(fractions)).toBe(30_312);
  expect(fractions.map(([a, b]) => (a / b).toFixed(3))).toEqual(['0.066', '0.462']);
});

describe('the density of places', () => {
  test('a device alone has all of it', () => {
    expect(densities([BERLIN], LEVELS)).toEqual(new Map([[BERLIN, 1_000_000]]));
  });

  test('two in one finest cell share it, and a crowd earns no more than its place has room for', () => {
    expect(densities([BERLIN, BERLIN], LEVELS).get(BERLIN)).toBe(500_000);
    const parent = cellToParent(BERLIN, 7);
    const crowd = cellToChildren(parent, 10);
    const factors = densities(crowd, LEVELS);
    const paid = crowd.reduce((sum, cell) => sum + factors.get(cell)!, 0) / 1e6;
    // One cell of resolution 7 with no occupied neighbours: the target of its level.
    expect(paid).toBeGreaterThan(4.9);
    expect(paid).toBeLessThanOrEqual(5);
  });

  test('a cell that is coarser than the finest level counts at its own, one that is coarser than all has no limit', () => {
    const seven = cellToParent(BERLIN, 7);
    const four = cellToParent(BERLIN, 4);
    expect(densities(Array(10).fill(seven), LEVELS).get(seven)).toBe(500_000);
    const three = cellToParent(BERLIN, 3);
    const factors = densities([three, three, four], LEVELS);
    expect(factors).toEqual(
      new Map([
        [three, 1_000_000],
        [four, 1_000_000],
      ]),
    );
  });

  test('is that of the text, computed cell by cell', () => {
    const near = gridDisk(cellToParent(BERLIN, 9), 3).flatMap((cell) => cellToChildren(cell, 10));
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...near), { maxLength: 400 }), (cells) => {
        expect(densities(cells, LEVELS)).toEqual(slowly(cells, LEVELS));
      }),
      { numRuns: 30 },
    );
  });

  test('who is there for half of the time takes half a place', () => {
    const half = new Map([[BERLIN, 1_000_000]]);
    expect(densitiesOf(half, LEVELS).get(BERLIN)).toBe(1_000_000);
    expect(densitiesOf(new Map([[BERLIN, 1_500_000]]), LEVELS).get(BERLIN)).toBe(666_666);
  });

  test('a neighbour that is occupied makes room, at the share of the target that is asked for', () => {
    const [cell, ...around] = gridDisk(BERLIN, 1);
    const presence = new Map([
      [cell!, 3_000_000],
      ...around.map((each) => [each, 900_000] as const),
    ]);
    const level = [{ resolution: 10, n: 2, target: 1, max: 4 }];
    expect(densitiesOf(presence, level).get(cell!)).toBe(333_333);
    expect(densitiesOf(presence, level, 900_000).get(cell!)).toBe(1_000_000);
  });

  test('does not depend on the order, nor do more devices raise it where all have room', () => {
    const near = gridDisk(cellToParent(BERLIN, 7), 2);
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...near), { minLength: 1, maxLength: 200 }), (cells) => {
        expect(densities([...cells].reverse(), LEVELS)).toEqual(densities(cells, LEVELS));
        for (const ppm of densities(cells, LEVELS).values()) {
          expect(ppm).toBeGreaterThan(0);
          expect(ppm).toBeLessThanOrEqual(1_000_000);
        }
      }),
      { numRuns: 30 },
    );
  });
});
