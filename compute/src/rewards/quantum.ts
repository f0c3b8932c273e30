/** Values as whole multiples of the instrument's step, so that every rule is integer arithmetic. docs/spec/rewards.md 3.2. */

/** Quanta beyond this are out of bounds; one fits into an int32. */
export const MAX_QUANTUM = 2 ** 31 - 1;

/** @returns the quantum of a value, NaN where it is beyond ±{@link MAX_QUANTUM}. */
export function quantumOf(value: number, resolution: number): number {
  const quantum = Math.floor(value / resolution + 0.5);
  // Also NaN, and no negative zero.
  return Math.abs(quantum) <= MAX_QUANTUM ? quantum + 0 : Number.NaN;
}

/** A limit in quanta; `none` where no quantum reaches it. */
export function limitInQuanta(limit: number, resolution: number, none: number): number {
  const quantum = quantumOf(limit, resolution);
  return Number.isNaN(quantum) ? none : quantum;
}
