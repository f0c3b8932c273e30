/**
 * How much a place needs another device: Helium's HIP-17 with the amendments of HIP-104, over published H3 cells.
 * docs/spec/rewards.md section 6.
 */

import { cellToParent, getResolution, gridDisk } from 'h3-js';
import { PPM } from './slot-credit.ts';

/** Limits at one H3 resolution, in HIP-17's terms N, density_tgt and density_max. */
export interface DensityLevel {
  readonly resolution: number;
  readonly n: number;
  readonly target: number;
  readonly max: number;
}

/**
 * HIP-17: how many devices a cell has room for.
 *
 * @param occupied - cells with at least `target` devices, of it and its neighbours.
 */
export function densityLimit(
  occupied: number,
  { n, target, max }: Omit<DensityLevel, 'resolution'>,
): number {
  return Math.min(max, target * Math.max(1, occupied - n + 1));
}

/** A product of fractions `[clipped, unclipped]`, rounded down once, ppm. */
export function densityPpm(fractions: Iterable<readonly [number, number]>): number {
  let [above, below] = [BigInt(PPM), 1n];
  for (const [clipped, unclipped] of fractions) {
    if (clipped === unclipped) continue;
    above *= BigInt(clipped);
    below *= BigInt(unclipped);
  }
  return Number(above / below);
}

/**
 * @param presence - of each cell the sum of its devices' presence: 10^6 for a device that was there all the time.
 * @param levels - in order of falling resolution.
 * @param occupiedPpm - a cell is occupied with so much of the target.
 * @returns the density factor of each cell that is there, ppm.
 */
export function densities(
  presence: ReadonlyMap<string, number>,
  levels: readonly DensityLevel[],
  occupiedPpm = PPM,
): Map<string, number> {
  const passed = levels.map(() => new Map<string, readonly [number, number]>());
  let below = new Map<string, number>();
  for (const [at, level] of levels.entries()) {
    const unclipped = new Map<string, number>();
    const add = (cell: string, count: number): void => {
      const parent = cellToParent(cell, level.resolution);
      unclipped.set(parent, (unclipped.get(parent) ?? 0) + count);
    };
    for (const [cell, count] of below) add(cell, count);
    for (const [cell, count] of presence) if (firstLevel(cell, levels) === at) add(cell, count);
    below = new Map();
    for (const [cell, count] of unclipped) {
      const clipped = Math.min(count, limitOf(cell, count, { level, unclipped, occupiedPpm }));
      below.set(cell, clipped);
      passed[at]!.set(cell, [clipped, count]);
    }
  }
  return new Map(
    [...presence.keys()].map((cell) => {
      const from = firstLevel(cell, levels);
      const fractions = levels
        .slice(from)
        .map(({ resolution }, at) => passed[from + at]!.get(cellToParent(cell, resolution))!);
      return [cell, densityPpm(fractions)];
    }),
  );
}

/** The first level whose cells are not finer than this one; past the last for a cell that is coarser than all. */
function firstLevel(cell: string, levels: readonly DensityLevel[]): number {
  const resolution = getResolution(cell);
  const at = levels.findIndex((level) => level.resolution <= resolution);
  return at < 0 ? levels.length : at;
}

/** In the units of presence. */
function limitOf(
  cell: string,
  count: number,
  around: {
    readonly level: DensityLevel;
    readonly unclipped: ReadonlyMap<string, number>;
    readonly occupiedPpm: number;
  },
): number {
  const { level, unclipped, occupiedPpm } = around;
  // No limit is below the target: neighbours matter only above it.
  if (count <= Math.min(level.target, level.max) * PPM) return count;
  const enough = level.target * occupiedPpm;
  const near = gridDisk(cell, 1);
  const occupied = near.filter((each) => (unclipped.get(each) ?? 0) >= enough).length;
  return densityLimit(occupied, level) * PPM;
}
